package gate_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// A fork may be deleted while its pull request stands open: its head is of no
// repository then, and its commits stay.
func TestPullRequestOfADeletedFork(t *testing.T) {
	w := newWorld(t, policyText)
	fork := w.repo.Fork(w.eve)
	fork.CommitTo(w.eve, "docs", "Docs", map[string]string{"docs/guide.md": "# Guide\n"})
	p, err := w.repo.OpenPull(w.eve, githubtest.PullSpec{Head: "docs", From: fork, Title: "Docs"})
	must(t, err)
	w.settle()
	fork.Delete(w.eve)
	w.tests(p.Head(), "success")
	w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", By: w.dave, From: fork, SHA: p.Head(), Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production"}}})
	_, err = p.Approve(w.bob, "")
	must(t, err)
	w.settle()
	w.want(p, "action_required", "SP301", "SP320")
	_, err = p.Approve(w.rose, "")
	must(t, err)
	w.settle()
	w.want(p, "success")
}

// An installation on all repositories reaches some without any commit.
func TestEmptyRepository(t *testing.T) {
	w := newWorld(t, policyText)
	w.g.EmptyRepository(w.acme, "empty")
	w.inst.Permit(w.carol, permissions())
	w.settle()
	must(t, w.gate.Sweep(t.Context()))
	w.settle()
	if _, err := w.gate.LookAtAdoption(t.Context(), "acme/empty"); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("adopting from it: %v", err)
	}
}

// On a person's account there are no members, and nothing is asked about any: it works
// all the same, and the log asks nobody to accept what cannot be.
func TestInstallationOnAPersonsAccount(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, policyText, func(w *world, c *gate.Config) {
		c.Owners = append(c.Owners, rules.AccountID(w.alice.ID))
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	own := w.g.Repository(w.alice, "tools")
	own.CommitTo(w.alice, "main", "Add the policy", map[string]string{rules.PolicyPath: strings.Replace(policyText, "acme/sre", "bob, dave", 1)})
	own.Collaborator(w.bob, "write")
	w.app.Install(w.alice)
	w.settle()
	w.adopt("alice/tools")
	w.settle()
	own.CommitTo(w.alice, "feature", "Feature", map[string]string{"main.go": "package main\n"})
	p, err := own.OpenPull(w.alice, githubtest.PullSpec{Head: "feature", Title: "Feature"})
	must(t, err)
	w.settle()
	says := func(want string) {
		t.Helper()
		if k := own.CheckRun(p.Head(), gate.CheckName); k == nil || k.See().Conclusion != want {
			t.Errorf("the check is not %s: %+v", want, k)
		}
	}
	says("action_required")
	_, err = p.Approve(w.bob, "")
	must(t, err)
	w.settle()
	says("success")
	if strings.Contains(log.String(), "lacks a permission") {
		t.Errorf("the log asks for what a person's account cannot give:\n%s", &log)
	}
	// What an organisation did not accept is said, all that the manifest asks for.
	less := permissions()
	delete(less, "members")
	delete(less, "merge_queues")
	w.inst.Permit(w.carol, less)
	w.settle()
	for _, name := range []string{"members: read", "merge_queues: read"} {
		if !strings.Contains(log.String(), `permission="`+name+`"`) {
			t.Errorf("the log does not say that %q is missing:\n%s", name, &log)
		}
	}
}

// A repository may have a label of the same name in other letters: for GitHub it is that.
func TestLabelInOtherLetters(t *testing.T) {
	w := newWorld(t, policyText)
	other, err := w.repo.OpenPull(w.carol, githubtest.PullSpec{Head: func() string { w.push(w.carol, "first", map[string]string{"a.go": "package a\n"}); return "first" }(), Title: "First"})
	must(t, err)
	must(t, other.Label(w.carol, "Sallyport/Waits-For-Human"))
	w.settle()
	p := w.open(w.alice, "feature", map[string]string{"main.go": "package main\n"})
	w.settle()
	if got := p.See().Labels; len(got) != 1 || got[0] != "Sallyport/Waits-For-Human" {
		t.Fatalf("labels %q", got)
	}
	_, err = p.Approve(w.bob, "")
	must(t, err)
	w.settle()
	w.want(p, "success")
	if got := p.See().Labels; len(got) != 0 {
		t.Errorf("it waits for nobody, and has the labels %q", got)
	}
}

// GitHub counts an environment's name in characters, and takes 255 of any kind.
func TestAnEnvironmentOfManyCharacters(t *testing.T) {
	name := strings.Repeat("本番", 120)
	w := newWorld(t, strings.Replace(deployPolicy, "  production:\n    gate: human\n", "  production:\n    gate: human\n    deployments: ["+name+"]\n", 1))
	_, err := w.repo.Environment(name).EnableRule(w.app)
	must(t, err)
	d := w.deploy(name)
	d.want("waiting", "")
	d.click(w.rose, "approve")
	d.want("in_progress", "approved")
}

// Whoever started a run may have deleted their account since: GitHub names nobody then.
func TestARunOfNobody(t *testing.T) {
	w := deploys(t, deployPolicy)
	w.alice.Delete()
	d := w.deploy("production")
	d.click(w.rose, "approve")
	d.want("waiting", "", "SP320")
	if !strings.Contains(d.text(), "started by an account that GitHub does not name") {
		t.Errorf("who started it:\n%s", d.text())
	}
	d.click(w.carol, "approve")
	d.click(w.bob, "approve")
	d.want("in_progress", "approved")
}
