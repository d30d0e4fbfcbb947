package server

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// However many ask, there is one try at a time, and its answer counts for a while.
func TestFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		var fails atomic.Bool
		var slow atomic.Int64
		f := newFresh(10*time.Second, 2*time.Second, func(ctx context.Context) (int64, error) {
			n := tries.Add(1)
			select {
			case <-time.After(time.Duration(slow.Load())):
			case <-ctx.Done():
				return 0, ctx.Err()
			}
			if fails.Load() {
				return 0, errors.New("away")
			}
			return n, nil
		})
		slow.Store(int64(time.Second))
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if n, err := f.ask(t.Context()); n != 1 || err != nil {
					t.Errorf("%d, %v: want the first try's answer", n, err)
				}
			})
		}
		all.Wait()
		time.Sleep(9 * time.Second)
		if n, _ := f.ask(t.Context()); n != 1 {
			t.Errorf("after 9 seconds: try %d", n)
		}
		time.Sleep(2 * time.Second)
		fails.Store(true)
		if _, err := f.ask(t.Context()); err == nil || tries.Load() != 2 {
			t.Errorf("after 11 seconds: %v, %d tries", err, tries.Load())
		}
		// An error counts for a second.
		fails.Store(false)
		if _, err := f.ask(t.Context()); err == nil {
			t.Error("an error is forgotten at once")
		}
		time.Sleep(1100 * time.Millisecond)
		if n, err := f.ask(t.Context()); n != 3 || err != nil {
			t.Errorf("after an error: %d, %v", n, err)
		}
		// Whoever asks does not wait as long as the try takes.
		time.Sleep(11 * time.Second)
		slow.Store(int64(5 * time.Second))
		begun := time.Now()
		if _, err := f.ask(t.Context()); !errors.Is(err, errSlow) || time.Since(begun) != 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := f.ask(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("who went away: %v", err)
		}
		if tries.Load() != 4 {
			t.Errorf("%d tries, want 4", tries.Load())
		}
		// What is under way ends when it is closed, and nothing begins.
		f.close()
		if time.Since(begun) > 3*time.Second {
			t.Errorf("closing took %s", time.Since(begun))
		}
		if _, err := f.ask(t.Context()); !errors.Is(err, errStopping) || tries.Load() != 4 {
			t.Errorf("after closing: %v", err)
		}
	})
}
