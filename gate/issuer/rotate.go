package issuer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/rules"
)

const (
	// PublishFor is how long a key is published before it signs: relying parties keep
	// what they read for as long as a day.
	PublishFor = 24 * time.Hour
	// KeepFor is how long a key stays published after it signed last: until its last
	// token has expired, and a day.
	KeepFor = MaxDirectLife + 24*time.Hour
)

// Step is what a rotation did.
type Step struct {
	// Published says that the next key was made and is published from now on.
	Published bool
	// Promoted says that the next key is now the current one.
	Promoted bool
	// Due is when the next key may sign. Zero if there is none.
	Due time.Time
}

// KeyStatus is a published key, for people and machines. It holds nothing secret.
type KeyStatus struct {
	Tier      rules.Tier `json:"tier"`
	Issuer    string     `json:"issuer"`
	ID        string     `json:"kid"` // the thumbprint of RFC 7638
	Algorithm string     `json:"alg"`
	State     State      `json:"state"`
	Source    Source     `json:"source"`
	// Since is when it was published or, for the current key, when it began to sign.
	// Zero if it is not known: keys in files and signers.
	Since time.Time `json:"since,omitzero"`
	// Until is when an old key leaves. Zero if nobody has said.
	Until time.Time `json:"until,omitzero"`
	// Due is when a next key may sign. Zero for others, and for those in files.
	Due time.Time `json:"due,omitzero"`
}

// Status lists the published keys: the human tier's first, and of a tier the current
// one first.
func (i *Issuer) Status() []KeyStatus {
	now := i.cfg.Now()
	var out []KeyStatus
	for _, tier := range tiers() {
		r, err := i.ring(tier)
		if err != nil {
			continue // it has none
		}
		r.each(now, func(s State, m member) {
			k := KeyStatus{Tier: tier, Issuer: i.URL(tier), ID: m.public.KeyID, Algorithm: m.public.Algorithm, State: s, Source: r.source, Since: m.since, Until: m.until}
			if s == Next && !m.since.IsZero() {
				k.Due = m.since.Add(PublishFor)
			}
			out = append(out, k)
		})
	}
	return out
}

// Rotate does the step that a tier's rotation has come to: it makes the next key, or
// lets a next key sign that was published for [PublishFor], or does nothing because
// it was not. [Issuer.Tend] does the second by itself. The step is durable when
// Rotate returns, and killing the server in between loses at most the step.
//
// The time counts from when the next key was stored: a server that was down since
// then has not shown it.
func (i *Issuer) Rotate(ctx context.Context, tier rules.Tier) (Step, error) {
	i.changing.Lock()
	defer i.changing.Unlock()
	return i.change(ctx, tier, func(r ring, now time.Time) (*ring, Step, error) {
		if r.next != nil {
			return promote(r, now)
		}
		k, err := makeKey(i.cfg.Algorithm)
		r.next = &member{key: k, since: now}
		return &r, Step{Published: true, Due: now.Add(PublishFor)}, err
	})
}

// Replace makes a tier a new key that signs at once and publishes no other, for when
// a key was stolen. Relying parties refuse the new tokens until they read the keys
// again, and those that keep what they read accept the stolen key until then.
func (i *Issuer) Replace(ctx context.Context, tier rules.Tier) error {
	i.changing.Lock()
	defer i.changing.Unlock()
	_, err := i.change(ctx, tier, func(r ring, now time.Time) (*ring, Step, error) {
		k, err := makeKey(i.cfg.Algorithm)
		return &ring{tier: r.tier, source: r.source, generation: r.generation, current: member{key: k, since: now}}, Step{}, err
	})
	return err
}

