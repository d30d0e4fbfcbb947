//go:build unix

package acttest_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// shared is what all tests use and none changes: trees of the action that stand for
// releases, and the server that the releases are fetched from.
type shared struct {
	program string
	// tree has the program itself, patient one that a failed step ends a moment after.
	tree, patient string
	server        *httptest.Server
	ca            string
	archives      map[string][]byte
}

// wrapper gives act a moment to read what a failed step wrote: it closes the terminal of
// one without looking whether something is left in it.
const wrapper = `#!/bin/sh
'%s' "$@" && exit
code=$?
sleep 0.4
exit $code
`

var (
	root   string // a folder that TestMain removes
	common = sync.OnceValues(makeShared)
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if root, err = os.MkdirTemp("", "sallyport-acttest-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(root)
		return m.Run()
	}())
}

// buildArgs build the program as install.sh does: what one has compiled the other need not.
func buildArgs(out string) []string {
	return []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, "./cmd/sallyport"}
}

func makeShared() (*shared, error) {
	s := &shared{program: filepath.Join(root, "sallyport"), ca: filepath.Join(root, "ca.pem"), archives: map[string][]byte{}}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", buildArgs(s.program)...)
	build.Dir = "../../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building sallyport: %w: %s", err, out)
	}
	text, err := os.ReadFile(s.program)
	if err != nil {
		return nil, err
	}
	if s.tree, err = s.release("1.2.3", text); err != nil {
		return nil, err
	}
	if s.patient, err = s.release("1.2.4", fmt.Appendf(nil, wrapper, s.program)); err != nil {
		return nil, err
	}
	s.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // it ends with the process
		packed, ok := s.archives[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(packed)
	}))
	return s, os.WriteFile(s.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw}), 0o600)
}

// release makes a release of a program, and the tree of the action that stands for it.
func (s *shared) release(version string, program []byte) (tree string, err error) {
	packed, err := pack(program)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(packed)
	archive := fmt.Sprintf("sallyport_%s_%s_%s.tar.gz", version, runtime.GOOS, runtime.GOARCH)
	s.archives["/sallyport/sallyport/releases/download/v"+version+"/"+archive] = packed
	tree = filepath.Join(root, "action-"+version)
	files := map[string][]byte{".github/release/version": []byte("v" + version + "\n"), ".github/release/checksums.txt": []byte(hex.EncodeToString(sum[:]) + "  " + archive + "\n")}
	for _, name := range []string{"action.yml", ".github/action/install.sh", "go.mod", "cmd/sallyport/main.go"} {
		if files[name], err = os.ReadFile(filepath.Join("../../..", name)); err != nil {
			return "", err
		}
	}
	for name, text := range files {
		file := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return "", err
		}
	}
	return tree, nil
}

// pack is an archive with the program in it.
func pack(program []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "sallyport", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func share(t *testing.T) *shared {
	t.Helper()
	s, err := common()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// release are the variables by which the release is fetched.
func release(t *testing.T) map[string]string {
	t.Helper()
	s := share(t)
	return map[string]string{"GITHUB_SERVER_URL": s.server.URL, "CURL_CA_BUNDLE": s.ca}
}
