package selftest

import (
	"bytes"
	_ "embed" // the workflow
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/sallyport/sallyport/rules"
)

// What the scratch repository holds and the walk makes in it.
const (
	// Marker says that a repository is there for this and nothing else.
	Marker = ".github/sallyport-selftest"
	// Workflow is the deploy workflow.
	Workflow = ".github/workflows/sallyport-selftest.yml"
	// CheckWorkflow has the job whose check a change that asks no human waits for.
	CheckWorkflow = ".github/workflows/sallyport-selftest-check.yml"
	// Environment is the GitHub environment that is deployed to.
	Environment = "sallyport-selftest-production"
	// Target is the credential's, in the server's targets file.
	Target = "sallyport-selftest"

	folder   = "sallyport-selftest/"
	branches = "sallyport-selftest/"
)

// maxFile is how large a file that is compared may be.
const maxFile = 64 << 10

// harmless are files besides ours that a scratch repository may have.
var harmless = []string{"README.md", "LICENSE", ".gitignore"}

//go:embed workflow.yml.tmpl
var workflowText string

const markerText = `# This repository is there for "sallyport-app selftest" alone: it opens pull requests,
# makes branches and starts deployments here. Delete this file to take that away.
repository: {{.Repository}}
reviewers: {{.Reviewers}}
`

const policyText = `version: 1
reviewers: [{{.Reviewers}}]
agents:
  also: [{id: sallyport-selftest, logins: ["{{.Slug}}[bot]"]}]
environments:
  dev:
    gate: auto
    merge: true
    paths: [sallyport-selftest/dev/**]
    after: [sallyport-selftest]
  production:
    gate: human
    deployments: [sallyport-selftest-production]
credentials:
  selftest: {environment: production, target: sallyport-selftest, capability: write, workflow: sallyport-selftest.yml}
`

const checkText = `# Written by "sallyport-app selftest --write".
name: sallyport-selftest-check
on:
  pull_request:
    branches: ["{{.Branch}}"]
permissions: {}
jobs:
  sallyport-selftest:
    runs-on: ubuntu-latest
    timeout-minutes: 5
    steps:
      - name: tests nothing
        run: "true"
`

// values are what the files depend on.
type values struct {
	Repository, Slug, Branch, URL string
	// Reviewers are logins and ORG/SLUG of teams, parted by commas.
	Reviewers string
	// Rule says that the environment has the protection rule.
	Rule bool
}

// reviewers is what a list of logins and teams looks like.
var reviewers = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,98}(?:/[A-Za-z0-9_-]{1,99})?(?:, ?[A-Za-z0-9][A-Za-z0-9_-]{0,98}(?:/[A-Za-z0-9_-]{1,99})?){0,9}\z`)

// branchName is what a default branch may be called here: nothing that means something
// in YAML or in a pattern of branches.
var branchName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,98}\z`)

// files are the contents of the repository's files by path.
func (v values) files() (map[string]string, error) {
	if !reviewers.MatchString(v.Reviewers) {
		return nil, fmt.Errorf("%q: want who approves, such as acme/sre, or two logins parted by a comma", v.Reviewers)
	}
	if !branchName.MatchString(v.Branch) {
		return nil, fmt.Errorf("the default branch %q has a name that cannot stand in the files; main would do", v.Branch)
	}
	out := map[string]string{}
	for path, text := range map[string]string{Marker: markerText, rules.PolicyPath: policyText, Workflow: workflowText, CheckWorkflow: checkText} {
		t, err := template.New(path).Delims("{{", "}}").Option("missingkey=error").Parse(text)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, v); err != nil {
			return nil, err
		}
		out[path] = b.String()
	}
	_, problems := rules.LoadPolicy(rules.PolicyPath, []byte(out[rules.PolicyPath]))
	for _, p := range problems {
		if p.Severity == rules.SeverityError {
			return nil, errors.New(p.Render())
		}
	}
	return out, nil
}

// reviewersOf reads a marker: who approves, if it is this repository's.
func reviewersOf(marker, fullName string) (string, error) {
	said := map[string]string{}
	for line := range strings.Lines(marker) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && !strings.HasPrefix(name, "#") {
			said[name] = strings.TrimSpace(value)
		}
	}
	if !strings.EqualFold(said["repository"], fullName) {
		return "", fmt.Errorf("%s names the repository %q, and this is %q", Marker, said["repository"], fullName)
	}
	if !reviewers.MatchString(said["reviewers"]) {
		return "", fmt.Errorf("%s names no reviewers", Marker)
	}
	return said["reviewers"], nil
}

// strangers are the paths that no scratch repository has.
func strangers(paths []string) []string {
	var out []string
	for _, p := range paths {
		if p != Marker && p != Workflow && p != CheckWorkflow && p != rules.PolicyPath && !strings.HasPrefix(p, folder) && !slices.Contains(harmless, p) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// write writes files below a folder. One that is there and differs stops it before
// anything is written.
func write(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // a link in it leads nowhere else
	if err != nil {
		return err
	}
	defer root.Close()
	var paths []string
	for path, text := range files {
		paths = append(paths, path)
		switch old, err := root.ReadFile(filepath.FromSlash(path)); {
		case err == nil && string(old) != text:
			return fmt.Errorf("%s is there already and says something else; delete it first", filepath.Join(dir, path))
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	slices.Sort(paths)
	for _, path := range paths {
		at := filepath.FromSlash(path)
		if err := root.MkdirAll(filepath.Dir(at), 0o750); err != nil {
			return err
		}
		if err := root.WriteFile(at, []byte(files[path]), 0o600); err != nil {
			return err
		}
	}
	return nil
}
