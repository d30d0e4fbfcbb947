package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// checkout is a repository as actions/checkout leaves it with fetch-depth: 0, and the event
// of a pull request.
type checkout struct {
	t          *testing.T
	dir        string
	base, head string
	event      map[string]any
}

func (c *checkout) git(args ...string) string {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), "git", append([]string{"-C", c.dir, "-c", "core.quotePath=false"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Copilot", "GIT_AUTHOR_EMAIL=198982749+Copilot@users.noreply.github.com",
		"GIT_COMMITTER_NAME=Copilot", "GIT_COMMITTER_EMAIL=198982749+Copilot@users.noreply.github.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("git %q: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (c *checkout) write(name, text string) {
	c.t.Helper()
	file := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

const classifyPolicy = `version: 1
reviewers: [octocat, alice]
environments:
  dev: {gate: auto, paths: [docs/**], after: [test]}
  production: {gate: human}
`

// newCheckout has a pull request that changes files; policy is the default branch's.
func newCheckout(t *testing.T, policy, branch, message string, files ...string) *checkout {
	t.Helper()
	c := &checkout{t: t, dir: t.TempDir()}
	c.git("init", "-q", "-b", "main")
	if policy != "" {
		c.write(".github/sallyport.yml", policy)
	}
	c.write("README.md", "x")
	c.git("add", "-A")
	c.git("commit", "-q", "-m", "base")
	c.base = c.git("rev-parse", "HEAD")
	for _, f := range files {
		c.write(f, "changed")
	}
	// Another policy on the pull request's own branch must not count.
	c.git("add", "-A")
	c.git("commit", "-q", "--allow-empty", "-m", message)
	c.head = c.git("rev-parse", "HEAD")
	c.git("update-ref", "refs/remotes/origin/main", c.base)
	c.git("checkout", "-q", "--detach")
	c.event = map[string]any{
		"action": "synchronize", "sender": copilot(), "repository": map[string]any{"id": 1, "full_name": "acme/orders", "default_branch": "main"},
		"pull_request": map[string]any{
			"number": 7, "title": "Explain retries", "body": "", "draft": false, "user": copilot(), "labels": []any{},
			"head": map[string]any{"ref": branch, "sha": c.head, "repo": map[string]any{"id": 1, "full_name": "acme/orders"}}, "base": map[string]any{"ref": "main", "sha": c.base},
			"changed_files": len(files), "commits": 1,
		},
	}
	return c
}

func copilot() map[string]any {
	return map[string]any{"id": 198982749, "login": "Copilot", "type": "Bot"}
}

func (c *checkout) pull() map[string]any { return c.event["pull_request"].(map[string]any) } //nolint:errcheck,forcetypeassert // made above

// classified is what came of a run.
type classified struct {
	ran

	outputs map[string]string
	summary string
}

func (c *checkout) classify(env ...string) classified {
	c.t.Helper()
	dir := c.t.TempDir()
	event, err := json.Marshal(c.event)
	if err != nil {
		c.t.Fatal(err)
	}
	file := filepath.Join(dir, "event.json")
	if err := os.WriteFile(file, event, 0o600); err != nil {
		c.t.Fatal(err)
	}
	l := newLeases(c.t)
	r := l.run(append([]string{
		"GITHUB_WORKSPACE=" + c.dir, "GITHUB_EVENT_NAME=pull_request", "GITHUB_EVENT_PATH=" + file, "GITHUB_OUTPUT=" + filepath.Join(dir, "o"), "GITHUB_STEP_SUMMARY=" + filepath.Join(dir, "s"),
		"GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
	}, env...), "action", "classify")
	if len(l.calls) > 0 {
		c.t.Errorf("asked somebody: %q", l.calls)
	}
	out := classified{ran: r, outputs: map[string]string{}}
	text, err := os.ReadFile(filepath.Join(dir, "o"))
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for i := 0; i < len(lines); i++ {
		if name, delimiter, ok := strings.Cut(lines[i], "<<"); ok {
			var value []string
			for i++; lines[i] != delimiter; i++ {
				value = append(value, lines[i])
			}
			out.outputs[name] = strings.Join(value, "\n")
		}
	}
	summary, err := os.ReadFile(filepath.Join(dir, "s"))
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	out.summary = string(summary)
	return out
}

func (r *classified) want(t *testing.T, code int, pairs ...string) {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit %d, want %d: %s%s", r.code, code, r.stdout, r.stderr)
	}
	for i := 0; i < len(pairs); i += 2 {
		if got := r.outputs[pairs[i]]; got != pairs[i+1] {
			t.Errorf("%s is %q, want %q", pairs[i], got, pairs[i+1])
		}
	}
}

func TestActionClassify(t *testing.T) {
	r := newCheckout(t, classifyPolicy, "copilot/docs", "Explain retries", "docs/retries.md").classify()
	r.want(t, 0, "authorship", "agent", "agent", "true", "agents", `["copilot"]`, "mixed", "false", "environments", `["dev"]`, "production", "false", "human-needed", "false", "verdict", "wait")
	if strings.Contains(r.stdout, "::notice") || !strings.Contains(r.summary, "no human is needed") {
		t.Errorf("%s\n%s", r.stdout, r.summary)
	}

	r = newCheckout(t, classifyPolicy, "copilot/src", "Retry", "docs/retries.md", "src/retry.go").classify()
	r.want(t, 0, "agent", "true", "environments", `["dev","production"]`, "production", "true", "human-needed", "true")
	if strings.Count(r.stdout, "::notice") != 1 || !strings.Contains(r.stdout, "::notice file=src/retry.go,title=Sallyport%3A production::production asks a human: named by no environment\n") ||
		!strings.Contains(r.summary, "of octocat or alice for production") {
		t.Errorf("%s\n%s", r.stdout, r.summary)
	}
	var d struct {
		Verdict string `json:"verdict"`
	}
	if err := json.Unmarshal([]byte(r.outputs["decision"]), &d); err != nil || d.Verdict != "wait" {
		t.Errorf("decision %q: %v", r.outputs["decision"], err)
	}

	// Asked for, a needed human is a failure.
	c := newCheckout(t, classifyPolicy, "copilot/src", "Retry", "src/retry.go")
	r = c.classify("INPUT_FAIL=true")
	r.want(t, ExitHuman, "human-needed", "true")
	r = c.classify("INPUT_FAIL=yes")
	r.want(t, ExitUsage)
	// A fork's agent earns nothing.
	c = newCheckout(t, classifyPolicy, "copilot/docs", "Explain retries", "docs/retries.md")
	c.pull()["head"].(map[string]any)["repo"] = map[string]any{"id": 5, "full_name": "eve/orders"} //nolint:errcheck,forcetypeassert // made above
	r = c.classify()
	r.want(t, 0, "human-needed", "true")
}

// The policy is the default branch's, whatever the pull request brings.
func TestActionClassifyPolicy(t *testing.T) {
	c := newCheckout(t, classifyPolicy, "copilot/policy", "Loosen", "src/retry.go")
	c.git("checkout", "-q", "-b", "copilot/policy")
	c.write(".github/sallyport.yml", strings.Replace(classifyPolicy, "docs/**", "src/**, .github/**", 1))
	c.git("commit", "-q", "-a", "-m", "Loosen")
	c.head = c.git("rev-parse", "HEAD")
	c.pull()["head"].(map[string]any)["sha"] = c.head //nolint:errcheck,forcetypeassert // made above
	c.pull()["commits"] = 2
	r := c.classify()
	r.want(t, 0, "environments", `["production"]`, "human-needed", "true")

	// Without one nothing is known to be less than production.
	r = newCheckout(t, "", "copilot/docs", "Explain", "docs/retries.md").classify()
	r.want(t, 0, "production", "true", "human-needed", "true", "verdict", "wait")
	r = newCheckout(t, "version: 2\n", "copilot/docs", "Explain", "docs/retries.md").classify()
	r.want(t, ExitUsage)
}

// A checkout that does not have it all is none to judge by.
func TestActionClassifyShallow(t *testing.T) {
	c := newCheckout(t, classifyPolicy, "copilot/docs", "Explain", "docs/retries.md")
	c.pull()["commits"] = 5
	r := c.classify()
	r.want(t, ExitError)
	if !strings.Contains(r.stdout, "fetch-depth: 0") || len(r.outputs) > 0 {
		t.Errorf("%s %q", r.stdout, r.outputs)
	}
	c.pull()["head"].(map[string]any)["sha"] = strings.Repeat("a", 40) //nolint:errcheck,forcetypeassert // made above
	if r := c.classify(); r.code != ExitError || !strings.Contains(r.stdout, "fetch-depth: 0") {
		t.Errorf("exit %d: %s", r.code, r.stdout)
	}
	c.event = map[string]any{"repository": map[string]any{"id": 1}}
	if r := c.classify(); r.code != ExitError || !strings.Contains(r.stdout, "pull_request events") {
		t.Errorf("exit %d: %s", r.code, r.stdout)
	}
}

// codes are spans of code, in which nothing means anything.
var codes = regexp.MustCompile("`[^`\\n]*`")

var spoken = regexp.MustCompile(`^::(error|notice|add-mask) ?[^:]*::`)

// Nothing of a pull request is a command, a value of its own, or Markdown.
func TestActionClassifyInjection(t *testing.T) {
	for _, text := range []string{
		"x\n::set-output name=human-needed::false", "%0A::error::x", "::stop-commands::x", "##[set-output name=verdict;]allow", "${{ github.token }}", "$(touch pwned)", "`touch pwned`",
		"\x1b[2J", "x\n_GitHubActionsFileCommandDelimeter_\nhuman-needed<<X\nfalse\nX\n", "<img src=x onerror=alert(1)>", "@acme/sre #1 [x](javascript:x)",
	} {
		file := strings.NewReplacer("/", "_").Replace("src/" + text)
		c := newCheckout(t, classifyPolicy, "copilot/"+text, "Fix "+text, file)
		c.pull()["title"], c.pull()["body"], c.pull()["labels"] = text, text, []any{map[string]any{"name": text}}
		c.pull()["user"] = map[string]any{"id": 9, "login": text, "type": "User"}
		r := c.classify()
		r.want(t, 0, "human-needed", "true", "verdict", "wait")
		if len(r.outputs) != 10 {
			t.Errorf("%q: outputs %q", text, r.outputs)
		}
		for line := range strings.Lines(r.stdout + r.stderr) {
			line = strings.TrimRight(line, "\n")
			if strings.ContainsAny(line, "\x1b\r") || strings.Contains(line, "##[") && !spoken.MatchString(line) || strings.HasPrefix(strings.TrimSpace(line), "::") && !strings.HasPrefix(line, "::notice file=src_") {
				t.Errorf("%q: the log has %q", text, line)
			}
		}
		if strings.Contains(codes.ReplaceAllString(r.summary, ""), "<img") || strings.Contains(r.summary, "\x1b") || strings.Contains(r.summary, "\n::") {
			t.Errorf("%q: the summary has %s", text, r.summary)
		}
		if _, err := os.Stat(filepath.Join(c.dir, "pwned")); err == nil {
			t.Fatal("something was run")
		}
	}
}
