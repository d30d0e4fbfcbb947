package standalone_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/cmd/sallyport/standalone"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

func source(text string) map[string]string { return map[string]string{"src/a.go": text} }

func TestApprovedAtTheMerge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plain)
	base := w.repo.Head("main")
	w.deployed()
	p := w.merged("work", source("package a\n"))
	w.g.ForgetRequests()
	v, err := w.gate()
	must(t, err)
	n := len(w.g.Requests())
	if !v.Allowed || v.Base != rules.SHA(base) || v.Environment != "production" || v.URL != "" {
		t.Errorf("it is held: %+v", v)
	}
	want := fmt.Sprintf("production: listed reviewers approved at the merge all that %s brings since %s", w.repo.Head("main")[:7], base[:7])
	if v.Line != want {
		t.Errorf("it says %q, want %q", v.Line, want)
	}
	if n > 25 {
		t.Errorf("%d requests, want at most 25", n)
	}
	t.Logf("%d requests for one pull request (#%d); %s", n, p.Number, v.Line)
	w.merged("more", map[string]string{"src/b.go": "package b\n"})
	w.g.ForgetRequests()
	if v, err := w.gate(); err != nil || !v.Allowed {
		t.Errorf("two are held: %+v, %v", v, err)
	}
	if more := len(w.g.Requests()) - n; more > 2 {
		t.Errorf("a pull request more costs %d requests, want at most 2", more)
	}
}

