package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/statements"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// rangeData is what GitHub said of everything that a deployment brings. As long as
// base and head are the same it cannot change, so that it is read once.
type rangeData struct {
	Base rules.SHA `json:"base,omitzero"`
	Head rules.SHA `json:"head,omitzero"`
	// Branch is the one that the commits came to.
	Branch string `json:"branch,omitzero"`

	Kind          rules.RangeKind   `json:"kind,omitzero"`
	Commits       []rangeCommit     `json:"commits,omitzero"`
	Complete      rules.Tri         `json:"complete,omitzero"`
	Files         []rules.File      `json:"files,omitzero"`
	FilesComplete rules.Tri         `json:"files_complete,omitzero"`
	Statements    []rules.Statement `json:"statements,omitzero"`
}

// rangeCommit is one commit of a range.
type rangeCommit struct {
	SHA     rules.SHA        `json:"sha"`
	Subject string           `json:"subject,omitzero"`
	Parents []rules.SHA      `json:"parents,omitzero"`
	By      []rules.Identity `json:"by,omitzero"`
	Pulls   []github.PullOf  `json:"pulls,omitzero"`
	// Landed is where the branch stood after GitHub itself, by merging pull requests,
	// put the commit there; empty where nobody knows that it did.
	Landed rules.SHA `json:"landed,omitzero"`
}

// maxKept is how many commits of a range are kept between looks; more are read anew.
const maxKept = 500

// maxMigrations is how many migrations of one range are looked into.
const maxMigrations = 50

// rangeOf is everything that a commit brings to an environment since the last
// deployment there that we released and whose job succeeded.
func (g *Gate) rangeOf(ctx context.Context, at *place, environment, branch string, head rules.SHA, kept *rangeData) error {
	last, err := g.cfg.Store.LastRelease(ctx, at.id, environment)
	if errors.Is(err, store.ErrNotFound) {
		*kept = rangeData{Head: head, Kind: rules.RangeFirst}
		return nil
	}
	if err != nil {
		return err
	}
	if kept.Base == last.SHA && kept.Head == head && kept.Branch == branch && kept.Kind != "" && kept.Kind != rules.RangeFirst && kept.Complete == rules.Yes {
		return nil
	}
	*kept = rangeData{Base: last.SHA, Head: head, Branch: branch}
	if last.SHA == head {
		kept.Kind, kept.Complete, kept.FilesComplete = rules.RangeIdentical, rules.Yes, rules.Yes
		return nil
	}
	found, err := at.Range(ctx, last.SHA, head)
	if err != nil {
		return fmt.Errorf("reading what %s brings since %s: %w", head.Short(), last.SHA.Short(), err)
	}
	kept.Kind, kept.Complete, kept.Files, kept.FilesComplete = found.Kind, found.Complete, found.Files, found.FilesComplete
	for _, c := range found.Commits {
		kept.Commits = append(kept.Commits, rangeCommit{
			SHA: c.SHA, Subject: firstLine(c.Message), Parents: c.ParentSHAs, By: append([]rules.Identity{c.Author, c.Committer}, c.CoAuthors...), Pulls: c.Pulls,
		})
		if !c.PullsComplete {
			kept.Complete = rules.No
		}
	}
	if kept.Commits == nil && kept.Complete == rules.Yes {
		kept.Commits = []rangeCommit{}
	}
	if err := landings(ctx, at, branch, kept); err != nil {
		return err
	}
	resolve(kept)
	return g.migrations(ctx, at, kept)
}

