package github_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// People are found by login and counted by id.
func TestMembers(t *testing.T) {
	w := newWorld(t)
	bob, eve := actor(w.bob), actor(w.eve)
	child := w.acme.Team("oncall", w.alice)
	child.Below(w.sre)
	invited := w.g.User("invited")
	w.sre.Invite(w.carol, invited)
	bobby := w.g.User("bobby") // a search for bob finds him too
	w.sre.Add(w.carol, bobby)
	pinned := map[string]rules.TeamID{"acme/sre": rules.TeamID(w.sre.ID)}
	people := []rules.Actor{bob, eve, actor(w.alice), actor(invited), actor(bobby)}
	ask := func(pinned map[string]rules.TeamID, people ...rules.Actor) map[string]rules.Team {
		t.Helper()
		got, err := w.orders.Members(t.Context(), "acme", pinned, people)
		must(t, err)
		if len(got) != len(pinned) {
			t.Errorf("%d teams, want %d", len(got), len(pinned))
		}
		return got
	}
	want := func(what string, got map[string]rules.Team, key string, is ...rules.Tri) {
		t.Helper()
		for i, p := range people[:len(is)] {
			if m := got[key].Members[p.ID]; m != is[i] {
				t.Errorf("%s: %s in %s is %v, want %v", what, p.Login, key, m, is[i])
			}
		}
	}
	w.warm()
	var got map[string]rules.Team
	asked := w.asked(func() { got = ask(pinned, people...) })
	if sum(asked) != 1 {
		t.Errorf("it asks %v, want one query", asked)
	}
	want("as it is", got, "acme/sre", rules.Yes, rules.No, rules.Yes, rules.No, rules.Yes)
	if got["acme/sre"].ID != rules.TeamID(w.sre.ID) {
		t.Errorf("the team's id is %d", got["acme/sre"].ID)
	}

	// The same login in front of another id is another person.
	impostor := bob
	impostor.ID = 4711
	if m := ask(pinned, impostor)["acme/sre"].Members[4711]; m != rules.No {
		t.Errorf("another account under bob's name is %v", m)
	}
	nobody := bob
	nobody.ID = 0
	if m := ask(pinned, nobody)["acme/sre"].Members[0]; m != rules.No {
		t.Errorf("somebody without an id is %v", m)
	}

	// Another organisation's team is not found here, and one that was pinned before the
	// organisation got another name is.
	other := w.g.Organization("other").Team("sre", w.eve)
	want("another organisation's", ask(map[string]rules.TeamID{"other/sre": rules.TeamID(other.ID)}, people...), "other/sre", rules.No, rules.No)
	want("of the organisation's old name", ask(map[string]rules.TeamID{"other/sre": rules.TeamID(w.sre.ID)}, people...), "other/sre", rules.Yes, rules.No)
	// Nor has one that is not there any members, and it does not hide the others.
	both := map[string]rules.TeamID{"acme/sre": rules.TeamID(w.sre.ID), "acme/gone": 12}
	got = ask(both, people...)
	want("beside a lost team", got, "acme/sre", rules.Yes, rules.No)
	want("a lost team", got, "acme/gone", rules.No, rules.No)

	// Renamed, it is found under its present name, once; another team under the old name
	// is nobody.
	w.sre.Rename("old-sre")
	for range 120 {
		w.acme.Team(fmt.Sprintf("team-%d", w.g.User(rand.Text()).ID))
	}
	costs := func(what string, want int) {
		t.Helper()
		var got map[string]rules.Team
		if asked := w.asked(func() { got = ask(pinned, people...) }); sum(asked) != want {
			t.Errorf("%s: it asks %v, want %d queries", what, asked, want)
		}
		for i, is := range []rules.Tri{rules.Yes, rules.No, rules.Yes, rules.No, rules.Yes} {
			if m := got["acme/sre"].Members[people[i].ID]; m != is {
				t.Errorf("%s: %s is %v, want %v", what, people[i].Login, m, is)
			}
		}
	}
	costs("renamed", 3)
	costs("and asked again", 1)
	w.acme.Team("sre", w.eve)
	costs("replaced", 1)
	w.sre.Rename("sre-of-old")
	w.acme.Team("old-sre", w.eve)
	costs("renamed and replaced again", 3)

	// One that is gone is not looked for at every turn.
	gone := map[string]rules.TeamID{"acme/none": 13}
	for i, n := range []int{3, 1, 1} {
		if asked := w.asked(func() { want("gone", ask(gone, people...), "acme/none", rules.No, rules.No) }); sum(asked) != n {
			t.Errorf("asked the %dth time for a team that is gone: %v, want %d queries", i+1, asked, n)
		}
	}
	w.clock.Advance(2 * time.Minute)
	if asked := w.asked(func() { ask(gone, people...) }); sum(asked) != 3 {
		t.Errorf("after a while: %v", asked)
	}
}

