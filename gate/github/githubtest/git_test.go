package githubtest_test

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// git makes the same history with git itself.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "git", args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=alice", "GIT_AUTHOR_EMAIL=alice@example.com", "GIT_AUTHOR_DATE=1700000000 +0000",
		"GIT_COMMITTER_NAME=alice", "GIT_COMMITTER_EMAIL=alice@example.com", "GIT_COMMITTER_DATE=1700000000 +0000")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestIdsAreGits(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	git(t, dir, "init", "-q", "-b", "main")
	files := map[string]string{"a.txt": "one\n", "dir/b.txt": "two\n", "dir.txt": "x\n", "dir/deep/c": "", "dir-a": "sorted\n", "ünï": "code\n"}
	in := map[string]githubtest.File{"link": githubtest.Symlink("a.txt"), "run.sh": githubtest.Executable("#!/bin/sh\n")}
	for p, content := range files {
		in[p] = githubtest.Text(content)
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, p)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, p), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a.txt", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "run.sh"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "--cleanup=verbatim", "-m", "First\n\nWhy")
	who := githubtest.Identity{Name: "alice", Email: "alice@example.com", When: time.Unix(1700000000, 0)}
	first := w.repo.Commit(githubtest.Commit{Message: "First\n\nWhy\n", Author: who, Committer: who, Files: in})
	if want := git(t, dir, "rev-parse", "HEAD"); first != want {
		t.Fatalf("the commit is %s, git's is %s", first, want)
	}
	tree := w.want(200, "GET", orders+"/git/trees/"+first+"?recursive=1", nil)
	if want := git(t, dir, "rev-parse", "HEAD^{tree}"); tree.get("sha") != want {
		t.Errorf("the tree is %v, git's is %s", tree.get("sha"), want)
	}
	modes := map[string]string{}
	for i := range tree.len("tree") {
		at := "tree." + strconv.Itoa(i)
		path, _ := tree.get(at + ".path").(string)
		modes[path], _ = tree.get(at + ".mode").(string)
	}
	for path, want := range map[string]string{"link": "120000", "run.sh": "100755", "dir": "040000", "dir/deep/c": "100644"} {
		if modes[path] != want {
			t.Errorf("%s has mode %q, want %s", path, modes[path], want)
		}
	}
}

func TestThreeDotDiffs(t *testing.T) {
	w := newWorld(t)
	base := w.repo.CommitTo(w.carol, "main", "Files", map[string]string{"keep.txt": "k\n", "move.txt": "some\nlines\nhere\n", "drop.txt": "d\n", "edit.txt": "1\n2\n3\n", "to-link": "x\n"})
	sha := w.repo.Commit(githubtest.Commit{
		Message: "Change", Author: w.alice.Identity(), Parents: []string{base}, Renames: map[string]string{"move.txt": "infra/moved.txt"},
		Files: map[string]githubtest.File{"drop.txt": githubtest.Removed(), "edit.txt": githubtest.Text("1\nzwei\n3\n"), "new.txt": githubtest.Text("n\n"), "to-link": githubtest.Symlink("keep.txt"), "sub": githubtest.Submodule(strings.Repeat("a", 40))},
	})
	w.must(w.repo.Push(w.alice, "change", sha))
	w.repo.CommitTo(w.carol, "main", "Elsewhere", map[string]string{"main-only.txt": "m\n"})
	_, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: "change", Title: "x"})
	w.must(err)
	got := w.want(200, "GET", orders+"/pulls/1/files", nil)
	seen := map[string]string{}
	for i := range got.len("") {
		at := strconv.Itoa(i)
		name, _ := got.get(at + ".filename").(string)
		status, _ := got.get(at + ".status").(string)
		seen[name] = status
		if name == "infra/moved.txt" && got.get(at+".previous_filename") != "move.txt" {
			t.Errorf("the rename comes from %v", got.get(at+".previous_filename"))
		}
		if name == "edit.txt" && got.get(at+".patch") != "@@ -1,3 +1,3 @@\n 1\n-2\n+zwei\n 3" {
			t.Errorf("the patch is %q", got.get(at+".patch"))
		}
	}
	want := map[string]string{"infra/moved.txt": "renamed", "drop.txt": "removed", "edit.txt": "modified", "new.txt": "added", "to-link": "changed", "sub": "added"}
	for name, status := range want {
		if seen[name] != status {
			t.Errorf("%s is %q, want %s", name, seen[name], status)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("the files are %v: what only main has does not belong there", seen)
	}
}

