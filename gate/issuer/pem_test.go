package issuer_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/rules"
)

func withKeys(path string) issuer.Config {
	return issuer.Config{URL: "https://sallyport.example.com", KeyFile: path, Store: newMemory(), NoSetting: errNoRow, Seal: newSeal("right"), Algorithm: issuer.ES256}
}

func TestKeyFileRefused(t *testing.T) {
	ec, rsaKey := anECKey(), anRSAKey()
	block := func(kind string, der []byte, heads map[string]string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der, Headers: heads})
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":             {nil, "openssl genpkey"},
		"no PEM":              {[]byte("hello"), "openssl genpkey"},
		"PKCS #1":             {block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil), "openssl pkcs8 -topk8"},
		"PKCS #1, encrypted":  {block("RSA PRIVATE KEY", []byte("x"), map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}), "encrypted"},
		"SEC 1":               {block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ec)), nil), "openssl pkcs8 -topk8"},
		"EC parameters":       {append(block("EC PARAMETERS", []byte("x"), nil), pkcs8(ec)...), "openssl pkcs8 -topk8"},
		"PKCS #8, encrypted":  {block("ENCRYPTED PRIVATE KEY", []byte("x"), nil), "encrypted"},
		"a public key":        {block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(ec.Public())), nil), "cannot sign"},
		"a certificate":       {block("CERTIFICATE", []byte("x"), nil), "cannot sign"},
		"an SSH key":          {block("OPENSSH PRIVATE KEY", []byte("x"), nil), "want \"PRIVATE KEY\""},
		"RSA 1024":            {pkcs8(small), "1024 bits: want 2048"},
		"P-384":               {pkcs8(must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))), "P-384: want P-256"},
		"P-521":               {pkcs8(must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))), "P-521: want P-256"},
		"Ed25519":             {pkcs8(ed25519.NewKeyFromSeed(make([]byte, 32))), "want RSA"},
		"X25519":              {pkcs8(must(ecdh.X25519().GenerateKey(rand.Reader))), "cannot sign"},
		"no key in it":        {block("PRIVATE KEY", []byte("x"), nil), "no private key"},
		"two keys":            {append(pkcs8(ec), pkcs8(anECKey())...), "one key in one file"},
		"a long file":         {append(bytes.Repeat([]byte("#\n"), 64<<10), pkcs8(ec)...), "more than"},
		"an exponent of 3":    {pkcs8(smallExponent(t)), "exponent"},
		"a key and something": {append(pkcs8(ec), "password"...), "one key in one file"},
	} {
		path := filepath.Join(folder(t, map[string][]byte{"key.pem": c.data}), "key.pem")
		_, err := issuer.New(t.Context(), withKeys(path))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "SALLYPORT_SIGNING_KEY_FILE") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && len(c.data) > 100 && len(c.data) < 64<<10 && strings.Contains(err.Error(), string(c.data[60:90])) {
			t.Errorf("%s: the error shows the file", name)
		}
	}
}

// smallExponent is an RSA key with the public exponent 3.
func smallExponent(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	one, three := big.NewInt(1), big.NewInt(3)
	for {
		p, q := must(rand.Prime(rand.Reader, 1024)), must(rand.Prime(rand.Reader, 1024))
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		if d := new(big.Int).ModInverse(three, phi); d != nil && p.Cmp(q) != 0 {
			k := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 3}, D: d, Primes: []*big.Int{p, q}}
			k.Precompute()
			return k
		}
	}
}

