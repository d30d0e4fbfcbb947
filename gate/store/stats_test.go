package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

func TestStatsSQLite(t *testing.T) { conformStats(t, openSQLite) }

func TestStatsPostgres(t *testing.T) { conformStats(t, openPostgres) }

// conformStats: each thing that waits is counted where it belongs, and nowhere else.
func conformStats(t *testing.T, open opening) {
	s, ctx := open(t, func(c *store.Config) { c.Retry = store.Retry{First: time.Minute, Max: time.Minute, Attempts: 2} }), t.Context()
	stats := func(now time.Time) store.Stats {
		t.Helper()
		out, err := s.Stats(ctx, now)
		must(t, err)
		return out
	}
	if got := stats(t0); got.Ready+got.Leased+got.Backoff+got.Later+got.Poisoned+got.HeldPulls+len(got.Leases)+got.Notices+got.NoticesGivenUp+got.Effects != 0 ||
		got.LedgerEntries != 0 || !got.ReadySince.IsZero() || !got.NoticesDue.IsZero() {
		t.Errorf("an empty store has %+v", got)
	}

	// Work: 1 is leased, 2 failed once, 3 is poison, 4 and 5 can be taken, 6 is not due.
	take := func(want int64, now time.Time, lease time.Duration) store.Work {
		t.Helper()
		w, err := s.Take(ctx, "w", now, lease)
		must(t, err)
		if w.Key != pr(want) {
			t.Fatalf("took %s, want %s", w.Key, pr(want))
		}
		return w
	}
	fail := func(w store.Work, now time.Time) {
		t.Helper()
		must(t, s.Fail(ctx, w.Key, w.Lease, errors.New("no"), now, time.Time{}))
	}
	must(t, s.Mark(ctx, at(0), mark(3)))
	fail(take(3, at(0), time.Minute), at(0))
	fail(take(3, at(100), time.Minute), at(100))
	must(t, s.Mark(ctx, at(0), mark(2)))
	fail(take(2, at(100), time.Minute), at(100))
	must(t, s.Mark(ctx, at(0), mark(1)))
	take(1, at(100), 10*time.Minute)
	must(t, s.Mark(ctx, at(110), mark(5)))
	must(t, s.Mark(ctx, at(105), mark(4)))
	must(t, s.Mark(ctx, at(105), rules.Mark{Key: pr(6), Due: at(3600)}))
	if got := stats(at(125)); got.Ready != 2 || got.Leased != 1 || got.Backoff != 1 || got.Later != 1 || got.Poisoned != 1 || !got.ReadySince.Equal(at(105)) {
		t.Errorf("the work is counted as %+v", got)
	}
	// What a worker's lease ran out on can be taken too.
	if got := stats(at(701)); got.Leased != 0 || got.Backoff != 0 || got.Ready != 4 || !got.ReadySince.Equal(at(105)) {
		t.Errorf("after the lease ran out: %+v", got)
	}
	for n := int64(4); n <= 5; n++ {
		w := take(n, at(126), time.Minute)
		must(t, s.Done(ctx, w.Key, w.Lease))
	}
	// It waits since its pause ended, not since it was marked.
	if got := stats(at(701)); got.Ready != 2 || got.ReadySince.Before(at(130)) || got.ReadySince.After(at(160)) {
		t.Errorf("after what was ready is done: %+v", got)
	}

	// Leases: one live and overdue later, one revoking that failed, one ended.
	update := func(fn func(*store.Tx) error) { t.Helper(); must(t, s.Update(ctx, fn)) }
	for i, id := range []string{"live", "failed", "ended"} {
		update(func(tx *store.Tx) error {
			return tx.AddLease(newLease(id, func(l *store.Lease) { l.Job, l.Target = rules.CheckRunID(i+1), "db" }))
		})
		update(func(tx *store.Tx) error { return tx.GiveLease(id, nil) })
	}
	update(func(tx *store.Tx) error { return tx.RevokeLease("failed", "test", t0) })
	update(func(tx *store.Tx) error { return tx.FailLease("failed", errors.New("away"), at(60)) })
	update(func(tx *store.Tx) error { return tx.EndLease("ended", t0) })
	want := []store.LeaseStats{{State: store.LeaseLive, Target: "db", Count: 1}, {State: store.LeaseRevoking, Target: "db", Count: 1, Failed: 1}}
	if got := stats(at(1)).Leases; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("leases: %+v, want %+v", got, want)
	}
	if got := stats(at(600)).Leases; len(got) != 2 || got[0].Overdue != 1 || got[1].Overdue != 1 {
		t.Errorf("at their deadline: %+v", got)
	}

	// Held: two pull requests; neither a run nor what is not held counts with them.
	for key, held := range map[rules.WorkKey]bool{pr(1): true, pr(2): true, pr(3): false, {Kind: rules.WorkRun, Repository: 1, Number: 9}: true} {
		update(func(tx *store.Tx) error {
			return tx.SetSubject(store.Subject{Key: key, SHA: sha(1), Held: held, UpdatedAt: t0})
		})
	}
	if got := stats(t0).HeldPulls; got != 2 {
		t.Errorf("%d pull requests are held, want 2", got)
	}

	// Notices: two to send, of which one is due, and one given up.
	for i, key := range []string{"a", "b", "c"} {
		update(func(tx *store.Tx) error {
			_, err := tx.Notify(store.Notice{Key: key, To: "ops", Repository: 1, Payload: []byte("{}"), MadeAt: at(10 * (i + 1)), DueAt: at(10 * (i + 1))})
			return err
		})
	}
	must(t, s.GiveUpNotice(ctx, "a", "ops", errors.New("no"), at(11)))
	if got := stats(at(25)); got.Notices != 2 || got.NoticesGivenUp != 1 || !got.NoticesDue.Equal(at(20)) {
		t.Errorf("notices: %+v", got)
	}

	// Effects that are planned, and the ledger's size.
	for _, key := range []string{"x", "y"} {
		update(func(tx *store.Tx) error {
			_, err := tx.PlanEffect(store.Effect{Key: key, Subject: pr(1), Kind: "check", SHA: sha(1), Decision: "d", Payload: []byte("{}"), PlannedAt: t0})
			return err
		})
	}
	update(func(tx *store.Tx) error { return tx.EndEffect("x", store.EffectApplied, nil, t0) })
	update(func(tx *store.Tx) error {
		return tx.AddLedgerLeaves(0, [][]byte{[]byte("leaf")}, [][]byte{[]byte("o")})
	})
	update(func(tx *store.Tx) error { return tx.SetLedgerHead(0, 1, make([]byte, 1), seal(nil)) })
	if got := stats(t0); got.Effects != 1 || got.LedgerEntries != 1 {
		t.Errorf("effects and ledger: %+v", got)
	}

	must(t, s.Close())
	if _, err := s.Stats(ctx, t0); !errors.Is(err, store.ErrClosed) {
		t.Errorf("of a closed store: %v, want ErrClosed", err)
	}
}
