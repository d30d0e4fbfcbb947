package gate

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

const (
	// relook is how long what is held is left alone if no event names it. Of pull requests
	// a list is read so often, and each is looked at whole after one to two times anew.
	relook = 15 * time.Minute
	anew   = 24 * time.Hour
	// sweptShare is of how many parts of the time between two sweeps another process's
	// sweep does for ours: all but one.
	sweptShare = 10
	// deliveriesKept is how long GitHub keeps deliveries, and for how long ours are
	// remembered (https://docs.github.com/webhooks/testing-and-troubleshooting-webhooks/viewing-webhook-deliveries).
	deliveriesKept = 3 * 24 * time.Hour
	// maxRedeliver bounds how many deliveries one sweep asks for, maxAttempts how often
	// one is asked for: what is refused for what it is would be refused for ever.
	maxRedeliver = 200
	// maxUnasked is of how many of them GitHub may fail to take the wish in one sweep.
	maxUnasked  = 10
	maxAttempts = 20
	// apart is for how long work that was set apart is left alone if no event names it,
	// maxApart how much of it has another try in one sweep.
	apart    = time.Hour
	maxApart = 200
)

// sweeps has a sweep made now and then, until ctx ends. The first is made whatever
// others do: it is for what was lost while this process was away.
func (g *Gate) sweeps(ctx context.Context) {
	tick := time.NewTicker(g.cfg.Sweep)
	defer tick.Stop()
	for first := true; ; first = false {
		begun := g.cfg.Now()
		made, err := g.sweepInTurn(ctx, first)
		if made && ctx.Err() == nil {
			g.cfg.Swept(err, g.cfg.Now().Sub(begun))
		}
		if err != nil && ctx.Err() == nil {
			g.cfg.Log.WarnContext(ctx, "the sweep is not complete", slog.Any("cause", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sweptSetting is where it is kept when a sweep was last begun, by whichever process.
const sweptSetting = "swept"

// sweepInTurn sweeps, unless another process over the same store has just done so: as
// many of them ask GitHub no more than one does. A sweep that fails does nothing for
// others. Made says whether it did. Two that begin in the same moment both sweep, which
// does no harm.
func (g *Gate) sweepInTurn(ctx context.Context, always bool) (made bool, err error) {
	now := g.cfg.Now()
	text, err := g.cfg.Store.Setting(ctx, sweptSetting)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return true, err
	}
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil && !always {
		if age := now.Sub(time.Unix(0, n)); age >= 0 && age < g.cfg.Sweep-g.cfg.Sweep/sweptShare {
			return false, nil
		}
	}
	if err := g.cfg.Store.SetSetting(ctx, sweptSetting, strconv.AppendInt(nil, now.UnixNano(), 10), now); err != nil {
		return true, err
	}
	if err = g.Sweep(ctx); err != nil {
		// What keeps this process from it may not keep the others.
		err = errors.Join(err, g.cfg.Store.SetSetting(ctx, sweptSetting, nil, now))
	}
	return true, err
}

// Sweep marks what no event told of: new installations, repositories and what is
// held too long. And it has GitHub send again what did not arrive.
func (g *Gate) Sweep(ctx context.Context) error {
	ctx = github.WithHousekeeping(ctx)
	poisoned, err := g.tellPoisoned(ctx)
	reached := g.sweepInstallations(ctx)
	if reached == nil {
		err = errors.Join(err, g.tryPoisoned(ctx, poisoned))
	}
	return errors.Join(err, reached, g.sweepHeld(ctx), g.redeliver(ctx), g.forget(ctx))
}

// tryPoisoned gives what was set apart another try now and then, once GitHub answers:
// while it was away for hours all that was due failed too often, and for what waits for
// a person's click that came meanwhile no other event comes. What fails again is set
// apart again.
func (g *Gate) tryPoisoned(ctx context.Context, all []store.Work) error {
	now := g.cfg.Now()
	var marks []rules.Mark
	for _, w := range all {
		if now.Sub(w.PoisonedAt) >= apart && len(marks) < maxApart {
			marks = append(marks, rules.Mark{Key: w.Key, Priority: rules.PriorityHousekeeping - 1, Installation: w.Installation, FullName: w.FullName})
		}
	}
	return g.mark(ctx, marks)
}

// tellPoisoned says what was set apart, for as long as it is, and lists it.
func (g *Gate) tellPoisoned(ctx context.Context) ([]store.Work, error) {
	all, err := g.cfg.Store.Poisoned(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range all {
		g.cfg.Log.ErrorContext(ctx, "work is set apart after it failed too often", slog.String("subject", w.Key.String()), slog.String("repository", w.FullName),
			slog.Time("since", w.PoisonedAt), slog.Int("attempts", w.Attempts), slog.String("cause", w.Error))
	}
	return all, nil
}

// sweepInstallations marks installations that are not known yet, and every
// repository of those that are.
func (g *Gate) sweepInstallations(ctx context.Context) error {
	all, err := g.cfg.GitHub.Installations(ctx)
	if err != nil {
		return err
	}
	now := g.cfg.Now()
	var marks []rules.Mark
	for _, in := range all {
		if !g.owners[in.Account.ID] {
			continue
		}
		known, err := g.cfg.Store.Installation(ctx, in.ID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err != nil || known.State != installationActive || now.Sub(known.UpdatedAt) > relook {
			marks = append(marks, rules.Mark{Key: installationKey(in.ID), Priority: rules.PriorityHousekeeping, Installation: in.ID})
		}
		repos, err := g.cfg.Store.Repositories(ctx, in.ID)
		if err != nil {
			return err
		}
		for _, r := range repos {
			idle, err := g.idles(ctx, in.Account.ID, r)
			if err != nil {
				return err
			}
			if !idle {
				marks = append(marks, rules.Mark{Key: repositoryKey(r.ID), Priority: rules.PriorityHousekeeping, Installation: in.ID, FullName: r.FullName})
			}
		}
	}
	return g.mark(ctx, marks)
}

// idles reports whether a repository is left alone for now: no policy was ever in force
// there, none of its owner's either, and it was looked at lately. An App on all of an
// organisation's repositories has many such, in which nothing can be opened, and each
// look costs requests.
func (g *Gate) idles(ctx context.Context, owner rules.AccountID, r store.Repository) (bool, error) {
	if (&place{fullName: r.FullName}).holdsFloor() {
		return false, nil // a floor that is new there is one for all others
	}
	_, err := g.cfg.Store.Policy(ctx, r.ID, rules.PolicyPath)
	if !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	if _, err = g.cfg.Store.Setting(ctx, floorSetting(owner)); !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	s, err := g.cfg.Store.Subject(ctx, repositoryKey(r.ID))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	age := g.cfg.Now().Sub(s.UpdatedAt)
	return err == nil && age >= 0 && age < relook, err
}

// sweepHeld marks what is held and was not looked at for long.
func (g *Gate) sweepHeld(ctx context.Context) error {
	const page = 500
	now := g.cfg.Now()
	var after rules.WorkKey
	for {
		subjects, err := g.cfg.Store.Held(ctx, after, page)
		if err != nil {
			return err
		}
		var marks []rules.Mark
		for _, s := range subjects {
			after = s.Key
			if now.Sub(s.UpdatedAt) < leftAlone(s.Key) {
				continue
			}
			r, err := g.cfg.Store.Repository(ctx, s.Key.Repository)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			marks = append(marks, rules.Mark{Key: s.Key, Priority: rules.PriorityHousekeeping, Installation: r.Installation, FullName: r.FullName})
		}
		if err := g.mark(ctx, marks); err != nil {
			return err
		}
		if len(subjects) < page {
			return nil
		}
	}
}

// leftAlone is how long something held is left alone. That of pull requests differs, so
// that those which were judged together are not looked at together.
func leftAlone(key rules.WorkKey) time.Duration {
	if key.Kind != rules.WorkPullRequest {
		return relook
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(key.String())) // cannot fail
	return anew + time.Duration(h.Sum64()%uint64(anew))
}

func (g *Gate) mark(ctx context.Context, marks []rules.Mark) error {
	if len(marks) == 0 {
		return nil
	}
	defer g.Wake()
	return g.cfg.Store.Mark(ctx, g.cfg.Now(), marks...)
}

// redeliverSetting is where the newest attempt is kept that was looked at.
const redeliverSetting = "deliveries seen"

// redeliver has GitHub send again each delivery of which no attempt arrived.
func (g *Gate) redeliver(ctx context.Context) error {
	now := g.cfg.Now()
	since := now.Add(-deliveriesKept)
	if text, err := g.cfg.Store.Setting(ctx, redeliverSetting); err == nil {
		if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
			since = time.Unix(n, 0)
		}
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	arrived := map[string]bool{}
	failed := map[string]*failing{}
	from := now // where the next sweep begins
	err := g.cfg.GitHub.Deliveries(ctx, func(d github.Delivery) bool {
		switch {
		case d.DeliveredAt.Before(since):
			return true
		case d.OK():
			arrived[d.GUID] = true
		case now.Sub(d.DeliveredAt) < g.cfg.Arrive:
			from = earlier(from, d.DeliveredAt)
		case failed[d.GUID] == nil:
			failed[d.GUID] = &failing{newest: d.ID, first: d.DeliveredAt, attempts: 1}
		default:
			failed[d.GUID].attempts++
			failed[d.GUID].first = d.DeliveredAt
		}
		return false
	})
	// Newest first: of what was seen before a page failed, an attempt that arrived was
	// seen before those that did not.
	asked := 0
	var unasked []error
	for _, guid := range slices.SortedFunc(maps.Keys(failed), func(a, b string) int { return failed[a].first.Compare(failed[b].first) }) {
		f := failed[guid]
		if arrived[guid] || f.attempts > maxAttempts {
			continue
		}
		from = earlier(from, f.first)
		if asked++; asked > maxRedeliver || len(unasked) > maxUnasked {
			continue
		}
		var refused *github.Refused
		var limited *github.RateLimited
		switch err := g.cfg.GitHub.Redeliver(ctx, f.newest); {
		case errors.As(err, &limited) || ctx.Err() != nil:
			return err
		case err != nil && !errors.Is(err, github.ErrNotFound) && !errors.As(err, &refused):
			// The others do not wait for this one: the next sweep asks again.
			unasked = append(unasked, err)
			continue
		}
		g.cfg.Log.InfoContext(ctx, "asked GitHub to send a delivery again", slog.String("delivery", guid), slog.Int("attempts", f.attempts))
	}
	if err = errors.Join(append(unasked, err)...); err != nil {
		return err // the next sweep begins where this one did
	}
	return g.cfg.Store.SetSetting(ctx, redeliverSetting, strconv.AppendInt(nil, from.Add(-time.Minute).Unix(), 10), now)
}

// failing is a delivery of which no attempt arrived, as far as was seen.
type failing struct {
	newest   int64 // the newest attempt
	first    time.Time
	attempts int
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// forget forgets deliveries that GitHub does not send again.
func (g *Gate) forget(ctx context.Context) error {
	_, err := g.cfg.Store.ForgetDeliveries(ctx, g.cfg.Now().Add(-2*deliveriesKept), 10_000)
	return err
}
