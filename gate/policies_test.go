package gate_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/rules"
)

// versionOf is the version of a policy file that is in force; 0 is none.
func (w *world) versionOf(r *githubtest.Repository, path string) int64 {
	w.t.Helper()
	p, err := w.store.Policy(w.t.Context(), rules.RepositoryID(r.ID), path)
	if err != nil {
		return 0
	}
	return p.Version
}

// alerted are the codes of the ledger's alerts, in order.
func (w *world) alerted() []string {
	w.t.Helper()
	codes := []string{}
	must(w.t, w.store.LedgerLeaves(w.t.Context(), 0, 1<<40, func(_ int64, leaf, _, _ []byte) error {
		r, err := ledger.ParseLeaf(leaf)
		if err != nil || r.Kind != ledger.KindAlert {
			return err
		}
		var said struct {
			Code string `json:"code"`
		}
		err = json.Unmarshal(r.Payload, &said)
		codes = append(codes, said.Code)
		return err
	}))
	return codes
}

func TestTheFirstVersionIsAdopted(t *testing.T) {
	w := newWorld(t, "")
	p := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	w.want(p, "action_required", "SP005")
	w.push(w.carol, "main", map[string]string{rules.PolicyPath: policyText})
	w.settle()
	w.want(p, "action_required", "SP003")
	if v := w.versionOf(w.repo, rules.PolicyPath); v != 0 {
		t.Errorf("version %d is in force before anybody adopted it", v)
	}
	w.adopt("acme/orders")
	w.settle()
	if v := w.versionOf(w.repo, rules.PolicyPath); v != 1 || !p.See().Merged {
		t.Errorf("version %d is in force; the open pull request: %s", v, w.dump(p))
	}
}

func TestWhatCannotBeAdopted(t *testing.T) {
	for name, policy := range map[string]string{
		"invalid":              "version: 1\n",
		"names nobody's login": strings.Replace(policyText, "acme/sre", "acme/sre, nobody", 1),
		"names no team":        strings.Replace(policyText, "acme/sre", "acme/nobody", 1),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "")
			w.push(w.carol, "main", map[string]string{rules.PolicyPath: policy})
			w.settle()
			list, err := w.gate.LookAtAdoption(t.Context(), "acme/orders")
			must(t, err)
			if err := w.gate.Adopt(t.Context(), list[0], "carol"); err == nil || w.versionOf(w.repo, rules.PolicyPath) != 0 {
				t.Errorf("adopting: %v; version %d is in force", err, w.versionOf(w.repo, rules.PolicyPath))
			}
		})
	}
}

// A version that comes by a pull request that passed is in force at once, and what
// stands open is judged under it; so is its removal, which denies.
func TestAVersionThatPassed(t *testing.T) {
	w := newWorld(t, policyText)
	open := w.agents(githubtest.Commit{Files: text(map[string]string{"src/a.go": "x\n"})})
	w.settle()
	w.want(open, "action_required", "SP102")
	w.bring(text(map[string]string{rules.PolicyPath: strings.Replace(looserPolicy, "    merge: true\n", "", 1)}))
	if v := w.versionOf(w.repo, rules.PolicyPath); v != 2 {
		t.Errorf("version %d is in force, want 2", v)
	}
	w.want(open, "success", "SP410")
	if w.approvals(open) != 1 {
		t.Errorf("it is not approved: %s", w.dump(open))
	}
	must(t, w.repo.DeleteBranch(w.alice, "policy"))
	w.bring(text(map[string]string{rules.PolicyPath: policyText}))
	w.want(open, "action_required", "SP102")
	if w.approvals(open) != 0 {
		t.Errorf("our approval stands although the policy is stricter now: %s", w.dump(open))
	}
	must(t, w.repo.DeleteBranch(w.alice, "policy"))
	w.bring(map[string]githubtest.File{rules.PolicyPath: githubtest.Removed()})
	w.want(open, "failure", "SP004")
	if got := w.alerted(); len(got) != 0 {
		t.Errorf("alerts %v although all passed", got)
	}
	w.verify()
}

