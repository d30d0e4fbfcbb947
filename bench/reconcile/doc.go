// Command reconcile measures the sweep: what it costs to keep an eye on 10,000 open pull
// requests, and what it finds when webhooks were lost.
//
//	cd bench && go run ./reconcile
//
// GitHub is gate/github/githubtest, in memory, on a loopback port; the server is
// sallyport-app, a process with a database of its own. Meanwhile pull requests are opened
// and deployments started in another repository, whose webhooks arrive: how long they
// wait is measured. It ends with 1 where a sweep did not find exactly what was lost.
package main
