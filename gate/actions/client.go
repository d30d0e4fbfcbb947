package actions

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Limits of what is asked of the server.
const (
	// MaxHold is the longest that the server is asked to hold an answer back.
	MaxHold = 50 * time.Second

	// answerTime is how long an answer may take beyond what it is held back.
	answerTime = 30 * time.Second
	// maxAnswer is room for a decision on thousands of files.
	maxAnswer = 8 << 20
	// backoff grows from the first to the most, with a random part.
	backoffFirst = 500 * time.Millisecond
	backoffMost  = 20 * time.Second
)

// Config is what a client works with.
type Config struct {
	// Server is SALLYPORT_URL: https, or http to this very machine.
	Server string
	// Audience is that of the job's OIDC token; "" is Server. It differs only where the
	// server is reached at another address than its own.
	Audience string
	// Repository is "owner/name" where a person asks for credentials outside any job:
	// then Token gives that person's. "" is a job, whose token names its repository.
	Repository string
	// Token gives the job's OIDC token for an audience. It is asked for each attempt.
	Token func(ctx context.Context, audience string) (Secret, error)
	// UserAgent names the program.
	UserAgent string
	// Retry is told before each further attempt why there is one; nil is nobody.
	Retry func(why error, in time.Duration)
}

// Client asks a server for one job. It is safe for concurrent use.
type Client struct {
	cfg  Config
	base *url.URL
	http *http.Client
}

// NewClient makes a client.
func NewClient(cfg Config) (*Client, error) {
	cfg.Server = strings.TrimRight(cfg.Server, "/")
	base, err := url.Parse(cfg.Server)
	if err != nil || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		return nil, fmt.Errorf("the server %q is no address such as https://sallyport.acme.internal", cfg.Server)
	}
	if !secure(base) {
		return nil, fmt.Errorf("the server %q would be sent tokens in clear, or names a user: want https://HOST", base.Redacted())
	}
	if cfg.Token == nil {
		return nil, errors.New("no way to get the job's OIDC token")
	}
	cfg.Audience = cmp.Or(cfg.Audience, cfg.Server)
	return &Client{cfg: cfg, base: base, http: &http.Client{Transport: transport(), CheckRedirect: noRedirect}}, nil
}

// Hold makes the hold of this job, or finds it. It tries again until ctx ends where the
// server or GitHub cannot be reached; a *[Problem] or *[Final] is for good.
func (c *Client) Hold(ctx context.Context) (State, error) {
	var s State
	err := c.retry(ctx, always, func(ctx context.Context) error {
		return c.ask(ctx, request{method: http.MethodPost, path: "/v1/holds", want: http.StatusCreated, into: &s})
	})
	return checked(s, err)
}

// HoldState is a hold as it is once it does not wait any more, or after wait, which is
// [MaxHold] at most.
func (c *Client) HoldState(ctx context.Context, id string, wait time.Duration) (State, error) {
	if !isID(id) {
		return State{}, &Final{fmt.Errorf("the hold %q is no id", id)}
	}
	seconds := int(min(max(wait, 0), MaxHold) / time.Second)
	var s State
	err := c.retry(ctx, always, func(ctx context.Context) error {
		return c.ask(ctx, request{
			method: http.MethodGet, path: "/v1/holds/" + id, query: "wait=" + strconv.Itoa(seconds), held: time.Duration(seconds) * time.Second,
			want: http.StatusOK, into: &s,
		})
	})
	return checked(s, err)
}

// checked refuses an answer that does not say of which hold it is.
func checked(s State, err error) (State, error) {
	if err == nil && (!isID(s.ID) || s.State == "") {
		return State{}, &Final{errors.New("the server's answer has no hold: is the address that of Sallyport?")}
	}
	return s, err
}

// ErrUnclear says that a credential was asked for and no answer came: it may have been
// made. It is not asked for again: the server takes a second request for a sign that
// somebody else in the job asks too, ends the first, and raises an alert.
var ErrUnclear = errors.New("no answer came, so that nobody can tell whether the credential was made; if it was, it ends with this job. Run the job again")

