package acme_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

const host = "sallyport.test"

// program is sallyport-app, built once.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "sallyport-acme-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "sallyport-app")
		build := exec.CommandContext(context.Background(), "go", "build", "-o", program, "./cmd/sallyport-app")
		build.Dir = filepath.Join("..", "..", "..") // as people build it: by its own module
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building sallyport-app: %v\n%s", err, out)
			return 1
		}
		// Pebble waits up to 5 s before it looks at a challenge.
		if err := os.Setenv("PEBBLE_VA_NOSLEEP", "1"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// place is where a server lies: its settings and what it keeps.
type place struct {
	address, certificates string
	environment           []string
}

func newPlace(t *testing.T, a *authority, address string) *place {
	t.Helper()
	g := githubtest.Start(t)
	app := g.App(githubtest.AppConfig{Slug: "sallyport", Secret: "s"})
	dir := t.TempDir()
	p := &place{address: address, certificates: filepath.Join(dir, "certificates")}
	for name, value := range map[string]string{
		"URL": "https://" + host, "LISTEN": address, "DATABASE_URL": "sqlite:" + filepath.Join(dir, "s.db"), "APP_ID": fmt.Sprint(app.ID),
		"PRIVATE_KEY": string(app.KeyPEM()), "WEBHOOK_SECRET": "s", "GITHUB_API_URL": g.URL(), "OIDC_ISSUER": g.OIDCIssuer(),
		"ACME_DIR": p.certificates, "ACME_DIRECTORY": a.directory, "ACME_EMAIL": "carol@" + host,
	} {
		p.environment = append(p.environment, "SALLYPORT_"+name+"="+value)
	}
	p.environment = append(p.environment, "SSL_CERT_FILE="+a.file)
	return p
}

// server is a process that serves.
type server struct {
	mu    sync.Mutex
	words bytes.Buffer
	cmd   *exec.Cmd
	ended chan error
}

// Write keeps what it logs.
func (s *server) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.words.Write(b)
}

func (s *server) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.words.String()
}

// serve starts one; it ends with the test.
func (p *place) serve(t *testing.T) *server {
	t.Helper()
	s := &server{cmd: exec.CommandContext(t.Context(), program, "serve"), ended: make(chan error, 1)}
	s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = p.environment, s, s
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.WaitDelay = 10 * time.Second
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { s.ended <- s.cmd.Wait(); close(done) }()
	t.Cleanup(func() {
		<-done
		if t.Failed() {
			t.Logf("the server said:\n%s", s.said())
		}
	})
	return s
}

// stop stops it as an operator does.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-s.ended; err != nil {
		t.Fatalf("it ends with %v", err)
	}
}

// shake connects as a browser does that trusts the authority, and gives the certificate
// that was shown for a name.
func (p *place) shake(t *testing.T, a *authority, name string) (*x509.Certificate, error) {
	t.Helper()
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{ServerName: name, RootCAs: a.roots, MinVersion: tls.VersionTLS12}}
	c, err := d.DialContext(t.Context(), "tcp", p.address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	conn, ok := c.(*tls.Conn)
	if !ok {
		return nil, fmt.Errorf("a connection that is no TLS: %T", c)
	}
	return conn.ConnectionState().PeerCertificates[0], nil
}

// certificate waits until the host's is shown.
func (p *place) certificate(t *testing.T, a *authority) *x509.Certificate {
	t.Helper()
	var shown *x509.Certificate
	until(t, "it shows its certificate", func() bool {
		var err error
		shown, err = p.shake(t, a, host)
		return err == nil
	})
	return shown
}

func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// freeAddress is a port of this machine that is free.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func port(t *testing.T, address string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

const newAccount, newOrder, finalize, challenge = "/sign-me-up", "/order-plz", "/finalize-order/", "/chalZ/"

