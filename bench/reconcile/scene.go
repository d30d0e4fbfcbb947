package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/bench/internal/served"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

const (
	slug  = "sallyport" // our App's
	doors = "doors"     // the repository in which something happens meanwhile

	// patience is how long a phase may take.
	patience = 2 * time.Hour
	// between is the pause between two doors.
	between = time.Second
)

const policy = `version: 1
reviewers: [acme/sre]
agents:
  also: [{id: writer, logins: ["writer[bot]"]}]
environments:
  dev: {gate: auto, paths: [docs/**], after: [{name: test, app: ci}]}
  production: {gate: human}
`

// kind is what a pull request is.
type kind int

// A quarter each.
const (
	approvedByUs kind = iota // an agent's documents, green: the server approves
	agentWaits               // an agent's code that waits for somebody of acme/sre
	humanPassed              // a person's code that bob approved
	humanWaits               // a person's code that waits
	kinds
)

// pull is one of the many.
type pull struct {
	*githubtest.Pull

	repo   *githubtest.Repository
	at     place
	kind   kind
	branch string
	test   *githubtest.CheckRun
	want   string // conclusion of our check
}

// scene is a GitHub with an organisation and the server.
type scene struct {
	config

	g           *githubtest.GitHub
	app, writer *githubtest.App
	ci          *githubtest.App
	bob, dave   *githubtest.User
	repos       []*githubtest.Repository
	door        *githubtest.Repository
	doorsOpened int
	all         []*pull
	server      server
}

// build makes everything, with policies that are adopted before there are pull requests.
// No webhook of theirs arrives: what the server knows of them it knows by its sweep.
func (s *scene) build(ctx context.Context) error {
	var err error
	if s.g, err = githubtest.New(githubtest.Config{Limits: githubtest.NoLimits(), Parallel: 4}); err != nil {
		return err
	}
	g := s.g
	acme := g.Organization("acme")
	carol := g.User("carol")
	s.bob, s.dave = g.User("bob"), g.User("dave")
	acme.Owner(carol)
	sre := acme.Team("sre", s.bob)
	s.writer = g.App(githubtest.AppConfig{Slug: "writer", Permissions: map[string]string{"contents": "write", "pull_requests": "write"}})
	s.ci = g.App(githubtest.AppConfig{Slug: "ci", Permissions: map[string]string{"checks": "write"}})
	s.app = g.App(githubtest.AppConfig{
		Slug: slug, Owner: acme, Secret: webhookSecret,
		// gate/github cannot be built into this module, as bench/reads says: these are its.
		Permissions: map[string]string{
			"actions": "read", "checks": "write", "contents": "write", "deployments": "write", "members": "read", "merge_queues": "read", "metadata": "read", "pull_requests": "write", "statuses": "read",
		},
		Events: []string{
			"check_run", "check_suite", "deployment", "deployment_protection_rule", "deployment_review", "deployment_status", "membership", "merge_group", "pull_request",
			"pull_request_review", "push", "status", "team", "workflow_dispatch", "workflow_job", "workflow_run",
		},
	})
	repository := func(name string) *githubtest.Repository {
		r := g.Repository(acme, name)
		sre.Access(r, "write")
		r.Collaborator(s.dave, "write")
		r.CommitTo(carol, "main", "Add the policy", map[string]string{rules.PolicyPath: policy})
		if name != doors { // what is deployed there is pushed
			r.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, Checks: []githubtest.RequiredCheck{{Context: slug, AppID: s.app.ID}}})
		}
		return r
	}
	for i := range s.repositories {
		s.repos = append(s.repos, repository(fmt.Sprintf("orders-%02d", i)))
	}
	s.door = repository(doors)
	for _, a := range []*githubtest.App{s.writer, s.ci, s.app} {
		a.Install(acme)
	}
	if _, err := s.door.Environment("production").EnableRule(s.app); err != nil {
		return err
	}
	s.app.Fate(func(githubtest.Event) githubtest.Fate { return githubtest.Fate{Vanish: true} })
	if s.server.Dir, err = os.MkdirTemp("", "sallyport-reconcile-"); err != nil {
		return err
	}
	if s.server.Program = s.config.app; s.server.Program == "" {
		if s.server.Program, err = served.Build(ctx, s.server.Dir); err != nil {
			return err
		}
	}
	if err := s.server.prepare(ctx, s); err != nil {
		return err
	}
	if err := s.server.serve(ctx); err != nil {
		return err
	}
	var names []string
	for _, r := range append(slices.Clone(s.repos), s.door) {
		names = append(names, r.FullName())
	}
	if err := s.server.Adopt(ctx, names...); err != nil {
		return err
	}
	_ = s.server.End() // it was told to end
	for n := range s.pulls {
		if err := s.open(n); err != nil {
			return err
		}
	}
	return nil
}

