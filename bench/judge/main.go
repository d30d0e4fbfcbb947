package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/palantir/policy-bot/policy/common"
	"github.com/sallyport/sallyport/rules"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program: 0 after a measurement whatever it says, 2 for wrong usage,
// 1 if a scene cannot be built or judges other than it must.
func run(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("judge", flag.ContinueOnError)
	fs.SetOutput(stderr)
	samples := fs.Int("samples", 7, "samples of each case; at least 6")
	files := fs.Int("files", 3000, "changed files")
	sample := fs.Duration("sample", 250*time.Millisecond, "shortest time of one sample")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if *samples < 6 || *files < 1 || fs.NArg() > 0 {
		fmt.Fprintln(stderr, "judge: want -samples of at least 6, -files of at least 1 and no arguments")
		return 2
	}
	cases, err := build(nearMisses(*files))
	if err != nil {
		fmt.Fprintln(stderr, "judge:", err)
		return 1
	}
	measure(cases, *samples, *sample)
	report(stdout, cases, *files, *samples)
	return 0
}

// entry is one engine with one policy, judging one change again and again.
type entry struct {
	engine string
	style  style
	rules  int
	once   func()
	ns     []float64 // one per sample: nanoseconds per evaluation
}

func (e *entry) median() float64 { return quantile(e.ns, 0.5) }

const (
	sallyport = "sallyport"
	peer      = "policy-bot"
)

func sizes() []int    { return []int{50, 500} }
func styles() []style { return []style{globs, rooted, anchored, unanchored} }

// build makes all entries, and judges once with each: a comparison of times is
// worth nothing if an engine does not say what the scene demands.
func build(files []string) ([]*entry, error) {
	var out []*entry
	for _, n := range sizes() {
		judge, err := ours(n, files)
		if err != nil {
			return nil, err
		}
		if d := judge(); d.Verdict != rules.VerdictWait || len(d.Environments) != n {
			return nil, fmt.Errorf("%s with %d rules says %q of %d environments, want \"wait\" of %d: what no environment names needs every gated one", sallyport, n, d.Verdict, len(d.Environments), n)
		}
		out = append(out, &entry{engine: sallyport, style: globs, rules: n, once: func() { judge() }})
		for _, s := range styles() {
			evaluate, err := theirs(n, s, files)
			if err != nil {
				return nil, err
			}
			if r := evaluate(); r.Error != nil || r.Status == common.StatusApproved || len(rulesHit(r)) != 0 {
				return nil, errors.Join(fmt.Errorf("%s with %d rules (%s) says %v, %d rules hit; want no rule hit", peer, n, s, r.Status, len(rulesHit(r))), r.Error)
			}
			out = append(out, &entry{engine: peer, style: s, rules: n, once: func() { evaluate() }})
		}
	}
	return out, nil
}

// measure takes one sample of every entry in turn, and all again, so that a slow
// minute of the machine falls on every entry alike.
func measure(entries []*entry, samples int, least time.Duration) {
	for i := range samples {
		for k := range entries {
			// A different one begins each round.
			e := entries[(k+i)%len(entries)]
			runtime.GC()
			n, start := 0, time.Now()
			for n == 0 || time.Since(start) < least {
				e.once()
				n++
			}
			e.ns = append(e.ns, float64(time.Since(start).Nanoseconds())/float64(n))
		}
	}
}

func report(w io.Writer, entries []*entry, files, samples int) {
	fmt.Fprintf(w, "%d changed files, four path patterns a rule, nothing matches; medians of %d interleaved samples\n", files, samples)
	fmt.Fprintf(w, "%s %s/%s, GOMAXPROCS=%d; policy-bot 1.41.1 (newest: 1.42.1, which needs Go 1.27)\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	find := func(engine string, s style, n int) *entry {
		i := slices.IndexFunc(entries, func(e *entry) bool { return e.engine == engine && e.style == s && e.rules == n })
		return entries[i]
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "rules\tengine\tpatterns\tns/evaluation\tquartiles\ttheirs/ours\t")
	for _, n := range sizes() {
		our := find(sallyport, globs, n)
		line(t, our, "")
		for _, s := range styles() {
			e := find(peer, s, n)
			line(t, e, fmt.Sprintf("%.1fx", e.median()/our.median()))
		}
	}
	t.Flush()
	first, last := sizes()[0], sizes()[len(sizes())-1]
	fmt.Fprintf(w, "\ngrowth of time from %d to %d rules (linear: %.1fx)\n", first, last, float64(last)/float64(first))
	grow := func(engine string, s style) {
		fmt.Fprintf(t, "%s\t%s\t%.1fx\t\n", engine, s, find(engine, s, last).median()/find(engine, s, first).median())
	}
	grow(sallyport, globs)
	for _, s := range styles() {
		grow(peer, s)
	}
	t.Flush()
	fmt.Fprintf(w, "\ngoals: at least 20x less time at %d rules; growth clearly below linear\n", first)
}

func line(w io.Writer, e *entry, ratio string) {
	fmt.Fprintf(w, "%d\t%s\t%s\t%.0f\t%.0f..%.0f\t%s\t\n", e.rules, e.engine, e.style, e.median(), quantile(e.ns, 0.25), quantile(e.ns, 0.75), ratio)
}

// quantile is the q-th quantile, between neighbours in proportion.
func quantile(values []float64, q float64) float64 {
	v := slices.Sorted(slices.Values(values))
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 == len(v) {
		return v[i]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}
