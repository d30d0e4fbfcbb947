package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/rules/paths"
)

// DecideDeployment judges a deployment at the deploy door: may the held job run?
// It judges everything that the deployment brings, and approvals of exactly this
// deployment. Like [DecideChange] it is total and deterministic.
func DecideDeployment(p Policies, d *Deployment) Decision {
	if d == nil {
		d = &Deployment{}
	}
	out := decideUnder(p, func(v *PolicyVersion) Decision { return deploymentUnder(v, d) })
	out.Key = d.Key
	return out
}

// covering are the places of the environments that cover a GitHub environment,
// and, if none does, of every human one. GitHub compares names without case.
func (c *compiledPolicy) covering(name string) (envs []int, covered bool) {
	lower := strings.ToLower(name)
	for e := range c.names {
		if slices.ContainsFunc(c.covers[e], func(p string) bool { return p == lower || paths.Match(p, lower) }) {
			envs = append(envs, e)
		}
	}
	if len(envs) > 0 {
		return envs, true
	}
	return c.human, false
}

// held is one deployment under one policy, while it is judged.
type held struct {
	v  *PolicyVersion
	p  *Policy
	pc *compiledPolicy
	d  *Deployment
	rs []Reason
}

func (h *held) say(code Code, v Verdict, fact at, args ...any) {
	h.rs = append(h.rs, *reason(code, v, fact, args...))
}

func deploymentUnder(v *PolicyVersion, d *Deployment) Decision {
	h := &held{v: v, p: v.Policy, pc: v.Policy.compiled, d: d}
	out := Decision{Observe: h.p.Mode == ModeObserve, Authorship: Authorship{Kind: KindHuman, Confidence: ConfidenceLow}}
	if out.Observe {
		h.say(codeObserve, VerdictAllow, at{})
	}
	envs, covered := h.pc.covering(d.Environment)
	human := false
	for _, e := range envs {
		name := h.pc.names[e]
		out.Environments = append(out.Environments, name)
		if h.pc.envs[e].Gate == GateAuto {
			h.say(codeAutoEnvironment, VerdictAllow, at{env: name}, quoted(d.Environment), name)
		} else {
			human = true
			if covered {
				h.say(codeHumanEnvironment, VerdictAllow, at{env: name}, quoted(d.Environment), name)
			}
		}
	}
	if !covered {
		h.say(codeUncovered, VerdictAllow, at{}, quoted(d.Environment))
	}
	h.identified()
	h.statements()
	for _, e := range envs {
		h.mayDeploy(e)
	}
	if human {
		// Somebody's objection is for a listed reviewer to decide on this deployment.
		forced := h.brings() || slices.ContainsFunc(latestWords(d.Approvals, h.ours), func(a Approval) bool { return a.Rejects })
		out.Needs = h.needs(envs, forced)
		h.approvals(out.Needs)
		if !forced && len(out.Needs) == 0 {
			h.say(codeMergesApproved, VerdictAllow, at{})
		}
	}
	return finish(out, h.rs)
}

// statements shows what in the migrations deserves a second look.
func (h *held) statements() {
	for _, s := range h.d.Statements {
		fact := at{path: s.Path, sha: h.d.SHA}
		if s.Unread {
			h.say(codeStatementsUnread, VerdictAllow, fact, quoted(s.Path), quoted(s.Text))
			continue
		}
		h.say(codeStatement, VerdictAllow, fact, quoted(s.Path), strconv.Itoa(s.Line), quoted(s.Text))
	}
}

// identified waits for what an approval binds to.
func (h *held) identified() {
	for _, f := range []struct {
		what  string
		known bool
	}{
		{"environment", h.d.Environment != ""},
		{"commit", h.d.SHA != ""},
		{"run", h.d.Run != 0},
		{"attempt", h.d.Attempt != 0},
	} {
		if !f.known {
			h.say(codeDeploymentUnknown, VerdictWait, at{}, f.what)
		}
	}
	if dispatched(h.d.Event) && h.d.Inputs.Known != Yes {
		h.say(codeInputsUnknown, VerdictDeny, at{})
	}
}

