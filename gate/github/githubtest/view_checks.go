package githubtest

import (
	"cmp"
	"maps"
)

// checkView is a check run as REST shows it.
func (g *GitHub) checkView(c *CheckRun) obj {
	r := c.repo
	return obj{
		"id": c.ID, "node_id": nodeID("CheckRun", c.ID), "head_sha": c.sha, "external_id": c.externalID, "url": r.api("check-runs", itoa(c.ID)),
		"html_url": r.html("runs", itoa(c.ID)), "details_url": c.details(), "status": c.status, "conclusion": textOrNil(c.conclusion),
		"started_at": stamp(c.started), "completed_at": stampOrNil(c.completed), "name": c.name, "check_suite": obj{"id": c.suite.id}, "app": g.appView(c.app),
		"pull_requests": views(r.pullsAt(c.sha), g.minimalPullView),
		"output": obj{
			"title": textOrNil(c.title), "summary": textOrNil(c.summary), "text": textOrNil(c.text), "annotations_count": len(c.annotations),
			"annotations_url": r.api("check-runs", itoa(c.ID), "annotations"),
		},
	}
}

// details is details_url; by default the App's home page.
func (c *CheckRun) details() string {
	switch {
	case c.job != nil:
		return c.repo.html("actions", "runs", itoa(c.job.run.ID), "job", itoa(c.ID))
	case c.detailsURL != "":
		return c.detailsURL
	}
	return "https://" + c.app.slug + ".example.com"
}

func (g *GitHub) webhookCheckView(c *CheckRun) obj {
	v := g.checkView(c)
	status, conclusion := c.suite.state()
	v["check_suite"] = obj{
		"id": c.suite.id, "node_id": nodeID("CheckSuite", c.suite.id), "head_branch": textOrNil(c.suite.branch), "head_sha": c.sha, "status": status,
		"conclusion": textOrNil(conclusion), "url": c.repo.api("check-suites", itoa(c.suite.id)), "before": c.suite.before, "after": c.sha,
		"pull_requests": v["pull_requests"], "app": v["app"], "created_at": stamp(c.suite.created), "updated_at": stamp(g.Now()),
	}
	return v
}

// deploymentCheckView is a check run inside a deployment_status event.
func (g *GitHub) deploymentCheckView(c *CheckRun) obj {
	v := g.checkView(c)
	for _, k := range []string{"check_suite", "app", "pull_requests", "output"} {
		delete(v, k)
	}
	return v
}

func (g *GitHub) suiteView(s *checkSuite) obj {
	status, conclusion := s.state()
	return obj{
		"id": s.id, "node_id": nodeID("CheckSuite", s.id), "head_branch": textOrNil(s.branch), "head_sha": s.sha, "status": status,
		"conclusion": textOrNil(conclusion), "url": s.repo.api("check-suites", itoa(s.id)), "before": s.before, "after": s.sha,
		"pull_requests": views(s.repo.pullsAt(s.sha), g.minimalPullView), "app": g.appView(s.app), "created_at": stamp(s.created), "updated_at": stamp(g.Now()),
		"rerequestable": true, "runs_rerequestable": true, "latest_check_runs_count": len(s.runs),
		"check_runs_url": s.repo.api("check-suites", itoa(s.id), "check-runs"), "head_commit": simpleCommitView(s.repo.git.commits[s.sha]),
	}
}

func (g *GitHub) statusView(r *Repository, s *status) obj {
	return obj{
		"id": s.id, "node_id": nodeID("StatusContext", s.id), "state": s.state, "description": textOrNil(s.description), "context": s.context,
		"target_url": nil, "avatar_url": nil, "url": r.api("statuses", s.sha), "created_at": stamp(s.at), "updated_at": stamp(s.at),
	}
}

// statusPayload is the payload of a status event.
func (r *Repository) statusPayload(s *status) obj {
	return obj{
		"id": s.id, "sha": s.sha, "name": r.fullName(), "target_url": nil, "avatar_url": nil, "context": s.context, "description": textOrNil(s.description),
		"state": s.state, "commit": r.g.commitView(r, r.git.commits[s.sha]), "branches": []any{}, "created_at": stamp(s.at), "updated_at": stamp(s.at),
	}
}

func (g *GitHub) workflowView(r *Repository, w *workflow) obj {
	return obj{
		"id": w.id, "node_id": nodeID("Workflow", w.id), "name": w.name, "path": w.path, "state": "active", "created_at": stamp(w.made),
		"updated_at": stamp(w.made), "url": r.api("actions", "workflows", itoa(w.id)), "html_url": r.html("blob", r.defaultBranch, w.path),
		"badge_url": r.html("workflows", w.name, "badge.svg"),
	}
}

