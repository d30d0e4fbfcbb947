package main

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// tally is what one App asked of GitHub.
type tally struct {
	rest, graphql int // reads: GET and HEAD, GraphQL queries
	notModified   int // of rest: answered with 304, which takes nothing of the primary limit
	tokens        int // token exchanges
	writes        int
	kinds         map[string]int // reads and writes by route
}

func (t tally) reads() int { return t.rest + t.graphql }

func (t *tally) add(o tally) {
	t.rest, t.graphql, t.notModified = t.rest+o.rest, t.graphql+o.graphql, t.notModified+o.notModified
	t.tokens, t.writes = t.tokens+o.tokens, t.writes+o.writes
	if t.kinds == nil {
		t.kinds = map[string]int{}
	}
	for k, n := range o.kinds {
		t.kinds[k] += n
	}
}

func (t tally) sortedKinds() []string { return slices.Sorted(maps.Keys(t.kinds)) }

// count counts the requests of the App with a slug.
func count(requests []githubtest.Request, slug string) tally {
	t := tally{kinds: map[string]int{}}
	for _, q := range requests {
		if q.App != slug {
			continue
		}
		kind := q.Kind
		if kind == "" {
			kind = q.Method + " " + plain(q.Path) + " (not in githubtest)"
		}
		switch {
		case strings.HasSuffix(q.Path, "/access_tokens"):
			t.tokens++
			continue
		case q.Write():
			t.writes++
		case q.Path == "/graphql":
			t.graphql++
		default:
			t.rest++
			if q.Status == http.StatusNotModified {
				t.notModified++
			}
		}
		t.kinds[kind]++
	}
	return t
}
