package jobs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/rules"
)

const (
	good = "aaaa.bbbb.cccc"
	hold = "h_7Q-2"
)

// fake is a verifier and a gate.
type fake struct {
	mu       sync.Mutex
	token    rules.JobToken
	refused  error // of Verify
	state    jobs.State
	err      error // of the gate
	slow     time.Duration
	verified []string
	asked    []string // what the gate was asked
}

func (f *fake) Verify(_ context.Context, raw string) (rules.JobToken, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verified = append(f.verified, raw)
	if f.refused != nil {
		return rules.JobToken{}, f.refused
	}
	t := f.token
	if job, ok := strings.CutPrefix(raw, "job-"); ok {
		n, err := strconv.ParseInt(job, 10, 64)
		t.Claims.CheckRunID = rules.CheckRunID(n)
		return t, err
	}
	return t, nil
}

func (f *fake) Hold(ctx context.Context, t rules.JobToken) (jobs.State, error) {
	return f.answer(ctx, fmt.Sprint("hold of ", t.Claims.CheckRunID))
}

func (f *fake) HoldState(ctx context.Context, id string, t rules.JobToken) (jobs.State, error) {
	return f.answer(ctx, fmt.Sprint("state ", id, " of ", t.Claims.CheckRunID))
}

func (f *fake) answer(ctx context.Context, what string) (jobs.State, error) {
	f.mu.Lock()
	f.asked = append(f.asked, what)
	slow := f.slow
	f.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return jobs.State{}, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, f.err
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

type world struct {
	*fake
	t       *testing.T
	clock   *githubtest.Clock
	log     *bytes.Buffer
	closing chan struct{}
	h       http.Handler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldEvery(t, 5*time.Millisecond)
}

func newWorldEvery(t *testing.T, every time.Duration) *world {
	t.Helper()
	w := &world{t: t, clock: githubtest.NewClock(time.Now()), log: &bytes.Buffer{}, closing: make(chan struct{})}
	w.fake = &fake{
		token: rules.JobToken{Claims: rules.JobClaims{RepositoryID: 1, RunID: 2, RunAttempt: 1, CheckRunID: 3}, Expires: w.clock.Now().Add(5 * time.Minute)},
		state: jobs.State{
			ID: hold, State: jobs.Waiting, Environment: "production", SHA: "5f3c", Run: 2, Attempt: 1, Waits: "bob can approve", URL: "https://sallyport.example.com/deployments/1",
			Decision: rules.Decision{Verdict: rules.VerdictWait},
		},
	}
	h, err := jobs.New(jobs.Config{
		Verifier: w, Gate: w, Closing: w.closing, Every: every, ReadTimeout: 100 * time.Millisecond, Now: w.clock.Now, Log: slog.New(slog.NewTextHandler(w.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.h = h
	return w
}

// answer is what came back.
type answer struct {
	StatusCode int
	Header     http.Header
	body       map[string]any
}

// send sends a request with the good token, but for what change changes.
func (w *world) send(method, target, body string, change func(*http.Request)) answer {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+good)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if change != nil {
		change(r)
	}
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	return w.read(rec.Result())
}

func (w *world) read(r *http.Response) answer {
	w.t.Helper()
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{r.StatusCode, r.Header, map[string]any{}}
	if r.StatusCode == http.StatusNoContent && len(raw) == 0 {
		raw = []byte("{}")
	}
	if err := json.Unmarshal(raw, &a.body); err != nil {
		w.t.Fatalf("%d %q: %v", r.StatusCode, raw, err)
	}
	if strings.Contains(string(raw), good) || strings.Contains(w.log.String(), good) {
		w.t.Error("the token is shown")
	}
	if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
		w.t.Errorf("headers %v", r.Header)
	}
	return a
}

// problem wants a problem.
func (a answer) problem(t *testing.T, what string, status int, code string) {
	t.Helper()
	if a.StatusCode != status || a.body["code"] != code {
		t.Errorf("%s: %d %v, want %d %s", what, a.StatusCode, a.body, status, code)
		return
	}
	if a.Header.Get("Content-Type") != "application/problem+json" || a.body["type"] != "about:blank" || a.body["status"] != float64(status) ||
		a.body["title"] != http.StatusText(status) || a.body["detail"] == "" || a.body["detail"] == nil {
		t.Errorf("%s: no problem of RFC 9457: %v %v", what, a.Header, a.body)
	}
	if want := status == http.StatusUnauthorized; strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") != want {
		t.Errorf("%s: WWW-Authenticate %q", what, a.Header.Get("WWW-Authenticate"))
	}
	if want := status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests; (a.Header.Get("Retry-After") != "") != want {
		t.Errorf("%s: Retry-After %q", what, a.Header.Get("Retry-After"))
	}
	if want := status == http.StatusMethodNotAllowed; (a.Header.Get("Allow") != "") != want {
		t.Errorf("%s: Allow %q", what, a.Header.Get("Allow"))
	}
}

func TestHold(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{"", "{}", " {}\n"} {
		a := w.send("POST", "/v1/holds", body, nil)
		if a.StatusCode != http.StatusCreated || a.Header.Get("Location") != "/v1/holds/"+hold || a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("POST %q: %d %v", body, a.StatusCode, a.Header)
		}
		for field, want := range map[string]any{
			"id": hold, "state": "waiting", "environment": "production", "sha": "5f3c", "run_id": 2.0, "run_attempt": 1.0, "grant": false,
			"waits": "bob can approve", "url": "https://sallyport.example.com/deployments/1", "retry_after": 5.0,
		} {
			if a.body[field] != want {
				t.Errorf("%s is %v, want %v", field, a.body[field], want)
			}
		}
		if d, ok := a.body["decision"].(map[string]any); !ok || d["verdict"] != "wait" {
			t.Errorf("decision %v", a.body["decision"])
		}
	}
	w.state.State, w.state.Grant = jobs.Released, true
	a := w.send("GET", "/v1/holds/"+hold, "", nil)
	if a.StatusCode != http.StatusOK || a.Header.Get("Location") != "" || a.body["state"] != "released" || a.body["grant"] != true || a.body["retry_after"] != nil {
		t.Errorf("GET: %d %v %v", a.StatusCode, a.Header, a.body)
	}
	if got := w.asked[len(w.asked)-1]; got != "state "+hold+" of 3" {
		t.Errorf("the gate was asked %q", got)
	}
}

// There is one place for the token, and one form.
func TestAuthorization(t *testing.T) {
	w := newWorld(t)
	for what, change := range map[string]func(http.Header){
		"none":              func(h http.Header) { h.Del("Authorization") },
		"two headers":       func(h http.Header) { h.Add("Authorization", "Bearer "+good) },
		"two, one empty":    func(h http.Header) { h["Authorization"] = []string{"", "Bearer " + good} },
		"two in one":        func(h http.Header) { h.Set("Authorization", "Bearer "+good+", Bearer "+good) },
		"empty":             func(h http.Header) { h.Set("Authorization", "") },
		"Bearer alone":      func(h http.Header) { h.Set("Authorization", "Bearer") },
		"Bearer and spaces": func(h http.Header) { h.Set("Authorization", "Bearer   ") },
		"Basic":             func(h http.Header) { h.Set("Authorization", "Basic "+good) },
		"no scheme":         func(h http.Header) { h.Set("Authorization", good) },
		"token":             func(h http.Header) { h.Set("Authorization", "token "+good) },
		"a tab":             func(h http.Header) { h.Set("Authorization", "Bearer\t"+good) },
		"a space within":    func(h http.Header) { h.Set("Authorization", "Bearer aaaa.bbbb .cccc") },
		"a line within":     func(h http.Header) { h.Set("Authorization", "Bearer aaaa.bbbb\r\nX-Eve: 1") },
		"JSON":              func(h http.Header) { h.Set("Authorization", `Bearer {"payload":"x"}`) },
		"very long":         func(h http.Header) { h.Set("Authorization", "Bearer "+strings.Repeat("a", 16<<10+1)) },
		"another header": func(h http.Header) {
			h.Del("Authorization")
			h.Set("X-Authorization", "Bearer "+good)
			h.Set("Proxy-Authorization", "Bearer "+good)
		},
		"a cookie": func(h http.Header) { h.Del("Authorization"); h.Set("Cookie", "access_token="+good) },
	} {
		for _, at := range []string{"POST /v1/holds", "GET /v1/holds/" + hold} {
			method, path, _ := strings.Cut(at, " ")
			w.send(method, path, "", func(r *http.Request) { change(r.Header) }).problem(t, what, http.StatusUnauthorized, "token-missing")
		}
	}
	for _, target := range []string{
		"/v1/holds?access_token=" + good, "/v1/holds?token=" + good, "/v1/holds?wait=5", "/v1/holds/" + hold + "?access_token=" + good,
		"/v1/holds/" + hold + "?wait=5&access_token=x", "/v1/holds/" + hold + "?wait=51", "/v1/holds/" + hold + "?wait=-1", "/v1/holds/" + hold + "?wait=", "/v1/holds/" + hold + "?wait=1e1",
		"/v1/holds/" + hold + "?wait=5&wait=6", "/v1/holds/" + hold + "?wait=99999999999999999999",
	} {
		method := "POST"
		if strings.Contains(target, hold) {
			method = "GET"
		}
		w.send(method, target, "", nil).problem(t, target, http.StatusBadRequest, "query")
	}
	if len(w.verified) > 0 || len(w.asked) > 0 {
		t.Errorf("verified %q, asked %q", w.verified, w.asked)
	}
	for _, value := range []string{"bearer " + good, "BEARER " + good, "Bearer  " + good} {
		if a := w.send("POST", "/v1/holds", "", func(r *http.Request) { r.Header.Set("Authorization", value) }); a.StatusCode != http.StatusCreated {
			t.Errorf("%q: %d %v", value, a.StatusCode, a.body)
		}
		if got := w.verified[len(w.verified)-1]; got != good {
			t.Errorf("verified %q", got)
		}
	}
}

func TestRefusedToken(t *testing.T) {
	w := newWorld(t)
	w.refused = fmt.Errorf("verifying: %w", &rules.TokenRefused{Code: rules.TokenAudience, Claim: "aud", Text: `the token is for "x"`})
	for _, at := range []string{"POST /v1/holds", "GET /v1/holds/" + hold} {
		method, path, _ := strings.Cut(at, " ")
		a := w.send(method, path, strings.Repeat("x", 5000), nil) // the body is not looked at
		a.problem(t, at, http.StatusUnauthorized, "token-audience")
		if a.body["claim"] != "aud" || a.body["detail"] != `the token is for "x"` {
			t.Errorf("%s: %v", at, a.body)
		}
	}
	w.refused = errors.New("dial tcp 10.0.0.1: secret-internal")
	a := w.send("POST", "/v1/holds", "", nil)
	a.problem(t, "no issuer", http.StatusServiceUnavailable, "issuer-unavailable")
	if strings.Contains(fmt.Sprint(a.body), "secret-internal") || !strings.Contains(w.log.String(), "secret-internal") {
		t.Errorf("the cause belongs into the log alone: %v", a.body)
	}
	if len(w.asked) > 0 {
		t.Errorf("the gate was asked %q", w.asked)
	}
}

func TestGateErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
		claim  any
	}{
		{jobs.ErrNotServed, 404, "not-installed", "repository_id"},
		{fmt.Errorf("looking: %w", jobs.ErrNotServed), 404, "not-installed", "repository_id"},
		{jobs.ErrNotFound, 404, "hold-not-found", nil},
		{&jobs.Refusal{Status: 403, Code: "SP501", Claim: "ref", Text: "no"}, 403, "SP501", "ref"},
		{fmt.Errorf("x: %w", &jobs.Refusal{Status: 409, Code: "x", Text: "no"}), 409, "x", nil},
		{&jobs.Refusal{Status: 401, Code: "x", Text: "no"}, 401, "x", nil},
		{&jobs.Refusal{Status: 200, Code: "x", Text: "no"}, 403, "x", nil},
		{&jobs.Refusal{Code: "x", Text: "no"}, 403, "x", nil},
		{&jobs.Refusal{Status: 999, Code: "x", Text: "no"}, 403, "x", nil},
		{context.DeadlineExceeded, 503, "hold-unavailable", nil},
		{errors.New("secret-internal"), 503, "hold-unavailable", nil},
	} {
		w := newWorld(t)
		w.err = c.err
		w.state.State = jobs.Released // counts for nothing beside an error
		for _, at := range []string{"POST /v1/holds", "GET /v1/holds/" + hold, "GET /v1/holds/" + hold + "?wait=50"} {
			method, path, _ := strings.Cut(at, " ")
			a := w.send(method, path, "", nil)
			a.problem(t, at+": "+c.err.Error(), c.status, c.code)
			if a.body["claim"] != c.claim || a.body["state"] != nil || strings.Contains(fmt.Sprint(a.body), "secret-internal") {
				t.Errorf("%s: %v: %v", at, c.err, a.body)
			}
		}
	}
	w := newWorld(t)
	for _, id := range []string{"", "a/b", "a\r\nX-Eve: 1", strings.Repeat("a", 65)} {
		w.state.ID = id
		w.send("POST", "/v1/holds", "", nil).problem(t, "a hold named "+id, http.StatusServiceUnavailable, "hold-unavailable")
	}
	w.state = jobs.State{ID: hold}
	w.send("POST", "/v1/holds", "", nil).problem(t, "a hold in no state", http.StatusServiceUnavailable, "hold-unavailable")
}

