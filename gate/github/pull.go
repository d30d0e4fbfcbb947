package github

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	gh "github.com/google/go-github/v62/github"

	"github.com/sallyport/sallyport/rules"
)

// Pull is what is known of a pull request at one moment.
type Pull struct {
	// Change has everything that the query tells. The caller fills in who pushed,
	// where approvals still stand, what the base requires, modes and the workflows
	// of checks. Its first checks are CheckRuns, in the same order.
	Change rules.Change
	// NodeID is the pull request's id in GraphQL.
	NodeID string
	// State is "open", "closed" or "merged".
	State       string
	MergeCommit rules.SHA
	MergedAt    time.Time // zero until then
	// Mergeable is GraphQL's mergeStateStatus, in upper case.
	Mergeable string
	// Queue says that the base branch has a merge queue, InQueue that the pull
	// request stands in it.
	Queue, InQueue bool
	// MergeMethods are those of merge, squash and rebase that are allowed.
	MergeMethods []string

	DefaultBranch string
	DefaultHead   rules.SHA
	// Policy is the policy file at the head of the default branch.
	Policy PolicyFile

	// Requested are the reviews that are asked for.
	Requested []rules.Reviewer
	// OwnReviews are those of our own bot.
	OwnReviews []OwnReview
	// CheckRuns are the latest check runs at the head.
	CheckRuns []CheckRun
	// Siblings are other open pull requests of this repository with this head.
	Siblings []int
	// Links are the parents of each commit, in order; GitHubSigned says which
	// commits GitHub made itself.
	Links        map[rules.SHA][]rules.SHA
	GitHubSigned map[rules.SHA]bool
}

// OwnReview is a review of our own bot.
type OwnReview struct {
	ID    rules.ReviewID
	State rules.ReviewState
	SHA   rules.SHA
}

// CheckRun is a check run.
type CheckRun struct {
	ID         rules.CheckRunID
	Name       string
	App        rules.Slug
	AppID      rules.AppID
	Status     string // lower case, as REST has it
	Conclusion string // "" while it runs
	ExternalID string
	// RunID and WorkflowPath are of the workflow run in whose suite it stands, which
	// does not show that it is a job of it.
	RunID        rules.RunID
	WorkflowPath string
}

// FileState is whether a file is there. The zero value is unknown.
type FileState int8

// The states of a file. They are stored: they may be added to and never changed.
const (
	FileUnknown FileState = iota
	FileFound
	FileAbsent
	// FileUnreadable is there and no plain text file that could be a policy.
	FileUnreadable
)

// PolicyFile is a file as it stands at a branch or a commit.
type PolicyFile struct {
	State  FileState
	Branch string
	Commit rules.SHA
	Blob   rules.SHA
	Text   []byte
}

