package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }

func pr(n int64) rules.WorkKey {
	return rules.WorkKey{Kind: rules.WorkPullRequest, Repository: 1, Number: n}
}

func mark(n int64) rules.Mark { return rules.Mark{Key: pr(n)} }

func delivery(id, body string, marks ...rules.Mark) rules.Delivery {
	return rules.Delivery{ID: id, BodyHash: sha256.Sum256([]byte(body)), Event: "pull_request", Action: "opened", ReceivedAt: t0, Marks: marks}
}

func fact(key string) rules.EventFact {
	return rules.EventFact{
		Kind: rules.FactClick, Key: key, Subject: rules.WorkKey{Kind: rules.WorkHead, Repository: 1, SHA: sha(1)}, Repository: 1,
		Event: "check_run", Action: "requested_action", Sender: 3, Payload: []byte(`{"check_run":11}`),
	}
}

func sha(n int) rules.SHA { return rules.SHA(fmt.Sprintf("%040x", n)) }

// opening opens an empty store that ends with the test.
type opening func(t testing.TB, edit func(*store.Config)) *store.Store

// conform holds a store to what package store promises, whatever is behind it.
func conform(t *testing.T, open opening) {
	for name, test := range map[string]func(*testing.T, opening){
		"a delivery is accepted once":        conformDeliveries,
		"facts gather their deliveries":      conformFacts,
		"marks coalesce":                     conformMarks,
		"work is leased to one":              conformLeases,
		"work that failed waits":             conformFailures,
		"poison is set apart":                conformPoison,
		"transactions are whole or nothing":  conformTransactions,
		"callers do not disturb each other":  conformGroups,
		"what happens once happens once":     conformOnce,
		"effects are planned once":           conformEffects,
		"policies come into force in a row":  conformPolicies,
		"subjects are found":                 conformSubjects,
		"settings, installations and others": conformState,
		"the cache stays in its size":        conformCache,
		"the ledger only grows":              conformLedger,
		"appends share a signature":          conformLedgerGroups,
		"entries in any number":              conformLedgerMany,
		"what is closed refuses":             conformClosed,
		"credentials are given once":         conformCredentials,
		"a person has a few at once":         conformPersonLeases,
		"releases happen once and end once":  conformReleases,
		"the last release is the baseline":   conformLastRelease,
		"notices are sent by one":            conformNotices,
		"notices hold no address":            conformNoticeErrors,
		"holds are one job's":                conformHolds,
		"limits are kept together":           conformLimits,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
}

func pending(t testing.TB, s *store.Store) []string {
	t.Helper()
	all, err := s.Pending(t.Context(), 1000)
	must(t, err)
	out := make([]string, len(all))
	for i, w := range all {
		out[i] = w.Key.String()
	}
	return out
}

func conformDeliveries(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	for _, c := range []struct {
		id, body string
		known    bool
	}{{"a", "x", false}, {"a", "x", true}, {"b", "x", false}, {"a", "y", false}, {"a", "y", true}} {
		known, err := s.Accept(ctx, delivery(c.id, c.body, mark(1)))
		if err != nil || known != c.known {
			t.Errorf("delivery %s of %s: known %t, %v, want %t", c.id, c.body, known, err, c.known)
		}
	}
	if got := pending(t, s); !slices.Equal(got, []string{pr(1).String()}) {
		t.Errorf("pending %q", got)
	}
	// A known delivery marks nothing again.
	w, err := s.Take(ctx, "w", at(1), time.Minute)
	must(t, err)
	must(t, s.Done(ctx, w.Key, w.Lease))
	if _, err := s.Accept(ctx, delivery("a", "x", mark(1))); err != nil || len(pending(t, s)) != 0 {
		t.Errorf("pending %q, %v", pending(t, s), err)
	}
	// A delivery that cannot be stored whole is not stored at all.
	for name, d := range map[string]rules.Delivery{
		"a mark of nothing":      delivery("c", "x", mark(5), rules.Mark{}),
		"a mark of half a thing": delivery("c", "x", mark(5), rules.Mark{Key: rules.WorkKey{Kind: rules.WorkRun, Number: 3}}),
		"a fact that is no JSON": func() rules.Delivery {
			d := delivery("c", "x", mark(5))
			f := fact("k")
			f.Payload = []byte("{")
			d.Facts = []rules.EventFact{f}
			return d
		}(),
		"a fact without a key": func() rules.Delivery {
			d := delivery("c", "x", mark(5))
			d.Facts = []rules.EventFact{fact("")}
			return d
		}(),
		"a fact about half a run": func() rules.Delivery {
			d := delivery("c", "x", mark(5))
			f := fact("k")
			f.Subject.SHA = "1"
			d.Facts = []rules.EventFact{f}
			return d
		}(),
	} {
		if _, err := s.Accept(ctx, d); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if known, err := s.Accept(ctx, delivery("c", "x")); err != nil || known || len(pending(t, s)) != 0 {
		t.Errorf("after the failures: known %t, %v, pending %q", known, err, pending(t, s))
	}
	// Forgetting goes by age, some at a time.
	old := delivery("old", "x")
	old.ReceivedAt = t0.Add(-time.Hour)
	_, err = s.Accept(ctx, old)
	must(t, err)
	for _, want := range []int64{1, 0} {
		if n, err := s.ForgetDeliveries(ctx, t0, 10); err != nil || n != want {
			t.Errorf("forgot %d, %v, want %d", n, err, want)
		}
	}
	if n, err := s.ForgetDeliveries(ctx, at(1), 2); err != nil || n != 2 {
		t.Errorf("forgot %d, %v, want 2", n, err)
	}
}

func conformFacts(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	give := func(id string, f rules.EventFact) {
		d := delivery(id, id)
		d.Facts = []rules.EventFact{f}
		_, err := s.Accept(ctx, d)
		must(t, err)
	}
	give("b", fact("k1"))
	give("a", fact("k1")) // replayed under another id
	give("c", fact("k2"))
	subject := fact("").Subject
	facts, err := s.FactsOf(ctx, subject, rules.FactClick)
	must(t, err)
	if len(facts) != 2 || facts[0].Key != "k1" || !slices.Equal(facts[0].Deliveries, []string{"a", "b"}) || facts[0].Confirmed != rules.Unknown ||
		!facts[0].ReceivedAt.Equal(t0) || !reflect.DeepEqual(facts[0].EventFact, fact("k1")) {
		t.Fatalf("%+v", facts)
	}
	must(t, s.Confirm(ctx, facts[0].ID, rules.No))
	must(t, s.Confirm(ctx, facts[0].ID, rules.Yes))
	must(t, s.Confirm(ctx, facts[0].ID, rules.No)) // a replay that GitHub does not know takes nothing back
	wants(t, s.Confirm(ctx, 12345, rules.Yes), store.ErrNotFound)
	facts, err = s.FactsIn(ctx, 1, rules.FactClick, t0, 10)
	if err != nil || len(facts) != 2 || facts[0].Confirmed != rules.Yes || facts[1].Confirmed != rules.Unknown {
		t.Errorf("%+v, %v", facts, err)
	}
	for name, n := range map[string]int{
		"of another kind":       len(first(s.FactsOf(ctx, subject, rules.FactPush))),
		"of another subject":    len(first(s.FactsOf(ctx, pr(1), rules.FactClick))),
		"of another repository": len(first(s.FactsIn(ctx, 2, rules.FactClick, t0, 10))),
		"of a later time":       len(first(s.FactsIn(ctx, 1, rules.FactClick, at(1), 10))),
	} {
		if n != 0 {
			t.Errorf("%d facts %s", n, name)
		}
	}
	// One body replayed for ever does not fill the store.
	for i := range 100 {
		give(fmt.Sprintf("r%d", i), fact("k3"))
	}
	facts = first(s.FactsOf(ctx, subject, rules.FactClick))
	if n := len(facts[2].Deliveries); n != 64 {
		t.Errorf("%d deliveries of one fact", n)
	}
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.ForgetFacts(subject) }))
	if n := len(first(s.FactsOf(ctx, subject, rules.FactClick))); n != 0 {
		t.Errorf("%d facts after forgetting", n)
	}
	if s.Update(ctx, func(tx *store.Tx) error { return tx.ForgetFacts(rules.WorkKey{}) }) == nil {
		t.Error("forgot the facts about nothing")
	}
}

