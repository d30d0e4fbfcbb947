package gate_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// story is one script's world. It begins with the first command that needs it, so that
// what the policy says can be told before.
type story struct {
	*world

	t       testing.TB
	policy  string
	unruled bool // no environment has our rule
	stands  bool // the clock goes on only where a script says so
	told    told
	rules   map[string]int64 // ids of our rule, by environment
	pulls   map[string]*githubtest.Pull
	runs    map[string]*deployment
	marks   map[string]string // commits that were given a name
}

// storyPolicy is what the scripts' policy says unless they say otherwise.
const storyPolicy = `version: 1
reviewers: [acme/sre]
environments:
  dev:
    gate: auto
    merge: true
    paths: [docs/**, "**/*_test.go"]
    after: [test]
  staging: {gate: auto, paths: [deploy/staging/**], deployments: [staging, "staging-*"]}
  production:
    gate: human
agents: {also: [{id: acme-writer, logins: ["writer[bot]"]}]}
alerts: [ops]
credentials:
  orders-migrator: {environment: production, target: orders-db, capability: write, workflow: deploy.yml}
`

// TestScripts runs the scripts in testdata/script. Each tells one way that a deployment
// can take, in the words of [commands].
func TestScripts(t *testing.T) {
	type key struct{}
	cmds := map[string]func(*testscript.TestScript, bool, []string){}
	for name, c := range commands() {
		cmds[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			s, ok := ts.Value(key{}).(*story)
			if !ok {
				ts.Fatalf("there is no story")
			}
			if neg && !c.neg {
				ts.Fatalf("%s cannot be negated", name)
			}
			if n := len(strings.Fields(c.usage)); c.more && len(args) < n || !c.more && len(args) != n {
				ts.Fatalf("usage: %s %s", name, c.usage)
			}
			if !c.before {
				s.begin()
			}
			err := c.do(s, ts, args)
			switch {
			case neg && err == nil:
				ts.Fatalf("%s: it is so, and should not be", name)
			case !neg && err != nil:
				ts.Fatalf("%s: %v", name, err)
			}
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true, Cmds: cmds,
		Setup: func(e *testscript.Env) error {
			tb, ok := e.T().(testing.TB)
			if !ok {
				return errors.New("not a test")
			}
			s := &story{
				t: tb, policy: storyPolicy, rules: map[string]int64{}, pulls: map[string]*githubtest.Pull{}, runs: map[string]*deployment{},
				marks: map[string]string{},
			}
			e.Values[key{}] = s
			e.Defer(func() {
				if s.world != nil && !s.t.Failed() {
					s.verify()
				}
			})
			return nil
		},
	})
}

// begin makes the world, if there is none yet.
func (s *story) begin() {
	if s.world != nil {
		return
	}
	s.world = newWorld(s.t, s.policy, telling(&s.told))
	for _, name := range []string{"dev", "staging", "production"} {
		e := s.repo.Environment(name)
		if s.unruled {
			continue
		}
		id, err := e.EnableRule(s.app)
		must(s.t, err)
		s.rules[name] = id
	}
	s.settle()
}

// command is a word of the scripts.
type command struct {
	// usage names its arguments; more says that there may be more than these.
	usage string
	more  bool
	// neg says that it asks something, and so can be negated.
	neg bool
	// before says that it does not begin the world.
	before bool
	do     func(s *story, ts *testscript.TestScript, args []string) error
}

// does is a command that does something and then lets everybody look.
func does(usage string, more bool, do func(s *story, args []string) error) command {
	return command{usage: usage, more: more, do: func(s *story, _ *testscript.TestScript, args []string) error {
		if err := do(s, args); err != nil {
			return err
		}
		if s.stands {
			return s.now()
		}
		s.settle()
		return nil
	}}
}

// now does what is due, and lets no time pass.
func (s *story) now() error {
	for {
		s.arrive()
		if did, err := s.step(s.next, 0); !did || err != nil {
			return err
		}
	}
}

// may is does for what GitHub may refuse.
func may(usage string, do func(s *story, args []string) error) command {
	c := does(usage, false, do)
	c.neg = true
	return c
}

// asks is a command that asks what is.
func asks(usage string, more bool, do func(s *story, args []string) error) command {
	return command{usage: usage, more: more, neg: true, do: func(s *story, _ *testscript.TestScript, args []string) error { return do(s, args) }}
}

