package githubtest

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of custom deployment protection rules.
const (
	maxRules       = 6
	maxReports     = 10
	maxReportRunes = 1024
	answerWithin   = 30 * 24 * time.Hour
)

// An Environment is a deployment environment.
type Environment struct {
	repo *Repository
	// ID is the environment's number; one made anew under the name has another.
	ID          int64
	name        string
	created     time.Time
	rules       []*rule
	users       []*User
	teams       []*Team
	selfReview  bool // prevent_self_review
	waitTimer   int
	adminBypass bool
	protected   bool     // branch policy: protected branches only
	branches    []string // branch policy: patterns
	policyIDs   []int64
	notYet      int
}

type rule struct {
	id  int64
	app *App
}

// gate is one custom rule's open question about one job.
type gate struct {
	job     *Job
	rule    *rule
	asked   time.Time
	state   string // "" while waiting, approved, rejected
	reports []string
	comment string
}

type approval struct {
	env     *Environment
	state   string
	user    *User
	comment string
}

// Environment makes an environment without protection, or gives the one of that
// name; upper and lower case are the same.
func (r *Repository) Environment(name string) *Environment {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	return r.environment(name, true)
}

func (r *Repository) environment(name string, create bool) *Environment {
	for _, e := range r.environments {
		if strings.EqualFold(e.name, name) {
			return e
		}
	}
	if !create {
		return nil
	}
	e := &Environment{repo: r, ID: r.g.newID(), name: name, created: r.g.Now(), adminBypass: true}
	r.environments = append(r.environments, e)
	return e
}

// EnableRule enables an App as a custom protection rule. It gives the rule's id.
func (e *Environment) EnableRule(app *App) (int64, error) {
	e.repo.g.mu.Lock()
	defer e.repo.g.mu.Unlock()
	made, err := e.enable(app)
	if err != nil {
		return 0, err
	}
	return made.id, nil
}

func (e *Environment) enable(app *App) (*rule, error) {
	i := e.repo.installation(app)
	switch {
	case i == nil, i.permissions["deployments"] != "write", i.permissions["actions"] == "", !slices.Contains(app.events, "deployment_protection_rule"):
		return nil, invalid("the App cannot be a deployment protection rule here: it needs actions: read, deployments: write, the event deployment_protection_rule, and to be installed")
	case len(e.rules) >= maxRules:
		return nil, invalid("no more than %d deployment protection rules can be enabled", maxRules)
	case slices.ContainsFunc(e.rules, func(r *rule) bool { return r.app == app }):
		return nil, invalid("the rule is enabled already")
	}
	made := &rule{e.repo.g.newSmallID(), app}
	e.rules = append(e.rules, made)
	return made, nil
}

// DisableRule takes a custom rule away; jobs that wait for it alone start.
func (e *Environment) DisableRule(id int64) error {
	e.repo.g.mu.Lock()
	defer e.repo.g.mu.Unlock()
	return e.disable(id)
}

func (e *Environment) disable(id int64) error {
	i := slices.IndexFunc(e.rules, func(r *rule) bool { return r.id == id })
	if i < 0 {
		return notFound()
	}
	gone := e.rules[i]
	e.rules = slices.Delete(e.rules, i, i+1)
	for _, run := range e.repo.runs {
		for _, j := range run.present() {
			if j.env == e && j.check.status == "waiting" {
				j.gates = slices.DeleteFunc(j.gates, func(g *gate) bool { return g.rule == gone })
				j.release()
			}
		}
	}
	return nil
}

// Reviewers sets the required reviewers (≤ 6) and whether who started the run may
// approve it.
func (e *Environment) Reviewers(preventSelfReview bool, users []*User, teams []*Team) {
	e.repo.g.mu.Lock()
	defer e.repo.g.mu.Unlock()
	if len(users)+len(teams) > 6 {
		misuse("%d reviewers, want at most 6", len(users)+len(teams))
	}
	e.selfReview, e.users, e.teams = preventSelfReview, users, teams
}

// AdminBypass says whether admins may start waiting jobs past every rule. GitHub's
// default is true.
func (e *Environment) AdminBypass(may bool) {
	e.repo.g.mu.Lock()
	defer e.repo.g.mu.Unlock()
	e.adminBypass = may
}

// Branches limits which branches and tags may deploy, by fnmatch patterns.
func (e *Environment) Branches(patterns ...string) {
	e.repo.g.mu.Lock()
	defer e.repo.g.mu.Unlock()
	e.branches, e.policyIDs = patterns, nil
	for range patterns {
		e.policyIDs = append(e.policyIDs, e.repo.g.newSmallID())
	}
}