// A list of teams that never ends is no answer.
func TestMembersOfTooManyTeams(t *testing.T) {
	w := newWorld(t)
	w.warm()
	w.wire.changing(func(r *http.Response) {
		if strings.HasSuffix(r.Request.URL.Path, "/graphql") {
			r.Body = io.NopCloser(strings.NewReader(`{"data":{"organization":{"t0":null,"teams":{"pageInfo":{"hasNextPage":true,"endCursor":"x"},"nodes":[null,{"databaseId":1,"slug":"a"}]}}}}`))
		}
	})
	if got, err := w.orders.Members(t.Context(), "acme", map[string]rules.TeamID{"acme/sre": 12}, []rules.Actor{actor(w.bob)}); err == nil {
		t.Errorf("members: %+v, want an error", got)
	}
}

// Where GitHub answers for a team that is not there with an error instead of null, the
// others are asked for again, so that the answer is one without errors.
func TestMembersOfALostTeam(t *testing.T) {
	w := newWorld(t)
	w.warm()
	times := 0
	w.wire.changing(func(r *http.Response) {
		if times++; strings.HasSuffix(r.Request.URL.Path, "/graphql") && times < 3 { // the token, and the first answer
			r.Body = io.NopCloser(strings.NewReader(`{"data":{"organization":{"t0":null,"t1":{"databaseId":1}}},"errors":[{"type":"NOT_FOUND","path":["organization","t0"],"message":"Could not resolve to a Team"}]}`))
		}
	})
	teams := map[string]rules.TeamID{"acme/gone": 12, "acme/sre": rules.TeamID(w.sre.ID)}
	got, err := w.orders.Members(t.Context(), "acme", teams, []rules.Actor{actor(w.bob)})
	must(t, err)
	id := rules.AccountID(w.bob.ID)
	if got["acme/sre"].Members[id] != rules.Yes || got["acme/gone"].Members[id] != rules.No {
		t.Errorf("members: %+v", got)
	}
	w.wire.changing(func(r *http.Response) {
		r.Body = io.NopCloser(strings.NewReader(`{"data":{"organization":null},"errors":[{"type":"NOT_FOUND","path":["organization"],"message":"Could not resolve to an Organization"}]}`))
	})
	if _, err := w.orders.Members(t.Context(), "acme", teams, []rules.Actor{actor(w.bob)}); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("an organisation that is not there: %v, want ErrNotFound", err)
	}
}

// More hits than are listed leave it open who is among them.
func TestMembersAmongMany(t *testing.T) {
	w := newWorld(t)
	for i := range 120 {
		w.sre.Add(w.carol, w.g.User(fmt.Sprintf("bo-%03d", i)))
	}
	bo := w.g.User("bo")
	got, err := w.orders.Members(t.Context(), "acme", map[string]rules.TeamID{"acme/sre": rules.TeamID(w.sre.ID)}, []rules.Actor{actor(bo), actor(w.bob)})
	must(t, err)
	if m := got["acme/sre"].Members; m[rules.AccountID(bo.ID)] != rules.Unknown || m[rules.AccountID(w.bob.ID)] != rules.Yes {
		t.Errorf("bo is %v, bob %v; want unknown and yes", m[rules.AccountID(bo.ID)], m[rules.AccountID(w.bob.ID)])
	}
}

