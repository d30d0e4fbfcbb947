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
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/sallyport/sallyport/bench/internal/served"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// config is how the measurement is made.
type config struct {
	key         *rsa.PrivateKey
	app         string // path of sallyport-app
	deployments int    // how many are clicked for the latency
	verbose     bool
}

// run is the program: 0 after a measurement whatever it says, 2 for wrong usage, 1
// if the server went wrong or did what the scene does not demand.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("deploys", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var c config
	fs.BoolVar(&c.verbose, "v", false, "print every route, and every time")
	fs.IntVar(&c.deployments, "deployments", 60, "how many deployments are approved for the latency")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if fs.NArg() > 0 || c.deployments < 1 {
		fmt.Fprintln(stderr, "deploys: want no arguments, and at least one deployment")
		return 2
	}
	if err := c.measure(ctx, stdout); err != nil {
		fmt.Fprintln(stderr, "deploys:", err)
		return 1
	}
	return 0
}

// measure counts, then takes the time, and prints both beside their goals.
func (c config) measure(ctx context.Context, out io.Writer) (err error) {
	if c.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "deploys-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if c.app, err = served.Build(ctx, dir); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s %s/%s, %d CPUs; a deployment of %d commits from %d pull requests, a migration among them\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), sceneCommits, len(pulls()))
	var rows []row
	for _, part := range parts() {
		got, err := c.play(ctx, part)
		if err != nil {
			return err
		}
		rows = append(rows, got...)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "what\tlooks\trequests\tREST\tof them 304\tGraphQL\ttoken exchanges\teffects\treads of effects\tgoal\t")
	for _, r := range rows {
		t := r.tally
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", r.name, t.looks, t.reads(), t.rest, t.notModified, t.graphql, t.tokens, t.writes, t.searches, goal(r.goal, t.reads()))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if c.verbose {
		for _, r := range rows {
			r.details(out)
		}
	}
	l, err := c.latency(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d deployments, one after the other\n", c.deployments)
	table = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "from, to\tmedian\tp95\tmax\tgoal\t")
	fmt.Fprintf(table, "from the run's start to the check that holds it\t%s\n", l.held)
	met := "met"
	if l.released.at(0.5) > latencyGoal {
		met = "MISSED"
	}
	fmt.Fprintf(table, "from the click to the job in progress\t%s\tmedian at most %s\t%s\n", l.released, ms(latencyGoal), met)
	if c.verbose {
		defer func() { fmt.Fprintln(out, "\n", l.released.took) }()
	}
	return table.Flush()
}

// latencyGoal is how long a job may wait after the click, in the median.
const latencyGoal = time.Second

// unbounded is the goal of what is printed as information.
const unbounded = -1

func goal(most, got int) string {
	switch {
	case most == unbounded:
		return "\t"
	case got > most:
		return fmt.Sprintf("at most %d\tMISSED", most)
	default:
		return fmt.Sprintf("at most %d\tmet", most)
	}
}
