package rules

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/rules/paths"
)

// These look at what the judges get, which nothing outside the package can see.

func compiled(t *testing.T, text string) *Policy {
	t.Helper()
	p, problems := LoadPolicy("p.yml", []byte(text))
	if p == nil {
		t.Fatal(problems)
	}
	return p
}

// What a policy leaves out is the strict default, and its own roles never take
// the place of the built-in ones.
func TestDefaultsOfAnEnvironment(t *testing.T) {
	p := compiled(t, "version: 1\nreviewers: [acme/sre]\nenvironments:\n  dev: {gate: auto}\n  production: {gate: human}\n")
	dev, production := p.Environments["dev"], p.Environments["production"]
	if got := production.steps(); !slices.Equal(got, []Step{StepMerge, StepDeploy}) {
		t.Errorf("steps %v", got)
	}
	if got := production.count(); got != 1 {
		t.Errorf("count %d", got)
	}
	if got := production.acceptDeploy(); !slices.Equal(got, []Accepted{AcceptCheckButton, AcceptDashboard}) {
		t.Errorf("accept.deploy %v", got)
	}
	if got, limited := production.maxAge(StepDeploy); got != 24*time.Hour || !limited {
		t.Errorf("max_age of a deploy approval: %v, %v", got, limited)
	}
	if _, limited := production.maxAge(StepMerge); limited {
		t.Error("a merge approval runs out")
	}
	if got := production.events(); !slices.Equal(got, []string{"push", "release"}) {
		t.Errorf("events %v", got)
	}
	if got := dev.events(); got != nil {
		t.Errorf("events with gate auto %v", got)
	}
	if got := production.reviewersOf(p); !slices.Equal(got, []Reviewer{"acme/sre"}) {
		t.Errorf("reviewers %v", got)
	}
	loose := &Environment{Exclude: []Role{RolePusher}}
	if got := loose.excluded(); !slices.Equal(got, append(ExcludedRoles(), RolePusher)) {
		t.Errorf("excluded %v", got)
	}
	// A gate that is neither counts as human.
	if (&Environment{Gate: "open"}).events() == nil {
		t.Error("an unknown gate lets any event deploy")
	}
}

func TestCompiledPolicy(t *testing.T) {
	data, err := os.ReadFile("../testdata/policy/ok/long.yml")
	if err != nil {
		t.Fatal(err)
	}
	p := compiled(t, string(data))
	c := p.compiled
	if want := []string{"dev", "production", "production-read", "staging"}; !slices.Equal(c.names, want) {
		t.Errorf("names %q, want %q", c.names, want)
	}
	if !slices.Equal(c.human, []int{1}) {
		t.Errorf("human %v", c.human)
	}
	if want := []string{"production", "production-*"}; !slices.Equal(c.covers[1], want) {
		t.Errorf("covers %q, want %q", c.covers[1], want)
	}
	if want := []string{"production-read"}; !slices.Equal(c.covers[2], want) {
		t.Errorf("covers %q, want %q", c.covers[2], want)
	}
	again := compiled(t, string(data)+"# a comment\n")
	if again.Digest() == p.Digest() || len(p.Digest()) != 64 {
		t.Errorf("digests %s and %s", p.Digest(), again.Digest())
	}
}

// A path that steers the repository or an agent is protected wherever it stands
// and however it is spelt, also where a policy puts everything into dev.
func TestProtectedPathsCannotBeHadByAPattern(t *testing.T) {
	p := compiled(t, "version: 1\nreviewers: [acme/sre]\nenvironments:\n  dev: {gate: auto, paths: [\"**\"]}\n  production: {gate: human}\nprotect: [infra/**]\n")
	protected := func(path string) bool {
		return slices.ContainsFunc(p.compiled.paths.Append(nil, path), func(h paths.Hit[pathRule]) bool { return h.Value.kind == ruleProtect })
	}
	for _, path := range []string{
		".github/sallyport.yml", ".github/workflows/deploy.yml", ".GitHub/workflows/deploy.yml", ".github",
		"CODEOWNERS", "docs/CODEOWNERS", "docs/codeowners", ".github/CODEOWNERS",
		"action.yml", "action.yaml", "tools/setup/action.yml", "Action.yml",
		".gitattributes", "a/b/.gitattributes", ".gitmodules", ".GITMODULES",
		".devcontainer/devcontainer.json", ".vscode/tasks.json",
		"AGENTS.md", "pkg/AGENTS.md", "agents.md", "CLAUDE.md", "a/CLAUDE.md", ".claude/settings.json", "a/.claude/x",
		".cursor/rules/a.mdc", "a/.cursor/b", ".mcp.json", "a/.mcp.json",
		"infra/main.tf", "Infra/main.tf",
	} {
		if !protected(path) {
			t.Errorf("%s is not protected", path)
		}
	}
	for _, path := range []string{"src/main.go", "docs/github/a.md", "x.github/a", "src/CODEOWNERS.md", "actions.yml", "docs/agents.md.txt"} {
		if protected(path) {
			t.Errorf("%s is protected", path)
		}
	}
	for _, pattern := range ProtectedPaths() {
		if err := paths.CheckPattern(pattern); err != nil || strings.HasPrefix(pattern, "!") {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}