func first[T any](x T, _ error) T { return x }

func conformMarks(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	later := rules.Mark{Key: pr(1), Priority: rules.PriorityHousekeeping, Due: at(100), Installation: 9, FullName: "acme/orders"}
	must(t, s.Mark(ctx, t0, later, mark(2)))
	must(t, s.Mark(ctx, t0, rules.Mark{Key: pr(1), Due: at(50)}))
	must(t, s.Mark(ctx, t0, rules.Mark{Key: pr(1), Priority: rules.PriorityHousekeeping, Due: at(200), FullName: "acme/renamed"}))
	if got := pending(t, s); len(got) != 2 {
		t.Fatalf("pending %q", got)
	}
	if due, err := s.NextDue(ctx); err != nil || !due.Equal(t0) {
		t.Errorf("next due %v, %v", due, err)
	}
	w, err := s.Take(ctx, "w", at(49), time.Hour)
	if err != nil || w.Key != pr(2) {
		t.Fatalf("%+v, %v", w, err)
	}
	_, err = s.Take(ctx, "w", at(49), time.Hour)
	wants(t, err, store.ErrNotFound)
	if due, err := s.NextDue(ctx); err != nil || !due.Equal(at(50)) {
		t.Errorf("next due %v, %v", due, err)
	}
	w, err = s.Take(ctx, "w", at(50), time.Hour)
	if err != nil || w.Key != pr(1) || w.Priority != rules.PriorityDoor || w.Installation != 9 || w.FullName != "acme/renamed" || w.Attempts != 1 {
		t.Errorf("%+v, %v", w, err)
	}
	// The more urgent first, then the older.
	must(t, s.Mark(ctx, t0,
		rules.Mark{Key: pr(3), Priority: rules.PriorityHousekeeping}, rules.Mark{Key: pr(4), Due: at(3)}, rules.Mark{Key: pr(5), Due: at(2)}))
	for _, want := range []int64{5, 4, 3} {
		if w, err := s.Take(ctx, "w", at(60), time.Hour); err != nil || w.Key != pr(want) {
			t.Errorf("%+v, %v, want %d", w, err, want)
		}
	}
	if s.Mark(ctx, t0, rules.Mark{Key: rules.WorkKey{Kind: "unheard", Number: 1}}) == nil {
		t.Error("marked what is of no kind")
	}
	if _, err := s.Take(ctx, "w", t0, 0); err == nil {
		t.Error("a lease of no length")
	}
}

