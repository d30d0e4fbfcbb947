package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// tally is what the server asked of GitHub.
type tally struct {
	rest, graphql int // reads: GET, GraphQL queries
	notModified   int // of rest: answered with 304, which takes nothing of the primary limit
	tokens        int // token exchanges
	writes        int // effects
	searches      int // reads of an effect: is our comment there already?
	looks         int // how often the run itself was read
	kinds         map[string]int
}

func (t tally) reads() int { return t.rest + t.graphql }

const (
	// runRoute is what every look at a run begins with.
	runRoute = "GET /repos/{owner}/{repo}/actions/runs/{run_id}"
	// searchRoute is asked by nothing but the effect that comments.
	searchRoute = "GET /repos/{owner}/{repo}/issues/{issue_number}/comments"
)

// count counts the requests of our App.
func count(requests []githubtest.Request) tally {
	t := tally{kinds: map[string]int{}}
	for _, q := range requests {
		if q.App != slug {
			continue
		}
		switch {
		case strings.HasSuffix(q.Path, "/access_tokens"):
			t.tokens++
			continue
		case q.Write():
			t.writes++
		case q.Kind == searchRoute:
			t.searches++
		case q.Path == "/graphql":
			t.graphql++
		default:
			t.rest++
			if q.Status == http.StatusNotModified {
				t.notModified++
			}
		}
		if q.Kind == runRoute {
			t.looks++
		}
		t.kinds[q.Kind]++
	}
	return t
}

// untilReleased is the requests up to the answer that releases a job, which is the
// last of them.
func untilReleased(requests []githubtest.Request) ([]githubtest.Request, error) {
	i := slices.IndexFunc(requests, func(q githubtest.Request) bool {
		return q.App == slug && q.Method == http.MethodPost && strings.HasSuffix(q.Path, "/deployment_protection_rule") && bytes.Contains(q.Body, []byte(`"approved"`))
	})
	if i < 0 {
		return nil, fmt.Errorf("none of %d requests released the job", len(requests))
	}
	return requests[:i+1], nil
}

// row is one line of the table.
type row struct {
	name  string
	tally tally
	goal  int // how many reads, or unbounded
}

func (r row) details(out io.Writer) {
	fmt.Fprintf(out, "\n%s\n", r.name)
	for _, k := range slices.Sorted(maps.Keys(r.tally.kinds)) {
		fmt.Fprintf(out, "  %3d  %s\n", r.tally.kinds[k], k)
	}
}
