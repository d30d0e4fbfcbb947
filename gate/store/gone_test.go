package store_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/store"
)

// A file that was moved away, removed or replaced while it is in use takes nothing any
// more: what went there would be lost. Nothing makes another in its place, and once it
// is back it goes on.
func TestFileGone(t *testing.T) {
	dir := t.TempDir()
	file, away := filepath.Join(dir, "sallyport.db"), filepath.Join(dir, "away")
	s, err := store.Open(t.Context(), store.Config{Path: file})
	must(t, err)
	defer s.Close()
	must(t, s.Mark(t.Context(), t0, mark(1)))
	must(t, os.Rename(file, away))
	for range 10 { // a read may make a connection
		_, _ = s.Pending(t.Context(), 10)
	}
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is another file in its place: %v", err)
	}
	if err := s.Mark(t.Context(), t0, mark(2)); err == nil || !strings.Contains(err.Error(), "put it back") {
		t.Errorf("it takes a mark: %v", err)
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("it says that it can be written")
	}
	text, err := os.ReadFile(away)
	must(t, err)
	must(t, os.WriteFile(file, text, 0o600))
	if err := s.Mark(t.Context(), t0, mark(3)); err == nil || !strings.Contains(err.Error(), "another file") {
		t.Errorf("it takes a mark beside a copy: %v", err)
	}
	must(t, os.Rename(away, file))
	must(t, s.Mark(t.Context(), t0, mark(4)))
	if got := pending(t, s); len(got) != 2 {
		t.Errorf("%q, want what was taken while the file was there", got)
	}
}

// The write-ahead log is part of the database: without it nothing is taken, and what is
// in it is saved at the end.
func TestLogGone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sallyport.db")
	s, err := store.Open(t.Context(), store.Config{Path: file})
	must(t, err)
	must(t, s.Mark(t.Context(), t0, mark(1)))
	must(t, os.Remove(file+"-wal"))
	if err := s.Mark(t.Context(), t0, mark(2)); err == nil || !strings.Contains(err.Error(), "stop the server") {
		t.Errorf("it takes a mark: %v", err)
	}
	must(t, s.Close())
	s, err = store.Open(t.Context(), store.Config{Path: file})
	must(t, err)
	defer s.Close()
	if got := pending(t, s); len(got) != 1 {
		t.Errorf("%q, want what was taken before", got)
	}
}

// Where SQLite says no more than that it cannot, it is said what to look at.
func TestOpenHints(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sallyport.db")
	s, err := store.Open(t.Context(), store.Config{Path: file})
	must(t, err)
	must(t, s.Close())
	must(t, os.Mkdir(file+"-wal", 0o700))
	if _, err := store.Open(t.Context(), store.Config{Path: file}); err == nil || !strings.Contains(err.Error(), "see that the disk has room") {
		t.Errorf("its log cannot be written: %v", err)
	}
}

// A ping writes: whether there is room is not to be seen otherwise.
func TestPingWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sallyport.db")
	s, err := store.Open(t.Context(), store.Config{Path: path})
	must(t, err)
	defer s.Close()
	db, err := sql.Open("sqlite", path)
	must(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	version := func() (n int) {
		t.Helper()
		must(t, db.QueryRowContext(t.Context(), "PRAGMA data_version").Scan(&n))
		return n
	}
	last := version()
	for range 2 {
		must(t, s.Ping(t.Context()))
		now := version()
		if now == last {
			t.Error("nothing was written")
		}
		last = now
	}
}
