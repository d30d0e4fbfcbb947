package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/rules"
)

// Store keeps the keys that are made here. Its implementer is durable on return and
// safe for concurrent use by several servers.
type Store interface {
	// Setting returns what is stored under a name, and an error that is
	// [Config.NoSetting] if there is nothing.
	Setting(ctx context.Context, name string) ([]byte, error)
	// MakeSetting stores what is made once, and returns the one that holds: value,
	// or what was there before.
	MakeSetting(ctx context.Context, name string, value []byte, now time.Time) ([]byte, error)
	// SetSetting stores in place of what was there. It erases private keys that are
	// not needed any more.
	SetSetting(ctx context.Context, name string, value []byte, now time.Time) error
}

// Seal closes what lies in the store, and opens only what was closed with it and not
// changed since. It is safe for concurrent use.
type Seal interface {
	Seal(value []byte) ([]byte, error)
	Open(closed []byte) ([]byte, error)
}

// The first byte of a row says how it lies there. It is stored: kinds may be added
// to and never changed.
const (
	inClear = 'o' // a record
	sealed  = 's' // a record, sealed
	erased  = 'x' // a later row holds
)

// maxGenerations is more than a server that rotates every day makes in 25 years.
const maxGenerations = 10_000

// record is a tier's keys in the store. Each change makes a new row, named by its
// generation, so that of two servers that change at once one wins; the row before is
// then erased. Fields may be added and never changed.
type record struct {
	Version    int         `json:"v"`
	Tier       rules.Tier  `json:"tier"`
	Generation int         `json:"generation"`
	Current    storedKey   `json:"current"`
	Next       *storedKey  `json:"next,omitzero"`
	Old        []storedOld `json:"old,omitempty"`
}

type storedKey struct {
	PKCS8 []byte    `json:"pkcs8"`
	Since time.Time `json:"since"`
}

