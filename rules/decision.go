package rules

import (
	"cmp"
	"slices"
)

// Verdict is what a Decision comes to. Verdicts are ordered: the stricter of two
// is the larger. The zero value is no verdict and counts as deny.
type Verdict string

// The verdicts, shown to machines: they may be added to and never changed.
const (
	VerdictAllow Verdict = "allow"
	VerdictWait  Verdict = "wait"
	VerdictDeny  Verdict = "deny"
)

func (v Verdict) rank() int {
	switch v {
	case VerdictAllow:
		return 0
	case VerdictWait:
		return 1
	default:
		return 2
	}
}

// Stricter returns the stricter of two verdicts.
func Stricter(a, b Verdict) Verdict {
	if a.rank() >= b.rank() {
		return a
	}
	return b
}

// Decision is what a judge says, with everything that anyone is shown of it.
type Decision struct {
	// Key echoes the facts' id.
	Key     string  `json:"id,omitzero"`
	Verdict Verdict `json:"verdict"`
	// Environments are the policy's environments that are touched, sorted.
	Environments []string   `json:"environments"`
	Authorship   Authorship `json:"authorship"`
	Reasons      []Reason   `json:"reasons"`

	// Needs are the human approvals that the policies ask for, given or not.
	Needs []Need `json:"needs,omitzero"`
	// AutoApproval says that the change earned an approval with no human: the
	// App may APPROVE it at the judged SHA where the base branch is guarded.
	AutoApproval bool `json:"auto_approval,omitzero"`
	// Merge says that the policy wants the approved change merged too.
	Merge bool `json:"merge,omitzero"`
	// Observe says that the policy in force only observes: the decision is said
	// and not acted upon.
	Observe bool `json:"observe,omitzero"`
}

// Need is one requirement of human approval.
type Need struct {
	// Environment is the policy's environment that asks, Step when.
	Environment string `json:"environment"`
	Step        Step   `json:"step"`
	// Reviewers may approve; Count of them must, each a different person.
	Reviewers []Reviewer `json:"reviewers"`
	Count     int        `json:"count"`
	// Approved are those whose approval counts, sorted.
	Approved []Login `json:"approved,omitzero"`
	// Excluded are those of the reviewers listed by name who had a hand in the change, so
	// that their approval would not count, sorted.
	Excluded []Login `json:"excluded,omitzero"`
	// Path is a path that brought the need, if a path did; Pattern is the also
	// pattern that it matched.
	Path    string `json:"path,omitzero"`
	Pattern string `json:"pattern,omitzero"`
	// Floor says that the organisation's floor asks, not the repository's policy.
	Floor bool `json:"floor,omitzero"`
}

// what says what asks: the environment, with the also pattern if one does.
func (n Need) what() string {
	if n.Pattern == "" {
		return n.Environment
	}
	return n.Environment + " (" + n.Pattern + ")"
}

// Missing is how many approvals are still missing.
func (n Need) Missing() int { return max(0, n.Count-len(n.Approved)) }

// Asked are the reviewers whose approval could still be given: neither excluded nor given.
func (n Need) Asked() []Reviewer {
	return slices.DeleteFunc(slices.Clone(n.Reviewers), func(r Reviewer) bool {
		is := Login(r).Equal
		return !r.IsTeam() && (slices.ContainsFunc(n.Excluded, is) || slices.ContainsFunc(n.Approved, is))
	})
}

// NeedsHuman reports whether somebody has to act before this goes on: an
// approval is missing, it is denied, or something stops it that neither a check's
// turning green nor the author's going on (a draft) will end.
func (d Decision) NeedsHuman() bool {
	if d.Verdict == VerdictAllow {
		return false
	}
	if d.Verdict != VerdictWait {
		return true
	}
	for _, n := range d.Needs {
		if n.Missing() > 0 {
			return true
		}
	}
	for _, r := range d.Reasons {
		if r.Verdict != VerdictAllow && !codes[r.Code].resolvesItself {
			return true
		}
	}
	return false
}

// Reason is one ground of a Decision. Because holds the grounds of the ground.
type Reason struct {
	// Code is stable: codes may be added and never changed (docs/reasons.md).
	Code Code `json:"code"`
	// Verdict is what this ground alone would come to; allow where it only
	// informs.
	Verdict Verdict `json:"verdict"`
	// Text is one sentence for people. Foreign text in it is quoted and has no
	// control characters; each surface still escapes it for its own markup.
	Text string `json:"text"`
	// The fact it rests on, as far as it is one of these.
	Path        string `json:"path,omitzero"`
	Login       Login  `json:"login,omitzero"`
	SHA         SHA    `json:"sha,omitzero"`
	Environment string `json:"environment,omitzero"`
	// Floor says that the organisation's floor was judged, not the repository's
	// own policy.
	Floor bool `json:"floor,omitzero"`

	Because []Reason `json:"because,omitzero"`
}

