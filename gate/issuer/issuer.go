package issuer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/rules"
)

// maxURL leaves room for /auto in the 255 bytes that AWS takes of an issuer.
const maxURL = 250

// Config is what an issuer works with.
type Config struct {
	// URL is SALLYPORT_URL: where relying parties find the documents. Plain http is
	// for loopback only. AWS takes none with a port.
	URL string
	// KeyFile is SALLYPORT_SIGNING_KEY_FILE: a PKCS #8 PEM file with the key of tier
	// human, RSA of 2048 bits or more or EC on P-256; or a folder with human.pem and
	// auto.pem and, while keys are rotated, TIER.next.pem and TIER.old.pem. Empty is
	// none. It is read once.
	KeyFile string
	// Signers are keys that are somewhere else, by tier. A tier has either one of
	// these or a key in KeyFile.
	Signers map[rules.Tier]Signer
	// Store keeps the keys of the tiers that have none of these.
	Store Store
	// NoSetting is the error by which Store says that there is no such setting.
	NoSetting error
	// Seal closes the keys in Store. Nil leaves those of tier auto in clear, and
	// tier human without any. A nil pointer in it is not nil.
	Seal Seal
	// Algorithm is that of keys made from now on: [RS256], which empty is too, or
	// [ES256].
	Algorithm string
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
}

// Issuer mints tokens and publishes the keys that verify them. It is safe for
// concurrent use.
type Issuer struct {
	cfg   Config
	store keyStore

	// changing is held by whoever changes keys, for as long as the store takes.
	changing sync.Mutex
	// mu guards rings. It is held for a look, never for a signature or the store.
	mu    sync.RWMutex
	rings map[rules.Tier]*ring // a tier without keys has none
}

// New makes an issuer: it reads the keys, and makes those that are to be made here.
// Making RSA keys takes up to a second.
func New(ctx context.Context, cfg Config) (*Issuer, error) {
	if err := checkURL(cfg.URL); err != nil {
		return nil, err
	}
	switch cfg.Algorithm {
	case "":
		cfg.Algorithm = RS256
	case RS256, ES256:
	default:
		return nil, fmt.Errorf("issuer: algorithm %q: want %s or %s", cfg.Algorithm, RS256, ES256)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	i := &Issuer{cfg: cfg, store: keyStore{cfg.Store, cfg.NoSetting, cfg.Seal}, rings: map[rules.Tier]*ring{}}
	if cfg.KeyFile != "" {
		rings, err := readKeys(cfg.KeyFile)
		if err != nil {
			return nil, err
		}
		i.rings = rings
	}
	if err := i.lend(); err != nil {
		return nil, err
	}
	if err := distinct(i.rings); err != nil {
		return nil, err
	}
	for _, tier := range tiers() {
		if i.rings[tier] != nil || tier != rules.TierAuto && cfg.Seal == nil {
			continue
		}
		if cfg.Store == nil || cfg.NoSetting == nil {
			return nil, fmt.Errorf("issuer: no key for tier %s, and no store to keep one in", tier)
		}
		if err := i.begin(ctx, tier); err != nil {
			return nil, err
		}
	}
	return i, distinct(i.rings)
}

// lend takes up the keys that are somewhere else.
func (i *Issuer) lend() error {
	for tier, s := range i.cfg.Signers {
		if !slices.Contains(tiers(), tier) {
			return fmt.Errorf("issuer: a signer for tier %q, which does not exist", tier)
		}
		if i.rings[tier] != nil {
			return fmt.Errorf("issuer: tier %s has a key in SALLYPORT_SIGNING_KEY_FILE and a signer: leave one out", tier)
		}
		if s == nil {
			return fmt.Errorf("issuer: the signer of tier %s is nil", tier)
		}
		k, err := newKey(s)
		if err != nil {
			return fmt.Errorf("issuer: the signer of tier %s has %w", tier, err)
		}
		k.outside = true
		i.rings[tier] = &ring{tier: tier, source: FromSigner, current: member{key: k}}
	}
	return nil
}

// checkURL wants an address that relying parties can be set up with: a token's iss
// is compared byte by byte.
func checkURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "" || u.User != nil || strings.ContainsAny(address, "?#") || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("issuer: %q is no issuer: want an address such as https://sallyport.example.com", address)
	case strings.HasSuffix(address, "/"):
		return fmt.Errorf("issuer: %q ends with a slash, which relying parties compare too; leave it out", address)
	case len(address) > maxURL:
		return fmt.Errorf("issuer: the address has %d bytes: relying parties take %d", len(address), maxURL)
	case checkText(address, maxURL) != nil || strings.ToLower(u.Host) != u.Host || u.EscapedPath() != u.Path:
		return fmt.Errorf("issuer: %q can be written in other ways: want its host in lower case and nothing escaped", address)
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("issuer: anybody on the way could replace the keys of %q: want https", address)
	}
	return nil
}

