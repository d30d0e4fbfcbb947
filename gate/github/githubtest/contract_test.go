package githubtest_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-github/v62/github"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/github/githubtest/contract"
)

// unlisted are operations that GitHub has and the description that we are given
// leaves out.
func unlisted(method, path string) bool {
	switch {
	case strings.HasSuffix(path, "/rerun"), strings.HasSuffix(path, "/rerun-failed-jobs"), strings.Contains(path, "/git/ref/"), strings.Contains(path, "/git/blobs/"), strings.HasSuffix(path, "/statuses") && strings.Contains(path, "/commits/"):
		return true
	case strings.HasSuffix(path, "/contents/"): // the root folder
		return true
	case method == http.MethodDelete && strings.HasSuffix(path, "/requested_reviewers"):
		return true
	case strings.HasSuffix(path, "/git/commits"), strings.Contains(path, "/git/refs"), strings.HasSuffix(path, "/rerequest"):
		return true
	case strings.HasPrefix(path, "/applications/"), strings.HasPrefix(path, "/user/"):
		return true
	case method == http.MethodPut && strings.Contains(path, "/contents/"), method == http.MethodPost && strings.HasSuffix(path, "/pulls"), method == http.MethodPatch && strings.Contains(path, "/pulls/"):
		return true
	}
	return false
}

// story acts out nearly everything on a world, so that there is something to read
// and every webhook has been sent.
type story struct {
	*world
	pull, merged, draft *githubtest.Pull
	review              int64
	check               *githubtest.CheckRun
	run                 *githubtest.Run
	env                 *githubtest.Environment
	rule                int64
	ruleset             int64
}

func act(t *testing.T) *story {
	t.Helper()
	s := &story{world: newWorld(t)}
	s.repo.Protect("main", &githubtest.Protection{Checks: []githubtest.RequiredCheck{{Context: "sallyport", AppID: s.app.ID}, {Context: "lint"}}, Reviews: &githubtest.RequiredReviews{Count: 1, DismissStale: true}})
	s.ruleset = s.repo.AddRuleset(githubtest.Ruleset{Name: "main", Branches: []string{"~DEFAULT_BRANCH"}, NoForcePush: true, Checks: []githubtest.RequiredCheck{{Context: "test", AppID: 15368}}, Reviews: &githubtest.RequiredReviews{Count: 1}})
	s.pull = s.open(s.agent, "feature")
	sha := s.pull.Head()
	s.must(s.pull.Label(s.alice, "wait"))
	s.must(s.pull.Request(s.alice, []*githubtest.User{s.bob}, []*githubtest.Team{s.sre}))
	_, err := s.pull.Comment(s.alice, "please look")
	s.must(err)
	_, err = s.pull.Review(s.dave, "COMMENT", sha, "hm")
	s.must(err)
	s.review, err = s.pull.Approve(s.bob, sha)
	s.must(err)
	s.repo.CommitTo(s.agent, "feature", "More", map[string]string{"feature.txt": "one\ntwo\n", "docs/a.md": "a\n"})
	s.must(s.pull.Draft(s.alice))
	s.must(s.pull.Ready(s.alice))
	s.repo.Status(s.dave, s.pull.Head(), "ci/circle", "success")
	s.check = s.repo.AddCheck(s.app, s.pull.Head(), "sallyport", "action_required")

	s.merged = s.open(s.alice, "done")
	for _, c := range []struct {
		app  *githubtest.App
		name string
	}{{s.app, "sallyport"}, {s.agentApp, "lint"}, {s.g.Actions(), "test"}} {
		s.repo.AddCheck(c.app, s.merged.Head(), c.name, "success")
	}
	_, err = s.merged.Approve(s.bob, "")
	s.must(err)
	s.must(s.merged.Merge(s.carol, "squash", s.merged.Head()))

	closed := s.open(s.alice, "dropped")
	s.must(closed.Close(s.alice))
	s.must(closed.Reopen(s.alice))
	s.refused(closed.Unlabel(s.alice, "none"), http.StatusNotFound, "removing a label that is not there")
	s.draft = closed

	s.env = s.repo.Environment("production")
	s.env.Reviewers(true, []*githubtest.User{s.bob}, []*githubtest.Team{s.sre})
	s.env.Branches("main", "release/*")
	s.rule, err = s.env.EnableRule(s.app)
	s.must(err)
	s.run = s.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", By: s.alice, Jobs: []githubtest.JobSpec{{Name: "test"}, {Name: "deploy", Environment: "production"}}})
	s.must(s.run.Job("test").Complete("success"))
	s.must(s.run.Review(s.bob, "production", "approved", "go"))
	return s
}

