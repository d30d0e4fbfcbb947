package gate_test

import (
	"fmt"
	"strings"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// evil is what somebody hides.
func evil() map[string]githubtest.File {
	return text(map[string]string{"src/evil.go": "package evil\n"})
}

// approvedPull is alice's pull request that bob approved and nobody merged.
func (w *world) approvedPull(branch, base string) *githubtest.Pull {
	w.t.Helper()
	w.push(w.alice, branch, map[string]string{"src/" + branch + ".go": "package a\n"})
	p, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: branch, Base: base, Title: "Work on " + branch})
	must(w.t, err)
	w.settle()
	w.approve(p, w.bob)
	w.settle()
	return p
}

// broughtBy is a deployment, to an environment that asks at the merge only, of what
// comes to main; in the control alice's approved pull request comes.
func broughtBy(name string, codes []string, how func(w *world)) deployAdversary {
	return deployAdversary{name: name, policy: merges, codes: codes, do: func(w *world, on bool) *deployment {
		w.released("production")
		if on {
			how(w)
		} else {
			w.merged(w.alice, "work", "merge", map[string]string{"src/a.go": "package a\n"})
		}
		w.settle()
		return w.deploy("production")
	}}
}

// pushes is what comes to main by a push.
func pushes() []deployAdversary {
	github := githubtest.Identity{Name: "GitHub", Email: "noreply@github.com"}
	// Elsewhere merges an approved pull request by a commit of somebody's own.
	elsewhere := func(name string, commit func(w *world, p *githubtest.Pull) githubtest.Commit) deployAdversary {
		return broughtBy(name, []string{"SP516"}, func(w *world) {
			p := w.approvedPull("work", "main")
			w.direct(commit(w, p))
		})
	}
	return []deployAdversary{
		broughtBy("a direct push", []string{"SP516"}, func(w *world) { w.direct(githubtest.Commit{}) }),
		broughtBy("a direct push among approved changes", []string{"SP516"}, func(w *world) {
			w.merged(w.alice, "a", "merge", map[string]string{"src/a.go": "package a\n"})
			w.direct(githubtest.Commit{Files: evil()})
			w.merged(w.alice, "b", "squash", map[string]string{"src/b.go": "package b\n"})
		}),
		elsewhere("a merge made elsewhere with other content", func(w *world, p *githubtest.Pull) githubtest.Commit {
			return githubtest.Commit{Message: fmt.Sprintf("Merge pull request #%d from acme/work", p.Number), Parents: []string{w.repo.Head("main"), p.Head()}, Files: evil()}
		}),
		elsewhere("a merge of other content signed by GitHub", func(w *world, p *githubtest.Pull) githubtest.Commit {
			return githubtest.Commit{
				Message: fmt.Sprintf("Merge pull request #%d from acme/work", p.Number), Committer: github, Parents: []string{w.repo.Head("main"), p.Head()}, Files: evil(), Signed: true,
			}
		}),
		elsewhere("a merge with hidden commits behind a third parent", func(w *world, p *githubtest.Pull) githubtest.Commit {
			hidden := w.repo.Commit(githubtest.Commit{Message: "Hidden", Author: w.dave.Identity(), Parents: []string{w.repo.Head("main")}, Files: evil()})
			return githubtest.Commit{Message: "Merge", Parents: []string{w.repo.Head("main"), p.Head(), hidden}}
		}),
		elsewhere("a merge of the approved head with a branch of hidden commits", func(w *world, p *githubtest.Pull) githubtest.Commit {
			hidden := w.repo.Commit(githubtest.Commit{Message: "Hidden", Author: w.dave.Identity(), Parents: []string{w.repo.Head("main")}, Files: evil()})
			branch := w.repo.Commit(githubtest.Commit{Message: "Merge hidden", Author: w.alice.Identity(), Parents: []string{p.Head(), hidden}, Files: evil()})
			return githubtest.Commit{Message: fmt.Sprintf("Merge pull request #%d", p.Number), Committer: github, Parents: []string{w.repo.Head("main"), branch}, Files: evil(), Signed: true}
		}),
		elsewhere("a commit on top of the approved head", func(_ *world, p *githubtest.Pull) githubtest.Commit {
			return githubtest.Commit{Parents: []string{p.Head()}, Files: evil()}
		}),
		elsewhere("a squash made by hand that names the pull request", func(w *world, p *githubtest.Pull) githubtest.Commit {
			return githubtest.Commit{Message: fmt.Sprintf("Work on work (#%d)", p.Number), Committer: github, Parents: []string{w.repo.Head("main")}, Files: evil(), Signed: true}
		}),
		broughtBy("a push that names a merged pull request", []string{"SP516"}, func(w *world) {
			p := w.merged(w.alice, "work", "squash", map[string]string{"src/a.go": "package a\n"})
			w.direct(githubtest.Commit{Message: fmt.Sprintf("Work on work (#%d)", p.Number), Committer: github, Files: evil(), Signed: true})
		}),
		{name: "what was reverted comes back by a push", policy: merges, codes: []string{"SP516"}, do: func(w *world, on bool) *deployment {
			w.released("production")
			w.merged(w.alice, "work", "merge", map[string]string{"src/a.go": "package a\n"})
			w.direct(githubtest.Commit{Message: "Revert", Files: map[string]githubtest.File{"src/a.go": githubtest.Removed()}})
			d := w.deploy("production")
			d.click(w.rose, "approve")
			d.end("success")
			if on {
				w.direct(githubtest.Commit{Message: "Revert the revert", Files: text(map[string]string{"src/a.go": "package a\n"})})
			} else {
				w.merged(w.alice, "again", "merge", map[string]string{"src/a.go": "package a\n"})
			}
			return w.deploy("production")
		}},
		broughtBy("a pull request that was approved for another branch", []string{"SP516"}, func(w *world) {
			must(w.t, w.repo.Push(w.dave, "side", w.repo.Head("main")))
			p := w.approvedPull("work", "side")
			must(w.t, p.Merge(w.dave, "merge", ""))
			w.settle()
			must(w.t, w.repo.Push(w.carol, "main", w.repo.Head("side")))
		}),
		broughtBy("history rewritten", []string{"SP514", "SP516"}, func(w *world) {
			w.merged(w.alice, "work", "merge", map[string]string{"src/a.go": "package a\n"})
			d := w.deploy("production")
			d.end("success")
			must(w.t, w.repo.Push(w.carol, "main", w.repo.Commit(githubtest.Commit{Message: "Other", Author: w.alice.Identity(), Parents: []string{w.repo.Head("work")}, Files: evil()})))
		}),
		broughtBy("an approved change put back by a force push", []string{"SP513"}, func(w *world) {
			base := w.repo.Head("main")
			w.merged(w.alice, "work", "merge", map[string]string{"src/a.go": "package a\n"})
			other := w.merged(w.alice, "other", "merge", map[string]string{"src/b.go": "package b\n"})
			d := w.deploy("production")
			d.end("success")
			must(w.t, w.repo.Push(w.carol, "main", base))
			must(w.t, w.repo.Push(w.carol, "main", other.Head()))
		}),
	}
}

