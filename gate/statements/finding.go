package statements

import (
	"path"
	"strings"
	"unicode"
)

// Kind says why a statement deserves a second look. The values are stored and
// shown to machines: they may be added to and never changed.
type Kind string

// The kinds of findings.
const (
	Drop       Kind = "drop"       // loses data, or what others read
	Truncate   Kind = "truncate"   // empties a table
	Unfiltered Kind = "unfiltered" // changes or deletes every row
	Rewrite    Kind = "rewrite"    // rewrites or scans a table, or builds an index, under a lock
	Lock       Kind = "lock"       // locks a table by name
	Rename     Kind = "rename"     // takes a name away from those who use it
	Privileges Kind = "privileges" // changes who may do what
	Guard      Kind = "guard"      // switches off a trigger, a rule or row security
	Server     Kind = "server"     // reaches programs, files or other servers
	Hidden     Kind = "hidden"     // may do more than what was read
	More       Kind = "more"       // how many findings were left out
)

// Finding is a statement that deserves a second look.
type Finding struct {
	// Line is where the statement begins, from 1.
	Line int  `json:"line"`
	Kind Kind `json:"kind"`
	// Object is the table, schema or other thing by the name that the statement
	// uses, at most 100 characters; empty where it has none. Whoever wrote the
	// migration chose it: escape it where that matters.
	Object string `json:"object,omitempty"`
	// Text is what the statement does, as in "drops table orders".
	Text string `json:"text"`
}

// IsMigration reports whether a path is that of an SQL file.
func IsMigration(file string) bool {
	return strings.EqualFold(path.Ext(file), ".sql")
}

// printable makes what a migration's author wrote fit for one line: at most 100
// characters, none of which moves or hides others.
func printable(s string) string {
	const most = 100
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == most {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}
