package selftest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/github"
)

// A Known is a row of docs/platform-assumptions.md.
type Known struct {
	// ID is the row's.
	ID string
	// Never says why a walk cannot see it, "" where one can.
	Never string

	// log says that it is read from the log of deliveries, by the App's client.
	log bool
}

// Facts are all rows that are marked [U], in their order. Where one is added to the
// document it is added here: with what sees it below, or with why nothing does.
func Facts() []Known {
	return []Known{
		{ID: "graphql-checks"},
		{ID: "graphql-rollup", Never: "the walk's token reads no commit statuses, which the rollup asks for"},
		{ID: "graphql-run-id"},
		{ID: "team-members-query"},
		{ID: "retarget-timeline", Never: "the walk's pull requests keep their base branch"},
		{ID: "review-author-can-push"},
		{ID: "check-not-reopened"},
		{ID: "graphql-check-deployment"},
		{ID: "original-environment"},
		{ID: "no-runner-no-steps"},
		{ID: "compare-no-ancestor"},
		{ID: "compare-later-page"},
		{ID: "workflow-path-ref"},
		{ID: "graphql-bad-ref"},
		{ID: "activity-names"},
		{ID: "dispatch-delivery", log: true},
		{ID: "button-external-id", log: true},
		{ID: "rule-answer-all-jobs"},
		{ID: "artifact-of-attempt", Never: "the walk's workflow keeps no artifact"},
		{ID: "called-environment", Never: "the walk calls no workflow"},
		{ID: "draft-release-once", Never: "the walk releases nothing"},
		{ID: "manifest-events", Never: "sallyport-app setup shows it: GitHub took the manifest, or said what it refuses"},
		{ID: "manifest-origin", Never: "sallyport-app setup shows it: GitHub's page came up, or an error did"},
		{ID: "action-repository", Never: "the walk's workflow uses no action"},
		{ID: "composite-step-names", Never: "the walk's workflow uses no action"},
	}
}

// saw notes what was seen of a fact. Something that differs stays noted.
func (w *walk) saw(id string, o Outcome, format string, args ...any) {
	f := w.facts[id]
	if f.Outcome == Different && o != Different {
		return
	}
	f.Outcome, f.Seen = o, fmt.Sprintf(format, args...)
	if x := w.wire.latest(); o != NotSeen && !f.log {
		f.Request = &x
	}
}

// judge notes a fact as assumed or different.
func (w *walk) judge(id string, so bool, format string, args ...any) {
	o := Different
	if so {
		o = AsAssumed
	}
	w.saw(id, o, format, args...)
}

// seeReview holds GraphQL's word on the reviewer against REST's.
func (w *walk) seeReview(ctx context.Context) {
	const id = "review-author-can-push"
	var data struct {
		Repository struct {
			Pull struct {
				Reviews struct {
					Nodes []struct {
						Can    *bool `json:"authorCanPushToRepository"`
						Author *struct {
							Login string `json:"login"`
						} `json:"author"`
					} `json:"nodes"`
				} `json:"reviews"`
			} `json:"pullRequest"`
		} `json:"repository"`
	}
	err := w.wire.ask(ctx, `query selftest($owner:String!,$name:String!,$number:Int!){repository(owner:$owner,name:$name){pullRequest(number:$number){
		reviews(first:100){nodes{authorCanPushToRepository author{login}}}}}}`, w.vars("number", w.production.number), &data)
	if err != nil {
		w.saw(id, NotSeen, "asking for the review: %v", err)
		return
	}
	for _, r := range data.Repository.Pull.Reviews.Nodes {
		if r.Author == nil || r.Can == nil {
			continue
		}
		who := r.Author.Login
		var now struct {
			Permission string `json:"permission"`
		}
		if err := w.wire.get(ctx, "/collaborators/"+url.PathEscape(who)+"/permission", &now); err != nil {
			w.saw(id, NotSeen, "asking what %s may do: %v", clip(who), err)
			return
		}
		if writes := now.Permission == "write" || now.Permission == "admin"; writes != *r.Can {
			w.saw(id, Different, "it is %v, and the permission of %s is %s", *r.Can, clip(who), clip(now.Permission))
			return
		}
		w.saw(id, NotSeen, "it is %v, as the permission of %s is %s; what it is of somebody whose access was taken away was not tried", *r.Can, clip(who), clip(now.Permission))
		return
	}
	w.saw(id, NotSeen, "GraphQL shows no review")
}

