package gate

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/rules"
)

// broken gives no random bytes.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the ledger is broken") }

// BreakLedger makes every append fail until the returned function is called.
func (g *Gate) BreakLedger() (mend func()) {
	before := g.cfg.Ledger
	key, err := ledger.GenerateKey(rand.Reader, "broken.test/ledger")
	if err != nil {
		panic(err)
	}
	if g.cfg.Ledger, err = ledger.New(ledger.Config{Key: key, Random: broken{}}); err != nil {
		panic(err)
	}
	return func() { g.cfg.Ledger = before }
}

// LeftAlone is how long something held is left alone.
func LeftAlone(key rules.WorkKey) time.Duration { return leftAlone(key) }

// SweepInTurn sweeps, unless another process has just done so.
func (g *Gate) SweepInTurn(ctx context.Context, always bool) (bool, error) {
	return g.sweepInTurn(ctx, always)
}
