package store_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/store"
)

func conformLimits(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	held := func(key string, want time.Time) {
		t.Helper()
		if got, err := s.HeldBack(ctx, key); err != nil || !got.Equal(want) {
			t.Errorf("%s is held back until %s, %v, want %s", key, got, err, want)
		}
	}
	held("1", time.Time{})
	must(t, s.HoldBack(ctx, "1", at(60)))
	must(t, s.HoldBack(ctx, "1", at(30)))
	held("1", at(60))
	held("2", time.Time{})
	if s.HoldBack(ctx, "", at(1)) == nil {
		t.Error("nothing is held back")
	}

	minute, hour := store.Pace{Every: time.Second, Burst: 3}, store.Pace{Every: 10 * time.Second, Burst: 5}
	for i, want := range []time.Duration{0, 0, 0, time.Second, 2 * time.Second} {
		if wait, err := s.Space(ctx, "1", t0, 3*time.Second, minute, hour); err != nil || wait != want {
			t.Errorf("place %d: wait %s, %v, want %s", i+1, wait, err, want)
		}
	}
	for range 2 { // what is not taken takes nothing
		if wait, err := s.Space(ctx, "1", t0, 3*time.Second, minute, hour); err != nil || wait != 10*time.Second {
			t.Errorf("after five: wait %s, %v", wait, err)
		}
	}
	held("1", at(60)) // the one does not disturb the other
	if wait, err := s.Space(ctx, "1", at(10), 3*time.Second, minute, hour); err != nil || wait != 0 {
		t.Errorf("ten seconds later: wait %s, %v", wait, err)
	}
	// A hundred at once keep the pace together.
	var now atomic.Int64
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() {
			if w, err := s.Space(ctx, "3", t0, 0, store.Pace{Every: time.Minute, Burst: 7}); err != nil {
				t.Error(err)
			} else if w == 0 {
				now.Add(1)
			}
		})
	}
	wait.Wait()
	if now.Load() != 7 {
		t.Errorf("%d places at once, want 7", now.Load())
	}
}
