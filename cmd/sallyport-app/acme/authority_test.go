package acme_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// authority is Pebble, to which every name is this machine.
type authority struct {
	directory string         // its address
	file      string         // the certificate that its own address is served with
	roots     *x509.CertPool // of the certificates that it gives

	mu    sync.Mutex
	asked []request
	words bytes.Buffer // what it logs
}

// request is one that came, with what was signed in it.
type request struct {
	path    string
	payload map[string]any
}

// newAuthority starts one that looks for a challenge at a port, whatever the name, and
// whose certificates hold so long.
func newAuthority(t *testing.T, port int, holds time.Duration) *authority {
	t.Helper()
	a := &authority{roots: x509.NewCertPool()}
	words := log.New(a, "", 0)
	names := freeAddress(t)
	dns, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{names}, Log: words})
	if err != nil {
		t.Fatal(err)
	}
	dns.SetDefaultDNSIPv4("127.0.0.1")
	dns.SetDefaultDNSIPv6("")
	go dns.Run()
	t.Cleanup(dns.Shutdown)
	until(t, "the names are served", func() bool {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", names)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	store := db.NewMemoryStore()
	signer := ca.New(words, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: uint64(holds / time.Second)}})
	const nobody = 1 // a port at which nothing listens: HTTP-01 cannot succeed
	front := wfe.New(words, store, va.New(words, nobody, port, true, names, store), signer, []string{"authority.test"}, true, false, 1, 1)
	a.roots.AddCert(signer.GetRootCert(0).Cert)
	next := front.Handler()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		a.note(r.URL.Path, body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	a.directory = server.URL + wfe.DirectoryPath
	a.file = filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// note remembers a request.
func (a *authority) note(path string, body []byte) {
	q := request{path: path}
	var signed struct {
		Payload string `json:"payload"`
	}
	if json.Unmarshal(body, &signed) == nil {
		if text, err := base64.RawURLEncoding.DecodeString(signed.Payload); err == nil {
			_ = json.Unmarshal(text, &q.payload) // some are empty
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, q)
}

// Write keeps what it logs.
func (a *authority) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.words.Write(b)
}

// requests are those whose path begins so.
func (a *authority) requests(path string) []request {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []request
	for _, q := range a.asked {
		if strings.HasPrefix(q.path, path) {
			out = append(out, q)
		}
	}
	return out
}

// said is what it logged.
func (a *authority) said() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.words.String()
}
