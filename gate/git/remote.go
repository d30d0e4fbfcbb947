package git

import (
	"context"
	"strings"
)

// Remote is the address of the remote "origin" as the repository's configuration has
// it, empty where there is none. It is foreign text: nothing was asked of it.
func (r *Repository) Remote(ctx context.Context) (string, error) {
	// Without --default git ends with 1 where there is none.
	out, err := r.output(ctx, "config", "--default", "", "--get", "remote.origin.url")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}
