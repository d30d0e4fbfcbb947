package actions_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/actions"
)

// peer is a server that answers as it is told.
type peer struct {
	t      *testing.T
	url    string
	mu     sync.Mutex
	answer func(n int, w http.ResponseWriter, r *http.Request)
	seen   []string // method, path and bearer of each request
	tokens int
}

func newPeer(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *peer {
	t.Helper()
	p := &peer{t: t, answer: answer}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		p.mu.Lock()
		p.seen = append(p.seen, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Authorization")+" "+string(body)))
		n := len(p.seen)
		p.mu.Unlock()
		p.answer(n, w, r)
	}))
	t.Cleanup(s.Close)
	p.url = s.URL
	return p
}

// client asks with tokens that count.
func (p *peer) client() *actions.Client {
	p.t.Helper()
	c, err := actions.NewClient(actions.Config{Server: p.url + "/", Token: func(_ context.Context, audience string) (actions.Secret, error) {
		if audience != p.url {
			p.t.Errorf("a token for %q, want %q", audience, p.url)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.tokens++
		return actions.Secret(fmt.Sprintf("token-%d", p.tokens)), nil
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *peer) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.seen...)
}

func say(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	if status >= 400 {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

const (
	waiting = `{"id":"h1","state":"waiting","environment":"production","sha":"5f3c","run_id":2,"run_attempt":1,"decision":{"verdict":"wait","environments":[],"reasons":[]},"waits":"bob can approve","grant":false,"retry_after":5}`
	given   = `{"id":"l1","secret":"s3cr3t","credential":"db","environment":"production","expires_at":"2099-01-01T00:00:00Z","values":{"password":"hunter2"}}`
)

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// A hold is asked for until the server is there, each time with a fresh token.
func TestHoldTriesAgain(t *testing.T) {
	p := newPeer(t, func(n int, w http.ResponseWriter, r *http.Request) {
		switch n {
		case 1:
			say(w, 503, `{"code":"hold-unavailable","detail":"the store is down"}`)
		case 2:
			panic(http.ErrAbortHandler) // the connection breaks
		default:
			say(w, 201, waiting)
		}
	})
	s, err := p.client().Hold(soon(t))
	if err != nil || s.ID != "h1" || s.State != actions.Waiting || s.Waits != "bob can approve" || s.Run != 2 {
		t.Fatalf("%+v %v", s, err)
	}
	for i, got := range p.requests() {
		if want := fmt.Sprintf("POST /v1/holds Bearer token-%d", i+1); got != want {
			t.Errorf("request %d: %q, want %q", i+1, got, want)
		}
	}
	if len(p.requests()) != 3 {
		t.Errorf("%d requests", len(p.requests()))
	}
}

// What cannot become right is asked once.
func TestHoldRefused(t *testing.T) {
	for status, body := range map[int]string{
		401: `{"code":"issuer","detail":"the token is of another issuer","claim":"iss"}`, 403: `{}`, 404: `not JSON`, 422: `{"code":"claim-missing","detail":"no environment"}`, 307: ``,
	} {
		p := newPeer(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			say(w, status, body)
		})
		_, err := p.client().Hold(soon(t))
		var problem *actions.Problem
		if !errors.As(err, &problem) || problem.Status != status || len(p.requests()) != 1 {
			t.Errorf("%d: %v after %q", status, err, p.requests())
		}
		if status == 401 && (problem.Claim != "iss" || !strings.Contains(err.Error(), "another issuer") || !strings.Contains(err.Error(), "claim iss")) {
			t.Errorf("says %v", err)
		}
	}
}

// What is no hold is none, whatever its status.
func TestHoldOfSomethingElse(t *testing.T) {
	for what, answer := range map[string]func(http.ResponseWriter){
		"another page": func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated); _, _ = io.WriteString(w, waiting) },
		"no id":        func(w http.ResponseWriter) { say(w, 201, `{"state":"released"}`) },
		"a bad id":     func(w http.ResponseWriter) { say(w, 201, `{"id":"../x","state":"released"}`) },
		"no state":     func(w http.ResponseWriter) { say(w, 201, `{"id":"h1"}`) },
		"half":         func(w http.ResponseWriter) { say(w, 201, waiting[:40]) },
		"a name twice": func(w http.ResponseWriter) { say(w, 201, `{"id":"h1","state":"waiting","state":"released"}`) },
		"too large":    func(w http.ResponseWriter) { say(w, 201, `{"id":"h1","state":"`+strings.Repeat("a", 9<<20)+`"}`) },
		"200":          func(w http.ResponseWriter) { say(w, 200, waiting) },
	} {
		p := newPeer(t, func(_ int, w http.ResponseWriter, _ *http.Request) { answer(w) })
		if s, err := p.client().Hold(soon(t)); err == nil {
			t.Errorf("%s: accepted as %+v", what, s)
		}
	}
}

func TestHoldState(t *testing.T) {
	p := newPeer(t, func(_ int, w http.ResponseWriter, _ *http.Request) { say(w, 200, waiting) })
	for wait, query := range map[time.Duration]string{0: "0", 1500 * time.Millisecond: "1", time.Hour: "50", -time.Second: "0"} {
		if _, err := p.client().HoldState(soon(t), "h1", wait); err != nil {
			t.Fatal(err)
		}
		if got := p.requests(); !strings.HasPrefix(got[len(got)-1], "GET /v1/holds/h1?wait="+query+" ") {
			t.Errorf("%v: %q", wait, got[len(got)-1])
		}
	}
	before := len(p.requests())
	if _, err := p.client().HoldState(soon(t), "../leases", 0); err == nil || len(p.requests()) != before {
		t.Error("asked for an id that is none")
	}
}

// Retry-After is obeyed, and nothing is asked that would come after the end.
func TestRetryAfter(t *testing.T) {
	p := newPeer(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			w.Header().Set("Retry-After", "1")
			say(w, 429, `{"code":"rate"}`)
			return
		}
		say(w, 201, waiting)
	})
	start := time.Now()
	if _, err := p.client().Hold(soon(t)); err != nil || time.Since(start) < time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	q := newPeer(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		say(w, 503, `{"code":"hold-unavailable"}`)
	})
	start = time.Now()
	if _, err := q.client().Hold(soon(t)); err == nil || time.Since(start) > 5*time.Second || len(q.requests()) != 1 {
		t.Errorf("%v after %v and %d requests", err, time.Since(start), len(q.requests()))
	}
}

