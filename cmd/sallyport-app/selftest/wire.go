package selftest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of what is read and how long is waited.
const (
	maxAnswer   = 8 << 20
	requestTime = 30 * time.Second
	maxPause    = 2 * time.Minute // what GitHub may ask to wait before a request is sent again
	sends       = 4
)

// Exchange is one request to GitHub, for its support.
type Exchange struct {
	At     time.Time `json:"at"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Status int       `json:"status"`
	ID     string    `json:"request_id"`
}

// answered is an answer that is none of 2xx.
type answered struct {
	Exchange

	Message string
}

// Error says what GitHub said.
func (e *answered) Error() string {
	return fmt.Sprintf("%s %s was answered with %d %s (request %s)", e.Method, e.Path, e.Status, e.Message, e.ID)
}

// statusOf is the status of an answer that came; 0 if none did.
func statusOf(err error) int {
	var a *answered
	if errors.As(err, &a) {
		return a.Status
	}
	return 0
}

// wire sends requests with the scratch repository's token. It is safe for concurrent
// use.
type wire struct {
	base, graphql, repo string // repo is "/repos/OWNER/NAME"
	http                *http.Client
	// token gives a token that lives for five minutes more.
	token func(ctx context.Context) (string, error)
	pause func(ctx context.Context, d time.Duration) error

	mu   sync.Mutex
	last Exchange
	all  []Exchange
}

// maxExchanges is how many requests are kept for the report.
const maxExchanges = 5000

func newWire(base, fullName string, transport http.RoundTripper) *wire {
	base = strings.TrimSuffix(base, "/")
	graphql := base + "/graphql"
	if before, ok := strings.CutSuffix(base, "/api/v3"); ok {
		graphql = before + "/api/graphql"
	}
	if transport == nil {
		transport = &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second,
			ResponseHeaderTimeout: 20 * time.Second, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
		}
	}
	return &wire{
		base: base, graphql: graphql, repo: "/repos/" + fullName, pause: sleep,
		http: &http.Client{Transport: transport, Timeout: requestTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// get reads a path below the repository.
func (w *wire) get(ctx context.Context, path string, out any) error {
	return w.send(ctx, http.MethodGet, w.base+w.repo+path, nil, out)
}

// do writes to a path below the repository. It is sent once: whether GitHub acted is
// open where no answer came.
func (w *wire) do(ctx context.Context, method, path string, in, out any) error {
	return w.send(ctx, method, w.base+w.repo+path, in, out)
}

// ask asks a query. Errors in the answer are an error; out may be filled nevertheless.
func (w *wire) ask(ctx context.Context, query string, variables map[string]any, out any) error {
	var envelope struct {
		Data   json.RawMessage `json:"data"`
		Errors []struct {
			Type    string `json:"type"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := w.send(ctx, http.MethodPost, w.graphql, map[string]any{"query": query, "variables": variables}, &envelope); err != nil {
		return err
	}
	if len(envelope.Data) > 0 && string(envelope.Data) != "null" {
		if err := json.Unmarshal(envelope.Data, out); err != nil {
			return fmt.Errorf("reading GitHub's answer to a query: %w", err)
		}
	}
	if len(envelope.Errors) == 0 {
		return nil
	}
	var words []string
	for _, e := range envelope.Errors {
		words = append(words, strings.TrimSpace(e.Type+" "+e.Message))
	}
	return &queryError{strings.Join(words, "; ")}
}

// queryError is an answer to a query that has errors in it.
type queryError struct{ text string }

// Error says what GitHub said.
func (e *queryError) Error() string { return "GitHub answered a query with errors: " + clip(e.text) }

// send sends a request, a read more than once where no answer or a passing one came,
// and either again after GitHub asked to wait.
func (w *wire) send(ctx context.Context, method, address string, in, out any) error {
	read := method == http.MethodGet || address == w.graphql
	for n := 1; ; n++ {
		wait, err := w.once(ctx, method, address, in, out)
		switch {
		case err == nil, n == sends, ctx.Err() != nil:
			return err
		case wait > 0:
		case read && (statusOf(err) >= 500 || statusOf(err) == 0 && !isQuery(err)):
			wait = time.Duration(n) * time.Second
		default:
			return err
		}
		if err := w.pause(ctx, wait); err != nil {
			return err
		}
	}
}

func isQuery(err error) bool {
	var q *queryError
	return errors.As(err, &q)
}

// once sends a request once. Wait is how long GitHub asked to wait, 0 if it did not:
// then it did nothing.
func (w *wire) once(ctx context.Context, method, address string, in, out any) (wait time.Duration, err error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(text)
	}
	token, err := w.token(ctx)
	if err != nil {
		return 0, err
	}
	q, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return 0, err
	}
	q.Header.Set("Authorization", "Bearer "+token)
	q.Header.Set("Accept", "application/vnd.github+json")
	q.Header.Set("X-Github-Api-Version", "2022-11-28")
	q.Header.Set("User-Agent", "sallyport-selftest")
	if in != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	x := Exchange{At: time.Now().UTC(), Method: method, Path: q.URL.Path}
	answer, err := w.http.Do(q)
	if err != nil {
		w.record(x)
		return 0, fmt.Errorf("%s %s: %w", method, q.URL.Path, errors.Unwrap(err)) // without the address, which may have a query
	}
	defer answer.Body.Close()
	x.Status, x.ID = answer.StatusCode, clip(answer.Header.Get("X-Github-Request-Id"))
	w.record(x)
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return 0, fmt.Errorf("reading the answer to %s %s: %w", method, q.URL.Path, err)
	}
	if len(text) > maxAnswer {
		return 0, fmt.Errorf("the answer to %s %s has more than %d bytes", method, q.URL.Path, maxAnswer)
	}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		var said struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(text, &said) // an error page says nothing
		return pauseOf(answer), &answered{x, clip(said.Message)}
	}
	if out == nil || answer.StatusCode == http.StatusNoContent {
		return 0, nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return 0, fmt.Errorf("reading the answer to %s %s: %w", method, q.URL.Path, err)
	}
	return 0, nil
}

// pauseOf is how long GitHub asks to wait
// (https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api).
func pauseOf(answer *http.Response) time.Duration {
	if answer.StatusCode != http.StatusForbidden && answer.StatusCode != http.StatusTooManyRequests {
		return 0
	}
	if n, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && n > 0 {
		return min(time.Duration(n)*time.Second, maxPause)
	}
	if answer.StatusCode == http.StatusTooManyRequests || answer.Header.Get("X-Ratelimit-Remaining") == "0" {
		return time.Minute
	}
	return 0
}

func (w *wire) record(x Exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = x
	if len(w.all) < maxExchanges {
		w.all = append(w.all, x)
	}
}

// latest is the request that was sent last.
func (w *wire) latest() Exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// escape makes a text fit for a query.
func escape(s string) string { return url.QueryEscape(s) }

// clip makes a foreign text short and harmless on a terminal.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return s
}
