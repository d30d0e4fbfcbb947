package gate_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// noMerge is the ordinary policy without merging, so that what is approved stays
// open.
var noMerge = strings.Replace(policyText, "    merge: true\n", "", 1)

// However GitHub merges it, a policy's change that passed is in force.
func TestAVersionThatPassedByEachMethod(t *testing.T) {
	for _, method := range []string{"merge", "squash", "rebase"} {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t, policyText)
			p := w.open(w.alice, "policy", map[string]string{rules.PolicyPath: looserPolicy})
			w.settle()
			w.want(p, "action_required", "SP103")
			w.approve(p, w.bob)
			w.settle()
			must(t, p.Merge(w.dave, method, ""))
			w.settle()
			if v, alerts := w.versionOf(w.repo, rules.PolicyPath), w.alerted(); v != 2 || len(alerts) != 0 {
				t.Errorf("version %d is in force with the alerts %v, want 2 and none", v, alerts)
			}
		})
	}
}

// A floor is a policy like any other: its change comes into force by a pull request
// that passed under it, and is protected where it lies.
func TestAFloorThatPassed(t *testing.T) {
	w := newWorld(t, noMerge)
	floor := w.withFloor(strictFloor)
	floor.CommitTo(w.carol, "main", "Add the policy", map[string]string{rules.PolicyPath: policyText})
	w.sre.Access(floor, "write")
	floor.Collaborator(w.alice, "write")
	w.settle()
	w.adopt("acme/.github")
	w.settle()
	held := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	w.want(held, "action_required", "SP301")

	floor.CommitTo(w.alice, "loosen", "Loosen", map[string]string{rules.FloorPath: policyText})
	p, err := floor.OpenPull(w.alice, githubtest.PullSpec{Head: "loosen", Title: "Loosen"})
	must(t, err)
	w.settle()
	check := func() githubtest.CheckState { return floor.CheckRun(p.Head(), gate.CheckName).See() }
	if s := check(); s.Conclusion != "action_required" || !strings.Contains(s.Text, "`SP103`") {
		t.Errorf("the floor's change is not protected: %q\n%s", s.Conclusion, s.Text)
	}
	w.approve(p, w.bob)
	w.settle()
	if s := check(); s.Conclusion != "success" {
		t.Fatalf("the check says %q:\n%s", s.Conclusion, s.Text)
	}
	must(t, p.Merge(w.carol, "squash", ""))
	w.settle()
	if v, alerts := w.versionOf(floor, rules.FloorPath), w.alerted(); v != 2 || len(alerts) != 0 {
		t.Errorf("version %d of the floor is in force with the alerts %v, want 2 and none", v, alerts)
	}
	w.want(held, "success")
}

// Without named checks those count that the base branch requires from a pinned
// source, of rulesets and of classic protection alike.
func TestRequiredChecksOfBothKindsCount(t *testing.T) {
	w := newWorld(t, strings.Replace(noMerge, "    after: [test]\n", "", 1))
	scanner := w.g.App(githubtest.AppConfig{Slug: "scanner", Permissions: map[string]string{"checks": "write"}})
	w.repo.Protect("main", &githubtest.Protection{Checks: []githubtest.RequiredCheck{{Context: "scan", AppID: scanner.ID}, {Context: "test", AppID: 15368}}})
	p := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	w.want(p, "action_required", "SP401")
	w.repo.AddCheck(w.g.Actions(), p.Head(), "scan", "success") // another App's of that name
	w.settle()
	w.want(p, "action_required", "SP401")
	w.repo.AddCheck(scanner, p.Head(), "scan", "success")
	w.settle()
	w.want(p, "success", "SP410")
	if w.approvals(p) != 1 {
		t.Errorf("it is not approved: %s", w.dump(p))
	}
}

func TestRerunMakesANewCheckRun(t *testing.T) {
	w := newWorld(t, policyText)
	p := w.fix()
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
	p := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	w.want(p, "success")
	must(t, p.Enqueue(w.dave))
	w.settle()
	if !p.See().Merged {
		t.Errorf("it is not merged: %s, groups %v", w.dump(p), w.repo.QueueHeads("main"))
	}
}

// What a queue holds is judged as it was queued: a group with a change that is not
// allowed fails, whoever queued it.
func TestAMergeGroupWithWhatIsHeldFails(t *testing.T) {
	w := newWorld(t, noMerge)
	w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, MergeQueue: true})
	p := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	must(t, p.Enqueue(w.dave))
	groups := w.repo.QueueHeads("main")
	if len(groups) != 1 {
		t.Fatalf("groups %v, want one", groups)
	}
	// Its check turns red before the group is looked at.
	w.tests(p.Head(), "failure")
	w.settle()
	if got, text := w.says(groups[0]); got != "failure" || p.See().Merged {
		t.Errorf("the group's check says %q: %s\n%s", got, w.dump(p), text)
	}
}

