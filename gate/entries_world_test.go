package gate_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/rules"
)

// recorded is an entry of the ledger with what it says in clear, and what is committed to.
type recorded struct {
	ledger.Record

	said     map[string]any
	personal map[string]string // canonical JSON
}

// entries are the ledger's entries from an index on.
func (w *world) entries(from int64) (out []recorded) {
	w.t.Helper()
	must(w.t, w.store.LedgerLeaves(w.t.Context(), from, 1<<40, func(_ int64, leaf, _, openings []byte) error {
		r, err := ledger.ParseLeaf(leaf)
		if err != nil {
			return err
		}
		e := recorded{Record: r, personal: map[string]string{}}
		if len(r.Payload) > 0 {
			if err := json.Unmarshal(r.Payload, &e.said); err != nil {
				return err
			}
		}
		var opened map[string]ledger.Opening
		if len(openings) > 0 {
			if err := json.Unmarshal(openings, &opened); err != nil {
				return err
			}
		}
		for name, o := range opened {
			e.personal[name] = string(o.Value)
		}
		out = append(out, e)
		return nil
	}))
	return out
}

// hangTogether wants each entry to say whence it follows and what it is about: an effect
// has the id of a decision that stands before it, an outcome that of its effect, and both
// the same subject; a job's has the run's attempt and the environment.
func (w *world) hangTogether() {
	w.t.Helper()
	w.verify()
	decided := map[string]ledger.Subject{}
	done := map[string]recorded{}
	for _, e := range w.entries(0) {
		s := e.Subject
		if s.Repository == 0 || s.Run != 0 && (s.Attempt == 0 || s.Environment == "" || s.SHA == "" && e.Kind != ledger.KindAlert) {
			w.t.Errorf("it does not say what it is about: %s", e.Leaf)
		}
		if e.Kind == ledger.KindEffect || e.Kind == ledger.KindOutcome {
			of, known := decided[e.Decision]
			// A check run shows what was decided about a pull request, to others as well.
			if !known || of.SHA != s.SHA || of.Run != s.Run || of.Attempt != s.Attempt || !strings.EqualFold(of.Environment, s.Environment) {
				w.t.Errorf("it follows from no decision about it: %s, decided %v: %+v", e.Leaf, known, of)
			}
		}
		switch e.Kind {
		case ledger.KindAlert:
			if code, _ := e.said["code"].(string); s.Key == "" || code == "" || !strings.Contains(e.personal["reason"], `"code":"`+code+`"`) {
				w.t.Errorf("it does not say what happened: %s %v", e.Leaf, e.personal)
			}
		case ledger.KindDecision:
			if before, again := decided[e.Decision]; e.Decision == "" || again && before != s {
				w.t.Errorf("another decision has its id: %s", e.Leaf)
			}
			decided[e.Decision] = s
		case ledger.KindEffect:
			if _, again := done[s.Key]; again || s.Key == "" {
				w.t.Errorf("another effect has its key: %s", e.Leaf)
			}
			done[s.Key] = e
		case ledger.KindOutcome:
			if before := done[s.Key]; before.Subject != s || before.Decision != e.Decision {
				w.t.Errorf("it is of no effect: %s\nwhich is %s", e.Leaf, before.Leaf)
			}
		}
	}
}

// while does the work that is due, and leaves for later what fails.
func (w *world) while() {
	w.t.Helper()
	must(w.t, w.g.Settle(w.t.Context()))
	for {
		work, err := w.store.Take(w.t.Context(), "test", w.clock.Now(), time.Minute)
		if err != nil {
			return
		}
		if err := w.gate.Reconcile(w.t.Context(), work); err != nil {
			must(w.t, w.store.Fail(w.t.Context(), work.Key, work.Lease, err, w.clock.Now(), w.clock.Now().Add(20*time.Second)))
		}
		must(w.t, w.g.Settle(w.t.Context()))
	}
}

// kinds are how often an effect of each kind was recorded.
func (w *world) kinds() map[string]int {
	out := map[string]int{}
	for _, e := range w.entries(0) {
		if e.Kind == ledger.KindEffect {
			out[e.said["kind"].(string)]++
		}
	}
	return out
}

