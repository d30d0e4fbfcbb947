package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// tally is what the server asked of GitHub. What it asked for the doors' repository is
// left out.
type tally struct {
	rest, graphql int // reads: GET, GraphQL queries
	notModified   int // of rest: answered with 304
	writes        int
	core, points  int // what was taken of the installation's primary limits
	kinds         map[string]int
	looked        map[place]bool // the pull requests that were read whole
}

// place is a pull request as requests name it.
type place struct {
	repository string
	number     int
}

func (t tally) reads() int { return t.rest + t.graphql }

// lookQuery begins the query that every look at a pull request begins with.
var lookQuery = []byte("query pull(")

func count(requests []githubtest.Request) tally {
	t := tally{kinds: map[string]int{}, looked: map[place]bool{}}
	for _, q := range requests {
		if q.App != slug || strings.HasSuffix(q.Path, "/access_tokens") || strings.Contains(q.Path, "/"+doors+"/") || bytes.Contains(q.Body, []byte(`"`+doors+`"`)) {
			continue
		}
		t.kinds[q.Kind]++
		graphql := q.Path == "/graphql"
		switch {
		case q.Write():
			t.writes++
		case graphql:
			t.graphql++
			if !bytes.Contains(q.Body, lookQuery) {
				break
			}
			var asked struct {
				Variables struct {
					Name   string `json:"name"`
					Number int    `json:"number"`
				} `json:"variables"`
			}
			if json.Unmarshal(q.Body, &asked) == nil {
				t.looked[place{asked.Variables.Name, asked.Variables.Number}] = true
			}
		default:
			t.rest++
			if q.Status == http.StatusNotModified {
				t.notModified++
			}
		}
		switch {
		case graphql:
			t.points += q.Cost
		case !strings.HasPrefix(q.Path, "/app"): // the App has a budget of its own
			t.core += q.Cost
		}
	}
	return t
}

// row is what one phase cost.
type row struct {
	name         string
	wanted       string
	looked       int
	sweeps       int
	took, cpu    time.Duration
	keys         int     // of work, at most
	resident     float64 // MiB, at most
	tally        tally
	opened, held []time.Duration
}

func (r row) details(out io.Writer) {
	fmt.Fprintf(out, "\n%s\n", r.name)
	for _, k := range slices.Sorted(maps.Keys(r.tally.kinds)) {
		fmt.Fprintf(out, "  %6d  %s\n", r.tally.kinds[k], k)
	}
}

// ms is a quantile in milliseconds.
func ms(all []time.Duration, q float64) string {
	if len(all) == 0 {
		return "-"
	}
	all = slices.Sorted(slices.Values(all))
	return fmt.Sprintf("%d ms", all[min(int(q*float64(len(all))), len(all)-1)].Milliseconds())
}
