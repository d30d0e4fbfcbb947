package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/store/pgtest"
	"github.com/sallyport/sallyport/rules"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

type config struct {
	rounds, deliveries, callers int
	entries                     int64
}

// run is the program: 0 after a measurement whatever it says, 2 for wrong usage, 1 if
// something went wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("store", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var c config
	fs.IntVar(&c.rounds, "rounds", 5, "rounds, each side in turn")
	fs.IntVar(&c.deliveries, "deliveries", 3000, "deliveries in a round")
	fs.IntVar(&c.callers, "callers", 64, "callers of each replica")
	fs.Int64Var(&c.entries, "entries", 1_000_000, "entries of the ledger that a store is opened with")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if err := measure(ctx, c, stdout); err != nil {
		fmt.Fprintln(stderr, "store:", err)
		return 1
	}
	return 0
}

func measure(ctx context.Context, c config, out io.Writer) (err error) {
	server, stop, err := pgtest.New()
	if err != nil {
		return err
	}
	defer stop()
	fmt.Fprintf(out, "%s %s/%s, %d CPUs\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	sides := []struct {
		name string
		run  func(address string) (time.Duration, error)
	}{
		{"the store, one replica", func(a string) (time.Duration, error) { return replicas(ctx, c, a, 1) }},
		{"the store, three replicas", func(a string) (time.Duration, error) { return replicas(ctx, c, a, 3) }},
		{"PostgreSQL's best, one connection, 64 in a transaction", func(a string) (time.Duration, error) { return best(ctx, c, a, 1, 64) }},
		{"PostgreSQL's best, 64 connections, one in a transaction", func(a string) (time.Duration, error) { return best(ctx, c, a, 64, 1) }},
	}
	rates := make([][]float64, len(sides))
	for range c.rounds {
		for i, side := range sides {
			address, err := server.NewSchema(ctx)
			if err != nil {
				return err
			}
			took, err := side.run(address)
			if err != nil {
				return fmt.Errorf("%s: %w", side.name, err)
			}
			rates[i] = append(rates[i], float64(c.deliveries)/took.Seconds())
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "deliveries\ta second\tquartiles")
	for i, side := range sides {
		slices.Sort(rates[i])
		at := func(part int) float64 { return rates[i][len(rates[i])*part/4] }
		fmt.Fprintf(w, "%s\t%.0f\t%.0f..%.0f\n", side.name, at(2), at(1), at(3))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return opening(ctx, c, server, out)
}

func delivery(n int) rules.Delivery {
	id := fmt.Sprintf("72d3162e-cc78-11e3-81ab-%012d", n)
	return rules.Delivery{
		ID: id, BodyHash: sha256.Sum256([]byte(id)), Event: "pull_request", Action: "opened", ReceivedAt: time.Now(),
		Marks: []rules.Mark{{Key: rules.WorkKey{Kind: rules.WorkPullRequest, Repository: 1, Number: int64(n + 1)}, Installation: 9, FullName: "acme/orders"}},
	}
}

// replicas has deliveries accepted by stores that share a database, each with callers
// of its own.
func replicas(ctx context.Context, c config, address string, count int) (took time.Duration, err error) {
	stores := make([]*store.Store, count)
	for i := range stores {
		if stores[i], err = store.Open(ctx, store.Config{URL: store.Address(address)}); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, stores[i].Close()) }()
	}
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, count*c.callers)
	start := time.Now()
	for i := range errs {
		all.Go(func() {
			for errs[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= c.deliveries {
					return
				}
				_, errs[i] = stores[i%count].Accept(ctx, delivery(n))
			}
		})
	}
	all.Wait()
	return time.Since(start), errors.Join(errs...)
}

// best inserts the same rows as fast as PostgreSQL takes them from clients that look
// at nothing: statements prepared, sent together, committed together.
func best(ctx context.Context, c config, address string, connections, group int) (time.Duration, error) {
	s, err := store.Open(ctx, store.Config{URL: store.Address(address)}) // for the tables
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		return 0, err
	}
	conns := make([]*pgx.Conn, connections)
	for i := range conns {
		if conns[i], err = pgx.Connect(ctx, address); err != nil {
			return 0, err
		}
		defer conns[i].Close(ctx)
	}
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, connections)
	start := time.Now()
	for i, conn := range conns {
		all.Go(func() {
			for errs[i] == nil {
				from := int(next.Add(int64(group))) - group
				if from >= c.deliveries {
					return
				}
				errs[i] = insert(ctx, conn, from, min(from+group, c.deliveries))
			}
		})
	}
	all.Wait()
	return time.Since(start), errors.Join(errs...)
}

func insert(ctx context.Context, conn *pgx.Conn, from, to int) error {
	b := &pgx.Batch{}
	b.Queue("BEGIN")
	for n := from; n < to; n++ {
		d := delivery(n)
		m, at := d.Marks[0], d.ReceivedAt.UnixMicro()
		b.Queue("INSERT INTO deliveries (id, body, event, received_at) VALUES ($1, $2, $3, $4)", d.ID, d.BodyHash[:], d.Event, at)
		b.Queue("INSERT INTO work (key, repository, priority, due_at, installation, full_name, marked_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
			m.Key.String(), int64(m.Key.Repository), int(m.Priority), at, int64(m.Installation), m.FullName, at)
	}
	b.Queue("COMMIT")
	return conn.SendBatch(ctx, b).Close()
}