func TestMethodsAndPaths(t *testing.T) {
	w := newWorld(t)
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "post", "EVE"} {
		a := w.send(method, "/v1/holds", "", nil)
		a.problem(t, method, http.StatusMethodNotAllowed, "method")
		if a.Header.Get("Allow") != "POST" {
			t.Errorf("%s: Allow %q", method, a.Header.Get("Allow"))
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "HEAD"} {
		if a := w.send(method, "/v1/holds/"+hold, "", nil); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET" {
			t.Errorf("%s of a hold: %d %v", method, a.StatusCode, a.Header)
		}
	}
	for _, path := range []string{"/v1/holds/", "/v1/holds/a/b", "/v1/holds/a%2Fb", "/v1/holds/..%2F..%2Fa", "/v1/holds/a%00", "/v1/holds/%C3%A9", "/v1/holds/a.b", "/v1/holds/" + strings.Repeat("a", 65), "/v1/holdsx", "/"} {
		w.send("GET", path, "", nil).problem(t, path, http.StatusNotFound, "not-found")
	}
	if len(w.verified) > 0 {
		t.Errorf("verified %d tokens", len(w.verified))
	}
}

func TestBody(t *testing.T) {
	w := newWorld(t)
	for body, status := range map[string]int{
		"null": 400, "[]": 400, `"x"`: 400, "{": 400, "{}{}": 400, `{"environment":"dev"}`: 400, "x": 400, "{}\x00": 400,
		strings.Repeat(" ", 4<<10-2) + "{}": 201, strings.Repeat(" ", 4<<10-1) + "{}": 413, strings.Repeat("x", 1<<20): 413,
	} {
		for _, length := range []bool{true, false} {
			w.clock.Advance(time.Minute)
			a := w.send("POST", "/v1/holds", body, func(r *http.Request) {
				if !length {
					r.ContentLength = -1
				}
			})
			if a.StatusCode != status {
				t.Errorf("%.20q (%d bytes): %d %v, want %d", body, len(body), a.StatusCode, a.body, status)
			} else if status != 201 {
				a.problem(t, body[:1], status, "body")
			}
		}
	}
	for what, change := range map[string]func(http.Header){
		"no type": func(h http.Header) { h.Del("Content-Type") }, "a form": func(h http.Header) { h.Set("Content-Type", "application/x-www-form-urlencoded") },
		"text": func(h http.Header) { h.Set("Content-Type", "text/plain") }, "two types": func(h http.Header) { h.Add("Content-Type", "application/json") },
		"gzip": func(h http.Header) { h.Set("Content-Encoding", "gzip") },
	} {
		w.send("POST", "/v1/holds", "{}", func(r *http.Request) { change(r.Header) }).problem(t, what, http.StatusUnsupportedMediaType, "body")
	}
}

