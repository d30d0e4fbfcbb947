// Package served runs sallyport-app, the program that people run, as a process with a
// database of its own, for the programs here that watch it from outside. It cannot be
// built into them: policy-bot and it need different versions of a library.
//
// Set Program and Dir, choose an address or leave that to the server, then Configure,
// Start, and Adopt once it is ready. End and Close are for after an error too.
package served

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/store"
)

// Server is one sallyport-app. One goroutine starts and ends it.
type Server struct {
	Program string       // path of sallyport-app
	Dir     string       // has the database, and is removed by Close
	Address string       // host and port: chosen before Start, or empty, and the server chooses
	Store   *store.Store // the server's, to see what work is left; opened by Adopt

	environment []string
	cancel      context.CancelFunc
	ended       chan struct{} // closed when the process and its log have ended
	wrong       error         // what the process ended with; set before ended is closed
	log         []string      // its last lines; not read until ended is closed
}

// Build builds sallyport-app in its own module, with the versions that it is released
// with, and gives its path.
func Build(ctx context.Context, dir string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sallyport/sallyport").Output()
	if err != nil {
		return "", fmt.Errorf("looking for the module (run this in bench/): %w", err)
	}
	program := filepath.Join(dir, "sallyport-app")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/sallyport-app")
	cmd.Dir = strings.TrimSpace(string(root))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building sallyport-app: %w\n%s", err, out)
	}
	return program, nil
}

// ChooseAddress chooses an address that is free now, for a server that must know its
// URL or is started again.
func (s *Server) ChooseAddress(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.Address = l.Addr().String()
	return l.Close()
}

// Database is the path of the database.
func (s *Server) Database() string { return filepath.Join(s.Dir, "sallyport.db") }

// Configure makes the settings: those that come of the address, the database, the
// GitHub and the App, and more, by their names without SALLYPORT_.
func (s *Server) Configure(g *githubtest.GitHub, app *githubtest.App, more map[string]string) {
	settings := map[string]string{
		"URL": "http://127.0.0.1", "LISTEN": "127.0.0.1:0", "DATABASE_URL": "sqlite:" + s.Database(),
		"APP_ID": strconv.FormatInt(app.ID, 10), "PRIVATE_KEY": string(app.KeyPEM()), "GITHUB_API_URL": g.URL(),
	}
	if s.Address != "" {
		settings["URL"], settings["LISTEN"] = "http://"+s.Address, s.Address
	}
	maps.Copy(settings, more)
	for name, value := range settings {
		s.environment = append(s.environment, "SALLYPORT_"+name+"="+value)
	}
}

// Start starts the server, which runs until End or the end of ctx. Without an address
// it returns once the log says where the server listens.
func (s *Server) Start(ctx context.Context) error {
	ctx, s.cancel = context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, s.Program, "serve")
	cmd.Env = s.environment
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 15 * time.Second
	log, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	listens := make(chan string, 1)
	go func() {
		defer close(s.ended)
		err := s.read(log, listens)
		s.wrong = errors.Join(cmd.Wait(), err)
	}()
	if s.Address != "" {
		return nil
	}
	select {
	case s.Address = <-listens:
		return nil
	case <-s.ended:
		return fmt.Errorf("it ended before it listened: %s", strings.Join(s.log, "\n"))
	}
}

// read keeps the last lines of the log until it ends, and tells where the server
// listens.
func (s *Server) read(log io.Reader, listens chan<- string) error {
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			line = strings.TrimSuffix(line, "\n")
			s.log = append(s.log, line)
		}
		if len(s.log) > 200 {
			s.log = s.log[100:]
		}
		if _, rest, found := strings.Cut(line, "msg=listening address="); found {
			address, _, _ := strings.Cut(rest, " ")
			select {
			case listens <- address:
			default:
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Ended is closed when the server has ended; Err then says with what.
func (s *Server) Ended() <-chan struct{} { return s.ended }

// Err says with what the server ended, and what it logged last. It is for a server that
// was not told to end, once Ended is closed.
func (s *Server) Err() error {
	return fmt.Errorf("the server ended: %w\n%s", s.wrong, strings.Join(s.log[max(0, len(s.log)-10):], "\n"))
}

// Adopt has the policies of repositories adopted, and opens the store.
func (s *Server) Adopt(ctx context.Context, repositories ...string) error {
	for _, r := range repositories {
		adopt := exec.CommandContext(ctx, s.Program, "adopt", "--yes", r)
		adopt.Env = s.environment
		if out, err := adopt.CombinedOutput(); err != nil {
			return fmt.Errorf("adopting the policy: %w\n%s", err, out)
		}
	}
	var err error
	s.Store, err = store.Open(ctx, store.Config{Path: s.Database(), MustExist: true})
	return err
}

// Get reads a page of the server. Any answer but 200 is an error.
func (s *Server) Get(ctx context.Context, path string) (string, error) {
	answer, err := s.ask(ctx, path)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 4<<20))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", path, answer.Status)
	}
	return string(body), err
}

// Ready reports whether the server says that it is ready. No answer is an error.
func (s *Server) Ready(ctx context.Context) (bool, error) {
	answer, err := s.ask(ctx, "/readyz")
	if err != nil {
		return false, err
	}
	return answer.StatusCode == http.StatusOK, answer.Body.Close()
}

func (s *Server) ask(ctx context.Context, path string) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Address+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	client := http.Client{Timeout: 10 * time.Second}
	return client.Do(q)
}

// End ends the process as an operator does, if it was started. It gives what the
// process ended with, unless it obeyed.
func (s *Server) End() error {
	if s.ended == nil {
		return nil
	}
	s.cancel()
	<-s.ended
	// Interrupted, it ends with 0, and Wait then gives the context's error.
	if errors.Is(s.wrong, context.Canceled) {
		return nil
	}
	return s.wrong
}

// Close closes the store and removes Dir, after End.
func (s *Server) Close() error {
	var err error
	if s.Store != nil {
		err = s.Store.Close()
	}
	if s.Dir != "" {
		err = errors.Join(err, os.RemoveAll(s.Dir))
	}
	return err
}

// Until asks every so often until something is so, or gives what went wrong.
func Until(ctx context.Context, every time.Duration, so func() (bool, error)) error {
	for {
		if ok, err := so(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// Within is Until with a time that it may take at most, after which it says what was
// waited for in vain.
func Within(ctx context.Context, most, every time.Duration, what string, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	err := Until(ctx, every, so)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("waited in vain until %s: %w", what, err)
	}
	return err
}
