package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/store/pgtest"
)

// openingGoal is how long a server may take to start with the ledger of
// [config.entries].
const openingGoal = 2 * time.Second

// opening measures how soon a store with a long ledger has taken one more entry: it is
// open then, its schema looked at, and the ledger's head read and verified.
func opening(ctx context.Context, c config, server *pgtest.Server, out io.Writer) (err error) {
	folder, err := os.MkdirTemp("", "sallyport-store")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	key, err := ledger.GenerateKey(strings.NewReader(strings.Repeat("x", 64)), "bench.internal/ledger")
	if err != nil {
		return err
	}
	from := store.Config{Path: filepath.Join(folder, "sallyport.db")}
	began := time.Now()
	if err := fill(ctx, from, key, c.entries); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d entries written to SQLite in %s\n", c.entries, time.Since(began).Round(time.Second))
	lite, err := open(ctx, from, key)
	if err != nil {
		return err
	}
	address, err := server.NewSchema(ctx)
	if err != nil {
		return err
	}
	to := store.Config{URL: store.Address(address)}
	began = time.Now()
	moved, err := store.Move(ctx, from, to)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d rows moved to PostgreSQL and compared in %s\n", moved.Rows, time.Since(began).Round(time.Second))
	postgres, err := open(ctx, to, key)
	if err != nil {
		return err
	}
	for _, x := range []struct {
		name string
		took time.Duration
	}{{"SQLite", lite}, {"PostgreSQL", postgres}} {
		verdict := "met"
		if x.took > openingGoal {
			verdict = "MISSED"
		}
		fmt.Fprintf(out, "opening with %d entries, until one more is in, %s: %s, goal %s: %s\n", c.entries, x.name, x.took.Round(100*time.Microsecond), openingGoal, verdict)
	}
	return nil
}

func fill(ctx context.Context, cfg store.Config, key ledger.Key, entries int64) (err error) {
	s, err := store.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	log, err := ledger.New(ledger.Config{Key: key})
	if err != nil {
		return err
	}
	for left := entries; left > 0; {
		n := min(left, ledger.MaxAppend)
		batch, err := log.Prepare(slices.Repeat([]ledger.Entry{{Kind: ledger.KindFact, Time: time.Now(), Subject: ledger.Subject{PullRequest: 1}}}, int(n))...)
		if err != nil {
			return err
		}
		if err := s.Update(ctx, func(tx *store.Tx) error {
			_, err := log.AppendBatch(tx, batch)
			return err
		}); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// open is the median of five.
func open(ctx context.Context, cfg store.Config, key ledger.Key) (time.Duration, error) {
	var all []time.Duration
	for range 5 {
		began := time.Now()
		if err := fill(ctx, cfg, key, 1); err != nil {
			return 0, err
		}
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	return all[len(all)/2], nil
}
