package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/rules"
)

const (
	alices   = "ghu_canary-of-alice"
	personal = `{"credential":"orders-migrator","repository":"acme/orders"}`
)

// persons knows the token of alice, and of bob where there is one.
type persons struct {
	*leaser
	down    error
	shown   []string // the tokens that GitHub was asked about
	places  []jobs.Place
	persons []rules.PersonToken
}

func (p *persons) Person(_ context.Context, token string) (rules.PersonToken, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown = append(p.shown, token)
	switch {
	case p.down != nil:
		return rules.PersonToken{}, p.down
	case token == alices:
		return rules.PersonToken{Person: rules.Actor{ID: 7, Login: "alice", Type: rules.ActorUser}}, nil
	case strings.HasPrefix(token, "ghu_also-bobs"):
		return rules.PersonToken{Person: rules.Actor{ID: 8, Login: "bob", Type: rules.ActorUser}}, nil
	default:
		return rules.PersonToken{}, &rules.TokenRefused{Code: rules.PersonTokenOther, Text: "another app's"}
	}
}

func (p *persons) PersonLease(ctx context.Context, t rules.PersonToken, where jobs.Place, credential string) (jobs.Given, error) {
	p.mu.Lock()
	p.places, p.persons = append(p.places, where), append(p.persons, t)
	p.mu.Unlock()
	if _, err := p.answer(ctx, fmt.Sprint(credential, " for person ", t.Person.ID)); err != nil {
		return jobs.Given{}, err
	}
	return p.given, nil
}

