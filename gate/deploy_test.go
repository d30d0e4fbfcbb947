package gate_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// merges is deployPolicy whose production asks at the merge only.
var merges = strings.Replace(deployPolicy, "    gate: human\n", "    gate: human\n    steps: [merge]\n", 1)

func TestDeployStory(t *testing.T) {
	w := deploys(t, deployPolicy)
	w.deploy("dev").want("in_progress", "approved", "SP501")
	first := w.deploy("production")
	first.want("waiting", "", "SP510", "SP520")
	first.click(w.rose, "approve")
	first.want("in_progress", "approved", "SP527")
	first.end("success")
	again := w.deploy("production")
	again.want("waiting", "", "SP518")
	again.click(w.bob, "approve")
	again.want("in_progress", "approved")
	w.verify()
}

func TestDeployMerges(t *testing.T) {
	for _, method := range []string{"merge", "squash", "rebase"} {
		t.Run(method, func(t *testing.T) {
			w := deploys(t, merges)
			w.released("production")
			w.merged(w.alice, "work", method, map[string]string{"src/a.go": "package a\n", "src/b.go": "package b\n"})
			d := w.deploy("production")
			d.want("in_progress", "approved", "SP528")
			d.end("success")
			// An agent's change that no human approved.
			p := w.open(w.agent, "writer/docs", map[string]string{"docs/a.md": "a\n"})
			w.tests(p.Head(), "success")
			w.settle()
			if !p.See().Merged {
				t.Fatal("the agent's change is not merged: " + w.dump(p))
			}
			d = w.deploy("production")
			d.want("waiting", "", "SP515")
			d.click(w.bob, "approve")
			d.want("in_progress", "approved", "SP527")
			d.end("success")
			w.push(w.carol, "main", map[string]string{"src/c.go": "package c\n"})
			w.settle()
			d = w.deploy("production")
			d.want("waiting", "", "SP516")
			t.Log(d.text())
		})
	}
}

func TestDeployRefused(t *testing.T) {
	w := deploys(t, deployPolicy)
	d := w.deploy("production")
	d.click(w.bob, "reject")
	d.want("completed", "rejected", "SP525")
	w.push(w.agent, "writer/evil", map[string]string{"src/x.go": "package x\n"})
	d = w.deploy("production", func(s *githubtest.RunSpec) { s.Branch = "writer/evil" })
	d.want("completed", "rejected", "SP504")
	d = w.deploy("production", func(s *githubtest.RunSpec) { s.Event = "workflow_dispatch"; s.By = w.dave })
	d.want("completed", "rejected", "SP506")
}

// What a merge queue lands came by the pull requests of its groups.
func TestDeployMergeQueue(t *testing.T) {
	for _, approved := range []bool{true, false} {
		w := deploys(t, merges)
		w.released("production")
		w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, MergeQueue: true})
		var pulls []*githubtest.Pull
		for _, name := range []string{"a", "b"} {
			p := w.open(w.alice, name, map[string]string{"src/" + name + ".go": "package " + name + "\n"})
			w.settle()
			_, err := p.Approve(w.bob, p.Head())
			must(t, err)
			w.tests(p.Head(), "success")
			w.settle()
			pulls = append(pulls, p)
		}
		if !approved {
			// An agent's change that no human approved lands with them.
			p := w.open(w.agent, "writer/docs", map[string]string{"docs/a.md": "a\n"})
			w.settle()
			w.tests(p.Head(), "success")
			w.settle()
			pulls = append(pulls, p)
		}
		for _, p := range pulls {
			if !p.See().Merged {
				if err := p.Enqueue(w.carol); err != nil {
					t.Logf("enqueueing: %v", err)
				}
			}
		}
		w.settle()
		for range 4 {
			for _, head := range w.repo.QueueHeads("main") {
				w.tests(head, "success")
				w.settle()
			}
		}
		for _, p := range pulls {
			if !p.See().Merged {
				t.Fatalf("not merged: %s, groups %v", w.dump(p), w.repo.QueueHeads("main"))
			}
		}
		d := w.deploy("production")
		if approved {
			d.want("in_progress", "approved", "SP528")
		} else {
			d.want("waiting", "", "SP515")
		}
	}
}
