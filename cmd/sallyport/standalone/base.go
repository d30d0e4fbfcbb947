package standalone

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// baseline is from where what a deployment brings is counted.
type baseline struct {
	sha rules.SHA // "" if there is none
	// kind is behind or diverged where the commit that ran last, by whichever way, is not
	// one that the deployed one descends from; empty otherwise.
	kind rules.RangeKind
	// policy is the one at sha; none if there was none.
	policy rules.PolicyVersion
}

const (
	maxLandings = 300 // changes of the branch
	// gateStep is in the name of the gate's step: so GitHub names it by itself.
	gateStep = "sallyport"
)

// baseline finds it: the newest run that the package's documentation describes, or the
// commit that the workflow file names.
func (j *Judge) baseline(ctx context.Context, h *held) (baseline, error) {
	last, err := j.lastRun(ctx, h)
	if err != nil || last.kind != "" || j.job.Since == "" {
		return last, err
	}
	named, err := j.since(ctx, h)
	if err != nil || last.sha == "" {
		return named, err
	}
	later, err := j.repo.Contains(ctx, named.sha, last.sha)
	if err != nil {
		return baseline{}, fmt.Errorf("comparing %s with %s: %w", named.sha.Short(), last.sha.Short(), err)
	}
	if later {
		return named, nil
	}
	return last, nil
}

// lastRun is the baseline that the runs show.
func (j *Judge) lastRun(ctx context.Context, h *held) (baseline, error) {
	on := "" // a tag of its own each time
	if h.refKind(j.job.Repository.ID) == rules.RefBranch {
		on = h.run.HeadBranch
	}
	runs, err := j.repo.SuccessfulRuns(ctx, h.run.Workflow, on)
	if err != nil {
		return baseline{}, fmt.Errorf("listing the earlier runs of %s: %w", word(h.run.Workflow), err)
	}
	runs = slices.DeleteFunc(runs, func(r github.Run) bool { return r.ID == h.run.ID || r.HeadRepository != j.job.Repository.ID })
	// A run that ran again is as new as its latest attempt.
	slices.SortStableFunc(runs, func(a, b github.Run) int { return b.StartedAt.Compare(a.StartedAt) })
	stood, err := j.stood(ctx, h.branch, runs)
	if err != nil {
		return baseline{}, err
	}
	newest := true
	for i := range runs {
		r := &runs[i]
		if !stood[r.HeadSHA] {
			continue
		}
		ended, gated, err := j.deployed(ctx, r, h.environment)
		if err != nil {
			return baseline{}, err
		}
		if !ended {
			continue
		}
		if newest {
			newest = false
			if kind, err := j.kind(ctx, h.run.HeadSHA, r.HeadSHA); err != nil || kind != "" {
				return baseline{sha: r.HeadSHA, kind: kind}, err
			}
		}
		if !gated {
			continue
		}
		policy, err := j.version(ctx, j.repo, j.job.Repository.ID, rules.PolicyPath, r.HeadSHA)
		if err != nil {
			return baseline{}, err
		}
		if policy.State != rules.PolicyInForce || policy.Policy.Mode == rules.ModeObserve {
			continue // the gate held nothing then
		}
		return baseline{sha: r.HeadSHA, policy: policy}, nil
	}
	return baseline{}, nil
}

// stood says at which of some runs' commits the branch once stood, by GitHub's record.
func (j *Judge) stood(ctx context.Context, branch string, runs []github.Run) (map[rules.SHA]bool, error) {
	out := map[rules.SHA]bool{}
	if branch == "" || len(runs) == 0 {
		return out, nil
	}
	left := map[rules.SHA]bool{}
	for _, r := range runs {
		left[r.HeadSHA] = true
	}
	n := 0
	err := j.repo.Landings(ctx, branch, func(l github.Landing) bool {
		if left[l.After] {
			out[l.After] = true
			delete(left, l.After)
		}
		n++
		return len(left) == 0 || n >= maxLandings
	})
	if errors.Is(err, github.ErrNotFound) || errors.Is(err, github.ErrForbidden) {
		return map[rules.SHA]bool{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading how commits came to %s: %w", word(branch), err)
	}
	return out, nil
}

// deployed says whether a run's jobs of an environment all succeeded, and whether each
// of them passed a gate.
func (j *Judge) deployed(ctx context.Context, r *github.Run, environment string) (ended, gated bool, err error) {
	jobs, err := j.repo.Jobs(ctx, r.ID)
	if err != nil {
		return false, false, fmt.Errorf("reading the jobs of run %d: %w", r.ID, err)
	}
	place, err := j.repo.DeployPlace(ctx, "", r.HeadSHA, r.ID)
	if err != nil {
		return false, false, fmt.Errorf("reading what run %d deployed: %w", r.ID, err)
	}
	if !place.EnvironmentsKnown {
		return false, false, fmt.Errorf("GitHub does not tell which environments run %d deployed to", r.ID)
	}
	gated = true
	for _, x := range jobs.List {
		if !strings.EqualFold(place.Environments[x.ID], environment) {
			continue
		}
		if x.Conclusion != "success" {
			return false, false, nil
		}
		ended = true
		gated = gated && slices.ContainsFunc(x.Steps, func(s github.JobStep) bool {
			return strings.Contains(strings.ToLower(s.Name), gateStep) && s.Conclusion == "success"
		})
	}
	return ended, ended && gated, nil
}

// kind is empty if a commit is, or descends from, what ran last; else which way they
// went.
func (j *Judge) kind(ctx context.Context, sha, last rules.SHA) (rules.RangeKind, error) {
	ahead, err := j.repo.Contains(ctx, sha, last)
	if err != nil || ahead {
		return "", err
	}
	behind, err := j.repo.Contains(ctx, last, sha)
	if err != nil {
		return "", err
	}
	if behind {
		return rules.RangeBehind, nil
	}
	return rules.RangeDiverged, nil
}

// since is the baseline that the workflow file names.
func (j *Judge) since(ctx context.Context, h *held) (baseline, error) {
	sha := j.job.Since
	file, err := j.repo.File(ctx, h.run.Workflow, string(h.run.HeadSHA))
	if err != nil {
		return baseline{}, fmt.Errorf("reading %s at %s: %w", word(h.run.Workflow), h.run.HeadSHA.Short(), err)
	}
	if file.State != github.FileFound || !strings.Contains(string(file.Text), string(sha)) {
		return baseline{}, fmt.Errorf("the input since is %s, which does not stand in %s at %s: write the commit there in full, so that the change that names it is reviewed", sha.Short(), word(h.run.Workflow), h.run.HeadSHA.Short())
	}
	policy, err := j.version(ctx, j.repo, j.job.Repository.ID, rules.PolicyPath, sha)
	return baseline{sha: sha, policy: policy}, err
}
