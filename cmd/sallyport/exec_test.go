package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/actions"
)

// canary is what must be nowhere but where it was asked for.
const canary = "canary-p@ss/word+1"

// leases is a server that gives one credential a name, and counts.
type leases struct {
	t      *testing.T
	url    string
	mu     sync.Mutex
	calls  []string
	status int    // of the end of a lease
	life   string // expires_at
	values string
}

func newLeases(t *testing.T) *leases {
	t.Helper()
	l := &leases{t: t, status: 204, life: "2099-01-01T00:00:00Z", values: `{"url":"postgres://role7:x@db.acme.internal:5432/orders","host":"db.acme.internal","port":"5432","database":"orders","username":"role7","password":"` + canary + `"}`}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.calls = append(l.calls, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(body)))
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/oidc":
			_, _ = io.WriteString(w, `{"value":"a.b.c"}`)
		case r.Method == http.MethodPost && strings.Contains(string(body), "refused"):
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"code":"SP614","detail":"Nobody has released this job."}`)
		case r.Method == http.MethodPost:
			name := strings.Split(string(body), `"`)[3]
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"id":"%s-1","secret":"lease-canary-secret","credential":"%s","environment":"production","expires_at":"%s","values":%s}`, name, name, l.life, l.values)
		default:
			w.WriteHeader(l.status)
		}
	}))
	t.Cleanup(s.Close)
	l.url = s.URL
	return l
}

// set changes what is answered from now on.
func (l *leases) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// count is how many requests began so.
func (l *leases) count(prefix string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, c := range l.calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

// ran is a process that ended.
type ran struct {
	code           int
	stdout, stderr string
}

// command is this program as a process of its own, in a job.
func (l *leases) command(env []string, args ...string) (*exec.Cmd, func() ran) {
	l.t.Helper()
	program, err := exec.LookPath("sallyport")
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.CommandContext(l.t.Context(), program, args...)
	dir := l.t.TempDir()
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GITHUB_ACTIONS=true", "GITHUB_RUN_ID=1", "GITHUB_RUN_ATTEMPT=1", "RUNNER_TEMP=" + dir, "SALLYPORT_URL=" + l.url,
		"ACTIONS_ID_TOKEN_REQUEST_URL=" + l.url + "/oidc?x=1", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=request-canary",
		"GITHUB_OUTPUT=" + filepath.Join(dir, "output"), "GITHUB_ENV=" + filepath.Join(dir, "env"), "GITHUB_STEP_SUMMARY=" + filepath.Join(dir, "summary"),
	}, env...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	return cmd, func() ran {
		l.t.Helper()
		if err := cmd.Start(); cmd.Process == nil {
			l.t.Fatal(err)
		}
		_ = cmd.Wait() // the exit code says it
		return ran{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	}
}

func (l *leases) run(env []string, args ...string) ran {
	l.t.Helper()
	_, run := l.command(env, args...)
	return run()
}

// unmasked is a log without the commands that mask.
func unmasked(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, "::add-mask::") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// The command has the credential; its output is its own; the credential ends with it.
func TestExec(t *testing.T) {
	l := newLeases(t)
	r := l.run([]string{"PGSERVICE=elsewhere", "PGHOSTADDR=192.0.2.1", "KEPT=1"}, "exec", "--credential", "orders-migrator", "--map", "MINE=password", "--file", "FILE=password", "--",
		"sh", "-c", `printf '%s|%s|%s|%s|%s|%s|%s' "$PGPASSWORD" "$SALLYPORT_ORDERS_MIGRATOR_PASSWORD" "$MINE" "$(cat "$FILE")" "${PGSERVICE-none}" "${ACTIONS_ID_TOKEN_REQUEST_TOKEN-none}" "$KEPT"; printf '%s' "$FILE" >"$HOME/file"; ls -l "$FILE" | cut -c1-10 >&2; exit 7`)
	if want := strings.Join([]string{canary, canary, canary, canary, "none", "none", "1"}, "|"); r.code != 7 || r.stdout != want {
		t.Errorf("exit %d, %q", r.code, r.stdout)
	}
	if log := unmasked(r.stderr); strings.TrimSpace(log) != "-rw-------" || !strings.HasPrefix(r.stderr, "::add-mask::") || !strings.Contains(r.stderr, "::add-mask::"+canary+"\n") {
		t.Errorf("standard error %q", r.stderr)
	}
	if l.count("POST /v1/leases") != 1 || l.count("DELETE /v1/leases/orders-migrator-1") != 1 {
		t.Errorf("asked %q", l.calls)
	}
}

// Nothing of the credential is left, wherever the command ends.
func TestExecEnds(t *testing.T) {
	l := newLeases(t)
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("\x7fELF, and no more"), 0o700); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		args []string
		code int
		ends int
	}{
		"true":                   {[]string{"--credential", "db", "--", "true"}, 0, 1},
		"a code":                 {[]string{"--credential", "db", "--", "sh", "-c", "exit 42"}, 42, 1},
		"a signal":               {[]string{"--credential", "db", "--", "sh", "-c", "kill -9 $$"}, 137, 1},
		"it cannot be run":       {[]string{"--credential", "db", "--", broken}, exitCannotRun, 1},
		"the second is refused":  {[]string{"--credential", "db", "--credential", "refused", "--", "true"}, ExitHuman, 1},
		"a value that is none":   {[]string{"--credential", "db", "--map", "X=nothing", "--", "true"}, ExitError, 1},
		"two":                    {[]string{"--credential", "db", "--credential", "other", "--", "true"}, 0, 2},
		"no such command":        {[]string{"--credential", "db", "--", "no-such-command"}, exitNotFound, 0},
		"no command":             {[]string{"--credential", "db", "--"}, ExitUsage, 0},
		"no credential":          {[]string{"--", "true"}, ExitUsage, 0},
		"no name":                {[]string{"--credential", "../x", "--", "true"}, ExitUsage, 0},
		"one twice":              {[]string{"--credential", "db", "--credential", "db", "--", "true"}, ExitUsage, 0},
		"a variable that is no":  {[]string{"--credential", "db", "--map", "A B=url", "--", "true"}, ExitUsage, 0},
		"another's value":        {[]string{"--credential", "db", "--map", "A=x.url", "--", "true"}, ExitUsage, 0},
		"refused":                {[]string{"--credential", "refused", "--", "true"}, ExitHuman, 0},
		"a server without https": {[]string{"--credential", "db", "--server", "http://sallyport.acme.internal", "--", "true"}, ExitUsage, 0},
	} {
		l.set(func() { l.calls = nil })
		r := l.run(nil, append([]string{"exec"}, c.args...)...)
		if r.code != c.code || l.count("DELETE") != c.ends {
			t.Errorf("%s: exit %d, want %d; %d ended, want %d: %s", what, r.code, c.code, l.count("DELETE"), c.ends, r.stderr)
		}
		if c.ends == 0 && what != "refused" && l.count("POST") > 0 {
			t.Errorf("%s: a credential was asked for", what)
		}
		if log := r.stdout + unmasked(r.stderr); strings.Contains(log, canary) || strings.Contains(log, "lease-canary") {
			t.Errorf("%s: the log has the credential: %q", what, log)
		}
	}
}

// What it did is done, although its credential could not be ended.
func TestExecCannotEnd(t *testing.T) {
	l := newLeases(t)
	l.set(func() { l.status = 404 })
	r := l.run(nil, "exec", "--credential", "db", "--", "true")
	if r.code != 0 || !strings.Contains(unmasked(r.stderr), "::warning title=sallyport exec::the credential db may be alive until this job ends") {
		t.Errorf("exit %d, %q", r.code, unmasked(r.stderr))
	}
}

// Signals reach the command and its own children; the second ends what takes none.
func TestExecSignals(t *testing.T) {
	for _, c := range []struct {
		what, script string
		signals      []syscall.Signal
		code         int
	}{
		{"passed on", `trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done`, []syscall.Signal{syscall.SIGTERM}, 5},
		{"hang-up", `trap 'exit 6' HUP; echo up; while :; do sleep 0.05; done`, []syscall.Signal{syscall.SIGHUP}, 6},
		{"not taken", `echo up; exec sleep 60`, []syscall.Signal{syscall.SIGINT}, 130},
		{"ignored twice", `trap '' INT TERM; echo up; while :; do sleep 0.05; done`, []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}, 137},
	} {
		t.Run(c.what, func(t *testing.T) {
			l := newLeases(t)
			cmd, _ := l.command(nil, "exec", "--credential", "db", "--", "sh", "-c", c.script)
			cmd.Stdout = nil
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			for _, s := range c.signals {
				if err := cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
				time.Sleep(50 * time.Millisecond) // two of them must not become one
			}
			_ = cmd.Wait() // the exit code says it
			if code := cmd.ProcessState.ExitCode(); code != c.code || l.count("DELETE") != 1 {
				t.Errorf("exit %d, want %d; %d ended", code, c.code, l.count("DELETE"))
			}
		})
	}
}

// The end of the credential is said; the command is ended only where that was asked for.
func TestExecDeadline(t *testing.T) {
	for _, kill := range []bool{false, true} {
		l := newLeases(t)
		l.set(func() { l.life = time.Now().Add(time.Second).UTC().Format(time.RFC3339Nano) })
		args := []string{"exec", "--credential", "db", "--", "sh", "-c", "sleep 2; exit 9"}
		want := 9
		if kill {
			args, want = slices.Insert(args, 1, "--kill-at-deadline"), 143
		}
		r := l.run(nil, args...)
		if r.code != want || !strings.Contains(r.stderr, "time is over") {
			t.Errorf("kill %v: exit %d, %q", kill, r.code, unmasked(r.stderr))
		}
	}
}

// A file that standard error goes to does not get the credential as a mask.
func TestExecMasksNoFile(t *testing.T) {
	l := newLeases(t)
	file := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd, _ := l.command(nil, "exec", "--credential", "db", "--", "true")
	cmd.Stderr = f
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(file); err != nil || strings.Contains(string(b), "canary") || !strings.Contains(string(b), "cannot be told") {
		t.Errorf("%q %v", b, err)
	}
}

func TestVariables(t *testing.T) {
	db := func(name string) actions.Lease {
		return actions.Lease{Credential: name, Values: map[string]actions.Secret{"url": "postgres://x", "password": "p"}}
	}
	names := func(e environment) string {
		var out []string
		for _, s := range e.set {
			out = append(out, s.name)
		}
		return strings.Join(out, " ")
	}
	e, notes := variables([]actions.Lease{db("a.b-c")}, "")
	if got := names(e); got != "SALLYPORT_A_B_C_PASSWORD SALLYPORT_A_B_C_URL DATABASE_URL PGPASSWORD" || len(notes) > 0 || !slices.Contains(e.drop, "PGPASSFILE") {
		t.Errorf("%s, without %q, %q", got, e.drop, notes)
	}
	// Neither of two databases is the one.
	e, notes = variables([]actions.Lease{db("a"), db("b")}, "")
	if got := names(e); strings.Contains(got, " PGPASSWORD") || !slices.Contains(e.drop, "PGPASSWORD") || len(notes) != 1 {
		t.Errorf("%s, without %q, %q", got, e.drop, notes)
	}
	if e, _ := variables([]actions.Lease{db("a")}, "DB_"); names(e) != "DB_PASSWORD DB_URL" {
		t.Error(names(e))
	}
	aws := actions.Lease{Credential: "aws", Values: map[string]actions.Secret{"access_key_id": "i", "secret_access_key": "k", "session_token": "s", "region": "r"}}
	e, _ = variables([]actions.Lease{aws}, "")
	if got := names(e); !strings.HasSuffix(got, "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_REGION AWS_DEFAULT_REGION") || !slices.Contains(e.drop, "AWS_PROFILE") {
		t.Errorf("%s, without %q", got, e.drop)
	}
	got := childEnv([]string{"A=1", "PGPASSWORD=old", "PGPASSFILE=x", "ACTIONS_ID_TOKEN_REQUEST_URL=u"}, environment{set: []setting{{"PGPASSWORD", "new"}}, drop: []string{"PGPASSFILE"}}, true)
	if !slices.Equal(got, []string{"A=1", "ACTIONS_ID_TOKEN_REQUEST_URL=u", "PGPASSWORD=new"}) {
		t.Errorf("%q", got)
	}
}
