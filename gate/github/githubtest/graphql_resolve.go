package githubtest

import (
	"cmp"
	"errors"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

type gqlFields = map[string]func(map[string]any) (any, error)

func (x *gqlRun) query() *gqlObject {
	return &gqlObject{"Query", gqlFields{
		"rateLimit": lazy(func() any { return x.rateLimit() }),
		"viewer":    lazy(func() any { return x.user(x.c.caller.user) }),
		"repository": func(args map[string]any) (any, error) {
			owner, _ := args["owner"].(string)
			name, _ := args["name"].(string)
			g := x.c.g
			r := g.repoByName(owner, name)
			if r == nil {
				r = g.redirects[strings.ToLower(owner+"/"+name)]
			}
			if r == nil || !x.c.caller.reaches(r) {
				return nil, refuse(http.StatusNotFound, "Could not resolve to a Repository with the name '%s/%s'.", owner, name)
			}
			return x.repository(r), nil
		},
		"node": func(args map[string]any) (any, error) { // check suites alone are found
			for _, r := range x.c.g.sortedRepos() {
				if !x.c.caller.reaches(r) {
					continue
				}
				for _, s := range r.suites {
					for _, shown := range r.suitesOf(s.sha) {
						if shown.nodeID() == text(args["id"]) {
							return x.suite(shown), x.need("checks:read", r)
						}
					}
				}
			}
			return nil, refuse(http.StatusNotFound, "Could not resolve to a node with the global id of '%s'", text(args["id"]))
		},
		"organization": func(args map[string]any) (any, error) {
			o := x.c.g.orgByLogin(text(args["login"]))
			if o == nil {
				return nil, refuse(http.StatusNotFound, "Could not resolve to an Organization with the login of '%s'.", text(args["login"]))
			}
			return x.organization(o), nil
		},
	}}
}

// need refuses a field to a token that lacks a permission.
func (x *gqlRun) need(permission string, r *Repository) error {
	if x.c.caller.holds(needs(permission), r, nil) {
		return nil
	}
	x.c.complain("GraphQL: the token lacks %s", permission)
	return refuse(http.StatusForbidden, "Resource not accessible by integration")
}

func (x *gqlRun) rateLimit() *gqlObject {
	g := x.c.g
	limit, used, from := g.cfg.Limits.PerHour, x.points, g.Now()
	if limit < 0 {
		limit = 1_000_000
	}
	if w := g.windows["primary graphql "+x.c.caller.key()]; w != nil {
		used, from = w.used, w.from
	}
	return &gqlObject{"RateLimit", gqlFields{
		"cost": value(x.points), "limit": value(limit), "used": value(used), "remaining": value(max(0, limit-used)), "nodeCount": value(x.nodes),
		"resetAt": value(stamp(from.Add(time.Hour))),
	}}
}

func (x *gqlRun) user(u *User) *gqlObject {
	if u == nil || u.gone {
		return nil
	}
	kind := u.Type
	if kind != "Bot" {
		kind = "User"
	}
	return &gqlObject{kind, gqlFields{
		// A bot's login has no [bot] here, other than in REST.
		"login": value(strings.TrimSuffix(u.login, "[bot]")), "databaseId": value(u.ID), "id": value(nodeID("User", u.ID)), "name": value(textOrNil(u.name)),
		"url": value(x.c.g.cfg.WebURL + "/" + u.login),
	}}
}

func (x *gqlRun) repository(r *Repository) *gqlObject {
	return &gqlObject{"Repository", gqlFields{
		"databaseId": value(r.ID), "id": value(nodeID("Repository", r.ID)), "name": value(r.name), "nameWithOwner": value(r.fullName()),
		"mergeCommitAllowed": value(r.methods["merge"]), "squashMergeAllowed": value(r.methods["squash"]), "rebaseMergeAllowed": value(r.methods["rebase"]),
		"isPrivate": value(r.private), "defaultBranchRef": lazy(func() any { return x.ref(r, "refs/heads/"+r.defaultBranch) }),
		"ref": func(args map[string]any) (any, error) {
			name, _ := args["qualifiedName"].(string)
			if !strings.HasPrefix(name, "refs/") {
				name = "refs/heads/" + name
			}
			return x.ref(r, name), x.need("contents:read", r)
		},
		"refs": func(args map[string]any) (any, error) {
			if err := x.need("contents:read", r); err != nil {
				return nil, err
			}
			prefix := text(args["refPrefix"])
			var all []string
			for _, full := range sortedKeys(r.refs) {
				if short, ok := strings.CutPrefix(full, prefix); ok && strings.Contains(strings.ToLower(short), strings.ToLower(text(args["query"]))) {
					all = append(all, full)
				}
			}
			return connection("RefConnection", all, func(full string) *gqlObject {
				o := x.ref(r, full)
				o.fields["name"] = value(strings.TrimPrefix(full, prefix))
				return o
			})(args)
		},
		"pullRequest": func(args map[string]any) (any, error) {
			if err := x.need("pull_requests:read", r); err != nil {
				return nil, err
			}
			n := toInt(args["number"])
			p := r.shown(n)
			if p == nil {
				return nil, refuse(http.StatusNotFound, "Could not resolve to a PullRequest with the number of %d.", n)
			}
			return x.pull(p), nil
		},
		"pullRequests": func(args map[string]any) (any, error) {
			if err := x.need("pull_requests:read", r); err != nil {
				return nil, err
			}
			states, _ := args["states"].([]any)
			var all []*Pull
			for _, p := range r.pulls {
				if is(text(args["baseRefName"]), p.baseRef) && is(text(args["headRefName"]), p.headRef) && (len(states) == 0 || slices.Contains(states, any(p.stateName()))) {
					all = append(all, p)
				}
			}
			return connection("PullRequestConnection", all, x.pull)(args)
		},
		"object": func(args map[string]any) (any, error) {
			if err := x.need("contents:read", r); err != nil {
				return nil, err
			}
			if oid := text(args["oid"]); oid != "" {
				return x.gitObject(r, oid), nil
			}
			return x.expression(r, text(args["expression"])), nil
		},
		"mergeQueue": func(args map[string]any) (any, error) {
			if err := x.need("pull_requests:read", r); err != nil {
				return nil, err
			}
			return x.queue(r, cmpOr(text(args["branch"]), r.defaultBranch)), nil
		},
	}}
}

// queue is a branch's merge queue; nil if it has none.
func (x *gqlRun) queue(r *Repository, branch string) *gqlObject {
	if !r.requirements(branch).mergeQueue {
		return nil
	}
	return &gqlObject{"MergeQueue", gqlFields{
		"id": value(nodeID("MergeQueue "+branch, r.ID)),
		"entries": func(args map[string]any) (any, error) {
			entry := x.entry
			if r.queueLag > 0 {
				r.queueLag--
				entry = func(e *queueEntry) *gqlObject {
					o := x.entry(e)
					o.fields["headCommit"] = value((*gqlObject)(nil))
					return o
				}
			}
			return connection("MergeQueueEntryConnection", r.queues[branch], entry)(args)
		},
	}}
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func (x *gqlRun) ref(r *Repository, full string) *gqlObject {
	sha := r.refs[full]
	if sha == "" {
		return nil
	}
	short := strings.TrimPrefix(strings.TrimPrefix(full, "refs/heads/"), "refs/tags/")
	return &gqlObject{"Ref", gqlFields{"id": value(nodeID("Ref "+full, r.ID)), "name": value(short), "target": lazy(func() any {
		if t := r.annotated[full]; t != nil {
			return x.tag(r, t)
		}
		return x.gitObject(r, sha)
	})}}
}

// tag is a tag object: what it names may be another one.
func (x *gqlRun) tag(r *Repository, t *gitTag) *gqlObject {
	return &gqlObject{"Tag", gqlFields{
		"id": value(nodeID("Tag "+t.sha, r.ID)), "oid": value(t.sha), "name": value(t.name), "message": value(t.message),
		"target": lazy(func() any {
			if t.tag != nil {
				return x.tag(r, t.tag)
			}
			return x.gitObject(r, t.target)
		}),
	}}
}

// gitObject is any git object by its full id; nil if there is none.
func (x *gqlRun) gitObject(r *Repository, oid string) *gqlObject {
	if c := r.git.commits[oid]; c != nil {
		return x.commit(r, c)
	}
	if _, ok := r.git.trees[oid]; ok {
		return x.tree(r, oid)
	}
	if _, ok := r.git.blobs[oid]; ok {
		return x.blob(r, oid)
	}
	return nil
}

// expression is a revision, or revision:path.
func (x *gqlRun) expression(r *Repository, s string) *gqlObject {
	rev, p, isPath := strings.Cut(s, ":")
	c := r.git.commits[r.resolve(rev)]
	switch {
	case c == nil:
		return nil
	case !isPath:
		return x.commit(r, c)
	case p == "":
		return x.tree(r, c.tree)
	}
	if e, ok := c.files[p]; ok && e.mode != modeModule {
		return x.blob(r, e.sha)
	}
	if t := r.subtree(c.tree, p); t != "" {
		return x.tree(r, t)
	}
	return nil
}

func (x *gqlRun) blob(r *Repository, sha string) *gqlObject {
	data := r.git.blobs[sha]
	binary := strings.ContainsRune(string(data), 0)
	var shown any
	if !binary {
		shown = string(data[:min(len(data), maxInline)])
	}
	return &gqlObject{"Blob", gqlFields{
		"id": value(nodeID("Blob "+sha, r.ID)), "oid": value(sha), "byteSize": value(len(data)), "isBinary": value(binary),
		"isTruncated": value(len(data) > maxInline), "text": value(shown),
	}}
}

func (x *gqlRun) tree(r *Repository, sha string) *gqlObject {
	return &gqlObject{"Tree", gqlFields{
		"id": value(nodeID("Tree "+sha, r.ID)), "oid": value(sha),
		"entries": lazy(func() any {
			out := []*gqlObject{}
			for _, e := range r.git.trees[sha] {
				out = append(out, x.treeEntry(r, e.name, entry{e.mode, e.sha}))
			}
			return out
		}),
	}}
}

// treeEntry is a file or folder of a commit, under its path.
func (x *gqlRun) treeEntry(r *Repository, p string, e entry) *gqlObject {
	kind := map[string]string{modeTree: "tree", modeModule: "commit"}[e.mode]
	mode := 0
	for _, d := range e.mode {
		mode = mode*8 + int(d-'0')
	}
	return &gqlObject{"TreeEntry", gqlFields{
		"mode": value(mode), "name": value(path.Base(p)), "path": value(p), "oid": value(e.sha), "type": value(cmpOr(kind, "blob")),
		"object": lazy(func() any {
			if e.mode == modeModule {
				return (*gqlObject)(nil)
			}
			return x.gitObject(r, e.sha)
		}),
	}}
}

func (x *gqlRun) gitActor(i Identity) *gqlObject {
	return &gqlObject{"GitActor", gqlFields{
		"name": value(i.Name), "email": value(i.Email), "date": value(stamp(i.When)),
		"user": lazy(func() any {
			u := x.c.g.userByEmail(i.Email)
			if u == nil || u.Type == "Bot" {
				return (*gqlObject)(nil) // the field is of type User
			}
			return x.user(u)
		}),
	}}
}

func (x *gqlRun) commit(r *Repository, c *gitCommit) *gqlObject {
	if c == nil {
		return nil
	}
	var parents []*gitCommit
	for _, p := range c.parents {
		parents = append(parents, r.git.commits[p])
	}
	commits := func(k *gitCommit) *gqlObject { return x.commit(r, k) }
	return &gqlObject{"Commit", gqlFields{
		"oid": value(c.sha), "id": value(nodeID("Commit "+c.sha, r.ID)), "message": value(c.message), "messageHeadline": value(firstLine(c.message)),
		"committedDate": value(stamp(c.committer.When)), "author": value(x.gitActor(c.author)), "committer": value(x.gitActor(c.committer)),
		"authors": connection("GitActorConnection", authors(c), x.gitActor), "parents": connection("CommitConnection", parents, commits),
		"tree": lazy(func() any { return x.tree(r, c.tree) }),
		"file": func(args map[string]any) (any, error) {
			if err := x.need("contents:read", r); err != nil {
				return nil, err
			}
			p := text(args["path"])
			if e, ok := c.files[p]; ok {
				return x.treeEntry(r, p, e), nil
			}
			if t := r.subtree(c.tree, p); t != "" {
				return x.treeEntry(r, p, entry{modeTree, t}), nil
			}
			return (*gqlObject)(nil), nil
		},
		"history": func(args map[string]any) (any, error) {
			all := r.git.between("", c.sha)
			if p := text(args["path"]); p != "" {
				all = slices.DeleteFunc(all, func(k *gitCommit) bool { return !r.touches(k, p) })
			}
			slices.Reverse(all)
			return connection("CommitHistoryConnection", all, commits)(args)
		},
		"signature": lazy(func() any {
			if !c.signed {
				return (*gqlObject)(nil)
			}
			return &gqlObject{"GpgSignature", gqlFields{"isValid": value(true), "state": value("VALID"), "wasSignedByGitHub": value(c.committer.Email == "noreply@github.com")}}
		}),
		"checkSuites": func(args map[string]any) (any, error) {
			if err := x.need("checks:read", r); err != nil {
				return nil, err
			}
			filter, _ := args["filterBy"].(map[string]any)
			app, name := toInt(filter["appId"]), text(filter["checkName"])
			all := slices.DeleteFunc(r.suitesOf(c.sha), func(s *gqlSuite) bool {
				return app != 0 && s.suite.app.ID != int64(app) || name != "" && !slices.ContainsFunc(s.runs, func(k *CheckRun) bool { return k.name == name })
			})
			return connection("CheckSuiteConnection", all, x.suite)(args)
		},
		"status": func(map[string]any) (any, error) {
			if err := x.need("statuses:read", r); err != nil {
				return nil, err
			}
			all := r.latestStatuses(c.sha)
			if len(all) == 0 {
				return (*gqlObject)(nil), nil
			}
			var contexts []*gqlObject
			for _, s := range all {
				contexts = append(contexts, x.statusContext(s))
			}
			return &gqlObject{"Status", gqlFields{"id": value(nodeID("Status "+c.sha, r.ID)), "contexts": value(contexts)}}, nil
		},
		"statusCheckRollup": func(map[string]any) (any, error) {
			if err := errors.Join(x.need("checks:read", r), x.need("statuses:read", r)); err != nil {
				return nil, err
			}
			return x.rollup(r, c.sha), nil
		},
		"associatedPullRequests": func(args map[string]any) (any, error) {
			if err := x.need("pull_requests:read", r); err != nil {
				return nil, err
			}
			return connection("PullRequestConnection", r.pullsOf(c.sha), x.pull)(args)
		},
	}}
}

func (x *gqlRun) statusContext(s *status) *gqlObject {
	return &gqlObject{"StatusContext", gqlFields{
		"id": value(nodeID("StatusContext", s.id)), "context": value(s.context), "state": value(strings.ToUpper(s.state)), "creator": value(x.user(s.creator)),
		"createdAt": value(stamp(s.at)),
	}}
}

// rollup is all latest check runs and statuses of a commit in one list; nil if there are
// none.
func (x *gqlRun) rollup(r *Repository, sha string) *gqlObject {
	var all []*gqlObject
	for _, s := range r.suitesOf(sha) {
		seen := map[string]bool{}
		for _, k := range slices.SortedFunc(slices.Values(s.runs), func(a, b *CheckRun) int { return cmp.Compare(b.ID, a.ID) }) {
			if !seen[k.name] {
				all = append(all, x.checkRun(k))
			}
			seen[k.name] = true
		}
	}
	for _, s := range r.latestStatuses(sha) {
		all = append(all, x.statusContext(s))
	}
	if len(all) == 0 {
		return nil
	}
	return &gqlObject{"StatusCheckRollup", gqlFields{
		"id": value(nodeID("StatusCheckRollup "+sha, r.ID)), "state": value(strings.ToUpper(r.rollup(sha))),
		"contexts": connection("StatusCheckRollupContextConnection", all, func(o *gqlObject) *gqlObject { return o }),
	}}
}

// authors are the author and those that Co-authored-by lines name.
func authors(c *gitCommit) []Identity {
	out := []Identity{c.author}
	for _, line := range strings.Split(c.message, "\n") {
		key, rest, ok := strings.Cut(line, ":")
		name, mail, hasMail := strings.Cut(strings.TrimSpace(rest), " <")
		if ok && hasMail && strings.EqualFold(strings.TrimSpace(key), "co-authored-by") && strings.HasSuffix(mail, ">") {
			out = append(out, Identity{Name: name, Email: strings.TrimSuffix(mail, ">"), When: c.author.When})
		}
	}
	return out
}

// stateName is OPEN, CLOSED or MERGED.
func (p *Pull) stateName() string {
	if p.merged {
		return "MERGED"
	}
	return strings.ToUpper(p.state)
}

func (x *gqlRun) pull(p *Pull) *gqlObject {
	p.refresh()
	r := p.repo
	additions, deletions := 0, 0
	for _, f := range p.files {
		additions, deletions = additions+f.additions, deletions+f.deletions
	}
	mergeable, merge := "UNKNOWN", "UNKNOWN"
	if p.state == "open" && !p.mergeableUnknown {
		merge = strings.ToUpper(p.mergeableState())
		mergeable = "MERGEABLE"
		if merge == "DIRTY" {
			mergeable = "CONFLICTING"
		}
	}
	p.mergeableUnknown = false // asking makes GitHub find out
	queue := r.queues[p.baseRef]
	at := slices.IndexFunc(queue, func(e *queueEntry) bool { return e.pull == p })
	return &gqlObject{"PullRequest", gqlFields{
		"databaseId": value(p.ID), "fullDatabaseId": value(itoa(p.ID)), "id": value(nodeID("PullRequest", p.ID)), "number": value(p.Number), "title": value(p.title),
		"body": value(p.body), "state": value(p.stateName()), "isDraft": value(p.draft), "isCrossRepository": value(p.headRepo != r), "merged": value(p.merged),
		"mergedAt": value(stampOrNil(p.mergedAt)), "createdAt": value(stamp(p.created)), "updatedAt": value(stamp(p.updated)),
		"baseRefName": value(p.baseRef), "baseRefOid": value(p.baseSHA), "baseRepository": lazy(func() any { return x.repository(r) }), "headRefName": value(p.headRef), "headRefOid": value(p.headSHA),
		"headRepository": lazy(func() any {
			if p.headRepo.gone {
				return (*gqlObject)(nil)
			}
			return x.repository(p.headRepo)
		}), "changedFiles": value(len(p.files)), "additions": value(additions),
		"deletions": value(deletions), "reviewDecision": value(textOrNil(p.decision())), "author": value(x.user(p.author)), "mergeable": value(mergeable),
		"mergeStateStatus": value(merge), "isInMergeQueue": value(at >= 0), "url": value(r.html("pull", itoa(int64(p.Number)))),
		"mergeQueue": lazy(func() any { return x.queue(r, p.baseRef) }),
		"reviewRequests": connection("ReviewRequestConnection", p.requests(), func(o any) *gqlObject {
			var who *gqlObject
			var id int64
			switch o := o.(type) {
			case *User:
				who, id = x.user(o), o.ID
			case *Team:
				who, id = x.team(o), o.ID
			}
			return &gqlObject{"ReviewRequest", gqlFields{"id": value(nodeID("ReviewRequest", id)), "databaseId": value(id), "requestedReviewer": value(who)}}
		}),
		"timelineItems": func(args map[string]any) (any, error) {
			types, _ := args["itemTypes"].([]any)
			var all []retarget
			if len(types) == 0 || slices.Contains(types, any("BASE_REF_CHANGED_EVENT")) {
				all = p.retarget
			}
			return connection("PullRequestTimelineItemsConnection", all, func(e retarget) *gqlObject {
				return &gqlObject{"BaseRefChangedEvent", gqlFields{
					"id": value(nodeID("BaseRefChangedEvent "+e.to, p.ID)), "createdAt": value(stamp(e.at)), "currentRefName": value(e.to), "previousRefName": value(e.from),
				}}
			})(args)
		},
		"mergeCommit": lazy(func() any { return x.commit(r, r.git.commits[p.mergeSHA]) }),
		"mergeQueueEntry": lazy(func() any {
			if at < 0 {
				return (*gqlObject)(nil)
			}
			return x.entry(queue[at])
		}),
		"labels": connection("LabelConnection", p.labels, func(l *label) *gqlObject {
			return &gqlObject{"Label", gqlFields{"id": value(nodeID("Label", l.id)), "name": value(l.name)}}
		}),
		"files": connection("PullRequestChangedFileConnection", p.files[:min(len(p.files), maxPullFiles)], func(f change) *gqlObject {
			kind := strings.ToUpper(f.status)
			if kind == "REMOVED" {
				kind = "DELETED"
			}
			return &gqlObject{"PullRequestChangedFile", gqlFields{"path": value(f.path), "changeType": value(kind), "additions": value(f.additions), "deletions": value(f.deletions)}}
		}),
		"commits": connection("PullRequestCommitConnection", p.commits, func(c *gitCommit) *gqlObject {
			return &gqlObject{"PullRequestCommit", gqlFields{"id": value(nodeID("PullRequestCommit "+c.sha, p.ID)), "commit": lazy(func() any { return x.commit(r, c) })}}
		}),
		"reviews": func(args map[string]any) (any, error) {
			states, _ := args["states"].([]any)
			var all []*review
			for _, v := range p.reviews {
				if (v.state != "PENDING" || v.user == x.c.caller.user) && (len(states) == 0 || slices.Contains(states, any(v.state))) {
					all = append(all, v)
				}
			}
			return connection("PullRequestReviewConnection", all, x.review)(args)
		},
		"latestOpinionatedReviews": func(args map[string]any) (any, error) {
			return connection("PullRequestReviewConnection", p.latest(args["writersOnly"] == true), x.review)(args)
		},
	}}
}

func (x *gqlRun) review(v *review) *gqlObject {
	var teams []*Team
	if v.pull.repo.org != nil {
		for _, t := range v.pull.repo.org.teams {
			if m, ok := t.member(v.user); ok && m.state == "active" && t.repos[v.pull.repo.ID] != "" {
				teams = append(teams, t)
			}
		}
	}
	return &gqlObject{"PullRequestReview", gqlFields{
		"databaseId": value(v.id), "fullDatabaseId": value(itoa(v.id)), "id": value(nodeID("PullRequestReview", v.id)), "state": value(v.state),
		"submittedAt": value(stampOrNil(v.submitted)), "body": value(v.body), "author": value(x.user(v.user)),
		"authorCanPushToRepository": value(v.pull.repo.may(v.user, "write")),
		"commit":                    lazy(func() any { return x.commit(v.pull.repo, v.pull.repo.git.commits[v.sha]) }),
		"onBehalfOf":                connection("TeamConnection", teams, x.team),
	}}
}

func (x *gqlRun) entry(e *queueEntry) *gqlObject {
	r := e.pull.repo
	return &gqlObject{"MergeQueueEntry", gqlFields{
		"id": value(nodeID("MergeQueueEntry", e.pull.ID)), "position": value(slices.Index(r.queues[e.pull.baseRef], e) + 1), "state": value("AWAITING_CHECKS"),
		"headCommit": lazy(func() any { return x.commit(r, r.git.commits[e.head]) }), "baseCommit": lazy(func() any { return x.commit(r, r.git.commits[e.base]) }),
		"pullRequest": lazy(func() any { return x.pull(e.pull) }), "enqueuer": value(x.user(e.by)),
	}}
}

func (x *gqlRun) mutation() *gqlObject {
	pullOf := func(id string) (*Pull, error) {
		for _, p := range x.c.g.pullsByID {
			if nodeID("PullRequest", p.ID) == id && x.c.caller.reaches(p.repo) {
				return p, nil
			}
		}
		return nil, refuse(http.StatusNotFound, "Could not resolve to a node with the global id of '%s'", id)
	}
	payload := func(kind string, in map[string]any, field string, v any) *gqlObject {
		return &gqlObject{kind, gqlFields{"clientMutationId": value(in["clientMutationId"]), field: value(v)}}
	}
	return &gqlObject{"Mutation", gqlFields{
		"enqueuePullRequest": func(args map[string]any) (any, error) {
			in, _ := args["input"].(map[string]any)
			p, err := pullOf(text(in["pullRequestId"]))
			if err != nil {
				return nil, err
			}
			if text(in["expectedHeadOid"]) == "" {
				x.c.complain("enqueuePullRequest without expectedHeadOid queues whatever the head is by then")
			}
			if err := x.need("pull_requests:write", p.repo); err != nil {
				return nil, err
			}
			e, err := p.enqueue(x.c.caller.user, text(in["expectedHeadOid"]))
			if err != nil {
				return nil, err
			}
			return payload("EnqueuePullRequestPayload", in, "mergeQueueEntry", x.entry(e)), nil
		},
		"dequeuePullRequest": func(args map[string]any) (any, error) {
			in, _ := args["input"].(map[string]any)
			p, err := pullOf(text(in["id"]))
			if err != nil {
				return nil, err
			}
			if err := x.need("pull_requests:write", p.repo); err != nil {
				return nil, err
			}
			p.unqueue(x.c.caller.user)
			return payload("DequeuePullRequestPayload", in, "mergeQueueEntry", (*gqlObject)(nil)), nil
		},
		"dismissPullRequestReview": func(args map[string]any) (any, error) {
			in, _ := args["input"].(map[string]any)
			for _, p := range x.c.g.pullsByID {
				for _, v := range p.reviews {
					if nodeID("PullRequestReview", v.id) != text(in["pullRequestReviewId"]) || !x.c.caller.reaches(p.repo) {
						continue
					}
					if err := x.need("pull_requests:write", p.repo); err != nil {
						return nil, err
					}
					if err := v.dismiss(x.c.caller.user, text(in["message"])); err != nil {
						return nil, err
					}
					return payload("DismissPullRequestReviewPayload", in, "pullRequestReview", x.review(v)), nil
				}
			}
			return nil, refuse(http.StatusNotFound, "Could not resolve to a node with the global id of '%s'", text(in["pullRequestReviewId"]))
		},
	}}
}

func (x *gqlRun) organization(o *Organization) *gqlObject {
	return &gqlObject{"Organization", gqlFields{
		"databaseId": value(o.ID), "id": value(nodeID("Organization", o.ID)), "login": value(o.Name), "url": value(x.c.g.cfg.WebURL + "/" + o.Name),
		"team": func(args map[string]any) (any, error) {
			if !x.c.caller.holds(needs("members:read"), nil, o) {
				x.c.complain("GraphQL: the token lacks members:read")
				return nil, refuse(http.StatusForbidden, "Resource not accessible by integration")
			}
			t := o.team(text(args["slug"]))
			if t == nil {
				return (*gqlObject)(nil), nil
			}
			return x.team(t), nil
		},
		"teams": func(args map[string]any) (any, error) {
			if !x.c.caller.holds(needs("members:read"), nil, o) {
				x.c.complain("GraphQL: the token lacks members:read")
				return nil, refuse(http.StatusForbidden, "Resource not accessible by integration")
			}
			return connection("TeamConnection", o.teams, x.team)(args)
		},
	}}
}

func (x *gqlRun) team(t *Team) *gqlObject {
	return &gqlObject{"Team", gqlFields{
		"id": value(nodeID("Team", t.ID)), "databaseId": value(t.ID), "slug": value(t.slug), "name": value(t.name), "combinedSlug": value(t.org.Name + "/" + t.slug),
		"members": func(args map[string]any) (any, error) {
			// The query matches parts of login and name, and who was only invited is none.
			all := t.activeMembers()
			if q := strings.ToLower(text(args["query"])); q != "" {
				all = slices.DeleteFunc(all, func(u *User) bool {
					return !strings.Contains(strings.ToLower(u.login), q) && !strings.Contains(strings.ToLower(u.name), q)
				})
			}
			return connection("TeamMemberConnection", all, x.user)(args)
		},
	}}
}

// gqlSuite is a check suite as GraphQL shows it: one for each run of a workflow.
type gqlSuite struct {
	suite *checkSuite
	run   *Run
	runs  []*CheckRun
}

// suitesOf are the check suites of a commit. GitHub puts a check run that a job makes
// with its token into some suite of GitHub Actions: here the first.
func (r *Repository) suitesOf(sha string) []*gqlSuite {
	var out []*gqlSuite
	for _, s := range r.suites {
		if s.sha != sha {
			continue
		}
		byRun := map[*Run]*gqlSuite{}
		var first *gqlSuite
		var loose []*CheckRun
		for _, k := range s.runs {
			if k.job == nil {
				loose = append(loose, k)
				continue
			}
			g := byRun[k.job.run]
			if g == nil {
				g = &gqlSuite{suite: s, run: k.job.run}
				byRun[k.job.run] = g
				out = append(out, g)
				if first == nil {
					first = g
				}
			}
			g.runs = append(g.runs, k)
		}
		if first == nil {
			first = &gqlSuite{suite: s}
			out = append(out, first)
		}
		first.runs = append(first.runs, loose...)
	}
	return out
}

// nodeID is the suite's id in GraphQL.
func (s *gqlSuite) nodeID() string {
	if s.run == nil {
		return nodeID("CheckSuite", s.suite.id)
	}
	return nodeID("CheckSuite of "+itoa(s.run.ID), s.suite.id)
}

func (x *gqlRun) suite(s *gqlSuite) *gqlObject {
	return &gqlObject{"CheckSuite", gqlFields{
		"id": value(s.nodeID()), "databaseId": value(s.suite.id),
		"app": value(&gqlObject{"App", gqlFields{"id": value(nodeID("App", s.suite.app.ID)), "databaseId": value(s.suite.app.ID), "slug": value(s.suite.app.slug)}}),
		"workflowRun": lazy(func() any {
			if s.run == nil {
				return (*gqlObject)(nil)
			}
			return &gqlObject{"WorkflowRun", gqlFields{
				"id": value(nodeID("WorkflowRun", s.run.ID)), "databaseId": value(s.run.ID),
				"file": value(&gqlObject{"WorkflowRunFile", gqlFields{"id": value(nodeID("WorkflowRunFile", s.run.ID)), "path": value(s.run.workflow.path)}}),
			}}
		}),
		"checkRuns": func(args map[string]any) (any, error) {
			filter, _ := args["filterBy"].(map[string]any)
			all := slices.Clone(s.runs)
			slices.SortFunc(all, func(a, b *CheckRun) int { return int(b.ID - a.ID) })
			seen := map[string]bool{}
			all = slices.DeleteFunc(all, func(k *CheckRun) bool {
				old := seen[k.name]
				seen[k.name] = true
				return old && text(filter["checkType"]) == "LATEST" || !is(text(filter["checkName"]), k.name)
			})
			return connection("CheckRunConnection", all, x.checkRun)(args)
		},
	}}
}

func (x *gqlRun) checkRun(k *CheckRun) *gqlObject {
	var conclusion any
	if k.conclusion != "" {
		conclusion = strings.ToUpper(k.conclusion)
	}
	return &gqlObject{"CheckRun", gqlFields{
		"id": value(nodeID("CheckRun", k.ID)), "databaseId": value(k.ID), "name": value(k.name), "externalId": value(textOrNil(k.externalID)),
		"status": value(strings.ToUpper(k.status)), "conclusion": value(conclusion), "completedAt": value(stampOrNil(k.completed)),
		"checkSuite": lazy(func() any {
			for _, s := range k.repo.suitesOf(k.sha) {
				if slices.Contains(s.runs, k) {
					return x.suite(s)
				}
			}
			return (*gqlObject)(nil)
		}),
		"deployment": func(map[string]any) (any, error) {
			if k.job == nil || k.job.deployment == nil {
				return (*gqlObject)(nil), nil
			}
			if err := x.need("deployments:read", k.repo); err != nil {
				return nil, err
			}
			d := k.job.deployment
			return &gqlObject{"Deployment", gqlFields{
				"id": value(nodeID("Deployment", d.ID)), "databaseId": value(d.ID), "environment": value(cmpOr(d.moved, d.env)),
				"latestEnvironment": value(cmpOr(d.moved, d.env)), "originalEnvironment": value(d.env),
			}}, nil
		},
	}}
}

// requests are those whose review is asked for: *User and *Team.
func (p *Pull) requests() []any {
	var out []any
	for _, u := range p.wanted {
		out = append(out, u)
	}
	for _, t := range p.wantTeam {
		out = append(out, t)
	}
	return out
}
