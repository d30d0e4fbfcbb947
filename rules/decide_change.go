package rules

import (
	"fmt"
	"slices"
	"strings"
)

// DecideChange judges a change at the merge door: may it be merged, and who has
// to say so. It allows an agent's change to paths of gate: auto environments once
// their checks are green, and every other change once the required reviewers of
// everything it touches have approved its head.
//
// It is total and deterministic: any facts give a decision, and the order of
// files, commits, reviews and checks never matters. A missing fact waits.
func DecideChange(p Policies, c *Change) Decision {
	if c == nil {
		c = &Change{}
	}
	d := decideUnder(p, func(v *PolicyVersion) Decision { return changeUnder(v, c) })
	d.Key = c.Key
	return d
}

// decideUnder judges under the repository's policy and under the floor, and
// joins the two so that the result is at least as strict as each.
func decideUnder(p Policies, judge func(*PolicyVersion) Decision) Decision {
	d := underVersion(&p.Repository, judge)
	if p.Floor.State == PolicyNone {
		return d
	}
	f := underVersion(&p.Floor, judge)
	for i := range f.Reasons {
		f.Reasons[i].Floor = true
	}
	for i := range f.Needs {
		f.Needs[i].Floor = true
	}
	if d.Authorship.Kind == "" {
		d.Authorship = f.Authorship
	}
	return Strictest(d, f)
}

// underVersion judges under one policy version, or says why it cannot.
func underVersion(v *PolicyVersion, judge func(*PolicyVersion) Decision) Decision {
	why := quoted(v.Why)
	if why == "" {
		why = "nobody read it"
	}
	var r *Reason
	switch {
	case v.State == PolicyInForce && v.Policy != nil && v.Policy.compiled != nil:
		return judge(v)
	case v.State == PolicyInvalid:
		r = reason(codePolicyInvalid, VerdictWait, at{}, why)
	case v.State == PolicyNotAdopted:
		r = reason(codePolicyNotAdopted, VerdictWait, at{})
	case v.State == PolicyDeleted:
		r = reason(codePolicyDeleted, VerdictDeny, at{})
	case v.State == PolicyNone:
		r = reason(codePolicyNone, VerdictWait, at{})
	default:
		r = reason(codePolicyUnread, VerdictWait, at{}, why)
	}
	return finish(Decision{}, []Reason{*r})
}

// finish fills in what follows from the reasons: the verdict is the strictest of
// theirs.
func finish(d Decision, rs []Reason) Decision {
	d.Verdict = VerdictAllow
	for _, r := range rs {
		d.Verdict = Stricter(d.Verdict, r.Verdict)
	}
	sortReasons(rs)
	d.Reasons = rs
	if d.Environments == nil {
		d.Environments = []string{}
	}
	if d.Authorship.Agents == nil {
		d.Authorship.Agents = []string{}
	}
	if d.Authorship.Evidence == nil {
		d.Authorship.Evidence = []Evidence{}
	}
	return d
}

// mergeDoor is one change under one policy, while it is judged.
type mergeDoor struct {
	v  *PolicyVersion
	p  *Policy
	pc *compiledPolicy
	c  *Change

	rs []Reason
}

func (j *mergeDoor) say(code Code, v Verdict, fact at, args ...any) {
	j.rs = append(j.rs, *reason(code, v, fact, args...))
}

func changeUnder(v *PolicyVersion, c *Change) Decision {
	j := &mergeDoor{v: v, p: v.Policy, pc: v.Policy.compiled, c: c, rs: make([]Reason, 0, 12)}
	d := Decision{Authorship: j.pc.agents.Judge(c), Observe: j.p.Mode == ModeObserve}
	if d.Observe {
		j.say(codeObserve, VerdictAllow, at{})
	}

	j.facts()
	t := j.touched()
	earned := j.earned(&d.Authorship)
	if earned && t.modeless.n > 0 {
		// Without its mode a path could be a symlink: nothing is approved
		// automatically on that. Reading the modes costs a request, so that the
		// App asks for them only when this reason is all that stands in the way.
		j.say(codeModeUnknown, VerdictAllow, at{path: t.modeless.path}, quoted(t.modeless.path))
		earned = false
	}

	envs := t.environments()
	d.Environments = make([]string, 0, len(envs))
	for _, e := range envs {
		d.Environments = append(d.Environments, j.pc.names[e])
	}
	j.rs = append(j.rs, t.reasons()...)

	d.Needs = j.mergeNeeds(t, envs, earned)
	j.approvals(d.Needs, envs)
	auto := earned && t.allAuto() && len(d.Needs) == 0
	j.checks(envs, auto, len(d.Needs) > 0 && !slices.ContainsFunc(d.Needs, func(n Need) bool { return n.Missing() > 0 }))

	merge := len(envs) > 0
	for _, e := range envs {
		merge = merge && j.pc.envs[e].Merge
	}
	d = finish(d, j.rs)
	if d.Verdict == VerdictAllow {
		// A policy that observes approves nothing, whatever a floor enforces.
		d.AutoApproval = auto && !d.Observe
		d.Merge = merge && !d.Observe && d.Authorship.Kind == KindAgent
	}
	if !d.AutoApproval {
		return d
	}
	switch {
	case c.BaseGuarded != Yes:
		d.Reasons = append(d.Reasons, *reason(codeBaseUnguarded, VerdictAllow, at{}))
	case c.BaseReviewed == No:
		d.Reasons = append(d.Reasons, *reason(codeBaseUnreviewed, VerdictAllow, at{}))
	}
	sortReasons(d.Reasons)
	return d
}

