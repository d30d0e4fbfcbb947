package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/gate/store/pgtest"
)

// migration is what the deploy job of the story does to the database.
const (
	migrationFile = "migrations/001_placed.sql"
	migration     = "create index orders_placed on orders (placed);\n"
)

// production is the story's production: a real PostgreSQL in a temporary folder.
type production struct {
	server  *pgtest.Server
	session *pgx.Conn // the job's, which it forgets to close
	role    string    // the lease's
}

// openProduction starts a PostgreSQL, if this machine has one: else it is nil.
func openProduction(ctx context.Context) (*production, error) {
	server, err := pgtest.Open()
	if errors.Is(err, pgtest.ErrNone) {
		return nil, nil //nolint:nilnil // the story goes on without one
	}
	if err != nil {
		return nil, err
	}
	p := &production{server: server}
	// As docs/postgres.md says: the group has the rights, Sallyport's own role lends it.
	err = errors.Join(
		server.Do(ctx, "postgres", "CREATE DATABASE orders", "CREATE ROLE app_migrator NOLOGIN", "CREATE ROLE sallyport_admin LOGIN CREATEROLE PASSWORD 'story'", "GRANT pg_signal_backend TO sallyport_admin"),
		p.lend(ctx),
		server.Do(ctx, "orders", "CREATE TABLE orders (id bigint PRIMARY KEY, placed date NOT NULL)", "INSERT INTO orders SELECT n, date '2026-01-01' + (n % 300)::int FROM generate_series(1, 1000) n",
			"ALTER TABLE orders OWNER TO app_migrator", "GRANT CREATE ON SCHEMA public TO app_migrator"),
	)
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	return p, nil
}

// lend lets Sallyport's role make others members of the group, which PostgreSQL asks for
// from 16 on.
func (p *production) lend(ctx context.Context) error {
	c, err := pgx.Connect(ctx, p.server.Admin("postgres"))
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	var version int
	if err := c.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil || version < 160000 {
		return err
	}
	_, err = c.Exec(ctx, "GRANT app_migrator TO sallyport_admin WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
	return err
}

// target is what the targets file says of it, for the repository of an id.
func (p *production) target(dir string, repository int64) (string, error) {
	file := filepath.Join(dir, "orders-admin")
	err := os.WriteFile(file, []byte(p.server.URL("sallyport_admin", "story", "orders")), 0o600)
	return fmt.Sprintf("targets:\n  orders-db: {tier: human, repositories: [%d], environments: [production], private: true, postgres: {url_file: %q, groups: {write: app_migrator}}}\n", repository, file), err
}

// migrate does what the deploy job does with its credential, and leaves the session open.
func (p *production) migrate(ctx context.Context, values map[string]string, text string) (err error) {
	if p.session, err = pgx.Connect(ctx, values["url"]); err != nil {
		return err
	}
	p.role = values["username"]
	_, err = p.session.Exec(ctx, text)
	return err
}

// alive counts the roles and the sessions of leases.
func (p *production) alive(ctx context.Context) (roles, sessions int, err error) {
	c, err := pgx.Connect(ctx, p.server.Admin("orders"))
	if err != nil {
		return 0, 0, err
	}
	defer c.Close(ctx)
	err = c.QueryRow(ctx, "SELECT (SELECT count(*) FROM pg_roles WHERE rolname = $1), (SELECT count(*) FROM pg_stat_activity WHERE usename = $1)", p.role).Scan(&roles, &sessions)
	return roles, sessions, err
}

// indexed is what the migration made, and whose it is.
func (p *production) indexed(ctx context.Context) (string, error) {
	c, err := pgx.Connect(ctx, p.server.Admin("orders"))
	if err != nil {
		return "", err
	}
	defer c.Close(ctx)
	var owner string
	err = c.QueryRow(ctx, "SELECT tableowner FROM pg_indexes JOIN pg_tables USING (schemaname, tablename) WHERE indexname = 'orders_placed'").Scan(&owner)
	return owner, err
}

// close ends the session and the server.
func (p *production) close(ctx context.Context) error {
	if p.session != nil {
		_ = p.session.Close(ctx) // ended by the server
	}
	return p.server.Close()
}

// withDatabase has the job use its credential on a real database.
func (s *story) withDatabase(ctx context.Context, values map[string]string) error {
	if err := s.production.migrate(ctx, values, migration); err != nil {
		return fmt.Errorf("the job's migration: %w", err)
	}
	owner, err := s.production.indexed(ctx)
	if err != nil {
		return fmt.Errorf("the migration left nothing: %w", err)
	}
	roles, sessions, err := s.production.alive(ctx)
	if err != nil || roles != 1 || sessions != 1 {
		return fmt.Errorf("%d roles and %d sessions of the lease, want one of each: %w", roles, sessions, err)
	}
	s.say("\n     201 orders-migrator: a login of its own in a real PostgreSQL, made this moment\n         %-13s %s\n         %-13s (one that nobody ever saw before)", "username", values["username"], "password")
	s.say("\n     The job runs %s with it, and forgets to close its session:\n         %s", migrationFile, strings.TrimSpace(migration))
	s.say("     The index is there and belongs to %s, not to the login. Roles of leases: %d, their sessions: %d", owner, roles, sessions)
	return nil
}

// gone waits until nothing of the lease is left in the database.
func (s *story) gone(ctx context.Context) error {
	var roles, sessions int
	err := s.until(ctx, "the lease's role and sessions are gone", func() bool {
		var err error
		roles, sessions, err = s.production.alive(ctx)
		return err == nil && roles == 0 && sessions == 0
	})
	if err != nil {
		return fmt.Errorf("%d roles, %d sessions: %w", roles, sessions, err)
	}
	said := "nothing"
	if err := s.production.session.Ping(ctx); err != nil {
		said = firstLine(err)
	}
	s.say("     Roles of leases: %d, their sessions: %d. The session that was open says: %s", roles, sessions, said)
	return nil
}

func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}
