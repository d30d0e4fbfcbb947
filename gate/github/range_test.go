package github_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

const (
	compareKind = "GET /repos/{owner}/{repo}/compare/{basehead}"
	treeKind    = "GET /repos/{owner}/{repo}/git/trees/{tree_sha}"
	objectsKind = "POST /graphql query object"
)

func newRangeWorld(t *testing.T) *world {
	return newDeployWorld(t, githubtest.Config{Limits: githubtest.NoLimits()})
}

func (w *world) head(branch string) rules.SHA { return rules.SHA(w.repo.Head(branch)) }

func (w *world) readRange(base, head rules.SHA) github.Range {
	w.t.Helper()
	got, err := w.orders.Range(w.t.Context(), base, head)
	must(w.t, err)
	return got
}

// work commits to a branch n times.
func (w *world) work(by *githubtest.User, branch string, n int) rules.SHA {
	w.t.Helper()
	for i := range n {
		w.repo.CommitTo(by, branch, fmt.Sprintf("Work %d on %s", i, branch), map[string]string{"work/" + branch: fmt.Sprintln(i)})
	}
	return w.head(branch)
}

func shas(list []github.RangeCommit) (out []rules.SHA) {
	for _, k := range list {
		out = append(out, k.SHA)
	}
	return out
}

func paths(files []rules.File) (out []string) {
	for _, f := range files {
		out = append(out, string(f.Status)+" "+f.Path)
	}
	slices.Sort(out)
	return out
}

func TestRangeCosts(t *testing.T) {
	w := newRangeWorld(t)
	base := w.head("main")
	head := w.work(w.dave, "main", 20)
	w.warm()
	var got github.Range
	asked := w.asked(func() { got = w.readRange(base, head) })
	if !maps.Equal(asked, map[string]int{compareKind: 1, objectsKind: 1}) {
		t.Errorf("20 commits ask %v, want two requests", asked)
	}
	if got.Kind != rules.RangeAhead || len(got.Commits) != 20 || got.Complete != rules.Yes || got.FilesComplete != rules.Yes || !slices.Equal(paths(got.Files), []string{"added work/main"}) {
		t.Errorf("%s, %d commits (%v), files %v (%v)", got.Kind, len(got.Commits), got.Complete, got.Files, got.FilesComplete)
	}
	for i, k := range got.Commits {
		if k.Message != fmt.Sprintf("Work %d on main", i) || k.Author.ID != rules.AccountID(w.dave.ID) || k.Author.Login != "dave" || k.Parents != 1 || k.Pulls == nil || !k.PullsComplete || k.GitHubSigned || k.Verified != rules.No {
			t.Errorf("commit %d: %+v", i, k)
		}
		if i > 0 && k.ParentSHAs[0] != got.Commits[i-1].SHA || i == 0 && k.ParentSHAs[0] != base {
			t.Errorf("commit %d descends from %v", i, k.ParentSHAs)
		}
	}
	asked = w.asked(func() { got = w.readRange(head, head) })
	if got.Kind != rules.RangeIdentical || got.Commits == nil || len(got.Commits) != 0 || got.Complete != rules.Yes || got.FilesComplete != rules.Yes || sum(asked) != 0 {
		t.Errorf("nothing between: %+v, asking %v", got, asked)
	}
	for _, bad := range [][2]rules.SHA{{"", head}, {base, ""}, {"main", head}, {base, "main"}, {base, head + "?page=2"}} {
		if got, err := w.orders.Range(t.Context(), bad[0], bad[1]); err == nil {
			t.Errorf("%q passes: %+v", bad, got)
		}
	}
}

// A list that ends before the head is not the whole, whatever is counted.
func TestRangeWithoutItsHead(t *testing.T) {
	w := newRangeWorld(t)
	base, head := w.head("main"), w.work(w.dave, "main", 3)
	w.edit("/compare/", func(text string) string {
		var c map[string]any
		must(t, json.Unmarshal([]byte(text), &c))
		list, _ := c["commits"].([]any)
		c["commits"], c["total_commits"] = list[:2], 2
		out, err := json.Marshal(c)
		must(t, err)
		return string(out)
	})
	if got := w.readRange(base, head); got.Complete != rules.No || len(got.Commits) != 2 {
		t.Errorf("without its head: complete %v, %d commits", got.Complete, len(got.Commits))
	}
}

