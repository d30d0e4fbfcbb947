package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/broker/postgres"
	"github.com/sallyport/sallyport/rules"
)

// What a leased job may try against its own role.
func TestCannotExtend(t *testing.T) {
	s := realServer(t)
	p, l := s.provider(t, nil), lease(rules.CapabilityWrite, time.Hour)
	v := mint(t, p, l)
	c := open(t, v)
	do(t, c, "SET ROLE NONE")
	me := role(l)
	for _, statement := range []string{
		"ALTER ROLE " + me + " VALID UNTIL 'infinity'",
		"ALTER ROLE " + me + " CONNECTION LIMIT -1",
		"ALTER ROLE " + me + " CREATEROLE",
		"ALTER ROLE " + me + " INHERIT",
		"COMMENT ON ROLE " + me + " IS NULL",
		"CREATE ROLE rose LOGIN",
		"GRANT app_migrator TO eve",
		"GRANT " + me + " TO eve",
		"ALTER ROLE " + me + " RENAME TO rose",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sallyport watchdog'",
		"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'sallyport watchdog'",
		"SET ROLE sallyport",
		"SET SESSION AUTHORIZATION sallyport",
		"ALTER ROLE sallyport NOLOGIN",
	} {
		if _, err := c.Exec(t.Context(), statement); err == nil {
			t.Errorf("a lease may %s", statement)
		}
		do(t, c, "SET ROLE app_migrator")
		if _, err := c.Exec(t.Context(), statement); err == nil {
			t.Errorf("a lease as its group may %s", statement)
		}
		do(t, c, "SET ROLE NONE")
	}
	do(t, c, "ALTER ROLE "+me+" PASSWORD 'mine'", "ALTER ROLE "+me+" SET statement_timeout = 0")
	mine := open(t, map[string]string{"url": s.url(me, "mine", "orders")})
	var more []*pgx.Conn
	for range 20 {
		again, err := pgx.Connect(t.Context(), s.url(me, "mine", "orders"))
		if err != nil {
			break
		}
		defer again.Close(context.Background())
		more = append(more, again)
	}
	if len(more) != 8 {
		t.Errorf("%d sessions beside two, want 8", len(more))
	}
	revoke(t, p, l)
	s.gone(t, l, v, append(more, c, mine)...)
	if other, err := pgx.Connect(t.Context(), s.url(me, "mine", "orders")); err == nil {
		other.Close(t.Context())
		t.Error("its own password still opens a session")
	}
}

// hold is what a session does to refuse its end: each alone would hold up one of the
// steps. ME is its role.
type hold struct {
	name, database string
	statements     []string
}

