package main

import (
	"bufio"
	"context"
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

	"github.com/sallyport/sallyport/gate/store"
)

const webhookSecret = "a webhook secret"

// server is sallyport-app as a process.
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

// start serves for the scene's App.
func (p *server) start(ctx context.Context, s *scene) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.address = l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	targets := []byte("targets:\n")
	for i, r := range s.repos {
		targets = fmt.Appendf(targets, "  target-%d: {tier: human, repositories: [%d], environments: [production], token: {audience: soak}}\n", i, r.repo.ID)
	}
	file := filepath.Join(p.dir, "targets.yml")
	if err := os.WriteFile(file, targets, 0o600); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"URL": "http://" + p.address, "LISTEN": p.address, "DATABASE_URL": "sqlite:" + p.database(), "APP_ID": strconv.FormatInt(s.app.ID, 10), "PRIVATE_KEY": string(s.app.KeyPEM()),
		"WEBHOOK_SECRET": webhookSecret, "GITHUB_API_URL": s.g.URL(), "OIDC_ISSUER": s.g.OIDCIssuer(), "SWEEP_INTERVAL": "5s", "TARGETS_FILE": file, "SEAL_KEY": strings.Repeat("5a", 32),
	} {
		p.environment = append(p.environment, "SALLYPORT_"+name+"="+value)
	}
	if err := p.serve(ctx); err != nil {
		return err
	}
	p.client = &http.Client{Timeout: 10 * time.Second}
	if err := until(ctx, time.Minute, "it is ready", func() (bool, error) {
		body, err := p.get(ctx, "/readyz")
		return err == nil && body != "", nil
	}); err != nil {
		return err
	}
	for _, r := range s.repos {
		adopt := exec.CommandContext(ctx, p.program, "adopt", "--yes", r.repo.FullName())
		adopt.Env = p.environment
		if out, err := adopt.CombinedOutput(); err != nil {
			return fmt.Errorf("adopting the policy: %w\n%s", err, out)
		}
	}
	p.store, err = store.Open(ctx, store.Config{Path: p.database(), MustExist: true})
	return err
}

func (p *server) serve(ctx context.Context) error {
	ctx, p.cancel = context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, p.program, "serve")
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
	return nil
}

// get reads a page of the server.
func (p *server) get(ctx context.Context, path string) (string, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path, nil)
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

// stop stops it as an operator does.
func (p *server) stop() error {
	if p.process == nil {
		return nil
	}
	p.cancel()
	<-p.ended //nolint:errcheck // it was told to end
	var err error
	if p.store != nil {
		err = p.store.Close()
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}

// sample looks at it once.
func (s *scene) sample(ctx context.Context, began time.Time) (sample, error) {
	p := s.server
	now := time.Now()
	x := sample{at: now.Sub(began), rounds: s.rounds.Load()}
	text, err := p.get(ctx, "/metrics")
	if err != nil {
		return x, err
	}
	found := 0
	for name, to := range map[string]*float64{"process_resident_memory_bytes": &x.rss, "go_memstats_heap_inuse_bytes": &x.heap, "go_goroutines": &x.goroutines} {
		for line := range strings.Lines(text) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
				if *to, err = strconv.ParseFloat(value, 64); err != nil {
					return x, err
				}
				found++
			}
		}
	}
	if found != 3 {
		return x, fmt.Errorf("/metrics has %d of the 3 figures of the process", found)
	}
	x.rss, x.heap = x.rss/(1<<20), x.heap/(1<<20)
	st, err := p.store.Stats(ctx, now)
	if err != nil {
		return x, err
	}
	x.ready, x.waiting, x.effects = float64(st.Ready), float64(st.Backoff+st.Later), float64(st.Effects)
	if !st.ReadySince.IsZero() {
		x.oldest = now.Sub(st.ReadySince)
	}
	if st.Poisoned > 0 {
		list, err := p.store.Poisoned(ctx)
		if err != nil || len(list) == 0 {
			return x, fmt.Errorf("work was set apart: %w", err)
		}
		return x, fmt.Errorf("work was set apart: %s: %s", list[0].Key, list[0].Error)
	}
	for _, name := range []string{p.database(), p.database() + "-wal"} {
		if info, err := os.Stat(name); err == nil {
			x.file += float64(info.Size()) / (1 << 20)
		}
	}
	return x, nil
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
		case <-time.After(50 * time.Millisecond):
		}
	}
}
