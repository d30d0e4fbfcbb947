package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// maxDatabases is in how many databases of a server a lease may have left something.
const maxDatabases = 100

// release gives what a role owns to its group and takes back what it was granted, in
// every database of the server where there is any. A lease's sessions make what they
// make as the group; this is for what they made as themselves.
func (p *Provider) release(ctx context.Context, c *pgx.Conn, role string, oid uint32) error {
	var group string
	err := c.QueryRow(ctx, `
SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = $1 ORDER BY m.roleid LIMIT 1`, oid).Scan(&group)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("it owns something and has no group that could have it: REASSIGN OWNED BY %s TO another", identifier(role))
	}
	if err != nil {
		return err
	}
	rows, err := c.Query(ctx, `
SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = $1 AND d.datallowconn LIMIT $2::int`, oid, maxDatabases)
	if err != nil {
		return err
	}
	databases, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if here := c.Config().Database; !slices.Contains(databases, here) {
		databases = append(databases, here) // for what belongs to no database
	}
	for _, d := range databases {
		if err := p.releaseIn(ctx, d, role, group); err != nil {
			return fmt.Errorf("giving to %q what it owns in the database %q: %w", group, d, err)
		}
	}
	return nil
}

func (p *Provider) releaseIn(ctx context.Context, database, role, group string) error {
	c, _, err := p.connect(ctx, database, nil)
	if err != nil {
		return err
	}
	defer shut(c)
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }() // after a commit it does nothing
	// REASSIGN wants the rights of both. What is granted for it is taken back with it;
	// from 16 on it stands beside what the administrator has anyway.
	options := ""
	if version(c) >= 16 {
		options = " WITH INHERIT TRUE"
	}
	var has bool
	if err := tx.QueryRow(ctx, `SELECT pg_has_role(session_user, $1::name, 'USAGE')`, group).Scan(&has); err != nil {
		return err
	}
	r, g := identifier(role), identifier(group)
	statements := []string{
		"GRANT " + r + " TO SESSION_USER" + options,
		"REASSIGN OWNED BY " + r + " TO " + g,
		"DROP OWNED BY " + r,
		"REVOKE " + r + " FROM SESSION_USER",
	}
	if !has {
		statements = slices.Concat([]string{"GRANT " + g + " TO SESSION_USER" + options}, statements, []string{"REVOKE " + g + " FROM SESSION_USER"})
	}
	for _, s := range statements {
		if _, err := tx.Exec(ctx, s); err != nil {
			return err
		}
	}
	return tx.Commit(ctx)
}
