package ledger

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Origin is the name of the ledger of a server: host (and port, if there is one)
// of its URL, then "/ledger". It begins every checkpoint and is the name of the
// key.
func Origin(serverURL string) (string, error) {
	u, err := url.Parse(serverURL)
	switch {
	case err != nil:
		return "", fmt.Errorf("origin of the ledger: %w", err)
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		return "", fmt.Errorf("origin of the ledger: %q is not the URL of a server such as https://sallyport.acme.internal", serverURL)
	}
	origin := strings.ToLower(u.Host) + "/ledger"
	if strings.ContainsAny(origin, "+ \t\r\n") {
		return "", fmt.Errorf("origin of the ledger: the host of %q has characters that no key's name may have", serverURL)
	}
	return origin, nil
}

// Key is the ledger's private key. It prints as a placeholder; only [Key.Secret]
// gives it away. The zero value is no key.
type Key struct {
	secret   string
	verifier string
	name     string
}

// GenerateKey makes a key for an origin, see [Origin]. Nil random is a mistake.
func GenerateKey(random io.Reader, origin string) (Key, error) {
	if random == nil {
		return Key{}, errors.New("generating the ledger's key: no source of randomness")
	}
	secret, _, err := note.GenerateKey(random, origin)
	if err != nil {
		return Key{}, fmt.Errorf("generating the ledger's key: %w", err)
	}
	return ParseKey(secret)
}

// ParseKey reads what [Key.Secret] gave: a signer key of
// golang.org/x/mod/sumdb/note. The error never contains it.
func ParseKey(secret string) (Key, error) {
	signer, err := note.NewSigner(secret)
	if err != nil {
		return Key{}, errors.New("the ledger's key is not a note signer key (PRIVATE+KEY+name+hash+base64)")
	}
	// The form was checked by NewSigner: after "PRIVATE", "KEY", name and hash come
	// one byte of algorithm and an Ed25519 seed, in base64, which may have a plus
	// sign of its own.
	parts := strings.SplitN(secret, "+", 5)
	raw, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return Key{}, errors.New("the ledger's key is not an Ed25519 key")
	}
	public, ok := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return Key{}, errors.New("the ledger's key is not an Ed25519 key")
	}
	verifier, err := note.NewEd25519VerifierKey(signer.Name(), public)
	if err != nil {
		return Key{}, fmt.Errorf("the ledger's key: %w", err)
	}
	return Key{secret: secret, verifier: verifier, name: signer.Name()}, nil
}

// Secret is the private key itself, to be sealed and stored.
func (k Key) Secret() string { return k.secret }

// Verifier is the public key in the form of golang.org/x/mod/sumdb/note:
// name, hash and key, parted by plus signs. It is what /ledger/key serves.
func (k Key) Verifier() string { return k.verifier }

// Origin is the origin that the key signs for.
func (k Key) Origin() string { return k.name }

// String hides the key.
func (k Key) String() string { return "[ledger key]" }

// GoString hides the key.
func (k Key) GoString() string { return k.String() }

// LogValue hides the key.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText hides the key from encoders.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
