package setup_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/cmd/sallyport-app/server"
	"github.com/sallyport/sallyport/cmd/sallyport-app/setup"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/github/githubtest/contract"
)

// scene is a GitHub with people, and a person in front of the page.
type scene struct {
	t      *testing.T
	g      *githubtest.GitHub
	clock  *githubtest.Clock
	acme   *githubtest.Organization
	carol  *githubtest.User
	dir    string
	folder *setup.Folder
	flow   *setup.Flow
	out    chan *setup.Result
}

// published is GitHub's own description; nil where no variable names it.
var published struct {
	once sync.Once
	rest *contract.OpenAPI
}

func description(t *testing.T) *contract.OpenAPI {
	t.Helper()
	published.once.Do(func() {
		if os.Getenv(contract.OpenAPIVariable) != "" {
			published.rest = contract.LoadOpenAPI(t)
		}
	})
	return published.rest
}

// begin starts the flow; change may be nil.
func begin(t *testing.T, change func(*setup.Config)) *scene {
	t.Helper()
	s := &scene{t: t, clock: githubtest.NewClock(time.Now()), out: make(chan *setup.Result, 1)}
	at, err := os.MkdirTemp("", "setup") // the name of a test is no plain path
	s.must(err)
	t.Cleanup(func() { s.must(os.RemoveAll(at)) })
	s.dir = filepath.Join(at, "sallyport")
	s.g = githubtest.Start(t, githubtest.Config{Now: s.clock.Now})
	s.acme, s.carol = s.g.Organization("acme"), s.g.User("carol")
	s.acme.Owner(s.carol)
	s.g.SignIn(s.carol)
	places, err := setup.Locate(s.g.URL(), s.g.URL())
	s.must(err)
	s.folder, err = setup.OpenFolder(s.dir)
	s.must(err)
	cfg := setup.Config{Places: places, Org: "acme", URL: "https://sallyport.test", Folder: s.folder, Now: s.clock.Now, Stay: 10 * time.Millisecond}
	if rest := description(t); rest != nil {
		cfg.Transport = rest.Transport(t, s.g.URL(), nil, func(string, string) bool { return false })
	}
	if change != nil {
		change(&cfg)
	}
	s.flow, err = setup.Start(t.Context(), cfg, "127.0.0.1:0")
	s.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		x, err := s.flow.Run(ctx)
		if err != nil && ctx.Err() == nil {
			t.Errorf("running: %v", err)
		}
		s.out <- x
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		s.must(s.folder.Close())
	})
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// answer is what came back.
type answer struct {
	code   int
	header http.Header
	text   string
}

