package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// clockSkew is how far in the future GitHub's time of a review may lie before it
// counts as unknown.
const clockSkew = 5 * time.Minute

// mostUnresolved is how many approvals more unresolved identities ask for, at
// most.
const mostUnresolved = 2

// roles are the parts that people played, by account and by login: one entry for
// each, since a matching login is enough to keep somebody out.
type roles struct {
	byID    map[AccountID][]Role
	byLogin map[string][]Role
}

func (r roles) add(a Actor, role Role) {
	if a.ID != 0 && !slices.Contains(r.byID[a.ID], role) {
		r.byID[a.ID] = append(r.byID[a.ID], role)
	}
	if login := a.Login.fold(); login != "" && !slices.Contains(r.byLogin[login], role) {
		r.byLogin[login] = append(r.byLogin[login], role)
	}
}

// of is the first of the excluded roles that somebody played, or "". Who asked for
// a change is always excluded.
func (r roles) of(excluded []Role, a Actor) Role {
	byID, byLogin := r.byID[a.ID], r.byLogin[a.Login.fold()]
	for _, role := range append([]Role{RoleRequester}, excluded...) {
		if slices.Contains(byID, role) || slices.Contains(byLogin, role) {
			return role
		}
	}
	return ""
}

// approvals counts the reviews for each need, and lets a listed reviewer's request
// for changes block. The needs' counts rise by the identities that could not be
// resolved.
func (j *mergeDoor) approvals(needs []Need, envs []int) {
	opinions := latestOpinions(j.c.Reviews)
	j.blocks(opinions, needs, envs)
	if len(needs) == 0 {
		return
	}
	excluded, unresolved := j.handsIn()
	extra := min(len(unresolved), mostUnresolved)
	if j.c.Basis == Local {
		// No pull request: no account is known yet, which says nothing.
		extra = 0
	}
	var extraReason *Reason
	if extra > 0 {
		more := "one approval more is needed"
		if extra > 1 {
			more = fmt.Sprintf("%d approvals more are needed", extra)
		}
		extraReason = reason(codeUnresolved, VerdictAllow, at{}, describeUnresolved(unresolved), more)
	}

	notes := map[Login]bool{}
	for i := range needs {
		n := &needs[i]
		n.Count += extra
		env := j.pc.envs[slices.Index(j.pc.names, n.Environment)]
		var because []Reason
		var counted []Actor
		for _, o := range opinions {
			if o.State != ReviewApproved {
				continue
			}
			why := j.counts(o, n, env, excluded)
			if why != nil {
				because = append(because, *why)
				continue
			}
			if slices.ContainsFunc(counted, o.User.MayBe) {
				continue // one person under two names
			}
			counted = append(counted, o.User)
			if o.SHA != j.c.Head.SHA {
				because = append(because, *reason(codeStands, VerdictAllow, at{login: o.User.Login, sha: o.SHA}, o.User.Login, o.SHA.Short()))
			}
			n.Approved = append(n.Approved, o.User.Login)
			if j.c.Basis == Stated && !notes[o.User.Login] {
				notes[o.User.Login] = true
				if o.Write == Unknown {
					j.say(codeStatedWrite, VerdictAllow, at{login: o.User.Login}, o.User.Login)
				}
				if j.listed(n.Reviewers, o.User) != Yes {
					j.say(codeStatedName, VerdictAllow, at{login: o.User.Login}, o.User.Login)
				}
			}
		}
		slices.Sort(n.Approved)
		for _, r := range n.Reviewers {
			who := Actor{ID: j.v.Directory.Users[r.Key()], Login: Login(r)}
			if !r.IsTeam() && excluded.of(env.excluded(), who) != "" {
				n.Excluded = append(n.Excluded, who.Login)
			}
		}
		slices.Sort(n.Excluded)
		sortReasons(because)
		what := n.what()
		fact := at{env: n.Environment, path: n.Path}
		var r *Reason
		switch {
		case len(n.Reviewers) == 0:
			r = reason(codeNobodyListed, VerdictWait, fact, what)
		case n.Missing() > 0:
			r = reason(codeApprovalMissing, VerdictWait, fact, what, countWords(n.Count), listReviewers(n.Reviewers), missingWords(len(n.Approved), n.Count))
			if extraReason != nil {
				because = append(because, *extraReason)
			}
		default:
			r = reason(codeApproved, VerdictAllow, fact, what, quoted(joinLogins(n.Approved)))
		}
		r.Because = because
		j.rs = append(j.rs, *r)
	}
}

