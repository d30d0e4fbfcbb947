package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// packed is an archive with one file.
func packed(t *testing.T, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The program is the release that the action's own tree vouches for, or is built from that
// tree; nothing else is ever run.
func TestActionInstall(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // the script runs in the runner's bash there
	}
	script, err := filepath.Abs("../../.github/action/install.sh")
	if err != nil {
		t.Fatal(err)
	}
	good := packed(t, "sallyport", "#!/bin/sh\necho released\n")
	system := map[string]string{"linux": "Linux", "darwin": "macOS"}[runtime.GOOS]
	arch := map[string]string{"amd64": "X64", "arm64": "ARM64"}[runtime.GOARCH]
	archive := "sallyport_1.2.3_" + runtime.GOOS + "_" + runtime.GOARCH + ".tar.gz"
	for what, c := range map[string]struct {
		served  []byte
		sums    string // %s is the digest of good
		command string
		code    int
		says    string // of the program
	}{
		"a release":             {good, "%s  " + archive, "gate", 0, "released"},
		"setup":                 {good, "%s  " + archive, "setup", 0, "released"},
		"another archive":       {packed(t, "sallyport", "#!/bin/sh\necho replaced\n"), "%s  " + archive, "gate", 2, ""},
		"no program in it":      {packed(t, "../sallyport", "x"), "itself  " + archive, "gate", 2, ""},
		"it cannot be fetched":  {nil, "%s  " + archive, "gate", 0, "built"},
		"no release of it":      {good, "%s  another.tar.gz", "gate", 0, "built"},
		"this tree is none":     {good, "", "gate", 0, "built"},
		"a command":             {good, "%s  " + archive, "gate; touch pwned", 2, ""},
		"a digest that is none": {good, "x  " + archive, "gate", 0, "built"},
	} {
		t.Run(what, func(t *testing.T) {
			asked := 0
			s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				if r.URL.Path != "/acme/sallyport/releases/download/v1.2.3/"+archive || c.served == nil {
					http.NotFound(w, r)
					return
				}
				_, _ = w.Write(c.served)
			}))
			defer s.Close()
			tree, temp := t.TempDir(), t.TempDir()
			write := func(name, text string) {
				t.Helper()
				file := filepath.Join(tree, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("go.mod", "module example.com/x\n\ngo 1.21\n")
			write("cmd/sallyport/main.go", "package main\n\nfunc main() { println(\"built\") }\n")
			write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
			if c.sums != "" {
				sum := sha256.Sum256(good)
				own := sha256.Sum256(c.served)
				write(".github/release/version", "v1.2.3\n")
				text := strings.NewReplacer("%s", hex.EncodeToString(sum[:]), "itself", hex.EncodeToString(own[:])).Replace(c.sums)
				write(".github/release/checksums.txt", text+"\n")
			}
			cmd := exec.CommandContext(t.Context(), "bash", script)
			cmd.Dir = tree
			cmd.Env = append(os.Environ(), "COMMAND="+c.command, "ACTION_PATH="+tree, "ACTION_REPOSITORY=acme/sallyport", "GITHUB_SERVER_URL="+s.URL, "CURL_CA_BUNDLE="+filepath.Join(tree, "ca.pem"),
				"RUNNER_OS="+system, "RUNNER_ARCH="+arch, "RUNNER_TEMP="+temp, "GITHUB_OUTPUT="+filepath.Join(temp, "output"), "GITHUB_PATH="+filepath.Join(temp, "path"), "GOFLAGS=-toolexec=/bin/false", "no_proxy=127.0.0.1")
			log, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Fatalf("exit %d, want %d: %s", code, c.code, log)
			}
			if c.says == "" {
				if !strings.Contains(string(log), "::error title=Sallyport::") {
					t.Errorf("says %s", log)
				}
				if _, err := os.Stat(filepath.Join(tree, "pwned")); err == nil {
					t.Error("the input was run")
				}
				if _, err := os.Stat(filepath.Join(temp, "output")); err == nil {
					t.Error("it names a program")
				}
				return
			}
			program, ok := strings.CutPrefix(strings.TrimSpace(read(t, temp, "output")), "sallyport=")
			if !ok || !strings.HasPrefix(program, temp) {
				t.Fatalf("names %q", program)
			}
			out, err := exec.CommandContext(t.Context(), program).CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != c.says {
				t.Errorf("%s: %q %v", log, out, err)
			}
			if c.command == "setup" && strings.TrimSpace(read(t, temp, "path")) != filepath.Dir(program) {
				t.Errorf("path %q", read(t, temp, "path"))
			}
			if what == "a release" { // the second step of a job fetches nothing
				again := exec.CommandContext(t.Context(), "bash", script)
				again.Env = cmd.Env
				if log, err := again.CombinedOutput(); err != nil || asked != 1 {
					t.Errorf("asked %d times: %s %v", asked, log, err)
				}
			}
		})
	}
}

// Nothing from outside stands in a script of action.yml: an expression there would be text
// of the shell's.
func TestActionFile(t *testing.T) {
	text, err := os.ReadFile("../../action.yml")
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	for line := range strings.Lines(string(text)) {
		if script, ok := strings.CutPrefix(strings.TrimSpace(line), "run: "); ok {
			runs++
			if strings.Contains(script, "${{") {
				t.Errorf("an expression in %q", script)
			}
			if script == "|" || script == ">" {
				t.Errorf("a script of several lines, which this test does not read: %q", line)
			}
		}
	}
	if runs != 2 {
		t.Errorf("%d scripts", runs)
	}
}
