package ledger_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sallyport/sallyport/gate/ledger"
)

func TestOrigin(t *testing.T) {
	for url, want := range map[string]string{
		"https://sallyport.acme.internal":      "sallyport.acme.internal/ledger",
		"https://Sallyport.Acme.internal/":     "sallyport.acme.internal/ledger",
		"https://sallyport.acme.internal:8443": "sallyport.acme.internal:8443/ledger",
		"http://127.0.0.1:8080":                "127.0.0.1:8080/ledger",
		"https://[::1]:8080":                   "[::1]:8080/ledger",
		"sallyport.acme.internal":              "",
		"":                                     "",
		"https://":                             "",
		"ftp://sallyport.acme.internal":        "",
		"https://a+b.internal":                 "",
	} {
		got, err := ledger.Origin(url)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", url, got, err, want)
		}
	}
}

func TestKey(t *testing.T) {
	for seed := range byte(40) { // some seeds have a plus sign in their base64
		k := newKey(t, seed, origin)
		again, err := ledger.ParseKey(k.Secret())
		if err != nil || again != k || k.Origin() != origin {
			t.Fatalf("seed %d: %v", seed, err)
		}
		signer, err := note.NewSigner(k.Secret())
		if err != nil {
			t.Fatal(err)
		}
		verifier, err := note.NewVerifier(k.Verifier())
		if err != nil {
			t.Fatal(err)
		}
		if verifier.KeyHash() != signer.KeyHash() {
			t.Fatalf("seed %d: the verifier key is not that of the signer", seed)
		}
		raw, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		if shown := fmt.Sprintf("%v %+v %#v %s %s", k, k, k, raw, k.LogValue()); strings.Contains(shown, "PRIVATE") {
			t.Fatalf("shown: %s", shown)
		}
	}
	for _, bad := range []string{"", "PRIVATE+KEY+x+00000000+AA==", "x", newKey(t, 1, origin).Verifier()} {
		if _, err := ledger.ParseKey(bad); err == nil || bad != "" && strings.Contains(err.Error(), bad) && len(bad) > 1 {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := ledger.New(ledger.Config{}); err == nil {
		t.Error("a ledger without a key")
	}
	if _, err := ledger.GenerateKey(nil, origin); err == nil {
		t.Error("a key without chance")
	}
}

// A leaf is what the package comment says, to the byte, and so is a commitment.
func TestLeafForm(t *testing.T) {
	m, log := newMemory(), newLog(t, newKey(t, 1, origin))
	e := entry(0)
	e.Time = time.Date(2026, 3, 1, 13, 0, 0, 123_456_789, time.FixedZone("", 3600))
	if _, err := log.Append(m, e); err != nil {
		t.Fatal(err)
	}
	openings, err := ledger.ParseOpenings(m.openings[0])
	if err != nil || len(openings) != 2 {
		t.Fatalf("%d openings, %v", len(openings), err)
	}
	commit := func(name, value string) string {
		salt, err := hex.DecodeString(openings[name].Salt)
		if err != nil || len(salt) != 32 {
			t.Fatalf("salt %q", openings[name].Salt)
		}
		in := "sallyport ledger personal v1\n" + string(salt) + string([]byte{0, 0, 0, 0, 0, 0, 0, byte(len(name))}) + name + value
		sum := sha256.Sum256([]byte(in))
		return hex.EncodeToString(sum[:])
	}
	want := `{"decision":"d0","kind":"decision","payload":{"n":0,"verdict":"wait"},"personal":{"approvers":"` + commit("approvers", `["hubot"]`) +
		`","author_of_it":"` + commit("author_of_it", `{"id":583231,"login":"octocat"}`) + `"},"subject":{"pull_request":1,"repository":1,"sha":"` +
		strings.Repeat("0", 39) + `1"},"time":"2026-03-01T12:00:00.123456Z","v":1}`
	if got := string(m.leaves[0]); got != want {
		t.Errorf("leaf\n%s\nwant\n%s", got, want)
	}
	r, err := ledger.ParseLeaf(m.leaves[0])
	if err != nil || r.Kind != ledger.KindDecision || r.Subject != e.Subject || !r.Time.Equal(e.Time.Truncate(time.Microsecond)) || r.Hash != tlog.RecordHash([]byte(want)) {
		t.Errorf("%+v, %v", r, err)
	}
	for name, o := range openings {
		if err := o.Check(name, r.Personal[name]); err != nil {
			t.Error(err)
		}
		if o.Check(name+"x", r.Personal[name]) == nil {
			t.Error("an opening under another name")
		}
		o.Value = []byte(`"somebody else"`)
		if o.Check(name, r.Personal[name]) == nil {
			t.Error("an opening with another value")
		}
	}
}

// The same entry twice has two commitments: nobody can tell that it is the same
// person.
// Whatever a subject has is in the leaf, fields that come to be added included.
func TestWholeSubject(t *testing.T) {
	fields := reflect.TypeFor[ledger.Subject]()
	for i := -1; i < fields.NumField(); i++ { // each alone, and all
		e := entry(0)
		e.Subject = ledger.Subject{}
		for j := range fields.NumField() {
			if i >= 0 && i != j {
				continue
			}
			switch f := reflect.ValueOf(&e.Subject).Elem().Field(j); f.Kind() {
			case reflect.String:
				f.SetString("ü<" + fields.Field(j).Name)
			default:
				f.SetInt(int64(j + 1))
			}
		}
		m, log := newMemory(), newLog(t, newKey(t, 1, origin))
		if _, err := log.Append(m, e); err != nil {
			t.Fatal(err)
		}
		r, err := ledger.ParseLeaf(m.leaves[0])
		if err != nil || r.Subject != e.Subject {
			t.Errorf("%+v became %+v: %v", e.Subject, r.Subject, err)
		}
	}
}

func TestSaltsDiffer(t *testing.T) {
	m, log := newMemory(), newLog(t, newKey(t, 1, origin))
	if _, err := log.Append(m, entry(0), entry(0)); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(m.leaves[0], m.leaves[1]) {
		t.Error("two commitments to one value are equal")
	}
}

func TestRefusedEntries(t *testing.T) {
	deep := map[string]any{"a": []any{map[string]any{"b": map[string]any{"sender": 3}}}}
	for name, edit := range map[string]func(*ledger.Entry){
		"a login in the payload":                   func(e *ledger.Entry) { e.Payload = map[string]any{"login": "octocat"} },
		"a login in capitals":                      func(e *ledger.Entry) { e.Payload = map[string]any{"LOGIN": "octocat"} },
		"somebody's login":                         func(e *ledger.Entry) { e.Payload = map[string]any{"merged_by_login": "octocat"} },
		"a sender far down":                        func(e *ledger.Entry) { e.Payload = deep },
		"an address":                               func(e *ledger.Entry) { e.Payload = map[string]any{"text": "by Mona <mona@github.example.com>, today"} },
		"an address as a member":                   func(e *ledger.Entry) { e.Payload = map[string]any{"mona@example.com": 1} },
		"an address with other letters":            func(e *ledger.Entry) { e.Payload = map[string]any{"text": "möna@exämple.com"} },
		"reasons with people in them":              func(e *ledger.Entry) { e.Payload = map[string]any{"reasons": []any{}} },
		"a payload that is a list":                 func(e *ledger.Entry) { e.Payload = []int{1} },
		"a payload that is no JSON":                func(e *ledger.Entry) { e.Payload = map[string]any{"f": func() {}} },
		"a number that would be rounded":           func(e *ledger.Entry) { e.Payload = map[string]any{"n": int64(1<<53 + 1)} },
		"a number beyond 64 bits":                  func(e *ledger.Entry) { e.Payload = json.RawMessage(`{"n":99999999999999999999}`) },
		"no kind":                                  func(e *ledger.Entry) { e.Kind = "" },
		"a kind with a space":                      func(e *ledger.Entry) { e.Kind = "a b" },
		"no time":                                  func(e *ledger.Entry) { e.Time = time.Time{} },
		"a far time":                               func(e *ledger.Entry) { e.Time = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"a personal value without a name":          func(e *ledger.Entry) { e.Personal = map[string]any{"": 1} },
		"a personal value's name that is personal": func(e *ledger.Entry) { e.Personal = map[string]any{"Mona Lisa": 1} },
		"a personal value that is no JSON":         func(e *ledger.Entry) { e.Personal = map[string]any{"a": func() {}} },
		"a subject that would be rounded":          func(e *ledger.Entry) { e.Subject.Run = 1 << 53 },
		"a negative subject":                       func(e *ledger.Entry) { e.Subject.Repository = -1 },
		"an entry that is too large":               func(e *ledger.Entry) { e.Payload = map[string]any{"text": strings.Repeat("x", ledger.MaxLeaf)} },
	} {
		m, log := newMemory(), newLog(t, newKey(t, 1, origin))
		e := entry(0)
		edit(&e)
		if _, err := log.Append(m, entry(1), e); err == nil {
			t.Errorf("%s: no error", name)
		}
		if len(m.leaves) != 0 || m.size != 0 {
			t.Errorf("%s: something was written", name)
		}
	}
	for name, payload := range map[string]any{
		"a team":                 map[string]any{"team": "@acme/sre"},
		"an action at a version": map[string]any{"uses": "actions/checkout@v4"},
		"an at sign":             map[string]any{"text": "@ 5.30"},
		"nothing":                nil,
	} {
		e := entry(0)
		e.Payload = payload
		if _, err := newLog(t, newKey(t, 1, origin)).Append(newMemory(), e); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newLog(t, newKey(t, 1, origin)).Append(newMemory()); err == nil {
		t.Error("no entries at all")
	}
}

// No personal value stands in anything that is served.
func TestNothingPersonalIsServed(t *testing.T) {
	k := newKey(t, 1, origin)
	m, _ := filled(t, k, 30)
	h := ledger.NewHandler(m, k.Verifier())
	for _, path := range []string{"checkpoint", "key", "tile/0/000.p/30", "tile/entries/000.p/30"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ledger/"+path, nil))
		if w.Code != 200 || w.Body.Len() == 0 {
			t.Errorf("%s: %d", path, w.Code)
		}
		for _, s := range []string{"octocat", "hubot", "583231", "salt"} {
			if strings.Contains(w.Body.String(), s) {
				t.Errorf("%s has %q in it", path, s)
			}
		}
	}
	if out := export(t, m, ledger.ExportConfig{}); bytes.Contains(out, []byte("octocat")) {
		t.Error("an export without personal values has one")
	}
	if out := export(t, m, ledger.ExportConfig{Personal: true}); !bytes.Contains(out, []byte("octocat")) {
		t.Error("an export with personal values has none")
	}
}

func TestErase(t *testing.T) {
	k := newKey(t, 1, origin)
	m, all := filled(t, k, 10)
	cfg := ledger.VerifyConfig{Verifier: k.Verifier(), Witnesses: []ledger.Witness{all[0].Witness(), all[len(all)-1].Witness()}}
	if err := ledger.Erase(m, 3, "approvers"); err != nil {
		t.Fatal(err)
	}
	left, err := ledger.ParseOpenings(m.openings[3])
	if _, there := left["author_of_it"]; err != nil || len(left) != 1 || !there {
		t.Errorf("left of entry 3: %v, %v", left, err)
	}
	if err := ledger.Erase(m, 4); err != nil {
		t.Fatal(err)
	}
	if err := ledger.Erase(m, 4, "approvers"); err != nil {
		t.Errorf("erasing again: %v", err)
	}
	if m.openings[4] != nil {
		t.Errorf("left of entry 4: %s", m.openings[4])
	}
	out := export(t, m, ledger.ExportConfig{Personal: true})
	if _, err := ledger.VerifyExport(bytes.NewReader(out), cfg); err != nil {
		t.Errorf("after erasing: %v", err)
	}
	if n := bytes.Count(out, []byte("hubot")); n != 8 {
		t.Errorf("%d names in the export, want 8", n)
	}
}

// The tree is that of RFC 6962 as tlog computes it by itself, and the tiles hold
// its hashes, at every size that is near a border.
func TestTreeIsThatOfTlog(t *testing.T) {
	k := newKey(t, 1, origin)
	m, log := newMemory(), newLog(t, k)
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, stored[i])
		}
		return out, nil
	})
	e := entry(0)
	e.Personal = nil
	for n := int64(0); n < 66_000; {
		batch := int64(1)
		switch {
		case n > 1000 && n < 65_000:
			batch = min(997, 65_000-n)
		case n > 600:
			batch = 13
		}
		entries := make([]ledger.Entry, batch)
		for i := range entries {
			e.Subject.PullRequest = int(n) + i + 1
			entries[i] = e
		}
		c, err := log.Append(m, entries...)
		if err != nil {
			t.Fatal(err)
		}
		for ; n < c.Size; n++ {
			more, err := tlog.StoredHashes(n, m.leaves[n], reader)
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, more...)
		}
		want, err := tlog.TreeHash(n, reader)
		if err != nil || want != c.Root || c.Size != n {
			t.Fatalf("size %d: root %s, want %s, %v", n, c.Root, want, err)
		}
	}
	if want := int(m.size/256 + m.size/65_536); len(m.nodes) != want {
		t.Errorf("%d nodes, want %d", len(m.nodes), want)
	}
	h := ledger.NewHandler(m, k.Verifier())
	for _, tile := range tlog.NewTiles(8, 0, m.size) {
		want, err := tlog.ReadTileData(tile, reader)
		if err != nil {
			t.Fatal(err)
		}
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ledger/"+path, nil))
		if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), want) {
			t.Fatalf("%s: %d, %d bytes, want %d", path, w.Code, w.Body.Len(), len(want))
		}
	}
}