// ask sends a request as a browser does, but follows nothing.
func (s *scene) ask(method, address string, form url.Values, change func(*http.Request)) answer {
	s.t.Helper()
	q, err := http.NewRequestWithContext(s.t.Context(), method, address, strings.NewReader(form.Encode()))
	s.must(err)
	if form != nil {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if change != nil {
		change(q)
	}
	w, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(q)
	s.must(err)
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	s.must(err)
	return answer{w.StatusCode, w.Header, string(text)}
}

func (s *scene) get(address string) answer {
	s.t.Helper()
	return s.ask(http.MethodGet, address, nil, nil)
}

var (
	actionOf = regexp.MustCompile(`action="([^"]+)"`)
	inputOf  = regexp.MustCompile(`name="([^"]+)" value="([^"]*)"`)
)

// press sends the form of a page.
func (s *scene) press(page answer, on string) answer {
	s.t.Helper()
	action := actionOf.FindStringSubmatch(page.text)
	if action == nil {
		s.t.Fatalf("no form on the page: %d\n%s", page.code, page.text)
	}
	form := url.Values{}
	for _, m := range inputOf.FindAllStringSubmatch(page.text, -1) {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	to := html.UnescapeString(action[1])
	if strings.HasPrefix(to, "/") {
		to = on + to
	}
	return s.ask(http.MethodPost, to, form, nil)
}

// register walks to where GitHub sends the browser back.
func (s *scene) register() (back string) {
	s.t.Helper()
	created := s.press(s.press(s.get(s.flow.Address()), ""), s.g.URL())
	back = created.header.Get("Location")
	if created.code != http.StatusFound || !strings.HasPrefix(back, s.flow.Address()+"callback?code=") {
		s.t.Fatalf("GitHub answers %d, leads to %q\n%s", created.code, back, created.text)
	}
	return back
}

// files are those in the folder.
func (s *scene) files() []string {
	s.t.Helper()
	list, err := os.ReadDir(s.dir)
	s.must(err)
	var out []string
	for _, e := range list {
		if !strings.HasPrefix(e.Name(), ".new-") {
			out = append(out, e.Name())
		}
	}
	return out
}

// conversions counts how often the code was given.
func (s *scene) conversions() (n int) {
	for _, r := range s.g.Requests() {
		if strings.Contains(r.Path, "/conversions") {
			n++
		}
	}
	return n
}

// wantRefused checks that nothing was made of it.
func (s *scene) wantRefused(a answer, code int, words string) {
	s.t.Helper()
	if a.code != code || !strings.Contains(html.UnescapeString(a.text), words) {
		s.t.Errorf("answers %d, want %d with %q:\n%s", a.code, code, words, a.text)
	}
	if got := s.files(); len(got) != 0 {
		s.t.Errorf("files were written: %v", got)
	}
}

func TestSetupForAnOrganisation(t *testing.T) {
	s := begin(t, nil)
	page := s.get(s.flow.Address())
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "strict-origin",
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action " + s.g.URL() + "; base-uri 'none'; frame-ancestors 'none'",
	} {
		if got := page.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if strings.Contains(page.text, "<script") || strings.Contains(page.text, "style=") {
		t.Error("the page has a script or a style of its own")
	}
	back := s.register()
	got := s.get(back)
	if got.code != http.StatusSeeOther {
		t.Fatalf("the callback answers %d: %s", got.code, got.text)
	}
	// Twice is harmless.
	if again := s.get(back); again.code != http.StatusSeeOther || s.conversions() != 1 {
		t.Errorf("the callback again: %d, %d conversions", again.code, s.conversions())
	}
	done := s.get(s.flow.Address() + "done")
	app := s.g.Registered()
	for _, want := range []string{"sallyport-acme", s.dir, s.g.URL() + "/apps/sallyport-acme/installations/new", "sallyport-app setup --check", "sallyport init", "sallyport-app adopt"} {
		if !strings.Contains(html.UnescapeString(done.text), want) {
			t.Errorf("the last page lacks %q", want)
		}
	}
	if strings.Contains(done.text, "Look at this first") {
		t.Errorf("there are notes:\n%s", done.text)
	}
	x := <-s.out
	if x == nil || x.ID != app.ID || x.Owner != "acme" || x.Folder != s.dir {
		t.Fatalf("the result is %+v", x)
	}

	// For the owner alone, and no secret where none belongs.
	if got, want := s.files(), []string{".gitignore", "app.pem", "client-secret", "sallyport.env", "seal-key", "webhook-secret"}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	info, err := os.Stat(s.dir)
	s.must(err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the folder is %o", info.Mode().Perm())
	}
	env := s.read("sallyport.env")
	_, client := app.OAuth()
	for _, name := range s.files() {
		info, err := os.Stat(filepath.Join(s.dir, name))
		s.must(err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %o", name, info.Mode().Perm())
		}
		if name == "sallyport.env" || name == ".gitignore" && s.read(name) == "*\n" {
			continue
		}
		secret := strings.TrimSpace(s.read(name))
		for where, text := range map[string]string{"the env file": env, "the first page": page.text, "the last page": done.text, "the result": fmt.Sprintf("%+v", x)} {
			if strings.Contains(text, secret) || strings.Contains(text, "PRIVATE KEY") {
				t.Errorf("%s has the secret of %s", where, name)
			}
		}
	}
	if s.read("app.pem") != string(app.KeyPEM()) || strings.TrimSpace(s.read("client-secret")) != client {
		t.Error("the files do not hold what GitHub gave")
	}
	// The server takes it as it is.
	vars := map[string]string{}
	for line := range strings.Lines(env) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			vars[name] = value
		}
	}
	settings, err := server.Read(func(name string) string { return vars["SALLYPORT_"+name] }, true)
	s.must(err)
	if int64(settings.App) != app.ID || len(settings.WebhookSecrets) != 1 || settings.Seal == nil || settings.GitHubAPI != s.g.URL() {
		t.Errorf("the settings are %+v", settings)
	}
}

