package githubtest_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

const deploy = ".github/workflows/deploy.yml"

// gated is a world with a protected environment and a run that waits for it.
func gated(t *testing.T) (*world, *githubtest.Environment, *githubtest.Run, string) {
	t.Helper()
	w := newWorld(t)
	env := w.repo.Environment("production")
	_, err := env.EnableRule(w.app)
	w.must(err)
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: w.alice, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production"}}})
	return w, env, run, orders + "/actions/runs/" + strconv.FormatInt(run.ID, 10)
}

func state(j *githubtest.Job) string {
	status, conclusion := j.Status()
	return strings.TrimSuffix(status+" "+conclusion, " ")
}

func approve(env string) map[string]string {
	return map[string]string{"environment_name": env, "state": "approved", "comment": "ok"}
}

func TestARuleHoldsAJobUntilItIsAnswered(t *testing.T) {
	w, _, run, path := gated(t)
	job := run.Job("deploy")
	w.settle()
	var asked received
	for _, d := range w.hook.take() {
		if d.event == "deployment_protection_rule" {
			asked = d
		}
	}
	if want := w.g.URL() + path + "/deployment_protection_rule"; !strings.Contains(string(asked.body), `"deployment_callback_url":"`+want+`"`) {
		t.Errorf("the event does not name %s: %.300s", want, asked.body)
	}
	if got := state(job); got != "waiting" {
		t.Fatalf("the job is %q, want waiting", got)
	}
	pending := w.want(200, "GET", path+"/pending_deployments", nil)
	if pending.get("0.environment.name") != "production" {
		t.Errorf("pending: %s", pending.body)
	}
	w.want(204, "POST", path+"/deployment_protection_rule", map[string]string{"environment_name": "Production", "comment": "waiting"})
	if got := state(job); got != "waiting" {
		t.Errorf("after a status report the job is %q, want waiting", got)
	}
	w.want(204, "POST", path+"/deployment_protection_rule", approve("PRODUCTION"))
	if got := state(job); got != "in_progress" {
		t.Errorf("after the approval the job is %q, want in_progress", got)
	}
	if a := w.call(w.token, "POST", path+"/deployment_protection_rule", map[string]string{"environment_name": "production", "state": "rejected"}); a.status != 422 {
		t.Errorf("a second answer answers %d, want 422: the first is final", a.status)
	}
	gate, ok := job.Gate(w.app)
	if !ok || gate.State != "approved" || len(gate.Reports) != 1 {
		t.Errorf("the gate is %+v", gate)
	}
}

func TestRightAfterTheEventThereIsNothingToApprove(t *testing.T) {
	w, env, run, path := gated(t)
	env.NotYet(2)
	for range 2 {
		if a := w.call(w.token, "POST", path+"/deployment_protection_rule", approve("production")); a.status != 422 || !strings.Contains(string(a.body), "no pending") {
			t.Errorf("too early answers %d %s, want 422", a.status, a.body)
		}
	}
	w.want(204, "POST", path+"/deployment_protection_rule", approve("production"))
	if got := state(run.Job("deploy")); got != "in_progress" {
		t.Errorf("the job is %q", got)
	}
}

func TestOnlyTheRulesOwnAppAnswersAndAllMustApprove(t *testing.T) {
	w, env, _, _ := gated(t)
	key, err := testKey()
	w.must(err)
	second := w.g.App(githubtest.AppConfig{Slug: "second", Permissions: map[string]string{"actions": "read", "deployments": "write"}, Events: []string{"deployment_protection_rule"}, Key: key})
	_, err = env.EnableRule(second)
	w.refused(err, 422, "enabling a rule whose App is not installed")
	inst := second.Install(w.acme, w.repo)
	_, err = env.EnableRule(second)
	w.must(err)
	_, err = env.EnableRule(w.agentApp)
	w.refused(err, 422, "enabling an App without the event")
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: w.alice, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production"}}})
	path := orders + "/actions/runs/" + strconv.FormatInt(run.ID, 10) + "/deployment_protection_rule"
	w.want(204, "POST", path, approve("production"))
	if got := state(run.Job("deploy")); got != "waiting" {
		t.Errorf("after one of two rules approved the job is %q, want waiting", got)
	}
	if a := w.call(inst.Token(), "POST", path, map[string]string{"environment_name": "production", "state": "rejected", "comment": "no"}); a.status != 204 {
		t.Fatalf("the second rule answers %d", a.status)
	}
	if got := state(run.Job("deploy")); got != "completed failure" {
		t.Errorf("after a rejection the job is %q, want completed failure", got)
	}
}