func TestRate(t *testing.T) {
	w := newWorld(t)
	post := func() int { w.t.Helper(); return w.send("POST", "/v1/holds", "", nil).StatusCode }
	for i := range 30 {
		if got := post(); got != 201 {
			t.Fatalf("request %d: %d", i+1, got)
		}
		w.clock.Advance(time.Second)
	}
	a := w.send("GET", "/v1/holds/"+hold, "", nil)
	a.problem(t, "the 31st", http.StatusTooManyRequests, "rate")
	if got := a.Header.Get("Retry-After"); got != "30" {
		t.Errorf("Retry-After %s, want 30", got)
	}
	before := w.count()
	for range 10 { // being refused does not make it longer
		w.send("POST", "/v1/holds", "", nil).problem(t, "too many", http.StatusTooManyRequests, "rate")
	}
	if w.count() != before {
		t.Error("the gate was asked")
	}
	// Other jobs, runs and repositories are not concerned; the attempt is no new job.
	for _, change := range []func(*rules.JobClaims){func(c *rules.JobClaims) { c.RepositoryID++ }, func(c *rules.JobClaims) { c.RunID++ }, func(c *rules.JobClaims) { c.CheckRunID++ }} {
		change(&w.token.Claims)
		if got := post(); got != 201 {
			t.Errorf("another: %d", got)
		}
	}
	w.token.Claims = rules.JobClaims{RepositoryID: 1, RunID: 2, RunAttempt: 2, CheckRunID: 3}
	w.send("POST", "/v1/holds", "", nil).problem(t, "another attempt's number", http.StatusTooManyRequests, "rate")
	w.clock.Advance(30 * time.Second)
	if got := post(); got != 201 {
		t.Errorf("half a minute later: %d", got)
	}
	w.send("POST", "/v1/holds", "", nil).problem(t, "and only one", http.StatusTooManyRequests, "rate")
}

