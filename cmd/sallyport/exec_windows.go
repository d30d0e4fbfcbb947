package main

import (
	"os"
	"os/exec"
	"syscall"
)

// passed are the signals that are taken. Windows has the interrupt of a console, which
// the command gets by itself, and closing it, which Go shows as SIGTERM.
func passed() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

// fromTerminal: the console sends all of them to every process in it.
func fromTerminal(os.Signal) bool { return true }

// group leaves the command in this console's group: in one of its own it would not see
// the interrupt.
func group(*exec.Cmd, bool) {}

// send does nothing: the console did it.
func send(*exec.Cmd, os.Signal, bool) {}

// end ends the command: Windows has no way to ask.
func end(cmd *exec.Cmd, _ bool) { killAll(cmd, false) }

// killAll ends the command. An error means that it has ended.
func killAll(cmd *exec.Cmd, _ bool) { _ = cmd.Process.Kill() }

// signalOf: no process ends by a signal.
func signalOf(*os.ProcessState) int { return 0 }
