// Package pgtest gives tests a real PostgreSQL of their own. It is in no program.
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
//
//	cfg := store.Config{URL: store.Address(pgtest.URL(t))} // an empty schema
//
// The programs are Debian's, or those of the folder in SALLYPORT_POSTGRES_BIN. The
// server's files are in a temporary folder, and it ends with the test's process,
// however that ends.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// binaries is a variable of the environment that names a folder with another version
// of PostgreSQL's programs.
const binaries = "SALLYPORT_POSTGRES_BIN"

// startTime is how long the server may take to answer.
const startTime = 60 * time.Second

// searchPath is how a URL names a schema: every program of PostgreSQL's takes it.
const searchPath = "-csearch_path="

// errNone is that there is no PostgreSQL on this machine.
var errNone = errors.New("no PostgreSQL here: apt-get install postgresql")

// Role is the role of every URL: it owns its database and nothing else.
const Role = "sallyport"

// Server is a PostgreSQL that can be killed and started again.
type Server struct {
	folder     string
	port       int
	attributes syscall.SysProcAttr
	safe       bool // writes through to the disk

	mu    sync.Mutex
	ended chan struct{} // closed when the process has ended; nil if it does not run
	kill  func(os.Signal) error
}

// shared is the server of a test's whole process.
var shared struct {
	mu     sync.Mutex
	server *Server
	err    error
	count  atomic.Int64
}

// Run runs the tests and stops the server that they shared, if any of them wanted it.
func Run(m *testing.M) int {
	code := m.Run()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server != nil {
		shared.server.Stop()
		_ = os.RemoveAll(shared.server.folder)
	}
	return code
}

// URL is that of an empty schema in a server that all tests of the process share. Its
// role may do in it what it likes.
func URL(t testing.TB) string {
	t.Helper()
	shared.mu.Lock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = newServer(false)
	}
	s, err := shared.server, shared.err
	shared.mu.Unlock()
	if errors.Is(err, errNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.Schema(t)
}

// Start starts a server for one test alone, which writes through to the disk as one
// in production does.
func Start(t testing.TB) *Server {
	t.Helper()
	s, stop, err := New()
	if errors.Is(err, errNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return s
}

// New is [Start] for who is no test: stop ends the server and removes its files.
func New() (s *Server, stop func(), err error) {
	if s, err = newServer(true); err != nil {
		return nil, nil, err
	}
	return s, func() {
		s.Stop()
		_ = os.RemoveAll(s.folder) // a temporary folder
	}, nil
}

// Bin is the folder of PostgreSQL's programs, or "" if there are none.
func Bin() string {
	if bin := os.Getenv(binaries); bin != "" {
		return bin
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is sound
	if len(found) == 0 {
		return ""
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1])
}

func newServer(safe bool) (*Server, error) {
	bin := Bin()
	if bin == "" {
		return nil, errNone
	}
	folder, err := os.MkdirTemp("", "sallyport-postgres")
	if err != nil {
		return nil, err
	}
	s := &Server{folder: folder, safe: safe}
	if os.Getuid() == 0 { // the server refuses to be root
		who, err := user.Lookup("nobody")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(who.Uid) // a number, on every system that has users
		gid, _ := strconv.Atoi(who.Gid)
		become(&s.attributes, uid, gid)
		if err := os.Chown(folder, uid, gid); err != nil {
			return nil, err
		}
	}
	password := filepath.Join(folder, "password")
	if err := os.WriteFile(password, []byte("super"), 0o644); err != nil { //nolint:gosec // the other user reads it
		return nil, err
	}
	initdb := exec.CommandContext(context.Background(), filepath.Join(bin, "initdb"), "-D", s.data(), "-A", "scram-sha-256", "--pwfile="+password, "-U", "root", "-E", "UTF8", "--no-sync", "--no-instructions") //nolint:gosec // PostgreSQL, for tests, with arguments of our own making
	initdb.SysProcAttr, initdb.Dir, initdb.Env = &s.attributes, folder, environment()
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	at, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		_ = l.Close() // it is of no use
		return nil, fmt.Errorf("a free port was asked for, and the system gave %s", l.Addr())
	}
	s.port = at.Port
	if err := l.Close(); err != nil {
		return nil, err
	}
	if err := s.Start(); err != nil {
		return nil, err
	}
	return s, s.Do(context.Background(), "postgres", "CREATE ROLE "+Role+" LOGIN PASSWORD 'secret'", "CREATE DATABASE "+Role+" OWNER "+Role)
}