// Each way to have something deployed that nobody listed approved. Without it, as
// TestApprovedAtTheMerge shows, the deployment goes on.
func TestHeld(t *testing.T) {
	t.Parallel()
	observe := strings.Replace(plain, "version: 1\n", "version: 1\nmode: observe\n", 1)
	tested := strings.Replace(plain, "    gate: human\n", "    gate: human\n    after: [test]\n", 1)
	loose := strings.Replace(plain, "[alice, bob]", "[alice, bob, dave]", 1)
	test := func(w *world, sha string, when func(*githubtest.Job)) {
		when(w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/test.yml", By: w.dave, SHA: sha, Jobs: []githubtest.JobSpec{{Name: "test"}}}).Job("test"))
	}
	approvedBy := func(who func(w *world) *githubtest.User) func(w *world) {
		return func(w *world) {
			w.deployed()
			p := w.open("work", source("package a\n"))
			w.approve(p, who(w))
			must(w.t, p.MergeAsAdmin(w.carol, "merge"))
		}
	}
	for _, c := range []struct {
		name, policy, code string
		do                 func(w *world)
	}{
		{"a direct push", plain, "SP516", func(w *world) { w.deployed(); w.direct(source("x\n")) }},
		{"a direct push among approved changes", plain, "SP516", func(w *world) {
			w.deployed()
			w.direct(source("x\n"))
			w.merged("work", source("package a\n"))
		}},
		{"a pull request that nobody approved", plain, "SP517", func(w *world) {
			w.deployed()
			must(w.t, w.open("work", source("x\n")).MergeAsAdmin(w.carol, "merge"))
		}},
		{"an approval after the merge", plain, "SP517", func(w *world) {
			w.deployed()
			p := w.open("work", source("x\n"))
			w.clock.Advance(time.Minute)
			w.approve(p, w.bob)
			w.clock.Advance(-time.Minute)
			must(w.t, p.MergeAsAdmin(w.carol, "merge"))
		}},
		{"an approval by who is not listed", plain, "SP517", approvedBy(func(w *world) *githubtest.User { return w.dave })},
		{"an approval by who lost access", plain, "SP517", func(w *world) {
			approvedBy(func(w *world) *githubtest.User { return w.bob })(w)
			w.repo.Collaborator(w.bob, "read")
		}},
		{"an approval of another head", plain, "SP517", func(w *world) {
			w.deployed()
			p := w.open("work", source("x\n"))
			w.approve(p, w.bob)
			w.repo.CommitTo(w.octocat, "work", "More", source("y\n"))
			must(w.t, p.MergeAsAdmin(w.carol, "merge"))
		}},
		{"a change that waits for a check which never ran", tested, "SP517", approvedBy(func(w *world) *githubtest.User { return w.bob })},
		{"a check that turned green after the merge", tested, "SP517", func(w *world) {
			w.deployed()
			p := w.open("work", source("x\n"))
			w.approve(p, w.bob)
			test(w, p.Head(), func(j *githubtest.Job) {
				w.later()
				must(w.t, p.MergeAsAdmin(w.carol, "merge"))
				w.later()
				must(w.t, j.Complete("success"))
			})
		}},
		{"no run before", plain, "SP510", func(w *world) { w.merged("work", source("package a\n")) }},
		{"a run before without a gate", plain, "SP510", func(w *world) { must(w.t, w.run().Job("deploy").Complete("success")) }},
		{"a run before whose gate did not succeed", plain, "SP510", func(w *world) {
			j := w.run().Job("deploy")
			j.Step(gateStep, "skipped")
			must(w.t, j.Complete("success"))
		}},
		{"a run before that failed", plain, "SP510", func(w *world) {
			j := w.run().Job("deploy")
			j.Step(gateStep, "success")
			must(w.t, j.Complete("failure"))
		}},
		{"a run before of another environment", plain, "SP510", func(w *world) {
			w.deployed(func(s *githubtest.RunSpec) { s.Jobs[0].Environment = "dev" })
		}},
		{"a run before of another workflow", plain, "SP510", func(w *world) {
			w.deployed(func(s *githubtest.RunSpec) { s.Workflow = ".github/workflows/other.yml" })
		}},
		{"a run before under a policy that observed", observe, "SP510", func(w *world) {
			w.deployed()
			w.merged("policy", map[string]string{rules.PolicyPath: plain})
		}},
		{"a run before at a commit where main never stood", plain, "SP510", func(w *world) {
			// It stands in main's history, behind a merge.
			head := w.repo.CommitTo(w.octocat, "work", "Work", source("x\n"))
			w.deployed(func(s *githubtest.RunSpec) { s.SHA = head }) // as on a tag named main
			p, err := w.repo.OpenPull(w.octocat, githubtest.PullSpec{Head: "work", Title: "Work"})
			must(w.t, err)
			w.approve(p, w.bob)
			must(w.t, p.Merge(w.dave, "merge", ""))
		}},
		{"a run before on a branch of somebody's own", plain, "SP510", func(w *world) {
			w.repo.CommitTo(w.octocat, "work", "Work", source("x\n"))
			w.deployed(func(s *githubtest.RunSpec) { s.Branch = "work" })
			must(w.t, w.repo.Push(w.carol, "main", w.repo.Head("work")))
		}},
		{"history rewritten", plain, "SP514", func(w *world) {
			w.deployed()
			root := w.repo.Commit(githubtest.Commit{Message: "Other", Author: w.carol.Identity(), Files: map[string]githubtest.File{rules.PolicyPath: githubtest.Text(plain)}})
			must(w.t, w.repo.Push(w.carol, "main", root))
		}},
		{"a reviewer whom a direct push listed afterwards", plain, "SP517", func(w *world) {
			w.deployed()
			p := w.open("work", source("x\n"))
			w.approve(p, w.dave)
			must(w.t, p.MergeAsAdmin(w.carol, "merge"))
			at := w.repo.Head("main")
			w.change = func(j *standalone.Job) { j.SHA = rules.SHA(at) }
			w.direct(map[string]string{rules.PolicyPath: loose})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.policy)
			c.do(w)
			at := standalone.Job{SHA: rules.SHA(w.repo.Head("main"))}
			w.change(&at)
			v, err := w.gate(w.run(func(s *githubtest.RunSpec) { s.SHA = string(at.SHA) }))
			must(t, err)
			if v.Allowed || v.Decision.Verdict != rules.VerdictWait || !strings.Contains(codes(v.Decision), c.code) {
				t.Errorf("%q for %s, want wait for %s: %s", v.Decision.Verdict, codes(v.Decision), c.code, v.Line)
			}
			if !strings.Contains(v.Line, "alice or bob") || !strings.Contains(v.Line, "https://github.com/acme/orders/pulls") || !strings.Contains(v.Line, "Sallyport App") {
				t.Errorf("it does not say who can approve, and where: %s", v.Line)
			}
		})
	}
}

func TestRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plain)
	w.deployed()
	old := w.repo.Head("main")
	w.merged("work", source("package a\n"))
	must(t, w.run().Job("deploy").Complete("success")) // by whichever way: it ran
	w.change = func(j *standalone.Job) { j.SHA = rules.SHA(old) }
	v, err := w.gate(w.run(func(s *githubtest.RunSpec) { s.SHA = old }))
	must(t, err)
	if v.Allowed || !strings.Contains(codes(v.Decision), "SP513") {
		t.Errorf("%s: %s", codes(v.Decision), v.Line)
	}
}

// The commit that the workflow file names counts as released, and what named it is
// judged like everything else.
func TestSince(t *testing.T) {
	t.Parallel()
	ask := func(w *world, since string) (standalone.Verdict, error) {
		w.change = func(j *standalone.Job) { j.Since = rules.SHA(since) }
		return w.gate()
	}
	names := func(sha string) map[string]string {
		return map[string]string{workflow: "on: push\n# since: " + sha + "\n"}
	}
	w := newWorld(t, plain)
	first := w.direct(source("x\n"))
	if _, err := ask(w, first); err == nil || !strings.Contains(err.Error(), "does not stand in") {
		t.Errorf("a commit that the workflow does not name: %v", err)
	}
	w.merged("since", names(first))
	v, err := ask(w, first)
	if err != nil || !v.Allowed || v.Base != rules.SHA(first) {
		t.Errorf("named by an approved change: %+v, %v", v, err)
	}
	// A later run is nearer.
	w.deployed()
	at := w.repo.Head("main")
	w.merged("work", source("y\n"))
	if v, err := ask(w, first); err != nil || !v.Allowed || v.Base != rules.SHA(at) {
		t.Errorf("with a run since: %+v, %v", v, err)
	}
	// After a direct push a later commit has to be named, by an approved change.
	second := w.direct(source("z\n"))
	if v, err := ask(w, first); err != nil || v.Allowed {
		t.Errorf("after a direct push: %+v, %v", v, err)
	}
	w.merged("again", names(second))
	if v, err := ask(w, second); err != nil || !v.Allowed || v.Base != rules.SHA(second) {
		t.Errorf("named anew: %+v, %v", v, err)
	}
	third := w.direct(source("evil\n"))
	w.direct(names(third))
	if v, err := ask(w, third); err != nil || v.Allowed || !strings.Contains(codes(v.Decision), "SP516") {
		t.Errorf("named by a direct push: %+v, %v", v, err)
	}
	gone := w.repo.Commit(githubtest.Commit{Message: "Elsewhere", Author: w.dave.Identity(), Files: map[string]githubtest.File{"x": githubtest.Text("x")}})
	w.direct(names(gone))
	if v, err := ask(w, gone); err == nil && v.Allowed {
		t.Errorf("a commit that is not in the history: %+v", v)
	}
}

