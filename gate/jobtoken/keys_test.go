package jobtoken_test

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sallyport/sallyport/rules"
)

// A thousand forged tokens, each with a key that nobody knows, cost one request.
func TestFloodOfUnknownKeys(t *testing.T) {
	w := newWorld(t)
	good := w.token(nil)
	w.verify(good)
	w.clock.Advance(time.Minute)
	claims := w.claims()
	forged := make([]string, 1000)
	one := w.sign(jwt.SigningMethodRS256, w.own(), map[string]any{"kid": "eve"}, claims)
	_, rest, _ := strings.Cut(one, ".")
	for i := range forged {
		head, _, _ := strings.Cut(w.headOf(fmt.Sprintf("eve-%d", i)), ".")
		forged[i] = head + "." + rest
	}
	before := w.wire.count(keysPath)
	var all sync.WaitGroup
	for _, raw := range forged {
		all.Go(func() {
			_, err := w.v.Verify(t.Context(), raw)
			var no *rules.TokenRefused
			if !errors.As(err, &no) || no.Code != rules.TokenKey {
				t.Errorf("a forged token: %v", err)
			}
		})
	}
	for range 20 { // others go on meanwhile
		all.Go(func() {
			if _, err := w.v.Verify(t.Context(), good); err != nil {
				t.Errorf("a good token meanwhile: %v", err)
			}
		})
	}
	all.Wait()
	if n := w.wire.count(keysPath) - before; n != 1 {
		t.Errorf("the issuer was asked %d times, want once", n)
	}
	w.clock.Advance(29 * time.Second)
	w.refused("a moment later", forged[0], rules.TokenKey, "")
	if n := w.wire.count(keysPath) - before; n != 1 {
		t.Errorf("the issuer was asked again within 30 s")
	}
	w.clock.Advance(time.Second)
	w.refused("30 s later", forged[1], rules.TokenKey, "")
	if n := w.wire.count(keysPath) - before; n != 2 {
		t.Errorf("the issuer was asked %d times, want a second time", n)
	}
}

func (w *world) headOf(kid string) string {
	return w.signText(`{"alg":"RS256","kid":"`+kid+`"}`, "{}")
}

// The issuer is asked for nothing by tokens that are not for us.
func TestOtherTokensAskNothing(t *testing.T) {
	w := newWorld(t)
	w.refused("another issuer", w.token(func(m map[string]any) { m["iss"] = "https://eve.example.com" }), rules.TokenIssuer, "iss")
	w.refused("another audience", w.job.IDToken("", nil), rules.TokenAudience, "aud")
	if n := w.wire.count(discoveryPath); n != 0 {
		t.Errorf("asked %d times", n)
	}
}

func TestRotation(t *testing.T) {
	w := newWorld(t)
	old := w.token(nil)
	w.verify(old)
	w.g.RotateOIDC()
	fresh := w.token(nil)
	w.refused("within 30 s of the last look", fresh, rules.TokenKey, "")
	w.clock.Advance(31 * time.Second)
	w.verify(fresh)
	w.verify(old) // still published
	if n := w.wire.count(keysPath); n != 2 {
		t.Errorf("the keys were read %d times", n)
	}
}

// A key that the issuer withdrew counts for an hour at most.
func TestWithdrawnKey(t *testing.T) {
	w := newWorld(t)
	own := w.own()
	w.publish(jwk("own", &own.PublicKey, nil))
	signed := func() string { return w.sign(jwt.SigningMethodRS256, own, map[string]any{"kid": "own"}, w.claims()) }
	w.verify(signed())
	w.publish()
	w.clock.Advance(time.Hour - time.Second)
	w.verify(signed())
	w.clock.Advance(time.Second)
	w.refused("after an hour", signed(), rules.TokenKey, "")
	// Any look at the issuer withdraws it, not only the hour's.
	w.publish(jwk("own", &own.PublicKey, nil))
	w.clock.Advance(time.Minute)
	w.verify(signed())
	w.publish()
	w.clock.Advance(time.Minute)
	w.refused("an unknown key", w.sign(jwt.SigningMethodRS256, own, map[string]any{"kid": "eve"}, w.claims()), rules.TokenKey, "")
	w.refused("and then the withdrawn one", signed(), rules.TokenKey, "")
}

