package github

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// errTooLong means that a list did not end.
var errTooLong = errors.New("GitHub's list is longer than anything that is read")

// graphQLError is an answer with errors in it: no fact.
type graphQLError struct {
	Errors []struct {
		Type    string         `json:"type"`
		Message string         `json:"message"`
		Path    jsontext.Value `json:"path"`
	} `json:"errors"`
}

func (e *graphQLError) Error() string {
	var all []string
	for _, x := range e.Errors {
		all = append(all, x.Type+" "+x.Message)
	}
	return "GitHub answered a query with errors: " + strings.Join(all, "; ")
}

// below reports whether all errors are below a field.
func (e *graphQLError) below(field string) bool {
	for _, x := range e.Errors {
		if !strings.Contains(string(x.Path), `"`+field+`"`) {
			return false
		}
	}
	return len(e.Errors) > 0
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
	if answer.StatusCode != http.StatusOK {
		return c.status(answer, "a query", fmt.Errorf("GitHub answered a query with %s", answer.Status))
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
		switch e.Type {
		case "RATE_LIMITED":
			return &RateLimited{Until: c.cfg.Now().Add(minPause)}
		case "NOT_FOUND":
			return fmt.Errorf("%w: %s", ErrNotFound, e.Message)
		}
	}
	return &faults
}