// However else a version gets onto the default branch, the one before it stays in
// force, and the ledger says so once.
func TestAVersionThatDidNotPass(t *testing.T) {
	for _, c := range []struct {
		name, code string
		how        func(w *world)
	}{
		{"pushed", "SP007", func(w *world) { w.push(w.carol, "main", map[string]string{rules.PolicyPath: looserPolicy}) }},
		{"merged past the check", "SP007", func(w *world) {
			p := w.open(w.alice, "policy", map[string]string{rules.PolicyPath: looserPolicy})
			w.settle()
			must(w.t, p.MergeAsAdmin(w.carol, "merge"))
		}},
		{"merged elsewhere", "SP007", func(w *world) {
			p := w.open(w.alice, "policy", map[string]string{rules.PolicyPath: policyText + "# a word\n"})
			w.settle()
			w.approve(p, w.bob)
			w.settle()
			must(w.t, w.repo.Push(w.carol, "main", w.repo.Commit(githubtest.Commit{
				Message: "Merge", Author: w.carol.Identity(), Parents: []string{w.repo.Head("main"), p.Head()}, Files: text(map[string]string{rules.PolicyPath: looserPolicy}),
			})))
		}},
		{"forced back", "SP008", func(w *world) {
			must(w.t, w.repo.Push(w.carol, "main", w.repo.Commit(githubtest.Commit{Message: "Anew", Author: w.carol.Identity(), Files: text(map[string]string{rules.PolicyPath: looserPolicy})})))
		}},
		{"on another default branch", "SP009", func(w *world) {
			w.push(w.carol, "loose", map[string]string{rules.PolicyPath: looserPolicy})
			w.repo.SetDefaultBranch(w.carol, "loose")
		}},
		{"removed by a push", "SP007", func(w *world) {
			_, err := w.repo.PushCommit(w.carol, "main", githubtest.Commit{Message: "Remove", Author: w.carol.Identity(), Files: map[string]githubtest.File{rules.PolicyPath: githubtest.Removed()}})
			must(w.t, err)
		}},
		{"broken by a pull request that was approved", "SP002", func(w *world) { w.bring(text(map[string]string{rules.PolicyPath: "version: 9\n"})) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, policyText)
			src := w.agents(githubtest.Commit{Files: text(map[string]string{"src/a.go": "x\n"})})
			w.settle()
			c.how(w)
			w.settle()
			w.later(src, 0)
			w.want(src, "action_required", "SP102")
			docs := w.docs(map[string]string{"docs/a.md": "x\n"})
			w.settle()
			w.want(docs, "success", "SP410")
			if v := w.versionOf(w.repo, rules.PolicyPath); v != 1 {
				t.Errorf("version %d is in force, want 1", v)
			}
			if got := w.alerted(); !slices.Equal(got, []string{c.code}) {
				t.Errorf("alerts %v, want one of %s", got, c.code)
			}
		})
	}
}

// The organisation's floor judges beside the policy, in all repositories, from its
// adoption on.
func TestTheFloorJudgesToo(t *testing.T) {
	w := newWorld(t, strings.Replace(policyText, "    merge: true\n", "", 1))
	p := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	w.want(p, "success")
	floor := w.withFloor(strictFloor)
	w.want(p, "action_required", "SP003")
	if w.approvals(p) != 0 {
		t.Errorf("our approval stands although a floor was found: %s", w.dump(p))
	}
	w.adopt("acme/.github")
	w.settle()
	w.want(p, "action_required", "SP301")
	if _, text := w.ours(p.Head()); !strings.Contains(text, "the organisation's floor") {
		t.Errorf("the check does not name the floor:\n%s", text)
	}
	w.approve(p, w.bob)
	w.settle()
	w.want(p, "success", "SP302")
	floor.CommitTo(w.carol, "main", "Loosen", map[string]string{rules.FloorPath: policyText})
	w.settle()
	if v, got := w.versionOf(floor, rules.FloorPath), w.alerted(); v != 1 || !slices.Equal(got, []string{"SP007"}) {
		t.Errorf("version %d of the floor is in force with the alerts %v", v, got)
	}
}

func TestABrokenPolicyIsShownOnItsLines(t *testing.T) {
	w := newWorld(t, policyText)
	p := w.open(w.alice, "policy", map[string]string{rules.PolicyPath: policyText + "enviroments: {}\n"})
	w.settle()
	lines := strings.Count(policyText, "\n") + 1
	s := w.repo.CheckRun(p.Head(), gate.CheckName).See()
	if !slices.ContainsFunc(s.Annotations, func(a githubtest.Annotation) bool {
		return a.Path == rules.PolicyPath && a.StartLine == lines && a.Level == "failure" && strings.Contains(a.Message, "enviroments")
	}) {
		t.Errorf("annotations %+v", s.Annotations)
	}
	// Once it is mended nothing is shown any more.
	w.push(w.alice, "policy", map[string]string{rules.PolicyPath: policyText + "# a word\n"})
	w.settle()
	if s := w.repo.CheckRun(p.Head(), gate.CheckName).See(); len(s.Annotations) != 0 {
		t.Errorf("annotations %+v of a good policy", s.Annotations)
	}
}

func TestObservingApprovesNothing(t *testing.T) {
	w := newWorld(t, "mode: observe\n"+policyText)
	docs := w.docs(map[string]string{"docs/a.md": "x\n"})
	src := w.fix()
	w.settle()
	w.want(docs, "neutral", "SP010")
	w.want(src, "neutral", "SP010", "SP301")
	for _, p := range []*githubtest.Pull{docs, src} {
		if s := p.See(); s.Merged || len(s.Reviews)+len(s.Comments)+len(s.Labels)+len(s.Waiting) != 0 {
			t.Errorf("it is not only observed: %s", w.dump(p))
		}
	}
}
