package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/rules"
)

func TestLease(t *testing.T) {
	s := realServer(t)
	p := s.provider(t, nil)
	if err := p.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := lease(rules.CapabilityWrite, time.Hour)
	v := mint(t, p, l)
	if v["username"] != role(l) || v["database"] != "orders" || v["host"] != "127.0.0.1" || v["port"] != fmt.Sprint(s.port) || len(v) != 6 {
		t.Errorf("values without the password: %q %q %q %q, %d of them", v["username"], v["database"], v["host"], v["port"], len(v))
	}
	c := open(t, v)
	do(t, c, "CREATE TABLE shop.made (id int)", "INSERT INTO shop.made VALUES (1)")
	root := s.root(t)
	if owner := ask[string](t, root, "SELECT tableowner FROM pg_tables WHERE tablename = 'made'"); owner != "app_migrator" {
		t.Errorf("what it made belongs to %q, want its group", owner)
	}
	comment := ask[string](t, root, "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1", role(l))
	if !strings.Contains(comment, l.ID) || !strings.Contains(comment, "run 77") || strings.Contains(comment, "DROP") {
		t.Errorf("comment %q", comment)
	}
	if got := ask[string](t, c, "SHOW statement_timeout"); got == "0" {
		t.Error("no statement_timeout")
	}
	if got := ask[string](t, c, "SHOW idle_in_transaction_session_timeout"); got != "1min" {
		t.Errorf("idle_in_transaction_session_timeout %q", got)
	}
	revoke(t, p, l)
	s.gone(t, l, v, c)
	if n := ask[int](t, root, "SELECT count(*) FROM shop.made"); n != 1 {
		t.Errorf("%d rows of what it made, want 1", n)
	}
	do(t, root, "DROP TABLE shop.made")
	revoke(t, p, l) // again
	revoke(t, p, lease(rules.CapabilityWrite, time.Hour))
	if _, _, err := p.Mint(t.Context(), lease(rules.CapabilityWrite, -time.Second)); err == nil {
		t.Error("a lease whose deadline has passed was made")
	}
}

func TestReader(t *testing.T) {
	s := realServer(t)
	p := s.provider(t, nil)
	l := lease(rules.CapabilityRead, time.Hour)
	c := open(t, mint(t, p, l))
	if got := ask[string](t, c, "SHOW transaction_read_only"); got != "on" {
		t.Errorf("transaction_read_only %q", got)
	}
	do(t, c, "SELECT * FROM shop.orders", "SET default_transaction_read_only = off")
	if _, err := c.Exec(t.Context(), "INSERT INTO shop.orders VALUES (1)"); err == nil {
		t.Error("a reader wrote")
	}
	revoke(t, p, l)
	s.gone(t, l, nil, c)
}

// log_statement is set only by a broker that was granted to.
func TestLogStatement(t *testing.T) {
	s := realServer(t)
	p, root := s.provider(t, nil), s.root(t)
	has := func() bool {
		l := lease(rules.CapabilityWrite, time.Hour)
		mint(t, p, l)
		defer revoke(t, p, l)
		return ask[bool](t, root, "SELECT 'log_statement=all' = ANY (rolconfig) FROM pg_roles WHERE rolname = $1", role(l))
	}
	if has() {
		t.Error("log_statement was set without a right to")
	}
	do(t, root, "GRANT SET ON PARAMETER log_statement TO sallyport")
	defer do(t, root, "REVOKE SET ON PARAMETER log_statement FROM sallyport")
	if !has() {
		t.Error("log_statement was not set")
	}
}

