package githubtest

import "maps"

// Token is the job's GITHUB_TOKEN with permissions such as "contents": "read": it
// reaches the job's repository, and no other but what is public.
func (j *Job) Token(permissions map[string]string) string {
	r := j.run.repo
	g := r.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.actionsInstall == nil {
		// GitHub installs its own App where a workflow runs, and tells nobody.
		r.actionsInstall = &Installation{
			app: g.actions, ID: g.newSmallID(), account: r.owner, selected: true, repos: map[int64]bool{r.ID: true}, permissions: maps.Clone(g.actions.permissions), created: g.Now(),
		}
		g.installs[r.actionsInstall.ID] = r.actionsInstall
	}
	granted := maps.Clone(permissions)
	if granted == nil {
		granted = map[string]string{}
	}
	granted["metadata"] = "read"
	return g.newToken(r.actionsInstall, map[int64]bool{r.ID: true}, granted).value
}

// step is one step of a job as the jobs API shows it.
type step struct{ name, status, conclusion string }

// Step adds a step to what is shown of the job. With an empty conclusion it still runs.
func (j *Job) Step(name, conclusion string) {
	j.run.repo.g.mu.Lock()
	defer j.run.repo.g.mu.Unlock()
	s := step{name: name, status: "in_progress", conclusion: conclusion}
	if conclusion != "" {
		s.status = "completed"
	}
	j.steps = append(j.steps, s)
}

// stepsView are the job's steps.
func (j *Job) stepsView() []any {
	out := []any{}
	for i, s := range j.steps {
		v := obj{"name": s.name, "status": s.status, "conclusion": textOrNil(s.conclusion), "number": i + 1, "started_at": stamp(j.check.started), "completed_at": nil}
		if s.conclusion != "" {
			v["completed_at"] = stamp(j.check.started)
		}
		out = append(out, v)
	}
	return out
}

// Event is what started the run.
func (run *Run) Event() string { return run.event }
