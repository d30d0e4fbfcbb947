package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// times are durations, sorted.
type times struct{ took []time.Duration }

func (t times) at(q float64) time.Duration { return t.took[int(q*float64(len(t.took)-1))] }

func (t times) String() string {
	return fmt.Sprintf("%s\t%s\t%s", ms(t.at(0.5)), ms(t.at(0.95)), ms(t.at(1)))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond)) }

// latencies are how long deployments took: until the check showed that they are held,
// and from the click to the job in progress.
type latencies struct{ held, released times }

// latency deploys the same again and again: no job succeeds, so that each deployment
// brings everything anew.
func (c config) latency(ctx context.Context) (l latencies, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(c.deployments)*20*time.Second)
	defer cancel()
	s, err := c.newScene(ctx)
	defer func() {
		if stopped := s.stop(); err == nil {
			err = stopped
		}
	}()
	if err != nil {
		return l, err
	}
	for i := range c.deployments {
		if err := s.timed(ctx, &l); err != nil {
			return l, fmt.Errorf("deployment %d: %w", i+1, err)
		}
	}
	slices.Sort(l.held.took)
	slices.Sort(l.released.took)
	return l, nil
}

// timed is one deployment.
func (s *scene) timed(ctx context.Context, l *latencies) error {
	before := s.check(&deployment{sha: s.repo.Head("main"), environment: "production"})
	start := time.Now()
	d := s.deploy("production")
	if err := until(ctx, func() (bool, error) { k := s.check(d); return k != nil && k != before, nil }); err != nil {
		return fmt.Errorf("waiting until it is held: %w", err)
	}
	l.held.took = append(l.held.took, time.Since(start))
	if err := s.settle(ctx); err != nil {
		return err
	}
	if err := s.holds(d); err != nil {
		return err
	}
	start = time.Now()
	if err := s.click(d); err != nil {
		return err
	}
	if err := until(ctx, func() (bool, error) { return d.status() == "in_progress", nil }); err != nil {
		return fmt.Errorf("waiting for the release: %w", err)
	}
	l.released.took = append(l.released.took, time.Since(start))
	if err := s.settle(ctx); err != nil {
		return err
	}
	if err := s.released(d); err != nil {
		return err
	}
	return s.end(ctx, d, "failure")
}
