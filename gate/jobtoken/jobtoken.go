// Package jobtoken verifies the OIDC token of a GitHub Actions job.
//
//	v, err := jobtoken.New(jobtoken.Config{Issuer: "https://token.actions.githubusercontent.com", Audience: "https://sallyport.example.com"})
//	token, err := v.Verify(ctx, raw)
//	var refused *rules.TokenRefused
//	switch {
//	case errors.As(err, &refused): // 401: the token is not good
//	case err != nil:               // 503: the issuer cannot be reached
//	}
//
// A token counts for nothing but what its claims say, and only the ids among them
// identify. The subject is not read: its form differs between repositories, and an
// owner can replace it.
//
// A token is good for as often as it is shown until it expires. What may happen
// once is made unique where it is written down, on the job and not on the token: a
// job can fetch as many as it likes.
//
// # Whoever controls the issuer
//
// The keys come from the issuer over TLS. Whoever controls it, or its name, can say
// that any job runs anywhere. That is why a lease also asks GitHub whether exactly
// this job is in progress, and needs a grant that people made.
package jobtoken

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/rules"
)

// MaxToken is the longest token in bytes that is looked at. GitHub's have about
// 2,000; custom properties of a repository make them longer.
const MaxToken = 16 << 10

const (
	// leeway is how far the issuer's clock and ours may differ. GitHub's is known to
	// run some seconds ahead.
	leeway = time.Minute
	// maxLife is the most that a token may live. GitHub's live 5 minutes.
	maxLife = 10 * time.Minute
	// maxKid is the longest name of a key that is looked up.
	maxKid = 256
)

// Config is what a verifier works with.
type Config struct {
	// Issuer is the iss of every token, exactly. Plain http is for loopback only.
	Issuer string
	// Audience is what a job fetches its token for, exactly: SALLYPORT_URL.
	Audience string
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
	// HTTP reads the issuer's keys. It follows no redirect and waits for at most 10
	// seconds, whatever it is set to. Nil is one of our own.
	HTTP *http.Client
	// Log is told when the issuer's keys cannot be read, never of a token. Nil is
	// silence.
	Log *slog.Logger
}

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	cfg  Config
	keys *keySet
}

// New makes a verifier. It sends nothing: an issuer that is down does not keep the
// server from starting.
func New(cfg Config) (*Verifier, error) {
	issuer, err := url.Parse(cfg.Issuer)
	switch {
	case err != nil || issuer.Host == "" || issuer.Opaque != "" || issuer.User != nil || strings.ContainsAny(cfg.Issuer, "?#"):
		return nil, fmt.Errorf("jobtoken: %q is not an issuer, such as https://token.actions.githubusercontent.com", cfg.Issuer)
	case strings.HasSuffix(cfg.Issuer, "/"):
		return nil, fmt.Errorf("jobtoken: the issuer %q ends with a slash, which no token's iss does; leave it out", cfg.Issuer)
	case !secure(issuer):
		return nil, fmt.Errorf("jobtoken: anybody on the way could replace the keys of %q: want https", cfg.Issuer)
	case cfg.Audience == "":
		return nil, errors.New("jobtoken: no audience: a token made for anybody would be accepted")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.HTTP = careful(cfg.HTTP)
	return &Verifier{cfg: cfg, keys: &keySet{cfg: &cfg, issuer: issuer}}, nil
}

// Verify checks a token and returns what it says. A *[rules.TokenRefused] is the
// caller's fault; any other error is temporary: the issuer's keys cannot be read,
// or ctx ended.
func (v *Verifier) Verify(ctx context.Context, raw string) (rules.JobToken, error) {
	if len(raw) > MaxToken {
		return rules.JobToken{}, refuse(rules.TokenMalformed, "", "the token is longer than %d bytes", MaxToken)
	}
	kid, jws, err := parse(raw)
	if err != nil {
		return rules.JobToken{}, err
	}
	// What everybody may see is looked at first, so that a token for somebody else
	// is told so, and asks the issuer for no key. It is worth nothing before the
	// signature.
	now := v.cfg.Now()
	seen := jws.UnsafePayloadWithoutVerification()
	c, err := read(seen)
	if err == nil {
		err = v.meant(c, now)
	}
	if err != nil {
		return rules.JobToken{}, err
	}
	a := &attempt{keys: v.keys, kid: kid, jws: jws}
	config := &oidc.Config{
		ClientID: v.cfg.Audience, SupportedSigningAlgs: []string{oidc.RS256},
		Now: func() time.Time { return now.Add(-leeway) },
	}
	if _, err := oidc.NewVerifier(v.cfg.Issuer, a, config).Verify(ctx, raw); err != nil {
		if a.err != nil {
			return rules.JobToken{}, a.err
		}
		return rules.JobToken{}, refuse(rules.TokenMalformed, "", "the token is not one of a job: %.200s", err)
	}
	if !a.verified || !bytes.Equal(a.payload, seen) {
		return rules.JobToken{}, refuse(rules.TokenSignature, "", "the token is not what was signed")
	}
	return c.token()
}

// parse takes a token apart: three parts in the compact form, RS256, one key.
func parse(raw string) (kid string, jws *jose.JSONWebSignature, err error) {
	if strings.Trim(raw, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return "", nil, refuse(rules.TokenMalformed, "", "want an OIDC token: three parts of base64url with dots between them")
	}
	jws, err = jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.RS256})
	var algorithm *jose.ErrUnexpectedSignatureAlgorithm
	switch {
	case errors.As(err, &algorithm):
		return "", nil, refuse(rules.TokenAlgorithm, "", "the token is signed with %.20q, want \"RS256\"", string(algorithm.Got))
	case err != nil || len(jws.Signatures) != 1:
		return "", nil, refuse(rules.TokenMalformed, "", "the token cannot be read")
	}
	kid = jws.Signatures[0].Header.KeyID
	if kid == "" || len(kid) > maxKid {
		return "", nil, refuse(rules.TokenKey, "", "the token does not name the key that signed it")
	}
	return kid, jws, nil
}

// attempt is one token's look at the keys. The library flattens a key set's error
// to text, so it is kept here.
type attempt struct {
	keys *keySet
	kid  string
	jws  *jose.JSONWebSignature

	verified bool
	payload  []byte
	err      error
}

// VerifySignature is called by the library with the token that was parsed.
func (a *attempt) VerifySignature(ctx context.Context, _ string) ([]byte, error) {
	key, err := a.keys.find(ctx, a.kid)
	if err != nil {
		a.err = err
		return nil, err
	}
	payload, err := a.jws.Verify(key)
	if err != nil {
		a.err = refuse(rules.TokenSignature, "", "the issuer's key %.64q did not sign the token", a.kid)
		return nil, a.err
	}
	a.verified, a.payload = true, payload
	return payload, nil
}

func refuse(code, claim, format string, args ...any) error {
	return &rules.TokenRefused{Code: code, Claim: claim, Text: fmt.Sprintf(format, args...)}
}