// resolve finds who merged, where a bot did: GitHub resolves no bot's address. It does
// so only for what GitHub itself made when it merged, since anybody can write an
// address.
func resolve(kept *rangeData) {
	for i := range kept.Commits {
		c := &kept.Commits[i]
		if c.Landed == "" || !slices.ContainsFunc(c.Pulls, func(p github.PullOf) bool { return p.Merged && p.MergeCommit == c.SHA }) {
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

// landings finds which commits GitHub put on the branch out of pull requests.
func landings(ctx context.Context, at *place, branch string, kept *rangeData) error {
	if branch == "" || len(kept.Commits) == 0 {
		return nil
	}
	in := newGraph(kept.Commits)
	left := len(kept.Commits)
	seen := map[rules.SHA]bool{}
	err := at.Landings(ctx, branch, func(l github.Landing) bool {
		if in.at[l.After] == nil {
			return l.After == kept.Base // what came before is not of this range
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
	if errors.Is(err, github.ErrNotFound) || errors.Is(err, github.ErrForbidden) {
		return nil // not told: then none is known to be GitHub's
	}
	if err != nil {
		return fmt.Errorf("reading how commits came to %q: %w", branch, err)
	}
	return nil
}

// maxLook is how long one migration may be looked at, the parser's start included.
const maxLook = 40 * time.Second

// migrations looks into the SQL files that are new or changed.
func (g *Gate) migrations(ctx context.Context, at *place, kept *rangeData) error {
	var paths []string
	for _, f := range kept.Files {
		if statements.IsMigration(f.Path) && f.Status != rules.FileRemoved {
			paths = append(paths, f.Path)
		}
	}
	slices.Sort(paths)
	asked := paths[:min(len(paths), maxMigrations)]
	if len(asked) == 0 {
		return nil
	}
	texts, err := at.Texts(ctx, kept.Head, asked)
	if err != nil {
		return fmt.Errorf("reading the migrations at %s: %w", kept.Head.Short(), err)
	}
	for _, path := range asked {
		t := texts[path]
		if !t.Known {
			kept.Statements = append(kept.Statements, rules.Statement{Path: path, Unread: true, Text: "it is too large, or no text"})
			continue
		}
		if g.cfg.Statements == nil {
			kept.Statements = append(kept.Statements, rules.Statement{Path: path, Unread: true, Text: "this server reads no SQL"})
			continue
		}
		soon, cancel := context.WithTimeout(ctx, maxLook)
		found, parsed, why := g.cfg.Statements.Look(soon, path, t.Text)
		over := soon.Err()
		cancel()
		if over != nil {
			return fmt.Errorf("reading the migration %q: %s", path, why) // it is looked at again
		}
		if !parsed {
			kept.Statements = append(kept.Statements, rules.Statement{Path: path, Unread: true, Text: why})
		}
		for _, s := range found {
			kept.Statements = append(kept.Statements, rules.Statement{Path: path, Line: s.Line, Text: s.Text})
		}
	}
	for _, path := range paths[len(asked):] {
		kept.Statements = append(kept.Statements, rules.Statement{Path: path, Unread: true, Text: "there are too many migrations to look into all"})
	}
	return nil
}

// graph is the commits of a range by their ids.
type graph struct{ at map[rules.SHA]*rangeCommit }

func newGraph(list []rangeCommit) graph {
	g := graph{map[rules.SHA]*rangeCommit{}}
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

// passage is what is on record about a pull request: whether it passed the merge
// door at a head, and who approved.
type passage struct {
	passed    rules.Tri
	approvers []rules.Actor
}

// brought says how each commit of a range came: by which pull request, and whether
// that one passed. Passed is asked for each pull request once.
func brought(kept *rangeData, repository rules.RepositoryID, passed func(github.PullOf) (passage, error)) ([]rules.Brought, error) {
	if kept.Commits == nil {
		return nil, nil
	}
	in := newGraph(kept.Commits)
	known := map[int]passage{}
	of := func(p github.PullOf) (passage, error) {
		if x, ok := known[p.Number]; ok {
			return x, nil
		}
		x, err := passed(p)
		known[p.Number] = x
		return x, err
	}
	out := make([]rules.Brought, 0, len(kept.Commits))
	for i := range kept.Commits {
		c := &kept.Commits[i]
		b := rules.Brought{SHA: c.SHA, By: c.By}
		// Where several could have brought it, the strictest is taken.
		for _, p := range c.Pulls {
			if !p.Merged || p.BaseRepository != repository || p.Base != kept.Branch || !in.came(c, p) {
				continue
			}
			x, err := of(p)
			if err != nil {
				return nil, err
			}
			if b.PullRequest == 0 || x.passed != rules.Yes || b.Passed == rules.Yes && len(x.approvers) < len(b.ApprovedBy) {
				b.PullRequest, b.Passed, b.ApprovedBy = p.Number, x.passed, x.approvers
			}
		}
		out = append(out, b)
	}
	return out, nil
}

// came reports whether a commit came by a pull request: GitHub put it on the branch
// when it merged that one, or it is one of its own commits as they stood at its head.
func (g graph) came(c *rangeCommit, p github.PullOf) bool {
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

// passage is what is on record about a pull request.
func (g *Gate) passage(ctx context.Context, at *place, p github.PullOf) (passage, error) {
	var data pullData
	if err := g.subject(ctx, pullKey(at.id, p.Number), &data); err != nil {
		return passage{}, err
	}
	switch {
	case data.Head == "":
		return passage{}, nil // nothing is known of it
	case data.Head != p.Head, data.Decision.Verdict != rules.VerdictAllow, data.Decision.Observe:
		return passage{passed: rules.No}, nil
	}
	return passage{passed: rules.Yes, approvers: data.Approvers}, nil
}