// long brings many commits by pull requests that bob approved.
func (w *world) long() {
	w.t.Helper()
	for i := range 3 {
		head := w.repo.Head("main")
		branch := fmt.Sprintf("long-%d", i)
		for j := range 90 {
			head = w.repo.Commit(githubtest.Commit{
				Message: "Work", Author: w.alice.Identity(), Parents: []string{head}, Files: text(map[string]string{fmt.Sprintf("src/%d.go", i): fmt.Sprint(j)}),
			})
		}
		must(w.t, w.repo.Push(w.alice, branch, head))
		p, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: branch, Title: branch})
		must(w.t, err)
		w.settle()
		w.approve(p, w.bob)
		w.settle()
		must(w.t, p.Merge(w.dave, "merge", p.Head()))
		w.settle()
	}
}

// badMerges is what comes to main by a pull request that should not have been merged.
func badMerges() []deployAdversary {
	asAdmin := func(name, method string, open func(w *world) *githubtest.Pull) deployAdversary {
		return broughtBy(name, []string{"SP517"}, func(w *world) {
			p := open(w)
			w.settle()
			must(w.t, p.MergeAsAdmin(w.carol, method))
		})
	}
	unapproved := func(w *world) *githubtest.Pull {
		return w.open(w.alice, "work", map[string]string{"src/a.go": "package a\n"})
	}
	many := func(name string, how func(w *world)) deployAdversary {
		return deployAdversary{name: name, policy: merges, codes: []string{"SP516"}, do: func(w *world, on bool) *deployment {
			w.released("production")
			if on {
				how(w)
			} else {
				w.long()
			}
			return w.deploy("production")
		}}
	}
	return []deployAdversary{
		asAdmin("an unapproved pull request merged by an admin", "merge", unapproved),
		asAdmin("an unapproved pull request squashed by an admin", "squash", unapproved),
		asAdmin("an unapproved pull request rebased by an admin", "rebase", unapproved),
		asAdmin("a pull request whose head moved after the approval", "merge", func(w *world) *githubtest.Pull {
			p := w.approvedPull("work", "main")
			w.push(w.alice, "work", map[string]string{"src/evil.go": "package evil\n"})
			return p
		}),
		asAdmin("a pull request whose head was put in place of the approved one", "squash", func(w *world) *githubtest.Pull {
			p := w.approvedPull("work", "main")
			must(w.t, w.repo.Push(w.alice, "work", w.repo.Commit(githubtest.Commit{Message: "Work on work", Author: w.alice.Identity(), Parents: []string{w.repo.Head("main")}, Files: evil()})))
			return p
		}),
		asAdmin("a pull request that its own author approved", "merge", func(w *world) *githubtest.Pull {
			p := w.changeBy(w.dave, w.dave, githubtest.Commit{Author: w.bob.Identity()})
			w.approve(p, w.bob)
			return p
		}),
		asAdmin("a pull request that an agent approved", "merge", func(w *world) *githubtest.Pull {
			p := w.open(w.alice, "work", map[string]string{"src/a.go": "package a\n"})
			w.settle()
			w.approve(p, w.agent)
			return p
		}),
		asAdmin("a pull request that a writer approved who is not listed", "merge", func(w *world) *githubtest.Pull {
			p := w.open(w.alice, "work", map[string]string{"src/a.go": "package a\n"})
			w.settle()
			w.approve(p, w.dave)
			return p
		}),
		asAdmin("a pull request whose approval was dismissed", "merge", func(w *world) *githubtest.Pull {
			p := w.open(w.alice, "work", map[string]string{"src/a.go": "package a\n"})
			w.settle()
			id, err := p.Approve(w.bob, "")
			must(w.t, err)
			w.settle()
			must(w.t, p.Dismiss(w.carol, id, "no"))
			return p
		}),
		broughtBy("an agent's change that merged by itself", []string{"SP515"}, func(w *world) {
			p := w.open(w.agent, "writer/docs", map[string]string{"docs/a.md": "a\n"})
			w.tests(p.Head(), "success")
			w.settle()
			if !p.See().Merged {
				w.t.Errorf("it is not merged: %s", w.dump(p))
			}
		}),
		many("the last of many commits", func(w *world) {
			w.long()
			w.direct(githubtest.Commit{Files: evil()})
		}),
		many("the first of many commits", func(w *world) {
			w.direct(githubtest.Commit{Files: evil()})
			w.long()
		}),
	}
}

