package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// While GitHub does not answer for one repository, another's pull request is judged at
// once, however much waits for the first.
func TestOneRepositoryHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow := w.g.Repository(w.g.Organization("acme"), "slow")
	slow.CommitTo(w.alice, "main", "Add the policy", map[string]string{rules.PolicyPath: policy})
	for _, name := range []string{"acme/orders", "acme/slow"} {
		if code, _, stderr := w.run("adopt", name, "--yes"); code != ExitOK {
			t.Fatal(stderr)
		}
	}
	stop := w.serve()
	open := func(r *githubtest.Repository) (*githubtest.Pull, []byte) {
		t.Helper()
		r.CommitTo(w.alice, "fix", "Fix it", map[string]string{"main.go": "package main\n"})
		p, err := r.OpenPull(w.alice, githubtest.PullSpec{Head: "fix", Title: "Fix it"})
		if err != nil {
			t.Fatal(err)
		}
		orders := w.repo
		defer func() { w.repo = orders }()
		w.repo = r
		return p, w.payload(p)
	}
	p, body := open(w.repo)
	_, other := open(slow)
	w.g.Fail(githubtest.Fault{Kind: githubtest.Hang, Times: -1, When: func(q githubtest.Request) bool {
		return strings.Contains(q.Path, "/acme/slow") || strings.Contains(string(q.Body), `"slow"`)
	}})
	defer w.g.Heal()
	for n := range 20 {
		text := strings.ReplaceAll(string(other), `"number":1`, `"number":`+strconv.Itoa(n+1))
		if got := w.deliver("pull_request", "s3cret", []byte(text)); got != http.StatusAccepted {
			t.Fatalf("a delivery: %d, want 202", got)
		}
	}
	time.Sleep(500 * time.Millisecond) // they are looked at
	begun := time.Now()
	if got := w.deliver("pull_request", "s3cret", body); got != http.StatusAccepted {
		t.Fatalf("a delivery: %d, want 202", got)
	}
	w.until("the other repository's pull request has its check", func() bool { return w.repo.CheckRun(p.Head(), "sallyport") != nil })
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it was judged after %s", took)
	}
	if code, log := stop(); code != ExitOK {
		t.Errorf("exit %d:\n%s", code, log)
	}
}

const deployPolicy = policy + `credentials:
  deploy-token: {environment: production, target: vault, capability: write, workflow: deploy.yml}
`

