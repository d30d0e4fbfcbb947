// Package selftest walks every door of a running server on a real GitHub, in a scratch
// repository, and says what GitHub did where its documentation leaves it open
// (docs/platform-assumptions.md).
//
//	report, err := selftest.Run(ctx, selftest.Config{Repository: "acme/scratch", Confirmed: "acme/scratch", …})
//
// It acts as the App, with a token for the one repository. What an App must not do
// (files of workflows, settings of environments, approvals) it asks a person for, and
// waits. It refuses a repository that is used for anything else.
//
// # Map of the files
//
// selftest.go is the walk's frame, walk.go its doors, clicks.go waits for people and
// runs, facts.go what is observed, files.go what the repository has to hold, wire.go
// the requests, cleanup.go what is taken away again, report.go what is told.
package selftest
