package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/rules"
)

const (
	// MaxBody is the largest body that GitHub sends; it is decimal nowhere said, so
	// this is the larger reading.
	MaxBody = 25 << 20
	// MaxSecrets is how many secrets hold at once: the old and the new one.
	MaxSecrets = 2

	// maxBuffered is how many bytes of bodies are held at once, so that whoever
	// can reach the address cannot fill the memory. It has room for two bodies of
	// the largest size, or thousands of ordinary ones.
	maxBuffered = 64 << 20
	// firstRead is the most room that is made for a body before anything of it came;
	// an ordinary one fits. maxKept is the largest buffer that is used again.
	firstRead = 32 << 10
	maxKept   = 128 << 10
	// DefaultReadTimeout is how long a body may take to arrive. GitHub gives up
	// after 10 seconds in all.
	DefaultReadTimeout = 8 * time.Second
	// storeTimeout is how long storing may take.
	storeTimeout = 8 * time.Second
)

// Secret is a webhook secret. It prints as a placeholder.
type Secret string

// String hides the secret.
func (Secret) String() string { return "[webhook secret]" }

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Check is a check run or commit status that an event is about.
type Check struct {
	Repository rules.RepositoryID
	SHA        rules.SHA
	Name       string
}

// Store keeps deliveries.
type Store interface {
	// Accept stores a delivery's marks and facts together. Where it returns nil they
	// are durable. It reports known, and stores nothing, if a delivery of this id
	// and body was accepted before. It is called by many at once.
	Accept(ctx context.Context, d rules.Delivery) (known bool, err error)
}

// Config is what a handler works with.
type Config struct {
	// Secrets are the webhook's secret and, while it is being replaced, the other
	// one. None may be empty.
	Secrets []Secret
	// App is the id of this GitHub App: what its own check runs go through makes
	// no work. It is required.
	App rules.AppID
	// Bot is the account of the App's own bot: what it did itself makes no work. 0
	// is unknown.
	Bot rules.AccountID
	// Waits reports whether something waits for a check, so that the others cost
	// nothing. Whoever does not know says yes. Nil: everything waits for every check.
	Waits func(context.Context, Check) bool
	// Runs reports whether a run is known to have deployed or to wait, so that the
	// ends of all others cost nothing. Whoever does not know says yes. Nil: every run
	// is.
	Runs func(context.Context, rules.RepositoryID, rules.RunID) bool
	// Store is required.
	Store Store
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
	// ReadTimeout is how long a body may take to arrive; 0 is
	// [DefaultReadTimeout].
	ReadTimeout time.Duration
	// Log is told of deliveries that were refused or could not be stored, never of
	// their contents. Nil is silence.
	Log *slog.Logger
}

type handler struct {
	cfg      Config
	makers   map[string]maker // not changed after New
	decoder  decoder
	buffered atomic.Int64
	bodies   sync.Pool // of *bytes.Buffer
}

