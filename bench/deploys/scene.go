package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/bench/internal/served"
	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// testCheck is the check that the policy waits for.
const testCheck = "test"

// scene is acme/orders with its people: alice writes, dave merges and deploys, bob
// and rose are in acme/sre, and rose alone in acme/dba. Its clock is the machine's.
type scene struct {
	g                             *githubtest.GitHub
	acme                          *githubtest.Organization
	repo                          *githubtest.Repository
	alice, bob, rose, carol, dave *githubtest.User
	ci                            *githubtest.App
	server                        *server
}

// pull is a pull request of the scene: how many commits it has, and how it is merged.
type pull struct {
	method    string
	commits   int
	migration bool
}

// sceneCommits is how many commits the pull requests bring to main: a merge brings
// one more than it has, a squash one, a rebase as many as it has.
const sceneCommits = 20

func pulls() []pull {
	return []pull{{"merge", 6, false}, {"rebase", 5, false}, {"squash", 3, false}, {"merge", 5, true}, {"squash", 2, false}}
}

// newScene has a server at work, production released once, and the pull requests
// merged after that. Stop it, also after an error.
func (c config) newScene(ctx context.Context) (*scene, error) {
	s := &scene{server: &server{Server: served.Server{Program: c.app}}}
	var err error
	if s.g, err = githubtest.New(githubtest.Config{Limits: githubtest.NoLimits()}); err != nil {
		return s, err
	}
	g := s.g
	s.acme = g.Organization("acme")
	s.alice, s.bob, s.rose, s.carol, s.dave = g.User("alice"), g.User("bob"), g.User("rose"), g.User("carol"), g.User("dave")
	s.acme.Owner(s.carol)
	s.repo = g.Repository(s.acme, "orders")
	s.acme.Team("sre", s.bob, s.rose).Access(s.repo, "write")
	s.acme.Team("dba", s.rose).Access(s.repo, "write")
	s.repo.Collaborator(s.alice, "write")
	s.repo.Collaborator(s.dave, "write")
	s.ci = g.App(githubtest.AppConfig{Slug: "ci", Permissions: map[string]string{"checks": "write"}, Key: c.key})
	s.ci.Install(s.acme, s.repo)
	if err := s.server.start(ctx, s, c.key); err != nil {
		return s, fmt.Errorf("starting the server: %w", err)
	}
	for _, name := range []string{"staging", "production"} {
		if _, err := s.repo.Environment(name).EnableRule(s.server.app); err != nil {
			return s, err
		}
	}
	if err := s.settle(ctx); err != nil {
		return s, err
	}
	first := s.deploy("production")
	if err := s.release(ctx, first); err != nil {
		return s, fmt.Errorf("the deployment before: %w", err)
	}
	if err := s.end(ctx, first, "success"); err != nil {
		return s, err
	}
	return s, s.merge(ctx)
}

func (s *scene) stop() error {
	err := s.server.stop()
	if s.g != nil {
		s.g.Close()
	}
	return err
}

// merge has the pull requests opened, approved, checked and merged.
func (s *scene) merge(ctx context.Context) error {
	var open []*githubtest.Pull
	for i, p := range pulls() {
		branch := fmt.Sprintf("work-%d", i)
		for n := range p.commits {
			files := map[string]string{fmt.Sprintf("services/orders/part_%d_%d.go", i, n): "package orders\n"}
			if p.migration && n == 0 {
				files["migrations/0007_drop.sql"] = "ALTER TABLE orders DROP COLUMN note;\n"
			}
			s.repo.CommitTo(s.alice, branch, fmt.Sprintf("orders: part %d of %d", n, i), files)
		}
		opened, err := s.repo.OpenPull(s.alice, githubtest.PullSpec{Head: branch, Title: fmt.Sprintf("orders: part %d", i)})
		if err != nil {
			return err
		}
		open = append(open, opened)
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	for i, p := range open {
		who := []*githubtest.User{s.bob}
		if pulls()[i].migration {
			who = append(who, s.rose)
		}
		for _, u := range who {
			if _, err := p.Approve(u, p.Head()); err != nil {
				return err
			}
		}
		s.repo.AddCheck(s.ci, p.Head(), testCheck, "success")
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	for i, p := range open {
		if k := s.repo.CheckRun(p.Head(), "sallyport"); k == nil || k.See().Conclusion != "success" {
			return fmt.Errorf("pull request %d did not pass the merge door", p.Number)
		}
		if err := p.Merge(s.dave, pulls()[i].method, p.Head()); err != nil {
			return err
		}
	}
	return s.settle(ctx)
}

// deployment is a run of the deploy workflow with one job.
type deployment struct {
	*githubtest.Run

	sha, environment string
}

// deploy starts the deploy workflow at main's head.
func (s *scene) deploy(environment string) *deployment {
	sha := s.repo.Head("main")
	return &deployment{s.repo.StartRun(githubtest.RunSpec{
		Workflow: ".github/workflows/deploy.yml", By: s.dave, Branch: "main", SHA: sha, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: environment}},
	}), sha, environment}
}