func TestAnEnvironmentTakesSixRules(t *testing.T) {
	w := newWorld(t)
	key, err := testKey()
	w.must(err)
	env := w.repo.Environment("production")
	for i := range 7 {
		app := w.g.App(githubtest.AppConfig{Slug: "rule" + strconv.Itoa(i), Permissions: map[string]string{"actions": "read", "deployments": "write"}, Events: []string{"deployment_protection_rule"}, Key: key})
		app.Install(w.acme, w.repo)
		_, err := env.EnableRule(app)
		if i < 6 {
			w.must(err)
			continue
		}
		w.refused(err, 422, "enabling a seventh rule")
	}
}

func TestStatusReportsAreLimited(t *testing.T) {
	w, _, _, path := gated(t)
	report := func(text string) int {
		return w.call(w.token, "POST", path+"/deployment_protection_rule", map[string]string{"environment_name": "production", "comment": text}).status
	}
	if got := report(strings.Repeat("é", 1025)); got != 422 {
		t.Errorf("a report of 1025 characters answers %d, want 422", got)
	}
	if got := report(strings.Repeat("é", 1024)); got != 204 {
		t.Errorf("a report of 1024 characters answers %d, want 204", got)
	}
	for range 9 {
		if got := report("waiting"); got != 204 {
			t.Fatalf("a report answers %d", got)
		}
	}
	if got := report("waiting"); got != 422 {
		t.Errorf("the eleventh report answers %d, want 422", got)
	}
	w.g.Allow(`"state": ""`)
	if a := w.call(w.token, "POST", path+"/deployment_protection_rule", map[string]string{"environment_name": "production", "state": "", "comment": "x"}); a.status != 422 {
		t.Errorf("an empty state answers %d, want 422", a.status)
	}
}

func TestTwoJobsOnOneEnvironmentAreAnsweredTogether(t *testing.T) {
	w, _, _, _ := gated(t)
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: w.alice, Jobs: []githubtest.JobSpec{{Name: "eu", Environment: "production"}, {Name: "us", Environment: "production"}}})
	w.want(204, "POST", orders+"/actions/runs/"+strconv.FormatInt(run.ID, 10)+"/deployment_protection_rule", approve("production"))
	for _, name := range []string{"eu", "us"} {
		if got := state(run.Job(name)); got != "in_progress" {
			t.Errorf("%s is %q, want in_progress", name, got)
		}
	}
}

func TestARerunKeepsTheRunAndAsksAgain(t *testing.T) {
	w, _, run, path := gated(t)
	w.refused(run.Rerun(w.dave), 403, "re-running what still runs")
	w.want(204, "POST", path+"/deployment_protection_rule", approve("production"))
	first := run.Job("deploy")
	w.must(first.Complete("success"))
	w.refused(run.Rerun(w.eve), 403, "a reader re-runs")
	w.must(run.Rerun(w.dave))
	got := w.want(200, "GET", path, nil)
	if got.get("run_attempt") != 2.0 || got.get("actor.login") != "alice" || got.get("triggering_actor.login") != "dave" || got.get("id") != float64(run.ID) {
		t.Errorf("the re-run is %v of %v by %v, clicked by %v", got.get("run_attempt"), got.get("id"), got.get("actor.login"), got.get("triggering_actor.login"))
	}
	if state(run.Job("deploy")) != "waiting" || state(first) != "completed success" {
		t.Errorf("attempt 2 is %q, attempt 1 %q", state(run.Job("deploy")), state(first))
	}
	if n := w.want(200, "GET", path+"/attempts/1/jobs", nil); n.get("jobs.0.id") != float64(first.ID) {
		t.Errorf("attempt 1's job is %v, want %d", n.get("jobs.0.id"), first.ID)
	}
	w.clock.Advance(31 * 24 * time.Hour)
	w.g.Tick()
	if got := state(run.Job("deploy")); got != "completed failure" {
		t.Errorf("after 30 days without answer the job is %q, want completed failure", got)
	}
}

