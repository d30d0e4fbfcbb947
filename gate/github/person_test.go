package github_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// people are an App on a GitHub with people, and another App.
type people struct {
	g          *githubtest.GitHub
	clock      *githubtest.Clock
	app, other *githubtest.App
	inst       *githubtest.Installation
	client     *github.Client
	*github.People
}

func newPeople(t *testing.T) *people {
	t.Helper()
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	p := &people{clock: githubtest.NewClock(time.Now().Truncate(time.Second))}
	p.g = githubtest.Start(t, githubtest.Config{Now: p.clock.Now})
	acme := p.g.Organization("acme")
	p.app = p.g.App(githubtest.AppConfig{Slug: "sallyport", Owner: acme, Key: key})
	p.other = p.g.App(githubtest.AppConfig{Slug: "other", Key: key})
	p.inst = p.app.Install(acme)
	appKey, err := github.ParseKey(p.app.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	if p.client, err = github.New(github.Config{App: rules.AppID(p.app.ID), Key: appKey, BaseURL: p.g.URL(), Now: p.clock.Now}); err != nil {
		t.Fatal(err)
	}
	id, secret := p.app.OAuth()
	if p.People, err = github.NewPeople(p.client, id, github.Secret(secret)); err != nil {
		t.Fatal(err)
	}
	p.other.OAuth()
	return p
}

func TestPerson(t *testing.T) {
	p := newPeople(t)
	alice := p.g.User("alice")
	token, _ := p.app.UserToken(alice)
	got, err := p.Person(t.Context(), token)
	if err != nil || int64(got.Person.ID) != alice.ID || got.Person.Login != "alice" || got.Person.Type != rules.ActorUser || !got.Expires.Equal(p.g.Now().Add(8*time.Hour)) {
		t.Fatalf("%+v, %v", got, err)
	}
	others, refresh := p.other.UserToken(alice)
	bots, _ := p.app.UserToken(p.g.Bot("writer[bot]"))
	revoked, _ := p.app.UserToken(p.g.User("bob"))
	p.app.EndUserTokens(p.g.User("bob"))
	for _, x := range []struct{ name, token, code string }{
		{"one that the person gave another app", others, rules.PersonTokenOther},
		{"one that the person made, which works everywhere", p.g.UserToken(alice), rules.PersonTokenOther},
		{"a revoked one", revoked, rules.PersonTokenOther},
		{"nonsense", "ghu_" + strings.Repeat("x", 36), rules.PersonTokenOther},
		{"of no form that is known", "opaque-0123456789", rules.PersonTokenOther},
		{"a bot's", bots, rules.PersonTokenUser},
		{"an installation's of this very App", p.inst.Token(), rules.PersonTokenForm},
		{"a personal one by its form", "github_pat_11ABCDE", rules.PersonTokenForm},
		{"a classic personal one", "ghp_" + strings.Repeat("x", 36), rules.PersonTokenForm},
		{"an OAuth app's", "gho_" + strings.Repeat("x", 36), rules.PersonTokenForm},
		{"a refresh token", refresh, rules.PersonTokenForm},
		{"a job's", "eyJhbGciOiJSUzI1NiJ9.e30.c2ln", rules.PersonTokenForm},
	} {
		p.g.Allow("Bad credentials")
		_, err := p.Person(t.Context(), x.token)
		var refused *rules.TokenRefused
		if !errors.As(err, &refused) || refused.Code != x.code || strings.Contains(err.Error(), x.token) {
			t.Errorf("%s: %v, want %s", x.name, err, x.code)
		}
	}
	// What surely is no person's is not shown to GitHub.
	before := len(p.g.Requests())
	_, _ = p.Person(t.Context(), p.inst.Token())
	if n := len(p.g.Requests()); n != before {
		t.Errorf("%d requests for an installation's token", n-before)
	}
	p.clock.Advance(8 * time.Hour)
	if _, err := p.Person(t.Context(), token); err == nil {
		t.Error("an ended token is taken")
	}
}

// A server's secret that GitHub does not take is nobody's fault who asks, and lets nobody in.
func TestPersonOfTheWrongSecret(t *testing.T) {
	p := newPeople(t)
	p.g.Allow("Bad credentials")
	id, secret := p.app.OAuth()
	otherID, _ := p.other.OAuth()
	token, _ := p.app.UserToken(p.g.User("alice"))
	for name, pair := range map[string][2]string{"another secret": {id, secret + "x"}, "another App's id": {otherID, secret}} {
		people, err := github.NewPeople(p.client, pair[0], github.Secret(pair[1]))
		if err != nil {
			t.Fatal(err)
		}
		_, err = people.Person(t.Context(), token)
		var refused *rules.TokenRefused
		if err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), "SALLYPORT_CLIENT_SECRET") || strings.Contains(err.Error(), pair[1]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range [][2]string{{"", secret}, {id, ""}, {"a/../b", secret}} {
		if _, err := github.NewPeople(p.client, bad[0], github.Secret(bad[1])); err == nil {
			t.Errorf("%q is taken", bad[0])
		}
	}
}

// Answers that are none of GitHub's let nobody in, and nothing that they hold is told.
func TestPersonOfStrangeAnswers(t *testing.T) {
	p := newPeople(t)
	const user = `{"id":7,"login":"alice","type":"User"}`
	check, who := "", ""
	check200, who200 := 0, 0
	mux := http.NewServeMux()
	mux.HandleFunc("POST /applications/Iv1/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(check200)
		_, _ = w.Write([]byte(check))
	})
	mux.HandleFunc("GET /user", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(who200)
		_, _ = w.Write([]byte(who))
	})
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") })
	server := httptest.NewServer(mux)
	defer server.Close()
	key, err := github.ParseKey(p.app.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	client, err := github.New(github.Config{App: 1, Key: key, BaseURL: server.URL, Now: p.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	people, err := github.NewPeople(client, "Iv1", "secret")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(status int, body string, status2 int, body2 string) (rules.PersonToken, error) {
		check200, check, who200, who = status, body, status2, body2
		return people.Person(t.Context(), "ghu_canary")
	}
	good := `{"app":{"client_id":"Iv1"},"user":` + user + `,"expires_at":null}`
	if got, err := ask(200, good, 200, user); err != nil || got.Person.ID != 7 {
		t.Fatalf("the good answers: %v %v", got, err)
	}
	for name, x := range map[string]struct {
		status  int
		body    string
		status2 int
		body2   string
	}{
		"of another app":          {200, strings.Replace(good, "Iv1", "Iv2", 1), 200, user},
		"of no app":               {200, `{"user":` + user + `}`, 200, user},
		"of nobody":               {200, `{"app":{"client_id":"Iv1"},"user":null}`, 200, user},
		"a doubled name":          {200, strings.Replace(good, `"user"`, `"user":{"id":8,"login":"eve","type":"User"},"user"`, 1), 200, user},
		"expired":                 {200, strings.Replace(good, "null", `"2001-01-01T00:00:00Z"`, 1), 200, user},
		"no JSON":                 {200, "ghu_canary", 200, user},
		"a redirect":              {302, good, 200, user},
		"an error":                {500, "ghu_canary", 200, user},
		"too many":                {429, "", 200, user},
		"another person":          {200, good, 200, `{"id":8,"login":"alice","type":"User"}`},
		"the same login, no id":   {200, good, 200, `{"login":"alice","type":"User"}`},
		"an organisation":         {200, good, 200, `{"id":7,"login":"alice","type":"Organization"}`},
		"a token that is dead":    {200, good, 401, ""},
		"a suspended account":     {200, good, 403, ""},
		"an answer without end":   {200, `{"x":"` + strings.Repeat("x", 300<<10) + `"}`, 200, user},
		"an expiry that is none":  {200, strings.Replace(good, "null", `"soon"`, 1), 200, user},
		"an id that is not whole": {200, strings.Replace(good, `"id":7`, `"id":7.5`, 1), 200, user},
	} {
		if got, err := ask(x.status, x.body, x.status2, x.body2); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