// With a hundred thousand jobs the memory stays as it is, and whoever asks still
// gets an answer.
func TestRateIsBounded(t *testing.T) {
	w := newWorld(t)
	for i := range 20_000 {
		w.token.Claims.CheckRunID = rules.CheckRunID(i + 1)
		if i%4000 == 0 {
			w.clock.Advance(time.Minute)
		}
		if got := w.send("POST", "/v1/holds", "", nil).StatusCode; got != 201 {
			t.Fatalf("job %d: %d", i, got)
		}
	}
}

// serve starts a real server, with limits like ours.
func (w *world) serve() string {
	w.t.Helper()
	s := httptest.NewUnstartedServer(w.h)
	s.Config.WriteTimeout = 300 * time.Millisecond
	s.Start()
	w.t.Cleanup(s.Close)
	return s.URL
}

func (w *world) get(ctx context.Context, url string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Authorization", "Bearer "+good)
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer{}, err
	}
	return w.read(got), nil
}

func TestWaiting(t *testing.T) {
	w := newWorld(t)
	url := w.serve() + "/v1/holds/" + hold
	got := make(chan answer, 1)
	go func() {
		a, err := w.get(t.Context(), url+"?wait=50")
		if err != nil {
			t.Error(err)
		}
		got <- a
	}()
	until(t, "it asks again", func() bool { return w.count() >= 3 })
	time.Sleep(400 * time.Millisecond) // beyond the server's own limit
	select {
	case a := <-got:
		t.Fatalf("answered while waiting: %v", a.body)
	default:
	}
	w.set(func() { w.state.State = jobs.Rejected })
	if a := <-got; a.StatusCode != http.StatusOK || a.body["state"] != "rejected" {
		t.Errorf("%d %v", a.StatusCode, a.body)
	}

	// What has ended does not wait, and asks once.
	before := w.count()
	if a, err := w.get(t.Context(), url+"?wait=50"); err != nil || a.body["state"] != "rejected" || w.count() != before+1 {
		t.Errorf("%v %v, asked %d times", a.body, err, w.count()-before)
	}

	// The wait ends by itself.
	w.set(func() { w.state.State = jobs.Waiting })
	start := time.Now()
	a, err := w.get(t.Context(), url+"?wait=1")
	if took := time.Since(start); err != nil || a.body["state"] != "waiting" || took < time.Second {
		t.Errorf("%v %v after %v", a.body, err, took)
	}

	// A gate that fails while waiting ends it.
	go func() {
		a, err := w.get(t.Context(), url+"?wait=50")
		if err != nil {
			t.Error(err)
		}
		got <- a
	}()
	before = w.count()
	until(t, "it waits", func() bool { return w.count() > before+1 })
	w.set(func() { w.err = errors.New("the store is down") })
	(<-got).problem(t, "the store goes down", http.StatusServiceUnavailable, "hold-unavailable")
}

