package jobtoken_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/jobtoken"
	"github.com/sallyport/sallyport/rules"
)

const (
	audience = "https://sallyport.example.com"
	deploy   = ".github/workflows/deploy.yml"

	discoveryPath = "/_oidc/.well-known/openid-configuration"
	keysPath      = "/_oidc/.well-known/jwks"
)

// ownKey is a key that the issuer does not have unless a test publishes it.
var ownKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// wire carries requests to the issuer, counts them, and can lie.
type wire struct {
	mu    sync.Mutex
	asked map[string]int
	down  bool
	slow  chan struct{}  // requests wait for it, if not nil
	lies  map[string]lie // by path
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.asked[r.URL.Host+r.URL.Path]++
	w.asked[r.URL.Path]++
	told, lies := w.lies[r.URL.Path]
	down, slow := w.down, w.slow
	w.mu.Unlock()
	if slow != nil {
		select {
		case <-slow:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if down {
		return nil, errors.New("connection refused")
	}
	if lies {
		return &http.Response{StatusCode: told.status, Header: told.head, Body: io.NopCloser(strings.NewReader(told.body)), ContentLength: -1}, nil
	}
	return http.DefaultTransport.RoundTrip(r)
}

func (w *wire) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *wire) count(path string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[path]
}

// lie is an answer that the issuer never gave.
type lie struct {
	status int
	body   string
	head   http.Header
}

func answer(status int, body string, head http.Header) lie {
	if head == nil {
		head = http.Header{}
	}
	return lie{status, body, head}
}

// world is acme/orders with a deploy job in production, and a verifier.
type world struct {
	t     testing.TB
	g     *githubtest.GitHub
	clock *githubtest.Clock
	alice *githubtest.User
	acme  *githubtest.Organization
	repo  *githubtest.Repository
	run   *githubtest.Run
	job   *githubtest.Job
	wire  *wire
	log   *bytes.Buffer
	v     *jobtoken.Verifier
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldAt(t, time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC))
}

func newWorldAt(t testing.TB, now time.Time) *world {
	t.Helper()
	w := &world{t: t, clock: githubtest.NewClock(now), wire: &wire{asked: map[string]int{}, lies: map[string]lie{}}, log: &bytes.Buffer{}}
	w.g = githubtest.Start(t, githubtest.Config{Now: w.clock.Now})
	w.alice, w.acme = w.g.User("alice"), w.g.Organization("acme")
	w.repo = w.g.Repository(w.acme, "orders")
	w.repo.Collaborator(w.alice, "write")
	w.run = w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: w.alice, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production"}, {Name: "test"}}})
	w.job = w.run.Job("deploy")
	w.v = w.verifier(audience)
	return w
}

func (w *world) verifier(audience string) *jobtoken.Verifier {
	w.t.Helper()
	v, err := jobtoken.New(jobtoken.Config{
		Issuer: w.g.OIDCIssuer(), Audience: audience, Now: w.clock.Now, HTTP: &http.Client{Transport: w.wire},
		Log: slog.New(slog.NewTextHandler(w.log, nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// verify wants the token accepted.
func (w *world) verify(raw string) rules.JobToken {
	w.t.Helper()
	token, err := w.v.Verify(w.t.Context(), raw)
	if err != nil {
		w.t.Fatalf("refused: %v", err)
	}
	return token
}

// refused wants the token refused for a reason.
func (w *world) refused(what, raw, code, claim string) {
	w.t.Helper()
	token, err := w.v.Verify(w.t.Context(), raw)
	var no *rules.TokenRefused
	if !errors.As(err, &no) {
		w.t.Fatalf("%s: %v, want it refused", what, err)
	}
	if no.Code != code || no.Claim != claim || token != (rules.JobToken{}) {
		w.t.Errorf("%s: %s %q (%s) and %v, want %s %q", what, no.Code, no.Claim, no.Text, token, code, claim)
	}
	if raw != "" && strings.Contains(no.Text, raw) {
		w.t.Errorf("%s: the refusal shows the token", what)
	}
}

// unreachable wants an error that is not the token's fault.
func (w *world) unreachable(what, raw string) {
	w.t.Helper()
	_, err := w.v.Verify(w.t.Context(), raw)
	var no *rules.TokenRefused
	if err == nil || errors.As(err, &no) {
		w.t.Errorf("%s: %v, want a temporary error", what, err)
	}
}

// token is a good one, but for what change changes.
func (w *world) token(change func(map[string]any)) string { return w.job.IDToken(audience, change) }

func (w *world) claims() map[string]any {
	out := map[string]any{}
	w.token(func(m map[string]any) { maps.Copy(out, m) })
	return out
}

func (w *world) own() *rsa.PrivateKey {
	w.t.Helper()
	key, err := ownKey()
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

// jwk is how a key is published.
func jwk(kid string, key *rsa.PublicKey, extra map[string]any) map[string]any {
	out := map[string]any{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": kid,
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())}
	maps.Copy(out, extra)
	return out
}

// publish has the issuer publish these keys instead of its own.
func (w *world) publish(keys ...map[string]any) {
	w.t.Helper()
	if keys == nil {
		keys = []map[string]any{}
	}
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		w.t.Fatal(err)
	}
	w.wire.set(func() { w.wire.lies[keysPath] = answer(http.StatusOK, string(text), nil) })
}

// sign makes a token of claims with a key, whatever the issuer publishes.
func (w *world) sign(method jwt.SigningMethod, key any, head, claims map[string]any) string {
	w.t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	maps.Copy(token.Header, head)
	raw, err := token.SignedString(key)
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

// signText signs a payload as it stands.
func (w *world) signText(head, payload string) string {
	w.t.Helper()
	signed := base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	signature, err := jwt.SigningMethodRS256.Sign(signed, w.own())
	if err != nil {
		w.t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}
