package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the same SQLite as the store's

	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// best inserts what the handler made of the deliveries as fast as one goroutine
// gets it out of SQLite: prepared statements, no look at what is there, group
// deliveries in a transaction, as durable as the store (WAL, synchronous=FULL).
func best(ctx context.Context, folder string, all []rules.Delivery, group int) (time.Duration, error) {
	s, err := store.Open(ctx, store.Config{Path: database(folder)}) // for the tables
	if err != nil {
		return 0, err
	}
	if err := s.Close(); err != nil {
		return 0, err
	}
	db, err := sql.Open("sqlite", "file:"+database(folder)+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		return 0, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	texts := []string{
		"BEGIN IMMEDIATE",
		"INSERT INTO deliveries (id, body, event, received_at) VALUES (?, ?, ?, ?)",
		"INSERT INTO work (key, repository, priority, due_at, installation, full_name, marked_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
		"INSERT INTO facts (kind, key, subject, repository, event, action, sender, payload, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		"INSERT INTO fact_deliveries (fact, delivery) VALUES (?, ?)",
		"COMMIT",
	}
	stmts := make([]*sql.Stmt, len(texts))
	for i, text := range texts {
		if stmts[i], err = conn.PrepareContext(ctx, text); err != nil { //nolint:sqlclosecheck // closed below
			return 0, err
		}
		defer stmts[i].Close()
	}
	var failed error
	exec := func(i int, args ...any) sql.Result {
		if failed != nil {
			return nil
		}
		r, err := stmts[i].ExecContext(ctx, args...)
		if err != nil {
			failed = fmt.Errorf("%s: %w", texts[i], err)
		}
		return r
	}
	start := time.Now()
	for from := 0; from < len(all) && failed == nil; from += group {
		exec(0)
		for _, d := range all[from:min(from+group, len(all))] {
			at := d.ReceivedAt.UnixMicro()
			exec(1, d.ID, d.BodyHash[:], d.Event, at)
			for _, f := range d.Facts {
				subject := ""
				if f.Subject != (rules.WorkKey{}) {
					subject = f.Subject.String()
				}
				r := exec(3, string(f.Kind), f.Key, subject, int64(f.Repository), f.Event, f.Action, int64(f.Sender), []byte(f.Payload), at)
				if failed != nil {
					break
				}
				id, err := r.LastInsertId()
				if err != nil {
					return 0, err
				}
				exec(4, id, d.ID)
			}
			for _, m := range d.Marks {
				exec(2, m.Key.String(), int64(m.Key.Repository), int(m.Priority), at, int64(m.Installation), m.FullName, at)
			}
		}
		exec(5)
	}
	return time.Since(start), failed
}

// direct gives deliveries to the store itself, from as many callers as there would
// be connections.
func direct(ctx context.Context, folder string, all []rules.Delivery, callers int) (out outcome, err error) {
	s, err := store.Open(ctx, store.Config{Path: database(folder)})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	before, err := commits(folder)
	if err != nil {
		return out, err
	}
	errs := make([]error, callers)
	start := time.Now()
	inTurn(callers, len(all), func(caller, n int) bool {
		_, errs[caller] = s.Accept(ctx, all[n])
		return errs[caller] == nil
	})
	out.took = time.Since(start)
	after, err := commits(folder)
	out.group = float64(len(all)) / float64(after-before)
	return out, errors.Join(errors.Join(errs...), err)
}

// handled gives signed requests to the handler itself, from as many callers as there
// would be connections: all that the server does for a delivery (verify, read, store,
// answer), without the network and without the work of whoever sends.
func handled(ctx context.Context, folder string, payloads []payload, count, callers int) (out outcome, err error) {
	s, err := store.Open(ctx, store.Config{Path: database(folder)})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	h, err := newHandler(s)
	if err != nil {
		return out, err
	}
	requests := make([]*http.Request, count)
	for i := range requests {
		header, body := payloads[i%len(payloads)].request(i)
		if requests[i], err = http.NewRequestWithContext(ctx, http.MethodPost, "/webhooks/github", bytes.NewReader(body)); err != nil {
			return out, err
		}
		requests[i].Header = header
	}
	before, err := commits(folder)
	if err != nil {
		return out, err
	}
	errs := make([]error, callers)
	start := time.Now()
	inTurn(callers, count, func(caller, n int) bool {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, requests[n])
		if w.Code != http.StatusAccepted {
			errs[caller] = fmt.Errorf("delivery %d was answered with %d: %s", n, w.Code, w.Body)
		}
		return errs[caller] == nil
	})
	out.took = time.Since(start)
	after, err := commits(folder)
	out.group = float64(count) / float64(after-before)
	return out, errors.Join(errors.Join(errs...), err)
}

// inTurn has callers do count things at once, each the next that nobody has begun,
// until one says that it cannot go on.
func inTurn(callers, count int, do func(caller, n int) bool) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for caller := range callers {
		wait.Go(func() {
			for n := next.Add(1) - 1; n < int64(count) && do(caller, int(n)); n = next.Add(1) - 1 {
			}
		})
	}
	wait.Wait()
}

// rows counts what a database holds of deliveries, to hold both sides to the same.
func rows(ctx context.Context, folder string) (string, error) {
	db, err := sql.Open("sqlite", "file:"+database(folder))
	if err != nil {
		return "", err
	}
	defer db.Close()
	var n [4]int64
	err = db.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM deliveries), (SELECT count(*) FROM work), (SELECT count(*) FROM facts), (SELECT count(*) FROM fact_deliveries)").
		Scan(&n[0], &n[1], &n[2], &n[3])
	return fmt.Sprintf("%d deliveries, %d keys of work, %d facts under %d deliveries", n[0], n[1], n[2], n[3]), err
}
