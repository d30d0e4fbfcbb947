package issuer_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/rules"
)

func TestToken(t *testing.T) {
	for _, algorithm := range []string{issuer.RS256, issuer.ES256} {
		w := newWorld(t, func(c *issuer.Config) { c.Algorithm = algorithm })
		c := claims(rules.TierHuman)
		c.AWS = &issuer.AWSClaims{Tags: map[string]string{"sha": "abc", "approver": "4"}, SourceIdentity: "alice"}
		token := w.mint(c)
		if _, err := w.party(rules.TierHuman).Verify(t.Context(), token); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
		if got, want := part(t, token, 0), (map[string]any{"alg": algorithm, "kid": current(w.Issuer, rules.TierHuman), "typ": "JWT"}); !maps.Equal(got, want) {
			t.Errorf("header %v, want %v", got, want)
		}
		got, want := string(must(json.Marshal(part(t, token, 1)))), string(must(json.Marshal(map[string]any{
			"iss": w.url, "sub": "sallyport:repo:42:env:production:cred:deploy-db", "aud": "sts.amazonaws.com",
			"iat": t0.Unix(), "nbf": t0.Unix() - 60, "exp": t0.Unix() + 120, "jti": "lease_1",
			"repository_id": "42", "repository_owner_id": "7", "environment": "production", "sha": strings.Repeat("a1", 20), "ref": "refs/heads/main",
			"run_id": "1001", "run_attempt": "2", "check_run_id": "5005", "credential": "deploy-db",
			"approval_id": "ap-9", "approver_ids": "4,30", "approved_at": "2026-11-03T11:00:00Z", "policy_digest": strings.Repeat("0f", 32), "tier": "human",
			"https://aws.amazon.com/source_identity": "alice",
			"https://aws.amazon.com/tags":            map[string]any{"principal_tags": map[string]any{"sha": []string{"abc"}, "approver": []string{"4"}}, "transitive_tag_keys": []string{"approver", "sha"}},
		})))
		if got != want {
			t.Errorf("body\n%s, want\n%s", got, want)
		}
		_, body := w.get("/.well-known/openid-configuration")
		var doc struct {
			Claims     []string `json:"claims_supported"`
			Algorithms []string `json:"id_token_signing_alg_values_supported"`
		}
		if json.Unmarshal([]byte(body), &doc) != nil || !slices.Equal(doc.Algorithms, []string{algorithm}) {
			t.Errorf("discovery: %s", body)
		}
		for claim := range part(t, token, 1) {
			if !slices.Contains(doc.Claims, claim) {
				t.Errorf("the claim %q is not announced", claim)
			}
		}
	}
}

func TestAutoNeedsNoApproval(t *testing.T) {
	w := newWorld(t, nil)
	c := claims(rules.TierAuto)
	c.ApprovalID, c.ApproverIDs, c.ApprovedAt = "", nil, time.Time{}
	got := part(t, w.mint(c), 1)
	for _, claim := range []string{"approval_id", "approver_ids", "approved_at"} {
		if v, ok := got[claim]; ok {
			t.Errorf("%s is %v, want none", claim, v)
		}
	}
	if got["iss"] != w.url+"/auto" || got["tier"] != "auto" {
		t.Errorf("issuer %v, tier %v", got["iss"], got["tier"])
	}
}