func TestParallel(t *testing.T) {
	s := realServer(t)
	p := s.provider(t, nil)
	const n = 300
	var mu sync.Mutex
	var made, ended []time.Duration
	var wait sync.WaitGroup
	begun := time.Now()
	for range n {
		wait.Go(func() {
			l := lease(rules.CapabilityWrite, time.Hour)
			at := time.Now()
			v, _, err := p.Mint(t.Context(), l)
			if err != nil {
				t.Error(err)
				return
			}
			between := time.Now()
			if c, err := pgx.Connect(t.Context(), v["url"]); err != nil {
				t.Error(err)
			} else {
				c.Close(t.Context())
			}
			from := time.Now()
			if err := p.Revoke(t.Context(), l, nil); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			made, ended = append(made, between.Sub(at)), append(ended, time.Since(from))
		})
	}
	wait.Wait()
	t.Logf("%d leases in parallel in %s; from asking to having p50 %s, from ending to ended p50 %s (waiting for a place counted)", len(made), time.Since(begun).Round(time.Millisecond), middle(made), middle(ended))
	root := s.root(t)
	if left := ask[int](t, root, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'sallyport\\_%'"); left != 0 {
		t.Errorf("%d roles left", left)
	}
	if dogs := ask[int](t, root, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sallyport watchdog'"); dogs != 1 {
		t.Errorf("%d watchdogs, want 1", dogs)
	}
	made, ended = nil, nil
	for range 40 {
		l := lease(rules.CapabilityWrite, time.Hour)
		at := time.Now()
		mint(t, p, l)
		made = append(made, time.Since(at))
		at = time.Now()
		revoke(t, p, l)
		ended = append(ended, time.Since(at))
	}
	t.Logf("one after the other: create p50 %s, revoke p50 %s", middle(made), middle(ended))
}

func middle(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[len(d)/2].Round(100 * time.Microsecond)
}

