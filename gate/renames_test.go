package gate_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// A reviewers' team that is renamed stays who it is, at both doors.
func TestATeamThatIsRenamed(t *testing.T) {
	w := deploys(t, plainDeploy)
	d := w.deploy("production")
	w.sre.Rename("reliability")
	w.acme.Team("sre", w.dave).Access(w.repo, "write")
	p := w.fix()
	w.approve(p, w.dave)
	w.settle()
	w.want(p, "action_required", "SP311")
	w.approve(p, w.bob)
	w.settle()
	w.want(p, "success")
	d.click(w.dave, "approve")
	d.want("waiting", "", "SP311")
	d.click(w.rose, "approve")
	d.want("in_progress", "approved")
}

// A later version of the policy changes nothing about whom a name means that stays in it:
// who took the name of a reviewer meanwhile is no reviewer, and the reviewer is one still.
func TestAPolicyKeepsWhomItsNamesMean(t *testing.T) {
	w := newWorld(t, reviewersOnly("acme/sre, dave"))
	w.sre.Rename("reliability")
	w.acme.Team("sre", w.alice).Access(w.repo, "write")
	w.dave.Rename("david")
	impostor := w.g.User("dave")
	w.repo.Collaborator(impostor, "write")

	w.bring(text(map[string]string{rules.PolicyPath: reviewersOnly("acme/sre, dave") + "# a word\n"}))
	if v := w.versionOf(w.repo, rules.PolicyPath); v != 2 {
		t.Fatalf("version %d is in force, want 2", v)
	}
	p := w.changeBy(w.rose, w.rose, githubtest.Commit{Author: w.rose.Identity()})
	w.settle()
	w.approve(p, w.alice)
	w.approve(p, impostor)
	w.settle()
	w.want(p, "action_required", "SP311", "SP316")
	w.approve(p, w.dave)
	w.settle()
	w.want(p, "success")

	// An administrator who adopts it means who has the names now, and is told so.
	list, err := w.gate.LookAtAdoption(t.Context(), "acme/orders")
	must(t, err)
	if a := list[0]; a.InForce || !slices.Equal(a.Others, []string{"acme/sre", "dave"}) {
		t.Errorf("in force %t, names of others %v", a.InForce, a.Others)
	}
	w.adopt("acme/orders")
	w.settle()
	w.want(p, "success")
	must(t, w.repo.DeleteBranch(w.alice, "policy"))
	q := w.open(w.rose, "more", map[string]string{"src/b.go": "package b\n"})
	w.settle()
	w.approve(q, w.dave)
	w.settle()
	w.want(q, "action_required", "SP311")
	w.approve(q, impostor)
	w.settle()
	w.want(q, "success")
	if list, err = w.gate.LookAtAdoption(t.Context(), "acme/orders"); err != nil || !list[0].InForce {
		t.Errorf("it is not in force: %v", err)
	}
}

// Reviewers are asked and mentioned by the names that they have now, once those of the
// policy turned out to be nobody's; who took one of those is not.
func TestReviewersAreAskedByTheirPresentNames(t *testing.T) {
	for _, taken := range []bool{false, true} {
		w := newWorld(t, reviewersOnly("acme/sre, dave, carol"))
		w.dave.Rename("david")
		w.sre.Rename("reliability")
		if taken {
			w.g.User("dave")
			w.acme.Team("sre", w.alice)
		}
		p := w.fix()
		said := p.See()
		waiting := slices.Sorted(slices.Values(said.Waiting))
		if !slices.Equal(waiting, []string{"acme/reliability", "carol", "david"}) {
			t.Errorf("asked are %v", waiting)
		}
		if text := fmt.Sprint(said.Comments); !strings.Contains(text, "@acme/reliability, @david, @carol ends") {
			t.Errorf("the comment: %s", text)
		}
		// Nothing is asked for again when it is looked at again.
		before := len(w.g.Requests())
		w.later(p, time.Minute)
		for _, r := range w.g.Requests()[before:] {
			if r.Method == http.MethodPost && strings.HasSuffix(r.Path, "/requested_reviewers") || strings.HasPrefix(r.Path, "/user/") {
				t.Errorf("asked again: %s %s", r.Method, r.Path)
			}
		}
	}
}

