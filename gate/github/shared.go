package github

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// Shared is what the servers of one App share of GitHub's limits, by a key for each
// installation. GitHub itself tells each of them what is left of the hour; that it
// wants nothing for a while it tells only the one that asked.
type Shared interface {
	// Hold lets nothing out before a time, and Held is that time.
	Hold(ctx context.Context, key string, until time.Time) error
	Held(ctx context.Context, key string) (time.Time, error)
	// Space takes a place for something that people see, of those that all servers
	// have together: at most 20 at once and then one a second, and at most 100 at once
	// and then 400 an hour. It says how long to wait; more than most takes none.
	Space(ctx context.Context, key string, now time.Time, most time.Duration) (time.Duration, error)
}

// Bursts and spaces of what people see, for who implements [Shared].
const (
	ContentBurst     = contentBurst
	ContentEvery     = contentEvery
	ContentHourBurst = contentHourBurst
	ContentHourEvery = contentHourEvery
)

const (
	// shareTime bounds what is asked of the other servers: limits are no matter of
	// safety, and where they cannot be asked each keeps what it knows.
	shareTime = 2 * time.Second
	// lookEvery is how old what another server said may be.
	lookEvery = time.Second
)

func limitsKey(in rules.InstallationID) string { return strconv.FormatInt(int64(in), 10) }

// lookAround takes over what another server was told.
func (c *Client) lookAround(ctx context.Context, in rules.InstallationID, b *budget) {
	if c.cfg.Shared == nil || !b.mayLook(c.cfg.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, shareTime)
	defer cancel()
	until, err := c.cfg.Shared.Held(ctx, limitsKey(in))
	if err != nil {
		c.cfg.Log.DebugContext(ctx, "what other servers know of GitHub's limits cannot be read", slog.Any("cause", err))
		return
	}
	b.hold(until)
}

// mayLook reports whether it is time to look again, once.
func (b *budget) mayLook(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.looked) < lookEvery {
		return false
	}
	b.looked = now
	return true
}

// tellOthers lets nothing out of the other servers before a time.
func (c *Client) tellOthers(ctx context.Context, in rules.InstallationID, until time.Time) {
	if c.cfg.Shared == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shareTime)
	defer cancel()
	if err := c.cfg.Shared.Hold(ctx, limitsKey(in), until); err != nil {
		c.cfg.Log.WarnContext(ctx, "other servers cannot be told of GitHub's limit", slog.Any("cause", err))
	}
}

// space waits until something may be written that people see, of all servers, or
// refuses it if that takes long.
func (c *Client) space(ctx context.Context, in rules.InstallationID, b *budget) error {
	now := c.cfg.Now()
	if c.cfg.Shared == nil {
		return b.space(ctx, now)
	}
	asking, cancel := context.WithTimeout(ctx, shareTime)
	wait, err := c.cfg.Shared.Space(asking, limitsKey(in), now, maxWait)
	cancel()
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return errors.Join(errors.New("whether GitHub takes one more write is not known"), err)
	case wait > maxWait:
		return &RateLimited{Until: now.Add(wait)}
	case wait <= 0:
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err() // its place stays taken, which costs a second
	}
}
