package githubtest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

func peopleRoutes() []route {
	members := needs("members:read")
	return []route{
		{pattern: "GET /user", who: byUser, serve: func(c *call) (any, error) { return c.g.fullUserView(c.caller.user), nil }},
		{pattern: "GET /users/{username}", who: byToken, serve: func(c *call) (any, error) {
			u := c.g.userByLogin(c.r.PathValue("username"))
			if u == nil {
				return nil, notFound()
			}
			return c.g.fullUserView(u), nil
		}},
		{pattern: "GET /user/{account_id}", who: byToken, serve: func(c *call) (any, error) {
			id, err := c.id("account_id")
			if err != nil {
				return nil, err
			}
			u := c.g.users[id]
			if u == nil || u.gone {
				return nil, notFound()
			}
			return c.g.fullUserView(u), nil
		}},
		{pattern: "GET /orgs/{org}", who: byToken, serve: func(c *call) (any, error) { return c.g.fullOrgView(c.org), nil }},
		{pattern: "GET /orgs/{org}/teams/{team_slug}", who: byToken, need: members, serve: func(c *call) (any, error) {
			t := c.org.team(c.r.PathValue("team_slug"))
			if t == nil {
				return nil, notFound()
			}
			return c.g.fullTeamView(t), nil
		}},
		{pattern: "GET /orgs/{org}/teams/{team_slug}/members", who: byToken, need: members, list: true, query: "role", serve: func(c *call) (any, error) {
			t := c.org.team(c.r.PathValue("team_slug"))
			if t == nil {
				return nil, notFound()
			}
			return views(pageOf(c, t.activeMembers()), c.g.userView), nil
		}},
		{pattern: "GET /orgs/{org}/teams/{team_slug}/memberships/{username}", who: byToken, need: members, serve: func(c *call) (any, error) {
			t, u := c.org.team(c.r.PathValue("team_slug")), c.g.userByLogin(c.r.PathValue("username"))
			if t == nil || u == nil {
				return nil, notFound()
			}
			m, ok := t.member(u)
			if !ok {
				return nil, notFound()
			}
			return obj{"role": m.role, "state": m.state, "url": c.g.url + "/organizations/" + itoa(c.org.ID) + "/team/" + itoa(t.ID) + "/memberships/" + u.login}, nil
		}},
		{pattern: "GET /orgs/{org}/teams/{team_slug}/repos/{owner}/{repo}", who: byToken, need: members, serve: func(c *call) (any, error) {
			t, r := c.org.team(c.r.PathValue("team_slug")), c.g.repoByName(c.r.PathValue("owner"), c.r.PathValue("repo"))
			if t == nil || r == nil || t.repos[r.ID] == "" {
				return nil, notFound()
			}
			if !strings.Contains(c.r.Header.Get("Accept"), "repository") {
				c.status = http.StatusNoContent
				return nil, nil
			}
			v := c.g.fullRepoView(r)
			v["permissions"], v["role_name"] = rights(t.repos[r.ID]), t.repos[r.ID]
			return v, nil
		}},
		{pattern: "GET " + repoPath + "/teams", who: byToken, need: needs("administration:read"), list: true, serve: func(c *call) (any, error) {
			var all []*Team
			if c.repo.org != nil {
				for _, t := range c.repo.org.teams {
					if t.repos[c.repo.ID] != "" {
						all = append(all, t)
					}
				}
			}
			return views(pageOf(c, all), c.g.teamView), nil
		}},
		{pattern: "GET " + repoPath + "/collaborators/{username}/permission", who: byToken, need: needs("metadata:read"), serve: func(c *call) (any, error) {
			u := c.g.userByLogin(c.r.PathValue("username"))
			if u == nil {
				return nil, notFound()
			}
			role := c.repo.access(u)
			v := c.g.userView(u)
			v["permissions"], v["role_name"] = rights(role), role
			coarse := map[string]string{"maintain": "write", "triage": "read"}
			permission := role
			if p := coarse[role]; p != "" {
				permission = p
			}
			return obj{"permission": permission, "role_name": role, "user": v}, nil
		}},
	}
}

// rights are a role as flags.
func rights(role string) obj {
	out := obj{}
	for flag, from := range map[string]string{"pull": "read", "triage": "triage", "push": "write", "maintain": "maintain", "admin": "admin"} {
		out[flag] = rank(role) >= rank(from)
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
