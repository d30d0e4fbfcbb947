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

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// An attack tries to get a change past the merge door. It returns the pull request
// that must be held, and the codes of which each must be named by the check.
type attack struct {
	name  string
	try   func(*world) *githubtest.Pull
	codes []string
	// policy is another policy than policyText, if not empty.
	policy string
}

// sql is a change that asks a human, docs one that does not.
func sql(name string) map[string]string {
	return map[string]string{"migrations/" + name + ".sql": "select 1;\n"}
}
func docs(name string) map[string]string {
	return map[string]string{"docs/" + name + ".md": "# " + name + "\n"}
}

// approvedBy is a change of the agent's that asks a human, approved by somebody.
func approvedBy(who func(*world) *githubtest.User) func(*world) *githubtest.Pull {
	return func(w *world) *githubtest.Pull {
		p := w.open(w.agent, "writer/a", sql("a"))
		w.settle()
		w.try(p.Approve(who(w), ""))
		return p
	}
}

// try lets GitHub refuse what an attack tries: that stops it too.
func (w *world) try(_ int64, err error) {
	if err != nil {
		w.t.Logf("GitHub refused: %v", err)
	}
}

// commit is a commit of the agent's with files of all kinds, opened and tested.
func (w *world) commit(branch string, c githubtest.Commit) *githubtest.Pull {
	w.t.Helper()
	c.Message = "Work on " + branch
	email := fmt.Sprintf("%d+writer[bot]@users.noreply.github.com", w.agent.ID)
	c.Author = githubtest.Identity{Name: "writer[bot]", Email: email}
	_, err := w.repo.PushCommit(w.agent, branch, c)
	must(w.t, err)
	p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: branch, Title: "Work on " + branch, As: w.agentApp})
	must(w.t, err)
	w.tests(p.Head(), "success")
	return p
}

// green is an agent's documentation change whose check is green.
func (w *world) green(branch string) *githubtest.Pull {
	w.t.Helper()
	p := w.open(w.agent, branch, docs(strings.ReplaceAll(branch, "/", "-")))
	w.tests(p.Head(), "success")
	return p
}

// file is an agent's change of one path, tested.
func file(path string) func(*world) *githubtest.Pull {
	return func(w *world) *githubtest.Pull {
		return w.commit("writer/f", githubtest.Commit{Files: map[string]githubtest.File{path: githubtest.Text("x\n")}})
	}
}

// noMerge is the ordinary policy without merging, so that what is approved stays
// open.
var noMerge = strings.Replace(policyText, "    merge: true\n", "", 1)

