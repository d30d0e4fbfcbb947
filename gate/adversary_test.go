package gate_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// adversary is one way to get past the merge door. Its set-up is built twice: with the
// attack, which must be stopped for the named reasons, and without, which must pass,
// so that no attack is stopped for another reason.
type adversary struct {
	name   string
	policy string // policyText if empty, none if "-"
	do     func(w *world, on bool) *githubtest.Pull
	codes  []string
	option option
	// sees looks at what else is shown once the attack has failed.
	sees func(w *world, p *githubtest.Pull)
}

func (a adversary) world(t *testing.T) *world {
	t.Helper()
	policy := a.policy
	switch policy {
	case "":
		policy = policyText
	case "-":
		policy = ""
	}
	if a.option == nil {
		return newWorld(t, policy)
	}
	return newWorld(t, policy, a.option)
}

// ours is what our own check says at a commit, whoever else made one of its name.
func (w *world) ours(sha string) (conclusion, text string) {
	for _, s := range w.repo.Checks(sha) {
		if s.App == "sallyport" && s.Name == gate.CheckName {
			conclusion, text = s.Conclusion, s.Title+"\n"+s.Summary+"\n"+s.Text
		}
	}
	return conclusion, text
}

func TestAdversary(t *testing.T) {
	all := adversaries()
	if len(all) < 60 {
		t.Errorf("%d cases, want at least 60", len(all))
	}
	both := newAgreement(t, len(all), 290)
	names := map[string]bool{}
	for _, a := range all {
		if names[a.name] || len(a.codes) == 0 {
			t.Errorf("%q is there twice, or names no reason", a.name)
		}
		names[a.name] = true
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			t.Run("attack", func(t *testing.T) {
				w := a.world(t)
				p := a.do(w, true)
				w.settle()
				got, text := w.ours(p.Head())
				if s := p.See(); s.Merged || w.approvals(p) != 0 || got == "success" || got == "" {
					t.Errorf("it got through: the check says %q, %s\n%s", got, w.dump(p), text)
				}
				for _, c := range a.codes {
					if !strings.Contains(text, "`"+c+"`") {
						t.Errorf("the check does not name %s:\n%s", c, text)
					}
				}
				if a.sees != nil {
					a.sees(w, p)
				}
				both.onChange(w, a.name+" (attack)", p)
			})
			t.Run("control", func(t *testing.T) {
				w := a.world(t)
				p := a.do(w, false)
				w.settle()
				if got, text := w.ours(p.Head()); got != "success" {
					t.Errorf("without the attack it does not pass either: %q\n%s", got, text)
				}
				both.onChange(w, a.name+" (control)", p)
			})
		})
	}
}

// docs opens an agent's change and ends its tests well: without more it passes.
func (w *world) docs(files map[string]string) *githubtest.Pull {
	w.t.Helper()
	p := w.open(w.agent, "writer/docs", files)
	w.settle()
	w.tests(p.Head(), "success")
	return p
}

// fix opens alice's change: without more it passes once bob approves.
func (w *world) fix() *githubtest.Pull {
	w.t.Helper()
	p := w.open(w.alice, "fix", map[string]string{"src/a.go": "package a\n"})
	w.settle()
	return p
}

func (w *world) approve(p *githubtest.Pull, by *githubtest.User) {
	w.t.Helper()
	_, err := p.Approve(by, "")
	must(w.t, err)
}

// changeBy pushes a commit with all that it says and opens a pull request of it.
func (w *world) changeBy(pusher, opener *githubtest.User, c githubtest.Commit) *githubtest.Pull {
	w.t.Helper()
	if c.Files == nil {
		c.Files = map[string]githubtest.File{"src/a.go": githubtest.Text("package a\n")}
	}
	if c.Message == "" {
		c.Message = "Work"
	}
	_, err := w.repo.PushCommit(pusher, "work", c)
	must(w.t, err)
	spec := githubtest.PullSpec{Head: "work", Title: "Work"}
	if opener == w.agent {
		spec.As = w.agentApp
	}
	p, err := w.repo.OpenPull(opener, spec)
	must(w.t, err)
	w.settle()
	return p
}

// later lets time pass and has the pull request looked at again, as a sweep does.
func (w *world) later(p *githubtest.Pull, after time.Duration) {
	w.t.Helper()
	w.settle()
	w.clock.Advance(after)
	must(w.t, w.store.Mark(w.t.Context(), w.clock.Now(), rules.Mark{
		Key:          rules.WorkKey{Kind: rules.WorkPullRequest, Repository: rules.RepositoryID(w.repo.ID), Number: int64(p.Number)},
		Installation: rules.InstallationID(w.inst.ID), FullName: w.repo.FullName(),
	}))
	w.settle()
}

func pick[T any](on bool, a, b T) T {
	if on {
		return a
	}
	return b
}

func reviewersOnly(who string) string {
	return strings.Replace(policyText, "reviewers: [acme/sre]", "reviewers: ["+who+"]", 1)
}

func production(line string) string {
	return strings.Replace(policyText, "gate: human\n", "gate: human\n    "+line+"\n", 1)
}

func adversaries() []adversary {
	var all []adversary
	all = append(all, approvers()...)
	all = append(all, moments()...)
	all = append(all, paths()...)
	all = append(all, policies()...)
	all = append(all, floors()...)
	all = append(all, checks()...)
	all = append(all, authors()...)
	all = append(all, places()...)
	all = append(all, texts()...)
	all = append(all, deliveries()...)
	return all
}

