package githubtest

import (
	"net/http"
	"slices"
	"strings"
)

func deploymentRoutes() []route {
	read, write := needs("deployments:read"), needs("deployments:write")
	actions, admin, adminWrite := needs("actions:read"), needs("administration:read"), needs("administration:write")
	env := repoPath + "/environments/{environment_name}"
	rules := env + "/deployment_protection_rules"
	return []route{
		{pattern: "GET " + repoPath + "/deployments", who: byToken, need: read, list: true, query: "sha ref task environment", serve: func(c *call) (any, error) {
			var all []*Deployment
			for i := len(c.repo.deployments) - 1; i >= 0; i-- {
				d := c.repo.deployments[i]
				if is(c.query("sha"), d.sha) && is(c.query("ref"), d.ref) && is(c.query("task"), d.task) && is(c.query("environment"), d.env) {
					all = append(all, d)
				}
			}
			return views(pageOf(c, all), func(d *Deployment) obj { v, _ := c.g.deploymentView(d).(obj); return v }), nil
		}},
		{pattern: "GET " + repoPath + "/deployments/{deployment_id}", who: byToken, need: read, serve: withDeployment(func(c *call, d *Deployment) (any, error) { return c.g.deploymentView(d), nil })},
		{pattern: "GET " + repoPath + "/deployments/{deployment_id}/statuses", who: byToken, need: read, list: true, serve: withDeployment(func(c *call, d *Deployment) (any, error) {
			var all []*deploymentStatus
			for i := len(d.statuses) - 1; i >= 0; i-- {
				if d.statuses[i].state != "waiting" { // webhooks alone say that
					all = append(all, d.statuses[i])
				}
			}
			return views(pageOf(c, all), func(s *deploymentStatus) obj { return c.g.deploymentStatusView(s, d) }), nil
		})},
		{pattern: "POST " + repoPath + "/deployments/{deployment_id}/statuses", who: byToken, need: write, serve: withDeployment((*call).postStatus)},
		{pattern: "GET " + repoPath + "/environments", who: byToken, need: actions, list: true, serve: func(c *call) (any, error) {
			all := c.repo.environments
			return obj{"total_count": len(all), "environments": views(pageOf(c, all), c.g.environmentView)}, nil
		}},
		{pattern: "GET " + env, who: byToken, need: actions, serve: withEnvironment(func(c *call, e *Environment) (any, error) { return c.g.environmentView(e), nil })},
		{pattern: "PUT " + env, who: byToken, need: adminWrite, serve: (*call).putEnvironment},
		{pattern: "GET " + env + "/deployment-branch-policies", who: byToken, need: actions, list: true, serve: withEnvironment(func(c *call, e *Environment) (any, error) {
			list := []any{}
			for i, p := range pageOf(c, e.branches) {
				list = append(list, obj{"id": e.policyIDs[i], "node_id": nodeID("DBP", e.policyIDs[i]), "name": p, "type": "branch"})
			}
			return obj{"total_count": len(e.branches), "branch_policies": list}, nil
		})},
		{pattern: "GET " + rules, who: byToken, need: actions, serve: withEnvironment(func(c *call, e *Environment) (any, error) {
			return obj{"total_count": len(e.rules), "custom_deployment_protection_rules": views(e.rules, c.g.ruleView)}, nil
		})},
		{pattern: "POST " + rules, who: byToken, need: adminWrite, serve: withEnvironment(func(c *call, e *Environment) (any, error) {
			var in struct {
				ID int64 `json:"integration_id"`
			}
			if err := c.decode(&in); err != nil {
				return nil, err
			}
			app := c.g.apps[in.ID]
			if app == nil {
				return nil, invalid("no App %d", in.ID)
			}
			made, err := e.enable(app)
			if err != nil {
				return nil, err
			}
			c.status = http.StatusCreated
			return c.g.ruleView(made), nil
		})},
		{pattern: "GET " + rules + "/apps", who: byToken, need: admin, list: true, serve: withEnvironment(func(c *call, _ *Environment) (any, error) {
			var all []*App
			for _, i := range c.g.installationsOf(c.repo) {
				if slices.Contains(i.app.events, "deployment_protection_rule") && i.permissions["deployments"] == "write" {
					all = append(all, i.app)
				}
			}
			return obj{"total_count": len(all), "available_custom_deployment_protection_rule_integrations": views(pageOf(c, all), c.g.ruleAppView)}, nil
		})},
		{pattern: "GET " + rules + "/{protection_rule_id}", who: byToken, need: actions, serve: withEnvironment(func(c *call, e *Environment) (any, error) {
			for _, k := range e.rules {
				if itoa(k.id) == c.r.PathValue("protection_rule_id") {
					return c.g.ruleView(k), nil
				}
			}
			return nil, notFound()
		})},
		{pattern: "DELETE " + rules + "/{protection_rule_id}", who: byToken, need: adminWrite, serve: withEnvironment(func(c *call, e *Environment) (any, error) {
			id, err := c.id("protection_rule_id")
			if err != nil {
				return nil, err
			}
			c.status = http.StatusNoContent
			return nil, e.disable(id)
		})},
	}
}

