//go:build unix

package acttest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pinned is how workflows name the action: act takes it from a folder of ours.
const pinned = "sallyport/sallyport@" + pinnedSHA

// patience is how long one thing is waited for.
const patience = time.Minute

// theAct is the runner's program.
func theAct(t *testing.T) string {
	t.Helper()
	name := os.Getenv("SALLYPORT_ACT")
	if name == "" {
		name = "act"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip("act is missing; get it with: go install github.com/nektos/act@v0.2.89")
	}
	return path
}

// job is one job that act is to run.
type job struct {
	t *testing.T
	// dir is the repository, home what the job may write to, seen where its steps put
	// what the test is to see.
	dir, home, seen string
	act             string
	args            []string
	vars            map[string]string
}

// newJob has a repository with one workflow and one commit.
func newJob(t *testing.T, workflow string) *job {
	t.Helper()
	j := &job{t: t, act: theAct(t), dir: t.TempDir(), home: t.TempDir(), seen: t.TempDir(), vars: map[string]string{}}
	j.git("init", "-q", "-b", "main")
	j.git("remote", "add", "origin", "https://github.com/acme/orders.git")
	j.write("README.md", "x")
	j.workflow(workflow)
	j.git("add", "-A")
	j.git("commit", "-q", "-m", "base")
	j.action(share(t).patient)
	for name, value := range release(t) {
		j.vars[name] = value
	}
	j.vars["SEEN"] = j.seen
	return j
}

// workflow is the one file that is run. ACTION in it is the action.
func (j *job) workflow(text string) {
	j.write(".github/workflows/deploy.yml", strings.ReplaceAll(text, "ACTION", pinned))
}

// action is the folder that the action is taken from.
func (j *job) action(tree string) {
	j.args = slices.DeleteFunc(j.args, func(a string) bool { return strings.HasPrefix(a, "--local-repository=") })
	j.args = append(j.args, "--local-repository="+pinned+"="+tree)
}

func (j *job) write(name, text string) {
	j.t.Helper()
	file := filepath.Join(j.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		j.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		j.t.Fatal(err)
	}
}

// git runs git as the agent.
func (j *job) git(args ...string) string {
	j.t.Helper()
	cmd := exec.CommandContext(j.t.Context(), "git", append([]string{"-C", j.dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Copilot", "GIT_AUTHOR_EMAIL=198982749+Copilot@users.noreply.github.com",
		"GIT_COMMITTER_NAME=Copilot", "GIT_COMMITTER_EMAIL=198982749+Copilot@users.noreply.github.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		j.t.Fatalf("git %q: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// running is a run of act.
type running struct {
	*job

	log  *log
	done chan struct{} // closed when act has ended
	code int
}

// start runs the workflow for an event, of which payload is the file's content.
func (j *job) start(event string, payload any, args ...string) *running {
	j.t.Helper()
	text, err := json.Marshal(payload)
	if err != nil {
		j.t.Fatal(err)
	}
	file := filepath.Join(j.home, "event.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		j.t.Fatal(err)
	}
	all := append([]string{
		event, "-W", ".github/workflows/deploy.yml", "-P", "ubuntu-latest=-self-hosted", "-e", file, "-a", "alice", "--no-cache-server", "--action-offline-mode",
	}, j.args...)
	for _, name := range slices.Sorted(maps.Keys(j.vars)) {
		all = append(all, "--env", name+"="+j.vars[name])
	}
	ctx, cancel := context.WithTimeout(j.t.Context(), 3*patience)
	cmd := exec.CommandContext(ctx, j.act, append(all, args...)...)
	cmd.Dir = j.dir
	// Nothing of this machine but its programs: what act has, every step sees.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + j.home, "XDG_CACHE_HOME=" + j.home, "TMPDIR=" + j.home, "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C.UTF-8", "NO_COLOR=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	r := &running{job: j, log: &log{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = r.log, r.log
	if err := cmd.Start(); err != nil {
		cancel()
		j.t.Fatal(err)
	}
	go func() {
		defer close(r.done)
		defer cancel()
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			r.code = -1
			return
		}
		r.code = cmd.ProcessState.ExitCode()
	}()
	j.t.Cleanup(func() { cancel(); <-r.done })
	return r
}

// run runs the workflow to its end.
func (j *job) run(event string, payload any, args ...string) *running {
	j.t.Helper()
	return j.start(event, payload, args...).end()
}

func (r *running) end() *running {
	<-r.done
	return r
}

// until waits until act's log has a text after another.
func (r *running) until(after, text string) {
	r.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if _, rest, ok := strings.Cut(r.log.String(), after); ok && strings.Contains(rest, text) {
			return
		}
		select {
		case <-r.done:
			r.t.Fatalf("it ended with %d and said nothing of %q: %s", r.code, text, r.log)
		default:
		}
		if time.Now().After(end) {
			r.t.Fatalf("waited in vain for %q: %s", text, r.log)
		}
	}
}

// said is what the log has of one step, by its name.
func (r *running) said(step string) string {
	r.t.Helper()
	_, rest, ok := strings.Cut(r.log.String(), "Run Main "+step+"\n")
	if !ok {
		r.t.Fatalf("no step %q ran: %s", step, r.log)
	}
	for _, end := range []string{"Success - Main " + step + " [", "Failure - Main " + step + " ["} {
		if said, after, ok := strings.Cut(rest, end); ok {
			// What the runner makes of the step's files comes after its end.
			more, _, _ := strings.Cut(after, "\u2b50 Run ")
			return said + end + more
		}
	}
	return rest
}

// see is a file that a step wrote for the test.
func (r *running) see(name string) string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.seen, name))
	if err != nil {
		r.t.Fatalf("%v: %s", err, r.log)
	}
	return string(b)
}

