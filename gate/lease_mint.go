package gate

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// minting is a lease that was allowed, on its way to whoever asked.
type minting struct {
	judged judged
	// row is the lease without what mint adds: its id, secret and times, and for a
	// person a token's id.
	row      store.Lease
	fullName string
	life     time.Duration
	// lease is the row as its provider takes it.
	lease func(store.Lease) broker.Lease
	// grant is the decision that released the job, if one did.
	grant string
	// look is what has to hold as long as the credential lives. May be nil.
	look *rules.Mark
	// unattended says that it reads production for an agent's task, without a human.
	unattended bool
	// personal is recorded beside the decision and the effect, salted. May be nil.
	personal map[string]any
}

// mint puts a lease on record, has the credential made, and hands it out. After an error
// that is [store.ErrAlready] or [store.ErrTooMany] nothing is on record.
func (g *Gate) mint(ctx context.Context, m minting) (jobs.Given, error) {
	provider := g.cfg.Keys.Providers[m.row.Target]
	if provider == nil {
		return jobs.Given{}, g.refuseMint(ctx, m, &jobs.Refusal{Status: http.StatusForbidden, Code: "no-provider", Text: "The server has nothing that makes credentials for this target."})
	}
	var raw [48]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return jobs.Given{}, err
	}
	row := &m.row
	id, secret := hex.EncodeToString(raw[:16]), hex.EncodeToString(raw[16:])
	sum := sha256.Sum256([]byte(secret))
	now := g.cfg.Now()
	row.ID, row.Secret, row.MadeAt, row.Deadline = id, sum[:], now, now.Add(m.life)
	if row.Person != 0 {
		row.Token = "person " + id
	}
	decision := g.decisionEntry(m.judged)
	maps.Copy(decision.Personal, m.personal)
	payload := effectPayload{Capability: row.Capability, Credential: row.Credential, Deadline: row.Deadline, Grant: m.grant, Kind: "mint", Target: row.Target}
	if row.Job != 0 {
		payload.Jobs = []rules.CheckRunID{row.Job}
	}
	if m.unattended {
		payload.Access = "unattended"
	}
	effect := ledger.Entry{Kind: ledger.KindEffect, Time: now, Subject: m.judged.keyed("lease:" + id), Decision: row.Decision, Payload: payload, Personal: m.personal}
	have := g.mintOutside
	if _, inside := provider.(broker.Inside); inside {
		have = g.mintInside
	}
	values, err := have(ctx, &m, provider, []ledger.Entry{decision, effect})
	if err != nil {
		return jobs.Given{}, err
	}
	g.cfg.Log.InfoContext(ctx, "credential given", slog.String("repository", m.fullName), slog.String("environment", row.Environment), slog.String("credential", row.Credential),
		slog.String("lease", id), slog.Int64("person", int64(row.Person)), slog.Time("until", row.Deadline), slog.String("decision", row.Decision))
	return jobs.Given{ID: id, Secret: secret, Credential: row.Credential, Environment: row.Environment, ExpiresAt: row.Deadline, Values: values}, nil
}

// refuseMint records that what was allowed is refused all the same.
func (g *Gate) refuseMint(ctx context.Context, m minting, r *jobs.Refusal) error {
	j := m.judged
	j.decision.Verdict = rules.VerdictDeny
	j.decision.Reasons = append(slices.Clone(j.decision.Reasons), rules.Reason{Code: rules.Code(r.Code), Verdict: rules.VerdictDeny, Text: r.Text})
	entry := g.decisionEntry(j)
	maps.Copy(entry.Personal, m.personal)
	if err := g.write(ctx, []ledger.Entry{entry}, func(*store.Tx) error { return nil }); err != nil {
		return fmt.Errorf("recording a refusal: %w", err)
	}
	return r
}