// is matches a filter; an empty one takes everything.
func is(want, got string) bool { return want == "" || want == "none" || want == got }

func withDeployment(f func(*call, *Deployment) (any, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		id, err := c.id("deployment_id")
		if err != nil {
			return nil, err
		}
		d := c.g.deploys[id]
		if d == nil || d.repo != c.repo {
			return nil, notFound()
		}
		return f(c, d)
	}
}

func withEnvironment(f func(*call, *Environment) (any, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		e := c.repo.environment(c.r.PathValue("environment_name"), false)
		if e == nil {
			return nil, notFound()
		}
		return f(c, e)
	}
}

func (c *call) postStatus(d *Deployment) (any, error) {
	var in struct {
		State        string `json:"state"`
		TargetURL    string `json:"target_url"`
		LogURL       string `json:"log_url"`
		Description  string `json:"description"`
		Environment  string `json:"environment"`
		EnvURL       string `json:"environment_url"`
		AutoInactive *bool  `json:"auto_inactive"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"error", "failure", "inactive", "in_progress", "queued", "pending", "success"}, in.State) {
		return nil, invalid("state %q is not included in the list", in.State)
	}
	if in.Environment != "" {
		d.moved = in.Environment
	}
	s := d.setStatus(c.caller.user, in.State)
	s.text, s.logURL, s.envURL = in.Description, cmpOr(in.LogURL, in.TargetURL), in.EnvURL
	c.status = http.StatusCreated
	return c.g.deploymentStatusView(s, d), nil
}

// putEnvironment makes or replaces an environment: what is omitted is reset.
func (c *call) putEnvironment() (any, error) {
	var in struct {
		WaitTimer  int   `json:"wait_timer"`
		SelfReview bool  `json:"prevent_self_review"`
		Bypass     *bool `json:"can_admins_bypass"`
		Reviewers  []struct {
			Type string `json:"type"`
			ID   int64  `json:"id"`
		} `json:"reviewers"`
		Policy *struct {
			Protected bool `json:"protected_branches"`
			Custom    bool `json:"custom_branch_policies"`
		} `json:"deployment_branch_policy"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	var users []*User
	var teams []*Team
	for _, w := range in.Reviewers {
		switch {
		case w.Type == "User" && c.g.users[w.ID] != nil:
			users = append(users, c.g.users[w.ID])
		case w.Type == "Team" && c.repo.org != nil && slices.ContainsFunc(c.repo.org.teams, func(t *Team) bool { return t.ID == w.ID }):
			teams = append(teams, c.repo.org.teams[slices.IndexFunc(c.repo.org.teams, func(t *Team) bool { return t.ID == w.ID })])
		default:
			return nil, invalid("no reviewer %s %d", strings.ToLower(w.Type), w.ID)
		}
	}
	switch {
	case len(in.Reviewers) > 6:
		return nil, invalid("no more than 6 reviewers")
	case in.Policy != nil && in.Policy.Protected == in.Policy.Custom:
		return nil, invalid("protected_branches and custom_branch_policies cannot have the same value")
	}
	e := c.repo.environment(c.r.PathValue("environment_name"), true)
	e.waitTimer, e.selfReview, e.users, e.teams = in.WaitTimer, in.SelfReview, users, teams
	e.protected = in.Policy != nil && in.Policy.Protected
	switch {
	case in.Policy == nil || in.Policy.Protected:
		e.branches, e.policyIDs = nil, nil
	case e.branches == nil:
		e.branches = []string{}
	}
	if in.Bypass != nil {
		e.adminBypass = *in.Bypass
	}
	return c.g.environmentView(e), nil
}
