package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	// pieceSize is how many bytes in a row make a leak certain, pieceStep how far apart
	// pieces begin: whatever has 23 bytes of a secret has a piece of it.
	pieceSize = 16
	pieceStep = 8
	hashBits  = 22
)

// canaries are secrets that came to exist, by their kinds. They are safe for concurrent
// use.
type canaries struct {
	mu  sync.Mutex
	all map[string]map[string]bool
}

func (c *canaries) add(kind string, values ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[string]map[string]bool{}
	}
	if c.all[kind] == nil {
		c.all[kind] = map[string]bool{}
	}
	for _, v := range values {
		for _, part := range parts(v) {
			c.all[kind][part] = true
		}
	}
}

// parts are what to look for of a secret: all of it, but of a JSON Web Token, whose claims
// are no secret and stand in base64 elsewhere too, the signature and what is around each
// dot, which nothing but a token has; and of hex also the bytes.
func parts(v string) []string {
	at := strings.Index(v, "eyJ")
	if at < 0 || !strings.Contains(v[at:], ".") {
		if b, err := hex.DecodeString(v); err == nil && len(b) >= pieceSize {
			return []string{v, string(b)}
		}
		return []string{v}
	}
	var out []string
	for i := range v {
		if v[i] == '.' {
			out = append(out, v[max(0, i-pieceSize):min(len(v), i+pieceSize)])
		}
	}
	if len(out) == 2 {
		out = append(out, v[strings.LastIndexByte(v, '.')+1:])
	}
	return out
}

// addKey adds what is private of a key: its public part may be anywhere.
func (c *canaries) addKey(t *testing.T, kind string, key any) {
	t.Helper()
	switch k := key.(type) {
	case *rsa.PrivateKey:
		c.add(kind, string(k.D.Bytes()), string(k.Primes[0].Bytes()), string(k.Primes[1].Bytes()), string(k.Precomputed.Dp.Bytes()), string(k.Precomputed.Qinv.Bytes()))
	case *ecdsa.PrivateKey:
		b, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		c.add(kind, string(b))
	default:
		t.Fatalf("a key of type %T", key)
	}
}

// addPEM adds a private key that nobody publishes any part of.
func (c *canaries) addPEM(t *testing.T, kind string, text []byte) {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("the %s is no PEM", kind)
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	c.addKey(t, kind, key)
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); len(line) > 40 && !strings.HasPrefix(line, "-") {
			c.add(kind, line)
		}
	}
}

func (c *canaries) counts() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]int{}
	for kind, values := range c.all {
		out[kind] = len(values)
	}
	return out
}

// piece is a piece of a secret as it is written, and what it is a piece of.
type piece struct{ text, what string }

// scanner finds pieces of secrets in bytes, however they are written.
type scanner struct {
	pieces map[[pieceSize]byte][]piece
	// maybe has a bit for the first eight bytes of each.
	maybe []uint64
}

func halfHash(b []byte) uint64 {
	return binary.LittleEndian.Uint64(b) * 0x9e3779b97f4a7c15 >> (64 - hashBits)
}

// scanner looks for all that were added so far.
func (c *canaries) scanner() *scanner {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &scanner{pieces: map[[pieceSize]byte][]piece{}, maybe: make([]uint64, 1<<hashBits/64)}
	for kind, values := range c.all {
		for v := range values {
			for how, text := range writings(v) {
				s.add(kind+", "+how, text, writtenSize(how))
			}
		}
	}
	return s
}

// writtenSize is how many bytes pieceSize bytes of a secret have as they are written.
func writtenSize(how string) int {
	switch {
	case strings.HasSuffix(how, "hex"):
		return 2 * pieceSize
	case strings.HasPrefix(how, "base64"):
		return 4 * pieceSize / 3
	default:
		return pieceSize
	}
}

func (s *scanner) add(what, text string, size int) {
	for i := 0; ; i += pieceStep {
		i = max(0, min(i, len(text)-size)) // the last one overlaps more
		p := piece{text[i:min(i+size, len(text))], what}
		start := [pieceSize]byte([]byte(p.text))
		if !slices.ContainsFunc(s.pieces[start], func(o piece) bool { return o.text == p.text }) {
			s.pieces[start] = append(s.pieces[start], p)
			h := halfHash(start[:])
			s.maybe[h/64] |= 1 << (h % 64)
		}
		if i+size >= len(text) {
			return
		}
	}
}

