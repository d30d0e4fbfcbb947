// Package github is the only package that talks to GitHub: facts in, effects out.
//
//	c, err := github.New(github.Config{App: 12345, Key: key, Cache: store})
//	r := c.Repository(installation, id, "acme/orders")
//	p, err := r.Pull(ctx, 7)              // one query: what a decision begins with
//	id, err := r.Approve(ctx, 7, p.Change.Head.SHA, "…")
//
// Tokens are those of an installation, for one repository each, kept until shortly
// before they expire. Each request has a time limit, a bounded answer and no
// redirect to another host. Where the platform says that the answer cannot have
// changed (an ETag) nothing of the hourly budget is spent.
//
// Errors say what a caller does next: [ErrNotFound] (also: no access),
// [ErrForbidden] (a permission is missing), [*RateLimited] (not before a time),
// [*Refused] (no, and asking again will not help). Any other error leaves open
// whether GitHub acted. An answer of GraphQL with errors in it is no fact.
package github
