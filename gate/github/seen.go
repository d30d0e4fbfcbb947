package github

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
)

// Seen is one request to GitHub, or one that was kept back. Its words are few, and none
// is of a repository, an account or an installation.
type Seen struct {
	// Method is the request's, Kind which part of GitHub's API it is about, such as
	// "pulls"; "other" is one that this package does not know.
	Method, Kind string
	Outcome      Outcome
	// Took is until the answer's head; 0 for what was not sent.
	Took time.Duration
}

// Outcome is what became of a request.
type Outcome string

// The outcomes. They are shown to machines: they may be added to and never changed.
const (
	// OutcomeOK is an answer as wanted; one of GraphQL may still have errors in it.
	// OutcomeUnchanged is one that we have already (304), which costs no budget.
	OutcomeOK        Outcome = "ok"
	OutcomeUnchanged Outcome = "unchanged"
	// OutcomeNotFound, OutcomeForbidden and OutcomeRefused are GitHub's no: 404 and
	// 410; 401 and 403; any other 4xx.
	OutcomeNotFound  Outcome = "not_found"
	OutcomeForbidden Outcome = "forbidden"
	OutcomeRefused   Outcome = "refused"
	// OutcomeLimited met a rate limit. OutcomeHeldBack was not sent, since it would
	// have.
	OutcomeLimited  Outcome = "limited"
	OutcomeHeldBack Outcome = "held_back"
	// OutcomeFailed is 5xx, OutcomeUnreachable no answer, or half of one,
	// OutcomeCancelled one that nobody waits for any more, OutcomeNoToken was not sent
	// since GitHub gave no token.
	OutcomeFailed      Outcome = "failed"
	OutcomeUnreachable Outcome = "unreachable"
	OutcomeCancelled   Outcome = "cancelled"
	OutcomeNoToken     Outcome = "no_token"
)

// note tells of a request what became of it: status is the answer's, 0 where err says
// why there is none.
func (c *Client) note(r *http.Request, status int, took time.Duration, err error) {
	if c.cfg.Seen == nil {
		return
	}
	method := r.Method
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		method = "other"
	}
	c.cfg.Seen(Seen{Method: method, Kind: kindOf(strings.TrimPrefix(r.URL.Path, c.base.Path)), Outcome: outcomeOf(status, err), Took: took})
}

func outcomeOf(status int, err error) Outcome {
	var limited *RateLimited
	var token *ghinstallation.HTTPError
	switch {
	case errors.As(err, &limited):
		return OutcomeHeldBack
	case errors.As(err, &token):
		return OutcomeNoToken
	case errors.Is(err, context.Canceled):
		return OutcomeCancelled
	case err != nil:
		return OutcomeUnreachable
	case status == http.StatusTooManyRequests:
		return OutcomeLimited
	case status == http.StatusNotModified:
		return OutcomeUnchanged
	case status < 400:
		return OutcomeOK
	case status == http.StatusNotFound, status == http.StatusGone:
		return OutcomeNotFound
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return OutcomeForbidden
	case status < 500:
		return OutcomeRefused
	default:
		return OutcomeFailed
	}
}

// kindOf is which part of the API a path is about. There are few, whatever the path:
// nothing of it becomes part of a kind.
func kindOf(path string) string {
	const other = "other"
	parts := strings.Split(strings.Trim(path, "/"), "/")
	part := func(i int) string {
		if i < len(parts) {
			return parts[i]
		}
		return ""
	}
	below := 3 // of /repos/OWNER/NAME
	switch part(0) {
	case "api": // GraphQL's, beside /api/v3
		if part(1) == "graphql" {
			return "graphql"
		}
		return other
	case "graphql":
		return "graphql"
	case "app":
		switch {
		case part(1) == "hook":
			return "deliveries"
		case part(3) == "access_tokens":
			return "tokens"
		}
		return "app"
	case "installation", "applications":
		if part(1) == "token" || part(2) == "token" {
			return "tokens"
		}
		return "app"
	case "orgs", "organizations":
		if part(2) == "teams" {
			return "teams"
		}
		return "accounts"
	case "user", "users":
		return "accounts"
	case "app-manifests", "meta", "rate_limit":
		return "meta"
	case "repos":
	case "repositories":
		below = 2
	default:
		return other
	}
	switch part(below) {
	case "":
		return "repository"
	case "actions":
		switch part(below + 1) {
		case "jobs", "workflows", "runs":
			return part(below + 1)
		}
		return other
	case "activity", "branches", "check-runs", "collaborators", "commits", "compare", "contents", "deployments", "environments", "git", "issues", "pulls", "rules", "rulesets", "teams":
		return part(below)
	case "codeowners":
		return "contents"
	case "installation":
		return "app"
	default:
		return other
	}
}

// Quota is what is left of an hour's requests.
type Quota struct {
	Limit, Left int
	Reset       time.Time
}

// Limits is what is known of GitHub's rate limits, over all installations.
type Limits struct {
	// Core and GraphQL are those of the installation with the least left, by part; a
	// limit of 0 is unknown, or over.
	Core, GraphQL Quota
	// Paused are the installations that nothing is sent for now, the App itself
	// counted as one.
	Paused int
}

// Limits returns what is known now. It asks nothing.
func (c *Client) Limits() Limits {
	c.mu.Lock()
	all := make([]*budget, 0, len(c.budgets))
	for _, b := range c.budgets {
		all = append(all, b)
	}
	c.mu.Unlock()
	now := c.cfg.Now()
	var out Limits
	for _, b := range all {
		b.mu.Lock()
		if now.Before(b.until) {
			out.Paused++
		}
		for name, least := range map[string]*Quota{"core": &out.Core, "graphql": &out.GraphQL} {
			q := b.quotas[name]
			if q.limit > 0 && now.Before(q.reset) && (least.Limit == 0 || q.left*least.Limit < least.Left*q.limit) {
				*least = Quota{Limit: q.limit, Left: q.left, Reset: q.reset}
			}
		}
		b.mu.Unlock()
	}
	return out
}
