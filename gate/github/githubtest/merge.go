package githubtest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// MergeMethods says which merge methods the repository allows.
func (r *Repository) MergeMethods(methods ...string) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.methods = map[string]bool{}
	for _, m := range methods {
		r.methods[m] = true
	}
}

// mergeableState is mergeable_state, always computed.
func (p *Pull) mergeableState() string {
	if p.state != "open" {
		return "unknown"
	}
	base := p.repo.refs["refs/heads/"+p.baseRef]
	if _, ok := p.repo.git.mergeFiles(base, p.headSHA); !ok {
		return "dirty"
	}
	if p.draft {
		return "draft"
	}
	need := p.repo.requirements(p.baseRef)
	if why := p.blocked(need); why != "" {
		return "blocked"
	}
	if need.strict && !p.repo.git.contains(p.headSHA, base) {
		return "behind"
	}
	if slices.Contains([]string{"failure", "pending"}, p.repo.rollup(p.headSHA)) {
		return "unstable"
	}
	return "clean"
}

// blocked says in GitHub's words what a merge still lacks, or "".
func (p *Pull) blocked(need requirements) string {
	if need.reviews != nil {
		switch p.decision() {
		case "CHANGES_REQUESTED":
			return "Changes have been requested."
		case "REVIEW_REQUIRED":
			return fmt.Sprintf("At least %d approving review is required by reviewers with write access.", need.reviews.Count)
		}
	}
	for _, c := range need.checks {
		if !p.repo.satisfied(c, p.headSHA) {
			return fmt.Sprintf("Required status check %q is expected.", c.Context)
		}
	}
	return ""
}

// Merge merges as somebody: method is merge, squash or rebase, sha the head that
// was looked at ("" for whatever it is).
func (p *Pull) Merge(by *User, method, sha string) error {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	_, err := p.merge(by, method, sha, "", "", false)
	return err
}

