package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/gate/git"
	"github.com/sallyport/sallyport/rules"
)

func (a *app) initCommand() *cobra.Command {
	f := initFlags{gate: gateOptions{}}
	c := &cobra.Command{
		Use:   "init [flags]",
		Short: "Look at this repository and write a policy for it",
		Long: `Look at this repository and write ` + rules.PolicyPath + `: valid, short, with a comment
for each part. Documentation, tests and folders named after a lower environment
become automatic; everything else asks a human. It begins in mode: observe, which
judges everything and holds nothing.

Then it shows, as a diff, how the jobs that deploy to an environment which asks a human
would wait in their first step. With --apply it changes the workflows so. Where the
workflows read secrets or variables and there is no ` + envExample + ` it writes one, with
names alone. Nothing is committed.`,
		Example: `$ sallyport init
$ sallyport init --print
$ sallyport init --apply --server https://sallyport.acme.dev`,
		Args: atMost(0),
	}
	c.Flags().BoolVar(&f.force, "force", false, "Replace a policy that is there")
	c.Flags().BoolVar(&f.print, "print", false, "Print the policy and write nothing")
	c.Flags().BoolVar(&f.apply, "apply", false, "Change the workflows as the diff shows; a policy that is there stays")
	c.Flags().StringVar(&f.gate.Server, "server", "${{ vars.SALLYPORT_URL }}", "Where the server is reached, or an expression that gives it")
	c.Flags().StringVar(&f.gate.Uses, "action", "sallyport/sallyport@v1", "The action, with the commit that it is pinned to")
	c.RunE = func(c *cobra.Command, _ []string) error { return a.init(c.Context(), f) }
	return c
}

// initFlags are the flags of init.
type initFlags struct {
	force, print, apply bool
	gate                gateOptions
}

// oneLine is what may stand in a workflow's line as it is.
var oneLine = regexp.MustCompile(`^[A-Za-z0-9$][A-Za-z0-9 ${}._/:@+-]*\z`)

func (a *app) init(ctx context.Context, f initFlags) error {
	for name, value := range map[string]string{"server": f.gate.Server, "action": f.gate.Uses} {
		if !oneLine.MatchString(value) || strings.Contains(value, ": ") {
			return refuse("--%s: %q cannot stand in a workflow", name, value)
		}
	}
	repo, err := git.Open(ctx, git.Config{Env: a.env})
	if err != nil {
		return err
	}
	defer repo.Close()
	if repo.Bare() && !f.print {
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
	text := observing(rules.Starter(look))
	policy, problems := rules.LoadPolicy(rules.PolicyPath, text)
	if policy == nil || rules.HasErrors(problems) || policy.Mode != rules.ModeObserve {
		// A repository for which this can happen is a mistake of this program; its
		// policy is not written.
		for _, p := range problems {
			fmt.Fprint(a.stderr, p.Render())
		}
		return errors.New("the policy made for this repository has errors; please report this with the lines above")
	}
	if f.print {
		_, err := a.stdout.Write(text)
		return err
	}
	return a.initTree(ctx, repo, look, text, policy, f)
}

// initTree writes what belongs into the work tree, and shows the rest.
func (a *app) initTree(ctx context.Context, repo *git.Repository, look rules.Look, text []byte, policy *rules.Policy, f initFlags) error {
	root, err := os.OpenRoot(repo.Root())
	if err != nil {
		return err
	}
	defer root.Close()
	kept := false
	if there, ok := treeFile(root, rules.PolicyPath); ok && f.apply && !f.force {
		var problems []rules.Problem
		if policy, problems = rules.LoadPolicy(rules.PolicyPath, there); policy == nil {
			return refuse("%s has errors (%d): sallyport policy lint shows them", rules.PolicyPath, len(problems))
		}
		kept = true
	} else if err := writePolicy(root, text, f.force); err != nil {
		return err
	}
	f.gate.Gated = policy.Gated
	var workflows []*workflow
	for _, name := range rules.StarterReads(look.Files) {
		if path.Base(name) == "CODEOWNERS" {
			continue
		}
		data, ok := treeFile(root, name)
		if !ok {
			if _, err := root.Lstat(filepath.FromSlash(name)); err == nil {
				workflows = append(workflows, unread(name, nil, "it is too large, or no ordinary file"))
			}
			continue
		}
		if w := readWorkflow(name, data, f.gate); w != nil {
			workflows = append(workflows, w)
		}
	}
	branch := ""
	if b, err := repo.DefaultBranch(ctx); err == nil {
		branch = b.Name
	}
	done := initDone{look: look, policy: policy, kept: kept, branch: branch, workflows: workflows}
	if template := envTemplate(workflows); template != "" {
		switch err := createFile(root, envExample, template); {
		case err == nil:
			done.env = true
		case !errors.Is(err, fs.ErrExist):
			return err
		}
	}
	if f.apply {
		for _, w := range workflows {
			if len(w.edits) == 0 {
				continue
			}
			if err := root.WriteFile(filepath.FromSlash(w.name), w.edited(), 0o644); err != nil {
				return fmt.Errorf("changing a workflow: %w", err)
			}
			done.applied = true
		}
	}
	a.showInit(done)
	return nil
}

// observing puts a policy that was just made into mode: observe.
func observing(policy []byte) []byte {
	const version = "version: 1\n"
	return bytes.Replace(policy, []byte(version), []byte(version+`
# It judges and says, and holds nothing. Once what it says is right: enforce.
mode: observe
`), 1)
}

// treeFile is an ordinary file of the work tree, if it is not too large.
func treeFile(root *os.Root, name string) ([]byte, bool) {
	name = filepath.FromSlash(name)
	info, err := root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > rules.MaxStarterBytes {
		return nil, false
	}
	data, err := root.ReadFile(name)
	return data, err == nil
}

// createFile writes a file that is not there.
func createFile(root *os.Root, name, text string) error {
	w, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = w.WriteString(text)
	return errors.Join(err, w.Close())
}

// writePolicy writes the policy below a repository's root and follows no symlink
// that the repository has there.
func writePolicy(root *os.Root, text []byte, force bool) error {
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
