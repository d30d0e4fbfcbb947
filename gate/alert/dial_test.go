package alert_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/gate/alert"
)

// stop ends each connection that the sender's own check let pass, and keeps where it
// would have gone: the tests call nobody outside.
type stop struct {
	mu   sync.Mutex
	seen []string
}

func (s *stop) control(_, address string, _ syscall.RawConn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	where, err := netip.ParseAddrPort(address)
	s.seen = append(s.seen, where.Addr().String())
	return errors.Join(err, errors.New("stopped by the test"))
}

// refused are addresses that are not the public Internet, by whether private: true
// opens them.
func refused() map[string]bool {
	return map[string]bool{
		"127.0.0.1": true, "127.255.255.254": true, "10.0.0.1": true, "10.255.255.255": true, "172.16.0.1": true, "172.31.255.255": true,
		"192.168.1.1": true, "100.64.0.1": true, "100.100.100.200": true, "100.127.255.255": true, "::1": true, "fc00::1": true, "fd12:3456::1": true,
		// A private address in the clothes of another.
		"::ffff:10.0.0.1": true, "::ffff:127.0.0.1": true, "64:ff9b::10.0.0.1": true, "64:ff9b::7f00:1": true, "2002:a00:1::1": true, "2002:7f00:1::": true,
		// Nothing that an alert has to do with.
		"169.254.169.254": false, "169.254.170.2": false, "::ffff:169.254.169.254": false, "64:ff9b::169.254.169.254": false, "2002:a9fe:a9fe::": false,
		"168.63.129.16": false, "fd00:ec2::254": false, "fe80::1": false, "fec0::1": false, "ff02::1": false, "224.0.0.1": false, "239.255.255.255": false,
		"0.0.0.0": false, "0.1.2.3": false, "::": false, "255.255.255.255": false, "240.0.0.1": false, "192.0.0.192": false, "192.0.2.1": false,
		"198.18.0.1": false, "198.51.100.7": false, "203.0.113.9": false, "2001:db8::1": false, "2001::1": false, "3fff::1": false,
		"::10.0.0.1": false, "::127.0.0.1": false, "64:ff9b:1::10.0.0.1": false, "100::1": false, "5f00::1": false, "4000::1": false, "8000::1": false,
	}
}

// public are addresses that are.
func public() []string {
	return []string{
		"9.9.9.9", "11.0.0.1", "172.15.255.255", "172.32.0.1", "192.167.255.255", "192.169.0.1", "100.63.255.255", "100.128.0.1", "169.253.1.1", "128.0.0.1",
		"168.63.129.17", "223.255.255.255", "2606:4700::1111", "2a00::1", "2001:4860:4860::8888", "64:ff9b::9.9.9.9", "2002:909:909::1",
	}
}

// By a name that resolves to it: the check is at the dial, where nothing can change
// any more.
func TestDialRefuses(t *testing.T) {
	try := func(address string, private bool) ([]string, error) {
		var seen stop
		all := targets(t, "https://alerts.example.com/"+secret)
		all.Alerts["ops"].Private = private
		s := newSender(t, all, alert.Config{Resolver: names(t, func(int) []string { return []string{address} }), Control: seen.control})
		return seen.seen, failed(t, s.Send(t.Context(), "ops", message()))
	}
	for address, opens := range refused() {
		if address == "::ffff:10.0.0.1" || address == "::ffff:127.0.0.1" || address == "::ffff:169.254.169.254" {
			continue // the resolver hands out IPv4 for it: see TestLiterals
		}
		seen, err := try(address, false)
		if len(seen) > 0 || !strings.Contains(err.Error(), "its host is at ") {
			t.Errorf("%s: %v, and connections to %q", address, err, seen)
		}
		if opens != strings.Contains(err.Error(), "private: true") {
			t.Errorf("%s: %v", address, err)
		}
		if seen, err := try(address, true); opens != (len(seen) == 1) {
			t.Errorf("%s with private: true: %v, and connections to %q", address, err, seen)
		}
	}
	for _, address := range []string{"[::ffff:10.0.0.1]:443", "[::ffff:127.0.0.1]:443", "[::ffff:169.254.169.254]:443"} {
		if err := alert.Check(false, false, address); err == nil {
			t.Errorf("%s: no error", address)
		}
	}
	for _, address := range public() {
		for _, private := range []bool{false, true} {
			if seen, err := try(address, private); len(seen) != 1 || seen[0] != netip.MustParseAddr(address).String() {
				t.Errorf("%s: %v, and connections to %q", address, err, seen)
			}
		}
	}
}

// As the address itself it is found when the sender is made, in whatever spelling.
func TestLiterals(t *testing.T) {
	literal := func(address string) string {
		if netip.MustParseAddr(address).Is4() {
			return "https://" + address + "/" + secret
		}
		return "https://[" + address + "]/" + secret
	}
	for address, opens := range refused() {
		if _, err := alert.New(targets(t, literal(address)), alert.Config{}); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", address, err)
		}
		if _, err := alert.New(targets(t, literal(address), private), alert.Config{}); (err == nil) != opens {
			t.Errorf("%s with private: true: %v", address, err)
		}
	}
	for _, address := range public() {
		if _, err := alert.New(targets(t, literal(address)), alert.Config{}); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	// What is no address for Go can be one for the system's resolver. Whatever it is
	// resolved to is refused then.
	for _, host := range []string{"2130706433", "0x7f000001", "127.1", "0177.0.0.1", "localhost", "[fe80::1%25eth0]", "[::1%25lo]"} {
		var seen stop
		s, err := alert.New(targets(t, "https://"+host+"/"+secret), alert.Config{Control: seen.control})
		if err == nil {
			err = failed(t, s.Send(t.Context(), "ops", message()))
		}
		if err == nil || len(seen.seen) > 0 {
			t.Errorf("%s: %v, and connections to %q", host, err, seen.seen)
		}
	}
}

