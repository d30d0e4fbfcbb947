package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// judged is one decision.
type judged struct {
	// old and id are the ids of the decision that was recorded before and of the one
	// that was made now.
	old, id  string
	decision rules.Decision
	policies rules.Policies
	subject  ledger.Subject
	// pulls are the pull requests that it is about where they are several.
	pulls []int
	// approvals are the reviews that count in it.
	approvals []rules.Review
}

// of is the decision that an effect follows from.
func (t *task) of(e *effect) *judged {
	if e.about > 0 {
		return &t.more[e.about-1]
	}
	return &t.judged
}

// task is one look, once it was judged and planned: steps 4 to 6.
type task struct {
	g    *Gate
	at   *place
	work store.Work
	// head is the commit that the effects are bound to.
	head rules.SHA
	judged
	// more are the further decisions of one look, where a key has several.
	more []judged
	plan plan
	// entries are recorded beside the decisions.
	entries []ledger.Entry
	// planned is what an effect of a look before was about; nil is what this look is.
	planned func(store.Effect) ledger.Subject
	// facts are those that the plan was made from; nil where they are not a pull
	// request's.
	facts *github.Pull
	// also writes what else belongs into the transaction of the decision, save what
	// was concluded, in it and in that of the outcomes. After writes what follows once
	// all effects were applied. Also and after may be nil.
	also, save, after func(*store.Tx) error
	// done is told of each effect that was applied, and of each that GitHub refused.
	done func(e effect, kind string, result effectResult)
}

// effectResult is what an effect made. It is stored with the effect.
type effectResult struct {
	Check   rules.CheckRunID `json:"check,omitzero"`
	Comment int64            `json:"comment,omitzero"`
	Digest  string           `json:"digest,omitzero"`
	// Forbidden says that the installation may not, which another try does not change.
	Forbidden bool           `json:"forbidden,omitzero"`
	Kind      string         `json:"kind,omitzero"`
	Merge     rules.SHA      `json:"merge,omitzero"`
	Review    rules.ReviewID `json:"review,omitzero"`
	// Why says why GitHub refused it.
	Why string `json:"why,omitzero"`
}

func pullSubject(repository rules.RepositoryID, number int, head rules.SHA) ledger.Subject {
	return ledger.Subject{Repository: repository, PullRequest: number, SHA: head}
}

// plannedAs is what effects were about that differ in nothing but the commit.
func plannedAs(subject ledger.Subject) func(store.Effect) ledger.Subject {
	return func(e store.Effect) ledger.Subject {
		s := subject
		s.Key = e.Key
		if e.SHA != "" {
			s.SHA = e.SHA
		}
		return s
	}
}

// run records the decision and its effects, applies these, and records what became
// of them.
func (t *task) run(ctx context.Context) error {
	g := t.g
	ctx = withDecision(ctx, t.id)
	tried, err := t.record(ctx)
	if err != nil {
		// Nothing is opened without a record. What only takes something back acts.
		t.closeUnrecorded(ctx)
		return fmt.Errorf("recording decision %s: %w", t.id, err)
	}
	var outcomes []ledger.Entry
	var ends []func(*store.Tx) error
	var failed []error
	for _, e := range t.plan.effects {
		key := e.key
		if tried[key].hold {
			continue
		}
		result, err := g.apply(ctx, t.at, e, tried[key].attempts > 1)
		var refused *github.Refused
		switch {
		case err == nil:
			t.tell(e, e.kind, result)
			outcomes = append(outcomes, t.outcome(t.of(&e), key, "applied", result))
			ends = append(ends, func(tx *store.Tx) error { return endEffect(tx, key, store.EffectApplied, result, g.cfg.Now()) })
		case errors.As(err, &refused), errors.Is(err, github.ErrForbidden), errors.Is(err, github.ErrNotFound):
			g.cfg.Log.WarnContext(ctx, "GitHub refused an effect", slog.String("effect", key), slog.String("decision", t.of(&e).id), slog.Any("cause", err))
			result := effectResult{Kind: e.kind, Why: err.Error(), Forbidden: errors.Is(err, github.ErrForbidden)}
			t.tell(e, effectRefused, result)
			if t.plan.again == 0 {
				t.plan.again = max(0, cmp.Or(t.plan.retry, retryRefused))
			}
			outcomes = append(outcomes, t.outcome(t.of(&e), key, "refused", result))
			ends = append(ends, func(tx *store.Tx) error { return endEffect(tx, key, store.EffectDropped, result, g.cfg.Now()) })
		default:
			failed = append(failed, fmt.Errorf("%s: %w", key, err))
			ends = append(ends, func(tx *store.Tx) error { return ignoreGone(tx.FailEffect(key, err)) })
		}
	}
	return t.end(ctx, outcomes, ends, failed)
}

func (t *task) tell(e effect, kind string, result effectResult) {
	if t.done != nil {
		t.done(e, kind, result)
	}
}

// endEffect ends an effect; one that another look ended already stays as it is.
func endEffect(tx *store.Tx, key string, state store.EffectState, result effectResult, now time.Time) error {
	body, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return ignoreGone(tx.EndEffect(key, state, body, now))
}

