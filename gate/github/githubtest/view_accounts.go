package githubtest

import "strings"

func (g *GitHub) userView(u *User) obj {
	path := "users"
	api := g.api(path, u.login)
	return obj{
		"login": u.login, "id": u.ID, "node_id": nodeID("User", u.ID), "avatar_url": "https://avatars.githubusercontent.com/u/" + itoa(u.ID) + "?v=4",
		"gravatar_id": "", "url": api, "html_url": g.cfg.WebURL + "/" + strings.TrimSuffix(u.login, "[bot]"), "followers_url": api + "/followers",
		"following_url": api + "/following{/other_user}", "gists_url": api + "/gists{/gist_id}", "starred_url": api + "/starred{/owner}{/repo}",
		"subscriptions_url": api + "/subscriptions", "organizations_url": api + "/orgs", "repos_url": api + "/repos",
		"events_url": api + "/events{/privacy}", "received_events_url": api + "/received_events", "type": u.Type, "site_admin": false,
	}
}

// userOrNil is null for nobody and for deleted accounts.
func (g *GitHub) userOrNil(u *User) any {
	if u == nil || u.gone {
		return nil
	}
	return g.userView(u)
}

func (g *GitHub) fullUserView(u *User) obj {
	v := g.userView(u)
	for k, x := range (obj{
		"name": u.name, "company": nil, "blog": "", "location": nil, "email": nil, "hireable": nil, "bio": nil, "public_repos": 0, "public_gists": 0,
		"followers": 0, "following": 0, "created_at": stamp(g.Now()), "updated_at": stamp(g.Now()), "user_view_type": "public",
	}) {
		v[k] = x
	}
	return v
}

func (g *GitHub) orgView(o *Organization) obj {
	api := g.api("orgs", o.Name)
	return obj{
		"login": o.Name, "id": o.ID, "node_id": nodeID("Organization", o.ID), "url": api, "repos_url": api + "/repos", "events_url": api + "/events",
		"hooks_url": api + "/hooks", "issues_url": api + "/issues", "members_url": api + "/members{/member}",
		"public_members_url": api + "/public_members{/member}", "avatar_url": "https://avatars.githubusercontent.com/u/" + itoa(o.ID) + "?v=4", "description": "",
	}
}

func (g *GitHub) fullOrgView(o *Organization) obj {
	v := g.orgView(o)
	for k, x := range (obj{
		"html_url": g.cfg.WebURL + "/" + o.Name, "has_organization_projects": true, "has_repository_projects": true, "public_repos": 0, "public_gists": 0,
		"followers": 0, "following": 0, "type": "Organization", "created_at": stamp(g.Now()), "updated_at": stamp(g.Now()), "archived_at": nil,
	}) {
		v[k] = x
	}
	return v
}

// webhookTeamView is a team as webhooks show it.
func (g *GitHub) webhookTeamView(t *Team) obj {
	api := g.url + "/organizations/" + itoa(t.org.ID) + "/team/" + itoa(t.ID)
	return obj{
		"name": t.name, "id": t.ID, "node_id": nodeID("Team", t.ID), "slug": t.slug, "description": "", "privacy": "closed", "url": api,
		"html_url": g.cfg.WebURL + "/orgs/" + t.org.Name + "/teams/" + t.slug, "members_url": api + "/members{/member}", "repositories_url": api + "/repos",
		"permission": "pull", "notification_setting": "notifications_enabled",
	}
}

// teamView is a team as REST shows it.
func (g *GitHub) teamView(t *Team) obj {
	v := g.webhookTeamView(t)
	v["type"], v["organization_id"], v["parent"] = "organization", t.org.ID, nil
	if t.parent != nil {
		parent := g.webhookTeamView(t.parent)
		parent["type"] = "organization"
		v["parent"] = parent
	}
	return v
}

func (g *GitHub) fullTeamView(t *Team) obj {
	v := g.teamView(t)
	v["members_count"], v["repos_count"] = len(t.activeMembers()), len(t.repos)
	v["created_at"], v["updated_at"] = stamp(g.Now()), stamp(g.Now())
	v["organization"] = g.fullOrgView(t.org)
	return v
}

func (g *GitHub) appView(a *App) obj {
	events := a.events
	if events == nil {
		events = []string{}
	}
	return obj{
		"id": a.ID, "slug": a.slug, "node_id": nodeID("App", a.ID), "owner": g.userView(a.owner), "name": a.name, "description": "",
		"external_url": "https://" + a.slug + ".example.com", "html_url": g.cfg.WebURL + "/apps/" + a.slug, "created_at": stamp(a.created),
		"updated_at": stamp(a.created), "permissions": a.permissions, "events": events,
	}
}

func (g *GitHub) installationView(i *Installation) obj {
	selection := "all"
	if i.selected {
		selection = "selected"
	}
	kind := "User"
	page := g.cfg.WebURL + "/settings/installations/" + itoa(i.ID)
	if i.org != nil {
		kind = "Organization"
		page = g.cfg.WebURL + "/organizations/" + i.org.Name + "/settings/installations/" + itoa(i.ID)
	}
	events := i.app.events
	if events == nil {
		events = []string{}
	}
	return obj{
		"id": i.ID, "account": g.userView(i.account), "repository_selection": selection,
		"access_tokens_url": g.url + "/app/installations/" + itoa(i.ID) + "/access_tokens", "repositories_url": g.url + "/installation/repositories",
		"html_url": page, "app_id": i.app.ID, "app_slug": i.app.slug, "target_id": i.account.ID, "target_type": kind, "permissions": i.permissions,
		"events": events, "created_at": stamp(i.created), "updated_at": stamp(i.created), "single_file_name": nil, "has_multiple_single_files": false,
		"single_file_paths": []string{}, "suspended_by": g.userOrNil(i.suspender), "suspended_at": stampOrNil(i.suspended),
	}
}
