// Package paths matches the paths of a change against the path patterns of a
// policy.
//
// A [Set] is compiled once from all rules of a policy and then asked for each
// path:
//
//	set, err := paths.New([]paths.Rule[string]{
//		{Patterns: []string{"docs/**", "!docs/internal/**"}, Value: "dev"},
//		{Patterns: []string{".github/**"}, Fold: true, Value: "protected"},
//	})
//	hits := set.Append(nil, "docs/guide.md")
//
// # Patterns
//
// A pattern is compared with the whole path, byte for byte. [Match] says
// whether one matches; everything here is defined by it. "*" and "?" stay
// within a segment, "**" is a whole segment and stands for any number of
// segments (none too: "a/**" also matches "a", "**/b" also "b"), "[a-z]" is one
// character of a class, "{a,b}" either text, and "\" takes the meaning from the
// character behind it. [CheckPattern] refuses what the matcher would accept but
// read differently from what its author meant.
//
// # Paths
//
// A path is what git stores: segments joined by "/". [Check] says whether one is
// plain. A path that is not, such as "a/../b", may be another file for another
// program; no pattern says anything reliable about it, so callers give it the
// strictest treatment, whatever matches.
//
// # Case and Unicode forms
//
// Git compares bytes, but a work tree on macOS or Windows does not: there
// ".GitHub/x" and ".github/x" are one file. A rule that adds care sets
// [Rule.Fold] and so finds both. A rule that lets something through, and every
// "!" pattern, compares bytes only. No kind of file is treated here: symlinks
// and submodules have ordinary paths, and their mode is the caller's concern.
package paths

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Rule is one list of patterns with the value it leads to. A path is in a rule
// if one of its patterns matches and none of those that begin with "!" does;
// the order of the patterns never matters for that.
type Rule[V any] struct {
	// Patterns must hold one without "!" at least.
	Patterns []string
	// Fold makes the patterns (those without "!") also match a path that differs
	// only by case or by Unicode form. It is for rules that add care; rules that
	// let something through compare bytes.
	Fold  bool
	Value V
}

// Hit is one rule that a path is in.
type Hit[V any] struct {
	Value V
	// Pattern is the first of the rule's patterns, in its order, that matched
	// byte for byte; if none did, the first that matched after folding.
	Pattern string
	// Folded says that it matched only after folding.
	Folded bool
}

// Set is compiled rules. It is immutable and safe for concurrent use. The nil
// Set has no rules.
type Set[V any] struct {
	rules    []compiled[V]
	patterns []pattern // of all rules, those without "!", in the rules' order
	raw      *index    // over pattern.raw
	tight    *index    // over pattern.tight; nil if no rule folds
	loose    *index    // over pattern.loose; nil if no rule folds
}

// compiled is a rule whose patterns without "!" are patterns[first:end].
type compiled[V any] struct {
	value      V
	first, end int
	exclude    []string // without the "!"
}

type pattern struct {
	rule int
	raw  string
	foldedPattern
}

// stackWords is how many words of candidates Append keeps on its stack, enough
// for 10,240 patterns. A larger set allocates for each path.
const stackWords = 160

// New compiles rules. It refuses a rule without a pattern that could match (an
// empty list, or "!" patterns only) and each pattern that [CheckPattern]
// refuses.
func New[V any](rules []Rule[V]) (*Set[V], error) {
	s := &Set[V]{}
	folds := false
	for i, r := range rules {
		c := compiled[V]{value: r.Value, first: len(s.patterns)}
		for _, text := range r.Patterns {
			if err := CheckPattern(text); err != nil {
				return nil, err
			}
			if body, ok := strings.CutPrefix(text, "!"); ok {
				c.exclude = append(c.exclude, body)
				continue
			}
			p := pattern{rule: i, raw: text}
			if r.Fold {
				p.foldedPattern = foldPattern(text)
				folds = true
			}
			s.patterns = append(s.patterns, p)
		}
		c.end = len(s.patterns)
		if c.first == c.end {
			if len(c.exclude) == 0 {
				return nil, errors.New("a rule without patterns never matches: give it one, such as \"**\"")
			}
			return nil, fmt.Errorf("rule with only \"!\" patterns (%q) never matches: put what it is to match beside them, such as \"**\"", r.Patterns[0])
		}
		s.rules = append(s.rules, c)
	}
	s.raw = newIndex(len(s.patterns), func(id int) string { return s.patterns[id].raw })
	if folds {
		s.tight = newIndex(len(s.patterns), func(id int) string { return s.patterns[id].tight })
		s.loose = newIndex(len(s.patterns), func(id int) string { return s.patterns[id].loose })
	}
	return s, nil
}

