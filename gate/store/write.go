package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// The states of a job.
const (
	jobWaiting int32 = iota
	jobRunning
	jobGivenUp
)

// job is one caller's write.
type job struct {
	fn func(*Tx) error
	// whole says that fn finds every mistake before it writes anything, so that it
	// needs no savepoint. If it fails after all, the whole group does.
	whole bool
	// first is a statement that fn begins with, see [Tx.first]. It may be run before
	// fn is, together with those of others; then ran says so, and rows how many rows it
	// changed.
	first *statement
	ran   bool
	rows  int64
	state atomic.Int32
	err   error
	// panicked is what fn panicked with; it goes on in the caller.
	panicked any
	done     chan struct{}
}

// Update runs fn in a transaction. Where fn returns nil and Update does too, what
// fn wrote is on the disk; otherwise none of it is. Others' writes may share the
// disk's transaction, but see fn's only if it succeeded.
//
// fn runs on the writer's goroutine and holds up everybody: it must not wait for
// anything, nor call the Store. It is called at most once. A ctx that ends before
// fn has begun ends the waiting; one that ends later changes nothing.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	return s.submit(ctx, &job{fn: fn, done: make(chan struct{})})
}

// updateWhole is Update for a function that finds every mistake before it writes
// anything, and begins with a statement if first is not nil.
func (s *Store) updateWhole(ctx context.Context, first *statement, fn func(*Tx) error) error {
	return s.submit(ctx, &job{fn: fn, whole: true, first: first, done: make(chan struct{})})
}

func (s *Store) submit(ctx context.Context, j *job) error {
	select {
	case s.queue <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return ErrClosed
	}
	select {
	case <-j.done:
	case <-ctx.Done():
		if j.state.CompareAndSwap(jobWaiting, jobGivenUp) {
			return ctx.Err()
		}
		<-j.done
	case <-s.stopped:
		if j.state.CompareAndSwap(jobWaiting, jobGivenUp) {
			return ErrClosed
		}
		<-j.done
	}
	if j.panicked != nil {
		panic(j.panicked)
	}
	return j.err
}

// write is the writer: it takes jobs in groups until the store closes.
func (s *Store) write() {
	defer close(s.stopped)
	w := &writing{session: s.writer}
	group := make([]*job, 0, MaxGroup)
	for {
		group = group[:0]
		select {
		case j := <-s.queue:
			group = append(group, j)
		case <-s.closing:
			return
		}
	more:
		for len(group) < MaxGroup {
			select {
			case j := <-s.queue:
				group = append(group, j)
			default:
				break more
			}
		}
		s.commit(w, group)
	}
}

// commit runs a group of jobs in one transaction and tells each what became of it.
func (s *Store) commit(w *writing, group []*job) {
	running := group[:0]
	for _, j := range group {
		if j.state.CompareAndSwap(jobWaiting, jobRunning) {
			running = append(running, j)
		}
	}
	if len(running) == 0 {
		return
	}
	err := s.run(w, running)
	for _, j := range running {
		if err != nil && j.err == nil {
			j.err = fmt.Errorf("writing to the database: %w", err)
		}
		close(j.done)
	}
}

func (s *Store) run(w *writing, group []*job) error {
	w.head = nil
	if err := w.begin(); err != nil {
		return err
	}
	if len(group) > 1 {
		if err := w.ahead(group); err != nil {
			return errors.Join(err, w.rollback())
		}
	}
	for _, j := range group {
		if err := s.one(w, j, len(group) == 1); err != nil {
			return errors.Join(err, w.rollback())
		}
	}
	if len(group) == 1 && (group[0].err != nil || group[0].panicked != nil) {
		return w.rollback()
	}
	if err := w.seal(); err != nil {
		return errors.Join(err, w.rollback())
	}
	if err := w.commit(); err != nil {
		// The transaction may still be open, as after SQLITE_BUSY.
		_ = w.rollback()
		return err
	}
	return nil
}

// one runs a job in its savepoint, or without one where it is alone. The error is
// one that ends the whole transaction.
func (s *Store) one(w *writing, j *job, alone bool) error {
	bare := alone || j.whole
	if !bare {
		if err := w.save(); err != nil {
			return err
		}
	}
	tx := &Tx{w: w, store: s, whole: j.whole, job: j}
	head := w.head
	func() {
		defer func() {
			tx.over = true
			j.panicked = recover()
		}()
		j.err = j.fn(tx)
	}()
	if tx.broken != nil {
		return tx.broken
	}
	if j.err == nil {
		j.err = tx.failed
	}
	if j.whole && tx.wrote && (j.err != nil || j.panicked != nil) {
		return errors.Join(errors.New("a write failed half-way"), j.err)
	}
	if bare {
		return nil
	}
	if j.err != nil || j.panicked != nil {
		if err := w.undo(); err != nil {
			return err
		}
		w.head = head
	}
	return w.keep()
}

// writing is the writer's connection and what it knows of the transaction under way.
// It belongs to the writer's goroutine.
type writing struct {
	session

	// head is the ledger's head in the transaction that is under way, nil if nobody
	// asked for it yet.
	head *ledgerHead
}

// Tx is a transaction that is under way. It is valid within its function and on
// that goroutine alone.
type Tx struct {
	w     *writing
	store *Store
	over  bool
	whole bool // as the job's
	job   *job
	wrote bool // a statement was run
	// failed is the first statement's error, broken constraints among them: with it
	// everything of this caller is undone, whatever the function returns. PostgreSQL
	// takes nothing more after one.
	failed error
	// broken is an error after which the connection cannot be trusted to be in the
	// transaction that it should be in.
	broken error
}

func (t *Tx) check() error {
	if t.over {
		return errors.New("a transaction is used after its function returned")
	}
	return t.broken
}

// exec runs a statement and returns how many rows it changed.
func (t *Tx) exec(text string, args ...any) (int64, error) {
	if err := t.check(); err != nil {
		return 0, err
	}
	t.wrote = true
	n, err := t.w.change(text, args...)
	return n, t.judge(err)
}

// first runs the statement that the job begins with, unless it was run already, and
// returns how many rows it changed.
func (t *Tx) first() (int64, error) {
	if t.job.ran {
		t.wrote = true
		return t.job.rows, t.check()
	}
	return t.exec(t.job.first.text, t.job.first.args...)
}

// later runs a statement of which nothing but an error is to be known. Where an error
// fails everybody all the same it may come later, and saves a round trip. It reports
// how many rows the statement changed, [unknown] where that is not known yet.
func (t *Tx) later(text string, args ...any) (n int64, err error) {
	if !t.whole {
		_, err := t.exec(text, args...)
		return unknown, err
	}
	if err := t.check(); err != nil {
		return unknown, err
	}
	t.wrote = true
	n, err = t.w.later(text, args...)
	return n, t.judge(err)
}

// one runs a query for one row. It returns [ErrNotFound] if there is none.
func (t *Tx) one(text string, args []any, into ...any) error {
	if err := t.check(); err != nil {
		return err
	}
	err := t.w.row(text, args, into...)
	if errors.Is(err, ErrNotFound) {
		return err
	}
	return t.judge(err)
}

// judge keeps what an error of a statement means for the caller, or for everybody.
func (t *Tx) judge(err error) error {
	switch {
	case err == nil:
	case t.w.broken(err):
		t.broken = err
	case t.failed == nil:
		t.failed = err
	}
	return err
}
