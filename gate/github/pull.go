package github

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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

// checksFields ask for the checks at a commit. The ids are Ints in the schema, and
// larger than that.
const checksFields = `checkSuites(first:50){pageInfo{hasNextPage} nodes{app{slug databaseId} workflowRun{databaseId file{path}}
	checkRuns(first:100,filterBy:{checkType:LATEST}){pageInfo{hasNextPage} nodes{databaseId name status conclusion externalId}}}}
	status{contexts{context state creator{__typename login}}}`

const commitFields = `oid message author{name email user{login databaseId}} committer{name email user{login databaseId}}
	authors(first:20){totalCount nodes{name email user{login databaseId}}} parents(first:3){nodes{oid}} signature{isValid wasSignedByGitHub}`

// reviewFields ask for a review: its databaseId is an Int, which it has outgrown.
const reviewFields = `fullDatabaseId state submittedAt authorCanPushToRepository author{__typename login ...on Bot{databaseId} ...on User{databaseId}} commit{oid}`

const fileFields = `path changeType additions deletions`

// entryFields ask for a file of a commit. Its mode is what tells a symbolic link.
const entryFields = `mode oid object{__typename ...on Blob{text isBinary isTruncated}}`

// pullQuery asks all that a decision begins with. @checks@ is where checksFields go.
const pullQuery = `query pull($owner:String!,$name:String!,$number:Int!,$policy:String!){
	repository(owner:$owner,name:$name){databaseId nameWithOwner mergeCommitAllowed squashMergeAllowed rebaseMergeAllowed
		defaultBranchRef{name target{oid ...on Commit{file(path:$policy){` + entryFields + `}}}}
		pullRequest(number:$number){
			id number title body state isDraft mergeStateStatus isInMergeQueue mergeQueue{id} mergeCommit{oid} baseRefName baseRefOid headRefName headRefOid changedFiles
			headRepository{databaseId nameWithOwner} author{__typename login ...on Bot{databaseId} ...on User{databaseId}}
			labels(first:100){nodes{name}}
			files(first:100){totalCount pageInfo{hasNextPage endCursor} nodes{` + fileFields + `}}
			commits(first:100){totalCount pageInfo{hasNextPage endCursor} nodes{commit{` + commitFields + `}}}
			last:commits(last:1){nodes{commit{oid associatedPullRequests(first:50){pageInfo{hasNextPage} nodes{number state headRefOid}} @checks@}}}
			reviews(first:100){totalCount pageInfo{hasNextPage endCursor} nodes{` + reviewFields + `}}
			reviewRequests(first:100){nodes{requestedReviewer{__typename ...on User{login} ...on Team{slug combinedSlug}}}}
		}}}`

const pageQuery = `query page($owner:String!,$name:String!,$number:Int!,$after:String!){
	repository(owner:$owner,name:$name){pullRequest(number:$number){headRefOid baseRefName @page@}}}`