// approvers is who approves.
func approvers() []adversary {
	approvedBy := func(name, policy string, codes []string, who func(w *world, on bool) *githubtest.User) adversary {
		return adversary{name: name, policy: policy, codes: codes, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, who(w, on))
			return p
		}}
	}
	return []adversary{
		approvedBy("a bot approves", "", []string{"SP301", "SP310"}, func(w *world, on bool) *githubtest.User { return pick(on, w.agent, w.bob) }),
		{name: "our own bot's approval by other hands", codes: []string{"SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, pick(on, w.app.Bot(), w.bob))
			w.later(p, time.Minute)
			return p
		}},
		approvedBy("a writer who is not listed approves", "", []string{"SP311"}, func(w *world, on bool) *githubtest.User { return pick(on, w.dave, w.bob) }),
		approvedBy("an owner who is not listed approves", "", []string{"SP311"}, func(w *world, on bool) *githubtest.User { return pick(on, w.carol, w.bob) }),
		approvedBy("a reader approves", reviewersOnly("acme/sre, eve"), []string{"SP314"}, func(w *world, on bool) *githubtest.User {
			if !on {
				w.repo.Collaborator(w.eve, "write")
			}
			return w.eve
		}),
		approvedBy("another account of a reviewer's old name approves", reviewersOnly("bob, rose"), []string{"SP316"}, func(w *world, on bool) *githubtest.User {
			if !on {
				return w.bob
			}
			w.bob.Rename("robert")
			other := w.g.User("bob")
			w.repo.Collaborator(other, "write")
			return other
		}),
		approvedBy("an invited member approves", "", []string{"SP311"}, func(w *world, on bool) *githubtest.User {
			if on {
				w.sre.Invite(w.carol, w.dave)
			} else {
				w.sre.Add(w.carol, w.dave)
			}
			return w.dave
		}),
		approvedBy("a member of another team of the old name approves", "", []string{"SP311"}, func(w *world, on bool) *githubtest.User {
			if !on {
				return w.bob
			}
			w.sre.Rename("old-sre")
			other := w.acme.Team("sre", w.dave)
			other.Access(w.repo, "write")
			return w.dave
		}),
		{name: "a member leaves after approving", codes: []string{"SP311"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.bob)
			w.settle()
			if on {
				w.sre.Remove(w.carol, w.bob)
			}
			return p
		}},
		{name: "a reviewer loses access after approving", policy: reviewersOnly("dave, rose"), codes: []string{"SP314"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.dave)
			w.settle()
			if on {
				w.repo.Collaborator(w.dave, "read")
			}
			w.later(p, 20*time.Minute)
			return p
		}},
		{name: "a reviewer's account is deleted", codes: []string{"SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.bob)
			w.settle()
			if on {
				w.bob.Delete()
			}
			w.later(p, 20*time.Minute)
			return p
		}},
		{name: "the author approves through another's pull request", codes: []string{"SP312"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.changeBy(w.dave, w.dave, githubtest.Commit{Author: pick(on, w.bob, w.alice).Identity()})
			w.approve(p, w.bob)
			return p
		}},
		{name: "who opened it approves", codes: []string{"SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.changeBy(w.dave, pick(on, w.bob, w.dave), githubtest.Commit{Author: w.dave.Identity()})
			if _, err := p.Approve(w.bob, ""); (err != nil) != on {
				w.t.Errorf("approving: %v", err)
			}
			return p
		}},
		{name: "a co-author approves", codes: []string{"SP312"}, do: func(w *world, on bool) *githubtest.Pull {
			co := pick(on, w.bob, w.dave)
			p := w.changeBy(w.alice, w.alice, githubtest.Commit{Author: w.alice.Identity(), Message: fmt.Sprintf("Work\n\nCo-authored-by: %s <%s>", co.Login(), co.Email())})
			w.approve(p, w.bob)
			return p
		}},
		{name: "a committer approves", codes: []string{"SP312"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.changeBy(w.alice, w.alice, githubtest.Commit{Author: w.alice.Identity(), Committer: pick(on, w.bob, w.dave).Identity()})
			w.approve(p, w.bob)
			return p
		}},
		{name: "the last pusher approves", codes: []string{"SP312"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.changeBy(pick(on, w.bob, w.dave), w.alice, githubtest.Commit{Author: w.alice.Identity()})
			w.approve(p, w.bob)
			return p
		}},
		{name: "an earlier pusher approves where pushers are excluded", policy: production("exclude: [author, committer, co-author, last-pusher, dispatcher, pusher]"), codes: []string{"SP312"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.changeBy(pick(on, w.bob, w.dave), w.alice, githubtest.Commit{Author: w.alice.Identity()})
			_, err := w.repo.PushCommit(w.alice, "work", githubtest.Commit{Author: w.alice.Identity(), Message: "More", Files: map[string]githubtest.File{"src/b.go": githubtest.Text("package a\n")}})
			must(w.t, err)
			w.settle()
			w.approve(p, w.bob)
			return p
		}},
		{name: "the last push was told by no event", codes: []string{"SP312"}, do: func(w *world, on bool) *githubtest.Pull {
			w.app.Fate(func(githubtest.Event) githubtest.Fate { return githubtest.Fate{Vanish: true} })
			_, err := w.repo.PushCommit(pick(on, w.bob, w.dave), "work", githubtest.Commit{Message: "Work", Author: w.alice.Identity(), Files: map[string]githubtest.File{"src/a.go": githubtest.Text("package a\n")}})
			must(w.t, err)
			w.app.Fate(nil)
			p, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: "work", Title: "Work"})
			must(w.t, err)
			w.settle()
			w.approve(p, w.bob)
			return p
		}},
		{name: "a commit hides a co-author whom nobody knows", codes: []string{"SP320", "SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.changeBy(w.alice, w.alice, githubtest.Commit{Author: w.alice.Identity(), Message: "Work" + pick(on, "\n\nCo-authored-by: Nobody <nobody@example.org>", "")})
			w.approve(p, w.bob)
			return p
		}},
		{name: "one reviewer approves twice", policy: production("count: 2"), codes: []string{"SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.bob)
			w.settle()
			w.approve(p, pick(on, w.bob, w.rose))
			return p
		}},
	}
}

// moments is when somebody approves.
func moments() []adversary {
	return []adversary{
		{name: "a push after the approval", codes: []string{"SP313"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.bob)
			w.settle()
			if on {
				w.push(w.alice, "fix", map[string]string{"src/b.go": "package b\n"})
			}
			return p
		}},
		{name: "an approval of an older commit", codes: []string{"SP313"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			old := p.Head()
			w.push(w.alice, "fix", map[string]string{"src/b.go": "package b\n"})
			_, err := p.Approve(w.bob, pick(on, old, ""))
			must(w.t, err)
			return p
		}},
		{name: "a force push after the approval", codes: []string{"SP313"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.bob)
			w.settle()
			if on {
				must(w.t, w.repo.Push(w.alice, "fix", w.repo.Commit(githubtest.Commit{
					Message: "Work on fix", Author: w.alice.Identity(), Parents: []string{w.repo.Head("main")}, Files: map[string]githubtest.File{"src/a.go": githubtest.Text("package evil\n")},
				})))
			}
			return p
		}},
		{name: "a merge after the approval that is not GitHub's", codes: []string{"SP313"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.bob)
			w.settle()
			if on {
				main := w.push(w.carol, "main", map[string]string{"README.md": "# Orders\n"})
				must(w.t, w.repo.Push(w.alice, "fix", w.repo.Commit(githubtest.Commit{Message: "Merge main", Author: w.alice.Identity(), Parents: []string{p.Head(), main}})))
			}
			return p
		}},
		{name: "a merge in GitHub's editor that brings more than the base", codes: []string{"SP313"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.bob)
			w.settle()
			main := w.push(w.carol, "main", map[string]string{"README.md": "# Orders\n"})
			files := map[string]string{"README.md": "# Orders\n"}
			if on {
				files["src/b.go"] = "package evil\n"
			}
			must(w.t, w.repo.Push(w.alice, "fix", w.repo.Commit(githubtest.Commit{
				Message: "Merge branch 'main' into fix", Author: w.alice.Identity(), Committer: githubtest.Identity{Name: "GitHub", Email: "noreply@github.com"},
				Parents: []string{p.Head(), main}, Files: text(files), Signed: true,
			})))
			return p
		}},
		{name: "a merge in GitHub's editor that drops half of what was approved", codes: []string{"SP313"}, do: func(w *world, on bool) *githubtest.Pull {
			w.push(w.carol, "main", map[string]string{"src/guard.go": "package guard // lets all in\n"})
			p := w.open(w.alice, "fix", map[string]string{"src/a.go": "package a\n", "src/guard.go": "package guard // asks first\n"})
			w.settle()
			w.approve(p, w.bob)
			w.settle()
			main := w.push(w.carol, "main", map[string]string{"README.md": "# Orders\n"})
			files := map[string]string{"README.md": "# Orders\n"}
			if on {
				files["src/guard.go"] = "package guard // lets all in\n" // as the base has it
			}
			must(w.t, w.repo.Push(w.alice, "fix", w.repo.Commit(githubtest.Commit{
				Message: "Merge branch 'main' into fix", Author: w.alice.Identity(), Committer: githubtest.Identity{Name: "GitHub", Email: "noreply@github.com"},
				Parents: []string{p.Head(), main}, Files: text(files), Signed: true,
			})))
			return p
		}},
		{name: "the approval is dismissed", codes: []string{"SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			id, err := p.Approve(w.bob, "")
			must(w.t, err)
			w.settle()
			if on {
				must(w.t, p.Dismiss(w.carol, id, "no"))
			}
			return p
		}},
		{name: "another reviewer asks for changes", codes: []string{"SP303"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.bob)
			w.settle()
			_, err := p.Review(w.rose, pick(on, "REQUEST_CHANGES", "COMMENT"), "", "Not so.")
			must(w.t, err)
			return p
		}},
		{name: "the reviewer asks for changes later", codes: []string{"SP303"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.bob)
			w.settle()
			w.clock.Advance(time.Minute)
			_, err := p.Review(w.bob, pick(on, "REQUEST_CHANGES", "COMMENT"), "", "Not so.")
			must(w.t, err)
			return p
		}},
		{name: "a reviewer asks for changes of an agent's change", codes: []string{"SP303"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.open(w.agent, "writer/docs", map[string]string{"docs/guide.md": "# Guide\n"})
			_, err := p.Review(w.rose, pick(on, "REQUEST_CHANGES", "COMMENT"), "", "Not so.")
			must(w.t, err)
			w.settle()
			w.tests(p.Head(), "success")
			return p
		}},
		{name: "the approval is too old", policy: production("max_age: 30m"), codes: []string{"SP315"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.bob)
			w.later(p, pick(on, 40*time.Minute, 20*time.Minute))
			return p
		}},
		{name: "made a draft after the approval", codes: []string{"SP025"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.bob)
			w.settle()
			if on {
				must(w.t, p.Draft(w.alice))
			}
			return p
		}},
		{name: "an agent's draft", codes: []string{"SP025"}, do: func(w *world, on bool) *githubtest.Pull {
			w.push(w.agent, "writer/docs", map[string]string{"docs/guide.md": "# Guide\n"})
			p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/docs", Title: "Docs", Draft: on, As: w.agentApp})
			must(w.t, err)
			w.settle()
			w.tests(p.Head(), "success")
			return p
		}},
	}
}

