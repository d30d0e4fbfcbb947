package gate_test

import (
	"testing"
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
