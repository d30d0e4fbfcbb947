// Sallyport-app is the GitHub App's server: it takes GitHub's events, has changes
// judged, and makes GitHub show what follows.
//
// stdout is the result, stderr is for people and the log. Settings are environment
// variables or flags of the same names.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// The exit codes of every command.
const (
	// ExitOK means that it ended as it should.
	ExitOK = 0
	// ExitError is anything that is not wrong usage.
	ExitError = 1
	// ExitUsage means that the command line, a setting or a policy is wrong.
	ExitUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Main(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Main runs one command until it is done or ctx ends, and returns its exit code.
func Main(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{getenv: getenv, stdin: stdin, stdout: stdout, stderr: stderr, flags: map[string]*string{}}
	root := a.root()
	root.SetArgs(args)
	return a.exit(root.ExecuteContext(ctx))
}
