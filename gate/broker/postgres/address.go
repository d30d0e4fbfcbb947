package postgres

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	maxAddress = 4 << 10 // bytes of a url_file
	maxRoots   = 1 << 20 // bytes of a file of certificates
)

// address is where the database is and who the broker is there. It has a password: it
// prints as a placeholder.
type address struct {
	host           string // a name, an IP address, or the folder of a Unix socket
	port           uint16
	database       string
	user, password string
	plain          bool   // sslmode=disable
	roots          string // a file with the authorities of the server's certificate; empty is the system's
}

// String hides the address.
func (address) String() string { return "(address)" }

// GoString hides the address.
func (address) GoString() string { return "(address)" }

// LogValue hides the address.
func (address) LogValue() slog.Value { return slog.StringValue("(address)") }

// unix reports whether the database is reached by a socket of this machine.
func (a address) unix() bool { return strings.HasPrefix(a.host, "/") }

// readAddress reads a url_file. The error has nothing of what is in it.
func readAddress(path string) (address, error) {
	text, err := readFile(path, maxAddress)
	if err != nil {
		return address{}, fmt.Errorf("its url_file: %w", err)
	}
	a, err := parseAddress(strings.TrimSpace(string(text)))
	if err != nil {
		return address{}, fmt.Errorf("its url_file %q %w", path, err)
	}
	return a, nil
}

// readFile reads a regular file to its limit.
func readFile(path string, limit int64) ([]byte, error) {
	// Before it is opened: opening a pipe waits for whoever writes to it.
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%q has more than %d bytes", path, limit)
	}
	return text, nil
}

// parseAddress reads a connection URL in the form of libpq
// (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING), of
// which it takes sslmode (verify-full, the default, or disable), sslrootcert, and a
// host that is the folder of a Unix socket. The error has nothing of it.
func parseAddress(text string) (address, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Opaque != "" || u.Fragment != "" || u.User == nil {
		return address{}, errors.New("does not hold one address, such as postgres://administrator:password@host:5432/database")
	}
	a := address{host: u.Hostname(), port: 5432, database: strings.TrimPrefix(u.Path, "/"), user: u.User.Username()}
	a.password, _ = u.User.Password()
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return address{}, errors.New("holds an address whose part after the question mark cannot be read")
	}
	port := u.Port()
	for key, values := range query {
		if len(values) != 1 {
			return address{}, fmt.Errorf("says %.40q twice", key)
		}
		switch value := values[0]; {
		case key == "sslmode" && (value == "verify-full" || value == "disable"):
			a.plain = value == "disable"
		case key == "sslmode":
			return address{}, errors.New("holds an sslmode that does not say who is at the other end: want verify-full, and sslrootcert where the authority is not a public one")
		case key == "sslrootcert" && value != "":
			a.roots = value
		case key == "host" && a.host == "" && strings.HasPrefix(value, "/"):
			a.host = value
		case key == "port" && port == "":
			port = value
		default:
			return address{}, fmt.Errorf("says %.40q there: want only sslmode, sslrootcert, or the host and port of a Unix socket", key)
		}
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return address{}, errors.New("holds no port number where one is expected")
		}
		a.port = uint16(n)
	}
	if a.host == "" || a.database == "" || a.user == "" || strings.ContainsAny(a.host, ", \t\r\n") {
		return address{}, errors.New("lacks one of host, user and database")
	}
	if slices.ContainsFunc([]string{a.host, a.database, a.user, a.password}, func(s string) bool { return strings.Contains(s, "\x00") }) {
		return address{}, errors.New("holds a zero byte")
	}
	return a, nil
}

// check refuses an address that can be judged before its name is resolved.
func (a address) check(private bool) error {
	if a.unix() {
		if !private {
			return errors.New("the database is on this machine: if that is meant, say private: true in the targets file")
		}
		return nil
	}
	if ip, err := netip.ParseAddr(a.host); err == nil {
		return a.reach(private).check(netip.AddrPortFrom(ip, a.port).String())
	}
	return nil
}

func (a address) reach(private bool) reach { return reach{private: private, inside: a.plain} }

// tls is nil where the connection is not encrypted.
func (a address) tls() (*tls.Config, error) {
	if a.plain || a.unix() {
		return nil, nil
	}
	c := &tls.Config{ServerName: a.host, MinVersion: tls.VersionTLS12}
	if a.roots == "" {
		return c, nil
	}
	pem, err := readFile(a.roots, maxRoots)
	if err != nil {
		return nil, fmt.Errorf("its sslrootcert: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("its sslrootcert %q has no certificate", a.roots)
	}
	return c, nil
}

// values are what a job gets: the same place, by a role of its own.
func (a address) values(user, password string) map[string]string {
	port := strconv.Itoa(int(a.port))
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Path: "/" + a.database}
	switch {
	case a.unix():
		u.RawQuery = url.Values{"host": {a.host}, "port": {port}}.Encode()
	case a.plain:
		u.Host, u.RawQuery = net.JoinHostPort(a.host, port), "sslmode=disable"
	default:
		u.Host, u.RawQuery = net.JoinHostPort(a.host, port), "sslmode=verify-full"
	}
	return map[string]string{"url": u.String(), "host": a.host, "port": port, "database": a.database, "username": user, "password": password}
}
