package jobs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/rules"
)

const (
	lease  = "9c4f-lease"
	secret = "lease.secret-Zm9yLXRlc3Rz"
	value  = "canary-value-<of>-the-credential"
	asks   = `{"credential":"orders-migrator"}`
	one    = "/v1/leases/" + lease
)

// leaser gives one credential, and ends it for its secret.
type leaser struct {
	*world
	given   jobs.Given
	endErr  error
	ended   []string // the ids and secrets that were to be ended
	during  func()   // what happens while a credential is made
	endLive bool     // whether the last end had a context that lives
}

func (l *leaser) Lease(ctx context.Context, t rules.JobToken, credential string) (jobs.Given, error) {
	if _, err := l.answer(ctx, fmt.Sprint(credential, " for ", t.Claims.CheckRunID)); err != nil {
		return jobs.Given{}, err
	}
	if l.during != nil {
		l.during()
	}
	return l.given, nil
}

func (l *leaser) EndLease(ctx context.Context, id, s string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended, l.endLive = append(l.ended, id+" "+s), ctx.Err() == nil
	switch {
	case l.endErr != nil:
		return l.endErr
	case id != lease || s != secret:
		return jobs.ErrNotFound
	}
	return nil
}

func newLeaser(t *testing.T) *leaser {
	t.Helper()
	l := &leaser{world: newWorld(t)}
	l.given = jobs.Given{
		ID: lease, Secret: secret, Credential: "orders-migrator", Environment: "production",
		ExpiresAt: l.clock.Now().Add(10 * time.Minute), Values: map[string]string{"username": "sp_9c4f", "password": value},
	}
	h, err := jobs.NewLeases(jobs.LeasesConfig{Verifier: l, Leaser: l, ReadTimeout: 100 * time.Millisecond, Now: l.clock.Now, Log: slog.New(slog.NewJSONHandler(l.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	l.h = h
	// Whatever a test does: nothing of a credential is in the log.
	t.Cleanup(func() {
		for _, hidden := range []string{good, secret, value, "canary-value", "sp_9c4f"} {
			if strings.Contains(l.log.String(), hidden) {
				t.Errorf("%s is in the log", hidden)
			}
		}
	})
	return l
}

// end asks to end a lease with a bearer.
func (l *leaser) end(path, bearer string) answer {
	l.t.Helper()
	return l.send("DELETE", path, "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+bearer) })
}

// hides wants nothing of the credential in an answer.
func (l *leaser) hides(a answer) {
	l.t.Helper()
	for _, hidden := range []string{secret, value, "canary-value", "sp_9c4f"} {
		if text := fmt.Sprint(a.body, a.Header); strings.Contains(text, hidden) {
			l.t.Errorf("%s is in %s", hidden, text)
		}
	}
}

func TestLease(t *testing.T) {
	l := newLeaser(t)
	l.given.ExpiresAt = l.clock.Now().Add(10 * time.Minute).In(time.FixedZone("east", 3600)).Truncate(time.Second).Add(999 * time.Millisecond)
	a := l.send("POST", "/v1/leases", asks, nil)
	if a.StatusCode != http.StatusCreated || a.Header.Get("Location") != one || a.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
	want := map[string]any{
		"id": lease, "secret": secret, "credential": "orders-migrator", "environment": "production",
		"expires_at": l.given.ExpiresAt.UTC().Format("2006-01-02T15:04:05Z"), "values": map[string]any{"username": "sp_9c4f", "password": value},
	}
	if !reflect.DeepEqual(a.body, want) {
		t.Errorf("got  %v\nwant %v", a.body, want)
	}
	if len(l.asked) != 1 || l.asked[0] != "orders-migrator for 3" || len(l.ended) > 0 {
		t.Errorf("asked %q, ended %q", l.asked, l.ended)
	}
	for range 3 { // again and again
		if a := l.end(one, secret); a.StatusCode != http.StatusNoContent || a.Header.Get("Content-Type") != "" {
			t.Errorf("DELETE: %d %v %v", a.StatusCode, a.Header, a.body)
		}
	}
	if want := lease + " " + secret; len(l.ended) != 3 || l.ended[0] != want {
		t.Errorf("ended %q", l.ended)
	}
	if len(l.verified) != 1 {
		t.Errorf("a secret was verified as a token: %q", l.verified)
	}
}

// Whoever has not the secret learns nothing, not even whether there is such a lease.
func TestEndNeedsTheSecret(t *testing.T) {
	l := newLeaser(t)
	missing := l.end("/v1/leases/none", secret)
	missing.problem(t, "no such lease", http.StatusNotFound, "lease-not-found")
	for _, s := range []string{"x", good, secret + "x", secret[:len(secret)-1], strings.ToUpper(secret)} {
		a := l.end(one, s)
		a.problem(t, s, http.StatusNotFound, "lease-not-found")
		if !reflect.DeepEqual(a, missing) {
			t.Errorf("%v\ndiffers from %v", a, missing)
		}
		l.hides(a)
	}
	before := len(l.ended)
	for what, change := range map[string]func(http.Header){
		"none":           func(h http.Header) { h.Del("Authorization") },
		"empty":          func(h http.Header) { h.Set("Authorization", "Bearer ") },
		"Basic":          func(h http.Header) { h.Set("Authorization", "Basic "+secret) },
		"no scheme":      func(h http.Header) { h.Set("Authorization", secret) },
		"two headers":    func(h http.Header) { h["Authorization"] = []string{"Bearer " + secret, "Bearer " + secret} },
		"two in one":     func(h http.Header) { h.Set("Authorization", "Bearer "+secret+" "+secret) },
		"a line":         func(h http.Header) { h.Set("Authorization", "Bearer "+secret+"\r\nX-Eve: 1") },
		"very long":      func(h http.Header) { h.Set("Authorization", "Bearer "+strings.Repeat("a", 16<<10+1)) },
		"another header": func(h http.Header) { h.Del("Authorization"); h.Set("X-Lease-Secret", secret) },
	} {
		a := l.send("DELETE", one, "", func(r *http.Request) { change(r.Header) })
		a.problem(t, what, http.StatusUnauthorized, "secret-missing")
		l.hides(a)
	}
	for _, query := range []string{"?secret=" + secret, "?access_token=" + secret, "?wait=5"} {
		a := l.end(one+query, secret)
		a.problem(t, query, http.StatusBadRequest, "query")
		l.hides(a)
	}
	if len(l.ended) != before {
		t.Errorf("ended %q", l.ended[before:])
	}
}

func TestLeaseAuthorization(t *testing.T) {
	l := newLeaser(t)
	for what, change := range map[string]func(*http.Request){
		"none":        func(r *http.Request) { r.Header.Del("Authorization") },
		"two headers": func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+good) },
		"Basic":       func(r *http.Request) { r.Header.Set("Authorization", "Basic "+good) },
		"a cookie":    func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("Cookie", "token="+good) },
		"JSON":        func(r *http.Request) { r.Header.Set("Authorization", `Bearer {"payload":"x"}`) },
		"in the body": func(r *http.Request) { r.Header.Del("Authorization") },
	} {
		l.send("POST", "/v1/leases", `{"credential":"orders-migrator","token":"x"}`, change).problem(t, what, http.StatusUnauthorized, "token-missing")
	}
	l.send("POST", "/v1/leases?access_token="+good, asks, nil).problem(t, "in the query", http.StatusBadRequest, "query")
	if len(l.verified) > 0 {
		t.Errorf("verified %q", l.verified)
	}
	l.refused = &rules.TokenRefused{Code: rules.TokenAudience, Claim: "aud", Text: `the token is for "x"`}
	a := l.send("POST", "/v1/leases", strings.Repeat("x", 5000), nil) // the body is not looked at
	a.problem(t, "another's token", http.StatusUnauthorized, "token-audience")
	if a.body["claim"] != "aud" {
		t.Errorf("%v", a.body)
	}
	l.refused = errors.New("dial: internal-address")
	a = l.send("POST", "/v1/leases", asks, nil)
	a.problem(t, "no issuer", http.StatusServiceUnavailable, "issuer-unavailable")
	if strings.Contains(fmt.Sprint(a.body), "internal-address") || !strings.Contains(l.log.String(), "internal-address") {
		t.Errorf("the cause belongs into the log alone: %v", a.body)
	}
	if l.count() > 0 {
		t.Errorf("asked %q", l.asked)
	}
}

func TestLeaseBody(t *testing.T) {
	l := newLeaser(t)
	for _, c := range []struct {
		body   string
		status int
		code   string
	}{
		{"", 400, "credential"},
		{"{}", 400, "credential"},
		{"null", 400, "body"},
		{"[]", 400, "body"},
		{`"orders-migrator"`, 400, "body"},
		{"{", 400, "body"},
		{asks + asks, 400, "body"},
		{asks + "x", 400, "body"},
		{`{"credential":null}`, 400, "credential"},
		{`{"credential":7}`, 400, "body"},
		{`{"credential":["orders-migrator"]}`, 400, "body"},
		{`{"Credential":"orders-migrator"}`, 400, "body"},
		{`{"credential":"a","credential":"orders-migrator"}`, 400, "body"},
		{`{"credential":"a","\u0063redential":"orders-migrator"}`, 400, "body"},
		{`{"credential":"orders-migrator","environment":"dev"}`, 400, "body"},
		{`{"credential":"orders-migrator","":""}`, 400, "body"},
		{`{"credential":"\ud800"}`, 400, "body"},
		{"{\"credential\":\"a\xff\"}", 400, "body"},
		{`{"credential":""}`, 400, "credential"},
		{`{"credential":"a b"}`, 400, "credential"},
		{`{"credential":"a/b"}`, 400, "credential"},
		{`{"credential":"a\u0000"}`, 400, "credential"},
		{`{"credential":"a\n"}`, 400, "credential"},
		{`{"credential":"é"}`, 400, "credential"},
		{`{"credential":"*"}`, 400, "credential"},
		{`{"credential":".a"}`, 400, "credential"},
		{`{"credential":"-a"}`, 400, "credential"},
		{`{"credential":"_a"}`, 400, "credential"},
		{`{"credential":"` + strings.Repeat("a", 101) + `"}`, 400, "credential"},
		{strings.Repeat(" ", 4<<10-len(asks)+1) + asks, 413, "body"},
		{strings.Repeat("x", 1<<20), 413, "body"},
	} {
		for _, length := range []bool{true, false} {
			l.clock.Advance(time.Minute)
			a := l.send("POST", "/v1/leases", c.body, func(r *http.Request) {
				if !length {
					r.ContentLength = -1
				}
			})
			a.problem(t, fmt.Sprintf("%.60q", c.body), c.status, c.code)
		}
	}
	l.clock.Advance(time.Minute)
	for what, change := range map[string]func(http.Header){
		"no type": func(h http.Header) { h.Del("Content-Type") }, "a form": func(h http.Header) { h.Set("Content-Type", "application/x-www-form-urlencoded") },
		"text": func(h http.Header) { h.Set("Content-Type", "text/plain") }, "two types": func(h http.Header) { h.Add("Content-Type", "application/json") },
		"gzip": func(h http.Header) { h.Set("Content-Encoding", "gzip") },
	} {
		l.send("POST", "/v1/leases", asks, func(r *http.Request) { change(r.Header) }).problem(t, what, http.StatusUnsupportedMediaType, "body")
	}
	if l.count() > 0 {
		t.Errorf("asked %q", l.asked)
	}
	for _, name := range []string{"a", "A.b-c_9", strings.Repeat("a", 100)} {
		l.clock.Advance(time.Minute)
		l.given.Credential, l.given.ExpiresAt = name, l.clock.Now().Add(time.Minute)
		if a := l.send("POST", "/v1/leases", ` {"credential": "`+name+`"} `, nil); a.StatusCode != http.StatusCreated || a.body["credential"] != name {
			t.Errorf("%s: %d %v", name, a.StatusCode, a.body)
		}
	}
	if a := l.send("POST", "/v1/leases", strings.Repeat(" ", 4<<10-len(`{"credential":"a"}`))+`{"credential":"a"}`, nil); a.StatusCode == http.StatusRequestEntityTooLarge {
		t.Errorf("the largest body: %v", a.body)
	}
}

func TestLeaserErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
		claim  any
	}{
		{jobs.ErrNotServed, 404, "not-installed", "repository_id"},
		{jobs.ErrNotFound, 404, "lease-not-found", nil},
		{&jobs.Refusal{Status: 403, Code: "SP612", Claim: "ref", Text: "no"}, 403, "SP612", "ref"},
		{fmt.Errorf("x: %w", &jobs.Refusal{Status: 409, Code: "SP617", Text: "no"}), 409, "SP617", nil},
		{&jobs.Refusal{Status: 201, Code: "x", Text: "no"}, 403, "x", nil},
		{&jobs.Refusal{Code: "x", Text: "no"}, 403, "x", nil},
		{context.DeadlineExceeded, 503, "lease-unavailable", nil},
		{errors.New("dial: internal-address"), 503, "lease-unavailable", nil},
	} {
		l := newLeaser(t)
		l.err, l.endErr = c.err, c.err
		for _, a := range []answer{l.send("POST", "/v1/leases", asks, nil), l.end(one, secret)} {
			a.problem(t, c.err.Error(), c.status, c.code)
			if a.body["claim"] != c.claim || a.Header.Get("Location") != "" || strings.Contains(fmt.Sprint(a.body), "internal-address") {
				t.Errorf("%v: %v", c.err, a.body)
			}
			l.hides(a)
		}
	}
}

