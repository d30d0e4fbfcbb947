package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/gate/broker"
)

const (
	// endTime is how long ending a lease may take once it has a place.
	endTime = 30 * time.Second
	// settle is how long after the login was taken away a session of it can still
	// appear: one that was let in just before and is not listed yet.
	settle = 200 * time.Millisecond
	// poll is how long to wait between two looks.
	poll = 10 * time.Millisecond
)

// Revoke ends the sessions of a lease and drops its role. What the role owns goes to
// its group. Nil means that there is neither role nor session, and that none can come.
// A session that does not end within half a minute is an error; so is a role that
// cannot be dropped, though by then nobody can log in by it.
func (p *Provider) Revoke(ctx context.Context, l broker.Lease, _ []byte) error {
	role, err := roleName(l)
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	leave, err := place(ctx, p.ending)
	if err != nil {
		return fmt.Errorf("postgres: ending role %q: %w", role, err)
	}
	defer leave()
	return p.end(ctx, role)
}

// end ends a role. The caller holds a place.
func (p *Provider) end(ctx context.Context, role string) error {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	c, at, err := p.borrow(ctx)
	if err != nil && ctx.Err() == nil {
		c, at, err = p.borrow(ctx) // a server that is busy with making leases still ends them
	}
	if err == nil {
		defer p.giveBack(c, at)
		err = p.endBy(ctx, c, role)
	}
	if err != nil {
		return fmt.Errorf("postgres: ending role %q: %w", role, err)
	}
	return nil
}

func (p *Provider) endBy(ctx context.Context, c *pgx.Conn, role string) error {
	oid, there, err := find(ctx, c, role)
	if err != nil || !there {
		return err
	}
	if err := quiesce(ctx, c, role, oid); err != nil {
		return err
	}
	if err := p.drop(ctx, c, role, oid); err != nil {
		return fmt.Errorf("nobody can log in by it and it has no session, but it cannot be dropped: %w", err)
	}
	// The last look is by number: the name is gone.
	if n, err := terminate(ctx, c, oid); err != nil || n > 0 {
		return errors.Join(err, fmt.Errorf("%d sessions were there after all", n))
	}
	return nil
}

// find looks for a role. Where there is none it makes one and takes it back: that waits
// for a transaction which has made it and not committed yet, such as that of a mint
// whose answer was lost.
func find(ctx context.Context, c *pgx.Conn, role string) (oid uint32, there bool, err error) {
	for {
		err := c.QueryRow(ctx, `SELECT oid FROM pg_roles WHERE rolname = $1::text`, role).Scan(&oid)
		if !errors.Is(err, pgx.ErrNoRows) {
			return oid, err == nil, err
		}
		tx, err := c.Begin(ctx)
		if err != nil {
			return 0, false, err
		}
		_, err = tx.Exec(ctx, "CREATE ROLE "+identifier(role)+" NOLOGIN")
		if back := tx.Rollback(ctx); back != nil {
			return 0, false, back
		}
		if err == nil {
			return 0, false, nil
		}
		// Whatever it was, such as the other's lock: look again, until ctx ends.
		if !isCode(err, codeDuplicate, codeUnique, codeLocked) {
			return 0, false, err
		}
		if err := pause(ctx, poll); err != nil {
			return 0, false, err
		}
	}
}

// quiesce takes the login away and ends the sessions until there are none. A session
// of the lease can hold its own role's row and so refuse the first: then the second
// comes first.
func quiesce(ctx context.Context, c *pgx.Conn, role string, oid uint32) error {
	var closed time.Time // when the login was gone
	for {
		var refused error
		if closed.IsZero() {
			_, refused = c.Exec(ctx, "ALTER ROLE "+identifier(role)+" NOLOGIN PASSWORD NULL CONNECTION LIMIT 0")
			if refused == nil || isCode(refused, codeUndefined) {
				closed, refused = time.Now(), nil
			}
		}
		left, err := terminate(ctx, c, oid)
		if err != nil || refused != nil && !isCode(refused, codeLocked, codeConcurrent, codeDeadlock) {
			return errors.Join(refused, err)
		}
		wait := poll
		if left == 0 && !closed.IsZero() {
			if wait = settle - time.Since(closed); wait <= 0 {
				return nil
			}
		}
		if err := pause(ctx, wait); err != nil {
			if refused != nil {
				return fmt.Errorf("taking its login away: %w", refused)
			}
			return fmt.Errorf("%d sessions have not ended; look at pg_stat_activity where usename = %s: %w", left, literal(role), err)
		}
	}
}

// terminate tells the sessions of a role to end and returns how many there were.
func terminate(ctx context.Context, c *pgx.Conn, oid uint32) (int, error) {
	var n int
	err := c.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usesysid = $1`, oid).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("ending its sessions: %w", err)
	}
	return n, nil
}

// drop drops a role that has no session. What belongs to it goes to its group first.
func (p *Provider) drop(ctx context.Context, c *pgx.Conn, role string, oid uint32) error {
	statement := "DROP ROLE " + identifier(role)
	for try := 0; ; try++ {
		_, err := c.Exec(ctx, statement)
		switch {
		case err == nil || isCode(err, codeUndefined):
			return nil
		case isCode(err, codeDepends) && try < 3:
			if err := p.release(ctx, c, role, oid); err != nil {
				return err
			}
		case isCode(err, codeConcurrent, codeLocked, codeDeadlock): // another broker or the watchdog at the same work
			if err := pause(ctx, poll); err != nil {
				return err
			}
		default:
			return err
		}
	}
}