func get(s *story, o *contract.OpenAPI) {
	rt := o.Transport(s.t, s.g.URL(), nil, unlisted)
	client := &http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	one := func(token, method, path, body string, want int) {
		s.t.Helper()
		r, err := http.NewRequestWithContext(s.t.Context(), method, s.g.URL()+path, strings.NewReader(body))
		s.must(err)
		for k, v := range map[string]string{"Accept": "application/vnd.github+json", "User-Agent": "test", "X-GitHub-Api-Version": "2022-11-28", "Authorization": "Bearer " + token} {
			r.Header.Set(k, v)
		}
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		w, err := client.Do(r)
		s.must(err)
		w.Body.Close()
		if w.StatusCode != want {
			s.t.Errorf("%s %s answers %d, want %d", method, path, w.StatusCode, want)
		}
	}
	id := func(n int64) string { return strconv.FormatInt(n, 10) }
	app, pull := s.app.JWT(), orders+"/pulls/"+strconv.Itoa(s.pull.Number)
	issue, run, env := orders+"/issues/"+strconv.Itoa(s.pull.Number), orders+"/actions/runs/"+id(s.run.ID), orders+"/environments/production"
	head, deploy := s.pull.Head(), s.run.Job("deploy").Deployment()
	for _, p := range []string{"/app", "/app/hook/config", "/app/hook/deliveries?per_page=100", "/app/installations", "/app/installations/" + id(s.inst.ID), "/orgs/acme/installation", orders + "/installation"} {
		one(app, "GET", p, "", 200)
	}
	for _, d := range s.app.Deliveries() {
		one(app, "GET", "/app/hook/deliveries/"+id(d.ID), "", 200)
	}
	one(app, "POST", "/app/hook/deliveries/"+id(s.app.Deliveries()[0].ID)+"/attempts", "", 202)
	one(app, "POST", "/app/installations/"+id(s.inst.ID)+"/access_tokens", `{"repository_ids":[`+id(s.repo.ID)+`],"permissions":{"contents":"read"}}`, 201)
	for _, p := range []string{
		"/meta", "/rate_limit", "/installation/repositories", "/users/alice", "/orgs/acme", "/orgs/acme/teams/sre", "/orgs/acme/teams/sre/members", "/orgs/acme/teams/sre/memberships/bob",
		orders, orders + "/teams", orders + "/branches/main", orders + "/branches/main/protection", orders + "/rules/branches/main", orders + "/rulesets", orders + "/rulesets/" + id(s.ruleset),
		orders + "/collaborators/bob/permission", orders + "/contents/README.md", orders + "/contents/docs/a.md?ref=feature", orders + "/contents/docs?ref=feature", orders + "/contents/?ref=" + head,
		orders + "/commits", orders + "/commits?sha=" + head + "&path=docs", orders + "/commits/" + head, orders + "/commits/" + head + "/pulls", orders + "/commits/" + head + "/check-runs",
		orders + "/commits/" + head + "/status", orders + "/compare/main..." + head, orders + "/git/trees/" + head + "?recursive=1", orders + "/activity?ref=refs/heads/feature", orders + "/codeowners/errors",
		orders + "/pulls?state=all", pull, pull + "/files", pull + "/commits", pull + "/reviews", pull + "/reviews/" + id(s.review), pull + "/requested_reviewers",
		orders + "/pulls/" + strconv.Itoa(s.merged.Number), issue + "/comments", issue + "/labels", orders + "/check-runs/" + id(s.check.ID),
		orders + "/actions/workflows", orders + "/actions/workflows/deploy.yml", orders + "/actions/runs?status=waiting", run, run + "/jobs", run + "/attempts/1", run + "/attempts/1/jobs",
		run + "/approvals", run + "/pending_deployments", orders + "/actions/jobs/" + id(s.run.Job("deploy").ID), orders + "/deployments?environment=production",
		orders + "/deployments/" + id(deploy.ID), orders + "/deployments/" + id(deploy.ID) + "/statuses", orders + "/environments", env, env + "/deployment-branch-policies",
		env + "/deployment_protection_rules", env + "/deployment_protection_rules/apps", env + "/deployment_protection_rules/" + id(s.rule), orders + "/git/ref/heads/main",
	} {
		one(s.token, "GET", p, "", 200)
	}
	one(s.g.UserToken(s.alice), "GET", "/user", "", 200)
	one(s.token, "GET", "/orgs/acme/teams/sre/repos/acme/orders", "", 204)
	one(s.token, "GET", "/orgs/acme/teams/sre/memberships/eve", "", 404)
	one(s.token, "GET", orders+"/branches/feature/protection", "", 404)
	one(s.token, "POST", orders+"/deployments/"+id(deploy.ID)+"/statuses", `{"state":"in_progress","description":"x"}`, 201)
	one(s.token, "PUT", orders+"/environments/staging", `{"wait_timer":5,"reviewers":[{"type":"Team","id":`+id(s.sre.ID)+`}],"deployment_branch_policy":{"protected_branches":true,"custom_branch_policies":false}}`, 200)
	one(s.token, "POST", orders+"/environments/staging/deployment_protection_rules", `{"integration_id":`+id(s.app.ID)+`}`, 201)
	rules := s.want(200, "GET", orders+"/environments/staging/deployment_protection_rules", nil)
	one(s.token, "DELETE", fmt.Sprintf("%s/environments/staging/deployment_protection_rules/%.0f", orders, rules.get("custom_deployment_protection_rules.0.id")), "", 204)
	one(s.token, "POST", run+"/deployment_protection_rule", `{"environment_name":"production","comment":"waiting for @acme/sre"}`, 204)
	one(s.token, "POST", pull+"/reviews", `{"commit_id":"`+head+`","body":"","comments":[]}`, 200)
	one(s.token, "POST", issue+"/labels", `{"labels":["ready"]}`, 200)
	drafts := s.want(200, "GET", pull+"/reviews", nil)
	one(s.token, "POST", fmt.Sprintf("%s/reviews/%.0f/events", pull, drafts.get(strconv.Itoa(drafts.len("")-1)+".id")), `{"event":"APPROVE","body":"fine"}`, 200)
	one(s.token, "POST", run+"/deployment_protection_rule", `{"environment_name":"production","state":"approved","comment":"ok"}`, 204)
	one(s.token, "DELETE", "/installation/token", "", 204)
	s.token = s.inst.Token()
	// GitHub's own people answer a pending deployment.
	s.must(s.run.Job("deploy").Complete("success"))
	again := s.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", By: s.alice, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production"}}})
	one(s.g.UserToken(s.bob), "POST", orders+"/actions/runs/"+id(again.ID)+"/pending_deployments", `{"environment_ids":[`+id(s.env.ID)+`],"state":"rejected","comment":"no"}`, 200)
	one(s.token, "POST", orders+"/actions/jobs/"+id(again.Job("deploy").ID)+"/rerun", "", 403) // actions: write is not granted
}

