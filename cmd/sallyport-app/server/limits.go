package server

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/store"
)

// limits are what several servers share of GitHub's limits, in their database.
type limits struct{ store *store.Store }

// shared is nil where there is one server, which knows all by itself.
func shared(s *store.Store, cfg store.Config) github.Shared {
	if cfg.URL == "" {
		return nil
	}
	return limits{s}
}

// Hold lets nothing out before a time.
func (l limits) Hold(ctx context.Context, key string, until time.Time) error {
	return l.store.HoldBack(ctx, key, until)
}

// Held is that time.
func (l limits) Held(ctx context.Context, key string) (time.Time, error) {
	return l.store.HeldBack(ctx, key)
}

// Space takes a place for what people see.
func (l limits) Space(ctx context.Context, key string, now time.Time, most time.Duration) (time.Duration, error) {
	return l.store.Space(ctx, key, now, most,
		store.Pace{Every: github.ContentEvery, Burst: github.ContentBurst}, store.Pace{Every: github.ContentHourEvery, Burst: github.ContentHourBurst})
}
