package setup_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/cmd/sallyport-app/setup"
)

func TestFoldersThatAreNotTaken(t *testing.T) {
	at := t.TempDir()
	folder := func(name string, mode os.FileMode) string {
		dir := filepath.Join(at, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	put := func(dir, name, text string) string {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	link := filepath.Join(folder("links", 0o700), "to")
	if err := os.Symlink(at, link); err != nil {
		t.Fatal(err)
	}
	dangling := folder("dangling", 0o700)
	if err := os.Symlink(filepath.Join(at, "nowhere"), filepath.Join(dangling, "seal-key")); err != nil {
		t.Fatal(err)
	}
	for words, dir := range map[string]string{
		"app.pem is there already":       put(folder("key", 0o700), "app.pem", "old"),
		"sallyport.env is there already": put(folder("env", 0o700), "sallyport.env", "old"),
		"seal-key is there already":      dangling,
		"chmod 700":                      folder("wide", 0o755),
		"is no folder":                   filepath.Join(put(folder("file", 0o700), "f", ""), "f"),
		"to is no folder":                link,
		"would need quoted":              folder("a b", 0o700),
	} {
		f, err := setup.OpenFolder(dir)
		if err == nil {
			t.Errorf("%s is taken", dir)
			_ = f.Close()
			continue
		}
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", dir, err, words)
		}
	}
	for _, name := range []string{"key/app.pem", "env/sallyport.env"} {
		text, err := os.ReadFile(filepath.Join(at, name))
		if err != nil || string(text) != "old" {
			t.Errorf("%s is %q now: %v", name, text, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(at, "*", ".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestAFolderThatNothingCameInto(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "sallyport")
	f, err := setup.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
}

// Whatever the umask is, files are for their owner, who can read them.
func TestUmask(t *testing.T) {
	for _, mask := range []int{0, 0o077, 0o777} {
		s := begin(t, nil)
		back := s.register()
		old := syscall.Umask(mask)
		got := s.get(back)
		syscall.Umask(old)
		if got.code != 303 {
			t.Fatalf("umask %o: %d %s", mask, got.code, got.text)
		}
		for _, name := range s.files() {
			info, err := os.Stat(filepath.Join(s.dir, name))
			s.must(err)
			if info.Mode().Perm() != 0o600 {
				t.Errorf("umask %o: %s is %o", mask, name, info.Mode().Perm())
			}
		}
	}
}

func TestPlaces(t *testing.T) {
	for _, x := range []struct{ web, api, wantWeb, wantAPI, wantIssuer string }{
		{"", "", "https://github.com", "https://api.github.com", "https://token.actions.githubusercontent.com"},
		{"", "https://api.github.com", "https://github.com", "https://api.github.com", "https://token.actions.githubusercontent.com"},
		{"https://github.com/", "", "https://github.com", "https://api.github.com", "https://token.actions.githubusercontent.com"},
		{"https://acme.ghe.com", "", "https://acme.ghe.com", "https://api.acme.ghe.com", "https://token.actions.acme.ghe.com"},
		{"", "https://api.acme.ghe.com", "https://acme.ghe.com", "https://api.acme.ghe.com", "https://token.actions.acme.ghe.com"},
		{"https://GitHub.acme.internal", "", "https://github.acme.internal", "https://github.acme.internal/api/v3", "https://github.acme.internal/_services/token"},
		{"https://github.acme.internal/api/v3", "", "https://github.acme.internal", "https://github.acme.internal/api/v3", "https://github.acme.internal/_services/token"},
		{"", "https://github.acme.internal:8443/api/v3", "https://github.acme.internal:8443", "https://github.acme.internal:8443/api/v3", "https://github.acme.internal:8443/_services/token"},
		{"http://127.0.0.1:9", "http://127.0.0.1:9", "http://127.0.0.1:9", "http://127.0.0.1:9", "http://127.0.0.1:9/_services/token"},
	} {
		p, err := setup.Locate(x.web, x.api)
		if err != nil || p.Web != x.wantWeb || p.API != x.wantAPI || p.Issuer != x.wantIssuer {
			t.Errorf("Locate(%q, %q): %+v, %v", x.web, x.api, p, err)
		}
	}
	for _, bad := range []string{"http://github.acme.internal", "github.com", "https://github.com/acme", "https://a:b@github.acme.internal", "https://x.internal;form-action *", "https://x.internal/?q", "ftp://x"} {
		if p, err := setup.Locate(bad, ""); err == nil {
			t.Errorf("Locate(%q): %+v", bad, p)
		}
	}
	for _, bad := range []string{"", "sallyport.acme.dev", "http://sallyport.acme.dev", "https://sallyport.acme.dev/x", "https://u@sallyport.acme.dev", "https://sallyport.acme.dev?x"} {
		if u, err := setup.PublicURL(bad); err == nil {
			t.Errorf("PublicURL(%q): %q", bad, u)
		}
	}
}

func TestStartRefuses(t *testing.T) {
	places, err := setup.Locate("", "")
	if err != nil {
		t.Fatal(err)
	}
	f, err := setup.OpenFolder(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	good := setup.Config{Places: places, URL: "https://sallyport.test", Folder: f}
	for words, change := range map[string]func(*setup.Config) string{
		"--listen":      func(*setup.Config) string { return "0.0.0.0:0" },
		"--listen: \":": func(*setup.Config) string { return ":0" },
		"--org":         func(c *setup.Config) string { c.Org = "a/b"; return "" },
		"--name":        func(c *setup.Config) string { c.Name = strings.Repeat("x", 35); return "" },
		"--name: \"<":   func(c *setup.Config) string { c.Name = "<b>"; return "" },
		"--acme":        func(c *setup.Config) string { c.ACME, c.URL = true, "http://127.0.0.1:1"; return "" },
		"--url":         func(c *setup.Config) string { c.URL = "https://x/y"; return "" },
	} {
		c := good
		listen := change(&c)
		if listen == "" {
			listen = "127.0.0.1:0"
		}
		if _, err := setup.Start(t.Context(), c, listen); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
}
