package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/rules"
)

const (
	// maxHolds is how many holds one run may have, all its attempts together. Any job
	// may ask, so that a workflow gone mad could fill the disk.
	maxHolds = 1000
	// maxHoldID and maxClaims are in bytes. A job's token has a few kilobytes.
	maxHoldID = 200
	maxClaims = 64 << 10
)

// Hold is one job's question whether it may go on. It answers nothing: what is
// decided about it is decided from facts, each time.
type Hold struct {
	// ID is what the job asks again by. It is the gate's to make, at most 200 bytes.
	ID         string
	Repository rules.RepositoryID
	Run        rules.RunID
	Attempt    int
	// Environment is GitHub's name. It is stored as [Release.Environment] is.
	Environment string
	Job         rules.CheckRunID
	SHA         rules.SHA
	// Claims is the gate's own, of the token that the job asked with.
	Claims  []byte
	AskedAt time.Time
}

// AddHold stores a hold. It reports true, and changes nothing, if it is there
// already, asked at whatever time. It returns [ErrAlready] if the id is that of a
// hold with other contents, and another error if the run has 1,000 holds.
func (t *Tx) AddHold(h Hold) (known bool, err error) {
	switch {
	case h.ID == "" || len(h.ID) > maxHoldID || h.Repository <= 0 || h.Run <= 0 || h.Attempt < 1 || h.Environment == "" || h.Job <= 0 || h.SHA == "":
		return false, fmt.Errorf("a hold of half a thing: repository %d, run %d, attempt %d, environment %q, job %d, commit %q",
			h.Repository, h.Run, h.Attempt, h.Environment, h.Job, h.SHA)
	case h.AskedAt.IsZero():
		return false, errors.New("a hold that was asked for at no time")
	case len(h.Claims) > maxClaims:
		return false, fmt.Errorf("a hold with %d bytes of claims: want at most %d", len(h.Claims), maxClaims)
	}
	h.Environment = fold(h.Environment)
	old, err := scanHold(func(into ...any) error {
		return t.one("SELECT "+holdColumns+" FROM holds WHERE id = ?", []any{h.ID}, into...)
	})
	if err == nil {
		if !old.same(h) {
			return false, fmt.Errorf("hold %q is another job's: %w", h.ID, ErrAlready)
		}
		return true, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return false, err
	}
	var holds int
	if err := t.one("SELECT count(*) FROM holds WHERE repository = ? AND run = ?", []any{int64(h.Repository), int64(h.Run)}, &holds); err != nil {
		return false, err
	}
	if holds >= maxHolds {
		return false, fmt.Errorf("run %d has %d holds, and no more are taken: start a new run", h.Run, holds)
	}
	_, err = t.exec("INSERT INTO holds (id, repository, run, attempt, environment, job, sha, claims, asked_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		h.ID, int64(h.Repository), int64(h.Run), h.Attempt, h.Environment, int64(h.Job), string(h.SHA), blob(h.Claims), stamp(h.AskedAt))
	return false, err
}

// same reports whether two holds are one job's question, at whatever time.
func (h Hold) same(o Hold) bool {
	return h.ID == o.ID && h.Repository == o.Repository && h.Run == o.Run && h.Attempt == o.Attempt && h.Environment == o.Environment &&
		h.Job == o.Job && h.SHA == o.SHA && bytes.Equal(h.Claims, o.Claims)
}

// AddHold is [Tx.AddHold] in a transaction of its own.
func (s *Store) AddHold(ctx context.Context, h Hold) (known bool, err error) {
	err = s.Update(ctx, func(tx *Tx) error {
		known, err = tx.AddHold(h)
		return err
	})
	return known && err == nil, err
}

// Hold returns a hold, or [ErrNotFound].
func (s *Store) Hold(ctx context.Context, id string) (Hold, error) {
	return scanHold(func(into ...any) error {
		return s.queryOne(ctx, "SELECT "+holdColumns+" FROM holds WHERE id = ?", []any{id}, into...)
	})
}

// HoldsOf returns the holds of a run, all its attempts, oldest first. There are
// 1,000 at most.
func (s *Store) HoldsOf(ctx context.Context, repository rules.RepositoryID, run rules.RunID) ([]Hold, error) {
	return all(ctx, s, scanHold, "SELECT "+holdColumns+" FROM holds WHERE repository = ? AND run = ? ORDER BY asked_at, id LIMIT ?",
		int64(repository), int64(run), maxHolds)
}

const holdColumns = "id, repository, run, attempt, environment, job, sha, claims, asked_at"

func scanHold(scan func(...any) error) (Hold, error) {
	var h Hold
	var asked int64
	if err := scan(&h.ID, &h.Repository, &h.Run, &h.Attempt, &h.Environment, &h.Job, &h.SHA, &h.Claims, &asked); err != nil {
		return Hold{}, err
	}
	h.AskedAt = unstamp(asked)
	return h, nil
}
