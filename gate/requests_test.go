package gate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
)

// costs counts what is asked of GitHub by our App while something is done, by what the
// paths of requests contain: "" is all of them.
func (w *world) costs(path string, do func()) (n int) {
	w.t.Helper()
	before := len(w.g.Requests())
	do()
	for _, q := range w.g.Requests()[before:] {
		if q.App == "sallyport" && strings.Contains(q.Path, path) {
			n++
		}
	}
	return n
}

// However many processes work over one store, one of them sweeps in the time of a sweep.
func TestReplicasSweepInTurn(t *testing.T) {
	w := newWorld(t, policyText, func(_ *world, c *gate.Config) { c.Sweep = time.Minute })
	sweeps := func(always bool) bool {
		t.Helper()
		made := false
		n := w.costs("/app/hook/deliveries", func() {
			var err error
			made, err = w.gate.SweepInTurn(t.Context(), always)
			must(t, err)
		})
		if made != (n > 0) {
			t.Errorf("made is %v after %d requests", made, n)
		}
		return made
	}
	for _, step := range []struct {
		after        time.Duration
		always, want bool
		what         string
	}{
		{0, false, true, "nobody swept yet"},
		{20 * time.Second, false, false, "another one swept 20 s ago"},
		{0, true, true, "a process that begins"},
		{40 * time.Second, false, false, "the one that began swept 40 s ago"},
		{20 * time.Second, false, true, "the last sweep is a minute ago"},
	} {
		w.clock.Advance(step.after)
		if got := sweeps(step.always); got != step.want {
			t.Errorf("%s: swept is %v, want %v", step.what, got, step.want)
		}
	}
	must(t, w.store.SetSetting(t.Context(), "swept", []byte("9000000000000000000"), w.clock.Now()))
	if !sweeps(false) {
		t.Error("a process whose clock is ahead keeps all others from sweeping")
	}
}
