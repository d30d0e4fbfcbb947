// Store measures the store on PostgreSQL: deliveries accepted a second by one replica
// and by three, each with 64 callers, beside PostgreSQL's own best for the same rows;
// and how soon a store with a long ledger opens, on both databases. It starts a
// PostgreSQL of its own, of Debian's programs.
//
//	go run ./store [-rounds 5] [-deliveries 3000] [-entries 1000000]
package main
