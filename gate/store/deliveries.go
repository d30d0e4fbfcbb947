package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/rules"
)

// maxFactDeliveries is how many deliveries of one fact are remembered. A fact
// needs one that GitHub knows; more come only by replaying.
const maxFactDeliveries = 64

// Accept stores a delivery with its marks and facts. Where Accept returns nil they
// are on the disk. A delivery whose id and body are known changes nothing.
func (s *Store) Accept(ctx context.Context, d rules.Delivery) (known bool, err error) {
	if err = sound(d); err == nil {
		first := &statement{"INSERT INTO deliveries (id, body, event, received_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", []any{d.ID, d.BodyHash[:], d.Event, stamp(d.ReceivedAt)}}
		err = s.updateWhole(ctx, first, func(tx *Tx) error {
			known, err = tx.accept(d)
			return err
		})
	}
	if err != nil {
		return false, fmt.Errorf("accepting delivery %q: %w", d.ID, err)
	}
	return known, nil
}

// sound finds what is wrong with a delivery before anything of it is stored.
func sound(d rules.Delivery) error {
	if err := storable(d.ID, d.Event); err != nil {
		return err
	}
	for _, f := range d.Facts {
		if err := storable(string(f.Kind), f.Key, f.Event, f.Action); err != nil {
			return err
		}
		if f.Kind == "" || f.Key == "" || !f.Payload.IsValid() {
			return fmt.Errorf("a fact of kind %q with the key %q is incomplete", f.Kind, f.Key)
		}
		if f.Subject != (rules.WorkKey{}) {
			if err := f.Subject.Valid(); err != nil {
				return err
			}
		}
	}
	for _, m := range d.Marks {
		if err := errors.Join(m.Key.Valid(), storable(m.FullName)); err != nil {
			return fmt.Errorf("marking: %w", err)
		}
	}
	return nil
}

func (t *Tx) accept(d rules.Delivery) (known bool, err error) {
	n, err := t.first()
	if err != nil {
		return false, err
	}
	if n == 0 {
		return true, nil
	}
	for _, f := range d.Facts {
		if err := t.addFact(f, d.ID, d.ReceivedAt); err != nil {
			return false, err
		}
	}
	for _, m := range d.Marks {
		if err := t.Mark(m, d.ReceivedAt); err != nil {
			return false, err
		}
	}
	return false, nil
}

// ForgetDeliveries forgets deliveries received before a time, at most limit, and
// returns how many. After that the same delivery counts as new, and changes
// nothing for the better or worse: keep them for as long as GitHub redelivers.
func (s *Store) ForgetDeliveries(ctx context.Context, before time.Time, limit int) (n int64, err error) {
	err = s.Update(ctx, func(tx *Tx) error {
		n, err = tx.exec(`DELETE FROM deliveries WHERE (id, body) IN
			(SELECT id, body FROM deliveries WHERE received_at < ? ORDER BY received_at LIMIT ?)`, stamp(before), limit)
		return err
	})
	return n, err
}

// Fact is a stored fact that existed only in an event.
type Fact struct {
	rules.EventFact

	ID         int64
	ReceivedAt time.Time // of its first delivery
	// Deliveries are the ids that it came under, none of them signed.
	Deliveries []string
	// Confirmed is what GitHub's own list of deliveries said: Unknown as long as
	// nobody asked.
	Confirmed rules.Tri
}

// AddFact stores a fact that came by no delivery: our own pages took it. One that is
// there already stays as it is.
func (t *Tx) AddFact(f rules.EventFact, now time.Time) error {
	if f.Kind == "" || f.Key == "" || f.Repository <= 0 || f.Subject.Valid() != nil {
		return fmt.Errorf("a fact of kind %q about %q", f.Kind, f.Subject)
	}
	return t.addFact(f, "", now)
}

