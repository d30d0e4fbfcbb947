package githubtest_test

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// claims verifies a token as a relying party does, through discovery.
func (w *world) claims(token, audience string) (jwt.MapClaims, error) {
	w.t.Helper()
	d := w.call("", "GET", w.g.OIDCIssuer()+"/.well-known/openid-configuration", nil)
	if d.get("issuer") != w.g.OIDCIssuer() {
		w.t.Fatalf("the issuer says it is %v", d.get("issuer"))
	}
	uri, _ := d.get("jwks_uri").(string)
	keys := w.call("", "GET", uri, nil)
	out := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(token, out, func(t *jwt.Token) (any, error) {
		var set struct {
			Keys []struct{ Kid, N, E string } `json:"keys"`
		}
		if err := json.Unmarshal(keys.body, &set); err != nil {
			return nil, err
		}
		for _, k := range set.Keys {
			if k.Kid == t.Header["kid"] {
				n, err := base64.RawURLEncoding.DecodeString(k.N)
				if err != nil {
					return nil, err
				}
				e, err := base64.RawURLEncoding.DecodeString(k.E)
				return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, err
			}
		}
		return nil, jwt.ErrTokenUnverifiable
	}, jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(w.g.OIDCIssuer()), jwt.WithAudience(audience), jwt.WithTimeFunc(w.clock.Now))
	return out, err
}

func TestJobTokens(t *testing.T) {
	w := newWorld(t)
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: w.alice, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "staging"}}})
	job := run.Job("deploy")
	c, err := w.claims(job.IDToken("https://sallyport.example.com", nil), "https://sallyport.example.com")
	w.must(err)
	id := func(n int64) string { return strconv.FormatInt(n, 10) }
	for claim, want := range map[string]string{
		"repository": "acme/orders", "repository_id": id(w.repo.ID), "repository_owner_id": id(w.acme.ID), "run_id": id(run.ID), "run_attempt": "1", "check_run_id": id(job.ID), "environment": "staging",
		"job_workflow_ref": "acme/orders/" + deploy + "@refs/heads/main", "job_workflow_sha": w.repo.Head("main"), "sha": w.repo.Head("main"), "ref": "refs/heads/main", "event_name": "push", "runner_environment": "github-hosted",
		"actor_id": id(w.alice.ID), "sub": "repo:acme@" + id(w.acme.ID) + "/orders@" + id(w.repo.ID) + ":environment:staging",
	} {
		if c[claim] != want {
			t.Errorf("%s is %v, want %s", claim, c[claim], want)
		}
	}
	for claim, v := range c {
		if _, isText := v.(string); !isText && claim != "exp" && claim != "iat" && claim != "nbf" {
			t.Errorf("%s is a %T, all but the times are texts", claim, v)
		}
	}
	if again, err := w.claims(job.IDToken("x", nil), "x"); err != nil || again["jti"] == c["jti"] {
		t.Errorf("a second token has the jti %v again, %v", again["jti"], err)
	}
	w.clock.Advance(6 * time.Minute)
	old := job.IDToken("x", func(m map[string]any) { m["exp"] = w.clock.Now().Add(-time.Minute).Unix() })
	if _, err := w.claims(old, "x"); err == nil {
		t.Error("an expired token passes")
	}
}

func TestSubjectsOfOldRepositoriesHaveNames(t *testing.T) {
	clock := githubtest.NewClock(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC))
	w := newWorld(t, githubtest.Config{Now: clock.Now})
	w.clock = clock
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: w.alice, Jobs: []githubtest.JobSpec{{Name: "test"}}})
	c, err := w.claims(run.Job("test").IDToken("x", nil), "x")
	w.must(err)
	if c["sub"] != "repo:acme/orders:ref:refs/heads/main" || c["environment"] != nil {
		t.Errorf("sub is %v, environment %v", c["sub"], c["environment"])
	}
}

func TestKeysRotate(t *testing.T) {
	w := newWorld(t)
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: w.alice, Jobs: []githubtest.JobSpec{{Name: "test"}}})
	before := run.Job("test").IDToken("x", nil)
	w.g.RotateOIDC()
	after := run.Job("test").IDToken("x", nil)
	for _, token := range []string{before, after} {
		if _, err := w.claims(token, "x"); err != nil {
			t.Error(err)
		}
	}
	kid := func(s string) string { head, _, _ := strings.Cut(s, "."); return head }
	if kid(before) == kid(after) {
		t.Error("the new token has the old key")
	}
}

func TestAStepAsksForItsToken(t *testing.T) {
	w := newWorld(t)
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: w.alice, Jobs: []githubtest.JobSpec{{Name: "test"}}})
	url, bearer := run.Job("test").TokenRequest()
	a := w.call(bearer, "GET", url+"&audience=https%3A%2F%2Fx.example.com", nil)
	token, _ := a.get("value").(string)
	if _, err := w.claims(token, "https://x.example.com"); err != nil {
		t.Error(err)
	}
	if a := w.call("guess", "GET", url+"&audience=x", nil); a.status != http.StatusUnauthorized {
		t.Errorf("another bearer answers %d, want 401", a.status)
	}
	w.must(run.Job("test").Complete("success"))
	if a := w.call(bearer, "GET", url+"&audience=x", nil); a.status != http.StatusUnauthorized {
		t.Errorf("after the job's end the answer is %d, want 401", a.status)
	}
}
