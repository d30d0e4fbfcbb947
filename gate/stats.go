package gate

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/rules"
)

// The states of deployments in [HeldStats]. They are shown to machines: they may be
// added to and never changed.
const (
	// HeldForHuman waits for a reviewer, and nothing else is in the way.
	HeldForHuman = "human"
	// HeldForOther waits for checks, a time, or facts that could not be read.
	HeldForOther = "other"
	// HeldDenied is refused by the policy, whoever approves.
	HeldDenied = "denied"
	// HeldRunning was released, and its outcome is not on record yet.
	HeldRunning = "running"
)

// HeldStats counts deployments of one state.
type HeldStats struct {
	Count int
	// Since is when the oldest was held first.
	Since time.Time
}

// maxCounted is how many runs are looked at to count what is held in them.
const maxCounted = 1000

// HeldDeployments counts the deployments that are held or under way, by state, all
// states: of the first 1,000 runs that there are.
func (g *Gate) HeldDeployments(ctx context.Context) (map[string]HeldStats, error) {
	out := map[string]HeldStats{HeldForHuman: {}, HeldForOther: {}, HeldDenied: {}, HeldRunning: {}}
	const page = 100
	after := rules.WorkKey{Kind: rules.WorkRun}
	for n := 0; n < maxCounted; n += page {
		subjects, err := g.cfg.Store.Held(ctx, after, page)
		if err != nil {
			return nil, fmt.Errorf("counting held deployments: %w", err)
		}
		for _, s := range subjects {
			after = s.Key
			if s.Key.Kind != rules.WorkRun {
				return out, nil
			}
			var d runData
			if err := json.Unmarshal(s.Data, &d); err != nil {
				continue // a look at it says so
			}
			for _, h := range d.Held {
				if state := h.stateForPeople(); state != "" {
					x := out[state]
					x.Count++
					if x.Since.IsZero() || h.Since.Before(x.Since) {
						x.Since = h.Since
					}
					out[state] = x
				}
			}
		}
		if len(subjects) < page {
			break
		}
	}
	return out, nil
}

// stateForPeople is one of the states of [HeldStats], or "" where nothing is held any
// more.
func (h *heldData) stateForPeople() string {
	switch {
	case h.asks():
		return HeldForHuman
	case h.State == heldWaiting && h.Decision.Verdict == rules.VerdictDeny:
		return HeldDenied
	case h.State == heldWaiting:
		return HeldForOther
	case h.State == heldReleased && !h.Ended:
		return HeldRunning
	default:
		return ""
	}
}
