package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/rules"
)

const (
	checkTime = 20 * time.Second
	// maxNamed is how many things of one kind a message names.
	maxNamed = 5
)

// Check reports what an administrator must change before a lease can be made, each
// with the statement to run: an administrator role that can do too much or too little,
// and a group that would lead further than to its own tables. Nil means that leases
// can be made now; each mint looks again.
func (p *Provider) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	c, _, err := p.connect(ctx, "", nil)
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	defer shut(c)
	var errs []error
	for _, capability := range slices.Sorted(maps.Keys(p.groups)) {
		if err := judge(ctx, c, p.groups[capability], capability); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return nil
}

// judge refuses an administrator or a group that must not make leases or have them.
func judge(ctx context.Context, c *pgx.Conn, group string, capability rules.Capability) error {
	found, err := administrator(ctx, c, group)
	if err != nil {
		return fmt.Errorf("looking at the administrator's rights: %w", err)
	}
	more, err := reaches(ctx, c, group)
	if err != nil {
		return fmt.Errorf("looking at the group %q: %w", group, err)
	}
	found = append(found, more...)
	if capability == rules.CapabilityRead {
		more, err := writes(ctx, c, group)
		if err != nil {
			return fmt.Errorf("looking at what the group %q can write: %w", group, err)
		}
		found = append(found, more...)
	}
	if len(found) > 0 {
		return errors.New(strings.Join(found, "\n"))
	}
	return nil
}

// administrator lists what is wrong with the broker's own role.
func administrator(ctx context.Context, c *pgx.Conn, group string) ([]string, error) {
	var me string
	var super, create, signal, admin, language bool
	err := c.QueryRow(ctx, `
WITH RECURSIVE reach(oid) AS (
	SELECT oid FROM pg_roles WHERE rolname = session_user
	UNION SELECT m.roleid FROM pg_auth_members m JOIN reach ON m.member = reach.oid
)
SELECT session_user::text,
	(SELECT bool_or(r.rolsuper) FROM pg_roles r JOIN reach USING (oid)),
	(SELECT r.rolcreaterole FROM pg_roles r WHERE r.rolname = session_user),
	pg_has_role(session_user, 'pg_signal_backend', 'USAGE'),
	coalesce((SELECT pg_has_role(session_user, g.oid, 'MEMBER WITH ADMIN OPTION') FROM pg_roles g WHERE g.rolname = $1::text), true),
	coalesce((SELECT has_language_privilege(l.oid, 'USAGE') FROM pg_language l WHERE l.lanname = 'plpgsql'), false)`, group).
		Scan(&me, &super, &create, &signal, &admin, &language)
	if err != nil {
		return nil, err
	}
	var found []string
	if super {
		found = append(found, fmt.Sprintf("the administrator %q is a superuser or can become one: want a role that can do no more than make roles (docs/postgres.md)", me))
	}
	if !create {
		found = append(found, fmt.Sprintf("the administrator %q cannot make roles: ALTER ROLE %s CREATEROLE", me, identifier(me)))
	}
	if !signal {
		found = append(found, fmt.Sprintf("the administrator %q cannot end sessions: GRANT pg_signal_backend TO %s", me, identifier(me)))
	}
	if !admin && version(c) >= 16 {
		found = append(found, fmt.Sprintf("the administrator %q cannot give membership of %q: GRANT %s TO %s WITH ADMIN TRUE, INHERIT FALSE, SET FALSE", me, group, identifier(group), identifier(me)))
	}
	if !language {
		found = append(found, fmt.Sprintf("the watchdog cannot run: CREATE EXTENSION IF NOT EXISTS plpgsql; GRANT USAGE ON LANGUAGE plpgsql TO %s", identifier(me)))
	}
	return found, nil
}