// dispatched reports whether an event starts a run that does what its inputs say.
func dispatched(event string) bool {
	return event == "workflow_dispatch" || event == "repository_dispatch"
}

// mayDeploy denies a ref, a commit or an event that may not deploy to an
// environment: it cannot become right.
func (h *held) mayDeploy(e int) {
	env, name, d := h.pc.envs[e], h.pc.names[e], h.d
	fact := at{env: name, sha: d.SHA}
	if events := env.events(); events != nil && !slices.Contains(events, d.Event) {
		h.say(codeEventNotAllowed, VerdictDeny, fact, quoted(d.Event), name)
	}
	branches := env.Branches
	if len(branches) == 0 {
		if env.Gate == GateAuto {
			if len(env.Tags) == 0 {
				return
			}
		}
		if d.DefaultBranch == "" {
			h.say(codeBranchesUnknown, VerdictWait, fact, quoted(d.SHA.Short()))
			return
		}
		branches = []string{literal(d.DefaultBranch)}
	}
	right := false
	switch d.RefType {
	case RefBranch:
		right = matchesAny(branches, strings.TrimPrefix(d.Ref, "refs/heads/"))
	case RefTag:
		right = matchesAny(env.Tags, strings.TrimPrefix(d.Ref, "refs/tags/"))
	}
	if !right {
		kind := "the ref"
		if d.RefType == RefBranch || d.RefType == RefTag {
			kind = "the " + string(d.RefType)
		}
		h.say(codeRefNotAllowed, VerdictDeny, fact, kind, quoted(d.Ref), name)
		return
	}
	switch {
	case d.OnBranches == nil:
		h.say(codeBranchesUnknown, VerdictWait, fact, quoted(d.SHA.Short()))
	case !slices.ContainsFunc(d.OnBranches, func(b string) bool { return matchesAny(branches, b) }):
		h.say(codeNotOnBranch, VerdictDeny, fact, quoted(d.SHA.Short()), name)
	}
}

// literal escapes what a pattern would read as more than itself.
func literal(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `{`, `\{`).Replace(s)
}

func matchesAny(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return p == s || paths.Match(p, s) })
}

// DeployBranches are the patterns of branches that may deploy to a GitHub
// environment, of all policies in force; none where they name none.
func (p Policies) DeployBranches(environment string) []string {
	var out []string
	for _, v := range []PolicyVersion{p.Repository, p.Floor} {
		if v.Policy == nil || v.Policy.compiled == nil {
			continue
		}
		envs, _ := v.Policy.compiled.covering(environment)
		for _, e := range envs {
			out = append(out, v.Policy.compiled.envs[e].Branches...)
		}
	}
	return out
}

// MatchesRef reports whether a branch or tag name matches one of a policy's patterns.
func MatchesRef(patterns []string, name string) bool { return matchesAny(patterns, name) }

// brings looks at every commit that the deployment brings. It reports whether the
// deploy step is needed whatever an environment's steps are.
func (h *held) brings() (forced bool) {
	d := h.d
	fact := at{sha: d.SHA}
	switch d.Range.Kind {
	case RangeFirst:
		h.say(codeRangeFirst, VerdictAllow, fact)
		return true
	case RangeBehind:
		h.say(codeRollback, VerdictAllow, fact, quoted(d.SHA.Short()))
		return true
	case RangeDiverged:
		h.say(codeDiverged, VerdictAllow, fact, quoted(d.SHA.Short()))
		forced = true
	case RangeIdentical:
		h.say(codeNothingNew, VerdictAllow, fact)
		return false
	case RangeAhead:
	default:
		h.say(codeRangeUnknown, VerdictWait, fact)
		return true
	}
	if d.Range.Complete != Yes || d.Range.Commits == nil {
		h.say(codeRangeIncomplete, VerdictWait, fact)
		forced = true
	}
	for i := range d.Range.Commits {
		b := &d.Range.Commits[i]
		fact := at{sha: b.SHA}
		short := quoted(b.SHA.Short())
		switch {
		case b.PullRequest == 0:
			h.say(codeCommitDirect, VerdictAllow, fact, short)
		case b.Passed != Yes:
			h.say(codeCommitNotPassed, VerdictAllow, fact, short, strconv.Itoa(b.PullRequest))
		case len(b.ApprovedBy) == 0:
			h.say(codeCommitUnapproved, VerdictAllow, fact, short, strconv.Itoa(b.PullRequest))
		default:
			continue
		}
		forced = true
	}
	return forced
}

