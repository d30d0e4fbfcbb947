package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	gh "github.com/google/go-github/v62/github"

	"github.com/sallyport/sallyport/rules"
)

// Run is a workflow run in its latest attempt.
type Run struct {
	ID      rules.RunID
	Attempt int // 0 is unknown
	// Workflow is the path of the workflow's file. Where a path could be read in two
	// ways it is as GitHub gives it, and no policy names such a file.
	Workflow string
	Event    string
	HeadSHA  rules.SHA
	// HeadBranch is the short name of the branch, or of the tag, that it runs on.
	HeadBranch string
	Status     string // queued, in_progress, waiting, completed, …
	Conclusion string // "" until it is completed
	// Actor started the run, Triggering this attempt.
	Actor, Triggering rules.Actor
	// Repository is whose run it is, which the caller compares; HeadRepository is where
	// its commit is from, 0 if that is gone.
	Repository, HeadRepository rules.RepositoryID
	CreatedAt                  time.Time
	// StartedAt is when this attempt began.
	StartedAt time.Time
	// URL is its page.
	URL string
}

// Run reads a workflow run (https://docs.github.com/rest/actions/workflow-runs).
func (r *Repository) Run(ctx context.Context, id rules.RunID) (Run, error) {
	var a restRun
	if _, err := r.get(ctx, fmt.Sprintf("actions/runs/%d?exclude_pull_requests=true", id), &a); err != nil {
		return Run{}, err
	}
	if a.ID != id || !a.HeadSHA.Valid() {
		return Run{}, fmt.Errorf("GitHub gave run %d at %q for run %d", a.ID, a.HeadSHA, id)
	}
	return a.run(), nil
}

// userActor is an account as REST gives it; the zero actor where there is none.
func userActor(u *gh.User) rules.Actor {
	return rules.Actor{ID: rules.AccountID(u.GetID()), Login: rules.Login(u.GetLogin()), Type: rules.ActorType(u.GetType())}
}

// workflowPath is the path of a run without the ref that GitHub sometimes adds after
// an "@". A file may have an "@" in its name, and must not pass for what stands before
// it: a path that can be read in two ways is left as it is.
func workflowPath(path string) string {
	isFile := func(s string) bool { return strings.HasSuffix(s, ".yml") || strings.HasSuffix(s, ".yaml") }
	if isFile(path) {
		return path
	}
	found := ""
	for i, c := range path {
		if c != '@' || !isFile(path[:i]) {
			continue
		}
		if found != "" {
			return path
		}
		found = path[:i]
	}
	if found == "" {
		return path
	}
	return found
}

// Pending is an environment that holds jobs of a run.
type Pending struct {
	Environment string
	ID          int64 // the environment's: one made anew under the name has another
}

// Pending lists the environments that hold jobs of a run. GitHub gives them on one
// page (https://docs.github.com/rest/actions/workflow-runs).
func (r *Repository) Pending(ctx context.Context, run rules.RunID) ([]Pending, error) {
	var list []struct {
		Environment struct {
			ID   int64  `json:"id"`
			Name string `json:"name"`
		} `json:"environment"`
	}
	if _, err := r.get(ctx, fmt.Sprintf("actions/runs/%d/pending_deployments", run), &list); err != nil {
		return nil, err
	}
	out := []Pending{}
	for _, p := range list {
		out = append(out, Pending{Environment: p.Environment.Name, ID: p.Environment.ID})
	}
	return out, nil
}

// maxWaiting is how many runs of one status GitHub lists.
const maxWaiting = 1000

// WaitingRuns are the runs that something holds, the newest first. Where there are
// more than GitHub lists, 1,000, those that it lists are given with an error.
func (r *Repository) WaitingRuns(ctx context.Context) ([]rules.RunID, error) {
	out := []rules.RunID{}
	seen := map[rules.RunID]bool{}
	for page := 1; page <= maxWaiting/100; page++ {
		var list struct {
			Total int `json:"total_count"`
			Runs  []struct {
				ID rules.RunID `json:"id"`
			} `json:"workflow_runs"`
		}
		more, err := r.get(conditional(ctx), fmt.Sprintf("actions/runs?status=waiting&exclude_pull_requests=true&per_page=100&page=%d", page), &list)
		if err != nil {
			return nil, err
		}
		for _, w := range list.Runs {
			if !seen[w.ID] { // the list moves while it is read
				seen[w.ID] = true
				out = append(out, w.ID)
			}
		}
		if !more && list.Total <= maxWaiting {
			return out, nil
		}
		if !more {
			break
		}
	}
	return out, errTooLong
}

