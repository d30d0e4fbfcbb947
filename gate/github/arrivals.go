package github

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/rules"
)

// Arrival is one commit of a range, with what tells how it came. It is stored: members
// may be added.
type Arrival struct {
	SHA     rules.SHA        `json:"sha"`
	Subject string           `json:"subject,omitzero"`
	Parents []rules.SHA      `json:"parents,omitzero"`
	By      []rules.Identity `json:"by,omitzero"`
	Pulls   []PullOf         `json:"pulls,omitzero"`
	// Landed is where the branch stood after GitHub itself, by merging pull requests,
	// put the commit there; empty where nobody knows that it did.
	Landed rules.SHA `json:"landed,omitzero"`
}

// Arrivals finds how the commits since a base came to a branch. Whole is false if not
// all pull requests of all commits are known.
func (r *Repository) Arrivals(ctx context.Context, branch string, base rules.SHA, commits []RangeCommit) (list []Arrival, whole bool, err error) {
	whole = true
	for _, c := range commits {
		list = append(list, Arrival{
			SHA: c.SHA, Subject: firstLine(c.Message), Parents: c.ParentSHAs, By: append([]rules.Identity{c.Author, c.Committer}, c.CoAuthors...), Pulls: c.Pulls,
		})
		whole = whole && c.PullsComplete
	}
	if err := r.landed(ctx, branch, base, list); err != nil {
		return nil, false, err
	}
	resolve(list)
	return list, whole, nil
}

// landed finds which commits GitHub put on the branch out of pull requests.
func (r *Repository) landed(ctx context.Context, branch string, base rules.SHA, list []Arrival) error {
	if branch == "" || len(list) == 0 {
		return nil
	}
	in := newGraph(list)
	left := len(list)
	seen := map[rules.SHA]bool{}
	err := r.Landings(ctx, branch, func(l Landing) bool {
		if in.at[l.After] == nil {
			return l.After == base // what came before is not of this range
		}
		for sha := range in.between(l.Before, l.After) {
			if seen[sha] {
				continue // a later change of the branch put it there
			}
			seen[sha] = true
			left--
			if l.ByGitHub() {
				in.at[sha].Landed = l.After
			}
		}
		return left == 0
	})
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrForbidden) {
		return nil // not told: then none is known to be GitHub's
	}
	if err != nil {
		return fmt.Errorf("reading how commits came to %q: %w", branch, err)
	}
	return nil
}

// resolve finds who merged, where a bot did: GitHub resolves no bot's address. It does
// so only for what GitHub itself made when it merged, since anybody can write an
// address.
func resolve(list []Arrival) {
	for i := range list {
		c := &list[i]
		if c.Landed == "" || !slices.ContainsFunc(c.Pulls, func(p PullOf) bool { return p.Merged && p.MergeCommit == c.SHA }) {
			continue
		}
		for j := range min(len(c.By), 2) { // author and committer; the others are the commit's own text
			if by := &c.By[j]; by.ID == 0 {
				by.ID, by.Login = rules.NoreplyAccount(by.Email)
			}
		}
	}
}

func firstLine(s string) string {
	for i, r := range s {
		if r == '\n' || i > 200 {
			return s[:i]
		}
	}
	return s
}

// graph is the commits of a range by their ids.
type graph struct{ at map[rules.SHA]*Arrival }

func newGraph(list []Arrival) graph {
	g := graph{map[rules.SHA]*Arrival{}}
	for i := range list {
		g.at[list[i].SHA] = &list[i]
	}
	return g
}

// reach is every commit of the range that one descends from, itself included.
func (g graph) reach(from rules.SHA) map[rules.SHA]bool {
	out := map[rules.SHA]bool{}
	todo := []rules.SHA{from}
	for len(todo) > 0 {
		sha := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if c := g.at[sha]; c != nil && !out[sha] {
			out[sha] = true
			todo = append(todo, c.Parents...)
		}
	}
	return out
}

// between is what is reached from after and not from before.
func (g graph) between(before, after rules.SHA) map[rules.SHA]bool {
	out := g.reach(after)
	for sha := range g.reach(before) {
		delete(out, sha)
	}
	return out
}

// came reports whether a commit came by a pull request: GitHub put it on the branch
// when it merged that one, or it is one of its own commits as they stood at its head.
func (g graph) came(c *Arrival, p PullOf) bool {
	if c.Landed != "" {
		// The merge that put it there made the pull request's merge commit too.
		m := g.at[p.MergeCommit]
		return m != nil && m.Landed == c.Landed
	}
	if !g.reach(p.Head)[c.SHA] {
		return false
	}
	// Somebody merged elsewhere and pushed: the pull request's own commits are what
	// its head brought to what was there before.
	m := g.at[p.MergeCommit]
	return m == nil || len(m.Parents) < 2 || !g.reach(m.Parents[0])[c.SHA]
}

// Passage is what is known about a pull request: whether it passed the merge door at
// the head that was merged, and who approved.
type Passage struct {
	Passed    rules.Tri
	Approvers []rules.Actor
}

// Brought says how each commit of a range came to a repository's branch: by which pull
// request, and whether that one passed. It asks for the passage of each pull request
// once.
func Brought(list []Arrival, branch string, repository rules.RepositoryID, passage func(PullOf) (Passage, error)) ([]rules.Brought, error) {
	if list == nil {
		return nil, nil
	}
	in := newGraph(list)
	known := map[int]Passage{}
	of := func(p PullOf) (Passage, error) {
		if x, ok := known[p.Number]; ok {
			return x, nil
		}
		x, err := passage(p)
		known[p.Number] = x
		return x, err
	}
	out := make([]rules.Brought, 0, len(list))
	for i := range list {
		c := &list[i]
		b := rules.Brought{SHA: c.SHA, By: c.By}
		// Where several could have brought it, the strictest is taken.
		for _, p := range c.Pulls {
			if !p.Merged || p.BaseRepository != repository || p.Base != branch || !in.came(c, p) {
				continue
			}
			x, err := of(p)
			if err != nil {
				return nil, err
			}
			if b.PullRequest == 0 || x.Passed != rules.Yes || b.Passed == rules.Yes && len(x.Approvers) < len(b.ApprovedBy) {
				b.PullRequest, b.Passed, b.ApprovedBy = p.Number, x.Passed, x.Approvers
			}
		}
		out = append(out, b)
	}
	return out, nil
}
