package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/broker/postgres"
	"github.com/sallyport/sallyport/rules"
)

// childVariable makes this program the broker that is killed: it has what to do.
const childVariable = "SALLYPORT_POSTGRES_CHILD"

type order struct {
	URLFile string
	Revoke  bool
	Lease   broker.Lease
}

// child does one thing as a broker of its own and says so.
func child() int {
	var o order
	if err := json.Unmarshal([]byte(os.Getenv(childVariable)), &o); err != nil {
		return 2
	}
	p, err := postgres.New(&rules.PostgresTarget{URLFile: o.URLFile, Groups: groups()}, true, postgres.Config{})
	if err != nil {
		return 2
	}
	if o.Revoke {
		err = p.Revoke(context.Background(), o.Lease, nil)
	} else {
		_, _, err = p.Mint(context.Background(), o.Lease)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// gateway stands between a broker and its server and calls back at the n-th message
// of the broker, of all its connections.
type gateway struct {
	listener net.Listener
	to       string
	at       int64
	// answered: the message still reaches the server, and its answer nobody.
	answered bool
	kill     func()
	seen     atomic.Int64
	killed   atomic.Bool
	wait     sync.WaitGroup
}

func (g *gateway) serve() {
	for {
		c, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.wait.Go(func() { g.carry(c) })
	}
}

func (g *gateway) carry(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", g.to)
	if err != nil {
		return
	}
	defer s.Close()
	go func() { _, _ = io.Copy(c, s); c.Close() }()
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		if n > 0 {
			if g.killed.Load() {
				return
			}
			if g.seen.Add(1) == g.at {
				g.killed.Store(true)
				if !g.answered {
					g.kill()
					return
				}
				_, _ = s.Write(b[:n])
				g.kill()
				time.Sleep(100 * time.Millisecond) // the server is at it; nobody hears the end
				return
			}
			if _, err := s.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// run starts a broker that is killed at its n-th message, and reports whether it was.
func (s *server) runChild(t *testing.T, o order, at int, answered bool) (killed bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword("sallyport", "admin"), Host: l.Addr().String(), Path: "/orders", RawQuery: "sslmode=disable"}
	o.URLFile = urlFile(t, u.String())
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, os.Args[0])
	c.Env = append(os.Environ(), childVariable+"="+string(text))
	var out lockedText
	c.Stderr = &out
	started := make(chan struct{})
	g := &gateway{listener: l, to: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), at: int64(at), answered: answered, kill: func() { <-started; _ = c.Process.Kill() }}
	go g.serve()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	close(started)
	err = c.Wait()
	l.Close()
	g.wait.Wait()
	if !g.killed.Load() && err != nil {
		t.Fatalf("a broker that nobody killed: %v: %s", err, out.String())
	}
	return g.killed.Load()
}

type lockedText struct {
	mu sync.Mutex
	b  []byte
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	return len(p), nil
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

// A broker is killed with SIGKILL at each message that it sends, before the server
// has it and after: at the deadline and five seconds nobody can log in and no session
// is alive, though no broker came back; and after the next sweep no role is left.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes more than a minute")
	}
	s := realServer(t)
	p, root := s.provider(t, nil), s.root(t)
	type trial struct {
		what     string
		lease    broker.Lease
		values   map[string]string
		sessions []*pgx.Conn
	}
	var trials []trial
	steps := map[bool]int{}
	// A minute is enough to have killed all of them before the first deadline.
	life := time.Minute
	begun := time.Now()
	for _, ending := range []bool{false, true} {
		for _, answered := range []bool{false, true} {
			for at := 1; ; at++ {
				l := lease(rules.CapabilityWrite, life-time.Since(begun))
				one := trial{what: fmt.Sprintf("ending %t, message %d, answered %t", ending, at, answered), lease: l}
				if ending {
					one.values = mint(t, p, l)
					one.sessions = []*pgx.Conn{open(t, one.values), open(t, one.values)}
					do(t, one.sessions[0], "SET ROLE app_migrator")
				} else if at%2 == 0 { // with a watchdog on guard, and without
					_ = ask[int](t, root, "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name LIKE 'sallyport watchdog%'")
				}
				killed := s.runChild(t, order{Revoke: ending, Lease: l}, at, answered)
				trials = append(trials, one)
				if !killed {
					steps[ending] = at - 1
					break
				}
				if at > 200 {
					t.Fatal("it never ends")
				}
			}
		}
	}
	left := ask[int](t, root, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'sallyport\\_%'")
	t.Logf("%d trials in %s: %d messages of a mint, %d of a revoke; %d roles were left to the watchdog", len(trials), time.Since(begun).Round(time.Millisecond), steps[false], steps[true], left)
	if time.Since(begun) > life-2*time.Second {
		t.Fatal("the deadlines passed before all were killed: this test proves nothing")
	}
	if left == 0 {
		t.Error("no broker left a role behind: this test proves nothing")
	}
	time.Sleep(time.Until(begun.Add(life + 5*time.Second)))
	if n := ask[int](t, root, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'sallyport\\_%' AND rolcanlogin"); n != 0 {
		t.Errorf("%d roles can log in five seconds after the deadline", n)
	}
	if n := ask[int](t, root, "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'sallyport\\_%' OR usesysid IS NOT NULL AND usename IS NULL"); n != 0 {
		t.Errorf("%d sessions five seconds after the deadline", n)
	}
	if err := p.Sweep(t.Context(), time.Now()); err != nil {
		t.Error(err)
	}
	for _, one := range trials {
		t.Run(one.what, func(t *testing.T) { s.gone(t, one.lease, one.values, one.sessions...) })
	}
}

// A server that is restarted ends the watchdog and every session. While no broker is
// there, nobody can log in after the deadline; the next sweep leaves nothing.
func TestRestart(t *testing.T) {
	s := realServer(t)
	p := s.provider(t, nil)
	short, long := lease(rules.CapabilityWrite, 4*time.Second), lease(rules.CapabilityWrite, time.Hour)
	v := mint(t, p, short)
	mint(t, p, long)
	session := open(t, v)
	if out, err := s.run("pg_ctl", "-D", s.data(), "-m", "immediate", "-w", "stop"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	if alive(session) {
		t.Error("a session outlived the server")
	}
	root := s.root(t)
	if n := ask[int](t, root, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'sallyport watchdog%'"); n != 0 {
		t.Errorf("%d watchdogs after a restart", n)
	}
	time.Sleep(time.Until(short.Deadline.Add(time.Second)))
	if c, err := pgx.Connect(t.Context(), v["url"]); err == nil {
		c.Close(t.Context())
		t.Error("a session was opened after the deadline")
	}
	if err := p.Sweep(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	s.gone(t, short, v)
	if n := ask[int](t, root, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sallyport watchdog'"); n != 1 {
		t.Errorf("%d watchdogs after a sweep, want 1", n)
	}
	revoke(t, p, long)
}
