package github

import (
	"cmp"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v4"
	gh "github.com/google/go-github/v62/github"

	"github.com/sallyport/sallyport/rules"
)

// DefaultBaseURL is the REST API of github.com.
const DefaultBaseURL = "https://api.github.com"

// Key is the App's private key. It prints as a placeholder.
type Key struct{ key *rsa.PrivateKey }

// ParseKey reads a key as GitHub gives it: PEM, PKCS#1 or PKCS#8. The error never
// contains it.
func ParseKey(pem []byte) (Key, error) {
	k, err := jwt.ParseRSAPrivateKeyFromPEM(pem)
	if err != nil {
		return Key{}, errors.New("not a PEM file with an RSA private key")
	}
	return Key{k}, nil
}

// String hides the key.
func (Key) String() string { return "(private key)" }

// GoString hides the key.
func (Key) GoString() string { return "(private key)" }

// LogValue hides the key.
func (Key) LogValue() slog.Value { return slog.StringValue("(private key)") }

// Cache keeps answers with their ETags. Any error of Cached is a miss.
type Cache interface {
	Cached(ctx context.Context, key string) (etag string, body []byte, err error)
	Cache(ctx context.Context, key, etag string, body []byte, now time.Time) error
}

// Config is what a client works with.
type Config struct {
	// App is the App's id, Key its key. Both are required.
	App rules.AppID
	Key Key
	// BaseURL is that of the REST API, without a slash at the end; "" is
	// [DefaultBaseURL]. Plain http is for loopback only.
	BaseURL string
	// Transport carries the requests; nil is one with time limits.
	Transport http.RoundTripper
	// Cache keeps answers; nil keeps none.
	Cache Cache
	// Shared is what is shared with the App's other servers; nil where there are none.
	Shared Shared
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
	// Log is told of every request at debug level. Nil is silence.
	Log *slog.Logger
	// Seen is told of every request what became of it. It is called by many at once
	// and must not wait. Nil is told nothing.
	Seen func(Seen)
	// UserAgent names the program; "" is "sallyport".
	UserAgent string
	// Spaced keeps what people see (reviews, comments, labels, merges) below GitHub's
	// limits on writing it, on a server of one's own too, which has none by default.
	// On github.com and ghe.com it always is.
	Spaced bool
}

// Client talks to GitHub as one App. It is safe for concurrent use.
type Client struct {
	cfg     Config
	base    *url.URL
	graphql string
	app     *gh.Client // with the App's own token
	job     *handle    // of a client inside a job: all requests have its token

	// mu guards what follows. It is held for no request.
	mu      sync.Mutex
	self    *App
	handles map[handleKey]*handle
	granted map[rules.InstallationID]map[string]string // what each may do, as last heard
	budgets map[rules.InstallationID]*budget
	// teams are the present names of teams that have others than their policies say.
	teams map[teamKey]teamName
	// plainChecks says until when an installation's checks are read by REST, since
	// GitHub did not give them by GraphQL.
	plainChecks map[rules.InstallationID]time.Time
}

type handleKey struct {
	installation rules.InstallationID
	repository   rules.RepositoryID // 0: all of them
}

// handle is a token and what is sent with it.
type handle struct {
	rest *gh.Client
	http *http.Client
}

// maxHandles is how many repositories' tokens are kept.
const maxHandles = 5000

// New makes a client.
func New(cfg Config) (*Client, error) {
	if cfg.App <= 0 || cfg.Key.key == nil {
		return nil, errors.New("github: an App's id and key are required")
	}
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	h, err := c.open(c.apps(), 0, 0)
	if err != nil {
		return nil, err
	}
	c.app = h.rest
	return c, nil
}

// CheckBaseURL says what is wrong with the address of an API.
func CheckBaseURL(text string) error {
	base, err := url.Parse(text)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return fmt.Errorf("%q is not the address of an API, such as %s", text, DefaultBaseURL)
	}
	if base.Scheme == "http" && !loopback(base.Hostname()) {
		return fmt.Errorf("%q would send tokens in clear: want https", text)
	}
	return nil
}

