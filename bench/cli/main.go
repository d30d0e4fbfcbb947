package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program: 0 after a measurement whatever it says, 2 for wrong usage,
// 1 if something could not be built or a program under test went wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("cli", flag.ContinueOnError)
	fs.SetOutput(stderr)
	c := config{}
	fs.StringVar(&c.program, "sallyport", "", "program to measure (default: built from this work tree)")
	fs.IntVar(&c.samples, "samples", 9, "samples of each case; at least 6")
	fs.IntVar(&c.files, "files", 3000, "changed files of the branch")
	fs.IntVar(&c.commits, "commits", 30, "commits of the branch")
	fs.IntVar(&c.changes, "changes", 20000, "changes for classify")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if c.samples < 6 || c.commits < 1 || c.files < c.commits || c.changes < 1 || fs.NArg() > 0 {
		fmt.Fprintln(stderr, "cli: want -samples of at least 6, -commits and -changes of at least 1, -files of at least -commits, and no arguments")
		return 2
	}
	dir, err := os.MkdirTemp("", "sallyport-bench-")
	if err != nil {
		fmt.Fprintln(stderr, "cli:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	c.dir = dir
	if err := c.measure(ctx, stdout); err != nil {
		fmt.Fprintln(stderr, "cli:", err)
		return 1
	}
	return 0
}

type config struct {
	program                          string
	samples, files, commits, changes int
	dir                              string // temporary
}

// The goals that are printed beside what was measured.
const (
	goalBytes    = 15_000_000
	goalStart    = 10 * time.Millisecond
	goalCheck    = 1.5
	goalClassify = 20_000
)

func (c *config) measure(ctx context.Context, w io.Writer) error {
	if c.program == "" {
		// Built in its own module, with the versions that it is released with.
		list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sallyport/sallyport")
		root, err := list.Output()
		if err != nil {
			return fmt.Errorf("looking for the module (run this in bench/): %w", err)
		}
		c.program = filepath.Join(c.dir, "sallyport")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", c.program, "./cmd/sallyport")
		build.Dir = strings.TrimSpace(string(root))
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("building sallyport: %w\n%s", err, out)
		}
	}
	program, err := filepath.Abs(c.program)
	if err != nil {
		return err
	}
	size, err := os.Stat(program)
	if err != nil {
		return err
	}
	repo := filepath.Join(c.dir, "repository")
	if err := c.makeRepository(ctx, repo); err != nil {
		return err
	}
	facts := filepath.Join(c.dir, "changes.jsonl")
	if err := writeChanges(facts, c.changes); err != nil {
		return err
	}
	decisions := filepath.Join(c.dir, "decisions.jsonl")

	// In a clone of one's own, git diff and git log of a branch are these.
	diff := []string{"git", "diff", "--raw", "--numstat", "-z", "--no-abbrev", "--find-renames", "-l1000", "main...HEAD"}
	log := []string{"git", "log", "--pretty=raw", "main..HEAD"}
	runs := []*timed{
		{name: "sallyport --version", steps: []step{{args: []string{program, "--version"}}}, weight: 5},
		{name: "git --version", steps: []step{{args: []string{"git", "--version"}}}, weight: 5},
		{name: "sallyport check", steps: []step{{args: []string{program, "check", "--format", "json"}, codes: []int{0, 3}}}, weight: 1},
		{name: "git diff, then git log", steps: []step{{args: diff}, {args: log}}, weight: 1},
		{
			name:   fmt.Sprintf("classify of %d changes on one core", c.changes),
			steps:  []step{{args: []string{program, "classify"}, codes: []int{0, 3}, stdin: facts, stdout: decisions, env: "GOMAXPROCS=1"}},
			weight: 1,
		},
	}
	if err := c.sample(ctx, repo, runs); err != nil {
		return err
	}
	out, err := os.ReadFile(decisions)
	if err != nil {
		return err
	}
	if got := bytes.Count(out, []byte("\n")); got != c.changes {
		return fmt.Errorf("classify wrote %d decisions for %d changes; the first: %.300s", got, c.changes, out)
	}

	fmt.Fprintf(w, "medians of %d interleaved samples; %s %s/%s, %d CPUs, %s\n\n", c.samples, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), gitVersion(ctx))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\ttime\tquartiles\tCPU time")
	for _, r := range runs {
		fmt.Fprintf(t, "%s\t%s\t%s..%s\t%s\n", r.name, ms(r.quantile(0.5)), ms(r.quantile(0.25)), ms(r.quantile(0.75)), ms(quantile(r.cpu, 0.5)))
	}
	t.Flush()
	fmt.Fprintln(w)
	version, gitStart, check, git, classify := runs[0], runs[1], runs[2], runs[3], runs[4]
	fmt.Fprintf(t, "what\tmeasured\tgoal\t\n")
	goal := func(what, measured, goal string, met bool) {
		verdict := "met"
		if !met {
			verdict = "MISSED"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", what, measured, goal, verdict)
	}
	goal("stripped sallyport", fmt.Sprintf("%.2f MB", float64(size.Size())/1e6), fmt.Sprintf("at most %.0f MB", goalBytes/1e6), size.Size() <= goalBytes)
	behind := version.quantile(0.5) - gitStart.quantile(0.5)
	goal("--version, behind git's", ms(behind), "within "+ms(goalStart), behind <= goalStart)
	ratio := float64(check.quantile(0.5)) / float64(git.quantile(0.5))
	goal(fmt.Sprintf("check of %d files and %d commits, to git diff and git log", c.files, c.commits), fmt.Sprintf("%.2fx", ratio), fmt.Sprintf("at most %.1fx", goalCheck), ratio <= goalCheck)
	rate := float64(c.changes) / classify.quantile(0.5).Seconds()
	goal("classify on one core, start included", fmt.Sprintf("%.0f changes/s", rate), fmt.Sprintf("at least %d/s", goalClassify), rate >= goalClassify)
	t.Flush()
	return nil
}