// writings are the ways in which a secret may be written.
func writings(v string) map[string]string {
	out := map[string]string{
		"as it is": v, "hex": hex.EncodeToString([]byte(v)), "upper hex": strings.ToUpper(hex.EncodeToString([]byte(v))),
		"in a query": url.QueryEscape(v), "in a path": url.PathEscape(v),
	}
	quoted, err := json.Marshal(v)
	if err == nil {
		out["JSON"] = string(quoted[1 : len(quoted)-1])
	}
	// In base64 a text is written in one of three ways, by what stands before it. The
	// first and the last group have bits of what is around it.
	for before := range 3 {
		padded := append(make([]byte, before), v...)
		for name, e := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := e.EncodeToString(padded)
			if before > 0 {
				text = text[4:]
			}
			if over := len(padded) % 3; over > 0 {
				text = text[:len(text)-over-1]
			}
			out[name+" after "+string(rune('0'+before))] = text
		}
	}
	for how, text := range out {
		if len(text) < pieceSize || text == v && how != "as it is" {
			delete(out, how)
		}
	}
	return out
}

// find is what of secrets is in data, once for each kind and way of writing, with where.
// It shares nothing, and looks at each of 200 million bytes: the race detector would take a
// minute over them.
//
//go:norace
func (s *scanner) find(data []byte) map[string]int {
	var found map[string]int
	for i := 0; i+pieceSize <= len(data); i++ {
		h := halfHash(data[i:])
		if s.maybe[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		for _, p := range s.pieces[[pieceSize]byte(data[i:])] {
			if _, known := found[p.what]; known || !strings.HasPrefix(string(data[i:min(len(data), i+len(p.text))]), p.text) {
				continue
			}
			if found == nil {
				found = map[string]int{}
			}
			found[p.what] = i
		}
	}
	return found
}

// whats are what was found, for a message.
func whats(found map[string]int) []string { return slices.Sorted(maps.Keys(found)) }

// The scanner finds 23 bytes of a secret wherever they are and however they are written,
// and nothing where there are none.
func TestCanaryScanner(t *testing.T) {
	random := func(n int) []byte {
		b := make([]byte, n)
		if _, err := rand.Read(b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	password := "pass/word+\"\n" + rand.Text()
	noise := string(random(300))
	c := &canaries{}
	c.add("password", password)
	c.add("bytes", noise)
	c.addKey(t, "key", key)
	s := c.scanner()
	around := func(text string) []byte { return slices.Concat(random(4099), []byte(text), random(1021)) }
	quoted, err := json.Marshal(map[string]string{"error": password})
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"as it is": password, "a part": noise[100:123], "the first half": password[:pieceSize], "hex": hex.EncodeToString([]byte(noise)), "in a query": url.QueryEscape(password), "JSON": string(quoted),
		"base64 1": base64.StdEncoding.EncodeToString([]byte(password)), "base64 2": base64.StdEncoding.EncodeToString([]byte("x" + password + "y")), "base64 3": base64.URLEncoding.EncodeToString([]byte("xy" + noise)),
		"PEM": string(keyPEM), "PKCS #8": string(pkcs8), "PKCS #8 in JSON": base64.StdEncoding.EncodeToString(pkcs8), "PostgreSQL's bytea": `\x` + hex.EncodeToString(key.D.Bytes()),
	} {
		if s.find(around(text)) == nil {
			t.Errorf("%s: not found", what)
		}
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for what, data := range map[string][]byte{
		"chance": random(1 << 20), "nothing": nil, "zeros": bytes.Repeat([]byte{0}, 4096), "too little": []byte(password[:pieceSize-1]),
		"the public key": slices.Concat(public, []byte(base64.RawURLEncoding.EncodeToString(key.N.Bytes()))),
	} {
		if found := s.find(data); found != nil {
			t.Errorf("%s: found %v", what, whats(found))
		}
	}
}
