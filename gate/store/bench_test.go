package store_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// BenchmarkAccept puts accepted deliveries beside SQLite's own best for the same
// durable insert, in one run and in turns: one goroutine with prepared statements
// that inserts the same rows into the same tables, as many in a transaction as
// group commit may take. Each figure is the median of rounds, since a disk that
// others use stalls now and then; "%" is the one for the other; p50 and p99 are
// what a caller waits, in the median round.
func BenchmarkAccept(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 128, 256} {
		b.Run(fmt.Sprintf("%d callers", callers), func(b *testing.B) {
			const rounds = 9
			rows := max(300, callers*30)
			var accepts, best, ratios, p50, p99 []float64
			for b.Loop() {
				for range rounds {
					d, waits := timeAccepts(b, callers, rows)
					slices.Sort(waits)
					p50 = append(p50, waits[len(waits)/2].Seconds()*1000)
					p99 = append(p99, waits[len(waits)*99/100].Seconds()*1000)
					e := timeBest(b, min(callers, store.MaxGroup), rows)
					accepts = append(accepts, float64(rows)/d.Seconds())
					best = append(best, float64(rows)/e.Seconds())
					ratios = append(ratios, 100*e.Seconds()/d.Seconds())
				}
			}
			b.ReportMetric(median(accepts), "accepted/s")
			b.ReportMetric(median(best), "best/s")
			b.ReportMetric(median(ratios), "%")
			b.ReportMetric(median(p50), "p50-ms")
			b.ReportMetric(median(p99), "p99-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

func benchDelivery(n int64) rules.Delivery {
	id := fmt.Sprintf("72d3162e-cc78-11e3-81ab-%012d", n)
	return rules.Delivery{
		ID: id, BodyHash: sha256.Sum256([]byte(id)), Event: "pull_request", Action: "opened", ReceivedAt: t0,
		Marks: []rules.Mark{{Key: pr(n + 1), Installation: 9, FullName: "acme/orders"}},
	}
}

func timeAccepts(b *testing.B, callers, rows int) (time.Duration, []time.Duration) {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Path: filepath.Join(b.TempDir(), "sallyport.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var next atomic.Int64
	waits := make([]time.Duration, rows)
	var wait sync.WaitGroup
	start := time.Now()
	for range callers {
		wait.Go(func() {
			for n := next.Add(1) - 1; n < int64(rows); n = next.Add(1) - 1 {
				began := time.Now()
				if _, err := s.Accept(ctx, benchDelivery(n)); err != nil {
					b.Error(err)
					return
				}
				waits[n] = time.Since(began)
			}
		})
	}
	wait.Wait()
	return time.Since(start), waits
}

func timeBest(b *testing.B, group, rows int) time.Duration {
	ctx := context.Background()
	path := filepath.Join(b.TempDir(), "best.db")
	s, err := store.Open(ctx, store.Config{Path: path}) // for the tables
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
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
	var stmts [4]*sql.Stmt
	for i, text := range []string{
		"BEGIN IMMEDIATE",
		"INSERT INTO deliveries (id, body, event, received_at) VALUES (?, ?, ?, ?)",
		"INSERT INTO work (key, repository, priority, due_at, installation, full_name, marked_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
		"COMMIT",
	} {
		if stmts[i], err = conn.PrepareContext(ctx, text); err != nil { //nolint:sqlclosecheck // closed below
			b.Fatal(err)
		}
		defer stmts[i].Close()
	}
	exec := func(i int, args ...any) {
		if _, err := stmts[i].ExecContext(ctx, args...); err != nil {
			b.Fatal(err)
		}
	}
	start := time.Now()
	for done := 0; done < rows; done += group {
		exec(0)
		for n := done; n < min(done+group, rows); n++ {
			d := benchDelivery(int64(n))
			m := d.Marks[0]
			exec(1, d.ID, d.BodyHash[:], d.Event, d.ReceivedAt.UnixMicro())
			exec(2, m.Key.String(), int64(m.Key.Repository), int(m.Priority), t0.UnixMicro(), int64(m.Installation), m.FullName, t0.UnixMicro())
		}
		exec(3)
	}
	return time.Since(start)
}
