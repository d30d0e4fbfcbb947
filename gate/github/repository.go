package github

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

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
			out.List = append(out.List, Job{ID: rules.CheckRunID(j.GetID()), Name: j.GetName(), HeadSHA: rules.SHA(j.GetHeadSHA()), Conclusion: j.GetConclusion()})
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
	// Required are the required checks; App is "" where any source counts, and a
	// number after "#" where only the id is known. Nil is unknown.
	Required []rules.RequiredCheck `json:"required"`
}

// checkName is the name of our check on a head.
const checkName = "sallyport"

// actionsAppID is GitHub Actions'.
const actionsAppID = 15368

// Protection reads what a branch requires: the rules of all rulesets, and classic
// protection as far as it is shown to an App without Administration: read
// (https://docs.github.com/rest/repos/rules, https://docs.github.com/rest/branches/branches).
func (r *Repository) Protection(ctx context.Context, branch string, app rules.AppID) (Protection, error) {
	out := Protection{Guarded: rules.No, Required: []rules.RequiredCheck{}}
	add := func(name string, id int64) {
		k := rules.RequiredCheck{Name: name}
		switch id {
		case 0, -1:
		case actionsAppID:
			k.App = "github-actions"
		default:
			k.App = rules.Slug(fmt.Sprintf("#%d", id))
		}
		if rules.AppID(id) == app && name == checkName {
			out.Guarded = rules.Yes
			return // our own check waits for nothing of its own
		}
		out.Required = append(out.Required, k)
	}
	for page := 1; ; page++ {
		var list []struct {
			Type       string `json:"type"`
			Parameters struct {
				Checks []struct {
					Context string `json:"context"`
					App     int64  `json:"integration_id"`
				} `json:"required_status_checks"`
				Dismiss bool `json:"dismiss_stale_reviews_on_push"`
			} `json:"parameters"`
		}
		more, err := r.get(ctx, fmt.Sprintf("rules/branches/%s?per_page=100&page=%d", url.PathEscape(branch), page), &list)
		if err != nil {
			return Protection{}, err
		}
		for _, x := range list {
			switch x.Type {
			case "required_status_checks":
				for _, k := range x.Parameters.Checks {
					add(k.Context, k.App)
				}
			case "pull_request":
				if x.Parameters.Dismiss {
					out.Guarded = rules.Yes
				}
			}
		}
		if !more {
			break
		}
		if page == maxPages {
			return Protection{}, errTooLong
		}
	}
	if out.Guarded == rules.Yes {
		return out, nil
	}
	var b struct {
		Protected  bool `json:"protected"`
		Protection *struct {
			Checks *struct {
				Checks []struct {
					Context string `json:"context"`
					App     int64  `json:"app_id"`
				} `json:"checks"`
			} `json:"required_status_checks"`
		} `json:"protection"`
	}
	if _, err := r.get(ctx, "branches/"+url.PathEscape(branch), &b); err != nil {
		return Protection{}, err
	}
	if b.Protection != nil && b.Protection.Checks != nil {
		for _, k := range b.Protection.Checks.Checks {
			add(k.Context, k.App)
		}
	}
	if b.Protected && out.Guarded == rules.No {
		// Whether classic protection dismisses stale reviews is for administrators.
		out.Guarded = rules.Unknown
	}
	return out, nil
}

// LastPush finds in the activity of a ref who made a commit its head, and everybody
// who pushed to it (https://docs.github.com/rest/repos/repos#list-repository-activities).
// The zero actor means that it is not on record.
func (r *Repository) LastPush(ctx context.Context, ref string, sha rules.SHA) (rules.Actor, []rules.Actor, error) {
	var list []struct {
		After string   `json:"after"`
		Actor *gh.User `json:"actor"`
	}
	if _, err := r.get(ctx, "activity?per_page=100&ref="+url.QueryEscape(ref), &list); err != nil {
		return rules.Actor{}, nil, err
	}
	var last rules.Actor
	var all []rules.Actor
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
	UpdatedAt time.Time
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
		list, answer, err := rest.PullRequests.List(conditional(ctx), r.owner, r.name, o)
		if err != nil {
			return nil, r.client.understand(ctx, err)
		}
		for _, p := range list {
			out = append(out, OpenPull{Number: p.GetNumber(), HeadSHA: rules.SHA(p.GetHead().GetSHA()), UpdatedAt: p.GetUpdatedAt().Time})
		}
		if answer.NextPage == 0 {
			return out, nil
		}
		o.Page = answer.NextPage
	}
	return nil, errTooLong
}

