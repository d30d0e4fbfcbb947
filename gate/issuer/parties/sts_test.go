package parties_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/go-jose/go-jose/v4"
)

// sts is a token service that takes what AWS documents that it takes, and nothing
// else (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html,
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html). It has one
// account with one role and those OIDC providers that were made. What AWS does not
// document is decided strictly: no leeway for exp and nbf, no port in an issuer, no
// field and no condition that it does not know. It knows no packed size of policies.
type sts struct {
	*testing.T
	url       string
	client    *http.Client // of who calls it
	issuers   *http.Client // reaches the issuers
	later     atomic.Int64 // how far its clock is ahead, in nanoseconds
	providers map[string][]string
	role      string
	trust     document
	// may is what the role's own policy allows.
	may []string

	mu       sync.Mutex
	sessions map[string]*session // by session token
}

type session struct {
	keys    aws.Credentials
	name    string
	source  string
	tags    map[string]string
	policy  *document // nil is none
	expires time.Time
}

// longest is the role's maximum session duration, as it is unless somebody says.
const longest = 3600

// refusal is an error as AWS says it.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

func refuse(code, format string, args ...any) error {
	status := http.StatusBadRequest
	if slices.Contains([]string{"AccessDenied", "InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken"}, code) {
		status = http.StatusForbidden
	}
	return &refusal{status, code, fmt.Sprintf(format, args...)}
}

func (s *sts) now() time.Time { return time.Now().Add(time.Duration(s.later.Load())) }

func (w *world) newSTS(role string) *sts {
	w.Helper()
	s := &sts{T: w.T, issuers: w.client, providers: map[string][]string{}, role: role, sessions: map[string]*session{}}
	server := httptest.NewTLSServer(s)
	w.Cleanup(server.Close)
	s.url, s.client = server.URL, server.Client()
	return s
}

// ServeHTTP is the query API.
func (s *sts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const namespace = "https://sts.amazonaws.com/doc/2011-06-15/"
	result, err := s.answer(r)
	w.Header().Set("Content-Type", "text/xml")
	var no *refusal
	if errors.As(err, &no) {
		type fault struct{ Type, Code, Message string }
		w.WriteHeader(no.status)
		s.encode(w, struct {
			XMLName   xml.Name `xml:"ErrorResponse"`
			Namespace string   `xml:"xmlns,attr"`
			Error     fault
			RequestID string `xml:"RequestId"`
		}{Namespace: namespace, Error: fault{"Sender", no.code, no.message}, RequestID: "r"})
		return
	}
	if err != nil {
		s.Error(err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	s.encode(w, result)
}

func (s *sts) encode(w io.Writer, v any) {
	if err := xml.NewEncoder(w).Encode(v); err != nil {
		s.Error(err)
	}
}

func (s *sts) answer(r *http.Request) (any, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 128<<10))
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/" || r.URL.RawQuery != "" || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return nil, refuse("MalformedQueryString", "%s %s", r.Method, r.URL)
	}
	if form.Get("Version") != "2011-06-15" {
		return nil, refuse("InvalidAction", "Could not find operation %s for version %s", form.Get("Action"), form.Get("Version"))
	}
	for name, values := range form {
		if len(values) != 1 {
			return nil, refuse("ValidationError", "%s is given %d times", name, len(values))
		}
	}
	switch action := form.Get("Action"); action {
	case "AssumeRoleWithWebIdentity":
		if r.Header.Get("Authorization") != "" {
			return nil, refuse("InvalidClientTokenId", "the call is not signed: whoever makes it has no keys")
		}
		return s.assume(r.Context(), form)
	case "DecodeAuthorizationMessage":
		by, err := s.caller(r, body)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(s.may, "sts:"+action) || by.policy != nil && !by.policy.allows("sts:"+action, s.now()) {
			return nil, refuse("AccessDenied", "User: %s is not authorized to perform: sts:%s", by.name, action)
		}
		type decoded struct{ DecodedMessage string }
		return struct {
			XMLName xml.Name `xml:"DecodeAuthorizationMessageResponse"`
			Result  decoded  `xml:"DecodeAuthorizationMessageResult"`
		}{Result: decoded{"{}"}}, nil
	case "":
		return nil, refuse("MissingAction", "no action")
	default:
		return nil, refuse("InvalidAction", "Could not find operation %s", action)
	}
}

