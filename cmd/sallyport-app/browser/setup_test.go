package browser_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// build makes both programs.
func build(t *testing.T) (app, cli string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"sallyport-app", "sallyport"} {
		command := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, name), "./cmd/"+name)
		command.Dir = filepath.Join("..", "..", "..") // as people build them: by their own module
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("building %s: %v\n%s", name, err, out)
		}
	}
	return filepath.Join(dir, "sallyport-app"), filepath.Join(dir, "sallyport")
}

// chromium starts a browser. Where there is none, this says how to get it.
func chromium(t *testing.T) context.Context {
	t.Helper()
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		t.Skip("no Chromium: apt-get install -y --no-install-recommends chromium")
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("no-proxy-server", true),
		chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute))...)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewContext(ctx)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// program is a process whose words are kept.
type program struct {
	mu    sync.Mutex
	words bytes.Buffer
	ended chan error
	cmd   *exec.Cmd
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.words.Write(b)
}

func (p *program) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.words.String()
}

// start starts a program; it ends with the test.
func start(t *testing.T, dir string, env []string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.CommandContext(t.Context(), args[0], args[1:]...), ended: make(chan error, 1)}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = dir, append(os.Environ(), env...), p, p
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 10 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	return p
}

// run runs a program to its end.
func run(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	p := start(t, dir, env, args...)
	if err := <-p.ended; err != nil {
		t.Fatalf("%v: %v\n%s", args, err, p.text())
	}
	return p.text()
}

func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// pictures takes the page that is open, in four ways, and checks that nothing is wider
// than the screen.
func pictures(t *testing.T, ctx context.Context, name string) { //nolint:revive // t comes first in tests
	t.Helper()
	for _, width := range []int64{1280, 390} {
		for _, scheme := range []string{"light", "dark"} {
			page := func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
				_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
				return chromedp.Void{}, err
			}
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 844), page); err != nil {
				t.Fatal(err)
			}
			wide, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > document.documentElement.clientWidth`))
			if err != nil {
				t.Fatal(err)
			}
			image, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
			if err != nil {
				t.Fatal(err)
			}
			if wide {
				t.Errorf("%s is wider than a screen of %d", name, width)
			}
			if dir := os.Getenv("SALLYPORT_SCREENSHOTS"); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)), image, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// freeAddress is a port of this machine that is free.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

var pageAddress = regexp.MustCompile(`http://127\.0\.0\.1:\d+/[a-z2-7]+/`)

