package gate_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// lost has no event of what is done arrive, nor any log tell of it.
func (w *world) lost(do func()) {
	w.t.Helper()
	w.settle()
	w.app.Fate(func(githubtest.Event) githubtest.Fate { return githubtest.Fate{Vanish: true} })
	do()
	must(w.t, w.g.Settle(w.t.Context()))
	w.app.Fate(nil)
}

// passes makes the last list of open pull requests older. The clock itself cannot go on
// for long: what the App signs is by the machine's.
func (w *world) passes(d time.Duration) {
	w.t.Helper()
	w.clock.Advance(time.Second)
	name := fmt.Sprintf("standing %d", w.repo.ID)
	text, err := w.store.Setting(w.t.Context(), name)
	must(w.t, err)
	var all map[string]any
	must(w.t, json.Unmarshal(text, &all))
	before, _ := all["at"].(string)
	at, err := time.Parse(time.RFC3339Nano, before)
	must(w.t, err)
	all["at"] = at.Add(-d)
	text, err = json.Marshal(all)
	must(w.t, err)
	must(w.t, w.store.SetSetting(w.t.Context(), name, text, w.clock.Now()))
}

// sweep sweeps after a time, does what comes of it, and says which pull requests were
// looked at.
func (w *world) sweep(after time.Duration) []int {
	w.t.Helper()
	if after > 0 {
		w.passes(after)
	}
	before := len(w.g.Requests())
	must(w.t, w.gate.Sweep(w.t.Context()))
	w.settle()
	seen := map[int]bool{}
	for _, q := range w.g.Requests()[before:] {
		var asked struct {
			Variables struct {
				Number int `json:"number"`
			} `json:"variables"`
		}
		if q.App == "sallyport" && bytes.Contains(q.Body, []byte("query pull(")) {
			must(w.t, json.Unmarshal(q.Body, &asked))
			seen[asked.Variables.Number] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

const quarter = 16 * time.Minute

// crowd is what stands open: an agent's documents that the server approved, an agent's
// code that bob approved, and that waits, and a person's code.
type crowd struct{ docs, passed, waiting, human *githubtest.Pull }

func newCrowd(t *testing.T) (*world, crowd) {
	t.Helper()
	w := newWorld(t, policyWithoutMerge)
	w.repo.Collaborator(w.bob, "write") // whatever team he is in
	c := crowd{
		docs: w.open(w.agent, "docs", map[string]string{"docs/a.md": "a\n"}), passed: w.open(w.agent, "passed", map[string]string{"a.go": "package a\n"}),
		waiting: w.open(w.agent, "waiting", map[string]string{"b.go": "package b\n"}), human: w.open(w.alice, "human", map[string]string{"c.go": "package c\n"}),
	}
	for _, p := range []*githubtest.Pull{c.docs, c.passed, c.waiting, c.human} {
		w.tests(p.Head(), "success")
	}
	_, err := c.passed.Approve(w.bob, c.passed.Head())
	must(t, err)
	w.settle()
	w.want(c.docs, "success")
	w.want(c.passed, "success")
	w.want(c.waiting, "action_required")
	w.want(c.human, "action_required")
	if w.approvals(c.docs) != 1 {
		t.Fatal("the server did not approve the documents")
	}
	// The first list has nothing to be compared with.
	if looked := w.sweep(0); len(looked) != 4 {
		t.Fatalf("after the first list %v were looked at, want all", looked)
	}
	return w, c
}

var policyWithoutMerge = string(bytes.Replace([]byte(policyText), []byte("    merge: true\n"), nil, 1))

// What stands as it stood is not looked at, however often the sweep comes: a list is
// read, and that once in a quarter of an hour.
func TestSweepLeavesAloneWhatDidNotChange(t *testing.T) {
	w, _ := newCrowd(t)
	lists := func() (n int) {
		for _, q := range w.g.Requests() {
			if bytes.Contains(q.Body, []byte("query standing(")) {
				n++
			}
		}
		return n
	}
	before := lists()
	for range 3 {
		if looked := w.sweep(quarter); len(looked) > 0 {
			t.Errorf("%v were looked at for nothing", looked)
		}
	}
	for range 10 {
		if looked := w.sweep(10 * time.Second); len(looked) > 0 {
			t.Errorf("%v were looked at for nothing", looked)
		}
	}
	if n := lists() - before; n != 3 {
		t.Errorf("%d lists in 50 minutes, want 3", n)
	}
}

// Nothing is trusted for ever: each is looked at anew after one to two days, and those
// that were judged together are not looked at together.
func TestSweepLooksAnew(t *testing.T) {
	const day = 24 * time.Hour
	early := 0
	for n := range int64(1000) {
		left := gate.LeftAlone(rules.WorkKey{Kind: rules.WorkPullRequest, Repository: 7, Number: n + 1})
		if left < day || left > 2*day {
			t.Errorf("%d is left alone for %s", n, left)
		}
		if left < day+day/4 {
			early++
		}
	}
	if early < 200 || early > 300 {
		t.Errorf("%d of 1000 are looked at in the first quarter", early)
	}
	if left := gate.LeftAlone(rules.WorkKey{Kind: rules.WorkRun, Repository: 7, Number: 1}); left > 15*time.Minute {
		t.Errorf("a run is left alone for %s", left)
	}
}

// Each of these changes what a decision rests on, no event and no time of an update tells
// of it, and it is found within a quarter of an hour. Others are left alone.
func TestSweepFindsWhatWasLost(t *testing.T) {
	for what, x := range map[string]struct {
		do   func(w *world, c crowd)
		pull func(crowd) *githubtest.Pull
		says string
	}{
		"a check turns red": {
			func(w *world, c crowd) { w.tests(c.docs.Head(), "failure") }, func(c crowd) *githubtest.Pull { return c.docs }, "action_required",
		},
		"an approval": {func(w *world, c crowd) {
			_, err := c.waiting.Approve(w.rose, c.waiting.Head())
			must(w.t, err)
		}, func(c crowd) *githubtest.Pull { return c.waiting }, "success"},
		"changes are asked for": {func(w *world, c crowd) {
			_, err := c.passed.Review(w.rose, "REQUEST_CHANGES", c.passed.Head(), "no")
			must(w.t, err)
		}, func(c crowd) *githubtest.Pull { return c.passed }, "action_required"},
		"bob leaves the team": {
			func(w *world, _ crowd) { w.sre.Remove(w.carol, w.bob) }, func(c crowd) *githubtest.Pull { return c.passed }, "action_required",
		},
		"a push": {
			func(w *world, _ crowd) { w.push(w.agent, "docs", map[string]string{"docs/more.md": "more\n"}) }, func(c crowd) *githubtest.Pull { return c.docs }, "action_required",
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w, c := newCrowd(t)
			w.sweep(quarter)
			w.lost(func() { x.do(w, c) })
			p := x.pull(c)
			if looked := w.sweep(quarter); !slices.Equal(looked, []int{p.Number}) {
				t.Errorf("%v were looked at, want %d", looked, p.Number)
			}
			w.want(p, x.says)
			if looked := w.sweep(quarter); len(looked) > 1 || len(looked) == 1 && looked[0] != p.Number {
				t.Errorf("then %v were looked at", looked)
			}
			if looked := w.sweep(quarter); len(looked) > 0 {
				t.Errorf("it does not come to rest: %v", looked)
			}
		})
	}
}

// One that is not open any more is held no longer.
func TestSweepFindsWhatWasClosed(t *testing.T) {
	w, c := newCrowd(t)
	w.lost(func() { must(t, c.human.Close(w.alice)) })
	if looked := w.sweep(quarter); !slices.Equal(looked, []int{c.human.Number}) {
		t.Errorf("%v were looked at, want %d", looked, c.human.Number)
	}
	s, err := w.store.Subject(t.Context(), rules.WorkKey{Kind: rules.WorkPullRequest, Repository: rules.RepositoryID(w.repo.ID), Number: int64(c.human.Number)})
	if err != nil || s.Held {
		t.Errorf("it is held: %v, %v", s.Held, err)
	}
}

// What a base branch requires is part of every decision about what is to go there.
func TestSweepFindsAnotherProtection(t *testing.T) {
	w, c := newCrowd(t)
	guard := w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, Checks: []githubtest.RequiredCheck{{Context: "test"}}})
	w.sweep(quarter)
	if looked := w.sweep(quarter); len(looked) > 0 {
		t.Errorf("%v were looked at for nothing", looked)
	}
	w.lost(func() { w.repo.RemoveRuleset(guard) })
	if looked := w.sweep(quarter); len(looked) != 4 {
		t.Errorf("%v were looked at, want all", looked)
	}
	w.want(c.docs, "success")
}