// steps is the context of that name, as the last step of every workflow wrote it.
func (r *running) steps() map[string]result {
	r.t.Helper()
	var out map[string]result
	if err := json.Unmarshal([]byte(r.see("steps")), &out); err != nil {
		r.t.Fatal(err)
	}
	return out
}

type result struct {
	Outcome string            `json:"outcome"`
	Outputs map[string]string `json:"outputs"`
}

// want holds a step to its exit code (0 is success), what it said and its outputs, of
// which each is a name and a value.
func (r *running) want(step string, code int, says string, outputs ...string) {
	r.t.Helper()
	got, said := r.steps()[step], r.said(step)
	outcome := "success"
	if code != 0 {
		outcome = "failure"
		if !strings.Contains(said, fmt.Sprintf("exit status %d\n", code)) {
			r.t.Errorf("%s: want exit code %d: %s", step, code, said)
		}
	}
	if got.Outcome != outcome || !strings.Contains(said, says) {
		r.t.Errorf("%s: %s, want %s that says %q: %s", step, got.Outcome, outcome, says, said)
	}
	for i := 0; i < len(outputs); i += 2 {
		if got.Outputs[outputs[i]] != outputs[i+1] {
			r.t.Errorf("%s: output %s is %q, want %q", step, outputs[i], got.Outputs[outputs[i]], outputs[i+1])
		}
	}
}

// tokens are texts that open something: installation tokens and signed tokens.
var tokens = regexp.MustCompile(`gh[a-z]_[A-Za-z0-9_]{16,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.`)

// clean holds a text to having none of the secrets in it, and nothing that looks like one.
func clean(t *testing.T, where, text string, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		if len(s) < 8 {
			t.Errorf("%s: %q is no secret to look for", where, s)
		} else if strings.Contains(text, s) {
			t.Errorf("%s has the secret %.6s…", where, s)
		}
	}
	if s := tokens.FindString(text); s != "" {
		t.Errorf("%s has what looks like a token: %.10s…", where, s)
	}
}

// found are the files of a name in the folders that the job could write to.
func (j *job) found(name string) []string {
	j.t.Helper()
	var out []string
	for _, dir := range []string{j.dir, j.home, j.seen} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasPrefix(d.Name(), name) {
				out = append(out, path)
			}
			return err
		})
		if err != nil {
			j.t.Error(err)
		}
	}
	return out
}

// log is what a process wrote so far.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(bytes.ReplaceAll(p, []byte("\r"), nil))
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
