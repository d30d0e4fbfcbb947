package postgres_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/broker/postgres"
	"github.com/sallyport/sallyport/rules"
)

// binaries is a variable of the environment that names a folder with another version
// of PostgreSQL's programs.
const binaries = "SALLYPORT_POSTGRES_BIN"

// server is a real PostgreSQL of this test's own.
type server struct {
	bin, folder string
	port        int
	run         func(name string, args ...string) ([]byte, error)
}

var theServer = sync.OnceValues(startServer)

// errNone is that there is no PostgreSQL on this machine.
var errNone = errors.New("no PostgreSQL here: apt-get install postgresql")

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(child())
	}
	code := m.Run()
	if s, err := started(); err == nil {
		s.stop()
	}
	os.Exit(code)
}

var (
	wanted   bool
	wantedMu sync.Mutex
)

// started is the server, if a test wanted it.
func started() (*server, error) {
	wantedMu.Lock()
	defer wantedMu.Unlock()
	if !wanted {
		return nil, errNone
	}
	return theServer()
}

func realServer(t *testing.T) *server {
	t.Helper()
	wantedMu.Lock()
	wanted = true
	wantedMu.Unlock()
	s, err := theServer()
	if errors.Is(err, errNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func startServer() (*server, error) {
	bin := os.Getenv(binaries)
	if bin == "" {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
		if len(found) == 0 {
			return nil, errNone
		}
		slices.Sort(found)
		bin = filepath.Dir(found[len(found)-1])
	}
	folder, err := os.MkdirTemp("", "sallyport-postgres")
	if err != nil {
		return nil, err
	}
	s := &server{bin: bin, folder: folder}
	attributes := &syscall.SysProcAttr{}
	if os.Getuid() == 0 { // the server refuses to be root
		who, err := user.Lookup("nobody")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.ParseUint(who.Uid, 10, 32)
		gid, _ := strconv.ParseUint(who.Gid, 10, 32)
		attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(folder, int(uid), int(gid)); err != nil {
			return nil, err
		}
	}
	s.run = func(name string, args ...string) ([]byte, error) {
		c := exec.Command(filepath.Join(bin, name), args...)
		c.SysProcAttr, c.Dir, c.Env = attributes, folder, []string{"LC_ALL=C.UTF-8", "PATH=" + os.Getenv("PATH")}
		return c.CombinedOutput()
	}
	password := filepath.Join(folder, "password")
	if err := os.WriteFile(password, []byte("super"), 0o644); err != nil {
		return nil, err
	}
	if out, err := s.run("initdb", "-D", s.data(), "-A", "scram-sha-256", "--pwfile="+password, "-U", "root", "-E", "UTF8", "--no-sync"); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if s.port, err = strconv.Atoi(port); err != nil {
		return nil, err
	}
	l.Close()
	if err := s.start(); err != nil {
		return nil, err
	}
	return s, s.prepare()
}

func (s *server) data() string { return filepath.Join(s.folder, "data") }
func (s *server) log() string  { return filepath.Join(s.folder, "log") }

func (s *server) start() error {
	out, err := s.run("pg_ctl", "-D", s.data(), "-w", "-l", s.log(), "-o",
		fmt.Sprintf("-k %s -c listen_addresses=127.0.0.1 -p %d -c log_statement=all -c log_connections=on -c log_min_messages=debug1 -c max_connections=200", s.folder, s.port), "start")
	if err != nil {
		return fmt.Errorf("pg_ctl: %w: %s", err, out)
	}
	return nil
}

func (s *server) stop() {
	_, _ = s.run("pg_ctl", "-D", s.data(), "-m", "immediate", "-w", "stop")
	_ = os.RemoveAll(s.folder)
}

// prepare sets the database up as docs/postgres.md says.
func (s *server) prepare() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.url("root", "super", "postgres"))
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	admin := "SELECT 1" // up to 15 it needs none
	if c.PgConn().ParameterStatus("server_version") >= "16" {
		admin = "GRANT app_migrator, app_reader TO sallyport WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
	}
	for _, statement := range []string{
		"CREATE DATABASE orders", "CREATE DATABASE other",
		"CREATE ROLE app_migrator NOLOGIN", "CREATE ROLE app_reader NOLOGIN",
		"CREATE ROLE sallyport LOGIN CREATEROLE PASSWORD 'admin'", "GRANT pg_signal_backend TO sallyport", admin,
		"CREATE ROLE eve LOGIN PASSWORD 'eve'",
	} {
		if _, err := c.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	o, err := pgx.Connect(ctx, s.url("root", "super", "orders"))
	if err != nil {
		return err
	}
	defer o.Close(ctx)
	_, err = o.Exec(ctx, "CREATE SCHEMA shop AUTHORIZATION app_migrator; CREATE TABLE shop.orders (id int); ALTER TABLE shop.orders OWNER TO app_migrator;"+
		"GRANT USAGE ON SCHEMA shop TO app_reader; GRANT SELECT ON shop.orders TO app_reader")
	return err
}

func (s *server) url(name, password, database string) string {
	return (&url.URL{Scheme: "postgres", User: url.UserPassword(name, password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), Path: "/" + database, RawQuery: "sslmode=disable"}).String()
}

// as opens a session that lasts as long as the test.
func (s *server) as(t *testing.T, name, password, database string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), s.url(name, password, database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// root is a session of the superuser.
func (s *server) root(t *testing.T) *pgx.Conn { return s.as(t, "root", "super", "orders") }

func do(t *testing.T, c *pgx.Conn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := c.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func ask[T any](t *testing.T, c *pgx.Conn, query string, args ...any) T {
	t.Helper()
	var out T
	if err := c.QueryRow(t.Context(), query, args...).Scan(&out); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return out
}

// urlFile writes a file with an address.
func urlFile(t *testing.T, address string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(f, []byte(address+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func groups() map[rules.Capability]string {
	return map[rules.Capability]string{rules.CapabilityWrite: "app_migrator", rules.CapabilityRead: "app_reader"}
}

func (s *server) provider(t *testing.T, log io.Writer) *postgres.Provider {
	t.Helper()
	cfg := postgres.Config{}
	if log != nil {
		cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	}
	p, err := postgres.New(&rules.PostgresTarget{URLFile: urlFile(t, s.url("sallyport", "admin", "orders")), Groups: groups()}, true, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lease makes a lease with a name of its own.
func lease(capability rules.Capability, life time.Duration) broker.Lease {
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	now := time.Now()
	return broker.Lease{
		ID: hex.EncodeToString(id), Repository: 123456, FullName: "acme/orders", Environment: "production'; DROP ROLE eve; --", Credential: "orders\"; --",
		Capability: capability, Run: 77, Attempt: 1, Job: 88, SHA: rules.SHA(strings.Repeat("a", 40)), Made: now, Deadline: now.Add(life),
	}
}

func role(l broker.Lease) string { return "sallyport_" + l.ID }

func mint(t *testing.T, p *postgres.Provider, l broker.Lease) map[string]string {
	t.Helper()
	values, handle, err := p.Mint(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if handle != nil {
		t.Fatalf("a handle of %d bytes: want none", len(handle))
	}
	return values
}

func revoke(t *testing.T, p *postgres.Provider, l broker.Lease) {
	t.Helper()
	if err := p.Revoke(t.Context(), l, nil); err != nil {
		t.Fatal(err)
	}
}

// open opens a session by what a job got, until the test ends.
func open(t *testing.T, values map[string]string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), values["url"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// alive reports whether a session still answers.
func alive(c *pgx.Conn) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := c.Exec(ctx, "SELECT 1")
	return err == nil
}

// gone fails unless nothing is left of a lease.
func (s *server) gone(t *testing.T, l broker.Lease, values map[string]string, sessions ...*pgx.Conn) {
	t.Helper()
	c := s.root(t)
	if n := ask[int](t, c, "SELECT count(*) FROM pg_roles WHERE rolname = $1", role(l)); n != 0 {
		t.Errorf("the role is still there")
	}
	if n := ask[int](t, c, "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 OR usesysid IS NOT NULL AND usename IS NULL", role(l)); n != 0 {
		t.Errorf("%d sessions in the server's list, want none", n)
	}
	for i, one := range sessions {
		if alive(one) {
			t.Errorf("session %d still answers", i)
		}
	}
	if values != nil {
		if again, err := pgx.Connect(t.Context(), values["url"]); err == nil {
			again.Close(t.Context())
			t.Error("the password still opens a session")
		}
	}
}

func contains(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one with %q", err, want)
	}
}
