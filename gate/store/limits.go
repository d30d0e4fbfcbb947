package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
)

// Pace is how often something may be done: Burst times at once, and then once Every.
type Pace struct {
	Every time.Duration
	Burst int
}

// limits is what is shared of the limits of one key, in microseconds since 1970.
type limits struct {
	Until int64   `json:"until,omitzero"`
	Next  []int64 `json:"next,omitempty"` // by pace: when its places would be as many as at first
}

const limitsSetting = "limits "

// HoldBack lets nothing of a key happen before a time, whichever server would do it. A
// time before one that is known changes nothing.
func (s *Store) HoldBack(ctx context.Context, key string, until time.Time) error {
	return s.editLimits(ctx, key, until, func(l *limits) {
		l.Until = max(l.Until, stamp(until))
	})
}

// HeldBack is the time that was given to HoldBack, zero if none was.
func (s *Store) HeldBack(ctx context.Context, key string) (time.Time, error) {
	text, err := s.Setting(ctx, limitsSetting+key)
	if errors.Is(err, ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	var l limits
	if err := json.Unmarshal(text, &l); err != nil {
		return time.Time{}, fmt.Errorf("reading the limits of %q: %w", key, err)
	}
	return unstamp(l.Until), nil
}

// Space takes a place in each of some paces that all servers keep together, and says
// how long to wait for it. Where that is longer than most it takes none.
func (s *Store) Space(ctx context.Context, key string, now time.Time, most time.Duration, paces ...Pace) (wait time.Duration, err error) {
	err = s.editLimits(ctx, key, now, func(l *limits) {
		next := make([]int64, len(paces))
		copy(next, l.Next)
		wait = 0
		for i, p := range paces {
			next[i] = max(next[i], stamp(now)) + p.Every.Microseconds()
			over := next[i] - stamp(now) - int64(p.Burst)*p.Every.Microseconds()
			wait = max(wait, time.Duration(over)*time.Microsecond)
		}
		if wait <= most {
			l.Next = next
		}
	})
	return wait, err
}

func (s *Store) editLimits(ctx context.Context, key string, now time.Time, edit func(*limits)) error {
	if key == "" {
		return errors.New("limits of nothing")
	}
	return s.Update(ctx, func(tx *Tx) error {
		var l limits
		var text []byte
		err := tx.one("SELECT value FROM settings WHERE name = ?", []any{limitsSetting + key}, &text)
		if err == nil {
			err = json.Unmarshal(text, &l)
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("reading the limits of %q: %w", key, err)
		}
		edit(&l)
		if text, err = json.Marshal(l); err != nil {
			return err
		}
		_, err = tx.exec(`INSERT INTO settings (name, value, updated_at) VALUES (?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at`, limitsSetting+key, text, stamp(now))
		return err
	})
}
