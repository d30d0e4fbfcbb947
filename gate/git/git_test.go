package git_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/git"
	"github.com/sallyport/sallyport/rules"
)

// testRepo is a real repository in a temporary directory.
type testRepo struct {
	t   *testing.T
	dir string
	env []string
}

func newRepo(t *testing.T, args ...string) *testRepo {
	t.Helper()
	r := &testRepo{t: t, dir: t.TempDir(), env: append(os.Environ(),
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Octo Cat", "GIT_AUTHOR_EMAIL=octocat@example.com", "GIT_AUTHOR_DATE=2026-11-01T12:00:00Z",
		"GIT_COMMITTER_NAME=Octo Cat", "GIT_COMMITTER_EMAIL=octocat@example.com", "GIT_COMMITTER_DATE=2026-11-01T12:00:00Z",
	)}
	r.git(append([]string{"init", "-q", "-b", "main"}, args...)...)
	return r
}

func (r *testRepo) git(args ...string) string {
	r.t.Helper()
	return r.gitIn("", args...)
}

func (r *testRepo) gitIn(stdin string, args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Env = r.dir, r.env
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

func (r *testRepo) write(path, content string) {
	r.t.Helper()
	full := filepath.Join(r.dir, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// commit records everything in the work tree.
func (r *testRepo) commit(message string, more ...string) string {
	r.t.Helper()
	r.git("add", "-A")
	r.gitIn(message, append([]string{"commit", "-q", "--allow-empty", "--cleanup=verbatim", "-F", "-"}, more...)...)
	return r.git("rev-parse", "HEAD")
}

func (r *testRepo) open() *git.Repository {
	r.t.Helper()
	repo, err := git.Open(r.t.Context(), git.Config{Dir: r.dir, Env: r.env})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { repo.Close() })
	return repo
}

func revision(t *testing.T, repo *git.Repository, name string) git.Revision {
	t.Helper()
	rev, err := repo.Revision(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func (r *testRepo) facts(base, head string) *git.Facts {
	r.t.Helper()
	repo := r.open()
	f, err := repo.Change(r.t.Context(), revision(r.t, repo, base), revision(r.t, repo, head))
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

func paths(f *git.Facts) []string {
	var out []string
	for _, file := range f.Change.Files {
		out = append(out, file.Path)
	}
	slices.Sort(out)
	return out
}

func file(t *testing.T, f *git.Facts, path string) rules.File {
	t.Helper()
	for _, file := range f.Change.Files {
		if file.Path == path {
			return file
		}
	}
	t.Fatalf("no file %q in %q", path, paths(f))
	return rules.File{}
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if g, w := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want); g != w {
		t.Errorf("%s\n got %s\nwant %s", what, g, w)
	}
}

func TestFilesOfEveryKind(t *testing.T) {
	r := newRepo(t)
	long := strings.Repeat("a line that stays\n", 40)
	r.write("old.txt", long)
	r.write("edited.txt", "one\n")
	r.write("gone.txt", "x\n")
	r.write("script.sh", "#!/bin/sh\n")
	r.write("turns.txt", "a file\n")
	r.commit("base")
	r.git("checkout", "-q", "-b", "work")
	r.git("mv", "old.txt", "new.txt")
	r.write("new.txt", long+"and one more\n")
	r.write("edited.txt", "one\ntwo\n")
	r.write("binary.bin", "\x00\x01\x02")
	r.write("added.txt", "1\n2\n3\n")
	os.Remove(filepath.Join(r.dir, "gone.txt"))
	os.Remove(filepath.Join(r.dir, "turns.txt"))
	os.Symlink("/etc/passwd", filepath.Join(r.dir, "turns.txt"))
	os.Symlink("added.txt", filepath.Join(r.dir, "link"))
	r.git("add", "-A")
	r.git("update-index", "--chmod=+x", "script.sh")
	r.git("update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("12", 20)+",vendored")
	r.gitIn("work", "commit", "-q", "-F", "-")

	f := r.facts("main", "work")
	if f.Change.FilesComplete != rules.Yes || f.Change.CommitsComplete != rules.Yes || len(f.Notes) != 0 {
		t.Errorf("files %v, commits %v, notes %q", f.Change.FilesComplete, f.Change.CommitsComplete, f.Notes)
	}
	for _, want := range []rules.File{
		{Path: "added.txt", Status: rules.FileAdded, Additions: 3, Mode: "100644"},
		{Path: "binary.bin", Status: rules.FileAdded, Mode: "100644"},
		{Path: "edited.txt", Status: rules.FileModified, Additions: 1, Mode: "100644", PreviousMode: "100644"},
		{Path: "gone.txt", Status: rules.FileRemoved, Deletions: 1, Mode: "100644", PreviousMode: "100644"},
		{Path: "link", Status: rules.FileAdded, Additions: 1, Mode: "120000"},
		{Path: "new.txt", PreviousPath: "old.txt", Status: rules.FileRenamed, Additions: 1, Mode: "100644", PreviousMode: "100644"},
		{Path: "script.sh", Status: rules.FileChanged, Mode: "100755", PreviousMode: "100644"},
		{Path: "turns.txt", Status: rules.FileChanged, Additions: 1, Deletions: 1, Mode: "120000", PreviousMode: "100644"},
		{Path: "vendored", Status: rules.FileAdded, Additions: 1, Mode: "160000"},
	} {
		equal(t, want.Path, file(t, f, want.Path), want)
	}
	if len(f.Change.Files) != 9 {
		t.Errorf("%d files: %q", len(f.Change.Files), paths(f))
	}
}

func TestASubmoduleCannotAskToBeLeftOut(t *testing.T) {
	r := newRepo(t)
	r.write("a", "a\n")
	r.git("add", "-A")
	r.git("update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("12", 20)+",sub")
	r.gitIn("base", "commit", "-q", "-F", "-")
	r.git("checkout", "-q", "-b", "work")
	r.write(".gitmodules", "[submodule \"sub\"]\n\tpath = sub\n\turl = ../sub\n\tignore = all\n")
	r.git("config", "submodule.sub.ignore", "all")
	r.git("config", "diff.ignoreSubmodules", "all")
	r.git("add", ".gitmodules")
	r.git("update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("34", 20)+",sub")
	r.gitIn("work", "commit", "-q", "-F", "-")

	f := r.facts("main", "work")
	if got := file(t, f, "sub"); got.Mode != rules.ModeSubmodule {
		t.Errorf("sub has mode %s", got.Mode)
	}
}

func TestHostilePathsArriveAsTheyAre(t *testing.T) {
	r := newRepo(t)
	r.commit("base")
	r.git("checkout", "-q", "-b", "work")
	names := []string{
		"line\nbreak", "tab\there", "quote\"d", "back\\slash", "-rf", "--output=x", ":100644 100644 a b M",
		"bad\xff\xfeutf8", "esc\x1b[31m", "1\t2\tdocs/x", "dir/ spaces ", "ünïcode",
	}
	for _, n := range names {
		r.write(n, "x\n")
	}
	r.commit("work")
	f := r.facts("main", "work")
	want := slices.Sorted(slices.Values(names))
	equal(t, "paths", paths(f), want)
	for _, x := range f.Change.Files {
		if x.Additions != 1 || x.Deletions != 0 {
			t.Errorf("%q: +%d −%d, want +1", x.Path, x.Additions, x.Deletions)
		}
	}
}

func TestRenamesOfHostilePathsAreCounted(t *testing.T) {
	r := newRepo(t)
	r.write("1\t2\tx", strings.Repeat("same\n", 50))
	r.write("b", "b\n")
	r.commit("base")
	r.git("checkout", "-q", "-b", "work")
	r.git("mv", "1\t2\tx", "3\t4\ty")
	r.write("b", "b\nc\n")
	r.commit("work")
	f := r.facts("main", "work")
	equal(t, "renamed", file(t, f, "3\t4\ty"), rules.File{
		Path: "3\t4\ty", PreviousPath: "1\t2\tx", Status: rules.FileRenamed, Mode: "100644", PreviousMode: "100644",
	})
	if b := file(t, f, "b"); b.Additions != 1 {
		t.Errorf("b has +%d, want +1", b.Additions)
	}
}

func TestCommitsAreReadAsTheyAreStored(t *testing.T) {
	r := newRepo(t)
	r.commit("base")
	r.git("checkout", "-q", "-b", "work")
	plain := r.commit("subject\n\nbody  \n\n\nCo-authored-by: Claude <noreply@anthropic.com>\n\n")
	raw := r.commit("\x1b[31mred\x1b[0m\n\n\nend")
	r.git("-c", "i18n.commitEncoding=ISO-8859-1", "commit", "-q", "--allow-empty", "-m", "caf\xe9 two")
	encoded := r.git("rev-parse", "HEAD")

	f := r.facts("main", "work")
	byID := map[string]rules.Commit{}
	for _, c := range f.Change.Commits {
		byID[string(c.SHA)] = c
	}
	if len(byID) != 3 {
		t.Fatalf("%d commits, want 3", len(byID))
	}
	equal(t, "plain", byID[plain], rules.Commit{
		SHA: rules.SHA(plain), Parents: 1,
		Message:   "subject\n\nbody  \n\n\nCo-authored-by: Claude <noreply@anthropic.com>\n\n",
		Author:    rules.Identity{Name: "Octo Cat", Email: "octocat@example.com"},
		Committer: rules.Identity{Name: "Octo Cat", Email: "octocat@example.com"},
	})
	equal(t, "raw message", byID[raw].Message, "\x1b[31mred\x1b[0m\n\n\nend")
	equal(t, "declared ISO 8859-1", byID[encoded].Message, "café two\n")
}

func TestHandMadeCommitObjects(t *testing.T) {
	r := newRepo(t)
	base := r.commit("base")
	tree := r.git("rev-parse", "HEAD^{tree}")
	for _, test := range []struct {
		name, object string
		want         rules.Commit
	}{
		{
			"two author lines: the first counts, as for git",
			"author A <a@example.com> 1 +0000\nauthor B <b@example.com> 1 +0000\ncommitter C <c@example.com> 1 +0000\n\nm",
			rules.Commit{Author: rules.Identity{Name: "A", Email: "a@example.com"}, Committer: rules.Identity{Name: "C", Email: "c@example.com"}, Message: "m"},
		},
		{
			"two addresses: the first counts, as for git",
			"author A <a@example.com> <b@example.com> 1 +0000\ncommitter C <c@example.com> 1 +0000\n\nm",
			rules.Commit{Author: rules.Identity{Name: "A", Email: "a@example.com"}, Committer: rules.Identity{Name: "C", Email: "c@example.com"}, Message: "m"},
		},
		{
			"a signature's lines are no header lines",
			"author A <a@example.com> 1 +0000\ncommitter C <c@example.com> 1 +0000\ngpgsig x\n author E <e@example.com> 1 +0000\n parent 00\n\nm",
			rules.Commit{Author: rules.Identity{Name: "A", Email: "a@example.com"}, Committer: rules.Identity{Name: "C", Email: "c@example.com"}, Message: "m"},
		},
		{
			"bytes that are no UTF-8 stay",
			"author Ren\xe9 <a@example.com> 1 +0000\ncommitter C <c@example.com> 1 +0000\n\ncaf\xe9\n",
			rules.Commit{Author: rules.Identity{Name: "Ren\xe9", Email: "a@example.com"}, Committer: rules.Identity{Name: "C", Email: "c@example.com"}, Message: "caf\xe9\n"},
		},
		{
			"a NUL does not hide what follows",
			"author A <a@example.com> 1 +0000\ncommitter C <c@example.com> 1 +0000\n\nm\x00Co-authored-by: x",
			rules.Commit{Author: rules.Identity{Name: "A", Email: "a@example.com"}, Committer: rules.Identity{Name: "C", Email: "c@example.com"}, Message: "m\x00Co-authored-by: x"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := r.gitIn("tree "+tree+"\nparent "+base+"\n"+test.object, "hash-object", "-t", "commit", "-w", "--stdin", "--literally")
			f := r.facts(base, id)
			if len(f.Change.Commits) != 1 {
				t.Fatalf("%d commits", len(f.Change.Commits))
			}
			test.want.SHA, test.want.Parents = rules.SHA(id), 1
			equal(t, "commit", f.Change.Commits[0], test.want)
		})
	}
}

func TestCommitsBehindEveryParentAreListed(t *testing.T) {
	r := newRepo(t)
	r.commit("base")
	var want []string
	for _, b := range []string{"one", "two", "three"} {
		r.git("checkout", "-q", "-b", b, "main")
		r.write(b, b)
		want = append(want, r.commit(b, "--author", "Author "+b+" <"+b+"@example.com>"))
	}
	r.git("checkout", "-q", "-b", "work", "one")
	r.git("merge", "-q", "--no-ff", "-m", "octopus", "two", "three")
	// An evil merge: what it brings is in none of its parents.
	r.git("checkout", "-q", "-b", "side", "main")
	r.write("side", "s")
	want = append(want, r.commit("side"))
	r.git("checkout", "-q", "work")
	r.git("merge", "-q", "--no-ff", "--no-commit", "side")
	r.write("evil.txt", "evil\n")
	evil := r.commit("merge side")
	want = append(want, r.git("rev-parse", "HEAD^"), evil)

	f := r.facts("main", "work")
	var got []string
	for _, c := range f.Change.Commits {
		got = append(got, string(c.SHA))
		switch {
		case c.Message == "octopus\n" && c.Parents != 3:
			t.Errorf("the octopus has %d parents", c.Parents)
		case string(c.SHA) == evil && c.Parents != 2:
			t.Errorf("the merge has %d parents", c.Parents)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	equal(t, "commits", got, want)
	equal(t, "files", paths(f), []string{"evil.txt", "one", "side", "three", "two"})
}

func TestFilesAreThoseSinceTheMergeBase(t *testing.T) {
	r := newRepo(t)
	r.write("a", "a\n")
	base := r.commit("base")
	r.git("checkout", "-q", "-b", "work")
	r.write("b", "b\n")
	r.commit("work")
	r.git("checkout", "-q", "main")
	r.write("a", "changed on main\n")
	r.commit("main goes on")
	f := r.facts("main", "work")
	equal(t, "files", paths(f), []string{"b"})
	equal(t, "merge bases", f.MergeBases, []rules.SHA{rules.SHA(base)})
	equal(t, "commits", len(f.Change.Commits), 1)
}

func TestSeveralMergeBasesCountEveryDifference(t *testing.T) {
	r := newRepo(t)
	r.commit("base")
	r.git("checkout", "-q", "-b", "work")
	r.write("w", "w\n")
	w := r.commit("w")
	r.git("checkout", "-q", "main")
	r.write("m", "m\n")
	m := r.commit("m")
	r.git("merge", "-q", "-m", "x1", w)
	r.git("checkout", "-q", "work")
	r.git("merge", "-q", "-m", "x2", m)
	r.write("after", "x\n")
	r.commit("after")
	f := r.facts("main", "work")
	equal(t, "merge bases", len(f.MergeBases), 2)
	equal(t, "files", paths(f), []string{"after", "m", "w"})
	if f.Change.FilesComplete != rules.Yes || len(f.Notes) != 1 {
		t.Errorf("complete %v, notes %q", f.Change.FilesComplete, f.Notes)
	}
}

func TestUnrelatedHistoriesTouchEverything(t *testing.T) {
	r := newRepo(t)
	r.commit("base")
	r.git("checkout", "-q", "--orphan", "other")
	r.write("x", "x")
	r.commit("other")
	f := r.facts("main", "other")
	if f.Change.FilesComplete != rules.No || len(f.MergeBases) != 0 || len(f.Notes) != 1 {
		t.Errorf("complete %v, bases %v, notes %q", f.Change.FilesComplete, f.MergeBases, f.Notes)
	}
	equal(t, "commits", len(f.Change.Commits), 1)
}

func TestNothingAhead(t *testing.T) {
	r := newRepo(t)
	r.write("a", "a")
	r.commit("base")
	f := r.facts("main", "HEAD")
	if f.Change.Files == nil || len(f.Change.Files) != 0 || f.Change.Commits == nil || len(f.Change.Commits) != 0 {
		t.Errorf("files %v, commits %v: want known and empty", f.Change.Files, f.Change.Commits)
	}
	if f.Change.FilesComplete != rules.Yes || f.Change.CommitsComplete != rules.Yes {
		t.Error("want complete lists")
	}
}

func TestShallowClones(t *testing.T) {
	r := newRepo(t)
	r.write("a", "a")
	r.commit("base")
	r.git("checkout", "-q", "-b", "work")
	for i := range 5 {
		r.write("a", fmt.Sprint(i))
		r.commit(fmt.Sprint(i))
	}
	clone := func(depth string) *testRepo {
		c := *r
		c.dir = t.TempDir()
		c.git("clone", "-q", "--depth", depth, "--no-single-branch", "file://"+r.dir, ".")
		return &c
	}
	t.Run("cut within the branch", func(t *testing.T) {
		f := clone("2").facts("origin/main", "origin/work")
		if f.Change.CommitsComplete != rules.No || f.Change.FilesComplete != rules.No {
			t.Errorf("commits %v, files %v: want no", f.Change.CommitsComplete, f.Change.FilesComplete)
		}
		if len(f.Notes) != 2 || !strings.Contains(f.Notes[0], "--unshallow") {
			t.Errorf("notes %q", f.Notes)
		}
	})
	t.Run("cut below the merge base", func(t *testing.T) {
		f := clone("6").facts("origin/main", "origin/work")
		if f.Change.CommitsComplete != rules.Yes || f.Change.FilesComplete != rules.Yes || len(f.Change.Commits) != 5 {
			t.Errorf("commits %v (%d), files %v", f.Change.CommitsComplete, len(f.Change.Commits), f.Change.FilesComplete)
		}
	})
}

func TestReplacementsAndGraftsHideNothing(t *testing.T) {
	r := newRepo(t)
	r.commit("base")
	r.git("checkout", "-q", "-b", "work")
	r.write("evil", "x")
	evil := r.commit("evil")
	r.write("good", "x")
	top := r.commit("good")
	t.Run("replace", func(t *testing.T) {
		fake := r.gitIn("fake", "commit-tree", "main^{tree}", "-p", "main")
		r.git("replace", evil, fake)
		f := r.facts("main", "work")
		equal(t, "files", paths(f), []string{"evil", "good"})
		for _, c := range f.Change.Commits {
			if strings.Contains(c.Message, "fake") {
				t.Error("the replacement was read")
			}
		}
		r.git("replace", "-d", evil)
	})
	t.Run("graft", func(t *testing.T) {
		r.write(".git/info/grafts", top+" "+r.git("rev-parse", "main")+"\n")
		f := r.facts("main", "work")
		equal(t, "commits", len(f.Change.Commits), 2)
	})
}

func TestNamesAreNeverOptions(t *testing.T) {
	r := newRepo(t)
	sha := r.commit("base")
	marker := filepath.Join(t.TempDir(), "marker")
	hostile := []string{"-x", "--output=" + marker, "--all", "-", "--exec=touch " + marker, "--upload-pack=touch"}
	for _, name := range hostile {
		if !strings.ContainsAny(name, " ") && name != "-" {
			// What git branch refuses, plumbing can still write.
			r.git("update-ref", "refs/heads/"+name, sha)
		}
	}
	repo := r.open()
	for _, name := range hostile {
		rev, err := repo.Revision(t.Context(), name)
		if strings.ContainsAny(name, " ") || name == "-" {
			if !errors.Is(err, git.ErrNoRevision) {
				t.Errorf("%q: got %v, want no such revision", name, err)
			}
			continue
		}
		if err != nil || rev.SHA != rules.SHA(sha) || rev.Branch != name {
			t.Errorf("%q: got %+v, %v", name, rev, err)
		}
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a name was taken for an option")
	}
	for _, name := range []string{"", "no-such", "main\nmain", "HEAD\x00", "main:", "main^{tree}", strings.Repeat("x", 10_000)} {
		if _, err := repo.Revision(t.Context(), name); !errors.Is(err, git.ErrNoRevision) {
			t.Errorf("%.20q: got %v, want no such revision", name, err)
		}
	}
}

func TestNothingOfTheRepositoryIsRun(t *testing.T) {
	r := newRepo(t)
	marker := filepath.Join(t.TempDir(), "marker")
	script := filepath.Join(r.dir, "evil.sh")
	os.WriteFile(script, []byte("#!/bin/sh\ntouch "+marker+"\n"), 0o755)
	r.write(".gitattributes", "*.txt diff=evil filter=evil\n")
	r.write("a.txt", "a\n")
	r.commit("base")
	r.git("checkout", "-q", "-b", "work")
	r.write("a.txt", "b\n")
	r.commit("work")
	for _, k := range []string{
		"core.fsmonitor", "diff.external", "diff.evil.command", "diff.evil.textconv", "filter.evil.clean", "filter.evil.smudge",
		"core.pager", "core.sshCommand", "core.editor", "gpg.program", "log.showSignature", "core.askPass", "credential.helper",
		"uploadpack.packObjectsHook", "alias.rev-parse", "alias.diff-tree", "alias.cat-file",
	} {
		v := script
		switch {
		case k == "log.showSignature":
			v = "true"
		case strings.HasPrefix(k, "alias."):
			v = "!" + script
		}
		r.git("config", k, v)
	}
	hooks := filepath.Join(r.dir, ".git", "hooks")
	os.MkdirAll(hooks, 0o755)
	for _, h := range []string{"post-index-change", "reference-transaction", "post-checkout"} {
		os.WriteFile(filepath.Join(hooks, h), []byte("#!/bin/sh\ntouch "+marker+"\n"), 0o755)
	}
	r.env = append(r.env, "GIT_EXTERNAL_DIFF="+script, "GIT_PAGER="+script, "PAGER="+script, "GIT_SSH_COMMAND="+script, "GIT_DIR=/nonexistent", "GIT_TRACE="+marker)
	repo := r.open()
	f, err := repo.Change(t.Context(), revision(t, repo, "main"), revision(t, repo, "work"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "files", paths(f), []string{"a.txt"})
	if _, err := repo.DefaultBranch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Tree(t.Context(), f.Change.Head.SHA); err != nil {
		t.Fatal(err)
	}
	if b, err := repo.ReadFile(t.Context(), f.Change.Head.SHA, "a.txt", 100); err != nil || string(b) != "b\n" {
		t.Fatalf("%q, %v", b, err)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("something of the repository was run")
	}
}

func TestALazyCloneFetchesNothing(t *testing.T) {
	r := newRepo(t)
	r.write("a", "a\n")
	r.commit("base")
	r.git("checkout", "-q", "-b", "work")
	r.write("b", "b\n")
	r.commit("work")
	r.git("config", "uploadpack.allowFilter", "true")
	c := *r
	c.dir = t.TempDir()
	c.git("clone", "-q", "--filter=blob:none", "--no-checkout", "file://"+r.dir, ".")
	marker := filepath.Join(t.TempDir(), "marker")
	script := filepath.Join(c.dir, "evil.sh")
	os.WriteFile(script, []byte("#!/bin/sh\ntouch "+marker+"\nexit 1\n"), 0o755)
	c.git("config", "remote.origin.url", "ssh://git@example.com/o/r")
	c.git("config", "core.sshCommand", script)
	c.git("config", "protocol.ssh.allow", "always")
	f := c.facts("origin/main", "origin/work")
	equal(t, "files", paths(f), []string{"b"})
	if len(f.Notes) != 1 || f.Change.FilesComplete != rules.Yes {
		t.Errorf("notes %q", f.Notes)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("the network was asked")
	}
}

func TestHead(t *testing.T) {
	r := newRepo(t)
	repo := r.open()
	if _, err := repo.Revision(t.Context(), "HEAD"); !errors.Is(err, git.ErrEmpty) {
		t.Errorf("empty repository: %v", err)
	}
	r.commit("base")
	if rev := revision(t, repo, "HEAD"); rev.Branch != "main" {
		t.Errorf("branch %q, want main", rev.Branch)
	}
	r.git("checkout", "-q", "--detach")
	if rev := revision(t, repo, "HEAD"); rev.Branch != "" {
		t.Errorf("detached, but branch %q", rev.Branch)
	}
}

func TestDefaultBranch(t *testing.T) {
	set := func(t *testing.T, branches ...string) *testRepo {
		r := newRepo(t)
		sha := r.commit("base")
		for _, b := range branches {
			r.git("update-ref", b, sha)
		}
		return r
	}
	check := func(t *testing.T, r *testRepo, name, ref string) {
		t.Helper()
		d, err := r.open().DefaultBranch(t.Context())
		if err != nil || d.Name != name || d.Ref != ref {
			t.Errorf("got %+v, %v; want %s as %s", d, err, name, ref)
		}
	}
	t.Run("what origin says", func(t *testing.T) {
		r := set(t, "refs/remotes/origin/develop", "refs/remotes/origin/main", "refs/remotes/a/main")
		r.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/develop")
		r.git("symbolic-ref", "refs/remotes/a/HEAD", "refs/remotes/a/main")
		check(t, r, "develop", "refs/remotes/origin/develop")
	})
	t.Run("another remote", func(t *testing.T) {
		r := set(t, "refs/remotes/fork/x/y")
		r.git("symbolic-ref", "refs/remotes/fork/HEAD", "refs/remotes/fork/x/y")
		check(t, r, "x/y", "refs/remotes/fork/x/y")
	})
	t.Run("a remote that says nothing", func(t *testing.T) {
		check(t, set(t, "refs/remotes/origin/master", "refs/remotes/origin/x"), "master", "refs/remotes/origin/master")
	})
	t.Run("no remote", func(t *testing.T) { check(t, set(t, "refs/heads/x"), "main", "refs/heads/main") })
	t.Run("no remote, as configured", func(t *testing.T) {
		r := set(t, "refs/heads/dev", "refs/heads/other")
		r.git("config", "init.defaultBranch", "dev")
		check(t, r, "dev", "refs/heads/dev")
	})
	t.Run("the only branch", func(t *testing.T) {
		r := set(t)
		r.git("branch", "-m", "main", "only")
		check(t, r, "only", "refs/heads/only")
	})
	t.Run("nothing to go by", func(t *testing.T) {
		r := set(t, "refs/heads/y")
		r.git("branch", "-m", "main", "x")
		if _, err := r.open().DefaultBranch(t.Context()); !errors.Is(err, git.ErrNoDefaultBranch) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("bare", func(t *testing.T) {
		r := set(t, "refs/heads/dev")
		r.git("symbolic-ref", "HEAD", "refs/heads/dev")
		c := *r
		c.dir = t.TempDir()
		c.git("clone", "-q", "--bare", r.dir, ".")
		check(t, &c, "dev", "refs/heads/dev")
	})
}

func TestWorkTreesAndSubdirectories(t *testing.T) {
	r := newRepo(t)
	r.write("sub/dir/a", "a")
	r.commit("base")
	r.git("checkout", "-q", "-b", "work")
	r.write("sub/dir/b", "b")
	r.commit("work")
	linked := filepath.Join(t.TempDir(), "linked tree")
	r.git("worktree", "add", "-q", linked, "--detach")
	for _, dir := range []string{filepath.Join(r.dir, "sub", "dir"), linked} {
		c := *r
		c.dir = dir
		f := c.facts("main", "HEAD")
		equal(t, dir, paths(f), []string{"sub/dir/b"})
	}
	sub := *r
	sub.dir = filepath.Join(r.dir, "sub")
	want, _ := filepath.EvalSymlinks(r.dir)
	if got, _ := filepath.EvalSymlinks(sub.open().Root()); got != want {
		t.Errorf("root %q, want %q", got, want)
	}
}

func TestNotARepository(t *testing.T) {
	env := append(os.Environ(), "GIT_CEILING_DIRECTORIES="+os.TempDir())
	if _, err := git.Open(t.Context(), git.Config{Dir: t.TempDir(), Env: env}); !errors.Is(err, git.ErrNotARepository) {
		t.Errorf("got %v", err)
	}
	if _, err := git.Open(t.Context(), git.Config{Dir: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := git.Open(t.Context(), git.Config{Dir: t.TempDir()}); !errors.Is(err, git.ErrNoGit) {
		t.Errorf("got %v", err)
	}
}

func TestReadFile(t *testing.T) {
	r := newRepo(t)
	r.write("dir/a", "0123456789")
	os.Symlink("dir/a", filepath.Join(r.dir, "link"))
	r.commit("base")
	repo := r.open()
	head := revision(t, repo, "HEAD").SHA
	if b, err := repo.ReadFile(t.Context(), head, "dir/a", 10); err != nil || string(b) != "0123456789" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := repo.ReadFile(t.Context(), head, "dir/a", 9); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("too large: %v", err)
	}
	for _, p := range []string{"none", "dir", "dir/a\nHEAD:dir/a", "../x"} {
		if _, err := repo.ReadFile(t.Context(), head, p, 10); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", p, err)
		}
	}
	// The process still answers after all these.
	if b, err := repo.ReadFile(t.Context(), head, "dir/a", 10); err != nil || string(b) != "0123456789" {
		t.Errorf("%q, %v", b, err)
	}
	tree, err := repo.Tree(t.Context(), head)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "tree", tree, []string{"dir/a"})
}

func TestFullName(t *testing.T) {
	r := newRepo(t)
	for url, want := range map[string]string{
		"git@github.com:acme/shop.git":              "acme/shop",
		"https://github.com/acme/shop":              "acme/shop",
		"https://x:token@github.com/acme/shop.git/": "acme/shop",
		"ssh://git@ghes.example.com:22/acme/s.h_op": "acme/s.h_op",
		"/srv/git/shop.git":                         "",
		"file:///srv/git/shop.git":                  "",
		"-x":                                        "",
	} {
		r.git("config", "remote.origin.url", url)
		if got, err := r.open().FullName(t.Context()); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", url, got, err, want)
		}
	}
}

func TestTenThousandCommits(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a large repository")
	}
	r := newRepo(t)
	base := r.commit("base")
	var in bytes.Buffer
	const n = 10_000
	for i := range n {
		fmt.Fprintf(&in, "commit refs/heads/big\nmark :%d\ncommitter Octo Cat <octocat@example.com> %d +0000\ndata <<E\ncommit %d\n\nCo-authored-by: Claude <noreply@anthropic.com>\nE\n", i+1, 1_700_000_000+i, i)
		if i == 0 {
			fmt.Fprintf(&in, "from %s\n", base)
		}
		fmt.Fprintf(&in, "M 644 inline docs/%d.md\ndata 2\nx\n\n", i%3000)
	}
	r.gitIn(in.String(), "fast-import", "--quiet")
	f := r.facts("main", "big")
	if len(f.Change.Commits) != n || len(f.Change.Files) != 3000 || f.Change.CommitsComplete != rules.Yes {
		t.Errorf("%d commits, %d files, complete %v", len(f.Change.Commits), len(f.Change.Files), f.Change.CommitsComplete)
	}
}

// Git may read a file of the work tree in place of the object that the index says
// it is. Here the index is made to believe that.
func TestTheWorkTreeIsNotRead(t *testing.T) {
	r := newRepo(t)
	r.write("a", strings.Repeat("same\n", 200))
	r.commit("base")
	r.git("checkout", "-q", "-b", "work")
	r.write("a", strings.Repeat("same\n", 200)+"one more\n")
	r.commit("work")
	r.git("config", "core.trustctime", "false")
	r.git("config", "core.checkStat", "minimal")
	path := filepath.Join(r.dir, "a")
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	r.git("update-index", "--refresh")
	other := strings.Repeat("else\n", 200) + "two more\n"
	r.write("a", other)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	f := r.facts("main", "work")
	equal(t, "a", file(t, f, "a"), rules.File{Path: "a", Status: rules.FileModified, Additions: 1, Mode: "100644", PreviousMode: "100644"})
}