// Nothing that has the keys of tier auto, or no keys at all, is taken for tier human.
func TestKeyConfusion(t *testing.T) {
	auto := anECKey()
	human := anRSAKey()
	w := newWorld(t, func(c *issuer.Config) {
		c.KeyFile = folder(t, map[string][]byte{"human.pem": pkcs8(human), "auto.pem": pkcs8(auto)})
	})
	party := w.party(rules.TierHuman)
	sound := w.mint(claims(rules.TierHuman))
	if _, err := party.Verify(t.Context(), sound); err != nil {
		t.Fatal(err)
	}
	body := part(t, sound, 1)
	kid, autoKid := current(w.Issuer, rules.TierHuman), current(w.Issuer, rules.TierAuto)
	b64 := base64.RawURLEncoding.EncodeToString
	none := b64([]byte(`{"alg":"none","kid":"`+kid+`"}`)) + "." + b64(must(json.Marshal(body))) + "."
	for name, token := range map[string]string{
		"a token of tier auto":                            w.mint(claims(rules.TierAuto)),
		"the auto key under its own name":                 forge(t, jose.ES256, auto, autoKid, body),
		"the auto key under the human key's name":         forge(t, jose.ES256, auto, kid, body),
		"the auto key without a name":                     forge(t, jose.ES256, auto, "", body),
		"no signature":                                    none,
		"the public key as a shared secret":               forge(t, jose.HS256, must(x509.MarshalPKIXPublicKey(human.Public())), kid, body),
		"a token of tier human with its last part cut":    sound[:strings.LastIndex(sound, ".")+1],
		"a body of tier human with a signature of auto's": sound[:strings.LastIndex(sound, ".")] + "." + strings.Split(w.mint(claims(rules.TierAuto)), ".")[2],
	} {
		if _, err := party.Verify(t.Context(), token); err == nil {
			t.Errorf("%s is taken for tier human", name)
		}
	}
	if _, err := w.party(rules.TierAuto).Verify(t.Context(), sound); err == nil {
		t.Error("a token of tier human is taken for tier auto")
	}
	if humans, autos := w.keys(rules.TierHuman), w.keys(rules.TierAuto); len(humans.Key(autoKid)) != 0 || len(autos.Key(kid)) != 0 {
		t.Error("a key is in the other tier's document")
	}
}

