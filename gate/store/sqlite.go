package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	busyTimeout = 5 * time.Second // for the lock of another process
	maxReaders  = 4
	logSuffix   = "-wal" // of the write-ahead log, beside the file
)

// openSQLite opens the file of cfg.
func (s *Store) openSQLite(ctx context.Context) error {
	if err := prepareFile(s.cfg); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(s.cfg.Path, "journal_mode(WAL)", "synchronous(FULL)", "secure_delete(ON)"))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	x := &sqliteSession{db: db, stmts: map[string]*sql.Stmt{}}
	s.writer = x
	if x.conn, err = db.Conn(ctx); err != nil {
		return err
	}
	if err := migrateSQLite(ctx, x.conn, applicationID); err != nil {
		return err
	}
	if err := x.remember(s.cfg.Path); err != nil {
		return err
	}
	if s.readDB, err = sql.Open("sqlite", dsn(s.cfg.Path, "query_only(ON)")); err != nil {
		return err
	}
	s.readDB.SetMaxOpenConns(maxReaders)
	s.readDB.SetMaxIdleConns(maxReaders)
	return nil
}

// dsn names a file with the settings that every connection has. None makes the file:
// where it is gone, an empty one in its place would look like an empty start.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_txlock": {"immediate"}, "mode": {"rw"}}
	q.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()))
	for _, p := range append(pragmas, "foreign_keys(ON)", "trusted_schema(OFF)", "cell_size_check(ON)") {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}).String()
}

// prepareFile creates the file for its owner alone, or holds an existing one to
// that. SQLite gives the files beside it the same mode.
func prepareFile(cfg Config) error {
	if cfg.Path == "" {
		return errors.New("no path")
	}
	info, err := os.Stat(cfg.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && cfg.MustExist:
		return fmt.Errorf("%q is not there, and it is not to be created", cfg.Path)
	case errors.Is(err, fs.ErrNotExist):
		f, err := os.OpenFile(cfg.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		return f.Close()
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%q is not a regular file", cfg.Path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%q can be read or written by others (mode %#o): chmod 600 %s", cfg.Path, info.Mode().Perm(), cfg.Path)
	}
	return nil
}

// sqliteSession is the writer's connection to a file, with its prepared statements.
type sqliteSession struct {
	db    *sql.DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	// files are those that were opened, by their names.
	files map[string]os.FileInfo
}

// remember keeps which files were opened: the database and its write-ahead log.
func (x *sqliteSession) remember(path string) error {
	x.files = map[string]os.FileInfo{}
	for _, name := range []string{path, path + logSuffix} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		x.files[name] = info
	}
	return nil
}

// same refuses to go on with files that are gone from where they were: what is written
// to them is lost when the process ends, however well it was synced.
func (x *sqliteSession) same() error {
	for name, was := range x.files {
		info, err := os.Stat(name)
		if err == nil && os.SameFile(info, was) {
			continue
		}
		next := "put it back, or stop the server, restore the database and start it again"
		if strings.HasSuffix(name, logSuffix) {
			next = "stop the server, which saves what is in it, and start it again"
		}
		if err != nil {
			return fmt.Errorf("a file that is in use is gone (%w): %s", err, next)
		}
		return fmt.Errorf("%q is another file than the one that is in use: %s", name, next)
	}
	return nil
}

func (x *sqliteSession) begin() error {
	if err := x.same(); err != nil {
		return err
	}
	return x.exec("BEGIN IMMEDIATE")
}

func (x *sqliteSession) save() error     { return x.exec("SAVEPOINT one") }
func (x *sqliteSession) undo() error     { return x.exec("ROLLBACK TO one") }
func (x *sqliteSession) keep() error     { return x.exec("RELEASE one") }
func (x *sqliteSession) commit() error   { return x.exec("COMMIT") }
func (x *sqliteSession) rollback() error { return x.exec("ROLLBACK") }

func (x *sqliteSession) exec(text string) error {
	_, err := x.change(text)
	return err
}

// stmt prepares a statement once. The writer's statements are never interrupted
// half-way: they have no context of a caller, whose end would end the others'
// transaction too.
func (x *sqliteSession) stmt(text string) (*sql.Stmt, error) {
	if stmt := x.stmts[text]; stmt != nil {
		return stmt, nil
	}
	stmt, err := x.conn.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, err
	}
	x.stmts[text] = stmt
	return stmt, nil
}

func (x *sqliteSession) change(text string, args ...any) (int64, error) {
	stmt, err := x.stmt(text) //nolint:sqlclosecheck // kept until the store closes
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (x *sqliteSession) later(text string, args ...any) (int64, error) {
	return x.change(text, args...)
}

// ahead does nothing: there are no round trips.
func (x *sqliteSession) ahead([]*job) error { return nil }

func (x *sqliteSession) row(text string, args []any, into ...any) error {
	stmt, err := x.stmt(text) //nolint:sqlclosecheck // kept until the store closes
	if err != nil {
		return err
	}
	return notFound(stmt.QueryRowContext(context.Background(), args...).Scan(into...))
}

// broken is true of errors after which SQLite may have rolled the whole transaction
// back by itself (a full disk, an I/O error, no memory). A broken constraint undoes
// its own statement and nothing else.
func (x *sqliteSession) broken(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff != sqlite3.SQLITE_CONSTRAINT
}

// hint says what to look at where SQLite's own words do not.
func hint(err error) string {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return ""
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL:
		return ": it writes this file and two beside it, -wal and -shm: see that the disk has room and that this user may write the folder and all three"
	}
	return ""
}

// isBusy reports whether another process's lock is in the way.
func isBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

func (x *sqliteSession) close() error {
	for _, stmt := range x.stmts {
		_ = stmt.Close() // the connection is closed next
	}
	var err error
	if x.conn != nil {
		err = x.conn.Close()
	}
	return errors.Join(err, x.db.Close())
}
