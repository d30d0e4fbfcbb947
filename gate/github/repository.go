package github

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	gh "github.com/google/go-github/v62/github"

	"github.com/sallyport/sallyport/rules"
)

// Info is what GitHub says of the repository under its name: its id may be
// another's.
func (r *Repository) Info(ctx context.Context) (RepositoryInfo, error) {
	rest, err := r.rest()
	if err != nil {
		return RepositoryInfo{}, err
	}
	info, _, err := rest.Repositories.Get(conditional(ctx), r.owner, r.name)
	if err != nil {
		return RepositoryInfo{}, r.client.understand(ctx, err)
	}
	return repositoryInfo(info), nil
}

// Head is the commit that a branch stands at.
func (r *Repository) Head(ctx context.Context, branch string) (rules.SHA, error) {
	var out struct {
		Object struct {
			SHA rules.SHA `json:"sha"`
		} `json:"object"`
	}
	if _, err := r.get(ctx, "git/ref/heads/"+escapePath(branch), &out); err != nil {
		return "", err
	}
	if !out.Object.SHA.Valid() {
		return "", fmt.Errorf("GitHub gave no commit for branch %q", branch)
	}
	return out.Object.SHA, nil
}

// Job is one job of a workflow run. Its id is that of its check run.
type Job struct {
	ID         rules.CheckRunID
	Name       string
	HeadSHA    rules.SHA
	Conclusion string
	Run        rules.RunID
	Attempt    int    // 0 is unknown
	Status     string // queued, in_progress, waiting, completed, …
	// Started says that a runner took it. One that was rejected never is.
	Started     bool
	CompletedAt time.Time // zero until then
	Runner      string    // the name of what runs it
	Steps       []JobStep
}

// JobStep is one step of a job.
type JobStep struct {
	Name       string
	Status     string
	Conclusion string // "" until it ended
}

// Jobs are the jobs of the latest attempt of a run.
type Jobs struct{ List []Job }

// Jobs lists the jobs of the latest attempt of a run
// (https://docs.github.com/rest/actions/workflow-jobs).
func (r *Repository) Jobs(ctx context.Context, run rules.RunID) (Jobs, error) {
	rest, err := r.rest()
	if err != nil {
		return Jobs{}, err
	}
	var out Jobs
	o := &gh.ListWorkflowJobsOptions{Filter: "latest", ListOptions: gh.ListOptions{PerPage: 100}}
	for range maxPages {
		list, answer, err := rest.Actions.ListWorkflowJobs(ctx, r.owner, r.name, int64(run), o)
		if err != nil {
			return Jobs{}, r.client.understand(ctx, err)
		}
		for _, j := range list.Jobs {
			var steps []JobStep
			for _, x := range j.Steps {
				steps = append(steps, JobStep{Name: x.GetName(), Status: x.GetStatus(), Conclusion: x.GetConclusion()})
			}
			out.List = append(out.List, Job{
				ID: rules.CheckRunID(j.GetID()), Name: j.GetName(), HeadSHA: rules.SHA(j.GetHeadSHA()), Conclusion: j.GetConclusion(),
				Run: rules.RunID(j.GetRunID()), Attempt: int(j.GetRunAttempt()), Status: j.GetStatus(),
				Started: j.GetRunnerID() > 0 || len(j.Steps) > 0 || j.GetStatus() == "in_progress", CompletedAt: j.GetCompletedAt().Time,
				Runner: j.GetRunnerName(), Steps: steps,
			})
		}
		if answer.NextPage == 0 {
			return out, nil
		}
		o.Page = answer.NextPage
	}
	return Jobs{}, errTooLong
}

// TreeEntry is one file of a tree.
type TreeEntry struct {
	Mode string
	SHA  rules.SHA
}

// Tree is all files of a commit by path. Truncated says that some are missing.
type Tree struct {
	Truncated bool
	Entries   map[string]TreeEntry
}

// Tree lists all files of a commit (https://docs.github.com/rest/git/trees).
func (r *Repository) Tree(ctx context.Context, commit rules.SHA) (Tree, error) {
	rest, err := r.rest()
	if err != nil {
		return Tree{}, err
	}
	t, _, err := rest.Git.GetTree(ctx, r.owner, r.name, string(commit), true)
	if err != nil {
		return Tree{}, r.client.understand(ctx, err)
	}
	out := Tree{Truncated: t.GetTruncated(), Entries: make(map[string]TreeEntry, len(t.Entries))}
	for _, e := range t.Entries {
		if e.GetType() != "tree" {
			out.Entries[e.GetPath()] = TreeEntry{Mode: e.GetMode(), SHA: rules.SHA(e.GetSHA())}
		}
	}
	return out, nil
}