// newClient makes a client that has nothing yet to prove who it is.
func newClient(cfg Config) (*Client, error) {
	cfg.BaseURL = strings.TrimSuffix(cmp.Or(cfg.BaseURL, DefaultBaseURL), "/")
	if err := CheckBaseURL(cfg.BaseURL); err != nil {
		return nil, fmt.Errorf("github: %w", err)
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.UserAgent = cmp.Or(cfg.UserAgent, "sallyport")
	if cfg.Transport == nil {
		cfg.Transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second,
			ResponseHeaderTimeout: 15 * time.Second, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 16, ForceAttemptHTTP2: true,
		}
	}
	cfg.Spaced = cfg.Spaced || base.Hostname() == "api.github.com" || strings.HasSuffix(base.Hostname(), ".ghe.com")
	graphql := cfg.BaseURL + "/graphql"
	if before, ok := strings.CutSuffix(cfg.BaseURL, "/api/v3"); ok {
		graphql = before + "/api/graphql"
	}
	return &Client{cfg: cfg, base: base, graphql: graphql, handles: map[handleKey]*handle{}, granted: map[rules.InstallationID]map[string]string{}, budgets: map[rules.InstallationID]*budget{}, teams: map[teamKey]teamName{}, plainChecks: map[rules.InstallationID]time.Time{}}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// apps signs requests as the App itself.
func (c *Client) apps() *ghinstallation.AppsTransport {
	// The token request passes our own edge too: limits, bounded answers, time.
	t := ghinstallation.NewAppsTransportFromPrivateKey(&plain{c}, int64(c.cfg.App), c.cfg.Key.key)
	t.BaseURL = c.cfg.BaseURL
	return t
}

// open makes what requests are sent with.
func (c *Client) open(auth http.RoundTripper, in rules.InstallationID, repository rules.RepositoryID) (*handle, error) {
	h := &http.Client{
		Transport: &edge{client: c, auth: auth, installation: in, repository: repository},
		// Another host would see the token, and another path is another question.
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			// A write that 301, 302 or 303 turn into a read would look as if it were done.
			if len(via) > 3 || r.URL.Host != c.base.Host || r.URL.Scheme != c.base.Scheme || r.Method != via[0].Method {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	rest := gh.NewClient(h)
	var err error
	if rest.BaseURL, err = url.Parse(c.cfg.BaseURL + "/"); err != nil {
		return nil, err
	}
	rest.UserAgent = c.cfg.UserAgent
	return &handle{rest: rest, http: h}, nil
}

// as is what requests of an installation are sent with, for one repository or, with
// 0, for all of them.
func (c *Client) as(in rules.InstallationID, repository rules.RepositoryID) (*handle, error) {
	if c.job != nil {
		return c.job, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := handleKey{in, repository}
	if h := c.handles[key]; h != nil {
		return h, nil
	}
	t := ghinstallation.NewFromAppsTransport(c.apps(), int64(in))
	t.BaseURL = c.cfg.BaseURL
	t.InstallationTokenOptions = &gh.InstallationTokenOptions{} // without any, ghinstallation sends null
	if repository != 0 {
		t.InstallationTokenOptions.RepositoryIDs = []int64{int64(repository)}
	}
	h, err := c.open(t, in, repository)
	if err != nil {
		return nil, err
	}
	if len(c.handles) >= maxHandles {
		clear(c.handles)
	}
	c.handles[key] = h
	return h, nil
}

// forget drops a token, so that the next request asks for another one.
func (c *Client) forget(in rules.InstallationID, repository rules.RepositoryID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.handles, handleKey{in, repository})
}

// Granted says what an installation may do. Where that is something else than before, its
// tokens are dropped: one may do for an hour what was so when it was made. Each replica
// learns it from the store that they share, since the event comes to one of them.
func (c *Client) Granted(in rules.InstallationID, permissions map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, known := c.granted[in]
	if known && maps.Equal(before, permissions) {
		return
	}
	c.granted[in] = maps.Clone(permissions)
	if !known {
		return
	}
	for key := range c.handles {
		if key.installation == in {
			delete(c.handles, key)
		}
	}
}

// may is what an installation may do as last heard, if it was heard of.
func (c *Client) may(in rules.InstallationID) (permissions map[string]string, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	permissions, known = c.granted[in]
	return permissions, known
}

// Repository is a handle on a repository as an installation reaches it. It asks
// nothing.
func (c *Client) Repository(in rules.InstallationID, id rules.RepositoryID, fullName string) *Repository {
	owner, name, _ := strings.Cut(fullName, "/")
	return &Repository{client: c, installation: in, id: id, owner: owner, name: name}
}

// Repository is a handle on one repository.
type Repository struct {
	client       *Client
	installation rules.InstallationID
	id           rules.RepositoryID
	owner, name  string
}

// rest is the REST client with the repository's token.
func (r *Repository) rest() (*gh.Client, error) {
	h, err := r.client.as(r.installation, r.id)
	if err != nil {
		return nil, err
	}
	return h.rest, nil
}
