package githubtest

import (
	"net/http"
	"slices"
	"strings"
)

// maxFound is how many runs are listed at most where a filter is given.
const maxFound = 1000

func actionRoutes() []route {
	read := needs("actions:read")
	run := repoPath + "/actions/runs/{run_id}"
	jobs := func(c *call, list []*Job) (any, error) {
		return obj{"total_count": len(list), "jobs": views(pageOf(c, list), c.g.jobView)}, nil
	}
	return []route{
		{pattern: "GET " + repoPath + "/actions/workflows", who: byToken, need: read, list: true, serve: func(c *call) (any, error) {
			all := c.repo.workflows
			return obj{"total_count": len(all), "workflows": views(pageOf(c, all), func(w *workflow) obj { return c.g.workflowView(c.repo, w) })}, nil
		}},
		{pattern: "GET " + repoPath + "/actions/workflows/{workflow_id}", who: byToken, need: read, serve: func(c *call) (any, error) {
			for _, w := range c.repo.workflows {
				if itoa(w.id) == c.r.PathValue("workflow_id") || strings.HasSuffix(w.path, "/"+c.r.PathValue("workflow_id")) {
					return c.g.workflowView(c.repo, w), nil
				}
			}
			return nil, notFound()
		}},
		{pattern: "GET " + repoPath + "/actions/runs", who: byToken, need: read, list: true, query: "actor branch event status created exclude_pull_requests check_suite_id head_sha", serve: (*call).listRuns},
		{pattern: "GET " + run, who: byToken, need: read, query: "exclude_pull_requests", serve: withRun(func(c *call, r *Run) (any, error) { return c.g.runView(r), nil })},
		{pattern: "GET " + run + "/jobs", who: byToken, need: read, list: true, query: "filter", serve: withRun(func(c *call, r *Run) (any, error) {
			if c.query("filter") == "all" {
				return jobs(c, r.jobs)
			}
			return jobs(c, r.present())
		})},
		{pattern: "GET " + run + "/attempts/{attempt_number}", who: byToken, need: read, query: "exclude_pull_requests", serve: withRun(func(c *call, r *Run) (any, error) {
			n, err := c.id("attempt_number")
			if err != nil || n < 1 || int(n) > r.attempt {
				return nil, notFound()
			}
			return c.g.attemptView(r, int(n)), nil
		})},
		{pattern: "GET " + run + "/attempts/{attempt_number}/jobs", who: byToken, need: read, list: true, serve: withRun(func(c *call, r *Run) (any, error) {
			n, err := c.id("attempt_number")
			if err != nil || n < 1 || int(n) > r.attempt {
				return nil, notFound()
			}
			return jobs(c, r.attemptJobs(int(n)))
		})},
		{pattern: "GET " + repoPath + "/actions/jobs/{job_id}", who: byToken, need: read, serve: withJob(func(c *call, j *Job) (any, error) { return c.g.jobView(j), nil })},
		{pattern: "POST " + repoPath + "/actions/jobs/{job_id}/rerun", who: byToken, need: needs("actions:write"), serve: withJob(func(c *call, j *Job) (any, error) {
			return c.rerun(j.run, j)
		})},
		{pattern: "POST " + run + "/rerun", who: byToken, need: needs("actions:write"), serve: withRun(func(c *call, r *Run) (any, error) { return c.rerun(r) })},
		{pattern: "POST " + run + "/rerun-failed-jobs", who: byToken, need: needs("actions:write"), serve: withRun(func(c *call, r *Run) (any, error) {
			var failed []*Job
			for _, j := range r.present() {
				if j.check.conclusion != "success" {
					failed = append(failed, j)
				}
			}
			return c.rerun(r, failed...)
		})},
		{pattern: "GET " + run + "/approvals", who: byToken, need: read, serve: withRun(func(c *call, r *Run) (any, error) {
			return views(r.approvals, func(a approval) obj {
				return obj{"state": a.state, "comment": a.comment, "user": c.g.userView(a.user), "environments": []any{c.environmentStub(a.env)}}
			}), nil
		})},
		{pattern: "GET " + run + "/pending_deployments", who: byToken, need: read, serve: withRun(func(c *call, r *Run) (any, error) {
			var envs []*Environment
			for _, j := range r.present() {
				if j.check.status == "waiting" && !slices.Contains(envs, j.env) {
					envs = append(envs, j.env)
				}
			}
			return views(envs, func(e *Environment) obj {
				var started any
				if e.waitTimer > 0 {
					started = stamp(r.started)
				}
				return obj{
					"environment": obj{"id": e.ID, "node_id": nodeID("Environment", e.ID), "name": e.name, "url": c.repo.api("environments", e.name), "html_url": c.repo.html("deployments")},
					"wait_timer":  e.waitTimer, "wait_timer_started_at": started, "current_user_can_approve": e.reviewer(c.caller.user), "reviewers": c.g.reviewersView(e, false),
				}
			}), nil
		})},
		{pattern: "POST " + run + "/pending_deployments", who: byToken, need: needs("deployments:write"), serve: withRun((*call).postPending)},
		{pattern: "POST " + run + "/deployment_protection_rule", who: byInstallation, need: needs("deployments:write"), serve: withRun((*call).postAnswer)},
	}
}