// NotYet makes the next n answers to the environment's custom rules fail with
// "nothing to approve", as GitHub does right after it asked.
func (e *Environment) NotYet(n int) {
	e.repo.g.mu.Lock()
	defer e.repo.g.mu.Unlock()
	e.notYet = n
}

// Delete deletes the environment: its waiting jobs fail.
func (e *Environment) Delete() {
	e.repo.g.mu.Lock()
	defer e.repo.g.mu.Unlock()
	e.repo.environments = slices.DeleteFunc(e.repo.environments, func(o *Environment) bool { return o == e })
	for _, run := range e.repo.runs {
		for _, j := range run.present() {
			if j.env == e && j.check.status == "waiting" {
				j.complete("failure")
			}
		}
	}
}

// enter is a job reaching its environment: deployment, rules, reviewers.
func (j *Job) enter() {
	r := j.run.repo
	j.env = r.environment(j.spec.Environment, true)
	if !j.env.admits(j.run) || j.spec.NoDeployment && len(j.env.rules) > 0 {
		j.complete("failure")
		return
	}
	if !j.spec.NoDeployment {
		j.deployment = r.addDeployment(r.g.actions.bot, r.g.actions, j.run.githubSHA, shortRef(j.run), j.spec.Environment, j)
	}
	for _, k := range j.env.rules {
		j.gates = append(j.gates, &gate{job: j, rule: k, asked: r.g.Now()})
	}
	j.reviewed = len(j.env.users)+len(j.env.teams) == 0
	if len(j.gates) == 0 && j.reviewed && j.env.waitTimer == 0 {
		if !j.spec.Queued {
			j.start()
		}
		return
	}
	j.check.status, j.waitedFrom = "waiting", r.g.Now()
	// Where a job waits GitHub has been seen to send queued twice, the second time with
	// the status waiting.
	j.event("queued")
	j.event("waiting")
	if j.deployment != nil {
		j.deployment.setStatus(r.g.actions.bot, "waiting")
	}
	for _, k := range j.gates {
		j.ask(k)
	}
	if !j.reviewed && r.org != nil {
		r.g.emit(r, "deployment_review", "requested", j.run.triggering, obj{
			"workflow_run": r.g.runView(j.run), "since": stamp(r.g.Now()), "workflow_job_run": r.g.reviewJobView(j), "environment": j.spec.Environment,
			"reviewers": r.g.reviewersView(j.env, true), "requestor": r.g.userView(j.run.triggering),
		})
	}
}

// ask sends deployment_protection_rule to the rule's App.
func (j *Job) ask(k *gate) {
	r := j.run.repo
	i := r.installation(k.rule.app)
	if i == nil {
		return // nobody hears it, and the job waits
	}
	pulls := []any{}
	if p := j.run.pull(); p != nil && strings.HasPrefix(j.run.event, "pull_request") && p.headRepo == r {
		pulls = append(pulls, r.g.pullView(p, true))
	}
	r.g.emitTo(i, r, "deployment_protection_rule", "requested", j.run.triggering, obj{
		"environment": j.spec.Environment, "event": j.run.event, "deployment": r.g.deploymentView(j.deployment), "pull_requests": pulls,
		"deployment_callback_url": r.api("actions", "runs", itoa(j.run.ID), "deployment_protection_rule"),
	})
}

func shortRef(run *Run) string {
	if strings.HasPrefix(run.ref, "refs/pull/") {
		return run.branch
	}
	return strings.TrimPrefix(strings.TrimPrefix(run.ref, "refs/heads/"), "refs/tags/")
}

// admits reports whether the branch policy lets a run's ref deploy.
func (e *Environment) admits(run *Run) bool {
	if e.protected {
		branch, ok := strings.CutPrefix(run.ref, "refs/heads/")
		return ok && run.repo.protections[branch] != nil || len(run.repo.protections) == 0 // with none defined every branch may
	}
	if e.branches == nil {
		return true
	}
	name := strings.TrimPrefix(strings.TrimPrefix(run.ref, "refs/heads/"), "refs/tags/")
	return slices.ContainsFunc(e.branches, func(p string) bool { ok, err := path.Match(p, name); return ok && err == nil })
}

// release starts a job when nothing holds it any more.
func (j *Job) release() {
	if j.check.status != "waiting" || !j.reviewed || slices.ContainsFunc(j.gates, func(k *gate) bool { return k.state != "approved" }) {
		return
	}
	if t := time.Duration(j.env.waitTimer) * time.Minute; j.run.repo.g.Now().Sub(j.waitedFrom) < t {
		return
	}
	j.check.status = "queued"
	j.event("queued")
	if !j.spec.Queued {
		j.start()
	}
}

