package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/sallyport/sallyport/cmd/sallyport-app/server"
	"github.com/sallyport/sallyport/gate/github/githubtest"
)

func TestCertificateSettings(t *testing.T) {
	for words, env := range map[string]map[string]string{
		"SALLYPORT_ACME_DIR: a certificate is for an https address":    {"URL": "http://127.0.0.1:1", "ACME_DIR": "x"},
		"SALLYPORT_ACME_DIR: a certificate is for a name":              {"URL": "https://10.0.0.1", "ACME_DIR": "x"},
		"SALLYPORT_ACME_EMAIL: is of no use":                           {"URL": "https://s.test", "ACME_EMAIL": "a@b.test"},
		"SALLYPORT_ACME_DIRECTORY: is of no use":                       {"URL": "https://s.test", "ACME_DIRECTORY": "https://ca.test/dir"},
		"SALLYPORT_ACME_DIRECTORY: \"http://ca.test/dir\" is no https": {"URL": "https://s.test", "ACME_DIR": "x", "ACME_DIRECTORY": "http://ca.test/dir"},
	} {
		_, err := server.Read(func(name string) string { return env[name] }, false)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v: want %q, got %v", env, words, err)
		}
	}
}

// It presents no certificate for another name, asks no authority for one, and answers
// an authority's challenge on its own port.
func TestCertificatesAreForItsOwnNameAlone(t *testing.T) {
	g := githubtest.Start(t)
	app := g.App(githubtest.AppConfig{Slug: "sallyport", Secret: "s"})
	dir := t.TempDir()
	key := filepath.Join(dir, "app.pem")
	if err := os.WriteFile(key, app.KeyPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{}, 64)
	ca, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	go func() {
		for {
			c, err := ca.Accept()
			if err != nil {
				return
			}
			asked <- struct{}{}
			defer c.Close() // it never answers: what waits for it has to end by itself
		}
	}()
	certs := filepath.Join(dir, "certs")
	env := map[string]string{
		"URL": "https://sallyport.test", "LISTEN": "127.0.0.1:0", "DATABASE_URL": "sqlite:" + filepath.Join(dir, "s.db"), "APP_ID": "1", "PRIVATE_KEY_FILE": key,
		"WEBHOOK_SECRET": "s", "GITHUB_API_URL": g.URL(), "ACME_DIR": certs, "ACME_DIRECTORY": "https://" + ca.Addr().String() + "/dir",
	}
	s, err := server.Read(func(name string) string { return env[name] }, true)
	if err != nil {
		t.Fatal(err)
	}
	s.Log = slog.New(slog.DiscardHandler)
	// A folder that others can read is not taken.
	if err := os.Mkdir(certs, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(certs, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := server.New(t.Context(), s); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a folder for all to read: %v", err)
	}
	if err := os.Chmod(certs, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	x, err := server.New(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	g.Allow("")
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	<-asked // for its own name, when it starts
	for len(asked) > 0 {
		<-asked
	}
	shake := func(name string, protocols ...string) error {
		d := &tls.Dialer{Config: &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true}}
		c, err := d.DialContext(t.Context(), "tcp", x.Address())
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	for _, name := range []string{"evil.test", "sub.sallyport.test", ""} {
		if err := shake(name); err == nil {
			t.Errorf("there is a certificate for %q", name)
		}
	}
	if len(asked) > 0 {
		t.Error("the authority was asked for another name")
	}
	// A challenge that nobody set is refused, and by the challenge's rule: no protocol
	// mismatch, which is what a listener without it would say.
	err = shake("sallyport.test", acme.ALPNProto)
	var alert tls.AlertError
	if errors.As(err, &alert) && slices.Contains([]tls.AlertError{120}, alert) {
		t.Errorf("the challenge's protocol is not spoken: %v", err)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Error("it does not end while it asks for a certificate")
	}
}
