package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/store/pgtest"
)

// A server on SQLite moves to PostgreSQL, where two serve together, outlive the
// database's going away, and begin again from a backup.
func TestMoveDatabase(t *testing.T) {
	server := pgtest.Start(t)
	to := server.Schema(t)
	w := newWorld(t)
	if code, _, stderr := w.run("adopt", "acme/orders", "--yes"); code != ExitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	stop := w.serve()
	// Not while a server runs.
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(to+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := w.run("move-database", "--to-file", file); code != ExitError || !strings.Contains(stderr, "stop every server") {
		t.Errorf("moved while a server runs: exit %d, %s", code, stderr)
	}
	if code, log := stop(); code != ExitOK {
		t.Fatalf("exit %d:\n%s", code, log)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{}, "want either"}, {[]string{"sqlite:x"}, "want postgres://"}, {[]string{"postgres://u:canary@db.internal/x"}, "without TLS"},
		{[]string{to, "--to-file", file}, "want either"},
	} {
		if code, _, stderr := w.run(append([]string{"move-database"}, c.args...)...); code != ExitUsage || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "canary") {
			t.Errorf("%q: exit %d, %s", c.args, code, stderr)
		}
	}
	code, stdout, stderr := w.run("move-database", "--to-file", file)
	if code != ExitOK || !strings.Contains(stdout, "as before, and verifies") || strings.Contains(stdout+stderr, "secret@") {
		t.Fatalf("exit %d: %s%s", code, stdout, stderr)
	}
	if code, _, stderr := w.run("serve"); code != ExitError || !strings.Contains(stderr, "moved to another") {
		t.Errorf("a server on what was moved: exit %d, %s", code, stderr)
	}

	// Two servers on it, the address from a file.
	delete(w.env, "SALLYPORT_DATABASE_URL")
	w.env["SALLYPORT_DATABASE_URL_FILE"] = file
	stopFirst := w.serve()
	first := w.env["SALLYPORT_LISTEN"]
	w.env["SALLYPORT_LISTEN"] = freeAddress(t)
	stopSecond := w.serve()
	push := func(branch string) []byte {
		return []byte(`{"ref":"refs/heads/` + branch + `","after":"` + strings.Repeat("a", 40) + `","repository":{"id":1,"full_name":"acme/orders"},"sender":{"id":1,"login":"alice","type":"User"}}`)
	}
	if code := w.deliver("push", "s3cret", push("main")); code != http.StatusAccepted {
		t.Errorf("a delivery: %d", code)
	}
	server.Stop()
	if code := w.deliver("push", "s3cret", push("next")); code != http.StatusServiceUnavailable {
		t.Errorf("a delivery while the database is away: %d, want 503", code)
	}
	w.until("it is not ready without a database", func() bool { return w.get("/readyz") == http.StatusServiceUnavailable })
	if code := w.get("/healthz"); code != http.StatusOK {
		t.Errorf("not alive without a database: %d", code)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	w.until("the delivery is taken again", func() bool { return w.deliver("push", "s3cret", push("next")) == http.StatusAccepted })
	w.until("it is ready again", func() bool { return w.get("/readyz") == http.StatusOK })
	w.env["SALLYPORT_LISTEN"] = first
	w.until("the other is ready again", func() bool { return w.get("/readyz") == http.StatusOK })
	for _, stop := range []func() (int, string){stopFirst, stopSecond} {
		if code, log := stop(); code != ExitOK || strings.Contains(log, "secret@") {
			t.Errorf("exit %d:\n%s", code, log)
		}
	}

	// A backup is restored elsewhere, and the ledger in it verifies.
	backup, err := exec.CommandContext(t.Context(), filepath.Join(pgtest.Bin(), "pg_dump"), "--no-owner", "--schema="+pgtest.SchemaOf(t, to), to).Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	again := pgtest.Start(t)
	restored := again.Database(t, "restored")
	psql := exec.CommandContext(t.Context(), filepath.Join(pgtest.Bin(), "psql"), "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", restored)
	psql.Stdin = strings.NewReader(string(backup))
	if out, err := psql.CombinedOutput(); err != nil {
		t.Fatalf("psql: %v: %s", err, out)
	}
	w.env["SALLYPORT_DATABASE_URL"] = restored + "&options=-csearch_path%3D" + pgtest.SchemaOf(t, to)
	stop = w.serve()
	if code, _, stderr := w.run("adopt", "acme/orders", "--yes"); code != ExitOK {
		t.Errorf("after the restore: exit %d, %s", code, stderr)
	}
	if code := w.deliver("push", "s3cret", push("last")); code != http.StatusAccepted {
		t.Errorf("a delivery after the restore: %d", code)
	}
	if code, log := stop(); code != ExitOK {
		t.Errorf("exit %d:\n%s", code, log)
	}
}
