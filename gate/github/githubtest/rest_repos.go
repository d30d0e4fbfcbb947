package githubtest

import (
	"encoding/json"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of what REST lists.
const (
	maxFolder         = 1000 // entries of a folder in the contents API
	maxCompareFiles   = 300
	maxCompareCommits = 250
	maxTree           = 100_000
)

func repoRoutes() []route {
	contents, meta, admin := needs("contents:read"), needs("metadata:read"), needs("administration:read")
	return []route{
		{pattern: "GET " + repoPath, who: byToken, need: meta, serve: func(c *call) (any, error) {
			v := c.g.fullRepoView(c.repo)
			if c.caller.kind == byUser {
				v["permissions"] = rights(c.repo.access(c.caller.user))
			}
			return v, nil
		}},
		{pattern: "GET " + repoPath + "/branches/{branch}", who: byToken, need: contents, serve: (*call).getBranch},
		{pattern: "GET " + repoPath + "/branches/{branch}/protection", who: byToken, need: admin, serve: (*call).getProtection},
		{pattern: "GET " + repoPath + "/rules/branches/{branch}", who: byToken, need: meta, list: true, serve: (*call).getRules},
		{pattern: "GET " + repoPath + "/rulesets", who: byToken, need: meta, list: true, query: "includes_parents targets", serve: func(c *call) (any, error) {
			return views(pageOf(c, c.repo.rulesets), func(s *ruleset) obj { return c.rulesetView(s, false) }), nil
		}},
		{pattern: "GET " + repoPath + "/rulesets/{ruleset_id}", who: byToken, need: meta, query: "includes_parents", serve: func(c *call) (any, error) {
			id, err := c.id("ruleset_id")
			if err != nil {
				return nil, err
			}
			for _, s := range c.repo.rulesets {
				if s.id == id {
					return c.rulesetView(s, true), nil
				}
			}
			return nil, notFound()
		}},
		{pattern: "GET " + repoPath + "/contents/{path...}", who: byToken, need: contents, query: "ref", serve: (*call).getContents},
		{pattern: "GET " + repoPath + "/git/trees/{tree_sha}", who: byToken, need: contents, query: "recursive", serve: (*call).getTree},
		{pattern: "GET " + repoPath + "/git/ref/{ref...}", who: byToken, need: contents, serve: func(c *call) (any, error) {
			if err := c.repo.empty(); err != nil {
				return nil, err
			}
			ref := "refs/" + c.r.PathValue("ref")
			sha := c.repo.refs[ref]
			if sha == "" {
				return nil, notFound()
			}
			at := obj{"type": "commit", "sha": sha, "url": c.repo.api("git", "commits", sha)}
			if t := c.repo.annotated[ref]; t != nil {
				at = obj{"type": "tag", "sha": t.sha, "url": c.repo.api("git", "tags", t.sha)}
			}
			return obj{"ref": ref, "node_id": nodeID("Ref "+ref, c.repo.ID), "url": c.repo.api("git") + "/" + escapePath(ref), "object": at}, nil
		}},
		{pattern: "GET " + repoPath + "/git/blobs/{file_sha}", who: byToken, need: contents, serve: (*call).getBlob},
		{pattern: "GET " + repoPath + "/commits", who: byToken, need: contents, list: true, query: "sha path author committer since until", serve: (*call).listCommits},
		{pattern: "GET " + repoPath + "/commits/{ref}", who: byToken, need: contents, list: true, serve: (*call).getCommit},
		{pattern: "GET " + repoPath + "/commits/{commit_sha}/pulls", who: byToken, need: needs("pull_requests:read"), list: true, serve: func(c *call) (any, error) {
			sha := c.r.PathValue("commit_sha")
			if c.repo.git.commits[sha] == nil {
				return nil, refuse(http.StatusUnprocessableEntity, "No commit found for SHA: %s", sha)
			}
			return views(pageOf(c, c.repo.pullsOf(sha)), c.g.shortPullView), nil
		}},
		{pattern: "GET " + repoPath + "/compare/{basehead}", who: byToken, need: contents, list: true, serve: (*call).compare},
		{pattern: "GET " + repoPath + "/activity", who: byToken, need: contents, query: "ref actor time_period activity_type direction before after per_page", serve: (*call).listActivity},
		{pattern: "GET " + repoPath + "/codeowners/errors", who: byToken, need: contents, query: "ref", serve: func(c *call) (any, error) {
			return obj{"errors": views(c.repo.codeowners, func(o obj) obj { return o })}, nil
		}},
	}
}

func (c *call) getBranch() (any, error) {
	name := c.r.PathValue("branch")
	sha := c.repo.refs["refs/heads/"+name]
	if sha == "" {
		return nil, refuse(http.StatusNotFound, "Branch not found")
	}
	p := c.repo.protections[name]
	protection := obj{"enabled": p != nil, "required_status_checks": obj{"enforcement_level": "off", "contexts": []string{}, "checks": []any{}}}
	if p != nil {
		protection["required_status_checks"] = checksView(p.Checks, p.Strict, p.EnforceAdmins)
	}
	return obj{
		"name": name, "commit": c.g.commitView(c.repo, c.repo.git.commits[sha]), "_links": obj{"self": c.repo.api("branches", name), "html": c.repo.html("tree", name)},
		"protected": c.repo.requirements(name).any, "protection": protection, "protection_url": c.repo.api("branches", name, "protection"),
	}, nil
}

func checksView(checks []RequiredCheck, strict, admins bool) obj {
	contexts, list := []string{}, []any{}
	for _, k := range checks {
		contexts = append(contexts, k.Context)
		var app any
		if k.AppID > 0 {
			app = k.AppID
		}
		list = append(list, obj{"context": k.Context, "app_id": app})
	}
	level := "non_admins"
	if admins {
		level = "everyone"
	}
	return obj{"strict": strict, "contexts": contexts, "checks": list, "enforcement_level": level}
}

func (c *call) getProtection() (any, error) {
	name := c.r.PathValue("branch")
	p := c.repo.protections[name]
	if p == nil {
		return nil, refuse(http.StatusNotFound, "Branch not protected")
	}
	api := c.repo.api("branches", name, "protection")
	v := obj{
		"url": api, "enforce_admins": obj{"url": api + "/enforce_admins", "enabled": p.EnforceAdmins}, "required_linear_history": obj{"enabled": false},
		"allow_force_pushes": obj{"enabled": p.AllowForcePushes}, "allow_deletions": obj{"enabled": false}, "block_creations": obj{"enabled": false},
		"required_conversation_resolution": obj{"enabled": false}, "lock_branch": obj{"enabled": false}, "allow_fork_syncing": obj{"enabled": false},
		"required_signatures": obj{"url": api + "/required_signatures", "enabled": false},
	}
	if len(p.Checks) > 0 {
		checks := checksView(p.Checks, p.Strict, p.EnforceAdmins)
		checks["url"], checks["contexts_url"] = api+"/required_status_checks", api+"/required_status_checks/contexts"
		v["required_status_checks"] = checks
	}
	if w := p.Reviews; w != nil {
		v["required_pull_request_reviews"] = obj{
			"url": api + "/required_pull_request_reviews", "dismiss_stale_reviews": w.DismissStale, "require_code_owner_reviews": w.CodeOwners,
			"required_approving_review_count": w.Count, "require_last_push_approval": w.LastPush,
		}
	}
	return v, nil
}

// rulesOf are a ruleset's rules as the API shows them.
func rulesOf(s *ruleset) []obj {
	var out []obj
	if s.NoForcePush {
		out = append(out, obj{"type": "non_fast_forward"})
	}
	if s.Linear {
		out = append(out, obj{"type": "required_linear_history"})
	}
	if w := s.Reviews; w != nil {
		out = append(out, obj{"type": "pull_request", "parameters": obj{
			"dismiss_stale_reviews_on_push": w.DismissStale, "require_code_owner_review": w.CodeOwners, "require_last_push_approval": w.LastPush,
			"required_approving_review_count": w.Count, "required_review_thread_resolution": false, "allowed_merge_methods": []string{"merge", "squash", "rebase"},
		}})
	}
	if len(s.Checks) > 0 {
		checks := []any{}
		for _, k := range s.Checks {
			one := obj{"context": k.Context}
			if k.AppID > 0 {
				one["integration_id"] = k.AppID
			}
			checks = append(checks, one)
		}
		out = append(out, obj{"type": "required_status_checks", "parameters": obj{"required_status_checks": checks, "strict_required_status_checks_policy": s.Strict, "do_not_enforce_on_create": false}})
	}
	if s.MergeQueue {
		out = append(out, obj{"type": "merge_queue", "parameters": obj{
			"check_response_timeout_minutes": 60, "grouping_strategy": "ALLGREEN", "max_entries_to_build": 5, "max_entries_to_merge": 5, "merge_method": "MERGE",
			"min_entries_to_merge": 1, "min_entries_to_merge_wait_minutes": 5,
		}})
	}
	return out
}

func (c *call) getRules() (any, error) {
	var all []obj
	for _, s := range c.repo.rulesets {
		if s.covers(c.repo, c.r.PathValue("branch")) {
			for _, r := range rulesOf(s) {
				r["ruleset_source_type"], r["ruleset_source"], r["ruleset_id"] = "Repository", c.repo.fullName(), s.id
				all = append(all, r)
			}
		}
	}
	return views(pageOf(c, all), func(o obj) obj { return o }), nil
}

func (c *call) rulesetView(s *ruleset, full bool) obj {
	v := obj{
		"id": s.id, "name": s.Name, "target": "branch", "source_type": "Repository", "source": c.repo.fullName(), "enforcement": s.Enforcement,
		"node_id": nodeID("RepositoryRuleset", s.id), "created_at": stamp(s.created), "updated_at": stamp(s.created),
		"_links": obj{"self": obj{"href": c.repo.api("rulesets", itoa(s.id))}, "html": obj{"href": c.repo.html("rules", itoa(s.id))}},
	}
	if !full {
		return v
	}
	include := []string{}
	for _, b := range s.Branches {
		if !strings.HasPrefix(b, "~") {
			b = "refs/heads/" + b
		}
		include = append(include, b)
	}
	v["conditions"] = obj{"ref_name": obj{"include": include, "exclude": []string{}}}
	v["rules"] = views(rulesOf(s), func(o obj) obj { return o })
	v["current_user_can_bypass"] = "never"
	if c.caller.app != nil && slices.Contains(s.Bypass, c.caller.app.ID) {
		v["current_user_can_bypass"] = "always"
	}
	if c.caller.holds(needs("administration:write"), c.repo, nil) { // others do not learn who may bypass
		actors := []any{}
		for _, id := range s.Bypass {
			actors = append(actors, obj{"actor_id": id, "actor_type": "Integration", "bypass_mode": "always"})
		}
		v["bypass_actors"] = actors
	}
	return v
}

// commitAt is the commit that a ref names; "" is the default branch.
func (c *call) commitAt(ref string) (*gitCommit, error) {
	if ref == "" {
		ref = c.repo.defaultBranch
	}
	k := c.repo.git.commits[c.repo.resolve(ref)]
	if k == nil {
		return nil, refuse(http.StatusNotFound, "No commit found for the ref %s", ref)
	}
	return k, nil
}

// getContents is a file or a folder. Symbolic links inside the repository are
// followed, as GitHub does.
func (c *call) getContents() (any, error) {
	if c.repo.empty() != nil {
		return nil, refuse(http.StatusNotFound, "This repository is empty.")
	}
	at, err := c.commitAt(c.query("ref"))
	if err != nil {
		return nil, err
	}
	ref := c.query("ref")
	if ref == "" {
		ref = c.repo.defaultBranch
	}
	p := strings.Trim(c.r.PathValue("path"), "/")
	e, ok := at.files[p]
	if ok && e.mode == modeSymlink {
		target := path.Clean(path.Join(path.Dir(p), string(c.repo.git.blobs[e.sha])))
		if f, inside := at.files[target]; inside && f.mode != modeSymlink {
			e = f
		}
	}
	if ok {
		size := len(c.repo.git.blobs[e.sha])
		if accept := c.r.Header.Get("Accept"); strings.Contains(accept, "raw") {
			if size > 100*maxInline {
				return nil, refuse(http.StatusForbidden, "This API returns blobs up to 100 MB in size.")
			}
			return json.RawMessage(c.repo.git.blobs[e.sha]), nil
		}
		return c.repo.contentView(p, e, ref, true), nil
	}
	entries := map[string]entry{}
	for name, f := range at.files {
		rest, below := strings.CutPrefix(name, p+"/")
		if p == "" {
			rest, below = name, true
		}
		if !below {
			continue
		}
		if dir, _, deep := strings.Cut(rest, "/"); deep {
			entries[dir] = entry{modeTree, c.repo.subtree(at.tree, path.Join(p, dir))}
		} else {
			entries[rest] = f
		}
	}
	if len(entries) == 0 {
		return nil, notFound()
	}
	list := []any{}
	for _, name := range sortedKeys(entries) {
		if len(list) == maxFolder {
			break
		}
		list = append(list, c.repo.contentView(path.Join(p, name), entries[name], ref, false))
	}
	return list, nil
}

// subtree is the tree of a folder.
func (r *Repository) subtree(tree, p string) string {
	for _, part := range strings.Split(p, "/") {
		i := slices.IndexFunc(r.git.trees[tree], func(e treeEntry) bool { return e.name == part && e.mode == modeTree })
		if i < 0 {
			return ""
		}
		tree = r.git.trees[tree][i].sha
	}
	return tree
}

// getTree takes a tree's or a commit's id, or a ref.
func (c *call) getTree() (any, error) {
	if err := c.repo.empty(); err != nil {
		return nil, err
	}
	sha := c.r.PathValue("tree_sha")
	if _, ok := c.repo.git.trees[sha]; !ok {
		k := c.repo.git.commits[c.repo.resolve(sha)]
		if k == nil {
			return nil, notFound()
		}
		sha = k.tree
	}
	list, truncated := []any{}, false
	limit := maxTree
	if c.repo.truncate > 0 {
		limit = c.repo.truncate
	}
	var walk func(tree, below string)
	walk = func(tree, below string) {
		for _, e := range c.repo.git.trees[tree] {
			if len(list) >= limit {
				truncated = true
				return
			}
			name := path.Join(below, e.name)
			v := obj{"path": name, "mode": e.mode, "sha": e.sha, "type": "blob", "url": c.repo.api("git", "blobs", e.sha)}
			switch e.mode {
			case modeTree:
				v["type"], v["url"] = "tree", c.repo.api("git", "trees", e.sha)
			case modeModule:
				v["type"] = "commit"
				delete(v, "url")
			default:
				v["size"] = len(c.repo.git.blobs[e.sha])
			}
			list = append(list, v)
			if e.mode == modeTree && c.query("recursive") != "" {
				walk(e.sha, name)
			}
		}
	}
	walk(sha, "")
	return obj{"sha": sha, "url": c.repo.api("git", "trees", sha), "tree": list, "truncated": truncated}, nil
}

// TruncateTrees makes recursive trees stop after n entries (0: GitHub's 100,000).
func (r *Repository) TruncateTrees(n int) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.truncate = n
}