// mintInside has a credential made that is none before somebody has it, and puts all of
// it on record together. One that cannot be made is made as if it were outside: then the
// failure is on record, too.
func (g *Gate) mintInside(ctx context.Context, m *minting, provider broker.Provider, entries []ledger.Entry) (map[string]string, error) {
	values, handle, err := g.makeCredential(ctx, m, provider)
	if err == nil {
		handle, err = g.cfg.Keys.Seal("lease "+m.row.ID, handle) // even nothing: a lease without one is being made
	}
	if err != nil {
		return g.mintOutside(ctx, m, provider, entries)
	}
	err = g.write(ctx, append(entries, g.givenEntry(m)), func(tx *store.Tx) error {
		if err := tx.AddLease(m.row); err != nil {
			return err
		}
		return g.giveLease(tx, m, handle)
	})
	if err != nil {
		return nil, fmt.Errorf("putting a lease on record: %w", err)
	}
	return values, nil
}

// mintOutside puts a lease on record, has the credential made, and records that it was.
func (g *Gate) mintOutside(ctx context.Context, m *minting, provider broker.Provider, entries []ledger.Entry) (map[string]string, error) {
	row := &m.row
	err := g.write(ctx, entries, func(tx *store.Tx) error { return tx.AddLease(*row) })
	if err != nil {
		return nil, fmt.Errorf("putting a lease on record: %w", err)
	}
	values, handle, err := g.makeCredential(ctx, m, provider)
	// From here on it must be ended or recorded, whoever went away.
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err != nil {
		_ = g.revoke(keep, *row, "it could not be made") // it is tried again
		return nil, fmt.Errorf("making the credential %q: %w", row.Credential, err)
	}
	sealed, err := g.cfg.Keys.Seal("lease "+row.ID, handle)
	if err == nil {
		row.Handle = sealed
		err = g.write(keep, []ledger.Entry{g.givenEntry(m)}, func(tx *store.Tx) error { return g.giveLease(tx, m, sealed) })
	}
	if err == nil {
		return values, nil
	}
	// It was asked to be ended while it was made, or cannot be recorded.
	if sealed != nil {
		_ = g.cfg.Store.Update(keep, func(tx *store.Tx) error { return tx.KeepHandle(row.ID, sealed) }) // it is ended with what is in memory now
	}
	_ = g.revoke(keep, *row, "it could not be given") // it is tried again
	switch {
	case errors.Is(err, store.ErrNotFound) && row.Person != 0:
		return nil, &jobs.Refusal{Status: http.StatusForbidden, Code: "lease-ended", Text: "The credential was revoked while it was made."}
	case errors.Is(err, store.ErrNotFound):
		return nil, &jobs.Refusal{Status: http.StatusForbidden, Code: string(codeAlreadyGiven), Text: "Somebody else asked for this credential at the same time: it is revoked."}
	}
	return nil, fmt.Errorf("recording the credential %q: %w", row.Credential, err)
}

// makeCredential has a credential made. The time for it counts from when the lease was
// made: writing that down may have taken long.
func (g *Gate) makeCredential(ctx context.Context, m *minting, provider broker.Provider) (values map[string]string, handle []byte, err error) {
	limited, cancel := context.WithTimeout(ctx, store.MintTime-5*time.Second-g.cfg.Now().Sub(m.row.MadeAt))
	defer cancel()
	return provider.Mint(limited, m.lease(m.row))
}

// givenEntry says in the ledger that a credential is handed out.
func (g *Gate) givenEntry(m *minting) ledger.Entry {
	return ledger.Entry{Kind: ledger.KindOutcome, Time: g.cfg.Now(), Subject: m.judged.keyed("lease:" + m.row.ID), Decision: m.row.Decision, Payload: outcomePayload{Outcome: "given"}}
}

// giveLease records that a lease is alive, and has looked at what has to hold as long as
// it is.
func (g *Gate) giveLease(tx *store.Tx, m *minting, handle []byte) error {
	if err := tx.GiveLease(m.row.ID, handle); err != nil || m.look == nil {
		return err
	}
	look := *m.look
	look.Due = g.cfg.Now().Add(releasePause)
	return tx.Mark(look, g.cfg.Now())
}
