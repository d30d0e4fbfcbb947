package githubtest_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

func TestA304CostsNothing(t *testing.T) {
	w := newWorld(t)
	first := w.want(200, "GET", orders, nil)
	tag, used := first.header.Get("ETag"), first.header.Get("X-RateLimit-Used")
	again := w.call(w.token, "GET", orders, nil, "If-None-Match", tag)
	if again.status != 304 || len(again.body) != 0 || again.header.Get("X-RateLimit-Used") != used {
		t.Errorf("asking with the tag: %d, %d bytes, used %s after %s; want 304, none, no more", again.status, len(again.body), again.header.Get("X-RateLimit-Used"), used)
	}
	other := w.call(w.inst.Token(), "GET", orders, nil, "If-None-Match", tag)
	if other.status != 200 {
		t.Errorf("with another token the tag answers %d, want 200", other.status)
	}
	w.repo.Public()
	if a := w.call(w.token, "GET", orders, nil, "If-None-Match", tag); a.status != 200 || a.get("private") != false {
		t.Errorf("after a change the tag answers %d", a.status)
	}
	costs := 0
	for _, r := range w.g.Requests() {
		costs += r.Cost
	}
	if costs != 3 {
		t.Errorf("four requests cost %d, want 3", costs)
	}
}

func TestThePrimaryLimit(t *testing.T) {
	w := newWorld(t)
	w.inst.Spend("core", 1)
	w.want(200, "GET", orders, nil)
	a := w.call(w.token, "GET", orders, nil)
	if a.status != 403 || a.header.Get("X-RateLimit-Remaining") != "0" || a.header.Get("Retry-After") != "" {
		t.Errorf("over the limit: %d, remaining %s", a.status, a.header.Get("X-RateLimit-Remaining"))
	}
	if a := w.call(w.token, "GET", "/rate_limit", nil); a.status != 200 || a.get("resources.core.remaining") != 0.0 {
		t.Errorf("/rate_limit answers %d, %v left", a.status, a.get("resources.core.remaining"))
	}
	w.inst.Spend("graphql", 0)
	if a := w.graphql(`{viewer{login}}`, nil); a.status != 200 || a.get("errors.0.type") != "RATE_LIMIT" {
		t.Errorf("GraphQL over the limit: %d %s; want 200 with errors", a.status, a.body)
	}
	w.clock.Advance(time.Hour)
	w.token = w.inst.Token()
	w.want(200, "GET", orders, nil)
}

func TestTheSecondaryLimits(t *testing.T) {
	w := newWorld(t, githubtest.Config{Limits: githubtest.Limits{PointsPerMinute: 12, ContentPerMinute: 2}})
	w.open(w.agent, "a")
	comment := func() answer {
		return w.call(w.token, "POST", orders+"/issues/1/comments", map[string]string{"body": "x"})
	}
	for range 2 {
		if a := comment(); a.status != 201 {
			t.Fatalf("a comment answers %d", a.status)
		}
	}
	a := comment()
	if a.status != 403 || a.header.Get("Retry-After") == "" || !strings.Contains(string(a.body), "secondary") {
		t.Errorf("a third write in a minute: %d, Retry-After %q", a.status, a.header.Get("Retry-After"))
	}
	w.clock.Advance(time.Minute)
	if a := comment(); a.status != 201 {
		t.Errorf("a minute later a comment answers %d", a.status)
	}
}

