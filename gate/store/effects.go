package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// Once records that something happened which may happen once. It returns
// [ErrAlready] if it has: the transaction that must not happen twice then rolls
// back.
func (t *Tx) Once(kind, key string, now time.Time) error {
	if kind == "" || key == "" {
		return fmt.Errorf("once for the kind %q and the key %q", kind, key)
	}
	n, err := t.exec("INSERT INTO once (kind, key, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", kind, key, stamp(now))
	if err == nil && n == 0 {
		return fmt.Errorf("%s %q: %w", kind, key, ErrAlready)
	}
	return err
}

// Happened says when something that may happen once did. It returns [ErrNotFound]
// if it did not: which holds for the moment, and no longer.
func (s *Store) Happened(ctx context.Context, kind, key string) (time.Time, error) {
	var at int64
	err := s.queryOne(ctx, "SELECT at FROM once WHERE kind = ? AND key = ?", []any{kind, key}, &at)
	return unstamp(at), err
}

// EffectState is how far an effect is.
type EffectState string

// The states of effects. They are stored: they may be added to and never changed.
const (
	// EffectPlanned is still to be done, or was perhaps done and nobody knows.
	EffectPlanned EffectState = "planned"
	// EffectApplied is done.
	EffectApplied EffectState = "applied"
	// EffectDropped is not to be done any more: a later decision replaced it, or
	// it cannot be done.
	EffectDropped EffectState = "dropped"
)

// Effect is something to be done to the world, under a key that says what: planned
// twice it is one effect.
type Effect struct {
	Key string
	// Subject is the work that it belongs to.
	Subject rules.WorkKey
	Kind    string
	// SHA is the commit that it is bound to, if any: where the subject has moved on
	// it must not be done.
	SHA      rules.SHA
	Decision string
	// Payload is the kind's own.
	Payload []byte
	// Entry is the index of the ledger's entry that records the plan.
	Entry     int64
	PlannedAt time.Time

	// The rest is set as it goes on.
	State    EffectState
	Attempts int
	Result   []byte
	Error    string
	EndedAt  time.Time
}

// PlanEffect stores an effect that is to be done, in the transaction of its
// ledger entry. It reports false, and changes nothing, if there is one of that
// key, whatever became of it.
func (t *Tx) PlanEffect(e Effect) (bool, error) {
	if e.Key == "" || e.Kind == "" {
		return false, fmt.Errorf("planning an effect of kind %q with the key %q", e.Kind, e.Key)
	}
	if err := e.Subject.Valid(); err != nil {
		return false, fmt.Errorf("planning an effect: %w", err)
	}
	n, err := t.exec(`INSERT INTO effects (key, subject, kind, sha, decision, payload, state, entry, planned_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		e.Key, e.Subject.String(), e.Kind, string(e.SHA), e.Decision, blob(e.Payload), string(EffectPlanned), e.Entry, stamp(e.PlannedAt))
	return n == 1, err
}

// TryEffect counts an attempt before it is made, so that one which ends the
// process is counted too. It returns [ErrNotFound] if the effect is not planned
// any more.
func (t *Tx) TryEffect(key string) error {
	n, err := t.exec("UPDATE effects SET attempts = attempts + 1 WHERE key = ? AND state = ?", key, string(EffectPlanned))
	return missing(n, err)
}

// FailEffect records why an attempt did not work, or is not known to have worked.
// The effect stays planned. The text must hold no secret.
func (t *Tx) FailEffect(key string, cause error) error {
	if cause == nil {
		return errors.New("an effect failed for no reason")
	}
	n, err := t.exec("UPDATE effects SET error = ? WHERE key = ? AND state = ?", clean(cause.Error()), key, string(EffectPlanned))
	return missing(n, err)
}

// EndEffect records that a planned effect is applied or dropped, with the result.
// It returns [ErrNotFound] if the effect is not planned any more.
func (t *Tx) EndEffect(key string, state EffectState, result []byte, now time.Time) error {
	if state != EffectApplied && state != EffectDropped {
		return fmt.Errorf("an effect cannot end as %q", state)
	}
	n, err := t.exec("UPDATE effects SET state = ?, result = ?, ended_at = ? WHERE key = ? AND state = ?",
		string(state), blob(result), stamp(now), key, string(EffectPlanned))
	return missing(n, err)
}

// Effect returns the effect of a key as the transaction sees it.
func (t *Tx) Effect(key string) (Effect, error) {
	return scanEffect(func(into ...any) error {
		return t.one("SELECT "+effectColumns+" FROM effects WHERE key = ?", []any{key}, into...)
	})
}

const effectColumns = "key, subject, kind, sha, decision, payload, entry, planned_at, state, attempts, result, error, ended_at"

func scanEffect(scan func(...any) error) (Effect, error) {
	var e Effect
	var subject string
	var planned, ended int64
	if err := scan(&e.Key, &subject, &e.Kind, &e.SHA, &e.Decision, &e.Payload, &e.Entry, &planned, &e.State, &e.Attempts, &e.Result, &e.Error, &ended); err != nil {
		return Effect{}, err
	}
	e.PlannedAt, e.EndedAt = unstamp(planned), unstamp(ended)
	var err error
	e.Subject, err = rules.ParseWorkKey(subject)
	return e, err
}

// Effect returns the effect of a key, or [ErrNotFound].
func (s *Store) Effect(ctx context.Context, key string) (Effect, error) {
	out, err := s.effects(ctx, "SELECT "+effectColumns+" FROM effects WHERE key = ?", key)
	if err == nil && len(out) == 0 {
		return Effect{}, ErrNotFound
	}
	if err != nil {
		return Effect{}, err
	}
	return out[0], nil
}

// PlannedEffects returns the effects of a subject that are still to be done, in
// the order in which they were planned.
func (s *Store) PlannedEffects(ctx context.Context, subject rules.WorkKey) ([]Effect, error) {
	return s.effects(ctx, "SELECT "+effectColumns+" FROM effects WHERE subject = ? AND state = 'planned' ORDER BY planned_at, entry, key", subject.String())
}

func (s *Store) effects(ctx context.Context, query string, args ...any) ([]Effect, error) {
	return all(ctx, s, scanEffect, query, args...)
}

// missing turns no row changed into [ErrNotFound].
func missing(n int64, err error) error {
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// blob is never nil: a column that must have a value takes no NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
