package jobtoken_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sallyport/sallyport/gate/jobtoken"
	"github.com/sallyport/sallyport/rules"
)

func TestTokenOfAJob(t *testing.T) {
	w := newWorld(t)
	got := w.verify(w.token(nil))
	if got.ID == "" {
		t.Error("no jti")
	}
	sha := rules.SHA(w.repo.Head("main"))
	want := rules.JobToken{
		Claims: rules.JobClaims{
			RepositoryID: rules.RepositoryID(w.repo.ID), RepositoryOwnerID: rules.AccountID(w.acme.ID), Environment: "production", SHA: sha, Ref: "refs/heads/main",
			EventName: "push", JobWorkflowRef: "acme/orders/" + deploy + "@refs/heads/main", JobWorkflowSHA: sha, RunID: rules.RunID(w.run.ID), RunAttempt: 1,
			CheckRunID: rules.CheckRunID(w.job.ID), RunnerEnvironment: "github-hosted", Repository: "acme/orders",
		},
		Actor: rules.AccountID(w.alice.ID), RefType: rules.RefBranch, ID: got.ID, Expires: w.clock.Now().Add(5 * time.Minute),
	}
	if got != want {
		t.Errorf("got %+v,\nwant %+v", got, want)
	}
	if again := w.verify(w.token(nil)); again.ID == got.ID {
		t.Error("a second token has the same id")
	}
	test := w.verify(w.run.Job("test").IDToken(audience, nil))
	if test.Claims.Environment != "" || test.Claims.CheckRunID == got.Claims.CheckRunID {
		t.Errorf("the job without environment: %+v", test.Claims)
	}
	if err := w.run.Job("test").Complete("success"); err != nil {
		t.Fatal(err)
	}
	if err := w.job.Complete("failure"); err != nil {
		t.Fatal(err)
	}
	if err := w.run.Rerun(w.alice); err != nil {
		t.Fatal(err)
	}
	if second := w.verify(w.run.Job("deploy").IDToken(audience, nil)); second.Claims.RunAttempt != 2 || second.Claims.CheckRunID == got.Claims.CheckRunID {
		t.Errorf("the second attempt: %+v", second.Claims)
	}
}

// The subject decides nothing, in whatever form.
func TestSubject(t *testing.T) {
	for _, now := range []time.Time{time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)} {
		w := newWorldAt(t, now)
		w.verify(w.token(nil))
		for _, sub := range []any{"repo:eve/orders:environment:production", "", nil} {
			if got := w.verify(w.token(func(m map[string]any) { m["sub"] = sub })); got.Claims.Repository != "acme/orders" || got.Claims.RepositoryID != rules.RepositoryID(w.repo.ID) {
				t.Errorf("with the subject %v: %+v", sub, got.Claims)
			}
		}
	}
}

// What GitHub Enterprise Server may leave out is unknown, not an error.
func TestAbsentClaims(t *testing.T) {
	w := newWorld(t)
	got := w.verify(w.token(func(m map[string]any) {
		for _, name := range []string{"check_run_id", "job_workflow_ref", "job_workflow_sha", "runner_environment", "environment", "ref_type", "nbf", "actor"} {
			delete(m, name)
		}
	}))
	c := got.Claims
	if c.CheckRunID != 0 || c.JobWorkflowRef != "" || c.JobWorkflowSHA != "" || c.RunnerEnvironment != "" || c.Environment != "" || got.RefType != "" {
		t.Errorf("not unknown: %+v", got)
	}
	if got := w.verify(w.token(func(m map[string]any) { m["ref_type"] = "Branch" })); got.RefType != "" {
		t.Errorf("ref_type %q, want unknown", got.RefType)
	}
}

