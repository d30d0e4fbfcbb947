package githubtest

import (
	"encoding/json"
	"net/http"
	"unicode/utf8"
)

// maxComment is the longest comment, in characters.
const maxComment = 65536

func issueRoutes() []route {
	read, write := needs("issues:read", "pull_requests:read"), needs("issues:write", "pull_requests:write")
	one := repoPath + "/issues/{issue_number}"
	return []route{
		{pattern: "GET " + one + "/comments", who: byToken, need: read, list: true, query: "since", serve: withIssue(func(c *call, p *Pull) (any, error) {
			return views(pageOf(c, p.comments), c.g.commentView), nil
		})},
		{pattern: "POST " + one + "/comments", who: byToken, need: write, content: true, serve: withIssue(func(c *call, p *Pull) (any, error) {
			body, err := c.commentBody()
			if err != nil {
				return nil, err
			}
			c.status = http.StatusCreated
			return c.g.commentView(p.comment(c.caller.user, c.caller.app, body)), nil
		})},
		{pattern: "PATCH " + repoPath + "/issues/comments/{comment_id}", who: byToken, need: write, content: true, serve: (*call).patchComment},
		{pattern: "GET " + one + "/labels", who: byToken, need: read, list: true, serve: withIssue(func(c *call, p *Pull) (any, error) {
			return views(pageOf(c, p.labels), func(l *label) obj { return c.g.labelView(c.repo, l) }), nil
		})},
		{pattern: "POST " + one + "/labels", who: byToken, need: write, serve: withIssue((*call).postLabels)},
		{pattern: "DELETE " + one + "/labels/{name}", who: byToken, need: write, serve: withIssue(func(c *call, p *Pull) (any, error) {
			if err := p.unlabel(c.caller.user, c.r.PathValue("name")); err != nil {
				return nil, err
			}
			return views(p.labels, func(l *label) obj { return c.g.labelView(c.repo, l) }), nil
		})},
	}
}

func (c *call) commentBody() (string, error) {
	var in struct {
		Body string `json:"body"`
	}
	if err := c.decode(&in); err != nil {
		return "", err
	}
	if in.Body == "" || utf8.RuneCountInString(in.Body) > maxComment {
		return "", invalid("body is empty or longer than %d characters", maxComment)
	}
	return in.Body, nil
}

func (c *call) patchComment() (any, error) {
	id, err := c.id("comment_id")
	if err != nil {
		return nil, err
	}
	k := c.g.comments[id]
	if k == nil || k.pull.repo != c.repo {
		return nil, notFound()
	}
	if k.user != c.caller.user && !c.repo.may(c.caller.user, "write") {
		return nil, refuse(http.StatusForbidden, "Must have write access to edit others' comments")
	}
	body, err := c.commentBody()
	if err != nil {
		return nil, err
	}
	from := k.body
	k.body, k.updated = body, c.g.Now()
	k.edits++
	c.g.emit(c.repo, "issue_comment", "edited", c.caller.user, obj{"changes": obj{"body": obj{"from": from}}, "issue": c.g.issueView(k.pull), "comment": c.g.commentView(k)})
	return c.g.commentView(k), nil
}

// postLabels takes {"labels": [names]} or a bare list of names.
func (c *call) postLabels(p *Pull) (any, error) {
	var names []string
	if err := json.Unmarshal(c.body, &names); err != nil {
		var in struct {
			Labels []string `json:"labels"`
		}
		if err := c.decode(&in); err != nil {
			return nil, err
		}
		names = in.Labels
	}
	for _, n := range names {
		if n == "" || utf8.RuneCountInString(n) > 50 {
			return nil, invalid("label %q is empty or longer than 50 characters", n)
		}
		p.label(c.caller.user, n)
	}
	return views(p.labels, func(l *label) obj { return c.g.labelView(c.repo, l) }), nil
}
