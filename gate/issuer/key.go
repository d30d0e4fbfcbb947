package issuer

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/big"

	"github.com/go-jose/go-jose/v4"
)

// The algorithms that tokens are signed with (RFC 7518 §3.1).
const (
	RS256 = "RS256" // understood by every relying party
	ES256 = "ES256" // faster; Microsoft Entra does not document that it takes it
)

const (
	// An RSA key below minBits can be broken, and one above maxBits is refused by
	// relying parties and slow. Keys made here have minBits.
	minBits, maxBits = 2048, 4096
	// rsaExponent is the public exponent that everybody takes.
	rsaExponent = 65537
)

// Signer signs with a key that need not be here: a key management service fits
// behind it. It is safe for concurrent use.
type Signer interface {
	// Public is the public key, always the same: an *[rsa.PublicKey] of 2048 bits
	// or more, which makes the algorithm RS256, or an *[ecdsa.PublicKey] on P-256,
	// which makes it ES256.
	Public() crypto.PublicKey
	// Sign signs a SHA-256 digest as a [crypto.Signer] does: PKCS #1 v1.5 for RSA,
	// ASN.1 for ECDSA. It ends when ctx does.
	Sign(ctx context.Context, digest []byte) ([]byte, error)
}

// local is a signer whose key is in memory.
type local struct{ private crypto.Signer }

// Public is the public key.
func (l local) Public() crypto.PublicKey { return l.private.Public() }

// Sign signs at once.
func (l local) Sign(_ context.Context, digest []byte) ([]byte, error) {
	return l.private.Sign(rand.Reader, digest, crypto.SHA256)
}

// key is one signing key. It prints as a placeholder.
type key struct {
	public jose.JSONWebKey // with kid, alg and use
	signer Signer          // nil for an old key
	// outside says that the signer is not ours, so that what it signs is verified.
	outside bool
	// pkcs8 is the private key to be stored. Nil if it was not made here.
	pkcs8 []byte
}

// String hides the key.
func (key) String() string { return "[issuer key]" }

// GoString hides the key.
func (k key) GoString() string { return k.String() }

// LogValue hides the key.
func (k key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// publicKey checks a public key and gives it its name: the thumbprint of RFC 7638,
// so that one key has the same name for ever and everywhere.
func publicKey(public crypto.PublicKey) (jose.JSONWebKey, error) {
	out := jose.JSONWebKey{Key: public, Use: "sig"}
	switch p := public.(type) {
	case *rsa.PublicKey:
		if p == nil || p.N == nil {
			return out, errors.New("there is no key")
		}
		if n := p.N.BitLen(); n < minBits || n > maxBits {
			return out, fmt.Errorf("an RSA key of %d bits: want %d to %d", n, minBits, maxBits)
		}
		if p.E != rsaExponent {
			return out, fmt.Errorf("an RSA key with the public exponent %d: want %d", p.E, rsaExponent)
		}
		out.Algorithm = RS256
	case *ecdsa.PublicKey:
		if p == nil || p.Curve == nil {
			return out, errors.New("there is no key")
		}
		if p.Curve != elliptic.P256() {
			return out, fmt.Errorf("an EC key on %s: want P-256 (openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256)", p.Curve.Params().Name)
		}
		out.Algorithm = ES256
	default:
		return out, fmt.Errorf("a key of type %T: want RSA of %d bits or more, or EC on P-256", public, minBits)
	}
	sum, err := out.Thumbprint(crypto.SHA256)
	if err != nil {
		return out, fmt.Errorf("naming the key: %w", err)
	}
	out.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	return out, nil
}

// newKey is the key behind a signer.
func newKey(s Signer) (key, error) {
	public, err := publicKey(s.Public())
	return key{public: public, signer: s}, err
}

// makeKey makes a key for an algorithm.
func makeKey(algorithm string) (key, error) {
	var private crypto.Signer
	var err error
	if algorithm == ES256 {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		private, err = rsa.GenerateKey(rand.Reader, minBits)
	}
	if err != nil {
		return key{}, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return key{}, fmt.Errorf("making a key: %w", err)
	}
	k, err := newKey(local{private})
	k.pkcs8 = der
	return k, err
}

// sign makes a token of a payload.
func (k key) sign(ctx context.Context, payload []byte) (string, error) {
	algorithm := jose.SignatureAlgorithm(k.public.Algorithm)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: &oneSignature{ctx: ctx, key: k}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing with the key %s: %w", k.public.KeyID, err)
	}
	if k.outside {
		if _, err := jws.Verify(k.public.Key); err != nil {
			return "", fmt.Errorf("what the signer of the key %s signed does not verify: it signs with another key than it shows", k.public.KeyID)
		}
	}
	return jws.CompactSerialize()
}

// oneSignature lends a key to go-jose for one signature, with its context.
type oneSignature struct {
	ctx context.Context
	key key
}

// Public is the public key with its name.
func (o *oneSignature) Public() *jose.JSONWebKey { return &o.key.public }

// Algs is the key's one algorithm.
func (o *oneSignature) Algs() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.SignatureAlgorithm(o.key.public.Algorithm)}
}

// SignPayload signs as RFC 7518 §3.3 and §3.4 say.
func (o *oneSignature) SignPayload(payload []byte, _ jose.SignatureAlgorithm) ([]byte, error) {
	digest := sha256.Sum256(payload)
	signature, err := o.key.signer.Sign(o.ctx, digest[:])
	if err != nil || o.key.public.Algorithm != ES256 {
		return signature, err
	}
	var point struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(signature, &point)
	if err != nil || len(rest) > 0 || point.R.Sign() <= 0 || point.S.Sign() <= 0 || point.R.BitLen() > 256 || point.S.BitLen() > 256 {
		return nil, errors.New("the signer gave no ECDSA signature in ASN.1")
	}
	out := make([]byte, 64)
	point.R.FillBytes(out[:32])
	point.S.FillBytes(out[32:])
	return out, nil
}
