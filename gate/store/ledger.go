package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// The methods of Tx and Store in this file are what package ledger declares that
// it needs. Nothing but that package should write with them.

// LedgerSealer signs a head of the ledger.
type LedgerSealer = interface {
	Seal(size int64, edge []byte) (checkpoint []byte, err error)
}

// ledgerHead is the ledger's head as a transaction of the disk has it. It is not
// changed once it is made, so that a savepoint's end can put back the one before.
type ledgerHead struct {
	size             int64
	edge, checkpoint []byte
	by               LedgerSealer // who will seal it; nil if it is what is on the disk
	stored           int64        // the size that is on the disk
}

// head returns the ledger's head within this transaction of the disk.
func (t *Tx) head() (*ledgerHead, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	if t.w.head == nil {
		h := &ledgerHead{}
		if err := t.one("SELECT size, edge, checkpoint FROM ledger_head", nil, &h.size, &h.edge, &h.checkpoint); err != nil {
			return nil, err
		}
		h.stored = h.size
		t.w.head = h
	}
	return t.w.head, nil
}

// LedgerHead returns the ledger's size, edge and newest checkpoint: zeros if
// nothing was appended yet. By is who will make the checkpoint, if this transaction
// of the disk has changed the head. The slices are not to be changed.
func (t *Tx) LedgerHead() (size int64, edge, checkpoint []byte, by LedgerSealer, err error) {
	h, err := t.head()
	if err != nil {
		return 0, nil, nil, nil, err
	}
	return h.size, h.edge, h.checkpoint, h.by, nil
}

// SetLedgerHead replaces the head. It is an error if its size is not from. It is
// kept in memory until the transaction of the disk ends: then by seals the last one,
// and it is written once for everybody. The edge is not to be changed any more.
func (t *Tx) SetLedgerHead(from, size int64, edge []byte, by LedgerSealer) error {
	h, err := t.head()
	switch {
	case err != nil:
		return err
	case by == nil:
		return errors.New("the ledger's head would have no signature")
	case size <= from:
		return fmt.Errorf("the ledger would go from %d to %d entries", from, size)
	case h.size != from:
		return fmt.Errorf("the ledger has %d entries, not %d", h.size, from)
	}
	t.wrote = true
	t.w.head = &ledgerHead{size: size, edge: edge, by: by, stored: h.stored}
	return nil
}

// seal has the head signed and writes it, if this transaction of the disk has
// changed it.
func (w *writing) seal() error {
	h := w.head
	if h == nil || h.by == nil {
		return nil
	}
	checkpoint, err := h.by.Seal(h.size, h.edge)
	if err != nil {
		return err
	}
	if len(checkpoint) == 0 {
		return errors.New("the ledger's head has no signature")
	}
	for _, c := range []struct {
		text string
		args []any
	}{
		{"UPDATE ledger_leaves SET checkpoint = ? WHERE idx = ?", []any{checkpoint, h.size - 1}},
		{"UPDATE ledger_head SET size = ?, edge = ?, checkpoint = ? WHERE size = ?", []any{h.size, blob(h.edge), checkpoint, h.stored}},
	} {
		n, err := w.change(c.text, c.args...)
		if err != nil {
			return fmt.Errorf("the ledger's head: %w", err)
		}
		if n != 1 {
			return fmt.Errorf("the ledger's head of %d entries does not fit what is stored", h.size)
		}
	}
	return nil
}

// AddLedgerLeaves stores entries from an index on, each with its openings, which may
// be nil. It is an error if there is one already.
func (t *Tx) AddLedgerLeaves(index int64, leaves, openings [][]byte) error {
	if len(leaves) != len(openings) {
		return fmt.Errorf("%d ledger entries with the openings of %d", len(leaves), len(openings))
	}
	for done := 0; done < len(leaves); {
		rows := leafRows(len(leaves) - done)
		args := make([]any, 0, 2*rows)
		for i := done; i < done+rows; i++ {
			args = append(args, index+int64(i), blob(leaves[i]))
		}
		if _, err := t.exec(addLeaves[rows], args...); err != nil {
			return fmt.Errorf("%d ledger entries from %d: %w", rows, index+int64(done), err)
		}
		done += rows
	}
	for i, o := range openings {
		if len(o) == 0 {
			continue
		}
		if _, err := t.exec("INSERT INTO ledger_openings (idx, openings) VALUES (?, ?)", index+int64(i), o); err != nil {
			return fmt.Errorf("ledger entry %d: %w", index+int64(i), err)
		}
	}
	return nil
}