// deploymentRunView is a run inside deployment events.
func (g *GitHub) deploymentRunView(run *Run) obj {
	v := g.runView(run)
	for k := range v {
		switch k {
		case "id", "name", "path", "display_title", "node_id", "head_branch", "head_sha", "run_number", "event", "status", "conclusion", "workflow_id",
			"check_suite_id", "check_suite_node_id", "url", "html_url", "pull_requests", "created_at", "updated_at", "actor", "triggering_actor",
			"run_attempt", "run_started_at", "referenced_workflows":
		default:
			delete(v, k)
		}
	}
	if v["status"] == "waiting" {
		v["status"] = "in_progress"
	}
	return v
}

// runView is a run in its present attempt.
func (g *GitHub) runView(run *Run) obj {
	v := g.attemptView(run, run.attempt)
	return v
}

func (g *GitHub) attemptView(run *Run, attempt int) obj {
	r := run.repo
	status, conclusion := stateOf(run.attemptJobs(attempt))
	if len(run.attemptJobs(attempt)) == 0 {
		status, conclusion = "queued", ""
	}
	api := r.api("actions", "runs", itoa(run.ID))
	var previous any
	if attempt > 1 {
		previous = api + "/attempts/" + itoa(int64(attempt-1))
	}
	triggering, refd := run.triggering, run.refd
	if attempt == 1 {
		triggering = run.actor
	}
	if refd == nil {
		refd = []obj{}
	}
	pulls := views(r.pullsAt(run.sha), g.minimalPullView)
	var from any
	if f := cmp.Or(run.spec.From, r); !f.gone {
		from = g.liteView(f)
	}
	return obj{
		"id": run.ID, "name": run.workflow.name, "node_id": nodeID("WorkflowRun", run.ID), "check_suite_id": run.suite.id,
		"check_suite_node_id": nodeID("CheckSuite", run.suite.id), "head_branch": run.branch, "head_sha": run.sha, "path": run.workflow.path,
		"display_title": firstLine(r.git.commits[run.sha].message), "run_number": run.number, "run_attempt": attempt, "event": run.event, "status": status,
		"conclusion": textOrNil(conclusion), "workflow_id": run.workflow.id, "url": api, "html_url": r.html("actions", "runs", itoa(run.ID)),
		"pull_requests": pulls, "created_at": stamp(run.created), "updated_at": stamp(run.updated), "actor": g.userOrNil(run.actor),
		"triggering_actor": g.userOrNil(triggering), "run_started_at": stamp(run.started), "referenced_workflows": refd, "jobs_url": api + "/jobs",
		"logs_url": api + "/logs", "check_suite_url": r.api("check-suites", itoa(run.suite.id)), "artifacts_url": api + "/artifacts",
		"cancel_url": api + "/cancel", "rerun_url": api + "/rerun", "previous_attempt_url": previous,
		"workflow_url": r.api("actions", "workflows", itoa(run.workflow.id)), "head_commit": simpleCommitView(r.git.commits[run.sha]),
		"repository": g.liteView(r), "head_repository": from,
	}
}

func firstLine(s string) string {
	for i, c := range s {
		if c == '\n' {
			return s[:i]
		}
	}
	return s
}

func (g *GitHub) jobView(j *Job) obj {
	r, c := j.run.repo, j.check
	v := obj{
		"id": j.ID, "run_id": j.run.ID, "workflow_name": j.run.workflow.name, "head_branch": j.run.branch, "run_url": r.api("actions", "runs", itoa(j.run.ID)),
		"run_attempt": j.attempt, "node_id": nodeID("CheckRun", j.ID), "head_sha": j.run.sha, "url": r.api("actions", "jobs", itoa(j.ID)),
		"html_url": r.html("actions", "runs", itoa(j.run.ID), "job", itoa(j.ID)), "status": c.status, "conclusion": textOrNil(c.conclusion),
		"created_at": stamp(j.created), "started_at": stamp(c.started), "completed_at": stampOrNil(c.completed), "name": j.spec.Name, "steps": j.stepsView(),
		"check_run_url": r.api("check-runs", itoa(j.ID)), "labels": []string{"ubuntu-latest"}, "runner_id": nil, "runner_name": nil,
		"runner_group_id": nil, "runner_group_name": nil,
	}
	if j.spec.SelfHosted {
		v["labels"] = []string{"self-hosted"}
	}
	if j.began { // one that was rejected or cancelled before never has a runner
		maps.Copy(v, obj{"runner_id": 1, "runner_name": "GitHub Actions 1", "runner_group_id": 0, "runner_group_name": "GitHub Actions"})
	}
	return v
}