func TestNeedsTheApp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ policy, why string }{
		"a team":               {strings.Replace(plain, "[alice, bob]", "[acme/sre, bob]", 1), "the team acme/sre"},
		"a team for a path":    {plain + "    also: {\"migrations/**\": [acme/dba]}\n", "the team acme/dba"},
		"both steps":           {strings.Replace(plain, "    steps: [merge]\n", "", 1), "an approval of each deployment"},
		"the deploy step":      {strings.Replace(plain, "[merge]", "[deploy]", 1), "an approval of each deployment"},
		"both steps by name":   {strings.Replace(plain, "[merge]", "[merge, deploy]", 1), "an approval of each deployment"},
		"a team of no use yet": {strings.Replace(plain, "after: [test]}", "after: [test], reviewers: [acme/sre]}", 1), "the team acme/sre"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.policy)
			w.deployed()
			_, err := w.gate()
			var needs *standalone.NeedsApp
			if !errors.As(err, &needs) || !strings.Contains(needs.Why, c.why) || !strings.Contains(err.Error(), "Sallyport App") {
				t.Errorf("%v, want that it needs the App for %q", err, c.why)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code string
		spec func(w *world, s *githubtest.RunSpec)
	}{
		"a branch of somebody's own": {"SP504", func(w *world, s *githubtest.RunSpec) {
			s.SHA = w.repo.CommitTo(w.dave, "feature", "Evil", source("evil\n"))
			s.Branch = "feature"
		}},
		"a dispatch": {"SP506", func(_ *world, s *githubtest.RunSpec) { s.Event = "workflow_dispatch" }},
		"a schedule": {"SP506", func(_ *world, s *githubtest.RunSpec) { s.Event = "schedule" }},
		"a tag named like the branch": {"SP504", func(w *world, s *githubtest.RunSpec) {
			s.SHA = w.repo.CommitTo(w.dave, "feature", "Evil", source("evil\n"))
			must(w.t, w.repo.Tag(w.dave, "main", s.SHA))
			s.Tag = true
		}},
		"a commit that is on the branch no more": {"SP505", func(w *world, s *githubtest.RunSpec) {
			before := w.repo.Head("main")
			s.SHA = w.direct(source("evil\n"))
			must(w.t, w.repo.Push(w.carol, "main", before))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, plain)
			w.deployed()
			sha := ""
			run := w.run(func(s *githubtest.RunSpec) { c.spec(w, s); sha = s.SHA })
			if sha != "" {
				w.change = func(j *standalone.Job) { j.SHA = rules.SHA(sha) }
			}
			v, err := w.gate(run)
			must(t, err)
			if v.Allowed || v.Decision.Verdict != rules.VerdictDeny || !strings.Contains(codes(v.Decision), c.code) || !strings.Contains(v.Line, "may never be deployed by this run") {
				t.Errorf("%q for %s, want deny for %s: %s", v.Decision.Verdict, codes(v.Decision), c.code, v.Line)
			}
		})
	}
}

// Dispatched runs are denied even where the policy lets them in: nobody approves their
// inputs at a merge.
func TestDispatchWhereItMay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(plain, "    gate: human\n", "    gate: human\n    events: [push, workflow_dispatch]\n", 1))
	w.deployed()
	v, err := w.gate(w.run(func(s *githubtest.RunSpec) {
		s.Event, s.Inputs = "workflow_dispatch", map[string]any{"version": "evil"}
	}))
	if err != nil || v.Allowed || !strings.Contains(codes(v.Decision), "SP508") {
		t.Errorf("%+v, %v", v, err)
	}
}

// What the job says of itself opens nothing.
func TestTheJobLies(t *testing.T) {
	t.Parallel()
	for name, lie := range map[string]func(w *world, j *standalone.Job){
		"another commit":      func(w *world, j *standalone.Job) { j.SHA = rules.SHA(strings.Repeat("a", 40)) },
		"another attempt":     func(_ *world, j *standalone.Job) { j.Attempt = 2 },
		"another event":       func(_ *world, j *standalone.Job) { j.Event = "release" },
		"another workflow":    func(_ *world, j *standalone.Job) { j.Workflow = ".github/workflows/other.yml" },
		"another environment": func(_ *world, j *standalone.Job) { j.Environment = "dev" },
		"another job":         func(_ *world, j *standalone.Job) { j.CheckRun = 1 },
		"another repository":  func(_ *world, j *standalone.Job) { j.Repository.ID++ },
		"another run":         func(w *world, j *standalone.Job) { j.Run = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, plain)
			w.deployed()
			w.change = func(j *standalone.Job) { lie(w, j) }
			if v, err := w.gate(); err == nil || v.Allowed {
				t.Errorf("%+v", v)
			}
		})
	}
}