func (w *walk) vars(more ...any) map[string]any {
	out := map[string]any{"owner": w.owner, "name": w.name}
	for i := 0; i+1 < len(more); i += 2 {
		if name, ok := more[i].(string); ok {
			out[name] = more[i+1]
		}
	}
	return out
}

func (w *walk) seePath(path string) {
	switch rest := strings.TrimPrefix(path, Workflow); {
	case rest == "":
		w.saw("workflow-path-ref", AsAssumed, "the run's path is %s, with nothing behind it", path)
	case strings.HasPrefix(rest, "@"):
		w.saw("workflow-path-ref", AsAssumed, "the run's path is %s", clip(path))
	default:
		w.saw("workflow-path-ref", Different, "the run's path is %s", clip(path))
	}
}

func (w *walk) seeRunner(jobs []job, what string) {
	for _, j := range jobs {
		if j.RunnerID > 0 || len(j.Steps) > 0 {
			w.saw("no-runner-no-steps", Different, "the %s job %s has the runner %d and %d steps", what, clip(j.Name), j.RunnerID, len(j.Steps))
			return
		}
	}
	w.saw("no-runner-no-steps", AsAssumed, "%d %s jobs have no runner and no steps", len(jobs), what)
}

// suites are the check suites of a commit.
type suites struct {
	Repository struct {
		Object *struct {
			Suites *struct {
				Nodes []struct {
					Run *struct {
						ID   *int64 `json:"databaseId"`
						File *struct {
							Path string `json:"path"`
						} `json:"file"`
					} `json:"workflowRun"`
					Checks struct {
						Nodes []struct {
							ID         *int64 `json:"databaseId"`
							Name       string `json:"name"`
							Deployment *struct {
								Environment string `json:"environment"`
								Original    string `json:"originalEnvironment"`
								Latest      string `json:"latestEnvironment"`
							} `json:"deployment"`
						} `json:"nodes"`
					} `json:"checkRuns"`
				} `json:"nodes"`
			} `json:"checkSuites"`
		} `json:"object"`
	} `json:"repository"`
}

func (w *walk) suites(ctx context.Context) (suites, error) {
	var s suites
	err := w.wire.ask(ctx, `query selftest($owner:String!,$name:String!,$sha:GitObjectID!){repository(owner:$owner,name:$name){object(oid:$sha){...on Commit{
		checkSuites(first:50){nodes{workflowRun{databaseId file{path}} checkRuns(first:100,filterBy:{checkType:ALL}){nodes{databaseId name deployment{environment originalEnvironment latestEnvironment}}}}}}}}}`,
		w.vars("sha", w.production.merged), &s)
	return s, err
}

// seeChecks looks at the held jobs by GraphQL.
func (w *walk) seeChecks(ctx context.Context) {
	s, err := w.suites(ctx)
	if err != nil || s.Repository.Object == nil || s.Repository.Object.Suites == nil {
		if isQuery(err) || err == nil {
			w.saw("graphql-checks", Different, "no check suites are given: %v", err)
		}
		return
	}
	given, runs, named, deployments := true, false, false, 0
	for _, n := range s.Repository.Object.Suites.Nodes {
		for _, k := range n.Checks.Nodes {
			given = given && k.ID != nil
			if k.ID != nil && k.Deployment != nil && k.Deployment.Original != "" && slices.ContainsFunc(w.deploy.jobs, func(j job) bool { return j.ID == *k.ID }) {
				deployments++
			}
		}
		if n.Run == nil {
			continue
		}
		given = given && n.Run.ID != nil
		runs = runs || n.Run.ID != nil && *n.Run.ID == w.deploy.run
		named = named || n.Run.File != nil && n.Run.File.Path == Workflow
	}
	w.judge("graphql-checks", given && named, "each check run and each workflow run has its id: %v; the run's file is %s: %v", given, Workflow, named)
	w.judge("graphql-run-id", runs, "a suite's workflow run has the id %d of REST: %v", w.deploy.run, runs)
	if !w.cfg.NoRule {
		w.judge("graphql-check-deployment", deployments == len(w.deploy.jobs), "%d of %d jobs that wait have their deployment", deployments, len(w.deploy.jobs))
	}
}

// delivered finds the newest delivery of an event about the repository.
func (w *walk) delivered(ctx context.Context, event, action string, since time.Time) (found github.Delivery, err error) {
	n := 0
	err = w.cfg.GitHub.Deliveries(ctx, func(d github.Delivery) bool {
		n++
		if d.Event == event && (action == "" || d.Action == action) && d.Repository == w.id && !d.DeliveredAt.Before(since.Truncate(time.Second)) {
			found = d
		}
		return found.ID != 0 || n == 1000 || d.DeliveredAt.Before(since.Add(-time.Minute))
	})
	return found, err
}

