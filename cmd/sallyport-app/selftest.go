package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/cmd/sallyport-app/selftest"
	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github"
)

// ExitNeeded means that something was found, or that a person did not do their part.
const ExitNeeded = 3

// errFound marks what a command found, which it has told already.
var errFound = errors.New("something differs, or was not done in time")

// selftestFlags are the flags of selftest.
type selftestFlags struct {
	use, write, reviewers, team, format string
	noRule                              bool
	wait                                time.Duration
}

func (a *app) selftestCommand() *cobra.Command {
	var f selftestFlags
	c := &cobra.Command{
		Use:   "selftest OWNER/SCRATCH",
		Short: "Walk every door on a real GitHub, in a scratch repository",
		Long: `Walk every door on a real GitHub, in a scratch repository that is there for nothing else,
and say what GitHub does where its documentation leaves it open. The server has to run
beside, with the same settings.

First write the files that the repository has to hold, and push them:

  sallyport-app selftest acme/scratch --write DIR --reviewers WHO

Who will approve is a team such as acme/sre, in which may be nobody but you, or two logins
parted by a comma. Then

  sallyport-app selftest acme/scratch

says what it would do, and does it once the repository is named again with --yes-use. It
asks for a few clicks and waits for each. Ctrl-C ends it and takes away what it made.

Exit codes: 0 all as assumed, 3 something differs or a click did not come in time, 1 a
door failed, 2 it did not begin.`,
		Example: `$ sallyport-app selftest acme/scratch --write scratch --reviewers acme/sre
$ sallyport-app selftest acme/scratch --yes-use acme/scratch --format json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage(errors.New("want one OWNER/SCRATCH"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.selftest(cmd.Context(), args[0], f) },
	}
	c.Flags().StringVar(&f.use, "yes-use", "", "OWNER/SCRATCH once more: yes, use it")
	c.Flags().StringVar(&f.write, "write", "", "write the files that the repository has to hold into this folder, and do nothing else")
	c.Flags().StringVar(&f.reviewers, "reviewers", "", "with --write: who approves, a team or two logins")
	c.Flags().StringVar(&f.team, "team", "", "slug of a team of the owner, whose members are searched for")
	c.Flags().BoolVar(&f.noRule, "no-rule", false, "the environment can have no protection rule: the job waits by itself (also with --write)")
	c.Flags().DurationVar(&f.wait, "wait", 15*time.Minute, "how long to wait for one click")
	c.Flags().StringVar(&f.format, "format", "text", "text or json")
	return c
}

func (a *app) selftest(ctx context.Context, fullName string, f selftestFlags) error {
	if f.format != "text" && f.format != "json" {
		return usage(fmt.Errorf("--format %q: want text or json", f.format))
	}
	if f.wait <= 0 {
		return usage(fmt.Errorf("--wait %s: want a time such as 15m", f.wait))
	}
	if f.write == "" {
		fmt.Fprint(a.stderr, selftest.Plan(fullName), "\n")
	}
	s, err := a.settings(false)
	if err != nil {
		return err
	}
	client, err := github.New(github.Config{App: s.App, Key: s.Key, BaseURL: s.GitHubAPI, Log: s.Log})
	if err != nil {
		return err
	}
	cfg := selftest.Config{
		Repository: fullName, Confirmed: f.use, GitHub: client, API: s.GitHubAPI, URL: s.URL, Targets: s.Targets, Team: f.team, NoRule: f.noRule, Wait: f.wait,
		Adopt: func(ctx context.Context) error {
			return withGate(ctx, s, func(g *gate.Gate) error { return adoptQuietly(ctx, g, fullName) })
		},
		Say: func(line string) { fmt.Fprintln(a.stderr, line) },
		Ask: func(_ context.Context, t selftest.Task) {
			fmt.Fprintf(a.stderr, "\nYour turn: %s\n  %s\nWaiting, %s at most.\n\n", t.What, t.Where, f.wait)
		},
	}
	if f.write != "" {
		paths, err := selftest.Prepare(ctx, cfg, selftest.Preparing{Reviewers: f.reviewers, Dir: f.write})
		if err != nil {
			return refusal(err)
		}
		for _, p := range paths {
			fmt.Fprintf(a.stdout, "%s/%s\n", f.write, p)
		}
		return nil
	}
	report, err := selftest.Run(ctx, cfg)
	if report == nil {
		return refusal(err)
	}
	show := report.Text
	if f.format == "json" {
		show = report.JSON
	}
	switch err := errors.Join(err, show(a.stdout)); {
	case err != nil:
		return err
	case report.Failed():
		return errors.New("a door failed; the report says which")
	case !report.OK():
		return errFound
	}
	return nil
}

// refusal makes a walk that did not begin wrong usage.
func refusal(err error) error {
	var refused *selftest.Refused
	if errors.As(err, &refused) {
		return usage(err)
	}
	return err
}

// adoptQuietly brings a repository's policy into force, if it is not.
func adoptQuietly(ctx context.Context, g *gate.Gate, fullName string) error {
	list, err := g.LookAtAdoption(ctx, fullName)
	if err != nil {
		return err
	}
	for _, one := range list {
		switch {
		case one.InForce:
		case one.Policy == nil || len(one.Lost) > 0:
			return fmt.Errorf("%s of %s cannot be adopted; sallyport-app adopt %s says why", one.Path, one.FullName, fullName)
		default:
			if err := g.Adopt(ctx, one, "sallyport-app selftest"); err != nil {
				return err
			}
		}
	}
	return nil
}
