package gate_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// deployAdversary is one way to get past the deploy door. As with [adversary], its
// set-up is built twice: with the attack, whose job we must never let go on, and
// without, whose job we must.
type deployAdversary struct {
	name   string
	policy string // plainDeploy if empty
	// unruled says that the environments have no rule: the job asks by itself.
	unruled bool
	do      func(w *world, on bool) *deployment
	// codes are the reasons that our check must show with the attack; none where we
	// show nothing.
	codes  []string
	option option
	// sees looks at what else came of the attack.
	sees func(w *world, d *deployment)
}

// plainDeploy is deployPolicy whose production asks no more than acme/sre.
var plainDeploy = strings.Replace(deployPolicy, "    also: {\"migrations/**\": [carol, rose]}\n", "", 1)

func (a deployAdversary) world(t *testing.T) *world {
	t.Helper()
	policy := a.policy
	if policy == "" {
		policy = plainDeploy
	}
	var options []option
	if a.option != nil {
		options = append(options, a.option)
	}
	if a.unruled {
		return unruled(t, policy, options...)
	}
	return deploys(t, policy, options...)
}

// through reports whether our gate let the deployment's job go on: whether our rule
// said so, or a release is on record.
func (d *deployment) through() bool {
	d.w.t.Helper()
	j := d.Job("deploy")
	if j == nil {
		return false
	}
	if answer, _ := j.Gate(d.w.app); answer.State == "approved" {
		return true
	}
	list, err := d.w.store.ReleasesOf(d.w.t.Context(), rules.RepositoryID(d.w.repo.ID), rules.RunID(d.ID))
	must(d.w.t, err)
	for _, r := range list {
		if slices.Contains(r.Jobs, rules.CheckRunID(j.ID)) && r.Attempt == d.Attempt() {
			return true
		}
	}
	return false
}

// says is what our own newest check says of the deployment, whoever else made one of
// its name.
func (d *deployment) says() (text string) {
	for _, s := range d.w.repo.Checks(d.sha) {
		if s.App == "sallyport" && s.Name == "sallyport / "+d.environment {
			text = s.Conclusion + ": " + s.Title + "\n" + s.Summary + "\n" + s.Text
		}
	}
	return text
}

// tries has somebody press Approve where there is such a button for them.
func (d *deployment) tries(who *githubtest.User) {
	d.w.t.Helper()
	d.w.settle()
	if k := d.check(); k != nil {
		_ = k.Click(who, "approve") // GitHub may refuse it: then it is the end of the attack
	}
	d.w.settle()
}

func TestDeployAdversary(t *testing.T) {
	all := deployAdversaries()
	if len(all) < 70 {
		t.Errorf("%d cases, want at least 70", len(all))
	}
	both := newAgreement(t, len(all), 110)
	names := map[string]bool{}
	for _, a := range all {
		if names[a.name] {
			t.Errorf("%q is there twice", a.name)
		}
		names[a.name] = true
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			t.Run("attack", func(t *testing.T) {
				w := a.world(t)
				d := a.do(w, true)
				w.calm(time.Minute)
				status, _ := d.Job("deploy").Status()
				if d.through() || status == "in_progress" && !a.unruled {
					t.Errorf("it got through: the job is %s\n%s", status, d.says())
				}
				for _, c := range a.codes {
					if !strings.Contains(d.says(), "`"+c+"`") {
						t.Errorf("the check does not name %s:\n%s", c, d.says())
					}
				}
				if a.sees != nil {
					a.sees(w, d)
				}
				both.onDeployment(w, a.name+" (attack)", a.policy, d)
			})
			t.Run("control", func(t *testing.T) {
				w := a.world(t)
				d := a.do(w, false)
				w.settle()
				if status, _ := d.Job("deploy").Status(); !d.through() || status == "waiting" {
					t.Errorf("without the attack it does not go on either: the job is %s\n%s", status, d.says())
				}
				both.onDeployment(w, a.name+" (control)", a.policy, d)
			})
		})
	}
}

func deployAdversaries() []deployAdversary {
	var all []deployAdversary
	all = append(all, clickers()...)
	all = append(all, counts()...)
	all = append(all, buttons()...)
	all = append(all, forgeries()...)
	all = append(all, otherWords()...)
	all = append(all, pushes()...)
	all = append(all, badMerges()...)
	all = append(all, baselines()...)
	all = append(all, refs()...)
	all = append(all, environments()...)
	all = append(all, startedBy()...)
	all = append(all, callbacks()...)
	all = append(all, againRun()...)
	all = append(all, whileHeld()...)
	all = append(all, gateHolds()...)
	return all
}

