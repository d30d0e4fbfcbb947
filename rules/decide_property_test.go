package rules_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/rules"
)

// policyModel is a policy that the properties can make stricter.
type policyModel struct {
	text, mixed bool // approve
	users       []string
	count       int
	autoPaths   []string
	humanPaths  []string
	autoIsHuman bool
	protect     []string
	also        []string
	maxAge      time.Duration
	after       []string
	exclude     bool
	merge       bool
	steps       string
}

func (m *policyModel) yaml() string {
	var b strings.Builder
	ask := func(approve bool) string {
		if approve {
			return "approve"
		}
		return "ask"
	}
	list := func(ss []string) string {
		q := make([]string, len(ss))
		for i, s := range ss {
			q[i] = fmt.Sprintf("%q", s)
		}
		return "[" + strings.Join(q, ", ") + "]"
	}
	fmt.Fprintf(&b, "version: 1\nagents: {text: %s, mixed: %s}\nreviewers: %s\n", ask(m.text), ask(m.mixed), list(append([]string{"acme/sre"}, m.users...)))
	if len(m.protect) > 0 {
		fmt.Fprintf(&b, "protect: %s\n", list(m.protect))
	}
	fmt.Fprintf(&b, "environments:\n  dev:\n")
	if m.autoIsHuman {
		b.WriteString("    gate: human\n")
	} else {
		fmt.Fprintf(&b, "    gate: auto\n    merge: %v\n", m.merge)
	}
	fmt.Fprintf(&b, "    paths: %s\n    after: %s\n", list(m.autoPaths), list(m.after))
	fmt.Fprintf(&b, "  production:\n    gate: human\n    count: %d\n    steps: %s\n    after: %s\n", m.count, m.steps, list(m.after))
	if len(m.humanPaths) > 0 {
		fmt.Fprintf(&b, "    paths: %s\n", list(m.humanPaths))
	}
	if m.maxAge > 0 {
		fmt.Fprintf(&b, "    max_age: %s\n", m.maxAge)
	}
	if m.exclude {
		b.WriteString("    exclude: [author, committer, co-author, last-pusher, dispatcher, pusher]\n")
	}
	if len(m.also) > 0 {
		b.WriteString("    also:\n")
		for _, a := range m.also {
			fmt.Fprintf(&b, "      %q: [acme/dba]\n", a)
		}
	}
	return b.String()
}

var somePatterns = []string{"docs/**", "**/*_test.go", "migrations/dev/**", "*.md", "src/**", "lib/*/gen/**", "a?c/**"}

func drawPolicy(t *rapid.T) *policyModel {
	subset := func(of []string, name string, least int) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(of), least, len(of), rapid.ID[string]).Draw(t, name)
	}
	return &policyModel{
		text: rapid.Bool().Draw(t, "text"), mixed: rapid.Bool().Draw(t, "mixed"),
		users: subset([]string{"octocat", "mona"}, "users", 0), count: rapid.IntRange(1, 2).Draw(t, "count"),
		autoPaths: subset(somePatterns[:4], "autoPaths", 1), humanPaths: subset(somePatterns[4:], "humanPaths", 0),
		also:   subset([]string{"migrations/**", "src/db/**"}, "also", 0),
		maxAge: time.Duration(rapid.SampledFrom([]int{0, 2, 24}).Draw(t, "maxAge")) * time.Hour,
		after:  subset([]string{"test", "lint"}, "after", 1),
		merge:  rapid.Bool().Draw(t, "merge"), steps: rapid.SampledFrom([]string{"[merge, deploy]", "[deploy]"}).Draw(t, "steps"),
	}
}

// stricter makes a policy stricter in one way.
func stricter(t *rapid.T, m policyModel, c *rules.Change) *policyModel {
	clone := func(ss []string) []string { return append([]string(nil), ss...) }
	switch rapid.IntRange(0, 11).Draw(t, "stricter") {
	case 0:
		m.text = false
	case 1:
		m.mixed = false
	case 2:
		// A reviewer less is an approval less, but also an objection less: only
		// where nobody objects is the shorter list the stricter one.
		if !slices.ContainsFunc(c.Reviews, func(r rules.Review) bool { return r.State != rules.ReviewApproved }) {
			m.users = nil
		}
	case 3:
		m.count++
	case 4:
		if len(m.autoPaths) > 1 && m.steps != "[deploy]" {
			m.autoPaths = clone(m.autoPaths[1:])
		}
	case 5:
		if m.steps != "[deploy]" { // there, a human path asks nobody at the merge
			m.humanPaths = append(clone(m.humanPaths), "**/*e*")
		}
	case 6:
		m.autoIsHuman = true
	case 7:
		m.protect = []string{"docs/ops/**", "**/secret*"}
	case 8:
		m.also = []string{"migrations/**", "src/db/**", "**"}
	case 9:
		m.maxAge = time.Hour / 2
	case 10:
		m.exclude = true
	case 11:
		m.steps = "[merge, deploy]"
	}
	return &m
}

