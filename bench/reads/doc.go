// Command reads counts what the servers of Sallyport and policy-bot read from
// GitHub for the same events, and prints a table.
//
//	cd bench && go run ./reads
//
// GitHub is gate/github/githubtest, in memory, on a loopback port. What is counted,
// and what is not, is in bench/README.md.
package main
