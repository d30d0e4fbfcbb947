package alert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter is the longest that an answer can put off the next try.
const maxRetryAfter = time.Hour

// Failed is why a message did not arrive. Its text has the target's name, and never
// an address's path or anything of an answer.
type Failed struct { //nolint:errname // it says of a message that it failed
	// Target is the name.
	Target string
	// Permanent says that trying again will not help.
	Permanent bool
	// RetryAfter is how long the receiver asked to wait, at most an hour; 0 if it did
	// not say.
	RetryAfter time.Duration

	why   string
	cause error // a context's error or nil
}

// Error says what went wrong.
func (f *Failed) Error() string { return fmt.Sprintf("telling %q: %s", f.Target, f.why) }

// Unwrap is the context's error if that ended the try.
func (f *Failed) Unwrap() error { return f.cause }

// judgeStatus turns an answer into nil or why the message did not arrive.
func judgeStatus(target string, answer *http.Response, now time.Time) error {
	switch status := answer.StatusCode; {
	case status >= 200 && status < 300:
		return nil
	case status >= 300 && status < 400:
		return &Failed{Target: target, Permanent: true, why: fmt.Sprintf("it answered %d, and redirects are not followed: put the final address into its url_file", status)}
	case status == http.StatusTooManyRequests || status >= 500:
		return &Failed{Target: target, RetryAfter: retryAfter(answer.Header.Get("Retry-After"), now), why: fmt.Sprintf("it answered %d", status)}
	default:
		return &Failed{Target: target, Permanent: true, why: fmt.Sprintf("it answered %d: check that the address in its url_file still holds", status)}
	}
}

// retryAfter reads a header of seconds or of a date
// (https://www.rfc-editor.org/rfc/rfc9110#name-retry-after). What is neither, or has
// passed, is 0.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	var d time.Duration
	if seconds, err := strconv.ParseUint(header, 10, 64); err == nil {
		d = maxRetryAfter
		if seconds < uint64(maxRetryAfter/time.Second) {
			d = time.Duration(seconds) * time.Second
		}
	} else if errors.Is(err, strconv.ErrRange) {
		d = maxRetryAfter
	} else if at, err := http.ParseTime(header); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// broken says in our own words why there was no answer. The error itself is not
// kept: Go's quote the address, or what the other side sent.
func broken(ctx context.Context, target string, timeout time.Duration, err error) *Failed {
	f := &Failed{Target: target, why: "the connection broke off"}
	var refused *refusedError
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var op *net.OpError
	switch {
	case ctx.Err() != nil:
		f.why, f.cause = "it was broken off here", ctx.Err()
	case errors.As(err, &refused):
		f.why = refused.Error()
	case errors.Is(err, context.DeadlineExceeded):
		f.why, f.cause = fmt.Sprintf("no answer within %s", timeout), context.DeadlineExceeded
	case errors.As(err, &name):
		f.why = "its host's name could not be resolved"
	case errors.As(err, &certificate), errors.As(err, &authority), errors.As(err, &host):
		f.why = "its certificate does not hold"
	case errors.As(err, &op) && op.Op == "dial":
		f.why = "its host could not be reached"
	}
	return f
}
