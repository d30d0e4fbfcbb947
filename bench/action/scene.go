package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

const policyText = `version: 1
reviewers: [alice, bob]
environments:
  dev: {gate: auto, paths: [docs/**], after: [test]}
  production: {gate: human}
`

// changed is how many files the pull request changes.
const changed = 40

// scene is a pull request in a checkout, and the like of it in an in-memory GitHub.
type scene struct {
	dir     string
	github  *githubtest.GitHub
	token   string
	tree    string // of the action
	program string
	fetched time.Duration
	// checkout and remote are the events' files.
	checkout, remote string
	repo             *githubtest.Repository
	run              *githubtest.Run
}

func newScene(ctx context.Context, dir string) (*scene, error) {
	s := &scene{dir: dir, tree: filepath.Join(dir, "action")}
	if err := s.openPull(); err != nil {
		return nil, err
	}
	err := s.checkOut(ctx)
	if err == nil {
		err = s.install(ctx)
	}
	if err != nil {
		s.github.Close()
		return nil, err
	}
	return s, nil
}

func files() map[string]string {
	out := map[string]string{}
	for i := range changed {
		out[fmt.Sprintf("src/handler_%02d.go", i)] = strings.Repeat(fmt.Sprintln("package src //", i), 20)
	}
	return out
}

// event is the payload of a pull request that somebody pushed to.
func (s *scene) event(name, base, head string) (string, error) {
	account := map[string]any{"id": 9, "login": "octocat", "type": "User"}
	repo := map[string]any{"id": 1, "name": "orders", "full_name": "acme/orders", "default_branch": "main", "owner": map[string]any{"login": "acme"}}
	text, err := json.Marshal(map[string]any{"action": "synchronize", "number": 1, "sender": account, "repository": repo, "pull_request": map[string]any{
		"number": 1, "title": "Handlers", "body": "", "draft": false, "user": account, "labels": []any{}, "changed_files": changed, "commits": 1,
		"head": map[string]any{"ref": "work", "sha": head, "repo": repo}, "base": map[string]any{"ref": "main", "sha": base, "repo": repo},
	}})
	if err != nil {
		return "", err
	}
	file := filepath.Join(s.dir, name+".json")
	return file, os.WriteFile(file, text, 0o600)
}

// openPull opens the pull request in the in-memory GitHub.
func (s *scene) openPull() (err error) {
	if s.github, err = githubtest.New(githubtest.Config{Limits: githubtest.NoLimits()}); err != nil {
		return err
	}
	g := s.github
	acme, octocat := g.Organization("acme"), g.User("octocat")
	acme.Owner(g.User("carol"))
	repo := g.Repository(acme, "orders")
	s.repo = repo
	for _, login := range []string{"alice", "bob", "octocat"} {
		repo.Collaborator(g.User(login), "write")
	}
	base := repo.CommitTo(g.User("carol"), "main", "Begin", map[string]string{".github/sallyport.yml": policyText})
	repo.CommitTo(octocat, "work", "Handlers", files())
	p, err := repo.OpenPull(octocat, githubtest.PullSpec{Head: "work", Title: "Handlers"})
	if err != nil {
		return err
	}
	s.run = repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/ci.yml", Event: "pull_request", Branch: "work", By: octocat, Jobs: []githubtest.JobSpec{{Name: "classify"}}})
	s.token = s.run.Job("classify").Token(map[string]string{"actions": "read", "checks": "read", "contents": "read", "pull_requests": "read", "statuses": "read"})
	s.remote, err = s.event("remote", base, p.Head())
	return err
}

// checkOut makes the checkout.
func (s *scene) checkOut(ctx context.Context) error {
	dir := filepath.Join(s.dir, "checkout")
	git := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "user.name=octocat", "-c", "user.email=octocat@example.com"}, args...)...)
		cmd.Env = s.environment()
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("running git %q: %w: %.1000s", args, err, out)
		}
		return strings.TrimSpace(string(out)), nil
	}
	write := func(files map[string]string) error {
		for name, text := range files {
			file := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				return err
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				return err
			}
		}
		return nil
	}
	var heads []string
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if _, err := git("init", "-q", "-b", "main"); err != nil {
		return err
	}
	for _, files := range []map[string]string{{".github/sallyport.yml": policyText}, files()} {
		if err := write(files); err != nil {
			return err
		}
		for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "-m", "Handlers"}} {
			if _, err := git(args...); err != nil {
				return err
			}
		}
		head, err := git("rev-parse", "HEAD")
		if err != nil {
			return err
		}
		heads = append(heads, head)
	}
	_, err := git("update-ref", "refs/remotes/origin/main", heads[0])
	if err != nil {
		return err
	}
	s.checkout, err = s.event("checkout", heads[0], heads[1])
	return err
}

