package githubtest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

type review struct {
	pull      *Pull
	id        int64
	user      *User
	state     string // APPROVED | CHANGES_REQUESTED | COMMENTED | DISMISSED | PENDING
	sha       string
	body      string
	submitted time.Time
}

type comment struct {
	pull    *Pull
	id      int64
	user    *User
	app     *App
	body    string
	created time.Time
	updated time.Time
	edits   int
}

func (v *review) event(action string, by *User) {
	g := v.pull.repo.g
	seen := g.reviewView(v)
	seen["state"] = strings.ToLower(v.state) // webhooks say it in lower case
	g.emit(v.pull.repo, "pull_request_review", action, by, obj{"review": seen, "pull_request": g.pullView(v.pull, false)})
}

// Approve approves the pull request at a commit; "" is the present head. It gives
// the review's id.
func (p *Pull) Approve(by *User, sha string) (int64, error) {
	return p.Review(by, "APPROVE", sha, "")
}

// Review submits a review: event is APPROVE, REQUEST_CHANGES or COMMENT. It gives
// the review's id.
func (p *Pull) Review(by *User, event, sha, body string) (int64, error) {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	v, err := p.review(by, event, sha, body)
	if err != nil {
		return 0, err
	}
	return v.id, nil
}

// review makes a review; event "" leaves it pending.
func (p *Pull) review(by *User, event, sha, body string) (*review, error) {
	if !p.repo.may(by, "read") {
		return nil, notFound()
	}
	if sha == "" {
		sha = p.headSHA
	}
	if !slices.ContainsFunc(append(p.repo.git.between(p.baseSHA, sha), p.repo.git.commits[p.headSHA]), func(c *gitCommit) bool { return c.sha == sha }) {
		return nil, invalid("commit_id %q is not part of the pull request", sha)
	}
	v := &review{pull: p, id: p.repo.g.newID(), user: by, state: "PENDING", sha: sha, body: body}
	if event == "" {
		p.reviews = append(p.reviews, v)
		return v, nil
	}
	if err := v.submit(event, body); err != nil {
		return nil, err
	}
	p.reviews = append(p.reviews, v)
	v.announce()
	return v, nil
}