func ignoreGone(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// attempt says how far an effect was when this look began to apply it.
type attempt struct {
	attempts int
	// hold says that it was tried so lately that GitHub may not show it yet.
	hold bool
}

// record writes the decision, the effects and the conclusion in one transaction,
// and counts the attempts that follow.
func (t *task) record(ctx context.Context) (map[string]attempt, error) {
	g := t.g
	now := g.cfg.Now()
	planned, err := g.cfg.Store.PlannedEffects(ctx, t.work.Key)
	if err != nil {
		return nil, err
	}
	tried := map[string]attempt{}
	var entries []ledger.Entry
	for _, j := range append([]judged{t.judged}, t.more...) {
		if j.id != j.old {
			entries = append(entries, g.decisionEntry(j))
		}
	}
	fresh := map[string]bool{}
	for i := range t.plan.effects {
		e := &t.plan.effects[i]
		before, err := g.unused(ctx, e)
		switch {
		case errors.Is(err, store.ErrNotFound):
			fresh[e.key] = true
			tried[e.key] = attempt{attempts: 1}
			entries = append(entries, ledger.Entry{
				Kind: ledger.KindEffect, Time: now, Subject: t.of(e).keyed(e.key), Decision: t.of(e).id, Payload: e.payload(),
			})
		case err != nil:
			return nil, err
		case before.State == store.EffectApplied:
			// It was done, and GitHub does not show it: somebody undid it, or does not
			// show it yet. Neither is a reason to do it again.
			tried[e.key] = attempt{attempts: before.Attempts, hold: true}
		default:
			wait := before.PlannedAt.Add(time.Duration(before.Attempts) * g.cfg.Settle).Sub(now)
			tried[e.key] = attempt{attempts: before.Attempts + 1, hold: wait > 0}
			if wait > 0 && (t.plan.again == 0 || wait < t.plan.again) {
				t.plan.again = wait
			}
		}
	}
	entries = append(entries, t.entries...)
	unrecorded := g.takeUnrecorded()
	entries = slices.DeleteFunc(entries, func(e ledger.Entry) bool { return e.Kind == ledger.KindDecision && hasEntry(unrecorded, e) })
	entries = append(slices.Clone(unrecorded), entries...)
	var dropped []string
	for _, e := range planned {
		if _, wanted := tried[e.Key]; !wanted {
			dropped = append(dropped, e.Key)
			about := t.planned
			if about == nil {
				about = plannedAs(t.subject)
			}
			// It followed from another decision, and was bound to that one's commit.
			entries = append(entries, t.outcome(&judged{id: e.Decision, subject: about(e)}, e.Key, "not needed any more", effectResult{}))
		}
	}
	err = t.append(ctx, entries, func(tx *store.Tx) error {
		for i := range t.plan.effects {
			e := &t.plan.effects[i]
			if tried[e.key].hold {
				continue
			}
			if fresh[e.key] {
				if _, err := tx.PlanEffect(store.Effect{Key: e.key, Subject: t.work.Key, Kind: e.kind, SHA: e.sha, Decision: t.of(e).id, PlannedAt: now}); err != nil {
					return err
				}
			}
			if err := tx.TryEffect(e.key); err != nil {
				return err
			}
		}
		for _, key := range dropped {
			if err := endEffect(tx, key, store.EffectDropped, effectResult{Why: "not needed any more"}, now); err != nil {
				return err
			}
		}
		if err := t.save(tx); err != nil {
			return err
		}
		if t.also != nil {
			if err := t.also(tx); err != nil {
				return err
			}
		}
		if len(tried) > 0 {
			return nil
		}
		return t.finish(tx) // nothing is left to be done
	})
	if err != nil {
		g.giveUnrecorded(unrecorded) // the others follow from what was not written either
	}
	return tried, err
}

// unused gives an effect a key that no effect has which was dropped: what was not
// needed for a while, or was refused, may be done later after all. It returns the
// effect that has the key now, or store.ErrNotFound.
func (g *Gate) unused(ctx context.Context, e *effect) (store.Effect, error) {
	first := e.key
	for n := 2; ; n++ {
		before, err := g.cfg.Store.Effect(ctx, e.key)
		if err != nil || before.State != store.EffectDropped {
			return before, err
		}
		e.key = fmt.Sprintf("%s:%d", first, n)
	}
}

// retryRefused is after how long what GitHub refused is looked at again.
const retryRefused = 3 * time.Second

// append writes entries with whatever fn writes. No entries is no entry.
func (t *task) append(ctx context.Context, entries []ledger.Entry, fn func(*store.Tx) error) error {
	return t.g.write(ctx, entries, fn)
}

// write writes entries into the ledger in one transaction with what fn writes.
func (g *Gate) write(ctx context.Context, entries []ledger.Entry, fn func(*store.Tx) error) error {
	if len(entries) == 0 {
		return g.cfg.Store.Update(ctx, fn)
	}
	batch, err := g.cfg.Ledger.Prepare(entries...)
	if err != nil {
		return err
	}
	var seen ledger.Checkpoint
	err = g.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		var err error
		seen, err = g.cfg.Ledger.AppendBatch(tx, batch)
		return err
	})
	if err != nil {
		return err
	}
	return g.cfg.Ledger.Observe(seen)
}