// agents makes a commit of the agent's, opens it and ends its tests well.
func (w *world) agents(c githubtest.Commit) *githubtest.Pull {
	w.t.Helper()
	c.Author = w.agent.Identity()
	p := w.changeBy(w.agent, w.agent, c)
	w.tests(p.Head(), "success")
	return p
}

func text(files map[string]string) map[string]githubtest.File {
	out := map[string]githubtest.File{}
	for path, content := range files {
		out[path] = githubtest.Text(content)
	}
	return out
}

// paths is what an agent changes.
func paths() []adversary {
	one := func(name, path string, codes ...string) adversary {
		return adversary{name: name, codes: codes, do: func(w *world, on bool) *githubtest.Pull {
			return w.agents(githubtest.Commit{Files: text(map[string]string{pick(on, path, "docs/guide.md"): "x\n"})})
		}}
	}
	kind := func(name string, f githubtest.File) adversary {
		return adversary{name: name, codes: []string{"SP105"}, do: func(w *world, on bool) *githubtest.Pull {
			return w.agents(githubtest.Commit{Files: map[string]githubtest.File{"docs/guide.md": pick(on, f, githubtest.Text("x\n"))}})
		}}
	}
	moved := func(name, from, to string, codes ...string) adversary {
		return adversary{name: name, codes: codes, do: func(w *world, on bool) *githubtest.Pull {
			from := pick(on, from, "docs/old.md")
			w.push(w.carol, "main", map[string]string{from: strings.Repeat("one line of many\n", 20)})
			return w.agents(githubtest.Commit{Renames: map[string]string{from: to}, Files: text(map[string]string{"docs/x.md": "x\n"})})
		}}
	}
	return []adversary{
		one("a path that no environment names", "src/a.go", "SP102"),
		one("a path in upper case", "DOCS/guide.md", "SP102"),
		one("a workflow", ".github/workflows/x_test.go", "SP103"),
		one("a workflow in another case", ".GitHub/Workflows/x_test.go", "SP107"),
		one("the policy", rules.PolicyPath, "SP103"),
		one("the policy's tests", rules.PolicyTestPath, "SP103"),
		one("CODEOWNERS among the documents", "docs/CODEOWNERS", "SP103"),
		one("an agent's settings", ".claude/settings.json", "SP103"),
		one("an agent's settings among the documents", "docs/.claude/settings.json", "SP103"),
		one("an agent's instructions among the documents", "docs/AGENTS.md", "SP103"),
		one("an agent's instructions in another case", "docs/agents.md", "SP107"),
		one("an agent's instructions in wide letters", "docs/\uff21GENTS.md", "SP107"),
		one("a Cyrillic letter", "d\u043ecs/guide.md", "SP102"),
		one("an invisible letter", "docs/gui\u200bde.md", "SP104"),
		one("a letter that turns the direction", "docs/\u202egnp.md", "SP104"),
		one("a backslash", `docs\..\src\a.go`, "SP104"),
		one("a way up", "docs/../src/a.go", "SP104"),
		one("a line break", "docs/a\nb.md", "SP104"),
		kind("a symlink", githubtest.Symlink("../.github/workflows/test.yml")),
		kind("a submodule", githubtest.Submodule(strings.Repeat("a", 40))),
		moved("a workflow moved away", ".github/workflows/deploy.yml", "docs/deploy.yml", "SP103"),
		moved("production moved away", "src/a.go", "docs/a.go", "SP102"),
		{name: "a file removed that steers agents", codes: []string{"SP103"}, do: func(w *world, on bool) *githubtest.Pull {
			path := pick(on, "AGENTS.md", "docs/a.md")
			w.push(w.carol, "main", map[string]string{path: "x\n"})
			return w.agents(githubtest.Commit{Files: map[string]githubtest.File{path: githubtest.Removed()}})
		}},
		{name: "one file of many", codes: []string{"SP102"}, do: func(w *world, on bool) *githubtest.Pull {
			files := map[string]string{pick(on, "src/a.go", "docs/z.md"): "x\n"}
			for i := range 120 {
				files[fmt.Sprintf("docs/%d.md", i)] = "x\n"
			}
			return w.agents(githubtest.Commit{Files: text(files)})
		}},
		{name: "3,001 files", codes: []string{"SP021"}, do: func(w *world, on bool) *githubtest.Pull {
			files := map[string]string{}
			for i := range pick(on, 3001, 101) {
				files[fmt.Sprintf("docs/%d.md", i)] = "x\n"
			}
			return w.agents(githubtest.Commit{Files: text(files)})
		}},
		{name: "251 commits", codes: []string{"SP022"}, do: func(w *world, on bool) *githubtest.Pull {
			head := w.repo.Head("main")
			for i := range pick(on, 251, 3) {
				head = w.repo.Commit(githubtest.Commit{Message: "Work", Author: w.agent.Identity(), Parents: []string{head}, Files: text(map[string]string{"docs/a.md": fmt.Sprint(i)})})
			}
			must(w.t, w.repo.Push(w.agent, "many", head))
			p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "many", Title: "Work", As: w.agentApp})
			must(w.t, err)
			w.tests(head, "success")
			return p
		}},
		{name: "a tree that is cut short", codes: []string{"SP106"}, do: func(w *world, on bool) *githubtest.Pull {
			w.repo.TruncateTrees(pick(on, 1, 0))
			return w.docs(map[string]string{"docs/guide.md": "x\n"})
		}},
	}
}

// looserPolicy lets agents change the source.
var looserPolicy = strings.Replace(policyText, "docs/**", "docs/**, src/**", 1)

// bring changes the policy as it should be changed: by a pull request that passes.
func (w *world) bring(files map[string]githubtest.File) *githubtest.Pull {
	w.t.Helper()
	_, err := w.repo.PushCommit(w.alice, "policy", githubtest.Commit{Message: "Change the policy", Author: w.alice.Identity(), Files: files})
	must(w.t, err)
	p, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: "policy", Base: "main", Title: "Change the policy"})
	must(w.t, err)
	w.settle()
	w.approve(p, w.bob)
	w.settle()
	must(w.t, p.Merge(w.alice, "squash", ""))
	w.settle()
	return p
}

