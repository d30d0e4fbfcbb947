package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/rules"
)

// ErrLeaseLost means that the work is no longer the caller's: the lease ran out
// and somebody else took it, or it is done.
var ErrLeaseLost = errors.New("the lease on this work is lost")

// maxError is how many bytes of an error's text are kept.
const maxError = 1000

// Retry says when work that failed is tried again: after First, then twice that,
// and so on up to Max, each time a random part of it, at least half; and how often
// at all.
type Retry struct {
	First, Max time.Duration
	// Attempts is after how many failures in a row work counts as poison. A lease
	// that ran out is a failure too: its worker may have died of it.
	Attempts int
}

// DefaultRetry tries for about two hours.
func DefaultRetry() Retry {
	return Retry{First: 2 * time.Second, Max: 15 * time.Minute, Attempts: 16}
}

func (r Retry) orDefault() Retry {
	d := DefaultRetry()
	return Retry{First: cmp.Or(r.First, d.First), Max: cmp.Or(r.Max, d.Max), Attempts: cmp.Or(r.Attempts, d.Attempts)}
}

// delay is how long to wait after a number of failures.
func (r Retry) delay(failures int, random io.Reader) (time.Duration, error) {
	d := r.First
	for i := 1; i < failures && d < r.Max; i++ {
		d *= 2
	}
	d = min(d, r.Max)
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return 0, fmt.Errorf("jitter: %w", err)
	}
	half := d / 2
	return half + time.Duration(binary.BigEndian.Uint64(b[:])%uint64(half+1)), nil //nolint:gosec // both are positive and small
}

// Mark asks to look at something again. Marks of one key are one piece of work:
// the earliest due time and the most urgent priority count. Work that is being
// done is done once more after it. A look counts for all marks made before it, those
// due later included: whoever needs a later look marks it while looking. Work that
// waits after a failure keeps waiting, unless the mark is [rules.PriorityAsked], which
// gives it one try. Poisoned work gets one more try, unless the mark is housekeeping.
// The zero due time is now.
func (t *Tx) Mark(m rules.Mark, now time.Time) error {
	if err := m.Key.Valid(); err != nil {
		return fmt.Errorf("marking: %w", err)
	}
	due := m.Due
	if due.IsZero() {
		due = now
	}
	_, err := t.later(`INSERT INTO work (key, repository, priority, due_at, installation, full_name, marked_at)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
		ON CONFLICT (key) DO UPDATE SET
			generation = work.generation + 1,
			priority = CASE WHEN work.lease = '' AND work.priority > excluded.priority THEN excluded.priority ELSE work.priority END,
			due_at = CASE WHEN work.lease = '' AND work.due_at > excluded.due_at THEN excluded.due_at ELSE work.due_at END,
			next_priority = CASE WHEN work.lease = '' THEN 0
				WHEN work.next_due_at = 0 OR work.next_priority > excluded.priority THEN excluded.priority ELSE work.next_priority END,
			next_due_at = CASE WHEN work.lease = '' THEN 0
				WHEN work.next_due_at = 0 OR work.next_due_at > excluded.due_at THEN excluded.due_at ELSE work.next_due_at END,
			free_at = CASE WHEN work.lease = '' AND work.free_at > excluded.due_at AND excluded.priority <= ?9 THEN excluded.due_at ELSE work.free_at END,
			poisoned_at = CASE WHEN excluded.priority >= ?8 THEN work.poisoned_at ELSE 0 END,
			installation = CASE WHEN excluded.installation = 0 THEN work.installation ELSE excluded.installation END,
			full_name = CASE WHEN excluded.full_name = '' THEN work.full_name ELSE excluded.full_name END,
			marked_at = excluded.marked_at`,
		m.Key.String(), int64(m.Key.Repository), int(m.Priority), max(1, stamp(due)), int64(m.Installation), m.FullName, stamp(now),
		int(rules.PriorityHousekeeping), int(rules.PriorityAsked))
	return err
}

