package githubtest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

func reviewsPath(p *githubtest.Pull) string {
	return orders + "/pulls/" + strconv.Itoa(p.Number) + "/reviews"
}

func TestAnApprovalSurvivesAPush(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "a")
	old := p.Head()
	_, err := p.Approve(w.bob, "")
	w.must(err)
	w.branch(w.agent, "a", map[string]string{"a.txt": "two\n"})
	got := w.want(200, "GET", reviewsPath(p), nil)
	if got.get("0.state") != "APPROVED" || got.get("0.commit_id") != old {
		t.Errorf("after a push the review is %v at %v, want APPROVED at the old head", got.get("0.state"), got.get("0.commit_id"))
	}
	if p.Head() == old {
		t.Error("the push did not move the head")
	}
}

func TestDismissStaleDismissesApprovalsOnAPush(t *testing.T) {
	w := newWorld(t)
	w.repo.Protect("main", &githubtest.Protection{Reviews: &githubtest.RequiredReviews{Count: 1, DismissStale: true}})
	p := w.open(w.agent, "a")
	_, err := p.Approve(w.bob, "")
	w.must(err)
	_, err = p.Review(w.dave, "REQUEST_CHANGES", "", "no")
	w.must(err)
	w.branch(w.agent, "a", map[string]string{"a.txt": "two\n"})
	states := w.want(200, "GET", reviewsPath(p), nil)
	if states.get("0.state") != "DISMISSED" || states.get("1.state") != "CHANGES_REQUESTED" {
		t.Errorf("after a push: %v and %v, want DISMISSED and CHANGES_REQUESTED, which is never dismissed by itself", states.get("0.state"), states.get("1.state"))
	}
	w.settle()
	if !has(names(w.hook.take()), "pull_request_review.dismissed") {
		t.Error("nobody hears of the dismissal")
	}
}

func TestACommentCancelsNothingAndADismissalChangesTheReview(t *testing.T) {
	w := newWorld(t)
	w.repo.Protect("main", &githubtest.Protection{Reviews: &githubtest.RequiredReviews{Count: 1}})
	p := w.open(w.agent, "a")
	id, err := p.Approve(w.bob, "")
	w.must(err)
	_, err = p.Review(w.bob, "COMMENT", "", "by the way")
	w.must(err)
	if got := p.See().Mergeable; got != "clean" {
		t.Errorf("after a comment by the approver the pull request is %s, want clean", got)
	}
	got := w.want(200, "PUT", fmt.Sprintf("%s/%d/dismissals", reviewsPath(p), id), map[string]string{"message": "changed"})
	if got.get("state") != "DISMISSED" || p.See().Mergeable != "blocked" {
		t.Errorf("after the dismissal: review %v, pull request %s; want DISMISSED, blocked", got.get("state"), p.See().Mergeable)
	}
	if a := w.call(w.token, "PUT", fmt.Sprintf("%s/%d/dismissals", reviewsPath(p), id), map[string]string{"message": "again"}); a.status != 422 {
		t.Errorf("dismissing twice answers %d, want 422", a.status)
	}
}

func TestReviewStateIsUpperCaseInRESTAndLowerInWebhooks(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "a")
	_, err := p.Approve(w.bob, "")
	w.must(err)
	w.settle()
	for _, d := range w.hook.take() {
		if d.event == "pull_request_review" && !strings.Contains(string(d.body), `"state":"approved"`) {
			t.Errorf("the webhook does not say approved: %.200s", d.body)
		}
	}
	if got := w.want(200, "GET", reviewsPath(p), nil).get("0.state"); got != "APPROVED" {
		t.Errorf("REST says %v, want APPROVED", got)
	}
}

func TestWhoMayNotReview(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "a")
	_, err := p.Approve(w.agent, "")
	w.refused(err, 422, "the author approves")
	_, err = p.Review(w.bob, "REQUEST_CHANGES", "", "")
	w.refused(err, 422, "requesting changes without saying which")
	_, err = p.Approve(w.g.User("stranger"), "")
	w.refused(err, 404, "somebody who cannot read the repository approves")
	_, err = p.Approve(w.bob, w.repo.Head("main"))
	w.refused(err, 422, "an approval at a commit that is not the pull request's")
	own := w.open(w.alice, "b")
	_, err = own.Approve(w.alice, "")
	w.refused(err, 422, "a person approves their own pull request")
	_, err = own.Review(w.alice, "COMMENT", "", "a note to myself")
	w.must(err)
	w.must(p.Close(w.alice))
	_, err = p.Approve(w.bob, "")
	w.refused(err, 422, "approving a closed pull request")
}

