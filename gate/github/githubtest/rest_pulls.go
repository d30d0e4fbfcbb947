package githubtest

import (
	"net/http"
	"slices"
	"strings"
)

// Limits of what REST lists of a pull request.
const (
	maxPullFiles   = 3000
	maxPullCommits = 250
)

func pullRoutes() []route {
	read, write := needs("pull_requests:read"), needs("pull_requests:write")
	one := repoPath + "/pulls/{pull_number}"
	return []route{
		{pattern: "GET " + repoPath + "/pulls", who: byToken, need: read, list: true, query: "state head base sort direction", serve: (*call).listPulls},
		{pattern: "GET " + one, who: byToken, need: read, serve: withPull(func(c *call, p *Pull) (any, error) { return c.g.readPullView(p), nil })},
		{pattern: "GET " + one + "/files", who: byToken, need: read, list: true, serve: withPull(func(c *call, p *Pull) (any, error) {
			p.refresh()
			return views(pageOf(c, p.files[:min(len(p.files), maxPullFiles)]), func(f change) obj { return c.repo.changeView(p.headSHA, f) }), nil
		})},
		{pattern: "GET " + one + "/commits", who: byToken, need: read, list: true, serve: withPull(func(c *call, p *Pull) (any, error) {
			p.refresh()
			return views(pageOf(c, p.commits[:min(len(p.commits), maxPullCommits)]), func(k *gitCommit) obj { return c.g.commitView(c.repo, k) }), nil
		})},
		{pattern: "GET " + one + "/reviews", who: byToken, need: read, list: true, serve: withPull(func(c *call, p *Pull) (any, error) {
			var all []*review
			for _, v := range p.reviews {
				if v.state != "PENDING" || v.user == c.caller.user { // drafts are their author's
					all = append(all, v)
				}
			}
			return views(pageOf(c, all), c.g.reviewView), nil
		})},
		{pattern: "GET " + one + "/reviews/{review_id}", who: byToken, need: read, serve: withReview(func(c *call, v *review) (any, error) { return c.g.reviewView(v), nil })},
		{pattern: "POST " + one + "/reviews", who: byToken, need: write, content: true, serve: withPull((*call).postReview)},
		{pattern: "POST " + one + "/reviews/{review_id}/events", who: byToken, need: write, content: true, serve: withReview(func(c *call, v *review) (any, error) {
			var in struct {
				Body  string `json:"body"`
				Event string `json:"event"`
			}
			if err := c.decode(&in); err != nil {
				return nil, err
			}
			if v.state != "PENDING" || v.user != c.caller.user {
				return nil, notFound()
			}
			if err := v.submit(in.Event, in.Body); err != nil {
				return nil, err
			}
			v.announce()
			return c.g.reviewView(v), nil
		})},
		{pattern: "PUT " + one + "/reviews/{review_id}/dismissals", who: byToken, need: write, serve: withReview(func(c *call, v *review) (any, error) {
			var in struct {
				Message string `json:"message"`
				Event   string `json:"event"`
			}
			if err := c.decode(&in); err != nil {
				return nil, err
			}
			if err := v.dismiss(c.caller.user, in.Message); err != nil {
				return nil, err
			}
			return c.g.reviewView(v), nil
		})},
		{pattern: "GET " + one + "/requested_reviewers", who: byToken, need: read, serve: withPull(func(c *call, p *Pull) (any, error) {
			return obj{"users": views(p.wanted, c.g.userView), "teams": views(p.wantTeam, c.g.teamView)}, nil
		})},
		{pattern: "POST " + one + "/requested_reviewers", who: byToken, need: write, content: true, serve: withPull((*call).postRequested)},
		{pattern: "DELETE " + one + "/requested_reviewers", who: byToken, need: write, serve: withPull((*call).deleteRequested)},
		{pattern: "PUT " + one + "/merge", who: byToken, need: needs("contents:write"), serve: withPull((*call).putMerge)},
	}
}

func withPull(f func(*call, *Pull) (any, error)) func(*call) (any, error) {
	return withNumber("pull_number", f)
}

// withIssue is withPull for the paths that call a pull request an issue.
func withIssue(f func(*call, *Pull) (any, error)) func(*call) (any, error) {
	return withNumber("issue_number", f)
}

func withNumber(name string, f func(*call, *Pull) (any, error)) func(*call) (any, error) {
	return func(c *call) (any, error) {
		n, err := c.id(name)
		if err != nil {
			return nil, err
		}
		p := c.repo.shown(int(n))
		if p == nil {
			return nil, notFound()
		}
		return f(c, p)
	}
}

func withReview(f func(*call, *review) (any, error)) func(*call) (any, error) {
	return withPull(func(c *call, p *Pull) (any, error) {
		id, err := c.id("review_id")
		if err != nil {
			return nil, err
		}
		v := p.reviewByID(id)
		if v == nil {
			return nil, notFound()
		}
		return f(c, v)
	})
}

