package ledger_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
)

// BenchmarkAppend puts appends through the SQLite store beside plain inserts of
// the same bytes, in one run and in turns. "%" compares with plain inserts through
// the same store, by as many callers in as many transactions: what the entries'
// encoding, the tree and its signatures cost. "entries/signature" is how many shared
// one. "%_of_raw" compares with what one goroutine gets out of
// SQLite with prepared statements and as many rows in a transaction as group
// commit can have: what the store's transactions cost, too. Each figure is the
// median of rounds, since a disk that others use stalls now and then.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name           string
		callers, batch int
	}{
		{"one caller, 1 entry a transaction", 1, 1},
		{"one caller, 100 entries a transaction", 1, 100},
		{"64 callers, 1 entry each, group commit", 64, 1},
		{"64 callers, 4 entries each, group commit", 64, 4},
	} {
		b.Run(c.name, func(b *testing.B) {
			const rounds = 9
			rows := max(c.callers*c.batch*100, 2000)
			if c.callers*c.batch == 1 {
				rows = 200
			}
			var appends, inserts, raws, ofInserts, ofRaw, shared []float64
			for b.Loop() {
				for range rounds {
					a, signatures := timeAppends(b, c.callers, c.batch, rows)
					p := timePlain(b, c.callers, c.batch, rows)
					r := timeInserts(b, c.callers, c.batch, rows)
					shared = append(shared, float64(rows)/float64(signatures))
					appends = append(appends, float64(rows)/a.Seconds())
					inserts = append(inserts, float64(rows)/p.Seconds())
					raws = append(raws, float64(rows)/r.Seconds())
					ofInserts = append(ofInserts, 100*p.Seconds()/a.Seconds())
					ofRaw = append(ofRaw, 100*r.Seconds()/a.Seconds())
				}
			}
			b.ReportMetric(median(appends), "appends/s")
			b.ReportMetric(median(inserts), "inserts/s")
			b.ReportMetric(median(raws), "raw/s")
			b.ReportMetric(median(shared), "entries/signature")
			b.ReportMetric(median(ofRaw), "%_of_raw")
			b.ReportMetric(median(ofInserts), "%")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// decided is a payload like that of a decision.
type decided struct {
	Codes        []string `json:"codes"`
	Decision     string   `json:"decision"`
	Environments []string `json:"environments"`
	Facts        string   `json:"facts"`
	Policy       string   `json:"policy"`
	Verdict      string   `json:"verdict"`
}

// sized is an entry of about 600 bytes.
func sized(n int) ledger.Entry {
	e := entry(n)
	e.Personal = nil
	e.Payload = decided{
		Codes: []string{"SP101", "SP202", "SP303"}, Decision: fmt.Sprintf("%0180x", n+2), Environments: []string{"production"},
		Facts: fmt.Sprintf("%064x", n+1), Policy: fmt.Sprintf("%064x", n), Verdict: "wait",
	}
	return e
}

func timeAppends(b *testing.B, callers, batch, rows int) (took time.Duration, signatures int) {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Path: filepath.Join(b.TempDir(), "sallyport.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	log := newLog(b, newKey(b, 1, origin))
	entries := make([]ledger.Entry, batch)
	for i := range entries {
		entries[i] = sized(i)
	}
	took = timed(b, callers, rows/batch, func() error {
		prepared, err := log.Prepare(entries...)
		if err != nil {
			return err
		}
		return s.Update(ctx, func(tx *store.Tx) error {
			_, err := log.AppendBatch(tx, prepared)
			return err
		})
	})
	if err := s.LedgerLeaves(ctx, 0, int64(rows), func(_ int64, _, checkpoint, _ []byte) error {
		if checkpoint != nil {
			signatures++
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	return took, signatures
}

// timePlain inserts the leaves' bytes and nothing else, each by a statement.
func timePlain(b *testing.B, callers, batch, rows int) time.Duration {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Path: filepath.Join(b.TempDir(), "plain.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	m, log := newMemory(), newLog(b, newKey(b, 1, origin))
	if _, err := log.Append(m, sized(1)); err != nil {
		b.Fatal(err)
	}
	index := int64(0) // of the writer's goroutine
	return timed(b, callers, rows/batch, func() error {
		return s.Update(ctx, func(tx *store.Tx) error {
			for range batch {
				if err := tx.AddLedgerLeaves(index, m.leaves[:1], make([][]byte, 1)); err != nil {
					return err
				}
				index++
			}
			return nil
		})
	})
}

// timeInserts is SQLite as fast as one goroutine gets it: prepared statements, as
// many rows in a transaction as the group commit above can have.
func timeInserts(b *testing.B, callers, batch, rows int) time.Duration {
	ctx := context.Background()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "plain.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "CREATE TABLE plain (idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT"); err != nil {
		b.Fatal(err)
	}
	m, log := newMemory(), newLog(b, newKey(b, 1, origin))
	if _, err := log.Append(m, sized(1)); err != nil {
		b.Fatal(err)
	}
	leaf := m.leaves[0]
	var stmts [3]*sql.Stmt
	for i, text := range []string{"BEGIN IMMEDIATE", "INSERT INTO plain (leaf) VALUES (?)", "COMMIT"} {
		if stmts[i], err = conn.PrepareContext(ctx, text); err != nil { //nolint:sqlclosecheck // closed below
			b.Fatal(err)
		}
		defer stmts[i].Close()
	}
	group := min(callers, store.MaxGroup) * batch
	start := time.Now()
	for done := 0; done < rows; done += group {
		if _, err := stmts[0].ExecContext(ctx); err != nil {
			b.Fatal(err)
		}
		for range min(group, rows-done) {
			if _, err := stmts[1].ExecContext(ctx, leaf); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := stmts[2].ExecContext(ctx); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// timed runs fn a number of times from a number of goroutines.
func timed(b *testing.B, callers, times int, fn func() error) time.Duration {
	var next atomic.Int64
	var wait sync.WaitGroup
	start := time.Now()
	for range callers {
		wait.Go(func() {
			for next.Add(1) <= int64(times) {
				if err := fn(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	return time.Since(start)
}