func until(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !yes(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time:", what)
		}
	}
}

// A token that is over waits for nothing.
func TestWaitingEndsWithTheToken(t *testing.T) {
	w := newWorld(t)
	w.token.Expires = w.clock.Now().Add(-time.Second)
	a := w.send("GET", "/v1/holds/"+hold+"?wait=50", "", nil)
	if a.body["state"] != "waiting" || w.count() != 1 {
		t.Errorf("%v, asked %d times", a.body, w.count())
	}
	w.token.Expires = w.clock.Now().Add(50 * time.Millisecond)
	if a := w.send("GET", "/v1/holds/"+hold+"?wait=50", "", nil); a.body["state"] != "waiting" {
		t.Errorf("%v", a.body)
	}
}

// Waiting costs the gate nothing once nobody listens, and does not keep the server
// from ending.
func TestWaitingEndsWithTheClient(t *testing.T) {
	w := newWorld(t)
	url := w.serve() + "/v1/holds/" + hold + "?wait=50"
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { _, err := w.get(ctx, url); gone <- err }()
	until(t, "it waits", func() bool { return w.count() > 2 })
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	until(t, "it asks no more", func() bool {
		before := w.count()
		time.Sleep(50 * time.Millisecond)
		return w.count() == before
	})
	got := make(chan answer, 1)
	go func() {
		a, err := w.get(t.Context(), url)
		if err != nil {
			t.Error(err)
		}
		got <- a
	}()
	before := w.count()
	until(t, "it waits", func() bool { return w.count() > before+1 })
	close(w.closing)
	if a := <-got; a.StatusCode != http.StatusOK || a.body["state"] != "waiting" {
		t.Errorf("at the end: %d %v", a.StatusCode, a.body)
	}
}