// maxComment is how many characters a rule's comment may have
// (https://docs.github.com/actions/how-tos/deploy/configure-and-manage-deployments/create-custom-protection-rules).
const maxComment = 1024

// Answer answers our own rule on an environment for all jobs of a run that it holds:
// state is "approved" or "rejected", and final for the attempt. With "" it is a status
// report, of which GitHub takes ten. The comment is Markdown, and cut to GitHub's
// 1,024 characters. Where GitHub has nothing to answer, not yet or no longer, the
// error is a [*Refused].
func (r *Repository) Answer(ctx context.Context, run rules.RunID, environment, state, comment string) error {
	switch {
	case environment == "":
		return errors.New("an answer needs the name of an environment")
	case state != "" && state != "approved" && state != "rejected":
		return fmt.Errorf("%q is no answer to GitHub: want approved, rejected, or nothing for a status report", state)
	case state == "" && comment == "":
		return errors.New("a status report needs a comment")
	}
	comment = strings.ToValidUTF8(comment, "\uFFFD")
	if utf8.RuneCountInString(comment) > maxComment {
		comment = string([]rune(comment)[:maxComment-1]) + "…"
	}
	// An empty state is neither an answer nor a report: it must not be sent at all.
	body := map[string]string{"environment_name": environment}
	if state != "" {
		body["state"] = state
	}
	if comment != "" {
		body["comment"] = comment
	}
	_, err := r.send(ctx, http.MethodPost, r.path(fmt.Sprintf("actions/runs/%d/deployment_protection_rule", run)), body, nil)
	return err
}

// Environment is a deployment environment.
type Environment struct {
	ID   int64
	Name string
}

// Environments lists the repository's environments
// (https://docs.github.com/rest/deployments/environments).
func (r *Repository) Environments(ctx context.Context) ([]Environment, error) {
	out := []Environment{}
	for page := 1; page <= maxPages; page++ {
		var list struct {
			Environments []struct {
				ID   int64  `json:"id"`
				Name string `json:"name"`
			} `json:"environments"`
		}
		more, err := r.get(conditional(ctx), fmt.Sprintf("environments?per_page=100&page=%d", page), &list)
		if err != nil {
			return nil, err
		}
		for _, e := range list.Environments {
			out = append(out, Environment{ID: e.ID, Name: e.Name})
		}
		if !more {
			return out, nil
		}
	}
	return nil, errTooLong
}

// RuleEnabled says whether our own App is an enabled protection rule of an environment
// (https://docs.github.com/rest/deployments/protection-rules). An environment that is
// not there is [ErrNotFound].
func (r *Repository) RuleEnabled(ctx context.Context, environment string) (bool, error) {
	name, err := segment(environment)
	if err != nil {
		return false, fmt.Errorf("asking for the rules of environment %q: %w", environment, err)
	}
	var list struct {
		Rules []struct {
			Enabled bool `json:"enabled"`
			App     struct {
				ID rules.AppID `json:"id"`
			} `json:"app"`
		} `json:"custom_deployment_protection_rules"`
	}
	if _, err := r.get(conditional(ctx), "environments/"+name+"/deployment_protection_rules", &list); err != nil {
		return false, err
	}
	for _, x := range list.Rules {
		if x.Enabled && x.App.ID == r.client.cfg.App {
			return true, nil
		}
	}
	return false, nil
}

// maxSegment is how many characters the name of an environment has at most.
const maxSegment = 255

// segment is a name as one part of a path. Between here and GitHub somebody may take
// dots for a way up even where they are escaped, so that such a name is refused.
func segment(name string) (string, error) {
	if name == "" || utf8.RuneCountInString(name) > maxSegment {
		return "", fmt.Errorf("want a name of 1 to %d characters", maxSegment)
	}
	for _, part := range strings.FieldsFunc(name, func(c rune) bool { return c == '/' || c == '\\' }) {
		if part == "." || part == ".." {
			return "", errors.New("a name with . or .. between slashes cannot be asked for by its path: rename it")
		}
	}
	return url.PathEscape(name), nil
}