func TestIssuerDown(t *testing.T) {
	w := newWorld(t)
	w.wire.set(func() { w.wire.down = true })
	w.unreachable("before any key was read", w.token(nil))
	w.unreachable("again", w.token(nil))
	if n := w.wire.count(discoveryPath); n != 1 {
		t.Errorf("asked %d times within 30 s", n)
	}
	if !strings.Contains(w.log.String(), "cannot be read") {
		t.Errorf("the log says nothing: %s", w.log)
	}
	w.wire.set(func() { w.wire.down = false })
	w.clock.Advance(30 * time.Second)
	w.verify(w.token(nil))
	w.wire.set(func() { w.wire.down = true })

	// What is known stays good for a day.
	w.clock.Advance(2 * time.Hour)
	before := w.wire.count(discoveryPath)
	for range 50 {
		w.verify(w.token(nil))
	}
	if n := w.wire.count(discoveryPath) - before; n != 1 {
		t.Errorf("asked %d times for the stale keys", n)
	}
	forged := w.sign(jwt.SigningMethodRS256, w.own(), map[string]any{"kid": "eve"}, w.claims())
	w.unreachable("a key that may be new", forged)
	w.clock.Advance(22*time.Hour - time.Second)
	w.verify(w.token(nil))
	w.clock.Advance(time.Second)
	w.unreachable("keys a day old", w.token(nil))
	w.wire.set(func() { w.wire.down = false })
	w.clock.Advance(time.Minute)
	w.verify(w.token(nil))
	if strings.Contains(w.log.String(), "eyJ") {
		t.Error("the log has a token")
	}
}

// An unknown key is not the token's fault while the issuer cannot say so.
func TestUnknownKeyWhileDown(t *testing.T) {
	w := newWorld(t)
	w.verify(w.token(nil))
	w.clock.Advance(time.Minute)
	w.wire.set(func() { w.wire.down = true })
	w.g.RotateOIDC()
	fresh := w.token(nil)
	w.unreachable("the new key", fresh)
	w.wire.set(func() { w.wire.down = false })
	w.clock.Advance(31 * time.Second)
	w.verify(fresh)
}

func TestClockGoesBack(t *testing.T) {
	w := newWorld(t)
	w.verify(w.token(nil))
	w.clock.Advance(-3 * time.Hour)
	w.verify(w.token(nil))
	if n := w.wire.count(keysPath); n != 2 {
		t.Errorf("the keys of the future were trusted: read %d times", n)
	}
}

// Answers of the issuer that are none.
func TestHostileIssuer(t *testing.T) {
	own, err := ownKey()
	if err != nil {
		t.Fatal(err)
	}
	key := asText(jwk("own", &own.PublicKey, nil))
	set := `{"keys":[` + key + `]}`
	ok := func(body string) lie { return answer(http.StatusOK, body, nil) }
	elsewhere := func(w *world, uri string) lie {
		return ok(`{"issuer":"` + w.g.OIDCIssuer() + `","jwks_uri":"` + uri + `"}`)
	}
	type lies = map[string]lie
	for what, told := range map[string]func(w *world) lies{
		"discovery that redirects": func(*world) lies {
			return lies{discoveryPath: answer(http.StatusFound, "", http.Header{"Location": {"/elsewhere"}}), "/elsewhere": ok(set), keysPath: ok(set)}
		},
		"keys that redirect": func(*world) lies {
			return lies{keysPath: answer(http.StatusTemporaryRedirect, "", http.Header{"Location": {"/elsewhere"}}), "/elsewhere": ok(set)}
		},
		"keys of another host": func(w *world) lies {
			return lies{discoveryPath: elsewhere(w, "http://127.0.0.2:1/elsewhere"), "/elsewhere": ok(set)}
		},
		"keys of another port": func(w *world) lies {
			return lies{discoveryPath: elsewhere(w, "http://127.0.0.1:1/elsewhere"), "/elsewhere": ok(set)}
		},
		"keys by another scheme": func(w *world) lies {
			return lies{discoveryPath: elsewhere(w, strings.Replace(w.g.URL(), "http:", "https:", 1)+"/elsewhere"), "/elsewhere": ok(set)}
		},
		"keys with a password": func(w *world) lies {
			return lies{discoveryPath: elsewhere(w, strings.Replace(w.g.URL(), "//", "//eve:x@", 1)+"/elsewhere"), "/elsewhere": ok(set)}
		},
		"keys in a file": func(w *world) lies { return lies{discoveryPath: elsewhere(w, "file:///elsewhere")} },
		"keys nowhere":   func(w *world) lies { return lies{discoveryPath: elsewhere(w, "")} },
		"discovery of another": func(w *world) lies {
			return lies{discoveryPath: ok(`{"issuer":"https://eve.example.com","jwks_uri":"` + w.g.OIDCIssuer() + `/.well-known/jwks"}`), keysPath: ok(set)}
		},
		"discovery that is none": func(*world) lies { return lies{discoveryPath: ok("<html>"), keysPath: ok(set)} },
		"discovery that says jwks_uri twice": func(w *world) lies {
			return lies{discoveryPath: ok(`{"issuer":"` + w.g.OIDCIssuer() + `","jwks_uri":"x","jwks_uri":"` + w.g.OIDCIssuer() + `/.well-known/jwks"}`), keysPath: ok(set)}
		},
		"an error with keys": func(*world) lies { return lies{keysPath: answer(http.StatusInternalServerError, set, nil)} },
		"huge keys": func(*world) lies {
			return lies{keysPath: ok(`{"keys":[` + key + `],"x":"` + strings.Repeat("x", 256<<10) + `"}`)}
		},
		"keys and then spaces without end": func(*world) lies { return lies{keysPath: ok(set + strings.Repeat(" ", 256<<10))} },
		"too many keys":                    func(*world) lies { return lies{keysPath: ok(`{"keys":[` + strings.Repeat(key+",", 50) + key + `]}`)} },
		"no keys":                          func(*world) lies { return lies{keysPath: ok(`{}`)} },
		"keys: null":                       func(*world) lies { return lies{keysPath: ok(`{"keys":null}`)} },
		"keys twice":                       func(*world) lies { return lies{keysPath: ok(`{"keys":[],"keys":[` + key + `]}`)} },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.wire.set(func() { w.wire.lies = told(w) })
			w.unreachable(what, w.sign(jwt.SigningMethodRS256, own, map[string]any{"kid": "own"}, w.claims()))
			if w.wire.count("/elsewhere") != 0 {
				t.Error("the request went elsewhere")
			}
		})
	}
}

