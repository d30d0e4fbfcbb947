package server

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
)

// sealKey seals what lies in the database. Nil seals nothing. It prints as a
// placeholder.
type sealKey []byte

// String hides the key.
func (sealKey) String() string { return "(seal key)" }

// GoString hides the key.
func (sealKey) GoString() string { return "(seal key)" }

// LogValue hides the key.
func (sealKey) LogValue() slog.Value { return slog.StringValue("(seal key)") }

func parseSealKey(text string) (sealKey, error) {
	key, err := hex.DecodeString(text)
	if err != nil || len(key) != 32 {
		return nil, errors.New("want 32 bytes in hex: openssl rand -hex 32")
	}
	return key, nil
}

func (k sealKey) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// The first byte of a setting says how it lies there. It is stored: kinds may be
// added to and never changed.
const (
	open   = 'o' // in clear
	sealed = 's' // AES-256-GCM, a random nonce first; the setting's name is authenticated
)

// seal closes a value for a setting.
func (k sealKey) seal(name string, value []byte) ([]byte, error) {
	if k == nil {
		return append([]byte{open}, value...), nil
	}
	a, err := k.aead()
	if err != nil {
		return nil, err
	}
	return append([]byte{sealed}, a.Seal(nil, nil, value, []byte(name))...), nil //nolint:gosec // G407: the AEAD makes and prepends a random nonce itself
}

// unseal opens a setting's value, and says whether it lay sealed.
func (k sealKey) unseal(name string, stored []byte) (value []byte, was bool, err error) {
	switch {
	case len(stored) == 0:
		return nil, false, fmt.Errorf("the setting %q is empty", name)
	case stored[0] == open:
		return stored[1:], false, nil
	case stored[0] != sealed:
		return nil, false, fmt.Errorf("the setting %q is of a form that this program does not know", name)
	case k == nil:
		return nil, true, fmt.Errorf("the setting %q is sealed: set SALLYPORT_SEAL_KEY_FILE to the key that sealed it", name)
	}
	a, err := k.aead()
	if err != nil {
		return nil, true, err
	}
	value, err = a.Open(nil, nil, stored[1:], []byte(name))
	if err != nil {
		return nil, true, fmt.Errorf("the setting %q is not sealed with this SALLYPORT_SEAL_KEY_FILE", name)
	}
	return value, true, nil
}

// ledgerSetting is where the ledger's key lies.
const ledgerSetting = "ledger key"

// ledgerKey is the ledger's key: made once, then for ever that one. It is sealed as
// soon as there is a key to seal it with.
func ledgerKey(ctx context.Context, s *store.Store, seal sealKey, serverURL string, now time.Time) (ledger.Key, error) {
	origin, err := ledger.Origin(serverURL)
	if err != nil {
		return ledger.Key{}, err
	}
	stored, err := s.Setting(ctx, ledgerSetting)
	if errors.Is(err, store.ErrNotFound) {
		var fresh ledger.Key
		if fresh, err = ledger.GenerateKey(rand.Reader, origin); err != nil {
			return ledger.Key{}, err
		}
		var closed []byte
		if closed, err = seal.seal(ledgerSetting, []byte(fresh.Secret())); err != nil {
			return ledger.Key{}, err
		}
		stored, err = s.MakeSetting(ctx, ledgerSetting, closed, now)
	}
	if err != nil {
		return ledger.Key{}, fmt.Errorf("reading the ledger's key: %w", err)
	}
	secret, was, err := seal.unseal(ledgerSetting, stored)
	if err != nil {
		return ledger.Key{}, err
	}
	key, err := ledger.ParseKey(string(secret))
	if err != nil {
		return ledger.Key{}, fmt.Errorf("reading the ledger's key: %w", err)
	}
	if key.Origin() != origin {
		return ledger.Key{}, fmt.Errorf("the ledger was begun as %q, and SALLYPORT_URL would make it %q: use the address it was begun with", key.Origin(), origin)
	}
	if !was && seal != nil {
		closed, err := seal.seal(ledgerSetting, secret)
		if err != nil {
			return ledger.Key{}, err
		}
		if err := s.SetSetting(ctx, ledgerSetting, closed, now); err != nil {
			return ledger.Key{}, fmt.Errorf("sealing the ledger's key: %w", err)
		}
	}
	return key, nil
}