// Another repository of the job's name is not the job's.
func TestRenamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plain)
	w.deployed()
	run := w.run()
	judge := w.judge(run, w.repo.Head("main"))
	w.repo.Rename(w.carol, "orders-old")
	w.g.Repository(w.acme, "orders").Public()
	if v, err := judge.Gate(t.Context()); err == nil || !strings.Contains(err.Error(), "it was renamed") {
		t.Errorf("%+v, %v", v, err)
	}
}

// Where two jobs could be the one that asks, none is.
func TestWhichJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plain)
	w.deployed()
	two := func(s *githubtest.RunSpec) {
		s.Jobs = append(s.Jobs, githubtest.JobSpec{Name: "free", Environment: "dev"})
	}
	w.change = func(j *standalone.Job) { j.CheckRun = 0 }
	if v, err := w.gate(w.run(two)); err == nil || !strings.Contains(err.Error(), "2 jobs") {
		t.Errorf("%+v, %v", v, err)
	}
	w.change = func(j *standalone.Job) { j.CheckRun, j.Environment = 0, "PRODUCTION" }
	if v, err := w.gate(w.run(two)); err != nil || v.Environment != "production" {
		t.Errorf("with its environment: %+v, %v", v, err)
	}
	w.change = func(j *standalone.Job) { j.CheckRun, j.Runner = 0, "another" }
	if v, err := w.gate(); err == nil {
		t.Errorf("on another runner: %+v", v)
	}
	w.change = func(j *standalone.Job) { j.CheckRun, j.Runner = 0, "GitHub Actions 1" }
	if v, err := w.gate(); err != nil || !v.Allowed {
		t.Errorf("on its runner: %+v, %v", v, err)
	}
	w.change = func(*standalone.Job) {}
	none := func(s *githubtest.RunSpec) { s.Jobs[0].Environment = "" }
	if v, err := w.gate(w.run(none)); err == nil {
		t.Errorf("without an environment: %+v", v)
	}
}

// Whatever cannot be read holds the job.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	world := func(t *testing.T) *world {
		w := newWorld(t, plain)
		w.deployed()
		w.merged("work", source("package a\n"))
		return w
	}
	w := world(t)
	w.g.ForgetRequests()
	if v, err := w.gate(); err != nil || !v.Allowed {
		t.Fatalf("%+v, %v", v, err)
	}
	for i := range w.g.Requests() {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			w := world(t)
			run := w.run()
			n, what := 0, ""
			w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: -1, When: func(q githubtest.Request) bool {
				if n++; n == i+1 {
					what = q.Kind
				}
				// A query that GitHub did not finish is asked once more, with less in it.
				return n == i+1 || n == i+2 && q.Kind == what && strings.HasPrefix(what, "POST /graphql")
			}})
			if v, err := w.gate(run); v.Allowed {
				t.Errorf("request %d failed, and it went on: %s, %v", i, v.Line, err)
			}
		})
	}
}