func TestComparing(t *testing.T) {
	w := newWorld(t)
	a := w.repo.Head("main")
	b := w.repo.CommitTo(w.carol, "main", "b", map[string]string{"b": "b"})
	c := w.repo.CommitTo(w.carol, "main", "c", map[string]string{"c": "c"})
	side := w.repo.Commit(githubtest.Commit{Message: "side", Author: w.alice.Identity(), Parents: []string{b}, Files: map[string]githubtest.File{"s": githubtest.Text("s")}})
	for _, x := range []struct {
		base, head, status string
		ahead, behind      float64
	}{{a, c, "ahead", 2, 0}, {c, a, "behind", 0, 2}, {c, c, "identical", 0, 0}, {c, side, "diverged", 1, 1}} {
		got := w.want(200, "GET", orders+"/compare/"+x.base+"..."+x.head, nil)
		if got.get("status") != x.status || got.get("ahead_by") != x.ahead || got.get("behind_by") != x.behind {
			t.Errorf("compare says %v, %v ahead, %v behind; want %s, %v, %v", got.get("status"), got.get("ahead_by"), got.get("behind_by"), x.status, x.ahead, x.behind)
		}
	}
	orphan := w.repo.Commit(githubtest.Commit{Message: "orphan", Author: w.alice.Identity(), Files: map[string]githubtest.File{"o": githubtest.Text("o")}})
	if a := w.call(w.token, "GET", orders+"/compare/"+c+"..."+orphan, nil); a.status != 404 {
		t.Errorf("comparing without common ancestor answers %d, want 404", a.status)
	}
}

func TestReadingAPolicy(t *testing.T) {
	w := newWorld(t)
	sha := w.repo.CommitTo(w.carol, "main", "Policy", map[string]string{".github/sallyport.yml": "version: 1\n", "big": strings.Repeat("x", 1<<20+1)})
	got := w.want(200, "GET", orders+"/contents/.github/sallyport.yml?ref="+sha, nil)
	content, _ := got.get("content").(string)
	raw, err := base64.StdEncoding.DecodeString(content)
	if err != nil || string(raw) != "version: 1\n" {
		t.Errorf("the policy reads %q, %v", raw, err)
	}
	w.want(404, "GET", orders+"/contents/.github/sallyport.yaml?ref="+sha, nil)
	if got := w.want(200, "GET", orders+"/contents/big", nil); got.get("content") != "" || got.get("encoding") != "none" || got.get("size") != float64(1<<20+1) {
		t.Errorf("a file over 1 MB comes with encoding %v", got.get("encoding"))
	}
	if got := w.call(w.token, "GET", orders+"/contents/big", nil, "Accept", "application/vnd.github.raw+json"); len(got.body) != 1<<20+1 {
		t.Errorf("raw, it has %d bytes", len(got.body))
	}
	w.repo.TruncateTrees(2)
	if got := w.want(200, "GET", orders+"/git/trees/"+sha+"?recursive=1", nil); got.get("truncated") != true || got.len("tree") != 2 {
		t.Errorf("a truncated tree says %v with %d entries", got.get("truncated"), got.len("tree"))
	}
}

func TestAuthorsAreLinkedByAddress(t *testing.T) {
	w := newWorld(t)
	id := strconv.FormatInt(w.bob.ID, 10)
	for email, want := range map[string]any{w.alice.Email(): "alice", "somebody@example.com": nil, id + "+anything@users.noreply.github.com": "bob", "carol@users.noreply.github.com": "carol"} {
		sha := w.repo.Commit(githubtest.Commit{Message: email, Author: githubtest.Identity{Name: "x", Email: email}, Parents: []string{w.repo.Head("main")}})
		got := w.want(200, "GET", orders+"/commits/"+sha, nil)
		if got.get("author.login") != want || got.get("commit.verification.verified") != false {
			t.Errorf("%s is %v, want %v", email, got.get("author.login"), want)
		}
	}
	w.alice.Delete()
	p := w.open(w.bob, "a")
	if got := w.want(200, "GET", orders+"/commits/"+p.Head(), nil); got.get("author.login") != "bob" {
		t.Errorf("the author is %v", got.get("author.login"))
	}
}

func TestATagNamedLikeTheBranch(t *testing.T) {
	w := newWorld(t)
	old := w.repo.Head("main")
	now := w.repo.CommitTo(w.carol, "main", "Next", map[string]string{"x": "x"})
	w.must(w.repo.Tag(w.alice, "main", old))
	if got := w.want(200, "GET", orders+"/commits/main", nil).get("sha"); got != now {
		t.Errorf("main is %v, want the branch's head", got)
	}
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: w.alice, Branch: "main", Tag: true, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "staging"}}})
	got := w.want(200, "GET", orders+"/deployments/"+strconv.FormatInt(run.Job("deploy").Deployment().ID, 10), nil)
	if got.get("ref") != "main" || got.get("sha") != old {
		t.Errorf("the tag's deployment is %v at %v: it looks like the branch's", got.get("ref"), got.get("sha"))
	}
}
