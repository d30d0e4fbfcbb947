package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// How long PostgreSQL may take. A server that cannot be reached is noticed within
// these; so is, by the server, a replica that cannot be reached while it holds the
// writers' lock.
const (
	idleInTransaction = 4 * time.Second  // a writer that says nothing any more
	lockTime          = 6 * time.Second  // for the writers' lock, behind such a one
	statementTime     = 8 * time.Second  // one statement
	groupTime         = 10 * time.Second // one transaction, as the client counts
	readTime          = 15 * time.Second // one read, its rows included
	// pause is how long no connection is made after one could not be: a server that
	// starts has better to do than to turn clients away.
	pause = 200 * time.Millisecond

	maxPostgresReaders = 8
	// poolLife is how long a connection for reading is kept: after a failover they
	// spread again.
	poolLife = 30 * time.Minute
)

// openPostgres opens the database of cfg.
func (s *Store) openPostgres(ctx context.Context) error {
	cfg, err := parsePostgres(s.cfg.URL)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*connectTime+migrateTime)
	defer cancel()
	x := &postgresSession{config: cfg}
	s.writer = x
	if x.conn, err = connect(ctx, cfg); err != nil {
		return err
	}
	if err := migratePostgres(ctx, x.conn, s.cfg.MustExist); err != nil {
		return err
	}
	if x.schema, err = schemaOf(ctx, x.conn); err != nil {
		return err
	}
	if s.remarks, err = remarks(ctx, x.conn); err != nil {
		return err
	}
	s.readDB = stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(settleOrHangUp))
	s.readDB.SetMaxOpenConns(maxPostgresReaders)
	s.readDB.SetMaxIdleConns(maxPostgresReaders)
	s.readDB.SetConnMaxLifetime(poolLife)
	return nil
}

// connect makes a connection for one user.
func connect(ctx context.Context, cfg *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := settleOrHangUp(ctx, conn); err != nil {
		return nil, err
	}
	return conn, nil
}

// settleOrHangUp settles a connection, and leaves none open that is not settled: pgx
// forgets one that its AfterConnect refuses without closing it.
func settleOrHangUp(ctx context.Context, conn *pgx.Conn) error {
	if err := settle(ctx, conn); err != nil {
		return errors.Join(err, hangUp(conn))
	}
	return nil
}

// hangUp closes a connection, and waits no longer than a moment for the goodbye.
func hangUp(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return conn.Close(ctx)
}

