package issuer

import (
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// State is what a key is used for. Its values are shown to machines: they may be
// added to and never changed.
type State string

// The states of a key.
const (
	Next    State = "next"    // published, signs nothing yet
	Current State = "current" // signs
	Old     State = "old"     // published, signs no more
)

// Source is where the keys of a tier come from. Its values are shown to machines:
// they may be added to and never changed.
type Source string

// The sources of keys.
const (
	FromFile   Source = "file"   // Config.KeyFile
	FromStore  Source = "store"  // made here
	FromSigner Source = "signer" // Config.Signers
)

// tiers are all there are, the strictest first.
func tiers() []rules.Tier { return []rules.Tier{rules.TierHuman, rules.TierAuto} }

// member is a key of a ring. Since is when it was published or, for the current
// one, when it began to sign; until is when an old one leaves. Both are zero for
// keys that are not made here.
type member struct {
	key
	since, until time.Time
}

// ring is the keys of a tier. It is replaced, never changed.
type ring struct {
	tier       rules.Tier
	source     Source
	generation int // of the store's rows
	current    member
	next       *member
	old        []member
}

// each calls f for every key that is published at a moment: the current one first.
func (r *ring) each(now time.Time, f func(State, member)) {
	f(Current, r.current)
	if r.next != nil {
		f(Next, *r.next)
	}
	for _, m := range r.old {
		if m.until.IsZero() || now.Before(m.until) {
			f(Old, m)
		}
	}
}

// algorithms are those of the published keys, sorted.
func (r *ring) algorithms(now time.Time) []string {
	var out []string
	r.each(now, func(_ State, m member) { out = append(out, m.public.Algorithm) })
	slices.Sort(out)
	return slices.Compact(out)
}

// distinct refuses a key that is in two places: in two tiers it would sign for both,
// and twice in one tier it is a copy that should have been a move.
func distinct(rings map[rules.Tier]*ring) error {
	where := map[string]string{}
	var err error
	for _, tier := range tiers() {
		r := rings[tier]
		if r == nil {
			continue
		}
		r.each(time.Time{}, func(s State, m member) {
			here := fmt.Sprintf("the %s key of tier %s", s, tier)
			if there, twice := where[m.public.KeyID]; twice && err == nil {
				err = fmt.Errorf("%s is also %s: each needs a key of its own", there, here)
			}
			where[m.public.KeyID] = here
		})
	}
	return err
}