func TestClaimsRefused(t *testing.T) {
	w := newWorld(t, nil)
	now := w.clock.now()
	tags := func(pairs ...string) *issuer.AWSClaims {
		a := &issuer.AWSClaims{Tags: map[string]string{}}
		for i := 0; i < len(pairs); i += 2 {
			a.Tags[pairs[i]] = pairs[i+1]
		}
		return a
	}
	many := &issuer.AWSClaims{Tags: map[string]string{}}
	for i := range 51 {
		many.Tags[fmt.Sprint("k", i)] = "v"
	}
	for name, c := range map[string]struct {
		change func(*issuer.Claims)
		want   string
	}{
		"no tier":                    {func(c *issuer.Claims) { c.Tier = "" }, "want human or auto"},
		"another tier":               {func(c *issuer.Claims) { c.Tier = "Auto" }, "want human or auto"},
		"no audience":                {func(c *issuer.Claims) { c.Audience = "" }, "aud is missing"},
		"a long audience":            {func(c *issuer.Claims) { c.Audience = strings.Repeat("a", 256) }, "aud has 256 bytes"},
		"a newline":                  {func(c *issuer.Claims) { c.Ref = "refs/heads/a\nb" }, "control"},
		"a zero byte":                {func(c *issuer.Claims) { c.Environment = "prod\x00" }, "control"},
		"text from right to left":    {func(c *issuer.Claims) { c.Environment = "prod\u202e" }, "control"},
		"a line separator":           {func(c *issuer.Claims) { c.Credential = "a\u2028b" }, "control"},
		"no UTF-8":                   {func(c *issuer.Claims) { c.Environment = "\xff" }, "UTF-8"},
		"a long environment":         {func(c *issuer.Claims) { c.Environment = strings.Repeat("e", 256) }, "environment has 256"},
		"a long subject":             {func(c *issuer.Claims) { c.Environment = strings.Repeat("e", 100) }, "shorten"},
		"no environment":             {func(c *issuer.Claims) { c.Environment = "" }, "environment is missing"},
		"a long ref":                 {func(c *issuer.Claims) { c.Ref = strings.Repeat("r", 1025) }, "ref has"},
		"no credential":              {func(c *issuer.Claims) { c.Credential = "" }, "credential is missing"},
		"no digest":                  {func(c *issuer.Claims) { c.PolicyDigest = "" }, "policy_digest is missing"},
		"no lease":                   {func(c *issuer.Claims) { c.LeaseID = "" }, "jti"},
		"a lease with signs":         {func(c *issuer.Claims) { c.LeaseID = "a.b" }, "jti"},
		"a long lease":               {func(c *issuer.Claims) { c.LeaseID = strings.Repeat("l", 65) }, "jti"},
		"a short SHA":                {func(c *issuer.Claims) { c.SHA = "abcdef0" }, "sha"},
		"a SHA in upper case":        {func(c *issuer.Claims) { c.SHA = rules.SHA(strings.Repeat("A", 40)) }, "sha"},
		"no repository":              {func(c *issuer.Claims) { c.RepositoryID = 0 }, "repository_id"},
		"no owner":                   {func(c *issuer.Claims) { c.RepositoryOwnerID = 0 }, "repository_owner_id"},
		"no run":                     {func(c *issuer.Claims) { c.RunID = 0 }, "run_id"},
		"no attempt":                 {func(c *issuer.Claims) { c.RunAttempt = -1 }, "run_attempt"},
		"no job":                     {func(c *issuer.Claims) { c.CheckRunID = 0 }, "check_run_id"},
		"no approval":                {func(c *issuer.Claims) { c.ApprovalID, c.ApproverIDs, c.ApprovedAt = "", nil, time.Time{} }, "no approval"},
		"no name of an approval":     {func(c *issuer.Claims) { c.ApprovalID = "" }, "approval_id is missing"},
		"no approver":                {func(c *issuer.Claims) { c.ApproverIDs = nil }, "0 approvers"},
		"an approver without an id":  {func(c *issuer.Claims) { c.ApproverIDs = []rules.AccountID{0} }, "no account"},
		"51 approvers":               {func(c *issuer.Claims) { c.ApproverIDs = make([]rules.AccountID, 51) }, "51 approvers"},
		"approved at no time":        {func(c *issuer.Claims) { c.ApprovedAt = time.Time{} }, "approval was given"},
		"approved in the future":     {func(c *issuer.Claims) { c.ApprovedAt = now.Add(time.Hour) }, "still to come"},
		"half an approval of auto":   {func(c *issuer.Claims) { c.Tier, c.ApproverIDs = rules.TierAuto, nil }, "0 approvers"},
		"a life of 59 s":             {func(c *issuer.Claims) { c.Life = 59 * time.Second }, "want whole seconds"},
		"a negative life":            {func(c *issuer.Claims) { c.Life = -time.Minute }, "want whole seconds"},
		"a life of 121 s":            {func(c *issuer.Claims) { c.Life = 121 * time.Second }, "without an exchange"},
		"a direct life of 10m1s":     {func(c *issuer.Claims) { c.Life, c.Direct = 601*time.Second, true }, "10m0s"},
		"a broken second":            {func(c *issuer.Claims) { c.Life = 90*time.Second + 1 }, "whole seconds"},
		"51 tags":                    {func(c *issuer.Claims) { c.AWS = many }, "51 tags"},
		"a tag of AWS's":             {func(c *issuer.Claims) { c.AWS = tags("AWS:x", "y") }, "aws:"},
		"a tag without a key":        {func(c *issuer.Claims) { c.AWS = tags("", "y") }, "1 to 128"},
		"a tag with a star":          {func(c *issuer.Claims) { c.AWS = tags("a", "*") }, "AWS wants"},
		"a tag with a line":          {func(c *issuer.Claims) { c.AWS = tags("a", "b\u2028c") }, "AWS wants"},
		"two tags that are one":      {func(c *issuer.Claims) { c.AWS = tags("Sha", "a", "sha", "b") }, "are one"},
		"a long tag":                 {func(c *issuer.Claims) { c.AWS = tags("a", strings.Repeat("é", 257)) }, "AWS wants"},
		"a source of one letter":     {func(c *issuer.Claims) { c.AWS = &issuer.AWSClaims{SourceIdentity: "a"} }, "source identity"},
		"a source with a space":      {func(c *issuer.Claims) { c.AWS = &issuer.AWSClaims{SourceIdentity: "alice b"} }, "source identity"},
		"a source that is long":      {func(c *issuer.Claims) { c.AWS = &issuer.AWSClaims{SourceIdentity: strings.Repeat("a", 65)} }, "source identity"},
		"a source that is a letter ": {func(c *issuer.Claims) { c.AWS = &issuer.AWSClaims{SourceIdentity: "ülf"} }, "source identity"},
	} {
		cl := claims(rules.TierHuman)
		c.change(&cl)
		token, err := w.Mint(t.Context(), cl)
		if err == nil || token != "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for _, life := range []time.Duration{time.Minute, 2 * time.Minute, 10 * time.Minute} {
		c := claims(rules.TierHuman)
		c.Life, c.Direct = life, life > issuer.MaxLife
		if got := part(t, w.mint(c), 1); got["exp"] != float64(now.Add(life).Unix()) {
			t.Errorf("a life of %s ends at %v", life, got["exp"])
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Mint(ended, claims(rules.TierHuman)); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

func TestConfigRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*issuer.Config)
		want   string
	}{
		"no address":            {func(c *issuer.Config) { c.URL = "" }, "no issuer"},
		"plain http":            {func(c *issuer.Config) { c.URL = "http://sallyport.example.com" }, "want https"},
		"a slash":               {func(c *issuer.Config) { c.URL = "https://sallyport.example.com/" }, "slash"},
		"a query":               {func(c *issuer.Config) { c.URL = "https://sallyport.example.com?a" }, "no issuer"},
		"a user":                {func(c *issuer.Config) { c.URL = "https://alice@sallyport.example.com" }, "no issuer"},
		"upper case":            {func(c *issuer.Config) { c.URL = "https://Sallyport.example.com" }, "other ways"},
		"an escape":             {func(c *issuer.Config) { c.URL = "https://sallyport.example.com/%61" }, "other ways"},
		"a long address":        {func(c *issuer.Config) { c.URL = "https://sallyport.example.com/" + strings.Repeat("a", 250) }, "bytes"},
		"another algorithm":     {func(c *issuer.Config) { c.Algorithm = "HS256" }, "HS256"},
		"no store":              {func(c *issuer.Config) { c.Store = nil }, "no store"},
		"no error of the store": {func(c *issuer.Config) { c.NoSetting = nil }, "no store"},
		"a file that is absent": {func(c *issuer.Config) { c.KeyFile = filepath.Join(t.TempDir(), "none") }, "cannot be read"},
		"a signer for nobody":   {func(c *issuer.Config) { c.Signers = map[rules.Tier]issuer.Signer{"prod": nil} }, "does not exist"},
		"a nil signer":          {func(c *issuer.Config) { c.Signers = map[rules.Tier]issuer.Signer{rules.TierAuto: nil} }, "nil"},
		"a signer with no key":  {func(c *issuer.Config) { c.Signers = map[rules.Tier]issuer.Signer{rules.TierAuto: remote{}} }, "type"},
	} {
		cfg := issuer.Config{URL: "https://sallyport.example.com", Store: newMemory(), NoSetting: errNoRow, Seal: newSeal("right"), Algorithm: issuer.ES256}
		c.change(&cfg)
		if _, err := issuer.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestSigner(t *testing.T) {
	human := anRSAKey()
	shown := remote{shows: human.Public(), signs: human}
	with := func(tier rules.Tier, s issuer.Signer) func(*issuer.Config) {
		return func(c *issuer.Config) { c.Signers = map[rules.Tier]issuer.Signer{tier: s} }
	}
	w := newWorld(t, with(rules.TierHuman, shown))
	if _, err := w.party(rules.TierHuman).Verify(t.Context(), w.mint(claims(rules.TierHuman))); err != nil {
		t.Error(err)
	}
	if _, err := w.Rotate(t.Context(), rules.TierHuman); err == nil || !strings.Contains(err.Error(), "not made here") {
		t.Errorf("rotating a signer's key: %v", err)
	}
	for name, s := range map[string]remote{
		"one that signs with another key": {shows: human.Public(), signs: anECKey()},
		"an EC one that lies":             {shows: anECKey().Public(), signs: anECKey()},
		"one that fails":                  {shows: human.Public(), signs: human, err: errDisk},
		"one that signs RSA for EC":       {shows: anECKey().Public(), signs: human},
	} {
		if token, err := newWorld(t, with(rules.TierHuman, s)).Mint(t.Context(), claims(rules.TierHuman)); err == nil || token != "" {
			t.Errorf("%s: a token", name)
		}
	}
	_, err := issuer.New(t.Context(), issuer.Config{
		URL: "https://sallyport.example.com", Signers: map[rules.Tier]issuer.Signer{rules.TierHuman: shown, rules.TierAuto: shown},
	})
	if err == nil || !strings.Contains(err.Error(), "a key of its own") {
		t.Errorf("one key for both tiers: %v", err)
	}
}

func TestNeedsSeal(t *testing.T) {
	load := func(tier string) *rules.Targets {
		targets, problems := rules.LoadTargets("targets.yml", []byte("targets:\n  db:\n    tier: "+tier+"\n    repositories: [1]\n    environments: [e]\n    token: {audience: a}\n"))
		if targets == nil {
			t.Fatal(problems)
		}
		return targets
	}
	both := folder(t, map[string][]byte{"human.pem": pkcs8(anRSAKey()), "auto.pem": pkcs8(anECKey())})
	open := func(c *issuer.Config) { c.Seal = nil }
	for name, c := range map[string]struct {
		change  func(*issuer.Config)
		targets *rules.Targets
		needed  bool
	}{
		"sealed":                            {nil, load("human"), false},
		"open, human":                       {open, load("human"), true},
		"open, auto":                        {open, load("auto"), false},
		"open, no targets":                  {open, nil, false},
		"open, a target that is not there":  {open, &rules.Targets{Targets: map[string]*rules.Target{"x": nil}}, true},
		"open, a tier that nobody wrote":    {open, &rules.Targets{Targets: map[string]*rules.Target{"x": {}}}, true},
		"open, all keys in files":           {func(c *issuer.Config) { c.Seal, c.KeyFile = nil, both }, load("human"), false},
		"open, the human key alone in file": {func(c *issuer.Config) { c.Seal, c.KeyFile = nil, filepath.Join(both, "human.pem") }, load("human"), true},
	} {
		err := newWorld(t, c.change).NeedsSeal(c.targets)
		if (err != nil) != c.needed || err != nil && !strings.Contains(err.Error(), "SALLYPORT_SEAL_KEY_FILE") {
			t.Errorf("%s: %v, want needed %t", name, err, c.needed)
		}
	}
	w := newWorld(t, open)
	if _, err := w.Mint(t.Context(), claims(rules.TierHuman)); !errors.Is(err, issuer.ErrNoKey) {
		t.Errorf("a token of tier human without a seal: %v", err)
	}
	if _, err := w.Rotate(t.Context(), rules.TierHuman); !errors.Is(err, issuer.ErrNoKey) {
		t.Errorf("a key of tier human without a seal: %v", err)
	}
	if r, _ := w.get("/.well-known/jwks.json"); r.Code != http.StatusNotFound {
		t.Errorf("documents of a tier without a key: %d", r.Code)
	}
	w.mint(claims(rules.TierAuto))
}

func TestDiscovery(t *testing.T) {
	w := newWorld(t, nil)
	for path, at := range map[string]string{"/.well-known/openid-configuration": w.url, "/auto/.well-known/openid-configuration": w.url + "/auto"} {
		_, body := w.get(path)
		var got map[string]any
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		delete(got, "claims_supported")
		want := `{"id_token_signing_alg_values_supported":["ES256"],"issuer":"` + at + `","jwks_uri":"` + at + `/.well-known/jwks.json","response_types_supported":["id_token"],"scopes_supported":["openid"],"subject_types_supported":["public"]}`
		if text := string(must(json.Marshal(got))); text != want {
			t.Errorf("%s: %s, want %s", path, text, want)
		}
	}
}

func TestHandler(t *testing.T) {
	w := newWorld(t, nil)
	must(w.Rotate(t.Context(), rules.TierHuman))
	for _, path := range published {
		r, body := w.get(path)
		tag := r.Header().Get("ETag")
		if r.Code != http.StatusOK || r.Header().Get("Content-Type") != "application/json" || r.Header().Get("Cache-Control") != "public, max-age=900" || len(tag) < 10 {
			t.Errorf("%s: %d %v", path, r.Code, r.Header())
		}
		for _, c := range []struct {
			method, tag string
			status      int
		}{
			{"HEAD", "", 200}, {"GET", tag, 304}, {"HEAD", "W/" + tag, 304}, {"GET", `"other"`, 200},
			{"POST", "", 405}, {"PUT", "", 405}, {"DELETE", "", 405}, {"OPTIONS", "", 405}, {"TRACE", "", 405},
		} {
			q := httptest.NewRequestWithContext(t.Context(), c.method, path, http.NoBody)
			if c.tag != "" {
				q.Header.Set("If-None-Match", c.tag)
			}
			rec := httptest.NewRecorder()
			w.Handler().ServeHTTP(rec, q)
			if rec.Code != c.status || c.status == 405 && rec.Header().Get("Allow") != "GET, HEAD" || c.method == "HEAD" && rec.Body.Len() > 0 {
				t.Errorf("%s %s with tag %q: %d, want %d", c.method, path, c.tag, rec.Code, c.status)
			}
		}
		if strings.Contains(path, "jwks") {
			onlyPublic(t, body)
		}
	}
	for _, path := range []string{"/", "/.well-known/", "/human/.well-known/jwks.json", "/auto", "/.well-known/jwks.json/x", "/auto/auto/.well-known/jwks.json"} {
		if r, _ := w.get(path); r.Code != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, r.Code)
		}
	}
}

