package githubtest_test

import (
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// The rollup has the latest check run of each name and the latest status of each context.
func TestTheRollupOfACommit(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "a")
	const query = `query($oid:GitObjectID!){repository(owner:"acme",name:"orders"){object(oid:$oid){...on Commit{statusCheckRollup{state
		contexts(first:10){totalCount nodes{__typename ...on CheckRun{name status conclusion completedAt checkSuite{app{databaseId}}} ...on StatusContext{context state createdAt}}}}}}}}`
	ask := func() answer { return w.graphql(query, map[string]any{"oid": p.Head()}) }
	const at = "data.repository.object.statusCheckRollup"
	if a := ask(); a.get("errors") != nil || a.get(at) != nil {
		t.Errorf("without a check: %.500s", a.body)
	}
	ci := w.g.App(githubtest.AppConfig{Slug: "ci", Permissions: map[string]string{"checks": "write"}})
	ci.Install(w.acme)
	w.repo.AddCheck(ci, p.Head(), "test", "failure")
	w.repo.AddCheck(ci, p.Head(), "test", "success")
	w.repo.Status(w.alice, p.Head(), "deploy", "pending")
	w.repo.Status(w.alice, p.Head(), "deploy", "success")
	a := ask()
	for path, want := range map[string]any{
		".state": "SUCCESS", ".contexts.totalCount": 2.0, ".contexts.nodes.0.__typename": "CheckRun", ".contexts.nodes.0.name": "test", ".contexts.nodes.0.status": "COMPLETED",
		".contexts.nodes.0.conclusion": "SUCCESS", ".contexts.nodes.0.checkSuite.app.databaseId": float64(ci.ID), ".contexts.nodes.1.__typename": "StatusContext",
		".contexts.nodes.1.context": "deploy", ".contexts.nodes.1.state": "SUCCESS",
	} {
		if got := a.get(at + path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	for _, path := range []string{".contexts.nodes.0.completedAt", ".contexts.nodes.1.createdAt"} {
		if a.get(at+path) == nil {
			t.Errorf("there is no %s", path)
		}
	}
}

// A query costs its points of the hour, whether or not it asks what it costs.
func TestAQueryCostsItsPoints(t *testing.T) {
	w := newWorld(t)
	for _, rate := range []string{"", "rateLimit{cost remaining}"} {
		before := len(w.g.Requests())
		a := w.graphql(fmt.Sprintf(`{%s repository(owner:"acme",name:"orders"){pullRequests(first:100){nodes{number reviews(first:100){nodes{state}} files(first:100){nodes{path}}}}}}`, rate), nil)
		if a.get("errors") != nil {
			t.Fatalf("%.500s", a.body)
		}
		q := w.g.Requests()[before]
		if q.Cost != 2 {
			t.Errorf("with %q it costs %d points, want 2", rate, q.Cost)
		}
		if rate != "" && a.get("data.rateLimit.remaining") != 4996.0 || a.header.Get("X-RateLimit-Remaining") == "" {
			t.Errorf("%v are left, and %s by the header", a.get("data.rateLimit.remaining"), a.header.Get("X-RateLimit-Remaining"))
		}
		if rate == "" && a.header.Get("X-RateLimit-Remaining") != "4998" {
			t.Errorf("%s are left, want 4998", a.header.Get("X-RateLimit-Remaining"))
		}
	}
}
