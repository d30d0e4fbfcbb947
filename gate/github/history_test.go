package github_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

const policyPath = rules.PolicyPath

// history is a repository with a first policy, and a way to change it.
type history struct {
	*world
	from rules.SHA
	n    int
}

func newHistory(t *testing.T) *history {
	w := newWorld(t, setting{fake: githubtest.Config{Limits: githubtest.NoLimits()}})
	return &history{world: w, from: rules.SHA(w.repo.CommitTo(w.carol, "main", "Add the policy", map[string]string{policyPath: "v0\n"}))}
}

// change opens a pull request that changes the policy.
func (h *history) change(commits int) *githubtest.Pull {
	h.n++
	branch := fmt.Sprintf("policy-%d", h.n)
	for i := range commits {
		h.repo.CommitTo(h.dave, branch, "Change", map[string]string{policyPath: fmt.Sprintf("v%d.%d\n", h.n, i)})
	}
	return h.openBranch(h.dave, branch)
}

func (h *history) steps() github.Steps {
	h.t.Helper()
	s, err := h.orders.PolicySteps(h.t.Context(), policyPath, h.from, rules.SHA(h.repo.Head("main")))
	must(h.t, err)
	return s
}

// However a pull request is merged, it is one step, the text of which is what its
// head had.
func TestStepsOfMerges(t *testing.T) {
	for _, method := range []string{"merge", "squash", "rebase"} {
		t.Run(method, func(t *testing.T) {
			h := newHistory(t)
			h.repo.CommitTo(h.carol, "main", "Something else", map[string]string{"other": "x"})
			p := h.change(3)
			head := p.Head()
			must(t, p.Merge(h.carol, method, head))
			h.repo.CommitTo(h.carol, "main", "Something else again", map[string]string{"other": "y"})
			s := h.steps()
			if s.Descends != rules.Yes || !s.Complete || len(s.List) != 1 {
				t.Fatalf("descends %v, complete %v, steps %+v", s.Descends, s.Complete, s.List)
			}
			one := s.List[0]
			if one.Pull != p.Number || string(one.PullHead) != head || one.PullBase != "main" || string(one.Commit) != p.See().MergeSHA || one.File.Commit != one.Commit {
				t.Errorf("the step: %+v", one)
			}
			if one.File.State != github.FileFound || string(one.File.Text) != "v1.2\n" || one.HeadBlob != one.File.Blob || one.HeadBlob == "" {
				t.Errorf("the file: %+v, at the head %s", one.File, one.HeadBlob)
			}
			if one.SignedByGitHub != (method != "rebase") {
				t.Errorf("signed by GitHub: %v", one.SignedByGitHub)
			}
		})
	}
}

func TestSteps(t *testing.T) {
	h := newHistory(t)
	if s := h.steps(); s.Descends != rules.Yes || !s.Complete || len(s.List) != 0 {
		t.Errorf("nothing happened: %+v", s)
	}
	p := h.change(1)
	must(t, p.Merge(h.carol, "squash", p.Head()))
	h.repo.CommitTo(h.carol, "main", "Push it directly", map[string]string{policyPath: "direct\n"})
	q := h.change(1)
	must(t, q.Merge(h.carol, "merge", q.Head()))
	_, err := h.repo.PushCommit(h.carol, "main", githubtest.Commit{Message: "Delete it", Author: h.carol.Identity(), Files: map[string]githubtest.File{policyPath: githubtest.Removed()}})
	must(t, err)
	s := h.steps()
	if s.Descends != rules.Yes || len(s.List) != 4 {
		t.Fatalf("descends %v, steps %+v", s.Descends, s.List)
	}
	for i, want := range []struct {
		pull  int
		state github.FileState
	}{{p.Number, github.FileFound}, {0, github.FileFound}, {q.Number, github.FileFound}, {0, github.FileAbsent}} {
		if s.List[i].Pull != want.pull || s.List[i].File.State != want.state {
			t.Errorf("step %d: pull request %d, state %d; want %d, %d", i, s.List[i].Pull, s.List[i].File.State, want.pull, want.state)
		}
	}
	if s.List[1].SignedByGitHub {
		t.Error("a commit that was pushed is signed by GitHub")
	}
}

