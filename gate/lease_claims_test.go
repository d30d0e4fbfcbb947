package gate_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/gate/jobtoken"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

const (
	ourAddress = "https://sallyport.example.com"
	// ownKid is the key of a test beside the issuer's: with it a test signs what no JSON
	// writer writes.
	ownKid = "own"
)

// alsoOwn publishes a test's own key among the issuer's.
type alsoOwn struct{ key *rsa.PublicKey }

func (a alsoOwn) RoundTrip(r *http.Request) (*http.Response, error) {
	got, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || !strings.HasSuffix(r.URL.Path, "/jwks") {
		return got, err
	}
	defer got.Body.Close()
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.NewDecoder(got.Body).Decode(&set); err != nil {
		return nil, err
	}
	set.Keys = append(set.Keys, map[string]any{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": ownKid,
		"n": base64.RawURLEncoding.EncodeToString(a.key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(a.key.E)).Bytes())})
	text, err := json.Marshal(set)
	got.Body, got.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	got.Header.Del("Content-Length")
	return got, err
}

// counter is the address at which jobs ask for credentials, over a gate.
type counter struct {
	*deployment

	t        *testing.T
	key      *rsa.PrivateKey
	verifier *jobtoken.Verifier
	log      *slog.Logger
	tokens   []string // all that were shown
	bodies   []string // all that were answered to those that were refused
}

func newCounter(t *testing.T, d *deployment, log *slog.Logger) *counter {
	t.Helper()
	key, err := testKey()
	must(t, err)
	c := &counter{deployment: d, t: t, key: key, log: log}
	c.verifier, err = jobtoken.New(jobtoken.Config{Issuer: d.w.g.OIDCIssuer(), Audience: ourAddress, Now: d.w.clock.Now, HTTP: &http.Client{Transport: alsoOwn{&key.PublicKey}}, Log: log})
	must(t, err)
	return c
}

// token is the job's, but for what change changes.
func (c *counter) token(change func(map[string]any)) string {
	raw := c.Job("deploy").IDToken(ourAddress, change)
	c.tokens = append(c.tokens, raw)
	return raw
}

// twice is the job's token with a claim that is there twice, the second time with
// another value.
func (c *counter) twice(claim string, value any) string {
	c.t.Helper()
	all := map[string]any{}
	c.token(func(m map[string]any) { maps.Copy(all, m) })
	text, err := json.Marshal(all)
	must(c.t, err)
	more, err := json.Marshal(map[string]any{claim: value})
	must(c.t, err)
	payload := string(text[:len(text)-1]) + "," + string(more[1:])
	encoded := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	signed := encoded(`{"alg":"RS256","typ":"JWT","kid":"`+ownKid+`"}`) + "." + encoded(payload)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, c.key, crypto.SHA256, sum[:])
	must(c.t, err)
	raw := signed + "." + base64.RawURLEncoding.EncodeToString(signature)
	c.tokens = append(c.tokens, raw)
	return raw
}

// answered is an answer to a job.
type answered struct {
	status int
	kind   string
	text   string
	body   struct {
		ID, Secret, Code, Claim, Detail, Title string
		Values                                 map[string]string
	}
}

// send sends a request with a bearer to a handler of its own, so that nothing is too
// often.
func (c *counter) send(method, path, bearer, body string) answered {
	c.t.Helper()
	h, err := jobs.NewLeases(jobs.LeasesConfig{Verifier: c.verifier, Leaser: c.w.gate, Now: c.w.clock.Now, Log: c.log})
	must(c.t, err)
	srv := httptest.NewServer(h)
	defer srv.Close()
	q, err := http.NewRequestWithContext(c.t.Context(), method, srv.URL+path, strings.NewReader(body))
	must(c.t, err)
	q.Header.Set("Authorization", "Bearer "+bearer)
	if body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	got, err := srv.Client().Do(q)
	must(c.t, err)
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	must(c.t, err)
	a := answered{status: got.StatusCode, kind: got.Header.Get("Content-Type"), text: string(text)}
	if len(text) > 0 {
		must(c.t, json.Unmarshal(text, &a.body))
	}
	if a.status != http.StatusCreated {
		c.bodies = append(c.bodies, a.text)
	}
	return a
}

func (c *counter) ask(raw, credential string) answered {
	c.t.Helper()
	return c.send(http.MethodPost, jobs.LeasesPath, raw, `{"credential":"`+credential+`"}`)
}

