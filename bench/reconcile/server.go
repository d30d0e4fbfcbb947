package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the same SQLite as the store's

	"github.com/sallyport/sallyport/bench/internal/served"
)

const webhookSecret = "a webhook secret"

// server is sallyport-app as a process, with a database of its own.
type server struct{ served.Server }

// prepare chooses an address and the settings.
func (p *server) prepare(ctx context.Context, s *scene) error {
	if err := p.ChooseAddress(ctx); err != nil {
		return err
	}
	p.Configure(s.g, s.app, map[string]string{
		"WEBHOOK_SECRET": webhookSecret, "OIDC_ISSUER": s.g.OIDCIssuer(), "SWEEP_INTERVAL": s.interval.String(), "SEAL_KEY": strings.Repeat("5a", 32),
	})
	return nil
}

// serve starts it and waits until it is ready.
func (p *server) serve(ctx context.Context) error {
	if err := p.Start(ctx); err != nil {
		return err
	}
	return until(ctx, time.Minute, "the server is ready", func() (bool, error) {
		_, err := p.Get(ctx, "/readyz")
		return err == nil, nil
	})
}

func (p *server) stop() error {
	_ = p.End() // it was told to end
	return p.Close()
}

// figures are what the server says of itself.
type figures struct {
	sweeps   int
	resident float64 // MiB
	cpu      time.Duration
}

func (p *server) figures(ctx context.Context) (figures, error) {
	text, err := p.Get(ctx, "/metrics")
	if err != nil {
		return figures{}, err
	}
	of := func(name string) (float64, error) {
		for line := range strings.Lines(text) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
				return strconv.ParseFloat(value, 64)
			}
		}
		return 0, fmt.Errorf("/metrics has no %s", name)
	}
	ok, err1 := of(`sallyport_sweeps_total{outcome="ok"}`)
	failed, err2 := of(`sallyport_sweeps_total{outcome="failed"}`)
	resident, err3 := of("process_resident_memory_bytes")
	cpu, err4 := of("process_cpu_seconds_total")
	err = errors.Join(err1, err2, err3, err4)
	if err == nil && failed > 0 {
		err = fmt.Errorf("%.0f sweeps failed", failed)
	}
	return figures{int(ok), resident / (1 << 20), time.Duration(cpu * float64(time.Second))}, err
}

// left counts the keys of work that there are.
func (p *server) left(ctx context.Context) (int, error) {
	st, err := p.Store.Stats(ctx, time.Now())
	if err == nil && st.Poisoned+st.Backoff > 0 {
		list, perr := p.Store.Poisoned(ctx)
		more, merr := p.Store.Pending(ctx, 100)
		for _, w := range append(list, more...) {
			if w.Error != "" {
				return 0, fmt.Errorf("work fails: %s: %s", w.Key, w.Error)
			}
		}
		err = errors.Join(perr, merr)
	}
	return st.Ready + st.Leased + st.Backoff + st.Later, err
}

// age makes what the server wrote down of each repository older, as if it had looked at
// everything so long ago.
func (p *server) age(ctx context.Context, by time.Duration) (err error) {
	db, err := sql.Open("sqlite", "file:"+p.Database()+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after Commit
	older := fmt.Sprintf("-%d seconds", int(by.Seconds()))
	for _, text := range []string{
		// When the environments' rules were looked at, and when the open pull requests were listed.
		`UPDATE subjects SET data = CAST(json_set(data, '$.ruled', strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(data, '$.ruled'), ?)) AS BLOB)
			WHERE key LIKE 'repository %' AND json_extract(data, '$.ruled') IS NOT NULL`,
		`UPDATE settings SET value = CAST(json_set(value, '$.at', strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(value, '$.at'), ?)) AS BLOB) WHERE name LIKE 'standing %'`,
	} {
		if _, err := tx.ExecContext(ctx, text, older); err != nil {
			return fmt.Errorf("setting back when was looked: %w", err)
		}
	}
	return tx.Commit()
}

// until waits until something is so.
func until(ctx context.Context, most time.Duration, what string, so func() (bool, error)) error {
	return served.Within(ctx, most, 20*time.Millisecond, what, so)
}
