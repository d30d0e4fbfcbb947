package github_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

const tokenKind = "POST /app/installations/{installation_id}/access_tokens"

// After a refusal nothing goes out before its time.
func TestSecondaryLimit(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusTooManyRequests} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			w := newWorld(t)
			p := w.open(w.dave, "feature")
			w.warm()
			w.pull(p)
			w.g.Fail(githubtest.Fault{Kind: githubtest.Throttle, Path: "/graphql", RetryAfter: 90 * time.Second, Status: status})
			_, err := w.orders.Pull(t.Context(), p.Number)
			if until := limited(t, "the refused query", err); !until.Equal(w.clock.Now().Add(90 * time.Second)) {
				t.Errorf("until %v, want 90 s from now", until)
			}
			asked := w.asked(func() {
				_, err := w.orders.Pull(t.Context(), p.Number)
				limited(t, "a query after it", err)
				_, err = w.orders.OpenPulls(t.Context())
				limited(t, "REST after it", err)
				limited(t, "a write after it", w.orders.AddLabels(t.Context(), p.Number, "a"))
			})
			if sum(asked) != 0 {
				t.Errorf("sent all the same: %v", asked)
			}
			if _, err := w.client.Installations(t.Context()); err != nil {
				t.Errorf("the App itself is refused for its installation: %v", err)
			}
			w.clock.Advance(91 * time.Second)
			w.pull(p)
		})
	}
}

// Where a refusal does not say for how long, the pause grows.
func TestSecondaryLimitWithoutATime(t *testing.T) {
	w := newWorld(t)
	w.warm()
	_, err := w.orders.OpenPulls(t.Context())
	must(t, err)
	w.wire.changing(func(r *http.Response) {
		r.StatusCode, r.Header, r.Body = http.StatusForbidden, http.Header{}, io.NopCloser(strings.NewReader(
			`{"message":"You have exceeded a secondary rate limit.","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`))
	})
	for _, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		_, err := w.orders.Head(t.Context(), "main")
		until := limited(t, "refused", err)
		if got := until.Sub(w.clock.Now()); got != want {
			t.Errorf("a pause of %v, want %v", got, want)
		}
		w.clock.Advance(want)
	}
	w.wire.changing(nil)
	_, err = w.orders.Head(t.Context(), "main")
	must(t, err)
}

func TestPrimaryLimit(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.dave, "feature")
	w.warm()
	w.pull(p)
	reset := w.clock.Now().Add(time.Hour)
	w.inst.Spend("graphql", 0)
	_, err := w.orders.Pull(t.Context(), p.Number) // 200 with an error in it
	if until := limited(t, "a query", err); until.Before(reset.Add(-2*time.Second)) || until.After(reset.Add(2*time.Second)) {
		t.Errorf("until %v, want the reset at %v", until, reset)
	}
	if asked := w.asked(func() { _, err = w.orders.Pull(t.Context(), p.Number) }); sum(asked) != 0 {
		t.Errorf("sent all the same: %v", asked)
	}
	limited(t, "another", err)

	w = newWorld(t)
	w.warm()
	_, err = w.orders.Head(t.Context(), "main")
	must(t, err)
	w.inst.Spend("core", 0)
	_, err = w.orders.Head(t.Context(), "main")
	limited(t, "REST", err)
}

// Doors come before sweeps.
func TestHousekeeping(t *testing.T) {
	for bucket, cost := range map[string]int{"core": 1, "graphql": 3} { // what one read takes
		w := newWorld(t)
		p := w.open(w.dave, "feature")
		w.warm()
		read := func(ctx context.Context) error {
			if bucket == "core" {
				_, err := w.orders.Head(ctx, "main")
				return err
			}
			_, err := w.orders.Pull(ctx, p.Number)
			return err
		}
		sweep := github.WithHousekeeping(t.Context())
		must(t, read(sweep))
		w.inst.Spend(bucket, 1000+2*cost)
		must(t, read(sweep))
		must(t, read(sweep)) // 1000: a fifth
		must(t, read(t.Context()))
		limited(t, "a sweep below a fifth of "+bucket, read(sweep))
		must(t, read(t.Context()))
	}
}