func TestComplaints(t *testing.T) {
	w := newWorld(t)
	w.g.Allow("")
	for _, c := range []struct {
		what string
		want string
		do   func()
	}{
		{"an unknown route", "no such route", func() { w.call(w.token, "GET", orders+"/stargazers", nil) }},
		{"an unknown field", `unknown field "colour"`, func() {
			w.call(w.token, "POST", orders+"/check-runs", map[string]string{"name": "x", "head_sha": w.repo.Head("main"), "colour": "red"})
		}},
		{"an unknown parameter", `query parameter "colour"`, func() { w.call(w.token, "GET", orders+"/pulls?colour=red", nil) }},
		{"no Accept", "without a Accept header", func() { w.call(w.token, "GET", orders, nil, "Accept", "") }},
		{"the library's User-Agent", "without a User-Agent header", func() { w.call(w.token, "GET", orders, nil, "User-Agent", "Go-http-client/1.1") }},
		{"no API version", "X-GitHub-Api-Version", func() { w.call(w.token, "GET", orders, nil, "X-GitHub-Api-Version", "") }},
		{"a bad token", "Bad credentials", func() { w.call("ghs_none", "GET", orders, nil) }},
		{"no token", "does not take this kind of token", func() { w.call("", "GET", orders, nil) }},
		{"an App where an installation belongs", "does not take this kind of token", func() { w.call(w.app.JWT(), "GET", orders, nil) }},
		{"a permission that was not granted", "the token lacks", func() { w.call(w.token, "POST", orders+"/actions/runs/1/rerun", nil) }},
		{"too much at once", "per_page=200", func() { w.call(w.token, "GET", orders+"/pulls?per_page=200", nil) }},
		{"a merge of whatever is there", "a merge without sha", func() { w.open(w.agent, "z"); w.call(w.token, "PUT", orders+"/pulls/1/merge", nil) }},
	} {
		before := len(w.g.AllViolations())
		c.do()
		var all []string
		for _, v := range w.g.AllViolations()[before:] {
			all = append(all, v.String())
		}
		if !strings.Contains(strings.Join(all, "\n"), c.want) {
			t.Errorf("%s: complaints %q, want one with %q", c.what, all, c.want)
		}
	}
	before := len(w.g.AllViolations())
	w.want(200, "GET", orders+"/pulls", nil)
	if after := len(w.g.AllViolations()); after != before {
		t.Errorf("a careful request is complained about: %v", w.g.AllViolations()[before:])
	}
}

// A test that uses the fake wrongly fails.
func TestViolationsFailTheTest(t *testing.T) {
	inner := &recorder{TB: t}
	g := githubtest.Start(inner, githubtest.Config{})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL()+"/nowhere", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	got.Body.Close()
	inner.end()
	if len(inner.errors) == 0 {
		t.Error("an unknown route fails no test")
	}
}

type recorder struct {
	testing.TB
	errors   []string
	cleanups []func()
}

func (r *recorder) Errorf(format string, _ ...any) { r.errors = append(r.errors, format) }
func (r *recorder) Cleanup(f func())               { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Helper()                        {}
func (r *recorder) end() {
	for _, f := range r.cleanups {
		f()
	}
}

func TestFaultsOfBothKinds(t *testing.T) {
	comment := map[string]string{"body": "x"}
	path := orders + "/issues/1/comments"
	for _, c := range []struct {
		kind   githubtest.Kind
		status int // 0: no answer
		done   bool
	}{
		{githubtest.ServerError, 502, false},
		{githubtest.Reset, 0, false},
		{githubtest.Throttle, 403, false},
		{githubtest.Unanswered, 0, true},
		{githubtest.DoneThenError, 502, true},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			w := newWorld(t)
			p := w.open(w.agent, "a")
			w.g.Fail(githubtest.Fault{Kind: c.kind, Method: "POST", Path: path})
			a, err := w.try(w.token, "POST", path, comment)
			if a.status != c.status || (err != nil) != (c.status == 0) {
				t.Errorf("the request answers %d, %v; want %d", a.status, err, c.status)
			}
			if n := len(p.See().Comments); (n == 1) != c.done {
				t.Errorf("%d comments are there", n)
			}
			if c.kind == githubtest.Throttle && a.header.Get("Retry-After") != "60" {
				t.Errorf("Retry-After is %q, want 60", a.header.Get("Retry-After"))
			}
			if a := w.call(w.token, "POST", path, comment); a.status != 201 {
				t.Errorf("the next request answers %d, want 201: the fault is used up", a.status)
			}
			r := w.g.Requests()
			if r[0].Fault != c.kind.String() || r[1].Fault != "" {
				t.Errorf("the requests' faults are %q and %q", r[0].Fault, r[1].Fault)
			}
		})
	}
}

