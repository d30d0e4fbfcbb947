package store

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A file of before there were leases of people keeps those that it has, and their rules.
func TestLeasesOfBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "old.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	steps := slices.Concat(migrations()[:3], []string{
		fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = 3", applicationID),
		`INSERT INTO leases VALUES ('one', 1, 'production', 5, 1, 9, '` + strings.Repeat("a", 40) + `', 'migrator', 'db', 'write', 'jti', x'00', 'd', 10, 20, 'live', x'0102', 'why', 20, 3, 'err', 0)`,
	})
	for _, step := range steps {
		if _, err := db.ExecContext(t.Context(), step); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all, err := s.Leases(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("%v %v", all, err)
	}
	l := all[0]
	if l.ID != "one" || l.Run != 5 || l.Job != 9 || l.Person != 0 || l.Credential != "migrator" || l.Token != "jti" || string(l.Handle) != "\x01\x02" || l.Why != "why" || l.Attempts != 3 || l.State != LeaseLive {
		t.Errorf("%+v", l)
	}
	again := l
	again.ID, again.Token, again.Secret, again.MadeAt, again.Deadline = "two", "other", make([]byte, 32), l.MadeAt, l.Deadline
	if err := s.Update(t.Context(), func(tx *Tx) error { return tx.AddLease(again) }); err == nil {
		t.Error("what was given before is given again")
	}
}