// Answers are kept with their ETags, apart for each installation and repository, and
// the page that follows is not lost with a 304.
func TestCache(t *testing.T) {
	w := newWorld(t, setting{fake: githubtest.Config{Limits: githubtest.NoLimits()}})
	for i := range 101 {
		w.open(w.dave, fmt.Sprintf("b%03d", i))
	}
	w.warm()
	w.wire.changing(func(r *http.Response) {
		if r.StatusCode == http.StatusNotModified {
			r.Header.Del("Link") // GitHub need not repeat it
		}
	})
	var first []github.OpenPull
	for round := range 2 {
		w.g.ForgetRequests()
		list, err := w.orders.OpenPulls(t.Context())
		must(t, err)
		if round == 0 {
			first = list
		} else if !slices.Equal(list, first) {
			t.Errorf("from the cache the list is %v, want %v", list, first)
		}
		if len(list) != 101 || list[0].BaseRef != "main" || !list[0].HeadSHA.Valid() || list[0].UpdatedAt.IsZero() {
			t.Errorf("round %d: %d pull requests, the first %+v", round, len(list), list[0])
		}
		_, err = w.orders.Info(t.Context())
		must(t, err)
		for _, r := range w.g.Requests() {
			if want := map[bool]int{false: 200, true: 304}[round == 1]; r.Status != want && r.Kind != tokenKind {
				t.Errorf("round %d: %s answers %d, want %d", round, r.Kind, r.Status, want)
			}
		}
	}
	for _, k := range w.cache.keys() {
		// A store keeps nothing above a megabyte, and GitHub's pages have two.
		if _, body, err := w.cache.Cached(t.Context(), k); err != nil || strings.Contains(k, "/pulls?") && len(body) > 100*200 {
			t.Errorf("of %q %d bytes are kept (%v), want 200 for each pull request", k, len(body), err)
		}
		if !strings.HasPrefix(k, fmt.Sprintf("2 %d %d http", w.inst.ID, w.repo.ID)) {
			t.Errorf("kept as %q, which does not name the installation and the repository", k)
		}
	}
	// What changed is read anew.
	w.open(w.dave, "new")
	list, err := w.orders.OpenPulls(t.Context())
	must(t, err)
	if len(list) != 102 {
		t.Errorf("%d pull requests after another was opened, want 102", len(list))
	}
	// A cache that fails is none.
	broken := w.newClient(func(c *github.Config) { c.Cache = brokenCache{} })
	info, err := broken.Repository(rules.InstallationID(w.inst.ID), rules.RepositoryID(w.repo.ID), "acme/orders").Info(t.Context())
	if err != nil || info.FullName != "acme/orders" {
		t.Errorf("with a broken cache: %v, %v", info, err)
	}
}

type brokenCache struct{}

func (brokenCache) Cached(context.Context, string) (string, []byte, error) {
	return "x", nil, errors.New("broken")
}

func (brokenCache) Cache(context.Context, string, string, []byte, time.Time) error {
	return errors.New("broken")
}

// A file that did not change costs one conditional request.
func TestFileIsReadOnce(t *testing.T) {
	w := newWorld(t)
	w.repo.CommitTo(w.carol, "main", "Add", map[string]string{rules.PolicyPath: "version: 1\n"})
	w.warm()
	for _, want := range []int{2, 1, 1} {
		asked := w.asked(func() {
			f, err := w.orders.File(t.Context(), rules.PolicyPath, "main")
			must(t, err)
			if string(f.Text) != "version: 1\n" {
				t.Errorf("the text: %q", f.Text)
			}
		})
		if sum(asked) != want {
			t.Errorf("it asks %v, want %d", asked, want)
		}
	}
	gone := w.client.Repository(rules.InstallationID(w.inst.ID), rules.RepositoryID(w.repo.ID), "acme/gone")
	if _, err := gone.File(t.Context(), rules.PolicyPath, "main"); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("of a repository that is not there: %v, want ErrNotFound, not an absent file", err)
	}
}

