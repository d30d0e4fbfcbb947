package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type config struct {
	length, every, pause time.Duration
	repositories         int
	app                  string
	seed                 uint64
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Main soaks and returns the exit code: 0 all is steady, 1 something is not or did not
// work, 2 wrong usage.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var c config
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.DurationVar(&c.length, "for", time.Hour, "how long")
	flags.DurationVar(&c.every, "every", 10*time.Second, "how often to look at the server")
	flags.DurationVar(&c.pause, "pause", 2*time.Second, "pause between two rounds of work in a repository")
	flags.IntVar(&c.repositories, "repositories", 3, "repositories, in each of which one round of work is under way")
	flags.StringVar(&c.app, "app", "", "sallyport-app to run; default: built from this tree")
	flags.Uint64Var(&c.seed, "seed", uint64(time.Now().UnixNano())%1_000_000, "seed of what goes wrong when")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 || c.repositories < 1 || c.every <= 0 || c.length < 6*c.every {
		fmt.Fprintln(stderr, "soak: want no arguments, at least one repository, and at least 6 looks: -for at least 6 times -every")
		return 2
	}
	bad, err := c.soak(ctx, stdout)
	if err != nil {
		fmt.Fprintf(stderr, "soak: %v\n", err)
		return 1
	}
	for _, b := range bad {
		fmt.Fprintf(stdout, "finding: %s\n", b)
	}
	if len(bad) > 0 {
		return 1
	}
	fmt.Fprintln(stdout, "Steady.")
	return 0
}

// soak gives what was found.
func (c config) soak(ctx context.Context, out io.Writer) (bad []string, err error) {
	s, err := c.newScene(ctx)
	defer func() { err = errors.Join(err, s.stop()) }()
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "%s, seed %d: %d repositories, %s between two rounds in one\n\n", c.length, c.seed, c.repositories, c.pause)
	fmt.Fprintf(out, "%8s %9s %9s %10s %7s %7s %8s %8s %9s %8s\n", "time", "RSS MiB", "heap MiB", "goroutines", "ready", "oldest", "waiting", "effects", "file MiB", "rounds")
	s.trouble(c.seed)
	work, stop := context.WithTimeout(ctx, c.length)
	defer stop()
	done := s.work(work)
	var all []sample
	began := time.Now()
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for work.Err() == nil {
		select {
		case <-work.Done():
		case <-tick.C:
			x, err := s.sample(ctx, began)
			if err != nil {
				return nil, fmt.Errorf("looking at the server: %w", err)
			}
			all = append(all, x)
			fmt.Fprintln(out, x)
			s.g.ForgetRequests()
		case <-s.server.Ended():
			return nil, s.server.Err()
		}
	}
	<-done
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	bad = append(bad, s.settle(ctx)...)
	verdicts := judge(all)
	fmt.Fprintf(out, "\n%-12s %12s %16s %12s\n", "second half", "mean", "grows by", "at most")
	for _, v := range verdicts {
		fmt.Fprintln(out, v)
		if !v.steady() {
			bad = append(bad, fmt.Sprintf("%s grows by %.1f %s over the second half, at most %.1f are steady", v.name, v.growth, v.unit, v.most))
		}
	}
	fmt.Fprintf(out, "\n%s\n", s.told())
	return bad, nil
}