// leafRows is how many of n entries the next statement stores. They are few numbers,
// since each is a statement that is kept prepared.
func leafRows(n int) int {
	for _, rows := range []int{32, 8, 3, 2} {
		if rows <= n {
			return rows
		}
	}
	return 1
}

// addLeaves are the statements of leafRows.
var addLeaves = func() map[int]string {
	out := map[int]string{}
	for _, rows := range []int{32, 8, 3, 2, 1} {
		out[rows] = "INSERT INTO ledger_leaves (idx, leaf) VALUES (?, ?)" + strings.Repeat(", (?, ?)", rows-1)
	}
	return out
}()

// AddLedgerNode stores the root of a full subtree. It is an error if there is one.
func (t *Tx) AddLedgerNode(level int, index int64, hash []byte) error {
	if _, err := t.exec("INSERT INTO ledger_nodes (level, idx, hash) VALUES (?, ?, ?)", level, index, hash); err != nil {
		return fmt.Errorf("ledger node %d of level %d: %w", index, level, err)
	}
	return nil
}

// LedgerOpenings returns the openings of an entry, nil if there are none.
func (t *Tx) LedgerOpenings(index int64) ([]byte, error) {
	var out []byte
	err := t.one("SELECT openings FROM ledger_openings WHERE idx = ?", []any{index}, &out)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return out, err
}

// SetLedgerOpenings replaces the openings of an entry; nil removes them. SQLite
// overwrites what it deletes (secure_delete); copies in the write-ahead log go at
// the next checkpoint of the database, those in backups do not.
func (t *Tx) SetLedgerOpenings(index int64, openings []byte) error {
	if len(openings) == 0 {
		_, err := t.exec("DELETE FROM ledger_openings WHERE idx = ?", index)
		return err
	}
	n, err := t.exec("UPDATE ledger_openings SET openings = ? WHERE idx = ?", openings, index)
	return missing(n, err)
}

// LedgerCheckpoint returns the newest signed checkpoint, nil if there is none.
func (s *Store) LedgerCheckpoint(ctx context.Context) ([]byte, error) {
	var out []byte
	err := s.queryOne(ctx, "SELECT checkpoint FROM ledger_head", nil, &out)
	return out, err
}

// LedgerLeaves calls fn for the entries with indexes of from or more and less than
// to, in their order, as far as there are any.
func (s *Store) LedgerLeaves(ctx context.Context, from, to int64, fn func(index int64, leaf, checkpoint, openings []byte) error) error {
	rows, err := s.query(ctx, `SELECT l.idx, l.leaf, l.checkpoint, o.openings FROM ledger_leaves l LEFT JOIN ledger_openings o ON o.idx = l.idx
		WHERE l.idx >= ? AND l.idx < ? ORDER BY l.idx`, from, to)
	if err != nil {
		return err
	}
	return each(rows, func(rows *sql.Rows) error {
		var index int64
		var leaf, checkpoint, openings []byte
		if err := rows.Scan(&index, &leaf, &checkpoint, &openings); err != nil {
			return err
		}
		return fn(index, leaf, checkpoint, openings)
	})
}

// LedgerNodes returns the roots of full subtrees at a level with indexes of from or
// more and less than to, one after the other, as far as there are any.
func (s *Store) LedgerNodes(ctx context.Context, level int, from, to int64) ([]byte, error) {
	rows, err := s.query(ctx, "SELECT hash FROM ledger_nodes WHERE level = ? AND idx >= ? AND idx < ? ORDER BY idx", level, from, to)
	if err != nil {
		return nil, err
	}
	var out []byte
	err = each(rows, func(rows *sql.Rows) error {
		var hash []byte
		err := rows.Scan(&hash)
		out = append(out, hash...)
		return err
	})
	return out, err
}
