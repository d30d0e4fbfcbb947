package rules_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/sallyport/sallyport/rules"
)

var updateStarter = flag.Bool("update-starter", false, "rewrite the policies in testdata/starter")

// lookAt is a repository as an archive has it. Its comment's first line can be
// "owner: NAME"; the file WANT is the policy expected for it.
func lookAt(a *txtar.Archive) rules.Look {
	look := rules.Look{Contents: map[string][]byte{}}
	if o, ok := strings.CutPrefix(strings.SplitN(string(a.Comment), "\n", 2)[0], "owner: "); ok {
		look.Owner = o
	}
	for _, f := range a.Files {
		if f.Name != "WANT" {
			look.Files = append(look.Files, f.Name)
		}
	}
	for _, f := range a.Files {
		if slices.Contains(rules.StarterReads(look.Files), f.Name) {
			look.Contents[f.Name] = f.Data
		}
	}
	return look
}

func TestStarter(t *testing.T) {
	files, err := filepath.Glob("../testdata/starter/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			look := lookAt(a)
			got := rules.Starter(look)
			want := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "WANT" })
			if want < 0 {
				a.Files, want = append(a.Files, txtar.File{Name: "WANT"}), len(a.Files)
			}
			if *updateStarter {
				a.Files[want].Data = got
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if string(got) != string(a.Files[want].Data) {
				t.Errorf("got\n%s\nwant\n%s", got, a.Files[want].Data)
			}
			if _, problems := rules.LoadPolicy("starter.yml", got); len(problems) > 0 {
				t.Errorf("it does not lint: %v", problems)
			}
			slices.Reverse(look.Files)
			if again := rules.Starter(look); string(again) != string(got) {
				t.Error("the order of files shows")
			}
		})
	}
}

// A repository may hold names that were made to get something into the policy.
func TestStarterIsNotSteeredByNames(t *testing.T) {
	workflow := func(env string) rules.Look {
		return rules.Look{
			Files:    []string{".github/workflows/x.yml"},
			Contents: map[string][]byte{".github/workflows/x.yml": fmt.Appendf(nil, "on: pull_request\njobs:\n  test:\n    environment: %s\n", env)},
		}
	}
	auto := func(t *testing.T, look rules.Look, path string) bool {
		t.Helper()
		text := rules.Starter(look)
		p, problems := rules.LoadPolicy("starter.yml", text)
		if len(problems) > 0 {
			t.Fatalf("%v\n%s", problems, text)
		}
		return rules.Place(p, path).Gate == rules.GateAuto
	}
	for _, path := range []string{
		"deploy/dev*/x", "deploy/{dev,prod}/x", "deploy/dev/../../src/x", "**/dev/x", "deploy/production/dev/x", "prod/deploy/staging/x",
		".github/deploy/dev/x", "src/dev/x", "dev/x", "staging/x", "deploy/prod-test/x", "deploy/dev\n- \"**\"\n/x",
	} {
		t.Run(path, func(t *testing.T) {
			for _, other := range []string{path, "src/main.go", "deploy/production/values.yml", ".github/workflows/x.yml"} {
				if auto(t, rules.Look{Files: []string{path}}, other) {
					t.Errorf("%q became automatic", other)
				}
			}
		})
	}
	for _, env := range []string{
		"production", "prod", "prod-test", "test-prod", "preproduction", "live-test", "testpypi", "latest", "device", "contest", "preview-production",
		`"*"`, `"dev*"`, `"**"`, `"{dev,production}"`, `"!dev"`, `"${{ inputs.env }}"`, `"dev\n    gate: auto"`, `["dev"]`, `"dev]\nproduction"`,
	} {
		t.Run(env, func(t *testing.T) {
			text := string(rules.Starter(workflow(env)))
			if strings.Contains(text, "gate: auto") {
				t.Errorf("it became automatic:\n%s", text)
			}
			if _, problems := rules.LoadPolicy("starter.yml", []byte(text)); len(problems) > 0 {
				t.Errorf("%v\n%s", problems, text)
			}
		})
	}
	for _, env := range []string{"dev", "Development", "staging-2", "preview", "pr-preview", "test_eu"} {
		if text := string(rules.Starter(workflow(env))); !strings.Contains(text, "gate: auto") {
			t.Errorf("%s is not automatic:\n%s", env, text)
		}
	}
}

func FuzzStarter(f *testing.F) {
	f.Add("docs/a.md\ndeploy/dev/x\na_test.go", "on: pull_request\njobs: {test: {environment: dev}}", "* @acme/sre @octocat", "acme")
	f.Add("x", "on: [", "* @a @A @b/c", "-")
	f.Add("x", "jobs: {a: {environment: Production}, b: {environment: {name: production}}, c: {environment: Dev}, d: {environment: dev}}", "", "acme")
	f.Fuzz(func(t *testing.T, files, workflow, owners, owner string) {
		look := rules.Look{
			Files:    append(strings.Split(files, "\n"), ".github/workflows/w.yml", "CODEOWNERS"),
			Contents: map[string][]byte{".github/workflows/w.yml": []byte(workflow), "CODEOWNERS": []byte(owners)},
			Owner:    owner,
		}
		text := rules.Starter(look)
		p, problems := rules.LoadPolicy("starter.yml", text)
		if len(problems) > 0 {
			t.Fatalf("%v\n%s", problems, text)
		}
		for _, path := range []string{"src/main.go", ".github/workflows/w.yml", "CODEOWNERS", "deploy/production/x"} {
			if rules.Place(p, path).Gate == rules.GateAuto {
				t.Fatalf("%s became automatic:\n%s", path, text)
			}
		}
	})
}

// A check that does not report on every pull request would hold the others for
// ever.
func TestStarterNamesOnlyChecksThatAlwaysReport(t *testing.T) {
	for on, named := range map[string]bool{
		"pull_request": true, "[push, pull_request]": true, "{pull_request: {}}": true, "{pull_request: {branches: [main]}}": true,
		"push": false, "{pull_request: {paths: [src/**]}}": false, "{pull_request: {paths-ignore: [docs/**]}}": false, "{pull_request: {types: [labeled]}}": false,
	} {
		look := rules.Look{
			Files:    []string{".github/workflows/ci.yml", "docs/a.md"},
			Contents: map[string][]byte{".github/workflows/ci.yml": []byte("on: " + on + "\njobs: {test: {runs-on: x}}\n")},
		}
		if got := strings.Contains(string(rules.Starter(look)), "    after: [test]"); got != named {
			t.Errorf("on: %s: the check is named: %v, want %v", on, got, named)
		}
	}
}
