package main

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// Every pattern of every style agrees with its glob on all paths of the scenes.
func TestStylesAgree(t *testing.T) {
	files := append(nearMisses(600), matching(7)...)
	files = append(files, matching(8)...)
	for i, glob := range patterns(7, globs) {
		if hits := count(files, func(f string) bool { return doublestar.MatchUnvalidated(glob, f) }); hits != 1 {
			t.Errorf("%q matches %d of the paths, want 1", glob, hits)
		}
		for _, s := range []style{rooted, anchored, unanchored} {
			re := regexp.MustCompile(patterns(7, s)[i])
			for _, f := range files {
				if got, want := re.MatchString(f), doublestar.MatchUnvalidated(glob, f); got != want {
					t.Errorf("%s %q on %q: %v, but glob %q says %v", s, re, f, got, glob, want)
				}
			}
		}
	}
}

func count(files []string, match func(string) bool) int {
	n := 0
	for _, f := range files {
		if match(f) {
			n++
		}
	}
	return n
}

// A path of rule 7 alone makes both engines name rule 7 alone.
func TestEnginesAgree(t *testing.T) {
	for _, path := range matching(7) {
		judge, err := ours(50, []string{path})
		if err != nil {
			t.Fatal(err)
		}
		if d := judge(); !slices.Equal(d.Environments, []string{"env-007"}) {
			t.Errorf("%s: we say environments %q, want [env-007]", path, d.Environments)
		}
		for _, s := range styles() {
			evaluate, err := theirs(50, s, append(nearMisses(30), path))
			if err != nil {
				t.Fatal(err)
			}
			if hit := rulesHit(evaluate()); !slices.Equal(hit, []string{"rule-007"}) {
				t.Errorf("%s: policy-bot with %s says %q, want [rule-007]", path, s, hit)
			}
		}
	}
}

func TestReport(t *testing.T) {
	entries, err := build(nearMisses(12))
	if err != nil {
		t.Fatal(err)
	}
	measure(entries, 6, time.Microsecond)
	var out bytes.Buffer
	report(&out, entries, 12, 6)
	for _, want := range []string{"theirs/ours", "unanchored regexps", "growth of time from 50 to 500"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, &out)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-samples", "5"}, {"-files", "0"}, {"-unknown"}, {"argument"}} {
		if code := run(args, &bytes.Buffer{}, &bytes.Buffer{}); code != 2 {
			t.Errorf("judge %q exits %d, want 2", args, code)
		}
	}
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct{ q, want float64 }{{0, 1}, {0.25, 1.75}, {0.5, 2.5}, {1, 4}} {
		if got := quantile([]float64{4, 1, 3, 2}, c.q); got != c.want {
			t.Errorf("quantile %v of 1 to 4 is %v, want %v", c.q, got, c.want)
		}
	}
}

// The same cases for benchstat; the program judge is the interleaved comparison.
func BenchmarkJudge(b *testing.B) {
	entries, err := build(nearMisses(3000))
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range entries {
		name := fmt.Sprintf("engine=%s/patterns=%s/rules=%d", e.engine, strings.ReplaceAll(string(e.style), " ", "-"), e.rules)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.once()
			}
		})
	}
}
