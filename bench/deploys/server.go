package main

import (
	"bufio"
	"context"
	"crypto/rsa"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

//go:embed sallyport.yml
var policy string

const (
	// slug is our App's.
	slug          = "sallyport"
	webhookSecret = "a webhook secret"
)

// server is sallyport-app, the program that people run, as a process with a database
// of its own. As in bench/reads it cannot be built into this one. It sweeps once,
// when it starts.
type server struct {
	program string // path of sallyport-app

	app     *githubtest.App
	dir     string
	address string
	process *exec.Cmd
	cancel  context.CancelFunc
	logged  chan struct{} // closed when the log has ended
	store   *store.Store  // the server's, to see what work is left
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
	if p.dir, err = os.MkdirTemp("", "sallyport-deploys-"); err != nil {
		return err
	}
	environment := p.environment(s)
	if err := p.serve(ctx, environment); err != nil {
		return err
	}
	if err := until(ctx, func() (bool, error) { return p.ready(ctx) }); err != nil {
		return fmt.Errorf("waiting until it is ready: %w", err)
	}
	adopt := exec.CommandContext(ctx, p.program, "adopt", "--yes", s.repo.FullName())
	adopt.Env = environment
	if out, err := adopt.CombinedOutput(); err != nil {
		return fmt.Errorf("adopting the policy: %w\n%s", err, out)
	}
	if p.store, err = store.Open(ctx, store.Config{Path: p.database(), MustExist: true}); err != nil {
		return err
	}
	if err := until(ctx, func() (bool, error) { return s.swept(), nil }); err != nil {
		return err
	}
	p.app.Webhook("http://"+p.address+"/webhooks/github", webhookSecret)
	return nil
}

func (p *server) database() string { return filepath.Join(p.dir, "sallyport.db") }

func (p *server) environment(s *scene) []string {
	var out []string
	for name, value := range map[string]string{
		"URL": "http://127.0.0.1", "LISTEN": "127.0.0.1:0", "DATABASE_URL": "sqlite:" + p.database(), "APP_ID": strconv.FormatInt(p.app.ID, 10),
		"PRIVATE_KEY": string(p.app.KeyPEM()), "WEBHOOK_SECRET": webhookSecret, "GITHUB_API_URL": s.g.URL(), "OIDC_ISSUER": s.g.OIDCIssuer(), "SWEEP_INTERVAL": "1h",
	} {
		out = append(out, "SALLYPORT_"+name+"="+value)
	}
	return out
}

// serve starts the server and reads from its log where it listens.
func (p *server) serve(ctx context.Context, environment []string) error {
	ctx, p.cancel = context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, p.program, "serve")
	cmd.Env = environment
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 15 * time.Second
	log, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.process, p.logged = cmd, make(chan struct{})
	lines, said := bufio.NewReader(log), ""
	for {
		line, err := lines.ReadString('\n')
		said += line
		if err != nil {
			close(p.logged)
			return fmt.Errorf("it ended before it listened: %s", said)
		}
		if _, rest, found := strings.Cut(line, "msg=listening address="); found {
			p.address, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
			break
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, lines) // what went wrong stands with the work in the database
		close(p.logged)
	}()
	return nil
}

func (p *server) ready(ctx context.Context) (bool, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/readyz", nil)
	if err != nil {
		return false, err
	}
	client := http.Client{Timeout: 10 * time.Second}
	answer, err := client.Do(q)
	if err != nil {
		return false, err
	}
	return answer.StatusCode == http.StatusOK, answer.Body.Close()
}

// until waits until something is so, or says what went wrong.
func until(ctx context.Context, so func() (bool, error)) error {
	for {
		if ok, err := so(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// idle waits until no work is left that is due within a minute. Work that failed is an
// error, though the server would try it again: its requests would be counted twice.
func (p *server) idle(ctx context.Context) error {
	return until(ctx, func() (bool, error) {
		poisoned, err := p.store.Poisoned(ctx)
		if err != nil {
			return false, err
		}
		left, err := p.store.Pending(ctx, 100)
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
func (p *server) stop() error {
	var err error
	if p.store != nil {
		err = p.store.Close()
	}
	if p.process != nil {
		p.cancel()
		<-p.logged
		// Interrupted, it ends with 0, and Wait then gives the context's error.
		if wrong := p.process.Wait(); !errors.Is(wrong, context.Canceled) {
			err = errors.Join(err, wrong)
		}
	}
	if p.dir != "" {
		err = errors.Join(err, os.RemoveAll(p.dir))
	}
	return err
}
