package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	// watchdogName is the application name of a watchdog that is on guard. One that is
	// about to end has another: nobody may count on it any more.
	watchdogName   = "sallyport watchdog"
	watchdogEnding = watchdogName + " ending"
	// startTime is how long a watchdog may take to be seen.
	startTime = 10 * time.Second
	// watchdogQuiet is how long a watchdog without a lease stays on guard, and then how
	// long it still looks before it ends. It is longer than [mintTime]: a mint that saw
	// it on guard has committed by then, and is seen.
	watchdogQuiet = time.Minute
)

// watchdogBlock ends every lease of this server at its deadline. Each statement that
// can fail stands in a block of its own, and each step commits: nothing stops it, no
// lock is held and no old row kept while it sleeps. It does in PL/pgSQL what
// [Provider.Revoke] does, without what needs other databases.
//
// Two may run at once; the younger ends itself.
func watchdogBlock() string {
	return strings.NewReplacer(
		"OURS", ours,
		"WATCHDOG", literal(watchdogName), "ENDING", literal(watchdogEnding),
		"QUIET", literal(fmt.Sprintf("%d seconds", int(watchdogQuiet.Seconds()))),
	).Replace(`DO $watchdog$
DECLARE
	me oid := (SELECT oid FROM pg_roles WHERE rolname = session_user);
	alone timestamptz := clock_timestamp();
	ending boolean := false;
	one record;
BEGIN
	LOOP
		FOR one IN SELECT r.oid, r.rolname, r.rolcanlogin FROM pg_roles r WHERE r.rolvaliduntil <= clock_timestamp() AND OURS LOOP
			BEGIN
				PERFORM pg_terminate_backend(a.pid) FROM pg_stat_activity a WHERE a.usesysid = one.oid;
			EXCEPTION WHEN OTHERS THEN NULL;
			END;
			BEGIN
				IF one.rolcanlogin THEN
					EXECUTE format('ALTER ROLE %I NOLOGIN PASSWORD NULL CONNECTION LIMIT 0', one.rolname);
				ELSIF NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.usesysid = one.oid) THEN
					EXECUTE format('DROP ROLE %I', one.rolname);
				END IF;
			EXCEPTION WHEN OTHERS THEN NULL;
			END;
			COMMIT;
		END LOOP;
		IF EXISTS (SELECT FROM pg_roles r WHERE OURS) THEN
			alone := clock_timestamp();
			IF ending THEN
				ending := false;
				PERFORM set_config('application_name', WATCHDOG, false);
			END IF;
		ELSIF clock_timestamp() > alone + 2 * interval QUIET THEN
			EXIT;
		ELSIF clock_timestamp() > alone + interval QUIET AND NOT ending THEN
			ending := true;
			PERFORM set_config('application_name', ENDING, false);
		END IF;
		EXIT WHEN EXISTS (
			SELECT FROM pg_stat_activity a, pg_stat_activity b
			WHERE b.pid = pg_backend_pid() AND a.usesysid = me AND a.application_name = WATCHDOG AND a.state = 'active'
				AND (a.backend_start, a.pid) < (b.backend_start, b.pid));
		COMMIT;
		PERFORM pg_sleep(0.5);
		COMMIT;
	END LOOP;
END
$watchdog$`)
}

// watchdogSession are the settings of a watchdog's session. It has no client: the
// server must not look for one, nor tell it anything, and no time may end it.
func watchdogSession() map[string]string {
	return map[string]string{
		"application_name": watchdogName, "client_connection_check_interval": "0", "client_min_messages": "error",
		"statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "lock_timeout": "100ms",
		"idle_session_timeout": "0",
	}
}

// onGuard reports whether a watchdog is on guard: a running statement of the broker's
// own role, which nobody else can have. The moment of its death cannot be seen.
func onGuard(ctx context.Context, c *pgx.Conn) (bool, error) {
	var is bool
	err := c.QueryRow(ctx, `
SELECT EXISTS (SELECT FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
	WHERE r.rolname = session_user AND a.application_name = $1::text AND a.state = 'active')`, watchdogName).Scan(&is)
	if err != nil {
		return false, fmt.Errorf("looking for the watchdog: %w", err)
	}
	return is, nil
}

// guarded makes sure that a watchdog is on guard.
func (p *Provider) guarded(ctx context.Context, c *pgx.Conn) error {
	if is, err := onGuard(ctx, c); err != nil || is {
		return err
	}
	p.guard.Lock()
	defer p.guard.Unlock()
	if is, err := onGuard(ctx, c); err != nil || is { // somebody started it meanwhile
		return err
	}
	if err := p.startWatchdog(ctx, c); err != nil {
		return fmt.Errorf("starting the watchdog: %w", err)
	}
	return nil
}

// startWatchdog sends the watchdog to the server and leaves as soon as c sees it run.
// The server finishes what it was sent.
func (p *Provider) startWatchdog(ctx context.Context, c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	own, _, err := p.connect(ctx, "", watchdogSession())
	if err != nil {
		return err
	}
	// Taken out of pgx's hands, which would ask the server to cancel the statement.
	wire, err := own.PgConn().Hijack()
	if err != nil {
		shut(own)
		return err
	}
	defer wire.Conn.Close()
	wire.Frontend.Send(&pgproto3.Query{String: watchdogBlock()})
	if end, ok := ctx.Deadline(); ok {
		if err := wire.Conn.SetDeadline(end); err != nil {
			return err
		}
	}
	if err := wire.Frontend.Flush(); err != nil {
		return err
	}
	for {
		if is, err := onGuard(ctx, c); err != nil || is {
			return errors.Join(err, whyNot(wire.Frontend, err))
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			_ = wire.Conn.SetReadDeadline(time.Now().Add(time.Second)) // without it there is an answer or an end
			return errors.Join(err, whyNot(wire.Frontend, err))
		}
	}
}

// whyNot reads what the server says of a watchdog that was not seen.
func whyNot(f *pgproto3.Frontend, failed error) error {
	if failed == nil {
		return nil
	}
	for range 10 {
		m, err := f.Receive()
		if err != nil {
			return fmt.Errorf("the server says nothing: %w", err)
		}
		if e, ok := m.(*pgproto3.ErrorResponse); ok {
			return fmt.Errorf("the server says: %s (SQLSTATE %s)", e.Message, e.Code)
		}
	}
	return nil
}