// A signature is GitHub's only if GitHub says so, and if it holds.
func TestRangeSignatures(t *testing.T) {
	w := newRangeWorld(t)
	base := w.head("main")
	_, err := w.repo.PushCommit(w.dave, "main", githubtest.Commit{Message: "Signed", Author: w.dave.Identity(), Signed: true, Files: map[string]githubtest.File{"s": githubtest.Text("s\n")}})
	must(t, err)
	head := w.head("main")
	want := func(what string, verified rules.Tri, byGitHub bool) {
		t.Helper()
		if k := w.readRange(base, head).Commits[0]; k.Verified != verified || k.GitHubSigned != byGitHub {
			t.Errorf("%s: verified %v, signed by GitHub %v", what, k.Verified, k.GitHubSigned)
		}
	}
	want("dave's", rules.Yes, false)
	w.replace("/graphql", `"wasSignedByGitHub":false`, `"wasSignedByGitHub":true`)
	want("GitHub's", rules.Yes, true)
	w.replace("/graphql", `"isValid":true,"wasSignedByGitHub":false`, `"isValid":false,"wasSignedByGitHub":true`)
	want("one that does not hold", rules.No, false)
}

// However a pull request is merged, its commits lead to it.
func TestRangeOfMerges(t *testing.T) {
	for _, method := range []string{"merge", "squash", "rebase"} {
		t.Run(method, func(t *testing.T) {
			w := newRangeWorld(t)
			base := w.head("main")
			w.work(w.dave, "feature", 2)
			w.repo.CommitTo(w.agent, "feature", "Third\n\nCo-authored-by: Alice <"+w.alice.Email()+">", map[string]string{"third": "x\n"})
			p := w.openBranch(w.dave, "feature")
			pull := rules.SHA(p.Head())
			must(t, p.Merge(w.carol, method, p.Head()))
			direct := rules.SHA(w.repo.CommitTo(w.carol, "main", "Directly", map[string]string{"direct": "x\n"}))
			got := w.readRange(base, direct)
			want := map[string]int{"merge": 5, "squash": 2, "rebase": 4}[method]
			if got.Kind != rules.RangeAhead || got.Complete != rules.Yes || len(got.Commits) != want {
				t.Fatalf("%s, %d commits (%v), want %d", got.Kind, len(got.Commits), got.Complete, want)
			}
			of := github.PullOf{Number: p.Number, Merged: true, Base: "main", BaseRepository: rules.RepositoryID(w.repo.ID), Head: pull, MergeCommit: rules.SHA(p.See().MergeSHA)}
			coauthors := false
			for _, k := range got.Commits[:want-1] {
				if !k.PullsComplete || !slices.Equal(k.Pulls, []github.PullOf{of}) {
					t.Errorf("%s is of %+v, want %+v", k.SHA.Short(), k.Pulls, of)
				}
				merge := k.SHA == of.MergeCommit && method != "rebase"
				if k.GitHubSigned != merge || (k.Verified == rules.Yes) != merge {
					t.Errorf("%s is signed by GitHub: %v, verified %v", k.SHA.Short(), k.GitHubSigned, k.Verified)
				}
				if k.SHA == of.MergeCommit && method == "merge" && (k.Parents != 2 || !slices.Equal(k.ParentSHAs, []rules.SHA{base, pull})) {
					t.Errorf("the merge has the parents %v", k.ParentSHAs)
				}
				coauthors = coauthors || slices.ContainsFunc(k.CoAuthors, func(i rules.Identity) bool { return i.ID == rules.AccountID(w.alice.ID) })
			}
			if !coauthors && method != "squash" {
				t.Error("alice is a co-author of none")
			}
			if last := got.Commits[want-1]; last.SHA != direct || len(last.Pulls) != 0 || !last.PullsComplete || last.GitHubSigned {
				t.Errorf("what was pushed directly: %+v", last)
			}
		})
	}
}

