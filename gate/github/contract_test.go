package github_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/github/githubtest/contract"
	"github.com/sallyport/sallyport/rules"
)

// Every exported method is called at least once, each exchange is held to GitHub's
// OpenAPI description and each query to its GraphQL schema.
func TestEveryMethodFitsTheDescription(t *testing.T) {
	contract.LoadGraphQL(t)
	rest := contract.LoadOpenAPI(t)
	before := sum(rest.Seen())
	hook := githubtest.Config{Limits: githubtest.NoLimits()}
	w := newWorld(t, setting{fake: hook})
	rest, _ = descriptions(t)
	w.repo.CommitTo(w.carol, "main", "Add the policy", map[string]string{rules.PolicyPath: "version: 1\n"})
	old := rules.SHA(w.repo.Head("main"))
	policy := w.openFiles(w.alice, "policy", map[string]string{rules.PolicyPath: "version: 1\n# more\n"})
	must(t, policy.Merge(w.carol, "squash", policy.Head()))
	p := w.open(w.agent, "feature")
	head := rules.SHA(p.Head())
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/test.yml", By: w.dave, SHA: p.Head(), Jobs: []githubtest.JobSpec{{Name: "test"}}})
	must(t, run.Job("test").Complete("success"))
	w.app.Webhook("http://127.0.0.1:1/nobody", "secret")
	queued := w.open(w.dave, "queued")
	w.repo.AddRuleset(githubtest.Ruleset{Name: "queue", Branches: []string{"train"}, MergeQueue: true})
	w.repo.CommitTo(w.carol, "train", "Begin", map[string]string{"train.txt": "x\n"})
	must(t, queued.Retarget(w.dave, "train"))

	ctx, c, r := t.Context(), w.client, w.orders
	in := rules.InstallationID(w.inst.ID)
	spec := github.CheckRunSpec{
		Name: "sallyport", HeadSHA: head, ExternalID: "1", DetailsURL: "https://example.com/1", Conclusion: "action_required", Title: "waits", Summary: "for bob", Text: "more",
		Annotations: []github.Annotation{{Path: "a.go", StartLine: 1, EndLine: 1, StartColumn: 2, EndColumn: 3, Level: "warning", Title: "t", Message: "m"}},
		Actions:     []github.Button{{Label: "Approve", Description: "Let it pass", Identifier: "approve"}}, CompletedAt: w.clock.Now(),
	}
	var check rules.CheckRunID
	var review rules.ReviewID
	var comment, delivery int64
	var scoped string
	calls := []struct {
		name string
		call func() error
	}{
		{"Self", func() error { _, err := c.Self(ctx); return err }},
		{"Installations", func() error { _, err := c.Installations(ctx); return err }},
		{"Installation", func() error { _, err := c.Installation(ctx, in); return err }},
		{"InstallationOf", func() error { _, err := c.InstallationOf(ctx, "acme/orders"); return err }},
		{"Repositories", func() error { _, err := c.Repositories(ctx, in); return err }},
		{"Repository", func() error { c.Repository(in, 1, "acme/orders"); return nil }},
		{"Info", func() error { _, err := r.Info(ctx); return err }},
		{"Head", func() error { _, err := r.Head(ctx, "feature"); return err }},
		{"Pull", func() error { _, err := r.Pull(ctx, p.Number); return err }},
		{"Jobs", func() error { _, err := r.Jobs(ctx, rules.RunID(run.ID)); return err }},
		{"Tree", func() error { _, err := r.Tree(ctx, head); return err }},
		{"Protection", func() error { _, err := r.Protection(ctx, "main", rules.AppID(w.app.ID), true); return err }},
		{"Landings", func() error { return r.Landings(ctx, "main", func(github.Landing) bool { return false }) }},
		{"LastPush", func() error { _, _, err := r.LastPush(ctx, "refs/heads/feature", head); return err }},
		{"Members", func() error {
			// The one under its name, the other under the one that it had once.
			_, err := r.Members(ctx, "acme", map[string]rules.TeamID{"acme/sre": rules.TeamID(w.sre.ID), "acme/old-sre": rules.TeamID(w.sre.ID)}, []rules.Actor{actor(w.bob), actor(w.eve)})
			return err
		}},
		{"TeamSlug", func() error {
			_, err := r.TeamSlug(ctx, "acme", rules.TeamID(w.sre.ID))
			return err
		}},
		{"LoginOf", func() error { _, err := r.LoginOf(ctx, rules.AccountID(w.bob.ID)); return err }},
		{"PullsAt", func() error { _, err := r.PullsAt(ctx, head); return err }},
		{"OpenPulls", func() error { _, err := r.OpenPulls(ctx); return err }},
		{"Standing", func() error { _, err := r.Standing(ctx); return err }},
		{"File", func() error { _, err := r.File(ctx, rules.PolicyPath, "main"); return err }},
		{"PolicySteps", func() error {
			s, err := r.PolicySteps(ctx, rules.PolicyPath, old, rules.SHA(w.repo.Head("main")))
			if len(s.List) != 1 {
				t.Errorf("%d steps, want 1", len(s.List))
			}
			return err
		}},
		{"QueueEntries", func() error { _, err := r.QueueEntries(ctx, "train"); return err }},
		{"Pins", func() error {
			_, _, _, err := r.Pins(ctx, "acme", []rules.Login{"bob", "nobody"}, []string{"acme/sre", "acme/none", "other/sre"})
			return err
		}},
		{"CreateCheckRun", func() (err error) { check, err = r.CreateCheckRun(ctx, spec); return err }},
		{"UpdateCheckRun", func() error { return r.UpdateCheckRun(ctx, check, spec) }},
		{"FindCheckRuns", func() error { _, err := r.FindCheckRuns(ctx, string(head), "sallyport"); return err }},
		{"Approve", func() (err error) { review, err = r.Approve(ctx, p.Number, head, "fine"); return err }},
		{"Dismiss", func() error { return r.Dismiss(ctx, p.Number, review, "not any more") }},
		{"RequestReviewers", func() error { return r.RequestReviewers(ctx, p.Number, []rules.Login{"dave"}, []string{"sre"}) }},
		{"CreateComment", func() (err error) { comment, err = r.CreateComment(ctx, p.Number, "hello"); return err }},
		{"EditComment", func() error { return r.EditComment(ctx, comment, "hello again") }},
		{"OwnComments", func() error { _, err := r.OwnComments(ctx, p.Number); return err }},
		{"AddLabels", func() error { return r.AddLabels(ctx, p.Number, "sallyport/agent", "b") }},
		{"RemoveLabel", func() error { return r.RemoveLabel(ctx, p.Number, "sallyport/agent") }},
		{"Enqueue", func() error {
			q, err := r.Pull(ctx, queued.Number)
			if err != nil || !q.Queue || q.InQueue {
				t.Errorf("queue %v, in it %v: %v", q.Queue, q.InQueue, err)
			}
			return r.Enqueue(ctx, q.NodeID, q.Change.Head.SHA)
		}},
		{"Merge", func() error { _, err := r.Merge(ctx, p.Number, head, "merge"); return err }},
		{"Deliveries", func() error {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			must(t, w.g.Settle(ctx))
			return c.Deliveries(ctx, func(d github.Delivery) bool { delivery = d.ID; return true })
		}},
		{"Delivery", func() error { _, err := c.Delivery(ctx, delivery); return err }},
		{"Redeliver", func() error { return c.Redeliver(ctx, delivery) }},
		{"ScopedToken", func() error {
			token, _, err := c.ScopedToken(ctx, rules.InstallationID(w.inst.ID), []rules.RepositoryID{rules.RepositoryID(w.repo.ID)}, map[string]string{"contents": "read"})
			scoped = token
			return err
		}},
		{"RevokeToken", func() error { return c.RevokeToken(ctx, scoped) }},
		{"Limits", func() error { _ = c.Limits(); return nil }},
		{"SuccessfulRuns", func() error { _, err := r.SuccessfulRuns(ctx, ".github/workflows/test.yml", "main"); return err }},
		{"Modes", func() error { _, err := r.Modes(ctx, head, []rules.File{{Path: "README.md"}}); return err }},
		{"CheckJobs", func() error {
			q, err := r.Pull(ctx, p.Number)
			if err != nil {
				return err
			}
			_, err = r.CheckJobs(ctx, head, q.GreenJobs())
			return err
		}},
		{"StandingHeads", func() error {
			q, err := r.Pull(ctx, p.Number)
			if err != nil {
				return err
			}
			_, err = r.StandingHeads(ctx, q)
			return err
		}},
		{"Arrivals", func() error {
			_, _, err := r.Arrivals(ctx, "main", old, []github.RangeCommit{{Commit: rules.Commit{SHA: rules.SHA(w.repo.Head("main"))}}})
			return err
		}},
		{"Granted", func() error {
			c.Granted(rules.InstallationID(w.inst.ID), map[string]string{"contents": "read"})
			return nil
		}},
	}
	calls = append(calls, deployCalls(t)...)
	// The last installation event is what there is to deliver.
	w.inst.Suspend(w.carol)
	w.inst.Unsuspend(w.carol)
	var called []string
	for _, x := range calls {
		called = append(called, x.name)
		if err := x.call(); err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	for _, of := range []reflect.Type{reflect.TypeFor[*github.Client](), reflect.TypeFor[*github.Repository]()} {
		for i := range of.NumMethod() {
			if name := of.Method(i).Name; !slices.Contains(called, name) {
				t.Errorf("%s.%s is not called here", of, name)
			}
		}
	}
	if n := sum(rest.Seen()) - before; n < 35 {
		t.Errorf("only %d exchanges were held to the description", n)
	}
	for k := range rest.Seen() {
		if strings.HasSuffix(k, " 500") {
			t.Errorf("seen: %s", k)
		}
	}
}

func (w *world) openFiles(by *githubtest.User, branch string, files map[string]string) *githubtest.Pull {
	w.t.Helper()
	w.repo.CommitTo(by, branch, "Work on "+branch, files)
	return w.openBranch(by, branch)
}
