package sallyport_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/sallyport/sallyport"

// An arrow says what a set of packages must not import, and why. Packages are
// written as import paths, those of this module without its own path; "x/..." is
// x and everything below it.
type arrow struct {
	packages []string // it holds for these,
	except   []string // but not for these
	// reach must not be anywhere in the program that they make.
	reach []string
	// use must not be imported by them or by the packages of this module that
	// they import. For what other people's packages need anyway: fmt imports os.
	use []string
	// direct must not be imported by them themselves.
	direct []string
	why    string
}

// arrows are the directions of the design: cmd -> gate -> gate's sub-packages ->
// rules. Those between gate's sub-packages are made by siblings.
func arrows() []arrow {
	return []arrow{
		{
			packages: []string{"rules/..."}, except: []string{"rules/internal/..."},
			reach: []string{"gate/...", "cmd/...", "net", "net/http/...", "os/exec", "os/signal", "os/user", "database/sql/...", "plugin"},
			use:   []string{"os", "io/ioutil", "syscall", "log/...", "math/rand/...", "crypto/rand", "unsafe", "golang.org/x/sys/...", "golang.org/x/term"},
			why:   "judges take values and return a value: no files, no network, no process, no chance",
		},
		{
			packages: []string{"gate/..."},
			reach:    []string{"cmd/..."},
			why:      "a verb does not know who calls it",
		},
		{
			packages: []string{"cmd/sallyport/..."},
			reach: []string{
				"gate", "gate/store/...", "gate/web/...", "gate/webhook/...", "gate/statements/...",
				"database/sql", "modernc.org/...", "github.com/jackc/pgx/...", "github.com/mattn/go-sqlite3/...",
				"github.com/wasilibs/...", "github.com/tetratelabs/wazero/...",
				"net/http/pprof", "expvar",
				"testing", "pgregory.net/rapid", "github.com/rogpeppe/go-internal/...", "github.com/invopop/jsonschema",
			},
			use: []string{"database/sql/..."}, // a library for colours implements the interfaces of driver
			why: "the command line is small: no server, no database, nothing that only tests and generators need",
		},
		{
			packages: []string{"..."}, except: []string{"gate/github/..."},
			direct: []string{"github.com/google/go-github/...", "github.com/shurcooL/githubv4"},
			why:    "gate/github is the only package that talks to GitHub",
		},
		{
			packages: []string{"..."}, except: []string{"gate/github/githubtest/...", "cmd/demo"},
			reach: []string{"gate/github/githubtest/..."},
			why:   "the in-memory GitHub is for tests and the demo",
		},
		{
			packages: []string{"..."},
			reach:    []string{"github.com/palantir/policy-bot/..."},
			why:      "peers are compared in the module bench, and only there",
		},
	}
}

// siblings is one arrow for each sub-package of gate there is: it imports
// neither gate nor another of them.
func siblings(packages []string) []arrow {
	folders := map[string]bool{}
	for _, p := range packages {
		if rest, ok := strings.CutPrefix(p, module+"/gate/"); ok {
			folder, _, _ := strings.Cut(rest, "/")
			folders["gate/"+folder] = true
		}
	}
	var out []arrow
	for _, one := range slices.Sorted(maps.Keys(folders)) {
		a := arrow{packages: []string{one + "/..."}, reach: []string{"gate"}, why: "sub-packages of gate know neither gate nor each other; shared words live in rules"}
		for _, other := range slices.Sorted(maps.Keys(folders)) {
			if other != one {
				a.reach = append(a.reach, other+"/...")
			}
		}
		out = append(out, a)
	}
	return out
}

// covers reports whether a pattern of an arrow covers an import path.
func covers(pattern, importPath string) bool {
	first, _, _ := strings.Cut(pattern, "/")
	switch {
	case pattern == "...":
		return importPath == module || strings.HasPrefix(importPath, module+"/")
	case first == "rules" || first == "gate" || first == "cmd":
		pattern = module + "/" + pattern
	}
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return importPath == below || strings.HasPrefix(importPath, below+"/")
	}
	return importPath == pattern
}

func anyCovers(patterns []string, importPath string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return covers(p, importPath) })
}

