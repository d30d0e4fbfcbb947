package githubtest

import "maps"

// pullView is a pull request; full adds what only the request for one shows.
func (g *GitHub) pullView(p *Pull, full bool) obj {
	p.refresh()
	r := p.repo
	n := itoa(int64(p.Number))
	api, issue, page := r.api("pulls", n), r.api("issues", n), r.html("pull", n)
	side := func(in *Repository, ref, sha string) obj {
		return obj{"label": in.owner.login + ":" + ref, "ref": ref, "sha": sha, "user": g.userView(in.owner), "repo": g.repoView(in)}
	}
	head := side(p.headRepo, p.headRef, p.headSHA)
	if p.headRepo.gone {
		head["repo"] = nil
	}
	var mergeSHA any
	if p.merged {
		mergeSHA = p.mergeSHA
	}
	author := p.author
	if author.gone {
		author = g.ghost()
	}
	v := obj{
		"url": api, "id": p.ID, "node_id": nodeID("PullRequest", p.ID), "html_url": page, "diff_url": page + ".diff", "patch_url": page + ".patch",
		"issue_url": issue, "number": p.Number, "state": p.state, "locked": false, "title": p.title, "user": g.userView(author), "body": textOrNil(p.body),
		"created_at": stamp(p.created), "updated_at": stamp(p.updated), "closed_at": stampOrNil(p.closed), "merged_at": stampOrNil(p.mergedAt),
		"merge_commit_sha": mergeSHA, "assignee": nil, "assignees": []any{}, "requested_reviewers": views(p.wanted, g.userView),
		"requested_teams": views(p.wantTeam, g.webhookTeamView), "labels": views(p.labels, func(l *label) obj { return g.labelView(r, l) }), "milestone": nil,
		"draft": p.draft, "commits_url": api + "/commits", "review_comments_url": api + "/comments",
		"review_comment_url": r.api("pulls") + "/comments{/number}", "comments_url": issue + "/comments", "statuses_url": r.api("statuses", p.headSHA),
		"head": head, "base": side(r, p.baseRef, p.baseSHA), "author_association": r.association(p.author),
		"auto_merge": nil, "active_lock_reason": nil,
		"_links": obj{
			"self": obj{"href": api}, "html": obj{"href": page}, "issue": obj{"href": issue}, "comments": obj{"href": issue + "/comments"},
			"review_comments": obj{"href": api + "/comments"}, "review_comment": obj{"href": r.api("pulls") + "/comments{/number}"},
			"commits": obj{"href": api + "/commits"}, "statuses": obj{"href": r.api("statuses", p.headSHA)},
		},
	}
	if !full {
		return v
	}
	additions, deletions := 0, 0
	for _, f := range p.files {
		additions, deletions = additions+f.additions, deletions+f.deletions
	}
	maps.Copy(v, obj{
		"merged": p.merged, "mergeable": nil, "rebaseable": nil, "mergeable_state": "unknown", "merged_by": g.userOrNil(p.mergedBy), "comments": len(p.comments),
		"review_comments": 0, "maintainer_can_modify": false, "commits": len(p.commits), "additions": additions, "deletions": deletions,
		"changed_files": len(p.files),
	})
	return v
}

// shortPullView is a pull request as REST lists it: there its teams are whole, which
// in webhooks and in the long form they are not.
func (g *GitHub) shortPullView(p *Pull) obj {
	v := g.pullView(p, false)
	v["requested_teams"] = views(p.wantTeam, g.teamView)
	return v
}

// ghost stands for deleted accounts where GitHub shows somebody.
func (g *GitHub) ghost() *User {
	return &User{g: g, ID: 10137, Type: "User", login: "ghost", name: "Deleted user"}
}

// readPullView is the answer to GET …/pulls/{n}: mergeability is null until it has
// been asked for once.
func (g *GitHub) readPullView(p *Pull) obj {
	v := g.pullView(p, true)
	if p.state == "open" && !p.mergeableUnknown {
		state := p.mergeableState()
		v["mergeable_state"], v["mergeable"], v["rebaseable"] = state, state != "dirty", state != "dirty"
	}
	p.mergeableUnknown = false
	return v
}

