// Package acme has sallyport-app get its own certificate from Pebble, the ACME server
// that Let's Encrypt tests clients with, in strict mode and on loopback. It is a module
// of its own, so that what it needs is in no program.
//
//	cd cmd/sallyport-app/acme && go test ./...
package acme
