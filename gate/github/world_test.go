package github_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/github/githubtest/contract"
	"github.com/sallyport/sallyport/rules"
)

var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// published are GitHub's own descriptions; nil where no variable names them.
var published struct {
	once    sync.Once
	rest    *contract.OpenAPI
	queries *contract.GraphQL
}

// descriptions loads them once.
func descriptions(t testing.TB) (*contract.OpenAPI, *contract.GraphQL) {
	t.Helper()
	published.once.Do(func() {
		if os.Getenv(contract.OpenAPIVariable) != "" {
			published.rest = contract.LoadOpenAPI(t)
		}
		if os.Getenv(contract.GraphQLVariable) != "" {
			published.queries = contract.LoadGraphQL(t)
		}
	})
	return published.rest, published.queries
}

// unlisted are operations that GitHub has and the description that we are given
// leaves out.
func unlisted(_, path string) bool {
	return strings.Contains(path, "/git/ref/") || strings.Contains(path, "/git/blobs/") || strings.Contains(path, "/commits/") && strings.HasSuffix(path, "/statuses") || strings.HasPrefix(path, "/repositories/") || strings.HasPrefix(path, "/user/")
}

// wire carries the client's requests: it holds them to the descriptions, and lets a
// test change what comes back.
type wire struct {
	t    testing.TB
	next http.RoundTripper
	// mu guards the rest.
	mu     sync.Mutex
	change func(*http.Response)
}

func (x *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, queries := descriptions(x.t); queries != nil && strings.HasSuffix(r.URL.Path, "/graphql") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		var in struct {
			Query string `json:"query"`
		}
		if err := json.Unmarshal(body, &in); err != nil {
			x.t.Errorf("a query that is no JSON: %v", err)
		} else if err := queries.Check(in.Query); err != nil {
			x.t.Errorf("GitHub's schema refuses a query: %v\n%s", err, in.Query)
		}
	}
	w, err := x.next.RoundTrip(r)
	x.mu.Lock()
	defer x.mu.Unlock()
	if err == nil && x.change != nil {
		x.change(w)
	}
	return w, err
}

// changing has answers changed until the test changes them otherwise.
func (x *wire) changing(f func(*http.Response)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.change = f
}

// memory is a cache.
type memory struct {
	mu   sync.Mutex
	kept map[string][2]string
}

func (m *memory) Cached(_ context.Context, key string) (string, []byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.kept[key]
	if !ok {
		return "", nil, errors.New("not kept")
	}
	return k[0], []byte(k[1]), nil
}

func (m *memory) Cache(_ context.Context, key, etag string, body []byte, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept[key] = [2]string{etag, string(body)}
	return nil
}

func (m *memory) keys() (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.kept {
		out = append(out, k)
	}
	return out
}

// world is acme/orders with its people, and the App sallyport installed on it.
type world struct {
	t                            *testing.T
	g                            *githubtest.GitHub
	clock                        *githubtest.Clock
	wire                         *wire
	cache                        *memory
	acme                         *githubtest.Organization
	alice, bob, carol, dave, eve *githubtest.User
	sre                          *githubtest.Team
	agentApp                     *githubtest.App
	agent                        *githubtest.User
	repo                         *githubtest.Repository
	app                          *githubtest.App
	inst                         *githubtest.Installation
	client                       *github.Client
	orders                       *github.Repository
}

func permissions() map[string]string {
	return map[string]string{
		"actions": "read", "checks": "write", "contents": "write", "members": "read", "merge_queues": "read", "pull_requests": "write", "statuses": "read",
	}
}

// setting changes how a world is made.
type setting struct {
	permissions map[string]string // nil: permissions()
	fake        githubtest.Config
	client      func(*github.Config)
}

