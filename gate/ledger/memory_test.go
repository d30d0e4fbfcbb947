package ledger_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/rules"
)

const origin = "sallyport.acme.internal/ledger"

// memory is a ledger's storage that a test can tamper with.
type memory struct {
	size             int64
	edge, checkpoint []byte
	leaves           [][]byte
	checkpoints      map[int64][]byte
	openings         map[int64][]byte
	nodes            map[[2]int64][]byte
}

func newMemory() *memory {
	return &memory{checkpoints: map[int64][]byte{}, openings: map[int64][]byte{}, nodes: map[[2]int64][]byte{}}
}

func (m *memory) LedgerHead() (int64, []byte, []byte, ledger.Sealer, error) {
	return m.size, m.edge, m.checkpoint, nil, nil
}

func (m *memory) AddLedgerLeaves(index int64, leaves, openings [][]byte) error {
	if index != int64(len(m.leaves)) {
		return fmt.Errorf("entry %d after %d", index, len(m.leaves))
	}
	for i, leaf := range leaves {
		m.leaves = append(m.leaves, leaf)
		if openings[i] != nil {
			m.openings[index+int64(i)] = openings[i]
		}
	}
	return nil
}

func (m *memory) AddLedgerNode(level int, index int64, hash []byte) error {
	if m.nodes[[2]int64{int64(level), index}] != nil {
		return fmt.Errorf("node %d of level %d twice", index, level)
	}
	m.nodes[[2]int64{int64(level), index}] = bytes.Clone(hash)
	return nil
}

// SetLedgerHead seals at once: each append is a transaction of its own.
func (m *memory) SetLedgerHead(from, size int64, edge []byte, by ledger.Sealer) error {
	if from != m.size {
		return fmt.Errorf("%d entries, not %d", m.size, from)
	}
	checkpoint, err := by.Seal(size, edge)
	if err != nil {
		return err
	}
	m.size, m.edge, m.checkpoint, m.checkpoints[size-1] = size, edge, checkpoint, checkpoint
	return nil
}

func (m *memory) LedgerCheckpoint(context.Context) ([]byte, error) { return m.checkpoint, nil }

func (m *memory) LedgerLeaves(_ context.Context, from, to int64, fn func(int64, []byte, []byte, []byte) error) error {
	for i := from; i < min(to, int64(len(m.leaves))); i++ {
		if err := fn(i, m.leaves[i], m.checkpoints[i], m.openings[i]); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) LedgerNodes(_ context.Context, level int, from, to int64) ([]byte, error) {
	var out []byte
	for i := from; i < to && m.nodes[[2]int64{int64(level), i}] != nil; i++ {
		out = append(out, m.nodes[[2]int64{int64(level), i}]...)
	}
	return out, nil
}

func (m *memory) LedgerOpenings(index int64) ([]byte, error) { return m.openings[index], nil }

func (m *memory) SetLedgerOpenings(index int64, openings []byte) error {
	if openings == nil {
		delete(m.openings, index)
		return nil
	}
	m.openings[index] = openings
	return nil
}

// chance is a source of bytes that is the same each time.
func chance(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

func newKey(tb testing.TB, seed byte, origin string) ledger.Key {
	tb.Helper()
	k, err := ledger.GenerateKey(chance(seed), origin)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func newLog(tb testing.TB, k ledger.Key) *ledger.Log {
	tb.Helper()
	l, err := ledger.New(ledger.Config{Key: k, Random: chance(9)})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// entry is the nth entry of the tests' ledgers.
func entry(n int) ledger.Entry {
	return ledger.Entry{
		Kind: ledger.KindDecision, Time: time.Date(2026, 3, 1, 12, 0, n, 0, time.UTC),
		Subject:  ledger.Subject{Repository: 1, PullRequest: n + 1, SHA: rules.SHA(fmt.Sprintf("%040x", n+1))},
		Decision: fmt.Sprintf("d%d", n), Payload: map[string]any{"verdict": "wait", "n": n},
		Personal: map[string]any{"author_of_it": map[string]any{"login": "octocat", "id": 583231}, "approvers": []string{"hubot"}},
	}
}

// filled is a ledger of n entries, appended a few at a time.
func filled(tb testing.TB, k ledger.Key, n int) (*memory, []ledger.Checkpoint) {
	tb.Helper()
	m, log := newMemory(), newLog(tb, k)
	var all []ledger.Checkpoint
	for i := 0; i < n; {
		var batch []ledger.Entry
		for range min(1+i%3, n-i) {
			batch = append(batch, entry(i))
			i++
		}
		c, err := log.Append(m, batch...)
		if err != nil {
			tb.Fatal(err)
		}
		signed, err := ledger.ParseCheckpoint(m.checkpoint, k.Verifier())
		if err != nil || signed.Witness() != c.Witness() {
			tb.Fatalf("signed is %s, returned %s, %v", signed.Witness(), c.Witness(), err)
		}
		all = append(all, signed)
	}
	return m, all
}

func export(tb testing.TB, r ledger.Reader, cfg ledger.ExportConfig) []byte {
	tb.Helper()
	var out bytes.Buffer
	if err := ledger.Export(tb.Context(), r, &out, cfg); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}
