package standalone

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// Limits of what one decision reads: a job's token has 1,000 requests in an hour for
// all jobs of a repository.
const (
	maxBranches = 20  // that may deploy, and are asked whether the commit is on them
	maxPulls    = 150 // that a deployment brings
)

// held is the job's deployment while it is judged.
type held struct {
	run         github.Run
	place       github.DeployPlace
	environment string
	policies    judgedUnder
	base        baseline
	// branch is the one that the commit is on.
	branch string
}

// gateDeploy is the deploy door.
func (j *Judge) gateDeploy(ctx context.Context) (Verdict, error) {
	if err := j.read(ctx); err != nil {
		return Verdict{}, err
	}
	h, err := j.self(ctx)
	if err != nil {
		return Verdict{}, err
	}
	v, err := j.version(ctx, j.repo, j.job.Repository.ID, rules.PolicyPath, h.place.DefaultHead)
	if err != nil {
		return Verdict{}, err
	}
	floor, err := j.floorOf(ctx)
	if err != nil {
		return Verdict{}, err
	}
	h.policies = judgedUnder{{Repository: v, Floor: floor}}
	d, err := j.judgeDeploy(ctx, h)
	if err != nil {
		return Verdict{}, err
	}
	out := Verdict{Decision: d, Allowed: d.Verdict == rules.VerdictAllow || d.Observe, Environment: h.environment, Base: h.base.sha}
	out.Line, out.URL = j.sayDeploy(h, d)
	return out, nil
}

// self finds which job of which run this is, as GitHub shows it.
func (j *Judge) self(ctx context.Context) (*held, error) {
	run, err := j.repo.Run(ctx, j.job.Run)
	if err != nil {
		return nil, fmt.Errorf("reading run %d, which needs the permission actions: read: %w", j.job.Run, err)
	}
	for _, x := range []struct{ what, job, github string }{
		{"repository", fmt.Sprint(j.job.Repository.ID), fmt.Sprint(run.Repository)},
		{"attempt", strconv.Itoa(j.job.Attempt), strconv.Itoa(run.Attempt)},
		{"event", j.job.Event, run.Event},
		{"commit", string(j.job.SHA), string(run.HeadSHA)},
		{"workflow file", j.job.Workflow, run.Workflow},
	} {
		if x.job != x.github {
			return nil, fmt.Errorf("run %d has the %s %s at GitHub, and the job says %s: the gate judges nothing but the run it is in", run.ID, x.what, word(x.github), word(x.job))
		}
	}
	jobs, err := j.repo.Jobs(ctx, run.ID)
	if err != nil {
		return nil, fmt.Errorf("reading the jobs of run %d: %w", run.ID, err)
	}
	place, err := j.repo.DeployPlace(ctx, run.HeadBranch, run.HeadSHA, run.ID)
	if err != nil {
		return nil, fmt.Errorf("reading what stands at %s: %w", run.HeadSHA.Short(), err)
	}
	if !place.EnvironmentsKnown || !place.DefaultHead.Valid() {
		return nil, fmt.Errorf("GitHub does not tell which environments the jobs of run %d deploy to: give the job the permissions checks: read and deployments: read", run.ID)
	}
	var mine []string
	for _, x := range jobs.List {
		env := place.Environments[x.ID]
		switch {
		case x.Attempt != 0 && x.Attempt != run.Attempt, x.Status != "in_progress", env == "",
			j.job.CheckRun != 0 && x.ID != j.job.CheckRun,
			j.job.CheckRun == 0 && j.job.Runner != "" && x.Runner != "" && x.Runner != j.job.Runner:
			continue
		case j.job.Environment != "" && !strings.EqualFold(env, j.job.Environment):
			continue
		}
		mine = append(mine, env)
	}
	if len(mine) != 1 {
		return nil, fmt.Errorf("%d jobs of run %d that run now could be this one: a gated job names an environment, and GitHub shows it as a deployment", len(mine), run.ID)
	}
	return &held{run: run, place: place, environment: mine[0]}, nil
}

// refKind says whether the run's ref is a branch or a tag. A tag of a branch's name
// looks like the branch: then it is neither.
func (h *held) refKind(repository rules.RepositoryID) rules.RefType {
	branch, tag := h.place.Branch != "", h.place.Tag != ""
	switch {
	case h.run.HeadRepository != repository || branch == tag:
		return ""
	case branch:
		return rules.RefBranch
	default:
		return rules.RefTag
	}
}