// settle gives a connection the settings that everything here rests on, whatever the
// role's and the database's own are. A write is on the disk when it is answered
// (synchronous_commit), unless an administrator asked for more. A standby is refused:
// after a failover a name may lead to the old primary for a while, and a connection that
// was made then would be kept, with nothing to write to and old answers to read.
func settle(ctx context.Context, conn *pgx.Conn) error {
	var standby bool
	err := conn.QueryRow(ctx, `SELECT pg_is_in_recovery(), set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false),
		set_config('idle_in_transaction_session_timeout', $3, false), set_config('client_encoding', 'UTF8', false),
		set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false),
		set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false), set_config('tcp_keepalives_count', '3', false)`,
		milliseconds(statementTime), milliseconds(lockTime), milliseconds(idleInTransaction)).Scan(&standby, nil, nil, nil, nil, nil, nil, nil, nil)
	if err != nil {
		return fmt.Errorf("preparing a connection: %w", err)
	}
	if standby {
		return errors.New("the server is a standby, which takes no writes: where the URL names several, add target_session_attrs=read-write")
	}
	return nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// schemaOf is the schema that the tables are in.
func schemaOf(ctx context.Context, conn *pgx.Conn) (string, error) {
	var name *string
	if err := conn.QueryRow(ctx, "SELECT current_schema()").Scan(&name); err != nil {
		return "", err
	}
	if name == nil {
		return "", errors.New("its search_path names no schema that is there: CREATE SCHEMA sallyport AUTHORIZATION the role of the URL")
	}
	return *name, nil
}

// lockOf is the key of an advisory lock of one schema: those keys are the whole
// database's.
func lockOf(what, schema string) int64 {
	h := sha256.Sum256([]byte("sallyport " + what + " " + schema))
	return int64(binary.BigEndian.Uint64(h[:8])) //nolint:gosec // any 64 bits do
}

// remarks says what is not as it should be with a database, and works.
func remarks(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	var out []string
	for _, h := range hostsOf(conn.Config()) {
		switch {
		case onThisMachine(h.name):
		case !h.tls:
			out = append(out, fmt.Sprintf("the connection to the database at %q has no TLS: whoever is on that network reads and changes it", h.name))
		case !h.verified:
			out = append(out, fmt.Sprintf("the certificate of the database at %q is not looked at: use sslmode=verify-full", h.name))
		}
	}
	var superuser, encoding, fsync string
	if err := conn.QueryRow(ctx, "SELECT current_setting('is_superuser'), current_setting('server_encoding'), current_setting('fsync')").Scan(&superuser, &encoding, &fsync); err != nil {
		return nil, err
	}
	if encoding != "UTF8" {
		return nil, fmt.Errorf("the database's encoding is %s, want UTF8", encoding)
	}
	if superuser == "on" {
		out = append(out, "the database's role is a superuser: give the server one that owns its own database and nothing else")
	}
	if fsync == "off" {
		out = append(out, "the database runs with fsync off: what it promised is lost when its machine stops")
	}
	return out, nil
}

// postgresSession is the writer's connection to PostgreSQL. It is made again when it
// is lost.
//
// What begins, parts and ends transactions is sent together with the statement that
// follows: it costs no round trip of its own.
type postgresSession struct {
	config *pgx.ConnConfig
	schema string
	conn   *pgx.Conn // nil when it was lost
	// away is why no connection could be made, and until when none is tried again.
	away  error
	until time.Time

	// Of the transaction under way: what is still to be sent, before the next
	// statement; whether anything was sent; and its time.
	pending []statement
	rows    []int64 // how many rows each of those that were pending changed
	begun   bool
	ctx     context.Context //nolint:containedctx // of the transaction
	cancel  context.CancelFunc
	texts   map[string]string // by the text with question marks
}

// statement is a statement that was not sent yet.
type statement struct {
	text string
	args []any
}

const savepoint = "SAVEPOINT one"

// begin begins a transaction. Writers of all replicas come one after the other: each
// takes a lock first, so that every statement after it sees all that the others have
// committed. That needs READ COMMITTED: at a higher level the snapshot would be that
// of the moment before the wait.
func (x *postgresSession) begin() error {
	x.ctx, x.cancel = context.WithTimeout(context.Background(), groupTime)
	x.begun = false
	x.pending = append(x.pending[:0], statement{text: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"},
		statement{text: fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", lockOf("writer", x.schema))})
	return nil
}

func (x *postgresSession) save() error {
	x.pending = append(x.pending, statement{text: savepoint})
	return nil
}

func (x *postgresSession) keep() error {
	if n := len(x.pending); n > 0 && x.pending[n-1].text == savepoint {
		x.pending = x.pending[:n-1] // nothing came after it
		return nil
	}
	x.pending = append(x.pending, statement{text: "RELEASE one"})
	return nil
}

// undo goes back to the savepoint. It is sent at once: after a failed statement the
// server takes nothing else, not even a statement to prepare.
func (x *postgresSession) undo() error {
	if n := len(x.pending); n > 0 && x.pending[n-1].text == savepoint {
		return nil
	}
	_, _, err := x.send("ROLLBACK TO one", nil, nil)
	return err
}

// commit commits. The error may mean that nobody knows whether it did: the answer was
// lost. Callers ask again, and what may happen once does.
func (x *postgresSession) commit() error {
	defer x.cancel()
	tag, _, err := x.send("COMMIT", nil, nil)
	if err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	if tag.String() != "COMMIT" {
		return fmt.Errorf("committing: the database answered %s", tag) // of a transaction that had failed
	}
	return nil
}

func (x *postgresSession) rollback() error {
	defer x.cancel()
	x.pending = x.pending[:0]
	if !x.begun || x.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTime)
	defer cancel()
	if _, err := x.conn.PgConn().Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
		x.drop() // which rolls back too
	}
	return nil
}

func (x *postgresSession) change(text string, args ...any) (int64, error) {
	wired, err := wire(args)
	if err != nil {
		return 0, err
	}
	tag, _, err := x.send(x.text(text), wired, nil)
	return tag.RowsAffected(), err
}

func (x *postgresSession) later(text string, args ...any) (int64, error) {
	wired, err := wire(args)
	if err == nil {
		x.pending = append(x.pending, statement{x.text(text), wired})
	}
	return unknown, err
}

// ahead sends the statements that jobs begin with in one round trip.
func (x *postgresSession) ahead(group []*job) error {
	var jobs []*job
	for _, j := range group {
		if j.first == nil {
			continue
		}
		args, err := wire(j.first.args)
		if err != nil {
			continue // it will be told
		}
		jobs = append(jobs, j)
		x.pending = append(x.pending, statement{x.text(j.first.text), args})
	}
	if len(jobs) == 0 {
		return nil
	}
	if _, _, err := x.send("SELECT 1", nil, nil); err != nil {
		return err
	}
	for i, j := range jobs {
		j.ran, j.rows = true, x.rows[len(x.rows)-len(jobs)+i]
	}
	return nil
}

func (x *postgresSession) row(text string, args []any, into ...any) error {
	wired, err := wire(args)
	if err != nil {
		return err
	}
	_, found, err := x.send(x.text(text), wired, into)
	if err == nil && !found {
		return ErrNotFound
	}
	return err
}

// send sends what is pending and a statement, and reads its first row if into says
// where to.
func (x *postgresSession) send(text string, args, into []any) (tag pgconn.CommandTag, found bool, err error) {
	fresh := false
	for {
		if x.conn == nil {
			if x.begun {
				return tag, false, errors.New("the connection was lost in the middle of a transaction")
			}
			if err := x.reconnect(); err != nil {
				return tag, false, err
			}
			fresh = true
		}
		tag, found, err = x.batch(text, args, into)
		if err == nil {
			x.pending, x.begun = x.pending[:0], true
			return tag, found, nil
		}
		if !x.conn.IsClosed() {
			x.begun = true // perhaps: a ROLLBACK too much does no harm
			return tag, false, err
		}
		x.drop()
		// A connection that was there from before may have been dead for long. Nothing
		// of this transaction was promised to anybody, so it begins anew.
		if x.begun || fresh || x.ctx.Err() != nil {
			return tag, false, err
		}
	}
}

func (x *postgresSession) reconnect() (err error) {
	if time.Now().Before(x.until) {
		return x.away
	}
	if x.conn, err = connect(x.ctx, x.config); err != nil {
		x.away, x.until = err, time.Now().Add(pause)
	}
	return err
}

func (x *postgresSession) batch(text string, args, into []any) (tag pgconn.CommandTag, found bool, err error) {
	b := &pgx.Batch{}
	for _, p := range x.pending {
		b.Queue(p.text, p.args...)
	}
	b.Queue(text, args...)
	results := x.conn.SendBatch(x.ctx, b)
	defer func() {
		if closing := results.Close(); err == nil {
			err = closing
		}
	}()
	x.rows = x.rows[:0]
	for range x.pending {
		tag, err := results.Exec()
		if err != nil {
			return tag, false, err
		}
		x.rows = append(x.rows, tag.RowsAffected())
	}
	if into == nil {
		tag, err = results.Exec()
		return tag, false, err
	}
	rows, err := results.Query()
	if err != nil {
		return tag, false, err
	}
	defer rows.Close()
	if found = rows.Next(); found {
		if err := rows.Scan(into...); err != nil {
			return tag, false, err
		}
	}
	rows.Close()
	return rows.CommandTag(), found, rows.Err()
}

// broken is true of errors after which the transaction cannot go on: everything but
// the server's answer that one statement does not work, which its savepoint undoes, and
// what was never sent.
func (x *postgresSession) broken(err error) bool {
	var e *pgconn.PgError
	return !errors.Is(err, errUnstorable) && (!errors.As(err, &e) || x.conn == nil)
}

// drop gives the connection up.
func (x *postgresSession) drop() {
	if x.conn != nil {
		_ = hangUp(x.conn) // it is lost
		x.conn = nil
	}
}

func (x *postgresSession) close() error {
	if x.conn == nil {
		return nil
	}
	return hangUp(x.conn)
}

// text is a statement in PostgreSQL's own spelling.
func (x *postgresSession) text(text string) string {
	if x.texts == nil {
		x.texts = map[string]string{}
	}
	out, ok := x.texts[text]
	if !ok {
		out = numbered(text)
		x.texts[text] = out
	}
	return out
}

// numbered writes a statement's parameters as PostgreSQL does: ? and ?1 become $1.
func numbered(text string) string {
	var out strings.Builder
	quoted, n := false, 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\'':
			quoted = !quoted
			out.WriteByte(c)
		case c == '?' && !quoted && i+1 < len(text) && '0' <= text[i+1] && text[i+1] <= '9':
			out.WriteByte('$')
		case c == '?' && !quoted:
			n++
			fmt.Fprintf(&out, "$%d", n)
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

// wire makes arguments what PostgreSQL takes. What cannot be stored is found before it
// is sent: the transaction would have failed then.
func wire(args []any) ([]any, error) {
	out := make([]any, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case bool:
			out[i] = int64(0)
			if a {
				out[i] = int64(1)
			}
		case string:
			if err := storable(a); err != nil {
				return nil, err
			}
			out[i] = a
		default:
			out[i] = a
		}
	}
	return out, nil
}
