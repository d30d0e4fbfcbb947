package paths_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/rules/paths"
)

// BenchmarkAppend asks sets of 50 and 500 rules, four patterns each, for 3,000
// paths. "×naive" is how many times as long the loop over all patterns takes,
// measured in the same run.
func BenchmarkAppend(b *testing.B) {
	const files = 3000
	none := changed(files)
	all := make([]string, files)
	for i := range all {
		all[i] = fmt.Sprintf("services/svc-%03d/module-%d/a.go", i%50, i%50)
	}
	everywhere := func(n int) []paths.Rule[int] {
		rules := styles(n)
		for i := range rules {
			rules[i].Patterns[3] = "services/**"
		}
		return rules
	}
	folding := func(n int) []paths.Rule[int] {
		rules := styles(n)
		for i := range rules {
			rules[i].Fold = true
		}
		return rules
	}
	for _, n := range []int{50, 500} {
		for _, c := range []struct {
			name  string
			rules []paths.Rule[int]
			paths []string
			hits  int
		}{
			{"none", styles(n), none, 0},
			{"none-fold", folding(n), none, 0},
			{"few", styles(n), all, files},
			{"all", everywhere(n), all, files * n},
		} {
			b.Run(fmt.Sprintf("rules=%d/%s", n, c.name), func(b *testing.B) {
				set := mustNew(b, c.rules...)
				dst := make([]paths.Hit[int], 0, n)
				start := time.Now()
				hits := 0
				for _, p := range c.paths {
					hits += len(naive(c.rules, p))
				}
				plain := time.Since(start)
				if hits != c.hits {
					b.Fatalf("the naive loop has %d hits, want %d", hits, c.hits)
				}
				b.ReportAllocs()
				for b.Loop() {
					hits = 0
					for _, p := range c.paths {
						dst = set.Append(dst[:0], p)
						hits += len(dst)
					}
				}
				if hits != c.hits {
					b.Fatalf("%d hits, want %d", hits, c.hits)
				}
				b.ReportMetric(float64(plain)/(float64(b.Elapsed())/float64(b.N)), "×naive")
			})
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	list := changed(3000)
	for b.Loop() {
		for _, p := range list {
			if err := paths.Check(p); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkNew(b *testing.B) {
	rules := styles(500)
	for b.Loop() {
		mustNew(b, rules...)
	}
}
