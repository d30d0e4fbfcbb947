package githubtest

import (
	"compress/flate"
	"context"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Config says how a GitHub behaves. The zero value is a GitHub with the real
// clock and GitHub's own limits.
type Config struct {
	// Now is the fake's clock: token lives, rate windows and all dates follow it.
	// Nil is time.Now. See [Clock] for one that a test moves.
	Now func() time.Time
	// Limits are the rate limits; a zero field is GitHub's own.
	Limits Limits
	// WebURL begins the addresses of pages (html_url). Default "https://github.com".
	WebURL string
	// WebhookTimeout is how long a webhook's receiver may take. Default 10 s, as
	// GitHub's.
	WebhookTimeout time.Duration
	// Parallel is how many webhooks of one App may be under way at once. Default
	// 1, which keeps their order unless a Fate changes it.
	Parallel int
	// BigInts is what GraphQL does where an Int is larger than 32 bits, as the ids of
	// check runs and workflow runs are. What GitHub does is not known for sure.
	BigInts BigInts
	// KeepQueries keeps the answers to GraphQL's queries too, so that they can be stale.
	KeepQueries bool
}

// BigInts is what GraphQL does with an Int that does not fit.
type BigInts int

// The ways.
const (
	// BigGiven gives it nevertheless.
	BigGiven BigInts = iota
	// BigNull gives null.
	BigNull
	// BigError gives null and an error.
	BigError
)

// GitHub is one in-memory GitHub with its own server on a loopback address. It is
// safe for concurrent use. Close it, or use [Start].
type GitHub struct {
	cfg    Config
	url    string
	server *http.Server
	served sync.WaitGroup // the server's goroutine and the Apps' senders
	routes map[string]*route
	life   context.Context // ends with Close
	end    context.CancelFunc
	client *http.Client // sends webhooks

	// mu guards the whole model and everything below. It is held for one request or
	// one act, never while waiting for the network. Unexported methods of the model
	// expect it held.
	mu         sync.Mutex
	changed    *sync.Cond // a delivery ended, or the GitHub closes
	closing    bool
	lastID     int64
	users      map[int64]*User
	orgs       map[int64]*Organization
	repos      map[int64]*Repository
	apps       map[int64]*App
	installs   map[int64]*Installation
	tokens     map[string]*token
	pullsByID  map[int64]*Pull
	runs       map[int64]*Run
	jobs       map[int64]*Job
	checks     map[int64]*CheckRun
	comments   map[int64]*comment
	deploys    map[int64]*Deployment
	deliveries map[int64]*Delivery
	webFlow    *User
	actions    *App
	requests   []Request
	violations []Violation
	allowed    []string
	faults     []*Fault
	answers    map[string]answer // last answers, kept for stale reads
	inflight   int
	windows    map[string]*window
	redirects  map[string]*Repository // old full name, lower case
	packer     *flate.Writer
	issuer     issuer
	keys       map[int64]*rsa.PrivateKey
	web        web
	devices    map[string]*device // by their codes
	secrets    secrets            // has its own lock
}

// Start starts a GitHub for a test. When the test ends it is closed, and each
// violation that [GitHub.Allow] does not name fails the test. At most one Config is
// taken.
func Start(t testing.TB, cfg ...Config) *GitHub {
	t.Helper()
	var c Config
	if len(cfg) > 0 {
		c = cfg[0]
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Close()
		for _, v := range g.Violations() {
			t.Errorf("githubtest: %s", v)
		}
	})
	return g
}

