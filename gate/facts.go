package gate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// The reasons that ask for a fact which costs a request of its own.
const (
	codeModeUnknown     rules.Code = "SP106" // read the head's tree
	codeBaseUnguarded   rules.Code = "SP210" // read the base's protection
	codeCheckWorkflow   rules.Code = "SP406" // read the jobs
	codeRequiredUnknown rules.Code = "SP407" // read the base's protection
)

// protectionLife is how long what a branch requires is taken as it was read. Only
// where a decision hangs on it is it read at all.
const protectionLife = 5 * time.Minute

// actionsApp is the slug of the App that workflow jobs are check runs of.
const actionsApp rules.Slug = "github-actions"

// readings are the facts about one head that cost requests of their own, kept with
// the pull request so that no look asks for them again. All but the protection
// cannot change as long as the head does not.
type readings struct {
	Head rules.SHA `json:"head,omitzero"`
	// LastPusher and Pushers are those of the branch's activity; Asked says that it
	// was read.
	LastPusher rules.Actor   `json:"last_pusher,omitzero"`
	Pushers    []rules.Actor `json:"pushers,omitzero"`
	Asked      bool          `json:"asked,omitzero"`
	// Workflows are the workflow files of jobs, by the id of job and check run. One
	// that is no job is there with "".
	Workflows map[rules.CheckRunID]string `json:"workflows,omitzero"`
	// Modes are the modes of changed files; ModesRead says that they were read.
	Modes     map[string]string `json:"modes,omitzero"`
	ModesRead bool              `json:"modes_read,omitzero"`

	Base       string             `json:"base,omitzero"`
	Protection *github.Protection `json:"protection,omitzero"`
	ReadAt     time.Time          `json:"read_at,omitzero"`
}

// judge judges a pull request. It begins with what one query tells and asks for
// more only where the decision says that it hangs on it.
func (g *Gate) judge(ctx context.Context, at *place, policies rules.Policies, p *github.Pull, r *readings) (rules.Decision, error) {
	c := &p.Change
	c.Basis = rules.Observed
	if r.Head != c.Head.SHA {
		base, protection, readAt := r.Base, r.Protection, r.ReadAt
		*r = readings{Head: c.Head.SHA, Base: base, Protection: protection, ReadAt: readAt}
	}
	if r.Base != c.Base.Ref || c.Now.Sub(r.ReadAt) > protectionLife || c.Now.Before(r.ReadAt) {
		r.Base, r.Protection, r.ReadAt = c.Base.Ref, nil, time.Time{}
	}
	if err := g.pushers(ctx, at, c, r); err != nil {
		return rules.Decision{}, err
	}
	if err := g.standing(ctx, at, p); err != nil {
		return rules.Decision{}, err
	}
	r.apply(p)

	// Each round answers one question for good, so that this ends.
	const rounds = 8
	var d rules.Decision
	members := false
	for range rounds {
		d = rules.DecideChange(policies, c)
		switch {
		case !members && asksMembers(policies, c):
			members = true
			if err := g.members(ctx, at, policies, c); err != nil {
				return d, err
			}
		case has(d, codeCheckWorkflow) && r.unknownJobs(p) != nil:
			if err := g.jobs(ctx, at, p, r); err != nil {
				return d, err
			}
		case has(d, codeModeUnknown) && !r.ModesRead:
			if err := g.modes(ctx, at, c, r); err != nil {
				return d, err
			}
		case has(d, codeRequiredUnknown) && (r.Protection == nil || r.Protection.Required == nil),
			d.AutoApproval && has(d, codeBaseUnguarded) && r.Protection == nil:
			protection, err := at.Protection(ctx, c.Base.Ref, g.app.ID, has(d, codeRequiredUnknown))
			if err != nil {
				return d, fmt.Errorf("reading what %q requires: %w", c.Base.Ref, err)
			}
			r.Protection, r.ReadAt = &protection, c.Now
		case d.Verdict == rules.VerdictAllow && !r.Asked && hasActivity(at, c):
			// Deliveries tell of pushes since the pull request is known, and whoever has
			// the webhook's secret can make them up: nothing opens on their word alone.
			if err := askPushers(ctx, at, c, r); err != nil {
				return d, err
			}
			if err := g.pushers(ctx, at, c, r); err != nil {
				return d, err
			}
		default:
			return d, nil
		}
		r.apply(p)
	}
	return d, nil
}

func has(d rules.Decision, code rules.Code) bool {
	return slices.ContainsFunc(d.Reasons, func(r rules.Reason) bool { return r.Code == code })
}

