package githubtest

import (
	"fmt"
	"net/http"
	"strings"
)

const noSHA = "0000000000000000000000000000000000000000"

// CommitTo commits changes of ordinary files to a branch and pushes it. A branch
// that does not exist begins at the default branch. It panics if GitHub would
// refuse: see [Repository.Push] for the long way.
func (r *Repository) CommitTo(by *User, branch, message string, files map[string]string) string {
	c := Commit{Message: message, Author: by.Identity(), Files: map[string]File{}}
	for p, content := range files {
		c.Files[p] = Text(content)
	}
	sha, err := r.PushCommit(by, branch, c)
	if err != nil {
		misuse("pushing to %q: %v", branch, err)
	}
	return sha
}

// PushCommit makes a commit on a branch (without Parents: on its head, or the
// default branch's if it is new) and pushes it.
func (r *Repository) PushCommit(by *User, branch string, c Commit) (string, error) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	if len(c.Parents) == 0 {
		head := r.refs["refs/heads/"+branch]
		if head == "" {
			head = r.refs["refs/heads/"+r.defaultBranch]
		}
		c.Parents = []string{head}
	}
	sha := r.commit(c)
	return sha, r.push(by, "refs/heads/"+branch, sha)
}

// Push moves a branch to a commit, or makes it. A move that is no fast-forward is a
// force push. Refused for who may not write, and by protection.
func (r *Repository) Push(by *User, branch, sha string) error {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.mustCommit(sha)
	return r.push(by, "refs/heads/"+branch, sha)
}

// Tag makes or moves a tag.
func (r *Repository) Tag(by *User, name, sha string) error {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.mustCommit(sha)
	return r.push(by, "refs/tags/"+name, sha)
}

// AnnotatedTag makes or moves a tag with an object of its own. With times more than
// one it is a tag of a tag, and so on.
func (r *Repository) AnnotatedTag(by *User, name, sha string, times int) error {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.mustCommit(sha)
	ref := "refs/tags/" + name
	if err := r.push(by, ref, sha); err != nil {
		return err
	}
	var t *gitTag
	for i := range times {
		kind, target := "commit", sha
		if t != nil {
			kind, target = "tag", t.sha
		}
		t = &gitTag{sha: hashObject("tag", fmt.Appendf(nil, "object %s\ntype %s\ntag %s\n\nTag %d\n", target, kind, name, i)), name: name, message: fmt.Sprintf("Tag %d", i), target: sha, tag: t}
	}
	r.annotated[ref] = t
	return nil
}

// DeleteBranch deletes a branch.
func (r *Repository) DeleteBranch(by *User, branch string) error {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	if r.refs["refs/heads/"+branch] == "" {
		return notFound()
	}
	return r.push(by, "refs/heads/"+branch, "")
}

// DeleteTag deletes a tag.
func (r *Repository) DeleteTag(by *User, name string) error {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	if r.refs["refs/tags/"+name] == "" {
		return notFound()
	}
	return r.push(by, "refs/tags/"+name, "")
}

// Head is the commit of a branch, or "".
func (r *Repository) Head(branch string) string {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	return r.refs["refs/heads/"+branch]
}

// push is Push for any ref; "" deletes.
func (r *Repository) push(by *User, ref, sha string) error {
	if !r.may(by, "write") {
		return refuse(http.StatusForbidden, "Permission to %s.git denied to %s.", r.fullName(), by.login)
	}
	before := r.refs[ref]
	forced := before != "" && sha != "" && !r.git.contains(sha, before)
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		need := r.requirements(branch)
		p := r.protections[branch]
		bypass := r.may(by, "admin") && (p == nil || !p.EnforceAdmins)
		switch {
		case bypass || !need.any || before == "":
		case forced && need.noForce || sha == "":
			return refuse(http.StatusUnprocessableEntity, "protected branch hook declined: cannot force-push to this branch")
		case need.reviews != nil || len(need.checks) > 0:
			return refuse(http.StatusUnprocessableEntity, "protected branch hook declined: changes must be made through a pull request")
		}
	}
	if before == sha {
		return nil
	}
	r.moveRef(by, ref, sha, activityKind(before, sha, forced))
	return nil
}

func activityKind(before, after string, forced bool) string {
	switch {
	case before == "":
		return "branch_creation"
	case after == "":
		return "branch_deletion"
	case forced:
		return "force_push"
	default:
		return "push"
	}
}

// moveRef moves a ref without asking whether it may, and tells everybody.
func (r *Repository) moveRef(by *User, ref, sha, kind string) {
	before := r.refs[ref]
	delete(r.annotated, ref)
	if sha == "" {
		delete(r.refs, ref)
	} else {
		r.refs[ref] = sha
	}
	orZero := func(s string) string {
		if s == "" {
			return noSHA
		}
		return s
	}
	r.activity = append(r.activity, activity{id: r.g.newSmallID(), kind: kind, ref: ref, before: orZero(before), after: orZero(sha), actor: by, at: r.g.Now()})
	forced := before != "" && sha != "" && !r.git.contains(sha, before)
	r.g.emit(r, "push", "", by, r.pushView(by, ref, orZero(before), orZero(sha), forced))
	branch, isBranch := strings.CutPrefix(ref, "refs/heads/")
	if !isBranch {
		return
	}
	if sha != "" {
		r.requestSuites(by, branch, orZero(before), sha)
	}
	for _, target := range r.g.sortedRepos() {
		if target.git != r.git {
			continue
		}
		for _, p := range target.pulls {
			switch {
			case p.state != "open":
			case p.headRepo == r && p.headRef == branch:
				p.headMoved(by, before, sha)
			case p.repo == r && p.baseRef == branch:
				p.baseMoved(before)
			}
		}
	}
}