func TestPins(t *testing.T) {
	w := newWorld(t)
	users, teams, lost, err := w.orders.Pins(t.Context(), "acme", []rules.Login{"Bob", "nobody", "writer[bot]"}, []string{"acme/SRE", "acme/none", "other/sre"})
	must(t, err)
	wantUsers := map[string]rules.AccountID{"bob": rules.AccountID(w.bob.ID), "writer[bot]": rules.AccountID(w.agent.ID)}
	if !maps.Equal(users, wantUsers) || !maps.Equal(teams, map[string]rules.TeamID{"acme/sre": rules.TeamID(w.sre.ID)}) {
		t.Errorf("users %v, teams %v", users, teams)
	}
	slices.Sort(lost)
	if !slices.Equal(lost, []string{"acme/none", "nobody", "other/sre"}) {
		t.Errorf("lost: %v", lost)
	}
}

// What guards a branch: our check pinned to us, or the dismissal of stale reviews.
func TestProtection(t *testing.T) {
	const branch = "main"
	for _, c := range []struct {
		name    string
		protect func(w *world)
		admin   bool // Administration: read
		want    rules.Tri
		checks  []rules.RequiredCheck
		queue   bool
	}{
		{name: "nothing", protect: func(*world) {}, want: rules.No},
		{name: "a ruleset pins our check", protect: func(w *world) {
			w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{branch}, MergeQueue: true, Checks: []githubtest.RequiredCheck{
				{Context: "sallyport", AppID: w.app.ID}, {Context: "test", AppID: 15368}, {Context: "lint"}, {Context: "size", AppID: w.app.ID}, {Context: "scan", AppID: w.agentApp.ID},
			}})
		}, want: rules.Yes, queue: true, checks: []rules.RequiredCheck{{Name: "test", App: "github-actions"}, {Name: "lint"}, {Name: "size", App: "sallyport"}, {Name: "scan", App: "#AGENT"}}},
		{name: "a ruleset pins our check, classic protection others", protect: func(w *world) {
			w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{branch}, Checks: []githubtest.RequiredCheck{{Context: "sallyport", AppID: w.app.ID}}})
			w.repo.Protect(branch, &githubtest.Protection{Checks: []githubtest.RequiredCheck{{Context: "test", AppID: 15368}}})
		}, want: rules.Yes, checks: []rules.RequiredCheck{{Name: "test", App: "github-actions"}}},
		{name: "a ruleset takes our check from anybody", protect: func(w *world) {
			w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{branch}, Checks: []githubtest.RequiredCheck{{Context: "sallyport"}}})
		}, want: rules.Unknown, checks: []rules.RequiredCheck{{Name: "sallyport"}}},
		{name: "a ruleset pins it to another App", protect: func(w *world) {
			w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{branch}, Checks: []githubtest.RequiredCheck{{Context: "sallyport", AppID: w.agentApp.ID}}})
		}, want: rules.Unknown, checks: []rules.RequiredCheck{{Name: "sallyport", App: "#AGENT"}}},
		{name: "a ruleset of another branch", protect: func(w *world) {
			w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"release/*"}, Checks: []githubtest.RequiredCheck{{Context: "sallyport", AppID: w.app.ID}}})
		}, want: rules.No},
		{name: "a ruleset that only evaluates", protect: func(w *world) {
			w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{branch}, Enforcement: "evaluate", Checks: []githubtest.RequiredCheck{{Context: "sallyport", AppID: w.app.ID}}})
		}, want: rules.No},
		{name: "a ruleset dismisses stale reviews", protect: func(w *world) {
			w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{branch}, Reviews: &githubtest.RequiredReviews{Count: 1, DismissStale: true}})
		}, want: rules.Yes},
		{name: "classic protection pins our check", protect: func(w *world) {
			w.repo.Protect(branch, &githubtest.Protection{Checks: []githubtest.RequiredCheck{{Context: "sallyport", AppID: w.app.ID}, {Context: "test", AppID: 15368}}})
		}, want: rules.Yes, checks: []rules.RequiredCheck{{Name: "test", App: "github-actions"}}},
		{name: "classic protection takes it from anybody", protect: func(w *world) {
			w.repo.Protect(branch, &githubtest.Protection{Checks: []githubtest.RequiredCheck{{Context: "sallyport"}}})
		}, want: rules.Unknown, checks: []rules.RequiredCheck{{Name: "sallyport"}}},
		{name: "classic protection dismisses, which we may not see", protect: func(w *world) {
			w.repo.Protect(branch, &githubtest.Protection{Reviews: &githubtest.RequiredReviews{Count: 1, DismissStale: true}})
		}, want: rules.Unknown},
		{name: "classic protection dismisses, which we may see", admin: true, protect: func(w *world) {
			w.repo.Protect(branch, &githubtest.Protection{Reviews: &githubtest.RequiredReviews{Count: 1, DismissStale: true}})
		}, want: rules.Yes},
		{name: "classic protection does not dismiss, which we may see", admin: true, protect: func(w *world) {
			w.repo.Protect(branch, &githubtest.Protection{Reviews: &githubtest.RequiredReviews{Count: 1}})
		}, want: rules.No},
		{name: "no classic protection, which we may see", admin: true, protect: func(w *world) {
			w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{branch}, NoForcePush: true})
		}, want: rules.No},
	} {
		t.Run(c.name, func(t *testing.T) {
			may := permissions()
			if c.admin {
				may["administration"] = "read"
			}
			w := newWorld(t, setting{permissions: may})
			c.protect(w)
			got, err := w.orders.Protection(t.Context(), branch, rules.AppID(w.app.ID), true)
			must(t, err)
			if got.Guarded != c.want || got.Queue != c.queue {
				t.Errorf("guarded %v, queue %v; want %v, %v", got.Guarded, got.Queue, c.want, c.queue)
			}
			for i := range c.checks {
				c.checks[i].App = rules.Slug(strings.ReplaceAll(string(c.checks[i].App), "AGENT", fmt.Sprint(w.agentApp.ID)))
			}
			if !slices.Equal(got.Required, c.checks) || got.Required == nil {
				t.Errorf("required %v, want %v", got.Required, c.checks)
			}
			// Who does not ask for the checks is told of none where they are not all known.
			less, err := w.orders.Protection(t.Context(), branch, rules.AppID(w.app.ID), false)
			must(t, err)
			if less.Guarded != got.Guarded || less.Required != nil && !slices.Equal(less.Required, got.Required) {
				t.Errorf("without its checks: %+v, want %+v or no checks", less, got)
			}
		})
	}
}

