package gate_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

const deployPolicy = `version: 1
reviewers: [acme/sre]
environments:
  dev:
    gate: auto
    merge: true
    paths: [docs/**, "**/*_test.go"]
    after: [test]
  staging: {gate: auto, paths: [deploy/staging/**], deployments: [staging, "staging-*"], after: [test]}
  production:
    gate: human
    also: {"migrations/**": [carol, rose]}
agents: {also: [{id: acme-writer, logins: ["writer[bot]"]}]}
credentials:
  orders-migrator: {environment: production, target: orders-db, capability: write, workflow: deploy.yml}
`

// deploys is a world with environments whose jobs our rule holds.
func deploys(t testing.TB, policy string, options ...option) *world {
	t.Helper()
	w := newWorld(t, policy, options...)
	for _, name := range []string{"dev", "staging", "production"} {
		_, err := w.repo.Environment(name).EnableRule(w.app)
		must(t, err)
	}
	w.settle()
	return w
}

// deployment is a run with one job for an environment.
type deployment struct {
	*githubtest.Run

	w                *world
	sha, environment string
}

// deploy starts the deploy workflow on main with one job for an environment.
func (w *world) deploy(environment string, change ...func(*githubtest.RunSpec)) *deployment {
	w.t.Helper()
	d := w.start(environment, change...)
	w.settle()
	return d
}

// start is deploy without looking.
func (w *world) start(environment string, change ...func(*githubtest.RunSpec)) *deployment {
	s := githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", By: w.alice, Branch: "main", Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: environment}}}
	for _, c := range change {
		c(&s)
	}
	if s.SHA == "" && !s.Tag {
		s.SHA = w.repo.Head(s.Branch)
	}
	return &deployment{Run: w.repo.StartRun(s), w: w, sha: s.SHA, environment: environment}
}

// check is our check run of the deployment.
func (d *deployment) check() *githubtest.CheckRun {
	return d.w.repo.CheckRun(d.sha, "sallyport / "+d.environment)
}

// click presses a button of the check run.
func (d *deployment) click(who *githubtest.User, button string) {
	d.w.t.Helper()
	k := d.check()
	if k == nil {
		d.w.t.Fatalf("there is no check run for %s", d.environment)
	}
	must(d.w.t, k.Click(who, button))
	d.w.settle()
}

// end ends the job. Where it was let through, its gate's step shows so.
func (d *deployment) end(conclusion string) {
	d.w.t.Helper()
	if d.through() {
		d.Job("deploy").Step("Run sallyport/sallyport@v1", "success")
	}
	must(d.w.t, d.Job("deploy").Complete(conclusion))
	d.w.settle()
}

// text is all that our check says.
func (d *deployment) text() string {
	k := d.check()
	if k == nil {
		return ""
	}
	s := k.See()
	return s.Conclusion + ": " + s.Title + "\n" + s.Summary + "\n" + s.Text
}

// want fails the test unless the job's status and our rule's answer are these, and our
// check names all of some codes.
func (d *deployment) want(status, answer string, codes ...string) {
	d.w.t.Helper()
	j := d.Job("deploy")
	got, conclusion := j.Status()
	gate, _ := j.Gate(d.w.app)
	if got != status || gate.State != answer {
		d.w.t.Errorf("the job is %s (%s) and our answer %q, want %s and %q:\n%s", got, conclusion, gate.State, status, answer, d.text())
	}
	for _, c := range codes {
		if !strings.Contains(d.text(), "`"+c+"`") {
			d.w.t.Errorf("the check does not name %s:\n%s", c, d.text())
		}
	}
}

// released has an environment released once, so that what comes next is counted from
// main's head.
func (w *world) released(environment string) {
	w.t.Helper()
	d := w.deploy(environment)
	d.click(w.rose, "approve")
	d.end("success")
}

// merged brings files to main by a pull request of somebody that bob approved and dave
// merged.
func (w *world) merged(by *githubtest.User, branch, method string, files map[string]string) *githubtest.Pull {
	w.t.Helper()
	p := w.open(by, branch, files)
	w.settle()
	_, err := p.Approve(w.bob, p.Head())
	must(w.t, err)
	w.tests(p.Head(), "success")
	w.settle()
	must(w.t, p.Merge(w.dave, method, p.Head()))
	w.settle()
	return p
}