func TestAnAppsApprovalCountsOnlyWithContentsWrite(t *testing.T) {
	w := newWorld(t)
	w.repo.Protect("main", &githubtest.Protection{Reviews: &githubtest.RequiredReviews{Count: 1}})
	p := w.open(w.agent, "a")
	w.want(200, "POST", reviewsPath(p), map[string]string{"commit_id": p.Head(), "event": "APPROVE"})
	if got := p.See().Mergeable; got != "clean" {
		t.Errorf("with contents: write the pull request is %s, want clean", got)
	}
	less := permissions()
	less["contents"] = "read"
	w.inst.Permit(w.carol, less)
	if got := p.See().Mergeable; got != "blocked" {
		t.Errorf("with contents: read the pull request is %s, want blocked", got)
	}
	if got := w.want(200, "GET", reviewsPath(p), nil).get("0.author_association"); got != "NONE" {
		t.Errorf("the App's association is %v, want NONE", got)
	}
}

func TestAReviewWithoutCommitIsComplainedAbout(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "a")
	w.call(w.token, "POST", reviewsPath(p), map[string]string{"event": "APPROVE"})
	if v := w.g.Violations(); len(v) != 1 || !strings.Contains(v[0].What, "commit_id") {
		t.Errorf("violations %v, want one about commit_id", v)
	}
	w.g.Allow("commit_id")
	if v := w.g.Violations(); len(v) != 0 {
		t.Errorf("an allowed violation is still listed: %v", v)
	}
}

func TestRequestingReviewers(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.alice, "a")
	path := orders + "/pulls/1/requested_reviewers"
	other := w.acme.Team("outsiders", w.eve)
	for _, body := range []map[string][]string{{"reviewers": {"alice"}}, {"reviewers": {"stranger"}}, {"team_reviewers": {other.Slug()}}, {"reviewers": {"sallyport[bot]"}}} {
		if a := w.call(w.token, "POST", path, body); a.status != 422 {
			t.Errorf("requesting %v answers %d, want 422", body, a.status)
		}
	}
	w.want(201, "POST", path, map[string][]string{"reviewers": {"bob", "dave"}, "team_reviewers": {"sre"}})
	_, err := p.Review(w.bob, "COMMENT", "", "looking")
	w.must(err)
	if got := p.See().Waiting; !slices.Equal(got, []string{"dave"}) {
		t.Errorf("after bob (of acme/sre) reviewed, %v are asked, want dave alone", got)
	}
}

func TestMerging(t *testing.T) {
	for _, method := range []string{"merge", "squash", "rebase"} {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t)
			p := w.open(w.agent, "a")
			w.branch(w.agent, "a", map[string]string{"b.txt": "b\n"})
			w.branch(w.carol, "main", map[string]string{"other.txt": "x\n"})
			path := orders + "/pulls/1/merge"
			if a := w.call(w.token, "PUT", path, map[string]string{"sha": w.repo.Head("main"), "merge_method": method}); a.status != http.StatusConflict {
				t.Errorf("merging another head answers %d, want 409", a.status)
			}
			head := p.Head()
			got := w.want(200, "PUT", path, map[string]string{"sha": head, "merge_method": method})
			main := w.repo.Head("main")
			if got.get("sha") != main || got.get("merged") != true {
				t.Errorf("merged %v to %v, want main's head %s", got.get("merged"), got.get("sha"), main)
			}
			commit := w.want(200, "GET", orders+"/commits/"+main, nil)
			wantParents := map[string]int{"merge": 2, "squash": 1, "rebase": 1}[method]
			if commit.len("parents") != wantParents || commit.get("commit.committer.email") != "noreply@github.com" {
				t.Errorf("%d parents, committer %v; want %d, GitHub", commit.len("parents"), commit.get("commit.committer.email"), wantParents)
			}
			if main == head {
				t.Error("the deployed commit is the judged head: in none of the methods is it")
			}
			pulls := w.want(200, "GET", orders+"/commits/"+main+"/pulls", nil)
			if pulls.len("") != 1 || pulls.get("0.merge_commit_sha") != main || pulls.get("0.merged_at") == nil {
				t.Errorf("the merge commit maps to %.200s", pulls.body)
			}
			own := w.want(200, "GET", orders+"/commits/"+head+"/pulls", nil)
			if own.len("") != 1 {
				t.Errorf("the head maps to %d pull requests, want 1", own.len(""))
			}
			for _, f := range []string{"a.txt", "b.txt", "other.txt"} {
				w.want(200, "GET", orders+"/contents/"+f, nil)
			}
			if a := w.call(w.token, "PUT", path, map[string]string{"sha": head}); a.status != http.StatusMethodNotAllowed {
				t.Errorf("merging twice answers %d, want 405", a.status)
			}
		})
	}
}