// reaches lists what a member of the group could become or hand out beyond it, by
// membership of any depth.
func reaches(ctx context.Context, c *pgx.Conn, group string) ([]string, error) {
	rows, err := c.Query(ctx, `
WITH RECURSIVE reach(oid) AS (
	SELECT oid FROM pg_roles WHERE rolname = $1::text
	UNION SELECT m.roleid FROM pg_auth_members m JOIN reach ON m.member = reach.oid
)
SELECT r.rolname::text, r.rolsuper, r.rolcreaterole, r.rolreplication, r.rolbypassrls, r.rolcanlogin,
	r.rolname = session_user, EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid AND m.admin_option)
FROM pg_roles r JOIN reach USING (oid) ORDER BY r.rolname <> $1::text, r.rolname`, group)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []string
	seen := false
	for rows.Next() {
		var name string
		var super, create, replication, bypass, login, me, hands bool
		if err := rows.Scan(&name, &super, &create, &replication, &bypass, &login, &me, &hands); err != nil {
			return nil, err
		}
		seen = true
		what, fix := fmt.Sprintf("the group %q", group), fmt.Sprintf("REVOKE %s FROM whoever of %q has it", identifier(name), group)
		if name != group {
			what += fmt.Sprintf(", by membership of %q,", name)
		}
		attribute := func(has bool, does, not string) {
			if !has {
				return
			}
			if name == group {
				fix = fmt.Sprintf("ALTER ROLE %s %s", identifier(group), not)
			}
			found = append(found, fmt.Sprintf("%s %s: %s", what, does, fix))
		}
		attribute(super, "is a superuser", "NOSUPERUSER")
		attribute(create, "can make roles", "NOCREATEROLE")
		attribute(replication, "can read the whole server by replication", "NOREPLICATION")
		attribute(bypass, "passes row level security by", "NOBYPASSRLS")
		attribute(login && name == group, "can log in by itself", "NOLOGIN")
		switch {
		case strings.HasPrefix(name, "pg_"):
			found = append(found, fmt.Sprintf("%s has rights over the server: %s", what, fix))
		case me:
			found = append(found, fmt.Sprintf("%s can become the administrator: %s", what, fix))
		case isLeaseRole(name):
			found = append(found, fmt.Sprintf("%s can become the role of a lease, which that lease must have granted: look who did it, and %s", what, fix))
		}
		if hands {
			found = append(found, fmt.Sprintf("%s can make others members of a role: REVOKE ADMIN OPTION FOR that role FROM %s", what, identifier(name)))
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if !seen {
		found = append(found, fmt.Sprintf("there is no group %q: CREATE ROLE %s NOLOGIN, and grant it what its leases need", group, identifier(group)))
	}
	return found, nil
}

// writes lists what a member of the group could change in this database. Everybody's
// rights (PUBLIC) count, except those on the server's own catalogue.
func writes(ctx context.Context, c *pgx.Conn, group string) ([]string, error) {
	rows, err := c.Query(ctx, `
WITH RECURSIVE reach(oid) AS (
	SELECT oid FROM pg_roles WHERE rolname = $1::text
	UNION SELECT m.roleid FROM pg_auth_members m JOIN reach ON m.member = reach.oid
), relation AS (
	SELECT c.oid, c.relowner, n.nspname || '.' || c.relname AS name, n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast') AS own,
		coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END, c.relowner)) AS acl, c.relkind
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
), given AS (
	SELECT CASE relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || name AS what, a.privilege_type AS privilege, a.grantee, own
	FROM relation, aclexplode(acl) a
	UNION ALL SELECT 'table ' || r.name, a.privilege_type || ' (' || t.attname || ')', a.grantee, r.own
	FROM relation r JOIN pg_attribute t ON t.attrelid = r.oid AND t.attacl IS NOT NULL, aclexplode(t.attacl) a
	UNION ALL SELECT 'schema ' || n.nspname, a.privilege_type, a.grantee, n.nspname IN ('pg_catalog', 'information_schema')
	FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
	UNION ALL SELECT 'database ' || d.datname, a.privilege_type, a.grantee, false
	FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE d.datname = current_database()
	UNION ALL SELECT 'foreign server ' || s.srvname, a.privilege_type, a.grantee, false
	FROM pg_foreign_server s, aclexplode(coalesce(s.srvacl, acldefault('S', s.srvowner))) a
), found AS (
	SELECT what, privilege FROM given WHERE (grantee IN (SELECT oid FROM reach) OR grantee = 0 AND NOT own)
		AND (privilege ~ '^(INSERT|UPDATE|DELETE|TRUNCATE|REFERENCES|TRIGGER|MAINTAIN)' OR privilege = 'CREATE'
			OR privilege = 'USAGE' AND (what LIKE 'sequence %' OR what LIKE 'foreign server %'))
	UNION SELECT 'table ' || name, 'ownership' FROM relation WHERE relowner IN (SELECT oid FROM reach)
	UNION SELECT 'schema ' || nspname, 'ownership' FROM pg_namespace WHERE nspowner IN (SELECT oid FROM reach)
	UNION SELECT 'database ' || datname, 'ownership' FROM pg_database WHERE datdba IN (SELECT oid FROM reach)
	UNION SELECT 'function ' || proname, 'ownership' FROM pg_proc WHERE proowner IN (SELECT oid FROM reach)
)
SELECT left(privilege, 80), left(what, 160) FROM found ORDER BY 2, 1 LIMIT $2::int`, group, maxNamed+1)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var right, what string
		if err := rows.Scan(&right, &what); err != nil {
			return nil, err
		}
		found = append(found, fmt.Sprintf("the group %q is for reading and has %s on %s: REVOKE it from the group, from what it is a member of, or from PUBLIC", group, right, what))
	}
	if len(found) > maxNamed {
		found[maxNamed] = fmt.Sprintf("the group %q is for reading and can change more than this", group)
	}
	return found, rows.Err()
}
