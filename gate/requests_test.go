package gate_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// costs counts what is asked of GitHub by our App while something is done, by what the
// paths of requests contain: "" is all of them.
func (w *world) costs(path string, do func()) (n int) {
	w.t.Helper()
	before := len(w.g.Requests())
	do()
	for _, q := range w.g.Requests()[before:] {
		if q.App == "sallyport" && strings.Contains(q.Path, path) {
			n++
		}
	}
	return n
}

// looks counts the pull requests that are read while something is done and worked off.
func (w *world) looks(do func()) (n int) {
	w.t.Helper()
	before := len(w.g.Requests())
	do()
	w.settle()
	for _, q := range w.g.Requests()[before:] {
		if q.App == "sallyport" && strings.Contains(string(q.Body), "query pull(") {
			n++
		}
	}
	return n
}

// swept sweeps and does what comes of it.
func (w *world) swept() {
	w.t.Helper()
	must(w.t, w.gate.Sweep(w.t.Context()))
	w.settle()
}

// An App on all of an organisation's repositories asks nothing about those that have no
// policy at every sweep, and looks at them now and then all the same.
func TestARepositoryWithoutPolicyIsLeftAlone(t *testing.T) {
	w := newWorld(t, "")
	w.swept()
	if n := w.costs("/repos/acme/orders", w.swept); n != 0 {
		t.Errorf("a sweep asks %d times about a repository that has no policy and was just looked at", n)
	}
	key := rules.WorkKey{Kind: rules.WorkRepository, Repository: rules.RepositoryID(w.repo.ID)}
	aged := func(by time.Duration) {
		t.Helper()
		s, err := w.store.Subject(t.Context(), key)
		must(t, err)
		s.UpdatedAt = w.clock.Now().Add(-by)
		must(t, w.store.Update(t.Context(), func(tx *store.Tx) error { return tx.SetSubject(s) }))
	}
	aged(quarter)
	if w.costs("/repos/acme/orders", w.swept) == 0 {
		t.Error("it is never looked at again")
	}
	aged(-time.Hour) // the clock was set back
	if w.costs("/repos/acme/orders", w.swept) == 0 {
		t.Error("it is left alone until a time that may never come")
	}
}

// Where a policy is in force, the repository's or its owner's, every sweep looks.
func TestARepositoryWithAPolicyIsNotLeftAlone(t *testing.T) {
	w := newWorld(t, policyText)
	if w.costs("/repos/acme/orders", w.swept) == 0 {
		t.Error("a repository with a policy is left alone")
	}
	w = newWorld(t, "")
	floor := w.withFloor(policyText)
	if w.costs("/repos/acme/orders", w.swept) == 0 {
		t.Error("a repository under a floor is left alone")
	}
	if w.costs("/repos/"+floor.FullName(), w.swept) == 0 {
		t.Error("the floor's repository is left alone")
	}
}

// However many processes work over one store, one of them sweeps in the time of a sweep.
func TestReplicasSweepInTurn(t *testing.T) {
	w := newWorld(t, policyText, func(_ *world, c *gate.Config) { c.Sweep = time.Minute })
	sweeps := func(always bool) bool {
		t.Helper()
		made := false
		n := w.costs("/app/hook/deliveries", func() {
			var err error
			made, err = w.gate.SweepInTurn(t.Context(), always)
			must(t, err)
		})
		if made != (n > 0) {
			t.Errorf("made is %v after %d requests", made, n)
		}
		return made
	}
	for _, step := range []struct {
		after        time.Duration
		always, want bool
		what         string
	}{
		{0, false, true, "nobody swept yet"},
		{20 * time.Second, false, false, "another one swept 20 s ago"},
		{0, true, true, "a process that begins"},
		{40 * time.Second, false, false, "the one that began swept 40 s ago"},
		{20 * time.Second, false, true, "the last sweep is a minute ago"},
	} {
		w.clock.Advance(step.after)
		if got := sweeps(step.always); got != step.want {
			t.Errorf("%s: swept is %v, want %v", step.what, got, step.want)
		}
	}
	w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: -1, Path: "/app/installations"})
	if _, err := w.gate.SweepInTurn(t.Context(), true); err == nil {
		t.Error("a sweep that GitHub does not answer is one")
	}
	w.g.Heal()
	if !sweeps(false) {
		t.Error("who cannot sweep keeps all others from it")
	}
	must(t, w.store.SetSetting(t.Context(), "swept", []byte("9000000000000000000"), w.clock.Now()))
	if !sweeps(false) {
		t.Error("a process whose clock is ahead keeps all others from sweeping")
	}
}