func joinLogins(ls []Login) string {
	s := make([]string, len(ls))
	for i, l := range ls {
		s[i] = string(l)
	}
	return strings.Join(s, ", ")
}

// blocks says who asked for changes. Anyone on a list that applies does: of the
// needs, and of each touched environment even where nothing is needed.
func (j *mergeDoor) blocks(opinions []Review, needs []Need, envs []int) {
	var lists [][]Reviewer
	for _, n := range needs {
		lists = append(lists, n.Reviewers)
	}
	for _, e := range envs {
		lists = append(lists, j.pc.envs[e].reviewersOf(j.p))
	}
	for _, o := range opinions {
		if o.State == ReviewApproved || o.State == ReviewDismissed {
			continue
		}
		on := No
		for _, l := range lists {
			on = either(on, j.listedOrNamed(l, o.User))
		}
		if on == No {
			continue
		}
		fact := at{login: o.User.Login, sha: o.SHA}
		if o.State == ReviewChangesRequested {
			j.say(codeChangesRequested, VerdictWait, fact, o.User.Login)
		} else {
			j.say(codeUnknownOpinion, VerdictWait, fact, o.User.Login, quoted(o.State))
		}
	}
}

// counts says why an approval does not count for a need, or nil.
func (j *mergeDoor) counts(o Review, n *Need, env *Environment, excluded roles) *Reason {
	fact := at{login: o.User.Login, sha: o.SHA}
	who := o.User.Login
	if o.User.Type != ActorUser {
		return reason(codeNotUser, VerdictAllow, fact, who)
	}
	if on := j.listedOrNamed(n.Reviewers, o.User); on != Yes {
		return j.notListed(n.Reviewers, o.User, on, fact)
	}
	if role := excluded.of(env.excluded(), o.User); role != "" {
		return reason(codeExcluded, VerdictAllow, fact, who, roleWords(role))
	}
	if o.SHA == "" || j.c.Head.SHA == "" || o.SHA != j.c.Head.SHA && !slices.Contains(j.c.StandingHeads, o.SHA) {
		return reason(codeOtherHead, VerdictAllow, fact, who, quoted(o.SHA.Short()))
	}
	if !j.c.Retargeted.IsZero() && !o.SubmittedAt.After(j.c.Retargeted) {
		return reason(codeOtherBase, VerdictAllow, fact, who)
	}
	if o.Write == No {
		return reason(codeNoWrite, VerdictAllow, fact, who)
	}
	if o.Write == Unknown && j.c.Basis == Observed {
		return reason(codeWriteUnknown, VerdictAllow, fact, who)
	}
	if age, limited := env.maxAge(StepMerge); limited {
		return tooOld(age, o.SubmittedAt, j.c.Now, who, fact)
	}
	return nil
}

// tooOld says why an approval's age rules it out, or nil.
func tooOld(limit time.Duration, given, now time.Time, who Login, fact at) *Reason {
	switch {
	case given.IsZero() || now.IsZero() || given.After(now.Add(clockSkew)):
		return reason(codeTimeUnknown, VerdictAllow, fact, who)
	case now.Sub(given) > limit:
		return reason(codeTooOld, VerdictAllow, fact, who, limit.String())
	default:
		return nil
	}
}