func conformLeases(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	must(t, s.Mark(ctx, t0, mark(1)))
	w, err := s.Take(ctx, "first", t0, time.Minute)
	must(t, err)
	if w.Lease == "" || w.Worker != "first" || !w.Until.Equal(at(60)) {
		t.Errorf("%+v", w)
	}
	_, err = s.Take(ctx, "second", at(59), time.Minute)
	wants(t, err, store.ErrNotFound)
	// Marked while it is done: it is done again, and nobody gets it before.
	must(t, s.Mark(ctx, at(10), mark(1)))
	_, err = s.Take(ctx, "second", at(11), time.Minute)
	wants(t, err, store.ErrNotFound)
	wants(t, s.Done(ctx, w.Key, "somebody's"), store.ErrLeaseLost)
	wants(t, s.Done(ctx, w.Key, ""), store.ErrLeaseLost)
	must(t, s.Done(ctx, w.Key, w.Lease))
	wants(t, s.Done(ctx, w.Key, w.Lease), store.ErrLeaseLost)
	w, err = s.Take(ctx, "second", at(12), time.Minute)
	if err != nil || w.Attempts != 1 {
		t.Fatalf("again: %+v, %v", w, err)
	}
	// Marked for later while it is done: it stays, and is not due before.
	must(t, s.Mark(ctx, at(13), rules.Mark{Key: pr(1), Priority: rules.PriorityHousekeeping, Due: at(500)}))
	must(t, s.Done(ctx, w.Key, w.Lease))
	_, err = s.Take(ctx, "second", at(499), time.Minute)
	wants(t, err, store.ErrNotFound)
	w, err = s.Take(ctx, "second", at(500), time.Minute)
	if err != nil || w.Priority != rules.PriorityHousekeeping {
		t.Fatalf("later: %+v, %v", w, err)
	}
	// When a lease runs out another gets the work.
	_, err = s.Take(ctx, "third", at(559), time.Minute)
	wants(t, err, store.ErrNotFound)
	third, err := s.Take(ctx, "third", at(560), time.Minute)
	if err != nil || third.Attempts != 2 || third.Lease == w.Lease {
		t.Fatalf("taken over: %+v, %v", third, err)
	}
	wants(t, s.Fail(ctx, w.Key, w.Lease, errors.New("x"), at(561), time.Time{}), store.ErrLeaseLost)
	wants(t, s.Done(ctx, w.Key, w.Lease), store.ErrLeaseLost)
	must(t, s.Done(ctx, third.Key, third.Lease))
	if got := pending(t, s); len(got) != 0 {
		t.Errorf("pending %q", got)
	}
	// Many workers at once: each piece goes to one.
	const pieces = 40
	for i := range int64(pieces) {
		must(t, s.Mark(ctx, t0, mark(i+1)))
	}
	var mu sync.Mutex
	got := map[rules.WorkKey]int{}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for {
				w, err := s.Take(ctx, "w", at(1), time.Minute)
				if err != nil {
					return
				}
				mu.Lock()
				got[w.Key]++
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	for k, n := range got {
		if n != 1 {
			t.Errorf("%s was taken %d times", k, n)
		}
	}
	if len(got) != pieces {
		t.Errorf("%d pieces were taken, want %d", len(got), pieces)
	}
}

// asked is a mark of somebody who stands before the door.
func asked(n int64) rules.Mark { return rules.Mark{Key: mark(n).Key, Priority: rules.PriorityAsked} }

func conformFailures(t *testing.T, open opening) {
	s, ctx := open(t, func(c *store.Config) {
		c.Retry = store.Retry{First: 10 * time.Second, Max: 30 * time.Second, Attempts: 100}
	}), t.Context()
	must(t, s.Mark(ctx, t0, mark(1)))
	now := t0
	for i, bounds := range [][2]int{{5, 10}, {10, 20}, {15, 30}, {15, 30}} {
		w, err := s.Take(ctx, "w", now, time.Minute)
		must(t, err)
		if w.Attempts != i+1 {
			t.Errorf("attempt %d counted as %d", i+1, w.Attempts)
		}
		must(t, s.Fail(ctx, w.Key, w.Lease, errors.New("no\nanswer\x1b[31m"), now, time.Time{}))
		must(t, s.Mark(ctx, now, mark(1))) // news does not shorten the wait
		all, err := s.Pending(ctx, 10)
		must(t, err)
		wait := int(all[0].Until.Sub(now) / time.Second)
		if wait < bounds[0] || wait > bounds[1] {
			t.Errorf("after failure %d: %d s, want %v", i+1, wait, bounds)
		}
		if all[0].Error != "no answer [31m" || all[0].Lease != "" {
			t.Errorf("%+v", all[0])
		}
		_, err = s.Take(ctx, "w", all[0].Until.Add(-time.Microsecond), time.Minute)
		wants(t, err, store.ErrNotFound)
		now = all[0].Until
	}
	// Who presses a button does not wait out the failures before.
	failed, err := s.Take(ctx, "w", now, time.Minute)
	must(t, err)
	must(t, s.Fail(ctx, failed.Key, failed.Lease, nil, now, now.Add(time.Hour)))
	must(t, s.Mark(ctx, now.Add(time.Second), asked(1)))
	if due, err := s.NextDue(ctx); err != nil || !due.Equal(now.Add(time.Second)) {
		t.Errorf("next due %v, %v", due, err)
	}
	// Nor one that fails just then, but for a moment.
	now = now.Add(time.Second)
	failed, err = s.Take(ctx, "w", now, time.Minute)
	must(t, err)
	must(t, s.Mark(ctx, now, asked(1)))
	must(t, s.Fail(ctx, failed.Key, failed.Lease, nil, now, now.Add(time.Hour)))
	due, err := s.NextDue(ctx)
	if wait := due.Sub(now); err != nil || wait < 5*time.Second || wait > 10*time.Second {
		t.Errorf("next due in %v, %v", wait, err)
	}
	now = due
	// A limit that somebody named counts where it is longer.
	w, err := s.Take(ctx, "w", now, time.Minute)
	must(t, err)
	must(t, s.Fail(ctx, w.Key, w.Lease, nil, now, now.Add(time.Hour)))
	if due, err := s.NextDue(ctx); err != nil || !due.Equal(now.Add(time.Hour)) {
		t.Errorf("next due %v, %v", due, err)
	}
	now = now.Add(time.Hour)
	w, err = s.Take(ctx, "w", now, time.Minute)
	must(t, err)
	must(t, s.Done(ctx, w.Key, w.Lease))
	// The waits of many failures differ.
	waits := map[time.Duration]bool{}
	for i := range int64(8) {
		must(t, s.Mark(ctx, now, mark(i+1)))
		w, err := s.Take(ctx, "w", now, time.Minute)
		must(t, err)
		must(t, s.Fail(ctx, w.Key, w.Lease, errors.New(strings.Repeat("é", 2000)), now, time.Time{}))
	}
	for _, w := range first(s.Pending(ctx, 100)) {
		waits[w.Until.Sub(now)] = true
		if len(w.Error) > 1000 || !strings.HasSuffix(w.Error, "é") {
			t.Errorf("an error of %d bytes", len(w.Error))
		}
	}
	if len(waits) < 4 {
		t.Errorf("8 failures wait %d different times", len(waits))
	}
}

func conformPoison(t *testing.T, open opening) {
	s, ctx := open(t, func(c *store.Config) {
		c.Retry = store.Retry{First: time.Second, Max: time.Second, Attempts: 3}
	}), t.Context()
	fail := func(now time.Time) {
		w, err := s.Take(ctx, "w", now, time.Minute)
		must(t, err)
		must(t, s.Fail(ctx, w.Key, w.Lease, errors.New("boom"), now, time.Time{}))
	}
	must(t, s.Mark(ctx, t0, mark(1)))
	for i := range 3 {
		if n := len(first(s.Poisoned(ctx))); n != 0 {
			t.Fatalf("%d poisoned after %d failures", n, i)
		}
		fail(at(i * 100))
	}
	all, err := s.Poisoned(ctx)
	if err != nil || len(all) != 1 || all[0].Key != pr(1) || all[0].Error != "boom" || !all[0].PoisonedAt.Equal(at(200)) || len(pending(t, s)) != 0 {
		t.Fatalf("%+v, %v", all, err)
	}
	// It does not hold up the others, and a sweep does not bring it back.
	must(t, s.Mark(ctx, at(1000), mark(2), rules.Mark{Key: pr(1), Priority: rules.PriorityHousekeeping}))
	w, err := s.Take(ctx, "w", at(1000), time.Minute)
	if err != nil || w.Key != pr(2) {
		t.Fatalf("%+v, %v", w, err)
	}
	must(t, s.Done(ctx, w.Key, w.Lease))
	_, err = s.Take(ctx, "w", at(1000), time.Minute)
	wants(t, err, store.ErrNotFound)
	// News gives it one try.
	must(t, s.Mark(ctx, at(1100), mark(1)))
	fail(at(1100))
	if len(first(s.Poisoned(ctx))) != 1 {
		t.Error("not poisoned after the one try that news gave")
	}
	// Once it was done it has all of them again.
	must(t, s.Mark(ctx, at(1200), mark(1)))
	w, err = s.Take(ctx, "w", at(1200), time.Minute)
	must(t, err)
	must(t, s.Done(ctx, w.Key, w.Lease))
	must(t, s.Mark(ctx, at(1300), mark(1)))
	fail(at(1300))
	fail(at(1400))
	if len(first(s.Poisoned(ctx))) != 0 {
		t.Error("poisoned too early")
	}
	w, err = s.Take(ctx, "w", at(1500), time.Minute)
	must(t, err)
	must(t, s.Done(ctx, w.Key, w.Lease))
	// What kills its workers is poison too.
	must(t, s.Mark(ctx, at(2000), mark(1)))
	for i := range 3 {
		_, err := s.Take(ctx, "w", at(2000+100*i), time.Minute)
		must(t, err)
	}
	_, err = s.Take(ctx, "w", at(2300), time.Minute)
	wants(t, err, store.ErrNotFound)
	if n := len(first(s.Poisoned(ctx))); n != 1 {
		t.Errorf("%d poisoned after three workers died", n)
	}
}

func conformTransactions(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	boom := errors.New("boom")
	wants(t, s.Update(ctx, func(tx *store.Tx) error {
		must(t, tx.Mark(mark(1), t0))
		must(t, tx.Once("k", "1", t0))
		return boom
	}), boom)
	if _, err := s.Happened(ctx, "k", "1"); !errors.Is(err, store.ErrNotFound) || len(pending(t, s)) != 0 {
		t.Errorf("something of a failed transaction is there: %v %q", err, pending(t, s))
	}
	// An error that the function swallows undoes its own statement only.
	must(t, s.Update(ctx, func(tx *store.Tx) error {
		must(t, tx.Once("k", "2", t0))
		wants(t, tx.Once("k", "2", t0), store.ErrAlready)
		return tx.Mark(mark(2), t0)
	}))
	if len(pending(t, s)) != 1 {
		t.Error("the rest of the transaction is not there")
	}
	// A transaction is of no use afterwards.
	var kept *store.Tx
	must(t, s.Update(ctx, func(tx *store.Tx) error { kept = tx; return nil }))
	if kept.Mark(mark(3), t0) == nil {
		t.Error("a transaction was used after its end")
	}
	// A panic is the caller's, and undoes what the caller did.
	func() {
		defer func() {
			if recover() != "oops" {
				t.Error("the panic did not arrive")
			}
		}()
		_ = s.Update(ctx, func(tx *store.Tx) error {
			must(t, tx.Mark(mark(4), t0))
			panic("oops")
		})
	}()
	if len(pending(t, s)) != 1 {
		t.Error("something of a transaction that panicked is there")
	}
	// A caller who does not wait any more gets nothing done.
	ended, cancel := context.WithCancel(ctx)
	cancel()
	hold, held := make(chan struct{}), make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() { _ = s.Update(ctx, func(*store.Tx) error { close(held); <-hold; return nil }) })
	<-held
	err := s.Update(ended, func(tx *store.Tx) error { return tx.Mark(mark(5), t0) })
	close(hold)
	wait.Wait()
	must(t, s.Ping(ctx))
	if !errors.Is(err, context.Canceled) || len(pending(t, s)) != 1 {
		t.Errorf("%v, pending %q", err, pending(t, s))
	}
}

