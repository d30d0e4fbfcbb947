package github

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// Limits of a request.
const (
	requestTime = 10 * time.Second
	queryTime   = 15 * time.Second // GitHub itself ends a query after 10 s
	maxAnswer   = 10 << 20
	// maxLarge is for what is long by nature: a recursive tree of 100,000 entries is
	// about 30 MB, and 100 pull requests may have 65,536 characters of text each.
	maxLarge = 64 << 20
)

type (
	housekeepingKey struct{}
	cachedKey       struct{}
	reducedKey      struct{}
)

// WithHousekeeping marks requests that nobody waits for: they are refused while
// less than a fifth of the hour's budget is left.
func WithHousekeeping(ctx context.Context) context.Context {
	return context.WithValue(ctx, housekeepingKey{}, true)
}

// conditional lets a GET be answered from the cache if GitHub says that it holds.
func conditional(ctx context.Context) context.Context {
	return context.WithValue(ctx, cachedKey{}, false)
}

// reduced is [conditional] for what is large: of an answer that is kept only that is kept
// which reduce gives, in the same form. Otherwise it would be too large to be kept.
func reduced(ctx context.Context, reduce func(body []byte) ([]byte, error)) context.Context {
	return context.WithValue(conditional(ctx), reducedKey{}, reduce)
}

// immutable lets a GET be answered from the cache without asking: for what is named
// by its hash.
func immutable(ctx context.Context) context.Context {
	return context.WithValue(ctx, cachedKey{}, true)
}

// edge is where requests leave: limits, time, bounded answers, the cache.
type edge struct {
	client       *Client
	auth         http.RoundTripper
	installation rules.InstallationID
	repository   rules.RepositoryID
}