// notListed says which way somebody is not listed.
func (j *mergeDoor) notListed(list []Reviewer, a Actor, on Tri, fact at) *Reason {
	for _, r := range list {
		if pinned := j.v.Directory.Users[r.Key()]; !r.IsTeam() && Login(r).Equal(a.Login) && pinned != 0 && a.ID != 0 && pinned != a.ID {
			return reason(codeOtherAccount, VerdictAllow, fact, a.Login)
		}
	}
	if on == Unknown {
		return reason(codeMembershipUnknown, VerdictAllow, fact, a.Login)
	}
	return reason(codeNotListed, VerdictAllow, fact, a.Login)
}

// listedOrNamed is listed; on stated facts a login that the policy names is taken
// for the person it means.
func (j *mergeDoor) listedOrNamed(list []Reviewer, a Actor) Tri {
	on := j.listed(list, a)
	if on != Unknown || j.c.Basis == Observed {
		return on
	}
	for _, r := range list {
		if !r.IsTeam() && Login(r).Equal(a.Login) {
			return Yes
		}
	}
	for _, r := range list {
		if r.IsTeam() {
			return Unknown
		}
	}
	return No
}

// listed reports whether an account is on a list, by ids.
func (j *mergeDoor) listed(list []Reviewer, a Actor) Tri {
	return listedIn(j.v.Directory, list, a)
}

func listedIn(dir Directory, list []Reviewer, a Actor) Tri {
	if a.Type == ActorBot {
		return No
	}
	on := No
	for _, r := range list {
		if r.IsTeam() {
			if a.ID == 0 {
				on = either(on, Unknown)
				continue
			}
			// A missing team or account was not asked about: unknown.
			on = either(on, dir.Teams[r.Key()].Members[a.ID])
			continue
		}
		pinned := dir.Users[r.Key()]
		switch {
		case pinned == 0 || a.ID == 0:
			on = either(on, Unknown)
		case pinned == a.ID:
			return Yes
		}
	}
	return on
}

// either is Yes if one is, else Unknown if one is, else No.
func either(a, b Tri) Tri {
	switch {
	case a == Yes || b == Yes:
		return Yes
	case a == Unknown || b == Unknown:
		return Unknown
	default:
		return No
	}
}

// latestOpinions is each person's latest review that is an opinion, whatever the
// order of the list. Where a person's reviews cannot be ordered, because a time
// or an id is missing, the strictest stands.
func latestOpinions(reviews []Review) []Review {
	if len(reviews) == 0 {
		return nil
	}
	byPerson := map[Actor][]Review{}
	for _, r := range reviews {
		r.State = ReviewState(strings.ToLower(string(r.State)))
		if r.State == ReviewCommented || r.State == "pending" {
			continue
		}
		k := Actor{ID: r.User.ID}
		if k.ID == 0 {
			k.Login = Login(r.User.Login.fold())
		}
		byPerson[k] = append(byPerson[k], r)
	}
	out := make([]Review, 0, len(byPerson))
	for _, rs := range byPerson {
		out = append(out, opinion(rs))
	}
	slices.SortFunc(out, func(a, b Review) int {
		return cmp.Or(cmp.Compare(a.User.ID, b.User.ID), cmp.Compare(a.User.Login, b.User.Login))
	})
	return out
}

// opinion is what one person's reviews come to.
func opinion(rs []Review) Review {
	if !slices.ContainsFunc(rs, func(r Review) bool { return r.SubmittedAt.IsZero() }) {
		last := slices.MaxFunc(rs, func(a, b Review) int { return a.SubmittedAt.Compare(b.SubmittedAt) }).SubmittedAt
		rs = slices.DeleteFunc(slices.Clone(rs), func(r Review) bool { return !r.SubmittedAt.Equal(last) })
		if len(rs) > 1 && !slices.ContainsFunc(rs, func(r Review) bool { return r.ID == 0 }) {
			id := slices.MaxFunc(rs, func(a, b Review) int { return cmp.Compare(a.ID, b.ID) }).ID
			rs = slices.DeleteFunc(rs, func(r Review) bool { return r.ID != id })
		}
	}
	return slices.MaxFunc(rs, func(a, b Review) int {
		return cmp.Or(
			cmp.Compare(strictness(a.State), strictness(b.State)),
			cmp.Compare(a.State, b.State),
			cmp.Compare(a.SHA, b.SHA),
			cmp.Compare(b.Write, a.Write), // less access is stricter
			b.SubmittedAt.Compare(a.SubmittedAt),
			cmp.Compare(a.ID, b.ID),
			cmp.Compare(a.User.Type, b.User.Type),
			cmp.Compare(a.User.Login, b.User.Login),
		)
	})
}

