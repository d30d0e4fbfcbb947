package store

import (
	"testing"
)

// SchemaVersion is the newest version of the schema.
func SchemaVersion() int { return len(migrations()) }

// WriterSetting is a setting of PostgreSQL as the writer's connection has it.
func WriterSetting(t *testing.T, s *Store, name string) string {
	t.Helper()
	var value string
	if err := s.Update(t.Context(), func(tx *Tx) error {
		return tx.one("SELECT current_setting(?)", []any{name}, &value)
	}); err != nil {
		t.Fatal(err)
	}
	return value
}
