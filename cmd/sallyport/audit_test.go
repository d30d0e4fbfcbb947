package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// auditServerOf is a ledger on a server that a script steers.
type auditServerOf struct {
	store *store.Store
	log   *ledger.Log
	key   ledger.Key
	*httptest.Server

	mu    sync.Mutex
	lie   string       // what the server does wrong
	serve http.Handler // what it serves otherwise
}

// newAuditServer makes a ledger of n entries. The same seeds make the same bytes.
func newAuditServer(tb testing.TB, dir string, keySeed, seed byte, n int) *auditServerOf {
	tb.Helper()
	ctx := context.Background()
	key, err := ledger.GenerateKey(rand.NewChaCha8([32]byte{keySeed}), "sallyport.acme.internal/ledger")
	if err != nil {
		tb.Fatal(err)
	}
	log, err := ledger.New(ledger.Config{Key: key, Random: rand.NewChaCha8([32]byte{seed})})
	if err != nil {
		tb.Fatal(err)
	}
	if dir, err = os.MkdirTemp(dir, "ledger"); err != nil {
		tb.Fatal(err)
	}
	s, err := store.Open(ctx, store.Config{Path: filepath.Join(dir, "sallyport.db")})
	if err != nil {
		tb.Fatal(err)
	}
	a := &auditServerOf{store: s, log: log, key: key, serve: ledger.NewHandler(s, key.Verifier())}
	a.append(tb, n)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		lie, serve := a.lie, a.serve
		a.mu.Unlock()
		switch {
		case lie == "redirect":
			http.Redirect(w, r, "http://192.0.2.1/"+r.URL.Path, http.StatusFound)
		case lie == "down":
			http.Error(w, "down", http.StatusServiceUnavailable)
		case lie == "entry" && strings.HasPrefix(r.URL.Path, "/ledger/tile/entries/"):
			rec := httptest.NewRecorder()
			serve.ServeHTTP(rec, r)
			_, _ = w.Write(bytes.Replace(rec.Body.Bytes(), []byte(`"verdict":"deny"`), []byte(`"verdict":"Deny"`), 1))
		default:
			serve.ServeHTTP(w, r)
		}
	}))
	return a
}

// append records n entries more, one append each.
func (a *auditServerOf) append(tb testing.TB, n int) {
	tb.Helper()
	for range n {
		if err := a.store.Update(context.Background(), func(tx *store.Tx) error {
			size, _, _, _, err := tx.LedgerHead()
			if err != nil {
				return err
			}
			verdict := "allow"
			if size == 2 {
				verdict = "deny"
			}
			_, err = a.log.Append(tx, ledger.Entry{
				Kind: ledger.KindDecision, Time: time.Date(2026, 11, 1, 12, 0, int(size), 0, time.UTC),
				Subject:  ledger.Subject{Repository: 1, PullRequest: int(size) + 1, SHA: rules.SHA(fmt.Sprintf("%040x", size+1))},
				Decision: fmt.Sprintf("d%d", size), Payload: map[string]any{"verdict": verdict},
				Personal: map[string]any{"who": map[string]any{"login": "octocat", "id": 583231}},
			})
			return err
		}); err != nil {
			tb.Error(err)
		}
	}
}

// set has the server lie, or serve something else if that is not nil.
func (a *auditServerOf) set(lie string, serve http.Handler) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lie = lie
	if serve != nil {
		a.serve = serve
	}
}

func (a *auditServerOf) close() error {
	a.Server.Close()
	return a.store.Close()
}

// witness is what the ledger says of itself now.
func (a *auditServerOf) witness() (string, error) {
	data, err := a.store.LedgerCheckpoint(context.Background())
	if err != nil || data == nil {
		return "0 " + strings.Repeat("A", 43) + "=", err
	}
	c, err := ledger.ParseCheckpoint(data, a.key.Verifier())
	return c.Witness().String(), err
}