// AuthorKind is who wrote something.
type AuthorKind string

// The kinds, shown to machines: they may be added to and never changed. Unknown
// authors are human: that earns nothing.
const (
	KindHuman      AuthorKind = "human"
	KindAutomation AuthorKind = "automation"
	KindAgent      AuthorKind = "agent"
)

// Confidence is how sure a signal is.
type Confidence string

// The confidences. As a change's own, high means an account that the agent alone
// controls; text that anyone can type is medium at most.
const (
	ConfidenceHigh   Confidence = "high"
	ConfidenceMedium Confidence = "medium"
	ConfidenceLow    Confidence = "low"
)

// Authorship is who wrote a change, with the evidence.
type Authorship struct {
	Kind AuthorKind `json:"kind"`
	// Mixed says that an agent wrote some of the commits and somebody else others.
	Mixed      bool       `json:"mixed"`
	Confidence Confidence `json:"confidence"`
	// Agents are the ids of the agents (or automations) seen, sorted.
	Agents   []string   `json:"agents"`
	Evidence []Evidence `json:"evidence"`
	// Assisted are agents that helped without being the author (an Assisted-by
	// line, an accepted suggestion), sorted.
	Assisted []string `json:"assisted,omitzero"`
	// Commits says who wrote each commit, where they differ.
	Commits []CommitAuthorship `json:"commits,omitzero"`

	// opened says that the pull request itself, not only its commits, is an
	// agent's: by its author, branch or markers.
	opened bool
}

// CommitAuthorship is who wrote one commit.
type CommitAuthorship struct {
	SHA    SHA        `json:"sha"`
	Kind   AuthorKind `json:"kind"`
	Agents []string   `json:"agents,omitzero"`
}

// Signal is the kind of a piece of evidence.
type Signal string

// The signals, shown to machines: they may be added to and never changed.
const (
	SignalLogin   Signal = "login"
	SignalApp     Signal = "app"
	SignalEmail   Signal = "email"
	SignalName    Signal = "name"
	SignalTrailer Signal = "trailer"
	SignalBranch  Signal = "branch"
	SignalTitle   Signal = "title"
	SignalBody    Signal = "body"
	SignalMessage Signal = "message"
	SignalLabel   Signal = "label"
)

// Evidence is one signal seen. It adds to a judgement and is none by itself.
type Evidence struct {
	Signal     Signal     `json:"signal"`
	Value      string     `json:"value"`
	Agent      string     `json:"agent"`
	Confidence Confidence `json:"confidence"`
	Commit     SHA        `json:"commit,omitzero"`
	// Assist says that the signal shows help, not authorship.
	Assist bool `json:"assist,omitzero"`
}

// Strictest joins decisions about one thing, so that the result is at least as
// strict as each: the strictest verdict, all environments, needs and reasons.
// The authorship is the first's. No decision at all is deny.
func Strictest(ds ...Decision) Decision {
	if len(ds) == 0 {
		return Decision{Verdict: VerdictDeny, Environments: []string{}, Reasons: []Reason{}}
	}
	out := ds[0]
	out.Environments = slices.Clone(out.Environments)
	out.Reasons = slices.Clone(out.Reasons)
	out.Needs = slices.Clone(out.Needs)
	for _, d := range ds[1:] {
		out.Verdict = Stricter(out.Verdict, d.Verdict)
		out.Environments = append(out.Environments, d.Environments...)
		out.Reasons = append(out.Reasons, d.Reasons...)
		out.Needs = append(out.Needs, d.Needs...)
		out.AutoApproval = out.AutoApproval && d.AutoApproval
		out.Merge = out.Merge && d.Merge
		out.Observe = out.Observe && d.Observe
	}
	slices.Sort(out.Environments)
	out.Environments = slices.Compact(out.Environments)
	if out.Environments == nil {
		out.Environments = []string{}
	}
	sortReasons(out.Reasons)
	return out
}

// sortReasons puts the strictest first, then by code and fact, so that the order
// of facts does not show.
func sortReasons(rs []Reason) {
	slices.SortStableFunc(rs, func(a, b Reason) int {
		return cmp.Or(
			cmp.Compare(b.Verdict.rank(), a.Verdict.rank()),
			cmp.Compare(a.Code, b.Code),
			cmp.Compare(a.Environment, b.Environment),
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Login, b.Login),
			cmp.Compare(a.SHA, b.SHA),
			cmp.Compare(a.Text, b.Text),
		)
	})
}
