package gate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/alert"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/rules"
)

// told keeps what people were told.
type told struct {
	mu   sync.Mutex
	list []alert.Message
	fail int
}

func (t *told) Names(_ rules.RepositoryID, wanted []string) []string { return slices.Compact(wanted) }
func (t *told) All(rules.RepositoryID) []string                      { return []string{"ops"} }
func (t *told) Send(_ context.Context, _ string, m alert.Message) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fail > 0 {
		t.fail--
		return errors.New("it is down")
	}
	t.list = append(t.list, m)
	return nil
}

// codes are the codes of alerts that were told, or "waits".
func (t *told) codes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, m := range t.list {
		if m.Kind == alert.KindWaits {
			out = append(out, "waits")
			continue
		}
		out = append(out, m.Code)
	}
	return out
}

// telling has a world tell.
func telling(t *told) option {
	return func(_ *world, c *gate.Config) { c.Tell = t }
}

const alertsPolicy = deployPolicy + "alerts: [ops]\n"

// token is the token of a deployment's job as the verifier gives it.
func (d *deployment) token(change ...func(*rules.JobToken)) rules.JobToken {
	j := d.Job("deploy")
	t := rules.JobToken{Claims: rules.JobClaims{
		RepositoryID: rules.RepositoryID(d.w.repo.ID), RepositoryOwnerID: rules.AccountID(d.w.acme.ID), Environment: d.environment, SHA: rules.SHA(d.sha),
		Ref: "refs/heads/main", EventName: "push", RunID: rules.RunID(d.ID), RunAttempt: d.Attempt(), CheckRunID: rules.CheckRunID(j.ID), Repository: "acme/orders",
	}}
	for _, c := range change {
		c(&t)
	}
	return t
}

// ask asks the gate as the job does.
func (d *deployment) ask() jobs.State {
	d.w.t.Helper()
	s, err := d.w.gate.Hold(d.w.t.Context(), d.token())
	must(d.w.t, err)
	d.w.settle()
	s, err = d.w.gate.HoldState(d.w.t.Context(), s.ID, d.token())
	must(d.w.t, err)
	return s
}

// unruled is a world whose environments have no rule.
func unruled(t testing.TB, policy string, options ...option) *world {
	t.Helper()
	w := newWorld(t, policy, options...)
	for _, name := range []string{"dev", "staging", "production"} {
		w.repo.Environment(name)
	}
	return w
}

func TestHoldByTheJob(t *testing.T) {
	w := unruled(t, deployPolicy)
	d := w.deploy("production")
	d.want("in_progress", "")
	if s := d.ask(); s.State != jobs.Waiting || !strings.Contains(s.Waits, "acme/sre") {
		t.Fatalf("%+v", s)
	}
	d.click(w.rose, "approve")
	if s := d.ask(); s.State != jobs.Released || !s.Grant {
		t.Fatalf("%+v", s)
	}
	d.end("success")
	next := w.deploy("production")
	if s := next.ask(); s.State != jobs.Waiting || !strings.Contains(next.text(), "SP518") {
		t.Fatalf("%+v\n%s", s, next.text())
	}
	dev := w.deploy("dev")
	if s := dev.ask(); s.State != jobs.Released {
		t.Fatalf("%+v", s)
	}
}

func TestHoldThatStoppedWaiting(t *testing.T) {
	w := unruled(t, deployPolicy)
	more := permissions()
	more["actions"] = "write"
	w.inst.Permit(w.carol, more)
	w.settle()
	d := w.deploy("production")
	d.ask()
	d.end("failure") // the gate's exit 3
	d.click(w.rose, "approve")
	if d.Attempt() != 2 {
		t.Fatalf("attempt %d, want the job run again:\n%s", d.Attempt(), d.text())
	}
	if s := d.ask(); s.State != jobs.Released {
		t.Fatalf("%+v\n%s", s, d.text())
	}
	d.end("failure")
	// Somebody runs it once more: nothing of that approval is left.
	must(t, d.Rerun(w.dave))
	w.settle()
	if s := d.ask(); s.State != jobs.Waiting {
		t.Fatalf("%+v\n%s", s, d.text())
	}
}

