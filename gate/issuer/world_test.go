package issuer_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/rules"
)

var (
	t0        = time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)
	errNoRow  = errors.New("no such row")
	errDisk   = errors.New("the disk is full")
	allTiers  = []rules.Tier{rules.TierHuman, rules.TierAuto}
	anRSAKey  = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	published = []string{"/.well-known/openid-configuration", "/.well-known/jwks.json", "/auto/.well-known/openid-configuration", "/auto/.well-known/jwks.json"}
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func anECKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func pkcs8(key any) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))})
}

// memory is a store that can fail: write number failAt, before or after it is done.
type memory struct {
	mu     sync.Mutex
	rows   map[string][]byte
	writes int
	failAt int
	done   bool   // it fails after the write was done
	rival  func() // what another server does just before the next MakeSetting
}

func newMemory() *memory { return &memory{rows: map[string][]byte{}} }

func (m *memory) Setting(ctx context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.rows[name]
	if !ok {
		return nil, errNoRow
	}
	return bytes.Clone(v), ctx.Err()
}

func (m *memory) write(f func()) error {
	m.writes++
	if m.writes == m.failAt && !m.done {
		return errDisk
	}
	f()
	if m.writes == m.failAt {
		return errDisk
	}
	return nil
}

func (m *memory) MakeSetting(_ context.Context, name string, value []byte, _ time.Time) ([]byte, error) {
	if rival := m.rival; rival != nil {
		m.rival = nil
		rival()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.write(func() {
		if _, ok := m.rows[name]; !ok {
			m.rows[name] = bytes.Clone(value)
		}
	})
	return bytes.Clone(m.rows[name]), err
}

func (m *memory) SetSetting(_ context.Context, name string, value []byte, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.write(func() { m.rows[name] = bytes.Clone(value) })
}

func (m *memory) copy() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{rows: maps.Clone(m.rows)}
}

// seal is AES-GCM.
type seal struct{ aead cipher.AEAD }

func newSeal(secret string) seal {
	key := sha256.Sum256([]byte(secret))
	return seal{must(cipher.NewGCMWithRandomNonce(must(aes.NewCipher(key[:]))))}
}

func (s seal) Seal(v []byte) ([]byte, error) { return s.aead.Seal(nil, nil, v, nil), nil }
func (s seal) Open(v []byte) ([]byte, error) { return s.aead.Open(nil, nil, v, nil) }

// clock is a clock that stands.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// world is an issuer that can be reached.
type world struct {
	*testing.T
	*issuer.Issuer
	cfg   issuer.Config
	clock *clock
	rows  *memory
	url   string
}

// newWorld starts an issuer with keys of its own, ES256 because that is quick to
// make. Change may change its settings.
func newWorld(t *testing.T, change func(*issuer.Config)) *world {
	t.Helper()
	w := &world{T: t, clock: &clock{at: t0}, rows: newMemory()}
	handler := http.NotFoundHandler()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.ServeHTTP(rw, r) }))
	t.Cleanup(server.Close)
	w.url = server.URL
	w.cfg = issuer.Config{URL: w.url, Store: w.rows, NoSetting: errNoRow, Seal: newSeal("right"), Algorithm: issuer.ES256, Now: w.clock.now}
	if change != nil {
		change(&w.cfg)
	}
	i, err := issuer.New(t.Context(), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Issuer, handler = i, i.Handler()
	return w
}

// claims are sound ones.
func claims(tier rules.Tier) issuer.Claims {
	return issuer.Claims{
		Tier: tier, Audience: "sts.amazonaws.com", LeaseID: "lease_1", Credential: "deploy-db",
		RepositoryID: 42, RepositoryOwnerID: 7, Environment: "production", SHA: rules.SHA(strings.Repeat("a1", 20)), Ref: "refs/heads/main",
		RunID: 1001, RunAttempt: 2, CheckRunID: 5005, ApprovalID: "ap-9", ApproverIDs: []rules.AccountID{30, 4, 30}, ApprovedAt: t0.Add(-time.Hour),
		PolicyDigest: strings.Repeat("0f", 32),
	}
}

func (w *world) mint(c issuer.Claims) string {
	w.Helper()
	token, err := w.Mint(w.Context(), c)
	if err != nil {
		w.Fatal(err)
	}
	return token
}

// party is a relying party that trusts a tier's issuer.
func (w *world) party(tier rules.Tier) *oidc.IDTokenVerifier {
	w.Helper()
	p, err := oidc.NewProvider(w.Context(), w.URL(tier))
	if err != nil {
		w.Fatal(err)
	}
	return p.Verifier(&oidc.Config{ClientID: "sts.amazonaws.com", Now: w.clock.now})
}

func (w *world) get(path string) (*httptest.ResponseRecorder, string) {
	w.Helper()
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(w.Context(), http.MethodGet, path, http.NoBody))
	return rec, rec.Body.String()
}

// keys are what a tier publishes now.
func (w *world) keys(tier rules.Tier) jose.JSONWebKeySet {
	w.Helper()
	path := "/.well-known/jwks.json"
	if tier == rules.TierAuto {
		path = "/auto" + path
	}
	var set jose.JSONWebKeySet
	if _, body := w.get(path); json.Unmarshal([]byte(body), &set) != nil {
		w.Fatalf("no keys: %s", body)
	}
	return set
}

// current is the name of the key that signs.
func current(i *issuer.Issuer, tier rules.Tier) string { return inState(i, tier, issuer.Current) }

func inState(i *issuer.Issuer, tier rules.Tier, s issuer.State) string {
	for _, k := range i.Status() {
		if k.Tier == tier && k.State == s {
			return k.ID
		}
	}
	return ""
}

// folder makes a folder of files.
func folder(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		os.WriteFile(filepath.Join(dir, name), data, 0o600)
	}
	return dir
}

// part is a part of a token, decoded.
func part(t *testing.T, token string, n int) map[string]any {
	t.Helper()
	raw := must(jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256}))
	if n == 0 {
		return map[string]any{"alg": raw.Signatures[0].Header.Algorithm, "kid": raw.Signatures[0].Header.KeyID, "typ": raw.Signatures[0].Header.ExtraHeaders["typ"]}
	}
	var out map[string]any
	if err := json.Unmarshal(raw.UnsafePayloadWithoutVerification(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// forge signs a payload with any key, as somebody would who has that key.
func forge(t *testing.T, algorithm jose.SignatureAlgorithm, key any, kid string, payload map[string]any) string {
	t.Helper()
	s := must(jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil))
	return must(must(s.Sign(must(json.Marshal(payload)))).CompactSerialize())
}

// remote is a signer that is somewhere else.
type remote struct {
	shows crypto.PublicKey
	signs crypto.Signer
	err   error
}

func (r remote) Public() crypto.PublicKey { return r.shows }
func (r remote) Sign(ctx context.Context, digest []byte) ([]byte, error) {
	if err := errors.Join(r.err, ctx.Err()); err != nil {
		return nil, err
	}
	return r.signs.Sign(rand.Reader, digest, crypto.SHA256)
}

func writeKey(path string, key crypto.Signer) { os.WriteFile(path, pkcs8(key), 0o600) }