// Mark is [Tx.Mark] for any number of marks in a transaction of its own.
func (s *Store) Mark(ctx context.Context, now time.Time, marks ...rules.Mark) error {
	if err := sound(rules.Delivery{Marks: marks}); err != nil {
		return err
	}
	return s.updateWhole(ctx, nil, func(tx *Tx) error {
		for _, m := range marks {
			if err := tx.Mark(m, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// Work is a piece of work.
type Work struct {
	Key          rules.WorkKey
	Priority     rules.Priority
	Due          time.Time
	Installation rules.InstallationID
	FullName     string
	// Attempts counts the tries since it was last done, this one included.
	Attempts int
	// Lease is the token of whoever does it, Worker and Until who and until when.
	Lease  string
	Worker string
	Until  time.Time
	// Error is why it failed last, PoisonedAt when it was set apart; zero if it
	// was not.
	Error      string
	PoisonedAt time.Time
}

const workColumns = "key, priority, due_at, free_at, lease, worker, attempts, poisoned_at, error, installation, full_name"

func scanWork(scan func(...any) error) (Work, error) {
	var w Work
	var key string
	var due, free, poisoned int64
	if err := scan(&key, &w.Priority, &due, &free, &w.Lease, &w.Worker, &w.Attempts, &poisoned, &w.Error, &w.Installation, &w.FullName); err != nil {
		return Work{}, err
	}
	w.Due, w.Until, w.PoisonedAt = unstamp(due), unstamp(free), unstamp(poisoned)
	var err error
	w.Key, err = rules.ParseWorkKey(key)
	return w, err
}

// Take leases the most urgent work that is due, until now plus lease. It returns
// [ErrNotFound] if there is none. Work whose lease ran out as often as its
// attempts allow is set apart as poison on the way.
func (s *Store) Take(ctx context.Context, worker string, now time.Time, lease time.Duration) (Work, error) {
	return s.TakeBut(ctx, NoRepository, worker, now, lease)
}

// NoRepository is no repository's id, nor 0, which is that of work that is of none.
const NoRepository rules.RepositoryID = -1

// TakeBut is [Store.Take] of any work but one repository's.
func (s *Store) TakeBut(ctx context.Context, but rules.RepositoryID, worker string, now time.Time, lease time.Duration) (Work, error) {
	if lease <= 0 {
		return Work{}, fmt.Errorf("taking work for %s", lease)
	}
	// Most of the time nothing is due, and asking that costs no write.
	var found int
	if err := s.queryOne(ctx, "SELECT 1 FROM work WHERE poisoned_at = 0 AND due_at <= ?1 AND free_at <= ?1 AND repository <> ?2 LIMIT 1", []any{stamp(now), int64(but)}, &found); err != nil {
		return Work{}, err
	}
	var token [16]byte
	if _, err := io.ReadFull(s.cfg.Random, token[:]); err != nil {
		return Work{}, fmt.Errorf("a lease token: %w", err)
	}
	var out Work
	nothing := false
	err := s.Update(ctx, func(tx *Tx) error {
		if _, err := tx.exec(`UPDATE work SET poisoned_at = ?1, lease = '', worker = '', error = 'its workers did not come back'
			WHERE poisoned_at = 0 AND lease <> '' AND free_at <= ?1 AND attempts >= ?2`, max(1, stamp(now)), s.cfg.Retry.Attempts); err != nil {
			return err
		}
		var key string
		if err := tx.one("SELECT key FROM work WHERE poisoned_at = 0 AND due_at <= ?1 AND free_at <= ?1 AND repository <> ?2 ORDER BY priority, due_at LIMIT 1",
			[]any{stamp(now), int64(but)}, &key); errors.Is(err, ErrNotFound) {
			nothing = true // what was set apart stays so
			return nil
		} else if err != nil {
			return err
		}
		var err error
		out, err = scanWork(func(into ...any) error {
			return tx.one(`UPDATE work SET lease = ?1, worker = ?2, free_at = ?3, attempts = attempts + 1, taken = generation,
				priority = CASE WHEN next_due_at = 0 OR priority < next_priority THEN priority ELSE next_priority END,
				next_due_at = 0, next_priority = 0
				WHERE key = ?4 RETURNING `+workColumns,
				[]any{hex.EncodeToString(token[:]), worker, stamp(now.Add(lease)), key}, into...)
		})
		return err
	})
	if err != nil {
		return Work{}, err
	}
	if nothing {
		return Work{}, ErrNotFound
	}
	return out, nil
}

// NextDue is when the next work can be taken: the zero time if there is none. It
// may be in the past.
func (s *Store) NextDue(ctx context.Context) (time.Time, error) {
	return s.NextDueBut(ctx, NoRepository)
}

// NextDueBut is [Store.NextDue] of any work but one repository's.
func (s *Store) NextDueBut(ctx context.Context, but rules.RepositoryID) (time.Time, error) {
	var at sql.NullInt64
	if err := s.queryOne(ctx, "SELECT min(CASE WHEN due_at > free_at THEN due_at ELSE free_at END) FROM work WHERE poisoned_at = 0 AND repository <> ?", []any{int64(but)}, &at); err != nil {
		return time.Time{}, err
	}
	return unstamp(at.Int64), nil
}

// Done ends work that was done. If it was marked since it was taken it stays, to
// be done again. It returns [ErrLeaseLost] if the work is no longer the caller's:
// a transaction that must not happen then should be rolled back.
func (t *Tx) Done(key rules.WorkKey, lease string) error {
	n, err := t.exec("DELETE FROM work WHERE key = ? AND lease = ? AND lease <> '' AND generation = taken", key.String(), lease)
	if err != nil || n > 0 {
		return err
	}
	n, err = t.exec(`UPDATE work SET lease = '', worker = '', free_at = 0, attempts = 0, error = '',
		priority = next_priority, due_at = next_due_at, next_priority = 0, next_due_at = 0
		WHERE key = ? AND lease = ? AND lease <> ''`, key.String(), lease)
	if err == nil && n == 0 {
		return ErrLeaseLost
	}
	return err
}

// Done is [Tx.Done] in a transaction of its own.
func (s *Store) Done(ctx context.Context, key rules.WorkKey, lease string) error {
	return s.Update(ctx, func(tx *Tx) error { return tx.Done(key, lease) })
}

// Fail ends work that failed: it is tried again later, see [Retry], not before
// notBefore (the zero time: no such bound), or set apart as poison. Where it was marked
// with [rules.PriorityAsked] meanwhile it is tried as after a first failure. The text of
// cause is kept for people: it must hold no secret. It returns [ErrLeaseLost] if
// the work is no longer the caller's.
func (s *Store) Fail(ctx context.Context, key rules.WorkKey, lease string, cause error, now, notBefore time.Time) error {
	text := "no reason given"
	if cause != nil {
		text = clean(cause.Error())
	}
	return s.Update(ctx, func(tx *Tx) error {
		var attempts int
		var marked int64
		var priority rules.Priority
		if err := tx.one("SELECT attempts, next_due_at, next_priority FROM work WHERE key = ? AND lease = ? AND lease <> ''", []any{key.String(), lease}, &attempts, &marked, &priority); err != nil {
			if errors.Is(err, ErrNotFound) {
				return ErrLeaseLost
			}
			return err
		}
		failures := attempts
		if marked != 0 && priority <= rules.PriorityAsked {
			failures, notBefore = 1, time.Time{}
		}
		delay, err := s.cfg.Retry.delay(failures, s.cfg.Random)
		if err != nil {
			return err
		}
		free := now.Add(delay)
		if notBefore.After(free) {
			free = notBefore
		}
		poisoned := int64(0)
		if attempts >= s.cfg.Retry.Attempts {
			poisoned = max(1, stamp(now))
		}
		_, err = tx.exec(`UPDATE work SET lease = '', worker = '', free_at = ?, error = ?, poisoned_at = ?,
			priority = CASE WHEN next_due_at = 0 OR priority < next_priority THEN priority ELSE next_priority END,
			next_priority = 0, next_due_at = 0 WHERE key = ?`, stamp(free), text, poisoned, key.String())
		return err
	})
}

// clean makes an error's text fit to be stored and shown on one line.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	for len(s) > maxError {
		s = s[:maxError]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return s
}

// Poisoned lists the work that was set apart, oldest first.
func (s *Store) Poisoned(ctx context.Context) ([]Work, error) {
	return s.works(ctx, "SELECT "+workColumns+" FROM work WHERE poisoned_at <> 0 ORDER BY poisoned_at, key")
}

// Pending lists the work that waits or is being done, most urgent first, at most
// limit.
func (s *Store) Pending(ctx context.Context, limit int) ([]Work, error) {
	return s.works(ctx, "SELECT "+workColumns+" FROM work WHERE poisoned_at = 0 ORDER BY priority, due_at, key LIMIT ?", limit)
}

func (s *Store) works(ctx context.Context, query string, args ...any) ([]Work, error) {
	return all(ctx, s, scanWork, query, args...)
}
