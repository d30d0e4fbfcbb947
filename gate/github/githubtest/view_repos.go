package githubtest

import (
	"encoding/base64"
	"maps"
	"net/url"
	"path"
	"strings"
)

// shortView is a repository as installation events list it.
func (r *Repository) shortView() obj {
	return obj{"id": r.ID, "node_id": nodeID("Repository", r.ID), "name": r.name, "full_name": r.fullName(), "private": r.private}
}

// liteView is what the API calls a minimal repository.
func (g *GitHub) liteView(r *Repository) obj {
	v := obj{
		"id": r.ID, "node_id": nodeID("Repository", r.ID), "name": r.name, "full_name": r.fullName(), "private": r.private, "owner": g.userView(r.owner),
		"html_url": r.html(), "description": nil, "fork": r.parent != nil, "url": r.api(),
	}
	for name, suffix := range map[string]string{
		"archive": "{archive_format}{/ref}", "assignees": "assignees{/user}", "blobs": "git/blobs{/sha}", "branches": "branches{/branch}",
		"collaborators": "collaborators{/collaborator}", "comments": "comments{/number}", "commits": "commits{/sha}", "compare": "compare/{base}...{head}",
		"contents": "contents/{+path}", "contributors": "contributors", "deployments": "deployments", "downloads": "downloads", "events": "events",
		"forks": "forks", "git_commits": "git/commits{/sha}", "git_refs": "git/refs{/sha}", "git_tags": "git/tags{/sha}", "hooks": "hooks",
		"issue_comment": "issues/comments{/number}", "issue_events": "issues/events{/number}", "issues": "issues{/number}", "keys": "keys{/key_id}",
		"labels": "labels{/name}", "languages": "languages", "merges": "merges", "milestones": "milestones{/number}",
		"notifications": "notifications{?since,all,participating}", "pulls": "pulls{/number}", "releases": "releases{/id}", "stargazers": "stargazers",
		"statuses": "statuses/{sha}", "subscribers": "subscribers", "subscription": "subscription", "tags": "tags", "teams": "teams", "trees": "git/trees{/sha}",
	} {
		v[name+"_url"] = r.api() + "/" + suffix
	}
	return v
}

func (g *GitHub) repoView(r *Repository) obj {
	v := g.liteView(r)
	page := r.html()
	maps.Copy(v, obj{
		"created_at": stamp(r.created), "updated_at": stamp(r.created), "pushed_at": stamp(r.created), "git_url": strings.Replace(page, "https:", "git:", 1) + ".git",
		"ssh_url": "git@github.com:" + r.fullName() + ".git", "clone_url": page + ".git", "svn_url": page, "homepage": nil, "size": 1, "stargazers_count": 0,
		"watchers_count": 0, "language": nil, "has_issues": true, "has_projects": true, "has_downloads": true, "has_wiki": true, "has_pages": false,
		"has_discussions": false, "forks_count": 0, "mirror_url": nil, "archived": r.archived, "disabled": false, "open_issues_count": 0, "license": nil,
		"allow_forking": true, "is_template": false, "web_commit_signoff_required": false, "topics": []string{}, "visibility": visibility(r), "forks": 0,
		"open_issues": 0, "watchers": 0, "default_branch": r.defaultBranch, "custom_properties": obj{},
	})
	return v
}

// pushRepoView is a repository in push events, which write some fields otherwise.
func (g *GitHub) pushRepoView(r *Repository) obj {
	v := g.repoView(r)
	v["created_at"], v["pushed_at"] = r.created.Unix(), g.Now().Unix()
	v["stargazers"], v["master_branch"] = 0, r.defaultBranch
	owner := g.userView(r.owner)
	owner["name"], owner["email"] = r.owner.login, textOrNil(r.owner.email)
	v["owner"] = owner
	if r.org != nil {
		v["organization"] = r.org.Name
	}
	return v
}

func (g *GitHub) fullRepoView(r *Repository) obj {
	v := g.repoView(r)
	maps.Copy(v, obj{
		"network_count": 0, "subscribers_count": 0, "allow_merge_commit": r.methods["merge"], "allow_squash_merge": r.methods["squash"],
		"allow_rebase_merge": r.methods["rebase"], "allow_auto_merge": false, "delete_branch_on_merge": false,
	})
	if r.parent != nil {
		v["parent"], v["source"] = g.repoView(r.parent), g.repoView(r.parent)
	}
	return v
}

func (g *GitHub) gitUserView(i Identity) obj {
	return obj{"name": i.Name, "email": i.Email, "date": stamp(i.When)}
}

func (g *GitHub) accountOf(i Identity) any {
	if u := g.userByEmail(i.Email); u != nil {
		return g.userView(u)
	}
	return nil
}

// commitView is a commit as REST shows it in lists.
func (g *GitHub) commitView(r *Repository, c *gitCommit) obj {
	parents := []any{}
	for _, p := range c.parents {
		parents = append(parents, obj{"sha": p, "url": r.api("commits", p), "html_url": r.html("commit", p)})
	}
	verification := obj{"verified": false, "reason": "unsigned", "signature": nil, "payload": nil, "verified_at": nil}
	if c.signed {
		verification = obj{"verified": true, "reason": "valid", "signature": "-----BEGIN PGP SIGNATURE-----\n-----END PGP SIGNATURE-----", "payload": "tree " + c.tree + "\n", "verified_at": stamp(c.committer.When)}
	}
	return obj{
		"sha": c.sha, "node_id": nodeID("Commit "+c.sha, r.ID), "url": r.api("commits", c.sha), "html_url": r.html("commit", c.sha),
		"comments_url": r.api("commits", c.sha, "comments"), "author": g.accountOf(c.author), "committer": g.accountOf(c.committer), "parents": parents,
		"commit": obj{
			"url": r.api("git", "commits", c.sha), "author": g.gitUserView(c.author), "committer": g.gitUserView(c.committer), "message": c.message,
			"comment_count": 0, "tree": obj{"sha": c.tree, "url": r.api("git", "trees", c.tree)}, "verification": verification,
		},
	}
}