type (
	gqlPage struct {
		HasNextPage bool   `json:"hasNextPage"`
		EndCursor   string `json:"endCursor"`
	}
	gqlActor struct {
		Type       string          `json:"__typename"`
		Login      rules.Login     `json:"login"`
		DatabaseID rules.AccountID `json:"databaseId"`
	}
	gqlIdentity struct {
		Name  string    `json:"name"`
		Email string    `json:"email"`
		User  *gqlActor `json:"user"`
	}
	gqlOID struct {
		OID rules.SHA `json:"oid"`
	}
	gqlCommit struct {
		OID       rules.SHA   `json:"oid"`
		Message   string      `json:"message"`
		Author    gqlIdentity `json:"author"`
		Committer gqlIdentity `json:"committer"`
		Authors   struct {
			TotalCount int           `json:"totalCount"`
			Nodes      []gqlIdentity `json:"nodes"`
		} `json:"authors"`
		Parents struct {
			Nodes []gqlOID `json:"nodes"`
		} `json:"parents"`
		Signature *struct {
			IsValid           bool `json:"isValid"`
			WasSignedByGitHub bool `json:"wasSignedByGitHub"`
		} `json:"signature"`
	}
	gqlCommits struct {
		TotalCount int     `json:"totalCount"`
		PageInfo   gqlPage `json:"pageInfo"`
		Nodes      []struct {
			Commit gqlCommit `json:"commit"`
		} `json:"nodes"`
	}
	gqlReview struct {
		ID          bigInt     `json:"fullDatabaseId"`
		State       string     `json:"state"`
		SubmittedAt *time.Time `json:"submittedAt"`
		CanPush     *bool      `json:"authorCanPushToRepository"`
		Author      *gqlActor  `json:"author"`
		Commit      *gqlOID    `json:"commit"`
	}
	gqlReviews struct {
		TotalCount int         `json:"totalCount"`
		PageInfo   gqlPage     `json:"pageInfo"`
		Nodes      []gqlReview `json:"nodes"`
	}
	gqlFile struct {
		Path       string `json:"path"`
		ChangeType string `json:"changeType"`
		Additions  int    `json:"additions"`
		Deletions  int    `json:"deletions"`
	}
	gqlFiles struct {
		TotalCount int       `json:"totalCount"`
		PageInfo   gqlPage   `json:"pageInfo"`
		Nodes      []gqlFile `json:"nodes"`
	}
	gqlEntry struct {
		Mode   int       `json:"mode"`
		OID    rules.SHA `json:"oid"`
		Object *struct {
			Type        string  `json:"__typename"`
			Text        *string `json:"text"`
			IsBinary    *bool   `json:"isBinary"`
			IsTruncated bool    `json:"isTruncated"`
		} `json:"object"`
	}
	gqlSuites struct {
		PageInfo gqlPage `json:"pageInfo"`
		Nodes    []struct {
			App *struct {
				Slug       rules.Slug  `json:"slug"`
				DatabaseID rules.AppID `json:"databaseId"`
			} `json:"app"`
			WorkflowRun *struct {
				DatabaseID *rules.RunID `json:"databaseId"`
				File       *struct {
					Path string `json:"path"`
				} `json:"file"`
			} `json:"workflowRun"`
			CheckRuns struct {
				PageInfo gqlPage `json:"pageInfo"`
				Nodes    []struct {
					DatabaseID *rules.CheckRunID `json:"databaseId"`
					Name       string            `json:"name"`
					Status     string            `json:"status"`
					Conclusion string            `json:"conclusion"`
					ExternalID string            `json:"externalId"`
				} `json:"nodes"`
			} `json:"checkRuns"`
		} `json:"nodes"`
	}
	gqlHead struct {
		OID   rules.SHA `json:"oid"`
		Pulls struct {
			PageInfo gqlPage `json:"pageInfo"`
			Nodes    []struct {
				Number int       `json:"number"`
				State  string    `json:"state"`
				Head   rules.SHA `json:"headRefOid"`
			} `json:"nodes"`
		} `json:"associatedPullRequests"`
		Suites *gqlSuites `json:"checkSuites"`
		Status *struct {
			Contexts []struct {
				Context string    `json:"context"`
				State   string    `json:"state"`
				Creator *gqlActor `json:"creator"`
			} `json:"contexts"`
		} `json:"status"`
	}
	gqlPull struct {
		ID        string `json:"id"`
		Number    int    `json:"number"`
		Title     string `json:"title"`
		Body      string `json:"body"`
		State     string `json:"state"`
		IsDraft   bool   `json:"isDraft"`
		Mergeable string `json:"mergeStateStatus"`
		InQueue   bool   `json:"isInMergeQueue"`
		Queue     *struct {
			ID string `json:"id"`
		} `json:"mergeQueue"`
		MergeCommit    *gqlOID   `json:"mergeCommit"`
		BaseRef        string    `json:"baseRefName"`
		BaseOID        rules.SHA `json:"baseRefOid"`
		HeadRef        string    `json:"headRefName"`
		HeadOID        rules.SHA `json:"headRefOid"`
		ChangedFiles   int       `json:"changedFiles"`
		HeadRepository *struct {
			DatabaseID rules.RepositoryID `json:"databaseId"`
			Name       string             `json:"nameWithOwner"`
		} `json:"headRepository"`
		Author *gqlActor `json:"author"`
		Labels struct {
			Nodes []struct {
				Name string `json:"name"`
			} `json:"nodes"`
		} `json:"labels"`
		Files   *gqlFiles  `json:"files"`
		Commits gqlCommits `json:"commits"`
		Last    struct {
			Nodes []struct {
				Commit gqlHead `json:"commit"`
			} `json:"nodes"`
		} `json:"last"`
		Reviews  *gqlReviews `json:"reviews"`
		Requests struct {
			Nodes []struct {
				Reviewer *struct {
					Type  string `json:"__typename"`
					Login string `json:"login"`
					Slug  string `json:"slug"`
					Full  string `json:"combinedSlug"`
				} `json:"requestedReviewer"`
			} `json:"nodes"`
		} `json:"reviewRequests"`
	}
	gqlRepository struct {
		DatabaseID rules.RepositoryID `json:"databaseId"`
		Name       string             `json:"nameWithOwner"`
		Merge      bool               `json:"mergeCommitAllowed"`
		Squash     bool               `json:"squashMergeAllowed"`
		Rebase     bool               `json:"rebaseMergeAllowed"`
		Default    *struct {
			Name   string `json:"name"`
			Target *struct {
				OID  rules.SHA `json:"oid"`
				File *gqlEntry `json:"file"`
			} `json:"target"`
		} `json:"defaultBranchRef"`
		Pull *gqlPull `json:"pullRequest"`
	}
)