func commands() map[string]command {
	all := map[string]command{
		// policy takes a file of the script for the policy, or puts a line into the
		// environment production ("top": beside the environments) of the usual one.
		"policy": {usage: "WHERE", more: true, before: true, do: func(s *story, ts *testscript.TestScript, args []string) error {
			switch {
			case s.world != nil:
				return errors.New("the world has begun already")
			case len(args) == 1:
				s.policy = ts.ReadFile(args[0])
			case args[0] == "production":
				s.policy = strings.Replace(s.policy, "    gate: human\n", "    gate: human\n    "+args[1]+"\n", 1)
			case args[0] == "top":
				s.policy += args[1] + "\n"
			default:
				return fmt.Errorf("there is no place %q", args[0])
			}
			return nil
		}},
		// unruled: no environment has our rule, as where the plan has none.
		"unruled": {before: true, do: func(s *story, _ *testscript.TestScript, _ []string) error {
			s.unruled = true
			return nil
		}},
	}
	maps.Copy(all, people())
	maps.Copy(all, machines())
	maps.Copy(all, questions())
	return all
}

// people are what people and agents do.
func people() map[string]command {
	return map[string]command{
		"pull": does("WHO FILE...", true, func(s *story, args []string) error {
			who, err := s.who(args[0])
			if err != nil {
				return err
			}
			n := strconv.Itoa(len(s.pulls) + 1)
			s.pulls[n] = s.open(who, "work-"+n, s.files(args[1:]))
			if got := s.pulls[n].Number; strconv.Itoa(got) != n {
				return fmt.Errorf("it has the number %d, want %s", got, n)
			}
			return nil
		}),
		"approve": does("WHO PULL", false, func(s *story, args []string) error {
			return s.onPull(args[1], args[0], func(p *githubtest.Pull, who *githubtest.User) error {
				_, err := p.Approve(who, p.Head())
				return err
			})
		}),
		"tests": does("PULL CONCLUSION", false, func(s *story, args []string) error {
			return s.onPull(args[0], "", func(p *githubtest.Pull, _ *githubtest.User) error {
				s.world.tests(p.Head(), args[1])
				return nil
			})
		}),
		"merge": does("WHO PULL METHOD", false, func(s *story, args []string) error {
			return s.onPull(args[1], args[0], func(p *githubtest.Pull, who *githubtest.User) error { return p.Merge(who, args[2], p.Head()) })
		}),
		"merge-admin": does("WHO PULL METHOD", false, func(s *story, args []string) error {
			return s.onPull(args[1], args[0], func(p *githubtest.Pull, who *githubtest.User) error { return p.MergeAsAdmin(who, args[2]) })
		}),
		"push": does("WHO BRANCH FILE...", true, func(s *story, args []string) error {
			who, err := s.who(args[0])
			if err == nil {
				s.world.push(who, args[1], s.files(args[2:]))
			}
			return err
		}),
		// commits pushes many commits, one by one, and lets everybody look once.
		"commits": does("WHO BRANCH COUNT", false, func(s *story, args []string) error {
			who, err := s.who(args[0])
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(args[2])
			if err != nil {
				return err
			}
			sha := s.repo.Head(args[1])
			for i := range n {
				sha = s.repo.Commit(githubtest.Commit{Message: fmt.Sprintf("Number %d", i+1), Author: who.Identity(), Parents: []string{sha}, Files: text(s.files([]string{fmt.Sprintf("src/%d.go", i)}))})
			}
			return s.repo.Push(who, args[1], sha)
		}),
		// mark names a branch's commit; reset moves a branch back to one, whatever is lost.
		"mark": does("NAME BRANCH", false, func(s *story, args []string) error {
			s.marks[args[0]] = s.repo.Head(args[1])
			return nil
		}),
		"reset": does("WHO BRANCH MARK", false, func(s *story, args []string) error {
			who, err := s.who(args[0])
			if err != nil {
				return err
			}
			return s.repo.Push(who, args[1], s.marks[args[2]])
		}),
		"tag": does("WHO NAME BRANCH", false, func(s *story, args []string) error {
			who, err := s.who(args[0])
			if err != nil {
				return err
			}
			return s.repo.Tag(who, args[1], s.repo.Head(args[2]))
		}),
		"click": may("WHO RUN BUTTON", func(s *story, args []string) error {
			return s.onRun(args[1], args[0], func(d *deployment, who *githubtest.User) error {
				k := d.check()
				if k == nil {
					return errors.New("there is no check run")
				}
				return k.Click(who, args[2])
			})
		}),
		// says gives somebody's word on the dashboard.
		"says": does("WHO RUN approve|reject", false, func(s *story, args []string) error {
			return s.onRun(args[1], args[0], func(d *deployment, who *githubtest.User) error {
				list, err := s.gate.Holds(s.t.Context(), rules.RepositoryID(s.repo.ID), rules.RunID(d.ID))
				if err != nil {
					return err
				}
				for name := range list {
					w := rules.Word{Hold: name, Rejects: args[2] == "reject", Actor: rules.Actor{ID: rules.AccountID(who.ID), Login: rules.Login(who.Login()), Type: rules.ActorUser}}
					if err := s.gate.Word(s.t.Context(), rules.RepositoryID(s.repo.ID), w); err != nil {
						return err
					}
				}
				return nil
			})
		}),
		// review is GitHub's own deployment review.
		"review": does("WHO RUN STATE", false, func(s *story, args []string) error {
			return s.onRun(args[1], args[0], func(d *deployment, who *githubtest.User) error {
				return d.Review(who, d.environment, args[2], "")
			})
		}),
		"start-waiting": does("WHO RUN", false, func(s *story, args []string) error {
			return s.onRun(args[1], args[0], func(d *deployment, who *githubtest.User) error { return d.StartWaiting(who) })
		}),
		// rerun runs all jobs again, or those named.
		"rerun": does("WHO RUN", true, func(s *story, args []string) error {
			return s.onRun(args[1], args[0], func(d *deployment, who *githubtest.User) error {
				var jobs []*githubtest.Job
				for _, name := range args[2:] {
					jobs = append(jobs, d.Job(name))
				}
				return d.Rerun(who, jobs...)
			})
		}),
		"rerequest": does("WHO RUN", false, func(s *story, args []string) error {
			return s.onRun(args[1], args[0], func(d *deployment, who *githubtest.User) error { return d.check().Rerequest(who) })
		}),
		"write": does("WHO LEVEL", false, func(s *story, args []string) error {
			who, err := s.who(args[0])
			if err == nil {
				s.repo.Collaborator(who, args[1])
			}
			return err
		}),
		"leave": does("WHO TEAM", false, func(s *story, args []string) error {
			who, err := s.who(args[0])
			if err == nil {
				s.sre.Remove(s.carol, who)
			}
			return err
		}),
	}
}