func TestReviewersAndTheirLimits(t *testing.T) {
	w := newWorld(t)
	env := w.repo.Environment("production")
	env.Reviewers(true, nil, []*githubtest.Team{w.sre})
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: w.bob, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production"}}})
	w.refused(run.Review(w.bob, "production", "approved", ""), 403, "who started the run approves it")
	w.refused(run.Review(w.alice, "production", "approved", ""), 403, "somebody outside the team approves")
	w.sre.Invite(w.carol, w.dave)
	w.refused(run.Review(w.dave, "production", "approved", ""), 403, "a pending member approves")
	w.sre.Add(w.carol, w.dave)
	w.must(run.Review(w.dave, "production", "approved", "go"))
	if got := state(run.Job("deploy")); got != "in_progress" {
		t.Errorf("the job is %q", got)
	}
	w.must(run.Job("deploy").Complete("failure"))
	w.must(run.Rerun(w.bob))
	got := w.want(200, "GET", orders+"/actions/runs/"+strconv.FormatInt(run.ID, 10)+"/approvals", nil)
	if got.len("") != 1 || state(run.Job("deploy")) != "waiting" {
		t.Errorf("attempt 1's approval shows %d times on attempt 2, which is %q; want once, waiting", got.len(""), state(run.Job("deploy")))
	}
}

func TestWaysAroundARule(t *testing.T) {
	t.Run("an environment that nobody made has no protection", func(t *testing.T) {
		w, _, _, _ := gated(t)
		run := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: w.alice, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production2"}}})
		if got := state(run.Job("deploy")); got != "in_progress" {
			t.Errorf("the job is %q, want in_progress", got)
		}
	})
	t.Run("an admin starts waiting jobs unless the environment forbids it", func(t *testing.T) {
		w, env, run, _ := gated(t)
		env.AdminBypass(false)
		w.must(run.StartWaiting(w.carol))
		if got := state(run.Job("deploy")); got != "waiting" {
			t.Errorf("the job is %q, want waiting", got)
		}
		env.AdminBypass(true)
		w.refused(run.StartWaiting(w.alice), 403, "a writer starts waiting jobs")
		w.must(run.StartWaiting(w.carol))
		if got := state(run.Job("deploy")); got != "in_progress" {
			t.Errorf("the job is %q, want in_progress", got)
		}
	})
	t.Run("deployment: false fails where a rule is", func(t *testing.T) {
		w, _, _, _ := gated(t)
		run := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: w.alice, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production", NoDeployment: true}}})
		if got := state(run.Job("deploy")); got != "completed failure" {
			t.Errorf("the job is %q, want completed failure", got)
		}
	})
	t.Run("a branch that may not deploy fails", func(t *testing.T) {
		w, env, _, _ := gated(t)
		env.Branches("main", "release/*")
		w.branch(w.alice, "feature", map[string]string{"x": "x"})
		run := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: w.alice, Branch: "feature", Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production"}}})
		if got := state(run.Job("deploy")); got != "completed failure" {
			t.Errorf("the job is %q, want completed failure", got)
		}
	})
	t.Run("a deployment by API passes no rule and its success counts", func(t *testing.T) {
		w, _, _, _ := gated(t)
		d := w.repo.Deploy(w.alice, w.repo.Head("main"), "main", "production")
		d.Status(w.alice, "success")
		got := w.want(200, "GET", orders+"/deployments?environment=production", nil)
		if got.get("0.id") != float64(d.ID) {
			t.Errorf("the newest deployment is %v", got.get("0.id"))
		}
		if again := w.repo.Deploy(w.alice, w.repo.Head("main"), "main", "production"); again != nil {
			again.Status(w.alice, "success")
		}
		list := w.want(200, "GET", orders+"/deployments/"+strconv.FormatInt(d.ID, 10)+"/statuses", nil)
		if list.get("0.state") != "inactive" || list.get("1.state") != "success" {
			t.Errorf("the older success now reads %v, %v; want inactive, success", list.get("0.state"), list.get("1.state"))
		}
	})
	t.Run("disabling the rule or deleting the environment ends the wait", func(t *testing.T) {
		w, env, run, _ := gated(t)
		env.Delete()
		if got := state(run.Job("deploy")); got != "completed failure" {
			t.Errorf("the job of a deleted environment is %q, want completed failure", got)
		}
		again := w.repo.Environment("production")
		if again.ID == env.ID {
			t.Error("the environment made anew has the old id")
		}
		id, err := again.EnableRule(w.app)
		w.must(err)
		next := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: w.alice, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production"}}})
		w.must(again.DisableRule(id))
		if got := state(next.Job("deploy")); got != "in_progress" {
			t.Errorf("the job of a disabled rule is %q, want in_progress", got)
		}
	})
}

