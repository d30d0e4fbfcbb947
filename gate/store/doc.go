// Package store keeps what must outlive the process: deliveries, work to do, facts
// that existed only in an event, policy versions, effects, and the ledger. It is
// one SQLite file, or a database of PostgreSQL that any number of servers share.
//
//	s, err := store.Open(ctx, store.Config{Path: "sallyport.db"}) // or URL
//	defer s.Close()
//	known, err := s.Accept(ctx, delivery)         // a method of Store is one transaction
//	err = s.Update(ctx, func(tx *store.Tx) error { // several things or none of them
//		if err := tx.Once("grant", key, now); err != nil {
//			return err
//		}
//		_, err := tx.PlanEffect(effect)
//		return err
//	})
//
// Everything that a method wrote is on the disk when it returns (WAL,
// synchronous=FULL). There is one writer. It takes up to [MaxGroup] waiting callers
// into one transaction, each in a savepoint of its own, so that one caller's error
// undoes what that caller did and nothing else. Readers have connections of their
// own and see committed states only.
//
// # Two databases, one set of queries
//
// Queries are written once, in what both databases understand, with SQLite's ? and ?1;
// sqlite.go and postgres.go are what differs: how a transaction begins and ends, and
// which errors end it. With PostgreSQL each process has its writer, and every writer's
// transaction begins with the same advisory lock: they come one after the other, as in
// a file, at READ COMMITTED, so that each statement sees what the ones before it have
// committed. A transaction of a server that says nothing any more is ended by the
// database after seconds. A method whose answer was lost returns an error although it
// may have been done: callers ask again, and what may happen once does.
//
// What may happen once is a uniqueness constraint in the transaction that writes
// it. Times come from the caller; the store has no clock.
//
// # What may change without a migration
//
// Stored enumerations (kinds of work, of facts, of effects, states) may be added to
// and never changed. JSON in columns (facts, pins, permissions, decisions) belongs
// to who writes it and may gain members. Everything else is a migration: a new
// entry in the list of migrations, never a change of an old one. A store of a newer
// version than this program knows is refused.
//
// # What the controller of the file could do at worst
//
// Drop work, facts and deliveries (changes then wait until a sweep finds them
// again), mark effects as done that were not, replace a policy in force, forget
// what happened once, or invent facts: it decides what the server believes. It
// cannot read sealed settings, nor rewrite the ledger under a checkpoint that
// somebody has seen. The file is for the server's account alone (mode 0600); the
// database for a role of the servers' own.
package store