// broken lists what breaks the arrows in a table from import path to imports, each
// with the way that leads there. An arrow that holds for no package at all is
// broken too: it would pass for ever.
func broken(arrows []arrow, imports map[string][]string) []string {
	var out []string
	for _, a := range arrows {
		held := 0
		for _, from := range slices.Sorted(maps.Keys(imports)) {
			if !anyCovers(a.packages, from) || anyCovers(a.except, from) {
				continue
			}
			held++
			complain := func(way []string) {
				out = append(out, fmt.Sprintf("%s must not import %s (%s)", strings.Join(way[:len(way)-1], " -> "), way[len(way)-1], a.why))
			}
			walk(imports, from, func(string) bool { return true }, a.reach, complain)
			walk(imports, from, func(p string) bool { return covers("...", p) }, a.use, complain)
			walk(imports, from, func(p string) bool { return p == from }, a.direct, complain)
		}
		if held == 0 {
			out = append(out, fmt.Sprintf("no package is %q except %q", a.packages, a.except))
		}
	}
	return out
}

// walk follows imports breadth first from a package, through packages that follow
// allows, and reports the shortest way to each forbidden one.
func walk(imports map[string][]string, from string, follow func(string) bool, forbidden []string, report func(way []string)) {
	before := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at != from && anyCovers(forbidden, at) {
			var way []string
			for p := at; p != ""; p = before[p] {
				way = append(way, p)
			}
			slices.Reverse(way)
			report(way)
			continue
		}
		if !follow(at) {
			continue
		}
		for _, next := range imports[at] {
			if _, seen := before[next]; !seen {
				before[next] = at
				queue = append(queue, next)
			}
		}
	}
}

func TestArrows(t *testing.T) {
	imports := listImports(t)
	for _, b := range broken(append(arrows(), siblings(slices.Collect(maps.Keys(imports)))...), imports) {
		t.Error(b)
	}
}

// listImports asks go list for every package of this module and everything that
// they import, tests left out.
func listImports(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports,ImportMap", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	imports := map[string][]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		imports[p.ImportPath] = p.Imports
	}
	// go test remembers a pass until a file changes that the test itself read, and
	// go list reads for itself: read the same files here, and hold the two to each
	// other on the way.
	for _, f := range goFiles(t, ".") {
		file, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		known := imports[path.Join(module, filepath.ToSlash(filepath.Dir(f)))]
		for _, i := range file.Imports {
			if p, _ := strconv.Unquote(i.Path.Value); !slices.Contains(known, p) && !constrained(t, f) {
				t.Errorf("%s imports %q, which go list does not know of", f, p)
			}
		}
	}
	return imports
}

// constrained reports whether a file is left out of some builds.
func constrained(t *testing.T, file string) bool {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(data), "\n//go:build ") || strings.HasPrefix(string(data), "//go:build ") ||
		strings.HasSuffix(file, "_windows.go") || strings.HasSuffix(file, "_linux.go") || strings.HasSuffix(file, "_darwin.go")
}

