package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	sweepTime = 5 * time.Minute
	// maxSwept is how many roles one sweep ends; the next goes on.
	maxSwept = 10_000
)

// Sweep ends the roles of leases whose deadline has passed, by now or by the server's
// own clock, and those whose end was begun and not finished. It knows them by their
// comments alone. While there are leases it makes sure that a watchdog is on guard,
// which a restart of the server ends.
func (p *Provider) Sweep(ctx context.Context, now time.Time) error {
	leave, err := place(ctx, p.ending)
	if err != nil {
		return fmt.Errorf("postgres: sweeping: %w", err)
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	due, err := p.due(ctx, now)
	if err != nil {
		return fmt.Errorf("postgres: sweeping: %w", err)
	}
	var errs []error
	for _, role := range due {
		if err := p.end(ctx, role); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// due lists the roles to end, and has a watchdog started for the others.
func (p *Provider) due(ctx context.Context, now time.Time) ([]string, error) {
	c, _, err := p.connect(ctx, "", nil)
	if err != nil {
		return nil, err
	}
	defer shut(c)
	rows, err := c.Query(ctx, `
SELECT r.rolname::text, shobj_description(r.oid, 'pg_authid'), coalesce(r.rolvaliduntil <= clock_timestamp(), true) OR NOT r.rolcanlogin
FROM pg_roles r WHERE `+ours+` ORDER BY r.rolvaliduntil LIMIT $1::int`, maxSwept)
	if err != nil {
		return nil, err
	}
	type lease struct {
		Role, Comment string
		Due           bool
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[lease])
	if err != nil {
		return nil, err
	}
	var due []string
	for _, l := range all {
		if at, ok := deadline(l.Comment); l.Due || !ok || !at.After(now) {
			due = append(due, l.Role)
		}
	}
	if len(due) < len(all) {
		return due, p.guarded(ctx, c)
	}
	return due, nil
}
