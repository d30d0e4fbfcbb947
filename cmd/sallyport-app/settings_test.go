package main

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// What is wrong with a setting is said of that setting and no other, once, all at once.
func TestWrongSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, 1<<40); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	good := w.env
	for name, c := range map[string]struct {
		set  map[string]string
		want []string
	}{
		"everything": {
			map[string]string{
				"URL": "sallyport", "LISTEN": "8080", "DATABASE_URL": "mysql://x", "APP_ID": "-3", "PRIVATE_KEY_FILE": filepath.Join(dir, "none"), "WEBHOOK_SECRET": "", "WEBHOOK_SECRET_FILE": dir,
				"GITHUB_API_URL": "api.github.com", "OIDC_ISSUER": "x", "TARGETS_FILE": filepath.Join(dir, "none"), "SWEEP_INTERVAL": "1ms", "SEAL_KEY_FILE": large,
			},
			[]string{"URL", "LISTEN", "DATABASE_URL", "APP_ID", "PRIVATE_KEY_FILE", "WEBHOOK_SECRET_FILE", "GITHUB_API_URL", "TARGETS_FILE", "OIDC_ISSUER", "SWEEP_INTERVAL", "SEAL_KEY_FILE"},
		},
		"a key without end":          {map[string]string{"PRIVATE_KEY_FILE": large}, []string{"PRIVATE_KEY_FILE"}},
		"a secret of spaces":         {map[string]string{"WEBHOOK_SECRET": "  \n"}, []string{"WEBHOOK_SECRET"}},
		"an API that is not secured": {map[string]string{"GITHUB_API_URL": "http://github.test/api/v3"}, []string{"GITHUB_API_URL"}},
	} {
		w.env = map[string]string{}
		for k, v := range good {
			w.env[k] = v
		}
		for k, v := range c.set {
			w.env["SALLYPORT_"+k] = v
		}
		code, _, stderr := w.run("serve")
		var named []string
		for line := range strings.Lines(stderr) {
			name, _, _ := strings.Cut(strings.TrimPrefix(line, "sallyport-app: "), ":")
			named = append(named, strings.TrimPrefix(name, "SALLYPORT_"))
		}
		if code != ExitUsage || !slices.Equal(named, c.want) {
			t.Errorf("%s: exit %d, lines of %q, want %q:\n%.2000s", name, code, named, c.want, stderr)
		}
	}
}

// Who starts a server with what cannot work is told which setting it is, and what ends
// with a line end works.
func TestStartSaysWhich(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", w.env["SALLYPORT_LISTEN"])
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := w.run("serve"); code != ExitError || !strings.Contains(stderr, "SALLYPORT_LISTEN: ") {
		t.Errorf("a port in use: exit %d, %s", code, stderr)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w.env["SALLYPORT_APP_ID"] += "\n"
	key := w.env["SALLYPORT_PRIVATE_KEY_FILE"]
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	_, log := w.serve()()
	if !strings.Contains(log, "SALLYPORT_PRIVATE_KEY_FILE") || !strings.Contains(log, "can be read by every user") {
		t.Errorf("a key that everybody can read:\n%s", log)
	}

	w.g.Allow("A JSON web token could not be decoded")
	other := w.g.App(githubtest.AppConfig{Slug: "other", Owner: w.g.Organization("acme"), Secret: "x"})
	if err := os.WriteFile(key, other.KeyPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	text, stop := w.logged()
	w.until("it says which settings do not belong together", func() bool {
		return strings.Contains(text.String(), "SALLYPORT_PRIVATE_KEY_FILE for SALLYPORT_APP_ID") && strings.Contains(text.String(), `"clock_of_github":"2`)
	})
	if code := stop(); code != ExitOK {
		t.Errorf("exit %d:\n%s", code, text)
	}
}
