package gate_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
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
	for _, a := range adversaries() {
		t.Run(a.name, func(t *testing.T) {
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
			})
			t.Run("control", func(t *testing.T) {
				w := a.world(t)
				p := a.do(w, false)
				w.settle()
				if got, text := w.ours(p.Head()); got != "success" {
					t.Errorf("without the attack it does not pass either: %q\n%s", got, text)
				}
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

// sweep lets time pass and looks at all that is held.
func (w *world) sweep(after time.Duration) {
	w.t.Helper()
	w.settle()
	w.clock.Advance(after)
	must(w.t, w.gate.Sweep(w.t.Context()))
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

var _ = []any{bytes.NewReader, hmac.New, sha256.New, hex.EncodeToString, fmt.Sprint, http.MethodPost, rules.PolicyPath}

func adversaries() []adversary {
	var all []adversary
	all = append(all, approvers()...)
	all = append(all, moments()...)
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
		approvedBy("our own bot approves", "", []string{"SP301"}, func(w *world, on bool) *githubtest.User { return pick(on, w.app.Bot(), w.bob) }),
		approvedBy("a writer who is not listed approves", "", []string{"SP311"}, func(w *world, on bool) *githubtest.User { return pick(on, w.dave, w.bob) }),
		approvedBy("an owner who is not listed approves", "", []string{"SP311"}, func(w *world, on bool) *githubtest.User { return pick(on, w.carol, w.bob) }),
		approvedBy("a reader approves", reviewersOnly("acme/sre, eve"), []string{"SP314"}, func(w *world, on bool) *githubtest.User {
			if !on {
				w.repo.Collaborator(w.eve, "write")
			}
			return w.eve
		}),
		approvedBy("another account of a reviewer's old name approves", reviewersOnly("bob"), []string{"SP316"}, func(w *world, on bool) *githubtest.User {
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
		{name: "a reviewer loses access after approving", policy: reviewersOnly("dave"), codes: []string{"SP314"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.dave)
			w.settle()
			if on {
				w.repo.Collaborator(w.dave, "read")
			}
			w.sweep(20 * time.Minute)
			return p
		}},
		{name: "a reviewer's account is deleted", codes: []string{"SP301"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.bob)
			w.settle()
			if on {
				w.bob.Delete()
			}
			w.sweep(20 * time.Minute)
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
		{name: "the approval is too old", policy: production("max_age: 2h"), codes: []string{"SP315"}, do: func(w *world, on bool) *githubtest.Pull {
			p := w.fix()
			w.approve(p, w.bob)
			w.sweep(pick(on, 3*time.Hour, time.Hour))
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
