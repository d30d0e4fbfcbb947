package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

const (
	// serveEnv has the folder of the process that serves.
	serveEnv = "SALLYPORT_BENCH_SERVE"
	// unreadEnv has how many deliveries the process stores without reading them, if
	// it is one that does.
	unreadEnv = "SALLYPORT_BENCH_UNREAD"
)

func database(folder string) string { return filepath.Join(folder, "sallyport.db") }

// serve is the process that serves: handler and store, until its standard input
// ends.
func serve(folder string, stdin io.Reader, stdout io.Writer) error {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Path: database(folder)})
	if err != nil {
		return err
	}
	h, err := newHandler(s)
	if count := os.Getenv(unreadEnv); count != "" && err == nil {
		h, err = newUnread(s, count)
	}
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /webhooks/github", h)
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	fmt.Fprintln(stdout, l.Addr())
	_, _ = io.Copy(io.Discard, stdin) // until whoever started it is done
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return s.Close()
}

// newUnread is a handler that only takes a body off the connection and stores what
// was made of it beforehand: what HTTP and the store cost whoever looks at nothing.
func newUnread(s *store.Store, count string) (http.Handler, error) {
	n, err := strconv.Atoi(count)
	if err != nil {
		return nil, err
	}
	payloads, err := load(os.Getenv("SALLYPORT_WEBHOOKS"))
	if err != nil {
		return nil, err
	}
	made := map[string]rules.Delivery{}
	for i := range n {
		d, err := capture(payloads[i%len(payloads)], i)
		if err != nil {
			return nil, err
		}
		made[d.ID] = d
	}
	runtime.GC()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if _, err := s.Accept(r.Context(), made[r.Header.Get("X-GitHub-Delivery")]); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}), nil
}

// server is a process that serves, seen from outside.
type server struct {
	cmd   *exec.Cmd
	stdin io.Closer
	addr  string
}

// startServer starts a process that serves, with a number of deliveries one that
// stores so many without reading them.
func startServer(ctx context.Context, folder string, unread int) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{cmd: exec.CommandContext(ctx, self)}
	s.cmd.Env = append(os.Environ(), serveEnv+"="+folder)
	if unread > 0 {
		s.cmd.Env = append(s.cmd.Env, unreadEnv+"="+strconv.Itoa(unread))
	}
	s.cmd.Stderr = os.Stderr
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(errors.New("the server said no address"), s.stop())
	}
	s.addr = strings.TrimSpace(line)
	return s, nil
}

func (s *server) stop() error {
	_ = s.stdin.Close()
	return s.cmd.Wait()
}

// used is the processor time that the process took so far, from Linux's /proc, whose
// ticks are hundredths of a second.
func (s *server) used() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name, in brackets, is field 2; the times in user and kernel mode are 14 and 15.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/…/stat has %d fields after the name", len(fields))
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	kernel, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+kernel) * 10 * time.Millisecond, errors.Join(err, err2)
}

// processorTime is what this process took so far.
func processorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// commits is how many transactions an open database has had: the counter iChange of
// the header of SQLite's wal-index (https://www.sqlite.org/walformat.html), in the
// machine's byte order.
func commits(folder string) (int64, error) {
	f, err := os.Open(database(folder) + "-shm")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var head [12]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return 0, err
	}
	return int64(binary.NativeEndian.Uint32(head[8:])), nil
}

// resident is a figure of the process from Linux's /proc, in bytes: VmRSS, or
// VmHWM for the most there was.
func (s *server) resident(what string) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, what+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc", what)
}
