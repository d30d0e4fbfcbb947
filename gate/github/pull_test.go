package github_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// One request tells all that a decision begins with.
func TestPullIsOneRequest(t *testing.T) {
	w := newWorld(t)
	w.repo.CommitTo(w.carol, "main", "Add the policy", map[string]string{rules.PolicyPath: "version: 1\n"})
	w.repo.MergeMethods("merge", "squash")
	w.repo.CommitTo(w.agent, "feature", "Work\n\nCo-authored-by: dave <"+w.dave.Email()+">", names(99, "src/f%03d.go"))
	p := w.openFiles(w.agent, "feature", map[string]string{"src/last.go": "package src\n"})
	sha := p.Head()
	must(t, p.Label(w.alice, "wait"))
	_, err := p.Approve(w.bob, sha)
	must(t, err)
	_, err = p.Review(w.eve, "REQUEST_CHANGES", sha, "no")
	must(t, err)
	own, err := p.Approve(w.app.Bot(), sha)
	must(t, err)
	must(t, p.Request(w.alice, []*githubtest.User{w.dave}, []*githubtest.Team{w.sre}))
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/test.yml", By: w.dave, SHA: sha, Jobs: []githubtest.JobSpec{{Name: "test"}, {Name: "slow"}}})
	must(t, run.Job("test").Complete("success"))
	w.repo.AddCheck(w.agentApp, sha, "lint", "failure")
	w.repo.Status(w.dave, sha, "ci/person", "error")
	w.repo.Status(w.agent, sha, "ci/app", "success")
	w.repo.Status(w.agent, sha, "ci/waits", "pending")

	w.warm()
	var got *github.Pull
	asked := w.asked(func() { got = w.pull(p) })
	if sum(asked) != 1 || asked["POST /graphql query defaultBranchRef"] != 1 {
		t.Errorf("reading it asks %v, want one query", asked)
	}
	c := got.Change
	if len(c.Files) != 100 || c.FilesComplete != rules.Yes || len(c.Commits) != 2 || c.CommitsComplete != rules.Yes {
		t.Errorf("%d files (%v), %d commits (%v)", len(c.Files), c.FilesComplete, len(c.Commits), c.CommitsComplete)
	}
	if c.Author != actor(w.agent) || c.Author.Login != "writer[bot]" || c.App != "writer" {
		t.Errorf("author %v through %q", c.Author, c.App)
	}
	if c.Repository.ID != rules.RepositoryID(w.repo.ID) || c.Head.Repository.ID != c.Repository.ID || string(c.Head.SHA) != sha || c.Head.Ref != "feature" || c.Base.Ref != "main" {
		t.Errorf("repository %v, head %v, base %v", c.Repository, c.Head, c.Base)
	}
	if !slices.Equal(c.Labels, []string{"wait"}) || c.Draft != rules.No || got.State != "open" || !c.Now.Equal(w.clock.Now()) {
		t.Errorf("labels %v, draft %v, state %q, now %v", c.Labels, c.Draft, got.State, c.Now)
	}
	if k := c.Commits[0]; k.Parents != 1 || k.Verified != rules.No || len(k.CoAuthors) != 1 || k.CoAuthors[0].Login != "dave" || k.Author.ID != 0 {
		t.Errorf("the first commit: %+v (GraphQL resolves no bots)", k)
	}
	if l := got.Links[c.Head.SHA]; len(l) != 1 || l[0] != c.Commits[0].SHA {
		t.Errorf("the head's parents: %v", l)
	}
	if len(c.Reviews) != 3 || c.Reviews[0].User != actor(w.bob) || c.Reviews[0].State != rules.ReviewApproved || c.Reviews[0].Write != rules.Yes ||
		c.Reviews[1].State != rules.ReviewChangesRequested || c.Reviews[1].Write != rules.No || string(c.Reviews[0].SHA) != sha || c.Reviews[0].SubmittedAt.IsZero() {
		t.Errorf("reviews: %+v", c.Reviews)
	}
	if len(got.OwnReviews) != 1 || got.OwnReviews[0].ID != rules.ReviewID(own) || got.OwnReviews[0].State != rules.ReviewApproved {
		t.Errorf("own reviews: %+v, want %d", got.OwnReviews, own)
	}
	want := []rules.Check{
		{Name: "slow", App: "github-actions"}, {Name: "test", App: "github-actions", Conclusion: "success"}, {Name: "lint", App: "writer", Conclusion: "failure"},
		{Name: "ci/app", App: "writer", Conclusion: "success"}, {Name: "ci/person", Conclusion: "failure"}, {Name: "ci/waits", App: "writer"},
	}
	checkSame(t, c.Checks, want)
	for i, k := range got.CheckRuns {
		if c.Checks[i].Name != k.Name {
			t.Errorf("check %d is %q, its run %q", i, c.Checks[i].Name, k.Name)
		}
		if k.Name == "test" && (k.ID != rules.CheckRunID(run.Job("test").CheckRun().ID) || k.RunID != rules.RunID(run.ID) || k.WorkflowPath != ".github/workflows/test.yml" || k.AppID != 15368 || k.Status != "completed") {
			t.Errorf("the run of test: %+v", k)
		}
	}
	if !slices.Equal(got.MergeMethods, []string{"merge", "squash"}) || got.Queue || got.NodeID == "" || got.Mergeable == "" {
		t.Errorf("methods %v, queue %v, node %q, mergeable %q", got.MergeMethods, got.Queue, got.NodeID, got.Mergeable)
	}
	if got.Policy.State != github.FileFound || string(got.Policy.Text) != "version: 1\n" || string(got.Policy.Commit) != w.repo.Head("main") || got.Policy.Branch != "main" || got.Policy.Blob == "" {
		t.Errorf("policy: %+v", got.Policy)
	}
	slices.Sort(got.Requested)
	if !slices.Equal(got.Requested, []rules.Reviewer{"acme/sre", "dave"}) {
		t.Errorf("requested: %v", got.Requested)
	}
}