// What a branch requires is asked for again and again, of one pull request after the
// other: as long as it is the same that costs nothing of the budget, and another answer
// is seen at once.
func TestProtectionAgain(t *testing.T) {
	may := permissions()
	may["administration"] = "read"
	w := newWorld(t, setting{permissions: may})
	w.client.Granted(rules.InstallationID(w.inst.ID), may)
	protect := func(dismiss bool) {
		w.repo.Protect("main", &githubtest.Protection{Reviews: &githubtest.RequiredReviews{Count: 1, DismissStale: dismiss}})
	}
	ask := func(want rules.Tri) int {
		t.Helper()
		before := w.used()
		got, err := w.orders.Protection(t.Context(), "main", rules.AppID(w.app.ID), true)
		must(t, err)
		if got.Guarded != want {
			t.Errorf("guarded is %v, want %v", got.Guarded, want)
		}
		return w.used() - before
	}
	protect(true)
	ask(rules.Yes)
	if n := ask(rules.Yes); n != 0 {
		t.Errorf("what did not change costs %d of the budget", n)
	}
	protect(false)
	ask(rules.No)
	// The permission ends, and nobody has heard of it yet.
	w.g.Allow("lacks administration")
	w.inst.Permit(w.carol, permissions())
	late := w.newClient(func(*github.Config) {})
	late.Granted(rules.InstallationID(w.inst.ID), may)
	got, err := late.Repository(rules.InstallationID(w.inst.ID), rules.RepositoryID(w.repo.ID), "acme/orders").Protection(t.Context(), "main", rules.AppID(w.app.ID), true)
	if err != nil || got.Guarded != rules.Unknown {
		t.Errorf("without the permission: guarded %v, %v; want unknown", got.Guarded, err)
	}
}

