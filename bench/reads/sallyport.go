package main

import (
	"bufio"
	"context"
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
var sallyportPolicy string

// sallyport is sallyport-app, the program that people run, as a process with a
// database of its own. It cannot be built into this one: policy-bot and it need
// different versions of a library. It sweeps once, when it starts.
type sallyport struct {
	program string // path of sallyport-app

	app     *githubtest.App
	dir     string
	address string
	process *exec.Cmd
	stop    context.CancelFunc
	logged  chan struct{} // closed when the log has ended
	store   *store.Store  // the server's, to see what work is left
}

// buildSallyport builds sallyport-app in its own module, with the versions that it
// is released with.
func buildSallyport(ctx context.Context, dir string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sallyport/sallyport").Output()
	if err != nil {
		return "", fmt.Errorf("looking for the module (run this in bench/): %w", err)
	}
	program := filepath.Join(dir, "sallyport-app")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/sallyport-app")
	build.Dir = strings.TrimSpace(string(root))
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building sallyport-app: %w\n%s", err, out)
	}
	return program, nil
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
	if p.dir, err = os.MkdirTemp("", "sallyport-reads-"); err != nil {
		return err
	}
	if err := p.serve(ctx, s); err != nil {
		return err
	}
	if err := until(ctx, func() (bool, error) { return p.ready(ctx) }); err != nil {
		return fmt.Errorf("waiting until it is ready: %w", err)
	}
	adopt := exec.CommandContext(ctx, p.program, "adopt", "--yes", s.repo.FullName())
	adopt.Env = p.environment(s)
	if out, err := adopt.CombinedOutput(); err != nil {
		return fmt.Errorf("adopting the policy: %w\n%s", err, out)
	}
	if p.store, err = store.Open(ctx, store.Config{Path: p.database(), MustExist: true}); err != nil {
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

func (p *sallyport) database() string { return filepath.Join(p.dir, "sallyport.db") }

func (p *sallyport) environment(s *scene) []string {
	var out []string
	for name, value := range map[string]string{
		"URL": "http://127.0.0.1", "LISTEN": "127.0.0.1:0", "DATABASE_URL": "sqlite:" + p.database(), "APP_ID": strconv.FormatInt(p.app.ID, 10),
		"PRIVATE_KEY": string(p.app.KeyPEM()), "WEBHOOK_SECRET": webhookSecret, "GITHUB_API_URL": s.g.URL(), "SWEEP_INTERVAL": "1h",
	} {
		out = append(out, "SALLYPORT_"+name+"="+value)
	}
	return out
}

// serve starts the server and reads from its log where it listens.
func (p *sallyport) serve(ctx context.Context, s *scene) error {
	ctx, p.stop = context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, p.program, "serve")
	cmd.Env = p.environment(s)
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

func (p *sallyport) ready(ctx context.Context) (bool, error) {
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

// Hear is called once the server listens.
func (p *sallyport) Hear() {
	p.app.Webhook("http://"+p.address+"/webhooks/github", webhookSecret)
}

// Idle waits until no work is left. Work that failed is an error, though the server
// would try it again: its requests would be counted twice.
func (p *sallyport) Idle(ctx context.Context) error {
	return until(ctx, func() (bool, error) {
		poisoned, err := p.store.Poisoned(ctx)
		if err != nil {
			return false, err
		}
		left, err := p.store.Pending(ctx, 100)
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

func (p *sallyport) Stop() error {
	var err error
	if p.store != nil {
		err = p.store.Close()
	}
	if p.process != nil {
		p.stop()
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
