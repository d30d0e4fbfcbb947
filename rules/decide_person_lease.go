package rules

import (
	"slices"
	"strings"
)

// DecidePersonLease judges the request of a person outside any job. No human gate is
// passed this way: it allows only what the server declares as tier auto, the policy
// gates as auto and binds to no workflow, for somebody who may write to the repository
// now. Whatever does not hold is refused. Like [DecideLease] it is total and
// deterministic.
func DecidePersonLease(p Policies, t *Targets, q *PersonLeaseRequest) Decision {
	if q == nil {
		q = &PersonLeaseRequest{}
	}
	l := &personLease{t: t, q: q}
	return decideLease(p, q.Key, func(v *PolicyVersion) Decision {
		l.judge(v)
		return finish(Decision{Environments: l.envs, Authorship: Authorship{Kind: KindHuman, Confidence: ConfidenceLow}}, l.rs)
	}, l.floor)
}

// TooManyLeases is a decision about a person's lease where another one was given in the
// moment between: refused.
func TooManyLeases(d Decision, person Login) Decision {
	return finish(d, append(d.Reasons, *reason(codePersonTooMany, VerdictDeny, at{login: person}, person)))
}

// PersonEnvironment is the GitHub environment that a person's credential is of: of those
// that [LeaseEnvironments] names the one that is called like the policy's, else the
// first. It is empty where there is none.
func PersonEnvironment(p *Policy, credential string, t *Target) string {
	all := LeaseEnvironments(p, credential, t)
	if len(all) == 0 {
		return ""
	}
	if i := slices.IndexFunc(all, func(e string) bool { return strings.EqualFold(e, p.Credentials[credential].Environment) }); i >= 0 {
		return all[i]
	}
	return all[0]
}

type personLease struct {
	t    *Targets
	q    *PersonLeaseRequest
	rs   []Reason
	envs []string
	// environment is GitHub's, once the repository's policy was judged.
	environment string
}

func (l *personLease) refuse(code Code, args ...any) {
	l.rs = append(l.rs, *reason(code, VerdictDeny, at{login: l.q.Person.Login}, args...))
}

// judge gathers every ground for refusal under the repository's policy. Who may not
// write to the repository is told nothing of it.
func (l *personLease) judge(v *PolicyVersion) {
	q := l.q
	switch {
	case q.Verified != Yes || q.Person.ID <= 0:
		l.refuse(codePersonUnverified)
		return
	case q.Person.Type != ActorUser:
		l.refuse(codePersonNotUser, q.Person.Login)
		return
	case q.Installed != Yes || q.Repository <= 0:
		l.refuse(codeNotInstalled)
		return
	case q.Write != Yes:
		l.refuse(codePersonNoWrite, q.Person.Login)
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
	if target.Tier != TierAuto {
		l.refuse(codePersonTier, quoted(q.Credential))
	}
	l.environment = PersonEnvironment(v.Policy, q.Credential, target)
	if l.environment == "" || !slices.Contains(target.Repositories, q.Repository) {
		l.refuse(codePersonTarget, quoted(q.Credential))
	}
	l.gates(v.Policy, env)
	if target.UnattendedRead || len(env.Unattended) > 0 {
		l.refuse(codePersonUnattended, quoted(q.Credential))
	}
	if cred.Workflow != "" {
		l.refuse(codePersonWorkflow, quoted(q.Credential), quoted(cred.Workflow))
	}
	if cred.Capability != CapabilityRead && cred.Capability != CapabilityWrite || target.Postgres != nil && target.Postgres.Groups[cred.Capability] == "" {
		l.refuse(codeCapability, quoted(cred.Capability))
	}
	if q.Live < 0 || q.Live >= MaxPersonLeases {
		l.refuse(codePersonTooMany, q.Person.Login)
	}
	if len(l.rs) == 0 {
		l.rs = append(l.rs, *reason(codePersonLeaseAllowed, VerdictAllow, at{env: cred.Environment, login: q.Person.Login}, quoted(q.Credential), q.Person.Login))
	}
}

// gates refuses where an environment that covers the credential's asks a human.
func (l *personLease) gates(p *Policy, own *Environment) {
	covering, _ := p.compiled.covering(l.environment)
	all := []*Environment{own}
	for _, e := range covering {
		all = append(all, p.compiled.envs[e])
	}
	if slices.ContainsFunc(all, func(e *Environment) bool { return e.Gate != GateAuto }) {
		l.refuse(codePersonGate, quoted(l.environment))
	}
}

// floor refuses where the organisation's floor gates the environment, or does not name
// it at all.
func (l *personLease) floor(v *PolicyVersion) Decision {
	pc := v.Policy.compiled
	envs, covered := pc.covering(l.environment)
	f := &personLease{q: l.q, environment: l.environment}
	var names []string
	human := !covered
	for _, e := range envs {
		names = append(names, pc.names[e])
		human = human || pc.envs[e].Gate != GateAuto
	}
	if human {
		f.refuse(codePersonGate, quoted(l.environment))
	} else {
		f.rs = append(f.rs, *reason(codePersonLeaseAllowed, VerdictAllow, at{login: l.q.Person.Login}, quoted(l.q.Credential), l.q.Person.Login))
	}
	return finish(Decision{Environments: names}, f.rs)
}