// released is a job whose deployment was approved, with a server that can give it a
// credential.
// Each of GitHub's answers takes as long as pause says.
func released(t *testing.T) (w *world, p *process, token string, pause *atomic.Int64) {
	t.Helper()
	w = newWorld(t)
	pause = &atomic.Int64{}
	to, err := url.Parse(w.g.URL())
	if err != nil {
		t.Fatal(err)
	}
	through := httputil.NewSingleHostReverseProxy(to)
	through.ErrorLog = log.New(io.Discard, "", 0)
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(time.Duration(pause.Load())):
			through.ServeHTTP(rw, r)
		case <-t.Context().Done():
		}
	}))
	t.Cleanup(front.Close)
	w.env["SALLYPORT_GITHUB_API_URL"] = front.URL
	w.app = w.g.App(githubtest.AppConfig{
		Slug: "sallyport-deploys", Owner: w.g.Organization("acme"), Secret: "s3cret",
		Events: []string{"check_run", "deployment", "deployment_protection_rule", "deployment_review", "deployment_status", "pull_request", "push", "workflow_job", "workflow_run"},
		Permissions: map[string]string{
			"actions": "write", "checks": "write", "contents": "write", "deployments": "write", "members": "read", "merge_queues": "read", "pull_requests": "write", "statuses": "read",
		},
	})
	w.inst = w.app.Install(w.g.Organization("acme"))
	w.app.Webhook("http://"+w.env["SALLYPORT_LISTEN"]+"/webhooks/github", "s3cret")
	w.repo.CommitTo(w.alice, "main", "Deploy", map[string]string{rules.PolicyPath: deployPolicy, ".github/workflows/deploy.yml": "on: push\n"})
	dir := t.TempDir()
	for name, text := range map[string]string{
		"PRIVATE_KEY": string(w.app.KeyPEM()), "SEAL_KEY": strings.Repeat("ab", 32),
		"TARGETS": fmt.Sprintf("targets:\n  vault: {tier: human, repositories: [%d], environments: [production], token: {audience: \"https://vault.test\"}}\n", w.repo.ID),
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w.env["SALLYPORT_"+name+"_FILE"] = file
	}
	w.env["SALLYPORT_APP_ID"], w.env["SALLYPORT_OIDC_ISSUER"] = fmt.Sprint(w.app.ID), w.g.OIDCIssuer()
	if code, _, stderr := w.run("adopt", "acme/orders", "--yes"); code != ExitOK {
		t.Fatal(stderr)
	}
	p = w.process()
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", Name: "deploy", By: w.alice, Jobs: []githubtest.JobSpec{{Name: "production", Environment: "production"}}})
	job := run.Job("production")
	w.until("the job runs", func() bool { s, _ := job.Status(); return s == "in_progress" })
	token = job.IDToken(w.env["SALLYPORT_URL"], nil)
	if code, body := w.call(http.MethodPost, "/v1/holds", token, ""); code != http.StatusCreated {
		t.Fatalf("the hold: %d %s", code, body)
	}
	var check *githubtest.CheckRun
	w.until("there is a check run to press on", func() bool {
		check = w.repo.CheckRun(w.repo.Head("main"), "sallyport / production")
		return check != nil && check.See().Conclusion == "action_required"
	})
	if err := check.Click(w.g.User("bob"), "approve"); err != nil {
		t.Fatal(err)
	}
	w.until("it is released", func() bool {
		_, body := w.call(http.MethodPost, "/v1/holds", token, "")
		return strings.Contains(body, `"state":"released"`)
	})
	return w, p, token, pause
}

// call asks as a job does.
func (w *world) call(method, path, token, body string) (status int, text string) {
	q, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.env["SALLYPORT_LISTEN"]+path, strings.NewReader(body))
	if err != nil {
		w.t.Error(err)
		return 0, ""
	}
	q.Header.Set("Authorization", "Bearer "+token)
	q.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	read, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(read)
}

// Told to end while a job asks for a credential and GitHub is slow, it tells the job so
// and ends in time.
func TestEndsWhileGitHubIsSlow(t *testing.T) {
	t.Parallel()
	w, p, token, pause := released(t)
	pause.Store(int64(6 * time.Second))
	answered := make(chan string, 1)
	go func() {
		code, text := w.call(http.MethodPost, "/v1/leases", token, `{"credential":"deploy-token"}`)
		answered <- fmt.Sprint(code, " ", text)
	}()
	time.Sleep(500 * time.Millisecond) // GitHub is asked
	p.signal(syscall.SIGTERM)
	code, took := p.end(30 * time.Second)
	if code != ExitOK || took > 11*time.Second {
		t.Errorf("exit %d after %s:\n%s", code, took, p.log)
	}
	if got := <-answered; !strings.HasPrefix(got, "503 ") {
		t.Errorf("the job is told %s", got)
	}
}

// A terminal that goes away ends it as any other signal does, unless it was told to stay,
// as by nohup.
func TestEndsAtHangUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.process()
	p.signal(syscall.SIGHUP)
	if signal.Ignored(syscall.SIGHUP) { // by this process, so by that one too
		select {
		case <-p.exited:
			t.Error("it ended, though it was told to stay")
		case <-time.After(500 * time.Millisecond):
		}
		p.signal(syscall.SIGTERM)
	}
	if code, took := p.end(10 * time.Second); code != ExitOK || !strings.Contains(p.log.String(), "stopping") {
		t.Errorf("exit %d after %s:\n%s", code, took, p.log)
	}
}