// storedOld has no private key: it signs no more.
type storedOld struct {
	PKIX  []byte    `json:"pkix"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// keyStore reads and writes rings.
type keyStore struct {
	store     Store
	noSetting error
	seal      Seal
}

func settingName(tier rules.Tier, generation int) string {
	return fmt.Sprintf("issuer keys %s %d", tier, generation)
}

var (
	// errNone means that no keys of the tier were ever made.
	errNone = errors.New("no keys were made yet")
	// errInClear means that the keys lie in clear though there is a seal.
	errInClear = errors.New("the keys lie in clear")
)

// last reads the newest ring of a tier, from the generation that is known to exist,
// or 0. The ring comes with errInClear too, for its generation.
func (s *keyStore) last(ctx context.Context, tier rules.Tier, known int, now time.Time) (*ring, error) {
	var row []byte
	var left []int // not erased, though a later row holds
	found := 0
	for g := max(known, 1); g <= maxGenerations; g++ {
		value, err := s.store.Setting(ctx, settingName(tier, g))
		if errors.Is(err, s.noSetting) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading the keys of tier %s: %w", tier, err)
		}
		if found > 0 && !isErased(row) {
			left = append(left, found)
		}
		row, found = value, g
	}
	switch {
	case found == 0 && known == 0:
		return nil, errNone
	case found == 0:
		return nil, fmt.Errorf("the keys of tier %s are gone from the store: the setting %q was there; restore the database", tier, settingName(tier, known))
	}
	r, err := s.open(tier, found, row)
	if err != nil {
		return r, err
	}
	// A server that was killed between two writes left the row before.
	for _, g := range left {
		if err := s.erase(ctx, tier, g, now); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func isErased(row []byte) bool { return len(row) == 1 && row[0] == erased }

func (s *keyStore) erase(ctx context.Context, tier rules.Tier, generation int, now time.Time) error {
	if err := s.store.SetSetting(ctx, settingName(tier, generation), []byte{erased}, now); err != nil {
		return fmt.Errorf("erasing former keys of tier %s: %w", tier, err)
	}
	return nil
}

// open reads a row.
func (s *keyStore) open(tier rules.Tier, generation int, row []byte) (*ring, error) {
	name := settingName(tier, generation)
	switch {
	case isErased(row):
		return nil, fmt.Errorf("the newest keys of tier %s were erased from the store (setting %q); restore the database", tier, name)
	case len(row) == 0 || row[0] != inClear && row[0] != sealed:
		return nil, fmt.Errorf("the setting %q is of a form that this program does not know", name)
	case row[0] == sealed && s.seal == nil:
		return nil, fmt.Errorf("the setting %q is sealed: set SALLYPORT_SEAL_KEY_FILE to the key that sealed it", name)
	case row[0] == inClear && s.seal != nil:
		return &ring{tier: tier, source: FromStore, generation: generation}, errInClear
	}
	value := row[1:]
	if row[0] == sealed {
		var err error
		if value, err = s.seal.Open(value); err != nil {
			return nil, fmt.Errorf("the setting %q is not sealed with this SALLYPORT_SEAL_KEY_FILE", name)
		}
	}
	var r record
	if json.Unmarshal(value, &r) != nil || r.Version != 1 {
		return nil, fmt.Errorf("the setting %q is of a form that this program does not know", name)
	}
	if r.Tier != tier || r.Generation != generation {
		return nil, fmt.Errorf("the setting %q holds other keys than its name says: somebody moved them in the database; restore it", name)
	}
	out, err := r.ring()
	if err != nil {
		return nil, fmt.Errorf("the setting %q %w", name, err)
	}
	return out, nil
}

// ring is what a record holds.
func (r *record) ring() (*ring, error) {
	out := &ring{tier: r.Tier, source: FromStore, generation: r.Generation}
	private := func(s storedKey) (member, error) {
		k, err := parsePKCS8(s.PKCS8)
		k.pkcs8 = s.PKCS8
		return member{key: k, since: s.Since}, err
	}
	var err error
	if out.current, err = private(r.Current); err != nil {
		return nil, err
	}
	if r.Next != nil {
		next, err := private(*r.Next)
		if err != nil {
			return nil, err
		}
		out.next = &next
	}
	for _, o := range r.Old {
		public, err := x509.ParsePKIXPublicKey(o.PKIX)
		if err != nil {
			return nil, errors.New("holds an old key that cannot be read")
		}
		k, err := publicKey(public)
		if err != nil {
			return nil, fmt.Errorf("holds %w", err)
		}
		if o.Until.IsZero() {
			return nil, errors.New("holds an old key that never leaves")
		}
		out.old = append(out.old, member{key: key{public: k}, since: o.Since, until: o.Until})
	}
	return out, nil
}

// record is what is stored of a ring.
func (r *ring) record() (record, error) {
	out := record{Version: 1, Tier: r.tier, Generation: r.generation, Current: storedKey{r.current.pkcs8, r.current.since}}
	if r.next != nil {
		out.Next = &storedKey{r.next.pkcs8, r.next.since}
	}
	for _, m := range r.old {
		der, err := x509.MarshalPKIXPublicKey(m.public.Key)
		if err != nil {
			return out, fmt.Errorf("storing an old key: %w", err)
		}
		out.Old = append(out.Old, storedOld{der, m.since, m.until})
	}
	return out, nil
}

// put stores a ring as the generation after the newest. It reports false if another
// server was faster.
func (s *keyStore) put(ctx context.Context, r *ring, now time.Time) (bool, error) {
	if r.generation > maxGenerations {
		return false, fmt.Errorf("tier %s has had %d generations of keys, which is all there are", r.tier, maxGenerations)
	}
	rec, err := r.record()
	if err != nil {
		return false, err
	}
	value, err := json.Marshal(rec)
	if err != nil {
		return false, fmt.Errorf("storing the keys of tier %s: %w", r.tier, err)
	}
	row := append([]byte{inClear}, value...)
	if s.seal != nil {
		closed, err := s.seal.Seal(value)
		if err != nil {
			return false, fmt.Errorf("sealing the keys of tier %s: %w", r.tier, err)
		}
		row = append([]byte{sealed}, closed...)
	}
	held, err := s.store.MakeSetting(ctx, settingName(r.tier, r.generation), row, now)
	if err != nil {
		return false, fmt.Errorf("storing the keys of tier %s: %w", r.tier, err)
	}
	return bytes.Equal(held, row), nil
}