// File reads a file at a branch or a commit. Where there is none the state is
// [FileAbsent].
func (r *Repository) File(ctx context.Context, path, ref string) (PolicyFile, error) {
	rest, err := r.rest()
	if err != nil {
		return PolicyFile{}, err
	}
	out := PolicyFile{Branch: ref}
	if sha := rules.SHA(ref); sha.Valid() {
		out.Branch, out.Commit = "", sha
	}
	file, dir, _, err := rest.Repositories.GetContents(conditional(ctx), r.owner, r.name, escapePath(path), &gh.RepositoryContentGetOptions{Ref: ref})
	if err = r.client.understand(ctx, err); errors.Is(err, ErrNotFound) {
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
	if dir != nil || file == nil {
		out.State = FileUnreadable
		return out, nil
	}
	out.Blob, out.State = rules.SHA(file.GetSHA()), FileUnreadable
	text, err := file.GetContent()
	if file.GetType() != "file" || err != nil || file.GetEncoding() != "base64" || file.GetPath() != path {
		return out, nil // a symlink shows what it leads to, a large file nothing
	}
	out.State, out.Text = FileFound, []byte(text)
	return out, nil
}

// QueueEntry is a pull request in a merge queue.
type QueueEntry struct {
	Number int
	// Head is the pull request's, GroupHead the commit that would land.
	Head, GroupHead, GroupBase rules.SHA
}

// QueueEntries are the entries of a branch's merge queue, front first.
func (r *Repository) QueueEntries(ctx context.Context, branch string) ([]QueueEntry, error) {
	var data struct {
		Repository *struct {
			Queue *struct {
				Entries struct {
					PageInfo gqlPage `json:"pageInfo"`
					Nodes    []struct {
						Position int     `json:"position"`
						Head     *gqlOID `json:"headCommit"`
						Base     *gqlOID `json:"baseCommit"`
						Pull     *struct {
							Number int       `json:"number"`
							Head   rules.SHA `json:"headRefOid"`
						} `json:"pullRequest"`
					} `json:"nodes"`
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
	slices.SortFunc(nodes, func(a, b struct {
		Position int     `json:"position"`
		Head     *gqlOID `json:"headCommit"`
		Base     *gqlOID `json:"baseCommit"`
		Pull     *struct {
			Number int       `json:"number"`
			Head   rules.SHA `json:"headRefOid"`
		} `json:"pullRequest"`
	}) int {
		return a.Position - b.Position
	})
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
		_, err := r.send(ctx, "GET", "users/"+url.PathEscape(string(login)), nil, &who)
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

// Members says which of some people are in which of some teams now: one query. A
// team that is gone, or is another one now, has none of them. Only ids are compared.
func (r *Repository) Members(ctx context.Context, org string, teams map[string]rules.TeamID, people []rules.Actor) (map[string]rules.Team, error) {
	out := map[string]rules.Team{}
	var query strings.Builder
	variables := map[string]any{"org": org}
	declared := []string{"$org:String!"}
	var keys []string
	for key := range teams {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for i, p := range people {
		declared = append(declared, fmt.Sprintf("$p%d:String!", i))
		variables[fmt.Sprintf("p%d", i)] = string(p.Login)
	}
	asked := 0
	for i, key := range keys {
		owner, slug, _ := strings.Cut(key, "/")
		out[key] = rules.Team{ID: teams[key], Members: map[rules.AccountID]rules.Tri{}}
		if !strings.EqualFold(owner, org) {
			for _, p := range people {
				out[key].Members[p.ID] = rules.No
			}
			continue
		}
		asked++
		declared = append(declared, fmt.Sprintf("$t%d:String!", i))
		variables[fmt.Sprintf("t%d", i)] = slug
		fmt.Fprintf(&query, "t%d:team(slug:$t%d){databaseId", i, i)
		for j := range people {
			fmt.Fprintf(&query, " p%d:members(first:100,query:$p%d){pageInfo{hasNextPage} nodes{databaseId}}", j, j)
		}
		query.WriteString("}\n")
	}
	if asked == 0 || len(people) == 0 {
		return out, nil
	}
	var data struct {
		Organization map[string]*gqlTeam `json:"organization"`
	}
	err := r.query(ctx, "query members("+strings.Join(declared, ",")+"){organization(login:$org){"+query.String()+"}}", variables, &data)
	if err != nil {
		return nil, err
	}
	for i, key := range keys {
		if owner, _, _ := strings.Cut(key, "/"); !strings.EqualFold(owner, org) {
			continue
		}
		team := data.Organization[fmt.Sprintf("t%d", i)]
		for j, p := range people {
			is := rules.No
			if team != nil && team.ID == teams[key] && p.ID != 0 {
				page := team.People[fmt.Sprintf("p%d", j)]
				if page.PageInfo.HasNextPage {
					is = rules.Unknown
				}
				for _, n := range page.Nodes {
					if n.ID == p.ID {
						is = rules.Yes
					}
				}
			}
			out[key].Members[p.ID] = is
		}
	}
	return out, nil
}
