package main

import (
	"crypto/rand"
	"crypto/rsa"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/palantir/go-githubapp/githubapp"
	"github.com/rcrowley/go-metrics"
	"github.com/sallyport/sallyport/bench/internal/served"
)

// The counts are the same in every run, and policy-bot counts the same itself: its
// own counter sees what it asks before the transport does, token exchanges apart.
func TestCountsHold(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	all := scenarios()
	for _, elsewhere := range []bool{false, true} {
		var first *played
		for range 2 {
			p := &policyBot{checksElsewhere: elsewhere}
			got, err := play(t.Context(), all[len(all)-1], p, key)
			if err != nil {
				t.Fatal(err)
			}
			counter, ok := p.own.Get(githubapp.MetricsKeyRequests).(metrics.Counter)
			if !ok {
				t.Fatal("policy-bot has no counter of requests")
			}
			const itself = 1 // GET /app, when it starts
			if want := counter.Count() - itself; int64(got.total.reads()+got.total.writes) != want {
				t.Errorf("%s: counted %d reads and %d writes, policy-bot counts %d requests", p.Name(), got.total.reads(), got.total.writes, want)
			}
			if first == nil {
				first = got
			} else if !maps.Equal(first.total.kinds, got.total.kinds) {
				t.Errorf("%s: %v, then %v", p.Name(), first.total.kinds, got.total.kinds)
			}
		}
	}
}

// Sallyport says what the scenes demand, and asks nothing for what is irrelevant.
func TestSallyport(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	app, err := served.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range scenarios() {
		got, err := play(t.Context(), sc, &sallyport{Server: served.Server{Program: app}}, key)
		if err != nil {
			t.Errorf("%s: %v", sc.name, err)
			continue
		}
		if strings.HasPrefix(sc.name, "irrelevant") && got.total.reads()+got.total.writes > 0 {
			t.Errorf("%s: asked %v", sc.name, got.total.kinds)
		}
	}
}

// The agent's pull request is what bench/README.md says it is.
func TestLife(t *testing.T) {
	var names []string
	for _, m := range life(&scene{}, &request{}) {
		names = append(names, m.name)
	}
	count := func(prefix string) (n int) {
		for _, name := range names {
			if strings.HasPrefix(name, prefix) {
				n++
			}
		}
		return n
	}
	for prefix, want := range map[string]int{"": 18, "opened": 1, "push": 2, "check ": 10, "check test": 3, "status ": 3, "comment": 1, "approved": 1} {
		if got := count(prefix); got != want {
			t.Errorf("%d events %q, want %d: %v", got, prefix, want, slices.Compact(names))
		}
	}
}