func TestThrottlingMayAnswer429(t *testing.T) {
	w := newWorld(t)
	w.g.Fail(githubtest.Fault{Kind: githubtest.Throttle, Path: "**", Status: http.StatusTooManyRequests, RetryAfter: 3 * time.Second})
	if a := w.call(w.token, "GET", orders, nil); a.status != 429 || a.header.Get("Retry-After") != "3" {
		t.Errorf("answers %d, Retry-After %q; want 429, 3", a.status, a.header.Get("Retry-After"))
	}
}

func TestHangingEndsWithTheClient(t *testing.T) {
	w := newWorld(t)
	w.g.Fail(githubtest.Fault{Kind: githubtest.Hang, Path: "**", Times: -1})
	client := &http.Client{Timeout: 50 * time.Millisecond}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.g.URL()+orders, nil)
	w.must(err)
	got, err := client.Do(r)
	if err == nil {
		got.Body.Close()
		t.Fatal("a hanging request answers")
	}
	if !errors.Is(err, http.ErrHandlerTimeout) && !strings.Contains(err.Error(), "Timeout") && !strings.Contains(err.Error(), "deadline") {
		t.Errorf("the client says %v", err)
	}
	w.g.Heal()
	w.want(200, "GET", orders, nil)
}

func TestStaleReads(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "a")
	old := p.Head()
	w.want(200, "GET", orders+"/pulls/1", nil)
	w.branch(w.agent, "a", map[string]string{"a.txt": "two\n"})
	w.g.Fail(githubtest.Fault{Kind: githubtest.Stale, Path: orders + "/pulls/1", Times: 2})
	for range 2 {
		if got := w.want(200, "GET", orders+"/pulls/1", nil).get("head.sha"); got != old {
			t.Errorf("a stale read says %v, want the old head", got)
		}
	}
	if got := w.want(200, "GET", orders+"/pulls/1", nil).get("head.sha"); got != p.Head() {
		t.Errorf("the third read says %v, want the new head", got)
	}
}

func TestCounting(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "a")
	w.want(200, "GET", orders+"/pulls/1", nil)
	w.want(200, "GET", orders+"/pulls/1", nil)
	w.graphql(queries()[0], map[string]any{"owner": "acme", "name": "orders", "number": 1})
	w.graphql(queries()[1], map[string]any{"owner": "acme", "name": "orders", "oid": p.Head()})
	got := w.g.Counts()
	for kind, want := range map[string]int{"GET /repos/{owner}/{repo}/pulls/{pull_number}": 2, "POST /graphql query pullRequest": 1, "POST /graphql query object": 1} {
		if got[kind] != want {
			t.Errorf("%d of %s, want %d; all: %v", got[kind], kind, want, got)
		}
	}
	for _, r := range w.g.Requests() {
		if r.App != "sallyport" || r.Write() {
			t.Errorf("%s is by %q, a write: %v", r.Kind, r.App, r.Write())
		}
	}
	w.g.ForgetRequests()
	if len(w.g.Requests()) != 0 {
		t.Error("requests are not forgotten")
	}
}

func TestCloseTwiceAndDuringWebhooks(t *testing.T) {
	block := make(chan struct{})
	hook := newReceiver(t)
	hook.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		select {
		case <-block:
		case <-q.Context().Done():
		}
	})
	defer close(block)
	w := newWorld(t)
	w.app.Webhook(hook.URL, secret)
	w.open(w.agent, "a")
	done := make(chan struct{})
	go func() {
		w.g.Close()
		w.g.Close()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Close does not end")
	}
}
