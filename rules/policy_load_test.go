package rules_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/sallyport/sallyport/rules"
)

var updatePolicies = flag.Bool("update-policies", false, "write the expected messages beside testdata/policy and testdata/targets")

const (
	policyDir  = "../testdata/policy"
	targetsDir = "../testdata/targets"
)

func policyFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	return files
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func render(problems []rules.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.Render())
	}
	return b.String()
}

// loadPolicy and loadTargets say whether a file loaded, and what is wrong with it.
func loadPolicy(name string, data []byte) (bool, []rules.Problem) {
	p, problems := rules.LoadPolicy(name, data)
	return p != nil, problems
}

func loadTargets(name string, data []byte) (bool, []rules.Problem) {
	targets, problems := rules.LoadTargets(name, data)
	return targets != nil, problems
}

// Each file of an err directory has one thing wrong with it, and beside it stands
// a .txt with exactly what a person is shown. Each file of an ok directory loads;
// one with a .txt beside it has these warnings, the others have none.
func TestFilesSayExactlyWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		dir  string
		ok   bool
		load func(string, []byte) (bool, []rules.Problem)
	}{
		{policyDir + "/ok", true, loadPolicy},
		{policyDir + "/err", false, loadPolicy},
		{targetsDir + "/ok", true, loadTargets},
		{targetsDir + "/err", false, loadTargets},
	} {
		for _, name := range policyFiles(t, c.dir) {
			t.Run(strings.TrimPrefix(name, "../testdata/"), func(t *testing.T) {
				data := readFile(t, name)
				loaded, problems := c.load(filepath.Base(name), data)
				got := render(problems)
				if loaded != c.ok {
					t.Errorf("loaded: %v, want %v\n%s", loaded, c.ok, got)
				}
				if loaded == rules.HasErrors(problems) {
					t.Errorf("loaded: %v, with these problems:\n%s", loaded, got)
				}
				checkProblems(t, data, problems)

				golden := strings.TrimSuffix(name, ".yml") + ".txt"
				if *updatePolicies {
					if err := os.Remove(golden); err != nil && !os.IsNotExist(err) {
						t.Fatal(err)
					}
					if got != "" {
						if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
							t.Fatal(err)
						}
					}
					return
				}
				want := ""
				if _, err := os.Stat(golden); err == nil || !c.ok {
					want = string(readFile(t, golden))
				}
				if got != want {
					t.Errorf("got:\n%swant:\n%s", got, want)
				}
			})
		}
	}
}

// checkProblems holds what is true of every problem of every file.
func checkProblems(t testing.TB, data []byte, problems []rules.Problem) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	for i, p := range problems {
		if p.Line < 1 || p.Line > len(lines) {
			t.Errorf("line %d of %d: %v", p.Line, len(lines), p)
			continue
		}
		line := strings.TrimSuffix(lines[p.Line-1], "\r")
		if len(data) <= rules.MaxPolicyBytes && !bytes.HasPrefix(data, []byte("\ufeff")) {
			if p.Column < 1 || p.Column > utf8.RuneCountInString(line)+1 {
				t.Errorf("column %d of %q: %v", p.Column, line, p)
			}
			if p.Source != line {
				t.Errorf("source %q, want %q", p.Source, line)
			}
		}
		if p.Message == "" {
			t.Errorf("no message: %v", p)
		}
		if p.Severity != rules.SeverityError && p.Severity != rules.SeverityWarning {
			t.Errorf("severity %q: %v", p.Severity, p)
		}
		for _, r := range strings.TrimSuffix(p.Render(), "\n") {
			if r != '\n' && r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r == utf8.RuneError {
				t.Errorf("shows the control character %U: %q", r, p.Render())
			}
		}
		if strings.ContainsAny(p.Message+p.Hint, "\n\r") {
			t.Errorf("more than one line: %q", p.Message+p.Hint)
		}
		if i > 0 {
			if q := problems[i-1]; q.Line > p.Line || q.Line == p.Line && q.Column > p.Column {
				t.Errorf("not in the order of the file: %v, then %v", q, p)
			}
		}
	}
	if len(problems) > rules.MaxProblems+1 {
		t.Errorf("%d problems: more than a person reads", len(problems))
	}
}

