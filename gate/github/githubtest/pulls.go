package githubtest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Pull is a pull request.
type Pull struct {
	repo *Repository
	// ID and Number never change.
	ID       int64
	Number   int
	author   *User
	app      *App // the App that opened it, if one did
	title    string
	body     string
	headRepo *Repository
	headRef  string
	headSHA  string
	baseRef  string
	baseSHA  string
	draft    bool
	state    string // open | closed
	merged   bool
	mergedBy *User
	mergeSHA string
	created  time.Time
	updated  time.Time
	closed   time.Time
	mergedAt time.Time
	labels   []*label
	wanted   []*User
	wantTeam []*Team
	reviews  []*review
	comments []*comment
	pushers  []*User // who pushed, in order
	retarget []retarget
	commits  []*gitCommit
	files    []change
	frozen   bool // commits and files are those of the merge
	diffOf   [2]string
	// needUpdate: mergeability is not yet computed; the first read says null.
	mergeableUnknown bool
	unseen           int // how many reads do not show it yet
}

// retarget is one change of the base branch to another.
type retarget struct {
	at       time.Time
	from, to string
}

// PullSpec describes a pull request to open.
type PullSpec struct {
	Title, Body string
	// Head is the branch of the changes, in From or, if nil, in the repository.
	Head string
	From *Repository
	// Base is the target branch. Default: the default branch.
	Base  string
	Draft bool
	// As is the App that opens it, where its bot does.
	As *App
}

// OpenPull opens a pull request.
func (r *Repository) OpenPull(by *User, s PullSpec) (*Pull, error) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	return r.openPull(by, s)
}

func (r *Repository) openPull(by *User, s PullSpec) (*Pull, error) {
	head := s.From
	if head == nil {
		head = r
	}
	if s.Base == "" {
		s.Base = r.defaultBranch
	}
	headSHA, baseSHA := head.refs["refs/heads/"+s.Head], r.refs["refs/heads/"+s.Base]
	switch {
	case !r.may(by, "read"):
		return nil, notFound()
	case headSHA == "":
		return nil, invalid("PullRequest head %q is invalid", s.Head)
	case baseSHA == "":
		return nil, invalid("PullRequest base %q is invalid", s.Base)
	case head.git != r.git:
		return nil, invalid("PullRequest head %q is in another network", s.Head)
	case r.git.contains(baseSHA, headSHA):
		return nil, invalid("No commits between %s and %s", s.Base, s.Head)
	case slices.ContainsFunc(r.pulls, func(p *Pull) bool {
		return p.state == "open" && p.headRepo == head && p.headRef == s.Head && p.baseRef == s.Base
	}):
		return nil, invalid("A pull request already exists for %s:%s.", head.owner.login, s.Head)
	}
	r.lastNumber++
	now := r.g.Now()
	p := &Pull{
		repo: r, ID: r.g.newID(), Number: r.lastNumber, author: by, app: s.As, title: s.Title, body: s.Body, headRepo: head, headRef: s.Head,
		headSHA: headSHA, baseRef: s.Base, baseSHA: baseSHA, draft: s.Draft, state: "open", created: now, updated: now, pushers: []*User{by},
		mergeableUnknown: true,
	}
	if by.app != nil {
		p.app = by.app
	}
	r.pulls = append(r.pulls, p)
	r.g.pullsByID[p.ID] = p
	p.event("opened", by, nil)
	return p, nil
}

func (r *Repository) pull(number int) *Pull {
	for _, p := range r.pulls {
		if p.Number == number {
			return p
		}
	}
	return nil
}

// event sends a pull_request webhook.
func (p *Pull) event(action string, by *User, extra obj) {
	p.updated = p.repo.g.Now()
	payload := obj{"number": p.Number, "pull_request": p.repo.g.pullView(p, true)}
	for k, v := range extra {
		payload[k] = v
	}
	p.repo.g.emit(p.repo, "pull_request", action, by, payload)
}

// refresh computes commits and files of the three-dot diff, if they may have
// changed.
func (p *Pull) refresh() {
	base := p.repo.refs["refs/heads/"+p.baseRef]
	if base == "" {
		base = p.baseSHA
	}
	p.refreshFrom(base)
}

// refreshFrom is refresh for where the base branch stood.
func (p *Pull) refreshFrom(base string) {
	if p.frozen || p.diffOf == [2]string{base, p.headSHA} {
		return
	}
	p.diffOf = [2]string{base, p.headSHA}
	p.commits = p.repo.git.between(base, p.headSHA)
	p.files = p.repo.git.diff(p.repo.git.mergeBase(base, p.headSHA), p.headSHA)
}