// MergeAsAdmin merges past what the base branch requires, as an admin may where
// protection does not hold admins.
func (p *Pull) MergeAsAdmin(by *User, method string) error {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	if pr := p.repo.protections[p.baseRef]; !p.repo.may(by, "admin") || pr != nil && pr.EnforceAdmins {
		return refuse(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	}
	_, err := p.merge(by, method, "", "", "", true)
	return err
}

func (p *Pull) merge(by *User, method, sha, title, message string, bypass bool) (string, error) {
	if method == "" {
		method = "merge"
	}
	need := p.repo.requirements(p.baseRef)
	state := p.mergeableState()
	switch {
	case !p.repo.may(by, "write"):
		return "", refuse(http.StatusForbidden, "Must have push access to merge")
	case p.state != "open":
		return "", refuse(http.StatusMethodNotAllowed, "Pull Request is not mergeable")
	case sha != "" && sha != p.headSHA:
		return "", refuse(http.StatusConflict, "Head branch was modified. Review and try the merge again.")
	case !p.repo.methods[method]:
		return "", refuse(http.StatusMethodNotAllowed, "%s merges are not allowed on this repository.", strings.ToUpper(method[:1])+method[1:])
	case p.draft:
		return "", refuse(http.StatusMethodNotAllowed, "Pull Request is still a draft")
	case state == "dirty":
		return "", refuse(http.StatusMethodNotAllowed, "Pull Request has merge conflicts")
	case bypass:
	case need.linear && method == "merge":
		return "", refuse(http.StatusMethodNotAllowed, "Repository rule violations found\n\nThis branch must not contain merge commits.")
	case need.mergeQueue:
		return "", refuse(http.StatusMethodNotAllowed, "Changes must be made through the merge queue")
	case state == "blocked":
		return "", refuse(http.StatusMethodNotAllowed, "%s", p.blocked(need))
	case state == "behind":
		return "", refuse(http.StatusMethodNotAllowed, "The head branch must be up to date with the base branch.")
	}
	base := p.repo.refs["refs/heads/"+p.baseRef]
	tip, brought := p.land(by, method, base, title, message)
	p.refresh()
	p.repo.moveRef(by, "refs/heads/"+p.baseRef, tip, "pr_merge")
	p.finish(by, tip, brought)
	return tip, nil
}

// land makes the commits of a merge on a base and gives the new tip, and all
// commits that the pull request brings with it.
func (p *Pull) land(by *User, method, base, title, message string) (tip string, brought []string) {
	r := p.repo
	files, _ := r.git.mergeFiles(base, p.headSHA)
	own := r.git.between(base, p.headSHA)
	flow := Identity{Name: "GitHub", Email: "noreply@github.com"}
	switch method {
	case "squash":
		if title == "" {
			title = fmt.Sprintf("%s (#%d)", p.title, p.Number)
		}
		if message == "" {
			var others []string
			for _, c := range own {
				if line := "Co-authored-by: " + c.author.Name + " <" + c.author.Email + ">"; c.author.Email != p.author.email && !slices.Contains(others, line) {
					others = append(others, line)
				}
			}
			message = strings.Join(others, "\n")
		}
		tip = r.commitTree(Commit{Message: strings.TrimRight(title+"\n\n"+message, "\n"), Author: p.author.Identity(), Committer: flow, Parents: []string{base}, Signed: true}, files)
		return tip, []string{tip}
	case "rebase":
		tip = base
		for _, c := range own {
			if len(c.parents) > 1 {
				continue // a rebase drops merges
			}
			tip = r.commitTree(Commit{Message: c.message, Author: c.author, Committer: flow, Parents: []string{tip}}, r.replay(tip, c))
			brought = append(brought, tip)
		}
		if r.git.commits[tip].tree != r.git.buildTree(files) && len(brought) > 0 { // what only the dropped merges had
			brought = brought[:len(brought)-1]
			last := own[len(own)-1]
			tip = r.commitTree(Commit{Message: last.message, Author: last.author, Committer: flow, Parents: r.git.commits[tip].parents}, files)
			brought = append(brought, tip)
		}
		return tip, brought
	default:
		if title == "" {
			title = fmt.Sprintf("Merge pull request #%d from %s/%s", p.Number, p.headRepo.owner.login, p.headRef)
		}
		if message == "" {
			message = p.title
		}
		tip = r.commitTree(Commit{Message: title + "\n\n" + message, Author: by.Identity(), Committer: flow, Parents: []string{base, p.headSHA}, Signed: true}, files)
		for _, c := range own {
			brought = append(brought, c.sha)
		}
		return tip, append(brought, tip)
	}
}

// replay applies what a commit changed to other files.
func (r *Repository) replay(onto string, c *gitCommit) map[string]entry {
	out := maps.Clone(r.git.commits[onto].files)
	var before map[string]entry
	if len(c.parents) > 0 {
		before = r.git.commits[c.parents[0]].files
	}
	for p, e := range c.files {
		if before[p] != e {
			out[p] = e
		}
	}
	for p := range before {
		if _, ok := c.files[p]; !ok {
			delete(out, p)
		}
	}
	return out
}

// finish marks a pull request merged.
func (p *Pull) finish(by *User, tip string, brought []string) {
	p.frozen = true
	p.state, p.merged, p.mergedBy, p.mergeSHA = "closed", true, by, tip
	p.mergedAt = p.repo.g.Now()
	p.closed = p.mergedAt
	for _, sha := range brought {
		p.repo.brought[sha] = p
	}
	p.event("closed", by, nil)
}

// pullsOf are the pull requests that GitHub associates with a commit: the one that
// brought it to the default branch; for a commit that is not there, those that
// contain it.
func (r *Repository) pullsOf(sha string) []*Pull {
	if r.git.contains(r.refs["refs/heads/"+r.defaultBranch], sha) {
		if p := r.brought[sha]; p != nil {
			return []*Pull{p}
		}
		return nil
	}
	var out []*Pull
	for _, p := range r.pulls {
		p.refresh()
		if (p.state == "open" || p.merged) && (slices.ContainsFunc(p.commits, func(c *gitCommit) bool { return c.sha == sha }) || r.brought[sha] == p) {
			out = append(out, p)
		}
	}
	return out
}

// queueEntry is one pull request in a merge queue; its group is everything before
// it and itself.
type queueEntry struct {
	pull *Pull
	by   *User
	base string // what the group is built on
	head string // the group's head
	ref  string
}

// enqueue puts a pull request into its base branch's merge queue.
func (p *Pull) enqueue(by *User, expected string) (*queueEntry, error) {
	need := p.repo.requirements(p.baseRef)
	queue := p.repo.queues[p.baseRef]
	switch {
	case !p.repo.may(by, "write"):
		return nil, refuse(http.StatusForbidden, "Must have push access to merge")
	case !need.mergeQueue:
		return nil, refuse(http.StatusUnprocessableEntity, "The base branch does not require a merge queue")
	case p.state != "open" || p.draft:
		return nil, refuse(http.StatusUnprocessableEntity, "Pull request is closed or a draft")
	case expected != "" && expected != p.headSHA:
		return nil, refuse(http.StatusUnprocessableEntity, "Head branch was modified. Review and try the merge again.")
	case slices.ContainsFunc(queue, func(e *queueEntry) bool { return e.pull == p }):
		return nil, refuse(http.StatusUnprocessableEntity, "Pull request is already in the queue")
	case p.blocked(need) != "":
		return nil, refuse(http.StatusUnprocessableEntity, "%s", p.blocked(need))
	}
	base := p.repo.refs["refs/heads/"+p.baseRef]
	if len(queue) > 0 {
		base = queue[len(queue)-1].head
	}
	e, err := p.group(by, base)
	if err != nil {
		return nil, err
	}
	p.repo.queues[p.baseRef] = append(queue, e)
	p.repo.announceGroup(e)
	return e, nil
}

func (p *Pull) group(by *User, base string) (*queueEntry, error) {
	if _, ok := p.repo.git.mergeFiles(base, p.headSHA); !ok {
		return nil, refuse(http.StatusUnprocessableEntity, "Pull request has merge conflicts")
	}
	head, _ := p.land(p.repo.g.webFlow, "merge", base, "", "")
	return &queueEntry{p, by, base, head, fmt.Sprintf("refs/heads/gh-readonly-queue/%s/pr-%d-%s", p.baseRef, p.Number, base)}, nil
}

func (r *Repository) announceGroup(e *queueEntry) {
	r.refs[e.ref] = e.head
	r.g.emit(r, "merge_group", "checks_requested", e.by, obj{"merge_group": r.groupView(e)})
	r.requestSuites(r.g.webFlow, strings.TrimPrefix(e.ref, "refs/heads/"), noSHA, e.head)
}

// Enqueue puts the pull request into the merge queue as somebody.
func (p *Pull) Enqueue(by *User) error {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	_, err := p.enqueue(by, "")
	return err
}

// unqueue takes a pull request out of the queue; what was behind it is rebuilt.
func (p *Pull) unqueue(by *User) {
	queue := p.repo.queues[p.baseRef]
	i := slices.IndexFunc(queue, func(e *queueEntry) bool { return e.pull == p })
	if i < 0 {
		return
	}
	p.repo.queues[p.baseRef] = queue[:i:i]
	for n, e := range queue[i:] {
		why := "invalidated"
		if n == 0 {
			why = "dequeued"
		}
		delete(p.repo.refs, e.ref)
		p.repo.g.emit(p.repo, "merge_group", "destroyed", by, obj{"reason": why, "merge_group": p.repo.groupView(e)})
	}
	base := queue[i].base
	for _, e := range queue[i+1:] {
		again, err := e.pull.group(e.by, base)
		if err != nil {
			continue // conflicts now: it drops out
		}
		base = again.head
		p.repo.queues[p.baseRef] = append(p.repo.queues[p.baseRef], again)
		p.repo.announceGroup(again)
	}
}

// advanceQueues merges the groups at the front whose required checks are green, and
// throws out one that is red.
func (r *Repository) advanceQueues() {
	for _, branch := range slices.Sorted(maps.Keys(r.queues)) {
		for len(r.queues[branch]) > 0 {
			e := r.queues[branch][0]
			need := r.requirements(branch)
			if slices.ContainsFunc(need.checks, func(c RequiredCheck) bool { return r.failed(c, e.head) }) {
				e.pull.unqueue(r.g.webFlow)
				continue
			}
			if slices.ContainsFunc(need.checks, func(c RequiredCheck) bool { return !r.satisfied(c, e.head) }) {
				break
			}
			r.queues[branch] = r.queues[branch][1:]
			delete(r.refs, e.ref)
			e.pull.refresh()
			var brought []string
			for _, c := range r.git.between(e.base, e.head) {
				brought = append(brought, c.sha)
			}
			r.moveRef(r.g.webFlow, "refs/heads/"+branch, e.head, "merge_queue_merge")
			r.g.emit(r, "merge_group", "destroyed", r.g.webFlow, obj{"reason": "merged", "merge_group": r.groupView(e)})
			e.pull.finish(e.by, e.head, brought)
		}
	}
}

// QueueLags has the next n reads of the repository's merge queues show their entries
// without the commits of groups, as where GitHub shows less than its event told of.
func (r *Repository) QueueLags(n int) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.queueLag = n
}

// QueueHeads are the head commits of a branch's merge groups, front first.
func (r *Repository) QueueHeads(branch string) []string {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	var out []string
	for _, e := range r.queues[branch] {
		out = append(out, e.head)
	}
	return out
}
