package standalone_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/cmd/sallyport/standalone"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

const (
	workflow = ".github/workflows/deploy.yml"
	gateStep = "Run sallyport/sallyport@v1"
	plain    = `version: 1
reviewers: [alice, bob]
environments:
  dev: {gate: auto, paths: [docs/**], after: [test]}
  production:
    gate: human
    steps: [merge]
`
)

// world is acme/orders: alice and bob review, octocat and dave write, carol owns it.
type world struct {
	t                                *testing.T
	g                                *githubtest.GitHub
	clock                            *githubtest.Clock
	acme                             *githubtest.Organization
	alice, bob, octocat, dave, carol *githubtest.User
	repo                             *githubtest.Repository
	// change alters what the job says of itself.
	change func(*standalone.Job)
	token  string
}

func newWorld(t *testing.T, policy string) *world {
	t.Helper()
	w := &world{t: t, clock: githubtest.NewClock(time.Now().Truncate(time.Second)), change: func(*standalone.Job) {}}
	w.g = githubtest.Start(t, githubtest.Config{Now: w.clock.Now, Limits: githubtest.NoLimits()})
	w.acme = w.g.Organization("acme")
	w.alice, w.bob, w.octocat, w.dave, w.carol = w.g.User("alice"), w.g.User("bob"), w.g.User("octocat"), w.g.User("dave"), w.g.User("carol")
	w.acme.Owner(w.carol)
	w.repo = w.g.Repository(w.acme, "orders")
	for _, u := range []*githubtest.User{w.alice, w.bob, w.octocat, w.dave} {
		w.repo.Collaborator(u, "write")
	}
	w.direct(map[string]string{rules.PolicyPath: policy, workflow: "on: push\n"})
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// later lets a second pass.
func (w *world) later() { w.clock.Advance(time.Second) }

// direct pushes to main without a pull request.
func (w *world) direct(files map[string]string) string {
	w.t.Helper()
	w.later()
	return w.repo.CommitTo(w.carol, "main", "Work", files)
}

// open opens octocat's pull request.
func (w *world) open(branch string, files map[string]string) *githubtest.Pull {
	w.t.Helper()
	w.later()
	w.repo.CommitTo(w.octocat, branch, "Work on "+branch, files)
	p, err := w.repo.OpenPull(w.octocat, githubtest.PullSpec{Head: branch, Title: "Work"})
	must(w.t, err)
	return p
}

// merged merges octocat's pull request after a reviewer approved it.
func (w *world) merged(branch string, files map[string]string) *githubtest.Pull {
	w.t.Helper()
	p := w.open(branch, files)
	w.approve(p, w.bob)
	w.later()
	must(w.t, p.Merge(w.dave, "merge", p.Head()))
	return p
}

func (w *world) approve(p *githubtest.Pull, who *githubtest.User) {
	w.t.Helper()
	w.later()
	_, err := p.Approve(who, "")
	must(w.t, err)
}

// run starts the workflow at main's head with a job for production.
func (w *world) run(change ...func(*githubtest.RunSpec)) *githubtest.Run {
	w.later()
	s := githubtest.RunSpec{Workflow: workflow, By: w.dave, Branch: "main", Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production"}}}
	for _, c := range change {
		c(&s)
	}
	return w.repo.StartRun(s)
}

// deployed is a run that passed its gate and succeeded.
func (w *world) deployed(change ...func(*githubtest.RunSpec)) {
	w.t.Helper()
	j := w.run(change...).Job("deploy")
	j.Step(gateStep, "success")
	must(w.t, j.Complete("success"))
}

func permissions() map[string]string {
	return map[string]string{"actions": "read", "checks": "read", "contents": "read", "deployments": "read", "pull_requests": "read", "statuses": "read"}
}

// judge is what judges for a job of a run.
func (w *world) judge(run *githubtest.Run, sha string) *standalone.Judge {
	w.t.Helper()
	j := run.Job("deploy")
	w.token = j.Token(maps.Clone(permissions()))
	job := standalone.Job{
		APIURL: w.g.URL(), ServerURL: "https://github.com", Token: github.Token(w.token), NoFloor: true, Now: w.clock.Now,
		Repository: rules.Repository{ID: rules.RepositoryID(w.repo.ID), FullName: w.repo.FullName()},
		Run:        rules.RunID(run.ID), Attempt: run.Attempt(), Event: run.Event(), SHA: rules.SHA(sha), Workflow: workflow, CheckRun: rules.CheckRunID(j.ID),
	}
	w.change(&job)
	judge, err := standalone.New(job)
	must(w.t, err)
	return judge
}

// gate asks for a run at main's head, or for the one given.
func (w *world) gate(run ...*githubtest.Run) (standalone.Verdict, error) {
	w.t.Helper()
	if len(run) == 0 {
		run = append(run, w.run())
	}
	v, err := w.judge(run[0], w.repo.Head("main")).Gate(w.t.Context())
	if strings.ContainsAny(v.Line, "\n\r\x1b\u202e") || strings.Contains(v.Line, w.token) {
		w.t.Errorf("the line is not one safe line: %q", v.Line)
	}
	return v, err
}

// codes are the codes of a decision's reasons.
func codes(d rules.Decision) string {
	var out []string
	for _, r := range d.Reasons {
		out = append(out, string(r.Code))
	}
	return strings.Join(out, " ")
}