func TestKeyFolder(t *testing.T) {
	human, auto, next, old := pkcs8(anECKey()), pkcs8(anECKey()), pkcs8(anECKey()), pkcs8(anECKey())
	for name, c := range map[string]struct {
		files map[string][]byte
		want  string
	}{
		"both":                       {map[string][]byte{"human.pem": human, "auto.pem": auto, "README": nil}, ""},
		"with next and old":          {map[string][]byte{"human.pem": human, "auto.pem": auto, "human.next.pem": next, "human.old.pem": old}, ""},
		"empty":                      {nil, "no human.pem"},
		"no auto":                    {map[string][]byte{"human.pem": human}, "no auto.pem"},
		"no human":                   {map[string][]byte{"auto.pem": auto}, "no human.pem"},
		"a next key without current": {map[string][]byte{"human.next.pem": human, "auto.pem": auto}, "no human.pem"},
		"one key for both":           {map[string][]byte{"human.pem": human, "auto.pem": human}, "a key of its own"},
		"auto's next is human's":     {map[string][]byte{"human.pem": human, "auto.pem": auto, "auto.next.pem": human}, "a key of its own"},
		"human's next is auto's":     {map[string][]byte{"human.pem": human, "auto.pem": auto, "human.next.pem": auto}, "a key of its own"},
		"next was copied, not moved": {map[string][]byte{"human.pem": human, "auto.pem": auto, "human.next.pem": human}, "a key of its own"},
		"a misspelt name":            {map[string][]byte{"human.pem": human, "auto.pem": auto, "human-next.pem": next}, "no meaning"},
		"upper case":                 {map[string][]byte{"human.pem": human, "auto.pem": auto, "HUMAN.NEXT.PEM": next}, "no meaning"},
		"a bad next":                 {map[string][]byte{"human.pem": human, "auto.pem": auto, "human.next.pem": []byte("x")}, "no PEM"},
		"a bad old":                  {map[string][]byte{"human.pem": human, "auto.pem": auto, "human.old.pem": []byte("x")}, "no PEM"},
	} {
		i, err := issuer.New(t.Context(), withKeys(folder(t, c.files)))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil {
			continue
		}
		cl := claims(rules.TierHuman)
		cl.ApprovedAt = t0.AddDate(-1, 0, 0)
		token, err := i.Mint(t.Context(), cl)
		if err != nil || part(t, token, 0)["kid"] != current(i, rules.TierHuman) {
			t.Errorf("%s: %v", name, err)
		}
		want := 0
		for file := range c.files {
			if strings.HasSuffix(file, ".pem") {
				want++
			}
		}
		if got := len(i.Status()); got != want {
			t.Errorf("%s: %d keys are published, want %d", name, got, want)
		}
	}
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "human.pem"), 0o700)
	if _, err := issuer.New(t.Context(), withKeys(dir)); err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Errorf("a folder for a key: %v", err)
	}
}

// One file is the human tier's; the auto tier's is made.
func TestKeyFileAlone(t *testing.T) {
	path := filepath.Join(folder(t, map[string][]byte{"key.pem": pkcs8(anRSAKey())}), "key.pem")
	i, err := issuer.New(t.Context(), withKeys(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range i.Status() {
		if want := map[rules.Tier]issuer.Source{rules.TierHuman: issuer.FromFile, rules.TierAuto: issuer.FromStore}[k.Tier]; k.Source != want {
			t.Errorf("tier %s has its key from %s, want %s", k.Tier, k.Source, want)
		}
	}
	if _, err := i.Rotate(t.Context(), rules.TierHuman); err == nil || !strings.Contains(err.Error(), "human.next.pem") {
		t.Errorf("rotating a key in a file: %v", err)
	}
	if err := i.Tend(t.Context()); err != nil {
		t.Error(err)
	}
	also := withKeys(path)
	also.Signers = map[rules.Tier]issuer.Signer{rules.TierHuman: remote{shows: anRSAKey().Public()}}
	if _, err := issuer.New(t.Context(), also); err == nil || !strings.Contains(err.Error(), "leave one out") {
		t.Errorf("a file and a signer: %v", err)
	}
}

// The example of RFC 7638 §3.1.
func TestKeyName(t *testing.T) {
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	modulus := new(big.Int).SetBytes(must(base64.RawURLEncoding.DecodeString(n)))
	cfg := withKeys("")
	cfg.Signers = map[rules.Tier]issuer.Signer{rules.TierHuman: remote{shows: &rsa.PublicKey{N: modulus, E: 65537}}}
	i, err := issuer.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := current(i, rules.TierHuman), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; got != want {
		t.Errorf("the key is called %s, want %s", got, want)
	}
}