// actor is an account as REST spells it: GraphQL leaves out a bot's "[bot]".
func (a *gqlActor) actor() rules.Actor {
	switch {
	case a == nil:
		return rules.Actor{}
	case a.Type == "Bot":
		return rules.Actor{ID: a.DatabaseID, Login: a.Login + "[bot]", Type: rules.ActorBot}
	case a.Type == "" || a.Type == "User":
		return rules.Actor{ID: a.DatabaseID, Login: a.Login, Type: rules.ActorUser}
	default:
		return rules.Actor{ID: a.DatabaseID, Login: a.Login}
	}
}

func (i gqlIdentity) identity() rules.Identity {
	a := i.User.actor()
	return rules.Identity{ID: a.ID, Login: a.Login, Name: i.Name, Email: i.Email}
}

// file is what an entry of a commit is as a file. A symbolic link is none, whatever
// its text is.
func (e *gqlEntry) file() PolicyFile {
	if e == nil {
		return PolicyFile{State: FileAbsent}
	}
	plain := e.Mode == 0o100644 || e.Mode == 0o100755
	b := e.Object
	if !plain || b == nil || b.Type != "Blob" || b.Text == nil || b.IsTruncated || b.IsBinary != nil && *b.IsBinary {
		return PolicyFile{State: FileUnreadable, Blob: e.OID}
	}
	return PolicyFile{State: FileFound, Blob: e.OID, Text: []byte(*b.Text)}
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

func (r *Repository) listFiles(ctx context.Context, g *gqlPull, p *Pull) error {
	rest, err := r.rest()
	if err != nil {
		return err
	}
	p.Change.Files = []rules.File{}
	o := &gh.ListOptions{PerPage: 100}
	for range maxFiles/100 + 1 {
		list, answer, err := rest.PullRequests.ListFiles(ctx, r.owner, r.name, g.Number, o)
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
			path, _, _ := strings.Cut(w.Path, "@")
			out[w.Suite] = suiteRun{w.ID, path}
		}
		if !more {
			return out, nil
		}
	}
	return nil, errTooLong
}
