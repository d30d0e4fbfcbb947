package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// Adoption is a policy that an administrator may bring into force.
type Adoption struct {
	FullName string
	Path     string
	Branch   string
	Commit   rules.SHA
	// Version is the one that it would be; 1 is the first.
	Version int64
	Policy  *rules.Policy
	// Problems are what is wrong with the file. Where Policy is nil it cannot be
	// adopted.
	Problems []rules.Problem
	// Lost are logins and teams of the policy that are nobody: with them it cannot be
	// adopted either.
	Lost []string
	// Others are names of the policy that mean another account or team now than in the
	// version in force: adopted, they count, and who had the names before does not.
	Others []string
	// InForce says that this very file is in force already, and all its names mean who
	// they meant.
	InForce bool

	row store.Policy
	at  *place
}

// LookAtAdoption reads what adopting a repository's policy would bring into force:
// the policy, and in the repository that holds it the organisation's floor. Nothing
// is changed.
func (g *Gate) LookAtAdoption(ctx context.Context, fullName string) ([]Adoption, error) {
	if _, _, ok := ownerRepo(fullName); !ok {
		return nil, fmt.Errorf("%q is not OWNER/REPO", fullName)
	}
	in, err := g.cfg.GitHub.InstallationOf(ctx, fullName)
	if err != nil {
		return nil, fmt.Errorf("the App is not installed on %s: %w", fullName, err)
	}
	if err := g.readInstallation(ctx, in.ID); err != nil {
		return nil, err
	}
	repos, err := g.cfg.Store.Repositories(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	for _, r := range repos {
		if !strings.EqualFold(r.FullName, fullName) {
			continue
		}
		at, err := g.place(ctx, store.Work{Key: repositoryKey(r.ID)})
		if err != nil {
			return nil, err
		}
		return g.adoptions(ctx, at, r.DefaultBranch)
	}
	return nil, fmt.Errorf("the installation does not reach %s: %w", fullName, github.ErrNotFound)
}

func (g *Gate) adoptions(ctx context.Context, at *place, branch string) ([]Adoption, error) {
	paths := []string{rules.PolicyPath}
	if at.holdsFloor() {
		paths = append(paths, rules.FloorPath)
	}
	commit, err := at.Head(ctx, branch)
	if err != nil {
		return nil, fmt.Errorf("reading branch %q of %s: %w", branch, at.fullName, err)
	}
	var out []Adoption
	for _, path := range paths {
		file, err := at.File(ctx, path, string(commit))
		if err != nil {
			return nil, err
		}
		if file.State == github.FileAbsent {
			continue
		}
		a := Adoption{FullName: at.fullName, Path: path, Branch: branch, Commit: commit, Version: 1, at: at}
		if file.State != github.FileFound {
			return nil, fmt.Errorf("%s in %s is no plain text file", path, at.fullName)
		}
		old, err := g.cfg.Store.Policy(ctx, at.id, path)
		if err == nil {
			a.Version, a.InForce = old.Version+1, !old.Deleted && old.Blob == file.Blob && old.Branch == branch
		} else if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		a.Policy, a.Problems = rules.LoadPolicy(path, file.Text)
		if rules.HasErrors(a.Problems) {
			a.Policy = nil
		}
		a.row = store.Policy{
			Repository: at.id, Path: path, Version: a.Version, Commit: commit, Blob: file.Blob, Branch: branch, Text: file.Text,
			Arrival: "adopted", Why: "an administrator adopted it", Since: g.cfg.Now(),
		}
		if a.Policy != nil {
			if a.row.Pins, a.Lost, err = g.pins(ctx, at, a.Policy, store.Pins{}); err != nil {
				return nil, err
			}
			a.Others = others(old.Pins, a.row.Pins)
			a.InForce = a.InForce && len(a.Others) == 0
		}
		out = append(out, a)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no %s on branch %q: run `sallyport init`, commit the file, then adopt it", at.fullName, strings.Join(paths, " or "), branch)
	}
	return out, nil
}

// others are the names that mean somebody else now than they did.
func others(before, now store.Pins) []string {
	var out []string
	for name, id := range now.Users {
		if old, known := before.Users[name]; known && old != id {
			out = append(out, name)
		}
	}
	for name, id := range now.Teams {
		if old, known := before.Teams[name]; known && old != id {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Adopt brings a policy into force that was looked at. By names who did it, for the
// ledger.
func (g *Gate) Adopt(ctx context.Context, a Adoption, by string) error {
	switch {
	case a.Policy == nil:
		return fmt.Errorf("%s of %s has errors: nothing was adopted", a.Path, a.FullName)
	case len(a.Lost) > 0:
		return fmt.Errorf("%s of %s names who is not there: %s: nothing was adopted", a.Path, a.FullName, strings.Join(a.Lost, ", "))
	}
	e := policyEntry(a.row)
	e.Personal["by"] = by
	err := g.write(ctx, []ledger.Entry{e}, func(tx *store.Tx) error {
		if err := tx.SetPolicy(a.row); err != nil {
			return err
		}
		return tx.Mark(g.markAt(a.at, repositoryKey(a.at.id), rules.PriorityDoor), g.cfg.Now())
	})
	if errors.Is(err, store.ErrAlready) {
		return fmt.Errorf("another version came into force meanwhile: look again: %w", err)
	}
	if err != nil {
		return err
	}
	pulls, _, err := g.lookAgain(ctx, a.at, true)
	if err != nil {
		return fmt.Errorf("it is in force, but the open pull requests could not be listed; the sweep will find them: %w", err)
	}
	if a.Path == rules.FloorPath {
		// It judges what stands open in all the other repositories too.
		floor, err := g.siblings(ctx, a.at)
		if err != nil {
			return fmt.Errorf("it is in force, but what it applies to could not be listed; the sweep will find it: %w", err)
		}
		pulls = append(pulls, floor...)
	}
	return g.mark(ctx, pulls)
}
