package rules

import "time"

// LeaseRequest is a job's request for a credential: the facts that
// [DecideLease] judges.
type LeaseRequest struct {
	Key string `json:"id,omitzero"`
	// Credential is the policy's name for what is asked.
	Credential string `json:"credential,omitzero"`
	// Verified says that the token's signature, issuer, audience and times were
	// checked. Claims without it mean nothing.
	Verified Tri       `json:"verified,omitzero"`
	Claims   JobClaims `json:"claims,omitzero"`
	// Installed says whether the App is installed on the repository and allowed.
	Installed Tri `json:"installed,omitzero"`
	// InProgress is GitHub's own answer whether exactly the job of the claims
	// (run, attempt, check run) is in progress, in the environment claimed.
	InProgress Tri `json:"in_progress,omitzero"`
	// Differs is the claim in which GitHub's answer differs, where it is not in
	// progress: run_id, run_attempt, check_run_id or environment.
	Differs string `json:"differs,omitzero"`
	// RefIs says whether the ref of the claims is the branch or tag that GitHub shows
	// for the run.
	RefIs Tri `json:"ref_is,omitzero"`
	// DefaultBranch is the repository's.
	DefaultBranch string `json:"default_branch,omitzero"`
	// Grants are the releases on record for the run of the claims.
	Grants []Grant `json:"grants,omitzero"`
	// Given says whether this credential was given to this job before.
	Given Tri       `json:"given,omitzero"`
	Now   time.Time `json:"now,omitzero"`
}

// JobClaims are the claims of a GitHub Actions OIDC token that a lease is bound
// to (https://docs.github.com/actions/reference/openid-connect-reference). The
// subject is not among them: its form differs between repositories.
type JobClaims struct {
	RepositoryID      RepositoryID `json:"repository_id,omitzero"`
	RepositoryOwnerID AccountID    `json:"repository_owner_id,omitzero"`
	Environment       string       `json:"environment,omitzero"`
	SHA               SHA          `json:"sha,omitzero"`
	Ref               string       `json:"ref,omitzero"`
	EventName         string       `json:"event_name,omitzero"`
	JobWorkflowRef    string       `json:"job_workflow_ref,omitzero"`
	JobWorkflowSHA    SHA          `json:"job_workflow_sha,omitzero"`
	RunID             RunID        `json:"run_id,omitzero"`
	RunAttempt        int          `json:"run_attempt,omitzero"`
	CheckRunID        CheckRunID   `json:"check_run_id,omitzero"`
	RunnerEnvironment string       `json:"runner_environment,omitzero"`
	// Repository is "owner/name", for messages and to recognise a workflow of the
	// same repository once RepositoryID has matched.
	Repository string `json:"repository,omitzero"`
}

// Grant is a release of one held job, made from the approvals that
// [DecideDeployment] counted.
type Grant struct {
	Repository  RepositoryID `json:"repository,omitzero"`
	Environment string       `json:"environment,omitzero"` // GitHub's name
	SHA         SHA          `json:"sha,omitzero"`
	Run         RunID        `json:"run,omitzero"`
	Attempt     int          `json:"attempt,omitzero"`
	// CheckRun is the held job. Zero binds the grant to no job: it opens nothing
	// of a gated environment.
	CheckRun CheckRunID `json:"check_run,omitzero"`
	// Human says that listed humans approved it; Automatic grants open only what
	// is neither gated by a policy nor of a human tier.
	Human Tri `json:"human,omitzero"`
	// Holds says whether its approvers are still what they were, and nothing was
	// withdrawn.
	Holds Tri       `json:"holds,omitzero"`
	At    time.Time `json:"at,omitzero"`
}