// One account that accepts the terms, one order, one certificate: before anybody asks
// for it, for its own name alone, and kept over a restart.
func TestCertificate(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	a := newAuthority(t, port(t, address), 90*24*time.Hour)
	p := newPlace(t, a, address)
	s := p.serve(t)
	until(t, "the certificate is there", func() bool { return strings.Contains(s.said(), "the certificate is there") })
	shown := p.certificate(t, a)
	if err := shown.VerifyHostname(host); err != nil || len(shown.DNSNames) != 1 {
		t.Errorf("the certificate is for %v: %v", shown.DNSNames, err)
	}

	// Pages are served with it.
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: a.roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}}
	defer client.CloseIdleConnections()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/healthz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("GET /healthz: %s, %v", answer.Status, err)
	}

	agreed := a.requests(newAccount)
	if last := len(agreed) - 1; last < 0 || agreed[last].payload["termsOfServiceAgreed"] != true || fmt.Sprint(agreed[last].payload["contact"]) != "[mailto:carol@"+host+"]" {
		t.Errorf("the account was asked for with %v", agreed)
	}
	// By TLS-ALPN-01 on the server's own port: nothing else can succeed here.
	if len(a.requests(challenge)) == 0 || strings.Contains(a.said(), "w/ HTTP") {
		t.Errorf("want a challenge, and none over HTTP:\n%s", a.said())
	}

	// Other names get nothing, and nobody is asked for them.
	orders := len(a.requests(newOrder))
	for _, name := range []string{"evil.test", "sub." + host, "www." + host, "127.0.0.1"} {
		if c, err := p.shake(t, a, name); err == nil {
			t.Errorf("for %q it shows a certificate for %v", name, c.DNSNames)
		}
	}
	all := a.requests(newOrder)
	if len(all) != orders {
		t.Errorf("%d orders were made for other names", len(all)-orders)
	}
	for _, q := range all {
		if got := fmt.Sprint(q.payload["identifiers"]); got != "[map[type:dns value:"+host+"]]" {
			t.Errorf("an order was made for %s", got)
		}
	}
	// What the authority gave is for nobody else to read.
	kept, err := os.ReadDir(p.certificates)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range kept {
		if info, err := f.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others: %v, %v", f.Name(), info.Mode(), err)
		}
	}

	s.stop(t)
	before := len(a.requests(""))
	p.serve(t)
	again := p.certificate(t, a)
	if again.SerialNumber.Cmp(shown.SerialNumber) != 0 {
		t.Error("after a restart it shows another certificate")
	}
	if all := a.requests("")[before:]; len(all) > 0 {
		t.Errorf("after a restart the authority was asked again: %v", all)
	}
	t.Logf("%d requests to the authority in all, %d of them for an order, %d to finish it", before, len(a.requests(newOrder)), len(a.requests(finalize)))
}

// A certificate is replaced before it ends, while the server runs, and the account is
// the same.
func TestRenewal(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	a := newAuthority(t, port(t, address), 24*time.Second) // renewed when a third is left
	p := newPlace(t, a, address)
	p.serve(t)
	first := p.certificate(t, a)
	accounts := len(a.requests(newAccount))
	until(t, "another certificate is shown", func() bool {
		shown, err := p.shake(t, a, host)
		if err != nil {
			t.Fatalf("meanwhile there is no certificate: %v", err)
		}
		return shown.SerialNumber.Cmp(first.SerialNumber) != 0
	})
	if !time.Now().Before(first.NotAfter) {
		t.Error("it was renewed after it had ended")
	}
	if n := len(a.requests(newAccount)) - accounts; n > 0 {
		t.Errorf("%d more accounts were asked for", n)
	}
}

// An authority that does not reach the server's port gives nothing, and the server says
// what would be right.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, port(t, freeAddress(t)), time.Hour)
	p := newPlace(t, a, freeAddress(t))
	s := p.serve(t)
	until(t, "it says that there is no certificate", func() bool {
		return strings.Contains(s.said(), "there is no certificate; the authority must reach this server's port as "+host+":443")
	})
	if _, err := p.shake(t, a, host); err == nil {
		t.Error("it shows a certificate that nobody gave")
	}
	if len(a.requests(challenge)) == 0 || len(a.requests(finalize)) > 0 {
		t.Errorf("want challenges and nothing finished:\n%s", a.said())
	}
	s.stop(t)
}
