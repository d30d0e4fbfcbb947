// Package jobs is what a job asks of the server: whether it may go on, and for
// credentials.
//
//	holds, err := jobs.New(jobs.Config{Verifier: verifier, Gate: gate})
//	mux.Handle(jobs.Path, holds)
//	mux.Handle(jobs.Path+"/", holds)
//	leases, err := jobs.NewLeases(jobs.LeasesConfig{Verifier: verifier, Leaser: leaser})
//	mux.Handle(jobs.LeasesPath, leases)
//	mux.Handle(jobs.LeasesPath+"/", leases)
//
// The job shows its OIDC token, with SALLYPORT_URL as audience, and nothing else: who
// it is and what it is held for follow from the token and from GitHub.
//
// A job's first step, the action's gate, asks with POST /v1/holds whether the job may
// go on, which makes the hold of this job, or finds it; GET /v1/holds/{id} says what
// became of it, and with ?wait=SECONDS waits until something did. Both need a token of
// the very job that is held. A hold opens nothing: whoever skips it gets no credential.
//
// POST /v1/leases with a credential's name gives that credential, once; DELETE
// /v1/leases/{id} ends it, with the lease's own secret instead of the token.
//
// With a repository beside the credential's name POST /v1/leases is a person's, who
// shows the token of sallyport login.
//
// A refusal is problem+json (RFC 9457) with a stable code and, where a claim of the
// token differed, its name.
package jobs

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/rules"
)

// Verifier verifies a job's OIDC token.
type Verifier interface {
	// Verify returns what the token says. A *[rules.TokenRefused] is the caller's
	// fault; any other error means that it cannot be told now. It is called by many
	// at once.
	Verify(ctx context.Context, raw string) (rules.JobToken, error)
}

// Gate holds jobs. Its methods are called by many at once.
//
// Their errors: [ErrNotServed] and [ErrNotFound], a *[Refusal] for what the job
// cannot have; any other means that the store or GitHub is down, and opens nothing.
type Gate interface {
	// Hold makes the hold of the token's job, or finds it: asking twice makes one.
	// It sends GitHub no request for a repository that is not served.
	Hold(ctx context.Context, t rules.JobToken) (State, error)
	// HoldState is a hold as it is now. It is [ErrNotFound] unless the token's
	// repository, run, attempt and job are the hold's. It is called once a second for
	// each job that waits, so it reads the store and nothing else.
	HoldState(ctx context.Context, id string, t rules.JobToken) (State, error)
}

var (
	// ErrNotServed says that the App is not installed on the token's repository, or
	// that its owner is not served here.
	ErrNotServed = errors.New("the App is not installed on this repository")
	// ErrNotFound says that there is no such hold of this job, or no such lease with
	// this secret.
	ErrNotFound = errors.New("there is none of this id for whoever asks")
)

// Refusal is a request that is refused for good.
type Refusal struct { //nolint:errname // it is an answer, and named as one
	// Status is the HTTP status, 4xx; any other value is answered as 403.
	Status int
	// Code is stable and shown to machines.
	Code string
	// Claim is the claim of the token that differed, if one did.
	Claim string
	// Text is one sentence for people: what is wrong, and what to do.
	Text string
}

// Error is the sentence.
func (r *Refusal) Error() string { return r.Text }

// The states of a hold, shown to machines: they may be added to and never changed.
// Whoever does not know one must not go on.
const (
	// Waiting: a human, a check or a time is still missing.
	Waiting = "waiting"
	// Released: the job may go on.
	Released = "released"
	// Rejected: a human said no.
	Rejected = "rejected"
	// Denied: the policy says no, whoever approves.
	Denied = "denied"
)

// State is a hold as it is now, and the body of an answer. Fields may be added and
// never changed.
type State struct {
	// ID names the hold: 1 to 64 letters, digits, hyphens and underscores.
	ID string `json:"id"`
	// State is one of the constants above.
	State string `json:"state"`
	// Environment is GitHub's name.
	Environment string      `json:"environment"`
	SHA         rules.SHA   `json:"sha"`
	Run         rules.RunID `json:"run_id"`
	Attempt     int         `json:"run_attempt"`
	// Decision is the judge's.
	Decision rules.Decision `json:"decision"`
	// Waits is one sentence: who can end it, and how.
	Waits string `json:"waits,omitzero"`
	// URL is where to approve.
	URL string `json:"url,omitzero"`
	// Grant says that there is a grant for this job, so that credentials may be
	// asked for.
	Grant bool `json:"grant"`
	// RetryAfter is in how many seconds to ask again; 0 once nothing will change.
	RetryAfter int `json:"retry_after,omitzero"`
}
