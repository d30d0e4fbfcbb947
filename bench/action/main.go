package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// goalDecision is how long classify may take beyond its requests to GitHub.
const goalDecision = 150 * time.Millisecond

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program: 0 after a measurement whatever it says, 2 for wrong usage, 1 if
// something could not be built or a program under test went wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("action", flag.ContinueOnError)
	fs.SetOutput(stderr)
	samples := fs.Int("samples", 21, "samples of each case")
	noNode := fs.Bool("no-node", false, "leave out the Node action, which needs node and npm")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if *samples < 1 || fs.NArg() > 0 {
		fmt.Fprintln(stderr, "action: want -samples of at least 1, and no arguments")
		return 2
	}
	if err := measure(ctx, stdout, *samples, !*noNode); err != nil {
		fmt.Fprintln(stderr, "action:", err)
		return 1
	}
	return 0
}

func measure(ctx context.Context, w io.Writer, samples int, node bool) (err error) {
	dir, err := os.MkdirTemp("", "sallyport-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := newScene(ctx, dir)
	if err != nil {
		return err
	}
	defer s.github.Close()
	cases := s.cases()
	if node {
		c, err := s.nodeCases(ctx)
		if err != nil {
			return fmt.Errorf("%w (-no-node leaves it out)", err)
		}
		cases = append(cases, c...)
	}
	// The first round warms the caches and is not counted.
	for round := -1; round < samples; round++ {
		for k := range cases {
			c := cases[(k+round+1)%len(cases)]
			got, err := s.once(ctx, c)
			if err != nil {
				return err
			}
			if round >= 0 {
				c.took, c.cpu, c.requests = append(c.took, got.took), append(c.cpu, got.cpu), got.requests
			}
		}
	}
	fmt.Fprintf(w, "medians of %d interleaved samples; %s %s/%s, %d CPUs; got the program in %s on the first step of a job\n\n", samples, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), ms(s.fetched))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\ttime\tquartiles\tCPU time\trequests")
	for _, c := range cases {
		fmt.Fprintf(t, "%s\t%s\t%s..%s\t%s\t%d\n", c.name, ms(quantile(c.took, 0.5)), ms(quantile(c.took, 0.25)), ms(quantile(c.took, 0.75)), ms(quantile(c.cpu, 0.5)), c.requests)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	both, cpu := quantile(cases[1].took, 0.5)+quantile(cases[2].took, 0.5), quantile(cases[1].cpu, 0.5)+quantile(cases[2].cpu, 0.5)
	met := "met"
	if both > goalDecision {
		met = "MISSED"
	}
	fmt.Fprintf(w, "\nfrom step start to decision, both steps of the action, program present, no requests: %s (CPU time %s); goal at most %s: %s\n", ms(both), ms(cpu), ms(goalDecision), met)
	if node {
		other := cases[len(cases)-1]
		fmt.Fprintf(w, "the Node action, with its requests, to that: %.1fx (CPU time %.1fx)\n", float64(quantile(other.took, 0.5))/float64(both), float64(quantile(other.cpu, 0.5))/float64(cpu))
	}
	return nil
}

// timed is one thing to measure: one process, started as the runner starts it.
type timed struct {
	name     string
	args     []string
	env      []string
	want     string // must be in its output file
	took     []time.Duration
	cpu      []time.Duration // of the process and all that it started, user and system: what a busy machine moves less
	requests int
}

// quantile is the q-th quantile, between neighbours in proportion.
func quantile(values []time.Duration, q float64) time.Duration {
	v := slices.Sorted(slices.Values(values))
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 == len(v) {
		return v[i]
	}
	return v[i] + time.Duration((at-float64(i))*float64(v[i+1]-v[i]))
}

func ms(d time.Duration) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)), ".0") + " ms"
}
