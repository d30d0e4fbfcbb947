// Package broker has the words that whoever gives credentials to jobs and whoever
// makes them share. A provider of credentials is a package below it:
// [github.com/sallyport/sallyport/gate/broker/postgres].
package broker

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// Lease is one credential given to one job, or to a person outside any.
type Lease struct {
	// ID names the lease: 32 lower-case hex digits, random, never used again.
	ID         string
	Repository rules.RepositoryID
	// FullName is "owner/name", for people.
	FullName string
	// Environment is GitHub's name for it, Credential the policy's.
	Environment, Credential string
	Capability              rules.Capability
	Run                     rules.RunID
	Attempt                 int
	Job                     rules.CheckRunID
	SHA                     rules.SHA
	// Person is whom it was given to outside any job: then there is no run, attempt,
	// job, commit and ref. 0 is a job's.
	Person rules.AccountID
	// Owner is the repository's, Ref the run's.
	Owner rules.AccountID
	Ref   string
	// ApprovalID, Approvers and ApprovedAt are the approval that it stands on; empty
	// where no human was asked. PolicyDigest is the policy's that decided. They are not
	// known any more when a lease is revoked.
	ApprovalID   string
	Approvers    []rules.Actor
	ApprovedAt   time.Time
	PolicyDigest string
	// Made is when it was written down. From Deadline on nothing of it may be alive.
	Made, Deadline time.Time
}

// NotYet says that a credential cannot be ended before it expires by itself.
type NotYet struct { //nolint:errname // it is an answer
	Until time.Time
}

// Error says until when.
func (n *NotYet) Error() string {
	return "it cannot be ended, and expires by itself at " + n.Until.UTC().Format(time.RFC3339)
}

// Provider makes and ends the credentials of one target. It is safe for concurrent
// use, and each call ends by itself after a time even where ctx does not.
type Provider interface {
	// Mint makes the credential of a lease that is on record already (or see [Inside]). Values are what
	// the job gets, by the provider's own names; they are secret. Handle is what
	// Revoke needs beside the lease, a secret that is kept sealed; nil if nothing. An
	// error leaves open whether something was made: Revoke is called then.
	Mint(ctx context.Context, l Lease) (values map[string]string, handle []byte, err error)
	// Revoke ends the credential: nil means that surely nothing of it is alive any
	// more, a [*NotYet] that nothing can end it sooner. It may be called again and again, and for a lease of which Mint never
	// began. It is not called while a Mint of the same lease runs.
	Revoke(ctx context.Context, l Lease, handle []byte) error
	// Sweep ends whatever of this broker's outlived its deadline at the moment now, as
	// far as the target alone knows it: also what no record speaks of.
	Sweep(ctx context.Context, now time.Time) error
}

// Inside is a [Provider] whose Mint makes nothing outside this process: what it
// returned and nobody got never was. So its lease is put on record
// when the credential is made, in one step with having given it.
type Inside interface {
	Provider
	// Inside does nothing: that it is there says it.
	Inside()
}
