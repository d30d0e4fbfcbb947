package gate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/rules"
)

// inForce is the version of the policy that is in force.
func (w *world) inForce() (version int64, deleted bool) {
	w.t.Helper()
	p, err := w.store.Policy(w.t.Context(), rules.RepositoryID(w.repo.ID), rules.PolicyPath)
	must(w.t, err)
	return p.Version, p.Deleted
}

// alerts counts the ledger's alerts.
func (w *world) alerts() (n int) {
	w.t.Helper()
	must(w.t, w.store.LedgerLeaves(w.t.Context(), 0, 1<<40, func(_ int64, leaf, _, _ []byte) error {
		r, err := ledger.ParseLeaf(leaf)
		if r.Kind == ledger.KindAlert {
			n++
		}
		return err
	}))
	return n
}

var looser = strings.Replace(policyText, "docs/**", "docs/**, notes/**", 1)

func TestAPolicyComesIntoForceByAPullRequestThatPassed(t *testing.T) {
	for _, method := range []string{"merge", "squash", "rebase"} {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t, policyText)
			waits := w.commit("writer/notes", githubtest.Commit{Files: map[string]githubtest.File{"notes/a.md": githubtest.Text("a\n")}})
			p := w.open(w.dave, "loosen", map[string]string{rules.PolicyPath: looser})
			w.settle()
			w.want(p, "action_required", "SP103")
			w.want(waits, "action_required", "SP102")
			w.try(p.Approve(w.bob, ""))
			w.settle()
			w.want(p, "success")
			must(t, p.Merge(w.dave, method, ""))
			w.settle()
			if v, _ := w.inForce(); v != 2 {
				t.Fatalf("version %d is in force, want 2", v)
			}
			if !waits.See().Merged {
				t.Errorf("what the new policy allows still waits: %s", w.dump(waits))
			}
			if n := w.alerts(); n != 0 {
				t.Errorf("%d alerts", n)
			}
			w.verify()
		})
	}
}

func TestAPolicyThatDidNotPassRaisesAnAlertOnce(t *testing.T) {
	w := newWorld(t, policyText)
	w.push(w.carol, "main", map[string]string{rules.PolicyPath: looser})
	w.settle()
	w.push(w.carol, "main", map[string]string{"README.md": "more\n"})
	w.settle()
	if v, _ := w.inForce(); v != 1 || w.alerts() != 1 {
		t.Errorf("version %d is in force with %d alerts, want 1 and 1", v, w.alerts())
	}
	// An administrator may adopt what stands there.
	w.adopt("acme/orders")
	w.settle()
	if v, _ := w.inForce(); v != 2 {
		t.Errorf("version %d is in force, want 2", v)
	}
	w.verify()
}

func TestAPolicyForcedBackStaysInForce(t *testing.T) {
	w := newWorld(t, looser)
	old := w.repo.Head("main")
	p := w.open(w.dave, "tighten", map[string]string{rules.PolicyPath: policyText})
	w.settle()
	w.try(p.Approve(w.bob, ""))
	w.settle()
	must(t, p.Merge(w.dave, "squash", ""))
	w.settle()
	must(t, w.repo.Push(w.carol, "main", old))
	w.settle()
	if v, _ := w.inForce(); v != 2 || w.alerts() != 1 {
		t.Errorf("version %d is in force with %d alerts, want 2 and 1", v, w.alerts())
	}
	held := w.commit("writer/notes", githubtest.Commit{Files: map[string]githubtest.File{"notes/a.md": githubtest.Text("a\n")}})
	w.settle()
	w.want(held, "action_required", "SP102")
}

func TestAMergeMadeElsewhereBringsNoPolicy(t *testing.T) {
	w := newWorld(t, policyText)
	p := w.open(w.dave, "honest", map[string]string{rules.PolicyPath: strings.Replace(policyText, "docs/**", "docs/**, more/**", 1)})
	w.settle()
	w.try(p.Approve(w.bob, ""))
	w.settle()
	w.want(p, "success")
	// A merge of the approved head with another policy in it.
	evil := w.repo.Commit(githubtest.Commit{
		Message: "Merge", Parents: []string{w.repo.Head("main"), p.Head()}, Author: githubtest.Identity{Name: "carol", Email: "carol@example.com"},
		Files: map[string]githubtest.File{rules.PolicyPath: githubtest.Text(looser)},
	})
	must(t, w.repo.Push(w.carol, "main", evil))
	w.settle()
	if v, _ := w.inForce(); v != 1 {
		t.Errorf("version %d is in force, want 1", v)
	}
}

