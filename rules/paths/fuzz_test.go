package paths_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/text/unicode/norm"

	"github.com/sallyport/sallyport/rules/paths"
)

// parseRules reads the fuzzer's rules: one a line, patterns separated by blanks,
// "~" before a rule that folds. Patterns that CheckPattern refuses are left out,
// and so are rules of which nothing remains.
func parseRules(text string) []paths.Rule[int] {
	var rules []paths.Rule[int]
	for i, line := range strings.Split(text, "\n") {
		line, fold := strings.CutPrefix(line, "~")
		r := paths.Rule[int]{Fold: fold, Value: i}
		positive := false
		for _, p := range strings.Fields(line) {
			if paths.CheckPattern(p) == nil {
				r.Patterns = append(r.Patterns, p)
				positive = positive || p[0] != '!'
			}
		}
		if positive {
			rules = append(rules, r)
		}
	}
	return rules
}

// FuzzSet holds the compiled set against the plain loop over doublestar and the
// definition of folded matching.
func FuzzSet(f *testing.F) {
	f.Add("docs/** !docs/x/** **/*.md\n~.GitHub/** **/CODEOWNERS", "docs/a.md", "a/**")
	f.Add("~.github/**\n**/node_modules/**\na/**/b\n{a,b/**}/c", ".GİTHUB/x", "**/x")
	f.Add("~x/[A-C]?\n**/*.{ts,tsx}\n{**,a}/b\n**", "X/b\u212a", "*")
	f.Add("a{/**,b}\n{docs,site}/**/x\n~**/{A,*.B}/**", "a", "x/[!/a]")
	f.Add("~straße/** ＊\n~ﬁ?/é*\nv[0-9]/?", "STRASSE/e\u0301", "{a,b}{c,d}")
	f.Fuzz(func(t *testing.T, text, path, extra string) {
		if len(text) <= 400 && len(path) <= 200 {
			compare(t, parseRules(text), path, extra)
		}
	})
}

// TestRandomRules is FuzzSet with patterns and paths made of the same few
// pieces, so that most of them are accepted and many match.
func TestRandomRules(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	var pattern func(depth int) string
	pattern = func(depth int) string {
		var b strings.Builder
		for i := range 1 + r.IntN(4) {
			if i > 0 && r.IntN(3) > 0 {
				b.WriteByte('/')
			}
			switch r.IntN(9) {
			case 0:
				b.WriteString("**")
			case 1:
				b.WriteString(pick("*", "*", "?", "[ab]", "[!/A]", "[A-C]", "[\u00df\ufb01]"))
			case 2, 3:
				if depth < 2 && r.IntN(depth+1) == 0 {
					d := depth + 1
					b.WriteString("{" + pattern(d) + "," + pick("", pattern(d), pattern(d)+","+pattern(d)) + "}")
					break
				}
				fallthrough
			default:
				b.WriteString(pick("a", "b", "A", "ab", "a/b", "\u00e9", "\u00df", "\uff41", "k", `\*`))
			}
		}
		return b.String()
	}
	path := func() string {
		var b strings.Builder
		for i := range 1 + r.IntN(6) {
			if i > 0 && r.IntN(2) > 0 {
				b.WriteByte('/')
			}
			b.WriteString(pick("a", "b", "A", "B", "ab", "a", "b", "\u00e9", "e\u0301", "\u00df", "SS", "\uff41", "K", "\u212a", "a\u200d", "\ufb01", "*", "c"))
		}
		return b.String()
	}
	rounds := 30_000
	if testing.Short() {
		rounds = 3_000
	}
	hits := 0
	for range rounds {
		var lines []string
		for range 1 + r.IntN(4) {
			line := pick("", "~")
			for range 1 + r.IntN(4) {
				line += " " + pick("", "", "", "!") + pattern(0)
			}
			lines = append(lines, line)
		}
		rules := parseRules(strings.Join(lines, "\n"))
		hits += compare(t, rules, path(), pattern(0))
	}
	if hits < rounds/10 {
		t.Errorf("only %d hits in %d rounds: the test shows little", hits, rounds)
	}
}