// Protection is what a branch requires.
type Protection struct {
	// Guarded says whether the branch requires our check pinned to us, or dismisses
	// stale reviews.
	Guarded rules.Tri `json:"guarded"`
	// Reviewed says whether rulesets require an approving review and dismiss stale
	// ones, or require a merge queue.
	Reviewed rules.Tri `json:"reviewed,omitzero"`
	// Required are the required checks but our own; App is "" where any source
	// counts, and a number after "#" where only the id is known: an App's name cannot
	// be asked for by its id. Nil is unknown.
	Required []rules.RequiredCheck `json:"required,omitzero"`
	// Queue says that a merge queue is required.
	Queue bool `json:"queue,omitzero"`
}

// checkName is the name of our check on a head.
const checkName = "sallyport"

// actionsAppID is GitHub Actions'.
const actionsAppID = 15368

// require adds a required check. Our own waits for nothing of its own: it is the
// guard.
func (p *Protection) require(name string, app, own rules.AppID, slug rules.Slug) {
	k := rules.RequiredCheck{Name: name}
	switch {
	case app == own && name == checkName:
		p.Guarded = rules.Yes
		return
	case app == own:
		k.App = slug
	case app == actionsAppID:
		k.App = "github-actions"
	case app > 0: // 0 and -1 are any source
		k.App = AppNumber(app)
	}
	p.Required = append(p.Required, k)
}

// AppNumber stands for the slug of an App of which the number alone is known.
func AppNumber(app rules.AppID) rules.Slug { return rules.Slug(fmt.Sprintf("#%d", app)) }

// Protection reads what a branch requires: the rules of all rulesets, and classic
// protection as far as the installation may see it
// (https://docs.github.com/rest/repos/rules,
// https://docs.github.com/rest/branches/branch-protection). Where the rulesets show
// the guard, classic protection costs a request that only its checks are worth: it is
// made if checks asks for them, and otherwise they are unknown.
func (r *Repository) Protection(ctx context.Context, branch string, app rules.AppID, checks bool) (Protection, error) {
	self, err := r.client.Self(ctx)
	if err != nil {
		return Protection{}, err
	}
	out := Protection{Guarded: rules.No, Required: []rules.RequiredCheck{}}
	if err := r.branchRules(ctx, branch, app, self.Slug, &out); err != nil {
		return Protection{}, err
	}
	if out.Guarded == rules.Yes && !checks {
		out.Required = nil
		return out, nil
	}
	var b struct {
		Protected  bool `json:"protected"`
		Protection *struct {
			Checks *struct {
				Checks []struct {
					Context string      `json:"context"`
					App     rules.AppID `json:"app_id"`
				} `json:"checks"`
			} `json:"required_status_checks"`
		} `json:"protection"`
	}
	if _, err := r.get(conditional(ctx), "branches/"+url.PathEscape(branch), &b); err != nil {
		return Protection{}, err
	}
	if b.Protection != nil && b.Protection.Checks != nil {
		for _, k := range b.Protection.Checks.Checks {
			out.require(k.Context, k.App, app, self.Slug)
		}
	}
	if b.Protected && out.Guarded == rules.No {
		out.Guarded, err = r.dismisses(ctx, branch)
	}
	return out, err
}

// branchRules adds what the rulesets require.
func (r *Repository) branchRules(ctx context.Context, branch string, app rules.AppID, slug rules.Slug, out *Protection) error {
	approval, fresh := false, false
	for page := 1; page <= maxPages; page++ {
		var list []struct {
			Type       string `json:"type"`
			Parameters struct {
				Checks []struct {
					Context string      `json:"context"`
					App     rules.AppID `json:"integration_id"`
				} `json:"required_status_checks"`
				Dismiss bool `json:"dismiss_stale_reviews_on_push"`
				Count   int  `json:"required_approving_review_count"`
			} `json:"parameters"`
		}
		more, err := r.get(conditional(ctx), fmt.Sprintf("rules/branches/%s?per_page=100&page=%d", url.PathEscape(branch), page), &list)
		if err != nil {
			return err
		}
		for _, x := range list {
			switch x.Type {
			case "required_status_checks":
				for _, k := range x.Parameters.Checks {
					out.require(k.Context, k.App, app, slug)
				}
			case "pull_request":
				approval = approval || x.Parameters.Count > 0
				if x.Parameters.Dismiss {
					out.Guarded, fresh = rules.Yes, true
				}
			case "merge_queue":
				out.Queue = true
			}
		}
		if !more {
			if out.Guarded == rules.Yes { // otherwise classic protection may do what they do not
				out.Reviewed = rules.TriOf(out.Queue || approval && fresh)
			}
			return nil
		}
	}
	return errTooLong
}