// machines are what GitHub, its jobs and time do, and who sets them up.
func machines() map[string]command {
	environment := func(do func(s *story, e *githubtest.Environment, args []string) error) func(*story, []string) error {
		return func(s *story, args []string) error { return do(s, s.repo.Environment(args[0]), args) }
	}
	return map[string]command{
		// deploy starts a run: deploy RUN ENVIRONMENT by WHO, and then any of
		// "on BRANCH", "tag TAG", "at MARK" (a commit of the branch that is not its head), "event EVENT", "input NAME=VALUE", "jobs NAME,…" (NAME:ENVIRONMENT
		// for another, NAME:queued for one that begins later), "without deployment".
		"deploy": does("RUN ENVIRONMENT by WHO", true, (*story).deploys),
		"begin": does("RUN JOB", false, func(s *story, args []string) error {
			return s.onRun(args[0], "", func(d *deployment, _ *githubtest.User) error { return d.Job(args[1]).Start() })
		}),
		"end": does("RUN[/JOB] CONCLUSION", false, func(s *story, args []string) error {
			j, _, err := s.job(args[0])
			if err != nil {
				return err
			}
			return j.Complete(args[1])
		}),
		"cancel": does("RUN", false, func(s *story, args []string) error {
			return s.onRun(args[0], "", func(d *deployment, _ *githubtest.User) error {
				d.Cancel()
				return nil
			})
		}),
		"disable-rule": does("ENVIRONMENT", false, environment(func(s *story, e *githubtest.Environment, args []string) error { return e.DisableRule(s.rules[args[0]]) })),
		"delete-environment": does("ENVIRONMENT", false, environment(func(_ *story, e *githubtest.Environment, _ []string) error {
			e.Delete()
			return nil
		})),
		"environment": does("ENVIRONMENT", false, environment(func(*story, *githubtest.Environment, []string) error { return nil })),
		"not-yet": does("ENVIRONMENT COUNT", false, environment(func(_ *story, e *githubtest.Environment, args []string) error {
			n, err := strconv.Atoi(args[1])
			e.NotYet(n)
			return err
		})),
		"reviewers": does("ENVIRONMENT WHO...", true, environment(func(s *story, e *githubtest.Environment, args []string) error {
			var list []*githubtest.User
			for _, a := range args[1:] {
				who, err := s.who(a)
				if err != nil {
					return err
				}
				list = append(list, who)
			}
			e.Reviewers(true, list, nil)
			return nil
		})),
		"permit": does("PERMISSION LEVEL", false, func(s *story, args []string) error {
			more := permissions()
			more[args[0]] = args[1]
			s.inst.Permit(s.carol, more)
			return nil
		}),
		"suspend": does("", false, func(s *story, _ []string) error {
			s.inst.Suspend(s.carol)
			return nil
		}),
		"unsuspend": does("", false, func(s *story, _ []string) error {
			s.inst.Unsuspend(s.carol)
			return nil
		}),
		"uninstall": does("", false, func(s *story, _ []string) error {
			s.inst.Uninstall(s.carol)
			return nil
		}),
		// events says whether webhooks are lost or come.
		"events": does("lost|come|doubled", false, func(s *story, args []string) error {
			fates := map[string]func(githubtest.Event) githubtest.Fate{
				"lost":    func(githubtest.Event) githubtest.Fate { return githubtest.Fate{Lose: true} },
				"doubled": func(githubtest.Event) githubtest.Fate { return githubtest.Fate{Copies: 1} },
				"come":    nil,
			}
			fate, ok := fates[args[0]]
			if !ok {
				return fmt.Errorf("events are never %q", args[0])
			}
			s.app.Fate(fate)
			return nil
		}),
		// look has the repository looked at, as the sweep does.
		"look": does("", false, func(s *story, _ []string) error {
			key := rules.WorkKey{Kind: rules.WorkRepository, Repository: rules.RepositoryID(s.repo.ID)}
			return s.store.Mark(s.t.Context(), s.clock.Now(), rules.Mark{Key: key, Installation: rules.InstallationID(s.inst.ID), FullName: "acme/orders"})
		}),
		"sweep": does("", false, func(s *story, _ []string) error { return s.gate.Sweep(s.t.Context()) }),
		// clock says whether time goes on by itself to where something is due.
		"clock": does("stands|goes", false, func(s *story, args []string) error {
			s.stands = args[0] == "stands"
			return nil
		}),
		"advance": does("DURATION", false, func(s *story, args []string) error {
			d, err := time.ParseDuration(args[0])
			s.clock.Advance(d)
			return err
		}),
	}
}