func environment() []string {
	return []string{"LC_ALL=C.UTF-8", "PATH=" + os.Getenv("PATH")}
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

// Log is the server's log file.
func (s *Server) Log() string { return filepath.Join(s.folder, "log") }

// Start starts the server, where it was stopped, and waits until it answers.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return errors.New("the server runs already")
	}
	log, err := os.OpenFile(s.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	fsync := "off"
	if s.safe {
		fsync = "on"
	}
	cmd := exec.CommandContext(context.Background(), filepath.Join(Bin(), "postgres"), "-D", s.data(), "-k", s.folder, "-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300", "-c", "fsync="+fsync) //nolint:gosec // as above
	attributes := s.attributes
	endWithParent(&attributes)
	cmd.SysProcAttr, cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = &attributes, s.folder, environment(), log, log
	started, ended := make(chan error), make(chan struct{})
	go func() {
		// The signal at the parent's end is that of the thread which started it.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // stopped by a signal, mostly
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return err
	}
	s.ended, s.kill = ended, cmd.Process.Signal
	for deadline := time.Now().Add(startTime); ; time.Sleep(10 * time.Millisecond) {
		if err = s.Do(context.Background(), "postgres", "SELECT 1"); err == nil {
			return nil
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(s.Log()) // said with what is known
			return fmt.Errorf("the server ended at once: %s", text)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server does not answer: %w", err)
		}
	}
}

// Stop ends the server as if its machine had lost power: what was committed is in its
// log, and nothing else is.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		return
	}
	_ = s.kill(syscall.SIGQUIT) // gone already
	<-s.ended
	s.ended = nil
}

// Do runs statements as the superuser.
func (s *Server) Do(ctx context.Context, database string, statements ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.url("root", "super", database, ""))
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	for _, text := range statements {
		if _, err := c.Exec(ctx, text); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

// Schema makes an empty schema and gives the URL that leads into it.
func (s *Server) Schema(t testing.TB) string {
	t.Helper()
	address, err := s.NewSchema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// NewSchema is [Server.Schema] for who is no test.
func (s *Server) NewSchema(ctx context.Context) (string, error) {
	name := fmt.Sprintf("s%d", shared.count.Add(1))
	if err := s.Do(ctx, Role, "CREATE SCHEMA "+name+" AUTHORIZATION "+Role); err != nil {
		return "", err
	}
	return s.url(Role, "secret", Role, name), nil
}

// Address is the server's host and port.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

func (s *Server) url(name, password, database, schema string) string {
	q := url.Values{"sslmode": {"disable"}}
	if schema != "" {
		q.Set("options", searchPath+schema)
	}
	return (&url.URL{Scheme: "postgres", User: url.UserPassword(name, password), Host: s.Address(), Path: "/" + database, RawQuery: q.Encode()}).String()
}

// Database makes an empty database and gives the URL that leads into it.
func (s *Server) Database(t testing.TB, name string) string {
	t.Helper()
	if err := s.Do(t.Context(), "postgres", "CREATE DATABASE "+name+" OWNER "+Role); err != nil {
		t.Fatal(err)
	}
	return s.url(Role, "secret", name, "")
}

// SchemaOf is the schema that a URL of [Server.Schema] leads into.
func SchemaOf(t testing.TB, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Query().Get("options"), searchPath)
}
