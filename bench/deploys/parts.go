package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// How many reads a deployment may take, token exchanges and effects apart.
const (
	coldGoal = 10
	heldGoal = 3
)

// part is some rows of the table, from a GitHub and a server of its own.
type part struct {
	name string
	play func(ctx context.Context, s *scene) ([]row, error)
}

// play plays a part within five minutes.
func (c config) play(ctx context.Context, p part) (rows []row, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	s, err := c.newScene(ctx)
	defer func() {
		if stopped := s.stop(); err == nil {
			err = stopped
		}
	}()
	if err == nil {
		rows, err = p.play(ctx, s)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	return rows, nil
}

func parts() []part {
	return []part{{"one event", once}, {"every event", every}, {"auto", auto}, {"irrelevant", irrelevant}}
}

// counted lets something happen, settles it and counts what it took.
func (s *scene) counted(ctx context.Context, name string, goal int, do func() error) (row, error) {
	s.g.ForgetRequests()
	if err := do(); err != nil {
		return row{}, fmt.Errorf("%s: %w", name, err)
	}
	if err := s.settle(ctx); err != nil {
		return row{}, fmt.Errorf("%s: %w", name, err)
	}
	return row{name, count(s.g.Requests()), goal}, nil
}

// once is the life of a deployment of which each step is one event.
func once(ctx context.Context, s *scene) ([]row, error) {
	s.only("deployment_protection_rule")
	var d *deployment
	cold, err := s.counted(ctx, "cold, its first event", coldGoal, func() error { d = s.deploy("production"); return nil })
	if err != nil {
		return nil, err
	}
	if err := s.holds(d); err != nil {
		return nil, err
	}
	s.server.app.Fate(nil)
	again, err := s.counted(ctx, "held: an event, nothing changed", heldGoal, func() error { d.Job("deploy").Deployment().Status(s.alice, "queued"); return nil })
	if err != nil {
		return nil, err
	}
	if err := s.holds(d); err != nil {
		return nil, err
	}
	clicked, err := s.counted(ctx, "the click, all that follows", unbounded, func() error { return s.click(d) })
	if err != nil {
		return nil, err
	}
	if err := s.released(d); err != nil {
		return nil, err
	}
	before, err := untilReleased(s.g.Requests())
	if err != nil {
		return nil, err
	}
	ended, err := s.counted(ctx, "the job ends", unbounded, func() error { return d.Job("deploy").Complete("success") })
	if err != nil {
		return nil, err
	}
	return []row{cold, again, {"the click, until the release", count(before), unbounded}, clicked, ended}, nil
}

// every is a deployment as GitHub tells of it, with its events one after the other.
func every(ctx context.Context, s *scene) ([]row, error) {
	var d *deployment
	r, err := s.counted(ctx, "cold, every event of the run", coldGoal, func() error { d = s.deploy("production"); return nil })
	if err != nil {
		return nil, err
	}
	return []row{r}, s.holds(d)
}

// auto is a deployment to an environment that opens by itself.
func auto(ctx context.Context, s *scene) ([]row, error) {
	var d *deployment
	all, err := s.counted(ctx, "auto, every event of the run", unbounded, func() error { d = s.deploy("staging"); return nil })
	if err != nil {
		return nil, err
	}
	if err := s.released(d); err != nil {
		return nil, err
	}
	before, err := untilReleased(s.g.Requests())
	if err != nil {
		return nil, err
	}
	return []row{{"auto, until the release", count(before), unbounded}, all}, nil
}

// irrelevant is a run without an environment, from its start to its end. Its jobs are
// check runs too, and those may matter to a pull request at that commit.
func irrelevant(ctx context.Context, s *scene) ([]row, error) {
	lint := func() error {
		run := s.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/lint.yml", By: s.dave, Branch: "main", SHA: s.repo.Head("main"), Jobs: []githubtest.JobSpec{{Name: "lint"}}})
		return run.Job("lint").Complete("success")
	}
	s.only("workflow_job", "workflow_run")
	told, err := s.counted(ctx, "irrelevant: workflow_job, workflow_run of a run without environment", 0, lint)
	if err != nil {
		return nil, err
	}
	s.server.app.Fate(nil)
	all, err := s.counted(ctx, "irrelevant: every event of such a run", unbounded, lint)
	return []row{told, all}, err
}