// seePress holds what the press of the button carried against what was shown.
func (w *walk) seePress(ctx context.Context) {
	const id = "button-external-id"
	d, err := w.delivered(ctx, "check_run", "requested_action", w.report.Started.Add(-time.Minute))
	if err != nil || d.ID == 0 {
		w.saw(id, NotSeen, "the log of deliveries shows no press of a button (%v)", err)
		return
	}
	content, err := w.cfg.GitHub.Delivery(ctx, d.ID)
	var event struct {
		Check struct {
			ID         int64  `json:"id"`
			ExternalID string `json:"external_id"`
		} `json:"check_run"`
	}
	if err == nil {
		err = json.Unmarshal(content.Payload, &event)
	}
	if err != nil || event.Check.ID != w.deploy.check.ID {
		w.saw(id, NotSeen, "the press in the log of deliveries is of another check run (%v)", err)
		return
	}
	w.judge(id, event.Check.ExternalID == w.deploy.pressed && w.deploy.pressed != "", "the delivery %d carries the external_id that the check run had: %v", d.ID, event.Check.ExternalID == w.deploy.pressed)
}

// seeAnswer sees whether one answer let both jobs go on.
func (w *walk) seeAnswer(ctx context.Context) {
	const id = "rule-answer-all-jobs"
	var held []string
	err := w.until(ctx, "all jobs go on", w.cfg.Window, func(ctx context.Context) (bool, error) {
		jobs, err := w.jobs(ctx, w.deploy.run)
		if err != nil {
			return false, err
		}
		held = nil
		for _, j := range jobs {
			if j.Status == "waiting" {
				held = append(held, clip(j.Name))
			}
		}
		return len(held) == 0, nil
	})
	if err != nil && len(held) == 0 {
		w.saw(id, NotSeen, "%v", err)
		return
	}
	w.judge(id, len(held) == 0, "%d jobs waited at the environment; still held after the answer: %d", len(w.deploy.jobs), len(held))
}

func (w *walk) seeDispatch(ctx context.Context, created time.Time) {
	const id = "dispatch-delivery"
	var d github.Delivery
	err := w.until(ctx, "the event is in the log of deliveries", w.cfg.Event, func(ctx context.Context) (bool, error) {
		var err error
		// The event may be a little older than the run.
		d, err = w.delivered(ctx, "workflow_dispatch", "", created.Add(-10*time.Second))
		return d.ID != 0, err
	})
	switch {
	case d.ID != 0:
		w.judge(id, d.DeliveredAt.Sub(created) <= w.cfg.Event, "delivery %d was made %s after the run", d.ID, d.DeliveredAt.Sub(created).Round(time.Second))
	case ctx.Err() == nil:
		w.saw(id, Different, "no workflow_dispatch is in the log of deliveries: %v", err)
	}
}

// questions asks what needs no door.
func (w *walk) questions(ctx context.Context) (string, error) {
	w.seeBadRef(ctx)
	w.seeNoAncestor(ctx)
	if w.production.head != "" {
		w.seeLaterPage(ctx)
		w.seeReopen(ctx)
	}
	if w.production.merged != "" {
		w.seeActivity(ctx)
	}
	if w.deploy.over {
		w.seeOriginal(ctx)
	}
	switch {
	case w.cfg.Team == "":
		w.saw("team-members-query", NotSeen, "no team was named; --team SLUG names one of the owner's")
	case !w.org:
		w.saw("team-members-query", NotSeen, "%s is no organisation, and has no teams", w.owner)
	default:
		w.seeTeam(ctx)
	}
	if w.cfg.NoRule {
		for _, id := range []string{"graphql-check-deployment", "no-runner-no-steps", "rule-answer-all-jobs"} {
			w.saw(id, NotSeen, "the environment has no protection rule here (--no-rule)")
		}
	}
	return "", ctx.Err()
}

