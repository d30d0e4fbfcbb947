package store

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Address is the URL of a PostgreSQL database. It may hold a password, so it prints
// as a word in its place.
type Address string

// String hides the address.
func (Address) String() string { return "(database address)" }

// GoString hides the address.
func (Address) GoString() string { return "(database address)" }

// LogValue hides the address.
func (Address) LogValue() slog.Value { return slog.StringValue("(database address)") }

// ParseURL reads where a store is: sqlite:FILE, or a URL of PostgreSQL as libpq takes
// it (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS).
// Its errors do not hold the text, which may have a password in it.
//
// A database across a network without TLS is refused, unless the URL says in so many
// words that this is meant: sslmode=disable.
func ParseURL(text string) (Config, error) {
	if path, ok := strings.CutPrefix(text, "sqlite:"); ok {
		if path = strings.TrimPrefix(path, "//"); path == "" {
			return Config{}, errors.New("sqlite: without a file: want sqlite:FILE")
		}
		return Config{Path: path}, nil
	}
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return Config{}, errors.New("want sqlite:FILE or postgres://USER@HOST/DATABASE")
	}
	if _, err := parsePostgres(Address(text)); err != nil {
		return Config{}, err
	}
	return Config{URL: Address(text)}, nil
}

// connectTime is how long making a connection may take.
const connectTime = 5 * time.Second

// parsePostgres reads a URL of PostgreSQL and holds it to what is safe.
func parsePostgres(address Address) (*pgx.ConnConfig, error) {
	u, err := url.Parse(string(address))
	if err != nil {
		return nil, errors.New("it is no URL: percent-encode what is special in the user's name and password")
	}
	cfg, err := pgx.ParseConfig(string(address))
	if err != nil {
		// The error's text may hold parts of the password.
		return nil, errors.New("PostgreSQL cannot read it: check the port, sslmode, sslrootcert and the other parameters")
	}
	plain := u.Query().Get("sslmode") == "disable"
	for _, h := range hostsOf(cfg) {
		if h.tls || plain || onThisMachine(h.name) {
			continue
		}
		return nil, fmt.Errorf("the connection to %q could be without TLS: add sslmode=verify-full, and sslrootcert=FILE where its certificate is of an authority of your own; sslmode=disable where the network itself is trusted", h.name)
	}
	if cfg.ConnectTimeout == 0 || cfg.ConnectTimeout > connectTime {
		cfg.ConnectTimeout = connectTime
	}
	// A peer that is gone is noticed although nobody waits for it.
	cfg.DialFunc = (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}}).DialContext
	return cfg, nil
}

// host is one server that a URL may lead to.
type host struct {
	name string
	// tls says that it is spoken to by TLS or not at all, verified that its
	// certificate is looked at too.
	tls, verified bool
}

func hostsOf(cfg *pgx.ConnConfig) []host {
	all := []host{{name: cfg.Host, tls: cfg.TLSConfig != nil}}
	if cfg.TLSConfig != nil {
		all[0].verified = !cfg.TLSConfig.InsecureSkipVerify || cfg.TLSConfig.VerifyPeerCertificate != nil
	}
	for _, f := range cfg.Fallbacks {
		h := host{name: f.Host, tls: f.TLSConfig != nil}
		if h.tls {
			h.verified = !f.TLSConfig.InsecureSkipVerify || f.TLSConfig.VerifyPeerCertificate != nil
		}
		all = append(all, h)
	}
	return all
}

// onThisMachine reports whether a host is a socket in a folder, or loopback.
func onThisMachine(name string) bool {
	if strings.HasPrefix(name, "/") || strings.HasPrefix(name, "@") || name == "localhost" {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}