// URL is the iss of a tier's tokens. Anything but tier auto has the human tier's.
func (i *Issuer) URL(tier rules.Tier) string {
	if tier == rules.TierAuto {
		return i.cfg.URL + autoPath
	}
	return i.cfg.URL
}

// NeedsSeal is an error that says what to do if keys would lie in clear on a server
// that opens targets of tier human: it must not start. Nil targets are none.
func (i *Issuer) NeedsSeal(targets *rules.Targets) error {
	if targets == nil || i.cfg.Seal != nil {
		return nil
	}
	i.mu.RLock()
	defer i.mu.RUnlock()
	for _, tier := range tiers() {
		if r := i.rings[tier]; r != nil && r.source != FromStore {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(targets.Targets)) {
			if t := targets.Targets[name]; t == nil || t.Tier != rules.TierAuto {
				return fmt.Errorf("the target %q has tier human, and the keys of tier %s would lie unsealed in the database: set SALLYPORT_SEAL_KEY_FILE to a file with 32 bytes in hex (openssl rand -hex 32), or SALLYPORT_SIGNING_KEY_FILE to a folder with human.pem and auto.pem", name, tier)
			}
		}
	}
	return nil
}

// Mint makes a token. An error means that there is none: a claim that is missing or
// cannot be, or a signer that does not answer.
func (i *Issuer) Mint(ctx context.Context, c Claims) (string, error) {
	if err := context.Cause(ctx); err != nil {
		return "", fmt.Errorf("minting a token: %w", err)
	}
	r, err := i.ring(c.Tier)
	if err != nil {
		return "", fmt.Errorf("minting a token: %w", err)
	}
	p, err := c.payload(i.URL(r.tier), i.cfg.Now())
	if err != nil {
		return "", fmt.Errorf("minting a token: %w", err)
	}
	body, err := json.Marshal(p, json.Deterministic(true))
	if err != nil {
		return "", fmt.Errorf("minting a token: %w", err)
	}
	token, err := r.current.sign(ctx, body)
	if err != nil {
		return "", fmt.Errorf("minting a token: %w", err)
	}
	return token, nil
}

// ErrNoKey means that a tier has no key: the server has neither a file for tier
// human nor a seal.
var ErrNoKey = errors.New("no key for this tier: set SALLYPORT_SEAL_KEY_FILE or SALLYPORT_SIGNING_KEY_FILE")

// ring is the keys of a tier at this moment.
func (i *Issuer) ring(tier rules.Tier) (*ring, error) {
	if !slices.Contains(tiers(), tier) {
		return nil, fmt.Errorf("tier %.40q: want %s or %s", string(tier), rules.TierHuman, rules.TierAuto)
	}
	i.mu.RLock()
	defer i.mu.RUnlock()
	if r := i.rings[tier]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("tier %s: %w", tier, ErrNoKey)
}

// use replaces the keys of a tier.
func (i *Issuer) use(r *ring) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rings[r.tier] = r
}