func TestHandler(t *testing.T) {
	k := newKey(t, 1, origin)
	m, _ := filled(t, k, 300)
	h := ledger.NewHandler(m, k.Verifier())
	for path, want := range map[string]int{
		"GET /ledger/checkpoint":                               200,
		"GET /ledger/key":                                      200,
		"HEAD /ledger/checkpoint":                              200,
		"GET /ledger/tile/0/000":                               200,
		"GET /ledger/tile/0/000.p/1":                           200, // full tiles serve as partial ones too
		"GET /ledger/tile/0/001.p/44":                          200,
		"GET /ledger/tile/1/000.p/1":                           200,
		"GET /ledger/tile/entries/000":                         200,
		"GET /ledger/tile/entries/001.p/44":                    200,
		"GET /ledger/tile/0/001":                               404,
		"GET /ledger/tile/0/001.p/45":                          404,
		"GET /ledger/tile/1/000.p/2":                           404,
		"GET /ledger/tile/2/000.p/1":                           404,
		"GET /ledger/tile/entries/001":                         404,
		"GET /ledger/tile/entries/x001/000":                    404,
		"GET /ledger/tile/0/0":                                 404,
		"GET /ledger/tile/0/000.p/0":                           404,
		"GET /ledger/tile/0/000.p/256":                         404,
		"GET /ledger/tile/0/000.p/01":                          404,
		"GET /ledger/tile/0/-01":                               404,
		"GET /ledger/tile/0/+01":                               404,
		"GET /ledger/tile/00/000":                              404,
		"GET /ledger/tile/8/000":                               404,
		"GET /ledger/tile/-1/000":                              404,
		"GET /ledger/tile/0/x000/000":                          404,
		"GET /ledger/tile/0/000/000":                           404,
		"GET /ledger/tile/0/x999/x999/x999/x999/x999/x999/999": 404,
		"GET /ledger/tile/8/0/000":                             404,
		"GET /ledger/tile/":                                    404,
		"GET /ledger/":                                         404,
		"POST /ledger/checkpoint":                              405,
		"DELETE /ledger/tile/0/000":                            405,
	} {
		method, url, _ := strings.Cut(path, " ")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, url, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ledger/key", nil))
	if w.Body.String() != k.Verifier()+"\n" {
		t.Errorf("key: %q", w.Body)
	}
	w = httptest.NewRecorder()
	ledger.NewHandler(newMemory(), k.Verifier()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ledger/checkpoint", nil))
	if w.Code != 404 {
		t.Errorf("the checkpoint of an empty ledger: %d", w.Code)
	}
}

func TestCheckpoint(t *testing.T) {
	k, other := newKey(t, 1, origin), newKey(t, 2, origin)
	_, all := filled(t, k, 5)
	c := all[len(all)-1]
	if got, err := ledger.ParseCheckpoint(c.Note, k.Verifier()); err != nil || got.Size != 5 || got.Root != c.Root || got.Origin != origin {
		t.Errorf("%+v, %v", got, err)
	}
	if want := origin + "\n5\n" + c.Root.String() + "\n\n— " + origin + " "; !strings.HasPrefix(string(c.Note), want) {
		t.Errorf("%q, want it to begin with %q", c.Note, want)
	}
	if w, err := ledger.ParseWitness(c.Witness().String()); err != nil || w != c.Witness() {
		t.Errorf("%v, %v", w, err)
	}
	for _, bad := range []string{"", "5", "5 x", "-5 " + c.Root.String(), "05 " + c.Root.String(), "5  " + c.Root.String(), "5 " + c.Root.String() + " "} {
		if _, err := ledger.ParseWitness(bad); err == nil {
			t.Errorf("witness %q: no error", bad)
		}
	}
	signer, err := note.NewSigner(k.Secret())
	if err != nil {
		t.Fatal(err)
	}
	signed := func(text string) []byte {
		out, err := note.Sign(&note.Note{Text: text}, signer)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	root := c.Root.String()
	for name, row := range map[string]struct {
		data []byte
		key  string
		want error
	}{
		"another key":          {c.Note, other.Verifier(), ledger.ErrSignature},
		"another origin":       {c.Note, newKey(t, 1, "other.internal/ledger").Verifier(), ledger.ErrOrigin},
		"another size":         {bytes.Replace(c.Note, []byte("\n5\n"), []byte("\n4\n"), 1), k.Verifier(), ledger.ErrSignature},
		"no signature":         {[]byte(origin + "\n5\n" + root + "\n"), k.Verifier(), ledger.ErrSignature},
		"nothing":              {nil, k.Verifier(), ledger.ErrSignature},
		"huge":                 {bytes.Repeat(c.Note, 1000), k.Verifier(), nil},
		"signed, no root":      {signed(origin + "\n5\n"), k.Verifier(), nil},
		"signed, a short root": {signed(origin + "\n5\nAAAA\n"), k.Verifier(), nil},
		"signed, a sign":       {signed(origin + "\n+5\n" + root + "\n"), k.Verifier(), nil},
		"signed, an extension": {signed(origin + "\n5\n" + root + "\nx\n"), k.Verifier(), nil},
		"no key":               {c.Note, "", nil},
	} {
		if _, err := ledger.ParseCheckpoint(row.data, row.key); err == nil || row.want != nil && !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", name, err, row.want)
		}
	}
}

func TestRefusesToShrinkOrFork(t *testing.T) {
	k := newKey(t, 1, origin)
	for name, c := range map[string]struct {
		tamper func(t *testing.T, m *memory, log *ledger.Log, all []ledger.Checkpoint)
		want   error
	}{
		"a store that was restored from before": {func(t *testing.T, m *memory, log *ledger.Log, all []ledger.Checkpoint) {
			if err := log.Observe(all[len(all)-1]); err != nil {
				t.Fatal(err)
			}
			old, _ := filled(t, k, 6)
			*m = *old
		}, ledger.ErrShrunk},
		"a store that is empty": {func(t *testing.T, m *memory, log *ledger.Log, all []ledger.Checkpoint) {
			if err := log.Observe(all[0]); err != nil {
				t.Fatal(err)
			}
			*m = *newMemory()
		}, ledger.ErrShrunk},
		"another history of the same size": {func(t *testing.T, m *memory, log *ledger.Log, all []ledger.Checkpoint) {
			if err := log.Observe(all[len(all)-1]); err != nil {
				t.Fatal(err)
			}
			other, second := newMemory(), newLog(t, k)
			for i := range 10 {
				if _, err := second.Append(other, entry(i+100)); err != nil {
					t.Fatal(err)
				}
			}
			*m = *other
		}, ledger.ErrForked},
		"another key's history": {func(t *testing.T, m *memory, _ *ledger.Log, _ []ledger.Checkpoint) {
			o, _ := filled(t, newKey(t, 2, origin), 10)
			*m = *o
		}, ledger.ErrForked},
		"another origin's history": {func(t *testing.T, m *memory, _ *ledger.Log, _ []ledger.Checkpoint) {
			o, _ := filled(t, newKey(t, 1, "x/ledger"), 10)
			*m = *o
		}, ledger.ErrForked},
		"an edge that was changed": {func(_ *testing.T, m *memory, _ *ledger.Log, _ []ledger.Checkpoint) {
			m.edge = bytes.Clone(m.edge)
			m.edge[0] ^= 1
		}, ledger.ErrForked},
		"an edge that was cut":        {func(_ *testing.T, m *memory, _ *ledger.Log, _ []ledger.Checkpoint) { m.edge = m.edge[:32] }, ledger.ErrForked},
		"a size that was changed":     {func(_ *testing.T, m *memory, _ *ledger.Log, _ []ledger.Checkpoint) { m.size = 12 }, ledger.ErrForked},
		"a negative size":             {func(_ *testing.T, m *memory, _ *ledger.Log, _ []ledger.Checkpoint) { m.size = -1 }, ledger.ErrShrunk},
		"an older checkpoint":         {func(_ *testing.T, m *memory, _ *ledger.Log, all []ledger.Checkpoint) { m.checkpoint = all[0].Note }, ledger.ErrForked},
		"a checkpoint and no entries": {func(_ *testing.T, m *memory, _ *ledger.Log, _ []ledger.Checkpoint) { m.size, m.edge = 0, nil }, ledger.ErrForked},
	} {
		t.Run(name, func(t *testing.T) {
			m, all := filled(t, k, 10)
			log := newLog(t, k)
			c.tamper(t, m, log, all)
			before := len(m.leaves)
			if _, err := log.Append(m, entry(50)); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if len(m.leaves) != before {
				t.Error("something was written")
			}
		})
	}
	// The ledger that wrote it all is no more trusting, and another process goes on.
	m, all := filled(t, k, 10)
	log := newLog(t, k)
	if _, err := log.Append(m, entry(10)); err != nil {
		t.Errorf("going on: %v", err)
	}
	if err := log.Observe(all[0]); err != nil {
		t.Errorf("an old checkpoint: %v", err)
	}
	if err := log.Observe(ledger.Checkpoint{Note: []byte("x")}); err == nil {
		t.Error("observed what nobody signed")
	}
}

// A transaction that is rolled back leaves nothing behind in the ledger.
func TestRolledBack(t *testing.T) {
	k := newKey(t, 1, origin)
	m, log := newMemory(), newLog(t, k)
	if _, err := log.Append(m, entry(0)); err != nil {
		t.Fatal(err)
	}
	lost := *m
	lost.leaves = slices.Clone(m.leaves)
	if _, err := log.Append(&lost, entry(1)); err != nil {
		t.Fatal(err)
	}
	c, err := log.Append(m, entry(2))
	if err != nil || c.Size != 2 {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := ledger.VerifyExport(bytes.NewReader(export(t, m, ledger.ExportConfig{})), ledger.VerifyConfig{Verifier: k.Verifier()}); err != nil {
		t.Error(err)
	}
}

// Every way in which an export can be wrong, with the first bad entry.
func TestVerifyExport(t *testing.T) {
	k := newKey(t, 1, origin)
	m, all := filled(t, k, 20) // appended as 0, 1-2, 3, 4-5, 6, 7-8, …: see filled
	good := export(t, m, ledger.ExportConfig{Personal: true})
	lines := func() []string { return strings.Split(strings.TrimSuffix(string(good), "\n"), "\n") }
	// rehash makes a line's hash that of its entry, as somebody would who knows how.
	rehash := func(line string) string {
		var l struct {
			Entry json.RawMessage `json:"entry"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		h := tlog.RecordHash(l.Entry)
		return regexp.MustCompile(`"hash":"[0-9a-f]*"`).ReplaceAllString(line, `"hash":"`+hex.EncodeToString(h[:])+`"`)
	}
	reindex := func(line string, n int) string {
		return regexp.MustCompile(`"index":[0-9]*`).ReplaceAllString(line, fmt.Sprintf(`"index":%d`, n))
	}
	otherAt := func(n int) string { // the same place in another history, rightly signed by another key
		o, _ := filled(t, newKey(t, 2, origin), 20)
		return strings.Split(string(export(t, o, ledger.ExportConfig{})), "\n")[n+1]
	}
	type want struct {
		kind     ledger.FaultKind
		from, to int64
	}
	for _, c := range []struct {
		name string
		edit func([]string) []string
		want want
	}{
		{"a changed entry", func(l []string) []string { l[8] = strings.Replace(l[8], `"wait"`, `"allow"`, 1); return l }, want{ledger.FaultChanged, 7, 8}},
		{"a changed hash", func(l []string) []string { l[8] = strings.Replace(l[8], `"hash":"`, `"hash":"0`, 1); return l }, want{ledger.FaultChanged, 7, 8}},
		{"a changed entry with its hash", func(l []string) []string { l[8] = rehash(strings.Replace(l[8], `"wait"`, `"allow"`, 1)); return l }, want{ledger.FaultRoot, 7, 9}},
		{"two changed entries", func(l []string) []string {
			l[4], l[8] = strings.Replace(l[4], `"wait"`, `"allow"`, 1), strings.Replace(l[8], `"wait"`, `"allow"`, 1)
			return l
		}, want{ledger.FaultChanged, 3, 4}},
		{"the first entry missing", func(l []string) []string { return slices.Delete(l, 1, 2) }, want{ledger.FaultMissing, 0, 1}},
		{"an entry missing", func(l []string) []string { return slices.Delete(l, 8, 9) }, want{ledger.FaultMissing, 7, 8}},
		{"the last entry missing", func(l []string) []string { return l[:len(l)-1] }, want{ledger.FaultMissing, 19, 20}},
		{"all entries missing", func(l []string) []string { return l[:1] }, want{ledger.FaultMissing, 0, 1}},
		{"an entry missing and the rest renumbered", func(l []string) []string {
			l = slices.Delete(l, 8, 9)
			for i := 8; i < len(l); i++ {
				l[i] = reindex(l[i], i-1)
			}
			return l
		}, want{ledger.FaultMissing, 7, 8}},
		{"an entry doubled", func(l []string) []string { return slices.Insert(l, 8, l[8]) }, want{ledger.FaultDoubled, 7, 8}},
		{"an early entry doubled late", func(l []string) []string { return slices.Insert(l, 15, l[3]) }, want{ledger.FaultDoubled, 2, 3}},
		{"the last entry doubled", func(l []string) []string { return append(l, l[len(l)-1]) }, want{ledger.FaultDoubled, 19, 20}},
		{"an entry doubled and the rest renumbered", func(l []string) []string {
			l = slices.Insert(l, 8, l[8])
			for i := 8; i < len(l); i++ {
				l[i] = reindex(l[i], i-1)
			}
			return l[:len(l)-1]
		}, want{ledger.FaultDoubled, 7, 10}},
		{"two entries reordered", func(l []string) []string { l[8], l[9] = l[9], l[8]; return l }, want{ledger.FaultReordered, 7, 8}},
		{"two entries reordered and renumbered", func(l []string) []string { l[8], l[9] = reindex(l[9], 7), reindex(l[8], 8); return l }, want{ledger.FaultMissing, 7, 8}},
		{"an entry moved to the end", func(l []string) []string { return append(slices.Delete(slices.Clone(l), 3, 4), l[3]) }, want{ledger.FaultReordered, 2, 3}},
		{"an entry of another history", func(l []string) []string { l[6] = otherAt(5); return l }, want{ledger.FaultSignature, 5, 6}},
		{"an entry more than is signed", func(l []string) []string { return append(l, reindex(l[20], 20)) }, want{ledger.FaultUnsigned, 20, 21}},
		{"another personal value", func(l []string) []string { l[8] = strings.Replace(l[8], "hubot", "mallory", 1); return l }, want{ledger.FaultPersonal, 7, 8}},
		{"another salt", func(l []string) []string { l[8] = strings.Replace(l[8], `"salt":"`, `"salt":"00`, 1); return l }, want{ledger.FaultPersonal, 7, 8}},
		{"an opening of nothing", func(l []string) []string {
			l[8] = strings.Replace(l[8], `"personal":{"approvers":{`, `"personal":{"others":{`, 1)
			return l
		}, want{ledger.FaultPersonal, 7, 8}},
		{"a line that is no JSON", func(l []string) []string { l[8] = "{"; return l }, want{ledger.FaultMalformed, 7, 8}},
		{"a line with a member twice", func(l []string) []string { l[8] = `{"index":7,` + l[8][1:]; return l }, want{ledger.FaultMalformed, 7, 8}},
		{"a negative index", func(l []string) []string {
			l[8] = reindex(l[8], 0)
			l[8] = strings.Replace(l[8], `"index":0`, `"index":-1`, 1)
			return l
		}, want{ledger.FaultMalformed, 7, 8}},
		{"no header", func(l []string) []string { return l[1:] }, want{ledger.FaultMalformed, 0, 0}},
		{"nothing", func([]string) []string { return nil }, want{ledger.FaultMalformed, 0, 0}},
		{"a header of another version", func(l []string) []string { l[0] = strings.Replace(l[0], `"v":1`, `"v":2`, 1); return l }, want{ledger.FaultMalformed, 0, 0}},
		{"a header with an older checkpoint", func(l []string) []string {
			l[0] = strings.Replace(l[0], regexp.MustCompile(`"checkpoint":"[^"]*"`).FindString(l[0]), `"checkpoint":`+string(quote(t, all[3].Note)), 1)
			return l
		}, want{ledger.FaultUnsigned, all[3].Size, all[3].Size + 1}},
		{"a header with a forged checkpoint", func(l []string) []string { l[0] = strings.Replace(l[0], `\n20\n`, `\n19\n`, 1); return l }, want{ledger.FaultSignature, 0, 0}},
		{"a checkpoint within with another size", func(l []string) []string {
			return replaceCheckpoint(l, all, 2, 3)
		}, want{ledger.FaultMissing, all[1].Size, all[2].Size}},
		{"a forged checkpoint within", func(l []string) []string {
			i := all[2].Size
			l[i] = strings.Replace(l[i], fmt.Sprintf(`\n%d\n`, all[2].Size), `\n9\n`, 1)
			return l
		}, want{ledger.FaultSignature, all[2].Size - 1, all[2].Size}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := strings.Join(c.edit(lines()), "\n")
			_, err := ledger.VerifyExport(strings.NewReader(in), ledger.VerifyConfig{Verifier: k.Verifier()})
			var f *ledger.Fault
			if !errors.As(err, &f) || (want{f.Kind, f.From, f.To}) != c.want || f.Error() == "" {
				t.Errorf("%v (%+v), want %+v", err, f, c.want)
			}
		})
	}

	var told []int64
	got, err := ledger.VerifyExport(bytes.NewReader(good), ledger.VerifyConfig{
		Verifier: k.Verifier(), Witnesses: []ledger.Witness{all[0].Witness(), all[4].Witness()},
		Progress: func(done, total int64) { told = append(told, done, total) },
	})
	if err != nil || got.Size != 20 || !slices.Equal(told, []int64{20, 20}) {
		t.Errorf("the export as it is: %+v, %v, progress %v", got, err, told)
	}
	if _, err := ledger.VerifyExport(strings.NewReader(strings.ReplaceAll(string(good), `"kind":"decision",`, `"kind" : "decision" , `)), ledger.VerifyConfig{Verifier: k.Verifier()}); err != nil {
		t.Errorf("with other white space: %v", err)
	}
	for name, c := range map[string]struct {
		cfg  ledger.VerifyConfig
		kind ledger.FaultKind
	}{
		"another key":          {ledger.VerifyConfig{Verifier: newKey(t, 2, origin).Verifier()}, ledger.FaultSignature},
		"another origin":       {ledger.VerifyConfig{Verifier: newKey(t, 1, "other.internal/ledger").Verifier()}, ledger.FaultOrigin},
		"a witness of more":    {ledger.VerifyConfig{Verifier: k.Verifier(), Witnesses: []ledger.Witness{{Size: 21}}}, ledger.FaultMissing},
		"a witness of another": {ledger.VerifyConfig{Verifier: k.Verifier(), Witnesses: []ledger.Witness{{Size: 5}}}, ledger.FaultRoot},
	} {
		var f *ledger.Fault
		if _, err := ledger.VerifyExport(bytes.NewReader(good), c.cfg); !errors.As(err, &f) || f.Kind != c.kind {
			t.Errorf("%s: %v, want %s", name, err, c.kind)
		}
	}
	if _, err := ledger.VerifyExport(bytes.NewReader(good), ledger.VerifyConfig{}); err == nil {
		t.Error("no key at all")
	}
}

func quote(t *testing.T, b []byte) []byte {
	t.Helper()
	out, err := json.Marshal(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// replaceCheckpoint puts another append's checkpoint into an append's last line.
func replaceCheckpoint(lines []string, all []ledger.Checkpoint, at, with int) []string {
	i := all[at].Size
	raw, _ := json.Marshal(string(all[with].Note))
	lines[i] = regexp.MustCompile(`"checkpoint":"[^"]*"`).ReplaceAllLiteralString(lines[i], `"checkpoint":`+string(raw))
	return lines
}

// serverOf serves a ledger, with edits of what it says.
func serverOf(t *testing.T, m *memory, k ledger.Key, edit func(path string, body []byte) []byte) ledger.Fetch {
	t.Helper()
	h := ledger.NewHandler(m, k.Verifier())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		if edit != nil {
			body = edit(strings.TrimPrefix(r.URL.Path, "/ledger/"), bytes.Clone(body))
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	return ledger.HTTP(server.Client(), server.URL+"/")
}

func TestOnline(t *testing.T) {
	k := newKey(t, 1, origin)
	m, all := filled(t, k, 1000)
	ctx := t.Context()
	var seen []ledger.Witness
	for _, c := range all {
		seen = append(seen, c.Witness())
	}
	cfg := ledger.VerifyConfig{Verifier: k.Verifier(), Witnesses: seen}
	if c, err := ledger.Verify(ctx, serverOf(t, m, k, nil), cfg); err != nil || c.Size != 1000 {
		t.Fatalf("%+v, %v", c, err)
	}
	tree, err := ledger.Open(ctx, serverOf(t, m, k, nil), k.Verifier())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []int{0, 1, 100, 170, len(all) - 1} {
		if err := tree.Consistent(ctx, all[c].Witness()); err != nil {
			t.Errorf("consistent with size %d: %v", all[c].Size, err)
		}
		if c > 0 {
			if err := tree.Consistent(ctx, ledger.Witness{Size: all[c].Size, Root: all[0].Root}); kindOf(err) != ledger.FaultRoot {
				t.Errorf("consistent with a wrong root at size %d: %v", all[c].Size, err)
			}
		}
	}
	if err := tree.Consistent(ctx, ledger.Witness{Root: all[0].Root}); kindOf(err) != ledger.FaultRoot {
		t.Errorf("consistent with something in an empty tree: %v", err)
	}
	if err := tree.Consistent(ctx, ledger.Witness{Size: 1001}); kindOf(err) != ledger.FaultMissing {
		t.Errorf("consistent with more than there is: %v", err)
	}
	for _, i := range []int64{0, 1, 255, 256, 999} {
		if err := tree.Includes(ctx, i, m.leaves[i]); err != nil {
			t.Errorf("includes %d: %v", i, err)
		}
		if err := tree.Includes(ctx, i, m.leaves[(i+1)%1000]); kindOf(err) != ledger.FaultChanged {
			t.Errorf("includes another at %d: %v", i, err)
		}
	}
	if err := tree.Includes(ctx, 1000, m.leaves[0]); kindOf(err) != ledger.FaultMissing {
		t.Errorf("includes what is not there: %v", err)
	}
	var out bytes.Buffer
	if err := tree.Export(ctx, &out, nil); err != nil {
		t.Fatal(err)
	}
	if c, err := ledger.VerifyExport(&out, cfg); err != nil || c.Size != 1000 {
		t.Errorf("an export over the network: %+v, %v", c, err)
	}
	records, err := tree.Entries(ctx, 300)
	if err != nil || len(records) != 212 || records[0].Subject.PullRequest != 301 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

func kindOf(err error) ledger.FaultKind {
	var f *ledger.Fault
	if errors.As(err, &f) {
		return f.Kind
	}
	return ""
}

// A server that lies is found out, whatever it lies about.
func TestOnlineLies(t *testing.T) {
	k := newKey(t, 1, origin)
	m, all := filled(t, k, 1000)
	o, _ := filled(t, newKey(t, 2, origin), 1000)
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 1; return b }
	}
	for name, c := range map[string]struct {
		path string
		edit func([]byte) []byte
		kind ledger.FaultKind // empty: any error
		from int64
	}{
		"an entry": {"tile/entries/001", func(b []byte) []byte { return bytes.Replace(b, []byte(`"n":300,`), []byte(`"n":301,`), 1) }, ledger.FaultChanged, 300},
		"two entries exchanged": {"tile/entries/000", func(b []byte) []byte {
			return append(b[second(b):2*second(b):2*second(b)], append(b[:second(b):second(b)], b[2*second(b):]...)...)
		}, ledger.FaultChanged, 0},
		"a bundle too short":        {"tile/entries/000", func(b []byte) []byte { return b[:len(b)-1] }, ledger.FaultMalformed, 0},
		"a bundle too long":         {"tile/entries/000", func(b []byte) []byte { return append(b, 0, 0) }, ledger.FaultMalformed, 0},
		"a bundle with half a size": {"tile/entries/000", func(b []byte) []byte { return append(b, 0) }, ledger.FaultMalformed, 0},
		"a hash":                    {"tile/0/001", flip(40), ledger.FaultRoot, 256},
		"a hash above":              {"tile/1/000.p/3", flip(40), ledger.FaultRoot, 0},
		"a tile too short":          {"tile/0/001", func(b []byte) []byte { return b[:32] }, ledger.FaultRoot, 256},
		"a tile that is empty":      {"tile/0/001", func([]byte) []byte { return nil }, ledger.FaultRoot, 256},
		"a root":                    {"checkpoint", flip(len(origin) + 8), ledger.FaultSignature, 0},
		"another key's checkpoint":  {"checkpoint", func([]byte) []byte { return o.checkpoint }, ledger.FaultSignature, 0},
		"an older checkpoint":       {"checkpoint", func([]byte) []byte { return all[10].Note }, ledger.FaultMissing, all[10].Size},
		"no checkpoint":             {"checkpoint", func([]byte) []byte { return nil }, ledger.FaultSignature, 0},
	} {
		t.Run(name, func(t *testing.T) {
			met := false
			fetch := serverOf(t, m, k, func(path string, body []byte) []byte {
				if path == c.path {
					met = true
					return c.edit(body)
				}
				return body
			})
			_, err := ledger.Verify(t.Context(), fetch, ledger.VerifyConfig{Verifier: k.Verifier(), Witnesses: []ledger.Witness{all[len(all)-1].Witness()}})
			var f *ledger.Fault
			if err == nil || !met || c.kind != "" && (!errors.As(err, &f) || f.Kind != c.kind || f.From != c.from) {
				t.Errorf("%v (asked for: %t), want %s from %d", err, met, c.kind, c.from)
			}
		})
	}
	_, err := ledger.Verify(t.Context(), func(context.Context, string) ([]byte, error) { return nil, context.DeadlineExceeded }, ledger.VerifyConfig{Verifier: k.Verifier()})
	if kindOf(err) != "" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a network that is down is no fault of the ledger: %v", err)
	}
}

// second is where the second entry of a bundle begins, the first entries being
// equally long.
func second(b []byte) int { return 2 + int(b[0])<<8 + int(b[1]) }

// Whatever text is in an entry, its leaf is canonical and reads back.
func FuzzAppend(f *testing.F) {
	f.Add("decision", "a \u2028 < & \" \\ \x00 \x7f ü 😀", int64(7))
	f.Fuzz(func(t *testing.T, decision, text string, n int64) {
		m, log := newMemory(), newLog(t, newKey(t, 1, origin))
		e := entry(0)
		e.Decision, e.Subject.Key = decision, text
		e.Payload = map[string]any{"text": text, "t" + text: n}
		if _, err := log.Append(m, e); err != nil {
			return // refused, and nothing written
		}
		r, err := ledger.ParseLeaf(m.leaves[0])
		if err != nil || r.Decision != decision || r.Subject != e.Subject {
			t.Fatalf("%s: %v", m.leaves[0], err)
		}
	})
}

// A payload is refused or recorded alike whether its bytes are plain or need the
// whole reader, which an escape beside it makes sure of.
func FuzzPayload(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"a":[1,{"b":null},true,"x"],"b":-1}`, `{"b":1,"a":2}`, `{"login":"x"}`, `[["octocat@example.com"]]`, `{"a":1e3,"b":-0}`,
		`{"ü":1,"a":{"sender":1}}`, `9007199254740993`, `{"a":{"b":1},"c":{"a":1}}`, `[[[[[[[[[[[[[[[[[[{"email":1}]]]]]]]]]]]]]]]]]]`, `{"":1,"a":""}`,
		`{"a":123456789012345678}`, `{"a":1.5}`, `"@acme/sre"`,
	} {
		f.Add(text)
	}
	log := newLog(f, newKey(f, 1, origin))
	f.Fuzz(func(t *testing.T, text string) {
		leaf := func(payload string) ([]byte, error) {
			m, e := newMemory(), entry(1)
			e.Personal, e.Payload = nil, jsontext.Value(payload)
			if _, err := log.Append(m, e); err != nil {
				return nil, err
			}
			return m.leaves[0], nil
		}
		if !json.Valid([]byte(text)) {
			t.Skip()
		}
		plain, err := leaf(`{"a":` + text + `}`)
		escaped, err2 := leaf(`{"a":` + text + `,"z":"\n"}`)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("%q: %v, beside an escape %v", text, err, err2)
		}
		if err != nil {
			return
		}
		if want := bytes.Replace(escaped, []byte(`,"z":"\n"}`), []byte(`}`), 1); !bytes.Equal(plain, want) {
			t.Fatalf("%s, beside an escape %s", plain, escaped)
		}
		if _, err := ledger.ParseLeaf(plain); err != nil {
			t.Fatalf("%s: %v", plain, err)
		}
	})
}

func FuzzParseLeaf(f *testing.F) {
	m, _ := filled(f, newKey(f, 1, origin), 3)
	for _, l := range m.leaves {
		f.Add(l)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ledger.ParseLeaf(data)
		if err == nil && (r.Hash != tlog.RecordHash(data) || r.Kind == "") {
			t.Fatalf("%+v", r)
		}
	})
}

func FuzzVerifyExport(f *testing.F) {
	k := newKey(f, 1, origin)
	m, _ := filled(f, k, 4)
	good := export(f, m, ledger.ExportConfig{Personal: true})
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(nil))
	want := export(f, m, ledger.ExportConfig{})
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ledger.VerifyExport(bytes.NewReader(data), ledger.VerifyConfig{Verifier: k.Verifier()})
		if err != nil {
			return
		}
		// Only what was signed passes: the entries are those of the ledger.
		var leaves int
		for line := range bytes.Lines(data) {
			var l struct {
				Entry json.RawMessage `json:"entry"`
			}
			if json.Unmarshal(line, &l) == nil && l.Entry != nil {
				leaves++
			}
		}
		if c.Size > 4 || int64(leaves) != c.Size || len(want) == 0 {
			t.Fatalf("%d entries pass under a checkpoint of %d", leaves, c.Size)
		}
	})
}

func FuzzCheckpoint(f *testing.F) {
	k := newKey(f, 1, origin)
	_, all := filled(f, k, 4)
	f.Add(all[0].Note)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ledger.ParseCheckpoint(data, k.Verifier())
		if err == nil && !slices.ContainsFunc(all, func(a ledger.Checkpoint) bool { return a.Size == c.Size && a.Root == c.Root }) {
			t.Fatalf("%+v was never signed", c)
		}
	})
}

func FuzzHandler(f *testing.F) {
	k := newKey(f, 1, origin)
	m, _ := filled(f, k, 300)
	h := ledger.NewHandler(m, k.Verifier())
	for _, p := range []string{"tile/0/000", "tile/entries/001.p/44", "tile/0/x001/000", "checkpoint"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest(http.MethodGet, "/ledger/", nil)
		r.URL.Path = "/ledger/" + path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch w.Code {
		case 200, 301, 307, 404:
		default:
			t.Fatalf("%q: %d", path, w.Code)
		}
	})
}
