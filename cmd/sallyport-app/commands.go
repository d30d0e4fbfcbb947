package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport/sallyport/cmd/sallyport-app/server"
	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/rules"
)

// app is one run of the program.
type app struct {
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
	// flags are the values of settings' flags, by the settings' names.
	flags map[string]*string
	debug bool
	// logFormat is text or json.
	logFormat string
	look      gate.Statements
}

// errUsage marks errors of the command line, of settings and of policies.
var errUsage = errors.New("wrong usage")

func usage(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w%w", quiet{errUsage}, err)
}

// quiet is an error that is recognised and not shown.
type quiet struct{ error }

// Error is nothing.
func (quiet) Error() string { return "" }

// Unwrap is the error itself.
func (q quiet) Unwrap() error { return q.error }

func (a *app) exit(err error) int {
	if err == nil {
		return ExitOK
	}
	fmt.Fprintf(a.stderr, "sallyport-app: %v\n", err)
	if errors.Is(err, errUsage) {
		return ExitUsage
	}
	if errors.Is(err, errFound) {
		return ExitNeeded
	}
	return ExitError
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "sallyport-app <command> [flags]",
		Short:         "The GitHub App that holds what reaches production until a human approved it",
		Long:          "The GitHub App's server, and what an administrator does with it.\n\n" + a.settingsHelp(),
		SilenceErrors: true, SilenceUsage: true, Version: cmp.Or(version, "(unreleased)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("there is no command %q; see sallyport-app --help", args[0]))
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	for _, s := range server.All() {
		name := s.Name
		if s.Secret {
			name += "_FILE"
		}
		a.flags[name] = root.PersistentFlags().String(s.Flag(), "", s.Help+" ("+s.Variable()+")")
		if s.Secret {
			root.PersistentFlags().Lookup(s.Flag()).Usage = "file with " + s.Help + " (" + s.Variable() + "_FILE)"
		}
		if s.File {
			a.flags[name+"_FILE"] = root.PersistentFlags().String(s.Flag()+"-file", "", "file with it, where it holds a password ("+s.Variable()+"_FILE)")
		}
	}
	root.PersistentFlags().StringVar(&a.logFormat, "log-format", "text", "text or json: how the log is written")
	root.PersistentFlags().BoolVar(&a.debug, "debug", false, "log every request to GitHub")
	root.AddCommand(a.serveCommand(), a.adoptCommand(), a.revokeCommand(), a.keysCommand(), a.moveCommand(), a.setupCommand(), a.selftestCommand())
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// settingsHelp is the table of all settings.
func (a *app) settingsHelp() string {
	var b strings.Builder
	b.WriteString("Settings, each an environment variable or a flag of the same name:\n\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, s := range server.All() {
		name, help := s.Variable(), s.Help
		if s.Secret || s.File {
			name += "[_FILE]"
		}
		if s.Default != "" {
			help += " (default " + s.Default + ")"
		}
		fmt.Fprintf(w, "  %s\t%s\n", name, help)
	}
	_ = w.Flush() // into memory
	return b.String()
}

// settings reads the settings: a flag comes before its variable.
func (a *app) settings(webhooks bool) (server.Settings, error) {
	s, err := server.Read(func(name string) string {
		if f := a.flags[name]; f != nil && *f != "" {
			return *f
		}
		return a.getenv("SALLYPORT_" + name)
	}, webhooks)
	s.Statements, s.Version = a.look, version
	level := slog.LevelInfo
	if a.debug {
		level = slog.LevelDebug
	}
	options := &slog.HandlerOptions{Level: level}
	switch a.logFormat {
	case "text":
		s.Log = slog.New(slog.NewTextHandler(a.stderr, options))
	case "json":
		s.Log = slog.New(slog.NewJSONHandler(a.stderr, options))
	default:
		err = errors.Join(err, fmt.Errorf("--log-format: %q is neither text nor json", a.logFormat))
	}
	return s, usage(err)
}

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Take GitHub's events and work on them",
		Long: `Take GitHub's events and work on them, until interrupted.

It answers POST /webhooks/github, /ledger/…, /healthz, /readyz and /metrics. What it was told
and has not done yet lies in the database; it goes on with that when it starts.`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.settings(true)
			if err != nil {
				return err
			}
			x, err := server.New(cmd.Context(), s)
			if err != nil {
				return err
			}
			return x.Run(cmd.Context())
		},
	}
}

