// Package webhook turns GitHub's webhook deliveries into durable requests to look
// at something again, and nothing else.
//
//	h, err := webhook.New(webhook.Config{Secrets: secrets, App: 12345, Store: store})
//	mux.Handle("POST /webhooks/github", h)
//
// A delivery is verified over its raw bytes, reduced to keys and to the few facts
// that exist only in an event, and stored; only then it is answered with 202. What
// concerns nobody is answered with 202 too and not stored.
//
// # What a delivery proves
//
// The signature covers the body. It does not cover the headers: neither the name of
// the event nor the delivery's id. So a captured body can come again under another
// id, and under the name of another event. The first changes nothing, since keys
// coalesce and facts are known by their body's hash. The second is refused where
// the body is not one of that event, and can otherwise only make keys, which cost
// a look. Whoever has the secret can sign anything: a fact that approves therefore
// counts only once GitHub itself confirms it (see [rules.EventFact]).
package webhook