// inProduction adds a line to what a policy says of production.
func inProduction(policy, line string) string {
	return strings.Replace(policy, "    gate: human\n", "    gate: human\n    "+line+"\n", 1)
}

// deployReviewers is plainDeploy with other reviewers.
func deployReviewers(who string) string {
	return strings.Replace(plainDeploy, "reviewers: [acme/sre]", "reviewers: ["+who+"]", 1)
}

// direct pushes a commit to main past the merge door, as carol can.
func (w *world) direct(c githubtest.Commit) string {
	w.t.Helper()
	if c.Author.Name == "" {
		c.Author = w.alice.Identity()
	}
	if c.Message == "" {
		c.Message = "Work"
	}
	if c.Files == nil {
		c.Files = text(map[string]string{"src/evil.go": "package evil\n"})
	}
	sha, err := w.repo.PushCommit(w.carol, "main", c)
	must(w.t, err)
	w.settle()
	return sha
}

// clickers is who presses the button.
func clickers() []deployAdversary {
	clicked := func(name, policy string, codes []string, who func(w *world, on bool) *githubtest.User) deployAdversary {
		return deployAdversary{name: name, policy: policy, codes: codes, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			d.click(who(w, on), "approve")
			return d
		}}
	}
	// By is what bob had a hand in, by a direct push after something was released.
	by := func(name string, commit func(u *githubtest.User) githubtest.Commit) deployAdversary {
		return deployAdversary{name: name, codes: []string{"SP312", "SP516"}, do: func(w *world, on bool) *deployment {
			w.released("production")
			w.direct(commit(pick(on, w.bob, w.dave)))
			d := w.deploy("production")
			d.click(w.bob, "approve")
			return d
		}}
	}
	return []deployAdversary{
		clicked("an agent's bot presses", "", []string{"SP310", "SP520"}, func(w *world, on bool) *githubtest.User { return pick(on, w.agent, w.rose) }),
		clicked("our own bot presses", "", []string{"SP310"}, func(w *world, on bool) *githubtest.User { return pick(on, w.app.Bot(), w.rose) }),
		clicked("a writer who is not listed presses", "", []string{"SP311"}, func(w *world, on bool) *githubtest.User { return pick(on, w.dave, w.rose) }),
		clicked("an owner who is not listed presses", "", []string{"SP311"}, func(w *world, on bool) *githubtest.User { return pick(on, w.carol, w.rose) }),
		by("the author presses", func(u *githubtest.User) githubtest.Commit { return githubtest.Commit{Author: u.Identity()} }),
		by("the committer presses", func(u *githubtest.User) githubtest.Commit { return githubtest.Commit{Committer: u.Identity()} }),
		by("a co-author presses", func(u *githubtest.User) githubtest.Commit {
			return githubtest.Commit{Message: fmt.Sprintf("Work\n\nCo-authored-by: %s <%s>", u.Login(), u.Email())}
		}),
		{name: "a co-author whom nobody knows", codes: []string{"SP320", "SP520"}, do: func(w *world, on bool) *deployment {
			w.released("production")
			w.direct(githubtest.Commit{Message: "Work" + pick(on, "\n\nCo-authored-by: Nobody <nobody@example.org>", "")})
			d := w.deploy("production")
			d.click(w.bob, "approve")
			return d
		}},
		{name: "who dispatched it presses", codes: []string{"SP312"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production", func(s *githubtest.RunSpec) { s.By = pick(on, w.bob, w.dave) })
			d.click(w.bob, "approve")
			return d
		}},
		{name: "who re-ran it presses", codes: []string{"SP312"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			d.click(w.rose, "approve")
			d.end("failure")
			must(w.t, d.Rerun(pick(on, w.bob, w.dave)))
			w.settle()
			d.click(w.bob, "approve")
			return d
		}},
		clicked("a former member presses", "", []string{"SP311"}, func(w *world, on bool) *githubtest.User {
			w.repo.Collaborator(w.bob, "write")
			if on {
				w.sre.Remove(w.carol, w.bob)
			}
			return w.bob
		}),
		clicked("an invited member presses", "", []string{"SP311"}, func(w *world, on bool) *githubtest.User {
			if on {
				w.sre.Invite(w.carol, w.dave)
			} else {
				w.sre.Add(w.carol, w.dave)
			}
			return w.dave
		}),
		clicked("a member of another team of the old name presses", "", []string{"SP311"}, func(w *world, on bool) *githubtest.User {
			if !on {
				return w.bob
			}
			w.sre.Rename("old-sre")
			other := w.acme.Team("sre", w.dave)
			other.Access(w.repo, "write")
			return w.dave
		}),
		{name: "the team is made anew under its name while it is held", codes: []string{"SP311"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			if on {
				w.sre.Rename("old-sre")
				w.acme.Team("sre", w.dave).Access(w.repo, "write")
			} else {
				w.sre.Add(w.carol, w.dave)
			}
			d.click(w.dave, "approve")
			return d
		}},
		{name: "a reviewer who loses access at once", policy: deployReviewers("dave, rose"), codes: []string{"SP314"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			must(w.t, d.check().Click(w.dave, "approve"))
			if on {
				w.repo.Collaborator(w.dave, "read")
			}
			w.settle()
			return d
		}},
		clicked("another account of a reviewer's old name presses", deployReviewers("bob, rose"), []string{"SP311"}, func(w *world, on bool) *githubtest.User {
			if !on {
				return w.bob
			}
			w.bob.Rename("robert")
			other := w.g.User("bob")
			w.repo.Collaborator(other, "write")
			return other
		}),
		{name: "a reader presses", codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			d.tries(pick(on, w.eve, w.rose))
			return d
		}},
		{name: "a reviewer of other paths presses", policy: deployPolicy, codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			w.released("production")
			w.direct(githubtest.Commit{Files: text(map[string]string{"migrations/1.sql": "SELECT 1;\n"})})
			d := w.deploy("production")
			d.click(pick(on, w.bob, w.rose), "approve")
			return d
		}},
		{name: "a click where a passkey is asked", policy: inProduction(plainDeploy, "presence: passkey"), codes: []string{"SP524"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			if on {
				d.click(w.rose, "approve")
			} else {
				d.word(d.name(), w.rose, rules.Yes)
			}
			return d
		}},
		{name: "somebody objects", codes: []string{"SP526"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			k := d.check()
			must(w.t, k.Click(w.rose, "approve"))
			w.clock.Advance(time.Second)
			must(w.t, k.Click(w.dave, pick(on, "reject", "approve")))
			w.settle()
			return d
		}},
		{name: "another reviewer rejects at the same time", codes: []string{"SP525"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			k := d.check()
			must(w.t, k.Click(w.bob, pick(on, "reject", "approve")))
			must(w.t, k.Click(w.rose, "approve"))
			w.settle()
			return d
		}},
		{name: "approved after it was rejected", codes: []string{"SP525"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			if on {
				d.click(w.bob, "reject")
			}
			d.tries(w.bob)
			return d
		}},
	}
}