// open opens the next pull request.
func (s *scene) open(n int) error {
	r := s.repos[n%len(s.repos)]
	p := &pull{repo: r, kind: kind(n / len(s.repos) % int(kinds)), branch: fmt.Sprintf("work-%d", n), want: "action_required"}
	path, by, spec := fmt.Sprintf("src/%d.go", n), s.dave, githubtest.PullSpec{Head: p.branch, Title: "Work", Body: "It works better."}
	if p.kind == approvedByUs {
		path = fmt.Sprintf("docs/%d.md", n)
	}
	if p.kind == approvedByUs || p.kind == agentWaits {
		by, spec.As = s.writer.Bot(), s.writer
	}
	r.CommitTo(by, p.branch, "Work", map[string]string{path: fmt.Sprintln(n)})
	var err error
	if p.Pull, err = r.OpenPull(by, spec); err != nil {
		return err
	}
	p.at = place{r.FullName()[len("acme/"):], p.Number}
	p.test = r.AddCheck(s.ci, p.Head(), "test", "success")
	switch p.kind { //nolint:exhaustive // the others wait
	case approvedByUs:
		p.want = "success"
	case humanPassed:
		p.want = "success"
		if _, err := p.Approve(s.bob, p.Head()); err != nil {
			return err
		}
	}
	s.all = append(s.all, p)
	return nil
}

func (s *scene) stop() error {
	err := s.server.stop()
	if s.g != nil {
		s.g.Close()
	}
	return err
}

// right says whether our check at a head, and our approval, are what they must be.
func (s *scene) right(p *pull) error {
	k := p.repo.CheckRun(p.Head(), slug)
	if k == nil {
		return fmt.Errorf("%v has no check", p.at)
	}
	if got := k.See().Conclusion; got != p.want {
		return fmt.Errorf("the check of %v is %s, want %s", p.at, got, p.want)
	}
	return nil
}

// phase is one sweep that is measured.
type phase struct {
	name string
	// first says that the server is started for it.
	first bool
	// begin makes what the sweep has to find; it gives what that is.
	begin func(ctx context.Context) ([]*pull, error)
}

func (s *scene) phases() []phase {
	const later = 16 * time.Minute
	nothing := func(context.Context) ([]*pull, error) { return nil, nil }
	return []phase{
		{"cold: none was looked at yet", true, func(context.Context) ([]*pull, error) { return s.all, nil }},
		{"nothing changed", false, nothing},
		{"nothing changed, for a quarter of an hour", false, func(ctx context.Context) ([]*pull, error) { return nil, s.server.age(ctx, later) }},
		{"the same once more", false, func(ctx context.Context) ([]*pull, error) { return nil, s.server.age(ctx, later) }},
		{"lost: checks and approvals, a quarter of an hour ago", false, func(ctx context.Context) ([]*pull, error) {
			list, err := s.lose(1, s.turnRedOrApprove)
			return list, errors.Join(err, s.server.age(ctx, later))
		}},
		{"lost: pushes", false, func(context.Context) ([]*pull, error) { return s.lose(0, s.push) }},
		{"nothing changed", false, nothing},
	}
}

// lose does something to some pull requests, of which no webhook tells.
func (s *scene) lose(from int, do func(*pull) (bool, error)) ([]*pull, error) {
	var out []*pull
	want := len(s.all) * s.lost / 1000
	for i := from; i < len(s.all) && len(out) < want; i += 3 {
		did, err := do(s.all[i])
		if err != nil {
			return nil, err
		}
		if did {
			out = append(out, s.all[i])
		}
	}
	return out, nil
}

// push pushes to what bob approved. The pull request changes, which its list shows.
func (s *scene) push(p *pull) (bool, error) {
	if p.kind != humanPassed {
		return false, nil
	}
	p.repo.CommitTo(s.dave, p.branch, "More work", map[string]string{"src/more.go": p.branch})
	p.want = "action_required"
	return true, nil
}

// turnRedOrApprove makes the test fail of what the server approved, and has bob approve
// what waits: nothing that a list of pull requests shows.
func (s *scene) turnRedOrApprove(p *pull) (bool, error) {
	var err error
	switch p.kind {
	case approvedByUs:
		p.test.Complete("failure")
		p.want = "action_required"
	case agentWaits, humanWaits:
		_, err = p.Approve(s.bob, p.Head())
		p.want = "success"
	default:
		return false, nil
	}
	return true, err
}

