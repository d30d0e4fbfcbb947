package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"

	"github.com/sallyport/sallyport/bench/internal/served"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program: 0 after a measurement whatever it says, 2 for wrong usage, 1
// if a program under test went wrong or said what the scene does not demand.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("reads", flag.ContinueOnError)
	fs.SetOutput(stderr)
	verbose := fs.Bool("v", false, "print every event, every route, and what githubtest complained of")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if fs.NArg() > 0 {
		fmt.Fprintln(stderr, "reads: want no arguments")
		return 2
	}
	if err := measure(ctx, stdout, *verbose); err != nil {
		fmt.Fprintln(stderr, "reads:", err)
		return 1
	}
	return 0
}

// measure plays every scenario to every program and prints the table.
func measure(ctx context.Context, out io.Writer, verbose bool) (err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "reads-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	app, err := served.Build(ctx, dir)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "scenario\tprogram\treads\tto sallyport\tREST\tof them 304\tGraphQL\ttoken exchanges\twrites")
	var ours []int
	for _, sc := range scenarios() {
		first := -1
		for _, construct := range programs(app) {
			p := construct()
			got, err := play(ctx, sc, p, key)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", sc.name, p.Name(), err)
			}
			t := got.total
			if first < 0 {
				first = t.reads()
				ours = append(ours, first)
			}
			fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%d\t%d\t%d\t%d\t%d\n", sc.name, p.Name(), t.reads(), ratio(t.reads(), first), t.rest, t.notModified, t.graphql, t.tokens, t.writes)
			if verbose {
				details(out, sc, p, got)
			}
		}
	}
	fmt.Fprintln(table, "\nsallyport\treads\tgoal\t")
	for i, sc := range scenarios() {
		met := "met"
		if ours[i] > sc.goal {
			met = "MISSED"
		}
		fmt.Fprintf(table, "%s\t%d\tat most %d\t%s\n", sc.name, ours[i], sc.goal, met)
	}
	return table.Flush()
}

// ratio is how many times as many reads that is; there is none to nothing.
func ratio(reads, first int) string {
	if first == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fx", float64(reads)/float64(first))
}

func details(out io.Writer, sc scenario, p program, got *played) {
	fmt.Fprintf(out, "%s, %s\n", sc.name, p.Name())
	for i, m := range got.moments {
		t := got.each[i]
		fmt.Fprintf(out, "  %-18s %2d reads, %d writes\n", m, t.reads(), t.writes)
	}
	for _, k := range got.total.sortedKinds() {
		fmt.Fprintf(out, "    %3d  %s\n", got.total.kinds[k], k)
	}
	slices.Sort(got.lacks)
	for _, l := range slices.Compact(got.lacks) {
		fmt.Fprintf(out, "    githubtest: %s\n", l)
	}
}
