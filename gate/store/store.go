package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// MaxGroup is how many callers' writes are taken into one transaction.
	MaxGroup = 128

	queueLength = 2 * MaxGroup

	// unknown is how many rows a statement changed that was not run yet.
	unknown = -1
)

// ErrAlready means that something which may happen once has happened.
var ErrAlready = errors.New("it has happened already")

// ErrNotFound means that there is no such row.
var ErrNotFound = errors.New("there is no such thing in the store")

// ErrNewer means that the store was written by a newer program.
var ErrNewer = errors.New("the database is of a newer version than this program knows")

// ErrClosed means that the store was closed before the write began.
var ErrClosed = errors.New("the store is closed")

// Config says which store to open: a file of SQLite by Path, or a database of
// PostgreSQL by URL. [ParseURL] reads either from a text.
type Config struct {
	// Path of the file. Beside it SQLite keeps two more, with -wal and -shm at the
	// end.
	Path string
	// URL of the database. Its role owns the schema that its search_path begins
	// with.
	URL Address
	// MustExist refuses to create what is not there: a wrong name should not look
	// like an empty start once a ledger exists.
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
	writer  session // of the goroutine in write alone
	readDB  *sql.DB
	remarks []string
	queue   chan *job
	closing chan struct{} // closed by Close
	stopped chan struct{} // closed when the writer has ended
	closed  sync.Once

	// mu guards reads, and is held for no request to PostgreSQL. Reads are prepared
	// statements of readDB by their text; with PostgreSQL, whose connections keep
	// them by themselves, the texts in its spelling.
	mu    sync.Mutex
	reads map[string]*sql.Stmt
	texts map[string]string
}

// session is the writer's connection to the database. The writer's goroutine has it
// for itself. It asks for nothing between a transaction's end and the next begin.
type session interface {
	begin() error
	// save begins a part of the transaction that undo undoes; keep ends it. There is
	// one at a time.
	save() error
	undo() error
	keep() error
	// commit makes everything durable, or returns an error. After an error the
	// transaction is to be rolled back; it may be committed all the same.
	commit() error
	rollback() error
	// change runs a statement and returns how many rows it changed.
	change(text string, args ...any) (int64, error)
	// later runs a statement before the next one, or before the commit: an error may
	// come only then. It returns how many rows it changed, or unknown.
	later(text string, args ...any) (int64, error)
	// ahead runs the statements that jobs begin with before the jobs are run, where
	// that saves round trips.
	ahead(group []*job) error
	// row runs a query for one row, or returns [ErrNotFound].
	row(text string, args []any, into ...any) error
	// broken reports whether an error of change or row leaves a transaction that
	// cannot go on, so that nobody's part of it can be kept.
	broken(err error) bool
	close() error
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
	s := &Store{
		cfg: cfg, queue: make(chan *job, queueLength), closing: make(chan struct{}), stopped: make(chan struct{}),
		reads: map[string]*sql.Stmt{}, texts: map[string]string{},
	}
	var err error
	switch {
	case cfg.URL != "" && cfg.Path != "":
		err = errors.New("opening the database: a file and a URL")
	case cfg.URL != "":
		if err = s.openPostgres(ctx); err != nil {
			err = fmt.Errorf("opening the database: %w", err)
		}
	default:
		if err = s.openSQLite(ctx); err != nil {
			err = fmt.Errorf("opening the database %q: %w%s", cfg.Path, err, hint(err))
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.closeAll())
	}
	go s.write()
	return s, nil
}

// Remarks are what is not as it should be with the database, although it works: a
// line each, for the log.
func (s *Store) Remarks() []string { return s.remarks }

// Close waits for the writes that have begun and closes the files or connections. Writes that
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
		errs = append(errs, s.writer.close())
	}
	return errors.Join(errs...)
}

// Ping reports whether the store can be written to: for readiness. It writes: where the
// disk is full, a transaction that writes nothing succeeds.
func (s *Store) Ping(ctx context.Context) error {
	return s.SetSetting(ctx, "pinged", nil, time.Now())
}

// stamp is how a time is stored: microseconds since 1970, UTC. The zero time is 0.
func stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// errUnstorable is that of a text that is not stored.
var errUnstorable = errors.New("a text that cannot be stored")

// storable refuses texts that PostgreSQL has no place for: with a NUL, or no UTF-8.
func storable(texts ...string) error {
	for _, text := range texts {
		if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
			return fmt.Errorf("%w: %.40q", errUnstorable, text)
		}
	}
	return nil
}

func unstamp(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// result is the rows of a read, to be given to each.
type result struct {
	*sql.Rows

	done context.CancelFunc
}

// query runs a read.
func (s *Store) query(ctx context.Context, text string, args ...any) (result, error) {
	if s.cfg.URL != "" {
		return s.queryPostgres(ctx, text, args)
	}
	stmt, err := s.read(ctx, text) //nolint:sqlclosecheck // kept until the store closes
	if err != nil {
		return result{}, err
	}
	rows, err := stmt.QueryContext(ctx, args...) //nolint:rowserrcheck // closed by each, which asks for the error
	return result{rows, func() {}}, err
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

func (s *Store) queryPostgres(ctx context.Context, text string, args []any) (result, error) {
	s.mu.Lock()
	closed, known := s.reads == nil, s.texts[text] //nolint:gosec // a text of ours, with its places numbered
	if known == "" {
		known = numbered(text)
		s.texts[text] = known
	}
	s.mu.Unlock()
	if closed {
		return result{}, ErrClosed
	}
	wired, err := wire(args)
	if err != nil {
		return result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	rows, err := s.readDB.QueryContext(ctx, known, wired...) //nolint:rowserrcheck // closed by each, which asks for the error
	if err != nil {
		cancel()
		return result{}, err
	}
	return result{rows, cancel}, nil
}

// each calls fn for every row and closes the rows.
func each(rows result, fn func(*sql.Rows) error) error {
	defer rows.done()
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// all runs a read and gives its rows, each as scan reads it.
func all[T any](ctx context.Context, s *Store, scan func(scan func(...any) error) (T, error), text string, args ...any) ([]T, error) {
	rows, err := s.query(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	var out []T
	err = each(rows, func(rows *sql.Rows) error {
		x, err := scan(rows.Scan)
		out = append(out, x)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// queryOne runs a read for one row. It returns [ErrNotFound] if there is none.
func (s *Store) queryOne(ctx context.Context, text string, args []any, into ...any) error {
	if s.cfg.URL == "" {
		stmt, err := s.read(ctx, text) //nolint:sqlclosecheck // kept until the store closes
		if err != nil {
			return err
		}
		return notFound(stmt.QueryRowContext(ctx, args...).Scan(into...))
	}
	rows, err := s.queryPostgres(ctx, text, args)
	if err != nil {
		return err
	}
	found := false
	err = each(rows, func(rows *sql.Rows) error {
		if found {
			return nil
		}
		found = true
		return rows.Scan(into...)
	})
	if err == nil && !found {
		return ErrNotFound
	}
	return err
}

func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}