var somePaths = []string{
	"docs/a.md", "docs/ops/run.md", "README.md", "src/a.go", "src/a_test.go", "src/db/x.sql", "migrations/dev/1.sql", "migrations/1.sql",
	"lib/x/gen/y.go", "abc/d", "other/file", ".github/workflows/x.yml", ".GitHub/x", "docs/CLAUDE.md", "a//b", "docs/../x", "docs/\\x", "tools/secret.txt",
}

func drawFile(t *rapid.T) rules.File {
	f := rules.File{
		Path:   rapid.SampledFrom(somePaths).Draw(t, "path"),
		Status: rapid.SampledFrom([]rules.FileStatus{rules.FileAdded, rules.FileModified, rules.FileRenamed, rules.FileRemoved}).Draw(t, "status"),
		Mode:   rapid.SampledFrom([]string{rules.ModeFile, rules.ModeFile, rules.ModeFile, rules.ModeExecutable, rules.ModeSymlink, ""}).Draw(t, "mode"),
	}
	if f.Status == rules.FileRenamed && rapid.Bool().Draw(t, "known previous") {
		f.PreviousPath = rapid.SampledFrom(somePaths).Draw(t, "previous")
	}
	return f
}

var everybody = []rules.Actor{octocat, mona, sre, sreTwo, exSRE, dba, stranger, dev, copilot}

func drawCommit(t *rapid.T) rules.Commit {
	sha := rules.SHA(fmt.Sprintf("%040x", rapid.Uint32().Draw(t, "sha")))
	var m rules.Commit
	if rapid.Bool().Draw(t, "by agent") {
		m = agentCommit(sha)
	} else {
		m = humanCommit(sha, rapid.SampledFrom(everybody[:8]).Draw(t, "by"))
	}
	m.Message += rapid.SampledFrom([]string{
		"", "", "\nCo-authored-by: Claude <noreply@anthropic.com>\n", "\nCo-authored-by: X <x@nowhere.example>\n",
		"\nCo-authored-by: D <developer@example.com>\n", "\nCo-authored-by: Octo <1001+octocat@users.noreply.github.com>\n", "\nAssisted-by: Claude\n",
	}).Draw(t, "trailer")
	if rapid.IntRange(0, 5).Draw(t, "unresolved") == 0 {
		m.Author.ID, m.Author.Login = 0, ""
	}
	return m
}

func drawReview(t *rapid.T) rules.Review {
	r := approval(rules.ReviewID(rapid.IntRange(0, 50).Draw(t, "review id")), rapid.SampledFrom(everybody).Draw(t, "reviewer"))
	r.State = rapid.SampledFrom([]rules.ReviewState{"approved", "approved", "approved", "changes_requested", "dismissed", "commented", "odd"}).Draw(t, "state")
	r.SHA = rapid.SampledFrom([]rules.SHA{headSHA, headSHA, headSHA, oldSHA, ""}).Draw(t, "at")
	r.SubmittedAt = now.Add(-time.Duration(rapid.IntRange(0, 30*60).Draw(t, "minutes")) * time.Minute)
	if rapid.IntRange(0, 9).Draw(t, "timeless") == 0 {
		r.SubmittedAt = time.Time{}
	}
	r.Write = rapid.SampledFrom([]rules.Tri{rules.Yes, rules.Yes, rules.No, rules.Unknown}).Draw(t, "write")
	return r
}

