package parties_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/rules"
)

// The one deployment that was approved, and its credential.
const (
	repository  = rules.RepositoryID(123456)
	environment = "production"
	credential  = "orders-deployer"
	audience    = "https://orders.acme.internal"
	subject     = "sallyport:repo:123456:env:production:cred:orders-deployer"
	approver    = rules.AccountID(1001)
	attempt     = 2
	approvedSHA = rules.SHA("a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4")
	otherSHA    = rules.SHA("ffffffffffffffffffffffffffffffffffffffff")
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Making RSA keys takes long, so there are two.
var (
	anRSAKey      = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	anotherRSAKey = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
)

func anECKey() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

// world is an issuer that relying parties reach behind a private CA.
type world struct {
	*testing.T
	*issuer.Issuer
	url       string
	algorithm jose.SignatureAlgorithm
	human     crypto.Signer
	auto      crypto.Signer
	ca        string // PEM
	// client reaches the issuer by its name, wherever that is.
	client *http.Client
	// ahead is how far the issuer's clock is ahead of everybody's, in nanoseconds.
	ahead atomic.Int64
	// asked counts what the issuer's documents were asked for.
	asked atomic.Int64
}

// now is the issuer's clock.
func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// newWorld starts an issuer. Name is the host's in its address, which has no port
// then; empty is where the server listens. Exported serves the documents as the files
// that Export writes.
func newWorld(t *testing.T, algorithm, name string, exported bool) *world {
	t.Helper()
	w := &world{T: t, algorithm: jose.SignatureAlgorithm(algorithm), human: anECKey(), auto: anECKey()}
	if algorithm == issuer.RS256 {
		w.human, w.auto = anRSAKey(), anotherRSAKey()
	}
	var handler http.Handler
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		handler.ServeHTTP(rw, r)
	}))
	address := server.Listener.Addr().String()
	w.url = "https://" + address
	if name != "" {
		w.url = "https://" + name
	}
	ca, leaf := certificates(name)
	w.ca = ca
	server.TLS = &tls.Config{Certificates: []tls.Certificate{leaf}, MinVersion: tls.VersionTLS12}

	keys := t.TempDir()
	for file, key := range map[string]crypto.Signer{"human.pem": w.human, "auto.pem": w.auto} {
		data := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))})
		if err := os.WriteFile(filepath.Join(keys, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	i, err := issuer.New(t.Context(), issuer.Config{URL: w.url, KeyFile: keys, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	w.Issuer, handler = i, i.Handler()
	if exported {
		folder := t.TempDir()
		if err := i.Export(folder); err != nil {
			t.Fatal(err)
		}
		handler = http.FileServer(http.Dir(folder))
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca))
	w.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}}
	server.StartTLS()
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		server.Close()
	})
	return w
}

// certificates makes a private CA and a certificate of it for this machine and name.
func certificates(name string) (string, tls.Certificate) {
	template := func(serial int64) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "acme"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	}
	root, rootKey := template(1), anECKey()
	root.IsCA, root.BasicConstraintsValid, root.KeyUsage = true, true, x509.KeyUsageCertSign
	rootDER := must(x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey))
	leaf, leafKey := template(2), anECKey()
	leaf.IPAddresses, leaf.KeyUsage, leaf.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if name != "" {
		leaf.DNSNames = []string{name}
	}
	leafDER := must(x509.CreateCertificate(rand.Reader, leaf, must(x509.ParseCertificate(rootDER)), leafKey.Public(), rootKey))
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER})), tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: leafKey}
}

// lease is that of the approved deployment.
func (w *world) lease() broker.Lease {
	now := w.now()
	return broker.Lease{
		ID: strings.Repeat("0f", 16), Repository: repository, FullName: "acme/orders", Environment: environment, Credential: credential, Capability: rules.CapabilityWrite,
		Run: 7001, Attempt: attempt, Job: 9001, SHA: approvedSHA, Owner: 77, Ref: "refs/heads/main",
		ApprovalID: "dec_0f0f", Approvers: []rules.Actor{{ID: approver, Login: "alice"}}, ApprovedAt: now.Add(-time.Minute), PolicyDigest: strings.Repeat("0a", 32),
		Made: now, Deadline: now.Add(10 * time.Minute),
	}
}