// Another repository of the same organisation, whose policy nobody else is told of.
const billingPolicy = `version: 1
reviewers: [acme/billers]
environments:
  vault: {gate: human}
credentials:
  billing-root: {environment: vault, target: billing-db, capability: write, workflow: pay.yml}
`

// Every claim that a lease is bound to, with another value, left out, there twice, and
// of another type: each is refused with its own code, and nothing is made.
func TestLeaseClaimMutations(t *testing.T) {
	s := &safe{}
	w := deploys(t, keysPolicy, keys(s))
	billing := w.g.Repository(w.acme, "billing")
	w.acme.Team("billers", w.bob, w.carol).Access(billing, "write")
	billing.CommitTo(w.carol, "main", "Add the policy", map[string]string{rules.PolicyPath: billingPolicy})
	w.settle()
	w.adopt("acme/billing")
	w.settle()
	d := w.deploy("production")
	d.click(w.rose, "approve")
	other := w.deploy("dev")
	c := newCounter(t, d, nil)
	text := func(n int64) string { return fmt.Sprint(n) }
	now := w.clock.Now()
	sha := strings.Repeat("ab", 20)

	// Code and claim of each mutation; a claim that a refusal does not name is "". A token
	// with another repository's id, or name, differs in several claims: any may be named.
	const anyClaim = "*"
	type refusal struct{ code, claim string }
	malformed := func(claim string) refusal { return refusal{rules.TokenClaims, claim} }
	for _, x := range []struct {
		claim string
		// other are other values of the right form, and how each is refused.
		other map[any]refusal
		// missing is how a token without it is refused.
		missing   refusal
		wrongType refusal
	}{
		{"iss", map[any]refusal{"https://eve.example.com": {rules.TokenIssuer, "iss"}}, refusal{rules.TokenIssuer, "iss"}, malformed("iss")},
		{"aud", map[any]refusal{"https://eve.example.com": {rules.TokenAudience, "aud"}}, refusal{rules.TokenAudience, "aud"}, refusal{rules.TokenAudience, "aud"}},
		{"exp", map[any]refusal{now.Add(-2 * time.Minute).Unix(): {rules.TokenExpired, "exp"}, now.Add(time.Hour).Unix(): {rules.TokenLifetime, "exp"}}, malformed("exp"), malformed("exp")},
		{"iat", map[any]refusal{now.Add(2 * time.Minute).Unix(): {rules.TokenEarly, "iat"}}, malformed("iat"), malformed("iat")},
		{"nbf", map[any]refusal{now.Add(2 * time.Minute).Unix(): {rules.TokenEarly, "nbf"}}, refusal{}, malformed("nbf")},
		{"jti", nil, malformed("jti"), malformed("jti")},
		{"repository_id", map[any]refusal{text(w.repo.ID + 1000): {"not-installed", "repository_id"}, text(billing.ID): {"", anyClaim}}, malformed("repository_id"), malformed("repository_id")},
		{"repository_owner_id", map[any]refusal{text(w.acme.ID + 1000): {"not-installed", "repository_id"}}, malformed("repository_owner_id"), malformed("repository_owner_id")},
		{"repository", map[any]refusal{"eve/orders": {"SP609", anyClaim}, "acme/billing": {"SP609", anyClaim}}, malformed("repository"), malformed("repository")},
		{"environment", map[any]refusal{"dev": {"SP607", "environment"}, "staging": {"SP607", "environment"}, "production ": {"SP607", "environment"}}, refusal{"SP604", "environment"}, malformed("environment")},
		{"sha", map[any]refusal{sha: {"SP615", "sha"}}, malformed("sha"), malformed("sha")},
		{"ref", map[any]refusal{"refs/heads/other": {"SP623", "ref"}, "refs/tags/v1": {"SP623", "ref"}, "refs/pull/7/merge": {"SP623", "ref"}}, malformed("ref"), malformed("ref")},
		{"event_name", map[any]refusal{"pull_request": {"SP611", "event_name"}, "pull_request_target": {"SP611", "event_name"}, "issue_comment": {"SP611", "event_name"}, "workflow_run": {"SP611", "event_name"}},
			malformed("event_name"), malformed("event_name")},
		{"job_workflow_ref", map[any]refusal{"acme/orders/.github/workflows/evil.yml@refs/heads/main": {"SP609", "job_workflow_ref"}, "eve/orders/.github/workflows/deploy.yml@refs/heads/main": {"SP609", "job_workflow_ref"}},
			refusal{"SP604", "job_workflow_ref"}, malformed("job_workflow_ref")},
		{"job_workflow_sha", map[any]refusal{sha: {"SP610", "job_workflow_sha"}}, refusal{"SP604", "job_workflow_sha"}, malformed("job_workflow_sha")},
		{"run_id", map[any]refusal{text(other.ID): {"SP613", "check_run_id"}, text(other.ID + 1000): {"SP613", "run_id"}}, malformed("run_id"), malformed("run_id")},
		{"run_attempt", map[any]refusal{"2": {"SP613", "run_attempt"}}, malformed("run_attempt"), malformed("run_attempt")},
		{"check_run_id", map[any]refusal{text(other.Job("deploy").ID): {"SP613", "check_run_id"}, text(other.Job("deploy").ID + 1000): {"SP613", "check_run_id"}}, refusal{"SP604", "check_run_id"}, malformed("check_run_id")},
		{"runner_environment", map[any]refusal{"self-hosted": {"SP612", "runner_environment"}}, refusal{"SP604", "runner_environment"}, malformed("runner_environment")},
		{"actor_id", nil, malformed("actor_id"), malformed("actor_id")},
	} {
		want := func(what, raw string, r refusal) {
			t.Helper()
			a := c.ask(raw, "orders-migrator")
			if a.status < 400 || a.status > 499 || a.kind != "application/problem+json" || a.body.Code == "" || r.code != "" && a.body.Code != r.code || r.claim != anyClaim && a.body.Claim != r.claim || a.body.Detail == "" {
				t.Errorf("%s %s: %d %s, want %q and the claim %q", x.claim, what, a.status, a.text, r.code, r.claim)
			}
			if _, made := s.count(); made > 0 {
				t.Fatalf("%s %s: a credential was made", x.claim, what)
			}
		}
		for v, r := range x.other {
			want(fmt.Sprintf("= %v", v), c.token(func(m map[string]any) { m[x.claim] = v }), r)
		}
		if x.missing != (refusal{}) {
			want("missing", c.token(func(m map[string]any) { delete(m, x.claim) }), x.missing)
		}
		for _, v := range []any{7.5, true, []any{}, []any{"a", "b"}, map[string]any{"a": "b"}} {
			want(fmt.Sprintf("= %v", v), c.token(func(m map[string]any) { m[x.claim] = v }), x.wrongType)
		}
		if x.claim != "aud" && x.claim != "exp" && x.claim != "iat" && x.claim != "nbf" {
			want("as a number", c.token(func(m map[string]any) { m[x.claim] = 7 }), x.wrongType)
			want("in a list", c.token(func(m map[string]any) { m[x.claim] = []any{m[x.claim]} }), x.wrongType)
		}
		var same any
		c.token(func(m map[string]any) { same = m[x.claim] })
		want("twice, the same", c.twice(x.claim, same), malformed(x.claim))
		for v := range x.other {
			want("twice", c.twice(x.claim, v), malformed(x.claim))
		}
	}
	// Without a claim that differs.
	for credential, code := range map[string]string{"dev-writer": "SP607", "billing-root": "SP601", "root": "SP601"} {
		if a := c.ask(c.token(nil), credential); a.body.Code != code {
			t.Errorf("%s: %d %s, want %s", credential, a.status, a.text, code)
		}
	}
	if _, made := s.count(); made > 0 {
		t.Fatal("a credential was made")
	}
	t.Logf("%d requests were refused", len(c.bodies))
	for _, body := range c.bodies {
		for _, hidden := range append(slices.Clone(c.tokens), secret, "billing-db", "pay.yml", "billers", "dev-db", "orders-db", "acme/sre", "carol", "rose") {
			if strings.Contains(body, hidden) {
				t.Errorf("%.60s is told: %s", hidden, body)
			}
		}
	}
	// Nothing of all this is in the way of the job itself, and the test's own key works.
	if a := c.ask(c.token(nil), "orders-migrator"); a.status != http.StatusCreated || a.body.Values["token"] == "" {
		t.Errorf("the job itself: %d %s", a.status, a.text)
	}
	if a := c.ask(c.twice("x", "y"), "orders-migrator"); a.body.Code != "SP619" {
		t.Errorf("a token of the test's own: %d %s, want SP619", a.status, a.text)
	}
}