// questions are what can be asked.
func questions() map[string]command {
	contains := func(what, text, part string) error {
		if !strings.Contains(text, part) {
			return fmt.Errorf("%s does not say %q:\n%s", what, part, text)
		}
		return nil
	}
	return map[string]command{
		// job asks for a job's status, and if it is given for its conclusion.
		"job": asks("RUN[/JOB] STATUS", true, func(s *story, args []string) error {
			j, d, err := s.job(args[0])
			if err != nil {
				return err
			}
			status, conclusion := j.Status()
			if status != args[1] || len(args) > 2 && conclusion != args[2] {
				return fmt.Errorf("it is %s %s\n%s", status, conclusion, d.text())
			}
			return nil
		}),
		// answer asks for what our rule said: approved, rejected or none.
		"answer": asks("RUN[/JOB] ANSWER", false, func(s *story, args []string) error {
			j, d, err := s.job(args[0])
			if err != nil {
				return err
			}
			if a, ok := j.Gate(s.app); !ok || a.State != strings.TrimPrefix(args[1], "none") {
				return fmt.Errorf("our rule was asked: %v, and said %q\n%s", ok, a.State, d.text())
			}
			return nil
		}),
		// check asks for the conclusion and the codes of our check run.
		"check": asks("RUN CONCLUSION", true, func(s *story, args []string) error {
			return s.onRun(args[0], "", func(d *deployment, _ *githubtest.User) error {
				text := d.text()
				if !strings.HasPrefix(text, strings.TrimPrefix(args[1], "none")) || args[1] == "none" && text != "" {
					return fmt.Errorf("it is not %s:\n%s", args[1], text)
				}
				for _, c := range args[2:] {
					if err := contains("the check", text, "`"+c+"`"); err != nil {
						return err
					}
				}
				return nil
			})
		}),
		"code": asks("RUN CODE", false, func(s *story, args []string) error {
			return s.onRun(args[0], "", func(d *deployment, _ *githubtest.User) error { return contains("the check", d.text(), "`"+args[1]+"`") })
		}),
		"title": asks("RUN TEXT", false, func(s *story, args []string) error {
			return s.onRun(args[0], "", func(d *deployment, _ *githubtest.User) error {
				title, _, _ := strings.Cut(d.text(), "\n")
				return contains("the title", title, args[1])
			})
		}),
		"shows": asks("RUN TEXT", false, func(s *story, args []string) error {
			return s.onRun(args[0], "", func(d *deployment, _ *githubtest.User) error { return contains("the check", d.text(), args[1]) })
		}),
		"reports": asks("RUN[/JOB] TEXT", false, func(s *story, args []string) error {
			j, _, err := s.job(args[0])
			if err != nil {
				return err
			}
			a, _ := j.Gate(s.app)
			return contains("the run's own page", strings.Join(a.Reports, "\n"), args[1])
		}),
		// hold is the action's gate: it asks as the job does.
		"hold": asks("RUN[/JOB] STATE", false, func(s *story, args []string) error {
			j, d, err := s.job(args[0])
			if err != nil {
				return err
			}
			got, err := s.hold(d, j)
			if err == nil && got != args[1] {
				err = fmt.Errorf("the gate says %s\n%s", got, d.text())
			}
			return err
		}),
		"attempt": asks("RUN NUMBER", false, func(s *story, args []string) error {
			return s.onRun(args[0], "", func(d *deployment, _ *githubtest.User) error {
				if n := d.Attempt(); strconv.Itoa(n) != args[1] {
					return fmt.Errorf("it is %d", n)
				}
				return nil
			})
		}),
		// releases counts a run's releases on record, and "KIND OUTCOME" of each: by a human, by
		// itself, or observed.
		"releases": asks("RUN COUNT", true, func(s *story, args []string) error {
			return s.onRun(args[0], "", func(d *deployment, _ *githubtest.User) error {
				list, err := s.store.ReleasesOf(s.t.Context(), rules.RepositoryID(s.repo.ID), rules.RunID(d.ID))
				if err != nil {
					return err
				}
				got := []string{strconv.Itoa(len(list))}
				for _, r := range list {
					got = append(got, pick(r.Observed, "observed", pick(r.Human, "human", "itself")), pick(r.Outcome == "", "none", r.Outcome))
				}
				if n := min(len(args)-1, len(got)); !slices.Equal(got[:n], args[1:]) {
					return fmt.Errorf("they are %v", got)
				}
				return nil
			})
		}),
		"merged": asks("PULL", false, func(s *story, args []string) error {
			return s.onPull(args[0], "", func(p *githubtest.Pull, _ *githubtest.User) error {
				if !p.See().Merged {
					return errors.New(s.dump(p))
				}
				return nil
			})
		}),
		"comment": asks("PULL TEXT", false, func(s *story, args []string) error {
			return s.onPull(args[0], "", func(p *githubtest.Pull, _ *githubtest.User) error {
				return contains("our comment", strings.Join(s.comments(p, "Deployment to"), "\n"), args[1])
			})
		}),
		// comments counts our comments about deployments that say something, on all pull
		// requests.
		"comments": asks("TEXT COUNT", false, func(s *story, args []string) error {
			n := 0
			for _, p := range s.pulls {
				n += len(s.comments(p, args[0]))
			}
			if strconv.Itoa(n) != args[1] {
				return fmt.Errorf("there are %d", n)
			}
			return nil
		}),
		// told asks how often people were told a code, or "waits".
		"told": asks("CODE COUNT", false, func(s *story, args []string) error {
			if err := s.gate.Tell(s.t.Context()); err != nil {
				return err
			}
			n := 0
			for _, c := range s.told.codes() {
				if c == args[0] {
					n++
				}
			}
			if strconv.Itoa(n) != args[1] {
				return fmt.Errorf("%d times: %v", n, s.told.codes())
			}
			return nil
		}),
	}
}