// A line names all that an entry is about, fields that come to be added included.
func TestAuditTailSubject(t *testing.T) {
	fields := reflect.TypeFor[ledger.Subject]()
	for i := range fields.NumField() {
		var s ledger.Subject
		want := "104"
		switch f := reflect.ValueOf(&s).Elem().Field(i); f.Kind() {
		case reflect.String:
			want = "value"
			f.SetString(want)
		default:
			f.SetInt(104)
		}
		if got := subject(s); !strings.Contains(got, want) {
			t.Errorf("%s: %q", fields.Field(i).Name, got)
		}
	}
	s := ledger.Subject{Environment: `dev run 1  {"verdict":"allow"}`, Run: 2}
	if got, want := subject(s), `run 2 environment "dev run 1  {\"verdict\":\"allow\"}"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestAuditScripts runs scripts with a ledger: "ledger N" makes one of N entries
// and serves it at $URL, with its verifier key in ledger.pub, an export in
// export.jsonl and a witness in $WITNESS; "append N" adds entries; "lie WHAT" has
// the server go wrong ("none" ends it); "other HOW N" puts another ledger at the
// same address: a "fork" of the same key, or one of another "key".
func TestAuditScripts(t *testing.T) {
	type state struct {
		now  *auditServerOf
		stop []func() error
	}
	type stateKey struct{}
	of := func(ts *testscript.TestScript) *state {
		s, ok := ts.Value(stateKey{}).(*state)
		if !ok || s.now == nil {
			ts.Fatalf("no ledger yet")
		}
		return s
	}
	number := func(ts *testscript.TestScript, s string) int {
		n, err := strconv.Atoi(s)
		ts.Check(err)
		return n
	}
	tb := func(ts *testscript.TestScript) testing.TB { return scriptTB{TB: t, ts: ts} }
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/audit",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			s := &state{}
			e.Values[stateKey{}] = s
			e.Defer(func() {
				for _, stop := range s.stop {
					if err := stop(); err != nil {
						t.Error(err)
					}
				}
			})
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"ledger": func(ts *testscript.TestScript, _ bool, args []string) {
				s, ok := ts.Value(stateKey{}).(*state)
				if !ok {
					ts.Fatalf("no state")
				}
				s.now = newAuditServer(tb(ts), ts.MkAbs("."), 1, 1, number(ts, args[0]))
				s.stop = append(s.stop, s.now.close)
				ts.Setenv("URL", s.now.URL)
				ts.Setenv("KEY", s.now.key.Verifier())
				ts.Setenv("SECRET", s.now.key.Secret())
				w, err := s.now.witness()
				ts.Check(err)
				ts.Setenv("WITNESS", w)
				ts.Check(os.WriteFile(ts.MkAbs("ledger.pub"), []byte(s.now.key.Verifier()+"\n"), 0o600))
				if args[0] == "0" {
					return
				}
				var out bytes.Buffer
				ts.Check(ledger.Export(context.Background(), s.now.store, &out, ledger.ExportConfig{Personal: true}))
				ts.Check(os.WriteFile(ts.MkAbs("export.jsonl"), out.Bytes(), 0o600))
			},
			"append": func(ts *testscript.TestScript, _ bool, args []string) { of(ts).now.append(tb(ts), number(ts, args[0])) },
			"lie": func(ts *testscript.TestScript, _ bool, args []string) {
				of(ts).now.set(args[0], nil)
			},
			"other": func(ts *testscript.TestScript, _ bool, args []string) {
				s := of(ts)
				seed := byte(1)
				if args[0] == "key" {
					seed = 2
				}
				o := newAuditServer(tb(ts), ts.MkAbs("."), seed, 7, number(ts, args[1]))
				s.stop = append(s.stop, o.close)
				s.now.set("none", o.serve)
			},
		},
	})
}

// scriptTB ends a script, and not the test around it.
type scriptTB struct {
	testing.TB

	ts *testscript.TestScript
}

func (s scriptTB) Fatal(args ...any) { s.ts.Fatalf("%s", fmt.Sprint(args...)) }
func (s scriptTB) Error(args ...any) { s.ts.Fatalf("%s", fmt.Sprint(args...)) }

// tail --follow prints what comes, outlives a server that is away, and ends with 3
// once the server goes back on what it showed.
func TestAuditFollow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := newAuditServer(t, dir, 1, 1, 3)
	defer a.close()
	shorter := newAuditServer(t, dir, 1, 7, 4)
	defer shorter.close()
	r, w := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		c := Main([]string{"audit", "tail", a.URL, "--key", a.key.Verifier(), "-n", "1", "--follow"}, nil, strings.NewReader(""), w, &stderr)
		_ = w.Close()
		code <- c
	}()
	lines := make(chan string)
	go func() {
		defer close(lines)
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			for l := range strings.Lines(string(buf[:n])) {
				lines <- l
			}
			if err != nil {
				return
			}
		}
	}()
	want := func(text string) {
		t.Helper()
		select {
		case got := <-lines:
			if !strings.Contains(got, text) {
				t.Fatalf("%q, want %q in it", got, text)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("nothing came, want %q", text)
		}
	}
	want("pull request 3 ")
	a.set("down", nil)
	time.Sleep(followEvery + followEvery/2)
	a.append(t, 2)
	a.set("none", nil)
	want("pull request 4 ")
	want("pull request 5 ")
	a.set("none", shorter.serve)
	select {
	case c := <-code:
		if c != ExitHuman {
			t.Errorf("exit code %d, want %d", c, ExitHuman)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on as if nothing were wrong")
	}
	for _, text := range []string{"trying again:", "503", "missing"} {
		if !strings.Contains(stderr.String(), text) {
			t.Errorf("stderr has no %q:\n%s", text, &stderr)
		}
	}
}