// sign mints as the server does for a target of a tier.
func (w *world) sign(tier rules.Tier, aws bool) broker.Sign {
	return func(ctx context.Context, l broker.Lease, audience string, life time.Duration, direct bool) (string, error) {
		c := issuer.Claims{
			Tier: tier, Audience: audience, Life: life.Truncate(time.Second), Direct: direct, LeaseID: l.ID, Credential: l.Credential,
			RepositoryID: l.Repository, RepositoryOwnerID: l.Owner, Environment: l.Environment, SHA: l.SHA, Ref: l.Ref, RunID: l.Run, RunAttempt: l.Attempt, CheckRunID: l.Job,
			ApprovalID: l.ApprovalID, ApprovedAt: l.ApprovedAt, PolicyDigest: l.PolicyDigest,
		}
		for _, a := range l.Approvers {
			c.ApproverIDs = append(c.ApproverIDs, a.ID)
		}
		if aws {
			c.AWS = &issuer.AWSClaims{
				Tags:           map[string]string{"repository_id": strconv.FormatInt(int64(l.Repository), 10), "environment": l.Environment, "sha": string(l.SHA), "run_id": strconv.FormatInt(int64(l.Run), 10)},
				SourceIdentity: "github-" + strconv.FormatInt(int64(l.Approvers[0].ID), 10),
			}
		}
		return w.Mint(ctx, c)
	}
}

// minted is a token on the way that a job's comes: the provider token of a target,
// whose lease differs from the approved one as change says.
func (w *world) minted(change func(*broker.Token, *broker.Lease)) string {
	w.Helper()
	p, l := &broker.Token{Sign: w.sign(rules.TierHuman, false), Audience: audience, Now: w.now}, w.lease()
	if change != nil {
		change(p, &l)
	}
	values, _, err := p.Mint(w.Context(), l)
	if err != nil {
		w.Fatal(err)
	}
	return values["token"]
}

// skewed is a sound token of an issuer whose clock is ahead.
func (w *world) skewed(ahead time.Duration) string {
	w.Helper()
	defer w.ahead.Store(w.ahead.Swap(int64(ahead)))
	return w.minted(nil)
}

type object = map[string]any

// part is a part of a token, decoded.
func part(token string, n int) object {
	var out object
	raw := must(base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[n]))
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		panic(err)
	}
	return out
}

// forged is a token that the issuer would not make, signed with its own key.
func (w *world) forged(token string, change func(claims object)) string {
	claims := part(token, 1)
	change(claims)
	return w.signed(w.algorithm, w.human, w.kid(token), claims)
}

func (w *world) kid(token string) string {
	kid, ok := part(token, 0)["kid"].(string)
	if !ok {
		w.Fatal("a token without the name of its key")
	}
	return kid
}

// with sets a claim, without takes one out.
func with(name string, value any) func(object) { return func(c object) { c[name] = value } }
func without(name string) func(object)         { return func(c object) { delete(c, name) } }

// seconds is a claim that is a time.
func seconds(c object, name string) int64 {
	n, ok := c[name].(json.Number)
	if !ok {
		panic(fmt.Sprintf("%s is %v", name, c[name]))
	}
	return must(n.Int64())
}

// signed signs anything with any key.
func (w *world) signed(algorithm jose.SignatureAlgorithm, key any, kid string, claims object) string {
	w.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		w.Fatal(err)
	}
	return must(must(s.Sign(must(json.Marshal(claims)))).CompactSerialize())
}

// unsigned is a token of the algorithm none.
func unsigned(claims object) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode(must(json.Marshal(claims))) + "."
}

// confused is signed with the public key as if it were a shared secret.
func (w *world) confused(token string) string {
	w.Helper()
	secret := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(w.human.Public()))})
	return w.signed(jose.HS256, secret, w.kid(token), part(token, 1))
}

// attack is a token that nobody may take.
type attack struct {
	name  string
	token string
	// vault and kubernetes are in what they say of it: it is refused for what is wrong
	// with it. Empty is one that the party's own set-up cannot refuse.
	vault, kubernetes string
}

const (
	vaultSignature = "verifying token signature"
	kubeSignature  = "oidc: verify token"
	notOurs        = "no authenticator takes it"
)