func (d *deployment) status() string {
	status, _ := d.Job("deploy").Status()
	return status
}

// check is our check run of a deployment, or nil.
func (s *scene) check(d *deployment) *githubtest.CheckRun {
	return s.repo.CheckRun(d.sha, "sallyport / "+d.environment)
}

// holds says what is wrong with a deployment that must be held and show all that it
// brings: figures of a wrong answer are worth nothing.
func (s *scene) holds(d *deployment) error {
	k := s.check(d)
	if d.status() != "waiting" || k == nil {
		return fmt.Errorf("the job is %s and has the check %v, want it held", d.status(), k)
	}
	see := k.See()
	all := see.Title + "\n" + see.Summary + "\n" + see.Text
	wants := []string{fmt.Sprintf("%d commits from %d pull requests", sceneCommits, len(pulls())), "drops column orders.note", "1 of acme/dba", "approved by bob, rose"}
	if i := slices.IndexFunc(wants, func(w string) bool { return !strings.Contains(all, w) }); i >= 0 || see.Conclusion != "action_required" {
		return fmt.Errorf("the check is %q and must say %q:\n%s", see.Conclusion, wants[max(i, 0)], all)
	}
	return nil
}

// click presses Approve as rose, and no more.
func (s *scene) click(d *deployment) error {
	k := s.check(d)
	if k == nil {
		return fmt.Errorf("there is no check for %s", d.environment)
	}
	return k.Click(s.rose, "approve")
}

// release settles a deployment and has rose approve it.
func (s *scene) release(ctx context.Context, d *deployment) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	if err := s.click(d); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	return s.released(d)
}

// released says what is wrong with a job that must go on by our answer.
func (s *scene) released(d *deployment) error {
	answer, _ := d.Job("deploy").Gate(s.server.app)
	if d.status() != "in_progress" || answer.State != "approved" {
		return fmt.Errorf("the job is %s and our answer %q, want it in progress and approved", d.status(), answer.State)
	}
	return nil
}

// end ends the job.
func (s *scene) end(ctx context.Context, d *deployment, conclusion string) error {
	if err := d.Job("deploy").Complete(conclusion); err != nil {
		return err
	}
	return s.settle(ctx)
}

// settle waits until every webhook was delivered and worked off, those too that the
// server's own writes sent.
func (s *scene) settle(ctx context.Context) error {
	for before := -1; ; {
		if err := s.g.Settle(ctx); err != nil {
			return fmt.Errorf("waiting for webhooks: %w", err)
		}
		if err := s.server.idle(ctx); err != nil {
			return err
		}
		now := len(s.g.Requests())
		if now == before {
			break
		}
		before = now
	}
	if wrong := s.g.Violations(); len(wrong) > 0 {
		return fmt.Errorf("githubtest complains %d times, first of %s", len(wrong), wrong[0])
	}
	return nil
}

// only has no events but these reach the server.
func (s *scene) only(events ...string) {
	s.server.app.Fate(func(e githubtest.Event) githubtest.Fate {
		return githubtest.Fate{Vanish: !slices.Contains(events, e.Event)}
	})
}

// swept reports whether the server's first sweep is over: the list of deliveries is
// the last that it asks for.
func (s *scene) swept() bool {
	return slices.ContainsFunc(s.g.Requests(), func(q githubtest.Request) bool {
		return q.App == slug && q.Path == "/app/hook/deliveries" && q.Status == http.StatusOK
	})
}
