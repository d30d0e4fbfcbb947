package gate_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// lags has the next n queries for a pull request answered as before.
func (w *world) lags(n int) {
	w.g.Fail(githubtest.Fault{Kind: githubtest.Stale, Path: "/graphql", Times: n, When: func(q githubtest.Request) bool {
		return bytes.Contains(q.Body, []byte("query pull("))
	}})
}

// What GitHub reads may be some seconds older than the event that came. A push is not
// forgotten for that.
func TestAPushIsSeenAlthoughGitHubLags(t *testing.T) {
	w := newWorld(t, policyText)
	p := w.open(w.alice, "feature", map[string]string{"main.go": "package main\n"})
	w.settle()
	w.lags(2)
	w.push(w.alice, "feature", map[string]string{"main.go": "package other\n"})
	w.settle()
	w.want(p, "action_required")
}

// Nor is a review, given or taken back.
func TestAReviewIsSeenAlthoughGitHubLags(t *testing.T) {
	w := newWorld(t, policyText)
	p := w.open(w.alice, "feature", map[string]string{"main.go": "package main\n"})
	w.settle()
	w.lags(2)
	id, err := p.Approve(w.bob, "")
	must(t, err)
	w.settle()
	w.want(p, "success")
	w.lags(2)
	must(t, p.Dismiss(w.dave, id, "no"))
	w.settle()
	w.want(p, "action_required")
}

// One that was opened is not forgotten because GitHub does not show it yet, and one that
// is not there is not asked for forever.
func TestAPullRequestIsSeenAlthoughGitHubLags(t *testing.T) {
	w := newWorld(t, policyText)
	p := w.open(w.alice, "feature", map[string]string{"main.go": "package main\n"})
	p.Unseen(3)
	w.settle()
	w.want(p, "action_required")

	gone := w.open(w.alice, "other", map[string]string{"other.go": "package main\n"})
	gone.Unseen(1000)
	w.settle()
	if n := w.asked("query pull("); n > 20 {
		t.Errorf("%d queries for two pull requests", n)
	}
	if _, err := w.store.Subject(t.Context(), rules.WorkKey{Kind: rules.WorkPullRequest, Repository: rules.RepositoryID(w.repo.ID), Number: int64(gone.Number)}); err == nil {
		t.Error("it is kept although there is none")
	}
}

// asked counts the requests whose body has a text.
func (w *world) asked(text string) (n int) {
	for _, q := range w.g.Requests() {
		if bytes.Contains(q.Body, []byte(text)) {
			n++
		}
	}
	return n
}

// Nor is a merge group: no event comes again for it, and its queue waits for its check.
func TestAMergeGroupIsSeenAlthoughGitHubLags(t *testing.T) {
	w := newWorld(t, noMerge)
	w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, MergeQueue: true})
	p := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	w.want(p, "success")
	w.repo.QueueLags(3)
	must(t, p.Enqueue(w.dave))
	w.settle()
	if !p.See().Merged {
		t.Errorf("it is not merged: %s, groups %v", w.dump(p), w.repo.QueueHeads("main"))
	}
}

// Who pushed may come by no event, and GitHub's record of it lag behind the push.
func TestAPusherIsSeenAlthoughGitHubLags(t *testing.T) {
	w := newWorld(t, noMerge)
	w.app.Fate(func(e githubtest.Event) githubtest.Fate { return githubtest.Fate{Vanish: e.Event == "push"} })
	w.repo.ActivityLags(2)
	p := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	w.want(p, "success")
	if w.approvals(p) != 1 {
		t.Errorf("it is not approved: %s", w.dump(p))
	}
}

// Whoever has GitHub tell of one review after the other that it never shows, as of an
// account that it hides, cannot keep an approval of ours from being taken back.
func TestReviewsThatAreNeverShownDelayLittle(t *testing.T) {
	w := newWorld(t, noMerge)
	p := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	if w.approvals(p) != 1 {
		t.Fatalf("it is not approved, so this shows nothing: %s", w.dump(p))
	}
	key := rules.WorkKey{Kind: rules.WorkPullRequest, Repository: rules.RepositoryID(w.repo.ID), Number: int64(p.Number)}
	w.tests(p.Head(), "failure")
	for i := range 40 { // a second each
		payload := fmt.Sprintf(`{"id":%d}`, 900_000+i)
		must(t, w.store.Update(t.Context(), func(tx *store.Tx) error {
			f := rules.EventFact{Kind: rules.FactReview, Key: payload, Subject: key, Repository: key.Repository, Event: "pull_request_review", Payload: []byte(payload)}
			return tx.AddFact(f, w.clock.Now())
		}))
		w.works(w.first, time.Second)
	}
	if n := w.approvals(p); n != 0 {
		t.Errorf("%d approvals of ours stand although a check is red: %s", n, w.dump(p))
	}
}
