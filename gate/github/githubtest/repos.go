package githubtest

import (
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// A Repository is one repository with its git objects, branches, pull requests and
// everything else that hangs on it.
type Repository struct {
	g *GitHub
	// ID is the repository's number; it never changes.
	ID            int64
	owner         *User // the owning account; an organisation's is org.user
	org           *Organization
	name          string
	private       bool
	archived      bool
	gone          bool        // deleted: heads of pull requests show null for it
	parent        *Repository // the repository that this is a fork of
	created       time.Time
	defaultBranch string
	git           *gitStore          // shared by a network of forks
	refs          map[string]string  // to a commit; a tag object is passed over
	annotated     map[string]*gitTag // the tag objects of refs
	collaborators map[int64]string
	protections   map[string]*Protection
	rulesets      []*ruleset
	pulls         []*Pull
	lastNumber    int
	labels        map[string]*label
	statuses      []*status
	suites        []*checkSuite
	activity      []activity
	// actionsInstall is where the jobs' tokens are from.
	actionsInstall *Installation
	workflows      []*workflow
	lastRun        map[int64]int // workflow id → run number
	runs           []*Run
	environments   []*Environment
	deployments    []*Deployment
	queues         map[string][]*queueEntry
	codeowners     []obj            // codeowners/errors
	brought        map[string]*Pull // commit on a base branch → the pull request that brought it
	activityLag    int              // how many reads of the activity leave out the newest
	queueLag       int              // how many reads of merge queues show no groups yet
	truncate       int              // of recursive trees; 0 is the limit of GitHub
	methods        map[string]bool
}

type label struct {
	id   int64
	name string
}

type activity struct {
	id                       int64
	kind, ref, before, after string
	actor                    *User
	at                       time.Time
}

// An Owner is an organisation or a user that may own repositories.
type Owner interface {
	ownerParts() (*User, *Organization)
}

func (o *Organization) ownerParts() (*User, *Organization) { return o.user, o }
func (u *User) ownerParts() (*User, *Organization)         { return u, nil }

// Repository makes a private repository with one commit on main, or gives the one
// of that name.
func (g *GitHub) Repository(owner Owner, name string) *Repository {
	g.mu.Lock()
	defer g.mu.Unlock()
	u, o := owner.ownerParts()
	if r := g.repoByName(u.login, name); r != nil {
		return r
	}
	r := g.addRepo(u, o, name)
	r.git = newGitStore()
	first := r.commit(Commit{Message: "Initial commit", Author: g.webFlow.Identity(), Files: map[string]File{"README.md": Text("# " + name + "\n")}, Signed: true})
	r.refs["refs/heads/main"] = first
	return r
}

// EmptyRepository makes a private repository without any commit.
func (g *GitHub) EmptyRepository(owner Owner, name string) *Repository {
	r := g.Repository(owner, name)
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(r.refs)
	r.git = newGitStore()
	return r
}

// empty is GitHub's answer to what asks for commits of a repository without any.
func (r *Repository) empty() error {
	if len(r.refs) > 0 {
		return nil
	}
	return refuse(http.StatusConflict, "Git Repository is empty.")
}

func (g *GitHub) addRepo(u *User, o *Organization, name string) *Repository {
	r := &Repository{
		g: g, ID: g.newSmallID(), owner: u, org: o, name: name, private: true, created: g.Now(), defaultBranch: "main",
		refs: map[string]string{}, annotated: map[string]*gitTag{}, collaborators: map[int64]string{}, protections: map[string]*Protection{}, labels: map[string]*label{},
		lastRun: map[int64]int{}, queues: map[string][]*queueEntry{}, brought: map[string]*Pull{},
		methods: map[string]bool{"merge": true, "squash": true, "rebase": true},
	}
	g.repos[r.ID] = r
	return r
}

// Fork makes a fork that shares the git objects, as GitHub's fork networks do.
func (r *Repository) Fork(owner Owner) *Repository {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	u, o := owner.ownerParts()
	f := r.g.addRepo(u, o, r.name)
	f.parent, f.git, f.private, f.defaultBranch = r, r.git, r.private, r.defaultBranch
	f.refs["refs/heads/"+r.defaultBranch] = r.refs["refs/heads/"+r.defaultBranch]
	return f
}

// Delete deletes the repository. What was opened from it stays open, without a
// repository of its head, as GitHub keeps the commits.
func (r *Repository) Delete(by *User) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.g.emit(r, "repository", "deleted", by, nil)
	r.gone = true
	delete(r.g.repos, r.ID)
	maps.DeleteFunc(r.g.redirects, func(_ string, to *Repository) bool { return to == r })
	for _, i := range r.g.installs {
		delete(i.repos, r.ID)
	}
}