// Many callers at once, some of whom fail: each gets its own answer.
func conformGroups(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	boom := errors.New("boom")
	hold, held := make(chan struct{}), make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() { _ = s.Update(ctx, func(*store.Tx) error { close(held); <-hold; return nil }) })
	<-held
	const callers = 300
	var wrong atomic.Int64
	for i := range int64(callers) {
		wait.Go(func() {
			defer func() {
				if p := recover(); (p != nil) != (i%5 == 4) {
					wrong.Add(1)
				}
			}()
			err := s.Update(ctx, func(tx *store.Tx) error {
				if err := tx.Mark(mark(i+1), t0); err != nil {
					return err
				}
				switch i % 5 {
				case 1:
					return boom
				case 2: // twice the same thing
					if err := tx.Once("k", "one", t0); err != nil {
						return err
					}
				case 4:
					panic("oops")
				}
				return nil
			})
			switch i % 5 {
			case 1:
				if !errors.Is(err, boom) {
					wrong.Add(1)
				}
			case 2:
				if err != nil && !errors.Is(err, store.ErrAlready) {
					wrong.Add(1)
				}
			default:
				if err != nil {
					wrong.Add(1)
				}
			}
		})
	}
	close(hold)
	wait.Wait()
	if wrong.Load() != 0 {
		t.Errorf("%d callers got another's answer", wrong.Load())
	}
	// Of five callers two succeed always, and of all the third ones exactly one.
	if got, want := len(pending(t, s)), callers/5*2+1; got != want {
		t.Errorf("%d marks, want %d", got, want)
	}
}