// policies is how a looser policy, or none, is brought about.
func policies() []adversary {
	source := map[string]string{"src/a.go": "package a\n"}
	loosen := func(name string, how func(w *world)) adversary {
		return adversary{name: "a looser policy " + name, codes: []string{"SP102", "SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			if on {
				how(w)
				w.settle()
			} else {
				w.bring(text(map[string]string{rules.PolicyPath: looserPolicy}))
			}
			w.push(w.agent, "writer/src", source)
			p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/src", Base: "main", Title: "Source", As: w.agentApp})
			must(w.t, err)
			w.settle()
			w.tests(p.Head(), "success")
			return p
		}}
	}
	never := func(name string, file githubtest.File, codes ...string) adversary {
		return adversary{name: name, policy: "-", codes: codes, do: func(w *world, on bool) *githubtest.Pull {
			_, err := w.repo.PushCommit(w.carol, "main", githubtest.Commit{Message: "Policy", Author: w.carol.Identity(), Files: map[string]githubtest.File{rules.PolicyPath: pick(on, file, githubtest.Text(policyText))}})
			must(w.t, err)
			w.settle()
			if on {
				if list, err := w.gate.LookAtAdoption(w.t.Context(), "acme/orders"); err == nil && list[0].Policy != nil && name != "a policy that nobody adopted" {
					w.t.Error("it can be adopted")
				}
			} else {
				w.adopt("acme/orders")
			}
			return w.docs(map[string]string{"docs/guide.md": "x\n"})
		}}
	}
	direct := func(w *world, f githubtest.File) {
		_, err := w.repo.PushCommit(w.carol, "main", githubtest.Commit{Message: "Policy", Author: w.carol.Identity(), Files: map[string]githubtest.File{rules.PolicyPath: f}})
		must(w.t, err)
	}
	return []adversary{
		{name: "a looser policy in the change itself", codes: []string{"SP103", "SP102"}, do: func(w *world, on bool) *githubtest.Pull {
			return w.agents(githubtest.Commit{Files: text(pick(on, map[string]string{rules.PolicyPath: looserPolicy, "src/a.go": "x\n"}, map[string]string{"docs/a.md": "x\n"}))})
		}},
		loosen("pushed", func(w *world) { direct(w, githubtest.Text(looserPolicy)) }),
		loosen("merged past the check", func(w *world) {
			p := w.open(w.alice, "policy", map[string]string{rules.PolicyPath: looserPolicy})
			w.settle()
			must(w.t, p.MergeAsAdmin(w.carol, "squash"))
		}),
		loosen("in a merge made elsewhere", func(w *world) {
			p := w.open(w.alice, "policy", map[string]string{rules.PolicyPath: policyText + "# a word\n"})
			w.settle()
			w.approve(p, w.bob)
			w.settle()
			must(w.t, w.repo.Push(w.carol, "main", w.repo.Commit(githubtest.Commit{
				Message: "Merge", Author: w.carol.Identity(), Parents: []string{w.repo.Head("main"), p.Head()}, Files: text(map[string]string{rules.PolicyPath: looserPolicy}),
			})))
		}),
		loosen("slipped in after the approval", func(w *world) {
			p := w.open(w.alice, "policy", map[string]string{rules.PolicyPath: policyText + "# a word\n"})
			w.settle()
			w.approve(p, w.bob)
			w.settle()
			w.push(w.alice, "policy", map[string]string{rules.PolicyPath: looserPolicy})
			must(w.t, p.MergeAsAdmin(w.carol, "squash"))
		}),
		loosen("on another default branch", func(w *world) {
			w.push(w.carol, "loose", map[string]string{rules.PolicyPath: looserPolicy})
			w.repo.SetDefaultBranch(w.carol, "loose")
		}),
		loosen("after the file was removed by a push", func(w *world) {
			direct(w, githubtest.Removed())
			w.settle()
			direct(w, githubtest.Text(looserPolicy))
		}),
		loosen("behind a symlink", func(w *world) {
			w.push(w.carol, "main", map[string]string{"loose.yml": looserPolicy})
			direct(w, githubtest.Symlink("../loose.yml"))
		}),
		loosen("behind an invalid one", func(w *world) {
			direct(w, githubtest.Text("version: 9\n"))
			w.settle()
			direct(w, githubtest.Text(looserPolicy))
		}),
		{name: "the history put back to a looser policy", policy: looserPolicy, codes: []string{"SP102", "SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			if on {
				before := w.repo.Head("main")
				w.bring(text(map[string]string{rules.PolicyPath: policyText}))
				must(w.t, w.repo.Push(w.carol, "main", before))
				w.settle()
			}
			return w.agents(githubtest.Commit{Files: text(source)})
		}},
		{name: "a looser policy on the base branch", codes: []string{"SP102"}, do: func(w *world, on bool) *githubtest.Pull {
			w.push(w.carol, "loose", map[string]string{rules.PolicyPath: looserPolicy})
			w.push(w.agent, "loose", map[string]string{"docs/z.md": "z\n"})
			must(w.t, w.repo.Push(w.agent, "work", w.repo.Commit(githubtest.Commit{
				Message: "Work", Author: w.agent.Identity(), Parents: []string{w.repo.Head("loose")}, Files: text(pick(on, source, map[string]string{"docs/a.md": "x\n"})),
			})))
			p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "work", Base: "loose", Title: "Work", As: w.agentApp})
			must(w.t, err)
			w.settle()
			w.tests(p.Head(), "success")
			return p
		}},
		{name: "the policy removed by a pull request that passed", codes: []string{"SP004"}, do: func(w *world, on bool) *githubtest.Pull {
			w.bring(map[string]githubtest.File{rules.PolicyPath: pick(on, githubtest.Removed(), githubtest.Text(policyText+"# a word\n"))})
			return w.docs(map[string]string{"docs/guide.md": "x\n"})
		}},
		never("a policy that nobody adopted", githubtest.Text(policyText), "SP003"),
		never("an invalid policy", githubtest.Text("version: 1\nenvironments: {dev: {gate: auto}}\n"), "SP003"),
		never("no policy", githubtest.Removed(), "SP005"),
		never("a policy that is a symlink", githubtest.Symlink("../policy.yml"), "SP001"),
		never("a policy that is a submodule", githubtest.Submodule(strings.Repeat("a", 40)), "SP001"),
		never("a policy that is no text", githubtest.Text("version: 1\x00\xff\xfe"), "SP001"),
		never("a huge policy", githubtest.Text(policyText+strings.Repeat("# more\n", 200_000)), "SP001"),
	}
}

// withFloor makes the repository that holds the organisation's floor, and has the
// gate hear of it.
func (w *world) withFloor(floor string) *githubtest.Repository {
	w.t.Helper()
	r := w.g.Repository(w.acme, ".github")
	if floor != "" {
		r.CommitTo(w.carol, "main", "Add the floor", map[string]string{rules.FloorPath: floor})
	}
	must(w.t, w.store.Mark(w.t.Context(), w.clock.Now(), rules.Mark{Key: rules.WorkKey{Kind: rules.WorkInstallation, Number: w.inst.ID}}))
	w.settle()
	return r
}

const strictFloor = `version: 1
reviewers: [acme/sre]
environments:
  production:
    gate: human
agents: {also: [{id: acme-writer, logins: ["writer[bot]"]}]}
`

// floors is how an organisation's floor is got round.
func floors() []adversary {
	guide := map[string]string{"docs/guide.md": "x\n"}
	gone := func(name string, how func(w *world, r *githubtest.Repository)) adversary {
		return adversary{name: name, codes: []string{"SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			r := w.withFloor(pick(on, strictFloor, policyText))
			w.adopt("acme/.github")
			w.settle()
			how(w, r)
			w.settle()
			return w.docs(guide)
		}}
	}
	return []adversary{
		{name: "a floor that nobody adopted", codes: []string{"SP003"}, do: func(w *world, on bool) *githubtest.Pull {
			w.withFloor(policyText)
			if !on {
				w.adopt("acme/.github")
			}
			return w.docs(guide)
		}},
		{name: "a floor that the App cannot see", codes: []string{"SP001"}, option: func(w *world, cfg *gate.Config) {
			w.inst.Uninstall(w.carol)
			w.inst = w.app.Install(w.acme, w.repo)
		}, do: func(w *world, on bool) *githubtest.Pull {
			if !on {
				w.inst.Add(w.carol, w.g.Repository(w.acme, ".github"))
				w.withFloor("")
			}
			return w.docs(guide)
		}},
		gone("a stricter floor", func(*world, *githubtest.Repository) {}),
		gone("a floor removed by a push", func(w *world, r *githubtest.Repository) {
			_, err := r.PushCommit(w.carol, "main", githubtest.Commit{Message: "Remove", Author: w.carol.Identity(), Files: map[string]githubtest.File{rules.FloorPath: githubtest.Removed()}})
			must(w.t, err)
		}),
		gone("a floor loosened by a push", func(w *world, r *githubtest.Repository) {
			r.CommitTo(w.carol, "main", "Loosen", map[string]string{rules.FloorPath: policyText})
		}),
		gone("the floor's repository renamed", func(w *world, r *githubtest.Repository) {
			r.Rename(w.carol, "old")
			w.withFloor("")
		}),
	}
}

var unmerged = strings.Replace(policyText, "    merge: true\n", "", 1)

