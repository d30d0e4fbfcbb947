package main

import (
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/bench/internal/served"
	"github.com/sallyport/sallyport/gate/github/githubtest"
)

func testConfig(t *testing.T) config {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	app, err := served.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return config{key: key, app: app, deployments: 2}
}

// What the goals are about is asked no more often than they allow, and the same in
// every run.
func TestCounts(t *testing.T) {
	c := testConfig(t)
	var first map[string]int
	for range 2 {
		rows, err := c.play(t.Context(), part{"one event", once})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if r.goal != unbounded && r.tally.reads() > r.goal {
				t.Errorf("%s: %d requests, want at most %d: %v", r.name, r.tally.reads(), r.goal, r.tally.kinds)
			}
		}
		cold := rows[0].tally
		if cold.looks != 1 || cold.writes == 0 || cold.kinds[searchRoute] != cold.searches {
			t.Errorf("one event: %+v", cold)
		}
		if first == nil {
			first = cold.kinds
		} else if !maps.Equal(first, cold.kinds) {
			t.Errorf("%v, then %v", first, cold.kinds)
		}
	}
}

func TestIrrelevant(t *testing.T) {
	rows, err := testConfig(t).play(t.Context(), part{"irrelevant", irrelevant})
	if err != nil {
		t.Fatal(err)
	}
	if got := rows[0].tally; got.reads()+got.writes+got.searches > 0 {
		t.Errorf("asked %v", got.kinds)
	}
}

// Each deployment is timed, once.
func TestLatency(t *testing.T) {
	c := testConfig(t)
	l, err := c.latency(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(l.held.took) != c.deployments || len(l.released.took) != c.deployments {
		t.Fatalf("%d and %d times of %d deployments", len(l.held.took), len(l.released.took), c.deployments)
	}
	if l.held.at(0) <= 0 || l.released.at(0) <= 0 {
		t.Errorf("times of nothing: %v, %v", l.held.took, l.released.took)
	}
}

// The scene refuses an answer that is not the one it demands.
func TestHolds(t *testing.T) {
	c := testConfig(t)
	s, err := c.newScene(t.Context())
	defer func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	s.only()
	d := s.deploy("production")
	if err := s.holds(d); err == nil {
		t.Error("a deployment of which nobody heard passes for a held one")
	}
	if err := s.released(d); err == nil {
		t.Error("a job that waits passes for a released one")
	}
}

// The pull requests bring as many commits as the program says.
func TestPulls(t *testing.T) {
	n, migrations := 0, 0
	methods := map[string]bool{}
	for _, p := range pulls() {
		methods[p.method] = true
		if p.migration {
			migrations++
		}
		switch p.method {
		case "merge":
			n += p.commits + 1
		case "rebase":
			n += p.commits
		case "squash":
			n++
		}
	}
	if n != sceneCommits || len(methods) != 3 || migrations != 1 {
		t.Errorf("%d commits by %d methods with %d migrations", n, len(methods), migrations)
	}
}

func TestUntilReleased(t *testing.T) {
	ask := func(app, body string) githubtest.Request {
		return githubtest.Request{App: app, Method: "POST", Path: "/repos/acme/orders/actions/runs/1/deployment_protection_rule", Body: []byte(body)}
	}
	all := []githubtest.Request{{App: slug, Method: "GET", Path: "/"}, ask("ci", `{"state":"approved"}`), ask(slug, `{"comment":"waits"}`), ask(slug, `{"state":"approved"}`), {App: slug}}
	got, err := untilReleased(all)
	if err != nil || len(got) != 4 {
		t.Errorf("%d requests, %v", len(got), err)
	}
	if _, err := untilReleased(all[:3]); err == nil {
		t.Error("a report passes for a release")
	}
}

func TestTimes(t *testing.T) {
	var l times
	for i := range 100 {
		l.took = append(l.took, time.Duration(i)*time.Millisecond)
	}
	if got := l.String(); got != "49 ms\t94 ms\t99 ms" {
		t.Errorf("%q", got)
	}
	if got := goal(3, 4); !strings.HasSuffix(got, "MISSED") || !strings.HasSuffix(goal(3, 3), "\tmet") || goal(unbounded, 9) != "\t" {
		t.Errorf("%q", got)
	}
}
