package selftest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/sallyport/sallyport/cmd/sallyport-app/selftest"
	"github.com/sallyport/sallyport/cmd/sallyport-app/server"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/webhook"
	"github.com/sallyport/sallyport/rules"
)

const scratch = "acme/scratch"

// world is a GitHub with a scratch repository, a server beside it, a person and a
// runner.
type world struct {
	t      *testing.T
	g      *githubtest.GitHub
	repo   *githubtest.Repository
	alice  *githubtest.User
	app    *githubtest.App
	server *server.Server
	cfg    selftest.Config
	rule   bool

	mu    sync.Mutex
	asked []string
	lines []string
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newWorld starts it all. With rule the environment can have the protection rule.
func newWorld(t *testing.T, rule bool, numbers githubtest.BigInts) *world {
	t.Helper()
	// It is looked at many times a second.
	g := githubtest.Start(t, githubtest.Config{BigInts: numbers, Limits: githubtest.NoLimits()})
	acme := g.Organization("acme")
	w := &world{t: t, g: g, repo: g.Repository(acme, "scratch"), alice: g.User("alice"), rule: rule}
	w.repo.Collaborator(w.alice, "admin")
	acme.Team("sre", w.alice, g.User("bob"))
	w.app = g.App(githubtest.AppConfig{Slug: "sallyport", Owner: acme, Secret: "s3cret", Permissions: github.PermissionLevels(false), Events: github.Events()})
	w.app.Install(acme)

	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	key, err := github.ParseKey(w.app.KeyPEM())
	must(t, err)
	targets, problems := rules.LoadTargets("targets.yml", fmt.Appendf(nil, "targets:\n  sallyport-selftest: {tier: human, repositories: [%d], environments: [sallyport-selftest-production], token: {audience: sallyport-selftest}}\n", w.repo.ID))
	if targets == nil {
		t.Fatal(problems)
	}
	settings := server.Settings{
		URL: "http://" + address, Listen: address, Database: store.Config{Path: filepath.Join(t.TempDir(), "s.db")}, App: rules.AppID(w.app.ID), Key: key,
		WebhookSecrets: []webhook.Secret{"s3cret"}, GitHubAPI: g.URL(), Issuer: g.OIDCIssuer(), Sweep: time.Minute, Log: slog.New(slog.DiscardHandler), Targets: targets,
	}
	must(t, settings.SealWith(strings.Repeat("5a", 32)))
	ctx, stop := context.WithCancel(context.Background())
	w.server, err = server.New(ctx, settings)
	must(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		if err := w.server.Run(ctx); err != nil {
			t.Errorf("the server ended: %v", err)
		}
	})
	t.Cleanup(func() { stop(); all.Wait() })
	w.app.Webhook(settings.URL+"/webhooks/github", "s3cret")
	w.until("the server is ready", func() bool {
		answer, err := http.Get(settings.URL + "/readyz")
		return err == nil && answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
	})
	client, err := github.New(github.Config{App: settings.App, Key: key, BaseURL: g.URL()})
	must(t, err)
	w.cfg = selftest.Config{
		Repository: scratch, Confirmed: scratch, GitHub: client, API: g.URL(), URL: settings.URL, Targets: targets, Team: "sre", NoRule: !rule,
		Wait: 20 * time.Second, Poll: 30 * time.Millisecond, Window: 20 * time.Second, Adopt: w.adopt, Ask: w.person,
		Say: func(line string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lines = append(w.lines, line)
		},
	}
	return w
}

// prepare has alice push what --write writes.
func (w *world) prepare() {
	w.t.Helper()
	dir := w.t.TempDir()
	paths, err := selftest.Prepare(w.t.Context(), w.cfg, selftest.Preparing{Reviewers: "acme/sre", Dir: dir})
	must(w.t, err)
	files := map[string]string{}
	for _, p := range paths {
		text, err := os.ReadFile(filepath.Join(dir, p))
		must(w.t, err)
		files[p] = string(text)
	}
	w.repo.CommitTo(w.alice, "main", "Make it a scratch repository", files)
	must(w.t, w.g.Settle(w.t.Context()))
}