func TestMatrixAndTurns(t *testing.T) {
	w := deploys(t, deployPolicy)
	w.released("production")
	d := w.deploy("production", func(s *githubtest.RunSpec) {
		s.Jobs = []githubtest.JobSpec{{Name: "deploy", Environment: "production"}, {Name: "eu", Environment: "Production"}, {Name: "us", Environment: "production"}}
	})
	if !strings.Contains(d.text(), "3, all at once") {
		t.Errorf("the number of jobs is not shown:\n%s", d.text())
	}
	d.click(w.bob, "approve")
	for _, name := range []string{"deploy", "eu", "us"} {
		if status, _ := d.Job(name).Status(); status != "in_progress" {
			t.Errorf("%s is %s", name, status)
		}
	}
}

func TestDispatchInputs(t *testing.T) {
	policy := strings.Replace(deployPolicy, "    gate: human\n", "    gate: human\n    events: [workflow_dispatch]\n", 1)
	w := deploys(t, policy)
	dispatch := func(inputs map[string]any) func(*githubtest.RunSpec) {
		return func(s *githubtest.RunSpec) { s.Event, s.By, s.Inputs = "workflow_dispatch", w.dave, inputs }
	}
	d := w.deploy("production", dispatch(map[string]any{"version": "1.2.3", "drop": true}))
	d.want("waiting", "", "SP520")
	if !strings.Contains(d.text(), "version = 1.2.3") {
		t.Errorf("the inputs are not shown:\n%s", d.text())
	}
	d.click(w.rose, "approve")
	d.want("in_progress", "approved")
	d.end("success")

	// Two at the same time that differ: nobody knows which is which.
	w = deploys(t, policy)
	one := w.start("production", dispatch(map[string]any{"version": "1"}))
	two := w.start("production", dispatch(map[string]any{"version": "2"}))
	w.settle()
	one.want("completed", "rejected", "SP508")
	two.want("completed", "rejected", "SP508")
}

func TestDeploymentReview(t *testing.T) {
	policy := strings.Replace(deployPolicy, "    gate: human\n", "    gate: human\n    accept: {deploy: [deployment-review]}\n", 1)
	w := deploys(t, policy)
	w.repo.Environment("production").Reviewers(true, []*githubtest.User{w.rose}, nil)
	d := w.deploy("production")
	d.want("waiting", "", "SP520")
	d.click(w.bob, "approve")
	d.want("waiting", "", "SP523")
	must(t, d.Review(w.rose, "production", "approved", "go"))
	w.settle()
	d.want("in_progress", "approved", "SP527")
}

func TestOvertaken(t *testing.T) {
	w := deploys(t, deployPolicy)
	w.released("production")
	w.merged(w.alice, "a", "merge", map[string]string{"src/a.go": "a"})
	old := w.deploy("production")
	old.want("waiting", "")
	w.merged(w.alice, "b", "merge", map[string]string{"src/b.go": "b"})
	fresh := w.deploy("production")
	fresh.click(w.bob, "approve")
	fresh.end("success")
	old.want("waiting", "", "SP513")
}

func TestAlerts(t *testing.T) {
	ops := &told{fail: 1}
	w := deploys(t, alertsPolicy, telling(ops))
	d := w.deploy("production")
	must(t, d.StartWaiting(w.carol))
	w.settle()
	d.want("in_progress", "")
	d.end("success")
	w.repo.Environment("production-eu")
	w.clock.Advance(20 * time.Minute)
	must(t, w.store.Mark(t.Context(), w.clock.Now(), rules.Mark{Key: rules.WorkKey{Kind: rules.WorkRepository, Repository: rules.RepositoryID(w.repo.ID)}}))
	w.settle()
	naked := w.deploy("production-eu")
	naked.end("success")
	for range 20 {
		must(t, w.gate.Tell(t.Context()))
		w.clock.Advance(time.Minute)
	}
	got := ops.codes()
	for _, want := range []string{"waits", "SP540", "SP541", "SP542"} {
		if n := len(slices.DeleteFunc(slices.Clone(got), func(c string) bool { return c != want })); n != 1 {
			t.Errorf("%s was told %d times, want once: %v", want, n, got)
		}
	}
}