// name is the name of what is held of the deployment, as an approval binds to it.
func (d *deployment) name() string {
	d.w.t.Helper()
	k := d.check()
	if k == nil {
		d.w.t.Fatalf("there is no check run for %s", d.environment)
	}
	return k.See().ExternalID
}

// word has somebody approve on the dashboard what has a name.
func (d *deployment) word(name string, who *githubtest.User, present rules.Tri) {
	d.w.t.Helper()
	must(d.w.t, d.w.gate.Word(d.w.t.Context(), rules.RepositoryID(d.w.repo.ID), rules.Word{
		Hold: name, Present: present, Actor: rules.Actor{ID: rules.AccountID(who.ID), Login: rules.Login(who.Login()), Type: rules.ActorUser},
	}))
	d.w.settle()
}

// counts is where two have to approve.
func counts() []deployAdversary {
	two := inProduction(plainDeploy, "count: 2")
	again := func(name string, codes []string, how func(w *world, d *deployment, on bool)) deployAdversary {
		return deployAdversary{name: name, policy: two, codes: codes, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			d.click(w.bob, "approve")
			if d.through() {
				w.t.Error("one was enough")
			}
			how(w, d, on)
			return d
		}}
	}
	return []deployAdversary{
		again("one reviewer presses twice", []string{"SP520"}, func(w *world, d *deployment, on bool) { d.click(pick(on, w.bob, w.rose), "approve") }),
		again("one reviewer presses under two names", []string{"SP520"}, func(w *world, d *deployment, on bool) {
			if on {
				w.bob.Rename("robert")
			}
			d.click(pick(on, w.bob, w.rose), "approve")
		}),
		again("one reviewer presses and uses the dashboard", []string{"SP520"}, func(w *world, d *deployment, on bool) {
			d.word(d.name(), pick(on, w.bob, w.rose), rules.Unknown)
		}),
		again("the first leaves the team before the second presses", []string{"SP311", "SP520"}, func(w *world, d *deployment, on bool) {
			if on {
				w.sre.Remove(w.carol, w.bob)
			}
			d.click(w.rose, "approve")
		}),
		again("the first one's click is sent again", []string{"SP520"}, func(w *world, d *deployment, on bool) {
			if on {
				w.forge(w.sent("check_run", "requested_action"), "replayed-1")
				must(w.t, w.app.Redeliver(w.sent("check_run", "requested_action").ID))
				w.settle()
				return
			}
			d.click(w.rose, "approve")
		}),
		{name: "the first approval is too old when the second comes", policy: inProduction(two, "max_age: 1m"), codes: []string{"SP315"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			d.click(w.bob, "approve")
			w.clock.Advance(pick(on, 70*time.Second, 20*time.Second))
			d.click(w.rose, "approve")
			return d
		}},
		again("the second is not listed", []string{"SP311", "SP520"}, func(w *world, d *deployment, on bool) {
			d.click(pick(on, w.dave, w.rose), "approve")
		}),
	}
}