// onlyPublic refuses any member of a key that is not known to be public.
func onlyPublic(t *testing.T, body string) {
	t.Helper()
	var set struct{ Keys []map[string]any }
	if json.Unmarshal([]byte(body), &set) != nil || len(set.Keys) == 0 {
		t.Errorf("no keys: %s", body)
	}
	for _, k := range set.Keys {
		for member := range k {
			if !slices.Contains([]string{"kty", "use", "kid", "alg", "n", "e", "crv", "x", "y"}, member) {
				t.Errorf("a key shows %q", member)
			}
		}
		if k["kid"] == nil || k["alg"] == nil || k["use"] != "sig" {
			t.Errorf("a key says too little: %v", k)
		}
	}
}

func TestNoPrivateMember(t *testing.T) {
	w := newWorld(t, func(c *issuer.Config) {
		c.KeyFile = folder(t, map[string][]byte{"human.pem": pkcs8(anRSAKey()), "human.next.pem": pkcs8(anECKey()), "human.old.pem": pkcs8(anECKey()), "auto.pem": pkcs8(anECKey())})
	})
	_, body := w.get("/.well-known/jwks.json")
	onlyPublic(t, body)
	if n := len(w.keys(rules.TierHuman).Keys); n != 3 {
		t.Errorf("%d keys, want 3", n)
	}
	for _, shown := range []string{fmt.Sprintf("%+v", w.Status()), fmt.Sprintf("%v %+v", w.Issuer, w.Issuer)} {
		if d := anRSAKey().D.String(); strings.Contains(shown, d[:20]) {
			t.Error("a private key is shown")
		}
	}
}