func TestClaimsOutOfForm(t *testing.T) {
	w := newWorld(t)
	at := func(d time.Duration) int64 { return w.clock.Now().Add(d).Unix() }
	for _, c := range []struct {
		claim string
		value any
		code  string
	}{
		{"iss", "https://eve.example.com", rules.TokenIssuer},
		{"iss", w.g.OIDCIssuer() + "/", rules.TokenIssuer},
		{"iss", w.g.OIDCIssuer() + "/eve", rules.TokenIssuer},
		{"iss", strings.ToUpper(w.g.OIDCIssuer()), rules.TokenIssuer},
		{"iss", nil, rules.TokenIssuer},
		{"iss", []string{w.g.OIDCIssuer()}, rules.TokenClaims},
		{"aud", "https://github.com/acme", rules.TokenAudience},
		{"aud", audience + "/", rules.TokenAudience},
		{"aud", "", rules.TokenAudience},
		{"aud", nil, rules.TokenAudience},
		{"aud", 7, rules.TokenAudience},
		{"aud", []string{}, rules.TokenAudience},
		{"aud", []string{audience, "https://eve.example.com"}, rules.TokenAudience},
		{"aud", []string{audience, audience}, rules.TokenAudience},
		{"aud", []any{audience, 1}, rules.TokenAudience},
		{"aud", map[string]any{"a": audience}, rules.TokenAudience},
		{"exp", at(-time.Minute), rules.TokenExpired},
		{"exp", at(-time.Hour), rules.TokenExpired},
		{"exp", at(10*time.Minute + time.Second), rules.TokenLifetime},
		{"exp", at(0), rules.TokenLifetime}, // not after iat
		{"exp", int64(math.MaxInt64), rules.TokenClaims},
		{"exp", at(5*time.Minute) * 1000, rules.TokenClaims},
		{"exp", 0, rules.TokenClaims},
		{"exp", nil, rules.TokenClaims},
		{"exp", "1793610000", rules.TokenClaims},
		{"exp", 1793610000.5, rules.TokenClaims},
		{"iat", at(61 * time.Second), rules.TokenEarly},
		{"iat", nil, rules.TokenClaims},
		{"iat", -5, rules.TokenClaims},
		{"nbf", at(61 * time.Second), rules.TokenEarly},
		{"nbf", "x", rules.TokenClaims},

		{"run_id", w.run.ID, rules.TokenClaims}, // a number, not a text
		{"run_id", nil, rules.TokenClaims},
		{"run_id", "", rules.TokenClaims},
		{"run_id", "0", rules.TokenClaims},
		{"run_id", "-5", rules.TokenClaims},
		{"run_id", "+5", rules.TokenClaims},
		{"run_id", "05", rules.TokenClaims},
		{"run_id", " 5", rules.TokenClaims},
		{"run_id", "5_0", rules.TokenClaims},
		{"run_id", "0x5", rules.TokenClaims},
		{"run_id", "5e3", rules.TokenClaims},
		{"run_id", "٥", rules.TokenClaims},
		{"run_id", "9223372036854775808", rules.TokenClaims},
		{"run_attempt", "4294967297", rules.TokenClaims},
		{"run_attempt", "0", rules.TokenClaims},
		{"run_attempt", 1, rules.TokenClaims},
		{"repository_id", 1, rules.TokenClaims},
		{"repository_id", "", rules.TokenClaims},
		{"repository_owner_id", true, rules.TokenClaims},
		{"check_run_id", "0", rules.TokenClaims},
		{"check_run_id", 5, rules.TokenClaims},
		{"actor_id", "-1", rules.TokenClaims},
		{"repository", "orders", rules.TokenClaims},
		{"repository", "acme/orders/eve", rules.TokenClaims},
		{"repository", "/orders", rules.TokenClaims},
		{"repository", "acme/ord\ners", rules.TokenClaims},
		{"environment", "prod\x00uction", rules.TokenClaims},
		{"environment", []string{"production"}, rules.TokenClaims},
		{"sha", "main", rules.TokenClaims},
		{"sha", strings.Repeat("A", 40), rules.TokenClaims},
		{"sha", "", rules.TokenClaims},
		{"job_workflow_sha", "abc", rules.TokenClaims},
		{"ref", "", rules.TokenClaims},
		{"event_name", nil, rules.TokenClaims},
		{"jti", "", rules.TokenClaims},
	} {
		what := c.claim + " = " + strconv.Quote(strings.TrimSpace(asText(c.value)))
		w.refused(what, w.token(func(m map[string]any) { m[c.claim] = c.value }), c.code, c.claim)
	}
	for _, claim := range []string{"exp", "iat", "jti", "run_id", "run_attempt", "repository_id", "repository_owner_id", "repository", "sha", "ref", "event_name", "actor_id"} {
		w.refused("without "+claim, w.token(func(m map[string]any) { delete(m, claim) }), rules.TokenClaims, claim)
	}
	w.refused("without aud", w.token(func(m map[string]any) { delete(m, "aud") }), rules.TokenAudience, "aud")
	w.refused("11 minutes, by iat", w.token(func(m map[string]any) { m["iat"] = at(-6 * time.Minute) }), rules.TokenLifetime, "exp")
	// What is just inside.
	for claim, value := range map[string]any{"exp": at(10 * time.Minute), "iat": at(time.Minute), "nbf": at(time.Minute), "aud": []string{audience}} {
		w.verify(w.token(func(m map[string]any) { m[claim] = value }))
	}
}

func asText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestLeeway(t *testing.T) {
	w := newWorld(t)
	raw := w.token(nil)
	w.clock.Advance(5*time.Minute + 59*time.Second)
	w.verify(raw)
	w.clock.Advance(time.Second)
	w.refused("a minute after it expired", raw, rules.TokenExpired, "exp")
}