// late holds back what a click sends until something else has happened.
func (w *world) late(click, meanwhile func()) {
	w.t.Helper()
	w.app.Fate(func(e githubtest.Event) githubtest.Fate {
		return githubtest.Fate{Hold: e.Event == "check_run" && e.Action == "requested_action"}
	})
	click()
	w.settle()
	w.app.Fate(nil)
	meanwhile()
	w.settle()
	w.app.ReleaseHeld()
	w.settle()
}

// api asks GitHub with a token, as whoever has it can.
func (w *world) api(token, method, path string, body any) []byte {
	w.t.Helper()
	text, err := json.Marshal(body)
	must(w.t, err)
	q, err := http.NewRequestWithContext(w.t.Context(), method, w.g.URL()+path, bytes.NewReader(text))
	must(w.t, err)
	for name, value := range map[string]string{
		"Authorization": "Bearer " + token, "Accept": "application/vnd.github+json", "Content-Type": "application/json", "User-Agent": "attacker", "X-GitHub-Api-Version": "2022-11-28",
	} {
		q.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(q)
	must(w.t, err)
	defer answer.Body.Close()
	var out bytes.Buffer
	_, err = out.ReadFrom(http.MaxBytesReader(nil, answer.Body, 1<<20))
	must(w.t, err)
	if answer.StatusCode/100 != 2 {
		w.t.Fatalf("%s %s is answered with %d: %s", method, path, answer.StatusCode, out.String())
	}
	return out.Bytes()
}

// button are the buttons of a check run as its request gives them.
func button(identifier string) []map[string]string {
	return []map[string]string{{"label": "Approve", "description": "Let it run", "identifier": identifier}}
}

// twoJobs gives a run one more job before the one that is looked at.
func twoJobs(environment string) func(*githubtest.RunSpec) {
	return func(s *githubtest.RunSpec) {
		s.Jobs = append([]githubtest.JobSpec{{Name: "first", Environment: environment}}, s.Jobs...)
	}
}

// buttons is which button is pressed.
func buttons() []deployAdversary {
	spelt := func(name, identifier string) deployAdversary {
		return deployAdversary{name: name, codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			if !on {
				d.click(w.rose, "approve")
				return d
			}
			// A leaked token of the App can change what its check run shows.
			w.api(w.inst.Token(), http.MethodPatch, fmt.Sprintf("/repos/acme/orders/check-runs/%d", d.check().ID), map[string]any{"actions": button(identifier)})
			d.click(w.rose, identifier)
			return d
		}}
	}
	return []deployAdversary{
		spelt("a button of another name", "approve "),
		spelt("a button in another case", "Approve"),
		spelt("a button of a longer name", "approve-all"),
		{name: "a button of another App's check of the same name", codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			if !on {
				d.click(w.rose, "approve")
				return d
			}
			fake := w.g.App(githubtest.AppConfig{Slug: "fake", Permissions: map[string]string{"checks": "write"}, Events: []string{"check_run"}})
			w.api(fake.Install(w.acme, w.repo).Token(), http.MethodPost, "/repos/acme/orders/check-runs", map[string]any{
				"name": "sallyport / production", "head_sha": d.sha, "external_id": d.name(), "status": "completed", "conclusion": "action_required",
				"output": map[string]string{"title": "Held", "summary": "Held"}, "actions": button("approve"),
			})
			w.settle()
			d.click(w.rose, "approve")
			return d
		}},
		{name: "the button of another commit's deployment", codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			old := w.deploy("production")
			w.direct(githubtest.Commit{})
			d := w.deploy("production")
			pick(on, old, d).click(w.rose, "approve")
			return d
		}},
		{name: "the button of another run of the same commit", codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			old := w.deploy("production")
			k := old.check()
			d := w.deploy("production")
			must(w.t, pick(on, k, d.check()).Click(w.rose, "approve"))
			return d
		}},
		{name: "the button of an earlier attempt", codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			again := func() {
				d.Cancel()
				w.settle()
				must(w.t, d.Rerun(w.dave))
			}
			if on {
				k := d.check()
				w.late(func() { must(w.t, k.Click(w.rose, "approve")) }, again)
				return d
			}
			again()
			w.settle()
			d.click(w.rose, "approve")
			return d
		}},
		{name: "the button of another environment", codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			_, err := w.repo.Environment("production-eu").EnableRule(w.app)
			must(w.t, err)
			d := w.deploy("production", twoJobs("production-eu"))
			must(w.t, w.repo.CheckRun(d.sha, pick(on, "sallyport / production-eu", "sallyport / production")).Click(w.rose, "approve"))
			w.settle()
			return d
		}},
		{name: "the button of an earlier turn", codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production", func(s *githubtest.RunSpec) { s.Jobs[0].Name = "first" })
			k := d.check()
			next := func() {
				d.click(w.bob, "approve")
				d.Next(githubtest.JobSpec{Name: "deploy", Environment: "production"})
				w.settle()
			}
			if on {
				w.app.Fate(func(e githubtest.Event) githubtest.Fate {
					// Rose's click alone waits.
					return githubtest.Fate{Hold: e.Event == "check_run" && e.Action == "requested_action" && bytes.Contains(e.Body, []byte(`"login":"rose"`))}
				})
				must(w.t, k.Click(w.rose, "approve"))
				w.settle()
				next()
				w.app.Fate(nil)
				w.app.ReleaseHeld()
				w.settle()
				return d
			}
			next()
			d.click(w.rose, "approve")
			return d
		}},
		{name: "one more job joins what was approved", codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production", func(s *githubtest.RunSpec) { s.Jobs[0].Name = "first" })
			k := d.check()
			join := func() {
				d.Next(githubtest.JobSpec{Name: "deploy", Environment: "production"})
				w.settle()
			}
			if on {
				w.late(func() { must(w.t, k.Click(w.rose, "approve")) }, join)
				return d
			}
			join()
			d.click(w.rose, "approve")
			return d
		}},
		{name: "a click on what it brought before the last release moved", codes: []string{"SP513", "SP520"}, do: func(w *world, on bool) *deployment {
			d, overtake := w.overtaken()
			if on {
				k := d.check()
				w.late(func() { must(w.t, k.Click(w.rose, "approve")) }, overtake)
				return d
			}
			overtake()
			d.click(w.rose, "approve")
			return d
		}},
		{name: "a word on a page that is out of date", codes: []string{"SP513", "SP520"}, do: func(w *world, on bool) *deployment {
			d, overtake := w.overtaken()
			old := d.name()
			overtake()
			d.word(pick(on, old, d.name()), w.rose, rules.Unknown)
			return d
		}},
		{name: "a word on another run", codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			old := w.deploy("production")
			name := old.name()
			d := w.deploy("production")
			d.word(pick(on, name, d.name()), w.rose, rules.Unknown)
			return d
		}},
		{name: "a word of who is not listed", codes: []string{"SP311"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			d.word(d.name(), pick(on, w.dave, w.rose), rules.Unknown)
			return d
		}},
	}
}

// overtaken is a held deployment, and what makes a rollback of it.
func (w *world) overtaken() (d *deployment, overtake func()) {
	w.t.Helper()
	w.released("production")
	w.direct(githubtest.Commit{Files: text(map[string]string{"src/a.go": "package a\n"})})
	d = w.deploy("production")
	return d, func() {
		w.t.Helper()
		w.direct(githubtest.Commit{Files: text(map[string]string{"src/b.go": "package b\n"})})
		fresh := w.deploy("production")
		fresh.click(w.bob, "approve")
		fresh.end("success")
	}
}