func strictness(s ReviewState) int {
	switch s {
	case ReviewApproved:
		return 0
	case ReviewDismissed:
		return 1
	case ReviewChangesRequested:
		return 2
	default:
		return 3
	}
}

func roleWords(r Role) string {
	switch r {
	case RoleAuthor:
		return "an author of it"
	case RoleCommitter:
		return "a committer of it"
	case RoleCoAuthor:
		return "a co-author of it"
	case RoleLastPusher:
		return "the last to push"
	case RolePusher:
		return "one who pushed to it"
	case RoleRequester:
		return "the one who asked for it"
	case RoleDispatcher:
		return "the one who started it"
	default:
		return string(r)
	}
}

// handsIn lists everybody who had a hand in the change, and the addresses (or
// parts played) that could not be matched to an account.
func (j *mergeDoor) handsIn() (people roles, unresolved []string) {
	c := j.c
	h := newHands(j.pc.agents)
	h.actor(c.Author, RoleAuthor, "who opened it")
	h.actor(c.LastPusher, RoleLastPusher, "who pushed last")
	h.people.add(c.Requester, RoleRequester)
	for _, p := range c.Pushers {
		h.people.add(p, RolePusher)
	}
	for i := range c.Commits {
		m := &c.Commits[i]
		h.identity(m.Author, RoleAuthor)
		h.identity(m.Committer, RoleCommitter)
		for _, co := range m.CoAuthors {
			h.identity(co, RoleCoAuthor)
		}
		h.trailers(m)
	}
	return h.people, h.unresolved()
}

// hands gathers people and unresolved addresses.
type hands struct {
	cat    *Catalogue
	people roles
	// seen are the identities already counted; open the unresolved ones by
	// address or by the part played.
	seen map[hand]bool
	open []string
}

func newHands(cat *Catalogue) *hands {
	return &hands{cat: cat, people: roles{map[AccountID][]Role{}, map[string][]Role{}}, seen: map[hand]bool{}}
}

// hand is an identity in a role.
type hand struct {
	role Role
	Identity
}

// trailers counts the co-authors that a message names. Those of the trailer block
// count as unresolved unless GitHub resolved their address in the same commit;
// other commits resolve nothing, since a commit more must never make a change need
// less. A squash, a literal "\n" or prose after it can push a line out of the
// block: whoever such a line names is kept from approving all the same.
func (h *hands) trailers(m *Commit) {
	for _, t := range Trailers(m.Message) {
		if !strings.EqualFold(t.Key, coAuthorKey) {
			continue
		}
		name, email := splitAddress(t.Value)
		same := func(i Identity) bool {
			return email != "" && strings.EqualFold(i.Email, email) && i.Actor().Known()
		}
		if !same(m.Author) && !same(m.Committer) && !slices.ContainsFunc(m.CoAuthors, same) {
			h.trailer(Identity{Name: name, Email: email})
		}
	}
	rest := m.Message
	for {
		i := indexFold(rest, coAuthorKey+":")
		if i < 0 {
			return
		}
		rest = rest[i+len(coAuthorKey)+1:]
		line, _, _ := strings.Cut(rest, "\n")
		line, _, _ = strings.Cut(line, `\n`)
		for _, part := range strings.Split(line, "<")[1:] {
			email, _, _ := strings.Cut(part, ">")
			id, login := noreplyAccount(strings.ToLower(strings.TrimSpace(email)))
			h.people.add(Actor{ID: id, Login: login}, RoleCoAuthor)
		}
	}
}

