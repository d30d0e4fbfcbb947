package paths_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/sallyport/sallyport/rules/paths"
)

func mustNew[V any](t testing.TB, rules ...paths.Rule[V]) *paths.Set[V] {
	t.Helper()
	s, err := paths.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// one is the only hit of a rule with the patterns, or none.
func one(t *testing.T, fold bool, patterns []string, path string) (paths.Hit[string], bool) {
	t.Helper()
	hits := mustNew(t, paths.Rule[string]{Patterns: patterns, Fold: fold, Value: "rule"}).Append(nil, path)
	if len(hits) == 0 {
		return paths.Hit[string]{}, false
	}
	if len(hits) > 1 {
		t.Fatalf("%d hits of one rule", len(hits))
	}
	return hits[0], true
}

func TestPatterns(t *testing.T) {
	in := func(pattern string, list ...string) {
		t.Helper()
		for _, p := range list {
			if _, ok := one(t, false, []string{pattern}, p); !ok {
				t.Errorf("%q does not match %q", pattern, p)
			}
			if !paths.Match(pattern, p) {
				t.Errorf("Match(%q, %q) = false", pattern, p)
			}
		}
	}
	out := func(pattern string, list ...string) {
		t.Helper()
		for _, p := range list {
			if _, ok := one(t, false, []string{pattern}, p); ok {
				t.Errorf("%q matches %q", pattern, p)
			}
			if paths.Match(pattern, p) {
				t.Errorf("Match(%q, %q) = true", pattern, p)
			}
		}
	}

	in("README.md", "README.md")
	out("README.md", "docs/README.md", "README.mdx", "README", "readme.md")

	in("docs/**", "docs/a.md", "docs/a/b.md", "docs")
	out("docs/**", "docs2/a.md", "my/docs/a.md", "doc", "Docs/a.md")

	in("docs/*", "docs/a.md", "docs/.hidden")
	out("docs/*", "docs/a/b.md", "docs")

	in("**/*_test.go", "x_test.go", "a/b/x_test.go", "_test.go")
	out("**/*_test.go", "x_test.go/y", "x_test.gob")

	in("**/node_modules/**", "node_modules/a.js", "web/node_modules/a/b.js", "node_modules", "a/node_modules")
	out("**/node_modules/**", "web/node_modules2/a.js", "web/my_node_modules/a.js")

	in("services/*/infra/**/*.tf", "services/a/infra/x.tf", "services/a/infra/b/c/x.tf")
	out("services/*/infra/**/*.tf", "services/a/b/infra/x.tf", "services/infra/x.tf")

	in("a/**/b", "a/b", "a/x/b", "a/x/y/b")
	out("a/**/b", "ab", "a/xb", "a/b/c")

	in("**/*.{ts,tsx}", "a.ts", "web/a.tsx")
	out("**/*.{ts,tsx}", "a.tsxx", "a.js", "a.{ts,tsx}")

	in("{docs,site}/**", "docs/a", "site/a/b", "docs")
	out("{docs,site}/**", "docs2/a", "a/site/b")

	in("{docs,s{ite,rc/{a,b}}}/**", "docs/x", "site/x", "src/a/x", "src/b")
	out("{docs,s{ite,rc/{a,b}}}/**", "s/x", "src/x", "src/c/x", "rc/a/x", "ite/x")

	in("{**/gen,vendor}/*.go", "gen/a.go", "x/y/gen/a.go", "vendor/a.go")
	out("{**/gen,vendor}/*.go", "x/vendor/a.go", "gen/x/a.go")

	in("v[0-9]/?.txt", "v1/a.txt", "v9/é.txt")
	out("v[0-9]/?.txt", "v10/a.txt", "va/a.txt", "v1/ab.txt", "v1/.txt")

	in("src/[!/_]*.go", "src/a.go")
	out("src/[!/_]*.go", "src/_a.go", "src//a.go")

	in(`pages/\[id\].tsx`, "pages/[id].tsx")
	out(`pages/\[id\].tsx`, "pages/i.tsx")

	in(`\!important`, "!important")
	in("**", "a", "a/b", "../a")
	in("a,b", "a,b")
}

func TestExclusionsHaveNoOrder(t *testing.T) {
	for _, patterns := range [][]string{
		{"docs/**", "!docs/secret/**", "site/**"},
		{"!docs/secret/**", "docs/**", "site/**"},
		{"site/**", "docs/**", "!docs/secret/**"},
	} {
		for path, want := range map[string]bool{"docs/a": true, "site/a": true, "docs/secret/a": false, "src/a": false} {
			if _, got := one(t, false, patterns, path); got != want {
				t.Errorf("%q in %q: %v", path, patterns, got)
			}
		}
	}
}

func TestHitNamesTheFirstPattern(t *testing.T) {
	named := func(path, pattern string, folded bool, patterns ...string) {
		t.Helper()
		hit, ok := one(t, true, patterns, path)
		if want := (paths.Hit[string]{Value: "rule", Pattern: pattern, Folded: folded}); !ok || hit != want {
			t.Errorf("%q in %q: %+v, want %+v", path, patterns, hit, want)
		}
	}
	named("a/b.go", "a/**", false, "**/*.ts", "a/**", "**/*.go")
	named("a/b.go", "**/*.go", false, "**/*.ts", "**/*.go", "a/**")
	named("A/b.go", "**/*.go", false, "a/**", "**/*.go") // bytes go before folding
	named("A/b.go", "a/**", true, "a/**", "a/b.go", "**/*.ts")
	named("A/B.TS", "a/*", true, "x", "a/*", "**/*.ts")
}

func TestSetKeepsTheOrderOfRules(t *testing.T) {
	s := mustNew(t,
		paths.Rule[int]{Patterns: []string{"**/*.go"}, Value: 0},
		paths.Rule[int]{Patterns: []string{"x/**", "x/*.go"}, Value: 1},
		paths.Rule[int]{Patterns: []string{"y/**"}, Value: 2},
		paths.Rule[int]{Patterns: []string{"**"}, Value: 3},
		paths.Rule[int]{Patterns: []string{"X/A.go"}, Fold: true, Value: 4},
		paths.Rule[int]{Patterns: []string{"x/a.go"}, Value: 5},
	)
	dst := []paths.Hit[int]{{Value: -1}}
	var got []int
	for _, h := range s.Append(dst, "x/a.go") {
		got = append(got, h.Value)
	}
	if want := []int{-1, 0, 1, 3, 4, 5}; !slices.Equal(got, want) {
		t.Errorf("rules %v, want %v", got, want)
	}
}

// Patterns whose literal parts begin, or end, with one another.
func TestNestedLiterals(t *testing.T) {
	var rules []paths.Rule[string]
	for _, p := range []string{
		"a*", "ab*", "abc*", "abd*", "abd/e*", "abd/f*", "b*",
		"*z", "*yz", "*xyz", "*wyz", "*e/wyz", "*f/wyz",
		"abd/f/wyz", "**/f/**", "**/abd/**",
	} {
		rules = append(rules, paths.Rule[string]{Patterns: []string{p}, Value: p})
	}
	s := mustNew(t, rules...)
	for _, path := range []string{"a", "ab", "abc", "abd", "abd/f/wyz", "abd/e/wyz", "abe", "abd/fwyz", "b", "z", "yz", "wyz", "vyz", "f/wyz", "c/f", "aa", "abcd", "cabd"} {
		var got, want []string
		for _, h := range s.Append(nil, path) {
			got = append(got, h.Value)
		}
		for _, r := range rules {
			if slices.ContainsFunc(r.Patterns, func(p string) bool { return paths.Match(p, path) }) {
				want = append(want, r.Value)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		patterns []string
		want     string
	}{
		{nil, "without patterns"},
		{[]string{"!a/**"}, "only \"!\""},
		{[]string{"a/**", "[a"}, "never closed"},
		{[]string{"a/**", "!/b"}, "begins with \"/\""},
	} {
		if _, err := paths.New([]paths.Rule[int]{{Patterns: c.patterns}}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("New(%q): %v, want an error with %q", c.patterns, err, c.want)
		}
	}
}

func TestSetWithoutRules(t *testing.T) {
	if hits := mustNew[int](t).Append(nil, "a"); hits != nil {
		t.Errorf("hits %v", hits)
	}
	var none *paths.Set[int]
	if hits := none.Append(nil, "a"); hits != nil {
		t.Errorf("hits %v", hits)
	}
}

// TestAttacks: a change tries to get past the protected paths, or into a path
// that is free. Each row names what stops it.
func TestAttacks(t *testing.T) {
	const (
		notPlain = "the path is not plain"
		folding  = "the protected pattern folds"
		bytes    = "the free pattern compares bytes"
	)
	protected := mustNew(t, paths.Rule[string]{Fold: true, Value: "protected", Patterns: []string{
		".github/**", "**/CODEOWNERS", "**/.gitattributes", "ops/kelvin/**", "secrets/v?/[A-F]*.env",
		"straße/**", "**/*.[Tt]f", "café/**", "!.github/ISSUE_TEMPLATE/**",
	}})
	free := mustNew(t, paths.Rule[string]{Value: "free", Patterns: []string{
		"docs/**", "**/*.md", "!**/*.sh", "!docs/admin/**",
	}})
	for _, c := range []struct{ name, path, stops string }{
		{"climbing out of a free folder", "docs/../.github/workflows/x.yml", notPlain},
		{"climbing out at the end", "docs/..", notPlain},
		{"staying in place", "docs/./a.md", notPlain},
		{"empty segment", "docs//a.md", notPlain},
		{"root", "/docs/a.md", notPlain},
		{"folder", "docs/", notPlain},
		{"nothing", "", notPlain},
		{"backslash as a separator", `docs\..\.github\workflows\x.md`, notPlain},
		{"NUL that ends the name for C", "docs/a.md\x00.sh", notPlain},
		{"newline that splits a list", "docs/a.md\n.github/workflows/x.yml", notPlain},
		{"escape sequence for the terminal", "docs/\x1b[2Ja.md", notPlain},
		{"C1 control", "docs/\u0085a.md", notPlain},
		{"line separator", "docs/\u2028a.md", notPlain},
		{"broken UTF-8", "docs/\xff.md", notPlain},
		{"overlong slash", "docs/\xc0\xaf.md", notPlain},
		{"replacement character", "docs/\ufffd.md", notPlain},
		{"right-to-left override", "docs/\u202egpj.md", notPlain},
		{"zero-width joiner", ".git\u200dhub/workflows/x.yml", notPlain},
		{"zero-width space", ".git\u200bhub/workflows/x.yml", notPlain},
		{"soft hyphen", ".git\u00adhub/workflows/x.yml", notPlain},
		{"byte-order mark", "\ufeff.github/workflows/x.yml", notPlain},
		{"variation selector", ".github\ufe0f/workflows/x.yml", notPlain},
		{"Hangul filler", "docs/\u3164.md", notPlain},
		{"tag character", "docs/a\U000e0041.md", notPlain},
		{"decomposed letter", "docs/e\u0301.md", notPlain},
		{"singleton (Kelvin sign)", "ops/\u212aelvin/x", notPlain},
		{"trailing dot", ".github./workflows/x.yml", notPlain},
		{"trailing space", ".github /workflows/x.yml", notPlain},
		{"three dots", ".../x.md", notPlain},
		{"very long path", "docs/" + strings.Repeat("a", 4096) + ".md", notPlain},

		{"upper case", ".GitHub/workflows/x.yml", folding},
		{"lower case of an upper pattern", "docs/codeowners", folding},
		{"fullwidth letters", ".ｇｉｔｈｕｂ/workflows/x.yml", folding},
		{"fullwidth dot and slash", "．github／workflows/x.yml", folding},
		{"dotless i", ".gıthub/workflows/x.yml", folding},
		{"dotted capital i", ".GİTHUB/workflows/x.yml", folding},
		{"long s", "docs/.gitattribute\u017f", folding},
		{"mathematical letters", ".𝐠𝐢𝐭𝐡𝐮𝐛/x", folding},
		{"fullwidth letter beside an accent", "ｃafé/x", folding},
		{"accent in upper case", "CAFÉ/x", folding},
		{"sharp s written out", "STRASSE/x", folding},
		{"capital sharp s", "STRAẞE/x", folding},
		{"class in another case", "SECRETS/v1/a.env", folding},
		{"ligature under a question mark", "SECRETS/vﬁ/A.env", folding},
		{"fullwidth letter under a class", "secrets/v1/Ａ.env", folding},
		{"exclusion in another case", ".github/issue_template/x.md", folding},
		{"exclusion by a lookalike folder", ".GITHUB/ISSUE_TEMPLATE/x.md", folding},

		{"free folder in another case", "Docs/a.txt", bytes},
		{"free folder in fullwidth", "ｄｏｃｓ/a.txt", bytes},
		{"name that begins like the free folder", "docs-not/a.txt", bytes},
		{"free folder below another", "src/docs/a.txt", bytes},
		{"free suffix in another case", "src/a.MD", bytes},
		{"excluded script", "docs/a.sh", bytes},
		{"excluded folder", "docs/admin/a.md", bytes},
	} {
		plain := paths.Check(c.path)
		hits := protected.Append(nil, c.path)
		loose := free.Append(nil, c.path)
		var ok bool
		switch c.stops {
		case notPlain:
			ok = errors.Is(plain, paths.ErrNotPlain)
		case folding:
			ok = plain == nil && len(hits) == 1
		case bytes:
			ok = plain == nil && len(loose) == 0
		}
		if !ok {
			t.Errorf("%s (%q): not stopped by %s: Check %v, protected %v, free %v", c.name, c.path, c.stops, plain, hits, loose)
		}
	}

	// The near misses: ordinary paths that nothing must stop.
	for _, path := range []string{
		"docs/a.md", "docs/.github.md", "docs/README.MD", "docs/größe.txt", "docs/日本語.md", "docs/a b.md", "docs/[x].md",
		"docs/a..b.md", "docs/..a/b.md", "docs/😀.md", "docs/it's.md", "docs/~x.md",
	} {
		if err := paths.Check(path); err != nil {
			t.Errorf("%q: %v", path, err)
		}
		if hits := protected.Append(nil, path); len(hits) != 0 {
			t.Errorf("%q is protected: %v", path, hits)
		}
		if len(free.Append(nil, path)) != 1 {
			t.Errorf("%q is not free", path)
		}
	}
	if hits := protected.Append(nil, ".github/ISSUE_TEMPLATE/x.md"); len(hits) != 0 {
		t.Errorf("the exclusion itself does not work: %v", hits)
	}
	for _, path := range []string{"secrets/v1/g.env", "secrets/v10/a.env", "secrets/v1/_.env"} {
		if hits := protected.Append(nil, path); len(hits) != 0 {
			t.Errorf("%q is protected: %v", path, hits)
		}
	}
}

func TestFoldedClasses(t *testing.T) {
	folds := func(pattern, path string, want bool) {
		t.Helper()
		if _, got := one(t, true, []string{pattern}, path); got != want {
			t.Errorf("%q folded matches %q: %v", pattern, path, got)
		}
	}
	folds("x/[A-C]", "X/b", true)
	folds("x/[A-C]", "X/d", false)
	folds("x/[!/A-C]", "X/a", true) // as does x/a
	folds("x/[!/A-C]", "X/d", true)
	folds("x/[!/a-cA-C]", "X/a", false)
	folds("x/[!/_]*", "X/_a", false)
	folds("x/[!/_]*", "X/a", true)
	folds("x/[k]", "X/\u212a", true)
	folds("x/[ß]", "X/ß", true)
	folds("x/[ﬁ]y", "X/ﬁy", true)
	folds("x/[α-ω]", "X/Σ", true)
	folds("x/[\u4e00-\u9fff]", "X/日", true)
	folds(`x/[\]\-]`, "X/]", true)
	folds(`x/\*`, "X/a", false)
	folds(`x/＊`, "X/a", false) // a fullwidth star is no star
	folds(`x/＊`, "X/*", true)
	folds("x/{A,B}/c", "x/a/C", true)
	folds("x/{A,B}/c", "x/c/C", false)
}

func TestFold(t *testing.T) {
	same := func(a, b string) {
		t.Helper()
		if paths.Fold(a) != paths.Fold(b) {
			t.Errorf("%q folds to %q, %q to %q", a, paths.Fold(a), b, paths.Fold(b))
		}
	}
	differ := func(a, b string) {
		t.Helper()
		if paths.Fold(a) == paths.Fold(b) {
			t.Errorf("%q and %q both fold to %q", a, b, paths.Fold(a))
		}
	}
	same("A/b", "a/B")
	same("é", "e\u0301")
	same("É", "e\u0301")
	same("\u212a", "k")
	same("İ", "i")
	same("ı", "I")
	same("ß", "SS")
	same("ς", "Σ")
	same("ﬁ", "FI")
	same("ａ", "A")
	same("a\u00adb\u200dc\u200b", "abc")
	same("e\u200d\u0301", "é") // what is between them must not keep them apart
	differ("a", "b")
	differ("e", "é")
	differ("a.b", "ab")
	differ("а", "a") // Cyrillic: another file everywhere
}

func TestCheckSaysWhy(t *testing.T) {
	for path, want := range map[string]string{
		"":               "it is empty",
		"/a":             `begins with "/"`,
		"a/":             `ends with "/"`,
		"a//b":           `empty segment`,
		"a/./b":          `the segment "."`,
		"../a":           `the segment ".."`,
		"a./b":           `ends in a dot`,
		"a /b":           `ends in a space`,
		`a\b`:            `backslash`,
		"a\x00b":         `NUL`,
		"a\tb":           `control character U+0009`,
		"a\x7f":          `control character U+007F`,
		"a\xffb":         `not UTF-8 at byte 2 (0xff)`,
		"a\u200bb":       `invisible character U+200B`,
		"e\u0301":        `composed it is "\u00e9"`,
		"a\u2029":        `control character U+2029`,
		"\ufffd":         `could not be read`,
		long(4097):       `4097 bytes, more than 4096`,
		long(4096):       "",
		"a/b.c":          "",
		"é":              "",
		".a":             "",
		"a/.b":           "",
		" a":             "",
		"a/..b":          "",
		"日本/語/\u00e9.go": "",
	} {
		err := paths.Check(path)
		switch {
		case want == "" && err != nil:
			t.Errorf("Check(%.40q): %v", path, err)
		case want != "" && (!errors.Is(err, paths.ErrNotPlain) || !strings.Contains(err.Error(), want)):
			t.Errorf("Check(%.40q): %v, want %q", path, err, want)
		}
	}
}

func long(n int) string { return strings.Repeat("a", n) }

func TestCheckPatternSaysWhatIsRight(t *testing.T) {
	for _, c := range [][2]string{
		{"", `write "**"`},
		{"!", `nothing after "!"`},
		{"!!a", `"!" twice`},
		{"/docs/**", `write "docs/**"`},
		{"!/docs/**", `write "!docs/**"`},
		{"/", `write "**"`},
		{"./docs", `begins with "./"`},
		{"docs/", `write "docs/**"`},
		{"!docs/", `write "!docs/**"`},
		{"a//b", `empty segment`},
		{"a/../b", `the segment ".."`},
		{"a/./b", `the segment "."`},
		{"a./b", `ends in a dot`},
		{"docs/**.md", `write "docs/**/*.md"`},
		{"docs**", `write "docs*/**"`},
		{"docs/a**b", `write "docs/a*b"`},
		{"docs/***", `write "docs/**"`},
		{"a/**/**/b", `twice in a row`},
		{"docs/**{/a,b}", `before a brace`},
		{"docs/*{*,a}", `beside a brace`},
		{"docs/{*,a}*", `beside a brace`},
		{"docs/{a,**}.md", `where it means "*"`},
		{"docs/{a,b/}/c", `one of its alternatives is "docs/b//c"`},
		{"{a,}", `empty segment`},
		{"docs{/,x}", `empty segment`},
		{"docs/[a", `never closed`},
		{"docs/[]a", `empty class`},
		{"docs/{a", `"{" that is never closed`},
		{"docs/a}", `"}" without "{"`},
		{`docs\a`, `backslash before "a"`},
		{`docs\`, `ends with a backslash`},
		{`docs\\a`, `no plain path has`},
		{"docs/[!_]x", `write "[!/_]"`},
		{"docs/[^-_]x", `write "[^-_/]"`},
		{"docs[/x]a", `also matches "/"`},
		{"docs[+-9]a", `also matches "/"`},
		{"docs/[z-a]", `write it the other way round`},
		{"a\tb", `control character`},
		{"a\x00b", `NUL`},
		{"a\xffb", `not UTF-8`},
		{"e\u0301", `NFC`},
		{"a\u200db", `invisible`},
		{long(1025), `1025 bytes, more than 1024`},
		{strings.Repeat("{a,b}", 9), `more than 256 patterns`},
		{"{" + strings.Repeat("a,", 256) + "b}", `more than 256 patterns`},
	} {
		err := paths.CheckPattern(c[0])
		if !errors.Is(err, paths.ErrPattern) || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("CheckPattern(%.60q): %v, want %q", c[0], err, c[1])
		}
	}
	for _, p := range []string{
		"**", "*", "a", "!a/**", "docs/**", "**/*.{ts,tsx}", "{a,b/**}/c", "{**,a}/b", "a{,b}", "a{/**,}", "{a/,}b", "a/**/b/**/c",
		`\!a`, `pages/\[id\].tsx`, "[a-z]*", "[}]", "{[,],a}", "a,b", "a]b", "ä/ö", ".github/**", "a b/c", "[!/a]", strings.Repeat("{a,b}", 8), long(1024),
	} {
		if err := paths.CheckPattern(p); err != nil {
			t.Errorf("CheckPattern(%.60q): %v", p, err)
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	rules := styles(500)
	rules = append(rules, paths.Rule[int]{Patterns: []string{"CODEOWNERS", "**/.GitHub/**"}, Fold: true, Value: 1000})
	s := mustNew(t, rules...)
	dst := make([]paths.Hit[int], 0, 600)
	for _, path := range []string{"services/svc-017/a/b.go", "nothing/at/all.txt", "db/x_gen17.sql", "codeowners"} {
		if n := testing.AllocsPerRun(100, func() { dst = s.Append(dst[:0], path) }); n != 0 {
			t.Errorf("%q: %v allocations", path, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _ = paths.Check("services/svc-017/a/b.go") }); n != 0 {
		t.Errorf("Check: %v allocations", n)
	}
}

// More braces than the index writes out: it must not demand what they leave open.
func TestManyAlternatives(t *testing.T) {
	var list []string
	for i := range 40 {
		list = append(list, fmt.Sprintf("n%d", i))
	}
	many := strings.Join(list, ",")
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"a/{**," + many + "}", "a", false}, // the matcher reads "a/**" otherwise
		{"a/{**," + many + "}", "a/x/y", true},
		{"a/{**," + many + "}", "ab", false},
		{"a{/**," + many + "}", "a", true},
		{"a{/**," + many + "}", "an7", true},
		{"{**," + many + "}/b", "b", true},
		{"{**," + many + "}/b", "n3/b", true},
		{"{**," + many + "}/b", "n3/c", false},
		{"{" + many + "}", "n39", true},
		{"{" + many + "}", "n40", false},
		{"*/mid/{" + many + "}/*.go", "x/mid/n1/a.go", true},
		{"*/mid/{" + many + "}/*.go", "x/mid/n1/a.ts", false},
		{"x{," + many + "}y/*/z?", "xy/a/zb", true},
		{"x{," + many + "}y/*/z?", "xn2y/a/zb", true},
	} {
		for _, fold := range []bool{false, true} {
			if _, got := one(t, fold, []string{c.pattern}, c.path); got != c.want {
				t.Errorf("%.20q… and %q (fold %v): %v", c.pattern, c.path, fold, got)
			}
		}
	}
}

// More patterns than Append has room for on its stack.
func TestManyPatterns(t *testing.T) {
	var rules []paths.Rule[int]
	for i := range 6000 {
		rules = append(rules, paths.Rule[int]{Patterns: []string{fmt.Sprintf("a/%d/**", i), fmt.Sprintf("**/B%d/*", i)}, Fold: true, Value: i})
	}
	s := mustNew(t, rules...)
	for _, path := range []string{"a/5999/x", "x/b5999/y"} {
		if hits := s.Append(nil, path); len(hits) != 1 || hits[0].Value != 5999 {
			t.Errorf("%q: %v", path, hits)
		}
	}
}

// naive is what Append is defined by, for rules that do not fold.
func naive(rules []paths.Rule[int], path string) []paths.Hit[int] {
	var hits []paths.Hit[int]
	for _, r := range rules {
		first, excluded := "", false
		for _, p := range r.Patterns {
			if body, ok := strings.CutPrefix(p, "!"); ok {
				excluded = excluded || doublestar.MatchUnvalidated(body, path)
			} else if first == "" && doublestar.MatchUnvalidated(p, path) {
				first = p
			}
		}
		if first != "" && !excluded {
			hits = append(hits, paths.Hit[int]{Value: r.Value, Pattern: first})
		}
	}
	return hits
}

// styles makes rules of four patterns each, in the styles that policies have.
func styles(n int) []paths.Rule[int] {
	var rules []paths.Rule[int]
	for i := range n {
		rules = append(rules, paths.Rule[int]{Value: i, Patterns: []string{
			fmt.Sprintf("services/svc-%03d/**/*.go", i),
			fmt.Sprintf("**/*_gen%d.sql", i),
			fmt.Sprintf("**/module-%d/**", i),
			fmt.Sprintf("deploy/*/team%d/*.{yml,yaml}", i),
		}})
	}
	return rules
}

// changed is the paths of a big change that no rule of styles matches, though
// most of them begin or end as the patterns do.
func changed(n int) []string {
	r := rand.New(rand.NewPCG(1, 2))
	var list []string
	for i := range n {
		switch i % 5 {
		case 0:
			list = append(list, fmt.Sprintf("services/svc-%03d/internal/handler/file%d.ts", r.IntN(700), i))
		case 1:
			list = append(list, fmt.Sprintf("db/migrations/2024/%05d_create_gen.sql", i))
		case 2:
			list = append(list, fmt.Sprintf("web/src/components/part%d/view.tsx", i))
		case 3:
			list = append(list, fmt.Sprintf("deploy/prod/group%d/values.yaml", i))
		case 4:
			list = append(list, fmt.Sprintf("lib/modules/module_%d/readme.txt", i))
		}
	}
	return list
}
