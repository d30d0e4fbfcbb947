package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
)

// What package ledger needs, a store has.
var (
	_ ledger.Tx      = (*store.Tx)(nil)
	_ ledger.EraseTx = (*store.Tx)(nil)
	_ ledger.Reader  = (*store.Store)(nil)
)

func openSQLite(t testing.TB, edit func(*store.Config)) *store.Store {
	t.Helper()
	cfg := store.Config{Path: filepath.Join(t.TempDir(), "sallyport.db")}
	if edit != nil {
		edit(&cfg)
	}
	s, err := store.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSQLite(t *testing.T) { conform(t, openSQLite) }

func TestFileMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes on Windows")
	}
	// A path with characters that mean something in a URI.
	dir := filepath.Join(t.TempDir(), "a ?b#c%20d&e=f")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sallyport.db")
	s, err := store.Open(t.Context(), store.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	must(t, s.Mark(t.Context(), t0, mark(1)))
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "sallyport.db*"))
	if err != nil || len(files) < 2 {
		entries, _ := os.ReadDir(dir)
		t.Fatalf("%q, %v in %v", files, err, entries)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
	must(t, s.Close())
	must(t, os.Chmod(path, 0o640))
	if _, err := store.Open(t.Context(), store.Config{Path: path}); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others can read: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	raw := func(path string, statements ...string) {
		t.Helper()
		db, err := sql.Open("sqlite", path)
		must(t, err)
		defer db.Close()
		for _, x := range statements {
			_, err := db.ExecContext(ctx, x)
			must(t, err)
		}
	}
	fresh := func(name string) string {
		path := filepath.Join(dir, name)
		s, err := store.Open(ctx, store.Config{Path: path})
		must(t, err)
		must(t, s.Close())
		return path
	}

	newer := fresh("newer.db")
	raw(newer, "PRAGMA user_version = 1000")
	_, err := store.Open(ctx, store.Config{Path: newer})
	wants(t, err, store.ErrNewer)
	// And left it as it was.
	raw(newer, "PRAGMA user_version = 3")
	s, err := store.Open(ctx, store.Config{Path: newer})
	must(t, err)
	must(t, s.Close())

	foreign := filepath.Join(dir, "foreign.db")
	raw(foreign, "CREATE TABLE t (x)")
	must(t, os.Chmod(foreign, 0o600))
	missing := filepath.Join(dir, "missing.db")
	text := filepath.Join(dir, "text.db")
	must(t, os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 1000)), 0o600))
	negative := fresh("negative.db")
	raw(negative, "PRAGMA user_version = -1")
	for name, cfg := range map[string]store.Config{
		"no path":                   {},
		"a folder":                  {Path: dir},
		"a folder that is not":      {Path: filepath.Join(dir, "no", "x.db")},
		"another program's file":    {Path: foreign},
		"a file that is none":       {Path: text},
		"an impossible version":     {Path: negative},
		"a file that must be there": {Path: missing, MustExist: true},
	} {
		if s, err := store.Open(ctx, cfg); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Error("a file that must be there was created")
	}
}

// What was there is there again.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sallyport.db")
	for i := range int64(3) {
		s, err := store.Open(t.Context(), store.Config{Path: path, MustExist: i > 0})
		must(t, err)
		if got := pending(t, s); int64(len(got)) != i {
			t.Errorf("opened %d times: %q", i, got)
		}
		must(t, s.Mark(t.Context(), t0, mark(i+1)))
		must(t, s.Close())
	}
}

