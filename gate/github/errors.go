package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
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
	// Status is the answer's: 400, 405, 409, 422.
	Status  int
	Message string
}

// Error is GitHub's sentence.
func (e *Refused) Error() string {
	return fmt.Sprintf("GitHub refused (%d): %s", e.Status, e.Message)
}

// RefusedToken reports whether GitHub did not take the token that a request was signed
// with (401), and what GitHub's clock said; the zero time if it did not say.
func RefusedToken(err error) (clock time.Time, refused bool) {
	var answer *gh.ErrorResponse
	if !errors.As(err, &answer) || answer.Response == nil || answer.Response.StatusCode != http.StatusUnauthorized {
		return time.Time{}, false
	}
	clock, _ = http.ParseTime(answer.Response.Header.Get("Date")) // zero where there is none
	return clock.UTC(), true
}

// understand turns an error of go-github or of the token source into one of ours.
func (c *Client) understand(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	var ours *RateLimited
	var limited *gh.RateLimitError
	var abuse *gh.AbuseRateLimitError
	var answer *gh.ErrorResponse
	var token *ghinstallation.HTTPError
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &limited): // go-github remembers by itself that nothing is left
		return &RateLimited{Until: limited.Rate.Reset.Time}
	case errors.As(err, &abuse):
		return &RateLimited{Until: c.cfg.Now().Add(max(abuse.GetRetryAfter(), minPause))}
	case errors.As(err, &token) && token.Response != nil:
		if token.Response.StatusCode == http.StatusUnprocessableEntity {
			// So GitHub answers for a repository that the installation does not reach.
			return fmt.Errorf("%w: no token for this repository", ErrNotFound)
		}
		return status(token.Response.StatusCode, "no token for this installation", err)
	case errors.As(err, &answer) && answer.Response != nil:
		words := []string{answer.Message}
		for _, e := range answer.Errors {
			words = append(words, e.Message)
		}
		message := strings.Join(words, "; ")
		return status(answer.Response.StatusCode, message, err)
	}
	return err
}

// status turns an answer's status into one of our errors. What is none of them
// leaves open whether GitHub acted; a token that GitHub does not take (401) is
// replaced by the next request.
func status(code int, message string, err error) error {
	switch code {
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w: %s", ErrNotFound, message)
	case http.StatusForbidden:
		return fmt.Errorf("%w: %s", ErrForbidden, message)
	case http.StatusMethodNotAllowed, http.StatusConflict, http.StatusUnprocessableEntity, http.StatusBadRequest:
		return &Refused{Status: code, Message: message}
	default:
		return err
	}
}
