// Command accept measures how webhook deliveries are accepted, in one run:
//
//	cd bench && SALLYPORT_WEBHOOKS=/path/to/payloads go run ./accept
//
// It serves the real handler with the real store from a process of its own, sends
// signed payloads over loopback HTTP, and prints accepted deliveries a second beside
// SQLite's own best for the same rows, then latencies and memory at a steady rate.
// The payloads are the files EVENT.….json of a folder, as GitHub's examples are
// named; without one, a few small ones that are built in. Nothing is asserted about
// time.
package main
