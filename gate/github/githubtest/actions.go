package githubtest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

type workflow struct {
	id   int64
	path string
	name string
	made time.Time
}

// A Run is a workflow run.
type Run struct {
	repo *Repository
	// ID is the run's number; a re-run keeps it.
	ID         int64
	workflow   *workflow
	number     int
	attempt    int
	event      string
	branch     string // head_branch: a branch or a tag
	ref        string // full ref
	sha        string // head_sha: a pull request's head
	githubSHA  string // GITHUB_SHA: a pull request's test merge
	actor      *User
	triggering *User
	created    time.Time
	started    time.Time
	updated    time.Time
	jobs       []*Job // of all attempts, in order
	spec       RunSpec
	approvals  []approval
	suite      *checkSuite
	refd       []obj
}

// A Job is one job of one attempt of a run. Its check run has the same id.
type Job struct {
	run *Run
	// ID is the job's number, and its check run's.
	ID         int64
	spec       JobSpec
	attempt    int
	check      *CheckRun
	created    time.Time
	env        *Environment
	deployment *Deployment
	gates      []*gate
	reviewed   bool // required reviewers have approved, or there are none
	tokenKey   string
	waitedFrom time.Time
	began      bool // a runner took it
	steps      []step
}

// RunSpec describes a run to start.
type RunSpec struct {
	// Workflow is the file, such as ".github/workflows/deploy.yml".
	Workflow string
	// Name is the workflow's name. Default: the file's.
	Name string
	// Event is push, pull_request, workflow_dispatch, … Default push.
	Event string
	// Branch is the branch (or, with Tag, the tag) that it runs on. Default: the
	// default branch. For a pull_request event it is the head's branch.
	Branch string
	// Tag says that Branch names a tag.
	Tag bool
	// SHA is the commit. Default: Branch's head.
	SHA string
	// From is the fork whose branch it runs on, as for a fork's pull request. Default:
	// the repository itself.
	From *Repository
	// Inputs are those of a workflow_dispatch; only its webhook shows them.
	Inputs map[string]any
	// By started it.
	By   *User
	Jobs []JobSpec
	// Uses are referenced_workflows: path@ref of reusable workflows.
	Uses []string
}

// JobSpec describes a job.
type JobSpec struct {
	Name string
	// Environment is the environment that the job names; it is made, unprotected, if
	// it does not exist.
	Environment string
	// NoDeployment is environment: {deployment: false}: no deployment is made, and a
	// custom protection rule makes the job fail.
	NoDeployment bool
	// SelfHosted is a self-hosted runner instead of GitHub's.
	SelfHosted bool
	// Queued leaves the job queued; otherwise it is in progress as soon as it may.
	Queued bool
	// DefinedIn is the reusable workflow (owner/repo/path@ref) that defines the job.
	// Default: the run's own.
	DefinedIn string
	// DefinedAt is the commit of that file. Default: the run's.
	DefinedAt string
}

func (r *Repository) workflow(path, name string) *workflow {
	for _, w := range r.workflows {
		if w.path == path {
			return w
		}
	}
	if name == "" {
		name = strings.TrimSuffix(path[strings.LastIndex(path, "/")+1:], ".yml")
	}
	w := &workflow{r.g.newSmallID(), path, name, r.g.Now()}
	r.workflows = append(r.workflows, w)
	return w
}