// A commit can belong to several pull requests: it came by the one whose merge it is.
func TestStepsOfSeveralPulls(t *testing.T) {
	h := newHistory(t)
	p := h.change(1)
	must(t, p.Merge(h.carol, "squash", p.Head()))
	h.wire.changing(func(r *http.Response) {
		body, err := io.ReadAll(r.Body)
		must(t, err)
		other := fmt.Sprintf(`{"number":99,"state":"MERGED","baseRefName":"main","headRefOid":%q,"mergeCommit":{"oid":%q}},`, h.from, h.from)
		r.Body = io.NopCloser(strings.NewReader(strings.Replace(string(body), `"associatedPullRequests":{"nodes":[`, `"associatedPullRequests":{"nodes":[`+other, 1)))
	})
	if s := h.steps(); len(s.List) != 1 || s.List[0].Pull != p.Number {
		t.Errorf("steps: %+v, want one of pull request %d", s.List, p.Number)
	}
}

// A merge that was made elsewhere and pushed may hold anything: GitHub counts the pull
// request as merged, and the blob tells.
func TestStepsOfALocalMerge(t *testing.T) {
	h := newHistory(t)
	p := h.change(1)
	_, err := h.repo.PushCommit(h.carol, "main", githubtest.Commit{
		Message: "Merge by hand", Author: h.carol.Identity(), Parents: []string{string(h.from), p.Head()}, Files: map[string]githubtest.File{policyPath: githubtest.Text("slipped in\n")},
	})
	must(t, err)
	s := h.steps()
	if s.Descends != rules.Yes || len(s.List) != 1 {
		t.Fatalf("descends %v, steps %+v", s.Descends, s.List)
	}
	if one := s.List[0]; one.SignedByGitHub || one.HeadBlob == one.File.Blob && one.Pull != 0 {
		t.Errorf("a merge by hand passes for GitHub's: %+v", one)
	}
}

func TestStepsAfterAForcePush(t *testing.T) {
	h := newHistory(t)
	root := h.from
	h.repo.CommitTo(h.carol, "main", "Tighten", map[string]string{policyPath: "strict\n"})
	h.from = rules.SHA(h.repo.Head("main"))
	must(t, h.repo.Push(h.carol, "main", string(root)))
	if s := h.steps(); s.Descends != rules.No || len(s.List) != 0 {
		t.Errorf("back to before: %+v", s)
	}
	h.repo.CommitTo(h.carol, "main", "And on", map[string]string{policyPath: "loose\n"})
	if s := h.steps(); s.Descends != rules.No {
		t.Errorf("another way from there: %+v", s)
	}
}

// A branch that has the version in force only on a merge's other side does not
// continue it.
func TestStepsBesideTheFirstParent(t *testing.T) {
	h := newHistory(t)
	root := h.from
	h.from = rules.SHA(h.repo.CommitTo(h.carol, "main", "Tighten", map[string]string{policyPath: "strict\n"}))
	side := h.repo.Commit(githubtest.Commit{Message: "Loosen", Author: h.carol.Identity(), Parents: []string{string(root)}, Files: map[string]githubtest.File{policyPath: githubtest.Text("loose\n")}})
	merge := h.repo.Commit(githubtest.Commit{Message: "Merge", Author: h.carol.Identity(), Parents: []string{side, string(h.from)}})
	must(t, h.repo.Push(h.carol, "main", merge))
	if s := h.steps(); s.Descends == rules.Yes {
		t.Errorf("it descends by the second parent: %+v", s)
	}
}

func TestStepsWithoutEnd(t *testing.T) {
	h := newHistory(t)
	at := string(h.from)
	for i := range 1001 {
		at = h.repo.Commit(githubtest.Commit{Message: fmt.Sprint(i), Author: h.carol.Identity(), Parents: []string{at}})
	}
	must(t, h.repo.Push(h.carol, "main", at))
	if s := h.steps(); s.Complete {
		t.Errorf("1001 commits are complete: %+v", s)
	}
}