func (s *story) who(name string) (*githubtest.User, error) {
	u := map[string]*githubtest.User{"alice": s.alice, "bob": s.bob, "rose": s.rose, "carol": s.carol, "dave": s.dave, "eve": s.eve, "agent": s.agent}[name]
	if u == nil {
		return nil, fmt.Errorf("there is no %q", name)
	}
	return u, nil
}

// files are files with texts of their own, or "PATH=TEXT".
func (s *story) files(list []string) map[string]string {
	out := map[string]string{}
	for _, f := range list {
		path, body, ok := strings.Cut(f, "=")
		if !ok {
			body = "of " + path
		}
		out[path] = body + "\n"
	}
	return out
}

func (s *story) onPull(number, name string, do func(*githubtest.Pull, *githubtest.User) error) error {
	p := s.pulls[number]
	if p == nil {
		return fmt.Errorf("there is no pull request %q", number)
	}
	if name == "" {
		return do(p, nil)
	}
	who, err := s.who(name)
	if err != nil {
		return err
	}
	return do(p, who)
}

func (s *story) onRun(run, name string, do func(*deployment, *githubtest.User) error) error {
	d := s.runs[run]
	if d == nil {
		return fmt.Errorf("there is no run %q", run)
	}
	if name == "" {
		return do(d, nil)
	}
	who, err := s.who(name)
	if err != nil {
		return err
	}
	return do(d, who)
}