// library drives what go-github v62 knows.
func library(s *story, o *contract.OpenAPI) {
	ctx := context.Background()
	client := github.NewClient(&http.Client{Transport: o.Transport(s.t, s.g.URL(), nil, unlisted)}).WithAuthToken(s.token)
	client, err := client.WithEnterpriseURLs(s.g.URL(), s.g.URL())
	s.must(err)
	client.BaseURL.Path = "/"
	head := s.pull.Head()
	check := func(what string, err error) {
		s.t.Helper()
		if err != nil {
			s.t.Errorf("%s: %v", what, err)
		}
	}
	p, _, err := client.PullRequests.Get(ctx, "acme", "orders", s.pull.Number)
	check("get", err)
	if p.GetHead().GetSHA() != head || p.GetUser().GetLogin() != "writer[bot]" {
		s.t.Errorf("the library reads %s by %s", p.GetHead().GetSHA(), p.GetUser().GetLogin())
	}
	files, _, err := client.PullRequests.ListFiles(ctx, "acme", "orders", s.pull.Number, nil)
	check("files", err)
	if len(files) != 2 {
		s.t.Errorf("the library reads %d files, want 2", len(files))
	}
	made, _, err := client.Checks.CreateCheckRun(ctx, "acme", "orders", github.CreateCheckRunOptions{
		Name: "sallyport", HeadSHA: head, Status: github.String("completed"), Conclusion: github.String("action_required"),
		Output:  &github.CheckRunOutput{Title: github.String("waits"), Summary: github.String("for bob"), Annotations: []*github.CheckRunAnnotation{{Path: github.String("a"), StartLine: github.Int(1), EndLine: github.Int(1), AnnotationLevel: github.String("warning"), Message: github.String("m")}}},
		Actions: []*github.CheckRunAction{{Label: "Approve", Description: "Let it ship", Identifier: "approve"}},
	})
	check("create check", err)
	_, _, err = client.Checks.UpdateCheckRun(ctx, "acme", "orders", made.GetID(), github.UpdateCheckRunOptions{Name: "sallyport", Conclusion: github.String("success")})
	check("update check", err)
	v, _, err := client.PullRequests.CreateReview(ctx, "acme", "orders", s.pull.Number, &github.PullRequestReviewRequest{CommitID: &head, Event: github.String("APPROVE"), Body: github.String("ok")})
	check("review", err)
	_, _, err = client.PullRequests.DismissReview(ctx, "acme", "orders", s.pull.Number, v.GetID(), &github.PullRequestReviewDismissalRequest{Message: github.String("changed")})
	check("dismiss", err)
	_, _, err = client.PullRequests.RequestReviewers(ctx, "acme", "orders", s.pull.Number, github.ReviewersRequest{Reviewers: []string{"dave"}})
	check("request", err)
	c, _, err := client.Issues.CreateComment(ctx, "acme", "orders", s.pull.Number, &github.IssueComment{Body: github.String("hello")})
	check("comment", err)
	_, _, err = client.Issues.EditComment(ctx, "acme", "orders", c.GetID(), &github.IssueComment{Body: github.String("hello again")})
	check("edit comment", err)
	_, err = client.Issues.RemoveLabelForIssue(ctx, "acme", "orders", s.pull.Number, "wait")
	check("unlabel", err)
	for _, name := range []string{"lint", "test"} {
		app := s.agentApp
		if name == "test" {
			app = s.g.Actions()
		}
		s.repo.AddCheck(app, head, name, "success")
	}
	_, err = s.pull.Approve(s.dave, head)
	s.must(err)
	_, _, err = client.PullRequests.Merge(ctx, "acme", "orders", s.pull.Number, "", &github.PullRequestOptions{SHA: head, MergeMethod: "merge"})
	check("merge", err)
	m, _, err := client.Teams.GetTeamMembershipBySlug(ctx, "acme", "sre", "bob")
	check("membership", err)
	if m.GetState() != "active" {
		s.t.Errorf("bob's membership is %q", m.GetState())
	}
}