func attacks() []attack {
	return []attack{
		// Who approves.
		{"a bot approves", approvedBy(func(w *world) *githubtest.User { return w.g.Bot("helper[bot]") }), []string{"SP301"}, ""},
		{"the agent's own App approves", approvedBy(func(w *world) *githubtest.User { return w.agent }), []string{"SP301"}, ""},
		{"a writer who is not listed approves", approvedBy(func(w *world) *githubtest.User { return w.alice }), []string{"SP301", "SP311"}, ""},
		{"the organisation's owner, not listed, approves", approvedBy(func(w *world) *githubtest.User { return w.carol }), []string{"SP301", "SP311"}, ""},
		{"a reader approves", approvedBy(func(w *world) *githubtest.User { return w.eve }), []string{"SP301", "SP311"}, ""},
		{"somebody from outside approves", approvedBy(func(w *world) *githubtest.User { return w.g.User("mallory") }), []string{"SP301"}, ""},
		{"a listed reviewer approves her own change", func(w *world) *githubtest.Pull {
			p := w.open(w.bob, "own", sql("own"))
			w.try(p.Approve(w.bob, ""))
			return p
		}, []string{"SP301"}, ""},
		{"a listed reviewer pushes to the agent's change and approves it", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/b", sql("b"))
			w.push(w.bob, "writer/b", sql("b2"))
			w.settle()
			w.try(p.Approve(w.bob, ""))
			return p
		}, []string{"SP301", "SP312"}, ""},
		{"a listed reviewer is the last to push, with the agent's commit", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/c", sql("c"))
			sha := w.repo.Commit(githubtest.Commit{Message: "More", Parents: []string{p.Head()}, Author: githubtest.Identity{Name: "writer[bot]", Email: fmt.Sprintf("%d+writer[bot]@users.noreply.github.com", w.agent.ID)}, Files: map[string]githubtest.File{"migrations/c2.sql": githubtest.Text("select 2;\n")}})
			must(w.t, w.repo.Push(w.bob, "writer/c", sha))
			w.settle()
			w.try(p.Approve(w.bob, ""))
			return p
		}, []string{"SP301", "SP312"}, ""},
		{"a co-author of the change approves", func(w *world) *githubtest.Pull {
			w.repo.CommitTo(w.agent, "writer/d", "Work\n\nCo-authored-by: bob <"+fmt.Sprintf("%d+bob@users.noreply.github.com", w.bob.ID)+">", sql("d"))
			p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/d", Title: "d", As: w.agentApp})
			must(w.t, err)
			w.settle()
			w.try(p.Approve(w.bob, ""))
			return p
		}, []string{"SP301", "SP312"}, ""},
		{"the committer approves", func(w *world) *githubtest.Pull {
			_, err := w.repo.PushCommit(w.agent, "writer/e", githubtest.Commit{
				Message: "Work", Author: githubtest.Identity{Name: "writer[bot]", Email: fmt.Sprintf("%d+writer[bot]@users.noreply.github.com", w.agent.ID)},
				Committer: githubtest.Identity{Name: "bob", Email: fmt.Sprintf("%d+bob@users.noreply.github.com", w.bob.ID)}, Files: map[string]githubtest.File{"migrations/e.sql": githubtest.Text("select 1;\n")},
			})
			must(w.t, err)
			p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/e", Title: "e", As: w.agentApp})
			must(w.t, err)
			w.settle()
			w.try(p.Approve(w.bob, ""))
			return p
		}, []string{"SP301", "SP312"}, ""},
		{"a former member's approval", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/g", sql("g"))
			w.try(p.Approve(w.bob, ""))
			w.sre.Remove(w.carol, w.bob)
			return p
		}, []string{"SP301", "SP311"}, ""},
		{"a member who was only invited", func(w *world) *githubtest.Pull {
			w.repo.Collaborator(w.dave, "write")
			w.sre.Invite(w.carol, w.dave)
			p := w.open(w.agent, "writer/inv", sql("inv"))
			w.try(p.Approve(w.dave, ""))
			return p
		}, []string{"SP301", "SP311"}, ""},
		{"a listed user of the same login with another id", func(w *world) *githubtest.Pull {
			w.alice.Rename("alice-old")
			impostor := w.g.User("alice")
			w.repo.Collaborator(impostor, "write")
			p := w.open(w.agent, "writer/h", sql("h"))
			w.try(p.Approve(impostor, ""))
			return p
		}, []string{"SP301", "SP316"}, strings.Replace(policyText, "[acme/sre]", "[alice, bob]", 1)},
		{"a team of the same name, made anew", func(w *world) *githubtest.Pull {
			w.sre.Rename("sre-old")
			w.acme.Team("sre", w.dave).Access(w.repo, "write")
			p := w.open(w.agent, "writer/i", sql("i"))
			w.try(p.Approve(w.dave, ""))
			return p
		}, []string{"SP301", "SP311"}, ""},
		{"a reviewer who lost write access", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/j", sql("j"))
			w.try(p.Approve(w.alice, ""))
			w.repo.Collaborator(w.alice, "read")
			return p
		}, []string{"SP301", "SP314"}, strings.Replace(policyText, "[acme/sre]", "[alice, bob]", 1)},

		// When.
		{"an approval of an older commit", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/k", sql("k"))
			w.try(p.Approve(w.bob, ""))
			w.settle()
			w.push(w.agent, "writer/k", sql("k2"))
			return p
		}, []string{"SP301", "SP313"}, ""},
		{"an approval given at an older commit after the push", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/l", sql("l"))
			old := p.Head()
			w.push(w.agent, "writer/l", sql("l2"))
			w.try(p.Approve(w.bob, old))
			return p
		}, []string{"SP301", "SP313"}, ""},
		{"a force push after the approval", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/m", sql("m"))
			w.try(p.Approve(w.bob, ""))
			w.settle()
			sha := w.repo.Commit(githubtest.Commit{Message: "Other", Parents: []string{w.repo.Head("main")}, Author: githubtest.Identity{Name: "w", Email: "w@example.com"}, Files: map[string]githubtest.File{"migrations/evil.sql": githubtest.Text("drop table x;\n")}})
			must(w.t, w.repo.Push(w.agent, "writer/m", sha))
			return p
		}, []string{"SP301", "SP313"}, ""},
		{"a dismissed approval", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/n", sql("n"))
			id, err := p.Approve(w.bob, "")
			must(w.t, err)
			must(w.t, p.Dismiss(w.carol, id, "no"))
			return p
		}, []string{"SP301"}, ""},
		{"an approval, then changes requested by the same person", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/o", sql("o"))
			w.try(p.Approve(w.bob, ""))
			w.try(p.Review(w.bob, "REQUEST_CHANGES", "", "wait"))
			return p
		}, []string{"SP303"}, ""},
		{"changes requested by one listed, approved by another", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/p", sql("p"))
			w.try(p.Review(w.rose, "REQUEST_CHANGES", "", "no"))
			w.try(p.Approve(w.bob, ""))
			return p
		}, []string{"SP303"}, ""},
		{"an approval that is too old", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/q", sql("q"))
			w.try(p.Approve(w.bob, ""))
			w.settle()
			w.clock.Advance(50 * time.Minute)
			must(w.t, p.Edit(w.alice, "Another title", ""))
			return p
		}, []string{"SP301", "SP315"}, strings.Replace(policyText, "gate: human", "gate: human\n    max_age: 30m", 1)},
		{"a comment that says :+1:", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/r", sql("r"))
			w.try(p.Review(w.bob, "COMMENT", "", ":+1: LGTM, approved"))
			_, err := p.Comment(w.bob, "/approve")
			must(w.t, err)
			return p
		}, []string{"SP301"}, ""},
		{"one approval where two are asked", approvedBy(func(w *world) *githubtest.User { return w.bob }), []string{"SP301"}, strings.Replace(policyText, "gate: human", "gate: human\n    count: 2", 1)},

		// What.
		{"a path that no environment names", file("src/main.go"), []string{"SP102"}, ""},
		{"the policy itself", file(rules.PolicyPath), []string{"SP103"}, ""},
		{"a workflow", file(".github/workflows/test.yml"), []string{"SP103"}, ""},
		{"CODEOWNERS", file("docs/CODEOWNERS"), []string{"SP103"}, ""},
		{"an agent's settings below a safe path", file("docs/.claude/settings.json"), []string{"SP103"}, ""},
		{"AGENTS.md below a safe path", file("docs/AGENTS.md"), []string{"SP103"}, ""},
		{"an action's metadata below a safe path", file("docs/action.yml"), []string{"SP103"}, ""},
		{"a path in another case", file("Docs/guide.md"), []string{"SP102"}, ""},
		{"a protected path in another case", file("docs/agents.MD"), []string{"SP107"}, ""},
		{"a lookalike letter", file("d\u043ecs/guide.md"), []string{"SP102"}, ""},
		{"a backslash", file(`docs\..\src\main.go`), []string{"SP104"}, ""},
		{"a path with an invisible letter", file("docs/gui\u200bde.md"), []string{"SP104"}, ""},
		{"a line break in a path", file("docs/a\nb.md"), []string{"SP104"}, ""},
		{"a symlink", func(w *world) *githubtest.Pull {
			return w.commit("writer/s", githubtest.Commit{Files: map[string]githubtest.File{"docs/guide.md": githubtest.Symlink("../src/main.go")}})
		}, []string{"SP105"}, ""},
		{"a submodule", func(w *world) *githubtest.Pull {
			return w.commit("writer/t", githubtest.Commit{Files: map[string]githubtest.File{"docs/vendor": githubtest.Submodule(strings.Repeat("a", 40))}})
		}, []string{"SP105"}, ""},
		{"a file moved out of production", func(w *world) *githubtest.Pull {
			w.push(w.carol, "main", map[string]string{"src/secret.go": "package main\n\nfunc main() { println(1) }\n"})
			return w.commit("writer/u", githubtest.Commit{Renames: map[string]string{"src/secret.go": "docs/secret.md"}})
		}, []string{"SP102"}, ""},
		{"a safe file and one that is not", func(w *world) *githubtest.Pull {
			return w.commit("writer/v", githubtest.Commit{Files: map[string]githubtest.File{"docs/a.md": githubtest.Text("a\n"), "src/b.go": githubtest.Text("b\n")}})
		}, []string{"SP102"}, ""},
		{"a tree that GitHub cut short", func(w *world) *githubtest.Pull {
			w.repo.TruncateTrees(1)
			return w.green("writer/trunc")
		}, []string{"SP106"}, ""},
		{"251 commits", func(w *world) *githubtest.Pull {
			parent := w.repo.Head("main")
			for i := range 251 {
				parent = w.repo.Commit(githubtest.Commit{Message: "c", Parents: []string{parent}, Author: githubtest.Identity{Name: "writer[bot]", Email: fmt.Sprintf("%d+writer[bot]@users.noreply.github.com", w.agent.ID)}, Files: map[string]githubtest.File{"docs/a.md": githubtest.Text(fmt.Sprint(i))}})
			}
			must(w.t, w.repo.Push(w.agent, "writer/many", parent))
			p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/many", Title: "many", As: w.agentApp})
			must(w.t, err)
			w.tests(p.Head(), "success")
			return p
		}, []string{"SP022"}, ""},
		{"3,001 files", func(w *world) *githubtest.Pull {
			files := map[string]githubtest.File{}
			for i := range 3001 {
				files[fmt.Sprintf("docs/%d.md", i)] = githubtest.Text("x")
			}
			return w.commit("writer/files", githubtest.Commit{Files: files})
		}, []string{"SP021"}, ""},

		// Who wrote it.
		{"a person's branch with an agent's trailer", func(w *world) *githubtest.Pull {
			w.repo.CommitTo(w.dave, "claude/x", "Work\n\n\U0001F916 Generated with [Claude Code](https://claude.com/claude-code)\n\nCo-Authored-By: Claude <noreply@anthropic.com>", docs("x"))
			p, err := w.repo.OpenPull(w.dave, githubtest.PullSpec{Head: "claude/x", Title: "x"})
			must(w.t, err)
			w.tests(p.Head(), "success")
			return p
		}, []string{"SP301"}, ""},
		{"a person who takes the agent's branch name", func(w *world) *githubtest.Pull {
			p := w.open(w.dave, "writer/dave", docs("dave"))
			w.tests(p.Head(), "success")
			return p
		}, []string{"SP301"}, ""},
		{"a person pushes to the agent's safe change", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/w", docs("w"))
			w.push(w.dave, "writer/w", docs("w2"))
			w.tests(p.Head(), "success")
			return p
		}, []string{"SP301"}, ""},
		{"a person pushes the agent's own commit", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/x", docs("x"))
			sha := w.repo.Commit(githubtest.Commit{Message: "More", Parents: []string{p.Head()}, Author: githubtest.Identity{Name: "writer[bot]", Email: fmt.Sprintf("%d+writer[bot]@users.noreply.github.com", w.agent.ID)}, Files: map[string]githubtest.File{"docs/evil.md": githubtest.Text("evil\n")}})
			must(w.t, w.repo.Push(w.dave, "writer/x", sha))
			w.tests(p.Head(), "success")
			return p
		}, []string{"SP202"}, ""},
		{"a bot that is no agent", func(w *world) *githubtest.Pull {
			bot := w.g.Bot("stranger[bot]")
			w.repo.Collaborator(bot, "write")
			p := w.open(bot, "stranger/x", docs("stranger"))
			w.tests(p.Head(), "success")
			return p
		}, []string{"SP205", "SP301"}, ""},
		{"a draft", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/draft", docs("draft"))
			must(w.t, p.Draft(w.agent))
			w.tests(p.Head(), "success")
			return p
		}, []string{"SP025"}, ""},
		{"a fork", func(w *world) *githubtest.Pull {
			fork := w.repo.Fork(w.agent)
			fork.CommitTo(w.agent, "writer/fork", "Work", docs("fork"))
			p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/fork", From: fork, Title: "fork"})
			must(w.t, err)
			w.tests(p.Head(), "success")
			return p
		}, []string{"SP301"}, ""},

		// Checks.
		{"no check at all", func(w *world) *githubtest.Pull { return w.open(w.agent, "writer/y", docs("y")) }, []string{"SP401"}, ""},
		{"a red check", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/z", docs("z"))
			w.tests(p.Head(), "failure")
			return p
		}, []string{"SP402"}, ""},
		{"a neutral check", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/neutral", docs("neutral"))
			w.tests(p.Head(), "neutral")
			return p
		}, []string{"SP402"}, ""},
		{"a skipped check", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/skipped", docs("skipped"))
			w.tests(p.Head(), "skipped")
			return p
		}, []string{"SP402"}, ""},
		{"a check that a job forged with its token", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/forged", docs("forged"))
			run := w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/lint.yml", By: w.dave, SHA: p.Head(), Jobs: []githubtest.JobSpec{{Name: "lint"}}})
			must(w.t, run.Job("lint").Complete("success"))
			w.repo.AddCheck(w.g.Actions(), p.Head(), "test", "success")
			return p
		}, []string{"SP401", "SP406"}, ""},
		{"a check of the agent's own App", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/ownapp", docs("ownapp"))
			w.repo.AddCheck(w.agentApp, p.Head(), "test", "success")
			return p
		}, []string{"SP401"}, ""},
		{"a status of the same name", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/status", docs("status"))
			w.repo.Status(w.dave, p.Head(), "test", "success")
			return p
		}, []string{"SP401"}, ""},
		{"a check that turns red after the approval", func(w *world) *githubtest.Pull {
			p := w.green("writer/later")
			w.settle()
			if w.approvals(p) != 1 {
				w.t.Errorf("it was not approved first: %s", w.dump(p))
			}
			w.tests(p.Head(), "failure")
			return p
		}, []string{"SP402"}, noMerge},
		{"a push after our approval", func(w *world) *githubtest.Pull {
			p := w.green("writer/push")
			w.settle()
			if w.approvals(p) != 1 {
				w.t.Errorf("it was not approved first: %s", w.dump(p))
			}
			w.push(w.agent, "writer/push", docs("more"))
			return p
		}, []string{"SP401"}, noMerge},
		{"a check of an earlier commit", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/earlier", docs("earlier"))
			w.tests(p.Head(), "success")
			w.push(w.agent, "writer/earlier", docs("more"))
			return p
		}, []string{"SP401"}, noMerge},

		// Policies.
		{"no policy was adopted", func(w *world) *githubtest.Pull {
			w.push(w.carol, "main", map[string]string{rules.PolicyPath: policyText})
			return w.green("writer/unadopted")
		}, []string{"SP003"}, "-"},
		{"there is no policy", func(w *world) *githubtest.Pull { return w.green("writer/none") }, []string{"SP005"}, "-"},
		{"a looser policy in the change itself", func(w *world) *githubtest.Pull {
			return w.commit("writer/pol", githubtest.Commit{Files: map[string]githubtest.File{
				rules.PolicyPath: githubtest.Text(strings.Replace(policyText, "docs/**", "docs/**, src/**", 1)), "src/a.go": githubtest.Text("a\n"),
			}})
		}, []string{"SP103", "SP102"}, ""},
		{"a looser policy pushed directly", func(w *world) *githubtest.Pull {
			w.push(w.carol, "main", map[string]string{rules.PolicyPath: strings.Replace(policyText, "docs/**", "docs/**, src/**", 1)})
			w.settle()
			return w.commit("writer/direct", githubtest.Commit{Files: map[string]githubtest.File{"src/a.go": githubtest.Text("a\n")}})
		}, []string{"SP102"}, ""},
		{"a looser policy merged past the check", func(w *world) *githubtest.Pull {
			p := w.open(w.dave, "loosen", map[string]string{rules.PolicyPath: strings.Replace(policyText, "docs/**", "docs/**, src/**", 1)})
			w.settle()
			if err := p.MergeAsAdmin(w.carol, "squash"); err != nil {
				w.push(w.carol, "main", map[string]string{rules.PolicyPath: strings.Replace(policyText, "docs/**", "docs/**, src/**", 1)})
			}
			w.settle()
			return w.commit("writer/past", githubtest.Commit{Files: map[string]githubtest.File{"src/a.go": githubtest.Text("a\n")}})
		}, []string{"SP102"}, ""},
		{"the policy deleted by a push", func(w *world) *githubtest.Pull {
			_, err := w.repo.PushCommit(w.carol, "main", githubtest.Commit{Message: "x", Author: githubtest.Identity{Name: "carol", Email: "c@example.com"}, Files: map[string]githubtest.File{rules.PolicyPath: githubtest.Removed()}})
			must(w.t, err)
			w.settle()
			return w.commit("writer/deleted", githubtest.Commit{Files: map[string]githubtest.File{"src/a.go": githubtest.Text("a\n")}})
		}, []string{"SP102"}, ""},
		{"a looser policy on another default branch", func(w *world) *githubtest.Pull {
			w.push(w.carol, "loose", map[string]string{rules.PolicyPath: strings.Replace(policyText, "docs/**", "docs/**, src/**", 1)})
			w.repo.SetDefaultBranch(w.carol, "loose")
			w.settle()
			return w.commit("writer/default", githubtest.Commit{Files: map[string]githubtest.File{"src/a.go": githubtest.Text("a\n")}})
		}, []string{"SP102"}, ""},
		{"a floor that nobody adopted", func(w *world) *githubtest.Pull {
			floor := w.g.Repository(w.acme, ".github")
			floor.CommitTo(w.carol, "main", "Floor", map[string]string{rules.FloorPath: policyText})
			w.reread()
			return w.green("writer/floor")
		}, []string{"SP003"}, ""},
		{"a floor that is stricter", func(w *world) *githubtest.Pull {
			floor := w.g.Repository(w.acme, ".github")
			floor.CommitTo(w.carol, "main", "Floor", map[string]string{rules.FloorPath: "version: 1\nreviewers: [acme/sre]\nenvironments:\n  production: {gate: human}\n"})
			w.reread()
			w.adopt("acme/.github")
			w.settle()
			return w.green("writer/floor2")
		}, []string{"SP301"}, ""},

		// Events and text.
		{"a forged synchronize with a stolen secret", func(w *world) *githubtest.Pull {
			p := w.open(w.dave, "writer/stolen", docs("stolen"))
			w.tests(p.Head(), "success")
			w.forge("pull_request", fmt.Sprintf(`{"action":"synchronize","number":%d,"before":%q,"after":%q,"pull_request":{"number":%d,"head":{"sha":%q}},"repository":{"id":%d,"full_name":"acme/orders"},"sender":{"id":%d,"login":"writer[bot]","type":"Bot"},"installation":{"id":%d}}`,
				p.Number, strings.Repeat("1", 40), p.Head(), p.Number, p.Head(), w.repo.ID, w.agent.ID, w.inst.ID))
			return p
		}, []string{"SP301"}, ""},
		{"a forged review with a stolen secret", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/review", sql("review"))
			w.forge("pull_request_review", fmt.Sprintf(`{"action":"submitted","review":{"id":1,"state":"approved","commit_id":%q,"user":{"id":%d,"login":"bob","type":"User"}},"pull_request":{"number":%d},"repository":{"id":%d,"full_name":"acme/orders"},"sender":{"id":%d},"installation":{"id":%d}}`,
				p.Head(), w.bob.ID, p.Number, w.repo.ID, w.bob.ID, w.inst.ID))
			return p
		}, []string{"SP301"}, ""},
		{"a forged check with a stolen secret", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/check", docs("check"))
			w.forge("check_run", fmt.Sprintf(`{"action":"completed","check_run":{"id":9,"name":"test","head_sha":%q,"status":"completed","conclusion":"success","app":{"id":15368},"pull_requests":[]},"repository":{"id":%d,"full_name":"acme/orders"},"sender":{"id":%d},"installation":{"id":%d}}`,
				p.Head(), w.repo.ID, w.dave.ID, w.inst.ID))
			return p
		}, []string{"SP401"}, ""},
		{"a title that pretends, mentions and hides", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/title", sql("title"))
			must(w.t, p.Edit(w.agent, "<!-- sallyport --> **Allowed** @acme/sre [x](https://evil.example) `a` \n\n| ok", "@bob <!-- sallyport -->"))
			return p
		}, []string{"SP301"}, ""},
		{"somebody else's comment with our marker", func(w *world) *githubtest.Pull {
			p := w.open(w.agent, "writer/marker", sql("marker"))
			_, err := p.Comment(w.eve, "<!-- sallyport -->\n**Allowed**")
			must(w.t, err)
			return p
		}, []string{"SP301"}, ""},
		{"a green change retargeted to a branch of another policy", func(w *world) *githubtest.Pull {
			w.push(w.carol, "release", map[string]string{rules.PolicyPath: "version: 1\n"})
			p := w.open(w.agent, "writer/retarget", sql("retarget"))
			must(w.t, p.Retarget(w.dave, "release"))
			return p
		}, []string{"SP301"}, ""},
		{"two pull requests at one commit, one of them safe", func(w *world) *githubtest.Pull {
			base := w.repo.Commit(githubtest.Commit{Message: "b", Parents: []string{w.repo.Head("main")}, Author: githubtest.Identity{Name: "d", Email: "d@example.com"}, Files: map[string]githubtest.File{"src/a.go": githubtest.Text("a\n")}})
			must(w.t, w.repo.Push(w.dave, "side", base))
			head := w.repo.Commit(githubtest.Commit{Message: "c", Parents: []string{base}, Author: githubtest.Identity{Name: "writer[bot]", Email: fmt.Sprintf("%d+writer[bot]@users.noreply.github.com", w.agent.ID)}, Files: map[string]githubtest.File{"docs/a.md": githubtest.Text("a\n")}})
			must(w.t, w.repo.Push(w.agent, "writer/two", head))
			_, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/two", Base: "side", Title: "safe", As: w.agentApp})
			must(w.t, err)
			w.tests(head, "success")
			w.settle()
			p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/two", Title: "not", As: w.agentApp})
			must(w.t, err)
			return p
		}, []string{"SP102"}, noMerge},
	}
}