func TestObserves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(plain, "version: 1\n", "version: 1\nmode: observe\n", 1))
	w.direct(source("x\n"))
	v, err := w.gate()
	if err != nil || !v.Allowed || v.Decision.Verdict != rules.VerdictWait || !strings.HasPrefix(v.Line, "the policy only observes") {
		t.Errorf("%+v, %v", v, err)
	}
	// What enforced before goes on to enforce until somebody's approved change is deployed.
	w = newWorld(t, plain)
	w.deployed()
	w.direct(map[string]string{rules.PolicyPath: strings.Replace(plain, "version: 1\n", "version: 1\nmode: observe\n", 1)})
	if v, err := w.gate(); err != nil || v.Allowed {
		t.Errorf("pushed past the merge door: %+v, %v", v, err)
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy, code string
		floor        string
		allowed      bool
	}{
		"an invalid policy":          {policy: "version: 9\n", code: "SP002"},
		"a floor that nobody sees":   {policy: plain, code: "SP001"},
		"a floor like it":            {policy: plain, floor: plain, allowed: true},
		"a floor that asks for more": {policy: plain, floor: strings.Replace(plain, "[alice, bob]", "[alice, carol]", 1), code: "SP517"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, plain)
			w.deployed()
			w.merged("work", source("package a\n"))
			if c.floor != "" {
				f := w.g.Repository(w.acme, ".github")
				f.Public()
				f.CommitTo(w.carol, "main", "Floor", map[string]string{rules.FloorPath: c.floor})
			}
			w.change = func(j *standalone.Job) { j.NoFloor = false }
			if c.policy != plain {
				w.merged("policy", map[string]string{rules.PolicyPath: c.policy})
				w.change = func(*standalone.Job) {}
			}
			v, err := w.gate()
			must(t, err)
			if v.Allowed != c.allowed || !strings.Contains(codes(v.Decision), c.code) {
				t.Errorf("%v for %s, want %v for %s", v.Allowed, codes(v.Decision), c.allowed, c.code)
			}
		})
	}
}

// Where the organisation's floor is not seen, the line says so, whatever else it names: an
// approval alone would not be enough.
func TestUnseenFloor(t *testing.T) {
	t.Parallel()
	const floor = "the job's token does not see acme/.github, where the organisation's floor would be (SP001): where there is none, say so by the gate's input floor; else the Sallyport App reads it"
	said := func(what string, v standalone.Verdict, err error, rest string) {
		t.Helper()
		want := rest + floor
		if err != nil || v.Allowed || !strings.Contains(v.Line, want) || strings.Count(v.Line, "SP001") != 1 {
			t.Errorf("%s: %q, %v, want %q in it", what, v.Line, err, want)
		}
	}
	w := newWorld(t, plain)
	unseen := func(j *standalone.Job) { j.NoFloor = false }
	w.change = unseen
	w.deployed()
	v, err := w.gate()
	said("nothing else holds it", v, err, "production: "+w.repo.Head("main")[:7]+" waits: ")
	w.direct(source("x\n"))
	v, err = w.gate()
	said("a direct push", v, err, "or of this deployment with the Sallyport App; and ")
	// What is refused for good is not made to look as if the floor were in its way.
	v, err = w.gate(w.run(func(s *githubtest.RunSpec) { s.Event = "workflow_dispatch" }))
	if err != nil || v.Decision.Verdict != rules.VerdictDeny || !strings.Contains(v.Line, "SP506") || strings.Contains(v.Line, "SP001") {
		t.Errorf("a dispatch: %+v, %v", v, err)
	}

	p := w.open("work", source("package a\n"))
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: workflow, Event: "pull_request", By: w.octocat, Branch: "work", SHA: p.Head(), Jobs: []githubtest.JobSpec{{Name: "deploy"}}})
	w.change = func(j *standalone.Job) { unseen(j); j.Event, j.Pull = "pull_request", p.Number }
	v, err = w.gate(run)
	said("a pull request", v, err, fmt.Sprintf("at https://github.com/acme/orders/pull/%d; and ", p.Number))
	w.approve(p, w.bob)
	v, err = w.gate(run)
	said("an approved pull request", v, err, fmt.Sprintf("pull request %d waits: ", p.Number))
}

func TestPullRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plain)
	p := w.open("work", source("package a\n"))
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: workflow, Event: "pull_request", By: w.octocat, Branch: "work", SHA: p.Head(), Jobs: []githubtest.JobSpec{{Name: "deploy"}}})
	w.change = func(j *standalone.Job) { j.Event, j.Pull = "pull_request", p.Number }
	v, err := w.gate(run)
	must(t, err)
	want := fmt.Sprintf("production needs an approval from alice or bob for %s, at https://github.com/acme/orders/pull/%d", p.Head()[:7], p.Number)
	if v.Allowed || v.Line != want || v.URL == "" || !v.Again {
		t.Errorf("%+v, want %q", v, want)
	}
	w.approve(p, w.bob)
	if v, err := w.gate(run); err != nil || !v.Allowed {
		t.Errorf("approved: %+v, %v", v, err)
	}
	c, policies, err := w.judge(run, p.Head()).Change(t.Context(), p.Number)
	must(t, err)
	if d := rules.DecideChange(policies, c); d.Verdict != rules.VerdictAllow || c.LastPusher.Login != "octocat" {
		t.Errorf("%q, pushed by %q", d.Verdict, c.LastPusher.Login)
	}
	// The same judge sees what changed since.
	judge := w.judge(run, p.Head())
	if v, err := judge.Gate(t.Context()); err != nil || !v.Allowed {
		t.Errorf("%+v, %v", v, err)
	}
	w.repo.Collaborator(w.bob, "read")
	w.direct(map[string]string{rules.PolicyPath: strings.Replace(plain, "alice, bob", "alice, carol", 1)})
	if v, err := judge.Gate(t.Context()); err != nil || v.Allowed || !strings.Contains(v.Line, "alice or carol") {
		t.Errorf("after the policy changed: %+v, %v", v, err)
	}
	must(t, p.Close(w.octocat))
	if v, err := w.gate(run); err == nil {
		t.Errorf("closed: %+v", v)
	}
	if _, _, err := judge.Change(t.Context(), p.Number); err == nil || !strings.Contains(err.Error(), "is closed") {
		t.Errorf("the facts of a closed one: %v", err)
	}
}

// Names that others choose do nothing to a log.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	name := "prod\n::add-mask::x\x1b[31m\u202e`$(id)`"
	w := newWorld(t, plain)
	w.direct(source("x\n"))
	v, err := w.gate(w.run(func(s *githubtest.RunSpec) { s.Jobs[0].Environment = name }))
	if err != nil || v.Allowed || strings.Contains(v.Line, "::add-mask::x\x1b") || !strings.Contains(v.Line, `\n`) {
		t.Errorf("%q, %v", v.Line, err)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	right := standalone.Job{APIURL: "https://api.github.com", Token: "ghs_x", Repository: rules.Repository{ID: 1, FullName: "acme/orders"}}
	if _, err := standalone.New(right); err != nil {
		t.Error(err)
	}
	for name, wrong := range map[string]func(*standalone.Job){
		"no token":             func(j *standalone.Job) { j.Token = "" },
		"no id":                func(j *standalone.Job) { j.Repository.ID = 0 },
		"no name":              func(j *standalone.Job) { j.Repository.FullName = "orders" },
		"a path":               func(j *standalone.Job) { j.Repository.FullName = "acme/orders/x" },
		"a branch for since":   func(j *standalone.Job) { j.Since = "main" },
		"a token in clear":     func(j *standalone.Job) { j.APIURL = "http://github.example.com" },
		"no address of an API": func(j *standalone.Job) { j.APIURL = "github" },
	} {
		j := right
		wrong(&j)
		if _, err := standalone.New(j); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	for _, text := range []string{fmt.Sprint(right.Token), fmt.Sprintf("%v %+v %#v", right, right, right), slog.AnyValue(right.Token).Resolve().String()} {
		if strings.Contains(text, "ghs_x") {
			t.Errorf("the token is shown: %s", text)
		}
	}
}
