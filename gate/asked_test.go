package gate_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// Where GitHub takes no check run of ours we ask less and less: of an archived repository
// nobody waits for one, and each try is recorded.
func TestARefusedCheckIsTriedLessAndLess(t *testing.T) {
	w := newWorld(t, policyText)
	p := w.fix()
	w.g.Allow("archived")
	w.repo.Archive(w.carol, true)
	w.approve(p, w.bob) // GitHub would not take it; it is what makes the check another
	w.works(w.first, 40*time.Second)
	w.g.ForgetRequests()
	w.works(w.first, 20*time.Second)
	refused := 0
	for _, r := range w.g.Requests() {
		if r.Write() && strings.Contains(r.Path, "/check-runs") {
			refused++
		}
	}
	if refused > 1 {
		t.Errorf("asked %d times in 20 seconds", refused)
	}
	w.repo.Archive(w.carol, false)
	w.later(p, time.Second)
	w.want(p, "success", "SP302")
}

// One reviewer whom GitHub does not let be asked keeps none of the others from being asked.
func TestTheOthersAreAskedToo(t *testing.T) {
	w := newWorld(t, reviewersOnly("bob, rose, outsider, acme/sre, acme/far"), func(w *world, _ *gate.Config) {
		w.g.User("outsider")
		w.acme.Team("far", w.dave) // which has no access to the repository
	})
	p := w.fix()
	waiting := slices.Sorted(slices.Values(p.See().Waiting))
	if want := []string{"acme/sre", "bob", "rose"}; !slices.Equal(waiting, want) {
		t.Errorf("%v are asked, want %v", waiting, want)
	}
}

// Who has approved is asked no more, and is not named among those who end the waiting.
func TestWhoApprovedIsNotAskedAgain(t *testing.T) {
	w := newWorld(t, strings.Replace(reviewersOnly("bob, rose, dave"), "gate: human\n", "gate: human\n    count: 2\n", 1))
	p := w.fix()
	w.approve(p, w.bob)
	w.settle()
	// Only the base is merged: his approval stands.
	main := w.push(w.carol, "main", map[string]string{"README.md": "# Orders\n"})
	must(t, w.repo.Push(w.alice, "fix", w.repo.Commit(githubtest.Commit{
		Message: "Merge branch 'main' into fix", Author: w.alice.Identity(), Committer: githubtest.Identity{Name: "GitHub", Email: "noreply@github.com"},
		Parents: []string{p.Head(), main}, Files: text(map[string]string{"README.md": "# Orders\n"}), Signed: true,
	})))
	w.settle()
	w.want(p, "action_required", "SP301")
	s := p.See()
	if !slices.Equal(slices.Sorted(slices.Values(s.Waiting)), []string{"dave", "rose"}) {
		t.Errorf("%v are asked, want dave and rose", s.Waiting)
	}
	if body := s.Comments[0].Body; strings.Contains(body, "@bob") || !strings.Contains(body, "@rose") {
		t.Errorf("the comment is\n%s", body)
	}
}

// What GitHub refused for a while is done once it takes it: the pull request needs no
// push for that.
func TestWhatWasRefusedIsDoneLater(t *testing.T) {
	w := newWorld(t, noMerge)
	p := w.open(w.agent, "writer/docs", map[string]string{"docs/a.md": "x\n"})
	w.settle()
	w.g.Allow("archived")
	w.repo.Archive(w.carol, true)
	w.tests(p.Head(), "success")
	w.works(w.first, time.Minute)
	w.repo.Archive(w.carol, false)
	w.warm()
	w.later(p, time.Minute)
	if w.approvals(p) != 0 {
		t.Fatalf("it was not refused often enough to be let be, so this shows nothing: %s", w.dump(p))
	}
	w.later(p, 31*time.Minute)
	if w.approvals(p) != 1 {
		t.Errorf("it is not approved: %s", w.dump(p))
	}
	w.want(p, "success")
}

// Whose approval would not count is neither asked nor named among those who end the
// waiting.
func TestWhoHadAHandInItIsNotAsked(t *testing.T) {
	w := newWorld(t, reviewersOnly("bob, rose, dave"))
	p := w.changeBy(w.dave, w.alice, githubtest.Commit{Author: w.alice.Identity(), Message: "Work\n\nCo-authored-by: rose <" + w.rose.Email() + ">"})
	s := p.See()
	if !slices.Equal(s.Waiting, []string{"bob"}) {
		t.Errorf("%v are asked, want bob alone", s.Waiting)
	}
	if body := s.Comments[0].Body; strings.Contains(body, "@rose") || strings.Contains(body, "@dave") || !strings.Contains(body, "@bob") {
		t.Errorf("the comment is\n%s", body)
	}
	if _, text := w.says(p.Head()); !strings.Contains(text, "one of bob for production") || !strings.Contains(text, "does not count: dave, rose") {
		t.Errorf("the check says\n%s", text)
	}
}

// The repository allows merge commits and the base branch does not: what may be merged is
// merged by another method.
func TestMergesWhereHistoryIsLinear(t *testing.T) {
	w := newWorld(t, policyText)
	w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, Linear: true})
	p := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	if !p.See().Merged {
		t.Errorf("it is not merged: %s", w.dump(p))
	}
}

// Whose access ends has approved nothing any more: the event that tells of it has what
// stands looked at, without waiting for a sweep.
func TestAccessThatEndsTakesTheApprovalBack(t *testing.T) {
	w := newWorld(t, reviewersOnly("dave, rose"))
	p := w.fix()
	w.approve(p, w.dave)
	w.settle()
	w.want(p, "success")
	w.repo.Collaborator(w.dave, "read")
	w.stolen("member", `"action":"edited","member":%s,"changes":{"permission":{"from":"write","to":"read"}},"sender":%s`, w.said(w.dave), w.said(w.carol))
	w.want(p, "action_required", "SP314")
}

// When the policy comes to observe only, what was said before is taken back: the pull
// request waits for nobody.
func TestObservingTakesBackThatItWaits(t *testing.T) {
	w := newWorld(t, policyText)
	p := w.fix()
	if s := p.See(); len(s.Comments) != 1 || !slices.Contains(s.Labels, "sallyport/waits-for-human") {
		t.Fatalf("it does not wait, so this shows nothing: %s", w.dump(p))
	}
	w.bring(text(map[string]string{rules.PolicyPath: policyText + "mode: observe\n"}))
	s := p.See()
	if slices.Contains(s.Labels, "sallyport/waits-for-human") || len(s.Comments) != 1 || strings.Contains(s.Comments[0].Body, "ends the waiting") {
		t.Errorf("it still says that it waits: %s", w.dump(p))
	}
	w.want(p, "neutral")
}