// A merge may have any number of parents, and may be nobody's.
func TestRangeWithAnOctopus(t *testing.T) {
	w := newRangeWorld(t)
	base := w.head("main")
	parents := []string{string(base)}
	for i := range 14 {
		parents = append(parents, string(w.work(w.dave, fmt.Sprintf("arm-%d", i), 1)))
	}
	head := rules.SHA(w.repo.Commit(githubtest.Commit{Message: "Octopus", Author: githubtest.Identity{Name: "nobody", Email: "x"}, Parents: parents}))
	must(t, w.repo.Push(w.carol, "main", string(head)))
	got := w.readRange(base, head)
	if got.Complete != rules.Yes || len(got.Commits) != 15 {
		t.Fatalf("%d commits (%v)", len(got.Commits), got.Complete)
	}
	last := got.Commits[14]
	if last.SHA != head || last.Parents != 15 || len(last.ParentSHAs) != 15 || string(last.ParentSHAs[14]) != parents[14] || last.Author.ID != 0 || last.Author.Name != "nobody" {
		t.Errorf("the octopus: %+v", last)
	}
}

func TestRangeInPages(t *testing.T) {
	w := newRangeWorld(t)
	base := w.head("main")
	head := w.work(w.dave, "main", 260)
	var got github.Range
	asked := w.asked(func() { got = w.readRange(base, head) })
	if !maps.Equal(asked, map[string]int{compareKind: 3, objectsKind: 6}) {
		t.Errorf("260 commits ask %v", asked)
	}
	if got.Complete != rules.Yes || len(got.Commits) != 260 || got.Commits[259].SHA != head || got.Commits[259].Message == "" || got.FilesComplete != rules.Yes {
		t.Errorf("%d commits (%v), files %v", len(got.Commits), got.Complete, got.FilesComplete)
	}
	if all := shas(got.Commits); len(slices.Compact(slices.Sorted(slices.Values(all)))) != 260 {
		t.Error("a commit is there twice")
	}
	// What GitHub counts and does not list is missing.
	w.replace("/compare/", `"total_commits":260`, `"total_commits":261`)
	if got := w.readRange(base, head); got.Complete != rules.No {
		t.Errorf("with one missing: complete %v", got.Complete)
	}
	// One that is listed twice is there once.
	w.edit("/compare/", func(s string) string {
		return strings.ReplaceAll(s, `"sha":"`+string(got.Commits[3].SHA)+`"`, `"sha":"`+string(got.Commits[2].SHA)+`"`)
	})
	if got := w.readRange(base, head); got.Complete != rules.No || len(got.Commits) != 259 {
		t.Errorf("with one twice: complete %v, %d commits", got.Complete, len(got.Commits))
	}
	// Pages of two comparisons are none.
	page := 0
	w.edit("/compare/", func(s string) string {
		if page++; page > 1 {
			return strings.Replace(s, `"total_commits":260`, `"total_commits":259`, 1)
		}
		return s
	})
	if got, err := w.orders.Range(t.Context(), base, head); err == nil {
		t.Errorf("pages that do not belong together pass: %d commits", len(got.Commits))
	}
	for name, change := range map[string][2]string{"another word": {`"status":"ahead"`, `"status":"fine"`}, "the same commit": {`"status":"ahead"`, `"status":"identical"`}} {
		w.replace("/compare/", change[0], change[1])
		if got, err := w.orders.Range(t.Context(), base, head); err == nil {
			t.Errorf("%s passes: %s", name, got.Kind)
		}
	}
	// A commit that is listed and not given is no fact.
	w.edit("/graphql", func(s string) string {
		return strings.ReplaceAll(s, `"oid":"`+string(head)+`"`, `"oid":"`+strings.Repeat("b", 40)+`"`)
	})
	if got, err := w.orders.Range(t.Context(), base, head); err == nil {
		t.Errorf("a commit under another's id passes: %v", got.Complete)
	}
	w.edit("/graphql", func(s string) string { return strings.Replace(s, `"o0":{`, `"o0":null,"x":{`, 1) })
	if got, err := w.orders.Range(t.Context(), base, head); err == nil {
		t.Errorf("a commit that is not given passes: %v", got.Complete)
	}
}