// simpleCommitView is a commit inside other objects.
func simpleCommitView(c *gitCommit) obj {
	return obj{
		"id": c.sha, "tree_id": c.tree, "message": c.message, "timestamp": stamp(c.committer.When),
		"author": obj{"name": c.author.Name, "email": c.author.Email}, "committer": obj{"name": c.committer.Name, "email": c.committer.Email},
	}
}

func (r *Repository) changeView(head string, f change) obj {
	v := obj{
		"sha": f.sha, "filename": f.path, "status": f.status, "additions": f.additions, "deletions": f.deletions, "changes": f.additions + f.deletions,
		"blob_url": r.html("blob", head, escapePath(f.path)), "raw_url": r.html("raw", head, escapePath(f.path)),
		"contents_url": r.api("contents") + "/" + escapePath(f.path) + "?ref=" + head,
	}
	if f.previous != "" {
		v["previous_filename"] = f.previous
	}
	if f.patch != "" && len(f.patch) < 100_000 {
		v["patch"] = f.patch
	}
	return v
}

func escapePath(p string) string {
	parts := strings.Split(p, "/")
	for i, s := range parts {
		parts[i] = url.PathEscape(s)
	}
	return strings.Join(parts, "/")
}

// maxInline is the largest file that the contents API gives inline.
const maxInline = 1 << 20

// contentView is one file of the contents API.
func (r *Repository) contentView(p string, e entry, ref string, inline bool) obj {
	v := obj{
		"name": path.Base(p), "path": p, "sha": e.sha, "size": len(r.git.blobs[e.sha]), "url": r.api("contents") + "/" + escapePath(p) + "?ref=" + ref,
		"html_url": r.html("blob", ref, escapePath(p)), "git_url": r.api("git", "blobs", e.sha), "download_url": r.html("raw", ref, escapePath(p)), "type": "file",
	}
	v["_links"] = obj{"self": v["url"], "git": v["git_url"], "html": v["html_url"]}
	switch e.mode {
	case modeSymlink:
		v["type"], v["target"] = "symlink", string(r.git.blobs[e.sha])
		return v
	case modeModule:
		v["type"], v["size"], v["submodule_git_url"], v["download_url"] = "submodule", 0, "https://github.com/"+p+".git", nil
		return v
	case modeTree:
		v["type"], v["size"], v["download_url"] = "dir", 0, nil
		v["git_url"] = r.api("git", "trees", e.sha)
		return v
	}
	if inline {
		v["encoding"], v["content"] = "base64", base64.StdEncoding.EncodeToString(r.git.blobs[e.sha])
		if len(r.git.blobs[e.sha]) > maxInline {
			v["encoding"], v["content"] = "none", ""
		}
	}
	return v
}

// pushView is the payload of a push event.
func (r *Repository) pushView(by *User, ref, before, after string, forced bool) obj {
	commits := []any{}
	var head any
	if after != noSHA {
		var list []*gitCommit
		switch {
		case before != noSHA:
			list = r.git.between(before, after)
		case ref != "refs/heads/"+r.defaultBranch:
			list = r.git.between(r.refs["refs/heads/"+r.defaultBranch], after)
		}
		for _, c := range list[:min(len(list), 2048)] {
			commits = append(commits, r.pushCommitView(c))
		}
		head = r.pushCommitView(r.git.commits[after])
	}
	return obj{
		"ref": ref, "before": before, "after": after, "created": before == noSHA, "deleted": after == noSHA, "forced": forced, "base_ref": nil,
		"compare": r.html("compare", before[:12]+"..."+after[:12]), "commits": commits, "head_commit": head,
		"pusher": obj{"name": by.login, "email": by.email},
	}
}

func (r *Repository) pushCommitView(c *gitCommit) obj {
	var first string
	if len(c.parents) > 0 {
		first = c.parents[0]
	}
	added, removed, modified := []string{}, []string{}, []string{}
	for _, f := range r.git.diff(first, c.sha) {
		switch f.status {
		case "added":
			added = append(added, f.path)
		case "removed":
			removed = append(removed, f.path)
		case "renamed":
			added, removed = append(added, f.path), append(removed, f.previous)
		default:
			modified = append(modified, f.path)
		}
	}
	v := simpleCommitView(c)
	for role, id := range map[string]Identity{"author": c.author, "committer": c.committer} {
		if u := r.g.userByEmail(id.Email); u != nil {
			v[role] = obj{"name": id.Name, "email": id.Email, "username": u.login}
		}
	}
	v["distinct"], v["url"], v["added"], v["removed"], v["modified"] = true, r.html("commit", c.sha), added, removed, modified
	return v
}

func (g *GitHub) labelView(r *Repository, l *label) obj {
	return obj{"id": l.id, "node_id": nodeID("Label", l.id), "url": r.api("labels", l.name), "name": l.name, "description": "", "color": "ededed", "default": false}
}
