package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// MaxGroup is how many callers' writes are taken into one transaction.
	MaxGroup = 128

	busyTimeout = 5 * time.Second // for the lock of another process
	maxReaders  = 4
	queueLength = 2 * MaxGroup
)

// ErrAlready means that something which may happen once has happened.
var ErrAlready = errors.New("it has happened already")

// ErrNotFound means that there is no such row.
var ErrNotFound = errors.New("there is no such thing in the store")

// ErrNewer means that the file was written by a newer program.
var ErrNewer = errors.New("the database is of a newer version than this program knows")

// ErrClosed means that the store was closed before the write began.
var ErrClosed = errors.New("the store is closed")

// Config says which store to open.
type Config struct {
	// Path of the file. Beside it SQLite keeps two more, with -wal and -shm at the
	// end.
	Path string
	// MustExist refuses to create the file: a wrong path should not look like an
	// empty start once a ledger exists.
	MustExist bool
	// Random gives lease tokens and jitter. Nil is crypto/rand's.
	Random io.Reader
	// Retry says when failed work is tried again; the zero value is
	// [DefaultRetry].
	Retry Retry
	// MaxCache is how many bytes of bodies the ETag cache keeps; 0 is 64 MiB.
	MaxCache int64
}

// Store is an open store. It is safe for concurrent use.
type Store struct {
	cfg     Config
	writeDB *sql.DB
	readDB  *sql.DB
	writer  *sql.Conn // of the goroutine in write alone
	queue   chan *job
	closing chan struct{} // closed by Close
	stopped chan struct{} // closed when the writer has ended
	closed  sync.Once

	// mu guards reads: prepared statements of readDB, by their text.
	mu    sync.Mutex
	reads map[string]*sql.Stmt
}

// Open opens a store, creates it unless cfg says otherwise, and brings its schema
// to the present version. The error is or wraps [ErrNewer] if that is not
// possible.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	cfg.Retry = cfg.Retry.orDefault()
	cfg.MaxCache = cmp.Or(cfg.MaxCache, 64<<20)
	if err := prepareFile(cfg); err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	s := &Store{cfg: cfg, queue: make(chan *job, queueLength), closing: make(chan struct{}), stopped: make(chan struct{}), reads: map[string]*sql.Stmt{}}
	var err error
	fail := func(err error) (*Store, error) {
		return nil, errors.Join(fmt.Errorf("opening the database %q: %w", cfg.Path, err), s.closeAll())
	}
	if s.writeDB, err = sql.Open("sqlite", dsn(cfg.Path, "journal_mode(WAL)", "synchronous(FULL)", "secure_delete(ON)")); err != nil {
		return fail(err)
	}
	s.writeDB.SetMaxOpenConns(1)
	if s.writer, err = s.writeDB.Conn(ctx); err != nil {
		return fail(err)
	}
	if err := migrate(ctx, s.writer); err != nil {
		return fail(err)
	}
	if s.readDB, err = sql.Open("sqlite", dsn(cfg.Path, "query_only(ON)")); err != nil {
		return fail(err)
	}
	s.readDB.SetMaxOpenConns(maxReaders)
	s.readDB.SetMaxIdleConns(maxReaders)
	go s.write()
	return s, nil
}

// dsn names a file with the settings that every connection has.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_txlock": {"immediate"}}
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

// Close waits for the writes that have begun and closes the files. Writes that
// have not begun fail with [ErrClosed].
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() {
		close(s.closing)
		<-s.stopped
		err = s.closeAll()
	})
	return err
}

func (s *Store) closeAll() error {
	var errs []error
	s.mu.Lock()
	for _, stmt := range s.reads {
		errs = append(errs, stmt.Close())
	}
	s.reads = nil
	s.mu.Unlock()
	if s.readDB != nil {
		errs = append(errs, s.readDB.Close())
	}
	if s.writer != nil {
		errs = append(errs, s.writer.Close())
	}
	if s.writeDB != nil {
		errs = append(errs, s.writeDB.Close())
	}
	return errors.Join(errs...)
}

// Ping reports whether the store can be written to: for readiness.
func (s *Store) Ping(ctx context.Context) error {
	return s.Update(ctx, func(*Tx) error { return nil })
}

// stamp is how a time is stored: microseconds since 1970, UTC. The zero time is 0.
func stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func unstamp(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// query runs a prepared read.
func (s *Store) query(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	stmt, err := s.read(ctx, text) //nolint:sqlclosecheck // kept until the store closes
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

func (s *Store) read(ctx context.Context, text string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reads == nil {
		return nil, ErrClosed
	}
	if stmt := s.reads[text]; stmt != nil {
		return stmt, nil
	}
	stmt, err := s.readDB.PrepareContext(ctx, text) //nolint:sqlclosecheck // kept until the store closes
	if err != nil {
		return nil, err
	}
	s.reads[text] = stmt
	return stmt, nil
}

// queryOne runs a prepared read for one row. It returns [ErrNotFound] if there is
// none.
func (s *Store) queryOne(ctx context.Context, text string, args []any, into ...any) error {
	stmt, err := s.read(ctx, text) //nolint:sqlclosecheck // kept until the store closes
	if err != nil {
		return err
	}
	return notFound(stmt.QueryRowContext(ctx, args...).Scan(into...))
}

func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// isConstraint reports whether an error is a broken constraint, which undoes its
// own statement and nothing else.
func isConstraint(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_CONSTRAINT
}

// isDriver reports whether an error is of SQLite itself.
func isDriver(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e)
}