// One alone whose name is old is asked too, and one who gave an opinion under another name
// is not.
func TestAReviewerIsAskedByTheirPresentName(t *testing.T) {
	w := newWorld(t, strings.Replace(reviewersOnly("dave, rose, bob"), "gate: human\n", "gate: human\n    count: 2\n", 1))
	w.dave.Rename("david")
	p := w.fix()
	if waiting := p.See().Waiting; !slices.Contains(waiting, "david") || len(waiting) != 3 {
		t.Errorf("asked are %v", waiting)
	}
	w.approve(p, w.dave)
	w.settle()
	said := p.See()
	if text := fmt.Sprint(said.Comments); !slices.Equal(slices.Sorted(slices.Values(said.Waiting)), []string{"bob", "rose"}) || strings.Contains(text, "@dav") {
		t.Errorf("asked are %v, the comment: %s", said.Waiting, text)
	}
	w.approve(p, w.rose)
	w.settle()
	w.want(p, "success")
}

// An organisation that is renamed is served on, whoever takes its name.
func TestAnOrganisationThatIsRenamed(t *testing.T) {
	w := deploys(t, plainDeploy)
	d := w.deploy("production")
	p := w.fix()
	w.acme.Rename(w.carol, "apex")
	strangers := w.g.Organization("acme")
	mallory := w.g.User("mallory")
	strangers.Owner(mallory)
	strangers.Team("sre", mallory)
	other := w.g.Repository(strangers, "orders")
	other.CommitTo(mallory, "main", "Loosen", map[string]string{rules.PolicyPath: looserPolicy})
	w.approve(p, w.bob)
	d.click(w.rose, "approve")
	w.want(p, "success")
	d.want("in_progress", "approved")
	docs := w.docs(map[string]string{"docs/a.md": "x\n"})
	w.settle()
	w.want(docs, "success")
	if _, err := w.gate.LookAtAdoption(t.Context(), "acme/orders"); err == nil {
		t.Error("the policy of who took the name can be looked at")
	}
	must(t, w.gate.Sweep(t.Context()))
	w.settle()
	if in, err := w.store.Installation(t.Context(), rules.InstallationID(w.inst.ID)); err != nil || in.Login != "apex" {
		t.Errorf("the installation is on %q: %v", in.Login, err)
	}
}

// A job of a repository that was renamed a moment ago gets its credential under the new
// name, whether an event told of it or not, and under no other.
func TestALeaseRightAfterARename(t *testing.T) {
	s := &safe{}
	w := deploys(t, keysPolicy, keys(s))
	d := w.deploy("production")
	d.click(w.rose, "approve")
	d.want("in_progress", "approved")
	w.repo.Rename(w.carol, "shop")
	as := func(name string) func(*rules.JobToken) {
		return func(t *rules.JobToken) {
			t.Claims.Repository, t.Claims.JobWorkflowRef = name, name+"/.github/workflows/deploy.yml@refs/heads/main"
		}
	}
	if _, code := w.lease(d, "orders-migrator", as("acme/other")); code != "SP609" {
		t.Errorf("under another repository's name: %q", code)
	}
	if _, code := w.lease(d, "orders-migrator", as("acme/shop")); code != "" {
		t.Errorf("under its new name: %s", code)
	}
}