func (w *walk) seeBadRef(ctx context.Context) {
	var data struct {
		Repository struct {
			Ref *struct {
				Name string `json:"name"`
			} `json:"ref"`
		} `json:"repository"`
	}
	err := w.wire.ask(ctx, `query selftest($owner:String!,$name:String!,$ref:String!){repository(owner:$owner,name:$name){ref(qualifiedName:$ref){name}}}`, w.vars("ref", "refs/heads/a..b"), &data)
	if err != nil && !isQuery(err) {
		w.saw("graphql-bad-ref", NotSeen, "%v", err)
		return
	}
	w.judge("graphql-bad-ref", err == nil && data.Repository.Ref == nil, "asked for refs/heads/a..b: null %v, error %v", data.Repository.Ref == nil, err)
}

// seeNoAncestor compares with a commit that has no parents and that no branch names.
func (w *walk) seeNoAncestor(ctx context.Context) {
	const id = "compare-no-ancestor"
	var at struct {
		Commit struct {
			Tree struct {
				SHA string `json:"sha"`
			} `json:"tree"`
		} `json:"commit"`
	}
	err := w.wire.get(ctx, "/commits/"+w.head, &at)
	var made struct {
		SHA string `json:"sha"`
	}
	if err == nil {
		err = w.wire.do(ctx, http.MethodPost, "/git/commits", map[string]any{"message": "sallyport-app selftest: a commit without parents", "tree": at.Commit.Tree.SHA, "parents": []string{}}, &made)
	}
	if err != nil {
		w.saw(id, NotSeen, "making a commit without parents: %v", err)
		return
	}
	var compared struct {
		Status string `json:"status"`
	}
	switch err := w.wire.get(ctx, "/compare/"+w.head+"..."+made.SHA, &compared); {
	case statusOf(err) != 0 || err == nil:
		w.judge(id, statusOf(err) == http.StatusNotFound, "comparing was answered with the status %d %s", w.wire.latest().Status, clip(compared.Status))
	default:
		w.saw(id, NotSeen, "%v", err)
	}
}

func (w *walk) seeLaterPage(ctx context.Context) {
	const id = "compare-later-page"
	var page struct {
		Status  string            `json:"status"`
		Files   []json.RawMessage `json:"files"`
		Commits []json.RawMessage `json:"commits"`
	}
	if err := w.wire.get(ctx, "/compare/"+w.production.base+"..."+w.production.head+"?per_page=1&page=2", &page); err != nil {
		w.saw(id, NotSeen, "%v", err)
		return
	}
	w.judge(id, page.Status != "" && len(page.Files) == 0, "the second page has the status %q, %d commits and %d files", clip(page.Status), len(page.Commits), len(page.Files))
}

// seeReopen asks for a check run of our own again, and tries to open it.
func (w *walk) seeReopen(ctx context.Context) {
	const id = "check-not-reopened"
	var k checkRun
	err := w.wire.do(ctx, http.MethodPost, "/check-runs", map[string]any{
		"name": "sallyport-selftest-again", "head_sha": w.production.head, "status": "completed", "conclusion": "neutral", "output": map[string]string{"title": "Nothing", "summary": "Made by sallyport-app selftest."},
	}, &k)
	if err == nil {
		err = w.wire.do(ctx, http.MethodPost, fmt.Sprintf("/check-runs/%d/rerequest", k.ID), nil, nil)
	}
	if err != nil {
		w.saw(id, NotSeen, "asking for a check run again: %v", err)
		return
	}
	var now checkRun
	err = w.wire.do(ctx, http.MethodPatch, fmt.Sprintf("/check-runs/%d", k.ID), map[string]string{"status": "in_progress"}, &now)
	switch {
	case err != nil && statusOf(err) == 0:
		w.saw(id, NotSeen, "%v", err)
	default:
		w.judge(id, err != nil || now.Status == "completed", "opening it again was answered with %d %s", w.wire.latest().Status, clip(now.Status))
	}
	if now.Status == "in_progress" {
		if err := w.wire.do(ctx, http.MethodPatch, fmt.Sprintf("/check-runs/%d", k.ID), map[string]string{"status": "completed", "conclusion": "neutral"}, nil); err != nil {
			w.report.Left = append(w.report.Left, fmt.Sprintf("the check run %d, which could not be completed: %v", k.ID, err))
		}
	}
}

func (w *walk) seeActivity(ctx context.Context) {
	const id = "activity-names"
	var list []struct {
		Before string `json:"before"`
		After  string `json:"after"`
		Kind   string `json:"activity_type"`
	}
	err := w.until(ctx, "the merge is in the branch's activity", w.cfg.Window, func(ctx context.Context) (bool, error) {
		err := w.wire.get(ctx, "/activity?per_page=100&ref="+escape("refs/heads/"+w.branch), &list)
		for _, a := range list {
			if a.After == w.production.merged {
				w.judge(id, a.Kind == "pr_merge" && a.Before != "", "the merge of #%d is %q, from %.7s to %.7s; what a queue's is was not tried", w.production.number, clip(a.Kind), clip(a.Before), a.After)
				return true, nil
			}
		}
		return false, err
	})
	if err != nil {
		w.saw(id, Different, "the merge of #%d is not in it: %v", w.production.number, err)
	}
}

