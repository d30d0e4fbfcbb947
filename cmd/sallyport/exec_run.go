package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"time"

	"golang.org/x/term"
)

const (
	// killAfter is how long after the second signal the command is killed. GitHub's
	// runner sends one signal, another 7.5 s later, and kills after 2.5 s more: this
	// leaves time to end the credential.
	killAfter = time.Second
	// endAfter is how long a command has between being told to end at the deadline and
	// being killed.
	endAfter = 5 * time.Second
	// pipeAfter is how long output is waited for that the command's own children hold
	// open.
	pipeAfter = 2 * time.Second
)

// signals are those that end this process unless it takes them.
type signals struct{ c chan os.Signal }

func watchSignals() *signals {
	s := &signals{make(chan os.Signal, 8)}
	signal.Notify(s.c, passed()...)
	return s
}

func (s *signals) stop() { signal.Stop(s.c) }

// whenFirst does something at the first signal, until the function that it returns was
// called. That signal then counts as taken.
func (s *signals) whenFirst(do func()) (stop func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends at a signal, or when it is stopped
		defer close(ended)
		select {
		case <-s.c:
			do()
		case <-over:
		}
	}()
	return func() { close(over); <-ended }
}

// run runs the command to its end and returns its exit code. Only the command gets the
// credentials.
func (s *session) run(signals *signals, path string, args []string) (int, error) {
	cmd := exec.CommandContext(context.Background(), path) // nothing but a signal or the deadline ends it
	cmd.Args = args
	cmd.Env = childEnv(s.app.env, s.vars, s.options.keepOIDC)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.stdin, s.stdout, s.stderr
	cmd.WaitDelay = pipeAfter
	// At a terminal it stays in the terminal's own group, which may read from it, and
	// gets the terminal's signals by itself.
	in, ok := s.stdin.(*os.File)
	own := !ok || !term.IsTerminal(int(in.Fd()))
	group(cmd, own)
	if err := cmd.Start(); err != nil {
		code := exitCannotRun
		if errors.Is(err, fs.ErrNotExist) {
			code = exitNotFound
		}
		return code, fmt.Errorf("the command was not started: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }() // ends with the command, for which the loop waits
	deadline := time.NewTimer(time.Until(s.deadline()))
	defer deadline.Stop()
	var kill <-chan time.Time
	taken := 0
	for {
		select {
		case err := <-done:
			return commandCode(cmd.ProcessState, err)
		case sig := <-signals.c:
			if taken++; taken == 2 {
				kill = time.After(killAfter)
			}
			if own || !fromTerminal(sig) {
				send(cmd, sig, own)
			}
		case <-deadline.C:
			s.warn("the credential's time is over: what the command does with it from now on fails")
			if s.options.kill {
				end(cmd, own)
				kill = time.After(endAfter)
			}
		case <-kill:
			killAll(cmd, own)
		}
	}
}

// deadline is when the first of the credentials ends.
func (s *session) deadline() time.Time {
	first := s.leases[0].ExpiresAt
	for _, l := range s.leases[1:] {
		if l.ExpiresAt.Before(first) {
			first = l.ExpiresAt
		}
	}
	return first
}

// commandCode is the code of a command that was waited for.
func commandCode(state *os.ProcessState, err error) (int, error) {
	if state == nil {
		return ExitError, fmt.Errorf("waiting for the command: %w", err)
	}
	if code := state.ExitCode(); code >= 0 {
		return code, nil
	}
	return exitSignal + signalOf(state), nil
}
