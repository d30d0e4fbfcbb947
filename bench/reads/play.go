package main

import (
	"context"
	"crypto/rsa"
	"fmt"
	"regexp"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// moment is one event: what happens, and what the program must say of the pull
// request's head once it is settled.
type moment struct {
	name string
	do   func() error
	want string // "allow", "wait"; "" is not looked at
}

// scenario is a row of the table: what is before, and what is counted.
type scenario struct {
	name string
	// before happens before the program hears of anything; it gives the pull request,
	// or nil.
	before func(s *scene) (*githubtest.Pull, error)
	// warm are events that are not counted, act those that are.
	warm, act func(s *scene, p *request) []moment
	// goal is how many reads sallyport may take.
	goal int
}

// request is the pull request of a scene, once there is one.
type request struct{ *githubtest.Pull }

func nothing(*scene) (*githubtest.Pull, error) { return nil, nil }

// decidable is a draft with a status, the check and an approval: all that a yes
// needs. policy-bot takes the oldest status for the time of the push.
func decidable(files int) func(*scene) (*githubtest.Pull, error) {
	return func(s *scene) (*githubtest.Pull, error) {
		p, err := s.open(files, true)
		if err != nil {
			return nil, err
		}
		s.clock.Advance(step)
		s.status(s.ci.Bot(), p.Head(), "coverage", "success")
		s.check(p.Head(), testCheck)
		s.clock.Advance(step)
		_, err = p.Approve(s.bob, "")
		return p, err
	}
}

func (s *scene) opens(p *request, files int) moment {
	return moment{"opened", func() (err error) {
		p.Pull, err = s.open(files, false)
		return err
	}, "wait"}
}

func (s *scene) ready(p *request) moment {
	return moment{"ready for review", func() error { return p.Ready(s.agent) }, "allow"}
}

func (s *scene) checks(p *request, name, want string) moment {
	return moment{"check " + name, func() error { s.check(p.Head(), name); return nil }, want}
}

func (s *scene) says(p *request, want string) moment {
	return moment{"comment", func() error { return s.comment(p.Pull, s.carol, "When is this wanted?") }, want}
}

// How many reads sallyport may take, for pull requests of at most 100 files. An
// event that is irrelevant may take none.
const (
	coldGoal = 4
	warmGoal = 2
	lifeGoal = 20
)

// scenarios are the rows, in order.
func scenarios() []scenario {
	var out []scenario
	for _, files := range []int{5, 100} {
		out = append(out, scenario{fmt.Sprintf("cold: opened, %d files", files), nothing, nil, func(s *scene, p *request) []moment { return []moment{s.opens(p, files)} }, coldGoal})
	}
	ready := func(s *scene, p *request) []moment { return []moment{s.ready(p)} }
	for _, files := range []int{5, 100} {
		out = append(out, scenario{fmt.Sprintf("cold: ready, checked and approved, %d files", files), decidable(files), nil, ready, coldGoal})
	}
	for _, files := range []int{5, 100} {
		out = append(out, scenario{fmt.Sprintf("warm: the check again, %d files", files), decidable(files), ready, func(s *scene, p *request) []moment { return []moment{s.checks(p, testCheck, "allow")} }, warmGoal})
	}
	out = append(out,
		scenario{"warm: ready again, 5 files", decidable(5), func(s *scene, p *request) []moment {
			return []moment{s.ready(p), {"draft", func() error { return p.Draft(s.agent) }, ""}}
		}, ready, warmGoal},
		scenario{"irrelevant: a comment", decidable(5), ready, func(s *scene, p *request) []moment { return []moment{s.says(p, "allow")} }, 0},
		scenario{"irrelevant: a check nobody named", decidable(5), ready, func(s *scene, p *request) []moment { return []moment{s.checks(p, "lint", "allow")} }, 0},
		scenario{"an agent's pull request, 18 events", nothing, nil, life, lifeGoal},
	)
	return out
}

// life is the life of an agent's pull request: opened, two pushes, ten checks over
// the three heads of which three are what the policy waits for, three statuses, a
// comment, an approval: 18 events.
func life(s *scene, p *request) []moment {
	push := moment{"push", func() error { s.push("faster", 5); return nil }, "wait"}
	status := func(context string) moment {
		return moment{"status " + context, func() error { s.status(s.ci.Bot(), p.Head(), context, "success"); return nil }, "wait"}
	}
	var out []moment
	checks := func(names ...string) {
		for _, n := range names {
			out = append(out, s.checks(p, n, "wait"))
		}
	}
	out = append(out, s.opens(p, 5))
	checks("lint", testCheck, "build")
	out = append(out, status("coverage"), push)
	checks("lint", testCheck, "build")
	out = append(out, status("coverage"), push)
	checks("lint", testCheck, "build", "scan")
	return append(out, status("coverage"), s.says(p, "wait"), moment{"approved", func() error {
		_, err := p.Approve(s.bob, "")
		return err
	}, "allow"})
}

// plain is a text without what differs from run to run.
func plain(s string) string {
	return regexp.MustCompile(`[0-9a-f]{40}|\b\d{7,}\b`).ReplaceAllString(s, "*")
}

// played is what a scenario cost, moment by moment.
type played struct {
	moments []string
	each    []tally
	total   tally
	lacks   []string // what githubtest complained of
}

// play plays a scenario to a program of its own, from a GitHub of its own.
func play(ctx context.Context, sc scenario, p program, key *rsa.PrivateKey) (out *played, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := newScene(key)
	if err != nil {
		return nil, err
	}
	defer s.g.Close()
	defer func() {
		if stopped := p.Stop(); err == nil {
			err = stopped
		}
	}()
	pr := &request{}
	if err := p.Start(ctx, s); err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.Name(), err)
	}
	if err := s.settle(ctx, p); err != nil {
		return nil, err
	}
	s.clock.Advance(step)
	if pr.Pull, err = sc.before(s); err != nil {
		return nil, fmt.Errorf("building the scene: %w", err)
	}
	p.Hear()
	if sc.warm != nil {
		for _, m := range sc.warm(s, pr) {
			if _, err := s.happen(ctx, p, pr, m); err != nil {
				return nil, err
			}
		}
	}
	out = &played{}
	for _, m := range sc.act(s, pr) {
		t, err := s.happen(ctx, p, pr, m)
		if err != nil {
			return nil, err
		}
		out.moments, out.each = append(out.moments, m.name), append(out.each, t)
		out.total.add(t)
	}
	if wrong := s.g.Violations(); len(wrong) > 0 {
		return nil, fmt.Errorf("githubtest complains %d times, first of %s", len(wrong), wrong[0])
	}
	for _, v := range s.g.AllViolations() {
		out.lacks = append(out.lacks, plain(v.String()))
	}
	return out, nil
}

// happen lets one moment happen, settles it and counts it.
func (s *scene) happen(ctx context.Context, p program, pr *request, m moment) (tally, error) {
	s.clock.Advance(step)
	s.g.ForgetRequests()
	if err := m.do(); err != nil {
		return tally{}, fmt.Errorf("%s: %w", m.name, err)
	}
	if err := s.settle(ctx, p); err != nil {
		return tally{}, fmt.Errorf("%s: %w", m.name, err)
	}
	t := count(s.g.Requests(), p.Slug())
	if m.want == "" {
		return t, nil
	}
	said, err := p.Says(ctx, s, pr.Head())
	if err != nil {
		return tally{}, err
	}
	if said != m.want {
		return tally{}, fmt.Errorf("after %q %s says %q, want %q: counts of a wrong answer are worth nothing", m.name, p.Name(), said, m.want)
	}
	return t, nil
}
