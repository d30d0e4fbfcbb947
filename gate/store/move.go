package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// ErrMoved means that what was in the file is in another database now, or was being
// moved there: two stores that go on from one ledger would be two histories.
var ErrMoved = errors.New("the database was moved to another one")

// Moved says what [Move] has copied.
type Moved struct {
	Tables int
	Rows   int64
	// Entries is the ledger's size.
	Entries int64
}

// Move copies everything in a file of SQLite into an empty database of PostgreSQL, and
// leaves the file such that nothing opens it any more: [Open] returns [ErrMoved]. No
// other process may have the file open.
//
// Each row is compared with what it was after it was written. If Move returns an
// error the file is as it was and the database has nothing. If the process is killed,
// the file is closed to everybody but another Move.
func Move(ctx context.Context, from, to Config) (m Moved, err error) {
	if from.Path == "" || from.URL != "" || to.URL == "" || to.Path != "" {
		return m, errors.New("moving the database: want a file of SQLite to move from and a URL of PostgreSQL to move to")
	}
	from.MustExist = true
	if err := prepareFile(from); err != nil {
		return m, fmt.Errorf("moving the database: %w", err)
	}
	source, was, done, err := openAlone(ctx, from.Path)
	if err != nil {
		return m, fmt.Errorf("moving the database %q: %w", from.Path, err)
	}
	defer func() { err = errors.Join(err, done()) }()
	target, err := openEmpty(ctx, to)
	if err != nil {
		return m, fmt.Errorf("moving the database: opening the one to move to: %w", err)
	}
	defer func() { err = errors.Join(err, hangUp(target)) }()
	if err := setApplication(ctx, source, movedID); err != nil {
		return m, fmt.Errorf("moving the database %q: %w", from.Path, err)
	}
	m, sure, err := copyAll(ctx, source, target)
	switch {
	case err != nil && sure:
		// Nothing was committed, so the file may go on, unless it had been closed before.
		err = errors.Join(err, setApplication(context.WithoutCancel(ctx), source, was))
		return Moved{}, fmt.Errorf("moving the database: %w", err)
	case err != nil:
		return Moved{}, fmt.Errorf("moving the database: whether the copy is complete is not known, so the file stays closed: drop the schema that was moved to and move again: %w", err)
	}
	return m, nil
}

// openAlone opens a file so that nobody else can, and brings its schema to the present
// version. Was is its application's id: applicationID, or movedID of one that is closed,
// which it stays, since what it was moved to may have gone on from it.
func openAlone(ctx context.Context, path string) (c *sql.Conn, was int64, done func() error, err error) {
	db, err := sql.Open("sqlite", dsn(path, "locking_mode(EXCLUSIVE)", "synchronous(FULL)"))
	if err != nil {
		return nil, 0, nil, err
	}
	db.SetMaxOpenConns(1)
	// Who has the file open holds a lock that an exclusive one cannot be beside.
	taken := func(err error) error {
		if isBusy(err) {
			return fmt.Errorf("somebody has it open, so stop every server and command first: %w", err)
		}
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, 0, nil, errors.Join(taken(err), db.Close())
	}
	fail := func(err error) (*sql.Conn, int64, func() error, error) {
		return nil, 0, nil, errors.Join(err, conn.Close(), db.Close())
	}
	if _, err := conn.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		return fail(taken(err))
	}
	if _, err := conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		return fail(err)
	}
	// An interrupted move is begun anew.
	if err := conn.QueryRowContext(ctx, "PRAGMA application_id").Scan(&was); err != nil {
		return fail(err)
	}
	if was != movedID {
		was = applicationID
	}
	if err := migrateSQLite(ctx, conn, was); err != nil {
		return fail(err)
	}
	return conn, was, func() error { return errors.Join(conn.Close(), db.Close()) }, nil
}

func setApplication(ctx context.Context, conn *sql.Conn, id int64) error {
	_, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", id))
	return err
}