// checks is how a check looks green.
func checks() []adversary {
	guide := map[string]string{"docs/guide.md": "x\n"}
	check := func(name, policy string, codes []string, how func(w *world, p *githubtest.Pull)) adversary {
		return adversary{name: name, policy: policy, codes: codes, do: func(w *world, on bool) *githubtest.Pull {
			p := w.open(w.agent, "writer/docs", guide)
			w.settle()
			if on {
				how(w, p)
			} else {
				w.tests(p.Head(), "success")
			}
			return p
		}}
	}
	run := func(w *world, sha, workflow, job, conclusion string) {
		j := w.repo.StartRun(githubtest.RunSpec{Workflow: workflow, By: w.dave, SHA: sha, Jobs: []githubtest.JobSpec{{Name: job}}}).Job(job)
		if conclusion != "" {
			must(w.t, j.Complete(conclusion))
		}
	}
	out := []adversary{
		check("no check", "", []string{"SP401"}, func(*world, *githubtest.Pull) {}),
		check("a check that still runs", "", []string{"SP403"}, func(w *world, p *githubtest.Pull) { run(w, p.Head(), ".github/workflows/test.yml", "test", "") }),
		check("a check that a job made up", "", []string{"SP401", "SP406"}, func(w *world, p *githubtest.Pull) {
			run(w, p.Head(), ".github/workflows/lint.yml", "lint", "success")
			w.repo.AddCheck(w.g.Actions(), p.Head(), "test", "success")
		}),
		check("a check made up over a red one", "", []string{"SP401", "SP406"}, func(w *world, p *githubtest.Pull) {
			w.tests(p.Head(), "failure")
			w.repo.AddCheck(w.g.Actions(), p.Head(), "test", "success")
		}),
		check("one of two checks is red", "", []string{"SP402"}, func(w *world, p *githubtest.Pull) {
			run(w, p.Head(), ".github/workflows/other.yml", "test", "failure")
			w.tests(p.Head(), "success")
		}),
		check("a check of the agent's own App", "", []string{"SP401", "SP404"}, func(w *world, p *githubtest.Pull) { w.repo.AddCheck(w.agentApp, p.Head(), "test", "success") }),
		check("a status instead of a check", "", []string{"SP401"}, func(w *world, p *githubtest.Pull) { w.repo.Status(w.dave, p.Head(), "test", "success") }),
		check("a check of another name", "", []string{"SP401"}, func(w *world, p *githubtest.Pull) {
			run(w, p.Head(), ".github/workflows/test.yml", "Test", "success")
		}),
		check("a check of another commit", "", []string{"SP401"}, func(w *world, _ *githubtest.Pull) { w.tests(w.repo.Head("main"), "success") }),
		check("a check of an earlier commit", unmerged, []string{"SP401"}, func(w *world, p *githubtest.Pull) {
			w.tests(p.Head(), "success")
			w.settle()
			w.push(w.agent, "writer/docs", map[string]string{"docs/more.md": "x\n"})
		}),
		check("a check that turns red after our approval", unmerged, []string{"SP402"}, func(w *world, p *githubtest.Pull) {
			w.tests(p.Head(), "success")
			w.settle()
			if w.approvals(p) != 1 {
				w.t.Errorf("it was not approved first: %s", w.dump(p))
			}
			w.tests(p.Head(), "failure")
		}),
		check("a check that runs again after our approval", unmerged, []string{"SP403"}, func(w *world, p *githubtest.Pull) {
			r := w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/test.yml", By: w.dave, SHA: p.Head(), Jobs: []githubtest.JobSpec{{Name: "test"}}})
			must(w.t, r.Job("test").Complete("success"))
			w.settle()
			if w.approvals(p) != 1 {
				w.t.Errorf("it was not approved first: %s", w.dump(p))
			}
			must(w.t, r.Rerun(w.dave))
		}),
		check("our own check made up by the agent", "", []string{"SP401"}, func(w *world, p *githubtest.Pull) {
			w.repo.AddCheck(w.agentApp, p.Head(), gate.CheckName, "success")
			w.settle()
			if err := p.Merge(w.alice, "squash", ""); err == nil {
				w.t.Error("GitHub merged it")
			}
		}),
		{name: "a check from the agent's own App where the policy names it", policy: strings.Replace(policyText, "after: [test]", "after: [{name: test, app: writer}]", 1), codes: []string{"SP401", "SP411"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.open(w.agent, "writer/docs", map[string]string{pick(on, "docs/guide.md", "src/a.go"): "x\n"})
			w.settle()
			w.repo.AddCheck(w.agentApp, p.Head(), "test", "success")
			w.approve(p, w.bob)
			return p
		}},
		{name: "a check of a workflow that the change edits", codes: []string{"SP103", "SP405"}, do: func(w *world, on bool) *githubtest.Pull {
			return w.agents(githubtest.Commit{Files: text(map[string]string{"docs/a.md": "x\n", pick(on, ".github/workflows/test.yml", "docs/b.md"): "on: push\n"})})
		}},
		{name: "a check of a workflow that the change adds", codes: []string{"SP103", "SP405"}, do: func(w *world, on bool) *githubtest.Pull {
			files := map[string]string{"docs/a.md": "x\n"}
			if on {
				files[".github/workflows/forge.yml"] = "on: push\n"
			}
			p := w.changeBy(w.agent, w.agent, githubtest.Commit{Author: w.agent.Identity(), Files: text(files)})
			run(w, p.Head(), ".github/workflows/"+pick(on, "forge.yml", "test.yml"), "test", "success")
			return p
		}},
	}
	for _, conclusion := range []string{"failure", "neutral", "skipped", "cancelled", "timed_out", "action_required"} {
		out = append(out, check("a check that ended as "+conclusion, "", []string{"SP402"}, func(w *world, p *githubtest.Pull) { w.tests(p.Head(), conclusion) }))
	}
	return out
}

// authors is who seems to have written it.
func authors() []adversary {
	guide := text(map[string]string{"docs/guide.md": "x\n"})
	said := func(name, branch, message string, codes ...string) adversary {
		return adversary{name: name, codes: append(codes, "SP301"), do: func(w *world, on bool) *githubtest.Pull {
			by := pick(on, w.alice, w.agent)
			_, err := w.repo.PushCommit(by, branch, githubtest.Commit{Message: message, Author: by.Identity(), Files: guide})
			must(w.t, err)
			spec := githubtest.PullSpec{Head: branch, Title: "Work"}
			if !on {
				spec.As = w.agentApp
			}
			p, err := w.repo.OpenPull(by, spec)
			must(w.t, err)
			w.settle()
			w.tests(p.Head(), "success")
			return p
		}}
	}
	return []adversary{
		said("a person's change with an agent's trailer", "work", "Work\n\nCo-Authored-By: Claude <noreply@anthropic.com>", "SP202"),
		said("a person's change on an agent's branch", "claude/work", "Work\n\n\U0001F916 Generated with [Claude Code](https://claude.com/claude-code)\n\nCo-Authored-By: Claude <noreply@anthropic.com>", "SP202"),
		said("a person's change on our agent's branch", "writer/work", "Work", "SP204"),
		{name: "a person's pull request of an agent's commit", codes: []string{"SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			by := pick(on, w.alice, w.agent)
			p := w.changeBy(by, by, githubtest.Commit{Author: w.agent.Identity(), Files: guide})
			w.tests(p.Head(), "success")
			return p
		}},
		{name: "an agent's pull request with a person's commit", codes: []string{"SP203", "SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.open(w.agent, "writer/docs", map[string]string{"docs/a.md": "x\n"})
			w.push(pick(on, w.alice, w.agent), "writer/docs", map[string]string{"docs/b.md": "x\n"})
			w.settle()
			w.tests(p.Head(), "success")
			return p
		}},
		{name: "a person pushes a commit in the agent's name", codes: []string{"SP202", "SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.changeBy(pick(on, w.alice, w.agent), w.agent, githubtest.Commit{Author: w.agent.Identity(), Files: guide})
			w.tests(p.Head(), "success")
			return p
		}},
		{name: "a person pushed in the agent's name before the pull request", codes: []string{"SP202", "SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			first := githubtest.Commit{Message: "Work", Author: w.agent.Identity(), Files: text(map[string]string{"docs/b.md": "x\n"})}
			_, err := w.repo.PushCommit(pick(on, w.alice, w.agent), "work", first)
			must(w.t, err)
			return w.agents(githubtest.Commit{Files: guide})
		}},
		{name: "another account of the agent's old name", codes: []string{"SP202", "SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			by := w.agent
			if on {
				w.agent.Rename("old[bot]")
				by = w.g.Bot("writer[bot]")
				w.repo.Collaborator(by, "write")
			}
			p := w.changeBy(by, by, githubtest.Commit{Author: by.Identity(), Files: guide})
			w.tests(p.Head(), "success")
			return p
		}},
		{name: "automation that is no agent", codes: []string{"SP205", "SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			by := w.agent
			if on {
				by = w.g.Bot("dependabot[bot]")
				w.repo.Collaborator(by, "write")
			}
			p := w.changeBy(by, by, githubtest.Commit{Author: by.Identity(), Files: guide})
			w.tests(p.Head(), "success")
			return p
		}},
		{name: "a bot that nobody knows", codes: []string{"SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			by := w.agent
			if on {
				by = w.g.Bot("stranger[bot]")
				w.repo.Collaborator(by, "write")
			}
			p := w.changeBy(by, by, githubtest.Commit{Author: by.Identity(), Files: guide})
			w.tests(p.Head(), "success")
			return p
		}},
	}
}

