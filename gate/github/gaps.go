package github

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	gh "github.com/google/go-github/v62/github"
)

// This file is the bridge over what go-github v62 lacks or does otherwise than
// GitHub: the path of a workflow run, the activity of a branch, App ids of required
// checks, the App behind a comment, and names that have to be escaped in a path.
// GraphQL, which it lacks altogether, is in graphql.go.

// get asks for something below the repository. More says that there is another
// page.
func (r *Repository) get(ctx context.Context, path string, out any) (more bool, err error) {
	answer, err := r.send(ctx, http.MethodGet, r.path(path), nil, out)
	if err != nil {
		return false, err
	}
	return answer.NextPage != 0, nil
}

// path is the path of something below the repository.
func (r *Repository) path(path string) string {
	return "repos/" + url.PathEscape(r.owner) + "/" + url.PathEscape(r.name) + "/" + path
}

// escapePath is a path within a repository, escaped but for its slashes.
func escapePath(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// send sends one REST request with the repository's token.
func (r *Repository) send(ctx context.Context, method, path string, body, out any) (*gh.Response, error) {
	rest, err := r.rest()
	if err != nil {
		return nil, err
	}
	q, err := rest.NewRequest(method, path, body)
	if err != nil {
		return nil, err
	}
	answer, err := rest.Do(ctx, q, out)
	if err != nil {
		return nil, r.client.understand(ctx, err)
	}
	return answer, nil
}
