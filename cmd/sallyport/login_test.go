package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/cmd/sallyport-app/server"
	"github.com/sallyport/sallyport/gate/actions"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/store/pgtest"
	"github.com/sallyport/sallyport/rules"
)

const laptopPolicy = `version: 1
reviewers: [acme/sre]
environments:
  dev: {gate: auto, paths: [docs/**]}
  production: {gate: human}
credentials:
  orders-dev: {environment: dev, target: orders-dev, capability: write, ttl: 5m}
  orders-devdb: {environment: dev, target: orders-devdb, capability: write, ttl: 5m}
  orders-migrator: {environment: production, target: orders-db, capability: write, workflow: deploy.yml}
  orders-guarded: {environment: dev, target: guarded, capability: write}
`

// laptop is a real server for acme/orders, and a machine with a config folder of its own.
type laptop struct {
	t     *testing.T
	g     *githubtest.GitHub
	app   *githubtest.App
	repo  *githubtest.Repository
	alice *githubtest.User
	url   string // of the server
	env   []string
	log   *safeBuffer
}

// safeBuffer is a log that is written while a test reads it.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newLaptop starts the server. Database is the file of an administrator's URL, "" for no
// target of PostgreSQL's.
func newLaptop(t *testing.T, database string) *laptop {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
	g := githubtest.Start(t)
	acme := g.Organization("acme")
	l := &laptop{t: t, g: g, repo: g.Repository(acme, "orders"), alice: g.User("alice"), log: &safeBuffer{}}
	l.env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	acme.Owner(g.User("carol"))
	acme.Team("sre", g.User("bob")).Access(l.repo, "write")
	l.repo.Collaborator(l.alice, "write")
	l.repo.CommitTo(g.User("carol"), "main", "Add the policy", map[string]string{rules.PolicyPath: laptopPolicy})
	l.app = g.App(githubtest.AppConfig{
		Slug: "sallyport", Owner: acme, Secret: "s3cret", Events: []string{"pull_request", "push"},
		Permissions: map[string]string{
			"actions": "read", "checks": "write", "contents": "write", "members": "read", "merge_queues": "read", "pull_requests": "write", "statuses": "read",
		},
	})
	l.app.Install(acme)
	id, secret := l.app.OAuth()
	l.app.DeviceFlow(true, 1)

	listen, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	address := listen.Addr().String()
	must(t, listen.Close())
	l.url = "http://" + address
	targets := fmt.Sprintf(`targets:
  orders-dev: {tier: auto, repositories: [%[1]d], environments: [dev], token: {audience: "https://vault.acme.internal"}}
  orders-db: {tier: human, repositories: [%[1]d], environments: [production], token: {audience: "https://vault.acme.internal"}}
  guarded: {tier: human, repositories: [%[1]d], environments: [dev], token: {audience: "https://vault.acme.internal"}}
`, l.repo.ID)
	if database != "" {
		targets += fmt.Sprintf("  orders-devdb: {tier: auto, private: true, repositories: [%d], environments: [dev], postgres: {url_file: %s, groups: {write: app_writer}}}\n", l.repo.ID, database)
	}
	write := func(name, text string) string {
		file := filepath.Join(home, name)
		must(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	settings := map[string]string{
		"URL": l.url, "LISTEN": address, "DATABASE_URL": "sqlite:" + filepath.Join(home, "s.db"), "APP_ID": fmt.Sprint(l.app.ID),
		"PRIVATE_KEY": string(l.app.KeyPEM()), "WEBHOOK_SECRET": "s3cret", "GITHUB_API_URL": g.URL(), "TARGETS_FILE": write("targets.yml", targets),
		"SEAL_KEY": strings.Repeat("ab", 32), "CLIENT_ID": id, "CLIENT_SECRET_FILE": write("client-secret", secret+"\n"), "OIDC_ISSUER": g.OIDCIssuer(),
	}
	s, err := server.Read(func(name string) string { return settings[name] }, true)
	must(t, err)
	s.Log = slog.New(slog.NewTextHandler(l.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	x, err := server.New(t.Context(), s)
	must(t, err)
	at, err := x.Gate(t.Context())
	must(t, err)
	all, err := at.LookAtAdoption(t.Context(), "acme/orders")
	must(t, err)
	for _, one := range all {
		must(t, at.Adopt(t.Context(), one, "carol"))
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, hidden := range []string{secret, "ghu_", "ghr_", "eyJ"} {
			if strings.Contains(l.log.String(), hidden) {
				t.Errorf("%q is in the server's log", hidden)
			}
		}
	})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		answer, err := http.Get(l.url + "/readyz")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return l
			}
		}
		if time.Now().After(end) {
			t.Fatalf("the server is not ready:\n%s", l.log)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a command; when it shows a code, somebody acts on it.
func (l *laptop) run(act func(code string), args ...string) (exit int, stdout, stderr string) {
	l.t.Helper()
	var out, errs safeBuffer
	done := make(chan int, 1)
	go func() { done <- Main(args, l.env, strings.NewReader(""), &out, &errs) }()
	shown := regexp.MustCompile(`enter the code (\S+)`)
	for acted := false; ; {
		select {
		case code := <-done:
			for _, text := range []string{out.String(), errs.String()} {
				if strings.Contains(text, "ghu_") || strings.Contains(text, "ghr_") {
					l.t.Errorf("a token is shown: %s", text)
				}
			}
			return code, out.String(), errs.String()
		case <-time.After(5 * time.Millisecond):
			if m := shown.FindStringSubmatch(errs.String()); m != nil && !acted && act != nil {
				acted = true
				act(m[1])
			}
		}
	}
}

// authorize is alice, who enters the code.
func (l *laptop) authorize(code string) { must(l.t, l.g.EnterCode(l.alice, code, true)) }

func (l *laptop) login() {
	l.t.Helper()
	if code, _, errs := l.run(l.authorize, "login", "--url", l.url); code != ExitOK {
		l.t.Fatalf("login: %d %s", code, errs)
	}
}

// lease asks as the person who is logged in.
func (l *laptop) lease(credential string) (*personLeaser, actions.Lease, error) {
	l.t.Helper()
	p, err := newApp(l.env, nil, &safeBuffer{}, &safeBuffer{}).userLeaser(l.t.Context(), l.url, "acme/orders", "")
	must(l.t, err)
	given, err := p.Lease(l.t.Context(), credential)
	return p, given, err
}

func TestLoginThenLease(t *testing.T) {
	l := newLaptop(t, "")
	if code, out, _ := l.run(nil, "login", "--status"); code != ExitError || !strings.Contains(out, "Not logged in") {
		t.Errorf("before: %d %s", code, out)
	}
	code, out, errs := l.run(l.authorize, "login", "--url", l.url+"/")
	file := regexp.MustCompile(`kept in (\S+)`).FindStringSubmatch(out)
	if code != ExitOK || file == nil || !strings.Contains(errs, l.g.URL()+"/login/device") {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	if info, err := os.Stat(file[1]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the login's file: %v %v", info, err)
	}
	if code, out, _ := l.run(nil, "login", "--status", "--format", "json"); code != ExitOK || !strings.Contains(out, `"renews": true`) || !strings.Contains(out, l.url) {
		t.Errorf("--status: %d %s", code, out)
	}

	p, given, err := l.lease("orders-dev")
	must(t, err)
	if given.Environment != "dev" || len(given.Values["token"].Reveal()) < 100 || time.Until(given.ExpiresAt) > 5*time.Minute {
		t.Errorf("%s until %s", given.Environment, given.ExpiresAt)
	}
	for range 2 {
		// A token cannot be revoked: it expires; the lease is on record as alive until then.
		if err := p.EndLease(t.Context(), given.ID, given.Secret); err != nil {
			t.Errorf("ending it: %v", err)
		}
	}
	for credential, want := range map[string]string{"orders-migrator": "SP645", "orders-guarded": "SP645", "nothing": "SP601"} {
		_, _, err := l.lease(credential)
		var refused *actions.Problem
		if !errors.As(err, &refused) || refused.Code != want {
			t.Errorf("%s: %v, want %s", credential, err, want)
		}
	}
	l.repo.Collaborator(l.alice, "none")
	if _, _, err := l.lease("orders-dev"); err == nil {
		t.Error("somebody who was removed was given a credential")
	}
	l.repo.Collaborator(l.alice, "write")
	l.app.EndUserTokens(l.alice)
	_, _, err = l.lease("orders-dev")
	var refused *actions.Problem
	if !errors.As(err, &refused) || refused.Code != rules.PersonTokenOther {
		t.Errorf("a revoked login: %v", err)
	}
	if code, out, _ := l.run(nil, "logout"); code != ExitOK || !strings.Contains(out, "Logged out") {
		t.Errorf("logout: %d %s", code, out)
	}
	if _, err := os.Stat(file[1]); err == nil {
		t.Error("the login's file is still there")
	}
	if _, err := newApp(l.env, nil, &safeBuffer{}, &safeBuffer{}).userLeaser(t.Context(), "", "acme/orders", ""); !errors.Is(err, errNoLogin) {
		t.Errorf("without a login: %v", err)
	}
}

// A developer's role of a real database, and nothing of it afterwards.
func TestLoginThenPostgres(t *testing.T) {
	db := pgtest.Start(t)
	must(t, db.Do(t.Context(), "postgres", "CREATE ROLE app_writer NOLOGIN", "CREATE ROLE broker LOGIN CREATEROLE PASSWORD 'broker'",
		"GRANT pg_signal_backend TO broker", "GRANT app_writer TO broker WITH ADMIN OPTION", "CREATE DATABASE shop", "GRANT CREATE ON DATABASE shop TO app_writer"))
	file := filepath.Join(t.TempDir(), "admin")
	must(t, os.WriteFile(file, []byte("postgres://broker:broker@"+db.Address()+"/shop?sslmode=disable"), 0o600))
	l := newLaptop(t, file)
	l.login()
	p, given, err := l.lease("orders-devdb")
	if err != nil {
		t.Fatalf("%v\n%s", err, l.log)
	}
	c, err := pgx.Connect(t.Context(), given.Values["url"].Reveal())
	must(t, err)
	defer c.Close(context.WithoutCancel(t.Context()))
	if _, err := c.Exec(t.Context(), "CREATE SCHEMA try; CREATE TABLE try.one (id int)"); err != nil {
		t.Errorf("writing: %v", err)
	}
	must(t, p.EndLease(t.Context(), given.ID, given.Secret))
	if _, err := c.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("the session lives on")
	}
	if c, err := pgx.Connect(t.Context(), given.Values["url"].Reveal()); err == nil {
		c.Close(t.Context())
		t.Error("the role can log in still")
	}
}

func TestLoginRefused(t *testing.T) {
	l := newLaptop(t, "")
	cancel := func(code string) { must(t, l.g.EnterCode(l.alice, code, false)) }
	if code, _, errs := l.run(cancel, "login", "--url", l.url); code != ExitError || !strings.Contains(errs, "cancelled") {
		t.Errorf("cancelled: %d %s", code, errs)
	}
	l.app.DeviceFlow(false, 1)
	if code, _, errs := l.run(nil, "login", "--url", l.url); code != ExitError || !strings.Contains(errs, "device flow") {
		t.Errorf("no device flow: %d %s", code, errs)
	}
	for _, x := range []struct{ url, want string }{
		{"", "--url is missing"}, {"http://sallyport.acme.internal", "plain http"}, {"https://user:pw@acme.internal", "password"},
	} {
		if code, _, errs := l.run(nil, "login", "--url", x.url); code != ExitUsage || !strings.Contains(errs, x.want) {
			t.Errorf("--url %q: %d %s", x.url, code, errs)
		}
	}
	if all, err := readLogins(); err != nil || len(all) != 0 {
		t.Errorf("kept: %d, %v", len(all), err)
	}
}

// A server that lies about how to log in leads nobody elsewhere.
func TestLoginOfAnEvilServer(t *testing.T) {
	l := &laptop{t: t}
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	var say string
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/login":
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(say))
		case "/code":
			_, _ = w.Write([]byte(`{"device_code":"d","user_code":"AB\u001b[2J","verification_uri":"https://evil.example/","expires_in":900,"interval":1}`))
		case "/here":
			_, _ = fmt.Fprintf(w, `{"device_code":"d","user_code":"AB","verification_uri":"http://%s/enter","expires_in":900,"interval":1}`, r.Host)
		case "/token":
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"access_token":"gho_canary","token_type":"bearer","scope":"repo,admin:org"}`))
		default:
			http.NotFound(w, r)
		}
	}))
	defer evil.Close()
	for name, x := range map[string]struct{ say, want string }{
		"in clear":                 {`{"client_id":"x","device_authorization_url":"http://github.com/login/device/code","token_url":"http://github.com/t"}`, "by https"},
		"two hosts":                {`{"client_id":"x","device_authorization_url":"https://github.com/login/device/code","token_url":"https://evil.example/t"}`, "one host"},
		"a user in the address":    {`{"client_id":"x","device_authorization_url":"https://github.com@evil.example/c","token_url":"https://github.com@evil.example/t"}`, "by https"},
		"no client":                {`{"device_authorization_url":"https://github.com/c","token_url":"https://github.com/t"}`, "does not say"},
		"no JSON":                  {`<html>`, "does not say"},
		"a page elsewhere":         {`{"client_id":"x","device_authorization_url":"` + evil.URL + `/code","token_url":"` + evil.URL + `/token"}`, "evil.example"},
		"a token of another thing": {`{"client_id":"x","device_authorization_url":"` + evil.URL + `/here","token_url":"` + evil.URL + `/token"}`, "scopes"},
	} {
		say = x.say
		code, _, errs := l.run(nil, "login", "--url", evil.URL)
		if code != ExitError || !strings.Contains(errs, x.want) || strings.Contains(errs, "canary") || strings.Contains(errs, "\x1b[2J") {
			t.Errorf("%s: %d %s", name, code, errs)
		}
	}
	if all, err := readLogins(); err != nil || len(all) != 0 {
		t.Errorf("kept: %d, %v", len(all), err)
	}
}

// A token that ends is renewed with no secret of the App's, once, by whoever is first.
func TestLoginRenewed(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	g := githubtest.Start(t)
	app := g.App(githubtest.AppConfig{Slug: "sallyport"})
	id, _ := app.OAuth()
	token, refresh := app.UserToken(g.User("alice"))
	k := kept{Server: "https://sallyport.test", ClientID: id, TokenURL: g.URL() + "/login/oauth/access_token", Token: token, Refresh: refresh, Expires: time.Now().Add(8 * time.Hour)}
	_, err := k.write()
	must(t, err)
	if same, err := fresh(t.Context(), k, time.Now()); err != nil || same.Token != token {
		t.Errorf("a token that lives was renewed: %v", err)
	}
	late := time.Now().Add(8 * time.Hour)
	var all sync.WaitGroup
	got := make([]string, 4)
	for i := range got {
		all.Go(func() {
			next, err := fresh(t.Context(), k, late)
			if err != nil {
				t.Errorf("renewing: %v", err)
			}
			got[i] = next.Token
		})
	}
	all.Wait()
	for _, next := range got {
		if next == token || next != got[0] {
			t.Errorf("four at once have different tokens")
		}
	}
	kept, err := readLogin("https://sallyport.test")
	must(t, err)
	if kept.Token != got[0] || kept.Refresh == refresh {
		t.Error("the next token was not kept")
	}
	app.EndUserTokens(g.User("alice"))
	if _, err := fresh(t.Context(), kept, late); err == nil || !strings.Contains(err.Error(), "run sallyport login") {
		t.Errorf("an ended login: %v", err)
	}
	kept.Refresh = ""
	if _, err := fresh(t.Context(), kept, late); err == nil || !strings.Contains(err.Error(), "run sallyport login") {
		t.Errorf("without a refresh token: %v", err)
	}
}

func TestLoginFile(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	k := kept{Server: "https://a.test", ClientID: "id", TokenURL: "https://github.com/t", Token: "ghu_canary"}
	file, err := k.write()
	must(t, err)
	if shown := fmt.Sprintf("%v %+v %#v", k, &k, k); strings.Contains(shown, "canary") {
		t.Errorf("it shows itself: %s", shown)
	}
	if info, err := os.Stat(filepath.Dir(file)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v %v", info, err)
	}
	other := kept{Server: "https://b.test", ClientID: "id", TokenURL: "https://github.com/t", Token: "ghu_canary"}
	_, err = other.write()
	must(t, err)
	if _, err := readLogin(""); err == nil || !strings.Contains(err.Error(), "2 servers") {
		t.Errorf("which of two: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "new-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	bad := func(name, want string, change func()) {
		t.Helper()
		change()
		if _, err := readLogin("https://a.test"); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad("others read it", "can be read by others", func() { must(t, os.Chmod(file, 0o640)) })
	must(t, os.Chmod(file, 0o600))
	bad("half of one", "no login of this version", func() { must(t, os.WriteFile(file, []byte(`{"version":1,"access_token":"ghu_canary"`), 0o600)) })
	bad("another version", "no login of this version", func() {
		must(t, os.WriteFile(file, []byte(`{"version":2,"server":"https://a.test","client_id":"x","token_url":"y","access_token":"ghu_canary"}`), 0o600))
	})
	bad("another server's", "of another server", func() {
		must(t, os.WriteFile(file, []byte(`{"version":1,"server":"https://b.test","client_id":"x","token_url":"y","access_token":"ghu_canary"}`), 0o600))
	})
	bad("a folder", "no regular file", func() { must(t, os.Remove(file)); must(t, os.Mkdir(file, 0o700)) })
	must(t, os.Remove(file))
	bad("none", "not logged in", func() {})
}

func TestRemoteRepository(t *testing.T) {
	for remote, want := range map[string]string{
		"https://github.com/acme/orders.git": "github.com acme/orders", "https://github.com/acme/orders/": "github.com acme/orders", "git@github.com:acme/orders.git": "github.com acme/orders",
		"ssh://git@ssh.github.com:443/acme/orders.git": "ssh.github.com acme/orders", "github.com:acme/orders": "github.com acme/orders", "/srv/git/orders.git": " ", "../orders": " ", "": " ",
		"https://token@github.com/acme/orders": "github.com acme/orders",
	} {
		if host, name := splitRemote(remote); host+" "+name != want {
			t.Errorf("%q: %q %q, want %q", remote, host, name, want)
		}
	}
	dir := t.TempDir()
	a := newApp(os.Environ(), nil, &safeBuffer{}, &safeBuffer{})
	git := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v %s", args, err, out)
		}
	}
	git("init", "-q")
	at := (&url.URL{Scheme: "https", Host: "github.com", Path: "/login/oauth/access_token"}).String()
	if _, err := a.remoteRepository(t.Context(), dir, at); err == nil || !strings.Contains(err.Error(), "OWNER/NAME") {
		t.Errorf("no remote: %v", err)
	}
	git("remote", "add", "origin", "git@github.com:acme/orders.git")
	if name, err := a.remoteRepository(t.Context(), dir, at); err != nil || name != "acme/orders" {
		t.Errorf("%q %v", name, err)
	}
	git("remote", "set-url", "origin", "https://gitlab.example/acme/orders.git")
	if name, err := a.remoteRepository(t.Context(), dir, at); err == nil {
		t.Errorf("another host: %q", name)
	}
	if _, err := a.userLeaser(t.Context(), "https://none.test", "acme/orders/x", dir); err == nil {
		t.Error("a name of three parts")
	}
}
