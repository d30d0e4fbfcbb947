package holds

import (
	"log/slog"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"
)

// problem is an answer that is none, as RFC 9457 has it. Fields may be added and
// never changed.
type problem struct {
	Type   string `json:"type"` // about:blank: the status says what kind it is
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Code is stable; Claim is the claim of the token that differed.
	Code  string `json:"code"`
	Claim string `json:"claim,omitzero"`

	challenge string // WWW-Authenticate
	allow     string // Allow
	retry     int    // Retry-After in seconds, 0 for none
	cause     error  // for the log alone
}

func refuseWith(status int, code, text string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: text, Code: code}
}

// down is what is nobody's fault who asks.
func down(code, text string, cause error) *problem {
	p := refuseWith(http.StatusServiceUnavailable, code, text)
	p.retry, p.cause = downAfter, cause
	return p
}

// refuse writes a problem, and tells the log.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, p *problem) {
	level := slog.LevelInfo
	if p.Status >= http.StatusInternalServerError && r.Context().Err() == nil {
		level = slog.LevelError
	}
	h.cfg.Log.LogAttrs(r.Context(), level, "hold refused",
		slog.Int("status", p.Status), slog.String("code", p.Code), slog.String("claim", p.Claim), slog.String("why", p.Detail), slog.Any("cause", p.cause))
	head := w.Header()
	head.Set("Content-Type", "application/problem+json")
	if p.challenge != "" {
		head.Set("WWW-Authenticate", p.challenge)
	}
	if p.allow != "" {
		head.Set("Allow", p.allow)
	}
	if p.retry > 0 {
		head.Set("Retry-After", strconv.Itoa(p.retry))
	}
	w.WriteHeader(p.Status)
	_ = json.MarshalWrite(w, p) // who asked went away
}
