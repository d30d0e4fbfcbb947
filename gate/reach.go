package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// errNotServed means that a key belongs to nobody that is served: work on it ends
// and does nothing.
var errNotServed = errors.New("the installation is not served")

// place is a repository within reach: where it is, whose it is, and how to ask
// GitHub about it.
type place struct {
	*github.Repository

	id           rules.RepositoryID
	fullName     string
	installation store.Installation
	selection    string // of the installation: "all" or "selected"
}

// owner is the repository's owner by name.
func (p *place) owner() string {
	owner, _, _ := strings.Cut(p.fullName, "/")
	return owner
}

// holdsFloor reports whether the repository is the one that holds its owner's floor.
func (p *place) holdsFloor() bool {
	_, name, _ := strings.Cut(p.fullName, "/")
	return strings.EqualFold(name, floorRepository)
}

// installationData is what is known of an installation beside its row.
type installationData struct {
	Selection string `json:"selection,omitzero"`
}

// place finds the repository of a key. What an event said of it is a hint: the
// installation is looked up, and must be one that is served.
func (g *Gate) place(ctx context.Context, work store.Work) (*place, error) {
	repo, err := g.cfg.Store.Repository(ctx, work.Key.Repository)
	if errors.Is(err, store.ErrNotFound) && work.Installation != 0 {
		if g.isForeign(work.Installation) {
			return nil, fmt.Errorf("installation %d is of an account that is not: %w", work.Installation, errNotServed)
		}
		// The first that is heard of it: list what the installation reaches.
		if err := g.readInstallation(ctx, work.Installation); err != nil {
			return nil, err
		}
		repo, err = g.cfg.Store.Repository(ctx, work.Key.Repository)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("repository %d is not within reach: %w", work.Key.Repository, errNotServed)
	}
	if err != nil {
		return nil, err
	}
	in, err := g.cfg.Store.Installation(ctx, repo.Installation)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if err != nil || in.State != installationActive || !g.owners[in.Account] {
		return nil, fmt.Errorf("installation %d is %q: %w", repo.Installation, in.State, errNotServed)
	}
	g.cfg.GitHub.Granted(in.ID, in.Permissions)
	var data installationData
	if s, err := g.cfg.Store.Subject(ctx, rules.WorkKey{Kind: rules.WorkInstallation, Number: int64(in.ID)}); err == nil {
		if err := json.Unmarshal(s.Data, &data); err != nil {
			return nil, fmt.Errorf("reading what is known of installation %d: %w", in.ID, err)
		}
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return &place{
		Repository: g.cfg.GitHub.Repository(in.ID, repo.ID, repo.FullName),
		id:         repo.ID, fullName: repo.FullName, installation: in, selection: data.Selection,
	}, nil
}

// maxForeign is how many installations are remembered that are not served.
const maxForeign = 10_000

// isForeign reports whether an installation was seen to be on an account that is not
// served, which no installation comes to change. Anybody may install a public App, and
// each of their events would cost a request of our own.
func (g *Gate) isForeign(id rules.InstallationID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.foreign[id]
}

func (g *Gate) setForeign(id rules.InstallationID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.foreign) >= maxForeign {
		clear(g.foreign)
	}
	g.foreign[id] = true
}

// inPlace calls look with the place of a key; work on what is not served ends.
func (g *Gate) inPlace(ctx context.Context, work store.Work, look func(context.Context, store.Work, *place) error) error {
	at, err := g.place(ctx, work)
	if errors.Is(err, errNotServed) {
		g.cfg.Log.InfoContext(ctx, "not served", slog.Any("cause", err))
		return g.cfg.Store.Done(ctx, work.Key, work.Lease)
	}
	if err != nil {
		return err
	}
	return look(ctx, work, at)
}

// moved says that what GitHub answers under a repository's name is not the
// repository: it was renamed, or another took its name. Its names are read anew.
func (g *Gate) moved(ctx context.Context, p *place, found rules.RepositoryID) error {
	if err := g.readInstallation(ctx, p.installation.ID); err != nil {
		return err
	}
	return fmt.Errorf("%s is repository %d, not %d: its names were read anew", p.fullName, found, p.id)
}

// renamed reads the names of what an installation reaches anew, after GitHub did not
// find something. It is an error if the repository has another name now: what was not
// found may be there.
func (g *Gate) renamed(ctx context.Context, p *place) error {
	if err := g.readInstallation(ctx, p.installation.ID); err != nil {
		return err
	}
	now, err := g.cfg.Store.Repository(ctx, p.id)
	if errors.Is(err, store.ErrNotFound) {
		return nil // out of reach
	}
	if err == nil && now.FullName != p.fullName {
		err = fmt.Errorf("%s is %s now: its names were read anew", p.fullName, now.FullName)
	}
	return err
}