// After 5,000 commits no more are read.
func TestRangeThatIsTooLong(t *testing.T) {
	w := newRangeWorld(t)
	base := w.head("main")
	head := w.work(w.dave, "main", 3)
	page := 0
	w.wire.changing(func(r *http.Response) {
		body, err := io.ReadAll(r.Body)
		must(t, err)
		text := string(body)
		switch {
		case strings.Contains(r.Request.URL.Path, "/compare/"):
			var list []string
			for i := range 100 {
				list = append(list, fmt.Sprintf(`{"sha":"%040x","parents":[]}`, page*100+i+1))
			}
			page++
			r.Header.Set("Link", `<`+w.g.URL()+`/x?page=7>; rel="next"`)
			text = `{"status":"ahead","total_commits":6000,"files":[],"commits":[` + strings.Join(list, ",") + `]}`
		case strings.HasSuffix(r.Request.URL.Path, "/graphql"):
			var in struct {
				Variables map[string]string `json:"variables"`
			}
			must(t, json.Unmarshal(lastRequest(w).Body, &in))
			var list []string
			for name, sha := range in.Variables {
				if strings.HasPrefix(name, "o") && name != "owner" {
					list = append(list, fmt.Sprintf(`%q:{"oid":%q,"authors":{"totalCount":1,"nodes":[{}]},"associatedPullRequests":{"totalCount":0,"pageInfo":{"hasNextPage":false},"nodes":[]}}`, name, sha))
				}
			}
			text = `{"data":{"repository":{` + strings.Join(list, ",") + `}}}`
		}
		r.Body = io.NopCloser(strings.NewReader(text))
	})
	got := w.readRange(base, head)
	if len(got.Commits) != 5000 || got.Complete != rules.No || page != 50 {
		t.Errorf("%d commits (%v) on %d pages", len(got.Commits), got.Complete, page)
	}
}

// Commits with more authors or pull requests than are asked for first are read once
// more; what is still not all is not whole.
func TestRangeOfManyPeople(t *testing.T) {
	w := newRangeWorld(t)
	w.repo.CommitTo(w.carol, "target", "Begin", map[string]string{"t": "x\n"})
	base := w.head("main")
	with := func(n int) string {
		var lines []string
		for i := range n {
			lines = append(lines, fmt.Sprintf("Co-authored-by: P%d <p%d@example.com>", i, i))
		}
		return "Together\n\n" + strings.Join(lines, "\n")
	}
	w.repo.CommitTo(w.dave, "feature", with(30), map[string]string{"a": "1\n"})
	head := w.head("feature")
	for i := range 25 {
		target := fmt.Sprintf("target-%d", i)
		w.repo.CommitTo(w.carol, target, "Begin", map[string]string{target: "x\n"})
		_, err := w.repo.OpenPull(w.dave, githubtest.PullSpec{Head: "feature", Base: target, Title: "x"})
		must(t, err)
	}
	var got github.Range
	asked := w.asked(func() { got = w.readRange(base, head) })
	k := got.Commits[0]
	if got.Complete != rules.Yes || len(k.CoAuthors) != 30 || len(k.Pulls) != 25 || !k.PullsComplete || !maps.Equal(asked, map[string]int{compareKind: 1, objectsKind: 2}) {
		t.Errorf("complete %v, %d co-authors, %d pull requests (%v), asking %v", got.Complete, len(k.CoAuthors), len(k.Pulls), k.PullsComplete, asked)
	}
	for _, p := range k.Pulls {
		if p.Merged || p.MergeCommit != "" || !strings.HasPrefix(p.Base, "target-") || p.Head != head {
			t.Errorf("an open pull request: %+v", p)
		}
	}
	head = rules.SHA(w.repo.CommitTo(w.dave, "feature", with(120), map[string]string{"a": "2\n"}))
	if got := w.readRange(base, head); got.Complete != rules.No || len(got.Commits) != 2 {
		t.Errorf("with 121 authors: complete %v, %d commits", got.Complete, len(got.Commits))
	}
}

