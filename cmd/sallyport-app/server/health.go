package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// pingKept is for how long one try to write counts, however many ask; pingTime is
	// how long whoever asks waits for it.
	pingKept = time.Second
	pingTime = 2 * time.Second
	// errKept is for how long a failed try counts: not long, so that what is back is seen
	// soon.
	errKept = time.Second
	// askTime ends a try that nobody waits for any more.
	askTime = 10 * time.Second
)

var (
	// errSlow says that there was no answer in time.
	errSlow = errors.New("there was no answer in time")
	// errStopping says that the server ends.
	errStopping = errors.New("the server is stopping")
)

// fresh is the answer to a question that costs something. Whoever asks gets one that
// is at most so old, and all who ask together wait for the same one: asking often
// costs no more than asking now and then. Make one with [newFresh], and close it.
type fresh[T any] struct {
	get         func(context.Context) (T, error)
	keep, limit time.Duration
	life        context.Context //nolint:containedctx // of the tries, which are nobody's who asks
	end         context.CancelFunc
	tries       sync.WaitGroup

	// mu guards the rest. It is held for no try.
	mu     sync.Mutex
	closed bool
	value  T
	err    error
	at     time.Time
	done   chan struct{} // closed when the try that is under way ends; nil if none is
}

// newFresh makes a question: an answer is kept for a time, and an error for a second.
// Whoever asks waits at most limit.
func newFresh[T any](keep, limit time.Duration, get func(context.Context) (T, error)) *fresh[T] {
	f := &fresh[T]{get: get, keep: keep, limit: limit}
	f.life, f.end = context.WithCancel(context.Background()) //nolint:gosec // its end is close's
	return f
}

// ask asks.
func (f *fresh[T]) ask(ctx context.Context) (T, error) {
	var none T
	f.mu.Lock()
	switch {
	case f.closed:
		f.mu.Unlock()
		return none, errStopping
	case !f.at.IsZero() && (time.Since(f.at) < errKept || f.err == nil && time.Since(f.at) < f.keep):
		defer f.mu.Unlock()
		return f.value, f.err
	case f.done == nil:
		f.done = make(chan struct{})
		f.tries.Go(f.try)
	}
	done := f.done
	f.mu.Unlock()
	timer := time.NewTimer(f.limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		return none, errSlow
	case <-ctx.Done():
		return none, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.value, f.err
}

func (f *fresh[T]) try() {
	ctx, cancel := context.WithTimeout(f.life, askTime)
	defer cancel()
	value, err := f.get(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.value, f.err, f.at = value, err, time.Now()
	close(f.done)
	f.done = nil
}

// close waits for a try that is under way. Nobody gets an answer afterwards.
func (f *fresh[T]) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.end()
	f.tries.Wait()
}

// alive says that the process lives. It depends on nothing: what is restarted because
// something else is away would not get better by it.
func (x *Server) alive(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "alive") }

// ready says whether deliveries can be stored and worked on: each thing that is in the
// way on a line of its own.
func (x *Server) ready(w http.ResponseWriter, r *http.Request) {
	var missing []string
	if _, err := x.ping.ask(r.Context()); err != nil {
		missing = append(missing, "the database cannot be written: deliveries are answered with 503")
	}
	if x.gate.Load() == nil {
		missing = append(missing, "GitHub was not reached yet, the log says why: deliveries are stored and not worked on")
	}
	if len(missing) > 0 {
		say(w, http.StatusServiceUnavailable, strings.Join(missing, "\n"))
		return
	}
	say(w, http.StatusOK, "ready")
}

func say(w http.ResponseWriter, status int, text string) {
	head := w.Header()
	head.Set("Content-Type", "text/plain; charset=utf-8")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // who asked went away
}