func TestRewrittenWhileHeld(t *testing.T) {
	ops := &told{}
	w := deploys(t, alertsPolicy, telling(ops))
	w.released("production")
	before := w.repo.Head("main")
	w.merged(w.alice, "a", "merge", map[string]string{"src/a.go": "a"})
	d := w.deploy("production")
	d.want("waiting", "")
	must(t, w.repo.Push(w.carol, "main", before))
	d.click(w.bob, "approve")
	d.want("completed", "rejected", "SP505")
	must(t, w.gate.Tell(t.Context()))
	if !slices.Contains(ops.codes(), "SP543") {
		t.Errorf("nobody was told: %v", ops.codes())
	}
}

func TestUninstalledWhileHeld(t *testing.T) {
	ops := &told{}
	w := deploys(t, alertsPolicy, telling(ops))
	d := w.deploy("production")
	w.inst.Suspend(w.carol)
	w.settle()
	must(t, w.gate.Tell(t.Context()))
	d.want("waiting", "")
	if !slices.Contains(ops.codes(), "SP544") {
		t.Errorf("nobody was told: %v", ops.codes())
	}
}

func TestLostEvent(t *testing.T) {
	w := deploys(t, deployPolicy)
	w.app.Fate(func(githubtest.Event) githubtest.Fate { return githubtest.Fate{Lose: true} })
	d := w.start("production")
	w.settle()
	d.want("waiting", "")
	if d.check() != nil {
		t.Fatal("it was seen although every event was lost")
	}
	w.app.Fate(nil)
	must(t, w.gate.Sweep(t.Context()))
	w.settle()
	d.want("waiting", "", "SP520")
}

func TestDashboardWord(t *testing.T) {
	w := deploys(t, deployPolicy)
	d := w.deploy("production")
	list, err := w.gate.Holds(t.Context(), rules.RepositoryID(w.repo.ID), rules.RunID(d.ID))
	must(t, err)
	for name := range list {
		must(t, w.gate.Word(t.Context(), rules.RepositoryID(w.repo.ID), rules.Word{Hold: name, Actor: rules.Actor{ID: rules.AccountID(w.rose.ID), Login: "rose", Type: rules.ActorUser}}))
	}
	w.settle()
	d.want("in_progress", "approved", "SP527")
}

// A check run whose creation GitHub did not answer is there for people all the same: who
// presses on it before the server knows it is heard.
func TestPressedBeforeItsCheckIsKnown(t *testing.T) {
	for _, c := range []struct {
		button, want string
		again        bool // it is another check run, which somebody asked for
	}{{"approve", "in_progress", false}, {"reject", "completed", false}, {"approve", "in_progress", true}} {
		w := deploys(t, deployPolicy)
		d := w.start("production")
		before := int64(0)
		if c.again {
			w.settle()
			before = d.check().ID
			must(t, d.check().Rerequest(w.dave))
		}
		w.g.Fail(githubtest.Fault{Kind: githubtest.DoneThenError, Method: "POST", Path: "/repos/*/*/check-runs"})
		w.until(w.first, func() bool { return d.check() != nil && d.check().ID != before })
		must(t, d.check().Click(w.rose, c.button))
		w.settle()
		if status, _ := d.Job("deploy").Status(); status != c.want {
			t.Errorf("%+v: the job is %s:\n%s", c, status, d.text())
		}
	}
}

// Who presses does not wait out failures before: GitHub was away for long, say.
func TestPressedAfterFailures(t *testing.T) {
	w := deploys(t, deployPolicy)
	d := w.start("production")
	w.settle()
	key, now := rules.WorkKey{Kind: rules.WorkRun, Repository: rules.RepositoryID(w.repo.ID), Number: d.ID}, w.clock.Now()
	must(t, w.store.Mark(t.Context(), now, rules.Mark{Key: key}))
	work, err := w.store.Take(t.Context(), "test", now, time.Minute)
	must(t, err)
	must(t, w.store.Fail(t.Context(), work.Key, work.Lease, errors.New("GitHub is away"), now, now.Add(15*time.Minute)))
	must(t, w.store.Mark(t.Context(), now, rules.Mark{Key: key}))
	if due, err := w.store.NextDue(t.Context()); err != nil || due.Sub(now) < 15*time.Minute || work.Key != key {
		t.Fatalf("work on %s waits until %s, so this shows nothing: %v", work.Key, due, err)
	}
	must(t, d.check().Click(w.rose, "approve"))
	w.settle() // which waits no minute
	d.want("in_progress", "approved", "SP527")
}