// Every answer fits GitHub's description, and every operation that is answered was
// asked for.
func TestAnswersFitTheDescription(t *testing.T) {
	o := contract.LoadOpenAPI(t)
	s := act(t)
	s.g.Allow("the token lacks actions:write") // asked for on purpose
	s.g.Allow("a review without event")
	s.settle()
	get(s, o)
	library(s, o)
	asked := map[string]bool{}
	for k := range o.Seen() {
		asked[k[:strings.LastIndex(k, " ")]] = true
	}
	known := o.Operations()
	for _, r := range s.g.Routes() {
		name := strings.ReplaceAll(r, "{path...}", "{path}")
		// TestManifestFlow asks for the conversion of a manifest, with a code from the page.
		if !asked[name] && slices.Contains(known, name) && !strings.HasPrefix(name, "POST /app-manifests/") {
			t.Errorf("%s is answered and was not held to the description", name)
		}
		method, path, _ := strings.Cut(r, " ")
		if !slices.Contains(known, name) && path != "/graphql" && !unlisted(method, path) {
			t.Errorf("%s is answered and is not in the description", name)
		}
	}
	t.Logf("%d exchanges of %d operations", sum(o.Seen()), len(asked))
}

func sum(m map[string]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}

// Every webhook fits the published schema, and has what the captured one has.
func TestWebhooksFitTheSchema(t *testing.T) {
	hooks := contract.LoadWebhooks(t)
	s := act(t)
	s.sre.Add(s.carol, s.dave)
	s.sre.Remove(s.carol, s.dave)
	other := s.g.Repository(s.acme, "other")
	s.inst.Add(s.carol, other)
	s.inst.Remove(s.carol, other)
	s.inst.Permit(s.carol, permissions())
	s.settle()
	o := s.call(s.token, "PATCH", orders+"/check-runs/"+strconv.FormatInt(s.check.ID, 10), map[string]any{"actions": []map[string]string{{"label": "Approve", "description": "x", "identifier": "approve"}}})
	if o.status != 200 {
		t.Fatalf("patching: %d", o.status)
	}
	s.must(s.check.Click(s.bob, "approve"))
	s.must(s.check.Rerequest(s.bob))
	s.must(s.repo.RerequestSuite(s.bob, s.app, s.pull.Head()))
	s.must(s.pull.Retarget(s.alice, "done"))
	queued := s.open(s.alice, "queued")
	s.repo.AddRuleset(githubtest.Ruleset{Name: "queue", Branches: []string{"main"}, MergeQueue: true})
	for _, c := range []string{"sallyport", "lint", "test"} {
		app := map[string]*githubtest.App{"sallyport": s.app, "lint": s.agentApp, "test": s.g.Actions()}[c]
		s.repo.AddCheck(app, queued.Head(), c, "success")
	}
	_, err := queued.Approve(s.bob, "")
	s.must(err)
	s.must(queued.Enqueue(s.carol))
	for _, sha := range s.repo.QueueHeads("main") {
		for _, c := range []string{"sallyport", "lint", "test"} {
			app := map[string]*githubtest.App{"sallyport": s.app, "lint": s.agentApp, "test": s.g.Actions()}[c]
			s.repo.AddCheck(app, sha, c, "success")
		}
	}
	again := s.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", By: s.alice, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production"}}})
	s.must(again.Review(s.bob, "production", "rejected", "no"))
	s.must(s.repo.DeleteBranch(s.alice, "dropped"))
	s.inst.Suspend(s.carol)
	s.inst.Unsuspend(s.carol)
	s.inst.Uninstall(s.carol)
	s.settle()

	checked := map[string]bool{}
	for _, d := range s.hook.take() {
		name := strings.TrimSuffix(d.event+"."+d.action, ".")
		known, err := hooks.Check(d.event, d.action, d.body)
		if err != nil {
			t.Errorf("%s: %.1500v", name, err)
		}
		if !known {
			continue
		}
		if checked[name] {
			continue
		}
		checked[name] = true
		captured, err := hooks.Captured(d.event, d.action)
		s.must(err)
		for file, raw := range captured {
			missing, err := contract.Lacks(raw, d.body)
			s.must(err)
			for _, m := range missing {
				if !oldFields(m) && name+" "+m != "workflow_job.queued deployment" { // only once it waited
					t.Errorf("%s lacks %s, which %s has", name, m, file)
				}
			}
		}
	}
	for _, want := range []string{
		"check_run.created", "check_run.completed", "check_run.requested_action", "check_run.rerequested", "check_suite.requested", "check_suite.rerequested", "check_suite.completed", "deployment.created", "deployment_protection_rule.requested",
		"deployment_review.requested", "deployment_review.approved", "deployment_review.rejected", "deployment_status.created", "installation.created", "installation.deleted", "installation.suspend", "installation.unsuspend",
		"installation.new_permissions_accepted", "installation_repositories.added", "installation_repositories.removed", "membership.added", "membership.removed", "merge_group.checks_requested", "merge_group.destroyed",
		"pull_request.opened", "pull_request.synchronize", "pull_request.closed", "pull_request.reopened", "pull_request.labeled", "pull_request.edited", "pull_request.ready_for_review", "pull_request.converted_to_draft",
		"pull_request.review_requested", "pull_request_review.submitted", "pull_request_review.dismissed", "push", "workflow_job.queued", "workflow_job.waiting", "workflow_job.in_progress", "workflow_job.completed", "workflow_run.requested", "workflow_run.completed",
	} {
		if !checked[want] {
			t.Errorf("no %s was held to the schema", want)
		}
	}
	t.Logf("%d kinds of webhooks", len(checked))
}