// attacks are what the set-up that is printed must refuse, whoever has the key: most
// of these the issuer would never sign.
func (w *world) attacks() []attack {
	good := w.minted(nil)
	foreign := anECKey()
	if w.algorithm == jose.RS256 {
		foreign = must(rsa.GenerateKey(rand.Reader, 2048))
	}
	auto := w.minted(func(p *broker.Token, _ *broker.Lease) { p.Sign = w.sign(rules.TierAuto, false) })
	lease := func(change func(*broker.Lease)) string {
		return w.minted(func(_ *broker.Token, l *broker.Lease) { change(l) })
	}
	claim := func(c string) string { return `claim "` + c + `" does not match` }
	expired := 2*time.Minute + 20*time.Second
	return []attack{
		{"of another environment", lease(func(l *broker.Lease) { l.Environment = "staging" }), "(sub)", "another credential"},
		{"of another environment, its subject right", w.forged(good, with("environment", "staging")), claim("environment"), "another environment"},
		{"of an environment that begins alike", w.forged(good, with("environment", environment+"-eu")), claim("environment"), "another environment"},
		{"of no environment", w.forged(good, without("environment")), `claim "environment" is missing`, "environment"},
		{"of another credential", lease(func(l *broker.Lease) { l.Credential = "orders-reader" }), "(sub)", "another credential"},
		{"of a subject that begins alike", w.forged(good, with("sub", subject+"-2")), "(sub)", "another credential"},
		{"of no subject", w.forged(good, without("sub")), "(sub)", "sub"},
		{"of another repository", lease(func(l *broker.Lease) { l.Repository = 654321 }), "(sub)", "another credential"},
		{"of another repository, its subject right", w.forged(good, with("repository_id", "654321")), claim("repository_id"), "another repository"},
		{"of a repository that is a number", w.forged(good, with("repository_id", 123456)), "repository_id", "repository"},
		{"for another audience", w.minted(func(p *broker.Token, _ *broker.Lease) { p.Audience = "https://vault.acme.internal" }), "(aud)", "audience"},
		{"for no audience", w.forged(good, without("aud")), "(aud)", "audience"},
		{"of tier auto", auto, vaultSignature, notOurs},
		{"of tier auto, said to be of the other issuer", w.signed(w.algorithm, w.auto, w.kid(auto), part(good, 1)), vaultSignature, kubeSignature},
		{"of tier auto, said to be of the other key", w.signed(w.algorithm, w.auto, w.kid(good), part(good, 1)), vaultSignature, kubeSignature},
		{"of the right key that says tier auto", w.forged(good, with("tier", "auto")), claim("tier"), "another tier"},
		{"of another issuer and the right key", w.forged(good, with("iss", "https://sallyport.example.com")), "(iss)", notOurs},
		{"of a key that nobody knows", w.signed(w.algorithm, foreign, "", part(good, 1)), vaultSignature, kubeSignature},
		{"of a key that calls itself the right one", w.signed(w.algorithm, foreign, w.kid(good), part(good, 1)), vaultSignature, kubeSignature},
		{"of no key", unsigned(part(good, 1)), vaultSignature, kubeSignature},
		{"of the public key as a secret", w.confused(good), vaultSignature, kubeSignature},
		{"that nobody approved", w.forged(good, without("approval_id")), `claim "approval_id" is missing`, "nobody approved it"},
		{"of an empty approval", w.forged(good, with("approval_id", "")), "", "nobody approved it"},
		{"that is expired", w.skewed(-expired), "(exp)", "token is expired"},
		{"that never expires", w.forged(w.skewed(-time.Minute), without("exp")), "(exp)", "expired"},
		{"of an hour from now", w.skewed(time.Hour), "(nbf)", "nbf"},
		{"that lives an hour", w.forged(good, func(c object) { c["exp"] = seconds(c, "iat") + 3600 }), "", "it lives too long"},
	}
}

// deployment are tokens that are sound and of another deployment than the approved
// one: refused by a party that is told which one that is.
func (w *world) deployments() []attack {
	good := w.minted(nil)
	lease := func(change func(*broker.Lease)) string {
		return w.minted(func(_ *broker.Token, l *broker.Lease) { change(l) })
	}
	claim := func(c string) string { return `claim "` + c + `" does not match` }
	return []attack{
		{"of another commit", lease(func(l *broker.Lease) { l.SHA = otherSHA }), claim("sha"), "another commit"},
		{"of no commit", w.forged(good, without("sha")), `claim "sha" is missing`, "sha"},
		{"of another attempt", lease(func(l *broker.Lease) { l.Attempt = attempt + 1 }), claim("run_attempt"), "another attempt"},
		{"of an attempt that begins alike", lease(func(l *broker.Lease) { l.Attempt = 10*attempt + 1 }), claim("run_attempt"), "another attempt"},
		{"that another person approved", lease(func(l *broker.Lease) { l.Approvers = []rules.Actor{{ID: 2002, Login: "bob"}} }), claim("approver_ids"), "another approver"},
		{"approved by somebody whose id begins alike", lease(func(l *broker.Lease) { l.Approvers = []rules.Actor{{ID: 10*approver + 1}} }), claim("approver_ids"), "another approver"},
		{"of no approver", w.forged(good, without("approver_ids")), `claim "approver_ids" is missing`, "approver_ids"},
	}
}

// check fails unless a party refuses a token for what is wrong with it.
func check(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case err == nil:
		t.Error("it is taken")
	case !strings.Contains(err.Error(), want):
		t.Errorf("refused, for another reason: %v; want %q", err, want)
	}
}

// resigned shows that what forged makes is taken if nothing is changed: its refusals
// are for the change.
func (w *world) resigned() string {
	good := w.minted(nil)
	same := w.forged(good, func(object) {})
	if !maps.Equal(part(good, 1), part(same, 1)) {
		w.Fatal("signing again changed a token")
	}
	return same
}
