package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// LeaseState is how far a lease is.
type LeaseState string

// The states of a lease. They are stored: they may be added to and never changed.
const (
	// LeaseCreating is on record before anything was made: whether something was,
	// nobody knows until it is live.
	LeaseCreating LeaseState = "creating"
	// LeaseLive was given to its job.
	LeaseLive LeaseState = "live"
	// LeaseRevoking has to be ended, and is not known to be.
	LeaseRevoking LeaseState = "revoking"
	// LeaseEnded has surely nothing of it alive.
	LeaseEnded LeaseState = "ended"
)

// Lease is one credential given to one job, or to a person outside any.
type Lease struct {
	// ID is 32 hex digits.
	ID         string
	Repository rules.RepositoryID
	// Environment is GitHub's name as the job's token spells it.
	Environment string
	Run         rules.RunID
	Attempt     int
	Job         rules.CheckRunID
	SHA         rules.SHA
	// Person is whom it was given to outside any job; it has no run, attempt, job and
	// commit then. 0 is a job's.
	Person rules.AccountID
	// Credential is the policy's name, Target the server's.
	Credential, Target string
	Capability         rules.Capability
	// Token is the id of the job's token that asked (jti). It is never used again.
	Token string
	// Secret is the SHA-256 of the lease's own secret.
	Secret []byte
	// Decision is the decision's id.
	Decision         string
	MadeAt, Deadline time.Time

	// The rest is set as it goes on. Handle is sealed by whoever made it.
	State    LeaseState
	Handle   []byte
	Why      string // why it is ended, for people
	DueAt    time.Time
	Attempts int
	Error    string
	EndedAt  time.Time
}

const (
	// maxHandle is how many bytes a sealed handle may have.
	maxHandle = 64 << 10
	// maxLeases is how many leases are taken at once.
	maxLeases = 50
)

// AddLease puts a lease on record before anything of it is made, in the transaction of
// its ledger entry. It returns [ErrAlready] if this credential was given to this job
// before, or the token was used before: both hold whoever asks at the same time. To a
// person it may be given again, but [ErrTooMany] says that they have
// [rules.MaxPersonLeases] that have not ended.
func (t *Tx) AddLease(l Lease) error {
	switch {
	case l.ID == "" || l.Repository <= 0 || l.Environment == "" || l.Credential == "" || l.Target == "" || l.Person < 0,
		l.Person == 0 && (l.Run <= 0 || l.Attempt < 1 || l.Job <= 0 || !l.SHA.Valid()),
		l.Person != 0 && (l.Run != 0 || l.Attempt != 0 || l.Job != 0 || l.SHA != ""):
		return fmt.Errorf("a lease of half a thing: repository %d, run %d, attempt %d, job %d, person %d, credential %q", l.Repository, l.Run, l.Attempt, l.Job, l.Person, l.Credential)
	case l.Token == "" || len(l.Secret) != 32:
		return errors.New("a lease without the id of its token, or without a secret")
	case l.MadeAt.IsZero() || !l.Deadline.After(l.MadeAt):
		return fmt.Errorf("a lease from %s to %s", l.MadeAt, l.Deadline)
	}
	if l.Person == 0 {
		added, err := t.addLease(l, 0)
		if err == nil && !added {
			return fmt.Errorf("the credential %q of job %d: %w", l.Credential, l.Job, ErrAlready)
		}
		return err
	}
	for place := 1; place <= rules.MaxPersonLeases; place++ {
		if added, err := t.addLease(l, place); added || err != nil {
			return err
		}
	}
	return fmt.Errorf("the credential %q: %w", l.Credential, ErrTooMany)
}