func newWorld(t *testing.T, s ...setting) *world {
	t.Helper()
	var set setting
	if len(s) > 0 {
		set = s[0]
	}
	if set.permissions == nil {
		set.permissions = permissions()
	}
	key, err := testKey()
	must(t, err)
	w := &world{t: t, clock: githubtest.NewClock(time.Now().Truncate(time.Second)), cache: &memory{kept: map[string][2]string{}}}
	set.fake.Now = w.clock.Now
	g := githubtest.Start(t, set.fake)
	w.g = g
	w.acme = g.Organization("acme")
	w.alice, w.bob, w.carol, w.dave, w.eve = g.User("alice"), g.User("bob"), g.User("carol"), g.User("dave"), g.User("eve")
	w.acme.Owner(w.carol)
	w.repo = g.Repository(w.acme, "orders")
	w.sre = w.acme.Team("sre", w.bob)
	w.sre.Access(w.repo, "write")
	w.repo.Collaborator(w.alice, "write")
	w.repo.Collaborator(w.dave, "write")
	w.repo.Collaborator(w.eve, "read")
	w.agentApp = g.App(githubtest.AppConfig{Slug: "writer", Permissions: map[string]string{"contents": "write", "pull_requests": "write", "checks": "write"}, Key: key})
	w.agentApp.Install(w.acme, w.repo)
	w.agent = w.agentApp.Bot()
	w.app = g.App(githubtest.AppConfig{Slug: "sallyport", Owner: w.acme, Permissions: set.permissions, Key: key})
	w.inst = w.app.Install(w.acme)
	w.client = w.newClient(set.client)
	w.orders = w.client.Repository(rules.InstallationID(w.inst.ID), rules.RepositoryID(w.repo.ID), "acme/orders")
	return w
}

// newClient makes a client whose requests are held to GitHub's descriptions.
func (w *world) newClient(change func(*github.Config)) *github.Client {
	w.t.Helper()
	key, err := github.ParseKey(w.app.KeyPEM())
	must(w.t, err)
	var next http.RoundTripper = &http.Transport{}
	if rest, _ := descriptions(w.t); rest != nil {
		next = rest.Transport(w.t, w.g.URL(), next, unlisted)
	}
	w.wire = &wire{t: w.t, next: next}
	cfg := github.Config{App: rules.AppID(w.app.ID), Key: key, BaseURL: w.g.URL(), Transport: w.wire, Cache: w.cache, Now: w.clock.Now}
	if change != nil {
		change(&cfg)
	}
	c, err := github.New(cfg)
	must(w.t, err)
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open opens a pull request of a new branch with one file.
func (w *world) open(by *githubtest.User, branch string) *githubtest.Pull {
	w.t.Helper()
	w.repo.CommitTo(by, branch, "Work on "+branch, map[string]string{branch + ".txt": "one\n"})
	return w.openBranch(by, branch)
}

func (w *world) openBranch(by *githubtest.User, branch string) *githubtest.Pull {
	w.t.Helper()
	spec := githubtest.PullSpec{Head: branch, Title: "Work on " + branch}
	if by == w.agent {
		spec.As = w.agentApp
	}
	p, err := w.repo.OpenPull(by, spec)
	must(w.t, err)
	return p
}

// pull reads a pull request.
func (w *world) pull(p *githubtest.Pull) *github.Pull {
	w.t.Helper()
	got, err := w.orders.Pull(w.t.Context(), p.Number)
	must(w.t, err)
	return got
}

// asked counts what f asks of GitHub, by kind; tokens are left out.
func (w *world) asked(f func()) map[string]int {
	w.t.Helper()
	w.g.ForgetRequests()
	f()
	out := w.g.Counts()
	delete(out, "POST /app/installations/{installation_id}/access_tokens")
	return out
}

func sum(m map[string]int) (n int) {
	for _, k := range m {
		n += k
	}
	return n
}

// warm has the client ask once what it asks only once.
func (w *world) warm() {
	w.t.Helper()
	_, err := w.client.Self(w.t.Context())
	must(w.t, err)
}

func actor(u *githubtest.User) rules.Actor {
	return rules.Actor{ID: rules.AccountID(u.ID), Login: rules.Login(u.Login()), Type: rules.ActorType(u.Type)}
}

// limited wants a *RateLimited and gives until when.
func limited(t *testing.T, what string, err error) time.Time {
	t.Helper()
	var l *github.RateLimited
	if !errors.As(err, &l) {
		t.Fatalf("%s: %v, want a *RateLimited", what, err)
	}
	return l.Until
}

// refused wants a *Refused with a status.
func refused(t *testing.T, what string, err error, status int) {
	t.Helper()
	var r *github.Refused
	if !errors.As(err, &r) || r.Status != status {
		t.Errorf("%s: %v, want a *Refused with status %d", what, err, status)
	}
}

// unclear wants an error that is none of those that say what became of it.
func unclear(t *testing.T, what string, err error) {
	t.Helper()
	var r *github.Refused
	var l *github.RateLimited
	if err == nil || errors.As(err, &r) || errors.As(err, &l) || errors.Is(err, github.ErrNotFound) || errors.Is(err, github.ErrForbidden) {
		t.Errorf("%s: %v, want an error that leaves open what happened", what, err)
	}
}

func names(n int, format string) map[string]string {
	out := map[string]string{}
	for i := range n {
		out[fmt.Sprintf(format, i)] = "x\n"
	}
	return out
}