// New makes the handler of POST /webhooks/github. It refuses to work with an empty
// secret, against which anybody can sign.
//
// The answers: 202 stored, known already, or of no concern; 400 an event header
// that is missing, a delivery id that is none, or a body that is not the JSON of
// that event; 401 no valid signature; 405 not POST; 408 the body did not come in
// time; 413 the body is too large; 415 not application/json; 503 the store is
// down, or too much arrives at once.
func New(cfg Config) (http.Handler, error) {
	if len(cfg.Secrets) == 0 || len(cfg.Secrets) > MaxSecrets {
		return nil, fmt.Errorf("webhook: %d secrets, want one, or two while it is being replaced", len(cfg.Secrets))
	}
	for i, s := range cfg.Secrets {
		if strings.TrimSpace(string(s)) == "" {
			return nil, fmt.Errorf("webhook: secret %d is empty: anybody could sign with it", i+1)
		}
	}
	if cfg.App <= 0 {
		return nil, fmt.Errorf("webhook: %d is not the id of an App", cfg.App)
	}
	if cfg.Store == nil {
		return nil, errors.New("webhook: no store")
	}
	cfg.Secrets = append([]Secret(nil), cfg.Secrets...)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.ReadTimeout == 0 {
		cfg.ReadTimeout = DefaultReadTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &handler{cfg: cfg, makers: events()}, nil
}

// refusal is an answer other than 202.
type refusal struct {
	status int
	text   string // for the sender: no secret, nothing of the body
	cause  error  // for the log
}

func refuse(status int, text string) *refusal { return &refusal{status: status, text: text} }

// begun is how long a check that began is left alone.
const begun = 500 * time.Millisecond

// answer is the body of a 202.
type answer struct {
	Status string `json:"status"` // "accepted", "known" or "ignored"
	Marks  int    `json:"marks"`
	Facts  int    `json:"facts"`
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out, no := h.receive(w, r)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if no != nil {
		level := slog.LevelInfo
		if no.status >= http.StatusInternalServerError {
			level = slog.LevelError
		}
		id, _ := deliveryID(r.Header) // as it says itself: nobody may have signed it
		h.cfg.Log.LogAttrs(r.Context(), level, "webhook delivery refused", slog.String("delivery", id),
			slog.Int("status", no.status), slog.String("why", no.text), slog.Any("cause", no.cause))
		switch no.status {
		case http.StatusMethodNotAllowed:
			w.Header().Set("Allow", http.MethodPost)
		case http.StatusServiceUnavailable:
			w.Header().Set("Retry-After", "10")
		}
		w.WriteHeader(no.status)
		_ = json.MarshalWrite(w, map[string]string{"error": no.text}) // the sender went away
		return
	}
	w.WriteHeader(http.StatusAccepted)
	_ = json.MarshalWrite(w, out) // the sender went away
}

func (h *handler) receive(w http.ResponseWriter, r *http.Request) (answer, *refusal) {
	if r.Method != http.MethodPost {
		return answer{}, refuse(http.StatusMethodNotAllowed, "want POST")
	}
	if no := contentType(r.Header); no != nil {
		return answer{}, no
	}
	event, ok := single(r.Header, "X-GitHub-Event")
	if !ok || !made(event, 64, "abcdefghijklmnopqrstuvwxyz0123456789_") {
		return answer{}, refuse(http.StatusBadRequest, "want one X-GitHub-Event header with the name of an event")
	}
	id, ok := deliveryID(r.Header)
	if !ok {
		return answer{}, refuse(http.StatusBadRequest, "want one X-GitHub-Delivery header with an id of letters, digits and hyphens")
	}
	signature, no := signature(r.Header)
	if no != nil {
		return answer{}, no
	}
	body, release, no := h.read(w, r)
	defer release()
	if no != nil {
		return answer{}, no
	}
	if !h.signed(body, signature[:]) {
		return answer{}, refuse(http.StatusUnauthorized, "the signature is not that of this body with the webhook's secret")
	}
	// The signature is right, so it is itself a hash of the body that nobody without
	// a secret can make, and with one it takes a collision of SHA-256 to have it
	// twice. While a secret is being replaced the same body may come with either:
	// then it counts as another delivery, which costs a look. It is stored hashed, so that
	// nobody who reads the store can send anything signed.
	d := rules.Delivery{ID: id, BodyHash: sha256.Sum256(signature[:]), Event: event, ReceivedAt: h.cfg.Now()}
	check, run, err := h.fill(&d, body)
	if err != nil {
		return answer{}, &refusal{status: http.StatusBadRequest, text: "the body is not the JSON of this event", cause: err}
	}
	release() // the body is not needed while storing
	if check != nil && len(d.Facts) == 0 && h.cfg.Waits != nil && !h.cfg.Waits(r.Context(), *check) {
		d.Marks = nil
	}
	if run != 0 && len(d.Facts) == 0 && h.cfg.Runs != nil && !h.cfg.Runs(r.Context(), d.Repository, run) {
		d.Marks = nil
	}
	if check != nil && event == "check_run" && d.Action != "completed" {
		// That a check begins comes a moment before that it ended: one look for both.
		for i := range d.Marks {
			d.Marks[i].Due = d.ReceivedAt.Add(begun)
		}
	}
	out := answer{Status: "ignored", Marks: len(d.Marks), Facts: len(d.Facts)}
	if len(d.Marks)+len(d.Facts) == 0 {
		return out, nil
	}
	// It is whole and signed: whoever sent it may go, and it is stored all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeTimeout)
	defer cancel()
	known, err := h.cfg.Store.Accept(ctx, d)
	if err != nil {
		return answer{}, &refusal{status: http.StatusServiceUnavailable, text: "the delivery cannot be stored now", cause: err}
	}
	out.Status = "accepted"
	if known {
		out.Status = "known"
	}
	return out, nil
}

// contentType refuses everything but plain JSON: a form-encoded body would be
// another text than the one that is parsed.
func contentType(h http.Header) *refusal {
	bad := refuse(http.StatusUnsupportedMediaType, "want Content-Type: application/json, as in the webhook's settings")
	value, ok := single(h, "Content-Type")
	if !ok {
		return bad
	}
	if value != "application/json" { // which GitHub sends
		kind, params, err := mime.ParseMediaType(value)
		if err != nil || kind != "application/json" {
			return bad
		}
		for name, p := range params {
			if name != "charset" || !strings.EqualFold(p, "utf-8") {
				return bad
			}
		}
	}
	if h.Get("Content-Encoding") != "" {
		return refuse(http.StatusUnsupportedMediaType, "want a body without Content-Encoding")
	}
	return nil
}

// single returns a header that is there exactly once.
func single(h http.Header, name string) (string, bool) {
	values := h.Values(name)
	if len(values) != 1 {
		return "", false
	}
	return values[0], true
}

// deliveryID returns the delivery's id if there is one that can be one.
func deliveryID(h http.Header) (string, bool) {
	id, ok := single(h, "X-GitHub-Delivery")
	if !ok || !made(id, 64, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") {
		return "", false
	}
	return id, true
}

// made reports whether s is 1 to limit of the given characters.
func made(s string, limit int, of string) bool {
	return s != "" && len(s) <= limit && strings.Trim(s, of) == ""
}

// signature returns the bytes of the X-Hub-Signature-256 header. There is one form
// of it; X-Hub-Signature with SHA-1 is not looked at.
func signature(h http.Header) (raw [sha256.Size]byte, no *refusal) {
	bad := refuse(http.StatusUnauthorized, "want one X-Hub-Signature-256 header: sha256= and 64 digits of lower-case hex")
	value, ok := single(h, "X-Hub-Signature-256")
	digits, ok2 := strings.CutPrefix(value, "sha256=")
	if !ok || !ok2 || !made(digits, 2*sha256.Size, "0123456789abcdef") {
		return raw, bad
	}
	if n, err := hex.Decode(raw[:], []byte(digits)); err != nil || n != sha256.Size {
		return raw, bad
	}
	return raw, nil
}

// signed reports whether one of the secrets made the signature. It tries all of
// them, always.
func (h *handler) signed(body, signature []byte) bool {
	ok := false
	for _, s := range h.cfg.Secrets {
		mac := hmac.New(sha256.New, []byte(s))
		mac.Write(body)
		if hmac.Equal(mac.Sum(nil), signature) {
			ok = true
		}
	}
	return ok
}

// read reads the body within its limits of size and time. Release gives its room
// back, after which the body may not be looked at, and may be called again.
func (h *handler) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), no *refusal) {
	buf, ok := h.bodies.Get().(*bytes.Buffer)
	if !ok {
		buf = &bytes.Buffer{}
	}
	held := int64(0)
	release = func() {
		h.buffered.Add(-held)
		held = 0
		if buf != nil && buf.Cap() <= maxKept {
			buf.Reset()
			h.bodies.Put(buf)
		}
		buf = nil
	}
	tooLarge := refuse(http.StatusRequestEntityTooLarge, "the body is larger than GitHub sends")
	if r.ContentLength > MaxBody {
		return nil, release, tooLarge
	}
	// The time limit is the connection's. Without one, as in a test that has no
	// connection, there is none.
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.cfg.ReadTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, release, &refusal{status: http.StatusServiceUnavailable, text: "the connection takes no time limit", cause: err}
	}
	from := http.MaxBytesReader(w, r.Body, MaxBody)
	buf.Grow(int(min(max(r.ContentLength, 0)+bytes.MinRead, firstRead)))
	for {
		if buf.Available() == 0 {
			buf.Grow(bytes.MinRead) // which doubles it
		}
		room := buf.AvailableBuffer()
		n, err := from.Read(room[:cap(room)])
		held += int64(n)
		if h.buffered.Add(int64(n)) > maxBuffered {
			return nil, release, refuse(http.StatusServiceUnavailable, "too much arrives at once")
		}
		buf.Write(room[:n])
		var large *http.MaxBytesError
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return buf.Bytes(), release, nil
		case errors.As(err, &large):
			return nil, release, tooLarge
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, release, &refusal{status: http.StatusRequestTimeout, text: "the body did not come in time", cause: err}
		default:
			return nil, release, &refusal{status: http.StatusBadRequest, text: "the body could not be read", cause: err}
		}
	}
}
