package alert_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/alert"
	"github.com/sallyport/sallyport/rules"
)

const (
	secret = "T0000/B0000/s3cret" // in every address
	orders = rules.RepositoryID(123456)
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func message() alert.Message {
	return alert.Message{
		Code: "SP540", Title: "a job of production started although nothing released it", Text: "deploy.yml, run 77: nobody approved it.\nFind out who started it.",
		URL: "https://github.com/acme/orders/actions/runs/77", Repository: "acme/orders", RepositoryID: orders, Environment: "production",
		Who: []string{"alice", "bob"}, At: noon, Kind: alert.KindAlert,
	}
}

// receiver is a server on this machine that keeps what it is sent.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	heads  []http.Header
}

// receive starts a receiver. A nil answer is 200.
func receive(t testing.TB, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil || q.Method != http.MethodPost || q.URL.Path != "/"+secret {
			t.Errorf("%s %s: %v", q.Method, q.URL, err)
		}
		r.mu.Lock()
		r.bodies, r.heads = append(r.bodies, string(body)), append(r.heads, q.Header)
		r.mu.Unlock()
		if answer != nil {
			answer(w, q)
		}
	}))
	r.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.bodies)
}

func (r *receiver) port() string {
	_, port, _ := net.SplitHostPort(r.Listener.Addr().String())
	return port
}

func (r *receiver) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(r.Certificate())
	return pool
}

// urlFile writes a file with an address.
func urlFile(t testing.TB, text string) *rules.URLFile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "address")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &rules.URLFile{URLFile: path}
}

// targets has one target "ops" for a generic webhook.
func targets(t testing.TB, address string, edit ...func(*rules.AlertTarget)) *rules.Targets {
	t.Helper()
	a := &rules.AlertTarget{Webhook: urlFile(t, address), Repositories: []rules.RepositoryID{orders}}
	for _, e := range edit {
		e(a)
	}
	return &rules.Targets{Alerts: map[string]*rules.AlertTarget{"ops": a}}
}

func private(a *rules.AlertTarget) { a.Private = true }

func newSender(t testing.TB, targets *rules.Targets, cfg alert.Config) *alert.Sender {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return noon }
	}
	s, err := alert.New(targets, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// failed is why a message did not arrive. It fails the test if it did, or if the
// error says anything of the address.
func failed(t *testing.T, err error) *alert.Failed {
	t.Helper()
	var f *alert.Failed
	if !errors.As(err, &f) {
		t.Fatalf("%v, want a *Failed", err)
	}
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v %#v", err, err)} {
		for _, part := range append(strings.Split(secret, "/"), "example.com", "teapot") {
			if strings.Contains(text, part) {
				t.Errorf("the error says %q: %s", part, text)
			}
		}
	}
	return f
}

// names is a resolver that asks answer for the addresses of every name.
func names(t *testing.T, answer func(look int) []string) *net.Resolver {
	t.Helper()
	var mu sync.Mutex
	looks := 0
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe() // no net.PacketConn: the resolver talks as over TCP
		go func() {
			defer ours.Close()
			for {
				var size [2]byte
				if _, err := io.ReadFull(ours, size[:]); err != nil {
					return
				}
				question := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(ours, question); err != nil {
					return
				}
				end := 12 + bytes.IndexByte(question[12:], 0) + 5 // the name's end, type and class
				kind := binary.BigEndian.Uint16(question[end-4:])
				mu.Lock()
				if kind == 1 {
					looks++
				}
				look := max(looks, 1)
				mu.Unlock()
				out := append([]byte{question[0], question[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question[12:end]...)
				for _, a := range answer(look) {
					ip := netip.MustParseAddr(a)
					if ip.Is4() != (kind == 1) {
						continue
					}
					out[7]++
					out = append(out, 0xc0, 12, 0, byte(kind), 0, 1, 0, 0, 0, 0, 0, byte(ip.BitLen()/8))
					out = append(out, ip.AsSlice()...)
				}
				if _, err := ours.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)); err != nil {
					return
				}
			}
		}()
		return theirs, nil
	}}
}