// A caret under a character after a wide or a multi-byte one counts characters.
func TestColumnsCountCharacters(t *testing.T) {
	_, problems := rules.LoadPolicy("p.yml", []byte("version: 1\nreviewers: [\"日本/é\", 7]\nenvironments: {production: {gate: human}}\n"))
	var got []string
	for _, p := range problems {
		got = append(got, fmt.Sprintf("%d:%d %s", p.Line, p.Column, p.Field))
	}
	want := []string{"2:13 reviewers[0]", "2:21 reviewers[1]"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestALongLineIsCutAroundTheMark(t *testing.T) {
	line := "reviewers: [" + strings.Repeat("acme/sre, ", 40) + "7, " + strings.Repeat("acme/sre, ", 40) + "x]"
	_, problems := rules.LoadPolicy("p.yml", []byte("version: 1\n"+line+"\n"))
	for _, p := range problems {
		shown := strings.Split(p.Render(), "\n")
		if n := utf8.RuneCountInString(shown[1]); n > 140 {
			t.Errorf("%d characters shown", n)
		}
		mark := strings.IndexByte(shown[2], '^')
		under := string([]rune(shown[1])[mark:])
		if !strings.HasPrefix(string([]rune(p.Source)[p.Column-1:]), under[:1]) {
			t.Errorf("the mark stands under %q", under)
		}
	}
}

// The limits keep out what is a byte, an entry or a level more than they say, and
// let in what is just within.
func TestLimits(t *testing.T) {
	base := "version: 1\nreviewers: [acme/sre]\n"
	human := "environments:\n  production: {gate: human}\n"
	times := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	pad := func(s string, size int) string { return s + "#" + strings.Repeat("x", size-len(s)-2) + "\n" }
	environments := func(n int) string {
		return base + human + times(n-1, "  e%d: {gate: auto}\n")
	}
	for _, c := range []struct {
		name          string
		within, above string
		message       string
	}{
		{"bytes of the file", pad(base+human, rules.MaxPolicyBytes), pad(base+human, rules.MaxPolicyBytes+1), "bytes"},
		{"environments", environments(rules.MaxEnvironments), environments(rules.MaxEnvironments + 1), "entries"},
		{
			"patterns in all",
			base + human + "protect:\n" + times(rules.MaxPatterns, "  - a/%d\n"),
			base + "environments:\n  production:\n    gate: human\n    also: {b: [acme/sre]}\nprotect:\n" + times(rules.MaxPatterns, "  - a/%d\n"),
			"path patterns",
		},
		{
			"patterns of names",
			base + "environments:\n  production:\n    gate: human\n    deployments:\n" + times(rules.MaxNamePatterns, "      - e%d\n"),
			base + "environments:\n  production:\n    gate: human\n    deployments:\n" + times(rules.MaxNamePatterns+1, "      - e%d\n"),
			"in all",
		},
		{
			"reviewers of a list",
			"version: 1\n" + human + "reviewers:\n" + times(rules.MaxReviewers, "  - user%d\n"),
			"version: 1\n" + human + "reviewers:\n" + times(rules.MaxReviewers+1, "  - user%d\n"),
			"entries",
		},
		{
			"credentials",
			base + human + "credentials:\n" + times(rules.MaxCredentials, "  c%d: {environment: production, target: t, capability: read, workflow: d.yml}\n"),
			base + human + "credentials:\n" + times(rules.MaxCredentials+1, "  c%d: {environment: production, target: t, capability: read, workflow: d.yml}\n"),
			"entries",
		},
		{
			"bytes of a text",
			base + human + "protect: [\"" + strings.Repeat("a/", 200) + "b\"]\n",
			base + human + "protect: [\"" + strings.Repeat("a/", rules.MaxTextBytes/2) + "b\"]\n",
			"bytes",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if ok, problems := loadPolicy("p.yml", []byte(c.within)); !ok {
				t.Errorf("just within: refused: %.300s", render(problems))
			}
			ok, problems := loadPolicy("p.yml", []byte(c.above))
			if ok || len(problems) == 0 || !strings.Contains(problems[0].Message, c.message) {
				t.Errorf("just above: loaded %v: %.300s", ok, render(problems))
			}
		})
	}
}

// A file made to be slow, or to grow when it is read, takes no longer than a big
// honest one.
func TestHostileFilesAreRefusedInTime(t *testing.T) {
	repeat := func(s string) string { return strings.Repeat(s, rules.MaxPolicyBytes/len(s)) }
	base := "version: 1\nreviewers: [acme/sre]\nenvironments:\n  production: {gate: human}\n"
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 30 {
		fmt.Fprintf(&bomb, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i, i, i, i, i, i, i)
	}
	many := func(format string) string {
		var b strings.Builder
		b.WriteString(base)
		for i := 0; b.Len() < rules.MaxPolicyBytes-200; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	stars := base + "  dev:\n    gate: auto\n    deployments:\n"
	for i := range 950 {
		stars += fmt.Sprintf("      - %q\n", strings.Repeat("a*", 100)+fmt.Sprint(i))
		stars += fmt.Sprintf("      - %q\n", strings.Repeat("a", 200)+fmt.Sprint(i))
	}
	for name, text := range map[string]string{
		"aliases of aliases": bomb.String(),
		"brackets":           repeat("["),
		"braces":             repeat("{a: "),
		"dashes":             repeat("- "),
		"questions":          repeat("? "),
		"comments":           repeat("#\n"),
		"commas":             "a: [" + strings.Repeat("b,", rules.MaxPolicyBytes/2-4) + "c]",
		"an open quote":      "a: \"" + repeat("\n")[8:],
		"unknown keys":       many("key%d: 1\n"),
		"a line of keys":     "{" + strings.Repeat("a: 1, ", rules.MaxPolicyBytes/6-1) + "}",
		"unknown places":     strings.Replace(many("  n%d: [10.0.0.0/8]\n"), "environments:", "networks:", 1),
		"name patterns":      stars[:min(len(stars), rules.MaxPolicyBytes)],
		"a long word":        "version: 1\n" + strings.Repeat("x", rules.MaxPolicyBytes-20) + ": 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			ok, problems := loadPolicy("p.yml", []byte(text))
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
			if honest := name == "name patterns"; ok != honest {
				t.Errorf("loaded: %v: %.500s", ok, render(problems))
			}
			checkProblems(t, []byte(text), problems)
		})
	}
}

