//go:build unix

package acttest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/rules"
)

const classifyPolicy = `version: 1
reviewers: [octocat, alice]
environments:
  dev: {gate: auto, paths: [docs/**], after: [test]}
  production: {gate: human}
`

// classify is a workflow that classifies after actions/checkout.
func classify(inputs string) string {
	return header + `      - uses: actions/checkout@v4
      - {id: classify, name: classify, uses: ACTION, with: {command: classify` + inputs + `}}
` + footer
}

func copilot() map[string]any {
	return map[string]any{"id": 198982749, "login": "Copilot", "type": "Bot"}
}

// pull makes the repository a checkout of a pull request that changes files, and gives its
// event.
func (j *job) pull(policy, branch, message string, files ...string) (event, pull map[string]any) {
	j.t.Helper()
	if policy != "" {
		j.write(rules.PolicyPath, policy)
		j.git("add", "-A")
		j.git("commit", "-q", "-m", "policy")
	}
	base := j.git("rev-parse", "HEAD")
	for _, f := range files {
		text := "changed"
		if f == rules.PolicyPath {
			text = strings.Replace(classifyPolicy, "docs/**", "src/**, .github/**", 1)
		}
		j.write(f, text)
	}
	j.git("add", "-A")
	j.git("commit", "-q", "--allow-empty", "--cleanup=verbatim", "-m", message)
	head := j.git("rev-parse", "HEAD")
	j.git("update-ref", "refs/remotes/origin/main", base)
	j.git("checkout", "-q", "--detach")
	repo := map[string]any{"id": 1, "name": "orders", "full_name": "acme/orders", "default_branch": "main"}
	pull = map[string]any{
		"number": 7, "title": "Explain retries", "body": "", "draft": false, "user": copilot(), "labels": []any{},
		"head": map[string]any{"ref": branch, "sha": head, "repo": repo}, "base": map[string]any{"ref": "main", "sha": base, "repo": repo},
		"changed_files": len(files), "commits": 1,
	}
	return map[string]any{"action": "synchronize", "number": 7, "sender": copilot(), "repository": repo, "pull_request": pull}, pull
}

// What classify says reaches later steps, the log, the files' annotations and the summary.
func TestRunnerClassify(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy, inputs string
		files          []string
		code           int
		says           string
		outputs        []string
		summary        string
	}{
		"docs": {classifyPolicy, "", []string{"docs/retries.md"}, 0, "", []string{
			"verdict", "wait", "authorship", "agent", "agent", "true", "agents", `["copilot"]`, "mixed", "false", "environments", `["dev"]`, "production", "false", "human-needed", "false",
		}, "no human is needed"},
		"source": {classifyPolicy, "", []string{"docs/retries.md", "src/retry.go"}, 0, "::notice file=src/retry.go,title=Sallyport%3A production::production asks a human: named by no environment", []string{
			"verdict", "wait", "environments", `["dev","production"]`, "production", "true", "human-needed", "true",
		}, "of octocat or alice for production"},
		"asked to fail":              {classifyPolicy, ", fail: 'true'", []string{"src/retry.go"}, 3, "a human is needed", []string{"production", "true", "human-needed", "true"}, "waits for a human"},
		"a looser policy of its own": {classifyPolicy, "", []string{rules.PolicyPath, "src/retry.go"}, 0, "::notice file=src/retry.go,", []string{"environments", `["production"]`, "human-needed", "true"}, "waits for a human"},
		"a broken policy":            {"version: 2\n", "", []string{"docs/retries.md"}, 2, "policy lint", []string{"verdict", "", "decision", ""}, ""},
		"a mistaken input":           {classifyPolicy, ", fail: 'yes'", []string{"docs/retries.md"}, 2, "want true or false", []string{"verdict", ""}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJob(t, classify(c.inputs))
			event, _ := j.pull(c.policy, "copilot/work", "Explain retries", c.files...)
			r := j.run("pull_request", event)
			if (r.code == 0) != (c.code == 0) {
				t.Fatalf("exit %d: %s", r.code, r.log)
			}
			r.want("classify", c.code, c.says, c.outputs...)
			said := r.said("classify")
			if got := strings.Contains(said, "Summary - ### Sallyport: "); got != (c.summary != "") || !strings.Contains(said, c.summary) {
				t.Errorf("the summary: %s", said)
			}
			if c.says == "" && strings.Contains(said, "::notice") {
				t.Errorf("an annotation: %s", said)
			}
		})
	}
}