// ActivityLags has the next n reads of the repository's activity leave out the newest.
func (r *Repository) ActivityLags(n int) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.activityLag = n
}

// Archive makes the repository one that nobody may write to; Archive(by, false) ends that.
func (r *Repository) Archive(by *User, archived bool) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.archived = archived
	action := map[bool]string{true: "archived", false: "unarchived"}[archived]
	r.g.emit(r, "repository", action, by, nil)
}

func (g *GitHub) repoByName(owner, name string) *Repository {
	for _, r := range g.repos {
		if strings.EqualFold(r.owner.login, owner) && strings.EqualFold(r.name, name) {
			return r
		}
	}
	return nil
}

func (r *Repository) fullName() string { return r.owner.login + "/" + r.name }

// FullName is owner/name.
func (r *Repository) FullName() string {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	return r.fullName()
}

// Public makes the repository readable by everybody.
func (r *Repository) Public() {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.private = false
}

// Rename changes the name; the old one answers 301, the id stays.
func (r *Repository) Rename(by *User, name string) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	from := r.name
	r.name = name
	r.g.moved(r, r.owner.login+"/"+from)
	r.g.emit(r, "repository", "renamed", by, obj{"changes": obj{"repository": obj{"name": obj{"from": from}}}})
}

// Transfer gives the repository to another owner; the old name answers 301, the id
// stays, installations of the old owner lose it.
func (r *Repository) Transfer(by *User, to Owner) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	from, old := r.owner, r.fullName()
	before := r.g.installationsOf(r)
	for _, i := range r.g.installs {
		delete(i.repos, r.ID)
	}
	r.owner, r.org = to.ownerParts()
	r.g.moved(r, old)
	// Who loses it hears that alone; who gains it, of the transfer too.
	for _, i := range before {
		i.selection("removed", by, []any{}, []any{r.shortView()})
	}
	for _, i := range r.g.installationsOf(r) {
		i.selection("added", by, []any{r.shortView()}, []any{})
	}
	kind := "user"
	if from.Type == "Organization" {
		kind = "organization"
	}
	r.g.emit(r, "repository", "transferred", by, obj{"changes": obj{"owner": obj{"from": obj{kind: r.g.userView(from)}}}})
}

// SetDefaultBranch changes the default branch to one that exists.
func (r *Repository) SetDefaultBranch(by *User, branch string) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	if r.refs["refs/heads/"+branch] == "" {
		misuse("no branch %q in %s", branch, r.fullName())
	}
	from := r.defaultBranch
	r.defaultBranch = branch
	r.g.emit(r, "repository", "edited", by, obj{"changes": obj{"default_branch": obj{"from": from}}})
}

// Collaborator gives somebody a permission on the repository; "none" takes it away.
func (r *Repository) Collaborator(u *User, permission string) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	if rank(permission) == 0 {
		delete(r.collaborators, u.ID)
		return
	}
	r.collaborators[u.ID] = permission
}

// CodeownersErrors sets what GET …/codeowners/errors answers: one error a message.
func (r *Repository) CodeownersErrors(messages ...string) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.codeowners = nil
	for i, m := range messages {
		r.codeowners = append(r.codeowners, obj{"line": i + 1, "column": 1, "kind": "Unknown owner", "source": "* @nobody", "suggestion": nil, "message": m, "path": ".github/CODEOWNERS"})
	}
}