// checkSame compares checks, whatever their order.
func checkSame(t *testing.T, got, want []rules.Check) {
	t.Helper()
	text := func(list []rules.Check) string {
		var out []string
		for _, k := range list {
			out = append(out, fmt.Sprintf("%+v", k))
		}
		slices.Sort(out)
		return strings.Join(out, "\n")
	}
	if text(got) != text(want) {
		t.Errorf("checks:\n%s\nwant:\n%s", text(got), text(want))
	}
}

func TestPullOfAFork(t *testing.T) {
	w := newWorld(t)
	w.repo.Public()
	fork := w.repo.Fork(w.eve)
	fork.CommitTo(w.eve, "patch", "Patch", map[string]string{"a.txt": "a\n"})
	p, err := w.repo.OpenPull(w.eve, githubtest.PullSpec{Head: "patch", From: fork, Title: "Patch", Draft: true})
	must(t, err)
	c := w.pull(p).Change
	if c.Head.Repository.ID != rules.RepositoryID(fork.ID) || c.Head.Repository.FullName != "eve/orders" || c.Repository.FullName != "acme/orders" || c.Draft != rules.Yes {
		t.Errorf("head %v of %v, draft %v", c.Head, c.Repository, c.Draft)
	}
}

// GraphQL does not say from where a file was moved: then the list of REST is read.
func TestPullWithRenames(t *testing.T) {
	w := newWorld(t)
	w.repo.CommitTo(w.carol, "main", "Add", map[string]string{"migrations/1.sql": "create table a (id int);\ncreate table b (id int);\n", "old.txt": "x\n"})
	_, err := w.repo.PushCommit(w.dave, "move", githubtest.Commit{
		Message: "Move", Author: w.dave.Identity(), Renames: map[string]string{"migrations/1.sql": "docs/1.sql"}, Files: map[string]githubtest.File{"old.txt": githubtest.Removed(), "new.txt": githubtest.Text("n\n")},
	})
	must(t, err)
	p := w.openBranch(w.dave, "move")
	w.warm()
	var got *github.Pull
	asked := w.asked(func() { got = w.pull(p) })
	if sum(asked) != 3 || asked["GET /repos/{owner}/{repo}/pulls/{pull_number}/files"] != 1 {
		t.Errorf("it asks %v, want the query, the files, and whether the head is still the same", asked)
	}
	files := map[string]rules.File{}
	for _, f := range got.Change.Files {
		files[f.Path] = f
	}
	if f := files["docs/1.sql"]; f.PreviousPath != "migrations/1.sql" || f.Status != rules.FileRenamed {
		t.Errorf("the moved file: %+v", f)
	}
	if files["old.txt"].Status != rules.FileRemoved || files["new.txt"].Status != rules.FileAdded || got.Change.FilesComplete != rules.Yes {
		t.Errorf("files: %+v", files)
	}
}