// dismisses says whether classic protection dismisses stale reviews, which only an
// App with Administration: read is told.
func (r *Repository) dismisses(ctx context.Context, branch string) (rules.Tri, error) {
	permissions, known := r.client.may(r.installation)
	if !known {
		in, err := r.client.Installation(ctx, r.installation)
		if err != nil {
			return rules.Unknown, err
		}
		permissions = in.Permissions
	}
	if may := permissions["administration"]; may != "read" && may != "write" {
		return rules.Unknown, nil
	}
	var p struct {
		Reviews struct {
			Dismiss bool `json:"dismiss_stale_reviews"`
		} `json:"required_pull_request_reviews"`
	}
	_, err := r.get(conditional(ctx), "branches/"+url.PathEscape(branch)+"/protection", &p)
	if errors.Is(err, ErrNotFound) {
		return rules.No, nil // it is protected by rulesets alone
	}
	if errors.Is(err, ErrForbidden) {
		return rules.Unknown, nil // the permission was taken away since
	}
	if err != nil {
		return rules.Unknown, err
	}
	return rules.TriOf(p.Reviews.Dismiss), nil
}

// maxActivity is how many pages of a branch's activity are read. A long-lived branch
// has no end of it, and who pushed before that is in the commits.
const maxActivity = 5

// LastPush finds in the activity of a ref who made a commit its head, and everybody
// who is on record as having pushed to it, as far as the newest 500 entries tell
// (https://docs.github.com/rest/repos/repos#list-repository-activities). The zero
// actor means that it is not on record.
func (r *Repository) LastPush(ctx context.Context, ref string, sha rules.SHA) (rules.Actor, []rules.Actor, error) {
	var last rules.Actor
	var all []rules.Actor
	after := ""
	for range maxActivity {
		var list []struct {
			After string   `json:"after"`
			Actor *gh.User `json:"actor"`
		}
		q := url.Values{"per_page": {"100"}, "ref": {ref}}
		if after != "" {
			q.Set("after", after)
		}
		answer, err := r.send(ctx, http.MethodGet, r.path("activity?"+q.Encode()), nil, &list)
		if err != nil {
			return rules.Actor{}, nil, err
		}
		for _, a := range list {
			who := rules.Actor{ID: rules.AccountID(a.Actor.GetID()), Login: rules.Login(a.Actor.GetLogin()), Type: rules.ActorType(a.Actor.GetType())}
			if !who.Known() {
				continue
			}
			if rules.SHA(a.After) == sha && !last.Known() {
				last = who
			}
			if !slices.Contains(all, who) {
				all = append(all, who)
			}
		}
		if after = answer.After; after == "" {
			break
		}
	}
	return last, all, nil
}

// PullsAt are the open pull requests whose head is exactly a commit.
func (r *Repository) PullsAt(ctx context.Context, sha rules.SHA) ([]int, error) {
	rest, err := r.rest()
	if err != nil {
		return nil, err
	}
	var out []int
	o := &gh.ListOptions{PerPage: 100}
	for range maxPages {
		list, answer, err := rest.PullRequests.ListPullRequestsWithCommit(ctx, r.owner, r.name, string(sha), o)
		if err != nil {
			err = r.client.understand(ctx, err)
			var refused *Refused
			if errors.As(err, &refused) { // 422: no such commit
				return nil, nil
			}
			return nil, err
		}
		for _, p := range list {
			if p.GetState() == "open" && p.GetHead().GetSHA() == string(sha) && rules.RepositoryID(p.GetBase().GetRepo().GetID()) == r.id {
				out = append(out, p.GetNumber())
			}
		}
		if answer.NextPage == 0 {
			return out, nil
		}
		o.Page = answer.NextPage
	}
	return nil, errTooLong
}

