package githubtest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A User is an account: a person, or the bot of an App.
type User struct {
	g *GitHub
	// ID is the account's number; it never changes.
	ID int64
	// Type is "User" or "Bot".
	Type  string
	login string
	name  string
	email string
	app   *App // the App whose bot this is, or nil
	gone  bool // deleted: shown as null
}

// User makes a person's account, or gives the one of that login.
func (g *GitHub) User(login string) *User { return g.account(login, "User") }

// Bot makes an account of type Bot that belongs to no App here, such as
// "dependabot[bot]", or gives the one of that login.
func (g *GitHub) Bot(login string) *User { return g.account(login, "Bot") }

func (g *GitHub) account(login, kind string) *User {
	g.mu.Lock()
	defer g.mu.Unlock()
	if u := g.userByLogin(login); u != nil {
		if u.Type != kind {
			misuse("%q is a %s, not a %s", login, u.Type, kind)
		}
		return u
	}
	id := g.newSmallID()
	return g.addUser(id, login, kind, fmt.Sprintf("%d+%s@users.noreply.github.com", id, login))
}

func (g *GitHub) addUser(id int64, login, kind, email string) *User {
	u := &User{g: g, ID: id, Type: kind, login: login, name: strings.TrimSuffix(login, "[bot]"), email: email}
	g.users[id] = u
	return u
}

func (g *GitHub) userByLogin(login string) *User {
	for _, u := range g.users {
		if !u.gone && strings.EqualFold(u.login, login) {
			return u
		}
	}
	return nil
}

// userByEmail is the account that GitHub would link a commit's address to, or nil.
func (g *GitHub) userByEmail(email string) *User {
	if local, ok := strings.CutSuffix(strings.ToLower(email), "@users.noreply.github.com"); ok {
		if id, _, ok := strings.Cut(local, "+"); ok {
			n, err := strconv.ParseInt(id, 10, 64)
			if u := g.users[n]; err == nil && u != nil && !u.gone {
				return u
			}
			return nil
		}
		return g.userByLogin(local)
	}
	for _, u := range g.users {
		if !u.gone && strings.EqualFold(u.email, email) {
			return u
		}
	}
	return nil
}

// Login is the account's present login.
func (u *User) Login() string {
	u.g.mu.Lock()
	defer u.g.mu.Unlock()
	return u.login
}

// Email is the address that links commits to the account.
func (u *User) Email() string { return u.email }

// Rename gives the account another login. The old one is free for others.
func (u *User) Rename(login string) {
	u.g.mu.Lock()
	defer u.g.mu.Unlock()
	u.login = login
}

// Delete removes the account: what it did shows null as its user.
func (u *User) Delete() {
	u.g.mu.Lock()
	defer u.g.mu.Unlock()
	u.gone = true
}

// Identity is the account as a commit names it.
func (u *User) Identity() Identity { return Identity{Name: u.name, Email: u.email} }

// An Organization owns repositories and has teams.
type Organization struct {
	g *GitHub
	// ID is the organisation's number.
	ID int64
	// Name is its login.
	Name   string
	owners map[int64]bool
	teams  []*Team
	user   *User // the organisation as an account
}

// Organization makes an organisation, or gives the one of that login.
func (g *GitHub) Organization(login string) *Organization {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o := g.orgByLogin(login); o != nil {
		return o
	}
	o := &Organization{g: g, ID: g.newSmallID(), Name: login, owners: map[int64]bool{}}
	o.user = &User{g: g, ID: o.ID, Type: "Organization", login: login, name: login}
	g.orgs[o.ID] = o
	return o
}

func (g *GitHub) orgByLogin(login string) *Organization {
	for _, o := range g.orgs {
		if strings.EqualFold(o.Name, login) {
			return o
		}
	}
	return nil
}

// Rename gives the organisation another login. The old one is free for others: what was
// asked of it by that answers 404, and its repositories under it answer 301.
func (o *Organization) Rename(by *User, login string) {
	o.g.mu.Lock()
	defer o.g.mu.Unlock()
	from := o.Name
	for _, r := range o.g.sortedRepos() {
		if r.org == o {
			o.g.moved(r, r.fullName())
		}
	}
	o.Name, o.user.login = login, login
	o.g.emitOrg(o, "organization", "renamed", by, obj{"changes": obj{"login": obj{"from": from}}})
}

// Owner makes somebody an owner of the organisation: admin everywhere in it.
func (o *Organization) Owner(u *User) {
	o.g.mu.Lock()
	defer o.g.mu.Unlock()
	o.owners[u.ID] = true
}

// A Team is a team of an organisation.
type Team struct {
	org *Organization
	// ID is the team's number; it never changes.
	ID      int64
	slug    string
	name    string
	parent  *Team
	members map[int64]membership
	repos   map[int64]string // repository id → permission
}

type membership struct{ role, state string }

// Team makes a team with active members, or gives the one of that slug.
func (o *Organization) Team(slug string, members ...*User) *Team {
	o.g.mu.Lock()
	defer o.g.mu.Unlock()
	t := o.team(slug)
	if t == nil {
		t = &Team{org: o, ID: o.g.newSmallID(), slug: slug, name: slug, members: map[int64]membership{}, repos: map[int64]string{}}
		o.teams = append(o.teams, t)
	}
	for _, u := range members {
		t.members[u.ID] = membership{"member", "active"}
	}
	return t
}