// Tick lets time have its effects: wait timers that ran out release their jobs, and
// rules unanswered for 30 days fail theirs, as check runs left open for 14 days
// become stale.
func (g *GitHub) Tick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.sortedRepos() {
		r.grow()
		for _, run := range r.runs {
			for _, j := range run.present() {
				if j.check.status != "waiting" {
					continue
				}
				if g.Now().Sub(j.waitedFrom) > answerWithin {
					j.complete("failure")
					continue
				}
				j.release()
			}
		}
	}
}

// answer is POST …/deployment_protection_rule by an App.
func (run *Run) answer(app *App, environment, state, comment string) error {
	nothing := refuse(http.StatusUnprocessableEntity, "There are no pending deployment protection rule requests to approve or reject")
	e := run.repo.environment(environment, false)
	if e == nil {
		return nothing
	}
	var open []*gate
	for _, j := range run.present() {
		for _, k := range j.gates {
			if j.env == e && j.check.status == "waiting" && k.rule.app == app && k.state == "" {
				open = append(open, k)
			}
		}
	}
	if len(open) == 0 {
		return nothing
	}
	if e.notYet > 0 {
		e.notYet--
		return nothing
	}
	switch state {
	case "":
		if comment == "" || utf8.RuneCountInString(comment) > maxReportRunes || len(open[0].reports) >= maxReports {
			return invalid("a status report needs a comment of at most %d characters, and a rule takes at most %d", maxReportRunes, maxReports)
		}
	case "approved", "rejected":
		if utf8.RuneCountInString(comment) > maxReportRunes {
			return invalid("comment is longer than %d characters", maxReportRunes)
		}
	default:
		return invalid("state %q is not included in the list", state)
	}
	for _, k := range open { // the call names no job: all of the environment are answered
		if state == "" {
			k.reports = append(k.reports, comment)
			continue
		}
		k.state, k.comment = state, comment
		if state == "rejected" {
			k.job.complete("failure")
		} else {
			k.job.release()
		}
	}
	return nil
}

// GateState is one custom rule's answer about one job.
type GateState struct {
	// State is "" while waiting, approved or rejected.
	State   string
	Comment string
	// Reports are the status reports, in order.
	Reports []string
}

// Gate is what an App's rule says of the job; ok is false if it was never asked.
func (j *Job) Gate(app *App) (state GateState, ok bool) {
	j.run.repo.g.mu.Lock()
	defer j.run.repo.g.mu.Unlock()
	for _, k := range j.gates {
		if k.rule.app == app {
			return GateState{k.state, k.comment, slices.Clone(k.reports)}, true
		}
	}
	return GateState{}, false
}

// Review answers for required reviewers: state is approved or rejected, for all
// waiting jobs of the environment. It is GitHub's own deployment review.
func (run *Run) Review(by *User, environment, state, comment string) error {
	run.repo.g.mu.Lock()
	defer run.repo.g.mu.Unlock()
	e := run.repo.environment(environment, false)
	if e == nil {
		return notFound()
	}
	_, err := run.review(by, []*Environment{e}, state, comment)
	return err
}

func (e *Environment) reviewer(u *User) bool {
	return slices.Contains(e.users, u) || slices.ContainsFunc(e.teams, func(t *Team) bool { m, ok := t.member(u); return ok && m.state == "active" })
}

func (run *Run) review(by *User, envs []*Environment, state, comment string) ([]*Deployment, error) {
	if state != "approved" && state != "rejected" {
		return nil, invalid("state %q is not included in the list", state)
	}
	var out []*Deployment
	for _, e := range envs {
		var jobs []*Job
		for _, j := range run.present() {
			if j.env == e && j.check.status == "waiting" && !j.reviewed {
				jobs = append(jobs, j)
			}
		}
		switch {
		case len(jobs) == 0:
			return nil, refuse(http.StatusUnprocessableEntity, "There are no pending deployments to review in %q", e.name)
		case !e.reviewer(by), e.selfReview && by == run.triggering:
			return nil, refuse(http.StatusForbidden, "You are not allowed to approve this deployment")
		}
		run.approvals = append(run.approvals, approval{e, state, by, comment})
		r := run.repo
		var seen []any
		for _, j := range jobs {
			j.reviewed = state == "approved"
			seen = append(seen, r.g.reviewJobView(j))
			if j.deployment != nil {
				out = append(out, j.deployment)
			}
		}
		if r.org != nil {
			r.g.emit(r, "deployment_review", state, by, obj{
				"workflow_run": r.g.runView(run), "since": stamp(r.g.Now()), "workflow_job_run": seen[0], "workflow_job_runs": seen,
				"reviewers": r.g.reviewersView(e, true), "approver": r.g.userView(by), "comment": comment,
			})
		}
		for _, j := range jobs {
			if state == "rejected" {
				j.complete("failure")
			} else {
				j.release()
			}
		}
	}
	return out, nil
}