// OpenPull is an open pull request as a list shows it.
type OpenPull struct {
	Number    int
	HeadSHA   rules.SHA
	BaseRef   string
	UpdatedAt time.Time
}

// reducePulls leaves of a page of pull requests what an [OpenPull] tells: GitHub's own has
// two megabytes.
func reducePulls(body []byte) ([]byte, error) {
	var list []struct {
		Number int `json:"number"`
		Head   struct {
			SHA string `json:"sha"`
		} `json:"head"`
		Base struct {
			Ref string `json:"ref"`
		} `json:"base"`
		UpdatedAt jsontext.Value `json:"updated_at"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	return json.Marshal(list)
}

// OpenPulls lists the open pull requests.
func (r *Repository) OpenPulls(ctx context.Context) ([]OpenPull, error) {
	rest, err := r.rest()
	if err != nil {
		return nil, err
	}
	var out []OpenPull
	o := &gh.PullRequestListOptions{State: "open", ListOptions: gh.ListOptions{PerPage: 100}}
	for range maxPages {
		list, answer, err := rest.PullRequests.List(reduced(ctx, reducePulls), r.owner, r.name, o)
		if err != nil {
			return nil, r.client.understand(ctx, err)
		}
		for _, p := range list {
			out = append(out, OpenPull{Number: p.GetNumber(), HeadSHA: rules.SHA(p.GetHead().GetSHA()), BaseRef: p.GetBase().GetRef(), UpdatedAt: p.GetUpdatedAt().Time})
		}
		if answer.NextPage == 0 {
			return out, nil
		}
		o.Page = answer.NextPage
	}
	return nil, errTooLong
}

// Limits of the contents API (https://docs.github.com/rest/repos/contents).
const (
	maxFile   = 1 << 20
	maxFolder = 1000 // entries that it lists
)

// File reads a file at a branch or a commit. Where there is none the state is
// [FileAbsent]. Commit is set only if ref is one.
//
// The contents API follows symbolic links and does not say so, which the list of a
// folder does. The text is asked for by its hash, once.
func (r *Repository) File(ctx context.Context, file, ref string) (PolicyFile, error) {
	out := PolicyFile{Branch: ref}
	if sha := rules.SHA(ref); sha.Valid() {
		out.Branch, out.Commit = "", sha
	}
	folder := path.Dir(file)
	if folder == "." {
		folder = ""
	}
	var answer bytes.Buffer
	_, err := r.get(conditional(ctx), "contents/"+escapePath(folder)+"?ref="+url.QueryEscape(ref), &answer)
	if errors.Is(err, ErrNotFound) {
		// Absent, if the repository is there at all.
		if _, err := r.Info(ctx); err != nil {
			return PolicyFile{}, err
		}
		out.State = FileAbsent
		return out, nil
	}
	if err != nil {
		return PolicyFile{}, err
	}
	var list []struct {
		Path string    `json:"path"`
		Type string    `json:"type"`
		SHA  rules.SHA `json:"sha"`
		Size int       `json:"size"`
	}
	if jsontext.Value(answer.Bytes()).Kind() != '[' {
		out.State = FileAbsent // what should be the folder is a file
		return out, nil
	}
	if err := json.Unmarshal(answer.Bytes(), &list); err != nil {
		return PolicyFile{}, fmt.Errorf("reading GitHub's list of %q: %w", folder, err)
	}
	for _, e := range list {
		if e.Path != file {
			continue
		}
		out.Blob, out.State = e.SHA, FileUnreadable
		if e.Type != "file" || e.Size > maxFile {
			return out, nil
		}
		text, err := r.blob(ctx, e.SHA)
		if errors.Is(err, ErrNotFound) {
			return out, nil // a submodule, which such a list calls a file
		}
		if err != nil {
			return PolicyFile{}, err
		}
		if utf8.Valid(text) && !bytes.ContainsRune(text, 0) {
			out.State, out.Text = FileFound, text
		}
		return out, nil
	}
	out.State = FileAbsent
	if len(list) >= maxFolder {
		out.State = FileUnknown // the list ends before
	}
	return out, nil
}

// blob reads a file by its hash (https://docs.github.com/rest/git/blobs).
func (r *Repository) blob(ctx context.Context, sha rules.SHA) ([]byte, error) {
	var b struct {
		Content  string `json:"content"`
		Encoding string `json:"encoding"`
	}
	if _, err := r.get(immutable(ctx), "git/blobs/"+string(sha), &b); err != nil {
		return nil, err
	}
	if b.Encoding != "base64" {
		return nil, fmt.Errorf("GitHub gave blob %s as %q, want base64", sha, b.Encoding)
	}
	text, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(b.Content, "\n", ""))
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", sha, err)
	}
	return text, nil
}

// QueueEntry is a pull request in a merge queue.
type QueueEntry struct {
	Number int
	// Head is the pull request's, GroupHead the commit that would land.
	Head, GroupHead, GroupBase rules.SHA
}

// QueueEntries are the entries of a branch's merge queue, front first.
func (r *Repository) QueueEntries(ctx context.Context, branch string) ([]QueueEntry, error) {
	type node struct {
		Position int     `json:"position"`
		Head     *gqlOID `json:"headCommit"`
		Base     *gqlOID `json:"baseCommit"`
		Pull     *struct {
			Number int       `json:"number"`
			Head   rules.SHA `json:"headRefOid"`
		} `json:"pullRequest"`
	}
	var data struct {
		Repository *struct {
			Queue *struct {
				Entries struct {
					PageInfo gqlPage `json:"pageInfo"`
					Nodes    []node  `json:"nodes"`
				} `json:"entries"`
			} `json:"mergeQueue"`
		} `json:"repository"`
	}
	err := r.query(ctx, `query queue($owner:String!,$name:String!,$branch:String!){repository(owner:$owner,name:$name){mergeQueue(branch:$branch){
		entries(first:100){pageInfo{hasNextPage endCursor} nodes{position headCommit{oid} baseCommit{oid} pullRequest{number headRefOid}}}}}}`,
		map[string]any{"owner": r.owner, "name": r.name, "branch": branch}, &data)
	if err != nil {
		return nil, err
	}
	if data.Repository == nil || data.Repository.Queue == nil {
		return nil, nil
	}
	entries := data.Repository.Queue.Entries
	if entries.PageInfo.HasNextPage {
		return nil, errTooLong
	}
	nodes := entries.Nodes
	slices.SortFunc(nodes, func(a, b node) int { return a.Position - b.Position })
	var out []QueueEntry
	for _, n := range nodes {
		if n.Pull == nil {
			return nil, errors.New("a merge queue's entry without its pull request")
		}
		e := QueueEntry{Number: n.Pull.Number, Head: n.Pull.Head}
		if n.Head != nil {
			e.GroupHead = n.Head.OID
		}
		if n.Base != nil {
			e.GroupBase = n.Base.OID
		}
		out = append(out, e)
	}
	return out, nil
}

// Pins finds who logins and teams are. Lost are those that are nobody, teams of
// another organisation among them.
func (r *Repository) Pins(ctx context.Context, org string, users []rules.Login, teams []string) (map[string]rules.AccountID, map[string]rules.TeamID, []string, error) {
	rest, err := r.rest()
	if err != nil {
		return nil, nil, nil, err
	}
	u, t := map[string]rules.AccountID{}, map[string]rules.TeamID{}
	var lost []string
	for _, login := range users {
		var who gh.User
		_, err := r.send(ctx, http.MethodGet, "users/"+url.PathEscape(string(login)), nil, &who)
		switch {
		case errors.Is(err, ErrNotFound):
			lost = append(lost, string(login))
		case err != nil:
			return nil, nil, nil, fmt.Errorf("asking who %q is: %w", login, err)
		case !login.Equal(rules.Login(who.GetLogin())):
			lost = append(lost, string(login))
		default:
			u[strings.ToLower(string(login))] = rules.AccountID(who.GetID())
		}
	}
	for _, team := range teams {
		owner, slug, _ := strings.Cut(team, "/")
		if !strings.EqualFold(owner, org) {
			lost = append(lost, team)
			continue
		}
		found, _, err := rest.Teams.GetTeamBySlug(ctx, org, url.PathEscape(slug))
		err = r.client.understand(ctx, err)
		switch {
		case errors.Is(err, ErrNotFound):
			lost = append(lost, team)
		case err != nil:
			return nil, nil, nil, fmt.Errorf("asking which team %q is: %w", team, err)
		default:
			t[strings.ToLower(team)] = rules.TeamID(found.GetID())
		}
	}
	return u, t, lost, nil
}