// Pull reads a pull request: one query, and further requests only for what does
// not fit into it.
func (r *Repository) Pull(ctx context.Context, number int) (*Pull, error) {
	now := r.client.cfg.Now()
	self, err := r.client.Self(ctx)
	if err != nil {
		return nil, err
	}
	v := map[string]any{"owner": r.owner, "name": r.name, "number": number, "policy": rules.PolicyPath}
	var data struct {
		Repository *gqlRepository `json:"repository"`
	}
	checks := !r.client.withoutChecks(r.installation)
	err = r.query(ctx, withChecks(checks), v, &data)
	var faults *graphQLError
	if errors.As(err, &faults) && checks && faults.below("last") && !errors.Is(err, ErrForbidden) {
		// Whether GitHub gives all of this by GraphQL nobody here knows: by REST then.
		r.client.noChecks(r.installation)
		checks = false
		err = r.query(ctx, withChecks(false), v, &data)
	}
	if checks && errors.Is(err, errSlow) {
		// Of a commit with many checks they may be what takes so long.
		checks = false
		err = r.query(ctx, withChecks(false), v, &data)
	}
	if err != nil {
		return nil, err
	}
	if data.Repository == nil || data.Repository.Pull == nil {
		return nil, ErrNotFound
	}
	q, g := data.Repository, data.Repository.Pull
	p := &Pull{NodeID: g.ID, Mergeable: g.Mergeable, Queue: g.Queue != nil, InQueue: g.InQueue, State: strings.ToLower(g.State)}
	if g.MergeCommit != nil {
		p.MergeCommit = g.MergeCommit.OID
	}
	if g.MergedAt != nil {
		p.MergedAt = *g.MergedAt
	}
	for name, allowed := range map[string]bool{"merge": q.Merge, "squash": q.Squash, "rebase": q.Rebase} {
		if allowed {
			p.MergeMethods = append(p.MergeMethods, name)
		}
	}
	slices.Sort(p.MergeMethods)
	if q.Default != nil && q.Default.Target != nil {
		p.DefaultBranch, p.DefaultHead = q.Default.Name, q.Default.Target.OID
		p.Policy = q.Default.Target.File.file()
		p.Policy.Branch, p.Policy.Commit = p.DefaultBranch, p.DefaultHead
	}
	c := &p.Change
	*c = rules.Change{
		Repository: rules.Repository{ID: q.DatabaseID, FullName: q.Name}, Number: g.Number, Title: g.Title, Body: g.Body, Labels: []string{},
		Draft: rules.TriOf(g.IsDraft), Author: g.Author.actor(), Now: now,
		Head: rules.Head{Ref: g.HeadRef, SHA: g.HeadOID}, Base: rules.Base{Ref: g.BaseRef, SHA: g.BaseOID},
	}
	if g.Author != nil && g.Author.Type == "Bot" {
		c.App = rules.Slug(g.Author.Login)
	}
	if g.HeadRepository != nil {
		c.Head.Repository = rules.Repository{ID: g.HeadRepository.DatabaseID, FullName: g.HeadRepository.Name}
	}
	for _, x := range g.Retargets.Nodes {
		c.Retargeted = x.CreatedAt
	}
	for _, l := range g.Labels.Nodes {
		c.Labels = append(c.Labels, l.Name)
	}
	for _, x := range g.Requests.Nodes {
		switch {
		case x.Reviewer == nil:
		case x.Reviewer.Type == "Team":
			p.Requested = append(p.Requested, rules.Reviewer(x.Reviewer.Full))
		case x.Reviewer.Login != "":
			p.Requested = append(p.Requested, rules.Reviewer(x.Reviewer.Login))
		}
	}
	if err := r.files(ctx, g, p); err != nil {
		return nil, err
	}
	if err := r.commits(ctx, g, p); err != nil {
		return nil, err
	}
	if err := r.reviews(ctx, g, p, self); err != nil {
		return nil, err
	}
	if len(g.Last.Nodes) != 1 || g.Last.Nodes[0].Commit.OID != g.HeadOID {
		return p, nil // the list of commits lags behind the head: checks are not known
	}
	head := g.Last.Nodes[0].Commit
	if p.Siblings, err = r.siblings(ctx, g, &head); err != nil {
		return nil, err
	}
	if err := r.checks(ctx, &head, checks, p); err != nil {
		return nil, err
	}
	return p, nil
}

// siblings are other open pull requests of this repository at the head.
func (r *Repository) siblings(ctx context.Context, g *gqlPull, head *gqlHead) ([]int, error) {
	var out []int
	if head.Pulls.PageInfo.HasNextPage {
		all, err := r.PullsAt(ctx, g.HeadOID)
		if err != nil {
			return nil, fmt.Errorf("asking what else stands at %s: %w", g.HeadOID.Short(), err)
		}
		return slices.DeleteFunc(all, func(n int) bool { return n == g.Number }), nil
	}
	for _, o := range head.Pulls.Nodes {
		if o.Number != g.Number && o.State == "OPEN" && o.Head == g.HeadOID {
			out = append(out, o.Number)
		}
	}
	return out, nil
}

