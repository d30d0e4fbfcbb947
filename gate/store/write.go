package store

import (
	"context"
	"database/sql"
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
// anything.
func (s *Store) updateWhole(ctx context.Context, fn func(*Tx) error) error {
	return s.submit(ctx, &job{fn: fn, whole: true, done: make(chan struct{})})
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
	w := &writing{conn: s.writer, stmts: map[string]*sql.Stmt{}}
	defer w.close()
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
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	for _, j := range group {
		if err := s.one(w, j, len(group) == 1); err != nil {
			return errors.Join(err, w.exec("ROLLBACK"))
		}
	}
	if len(group) == 1 && (group[0].err != nil || group[0].panicked != nil) {
		return w.exec("ROLLBACK")
	}
	if err := w.seal(); err != nil {
		return errors.Join(err, w.exec("ROLLBACK"))
	}
	if err := w.exec("COMMIT"); err != nil {
		// The transaction may still be open, as after SQLITE_BUSY.
		_ = w.exec("ROLLBACK")
		return err
	}
	return nil
}

// one runs a job in its savepoint, or without one where it is alone. The error is
// one that ends the whole transaction.
func (s *Store) one(w *writing, j *job, alone bool) error {
	bare := alone || j.whole
	if !bare {
		if err := w.exec("SAVEPOINT one"); err != nil {
			return err
		}
	}
	tx := &Tx{w: w, store: s}
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
	if j.whole && tx.wrote && (j.err != nil || j.panicked != nil) {
		return errors.Join(errors.New("a write failed half-way"), j.err)
	}
	if bare {
		return nil
	}
	if j.err != nil || j.panicked != nil {
		if err := w.exec("ROLLBACK TO one"); err != nil {
			return err
		}
		w.head = head
	}
	return w.exec("RELEASE one")
}

// writing is the writer's connection with its prepared statements. It belongs to
// the writer's goroutine.
type writing struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	// head is the ledger's head in the transaction that is under way, nil if nobody
	// asked for it yet.
	head *ledgerHead
}

// The writer's statements are never interrupted half-way: they have no context of
// a caller, whose end would end the others' transaction too.
func (w *writing) stmt(text string) (*sql.Stmt, error) {
	if stmt := w.stmts[text]; stmt != nil {
		return stmt, nil
	}
	stmt, err := w.conn.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, err
	}
	w.stmts[text] = stmt
	return stmt, nil
}

func (w *writing) exec(text string) error {
	_, err := w.change(text)
	return err
}

// change runs a statement and returns how many rows it changed.
func (w *writing) change(text string, args ...any) (int64, error) {
	stmt, err := w.stmt(text) //nolint:sqlclosecheck // kept until the store closes
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (w *writing) close() {
	for _, stmt := range w.stmts {
		_ = stmt.Close() // the connection is closed next
	}
}

// Tx is a transaction that is under way. It is valid within its function and on
// that goroutine alone.
type Tx struct {
	w     *writing
	store *Store
	over  bool
	wrote bool // a statement was run
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
	stmt, err := t.w.stmt(text) //nolint:sqlclosecheck // kept until the store closes
	if err != nil {
		return 0, t.judge(err)
	}
	t.wrote = true
	result, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, t.judge(err)
	}
	return result.RowsAffected()
}

// one runs a query for one row. It returns [ErrNotFound] if there is none.
func (t *Tx) one(text string, args []any, into ...any) error {
	if err := t.check(); err != nil {
		return err
	}
	stmt, err := t.w.stmt(text) //nolint:sqlclosecheck // kept until the store closes
	if err != nil {
		return t.judge(err)
	}
	err = stmt.QueryRowContext(context.Background(), args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return t.judge(err)
}

// judge tells errors after which SQLite may have rolled the whole transaction back
// by itself (a full disk, an I/O error, no memory) from those that undo one
// statement.
func (t *Tx) judge(err error) error {
	if err == nil || isConstraint(err) {
		return err
	}
	if isDriver(err) {
		t.broken = err
	}
	return err
}

// each calls fn for every row and closes the rows.
func each(rows *sql.Rows, fn func(*sql.Rows) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