func TestLease(t *testing.T) {
	p := newPeer(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		switch n {
		case 1:
			w.Header().Set("Retry-After", "0")
			say(w, 429, `{"code":"rate"}`)
		case 2:
			say(w, 503, `{"code":"issuer-unavailable"}`)
		default:
			say(w, 201, given)
		}
	})
	l, err := p.client().Lease(soon(t), "db")
	if err != nil || l.ID != "l1" || l.Values["password"].Reveal() != "hunter2" || l.Secret.Reveal() != "s3cr3t" {
		t.Fatalf("%v %v", l.ID, err)
	}
	if got := p.requests(); len(got) != 3 || got[2] != `POST /v1/leases Bearer token-3 {"credential":"db"}` {
		t.Errorf("%q", got)
	}
	for _, shown := range []string{fmt.Sprint(l), fmt.Sprintf("%+v %#v", l, l), fmt.Sprint(&l), fmt.Sprint(l.Values), fmt.Sprintf("%#v", l.Secret)} {
		if strings.Contains(shown, "hunter2") || strings.Contains(shown, "s3cr3t") {
			t.Errorf("shows %s", shown)
		}
	}
}

// A second request is taken for somebody else's: after an unclear answer there is none.
func TestLeaseIsAskedOnce(t *testing.T) {
	for what, answer := range map[string]func(http.ResponseWriter){
		"the connection breaks": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"a proxy's 502":         func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) },
		"a proxy's 503":         func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"half an answer": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "500")
			say(w, 201, given[:50])
		},
	} {
		p := newPeer(t, func(_ int, w http.ResponseWriter, _ *http.Request) { answer(w) })
		_, err := p.client().Lease(soon(t), "db")
		if !errors.Is(err, actions.ErrUnclear) || len(p.requests()) != 1 {
			t.Errorf("%s: %v after %d requests", what, err, len(p.requests()))
		}
	}
	p := newPeer(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		say(w, 503, `{"code":"lease-unavailable","detail":"nothing was given"}`)
	})
	_, err := p.client().Lease(soon(t), "db")
	if errors.Is(err, actions.ErrUnclear) || !strings.Contains(fmt.Sprint(err), "nothing was given") || len(p.requests()) != 1 {
		t.Errorf("the target is down: %v after %d requests", err, len(p.requests()))
	}
}