// headMoved follows a push to the head branch.
func (p *Pull) headMoved(by *User, before, after string) {
	g := p.repo.g
	if after == "" {
		p.close(by)
		return
	}
	oldBase := p.repo.git.mergeBase(p.baseSHA, p.headSHA)
	p.headSHA, p.baseSHA, p.mergeableUnknown = after, p.repo.refs["refs/heads/"+p.baseRef], true
	p.pushers = append(p.pushers, by)
	p.unqueue(by)
	p.event("synchronize", by, obj{"before": before, "after": after})
	need := p.repo.requirements(p.baseRef).reviews
	if need == nil || !need.DismissStale {
		return
	}
	// A push that leaves the diff as it was dismisses nothing.
	if slices.Equal(p.repo.git.diff(oldBase, before), p.repo.git.diff(p.repo.git.mergeBase(p.baseSHA, after), after)) {
		return
	}
	p.dismissStale(g.webFlow)
}

func (p *Pull) dismissStale(by *User) {
	for _, v := range p.reviews {
		if v.state == "APPROVED" {
			v.state = "DISMISSED"
			v.event("dismissed", by)
		}
	}
}

// baseMoved follows a push to the base branch.
func (p *Pull) baseMoved(before string) {
	p.mergeableUnknown = true
	if base := p.repo.refs["refs/heads/"+p.baseRef]; base != "" && p.repo.git.contains(base, p.headSHA) && !p.frozen && p.headSHA != before {
		// Somebody pushed the head to the base: GitHub marks the pull request merged.
		// Its commits and files stay those that it brought.
		p.refreshFrom(before)
		if p.repo.activity[len(p.repo.activity)-1].kind != "pr_merge" {
			p.finish(p.repo.activity[len(p.repo.activity)-1].actor, base, []string{p.headSHA, base})
		}
	}
}

// Unseen has the next n reads of the pull request say that there is none, as where what
// GitHub reads is older than the event that came.
func (p *Pull) Unseen(n int) {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	p.unseen = n
}

// shown is the pull request of a number as a read finds it, or nil.
func (r *Repository) shown(number int) *Pull {
	p := r.pull(number)
	if p != nil && p.unseen > 0 {
		p.unseen--
		return nil
	}
	return p
}

// Head is the head commit.
func (p *Pull) Head() string {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	return p.headSHA
}

// may gives an error for who may not change the pull request.
func (p *Pull) may(by *User) error {
	if by == p.author || p.repo.may(by, "triage") {
		return nil
	}
	if by.app != nil && p.repo.may(by, "read") {
		return nil
	}
	return notFound()
}

// Retarget changes the base branch, as a person does with Edit.
func (p *Pull) Retarget(by *User, base string) error {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	if err := p.may(by); err != nil {
		return err
	}
	sha := p.repo.refs["refs/heads/"+base]
	if sha == "" || p.state != "open" {
		return invalid("base %q is invalid", base)
	}
	fromRef, fromSHA := p.baseRef, p.baseSHA
	p.baseRef, p.baseSHA, p.mergeableUnknown = base, sha, true
	p.retarget = append(p.retarget, retarget{p.repo.g.Now(), fromRef, base})
	p.event("edited", by, obj{"changes": obj{"base": obj{"ref": obj{"from": fromRef}, "sha": obj{"from": fromSHA}}}})
	if need := p.repo.requirements(base).reviews; need != nil && (need.DismissStale || need.LastPush) {
		p.dismissStale(p.repo.g.webFlow)
	}
	return nil
}

// Edit changes title and body.
func (p *Pull) Edit(by *User, title, body string) error {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	if err := p.may(by); err != nil {
		return err
	}
	changes := obj{}
	if p.title != title {
		changes["title"] = obj{"from": p.title}
	}
	if p.body != body {
		changes["body"] = obj{"from": p.body}
	}
	p.title, p.body = title, body
	p.event("edited", by, obj{"changes": changes})
	return nil
}

// Ready takes the draft mark off; Draft puts it on.
func (p *Pull) Ready(by *User) error { return p.setDraft(by, false, "ready_for_review") }

// Draft makes the pull request a draft.
func (p *Pull) Draft(by *User) error { return p.setDraft(by, true, "converted_to_draft") }

