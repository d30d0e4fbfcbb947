package main

import (
	"context"

	"github.com/sallyport/sallyport/bench/internal/served"
)

// A program is a server that decides about pull requests. One value serves one
// scene, and the driver uses it from one goroutine.
type program interface {
	// Name names it in the table.
	Name() string
	// Slug is the slug of its App. Requests are counted by it, so that everything the
	// program asks must be asked as this App or one of its installations.
	Slug() string
	// Start commits its policy to main, makes its App, installs it on the repository,
	// listens on loopback and begins to serve. The policy asks what bench/README.md
	// says. There is no pull request yet. What Start asks of GitHub is not counted,
	// nor what the program does until it is idle for the first time. What githubtest
	// lacks for it Start names with Allow: any other violation ends the measurement.
	Start(ctx context.Context, s *scene) error
	// Hear gives the App its address for webhooks: nothing that happened before is
	// heard of, so that the first event finds the pull request cold.
	Hear()
	// Idle waits until every webhook that was answered so far has been worked off. It
	// gives the first error of a handler, if there was one.
	Idle(ctx context.Context) error
	// Says is what the program shows at a commit: "allow", "wait", or "" for nothing
	// yet. It must not ask as the program's App.
	Says(ctx context.Context, s *scene, sha string) (string, error)
	// Stop ends it; it may be called after a Start that failed.
	Stop() error
}

// programs are all programs, one constructor each, of which the first is compared
// with the others. App is the path of sallyport-app.
func programs(app string) []func() program {
	return []func() program{
		func() program { return &sallyport{Server: served.Server{Program: app}} },
		func() program { return &policyBot{} },
		func() program { return &policyBot{checksElsewhere: true} },
	}
}
