package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/cmd/sallyport-app/server"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/webhook"
	"github.com/sallyport/sallyport/rules"
)

const jobPolicy = `version: 1
reviewers: [acme/sre]
environments:
  dev: {gate: auto, paths: [docs/**], after: [test]}
  production: {gate: human}
credentials:
  orders-migrator: {environment: production, target: orders-db, capability: write, workflow: deploy.yml}
`

// house is the server that people run, beside an in-memory GitHub.
type house struct {
	t          *testing.T
	repo       *githubtest.Repository
	alice, bob *githubtest.User
	url        string
	audience   string
}

func newHouse(t *testing.T) *house {
	t.Helper()
	g := githubtest.Start(t)
	h := &house{t: t, alice: g.User("alice"), bob: g.User("bob"), audience: "http://127.0.0.1"}
	acme := g.Organization("acme")
	acme.Owner(h.alice)
	h.repo = g.Repository(acme, "orders")
	acme.Team("sre", h.bob).Access(h.repo, "write")
	h.repo.CommitTo(h.alice, "main", "Add the policy", map[string]string{rules.PolicyPath: jobPolicy, ".github/workflows/deploy.yml": "on: push\n"})
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		t.Fatal(err)
	}
	secret := hex.EncodeToString(random[:])
	app := g.App(githubtest.AppConfig{
		Slug: "sallyport", Owner: acme, Secret: secret,
		Permissions: map[string]string{
			"actions": "write", "checks": "write", "contents": "write", "deployments": "write", "members": "read", "merge_queues": "read", "pull_requests": "write", "statuses": "read",
		},
		Events: []string{
			"check_run", "check_suite", "deployment", "deployment_protection_rule", "deployment_review", "deployment_status", "membership", "merge_group",
			"pull_request", "pull_request_review", "push", "status", "team", "workflow_dispatch", "workflow_job", "workflow_run",
		},
	})
	key, err := github.ParseKey(app.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	app.Install(acme)
	targets, problems := rules.LoadTargets("targets.yml", fmt.Appendf(nil, "targets:\n  orders-db: {tier: human, repositories: [%d], environments: [production], token: {audience: orders-db.acme.internal}}\n", h.repo.ID))
	if targets == nil {
		t.Fatal(problems)
	}
	settings := server.Settings{
		URL: h.audience, Listen: "127.0.0.1:0", Database: store.Config{Path: filepath.Join(t.TempDir(), "sallyport.db")}, App: rules.AppID(app.ID), Key: key,
		WebhookSecrets: []webhook.Secret{webhook.Secret(secret)}, GitHubAPI: g.URL(), Issuer: g.OIDCIssuer(), Sweep: time.Minute, Targets: targets,
	}
	if err := settings.SealWith(hex.EncodeToString(random[:])); err != nil {
		t.Fatal(err)
	}
	s, err := server.New(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	t.Cleanup(func() { // the test's context has ended
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	h.url = "http://" + s.Address()
	app.Webhook(h.url+"/webhooks/github", secret)
	h.until("the server is ready", func() bool {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+"/readyz", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		a, err := http.DefaultClient.Do(q)
		return err == nil && a.Body.Close() == nil && a.StatusCode == http.StatusOK
	})
	gate, err := s.Gate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list, err := gate.LookAtAdoption(t.Context(), h.repo.FullName())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if err := gate.Adopt(t.Context(), a, "the administrator"); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *house) until(what string, so func() bool) {
	h.t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatal("waited in vain until", what)
		}
	}
}

// deploy starts a job that names production, where no protection rule is enabled.
func (h *house) deploy() (*githubtest.Run, *githubtest.Job) {
	h.t.Helper()
	run := h.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", Name: "deploy", By: h.alice, Jobs: []githubtest.JobSpec{{Name: "production", Environment: "production"}}})
	job := run.Job("production")
	h.until("the job runs", func() bool { s, _ := job.Status(); return s == "in_progress" })
	return run, job
}

// press presses a button of the check run on the deployed commit.
func (h *house) press(button string) {
	h.t.Helper()
	var check *githubtest.CheckRun
	h.until("there is a check run to press on", func() bool {
		check = h.repo.CheckRun(h.repo.Head("main"), "sallyport / production")
		return check != nil && check.See().Conclusion == "action_required"
	})
	if err := check.Click(h.bob, button); err != nil {
		h.t.Fatal(err)
	}
}

// log is what a process wrote so far.
type log struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// step is a step of a job, started.
func (h *house) step(run *githubtest.Run, job *githubtest.Job, args []string, inputs ...string) (cmd *exec.Cmd, out *log, dir string) {
	h.t.Helper()
	program, err := exec.LookPath("sallyport")
	if err != nil {
		h.t.Fatal(err)
	}
	dir = h.t.TempDir()
	address, bearer := job.TokenRequest()
	cmd = exec.CommandContext(h.t.Context(), program, args...)
	cmd.Env = []string{
		"HOME=" + dir, "PATH=/usr/bin:/bin", "GITHUB_ACTIONS=true", fmt.Sprint("GITHUB_RUN_ID=", run.ID), fmt.Sprint("GITHUB_RUN_ATTEMPT=", job.Attempt()), "RUNNER_TEMP=" + dir,
		"ACTIONS_ID_TOKEN_REQUEST_URL=" + address, "ACTIONS_ID_TOKEN_REQUEST_TOKEN=" + bearer, "SALLYPORT_URL=" + h.url, "INPUT_AUDIENCE=" + h.audience,
		"GITHUB_OUTPUT=" + filepath.Join(dir, "output"), "GITHUB_STEP_SUMMARY=" + filepath.Join(dir, "summary"), "GITHUB_ENV=" + filepath.Join(dir, "env"),
	}
	for _, i := range inputs {
		cmd.Env = append(cmd.Env, "INPUT_"+i)
	}
	out = &log{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	return cmd, out, dir
}

func (h *house) end(cmd *exec.Cmd) int {
	_ = cmd.Wait() // the exit code says it
	return cmd.ProcessState.ExitCode()
}

// A job in a repository without protection rules: held in its first step, ended, approved,
// and given its credential, once.
func TestGateAgainstServer(t *testing.T) {
	h := newHouse(t)
	run, job := h.deploy()

	// Nothing before anybody approved.
	cmd, out, _ := h.step(run, job, []string{"action", "mint"}, "CREDENTIAL=orders-migrator")
	if code := h.end(cmd); code != ExitHuman {
		t.Errorf("mint before the approval: exit %d: %s", code, out)
	}
	// The time is over: one line says who and where.
	cmd, out, dir := h.step(run, job, []string{"action", "gate"}, "WAIT=0")
	if code := h.end(cmd); code != ExitHuman || !strings.Contains(out.String(), "::error title=Sallyport::") || !strings.Contains(out.String(), "acme/sre") || !strings.Contains(out.String(), "http") {
		t.Errorf("gate without time: exit %d: %s", code, out)
	}
	if got := read(t, dir, "output"); !strings.Contains(got, "waiting") || !strings.Contains(read(t, dir, "summary"), "held for a human") {
		t.Errorf("%q %q", got, read(t, dir, "summary"))
	}
	// It waits, and somebody approves.
	cmd, out, dir = h.step(run, job, []string{"action", "gate"}, "WAIT=1m")
	h.until("it says that it waits", func() bool { return strings.Contains(out.String(), "acme/sre") })
	h.press("approve")
	if code := h.end(cmd); code != 0 || !strings.Contains(out.String(), "Released: production at ") || !strings.Contains(read(t, dir, "output"), "released") {
		t.Fatalf("gate: exit %d: %s", code, out)
	}

	// The command has the credential, the log has it not.
	cmd, out, dir = h.step(run, job, []string{"exec", "--audience", h.audience, "--credential", "orders-migrator", "--", "sh", "-c", `printf '%s' "$SALLYPORT_TOKEN" >"$HOME/seen"; exit 4`})
	code := h.end(cmd)
	seen := read(t, dir, "seen")
	if code != 4 || strings.Count(seen, ".") != 2 || strings.Contains(unmasked(out.String()), seen) || !strings.Contains(out.String(), "::add-mask::"+seen+"\n") {
		t.Errorf("exec: exit %d, %d bytes seen: %s", code, len(seen), unmasked(out.String()))
	}
	// It was given once.
	cmd, out, _ = h.step(run, job, []string{"action", "mint"}, "CREDENTIAL=orders-migrator")
	if code := h.end(cmd); code != ExitError || !strings.Contains(out.String(), "SP619") {
		t.Errorf("mint again: exit %d: %s", code, out)
	}
}

func TestGateRejected(t *testing.T) {
	h := newHouse(t)
	run, job := h.deploy()
	cmd, out, dir := h.step(run, job, []string{"action", "gate"}, "WAIT=1m")
	h.until("it says that it waits", func() bool { return strings.Contains(out.String(), "acme/sre") })
	h.press("reject")
	if code := h.end(cmd); code != ExitError || !strings.Contains(out.String(), "rejected: ") || !strings.Contains(read(t, dir, "output"), "rejected") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// Whatever cannot be read releases nothing.
func TestGateFailsClosed(t *testing.T) {
	h := newHouse(t)
	run, job := h.deploy()
	for what, c := range map[string]struct {
		inputs []string
		change func(*exec.Cmd)
		code   int
		says   string
	}{
		"another issuer's token": {[]string{"WAIT=0", "AUDIENCE=https://elsewhere.acme.internal"}, nil, ExitError, "aud"},
		"a wait that is none":    {[]string{"WAIT=soon"}, nil, ExitUsage, "want a time"},
		"a server that is none":  {[]string{"WAIT=0", "SERVER=sallyport"}, nil, ExitUsage, "no address"},
	} {
		cmd, out, _ := h.step(run, job, []string{"action", "gate"}, c.inputs...)
		if code := h.end(cmd); code != c.code || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: exit %d, want %d: %s", what, code, c.code, out)
		}
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := readFile(filepath.Join(dir, name), 1<<20)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}
