package standalone

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// The reasons that ask for a fact which costs a request of its own.
const (
	codeModeUnknown     rules.Code = "SP106"
	codeCheckWorkflow   rules.Code = "SP406"
	codeRequiredUnknown rules.Code = "SP407"
	codeBranchesUnknown rules.Code = "SP507"
	codeRangeUnknown    rules.Code = "SP511"
)

func has(d rules.Decision, code rules.Code) bool {
	return slices.ContainsFunc(d.Reasons, func(r rules.Reason) bool { return r.Code == code })
}

// open reads a pull request, open or merged, and what it is judged under.
func (j *Judge) open(ctx context.Context, number int) (*github.Pull, judgedUnder, error) {
	if err := j.read(ctx); err != nil {
		return nil, nil, err
	}
	p, err := j.pull(ctx, number)
	if err != nil {
		return nil, nil, err
	}
	if p.State != "open" && p.State != "merged" {
		return nil, nil, fmt.Errorf("pull request %d is %s: want one that is open or merged", number, word(p.State))
	}
	if !p.DefaultHead.Valid() {
		return nil, nil, errors.New("GitHub gave no head of the default branch")
	}
	v, err := j.version(ctx, j.repo, j.job.Repository.ID, rules.PolicyPath, p.DefaultHead)
	if err != nil {
		return nil, nil, err
	}
	floor, err := j.floorOf(ctx)
	if err != nil {
		return nil, nil, err
	}
	return p, judgedUnder{{Repository: v, Floor: floor}}, nil
}

// pull reads a pull request of the job's repository.
func (j *Judge) pull(ctx context.Context, number int) (*github.Pull, error) {
	p, err := j.repo.Pull(ctx, number)
	if err != nil {
		return nil, fmt.Errorf("reading pull request %d: %w", number, err)
	}
	if p.Change.Repository.ID != j.job.Repository.ID || p.Change.Number != number {
		return nil, fmt.Errorf("GitHub gave pull request %d of repository %d for %d of %d", p.Change.Number, p.Change.Repository.ID, number, j.job.Repository.ID)
	}
	return p, nil
}

// judgeChange judges a pull request at the merge door. It begins with what one query
// tells and asks for more only where the decision says that it hangs on it. A merged one
// is judged as of when it was merged.
func (j *Judge) judgeChange(ctx context.Context, p *github.Pull, policies judgedUnder) (rules.Decision, error) {
	c := &p.Change
	c.Basis = rules.Observed
	if p.State == "merged" {
		asMerged(p)
	}
	if err := j.pushers(ctx, c); err != nil {
		return rules.Decision{}, err
	}
	var err error
	if c.StandingHeads, err = j.repo.StandingHeads(ctx, p); err != nil {
		return rules.Decision{}, err
	}
	var asked struct{ jobs, modes, required bool }
	for {
		d := policies.decide(func(p rules.Policies) rules.Decision { return rules.DecideChange(p, c) })
		switch {
		case has(d, codeCheckWorkflow) && !asked.jobs:
			asked.jobs = true
			if err := j.checkJobs(ctx, p); err != nil {
				return d, err
			}
		case has(d, codeModeUnknown) && !asked.modes:
			asked.modes = true
			modes, err := j.repo.Modes(ctx, c.Head.SHA, c.Files)
			if err != nil {
				return d, err
			}
			p.SetModes(modes)
		case has(d, codeRequiredUnknown) && !asked.required:
			asked.required = true
			found, err := j.repo.Protection(ctx, c.Base.Ref, 0, true)
			if err != nil {
				return d, fmt.Errorf("reading what %s requires: %w", word(c.Base.Ref), err)
			}
			found.Guarded = rules.Unknown // which App must guard it, a job does not know
			p.SetProtection(found)
		default:
			return d, nil
		}
	}
}

// asMerged leaves out of a merged pull request the approvals that came after the merge,
// and judges it at that moment. When the check of another App turned green is not told,
// so that it may have been later.
func asMerged(p *github.Pull) {
	c := &p.Change
	for i := range c.Checks {
		if c.Checks[i].App != "github-actions" {
			c.Checks[i].Conclusion = ""
		}
	}
	c.Now = p.MergedAt
	c.Reviews = slices.DeleteFunc(c.Reviews, func(r rules.Review) bool {
		return r.State == rules.ReviewApproved && (p.MergedAt.IsZero() || r.SubmittedAt.IsZero() || r.SubmittedAt.After(p.MergedAt))
	})
}

// pushers finds in the activity of the branch who pushed. That of a fork is out of
// reach, and GitHub forgets: then nobody is known to have pushed, which asks for more.
func (j *Judge) pushers(ctx context.Context, c *rules.Change) error {
	if c.Head.Repository.ID != j.job.Repository.ID || !c.Head.SHA.Valid() {
		return nil
	}
	last, all, err := j.repo.LastPush(ctx, "refs/heads/"+c.Head.Ref, c.Head.SHA)
	if errors.Is(err, github.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading who pushed to %s: %w", word(c.Head.Ref), err)
	}
	c.LastPusher, c.Pushers = last, all
	return nil
}

// checkJobs finds of which workflow files green checks are jobs. What turned green after
// the merge was not green when it counted.
func (j *Judge) checkJobs(ctx context.Context, p *github.Pull) error {
	found, err := j.repo.CheckJobs(ctx, p.Change.Head.SHA, p.GreenJobs())
	if err != nil {
		return err
	}
	of := map[rules.CheckRunID]string{}
	for id, k := range found {
		if p.State == "merged" && (k.CompletedAt.IsZero() || k.CompletedAt.After(p.MergedAt)) {
			continue
		}
		of[id] = k.Workflow
	}
	p.SetWorkflows(of)
	return nil
}

// passage is whether a merged pull request passed the merge door, judged anew.
func (j *Judge) passage(ctx context.Context, of github.PullOf, policies judgedUnder) (github.Passage, error) {
	p, err := j.pull(ctx, of.Number)
	if err != nil {
		return github.Passage{}, err
	}
	if p.State != "merged" || p.MergedAt.IsZero() || p.Change.Head.SHA != of.Head {
		return github.Passage{Passed: rules.No}, nil
	}
	d, err := j.judgeChange(ctx, p, policies)
	if err != nil {
		return github.Passage{}, err
	}
	if d.Verdict != rules.VerdictAllow || d.Observe {
		return github.Passage{Passed: rules.No}, nil
	}
	out := github.Passage{Passed: rules.Yes}
	for _, r := range p.Change.Reviews {
		counts := r.State == rules.ReviewApproved && r.User.ID != 0 && slices.ContainsFunc(d.Needs, func(n rules.Need) bool {
			return slices.ContainsFunc(n.Approved, r.User.Login.Equal)
		})
		if counts && !slices.Contains(out.Approvers, r.User) {
			out.Approvers = append(out.Approvers, r.User)
		}
	}
	return out, nil
}
