//go:build unix

package acttest_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// installed is what act says of the step that got the program.
var installed = regexp.MustCompile(`Success - Main exec bash "\$ACTION_PATH/\.github/action/install\.sh" \[([^\]]+)\]`)

// The program is the release that the action's tree vouches for, fetched once for the job,
// and is on the PATH of later steps if setup was asked for.
func TestRunnerRelease(t *testing.T) {
	t.Parallel()
	j := newJob(t, header+`      - uses: actions/checkout@v4
      - {id: setup, name: setup, uses: ACTION, with: {command: setup}}
      - {id: classify, name: classify, uses: ACTION, with: {command: classify}}
      - {id: version, name: version, run: 'sallyport --version'}
`+footer)
	j.action(share(t).tree)
	event, _ := j.pull(classifyPolicy, "copilot/work", "Explain retries", "docs/retries.md")
	r := j.run("pull_request", event)
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.log)
	}
	r.want("setup", 0, "release v1.2.3", "verdict", "")
	r.want("classify", 0, "release v1.2.3", "verdict", "wait", "sallyport", r.steps()["setup"].Outputs["sallyport"])
	r.want("version", 0, "sallyport")
	times := installed.FindAllStringSubmatch(r.log.String(), -1)
	if len(times) != 2 {
		t.Fatalf("%q: %s", times, r.log)
	}
	t.Logf("fetched in %s, found again in %s", times[0][1], times[1][1])

	// An archive that is another than the tree says is never run, whatever it is.
	j = newJob(t, header+`      - {id: setup, name: setup, uses: ACTION, with: {command: setup}}
      - {id: version, name: version, run: 'sallyport --version'}
`+footer)
	tree := t.TempDir()
	if err := os.CopyFS(tree, os.DirFS(share(t).tree)); err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(tree, ".github/release/checksums.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, ".github/release/checksums.txt"), append([]byte(strings.Repeat("0", 64)), sums[64:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	j.action(tree)
	if r := j.run("push", push()); r.code == 0 || strings.Contains(r.log.String(), "Run Main version") || r.steps()["setup"].Outputs["sallyport"] != "" {
		t.Errorf("exit %d: %s", r.code, r.log)
	}
}

// Where the tree is of no release, the program is built from it.
func TestRunnerBuild(t *testing.T) {
	t.Parallel()
	theAct(t)
	tree := t.TempDir()
	copySource(t, tree)
	j := newJob(t, classify(""))
	j.action(tree)
	out, err := exec.CommandContext(t.Context(), "go", "env", "-json", "GOCACHE", "GOMODCACHE", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{}
	if err := json.Unmarshal(out, &vars); err != nil {
		t.Fatal(err)
	}
	for name, value := range vars {
		j.vars[name] = value
	}
	j.vars["GOPROXY"], j.vars["GOTOOLCHAIN"] = "off", "local"
	event, _ := j.pull(classifyPolicy, "copilot/work", "Explain retries", "docs/retries.md")
	r := j.run("pull_request", event)
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.log)
	}
	r.want("classify", 0, "built from the source of this action", "verdict", "wait", "environments", `["dev"]`)
	t.Logf("built in %s, with what Go's cache had", installed.FindStringSubmatch(r.log.String())[1])
}

// copySource copies what the program is built from.
func copySource(t *testing.T, tree string) {
	t.Helper()
	const root = "../../.."
	for _, name := range []string{"go.mod", "go.sum", "action.yml", ".github/action", "cmd/sallyport", "gate", "rules"} {
		err := filepath.WalkDir(filepath.Join(root, name), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				if slices.Contains([]string{"testdata", "githubtest", "acttest"}, d.Name()) {
					return fs.SkipDir
				}
				return nil
			}
			if strings.HasSuffix(path, "_test.go") {
				return nil
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, rel)), 0o700); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(tree, rel), text, 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