func (c *call) listPulls() (any, error) {
	state := c.query("state")
	var all []*Pull
	for _, p := range c.repo.pulls {
		owner, ref, ok := strings.Cut(c.query("head"), ":")
		if state != "all" && p.state != cmpOr(state, "open") || c.query("base") != "" && p.baseRef != c.query("base") ||
			ok && (!strings.EqualFold(owner, p.headRepo.owner.login) || ref != p.headRef) {
			continue
		}
		all = append(all, p)
	}
	if c.query("head") != "" && !strings.Contains(c.query("head"), ":") {
		c.complain("head=%q without its owner is ignored by GitHub", c.query("head"))
	}
	switch c.query("sort") {
	case "updated":
		slices.SortStableFunc(all, func(a, b *Pull) int { return a.updated.Compare(b.updated) })
	case "", "created", "popularity", "long-running":
	}
	if c.query("direction") != "asc" {
		slices.Reverse(all)
	}
	return views(pageOf(c, all), c.g.shortPullView), nil
}

func cmpOr(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (c *call) postReview(p *Pull) (any, error) {
	var in struct {
		CommitID string `json:"commit_id"`
		Body     string `json:"body"`
		Event    string `json:"event"`
		Comments []struct {
			Path      string `json:"path"`
			Position  *int   `json:"position"`
			Body      string `json:"body"`
			Line      *int   `json:"line"`
			Side      string `json:"side"`
			StartLine *int   `json:"start_line"`
			StartSide string `json:"start_side"`
		} `json:"comments"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.CommitID == "" {
		c.complain("a review without commit_id stands at whatever the head is by then")
	}
	if in.Event == "" {
		c.complain("a review without event stays a pending draft")
	}
	v, err := p.review(c.caller.user, in.Event, in.CommitID, in.Body)
	if err != nil {
		return nil, err
	}
	return c.g.reviewView(v), nil
}

// named finds the users and teams of a request.
func (c *call) named() (users []*User, teams []*Team, err error) {
	var in struct {
		Reviewers []string `json:"reviewers"`
		Teams     []string `json:"team_reviewers"`
	}
	if err := c.decode(&in); err != nil {
		return nil, nil, err
	}
	for _, login := range in.Reviewers {
		u := c.g.userByLogin(login)
		if u == nil {
			return nil, nil, invalid("Reviews may only be requested from collaborators. %q is none.", login)
		}
		users = append(users, u)
	}
	for _, slug := range in.Teams {
		var t *Team
		if c.repo.org != nil {
			t = c.repo.org.team(slug)
		}
		if t == nil {
			return nil, nil, invalid("Could not resolve to a team %q.", slug)
		}
		teams = append(teams, t)
	}
	return users, teams, nil
}

func (c *call) postRequested(p *Pull) (any, error) {
	users, teams, err := c.named()
	if err != nil {
		return nil, err
	}
	if err := p.request(c.caller.user, users, teams); err != nil {
		return nil, err
	}
	c.status = http.StatusCreated
	return c.g.shortPullView(p), nil
}

func (c *call) deleteRequested(p *Pull) (any, error) {
	users, teams, err := c.named()
	if err != nil {
		return nil, err
	}
	for _, u := range users {
		if i := slices.Index(p.wanted, u); i >= 0 {
			p.wanted = slices.Delete(p.wanted, i, i+1)
			p.event("review_request_removed", c.caller.user, obj{"requested_reviewer": c.g.userView(u)})
		}
	}
	for _, t := range teams {
		if i := slices.Index(p.wantTeam, t); i >= 0 {
			p.wantTeam = slices.Delete(p.wantTeam, i, i+1)
			p.event("review_request_removed", c.caller.user, obj{"requested_team": c.g.webhookTeamView(t)})
		}
	}
	return c.g.shortPullView(p), nil
}

func (c *call) putMerge(p *Pull) (any, error) {
	var in struct {
		Title   string `json:"commit_title"`
		Message string `json:"commit_message"`
		SHA     string `json:"sha"`
		Method  string `json:"merge_method"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.SHA == "" {
		c.complain("a merge without sha merges whatever the head is by then")
	}
	p.refresh()
	if slices.ContainsFunc(p.files, func(f change) bool {
		return strings.HasPrefix(f.path, ".github/workflows/") || strings.HasPrefix(f.previous, ".github/workflows/")
	}) &&
		c.caller.kind == byInstallation && c.caller.tok.permissions["workflows"] == "" {
		return nil, refuse(http.StatusForbidden, "refusing to allow a GitHub App to create or update workflow `%s` without `workflows` permission", ".github/workflows")
	}
	sha, err := p.merge(c.caller.user, in.Method, in.SHA, in.Title, in.Message, false)
	if err != nil {
		return nil, err
	}
	return obj{"sha": sha, "merged": true, "message": "Pull Request successfully merged"}, nil
}
