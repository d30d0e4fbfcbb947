package main

import (
	"bufio"
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
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/store"
)

// serveEnv has the folder of the process that serves.
const serveEnv = "SALLYPORT_BENCH_SERVE"

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

// server is a process that serves, seen from outside.
type server struct {
	cmd   *exec.Cmd
	stdin io.Closer
	addr  string
}

func startServer(ctx context.Context, folder string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{cmd: exec.CommandContext(ctx, self)}
	s.cmd.Env = append(os.Environ(), serveEnv+"="+folder)
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

// used is the processor time that the process took in all, once it is stopped.
func (s *server) used() time.Duration {
	return s.cmd.ProcessState.UserTime() + s.cmd.ProcessState.SystemTime()
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