func conformOnce(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	once := func(kind, key string) error {
		return s.Update(ctx, func(tx *store.Tx) error { return tx.Once(kind, key, t0) })
	}
	must(t, once("a", "1"))
	must(t, once("a", "2"))
	must(t, once("b", "1"))
	wants(t, once("a", "1"), store.ErrAlready)
	if when, err := s.Happened(ctx, "a", "1"); err != nil || !when.Equal(t0) {
		t.Errorf("%v, %v", when, err)
	}
	for _, c := range [][2]string{{"", "x"}, {"x", ""}} {
		if once(c[0], c[1]) == nil {
			t.Errorf("once %q", c)
		}
	}
	var won atomic.Int64
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			if once("race", "1") == nil {
				won.Add(1)
			}
		})
	}
	wait.Wait()
	if won.Load() != 1 {
		t.Errorf("it happened %d times", won.Load())
	}
}

func conformEffects(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	effect := store.Effect{Key: "approve 1 7 abc", Subject: pr(7), Kind: "approve", SHA: sha(1), Decision: "d1", Payload: []byte("{}"), Entry: 3, PlannedAt: t0}
	plan := func(e store.Effect) (planned bool) {
		t.Helper()
		must(t, s.Update(ctx, func(tx *store.Tx) (err error) { planned, err = tx.PlanEffect(e); return err }))
		return planned
	}
	update := func(fn func(*store.Tx) error) error { return s.Update(ctx, fn) }
	if !plan(effect) || plan(effect) {
		t.Error("planned not once")
	}
	second := effect
	second.Key, second.PlannedAt = "comment 1 7", at(-1)
	plan(second)
	got, err := s.PlannedEffects(ctx, pr(7))
	if err != nil || len(got) != 2 || got[0].Key != second.Key {
		t.Fatalf("%+v, %v", got, err)
	}
	want := effect
	want.State, want.Result = store.EffectPlanned, []byte{}
	if got[1].Result = append([]byte{}, got[1].Result...); !reflect.DeepEqual(got[1], want) {
		t.Errorf("%+v, want %+v", got[1], want)
	}
	must(t, update(func(tx *store.Tx) error { return tx.TryEffect(effect.Key) }))
	must(t, update(func(tx *store.Tx) error { return tx.FailEffect(effect.Key, errors.New("no answer")) }))
	must(t, update(func(tx *store.Tx) error { return tx.TryEffect(effect.Key) }))
	must(t, update(func(tx *store.Tx) error { return tx.EndEffect(effect.Key, store.EffectApplied, []byte("99"), at(5)) }))
	wants(t, update(func(tx *store.Tx) error { return tx.EndEffect(effect.Key, store.EffectApplied, nil, at(6)) }), store.ErrNotFound)
	wants(t, update(func(tx *store.Tx) error { return tx.EndEffect(effect.Key, store.EffectDropped, nil, at(6)) }), store.ErrNotFound)
	wants(t, update(func(tx *store.Tx) error { return tx.TryEffect(effect.Key) }), store.ErrNotFound)
	wants(t, update(func(tx *store.Tx) error { return tx.FailEffect(effect.Key, errors.New("x")) }), store.ErrNotFound)
	e, err := s.Effect(ctx, effect.Key)
	if err != nil || e.State != store.EffectApplied || e.Attempts != 2 || string(e.Result) != "99" || e.Error != "no answer" || !e.EndedAt.Equal(at(5)) {
		t.Errorf("%+v, %v", e, err)
	}
	if plan(effect) {
		t.Error("planned again after it was applied")
	}
	must(t, update(func(tx *store.Tx) error {
		e, err := tx.Effect(second.Key)
		if err == nil && e.State != store.EffectPlanned {
			return fmt.Errorf("%+v", e)
		}
		return err
	}))
	must(t, update(func(tx *store.Tx) error { return tx.EndEffect(second.Key, store.EffectDropped, nil, at(5)) }))
	if got := first(s.PlannedEffects(ctx, pr(7))); len(got) != 0 {
		t.Errorf("still planned: %+v", got)
	}
	_, err = s.Effect(ctx, "nothing")
	wants(t, err, store.ErrNotFound)
	for name, fn := range map[string]func(*store.Tx) error{
		"an effect without a key":  func(tx *store.Tx) error { e := effect; e.Key = ""; _, err := tx.PlanEffect(e); return err },
		"an effect without a kind": func(tx *store.Tx) error { e := effect; e.Key, e.Kind = "x", ""; _, err := tx.PlanEffect(e); return err },
		"an effect without a subject": func(tx *store.Tx) error {
			e := effect
			e.Key = "x"
			e.Subject = rules.WorkKey{}
			_, err := tx.PlanEffect(e)
			return err
		},
		"an end that is none":        func(tx *store.Tx) error { return tx.EndEffect(effect.Key, store.EffectPlanned, nil, t0) },
		"a failure without a reason": func(tx *store.Tx) error { return tx.FailEffect(effect.Key, nil) },
	} {
		if update(fn) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func conformPolicies(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	const path = ".github/sallyport.yml"
	_, err := s.Policy(ctx, 1, path)
	wants(t, err, store.ErrNotFound)
	set := func(p store.Policy) error { return s.Update(ctx, func(tx *store.Tx) error { return tx.SetPolicy(p) }) }
	p := store.Policy{
		Repository: 1, Path: path, Version: 1, Commit: sha(1), Blob: sha(2), Branch: "main", Text: []byte("version: 1\n"),
		Pins:    store.Pins{Users: map[string]rules.AccountID{"octocat": 3}, Teams: map[string]rules.TeamID{"acme/sre": 5}},
		Arrival: "adopted", Why: "by an administrator", Since: t0,
	}
	must(t, set(p))
	if got, err := s.Policy(ctx, 1, path); err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("%+v, %v, want %+v", got, err, p)
	}
	wants(t, set(p), store.ErrAlready)
	next := p
	next.Version, next.Deleted, next.Text = 3, true, nil
	if set(next) == nil {
		t.Error("a version was left out")
	}
	next.Version = 2
	must(t, set(next))
	if got, err := s.Policy(ctx, 1, path); err != nil || !got.Deleted || got.Version != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if all, err := s.Policies(ctx, 1, path); err != nil || len(all) != 2 || all[0].Version != 2 || all[1].Deleted {
		t.Errorf("%+v, %v", all, err)
	}
	for _, c := range []struct {
		repository rules.RepositoryID
		path       string
	}{{2, path}, {1, "sallyport.yml"}} {
		_, err := s.Policy(ctx, c.repository, c.path)
		wants(t, err, store.ErrNotFound)
	}
	for name, edit := range map[string]func(*store.Policy){
		"no repository": func(p *store.Policy) { p.Repository = 0 },
		"no path":       func(p *store.Policy) { p.Path = "" },
		"no version":    func(p *store.Policy) { p.Version = 0 },
	} {
		bad := p
		edit(&bad)
		if set(bad) == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// Two who bring a version into force at once: one does.
	var won atomic.Int64
	var wait sync.WaitGroup
	next.Version = 3
	for range 10 {
		wait.Go(func() {
			if set(next) == nil {
				won.Add(1)
			}
		})
	}
	wait.Wait()
	if won.Load() != 1 {
		t.Errorf("%d came into force", won.Load())
	}
}

func conformSubjects(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	set := func(n int64, head int, held bool) {
		must(t, s.Update(ctx, func(tx *store.Tx) error {
			return tx.SetSubject(store.Subject{Key: pr(n), SHA: sha(head), Held: held, Data: []byte("x"), UpdatedAt: t0})
		}))
	}
	for n := range int64(5) {
		set(n+1, 1, true)
	}
	set(2, 2, true)  // moved on
	set(3, 1, false) // released
	keys := func(all []store.Subject, err error) (out []int64) {
		must(t, err)
		for _, x := range all {
			out = append(out, x.Key.Number)
		}
		return out
	}
	if got := keys(s.SubjectsAt(ctx, 1, sha(1))); !slices.Equal(got, []int64{1, 3, 4, 5}) {
		t.Errorf("at the first head: %v", got)
	}
	if got := keys(s.SubjectsAt(ctx, 2, sha(1))); got != nil {
		t.Errorf("in another repository: %v", got)
	}
	if got := keys(s.Held(ctx, rules.WorkKey{}, 2)); !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("held, first page: %v", got)
	}
	if got := keys(s.Held(ctx, pr(2), 10)); !slices.Equal(got, []int64{4, 5}) {
		t.Errorf("held, second page: %v", got)
	}
	x, err := s.Subject(ctx, pr(2))
	if err != nil || x.SHA != sha(2) || !x.Held || string(x.Data) != "x" || !x.UpdatedAt.Equal(t0) {
		t.Errorf("%+v, %v", x, err)
	}
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.ForgetSubject(pr(2)) }))
	_, err = s.Subject(ctx, pr(2))
	wants(t, err, store.ErrNotFound)
	if s.Update(ctx, func(tx *store.Tx) error { return tx.SetSubject(store.Subject{}) }) == nil {
		t.Error("a subject that is nothing")
	}
}

