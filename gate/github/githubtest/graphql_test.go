package githubtest_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

func TestThePullRequestQuery(t *testing.T) {
	w := newWorld(t)
	w.repo.Protect("main", &githubtest.Protection{Reviews: &githubtest.RequiredReviews{Count: 1}})
	p := w.open(w.agent, "a")
	_, err := w.repo.PushCommit(w.agent, "a", githubtest.Commit{Message: "Second\n\nCo-authored-by: Alice <" + w.alice.Email() + ">", Author: w.agent.Identity(), Files: map[string]githubtest.File{"b.txt": githubtest.Text("b\n")}})
	w.must(err)
	_, err = p.Approve(w.bob, "")
	w.must(err)
	_, err = p.Approve(w.eve, "")
	w.must(err)
	w.must(p.Label(w.alice, "wait"))
	a := w.graphql(queries()[0], map[string]any{"owner": "acme", "name": "orders", "number": 1})
	if a.get("errors") != nil {
		t.Fatalf("%.500s", a.body)
	}
	at := "data.repository.pullRequest."
	for path, want := range map[string]any{
		"state": "OPEN", "isDraft": false, "headRefOid": p.Head(), "reviewDecision": "APPROVED", "changedFiles": 2.0, "mergeCommit": nil,
		"author.__typename": "Bot", "author.login": "writer", "author.databaseId": float64(w.agent.ID), "labels.nodes.0.name": "wait",
		"files.totalCount": 2.0, "files.nodes.0.changeType": "ADDED", "commits.totalCount": 2.0,
		"commits.nodes.1.commit.authors.nodes.1.user.login": "alice", "commits.nodes.0.commit.author.user": nil, "commits.nodes.0.commit.signature": nil,
		"reviews.nodes.0.state": "APPROVED", "reviews.nodes.0.author.databaseId": float64(w.bob.ID), "reviews.nodes.1.authorCanPushToRepository": false,
		"latestOpinionatedReviews.nodes.0.onBehalfOf.nodes.0.slug": "sre",
	} {
		if got := a.get(at + path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	if n := a.len(at + "latestOpinionatedReviews.nodes"); n != 1 {
		t.Errorf("%d opinions of writers, want bob's alone", n)
	}
	if cost := a.get("data.rateLimit.cost"); cost != 2.0 {
		t.Errorf("the query costs %v points, want 2", cost)
	}
}

func TestConnectionsArePaged(t *testing.T) {
	w := newWorld(t)
	w.branch(w.alice, "a", map[string]string{"1": "", "2": "", "3": "", "4": "", "5": ""})
	_, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: "a", Title: "x"})
	w.must(err)
	const q = `query($after:String){repository(owner:"acme",name:"orders"){pullRequest(number:1){files(first:2,after:$after){pageInfo{hasNextPage endCursor} nodes{path}}}}}`
	var got []string
	var after any
	for range 5 {
		a := w.graphql(q, map[string]any{"after": after})
		at := "data.repository.pullRequest.files."
		for i := range a.len(at + "nodes") {
			path, _ := a.get(at + "nodes." + string(rune('0'+i)) + ".path").(string)
			got = append(got, path)
		}
		after = a.get(at + "pageInfo.endCursor")
		if a.get(at+"pageInfo.hasNextPage") != true {
			break
		}
	}
	if strings.Join(got, "") != "12345" {
		t.Errorf("the pages have %v", got)
	}
}

func TestErrorsComeWith200(t *testing.T) {
	w := newWorld(t)
	w.g.Allow("GraphQL")
	for what, c := range map[string]struct{ query, want string }{
		"a field that is not there":        {`{repository(owner:"acme",name:"orders"){colour}}`, "colour"},
		"a connection without first":       {`{repository(owner:"acme",name:"orders"){pullRequest(number:1){files{totalCount}}}}`, "first"},
		"more than 100":                    {`{repository(owner:"acme",name:"orders"){pullRequest(number:1){files(first:101){totalCount}}}}`, "between 1 and 100"},
		"a repository out of reach":        {`{repository(owner:"acme",name:"secret"){id}}`, "Could not resolve to a Repository"},
		"a pull request that is not there": {`{repository(owner:"acme",name:"orders"){pullRequest(number:9){id}}}`, "Could not resolve to a PullRequest"},
		"a variable that is missing":       {`query($n:Int!){repository(owner:"acme",name:"orders"){pullRequest(number:$n){id}}}`, "must be defined"},
		"no syntax":                        {`{`, "Expected"},
	} {
		a := w.graphql(c.query, nil)
		message, _ := a.get("errors.0.message").(string)
		if a.status != 200 || !strings.Contains(message, c.want) {
			t.Errorf("%s: %d %.200s, want 200 and an error with %q", what, a.status, a.body, c.want)
		}
	}
	w.inst.Permit(w.carol, map[string]string{"contents": "read"})
	w.open(w.agent, "a")
	a := w.graphql(`{repository(owner:"acme",name:"orders"){databaseId pullRequest(number:1){id}}}`, nil)
	if a.get("errors.0.type") != "FORBIDDEN" || a.get("data.repository.databaseId") != float64(w.repo.ID) {
		t.Errorf("without permission: %s; want partial data and an error", a.body)
	}
}

func TestEveryQueryIsAnswered(t *testing.T) {
	w := newWorld(t)
	w.g.Allow("GraphQL")
	p := w.open(w.agent, "a")
	w.repo.CommitTo(w.carol, "main", "Policy", map[string]string{".github/sallyport.yml": "version: 1\n"})
	vars := map[string]any{"owner": "acme", "name": "orders", "number": 1, "oid": p.Head(), "branch": "main"}
	for i, q := range []string{queries()[0], queries()[1], queries()[2], queries()[5]} {
		used := map[string]any{}
		for k, v := range vars {
			if strings.Contains(q, "$"+k+":") {
				used[k] = v
			}
		}
		a := w.graphql(q, used)
		if a.status != 200 || a.get("errors") != nil {
			t.Errorf("query %d: %d %.500s", i, a.status, a.body)
		}
		if i == 1 && a.get("data.repository.object.associatedPullRequests.nodes.0.number") != 1.0 {
			t.Errorf("the commit's pull requests are %s", a.body)
		}
		if i == 3 && a.get("data.repository.policy.text") != "version: 1\n" {
			t.Errorf("the policy is %s", a.body)
		}
	}
	_, err := p.Approve(w.bob, "")
	w.must(err)
	node := w.want(200, "GET", reviewsPath(p), nil).get("0.node_id")
	if a := w.graphql(queries()[4], map[string]any{"id": node}); a.get("data.dismissPullRequestReview.pullRequestReview.state") != "DISMISSED" {
		t.Errorf("dismissing: %s", a.body)
	}
}