// What is read in several requests is of one head and one base, or nothing.
func TestPullThatMoves(t *testing.T) {
	for name, move := range map[string]func(w *world, p *githubtest.Pull) error{
		"another head": func(w *world, _ *githubtest.Pull) error {
			w.repo.CommitTo(w.dave, "many", "More", map[string]string{"more": "x"})
			return nil
		},
		"another base": func(w *world, p *githubtest.Pull) error { return p.Retarget(w.dave, "other") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.repo.CommitTo(w.dave, "other", "Other", map[string]string{"other": "x"})
			p := w.openFiles(w.dave, "many", names(101, "f%03d"))
			w.warm()
			moved := false
			w.wire.changing(func(r *http.Response) {
				if !moved && strings.HasSuffix(r.Request.URL.Path, "/files") {
					moved = true
					must(t, move(w, p))
				}
			})
			_, err := w.orders.Pull(t.Context(), p.Number)
			unclear(t, "reading while it moves", err)
			got := w.pull(p)
			if got.Change.FilesComplete != rules.Yes {
				t.Errorf("read again: files complete %v", got.Change.FilesComplete)
			}
		})
	}
}

func TestPullInPages(t *testing.T) {
	w := newWorld(t, setting{fake: githubtest.Config{Limits: githubtest.NoLimits()}})
	many := w.openFiles(w.dave, "many", names(150, "f%03d"))
	for i := range 119 {
		w.repo.CommitTo(w.dave, "many", fmt.Sprintf("More %d", i), map[string]string{"f000": fmt.Sprintln(i)})
	}
	for range 105 {
		_, err := many.Review(w.bob, "COMMENT", many.Head(), "hm")
		must(t, err)
	}
	_, err := many.Approve(w.bob, many.Head())
	must(t, err)
	own, err := many.Approve(w.app.Bot(), many.Head())
	must(t, err)
	got := w.pull(many)
	c := got.Change
	if len(c.Files) != 150 || c.FilesComplete != rules.Yes || len(c.Commits) != 120 || c.CommitsComplete != rules.Yes || len(c.Reviews) != 107 {
		t.Errorf("%d files (%v), %d commits (%v), %d reviews", len(c.Files), c.FilesComplete, len(c.Commits), c.CommitsComplete, len(c.Reviews))
	}
	if c.Reviews[105].State != rules.ReviewApproved || len(got.OwnReviews) != 1 || got.OwnReviews[0].ID != rules.ReviewID(own) {
		t.Errorf("the last reviews: %+v, own %+v", c.Reviews[104:], got.OwnReviews)
	}
	// GitHub lists 250 commits: one more and they are not all known.
	for i := range 130 {
		w.repo.CommitTo(w.dave, "many", fmt.Sprintf("Still more %d", i), map[string]string{"f001": fmt.Sprintln(i)})
	}
	if c := w.pull(many).Change; c.CommitsComplete != rules.Yes || len(c.Commits) != 250 {
		t.Errorf("250 commits: complete %v, %d listed", c.CommitsComplete, len(c.Commits))
	}
	w.repo.CommitTo(w.dave, "many", "One more", map[string]string{"f002": "y\n"})
	if c := w.pull(many).Change; c.CommitsComplete == rules.Yes {
		t.Errorf("251 commits are complete: %d listed", len(c.Commits))
	}
}

