package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/gate/git"
	"github.com/sallyport/sallyport/rules"
)

func (a *app) initCommand() *cobra.Command {
	var force, print bool
	c := &cobra.Command{
		Use:   "init [flags]",
		Short: "Look at this repository and write a policy for it",
		Long: `Look at this repository and write ` + rules.PolicyPath + `: valid, short, with a comment
for each part. Documentation, tests and folders named after a lower environment
become automatic; everything else asks a human. Nothing is committed.`,
		Example: `$ sallyport init
$ sallyport init --print`,
		Args: atMost(0),
	}
	c.Flags().BoolVar(&force, "force", false, "Replace a policy that is there")
	c.Flags().BoolVar(&print, "print", false, "Print the policy and write nothing")
	c.RunE = func(c *cobra.Command, _ []string) error { return a.init(c.Context(), force, print) }
	return c
}

func (a *app) init(ctx context.Context, force, print bool) error {
	if ctx == nil {
		ctx = context.Background()
	}
	repo, err := git.Open(ctx, git.Config{Env: a.env})
	if err != nil {
		return err
	}
	defer repo.Close()
	if repo.Bare() && !print {
		return refuse("this repository is bare: run init in a work tree, or add --print")
	}
	var look rules.Look
	head, err := repo.Revision(ctx, "HEAD")
	switch {
	case errors.Is(err, git.ErrEmpty):
	case err != nil:
		return err
	default:
		if look, err = lookAt(ctx, repo, head.SHA); err != nil {
			return err
		}
	}
	if look.Owner == "" {
		if look.Owner, err = owner(ctx, repo); err != nil {
			return err
		}
	}
	text := rules.Starter(look)
	if _, problems := rules.LoadPolicy(rules.PolicyPath, text); len(problems) > 0 {
		// A repository for which this can happen is a mistake of this program; its
		// policy is not written.
		for _, p := range problems {
			fmt.Fprint(a.stderr, p.Render())
		}
		return errors.New("the policy made for this repository has errors; please report this with the lines above")
	}
	if print {
		_, err := a.stdout.Write(text)
		return err
	}
	if err := writePolicy(repo.Root(), text, force); err != nil {
		return err
	}
	a.showInit(look)
	return nil
}

// writePolicy writes the policy below a repository's root and follows no symlink
// that the repository has there.
func writePolicy(dir string, text []byte, force bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.Dir(filepath.FromSlash(rules.PolicyPath)), 0o755); err != nil {
		return err
	}
	name := filepath.FromSlash(rules.PolicyPath)
	if info, err := root.Lstat(name); err == nil {
		if !force {
			return refuse("%s is there already: add --force to replace it, or --print to see what would be written", rules.PolicyPath)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no ordinary file: remove it first", rules.PolicyPath)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return root.WriteFile(name, text, 0o644)
}

// showInit says what was found and what comes next.
func (a *app) showInit(look rules.Look) {
	f := rules.Survey(look)
	fmt.Fprintf(a.stdout, "%s wrote %s\n\n", a.out.good("✓"), a.out.name(rules.PolicyPath))
	var rows []row
	found := func(what string, items []string) {
		if len(items) == 0 {
			return
		}
		shown := make([]string, len(items))
		for i, s := range items {
			shown[i] = visible(s)
		}
		rows = append(rows, row{a.out.dim(what), shorten(strings.Join(shown, ", "), a.out.width-22)})
	}
	found("languages", f.Languages)
	found("docs and tests", slices.Concat(f.Docs, f.Tests))
	found("lower environments", f.Dev)
	found("migrations", f.Migrations)
	found("terraform", f.Terraform)
	found("kubernetes", f.Kubernetes)
	found("environments", f.Environments)
	found("checks", f.Checks)
	var owners []string
	for _, o := range f.Owners {
		owners = append(owners, string(o))
	}
	found("CODEOWNERS", owners)
	if len(rows) == 0 {
		rows = append(rows, row{a.out.dim("nothing that says what belongs where: every change asks a human")})
	}
	fmt.Fprintln(a.stdout, a.out.strong("FOUND"))
	a.columns(a.stdout, "  ", rows)
	fmt.Fprintf(a.stdout, "\n%s\n", a.out.strong("NEXT"))
	fmt.Fprintf(a.stdout, "  1. Read it, and name who approves:  $EDITOR %s\n", rules.PolicyPath)
	fmt.Fprintf(a.stdout, "  2. Check it:                        sallyport policy lint\n")
	fmt.Fprintf(a.stdout, "  3. Judge a branch by it:            sallyport check --policy %s\n", rules.PolicyPath)
	fmt.Fprintf(a.stdout, "  4. Commit it by a pull request.\n")
}

// lookAt gathers what rules.Starter needs of a commit.
func lookAt(ctx context.Context, repo *git.Repository, commit rules.SHA) (rules.Look, error) {
	files, err := repo.Tree(ctx, commit)
	if err != nil {
		return rules.Look{}, err
	}
	look := rules.Look{Files: files, Contents: map[string][]byte{}}
	for _, name := range rules.StarterReads(files) {
		data, err := repo.ReadFile(ctx, commit, name, rules.MaxStarterBytes)
		if err != nil {
			continue // too large or not readable: it says nothing
		}
		look.Contents[name] = data
	}
	look.Owner, err = owner(ctx, repo)
	return look, err
}

// owner is whom the origin remote's repository belongs to; empty if unknown.
func owner(ctx context.Context, repo *git.Repository) (string, error) {
	full, err := repo.FullName(ctx)
	name, _, _ := strings.Cut(full, "/")
	return name, err
}
