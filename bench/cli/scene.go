package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// policyText is the policy of an ordinary repository.
const policyText = `version: 1
reviewers: [octocat, hubot-owner]
environments:
  dev:
    gate: auto
    paths: [docs/**, "**/*_test.go", migrations/dev/**]
    after: [test]
  staging:
    gate: auto
    paths: [deploy/staging/**]
    after: [test, lint]
  production:
    gate: human
    paths: [src/**]
    also: {"migrations/**": [octocat, monalisa]}
`

// makeRepository makes a repository whose branch main has twice the files that
// its branch agent/handlers changes: in each hundred of them 80 are edited, 10
// new and 10 renamed.
func (c *config) makeRepository(ctx context.Context, dir string) error {
	git := func(stdin io.Reader, args ...string) error {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir, cmd.Env, cmd.Stdin = dir, environment(), stdin
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("running git %q: %w: %.2000s", args, err, out)
		}
		return nil
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		return err
	}
	if err := git(nil, "init", "--quiet", "--initial-branch=main"); err != nil {
		return err
	}
	if err := git(bytes.NewReader(c.history()), "fast-import", "--quiet"); err != nil {
		return err
	}
	return git(nil, "checkout", "--quiet", "agent/handlers")
}

// history is the repository as a stream for git fast-import.
func (c *config) history() []byte {
	var b bytes.Buffer
	data := func(s string) { fmt.Fprintf(&b, "data %d\n%s\n", len(s), s) }
	commit := func(ref, from, message string, at int) {
		fmt.Fprintf(&b, "commit refs/heads/%s\n", ref)
		for _, role := range []string{"author", "committer"} {
			fmt.Fprintf(&b, "%s Mona <mona@example.com> %d +0000\n", role, 1_790_000_000+at)
		}
		data(message)
		if from != "" {
			fmt.Fprintf(&b, "from refs/heads/%s\n", from)
		}
	}
	file := func(path, content string) {
		fmt.Fprintf(&b, "M 100644 inline %s\n", path)
		data(content)
	}
	commit("main", "", "Begin\n", 0)
	file(".github/sallyport.yml", policyText)
	for i := range 2 * c.files {
		file(filePath(i), content(i, ""))
	}
	from, done := "main", 0
	for n := range c.commits {
		commit("agent/handlers", from, fmt.Sprintf("handlers: step %d\n\nThe old names said nothing about what they handle.\n\nCo-authored-by: Claude <noreply@anthropic.com>\n", n+1), n+1)
		from = "" // fast-import goes on from the branch's own head
		for ; done < c.files*(n+1)/c.commits; done++ {
			switch done % 10 {
			case 8:
				file("new/"+filePath(done), content(done, "new"))
			case 9:
				fmt.Fprintf(&b, "R %s moved/%s\n", filePath(done), filePath(done))
			default:
				file(filePath(done), content(done, fmt.Sprintf("step %d", n)))
			}
		}
	}
	return b.Bytes()
}

// filePath spreads files over folders of several environments.
func filePath(i int) string {
	switch i % 5 {
	case 0:
		return fmt.Sprintf("docs/guide-%02d/page_%04d.md", i%41, i)
	case 1:
		return fmt.Sprintf("deploy/staging/svc-%02d/values_%04d.yaml", i%37, i)
	case 2:
		return fmt.Sprintf("pkg/svc-%02d/handler_%04d_test.go", i%37, i)
	default:
		return fmt.Sprintf("src/svc-%02d/internal/handler_%04d.go", i%37, i)
	}
}

func content(i int, edit string) string {
	var b strings.Builder
	for line := range 40 {
		fmt.Fprintf(&b, "line %d of file %d, unlike the others: %x\n", line, i, (i+1)*(line+7)*2654435761)
		if line == 20 && edit != "" {
			fmt.Fprintf(&b, "%s\n", edit)
		}
	}
	return b.String()
}

type object = map[string]any

