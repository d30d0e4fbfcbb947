package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the same SQLite as the store's

	"github.com/sallyport/sallyport/gate/store"
)

const webhookSecret = "a webhook secret"

// server is sallyport-app as a process, with a database of its own.
type server struct {
	program, dir, address string
	environment           []string
	process               *exec.Cmd
	cancel                context.CancelFunc
	ended                 chan error   // gets what the process ended with
	store                 *store.Store // the server's, to see what work is left
	client                *http.Client
	log                   []string // its last lines; whose are written until ended
}

// build builds sallyport-app in its own module, with the versions that it is released
// with.
func build(ctx context.Context, dir string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sallyport/sallyport").Output()
	if err != nil {
		return "", fmt.Errorf("looking for the module (run this in bench/): %w", err)
	}
	program := filepath.Join(dir, "sallyport-app")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/sallyport-app")
	cmd.Dir = strings.TrimSpace(string(root))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building sallyport-app: %w\n%s", err, out)
	}
	return program, nil
}

func (p *server) database() string { return filepath.Join(p.dir, "sallyport.db") }

// prepare chooses an address and the settings.
func (p *server) prepare(ctx context.Context, s *scene) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.address = l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	p.client = &http.Client{Timeout: 10 * time.Second}
	for name, value := range map[string]string{
		"URL": "http://" + p.address, "LISTEN": p.address, "DATABASE_URL": "sqlite:" + p.database(), "APP_ID": strconv.FormatInt(s.app.ID, 10), "PRIVATE_KEY": string(s.app.KeyPEM()),
		"WEBHOOK_SECRET": webhookSecret, "GITHUB_API_URL": s.g.URL(), "OIDC_ISSUER": s.g.OIDCIssuer(), "SWEEP_INTERVAL": s.interval.String(), "SEAL_KEY": strings.Repeat("5a", 32),
	} {
		p.environment = append(p.environment, "SALLYPORT_"+name+"="+value)
	}
	return nil
}

// serve starts it and waits until it is ready.
func (p *server) serve(ctx context.Context) error {
	running, cancel := context.WithCancel(ctx)
	p.cancel = cancel
	cmd := exec.CommandContext(running, p.program, "serve")
	cmd.Env = p.environment
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 15 * time.Second
	log, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.process, p.ended = cmd, make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(log)
		for lines.Scan() {
			if p.log = append(p.log, lines.Text()); len(p.log) > 200 {
				p.log = p.log[100:]
			}
		}
		err := cmd.Wait()
		p.ended <- fmt.Errorf("%w\n%s", errors.Join(err, lines.Err()), strings.Join(p.log[max(0, len(p.log)-10):], "\n"))
	}()
	if err := until(ctx, time.Minute, "the server is ready", func() (bool, error) {
		_, err := p.get(ctx, "/readyz")
		return err == nil, nil
	}); err != nil {
		return err
	}
	if p.store == nil {
		p.store, err = store.Open(ctx, store.Config{Path: p.database(), MustExist: true})
	}
	return err
}

// rest stops it as an operator does.
func (p *server) rest() {
	if p.process != nil {
		p.cancel()
		<-p.ended //nolint:errcheck // it was told to end
		p.process = nil
	}
}

func (p *server) stop() error {
	p.rest()
	var err error
	if p.store != nil {
		err = p.store.Close()
	}
	if p.dir != "" {
		err = errors.Join(err, os.RemoveAll(p.dir))
	}
	return err
}

func (p *server) adopt(ctx context.Context, repository string) error {
	adopt := exec.CommandContext(ctx, p.program, "adopt", "--yes", repository)
	adopt.Env = p.environment
	if out, err := adopt.CombinedOutput(); err != nil {
		return fmt.Errorf("adopting the policy: %w\n%s", err, out)
	}
	return nil
}

// get reads a page of the server.
func (p *server) get(ctx context.Context, path string) (string, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path, http.NoBody)
	if err != nil {
		return "", err
	}
	answer, err := p.client.Do(q)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 4<<20))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", path, answer.Status)
	}
	return string(body), err
}

// figures are what the server says of itself.
type figures struct {
	sweeps   int
	resident float64 // MiB
	cpu      time.Duration
}

func (p *server) figures(ctx context.Context) (figures, error) {
	text, err := p.get(ctx, "/metrics")
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
	st, err := p.store.Stats(ctx, time.Now())
	if err == nil && st.Poisoned+st.Backoff > 0 {
		list, perr := p.store.Poisoned(ctx)
		more, merr := p.store.Pending(ctx, 100)
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
	db, err := sql.Open("sqlite", "file:"+p.database()+"?_pragma=busy_timeout(10000)")
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
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		if ok, err := so(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain until %s: %w", what, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
