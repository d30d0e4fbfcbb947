package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
)

// Move moves everything from the SQLite file of the settings into an empty database of
// PostgreSQL, and leaves the file closed for good. The ledger is verified before,
// entry by entry, and again where it is then, which must hold what it was before.
func Move(ctx context.Context, s Settings, to store.Config) (store.Moved, ledger.Checkpoint, error) {
	from := s.Database
	from.MustExist = true
	before, err := whole(ctx, s, from)
	if err != nil && !errors.Is(err, store.ErrMoved) { // an interrupted move is begun anew
		return store.Moved{}, ledger.Checkpoint{}, fmt.Errorf("nothing was moved: %w", err)
	}
	moved, err := store.Move(ctx, from, to)
	if err != nil {
		return store.Moved{}, ledger.Checkpoint{}, err
	}
	to.MustExist = true
	after, err := whole(ctx, s, to, before)
	if err != nil {
		return moved, after, fmt.Errorf("everything was copied and compared, but the ledger does not verify where it is now: do not start a server on it: %w", err)
	}
	return moved, after, nil
}

// whole verifies the ledger of a database with its own key, and that it went through
// earlier states.
func whole(ctx context.Context, s Settings, where store.Config, earlier ...ledger.Checkpoint) (c ledger.Checkpoint, err error) {
	x, err := store.Open(ctx, where)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, x.Close()) }()
	head, err := x.LedgerCheckpoint(ctx)
	if err != nil || head == nil {
		return c, err // nothing was recorded yet
	}
	key, err := ledgerKey(ctx, x, s.Seal, s.URL, time.Now())
	if err != nil {
		return c, err
	}
	var seen []ledger.Witness
	for _, e := range earlier {
		if e.Size > 0 {
			seen = append(seen, e.Witness())
		}
	}
	in, out := io.Pipe()
	go func() { out.CloseWithError(ledger.Export(ctx, x, out, ledger.ExportConfig{})) }()
	c, err = ledger.VerifyExport(in, ledger.VerifyConfig{Verifier: key.Verifier(), Witnesses: seen})
	in.CloseWithError(errors.New("nobody reads any more")) // ends the export, if it still runs
	if err != nil {
		return c, fmt.Errorf("verifying the ledger: %w", err)
	}
	return c, nil
}