// places is where it comes from and where it goes.
func places() []adversary {
	return []adversary{
		{name: "a fork", codes: []string{"SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			if !on {
				return w.docs(map[string]string{"docs/a.md": "x\n"})
			}
			fork := w.repo.Fork(w.agent)
			fork.CommitTo(w.agent, "writer/docs", "Work", map[string]string{"docs/a.md": "x\n"})
			p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/docs", From: fork, Title: "Work"})
			must(w.t, err)
			w.settle()
			w.tests(p.Head(), "success")
			return p
		}},
		{name: "two pull requests at one commit", policy: unmerged, codes: []string{"SP102", "SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			base := w.repo.CommitTo(w.dave, "side", "Side", map[string]string{pick(on, "src/a.go", "docs/side.md"): "x\n"})
			if !on {
				base = w.repo.Head("main")
			}
			must(w.t, w.repo.Push(w.agent, "writer/two", w.repo.Commit(githubtest.Commit{Message: "Work", Author: w.agent.Identity(), Parents: []string{base}, Files: text(map[string]string{"docs/a.md": "x\n"})})))
			safe, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/two", Base: "side", Title: "Safe", As: w.agentApp})
			must(w.t, err)
			w.settle()
			w.tests(safe.Head(), "success")
			w.settle()
			p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/two", Title: "Not so", As: w.agentApp})
			must(w.t, err)
			return p
		}},
		{name: "retargeted after our approval", policy: unmerged, codes: []string{"SP102", "SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"side"}, Checks: []githubtest.RequiredCheck{{Context: gate.CheckName, AppID: w.app.ID}}})
			base := w.repo.CommitTo(w.dave, "side", "Side", map[string]string{"src/a.go": "x\n"})
			must(w.t, w.repo.Push(w.agent, "writer/re", w.repo.Commit(githubtest.Commit{Message: "Work", Author: w.agent.Identity(), Parents: []string{base}, Files: text(map[string]string{"docs/a.md": "x\n"})})))
			p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/re", Base: "side", Title: "Work", As: w.agentApp})
			must(w.t, err)
			w.settle()
			w.tests(p.Head(), "success")
			w.settle()
			if w.approvals(p) != 1 {
				w.t.Errorf("it was not approved first: %s", w.dump(p))
			}
			if on {
				must(w.t, p.Retarget(w.dave, "main"))
			}
			return p
		}},
		{name: "retargeted after a reviewer's approval", codes: []string{"SP301", "SP324"}, do: func(w *world, on bool) *githubtest.Pull {
			base := w.repo.CommitTo(w.alice, "side", "Side", map[string]string{"src/unseen.go": "x\n"})
			must(w.t, w.repo.Push(w.alice, "work", w.repo.Commit(githubtest.Commit{Message: "Work", Author: w.alice.Identity(), Parents: []string{base}, Files: text(map[string]string{"src/a.go": "x\n"})})))
			p, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: "work", Base: "side", Title: "Work"})
			must(w.t, err)
			w.settle()
			w.approve(p, w.bob)
			w.settle()
			must(w.t, p.Retarget(w.alice, "main"))
			if !on {
				w.clock.Advance(time.Minute)
				w.approve(p, w.bob)
			}
			return p
		}},
		{name: "retargeted and back around a reviewer's approval", codes: []string{"SP301", "SP324"}, do: func(w *world, on bool) *githubtest.Pull {
			base := w.repo.CommitTo(w.alice, "side", "Side", map[string]string{"src/unseen.go": "x\n"})
			must(w.t, w.repo.Push(w.alice, "work", w.repo.Commit(githubtest.Commit{Message: "Work", Author: w.alice.Identity(), Parents: []string{base}, Files: text(map[string]string{"src/a.go": "x\n"})})))
			p, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: "work", Base: "main", Title: "Work"})
			must(w.t, err)
			if on {
				must(w.t, p.Retarget(w.alice, "side"))
			}
			w.clock.Advance(10 * time.Second)
			w.approve(p, w.bob)
			w.clock.Advance(10 * time.Second)
			if on {
				must(w.t, p.Retarget(w.alice, "main"))
			}
			return p
		}},
		{name: "the repository's name taken by another", codes: []string{"SP102"}, do: func(w *world, on bool) *githubtest.Pull {
			if on {
				w.repo.Rename(w.carol, "orders-old")
				other := w.g.Repository(w.acme, "orders")
				other.CommitTo(w.carol, "main", "Loosen", map[string]string{rules.PolicyPath: looserPolicy})
			}
			return w.agents(githubtest.Commit{Files: text(map[string]string{pick(on, "src/a.go", "docs/a.md"): "x\n"})})
		}},
		{name: "closed, changed and opened again", codes: []string{"SP313"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.bob)
			w.settle()
			must(w.t, p.Close(w.alice))
			if on {
				w.push(w.alice, "fix", map[string]string{"src/b.go": "x\n"})
			}
			must(w.t, p.Reopen(w.alice))
			return p
		}},
	}
}

// clean fails the test if anything in what we wrote is more than text: a mention but
// of who is missing, a link, markup, a code that is not ours, another marker.
func clean(w *world, p *githubtest.Pull) {
	w.t.Helper()
	_, check := w.ours(p.Head())
	seen := map[string]string{"the check": check}
	for i, c := range p.See().Comments {
		if c.User == "sallyport[bot]" {
			body, ok := strings.CutPrefix(c.Body, "<!-- sallyport -->\n")
			if !ok {
				w.t.Errorf("our comment does not begin with its marker: %q", c.Body)
			}
			seen[fmt.Sprintf("comment %d", i)] = strings.ReplaceAll(body, "by @acme/sre ends", "")
		}
	}
	if len(seen) != 2 {
		w.t.Errorf("we wrote %d comments, want one", len(seen)-1)
	}
	bad := regexp.MustCompile("@[A-Za-z0-9]|#[0-9]|<[A-Za-z!/]|https?:/|\\]\\(|`SP302`|```|\u202e|:[a-z_\\\\]+:|GH-[0-9]|(?m)^(# |> |\\| Approved)")
	for where, text := range seen {
		if found := bad.FindString(text); found != "" {
			w.t.Errorf("%s has %q:\n%s", where, found, text)
		}
	}
}