// seeOriginal gives the job's deployment another environment, as any job with
// deployments: write can.
func (w *walk) seeOriginal(ctx context.Context) {
	const id, other = "original-environment", "sallyport-selftest-other"
	var list []struct {
		ID int64 `json:"id"`
	}
	err := w.wire.get(ctx, "/deployments?per_page=100&environment="+Environment+"&sha="+w.production.merged, &list)
	if err != nil || len(list) == 0 {
		w.saw(id, NotSeen, "the deployment of the job is not listed: %v", err)
		return
	}
	for _, d := range list { // which of them is the job's does not matter: they are ours
		if err := w.wire.do(ctx, http.MethodPost, fmt.Sprintf("/deployments/%d/statuses", d.ID), map[string]string{"state": "inactive", "environment": other, "description": "sallyport-app selftest"}, nil); err != nil {
			w.saw(id, NotSeen, "giving the deployment another environment: %v", err)
			return
		}
	}
	seen := 0
	err = w.until(ctx, "GraphQL shows the other environment", w.cfg.Window, func(ctx context.Context) (bool, error) {
		s, err := w.suites(ctx)
		if err != nil || s.Repository.Object == nil || s.Repository.Object.Suites == nil {
			return false, err
		}
		for _, n := range s.Repository.Object.Suites.Nodes {
			for _, k := range n.Checks.Nodes {
				switch d := k.Deployment; {
				case d == nil:
				case d.Original != Environment:
					return false, final("originalEnvironment became %q", clip(d.Original))
				case d.Environment == other && d.Latest == other:
					seen++
				}
			}
		}
		return seen > 0, nil
	})
	if err != nil && ctx.Err() != nil {
		return
	}
	if err != nil {
		w.saw(id, Different, "after a status with the environment %s: %v", other, err)
		return
	}
	w.saw(id, AsAssumed, "a status with the environment %s changed environment and latestEnvironment, and not originalEnvironment", other)
}

// seeTeam searches a team for its own members.
func (w *walk) seeTeam(ctx context.Context) {
	const id = "team-members-query"
	var members []struct {
		ID    int64  `json:"id"`
		Login string `json:"login"`
	}
	err := w.wire.send(ctx, http.MethodGet, w.wire.base+"/orgs/"+w.owner+"/teams/"+escape(w.cfg.Team)+"/members?per_page=100", nil, &members)
	if err != nil || len(members) == 0 {
		w.saw(id, NotSeen, "the team %s has no members that the App sees: %v", clip(w.cfg.Team), err)
		return
	}
	for _, m := range members[:min(len(members), 5)] {
		var data struct {
			Organization struct {
				Team *struct {
					Members struct {
						Nodes []struct {
							ID int64 `json:"databaseId"`
						} `json:"nodes"`
					} `json:"members"`
				} `json:"team"`
			} `json:"organization"`
		}
		err := w.wire.ask(ctx, `query selftest($owner:String!,$team:String!,$login:String!){organization(login:$owner){team(slug:$team){members(first:100,query:$login,membership:ALL){nodes{databaseId}}}}}`,
			map[string]any{"owner": w.owner, "team": w.cfg.Team, "login": m.Login}, &data)
		found := false
		if t := data.Organization.Team; t != nil {
			for _, n := range t.Members.Nodes {
				found = found || n.ID == m.ID
				if !slices.ContainsFunc(members, func(k struct {
					ID    int64  `json:"id"`
					Login string `json:"login"`
				}) bool {
					return k.ID == n.ID
				}) && len(members) < 100 {
					w.saw(id, Different, "searching for %s found account %d, who is no member by REST", clip(m.Login), n.ID)
					return
				}
			}
		}
		if err != nil && !isQuery(err) {
			w.saw(id, NotSeen, "%v", err)
			return
		}
		if err != nil || !found {
			w.saw(id, Different, "searching for the member %s does not find them: %v", clip(m.Login), err)
			return
		}
	}
	w.saw(id, AsAssumed, "each of %d members was found by their login, and nobody else; invited people were not tried", min(len(members), 5))
}