// shuffled is a YAML file with the keys of every mapping in another order.
func shuffled(t testing.TB, data []byte, r *rand.Rand) []byte {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	var walk func(*yaml.Node)
	walk = func(n *yaml.Node) {
		for _, c := range n.Content {
			walk(c)
		}
		if n.Kind == yaml.MappingNode {
			r.Shuffle(len(n.Content)/2, func(i, j int) {
				n.Content[2*i], n.Content[2*j] = n.Content[2*j], n.Content[2*i]
				n.Content[2*i+1], n.Content[2*j+1] = n.Content[2*j+1], n.Content[2*i+1]
			})
		}
	}
	walk(&doc)
	out, err := yaml.Marshal(&doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What a policy means and what is wrong with it does not depend on the order of
// its keys.
func TestOrderOfKeysNeverMatters(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	kinds := func(problems []rules.Problem) []string {
		var out []string
		for _, p := range problems {
			out = append(out, string(p.Severity)+" "+p.Field)
		}
		slices.Sort(out)
		return out
	}
	for _, dir := range []string{"/ok", "/err"} {
		for _, name := range policyFiles(t, policyDir+dir) {
			data := readFile(t, name)
			var doc yaml.Node
			if bytes.Contains(data, []byte("&")) || bytes.Contains(data, []byte("!!")) || yaml.Unmarshal(data, &doc) != nil {
				continue
			}
			// What is said of two keys or teams stands at the later of them.
			skip := strings.Contains(name, "duplicate") || strings.Contains(name, "organisations") || strings.Contains(name, "shared-target") ||
				strings.Contains(name, "exclamation") || strings.Contains(name, "byte-order-mark") || strings.Contains(name, "two-documents") || strings.Contains(name, "merge-key")
			if skip {
				continue
			}
			want, wantProblems := loadPolicy("p.yml", data)
			for range 5 {
				text := shuffled(t, data, r)
				got, problems := loadPolicy("p.yml", text)
				if got != want || !slices.Equal(kinds(problems), kinds(wantProblems)) {
					t.Errorf("%s: loads %v and then %v:\n%s%s", name, want, got, text, render(problems))
				}
			}
		}
	}
}

// An anchor, a tag or a second document hides nothing: whatever else the file
// says, it does not load.
func TestNoYAMLBeyondTextListsAndMappings(t *testing.T) {
	good := string(readFile(t, policyDir+"/ok/short.yml"))
	if ok, problems := loadPolicy("p.yml", []byte(good)); !ok {
		t.Fatal(render(problems))
	}
	for name, change := range map[string][2]string{
		"an anchor on a list":      {"[acme/sre]", "&x [acme/sre]"},
		"an anchor on a mapping":   {"environments:", "environments: &x"},
		"an anchor on a key":       {"version:", "&x version:"},
		"a tag on a number":        {"version: 1", "version: !!int 1"},
		"a tag on text":            {"gate: auto", "gate: !!str auto"},
		"a tag on a mapping":       {"environments:", "environments: !!map"},
		"a local tag":              {"gate: auto", "gate: !gate auto"},
		"the non-specific tag":     {"gate: auto", "gate: ! auto"},
		"a verbatim tag":           {"gate: auto", "gate: !<tag:yaml.org,2002:str> auto"},
		"binary":                   {"gate: auto", "gate: !!binary YXV0bw=="},
		"a merge key":              {"    gate: auto", "    <<: {gate: auto}"},
		"a key that is a list":     {"version: 1", "version: 1\n? [a]\n: b"},
		"a key that is nothing":    {"version: 1", "version: 1\n: b"},
		"a second document":        {"version: 1", "version: 1\n---"},
		"a document end and more":  {"credentials:", "...\ncredentials:"},
		"a byte order mark inside": {"version", "\ufeffversion"},
		"a line separator":         {"gate: auto", "gate: auto\u2028    merge: true"},
		"a next-line character":    {"gate: auto", "gate: auto\u0085    merge: true"},
		"a carriage return":        {"gate: auto", "gate: auto #\r    merge: true"},
		"text over two lines":      {"gate: auto", "gate: \"auto\\n\""},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, change[0], change[1], 1)
			if text == good {
				t.Fatal("nothing was changed")
			}
			ok, problems := loadPolicy("p.yml", []byte(text))
			if ok || !rules.HasErrors(problems) {
				t.Errorf("loaded:\n%s", text)
			}
		})
	}
}