// Who pushed is by the activity of the branch, and never only the last page of it.
func TestLastPush(t *testing.T) {
	w := newWorld(t)
	w.repo.CommitTo(w.alice, "feature", "First", map[string]string{"a": "a"})
	for i := range 110 {
		w.repo.CommitTo(w.agent, "feature", "More", map[string]string{"b": fmt.Sprint(i)})
	}
	w.repo.CommitTo(w.alice, "other", "Elsewhere", map[string]string{"c": "c"})
	head := rules.SHA(w.repo.CommitTo(w.dave, "feature", "Last", map[string]string{"d": "d"}))
	last, all, err := w.orders.LastPush(t.Context(), "refs/heads/feature", head)
	must(t, err)
	if last != actor(w.dave) || len(all) != 3 || !slices.Contains(all, actor(w.alice)) || !slices.Contains(all, actor(w.agent)) {
		t.Errorf("last %v, all %v", last, all)
	}
	last, _, err = w.orders.LastPush(t.Context(), "refs/heads/feature", rules.SHA(strings.Repeat("0", 40)))
	if err != nil || last.Known() {
		t.Errorf("a commit that was never the head: %v, %v", last, err)
	}
}

func TestTreeAndHead(t *testing.T) {
	w := newWorld(t)
	_, err := w.repo.PushCommit(w.dave, "feature", githubtest.Commit{Message: "All kinds", Author: w.dave.Identity(), Files: map[string]githubtest.File{
		"dir/file": githubtest.Text("x"), "run": githubtest.Executable("x"), "link": githubtest.Symlink("run"), "sub": githubtest.Submodule(strings.Repeat("a", 40)),
	}})
	must(t, err)
	sha, err := w.orders.Head(t.Context(), "feature")
	must(t, err)
	if string(sha) != w.repo.Head("feature") {
		t.Errorf("the head is %s", sha)
	}
	tree, err := w.orders.Tree(t.Context(), sha)
	must(t, err)
	for path, mode := range map[string]string{"dir/file": rules.ModeFile, "run": rules.ModeExecutable, "link": rules.ModeSymlink, "sub": rules.ModeSubmodule} {
		if e := tree.Entries[path]; e.Mode != mode || e.SHA == "" {
			t.Errorf("%s: %+v, want mode %s", path, e, mode)
		}
	}
	if _, isFile := tree.Entries["dir"]; isFile || tree.Truncated {
		t.Errorf("a folder is an entry, or truncated: %v", tree.Truncated)
	}
	w.repo.TruncateTrees(2)
	if tree, err = w.orders.Tree(t.Context(), sha); err != nil || !tree.Truncated {
		t.Errorf("truncated: %v, %v", tree.Truncated, err)
	}
}

// A check run that a job makes by its token is in no list of jobs.
func TestJobs(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.dave, "feature")
	var jobs []githubtest.JobSpec
	for i := range 103 {
		jobs = append(jobs, githubtest.JobSpec{Name: fmt.Sprintf("test %d", i)})
	}
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/test.yml", By: w.dave, SHA: p.Head(), Jobs: jobs})
	must(t, run.Job("test 7").Complete("success"))
	forged := w.repo.AddCheck(w.g.Actions(), p.Head(), "forged", "success")
	got, err := w.orders.Jobs(t.Context(), rules.RunID(run.ID))
	must(t, err)
	if len(got.List) != 103 {
		t.Errorf("%d jobs, want 103", len(got.List))
	}
	i := slices.IndexFunc(got.List, func(j github.Job) bool { return j.ID == rules.CheckRunID(run.Job("test 7").CheckRun().ID) })
	if i < 0 || got.List[i].Conclusion != "success" || string(got.List[i].HeadSHA) != p.Head() || got.List[i].Name != "test 7" {
		t.Errorf("job %d of %+v", i, got.List)
	}
	if slices.ContainsFunc(got.List, func(j github.Job) bool { return j.ID == rules.CheckRunID(forged.ID) }) {
		t.Error("a forged check run is a job")
	}
}

func TestPullsAt(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.dave, "feature")
	first := rules.SHA(p.Head())
	at, err := w.orders.PullsAt(t.Context(), first)
	if err != nil || !slices.Equal(at, []int{p.Number}) {
		t.Errorf("at the head: %v, %v", at, err)
	}
	w.repo.CommitTo(w.dave, "feature", "More", map[string]string{"x": "y"})
	if at, err = w.orders.PullsAt(t.Context(), first); err != nil || len(at) != 0 {
		t.Errorf("at an earlier head: %v, %v", at, err)
	}
	if at, err = w.orders.PullsAt(t.Context(), rules.SHA(strings.Repeat("1", 40))); err != nil || len(at) != 0 {
		t.Errorf("at a commit that is not there: %v, %v", at, err)
	}
}