// timed is one thing to measure: programs run one after another.
type timed struct {
	name   string
	steps  []step
	weight int // runs in one sample; the sample is their median
	took   []time.Duration
	cpu    []time.Duration // of all processes, user and system: what a busy machine moves less
}

type step struct {
	args          []string
	codes         []int // exit codes that are an answer; nil is 0
	stdin, stdout string
	env           string // one variable more
}

// sample takes one sample of everything in turn, and all again, after one round
// that warms the caches and is not counted.
func (c *config) sample(ctx context.Context, dir string, runs []*timed) error {
	for round := -1; round < c.samples; round++ {
		for k := range runs {
			r := runs[(k+round+1)%len(runs)]
			var took, cpu []time.Duration
			for range r.weight {
				var used time.Duration
				start := time.Now()
				for _, s := range r.steps {
					d, err := s.run(ctx, dir)
					if err != nil {
						return err
					}
					used += d
				}
				took, cpu = append(took, time.Since(start)), append(cpu, used)
			}
			if round >= 0 {
				r.took, r.cpu = append(r.took, quantile(took, 0.5)), append(r.cpu, quantile(cpu, 0.5))
			}
		}
	}
	return nil
}

// run runs the program and says how much processor time it and its children took.
func (s step) run(ctx context.Context, dir string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, s.args[0], s.args[1:]...)
	cmd.Dir = dir
	cmd.Env = environment(s.env)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if s.stdin != "" {
		in, err := os.Open(s.stdin)
		if err != nil {
			return 0, err
		}
		defer in.Close()
		cmd.Stdin = in
	}
	if s.stdout != "" {
		out, err := os.Create(s.stdout)
		if err != nil {
			return 0, err
		}
		defer out.Close()
		cmd.Stdout = out
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && slices.Contains(s.codes, exit.ExitCode()) {
		err = nil
	}
	if err != nil {
		return 0, fmt.Errorf("running %q: %w: %.2000s", s.args, err, stderr.String())
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// environment is that of the programs under test: no configuration of the person
// who measures, and nothing that asks.
func environment(more ...string) []string {
	env := []string{"HOME=" + os.TempDir(), "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "NO_COLOR=1",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_TERMINAL_PROMPT=0", "GIT_PAGER=cat"}
	return append(env, slices.DeleteFunc(more, func(s string) bool { return s == "" })...)
}

func gitVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "--version").Output()
	if err != nil {
		return "git of unknown version"
	}
	return strings.TrimSpace(string(out))
}

func (r *timed) quantile(q float64) time.Duration { return quantile(r.took, q) }

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

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