func drawChange(t *rapid.T) *rules.Change {
	c := agentChange()
	if rapid.Bool().Draw(t, "opened by a person") {
		c.Author, c.LastPusher, c.App = dev, rapid.SampledFrom([]rules.Actor{dev, octocat, copilot, {}}).Draw(t, "pusher"), ""
		c.Head.Ref = rapid.SampledFrom([]string{"fix-retry", "codex/fix-retry", "claude/x"}).Draw(t, "branch")
	}
	c.Files = rapid.SliceOfN(rapid.Custom(drawFile), 1, 5).Draw(t, "files")
	c.Commits = rapid.SliceOfN(rapid.Custom(drawCommit), 1, 4).Draw(t, "commits")
	c.Commits[0].SHA = headSHA
	c.Reviews = rapid.SliceOfN(rapid.Custom(drawReview), 0, 6).Draw(t, "reviews")
	c.Checks = nil
	for _, name := range []string{"test", "lint"} {
		c.Checks = append(c.Checks, rules.Check{Name: name, App: "github-actions", Workflow: ".github/workflows/ci.yml",
			Conclusion: rapid.SampledFrom([]string{"success", "success", "success", "failure", ""}).Draw(t, name)})
	}
	return c
}

// notLooser fails unless b is at least as strict as a.
func notLooser(t *rapid.T, a, b rules.Decision, what string) {
	if rules.Stricter(a.Verdict, b.Verdict) != b.Verdict || b.AutoApproval && !a.AutoApproval {
		t.Fatalf("%s made it looser: %s (auto %v) became %s (auto %v)\nbefore:\n%safter:\n%s", what,
			a.Verdict, a.AutoApproval, b.Verdict, b.AutoApproval, tree(a.Reasons, "  "), tree(b.Reasons, "  "))
	}
}

func drawVersion(t *rapid.T, m *policyModel) rules.PolicyVersion {
	p, problems := rules.LoadPolicy("p.yml", []byte(m.yaml()))
	if p == nil {
		// Some drawn policies are refused (a shadowed environment and the like):
		// nothing to judge then.
		if len(problems) == 0 {
			t.Fatalf("refused without a problem:\n%s", m.yaml())
		}
		t.Skip()
	}
	return rules.PolicyVersion{State: rules.PolicyInForce, Policy: p, Directory: directory()}
}

func TestAddingNeverLoosens(t *testing.T) {
	allowed := 0
	rapid.Check(t, func(t *rapid.T) {
		p := only(drawVersion(t, drawPolicy(t)))
		c := drawChange(t)
		before := rules.DecideChange(p, c)
		if before.Verdict == rules.VerdictAllow {
			allowed++
		}
		more := *c
		more.Files = append(append([]rules.File{}, c.Files...), drawFile(t))
		notLooser(t, before, rules.DecideChange(p, &more), "a file more")
		more = *c
		more.Commits = append(append([]rules.Commit{}, c.Commits...), drawCommit(t))
		notLooser(t, before, rules.DecideChange(p, &more), "a commit more")
		more = *c
		more.FilesComplete = rules.Unknown
		notLooser(t, before, rules.DecideChange(p, &more), "an incomplete list")
	})
	if allowed == 0 {
		t.Error("no change was allowed: the property says nothing")
	}
}

func TestStricterPolicyNeverLoosens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawPolicy(t)
		c := drawChange(t)
		before := rules.DecideChange(only(drawVersion(t, m)), c)
		m2 := stricter(t, *m, c)
		after := rules.DecideChange(only(drawVersion(t, m2)), c)
		notLooser(t, before, after, "the policy\n"+m2.yaml()+"instead of\n"+m.yaml())
	})
}

func TestFloorNeverLoosens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawChange(t)
		repository, floor := drawVersion(t, drawPolicy(t)), drawVersion(t, drawPolicy(t))
		both := rules.DecideChange(rules.Policies{Repository: repository, Floor: floor}, c)
		notLooser(t, rules.DecideChange(only(floor), c), both, "the repository's policy over the floor")
		notLooser(t, rules.DecideChange(only(repository), c), both, "the floor over the repository's policy")
	})
}

func TestAnyOrderOneDecision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := only(drawVersion(t, drawPolicy(t)))
		c := drawChange(t)
		other := *c
		other.Files = rapid.Permutation(c.Files).Draw(t, "files'")
		other.Commits = rapid.Permutation(c.Commits).Draw(t, "commits'")
		if len(c.Reviews) > 0 {
			other.Reviews = rapid.Permutation(c.Reviews).Draw(t, "reviews'")
		}
		other.Checks = rapid.Permutation(c.Checks).Draw(t, "checks'")
		if a, b := rules.DecideChange(p, c), rules.DecideChange(p, &other); !reflect.DeepEqual(a, b) {
			t.Fatalf("the order shows:\n%s\n%s", tree(a.Reasons, "  "), tree(b.Reasons, "  "))
		}
	})
}