// hostile are texts that a shell, an expression, the runner or Markdown would act on. None
// has a slash: each is a file's name too. $SEEN is a folder of the test's.
func hostile() []string {
	return []string{
		"$(touch $SEEN.PWNED)", "`touch $SEEN.PWNED`", "'; touch $SEEN.PWNED; '", `"; touch $SEEN.PWNED; #`, "a && touch $SEEN.PWNED", "${{ env.SEEN }}", "${{ github.token }}",
		"x\n::set-env name=PWNED::1\n::set-output name=verdict::allow", "x\n::add-mask::production\n::stop-commands::x", "%0A::error::PWNED", "\r\n##[set-output name=verdict;]allow",
		"x\nverdict=allow\nPWNED<<EOF\n1\nEOF\n", "x\n_GitHubActionsFileCommandDelimeter_\nverdict=allow\n", "\x1b[2J\x1b]0;PWNED\a", "-rf --help",
	}
}

// marks are the workflow commands that act took.
var marks = regexp.MustCompile(`(?m)^\[deploy/production\]   ([\x{2699}\x{2753}\x{2757}\x{1F6A7}\x{1F4AC}\x{1F4BE}].*)$`)

// An untrusted pull request tries to have something executed by its title, its body, its
// branch, its labels, its author, its files' names and its commits' messages.
func TestRunnerInjection(t *testing.T) {
	t.Parallel()
	texts := hostile()
	var files []string
	for i, text := range texts {
		files = append(files, fmt.Sprintf("src/%d %s", i, text))
	}
	all := strings.Join(texts, "\n")
	attack := func(workflow string) *running {
		j := newJob(t, workflow)
		event, pull := j.pull(classifyPolicy, "copilot/"+all, all, files...)
		labels := []any{}
		for _, text := range texts {
			labels = append(labels, map[string]any{"name": text})
		}
		pull["title"], pull["body"], pull["labels"] = all, all, labels
		pull["user"] = map[string]any{"id": 9, "login": all, "type": "User"}
		return j.run("pull_request", event, "-s", "GITHUB_TOKEN=not-a-token-of-anything")
	}

	r := attack(classify("") + `      - {name: commands work, if: always(), run: 'echo "::add-mask::a-word-to-hide"; echo "this is a-word-to-hide"'}` + "\n")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.log)
	}
	for _, name := range []string{"PWNED", filepath.Base(r.seen) + ".PWNED"} {
		if found := append(r.found(name), glob(t, r.seen+".PWNED")...); len(found) > 0 {
			t.Errorf("something was executed: %q", found)
		}
	}
	r.want("classify", 0, "", "verdict", "wait", "authorship", "agent", "mixed", "false", "environments", `["production"]`, "production", "true", "human-needed", "true")
	if outputs := r.steps()["classify"].Outputs; outputs["PWNED"] != "" || strings.Contains(fmt.Sprint(outputs), "not-a-token") {
		t.Errorf("outputs: %q", outputs)
	}
	if later := r.see("later"); strings.Contains(later, "\nPWNED=") {
		t.Errorf("a later step has PWNED: %s", later)
	}
	said := r.said("classify")
	notices := 0
	for _, m := range marks.FindAllStringSubmatch(said, -1) {
		switch text := m[1]; {
		case strings.Contains(text, "  ::notice file=src/") && strings.Contains(text, ",title=Sallyport%3A production::production asks a human: "):
			notices++
		case strings.Contains(text, "  ::set-output:: "), strings.Contains(text, "  Summary - "):
		default:
			t.Errorf("the runner was told %q", text)
		}
	}
	if notices != 10 {
		t.Errorf("%d annotations, want 10: %s", notices, said)
	}
	if strings.ContainsAny(said, "\x1b\a") {
		t.Errorf("the log has control characters: %q", said)
	}
	if !strings.Contains(r.said("commands work"), "this is ***") {
		t.Errorf("the runner takes commands no more: %s", r.said("commands work"))
	}

	// The same pull request against a workflow that does what ours does not.
	r = attack(header + `      - {name: naive, continue-on-error: true, run: 'echo "${{ github.event.pull_request.title }}"'}` + "\n")
	if len(glob(t, r.seen+".PWNED")) == 0 {
		t.Errorf("the attack is none: %s", r.log)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range list {
		t.Cleanup(func() { _ = os.Remove(name) }) // it is beside the test's own folder
	}
	return list
}