// A job's token that says another branch than GitHub's run, or another name of the
// repository together with its workflow, is not this job's.
func TestLeaseIsBoundToTheRun(t *testing.T) {
	s := &safe{}
	w := deploys(t, keysPolicy, keys(s))
	for _, x := range []struct {
		name   string
		change func(map[string]any)
	}{
		{"another branch", func(m map[string]any) { m["ref"] = "refs/heads/evil" }},
		{"a tag", func(m map[string]any) { m["ref"], m["ref_type"] = "refs/tags/v1", "tag" }},
		{"no full ref", func(m map[string]any) { m["ref"] = "main" }},
		{"another event that may deploy", func(m map[string]any) { m["event_name"] = "workflow_dispatch" }},
		{"another name of the repository", func(m map[string]any) {
			m["repository"], m["job_workflow_ref"] = "eve/orders", "eve/orders/.github/workflows/deploy.yml@refs/heads/main"
		}},
	} {
		d := w.deploy("production")
		if k := d.check(); k != nil && k.See().Conclusion != "success" {
			d.click(w.rose, "approve")
		}
		c := newCounter(t, d, nil)
		_, before := s.count()
		a := c.ask(c.token(x.change), "orders-migrator")
		if _, made := s.count(); made != before || a.status < 400 || a.status > 499 {
			t.Errorf("%s: %d, %d made", x.name, a.status, made-before)
		}
		d.end("success")
	}
}