func TestPullWithTooManyFiles(t *testing.T) {
	w := newWorld(t, setting{fake: githubtest.Config{Limits: githubtest.NoLimits()}})
	p := w.openFiles(w.dave, "huge", names(3001, "f%04d"))
	if c := w.pull(p).Change; c.FilesComplete == rules.Yes || len(c.Files) > 3000 {
		t.Errorf("3001 files: complete %v, %d listed", c.FilesComplete, len(c.Files))
	}
}

// A check at one commit speaks for every pull request that stands there.
func TestPullSiblings(t *testing.T) {
	w := newWorld(t)
	w.repo.CommitTo(w.dave, "release", "Release", map[string]string{"r": "x"})
	p := w.open(w.dave, "feature")
	second, err := w.repo.OpenPull(w.dave, githubtest.PullSpec{Head: "feature", Base: "release", Title: "The same elsewhere"})
	must(t, err)
	if got := w.pull(p).Siblings; !slices.Equal(got, []int{second.Number}) {
		t.Errorf("siblings: %v, want %d", got, second.Number)
	}
	must(t, second.Close(w.dave))
	if got := w.pull(p).Siblings; len(got) != 0 {
		t.Errorf("a closed pull request is a sibling: %v", got)
	}
	for i := range 60 { // more than the query lists
		base := fmt.Sprintf("b%02d", i)
		w.repo.CommitTo(w.dave, base, base, map[string]string{base: "x"})
		_, err := w.repo.OpenPull(w.dave, githubtest.PullSpec{Head: "feature", Base: base, Title: base})
		must(t, err)
	}
	if got := w.pull(p).Siblings; len(got) != 60 {
		t.Errorf("%d siblings, want 60", len(got))
	}
}

// Whatever GraphQL does with ids that do not fit its Int, the checks are the same.
func TestPullWithLargeIDs(t *testing.T) {
	for name, ints := range map[string]githubtest.BigInts{"given": githubtest.BigGiven, "null": githubtest.BigNull, "an error": githubtest.BigError} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setting{fake: githubtest.Config{BigInts: ints}})
			w.g.Allow("Int cannot represent")
			p := w.open(w.agent, "feature")
			run := w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/test.yml", By: w.dave, SHA: p.Head(), Jobs: []githubtest.JobSpec{{Name: "test"}}})
			must(t, run.Job("test").Complete("success"))
			w.repo.AddCheck(w.agentApp, p.Head(), "lint", "failure")
			w.repo.Status(w.agent, p.Head(), "ci/app", "success")
			own, err := p.Approve(w.app.Bot(), p.Head())
			must(t, err)
			w.warm()
			var asked []int
			for range 3 {
				var got *github.Pull
				asked = append(asked, sum(w.asked(func() { got = w.pull(p) })))
				checkSame(t, got.Change.Checks, []rules.Check{
					{Name: "test", App: "github-actions", Conclusion: "success"}, {Name: "lint", App: "writer", Conclusion: "failure"}, {Name: "ci/app", App: "writer", Conclusion: "success"},
				})
				i := slices.IndexFunc(got.CheckRuns, func(k github.CheckRun) bool { return k.Name == "test" })
				if k := got.CheckRuns[i]; k.ID != rules.CheckRunID(run.Job("test").CheckRun().ID) || k.RunID != rules.RunID(run.ID) || k.WorkflowPath != ".github/workflows/test.yml" {
					t.Errorf("the run of test: %+v", k)
				}
				if len(got.OwnReviews) != 1 || got.OwnReviews[0].ID != rules.ReviewID(own) {
					t.Errorf("own reviews: %+v, want %d", got.OwnReviews, own)
				}
			}
			want := map[githubtest.BigInts][]int{githubtest.BigGiven: {1, 1, 1}, githubtest.BigNull: {4, 4, 4}, githubtest.BigError: {5, 4, 4}}[ints]
			if !slices.Equal(asked, want) {
				t.Errorf("requests: %v, want %v", asked, want)
			}
		})
	}
}