func conformState(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	_, err := s.Setting(ctx, "key")
	wants(t, err, store.ErrNotFound)
	must(t, s.SetSetting(ctx, "key", []byte("a"), t0))
	must(t, s.SetSetting(ctx, "key", []byte("b"), t0))
	if v, err := s.Setting(ctx, "key"); err != nil || string(v) != "b" {
		t.Errorf("%q, %v", v, err)
	}
	var mu sync.Mutex
	made := map[string]bool{}
	var wait sync.WaitGroup
	for i := range 10 {
		wait.Go(func() {
			v, err := s.MakeSetting(ctx, "made", fmt.Append(nil, i), t0)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			made[string(v)] = true
			mu.Unlock()
		})
	}
	wait.Wait()
	if len(made) != 1 {
		t.Errorf("made %v", made)
	}
	if s.SetSetting(ctx, "", nil, t0) == nil || func() bool { _, err := s.MakeSetting(ctx, "", nil, t0); return err == nil }() {
		t.Error("a setting without a name")
	}

	i := store.Installation{ID: 9, Account: 3, Login: "acme", Type: "Organization", State: "active", Permissions: map[string]string{"checks": "write"}, UpdatedAt: t0}
	_, err = s.Installation(ctx, 9)
	wants(t, err, store.ErrNotFound)
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.SetInstallation(i) }))
	i.State = "suspended"
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.SetInstallation(i) }))
	if got, err := s.Installation(ctx, 9); err != nil || !reflect.DeepEqual(got, i) {
		t.Errorf("%+v, %v", got, err)
	}
	if all, err := s.Installations(ctx); err != nil || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}

	r := store.Repository{ID: 1, Installation: 9, FullName: "acme/orders", DefaultBranch: "main", UpdatedAt: t0}
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.SetRepository(r) }))
	r.FullName = "acme/renamed"
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.SetRepository(r) }))
	if got, err := s.Repository(ctx, 1); err != nil || got != r {
		t.Errorf("%+v, %v", got, err)
	}
	if all, err := s.Repositories(ctx, 9); err != nil || !slices.Equal(all, []store.Repository{r}) {
		t.Errorf("%+v, %v", all, err)
	}
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.ForgetRepository(1) }))
	_, err = s.Repository(ctx, 1)
	wants(t, err, store.ErrNotFound)
	if s.Update(ctx, func(tx *store.Tx) error { return tx.SetRepository(store.Repository{}) }) == nil {
		t.Error("a repository without an id")
	}
}

