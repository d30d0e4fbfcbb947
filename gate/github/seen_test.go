package github_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// respond is one answer.
type respond func(*http.Request) (*http.Response, error)

// answers are what a GitHub answers, one after the other; tokens it always gives.
type answers struct {
	mu    sync.Mutex
	next  []respond
	paths []string
}

func parsedKey(t *testing.T) github.Key {
	t.Helper()
	raw, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := github.ParseKey(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(raw)}))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func reply(status int, head ...string) respond {
	return func(r *http.Request) (*http.Response, error) {
		h := http.Header{"Content-Type": {"application/json"}}
		for i := 0; i < len(head); i += 2 {
			h.Set(head[i], head[i+1])
		}
		body := "{}"
		return &http.Response{Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paths = append(a.paths, r.URL.Path)
	if strings.HasSuffix(r.URL.Path, "/access_tokens") {
		return &http.Response{
			Status: "Created", StatusCode: http.StatusCreated, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: r,
			Body: io.NopCloser(strings.NewReader(fmt.Sprintf(`{"token":"ghs_x","expires_at":%q}`, time.Now().Add(time.Hour).Format(time.RFC3339)))),
		}, nil
	}
	next := a.next[0]
	a.next = a.next[1:]
	return next(r)
}

// Of every request it is told once what became of it, and nothing of whom it was about.
func TestSeen(t *testing.T) {
	key := parsedKey(t)
	var seen []github.Seen
	a := &answers{}
	c, err := github.New(github.Config{
		App: 1, Key: key, BaseURL: "http://127.0.0.1:1", Transport: a, Seen: func(s github.Seen) { seen = append(seen, s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	reset := fmt.Sprint(time.Now().Add(time.Hour).Unix())
	quota := []string{"X-Ratelimit-Limit", "5000", "X-Ratelimit-Remaining", "4000", "X-Ratelimit-Reset", reset, "X-Ratelimit-Resource", "core"}
	a.next = []respond{
		reply(200, quota...), reply(404), reply(403), reply(502), reply(422),
		func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") },
		func(*http.Request) (*http.Response, error) { return nil, context.Canceled },
		reply(429, "Retry-After", "60"),
	}
	for range 9 { // the last is not sent
		_, _, _ = c.Repository(7, 42, "acme/orders").Permission(t.Context(), "alice")
	}
	var got []string
	for _, s := range seen {
		got = append(got, s.Method+" "+s.Kind+" "+string(s.Outcome))
		if s.Outcome == github.OutcomeHeldBack && s.Took != 0 {
			t.Errorf("what was not sent took %s", s.Took)
		}
	}
	want := []string{
		"POST tokens ok", "GET collaborators ok", "GET collaborators not_found", "GET collaborators forbidden", "POST tokens ok", "GET collaborators failed", "GET collaborators refused",
		"GET collaborators unreachable", "GET collaborators cancelled", "GET collaborators limited", "GET collaborators held_back",
	}
	if !slices.Equal(got, want) {
		t.Errorf("seen %q,\nwant %q", got, want)
	}
	if l := c.Limits(); l.Paused != 1 || l.Core.Left != 4000 || l.Core.Limit != 5000 || l.GraphQL.Limit != 0 {
		t.Errorf("limits: %+v", l)
	}
}

// Every operation of GitHub's that is used has a kind, and no part of a path gets
// into one.
func TestKinds(t *testing.T) {
	for _, route := range githubtest.Start(t).Routes() {
		_, path, _ := strings.Cut(route, " ")
		if strings.Contains(path, "/settings/") || strings.HasPrefix(path, "/apps/") {
			continue // pages for people
		}
		if kind := github.KindOf(path); kind == "other" || kind == "" {
			t.Errorf("%s is of kind %q", route, kind)
		}
	}
	for path, want := range map[string]string{
		"/repos/acme/pulls": "repository", "/repos/graphql/hook/secret-name": "other", "/repositories/42/pulls/1": "pulls", "/acme": "other", "": "other", "/": "other",
		"/repos/acme/orders/contents/actions/jobs": "contents", "/api/graphql": "graphql", "/api/acme": "other", "/repos/acme/orders/actions/acme": "other",
	} {
		if got := github.KindOf(path); got != want {
			t.Errorf("%q is of kind %q, want %q", path, got, want)
		}
	}
}

// Of several installations the one with the least left is shown, by part.
func TestLimits(t *testing.T) {
	key := parsedKey(t)
	now := time.Now()
	a := &answers{}
	c, err := github.New(github.Config{App: 1, Key: key, BaseURL: "http://127.0.0.1:1", Transport: a, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for i, left := range []string{"9000", "300", "2000"} {
		limit := []string{"15000", "5000", "5000"}[i]
		a.next = append(a.next, reply(200, "X-Ratelimit-Limit", limit, "X-Ratelimit-Remaining", left, "X-Ratelimit-Reset", fmt.Sprint(now.Add(time.Minute).Unix()), "X-Ratelimit-Resource", "core"))
		_, _, _ = c.Repository(rules.InstallationID(i+1), 42, "acme/orders").Permission(t.Context(), "alice")
	}
	if l := c.Limits(); l.Core.Left != 300 || l.Core.Limit != 5000 {
		t.Errorf("%+v, want the installation with 300 left", l.Core)
	}
	now = now.Add(2 * time.Minute)
	if l := c.Limits(); l.Core.Limit != 0 {
		t.Errorf("an hour that is over still counts: %+v", l.Core)
	}
}