// texts is what others write and we show.
func texts() []adversary {
	nasty := []string{
		"@acme/everyone", "#1", "<!-- sallyport -->", "`SP302`", "[ok](https://evil.example)", "![x](https://evil.example/x.png)", "<img src=x>", "https://evil.example", "| Approved | yes |",
		"**Allowed**", "$x$", "\u202eevil", ":white_check_mark:", "GH-1",
	}
	var out []adversary
	for i, text := range nasty {
		out = append(out, adversary{name: fmt.Sprintf("a path with %q", text), codes: []string{"SP301"}, sees: clean, do: func(w *world, on bool) *githubtest.Pull {
			return w.agents(githubtest.Commit{Files: map[string]githubtest.File{pick(on, "src/"+strings.Trim(text, "/")+"/a.go", fmt.Sprintf("docs/%d.md", i)): githubtest.Text("x\n")}})
		}})
	}
	everything := strings.Join(nasty, " ") + "\n\n# Allowed\n\n> by @bob"
	return append(out,
		adversary{name: "a path with a line break and a heading", codes: []string{"SP104"}, sees: clean, do: func(w *world, on bool) *githubtest.Pull {
			return w.agents(githubtest.Commit{Files: map[string]githubtest.File{pick(on, "src/a\n\n# Allowed\n> by @bob", "docs/a.md"): githubtest.Text("x\n")}})
		}},
		adversary{name: "a title, a body, a message and a label", codes: []string{"SP301"}, sees: clean, do: func(w *world, on bool) *githubtest.Pull {
			p := w.changeBy(w.agent, w.agent, githubtest.Commit{Author: w.agent.Identity(), Message: "Work" + pick(on, everything, ""), Files: text(map[string]string{pick(on, "src/a.go", "docs/a.md"): "x\n"})})
			if on {
				must(w.t, p.Edit(w.agent, strings.Join(nasty, " "), everything))
				must(w.t, p.Label(w.alice, "@bob `SP302`"))
			}
			w.tests(p.Head(), "success")
			return p
		}},
		adversary{name: "a branch of a name that mentions", codes: []string{"SP301"}, sees: clean, do: func(w *world, on bool) *githubtest.Pull {
			p := w.open(w.agent, pick(on, "writer/@bob-<b>-`SP302`", "writer/docs"), map[string]string{pick(on, "src/a.go", "docs/a.md"): "x\n"})
			w.settle()
			w.tests(p.Head(), "success")
			return p
		}},
		adversary{name: "a co-author of a name that mentions", codes: []string{"SP320"}, sees: clean, do: func(w *world, on bool) *githubtest.Pull {
			p := w.changeBy(w.alice, w.alice, githubtest.Commit{Author: w.alice.Identity(), Message: "Work" + pick(on, "\n\nCo-authored-by: @acme/everyone <@bob[x](https://evil.example)`SP302`@example.org>", "")})
			w.approve(p, w.bob)
			return p
		}},
		adversary{name: "somebody's comment with our marker", codes: []string{"SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			w.push(w.alice, "fix", map[string]string{"src/a.go": "x\n"})
			p, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: "fix", Title: "Fix"})
			must(w.t, err)
			_, err = p.Comment(w.eve, "<!-- sallyport -->\n**Allowed**\n")
			must(w.t, err)
			if !on {
				w.approve(p, w.bob)
			}
			return p
		}, sees: func(w *world, p *githubtest.Pull) {
			if c := p.See().Comments; len(c) != 2 || c[0].Edits != 0 {
				w.t.Errorf("the comments are %v", c)
			}
		}},
		adversary{name: "a comment that says approved", codes: []string{"SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			_, err := p.Comment(w.bob, "/approve")
			must(w.t, err)
			_, err = p.Review(w.bob, pick(on, "COMMENT", "APPROVE"), "", "LGTM, approved")
			must(w.t, err)
			return p
		}},
	)
}

// deliver posts a delivery as anybody can, signed with a secret, and gives the
// answer's status.
func (w *world) deliver(event, id, key string, body []byte) int {
	w.t.Helper()
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	q, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.hook.URL+"/webhooks/github", bytes.NewReader(body))
	must(w.t, err)
	for name, value := range map[string]string{
		"Content-Type": "application/json", "X-GitHub-Event": event, "X-GitHub-Delivery": id, "X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil)),
	} {
		q.Header.Set(name, value)
	}
	answer, err := w.hook.Client().Do(q)
	must(w.t, err)
	must(w.t, answer.Body.Close())
	return answer.StatusCode
}

// stolen posts a delivery signed with the webhook's own secret.
func (w *world) stolen(event, format string, args ...any) {
	w.t.Helper()
	body := fmt.Sprintf(`{"repository":{"id":%d,"full_name":"acme/orders","default_branch":"main"},"organization":{"id":%d},"installation":{"id":%d},`, w.repo.ID, w.acme.ID, w.inst.ID) + fmt.Sprintf(format, args...) + "}"
	sum := sha256.Sum256([]byte(event + body))
	if code := w.deliver(event, "stolen-"+hex.EncodeToString(sum[:8]), secret, []byte(body)); code != http.StatusAccepted {
		w.t.Errorf("the %s made up is answered with %d", event, code)
	}
	w.settle()
}

func (w *world) said(u *githubtest.User) string {
	return fmt.Sprintf(`{"id":%d,"login":%q,"type":%q}`, u.ID, u.Login(), u.Type)
}

// approvalMadeUp is a review of bob's that he never gave.
func (w *world) approvalMadeUp(p *githubtest.Pull) string {
	return fmt.Sprintf(`"action":"submitted","review":{"id":77,"state":"approved","commit_id":%q,"user":%s},"pull_request":{"number":%d,"head":{"sha":%q,"ref":"fix"}},"sender":%s`,
		p.Head(), w.said(w.bob), p.Number, p.Head(), w.said(w.bob))
}