// A name that leads outside at one moment and inside at the next leads nowhere.
func TestRebinding(t *testing.T) {
	r := receive(t, nil)
	for name, answer := range map[string]func(int) []string{
		"inside at the second look": func(look int) []string {
			if look == 1 {
				return []string{"9.9.9.9"}
			}
			return []string{"127.0.0.1"}
		},
		"both at once":         func(int) []string { return []string{"9.9.9.9", "127.0.0.1"} },
		"both, the other way":  func(int) []string { return []string{"127.0.0.1", "9.9.9.9"} },
		"outside by IPv6 only": func(int) []string { return []string{"2606:4700::1111", "127.0.0.1", "::1"} },
	} {
		var seen stop
		s := newSender(t, targets(t, "https://example.com:"+r.port()+"/"+secret), alert.Config{Roots: r.roots(), Resolver: names(t, answer), Control: seen.control})
		for range 3 {
			if f := failed(t, s.Send(t.Context(), "ops", message())); f.Permanent {
				t.Errorf("%s: a name can lead elsewhere later: %v", name, f)
			}
		}
		if len(seen.seen) == 0 {
			t.Errorf("%s: nothing passed, and the test shows nothing", name)
		}
		for _, address := range seen.seen {
			if address != "9.9.9.9" && address != "2606:4700::1111" {
				t.Errorf("%s: a connection to %s", name, address)
			}
		}
	}
	if n := r.count(); n != 0 {
		t.Errorf("%d messages got inside", n)
	}
	// And the same name does lead there for whom it may.
	s := newSender(t, targets(t, "https://example.com:"+r.port()+"/"+secret, private),
		alert.Config{Roots: r.roots(), Resolver: names(t, func(int) []string { return []string{"127.0.0.1"} })})
	if err := s.Send(t.Context(), "ops", message()); err != nil || r.count() != 1 {
		t.Errorf("with private: true: %v, %d messages", err, r.count())
	}
}

// http is for this machine, also where a name says so and a resolver does not. Go's
// own resolver cannot be made to answer that for localhost; the system's can.
func TestPlainHTTP(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:80": true, "[::1]:80": true, "[::ffff:127.0.0.1]:80": true, "10.0.0.1:80": false, "9.9.9.9:80": false, "[2606:4700::1111]:80": false,
		"[fc00::1]:80": false, "[64:ff9b::9.9.9.9]:80": false, "": false, "localhost:80": false, "127.0.0.1": false,
	} {
		if err := alert.Check(true, true, address); (err == nil) != want {
			t.Errorf("%q: %v, want %t", address, err, want)
		}
	}
	for _, address := range []string{"", "localhost:80", "9.9.9.9", "[fe80::1%eth0]:80", "[2606:4700::1111%eth0]:80"} {
		if err := alert.Check(true, false, address); err == nil {
			t.Errorf("%q: no error", address)
		}
	}
}

// TestMain gives all tests an environment with a proxy that is not there: net/http
// reads it once.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		if err := os.Setenv(name, "http://127.0.0.1:1"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

// A proxy would look the name up for itself.
func TestNoProxy(t *testing.T) {
	r := receive(t, nil)
	s := newSender(t, targets(t, "https://example.com:"+r.port()+"/"+secret, private),
		alert.Config{Roots: r.roots(), Resolver: names(t, func(int) []string { return []string{"127.0.0.1"} })})
	if err := s.Send(t.Context(), "ops", message()); err != nil || r.count() != 1 {
		t.Errorf("%v, %d messages", err, r.count())
	}
}

// Whatever goes wrong, nothing of the address is said.
func TestSecretStaysSecret(t *testing.T) {
	r := receive(t, nil)
	for name, c := range map[string]struct {
		address string
		cfg     alert.Config
		want    string
	}{
		"nobody there":      {"https://127.0.0.1:1/" + secret, alert.Config{}, "its host could not be reached"},
		"no such name":      {"https://alerts.example.com/" + secret, alert.Config{Resolver: names(t, func(int) []string { return nil })}, "could not be resolved"},
		"a foreign signer":  {r.URL + "/" + secret, alert.Config{}, "its certificate does not hold"},
		"another's name":    {"https://s3cret.invalid:" + r.port() + "/" + secret, alert.Config{Roots: r.roots(), Resolver: names(t, func(int) []string { return []string{"127.0.0.1"} })}, "its certificate does not hold"},
		"not the same talk": {"http://127.0.0.1:" + r.port() + "/" + secret, alert.Config{}, ""},
		"with a password":   {"https://alice:s3cret@127.0.0.1:1/" + secret, alert.Config{}, "its host could not be reached"},
	} {
		var log bytes.Buffer
		c.cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s := newSender(t, targets(t, c.address, private), c.cfg)
		f := failed(t, s.Send(t.Context(), "ops", message()))
		if !strings.Contains(f.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, f, c.want)
		}
		if got := log.String(); !strings.Contains(got, "target=ops") || strings.Contains(got, "s3cret") || strings.Contains(got, "T0000") {
			t.Errorf("%s: log %s", name, got)
		}
	}
	if n := r.count(); n != 0 {
		t.Errorf("%d messages arrived", n)
	}
}