// An answer with errors is no fact, whatever data comes with it.
func TestPartialAnswersAreNoFacts(t *testing.T) {
	some := permissions()
	delete(some, "statuses")
	w := newWorld(t, setting{permissions: some})
	w.g.Allow("lacks statuses:read")
	p := w.open(w.dave, "feature")
	if got, err := w.orders.Pull(t.Context(), p.Number); !errors.Is(err, github.ErrForbidden) || got != nil {
		t.Errorf("without statuses: %v, %v", got, err)
	}
	w.inst.Permit(w.carol, permissions())
	if asked := w.asked(func() { w.pull(p) }); sum(asked) != 1 {
		t.Errorf("what one installation lacks makes the client ask by REST: %v", asked)
	}
	if _, err := w.orders.Pull(t.Context(), 4711); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("a pull request that is not there: %v", err)
	}
	if _, err := w.client.Repository(rules.InstallationID(w.inst.ID), rules.RepositoryID(w.repo.ID), "acme/none").Pull(t.Context(), 1); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("a repository that is not there: %v", err)
	}
}

// Only a plain text file is a policy.
func TestPolicyOfAPull(t *testing.T) {
	for name, c := range map[string]struct {
		file githubtest.File
		want github.FileState
	}{
		"text":      {githubtest.Text("version: 1\n"), github.FileFound},
		"program":   {githubtest.Executable("version: 1\n"), github.FileFound},
		"binary":    {githubtest.Text("a\x00b"), github.FileUnreadable},
		"symlink":   {githubtest.Symlink("../policy.yml"), github.FileUnreadable},
		"submodule": {githubtest.Submodule(strings.Repeat("a", 40)), github.FileUnreadable},
		"long":      {githubtest.Text(strings.Repeat("# long\n", 200_000)), github.FileUnreadable},
		"absent":    {githubtest.Removed(), github.FileAbsent},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.open(w.dave, "feature")
			files := map[string]githubtest.File{"policy.yml": githubtest.Text("version: 1\n"), "README.md": githubtest.Text("more\n")}
			if name != "absent" {
				files[rules.PolicyPath] = c.file
			}
			_, err := w.repo.PushCommit(w.carol, "main", githubtest.Commit{Message: "Add", Author: w.carol.Identity(), Files: files})
			must(t, err)
			if got := w.pull(p).Policy; got.State != c.want || c.want != github.FileFound && got.Text != nil {
				t.Errorf("the query: %d with %d bytes, want %d", got.State, len(got.Text), c.want)
			}
			for _, ref := range []string{"main", w.repo.Head("main")} {
				got, err := w.orders.File(t.Context(), rules.PolicyPath, ref)
				must(t, err)
				if got.State != c.want || c.want == github.FileFound && string(got.Text) != "version: 1\n" {
					t.Errorf("the file at %s: %d with %d bytes, want %d", ref, got.State, len(got.Text), c.want)
				}
				if got.Commit.Valid() != (ref != "main") || (got.Branch == "main") != (ref == "main") {
					t.Errorf("the file at %s: branch %q, commit %q", ref, got.Branch, got.Commit)
				}
			}
		})
	}
}

// The files of a large change are read at every look. As long as they are the same that
// costs nothing of the budget, and what a push brings is seen.
func TestManyFilesAgain(t *testing.T) {
	w := newWorld(t)
	files := map[string]string{}
	for i := range 250 {
		files[fmt.Sprintf("src/%03d.go", i)] = "package src\n"
	}
	w.repo.CommitTo(w.dave, "large", "Much", files)
	p, err := w.repo.OpenPull(w.dave, githubtest.PullSpec{Head: "large", Title: "Much"})
	must(t, err)
	first := w.pull(p)
	before := w.used()
	again := w.pull(p)
	if n := w.used() - before; n != 2 { // the query, and the one that the head is the same
		t.Errorf("what did not change costs %d of the budget, want 2", n)
	}
	if len(again.Change.Files) != 250 || !slices.Equal(again.Change.Files, first.Change.Files) || again.Change.FilesComplete != rules.Yes {
		t.Errorf("%d files from the cache, complete: %v; want the same 250", len(again.Change.Files), again.Change.FilesComplete)
	}
	w.repo.CommitTo(w.dave, "large", "More", map[string]string{"src/999.go": "package src\n"})
	if now := w.pull(p); len(now.Change.Files) != 251 {
		t.Errorf("%d files after a push, want 251", len(now.Change.Files))
	}
}
