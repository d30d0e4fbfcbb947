package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/cmd/sallyport-app/selftest"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// The command says what it would do before it does anything, and its exit codes tell a
// refusal from a person who did not come. The walk itself is tested in selftest.
func TestSelftestCommand(t *testing.T) {
	w := newWorld(t)
	if code, _, stderr := w.run("selftest"); code != ExitUsage || !strings.Contains(stderr, "OWNER/SCRATCH") {
		t.Errorf("without a repository: exit %d, %s", code, stderr)
	}
	code, stdout, stderr := w.run("selftest", "acme/orders")
	if code != ExitUsage || stdout != "" || !strings.Contains(stderr, "In acme/orders, and nowhere else") || !strings.Contains(stderr, "--yes-use acme/orders") {
		t.Errorf("without consent: exit %d, %s%s", code, stdout, stderr)
	}
	for _, args := range [][]string{{"--format", "xml"}, {"--wait", "-1s"}, {"--yes-use", "acme/other"}, {"--write", t.TempDir(), "--reviewers", "$(id)"}, {"--write", t.TempDir(), "--reviewers", "alice"}} {
		if code, _, stderr := w.run(append([]string{"selftest", "acme/orders"}, args...)...); code != ExitUsage {
			t.Errorf("%v: exit %d, %s", args, code, stderr)
		}
	}
	if code, _, stderr := w.run("selftest", "acme/orders", "--yes-use", "acme/orders"); code != ExitUsage || !strings.Contains(stderr, "lacks the permission") {
		t.Errorf("without a permission: exit %d, %s", code, stderr)
	}
}

func TestSelftestNobodyComes(t *testing.T) {
	w := newWorld(t)
	w.inst.Permit(w.alice, github.PermissionLevels(false))
	dir := t.TempDir()
	targets := filepath.Join(dir, "targets.yml")
	text := fmt.Sprintf("targets:\n  sallyport-selftest: {tier: human, repositories: [%d], environments: [sallyport-selftest-production], token: {audience: sallyport-selftest}}\n", w.repo.ID)
	if err := os.WriteFile(targets, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.env["SALLYPORT_URL"], w.env["SALLYPORT_TARGETS_FILE"], w.env["SALLYPORT_SEAL_KEY"] = "http://"+w.env["SALLYPORT_LISTEN"], targets, strings.Repeat("5a", 32)
	at := filepath.Join(dir, "scratch")
	if code, stdout, stderr := w.run("selftest", "acme/orders", "--write", at, "--reviewers", "acme/sre"); code != ExitOK || !strings.Contains(stdout, selftest.Marker) {
		t.Fatalf("--write: exit %d, %s%s", code, stdout, stderr)
	}
	if code, _, stderr := w.run("selftest", "acme/orders", "--write", at, "--reviewers", "acme/sre, bob"); code != ExitUsage || !strings.Contains(stderr, "says something else") {
		t.Errorf("--write over other files: exit %d, %s", code, stderr)
	}
	files := map[string]string{}
	for _, p := range []string{selftest.Marker, selftest.Workflow, selftest.CheckWorkflow, rules.PolicyPath} {
		text, err := os.ReadFile(filepath.Join(at, p))
		if err != nil {
			t.Fatal(err)
		}
		files[p] = string(text)
	}
	stop := w.serve()
	w.app.Webhook(w.env["SALLYPORT_URL"]+"/webhooks/github", "s3cret")
	w.repo.CommitTo(w.alice, "main", "Make it a scratch repository", files)
	if err := w.g.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := w.run("selftest", "acme/orders", "--yes-use", "acme/orders", "--format", "json", "--wait", "100ms")
	var r selftest.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%v in %s%s", err, stdout, stderr)
	}
	if code != ExitNeeded || r.OK() || r.Failed() || !strings.Contains(stderr, "Your turn: Make the environment") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	if code, log := stop(); code != ExitOK {
		t.Errorf("the server ends with %d: %s", code, log)
	}
	if code, stdout, _ := w.run("adopt", "acme/orders", "--yes"); code != ExitOK || !strings.Contains(stdout, "in force already") {
		t.Errorf("the policy is not in force: exit %d, %s", code, stdout)
	}
}
