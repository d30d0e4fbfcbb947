package issuer_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/rules"
)

// caching is a relying party that reads the keys once in a while, and never asks for
// a key that it does not know.
type caching struct {
	w     *world
	every time.Duration
	keys  jose.JSONWebKeySet
	read  time.Time
}

func (c *caching) accepts(token string) bool {
	if now := c.w.clock.now(); now.Sub(c.read) >= c.every {
		c.keys, c.read = c.w.keys(rules.TierHuman), now
	}
	jws := must(jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256}))
	keys := c.keys.Key(jws.Signatures[0].Header.KeyID)
	if len(keys) != 1 {
		return false
	}
	_, err := jws.Verify(keys[0].Key)
	return err == nil
}

// Rotation without end, and a party that keeps keys for a day: no token that has not
// expired is ever refused.
func TestRotationForPartiesThatCache(t *testing.T) {
	w := newWorld(t, nil)
	var parties []*caching
	for _, every := range []time.Duration{0, time.Hour, 7 * time.Hour, 24 * time.Hour} {
		parties = append(parties, &caching{w: w, every: every})
	}
	signed := map[string]bool{}
	for hour := range 24 * 8 {
		if hour%25 == 3 { // whenever one may begin, and in step with nobody
			must(w.Rotate(t.Context(), rules.TierHuman))
		}
		if err := w.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		token := w.mint(claims(rules.TierHuman))
		signed[fmt.Sprint(part(t, token, 0)["kid"])] = true
		for _, late := range []time.Duration{0, issuer.MaxDirectLife} {
			w.clock.add(late)
			for _, p := range parties {
				if !p.accepts(token) {
					t.Fatalf("hour %d, %s later: a party that reads every %s refuses", hour, late, p.every)
				}
			}
		}
		w.clock.add(time.Hour - issuer.MaxDirectLife)
		if n := len(w.keys(rules.TierHuman).Keys); n > 4 {
			t.Fatalf("hour %d: %d keys are published", hour, n)
		}
	}
	if len(signed) < 6 {
		t.Errorf("%d keys signed: nothing was rotated", len(signed))
	}
}

func TestRotate(t *testing.T) {
	w := newWorld(t, nil)
	if issuer.PublishFor != 24*time.Hour || issuer.KeepFor != 24*time.Hour+10*time.Minute {
		t.Errorf("keys are published for %s before and %s after", issuer.PublishFor, issuer.KeepFor)
	}
	first := current(w.Issuer, rules.TierHuman)
	auto := current(w.Issuer, rules.TierAuto)
	step := must(w.Rotate(t.Context(), rules.TierHuman))
	if !step.Published || step.Promoted || !step.Due.Equal(t0.Add(issuer.PublishFor)) {
		t.Errorf("the first step: %+v", step)
	}
	second := inState(w.Issuer, rules.TierHuman, issuer.Next)
	set := w.keys(rules.TierHuman)
	if second == "" || len(set.Key(second)) != 1 {
		t.Error("the next key is not published")
	}
	signs := func(kid, when string) {
		t.Helper()
		if got := part(t, w.mint(claims(rules.TierHuman)), 0)["kid"]; got != kid {
			t.Errorf("%s: signed with %v, want %s", when, got, kid)
		}
	}
	signs(first, "published")
	w.clock.add(issuer.PublishFor - time.Second)
	if step := must(w.Rotate(t.Context(), rules.TierHuman)); step.Promoted || step.Published {
		t.Errorf("a second too early: %+v", step)
	}
	if err := w.Tend(t.Context()); err != nil {
		t.Error(err)
	}
	signs(first, "a second too early")
	w.clock.add(time.Second)
	if step := must(w.Rotate(t.Context(), rules.TierHuman)); !step.Promoted {
		t.Errorf("in time: %+v", step)
	}
	signs(second, "in time")
	if set := w.keys(rules.TierHuman); len(set.Keys) != 2 || len(set.Key(first)) != 1 {
		t.Error("the old key is not published")
	}
	w.clock.add(issuer.KeepFor - time.Second)
	if set := w.keys(rules.TierHuman); len(set.Key(first)) != 1 {
		t.Error("the old key left too early")
	}
	w.clock.add(time.Second)
	if set := w.keys(rules.TierHuman); len(set.Keys) != 1 || len(set.Key(first)) != 0 {
		t.Error("the old key does not leave")
	}
	if current(w.Issuer, rules.TierAuto) != auto {
		t.Error("the other tier was rotated too")
	}
	again, err := issuer.New(t.Context(), w.cfg)
	if err != nil || current(again, rules.TierHuman) != second {
		t.Errorf("after a new start: %v", err)
	}
	if err := w.Replace(t.Context(), rules.TierHuman); err != nil {
		t.Error(err)
	}
	if set := w.keys(rules.TierHuman); len(set.Keys) != 1 || len(set.Key(second)) != 0 {
		t.Error("a stolen key is still published")
	}
	if err := again.Tend(t.Context()); err != nil || current(again, rules.TierHuman) != current(w.Issuer, rules.TierHuman) {
		t.Errorf("another server still signs with a stolen key: %v", err)
	}
	if _, err := w.Rotate(t.Context(), "prod"); err == nil {
		t.Error("rotating a tier that does not exist: no error")
	}
	// Only the newest row of a tier holds keys.
	full := 0
	for _, v := range w.rows.rows {
		if len(v) > 1 {
			full++
		}
	}
	if full != 2 || len(w.rows.rows) < 4 {
		t.Errorf("%d of %d rows hold keys, want 2", full, len(w.rows.rows))
	}
}