// addLease puts a lease on record unless another one has its place.
func (t *Tx) addLease(l Lease, place int) (bool, error) {
	n, err := t.exec(`INSERT INTO leases (id, repository, environment, run, attempt, job, sha, credential, target, capability, token, secret, decision, made_at, deadline, state, due_at, person, place)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		l.ID, int64(l.Repository), l.Environment, int64(l.Run), l.Attempt, int64(l.Job), string(l.SHA), l.Credential, l.Target, string(l.Capability), l.Token, l.Secret,
		l.Decision, stamp(l.MadeAt), stamp(l.Deadline), string(LeaseCreating), stamp(l.MadeAt.Add(MintTime)), int64(l.Person), place)
	return n == 1, err
}

// ErrTooMany means that a person has as many leases as they may.
var ErrTooMany = errors.New("there are as many as there may be")

// GiveLease records that a lease's credential was made, with what revoking it needs.
// It returns [ErrNotFound] if the lease is to be revoked already: then what was made
// must be ended.
func (t *Tx) GiveLease(id string, handle []byte) error {
	if len(handle) > maxHandle {
		return fmt.Errorf("a handle of %d bytes: want at most %d", len(handle), maxHandle)
	}
	n, err := t.exec("UPDATE leases SET state = ?, handle = ?, due_at = deadline WHERE id = ? AND state = ?", string(LeaseLive), blob(handle), id, string(LeaseCreating))
	return missing(n, err)
}

// KeepHandle stores what revoking a lease needs although it is to be revoked already.
func (t *Tx) KeepHandle(id string, handle []byte) error {
	n, err := t.exec("UPDATE leases SET handle = ? WHERE id = ? AND state <> ?", blob(handle), id, string(LeaseEnded))
	return missing(n, err)
}

// MintTime is how long making a credential may take. Only then is one ended that is
// not known to be made: whoever makes it ends it before, if it was asked to be.
const MintTime = 30 * time.Second

// RevokeLease asks for a lease to be ended, now. It is no error if that was asked
// before, and [ErrNotFound] if there is none or it has ended.
func (t *Tx) RevokeLease(id, why string, now time.Time) error {
	n, err := t.exec(`UPDATE leases SET due_at = CASE WHEN length(handle) = 0 AND made_at + ?1 > ?2 THEN made_at + ?1 ELSE ?2 END, state = ?3, why = CASE WHEN why = '' THEN ?4 ELSE why END
		WHERE id = ?5 AND state <> ?6`, MintTime.Microseconds(), stamp(now), string(LeaseRevoking), clean(why), id, string(LeaseEnded))
	return missing(n, err)
}

// EndLease records that nothing of a lease is alive. What it was ended with is
// forgotten.
func (t *Tx) EndLease(id string, now time.Time) error {
	n, err := t.exec("UPDATE leases SET state = ?, ended_at = ?, handle = ?, error = '' WHERE id = ? AND state <> ?", string(LeaseEnded), stamp(now), blob(nil), id, string(LeaseEnded))
	return missing(n, err)
}

// FailLease records why a lease could not be ended, and when the next try is due.
func (t *Tx) FailLease(id string, cause error, due time.Time) error {
	if cause == nil || due.IsZero() {
		return errors.New("a lease could not be ended for no reason, or is never to be tried again")
	}
	n, err := t.exec("UPDATE leases SET error = ?, due_at = ? WHERE id = ? AND state = ?", withoutAddresses(cause), stamp(due), id, string(LeaseRevoking))
	return missing(n, err)
}

// TakeLeases returns leases that are to be ended now: those that were asked to be, and
// those whose deadline is over, live or never finished. Their next try is at now plus
// lease and is counted, so that two processes do not do the same.
func (s *Store) TakeLeases(ctx context.Context, now time.Time, lease time.Duration) ([]Lease, error) {
	due, err := s.leases(ctx, "WHERE state <> 'ended' AND due_at <= ? ORDER BY due_at, id LIMIT ?", stamp(now), maxLeases)
	if err != nil || len(due) == 0 {
		return nil, err
	}
	var out []Lease
	err = s.Update(ctx, func(tx *Tx) error {
		for _, d := range due {
			l, err := scanLease(func(into ...any) error {
				return tx.one(`UPDATE leases SET state = 'revoking', due_at = ?, attempts = attempts + 1, why = CASE WHEN why = '' THEN 'its deadline is over' ELSE why END
					WHERE id = ? AND state <> 'ended' AND due_at <= ? RETURNING `+leaseColumns, []any{stamp(now.Add(lease)), d.ID, stamp(now)}, into...)
			})
			if errors.Is(err, ErrNotFound) {
				continue // somebody else took it in between
			}
			if err != nil {
				return err
			}
			out = append(out, l)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Lease returns a lease, or [ErrNotFound].
func (s *Store) Lease(ctx context.Context, id string) (Lease, error) {
	return s.oneLease(ctx, "WHERE id = ?", id)
}

// LeaseOf returns the lease of a credential that a job was given, or [ErrNotFound].
func (s *Store) LeaseOf(ctx context.Context, repository rules.RepositoryID, run rules.RunID, attempt int, job rules.CheckRunID, credential string) (Lease, error) {
	return s.oneLease(ctx, "WHERE repository = ? AND run = ? AND attempt = ? AND job = ? AND credential = ?", int64(repository), int64(run), attempt, int64(job), credential)
}

// LeasesOf returns the leases of a run that have not ended, oldest first.
func (s *Store) LeasesOf(ctx context.Context, repository rules.RepositoryID, run rules.RunID) ([]Lease, error) {
	return s.leases(ctx, "WHERE repository = ? AND run = ? AND state <> 'ended' ORDER BY made_at, id", int64(repository), int64(run))
}

// LeasesOfPerson returns the leases of a person that have not ended, oldest first.
func (s *Store) LeasesOfPerson(ctx context.Context, person rules.AccountID) ([]Lease, error) {
	return s.leases(ctx, "WHERE person = ? AND person <> 0 AND state <> 'ended' ORDER BY made_at, id", int64(person))
}

// Leases returns all leases that have not ended, oldest first.
func (s *Store) Leases(ctx context.Context) ([]Lease, error) {
	return s.leases(ctx, "WHERE state <> 'ended' ORDER BY made_at, id")
}

func (s *Store) oneLease(ctx context.Context, where string, args ...any) (Lease, error) {
	all, err := s.leases(ctx, where, args...)
	if err == nil && len(all) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Lease{}, err
	}
	return all[0], nil
}

const leaseColumns = `id, repository, environment, run, attempt, job, sha, credential, target, capability, token, secret, decision, made_at, deadline,
	state, handle, why, due_at, attempts, error, ended_at, person`

func scanLease(scan func(...any) error) (Lease, error) {
	var l Lease
	var made, deadline, due, ended int64
	err := scan(&l.ID, &l.Repository, &l.Environment, &l.Run, &l.Attempt, &l.Job, &l.SHA, &l.Credential, &l.Target, &l.Capability, &l.Token, &l.Secret, &l.Decision,
		&made, &deadline, &l.State, &l.Handle, &l.Why, &due, &l.Attempts, &l.Error, &ended, &l.Person)
	l.MadeAt, l.Deadline, l.DueAt, l.EndedAt = unstamp(made), unstamp(deadline), unstamp(due), unstamp(ended)
	return l, err
}

func (s *Store) leases(ctx context.Context, where string, args ...any) ([]Lease, error) {
	out, err := all(ctx, s, scanLease, "SELECT "+leaseColumns+" FROM leases "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("reading leases: %w", err)
	}
	return out, nil
}
