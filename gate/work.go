package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// idle is how long a worker sleeps at most where nothing is due: another process
// may have marked work.
const idle = time.Second

// Run works until ctx ends, and hands back what it holds. Its error is ctx's, or
// one after which nothing may be opened any more ([ledger.ErrForked],
// [ledger.ErrShrunk]).
func (g *Gate) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var all sync.WaitGroup
	for i := range g.cfg.Workers {
		all.Go(func() { g.worker(ctx, strconv.Itoa(i), stop) })
	}
	if g.cfg.Sweep > 0 {
		all.Go(func() { g.sweeps(ctx) })
	}
	if g.cfg.Tell != nil {
		all.Go(func() { g.tells(ctx) })
	}
	if g.cfg.Keys != nil {
		all.Go(func() { g.ends(ctx) })
	}
	all.Wait()
	return context.Cause(ctx)
}

// worker takes work and does it until ctx ends.
func (g *Gate) worker(ctx context.Context, name string, stop context.CancelCauseFunc) {
	for ctx.Err() == nil {
		work, but, err := g.take(ctx, name)
		if err == nil {
			g.Wake() // there may be more
			err := g.do(ctx, work)
			g.looking(work.Key.Repository, -1)
			if err != nil {
				stop(err)
			}
			continue
		}
		wait := idle
		if !errors.Is(err, store.ErrNotFound) {
			// What is due stays so while the store cannot be written, as with a full disk:
			// it is not asked at every turn.
			if ctx.Err() == nil {
				g.cfg.Log.ErrorContext(ctx, "work cannot be taken", slog.Any("cause", err))
			}
		} else if due, err := g.cfg.Store.NextDueBut(ctx, but); err == nil && !due.IsZero() {
			wait = min(wait, max(due.Sub(g.cfg.Now()), 10*time.Millisecond))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-g.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// take takes work of any repository but one that half of the workers are busy with:
// where GitHub does not answer for one, the others' work goes on. There is one such at
// most, since whoever takes has nothing. Its looking ends with [Gate.looking].
func (g *Gate) take(ctx context.Context, worker string) (work store.Work, but rules.RepositoryID, err error) {
	select {
	case g.taking <- struct{}{}:
		defer func() { <-g.taking }()
	case <-ctx.Done():
		return store.Work{}, store.NoRepository, ctx.Err()
	}
	but = g.crowded()
	if work, err = g.cfg.Store.TakeBut(ctx, but, worker, g.cfg.Now(), g.cfg.Lease); err == nil {
		g.looking(work.Key.Repository, 1)
		// What it marks itself nobody has asked for.
		work.Priority = max(work.Priority, rules.PriorityDoor)
	}
	return work, but, err
}

// crowded is the repository that half of the workers look at.
func (g *Gate) crowded() rules.RepositoryID {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, n := range g.looks {
		if n >= (g.cfg.Workers+1)/2 {
			return id
		}
	}
	return store.NoRepository
}

// looking counts who looks at a repository.
func (g *Gate) looking(id rules.RepositoryID, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.looks[id] += n; g.looks[id] <= 0 {
		delete(g.looks, id)
	}
}

// do does one piece of work and ends it in the store. Its error is fatal.
func (g *Gate) do(ctx context.Context, work store.Work) error {
	ctx = withLook(ctx, work)
	begun := g.cfg.Now()
	err := g.reconcileSafely(ctx, work)
	ended := func(how Ended) { g.cfg.Worked(work.Key.Kind, how, g.cfg.Now().Sub(begun)) }
	if err == nil || errors.Is(err, store.ErrLeaseLost) {
		ended(EndedDone)
		return nil
	}
	// What follows must be written even while the process ends.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if ctx.Err() != nil {
		// Handed back, not failed: somebody else begins at once.
		ended(EndedHandedBack)
		return g.handBack(end, work)
	}
	var limited *github.RateLimited
	var notBefore time.Time
	level, how := slog.LevelWarn, EndedFailed
	if errors.As(err, &limited) {
		notBefore, level, how = limited.Until, slog.LevelInfo, EndedLimited
	}
	ended(how)
	g.cfg.Log.Log(ctx, level, "work failed and will be tried again", slog.Int("attempt", work.Attempts), slog.Any("cause", err))
	if ferr := g.cfg.Store.Fail(end, work.Key, work.Lease, err, g.cfg.Now(), notBefore); ferr != nil && !errors.Is(ferr, store.ErrLeaseLost) {
		g.cfg.Log.ErrorContext(ctx, "the failure cannot be stored; the lease will run out", slog.Any("cause", ferr))
	}
	if errors.Is(err, ledger.ErrForked) || errors.Is(err, ledger.ErrShrunk) {
		return fmt.Errorf("the ledger is not what it was, so nothing may be opened any more: %w", err)
	}
	return nil
}

// handBack gives leased work to whoever comes next.
func (g *Gate) handBack(ctx context.Context, work store.Work) error {
	err := g.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Mark(rules.Mark{Key: work.Key, Priority: work.Priority, Installation: work.Installation, FullName: work.FullName}, g.cfg.Now()); err != nil {
			return err
		}
		return tx.Done(work.Key, work.Lease)
	})
	if err != nil && !errors.Is(err, store.ErrLeaseLost) {
		g.cfg.Log.WarnContext(ctx, "work cannot be handed back; its lease will run out", slog.Any("cause", err))
	}
	return nil
}

// reconcileSafely turns a panic into an error, so that one impossible fact sets
// its own key apart as poison and nothing else.
func (g *Gate) reconcileSafely(ctx context.Context, work store.Work) (err error) {
	// A look that takes longer than its lease could run beside the next one.
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Lease-g.cfg.Lease/4)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			g.cfg.Log.ErrorContext(ctx, "panic", slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return g.Reconcile(ctx, work)
}

// Reconcile looks at one key: reads the facts, judges, records and acts. Work that
// is done is ended in the store; an error says that it is not.
func (g *Gate) Reconcile(ctx context.Context, work store.Work) error {
	if work.Priority >= rules.PriorityHousekeeping {
		ctx = github.WithHousekeeping(ctx)
	}
	switch work.Key.Kind {
	case rules.WorkPullRequest:
		return g.inPlace(ctx, work, g.pull)
	case rules.WorkHead:
		return g.inPlace(ctx, work, g.head)
	case rules.WorkCommit:
		return g.inPlace(ctx, work, g.commit)
	case rules.WorkMergeGroup:
		return g.inPlace(ctx, work, g.mergeGroup)
	case rules.WorkRepository:
		return g.inPlace(ctx, work, g.repository)
	case rules.WorkInstallation:
		return g.installation(ctx, work)
	case rules.WorkOwner:
		return g.owner(ctx, work)
	case rules.WorkRun:
		return g.inPlace(ctx, work, g.run)
	default:
		return fmt.Errorf("work of kind %q is not known", work.Key.Kind)
	}
}
