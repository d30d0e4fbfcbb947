package holds

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/rules"
)

const (
	// Path is where holds are made; a hold's own path is Path/ID.
	Path = "/v1/holds"
	// MaxWait is the longest that a request waits, in seconds. Proxies cut
	// connections that are silent for a minute.
	MaxWait = 50
	// MaxWaiting is how many requests wait at once. Beyond them each is answered at
	// once.
	MaxWaiting = 1000

	// maxToken is the longest bearer token in bytes; it bounds what is copied, and
	// the verifier has the limit that counts.
	maxToken = 16 << 10
	// maxBody is room for {} and what may come to stand in it.
	maxBody = 4 << 10
	// DefaultReadTimeout is how long a body may take to arrive.
	DefaultReadTimeout = 5 * time.Second
	// gateTime is how long the gate may take for one answer: it may ask GitHub.
	gateTime = 20 * time.Second
	// everySecond is how often the gate is asked for one that waits.
	everySecond = time.Second
	// againAfter is what a job that waits is told to wait where the gate does not say.
	againAfter = 5
	// downAfter is in how many seconds to come back when something is down.
	downAfter = 10
)

// Config is what a handler works with.
type Config struct {
	// Verifier and Gate are required.
	Verifier Verifier
	Gate     Gate
	// Closing ends waiting when it is closed, so that the server can end. Nil is
	// never.
	Closing <-chan struct{}
	// Every is how often the gate is asked for one that waits; 0 is a second.
	Every time.Duration
	// ReadTimeout is how long a body may take to arrive; 0 is [DefaultReadTimeout].
	ReadTimeout time.Duration
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
	// Log is told of refusals, never of a token. Nil is silence.
	Log *slog.Logger
}

type handler struct {
	cfg     Config
	rate    *rate
	waiting chan struct{} // has an element for each that waits
}

