package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/rules"
)

// Success is the outcome of a release whose jobs all succeeded. It is stored and
// never changes.
const Success = "success"

// Release is one opening of the deploy door: what was let into an environment, why,
// and what became of it. What an environment's next deployment brings is counted
// from here, see [Store.LastRelease].
type Release struct {
	// ID is the store's, in the order in which releases were written.
	ID         int64
	Repository rules.RepositoryID
	// Environment is GitHub's name. It is stored with its ASCII letters in lower
	// case: two names that GitHub may tell apart stay two.
	Environment string
	Run         rules.RunID
	// Attempt of the run, from 1. Turn counts the times that one attempt was held
	// for one environment, from 0 or 1 as the gate likes.
	Attempt, Turn int
	SHA           rules.SHA
	// Ref is the branch or tag of the run.
	Ref string
	// Jobs are those that were held.
	Jobs []rules.CheckRunID
	// Human says that a person approved it, Observed that the policy only observed:
	// the door would not have opened.
	Human, Observed bool
	// Approvals is the gate's own JSON.
	Approvals []byte
	// Decision is the decision's id.
	Decision string
	At       time.Time

	// Outcome is how it ended, in GitHub's words (success, failure, …), and EndedAt
	// when; "" and zero as long as it has not.
	Outcome string
	EndedAt time.Time
}

// Release records that the door opened, in the transaction of its ledger entry. It
// returns [ErrAlready] if it opened for the same environment, run, attempt and turn
// before: the transaction that must not happen twice then rolls back. r.ID is the
// store's to give.
func (t *Tx) Release(r Release) error {
	switch {
	case r.Repository <= 0 || r.Run <= 0 || r.Attempt < 1 || r.Turn < 0 || r.Environment == "" || r.SHA == "":
		return fmt.Errorf("a release of half a thing: repository %d, environment %q, run %d, attempt %d, turn %d, commit %q",
			r.Repository, r.Environment, r.Run, r.Attempt, r.Turn, r.SHA)
	case r.At.IsZero():
		return errors.New("a release at no time")
	case r.Outcome != "" || !r.EndedAt.IsZero():
		return fmt.Errorf("a release that has ended as %q before it began: use EndRelease", r.Outcome)
	}
	jobs, err := json.Marshal(r.Jobs)
	if err != nil {
		return err
	}
	n, err := t.exec(`INSERT INTO releases (repository, environment, run, attempt, turn, sha, ref, jobs, human, observed, approvals, decision, at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		int64(r.Repository), fold(r.Environment), int64(r.Run), r.Attempt, r.Turn, string(r.SHA), r.Ref, jobs, r.Human, r.Observed,
		blob(r.Approvals), r.Decision, stamp(r.At))
	if err == nil && n == 0 {
		return fmt.Errorf("the release of run %d, attempt %d, turn %d to %q: %w", r.Run, r.Attempt, r.Turn, r.Environment, ErrAlready)
	}
	return err
}

// EndRelease records how a release ended, in GitHub's words. The first outcome
// counts: it returns [ErrNotFound] if there is no such release or it has ended.
func (t *Tx) EndRelease(repository rules.RepositoryID, environment string, run rules.RunID, attempt, turn int, outcome string, at time.Time) error {
	if outcome == "" || at.IsZero() {
		return fmt.Errorf("a release cannot end as %q at %s", outcome, at)
	}
	n, err := t.exec(`UPDATE releases SET outcome = ?, ended_at = ?
		WHERE repository = ? AND environment = ? AND run = ? AND attempt = ? AND turn = ? AND outcome = ''`,
		outcome, stamp(at), int64(repository), fold(environment), int64(run), attempt, turn)
	return missing(n, err)
}

// ReleasesOf returns the releases of a run, all its attempts and environments,
// oldest first.
func (s *Store) ReleasesOf(ctx context.Context, repository rules.RepositoryID, run rules.RunID) ([]Release, error) {
	return s.releases(ctx, "WHERE repository = ? AND run = ? ORDER BY id", int64(repository), int64(run))
}

// LastRelease returns what an environment was last deployed from: of the releases
// that ended as [Success] and were no mere observation, the one that ended last. It
// returns [ErrNotFound] if there is none.
func (s *Store) LastRelease(ctx context.Context, repository rules.RepositoryID, environment string) (Release, error) {
	all, err := s.releases(ctx, `WHERE repository = ? AND environment = ? AND outcome = 'success' AND observed = 0
		ORDER BY ended_at DESC, id DESC LIMIT 1`, int64(repository), fold(environment))
	if err == nil && len(all) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Release{}, err
	}
	return all[0], nil
}

func (s *Store) releases(ctx context.Context, where string, args ...any) ([]Release, error) {
	out, err := all(ctx, s, scanRelease, `SELECT id, repository, environment, run, attempt, turn, sha, ref, jobs, human, observed, approvals, decision, at,
		outcome, ended_at FROM releases `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("reading releases: %w", err)
	}
	return out, nil
}

func scanRelease(scan func(...any) error) (Release, error) {
	var r Release
	var jobs []byte
	var at, ended int64
	if err := scan(&r.ID, &r.Repository, &r.Environment, &r.Run, &r.Attempt, &r.Turn, &r.SHA, &r.Ref, &jobs, &r.Human, &r.Observed,
		&r.Approvals, &r.Decision, &at, &r.Outcome, &ended); err != nil {
		return Release{}, err
	}
	r.At, r.EndedAt = unstamp(at), unstamp(ended)
	err := json.Unmarshal(jobs, &r.Jobs)
	return r, err
}

// fold is an environment's name with its ASCII letters in lower case. GitHub does
// not tell names apart by the case of their letters. Of other letters we do not
// know: taking "ſ" for "s" could lend one environment's record to another.
func fold(environment string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, environment)
}