// fileStatus is one of GraphQL's kinds of change as REST spells it.
func fileStatus(change string) rules.FileStatus {
	switch change {
	case "ADDED":
		return rules.FileAdded
	case "MODIFIED":
		return rules.FileModified
	case "DELETED":
		return rules.FileRemoved
	case "RENAMED":
		return rules.FileRenamed
	case "COPIED":
		return rules.FileCopied
	case "CHANGED":
		return rules.FileChanged
	default:
		return rules.FileStatus(strings.ToLower(change))
	}
}

// maxFiles is how many files GitHub lists of a pull request.
const maxFiles = 3000

// files reads the changed files. GraphQL does not tell from where a file was moved,
// so that REST is asked where one was, and where there are several pages anyway.
func (r *Repository) files(ctx context.Context, g *gqlPull, p *Pull) error {
	c := &p.Change
	if g.Files == nil {
		return nil
	}
	c.Files = []rules.File{}
	moved := g.Files.PageInfo.HasNextPage
	for _, f := range g.Files.Nodes {
		moved = moved || f.ChangeType == "RENAMED" || f.ChangeType == "COPIED"
		c.Files = append(c.Files, rules.File{Path: f.Path, Status: fileStatus(f.ChangeType), Additions: f.Additions, Deletions: f.Deletions})
	}
	if moved {
		if err := r.listFiles(ctx, g, p); err != nil {
			return err
		}
	}
	c.FilesComplete = rules.TriOf(len(c.Files) == g.ChangedFiles && len(c.Files) < maxFiles)
	return nil
}

