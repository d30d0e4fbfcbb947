package githubtest

import "net/http"

func checkRoutes() []route {
	read, write := needs("checks:read"), needs("checks:write")
	return []route{
		{pattern: "POST " + repoPath + "/check-runs", who: byInstallation, need: write, serve: (*call).postCheck},
		{pattern: "GET " + repoPath + "/check-runs/{check_run_id}", who: byToken, need: read, serve: func(c *call) (any, error) {
			k, err := c.check()
			if err != nil {
				return nil, err
			}
			return c.g.checkView(k), nil
		}},
		{pattern: "PATCH " + repoPath + "/check-runs/{check_run_id}", who: byInstallation, need: write, serve: (*call).patchCheck},
		{pattern: "GET " + repoPath + "/commits/{ref}/check-runs", who: byToken, need: read, list: true, query: "check_name status filter app_id", serve: (*call).listChecks},
		{pattern: "GET " + repoPath + "/commits/{ref}/statuses", who: byToken, need: needs("statuses:read"), list: true, serve: func(c *call) (any, error) {
			k, err := c.commitAt(c.r.PathValue("ref"))
			if err != nil {
				return nil, err
			}
			var all []*status // the newest first
			for i := len(c.repo.statuses) - 1; i >= 0; i-- {
				if s := c.repo.statuses[i]; s.sha == k.sha {
					all = append(all, s)
				}
			}
			return views(pageOf(c, all), func(s *status) obj {
				v := c.g.statusView(c.repo, s)
				v["creator"] = c.g.userOrNil(s.creator)
				return v
			}), nil
		}},
		{pattern: "GET " + repoPath + "/commits/{ref}/status", who: byToken, need: needs("statuses:read"), list: true, serve: func(c *call) (any, error) {
			k, err := c.commitAt(c.r.PathValue("ref"))
			if err != nil {
				return nil, err
			}
			all := c.repo.latestStatuses(k.sha)
			state := "pending" // with no status at all too
			for i, s := range all {
				switch {
				case s.state == "failure" || s.state == "error":
					state = "failure"
				case s.state == "success" && i == 0:
					state = "success"
				case s.state == "pending" && state != "failure":
					state = "pending"
				}
			}
			return obj{
				"state": state, "sha": k.sha, "total_count": len(all), "repository": c.g.liteView(c.repo), "commit_url": c.repo.api("commits", k.sha),
				"url": c.repo.api("commits", k.sha, "status"), "statuses": views(pageOf(c, all), func(s *status) obj { return c.g.statusView(c.repo, s) }),
			}, nil
		}},
	}
}

func (c *call) check() (*CheckRun, error) {
	id, err := c.id("check_run_id")
	if err != nil {
		return nil, err
	}
	k := c.g.checks[id]
	if k == nil || k.repo != c.repo {
		return nil, notFound()
	}
	return k, nil
}

func (c *call) postCheck() (any, error) {
	var in checkInput
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if deref(in.Name) == "" || deref(in.HeadSHA) == "" {
		return nil, invalid("name and head_sha are required")
	}
	if c.repo.git.commits[*in.HeadSHA] == nil {
		return nil, invalid("No commit found for SHA: %s", *in.HeadSHA)
	}
	// A rejected request leaves nothing behind, so try it on a run that is nobody's.
	trial := &CheckRun{repo: c.repo, app: c.caller.app, status: "queued", started: c.g.Now()}
	if err := in.apply(trial); err != nil {
		return nil, err
	}
	k := &CheckRun{repo: c.repo, ID: c.g.newID(), app: c.caller.app, sha: *in.HeadSHA, status: "queued", started: c.g.Now(), created: c.g.Now()}
	k.suite = c.repo.suite(k.app, "", noSHA, k.sha)
	if err := in.apply(k); err != nil {
		return nil, err
	}
	k.suite.runs = append(k.suite.runs, k)
	c.g.checks[k.ID] = k
	k.event("created", c.caller.user, nil)
	k.changed()
	c.status = http.StatusCreated
	return c.g.checkView(k), nil
}

// changed tells that a run has completed, if it has.
func (c *CheckRun) changed() {
	if c.status == "completed" {
		c.event("completed", c.app.bot, nil)
		c.suite.settle()
		c.repo.advanceQueues()
	}
}

func (c *call) patchCheck() (any, error) {
	k, err := c.check()
	if err != nil {
		return nil, err
	}
	if k.app != c.caller.app {
		c.complain("a check run of another App was patched")
		return nil, refuse(http.StatusForbidden, "Invalid app_id `%d` - check run can only be modified by the GitHub App that created it.", c.caller.app.ID)
	}
	var in checkInput
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	in.HeadSHA = nil // it cannot be changed
	before := *k
	if err := in.apply(k); err != nil {
		*k = before
		return nil, err
	}
	k.patches++
	if before.status != k.status || before.conclusion != k.conclusion {
		k.changed()
	}
	return c.g.checkView(k), nil
}

func (c *call) listChecks() (any, error) {
	at, err := c.commitAt(c.r.PathValue("ref"))
	if err != nil {
		return nil, err
	}
	latest := map[[2]any]bool{}
	var all []*CheckRun
	runs := c.repo.checksOf(at.sha)
	for i := len(runs) - 1; i >= 0; i-- {
		k := runs[i]
		key := [2]any{k.suite.id, k.name}
		if c.query("check_name") != "" && k.name != c.query("check_name") || c.query("status") != "" && k.status != c.query("status") ||
			c.query("app_id") != "" && k.app.ID != asID(c.query("app_id")) || c.query("filter") != "all" && latest[key] {
			continue
		}
		latest[key] = true
		all = append(all, k)
	}
	return obj{"total_count": len(all), "check_runs": views(pageOf(c, all), c.g.checkView)}, nil
}