func (c *call) getBlob() (any, error) {
	if err := c.repo.empty(); err != nil {
		return nil, err
	}
	sha := c.r.PathValue("file_sha")
	data, ok := c.repo.git.blobs[sha]
	if !ok {
		return nil, notFound()
	}
	v := c.repo.contentView(sha, entry{modeFile, sha}, "", true)
	return obj{"sha": sha, "node_id": nodeID("Blob "+sha, c.repo.ID), "size": len(data), "url": c.repo.api("git", "blobs", sha), "encoding": v["encoding"], "content": v["content"]}, nil
}

// listCommits lists a history, newest first.
func (c *call) listCommits() (any, error) {
	if err := c.repo.empty(); err != nil {
		return nil, err
	}
	at, err := c.commitAt(c.query("sha"))
	if err != nil {
		return nil, err
	}
	since, _ := time.Parse(time.RFC3339, c.query("since"))
	until, _ := time.Parse(time.RFC3339, c.query("until"))
	var all []*gitCommit
	for _, k := range c.repo.git.between("", at.sha) {
		if c.query("path") != "" && !c.repo.touches(k, c.query("path")) || !since.IsZero() && k.committer.When.Before(since) || !until.IsZero() && k.committer.When.After(until) {
			continue
		}
		all = append(all, k)
	}
	slices.Reverse(all)
	return views(pageOf(c, all), func(k *gitCommit) obj { return c.g.commitView(c.repo, k) }), nil
}

