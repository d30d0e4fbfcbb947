package selftest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Outcome is what became of a step or a fact. Values may be added and are never
// changed.
type Outcome string

// The outcomes of steps.
const (
	// Done means that the door did what it should.
	Done Outcome = "done"
	// Unmet means that it was waited for in vain, for a person or for GitHub.
	Unmet Outcome = "unmet"
	// Failed means that something went wrong.
	Failed Outcome = "failed"
	// Skipped means that a step before it did not come to its end.
	Skipped Outcome = "skipped"
)

// The outcomes of facts.
const (
	// AsAssumed means that GitHub did what docs/platform-assumptions.md assumes.
	AsAssumed Outcome = "as assumed"
	// Different means that it did something else.
	Different Outcome = "different"
	// NotSeen means that this run could not tell.
	NotSeen Outcome = "not seen"
)

// Step is one door.
type Step struct {
	ID      string  `json:"id"`
	What    string  `json:"what"`
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail,omitempty"`
	Seconds float64 `json:"seconds"`
}

// Fact is one row of docs/platform-assumptions.md.
type Fact struct {
	ID      string  `json:"id"`
	Outcome Outcome `json:"outcome"`
	// Seen is what GitHub did, or why it was not seen.
	Seen string `json:"seen"`
	// Request is the one that showed it, if one did.
	Request *Exchange `json:"request,omitempty"`

	log bool
}

// Report is what a walk found. Fields may be added and are never changed. There is no
// secret in it.
type Report struct {
	Repository string    `json:"repository"`
	GitHub     string    `json:"github"`
	Server     string    `json:"server"`
	Started    time.Time `json:"started"`
	Ended      time.Time `json:"ended"`
	Steps      []Step    `json:"steps"`
	Facts      []Fact    `json:"facts"`
	// Left is what stayed behind in the repository.
	Left     []string   `json:"left"`
	Requests []Exchange `json:"requests"`
}

// Failed reports whether a step went wrong.
func (r *Report) Failed() bool {
	for _, s := range r.Steps {
		if s.Outcome == Failed {
			return true
		}
	}
	return false
}

// OK reports whether each door opened and closed as it should, and nothing was seen
// that differs from what is assumed.
func (r *Report) OK() bool {
	for _, s := range r.Steps {
		if s.Outcome != Done {
			return false
		}
	}
	for _, f := range r.Facts {
		if f.Outcome == Different {
			return false
		}
	}
	return true
}

// JSON writes the report as JSON.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Text writes the report for people.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s, with the server %s\n%s, %s\n\nDoors\n", r.Repository, r.GitHub, r.Server, r.Started.Format(time.RFC3339), r.Ended.Sub(r.Started).Round(time.Second))
	for _, s := range r.Steps {
		fmt.Fprintf(&b, "  %-8s %s\n", s.Outcome, s.What)
		if s.Detail != "" {
			fmt.Fprintf(&b, "           %s\n", s.Detail)
		}
	}
	b.WriteString("\nWhat GitHub's documentation leaves open (docs/platform-assumptions.md)\n")
	count := map[Outcome]int{}
	for _, f := range r.Facts {
		count[f.Outcome]++
		fmt.Fprintf(&b, "  %-11s %s\n              %s\n", f.Outcome, f.ID, f.Seen)
		if f.Request != nil {
			fmt.Fprintf(&b, "              %s %s %s: %d, request %s\n", f.Request.At.Format(time.RFC3339), f.Request.Method, f.Request.Path, f.Request.Status, cmp.Or(f.Request.ID, "without an id"))
		}
	}
	fmt.Fprintf(&b, "\n%d as assumed, %d different, %d not seen; %d requests to GitHub\n", count[AsAssumed], count[Different], count[NotSeen], len(r.Requests))
	for _, l := range r.Left {
		fmt.Fprintf(&b, "Left behind: %s\n", l)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
