package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Stats counts what waits in the store and what is alive, at one time: for whoever
// watches a server. It names no repository, and nothing of what is counted.
type Stats struct {
	// Ready is the work that a worker could take now, ReadySince since when the
	// oldest of it could be; zero if there is none.
	Ready      int
	ReadySince time.Time
	// Leased is the work that a worker has, Backoff what failed and waits for its next
	// try, Later what is not due yet, Poisoned what was set apart.
	Leased, Backoff, Later, Poisoned int

	// HeldPulls are the pull requests that are held.
	HeldPulls int

	// Leases are the leases that have not ended, by state and target.
	Leases []LeaseStats

	// Notices are those that wait to be sent, NoticesDue since when the oldest of them
	// should have been; zero if none should. NoticesGivenUp did not arrive and are not
	// tried again.
	Notices, NoticesGivenUp int
	NoticesDue              time.Time

	// Effects are those that were recorded and are not known to have happened.
	Effects int

	// LedgerEntries is the ledger's size.
	LedgerEntries int64
}

// LeaseStats counts the leases of one state and target that have not ended.
type LeaseStats struct {
	State  LeaseState
	Target string
	Count  int
	// Failed are those that could not be ended when it was last tried, Overdue those
	// whose deadline is over.
	Failed, Overdue int
}

// Stats counts, as of now. The counts are not of one moment: others write meanwhile.
func (s *Store) Stats(ctx context.Context, now time.Time) (Stats, error) {
	var out Stats
	if err := s.workStats(ctx, &out, stamp(now)); err != nil {
		return Stats{}, fmt.Errorf("counting the work: %w", err)
	}
	if err := s.leaseStats(ctx, &out, stamp(now)); err != nil {
		return Stats{}, fmt.Errorf("counting the leases: %w", err)
	}
	if err := s.noticeStats(ctx, &out, stamp(now)); err != nil {
		return Stats{}, fmt.Errorf("counting the notices: %w", err)
	}
	for _, c := range []struct {
		what, query string
		into        any
	}{
		{"what is held", "SELECT count(*) FROM subjects WHERE held <> 0 AND key >= 'pull_request ' AND key < 'pull_request!'", &out.HeldPulls},
		{"the effects", "SELECT count(*) FROM effects WHERE state = 'planned'", &out.Effects},
		{"the ledger's entries", "SELECT size FROM ledger_head", &out.LedgerEntries},
	} {
		if err := s.queryOne(ctx, c.query, nil, c.into); err != nil {
			return Stats{}, fmt.Errorf("counting %s: %w", c.what, err)
		}
	}
	return out, nil
}

// workStats counts the work. What a worker's lease ran out on can be taken as anything
// else that is due.
func (s *Store) workStats(ctx context.Context, out *Stats, now int64) error {
	var since sql.NullInt64
	err := s.queryOne(ctx, `SELECT
		count(CASE WHEN poisoned_at = 0 AND due_at <= ?1 AND free_at <= ?1 THEN 1 END),
		min(CASE WHEN poisoned_at = 0 AND due_at <= ?1 AND free_at <= ?1 THEN CASE WHEN due_at > free_at THEN due_at ELSE free_at END END),
		count(CASE WHEN poisoned_at = 0 AND free_at > ?1 AND lease <> '' THEN 1 END),
		count(CASE WHEN poisoned_at = 0 AND free_at > ?1 AND lease = '' THEN 1 END),
		count(CASE WHEN poisoned_at = 0 AND free_at <= ?1 AND due_at > ?1 THEN 1 END),
		count(CASE WHEN poisoned_at <> 0 THEN 1 END) FROM work`, []any{now},
		&out.Ready, &since, &out.Leased, &out.Backoff, &out.Later, &out.Poisoned)
	out.ReadySince = unstamp(since.Int64)
	return err
}

func (s *Store) leaseStats(ctx context.Context, out *Stats, now int64) error {
	rows, err := s.query(ctx, `SELECT state, target, count(*), count(CASE WHEN error <> '' THEN 1 END), count(CASE WHEN deadline <= ? THEN 1 END)
		FROM leases WHERE state <> 'ended' GROUP BY state, target ORDER BY state, target`, now)
	if err != nil {
		return err
	}
	return each(rows, func(rows *sql.Rows) error {
		var l LeaseStats
		err := rows.Scan(&l.State, &l.Target, &l.Count, &l.Failed, &l.Overdue)
		out.Leases = append(out.Leases, l)
		return err
	})
}

func (s *Store) noticeStats(ctx context.Context, out *Stats, now int64) error {
	var due sql.NullInt64
	if err := s.queryOne(ctx, "SELECT count(*), min(CASE WHEN due_at <= ? THEN due_at END) FROM notices WHERE sent_at = 0 AND given_up_at = 0", []any{now}, &out.Notices, &due); err != nil {
		return err
	}
	out.NoticesDue = unstamp(due.Int64)
	return s.queryOne(ctx, "SELECT count(*) FROM notices WHERE given_up_at <> 0", nil, &out.NoticesGivenUp)
}