// openEmpty opens a database, makes the tables in it and makes sure that nothing is in
// them.
func openEmpty(ctx context.Context, to Config) (*pgx.Conn, error) {
	cfg, err := parsePostgres(to.URL)
	if err != nil {
		return nil, err
	}
	conn, err := connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := migratePostgres(ctx, conn, false); err != nil {
		return nil, errors.Join(err, hangUp(conn))
	}
	// What comes takes longer than a server's own writes.
	if _, err := conn.Exec(ctx, "SELECT set_config('statement_timeout', '0', false), set_config('idle_in_transaction_session_timeout', '0', false)"); err != nil {
		return nil, errors.Join(err, hangUp(conn))
	}
	return conn, nil
}

// copyAll copies every table in one transaction. Sure says that if there is an error
// nothing was committed.
func copyAll(ctx context.Context, source *sql.Conn, target *pgx.Conn) (m Moved, sure bool, err error) {
	tables, err := tablesOf(ctx, source)
	if err != nil {
		return m, true, err
	}
	schema, err := schemaOf(ctx, target)
	if err != nil {
		return m, true, err
	}
	tx, err := target.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return m, true, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // nothing after a commit
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lockOf("writer", schema)); err != nil {
		return m, true, err
	}
	if err := empty(ctx, tx, tables); err != nil {
		return m, true, err
	}
	for _, t := range tables {
		n, err := t.copy(ctx, source, tx)
		if err != nil {
			return m, true, fmt.Errorf("table %s: %w", t.name, err)
		}
		m.Tables++
		m.Rows += n
	}
	if err := tx.QueryRow(ctx, "SELECT size FROM ledger_head").Scan(&m.Entries); err != nil {
		return m, true, err
	}
	if err := tx.Commit(ctx); err != nil {
		return m, errors.Is(err, pgx.ErrTxCommitRollback), err
	}
	return m, true, nil
}

// empty makes sure that there is nothing in the tables but what every new store has,
// and takes that away.
func empty(ctx context.Context, tx pgx.Tx, tables []table) error {
	for _, t := range tables {
		what := "SELECT count(*) FROM " + t.quoted()
		switch t.name {
		case "ledger_head", "etags_total":
			what += " WHERE size <> 0"
		}
		var n int64
		if err := tx.QueryRow(ctx, what).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("the database is in use: table %s is not empty. Move into an empty database or schema", t.name)
		}
	}
	_, err := tx.Exec(ctx, "DELETE FROM ledger_head; DELETE FROM etags_total")
	return err
}

// table is a table of the file.
type table struct {
	name    string
	columns []string
	full    []bool   // of the columns, those that must have a value
	key     []string // the columns of its primary key
}

// tablesOf lists the tables, those first that others refer to.
func tablesOf(ctx context.Context, conn *sql.Conn) ([]table, error) {
	rows, err := conn.QueryContext(ctx, `SELECT t.name, c.name, c.pk, c."notnull" FROM sqlite_schema t JOIN pragma_table_info(t.name) c
		WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY t.rowid, c.cid`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []table
	keys := map[string]map[int]string{}
	for rows.Next() {
		var name, column string
		var pk int
		var full bool
		if err := rows.Scan(&name, &column, &pk, &full); err != nil {
			return nil, err
		}
		if len(out) == 0 || out[len(out)-1].name != name {
			out = append(out, table{name: name})
			keys[name] = map[int]string{}
		}
		t := &out[len(out)-1]
		t.columns, t.full = append(t.columns, column), append(t.full, full)
		if pk > 0 {
			keys[name][pk] = column
		}
	}
	for i := range out {
		for n := 1; n <= len(keys[out[i].name]); n++ {
			out[i].key = append(out[i].key, keys[out[i].name][n])
		}
		if len(out[i].key) == 0 {
			return nil, fmt.Errorf("table %s has no key", out[i].name)
		}
	}
	return out, rows.Err()
}

func (t table) quoted() string { return pgx.Identifier{t.name}.Sanitize() }

// list names the columns for either database.
func list(columns []string) string {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = pgx.Identifier{c}.Sanitize()
	}
	return strings.Join(quoted, ", ")
}

