package main

import (
	"context"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// A run without a terminal asks nothing, and says which flag is wrong.
func TestSetupRefuses(t *testing.T) {
	w := &world{t: t, env: map[string]string{}}
	dir := filepath.Join(t.TempDir(), "sallyport")
	taken := t.TempDir()
	if err := os.Chmod(taken, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(taken, "seal-key"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for words, args := range map[string][]string{
		"--url is missing":         {},
		"--url: \"http://s.test\"": {"--url", "http://s.test"},
		"--github-url":             {"--url", "https://s.test", "--github-url", "http://github.acme.internal"},
		"--org":                    {"--url", "https://s.test", "--org", "../x"},
		"--listen":                 {"--url", "https://s.test", "--listen", "0.0.0.0:0"},
		"is there already":         {"--url", "https://s.test", "--dir", taken},
		"there is no env file":     {"--check"},
	} {
		args = append([]string{"setup", "--dir", dir}, args...)
		if code, stdout, stderr := w.run(args...); code != ExitUsage || !strings.Contains(stderr, words) {
			t.Errorf("%v: exit %d, want %q:\n%s%s", args, code, words, stdout, stderr)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%v leaves a folder behind", args)
		}
	}
}

// The settings that setup writes are enough to ask GitHub whether it reaches the server.
func TestSetupThenCheck(t *testing.T) {
	g := githubtest.Start(t)
	acme, carol := g.Organization("acme"), g.User("carol")
	acme.Owner(carol)
	g.SignIn(carol)
	dir := filepath.Join(t.TempDir(), "sallyport")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, log buffer
	done := make(chan int, 1)
	// The server's variable is not the page's address.
	env := map[string]string{"SALLYPORT_LISTEN": ":443"}
	go func() {
		done <- Main(ctx, []string{"setup", "--org", "acme", "--url", "https://sallyport.test", "--dir", dir, "--github-url", g.URL(), "--github-api-url", g.URL()},
			func(k string) string { return env[k] }, strings.NewReader(""), &out, &log, nil)
	}()
	w := &world{t: t, g: g, env: map[string]string{}}
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+/\S+/`)
	w.until("the address is printed", func() bool { return address.MatchString(out.String()) })
	page := address.FindString(out.String())
	browser := &http.Client{}
	read := func(q *http.Request) string {
		t.Helper()
		answer, err := browser.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	get := func(address string) string {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		return read(q)
	}
	press := func(text string) string {
		action, form := formOf(t, text, g.URL())
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, action, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return read(q)
	}
	if text := press(press(get(page))); !strings.Contains(text, "The App is registered") {
		t.Fatalf("the last page is\n%s", text)
	}
	if code := <-done; code != ExitOK {
		t.Fatalf("exit %d:\n%s%s", code, out.String(), log.String())
	}
	key, err := os.ReadFile(filepath.Join(dir, "app.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if said := out.String() + log.String(); strings.Contains(said, string(key)) || !strings.Contains(said, "/apps/sallyport-acme/installations/new") {
		t.Errorf("it says\n%s", said)
	}
	// Nobody is there: GitHub says so.
	g.Registered().Install(acme)
	if err := g.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := w.run("setup", "--check", "--dir", dir)
	t.Logf("setup says:\n%s%s\n--check says:\n%s%s", out.String(), log.String(), stdout, stderr)
	if code != ExitError || !strings.Contains(stdout, "do not reach https://sallyport.test") || !strings.Contains(stdout, "Installed on acme") {
		t.Errorf("exit %d:\n%s%s", code, stdout, stderr)
	}
}

// formOf is where the form of a page leads, and what it sends.
func formOf(t *testing.T, text, origin string) (string, url.Values) {
	t.Helper()
	action := regexp.MustCompile(`action="([^"]+)"`).FindStringSubmatch(text)
	if action == nil {
		t.Fatalf("no form in\n%s", text)
	}
	form := url.Values{}
	for _, m := range regexp.MustCompile(`name="([^"]+)" value="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	to := html.UnescapeString(action[1])
	if strings.HasPrefix(to, "/") {
		to = origin + to
	}
	return to, form
}
