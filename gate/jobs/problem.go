package jobs

import (
	"errors"
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

// downAfter is in how many seconds to come back when something is down.
const downAfter = 10

func refuseWith(status int, code, text string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: text, Code: code}
}

// down is what is nobody's fault who asks.
func down(code, text string, cause error) *problem {
	p := refuseWith(http.StatusServiceUnavailable, code, text)
	p.retry, p.cause = downAfter, cause
	return p
}

// problem is what an error of whoever was asked becomes: the one table from error
// to status. missing and unavailable are what people are told of [ErrNotFound] and
// of what is down.
func (s *surface) problem(err error, missing, unavailable string) *problem {
	var refusal *Refusal
	switch {
	case errors.Is(err, ErrNotServed):
		p := refuseWith(http.StatusNotFound, "not-installed", "the App is not installed on this repository, or its owner is not served here: ask whoever runs Sallyport")
		p.Claim = "repository_id"
		return p
	case errors.Is(err, ErrNotFound):
		return refuseWith(http.StatusNotFound, s.thing+"-not-found", missing)
	case errors.As(err, &refusal):
		status := refusal.Status
		if status < 400 || status > 499 {
			status = http.StatusForbidden
		}
		p := refuseWith(status, refusal.Code, refusal.Text)
		p.Claim = refusal.Claim
		if status == http.StatusUnauthorized {
			p.challenge = `Bearer error="invalid_token"`
		}
		return p
	default:
		return down(s.thing+"-unavailable", unavailable, err)
	}
}

// refuse writes a problem, and tells the log.
func (s *surface) refuse(w http.ResponseWriter, r *http.Request, p *problem) {
	level := slog.LevelInfo
	if p.Status >= http.StatusInternalServerError && r.Context().Err() == nil {
		level = slog.LevelError
	}
	s.log.LogAttrs(r.Context(), level, s.thing+" refused",
		slog.Int("status", p.Status), slog.String("code", p.Code), slog.String("claim", p.Claim), slog.String("why", p.Detail), slog.Any("cause", p.cause))
	head := w.Header()
	keepNot(head)
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

// show writes an answer that is JSON. An error means that it surely did not arrive;
// none means little.
func show(w http.ResponseWriter, status int, body []byte) error {
	keepNot(w.Header())
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil { //nolint:gosec // JSON, said to be so
		return err
	}
	if err := http.NewResponseController(w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// keepNot tells whoever is between us and the job to keep nothing of an answer.
func keepNot(head http.Header) {
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
}