// What is done hangs on a decision, whichever look does it, and whatever came between.
func TestEntriesHangTogether(t *testing.T) {
	for _, c := range []struct {
		name  string
		kinds []string // at least these, else it shows nothing
		do    func(t *testing.T) *world
	}{
		{"merged by itself", []string{"approve", "check", "label", "merge"}, func(t *testing.T) *world {
			w := newWorld(t, policyText)
			p := w.docs(map[string]string{"docs/a.md": "x\n"})
			w.settle()
			if !p.See().Merged {
				t.Errorf("not merged: %s", w.dump(p))
			}
			return w
		}},
		{"taken back", []string{"approve", "check", "dismiss"}, func(t *testing.T) *world {
			w := newWorld(t, noMerge)
			w.docs(map[string]string{"docs/a.md": "x\n"})
			w.settle()
			w.push(w.agent, "writer/docs", map[string]string{"src/a.go": "package a\n"})
			w.settle()
			return w
		}},
		{"two at one head", []string{"check", "comment"}, func(t *testing.T) *world {
			w := newWorld(t, noMerge)
			p := w.docs(map[string]string{"docs/a.md": "x\n"})
			must(t, w.repo.Push(w.agent, "other", p.Head()))
			must(t, w.repo.Push(w.carol, "release", w.repo.Head("main")))
			_, err := w.repo.OpenPull(w.dave, githubtest.PullSpec{Head: "other", Base: "release", Title: "The same elsewhere"})
			must(t, err)
			w.settle()
			return w
		}},
		{"a head moves while GitHub does not answer", []string{"approve", "check"}, func(t *testing.T) *world {
			w := newWorld(t, noMerge)
			away := true
			w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: -1, Method: "POST", When: func(r githubtest.Request) bool { return away && strings.HasSuffix(r.Path, "/reviews") }})
			w.docs(map[string]string{"docs/a.md": "x\n"})
			w.while()
			w.push(w.agent, "writer/docs", map[string]string{"src/a.go": "package a\n"})
			away = false
			w.settle()
			if !slices.ContainsFunc(w.entries(0), func(e recorded) bool { return e.said["outcome"] == "not needed any more" }) {
				t.Error("nothing was left undone, so this shows nothing")
			}
			return w
		}},
		{"a queue's groups", []string{"check", "enqueue"}, func(t *testing.T) *world {
			w := newWorld(t, policyText)
			w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, MergeQueue: true})
			w.docs(map[string]string{"docs/a.md": "x\n"})
			w.settle()
			return w
		}},
		{"released and ended", []string{"answer", "check", "report"}, func(t *testing.T) *world {
			w := deploys(t, deployPolicy)
			w.released("production")
			w.released("Production")
			return w
		}},
		{"GitHub takes the answer late", []string{"answer"}, func(t *testing.T) *world {
			w := deploys(t, deployPolicy)
			w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: 3, Method: "POST", Path: "/repos/*/*/actions/runs/*/deployment_protection_rule"})
			w.deploy("dev")
			return w
		}},
		{"run again after it stopped waiting", []string{"check", "rerun"}, func(t *testing.T) *world {
			w := unruled(t, deployPolicy)
			more := permissions()
			more["actions"] = "write"
			w.inst.Permit(w.carol, more)
			w.settle()
			d := w.deploy("production")
			d.ask()
			d.end("failure")
			d.click(w.rose, "approve")
			d.ask()
			w.settle()
			d.end("success")
			return w
		}},
		{"run again while GitHub does not answer", []string{"check", "report"}, func(t *testing.T) *world {
			w := deploys(t, deployPolicy)
			away := true
			w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: -1, Method: "POST", When: func(r githubtest.Request) bool {
				return away && strings.HasSuffix(r.Path, "/deployment_protection_rule")
			}})
			d := w.start("production")
			for range 3 {
				w.while()
				w.clock.Advance(5 * time.Second)
			}
			away = false
			d.Cancel()
			w.settle()
			if !slices.ContainsFunc(w.entries(0), func(e recorded) bool { return e.said["outcome"] == "not needed any more" }) {
				t.Error("nothing was left undone, so this shows nothing")
			}
			return w
		}},
		{"the check run is made late", []string{"check"}, func(t *testing.T) *world {
			w := deploys(t, deployPolicy)
			w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: 2, Method: "POST", Path: "/repos/*/*/check-runs"})
			w.deploy("production")
			return w
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := c.do(t)
			w.hangTogether()
			got := w.kinds()
			for _, k := range c.kinds {
				if got[k] == 0 {
					t.Errorf("no effect %q, so this shows little: %v", k, slices.Sorted(maps.Keys(got)))
				}
			}
		})
	}
}

// An alert says where it happened and, under a commitment, who did it and why it is one.
func TestAlertEntries(t *testing.T) {
	for _, c := range []struct {
		code, reason string
		do           func(w *world) *deployment
	}{
		{"SP540", `"login":"alice"`, func(w *world) *deployment {
			d := w.deploy("production")
			must(w.t, d.StartWaiting(w.carol))
			w.settle()
			return d
		}},
		{"SP541", `"login":"alice"`, func(w *world) *deployment {
			w.repo.Environment("production-eu")
			d := w.deploy("production-eu")
			d.end("success")
			return d
		}},
		{"SP543", "", func(w *world) *deployment {
			w.released("production")
			before := w.repo.Head("main")
			w.merged(w.alice, "a", "merge", map[string]string{"src/a.go": "a"})
			d := w.deploy("production")
			must(w.t, w.repo.Push(w.carol, "main", before))
			d.click(w.bob, "approve")
			return d
		}},
		{"SP544", "", func(w *world) *deployment {
			d := w.deploy("production")
			w.inst.Suspend(w.carol)
			w.settle()
			return d
		}},
		{"SP630", `orders-migrator`, func(w *world) *deployment {
			d := w.deploy("production")
			d.click(w.rose, "approve")
			w.lease(d, "orders-migrator")
			w.lease(d, "orders-migrator")
			return d
		}},
		{"SP632", `"because":[{"code":"SP`, func(w *world) *deployment {
			d := w.deploy("production")
			d.click(w.rose, "approve")
			w.clock.Advance(6 * time.Minute)
			w.lease(d, "orders-migrator")
			w.sre.Remove(w.carol, w.rose)
			w.minute()
			return d
		}},
	} {
		t.Run(c.code, func(t *testing.T) {
			w := deploys(t, keysPolicy, keys(&safe{}))
			d := c.do(w)
			w.hangTogether()
			want := ledger.Subject{Repository: rules.RepositoryID(w.repo.ID), Run: rules.RunID(d.ID), Attempt: 1, SHA: rules.SHA(d.sha), Environment: d.environment}
			n := 0
			for _, e := range w.entries(0) {
				if e.Kind != ledger.KindAlert || e.said["code"] != c.code {
					continue
				}
				n++
				got := e.Subject
				got.Key = ""
				if got != want || !strings.Contains(e.personal["reason"], c.reason) {
					t.Errorf("%+v %s\nwant %+v %s", got, e.personal["reason"], want, c.reason)
				}
			}
			if n != 1 {
				t.Errorf("%d entries, want 1", n)
			}
		})
	}
}
