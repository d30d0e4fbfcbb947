// Command soak runs the server for a long time while GitHub fails, and watches whether
// its memory and its queue stay what they are.
//
//	cd bench && go run ./soak -for 1h
//
// GitHub is gate/github/githubtest, in memory, on a loopback port; the server is
// sallyport-app, a process with a database of its own. GitHub fails in both ways, and
// loses, doubles, delays and misreports webhooks. Meanwhile agents open pull requests,
// people approve them, merge, press buttons and deploy, and jobs ask for a token and end
// it. It ends with 1 where something grows, or where something that must hold did not:
// bench/README.md says what.
package main
