package main

import (
	"context"
	"crypto/rsa"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sallyport/sallyport/bench/internal/served"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

//go:embed sallyport.yml
var policy string

const (
	// slug is our App's.
	slug          = "sallyport"
	webhookSecret = "a webhook secret"
)

// server is sallyport-app as a process. It sweeps once, when it starts.
type server struct {
	served.Server

	app *githubtest.App
}

// start commits the policy, makes and installs the App as the documentation sets it
// up, serves, and has the policy adopted.
func (p *server) start(ctx context.Context, s *scene, key *rsa.PrivateKey) error {
	s.repo.CommitTo(s.carol, "main", "Add a policy", map[string]string{rules.PolicyPath: policy})
	p.app = s.g.App(githubtest.AppConfig{
		Slug: slug, Owner: s.acme, Key: key,
		Permissions: map[string]string{
			"actions": "read", "checks": "write", "contents": "write", "deployments": "write", "members": "read", "merge_queues": "read", "pull_requests": "write", "statuses": "read",
		},
		Events: []string{
			"check_run", "check_suite", "deployment", "deployment_protection_rule", "deployment_review", "deployment_status", "membership", "merge_group",
			"pull_request", "pull_request_review", "push", "status", "team", "workflow_dispatch", "workflow_job", "workflow_run",
		},
	})
	p.app.Install(s.acme)
	var err error
	if p.Dir, err = os.MkdirTemp("", "sallyport-deploys-"); err != nil {
		return err
	}
	p.Configure(s.g, p.app, map[string]string{"WEBHOOK_SECRET": webhookSecret, "OIDC_ISSUER": s.g.OIDCIssuer(), "SWEEP_INTERVAL": "1h"})
	if err := p.Start(ctx); err != nil {
		return err
	}
	if err := until(ctx, func() (bool, error) { return p.Ready(ctx) }); err != nil {
		return fmt.Errorf("waiting until it is ready: %w", err)
	}
	if err := p.Adopt(ctx, s.repo.FullName()); err != nil {
		return err
	}
	if err := until(ctx, func() (bool, error) { return s.swept(), nil }); err != nil {
		return err
	}
	p.app.Webhook("http://"+p.Address+"/webhooks/github", webhookSecret)
	return nil
}

// until waits until something is so, or says what went wrong.
func until(ctx context.Context, so func() (bool, error)) error {
	return served.Until(ctx, time.Millisecond, so)
}

// idle waits until no work is left that is due within a minute. Work that failed is an
// error, though the server would try it again: its requests would be counted twice.
func (p *server) idle(ctx context.Context) error {
	return until(ctx, func() (bool, error) {
		poisoned, err := p.Store.Poisoned(ctx)
		if err != nil {
			return false, err
		}
		left, err := p.Store.Pending(ctx, 100)
		if err != nil {
			return false, err
		}
		none := true
		for _, w := range append(poisoned, left...) {
			if w.Error != "" {
				return false, fmt.Errorf("working on %q: %s", w.Key, w.Error)
			}
			none = none && time.Until(w.Due) > time.Minute
		}
		return none, nil
	})
}

// stop ends it; it may be called after a start that failed.
func (p *server) stop() error { return errors.Join(p.End(), p.Close()) }
