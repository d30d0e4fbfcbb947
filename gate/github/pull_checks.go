package github

import (
	"context"
	"fmt"
	"strings"
	"time"

	gh "github.com/google/go-github/v62/github"

	"github.com/sallyport/sallyport/rules"
)

func withChecks(checks bool) string {
	if checks {
		return strings.Replace(pullQuery, "@checks@", checksFields, 1)
	}
	return strings.Replace(pullQuery, "@checks@", "", 1)
}

// plainFor is how long checks are read by REST before GraphQL is asked again.
const plainFor = 30 * time.Minute

func (c *Client) withoutChecks(in rules.InstallationID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cfg.Now().Before(c.plainChecks[in])
}

func (c *Client) noChecks(in rules.InstallationID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plainChecks[in] = c.cfg.Now().Add(plainFor)
}

// checks are the checks at the head, as the query has them or by REST.
func (r *Repository) checks(ctx context.Context, head *gqlHead, asked bool, p *Pull) error {
	whole := asked && head.Suites != nil && !head.Suites.PageInfo.HasNextPage
	if asked && head.Suites == nil {
		r.client.noChecks(r.installation)
	}
	if whole {
		for _, s := range head.Suites.Nodes {
			whole = whole && !s.CheckRuns.PageInfo.HasNextPage
			for _, k := range s.CheckRuns.Nodes {
				if k.DatabaseID == nil || s.WorkflowRun != nil && s.WorkflowRun.DatabaseID == nil {
					whole = false
					r.client.noChecks(r.installation)
					break
				}
				run := CheckRun{ID: *k.DatabaseID, Name: k.Name, Status: strings.ToLower(k.Status), Conclusion: strings.ToLower(k.Conclusion), ExternalID: k.ExternalID}
				if s.App != nil {
					run.App, run.AppID = s.App.Slug, s.App.DatabaseID
				}
				if s.WorkflowRun != nil {
					run.RunID = *s.WorkflowRun.DatabaseID
					if s.WorkflowRun.File != nil {
						run.WorkflowPath = s.WorkflowRun.File.Path
					}
				}
				p.CheckRuns = append(p.CheckRuns, run)
			}
		}
	}
	if !whole {
		p.CheckRuns = nil
		return r.plainChecks(ctx, p)
	}
	p.Change.Checks = []rules.Check{}
	for _, k := range p.CheckRuns {
		p.Change.Checks = append(p.Change.Checks, rules.Check{Name: k.Name, App: k.App, Conclusion: k.Conclusion})
	}
	if head.Status != nil {
		for _, s := range head.Status.Contexts {
			p.Change.Checks = append(p.Change.Checks, statusCheck(s.Context, strings.ToLower(s.State), s.Creator.actor()))
		}
	}
	return nil
}

// statusCheck is a commit status as a check. Its source is the bot that made it; one
// that a person made is from no App.
func statusCheck(name, state string, by rules.Actor) rules.Check {
	k := rules.Check{Name: name, Conclusion: state}
	if by.Type == rules.ActorBot {
		k.App = rules.Slug(strings.TrimSuffix(string(by.Login), "[bot]"))
	}
	switch state {
	case "pending", "expected":
		k.Conclusion = ""
	case "error":
		k.Conclusion = "failure"
	}
	return k
}

// plainChecks reads the checks at the head by REST.
func (r *Repository) plainChecks(ctx context.Context, p *Pull) error {
	rest, err := r.rest()
	if err != nil {
		return err
	}
	sha := string(p.Change.Head.SHA)
	paths, err := r.runsAt(ctx, sha)
	if err != nil {
		return err
	}
	p.Change.Checks = []rules.Check{}
	o := &gh.ListCheckRunsOptions{ListOptions: gh.ListOptions{PerPage: 100}}
	for page := 1; ; page++ {
		list, answer, err := rest.Checks.ListCheckRunsForRef(ctx, r.owner, r.name, sha, o)
		if err != nil {
			return r.client.understand(ctx, err)
		}
		if page == maxPages && answer.NextPage != 0 {
			return errTooLong
		}
		for _, k := range list.CheckRuns {
			run := CheckRun{
				ID: rules.CheckRunID(k.GetID()), Name: k.GetName(), App: rules.Slug(k.GetApp().GetSlug()), AppID: rules.AppID(k.GetApp().GetID()),
				Status: k.GetStatus(), Conclusion: k.GetConclusion(), ExternalID: k.GetExternalID(),
			}
			if w, ok := paths[k.GetCheckSuite().GetID()]; ok {
				run.RunID, run.WorkflowPath = w.id, w.path
			}
			p.CheckRuns = append(p.CheckRuns, run)
			p.Change.Checks = append(p.Change.Checks, rules.Check{Name: run.Name, App: run.App, Conclusion: run.Conclusion})
		}
		if answer.NextPage == 0 {
			break
		}
		o.Page = answer.NextPage
	}
	return r.plainStatuses(ctx, p)
}

// plainStatuses reads the newest commit status of each context. The combined status
// would be shorter, and does not say who made them.
func (r *Repository) plainStatuses(ctx context.Context, p *Pull) error {
	rest, err := r.rest()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	o := &gh.ListOptions{PerPage: 100}
	for range maxPages {
		list, answer, err := rest.Repositories.ListStatuses(ctx, r.owner, r.name, string(p.Change.Head.SHA), o)
		if err != nil {
			return r.client.understand(ctx, err)
		}
		for _, s := range list { // the newest first
			if seen[s.GetContext()] {
				continue
			}
			seen[s.GetContext()] = true
			by := rules.Actor{ID: rules.AccountID(s.GetCreator().GetID()), Login: rules.Login(s.GetCreator().GetLogin()), Type: rules.ActorType(s.GetCreator().GetType())}
			p.Change.Checks = append(p.Change.Checks, statusCheck(s.GetContext(), s.GetState(), by))
		}
		if answer.NextPage == 0 {
			return nil
		}
		o.Page = answer.NextPage
	}
	return errTooLong
}

type suiteRun struct {
	id   rules.RunID
	path string
}

// runsAt are the workflow runs at a commit, by their check suites.
func (r *Repository) runsAt(ctx context.Context, sha string) (map[int64]suiteRun, error) {
	out := map[int64]suiteRun{}
	for page := 1; page <= maxPages; page++ {
		var list struct {
			Runs []struct {
				ID    rules.RunID `json:"id"`
				Path  string      `json:"path"`
				Suite int64       `json:"check_suite_id"`
			} `json:"workflow_runs"`
		}
		more, err := r.get(ctx, fmt.Sprintf("actions/runs?head_sha=%s&per_page=100&page=%d", sha, page), &list)
		if err != nil {
			return nil, err
		}
		for _, w := range list.Runs {
			path := workflowPath(w.Path)
			out[w.Suite] = suiteRun{w.ID, path}
		}
		if !more {
			return out, nil
		}
	}
	return nil, errTooLong
}