func newPersons(t *testing.T) *persons {
	t.Helper()
	p := &persons{leaser: newLeaser(t)}
	h, err := jobs.NewLeases(jobs.LeasesConfig{
		Verifier: p, Leaser: p, People: p, PersonLeaser: p, ReadTimeout: 100 * time.Millisecond, Now: p.clock.Now, Log: slog.New(slog.NewJSONHandler(p.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.h = h
	t.Cleanup(func() {
		if strings.Contains(p.log.String(), "canary") {
			t.Error("a token is in the log")
		}
	})
	return p
}

// ask asks with a token, from an address.
func (p *persons) ask(body, token string, from ...string) answer {
	p.t.Helper()
	a := p.send("POST", "/v1/leases", body, func(r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+token)
		if len(from) > 0 {
			r.RemoteAddr = from[0]
		}
	})
	if strings.Contains(fmt.Sprint(a.body, a.Header), token) {
		p.t.Errorf("the token is in the answer: %v", a.body)
	}
	return a
}

func TestPersonLease(t *testing.T) {
	p := newPersons(t)
	for _, x := range []struct {
		body string
		want jobs.Place
	}{
		{personal, jobs.Place{FullName: "acme/orders"}},
		{`{"credential":"orders-migrator","repository_id":42}`, jobs.Place{ID: 42}},
		{`{"repository":"a_shop/.github","credential":"orders-migrator"}`, jobs.Place{FullName: "a_shop/.github"}},
	} {
		a := p.ask(x.body, alices)
		if a.StatusCode != http.StatusCreated || a.Header.Get("Location") != one || a.body["secret"] != secret {
			t.Errorf("%s: %d %v", x.body, a.StatusCode, a.body)
		}
		if n := len(p.places); n == 0 || p.places[n-1] != x.want || p.persons[n-1].Person.ID != 7 {
			t.Errorf("%s: asked for %+v by %+v", x.body, p.places, p.persons)
		}
	}
	if len(p.verified) > 0 {
		t.Errorf("a person's token was verified as a job's: %q", p.verified)
	}
	if a := p.end(one, secret); a.StatusCode != http.StatusNoContent {
		t.Errorf("DELETE: %d", a.StatusCode)
	}
}

// Each form takes its own kind of token, and the body says which form it is.
func TestPersonForms(t *testing.T) {
	p := newPersons(t)
	p.ask(personal, good).problem(t, "a job's token in a person's form", http.StatusUnauthorized, rules.PersonTokenForm)
	if len(p.shown) > 0 || len(p.places) > 0 || p.count() > 0 {
		t.Errorf("GitHub was shown %q, the gate was asked %v", p.shown, p.asked)
	}
	p.refused = &rules.TokenRefused{Code: rules.TokenMalformed, Text: "no JSON Web Token"}
	p.ask(asks, alices).problem(t, "a person's token in a job's form", http.StatusUnauthorized, rules.TokenMalformed)
	p.ask(`{"credential":"orders-migrator","repository":null}`, alices).problem(t, "no repository", http.StatusUnauthorized, rules.TokenMalformed)
	// An installation's token has the form of a job's behind its prefix.
	p.ask(personal, "ghs_7_aaaa.bbbb.cccc").problem(t, "an installation's token", http.StatusUnauthorized, rules.PersonTokenOther)
	p.ask(asks, "ghs_7_aaaa.bbbb.cccc").problem(t, "an installation's token in a job's form", http.StatusUnauthorized, rules.TokenMalformed)
	if len(p.places) > 0 || p.count() > 0 {
		t.Errorf("the gate was asked: %v", p.asked)
	}
}

func TestPersonBody(t *testing.T) {
	p := newPersons(t)
	for name, x := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"both":                    {`{"credential":"x","repository":"a/b","repository_id":1}`, 400, "repository"},
		"an empty name":           {`{"credential":"x","repository":""}`, 400, "repository"},
		"no owner":                {`{"credential":"x","repository":"/b"}`, 400, "repository"},
		"no name":                 {`{"credential":"x","repository":"a/"}`, 400, "repository"},
		"three parts":             {`{"credential":"x","repository":"a/b/c"}`, 400, "repository"},
		"a way up":                {`{"credential":"x","repository":"a/.."}`, 400, "repository"},
		"a query":                 {`{"credential":"x","repository":"a/b?x"}`, 400, "repository"},
		"an escape":               {`{"credential":"x","repository":"a/%2e%2e"}`, 400, "repository"},
		"a long name":             {`{"credential":"x","repository":"a/` + strings.Repeat("b", 101) + `"}`, 400, "repository"},
		"a lookalike":             {`{"credential":"x","repository":"аcme/orders"}`, 400, "repository"},
		"no number":               {`{"credential":"x","repository_id":"1"}`, 400, "body"},
		"zero":                    {`{"credential":"x","repository_id":0}`, 400, "repository"},
		"negative":                {`{"credential":"x","repository_id":-1}`, 400, "repository"},
		"a doubled repository":    {`{"credential":"x","repository":"a/b","repository":"c/d"}`, 400, "body"},
		"a doubled credential":    {`{"credential":"x","credential":"y","repository":"a/b"}`, 400, "body"},
		"another case":            {`{"credential":"x","Repository":"a/b"}`, 400, "body"},
		"another member":          {`{"credential":"x","repository":"a/b","environment":"production"}`, 400, "body"},
		"no credential":           {`{"repository":"a/b"}`, 400, "credential"},
		"a credential of a path":  {`{"credential":"a/b","repository":"a/b"}`, 400, "credential"},
		"huge":                    {`{"credential":"x","repository":"a/b","x":"` + strings.Repeat("x", 5000) + `"}`, 413, "body"},
		"two objects":             {personal + personal, 400, "body"},
		"a list":                  {`[` + personal + `]`, 400, "body"},
		"a number beyond all ids": {`{"credential":"x","repository_id":9223372036854775808}`, 400, "body"},
	} {
		p.ask(x.body, alices).problem(t, name, x.status, x.code)
	}
	if len(p.places) > 0 || len(p.shown) > 0 {
		t.Errorf("asked for %+v, GitHub was shown %q", p.places, p.shown)
	}
}

func TestPersonRefusals(t *testing.T) {
	p := newPersons(t)
	p.ask(personal, "ghu_other").problem(t, "another app's", http.StatusUnauthorized, rules.PersonTokenOther)
	p.down = errors.New("dial: internal-address")
	a := p.ask(personal, alices)
	a.problem(t, "GitHub is away", http.StatusServiceUnavailable, "github-unavailable")
	if strings.Contains(fmt.Sprint(a.body), "internal-address") {
		t.Errorf("the cause is told: %v", a.body)
	}
	p.down = nil
	for _, x := range []struct {
		err    error
		status int
		code   string
	}{
		{jobs.ErrNotServed, 404, "not-installed"},
		{&jobs.Refusal{Status: 403, Code: "SP645", Text: "No."}, 403, "SP645"},
		{errors.New("the store is away"), 503, "lease-unavailable"},
	} {
		p.err = x.err
		p.ask(personal, alices).problem(t, fmt.Sprint(x.err), x.status, x.code)
	}
	// A server without a client id has no such form, and shows GitHub nothing.
	p.err = nil
	off := newLeaser(t)
	off.send("POST", "/v1/leases", personal, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+alices) }).problem(t, "login is off", http.StatusNotFound, "login-off")
}