// RerunJob runs a completed job, and those that depend on it, in a new attempt of its
// run.
func (r *Repository) RerunJob(ctx context.Context, job rules.CheckRunID) error {
	_, err := r.send(ctx, http.MethodPost, r.path(fmt.Sprintf("actions/jobs/%d/rerun", job)), nil, nil)
	return err
}

// Permission says what whoever has a login now may do with the repository: "admin",
// "maintain", "write", "read" or "none". The caller compares the id, 0 if unknown, with that of
// whom it means: a login can be another's by now. A login that nobody has is
// [ErrNotFound] (https://docs.github.com/rest/collaborators/collaborators).
func (r *Repository) Permission(ctx context.Context, login rules.Login) (level string, id rules.AccountID, err error) {
	name, err := segment(string(login))
	if err != nil {
		return "", 0, fmt.Errorf("asking what %q may do: %w", login, err)
	}
	var a struct {
		Permission string   `json:"permission"`
		Role       string   `json:"role_name"`
		User       *gh.User `json:"user"`
	}
	if _, err := r.get(ctx, "collaborators/"+name+"/permission", &a); err != nil {
		return "", 0, err
	}
	if a.Permission == "write" && a.Role == "maintain" {
		a.Permission = a.Role // which permission calls write
	}
	switch a.Permission {
	case "admin", "maintain", "write", "read", "none":
		return a.Permission, rules.AccountID(a.User.GetID()), nil
	}
	return "", 0, fmt.Errorf("GitHub says that %q has the permission %q, want admin, write, read or none", login, a.Permission)
}

// DeployPlace is where a deployment stands in its repository at one moment.
type DeployPlace struct {
	DefaultBranch string
	DefaultHead   rules.SHA
	// Branch and Tag are where the branch and the tag of one name stand, "" where there
	// is none. What a tag object names counts; if that is no commit it equals none.
	Branch, Tag rules.SHA
	// Environments are the environments of the run's jobs, by their check runs, as far
	// as they have a deployment. A job can neither make itself one nor move it.
	Environments map[rules.CheckRunID]string
	// EnvironmentsKnown is false where GitHub did not give all of them.
	EnvironmentsKnown bool
}

// Fields of a [DeployPlace].
const (
	// targetFields ask for what a ref names: tags of tags, three deep.
	targetFields = `target{__typename oid ...on Tag{target{__typename oid ...on Tag{target{__typename oid ...on Tag{target{__typename oid}}}}}}}`
	// jobFields ask for check runs of a suite: those of earlier attempts too, since
	// among the latest only one of each name is listed. A status can give a deployment
	// another environment, and anybody with deployments: write a status: the first one,
	// of the job, is meant.
	jobFields = `pageInfo{hasNextPage endCursor} nodes{databaseId deployment{originalEnvironment}}`
	// placeChecks ask for the suites of GitHub Actions at the commit.
	placeChecks = `object(oid:$sha){...on Commit{checkSuites(first:50,after:$after,filterBy:{appId:15368}){pageInfo{hasNextPage endCursor}
		nodes{id workflowRun{databaseId} checkRuns(first:100,filterBy:{checkType:ALL}){` + jobFields + `}}}}}`
	placeRefs = `databaseId defaultBranchRef{name target{oid}}
		branch:ref(qualifiedName:$branch)@include(if:$named){` + targetFields + `} tag:ref(qualifiedName:$tag)@include(if:$named){` + targetFields + `}`
	placeQuery = `query place($owner:String!,$name:String!,$branch:String!,$tag:String!,$named:Boolean!,$sha:GitObjectID!,$after:String){repository(owner:$owner,name:$name){
		` + placeRefs + ` ` + placeChecks + `}}`
	refsQuery = `query place($owner:String!,$name:String!,$branch:String!,$tag:String!,$named:Boolean!){repository(owner:$owner,name:$name){
		` + placeRefs + `}}`
	suitesQuery = `query suites($owner:String!,$name:String!,$sha:GitObjectID!,$after:String){repository(owner:$owner,name:$name){databaseId ` + placeChecks + `}}`
	suiteQuery  = `query suite($id:ID!,$after:String!){node(id:$id){...on CheckSuite{checkRuns(first:100,after:$after,filterBy:{checkType:ALL}){` + jobFields + `}}}}`
)

