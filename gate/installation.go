package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// The states of an installation in the store.
const (
	installationActive    = "active"
	installationSuspended = "suspended"
	installationDeleted   = "deleted"
)

func installationKey(id rules.InstallationID) rules.WorkKey {
	return rules.WorkKey{Kind: rules.WorkInstallation, Number: int64(id)}
}

// installation looks at an installation: who it is on, and what it reaches.
func (g *Gate) installation(ctx context.Context, work store.Work) error {
	if err := g.readInstallation(ctx, rules.InstallationID(work.Key.Number)); err != nil && !errors.Is(err, errNotServed) {
		return err
	}
	return g.cfg.Store.Done(ctx, work.Key, work.Lease)
}

// readInstallation reads an installation and its repositories, and marks those that
// are new. One of an account that is not served is not read any further.
func (g *Gate) readInstallation(ctx context.Context, id rules.InstallationID) error {
	in, err := g.cfg.GitHub.Installation(ctx, id)
	row := store.Installation{ID: id, State: installationActive, UpdatedAt: g.cfg.Now()}
	switch {
	case errors.Is(err, github.ErrNotFound):
		if old, oerr := g.cfg.Store.Installation(ctx, id); oerr == nil {
			row = old
		}
		row.State = installationDeleted
	case err != nil:
		return fmt.Errorf("reading installation %d: %w", id, err)
	default:
		row.Account, row.Login, row.Type, row.Permissions = in.Account.ID, in.Account.Login, in.Account.Type, in.Permissions
		if in.Suspended {
			row.State = installationSuspended
		}
	}
	if !g.owners[row.Account] && row.State == installationActive {
		g.setForeign(id)
		g.cfg.Log.WarnContext(ctx, "an installation on an account that is not served; name it in SALLYPORT_OWNERS to serve it",
			slog.Int64("installation", int64(id)), slog.Int64("account", int64(row.Account)), slog.String("login", string(row.Login)))
		return fmt.Errorf("installation %d is on account %d: %w", id, row.Account, errNotServed)
	}
	g.cfg.GitHub.Granted(id, row.Permissions)
	before, err := g.cfg.Store.Repositories(ctx, id)
	if err != nil {
		return err
	}
	known := map[rules.RepositoryID]bool{}
	for _, r := range before {
		known[r.ID] = true
	}
	var now []github.RepositoryInfo
	if row.State == installationActive {
		if now, err = g.cfg.GitHub.Repositories(ctx, id); err != nil {
			return fmt.Errorf("reading the repositories of installation %d: %w", id, err)
		}
		for _, lack := range lacking(in) {
			g.cfg.Log.WarnContext(ctx, "the installation lacks a permission: its owner has to accept it",
				slog.Int64("installation", int64(id)), slog.String("permission", lack))
		}
	}
	gone := map[rules.RepositoryID]store.Repository{}
	for _, r := range before {
		if !slices.ContainsFunc(now, func(n github.RepositoryInfo) bool { return n.ID == r.ID }) {
			gone[r.ID] = r
		}
	}
	entries, tell, err := g.abandoned(ctx, row, gone)
	if err != nil {
		return err
	}
	lost, err := g.cfg.Store.Leases(ctx)
	if err != nil {
		return err
	}
	lost = slices.DeleteFunc(lost, func(l store.Lease) bool { _, ok := gone[l.Repository]; return !ok })
	return g.write(ctx, entries, func(tx *store.Tx) error {
		if err := tell(tx); err != nil {
			return err
		}
		for _, l := range lost {
			if err := ignoreGone(tx.RevokeLease(l.ID, "its repository is out of reach", g.cfg.Now())); err != nil {
				return err
			}
		}
		if err := tx.SetInstallation(row); err != nil {
			return err
		}
		if err := g.setSubject(tx, installationKey(id), "", false, installationData{Selection: in.Selection}); err != nil {
			return err
		}
		for _, r := range now {
			if err := tx.SetRepository(store.Repository{ID: r.ID, Installation: id, FullName: r.FullName, DefaultBranch: r.DefaultBranch, UpdatedAt: g.cfg.Now()}); err != nil {
				return err
			}
			if !known[r.ID] {
				m := rules.Mark{Key: repositoryKey(r.ID), Priority: rules.PriorityDoor, Installation: id, FullName: r.FullName}
				if err := tx.Mark(m, g.cfg.Now()); err != nil {
					return err
				}
			}
			delete(known, r.ID)
		}
		for id := range known {
			if err := tx.ForgetRepository(id); err != nil {
				return err
			}
		}
		return nil
	})
}

