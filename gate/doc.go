// Package gate is the verbs: it reads facts, has rules judge them, and makes GitHub
// show what follows.
//
//	g, err := gate.New(ctx, gate.Config{GitHub: client, Store: store, Ledger: log})
//	go g.Run(ctx)      // workers and the sweep, until ctx ends
//	g.Wake()           // after a delivery was stored
//
// # A tour
//
// An event only marks a key: look at this again. [Gate.Run] takes marked keys one
// by one, each leased to one worker, and hands them to [Gate.Reconcile] (work.go),
// which knows a function for each kind of key:
//
//	pull.go          one pull request: the merge door
//	head.go          what the check run at one commit says: the strictest of all
//	                 pull requests that stand there
//	mergegroup.go    one group of a merge queue
//	run.go           one workflow run and what is held in it: the deploy door
//	repository.go    a repository's policy: which version is in force, and why
//	installation.go  which repositories there are
//
// Beside them, what a job asks for itself: hold.go whether it may go on, lease.go a
// credential.
//
// Each goes through the same six steps:
//
//  1. read facts: facts.go gathers one snapshot of a pull request, range.go what a
//     deployment brings, words.go who spoke on it, policies.go the versions in force
//  2. rules.Decide…: pure
//  3. plan*.go: what GitHub should show, less what it shows; pure, often empty
//  4. record.go: the decision and its effects into the ledger and the store, in one
//     transaction; where that fails nothing is opened
//  5. effects.go: effects are applied, each keyed and bound to the commit it was
//     decided for
//  6. record.go: what became of them
//
// Doing it twice changes nothing. A crash between any two steps leaves the key
// leased; when the lease runs out another worker does it again, finds by the facts
// what was done already, and does the rest. show*.go render a decision for people.
// alerts.go tells people what waits for them and what should not have happened.
// sweep.go finds what no event told of, and asks GitHub to send again what did not
// arrive; standing.go finds by one list what differs about the pull requests that
// stand open.
package gate