func TestWhatBlocksAMerge(t *testing.T) {
	w := newWorld(t)
	w.repo.Protect("main", &githubtest.Protection{Checks: []githubtest.RequiredCheck{{Context: "sallyport", AppID: w.app.ID}}})
	p := w.open(w.agent, "a")
	merge := func() int {
		return w.call(w.token, "PUT", orders+"/pulls/1/merge", map[string]string{"sha": p.Head()}).status
	}
	if got := merge(); got != 405 {
		t.Errorf("without the required check: %d, want 405", got)
	}
	w.repo.AddCheck(w.agentApp, p.Head(), "sallyport", "success")
	if got := merge(); got != 405 {
		t.Errorf("with a check of that name by another App: %d, want 405", got)
	}
	w.repo.Status(w.dave, p.Head(), "sallyport", "success")
	if got := merge(); got != 405 {
		t.Errorf("with a status of that name: %d, want 405", got)
	}
	w.repo.AddCheck(w.app, p.Head(), "sallyport", "success")
	w.must(p.Draft(w.alice))
	if got := merge(); got != 405 {
		t.Errorf("as a draft: %d, want 405", got)
	}
	w.must(p.Ready(w.alice))
	w.repo.AddCheck(w.app, p.Head(), "sallyport", "failure")
	if got := merge(); got != 405 {
		t.Errorf("with a newer red check: %d, want 405", got)
	}
	w.repo.AddCheck(w.app, p.Head(), "sallyport", "neutral")
	if got := merge(); got != 200 {
		t.Errorf("with a neutral check: %d, want 200", got)
	}
}

func TestMergingWorkflowsNeedsItsOwnPermission(t *testing.T) {
	w := newWorld(t)
	w.branch(w.agent, "a", map[string]string{".github/workflows/ci.yml": "on: push\n"})
	p, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "a", Title: "x"})
	w.must(err)
	if a := w.call(w.token, "PUT", orders+"/pulls/1/merge", map[string]string{"sha": p.Head()}); a.status != 403 || p.See().Merged {
		t.Errorf("merging a workflow without the permission answers %d", a.status)
	}
}

func TestTwoPullRequestsOnOneCommit(t *testing.T) {
	w := newWorld(t)
	w.branch(w.carol, "release", map[string]string{"r": "r"})
	p := w.open(w.agent, "a")
	_, err := w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "a", Base: "release", Title: "again"})
	w.must(err)
	_, err = w.repo.OpenPull(w.agent, githubtest.PullSpec{Head: "a", Title: "twice"})
	w.refused(err, 422, "a second pull request of the same branches")
	if n := w.want(200, "GET", orders+"/commits/"+p.Head()+"/pulls", nil).len(""); n != 2 {
		t.Errorf("the commit maps to %d pull requests, want 2", n)
	}
	c := w.repo.AddCheck(w.app, p.Head(), "sallyport", "success")
	if n := w.want(200, "GET", fmt.Sprintf("%s/check-runs/%d", orders, c.ID), nil).len("pull_requests"); n != 2 {
		t.Errorf("the check run lists %d pull requests, want 2", n)
	}
}

func TestConflictsAndUnknownMergeability(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "a")
	first := w.want(200, "GET", orders+"/pulls/1", nil)
	if first.get("mergeable") != nil || first.get("mergeable_state") != "unknown" {
		t.Errorf("the first read says %v, want null: it is not computed yet", first.get("mergeable"))
	}
	if again := w.want(200, "GET", orders+"/pulls/1", nil); again.get("mergeable") != true {
		t.Errorf("the second read says %v, want true", again.get("mergeable"))
	}
	w.branch(w.carol, "main", map[string]string{"a.txt": "other\n"})
	w.want(200, "GET", orders+"/pulls/1", nil)
	if p.See().Mergeable != "dirty" {
		t.Errorf("with a conflict it is %s, want dirty", p.See().Mergeable)
	}
}

