package rules

// Policies are the policy versions that something is judged under: the
// repository's own and the organisation's floor. They are never merged: each is
// judged by itself, the stricter verdict wins, and what either needs is needed.
type Policies struct {
	Repository PolicyVersion
	Floor      PolicyVersion
}

// PolicyState is what is known about a policy. Only PolicyInForce lets anything
// through, and, of a floor, PolicyNone.
type PolicyState int8

const (
	// PolicyUnread could not be read, or nobody tried. The zero value: wait.
	PolicyUnread PolicyState = iota
	// PolicyInvalid was read and has errors: wait.
	PolicyInvalid
	// PolicyNotAdopted is there, but no administrator brought it into force: wait.
	PolicyNotAdopted
	// PolicyDeleted was in force once and its file is gone: deny.
	PolicyDeleted
	// PolicyNone says that a floor is surely absent. Of a repository it means
	// that there never was a policy: wait.
	PolicyNone
	// PolicyInForce decides.
	PolicyInForce
)

// PolicyVersion is one version of a policy, where it came from, and who the
// names in it are. Which version is in force is decided by [NextPolicy] when one
// arrives, and is a fact here.
type PolicyVersion struct {
	State  PolicyState
	Policy *Policy
	Source PolicySource
	// Directory says who the policy's names are.
	Directory Directory
	// Why explains a state other than PolicyInForce, in a few words.
	Why string
}

// PolicySource is where a policy version was read.
type PolicySource struct {
	Repository RepositoryID
	Path       string
	Commit     SHA // the default branch's commit that it was read at
	Blob       SHA // the file's own id
}

// Directory says who the logins and teams of a policy are. Names were pinned to
// ids when the policy came into force, so that a renamed account or team cannot
// be replaced by another of its old name.
type Directory struct {
	// Users maps a login of the policy, in lower case, to its pinned id.
	Users map[string]AccountID
	// Teams maps a team of the policy ("org/slug" in lower case) to what is known
	// of its members.
	Teams map[string]Team
}

// Team is a team's pinned id and whether each account that was asked about is an
// active member. An account that is missing was not asked about: unknown.
type Team struct {
	ID      TeamID
	Members map[AccountID]Tri
}

// Arrival is how a commit that changed the policy came onto the default branch.
type Arrival int8

const (
	// ArrivalUnknown could not be found out. The zero value.
	ArrivalUnknown Arrival = iota
	// ArrivalDirect was pushed, by anyone, without a pull request.
	ArrivalDirect
	// ArrivalUngated came by a pull request that did not pass the merge door
	// under the version in force before it.
	ArrivalUngated
	// ArrivalPassed came by a pull request that passed the merge door under the
	// version in force before it.
	ArrivalPassed
	// ArrivalAdopted was brought into force by an administrator's own act.
	ArrivalAdopted
)

// PolicyCandidate is a policy version that may come into force, with the facts
// about how it arrived.
type PolicyCandidate struct {
	Version PolicyVersion
	Arrival Arrival
	// Descends says whether its commit descends from that of the version in force.
	Descends Tri
	// DefaultBranch says whether it stands at the head of the branch that was the
	// default branch when the version in force came into force.
	DefaultBranch Tri
}

// NextPolicy decides which version is in force when a candidate is found at the
// head of the default branch: the candidate if it arrived by a pull request that
// passed the merge door under current, and descends from it; current otherwise.
// The reason is for the alert and is nil when the candidate is in force or is
// what was in force already. A deletion that arrived rightly denies from then on,
// and one that did not leaves current in force like any other wrong arrival.
func NextPolicy(current PolicyVersion, candidate PolicyCandidate) (PolicyVersion, *Reason) {
	next := candidate.Version
	if candidate.Arrival == ArrivalAdopted && next.State == PolicyInForce {
		return next, nil
	}
	if current.State != PolicyInForce && current.State != PolicyDeleted {
		if next.State == PolicyInForce {
			next.State = PolicyNotAdopted
			next.Why = "an administrator has to adopt the first version"
			return next, reason(codePolicyNotAdopted, VerdictWait, at{sha: next.Source.Commit})
		}
		return current, nil
	}
	if current.State == PolicyInForce && next.State == PolicyInForce &&
		next.Source.Blob != "" && next.Source.Blob == current.Source.Blob && candidate.Descends == Yes && candidate.DefaultBranch == Yes {
		// The same bytes further down the same history.
		return next, nil
	}
	switch {
	case candidate.DefaultBranch != Yes:
		return current, reason(codePolicyOtherBranch, VerdictWait, at{sha: next.Source.Commit})
	case candidate.Descends != Yes:
		return current, reason(codePolicyRewritten, VerdictWait, at{sha: next.Source.Commit})
	case candidate.Arrival != ArrivalPassed:
		return current, reason(codePolicyUngated, VerdictWait, at{sha: next.Source.Commit})
	}
	switch next.State {
	case PolicyInForce:
		return next, nil
	case PolicyDeleted, PolicyNone:
		next.State = PolicyDeleted
		return next, reason(codePolicyDeleted, VerdictDeny, at{sha: next.Source.Commit})
	default:
		return current, reason(codePolicyInvalid, VerdictWait, at{sha: next.Source.Commit}, quoted(next.Why))
	}
}
