// Package rules holds Sallyport's nouns and its judges.
//
// The nouns are facts: a [Change] (a pull request or a branch), a [Deployment]
// held at an environment, a [LeaseRequest] for a credential, and the
// [Policies] in force. The judges are [DecideChange], [DecideDeployment] and
// [DecideLease]: pure functions from policies and facts to a [Decision]. They
// read no file, no clock and no network; the present moment is a fact like any
// other, so that every decision in the ledger can be judged again and must come
// out the same.
//
// Three rules hold everywhere:
//
//   - What could not be read is a state of a fact ([Unknown], an empty string, a
//     nil list, an incomplete list), never an absence, and leads to the
//     strictest verdict. The zero value of every enumeration is its strictest.
//   - Identity is a numeric id. Names are for people.
//   - A Decision is a tree of reasons. Every surface renders that tree; none
//     composes its own sentence.
//
// The files are a map: facts_* (the nouns), policy_* (.github/sallyport.yml),
// author_* and agents.yml (who wrote a change), decide_* (the judges), reasons
// (what they can say), starter (the policy that suits a repository that has none
// yet). Package paths holds the compiled path patterns.
package rules

//go:generate go run ./internal/generate
