// Sallyport-app is the GitHub App's server: it takes GitHub's events, has changes
// judged, and makes GitHub show what follows.
//
// stdout is the result, stderr is for people and the log. Settings are environment
// variables or flags of the same names.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/sallyport/sallyport/cmd/sallyport-app/server"
	"github.com/sallyport/sallyport/gate"
)

// version is what a release's build sets it to.
var version string

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
	if looks, err := server.Looks(os.Args[1:], os.Stdin, os.Stdout); looks {
		if err != nil {
			os.Exit(ExitError)
		}
		return
	}
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	looker, err := server.Looker()
	if err != nil {
		fmt.Fprintln(os.Stderr, "sallyport-app:", err)
		os.Exit(ExitError)
	}
	code := Main(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr, looker)
	looker.Close()
	stop()
	os.Exit(code)
}

// Main runs one command until it is done or ctx ends, and returns its exit code. Look
// reads migrations for a server; nil reads none.
func Main(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer, look gate.Statements) int {
	a := &app{getenv: getenv, look: look, stdin: stdin, stdout: stdout, stderr: stderr, flags: map[string]*string{}}
	root := a.root()
	root.SetArgs(args)
	return a.exit(root.ExecuteContext(ctx))
}