// A policy whose lines end as on Windows is the same policy.
func TestWindowsLineEnds(t *testing.T) {
	data := readFile(t, policyDir+"/ok/long.yml")
	_, want := loadPolicy("p.yml", data)
	ok, got := loadPolicy("p.yml", bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")))
	if !ok || render(got) != render(want) {
		t.Errorf("got:\n%swant:\n%s", render(got), render(want))
	}
}

func TestWhatALoadedPolicySays(t *testing.T) {
	p, problems := rules.LoadPolicy("p.yml", readFile(t, policyDir+"/ok/long.yml"))
	if p == nil {
		t.Fatal(render(problems))
	}
	if got, want := p.EnvironmentNames(), []string{"dev", "production", "production-read", "staging"}; !slices.Equal(got, want) {
		t.Errorf("environments %q, want %q", got, want)
	}
	if len(p.Digest()) != 64 {
		t.Errorf("digest %q", p.Digest())
	}
	production, dev := p.Environments["production"], p.Environments["dev"]
	if production.Gate != rules.GateHuman || time.Duration(production.MaxAge) != 24*time.Hour || production.Count != 1 {
		t.Errorf("production: %+v", production)
	}
	if want := (rules.CheckName{Name: "e2e", App: "circleci"}); len(dev.After) != 2 || dev.After[0].Name != "test" || dev.After[1] != want {
		t.Errorf("after: %+v", dev.After)
	}
	if !dev.Merge || len(production.Also["migrations/**"]) != 1 {
		t.Errorf("merge %v, also %v", dev.Merge, production.Also)
	}
	if c := p.Credentials["orders-migrator"]; c == nil || time.Duration(c.TTL) != 10*time.Minute {
		t.Errorf("credential: %+v", c)
	}
}

func TestSuggestions(t *testing.T) {
	for given, want := range map[string]string{
		"enviroments":  "environments",
		"break-glass":  "break_glass",
		"Reviewers":    "reviewers",
		"credentails":  "credentials",
		"zzzzzzzzzzzz": "",
	} {
		_, problems := rules.LoadPolicy("p.yml", []byte("version: 1\nreviewers: [acme/sre]\nenvironments:\n  production: {gate: human}\n"+given+": 1\n"))
		if len(problems) == 0 {
			t.Errorf("%s: accepted", given)
			continue
		}
		if got := problems[0].Message; want != "" && !strings.HasSuffix(got, fmt.Sprintf("did you mean %q?", want)) || want == "" && !strings.Contains(got, `want "agents"`) {
			t.Errorf("%s: %s", given, got)
		}
	}
}

func FuzzLoadPolicy(f *testing.F) {
	for _, dir := range []string{"/ok", "/err"} {
		for _, name := range policyFiles(f, policyDir+dir) {
			f.Add(readFile(f, name))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) { fuzzLoad(t, data, loadPolicy) })
}

func FuzzLoadTargets(f *testing.F) {
	for _, dir := range []string{"/ok", "/err"} {
		for _, name := range policyFiles(f, targetsDir+dir) {
			f.Add(readFile(f, name))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) { fuzzLoad(t, data, loadTargets) })
}

func fuzzLoad(t *testing.T, data []byte, load func(string, []byte) (bool, []rules.Problem)) {
	start := time.Now()
	ok, problems := load("p.yml", data)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if ok == rules.HasErrors(problems) {
		t.Errorf("loaded: %v, problems: %s", ok, render(problems))
	}
	checkProblems(t, data, problems)
	again, same := load("p.yml", data)
	if again != ok || render(same) != render(problems) {
		t.Errorf("the second time it says something else:\n%s\n%s", render(problems), render(same))
	}
}
