package rules

import (
	"cmp"
	"slices"
	"strings"
)

// DecideLease judges a job's request for a credential. It allows only what the
// policy names, the server declares for this repository and environment, and a
// grant covers for exactly this job. Whatever does not hold is refused; a refusal
// is final for this request, and the job may ask again. Like [DecideChange] it is
// total and deterministic.
func DecideLease(p Policies, t *Targets, q *LeaseRequest) Decision {
	if q == nil {
		q = &LeaseRequest{}
	}
	l := &lease{t: t, q: q}
	return decideLease(p, q.Key, func(v *PolicyVersion) Decision {
		l.judge(v)
		return finish(Decision{Environments: l.envs, Authorship: Authorship{Kind: KindHuman, Confidence: ConfidenceLow}}, l.rs)
	}, l.floor)
}

// decideLease judges by the repository's policy, and then by the organisation's floor.
func decideLease(p Policies, key string, judge, floor func(*PolicyVersion) Decision) Decision {
	d := underVersion(&p.Repository, judge)
	if p.Floor.State != PolicyNone {
		f := underVersion(&p.Floor, floor)
		for i := range f.Reasons {
			f.Reasons[i].Floor = true
		}
		d = Strictest(d, f)
	}
	d.Key = key
	// A lease is given or refused; observing never loosens a credential.
	d.Observe = false
	return d
}

type lease struct {
	t    *Targets
	q    *LeaseRequest
	rs   []Reason
	envs []string
}

func (l *lease) refuse(code Code, args ...any) {
	l.rs = append(l.rs, *reason(code, VerdictDeny, at{sha: l.q.Claims.SHA}, args...))
}

// judge gathers every ground for refusal under the repository's policy.
func (l *lease) judge(v *PolicyVersion) {
	q, c := l.q, &l.q.Claims
	if q.Verified != Yes {
		l.refuse(codeTokenUnverified)
		return // the claims mean nothing
	}
	if q.Installed != Yes {
		l.refuse(codeNotInstalled)
		return
	}
	if !l.claims() {
		return
	}
	cred := v.Policy.Credentials[q.Credential]
	if cred == nil {
		l.refuse(codeCredentialUnknown, quoted(q.Credential))
		return
	}
	env := v.Policy.Environments[cred.Environment]
	if env == nil {
		l.refuse(codeCredentialEnvironment, quoted(cred.Environment))
		return
	}
	l.envs = []string{cred.Environment}
	var target *Target
	if l.t != nil && l.t.loaded {
		target = l.t.Targets[cred.Target]
	}
	if target == nil {
		l.refuse(codeTargetUnknown, quoted(q.Credential))
		return
	}
	covering, covered := v.Policy.compiled.covering(c.Environment)
	names := v.Policy.compiled.names
	if !covered || !slices.ContainsFunc(covering, func(e int) bool { return names[e] == cred.Environment }) {
		l.refuse(codeClaimEnvironment, quoted(c.Environment), quoted(cred.Environment))
	}
	if !slices.Contains(target.Repositories, c.RepositoryID) {
		l.refuse(codeTargetRepository)
	}
	if !slices.ContainsFunc(target.Environments, func(e string) bool { return strings.EqualFold(e, c.Environment) }) {
		l.refuse(codeTargetEnvironment, quoted(c.Environment))
	}
	l.runner(target)
	// Every environment that covers the job's has its say: the strictest decides.
	human := target.Tier != TierAuto
	all := []*Environment{env}
	for _, e := range covering {
		if other := v.Policy.compiled.envs[e]; other != env {
			all = append(all, other)
		}
	}
	for _, e := range all {
		human = human || e.Gate != GateAuto
	}
	l.capability(cred, env, target, human)
	l.event(all, human)
	if q.InProgress != Yes {
		l.refuse(codeJobNotRunning, cmp.Or(q.Differs, "check_run_id"))
	}
	if q.RefIs != Yes {
		l.refuse(codeClaimRef, quoted(c.Ref))
	}
	g := l.grant(all, human)
	l.workflow(cred, g)
	if q.Given != No {
		l.refuse(codeAlreadyGiven)
	}
	if len(l.rs) == 0 {
		l.rs = append(l.rs, *reason(codeLeaseAllowed, VerdictAllow, at{sha: c.SHA, env: cred.Environment}, quoted(q.Credential)))
	}
}

// claims refuses a token that lacks a claim a lease is bound to.
func (l *lease) claims() bool {
	c := &l.q.Claims
	ok := true
	for _, f := range []struct {
		name  string
		known bool
	}{
		{"repository_id", c.RepositoryID != 0},
		{"repository_owner_id", c.RepositoryOwnerID != 0},
		{"environment", c.Environment != ""},
		{"sha", c.SHA != ""},
		{"event_name", c.EventName != ""},
		{"job_workflow_ref", c.JobWorkflowRef != ""},
		{"job_workflow_sha", c.JobWorkflowSHA != ""},
		{"run_id", c.RunID != 0},
		{"run_attempt", c.RunAttempt != 0},
		{"check_run_id", c.CheckRunID != 0},
		{"runner_environment", c.RunnerEnvironment != ""},
	} {
		if !f.known {
			ok = false
			l.refuse(codeClaimMissing, f.name)
		}
	}
	return ok
}

func (l *lease) runner(t *Target) {
	allowed := t.Runners
	if len(allowed) == 0 {
		allowed = []string{"github-hosted"}
	}
	if !slices.Contains(allowed, l.q.Claims.RunnerEnvironment) {
		l.refuse(codeClaimRunner, quoted(l.q.Claims.RunnerEnvironment))
	}
}