func (r *Repository) touches(k *gitCommit, p string) bool {
	var before map[string]entry
	if len(k.parents) > 0 {
		before = r.git.commits[k.parents[0]].files
	}
	for _, files := range []map[string]entry{before, k.files} {
		for name := range files {
			if (name == p || strings.HasPrefix(name, p+"/")) && before[name] != k.files[name] {
				return true
			}
		}
	}
	return false
}

// getCommit is one commit with its files, against its first parent.
func (c *call) getCommit() (any, error) {
	if err := c.repo.empty(); err != nil {
		return nil, err
	}
	k, err := c.commitAt(c.r.PathValue("ref"))
	if err != nil {
		return nil, refuse(http.StatusUnprocessableEntity, "No commit found for SHA: %s", c.r.PathValue("ref"))
	}
	var first string
	if len(k.parents) > 0 {
		first = k.parents[0]
	}
	files := c.repo.git.diff(first, k.sha)
	additions, deletions := 0, 0
	for _, f := range files {
		additions, deletions = additions+f.additions, deletions+f.deletions
	}
	v := c.g.commitView(c.repo, k)
	v["stats"] = obj{"additions": additions, "deletions": deletions, "total": additions + deletions}
	page := max(1, atoi(c.query("page")))
	per := maxCompareFiles
	if n := atoi(c.query("per_page")); n > 0 {
		per = min(n, maxCompareFiles)
	}
	shown := files[:min(len(files), 3000)]
	from := min((page-1)*per, len(shown))
	if page*per < len(shown) {
		c.header.Set("Link", `<`+c.repo.api("commits", c.r.PathValue("ref"))+`?page=`+strconv.Itoa(page+1)+`&per_page=`+strconv.Itoa(per)+`>; rel="next"`)
	}
	v["files"] = views(shown[from:min(from+per, len(shown))], func(f change) obj { return c.repo.changeView(k.sha, f) })
	return v, nil
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// compare is base...head: 250 commits unpaged, 300 files, on page 1 only.
func (c *call) compare() (any, error) {
	base, head, ok := strings.Cut(c.r.PathValue("basehead"), "...")
	if !ok {
		return nil, notFound()
	}
	side := func(s string) (*gitCommit, error) {
		if owner, ref, cross := strings.Cut(s, ":"); cross {
			for _, r := range c.g.sortedRepos() {
				if r.git == c.repo.git && strings.EqualFold(r.owner.login, owner) {
					s = r.resolve(ref)
				}
			}
		}
		return c.commitAt(s)
	}
	from, err := side(base)
	if err != nil {
		return nil, err
	}
	to, err := side(head)
	if err != nil {
		return nil, err
	}
	s := c.repo.git
	ahead, behind := s.between(from.sha, to.sha), s.between(to.sha, from.sha)
	common := s.mergeBase(from.sha, to.sha)
	if common == "" {
		return nil, refuse(http.StatusNotFound, "No common ancestor between %s and %s.", base, head)
	}
	status := "diverged"
	switch {
	case from == to:
		status = "identical"
	case len(behind) == 0:
		status = "ahead"
	case len(ahead) == 0:
		status = "behind"
	}
	commits := ahead
	if c.query("page") != "" || c.query("per_page") != "" {
		commits = pageOf(c, ahead)
	} else if len(ahead) > maxCompareCommits {
		commits = ahead[:maxCompareCommits]
		c.header.Set("Link", `<`+c.repo.api("compare", c.r.PathValue("basehead"))+`?page=2&per_page=250>; rel="next"`)
	}
	page := c.repo.html("compare", base+"..."+head)
	v := obj{
		"url": c.repo.api("compare", base+"..."+head), "html_url": page, "permalink_url": page, "diff_url": page + ".diff", "patch_url": page + ".patch",
		"base_commit": c.g.commitView(c.repo, from), "merge_base_commit": c.g.commitView(c.repo, s.commits[common]), "status": status, "ahead_by": len(ahead),
		"behind_by": len(behind), "total_commits": len(ahead), "commits": views(commits, func(k *gitCommit) obj { return c.g.commitView(c.repo, k) }),
	}
	if atoi(c.query("page")) <= 1 {
		files := s.diff(common, to.sha)
		v["files"] = views(files[:min(len(files), maxCompareFiles)], func(f change) obj { return c.repo.changeView(to.sha, f) })
	}
	return v, nil
}

// listActivity lists what happened to refs, newest first.
func (c *call) listActivity() (any, error) {
	per := 30
	if n := atoi(c.query("per_page")); n > 0 {
		per = min(n, 100)
	}
	ref := c.query("ref")
	if ref != "" && !strings.HasPrefix(ref, "refs/") {
		ref = "refs/heads/" + ref
	}
	out := []any{}
	after, all := asID(c.query("after")), c.repo.activity
	lags := c.repo.activityLag > 0
	if lags {
		c.repo.activityLag--
	}
	for i := len(all) - 1; i >= 0; i-- {
		a := all[i]
		if ref != "" && a.ref != ref || c.query("activity_type") != "" && c.query("activity_type") != a.kind ||
			c.query("actor") != "" && !strings.EqualFold(c.query("actor"), a.actor.login) || after > 0 && a.id >= after {
			continue
		}
		if lags {
			lags = false // the newest is not shown yet
			continue
		}
		if len(out) == per {
			q := c.r.URL.Query()
			q.Set("after", itoa(all[i+1].id))
			c.header.Set("Link", `<`+c.repo.api("activity")+`?`+q.Encode()+`>; rel="next"`)
			break
		}
		out = append(out, obj{
			"id": a.id, "node_id": nodeID("PSH", a.id), "before": a.before, "after": a.after, "ref": a.ref, "timestamp": stamp(a.at), "activity_type": a.kind,
			"actor": c.g.userOrNil(a.actor),
		})
	}
	return out, nil
}