// addFact stores a fact that is sound, or adds a delivery to the fact of the same key.
func (t *Tx) addFact(f rules.EventFact, delivery string, now time.Time) error {
	subject := ""
	if f.Subject != (rules.WorkKey{}) {
		subject = f.Subject.String()
	}
	n, err := t.later(`INSERT INTO facts (kind, key, subject, repository, event, action, sender, payload, received_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		string(f.Kind), f.Key, subject, int64(f.Repository), f.Event, f.Action, int64(f.Sender), []byte(f.Payload), stamp(now))
	switch {
	case err != nil:
		return err
	case n == 1: // it is new, which only SQLite knows at once, and need not be looked for
		_, err = t.later("INSERT INTO fact_deliveries (fact, delivery) VALUES (last_insert_rowid(), ?)", delivery)
		return err
	}
	_, err = t.later(`INSERT INTO fact_deliveries (fact, delivery)
		SELECT id, ? FROM facts WHERE kind = ? AND key = ? AND (SELECT count(*) FROM fact_deliveries WHERE fact = id) < ?
		ON CONFLICT DO NOTHING`, delivery, string(f.Kind), f.Key, maxFactDeliveries)
	return err
}

const factColumns = "id, kind, key, subject, repository, event, action, sender, payload, received_at, confirmed"

func scanFact(rows *sql.Rows) (Fact, error) {
	var f Fact
	var subject string
	var received int64
	var payload []byte
	if err := rows.Scan(&f.ID, &f.Kind, &f.Key, &subject, &f.Repository, &f.Event, &f.Action, &f.Sender, &payload, &received, &f.Confirmed); err != nil {
		return Fact{}, err
	}
	f.Payload, f.ReceivedAt = jsontext.Value(payload), unstamp(received)
	if subject != "" {
		key, err := rules.ParseWorkKey(subject)
		if err != nil {
			return Fact{}, err
		}
		f.Subject = key
	}
	return f, nil
}

// FactsOf returns the facts about a subject of one kind, oldest first.
func (s *Store) FactsOf(ctx context.Context, subject rules.WorkKey, kind rules.FactKind) ([]Fact, error) {
	return s.facts(ctx, "SELECT "+factColumns+" FROM facts WHERE subject = ? AND kind = ? ORDER BY id", subject.String(), string(kind))
}

// FactsIn returns a repository's facts of one kind that came at or after a time,
// oldest first, at most limit.
func (s *Store) FactsIn(ctx context.Context, repository rules.RepositoryID, kind rules.FactKind, since time.Time, limit int) ([]Fact, error) {
	return s.facts(ctx, "SELECT "+factColumns+" FROM facts WHERE repository = ? AND kind = ? AND received_at >= ? ORDER BY received_at, id LIMIT ?",
		int64(repository), string(kind), stamp(since), limit)
}

func (s *Store) facts(ctx context.Context, query string, args ...any) ([]Fact, error) {
	rows, err := s.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	var out []Fact
	if err := each(rows, func(rows *sql.Rows) error {
		f, err := scanFact(rows)
		out = append(out, f)
		return err
	}); err != nil {
		return nil, fmt.Errorf("reading facts: %w", err)
	}
	for i := range out {
		rows, err := s.query(ctx, "SELECT delivery FROM fact_deliveries WHERE fact = ? ORDER BY delivery", out[i].ID)
		if err != nil {
			return nil, err
		}
		if err := each(rows, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			out[i].Deliveries = append(out[i].Deliveries, id)
			return err
		}); err != nil {
			return nil, fmt.Errorf("reading facts: %w", err)
		}
	}
	return out, nil
}

// Confirm records whether GitHub confirmed a fact. A confirmed fact stays so: a
// replay that GitHub does not know takes nothing back.
func (t *Tx) Confirm(id int64, confirmed rules.Tri) error {
	n, err := t.exec("UPDATE facts SET confirmed = CASE WHEN confirmed = ?1 THEN confirmed ELSE ?2 END WHERE id = ?3", int64(rules.Yes), int64(confirmed), id)
	if err == nil && n == 0 {
		return fmt.Errorf("confirming fact %d: %w", id, ErrNotFound)
	}
	return err
}

// Confirm is [Tx.Confirm] in a transaction of its own.
func (s *Store) Confirm(ctx context.Context, id int64, confirmed rules.Tri) error {
	return s.Update(ctx, func(tx *Tx) error { return tx.Confirm(id, confirmed) })
}

// ForgetFacts removes the facts about a subject, as when it can never be judged
// again.
func (t *Tx) ForgetFacts(subject rules.WorkKey) error {
	if subject == (rules.WorkKey{}) {
		return errors.New("forgetting the facts about nothing")
	}
	_, err := t.exec("DELETE FROM facts WHERE subject = ?", subject.String())
	return err
}