// A server that is not there yet was not asked.
func TestLeaseFromNobody(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	tries := 0
	c, err := actions.NewClient(actions.Config{
		Server: s.URL, Token: func(context.Context, string) (actions.Secret, error) { return "t", nil }, Retry: func(error, time.Duration) { tries++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := c.Lease(ctx, "db"); err == nil || errors.Is(err, actions.ErrUnclear) || tries == 0 {
		t.Errorf("%v after %d more tries", err, tries)
	}
}

// What is no lease is ended, where it can be, and given to nobody.
func TestLeaseThatIsNone(t *testing.T) {
	for what, body := range map[string]string{
		"another credential": strings.Replace(given, `"db"`, `"other"`, 1), "no values": strings.Replace(given, `{"password":"hunter2"}`, `{}`, 1),
		"a name":    strings.Replace(given, `"password"`, `"LD_PRELOAD=x\n"`, 1),
		"a byte":    strings.Replace(given, `hunter2`, `a\u0000b`, 1),
		"no end":    strings.Replace(given, `"2099-01-01T00:00:00Z"`, `"0001-01-01T00:00:00Z"`, 1),
		"no secret": strings.Replace(given, `s3cr3t`, ``, 1), "a secret": strings.Replace(given, `s3cr3t`, `a b`, 1),
	} {
		p := newPeer(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 1 {
				say(w, 201, body)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		})
		_, err := p.client().Lease(soon(t), "db")
		if err == nil {
			t.Errorf("%s: accepted", what)
		}
		if got := p.requests(); !strings.Contains(what, "secret") && (len(got) != 2 || got[1] != "DELETE /v1/leases/l1 Bearer s3cr3t") {
			t.Errorf("%s: %q", what, got)
		}
		if strings.Contains(fmt.Sprint(err), "hunter2") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestEndLease(t *testing.T) {
	p := newPeer(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	c := p.client()
	if err := c.EndLease(soon(t), "l1", "s3cr3t"); err != nil {
		t.Error(err)
	}
	if p.tokens != 0 {
		t.Error("ending asked for a token of the job")
	}
	for id, secret := range map[string]actions.Secret{"": "s", "a/b": "s", "l1": "", "l2": "a b"} {
		before := len(p.requests())
		if err := c.EndLease(soon(t), id, secret); err == nil || len(p.requests()) != before {
			t.Errorf("%q with %q", id, secret.Reveal())
		}
	}
}

// No token goes where others can read it, or where the address only seems to lead.
func TestServers(t *testing.T) {
	token := func(context.Context, string) (actions.Secret, error) { return "t", nil }
	for server, ok := range map[string]bool{
		"https://sallyport.acme.internal": true, "https://sallyport.acme.internal:8443/base/": true, "http://127.0.0.1:8080": true, "http://[::1]:1": true, "http://localhost:1": true,
		"http://sallyport.acme.internal": false, "http://127.0.0.1.acme.internal": false, "https://u:p@h": false, "https://h?x": false, "https://h#x": false, "ftp://h": false,
		"": false, "h": false, "https://": false, "http://localhost.evil.example": false,
	} {
		if _, err := actions.NewClient(actions.Config{Server: server, Token: token}); (err == nil) != ok {
			t.Errorf("%q: %v", server, err)
		} else if err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("shows a password: %v", err)
		}
	}
	if _, err := actions.NewClient(actions.Config{Server: "https://h"}); err == nil {
		t.Error("a client without a token")
	}
}

// oidc is GitHub's service for the tokens of a job.
func oidc(t *testing.T, answer http.HandlerFunc) func(string) string {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return func(key string) string {
		return map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": s.URL + "/t?api=2", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request"}[key]
	}
}

func TestIDToken(t *testing.T) {
	get := oidc(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer request" || r.URL.Query().Get("audience") != "https://h" || r.URL.Query().Get("api") != "2" {
			t.Errorf("asked %s %s", r.URL, r.Header)
		}
		say(w, 200, `{"count":3,"value":"a.b.c"}`)
	})
	got, err := actions.New(get, io.Discard).IDToken(t.Context(), "https://h")
	if err != nil || got.Reveal() != "a.b.c" {
		t.Errorf("%q %v", got.Reveal(), err)
	}
	for what, c := range map[string]struct {
		answer http.HandlerFunc
		final  bool
	}{
		"refused":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, true},
		"down":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, false},
		"too often":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, false},
		"nothing":     {func(w http.ResponseWriter, _ *http.Request) { say(w, 200, `{}`) }, false},
		"two headers": {func(w http.ResponseWriter, _ *http.Request) { say(w, 200, `{"value":"a\r\nX: y"}`) }, false},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/x" {
				t.Error("followed with the token")
			}
			http.Redirect(w, r, "/x", http.StatusTemporaryRedirect)
		}, true},
	} {
		_, err := actions.New(oidc(t, c.answer), io.Discard).IDToken(t.Context(), "https://h")
		var final *actions.Final
		if err == nil || errors.As(err, &final) != c.final {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, address := range []string{"", "http://evil.example/", "https://u@h/"} {
		get := func(key string) string {
			return map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": address, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "request"}[key]
		}
		var final *actions.Final
		if _, err := actions.New(get, io.Discard).IDToken(t.Context(), "a"); !errors.As(err, &final) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// basic is what HTTP makes of a name and a password.
func basic(name, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(name + ":" + password))
}