// needs are the approvals of this deployment that are asked for.
func (h *held) needs(envs []int, forced bool) []Need {
	t := newTouch(h.p)
	for i := range h.d.Range.Files {
		t.file(&h.d.Range.Files[i])
	}
	switch {
	case h.d.Range.Kind == RangeIdentical:
	case h.d.Range.Files == nil, h.d.Range.FilesComplete != Yes:
		t.everything()
	}
	var out []Need
	for _, e := range envs {
		env := h.pc.envs[e]
		if env.Gate == GateAuto || !forced && !slices.Contains(env.steps(), StepDeploy) {
			continue
		}
		name := h.pc.names[e]
		out = append(out, Need{Environment: name, Step: StepDeploy, Reviewers: env.reviewersOf(h.p), Count: env.count()})
		for _, a := range t.also {
			if a.env == e {
				out = append(out, Need{Environment: name, Step: StepDeploy, Reviewers: a.reviewers, Count: 1, Path: a.path, Pattern: a.pattern})
			}
		}
	}
	return out
}

// handsIn lists who is kept from approving: who started or re-ran it, and the
// authors of commits that no other person approved.
func (h *held) handsIn() (people roles, unresolved []string) {
	w := newHands(h.pc.agents)
	w.actor(h.d.Dispatcher, RoleDispatcher, "who started the run")
	switch {
	case h.d.Rerunner.Known():
		w.people.add(h.d.Rerunner, RoleDispatcher)
	case h.d.Attempt > 1:
		w.open = append(w.open, "who re-ran it")
	}
	for i := range h.d.Range.Commits {
		b := &h.d.Range.Commits[i]
		if b.Passed == Yes && b.PullRequest != 0 && approvedByAnother(b) {
			continue
		}
		for _, id := range b.By {
			w.identity(id, RoleAuthor)
		}
		if len(b.By) == 0 {
			w.open = append(w.open, "who wrote "+b.SHA.Short())
		}
	}
	return w.people, w.unresolved()
}

// Kept is somebody whose approval of a deployment cannot count, and why.
type Kept struct {
	Login Login  `json:"login"`
	Why   string `json:"why"`
}

// KeptOut are those who had a hand in a deployment, so that their approval cannot
// count under some policy in force, sorted. Accounts of which only the id is known are
// left out.
func KeptOut(p Policies, d *Deployment) []Kept {
	seen := map[string]Kept{}
	for _, v := range []PolicyVersion{p.Repository, p.Floor} {
		if v.State != PolicyInForce || v.Policy == nil || v.Policy.compiled == nil {
			continue
		}
		h := &held{v: &v, p: v.Policy, pc: v.Policy.compiled, d: d}
		people, _ := h.handsIn()
		envs, _ := h.pc.covering(d.Environment)
		for login := range people.byLogin {
			for _, e := range envs {
				if role := people.of(h.pc.envs[e].excluded(), Actor{Login: Login(login)}); role != "" {
					seen[login] = Kept{Login(login), roleWords(role)}
				}
			}
		}
	}
	out := make([]Kept, 0, len(seen))
	for _, k := range seen {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b Kept) int { return cmp.Compare(a.Login, b.Login) })
	return out
}

