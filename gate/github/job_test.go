package github_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

func TestNewForJob(t *testing.T) {
	t.Parallel()
	g := githubtest.Start(t, githubtest.Config{Limits: githubtest.NoLimits()})
	acme, carol := g.Organization("acme"), g.User("carol")
	acme.Owner(carol)
	repo, other := g.Repository(acme, "orders"), g.Repository(acme, "other")
	run := repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", By: carol, Jobs: []githubtest.JobSpec{{Name: "deploy"}}})
	job := run.Job("deploy")
	job.Step("Run sallyport/sallyport@v1", "success")
	job.Step("Run ./deploy.sh", "")
	token := job.Token(map[string]string{"actions": "read", "contents": "read"})
	c, err := github.NewForJob(github.JobConfig{Token: github.Token(token), BaseURL: g.URL()})
	if err != nil {
		t.Fatal(err)
	}
	r := c.Repository(0, rules.RepositoryID(repo.ID), "acme/orders")
	jobs, err := r.Jobs(t.Context(), rules.RunID(run.ID))
	want := []github.JobStep{{Name: "Run sallyport/sallyport@v1", Status: "completed", Conclusion: "success"}, {Name: "Run ./deploy.sh", Status: "in_progress"}}
	if err != nil || len(jobs.List) != 1 || fmt.Sprint(jobs.List[0].Steps) != fmt.Sprint(want) || jobs.List[0].Runner == "" {
		t.Errorf("%+v, %v", jobs, err)
	}
	if runs, err := r.SuccessfulRuns(t.Context(), ".github/workflows/deploy.yml", "main"); err != nil || len(runs) != 0 {
		t.Errorf("while it runs: %+v, %v", runs, err)
	}
	if err := job.Complete("success"); err != nil {
		t.Fatal(err)
	}
	if runs, err := r.SuccessfulRuns(t.Context(), ".github/workflows/deploy.yml", "main"); err != nil || len(runs) != 1 || runs[0].ID != rules.RunID(run.ID) {
		t.Errorf("%+v, %v", runs, err)
	}
	if runs, err := r.SuccessfulRuns(t.Context(), ".github/workflows/deploy.yml", "side"); err != nil || len(runs) != 0 {
		t.Errorf("on another branch: %+v, %v", runs, err)
	}
	// A file of the same name elsewhere is another workflow.
	if runs, err := r.SuccessfulRuns(t.Context(), "x/deploy.yml", ""); err != nil || len(runs) != 0 {
		t.Errorf("%+v, %v", runs, err)
	}
	if _, err := c.Repository(0, rules.RepositoryID(other.ID), "acme/other").Info(t.Context()); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("another repository: %v", err)
	}
	if self, err := c.Self(t.Context()); err != nil || self.ID != 0 || self.Bot.Known() {
		t.Errorf("it is %+v, %v", self, err)
	}
	for _, q := range g.Requests() {
		if strings.HasPrefix(q.Path, "/app") {
			t.Errorf("it asks as an App: %s", q.Path)
		}
	}
	for _, text := range []string{fmt.Sprint(github.Token(token)), fmt.Sprintf("%#v", github.JobConfig{Token: github.Token(token)})} {
		if strings.Contains(text, "ghs_") {
			t.Errorf("the token is shown: %s", text)
		}
	}
	if _, err := github.NewForJob(github.JobConfig{BaseURL: g.URL()}); err == nil {
		t.Error("no token is taken")
	}
}

// A merged pull request is shown as it was merged.
func TestMergedPull(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"merge", "squash", "push"} {
		g := githubtest.Start(t, githubtest.Config{Limits: githubtest.NoLimits()})
		acme, carol := g.Organization("acme"), g.User("carol")
		acme.Owner(carol)
		repo := g.Repository(acme, "orders")
		repo.CommitTo(carol, "work", "Work", map[string]string{"a.txt": "a\n"})
		p, err := repo.OpenPull(carol, githubtest.PullSpec{Head: "work", Title: "Work"})
		if err == nil && method == "push" {
			err = repo.Push(carol, "main", p.Head())
		} else if err == nil {
			err = p.Merge(carol, method, "")
		}
		if err != nil {
			t.Fatal(err)
		}
		run := repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", By: carol, Jobs: []githubtest.JobSpec{{Name: "deploy"}}})
		token := run.Job("deploy").Token(map[string]string{"actions": "read", "checks": "read", "contents": "read", "pull_requests": "read", "statuses": "read"})
		c, err := github.NewForJob(github.JobConfig{Token: github.Token(token), BaseURL: g.URL()})
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Repository(0, rules.RepositoryID(repo.ID), "acme/orders").Pull(t.Context(), p.Number)
		if err != nil || got.State != "merged" || got.MergedAt.IsZero() || len(got.Change.Commits) != 1 || len(got.Change.Files) != 1 || got.Change.CommitsComplete != rules.Yes {
			t.Errorf("%s: %+v, %v", method, got, err)
		}
	}
}
