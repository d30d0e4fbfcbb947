package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/cmd/sallyport-app/server"
	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/rules"
)

// keysCommand is what an operator does with the issuer's keys. A running server takes
// up each step by itself.
func (a *app) keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys <command>",
		Short: "Show, rotate, replace and export the keys that sign our tokens",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("there is no command keys %q; see sallyport-app keys --help", args[0]))
			}
			return cmd.Help()
		},
	}
	c.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List the published keys", Args: none,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.withKeys(cmd.Context(), a.listKeys) },
		},
		&cobra.Command{
			Use: "rotate TIER", Short: "Publish the next key of a tier (human or auto); a day later it signs", Args: oneTier,
			Long: `Publish the next key of a tier. It signs a day later, once those who read the keys have
it, and the one before stays published until its last token has expired. A running
server does that by itself. A second call before the day is over changes nothing.`,
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.withKeys(cmd.Context(), func(ctx context.Context, i *issuer.Issuer) error {
					return a.rotateKeys(ctx, i, rules.Tier(args[0]))
				})
			},
		},
		a.replaceCommand(),
		&cobra.Command{
			Use: "export FOLDER", Short: "Write discovery and keys as static files, to be served at SALLYPORT_URL by something else",
			Args: func(_ *cobra.Command, args []string) error {
				if len(args) != 1 {
					return usage(errors.New("want one FOLDER, which is there"))
				}
				return nil
			},
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.withKeys(cmd.Context(), func(_ context.Context, i *issuer.Issuer) error {
					if err := i.Export(args[0]); err != nil {
						return err
					}
					fmt.Fprintf(a.stdout, "written below %s; export again after each step of a rotation\n", args[0])
					return nil
				})
			},
		},
	)
	return c
}

func (a *app) replaceCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "replace TIER", Short: "Replace a tier's key at once, for when it was stolen", Args: oneTier,
		Long: `Make a tier a new key that signs at once, and publish no other. Whoever keeps what they
read (clouds do, up to a day) refuses new tokens and accepts the old key until they
read the keys again: have them read now, or remove the trust until they did.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				ok, err := a.ask(fmt.Sprintf("Replace the key of tier %s now? Tokens may be refused for up to a day. [y/N] ", args[0]))
				if err != nil || !ok {
					return errors.Join(err, errors.New("nothing was replaced"))
				}
			}
			return a.withKeys(cmd.Context(), func(ctx context.Context, i *issuer.Issuer) error {
				if err := i.Replace(ctx, rules.Tier(args[0])); err != nil {
					return err
				}
				return a.listKeys(ctx, i)
			})
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func none(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(fmt.Errorf("want no argument, not %q", args[0]))
	}
	return nil
}

func oneTier(_ *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] != string(rules.TierHuman) && args[0] != string(rules.TierAuto) {
		return usage(fmt.Errorf("want one tier, %s or %s, not %q", rules.TierHuman, rules.TierAuto, strings.Join(args, " ")))
	}
	return nil
}

// withKeys opens the issuer as the server does, beside one that may run.
func (a *app) withKeys(ctx context.Context, do func(context.Context, *issuer.Issuer) error) (err error) {
	s, err := a.settings(false)
	if err != nil {
		return err
	}
	x, err := server.Open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	i := x.Issuer()
	if i == nil {
		return usage(errors.New("this server signs no tokens: it has no SALLYPORT_TARGETS_FILE with targets"))
	}
	return do(ctx, i)
}

func (a *app) rotateKeys(ctx context.Context, i *issuer.Issuer, tier rules.Tier) error {
	step, err := i.Rotate(ctx, tier)
	if err != nil {
		return err
	}
	switch due := step.Due.UTC().Format(time.RFC3339); {
	case step.Promoted:
		fmt.Fprintf(a.stdout, "the next key of tier %s signs from now on\n", tier)
	case step.Published:
		fmt.Fprintf(a.stdout, "the next key of tier %s is published; it signs from %s on\n", tier, due)
	default:
		fmt.Fprintf(a.stdout, "the next key of tier %s is published already; it signs from %s on\n", tier, due)
	}
	return a.listKeys(ctx, i)
}

func (a *app) listKeys(_ context.Context, i *issuer.Issuer) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TIER\tSTATE\tALGORITHM\tKEY\tFROM\tISSUER")
	for _, k := range i.Status() {
		state := string(k.State)
		switch {
		case !k.Until.IsZero():
			state += " until " + k.Until.UTC().Format(time.DateTime)
		case !k.Due.IsZero():
			state += ", signs from " + k.Due.UTC().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.Tier, state, k.Algorithm, k.ID, k.Source, k.Issuer)
	}
	return w.Flush()
}