func TestRetargetingChangesTheDiffWithoutAPush(t *testing.T) {
	w := newWorld(t)
	w.branch(w.carol, "release", map[string]string{"r.txt": "r\n"})
	p := w.open(w.alice, "a")
	w.must(p.Retarget(w.alice, "release"))
	if got := w.want(200, "GET", orders+"/pulls/1", nil).get("base.ref"); got != "release" {
		t.Errorf("base is %v", got)
	}
	w.settle()
	got := w.hook.take()
	if !has(names(got), "pull_request.edited") || has(names(got), "pull_request.synchronize") {
		t.Errorf("retargeting sends %v, want edited and no synchronize", names(got))
	}
}

func TestForksAndForcePushes(t *testing.T) {
	w := newWorld(t)
	mallory := w.g.User("mallory")
	w.repo.Collaborator(mallory, "read")
	fork := w.repo.Fork(mallory)
	fork.CommitTo(mallory, "evil", "Change", map[string]string{"x.txt": "x\n"})
	p, err := w.repo.OpenPull(mallory, githubtest.PullSpec{Head: "evil", From: fork, Title: "x"})
	w.must(err)
	got := w.want(200, "GET", orders+"/pulls/1", nil)
	if got.get("head.repo.full_name") != "mallory/orders" {
		t.Errorf("the head's repository is %v", got.get("head.repo.full_name"))
	}
	c := w.repo.AddCheck(w.app, p.Head(), "sallyport", "success")
	if n := w.want(200, "GET", fmt.Sprintf("%s/check-runs/%d", orders, c.ID), nil).len("pull_requests"); n != 0 {
		t.Errorf("the check run of a fork lists %d pull requests, want none", n)
	}
	before := fork.Head("evil")
	w.must(fork.Push(mallory, "evil", fork.Commit(githubtest.Commit{Message: "other", Author: mallory.Identity(), Parents: []string{w.repo.Head("main")}, Files: map[string]githubtest.File{"y.txt": githubtest.Text("y")}})))
	if p.Head() == before {
		t.Error("the force push did not move the head")
	}
	w.refused(w.repo.Push(mallory, "main", before), 403, "a reader pushes")
	w.repo.Protect("main", &githubtest.Protection{Reviews: &githubtest.RequiredReviews{Count: 1}})
	next := w.repo.Commit(githubtest.Commit{Message: "direct", Author: w.alice.Identity(), Parents: []string{w.repo.Head("main")}, Files: map[string]githubtest.File{"d": githubtest.Text("d")}})
	w.refused(w.repo.Push(w.alice, "main", next), 422, "a writer pushes to a protected branch")
	w.must(w.repo.Push(w.carol, "main", next)) // an admin may
	w.repo.Protect("main", &githubtest.Protection{Reviews: &githubtest.RequiredReviews{Count: 1}, EnforceAdmins: true})
	next = w.repo.Commit(githubtest.Commit{Message: "again", Author: w.carol.Identity(), Parents: []string{next}, Files: map[string]githubtest.File{"e": githubtest.Text("e")}})
	w.refused(w.repo.Push(w.carol, "main", next), 422, "an admin who is held to it pushes to a protected branch")
	act := w.want(200, "GET", orders+"/activity?ref=refs/heads/main", nil)
	if act.get("0.activity_type") != "push" || act.get("0.actor.login") != "carol" {
		t.Errorf("the activity shows %v by %v", act.get("0.activity_type"), act.get("0.actor.login"))
	}
}