// StartWaiting is an admin's "Start all waiting jobs": past every rule, where the
// environment lets admins.
func (run *Run) StartWaiting(by *User) error {
	run.repo.g.mu.Lock()
	defer run.repo.g.mu.Unlock()
	if !run.repo.may(by, "admin") {
		return refuse(http.StatusForbidden, "Must have admin rights to Repository.")
	}
	for _, j := range run.present() {
		if j.check.status == "waiting" && j.env.adminBypass {
			j.check.status = "queued"
			j.event("queued")
			j.start()
		}
	}
	return nil
}

// A Deployment is one deployment.
type Deployment struct {
	repo *Repository
	// ID is the deployment's number.
	ID       int64
	sha, ref string
	env      string
	creator  *User
	app      *App
	job      *Job
	created  time.Time
	updated  time.Time
	statuses []*deploymentStatus
	task     string
	moved    string // the environment that a status gave it, "" for its first
}

type deploymentStatus struct {
	id      int64
	state   string
	creator *User
	app     *App
	at      time.Time
	text    string
	logURL  string
	envURL  string
}

// Deploy makes a deployment by API, as any job with deployments: write can: it
// passes no rule.
func (r *Repository) Deploy(by *User, sha, ref, environment string) *Deployment {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.mustCommit(sha)
	return r.addDeployment(by, nil, sha, ref, environment, nil)
}

func (r *Repository) addDeployment(by *User, app *App, sha, ref, environment string, j *Job) *Deployment {
	now := r.g.Now()
	d := &Deployment{repo: r, ID: r.g.newID(), sha: sha, ref: ref, env: environment, creator: by, app: app, job: j, created: now, updated: now, task: "deploy"}
	r.deployments = append(r.deployments, d)
	r.g.deploys[d.ID] = d
	payload := obj{"deployment": r.g.deploymentView(d), "workflow": nil, "workflow_run": nil}
	if j != nil {
		d.creator = j.run.actor
		payload = obj{"deployment": r.g.deploymentView(d), "workflow": r.g.workflowView(r, j.run.workflow), "workflow_run": r.g.deploymentRunView(j.run)}
	}
	r.g.emit(r, "deployment", "created", d.creator, payload)
	return d
}

// Status adds a deployment status, by whoever may write deployments.
func (d *Deployment) Status(by *User, state string) {
	d.repo.g.mu.Lock()
	defer d.repo.g.mu.Unlock()
	d.setStatus(by, state)
}

// Move adds a status that says that the deployment is to another environment, as any
// job with deployments: write can: the environment shown is that from then on.
func (d *Deployment) Move(by *User, state, environment string) {
	d.repo.g.mu.Lock()
	defer d.repo.g.mu.Unlock()
	d.moved = environment
	d.setStatus(by, state)
}

func (d *Deployment) setStatus(by *User, state string) *deploymentStatus {
	g := d.repo.g
	s := &deploymentStatus{id: g.newID(), state: state, creator: by, app: by.app, at: g.Now()}
	if d.job != nil {
		s.logURL = d.job.check.details()
	}
	d.statuses = append(d.statuses, s)
	d.updated = s.at
	if state == "success" { // earlier successes of the environment become inactive
		for _, o := range d.repo.deployments {
			if o != d && o.env == d.env && len(o.statuses) > 0 && o.statuses[len(o.statuses)-1].state == "success" {
				o.statuses = append(o.statuses, &deploymentStatus{id: g.newID(), state: "inactive", creator: by, app: by.app, at: g.Now()})
			}
		}
	}
	if state != "inactive" {
		payload := obj{"deployment_status": g.deploymentStatusView(s, d), "deployment": g.deploymentView(d)}
		if d.job != nil {
			payload["workflow"], payload["workflow_run"] = g.workflowView(d.repo, d.job.run.workflow), g.deploymentRunView(d.job.run)
			payload["check_run"] = g.deploymentCheckView(d.job.check)
		}
		g.emit(d.repo, "deployment_status", "created", by, payload)
	}
	return s
}

// Deployment is the job's deployment, or nil.
func (j *Job) Deployment() *Deployment {
	j.run.repo.g.mu.Lock()
	defer j.run.repo.g.mu.Unlock()
	return j.deployment
}