// oldFields are parts of captured payloads that depend on the repository or the
// year: settings that an App may not see, fields that GitHub no longer sends, and
// permissions and steps of whoever was captured.
func oldFields(path string) bool {
	for _, part := range []string{"permissions.", "allow_", "use_squash", "_title", "_message", "delete_branch_on_merge", "stargazers", "master_branch", "repository.organization", "repository.public",
		"steps", "reviewers[].reviewer.", "milestone", "license.", "events", "requester", "deployment.payload", "repository.permissions", "installation.created_at", "installation.updated_at", "assignee", ".custom_properties.", "enterprise"} {
		if strings.Contains(path, part) {
			return true
		}
	}
	return false
}

// The query of the platform's notes and the others that a gate needs.
func queries() []string {
	return []string{
		`query($owner:String!,$name:String!,$number:Int!,$files:String,$reviews:String){
  rateLimit{cost remaining resetAt}
  repository(owner:$owner,name:$name){databaseId pullRequest(number:$number){
    databaseId state isDraft isCrossRepository mergedAt mergeCommit{oid} baseRefName baseRefOid headRefName headRefOid changedFiles reviewDecision
    author{__typename login ...on Bot{databaseId} ...on User{databaseId}} labels(first:50){nodes{name}}
    files(first:100,after:$files){totalCount pageInfo{hasNextPage endCursor} nodes{path changeType}}
    commits(first:100){totalCount pageInfo{hasNextPage endCursor} nodes{commit{oid author{name email user{login databaseId}} committer{name email user{login}}
      authors(first:10){nodes{name email user{login databaseId}}} signature{isValid state wasSignedByGitHub}}}}
    reviews(first:100,after:$reviews){totalCount pageInfo{hasNextPage endCursor} nodes{databaseId state submittedAt authorCanPushToRepository author{__typename login ...on User{databaseId}} commit{oid}}}
    latestOpinionatedReviews(first:50,writersOnly:true){nodes{state author{login} commit{oid} onBehalfOf(first:10){nodes{slug}}}}
}}}`,
		`query($owner:String!,$name:String!,$oid:GitObjectID!){repository(owner:$owner,name:$name){object(oid:$oid){...on Commit{
  associatedPullRequests(first:10){nodes{number mergedAt baseRefName headRefOid mergeCommit{oid}}}}}}}`,
		`query($owner:String!,$name:String!,$branch:String!){repository(owner:$owner,name:$name){mergeQueue(branch:$branch){
  entries(first:50){nodes{position state headCommit{oid} baseCommit{oid} pullRequest{number headRefOid}}}}}}`,
		`mutation($id:ID!,$oid:GitObjectID!){enqueuePullRequest(input:{pullRequestId:$id,expectedHeadOid:$oid}){mergeQueueEntry{position}}}`,
		`mutation($id:ID!){dismissPullRequestReview(input:{pullRequestReviewId:$id,message:"changed"}){pullRequestReview{state}}}`,
		`query{viewer{login} repository(owner:"acme",name:"orders"){defaultBranchRef{target{oid ...on Commit{history(first:5){nodes{oid parents(first:2){nodes{oid}} tree{entries{name mode type oid}}}}}}}
  policy:object(expression:"HEAD:.github/sallyport.yml"){...on Blob{text isTruncated byteSize oid}}}}`,
	}
}

func TestSchemaIsGitHubs(t *testing.T) {
	g := contract.LoadGraphQL(t)
	part, err := os.ReadFile("schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := g.Within(string(part))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wrong {
		t.Error(w)
	}
	for i, q := range queries() {
		if err := g.Check(q); err != nil {
			t.Errorf("query %d: %v", i, err)
		}
	}
	if g.Check(`{repository(owner:"a",name:"b"){nothing}}`) == nil {
		t.Error("a field that does not exist passes")
	}
}
