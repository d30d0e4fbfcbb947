// Package postgres gives each lease a login role of its own in a PostgreSQL database
// (15 or later), and ends it.
//
//	p, err := postgres.New(target.Postgres, target.Private, postgres.Config{})
//	err = p.Check(ctx) // says what an administrator must change, with the statement to run
//	values, _, err := p.Mint(ctx, lease)
//	err = p.Revoke(ctx, lease, nil)
//
// # What a lease is
//
// The role sallyport_ID, where ID is the lease's: member of the group that the targets
// file names for the capability, and of nothing else; it is never granted anything
// itself, so that no shared row is written and leases in parallel do not hinder each
// other. It is made in one transaction, with a comment that carries the lease and its
// deadline: the database alone is enough to clean up. Its password is random; the
// server is sent only what verifies it (RFC 5803), so that the password is in no log
// of the server.
//
// # What ends it
//
// Neither VALID UNTIL nor DROP ROLE ends an open session. [Provider.Revoke] takes the
// login away, ends the sessions, and drops the role, each in a transaction of its own
// that may be repeated. The same is done at the deadline by the watchdog: one block of
// PL/pgSQL that runs inside the server and has no client from the moment it runs, so
// that it makes no difference to it whether the broker lives. A mint succeeds only
// while a watchdog is on guard. [Provider.Sweep] starts it again after the server was
// restarted.
//
// # Known gaps
//
// docs/postgres.md says what cannot be promised. The most important: if the server
// restarts while the broker is dead, VALID UNTIL still stops new logins at the
// deadline, but a session opened after the restart and before the deadline lasts until
// the broker is back.
//
// # What the controller of the database could do at worst
//
// Refuse service, and keep leases alive in that database. It learns no password: the
// broker proves its own without showing it (SCRAM), except to a server whose
// certificate was verified and that asks for it in plain text.
package postgres
