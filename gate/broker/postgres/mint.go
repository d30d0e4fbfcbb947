package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/rules"
)

const (
	// mintTime is how long a mint may take once it has a place. It is shorter than the
	// time for which a watchdog stays on guard over nothing.
	mintTime = 20 * time.Second
	// connections is how many sessions a lease may have at the same moment.
	connections = 10
	// idleTime is how long a lease's session may hold a transaction and do nothing.
	idleTime = time.Minute
)

// Mint makes the login role of a lease. Values are url, host, port, database,
// username and password; there is no handle. The administrator and the group are
// judged again, and a watchdog must be on guard before and after.
func (p *Provider) Mint(ctx context.Context, l broker.Lease) (values map[string]string, handle []byte, err error) {
	values, err = p.mint(ctx, l)
	if err != nil {
		return nil, nil, fmt.Errorf("postgres: making the role of lease %.40q: %w", l.ID, err)
	}
	return values, nil, nil
}

func (p *Provider) mint(ctx context.Context, l broker.Lease) (map[string]string, error) {
	role, err := roleName(l)
	if err != nil {
		return nil, err
	}
	group, ok := p.groups[l.Capability]
	if !ok {
		return nil, fmt.Errorf("the target has no group for %q", l.Capability)
	}
	leave, err := place(ctx, p.making)
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, mintTime)
	defer cancel()
	c, at, err := p.borrow(ctx)
	if err != nil {
		return nil, err
	}
	defer p.giveBack(c, at)
	if err := p.guarded(ctx, c); err != nil {
		return nil, err
	}
	password, verifier, err := newPassword()
	if err != nil {
		return nil, err
	}
	if err := p.create(ctx, c, l, role, group, verifier); err != nil {
		return nil, err
	}
	// It was there when the role was made. If somebody ended it since, the role has
	// none, and nobody gets the password.
	if err := p.guarded(ctx, c); err != nil {
		return nil, err
	}
	return at.values(role, password), nil
}

// create makes the role in one transaction, and commits it in a message of its own:
// until that one is sent, whatever the server still reads of the others makes nothing.
func (p *Provider) create(ctx context.Context, c *pgx.Conn, l broker.Lease, role, group, verifier string) error {
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // after a commit it does nothing
	if err := judge(ctx, c, group, l.Capability); err != nil {
		return err
	}
	logs, err := maySetLog(ctx, c)
	if err != nil {
		return fmt.Errorf("asking whether log_statement may be set: %w", err)
	}
	var now time.Time
	if err := c.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now); err != nil {
		return fmt.Errorf("asking the server's clock: %w", err)
	}
	left := l.Deadline.Sub(p.cfg.Now())
	if left <= 0 {
		return errors.New("its deadline has passed")
	}
	if _, err := c.PgConn().Exec(ctx, creation(l, role, group, verifier, now.Add(left), left, logs)).ReadAll(); err != nil {
		return fmt.Errorf("creating the role: %w", err)
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("creating the role: %w", err)
	}
	return nil
}

// creation are the statements that make a role. Until is the deadline by the server's
// clock: one that is wrong makes no lease longer.
func creation(l broker.Lease, role, group, verifier string, until time.Time, left time.Duration, logs bool) string {
	name := identifier(role)
	set := func(setting, value string) string {
		return "ALTER ROLE " + name + " SET " + setting + " = " + literal(value)
	}
	statements := []string{
		fmt.Sprintf("CREATE ROLE %s NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT LOGIN NOREPLICATION NOBYPASSRLS CONNECTION LIMIT %d PASSWORD %s VALID UNTIL %s IN ROLE %s",
			name, connections, literal(verifier), literal(until.UTC().Format("2006-01-02 15:04:05.000000Z07:00")), identifier(group)),
		"COMMENT ON ROLE " + name + " IS " + literal(comment(l)),
		set("role", group),
		set("statement_timeout", milliseconds(left)),
		set("idle_in_transaction_session_timeout", milliseconds(min(left, idleTime))),
	}
	if l.Capability == rules.CapabilityRead {
		statements = append(statements, set("default_transaction_read_only", "on"))
	}
	if logs {
		statements = append(statements, set("log_statement", "all"))
	}
	return strings.Join(statements, ";\n")
}

// milliseconds is a time for a setting: one at least, since 0 means no limit, and no
// more than the setting takes.
func milliseconds(d time.Duration) string {
	return strconv.FormatInt(min(max(d.Milliseconds(), 1), 1<<31-1), 10)
}

// maySetLog reports whether the administrator was granted to say what is logged of a
// role's statements.
func maySetLog(ctx context.Context, c *pgx.Conn) (bool, error) {
	var may bool
	err := c.QueryRow(ctx, `SELECT has_parameter_privilege('log_statement', 'SET')`).Scan(&may)
	return may, err
}