// baselines is from where what comes next is counted.
func baselines() []deployAdversary {
	// Counted brings what nobody approved, has it deployed in some way, and deploys it
	// again; in the control the first deployment is right.
	counted := func(name string, how func(w *world)) deployAdversary {
		return deployAdversary{name: name, policy: merges, codes: []string{"SP516"}, do: func(w *world, on bool) *deployment {
			w.released("production")
			w.direct(githubtest.Commit{Files: evil()})
			if on {
				how(w)
				w.settle()
			} else {
				w.released("production")
			}
			return w.deploy("production")
		}}
	}
	released := func(conclusion string) func(w *world) {
		return func(w *world) {
			d := w.deploy("production")
			d.click(w.rose, "approve")
			d.end(conclusion)
		}
	}
	observing := "version: 1\nmode: observe\n" + strings.TrimPrefix(merges, "version: 1\n")
	return []deployAdversary{
		counted("a release whose job failed", released("failure")),
		counted("a release whose job was cancelled", released("cancelled")),
		counted("a release whose job has not ended", func(w *world) { w.deploy("production").click(w.rose, "approve") }),
		counted("a release of which one job failed", func(w *world) {
			d := w.deploy("production", twoJobs("production"))
			d.click(w.rose, "approve")
			must(w.t, d.Job("first").Complete("failure"))
			d.end("success")
		}),
		counted("a success that somebody wrote", func(w *world) {
			w.repo.Deploy(w.dave, w.repo.Head("main"), "main", "production").Status(w.dave, "success")
		}),
		counted("a success that a job wrote", func(w *world) {
			w.repo.Deploy(w.g.Actions().Bot(), w.repo.Head("main"), "main", "production").Status(w.g.Actions().Bot(), "success")
		}),
		counted("a deployment elsewhere moved here", func(w *world) {
			d := w.deploy("dev")
			d.end("success")
			d.Job("deploy").Deployment().Move(w.dave, "success", "production")
		}),
		counted("a release of another environment", func(w *world) {
			_, err := w.repo.Environment("production-eu").EnableRule(w.app)
			must(w.t, err)
			d := w.deploy("production-eu")
			d.click(w.rose, "approve")
			d.end("success")
		}),
		counted("a job that an administrator started", func(w *world) {
			d := w.deploy("production")
			must(w.t, d.StartWaiting(w.carol))
			w.settle()
			d.end("success")
		}),
		counted("a job without a rule", func(w *world) {
			// It was taken off for a moment.
			w.repo.Environment("production").Delete()
			w.repo.Environment("production")
			d := w.deploy("production")
			d.end("success")
			_, err := w.repo.Environment("production").EnableRule(w.app)
			must(w.t, err)
		}),
		counted("a job that succeeded when it was run again", func(w *world) {
			d := w.deploy("production")
			d.click(w.rose, "approve")
			d.end("failure")
			must(w.t, d.Rerun(w.dave))
			w.settle()
			must(w.t, d.StartWaiting(w.carol))
			w.settle()
			d.end("success")
		}),
		{name: "a release while the policy only observed", policy: observing, codes: []string{"SP510"}, do: func(w *world, on bool) *deployment {
			if !on {
				w.bring(text(map[string]string{rules.PolicyPath: merges}))
			}
			d := w.deploy("production")
			d.tries(w.rose)
			d.end("success")
			if on {
				w.bring(text(map[string]string{rules.PolicyPath: merges}))
			}
			return w.deploy("production")
		}},
		{name: "an older commit than the last", policy: merges, codes: []string{"SP513"}, do: func(w *world, on bool) *deployment {
			w.released("production")
			old := w.repo.Head("main")
			w.merged(w.alice, "work", "merge", map[string]string{"src/a.go": "package a\n"})
			d := w.deploy("production")
			d.end("success")
			w.merged(w.alice, "more", "merge", map[string]string{"src/b.go": "package b\n"})
			return w.deploy("production", func(s *githubtest.RunSpec) { s.SHA = pick(on, old, "") })
		}},
	}
}