// Opens are the names of the credentials that a release to some environments of the
// policy opens, sorted.
func (p *Policy) Opens(environments []string) []string {
	if p == nil {
		return nil
	}
	var out []string
	for name, c := range p.Credentials {
		if c != nil && slices.Contains(environments, c.Environment) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// approvedByAnother reports whether somebody who had no hand in a commit approved
// it.
func approvedByAnother(b *Brought) bool {
	return slices.ContainsFunc(b.ApprovedBy, func(a Actor) bool {
		return a.Known() && !slices.ContainsFunc(b.By, func(i Identity) bool {
			id, login := noreplyAccount(strings.ToLower(i.Email))
			return a.MayBe(i.Actor()) || a.MayBe(Actor{ID: id, Login: login})
		})
	})
}

// approvals counts the approvals of exactly this deployment, and judges
// rejections.
func (h *held) approvals(needs []Need) {
	excluded, unresolved := h.handsIn()
	extra := min(len(unresolved), mostUnresolved)
	words := latestWords(h.d.Approvals, h.ours)
	var counted []Approval
	for i := range needs {
		n := &needs[i]
		n.Count += extra
		env := h.pc.envs[slices.Index(h.pc.names, n.Environment)]
		var because []Reason
		var people []Actor
		for _, a := range words {
			if a.Rejects {
				continue
			}
			if why := h.counts(a, n, env, excluded); why != nil {
				because = append(because, *why)
				continue
			}
			if slices.ContainsFunc(people, a.Actor.MayBe) {
				continue // one person under two names
			}
			people = append(people, a.Actor)
			n.Approved = append(n.Approved, a.Actor.Login)
			counted = append(counted, a)
		}
		for _, a := range h.d.Approvals {
			if !a.Rejects && !h.ours(a) {
				because = append(because, *reason(codeApprovalOther, VerdictAllow, at{login: a.Actor.Login, sha: a.SHA}, a.Actor.Login, h.differs(a)))
			}
		}
		slices.Sort(n.Approved)
		what := n.what()
		fact := at{env: n.Environment, path: n.Path}
		var r *Reason
		switch {
		case len(n.Reviewers) == 0:
			r = reason(codeNobodyListed, VerdictWait, fact, what)
		case n.Missing() > 0:
			r = reason(codeDeployMissing, VerdictWait, fact, what, countWords(n.Count), listReviewers(n.Reviewers), missingWords(len(n.Approved), n.Count))
			if extra > 0 {
				because = append(because, *reason(codeUnresolved, VerdictAllow, at{}, describeUnresolved(unresolved), fmt.Sprintf("%s more is needed", countWords(extra))))
			}
		default:
			r = reason(codeDeployApproved, VerdictAllow, fact, what, quoted(joinLogins(n.Approved)))
		}
		sortReasons(because)
		r.Because = because
		h.rs = append(h.rs, *r)
	}
	h.rejections(words, needs, counted)
}

// rejections lets listed reviewers and maintainers reject; anyone else's is an
// objection that holds until a listed reviewer approves after it.
func (h *held) rejections(words []Approval, needs []Need, counted []Approval) {
	var lists []Reviewer
	for _, n := range needs {
		lists = append(lists, n.Reviewers...)
	}
	for _, a := range words {
		if !a.Rejects {
			continue
		}
		fact := at{login: a.Actor.Login, sha: h.d.SHA}
		if h.listed(lists, a.Actor) == Yes || a.Maintains == Yes {
			h.say(codeRejected, VerdictDeny, fact, a.Actor.Login)
			continue
		}
		decided := slices.ContainsFunc(counted, func(c Approval) bool {
			return !a.At.IsZero() && c.At.After(a.At)
		})
		if !decided {
			h.say(codeObjection, VerdictWait, fact, a.Actor.Login)
		}
	}
}

// ours reports whether an approval was given for exactly this deployment. A
// rejection counts unless it surely was for another.
func (h *held) ours(a Approval) bool {
	if a.Rejects {
		elsewhere := a.Run != 0 && h.d.Run != 0 && a.Run != h.d.Run ||
			a.Attempt != 0 && h.d.Attempt != 0 && a.Attempt != h.d.Attempt ||
			a.SHA != "" && h.d.SHA != "" && a.SHA != h.d.SHA ||
			a.Environment != "" && !strings.EqualFold(a.Environment, h.d.Environment)
		return !elsewhere
	}
	return h.differs(a) == ""
}

// differs names the first thing in which an approval differs from the
// deployment. What is unknown differs.
func (h *held) differs(a Approval) string {
	d := h.d
	switch {
	case a.Environment == "" || !strings.EqualFold(a.Environment, d.Environment):
		return "environment"
	case a.SHA == "" || a.SHA != d.SHA:
		return "commit"
	case a.Run == 0 || a.Run != d.Run:
		return "run"
	case a.Attempt == 0 || a.Attempt != d.Attempt:
		return "attempt"
	case (dispatched(d.Event) || d.Inputs.Digest != "") && (a.InputsDigest == "" || a.InputsDigest != d.Inputs.Digest):
		return "set of inputs"
	default:
		return ""
	}
}

// counts says why an approval of this deployment does not count, or nil.
func (h *held) counts(a Approval, n *Need, env *Environment, excluded roles) *Reason {
	fact := at{login: a.Actor.Login, sha: a.SHA}
	who := a.Actor.Login
	if a.Actor.Type != ActorUser {
		return reason(codeNotUser, VerdictAllow, fact, who)
	}
	if on := h.listed(n.Reviewers, a.Actor); on != Yes {
		if on == Unknown {
			return reason(codeMembershipUnknown, VerdictAllow, fact, who)
		}
		return reason(codeNotListed, VerdictAllow, fact, who)
	}
	if role := excluded.of(env.excluded(), a.Actor); role != "" {
		return reason(codeExcluded, VerdictAllow, fact, who, roleWords(role))
	}
	switch {
	case h.member(n.Reviewers, a.Actor) || h.d.Basis != Observed:
	case a.Write == No:
		return reason(codeNoWrite, VerdictAllow, fact, who)
	case a.Write == Unknown:
		return reason(codeWriteUnknown, VerdictAllow, fact, who)
	}
	if !slices.Contains(env.acceptDeploy(), a.How) {
		return reason(codeWayNotAccepted, VerdictAllow, fact, who, quoted(a.How))
	}
	if a.Confirmed != Yes {
		return reason(codeUnconfirmed, VerdictAllow, fact, who)
	}
	if env.Presence == PresencePasskey && a.Present != Yes {
		return reason(codeNoPasskey, VerdictAllow, fact, who)
	}
	if age, limited := env.maxAge(StepDeploy); limited {
		return tooOld(age, a.At, h.d.Now, who, fact)
	}
	return nil
}

// member reports whether somebody is in one of the listed teams.
func (h *held) member(list []Reviewer, a Actor) bool {
	return slices.ContainsFunc(list, func(r Reviewer) bool {
		return r.IsTeam() && h.v.Directory.Teams[r.Key()].Members[a.ID] == Yes
	})
}

func (h *held) listed(list []Reviewer, a Actor) Tri {
	on := listedIn(h.v.Directory, list, a)
	if on == Unknown && h.d.Basis != Observed {
		for _, r := range list {
			if !r.IsTeam() && Login(r).Equal(a.Login) {
				return Yes
			}
		}
	}
	return on
}

// latestWords is each person's latest word on this deployment; where two cannot
// be ordered, a rejection stands.
func latestWords(as []Approval, ours func(Approval) bool) []Approval {
	byPerson := map[Actor][]Approval{}
	for _, a := range as {
		if !ours(a) {
			continue
		}
		k := Actor{ID: a.Actor.ID}
		if k.ID == 0 {
			k.Login = Login(a.Actor.Login.fold())
		}
		byPerson[k] = append(byPerson[k], a)
	}
	out := make([]Approval, 0, len(byPerson))
	for _, words := range byPerson {
		timeless := slices.ContainsFunc(words, func(a Approval) bool { return a.At.IsZero() })
		out = append(out, slices.MaxFunc(words, func(a, b Approval) int {
			later := a.At.Compare(b.At)
			if timeless {
				later = 0
			}
			return cmp.Or(later, cmp.Compare(rejects(a), rejects(b)), cmp.Compare(b.Confirmed, a.Confirmed),
				cmp.Compare(b.Present, a.Present), cmp.Compare(a.How, b.How), b.At.Compare(a.At),
				cmp.Compare(b.Maintains, a.Maintains), cmp.Compare(a.Actor.Type, b.Actor.Type), cmp.Compare(a.Actor.Login, b.Actor.Login))
		}))
	}
	slices.SortFunc(out, func(a, b Approval) int {
		return cmp.Or(cmp.Compare(a.Actor.ID, b.Actor.ID), cmp.Compare(a.Actor.Login, b.Actor.Login))
	})
	return out
}

func rejects(a Approval) int {
	if a.Rejects {
		return 1
	}
	return 0
}