func conformCache(t *testing.T, open opening) {
	s, ctx := open(t, func(c *store.Config) { c.MaxCache = 1000 }), t.Context()
	put := func(key string, size, when int) {
		must(t, s.Cache(ctx, key, `"e"`, make([]byte, size), at(when)))
	}
	has := func(key string) bool {
		_, _, err := s.Cached(ctx, key)
		if err != nil {
			wants(t, err, store.ErrNotFound)
		}
		return err == nil
	}
	put("a", 400, 1)
	put("b", 400, 2)
	if etag, body, err := s.Cached(ctx, "a"); err != nil || etag != `"e"` || len(body) != 400 {
		t.Errorf("%q, %d bytes, %v", etag, len(body), err)
	}
	put("c", 400, 3)
	if has("a") || !has("b") || !has("c") {
		t.Error("the oldest does not go first")
	}
	put("b", 500, 4)
	put("d", 400, 5)
	if !has("b") || has("c") || !has("d") {
		t.Error("what was stored again is not the newer")
	}
	put("b", 5000, 6)
	if has("b") || !has("d") {
		t.Error("what is too large is stored, or the old answer still is")
	}
	must(t, s.Cache(ctx, "d", "", nil, at(7)))
	if has("d") {
		t.Error("an answer without an ETag is stored")
	}
	for i := range 200 {
		put(fmt.Sprintf("k%d", i), 300, 10+i)
	}
	n := 0
	for i := range 200 {
		if has(fmt.Sprintf("k%d", i)) {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d of 300 bytes in 1000", n)
	}
}

func conformLedger(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	if c, err := s.LedgerCheckpoint(ctx); err != nil || c != nil {
		t.Errorf("at the beginning: %q, %v", c, err)
	}
	boom := errors.New("boom")
	grow := func(from int64, fail error) error {
		return s.Update(ctx, func(tx *store.Tx) error {
			size, edge, _, _, err := tx.LedgerHead()
			if err != nil || size != from || int64(len(edge)) != from {
				return fmt.Errorf("head %d %q, %w", size, edge, err)
			}
			if err := tx.AddLedgerLeaves(from, [][]byte{{byte(from)}}, [][]byte{[]byte("o")}); err != nil {
				return err
			}
			if err := tx.AddLedgerNode(1, from, make([]byte, 32)); err != nil {
				return err
			}
			if err := tx.SetLedgerHead(from, from+1, make([]byte, from+1), seal(nil)); err != nil {
				return err
			}
			if again, _, c, by, err := tx.LedgerHead(); err != nil || again != from+1 || c != nil || by == nil {
				return fmt.Errorf("head within: %d, %w", again, err)
			}
			return fail
		})
	}
	must(t, grow(0, nil))
	wants(t, grow(1, boom), boom)
	must(t, grow(1, nil))
	must(t, grow(2, nil))
	if c, err := s.LedgerCheckpoint(ctx); err != nil || string(c) != "c3" {
		t.Errorf("%q, %v", c, err)
	}
	var seen []string
	must(t, s.LedgerLeaves(ctx, 1, 10, func(i int64, leaf, checkpoint, openings []byte) error {
		seen = append(seen, fmt.Sprintf("%d %v %s %s", i, leaf, checkpoint, openings))
		return nil
	}))
	if !slices.Equal(seen, []string{"1 [1] c2 o", "2 [2] c3 o"}) {
		t.Errorf("%q", seen)
	}
	wants(t, s.LedgerLeaves(ctx, 0, 10, func(int64, []byte, []byte, []byte) error { return boom }), boom)
	if nodes, err := s.LedgerNodes(ctx, 1, 1, 5); err != nil || len(nodes) != 64 {
		t.Errorf("%d bytes of nodes, %v", len(nodes), err)
	}
	for name, fn := range map[string]func(*store.Tx) error{
		"an entry replaced":          func(tx *store.Tx) error { return tx.AddLedgerLeaves(1, [][]byte{[]byte("x")}, [][]byte{nil}) },
		"an entry without its place": func(tx *store.Tx) error { return tx.AddLedgerLeaves(3, make([][]byte, 2), make([][]byte, 1)) },
		"a node replaced":            func(tx *store.Tx) error { return tx.AddLedgerNode(1, 1, make([]byte, 32)) },
		"a head from another size":   func(tx *store.Tx) error { return tx.SetLedgerHead(2, 4, nil, seal(nil)) },
		"a head that shrinks":        func(tx *store.Tx) error { return tx.SetLedgerHead(3, 2, nil, seal(nil)) },
		"a head that does not grow":  func(tx *store.Tx) error { return tx.SetLedgerHead(3, 3, nil, seal(nil)) },
		"openings of nothing opened": func(tx *store.Tx) error { return tx.SetLedgerOpenings(77, []byte("x")) },
	} {
		if s.Update(ctx, fn) == nil {
			t.Errorf("%s: no error", name)
		}
	}
	must(t, s.Update(ctx, func(tx *store.Tx) error {
		if o, err := tx.LedgerOpenings(1); err != nil || string(o) != "o" {
			return fmt.Errorf("%q, %w", o, err)
		}
		if err := tx.SetLedgerOpenings(1, []byte("p")); err != nil {
			return err
		}
		if err := tx.SetLedgerOpenings(2, nil); err != nil {
			return err
		}
		if o, err := tx.LedgerOpenings(2); err != nil || o != nil {
			return fmt.Errorf("%q, %w", o, err)
		}
		return nil
	}))
	if c, err := s.LedgerCheckpoint(ctx); err != nil || string(c) != "c3" {
		t.Errorf("after all that: %q, %v", c, err)
	}
}

func conformClosed(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	var wait sync.WaitGroup
	var done, refused atomic.Int64
	for i := range int64(200) {
		wait.Go(func() {
			switch err := s.Mark(ctx, t0, mark(i+1)); {
			case err == nil:
				done.Add(1)
			case errors.Is(err, store.ErrClosed):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	must(t, s.Close())
	wait.Wait() // nobody hangs
	must(t, s.Close())
	if done.Load()+refused.Load() != 200 {
		t.Errorf("%d done, %d refused", done.Load(), refused.Load())
	}
	wants(t, s.Mark(ctx, t0, mark(1)), store.ErrClosed)
	if _, err := s.Pending(ctx, 1); err == nil {
		t.Error("read from what is closed")
	}
}

// seal is who signs a head in a test: "c" and the size, or an error.
func seal(err error) ledger.Sealer { return &fakeSealer{err: err} }

type fakeSealer struct {
	err   error
	seals atomic.Int64
}

func (f *fakeSealer) Seal(size int64, edge []byte) ([]byte, error) {
	f.seals.Add(1)
	if int64(len(edge)) != size {
		return nil, fmt.Errorf("an edge of %d bytes at size %d", len(edge), size)
	}
	return fmt.Append(nil, "c", size), f.err
}

// together runs writes so that they share one transaction of the disk, in their
// order, and returns what became of each.
func together(t *testing.T, s *store.Store, fns ...func(*store.Tx) error) []error {
	t.Helper()
	hold, held := make(chan struct{}), make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() { _ = s.Update(t.Context(), func(*store.Tx) error { close(held); <-hold; return nil }) })
	<-held
	out := make([]error, len(fns))
	for i, fn := range fns {
		var queued sync.WaitGroup
		queued.Add(1)
		wait.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					out[i] = fmt.Errorf("panic: %v", p)
				}
			}()
			queued.Done()
			out[i] = s.Update(t.Context(), fn)
		})
		queued.Wait()
		time.Sleep(10 * time.Millisecond) // it is in the queue, before the next
	}
	close(hold)
	wait.Wait()
	return out
}