// Each write of each step fails, done or not, and a server starts after it.
func TestCrash(t *testing.T) {
	steps := map[string]func(*world) error{
		"publish": func(w *world) error { _, err := w.Rotate(w.Context(), rules.TierHuman); return err },
		"promote": func(w *world) error { return w.Tend(w.Context()) },
		"replace": func(w *world) error { return w.Replace(w.Context(), rules.TierHuman) },
	}
	for name, step := range steps {
		for at := 1; at <= 2; at++ {
			for _, done := range []bool{false, true} {
				w := newWorld(t, nil)
				first := current(w.Issuer, rules.TierHuman)
				if name == "promote" {
					must(w.Rotate(w.Context(), rules.TierHuman))
					w.clock.add(issuer.PublishFor)
				}
				w.rows.writes, w.rows.failAt, w.rows.done = 0, at, done
				if err := step(w); !errors.Is(err, errDisk) {
					t.Fatalf("%s, write %d, done %t: %v", name, at, done, err)
				}
				here := current(w.Issuer, rules.TierHuman)
				w.mint(claims(rules.TierHuman))
				again, err := issuer.New(t.Context(), w.cfg)
				if err != nil {
					t.Fatalf("%s, write %d, done %t: starting again: %v", name, at, done, err)
				}
				stored := at > 1 || done
				changed := current(again, rules.TierHuman) != first
				if want := stored && name != "publish"; changed != want {
					t.Errorf("%s, write %d, done %t: the key changed %t, want %t", name, at, done, changed, want)
				}
				if at > 1 && here != current(again, rules.TierHuman) {
					t.Errorf("%s, write %d, done %t: the server that goes on signs with another key", name, at, done)
				}
				if got := inState(again, rules.TierHuman, issuer.Next) != ""; name == "publish" && got != stored {
					t.Errorf("publish, write %d, done %t: a next key %t, want %t", at, done, got, stored)
				}
				full := 0
				for row, v := range w.rows.rows {
					if strings.Contains(row, "human") && len(v) > 1 {
						full++
					}
				}
				if full != 1 {
					t.Errorf("%s, write %d, done %t: %d rows hold keys", name, at, done, full)
				}
				if err := errors.Join(w.Tend(t.Context()), again.Tend(t.Context())); err != nil || current(w.Issuer, rules.TierHuman) != current(again, rules.TierHuman) {
					t.Errorf("%s, write %d, done %t: two servers sign with two keys: %v", name, at, done, err)
				}
			}
		}
	}
}