// job finds RUN or RUN/JOB; the job is "deploy" where none is named.
func (s *story) job(name string) (*githubtest.Job, *deployment, error) {
	run, job, ok := strings.Cut(name, "/")
	if !ok {
		job = "deploy"
	}
	d := s.runs[run]
	if d == nil || d.Job(job) == nil {
		return nil, nil, fmt.Errorf("there is no job %q", name)
	}
	return d.Job(job), d, nil
}

// deploys starts a run.
func (s *story) deploys(args []string) error {
	who, err := s.who(args[3])
	if err != nil {
		return err
	}
	spec := githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", By: who, Branch: "main", Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: args[1]}}}
	without, sha := false, ""
	rest := args[4:]
	if len(rest)%2 != 0 {
		return fmt.Errorf("%q has no value", rest[len(rest)-1])
	}
	for pair := range slices.Chunk(rest, 2) {
		switch value := pair[1]; pair[0] {
		case "on":
			spec.Branch = value
		case "tag":
			spec.Branch, spec.Tag = value, true
		case "at":
			sha = s.marks[value]
		case "event":
			spec.Event = value
		case "input":
			if spec.Inputs == nil {
				spec.Inputs = map[string]any{}
			}
			k, v, _ := strings.Cut(value, "=")
			spec.Inputs[k] = v
		case "jobs":
			spec.Jobs = nil
			for _, j := range strings.Split(value, ",") {
				name, environment, ok := strings.Cut(j, ":")
				job := githubtest.JobSpec{Name: name, Environment: args[1]}
				switch {
				case environment == "queued":
					job.Queued = true
				case ok:
					job.Environment = environment
				}
				spec.Jobs = append(spec.Jobs, job)
			}
		case "without":
			without = true
		default:
			return fmt.Errorf("%q is not known", pair[0])
		}
	}
	for i := range spec.Jobs {
		spec.Jobs[i].NoDeployment = without
	}
	switch {
	case spec.Tag:
		sha = s.marks[spec.Branch]
	case sha == "":
		sha = s.repo.Head(spec.Branch)
	}
	if sha == "" {
		return fmt.Errorf("nothing is known of %q: a tag's commit has to be marked with its name", spec.Branch)
	}
	spec.SHA = sha
	s.runs[args[0]] = &deployment{Run: s.repo.StartRun(spec), w: s.world, sha: sha, environment: args[1]}
	return nil
}

// hold asks the gate as a job does, and once more when everything was looked at.
func (s *story) hold(d *deployment, j *githubtest.Job) (string, error) {
	token := d.token(func(t *rules.JobToken) { t.Claims.CheckRunID = rules.CheckRunID(j.ID) })
	h, err := s.gate.Hold(s.t.Context(), token)
	if err != nil {
		return "", err
	}
	s.settle()
	h, err = s.gate.HoldState(s.t.Context(), h.ID, token)
	return h.State, err
}

// comments are our comments about deployments on a pull request that say something.
func (s *story) comments(p *githubtest.Pull, part string) (out []string) {
	for _, c := range p.See().Comments {
		if c.User == "sallyport[bot]" && strings.HasPrefix(c.Body, "<!-- sallyport deployment ") && strings.Contains(c.Body, part) {
			out = append(out, c.Body)
		}
	}
	return out
}
