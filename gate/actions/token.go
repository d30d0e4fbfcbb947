package actions

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/sethvargo/go-githubactions"
)

// IDToken asks GitHub for the job's OIDC token for an audience. Each call gives
// another token: one is good for a few minutes and for one request. An error that is a
// *[Final] does not change by asking again.
func (j *Job) IDToken(ctx context.Context, audience string) (Secret, error) {
	const hint = "give the job `permissions: id-token: write`; a pull request from a fork cannot have it"
	address := j.getenv("ACTIONS_ID_TOKEN_REQUEST_URL")
	if address == "" || j.getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN") == "" {
		return "", &Final{fmt.Errorf("the job may not ask for its OIDC token: %s", hint)}
	}
	if u, err := url.Parse(address); err != nil || !secure(u) {
		return "", &Final{errors.New("ACTIONS_ID_TOKEN_REQUEST_URL is no https address: the runner sets it, and an earlier step of this job must have changed it")}
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTime)
	defer cancel()
	raw, err := j.act.GetIDToken(ctx, audience)
	var refused *githubactions.RequestFailedError
	switch {
	case errors.As(err, &refused) && refused.StatusCode < 500 && refused.StatusCode != http.StatusTooManyRequests && refused.StatusCode != http.StatusRequestTimeout:
		return "", &Final{fmt.Errorf("GitHub refused the job's OIDC token with %d: %s", refused.StatusCode, hint)}
	case errors.As(err, &refused):
		return "", fmt.Errorf("GitHub answered the request for the job's OIDC token with %d", refused.StatusCode)
	case err != nil:
		return "", fmt.Errorf("asking GitHub for the job's OIDC token: %w", withoutAddress(err))
	case !isBearer(raw):
		return "", errors.New("what GitHub gave as the job's OIDC token is none")
	}
	return Secret(raw), nil
}

// Final is an error that does not change by asking again.
type Final struct{ Err error } //nolint:errname // it says of an error that it is final

// Error is the cause's.
func (f *Final) Error() string { return f.Err.Error() }

// Unwrap is the cause.
func (f *Final) Unwrap() error { return f.Err }

// withoutAddress takes the address out of an error of net/http: it says nothing that a
// reader needs, and is long.
func withoutAddress(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// secure reports whether an address may be sent a token: https, or http to this very
// machine.
func secure(u *url.URL) bool {
	switch u.Scheme {
	case "https":
		return u.Hostname() != "" && u.User == nil
	case "http":
		ip := net.ParseIP(u.Hostname())
		return u.User == nil && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
	default:
		return false
	}
}

// transport is one with time limits. Answers that the server holds back are limited by
// the request's own context.
func transport() *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second,
		IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
	}
}

// noRedirect hands back an answer that would lead elsewhere: a token goes to the address
// that was configured and to no other.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