func (p *Pull) setDraft(by *User, draft bool, action string) error {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	if err := p.may(by); err != nil {
		return err
	}
	if p.state != "open" || p.draft == draft {
		return invalid("the pull request is closed or in that state already")
	}
	p.draft = draft
	p.event(action, by, nil)
	return nil
}

// Close closes the pull request without merging.
func (p *Pull) Close(by *User) error {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	if err := p.may(by); err != nil {
		return err
	}
	if p.state != "open" {
		return invalid("the pull request is closed already")
	}
	p.close(by)
	return nil
}

func (p *Pull) close(by *User) {
	p.unqueue(by)
	p.refresh()
	p.state, p.closed = "closed", p.repo.g.Now()
	p.event("closed", by, nil)
}

// Reopen opens it again; approvals stand as they were.
func (p *Pull) Reopen(by *User) error {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	if err := p.may(by); err != nil {
		return err
	}
	head := p.headRepo.refs["refs/heads/"+p.headRef]
	if p.headRepo.gone {
		head = ""
	}
	if p.state != "closed" || p.merged || head == "" {
		return invalid("the pull request cannot be reopened")
	}
	p.state, p.closed, p.headSHA, p.mergeableUnknown = "open", time.Time{}, head, true
	p.event("reopened", by, nil)
	return nil
}

// Label adds a label.
func (p *Pull) Label(by *User, name string) error {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	if err := p.may(by); err != nil {
		return err
	}
	p.label(by, name)
	return nil
}

func (p *Pull) label(by *User, name string) {
	l := p.repo.labels[strings.ToLower(name)]
	if l == nil {
		l = &label{p.repo.g.newID(), name}
		p.repo.labels[strings.ToLower(name)] = l
	}
	if slices.Contains(p.labels, l) {
		return
	}
	p.labels = append(p.labels, l)
	p.event("labeled", by, obj{"label": p.repo.g.labelView(p.repo, l)})
}

// Unlabel removes a label; 404 if it is not there.
func (p *Pull) Unlabel(by *User, name string) error {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	if err := p.may(by); err != nil {
		return err
	}
	return p.unlabel(by, name)
}

func (p *Pull) unlabel(by *User, name string) error {
	i := slices.IndexFunc(p.labels, func(l *label) bool { return strings.EqualFold(l.name, name) })
	if i < 0 {
		return refuse(http.StatusNotFound, "Label does not exist")
	}
	l := p.labels[i]
	p.labels = slices.Delete(p.labels, i, i+1)
	p.event("unlabeled", by, obj{"label": p.repo.g.labelView(p.repo, l)})
	return nil
}

// PullState is what a person sees of a pull request.
type PullState struct {
	State, Title, Head, Base string
	Draft, Merged            bool
	MergedBy, MergeSHA       string
	// Mergeable is GitHub's mergeable_state: clean, blocked, dirty, behind, unstable,
	// draft.
	Mergeable string
	Labels    []string
	// Waiting are the requested reviewers: logins, and org/slug of teams.
	Waiting  []string
	Reviews  []ReviewState
	Comments []CommentState
}

// ReviewState is one review, in the order given. State is as in REST (APPROVED …).
type ReviewState struct {
	ID                     int64
	User, State, SHA, Body string
	SubmittedAt            time.Time
}

// CommentState is one comment, in the order given. Edits counts changes.
type CommentState struct {
	ID         int64
	User, Body string
	Edits      int
}

// See is the pull request as it is now.
func (p *Pull) See() PullState {
	p.repo.g.mu.Lock()
	defer p.repo.g.mu.Unlock()
	s := PullState{State: p.state, Title: p.title, Head: p.headSHA, Base: p.baseRef, Draft: p.draft, Merged: p.merged, MergeSHA: p.mergeSHA, Mergeable: p.mergeableState()}
	if p.mergedBy != nil {
		s.MergedBy = p.mergedBy.login
	}
	for _, l := range p.labels {
		s.Labels = append(s.Labels, l.name)
	}
	for _, u := range p.wanted {
		s.Waiting = append(s.Waiting, u.login)
	}
	for _, t := range p.wantTeam {
		s.Waiting = append(s.Waiting, t.org.Name+"/"+t.slug)
	}
	for _, v := range p.reviews {
		s.Reviews = append(s.Reviews, ReviewState{v.id, v.user.login, v.state, v.sha, v.body, v.submitted})
	}
	for _, c := range p.comments {
		s.Comments = append(s.Comments, CommentState{c.id, c.user.login, c.body, c.edits})
	}
	return s
}