// minimalPullView is a pull request inside check runs and workflow runs.
func (g *GitHub) minimalPullView(p *Pull) obj {
	in := func(r *Repository) obj { return obj{"id": r.ID, "url": r.api(), "name": r.name} }
	return obj{
		"url": p.repo.api("pulls", itoa(int64(p.Number))), "id": p.ID, "number": p.Number,
		"head": obj{"ref": p.headRef, "sha": p.headSHA, "repo": in(p.headRepo)}, "base": obj{"ref": p.baseRef, "sha": p.baseSHA, "repo": in(p.repo)},
	}
}

// pullsAt are the open pull requests with a head, as check events list them: none
// from forks.
func (r *Repository) pullsAt(sha string) []*Pull {
	var out []*Pull
	for _, p := range r.pulls {
		if p.state == "open" && p.headSHA == sha && p.headRepo == r {
			out = append(out, p)
		}
	}
	return out
}

func (g *GitHub) reviewView(v *review) obj {
	p := v.pull
	page := p.repo.html("pull", itoa(int64(p.Number))) + "#pullrequestreview-" + itoa(v.id)
	api := p.repo.api("pulls", itoa(int64(p.Number)))
	out := obj{
		"id": v.id, "node_id": nodeID("PullRequestReview", v.id), "user": g.userOrNil(v.user), "body": v.body, "state": v.state, "commit_id": v.sha,
		"html_url": page, "pull_request_url": api, "author_association": p.repo.association(v.user),
		"_links": obj{"html": obj{"href": page}, "pull_request": obj{"href": api}},
	}
	if v.state != "PENDING" {
		out["submitted_at"] = stamp(v.submitted)
	}
	return out
}

func (g *GitHub) commentView(c *comment) obj {
	n := itoa(int64(c.pull.Number))
	v := obj{
		"id": c.id, "node_id": nodeID("IssueComment", c.id), "url": c.pull.repo.api("issues", "comments", itoa(c.id)),
		"html_url": c.pull.repo.html("pull", n) + "#issuecomment-" + itoa(c.id), "issue_url": c.pull.repo.api("issues", n), "user": g.userOrNil(c.user),
		"created_at": stamp(c.created), "updated_at": stamp(c.updated), "body": c.body, "author_association": c.pull.repo.association(c.user),
		"performed_via_github_app": nil,
	}
	if c.app != nil {
		v["performed_via_github_app"] = g.appView(c.app)
	}
	return v
}

// issueView is a pull request as an issue, as comment events show it.
func (g *GitHub) issueView(p *Pull) obj {
	n := itoa(int64(p.Number))
	api, page := p.repo.api("issues", n), p.repo.html("pull", n)
	return obj{
		"url": api, "repository_url": p.repo.api(), "labels_url": api + "/labels{/name}", "comments_url": api + "/comments", "events_url": api + "/events",
		"html_url": page, "id": p.ID, "node_id": nodeID("PullRequest", p.ID), "number": p.Number, "title": p.title, "user": g.userOrNil(p.author),
		"labels": views(p.labels, func(l *label) obj { return g.labelView(p.repo, l) }), "state": p.state, "locked": false, "assignee": nil, "assignees": []any{},
		"milestone": nil, "comments": len(p.comments), "created_at": stamp(p.created), "updated_at": stamp(p.updated), "closed_at": stampOrNil(p.closed),
		"author_association": p.repo.association(p.author), "active_lock_reason": nil, "body": textOrNil(p.body), "draft": p.draft,
		"pull_request": obj{"url": p.repo.api("pulls", n), "html_url": page, "diff_url": page + ".diff", "patch_url": page + ".patch", "merged_at": stampOrNil(p.mergedAt)},
	}
}

func (r *Repository) groupView(e *queueEntry) obj {
	return obj{"head_sha": e.head, "head_ref": e.ref, "base_sha": e.base, "base_ref": "refs/heads/" + e.pull.baseRef, "head_commit": simpleCommitView(r.git.commits[e.head])}
}
