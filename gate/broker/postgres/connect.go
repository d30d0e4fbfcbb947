package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	connectTime = 10 * time.Second
	// maxMessage is the most bytes of one message of the server; its longest are the
	// statements of an error's context.
	maxMessage = 64 << 10
	// oldest is the first version in which a role cannot make others members of itself:
	// before it, a lease could lend itself to a login that outlives it.
	oldest = 15

	applicationName = "sallyport"
)

// Codes of PostgreSQL that a caller branches on
// (https://www.postgresql.org/docs/current/errcodes-appendix.html).
const (
	codeUndefined = "42704" // no such role
	codeDuplicate = "42710" // such a role is there
	codeUnique    = "23505" // such a role was made at the same moment
	codeDepends   = "2BP01" // something belongs to the role
	codeLocked    = "55P03" // lock_timeout
	codeDeadlock  = "40P01"
	// codeConcurrent is what a change of a role's row gives that another change came
	// before. The server has no code of its own for it.
	codeConcurrent = "XX000"
)

// isCode reports whether an error is the server's with one of these codes.
func isCode(err error, codes ...string) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code == c {
			return true
		}
	}
	return false
}

// session are the settings of the broker's own sessions. The search path leaves out
// whatever people made: a function of theirs never runs with the broker's rights.
func session() map[string]string {
	return map[string]string{
		"application_name": applicationName, "client_encoding": "UTF8", "standard_conforming_strings": "on",
		"search_path": "pg_catalog, pg_temp", "client_min_messages": "error", "default_transaction_read_only": "off",
		"default_transaction_isolation": "read committed",
		"statement_timeout":             "10s", "lock_timeout": "1s", "idle_in_transaction_session_timeout": "10s",
		"idle_session_timeout": idleEnd,
		"jit":                  "off", // compiling takes longer than any statement here
	}
}

// connect makes a connection, to another database of the same server if one is named,
// with settings over those of [session]. Whoever calls it closes it.
func (p *Provider) connect(ctx context.Context, database string, settings map[string]string) (*pgx.Conn, address, error) {
	a, err := p.address()
	if err != nil {
		return nil, address{}, err
	}
	encrypted, err := a.tls()
	if err != nil {
		return nil, address{}, err
	}
	// ParseConfig is the only way to a configuration. It reads PG… variables of the
	// environment; all that they can set is set again.
	cfg, err := pgx.ParseConfig("sslmode=disable passfile=/dev/null sslrootcert='' sslcert='' sslkey='' sslcertmode=disable target_session_attrs=any" +
		" channel_binding=prefer require_auth='' min_protocol_version=3.0 max_protocol_version=3.0 host=invalid port=5432 connect_timeout=10")
	if err != nil {
		return nil, address{}, errors.New("a variable of the environment that begins with PG cannot be used: unset it")
	}
	cfg.Host, cfg.Port, cfg.Database, cfg.User, cfg.Password = a.host, a.port, a.database, a.user, a.password
	if database != "" {
		cfg.Database = database
	}
	cfg.TLSConfig, cfg.Fallbacks, cfg.ConnectTimeout, cfg.SSLNegotiation = encrypted, nil, connectTime, ""
	cfg.KerberosSrvName, cfg.KerberosSpn = "", ""
	cfg.MaxProtocolMessageBodyLen = maxMessage
	if encrypted == nil && !a.unix() {
		// Whoever is on the way would otherwise ask for the password in plain text.
		cfg.RequireAuth = "scram-sha-256"
	}
	cfg.RuntimeParams = session()
	maps.Copy(cfg.RuntimeParams, settings)
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	resolver := p.cfg.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	cfg.LookupFunc = resolver.LookupHost
	cfg.DialFunc = (&net.Dialer{Timeout: connectTime, Resolver: resolver, Control: p.control(a)}).DialContext
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, address{}, fmt.Errorf("connecting to the database: %w", err)
	}
	if v := version(c); v < oldest {
		shut(c)
		return nil, address{}, fmt.Errorf("the server is PostgreSQL %d: want %d or later", v, oldest)
	}
	return c, a, nil
}

// control refuses an address that a connection is about to be made to, after the name
// was resolved: a name that turns to the inside between two looks leads nowhere.
func (p *Provider) control(a address) func(network, to string, c syscall.RawConn) error {
	return func(network, to string, c syscall.RawConn) error {
		if !a.unix() || network != "unix" {
			if err := a.reach(p.private).check(to); err != nil {
				return err
			}
		}
		if p.cfg.Control != nil {
			return p.cfg.Control(network, to, c)
		}
		return nil
	}
}

// version is the server's major version; 0 if it says none.
func version(c *pgx.Conn) int {
	text := c.PgConn().ParameterStatus("server_version")
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(text)
	}
	v, err := strconv.Atoi(text[:end])
	if err != nil {
		return 0
	}
	return v
}

// shut closes a connection, whatever became of the caller's context.
func shut(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx) // the server ends what is not committed, whether it hears this or not
}

// pause waits, or returns why not.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// identifier quotes a name.
func identifier(name string) string { return pgx.Identifier{name}.Sanitize() }

// literal quotes a text, for statements that take no parameters. It holds because
// standard_conforming_strings is on in [session].
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
