package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func someGate() gateOptions {
	return gateOptions{Uses: "sallyport/sallyport@v1", Server: "${{ vars.SALLYPORT_URL }}", Gated: func(e string) bool { return e != "dev" }}
}

// deployWorkflow has changes far enough apart for two hunks, and close enough for one.
const deployWorkflow = `on: push
jobs:
  a:
    environment: production
    steps:
      - run: a
  b:
    environment: dev
    runs-on: ubuntu-latest
    env:
      ONE: 1
      TWO: 2
      THREE: 3
      FOUR: 4
    steps:
      - run: b
  c:
    environment: production
    permissions: {contents: read}
    steps:
      - run: c
`

// What the diff says is what --apply does: git agrees, whatever the lines end with.
func TestGitAppliesTheDiff(t *testing.T) {
	for name, text := range map[string]string{
		"plain":         deployWorkflow,
		"CRLF":          strings.ReplaceAll(deployWorkflow, "\n", "\r\n"),
		"no last end":   strings.TrimSuffix(deployWorkflow, "\n"),
		"empty at last": deployWorkflow + "\n\n",
		"at the top":    "jobs: {}\n",
		"one job":       "jobs:\n a:\n  environment: x\n  steps:\n  - run: a",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "w.yml")
			w := readWorkflow("w.yml", []byte(text), someGate())
			if w == nil {
				t.Fatal("it is no workflow")
			}
			if len(w.edits) == 0 {
				if string(w.edited()) != text {
					t.Error("it changes without a change")
				}
				return
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			git := exec.CommandContext(t.Context(), "git", "apply", "--whitespace=nowarn", "-")
			git.Dir, git.Stdin = dir, strings.NewReader(visibleLines(w.diff())) // as it is printed
			git.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
			if out, err := git.CombinedOutput(); err != nil {
				t.Fatalf("git: %v\n%s\n%s", err, out, w.diff())
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(w.edited()) {
				t.Errorf("git makes\n%s\nand --apply\n%s", got, w.edited())
			}
			again := readWorkflow("w.yml", got, someGate())
			if again == nil || len(again.edits) > 0 {
				t.Errorf("a second look changes it again: %+v", again)
			}
		})
	}
}

// Forms that are not changed, each with a word on why.
func TestWorkflowsThatAreLeftAlone(t *testing.T) {
	const job = "jobs:\n  a:\n    environment: production\n"
	for words, text := range map[string]string{
		"no steps":                              job + "    uses: ./.github/workflows/x.yml\n",
		"add the step by hand":                  job + "    steps: [{run: a}]\n",
		"add the step by  hand":                 job + "    steps: &s\n      - run: a\n",
		"add the step by   hand":                job + "    steps: []\n",
		"not written one by one":                job + "    permissions: read-all\n    steps:\n      - run: a\n",
		`id-token is "none"`:                    job + "    permissions: {id-token: none}\n    steps:\n      - run: a\n",
		"not written one by  one":               "permissions: read-all\n" + job + "    steps:\n      - run: a\n",
		"character that cannot start any token": job + "    steps:\n\t- run: a\n",
		"UTF-8":                                 job + "    steps:\n      - run: caf\xe9\n",
		"job b: its steps":                      "jobs:\n  a:\n    environment: &e production\n    steps: [{run: a}]\n  b:\n    environment: *e\n    steps: [{run: a}]\n",
		"in a way that init":                    job + "    permissions:\n      {contents: read}\n    steps:\n      - run: a\n",
	} {
		w := readWorkflow("w.yml", []byte(text), someGate())
		if w == nil {
			t.Fatalf("%s is no workflow", text)
		}
		if len(w.edits) > 0 || string(w.edited()) != text {
			t.Errorf("it is changed:\n%s", w.diff())
		}
		if notes := strings.Join(w.notes, "\n"); !strings.Contains(notes, strings.Join(strings.Fields(words), " ")) {
			t.Errorf("it is not said: %s, but %q", words, notes)
		}
	}
	for _, none := range []string{"", "a", "- a", "jobs: 1", "\x00", "a: [", "jobs: {a: 1}", strings.Repeat("a", 2<<20)} {
		if w := readWorkflow("w.yml", []byte(none), someGate()); w != nil && len(w.edits) > 0 {
			t.Errorf("%.20q is changed", none)
		}
	}
}

// No text of a workflow makes a change that is more than the gate and permissions.
// A called workflow gets no more than its callers have, who are in other files.
func TestCallersOfAWorkflow(t *testing.T) {
	const job = "jobs:\n  a:\n    environment: production\n    steps:\n      - run: a\n"
	for text, want := range map[string]bool{
		"on: workflow_call\n" + job:                                          true,
		"on: [push, workflow_call]\n" + job:                                  true,
		"on:\n  workflow_call:\n" + job:                                      true,
		"on: push\n" + job:                                                   false,
		"on: workflow_call\npermissions: {id-token: write}\n" + job:          false,
		"on: {workflow_dispatch: {inputs: {workflow_call: {}}}}\n" + job:     false,
		"on: workflow_call\n" + strings.Replace(job, "production", "dev", 1): false,
	} {
		w := readWorkflow("w.yml", []byte(text), someGate())
		if got := strings.Contains(strings.Join(w.notes, "\n"), "each job that calls it needs id-token: write"); got != want {
			t.Errorf("callers are named: %v, of\n%s", got, text)
		}
	}
}

func FuzzWorkflow(f *testing.F) {
	f.Add(deployWorkflow)
	f.Add("permissions: {contents: read}\njobs:\n  a:\n    environment: {name: x}\n    steps: # c\n\n    # d\n    - uses: a\n")
	f.Add("jobs:\n  a:\n    environment: x\n    steps:\n      -\n        run: a\n")
	f.Add("jobs: {a: {environment: x, steps: [{run: a}]}}")
	f.Fuzz(func(t *testing.T, text string) {
		w := readWorkflow("w.yml", []byte(text), someGate())
		if w == nil {
			return
		}
		if len(w.edits) == 0 {
			if string(w.edited()) != text {
				t.Errorf("it changes without a change:\n%q\n%q", text, w.edited())
			}
			return
		}
		if !w.holds(someGate()) {
			t.Errorf("it says something else:\n%s", w.diff())
		}
		gone := 0
		for _, e := range w.edits {
			gone += e.remove
		}
		if got := len(strings.SplitAfter(string(w.edited()), "\n")); got < len(w.lines) || gone > len(w.edits) {
			t.Errorf("lines are lost:\n%s", w.diff())
		}
		_ = w.diff()
	})
}
