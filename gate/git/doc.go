// Package git reads the facts of a change from a local repository.
//
// It runs the plumbing commands of an installed git and needs no network:
//
//	repo, err := git.Open(ctx, git.Config{Dir: "."})
//	defer repo.Close()
//	head, err := repo.Revision(ctx, "HEAD")
//	base, err := repo.Revision(ctx, "origin/main")
//	facts, err := repo.Change(ctx, base, head)
//
// A repository is hostile until shown otherwise: its configuration, attributes,
// replace references, grafts, hooks, branch names, paths and messages were
// written by whoever is judged. Nothing of it is run, no name can become an
// option, everything read has a limit, and what could not be read is a state of
// the facts ([rules.Unknown], [rules.No]) with the reason in [Facts.Notes].
package git
