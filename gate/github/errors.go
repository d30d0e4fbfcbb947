package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	gh "github.com/google/go-github/v62/github"

	"github.com/bradleyfalzon/ghinstallation/v2"
)

var (
	// ErrNotFound means that there is no such thing, or none that the App may see.
	ErrNotFound = errors.New("not found on GitHub, or not within the App's reach")
	// ErrForbidden means that the installation lacks a permission or is suspended.
	ErrForbidden = errors.New("GitHub forbids it to this App")
)

// RateLimited means that GitHub, or this client for it, takes no request before a
// time.
type RateLimited struct {
	Until time.Time
}

// Error says until when.
func (e *RateLimited) Error() string {
	return "GitHub takes no request before " + e.Until.UTC().Format(time.RFC3339)
}

// Refused means that GitHub said no, and would again.
type Refused struct {
	// Status is the answer's: 405, 409, 422.
	Status  int
	Message string
}

// Error is GitHub's sentence.
func (e *Refused) Error() string {
	return fmt.Sprintf("GitHub refused (%d): %s", e.Status, e.Message)
}

// minPause is how long nothing is sent after a refusal that does not say how long
// (https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api).
const minPause = time.Minute

// understand turns an error of go-github or of the token source into one of ours.
func (c *Client) understand(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	var accepted *gh.AcceptedError
	var limited *gh.RateLimitError
	var abuse *gh.AbuseRateLimitError
	var answer *gh.ErrorResponse
	var token *ghinstallation.HTTPError
	switch {
	case errors.As(err, &accepted):
		return nil // 202: it is being done
	case errors.As(err, &limited):
		return &RateLimited{Until: limited.Rate.Reset.Time}
	case errors.As(err, &abuse):
		return &RateLimited{Until: c.cfg.Now().Add(max(abuse.GetRetryAfter(), time.Second))}
	case errors.As(err, &answer) && answer.Response != nil:
		return c.status(answer.Response, answer.Message, err)
	case errors.As(err, &token) && token.Response != nil:
		return c.status(token.Response, "no token for this installation", err)
	}
	return err
}

// status turns an answer's status into one of our errors.
func (c *Client) status(r *http.Response, message string, err error) error {
	if until, ok := c.limit(r); ok {
		return &RateLimited{Until: until}
	}
	switch r.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w: %s", ErrNotFound, message)
	case http.StatusForbidden, http.StatusUnauthorized:
		return fmt.Errorf("%w: %s", ErrForbidden, message)
	case http.StatusMethodNotAllowed, http.StatusConflict, http.StatusUnprocessableEntity, http.StatusBadRequest:
		var answer *gh.ErrorResponse
		if errors.As(err, &answer) {
			for _, e := range answer.Errors {
				message += "; " + e.Message
			}
		}
		return &Refused{Status: r.StatusCode, Message: message}
	default:
		return err
	}
}

// limit reports whether an answer says that a limit is reached, and until when
// (https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api).
func (c *Client) limit(r *http.Response) (time.Time, bool) {
	if r.StatusCode != http.StatusForbidden && r.StatusCode != http.StatusTooManyRequests {
		return time.Time{}, false
	}
	now := c.cfg.Now()
	if s := r.Header.Get("Retry-After"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return now.Add(minPause), true
		}
		return now.Add(time.Duration(min(n, 3600)) * time.Second), true
	}
	if r.Header.Get("X-Ratelimit-Remaining") == "0" {
		n, err := strconv.ParseInt(r.Header.Get("X-Ratelimit-Reset"), 10, 64)
		if err != nil {
			return now.Add(minPause), true
		}
		return time.Unix(n, 0), true
	}
	if r.StatusCode == http.StatusTooManyRequests {
		return now.Add(minPause), true
	}
	return time.Time{}, false
}