// copy copies the rows, reads them again and compares.
func (t table) copy(ctx context.Context, source *sql.Conn, tx pgx.Tx) (int64, error) {
	text := "SELECT " + list(t.columns) + " FROM " + t.quoted() + " ORDER BY " + list(t.key) //nolint:gosec // names of the schema, quoted
	rows, err := source.QueryContext(ctx, text)                                              //nolint:rowserrcheck // moving asks it
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	was := &moving{rows: rows, full: t.full, sum: sha256.New()}
	n, err := tx.CopyFrom(ctx, pgx.Identifier{t.name}, t.columns, was)
	if err != nil {
		return 0, err
	}
	is := sha256.New()
	copied, err := tx.Query(ctx, text)
	if err != nil {
		return 0, err
	}
	defer copied.Close()
	read := int64(0)
	for copied.Next() {
		values, err := copied.Values()
		if err != nil {
			return 0, err
		}
		if err := add(is, values); err != nil {
			return 0, err
		}
		read++
	}
	if err := copied.Err(); err != nil {
		return 0, err
	}
	if n != was.n || read != was.n || !bytes.Equal(is.Sum(nil), was.sum.Sum(nil)) {
		return 0, fmt.Errorf("of %d rows %d were written and %d are there, or they differ", was.n, n, read)
	}
	return n, t.goOn(ctx, tx)
}

// goOn has the table's own numbers go on after those that were copied.
func (t table) goOn(ctx context.Context, tx pgx.Tx) error {
	for _, c := range t.columns {
		var sequence *string
		if err := tx.QueryRow(ctx, "SELECT pg_get_serial_sequence($1, $2)", t.quoted(), c).Scan(&sequence); err != nil {
			return err
		}
		if sequence == nil {
			continue
		}
		if _, err := tx.Exec(ctx, "SELECT setval($1::regclass, coalesce(max("+list([]string{c})+"), 0) + 1, false) FROM "+t.quoted(), *sequence); err != nil {
			return err
		}
	}
	return nil
}

// moving gives rows of SQLite to PostgreSQL, and sums them up on the way.
type moving struct {
	rows   *sql.Rows
	full   []bool
	sum    hash.Hash
	n      int64
	values []any
	err    error
}

// Next reads a row.
func (m *moving) Next() bool {
	if m.err != nil || !m.rows.Next() {
		return false
	}
	m.values = make([]any, len(m.full))
	into := make([]any, len(m.full))
	for i := range into {
		into[i] = &m.values[i]
	}
	m.err = m.rows.Scan(into...)
	for i, v := range m.values {
		// The driver gives bytes of which there are none as nil.
		if b, ok := v.([]byte); m.full[i] && (v == nil || ok && b == nil) {
			m.values[i] = []byte{}
		}
	}
	if m.err == nil {
		m.err = add(m.sum, m.values)
	}
	m.n++
	return m.err == nil
}

// Values are those of the row.
func (m *moving) Values() ([]any, error) { return m.values, m.err }

// Err is what went wrong.
func (m *moving) Err() error { return errors.Join(m.err, m.rows.Err()) }

// add adds a row to a sum, in a form that both databases' values have.
func add(sum hash.Hash, values []any) error {
	for _, v := range values {
		var kind byte
		var text []byte
		switch v := v.(type) {
		case nil:
			kind = 'n'
		case int64:
			kind, text = 'i', binary.BigEndian.AppendUint64(nil, uint64(v)) //nolint:gosec // the bits are meant
		case string:
			kind, text = 't', []byte(v)
		case []byte:
			kind, text = 'b', v
		default:
			return fmt.Errorf("a value of type %T", v)
		}
		head := binary.BigEndian.AppendUint64([]byte{kind}, uint64(len(text)))
		_, _ = sum.Write(slices.Concat(head, text)) // into memory
	}
	return nil
}