// Signatures that are none.
func TestForgedSignatures(t *testing.T) {
	w := newWorld(t)
	own := w.own()
	w.publish(jwk("own", &own.PublicKey, nil))
	claims := w.claims()
	head := map[string]any{"kid": "own"}
	good := w.sign(jwt.SigningMethodRS256, own, head, claims)
	w.verify(good)

	public := own.N.Bytes()
	w.refused("alg none", w.sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, head, claims), rules.TokenAlgorithm, "")
	w.refused("HS256 with the public key", w.sign(jwt.SigningMethodHS256, public, head, claims), rules.TokenAlgorithm, "")
	w.refused("RS512 by the issuer's key", w.sign(jwt.SigningMethodRS512, own, head, claims), rules.TokenAlgorithm, "")
	w.refused("PS256 by the issuer's key", w.sign(jwt.SigningMethodPS256, own, head, claims), rules.TokenAlgorithm, "")
	w.clock.Advance(time.Minute) // the issuer could be asked again
	w.refused("no kid", w.sign(jwt.SigningMethodRS256, own, nil, claims), rules.TokenKey, "")
	w.refused("an empty kid", w.sign(jwt.SigningMethodRS256, own, map[string]any{"kid": ""}, claims), rules.TokenKey, "")
	w.refused("a long kid", w.sign(jwt.SigningMethodRS256, own, map[string]any{"kid": strings.Repeat("k", 300)}, claims), rules.TokenKey, "")
	if n := w.wire.count(keysPath); n != 1 {
		t.Errorf("the issuer was asked for a key without a name: %d times", n)
	}
	w.refused("crit", w.sign(jwt.SigningMethodRS256, own, map[string]any{"kid": "own", "crit": []string{"exp"}}, claims), rules.TokenSignature, "")

	parts := strings.Split(good, ".")
	other := w.claims()
	other["environment"] = "production-eu"
	changed, err := json.Marshal(other)
	if err != nil {
		t.Fatal(err)
	}
	w.refused("other claims under the same signature", parts[0]+"."+base64.RawURLEncoding.EncodeToString(changed)+"."+parts[2], rules.TokenSignature, "")
	w.refused("no signature", parts[0]+"."+parts[1]+".", rules.TokenSignature, "")
	// A key that comes with the token is no key of the issuer.
	w.refused("signed by the key that it brings", w.signWithEmbedded(claims), rules.TokenKey, "")
}

// signWithEmbedded signs with a key that the issuer does not publish, and sends it
// along.
func (w *world) signWithEmbedded(claims map[string]any) string {
	return w.sign(jwt.SigningMethodRS256, w.own(), map[string]any{"kid": "eve", "jwk": jwk("eve", &w.own().PublicKey, nil)}, claims)
}

func TestMalformed(t *testing.T) {
	w := newWorld(t)
	good := w.token(nil)
	parts := strings.Split(good, ".")
	general := `{"payload":"` + parts[1] + `","signatures":[{"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}]}`
	for what, raw := range map[string]string{
		"empty": "", "one part": "abc", "two parts": parts[0] + "." + parts[1], "four parts": good + ".x", "five parts": good + "." + parts[1] + "." + parts[2],
		"the JSON form": general, "a space before": " " + good, "a line end after": good + "\n", "a space within": parts[0] + ". " + parts[1] + "." + parts[2],
		"padding": parts[0] + "=." + parts[1] + "." + parts[2], "a NUL": good + "\x00", "Bearer": "Bearer " + good,
	} {
		w.refused(what, raw, rules.TokenMalformed, "")
	}
	if n := w.wire.count(keysPath); n != 0 {
		t.Errorf("the issuer was asked %d times for what is no token", n)
	}
	w.refused("only dots", "..", rules.TokenAlgorithm, "")
	w.refused("an empty head", "e30."+parts[1]+"."+parts[2], rules.TokenAlgorithm, "")
	w.refused("too long", w.token(func(m map[string]any) { m["repo_property_note"] = strings.Repeat("x", jobtoken.MaxToken) }), rules.TokenMalformed, "")
	w.verify(w.token(func(m map[string]any) { m["repo_property_note"] = strings.Repeat("x", jobtoken.MaxToken/2) }))
}

