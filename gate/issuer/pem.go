package issuer

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// parsePEM reads a PKCS #8 private key, alone in its file. No error contains any of
// it; each says what to do.
func parsePEM(data []byte) (key, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return key{}, errors.New("is no PEM file: make a key with openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048")
	}
	if block.Headers["DEK-Info"] != "" || block.Type == "ENCRYPTED PRIVATE KEY" {
		return key{}, errors.New("is encrypted with a password: openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW takes it off")
	}
	switch block.Type {
	case "PRIVATE KEY":
	case "RSA PRIVATE KEY", "EC PRIVATE KEY":
		return key{}, fmt.Errorf("is %q, not PKCS #8: openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW turns it into that", block.Type)
	case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
		return key{}, fmt.Errorf("is a %q, which cannot sign: want the private key that belongs to it, in PKCS #8", block.Type)
	case "EC PARAMETERS":
		return key{}, errors.New(`begins with "EC PARAMETERS": openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW leaves the key alone in its file`)
	default:
		return key{}, fmt.Errorf(`is a %.40q: want "PRIVATE KEY" (PKCS #8)`, block.Type)
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return key{}, errors.New("has something after its first key: one key in one file")
	}
	return parsePKCS8(block.Bytes)
}

// parsePKCS8 reads a private key.
func parsePKCS8(der []byte) (key, error) {
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return key{}, errors.New("holds no private key that can be read: make one with openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048")
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return key{}, errors.New("holds a key that cannot sign: want RSA of 2048 bits or more, or EC on P-256")
	}
	k, err := newKey(local{signer})
	if err != nil {
		return key{}, fmt.Errorf("holds %w", err)
	}
	return k, nil
}
