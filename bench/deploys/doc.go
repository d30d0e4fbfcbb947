// Command deploys measures the deploy door: what one deployment asks of GitHub, and
// how long a job waits after somebody pressed Approve.
//
//	cd bench && go run ./deploys
//
// GitHub is gate/github/githubtest, in memory, on a loopback port; the server is
// sallyport-app, a process. What is counted, and what is not, is in bench/README.md.
package main
