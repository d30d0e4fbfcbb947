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
	Commits       []github.Arrival  `json:"commits,omitzero"`
	Complete      rules.Tri         `json:"complete,omitzero"`
	Files         []rules.File      `json:"files,omitzero"`
	FilesComplete rules.Tri         `json:"files_complete,omitzero"`
	Statements    []rules.Statement `json:"statements,omitzero"`
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
	var whole bool
	if kept.Commits, whole, err = at.Arrivals(ctx, branch, last.SHA, found.Commits); err != nil {
		return err
	}
	if !whole {
		kept.Complete = rules.No
	}
	if kept.Commits == nil && kept.Complete == rules.Yes {
		kept.Commits = []github.Arrival{}
	}
	return g.migrations(ctx, at, kept)
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

// passage is what is on record about a pull request.
func (g *Gate) passage(ctx context.Context, at *place, p github.PullOf) (github.Passage, error) {
	var data pullData
	if err := g.subject(ctx, pullKey(at.id, p.Number), &data); err != nil {
		return github.Passage{}, err
	}
	switch {
	case data.Head == "":
		return github.Passage{}, nil // nothing is known of it
	case data.Head != p.Head, data.Decision.Verdict != rules.VerdictAllow, data.Decision.Observe:
		return github.Passage{Passed: rules.No}, nil
	}
	return github.Passage{Passed: rules.Yes, Approvers: data.Approvers}, nil
}
