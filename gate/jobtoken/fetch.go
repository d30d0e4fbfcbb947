package jobtoken

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// requestTime is how long the issuer has to answer.
	requestTime = 10 * time.Second
	// maxAnswer is the most that is read of an answer; GitHub's keys are 10 KB.
	maxAnswer = 256 << 10
	// maxKeys is the most keys that an issuer may publish at once.
	maxKeys = 50
	// An RSA key below minBits can be broken, and one above maxBits is slow to
	// verify with.
	minBits, maxBits = 2048, 8192
)

// careful is a client that waits for a moment and goes where it was sent, nowhere
// else.
func careful(given *http.Client) *http.Client {
	c := http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second,
		ResponseHeaderTimeout: requestTime, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
	}}
	if given != nil {
		c = *given
	}
	if c.Timeout <= 0 || c.Timeout > requestTime {
		c.Timeout = requestTime
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Jar = nil
	return &c
}

// secure reports whether nobody on the way can change what an address answers.
func secure(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// fetch reads the issuer's keys, by way of its discovery document.
func (s *keySet) fetch(ctx context.Context) (map[string]*rsa.PublicKey, error) {
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := s.get(ctx, s.cfg.Issuer+"/.well-known/openid-configuration", &discovery); err != nil {
		return nil, err
	}
	if discovery.Issuer != s.cfg.Issuer {
		return nil, fmt.Errorf("the issuer %q says that it is %.100q", s.cfg.Issuer, discovery.Issuer)
	}
	uri, err := url.Parse(discovery.Keys)
	if err != nil || uri.User != nil || uri.Scheme != s.issuer.Scheme || !strings.EqualFold(uri.Host, s.issuer.Host) {
		return nil, fmt.Errorf("the issuer %q has its keys at %.200q, want them at its own host", s.cfg.Issuer, discovery.Keys)
	}
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := s.get(ctx, uri.String(), &set); err != nil {
		return nil, err
	}
	if set.Keys == nil || len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("%s has %d keys, want a list of %d at most", uri, len(set.Keys), maxKeys)
	}
	return usable(set.Keys), nil
}

// get reads a JSON document.
func (s *keySet) get(ctx context.Context, from string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return fmt.Errorf("asking %q: %w", from, err)
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "sallyport")
	answer, err := s.cfg.HTTP.Do(r)
	if err != nil {
		return err // names the address
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d, want 200", from, answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", from, err)
	}
	if len(body) > maxAnswer {
		return fmt.Errorf("%s answers more than %d bytes", from, maxAnswer)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("reading %s: %w", from, err)
	}
	return nil
}

// usable are the keys that can sign a job's token. Others are left out: an issuer
// may publish keys for other purposes. Two of one name are left out both.
func usable(keys []jsontext.Value) map[string]*rsa.PublicKey {
	out := map[string]*rsa.PublicKey{}
	doubled := map[string]bool{}
	for _, k := range keys {
		kid, key, ok := rsaKey(k)
		if !ok {
			continue
		}
		doubled[kid] = doubled[kid] || out[kid] != nil
		out[kid] = key
	}
	for kid, twice := range doubled {
		if twice {
			delete(out, kid)
		}
	}
	return out
}

// rsaKey reads a public key for RS256 (RFC 7517, RFC 7518 §6.3). The general reader
// of go-jose also takes private keys and certificates, and is by its own word not
// meant for what strangers send.
func rsaKey(raw jsontext.Value) (kid string, key *rsa.PublicKey, ok bool) {
	var k struct {
		Type      string `json:"kty"`
		Use       string `json:"use"`
		Algorithm string `json:"alg"`
		ID        string `json:"kid"`
		Modulus   string `json:"n"`
		Exponent  string `json:"e"`
		Private   string `json:"d"`
	}
	if json.Unmarshal(raw, &k) != nil || k.Type != "RSA" || k.ID == "" || len(k.ID) > maxKid || k.Private != "" ||
		k.Use != "" && k.Use != "sig" || k.Algorithm != "" && k.Algorithm != "RS256" {
		return "", nil, false
	}
	n, err := base64.RawURLEncoding.DecodeString(k.Modulus)
	if err != nil || len(n) > maxBits/8+1 {
		return "", nil, false
	}
	e, err := base64.RawURLEncoding.DecodeString(k.Exponent)
	if err != nil || len(e) > 4 {
		return "", nil, false
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	if modulus.BitLen() < minBits || modulus.BitLen() > maxBits || modulus.Bit(0) == 0 ||
		exponent.BitLen() < 2 || exponent.BitLen() > 31 || exponent.Bit(0) == 0 {
		return "", nil, false
	}
	return k.ID, &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, true
}
