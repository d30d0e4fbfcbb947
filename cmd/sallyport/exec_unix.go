//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// passed are the signals that are passed on.
func passed() []os.Signal {
	return []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT}
}

// fromTerminal reports whether a terminal sends a signal to all of its group.
func fromTerminal(s os.Signal) bool { return s == syscall.SIGINT || s == syscall.SIGQUIT }

// group puts the command into a process group of its own.
func group(cmd *exec.Cmd, own bool) {
	if own {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
}

// send sends a signal to the command, and to its group if it has one of its own. An error
// means that it has ended.
func send(cmd *exec.Cmd, s os.Signal, own bool) {
	if n, ok := s.(syscall.Signal); ok && own {
		_ = syscall.Kill(-cmd.Process.Pid, n) // it has ended
		return
	}
	_ = cmd.Process.Signal(s) // it has ended
}

// end asks the command to end.
func end(cmd *exec.Cmd, own bool) { send(cmd, syscall.SIGTERM, own) }

// killAll ends the command and its group.
func killAll(cmd *exec.Cmd, own bool) { send(cmd, syscall.SIGKILL, own) }

// signalOf is the number of the signal that ended a process.
func signalOf(state *os.ProcessState) int {
	if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return int(w.Signal())
	}
	return 0
}
