package github_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// A text that is too long for an annotation is cut: GitHub would refuse the check run.
func TestLongAnnotations(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "feature")
	s := w.spec(p.Head())
	s.Annotations = []github.Annotation{{Path: "a.yml", StartLine: 1, EndLine: 1, Level: "failure", Title: strings.Repeat("ü", 300), Message: strings.Repeat("語", 30_000)}}
	_, err := w.orders.CreateCheckRun(t.Context(), s)
	must(t, err)
	if a := w.repo.CheckRun(p.Head(), "sallyport").See().Annotations; len(a) != 1 || !strings.HasSuffix(a[0].Title, "ü…") || !strings.HasSuffix(a[0].Message, "語…") {
		t.Errorf("annotations %+v", a)
	}
}

// GitHub ends a query that takes too long. What may have made it long is asked by REST.
func TestAQueryThatTakesTooLong(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "feature")
	w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Path: "/graphql", Times: -1, When: func(q githubtest.Request) bool { return strings.Contains(string(q.Body), "checkSuites") }})
	w.repo.AddCheck(w.g.Actions(), p.Head(), "build", "success")
	got, err := w.orders.Pull(t.Context(), p.Number)
	must(t, err)
	if len(got.CheckRuns) != 1 || got.CheckRuns[0].Name != "build" {
		t.Errorf("checks %+v", got.CheckRuns)
	}
}
