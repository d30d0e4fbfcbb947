package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// certificates says how the server gets its own certificate.
type certificates struct {
	// Dir is where the account's key and the certificates are kept; "" is no TLS of
	// our own: a reverse proxy has it.
	Dir string
	// Email is told by the authority of what is wrong; may be empty.
	Email string
	// Directory is the authority's ACME directory; "" is Let's Encrypt's.
	Directory string
}

// check says what is wrong with the settings, by the setting's name.
func (c certificates) check(publicURL string) (name, why string) {
	if c.Dir == "" {
		switch {
		case c.Email != "":
			return "ACME_EMAIL", "is of no use without SALLYPORT_ACME_DIR"
		case c.Directory != "":
			return "ACME_DIRECTORY", "is of no use without SALLYPORT_ACME_DIR"
		}
		return "", ""
	}
	u, err := url.Parse(publicURL)
	switch {
	case err != nil || u.Scheme != "https" || u.Hostname() == "":
		return "ACME_DIR", "a certificate is for an https address: SALLYPORT_URL is none"
	case net.ParseIP(u.Hostname()) != nil || u.Hostname() == "localhost":
		return "ACME_DIR", fmt.Sprintf("a certificate is for a name: %q in SALLYPORT_URL is none", u.Hostname())
	}
	if c.Directory != "" {
		if d, err := url.Parse(c.Directory); err != nil || d.Scheme != "https" || d.Host == "" {
			return "ACME_DIRECTORY", fmt.Sprintf("%q is no https address of an ACME directory", c.Directory)
		}
	}
	return "", ""
}

// manager gets the certificate of exactly the host of SALLYPORT_URL, when it is asked
// for, and renews it in time. The authority looks at the port that the server listens
// on (TLS-ALPN-01, RFC 8737), which must be 443 from outside; no other port is opened.
// Its requests end with life. Nil is no TLS.
func (c certificates) manager(life context.Context, publicURL string) (*autocert.Manager, error) {
	if c.Dir == "" {
		return nil, nil
	}
	if err := privateDir(c.Dir); err != nil {
		return nil, fmt.Errorf("SALLYPORT_ACME_DIR: %w", err)
	}
	u, err := url.Parse(publicURL)
	if err != nil {
		return nil, err
	}
	return &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(c.Dir), Email: c.Email, HostPolicy: autocert.HostWhitelist(u.Hostname()),
		Client: &acme.Client{
			DirectoryURL: cmp.Or(c.Directory, autocert.DefaultACMEDirectory), UserAgent: "sallyport",
			HTTPClient: &http.Client{Timeout: 30 * time.Second, Transport: living{life, http.DefaultTransport}},
		},
	}, nil
}

// living ends requests with a context, whatever their own is.
type living struct {
	life context.Context
	next http.RoundTripper
}

// RoundTrip sends one request.
func (l living) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := l.life.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	stop := context.AfterFunc(l.life, func() { cancel(l.life.Err()) })
	answer, err := l.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		stop()
		cancel(nil)
		return nil, err
	}
	answer.Body = &ending{answer.Body, func() { stop(); cancel(nil) }}
	return answer, nil
}

// ending is a body that ends its request when it is closed.
type ending struct {
	io.ReadCloser

	end func()
}

// Close closes the body.
func (e *ending) Close() error {
	defer e.end()
	return e.ReadCloser.Close()
}

// firstCertificate gets the certificate before anybody needs it: a handshake does not
// wait as long as an authority takes.
func (x *Server) firstCertificate() {
	u, err := url.Parse(x.settings.URL)
	if err != nil {
		return // the settings were checked
	}
	_, err = x.acme.GetCertificate(&tls.ClientHelloInfo{ServerName: u.Hostname(), CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}})
	if err != nil {
		x.log.Error("there is no certificate; the authority must reach this server's port as "+u.Hostname()+":443, and the next connection tries again", slog.Any("cause", err))
		return
	}
	x.log.Info("the certificate is there", slog.String("host", u.Hostname()))
}

// privateDir makes a folder that nobody else reads, or checks that it is one.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return errors.New(dir + " is no folder")
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s can be read by others: chmod 700 %s", dir, dir)
	}
	return nil
}

// listen opens the listener, with TLS where the server has its own certificate.
func (x *Server) listen(ctx context.Context) error {
	var err error
	if x.acme, err = x.settings.Certificates.manager(ctx, x.settings.URL); err != nil {
		return err
	}
	if x.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", x.settings.Listen); err != nil {
		return fmt.Errorf("SALLYPORT_LISTEN: %w", err)
	}
	if x.acme == nil {
		return nil
	}
	cfg := x.acme.TLSConfig()
	cfg.MinVersion = tls.VersionTLS12
	x.listener = tls.NewListener(x.listener, cfg)
	return nil
}