// Two processes, here two stores, can have the file open: an upgrade overlaps.
func TestTwoStores(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sallyport.db")
	var both [2]*store.Store
	for i := range both {
		s, err := store.Open(t.Context(), store.Config{Path: path})
		must(t, err)
		defer s.Close()
		both[i] = s
	}
	errs := make(chan error, 2)
	for i, s := range both {
		go func() {
			for n := range int64(100) {
				if err := s.Mark(t.Context(), t0, mark(int64(i)*100+n+1)); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	must(t, errors.Join(<-errs, <-errs))
	if n := len(pending(t, both[0])); n != 200 {
		t.Errorf("%d marks, want 200", n)
	}
}

// Appends of many callers share signatures, and everything that was promised to any
// of them is in the tree.
func TestLedgerGroups(t *testing.T) {
	s, ctx := openSQLite(t, nil), t.Context()
	newLog := func(seed string) (*ledger.Log, ledger.Key) {
		key, err := ledger.GenerateKey(strings.NewReader(strings.Repeat(seed, 64)), "x/ledger")
		must(t, err)
		log, err := ledger.New(ledger.Config{Key: key})
		must(t, err)
		return log, key
	}
	log, key := newLog("x")
	second, _ := newLog("x") // as in another part of the program
	other, _ := newLog("y")
	boom := errors.New("boom")
	var mu sync.Mutex
	var seen []ledger.Witness
	appends := func(log *ledger.Log, n int, fail error) func(*store.Tx) error {
		return func(tx *store.Tx) error {
			c, err := log.Append(tx, ledger.Entry{Kind: ledger.KindFact, Time: t0, Subject: ledger.Subject{PullRequest: n}})
			if err == nil && fail == nil {
				mu.Lock()
				seen = append(seen, c.Witness())
				mu.Unlock()
			}
			return errors.Join(err, fail)
		}
	}
	got := together(t, s, appends(log, 1, nil), appends(log, 2, boom), appends(second, 3, nil), appends(other, 4, nil), appends(log, 5, nil))
	for i, err := range got {
		if failed := i == 1 || i == 3; (err != nil) != failed {
			t.Errorf("caller %d: %v", i, err)
		}
	}
	var wait sync.WaitGroup
	for g := range 32 {
		wait.Go(func() {
			for i := range 10 {
				var c ledger.Checkpoint
				if err := s.Update(ctx, func(tx *store.Tx) error {
					var err error
					c, err = log.Append(tx, ledger.Entry{Kind: ledger.KindFact, Time: t0, Subject: ledger.Subject{PullRequest: 100*g + i + 10}})
					if err == nil && i%5 == 4 {
						err = boom
					}
					return err
				}); err != nil {
					if !errors.Is(err, boom) {
						t.Error(err)
					}
					continue
				}
				if err := log.Observe(c); err != nil {
					t.Error(err)
				}
				if err := other.Observe(c); err == nil {
					t.Error("another ledger takes what is not signed")
				}
				mu.Lock()
				seen = append(seen, c.Witness())
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	var out bytes.Buffer
	must(t, ledger.Export(ctx, s, &out, ledger.ExportConfig{}))
	signatures := strings.Count(out.String(), `"checkpoint":`) - 1 // the header has one
	c, err := ledger.VerifyExport(&out, ledger.VerifyConfig{Verifier: key.Verifier(), Witnesses: seen})
	must(t, err)
	if c.Size != 3+32*8 || len(seen) != int(c.Size) || signatures > int(c.Size)/2 {
		t.Errorf("%d entries, %d witnesses, %d signatures", c.Size, len(seen), signatures)
	}
	if err := s.Update(ctx, appends(other, 1, nil)); !errors.Is(err, ledger.ErrForked) {
		t.Errorf("another key: %v", err)
	}
}

// The settings that durability and secrecy rest on are really on.
func TestErasedBytesAreGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sallyport.db")
	s, err := store.Open(t.Context(), store.Config{Path: path})
	must(t, err)
	const secret = "a name that is to be forgotten"
	key, err := ledger.GenerateKey(strings.NewReader(strings.Repeat("x", 64)), "x/ledger")
	must(t, err)
	log, err := ledger.New(ledger.Config{Key: key})
	must(t, err)
	for i := range 20 {
		must(t, s.Update(t.Context(), func(tx *store.Tx) error {
			_, err := log.Append(tx, ledger.Entry{Kind: ledger.KindFact, Time: t0, Personal: map[string]any{"who": fmt.Sprint(secret, i)}})
			return err
		}))
	}
	for i := range int64(20) {
		must(t, s.Update(t.Context(), func(tx *store.Tx) error { return ledger.Erase(tx, i) }))
	}
	must(t, s.Close()) // which brings the write-ahead log into the file
	files, err := filepath.Glob(path + "*")
	must(t, err)
	for _, f := range files {
		data, err := os.ReadFile(f)
		must(t, err)
		if strings.Contains(string(data), secret) {
			t.Errorf("%s still has it", filepath.Base(f))
		}
	}
}
