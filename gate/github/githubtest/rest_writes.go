package githubtest

import (
	"encoding/base64"
	"net/http"
	"strings"
)

// writeRoutes are how files, branches and pull requests are made by REST.
func writeRoutes() []route {
	contents, pulls := needs("contents:write"), needs("pull_requests:write")
	return []route{
		{pattern: "POST " + repoPath + "/git/commits", who: byToken, need: contents, serve: (*call).postCommit},
		{pattern: "POST " + repoPath + "/git/refs", who: byToken, need: contents, serve: (*call).postRef},
		{pattern: "DELETE " + repoPath + "/git/refs/{ref...}", who: byToken, need: contents, serve: (*call).deleteRef},
		{pattern: "PUT " + repoPath + "/contents/{path...}", who: byToken, need: contents, serve: (*call).putContents},
		{pattern: "POST " + repoPath + "/pulls", who: byToken, need: pulls, content: true, serve: (*call).postPull},
		{pattern: "PATCH " + repoPath + "/pulls/{pull_number}", who: byToken, need: pulls, serve: withPull((*call).patchPull)},
		{pattern: "POST " + repoPath + "/check-runs/{check_run_id}/rerequest", who: byToken, need: needs("checks:write"), serve: (*call).postRerequest},
	}
}

// postCommit makes a commit object that no branch names.
func (c *call) postCommit() (any, error) {
	var in struct {
		Message string   `json:"message"`
		Tree    string   `json:"tree"`
		Parents []string `json:"parents"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	var files map[string]entry
	for _, k := range c.repo.git.commits {
		if k.tree == in.Tree {
			files = k.files
			break
		}
	}
	if files == nil || in.Message == "" {
		return nil, invalid("Tree SHA is not a tree object")
	}
	for _, p := range in.Parents {
		if c.repo.git.commits[p] == nil {
			return nil, invalid("Parent SHA does not exist or is not a commit object")
		}
	}
	sha := c.repo.commitTree(Commit{Message: in.Message, Author: c.caller.user.Identity(), Parents: in.Parents}, files)
	c.status = http.StatusCreated
	return c.repo.gitCommitView(c.repo.git.commits[sha]), nil
}

// gitCommitView is a commit as the Git database API shows it.
func (r *Repository) gitCommitView(k *gitCommit) obj {
	parents := []any{}
	for _, p := range k.parents {
		parents = append(parents, obj{"sha": p, "url": r.api("git", "commits", p), "html_url": r.html("commit", p)})
	}
	who := func(i Identity) obj { return obj{"name": i.Name, "email": i.Email, "date": stamp(i.When)} }
	return obj{
		"sha": k.sha, "node_id": nodeID("Commit "+k.sha, r.ID), "url": r.api("git", "commits", k.sha), "html_url": r.html("commit", k.sha), "message": k.message, "author": who(k.author),
		"committer": who(k.committer), "tree": obj{"sha": k.tree, "url": r.api("git", "trees", k.tree)}, "parents": parents,
		"verification": obj{"verified": k.signed, "reason": "unsigned", "signature": nil, "payload": nil, "verified_at": nil},
	}
}

func (c *call) postRef() (any, error) {
	var in struct {
		Ref string `json:"ref"`
		SHA string `json:"sha"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	switch {
	case !strings.HasPrefix(in.Ref, "refs/") || strings.Count(in.Ref, "/") < 2:
		return nil, invalid("%s is not a valid ref name.", in.Ref)
	case c.repo.git.commits[in.SHA] == nil:
		return nil, invalid("Object does not exist")
	case c.repo.refs[in.Ref] != "":
		return nil, invalid("Reference already exists")
	}
	if err := c.repo.push(c.caller.user, in.Ref, in.SHA); err != nil {
		return nil, err
	}
	c.status = http.StatusCreated
	return obj{
		"ref": in.Ref, "node_id": nodeID("Ref "+in.Ref, c.repo.ID), "url": c.repo.api("git") + "/" + escapePath(in.Ref),
		"object": obj{"type": "commit", "sha": in.SHA, "url": c.repo.api("git", "commits", in.SHA)},
	}, nil
}

func (c *call) deleteRef() (any, error) {
	ref := "refs/" + c.r.PathValue("ref")
	if c.repo.refs[ref] == "" {
		return nil, invalid("Reference does not exist")
	}
	if err := c.repo.push(c.caller.user, ref, ""); err != nil {
		return nil, err
	}
	c.status = http.StatusNoContent
	return nil, nil
}

// putContents commits one file to a branch that is there. Files of workflows need a
// permission that no App of ours has.
func (c *call) putContents() (any, error) {
	var in struct {
		Message string `json:"message"`
		Content string `json:"content"`
		Branch  string `json:"branch"`
		SHA     string `json:"sha"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Branch == "" {
		in.Branch = c.repo.defaultBranch
	}
	ref, path := "refs/heads/"+in.Branch, c.r.PathValue("path")
	at := c.repo.git.commits[c.repo.refs[ref]]
	text, err := base64.StdEncoding.DecodeString(in.Content)
	switch {
	case at == nil:
		return nil, refuse(http.StatusNotFound, "Branch %s not found", in.Branch)
	case err != nil || in.Message == "":
		return nil, invalid("content is not valid Base64")
	case strings.HasPrefix(path, ".github/workflows/") && !c.caller.holds(needs("workflows:write"), c.repo, nil):
		return nil, refuse(http.StatusForbidden, "Resource not accessible by integration")
	case at.files[path].sha != in.SHA:
		return nil, refuse(http.StatusConflict, "%s does not match %s", path, in.SHA)
	}
	sha := c.repo.commit(Commit{Message: in.Message, Author: c.caller.user.Identity(), Parents: []string{at.sha}, Files: map[string]File{path: Text(string(text))}})
	if err := c.repo.push(c.caller.user, ref, sha); err != nil {
		return nil, err
	}
	if in.SHA == "" {
		c.status = http.StatusCreated
	}
	made := c.repo.git.commits[sha]
	return obj{"content": c.repo.contentView(path, made.files[path], in.Branch, false), "commit": c.repo.gitCommitView(made)}, nil
}

func (c *call) postPull() (any, error) {
	var in struct {
		Title string `json:"title"`
		Head  string `json:"head"`
		Base  string `json:"base"`
		Body  string `json:"body"`
		Draft bool   `json:"draft"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	p, err := c.repo.openPull(c.caller.user, PullSpec{Title: in.Title, Body: in.Body, Head: in.Head, Base: in.Base, Draft: in.Draft, As: c.caller.app})
	if err != nil {
		return nil, err
	}
	c.status = http.StatusCreated
	return c.g.readPullView(p), nil
}

// patchPull closes a pull request; nothing else of it is changed this way.
func (c *call) patchPull(p *Pull) (any, error) {
	var in struct {
		State string `json:"state"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	switch {
	case in.State != "closed":
		return nil, invalid("only closing is known here")
	case p.state == "open":
		p.close(c.caller.user)
	}
	return c.g.readPullView(p), nil
}

func (c *call) postRerequest() (any, error) {
	k, err := c.check()
	if err != nil {
		return nil, err
	}
	if k.status != "completed" {
		return nil, invalid("This check run is not rerequestable")
	}
	k.rerequest(c.caller.user)
	c.status = http.StatusCreated
	return obj{}, nil
}
