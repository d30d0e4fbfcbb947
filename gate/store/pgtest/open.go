package pgtest

import "os"

// ErrNone says that there is no PostgreSQL on this machine.
var ErrNone = errNone

// Open starts a server for a program that is no test; [Server.Close] ends it. The error
// is [ErrNone] where the machine has no PostgreSQL.
func Open() (*Server, error) { return newServer(false) }

// Close stops the server and removes its files.
func (s *Server) Close() error {
	s.Stop()
	return os.RemoveAll(s.folder)
}

// Admin is the URL of a database for the superuser, URL that for another role.
func (s *Server) Admin(database string) string { return s.url("root", "super", database, "") }

// URL is that of a database for a role.
func (s *Server) URL(role, password, database string) string {
	return s.url(role, password, database, "")
}
