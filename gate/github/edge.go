package github

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// Limits of a request.
const (
	requestTime = 15 * time.Second
	maxAnswer   = 64 << 20 // a recursive tree of 100,000 entries is about 30 MB
	maxAtOnce   = 50       // GitHub's own limit is 100 for all of an installation
	// reserve is the part of the hour's budget that housekeeping leaves to doors.
	reserve = 5
)

type (
	housekeepingKey struct{}
	conditionalKey  struct{}
)

// WithHousekeeping marks requests that nobody waits for: they are refused while
// less than a fifth of the hour's budget is left.
func WithHousekeeping(ctx context.Context) context.Context {
	return context.WithValue(ctx, housekeepingKey{}, true)
}

// conditional lets a GET be answered from the cache if GitHub says that it holds.
func conditional(ctx context.Context) context.Context {
	return context.WithValue(ctx, conditionalKey{}, true)
}

// budget is what is known of an installation's limits.
type budget struct {
	mu     sync.Mutex
	until  time.Time // nothing goes out before
	limit  int       // 0: not known
	left   int
	reset  time.Time
	atOnce chan struct{}
}

func (c *Client) budget(in rules.InstallationID) *budget {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.budgets[in]
	if b == nil {
		b = &budget{atOnce: make(chan struct{}, maxAtOnce)}
		c.budgets[in] = b
	}
	return b
}

// admit refuses a request that would meet a limit.
func (b *budget) admit(now time.Time, housekeeping bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.until) {
		return &RateLimited{Until: b.until}
	}
	if housekeeping && b.limit > 0 && b.left < b.limit/reserve && now.Before(b.reset) {
		return &RateLimited{Until: b.reset}
	}
	return nil
}

// learn takes over what an answer says of the limits.
func (b *budget) learn(r *http.Response, until time.Time, limited bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if limited && until.After(b.until) {
		b.until = until
	}
	if r.Header.Get("X-Ratelimit-Resource") != "core" && r.Header.Get("X-Ratelimit-Resource") != "" {
		return
	}
	limit, err := strconv.Atoi(r.Header.Get("X-Ratelimit-Limit"))
	left, err2 := strconv.Atoi(r.Header.Get("X-Ratelimit-Remaining"))
	reset, err3 := strconv.ParseInt(r.Header.Get("X-Ratelimit-Reset"), 10, 64)
	if errors.Join(err, err2, err3) == nil {
		b.limit, b.left, b.reset = limit, left, time.Unix(reset, 0)
	}
}

// edge is where requests leave: limits, time, bounded answers, the cache.
type edge struct {
	client       *Client
	auth         http.RoundTripper
	installation rules.InstallationID
	repository   rules.RepositoryID
}

// RoundTrip sends one request.
func (e *edge) RoundTrip(r *http.Request) (*http.Response, error) {
	c := e.client
	b := c.budget(e.installation)
	ctx, cancel := context.WithTimeout(r.Context(), requestTime)
	defer cancel()
	if err := b.admit(c.cfg.Now(), ctx.Value(housekeepingKey{}) != nil); err != nil {
		return nil, err
	}
	select {
	case b.atOnce <- struct{}{}:
		defer func() { <-b.atOnce }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	key, etag, body := "", "", []byte(nil)
	r = r.Clone(ctx)
	if c.cfg.Cache != nil && r.Method == http.MethodGet && ctx.Value(conditionalKey{}) != nil {
		key = fmt.Sprintf("%d %d %s", e.installation, e.repository, r.URL)
		var err error
		if etag, body, err = c.cfg.Cache.Cached(ctx, key); err == nil && etag != "" {
			r.Header.Set("If-None-Match", etag)
		} else {
			etag = ""
		}
	}
	begun := c.cfg.Now()
	answer, err := e.auth.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	until, limited := c.limit(answer)
	b.learn(answer, until, limited)
	c.cfg.Log.DebugContext(ctx, "GitHub", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", answer.StatusCode),
		slog.Duration("took", c.cfg.Now().Sub(begun)), slog.String("left", answer.Header.Get("X-Ratelimit-Remaining")))
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNotModified && etag != "" {
		answer.StatusCode, answer.Status = http.StatusOK, "200 OK"
		answer.Body = io.NopCloser(bytes.NewReader(body))
		return answer, nil
	}
	read, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading GitHub's answer: %w", err)
	}
	if len(read) > maxAnswer {
		return nil, fmt.Errorf("GitHub's answer has more than %d bytes", maxAnswer)
	}
	if key != "" && answer.StatusCode == http.StatusOK && answer.Header.Get("Etag") != "" {
		if err := c.cfg.Cache.Cache(ctx, key, answer.Header.Get("Etag"), read, c.cfg.Now()); err != nil {
			c.cfg.Log.WarnContext(ctx, "an answer cannot be kept", slog.Any("cause", err))
		}
	}
	answer.Body = io.NopCloser(bytes.NewReader(read))
	return answer, nil
}

// plain sends token requests, which ghinstallation signs: with a time limit and
// nothing else.
type plain struct{ client *Client }

// RoundTrip sends one request.
func (p *plain) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("User-Agent", p.client.cfg.UserAgent)
	r.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	return p.client.cfg.Transport.RoundTrip(r)
}
