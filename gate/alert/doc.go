// Package alert tells people, at the addresses that the server's targets file lists
// under alerts: a Slack incoming webhook or any HTTPS endpoint.
//
//	s, err := alert.New(targets, alert.Config{})
//	for _, to := range s.Names(repository, policy.Alerts) {
//		err := s.Send(ctx, to, message)
//		var failed *alert.Failed // says whether and when to try again
//	}
//
// It sends once and keeps nothing: what must arrive although the process may end is
// the store's, and the caller tries again.
//
// # What keeps things out
//
// A policy can only name targets, and only those that list its repository. An
// address is a secret: it is read from its file for each message, so that a new one
// counts at once, and stands in no error and no log. A connection is refused by the
// address that it is about to be made to, after the name was resolved, so that a name
// which turns to the inside between two looks leads nowhere (see [Config.Control]).
// There is no proxy, no redirect is followed, and an answer is read to its limit and
// shown to nobody. Text in a message is foreign: in Slack it can make no link and
// mention nobody.
//
// Known gap: behind a NAT64 gateway with a prefix of its own, an IPv6 address of
// that prefix looks public and may lead to a private IPv4 address. Only the
// well-known prefixes can be seen through.
//
// # What the controller of an alert's address could do at worst
//
// Read what is sent to it, and keep it from the people whom it was for. Its answers
// decide nothing but when the next try is.
package alert