// Lease asks for a credential. It tries again, until ctx ends, only while nothing can
// have been given: where the server was not reached, asks to come later, or could not
// verify the token. The error can be [ErrUnclear], a *[Problem] or a *[Final].
func (c *Client) Lease(ctx context.Context, credential string) (Lease, error) {
	if !CredentialName(credential) {
		return Lease{}, &Final{fmt.Errorf("the credential %q is no name: want one of the policy's credentials", credential)}
	}
	asks := map[string]string{"credential": credential}
	if c.cfg.Repository != "" {
		asks["repository"] = c.cfg.Repository
	}
	body, err := json.Marshal(asks)
	if err != nil {
		return Lease{}, err
	}
	var given struct {
		ID          string            `json:"id"`
		Secret      string            `json:"secret"`
		Credential  string            `json:"credential"`
		Environment string            `json:"environment"`
		ExpiresAt   time.Time         `json:"expires_at"`
		Values      map[string]string `json:"values"`
	}
	err = c.retry(ctx, nothingGiven, func(ctx context.Context) error {
		return c.ask(ctx, request{method: http.MethodPost, path: "/v1/leases", body: body, want: http.StatusCreated, into: &given})
	})
	if err != nil {
		return Lease{}, unclear(err)
	}
	l := Lease{
		ID: given.ID, Secret: Secret(given.Secret), Credential: given.Credential, Environment: given.Environment, ExpiresAt: given.ExpiresAt,
		Values: map[string]Secret{},
	}
	for k, v := range given.Values {
		l.Values[k] = Secret(v)
	}
	if why := l.faulty(credential); why != "" {
		err := fmt.Errorf("the server's answer is no credential: %s", why)
		if isID(l.ID) && isBearer(given.Secret) {
			ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
			defer cancel()
			err = errors.Join(err, c.EndLease(ending, l.ID, l.Secret))
		}
		return Lease{}, err
	}
	return l, nil
}

// faulty says why a lease cannot be worked with, without anything of it.
func (l *Lease) faulty(credential string) string {
	switch {
	case !isID(l.ID) || !isBearer(l.Secret.Reveal()):
		return "it has no id or no secret"
	case l.Credential != credential:
		return "it is another one"
	case len(l.Values) == 0:
		return "it has no values"
	case l.ExpiresAt.IsZero():
		return "it does not say when it ends"
	}
	for k, v := range l.Values {
		if !isKey(k) || strings.ContainsRune(v.Reveal(), 0) {
			return "a value has a name or a byte that no variable can have"
		}
	}
	return ""
}

// Keys are the names of the values, sorted.
func (l *Lease) Keys() []string { return slices.Sorted(maps.Keys(l.Values)) }

// EndLease ends a lease, until ctx ends: nil means that nothing of it is alive, also when
// it had ended before.
func (c *Client) EndLease(ctx context.Context, id string, secret Secret) error {
	if !isID(id) || !isBearer(secret.Reveal()) {
		return &Final{errors.New("this is no lease's id and secret")}
	}
	return c.retry(ctx, always, func(ctx context.Context) error {
		return c.ask(ctx, request{method: http.MethodDelete, path: "/v1/leases/" + id, bearer: secret, want: http.StatusNoContent})
	})
}

// request is one question to the server.
type request struct {
	method, path, query string
	body                []byte
	bearer              Secret        // "" is a fresh token of the job
	held                time.Duration // how long the server may hold its answer back
	want                int
	into                any // where the answer goes; nil for none
}