func TestRangeOfManyPulls(t *testing.T) {
	w := newRangeWorld(t)
	base, head := w.head("main"), w.work(w.dave, "feature", 1)
	w.openBranch(w.dave, "feature")
	w.replace("/graphql", `"pageInfo":{"hasNextPage":false}`, `"pageInfo":{"hasNextPage":true}`)
	if got := w.readRange(base, head); got.Complete != rules.No || got.Commits[0].PullsComplete {
		t.Errorf("pull requests without an end: complete %v, %+v", got.Complete, got.Commits)
	}
	w.edit("/graphql", func(s string) string {
		return strings.Replace(s, `"associatedPullRequests":{`, `"associatedPullRequests":null,"x":{`, 1)
	})
	if got := w.readRange(base, head); got.Complete != rules.No || got.Commits[0].PullsComplete {
		t.Errorf("no list of pull requests: complete %v, %+v", got.Complete, got.Commits)
	}
}

func TestRangeFiles(t *testing.T) {
	w := newRangeWorld(t)
	w.repo.CommitTo(w.carol, "main", "Add", map[string]string{"migrations/1.sql": "create table a (id int);\ncreate table b (id int);\n", "old.txt": "x\n", "run.sh": "echo\n", "kept": "k\n"})
	base := w.head("main")
	_, err := w.repo.PushCommit(w.dave, "main", githubtest.Commit{
		Message: "Change", Author: w.dave.Identity(), Renames: map[string]string{"migrations/1.sql": "docs/1.sql"},
		Files: map[string]githubtest.File{"old.txt": githubtest.Removed(), "a b?#\n.txt": githubtest.Text("n\n"), "run.sh": githubtest.Executable("echo\n"), "link": githubtest.Symlink("kept"), "sub": githubtest.Submodule(strings.Repeat("a", 40))},
	})
	must(t, err)
	head := w.head("main")
	got := w.readRange(base, head)
	want := []string{"added a b?#\n.txt", "added link", "added sub", "modified run.sh", "removed old.txt", "renamed docs/1.sql"}
	if !slices.Equal(paths(got.Files), want) || got.FilesComplete != rules.Yes {
		t.Errorf("files: %q, want %q", paths(got.Files), want)
	}
	i := slices.IndexFunc(got.Files, func(f rules.File) bool { return f.PreviousPath == "migrations/1.sql" })
	if i < 0 || got.Files[i].Path != "docs/1.sql" {
		t.Errorf("the moved file: %+v", got.Files)
	}
	// Backwards they are found in the trees, where both names of a moved file show.
	var back github.Range
	asked := w.asked(func() { back = w.readRange(head, base) })
	if !maps.Equal(asked, map[string]int{compareKind: 1, treeKind: 2}) {
		t.Errorf("a rollback asks %v", asked)
	}
	if back.Kind != rules.RangeBehind || back.Commits == nil || len(back.Commits) != 0 || back.Complete != rules.Yes || back.FilesComplete != rules.Yes {
		t.Errorf("a rollback: %+v", back)
	}
	files := map[string]rules.File{}
	for _, f := range back.Files {
		files[f.Path] = f
	}
	for _, want := range []rules.File{
		{Path: "docs/1.sql", Status: rules.FileRemoved, Mode: rules.ModeFile, PreviousMode: rules.ModeFile}, {Path: "migrations/1.sql", Status: rules.FileAdded, Mode: rules.ModeFile},
		{Path: "run.sh", Status: rules.FileModified, Mode: rules.ModeFile, PreviousMode: rules.ModeExecutable}, {Path: "link", Status: rules.FileRemoved, Mode: rules.ModeSymlink, PreviousMode: rules.ModeSymlink},
		{Path: "sub", Status: rules.FileRemoved, Mode: rules.ModeSubmodule, PreviousMode: rules.ModeSubmodule}, {Path: "old.txt", Status: rules.FileAdded, Mode: rules.ModeFile},
		{Path: "a b?#\n.txt", Status: rules.FileRemoved, Mode: rules.ModeFile, PreviousMode: rules.ModeFile},
	} {
		if files[want.Path] != want {
			t.Errorf("%q: %+v, want %+v", want.Path, files[want.Path], want)
		}
	}
	if len(files) != 7 || !slices.IsSortedFunc(back.Files, func(a, b rules.File) int { return strings.Compare(a.Path, b.Path) }) {
		t.Errorf("files: %q", paths(back.Files))
	}
	// A list that is not there is not an empty one.
	w.replace("/compare/", `"files":[`, `"x":[`)
	if got := w.readRange(base, head); got.FilesComplete != rules.Yes || len(got.Files) != 7 {
		t.Errorf("without a list of files: %v, %q", got.FilesComplete, paths(got.Files))
	}
}