// capability refuses what the target does not offer, and writing without a human
// where reading is all that unattended tasks may do.
func (l *lease) capability(cred *Credential, env *Environment, t *Target, human bool) {
	if cred.Capability != CapabilityRead && cred.Capability != CapabilityWrite {
		l.refuse(codeCapability, quoted(cred.Capability))
		return
	}
	if t.Postgres != nil && t.Postgres.Groups[cred.Capability] == "" {
		l.refuse(codeCapability, quoted(cred.Capability))
	}
	if human || len(env.Unattended) == 0 && !t.UnattendedRead {
		return
	}
	// Reading production without a human: both sides say so, and the workflow is the
	// one that the merge door protects, not what a branch makes of it.
	if !slices.Contains(env.Unattended, cred.Capability) || !t.UnattendedRead || cred.Workflow == "" {
		l.refuse(codeUnattended, quoted(l.q.Credential))
	}
	if l.q.DefaultBranch == "" || l.q.Claims.Ref != "refs/heads/"+l.q.DefaultBranch {
		l.refuse(codeClaimBranch, quoted(l.q.Claims.Ref))
	}
}

// event refuses a run whose event one of the environments does not let deploy.
func (l *lease) event(envs []*Environment, human bool) {
	event := l.q.Claims.EventName
	refused := func(e *Environment) bool { return e.events() != nil && !slices.Contains(e.events(), event) }
	if slices.ContainsFunc(envs, refused) || human && githubEvents()[event] != eventOwn {
		l.refuse(codeClaimEvent, quoted(event))
	}
}

// grant finds the release for exactly this job and refuses if there is none or it
// does not hold.
func (l *lease) grant(envs []*Environment, human bool) *Grant {
	c := &l.q.Claims
	if len(l.q.Grants) == 0 {
		l.refuse(codeGrantMissing)
		return nil
	}
	var g *Grant
	nearest := 0
	for i := range l.q.Grants {
		k := &l.q.Grants[i]
		d := grantDiffers(k, c, human)
		if d == len(grantClaims) && (g == nil || k.Human > g.Human) {
			g = k
		}
		nearest = max(nearest, d)
	}
	if g == nil {
		l.refuse(codeGrantOther, grantClaims[nearest])
		return nil
	}
	if g.Holds != Yes {
		l.refuse(codeGrantFell)
	}
	if human && g.Human != Yes {
		l.refuse(codeGrantNotHuman)
	}
	for _, env := range envs {
		age, limited := env.maxAge(StepDeploy)
		if !limited {
			continue
		}
		if g.At.IsZero() || l.q.Now.IsZero() || g.At.After(l.q.Now.Add(clockSkew)) || l.q.Now.Sub(g.At) > age {
			l.refuse(codeGrantTooOld, age.String())
			break
		}
	}
	return g
}

// grantClaims are the claims that a grant is bound to.
var grantClaims = [...]string{"repository_id", "environment", "sha", "run_id", "run_attempt", "check_run_id"}

// grantDiffers is the index of the first claim in which a grant is for another job, or
// past the last if it is for this one.
func grantDiffers(g *Grant, c *JobClaims, human bool) int {
	same := [len(grantClaims)]bool{
		g.Repository == c.RepositoryID, strings.EqualFold(g.Environment, c.Environment), g.SHA == c.SHA, g.Run == c.RunID, g.Attempt == c.RunAttempt,
		g.CheckRun == c.CheckRunID || !human && g.CheckRun == 0,
	}
	if i := slices.Index(same[:], false); i >= 0 {
		return i
	}
	return len(grantClaims)
}

// workflow refuses a job that another workflow file defines than the credential
// names, or another version of it than was approved.
func (l *lease) workflow(cred *Credential, g *Grant) {
	c := &l.q.Claims
	file, _, _ := strings.Cut(c.JobWorkflowRef, "@")
	want, pin, foreign := strings.Cut(cred.Workflow, "@")
	if foreign {
		if !strings.EqualFold(file, want) {
			l.refuse(codeClaimWorkflow, quoted(c.JobWorkflowRef), quoted(cred.Workflow))
		}
		if string(c.JobWorkflowSHA) != pin {
			l.refuse(codeClaimWorkflowSHA, quoted(c.JobWorkflowSHA.Short()), quoted(SHA(pin).Short()))
		}
		return
	}
	owned := c.Repository + "/.github/workflows/"
	inRepository := c.Repository != "" && len(file) > len(owned) && strings.EqualFold(file[:len(owned)], owned)
	if !inRepository || cred.Workflow != "" && file[len(owned):] != cred.Workflow {
		l.refuse(codeClaimWorkflow, quoted(c.JobWorkflowRef), quoted(cred.Workflow))
	}
	if g != nil && c.JobWorkflowSHA != g.SHA {
		l.refuse(codeClaimWorkflowSHA, quoted(c.JobWorkflowSHA.Short()), quoted(g.SHA.Short()))
	}
}

// floor lets the organisation's floor ask for a human's grant: where it covers the
// job's environment by a human gate, or does not name it at all.
func (l *lease) floor(v *PolicyVersion) Decision {
	pc := v.Policy.compiled
	envs, _ := pc.covering(l.q.Claims.Environment)
	var rs []Reason
	var names []string
	human := false
	for _, e := range envs {
		names = append(names, pc.names[e])
		human = human || pc.envs[e].Gate != GateAuto
	}
	if human {
		f := &lease{t: l.t, q: l.q}
		all := make([]*Environment, len(envs))
		for i, e := range envs {
			all[i] = pc.envs[e]
		}
		f.event(all, human)
		f.grant(all, human)
		rs = f.rs
	}
	if len(rs) == 0 {
		rs = append(rs, *reason(codeLeaseAllowed, VerdictAllow, at{}, quoted(l.q.Credential)))
	}
	return finish(Decision{Environments: names}, rs)
}