// apply puts the readings into the facts.
func (r *readings) apply(p *github.Pull) {
	c := &p.Change
	for i := range p.CheckRuns {
		if i < len(c.Checks) && c.Checks[i].Name == p.CheckRuns[i].Name {
			c.Checks[i].Workflow = r.Workflows[p.CheckRuns[i].ID]
		}
	}
	for i := range c.Files {
		c.Files[i].Mode = r.Modes[c.Files[i].Path]
	}
	if r.Protection != nil {
		c.BaseGuarded, c.RequiredChecks = r.Protection.Guarded, nil
		for _, k := range r.Protection.Required {
			c.RequiredChecks = append(c.RequiredChecks, named(k, p.CheckRuns))
		}
		if r.Protection.Required != nil && c.RequiredChecks == nil {
			c.RequiredChecks = []rules.RequiredCheck{} // known to be none
		}
	}
}

// named is a required check with the name of its App, of which a branch's protection
// tells the number alone: one that has reported is known by name.
func named(k rules.RequiredCheck, runs []github.CheckRun) rules.RequiredCheck {
	for _, r := range runs {
		if k.App != "" && k.App == github.AppNumber(r.AppID) {
			k.App = r.App
		}
	}
	return k
}

// pushers finds who pushed: in the events that came, and in the activity of the
// branch if none tells or it was asked already.
func (g *Gate) pushers(ctx context.Context, at *place, c *rules.Change, r *readings) error {
	last := map[rules.AccountID]rules.Actor{}
	c.Pushers = nil
	add := func(p rules.Push) {
		if p.After == c.Head.SHA {
			last[p.Sender.ID] = p.Sender
		}
		c.Pushers = append(c.Pushers, p.Sender)
	}
	for _, key := range []rules.WorkKey{
		{Kind: rules.WorkPullRequest, Repository: at.id, Number: int64(c.Number)},
		{Kind: rules.WorkHead, Repository: at.id, SHA: c.Head.SHA},
	} {
		if key.Valid() != nil {
			continue // the head is not known: nothing is allowed anyway
		}
		facts, err := g.cfg.Store.FactsOf(ctx, key, rules.FactPush)
		if err != nil {
			return err
		}
		for _, f := range facts {
			var p rules.Push
			if err := json.Unmarshal(f.Payload, &p); err != nil {
				return fmt.Errorf("reading a stored push: %w", err)
			}
			if p.Ref != "" && p.Ref != "refs/heads/"+c.Head.Ref {
				continue // the commit was pushed to another branch
			}
			add(p)
		}
	}
	if len(last) == 0 && !r.Asked && hasActivity(at, c) {
		if err := askPushers(ctx, at, c, r); err != nil {
			return err
		}
	}
	c.Pushers = append(c.Pushers, r.Pushers...)
	if _, told := last[r.LastPusher.ID]; !told && r.LastPusher.Known() {
		last[r.LastPusher.ID] = r.LastPusher
	}
	switch len(last) {
	case 0:
		c.LastPusher = rules.Actor{}
	case 1:
		for _, who := range last {
			c.LastPusher = who
		}
	default:
		// Two are said to have pushed the same commit: unknown, and all excluded.
		c.LastPusher = rules.Actor{}
	}
	slices.SortFunc(c.Pushers, func(a, b rules.Actor) int {
		if d := int(min(max(a.ID-b.ID, -1), 1)); d != 0 {
			return d
		}
		return strings.Compare(string(a.Login), string(b.Login))
	})
	c.Pushers = slices.Compact(c.Pushers)
	return nil
}

// hasActivity reports whether the head's branch has activity that GitHub tells us:
// that of a fork is out of reach.
func hasActivity(at *place, c *rules.Change) bool {
	return c.Head.Repository.ID == at.id && at.id != 0 && c.Head.SHA != ""
}

// askPushers reads who pushed in the activity of the branch.
func askPushers(ctx context.Context, at *place, c *rules.Change, r *readings) error {
	who, all, err := at.LastPush(ctx, "refs/heads/"+c.Head.Ref, c.Head.SHA)
	if err != nil {
		return fmt.Errorf("reading who pushed to %q: %w", c.Head.Ref, err)
	}
	r.Asked, r.LastPusher, r.Pushers = true, who, all
	return nil
}

// standing finds earlier heads at which an approval still stands: all that came
// since are merges of the base, signed by GitHub, that leave the blobs of the
// changed files as they were.
func (g *Gate) standing(ctx context.Context, at *place, p *github.Pull) error {
	c := &p.Change
	given := map[rules.SHA]bool{}
	for _, r := range c.Reviews {
		if r.State == rules.ReviewApproved && r.User.Type == rules.ActorUser && r.SHA.Valid() && r.SHA != c.Head.SHA {
			given[r.SHA] = true
		}
	}
	if len(given) == 0 || c.CommitsComplete != rules.Yes || c.FilesComplete != rules.Yes {
		return nil
	}
	own := map[rules.SHA]bool{}
	for _, m := range c.Commits {
		own[m.SHA] = true
	}
	var head *github.Tree
	for sha := c.Head.SHA; ; {
		parents := p.Links[sha]
		if len(parents) != 2 || !p.GitHubSigned[sha] || own[parents[1]] {
			return nil
		}
		sha = parents[0]
		if !given[sha] {
			continue
		}
		if head == nil {
			t, err := at.Tree(ctx, c.Head.SHA)
			if err != nil {
				return fmt.Errorf("reading the head's files: %w", err)
			}
			head = &t
		}
		before, err := at.Tree(ctx, sha)
		if err != nil {
			return fmt.Errorf("reading the files at %s: %w", sha, err)
		}
		if sameBlobs(head, &before, c.Files) {
			c.StandingHeads = append(c.StandingHeads, sha)
		}
	}
}