func (w *world) adopt(ctx context.Context) error {
	g, err := w.server.Gate(ctx)
	if err != nil {
		return err
	}
	list, err := g.LookAtAdoption(ctx, scratch)
	if err != nil {
		return err
	}
	for _, one := range list {
		if one.Policy == nil {
			return fmt.Errorf("the policy has errors: %v", one.Problems)
		}
		if err := g.Adopt(ctx, one, "alice"); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) until(what string, so func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Errorf("waited in vain until %s", what)
			return
		}
	}
}

// person is alice, who does what she is asked.
func (w *world) person(ctx context.Context, task selftest.Task) {
	w.mu.Lock()
	w.asked = append(w.asked, task.ID)
	w.mu.Unlock()
	var err error
	switch task.ID {
	case "rule":
		_, err = w.repo.Environment(selftest.Environment).EnableRule(w.app)
	case "review":
		err = w.as(ctx, http.MethodPost, fmt.Sprintf("/pulls/%d/reviews", task.Pull), `{"event":"APPROVE","commit_id":"`+w.head(ctx, task.Pull)+`"}`)
	case "approve":
		err = w.repo.CheckRun(string(task.SHA), "sallyport / "+selftest.Environment).Click(w.alice, "approve")
	case "dispatch":
		w.start(w.alice, "workflow_dispatch")
	}
	if err != nil {
		w.t.Errorf("%s: %v", task.ID, err)
	}
}

// head is a pull request's head commit.
func (w *world) head(ctx context.Context, number int) string {
	var out bytes.Buffer
	if err := w.send(ctx, http.MethodGet, fmt.Sprintf("/pulls/%d", number), "", &out); err != nil {
		w.t.Error(err)
	}
	var p struct {
		Head struct {
			SHA string `yaml:"sha"`
		} `yaml:"head"`
	}
	if err := yaml.Unmarshal(out.Bytes(), &p); err != nil {
		w.t.Error(err)
	}
	return p.Head.SHA
}

func (w *world) as(ctx context.Context, method, path, body string) error {
	return w.send(ctx, method, path, body, io.Discard)
}

// send sends a request as alice.
func (w *world) send(ctx context.Context, method, path, body string, out io.Writer) error {
	q, err := http.NewRequestWithContext(ctx, method, w.g.URL()+"/repos/"+scratch+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	for k, v := range map[string]string{"Authorization": "Bearer " + w.g.UserToken(w.alice), "Accept": "application/vnd.github+json", "User-Agent": "alice", "X-GitHub-Api-Version": "2022-11-28", "Content-Type": "application/json"} {
		q.Header.Set(k, v)
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(out, answer.Body)
	if answer.StatusCode > 299 {
		return fmt.Errorf("%s %s: %s", method, path, answer.Status)
	}
	return err
}

// workflow is the file that was pushed.
type workflow struct {
	Env  map[string]string
	Jobs map[string]struct {
		Environment string
		Steps       []struct{ Name, Run string }
	}
}

func (w *world) workflow() workflow {
	var text bytes.Buffer
	q, err := http.NewRequestWithContext(context.Background(), http.MethodGet, w.g.URL()+"/repos/"+scratch+"/contents/"+selftest.Workflow, nil)
	if err != nil {
		w.t.Error(err)
		return workflow{}
	}
	for k, v := range map[string]string{"Authorization": "Bearer " + w.g.UserToken(w.alice), "Accept": "application/vnd.github.raw+json", "User-Agent": "alice", "X-GitHub-Api-Version": "2022-11-28"} {
		q.Header.Set(k, v)
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		w.t.Error(err)
		return workflow{}
	}
	defer answer.Body.Close()
	_, err = io.Copy(&text, answer.Body)
	var f workflow
	if err := errors.Join(err, yaml.Unmarshal(text.Bytes(), &f)); err != nil {
		w.t.Error(err)
	}
	return f
}

// start starts the workflow as GitHub would.
func (w *world) start(by *githubtest.User, event string) *githubtest.Run {
	spec := githubtest.RunSpec{Workflow: selftest.Workflow, By: by, Event: event}
	for name, j := range w.workflow().Jobs {
		spec.Jobs = append(spec.Jobs, githubtest.JobSpec{Name: name, Environment: j.Environment})
	}
	return w.repo.StartRun(spec)
}

// actions starts the workflow when the second pull request is merged, and runs its
// jobs as a runner does, until ctx ends.
func (w *world) actions(ctx context.Context) func() {
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() {
		head, merges, checked := w.repo.Head("main"), 0, 0
		var run *githubtest.Run
		ran := map[int64]bool{}
		for ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
			checked = w.check(checked)
			if now := w.repo.Head("main"); now != head {
				if head, merges = now, merges+1; merges == 2 {
					run = w.start(w.app.Bot(), "push")
				}
			}
			if run == nil {
				continue
			}
			for name, j := range w.workflow().Jobs {
				job := run.Job(name)
				if status, _ := job.Status(); status != "in_progress" || ran[job.ID] {
					continue
				}
				ran[job.ID] = true
				all.Go(func() { w.runJob(ctx, job, w.workflow().Env, j.Steps) })
			}
		}
	})
	return func() { stop(); all.Wait() }
}

