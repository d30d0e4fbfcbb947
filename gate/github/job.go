package github

import (
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// JobConfig is what a client inside a job of GitHub Actions works with.
type JobConfig struct {
	// Token is the job's GITHUB_TOKEN. Required.
	Token Token
	// BaseURL, Transport, Now, Log and UserAgent are those of [Config].
	BaseURL   string
	Transport http.RoundTripper
	Now       func() time.Time
	Log       *slog.Logger
	UserAgent string
}

// Token is a token that requests are sent with. It prints as a placeholder.
type Token string

// String hides the token.
func (Token) String() string { return "(token)" }

// GoString hides the token.
func (Token) GoString() string { return "(token)" }

// LogValue hides the token.
func (Token) LogValue() slog.Value { return slog.StringValue("(token)") }

// NewForJob makes a client that is no App: all that it asks, it asks with the job's own
// token, which reaches the job's repository and what is public. Its repositories are of
// installation 0. What only an App can do, GitHub refuses it.
func NewForJob(cfg JobConfig) (*Client, error) {
	if cfg.Token == "" {
		return nil, errors.New("github: the job's token is required")
	}
	c, err := newClient(Config{BaseURL: cfg.BaseURL, Transport: cfg.Transport, Now: cfg.Now, Log: cfg.Log, UserAgent: cfg.UserAgent})
	if err != nil {
		return nil, err
	}
	if c.job, err = c.open(&bearer{c, cfg.Token}, 0, 0); err != nil {
		return nil, err
	}
	c.app = c.job.rest
	return c, nil
}

// bearer sends requests with a token.
type bearer struct {
	client *Client
	token  Token
}

// RoundTrip sends one request.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b.token))
	return (&plain{b.client}).RoundTrip(r)
}