// sameBlobs reports whether two trees have the same at all changed paths. What was
// truncated differs.
func sameBlobs(a, b *github.Tree, files []rules.File) bool {
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

// asksMembers reports whether somebody gave an opinion that a team's members may
// give.
func asksMembers(policies rules.Policies, c *rules.Change) bool {
	return len(people(c)) > 0 && len(policies.Repository.Directory.Teams)+len(policies.Floor.Directory.Teams) > 0
}

// people are those who gave an opinion.
func people(c *rules.Change) []rules.Actor {
	var out []rules.Actor
	for _, r := range c.Reviews {
		if r.User.Type == rules.ActorUser && r.User.ID != 0 && (r.State == rules.ReviewApproved || r.State == rules.ReviewChangesRequested) && !slices.Contains(out, r.User) {
			out = append(out, r.User)
		}
	}
	return out
}

// members asks afresh who of those who gave an opinion is in the policies' teams.
func (g *Gate) members(ctx context.Context, at *place, policies rules.Policies, c *rules.Change) error {
	return g.membersOf(ctx, at, policies, people(c))
}

// membersOf asks afresh who of some people is in the policies' teams.
func (g *Gate) membersOf(ctx context.Context, at *place, policies rules.Policies, who []rules.Actor) error {
	teams := map[string]rules.TeamID{}
	for _, v := range []rules.PolicyVersion{policies.Repository, policies.Floor} {
		for key, t := range v.Directory.Teams {
			teams[key] = t.ID
		}
	}
	if len(teams) == 0 || len(who) == 0 {
		return nil
	}
	asked, err := at.Members(ctx, at.owner(), teams, who)
	if err != nil {
		return fmt.Errorf("asking who is in the teams of %s: %w", at.owner(), err)
	}
	for _, v := range []rules.PolicyVersion{policies.Repository, policies.Floor} {
		for key, t := range v.Directory.Teams {
			if a, ok := asked[key]; ok && a.ID == t.ID {
				v.Directory.Teams[key] = a
			}
		}
	}
	return nil
}

// unknownJobs are the runs of green checks of GitHub Actions that nobody asked
// about yet.
func (r *readings) unknownJobs(p *github.Pull) map[rules.RunID][]github.CheckRun {
	var out map[rules.RunID][]github.CheckRun
	for _, k := range p.CheckRuns {
		if k.App != actionsApp || k.Conclusion != "success" {
			continue
		}
		if _, known := r.Workflows[k.ID]; known || k.ID == 0 || k.RunID == 0 {
			continue
		}
		if out == nil {
			out = map[rules.RunID][]github.CheckRun{}
		}
		out[k.RunID] = append(out[k.RunID], k)
	}
	return out
}

// jobs finds of which workflow file's run at this head green checks are jobs. A
// check run that a job forged is in no run's list of jobs.
func (g *Gate) jobs(ctx context.Context, at *place, p *github.Pull, r *readings) error {
	if r.Workflows == nil {
		r.Workflows = map[rules.CheckRunID]string{}
	}
	for run, checks := range r.unknownJobs(p) {
		jobs, err := at.Jobs(ctx, run)
		if err != nil {
			return fmt.Errorf("reading the jobs of run %d: %w", run, err)
		}
		for _, k := range checks {
			workflow := ""
			if slices.ContainsFunc(jobs.List, func(j github.Job) bool { return j.ID == k.ID && j.HeadSHA == p.Change.Head.SHA }) {
				workflow = k.WorkflowPath
			}
			r.Workflows[k.ID] = workflow
		}
	}
	return nil
}

// modes reads the modes of the changed files in the head's tree. Where the tree is
// truncated a file that is not in it keeps an unknown mode, which is never taken
// for an ordinary file.
func (g *Gate) modes(ctx context.Context, at *place, c *rules.Change, r *readings) error {
	tree, err := at.Tree(ctx, c.Head.SHA)
	if err != nil {
		return fmt.Errorf("reading the head's files: %w", err)
	}
	r.Modes, r.ModesRead = map[string]string{}, true
	for _, f := range c.Files {
		if e, ok := tree.Entries[f.Path]; ok && !tree.Truncated {
			r.Modes[f.Path] = e.Mode
		}
	}
	return nil
}