func holds() []hold {
	return []hold{
		{"became its group", "orders", []string{"SET ROLE app_migrator"}},
		{"holds its own row", "orders", []string{"SET ROLE NONE", "BEGIN", "ALTER ROLE ME PASSWORD 'mine'"}},
		{"owns a large object", "orders", []string{"SET ROLE NONE", "SELECT lo_create(0)"}},
		{"owns one in another database", "other", []string{"SET ROLE NONE", "SELECT lo_create(0)"}},
		{"was granted something", "orders", []string{"GRANT SELECT ON shop.orders TO ME"}},
		{"has default privileges", "orders", []string{"SET ROLE NONE", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC"}},
		{"has a policy", "orders", []string{"CREATE POLICY mine ON shop.orders TO ME USING (true)"}},
		{"has a temporary table", "orders", []string{"SET ROLE NONE", "CREATE TEMPORARY TABLE mine (id int)"}},
		{"holds locks", "orders", []string{"BEGIN", "LOCK TABLE shop.orders", "SELECT pg_advisory_lock(i) FROM generate_series(1, 100) i"}},
		{"has other settings", "orders", []string{"SET ROLE NONE", "ALTER ROLE ME SET role = 'none'", "ALTER ROLE ME SET search_path = shop"}},
		{"is named as the watchdog", "orders", []string{"SET application_name = 'sallyport watchdog'"}},
		{"has functions in place of ours", "orders", []string{
			"CREATE FUNCTION shop.pg_terminate_backend(int) RETURNS boolean LANGUAGE sql AS 'SELECT true'", "SET ROLE NONE", "ALTER ROLE ME SET search_path = shop",
		}},
	}
}

func (h hold) open(t *testing.T, s *server, l broker.Lease, values map[string]string) *pgx.Conn {
	t.Helper()
	c := open(t, map[string]string{"url": s.url(role(l), values["password"], h.database)})
	for _, statement := range h.statements {
		do(t, c, strings.ReplaceAll(statement, "ME", role(l)))
	}
	return c
}

// forget removes what the holds leave to the group.
func forget(t *testing.T, s *server) {
	t.Helper()
	do(t, s.root(t), "DROP POLICY IF EXISTS mine ON shop.orders", "DROP FUNCTION IF EXISTS shop.pg_terminate_backend(int)")
	for _, database := range []string{"orders", "other"} {
		c := s.as(t, "root", "super", database)
		if n := ask[int](t, c, "SELECT count(*) FROM pg_largeobject_metadata WHERE lomowner = 'app_migrator'::regrole"); n != 1 {
			t.Errorf("%d large objects of the group in %q, want 1", n, database)
		}
		do(t, c, "SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
		if n := ask[int](t, c, "SELECT count(*) FROM pg_auth_members WHERE member = 'sallyport'::regrole AND roleid <> 'pg_signal_backend'::regrole AND NOT admin_option"); n != 0 {
			t.Errorf("the broker stayed a member of %d roles", n)
		}
	}
}

func TestCannotOutlive(t *testing.T) {
	s := realServer(t)
	p := s.provider(t, nil)
	for _, h := range holds() {
		t.Run(h.name, func(t *testing.T) {
			l := lease(rules.CapabilityWrite, time.Hour)
			v := mint(t, p, l)
			c := h.open(t, s, l, v)
			revoke(t, p, l)
			s.gone(t, l, v, c)
		})
	}
	forget(t, s)
}

// The same, ended by the watchdog alone, and cleaned up by a sweep.
func TestCannotOutliveDeadline(t *testing.T) {
	s := realServer(t)
	p, root := s.provider(t, nil), s.root(t)
	type held struct {
		hold
		lease   broker.Lease
		values  map[string]string
		session *pgx.Conn
	}
	var all []held
	end := time.Now().Add(8 * time.Second)
	for _, h := range holds() {
		if h.name == "holds locks" { // the others need them
			continue
		}
		l := lease(rules.CapabilityWrite, time.Until(end))
		v := mint(t, p, l)
		all = append(all, held{h, l, v, h.open(t, s, l, v)})
	}
	for _, h := range all {
		if !alive(h.session) || time.Now().After(end) {
			t.Fatalf("%s: its session ended too early", h.name)
		}
	}
	time.Sleep(time.Until(end.Add(5 * time.Second)))
	if n := ask[int](t, root, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'sallyport\\_%' AND rolcanlogin"); n != 0 {
		t.Errorf("the watchdog left %d logins", n)
	}
	for _, h := range all {
		if alive(h.session) {
			t.Errorf("%s: the watchdog left its session", h.name)
		}
	}
	if err := p.Sweep(t.Context(), time.Now()); err != nil {
		t.Error(err)
	}
	for _, h := range all {
		t.Run(h.name, func(t *testing.T) { s.gone(t, h.lease, h.values, h.session) })
	}
	forget(t, s)
}

// A job that logs in and out and changes its own row without pause cannot hold up its
// end, nor slip in a session.
func TestCannotRace(t *testing.T) {
	s := realServer(t)
	p := s.provider(t, nil)
	for range 5 {
		l := lease(rules.CapabilityWrite, time.Hour)
		v := mint(t, p, l)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		var logins atomic.Int64
		for range 4 {
			go func() {
				defer func() { done <- struct{}{} }()
				for ctx.Err() == nil {
					if c, err := pgx.Connect(ctx, v["url"]); err == nil {
						logins.Add(1)
						_, _ = c.Exec(ctx, "SET ROLE NONE; ALTER ROLE "+role(l)+" SET statement_timeout = 1")
						defer c.Close(context.Background())
					}
				}
			}()
		}
		for end := time.Now().Add(10 * time.Second); logins.Load() < 4; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("nobody logged in: this test proves nothing")
			}
		}
		revoke(t, p, l)
		s.gone(t, l, v)
		time.Sleep(50 * time.Millisecond)
		s.gone(t, l, v)
		cancel()
		for range 4 {
			<-done
		}
	}
}

// Groups and administrators that must not be used, and what is said of them.
func TestJudge(t *testing.T) {
	s := realServer(t)
	root := s.root(t)
	for _, c := range []struct{ group, how, back, want string }{
		{"app_migrator", "ALTER ROLE app_migrator LOGIN", "ALTER ROLE app_migrator NOLOGIN", "can log in by itself: ALTER ROLE \"app_migrator\" NOLOGIN"},
		{"app_migrator", "ALTER ROLE app_migrator SUPERUSER", "ALTER ROLE app_migrator NOSUPERUSER", "is a superuser"},
		{"app_migrator", "ALTER ROLE app_migrator CREATEROLE", "ALTER ROLE app_migrator NOCREATEROLE", "can make roles"},
		{"app_migrator", "ALTER ROLE app_migrator BYPASSRLS", "ALTER ROLE app_migrator NOBYPASSRLS", "passes row level security by"},
		{"app_migrator", "ALTER ROLE app_migrator REPLICATION", "ALTER ROLE app_migrator NOREPLICATION", "by replication"},
		{"app_migrator", "GRANT pg_execute_server_program TO app_migrator", "REVOKE pg_execute_server_program FROM app_migrator", "has rights over the server"},
		{"app_migrator", "CREATE ROLE middle NOLOGIN; GRANT pg_read_server_files TO middle; GRANT middle TO app_migrator", "DROP ROLE middle", "by membership of \"pg_read_server_files\""},
		{"app_migrator", "CREATE ROLE middle NOLOGIN NOINHERIT CREATEROLE; GRANT middle TO app_migrator", "DROP ROLE middle", "by membership of \"middle\", can make roles"},
		{"app_migrator", "CREATE ROLE middle NOLOGIN; GRANT middle TO app_migrator WITH ADMIN OPTION", "DROP ROLE middle", "can make others members"},
		{"app_migrator", "CREATE ROLE boss LOGIN CREATEROLE; GRANT boss TO app_migrator", "DROP ROLE boss", "by membership of \"boss\", can make roles"},
		{"app_migrator", "ALTER ROLE sallyport SUPERUSER", "ALTER ROLE sallyport NOSUPERUSER", "the administrator \"sallyport\" is a superuser"},
		{"app_migrator", "CREATE ROLE boss SUPERUSER; GRANT boss TO sallyport", "DROP ROLE boss", "the administrator \"sallyport\" is a superuser or can become one"},
		{"app_migrator", "ALTER ROLE sallyport NOCREATEROLE", "ALTER ROLE sallyport CREATEROLE", "cannot make roles: ALTER ROLE \"sallyport\" CREATEROLE"},
		{"app_migrator", "REVOKE pg_signal_backend FROM sallyport", "GRANT pg_signal_backend TO sallyport", "cannot end sessions: GRANT pg_signal_backend TO \"sallyport\""},
		{"app_migrator", "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC", "GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC", "GRANT USAGE ON LANGUAGE plpgsql TO \"sallyport\""},
		{"nowhere", "SELECT 1", "SELECT 1", "there is no group \"nowhere\": CREATE ROLE \"nowhere\""},
		{"app_reader", "GRANT INSERT ON shop.orders TO app_reader", "REVOKE INSERT ON shop.orders FROM app_reader", "INSERT on table shop.orders"},
		{"app_reader", "GRANT UPDATE (id) ON shop.orders TO app_reader", "REVOKE UPDATE (id) ON shop.orders FROM app_reader", "UPDATE (id) on table shop.orders"},
		{"app_reader", "GRANT DELETE ON shop.orders TO PUBLIC", "REVOKE DELETE ON shop.orders FROM PUBLIC", "DELETE on table shop.orders"},
		{"app_reader", "GRANT app_migrator TO app_reader", "REVOKE app_migrator FROM app_reader", "ownership on schema shop"},
		{"app_reader", "GRANT CREATE ON SCHEMA shop TO app_reader", "REVOKE CREATE ON SCHEMA shop FROM app_reader", "CREATE on schema shop"},
		{"app_reader", "GRANT CREATE ON DATABASE orders TO app_reader", "REVOKE CREATE ON DATABASE orders FROM app_reader", "CREATE on database orders"},
		{"app_reader", "CREATE SEQUENCE shop.numbers; GRANT USAGE ON shop.numbers TO app_reader", "DROP SEQUENCE shop.numbers", "USAGE on sequence shop.numbers"},
	} {
		t.Run(c.how, func(t *testing.T) {
			do(t, root, c.how)
			defer do(t, root, c.back)
			capability := rules.CapabilityWrite
			if c.group == "app_reader" {
				capability = rules.CapabilityRead
			}
			target := &rules.PostgresTarget{URLFile: urlFile(t, s.url("sallyport", "admin", "orders")), Groups: map[rules.Capability]string{capability: c.group}}
			p, err := postgres.New(target, true, postgres.Config{})
			if err != nil {
				t.Fatal(err)
			}
			contains(t, p.Check(t.Context()), c.want)
			l := lease(capability, time.Hour)
			_, _, err = p.Mint(t.Context(), l)
			if err == nil {
				t.Error("it made a lease all the same")
			}
			if n := ask[int](t, root, "SELECT count(*) FROM pg_roles WHERE rolname = $1", role(l)); n != 0 {
				t.Error("and its role is there")
			}
		})
	}
	if err := s.provider(t, nil).Check(t.Context()); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// Names that are no plain words mean themselves and nothing else.
func TestHostileGroup(t *testing.T) {
	s := realServer(t)
	root := s.root(t)
	for _, name := range []string{`a"b`, `a'; DROP ROLE eve; --`, `Größe "ß"`, `a\'b`, `$watchdog$`, "two\nlines", `%I`, "App_Migrator", strings.Repeat("x", 63)} {
		quoted := pgx.Identifier{name}.Sanitize()
		do(t, root, "CREATE ROLE "+quoted+" NOLOGIN")
		defer do(t, root, "DROP ROLE "+quoted)
		if ask[bool](t, root, "SELECT current_setting('server_version_num')::int >= 160000") {
			do(t, root, "GRANT "+quoted+" TO sallyport WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
		}
		target := &rules.PostgresTarget{URLFile: urlFile(t, s.url("sallyport", "admin", "orders")), Groups: map[rules.Capability]string{rules.CapabilityWrite: name}}
		p, err := postgres.New(target, true, postgres.Config{})
		if err != nil {
			t.Fatal(err)
		}
		l := lease(rules.CapabilityWrite, time.Hour)
		c := open(t, mint(t, p, l))
		if got := ask[string](t, c, "SELECT current_user::text"); got != name {
			t.Errorf("it is %q, want %q", got, name)
		}
		do(t, c, "SET ROLE NONE", "SELECT lo_create(0)")
		revoke(t, p, l)
		s.gone(t, l, nil, c)
		do(t, root, "SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
	}
	if n := ask[int](t, root, "SELECT count(*) FROM pg_roles WHERE rolname = 'eve'"); n != 1 {
		t.Error("eve is gone")
	}
	for _, name := range []string{"", "none", "public", "pg_monitor", strings.Repeat("x", 64), "a\x00b", "\xff", "sallyport_" + strings.Repeat("0", 32)} {
		if postgres.CheckGroup(name) == nil {
			t.Errorf("the group %q was taken", name)
		}
	}
	l := lease(rules.CapabilityWrite, time.Hour)
	for _, id := range []string{"", "x", strings.Repeat("A", 32), strings.Repeat("a", 31) + `"`, strings.Repeat("a", 33)} {
		l.ID = id
		if _, _, err := s.provider(t, nil).Mint(t.Context(), l); err == nil {
			t.Errorf("the id %q was taken", id)
		}
		if err := s.provider(t, nil).Revoke(t.Context(), l, nil); err == nil {
			t.Errorf("the id %q was ended", id)
		}
	}
}

// The environment of the broker decides nothing about where it connects.
func TestEnvironment(t *testing.T) {
	s := realServer(t)
	for name, value := range map[string]string{"PGHOST": "192.0.2.1", "PGPORT": "1", "PGUSER": "root", "PGPASSWORD": "super", "PGDATABASE": "postgres", "PGOPTIONS": "-c search_path=shop", "PGSSLMODE": "require", "PGAPPNAME": "x"} {
		t.Setenv(name, value)
	}
	if err := s.provider(t, nil).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// An address is read again for each connection.
func TestNewAddress(t *testing.T) {
	s := realServer(t)
	root := s.root(t)
	p := s.provider(t, nil)
	do(t, root, "ALTER ROLE sallyport PASSWORD 'new'")
	defer do(t, root, "ALTER ROLE sallyport PASSWORD 'admin'")
	err := p.Check(t.Context())
	contains(t, err, "password authentication failed")
	if strings.Contains(fmt.Sprint(err), "admin") {
		t.Errorf("the error has the password: %v", err)
	}
}