// A claim that is there twice would be one for us and the other for somebody else.
func TestClaimsTwice(t *testing.T) {
	w := newWorld(t)
	w.publish(jwk("own", &w.own().PublicKey, nil))
	text, err := json.Marshal(w.claims())
	if err != nil {
		t.Fatal(err)
	}
	const head = `{"alg":"RS256","kid":"own"}`
	once := string(text)
	w.verify(w.signText(head, once))
	add := func(more string) string { return strings.TrimSuffix(once, "}") + "," + more + "}" }
	for more, claim := range map[string]string{
		`"environment":"dev"`: "environment", `"repository_id":"7"`: "repository_id", `"iss":"https://eve.example.com"`: "iss", `"aud":"x"`: "aud",
		`"e\u006evironment":"dev"`: "environment", `"repo_property_x":{"a":1,"a":2}`: "repo_property_x", `"sub":"x"`: "sub",
	} {
		w.refused("twice: "+more, w.signText(head, add(more)), rules.TokenClaims, claim)
	}
	// Another spelling is another claim, and means nothing.
	if got := w.verify(w.signText(head, add(`"Environment":"dev"`))); got.Claims.Environment != "production" {
		t.Errorf("environment %q", got.Claims.Environment)
	}
	for what, payload := range map[string]string{"a list": "[]", "a text": `"x"`, "null and more": "null{}", "two objects": once + once, "cut": once[:len(once)-1], "empty": "", "not UTF-8": add("\"x\":\"\xff\"")} {
		_, err := w.v.Verify(t.Context(), w.signText(head, payload))
		var no *rules.TokenRefused
		if !errors.As(err, &no) {
			t.Errorf("%s: %v, want it refused", what, err)
		}
	}
	w.refused("a head with alg twice", w.signText(`{"alg":"none","alg":"RS256","kid":"own"}`, once), rules.TokenMalformed, "")
	w.refused("a head with kid twice", w.signText(`{"alg":"RS256","kid":"eve","kid":"own"}`, once), rules.TokenMalformed, "")
}

func TestNew(t *testing.T) {
	for what, cfg := range map[string]jobtoken.Config{
		"no issuer":             {Audience: audience},
		"no audience":           {Issuer: "https://token.example.com"},
		"plain http":            {Issuer: "http://token.example.com", Audience: audience},
		"looks like a loopback": {Issuer: "http://127.0.0.1.example.com", Audience: audience},
		"no scheme":             {Issuer: "token.example.com", Audience: audience},
		"file":                  {Issuer: "file:///etc/keys", Audience: audience},
		"a query":               {Issuer: "https://token.example.com?x=1", Audience: audience},
		"a fragment":            {Issuer: "https://token.example.com#x", Audience: audience},
		"a person":              {Issuer: "https://eve@token.example.com", Audience: audience},
		"a slash":               {Issuer: "https://token.example.com/", Audience: audience},
	} {
		if _, err := jobtoken.New(cfg); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	// No request is made, so that one that nobody answers is no error.
	if _, err := jobtoken.New(jobtoken.Config{Issuer: "https://token.example.invalid/acme", Audience: audience}); err != nil {
		t.Error(err)
	}
}

// The client that we make ourselves works too.
func TestOwnClient(t *testing.T) {
	w := newWorld(t)
	v, err := jobtoken.New(jobtoken.Config{Issuer: w.g.OIDCIssuer(), Audience: audience, Now: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), w.token(nil)); err != nil {
		t.Error(err)
	}
}

func TestCallerGoesAway(t *testing.T) {
	w := newWorld(t)
	slow := make(chan struct{})
	w.wire.set(func() { w.wire.slow = slow })
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	raw := w.token(nil)
	go func() { _, err := w.v.Verify(ctx, raw); gone <- err }()
	for w.wire.count(discoveryPath) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that went away: %v", err)
	}
	close(slow)
	w.verify(raw) // by the same request, which went on
	if n := w.wire.count(discoveryPath); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	raw := w.token(nil)
	w.verify(raw)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.v.Verify(b.Context(), raw); err != nil {
			b.Fatal(err)
		}
	}
}

// A forged token with a key that nobody published, while the keys are fresh.
func BenchmarkRefuse(b *testing.B) {
	w := newWorld(b)
	key, err := ownKey()
	if err != nil {
		b.Fatal(err)
	}
	raw := w.sign(jwt.SigningMethodRS256, key, map[string]any{"kid": "eve"}, w.claims())
	w.verify(w.token(nil))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.v.Verify(b.Context(), raw); err == nil {
			b.Fatal("accepted")
		}
	}
}

// FuzzVerify looks for a token that crashes the verifier or that it accepts
// although nobody signed it.
func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	good := w.token(nil)
	f.Add(good)
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add("e30.e30.e30")
	f.Add(`{"payload":"e30"}`)
	w.wire.set(func() { w.wire.lies[discoveryPath] = answer(http.StatusNotFound, "", nil) })
	f.Fuzz(func(t *testing.T, raw string) {
		if _, err := w.v.Verify(t.Context(), raw); err == nil {
			t.Fatalf("accepted without any key: %q", raw)
		}
	})
}
