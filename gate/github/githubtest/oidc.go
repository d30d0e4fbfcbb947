package githubtest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// immutableSince is the day from which new repositories have subjects with ids.
func immutableSince() time.Time { return time.Date(2026, 7, 15, 0, 0, 0, 0, time.UTC) }

// issuer is the Actions OIDC issuer. It has its own lock, since making a key takes
// a moment.
type issuer struct {
	mu   sync.Mutex
	keys []*rsa.PrivateKey // the last one signs
	kids []string
}

// signing is the key that signs now, made on first use.
func (i *issuer) signing() (*rsa.PrivateKey, string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.keys) == 0 {
		i.add()
	}
	n := len(i.keys) - 1
	return i.keys[n], i.kids[n]
}

func (i *issuer) add() {
	i.keys = append(i.keys, newKey())
	i.kids = append(i.kids, rand.Text())
}

// RotateOIDC makes the issuer sign with a new key; the old ones stay published.
func (g *GitHub) RotateOIDC() {
	g.issuer.signing()
	g.issuer.mu.Lock()
	defer g.issuer.mu.Unlock()
	g.issuer.add()
}

// OIDCIssuer is the iss of the jobs' tokens; its discovery document is below it.
func (g *GitHub) OIDCIssuer() string { return g.url + "/_oidc" }

// IDToken is an OIDC token of the job for an audience ("" for the default one).
// change, if not nil, may alter the claims before they are signed: for tokens that
// GitHub would never give.
func (j *Job) IDToken(audience string, change func(claims map[string]any)) string {
	g := j.run.repo.g
	g.mu.Lock()
	claims := j.claims(audience)
	g.mu.Unlock()
	if change != nil {
		change(claims)
	}
	key, kid := g.issuer.signing()
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(claims))
	t.Header["kid"] = kid
	signed, err := t.SignedString(key)
	if err != nil {
		misuse("signing a token: %v", err)
	}
	g.secrets.keep(SecretJob, signed)
	return signed
}

// claims are the claims of a job's token: all are texts, but for the times.
func (j *Job) claims(audience string) map[string]any {
	run, r := j.run, j.run.repo
	g := r.g
	now := g.Now()
	if audience == "" {
		audience = g.cfg.WebURL + "/" + r.owner.login
	}
	workflowRef := r.fullName() + "/" + run.workflow.path + "@" + run.ref
	c := map[string]any{
		"iss": g.OIDCIssuer(), "aud": audience, "jti": guid(), "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "nbf": now.Add(-10 * time.Minute).Unix(),
		"actor": run.actor.login, "actor_id": itoa(run.actor.ID), "base_ref": "", "head_ref": "", "check_run_id": itoa(j.ID),
		"event_name": run.event, "job_workflow_ref": workflowRef, "job_workflow_sha": run.githubSHA, "ref": run.ref, "ref_type": "branch", "ref_protected": "false",
		"repository": r.fullName(), "repository_id": itoa(r.ID), "repository_owner": r.owner.login, "repository_owner_id": itoa(r.owner.ID),
		"repository_visibility": visibility(r), "run_id": itoa(run.ID), "run_number": itoa(int64(run.number)), "run_attempt": itoa(int64(j.attempt)),
		"runner_environment": "github-hosted", "sha": run.githubSHA, "workflow": run.workflow.name, "workflow_ref": workflowRef, "workflow_sha": run.githubSHA,
	}
	if j.spec.SelfHosted {
		c["runner_environment"] = "self-hosted"
	}
	if j.spec.DefinedIn != "" {
		c["job_workflow_ref"] = j.spec.DefinedIn
	}
	if j.spec.DefinedAt != "" {
		c["job_workflow_sha"] = j.spec.DefinedAt
	}
	if strings.HasPrefix(run.ref, "refs/tags/") {
		c["ref_type"] = "tag"
	}
	if branch, ok := strings.CutPrefix(run.ref, "refs/heads/"); ok && r.requirements(branch).any {
		c["ref_protected"] = "true"
	}
	if p := run.pull(); p != nil && strings.HasPrefix(run.event, "pull_request") {
		c["base_ref"], c["head_ref"] = p.baseRef, p.headRef
	}
	subject := "repo:" + r.fullName()
	if r.created.After(immutableSince()) {
		subject = "repo:" + r.owner.login + "@" + itoa(r.owner.ID) + "/" + r.name + "@" + itoa(r.ID)
	}
	escape := func(s string) string { return strings.ReplaceAll(s, ":", "%3A") }
	switch {
	case j.spec.Environment != "":
		c["environment"] = j.spec.Environment
		subject += ":environment:" + escape(j.spec.Environment)
	case strings.HasPrefix(run.event, "pull_request") && run.event != "pull_request_target":
		subject += ":pull_request"
	default:
		subject += ":ref:" + escape(run.ref)
	}
	c["sub"] = subject
	return c
}

func visibility(r *Repository) string {
	if r.private {
		return "private"
	}
	return "public"
}

// TokenRequest is what a step of the job finds in ACTIONS_ID_TOKEN_REQUEST_URL and
// ACTIONS_ID_TOKEN_REQUEST_TOKEN. It works while the job is in progress.
func (j *Job) TokenRequest() (url, bearer string) {
	g := j.run.repo.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if j.tokenKey == "" {
		j.tokenKey = rand.Text()
		g.secrets.keep(SecretRequest, j.tokenKey)
	}
	return g.url + "/_oidc/token?job=" + itoa(j.ID) + "&api-version=2.0", j.tokenKey
}

// serveOIDC answers the issuer's addresses.
func (g *GitHub) serveOIDC(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch strings.TrimPrefix(r.URL.Path, "/_oidc") {
	case "/.well-known/openid-configuration":
		_, _ = w.Write(encode(obj{
			"issuer": g.OIDCIssuer(), "jwks_uri": g.OIDCIssuer() + "/.well-known/jwks", "subject_types_supported": []string{"public", "pairwise"},
			"response_types_supported": []string{"id_token"}, "id_token_signing_alg_values_supported": []string{"RS256"}, "scopes_supported": []string{"openid"},
			"claims_supported": []string{"sub", "aud", "exp", "iat", "iss", "jti", "nbf", "ref", "sha", "repository", "repository_id", "repository_owner", "repository_owner_id", "run_id", "run_number", "run_attempt", "actor", "actor_id", "workflow", "workflow_ref", "workflow_sha", "head_ref", "base_ref", "event_name", "ref_type", "ref_protected", "environment", "job_workflow_ref", "job_workflow_sha", "runner_environment", "check_run_id"},
		}))
	case "/.well-known/jwks":
		g.issuer.signing()
		g.issuer.mu.Lock()
		defer g.issuer.mu.Unlock()
		keys := []any{}
		for n, k := range g.issuer.keys {
			keys = append(keys, obj{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": g.issuer.kids[n],
				"n": base64.RawURLEncoding.EncodeToString(k.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes())})
		}
		_, _ = w.Write(encode(obj{"keys": keys}))
	case "/token":
		g.mu.Lock()
		j := g.jobs[asID(r.URL.Query().Get("job"))]
		ok := j != nil && j.tokenKey != "" && r.Header.Get("Authorization") == "Bearer "+j.tokenKey && j.check.status == "in_progress"
		g.mu.Unlock()
		if !ok {
			http.Error(w, `{"message":"Bad credentials"}`, http.StatusUnauthorized)
			return
		}
		value := j.IDToken(r.URL.Query().Get("audience"), nil)
		_, _ = w.Write(encode(obj{"count": len(value), "value": value}))
	default:
		http.NotFound(w, r)
	}
}
