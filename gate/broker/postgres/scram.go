package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

const (
	// passwordBytes is what a password has of chance: it cannot be guessed from its
	// verifier, however few the iterations.
	passwordBytes = 32
	saltBytes     = 16
	// iterations is the least that RFC 7677 allows and PostgreSQL's own default.
	iterations = 4096
)

// newPassword makes a password and what the server verifies it by.
func newPassword() (password, verifier string, err error) {
	b := make([]byte, passwordBytes+saltBytes)
	if _, err := rand.Read(b); err != nil {
		return "", "", fmt.Errorf("making a password: %w", err)
	}
	password = base64.RawURLEncoding.EncodeToString(b[:passwordBytes])
	verifier, err = scramVerifier(password, b[passwordBytes:], iterations)
	return password, verifier, err
}

// scramVerifier is what PostgreSQL stores of an ASCII password: the form of RFC 5803
// with the SHA-256 of RFC 7677. Nobody can log in with it.
func scramVerifier(password string, salt []byte, iterations int) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("making a password's verifier: %w", err)
	}
	stored := sha256.Sum256(keyed(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(keyed(salted, "Server Key"))), nil
}

func keyed(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}