// end records what became of the effects and ends the work, or fails it.
func (t *task) end(ctx context.Context, outcomes []ledger.Entry, ends []func(*store.Tx) error, failed []error) error {
	if len(t.plan.effects) == 0 {
		return nil // record ended it
	}
	err := t.append(ctx, outcomes, func(tx *store.Tx) error {
		for _, end := range ends {
			if err := end(tx); err != nil {
				return err
			}
		}
		if err := t.save(tx); err != nil {
			return err
		}
		if len(failed) > 0 {
			return nil // the work stays, and is tried again
		}
		return t.finish(tx)
	})
	return errors.Join(append(failed, err)...)
}

// finish ends the work: what follows is marked, and itself if it has to be looked at
// again.
func (t *task) finish(tx *store.Tx) error {
	if t.after != nil {
		if err := t.after(tx); err != nil {
			return err
		}
	}
	if t.plan.again > 0 {
		m := t.g.markAt(t.at, t.work.Key, t.work.Priority)
		m.Due = t.g.cfg.Now().Add(t.plan.again)
		if err := tx.Mark(m, t.g.cfg.Now()); err != nil {
			return err
		}
	}
	return tx.Done(t.work.Key, t.work.Lease)
}

// closeUnrecorded applies what only takes something back although it could not be
// recorded, and remembers to record it.
func (t *task) closeUnrecorded(ctx context.Context) {
	for _, e := range t.plan.effects {
		if !e.closes {
			continue
		}
		result, err := t.g.apply(ctx, t.at, e, true)
		if err != nil {
			t.g.cfg.Log.ErrorContext(ctx, "what should be taken back could not be", slog.String("effect", e.key), slog.String("decision", t.of(&e).id), slog.Any("cause", err))
			continue
		}
		t.g.cfg.Log.WarnContext(ctx, "taken back although the ledger cannot be written", slog.String("effect", e.key), slog.String("decision", t.of(&e).id))
		j := t.of(&e)
		after := []ledger.Entry{t.outcome(j, e.key, "applied before it was recorded", result)}
		if j.id != j.old {
			// By then it may be another one.
			after = append([]ledger.Entry{t.g.decisionEntry(*j)}, after...)
		}
		t.g.giveUnrecorded(after)
	}
}

// maxUnrecorded bounds what is remembered while the ledger cannot be written.
const maxUnrecorded = 1000

// takeUnrecorded takes over what is to be recorded with the next decision.
func (g *Gate) takeUnrecorded() []ledger.Entry {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := g.unrecorded
	g.unrecorded = nil
	return out
}

// hasEntry reports whether a list has what an entry says: the same decision, or the same
// about the same thing.
func hasEntry(list []ledger.Entry, e ledger.Entry) bool {
	return slices.ContainsFunc(list, func(o ledger.Entry) bool {
		return o.Kind == e.Kind && o.Decision == e.Decision && o.Subject == e.Subject
	})
}

// giveUnrecorded keeps what was done without a record, and why: each once, however often
// it is tried.
func (g *Gate) giveUnrecorded(entries []ledger.Entry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range entries {
		if len(g.unrecorded) < maxUnrecorded && !hasEntry(g.unrecorded, e) {
			g.unrecorded = append(g.unrecorded, e)
		}
	}
}

// decisionEntry is the decision as it is recorded: the whole of it under a
// commitment, since it names people, and in clear what may be read by all.
func (g *Gate) decisionEntry(j judged) ledger.Entry {
	codes := []string{}
	for _, r := range j.decision.Reasons {
		codes = append(codes, string(r.Code))
	}
	slices.Sort(codes)
	personal := map[string]any{"decision": j.decision}
	if len(j.approvals) > 0 {
		personal["approvals"] = j.approvals // by ids, each with the commit that it was given at
	}
	return ledger.Entry{
		Kind: ledger.KindDecision, Time: g.cfg.Now(), Subject: j.subject, Decision: j.id,
		Payload: decisionPayload{
			Codes: slices.Compact(codes), Environments: j.decision.Environments, Floor: j.policies.Floor.Policy.Digest(), Observe: j.decision.Observe,
			Policy: j.policies.Repository.Policy.Digest(), PullRequests: j.pulls, Verdict: j.decision.Verdict,
		},
		Personal: personal,
	}
}

// outcome is what became of an effect as it is recorded.
func (t *task) outcome(j *judged, key, outcome string, result effectResult) ledger.Entry {
	e := ledger.Entry{Kind: ledger.KindOutcome, Time: t.g.cfg.Now(), Subject: j.keyed(key), Decision: j.id, Payload: outcomePayload{Outcome: outcome}}
	if result != (effectResult{}) {
		e.Personal = map[string]any{"result": result}
	}
	return e
}

func (j *judged) keyed(key string) ledger.Subject {
	s := j.subject
	s.Key = key
	return s
}
