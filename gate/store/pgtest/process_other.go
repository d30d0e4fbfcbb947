//go:build !linux

package pgtest

import "syscall"

// become does nothing: elsewhere tests do not run as root.
func become(*syscall.SysProcAttr, int, int) {}

// endWithParent does nothing: the system has no such thing. Run stops the server.
func endWithParent(*syscall.SysProcAttr) {}