func TestRangeWithManyFiles(t *testing.T) {
	w := newRangeWorld(t)
	base := w.head("main")
	w.repo.CommitTo(w.dave, "main", "Many", names(299, "f%03d"))
	if asked := w.asked(func() {
		if got := w.readRange(base, w.head("main")); len(got.Files) != 299 || got.FilesComplete != rules.Yes {
			t.Errorf("299 files: %d, %v", len(got.Files), got.FilesComplete)
		}
	}); sum(asked) != 2 {
		t.Errorf("299 files ask %v", asked)
	}
	for n := 300; n <= 320; n += 20 {
		w.repo.CommitTo(w.dave, "main", "More", names(n, "f%03d"))
		asked := w.asked(func() {
			if got := w.readRange(base, w.head("main")); len(got.Files) != n || got.FilesComplete != rules.Yes || got.Files[0].Mode != rules.ModeFile {
				t.Errorf("%d files: %d, %v", n, len(got.Files), got.FilesComplete)
			}
		})
		if asked[treeKind] != 2 || sum(asked) != 4 {
			t.Errorf("%d files ask %v", n, asked)
		}
	}
	w.repo.TruncateTrees(200)
	if got := w.readRange(base, w.head("main")); got.FilesComplete != rules.No || len(got.Files) != 0 || got.Complete != rules.Yes {
		t.Errorf("with trees that are cut: %d files, %v", len(got.Files), got.FilesComplete)
	}
}

func TestRangeThatDiverged(t *testing.T) {
	w := newRangeWorld(t)
	root := w.head("main")
	base := w.work(w.dave, "main", 2)
	must(t, w.repo.Push(w.carol, "main", string(root)))
	w.repo.CommitTo(w.eveAsWriter(), "main", "Another way", map[string]string{"evil": "x\n"})
	head := w.head("main")
	got := w.readRange(base, head)
	if got.Kind != rules.RangeDiverged || !slices.Equal(shas(got.Commits), []rules.SHA{head}) || got.Complete != rules.Yes || !slices.Equal(paths(got.Files), []string{"added evil", "removed work/main"}) || got.FilesComplete != rules.Yes {
		t.Errorf("%s, commits %v (%v), files %q (%v)", got.Kind, shas(got.Commits), got.Complete, paths(got.Files), got.FilesComplete)
	}
	// Nothing in common, or nothing left of the earlier one: nothing is known.
	orphan := rules.SHA(w.repo.Commit(githubtest.Commit{Message: "Orphan", Author: w.dave.Identity(), Files: map[string]githubtest.File{"o": githubtest.Text("o\n")}}))
	gone := rules.SHA(strings.Repeat("a", 40))
	for name, pair := range map[string][2]rules.SHA{"an orphan": {base, orphan}, "a base that is an orphan": {orphan, base}, "a base that is gone": {gone, head}} {
		got, err := w.orders.Range(t.Context(), pair[0], pair[1])
		if err != nil || got.Kind != rules.RangeDiverged || got.Complete != rules.No || got.FilesComplete != rules.No || len(got.Commits) != 0 || len(got.Files) != 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got, err := w.orders.Range(t.Context(), base, gone); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("a head that is not there: %+v, %v", got, err)
	}
	none := w.client.Repository(rules.InstallationID(w.inst.ID), rules.RepositoryID(w.repo.ID), "acme/none")
	if got, err := none.Range(t.Context(), base, head); err == nil {
		t.Errorf("a repository that is not there: %+v", got)
	}
	if got, err := none.Contains(t.Context(), base, head); err == nil || got {
		t.Errorf("in a repository that is not there: %v, %v", got, err)
	}
}

// eveAsWriter is eve, who may write by now.
func (w *world) eveAsWriter() *githubtest.User {
	w.repo.Collaborator(w.eve, "write")
	return w.eve
}