// caller is whose session signed a request (Signature Version 4).
func (s *sts) caller(r *http.Request, body []byte) (*session, error) {
	s.mu.Lock()
	by := s.sessions[r.Header.Get("X-Amz-Security-Token")]
	s.mu.Unlock()
	parts := regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=(\w+)/[0-9]{8}/([a-z0-9-]+)/sts/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=[0-9a-f]{64}$`).FindStringSubmatch(r.Header.Get("Authorization"))
	if by == nil || parts == nil || parts[1] != by.keys.AccessKeyID {
		return nil, refuse("InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return nil, refuse("IncompleteSignature", "no date")
	}
	// The same request, signed again with the keys that were given.
	again, err := http.NewRequestWithContext(r.Context(), r.Method, s.url+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	again.Host = r.Host
	for name := range strings.SplitSeq(parts[3], ";") {
		if name != "host" && name != "content-length" {
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(r.Context(), by.keys, again, hex.EncodeToString(sum[:]), "sts", parts[2], signed); err != nil {
		return nil, err
	}
	switch {
	case again.Header.Get("Authorization") != r.Header.Get("Authorization"):
		return nil, refuse("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided.")
	case !s.now().Before(by.expires):
		return nil, refuse("ExpiredToken", "The security token included in the request is expired")
	}
	return by, nil
}

var (
	roleARN     = regexp.MustCompile(`^arn:aws(-cn|-us-gov)?:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}$`)
	sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
)

// assume is AssumeRoleWithWebIdentity.
func (s *sts) assume(ctx context.Context, form url.Values) (any, error) {
	for name := range form {
		if !slices.Contains([]string{"Action", "Version", "RoleArn", "RoleSessionName", "WebIdentityToken", "DurationSeconds", "Policy"}, name) {
			return nil, refuse("ValidationError", "unknown parameter %s", name)
		}
	}
	role, name, token, policy := form.Get("RoleArn"), form.Get("RoleSessionName"), form.Get("WebIdentityToken"), form.Get("Policy")
	seconds := longest
	if text := form.Get("DurationSeconds"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 900 || n > 43200 {
			return nil, refuse("ValidationError", "durationSeconds %s: want 900 to 43200", text)
		}
		seconds = n
	}
	switch {
	case len(role) < 20 || len(role) > 2048 || !roleARN.MatchString(role):
		return nil, refuse("ValidationError", "%s is invalid", role)
	case !sessionName.MatchString(name):
		return nil, refuse("ValidationError", "roleSessionName %q", name)
	case len(token) < 4 || len(token) > 20000:
		return nil, refuse("ValidationError", "webIdentityToken has %d characters", len(token))
	case seconds > longest:
		return nil, refuse("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	case len(policy) > 2048:
		return nil, refuse("ValidationError", "policy has %d characters: want 2048 at most", len(policy))
	}
	made := &session{name: name, expires: s.now().Add(time.Duration(seconds) * time.Second)}
	if form.Has("Policy") {
		d, err := readDocument([]byte(policy))
		if err != nil || d.checkSession() != nil {
			return nil, refuse("MalformedPolicyDocument", "%v %v", err, d.checkSession())
		}
		made.policy = &d
	}
	c, err := s.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	made.tags, made.source = c.tags, c.source
	if role != s.role || !s.trusts(c) {
		return nil, refuse("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	}
	made.keys = aws.Credentials{AccessKeyID: "ASIA" + strings.ToUpper(rand.Text()[:16]), SecretAccessKey: rand.Text() + rand.Text()[:14], SessionToken: rand.Text() + rand.Text()}
	s.mu.Lock()
	s.sessions[made.keys.SessionToken] = made
	s.mu.Unlock()
	type credentials struct {
		AccessKeyID     string `xml:"AccessKeyId"`
		SecretAccessKey string
		SessionToken    string
		Expiration      string
	}
	type result struct {
		Credentials    credentials
		Subject        string `xml:"SubjectFromWebIdentityToken"`
		Audience       string
		Provider       string
		SourceIdentity string `xml:",omitempty"`
	}
	return struct {
		XMLName   xml.Name `xml:"AssumeRoleWithWebIdentityResponse"`
		Namespace string   `xml:"xmlns,attr"`
		Result    result   `xml:"AssumeRoleWithWebIdentityResult"`
	}{
		Namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
		Result: result{
			credentials{made.keys.AccessKeyID, made.keys.SecretAccessKey, made.keys.SessionToken, made.expires.UTC().Format(time.RFC3339)},
			c.subject, c.audience, c.provider, c.source,
		},
	}, nil
}

// identity is what a verified token says.
type identity struct {
	provider, subject, audience, source string
	tags                                map[string]string
}

// verify is what AWS does with a token before it looks at any role.
func (s *sts) verify(ctx context.Context, token string) (*identity, error) {
	invalid := func(format string, args ...any) error { return refuse("InvalidIdentityToken", format, args...) }
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512})
	if err != nil {
		return nil, invalid("The ID Token provided is not a valid JWT: %v", err)
	}
	var said struct {
		Issuer string `json:"iss"`
	}
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &said); err != nil {
		return nil, invalid("The ID Token provided is not a valid JWT: %v", err)
	}
	clients, known := s.providers[said.Issuer]
	if !known {
		return nil, invalid("No OpenIDConnect provider found in your account for %s", said.Issuer)
	}
	payload, err := s.signature(ctx, said.Issuer, jws)
	if err != nil {
		return nil, err
	}
	claims := object{}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if err := d.Decode(&claims); err != nil {
		return nil, invalid("not an object: %v", err)
	}
	times := map[string]time.Time{}
	for _, name := range []string{"exp", "iat", "nbf"} {
		value, there := claims[name]
		if !there && name == "nbf" {
			continue
		}
		number, _ := value.(json.Number)
		n, err := number.Int64()
		if err != nil {
			return nil, invalid("%s is %v: want whole seconds", name, value)
		}
		times[name] = time.Unix(n, 0)
	}
	if now := s.now(); !now.Before(times["exp"]) {
		return nil, refuse("ExpiredTokenException", "Token expired: current date/time must be before the expiration date/time")
	} else if now.Before(times["nbf"]) {
		return nil, invalid("Token is not valid yet")
	}
	out := &identity{provider: strings.TrimPrefix(said.Issuer, "https://")}
	out.subject, _ = claims["sub"].(string)
	if n := len(out.subject); n < 6 || n > 255 {
		return nil, invalid("sub has %d characters: want 6 to 255", n)
	}
	out.audience, _ = claims["aud"].(string)
	if !slices.Contains(clients, out.audience) {
		return nil, invalid("Incorrect token audience")
	}
	return out, out.session(claims)
}

// signature verifies a token with the keys that its issuer publishes now.
func (s *sts) signature(ctx context.Context, iss string, jws *jose.JSONWebSignature) ([]byte, error) {
	var about struct {
		Issuer        string   `json:"issuer"`
		Keys          string   `json:"jwks_uri"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		Algorithms    []string `json:"id_token_signing_alg_values_supported"`
		Claims        []string `json:"claims_supported"`
	}
	if err := s.fetch(ctx, iss+"/.well-known/openid-configuration", &about); err != nil {
		return nil, err
	}
	header := jws.Signatures[0].Header
	if about.Issuer != iss || !strings.HasPrefix(about.Keys, "https://") || len(about.SubjectTypes) == 0 || len(about.Claims) == 0 || !slices.Contains(about.ResponseTypes, "id_token") || !slices.Contains(about.Algorithms, header.Algorithm) {
		return nil, refuse("InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider: %+v", about)
	}
	var keys jose.JSONWebKeySet
	if err := s.fetch(ctx, about.Keys, &keys); err != nil {
		return nil, err
	}
	for _, k := range keys.Key(header.KeyID) {
		if payload, err := jws.Verify(k); err == nil && k.Algorithm == header.Algorithm && k.Use == "sig" && k.IsPublic() {
			return payload, nil
		}
	}
	return nil, refuse("InvalidIdentityToken", "The signature does not verify with any key named %q", header.KeyID)
}

func (s *sts) fetch(ctx context.Context, address string, into any) error {
	unreachable := func(err error) error {
		return refuse("IDPCommunicationError", "%s: %v", address, err)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return unreachable(err)
	}
	r, err := s.issuers.Do(q)
	if err != nil {
		return unreachable(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err == nil && r.StatusCode != http.StatusOK {
		err = errors.New(r.Status)
	}
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return unreachable(err)
	}
	return nil
}
