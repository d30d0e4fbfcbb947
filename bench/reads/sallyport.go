package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/sallyport/sallyport/bench/internal/served"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

//go:embed sallyport.yml
var sallyportPolicy string

// sallyport is sallyport-app as a process. It sweeps once, when it starts.
type sallyport struct {
	served.Server

	app *githubtest.App
}

func (*sallyport) Name() string { return "sallyport" }

func (*sallyport) Slug() string { return "sallyport" }

// sallyportApp is the App as the server's documentation sets it up.
func sallyportApp(s *scene) githubtest.AppConfig {
	return githubtest.AppConfig{
		Slug: "sallyport", Owner: s.acme, Key: s.key,
		Permissions: map[string]string{
			"actions": "read", "checks": "write", "contents": "write", "deployments": "write", "members": "read", "merge_queues": "read", "pull_requests": "write", "statuses": "read",
		},
		Events: []string{"check_run", "check_suite", "membership", "merge_group", "pull_request", "pull_request_review", "push", "status", "team"},
	}
}

func (p *sallyport) Start(ctx context.Context, s *scene) error {
	s.repo.CommitTo(s.carol, "main", "Add a policy", map[string]string{rules.PolicyPath: sallyportPolicy})
	p.app = s.g.App(sallyportApp(s))
	p.app.Install(s.acme)
	var err error
	if p.Dir, err = os.MkdirTemp("", "sallyport-reads-"); err != nil {
		return err
	}
	p.Configure(s.g, p.app, map[string]string{"WEBHOOK_SECRET": webhookSecret, "SWEEP_INTERVAL": "1h"})
	if err := p.Server.Start(ctx); err != nil {
		return err
	}
	if err := until(ctx, func() (bool, error) { return p.Ready(ctx) }); err != nil {
		return fmt.Errorf("waiting until it is ready: %w", err)
	}
	if err := p.Adopt(ctx, s.repo.FullName()); err != nil {
		return err
	}
	// The list of deliveries is the last that the first sweep asks for.
	return until(ctx, func() (bool, error) {
		for _, q := range s.g.Requests() {
			if q.App == p.Slug() && q.Path == "/app/hook/deliveries" && q.Status == http.StatusOK {
				return true, nil
			}
		}
		return false, nil
	})
}

// until waits until something is so, or says what went wrong.
func until(ctx context.Context, so func() (bool, error)) error {
	return served.Until(ctx, time.Millisecond, so)
}

// Hear is called once the server listens.
func (p *sallyport) Hear() {
	p.app.Webhook("http://"+p.Address+"/webhooks/github", webhookSecret)
}

// Idle waits until no work is left. Work that failed is an error, though the server
// would try it again: its requests would be counted twice.
func (p *sallyport) Idle(ctx context.Context) error {
	return until(ctx, func() (bool, error) {
		poisoned, err := p.Store.Poisoned(ctx)
		if err != nil {
			return false, err
		}
		left, err := p.Store.Pending(ctx, 100)
		if err != nil {
			return false, err
		}
		for _, w := range append(poisoned, left...) {
			if w.Error != "" {
				return false, fmt.Errorf("working on %q: %s", w.Key, w.Error)
			}
		}
		return len(left) == 0, nil
	})
}

// Says reads our check run.
func (p *sallyport) Says(_ context.Context, s *scene, sha string) (string, error) {
	run := s.repo.CheckRun(sha, "sallyport")
	if run == nil {
		return "", nil
	}
	state := run.See()
	if said, ok := map[string]string{"success": "allow", "action_required": "wait"}[state.Conclusion]; ok {
		return said, nil
	}
	return strings.TrimSpace(state.Status + " " + state.Conclusion), nil
}

func (p *sallyport) Stop() error { return errors.Join(p.End(), p.Close()) }