// writeChanges writes n ordinary pull requests as lines of change facts: five
// files, two commits with trailers, a body of about 1 KB, one review and two
// checks each, by agents, automations and people in turn.
func writeChanges(path string, n int) error {
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	e := json.NewEncoder(w)
	for i := range n {
		if err = e.Encode(pullRequest(i)); err != nil {
			break
		}
	}
	if err == nil {
		err = w.Flush()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func pullRequest(i int) object {
	person := object{"id": 1000 + i%50, "login": fmt.Sprintf("dev-%02d", i%50), "type": "User"}
	author, app, branch := person, "", fmt.Sprintf("dev-%02d/fix-%d", i%50, i)
	name, email := fmt.Sprintf("Dev %d", i%50), fmt.Sprintf("dev-%02d@example.com", i%50)
	trailer := fmt.Sprintf("Reviewed-by: Dev %d <dev-%02d@example.com>", (i+7)%50, (i+7)%50)
	switch i % 4 {
	case 0: // an agent by its own account
		author, app, branch = object{"id": 198982749, "login": "Copilot", "type": "Bot"}, "copilot-swe-agent", fmt.Sprintf("copilot/fix-%d", i)
		name, email = "copilot-swe-agent[bot]", "198982749+Copilot@users.noreply.github.com"
		trailer = fmt.Sprintf("Co-authored-by: Dev %d <dev-%02d@example.com>", i%50, i%50)
	case 1: // an agent by what it writes
		trailer = "Co-Authored-By: Claude <noreply@anthropic.com>"
	case 2: // an automation
		author, app, branch = object{"id": 49699333, "login": "dependabot[bot]", "type": "Bot"}, "dependabot", fmt.Sprintf("dependabot/go_modules/lib-%d", i)
		name, email = "dependabot[bot]", "49699333+dependabot[bot]@users.noreply.github.com"
		trailer = "Signed-off-by: dependabot[bot] <support@github.com>"
	}
	repository := object{"id": 7, "full_name": "acme/orders"}
	head := fmt.Sprintf("%040x", 2*i+1)
	identity := object{"id": author["id"], "login": author["login"], "name": name, "email": email}
	var files []object
	for k := range 5 {
		files = append(files, object{"path": filePath(5*i + k*(1+i%3)), "status": "modified", "additions": 10 + k, "deletions": k, "mode": "100644"})
	}
	var commits []object
	for k := range 2 {
		commits = append(commits, object{
			"sha":     fmt.Sprintf("%040x", 2*i+k),
			"message": fmt.Sprintf("handlers: step %d of change %d\n\nThe old name said nothing about what it handles,\nand two callers had it wrong.\n\nRefs: #%d\n%s\n", k+1, i, i%999, trailer),
			"author":  identity, "committer": identity, "verified": i%3 == 0,
		})
	}
	return object{
		"id": fmt.Sprintf("acme/orders#%d", i), "repository": repository, "number": i + 1,
		"title": fmt.Sprintf("handlers: rename number %d", i), "body": body(i), "labels": []string{"refactoring"}, "draft": false,
		"author": author, "app": app,
		"head": object{"ref": branch, "sha": head, "repository": repository}, "base": object{"ref": "main", "sha": strings.Repeat("b", 40)},
		"files": files, "files_complete": true, "commits": commits, "commits_complete": true,
		"last_pusher": author,
		"reviews": []object{{
			"id": i + 1, "user": object{"id": 1, "login": "octocat", "type": "User"}, "state": "approved", "sha": head, "submitted_at": "2026-11-24T11:00:00Z",
		}},
		"checks": []object{{"name": "test", "app": "github-actions", "conclusion": "success"}, {"name": "lint", "app": "github-actions", "conclusion": "success"}},
		"now":    "2026-11-24T12:00:00Z",
	}
}

// body is about 1 KB of the Markdown that people and agents write.
func body(i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## Summary\n\nRenames handler %d and moves its callers.\n\n", i)
	for k := range 7 {
		fmt.Fprintf(&b, "- The old name of part %d said **nothing** about what it handles; see `svc-%02d` and [the guide](https://example.com/%d).\n", k, (i+k)%37, i*k)
	}
	fmt.Fprintf(&b, "\n```go\nfunc Handle%d(ctx context.Context) error { return nil }\n```\n\n## Test plan\n\n1. [x] unit tests of `svc-%02d`\n2. [ ] try it on staging\n", i, i%37)
	return b.String()
}