func TestContains(t *testing.T) {
	w := newRangeWorld(t)
	root := w.head("main")
	head := w.work(w.dave, "main", 3)
	w.repo.CommitTo(w.dave, "side", "Aside", names(301, "f%d"))
	_, err := w.repo.PushCommit(w.dave, "side", githubtest.Commit{Message: "On", Author: w.dave.Identity(), Files: map[string]githubtest.File{"s": githubtest.Text("s\n")}})
	must(t, err)
	side := w.head("side")
	merge := rules.SHA(w.repo.Commit(githubtest.Commit{Message: "Merge", Author: w.dave.Identity(), Parents: []string{string(head), string(side)}}))
	orphan := rules.SHA(w.repo.Commit(githubtest.Commit{Message: "Orphan", Author: w.dave.Identity(), Files: map[string]githubtest.File{"o": githubtest.Text("o\n")}}))
	alone := rules.SHA(w.repo.Commit(githubtest.Commit{Message: "Alone", Author: w.dave.Identity(), Parents: []string{string(root)}, Files: map[string]githubtest.File{"l": githubtest.Text("l\n")}}))
	gone := rules.SHA(strings.Repeat("a", 40))
	for name, c := range map[string]struct {
		branch, sha rules.SHA
		want        bool
		asks        int
	}{
		"itself": {head, head, true, 0}, "an ancestor": {head, root, true, 1}, "a descendant": {root, head, false, 1}, "beside": {side, root, true, 1},
		"a merge's other side": {merge, side, true, 1}, "before the merge": {side, merge, false, 1}, "another way": {head, alone, false, 1}, "the other way": {alone, head, false, 1}, "an orphan": {head, orphan, false, 2}, "another's orphan": {orphan, head, false, 2},
	} {
		var got bool
		asked := w.asked(func() {
			var err error
			got, err = w.orders.Contains(t.Context(), c.branch, c.sha)
			must(t, err)
		})
		if got != c.want || sum(asked) != c.asks {
			t.Errorf("%s: %v, want %v; asking %v", name, got, c.want, asked)
		}
	}
	w.edit("/compare/", func(s string) string {
		if strings.Contains(s, `"files"`) {
			t.Error("the files are sent")
		}
		return s
	})
	if got, err := w.orders.Contains(t.Context(), head, side); err != nil || got {
		t.Errorf("with many files: %v, %v", got, err)
	}
	for _, pair := range [][2]rules.SHA{{head, gone}, {gone, head}} {
		if got, err := w.orders.Contains(t.Context(), pair[0], pair[1]); !errors.Is(err, github.ErrNotFound) || got {
			t.Errorf("a commit that is not there: %v, %v", got, err)
		}
	}
	for _, pair := range [][2]rules.SHA{{"", ""}, {"main", "main"}, {head, ""}, {"", head}, {head, "main"}} {
		if got, err := w.orders.Contains(t.Context(), pair[0], pair[1]); err == nil || got {
			t.Errorf("%q: %v, %v", pair, got, err)
		}
	}
	w.replace("/compare/", `"status":"behind"`, `"status":"fine"`)
	if got, err := w.orders.Contains(t.Context(), head, root); err == nil || got {
		t.Errorf("another word: %v, %v", got, err)
	}
}