// abandoned are the alerts about deployments that are held in repositories which went
// out of reach: nobody answers for them any more.
func (g *Gate) abandoned(ctx context.Context, in store.Installation, gone map[rules.RepositoryID]store.Repository) ([]ledger.Entry, func(*store.Tx) error, error) {
	var entries []ledger.Entry
	tells := []func(*store.Tx) error{}
	if len(gone) > 0 {
		marks, err := g.heldIn(ctx, gone)
		if err != nil {
			return nil, nil, err
		}
		for _, m := range marks {
			if m.Key.Kind != rules.WorkRun {
				continue
			}
			var data runData
			if err := g.subject(ctx, m.Key, &data); err != nil {
				return nil, nil, err
			}
			at := &place{id: m.Key.Repository, fullName: m.FullName, installation: in}
			policies, err := g.policiesOf(ctx, at, github.FileFound)
			if err != nil {
				return nil, nil, err
			}
			var list []raised
			for _, h := range data.Held {
				if h.State == heldWaiting {
					key := fmt.Sprintf("abandoned:%d/%d/%d/%d:%s", m.Key.Repository, m.Key.Number, h.Attempt, h.Turn, h.Environment)
					list = append(list, raised{key: key, environment: h.Environment, run: rules.RunID(m.Key.Number), attempt: h.Attempt, reason: rules.OutOfReach(h.Environment, data.SHA), url: h.Shown.URL})
				}
			}
			more, tell, err := g.raise(ctx, at, policies, list)
			if err != nil {
				return nil, nil, err
			}
			entries, tells = append(entries, more...), append(tells, tell)
		}
	}
	return entries, func(tx *store.Tx) error {
		for _, tell := range tells {
			if err := tell(tx); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// lacking are the permissions of the manifest that an installation does not have. A
// person's account has no members whom anybody could be allowed to see.
func lacking(in github.Installation) []string {
	var out []string
	for _, p := range github.Permissions() {
		got := in.Permissions[p.Name]
		personal := p.Name == "members" && in.Account.Type != "Organization"
		if p.Name != "metadata" && !personal && got != p.Level && got != "write" && got != "admin" {
			out = append(out, p.Name+": "+p.Level)
		}
	}
	return out
}

// owner looks again at everything that is held in an account's repositories, as
// when its teams changed.
func (g *Gate) owner(ctx context.Context, work store.Work) error {
	ins, err := g.cfg.Store.Installations(ctx)
	if err != nil {
		return err
	}
	served := map[rules.RepositoryID]store.Repository{}
	for _, in := range ins {
		if in.Account != rules.AccountID(work.Key.Number) {
			continue
		}
		repos, err := g.cfg.Store.Repositories(ctx, in.ID)
		if err != nil {
			return err
		}
		for _, r := range repos {
			served[r.ID] = r
		}
	}
	held, err := g.heldIn(ctx, served)
	if err != nil {
		return err
	}
	return g.finish(ctx, work, func(tx *store.Tx) error {
		for _, m := range held {
			if err := tx.Mark(m, g.cfg.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// heldIn marks what is held in repositories, as housekeeping.
func (g *Gate) heldIn(ctx context.Context, repos map[rules.RepositoryID]store.Repository) ([]rules.Mark, error) {
	const page = 500
	var out []rules.Mark
	var after rules.WorkKey
	for {
		subjects, err := g.cfg.Store.Held(ctx, after, page)
		if err != nil {
			return nil, err
		}
		for _, s := range subjects {
			if r, ok := repos[s.Key.Repository]; ok {
				out = append(out, rules.Mark{Key: s.Key, Priority: rules.PriorityHousekeeping, Installation: r.Installation, FullName: r.FullName})
			}
			after = s.Key
		}
		if len(subjects) < page {
			return out, nil
		}
	}
}