// judgeDeploy begins with what is known anyway and asks for more only where the decision
// says that it hangs on it.
func (j *Judge) judgeDeploy(ctx context.Context, h *held) (rules.Decision, error) {
	run := &h.run
	d := &rules.Deployment{
		Repository: j.job.Repository, Environment: h.environment, SHA: run.HeadSHA, Ref: run.HeadBranch, RefType: h.refKind(j.job.Repository.ID), Event: run.Event,
		Run: run.ID, Attempt: run.Attempt, Jobs: 1, Dispatcher: run.Actor, DefaultBranch: h.place.DefaultBranch, Now: j.job.Now(), Basis: rules.Observed,
	}
	if run.Attempt > 1 {
		d.Rerunner = run.Triggering
	}
	var asked struct{ branches, ranged bool }
	for {
		// The inputs of a dispatched run stay unknown, which is denied: at the merge nobody
		// approves them.
		out := h.policies.decide(func(p rules.Policies) rules.Decision { return rules.DecideDeployment(p, d) })
		if !out.Observe && out.Verdict != rules.VerdictDeny {
			if err := standaloneOnly(h.policies, out); err != nil {
				return out, err
			}
		}
		switch {
		case out.Verdict == rules.VerdictDeny:
			return out, nil // it cannot become right
		case has(out, codeBranchesUnknown) && !asked.branches:
			asked.branches = true
			if err := j.branches(ctx, h, d); err != nil {
				return out, err
			}
		case has(out, codeRangeUnknown) && !asked.ranged:
			asked.ranged = true
			if err := j.ranged(ctx, h, d); err != nil {
				return out, err
			}
		default:
			return out, nil
		}
	}
}

// standaloneOnly is the error of a policy that asks for what a job alone has not: teams,
// or approvals of the deployment itself.
func standaloneOnly(policies judgedUnder, d rules.Decision) error {
	for _, p := range policies {
		for _, v := range []rules.PolicyVersion{p.Repository, p.Floor} {
			if v.Policy == nil {
				continue
			}
			for _, name := range d.Environments {
				env := v.Policy.Environments[name]
				if env != nil && env.Gate != rules.GateAuto && !slices.Equal(env.Steps, []rules.Step{rules.StepMerge}) {
					return &NeedsApp{Why: fmt.Sprintf("the environment %s of the policy asks for an approval of each deployment, which a job alone cannot take", word(name))}
				}
			}
		}
	}
	return usersOnly(policies)
}

// branches finds whether the commit is on a branch that may deploy.
func (j *Judge) branches(ctx context.Context, h *held, d *rules.Deployment) error {
	heads := map[string]rules.SHA{}
	switch d.RefType {
	case rules.RefBranch:
		heads[d.Ref] = h.place.Branch
	case rules.RefTag:
		heads[h.place.DefaultBranch] = h.place.DefaultHead
		var patterns []string
		for _, p := range h.policies {
			patterns = append(patterns, p.DeployBranches(h.environment)...)
		}
		if len(patterns) == 0 {
			break
		}
		all, complete, err := j.repo.Branches(ctx)
		if err != nil {
			return fmt.Errorf("listing the branches: %w", err)
		}
		for name, head := range all {
			if rules.MatchesRef(patterns, name) {
				heads[name] = head
			}
		}
		if !complete || len(heads) > maxBranches {
			return nil // not all can be asked: it stays unknown
		}
	default:
		return nil
	}
	d.OnBranches = []string{}
	for name, head := range heads {
		if !head.Valid() {
			continue
		}
		on, err := j.repo.Contains(ctx, head, d.SHA)
		if err != nil {
			return fmt.Errorf("asking whether %s is on %s: %w", d.SHA.Short(), word(name), err)
		}
		if on {
			d.OnBranches = append(d.OnBranches, name)
		}
	}
	slices.Sort(d.OnBranches)
	return nil
}

// ranged reads what the deployment brings, and adds the policy at its base to what it is
// judged under: what loosens the policy counts from the next deployment on.
func (j *Judge) ranged(ctx context.Context, h *held, d *rules.Deployment) error {
	switch {
	case d.RefType == rules.RefBranch:
		h.branch = d.Ref
	case slices.Contains(d.OnBranches, h.place.DefaultBranch):
		h.branch = h.place.DefaultBranch
	case len(d.OnBranches) > 0:
		h.branch = d.OnBranches[0]
	}
	var err error
	if h.base, err = j.baseline(ctx, h); err != nil {
		return err
	}
	switch {
	case h.base.sha == "":
		d.Range = rules.Range{Kind: rules.RangeFirst}
		return nil
	case h.base.kind != "":
		d.Range = rules.Range{Kind: h.base.kind, Base: h.base.sha}
		return nil
	}
	if now := h.policies[0].Repository; h.base.policy.State != rules.PolicyNone && h.base.policy.Source.Blob != now.Source.Blob {
		h.policies = append(h.policies, rules.Policies{Repository: h.base.policy, Floor: rules.PolicyVersion{State: rules.PolicyNone}})
	}
	found, err := j.repo.Range(ctx, h.base.sha, d.SHA)
	if err != nil {
		return fmt.Errorf("reading what %s brings since %s: %w", d.SHA.Short(), h.base.sha.Short(), err)
	}
	list, whole, err := j.repo.Arrivals(ctx, h.branch, h.base.sha, found.Commits)
	if err != nil {
		return err
	}
	if list == nil {
		list = []github.Arrival{}
	}
	pulls := 0
	commits, err := github.Brought(list, h.branch, j.job.Repository.ID, func(p github.PullOf) (github.Passage, error) {
		if pulls++; pulls > maxPulls {
			whole = false
			return github.Passage{}, nil
		}
		return j.passage(ctx, p, h.policies)
	})
	if err != nil {
		return err
	}
	d.Range = rules.Range{Kind: found.Kind, Base: h.base.sha, Commits: commits, Complete: found.Complete, Files: found.Files, FilesComplete: found.FilesComplete}
	if !whole {
		d.Range.Complete = rules.No
	}
	return nil
}