// What may be merged, and GitHub does not let be, is tried again.
func TestSweepTriesAgainToMerge(t *testing.T) {
	w := newWorld(t, policyText)
	w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, Checks: []githubtest.RequiredCheck{{Context: "elsewhere"}}})
	docs := w.open(w.agent, "docs", map[string]string{"docs/a.md": "a\n"})
	w.tests(docs.Head(), "success")
	code := w.open(w.agent, "code", map[string]string{"a.go": "package a\n"})
	w.settle()
	w.want(docs, "success")
	w.want(code, "action_required")
	w.sweep(0)
	for range 2 {
		if looked := w.sweep(quarter); !slices.Equal(looked, []int{docs.Number}) {
			t.Errorf("%v were looked at, want %d", looked, docs.Number)
		}
	}
}

// What changed between two lists and was looked at between them, by its event, may have
// changed after that look: it is looked at once more.
func TestSweepTrustsNoLookBeforeItsList(t *testing.T) {
	w, c := newCrowd(t)
	w.lost(func() { w.tests(c.docs.Head(), "failure") })
	// The list shows it red. The look that follows is lost with a crash.
	w.passes(quarter)
	must(t, w.gate.Sweep(t.Context()))
	work, err := w.store.Take(t.Context(), "test", w.clock.Now(), time.Minute)
	must(t, err)
	for work.Key.Kind != rules.WorkRepository {
		must(t, w.gate.Reconcile(t.Context(), work))
		work, err = w.store.Take(t.Context(), "test", w.clock.Now(), time.Minute)
		must(t, err)
	}
	must(t, w.gate.Reconcile(t.Context(), work))
	work, err = w.store.Take(t.Context(), "test", w.clock.Now(), time.Minute)
	must(t, err)
	if work.Key.Kind != rules.WorkPullRequest || work.Key.Number != int64(c.docs.Number) {
		t.Fatalf("%s is next, want the pull request", work.Key)
	}
	must(t, w.store.Done(t.Context(), work.Key, work.Lease)) // as if its mark was never made
	w.want(c.docs, "success")
	if looked := w.sweep(quarter); !slices.Equal(looked, []int{c.docs.Number}) {
		t.Errorf("%v were looked at, want %d", looked, c.docs.Number)
	}
	w.want(c.docs, "action_required")
}

// A GitHub that does not give the list costs what it cost before there was one, and one
// that fails for a while costs nothing.
func TestSweepWithoutAList(t *testing.T) {
	w, c := newCrowd(t)
	w.lost(func() { w.tests(c.docs.Head(), "failure") })
	w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: -1, When: func(q githubtest.Request) bool { return bytes.Contains(q.Body, []byte("query standing(")) }})
	if looked := w.sweep(quarter); len(looked) > 0 {
		t.Errorf("%v were looked at while the list fails", looked)
	}
	if looked := w.sweep(time.Hour); len(looked) != 4 {
		t.Errorf("%v were looked at, want all", looked)
	}
	w.want(c.docs, "action_required")
	w.g.Heal()
	if looked := w.sweep(quarter); len(looked) != 4 {
		t.Errorf("with the first list again %v were looked at, want all", looked)
	}
	if looked := w.sweep(quarter); len(looked) > 0 {
		t.Errorf("then %v were looked at", looked)
	}
}