// Tend is called now and then: it takes up what another server or the command line
// did, lets a next key sign when it may, and erases what is not needed any more. An
// error is temporary, or says what to do; the keys stay as they were.
func (i *Issuer) Tend(ctx context.Context) error {
	i.changing.Lock()
	defer i.changing.Unlock()
	var errs []error
	for _, tier := range tiers() {
		if r, err := i.ring(tier); err != nil || r.source != FromStore {
			continue
		}
		_, err := i.change(ctx, tier, func(r ring, now time.Time) (*ring, Step, error) {
			if r.next == nil {
				return nil, Step{}, nil
			}
			return promote(r, now)
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// promote lets the next key of a ring sign, if it may. A nil ring is no change.
func promote(r ring, now time.Time) (*ring, Step, error) {
	if due := r.next.since.Add(PublishFor); now.Before(due) {
		return nil, Step{Due: due}, nil
	}
	kept := []member{{key: key{public: r.current.public}, since: r.current.since, until: now.Add(KeepFor)}}
	r.each(now, func(s State, m member) {
		if s == Old {
			kept = append(kept, m)
		}
	})
	r.old = kept
	r.current, r.next = member{key: r.next.key, since: now}, nil
	return &r, Step{Promoted: true}, nil
}

// begin reads a tier's keys from the store, and makes the first if there are none.
func (i *Issuer) begin(ctx context.Context, tier rules.Tier) error {
	_, err := i.change(ctx, tier, func(ring, time.Time) (*ring, Step, error) { return nil, Step{}, nil })
	return err
}

// tries is how often a change that another server overtook is tried.
const tries = 3

// change reads a tier's keys as they are stored, changes them, and uses them once
// they are durable. What another server did in between counts, and the step is
// looked at again. f returns nil for no change.
func (i *Issuer) change(ctx context.Context, tier rules.Tier, f func(ring, time.Time) (*ring, Step, error)) (Step, error) {
	known := 0
	if r, err := i.ring(tier); err == nil {
		if r.source != FromStore {
			return Step{}, fmt.Errorf("the keys of tier %s are not made here (%s): put the next one beside the current as %s.next.pem, and a day later rename both, to %s.pem and %s.old.pem, and start again", tier, r.source, tier, tier, tier)
		}
		known = r.generation
	} else if !errors.Is(err, ErrNoKey) || tier != rules.TierAuto && i.cfg.Seal == nil {
		return Step{}, err
	}
	for range tries {
		now := i.cfg.Now()
		made, step, err := i.attempt(ctx, tier, known, now, f)
		if err != nil {
			return Step{}, err
		}
		if made == nil { // nothing to store
			return step, nil
		}
		won, err := i.store.put(ctx, made, now)
		if err != nil {
			return Step{}, err
		}
		if !won {
			continue
		}
		i.use(made)
		if made.generation > 1 {
			return step, i.store.erase(ctx, tier, made.generation-1, now)
		}
		return step, nil
	}
	return Step{}, fmt.Errorf("the keys of tier %s are being changed by others: try again", tier)
}

// attempt reads a tier's keys, uses them, and changes them. It returns what is to be
// stored, or nil.
func (i *Issuer) attempt(ctx context.Context, tier rules.Tier, known int, now time.Time, f func(ring, time.Time) (*ring, Step, error)) (*ring, Step, error) {
	fresh := func(generation int) (*ring, Step, error) {
		k, err := makeKey(i.cfg.Algorithm)
		return &ring{tier: tier, source: FromStore, generation: generation, current: member{key: k, since: now}}, Step{}, err
	}
	r, err := i.store.last(ctx, tier, known, now)
	switch {
	case errors.Is(err, errNone):
		return fresh(1)
	case errors.Is(err, errInClear) && tier == rules.TierAuto:
		// From before there was a seal. Copies of it are in clear too, so it is not
		// sealed after the fact but replaced.
		return fresh(r.generation + 1)
	case errors.Is(err, errInClear):
		return nil, Step{}, fmt.Errorf("the keys of tier %s lie in clear (setting %q), where this program never puts them: find out who did, and delete the setting", tier, settingName(tier, r.generation))
	case err != nil:
		return nil, Step{}, err
	}
	i.use(r)
	made, step, err := f(*r, now)
	if err != nil || made == nil {
		return nil, step, err
	}
	made.generation = r.generation + 1
	return made, step, nil
}
