// Package githubtest is an in-memory GitHub at the HTTP edge, for tests and the
// demo. It answers REST, GraphQL, webhooks and the Actions OIDC issuer out of one
// small model, and it complains.
//
//	g := githubtest.Start(t)                     // fails t if anybody used it wrongly
//	acme := g.Organization("acme")
//	alice := g.User("alice")
//	repo := g.Repository(acme, "orders")
//	repo.Collaborator(alice, "write")
//	app := g.App(githubtest.AppConfig{Slug: "sallyport", Permissions: …, Events: …, WebhookURL: …, Secret: …})
//	app.Install(acme, repo)
//	repo.CommitTo(alice, "fix", "Fix it", map[string]string{"a.go": "package a\n"})
//	pull, err := repo.OpenPull(alice, githubtest.PullSpec{Head: "fix", Title: "Fix it"})
//	g.Settle(t.Context())                        // every webhook has been delivered
//
// # Building and acting
//
// Functions that build state (Organization, Repository, Protect, …) panic when they
// are misused: that is a mistake in the test. Functions that act as somebody
// (OpenPull, Review, Merge, Approve, …) return the error that GitHub's API would
// give, a *[Refusal]. Both kinds send the webhooks that GitHub would send.
//
// # Complaining
//
// Whatever a careful client never does is recorded as a violation: a route that is
// not known, an unknown field or query parameter, a review without commit_id, a
// missing User-Agent or Accept header, a call that the token's permissions do not
// cover, a write that GitHub would cut short. [Start] fails the test for each;
// [GitHub.Violations] lists them, and [GitHub.Allow] names those that a test means
// to provoke. [GitHub.Requests] lists every request, for counting, and
// [GitHub.Secrets] every secret, for finding where it must not be.
//
// # Failing
//
// [GitHub.Fail] arms faults of both kinds: what was not done (5xx, a reset or hanging
// connection) and what was done but not answered. [App.Fate] loses, doubles,
// reorders and holds back webhooks. Reads may be stale after writes.
//
// # Map of the files
//
// people, repos, git, diff, refs, pulls, reviews, merge, checks, actions,
// deployments and apps are the model; view_* render it as GitHub does; rest_* answer
// the routes; graphql* execute queries over it; http, auth, limits and faults are
// the edge; events and deliveries are the webhooks; oidc is the issuer; login is signing in
// by a device's code; secrets is every secret there was; manifest is the pages on which an App is registered and installed.
//
// # What it does not know
//
// Posture endpoints (secrets, runners, Actions settings) and signing in by a browser
// are absent: they answer 404 and count as a violation. Review
// comments on lines are accepted and not kept. A stale read repeats the last
// answer that the same caller got for the same URL, so a first read is never stale.
package githubtest
