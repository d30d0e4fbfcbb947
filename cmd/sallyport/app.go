package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// app is what commands share.
type app struct {
	env    []string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	out    style // how stdout is written to
	errs   style // how stderr is written to
}

func newApp(env []string, stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{
		env: env, stdin: stdin, stdout: stdout, stderr: stderr,
		out: newStyle(stdout, env), errs: newStyle(stderr, env),
	}
}

// getenv is the last value of a variable.
func getenv(env []string, key string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(env[i], "="); ok && k == key {
			return v
		}
	}
	return ""
}

// terminal is the terminal's width, and whether w is one.
func terminal(w io.Writer) (int, bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width = defaultWidth
	}
	return width, true
}

// codeError is an error with the exit code that it asks for. A nil err says
// nothing more: everything was said on stdout.
type codeError struct {
	code  int
	err   error
	usage bool // show the usage line too: the command line itself is wrong
}

func (e *codeError) Error() string {
	if e.err == nil {
		return "exit code " + strconv.Itoa(e.code)
	}
	return e.err.Error()
}

func (e *codeError) Unwrap() error { return e.err }

// errHuman ends a command whose result says that a human is needed or that
// something was found.
func errHuman() error { return &codeError{code: ExitHuman} }

// errSaid ends a command with ExitUsage after the problems were printed.
func errSaid() error { return &codeError{code: ExitUsage} }

// usage makes an error of wrong usage.
func usage(format string, args ...any) error {
	return &codeError{ExitUsage, fmt.Errorf(format, args...), true}
}

// refuse makes an error of ExitUsage that is not about how the command is typed.
func refuse(format string, args ...any) error {
	return &codeError{code: ExitUsage, err: fmt.Errorf(format, args...)}
}

// exit says what went wrong and turns an error into an exit code.
func (a *app) exit(cmd *cobra.Command, err error) int {
	if err == nil {
		return ExitOK
	}
	code := ExitError
	var c *codeError
	if errors.As(err, &c) {
		code = c.code
		if c.err == nil {
			return code
		}
	}
	fmt.Fprintf(a.stderr, "%s %s\n", a.errs.bad("sallyport:"), visibleLines(err.Error()))
	if c != nil && c.usage && cmd != nil {
		fmt.Fprintf(a.stderr, "Usage: %s\nHelp:  %s --help\n", cmd.UseLine(), cmd.CommandPath())
	}
	return code
}