// install builds the program, makes a release of it, and has the action fetch that.
func (s *scene) install(ctx context.Context) error {
	list, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sallyport/sallyport").Output()
	if err != nil {
		return fmt.Errorf("looking for the module (run this in bench/): %w", err)
	}
	root := strings.TrimSpace(string(list))
	built := filepath.Join(s.dir, "built")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", built, "./cmd/sallyport")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building sallyport: %w: %s", err, out)
	}
	text, err := os.ReadFile(built)
	if err != nil {
		return err
	}
	packed, err := pack(text)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(packed)
	archive := fmt.Sprintf("sallyport_1.2.3_%s_%s.tar.gz", runtime.GOOS, runtime.GOARCH)
	files := map[string][]byte{".github/release/version": []byte("v1.2.3\n"), ".github/release/checksums.txt": []byte(hex.EncodeToString(sum[:]) + "  " + archive + "\n")}
	for _, name := range []string{"action.yml", ".github/action/install.sh", "go.mod", "cmd/sallyport/main.go"} {
		if files[name], err = os.ReadFile(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(packed) }))
	defer server.Close()
	files["ca.pem"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, text := range files {
		file := filepath.Join(s.tree, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return err
		}
	}
	first := &timed{args: s.bash(`exec bash "$ACTION_PATH/.github/action/install.sh"`), env: append(s.installing(), "GITHUB_SERVER_URL="+server.URL, "CURL_CA_BUNDLE="+filepath.Join(s.tree, "ca.pem")), want: "sallyport="}
	got, err := s.once(ctx, first)
	if err != nil {
		return err
	}
	s.fetched = got.took
	line, err := os.ReadFile(s.output())
	if err != nil {
		return err
	}
	_, s.program, _ = strings.Cut(strings.TrimSpace(string(line)), "=")
	return nil
}

// pack is an archive with the program in it.
func pack(program []byte) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "sallyport", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// bash is how the runner starts a step with `shell: bash`.
func (s *scene) bash(script string) []string {
	return []string{"bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script}
}

func (s *scene) output() string { return filepath.Join(s.dir, "output") }

// environment is that of every step.
func (s *scene) environment() []string {
	return []string{
		"HOME=" + s.dir, "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "NO_COLOR=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "CI=true",
		"GITHUB_ACTIONS=true", "GITHUB_API_URL=" + s.github.URL(), "GITHUB_REPOSITORY=acme/orders", "GITHUB_EVENT_NAME=pull_request", "GITHUB_RUN_ATTEMPT=1",
		fmt.Sprint("GITHUB_RUN_ID=", s.run.ID), fmt.Sprint("GITHUB_REPOSITORY_ID=", s.repo.ID), "GITHUB_OUTPUT=" + s.output(), "GITHUB_STEP_SUMMARY=" + filepath.Join(s.dir, "summary"),
		"GITHUB_PATH=" + filepath.Join(s.dir, "path"), "RUNNER_TEMP=" + s.dir,
	}
}

// installing is the environment of the step that gets the program.
func (s *scene) installing() []string {
	system := map[string]string{"linux": "Linux", "darwin": "macOS"}[runtime.GOOS]
	arch := map[string]string{"amd64": "X64", "arm64": "ARM64"}[runtime.GOARCH]
	return append(s.environment(), "COMMAND=classify", "ACTION_PATH="+s.tree, "ACTION_REPOSITORY=sallyport/sallyport", "RUNNER_OS="+system, "RUNNER_ARCH="+arch)
}

// local is the environment of a step in a job with the checkout, asked one without.
func (s *scene) local() []string {
	return append(s.environment(), "GITHUB_EVENT_PATH="+s.checkout, "GITHUB_WORKSPACE="+filepath.Join(s.dir, "checkout"))
}

func (s *scene) asked() []string {
	return append(s.environment(), "GITHUB_EVENT_PATH="+s.remote, "GITHUB_WORKSPACE="+filepath.Join(s.dir, "nothing"))
}

// cases are what is measured without Node. The second and third are the two steps of
// action.yml.
func (s *scene) cases() []*timed {
	classify := s.bash(`exec "$SALLYPORT" action "$INPUT_COMMAND"`)
	step := []string{"SALLYPORT=" + s.program, "INPUT_COMMAND=classify"}
	return []*timed{
		{name: "bash with an empty script", args: s.bash(":"), env: s.environment()},
		{name: "the action's first step: the program is there", args: s.bash(`exec bash "$ACTION_PATH/.github/action/install.sh"`), env: s.installing(), want: "sallyport="},
		{name: "its second: classify, from the checkout", args: classify, env: append(s.local(), step...), want: "human-needed"},
		{name: "its second: classify, without one, asking GitHub", args: classify, env: append(s.asked(), append(step, "INPUT_TOKEN="+s.token, "INPUT_FLOOR=none")...), want: "human-needed"},
	}
}

// sample is one run of a case.
type sample struct {
	took, cpu time.Duration
	requests  int // to GitHub
}

// once runs a case.
func (s *scene) once(ctx context.Context, c *timed) (sample, error) {
	if err := os.WriteFile(s.output(), nil, 0o600); err != nil {
		return sample{}, err
	}
	s.github.ForgetRequests()
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir, cmd.Env = s.dir, c.env
	start := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(start)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w: %.2000s", c.name, err, out)
	}
	text, err := os.ReadFile(s.output())
	if err != nil {
		return sample{}, err
	}
	if !strings.Contains(string(text), c.want) {
		return sample{}, fmt.Errorf("%s has no output %q: %.2000s", c.name, c.want, out)
	}
	return sample{took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), len(s.github.Requests())}, nil
}
