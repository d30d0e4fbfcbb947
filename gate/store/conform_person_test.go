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

func newPersonLease(id string, edit ...func(*store.Lease)) store.Lease {
	return newLease(id, append([]func(*store.Lease){func(l *store.Lease) {
		l.Run, l.Attempt, l.Job, l.SHA, l.Person = 0, 0, 0, "", 7
	}}, edit...)...)
}

func conformPersonLeases(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	add := func(l store.Lease) error {
		return s.Update(ctx, func(tx *store.Tx) error { return tx.AddLease(l) })
	}
	must(t, add(newLease("of a job")))
	// A hundred at once: as many as one person may have, of one credential or many.
	var n atomic.Int64
	if got := hundred(t, func() (bool, error) {
		i := n.Add(1)
		err := add(newPersonLease(fmt.Sprint("lease ", i), func(l *store.Lease) { l.Credential = fmt.Sprint("c", i%2) }))
		if errors.Is(err, store.ErrTooMany) {
			return false, nil
		}
		return err == nil, err
	}); got != rules.MaxPersonLeases {
		t.Errorf("given %d times, want %d", got, rules.MaxPersonLeases)
	}
	all, err := s.LeasesOfPerson(ctx, 7)
	must(t, err)
	if len(all) != rules.MaxPersonLeases || all[0].Person != 7 || all[0].Run != 0 {
		t.Fatalf("%+v", all)
	}
	if jobs, err := s.LeasesOfPerson(ctx, 0); err != nil || len(jobs) != 0 {
		t.Errorf("the leases of jobs are nobody's: %v %v", jobs, err)
	}
	// Others are not concerned; revoking makes no room, ending does.
	must(t, add(newPersonLease("of another", func(l *store.Lease) { l.Person = 8 })))
	must(t, add(newLease("of another job", func(l *store.Lease) { l.Job = 10 })))
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.RevokeLease(all[0].ID, "done", t0) }))
	wants(t, add(newPersonLease("sixth")), store.ErrTooMany)
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.EndLease(all[0].ID, t0) }))
	must(t, add(newPersonLease("sixth")))
	wants(t, add(newPersonLease("seventh")), store.ErrTooMany)
	// A token's id is used once, whoever has it.
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.EndLease("sixth", t0) }))
	if err := add(newPersonLease("again", func(l *store.Lease) { l.Token = "jti sixth" })); err == nil {
		t.Error("an id of a token is used twice")
	}
	for name, edit := range map[string]func(*store.Lease){
		"a person and a run": func(l *store.Lease) { l.Run = 5 }, "a person and a job": func(l *store.Lease) { l.Job = 9 },
		"a person and a commit": func(l *store.Lease) { l.SHA = sha(1) }, "a negative person": func(l *store.Lease) { l.Person = -7 },
		"nobody": func(l *store.Lease) { l.Person = 0 }, "no target": func(l *store.Lease) { l.Target = "" },
	} {
		if err := add(newPersonLease("bad", func(l *store.Lease) { l.Person = 9 }, edit)); err == nil || errors.Is(err, store.ErrTooMany) {
			t.Errorf("%s is taken: %v", name, err)
		}
	}
	// It ends by its deadline like every other.
	taken, err := s.TakeLeases(ctx, t0.Add(time.Hour), time.Minute)
	must(t, err)
	people := 0
	for _, l := range taken {
		if l.Person != 0 {
			people++
		}
	}
	if people != rules.MaxPersonLeases {
		t.Errorf("%d leases of people are due, want %d", people, rules.MaxPersonLeases)
	}
}