// Tokens are for one repository, and used again.
func TestTokens(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.dave, "feature")
	w.warm()
	w.g.ForgetRequests()
	for range 3 {
		w.pull(p)
	}
	var bodies []string
	for _, r := range w.g.Requests() {
		if r.Kind == tokenKind {
			bodies = append(bodies, strings.TrimSpace(string(r.Body)))
		}
	}
	if want := fmt.Sprintf(`{"repository_ids":[%d]}`, w.repo.ID); len(bodies) != 1 || bodies[0] != want {
		t.Errorf("token requests %q, want one: %s", bodies, want)
	}
	// A suspension takes tokens back. Who asks is told, and once it is over a new token
	// is asked for.
	w.inst.Suspend(w.carol)
	w.g.Allow("Bad credentials")
	w.g.Allow("suspended")
	for range 2 {
		if _, err := w.orders.Pull(t.Context(), p.Number); err == nil {
			t.Error("a suspended installation reads")
		}
	}
	w.inst.Unsuspend(w.carol)
	if _, err := w.orders.Pull(t.Context(), p.Number); err != nil {
		w.pull(p)
	}
	// A repository that is not the installation's any more is not found.
	other := w.g.Repository(w.g.Organization("other"), "secret")
	alien := w.client.Repository(rules.InstallationID(w.inst.ID), rules.RepositoryID(other.ID), "other/secret")
	if _, err := alien.Info(t.Context()); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("another's repository: %v, want ErrNotFound", err)
	}
}

// A renamed repository answers under its old name; another host gets nothing.
func TestRedirects(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.dave, "feature")
	w.repo.Rename(w.carol, "sales")
	info, err := w.orders.Info(t.Context())
	if err != nil || info.FullName != "acme/sales" || info.ID != rules.RepositoryID(w.repo.ID) {
		t.Errorf("under the old name: %+v, %v", info, err)
	}
	must(t, w.orders.AddLabels(t.Context(), p.Number, "a"))
	if got := w.pull(p); got.Change.Repository.FullName != "acme/sales" {
		t.Errorf("the query gives %v", got.Change.Repository)
	}

	var strangers atomic.Int32
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strangers.Add(1) }))
	defer stranger.Close()
	w.wire.changing(func(r *http.Response) {
		if r.Request.Method == http.MethodGet || strings.HasSuffix(r.Request.URL.Path, "/labels") {
			r.StatusCode = http.StatusTemporaryRedirect
			r.Header.Set("Location", stranger.URL+r.Request.URL.Path)
		}
	})
	_, err = w.orders.Head(t.Context(), "main")
	unclear(t, "a read that is sent elsewhere", err)
	unclear(t, "a write that is sent elsewhere", w.orders.AddLabels(t.Context(), p.Number, "b"))
	if n := strangers.Load(); n != 0 {
		t.Errorf("%d requests followed to another host", n)
	}
}