// Random tokens use up neither GitHub's patience nor that of whoever has a good one.
func TestPersonRate(t *testing.T) {
	p := newPersons(t)
	p.ask(personal, alices, "192.0.2.9:1") // known from now on
	asked := func() int { return len(p.shown) }
	before := asked()
	for i := range 40 {
		a := p.ask(personal, fmt.Sprint("ghu_random-", i), fmt.Sprintf("[2001:db8:0:1::%x]:1000", i+1))
		if want := map[bool]int{true: 401, false: 429}[i < 30]; a.StatusCode != want {
			t.Fatalf("try %d from one network: %d, want %d", i+1, a.StatusCode, want)
		}
	}
	if n := asked() - before; n != 30 {
		t.Errorf("GitHub was asked %d times for one network", n)
	}
	for i := range 100 {
		p.ask(personal, fmt.Sprint("ghu_random-", i), fmt.Sprintf("192.0.2.%d:1000", i%200+10))
	}
	if n := asked() - before; n > 60 {
		t.Errorf("GitHub was asked %d times within a minute, want 60 at most", n)
	}
	p.ask(personal, "ghu_random", "198.51.100.7:1").problem(t, "a stranger at the end of the minute", http.StatusTooManyRequests, "rate")
	// Alice is let through, from there too, as often as one person may ask.
	for i := range 29 {
		if a := p.ask(personal, alices, "[2001:db8:0:1::1]:1"); a.StatusCode != http.StatusCreated {
			t.Fatalf("alice's request %d: %d %v", i+2, a.StatusCode, a.body)
		}
	}
	p.ask(personal, alices).problem(t, "alice's 31st", http.StatusTooManyRequests, "rate")
	p.clock.Advance(time.Minute)
	// Another token of the same person counts as the person's.
	for i := range 31 {
		a := p.ask(personal, fmt.Sprint("ghu_also-bobs-", i), fmt.Sprintf("203.0.113.%d:1", i+1))
		if want := map[bool]int{true: 201, false: 429}[i < 30]; a.StatusCode != want {
			t.Fatalf("bob's request %d: %d, want %d", i+1, a.StatusCode, want)
		}
	}
	// A token that GitHub knows no more is a stranger's again.
	p.clock.Advance(time.Minute)
	p.down = &rules.TokenRefused{Code: rules.PersonTokenOther, Text: "revoked"}
	for i := range 32 {
		a := p.ask(personal, alices, "198.51.100.99:1")
		if want := map[bool]int{true: 401, false: 429}[i < 31]; a.StatusCode != want {
			t.Fatalf("a revoked token's request %d: %d, want %d", i+1, a.StatusCode, want)
		}
	}
}

func TestLogin(t *testing.T) {
	w := newWorld(t)
	l := jobs.Login{ClientID: "Iv1", DeviceAuthorizationURL: "https://github.com/login/device/code", TokenURL: "https://github.com/login/oauth/access_token"}
	w.h = jobs.NewLogin(l, nil)
	a := w.send("GET", "/v1/login", "", nil)
	if a.StatusCode != http.StatusOK || a.body["client_id"] != "Iv1" || a.body["device_authorization_url"] != l.DeviceAuthorizationURL || a.body["token_url"] != l.TokenURL || len(a.body) != 3 {
		t.Errorf("%d %v", a.StatusCode, a.body)
	}
	w.send("POST", "/v1/login", "", nil).problem(t, "POST", http.StatusMethodNotAllowed, "method")
	w.h = jobs.NewLogin(jobs.Login{}, nil)
	w.send("GET", "/v1/login", "", nil).problem(t, "off", http.StatusNotFound, "login-off")
}