// The way of docs/setup.md, from the page's button to a deployment that is held, pressed
// and released.
func TestFromThePageToAReleasedDeployment(t *testing.T) {
	begun := time.Now()
	step := func(what string) { t.Logf("%6.2f s  %s", time.Since(begun).Seconds(), what) }
	app, cli := build(t)
	step("both programs are built")
	browser := chromium(t)

	g := githubtest.Start(t)
	acme, carol, bob, alice := g.Organization("acme"), g.User("carol"), g.User("bob"), g.User("alice")
	acme.Owner(carol)
	repo := g.Repository(acme, "orders")
	acme.Team("sre", bob).Access(repo, "write")
	repo.Collaborator(alice, "write")
	g.SignIn(carol)

	work, listen := t.TempDir(), freeAddress(t)
	setup := start(t, work, nil, app, "setup", "--org", "acme", "--url", "http://"+listen, "--github-url", g.URL(), "--github-api-url", g.URL())
	until(t, "setup prints its address", func() bool { return pageAddress.MatchString(setup.text()) })
	step("setup waits")
	const button, create, steps = chromedp.CSS("button"), chromedp.CSS("#go"), chromedp.CSS("ol")
	see := func(actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		ctx, cancel := context.WithTimeout(browser, 30*time.Second)
		defer cancel()
		if err := chromedp.Do(ctx, actions...); err != nil {
			t.Fatalf("%v\n%s", err, setup.text())
		}
	}
	see(chromedp.Navigate(pageAddress.FindString(setup.text())), chromedp.WaitVisible(button))
	pictures(t, browser, "begin")
	see(chromedp.Click(button), chromedp.WaitVisible(create), chromedp.Click(create), chromedp.WaitVisible(steps))
	title, err := chromedp.Run(browser, chromedp.Text(chromedp.CSS("h1")))
	if err != nil || title != "The App is registered" {
		t.Fatalf("the page is %q, %v", title, err)
	}
	notes, err := chromedp.Run(browser, chromedp.Evaluate[string](`document.querySelector(".note:not(.local)")?.innerText ?? ""`))
	if err != nil || notes != "" {
		t.Errorf("notes: %q %v", notes, err)
	}
	pictures(t, browser, "done")
	see(chromedp.Click(chromedp.CSS(".button")), chromedp.WaitVisible(create), chromedp.Click(create), chromedp.WaitNotPresent(create))
	if err := <-setup.ended; err != nil {
		t.Fatalf("setup: %v\n%s", err, setup.text())
	}
	step("the App is registered and installed")
	t.Logf("setup says:\n%s", setup.text())
	for _, secret := range []string{"app.pem", "webhook-secret", "client-secret", "seal-key"} {
		text, err := os.ReadFile(filepath.Join(work, "sallyport", secret))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(setup.text(), strings.TrimSpace(string(text))) {
			t.Errorf("the terminal shows %s", secret)
		}
	}

	env := []string{"SALLYPORT_LISTEN=" + listen}
	file, err := os.Open(filepath.Join(work, "sallyport", "sallyport.env"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "SALLYPORT_") {
			env = append(env, lines.Text())
		}
	}
	server := start(t, work, env, app, "serve")
	until(t, "the server is ready", func() bool {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listen+"/readyz", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		w, err := http.DefaultClient.Do(q)
		if err != nil {
			return false
		}
		w.Body.Close()
		return w.StatusCode == http.StatusOK
	})
	step("the server is ready")
	if out := run(t, work, nil, app, "setup", "--check"); !strings.Contains(out, "Events    reach") {
		t.Errorf("the check says:\n%s", out)
	}
	step("GitHub reaches it")

	// In a clone: init writes the policy and changes the workflow.
	clone := t.TempDir()
	git := func(args ...string) {
		run(t, clone, nil, append([]string{"git", "-c", "user.name=Alice", "-c", "user.email=alice@example.com"}, args...)...)
	}
	const deploy = ".github/workflows/deploy.yml"
	files := map[string]string{
		".github/CODEOWNERS": "* @acme/sre\n", "main.go": "package main\n",
		deploy: "on: {push: {branches: [main]}}\njobs:\n  deploy:\n    runs-on: ubuntu-latest\n    environment: production\n    steps:\n      - run: ./deploy\n",
	}
	git("init", "-q", "-b", "main")
	git("remote", "add", "origin", "git@github.com:acme/orders.git")
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(clone, name)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(clone, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	git("add", "-A")
	git("commit", "-q", "-m", "Begin")
	t.Logf("init says:\n%s", run(t, clone, nil, cli, "init", "--apply"))
	policy, err := os.ReadFile(filepath.Join(clone, rules.PolicyPath))
	if err != nil {
		t.Fatal(err)
	}
	changed, err := os.ReadFile(filepath.Join(clone, deploy))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(policy, []byte("mode: observe")) || !bytes.Contains(changed, []byte("command: gate")) {
		t.Errorf("init wrote:\n%s\n%s", policy, changed)
	}
	// The first policy observes; to hold, it enforces.
	files[rules.PolicyPath], files[deploy] = strings.Replace(string(policy), "mode: observe", "mode: enforce", 1), string(changed)
	repo.CommitTo(carol, "main", "Add the policy", files)
	if out := run(t, work, env, app, "adopt", "acme/orders", "--yes"); !strings.Contains(out, "In force now") {
		t.Fatalf("adopt says:\n%s", out)
	}
	step("the policy is in force")

	registered := g.Registered()
	if _, err := repo.Environment("production").EnableRule(registered); err != nil {
		t.Fatal(err)
	}
	deployment := repo.StartRun(githubtest.RunSpec{Workflow: deploy, By: alice, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production"}}})
	head := repo.Head("main")
	const check = "sallyport / production"
	until(t, "the deployment is held", func() bool {
		return repo.CheckRun(head, check) != nil && repo.CheckRun(head, check).See().Conclusion == "action_required"
	})
	step("the deployment is held")
	if err := repo.CheckRun(head, check).Click(bob, "approve"); err != nil {
		t.Fatal(err)
	}
	until(t, "the deployment is released", func() bool { return repo.CheckRun(head, check).See().Conclusion == "success" })
	status, _ := deployment.Job("deploy").Status()
	step("bob pressed, and it is released: " + status)
	if err := server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-server.ended; err != nil {
		t.Errorf("the server ends with %v:\n%s", err, server.text())
	}
}
