package github

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// actionsApp is the slug of the App that workflow jobs are check runs of.
const actionsApp rules.Slug = "github-actions"

// GreenJobs are the green checks of GitHub Actions, of which it is not known yet
// whether they are jobs.
func (p *Pull) GreenJobs() []CheckRun {
	var out []CheckRun
	for _, k := range p.CheckRuns {
		if k.App == actionsApp && k.Conclusion == "success" && k.ID != 0 && k.RunID != 0 {
			out = append(out, k)
		}
	}
	return out
}

// SetWorkflows says of which workflow files' runs checks are jobs.
func (p *Pull) SetWorkflows(of map[rules.CheckRunID]string) {
	c := &p.Change
	for i := range p.CheckRuns {
		if i < len(c.Checks) && c.Checks[i].Name == p.CheckRuns[i].Name {
			c.Checks[i].Workflow = of[p.CheckRuns[i].ID]
		}
	}
}

// SetModes says what modes the changed files have at the head.
func (p *Pull) SetModes(of map[string]string) {
	for i := range p.Change.Files {
		p.Change.Files[i].Mode = of[p.Change.Files[i].Path]
	}
}

// SetProtection says what the base branch requires. Of a required check a branch's
// protection tells the number of the App alone: one that has reported is known by name.
func (p *Pull) SetProtection(found Protection) {
	c := &p.Change
	c.BaseGuarded, c.BaseReviewed, c.RequiredChecks = found.Guarded, found.Reviewed, nil
	for _, k := range found.Required {
		for _, r := range p.CheckRuns {
			if k.App != "" && k.App == AppNumber(r.AppID) {
				k.App = r.App
			}
		}
		c.RequiredChecks = append(c.RequiredChecks, k)
	}
	if found.Required != nil && c.RequiredChecks == nil {
		c.RequiredChecks = []rules.RequiredCheck{} // known to be none
	}
}

// CheckJob is the job that a check run is.
type CheckJob struct {
	// Workflow is the path of its workflow file, "" if the check run is no job.
	Workflow    string
	CompletedAt time.Time
}

// CheckJobs finds of which workflow file's run at a head check runs are jobs. A check
// run that a job forged is in no run's list of jobs.
func (r *Repository) CheckJobs(ctx context.Context, head rules.SHA, checks []CheckRun) (map[rules.CheckRunID]CheckJob, error) {
	byRun := map[rules.RunID][]CheckRun{}
	for _, k := range checks {
		byRun[k.RunID] = append(byRun[k.RunID], k)
	}
	out := map[rules.CheckRunID]CheckJob{}
	for run, checks := range byRun {
		jobs, err := r.Jobs(ctx, run)
		if err != nil {
			return nil, fmt.Errorf("reading the jobs of run %d: %w", run, err)
		}
		for _, k := range checks {
			out[k.ID] = CheckJob{}
			i := slices.IndexFunc(jobs.List, func(j Job) bool { return j.ID == k.ID && j.HeadSHA == head })
			if i >= 0 {
				out[k.ID] = CheckJob{Workflow: k.WorkflowPath, CompletedAt: jobs.List[i].CompletedAt}
			}
		}
	}
	return out, nil
}

// Modes reads the modes of files in a commit's tree. Where the tree is truncated
// all of them are unknown, which is never taken for an ordinary file.
func (r *Repository) Modes(ctx context.Context, commit rules.SHA, files []rules.File) (map[string]string, error) {
	tree, err := r.Tree(ctx, commit)
	if err != nil {
		return nil, fmt.Errorf("reading the head's files: %w", err)
	}
	out := map[string]string{}
	for _, f := range files {
		if e, ok := tree.Entries[f.Path]; ok && !tree.Truncated {
			out[f.Path] = e.Mode
		}
	}
	return out, nil
}

// StandingHeads finds earlier heads at which an approval still stands: all that came
// since are merges of the base, signed by GitHub, that leave the blobs of the changed
// files as they were: of those that are changed now, and of those that were changed when
// it was given. An App can make a merge of any content that GitHub signs, one that keeps
// half of what was approved and takes the other half from the base.
func (r *Repository) StandingHeads(ctx context.Context, p *Pull) ([]rules.SHA, error) {
	c := &p.Change
	given := map[rules.SHA]bool{}
	for _, v := range c.Reviews {
		if v.State == rules.ReviewApproved && v.User.Type == rules.ActorUser && v.SHA.Valid() && v.SHA != c.Head.SHA {
			given[v.SHA] = true
		}
	}
	if len(given) == 0 || c.CommitsComplete != rules.Yes || c.FilesComplete != rules.Yes {
		return nil, nil
	}
	own := map[rules.SHA]bool{}
	for _, m := range c.Commits {
		own[m.SHA] = true
	}
	var out []rules.SHA
	var head *Tree
	for sha := c.Head.SHA; ; {
		parents := p.Links[sha]
		if len(parents) != 2 || !p.GitHubSigned[sha] || own[parents[1]] {
			return out, nil
		}
		base := parents[1]
		sha = parents[0]
		if !given[sha] {
			continue
		}
		if head == nil {
			t, err := r.Tree(ctx, c.Head.SHA)
			if err != nil {
				return nil, fmt.Errorf("reading the head's files: %w", err)
			}
			head = &t
		}
		before, err := r.Tree(ctx, sha)
		if err != nil {
			return nil, fmt.Errorf("reading the files at %s: %w", sha, err)
		}
		if !sameBlobs(head, &before, c.Files) {
			continue
		}
		changed, err := r.changedAt(ctx, base, sha, &before)
		if err != nil {
			return nil, err
		}
		if changed != nil && sameBlobs(head, &before, changed) {
			out = append(out, sha)
		}
	}
}

// changedAt are the files that a commit with a tree changes against where it left a
// branch, or nil where they are too many to be told.
func (r *Repository) changedAt(ctx context.Context, branch, commit rules.SHA, tree *Tree) ([]rules.File, error) {
	c, _, err := r.compare(ctx, branch, commit, 1, 1)
	if err != nil {
		return nil, err
	}
	if !c.MergeBase.SHA.Valid() {
		return nil, nil
	}
	from, err := r.Tree(ctx, c.MergeBase.SHA)
	if err != nil {
		return nil, fmt.Errorf("reading the files at %s: %w", c.MergeBase.SHA, err)
	}
	if from.Truncated || tree.Truncated {
		return nil, nil
	}
	return differences(from.Entries, tree.Entries), nil
}

// sameBlobs reports whether two trees have the same at all changed paths. What was
// truncated differs.
func sameBlobs(a, b *Tree, files []rules.File) bool {
	if a.Truncated || b.Truncated {
		return false
	}
	for _, f := range files {
		for _, path := range []string{f.Path, f.PreviousPath} {
			if path != "" && a.Entries[path] != b.Entries[path] {
				return false
			}
		}
	}
	return true
}