// Callers who share a transaction of the disk share one signature, and one who is
// rolled back leaves nothing to the others.
// conformLedgerMany stores entries in numbers around those of its statements.
func conformLedgerMany(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	next := int64(0)
	for n := range 75 {
		must(t, s.Update(ctx, func(tx *store.Tx) error {
			leaves, openings := make([][]byte, n), make([][]byte, n)
			for i := range leaves {
				at := next + int64(i)
				leaves[i] = fmt.Appendf(nil, "leaf %d", at)
				if at%2 == 1 {
					openings[i] = fmt.Appendf(nil, "opening %d", at)
				}
			}
			return tx.AddLedgerLeaves(next, leaves, openings)
		}))
		next += int64(n)
	}
	seen := int64(0)
	must(t, s.LedgerLeaves(ctx, 0, next+1, func(i int64, leaf, _, openings []byte) error {
		want := fmt.Sprintf("opening %d", i)
		if i%2 == 0 {
			want = ""
		}
		if i != seen || string(leaf) != fmt.Sprintf("leaf %d", i) || string(openings) != want {
			t.Errorf("entry %d after %d: %q, %q", i, seen, leaf, openings)
		}
		seen++
		return nil
	}))
	if seen != next || seen == 0 {
		t.Errorf("%d entries, want %d", seen, next)
	}
}

func conformLedgerGroups(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	boom := errors.New("boom")
	by := &fakeSealer{}
	grow := func(by *fakeSealer, entries int64, fail func() error) func(*store.Tx) error {
		return func(tx *store.Tx) error {
			size, edge, _, _, err := tx.LedgerHead()
			if err != nil || int64(len(edge)) != size {
				return fmt.Errorf("head %d %q, %w", size, edge, err)
			}
			leaves := make([][]byte, entries)
			for i := range leaves {
				leaves[i] = []byte{byte(size + int64(i))}
			}
			if err := tx.AddLedgerLeaves(size, leaves, make([][]byte, entries)); err != nil {
				return err
			}
			if err := tx.SetLedgerHead(size, size+entries, make([]byte, size+entries), by); err != nil {
				return err
			}
			if fail != nil {
				return fail()
			}
			return nil
		}
	}
	state := func() string {
		t.Helper()
		out := ""
		must(t, s.LedgerLeaves(ctx, 0, 100, func(i int64, leaf, checkpoint, _ []byte) error {
			out += fmt.Sprintf("%d%v%s ", i, leaf, checkpoint)
			return nil
		}))
		c, err := s.LedgerCheckpoint(ctx)
		must(t, err)
		return out + string(c)
	}
	got := together(t, s,
		grow(by, 1, nil),
		grow(by, 2, func() error { return boom }),
		grow(by, 1, nil),
		grow(by, 3, func() error { panic("oops") }),
		func(tx *store.Tx) error { return tx.Mark(mark(1), t0) },
		grow(by, 2, nil),
		grow(by, 1, func() error { return boom }),
	)
	for i, err := range got {
		if failed := i == 1 || i == 3 || i == 6; (err != nil) != failed {
			t.Errorf("caller %d: %v", i, err)
		}
	}
	if want := "0[0] 1[1] 2[2] 3[3]c4 c4"; state() != want || by.seals.Load() != 1 {
		t.Errorf("%q after %d seals, want %q after one", state(), by.seals.Load(), want)
	}
	// Where every append was rolled back, nothing is signed.
	got = together(t, s, grow(by, 1, func() error { return boom }), func(tx *store.Tx) error { return tx.Mark(mark(2), t0) })
	if want := "0[0] 1[1] 2[2] 3[3]c4 c4"; got[0] == nil || got[1] != nil || state() != want || by.seals.Load() != 1 {
		t.Errorf("%v, %q after %d seals", got, state(), by.seals.Load())
	}
	// Where nothing can be signed, nothing is stored, whosever it is.
	got = together(t, s, func(tx *store.Tx) error { return tx.Mark(mark(3), t0) }, grow(&fakeSealer{err: boom}, 1, nil))
	if want := "0[0] 1[1] 2[2] 3[3]c4 c4"; !errors.Is(got[0], boom) || !errors.Is(got[1], boom) || state() != want || len(pending(t, s)) != 2 {
		t.Errorf("%v, %q, pending %v", got, state(), pending(t, s))
	}
	wants(t, s.Update(ctx, grow(&fakeSealer{err: boom}, 1, nil)), boom)
	// A head without its last entry is never stored.
	if s.Update(ctx, func(tx *store.Tx) error { return tx.SetLedgerHead(4, 6, make([]byte, 6), by) }) == nil {
		t.Error("a head without its entries")
	}
	if s.Update(ctx, func(tx *store.Tx) error { return tx.SetLedgerHead(4, 6, make([]byte, 6), nil) }) == nil {
		t.Error("a head that nobody signs")
	}
	must(t, s.Update(ctx, grow(by, 1, nil)))
	if want := "0[0] 1[1] 2[2] 3[3]c4 4[4]c5 c5"; state() != want {
		t.Errorf("%q, want %q", state(), want)
	}
}