// goFiles are the Go files below a folder, without tests and other modules.
func goFiles(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != root && (strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() && p != root:
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil {
				return filepath.SkipDir
			}
		case strings.HasSuffix(p, ".go") && !strings.HasSuffix(p, "_test.go"):
			out = append(out, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A made-up program that breaks every kind of rule: a test of arrows that cannot
// fail holds nothing.
func TestArrowsBreak(t *testing.T) {
	own := func(p string) string { return module + "/" + p }
	sound := map[string][]string{
		own("cmd/sallyport"):               {own("gate/git"), own("gate/github"), own("rules")},
		own("cmd/sallyport-app"):           {own("gate"), own("gate/store")},
		own("cmd/demo"):                    {own("gate/github/githubtest")},
		own("gate"):                        {own("gate/github"), own("rules")},
		own("gate/git"):                    {own("rules"), "os/exec"},
		own("gate/github"):                 {own("rules"), "github.com/google/go-github/v82/github"},
		own("gate/github/githubtest"):      {own("gate/github"), "net/http"},
		own("gate/store"):                  {own("rules"), "database/sql"},
		own("rules"):                       {own("rules/paths"), "fmt"},
		own("rules/paths"):                 {"strings"},
		own("rules/internal/generate"):     {own("rules"), "os", "github.com/invopop/jsonschema"},
		"fmt":                              {"os"},
		"github.com/invopop/jsonschema":    {"net"},
		"github.com/bmatcuk/doublestar/v4": {"os"},
	}
	all := func(imports map[string][]string) []string {
		return broken(append(arrows(), siblings(slices.Collect(maps.Keys(imports)))...), imports)
	}
	if got := all(sound); len(got) > 0 {
		t.Fatalf("the sound program breaks: %q", got)
	}
	for _, c := range []struct{ from, to, want string }{
		{own("rules"), "os", own("rules") + " must not import os "},
		{own("rules/paths"), "os", own("rules") + " -> " + own("rules/paths") + " must not import os "},
		{own("rules/paths"), "net/http", own("rules/paths") + " must not import net/http "},
		{own("rules"), own("gate/git"), own("rules") + " must not import " + own("gate/git") + " "},
		{own("rules"), "github.com/invopop/jsonschema", own("rules") + " -> github.com/invopop/jsonschema must not import net "},
		{own("gate/git"), own("gate"), own("gate/git") + " must not import " + own("gate") + " "},
		{own("gate/git"), own("gate/store"), own("gate/git") + " must not import " + own("gate/store") + " "},
		{own("gate/store"), own("gate/github/githubtest"), own("gate/store") + " must not import " + own("gate/github/githubtest") + " "},
		{own("gate/git"), own("cmd/demo"), own("gate/git") + " must not import " + own("cmd/demo") + " "},
		{own("cmd/sallyport"), own("gate"), own("cmd/sallyport") + " must not import " + own("gate") + " "},
		{own("gate/git"), "database/sql", own("cmd/sallyport") + " -> " + own("gate/git") + " must not import database/sql "},
		{own("cmd/sallyport"), "modernc.org/sqlite", own("cmd/sallyport") + " must not import modernc.org/sqlite "},
		{own("gate/store"), "github.com/google/go-github/v82/github", own("gate/store") + " must not import github.com/google/go-github/v82/github "},
		{own("gate"), "github.com/palantir/policy-bot/policy", own("gate") + " must not import github.com/palantir/policy-bot/policy "},
	} {
		made := maps.Clone(sound)
		made[c.from] = append(slices.Clone(made[c.from]), c.to)
		if got := all(made); !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, c.want) }) {
			t.Errorf("%s importing %s: no complaint that begins with %q in %q", c.from, c.to, c.want, got)
		}
	}
	if got := broken([]arrow{{packages: []string{"rules/nothing"}}}, sound); len(got) != 1 {
		t.Errorf("an arrow for no package: %q, want one complaint", got)
	}
}

// The judges have no clock: the moment is a fact.
func TestJudgesHaveNoClock(t *testing.T) {
	for _, f := range goFiles(t, "rules") {
		if strings.HasPrefix(filepath.ToSlash(f), "rules/internal/") {
			continue
		}
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range clocks(t, f, src) {
			t.Errorf("%s: the present moment is a fact of what is judged", c)
		}
	}
}

func TestJudgesHaveNoClockBreaks(t *testing.T) {
	for src, want := range map[string]int{
		`package p; import "time"; var t = time.Now()`:                        1,
		`package p; import clock "time"; var d = clock.Since(x)`:              1,
		`package p; import "time"; var f = time.Now; var g = time.AfterFunc`:  2,
		`package p; import . "time"; var t = Now()`:                           1,
		`package p; import "time"; const d = time.Hour; var t = time.Unix(1)`: 0,
		`package p; var time clock; var t = time.Now()`:                       0,
	} {
		if got := clocks(t, "p.go", []byte(src)); len(got) != want {
			t.Errorf("%s: %q, want %d complaints", src, got, want)
		}
	}
}

// clocks lists where a Go file asks what time it is or waits for a time.
func clocks(t *testing.T, name string, src []byte) []string {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	local := ""
	for _, i := range file.Imports {
		if i.Path.Value != `"time"` {
			continue
		}
		local = "time"
		if i.Name != nil {
			local = i.Name.Name
		}
		if local == "." {
			out = append(out, files.Position(i.Pos()).String()+`: a dot import of "time"`)
		}
	}
	asks := []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker"}
	ast.Inspect(file, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := s.X.(*ast.Ident); ok && local != "" && x.Name == local && slices.Contains(asks, s.Sel.Name) {
			out = append(out, files.Position(s.Pos()).String()+": time."+s.Sel.Name)
		}
		return true
	})
	return out
}