// What takes an approval back acts although nothing can be recorded; what opens
// something waits for the ledger.
func TestDismissalActsWithoutTheLedger(t *testing.T) {
	w := newWorld(t, noMerge)
	p := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	if w.approvals(p) != 1 {
		t.Fatalf("it is not approved: %s", w.dump(p))
	}
	other := w.open(w.agent, "writer/other", map[string]string{"docs/b.md": "x\n"})
	w.settle()
	w.tests(p.Head(), "failure")
	w.tests(other.Head(), "success")
	w.arrive()
	mend := w.gate.BreakLedger()
	w.clock.Advance(time.Second)
	failed := w.works(w.first, 5*time.Second)
	if failed == 0 {
		t.Error("nothing failed although nothing could be recorded")
	}
	if w.approvals(p) != 0 {
		t.Errorf("the approval stands: %s", w.dump(p))
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

// Work that fails again and again is set apart and said in the log, disturbs nothing
// else, and has another try at the next event, or at a sweep after an hour.
func TestPoisonIsSetApartAndSaid(t *testing.T) {
	var log strings.Builder
	w := newWorld(t, policyText, func(_ *world, c *gate.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	bad := w.open(w.agent, "writer/bad", map[string]string{"src/a.go": "x\n"})
	good := w.open(w.agent, "writer/good", map[string]string{"src/b.go": "x\n"})
	w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: -1, Path: "/graphql", When: func(r githubtest.Request) bool {
		return strings.Contains(string(r.Body), fmt.Sprintf(`"number":%d`, bad.Number))
	}})
	w.works(w.first, 20*time.Second)
	poisoned, err := w.store.Poisoned(t.Context())
	must(t, err)
	if len(poisoned) != 1 || poisoned[0].Key.Number != int64(bad.Number) {
		t.Fatalf("set apart: %v, want pull request %d alone", poisoned, bad.Number)
	}
	w.want(good, "action_required", "SP301")
	must(t, w.gate.Sweep(t.Context()))
	if !strings.Contains(log.String(), "set apart") || !strings.Contains(log.String(), poisoned[0].Key.String()) {
		t.Errorf("the log does not tell of it:\n%s", log.String())
	}
	// again fails it as of a time, if there is another try, and says whether it is set
	// apart.
	again := func(at time.Time) (tried, apart bool) {
		t.Helper()
		for {
			work, err := w.store.Take(t.Context(), "test", w.clock.Now(), time.Minute)
			if errors.Is(err, store.ErrNotFound) {
				break
			}
			must(t, err)
			tried = tried || work.Key == poisoned[0].Key
			if err := w.gate.Reconcile(t.Context(), work); err != nil {
				must(t, w.store.Fail(t.Context(), work.Key, work.Lease, err, at, time.Time{}))
			}
		}
		all, err := w.store.Poisoned(t.Context())
		must(t, err)
		return tried, len(all) == 1
	}
	long := w.clock.Now().Add(-time.Hour)
	if tried, apart := again(long); tried || !apart {
		t.Errorf("at once it is tried again: %t, and set apart: %t", tried, apart)
	}
	must(t, w.store.Mark(t.Context(), w.clock.Now(), rules.Mark{Key: poisoned[0].Key}))
	if tried, apart := again(long); !tried || !apart {
		t.Errorf("at an event it is tried again: %t, and set apart: %t", tried, apart)
	}
	must(t, w.gate.Sweep(t.Context()))
	if tried, apart := again(long); !tried || !apart {
		t.Errorf("after an hour it is tried again: %t, and set apart: %t", tried, apart)
	}
	w.g.Heal()
	must(t, w.gate.Sweep(t.Context()))
	w.settle()
	w.want(bad, "action_required", "SP301")
}

// An approval that runs out closes the door by itself.
func TestAnApprovalRunsOut(t *testing.T) {
	w := newWorld(t, strings.Replace(policyText, "gate: human", "gate: human\n    max_age: 30m", 1))
	p := w.fix()
	w.approve(p, w.bob)
	w.settle()
	w.want(p, "success", "SP302")
	w.clock.Advance(25 * time.Minute)
	w.settle()
	w.want(p, "success", "SP302")
	w.clock.Advance(6 * time.Minute)
	w.settle()
	w.want(p, "action_required", "SP315")
}

// What was done and not answered ends with the pull request that it was about.
func TestEffectsEndWithTheirPull(t *testing.T) {
	w := newWorld(t, policyText)
	w.g.Fail(githubtest.Fault{Kind: githubtest.Unanswered, Times: -1, Method: "PUT", Path: "/repos/*/*/pulls/*/merge"})
	p := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	if !p.See().Merged {
		t.Fatalf("it is not merged, so this shows nothing: %s", w.dump(p))
	}
	left, err := w.store.PlannedEffects(t.Context(), rules.WorkKey{Kind: rules.WorkPullRequest, Repository: rules.RepositoryID(w.repo.ID), Number: int64(p.Number)})
	must(t, err)
	if len(left) != 0 {
		t.Errorf("%d effects are still to be done: %+v", len(left), left)
	}
	var export bytes.Buffer
	must(t, ledger.Export(t.Context(), w.store, &export, ledger.ExportConfig{Personal: true}))
	if !strings.Contains(export.String(), "the pull request is merged") {
		t.Errorf("the ledger does not say how the merge ended:\n%s", &export)
	}
}

// So does a check run at a commit where nothing stands any more.
func TestEffectsEndWithTheirHead(t *testing.T) {
	w := newWorld(t, noMerge)
	p := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	w.want(p, "success")
	head := p.Head()
	// The next word at it is said, and never answered.
	w.g.Fail(githubtest.Fault{Kind: githubtest.Unanswered, Times: -1, Method: "PATCH", Path: "/repos/*/*/check-runs/*"})
	_, err := p.Review(w.bob, "REQUEST_CHANGES", head, "no")
	must(t, err)
	key := rules.WorkKey{Kind: rules.WorkHead, Repository: rules.RepositoryID(w.repo.ID), SHA: rules.SHA(head)}
	w.until(w.first, func() bool {
		left, err := w.store.PlannedEffects(t.Context(), key)
		must(t, err)
		return len(left) > 0
	})
	must(t, p.Close(w.dave))
	w.settle()
	left, err := w.store.PlannedEffects(t.Context(), key)
	must(t, err)
	if len(left) != 0 {
		t.Errorf("%d effects are still to be done: %+v", len(left), left)
	}
}

// A wish that GitHub does not take keeps no other delivery from being sent again.
func TestRedeliveryGoesOn(t *testing.T) {
	w := newWorld(t, noMerge)
	w.app.Fate(func(githubtest.Event) githubtest.Fate { return githubtest.Fate{Lose: true} })
	w.open(w.agent, "writer/lost", map[string]string{"docs/a.md": "x\n"})
	w.app.Fate(nil)
	lost := 0
	for _, d := range w.app.Deliveries() {
		if d.Code/100 != 2 {
			lost++
		}
	}
	w.clock.Advance(31 * time.Second)
	w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Method: "POST", Path: "/app/hook/deliveries/*/attempts"})
	if err := w.gate.Sweep(t.Context()); err == nil {
		t.Error("a sweep that could not ask for everything says nothing")
	}
	again := func() (n int) {
		for _, d := range w.app.Deliveries() {
			if d.Redelivery {
				n++
			}
		}
		return n
	}
	if n := again(); lost < 3 || n != lost-1 {
		t.Errorf("%d of %d lost deliveries were asked for, want all but one", n, lost)
	}
	must(t, w.g.Settle(t.Context())) // those that were asked for arrive
	must(t, w.gate.Sweep(t.Context()))
	if n := again(); n != lost {
		t.Errorf("%d of %d after the next sweep", n, lost)
	}
}

// Closing a pull request while its approval cannot be taken back leaves none behind: once
// it is open again, it is taken back.
func TestClosingKeepsNoApproval(t *testing.T) {
	w := newWorld(t, noMerge)
	p := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	if w.approvals(p) != 1 {
		t.Fatalf("it is not approved, so this shows nothing: %s", w.dump(p))
	}
	away := true
	w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: -1, When: func(r githubtest.Request) bool { return away && strings.HasSuffix(r.Path, "/dismissals") }})
	w.tests(p.Head(), "failure")
	w.works(w.first, 10*time.Second)
	if left, err := w.store.PlannedEffects(t.Context(), rules.WorkKey{Kind: rules.WorkPullRequest, Repository: rules.RepositoryID(w.repo.ID), Number: int64(p.Number)}); err != nil || len(left) == 0 || w.approvals(p) != 1 {
		t.Fatalf("nothing waits to be taken back, so this shows nothing: %v %+v %s", err, left, w.dump(p))
	}
	must(t, p.Close(w.agent))
	w.settle()
	away = false
	must(t, p.Reopen(w.agent))
	w.settle()
	if w.approvals(p) != 0 {
		t.Errorf("the approval stands: %s", w.dump(p))
	}
}