// ask asks once.
func (c *Client) ask(ctx context.Context, q request) error {
	bearer := q.bearer
	if bearer == "" {
		var err error
		if bearer, err = c.cfg.Token(ctx, c.cfg.Audience); err != nil {
			return &unsent{err}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, q.held+answerTime)
	defer cancel()
	address := c.base.JoinPath(q.path)
	address.RawQuery = q.query
	r, err := http.NewRequestWithContext(ctx, q.method, address.String(), bytes.NewReader(q.body))
	if err != nil {
		return &Final{err}
	}
	r.Header.Set("Authorization", "Bearer "+bearer.Reveal())
	r.Header.Set("Accept", "application/json, application/problem+json")
	r.Header.Set("User-Agent", cmp.Or(c.cfg.UserAgent, "sallyport"))
	if len(q.body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.http.Do(r)
	if err != nil {
		err = fmt.Errorf("asking %s: %w", c.base.Host, withoutAddress(err))
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			return &unsent{err}
		}
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading the answer of %s: %w", c.base.Host, withoutAddress(err))
	case len(text) > maxAnswer:
		return &Final{fmt.Errorf("the answer of %s is larger than %d MiB", c.base.Host, maxAnswer>>20)}
	case answer.StatusCode != q.want:
		return problemOf(answer, text)
	case q.into == nil:
		return nil
	}
	if kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &Final{fmt.Errorf("%s answered with something that is no JSON: is the address that of Sallyport?", c.base.Host)}
	}
	if err := json.Unmarshal(text, q.into); err != nil {
		// What err says may have a value of the answer in it.
		return &Final{fmt.Errorf("the answer of %s cannot be read: is this sallyport older than the server?", c.base.Host)}
	}
	return nil
}

// problemOf reads a refusal.
func problemOf(answer *http.Response, text []byte) error {
	p := &Problem{}
	if kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type")); err == nil && kind == "application/problem+json" {
		if json.Unmarshal(text, p) != nil {
			p = &Problem{}
		}
	}
	p.Status = answer.StatusCode
	if s, err := strconv.ParseUint(answer.Header.Get("Retry-After"), 10, 16); err == nil {
		p.after = time.Duration(s) * time.Second
	}
	if p.Detail == "" && p.Status >= 300 && p.Status < 400 {
		p.Detail = "a redirect, which is not followed with a token: name the server's own address"
	}
	return p
}

// unsent wraps an error after which the server has surely not seen the request.
type unsent struct{ err error }

func (u *unsent) Error() string { return u.err.Error() }
func (u *unsent) Unwrap() error { return u.err }

// always is for requests that may be repeated: whatever is down may come back.
func always(err error) bool {
	var final *Final
	var p *Problem
	switch {
	case errors.As(err, &final):
		return false
	case errors.As(err, &p):
		return p.Status >= 500 || p.Status == http.StatusTooManyRequests || p.Status == http.StatusRequestTimeout
	}
	return true
}

// nothingGiven is for requests that must not be repeated unless the first surely did
// nothing.
func nothingGiven(err error) bool {
	var p *Problem
	var u *unsent
	switch {
	case errors.As(err, &p):
		return p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable && p.Code == "issuer-unavailable"
	case errors.As(err, &u):
		return always(err)
	}
	return false
}

// unclear is what became of a request that is not repeated.
func unclear(err error) error {
	var p *Problem
	var u *unsent
	var final *Final
	if errors.As(err, &u) || errors.As(err, &final) || errors.As(err, &p) && p.Code != "" {
		return err
	}
	return fmt.Errorf("%w (%w)", ErrUnclear, err)
}

// retry does something until it succeeds, fails for good, or ctx would end before the
// next attempt. The last error says most.
func (c *Client) retry(ctx context.Context, again func(error) bool, do func(context.Context) error) error {
	pause := backoffFirst
	for {
		err := do(ctx)
		if err == nil || !again(err) || ctx.Err() != nil {
			return err
		}
		wait := pause/2 + rand.N(pause/2) //nolint:gosec // spreads requests, and hides nothing
		pause = min(2*pause, backoffMost)
		var p *Problem
		if errors.As(err, &p) {
			wait = max(wait, p.after)
		}
		if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait {
			return err
		}
		if c.cfg.Retry != nil {
			c.cfg.Retry(err, wait)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}