// facts waits for every fact without which nothing can be allowed.
func (j *mergeDoor) facts() {
	c := j.c
	// What was read must be one snapshot: a real commit, with itself among its
	// commits. A record may abbreviate.
	observed := c.Basis == Observed
	if c.Head.SHA == "" || observed && !c.Head.SHA.Valid() {
		j.say(codeHeadUnknown, VerdictWait, at{})
	}
	if c.Files == nil {
		j.say(codeFilesUnknown, VerdictWait, at{})
	} else if len(c.Files) == 0 && c.FilesComplete == Yes {
		j.say(codeNothingChanged, VerdictWait, at{})
	}
	atHead := func(m Commit) bool { return m.SHA == c.Head.SHA }
	if c.CommitsComplete != Yes || len(c.Commits) == 0 || observed && !slices.ContainsFunc(c.Commits, atHead) {
		j.say(codeCommitsIncomplete, VerdictWait, at{})
	}
	if c.Basis == Local {
		j.say(codeLocal, VerdictWait, at{})
		return
	}
	switch c.Draft {
	case Yes:
		j.say(codeDraft, VerdictWait, at{})
	case Unknown:
		j.say(codeDraftUnknown, VerdictWait, at{})
	case No:
	}
	if c.Reviews == nil {
		j.say(codeReviewsUnknown, VerdictWait, at{})
	}
}

// touched gathers what the files touch.
func (j *mergeDoor) touched() *touch {
	t := newTouch(j.p)
	for i := range j.c.Files {
		t.file(&j.c.Files[i])
	}
	if j.c.Files == nil || j.c.FilesComplete != Yes {
		t.everything()
		if j.c.Files != nil {
			j.say(codeFilesIncomplete, VerdictAllow, at{})
		}
	}
	return t
}

// earned reports whether the authorship earns an automatic approval, paths and
// checks apart.
func (j *mergeDoor) earned(a *Authorship) bool {
	c := j.c
	if len(a.Assisted) > 0 {
		j.say(codeAssisted, VerdictAllow, at{}, quoted(strings.Join(a.Assisted, ", ")))
	}
	who := quoted(strings.Join(a.Agents, ", "))
	switch a.Kind {
	case KindAgent:
	case KindAutomation:
		if who == "" {
			who = quoted(c.Author.Login)
		}
		j.say(codeAutomation, VerdictAllow, at{login: c.Author.Login}, who)
		return false
	default:
		j.say(codeHuman, VerdictAllow, at{login: c.Author.Login})
		return false
	}
	ok := c.CommitsComplete == Yes && len(c.Commits) > 0
	// What makes a mixed change an agent's must be the pull request itself, so that
	// a commit more never makes somebody else's change an agent's.
	mixed := a.opened && j.p.Agents.Mixed == Approve
	_, account, why := j.pc.agents.accountPinned(c, j.v.Directory.Users, mixed)
	switch {
	case account:
		j.say(codeAgentAccount, VerdictAllow, at{login: c.Author.Login}, who)
	case j.p.Agents.Text == Approve && a.Confidence != ConfidenceLow:
		j.say(codeTextApproved, VerdictAllow, at{login: c.Author.Login}, who)
	default:
		if c.Basis == Local {
			why = "there is no pull request yet"
		}
		j.say(codeAgentText, VerdictAllow, at{login: c.Author.Login}, who, why)
		ok = false
	}
	if a.Mixed {
		if mixed {
			j.say(codeMixedApproved, VerdictAllow, at{}, who)
		} else {
			j.say(codeMixed, VerdictAllow, at{}, who)
			ok = false
		}
	}
	if c.Basis == Local {
		return ok
	}
	switch {
	case c.Repository.ID == 0 || c.Head.Repository.ID == 0:
		j.say(codeHeadRepoUnknown, VerdictAllow, at{})
		return false
	case c.Repository.ID != c.Head.Repository.ID:
		j.say(codeFork, VerdictAllow, at{}, quoted(c.Head.Repository.FullName))
		return false
	}
	return ok
}

// mergeNeeds are the approvals that the touched environments ask for at the
// merge.
func (j *mergeDoor) mergeNeeds(t *touch, envs []int, earned bool) []Need {
	var out []Need
	for _, e := range envs {
		env := j.pc.envs[e]
		name := j.pc.names[e]
		asks := slices.Contains(env.steps(), StepMerge) || t.strictest()
		if env.Gate == GateAuto {
			asks = !earned
		}
		if asks && (env.Gate != GateAuto || t.named[e].n > 0) {
			out = append(out, Need{Environment: name, Step: StepMerge, Reviewers: env.reviewersOf(j.p), Count: env.count(), Path: t.named[e].path})
		} else if env.Gate != GateAuto {
			j.say(codeAskedAtDeployment, VerdictAllow, at{env: name}, name)
		}
		for _, a := range t.also {
			if a.env == e && (asks || env.Gate == GateAuto) {
				out = append(out, Need{Environment: name, Step: StepMerge, Reviewers: a.reviewers, Count: 1, Path: a.path, Pattern: a.pattern})
			}
		}
	}
	return out
}

// countWords says how many approvals in words for people.
func countWords(n int) string {
	if n == 1 {
		return "an approval"
	}
	return fmt.Sprintf("%d approvals", n)
}

// missingWords says what is missing in words for people.
func missingWords(have, want int) string {
	switch {
	case have == 0:
		return "there is none yet"
	case want-have == 1:
		return "one more is missing"
	default:
		return fmt.Sprintf("%d more are missing", want-have)
	}
}