func TestPullRequestRuns(t *testing.T) {
	w, _, _, _ := gated(t)
	w.hook.take()
	p := w.open(w.alice, "a")
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, Event: "pull_request", Branch: "a", By: w.alice, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production"}}})
	d := run.Job("deploy").Deployment()
	got := w.want(200, "GET", orders+"/deployments/"+strconv.FormatInt(d.ID, 10), nil)
	if got.get("sha") == p.Head() {
		t.Error("a pull request's run deploys the test merge, not the head")
	}
	w.settle()
	found := false
	for _, r := range w.hook.take() {
		found = found || r.event == "deployment_protection_rule" && strings.Contains(string(r.body), `"number":1,`)
	}
	if !found {
		t.Error("the rule's event lists no pull request")
	}
}

func TestDispatchInputsAreInTheWebhookAlone(t *testing.T) {
	w := newWorld(t)
	key, err := testKey()
	w.must(err)
	listener := w.g.App(githubtest.AppConfig{Slug: "listener", Permissions: map[string]string{"contents": "read"}, Events: []string{"workflow_dispatch"}, Key: key})
	listener.Install(w.acme, w.repo)
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, Event: "workflow_dispatch", By: w.alice, Inputs: map[string]any{"version": "1.2"}, Jobs: []githubtest.JobSpec{{Name: "deploy"}}})
	all := listener.Deliveries()
	if last := all[len(all)-1]; last.Event != "workflow_dispatch" || !strings.Contains(string(last.Body), `"inputs":{"version":"1.2"}`) {
		t.Errorf("the webhook is %s %.200s", last.Event, last.Body)
	}
	if a := w.want(200, "GET", orders+"/actions/runs/"+strconv.FormatInt(run.ID, 10), nil); strings.Contains(string(a.body), "1.2") {
		t.Error("the run shows its inputs")
	}
}

func TestPuttingAnEnvironmentResetsWhatIsOmitted(t *testing.T) {
	w := newWorld(t)
	env := w.repo.Environment("production")
	env.Reviewers(true, []*githubtest.User{w.bob}, nil)
	env.Branches("main")
	w.want(200, "PUT", orders+"/environments/production", map[string]any{"can_admins_bypass": false})
	got := w.want(200, "GET", orders+"/environments/production", nil)
	if got.len("protection_rules") != 0 || got.get("can_admins_bypass") != false || got.get("deployment_branch_policy") != nil {
		t.Errorf("after a PUT without them: %s", got.body)
	}
}