// RoundTrip sends one request. An answer that says that a limit is reached is a
// [*RateLimited].
func (e *edge) RoundTrip(r *http.Request) (*http.Response, error) {
	c := e.client
	b := c.budget(e.installation)
	limit := requestTime
	if isQuery(r) {
		limit = queryTime
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	r = r.Clone(ctx)
	kept := e.kept(r)
	if kept.etag != "" && ctx.Value(cachedKey{}) == true {
		return &http.Response{
			Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, Header: http.Header{},
			Body: io.NopCloser(strings.NewReader(kept.body)), ContentLength: int64(len(kept.body)),
		}, nil
	}
	c.lookAround(ctx, e.installation, b)
	if err := b.admit(c.cfg.Now(), resource(r), ctx.Value(housekeepingKey{}) != nil); err != nil {
		c.note(r, 0, 0, err)
		return nil, err
	}
	if c.cfg.Spaced && makesContent(r) {
		if err := c.space(ctx, e.installation, b); err != nil {
			c.note(r, 0, 0, err)
			return nil, err
		}
	}
	select {
	case b.atOnce <- struct{}{}:
		defer func() { <-b.atOnce }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	begun := c.cfg.Now()
	answer, err := e.auth.RoundTrip(r)
	took := c.cfg.Now().Sub(begun)
	log := c.cfg.Log.With(slog.String("method", r.Method), slog.String("path", r.URL.Path))
	if err != nil {
		c.note(r, 0, took, err)
		log.DebugContext(ctx, "GitHub", slog.Duration("took", took), slog.Any("cause", err))
		return nil, err
	}
	defer answer.Body.Close()
	log.DebugContext(ctx, "GitHub", slog.Int("status", answer.StatusCode), slog.Duration("took", took),
		slog.String("left", answer.Header.Get("X-Ratelimit-Remaining")))
	body, err := readAll(answer.Body, bound(r))
	if err != nil {
		c.note(r, 0, took, err)
		return nil, err
	}
	if until, limited := b.learn(answer, body, c.cfg.Now()); limited {
		c.note(r, http.StatusTooManyRequests, took, nil) // whichever status said so
		c.tellOthers(ctx, e.installation, until)
		return nil, &RateLimited{Until: until}
	}
	c.note(r, answer.StatusCode, took, nil)
	if answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden {
		// The token was taken back before its time, as by a suspension, or is from before
		// a permission was granted.
		c.forget(e.installation, e.repository)
	}
	answer.Body = io.NopCloser(bytes.NewReader(kept.merge(ctx, c, answer, body)))
	return answer, nil
}

// readAll reads an answer that must not be longer than a limit.
func readAll(body io.Reader, limit int64) ([]byte, error) {
	read, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading GitHub's answer: %w", err)
	}
	if int64(len(read)) > limit {
		return nil, fmt.Errorf("GitHub's answer has more than %d bytes", limit)
	}
	return read, nil
}

// bound is how long an answer may be.
func bound(r *http.Request) int64 {
	if r.Method == http.MethodGet && (strings.Contains(r.URL.Path, "/git/trees/") || strings.HasSuffix(r.URL.Path, "/pulls")) {
		return maxLarge
	}
	return maxAnswer
}

func isQuery(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/graphql") }

// keptAnswer is an answer that the cache had, and where it keeps the next one. The
// zero value keeps nothing.
type keptAnswer struct{ key, etag, link, body string }

// kept finds a request's answer in the cache and asks GitHub whether it still holds.
func (e *edge) kept(r *http.Request) keptAnswer {
	if e.client.cfg.Cache == nil || r.Method != http.MethodGet || r.Context().Value(cachedKey{}) == nil {
		return keptAnswer{}
	}
	k := keptAnswer{key: fmt.Sprintf("2 %d %d %s", e.installation, e.repository, r.URL)}
	etag, body, err := e.client.cfg.Cache.Cached(r.Context(), k.key)
	// The first line is the Link header: which page comes next must not depend on
	// whether GitHub repeats it with a 304.
	link, rest, ok := strings.Cut(string(body), "\n")
	if err != nil || etag == "" || !ok {
		return k
	}
	k.etag, k.link, k.body = etag, link, rest
	r.Header.Set("If-None-Match", etag)
	return k
}

// merge gives the body of an answer: the kept one where it holds. A new one is kept.
func (k keptAnswer) merge(ctx context.Context, c *Client, answer *http.Response, body []byte) []byte {
	switch {
	case answer.StatusCode == http.StatusNotModified && k.etag != "":
		answer.StatusCode, answer.Status = http.StatusOK, "200 OK"
		answer.Header.Del("Link")
		if k.link != "" {
			answer.Header.Set("Link", k.link)
		}
		return []byte(k.body)
	case answer.StatusCode == http.StatusOK && k.key != "" && answer.Header.Get("Etag") != "":
		keep := body
		if reduce, ok := ctx.Value(reducedKey{}).(func([]byte) ([]byte, error)); ok {
			var err error
			if keep, err = reduce(body); err != nil {
				return body // who asked says what is wrong with it
			}
		}
		text := append([]byte(answer.Header.Get("Link")+"\n"), keep...)
		if err := c.cfg.Cache.Cache(ctx, k.key, answer.Header.Get("Etag"), text, c.cfg.Now()); err != nil && ctx.Err() == nil {
			c.cfg.Log.WarnContext(ctx, "an answer cannot be kept", slog.Any("cause", err))
		}
	}
	return body
}

// plain is below what signs requests. Requests for tokens, which ghinstallation
// makes itself, pass the App's limits here.
type plain struct{ client *Client }

// RoundTrip sends one request.
func (p *plain) RoundTrip(r *http.Request) (*http.Response, error) {
	c := p.client
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", c.cfg.UserAgent)
	r.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	if !strings.HasSuffix(r.URL.Path, "/access_tokens") {
		return c.cfg.Transport.RoundTrip(r)
	}
	b := c.budget(0)
	c.lookAround(r.Context(), 0, b)
	if err := b.admit(c.cfg.Now(), resource(r), false); err != nil {
		c.note(r, 0, 0, err)
		return nil, err
	}
	begun := c.cfg.Now()
	answer, err := c.cfg.Transport.RoundTrip(r)
	took := c.cfg.Now().Sub(begun)
	if err != nil {
		c.note(r, 0, took, err)
		return nil, err
	}
	defer answer.Body.Close()
	body, err := readAll(answer.Body, maxAnswer)
	if err != nil {
		c.note(r, 0, took, err)
		return nil, err
	}
	if until, limited := b.learn(answer, body, c.cfg.Now()); limited {
		c.note(r, http.StatusTooManyRequests, took, nil)
		c.tellOthers(r.Context(), 0, until)
		return nil, &RateLimited{Until: until}
	}
	c.note(r, answer.StatusCode, took, nil)
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}