func TestTexts(t *testing.T) {
	w := newRangeWorld(t)
	big := strings.Repeat("0123456789abcdef", 16<<10)
	_, err := w.repo.PushCommit(w.carol, "main", githubtest.Commit{Message: "Add", Author: w.carol.Identity(), Files: map[string]githubtest.File{
		"a.sql": githubtest.Text("drop table a;\n"), "same.sql": githubtest.Text("drop table a;\n"), "empty": githubtest.Text(""), "bin": githubtest.Text("a\x00b"), "latin": githubtest.Text("caf\xe9\n"), "edge": githubtest.Text(big), "over": githubtest.Text(big + "x"),
		"huge": githubtest.Text(strings.Repeat(big, 8)), "link": githubtest.Symlink("a.sql"), "sub": githubtest.Submodule(strings.Repeat("a", 40)), "dir/x: ?#\"\n.txt": githubtest.Text("hostile\n"),
	}})
	must(t, err)
	head := w.head("main")
	asked := []string{"a.sql", "same.sql", "empty", "bin", "latin", "edge", "over", "huge", "link", "sub", "dir", "dir/x: ?#\"\n.txt", "gone", "", "../a.sql", "a.sql/x", "bad\xff"}
	got, err := w.orders.Texts(t.Context(), head, append(asked, "a.sql"))
	must(t, err)
	if len(got) != len(asked) {
		t.Errorf("%d answers, want %d", len(got), len(asked))
	}
	known := map[string]string{"a.sql": "drop table a;\n", "same.sql": "drop table a;\n", "empty": "", "edge": big, "link": "a.sql", "dir/x: ?#\"\n.txt": "hostile\n"}
	for _, p := range asked {
		text, want := known[p]
		if x, there := got[p]; !there || x.Known != want || x.Text != text {
			t.Errorf("%q: %d bytes, known %v; want %d, %v", p, len(x.Text), x.Known, len(text), want)
		}
	}
	// What GitHub gives must be as long as it says, whole and text.
	for name, change := range map[string][2]string{
		"another length": {`"byteSize":14`, `"byteSize":15`}, "cut": {`"isTruncated":false`, `"isTruncated":true`}, "of unknown kind": {`"isBinary":false`, `"isBinary":null`}, "binary": {`"isBinary":false`, `"isBinary":true`},
		"negative": {`"byteSize":14`, `"byteSize":-1`}, "another blob": {`"oid":"`, `"oid":"b`}, "null": {`"o0":{`, `"o0":null,"x":{`},
	} {
		w.edit("/graphql", func(s string) string { return strings.ReplaceAll(s, change[0], change[1]) })
		if got, err := w.orders.Texts(t.Context(), head, []string{"a.sql"}); err != nil || got["a.sql"].Known {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	w.wire.changing(nil)
	for _, sha := range []rules.SHA{"", "main", "HEAD"} {
		if got, err := w.orders.Texts(t.Context(), sha, []string{"a.sql"}); err == nil {
			t.Errorf("%q passes for a commit: %v", sha, got)
		}
	}
	if got, err := w.orders.Texts(t.Context(), rules.SHA(strings.Repeat("a", 40)), []string{"a.sql"}); err != nil || got["a.sql"].Known {
		t.Errorf("at no commit: %v, %v", got, err)
	}
	if n := sum(w.asked(func() {
		if got, err := w.orders.Texts(t.Context(), head, nil); err != nil || len(got) != 0 {
			t.Errorf("nothing: %v, %v", got, err)
		}
	})); n != 0 {
		t.Errorf("nothing asks %d requests", n)
	}
}

func TestTextsInPages(t *testing.T) {
	w := newRangeWorld(t)
	files, large := map[string]string{}, map[string]string{}
	var asked, big []string
	for i := range 130 {
		p := fmt.Sprintf("f%03d", i)
		files[p] = p + "\n"
		asked = append(asked, p)
	}
	for i := range 30 {
		p := fmt.Sprintf("large%02d", i)
		large[p] = p + strings.Repeat("<\x01", 100<<10)
		big = append(big, p)
	}
	maps.Copy(files, large)
	w.repo.CommitTo(w.carol, "main", "Add", files)
	var got map[string]github.Text
	var err error
	n := sum(w.asked(func() { got, err = w.orders.Texts(t.Context(), w.head("main"), asked) }))
	must(t, err)
	if n != 6 || len(got) != 130 {
		t.Errorf("%d answers by %d requests, want 130 by one for the lengths and five for the texts", len(got), n)
	}
	for i, p := range asked {
		if x := got[p]; x.Known != (i < 100) || x.Known && x.Text != files[p] {
			t.Errorf("%s: %+v", p, x)
		}
	}
	// However long they are, an answer stays within what is read.
	got, err = w.orders.Texts(t.Context(), w.head("main"), big)
	must(t, err)
	for _, p := range big {
		if x := got[p]; !x.Known || x.Text != large[p] {
			t.Errorf("%s: %d bytes, known %v", p, len(x.Text), x.Known)
		}
	}
}
