package postgres_test

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/broker/postgres"
	"github.com/sallyport/sallyport/rules"
)

func TestAddress(t *testing.T) {
	got, err := postgres.Values("postgresql://alice:p%40ss@db.example.com/orders")
	want := map[string]string{
		"url":  "postgres://bob:b%2Fo%40b@db.example.com:5432/orders?sslmode=verify-full",
		"host": "db.example.com", "port": "5432", "database": "orders", "username": "bob", "password": "b/o@b",
	}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v %v, want %v", got, err, want)
	}
	got, err = postgres.Values("postgres://alice:x@/orders?host=/run/postgresql&port=5433")
	if err != nil || got["url"] != "postgres://bob:b%2Fo%40b@/orders?host=%2Frun%2Fpostgresql&port=5433" || got["host"] != "/run/postgresql" {
		t.Errorf("%v %v", got, err)
	}
	const secret = "canary"
	for _, text := range []string{
		"", secret, "http://alice:" + secret + "@db.example.com/orders", "postgres://alice:" + secret + "@db.example.com", "postgres://db.example.com/orders",
		"postgres://alice:" + secret + "@/orders", "postgres://alice:" + secret + "@a,b/orders", "postgres://alice:" + secret + "@db.example.com:0/orders",
		"postgres://alice:" + secret + "@db.example.com:99999/orders", "postgres://alice:" + secret + "@db.example.com:" + secret + "/orders",
		"postgres://alice:" + secret + "@db.example.com/orders?sslmode=prefer", "postgres://alice:" + secret + "@db.example.com/orders?sslmode=require",
		"postgres://alice:" + secret + "@db.example.com/orders?sslmode=verify-full&sslmode=disable",
		"postgres://alice:" + secret + "@db.example.com/orders?host=/run/postgresql", "postgres://alice:" + secret + "@db.example.com/orders?host=other.example.com",
		"postgres://alice:" + secret + "@/orders?host=other.example.com", "postgres://alice:" + secret + "@db.example.com/orders?options=-csearch_path%3Dx",
		"postgres://alice:" + secret + "@db.example.com/orders?servicefile=/x", "postgres://alice:" + secret + "@db.example.com/or%00ders",
		"postgres://alice:" + secret + "%zz@db.example.com/orders", "host=db.example.com user=alice password=" + secret,
	} {
		if _, err := postgres.Values(text); err == nil {
			t.Errorf("%q was taken", text)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("an error has what is in the file: %v", err)
		}
	}
}

