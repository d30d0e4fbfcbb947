package gate_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// The events of a fork's checks and those of commit statuses name no pull request. What
// waits for them is looked at all the same.
func TestEventsThatNameNoPullRequest(t *testing.T) {
	t.Run("a check at a fork's head", func(t *testing.T) {
		w := newWorld(t, policyText)
		fork := w.repo.Fork(w.eve)
		fork.CommitTo(w.eve, "docs", "Docs", map[string]string{"docs/guide.md": "# Guide\n"})
		p, err := w.repo.OpenPull(w.eve, githubtest.PullSpec{Head: "docs", From: fork, Title: "Docs"})
		must(t, err)
		w.settle()
		w.want(p, "action_required", "SP401")
		w.tests(p.Head(), "success")
		w.settle()
		if _, text := w.says(p.Head()); strings.Contains(text, "SP401") {
			t.Errorf("its green check is not seen:\n%s", text)
		}
	})
	t.Run("a status", func(t *testing.T) {
		w := newWorld(t, strings.Replace(policyText, "after: [test]", "after: [{name: lint, app: ci}]", 1))
		p := w.open(w.alice, "docs", map[string]string{"docs/guide.md": "# Guide\n"})
		w.settle()
		w.want(p, "action_required", "SP401")
		w.repo.Status(w.g.Bot("ci[bot]"), p.Head(), "lint", "success")
		w.settle()
		if _, text := w.says(p.Head()); strings.Contains(text, "SP401") {
			t.Errorf("its green status is not seen:\n%s", text)
		}
	})
}
