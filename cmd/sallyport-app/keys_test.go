package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// withTargets declares a target of each tier.
func (w *world) withTargets() {
	w.t.Helper()
	dir := w.t.TempDir()
	targets, seal := filepath.Join(dir, "targets.yml"), filepath.Join(dir, "seal.key")
	text := fmt.Sprintf(`targets:
  orders: {tier: human, repositories: [%[1]d], environments: [production], token: {audience: orders}}
  dev: {tier: auto, repositories: [%[1]d], environments: [dev], token: {audience: dev}}
`, w.repo.ID)
	for name, content := range map[string]string{targets: text, seal: strings.Repeat("5e", 32) + "\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	w.env["SALLYPORT_TARGETS_FILE"], w.env["SALLYPORT_SEAL_KEY_FILE"] = targets, seal
}

// published are the ids of the keys that a server or a file shows.
func published(t *testing.T, document []byte) []string {
	t.Helper()
	var d struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(document, &d); err != nil {
		t.Fatalf("%v: %s", err, document)
	}
	var out []string
	for _, k := range d.Keys {
		out = append(out, k.ID)
	}
	return out
}

// The steps of a rotation by the command line, beside a server that runs: it takes
// them up by itself.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	w.withTargets()
	must := func(args ...string) string {
		t.Helper()
		code, out, log := w.run(args...)
		if code != ExitOK {
			t.Fatalf("%s: %d\n%s%s", strings.Join(args, " "), code, out, log)
		}
		return out
	}
	stop := w.serve()
	if list := must("keys", "list"); strings.Count(list, "current") != 2 || !strings.Contains(list, "https://sallyport.test/auto") {
		t.Errorf("the list:\n%s", list)
	}
	if out := must("keys", "rotate", "human"); !strings.Contains(out, "is published; it signs from") || strings.Count(out, "next, signs from") != 1 {
		t.Errorf("the first step:\n%s", out)
	}
	if out := must("keys", "rotate", "human"); !strings.Contains(out, "is published already") {
		t.Errorf("the second call within a day:\n%s", out)
	}
	dir := t.TempDir()
	must("keys", "export", dir)
	file, err := os.ReadFile(filepath.Join(dir, ".well-known", "jwks.json"))
	if err != nil {
		t.Fatal(err)
	}
	if got := published(t, file); len(got) != 2 {
		t.Errorf("exported %v, want the current and the next", got)
	}
	before := must("keys", "list")
	after := must("keys", "replace", "human", "--yes")
	if strings.Count(after, "human") != 1 || strings.Contains(before, strings.Fields(strings.Split(after, "\n")[1])[3]) {
		t.Errorf("replaced:\n%s\nbefore:\n%s", after, before)
	}
	if code, log := stop(); code != ExitOK {
		t.Fatalf("%d\n%s", code, log)
	}
	stop = w.serve()
	defer stop()
	r, err := http.Get("http://" + w.env["SALLYPORT_LISTEN"] + "/.well-known/jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := published(t, body); len(got) != 1 || !strings.Contains(after, got[0]) {
		t.Errorf("served %v after it was replaced:\n%s", got, after)
	}
}

func TestKeysRefused(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{{"keys", "rotate"}, {"keys", "rotate", "production"}, {"keys", "list", "human"}, {"keys", "export"}, {"keys", "turn"}, {"keys", "list"}} {
		if code, out, _ := w.run(args...); code != ExitUsage || out != "" {
			t.Errorf("%s: %d %s", strings.Join(args, " "), code, out)
		}
	}
	w.withTargets()
	// Nobody is there who could say yes.
	if code, out, log := w.run("keys", "replace", "human"); code == ExitOK || out != "" {
		t.Errorf("replaced without asking: %d %s%s", code, out, log)
	}
	if code, _, log := w.run("keys", "export", filepath.Join(t.TempDir(), "nowhere")); code != ExitError || !strings.Contains(log, "want a folder that is there") {
		t.Errorf("exported into nothing: %d %s", code, log)
	}
}