// reread has the gate look at what the installation reaches, as it does now and then.
func (w *world) reread() {
	w.t.Helper()
	must(w.t, w.store.Mark(w.t.Context(), w.clock.Now(), rules.Mark{Key: rules.WorkKey{Kind: rules.WorkInstallation, Number: w.inst.ID}}))
	w.settle()
}

// forge delivers a body that is signed with the webhook's own secret.
func (w *world) forge(event, body string) {
	w.t.Helper()
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	q, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.hook.URL+"/webhooks/github", bytes.NewReader([]byte(body)))
	must(w.t, err)
	for k, v := range map[string]string{
		"Content-Type": "application/json", "X-GitHub-Event": event, "X-GitHub-Delivery": "forged-" + hex.EncodeToString(mac.Sum(nil))[:16],
		"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil)),
	} {
		q.Header.Set(k, v)
	}
	answer, err := http.DefaultClient.Do(q)
	must(w.t, err)
	must(w.t, answer.Body.Close())
	if answer.StatusCode != http.StatusAccepted {
		w.t.Errorf("the forged %s is answered with %d", event, answer.StatusCode)
	}
}

func TestAttacksOnTheMergeDoor(t *testing.T) {
	all := attacks()
	if len(all) < 60 {
		t.Errorf("%d attacks, want at least 60", len(all))
	}
	for _, a := range all {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			policy := a.policy
			switch policy {
			case "":
				policy = policyText
			case "-":
				policy = ""
			}
			w := newWorld(t, policy)
			p := a.try(w)
			w.settle()
			got, text := w.says(p.Head())
			if got != "action_required" && got != "failure" {
				t.Errorf("the check says %q:\n%s", got, text)
			}
			for _, code := range a.codes {
				if !strings.Contains(text, "`"+code+"`") {
					t.Errorf("%s is not named:\n%s", code, text)
				}
			}
			if s := p.See(); s.Merged || w.approvals(p) > 0 {
				t.Errorf("it got through: %s", w.dump(p))
			}
			for _, c := range p.See().Comments {
				if c.User == "sallyport[bot]" && (strings.Contains(c.Body, "evil.example)") || strings.Count(c.Body, "<!-- sallyport -->") != 1) {
					t.Errorf("foreign text got into the comment:\n%s", c.Body)
				}
			}
			w.verify()
		})
	}
}

// The same set-ups without an attack go through, so that no attack fails for another
// reason.
func TestNoAttack(t *testing.T) {
	t.Run("a listed reviewer approves", func(t *testing.T) {
		w := newWorld(t, policyText)
		p := approvedBy(func(w *world) *githubtest.User { return w.bob })(w)
		w.settle()
		w.want(p, "success", "SP302")
	})
	t.Run("a named user approves", func(t *testing.T) {
		w := newWorld(t, strings.Replace(policyText, "[acme/sre]", "[alice, bob]", 1))
		p := approvedBy(func(w *world) *githubtest.User { return w.alice })(w)
		w.settle()
		w.want(p, "success", "SP302")
	})
	t.Run("a safe file is merged", func(t *testing.T) {
		w := newWorld(t, policyText)
		p := file("docs/guide.md")(w)
		w.settle()
		w.want(p, "success", "SP201", "SP410")
		if !p.See().Merged {
			t.Errorf("it is not merged: %s", w.dump(p))
		}
	})
}
