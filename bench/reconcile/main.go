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
	"syscall"
	"text/tabwriter"
	"time"
)

// config is how the measurement is made.
type config struct {
	pulls, repositories int
	lost                int // of a thousand
	interval            time.Duration
	app                 string // path of sallyport-app
	verbose             bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program: 0 after a measurement whatever it says of time, 2 for wrong usage,
// 1 if the server went wrong or a sweep did not find exactly what was lost.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("reconcile", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var c config
	fs.IntVar(&c.pulls, "pulls", 10_000, "open pull requests")
	fs.IntVar(&c.repositories, "repositories", 20, "repositories that they are spread over")
	fs.IntVar(&c.lost, "lost", 10, "of how many in a thousand the webhooks are lost")
	fs.DurationVar(&c.interval, "interval", time.Minute, "time between two sweeps")
	fs.StringVar(&c.app, "app", "", "sallyport-app to run; default: built from this tree")
	fs.BoolVar(&c.verbose, "v", false, "print every kind of request")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if fs.NArg() > 0 || c.repositories < 1 || c.pulls < 4*c.repositories || c.lost < 0 || c.lost > 500 || c.interval < 500*time.Millisecond {
		fmt.Fprintln(stderr, "reconcile: want no arguments, a repository or more with at least 4 pull requests each, -lost of 0 to 500, -interval of at least 500ms")
		return 2
	}
	if err := c.measure(ctx, stdout); err != nil {
		fmt.Fprintln(stderr, "reconcile:", err)
		return 1
	}
	return 0
}

// measure plays the phases and prints what each cost.
func (c config) measure(ctx context.Context, out io.Writer) (err error) {
	s := &scene{config: c}
	defer func() { err = errors.Join(err, s.stop()) }()
	begun := time.Now()
	if err := s.build(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s %s/%s, %d CPUs; %d open pull requests in %d repositories (made in %s), a sweep every %s\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), len(s.all), c.repositories, time.Since(begun).Round(time.Second), c.interval)
	var rows []row
	for _, p := range s.phases() {
		r, err := s.play(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		rows = append(rows, r)
	}
	show(out, rows, len(s.all))
	if c.verbose {
		for _, r := range rows {
			r.details(out)
		}
	}
	return nil
}

// show prints three tables: time, requests, doors.
func show(out io.Writer, rows []row, pulls int) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "sweep\tpull requests looked at\tof them wanted\ttime\ta second\tserver's CPU\tkeys at most\tresident at most\t")
	for _, r := range rows {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%.0f\t%s\t%d\t%.1f MiB\t\n", r.name, r.looked, r.wanted, r.took.Round(10*time.Millisecond), float64(pulls)/r.took.Seconds(), r.cpu.Round(10*time.Millisecond), r.keys, r.resident)
	}
	_ = table.Flush()
	fmt.Fprintln(out)
	table = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "sweep\tsweeps\treads\tof them 304\tGraphQL\twrites\treads a pull request\tREST budget\tGraphQL budget\ttime at 5,000/h\tat 15,000/h\t")
	for _, r := range rows {
		t := r.tally
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%.3f\t%d\t%d\t%s\t%s\t\n", r.name, r.sweeps, t.reads(), t.notModified, t.graphql, t.writes, float64(t.reads())/float64(pulls), t.core, t.points, atRate(t, 5000), atRate(t, 15000))
	}
	_ = table.Flush()
	fmt.Fprintln(out)
	table = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "doors meanwhile\tpull requests opened\tto the check: median\tmax\tdeployments\tto the check that holds: median\tmax\t")
	for _, r := range rows {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%d\t%s\t%s\t\n", r.name, len(r.opened), ms(r.opened, .5), ms(r.opened, 1), len(r.held), ms(r.held, .5), ms(r.held, 1))
	}
	_ = table.Flush()
}

// atRate is how long the hour's budget alone makes it take: a sweep leaves a fifth of
// it to doors.
func atRate(t tally, hour int) string {
	most := max(t.core, t.points)
	return (time.Duration(float64(most) / (0.8 * float64(hour)) * float64(time.Hour))).Round(time.Second).String()
}
