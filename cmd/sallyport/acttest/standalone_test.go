//go:build unix

package acttest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

const alonePolicy = `version: 1
reviewers: [alice, bob]
environments:
  dev: {gate: auto, paths: [docs/**], after: [test]}
  production: {gate: human, steps: [merge]}
`

// Without a server the job judges by itself, with its own token: it lets through what
// listed people approved at the merge, and nothing else.
func TestRunnerStandalone(t *testing.T) {
	t.Parallel()
	all := map[string]string{"actions": "read", "checks": "read", "contents": "read", "deployments": "read", "pull_requests": "read", "statuses": "read"}
	for name, c := range map[string]struct {
		policy      string
		permissions map[string]string
		approver    string
		inputs      string
		code        int
		says        string
		outputs     []string
	}{
		"approved at the merge":      {alonePolicy, all, "bob", ", floor: none", 0, "Released: production at ", []string{"state", "released", "environment", "production"}},
		"the floor is not known":     {alonePolicy, all, "bob", "", 3, "production", []string{"state", "waiting"}},
		"approved by a stranger":     {alonePolicy, all, "dave", ", floor: none", 3, "SP517", []string{"state", "waiting"}},
		"reviewers are a team":       {strings.Replace(alonePolicy, "[alice, bob]", "[acme/sre]", 1), all, "bob", ", floor: none", 3, "App", []string{"state", ""}},
		"a token that reads nothing": {alonePolicy, map[string]string{"contents": "read"}, "bob", ", floor: none", 1, "the job is not released: ", []string{"state", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			theAct(t)
			clock := githubtest.NewClock(time.Now().Truncate(time.Second).Add(-10 * time.Minute))
			g := githubtest.Start(t, githubtest.Config{Now: clock.Now, Limits: githubtest.NoLimits()})
			g.Allow("the token lacks ")
			acme, carol, octocat := g.Organization("acme"), g.User("carol"), g.User("octocat")
			acme.Owner(carol)
			repo := g.Repository(acme, "orders")
			acme.Team("sre", g.User("bob"))
			for _, login := range []string{"alice", "bob", "dave", "octocat"} {
				repo.Collaborator(g.User(login), "write")
			}
			repo.CommitTo(carol, "main", "Begin", map[string]string{rules.PolicyPath: c.policy, deployFile: "on: push\n"})
			start := func() (*githubtest.Run, *githubtest.Job) {
				clock.Advance(time.Second)
				run := repo.StartRun(githubtest.RunSpec{Workflow: deployFile, By: g.User("dave"), Jobs: []githubtest.JobSpec{{Name: "production", Environment: "production"}}})
				return run, run.Job("production")
			}
			_, before := start()
			before.Step("Run sallyport/sallyport@v1", "success")
			must(t, before.Complete("success"))
			clock.Advance(time.Second)
			repo.CommitTo(octocat, "work", "Work", map[string]string{"src/a.go": "package a\n"})
			p, err := repo.OpenPull(octocat, githubtest.PullSpec{Head: "work", Title: "Work"})
			must(t, err)
			clock.Advance(time.Second)
			_, err = p.Approve(g.User(c.approver), "")
			must(t, err)
			clock.Advance(time.Second)
			must(t, p.Merge(g.User("dave"), "merge", p.Head()))
			run, job := start()

			token := job.Token(c.permissions)
			j := newJob(t, header+"      - {id: gate, name: gate, uses: ACTION, with: {command: gate, wait: 0s, environment: production"+c.inputs+"}}\n"+
				"      - {id: ship, name: ship, run: 'touch \"$SEEN/shipped\"'}\n"+footer)
			for name, value := range map[string]string{
				"GITHUB_API_URL": g.URL(), "GITHUB_RUN_ID": fmt.Sprint(run.ID), "GITHUB_RUN_ATTEMPT": "1", "SHA_REF": repo.Head("main"),
				"GITHUB_REPOSITORY_ID": fmt.Sprint(repo.ID), "GITHUB_WORKFLOW_REF": "acme/orders/" + deployFile + "@refs/heads/main",
			} {
				j.vars[name] = value
			}
			g.ForgetRequests()
			r := j.run("push", push(), "-s", "GITHUB_TOKEN="+token)
			if (r.code == 0) != (c.code == 0) || len(j.found("shipped")) != 1-min(c.code, 1) {
				t.Errorf("exit %d: %s", r.code, r.log)
			}
			r.want("gate", c.code, c.says, c.outputs...)
			clean(t, "the log", r.log.String(), token)
			clean(t, "a later step", r.see("later"), token)
			t.Logf("%d requests to GitHub", len(g.Requests()))
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
