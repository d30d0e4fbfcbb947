package gate_test

import (
	"testing"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// While a pull request is closed its head is forgotten by nobody: what the check says is
// taken back when it is open again and its approval is not there any more.
func TestOpenedAgainWithoutItsApproval(t *testing.T) {
	w := newWorld(t, policyText)
	p := w.fix()
	id, err := p.Approve(w.bob, "")
	must(t, err)
	w.settle()
	w.want(p, "success")
	must(t, p.Close(w.alice))
	w.settle()
	w.repo.Status(w.dave, p.Head(), "lint", "success") // something happens at the head
	w.settle()
	must(t, p.Dismiss(w.carol, id, "no"))
	w.settle()
	must(t, p.Reopen(w.alice))
	w.settle()
	w.want(p, "action_required", "SP301")
}

// A group that passed is failed again when one of its pull requests is not allowed any
// more while it waits for the other checks of the queue.
func TestAMergeGroupIsTakenBack(t *testing.T) {
	w := newWorld(t, noMerge)
	w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, MergeQueue: true, Checks: []githubtest.RequiredCheck{{Context: "slow"}}})
	p := w.fix()
	w.repo.AddCheck(w.g.Actions(), p.Head(), "slow", "success")
	w.approve(p, w.bob)
	w.settle()
	w.want(p, "success")
	must(t, p.Enqueue(w.dave))
	w.settle()
	groups := w.repo.QueueHeads("main")
	if len(groups) != 1 {
		t.Fatalf("groups %v, want one", groups)
	}
	if got, _ := w.says(groups[0]); got != "success" || p.See().Merged {
		t.Fatalf("the group's check says %q: %s", got, w.dump(p))
	}
	_, err := p.Review(w.rose, "REQUEST_CHANGES", "", "Not so.")
	must(t, err)
	w.settle()
	w.want(p, "action_required", "SP303")
	if got, _ := w.says(groups[0]); got == "success" {
		t.Errorf("the group's check still says %q", got)
	}
	w.repo.AddCheck(w.g.Actions(), groups[0], "slow", "success")
	w.settle()
	if p.See().Merged {
		t.Errorf("it was merged: %s", w.dump(p))
	}
}

// The check at a commit covers the strictest pull request there for as long as that is
// open: closed, it keeps no other one waiting.
func TestASiblingThatIsClosedHoldsNoOther(t *testing.T) {
	w := newWorld(t, unmerged)
	base := w.push(w.dave, "side", map[string]string{"src/a.go": "x\n"})
	must(t, w.repo.Push(w.agent, "writer/two", w.repo.Commit(githubtest.Commit{Message: "Work", Author: w.agent.Identity(), Parents: []string{base}, Files: text(map[string]string{"docs/a.md": "x\n"})})))
	safe, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/two", Base: "side", Title: "Safe", As: w.agentApp})
	must(t, err)
	w.settle()
	w.tests(safe.Head(), "success")
	w.settle()
	w.want(safe, "success")
	strict, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "writer/two", Title: "Not so", As: w.agentApp})
	must(t, err)
	w.settle()
	w.want(safe, "action_required", "SP301")
	must(t, strict.Close(w.dave))
	w.settle()
	w.want(safe, "success")
}