// Protection is classic branch protection. A nil Reviews requires none.
type Protection struct {
	// Checks must succeed before a merge.
	Checks []RequiredCheck
	// Strict wants the branch up to date with its base.
	Strict bool
	// Reviews is what reviews a merge needs.
	Reviews *RequiredReviews
	// EnforceAdmins holds admins to all this too.
	EnforceAdmins bool
	// AllowForcePushes lets writers rewrite the branch.
	AllowForcePushes bool
}

// RequiredCheck is one required check or status. AppID 0 takes it from anybody.
type RequiredCheck struct {
	Context string
	AppID   int64
}

// RequiredReviews are the review requirements of a protection or ruleset.
type RequiredReviews struct {
	Count        int
	DismissStale bool
	CodeOwners   bool
	LastPush     bool
}

// Protect puts classic protection on a branch; nil takes it off.
func (r *Repository) Protect(branch string, p *Protection) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	if p == nil {
		delete(r.protections, branch)
		return
	}
	r.protections[branch] = p
}

// Ruleset is a branch ruleset of a repository.
type Ruleset struct {
	Name string
	// Branches are fnmatch patterns of branch names, or ~DEFAULT_BRANCH, ~ALL.
	Branches []string
	// Enforcement is active, evaluate or disabled. Default active.
	Enforcement string
	Checks      []RequiredCheck
	Strict      bool
	Reviews     *RequiredReviews
	// NoForcePush is the rule non_fast_forward.
	NoForcePush bool
	// MergeQueue requires merging through a merge queue.
	MergeQueue bool
	// Linear is the rule required_linear_history: no merge commits, whatever the
	// repository allows.
	Linear bool
	// Bypass lists Apps (by id) that pass the ruleset.
	Bypass []int64
}

type ruleset struct {
	Ruleset
	id      int64
	created time.Time
}

// AddRuleset adds a ruleset and gives its id.
func (r *Repository) AddRuleset(s Ruleset) int64 {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	if s.Enforcement == "" {
		s.Enforcement = "active"
	}
	added := &ruleset{Ruleset: s, id: r.g.newSmallID(), created: r.g.Now()}
	r.rulesets = append(r.rulesets, added)
	return added.id
}

// RemoveRuleset takes a ruleset away.
func (r *Repository) RemoveRuleset(id int64) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.rulesets = slices.DeleteFunc(r.rulesets, func(s *ruleset) bool { return s.id == id })
}

func (s *ruleset) covers(r *Repository, branch string) bool {
	if s.Enforcement != "active" {
		return false
	}
	return slices.ContainsFunc(s.Branches, func(pattern string) bool {
		switch pattern {
		case "~ALL":
			return true
		case "~DEFAULT_BRANCH":
			return branch == r.defaultBranch
		}
		ok, err := path.Match(pattern, branch)
		return ok && err == nil
	})
}

// requirements is what protection and rulesets ask of a branch together.
type requirements struct {
	checks     []RequiredCheck
	strict     bool
	reviews    *RequiredReviews
	noForce    bool
	mergeQueue bool
	linear     bool
	any        bool
}

func (r *Repository) requirements(branch string) requirements {
	var out requirements
	add := func(checks []RequiredCheck, strict bool, reviews *RequiredReviews) {
		out.any = true
		out.checks = append(out.checks, checks...)
		out.strict = out.strict || strict
		if reviews == nil {
			return
		}
		if out.reviews == nil {
			out.reviews = &RequiredReviews{}
		}
		out.reviews.Count = max(out.reviews.Count, reviews.Count)
		out.reviews.DismissStale = out.reviews.DismissStale || reviews.DismissStale
		out.reviews.CodeOwners = out.reviews.CodeOwners || reviews.CodeOwners
		out.reviews.LastPush = out.reviews.LastPush || reviews.LastPush
	}
	if p := r.protections[branch]; p != nil {
		add(p.Checks, p.Strict, p.Reviews)
		out.noForce = !p.AllowForcePushes
	}
	for _, s := range r.rulesets {
		if s.covers(r, branch) {
			add(s.Checks, s.Strict, s.Reviews)
			out.noForce = out.noForce || s.NoForcePush
			out.mergeQueue = out.mergeQueue || s.MergeQueue
			out.linear = out.linear || s.Linear
		}
	}
	return out
}
