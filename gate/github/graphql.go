package github

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// errTooLong means that a list did not end.
var errTooLong = errors.New("GitHub's list is longer than anything that is read")

// errSlow is what GitHub says of a query too where it took longer than 10 s.
var errSlow = errors.New("GitHub did not finish a query")

// graphQLError is an answer with errors in it: no fact.
type graphQLError struct {
	Errors []struct {
		Type    string `json:"type"`
		Message string `json:"message"`
		// Path leads to the field: names, and positions in lists.
		Path []any `json:"path"`
	}
}

func (e *graphQLError) Error() string {
	var all []string
	for _, x := range e.Errors {
		all = append(all, x.Type+" "+x.Message)
	}
	return "GitHub answered a query with errors: " + strings.Join(all, "; ")
}

// Is makes errors of one kind what they are in REST.
func (e *graphQLError) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.all("NOT_FOUND")
	case ErrForbidden:
		return e.all("FORBIDDEN")
	default:
		return false
	}
}

// all reports whether all errors are of a type.
func (e *graphQLError) all(kind string) bool {
	for _, x := range e.Errors {
		if x.Type != kind {
			return false
		}
	}
	return len(e.Errors) > 0
}

// below reports whether all errors are below a field.
func (e *graphQLError) below(field string) bool {
	for _, x := range e.Errors {
		if !slices.Contains(x.Path, any(field)) {
			return false
		}
	}
	return len(e.Errors) > 0
}

// bigInt is GraphQL's BigInt: a number, or as GitHub gives it a text. Null is 0.
type bigInt int64

// UnmarshalJSON reads it.
func (b *bigInt) UnmarshalJSON(text []byte) error {
	s := strings.Trim(string(text), `"`)
	if s == "null" {
		*b = 0
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return fmt.Errorf("%q is no BigInt", s)
	}
	*b = bigInt(n)
	return nil
}

// query asks one GraphQL query. An answer with errors is no fact, whatever data
// comes with it (https://docs.github.com/graphql/guides/forming-calls-with-graphql).
func (r *Repository) query(ctx context.Context, query string, variables map[string]any, out any) error {
	c := r.client
	h, err := c.as(r.installation, r.id)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, c.graphql, bytes.NewReader(body))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Accept", "application/vnd.github+json")
	q.Header.Set("User-Agent", c.cfg.UserAgent)
	answer, err := h.http.Do(q)
	if err != nil {
		return c.understand(ctx, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusBadGateway || answer.StatusCode == http.StatusGatewayTimeout {
		return fmt.Errorf("%w: %s", errSlow, answer.Status)
	}
	if answer.StatusCode != http.StatusOK {
		return status(answer.StatusCode, "a query", fmt.Errorf("GitHub answered a query with %s", answer.Status))
	}
	var faults graphQLError
	envelope := struct {
		Data   any            `json:"data"`
		Errors jsontext.Value `json:"errors"`
	}{Data: out}
	if err := json.UnmarshalRead(answer.Body, &envelope); err != nil {
		return fmt.Errorf("reading GitHub's answer to a query: %w", err)
	}
	if len(envelope.Errors) == 0 || string(envelope.Errors) == "null" {
		return nil
	}
	if err := json.Unmarshal(envelope.Errors, &faults.Errors); err != nil {
		return fmt.Errorf("reading GitHub's errors: %w", err)
	}
	if len(faults.Errors) == 0 {
		return nil
	}
	for _, e := range faults.Errors {
		if e.Type == "RATE_LIMITED" || e.Type == "RATE_LIMIT" { // GitHub has written both
			until := c.cfg.Now().Add(minPause)
			if n, err := strconv.ParseInt(answer.Header.Get("X-Ratelimit-Reset"), 10, 64); err == nil && answer.Header.Get("X-Ratelimit-Remaining") == "0" {
				until = time.Unix(n, 0)
			}
			c.budget(r.installation).hold(until)
			c.tellOthers(ctx, r.installation, until)
			return &RateLimited{Until: until}
		}
	}
	if faults.all("FORBIDDEN") {
		c.forget(r.installation, r.id) // the token may be from before a permission was granted
	}
	return &faults
}