// A repository that was deleted leaves nothing to one that is made under its name.
func TestARepositoryThatIsMadeAnew(t *testing.T) {
	s := &safe{}
	w := deploys(t, keysPolicy, keys(s))
	w.released("production")
	d := w.deploy("production")
	d.click(w.rose, "approve")
	d.want("in_progress", "approved")
	if _, code := w.lease(d, "orders-migrator"); code != "" {
		t.Fatalf("no lease: %s", code)
	}
	p := w.fix()
	w.approve(p, w.bob)
	w.settle()
	token := d.jobToken()
	w.repo.Delete(w.carol)
	w.repo = w.g.Repository(w.acme, "orders")
	w.repo.CommitTo(w.carol, "main", "Add the policy", map[string]string{rules.PolicyPath: keysPolicy})
	w.sre.Access(w.repo, "write")
	w.repo.Collaborator(w.alice, "write")
	w.settle()
	must(t, w.gate.Sweep(t.Context()))
	w.settle()
	must(t, w.gate.EndLeases(t.Context()))
	if alive, _ := s.count(); alive != 0 {
		t.Error("a credential of the deleted repository lives on")
	}
	if _, err := w.gate.Lease(t.Context(), token, "orders-migrator"); err == nil {
		t.Error("a job of the deleted repository gets a credential")
	}
	if v := w.versionOf(w.repo, rules.PolicyPath); v != 0 {
		t.Errorf("version %d is in force of what nobody adopted", v)
	}
	q := w.fix()
	if q.Number != p.Number {
		t.Fatalf("pull request %d, want %d: the test is about the same number", q.Number, p.Number)
	}
	w.approve(q, w.bob)
	w.settle()
	w.want(q, "action_required", "SP003")
	_, err := w.repo.Environment("production").EnableRule(w.app)
	must(t, err)
	again := w.deploy("production")
	again.tries(w.rose)
	again.want("waiting", "", "SP003")
	if _, code := w.lease(again, "orders-migrator"); code == "" {
		t.Error("a job gets a credential under a policy that nobody adopted")
	}
	w.adopt("acme/orders")
	w.settle()
	again.click(w.rose, "approve") // the one before was about what waited for a policy
	again.click(w.rose, "approve")
	again.want("in_progress", "approved")
	// The target is another repository's, whatever name that had.
	if _, code := w.lease(again, "orders-migrator", func(t *rules.JobToken) { t.Claims.RepositoryID = rules.RepositoryID(w.repo.ID) }); code == "" {
		t.Error("it gets the deleted repository's target")
	}
}

// What is held while the App is uninstalled, suspended, or shut out of the repository is
// looked at again once it is back, under the policy that was in force: an event that was
// lost, and the new id of an installation, cost a sweep.
func TestBackAgain(t *testing.T) {
	for name, how := range map[string]struct {
		away, back func(w *world)
	}{
		"uninstalled and installed again": {
			func(w *world) { w.inst.Uninstall(w.carol) },
			func(w *world) { w.inst = w.app.Install(w.acme) },
		},
		"suspended and let go on": {
			func(w *world) { w.inst.Suspend(w.carol) },
			func(w *world) { w.inst.Unsuspend(w.carol) },
		},
		"taken out of the selection and put back": {
			func(w *world) { w.inst.Remove(w.carol, w.repo) },
			func(w *world) { w.inst.Add(w.carol, w.repo) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := deploys(t, plainDeploy, func(_ *world, c *gate.Config) { c.NoFloor = true })
			if strings.Contains(name, "selection") {
				w.inst.Uninstall(w.carol)
				w.inst = w.app.Install(w.acme, w.repo)
				w.settle()
			}
			d := w.deploy("production")
			p := w.fix()
			how.away(w)
			w.settle()
			w.clock.Advance(time.Minute)
			w.approve(p, w.bob)
			w.settle()
			how.back(w)
			w.settle()
			must(t, w.gate.Sweep(t.Context()))
			w.settle()
			w.want(p, "success")
			d.click(w.rose, "approve")
			d.want("in_progress", "approved")
			if got := w.alerted(); slices.Contains(got, "SP007") {
				t.Errorf("alerts %v", got)
			}
		})
	}
}