// The watchdog needs nobody, keeps no old row alive, and is one.
func TestWatchdog(t *testing.T) {
	s := realServer(t)
	p, root := s.provider(t, nil), s.root(t)
	l := lease(rules.CapabilityWrite, 2*time.Second)
	v := mint(t, p, l)
	c, grouped := open(t, v), open(t, v)
	do(t, grouped, "SET ROLE app_migrator", "BEGIN", "SELECT 1")
	time.Sleep(1200 * time.Millisecond)
	if !alive(c) {
		t.Error("a session ended before its deadline")
	}
	if age := ask[int](t, root, "SELECT coalesce(max(age(backend_xmin)), 0) FROM pg_stat_activity WHERE application_name = 'sallyport watchdog' AND now() - xact_start > '3 s'"); age > 0 {
		t.Errorf("the watchdog holds rows of %d transactions", age)
	}
	time.Sleep(time.Until(l.Deadline.Add(4 * time.Second)))
	s.gone(t, l, v, c, grouped)

	// Ended by somebody, it is there again with the next lease; and after a restart of
	// the server with the next sweep.
	l = lease(rules.CapabilityWrite, time.Hour)
	kill := "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'sallyport watchdog'"
	if n := ask[int](t, root, kill); n != 1 {
		t.Fatalf("%d watchdogs, want 1", n)
	}
	mint(t, p, l)
	if n := ask[int](t, root, kill); n != 1 {
		t.Errorf("%d watchdogs with a lease, want 1", n)
	}
	if err := p.Sweep(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if n := ask[int](t, root, kill); n != 1 {
		t.Errorf("%d watchdogs after a sweep, want 1", n)
	}
	if n := ask[int](t, root, "SELECT count(*) FROM pg_roles WHERE rolname = $1", role(l)); n != 1 {
		t.Error("a sweep ended a lease before its deadline")
	}
	if err := p.Sweep(t.Context(), l.Deadline); err != nil {
		t.Fatal(err)
	}
	s.gone(t, l, nil)
}

// Two brokers that start a watchdog at once leave one.
func TestTwoWatchdogs(t *testing.T) {
	s := realServer(t)
	root := s.root(t)
	_ = ask[int](t, root, "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name LIKE 'sallyport watchdog%'")
	var wait sync.WaitGroup
	for range 5 {
		p, l := s.provider(t, nil), lease(rules.CapabilityWrite, time.Hour)
		wait.Go(func() {
			if _, _, err := p.Mint(t.Context(), l); err != nil {
				t.Error(err)
			}
			if err := p.Revoke(t.Context(), l, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	time.Sleep(2 * time.Second)
	if n := ask[int](t, root, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'sallyport watchdog%'"); n != 1 {
		t.Errorf("%d watchdogs, want 1", n)
	}
}

// A revoke that begins while the server still makes the role waits for it.
func TestRevokeWaitsForMint(t *testing.T) {
	s := realServer(t)
	p, l := s.provider(t, nil), lease(rules.CapabilityWrite, time.Hour)
	other := s.as(t, "sallyport", "admin", "orders")
	do(t, other, "BEGIN", "CREATE ROLE "+role(l)+" LOGIN", "COMMENT ON ROLE "+role(l)+" IS 'sallyport lease "+l.ID+" until 2030-01-01T00:00:00Z,'")
	ended := make(chan error, 1)
	go func() { ended <- p.Revoke(context.Background(), l, nil) }()
	select {
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(1500 * time.Millisecond):
	}
	do(t, other, "COMMIT")
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	s.gone(t, l, nil)
}

// No byte of a password is in the server's log, in what the server lists, or in ours.
func TestCanary(t *testing.T) {
	s := realServer(t)
	var log bytes.Buffer
	p := s.provider(t, &log)
	l := lease(rules.CapabilityWrite, time.Hour)
	v := mint(t, p, l)
	c := open(t, v)
	do(t, c, "SELECT 1")
	_, _, err := p.Mint(t.Context(), l) // the same again
	contains(t, err, "already exists")
	root := s.root(t)
	if n := ask[int](t, root, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%' || $1 || '%' AND pid <> pg_backend_pid()", v["password"]); n != 0 {
		t.Errorf("the password is in %d lines of pg_stat_activity", n)
	}
	revoke(t, p, l)
	server, readErr := os.ReadFile(s.log())
	if readErr != nil {
		t.Fatal(readErr)
	}
	if !bytes.Contains(server, []byte(role(l))) || !bytes.Contains(server, []byte("SCRAM-SHA-256$4096:")) {
		t.Error("the server's log has nothing of the lease: this test proves nothing")
	}
	// The search above is a statement of this test, with the password as a parameter.
	lines := slices.DeleteFunc(strings.Split(string(server), "\n"), func(line string) bool { return strings.Contains(line, "parameters: $1 =") })
	for name, text := range map[string]string{"the server's log": strings.Join(lines, "\n"), "our log": log.String(), "an error": err.Error()} {
		if strings.Contains(text, v["password"]) {
			t.Errorf("the password is in %s", name)
		}
	}
}

// A connection that is kept is not used once the server or the address is another.
func TestKeptConnection(t *testing.T) {
	s := realServer(t)
	p, root := s.provider(t, nil), s.root(t)
	l := lease(rules.CapabilityWrite, time.Hour)
	// Those of tests before this one may be there still.
	own := "FROM pg_stat_activity WHERE usename = 'sallyport' AND application_name = 'sallyport' AND pid <> ALL('" +
		ask[string](t, root, "SELECT coalesce(array_agg(pid), '{}')::text FROM pg_stat_activity") + "')"
	kept := "SELECT count(*) " + own + " AND state = 'idle'"
	mint(t, p, l)
	if n := ask[int](t, root, kept); n != 1 {
		t.Errorf("%d connections kept, want 1", n)
	}
	_ = ask[int](t, root, "SELECT count(pg_terminate_backend(pid, 5000)) "+own)
	revoke(t, p, l) // by a new one
	s.gone(t, l, nil)
	_, _, err := p.Mint(t.Context(), lease("admin", time.Hour))
	contains(t, err, "no group")
	if n := ask[int](t, root, kept); n != 1 {
		t.Errorf("%d connections kept, want 1", n)
	}
}