func TestExport(t *testing.T) {
	w := newWorld(t, nil)
	dir := t.TempDir()
	for range 2 { // and again, in place
		if err := w.Export(dir); err != nil {
			t.Fatal(err)
		}
		must(w.Rotate(t.Context(), rules.TierHuman))
		if err := w.Export(dir); err != nil {
			t.Fatal(err)
		}
		files := 0
		_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, _ error) error {
			if !d.IsDir() {
				files++
			}
			return nil
		})
		for _, path := range published {
			if _, body := w.get(path); string(must(os.ReadFile(filepath.Join(dir, path)))) != body {
				t.Errorf("%s: the file is not what is served", path)
			}
		}
		if files != len(published) {
			t.Errorf("%d files, want %d", files, len(published))
		}
	}
	if err := w.Export(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is absent: no error")
	}
	out, trap := t.TempDir(), t.TempDir()
	os.Symlink(out, filepath.Join(trap, ".well-known"))
	if err := w.Export(trap); err == nil {
		t.Error("a link leads out of the folder: no error")
	}
	if entries := must(os.ReadDir(out)); len(entries) > 0 {
		t.Error("a link leads out of the folder, and was followed")
	}
}

func TestMintTogether(t *testing.T) {
	w := newWorld(t, nil)
	var wg sync.WaitGroup
	tokens := make(chan string, 400)
	for n := range 100 {
		wg.Go(func() {
			for range 4 {
				token, err := w.Mint(t.Context(), claims(allTiers[n%2]))
				if err != nil {
					t.Error(err)
					return
				}
				tokens <- token
				w.get("/.well-known/jwks.json")
			}
		})
	}
	for range 3 { // and rotate under way
		must(w.Rotate(t.Context(), rules.TierHuman))
		w.clock.add(issuer.PublishFor)
		if err := w.Tend(t.Context()); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	close(tokens)
	for token := range tokens {
		head, body := part(t, token, 0), part(t, token, 1)
		if (body["iss"] == w.url+"/auto") != (head["kid"] == current(w.Issuer, rules.TierAuto)) {
			t.Error("a key signed for the other tier")
		}
	}
}