// StartRun starts a workflow run. Its jobs show as check runs of the App
// github-actions; jobs with a protected environment wait.
func (r *Repository) StartRun(s RunSpec) *Run {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	if s.By == nil || s.Workflow == "" {
		misuse("a run needs By and Workflow")
	}
	if s.Event == "" {
		s.Event = "push"
	}
	if s.Branch == "" {
		s.Branch = r.defaultBranch
	}
	ref := "refs/heads/" + s.Branch
	if s.Tag {
		ref = "refs/tags/" + s.Branch
	}
	if s.SHA == "" {
		s.SHA = r.refs[ref]
	}
	r.mustCommit(s.SHA)
	w := r.workflow(s.Workflow, s.Name)
	r.lastRun[w.id]++
	now := r.g.Now()
	run := &Run{
		repo: r, ID: r.g.newID(), workflow: w, number: r.lastRun[w.id], attempt: 1, event: s.Event, branch: s.Branch, ref: ref, sha: s.SHA, githubSHA: s.SHA,
		actor: s.By, triggering: s.By, created: now, started: now, updated: now, spec: s,
	}
	for _, u := range s.Uses {
		path, at, _ := strings.Cut(u, "@")
		run.refd = append(run.refd, obj{"path": path + "@" + at, "sha": s.SHA, "ref": at})
	}
	if s.Event == "pull_request" {
		if p := run.pull(); p != nil {
			run.ref = "refs/pull/" + itoa(int64(p.Number)) + "/merge"
			if files, ok := r.git.mergeFiles(r.refs["refs/heads/"+p.baseRef], s.SHA); ok {
				run.githubSHA = r.commitTree(Commit{Message: "Merge " + s.SHA + " into " + p.baseSHA, Author: r.g.webFlow.Identity(), Parents: []string{r.refs["refs/heads/"+p.baseRef], s.SHA}}, files)
			}
		}
	}
	run.suite = r.runSuite(s.Branch, s.SHA) // each run has one of its own
	r.runs = append(r.runs, run)
	r.g.runs[run.ID] = run
	if s.Event == "workflow_dispatch" {
		inputs := s.Inputs
		if inputs == nil {
			inputs = map[string]any{}
		}
		r.g.emit(r, "workflow_dispatch", "", s.By, obj{"inputs": inputs, "ref": ref, "workflow": s.Workflow})
	}
	run.begin(s.Jobs)
	return run
}

// pull is the open pull request of a run's head in this repository, or nil.
func (run *Run) pull() *Pull {
	for _, p := range run.repo.pulls {
		if p.state == "open" && p.headSHA == run.sha && p.headRef == run.branch {
			return p
		}
	}
	return nil
}

func (run *Run) begin(jobs []JobSpec) {
	run.announce("requested")
	run.announce("in_progress")
	for _, s := range jobs {
		run.addJob(s)
	}
}

func (run *Run) announce(action string) {
	run.updated = run.repo.g.Now()
	run.repo.g.emit(run.repo, "workflow_run", action, run.triggering, obj{"workflow": run.repo.g.workflowView(run.repo, run.workflow), "workflow_run": run.repo.g.runView(run)})
}

func (run *Run) addJob(s JobSpec) {
	r := run.repo
	c := &CheckRun{repo: r, ID: r.g.newID(), app: r.g.actions, name: s.Name, sha: run.sha, status: "queued", started: r.g.Now(), created: r.g.Now(), suite: run.suite}
	j := &Job{run: run, ID: c.ID, spec: s, attempt: run.attempt, check: c, created: r.g.Now(), reviewed: true}
	c.job = j
	c.suite.runs = append(c.suite.runs, c)
	r.g.checks[c.ID], r.g.jobs[j.ID] = c, j
	run.jobs = append(run.jobs, j)
	c.event("created", r.g.actions.bot, nil)
	j.event("queued")
	if s.Environment != "" {
		j.enter()
		return
	}
	if !s.Queued {
		j.start()
	}
}

// Next starts one more job in the present attempt: one that waited for the others.
func (run *Run) Next(s JobSpec) *Job {
	run.repo.g.mu.Lock()
	defer run.repo.g.mu.Unlock()
	run.addJob(s)
	return run.jobs[len(run.jobs)-1]
}

func (j *Job) event(action string) {
	g := j.run.repo.g
	payload := obj{"workflow_job": g.jobView(j)}
	if j.deployment != nil {
		payload["deployment"] = g.deploymentView(j.deployment)
	}
	g.emit(j.run.repo, "workflow_job", action, j.run.triggering, payload)
}

// start begins a job that nothing holds.
func (j *Job) start() {
	j.began = true
	j.check.status, j.check.started = "in_progress", j.run.repo.g.Now()
	j.event("in_progress")
	if j.deployment != nil {
		j.deployment.setStatus(j.run.repo.g.actions.bot, "in_progress")
	}
}

// Start begins a job that was left queued.
func (j *Job) Start() error {
	j.run.repo.g.mu.Lock()
	defer j.run.repo.g.mu.Unlock()
	if j.check.status != "queued" {
		return refuse(http.StatusConflict, "job %q is %s", j.spec.Name, j.check.status)
	}
	j.start()
	return nil
}

