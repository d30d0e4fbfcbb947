package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/store/pgtest"
	"github.com/sallyport/sallyport/rules"
)

func openPostgres(t testing.TB, edit func(*store.Config)) *store.Store {
	t.Helper()
	return openURL(t, pgtest.URL(t), edit)
}

func openURL(t testing.TB, address string, edit func(*store.Config)) *store.Store {
	t.Helper()
	cfg := store.Config{URL: store.Address(address)}
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

func TestPostgres(t *testing.T) { conform(t, openPostgres) }

// psql runs statements as the role of a URL.
func psql(t *testing.T, address string, statements ...string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), address)
	must(t, err)
	defer c.Close(context.Background())
	for _, text := range statements {
		if _, err := c.Exec(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

func with(t *testing.T, address, key, value string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	q := u.Query()
	q.Set(key, value)
	u.RawQuery = q.Encode()
	return u.String()
}

func TestPostgresRefuses(t *testing.T) {
	fresh := func() string {
		address := pgtest.URL(t)
		must(t, openURL(t, address, nil).Close())
		return address
	}
	newer := fresh()
	psql(t, newer, "UPDATE sallyport_schema SET version = 1000")
	_, err := store.Open(t.Context(), store.Config{URL: store.Address(newer)})
	wants(t, err, store.ErrNewer)
	// And left it as it was.
	psql(t, newer, "UPDATE sallyport_schema SET version = "+fmt.Sprint(store.SchemaVersion()))
	must(t, openURL(t, newer, nil).Close())

	foreign := pgtest.URL(t)
	psql(t, foreign, "CREATE TABLE t (x int)")
	impossible := fresh()
	psql(t, impossible, "UPDATE sallyport_schema SET version = -1")
	password := strings.Replace(pgtest.URL(t), ":secret@", ":wrong-canary@", 1)
	for name, c := range map[string]struct {
		cfg  store.Config
		want string
	}{
		"another program's tables":      {store.Config{URL: store.Address(foreign)}, "another program"},
		"a version that cannot be":      {store.Config{URL: store.Address(impossible)}, "impossible"},
		"what must be there and is not": {store.Config{URL: store.Address(pgtest.URL(t)), MustExist: true}, "not to be created"},
		"a schema that is not there":    {store.Config{URL: store.Address(with(t, foreign, "options", "-csearch_path=nowhere"))}, "CREATE SCHEMA"},
		"another password":              {store.Config{URL: store.Address(password)}, "password"},
		"two stores":                    {store.Config{URL: store.Address(foreign), Path: "x"}, "a file and a URL"},
	} {
		s, err := store.Open(t.Context(), c.cfg)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q and no password", name, err, c.want)
		}
	}
}

// Replicas that start at once make the tables once.
func TestPostgresMigratesOnce(t *testing.T) {
	address := pgtest.URL(t)
	var wait sync.WaitGroup
	for range 6 {
		wait.Go(func() {
			s, err := store.Open(t.Context(), store.Config{URL: store.Address(address)})
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(s.Ping(t.Context()), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]string{
		"sqlite:a.db":                                              "",
		"sqlite:///var/lib/a.db":                                   "",
		"postgres://u:canary@127.0.0.1/x":                          "",
		"postgres://u:canary@[::1]:5433/x":                         "",
		"postgresql://u@localhost/x":                               "",
		"postgres:///x?host=/run/postgresql":                       "",
		"postgres://u:canary@db.internal/x?sslmode=verify-full":    "",
		"postgres://u:canary@db.internal/x?sslmode=require":        "",
		"postgres://u:canary@db.internal/x?sslmode=disable":        "",
		"postgres://u:canary@db.internal/x":                        "without TLS",
		"postgres://u:canary@db.internal/x?sslmode=prefer":         "without TLS",
		"postgres://u:canary@db.internal/x?sslmode=allow":          "without TLS",
		"postgres://u:canary@127.0.0.1,db.internal/x":              "without TLS",
		"postgres://u:canary@127.0.0.1.evil.example/x":             "without TLS",
		"postgres://u:can%zzary@db.internal/x?sslmode=verify-full": "no URL",
		"postgres://u:canary@db.internal:x/x?sslmode=verify-full":  "no URL",
		"postgres://u:canary@db.internal/x?sslmode=canary":         "cannot read it",
		"sqlite:":                  "without a file",
		"":                         "want sqlite:FILE or",
		"mysql://u:canary@x/y":     "want sqlite:FILE or",
		"host=x password=canary":   "want sqlite:FILE or",
		"user@canary.internal/sql": "want sqlite:FILE or",
	} {
		cfg, err := store.ParseURL(text)
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %q", text, err, want)
		case err != nil && strings.Contains(err.Error(), "canary"):
			t.Errorf("%q: the error has the password: %v", text, err)
		case err == nil && (cfg.Path == "") == (cfg.URL == ""):
			t.Errorf("%q is neither or both: %q", text, cfg.Path)
		}
		if s := fmt.Sprintf("%v %+v %#v %s", cfg, cfg, cfg, cfg.URL); strings.Contains(s, "canary") {
			t.Errorf("%q prints: %s", text, s)
		}
	}
	if cfg, err := store.ParseURL("sqlite:///var/lib/a.db"); err != nil || cfg.Path != "/var/lib/a.db" {
		t.Errorf("%+v, %v", cfg, err)
	}
}

// Whatever the role's own settings are, a writer sees what those before it wrote, and
// what it was promised is on the disk.
func TestPostgresRoleSettings(t *testing.T) {
	server := pgtest.Start(t)
	address := server.Schema(t)
	must(t, server.Do(t.Context(), pgtest.Role, "ALTER ROLE "+pgtest.Role+" SET default_transaction_isolation = 'repeatable read'", "ALTER ROLE "+pgtest.Role+" SET synchronous_commit = off",
		"ALTER ROLE "+pgtest.Role+" SET statement_timeout = '1h'", "ALTER ROLE "+pgtest.Role+" SET default_transaction_read_only = on"))
	log, err := ledger.New(ledger.Config{Key: crashKey()})
	must(t, err)
	var wait sync.WaitGroup
	for range 3 {
		s := openURL(t, address, nil)
		wait.Go(func() {
			for range 60 {
				if err := s.Update(t.Context(), func(tx *store.Tx) error {
					_, err := log.Append(tx, ledger.Entry{Kind: ledger.KindFact, Time: t0})
					return err
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	c, err := pgx.Connect(t.Context(), address)
	must(t, err)
	defer c.Close(t.Context())
	s := openURL(t, address, nil)
	var size int
	must(t, s.LedgerLeaves(t.Context(), 0, 1000, func(int64, []byte, []byte, []byte) error { size++; return nil }))
	if size != 180 {
		t.Errorf("%d entries, want 180", size)
	}
	for name, want := range map[string]string{"synchronous_commit": "on", "statement_timeout": "8s", "lock_timeout": "6s", "idle_in_transaction_session_timeout": "4s"} {
		if got := store.WriterSetting(t, s, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// A statement that failed undoes its caller's part, and nobody else's: also where the
// function does not care, and where a text cannot be stored.
func TestPostgresFailedStatements(t *testing.T) {
	both(t, func(t *testing.T, open opening) {
		s := open(t, nil)
		clash := func(tx *store.Tx) error {
			must(t, tx.Mark(mark(100), t0))
			must(t, tx.AddLedgerNode(1, 1, make([]byte, 32)))
			if tx.AddLedgerNode(1, 1, make([]byte, 32)) == nil {
				t.Error("a node was replaced")
			}
			return nil
		}
		ok := func(n int64) func(*store.Tx) error {
			return func(tx *store.Tx) error { return tx.Mark(mark(n), t0) }
		}
		got := together(t, s, ok(1), clash, ok(2), clash, ok(3))
		for i, err := range got {
			if failed := i == 1 || i == 3; (err != nil) != failed {
				t.Errorf("caller %d: %v", i, err)
			}
		}
		if s.Update(t.Context(), clash) == nil {
			t.Error("alone: a failed statement was committed")
		}
		if got := pending(t, s); len(got) != 3 {
			t.Errorf("pending %q", got)
		}
		must(t, s.Ping(t.Context()))
	})
	s := openPostgres(t, nil)
	for _, text := range []string{"a\x00b", "a\xffb"} {
		if _, err := s.Accept(t.Context(), delivery("d", "x", rules.Mark{Key: pr(1), FullName: text})); err == nil || !strings.Contains(err.Error(), "cannot be stored") {
			t.Errorf("%q: %v", text, err)
		}
		once := func(tx *store.Tx) error { return tx.Once("k", text, t0) }
		got := together(t, s, func(tx *store.Tx) error { return tx.Once("k", "ok"+fmt.Sprint(len(text), text[1]), t0) }, once)
		if got[0] != nil || got[1] == nil {
			t.Errorf("%q: %v", text, got)
		}
		if _, err := s.Happened(t.Context(), "k", text); err == nil || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q: %v", text, err)
		}
	}
	must(t, s.Mark(t.Context(), t0, mark(1)))
}

// both runs a test on both stores.
func both(t *testing.T, fn func(*testing.T, opening)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { fn(t, openSQLite) })
	t.Run("PostgreSQL", func(t *testing.T) { fn(t, openPostgres) })
}

// The server is killed in the middle of writes, again and again, and comes back. The
// stores go on by themselves; nothing that was promised is lost, and nothing is there
// twice.
func TestPostgresKilled(t *testing.T) {
	server := pgtest.Start(t)
	address := server.Schema(t)
	log, err := ledger.New(ledger.Config{Key: crashKey()})
	must(t, err)
	var mu sync.Mutex
	var accepted []string
	var seen []ledger.Witness
	failures := 0
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for r := range 3 {
		s := openURL(t, address, nil)
		for g := range 8 {
			wait.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					id := fmt.Sprintf("%d-%d-%d", r, g, i)
					_, err := s.Accept(context.Background(), delivery(id, id, mark(int64(100*r+g+1))))
					var c ledger.Checkpoint
					var err2 error
					if g < 2 {
						err2 = s.Update(context.Background(), func(tx *store.Tx) error {
							var err error
							if c, err = log.Append(tx, ledger.Entry{Kind: ledger.KindFact, Time: t0, Subject: ledger.Subject{Key: id}}); err != nil {
								return err
							}
							return tx.Once("entry", id, t0)
						})
					}
					mu.Lock()
					if err == nil {
						accepted = append(accepted, id)
					} else {
						failures++
					}
					if g < 2 && err2 == nil {
						seen = append(seen, c.Witness())
						if err := log.Observe(c); err != nil {
							t.Error(err)
						}
					}
					mu.Unlock()
					if errors.Is(err2, ledger.ErrForked) || errors.Is(err2, ledger.ErrShrunk) {
						t.Error(err2)
					}
					if err != nil {
						time.Sleep(20 * time.Millisecond)
					}
				}
			})
		}
	}
	const kills = 4
	for range kills {
		time.Sleep(300 * time.Millisecond)
		server.Stop()
		time.Sleep(50 * time.Millisecond)
		must(t, server.Start())
	}
	time.Sleep(200 * time.Millisecond)
	stop()
	wait.Wait()
	if failures == 0 || len(accepted) < 100 || len(seen) < 20 {
		t.Fatalf("%d failures, %d accepted, %d entries: this shows nothing", failures, len(accepted), len(seen))
	}
	s := openURL(t, address, nil)
	for _, id := range accepted {
		if known, err := s.Accept(t.Context(), delivery(id, id)); err != nil || !known {
			t.Fatalf("delivery %s is lost: %v", id, err)
		}
	}
	var out strings.Builder
	must(t, ledger.Export(t.Context(), s, &out, ledger.ExportConfig{}))
	c, err := ledger.VerifyExport(strings.NewReader(out.String()), ledger.VerifyConfig{Verifier: crashKey().Verifier(), Witnesses: seen})
	must(t, err)
	keys := map[string]bool{}
	must(t, s.LedgerLeaves(t.Context(), 0, c.Size, func(_ int64, leaf, _, _ []byte) error {
		r, err := ledger.ParseLeaf(leaf)
		if err == nil && keys[r.Subject.Key] {
			err = fmt.Errorf("two entries for %s", r.Subject.Key)
		}
		keys[r.Subject.Key] = true
		return err
	}))
	t.Logf("%d kills: %d accepted, %d failed, %d entries, none lost", kills, len(accepted), failures, c.Size)
}

// A replica that cannot reach the database any more is told so within seconds, and the
// others do not wait for it, although it held the writers' lock.
func TestPostgresPartition(t *testing.T) {
	address := pgtest.URL(t)
	proxy, through := pgtest.NewProxy(t, address)
	cut, well := openURL(t, through, nil), openURL(t, address, nil)
	must(t, cut.Ping(t.Context()))
	began := time.Now()
	err := cut.Update(t.Context(), func(tx *store.Tx) error {
		must(t, tx.Once("in the middle", "1", t0)) // the lock is held
		proxy.Cut()
		return tx.Once("in the middle", "2", t0)
	})
	if err == nil {
		t.Error("a write was promised across a network that is cut")
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s to notice", took)
	}
	limited, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	began = time.Now()
	must(t, well.Mark(limited, t0, mark(1)))
	t.Logf("the other replica waited %s", time.Since(began).Round(time.Millisecond))
	read, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := cut.Pending(read, 1); err == nil {
		t.Error("something was read across a network that is cut")
	}
	for _, key := range []string{"1", "2"} {
		_, err := well.Happened(t.Context(), "in the middle", key)
		wants(t, err, store.ErrNotFound)
	}
	proxy.Heal()
	must(t, cut.Mark(t.Context(), t0, mark(2)))
	if got := pending(t, cut); len(got) != 2 {
		t.Errorf("pending %q", got)
	}
}

// What a hundred callers of three replicas ask for at once is given once.
func TestPostgresReplicas(t *testing.T) {
	address := pgtest.URL(t)
	var replicas [3]*store.Store
	for i := range replicas {
		replicas[i] = openURL(t, address, nil)
	}
	must(t, replicas[0].Mark(t.Context(), t0, mark(1)))
	var mu sync.Mutex
	given, took, policies := 0, 0, 0
	count := func(n *int, err, otherwise error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			*n++
		} else if !errors.Is(err, otherwise) {
			t.Error(err)
		}
	}
	var wait sync.WaitGroup
	for i := range 100 {
		s := replicas[i%3]
		wait.Go(func() {
			err := s.Update(t.Context(), func(tx *store.Tx) error { return tx.AddLease(newLease(fmt.Sprint("lease ", i))) })
			count(&given, err, store.ErrAlready)
		})
		wait.Go(func() {
			_, err := s.Take(t.Context(), "w", at(1), time.Minute)
			count(&took, err, store.ErrNotFound)
		})
		wait.Go(func() {
			err := s.Update(t.Context(), func(tx *store.Tx) error {
				return tx.SetPolicy(store.Policy{Repository: 1, Path: "p", Version: 1, Since: t0})
			})
			count(&policies, err, store.ErrAlready)
		})
	}
	wait.Wait()
	if given != 1 || took != 1 || policies != 1 {
		t.Errorf("the lease was given %d times, the work %d times, the policy came into force %d times: want once each", given, took, policies)
	}
}

// A connection that died while nobody wrote is made again without anybody's noticing.
func TestPostgresReconnects(t *testing.T) {
	proxy, through := pgtest.NewProxy(t, pgtest.URL(t))
	s := openURL(t, through, nil)
	for i := range int64(3) {
		must(t, s.Mark(t.Context(), t0, mark(i+1)))
		proxy.Reset()
		must(t, s.Update(t.Context(), func(tx *store.Tx) error { return tx.Once("k", fmt.Sprint(i), t0) }))
		proxy.Reset()
		must(t, s.Ping(t.Context()))
	}
	// In the middle of a transaction it is an error, and nothing of it is there.
	if err := s.Update(t.Context(), func(tx *store.Tx) error {
		must(t, tx.Once("k", "half", t0))
		proxy.Reset()
		return tx.Once("k", "other half", t0)
	}); err == nil {
		t.Error("a transaction went on over another connection")
	}
	_, err := s.Happened(t.Context(), "k", "half")
	wants(t, err, store.ErrNotFound)
	if got := pending(t, s); len(got) != 3 {
		t.Errorf("pending %q", got)
	}
}

// No connection to a standby is kept: where the name leads to the primary again, the next
// one does.
func TestPostgresStandby(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	s, err := store.Open(t.Context(), store.Config{URL: store.Address(server.Schema(t))})
	must(t, err)
	defer s.Close()
	must(t, s.Ping(t.Context()))
	server.Stop()
	must(t, os.WriteFile(filepath.Join(filepath.Dir(server.Log()), "data", "standby.signal"), nil, 0o644))
	must(t, server.Start())
	if err := s.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "is a standby") {
		t.Errorf("a write to a standby: %v", err)
	}
	if _, err := s.Pending(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "is a standby") {
		t.Errorf("a read from a standby: %v", err)
	}
	kept := func() error {
		return server.Do(t.Context(), "postgres", "DO $$ BEGIN IF EXISTS (SELECT FROM pg_stat_activity WHERE usename = '"+pgtest.Role+"') THEN RAISE 'it keeps connections'; END IF; END $$")
	}
	for end := time.Now().Add(5 * time.Second); kept() != nil && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
	}
	must(t, kept())
	must(t, server.Do(t.Context(), "postgres", "SELECT pg_promote()"))
	for end := time.Now().Add(5 * time.Second); s.Ping(t.Context()) != nil && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
	}
	must(t, s.Ping(t.Context()))
	_, err = s.Pending(t.Context(), 1)
	must(t, err)
}