// play measures one phase: from the beginning of a sweep until no work is left.
func (s *scene) play(ctx context.Context, p phase) (row, error) {
	r := row{name: p.name, wanted: "-"}
	var before figures
	if !p.first {
		// A sweep has just ended, so that the next one is a whole interval away.
		if err := s.idle(ctx); err != nil {
			return r, err
		}
		now, err := s.server.figures(ctx)
		if err != nil {
			return r, err
		}
		if err := s.swept(ctx, now.sweeps+1); err != nil {
			return r, err
		}
		if err := s.idle(ctx); err != nil {
			return r, err
		}
		if before, err = s.server.figures(ctx); err != nil {
			return r, err
		}
	}
	s.app.Fate(func(githubtest.Event) githubtest.Fate { return githubtest.Fate{Vanish: true} })
	lost, err := p.begin(ctx)
	if err != nil {
		return r, err
	}
	if err := s.g.Settle(ctx); err != nil {
		return r, err
	}
	s.app.Fate(nil)
	s.g.ForgetRequests()
	if p.first {
		s.app.Webhook("http://"+s.server.Address+"/webhooks/github", webhookSecret)
		if err := s.server.serve(ctx); err != nil {
			return r, err
		}
	}
	began, err := s.sweepBegan(ctx)
	if err != nil {
		return r, err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	watched, knocked := make(chan error, 1), make(chan error, 1)
	go func() { watched <- s.watch(watching, &r) }()
	var over atomic.Bool
	go func() { knocked <- s.knock(ctx, &over, &r) }()
	err = s.swept(ctx, before.sweeps+1)
	if err == nil {
		err = s.idle(ctx)
	}
	r.took = time.Since(began)
	over.Store(true)
	err = errors.Join(err, <-knocked)
	stop()
	if err = errors.Join(err, <-watched); err != nil {
		return r, err
	}
	r.tally = count(s.g.Requests())
	after, err := s.server.figures(ctx)
	if err != nil {
		return r, err
	}
	r.sweeps, r.cpu, r.looked = after.sweeps-before.sweeps, after.cpu-before.cpu, len(r.tally.looked)
	return r, s.judge(&r, lost)
}

// judge says what is wrong: a pull request that is not as it must be, or one that was
// looked at for nothing.
func (s *scene) judge(r *row, lost []*pull) error {
	if wrong := s.g.Violations(); len(wrong) > 0 {
		return fmt.Errorf("githubtest complains %d times, first of %s", len(wrong), wrong[0])
	}
	for _, p := range s.all {
		if err := s.right(p); err != nil {
			return err
		}
	}
	found := 0
	for _, p := range lost {
		if r.tally.looked[p.at] {
			found++
		}
	}
	r.wanted = fmt.Sprintf("%d of %d", found, len(lost))
	if found != len(lost) || r.looked != len(lost) {
		return fmt.Errorf("it looked at %d pull requests, and at %s that it had to", r.looked, r.wanted)
	}
	return nil
}

// idle waits until every webhook was delivered and no work is left.
func (s *scene) idle(ctx context.Context) error {
	for quiet := 0; quiet < 3; {
		if err := s.g.Settle(ctx); err != nil {
			return fmt.Errorf("waiting for webhooks: %w", err)
		}
		n, err := s.server.left(ctx)
		if err != nil {
			return err
		}
		if quiet++; n > 0 {
			quiet = 0
		}
		select {
		case <-s.server.Ended():
			return s.server.Err()
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// swept waits until so many sweeps are over.
func (s *scene) swept(ctx context.Context, n int) error {
	return until(ctx, patience, "a sweep is over", func() (bool, error) {
		f, err := s.server.figures(ctx)
		return f.sweeps >= n, err
	})
}

// sweepBegan waits for the first request of a sweep, and says when it came.
func (s *scene) sweepBegan(ctx context.Context) (at time.Time, err error) {
	err = until(ctx, s.interval+time.Minute, "a sweep begins", func() (bool, error) {
		for _, q := range s.g.Requests() {
			if q.App == slug && q.Path == "/app/installations" {
				at = time.Now()
				return true, nil
			}
		}
		return false, nil
	})
	return at, err
}

// watch notes the most memory and work.
func (s *scene) watch(ctx context.Context, r *row) error {
	for {
		f, err := s.server.figures(ctx)
		if err == nil {
			var n int
			n, err = s.server.left(ctx)
			r.keys, r.resident = max(r.keys, n), max(r.resident, f.resident)
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the phase is over
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// knock comes to a door now and then: opens a pull request, or starts a deployment, and
// waits for the server's check.
func (s *scene) knock(ctx context.Context, over *atomic.Bool, r *row) error {
	for first := true; first || !over.Load(); first = false {
		for _, deploy := range []bool{false, true} {
			took, err := s.one(ctx, deploy)
			if err != nil {
				return err
			}
			if deploy {
				r.held = append(r.held, took)
			} else {
				r.opened = append(r.opened, took)
			}
		}
		for end := time.Now().Add(between); !over.Load() && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

func (s *scene) one(ctx context.Context, deploy bool) (time.Duration, error) {
	s.doorsOpened++
	var begun time.Time
	var shown func() bool
	if deploy {
		sha := s.door.CommitTo(s.dave, "main", "Deploy", map[string]string{"deploy.txt": strconv.Itoa(s.doorsOpened)})
		begun = time.Now()
		run := s.door.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", By: s.dave, Branch: "main", SHA: sha, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production"}}})
		defer run.Cancel()
		shown = func() bool { return s.door.CheckRun(sha, slug+" / production") != nil }
	} else {
		branch := fmt.Sprintf("work-%d", s.doorsOpened)
		s.door.CommitTo(s.dave, branch, "Work", map[string]string{"src/" + branch + ".go": branch})
		begun = time.Now()
		p, err := s.door.OpenPull(s.dave, githubtest.PullSpec{Head: branch, Title: "Work"})
		if err != nil {
			return 0, err
		}
		shown = func() bool { return s.door.CheckRun(p.Head(), slug) != nil }
	}
	for !shown() {
		if time.Since(begun) > patience {
			return 0, errors.New("a door is not answered")
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
	return time.Since(begun), nil
}
