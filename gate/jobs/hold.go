package jobs

import (
	"context"
	"errors"
	"log/slog"
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

	// gateTime is how long the gate may take for one answer: it may ask GitHub.
	gateTime = 20 * time.Second
	// everySecond is how often the gate is asked for one that waits.
	everySecond = time.Second
	// againAfter is what a job that waits is told to wait where the gate does not say.
	againAfter = 5
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
	surface
	gate    Gate
	closing <-chan struct{}
	every   time.Duration
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
	h := &handler{
		surface: surface{
			thing: "hold", path: Path, below: http.MethodGet, want: "no body, or {}", often: "?wait= waits without asking again",
			verifier: cfg.Verifier, readTimeout: cfg.ReadTimeout, now: cfg.Now, log: cfg.Log,
		},
		gate: cfg.Gate, closing: cfg.Closing, every: cfg.Every, waiting: make(chan struct{}, MaxWaiting),
	}
	if cfg.Gate == nil {
		return nil, errors.New("holds: no gate")
	}
	if h.every <= 0 {
		h.every = everySecond
	}
	if err := h.complete(); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	state, status, p := h.answer(w, r)
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
	if status == http.StatusCreated {
		w.Header().Set("Location", Path+"/"+state.ID)
	}
	_ = show(w, status, body) // who asked may have gone away
}

// answer is a hold and 200 or 201, or a problem. What costs nothing is looked at
// first; nothing of the body is read before the token is verified.
func (h *handler) answer(w http.ResponseWriter, r *http.Request) (State, int, *problem) {
	id, p := h.route(r)
	if p != nil {
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
	if p := h.read(w, r, &struct{}{}); p != nil {
		return State{}, 0, p
	}
	state, p := h.ask(r.Context(), func(ctx context.Context) (State, error) { return h.gate.Hold(ctx, token) })
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

// watch is a hold, as it is once nobody has to wait any more, or after the wait.
func (h *handler) watch(w http.ResponseWriter, r *http.Request, id string, token rules.JobToken, wait time.Duration) (State, *problem) {
	look := func(ctx context.Context) (State, error) { return h.gate.HoldState(ctx, id, token) }
	state, p := h.ask(r.Context(), look)
	// A token proves nothing once it is over.
	wait = min(wait, token.Expires.Sub(h.now()))
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
	again := time.NewTicker(h.every)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-end.C:
			return state, nil
		case <-h.closing:
			return state, nil
		case <-r.Context().Done():
			return state, nil // nobody reads it
		}
		if state, p = h.ask(r.Context(), look); p != nil || state.State != Waiting {
			return state, p
		}
	}
}

// ask asks the gate once and turns its errors into problems.
func (h *handler) ask(ctx context.Context, gate func(context.Context) (State, error)) (State, *problem) {
	ctx, cancel := context.WithTimeout(ctx, gateTime)
	defer cancel()
	state, err := gate(ctx)
	switch {
	case err == nil && (!isID(state.ID) || state.State == ""):
		return State{}, down("hold-unavailable", "the hold cannot be told now", errors.New("the gate gave a hold without id or state"))
	case err == nil:
		return state, nil
	}
	return State{}, h.problem(err, "this job has no such hold; POST "+Path+" makes one", "the store or GitHub cannot be reached now; the job is not released")
}