func TestManyServers(t *testing.T) {
	w := newWorld(t, nil)
	w.cfg.Store = newMemory()
	servers := make([]*issuer.Issuer, 8)
	var wg sync.WaitGroup
	together := func(f func(n int) error) {
		for n := range servers {
			wg.Go(func() {
				if err := f(n); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	together(func(n int) (err error) { servers[n], err = issuer.New(t.Context(), w.cfg); return err })
	same := func(s issuer.State) {
		t.Helper()
		seen := map[string]bool{}
		for _, i := range servers {
			seen[inState(i, rules.TierHuman, s)] = true
		}
		if len(seen) != 1 || seen[""] {
			t.Errorf("%s keys: %v", s, slices.Collect(maps.Keys(seen)))
		}
	}
	same(issuer.Current)
	together(func(n int) error { _, err := servers[n].Rotate(t.Context(), rules.TierHuman); return err })
	together(func(n int) error { return servers[n].Tend(t.Context()) })
	same(issuer.Next)
	w.clock.add(issuer.PublishFor)
	together(func(n int) error { return servers[n].Tend(t.Context()) })
	same(issuer.Current)
	same(issuer.Old)
}

// Another server is faster: its keys count, and ours are thrown away.
func TestOvertaken(t *testing.T) {
	w := newWorld(t, nil)
	other, err := issuer.New(t.Context(), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.rows.rival = func() { must(other.Rotate(t.Context(), rules.TierHuman)) }
	if step := must(w.Rotate(t.Context(), rules.TierHuman)); step.Published {
		t.Error("a key that lost is said to be published")
	}
	if next := inState(other, rules.TierHuman, issuer.Next); next == "" || next != inState(w.Issuer, rules.TierHuman, issuer.Next) {
		t.Error("two servers publish two keys")
	}
}

// rowOf is the name of a tier's newest row.
func rowOf(t *testing.T, m *memory, tier rules.Tier) string {
	t.Helper()
	for name, v := range m.rows {
		if strings.Contains(name, string(tier)) && len(v) > 1 {
			return name
		}
	}
	t.Fatalf("no row of tier %s", tier)
	return ""
}

// What somebody with the database, and without the seal, can try.
func TestSealedRows(t *testing.T) {
	sound := newWorld(t, nil)
	human, auto := rowOf(t, sound.rows, rules.TierHuman), rowOf(t, sound.rows, rules.TierAuto)
	bare := newWorld(t, func(c *issuer.Config) { c.Seal = nil })
	for _, v := range sound.rows.rows {
		if v[0] != 's' || bytes.Contains(v, []byte("pkcs8")) {
			t.Error("a row lies in clear")
		}
	}
	if v := bare.rows.rows[auto]; !bytes.Contains(v, []byte("pkcs8")) {
		t.Error("the row that should lie in clear does not: the test holds nothing")
	}
	for name, c := range map[string]struct {
		seal   issuer.Seal
		change func(m map[string][]byte)
		want   string // "" starts
	}{
		"nothing":                  {newSeal("right"), func(map[string][]byte) {}, ""},
		"another seal":             {newSeal("wrong"), func(map[string][]byte) {}, "not sealed with this"},
		"no seal":                  {nil, func(map[string][]byte) {}, "set SALLYPORT_SEAL_KEY_FILE"},
		"a bit turned":             {newSeal("right"), func(m map[string][]byte) { m[human][20] ^= 1 }, "not sealed with this"},
		"auto's keys for human":    {newSeal("right"), func(m map[string][]byte) { m[human] = m[auto] }, "moved them"},
		"a row again as a later":   {newSeal("right"), func(m map[string][]byte) { m["issuer keys human 2"] = m[human] }, "moved them"},
		"an empty row":             {newSeal("right"), func(m map[string][]byte) { m[human] = nil }, "form"},
		"an unknown form":          {newSeal("right"), func(m map[string][]byte) { m[human] = []byte("z123") }, "form"},
		"the newest erased":        {newSeal("right"), func(m map[string][]byte) { m[human] = []byte("x") }, "erased"},
		"human's keys in clear":    {newSeal("right"), func(m map[string][]byte) { m[human] = bare.rows.rows[auto] }, "in clear"},
		"later keys in clear":      {newSeal("right"), func(m map[string][]byte) { m["issuer keys human 2"] = bare.rows.rows[auto] }, "in clear"},
		"in clear, without a seal": {nil, func(m map[string][]byte) { m[auto] = []byte(`o{"v":1,"tier":"human","generation":1}`) }, "moved them"},
		"no key in it":             {nil, func(m map[string][]byte) { m[auto] = []byte(`o{"v":1,"tier":"auto","generation":1}`) }, "no private key"},
		"a later version":          {nil, func(m map[string][]byte) { m[auto] = []byte(`o{"v":2,"tier":"auto","generation":1}`) }, "form"},
	} {
		cfg, rows := sound.cfg, sound.rows.copy()
		for k, v := range rows.rows {
			rows.rows[k] = bytes.Clone(v)
		}
		c.change(rows.rows)
		before := len(rows.rows[human])
		cfg.Store, cfg.Seal = rows, c.seal
		_, err := issuer.New(t.Context(), cfg)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if len(rows.rows[human]) != before {
			t.Errorf("%s: a good row was erased", name)
		}
	}
}

// Keys from before there was a seal are neither used nor published after it, be they
// ours or of somebody who wrote them there.
func TestSealAfterwards(t *testing.T) {
	w := newWorld(t, func(c *issuer.Config) { c.Seal = nil })
	before := current(w.Issuer, rules.TierAuto)
	w.cfg.Seal = newSeal("right")
	sealed, err := issuer.New(t.Context(), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range sealed.Status() {
		if k.ID == before {
			t.Errorf("the key from before is %s", k.State)
		}
	}
	for name, v := range w.rows.rows {
		if v[0] == 'o' {
			t.Errorf("%s still lies in clear", name)
		}
	}
}

func TestStoreThatGoesBack(t *testing.T) {
	w := newWorld(t, nil)
	yesterday := w.rows.copy()
	must(w.Rotate(t.Context(), rules.TierHuman))
	kid := current(w.Issuer, rules.TierHuman)
	w.rows.mu.Lock()
	w.rows.rows = yesterday.rows
	w.rows.mu.Unlock()
	if err := w.Tend(t.Context()); err == nil || !strings.Contains(err.Error(), "gone from the store") {
		t.Errorf("the store went back: %v", err)
	}
	if current(w.Issuer, rules.TierHuman) != kid || inState(w.Issuer, rules.TierHuman, issuer.Next) == "" {
		t.Error("the keys changed")
	}
}