// deliveries are webhooks that GitHub did not send so.
func deliveries() []adversary {
	review := func(name string, how func(w *world, p *githubtest.Pull)) adversary {
		return adversary{name: name, codes: []string{"SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			if on {
				how(w, p)
			} else {
				w.approve(p, w.bob)
			}
			return p
		}}
	}
	check := func(name, event string, say func(w *world, p *githubtest.Pull) string) adversary {
		return adversary{name: name, codes: []string{"SP401"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.open(w.agent, "writer/docs", map[string]string{"docs/a.md": "x\n"})
			w.settle()
			if on {
				w.stolen(event, "%s", say(w, p))
			} else {
				w.tests(p.Head(), "success")
			}
			return p
		}}
	}
	unheard := func(w *world, push func()) {
		w.settle()
		w.app.Fate(func(githubtest.Event) githubtest.Fate { return githubtest.Fate{Vanish: true} })
		push()
		must(w.t, w.g.Settle(w.t.Context()))
		w.app.Fate(nil)
	}
	madeUpPush := func(w *world, by *githubtest.User, sha string) {
		w.stolen("push", `"ref":"refs/heads/work","before":%q,"after":%q,"created":true,"forced":false,"commits":[],"pusher":{"name":%q},"sender":%s`,
			strings.Repeat("0", 40), sha, by.Login(), w.said(by))
	}
	return []adversary{
		review("a review signed with another secret", func(w *world, p *githubtest.Pull) {
			if code := w.deliver("pull_request_review", "forged-1", "guessed", []byte("{"+w.approvalMadeUp(p)+"}")); code != http.StatusUnauthorized {
				w.t.Errorf("it is answered with %d", code)
			}
		}),
		review("a review made up with the stolen secret", func(w *world, p *githubtest.Pull) { w.stolen("pull_request_review", "%s", w.approvalMadeUp(p)) }),
		review("a delivery altered", func(w *world, p *githubtest.Pull) {
			_, err := p.Review(w.bob, "COMMENT", "", "Hm.")
			must(w.t, err)
			w.settle()
			all := w.app.Deliveries()
			last := all[len(all)-1]
			body := bytes.ReplaceAll(last.Body, []byte("commented"), []byte("approved"))
			if bytes.Equal(body, last.Body) || last.Event != "pull_request_review" {
				w.t.Fatalf("the last delivery is %s: %s", last.Event, last.Body)
			}
			q, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.hook.URL+"/webhooks/github", bytes.NewReader(body))
			must(w.t, err)
			q.Header = last.Header.Clone()
			answer, err := w.hook.Client().Do(q)
			must(w.t, err)
			must(w.t, answer.Body.Close())
			if answer.StatusCode != http.StatusUnauthorized {
				w.t.Errorf("it is answered with %d", answer.StatusCode)
			}
		}),
		review("a delivery replayed after the review was dismissed", func(w *world, p *githubtest.Pull) {
			id, err := p.Approve(w.bob, "")
			must(w.t, err)
			w.settle()
			must(w.t, p.Dismiss(w.carol, id, "no"))
			w.settle()
			for i, d := range w.app.Deliveries() {
				if d.Event != "pull_request_review" || d.Action != "submitted" {
					continue
				}
				for _, guid := range []string{d.GUID, fmt.Sprintf("replay-%d", i)} {
					if code := w.deliver(d.Event, guid, secret, d.Body); code != http.StatusAccepted {
						w.t.Errorf("it is answered with %d", code)
					}
				}
				must(w.t, w.app.Redeliver(d.ID))
			}
		}),
		review("a merge made up with the stolen secret", func(w *world, p *githubtest.Pull) {
			w.stolen("pull_request", `"action":"closed","number":%d,"pull_request":{"number":%d,"state":"closed","merged":true,"head":{"sha":%q,"ref":"fix"}},"sender":%s`, p.Number, p.Number, p.Head(), w.said(w.bob))
		}),
		check("a check run made up with the stolen secret", "check_run", func(w *world, p *githubtest.Pull) string {
			return fmt.Sprintf(`"action":"completed","check_run":{"id":9,"name":"test","head_sha":%q,"status":"completed","conclusion":"success","app":{"id":15368,"slug":"github-actions"},"pull_requests":[]},"sender":%s`, p.Head(), w.said(w.dave))
		}),
		check("a status made up with the stolen secret", "status", func(w *world, p *githubtest.Pull) string {
			return fmt.Sprintf(`"sha":%q,"context":"test","state":"success","sender":%s`, p.Head(), w.said(w.dave))
		}),
		check("a synchronize made up with the stolen secret", "pull_request", func(w *world, p *githubtest.Pull) string {
			main := w.repo.Head("main")
			return fmt.Sprintf(`"action":"synchronize","number":%d,"before":%q,"after":%q,"pull_request":{"number":%d,"state":"open","head":{"sha":%q,"ref":"writer/docs"}},"sender":%s`, p.Number, p.Head(), main, p.Number, main, w.said(w.agent))
		}),
		{name: "a policy made up in a push with the stolen secret", codes: []string{"SP102"}, do: func(w *world, on bool) *githubtest.Pull {
			main := w.repo.Head("main")
			w.stolen("push", `"ref":"refs/heads/main","before":%q,"after":%q,"commits":[{"id":%q,"modified":[%q]}],"sender":%s`, main, main, main, rules.PolicyPath, w.said(w.carol))
			return w.agents(githubtest.Commit{Files: text(map[string]string{pick(on, "src/a.go", "docs/a.md"): "x\n"})})
		}},
		{name: "an installation of strangers made up with the stolen secret", codes: []string{"SP401"}, do: func(w *world, on bool) *githubtest.Pull {
			w.stolen("installation", `"action":"deleted","sender":%s`, w.said(w.carol))
			p := w.open(w.agent, "writer/docs", map[string]string{"docs/a.md": "x\n"})
			if !on {
				w.tests(p.Head(), "success")
			}
			return p
		}},
		// Of a push that no delivery told, one made up tells another.
		{name: "another last pusher made up with the stolen secret", codes: []string{"SP301", "SP320"}, do: func(w *world, on bool) *githubtest.Pull {
			var sha string
			by := pick(on, w.bob, w.dave)
			unheard(w, func() {
				var err error
				sha, err = w.repo.PushCommit(by, "work", githubtest.Commit{Message: "Work", Author: w.alice.Identity(), Files: text(map[string]string{"src/a.go": "x\n"})})
				must(w.t, err)
			})
			madeUpPush(w, w.dave, sha)
			p, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: "work", Title: "Work"})
			must(w.t, err)
			w.settle()
			w.approve(p, w.bob)
			return p
		}},
		{name: "an agent's push made up with the stolen secret", codes: []string{"SP202", "SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			var sha string
			unheard(w, func() {
				var err error
				sha, err = w.repo.PushCommit(pick(on, w.alice, w.agent), "work", githubtest.Commit{Message: "Work", Author: w.agent.Identity(), Files: text(map[string]string{"docs/a.md": "x\n"})})
				must(w.t, err)
			})
			madeUpPush(w, w.agent, sha)
			p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "work", Title: "Work", As: w.agentApp})
			must(w.t, err)
			w.settle()
			w.tests(p.Head(), "success")
			return p
		}},
	}
}

// A check belongs to a commit: one that is green for a side branch is green for main
// until it was judged there, and GitHub merges it. That is said, and what is said to be
// required instead keeps it out.
func TestGreenForAnotherBranch(t *testing.T) {
	for _, tt := range []struct {
		name    string
		ruleset githubtest.Ruleset
		through bool
	}{
		{name: "the check alone", through: true},
		{name: "an approval that stays", ruleset: githubtest.Ruleset{Reviews: &githubtest.RequiredReviews{Count: 1}}, through: true},
		{name: "an approval that falls", ruleset: githubtest.Ruleset{Reviews: &githubtest.RequiredReviews{Count: 1, DismissStale: true}}},
		{name: "a merge queue", ruleset: githubtest.Ruleset{MergeQueue: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, unmerged)
			tt.ruleset.Branches = []string{"main"}
			w.repo.AddRuleset(tt.ruleset)
			// A side branch with the same check, so that we approve what goes there.
			w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"side"}, Checks: []githubtest.RequiredCheck{{Context: gate.CheckName, AppID: w.app.ID}}})
			unseen := w.repo.CommitTo(w.dave, "side", "Unseen", map[string]string{"src/unseen.go": "x\n"})
			must(t, w.repo.Push(w.agent, "writer/docs", w.repo.Commit(githubtest.Commit{Message: "Docs", Author: w.agent.Identity(), Parents: []string{unseen}, Files: text(map[string]string{"docs/a.md": "x\n"})})))
			p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/docs", Base: "side", Title: "Docs", As: w.agentApp})
			must(t, err)
			w.settle()
			w.tests(p.Head(), "success")
			w.settle()
			w.want(p, "success", "SP213")
			if w.approvals(p) != 1 {
				t.Fatalf("it is not approved: %s", w.dump(p))
			}

			must(t, p.Retarget(w.agent, "main")) // and at once, before anybody heard of it:
			if err := p.Merge(w.agent, "merge", p.Head()); (err == nil) != tt.through {
				t.Errorf("merged into main at once: %v", err)
			}
			if tt.through {
				return
			}
			w.settle()
			w.want(p, "action_required", "SP102", "SP301")
			ordinary := w.open(w.agent, "writer/more", map[string]string{"docs/b.md": "x\n"})
			w.settle()
			w.tests(ordinary.Head(), "success")
			w.settle()
			w.want(ordinary, "success")
			if _, text := w.says(ordinary.Head()); strings.Contains(text, "SP213") || w.approvals(ordinary) != 1 {
				t.Errorf("%d approvals, and it says:\n%s", w.approvals(ordinary), text)
			}
			if err := ordinary.Merge(w.agent, "merge", ordinary.Head()); err != nil && !tt.ruleset.MergeQueue {
				t.Errorf("what was approved cannot be merged: %v", err)
			}
		})
	}
}

// An approval of ours that a later push would not dismiss is taken back.
func TestOurApprovalFallsWithTheGuardOfTheBase(t *testing.T) {
	w := newWorld(t, unmerged)
	guard := w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"side"}, Checks: []githubtest.RequiredCheck{{Context: gate.CheckName, AppID: w.app.ID}}})
	w.push(w.dave, "side", map[string]string{"docs/side.md": "x\n"})
	w.push(w.agent, "writer/docs", map[string]string{"docs/a.md": "x\n"})
	p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/docs", Base: "side", Title: "Docs", As: w.agentApp})
	must(t, err)
	w.settle()
	w.tests(p.Head(), "success")
	w.settle()
	if w.approvals(p) != 1 {
		t.Fatalf("it is not approved: %s", w.dump(p))
	}
	w.repo.RemoveRuleset(guard)
	w.later(p, 6*time.Minute)
	w.want(p, "success", "SP210")
	if w.approvals(p) != 0 {
		t.Errorf("our approval stands on a base that nothing guards: %s", w.dump(p))
	}
}
