// Package statements points out the statements of an SQL migration that deserve a
// second look: what drops, rewrites, locks, opens or hides something.
//
//	worker := statements.NewWorker(program, "look-at-statements")
//	defer worker.Close()
//	findings, parsed, why := worker.Look(ctx, "migrations/7_orders.sql", text)
//
// It reads with PostgreSQL's own grammar (libpg_query 17, compiled to WebAssembly),
// and says that nothing is known where that grammar does not fit: a migration for
// MySQL, a file with commands of psql, a template.
//
// # Why a process of its own
//
// [Look] is the reading itself, and [Worker] is what a server uses. The parser is
// C: it takes about 250 MB for the seconds in which it is compiled, keeps 25 to 50
// MB from then on, cannot be interrupted, and stops for ever once its small stack
// overflowed. While it runs, Go cannot stop the world, so a parse that does not end
// would halt everything else in its process. The limits of this package keep well
// below the nesting that overflows it; the process of a Worker, which has no
// secrets, is killed when it takes too long and when nobody asks for a minute.
//
// # What is not seen
//
//   - What a function, a DO block or a dynamic EXECUTE does; that there is one is a
//     finding.
//   - Whether a statement runs: a migration tool may run one part of a file (its "up"
//     part). Everything is reported; no part counts as harmless, since the marks
//     that divide a file are comments which only one tool obeys.
//   - What another database makes of the same text. Where such readings are known
//     to differ (comments in comments, comments that MySQL runs, a backslash before
//     a quote) that is a finding.
//   - Locks on tables that the same file made are not reported. A client that goes
//     on after an error could make one fail on purpose; drops are reported anyway.
package statements
