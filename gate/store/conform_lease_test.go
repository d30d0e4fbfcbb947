package store_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

func newLease(id string, edit ...func(*store.Lease)) store.Lease {
	l := store.Lease{
		ID: id, Repository: 1, Environment: "production", Run: 5, Attempt: 1, Job: 9, SHA: sha(1), Credential: "migrator", Target: "db", Capability: rules.CapabilityWrite,
		Token: "jti " + id, Secret: make([]byte, 32), Decision: "d", MadeAt: t0, Deadline: t0.Add(10 * time.Minute),
	}
	for _, e := range edit {
		e(&l)
	}
	return l
}

func conformCredentials(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	update := func(fn func(*store.Tx) error) error { return s.Update(ctx, fn) }
	add := func(l store.Lease) error { return update(func(tx *store.Tx) error { return tx.AddLease(l) }) }

	// A hundred at once ask for the same credential of the same job: one is given.
	var n atomic.Int64
	if got := hundred(t, func() (bool, error) {
		err := add(newLease(fmt.Sprint("lease ", n.Add(1))))
		if errors.Is(err, store.ErrAlready) {
			return false, nil
		}
		return err == nil, err
	}); got != 1 {
		t.Errorf("given %d times, want once", got)
	}
	all, err := s.Leases(ctx)
	must(t, err)
	if len(all) != 1 || all[0].State != store.LeaseCreating {
		t.Fatalf("%+v", all)
	}
	first := all[0]

	// The same token asks for something else.
	wants(t, add(newLease("x", func(l *store.Lease) { l.Credential, l.Token = "reader", first.Token })), store.ErrAlready)
	for name, edit := range map[string]func(*store.Lease){
		"no job": func(l *store.Lease) { l.Job = 0 }, "no token": func(l *store.Lease) { l.Token = "" }, "half a secret": func(l *store.Lease) { l.Secret = l.Secret[:16] },
		"no life": func(l *store.Lease) { l.Deadline = l.MadeAt }, "no commit": func(l *store.Lease) { l.SHA = "" },
	} {
		if add(newLease("bad", func(l *store.Lease) { l.Credential = name }, edit)) == nil {
			t.Errorf("%s is taken", name)
		}
	}

	// It lives until its deadline, and is then to be ended by one who takes it.
	must(t, update(func(tx *store.Tx) error { return tx.GiveLease(first.ID, []byte("handle")) }))
	wants(t, update(func(tx *store.Tx) error { return tx.GiveLease(first.ID, nil) }), store.ErrNotFound)
	due, err := s.TakeLeases(ctx, t0.Add(9*time.Minute), time.Minute)
	must(t, err)
	if len(due) != 0 {
		t.Errorf("due before its deadline: %+v", due)
	}
	if got := hundred(t, func() (bool, error) {
		due, err := s.TakeLeases(ctx, t0.Add(10*time.Minute), time.Minute)
		return len(due) > 0, err
	}); got != 1 {
		t.Errorf("taken %d times, want once", got)
	}
	must(t, update(func(tx *store.Tx) error {
		return tx.FailLease(first.ID, errors.New("postgres://admin:pw@db/x is away"), t0.Add(11*time.Minute))
	}))
	due, err = s.TakeLeases(ctx, t0.Add(11*time.Minute), time.Minute)
	must(t, err)
	if len(due) != 1 || string(due[0].Handle) != "handle" || due[0].Attempts != 2 || due[0].State != store.LeaseRevoking || due[0].Error != "(address) is away" {
		t.Errorf("%+v", due)
	}
	must(t, update(func(tx *store.Tx) error { return tx.EndLease(first.ID, t0.Add(12*time.Minute)) }))
	wants(t, update(func(tx *store.Tx) error { return tx.EndLease(first.ID, t0) }), store.ErrNotFound)
	wants(t, update(func(tx *store.Tx) error { return tx.RevokeLease(first.ID, "again", t0) }), store.ErrNotFound)
	ended, err := s.Lease(ctx, first.ID)
	must(t, err)
	if ended.State != store.LeaseEnded || len(ended.Handle) != 0 {
		t.Errorf("what it was ended with is still there: %+v", ended)
	}
	// Ended or not, it was given once.
	wants(t, add(newLease("again")), store.ErrAlready)

	// One that is being made is not ended by another before it can be made.
	must(t, add(newLease("making", func(l *store.Lease) { l.Job = 10 })))
	must(t, update(func(tx *store.Tx) error { return tx.RevokeLease("making", "somebody asked", t0.Add(time.Second)) }))
	if due, err := s.TakeLeases(ctx, t0.Add(store.MintTime-time.Second), time.Minute); err != nil || len(due) != 0 {
		t.Errorf("taken while it is made: %+v %v", due, err)
	}
	wants(t, update(func(tx *store.Tx) error { return tx.GiveLease("making", nil) }), store.ErrNotFound)
	if due, err := s.TakeLeases(ctx, t0.Add(store.MintTime), time.Minute); err != nil || len(due) != 1 {
		t.Errorf("not taken after: %+v %v", due, err)
	}
	of, err := s.LeasesOf(ctx, 1, 5)
	must(t, err)
	if len(of) != 1 || of[0].ID != "making" {
		t.Errorf("%+v", of)
	}
	got, err := s.LeaseOf(ctx, 1, 5, 1, 10, "migrator")
	must(t, err)
	if got.ID != "making" {
		t.Errorf("%+v", got)
	}
}
