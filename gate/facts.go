package gate

import (
	"cmp"
	"context"
	"errors"
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
	// Asks counts how often it was read before who made the head was on record.
	Asks int  `json:"asks,omitzero"`
	asks bool // in this look
	// Workflows are the workflow files of jobs, by the id of job and check run. One
	// that is no job is there with "".
	Workflows map[rules.CheckRunID]string `json:"workflows,omitzero"`
	// Modes are the modes of changed files; ModesRead says that they were read.
	Modes     map[string]string `json:"modes,omitzero"`
	ModesRead bool              `json:"modes_read,omitzero"`
	// Stands are the earlier heads at which approvals still stand, by what StandsKey
	// names.
	Stands    []rules.SHA `json:"stands,omitzero"`
	StandsKey string      `json:"stands_key,omitzero"`

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
	r.asks = false
	if err := g.pushers(ctx, at, c, r); err != nil {
		return rules.Decision{}, err
	}
	var err error
	// What it follows from are commits, which cannot change: trees of them are large.
	if key := standingKey(p); r.StandsKey != key {
		if r.Stands, err = at.StandingHeads(ctx, p); err != nil {
			return rules.Decision{}, err
		}
		r.StandsKey = key
	}
	c.StandingHeads = r.Stands
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
		case has(d, codeCheckWorkflow) && len(r.unknownJobs(p)) > 0:
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
		case d.Verdict == rules.VerdictAllow && r.ask(at, c):
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

// standingKey names all that [github.Repository.StandingHeads] goes by.
func standingKey(p *github.Pull) string {
	c := &p.Change
	facts := []string{string(c.Head.SHA), fmt.Sprint(c.CommitsComplete, c.FilesComplete)}
	for _, v := range c.Reviews {
		facts = append(facts, fmt.Sprint(v.SHA, v.State, v.User.Type))
	}
	for _, m := range c.Commits {
		facts = append(facts, fmt.Sprint(m.SHA, p.Links[m.SHA], p.GitHubSigned[m.SHA]))
	}
	for _, f := range c.Files {
		facts = append(facts, f.Path, f.PreviousPath)
	}
	return short(fmt.Sprintf("%q", facts))
}

func has(d rules.Decision, code rules.Code) bool {
	return slices.ContainsFunc(d.Reasons, func(r rules.Reason) bool { return r.Code == code })
}

// apply puts the readings into the facts.
func (r *readings) apply(p *github.Pull) {
	p.SetWorkflows(r.Workflows)
	p.SetModes(r.Modes)
	if r.Protection != nil {
		p.SetProtection(*r.Protection)
	}
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
	if len(last) == 0 && r.ask(at, c) {
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
	// The record may lag behind the push: then it is read again in a later look.
	r.asks = true
	r.Asks++
	r.Asked, r.LastPusher, r.Pushers = who.Known() || r.Asks >= maxAsks, who, all
	return nil
}

// maxAsks is how often a branch's activity is read for who made its head.
const maxAsks = 4

// ask reports whether the activity is still to be read in this look.
func (r *readings) ask(at *place, c *rules.Change) bool {
	return !r.Asked && !r.asks && hasActivity(at, c)
}

// again is after how long to look again although no event will come, for what was not on
// record yet; 0 is not.
func (r *readings) again() time.Duration {
	if r.Asked || r.Asks == 0 {
		return 0
	}
	return time.Second << (2 * r.Asks)
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
	teams := teamsOf(policies)
	if len(teams) == 0 || len(who) == 0 {
		return nil
	}
	asked, err := g.askMembers(ctx, at, teams, who)
	if err != nil {
		return err
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

// askMembers asks which people are in which teams of a repository's owner. A person's
// account, which the repository may have been given to, has no teams.
func (g *Gate) askMembers(ctx context.Context, at *place, teams map[string]rules.TeamID, who []rules.Actor) (map[string]rules.Team, error) {
	if at.installation.Type != "Organization" {
		out := map[string]rules.Team{}
		for key, id := range teams {
			out[key] = rules.Team{ID: id, Members: map[rules.AccountID]rules.Tri{}}
			for _, p := range who {
				out[key].Members[p.ID] = rules.No
			}
		}
		return out, nil
	}
	asked, err := at.Members(ctx, at.owner(), teams, who)
	if errors.Is(err, github.ErrNotFound) {
		// The organisation may have another name now: what is under the old one is nobody.
		err = cmp.Or(g.renamed(ctx, at), err)
	}
	if err != nil {
		return nil, fmt.Errorf("asking who is in the teams of %s: %w", at.owner(), err)
	}
	return asked, nil
}

// teamsOf are the teams that policies name.
func teamsOf(policies rules.Policies) map[string]rules.TeamID {
	teams := map[string]rules.TeamID{}
	for _, v := range []rules.PolicyVersion{policies.Repository, policies.Floor} {
		for key, t := range v.Directory.Teams {
			teams[key] = t.ID
		}
	}
	return teams
}

// unknownJobs are the green checks of GitHub Actions that nobody asked about yet.
func (r *readings) unknownJobs(p *github.Pull) []github.CheckRun {
	return slices.DeleteFunc(p.GreenJobs(), func(k github.CheckRun) bool {
		_, known := r.Workflows[k.ID]
		return known
	})
}

// jobs finds of which workflow file's run at this head green checks are jobs.
func (g *Gate) jobs(ctx context.Context, at *place, p *github.Pull, r *readings) error {
	found, err := at.CheckJobs(ctx, p.Change.Head.SHA, r.unknownJobs(p))
	if err != nil {
		return err
	}
	if r.Workflows == nil {
		r.Workflows = map[rules.CheckRunID]string{}
	}
	for id, j := range found {
		r.Workflows[id] = j.Workflow
	}
	return nil
}

// modes reads the modes of the changed files.
func (g *Gate) modes(ctx context.Context, at *place, c *rules.Change, r *readings) error {
	modes, err := at.Modes(ctx, c.Head.SHA, c.Files)
	if err != nil {
		return err
	}
	r.Modes, r.ModesRead = modes, true
	return nil
}
