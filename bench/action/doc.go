// Command action measures what a step of the action costs before it has decided, in one
// run with a Node action of the same kind:
//
//	cd bench && go run ./action
//
// It builds sallyport stripped, makes a pull request in a checkout and in an in-memory
// GitHub, and starts each as the runner starts it: bash with a script for a step of a
// composite action, node with one bundled file for a JavaScript action. No approval action
// is published at npm, so the Node action is one made here: it loads npm's @actions/core and
// @actions/github, as such actions do, reads the pull request, its files and its reviews,
// and sets an output. Samples are taken in turn, and nothing is asserted: it prints medians
// beside the goal.
package main
