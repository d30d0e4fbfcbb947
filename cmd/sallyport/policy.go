package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/rules"
)

func (a *app) policyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy <command>",
		Short: "Check, test and explain the policy",
		Long:  "Work with the policy of a repository, " + rules.PolicyPath + ".",
		Example: `$ sallyport policy lint
$ sallyport policy explain migrations/0001_orders.sql
$ sallyport policy test
$ sallyport policy schema > sallyport.schema.json`,
		Args: a.subcommand,
		RunE: help,
	}
	c.AddCommand(a.lintCommand(), a.testCommand(), a.explainCommand(), a.trustCommand(), a.schemaCommand())
	return c
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the policy, for editors",
		Long: `Print the JSON Schema of the policy. An editor that knows it completes and checks
the file; say where it is in the file's first line:

  # yaml-language-server: $schema=./sallyport.schema.json`,
		Example: "$ sallyport policy schema > .github/sallyport.schema.json",
		Args:    atMost(0),
		RunE:    func(*cobra.Command, []string) error { return a.printSchema(schemaPolicy) },
	}
}

func (a *app) lintCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lint [<file>...]",
		Short: "Check policy files",
		Long: `Check policy files: whether they can be read, and whether they mean something.
Each problem has its place, the line, and what would be right.`,
		Example: `$ sallyport policy lint
$ sallyport policy lint .github/sallyport.yml floor.yml
$ sallyport policy lint - < draft.yml`,
		Annotations: map[string]string{"exit": `0  the files are valid, warnings or not
2  a file has errors`},
	}
	f := addFormat(c)
	c.RunE = func(_ *cobra.Command, args []string) error { return a.lint(args, *f) }
	return c
}

func (a *app) lint(files []string, f format) error {
	if len(files) == 0 {
		name, err := a.findUp(rules.PolicyPath)
		if err != nil {
			return err
		}
		files = []string{name}
	}
	all := []rules.Problem{}
	var fine []string
	for _, name := range files {
		data, err := a.readInput(name, rules.MaxPolicyBytes+1)
		if errors.Is(err, fs.ErrNotExist) {
			return refuse("%w", err)
		}
		if err != nil {
			return err
		}
		shown := name
		if name == "-" {
			shown = "(standard input)"
		}
		p, problems := rules.LoadPolicy(shown, data)
		all = append(all, problems...)
		if !rules.HasErrors(problems) {
			fine = append(fine, fmt.Sprintf("%s %s: %s", a.out.good("✓"), visible(shown), summary(p)))
		}
	}
	if f == formatJSON {
		if err := a.printJSON(struct {
			Problems []rules.Problem `json:"problems"`
		}{all}); err != nil {
			return err
		}
	} else {
		for _, p := range all {
			fmt.Fprint(a.stdout, p.Render())
		}
		for _, line := range fine {
			fmt.Fprintln(a.stdout, line)
		}
	}
	if rules.HasErrors(all) {
		return errSaid()
	}
	return nil
}

// summary says what a policy is in a few words.
func summary(p *rules.Policy) string {
	var auto, human []string
	for _, name := range p.EnvironmentNames() {
		if p.Environments[name].Gate == rules.GateAuto {
			auto = append(auto, name)
		} else {
			human = append(human, name)
		}
	}
	s := list(human, "and") + " ask"
	if len(human) == 1 {
		s += "s"
	}
	s += " a human"
	if len(auto) > 0 {
		is := " is"
		if len(auto) > 1 {
			is = " are"
		}
		s = list(auto, "and") + is + " automatic, " + s
	}
	return s
}

// findUp finds a file of the repository that the current directory is in: from
// there upwards to the directory that holds .git. The name is relative to the
// current directory where it is in or below it.
func (a *app) findUp(path string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	prefix := ""
	for {
		name := filepath.Join(dir, filepath.FromSlash(path))
		if _, err := os.Lstat(name); err == nil {
			return prefix + path, plainFile(name, prefix+path)
		}
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir, prefix = up, prefix+"../"
	}
	next := "write one with: sallyport init"
	if path == rules.PolicyTestPath {
		next = "see how one looks with: sallyport policy test --help"
	}
	return "", refuse("there is no %s here; %s", path, next)
}

// policyFile loads the policy that classify, test and explain use: the named file
// or that of the repository. Problems are shown and end the command.
func (a *app) policyFile(name string) (rules.Policies, error) {
	if name == "" {
		found, err := a.findUp(rules.PolicyPath)
		if err != nil {
			return rules.Policies{}, err
		}
		name = found
	}
	data, err := a.readInput(name, rules.MaxPolicyBytes+1)
	if errors.Is(err, fs.ErrNotExist) {
		return rules.Policies{}, refuse("--policy: %w", err)
	}
	if err != nil {
		return rules.Policies{}, err
	}
	p, problems := rules.LoadPolicy(name, data)
	if rules.HasErrors(problems) {
		return rules.Policies{}, a.invalidPolicy(problems)
	}
	return rules.Policies{
		Repository: rules.PolicyVersion{State: rules.PolicyInForce, Policy: p, Source: rules.PolicySource{Path: name}},
		Floor:      rules.PolicyVersion{State: rules.PolicyNone},
	}, nil
}

func trimDot(path string) string { return strings.TrimPrefix(path, "./") }
