package github_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// together is what servers share, in memory.
type together struct {
	mu    sync.Mutex
	until map[string]time.Time
	taken int
	wait  time.Duration
	err   error
}

func (s *together) Hold(_ context.Context, key string, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until[key] = until
	return s.err
}

func (s *together) Held(_ context.Context, key string) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.until[key], s.err
}

func (s *together) Space(context.Context, string, time.Time, time.Duration) (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
	return s.wait, s.err
}

// What GitHub told one server holds for the others, and they keep the pace of writes
// together.
func TestSharedLimits(t *testing.T) {
	shared := &together{until: map[string]time.Time{}}
	w := newWorld(t, setting{client: func(c *github.Config) { c.Shared, c.Spaced = shared, true }})
	other := w.newClient(func(c *github.Config) { c.Shared, c.Spaced = shared, true })
	p := w.open(w.dave, "feature")
	there := other.Repository(rules.InstallationID(w.inst.ID), rules.RepositoryID(w.repo.ID), "acme/orders")
	w.pull(p)
	_, err := there.Pull(t.Context(), p.Number)
	must(t, err)
	w.clock.Advance(2 * time.Second)
	w.g.Fail(githubtest.Fault{Kind: githubtest.Throttle, Times: 1, RetryAfter: time.Minute})
	_, err = w.orders.Pull(t.Context(), p.Number)
	until := limited(t, "the one that was told", err)
	if asked := w.asked(func() {
		_, err := there.Pull(t.Context(), p.Number)
		if got := limited(t, "the other", err); !got.Equal(until) {
			t.Errorf("until %s, want %s", got, until)
		}
	}); sum(asked) != 0 {
		t.Errorf("it asked all the same: %v", asked)
	}
	w.clock.Advance(until.Sub(w.clock.Now()) + time.Second)
	_, err = there.Pull(t.Context(), p.Number)
	must(t, err)

	must(t, there.AddLabels(t.Context(), p.Number, "a"))
	if shared.taken != 1 {
		t.Errorf("%d places taken for one label", shared.taken)
	}
	shared.wait = time.Hour
	if asked := w.asked(func() { limited(t, "no place", there.AddLabels(t.Context(), p.Number, "a")) }); sum(asked) != 0 {
		t.Errorf("written without a place: %v", asked)
	}
	// Where the others cannot be asked, what people see is not written, and all else goes on.
	shared.wait, shared.err = 0, errors.New("the database is away")
	w.clock.Advance(2 * time.Second)
	_, err = there.Pull(t.Context(), p.Number)
	must(t, err)
	if asked := w.asked(func() {
		if err := there.AddLabels(t.Context(), p.Number, "a"); !errors.Is(err, shared.err) {
			t.Errorf("without the others: %v", err)
		}
	}); sum(asked) != 0 {
		t.Errorf("written without a place: %v", asked)
	}
}
