package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/bench/internal/served"
)

const webhookSecret = "a webhook secret"

// server is sallyport-app as a process.
type server struct {
	served.Server

	client *http.Client // for webhooks and leases
}

// start serves for the scene's App.
func (p *server) start(ctx context.Context, s *scene) error {
	if err := p.ChooseAddress(ctx); err != nil {
		return err
	}
	targets := []byte("targets:\n")
	var names []string
	for i, r := range s.repos {
		targets = fmt.Appendf(targets, "  target-%d: {tier: human, repositories: [%d], environments: [production], token: {audience: soak}}\n", i, r.repo.ID)
		names = append(names, r.repo.FullName())
	}
	file := filepath.Join(p.Dir, "targets.yml")
	if err := os.WriteFile(file, targets, 0o600); err != nil {
		return err
	}
	p.Configure(s.g, s.app, map[string]string{
		"WEBHOOK_SECRET": webhookSecret, "OIDC_ISSUER": s.g.OIDCIssuer(), "SWEEP_INTERVAL": "5s", "TARGETS_FILE": file, "SEAL_KEY": strings.Repeat("5a", 32),
	})
	if err := p.Start(ctx); err != nil {
		return err
	}
	p.client = &http.Client{Timeout: 10 * time.Second}
	if err := until(ctx, time.Minute, "it is ready", func() (bool, error) {
		body, err := p.Get(ctx, "/readyz")
		return err == nil && body != "", nil
	}); err != nil {
		return err
	}
	return p.Adopt(ctx, names...)
}

func (p *server) stop() error {
	_ = p.End() // it was told to end
	return p.Close()
}

// sample looks at it once.
func (s *scene) sample(ctx context.Context, began time.Time) (sample, error) {
	p := s.server
	now := time.Now()
	x := sample{at: now.Sub(began), rounds: s.rounds.Load()}
	text, err := p.Get(ctx, "/metrics")
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
	st, err := p.Store.Stats(ctx, now)
	if err != nil {
		return x, err
	}
	x.ready, x.waiting, x.effects = float64(st.Ready), float64(st.Backoff+st.Later), float64(st.Effects)
	if !st.ReadySince.IsZero() {
		x.oldest = now.Sub(st.ReadySince)
	}
	if st.Poisoned > 0 {
		list, err := p.Store.Poisoned(ctx)
		if err != nil || len(list) == 0 {
			return x, fmt.Errorf("work was set apart: %w", err)
		}
		return x, fmt.Errorf("work was set apart: %s: %s", list[0].Key, list[0].Error)
	}
	for _, name := range []string{p.Database(), p.Database() + "-wal"} {
		if info, err := os.Stat(name); err == nil {
			x.file += float64(info.Size()) / (1 << 20)
		}
	}
	return x, nil
}

// until waits until something is so.
func until(ctx context.Context, most time.Duration, what string, so func() (bool, error)) error {
	return served.Within(ctx, most, 50*time.Millisecond, what, so)
}