func (s *scene) read(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	s.must(err)
	return string(text)
}

func TestSetupForAUser(t *testing.T) {
	s := begin(t, func(c *setup.Config) { c.Org, c.ACME, c.Rerun = "", true, true })
	if got := s.get(s.register()); got.code != http.StatusSeeOther {
		t.Fatalf("%d: %s", got.code, got.text)
	}
	s.get(s.flow.Address() + "done")
	if x := <-s.out; x.Owner != "carol" || len(x.Notes) != 0 || x.Settings != s.g.URL()+"/settings/apps/"+x.Slug {
		t.Errorf("the result is %+v", x)
	}
	if env := s.read("sallyport.env"); !strings.Contains(env, "SALLYPORT_LISTEN=:443\nSALLYPORT_ACME_DIR="+s.dir) {
		t.Errorf("no certificate is asked for:\n%s", env)
	}
}

func TestWhoDidNotComeByTheAddress(t *testing.T) {
	s := begin(t, nil)
	address := s.flow.Address()
	here, err := url.Parse(address)
	s.must(err)
	root := "http://" + here.Host
	for what, a := range map[string]answer{
		"another Host":       s.ask(http.MethodGet, address, nil, func(r *http.Request) { r.Host = "evil.example" }),
		"the name localhost": s.ask(http.MethodGet, address, nil, func(r *http.Request) { r.Host = "localhost:" + here.Port() }),
		"no path":            s.get(root + "/"),
		"another path":       s.get(root + "/aaaaaaaaaaaaaaaaaaaaaaaaaa/"),
		"below":              s.get(address + "x"),
		"a POST":             s.ask(http.MethodPost, address, url.Values{"a": {"b"}}, func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }),
		"a POST back":        s.ask(http.MethodPost, address+"callback?code=0123456789abcdef&state=x", url.Values{}, nil),
	} {
		if a.code < 400 || strings.Contains(a.text, "manifest") {
			t.Errorf("%s: %d\n%s", what, a.code, a.text)
		}
		if a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: others may read it", what)
		}
	}
}

func TestWrongCallbacks(t *testing.T) {
	s := begin(t, nil)
	back, err := url.Parse(s.register())
	s.must(err)
	good := back.Query()
	with := func(code, state string) answer {
		return s.get(s.flow.Address() + "callback?" + url.Values{"code": {code}, "state": {state}}.Encode())
	}
	code, state := good.Get("code"), good.Get("state")
	s.wantRefused(with(code, ""), 400, "none that this page made")
	// What is to be deleted is among the organisation's Apps, not the person's.
	s.wantRefused(with(code, ""), 400, `<a href="`+s.g.URL()+`/organizations/acme/settings/apps">The Apps of acme on GitHub</a>`)
	s.wantRefused(with(code, state+"x"), 400, "none that this page made")
	s.wantRefused(with(code, strings.ToLower(state)), 400, "none that this page made")
	for _, bad := range []string{"", "..", "../../user", "a/b/c/d/e/f", "%2e%2e%2fapp", "0123456789?x=1", "0123456789\n", strings.Repeat("a", 129)} {
		s.wantRefused(with(bad, state), 400, "no code")
	}
	if s.conversions() != 0 {
		t.Fatalf("%d codes were given to GitHub", s.conversions())
	}
	// A code of somebody else's under a good state, once; then the state is bound to it.
	s.wantRefused(with(strings.Repeat("0", 40), state), 502, "does not take the code")
	s.wantRefused(with(code, state), 400, "used with another code")
	// An hour later the state is none.
	fresh := html.UnescapeString(actionOf.FindStringSubmatch(s.get(s.flow.Address()).text)[1])
	s.clock.Advance(time.Hour + time.Second)
	s.wantRefused(with(code, fresh[strings.Index(fresh, "state=")+6:]), 400, "older than an hour")
	if n := s.conversions(); n != 1 {
		t.Errorf("%d codes were given to GitHub, want 1", n)
	}
}