// Append appends a Hit for each rule that path is in, each rule once, in the
// rules' order. It does not judge the path: see [Check]. It allocates only if
// dst is too small, if path has to be folded, or if the rules have more than
// 10,240 patterns.
func (s *Set[V]) Append(dst []Hit[V], path string) []Hit[V] {
	if s == nil || len(s.patterns) == 0 {
		return dst
	}
	n := words(len(s.patterns))
	var onStack, onStackFolded [stackWords]uint64
	raw, folded := onStack[:min(n, stackWords)], onStackFolded[:0]
	if n > stackWords {
		raw = make([]uint64, n)
	}
	found := s.raw.candidates(raw, path)

	var form folding
	if s.tight != nil {
		folded = onStackFolded[:min(n, stackWords)]
		if n > stackWords {
			folded = make([]uint64, n)
		}
		form = foldPath(path)
		x := s.tight
		if form.loose {
			x = s.loose
		}
		if x.candidates(folded, form.text) {
			found = true
		}
	}
	if !found {
		return dst
	}

	for id := nextBit(raw, folded, 0); id >= 0; {
		r := &s.rules[s.patterns[id].rule]
		if hit, ok := s.match(r, raw, folded, path, form); ok && !matchAny(r.exclude, path) {
			dst = append(dst, hit)
		}
		id = nextBit(raw, folded, r.end)
	}
	return dst
}

// match tries the candidates among the patterns of r without "!".
func (s *Set[V]) match(r *compiled[V], raw, folded []uint64, path string, form folding) (Hit[V], bool) {
	for id := nextBit(raw, nil, r.first); id >= 0 && id < r.end; id = nextBit(raw, nil, id+1) {
		if p := &s.patterns[id]; Match(p.raw, path) {
			return Hit[V]{Value: r.value, Pattern: p.raw}, true
		}
	}
	for id := nextBit(folded, nil, r.first); id >= 0 && id < r.end; id = nextBit(folded, nil, id+1) {
		if p := &s.patterns[id]; p.match(form) {
			return Hit[V]{Value: r.value, Pattern: p.raw, Folded: true}, true
		}
	}
	return Hit[V]{}, false
}

// Match reports whether pattern, which has no "!" and which [CheckPattern]
// accepts, matches the whole of path. It is the one matcher that everything
// uses. A malformed pattern matches nothing.
func Match(pattern, path string) bool {
	return doublestar.MatchUnvalidated(pattern, path)
}

func matchAny(patterns []string, path string) bool {
	for _, p := range patterns {
		if Match(p, path) {
			return true
		}
	}
	return false
}

// Sets of pattern numbers are bits in words, so that candidates found in any
// order, and more than once, come out in the order of the rules.

func words(n int) int { return (n + 63) / 64 }

func setBit(set []uint64, id int) { set[id/64] |= 1 << (id % 64) }

// nextBit is the smallest number not below from that is in a or in b, or -1. b
// may be empty; otherwise both have the same length.
func nextBit(a, b []uint64, from int) int {
	mask := ^uint64(0) << (from % 64)
	for i := from / 64; i < len(a); i++ {
		w := a[i]
		if len(b) != 0 {
			w |= b[i]
		}
		if w &= mask; w != 0 {
			return i*64 + bits.TrailingZeros64(w)
		}
		mask = ^uint64(0)
	}
	return -1
}
