package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

const policy = `version: 1
reviewers: [acme/sre]
environments:
  dev: {gate: auto, paths: [docs/**], after: [test]}
  production: {gate: human}
`

// buffer is safe for a program that writes while a test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// world is an App on acme/orders and the environment of a server for it.
type world struct {
	t     *testing.T
	g     *githubtest.GitHub
	repo  *githubtest.Repository
	alice *githubtest.User
	app   *githubtest.App
	inst  *githubtest.Installation
	env   map[string]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	g := githubtest.Start(t)
	acme := g.Organization("acme")
	w := &world{t: t, g: g, alice: g.User("alice"), repo: g.Repository(acme, "orders")}
	acme.Owner(w.alice)
	acme.Team("sre", g.User("bob")).Access(w.repo, "write")
	w.repo.CommitTo(w.alice, "main", "Add the policy", map[string]string{rules.PolicyPath: policy})
	w.app = g.App(githubtest.AppConfig{
		Slug: "sallyport", Owner: acme, Secret: "s3cret", Events: []string{"pull_request", "push"},
		Permissions: map[string]string{
			"actions": "read", "checks": "write", "contents": "write", "members": "read", "merge_queues": "read", "pull_requests": "write", "statuses": "read",
		},
	})
	w.inst = w.app.Install(acme)
	dir := t.TempDir()
	key := filepath.Join(dir, "app.pem")
	if err := os.WriteFile(key, w.app.KeyPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	w.env = map[string]string{
		"SALLYPORT_URL": "https://sallyport.test", "SALLYPORT_LISTEN": freeAddress(t), "SALLYPORT_DATABASE_URL": "sqlite:" + filepath.Join(dir, "s.db"),
		"SALLYPORT_APP_ID": fmt.Sprint(w.app.ID), "SALLYPORT_PRIVATE_KEY_FILE": key, "SALLYPORT_WEBHOOK_SECRET": "s3cret", "SALLYPORT_GITHUB_API_URL": g.URL(),
	}
	return w
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// run runs a command to its end.
func (w *world) run(args ...string) (code int, stdout, stderr string) {
	var out, log buffer
	code = Main(w.t.Context(), args, func(k string) string { return w.env[k] }, strings.NewReader(""), &out, &log, nil)
	return code, out.String(), log.String()
}

// serve starts the server and returns what stops it, which gives exit code and log.
func (w *world) serve() func() (int, string) {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	var out, log buffer
	done := make(chan int, 1)
	go func() {
		done <- Main(ctx, []string{"serve"}, func(k string) string { return w.env[k] }, strings.NewReader(""), &out, &log, nil)
	}()
	w.until("the server is ready", func() bool { return w.get("/readyz") == http.StatusOK })
	return func() (int, string) {
		stop()
		select {
		case code := <-done:
			return code, log.String()
		case <-time.After(20 * time.Second):
			w.t.Fatalf("it does not end:\n%s", log.String())
			return 0, ""
		}
	}
}

func (w *world) get(path string) int {
	q, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.env["SALLYPORT_LISTEN"]+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

func (w *world) until(what string, so func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain until %s", what)
		}
	}
}

// deliver sends a body as GitHub does.
func (w *world) deliver(event, secret string, body []byte) int {
	w.t.Helper()
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	q, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, "http://"+w.env["SALLYPORT_LISTEN"]+"/webhooks/github", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for k, v := range map[string]string{
		"Content-Type": "application/json", "X-GitHub-Event": event, "X-GitHub-Delivery": fmt.Sprintf("%x", sha256.Sum256(body))[:36],
		"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil)),
	} {
		q.Header.Set(k, v)
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		w.t.Fatal(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

func TestEachMissingSettingIsNamed(t *testing.T) {
	w := &world{t: t, env: map[string]string{"SALLYPORT_SWEEP_INTERVAL": "soon", "SALLYPORT_OWNERS": "acme", "SALLYPORT_DATABASE_URL": "postgres://x"}}
	code, _, stderr := w.run("serve")
	if code != ExitUsage {
		t.Errorf("exit %d, want %d", code, ExitUsage)
	}
	for _, name := range []string{"URL", "APP_ID", "PRIVATE_KEY_FILE", "WEBHOOK_SECRET", "SWEEP_INTERVAL", "OWNERS", "DATABASE_URL"} {
		if !strings.Contains(stderr, "SALLYPORT_"+name+": ") {
			t.Errorf("%s is not named in:\n%s", name, stderr)
		}
	}
}

// A word too many is wrong usage, as CI and service managers tell it from a failure.
func TestWrongUsage(t *testing.T) {
	w := &world{t: t, env: map[string]string{}}
	for _, args := range [][]string{{"serve", "x"}, {"setup", "x"}, {"adopt"}, {"keys", "list", "x"}, {"x"}, {"serve", "--x"}} {
		if code, _, stderr := w.run(args...); code != ExitUsage || !strings.HasPrefix(stderr, "sallyport-app: ") {
			t.Errorf("%v: exit %d, want %d:\n%s", args, code, ExitUsage, stderr)
		}
	}
}

func TestAdoptThenServe(t *testing.T) {
	w := newWorld(t)
	if code, _, stderr := w.run("adopt", "acme/orders"); code != ExitUsage || !strings.Contains(stderr, "--yes") {
		t.Errorf("adopt asks nobody: exit %d, %s", code, stderr)
	}
	code, stdout, stderr := w.run("adopt", "acme/orders", "--yes")
	if code != ExitOK || !strings.Contains(stdout, "In force now, as version 1.") || !strings.Contains(stdout, "asks acme/sre") {
		t.Fatalf("exit %d: %s%s", code, stdout, stderr)
	}
	if code, stdout, _ := w.run("adopt", "acme/orders", "--yes"); code != ExitOK || !strings.Contains(stdout, "in force already") {
		t.Errorf("adopting it again: exit %d, %s", code, stdout)
	}
	if code, _, stderr := w.run("adopt", "acme/nothing", "--yes"); code != ExitError {
		t.Errorf("adopting what is not there: exit %d, %s", code, stderr)
	}

	stop := w.serve()
	w.repo.CommitTo(w.alice, "fix", "Fix it", map[string]string{"main.go": "package main\n"})
	p, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: "fix", Title: "Fix it"})
	if err != nil {
		t.Fatal(err)
	}
	// A payload as GitHub documents it, made to fit.
	body := w.payload(p)
	if got := w.deliver("pull_request", "guessed", body); got != http.StatusUnauthorized {
		t.Errorf("with another secret: %d, want 401", got)
	}
	if got := w.deliver("pull_request", "s3cret", body); got != http.StatusAccepted {
		t.Fatalf("a signed delivery: %d, want 202", got)
	}
	w.until("the check is there", func() bool { return w.repo.CheckRun(p.Head(), "sallyport") != nil })
	if got := w.repo.CheckRun(p.Head(), "sallyport").See(); got.Conclusion != "action_required" {
		t.Errorf("the check says %q: %s", got.Conclusion, got.Title)
	}
	for path, want := range map[string]int{"/healthz": 200, "/ledger/checkpoint": 200, "/ledger/key": 200, "/nothing": 404} {
		if got := w.get(path); got != want {
			t.Errorf("GET %s: %d, want %d", path, got, want)
		}
	}
	code, log := stop()
	if code != ExitOK {
		t.Errorf("exit %d after a signal:\n%s", code, log)
	}
	if strings.Contains(log, "s3cret") || strings.Contains(log, "ghs_") || strings.Contains(log, "PRIVATE KEY") {
		t.Errorf("a secret is in the log:\n%s", log)
	}
	// The ledger's key is sealed as soon as there is a key for that, and then needs it.
	seal := filepath.Join(t.TempDir(), "seal")
	if err := os.WriteFile(seal, []byte(strings.Repeat("ab", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.env["SALLYPORT_SEAL_KEY_FILE"] = seal
	if code, stdout, stderr := w.run("adopt", "acme/orders", "--yes"); code != ExitOK {
		t.Errorf("with a seal key: exit %d, %s%s", code, stdout, stderr)
	}
	delete(w.env, "SALLYPORT_SEAL_KEY_FILE")
	if code, _, stderr := w.run("adopt", "acme/orders", "--yes"); code != ExitError || !strings.Contains(stderr, "sealed") {
		t.Errorf("without it afterwards: exit %d, %s", code, stderr)
	}
	w.env["SALLYPORT_SEAL_KEY_FILE"], w.env["SALLYPORT_URL"] = seal, "https://elsewhere.test"
	if code, _, stderr := w.run("adopt", "acme/orders", "--yes"); code != ExitError || !strings.Contains(stderr, "was begun as") {
		t.Errorf("under another address: exit %d, %s", code, stderr)
	}
}

// payload is the documented payload of an opened pull request, if it is here, or a
// small one, with the ids of this world.
func (w *world) payload(p *githubtest.Pull) []byte {
	w.t.Helper()
	body := map[string]any{}
	if dir := os.Getenv("SALLYPORT_WEBHOOKS"); dir != "" {
		text, err := os.ReadFile(filepath.Join(dir, "pull_request.opened.json"))
		if err != nil {
			w.t.Fatal(err)
		}
		if err := json.Unmarshal(text, &body); err != nil {
			w.t.Fatal(err)
		}
	}
	within := func(name string) map[string]any {
		m, ok := body[name].(map[string]any)
		if !ok {
			m = map[string]any{}
		}
		body[name] = m
		return m
	}
	body["action"], body["number"] = "opened", p.Number
	maps.Copy(within("repository"), map[string]any{"id": w.repo.ID, "full_name": w.repo.FullName()})
	maps.Copy(within("installation"), map[string]any{"id": w.inst.ID})
	pull := within("pull_request")
	pull["number"] = p.Number
	head, ok := pull["head"].(map[string]any)
	if !ok {
		head = map[string]any{}
	}
	head["sha"] = p.Head()
	pull["head"] = head
	out, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}