// Bounds of the check suites that are read: 1,000 suites, 5,000 check runs of one.
const (
	maxSuitePages = 20
	maxJobPages   = 50
)

type (
	gqlTarget struct {
		OID    rules.SHA  `json:"oid"`
		Target *gqlTarget `json:"target"`
	}
	gqlRef struct {
		Name   string     `json:"name"`
		Target *gqlTarget `json:"target"`
	}
	gqlJobs struct {
		PageInfo gqlPage `json:"pageInfo"`
		Nodes    []struct {
			DatabaseID *rules.CheckRunID `json:"databaseId"`
			Deployment *struct {
				Environment string `json:"originalEnvironment"`
			} `json:"deployment"`
		} `json:"nodes"`
	}
	gqlPlaceSuites struct {
		PageInfo gqlPage `json:"pageInfo"`
		Nodes    []struct {
			ID          string `json:"id"`
			WorkflowRun *struct {
				DatabaseID *rules.RunID `json:"databaseId"`
			} `json:"workflowRun"`
			CheckRuns gqlJobs `json:"checkRuns"`
		} `json:"nodes"`
	}
	gqlPlace struct {
		Repository *struct {
			DatabaseID rules.RepositoryID `json:"databaseId"`
			Default    *gqlRef            `json:"defaultBranchRef"`
			Branch     *gqlRef            `json:"branch"`
			Tag        *gqlRef            `json:"tag"`
			Commit     *struct {
				Suites *gqlPlaceSuites `json:"checkSuites"`
			} `json:"object"`
		} `json:"repository"`
	}
)

// at is the object that a ref names in the end; "" if there is no such ref.
func (f *gqlRef) at() (rules.SHA, error) {
	if f == nil {
		return "", nil
	}
	t := f.Target
	for t != nil && t.Target != nil {
		t = t.Target
	}
	if t == nil || !t.OID.Valid() {
		return "", fmt.Errorf("GitHub gave ref %q without what it names", f.Name)
	}
	return t.OID, nil
}

// DeployPlace reads where a deployment stands: the default branch, the branch and the
// tag of a name, and the environments of a run's jobs at a commit. It is one query,
// and more only where a list is longer than a page. With name "" no ref is asked for.
func (r *Repository) DeployPlace(ctx context.Context, name string, sha rules.SHA, run rules.RunID) (DeployPlace, error) {
	if !sha.Valid() {
		return DeployPlace{}, fmt.Errorf("%q is no commit", sha)
	}
	v := map[string]any{"owner": r.owner, "name": r.name, "branch": "refs/heads/" + name, "tag": "refs/tags/" + name, "named": name != ""}
	with := map[string]any{"sha": string(sha)}
	for k, x := range v {
		with[k] = x
	}
	var data gqlPlace
	var err error
	checks := !r.client.withoutChecks(r.installation)
	if checks {
		err = r.query(ctx, placeQuery, with, &data)
		var faults *graphQLError
		if errors.As(err, &faults) && faults.below("checkSuites") {
			if !errors.Is(err, ErrForbidden) {
				r.client.noChecks(r.installation)
			}
			checks = false
		}
	}
	if !checks {
		data = gqlPlace{}
		err = r.query(ctx, refsQuery, v, &data)
	}
	if err != nil {
		return DeployPlace{}, err
	}
	q := data.Repository
	if q == nil || q.DatabaseID != r.id {
		return DeployPlace{}, fmt.Errorf("%w: repository %d under the name %s/%s", ErrNotFound, r.id, r.owner, r.name)
	}
	var out DeployPlace
	if out.DefaultHead, err = q.Default.at(); err != nil {
		return DeployPlace{}, err
	}
	if q.Default != nil {
		out.DefaultBranch = q.Default.Name
	}
	if out.Branch, err = q.Branch.at(); err != nil {
		return DeployPlace{}, err
	}
	if out.Tag, err = q.Tag.at(); err != nil {
		return DeployPlace{}, err
	}
	if checks && q.Commit != nil {
		out.Environments, out.EnvironmentsKnown, err = r.environments(ctx, q.Commit.Suites, sha, run)
	}
	return out, err
}

