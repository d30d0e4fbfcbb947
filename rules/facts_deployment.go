package rules

import "time"

// Deployment is one job held at one GitHub environment: the facts that
// [DecideDeployment] judges.
type Deployment struct {
	Key        string       `json:"id,omitzero"`
	Repository Repository   `json:"repository,omitzero"`
	Deployment DeploymentID `json:"deployment,omitzero"`
	// Environment is GitHub's name as the workflow writes it.
	Environment string `json:"environment,omitzero"`
	SHA         SHA    `json:"sha,omitzero"`
	// Ref is the run's ref and RefType what it is.
	Ref     string  `json:"ref,omitzero"`
	RefType RefType `json:"ref_type,omitzero"`
	// Event started the run ("push", "workflow_dispatch", …).
	Event   string `json:"event,omitzero"`
	Run     RunID  `json:"run,omitzero"`
	Attempt int    `json:"attempt,omitzero"`
	// Jobs counts the jobs of this run held at this environment.
	Jobs int `json:"jobs,omitzero"`

	// Dispatcher started the run; Rerunner started this attempt, if not the first.
	Dispatcher Actor  `json:"dispatcher,omitzero"`
	Rerunner   Actor  `json:"rerunner,omitzero"`
	Inputs     Inputs `json:"inputs,omitzero"`

	DefaultBranch string `json:"default_branch,omitzero"`
	// OnBranches are the branches that SHA is known to be on, asked for those
	// that the policies name. Nil is unknown.
	OnBranches []string `json:"on_branches,omitzero"`

	Range Range `json:"range,omitzero"`
	// Statements are what is worth a second look in the migrations that it brings.
	Statements []Statement `json:"statements,omitzero"`

	Approvals []Approval `json:"approvals,omitzero"`

	Now   time.Time `json:"now,omitzero"`
	Basis Basis     `json:"-"`
}

// RefType is whether a ref is a branch or a tag. Anything else is unknown: a tag
// of a branch's name looks like the branch in some of GitHub's answers.
type RefType string

// The kinds of ref.
const (
	RefBranch RefType = "branch"
	RefTag    RefType = "tag"
)

// Inputs are the inputs of a workflow_dispatch run. Known is Yes where they were
// read in full; an approval binds to Digest.
type Inputs struct {
	Known  Tri               `json:"known,omitzero"`
	Values map[string]string `json:"values,omitzero"`
	Digest string            `json:"digest,omitzero"`
}

// RangeKind is how a deployed commit relates to the last one released.
type RangeKind string

// The kinds of range. The zero value is unknown: what a deployment brings could
// not be read.
const (
	// RangeFirst: there is no earlier deployment that we released and whose job
	// succeeded.
	RangeFirst     RangeKind = "first"
	RangeAhead     RangeKind = "ahead"
	RangeIdentical RangeKind = "identical"
	RangeBehind    RangeKind = "behind"
	RangeDiverged  RangeKind = "diverged"
)

// Range is everything that a deployment brings: every commit since the last
// deployment to the environment that we released and whose job succeeded.
type Range struct {
	Kind RangeKind `json:"kind,omitzero"`
	Base SHA       `json:"base,omitzero"`
	// Commits are complete only if Complete is Yes.
	Commits  []Brought `json:"commits,omitzero"`
	Complete Tri       `json:"complete,omitzero"`
	// Files are the paths that differ between Base and the deployed SHA.
	Files         []File `json:"files,omitzero"`
	FilesComplete Tri    `json:"files_complete,omitzero"`
}

// Brought is one commit that a deployment brings, with how it arrived.
type Brought struct {
	SHA SHA `json:"sha,omitzero"`
	// By is everybody who had a hand in it: author, committer, co-authors.
	By []Identity `json:"by,omitzero"`
	// PullRequest brought it; 0 means a push without one.
	PullRequest int `json:"pull_request,omitzero"`
	// Passed says whether that pull request passed the merge door.
	Passed Tri `json:"passed,omitzero"`
	// ApprovedBy are the listed humans whose approval counted there. None means
	// that the change was approved without a human.
	ApprovedBy []Actor `json:"approved_by,omitzero"`
}

// Statement is one statement of a migration that deserves a second look. It changes
// no verdict: whoever approves is shown it.
type Statement struct {
	Path string `json:"path,omitzero"`
	Line int    `json:"line,omitzero"`
	// Text says what it does ("drops table orders"), or, where Unread, why the file
	// could not be read as SQL.
	Text   string `json:"text,omitzero"`
	Unread bool   `json:"unread,omitzero"`
}

// Approval is somebody's word on one held deployment.
type Approval struct {
	How   Accepted `json:"how,omitzero"`
	Actor Actor    `json:"actor,omitzero"`
	// Rejects says that it is a rejection; anything else is an approval.
	Rejects bool `json:"rejects,omitzero"`
	// What it was given for. All must match the deployment exactly.
	Environment string `json:"environment,omitzero"`
	SHA         SHA    `json:"sha,omitzero"`
	Run         RunID  `json:"run,omitzero"`
	Attempt     int    `json:"attempt,omitzero"`
	// InputsDigest is the digest of the inputs that the approver was shown.
	InputsDigest string    `json:"inputs_digest,omitzero"`
	At           time.Time `json:"at,omitzero"`
	// Confirmed says whether GitHub itself confirmed the act.
	Confirmed Tri `json:"confirmed,omitzero"`
	// Present says whether the approver showed a device-bound passkey.
	Present Tri `json:"present,omitzero"`
	// Write says whether the approver has write access to the repository now.
	// Whoever is listed by name needs it; a team's members are asked for anyway.
	Write Tri `json:"write,omitzero"`
	// Maintains says whether a person not on a list maintains the repository:
	// they may reject.
	Maintains Tri `json:"maintains,omitzero"`
}