func TestURLFile(t *testing.T) {
	folder := t.TempDir()
	pipe := filepath.Join(folder, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(folder, "long")
	if err := os.WriteFile(long, []byte(strings.Repeat("x", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	target := func(file string) *rules.PostgresTarget {
		return &rules.PostgresTarget{URLFile: file, Groups: groups()}
	}
	for _, file := range []string{"", folder, pipe, long, filepath.Join(folder, "none"), urlFile(t, "x")} {
		if _, err := postgres.New(target(file), false, postgres.Config{}); err == nil {
			t.Errorf("the file %q was taken", file)
		}
	}
	for address, private := range map[string]bool{
		"postgres://alice:x@127.0.0.1/orders":                  true,
		"postgres://alice:x@10.1.2.3/orders":                   true,
		"postgres://alice:x@[fd00::1]/orders":                  true,
		"postgres://alice:x@/orders?host=/run/postgresql":      true,
		"postgres://alice:x@10.1.2.3/orders?sslmode=disable":   true,
		"postgres://alice:x@db.example.com/orders":             false,
		"postgres://alice:x@db.example.com/?sslmode=disable":   false,
		"postgres://alice:x@localhost/orders?sslrootcert=/nil": false,
	} {
		_, open := postgres.New(target(urlFile(t, address)), false, postgres.Config{})
		_, inside := postgres.New(target(urlFile(t, address)), true, postgres.Config{})
		switch {
		case private && (open == nil || inside != nil):
			t.Errorf("%s: %v without private, %v with it", address, open, inside)
		case !private && (open == nil) != (inside == nil):
			t.Errorf("%s: private makes a difference: %v, %v", address, open, inside)
		}
	}
	for _, bad := range []*rules.PostgresTarget{nil, {}, {Groups: map[rules.Capability]string{"admin": "app"}}, {Groups: map[rules.Capability]string{rules.CapabilityRead: "none"}}} {
		if _, err := postgres.New(bad, true, postgres.Config{}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestReach(t *testing.T) {
	for address, want := range map[string][3]bool{ // public, private, private and not encrypted
		"8.8.8.8:5432":                  {true, true, false},
		"[2600::1]:5432":                {true, true, false},
		"127.0.0.1:5432":                {false, true, true},
		"[::1]:5432":                    {false, true, true},
		"10.0.0.1:5432":                 {false, true, true},
		"[::ffff:10.0.0.1]:5432":        {false, true, true},
		"[64:ff9b::a00:1]:5432":         {false, true, true},
		"169.254.169.254:5432":          {false, false, false},
		"[::ffff:169.254.169.254]:5432": {false, false, false},
		"[fd00:ec2::254]:5432":          {false, false, false},
		"[fe80::1%eth0]:5432":           {false, false, false},
		"0.0.0.0:5432":                  {false, false, false},
		"224.0.0.1:5432":                {false, false, false},
		"db.example.com:5432":           {false, false, false},
	} {
		got := [3]bool{postgres.Check(false, false, address) == nil, postgres.Check(true, false, address) == nil, postgres.Check(true, true, address) == nil}
		if got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}

// A name that leads to the inside is refused when it is dialled, and a server that
// does not encrypt gets nothing.
func TestDial(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan []byte, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 1000)
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			n, _ := c.Read(b)
			heard <- b[:n]
			_, _ = c.Write([]byte("N")) // no encryption here
			n, _ = c.Read(b)
			heard <- b[:n]
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	provider := func(address string, private bool, cfg postgres.Config) *postgres.Provider {
		p, err := postgres.New(&rules.PostgresTarget{URLFile: urlFile(t, address), Groups: groups()}, private, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	contains(t, provider("postgres://alice:canary@localhost:"+port+"/orders", false, postgres.Config{}).Check(ctx), "say private: true")
	if len(heard) != 0 {
		t.Fatal("it connected")
	}
	stop := errors.New("stopped by the test")
	contains(t, provider("postgres://alice:canary@localhost:"+port+"/orders", true, postgres.Config{
		Control: func(string, string, syscall.RawConn) error { return stop },
	}).Check(ctx), stop.Error())
	if err := provider("postgres://alice:canary@127.0.0.1:"+port+"/orders", true, postgres.Config{}).Check(ctx); err == nil {
		t.Error("it went on without encryption")
	} else if strings.Contains(err.Error(), "canary") {
		t.Errorf("the password is in %v", err)
	}
	if first, second := <-heard, <-heard; len(first) != 8 || len(second) != 0 {
		t.Errorf("it sent %q and %q, want a request for encryption and no more", first, second)
	}
}

// The server is never shown a password that is not encrypted on the way.
func TestAskedForPassword(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 4096)
			_, _ = c.Read(b)
			_, _ = c.Write([]byte{'R', 0, 0, 0, 8, 0, 0, 0, 3}) // in plain text, please
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			n, _ := c.Read(b)
			heard <- string(b[:n])
			c.Close()
		}
	}()
	p, err := postgres.New(&rules.PostgresTarget{URLFile: urlFile(t, "postgres://alice:canary@"+l.Addr().String()+"/orders?sslmode=disable"), Groups: groups()}, true, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(t.Context()); err == nil {
		t.Error("it logged in")
	}
	if got := <-heard; strings.Contains(got, "canary") {
		t.Error("it showed its password")
	}
}

// The vector of RFC 7677, section 3: the server's signature and the client's proof
// there follow from these two keys.
func TestVerifier(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	got, err := postgres.Verifier("pencil", salt, 4096)
	want := "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	if err != nil || got != want {
		t.Errorf("%q %v, want %q", got, err, want)
	}
}

func TestComment(t *testing.T) {
	l := lease(rules.CapabilityWrite, time.Hour)
	if at, ok := postgres.Deadline(l); !ok || !at.Equal(l.Deadline.Truncate(time.Second)) {
		t.Errorf("%s %t, want %s", at, ok, l.Deadline)
	}
	text := postgres.Creation(l, `a"; b'`)
	for _, want := range []string{`IN ROLE "a""; b'"`, `SET role = 'a"; b'''`, "NOINHERIT", "CONNECTION LIMIT 10", `SET statement_timeout = '3600000'`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
}
