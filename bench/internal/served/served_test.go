package served

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"
)

// Started with serve, the test is a server: it logs what it is told to, and either
// waits for the interrupt or ends by itself.
func TestMain(m *testing.M) {
	if len(os.Args) != 2 || os.Args[1] != "serve" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	fmt.Fprint(os.Stderr, os.Getenv("SALLYPORT_LOG"))
	if os.Getenv("SALLYPORT_WAIT") == "" {
		os.Exit(3)
	}
	<-ctx.Done()
	stop()
	os.Exit(0)
}

func start(t *testing.T, address string, environment ...string) (*Server, error) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Program: program, Address: address, environment: environment}
	return s, s.Start(t.Context())
}

func TestInterrupted(t *testing.T) {
	s, err := start(t, "", "SALLYPORT_WAIT=yes", "SALLYPORT_LOG=level=INFO msg=listening address=127.0.0.1:7 tls=false\n")
	if err != nil || s.Address != "127.0.0.1:7" {
		t.Errorf("it listens on %q: %v", s.Address, err)
	}
	if err := s.End(); err != nil {
		t.Errorf("it obeyed, and ended with %v", err)
	}
}

// Who ends it may have been told already that it ended.
func TestEndsByItself(t *testing.T) {
	var log strings.Builder
	for i := range 250 {
		fmt.Fprintf(&log, "line %d\n", i)
	}
	s, err := start(t, "127.0.0.1:7", "SALLYPORT_LOG="+log.String())
	if err != nil {
		t.Fatal(err)
	}
	<-s.Ended()
	got := s.Err().Error()
	if !strings.HasPrefix(got, "the server ended: exit status 3\nline 240\n") || !strings.HasSuffix(got, "\nline 249") {
		t.Errorf("%s", got)
	}
	if err := s.End(); err == nil || err.Error() != "exit status 3" {
		t.Errorf("it ended with %v", err)
	}
}

func TestNeverListens(t *testing.T) {
	s, err := start(t, "", "SALLYPORT_LOG=no key\n")
	if err == nil || err.Error() != "it ended before it listened: no key" {
		t.Errorf("%v", err)
	}
	if err := s.End(); err == nil {
		t.Error("an exit status passes for obedience")
	}
}

func TestWithin(t *testing.T) {
	never := func() (bool, error) { return false, nil }
	err := Within(t.Context(), time.Millisecond, time.Millisecond, "pigs fly", never)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "waited in vain until pigs fly: ") {
		t.Errorf("%v", err)
	}
	wrong := errors.New("wrong")
	if err := Within(t.Context(), time.Minute, time.Millisecond, "pigs fly", func() (bool, error) { return false, wrong }); !errors.Is(err, wrong) || err.Error() != "wrong" {
		t.Errorf("%v", err)
	}
}
