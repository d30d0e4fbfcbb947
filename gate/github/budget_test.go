package github

import (
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// However hard it is pressed, no minute has more than 80 writes and no hour more than
// 500, which are GitHub's limits.
func TestSpaceKeepsTheLimits(t *testing.T) {
	c := &Client{budgets: map[rules.InstallationID]*budget{}}
	b := c.budget(1)
	begun := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	var writes []time.Time
	for now := begun; now.Before(begun.Add(3 * time.Hour)); {
		minute, hour := b.minute.ReserveN(now, 1), b.hour.ReserveN(now, 1)
		wait := max(minute.DelayFrom(now), hour.DelayFrom(now))
		if wait == 0 {
			writes = append(writes, now)
			continue
		}
		minute.CancelAt(now)
		hour.CancelAt(now)
		now = now.Add(min(wait, 5*time.Second))
	}
	within := func(d time.Duration) (most int) {
		from := 0
		for i := range writes {
			for writes[i].Sub(writes[from]) >= d {
				from++
			}
			most = max(most, i-from+1)
		}
		return most
	}
	if n := within(time.Minute); n > 80 || n < 70 {
		t.Errorf("%d writes in a minute, want at most 80", n)
	}
	if n := within(time.Hour); n > 500 || n < 450 {
		t.Errorf("%d writes in an hour, want at most 500", n)
	}
}

// A caller waits some seconds at most; then it is told when to come back.
func TestSpaceRefuses(t *testing.T) {
	c := &Client{budgets: map[rules.InstallationID]*budget{}}
	b := c.budget(1)
	now := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	b.minute.ReserveN(now, contentBurst)
	b.hour.ReserveN(now, contentHourBurst)
	var l *RateLimited
	if err := b.space(t.Context(), now); !errors.As(err, &l) || !l.Until.Equal(now.Add(contentHourEvery)) {
		t.Errorf("%v, want a refusal for %v", err, contentHourEvery)
	}
	if err := b.space(t.Context(), now.Add(contentHourEvery)); err != nil {
		t.Errorf("at that time: %v", err)
	}
}
