package statements

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	// maxFrame is more than maxText as JSON, where a byte takes six at most.
	maxFrame = 6*maxText + 64<<10
	// maxStart is how long the parser may take to be compiled: 2.4 s on two idle
	// cores, 12 s on two busy ones, four times that under the race detector.
	maxStart = 3 * time.Minute
	// maxLook is how long one file may take; the slowest one that the limits let
	// through takes a tenth of it.
	maxLook = 2 * time.Second
	// idle is how long a process is kept for the next file.
	idle = time.Minute
)

// question and answer are what a Worker and its process say to each other.
type question struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

type answer struct {
	Findings []Finding `json:"findings"`
	Parsed   bool      `json:"parsed"`
	Why      string    `json:"why"`
}

// Worker runs [Look] in a process of its own, for the reasons that the package's
// comment gives. It starts one when it is first asked, and again after that one was
// killed for taking too long or for having nothing to do. It is safe for concurrent
// use; files are read one after another.
type Worker struct {
	command []string
	// turn is held by whoever uses the rest, for as long as a file takes.
	turn  chan struct{}
	child *child
	used  time.Time
}

// NewWorker makes a Worker that runs a program with arguments. The program must
// call [Serve] with its standard streams and end when that returns. It gets no
// environment variable of this process.
func NewWorker(program string, args ...string) *Worker {
	return &Worker{command: append([]string{program}, args...), turn: make(chan struct{}, 1)}
}

// Look is [Look] in the process of this Worker. It takes at most two seconds once
// the parser is ready; until then it waits for as long as ctx does.
func (w *Worker) Look(ctx context.Context, name, text string) (findings []Finding, parsed bool, why string) {
	unread := func(why string) ([]Finding, bool, string) {
		return nil, false, printable(name) + ":1: " + why
	}
	if _, line, problem := readable(text); problem != "" {
		return nil, false, fmt.Sprintf("%s:%d: %s", printable(name), line, problem)
	}
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return unread("the SQL parser was busy until time ran out; ask again")
	}
	defer func() { <-w.turn }()
	if w.child != nil && w.child.over() {
		w.stopLocked()
	}
	if w.child == nil {
		c, err := start(w.command)
		if err != nil {
			return unread(fmt.Sprintf("the SQL parser could not be started: %v", err))
		}
		w.child = c
	}
	// A process that is not ready yet is left to become so for the next one who asks.
	select {
	case <-w.child.ready:
	case <-ctx.Done():
		w.restLocked()
		return unread("the SQL parser is still starting; ask again")
	}
	a, err := w.child.ask(ctx, question{printable(name), text})
	if err != nil {
		w.stopLocked()
		return unread(fmt.Sprintf("the SQL parser was stopped: %v", err))
	}
	w.restLocked()
	return a.Findings, a.Parsed, a.Why
}

// Close ends the process, if there is one, and waits for it.
func (w *Worker) Close() {
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	w.stopLocked()
}

func (w *Worker) stopLocked() {
	if w.child != nil {
		w.child.stop()
		w.child = nil
	}
}

// restLocked sees to it that the process ends if nobody asks for a while.
func (w *Worker) restLocked() {
	now := time.Now()
	w.used = now
	time.AfterFunc(idle, func() {
		w.turn <- struct{}{}
		defer func() { <-w.turn }()
		if w.used.Equal(now) {
			w.stopLocked()
		}
	})
}

// child is a process that runs Serve.
type child struct {
	cancel context.CancelFunc
	in     io.WriteCloser
	out    *bufio.Reader
	// ready is closed when the process can be asked, or is over.
	ready chan struct{}
	// ended is closed when it is over.
	ended chan struct{}
	wait  func() error
}

func start(command []string) (*child, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // G204: our own program, as its main says
	// One core for the parser and one for what watches it; and no secrets.
	cmd.Env = []string{"GOMAXPROCS=2"}
	in, err := cmd.StdinPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	c := &child{cancel: cancel, in: in, out: bufio.NewReader(out), ready: make(chan struct{}), ended: make(chan struct{}), wait: cmd.Wait}
	go func() {
		defer close(c.ready)
		late := time.AfterFunc(maxStart, cancel)
		defer late.Stop()
		if err := readFrame(c.out, &answer{}); err != nil {
			close(c.ended)
		}
	}()
	return c, nil
}

// over reports whether the process ended before it was ready.
func (c *child) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

func (c *child) ask(ctx context.Context, q question) (answer, error) {
	if c.over() {
		return answer{}, errors.New("it ended while it started")
	}
	ctx, cancel := context.WithTimeout(ctx, maxLook)
	defer cancel()
	var a answer
	done := make(chan error, 1)
	go func() {
		err := writeFrame(c.in, q)
		if err == nil {
			err = readFrame(c.out, &a)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return a, err
	case <-ctx.Done():
		c.cancel() // ends the process and with it the goroutine
		err := <-done
		if err == nil {
			err = ctx.Err()
		}
		return answer{}, fmt.Errorf("it did not finish in time: %w", err)
	}
}

func (c *child) stop() {
	c.cancel()
	_ = c.in.Close() // the process is gone
	<-c.ready
	_ = c.wait() // it was killed, which is an error
}

// Serve answers a [Worker] until its end of the streams is closed: call it from
// main, with standard input and output, and end the process when it returns. It
// gives up on a file that takes too long, so that a process whose Worker is gone
// does not stay behind.
func Serve(in io.Reader, out io.Writer) error {
	if _, parsed, why := Look(context.Background(), "start", "SELECT 1"); !parsed {
		return errors.New(why)
	}
	if err := writeFrame(out, answer{Parsed: true}); err != nil {
		return err
	}
	for {
		var q question
		if err := readFrame(in, &q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var a answer
		ctx, cancel := context.WithTimeout(context.Background(), maxLook)
		a.Findings, a.Parsed, a.Why = Look(ctx, q.Name, q.Text)
		over := ctx.Err()
		cancel()
		if err := writeFrame(out, a); err != nil {
			return err
		}
		if over != nil {
			return errBusy
		}
		if halted.Load() {
			return errHalted
		}
	}
}

// writeFrame writes a value as JSON behind its length in four bytes.
func writeFrame(w io.Writer, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if len(body) > maxFrame {
		return fmt.Errorf("a message of %d bytes is too long", len(body))
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))) //nolint:gosec // G115: at most maxFrame
	_, err = w.Write(append(frame, body...))
	return err
}

// readFrame reads what writeFrame wrote. io.EOF means that there is no more.
func readFrame(r io.Reader, value any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxFrame {
		return fmt.Errorf("a message of %d bytes is too long", size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, value)
}