// A check that no environment of a change waits for is of no concern to it, whatever others
// wait for.
func TestChecksThatDecideNothingAskNothing(t *testing.T) {
	const policy = `version: 1
reviewers: [acme/sre]
environments:
  dev: {gate: auto, paths: [docs/**], after: [test]}
  staging: {gate: auto, paths: [deploy/staging/**]}
  production: {gate: human}
agents: {also: [{id: acme-writer, logins: ["writer[bot]"]}]}
`
	w := newWorld(t, policy)
	code := w.open(w.alice, "code", map[string]string{"src/a.go": "package a\n"})
	w.settle()
	begins := func(sha string) *githubtest.Job {
		return w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/test.yml", By: w.dave, SHA: sha, Jobs: []githubtest.JobSpec{{Name: "test"}}}).Job("test")
	}
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"test", func() { must(t, begins(code.Head()).Complete("success")) }},
		{"of any name", func() { w.repo.AddCheck(w.agentApp, code.Head(), "scan", "failure") }},
		{"a status", func() { w.repo.Status(w.dave, code.Head(), "coverage", "success") }},
	} {
		if n := w.looks(c.do); n != 0 {
			t.Errorf("%s: %d looks at a change that waits for people alone", c.name, n)
		}
	}
	docs := w.open(w.agent, "docs", map[string]string{"docs/a.md": "x\n"})
	w.settle()
	job := begins(docs.Head())
	w.settle()
	must(t, job.Complete("success"))
	w.settle()
	w.want(docs, "success")
	if w.approvals(docs) != 1 {
		t.Fatalf("it is not approved: %s", w.dump(docs))
	}
	// It begins anew: what was allowed is taken back.
	job = begins(docs.Head())
	w.settle()
	if w.approvals(docs) != 0 {
		t.Errorf("it stays approved while its check runs again: %s", w.dump(docs))
	}
	must(t, job.Complete("success"))
	w.settle()
	w.want(docs, "success")
	staging := w.open(w.agent, "staging", map[string]string{"deploy/staging/a.yml": "x\n"})
	w.settle()
	if w.looks(func() { w.repo.AddCheck(w.agentApp, staging.Head(), "scan", "success") }) == 0 {
		t.Error("a check is of no concern where any may be required")
	}
}

// That an approval outlived a merge of the base is found out once, from trees of all files.
func TestWhereApprovalsStandIsReadOnce(t *testing.T) {
	w := newWorld(t, policyText)
	p := w.fix()
	w.approve(p, w.bob)
	w.settle()
	main := w.push(w.carol, "main", map[string]string{"README.md": "# Orders\n"})
	merge := func(files map[string]string) {
		t.Helper()
		must(t, w.repo.Push(w.alice, "fix", w.repo.Commit(githubtest.Commit{
			Message: "Merge branch 'main' into fix", Author: w.alice.Identity(), Committer: githubtest.Identity{Name: "GitHub", Email: "noreply@github.com"},
			Parents: []string{p.Head(), main}, Files: text(files), Signed: true,
		})))
		w.settle()
	}
	if w.costs("/git/trees/", func() { merge(map[string]string{"README.md": "# Orders\n"}) }) == 0 {
		t.Fatal("no tree is read, so this shows nothing")
	}
	w.want(p, "success", "SP302")
	if n := w.costs("/git/trees/", func() { must(t, p.Label(w.alice, "a")); w.settle() }); n != 0 {
		t.Errorf("%d trees are read again", n)
	}
	w.want(p, "success", "SP302")
	main = w.push(w.carol, "main", map[string]string{"README.md": "# Orders, again\n"})
	merge(map[string]string{"README.md": "# Orders, again\n", "src/b.go": "package evil\n"})
	w.want(p, "action_required", "SP313")
}

// Events of an installation that is not served cost each process one request, not one an event.
func TestAStrangersEventsCostNothing(t *testing.T) {
	w := newWorld(t, policyText)
	eve := w.g.User("mallory")
	theirs := w.g.Repository(eve, "noise")
	w.app.Install(eve)
	w.settle()
	opened := func(n int) func() {
		return func() {
			branch := fmt.Sprintf("b%d", n)
			theirs.CommitTo(eve, branch, "Noise", map[string]string{branch: "x"})
			_, err := theirs.OpenPull(eve, githubtest.PullSpec{Head: branch, Title: "Noise"})
			must(t, err)
			w.settle()
		}
	}
	processes, events := 1+len(w.peers), 0
	cost := w.costs("", func() {
		for ; events < 3*processes; events++ {
			opened(events)()
		}
	})
	if cost > processes {
		t.Errorf("%d requests of %d processes for %d pull requests of a stranger", cost, processes, events)
	}
}

// What the installation may not do is tried a few times, each of which costs a look, the
// try and a token, and not over and over.
func TestWhatIsForbiddenIsTriedAFewTimes(t *testing.T) {
	w := newWorld(t, policyText)
	may := permissions()
	may["pull_requests"] = "read"
	w.g.Allow("lacks issues:write")
	w.g.Allow("lacks pull_requests")
	w.inst.Permit(w.carol, may)
	w.settle()
	labels := 0
	looks := w.looks(func() {
		labels = w.costs("/labels", func() {
			w.open(w.alice, "fix", map[string]string{"src/a.go": "package a\n"})
			w.settle()
		})
	})
	if labels == 0 || labels > 3 || looks > 5 {
		t.Errorf("labels are tried %d times in %d looks, want 1 to 3 in at most 5", labels, looks)
	}
}
