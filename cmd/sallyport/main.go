// Sallyport says who wrote a change, which environments it touches, what it
// needs from whom, and why.
//
// Conventions of this program: stdout is the result, stderr is for people, "-"
// is a standard stream, nothing asks questions, and every command ends with one
// of the exit codes below.
package main

import (
	"io"
	"os"
)

// The exit codes of every command.
const (
	// ExitOK means that nothing is needed.
	ExitOK = 0
	// ExitError is anything that is none of the others: no repository, a file
	// that cannot be read, a bad line of classify's input.
	ExitError = 1
	// ExitUsage means that the command line or a policy is wrong.
	ExitUsage = 2
	// ExitHuman means that a human is needed, or that something was found.
	ExitHuman = 3
)

func main() {
	os.Exit(Main(os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// Main runs one command and returns its exit code.
func Main(args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := newApp(env, stdin, stdout, stderr)
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	return a.exit(cmd, err)
}