// canary is a provider of credentials that must be nowhere.
type canary struct {
	mu    sync.Mutex
	made  []string // all values and handles
	fails bool
}

func (p *canary) Mint(_ context.Context, l broker.Lease) (map[string]string, []byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	values := []string{"canary-user-" + rand.Text(), "canary password \"<&" + rand.Text(), "canary-handle-" + rand.Text()}
	p.made = append(p.made, values...)
	return map[string]string{"username": values[0], "password": values[1]}, []byte(values[2]), nil
}

func (p *canary) Revoke(_ context.Context, _ broker.Lease, handle []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fails {
		return errors.New("the target is away")
	}
	if len(handle) > 0 && !slices.Contains(p.made, string(handle)) {
		return errors.New("another handle")
	}
	return nil
}

func (*canary) Sweep(context.Context, time.Time) error { return nil }

// lockedBuffer is a log that many write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// forms are the ways that a secret may be written.
func forms(s string) []string {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(err) // a text is JSON
	}
	bare := strings.Trim(string(quoted), `"`)
	out := []string{s, bare, url.QueryEscape(s), url.PathEscape(s), hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s)))}
	// In base64 what stands before it moves it; the ends depend on what is beside.
	for shift := range 3 {
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := e.EncodeToString(append(make([]byte, shift), s...))
			out = append(out, text[(shift*8+5)/6:len(text)-1])
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// No byte of a credential, of a lease's secret, of a job's token or of the webhook
// secret is in a log, in the database, in the ledger, in what GitHub is asked or in
// what is answered to anybody else.
func TestLeaseCanaries(t *testing.T) {
	provider, log, folder := &canary{}, &lockedBuffer{}, t.TempDir()
	logger := slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	sealer := newSealer(t)
	w := deploys(t, keysPolicy, keys(&safe{}), func(w *world, c *gate.Config) {
		s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(folder, "sallyport.db")})
		must(t, err)
		before := w.store
		t.Cleanup(func() { _ = before.Close() }) // the client's cache is in it
		w.store, c.Store, c.Log = s, s, logger
		for name := range c.Keys.Providers {
			c.Keys.Providers[name] = provider
		}
		c.Keys.Seal, c.Keys.Open = sealer.seal, sealer.open
	})
	d := w.deploy("production")
	c := newCounter(t, d, logger)
	c.ask(c.token(nil), "orders-migrator") // it is held
	d.click(w.rose, "approve")
	given := c.ask(c.token(nil), "orders-migrator")
	if given.status != http.StatusCreated || given.body.Secret == "" || len(given.body.Values) != 2 {
		t.Fatalf("%d %s", given.status, given.text)
	}
	at := jobs.LeasesPath + "/" + given.body.ID
	hidden := map[string]string{"the webhook secret": secret, "the lease's secret": given.body.Secret}
	scan := func(when string) {
		t.Helper()
		for i, raw := range c.tokens {
			hidden[fmt.Sprintf("token %d", i)] = raw
			hidden[fmt.Sprintf("the signature of token %d", i)] = raw[strings.LastIndexByte(raw, '.')+1:]
		}
		for i, v := range provider.made {
			hidden[fmt.Sprintf("value %d", i)] = v
		}
		places := map[string]string{"the log": log.String(), "what is answered": strings.Join(c.bodies, "\n")}
		must(t, filepath.WalkDir(folder, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			places["the file "+e.Name()] = string(text)
			return err
		}))
		var export bytes.Buffer
		must(t, ledger.Export(t.Context(), w.store, &export, ledger.ExportConfig{Personal: true}))
		places["the ledger"] = export.String()
		var asked strings.Builder
		for _, r := range w.g.Requests() {
			fmt.Fprintln(&asked, r.Path, r.Query, string(r.Body))
		}
		places["what GitHub is asked"] = asked.String()
		if len(places) < 6 {
			t.Fatalf("there is no write-ahead log: %v", slices.Sorted(maps.Keys(places)))
		}
		for place, text := range places {
			if len(text) == 0 && !strings.HasSuffix(place, "-wal") {
				t.Errorf("%s: %s is empty: this shows nothing", when, place)
			}
			for what, s := range hidden {
				for _, form := range forms(s) {
					if strings.Contains(text, form) {
						t.Errorf("%s: %s is in %s as %.40q", when, what, place, form)
					}
				}
			}
		}
	}
	scan("while it lives")
	row, err := w.store.Lease(t.Context(), given.body.ID)
	must(t, err)
	if opened, err := sealer.open("lease "+row.ID, row.Handle); err != nil || !slices.Contains(provider.made, string(opened)) {
		t.Errorf("the handle is not there sealed: %v", err)
	}
	if _, err := sealer.open("lease of another", row.Handle); err == nil {
		t.Error("the handle opens for another lease")
	}
	provider.fails = true
	for bearer, status := range map[string]int{"another": http.StatusNotFound, c.token(nil): http.StatusNotFound, given.body.Secret: http.StatusServiceUnavailable} {
		if a := c.send(http.MethodDelete, at, bearer, ""); a.status != status {
			t.Errorf("%d %s, want %d", a.status, a.text, status)
		}
	}
	c.ask(c.token(nil), "orders-migrator")
	c.ask(c.twice("sha", strings.Repeat("ab", 20)), "orders-migrator")
	c.ask(c.token(func(m map[string]any) { m["aud"] = []any{"https://eve.example.com"} }), "orders-migrator")
	scan("while it cannot be ended")
	provider.fails = false
	if a := c.send(http.MethodDelete, at, given.body.Secret, ""); a.status != http.StatusNoContent {
		t.Errorf("%d %s", a.status, a.text)
	}
	d.end("success")
	sealed := row.Handle
	if row, err = w.store.Lease(t.Context(), given.body.ID); err != nil || row.State != store.LeaseEnded || len(row.Handle) > 0 {
		t.Errorf("%v: %s, with a handle of %d bytes", err, row.State, len(row.Handle))
	}
	scan("once it has ended")
	must(t, w.store.Close())
	text, err := os.ReadFile(filepath.Join(folder, "sallyport.db"))
	must(t, err)
	if bytes.Contains(text, sealed) {
		t.Error("the sealed handle is in the file although the lease has ended")
	}
	t.Logf("%d secrets of %d forms each at most, in %d bytes of log", len(hidden), len(forms(secret)), len(log.String()))
}

// sealer closes and opens as the server does: with a key, and bound to a name.
type sealer struct{ aead cipher.AEAD }

func newSealer(t *testing.T) sealer {
	t.Helper()
	key := make([]byte, 32)
	_, err := rand.Read(key)
	must(t, err)
	block, err := aes.NewCipher(key)
	must(t, err)
	aead, err := cipher.NewGCM(block)
	must(t, err)
	return sealer{aead}
}

func (s sealer) seal(name string, value []byte) ([]byte, error) {
	nonce := make([]byte, s.aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return s.aead.Seal(nonce, nonce, value, []byte(name)), nil
}

func (s sealer) open(name string, sealed []byte) ([]byte, error) {
	if len(sealed) < s.aead.NonceSize() {
		return nil, errors.New("it is too short")
	}
	return s.aead.Open(nil, sealed[:s.aead.NonceSize()], sealed[s.aead.NonceSize():], []byte(name))
}
