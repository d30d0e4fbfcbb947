package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/gate/git"
	"github.com/sallyport/sallyport/rules"
)

const exitCodes = `0  nothing is needed
1  something else went wrong
2  the command line or the policy is wrong
3  a human is needed, or something was found`

func exits() map[string]string { return map[string]string{"exit": exitCodes} }

func (a *app) checkCommand() *cobra.Command {
	var o checkOptions
	c := &cobra.Command{
		Use:   "check [flags]",
		Short: "Judge this branch: who wrote it, what it touches, what it needs",
		Long: `Judge a branch of this repository before there is a pull request: who wrote it,
which environments it touches, what it needs from whom, and what would make that
not needed.

The change is what HEAD has and the default branch has not. The policy is the one
on the default branch, never that of the branch under judgement. Nothing leaves
this machine.`,
		Example: `$ sallyport check
$ sallyport check --base HEAD~3
$ sallyport check --base v1.4.0 --head release/1.5 --format json
$ sallyport check --exit-zero || echo "something went wrong"`,
		Args:        atMost(0),
		Annotations: exits(),
	}
	c.Flags().StringVar(&o.base, "base", "", "Where the change would go: a `revision` (default: the default branch)")
	c.Flags().StringVar(&o.head, "head", "HEAD", "What is judged: a `revision`")
	c.Flags().StringVar(&o.policy, "policy", "", "Judge by this policy `file` instead of the default branch's")
	c.Flags().BoolVar(&o.exitZero, "exit-zero", false, "Exit with 0 even if a human is needed")
	schema := c.Flags().Bool("schema", false, "Print the JSON Schema of the JSON output and exit")
	f := addFormat(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *schema {
			return a.printSchema(schemaDecision)
		}
		o.format = *f
		return a.check(c.Context(), o)
	}
	return c
}

type checkOptions struct {
	base, head, policy string
	exitZero           bool
	format             format
}

// judged is everything that check's text shows.
type judged struct {
	facts    *git.Facts
	base     git.Revision
	head     git.Revision
	policy   policySource
	decision rules.Decision
}

