package gate_test

import (
	"testing"

	"github.com/sallyport/sallyport/gate"
)

// Each deployment is counted once, by what it waits for.
func TestHeldDeployments(t *testing.T) {
	w := deploys(t, deployPolicy)
	held := func(want map[string]int) {
		t.Helper()
		got, err := w.gate.HeldDeployments(t.Context())
		must(t, err)
		if len(got) != 4 {
			t.Errorf("states: %v, want all four", got)
		}
		for state, h := range got {
			if h.Count != want[state] || h.Since.IsZero() != (h.Count == 0) {
				t.Errorf("%s: %d since %s, want %d", state, h.Count, h.Since, want[state])
			}
		}
	}
	held(nil)
	w.open(w.alice, "work", map[string]string{"src/a.go": "package a\n"}) // a held pull request is none
	w.settle()
	d := w.deploy("production")
	held(map[string]int{gate.HeldForHuman: 1})
	d.click(w.rose, "approve")
	held(map[string]int{gate.HeldRunning: 1})
	d.end("success")
	held(nil)
}