// twist is a transport that changes what GitHub answers.
type twist struct {
	change func(map[string]any)
	raw    func(*http.Response) (*http.Response, error)
}

func (x twist) RoundTrip(r *http.Request) (*http.Response, error) {
	w, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || x.raw != nil {
		if err == nil {
			w, err = x.raw(w)
		}
		return w, err
	}
	defer w.Body.Close()
	var v map[string]any
	if err := json.NewDecoder(w.Body).Decode(&v); err != nil {
		return nil, err
	}
	x.change(v)
	text, err := json.Marshal(v)
	w.Body, w.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return w, err
}

func TestAnswersThatAreNotTaken(t *testing.T) {
	set := func(name string, value any) func(map[string]any) {
		return func(v map[string]any) { v[name] = value }
	}
	for words, x := range map[string]twist{
		"belongs to other (Organization)":                               {change: set("owner", map[string]any{"id": 7, "login": "other", "type": "Organization"})},
		"belongs to acme (User)":                                        {change: set("owner", map[string]any{"id": 7, "login": "acme", "type": "User"})},
		"whose owner is missing":                                        {change: func(v map[string]any) { delete(v, "owner") }},
		"whose id is missing":                                           {change: set("id", 0)},
		"whose pem is missing":                                          {change: set("pem", "-----BEGIN NOTHING-----")},
		"whose client_secret is missing":                                {change: set("client_secret", "a\nSALLYPORT_URL=x")},
		"whose webhook_secret is missing":                               {change: set("webhook_secret", "")},
		"whose slug is missing":                                         {change: set("slug", "../x")},
		"whose client_id is missing":                                    {change: set("client_id", "x\ny")},
		`The App's page is said to be at "https://evil.example/apps/x"`: {change: set("html_url", "https://evil.example/apps/x")},
		"more than 262144 bytes": {raw: func(w *http.Response) (*http.Response, error) {
			w.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"id":1,"x":"`), io.LimitReader(endless{}, 1<<30)))
			return w, nil
		}},
		"not the JSON of an App": {raw: func(w *http.Response) (*http.Response, error) {
			w.Body = io.NopCloser(strings.NewReader("<html>"))
			return w, nil
		}},
		"GitHub was not reached": {raw: func(w *http.Response) (*http.Response, error) {
			w.StatusCode = http.StatusFound
			w.Header.Set("Location", "https://evil.example/")
			return w, nil
		}},
	} {
		t.Run(words, func(t *testing.T) {
			t.Parallel()
			s := begin(t, func(c *setup.Config) { c.Transport = x })
			got := s.get(s.register())
			if got.code < 400 || !strings.Contains(html.UnescapeString(got.text), words) {
				t.Errorf("%d:\n%s", got.code, got.text)
			}
			s.wantRefused(got, got.code, "")
			if strings.Contains(got.text, "PRIVATE KEY") {
				t.Error("a key is on the page")
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestGitHubAwayForAMoment(t *testing.T) {
	n := 0
	s := begin(t, func(c *setup.Config) {
		c.Transport = away(func(r *http.Request) (*http.Response, error) {
			if n++; n < 3 {
				return nil, errors.New("no route")
			}
			return http.DefaultTransport.RoundTrip(r)
		})
	})
	if got := s.get(s.register()); got.code != http.StatusSeeOther || n != 3 {
		t.Errorf("%d after %d tries: %s", got.code, n, got.text)
	}
}

type away func(*http.Request) (*http.Response, error)

func (f away) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestWhatTheAppLacksIsSaid(t *testing.T) {
	s := begin(t, func(c *setup.Config) {
		c.Transport = twist{change: func(v map[string]any) {
			v["webhook_secret"] = nil
			p, ok := v["permissions"].(map[string]any)
			if !ok {
				t.Errorf("the App has no permissions: %v", v)
				return
			}
			delete(p, "merge_queues")
			p["checks"], p["administration"] = "read", "write"
			v["events"] = []string{"push"}
		}}
	})
	if got := s.get(s.register()); got.code != http.StatusSeeOther {
		t.Fatalf("%d: %s", got.code, got.text)
	}
	s.get(s.flow.Address() + "done")
	notes := strings.Join((<-s.out).Notes, "\n")
	for _, want := range []string{"merge_queues: read is missing", "checks is read, not write", "administration: write, which is not needed", "event deployment_protection_rule", "GitHub made no webhook secret"} {
		if !strings.Contains(notes, want) {
			t.Errorf("it is not said: %s\n%s", want, notes)
		}
	}
	if len(strings.TrimSpace(s.read("webhook-secret"))) != 64 {
		t.Error("there is no webhook secret of our own")
	}
}

func TestWhatStandsInTheWay(t *testing.T) {
	// It comes between the start and the end: nothing is overwritten, nothing lost.
	outside := filepath.Join(t.TempDir(), "outside")
	for what, put := range map[string]func(path string) error{
		"a symlink": func(path string) error { return os.Symlink(outside, path) },
		"a symlink within": func(path string) error {
			return errors.Join(os.WriteFile(path+"-old", []byte("old"), 0o600), os.Symlink(filepath.Base(path)+"-old", path))
		},
		"a file":   func(path string) error { return os.WriteFile(path, []byte("old"), 0o600) },
		"a folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(what, func(t *testing.T) {
			s := begin(t, nil)
			path := filepath.Join(s.dir, "app.pem")
			s.must(put(path))
			if got := s.get(s.register()); got.code != http.StatusSeeOther {
				t.Fatalf("%d: %s", got.code, got.text)
			}
			s.get(s.flow.Address() + "done")
			x := <-s.out
			if _, err := os.Lstat(outside); err == nil {
				t.Error("the key went through a symlink")
			}
			if text, err := os.ReadFile(path); err == nil && string(text) != "old" {
				t.Error("it was overwritten")
			}
			if x.Folder == s.dir || len(x.Notes) != 1 || !strings.Contains(x.Notes[0], "move them there") {
				t.Fatalf("the result is %+v", x)
			}
			text, err := os.ReadFile(filepath.Join(x.Folder, "app.pem"))
			s.must(err)
			if !bytes.Equal(text, s.g.Registered().KeyPEM()) {
				t.Error("the key is lost")
			}
		})
	}
}

// docs/permissions.md has a row for each permission and names each event, and no
// other.
func TestTheDocumentationIsWhatIsAskedFor(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "permissions.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(string(text), "| permission | level | why |\n| --- | --- | --- |\n")
	permissions, rest, _ := strings.Cut(tables, "\n\n")
	var want []string
	for _, p := range github.Permissions() {
		want = append(want, fmt.Sprintf("| `%s` | %s | %s |", p.Name, p.Level, p.Why))
	}
	if permissions != strings.Join(want, "\n") {
		t.Errorf("the table of permissions is\n%s\nwant\n%s", permissions, strings.Join(want, "\n"))
	}
	_, events, _ := strings.Cut(rest, "| event | for | needs |\n| --- | --- | --- |\n")
	events, _, _ = strings.Cut(events, "\n\n")
	var named []string
	for line := range strings.Lines(events) {
		for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(strings.Split(line, "|")[1], -1) {
			named = append(named, m[1])
		}
	}
	slices.Sort(named)
	if !slices.Equal(named, github.Events()) {
		t.Errorf("the table of events names\n%q, want\n%q", named, github.Events())
	}
}