func (a *app) adoptCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "adopt OWNER/REPO",
		Short: "Bring a repository's policy into force",
		Long: `Bring the policy at the head of a repository's default branch into force: the first
version, and any that did not arrive by a pull request which passed.

From then on a policy change comes into force by itself if it arrives by a pull
request that passed under the version before it. The names in it are pinned to the
accounts and teams that they are today.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage(errors.New("want one OWNER/REPO"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.settings(false)
			if err != nil {
				return err
			}
			return withGate(cmd.Context(), s, func(g *gate.Gate) error { return a.adopt(cmd.Context(), g, args[0], yes) })
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func (a *app) revokeCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "revoke --all",
		Short: "End every credential that is alive",
		Long: `End every credential that is alive, whatever job has it: for when something went
wrong. What cannot be ended at once (a token that expires by itself, a target that is
away) is named, and a running server goes on trying.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 || !all {
				return usage(errors.New("want --all and nothing else"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.settings(false)
			if err != nil {
				return err
			}
			return withGate(cmd.Context(), s, func(g *gate.Gate) error { return a.revoke(cmd.Context(), g) })
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every one")
	return c
}

// withGate opens the gate as the server does, beside one that may run.
func withGate(ctx context.Context, s server.Settings, do func(*gate.Gate) error) (err error) {
	x, err := server.Open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	g, err := x.Gate(ctx)
	if err != nil {
		return err
	}
	return do(g)
}

func (a *app) revoke(ctx context.Context, g *gate.Gate) error {
	n, left, err := g.RevokeAll(ctx, "an operator revoked all", operator())
	fmt.Fprintf(a.stdout, "%d ended\n", n-len(left))
	for _, l := range left {
		fmt.Fprintf(a.stdout, "still alive: %s of repository %d for %s, at the latest until %s\n", l.Credential, l.Repository, l.Environment, l.DueAt.UTC().Format(time.RFC3339))
	}
	return err
}

func (a *app) adopt(ctx context.Context, g *gate.Gate, fullName string, yes bool) error {
	list, err := g.LookAtAdoption(ctx, fullName)
	if err != nil {
		return err
	}
	for _, one := range list {
		if err := a.adoptOne(ctx, g, one, yes); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) adoptOne(ctx context.Context, g *gate.Gate, one gate.Adoption, yes bool) error {
	fmt.Fprintf(a.stdout, "%s of %s at %s on %s\n", one.Path, one.FullName, one.Commit.Short(), one.Branch)
	for _, p := range one.Problems {
		fmt.Fprintf(a.stderr, "%s\n", p.Render())
	}
	switch {
	case one.Policy == nil:
		return usage(fmt.Errorf("%s has errors; nothing was adopted. Next: sallyport policy lint", one.Path))
	case len(one.Lost) > 0:
		return usage(fmt.Errorf("%s names who is not there: %s; nothing was adopted", one.Path, strings.Join(one.Lost, ", ")))
	case one.InForce:
		fmt.Fprintln(a.stdout, "  It is in force already.")
		return nil
	}
	for _, name := range one.Policy.EnvironmentNames() {
		env := one.Policy.Environments[name]
		who := "asks no human for an agent's change"
		if env.Gate != rules.GateAuto {
			list := env.Reviewers
			if len(list) == 0 {
				list = one.Policy.Reviewers
			}
			names := make([]string, len(list))
			for i, r := range list {
				names[i] = string(r)
			}
			who = "asks " + strings.Join(names, ", ")
		}
		fmt.Fprintf(a.stdout, "  %-20s %s\n", name, who)
	}
	for _, name := range one.Others {
		fmt.Fprintf(a.stdout, "  %s is another account or team now than in the version in force: from here on it means that one.\n", name)
	}
	if !yes {
		ok, err := a.ask(fmt.Sprintf("Bring it into force as version %d? [y/N] ", one.Version))
		if err != nil || !ok {
			return errors.Join(err, errors.New("nothing was adopted"))
		}
	}
	if err := g.Adopt(ctx, one, operator()); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "  In force now, as version %d. The open pull requests are being judged by it.\n", one.Version)
	return nil
}

// operator is who runs the program, for the ledger.
func operator() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

// ask asks on a terminal. In a pipe nobody can answer: it says what to type.
func (a *app) ask(question string) (bool, error) {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return false, usage(errors.New("this is no terminal, so nobody can be asked: add --yes"))
	}
	fmt.Fprint(a.stderr, question)
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		return false, err
	}
	line = strings.ToLower(strings.TrimSpace(line))
	return line == "y" || line == "yes", nil
}