// A thousand wait; the one after them is answered at once.
func TestTooManyWait(t *testing.T) {
	w := newWorldEvery(t, 2*time.Second)
	w.token.Expires = w.clock.Now().Add(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	wait := func(ctx context.Context, job int) int {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/holds/"+hold+"?wait=50", http.NoBody)
		r.Header.Set("Authorization", fmt.Sprint("Bearer job-", job))
		rec := httptest.NewRecorder()
		w.h.ServeHTTP(rec, r)
		return rec.Code
	}
	var all sync.WaitGroup
	for i := range jobs.MaxWaiting {
		all.Go(func() { wait(ctx, 1000+i) })
	}
	until(t, "all have asked", func() bool { return w.count() >= jobs.MaxWaiting })
	until(t, "no place is left", func() bool {
		w.clock.Advance(10 * time.Second) // for the rate
		short, end := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer end()
		return wait(short, 1) == http.StatusOK && short.Err() == nil
	})
	cancel()
	all.Wait()
	// The places are free again.
	short, end := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer end()
	if wait(short, 2); short.Err() == nil {
		t.Error("answered at once, although nobody waits")
	}
}

// The time limit is for the body, not for the gate.
func TestSlowBodies(t *testing.T) {
	w := newWorld(t)
	url := w.serve()
	w.slow = 200 * time.Millisecond
	for _, body := range []string{"", "{}"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/holds", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+good)
		r.Header.Set("Content-Type", "application/json")
		got, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if a := w.read(got); a.StatusCode != http.StatusCreated {
			t.Errorf("a slow gate after %q: %d %v", body, a.StatusCode, a.body)
		}
	}
	w.slow = 0
	if answer := halfBody(t, url, "/v1/holds"); !strings.HasPrefix(answer, "HTTP/1.1 408 ") {
		t.Errorf("half a body: %q", answer)
	}
}

// halfBody is what comes back where a body's second half never comes.
func halfBody(t *testing.T, url, path string) string {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{", path, good)
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestNew(t *testing.T) {
	f := &fake{}
	for _, cfg := range []jobs.Config{{}, {Verifier: f}, {Gate: f}} {
		if _, err := jobs.New(cfg); err == nil {
			t.Errorf("accepted %+v", cfg)
		}
	}
}