func TestBoundedAnswers(t *testing.T) {
	w := newWorld(t)
	w.warm()
	_, err := w.orders.Head(t.Context(), "main")
	must(t, err)
	for name, size := range map[string]int64{"a short answer": 11 << 20, "a tree": 65 << 20} {
		w.wire.changing(func(r *http.Response) { r.Body = io.NopCloser(io.LimitReader(spaces{}, size)) })
		if name == "a tree" {
			_, err = w.orders.Tree(t.Context(), rules.SHA(w.repo.Head("main")))
		} else {
			_, err = w.orders.Head(t.Context(), "main")
		}
		if err == nil || !strings.Contains(err.Error(), "bytes") {
			t.Errorf("%s of %d bytes: %v", name, size, err)
		}
	}
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// Nothing that is printed or logged has a secret in it.
func TestSecrets(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, setting{client: func(c *github.Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			if text := fmt.Sprintf(format, c.Key) + fmt.Sprintf(format, *c); !strings.Contains(text, "(private key)") && format != "%x" || strings.Contains(text, "PrivateKey{") {
				t.Errorf("%s prints %.80s", format, text)
			}
		}
		c.Log.Debug("a key", slog.Any("key", c.Key))
	}})
	p := w.open(w.dave, "feature")
	w.pull(p)
	_, err := w.orders.Head(t.Context(), "none")
	for _, secret := range []string{"ghs_", "eyJ", "BEGIN", "Bearer", "token "} {
		if strings.Contains(log.String(), secret) || strings.Contains(err.Error(), secret) {
			t.Errorf("%q is in the log or in the error %q", secret, err)
		}
	}
	if !strings.Contains(log.String(), "path=/graphql") || !strings.Contains(log.String(), "left=") || !strings.Contains(log.String(), "status=200") {
		t.Errorf("the log says little: %s", log.String())
	}
	if _, err := github.ParseKey([]byte("-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n")); err == nil || strings.Contains(err.Error(), "c2VjcmV0") {
		t.Errorf("a broken key: %v", err)
	}
}

func TestConfig(t *testing.T) {
	w := newWorld(t)
	key, err := github.ParseKey(w.app.KeyPEM())
	must(t, err)
	for url, ok := range map[string]bool{
		"": true, "https://api.github.com/": true, "https://ghe.example.com/api/v3": true, "http://127.0.0.1:8080": true, "http://[::1]:8080": true, "http://localhost:1": true,
		"http://api.github.com": false, "http://10.0.0.1": false, "ftp://api.github.com": false, "api.github.com": false, "http://localhost.example.com": false, "http://127.0.0.1.example.com": false,
	} {
		if _, err := github.New(github.Config{App: 1, Key: key, BaseURL: url}); (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := github.New(github.Config{App: 1}); err == nil {
		t.Error("without a key")
	}
	if _, err := github.New(github.Config{Key: key}); err == nil {
		t.Error("without an App")
	}
	wrong := w.newClient(func(c *github.Config) { c.App = rules.AppID(w.agentApp.ID) })
	if self, err := wrong.Self(t.Context()); err != nil || self.Slug != "writer" {
		t.Errorf("the App is who signs: %+v, %v", self, err) // both Apps of this test have one key
	}
}

// What people see is written no faster than GitHub lets it be.
func TestSpacing(t *testing.T) {
	w := newWorld(t, setting{client: func(c *github.Config) { c.Spaced = true }})
	p := w.open(w.dave, "feature")
	id, err := w.orders.Approve(t.Context(), p.Number, rules.SHA(p.Head()), "fine")
	must(t, err)
	for range 19 {
		must(t, w.orders.AddLabels(t.Context(), p.Number, "a"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.orders.AddLabels(ctx, p.Number, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the 21st waits a second: %v", err)
	}
	begun := time.Now()
	must(t, w.orders.Dismiss(t.Context(), p.Number, id, "taking back waits for nothing"))
	if waited := time.Since(begun); waited >= time.Second {
		t.Errorf("taking an approval back waited %v", waited)
	}
	_, err = w.orders.CreateCheckRun(t.Context(), github.CheckRunSpec{Name: "sallyport", HeadSHA: rules.SHA(p.Head()), Conclusion: "success", Title: "t", Summary: "s", CompletedAt: w.clock.Now()})
	must(t, err)
	w.pull(p)
	w.clock.Advance(2 * time.Second)
	must(t, w.orders.AddLabels(t.Context(), p.Number, "a"))
}