// compare holds a set of the rules against the definition, and reports the
// number of hits.
func compare(t *testing.T, rules []paths.Rule[int], path, extra string) int {
	t.Helper()
	set, err := paths.New(rules)
	if err != nil {
		t.Fatalf("New(%v): %v", rules, err)
	}
	got := set.Append(nil, path)

	// Naive: every pattern of every rule.
	var want []paths.Hit[int]
	for _, r := range rules {
		exact, folded, excluded := "", "", false
		for _, p := range r.Patterns {
			if body, ok := strings.CutPrefix(p, "!"); ok {
				excluded = excluded || doublestar.MatchUnvalidated(body, path)
				continue
			}
			if exact == "" && doublestar.MatchUnvalidated(p, path) {
				exact = p
			}
			if r.Fold && folded == "" && paths.FoldedMatch(p, path) {
				folded = p
			}
		}
		switch {
		case excluded:
		case exact != "":
			want = append(want, paths.Hit[int]{Value: r.Value, Pattern: exact})
		case folded != "":
			want = append(want, paths.Hit[int]{Value: r.Value, Pattern: folded, Folded: true})
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%q in %v:\n got %v\nwant %v", path, rules, got, want)
	}

	for i, r := range rules {
		// Folding finds whatever bytes find, and what differs by case only.
		r.Fold = true
		all, err := paths.New([]paths.Rule[int]{r})
		if err != nil {
			t.Fatal(err)
		}
		in := slices.ContainsFunc(got, func(h paths.Hit[int]) bool { return h.Value == rules[i].Value })
		if in && len(all.Append(nil, path)) == 0 {
			t.Fatalf("%q is in %q without folding, and not with it", path, r.Patterns)
		}
		if exact := paths.Match(r.Patterns[0], path); exact && r.Patterns[0][0] != '!' {
			for _, other := range []string{upperASCII(path), wide(path), strings.ReplaceAll(path, "i", "\u0131"), invisible(path)} {
				if !paths.FoldedMatch(r.Patterns[0], other) {
					t.Fatalf("%q matches %q, and %q does not with folding", r.Patterns[0], path, other)
				}
			}
		}
		// One more pattern never removes a hit.
		if paths.CheckPattern(extra) != nil || extra[0] == '!' {
			continue
		}
		r.Fold = rules[i].Fold
		r.Patterns = append(slices.Clone(r.Patterns), extra)
		more, err := paths.New([]paths.Rule[int]{r})
		if err != nil {
			t.Fatal(err)
		}
		if in && len(more.Append(nil, path)) == 0 {
			t.Fatalf("%q is in %q no more once %q is added", path, rules[i].Patterns, extra)
		}
	}
	return len(got)
}

func upperASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

// wide writes letters in their fullwidth form.
func wide(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'ａ'
		}
		return r
	}, s)
}

// invisible puts a zero-width joiner behind each letter.
func invisible(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
		if 'a' <= r && r <= 'z' {
			b.WriteRune('\u200d')
		}
	}
	return b.String()
}

// FuzzCheck holds the fast loop against the definition, word by word.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"", "a/b.c", "/a", "a/", "a//b", "a/../b", "..", "a.", "a ", `a\b`, "a\x00", "é", "e\u0301", "\u200d", "\xff", "\ufffd", "\u2028", strings.Repeat("a/", 2048) + "b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		plain := path != "" && len(path) <= paths.MaxPathBytes && utf8.ValidString(path) && norm.NFC.IsNormalString(path)
		for s := range strings.SplitSeq(path, "/") {
			plain = plain && s != "" && !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, " ")
		}
		for _, r := range path {
			plain = plain && r != '\\' && r != utf8.RuneError && !unicode.IsControl(r) &&
				!unicode.In(r, unicode.Zl, unicode.Zp, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
		}
		err := paths.Check(path)
		if (err == nil) != plain {
			t.Fatalf("Check(%q): %v, by the definition plain is %v", path, err, plain)
		}
		if err != nil && (!errors.Is(err, paths.ErrNotPlain) || strings.ContainsFunc(err.Error(), unicode.IsControl)) {
			t.Fatalf("Check(%q): bad error %q", path, err)
		}
		folded := paths.Fold(path)
		if again := paths.Fold(folded); again != folded {
			t.Fatalf("Fold(%q) is %q, and folded again %q", path, folded, again)
		}
	})
}

// FuzzCheckPattern: what is accepted compiles, never panics, and is found by
// the index wherever the matcher finds it.
func FuzzCheckPattern(f *testing.F) {
	for _, s := range []string{"", "!", "**", "docs/**", "!docs/**", "/a", "a/", "**.md", "[!/a]", "[a-", "{a,b{c,d}}/**", `\[a\]`, "a{/**,}", "*{*,a}", "x/**{/a,b}"} {
		f.Add(s, "docs/a.md")
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if len(path) > 200 {
			return
		}
		err := paths.CheckPattern(pattern)
		if err != nil {
			if !errors.Is(err, paths.ErrPattern) || strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Fatalf("CheckPattern(%q): bad error %q", pattern, err)
			}
			if _, err := paths.New([]paths.Rule[int]{{Patterns: []string{pattern, "**"}}}); err == nil {
				t.Fatalf("New accepts %q", pattern)
			}
			return
		}
		body := strings.TrimPrefix(pattern, "!")
		if !doublestar.ValidatePattern(body) {
			t.Fatalf("CheckPattern accepts %q, which is malformed", pattern)
		}
		for _, fold := range []bool{false, true} {
			s, err := paths.New([]paths.Rule[int]{{Patterns: []string{body}, Fold: fold}})
			if err != nil {
				t.Fatal(err)
			}
			if matched := paths.Match(body, path); matched && len(s.Append(nil, path)) != 1 || !fold && !matched && len(s.Append(nil, path)) != 0 {
				t.Fatalf("%q, %q (fold %v): the matcher says %v", body, path, fold, matched)
			}
		}
	})
}