func TestADeletedPolicyDenies(t *testing.T) {
	w := newWorld(t, policyText)
	_, err := w.repo.PushCommit(w.dave, "delete", githubtest.Commit{Message: "x", Author: githubtest.Identity{Name: "dave", Email: w.dave.Email()}, Files: map[string]githubtest.File{rules.PolicyPath: githubtest.Removed()}})
	must(t, err)
	p, err := w.repo.OpenPull(w.dave, githubtest.PullSpec{Head: "delete", Title: "Delete it"})
	must(t, err)
	other := w.open(w.agent, "writer/x", docs("x"))
	w.settle()
	w.try(p.Approve(w.bob, ""))
	w.settle()
	must(t, p.Merge(w.dave, "merge", ""))
	w.settle()
	if _, deleted := w.inForce(); !deleted {
		t.Error("it is not deleted")
	}
	w.want(other, "failure", "SP004")
}

func TestAPolicyIsLintedInThePullRequest(t *testing.T) {
	w := newWorld(t, policyText)
	p := w.open(w.dave, "broken", map[string]string{rules.PolicyPath: policyText + "enviroments: {}\n"})
	w.settle()
	s := w.repo.CheckRun(p.Head(), gate.CheckName).See()
	if len(s.Annotations) == 0 || s.Annotations[0].Path != rules.PolicyPath || s.Annotations[0].Level != "failure" || s.Annotations[0].StartLine < 12 {
		t.Errorf("annotations: %+v", s.Annotations)
	}
}

func TestObserveOnlySays(t *testing.T) {
	w := newWorld(t, "version: 1\nmode: observe\n"+strings.TrimPrefix(policyText, "version: 1\n"))
	safe, held := w.green("writer/safe"), w.open(w.agent, "writer/held", sql("held"))
	w.settle()
	w.want(safe, "neutral", "SP010")
	w.want(held, "neutral", "SP010", "SP301")
	for _, p := range []*githubtest.Pull{safe, held} {
		if s := p.See(); s.Merged || len(s.Reviews)+len(s.Comments)+len(s.Waiting)+len(s.Labels) > 0 {
			t.Errorf("it did more than say: %s", w.dump(p))
		}
	}
}

func TestRerunMakesANewCheckRun(t *testing.T) {
	w := newWorld(t, policyText)
	p := w.open(w.agent, "writer/a", sql("a"))
	w.settle()
	first := w.repo.CheckRun(p.Head(), gate.CheckName)
	must(t, first.Rerequest(w.dave))
	w.settle()
	if again := w.repo.CheckRun(p.Head(), gate.CheckName); again.ID == first.ID {
		t.Error("no new check run was made")
	}
	w.want(p, "action_required", "SP301")
}

func TestMergeGroups(t *testing.T) {
	w := newWorld(t, noMerge)
	w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, MergeQueue: true})
	p := w.green("writer/queued")
	w.settle()
	w.want(p, "success")
	must(t, p.Enqueue(w.dave))
	w.settle()
	if !p.See().Merged {
		heads := w.repo.QueueHeads("main")
		t.Errorf("it is not merged: %s, groups %v", w.dump(p), heads)
		for _, h := range heads {
			c, text := w.says(h)
			t.Logf("%s: %s\n%s", h, c, text)
		}
	}
}

func TestDismissalActsWithoutTheLedger(t *testing.T) {
	w := newWorld(t, noMerge)
	p := w.green("writer/a")
	w.settle()
	if w.approvals(p) != 1 {
		t.Fatalf("it is not approved: %s", w.dump(p))
	}
	w.tests(p.Head(), "failure")
	must(t, w.g.Settle(t.Context()))
	work, err := w.store.Take(t.Context(), "test", w.clock.Now(), 1e9)
	must(t, err)
	mend := w.gate.BreakLedger()
	if err := w.gate.Reconcile(t.Context(), work); err == nil {
		t.Error("nothing failed although nothing could be recorded")
	}
	if w.approvals(p) != 0 {
		t.Errorf("the approval stands: %s", w.dump(p))
	}
	// What opens something waits for the ledger, and comes after it.
	other := w.green("writer/b")
	must(t, w.g.Settle(t.Context()))
	for {
		work, err := w.store.Take(t.Context(), "test", w.clock.Now(), 1e9)
		if err != nil {
			break
		}
		if err := w.gate.Reconcile(t.Context(), work); err != nil {
			must(t, w.store.Fail(t.Context(), work.Key, work.Lease, err, w.clock.Now(), time.Time{}))
		}
	}
	if got, _ := w.says(other.Head()); got == "success" || w.approvals(other) != 0 {
		t.Errorf("it was opened without a record: the check says %q, %s", got, w.dump(other))
	}
	mend()
	w.clock.Advance(time.Minute)
	w.settle()
	w.want(other, "success")
	w.want(p, "action_required", "SP402")
	w.verify()
}