// New starts a GitHub that listens on a free loopback port.
func New(cfg Config) (*GitHub, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.WebURL == "" {
		cfg.WebURL = "https://github.com"
	}
	if cfg.WebhookTimeout == 0 {
		cfg.WebhookTimeout = 10 * time.Second
	}
	if cfg.Parallel == 0 {
		cfg.Parallel = 1
	}
	cfg.Limits = cfg.Limits.withDefaults()
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting githubtest: %w", err)
	}
	g := &GitHub{
		cfg: cfg, url: "http://" + listener.Addr().String(),
		client: &http.Client{Timeout: cfg.WebhookTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		lastID: 1_000_000,
		users:  map[int64]*User{}, orgs: map[int64]*Organization{}, repos: map[int64]*Repository{}, apps: map[int64]*App{},
		installs: map[int64]*Installation{}, tokens: map[string]*token{}, pullsByID: map[int64]*Pull{}, runs: map[int64]*Run{},
		jobs: map[int64]*Job{}, checks: map[int64]*CheckRun{}, comments: map[int64]*comment{}, deploys: map[int64]*Deployment{},
		deliveries: map[int64]*Delivery{}, answers: map[string]answer{}, windows: map[string]*window{}, keys: map[int64]*rsa.PrivateKey{}, redirects: map[string]*Repository{},
		web: web{codes: map[string]*registered{}},
	}
	g.life, g.end = context.WithCancel(context.Background())
	g.changed = sync.NewCond(&g.mu)
	g.webFlow = g.addUser(19864447, "web-flow", "User", "noreply@github.com")
	g.webFlow.name = "GitHub"
	g.actions = g.actionsApp()
	g.server = &http.Server{Handler: g.handler(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 1 << 16}
	g.served.Go(func() { _ = g.server.Serve(listener) })
	return g, nil
}

// URL is the base of the REST API, without a trailing slash; GraphQL is at
// URL()+"/graphql".
func (g *GitHub) URL() string { return g.url }

// Now is the fake's present moment.
func (g *GitHub) Now() time.Time { return g.cfg.Now().UTC().Truncate(time.Second) }

// Close stops the server and the senders of webhooks and waits for them. It is
// safe to call twice; webhooks not yet sent are dropped.
func (g *GitHub) Close() {
	g.mu.Lock()
	if g.closing {
		g.mu.Unlock()
		g.served.Wait()
		return
	}
	g.closing = true
	g.end()
	g.changed.Broadcast()
	g.mu.Unlock()
	_ = g.server.Close()
	g.served.Wait()
	g.client.CloseIdleConnections()
}

// newID gives an id that nothing else has, whatever its kind, so that two ids that
// were mixed up are never right by accident. It does not fit in 32 bits.
func (g *GitHub) newID() int64 {
	g.lastID++
	return g.lastID + 10_000_000_000
}

// newSmallID is newID for what GitHub numbers in 32 bits (accounts, repositories,
// Apps).
func (g *GitHub) newSmallID() int64 {
	g.lastID++
	return g.lastID
}

// A Violation is something that a careful client does not do.
type Violation struct {
	// Request is "METHOD path" of the request.
	Request string
	// What says what was wrong with it.
	What string
}

func (v Violation) String() string { return v.Request + ": " + v.What }

// Violations lists what clients did wrong so far, but for what Allow names.
func (g *GitHub) Violations() []Violation {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Violation
each:
	for _, v := range g.violations {
		for _, a := range g.allowed {
			if strings.Contains(v.String(), a) {
				continue each
			}
		}
		out = append(out, v)
	}
	return out
}

// AllViolations lists all of them, those that Allow names too.
func (g *GitHub) AllViolations() []Violation {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Violation(nil), g.violations...)
}

// Allow names a violation that a test provokes: each whose text contains the text.
func (g *GitHub) Allow(text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.allowed = append(g.allowed, text)
}

func (g *GitHub) complain(r *http.Request, format string, args ...any) {
	g.violations = append(g.violations, Violation{r.Method + " " + r.URL.EscapedPath(), fmt.Sprintf(format, args...)})
}

// A Refusal is GitHub's answer to what it does not do.
type Refusal struct {
	// Status is the HTTP status: 403, 404, 405, 409, 422 …
	Status int
	// Message is GitHub's sentence.
	Message string
	// Errors are the details of a 422; may be nil.
	Errors []string
}

func (r *Refusal) Error() string {
	if len(r.Errors) > 0 {
		return fmt.Sprintf("%d %s: %s", r.Status, r.Message, strings.Join(r.Errors, "; "))
	}
	return fmt.Sprintf("%d %s", r.Status, r.Message)
}

func refuse(status int, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *Refusal {
	return &Refusal{Status: http.StatusUnprocessableEntity, Message: "Validation Failed", Errors: []string{fmt.Sprintf(format, args...)}}
}

func notFound() *Refusal { return refuse(http.StatusNotFound, "Not Found") }

func misuse(format string, args ...any) { panic("githubtest: " + fmt.Sprintf(format, args...)) }

// obj is one JSON object on its way out.
type obj = map[string]any

func nodeID(kind string, id int64) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s:%d", kind, id))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// stampOrNil is null for a moment that has not come.
func stampOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return stamp(t)
}

func textOrNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// A Clock is a clock that stands still until it is moved. The zero value is not
// useful: see [NewClock].
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock gives a clock that shows a moment.
func NewClock(now time.Time) *Clock { return &Clock{now: now} }

// Now is what the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock on.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