func (o *Organization) team(slug string) *Team {
	for _, t := range o.teams {
		if strings.EqualFold(t.slug, slug) {
			return t
		}
	}
	return nil
}

// Below makes the team a child of another: its members count there too.
func (t *Team) Below(parent *Team) {
	t.org.g.mu.Lock()
	defer t.org.g.mu.Unlock()
	t.parent = parent
}

// Rename changes the team's name and with it its slug; the id stays. No event tells of it:
// an App need not have heard.
func (t *Team) Rename(slug string) {
	t.org.g.mu.Lock()
	defer t.org.g.mu.Unlock()
	t.slug, t.name = slug, slug
}

// Add makes somebody an active member.
func (t *Team) Add(by, u *User) { t.set(by, u, "active") }

// Invite makes somebody a pending member, which counts for nothing.
func (t *Team) Invite(by, u *User) { t.set(by, u, "pending") }

func (t *Team) set(by, u *User, state string) {
	g := t.org.g
	g.mu.Lock()
	defer g.mu.Unlock()
	t.members[u.ID] = membership{"member", state}
	if state == "active" {
		g.emitOrg(t.org, "membership", "added", by, obj{"scope": "team", "member": g.userView(u), "team": g.webhookTeamView(t)})
	}
}

// Remove takes somebody out of the team.
func (t *Team) Remove(by, u *User) {
	g := t.org.g
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(t.members, u.ID)
	g.emitOrg(t.org, "membership", "removed", by, obj{"scope": "team", "member": g.userView(u), "team": g.webhookTeamView(t)})
}

// Access gives the team a permission on a repository: read, triage, write,
// maintain or admin.
func (t *Team) Access(r *Repository, permission string) {
	t.org.g.mu.Lock()
	defer t.org.g.mu.Unlock()
	rank(permission)
	t.repos[r.ID] = permission
}

// member is somebody's membership, through child teams too.
func (t *Team) member(u *User) (membership, bool) {
	best, found := t.members[u.ID]
	for _, c := range t.org.teams {
		if c.parent == t && best.state != "active" {
			if m, ok := c.member(u); ok && (m.state == "active" || !found) {
				best, found = membership{"member", m.state}, true
			}
		}
	}
	return best, found
}

// Members are the accounts that are in the team, or in one below it.
func (t *Team) Members() []*User {
	t.org.g.mu.Lock()
	defer t.org.g.mu.Unlock()
	return slices.SortedFunc(slices.Values(t.activeMembers()), func(a, b *User) int { return cmp.Compare(a.ID, b.ID) })
}

func (t *Team) activeMembers() []*User {
	var out []*User
	for _, u := range t.org.g.users {
		if m, ok := t.member(u); ok && m.state == "active" {
			out = append(out, u)
		}
	}
	slices.SortFunc(out, func(a, b *User) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// rank orders permissions; it panics on a word that is none.
func rank(permission string) int {
	i := slices.Index([]string{"none", "read", "triage", "write", "maintain", "admin"}, permission)
	if i < 0 {
		misuse("permission %q, want none, read, triage, write, maintain or admin", permission)
	}
	return i
}

// access is what somebody may do in a repository: none, read, triage, write,
// maintain or admin. An App's bot has what its installation has.
func (r *Repository) access(u *User) string {
	best := "none"
	better := func(p string) {
		if rank(p) > rank(best) {
			best = p
		}
	}
	if !r.private {
		better("read")
	}
	if u == nil || u.gone {
		return best
	}
	if u.app != nil {
		switch i := r.installation(u.app); {
		case i == nil:
		case i.permissions["contents"] == "write":
			better("write")
		default:
			better("read")
		}
	}
	if p, ok := r.collaborators[u.ID]; ok {
		better(p)
	}
	if r.org == nil {
		if r.owner == u {
			better("admin")
		}
		return best
	}
	if r.org.owners[u.ID] {
		better("admin")
	}
	for _, t := range r.org.teams {
		if m, ok := t.member(u); ok && m.state == "active" {
			for at := t; at != nil; at = at.parent {
				if p, ok := at.repos[r.ID]; ok {
					better(p)
				}
			}
		}
	}
	return best
}

// may reports whether somebody has at least a permission.
func (r *Repository) may(u *User, permission string) bool {
	return rank(r.access(u)) >= rank(permission)
}

// association is the author_association of somebody in a repository.
func (r *Repository) association(u *User) string {
	switch {
	case u == nil || u.gone || u.app != nil && !r.may(u, "write"):
		return "NONE"
	case r.org == nil && r.owner == u, r.org != nil && r.org.owners[u.ID]:
		return "OWNER"
	case r.org != nil && slices.ContainsFunc(r.org.teams, func(t *Team) bool { m, ok := t.member(u); return ok && m.state == "active" }):
		return "MEMBER"
	case r.may(u, "write"):
		return "COLLABORATOR"
	default:
		return "CONTRIBUTOR"
	}
}

// Slug is the team's present slug.
func (t *Team) Slug() string {
	t.org.g.mu.Lock()
	defer t.org.g.mu.Unlock()
	return t.slug
}