// reviewJobView is a job inside deployment_review events.
func (g *GitHub) reviewJobView(j *Job) obj {
	return obj{
		"id": j.ID, "name": j.spec.Name, "status": j.check.status, "conclusion": textOrNil(j.check.conclusion),
		"html_url": j.run.repo.html("actions", "runs", itoa(j.run.ID), "job", itoa(j.ID)), "created_at": stamp(j.created), "updated_at": stamp(g.Now()),
		"environment": j.spec.Environment,
	}
}

// reviewersView are an environment's required reviewers.
func (g *GitHub) reviewersView(e *Environment, webhook bool) []any {
	out := []any{}
	for _, u := range e.users {
		out = append(out, obj{"type": "User", "reviewer": g.userView(u)})
	}
	for _, t := range e.teams {
		view := g.teamView(t)
		if webhook {
			view = g.webhookTeamView(t)
		}
		out = append(out, obj{"type": "Team", "reviewer": view})
	}
	return out
}

func (g *GitHub) environmentView(e *Environment) obj {
	r := e.repo
	rules := []any{}
	if e.waitTimer > 0 {
		rules = append(rules, obj{"id": e.ID + 1, "node_id": nodeID("GATE", e.ID+1), "type": "wait_timer", "wait_timer": e.waitTimer})
	}
	if len(e.users)+len(e.teams) > 0 {
		rules = append(rules, obj{"id": e.ID + 2, "node_id": nodeID("GATE", e.ID+2), "type": "required_reviewers", "prevent_self_review": e.selfReview, "reviewers": g.reviewersView(e, false)})
	}
	var policy any
	if e.protected || e.branches != nil {
		rules = append(rules, obj{"id": e.ID + 3, "node_id": nodeID("GATE", e.ID+3), "type": "branch_policy"})
		policy = obj{"protected_branches": e.protected, "custom_branch_policies": !e.protected}
	}
	return obj{
		"id": e.ID, "node_id": nodeID("Environment", e.ID), "name": e.name, "url": r.api("environments", e.name),
		"html_url": r.html("deployments", "activity_log?environments_filter="+e.name), "created_at": stamp(e.created), "updated_at": stamp(e.created),
		"can_admins_bypass": e.adminBypass, "protection_rules": rules, "deployment_branch_policy": policy,
	}
}

func (g *GitHub) ruleView(k *rule) obj {
	return obj{"id": k.id, "node_id": nodeID("GATE", k.id), "enabled": true, "app": g.ruleAppView(k.app)}
}

func (g *GitHub) ruleAppView(a *App) obj {
	return obj{"id": a.ID, "slug": a.slug, "integration_url": g.api("apps", a.slug), "node_id": nodeID("App", a.ID)}
}

func (g *GitHub) deploymentView(d *Deployment) any {
	if d == nil {
		return nil
	}
	api := d.repo.api("deployments", itoa(d.ID))
	v := obj{
		"url": api, "id": d.ID, "node_id": nodeID("Deployment", d.ID), "task": d.task, "original_environment": d.env, "environment": cmpOr(d.moved, d.env),
		"description": nil, "created_at": stamp(d.created), "updated_at": stamp(d.updated), "statuses_url": api + "/statuses", "repository_url": d.repo.api(),
		"creator": g.userOrNil(d.creator), "sha": d.sha, "ref": d.ref, "payload": obj{}, "transient_environment": false, "production_environment": false,
		"performed_via_github_app": nil,
	}
	if d.app != nil {
		v["performed_via_github_app"] = g.appView(d.app)
	}
	return v
}

func (g *GitHub) deploymentStatusView(s *deploymentStatus, d *Deployment) obj {
	api := d.repo.api("deployments", itoa(d.ID))
	v := obj{
		"url": api + "/statuses/" + itoa(s.id), "id": s.id, "node_id": nodeID("DeploymentStatus", s.id), "state": s.state, "creator": g.userOrNil(s.creator),
		"description": s.text, "environment": cmpOr(d.moved, d.env), "target_url": s.logURL, "created_at": stamp(s.at), "updated_at": stamp(s.at), "deployment_url": api,
		"repository_url": d.repo.api(), "environment_url": s.envURL, "performed_via_github_app": nil,
	}
	if s.logURL != "" {
		v["log_url"] = s.logURL
	}
	if s.app != nil {
		v["performed_via_github_app"] = g.appView(s.app)
	}
	return v
}