func TestCappedLists(t *testing.T) {
	w := newWorld(t, githubtest.Config{Limits: githubtest.NoLimits()})
	many := map[string]string{}
	for i := range 3001 {
		many[fmt.Sprintf("f/%04d.txt", i)] = strconv.Itoa(i)
	}
	p := w.open(w.alice, "a")
	for i := range 250 {
		w.branch(w.alice, "a", map[string]string{"a.txt": strconv.Itoa(i)})
	}
	w.branch(w.alice, "a", many)
	pages := func(path string) (n int) {
		for next := path; next != ""; {
			got := w.want(200, "GET", next, nil)
			n += got.len("")
			next = nextLink(got)
		}
		return n
	}
	if n := pages(orders + "/pulls/1/files?per_page=100"); n != 3000 {
		t.Errorf("%d files are listed of 3002, want 3000", n)
	}
	if n := pages(orders + "/pulls/1/commits?per_page=100"); n != 250 {
		t.Errorf("%d commits are listed of 252, want 250", n)
	}
	got := w.want(200, "GET", orders+"/pulls/1", nil)
	if got.get("changed_files") != 3002.0 || got.get("commits") != 252.0 {
		t.Errorf("the pull request says %v files and %v commits, want 3002 and 252", got.get("changed_files"), got.get("commits"))
	}
	cmp := w.want(200, "GET", orders+"/compare/main..."+p.Head(), nil)
	if cmp.len("files") != 300 || cmp.len("commits") != 250 || cmp.get("total_commits") != 252.0 {
		t.Errorf("compare gives %d files, %d of %v commits; want 300, 250 of 252", cmp.len("files"), cmp.len("commits"), cmp.get("total_commits"))
	}
	second := w.want(200, "GET", orders+"/compare/main..."+p.Head()+"?per_page=100&page=3", nil)
	if second.len("commits") != 52 || second.get("files") != nil {
		t.Errorf("page 3 gives %d commits and files %v, want 52 and none", second.len("commits"), second.get("files"))
	}
}

// nextLink is the address of the next page, or "".
func nextLink(a answer) string {
	for _, l := range strings.Split(a.header.Get("Link"), ", ") {
		if to, rel, ok := strings.Cut(l, "; "); ok && rel == `rel="next"` {
			return strings.Trim(to, "<>")
		}
	}
	return ""
}

func TestTheMergeQueue(t *testing.T) {
	w := newWorld(t)
	w.repo.AddRuleset(githubtest.Ruleset{Name: "queue", Branches: []string{"main"}, MergeQueue: true, Checks: []githubtest.RequiredCheck{{Context: "sallyport", AppID: w.app.ID}}})
	var pulls []*githubtest.Pull
	for _, name := range []string{"a", "b"} {
		p := w.open(w.agent, name)
		w.repo.AddCheck(w.app, p.Head(), "sallyport", "success")
		pulls = append(pulls, p)
	}
	if got := w.call(w.token, "PUT", orders+"/pulls/1/merge", map[string]string{"sha": pulls[0].Head()}); got.status != 405 {
		t.Errorf("merging past the queue answers %d, want 405", got.status)
	}
	id := w.want(200, "GET", orders+"/pulls/1", nil).get("node_id")
	stale := w.graphql(queries()[3], map[string]any{"id": id, "oid": w.repo.Head("main")})
	if stale.get("errors") == nil || len(w.repo.QueueHeads("main")) != 0 {
		t.Errorf("enqueuing another head: %.200s", stale.body)
	}
	if got := w.graphql(queries()[3], map[string]any{"id": id, "oid": pulls[0].Head()}); got.get("data.enqueuePullRequest.mergeQueueEntry.position") != 1.0 {
		t.Errorf("enqueuing: %.200s", got.body)
	}
	w.must(pulls[1].Enqueue(w.carol))
	got := w.graphql(queries()[2], map[string]any{"owner": "acme", "name": "orders", "branch": "main"})
	entries := "data.repository.mergeQueue.entries.nodes"
	if got.len(entries) != 2 || got.get(entries+".1.pullRequest.number") != 2.0 || got.get(entries+".1.baseCommit.oid") != w.repo.QueueHeads("main")[0] {
		t.Errorf("the queue is %.400s", got.body)
	}
	for len(w.repo.QueueHeads("main")) > 0 {
		w.repo.AddCheck(w.app, w.repo.QueueHeads("main")[0], "sallyport", "success")
	}
	if !pulls[0].See().Merged || !pulls[1].See().Merged {
		t.Error("green groups were not merged")
	}
	w.settle()
	if n := names(w.hook.take()); !has(n, "merge_group.checks_requested") || !has(n, "merge_group.destroyed") {
		t.Errorf("no merge_group events in %v", n)
	}
}