// check runs the workflow of pull requests for those that were opened since, of which
// seen were seen. It gives how many there are.
func (w *world) check(seen int) int {
	n := 0
	for _, q := range w.g.Requests() {
		if q.Method != http.MethodPost || !strings.HasSuffix(q.Path, "/pulls") || q.Status != http.StatusCreated {
			continue
		}
		if n++; n <= seen {
			continue
		}
		var made struct{ Head string }
		if err := yaml.Unmarshal(q.Body, &made); err != nil {
			w.t.Error(err)
		}
		if sha := w.repo.Head(made.Head); sha != "" {
			run := w.repo.StartRun(githubtest.RunSpec{Workflow: selftest.CheckWorkflow, Event: "pull_request", Branch: made.Head, By: w.app.Bot(), Jobs: []githubtest.JobSpec{{Name: "sallyport-selftest"}}})
			if err := run.Job("sallyport-selftest").Complete("success"); err != nil {
				w.t.Error(err)
			}
		}
	}
	return n
}

// runJob runs a job's steps with a real shell.
func (w *world) runJob(ctx context.Context, job *githubtest.Job, env map[string]string, steps []struct{ Name, Run string }) {
	temp, err := os.MkdirTemp("", "runner-")
	if err != nil {
		w.t.Error(err)
		return
	}
	defer os.RemoveAll(temp)
	address, bearer := job.TokenRequest()
	end := "success"
	for _, s := range steps {
		c := exec.CommandContext(ctx, "bash", "-e", "-o", "pipefail", "-c", s.Run)
		c.Env = []string{"PATH=" + os.Getenv("PATH"), "ACTIONS_ID_TOKEN_REQUEST_URL=" + address, "ACTIONS_ID_TOKEN_REQUEST_TOKEN=" + bearer, "RUNNER_TEMP=" + temp}
		for k, v := range env {
			c.Env = append(c.Env, k+"="+v)
		}
		out, err := c.CombinedOutput()
		if err != nil {
			end = "failure"
			w.t.Logf("step %q: %v\n%s", s.Name, err, out)
		}
		job.Step(s.Name, end)
		if err != nil {
			break
		}
	}
	if left, err := os.ReadDir(temp); err != nil || end == "success" && len(left) > 0 {
		w.t.Errorf("the job leaves %v behind (%v)", left, err)
	}
	_ = job.Complete(end) // cancelled meanwhile
}

// walk walks with a runner at work.
func (w *world) walk(ctx context.Context) (*selftest.Report, error) {
	defer w.actions(context.WithoutCancel(ctx))()
	return selftest.Run(ctx, w.cfg)
}