// New makes the handler of [Path] and what is below it.
//
// The answers: 201 (POST) and 200 (GET) with a [State]; 400 a body or query that
// is not wanted; 401 no token, or one that is refused; 404 a repository that is not
// served, or no such hold of this job; 405 another method; 408 the body did not come
// in time; 413 and 415 a body that is too large or not JSON; 429 this job asks too
// often; 503 the issuer, the store or GitHub is down. Any other 4xx is the gate's.
func New(cfg Config) (http.Handler, error) {
	if cfg.Verifier == nil {
		return nil, errors.New("holds: no verifier: anybody could ask")
	}
	if cfg.Gate == nil {
		return nil, errors.New("holds: no gate")
	}
	if cfg.Every <= 0 {
		cfg.Every = everySecond
	}
	if cfg.ReadTimeout <= 0 {
		cfg.ReadTimeout = DefaultReadTimeout
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &handler{cfg: cfg, rate: newRate(), waiting: make(chan struct{}, MaxWaiting)}, nil
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	state, status, p := h.answer(w, r)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if p != nil {
		h.refuse(w, r, p)
		return
	}
	if state.State == Waiting && state.RetryAfter <= 0 {
		state.RetryAfter = againAfter
	}
	body, err := json.Marshal(state)
	if err != nil {
		h.refuse(w, r, down("hold-unavailable", "the hold cannot be shown now", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusCreated {
		w.Header().Set("Location", Path+"/"+state.ID)
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) //nolint:gosec // JSON, said to be so; and who asked may have gone away
}

// answer is a hold and 200 or 201, or a problem. What costs nothing is looked at
// first; nothing of the body is read before the token is verified.
func (h *handler) answer(w http.ResponseWriter, r *http.Request) (State, int, *problem) {
	id, method := "", http.MethodPost
	if r.URL.Path != Path {
		rest, ok := strings.CutPrefix(r.URL.Path, Path+"/")
		if !ok || !isID(rest) {
			return State{}, 0, refuseWith(http.StatusNotFound, "not-found", "there is nothing at this path")
		}
		id, method = rest, http.MethodGet
	}
	if r.Method != method {
		p := refuseWith(http.StatusMethodNotAllowed, "method", "want "+method)
		p.allow = method
		return State{}, 0, p
	}
	wait, p := query(r, id != "")
	if p != nil {
		return State{}, 0, p
	}
	token, p := h.authenticate(r)
	if p != nil {
		return State{}, 0, p
	}
	if id != "" {
		state, p := h.watch(w, r, id, token, wait)
		return state, http.StatusOK, p
	}
	if p := h.emptyBody(w, r); p != nil {
		return State{}, 0, p
	}
	state, p := h.ask(r.Context(), func(ctx context.Context) (State, error) { return h.cfg.Gate.Hold(ctx, token) })
	return state, http.StatusCreated, p
}

// query reads the query: nothing but wait, and that for GET alone. A token in an
// address would stand in logs.
func query(r *http.Request, get bool) (time.Duration, *problem) {
	if r.URL.RawQuery == "" {
		return 0, nil
	}
	text, ok := strings.CutPrefix(r.URL.RawQuery, "wait=")
	seconds, err := strconv.ParseUint(text, 10, 8)
	if !get || !ok || err != nil || seconds > MaxWait {
		return 0, refuseWith(http.StatusBadRequest, "query", "want no query, or wait=SECONDS up to "+strconv.Itoa(MaxWait)+" for GET; a token goes into the Authorization header")
	}
	return time.Duration(seconds) * time.Second, nil
}

// authenticate verifies the token and counts the request.
func (h *handler) authenticate(r *http.Request) (rules.JobToken, *problem) {
	raw, p := bearer(r.Header)
	if p != nil {
		return rules.JobToken{}, p
	}
	token, err := h.cfg.Verifier.Verify(r.Context(), raw)
	if err != nil {
		var refused *rules.TokenRefused
		if errors.As(err, &refused) {
			p := refuseWith(http.StatusUnauthorized, refused.Code, refused.Text)
			p.Claim, p.challenge = refused.Claim, `Bearer error="invalid_token"`
			return rules.JobToken{}, p
		}
		return rules.JobToken{}, down("issuer-unavailable", "the token cannot be verified now: the issuer's keys cannot be read", err)
	}
	c := &token.Claims
	if wait := h.rate.take(job{c.RepositoryID, c.RunID, c.CheckRunID}, h.cfg.Now()); wait > 0 {
		p := refuseWith(http.StatusTooManyRequests, "rate", "this job asked "+strconv.Itoa(perMinute)+" times within a minute; ?wait= waits without asking again")
		p.retry = int((wait + time.Second - 1) / time.Second)
		return rules.JobToken{}, p
	}
	return token, nil
}

// bearer is the token of the one Authorization header.
func bearer(head http.Header) (string, *problem) {
	bad := func(text string) (string, *problem) {
		p := refuseWith(http.StatusUnauthorized, "token-missing", text)
		p.challenge = "Bearer"
		return "", p
	}
	values := head.Values("Authorization")
	if len(values) != 1 {
		return bad("want one Authorization header with the job's OIDC token: Bearer TOKEN")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return bad("want the Authorization header to be Bearer and the job's OIDC token")
	}
	token = strings.Trim(token, " ")
	if token == "" || len(token) > maxToken || strings.Trim(token, letters+".~+/=") != "" {
		return bad("the bearer is no OIDC token of a job")
	}
	return token, nil
}

// letters are those of ids and, with a few signs more, of bearer tokens.
const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

func isID(s string) bool { return s != "" && len(s) <= 64 && strings.Trim(s, letters) == "" }

// emptyBody wants no body, or an empty JSON object.
func (h *handler) emptyBody(w http.ResponseWriter, r *http.Request) *problem {
	tooLarge := refuseWith(http.StatusRequestEntityTooLarge, "body", "the body is larger than "+strconv.Itoa(maxBody)+" bytes; want none, or {}")
	if r.ContentLength > maxBody {
		return tooLarge
	}
	if r.ContentLength == 0 {
		return nil // and no time limit: it would end the request while the gate works
	}
	// The time limit is the connection's, until the body has come. Without one, as in
	// a test that has no connection, there is none.
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.cfg.ReadTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return down("connection", "the connection takes no time limit", err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &large):
		return tooLarge
	case errors.As(err, &timeout) && timeout.Timeout():
		return refuseWith(http.StatusRequestTimeout, "body", "the body did not come in time")
	case err != nil:
		return refuseWith(http.StatusBadRequest, "body", "the body could not be read")
	case len(body) == 0:
		return nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || len(r.Header.Values("Content-Type")) != 1 || r.Header.Get("Content-Encoding") != "" {
		return refuseWith(http.StatusUnsupportedMediaType, "body", "want no body, or {} as application/json")
	}
	// null is no object, and would pass for one.
	if err := json.Unmarshal(body, &struct{}{}, json.RejectUnknownMembers(true)); err != nil || !strings.HasPrefix(strings.TrimLeft(string(body), " \t\r\n"), "{") {
		return refuseWith(http.StatusBadRequest, "body", "want no body, or {}: what is held follows from the token")
	}
	return nil
}

// watch is a hold, as it is once nobody has to wait any more, or after the wait.
func (h *handler) watch(w http.ResponseWriter, r *http.Request, id string, token rules.JobToken, wait time.Duration) (State, *problem) {
	look := func(ctx context.Context) (State, error) { return h.cfg.Gate.HoldState(ctx, id, token) }
	state, p := h.ask(r.Context(), look)
	// A token proves nothing once it is over.
	wait = min(wait, token.Expires.Sub(h.cfg.Now()))
	if p != nil || state.State != Waiting || wait <= 0 {
		return state, p
	}
	select {
	case h.waiting <- struct{}{}:
		defer func() { <-h.waiting }()
	default: // too many wait
		return state, nil
	}
	// The server's own limit is for those that do not wait.
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(wait + gateTime + 5*time.Second)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return state, nil
	}
	end := time.NewTimer(wait)
	defer end.Stop()
	again := time.NewTicker(h.cfg.Every)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-end.C:
			return state, nil
		case <-h.cfg.Closing:
			return state, nil
		case <-r.Context().Done():
			return state, nil // nobody reads it
		}
		if state, p = h.ask(r.Context(), look); p != nil || state.State != Waiting {
			return state, p
		}
	}
}

// ask asks the gate once and turns its errors into problems. It is the one table
// from error to status.
func (h *handler) ask(ctx context.Context, gate func(context.Context) (State, error)) (State, *problem) {
	ctx, cancel := context.WithTimeout(ctx, gateTime)
	defer cancel()
	state, err := gate(ctx)
	var refusal *Refusal
	switch {
	case err == nil && (!isID(state.ID) || state.State == ""):
		return State{}, down("hold-unavailable", "the hold cannot be told now", errors.New("the gate gave a hold without id or state"))
	case err == nil:
		return state, nil
	case errors.Is(err, ErrNotServed):
		return State{}, refuseWith(http.StatusNotFound, "not-installed", "the App is not installed on this repository, or its owner is not served here: ask whoever runs Sallyport")
	case errors.Is(err, ErrNotFound):
		return State{}, refuseWith(http.StatusNotFound, "hold-not-found", "this job has no such hold; POST "+Path+" makes one")
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
		return State{}, p
	default:
		return State{}, down("hold-unavailable", "the store or GitHub cannot be reached now; the job is not released", err)
	}
}