// Complete ends a job in progress: conclusion is success, failure, cancelled …
func (j *Job) Complete(conclusion string) error {
	j.run.repo.g.mu.Lock()
	defer j.run.repo.g.mu.Unlock()
	if j.check.status != "in_progress" {
		return refuse(http.StatusConflict, "job %q is %s", j.spec.Name, j.check.status)
	}
	j.complete(conclusion)
	return nil
}

func (j *Job) complete(conclusion string) {
	j.check.status, j.check.conclusion, j.check.completed = "completed", conclusion, j.run.repo.g.Now()
	j.event("completed")
	if j.deployment != nil {
		state := "failure"
		if conclusion == "success" {
			state = "success"
		}
		j.deployment.setStatus(j.run.repo.g.actions.bot, state)
	}
	j.check.event("completed", j.run.repo.g.actions.bot, nil)
	j.check.suite.settle()
	if status, _ := j.run.state(); status == "completed" {
		j.run.announce("completed")
	}
	j.run.repo.advanceQueues()
}

// Status is the job's status and conclusion.
func (j *Job) Status() (status, conclusion string) {
	j.run.repo.g.mu.Lock()
	defer j.run.repo.g.mu.Unlock()
	return j.check.status, j.check.conclusion
}

// Attempt is the run attempt that the job belongs to.
func (j *Job) Attempt() int { return j.attempt }

// CheckRun is the job's check run.
func (j *Job) CheckRun() *CheckRun { return j.check }

// Attempt is the run's present attempt.
func (run *Run) Attempt() int {
	run.repo.g.mu.Lock()
	defer run.repo.g.mu.Unlock()
	return run.attempt
}

// Job finds a job of the present attempt by name, or nil.
func (run *Run) Job(name string) *Job {
	run.repo.g.mu.Lock()
	defer run.repo.g.mu.Unlock()
	for _, j := range run.present() {
		if j.spec.Name == name {
			return j
		}
	}
	return nil
}

// present are the jobs of the present attempt.
func (run *Run) present() []*Job { return run.attemptJobs(run.attempt) }

func (run *Run) attemptJobs(n int) []*Job {
	var out []*Job
	for _, j := range run.jobs {
		if j.attempt == n {
			out = append(out, j)
		}
	}
	return out
}

// state is the run's status and conclusion, out of its jobs.
func (run *Run) state() (status, conclusion string) { return stateOf(run.present()) }

func stateOf(jobs []*Job) (status, conclusion string) {
	conclusion = "success"
	waiting, running := false, false
	for _, j := range jobs {
		switch j.check.status {
		case "waiting":
			waiting = true
		case "completed":
			if j.check.conclusion != "success" && j.check.conclusion != "skipped" {
				conclusion = j.check.conclusion
			}
		default:
			running = true
		}
	}
	switch {
	case running:
		return "in_progress", ""
	case waiting:
		return "waiting", ""
	default:
		return "completed", conclusion
	}
}

// Rerun runs the run again, as somebody with write access: the id, commit and actor
// stay, the attempt counts up. With jobs given only those run again.
func (run *Run) Rerun(by *User, jobs ...*Job) error {
	run.repo.g.mu.Lock()
	defer run.repo.g.mu.Unlock()
	return run.rerun(by, jobs...)
}

func (run *Run) rerun(by *User, jobs ...*Job) error {
	status, _ := run.state()
	switch {
	case !run.repo.may(by, "write") && by.app == nil:
		return refuse(http.StatusForbidden, "Must have admin rights to Repository.")
	case status != "completed":
		return refuse(http.StatusForbidden, "The workflow run containing this job is already running")
	case run.repo.g.Now().Sub(run.created) > 30*24*time.Hour:
		return refuse(http.StatusForbidden, "Unable to re-run this workflow run because it was created over a month ago")
	}
	last := run.present()
	run.attempt++
	run.triggering, run.started = by, run.repo.g.Now()
	run.announce("requested")
	run.announce("in_progress")
	for _, j := range last {
		if len(jobs) > 0 && !slices.Contains(jobs, j) {
			// A job that is not run again shows in the new attempt as it ended.
			kept := *j
			kept.attempt = run.attempt
			run.jobs = append(run.jobs, &kept)
			continue
		}
		run.addJob(j.spec)
	}
	return nil
}

// Cancel cancels what has not ended.
func (run *Run) Cancel() {
	run.repo.g.mu.Lock()
	defer run.repo.g.mu.Unlock()
	for _, j := range run.present() {
		if j.check.status != "completed" {
			j.complete("cancelled")
		}
	}
}
