//go:build linux

package main

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestImage runs the server as a container engine runs the image, whose files are in
// the folder SALLYPORT_IMAGE. Only .ci/image has one, and runs this.
func TestImage(t *testing.T) {
	root := os.Getenv("SALLYPORT_IMAGE")
	if root == "" {
		return
	}
	w := newWorld(t)
	volume := t.TempDir()
	for name, text := range map[string][]byte{"private-key": w.app.KeyPEM(), "seal-key": []byte(strings.Repeat("5a", 32))} {
		name = filepath.Join(volume, name)
		if err := errors.Join(os.WriteFile(name, text, 0o400), os.Chown(name, 65532, 65532)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(volume, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	image := func(args ...string) (*exec.Cmd, *buffer) {
		cmd, out := exec.CommandContext(t.Context(), "../../.ci/image", append([]string{"run", root, volume}, args...)...), &buffer{}
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		for name, value := range w.env {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		cmd.Stdout, cmd.Stderr = out, out
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that nothing stays behind
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		return cmd, out
	}
	// ends checks how a program ended.
	ends := func(what string, code int, err error, out *buffer) {
		t.Helper()
		var exit *exec.ExitError
		if (code == 0) != (err == nil) || code != 0 && (!errors.As(err, &exit) || exit.ExitCode() != code) {
			t.Fatalf("%s: %v, want exit %d:\n%s", what, err, code, out)
		}
	}

	// Reading migrations compiles a parser as it runs.
	cmd, out := image("look-at-statements")
	ends("reading migrations", ExitOK, cmd.Run(), out)
	if !strings.Contains(out.String(), `"parsed":true`) {
		t.Errorf("migrations cannot be read:\n%s", out)
	}

	settings := w.env
	w.env = nil
	cmd, out = image("serve")
	ends("no setting", ExitUsage, cmd.Run(), out)
	var named []string
	for line := range strings.Lines(out.String()) {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "sallyport-app: "), ": "); ok && strings.HasPrefix(name, "SALLYPORT_") {
			named = append(named, name)
		}
	}
	if want := []string{"SALLYPORT_URL", "SALLYPORT_APP_ID", "SALLYPORT_PRIVATE_KEY_FILE", "SALLYPORT_WEBHOOK_SECRET"}; !slices.Equal(named, want) {
		t.Errorf("without a setting it names %q, want %q, a line each:\n%s", named, want, out)
	}
	t.Logf("each missing setting is named, a line each: %s", strings.Join(named, ", "))

	w.env = settings
	w.env["SALLYPORT_PRIVATE_KEY_FILE"], w.env["SALLYPORT_SEAL_KEY_FILE"] = "/data/private-key", "/data/seal-key"
	w.env["SALLYPORT_DATABASE_URL"] = "sqlite:/sallyport.db"
	cmd, out = image("serve")
	ends("a database outside the volume", ExitError, cmd.Run(), out)
	if !strings.Contains(out.String(), syscall.EROFS.Error()) {
		t.Errorf("the root can be written to:\n%s", out)
	}
	t.Logf("a database outside the volume: %s", strings.TrimSpace(out.String()))

	w.env["SALLYPORT_DATABASE_URL"] = "sqlite:/data/sallyport.db"
	cmd, out = image("adopt", "acme/orders", "--yes")
	ends("adopting", ExitOK, cmd.Run(), out)
	cmd, out = image("serve")
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.until("the server in the image is ready", func() bool { return w.get("/readyz") == http.StatusOK })
	t.Logf("ready after %v", time.Since(start).Round(time.Millisecond))
	if code := w.deliver("ping", "s3cret", []byte(`{"zen":"Keep it logically awesome."}`)); code != http.StatusAccepted {
		t.Errorf("a delivery is answered with %d, want 202:\n%s", code, out)
	}
	if strings.Contains(out.String(), "level=WARN") {
		t.Errorf("the log has a warning:\n%s", out)
	}
	start = time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(20*time.Second, func() { _ = cmd.Cancel() })
	defer late.Stop()
	ends("SIGTERM", ExitOK, cmd.Wait(), out)
	t.Logf("ended by SIGTERM after %v", time.Since(start).Round(time.Millisecond))
	if strings.Contains(out.String(), "level=ERROR") {
		t.Errorf("the log has an error:\n%s", out)
	}
}