// environments are those of a run's jobs. It reads on from the first page of suites
// until it has the run's.
func (r *Repository) environments(ctx context.Context, suites *gqlPlaceSuites, sha rules.SHA, run rules.RunID) (map[rules.CheckRunID]string, bool, error) {
	for range maxSuitePages {
		if suites == nil {
			r.client.noChecks(r.installation)
			return nil, false, nil
		}
		for _, s := range suites.Nodes {
			switch {
			case s.WorkflowRun == nil:
			case s.WorkflowRun.DatabaseID == nil:
				r.client.noChecks(r.installation) // it may be this one
				return nil, false, nil
			case *s.WorkflowRun.DatabaseID == run:
				return r.suiteEnvironments(ctx, s.ID, s.CheckRuns)
			}
		}
		if !suites.PageInfo.HasNextPage {
			break
		}
		var data gqlPlace
		err := r.query(ctx, suitesQuery, map[string]any{"owner": r.owner, "name": r.name, "sha": string(sha), "after": suites.PageInfo.EndCursor}, &data)
		if err != nil {
			return nil, false, faultless(err)
		}
		if data.Repository == nil || data.Repository.DatabaseID != r.id || data.Repository.Commit == nil {
			return nil, false, nil
		}
		suites = data.Repository.Commit.Suites
	}
	return nil, false, nil // the run's suite is not there, or not yet
}

// suiteEnvironments are the environments of the jobs of one suite.
func (r *Repository) suiteEnvironments(ctx context.Context, id string, jobs gqlJobs) (map[rules.CheckRunID]string, bool, error) {
	out := map[rules.CheckRunID]string{}
	for range maxJobPages {
		for _, k := range jobs.Nodes {
			if k.DatabaseID == nil {
				r.client.noChecks(r.installation)
				return nil, false, nil
			}
			if k.Deployment == nil {
				continue
			}
			if k.Deployment.Environment == "" {
				return nil, false, nil
			}
			out[*k.DatabaseID] = k.Deployment.Environment
		}
		if !jobs.PageInfo.HasNextPage {
			return out, true, nil
		}
		var data struct {
			Node *struct {
				CheckRuns gqlJobs `json:"checkRuns"`
			} `json:"node"`
		}
		if err := r.query(ctx, suiteQuery, map[string]any{"id": id, "after": jobs.PageInfo.EndCursor}, &data); err != nil {
			return nil, false, faultless(err)
		}
		if data.Node == nil {
			return nil, false, nil
		}
		jobs = data.Node.CheckRuns
	}
	return nil, false, nil
}

// faultless leaves out the errors of an answer: what it would have told is not known.
func faultless(err error) error {
	var faults *graphQLError
	if errors.As(err, &faults) {
		return nil
	}
	return err
}

// maxBranchPages is how many pages of branches are read: 2,000 branches.
const maxBranchPages = 20

// Branches are where the branches stand. It is not complete where there are more than
// 2,000, or where they changed while they were read.
func (r *Repository) Branches(ctx context.Context) (heads map[string]rules.SHA, complete bool, err error) {
	heads = map[string]rules.SHA{}
	after := any(nil)
	for range maxBranchPages {
		var data struct {
			Repository *struct {
				DatabaseID rules.RepositoryID `json:"databaseId"`
				Refs       *struct {
					TotalCount int      `json:"totalCount"`
					PageInfo   gqlPage  `json:"pageInfo"`
					Nodes      []gqlRef `json:"nodes"`
				} `json:"refs"`
			} `json:"repository"`
		}
		err := r.query(ctx, `query branches($owner:String!,$name:String!,$after:String){repository(owner:$owner,name:$name){databaseId
			refs(refPrefix:"refs/heads/",first:100,after:$after){totalCount pageInfo{hasNextPage endCursor} nodes{name target{oid}}}}}`,
			map[string]any{"owner": r.owner, "name": r.name, "after": after}, &data)
		if err != nil {
			return nil, false, err
		}
		if data.Repository == nil || data.Repository.DatabaseID != r.id || data.Repository.Refs == nil {
			return nil, false, fmt.Errorf("%w: the branches of repository %d under the name %s/%s", ErrNotFound, r.id, r.owner, r.name)
		}
		refs := data.Repository.Refs
		for _, b := range refs.Nodes {
			head, err := b.at()
			if err != nil {
				return nil, false, err
			}
			heads[b.Name] = head
		}
		if !refs.PageInfo.HasNextPage {
			return heads, len(heads) == refs.TotalCount, nil
		}
		after = refs.PageInfo.EndCursor
	}
	return heads, false, nil
}