func (c *call) environmentStub(e *Environment) obj {
	v := c.g.environmentView(e)
	for _, k := range []string{"can_admins_bypass", "protection_rules", "deployment_branch_policy"} {
		delete(v, k)
	}
	return v
}

func withRun(f func(*call, *Run) (any, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		id, err := c.id("run_id")
		if err != nil {
			return nil, err
		}
		run := c.g.runs[id]
		if run == nil || run.repo != c.repo {
			return nil, notFound()
		}
		return f(c, run)
	}
}

func withJob(f func(*call, *Job) (any, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		id, err := c.id("job_id")
		if err != nil {
			return nil, err
		}
		j := c.g.jobs[id]
		if j == nil || j.run.repo != c.repo {
			return nil, notFound()
		}
		return f(c, j)
	}
}

func (c *call) rerun(run *Run, jobs ...*Job) (any, error) {
	var in struct {
		Debug bool `json:"enable_debug_logging"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if err := run.rerun(c.caller.user, jobs...); err != nil {
		return nil, err
	}
	c.status = http.StatusCreated
	return obj{}, nil
}

func (c *call) listRuns() (any, error) {
	var all []*Run
	for i := len(c.repo.runs) - 1; i >= 0; i-- {
		r := c.repo.runs[i]
		status, conclusion := r.state()
		if want := c.query("status"); want != "" && want != status && want != conclusion {
			continue
		}
		if c.query("head_sha") != "" && c.query("head_sha") != r.sha || c.query("event") != "" && c.query("event") != r.event ||
			c.query("branch") != "" && c.query("branch") != r.branch || c.query("actor") != "" && !strings.EqualFold(c.query("actor"), r.actor.login) ||
			c.query("check_suite_id") != "" && asID(c.query("check_suite_id")) != r.suite.id {
			continue
		}
		all = append(all, r)
	}
	total := len(all)
	if c.query("head_sha")+c.query("event")+c.query("branch")+c.query("actor")+c.query("status")+c.query("check_suite_id") != "" {
		all = all[:min(total, maxFound)]
	}
	return obj{"total_count": total, "workflow_runs": views(pageOf(c, all), c.g.runView)}, nil
}

func (c *call) postPending(run *Run) (any, error) {
	var in struct {
		IDs     []int64 `json:"environment_ids"`
		State   string  `json:"state"`
		Comment *string `json:"comment"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Comment == nil || len(in.IDs) == 0 {
		return nil, invalid("environment_ids, state and comment are required")
	}
	var envs []*Environment
	for _, id := range in.IDs {
		i := slices.IndexFunc(c.repo.environments, func(e *Environment) bool { return e.ID == id })
		if i < 0 {
			return nil, invalid("no environment %d", id)
		}
		envs = append(envs, c.repo.environments[i])
	}
	deployments, err := run.review(c.caller.user, envs, in.State, *in.Comment)
	if err != nil {
		return nil, err
	}
	return views(deployments, func(d *Deployment) obj { v, _ := c.g.deploymentView(d).(obj); return v }), nil
}

func (c *call) postAnswer(run *Run) (any, error) {
	var in struct {
		Environment string  `json:"environment_name"`
		State       *string `json:"state"`
		Comment     string  `json:"comment"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Environment == "" || in.State == nil && in.Comment == "" {
		return nil, invalid("environment_name and state or comment are required")
	}
	if in.State != nil && *in.State == "" {
		c.complain(`"state": "" is neither an answer nor a status report`)
		return nil, invalid("state %q is not included in the list", "")
	}
	if err := run.answer(c.caller.app, in.Environment, deref(in.State), in.Comment); err != nil {
		return nil, err
	}
	c.status = http.StatusNoContent
	return nil, nil
}