const coAuthorKey = "co-authored-by"

// indexFold is strings.Index for an ASCII needle in lower case, without regard to
// case.
func indexFold(s, needle string) int {
	for i := 0; ; i++ {
		j := strings.IndexAny(s[i:], "cC")
		if j < 0 || i+j+len(needle) > len(s) {
			return -1
		}
		if i += j; strings.EqualFold(s[i:i+len(needle)], needle) {
			return i
		}
	}
}

func (h *hands) actor(a Actor, role Role, unknown string) {
	if a.Known() {
		h.people.add(a, role)
		return
	}
	h.open = append(h.open, unknown)
}

// trailer counts a co-author line. Where its address is GitHub's own with an
// account's id, it names that account, as GitHub itself reads it.
func (h *hands) trailer(i Identity) {
	if id, login := noreplyAccount(strings.ToLower(strings.TrimSpace(i.Email))); id != 0 {
		i.ID, i.Login = id, login
	}
	h.identity(i, RoleCoAuthor)
}

// identity counts who a commit says it is by, with the account that GitHub matched.
// An address of GitHub's own form that it did not match can be anybody's writing:
// it keeps that account out and resolves nothing.
func (h *hands) identity(i Identity, role Role) {
	k := hand{role, i}
	if h.seen[k] {
		return
	}
	h.seen[k] = true
	email := strings.ToLower(strings.TrimSpace(i.Email))
	if id, login := noreplyAccount(email); id != 0 || login != "" {
		h.people.add(Actor{ID: id, Login: login}, role)
	}
	if a := i.Actor(); a.Known() {
		h.people.add(a, role)
		return
	}
	if h.cat.NonPerson(i) {
		return
	}
	if email == "" {
		email = strings.ToLower(strings.TrimSpace(i.Name))
	}
	if email == "" {
		email = "an author without name or address"
	}
	h.open = append(h.open, email)
}

// unresolved are the distinct addresses that nothing resolved, sorted.
func (h *hands) unresolved() []string {
	slices.Sort(h.open)
	return slices.Compact(h.open)
}

func describeUnresolved(us []string) string {
	const most = 3
	parts := make([]string, 0, most+1)
	for i, u := range us {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(us)-most))
			break
		}
		parts = append(parts, quote(u))
	}
	return strings.Join(parts, ", ")
}

// NoreplyAccount reads the account from GitHub's own commit address. Anybody can write
// one: it tells something only of a commit that GitHub made.
func NoreplyAccount(email string) (AccountID, Login) {
	return noreplyAccount(strings.ToLower(strings.TrimSpace(email)))
}

// noreplyAccount reads the account from GitHub's own commit address
// (https://docs.github.com/account-and-profile/reference/email-addresses-reference):
// ID+login@users.noreply.github.com, or the older login@….
func noreplyAccount(email string) (AccountID, Login) {
	local, ok := strings.CutSuffix(email, "@users.noreply.github.com")
	if !ok || local == "" {
		return 0, ""
	}
	digits, login, ok := strings.Cut(local, "+")
	if !ok {
		return 0, Login(local)
	}
	var id AccountID
	for _, r := range digits {
		if r < '0' || r > '9' || id > 1<<53 {
			return 0, Login(login)
		}
		id = id*10 + AccountID(r-'0')
	}
	return id, Login(login)
}

// splitAddress splits "Name <address>"; without brackets all is the name.
func splitAddress(s string) (name, email string) {
	i := strings.LastIndexByte(s, '<')
	if i < 0 {
		return strings.TrimSpace(s), ""
	}
	name = strings.TrimSpace(s[:i])
	email, _, _ = strings.Cut(s[i+1:], ">")
	return name, strings.TrimSpace(email)
}
