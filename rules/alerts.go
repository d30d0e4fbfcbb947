package rules

// The alerts: what should not have happened to a deployment or a credential. Each
// is a reason with the strictest verdict, rendered like any other.

// StartedPast says that a held job of a GitHub environment started unreleased; by is
// who started the run's attempt.
func StartedPast(environment string, by Login, sha SHA) Reason {
	return *reason(codeStartedPast, VerdictDeny, at{sha: sha, env: environment, login: by}, quoted(environment), by)
}

// CompletedUnreleased says that a job of a gated environment ended without any gate's
// release.
func CompletedUnreleased(environment, conclusion string, by Login, sha SHA) Reason {
	return *reason(codeUnreleased, VerdictDeny, at{sha: sha, env: environment, login: by}, quoted(environment), quoted(conclusion), by)
}

// RuleMissing says that a gated environment has no rule of ours.
func RuleMissing(environment string) Reason {
	return *reason(codeRuleMissing, VerdictDeny, at{env: environment}, quoted(environment))
}

// Rewritten says that a held commit is on no branch any more that may deploy.
func Rewritten(environment string, sha SHA) Reason {
	return *reason(codeRewritten, VerdictDeny, at{sha: sha, env: environment}, quoted(environment), quoted(sha.Short()))
}

// OutOfReach says that nobody answers for a held deployment any more.
func OutOfReach(environment string, sha SHA) Reason {
	return *reason(codeOutOfReach, VerdictDeny, at{sha: sha, env: environment}, quoted(environment))
}

// AskedTwice says that a credential was asked for again by whoever has a job's token.
func AskedTwice(credential, environment string, sha SHA) Reason {
	return *reason(codeAskedTwice, VerdictDeny, at{sha: sha, env: environment}, quoted(credential), quoted(environment))
}

// Withdrawn says that what a credential was given for holds no more while it lived, so
// that it is revoked.
func Withdrawn(credential, environment string, sha SHA) Reason {
	return *reason(codeWithdrawn, VerdictDeny, at{sha: sha, env: environment}, quoted(credential), quoted(environment))
}

// NotEnded says that what a lease made could not be ended; why holds no address.
func NotEnded(target, environment, why string, sha SHA) Reason {
	return *reason(codeNotEnded, VerdictDeny, at{sha: sha, env: environment}, quoted(target), quoted(environment), quoted(why))
}

// Gated reports whether a policy asks a human before a deployment to a GitHub
// environment. One that no environment of the policy covers is gated.
func (p *Policy) Gated(environment string) bool {
	if p == nil || p.compiled == nil {
		return true
	}
	envs, covered := p.compiled.covering(environment)
	if !covered {
		return true
	}
	for _, e := range envs {
		if p.compiled.envs[e].Gate != GateAuto {
			return true
		}
	}
	return false
}

// AlreadyGiven is a decision about a lease that somebody else was given in the moment
// between: refused.
func AlreadyGiven(d Decision, sha SHA) Decision {
	return finish(d, append(d.Reasons, *reason(codeAlreadyGiven, VerdictDeny, at{sha: sha})))
}