func TestQueue(t *testing.T) {
	w := newWorld(t)
	w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, MergeQueue: true})
	one, two := w.open(w.dave, "one"), w.open(w.dave, "two")
	for _, p := range []*githubtest.Pull{one, two} {
		got := w.pull(p)
		if !got.Queue || got.InQueue {
			t.Errorf("queue %v, in it %v", got.Queue, got.InQueue)
		}
		must(t, w.orders.Enqueue(t.Context(), got.NodeID, got.Change.Head.SHA))
	}
	entries, err := w.orders.QueueEntries(t.Context(), "main")
	must(t, err)
	heads := w.repo.QueueHeads("main")
	if len(entries) != 2 || entries[0].Number != one.Number || string(entries[1].Head) != two.Head() || string(entries[0].GroupHead) != heads[0] || !entries[1].GroupBase.Valid() {
		t.Errorf("entries: %+v, heads %v", entries, heads)
	}
	if !w.pull(one).InQueue {
		t.Error("it is not in the queue")
	}
	refused(t, "once more", w.orders.Enqueue(t.Context(), w.pull(one).NodeID, rules.SHA(one.Head())), 422)
	if none, err := w.orders.QueueEntries(t.Context(), "two"); err != nil || len(none) != 0 {
		t.Errorf("a branch without a queue: %v, %v", none, err)
	}
}

func TestInstallations(t *testing.T) {
	w := newWorld(t)
	hidden := w.g.Repository(w.acme, "hidden")
	other := w.g.Organization("other")
	w.g.Repository(other, "theirs")
	second := w.app.Install(other, w.g.Repository(other, "shared"))
	second.Suspend(w.carol)
	list, err := w.client.Installations(t.Context())
	must(t, err)
	if len(list) != 2 || list[0].Account.Login != "acme" || list[0].Selection != "all" || list[0].Suspended || list[1].Selection != "selected" || !list[1].Suspended {
		t.Errorf("installations: %+v", list)
	}
	if list[0].Permissions["pull_requests"] != "write" || list[0].Permissions["administration"] != "" {
		t.Errorf("permissions: %v", list[0].Permissions)
	}
	repos, err := w.client.Repositories(t.Context(), list[0].ID)
	must(t, err)
	if len(repos) != 2 || repos[0].FullName != "acme/orders" || repos[0].DefaultBranch != "main" || repos[0].Owner.Type != "Organization" || repos[1].ID != rules.RepositoryID(hidden.ID) {
		t.Errorf("repositories: %+v", repos)
	}
	if _, err := w.client.Repositories(t.Context(), list[1].ID); !errors.Is(err, github.ErrForbidden) {
		t.Errorf("of a suspended installation: %v, want ErrForbidden", err)
	}
	of, err := w.client.InstallationOf(t.Context(), "acme/orders")
	if err != nil || of.ID != list[0].ID {
		t.Errorf("the installation of acme/orders: %+v, %v", of, err)
	}
	if _, err := w.client.InstallationOf(t.Context(), "acme/none"); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("of a repository that is not there: %v", err)
	}
	if _, err := w.client.Installation(t.Context(), 4711); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("an installation that is not there: %v", err)
	}
	self, err := w.client.Self(t.Context())
	if err != nil || self.Slug != "sallyport" || self.Bot != actor(w.app.Bot()) || self.Owner.Login != "acme" || self.Permissions["checks"] != "write" {
		t.Errorf("self: %+v, %v", self, err)
	}
}

// An App that is installed nowhere does not know its bot yet.
func TestSelfWithoutInstallations(t *testing.T) {
	w := newWorld(t)
	w.inst.Uninstall(w.carol)
	self, err := w.client.Self(t.Context())
	if err != nil || self.Slug != "sallyport" || self.Bot.Known() {
		t.Errorf("self: %+v, %v", self, err)
	}
	w.app.Install(w.acme)
	if self, err = w.client.Self(t.Context()); err != nil || self.Bot != actor(w.app.Bot()) {
		t.Errorf("installed again: %+v, %v", self, err)
	}
}