func (v *review) submit(event, body string) error {
	p := v.pull
	state, ok := map[string]string{"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}[event]
	switch {
	case !ok:
		return invalid("event %q is not included in the list", event)
	case event != "COMMENT" && (v.user == p.author || v.user.app != nil && v.user.app == p.app):
		return invalid("Can not %s your own pull request", strings.ToLower(strings.ReplaceAll(event, "_", " ")))
	case event != "APPROVE" && body == "":
		return invalid("body can't be blank")
	case p.state != "open" && event != "COMMENT":
		return invalid("Can not review a closed pull request")
	}
	v.state, v.body, v.submitted = state, body, p.repo.g.Now()
	// Who has answered is not asked any more.
	p.wanted = slices.DeleteFunc(p.wanted, func(u *User) bool { return u == v.user })
	p.wantTeam = slices.DeleteFunc(p.wantTeam, func(t *Team) bool { m, ok := t.member(v.user); return ok && m.state == "active" })
	return nil
}

func (v *review) announce() { v.event("submitted", v.user) }

func (p *Pull) reviewByID(id int64) *review {
	for _, v := range p.reviews {
		if v.id == id {
			return v
		}
	}
	return nil
}

// Dismiss dismisses a review: its own state becomes DISMISSED.
func (p *Pull) Dismiss(by *User, id int64, message string) error {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	v := p.reviewByID(id)
	if v == nil {
		return notFound()
	}
	return v.dismiss(by, message)
}

func (v *review) dismiss(by *User, message string) error {
	switch {
	case by.app == nil && !v.pull.repo.may(by, "write"):
		return refuse(http.StatusForbidden, "Must have write access to dismiss a review")
	case message == "":
		return invalid("message can't be blank")
	case v.state != "APPROVED" && v.state != "CHANGES_REQUESTED":
		return invalid("Can not dismiss a %s pull request review", strings.ToLower(v.state))
	}
	v.state = "DISMISSED"
	v.event("dismissed", by)
	return nil
}

// latest is everybody's latest opinion among APPROVED, CHANGES_REQUESTED and
// DISMISSED, in the order given.
func (p *Pull) latest(writersOnly bool) []*review {
	last := map[int64]*review{}
	for _, v := range p.reviews {
		if v.state == "APPROVED" || v.state == "CHANGES_REQUESTED" || v.state == "DISMISSED" {
			last[v.user.ID] = v
		}
	}
	var out []*review
	for _, v := range p.reviews {
		if last[v.user.ID] == v && (!writersOnly || p.repo.may(v.user, "write")) {
			out = append(out, v)
		}
	}
	return out
}

// decision is GraphQL's reviewDecision, "" where no review is required.
func (p *Pull) decision() string {
	need := p.repo.requirements(p.baseRef).reviews
	approvals := 0
	for _, v := range p.latest(true) {
		switch v.state {
		case "CHANGES_REQUESTED":
			return "CHANGES_REQUESTED"
		case "APPROVED":
			if need == nil || !need.LastPush || v.user != p.pushers[len(p.pushers)-1] {
				approvals++
			}
		}
	}
	switch {
	case need == nil:
		return ""
	case approvals < need.Count:
		return "REVIEW_REQUIRED"
	default:
		return "APPROVED"
	}
}

// Request asks people and teams for a review.
func (p *Pull) Request(by *User, users []*User, teams []*Team) error {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	return p.request(by, users, teams)
}

func (p *Pull) request(by *User, users []*User, teams []*Team) error {
	for _, u := range users {
		switch {
		case u == p.author:
			return invalid("Review cannot be requested from pull request author.")
		case u.app != nil || rank(p.repo.access(u)) == 0 || !p.repo.private && !p.collaborates(u):
			return invalid("Reviews may only be requested from collaborators. One or more of the users or teams you specified is not a collaborator of the %s repository.", p.repo.fullName())
		}
	}
	for _, t := range teams {
		if _, ok := t.repos[p.repo.ID]; !ok {
			return invalid("Reviews may only be requested from collaborators. One or more of the teams you specified is not a collaborator of the %s repository.", p.repo.fullName())
		}
	}
	for _, u := range users {
		if !slices.Contains(p.wanted, u) {
			p.wanted = append(p.wanted, u)
			p.event("review_requested", by, obj{"requested_reviewer": p.repo.g.userView(u)})
		}
	}
	for _, t := range teams {
		if !slices.Contains(p.wantTeam, t) {
			p.wantTeam = append(p.wantTeam, t)
			p.event("review_requested", by, obj{"requested_team": p.repo.g.webhookTeamView(t)})
		}
	}
	return nil
}

// collaborates reports whether somebody is more than a reader of a public
// repository.
func (p *Pull) collaborates(u *User) bool {
	_, direct := p.repo.collaborators[u.ID]
	return direct || p.repo.may(u, "triage")
}

// Comment writes a comment on the pull request and gives its id.
func (p *Pull) Comment(by *User, body string) (int64, error) {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	if !p.repo.may(by, "read") {
		return 0, notFound()
	}
	return p.comment(by, nil, body).id, nil
}

func (p *Pull) comment(by *User, app *App, body string) *comment {
	now := p.repo.g.Now()
	c := &comment{pull: p, id: p.repo.g.newID(), user: by, app: app, body: body, created: now, updated: now}
	p.comments = append(p.comments, c)
	p.repo.g.comments[c.id] = c
	p.repo.g.emit(p.repo, "issue_comment", "created", by, obj{"issue": p.repo.g.issueView(p), "comment": p.repo.g.commentView(c)})
	return c
}