// A lease that cannot be written to the job is ended, and nobody sees it.
func TestLeaseThatCannotBeGiven(t *testing.T) {
	for what, change := range map[string]func(*jobs.Given){
		"no id":               func(g *jobs.Given) { g.ID = "" },
		"an id with a line":   func(g *jobs.Given) { g.ID = "a\r\nX-Eve: 1" },
		"no secret":           func(g *jobs.Given) { g.Secret = "" },
		"a secret of spaces":  func(g *jobs.Given) { g.Secret = "a b" },
		"another credential":  func(g *jobs.Given) { g.Credential = "orders-reader" },
		"no values":           func(g *jobs.Given) { g.Values = nil },
		"over":                func(g *jobs.Given) { g.ExpiresAt = g.ExpiresAt.Add(-10 * time.Minute) },
		"no end":              func(g *jobs.Given) { g.ExpiresAt = time.Time{} },
		"no year of RFC 3339": func(g *jobs.Given) { g.ExpiresAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"no UTF-8":            func(g *jobs.Given) { g.Values = map[string]string{"canary-value\xff": value + "\xff"} },
	} {
		l := newLeaser(t)
		change(&l.given)
		a := l.send("POST", "/v1/leases", asks, nil)
		a.problem(t, what, http.StatusServiceUnavailable, "lease-unavailable")
		l.hides(a)
		if len(l.ended) != 1 || l.ended[0] != l.given.ID+" "+l.given.Secret {
			t.Errorf("%s: ended %q", what, l.ended)
		}
	}
	// Whoever asked goes away while it is made.
	l := newLeaser(t)
	ctx, cancel := context.WithCancel(t.Context())
	l.during = cancel
	a := l.send("POST", "/v1/leases", asks, func(r *http.Request) { *r = *r.WithContext(ctx) })
	l.hides(a)
	if a.StatusCode == http.StatusCreated || len(l.ended) != 1 || !l.endLive {
		t.Errorf("%d, ended %q, with a context that lives: %v", a.StatusCode, l.ended, l.endLive)
	}
	// Or while it is written.
	l = newLeaser(t)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/leases", strings.NewReader(asks))
	r.Header.Set("Authorization", "Bearer "+good)
	r.Header.Set("Content-Type", "application/json")
	l.h.ServeHTTP(broken{httptest.NewRecorder()}, r)
	if len(l.ended) != 1 || l.ended[0] != lease+" "+secret {
		t.Errorf("ended %q", l.ended)
	}
}

// broken is a connection that takes nothing.
type broken struct{ *httptest.ResponseRecorder }

func (broken) Write([]byte) (int, error) { return 0, net.ErrClosed }

// What was asked to end is ended, although whoever asked went away.
func TestEndGoesOn(t *testing.T) {
	l := newLeaser(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := l.send("DELETE", one, "", func(r *http.Request) { *r = *r.WithContext(ctx); r.Header.Set("Authorization", "Bearer "+secret) })
	if a.StatusCode != http.StatusNoContent || !l.endLive {
		t.Errorf("%d %v, with a context that lives: %v", a.StatusCode, a.body, l.endLive)
	}
}

func TestLeaseMethodsAndPaths(t *testing.T) {
	l := newLeaser(t)
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "post", "EVE"} {
		a := l.send(method, "/v1/leases", "", nil)
		a.problem(t, method, http.StatusMethodNotAllowed, "method")
		if a.Header.Get("Allow") != "POST" {
			t.Errorf("%s: Allow %q", method, a.Header.Get("Allow"))
		}
	}
	for _, method := range []string{"GET", "POST", "PUT", "HEAD", "delete"} {
		if a := l.send(method, one, "", nil); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "DELETE" {
			t.Errorf("%s of a lease: %d %v", method, a.StatusCode, a.Header)
		}
	}
	for _, path := range []string{"/v1/leases/", "/v1/leases/a/b", "/v1/leases/a%2Fb", "/v1/leases/..%2Fa", "/v1/leases/a%00", "/v1/leases/%C3%A9", "/v1/leases/" + strings.Repeat("a", 65), "/v1/leasesx", "/v1/holds", "/"} {
		l.send("DELETE", path, "", nil).problem(t, path, http.StatusNotFound, "not-found")
	}
	if len(l.verified) > 0 || len(l.ended) > 0 {
		t.Errorf("verified %d tokens, ended %q", len(l.verified), l.ended)
	}
}

func TestLeaseRate(t *testing.T) {
	l := newLeaser(t)
	for i := range 30 {
		if a := l.send("POST", "/v1/leases", asks, nil); a.StatusCode != http.StatusCreated {
			t.Fatalf("request %d: %d", i+1, a.StatusCode)
		}
		if a := l.end(one, "x"); a.StatusCode != http.StatusNotFound {
			t.Fatalf("end %d: %d", i+1, a.StatusCode)
		}
		l.clock.Advance(time.Second)
	}
	before := l.count()
	for _, a := range []answer{l.send("POST", "/v1/leases", asks, nil), l.end(one, "y"), l.end(one, secret)} {
		a.problem(t, "the 31st", http.StatusTooManyRequests, "rate")
		if got := a.Header.Get("Retry-After"); got != "30" {
			t.Errorf("Retry-After %s, want 30", got)
		}
	}
	if l.count() != before || len(l.ended) != 30 {
		t.Errorf("asked %d times, ended %d times", l.count()-before, len(l.ended))
	}
	// Other jobs and leases are not concerned, and a moment later neither is this one.
	l.end("/v1/leases/other", secret).problem(t, "another lease", http.StatusNotFound, "lease-not-found")
	l.token.Claims.CheckRunID++
	if a := l.send("POST", "/v1/leases", asks, nil); a.StatusCode != http.StatusCreated {
		t.Errorf("another job: %d", a.StatusCode)
	}
	l.clock.Advance(30 * time.Second)
	if a := l.end(one, secret); a.StatusCode != http.StatusNoContent {
		t.Errorf("half a minute later: %d", a.StatusCode)
	}
}

func TestGivenIsHidden(t *testing.T) {
	g := newLeaser(t).given
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "given", g, "pointer", &g)
	}
	shown := log.String() + fmt.Sprintf("%v %+v %#v %s %q %x", g, g, g, g, g, g) + fmt.Sprintf("%v %+v %#v", &g, []jobs.Given{g}, map[string]jobs.Given{"a": g}) + fmt.Errorf("x: %v", g).Error()
	for _, hidden := range []string{secret, value, "sp_9c4f", lease} {
		if strings.Contains(shown, hidden) || strings.Contains(shown, fmt.Sprintf("%x", hidden)) {
			t.Errorf("%s is shown in %s", hidden, shown)
		}
	}
	if !strings.Contains(shown, "(credential)") {
		t.Error(shown)
	}
	// The job's own client reads what it was given.
	raw, err := json.Marshal(g)
	var back jobs.Given
	if err != nil || json.Unmarshal(raw, &back) != nil || back.Secret != secret || back.Values["password"] != value {
		t.Errorf("%s %v", raw, err)
	}
}

// The time limit is for the body, not for making the credential, and a body that does
// not come makes none.
func TestSlowLeases(t *testing.T) {
	l := newLeaser(t)
	url := l.serve()
	l.slow = 200 * time.Millisecond
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/leases", strings.NewReader(asks))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+good)
	r.Header.Set("Content-Type", "application/json")
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if a := l.read(got); a.StatusCode != http.StatusCreated || got.ContentLength <= 0 {
		t.Errorf("%d %v", a.StatusCode, a.body)
	}
	if answer := halfBody(t, url, "/v1/leases"); !strings.HasPrefix(answer, "HTTP/1.1 408 ") || l.count() != 1 {
		t.Errorf("half a body: %q, asked %d times", answer, l.count())
	}
}

func TestNewLeases(t *testing.T) {
	l := &leaser{world: &world{fake: &fake{}}}
	for _, cfg := range []jobs.LeasesConfig{{}, {Verifier: l}, {Leaser: l}} {
		if h, err := jobs.NewLeases(cfg); err == nil || h != nil {
			t.Errorf("accepted %+v", cfg)
		}
	}
}
