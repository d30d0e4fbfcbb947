package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// asProgram has this test's program be sallyport-app itself.
const asProgram = "SALLYPORT_TEST_AS_PROGRAM"

// fileLimit is how many bytes a file of it may have; "" is any number.
const fileLimit = "SALLYPORT_TEST_FILE_LIMIT"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		if err := limitFiles(os.Getenv(fileLimit)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(ExitError)
		}
		main()
		return
	}
	os.Exit(m.Run())
}

// process is a server in a process of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	log    *buffer
	exited chan struct{}
}

// process starts a server and waits until it is ready.
func (w *world) process(args ...string) *process {
	w.t.Helper()
	p := w.begin(args...)
	w.until("the process is ready", func() bool {
		select {
		case <-p.exited:
			w.t.Fatalf("it ended: %s\n%s", p.cmd.ProcessState, p.log)
		default:
		}
		return w.get("/readyz") == http.StatusOK
	})
	return p
}

// begin starts a server.
func (w *world) begin(args ...string) *process {
	w.t.Helper()
	p := &process{t: w.t, log: &buffer{}, exited: make(chan struct{})}
	p.cmd = exec.CommandContext(context.WithoutCancel(w.t.Context()), os.Args[0], append([]string{"serve"}, args...)...)
	p.cmd.Env = []string{asProgram + "=1", "PATH=" + os.Getenv("PATH")}
	for k, v := range w.env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // its state says how it ended
		close(p.exited)
	}()
	w.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // gone already, mostly
		<-p.exited
	})
	return p
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// end is its exit code, and how long it took from now until then.
func (p *process) end(most time.Duration) (code int, took time.Duration) {
	p.t.Helper()
	begun := time.Now()
	select {
	case <-p.exited:
	case <-time.After(most):
		p.t.Fatalf("it does not end within %s:\n%s", most, p.log)
	}
	return p.cmd.ProcessState.ExitCode(), time.Since(begun)
}