func (a *app) check(ctx context.Context, o checkOptions) error {
	done := a.progress("Reading the branch …")
	defer done()
	repo, err := git.Open(ctx, git.Config{Env: a.env})
	if err != nil {
		return err
	}
	defer repo.Close()
	facts, ends, err := readBranch(ctx, repo, o)
	if err != nil {
		return err
	}
	src, err := a.findPolicy(ctx, repo, ends.def, facts, o.policy)
	if err != nil {
		return err
	}
	done()
	if rules.HasErrors(src.problems) {
		return a.invalidPolicy(src.problems)
	}
	p := rules.Policies{
		Repository: rules.PolicyVersion{
			State: rules.PolicyInForce, Policy: src.policy,
			Source: rules.PolicySource{Path: src.path, Commit: src.commit},
		},
		Floor: rules.PolicyVersion{State: rules.PolicyNone},
	}
	j := judged{facts: facts, base: ends.base, head: ends.head, policy: src, decision: rules.DecideChange(p, facts.Change)}
	nothing := len(facts.Change.Commits) == 0 && len(facts.Change.Files) == 0 && facts.Change.FilesComplete == rules.Yes
	if o.format == formatJSON {
		if err := a.printJSON(j.decision); err != nil {
			return err
		}
	} else {
		w := bufio.NewWriter(a.stdout)
		if nothing {
			a.showNothing(w, j)
		} else {
			a.showCheck(w, j)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if !nothing && !o.exitZero && j.decision.NeedsHuman() {
		return errHuman()
	}
	return nil
}

// ends are between what a change lies.
type ends struct {
	def        git.DefaultBranch // empty if nothing says which it is
	base, head git.Revision
}

// readBranch finds the change that the flags mean and reads its facts. What does
// not depend on each other is asked at the same time: most of it costs no more
// than the start of a git command.
func readBranch(ctx context.Context, repo *git.Repository, o checkOptions) (*git.Facts, ends, error) {
	var e ends
	var defErr, nameErr error
	var fullName string
	var wg sync.WaitGroup
	wg.Go(func() { e.def, defErr = repo.DefaultBranch(ctx) })
	wg.Go(func() { fullName, nameErr = repo.FullName(ctx) })
	head, err := repo.Revision(ctx, o.head)
	wg.Wait()
	if err != nil {
		return nil, e, revisionError("--head", err)
	}
	if nameErr != nil {
		return nil, e, nameErr
	}
	e.head = head
	name := o.base
	if name == "" {
		if defErr != nil {
			return nil, e, usageIf(git.ErrNoDefaultBranch, defErr)
		}
		name = e.def.Ref
	}
	if e.base, err = repo.Revision(ctx, name); err != nil {
		return nil, e, revisionError("--base", err)
	}
	if o.base == "" {
		e.base.Name = e.def.Short()
	}
	// The signatures of agents are read at the first judgement: now, while git works.
	wg.Go(func() {
		if c, err := rules.NewCatalogue(rules.AgentRules{}); err == nil {
			c.Judge(&rules.Change{})
		}
	})
	facts, err := repo.Change(ctx, e.base, e.head)
	wg.Wait()
	if err != nil {
		return nil, e, err
	}
	facts.Change.Repository.FullName = fullName
	return facts, e, nil
}

// revisionError says which flag named a revision that is not there.
func revisionError(flag string, err error) error {
	switch {
	case errors.Is(err, git.ErrEmpty):
		return fmt.Errorf("%w; make one first: git commit", err)
	case errors.Is(err, git.ErrNoRevision):
		return refuse("%s: %w", flag, err)
	}
	return err
}

func usageIf(target, err error) error {
	if errors.Is(err, target) {
		return &codeError{code: ExitUsage, err: err}
	}
	return err
}

// policySource is a policy and where it was found.
type policySource struct {
	policy   *rules.Policy
	problems []rules.Problem
	path     string
	commit   rules.SHA
	where    string // in words, after the path
	note     string // what a person should know about it; empty as a rule
}

// findPolicy reads the policy that judges: the file that was named; else the
// default branch's; else the one that the change brings or the work tree has,
// saying so; else the one that init would write.
func (a *app) findPolicy(ctx context.Context, repo *git.Repository, def git.DefaultBranch, f *git.Facts, file string) (policySource, error) {
	if file != "" {
		data, err := a.readInput(file, rules.MaxPolicyBytes)
		if err != nil {
			return policySource{}, err
		}
		return loadPolicy(file, data, policySource{path: file, where: "as named by --policy"}), nil
	}
	at := func(sha rules.SHA, where, note string) (policySource, bool, error) {
		if sha == "" {
			return policySource{}, false, nil
		}
		data, err := repo.ReadFile(ctx, sha, rules.PolicyPath, rules.MaxPolicyBytes)
		if errors.Is(err, fs.ErrNotExist) {
			return policySource{}, false, nil
		}
		if err != nil {
			return policySource{}, false, err
		}
		s := policySource{path: rules.PolicyPath, commit: sha, where: where + " (" + sha.Short() + ")", note: note}
		return loadPolicy(rules.PolicyPath, data, s), true, nil
	}

	if def.Ref != "" {
		tip, err := repo.Revision(ctx, def.Ref)
		if err != nil {
			return policySource{}, err
		}
		merged, err := brings(ctx, repo, f, tip.SHA)
		if err != nil {
			return policySource{}, err
		}
		if merged {
			s, ok, err := at(f.MergeBases[0], "before this change", "The change edits the policy and is on "+def.Short()+" already, so the version before it judges.")
			if ok || err != nil {
				return s, err
			}
		} else if s, ok, err := at(tip.SHA, "at "+def.Short(), ""); ok || err != nil {
			return s, err
		}
	}
	note := "It is not on the default branch yet: until it is and an administrator adopts it, it decides nothing."
	if s, ok, err := at(f.Change.Head.SHA, "at the head of this change", note); ok || err != nil {
		return s, err
	}
	if !repo.Bare() {
		name := filepath.Join(repo.Root(), filepath.FromSlash(rules.PolicyPath))
		err := plainFile(name, rules.PolicyPath)
		var data []byte
		if err == nil {
			data, err = readFile(name, rules.MaxPolicyBytes)
		}
		if err == nil {
			return loadPolicy(rules.PolicyPath, data, policySource{path: rules.PolicyPath, where: "in the work tree, not committed", note: note}), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return policySource{}, err
		}
	}
	look, err := lookAt(ctx, repo, f.Change.Base.SHA)
	if err != nil {
		return policySource{}, err
	}
	return loadPolicy("(starter)", rules.Starter(look), policySource{
		path: "the policy that `sallyport init` would write", where: "",
		note: "This repository has no " + rules.PolicyPath + " yet. Next: sallyport init",
	}), nil
}

// brings reports whether the change edits the policy file and is already in the
// history of the default branch's tip: then the tip's policy is the change's own.
func brings(ctx context.Context, repo *git.Repository, f *git.Facts, tip rules.SHA) (bool, error) {
	edits := false
	for _, file := range f.Change.Files {
		edits = edits || file.Path == rules.PolicyPath || file.PreviousPath == rules.PolicyPath
	}
	if !edits || len(f.MergeBases) == 0 {
		return false, nil
	}
	bases, err := repo.MergeBases(ctx, tip, f.Change.Head.SHA)
	return len(bases) == 1 && bases[0] == f.Change.Head.SHA, err
}

func loadPolicy(name string, data []byte, s policySource) policySource {
	s.policy, s.problems = rules.LoadPolicy(name, data)
	return s
}

// invalidPolicy shows what is wrong with a policy and ends with ExitUsage.
func (a *app) invalidPolicy(problems []rules.Problem) error {
	for _, p := range problems {
		fmt.Fprint(a.stderr, p.Render())
	}
	fmt.Fprintf(a.stderr, "%s the policy has errors, so nothing was judged. Next: sallyport policy lint\n", a.errs.bad("sallyport:"))
	return errSaid()
}

// readInput reads a file, or stdin for "-".
func (a *app) readInput(name string, limit int64) ([]byte, error) {
	if name == "-" {
		return readLimited(a.stdin, "standard input", limit)
	}
	return readFile(name, limit)
}

func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, name, limit)
}

// plainFile refuses what a repository has in the place of a file of its own: by a
// link it could have any file of this machine shown as a faulty policy, and by a
// pipe hold the command for ever. shown is the name for people.
func plainFile(name, shown string) error {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return refuse("%s is no regular file", shown)
	}
	return nil
}

func readLimited(r io.Reader, name string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%q is larger than %d bytes", name, limit)
	}
	return data, err
}

// printJSON writes one value, indented, with a line feed.
func (a *app) printJSON(v any) error {
	b, err := json.Marshal(v, json.Deterministic(true), jsontext.AllowInvalidUTF8(true), jsontext.WithIndent("  "))
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(append(b, '\n'))
	return err
}

// progress says on a terminal what takes longer than a second. The function that
// it returns takes the line away again; it may be called more than once.
func (a *app) progress(what string) func() {
	if _, tty := terminal(a.stderr); !tty {
		return func() {}
	}
	var mu sync.Mutex
	shown, over := false, false
	t := time.AfterFunc(time.Second, func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			fmt.Fprint(a.stderr, a.errs.dim(what))
			shown = true
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		t.Stop()
		if shown && !over {
			fmt.Fprint(a.stderr, "\r\x1b[K")
		}
		over = true
	}
}