// Keys that an issuer publishes and that sign no token.
func TestUnusableKeys(t *testing.T) {
	w := newWorld(t)
	own := w.own()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := jwk("own", &own.PublicKey, nil)
	signed := func() string { return w.sign(jwt.SigningMethodRS256, own, map[string]any{"kid": "own"}, w.claims()) }
	look := func(keys ...map[string]any) {
		w.clock.Advance(2 * time.Hour)
		w.publish(keys...)
	}
	look(good)
	w.verify(signed())
	without := func(member string) map[string]any {
		out := maps.Clone(good)
		delete(out, member)
		return out
	}
	for what, key := range map[string]map[string]any{
		"another type":   jwk("own", &own.PublicKey, map[string]any{"kty": "EC"}),
		"for encryption": jwk("own", &own.PublicKey, map[string]any{"use": "enc"}),
		"for RS512":      jwk("own", &own.PublicKey, map[string]any{"alg": "RS512"}),
		"a private key":  jwk("own", &own.PublicKey, map[string]any{"d": "AQAB"}),
		"without a name": without("kid"), "without n": without("n"), "without e": without("e"), "without kty": without("kty"),
		"e = 1":        jwk("own", &own.PublicKey, map[string]any{"e": "AQ"}),
		"e even":       jwk("own", &own.PublicKey, map[string]any{"e": "AQAC"}),
		"e very large": jwk("own", &own.PublicKey, map[string]any{"e": "AQABAQABAQAB"}),
		"n padded":     jwk("own", &own.PublicKey, map[string]any{"n": fmt.Sprint(good["n"], "==")}),
		"a long n":     jwk("own", &own.PublicKey, map[string]any{"n": strings.Repeat("_", 20000)}),
		"a number":     jwk("own", &own.PublicKey, map[string]any{"n": 5}),
	} {
		look(key)
		w.refused(what, signed(), rules.TokenKey, "")
	}
	// The weak key's own signatures are right, and count for nothing.
	look(jwk("weak", &weak.PublicKey, nil), good)
	w.refused("1024 bits", w.sign(jwt.SigningMethodRS256, weak, map[string]any{"kid": "weak"}, w.claims()), rules.TokenKey, "")
	w.verify(signed()) // the others still count
	look(good, jwk("own", &weak.PublicKey, nil), map[string]any{"kty": "oct", "kid": "own", "k": "AA"})
	w.verify(signed()) // what is unusable doubles nothing
	look(good, good)
	w.refused("two keys of one name", signed(), rules.TokenKey, "")
	look(good, good, good)
	w.refused("three keys of one name", signed(), rules.TokenKey, "")
	look(without("use"))
	w.verify(signed())
	look(without("alg"))
	w.verify(signed())
}

// Many at once, while keys rotate and the clock goes on.
func TestConcurrently(t *testing.T) {
	w := newWorld(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				raw := w.token(nil)
				if _, err := w.v.Verify(t.Context(), raw); err != nil {
					var no *rules.TokenRefused
					if !errors.As(err, &no) || no.Code != rules.TokenKey {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Go(func() {
		for range 3 {
			w.g.RotateOIDC()
			w.clock.Advance(31 * time.Second)
		}
	})
	all.Wait()
	w.clock.Advance(31 * time.Second)
	w.verify(w.token(nil))
}