// reduceFiles leaves of a page of files what is read of it: not the patches.
func reduceFiles(body []byte) ([]byte, error) {
	var list []struct {
		Path      string `json:"filename"`
		Previous  string `json:"previous_filename,omitzero"`
		Status    string `json:"status"`
		Additions int    `json:"additions"`
		Deletions int    `json:"deletions"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	return json.Marshal(list)
}

// listFiles reads them by REST. Every look reads them, and most find them as they were:
// those pages cost nothing.
func (r *Repository) listFiles(ctx context.Context, g *gqlPull, p *Pull) error {
	rest, err := r.rest()
	if err != nil {
		return err
	}
	p.Change.Files = []rules.File{}
	o := &gh.ListOptions{PerPage: 100}
	for range maxFiles/100 + 1 {
		list, answer, err := rest.PullRequests.ListFiles(reduced(ctx, reduceFiles), r.owner, r.name, g.Number, o)
		if err != nil {
			return r.client.understand(ctx, err)
		}
		for _, f := range list {
			p.Change.Files = append(p.Change.Files, rules.File{
				Path: f.GetFilename(), PreviousPath: f.GetPreviousFilename(), Status: rules.FileStatus(f.GetStatus()), Additions: f.GetAdditions(), Deletions: f.GetDeletions(),
			})
		}
		if answer.NextPage == 0 {
			break
		}
		o.Page = answer.NextPage
	}
	// The list is of the head and the base at that moment, which must be those that
	// are judged.
	_, err = r.ask(ctx, g, `query head($owner:String!,$name:String!,$number:Int!){repository(owner:$owner,name:$name){pullRequest(number:$number){headRefOid baseRefName}}}`,
		map[string]any{})
	return err
}

// page asks for one more page of a pull request's list.
func (r *Repository) page(ctx context.Context, g *gqlPull, fields, after string) (*gqlPull, error) {
	return r.ask(ctx, g, strings.Replace(pageQuery, "@page@", fields, 1), map[string]any{"after": after})
}

// ask asks for more of a pull request, which must have the same head and base still.
func (r *Repository) ask(ctx context.Context, g *gqlPull, query string, v map[string]any) (*gqlPull, error) {
	var out struct {
		Repository struct {
			Pull *gqlPull `json:"pullRequest"`
		} `json:"repository"`
	}
	v["owner"], v["name"], v["number"] = r.owner, r.name, g.Number
	if err := r.query(ctx, query, v, &out); err != nil {
		return nil, err
	}
	now := out.Repository.Pull
	if now == nil || now.HeadOID != g.HeadOID || now.BaseRef != g.BaseRef {
		return nil, fmt.Errorf("the head or the base of pull request %d moved while it was read", g.Number)
	}
	return now, nil
}

// maxCommits is how many commits GitHub lists of a pull request.
const maxCommits = 250

func (r *Repository) commits(ctx context.Context, g *gqlPull, p *Pull) error {
	c := &p.Change
	c.Commits, p.Links, p.GitHubSigned = []rules.Commit{}, map[rules.SHA][]rules.SHA{}, map[rules.SHA]bool{}
	list, named := g.Commits, true
	for {
		for _, n := range list.Nodes {
			k := n.Commit
			m := rules.Commit{SHA: k.OID, Message: k.Message, Author: k.Author.identity(), Committer: k.Committer.identity(), Parents: len(k.Parents.Nodes), Verified: rules.No}
			named = named && k.Authors.TotalCount <= len(k.Authors.Nodes)
			for i, a := range k.Authors.Nodes {
				if i > 0 { // the first is the author
					m.CoAuthors = append(m.CoAuthors, a.identity())
				}
			}
			if k.Signature != nil {
				m.Verified = rules.TriOf(k.Signature.IsValid)
				p.GitHubSigned[k.OID] = k.Signature.IsValid && k.Signature.WasSignedByGitHub
			}
			for _, parent := range k.Parents.Nodes {
				p.Links[k.OID] = append(p.Links[k.OID], parent.OID)
			}
			c.Commits = append(c.Commits, m)
		}
		if !list.PageInfo.HasNextPage || len(c.Commits) >= maxCommits {
			break
		}
		next, err := r.page(ctx, g, `commits(first:100,after:$after){totalCount pageInfo{hasNextPage endCursor} nodes{commit{`+commitFields+`}}}`, list.PageInfo.EndCursor)
		if err != nil {
			return err
		}
		list = next.Commits
	}
	// A commit with authors that are not listed is not known whole.
	c.CommitsComplete = rules.TriOf(named && len(c.Commits) == g.Commits.TotalCount && len(c.Commits) <= maxCommits)
	return nil
}

func (r *Repository) reviews(ctx context.Context, g *gqlPull, p *Pull, self App) error {
	if g.Reviews == nil {
		return nil
	}
	c := &p.Change
	c.Reviews = []rules.Review{}
	list := g.Reviews
	for range maxPages {
		for _, v := range list.Nodes {
			out := rules.Review{ID: rules.ReviewID(v.ID), User: v.Author.actor(), State: rules.ReviewState(strings.ToLower(v.State))}
			if v.SubmittedAt != nil {
				out.SubmittedAt = *v.SubmittedAt
			}
			if v.Commit != nil {
				out.SHA = v.Commit.OID
			}
			if v.CanPush != nil {
				out.Write = rules.TriOf(*v.CanPush)
			}
			if out.User.ID != 0 && out.User.ID == self.Bot.ID && out.User.Type == rules.ActorBot {
				if out.ID == 0 {
					return fmt.Errorf("GitHub gave no id for a review of pull request %d", g.Number)
				}
				p.OwnReviews = append(p.OwnReviews, OwnReview{ID: out.ID, State: out.State, SHA: out.SHA})
			}
			c.Reviews = append(c.Reviews, out)
		}
		if !list.PageInfo.HasNextPage {
			return nil
		}
		next, err := r.page(ctx, g, `reviews(first:100,after:$after){totalCount pageInfo{hasNextPage endCursor} nodes{`+reviewFields+`}}`, list.PageInfo.EndCursor)
		if err != nil {
			return err
		}
		if next.Reviews == nil {
			return errTooLong
		}
		list = next.Reviews
	}
	return errTooLong
}
