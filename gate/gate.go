package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/statements"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// CheckName is the name of the check run on a head.
const CheckName = "sallyport"

// Config is what a gate works with.
type Config struct {
	// GitHub, Store and Ledger are required.
	GitHub *github.Client
	Store  *store.Store
	Ledger *ledger.Log
	// Verifier is the ledger's public key. It is required.
	Verifier string
	// Owners are the accounts whose installations are served. Empty: the account
	// that owns the App, and no other.
	Owners []rules.AccountID
	// NoFloor says that no organisation has a floor (SALLYPORT_ORG_FLOOR=none). A
	// floor that was ever seen counts all the same.
	NoFloor bool
	// Keys is the key cabinet. Nil gives no credentials.
	Keys *Keys
	// Statements reads migrations. Nil reads none, which is said of each.
	Statements Statements
	// Tell tells people what waits for them and what should not have happened. Nil
	// tells nobody: it is in the log and the ledger.
	Tell Teller
	// URL is where the server is reached; its ledger is named there. May be empty.
	URL string
	// Workers is how many keys are looked at together, at most half of them one
	// repository's; 0 is 8.
	Workers int
	// Lease is how long one look may take before another worker may begin; 0 is two
	// minutes.
	Lease time.Duration
	// Sweep is how often everything that is held is looked at, in case an event was
	// lost; 0 is a minute, negative never.
	Sweep time.Duration
	// Settle is how long GitHub may take to show what was done to it: an effect whose
	// answer was lost is not tried again before; 0 is 10 seconds.
	Settle time.Duration
	// Arrive is how long a delivery may take to arrive before GitHub is asked to send
	// it again; 0 is 30 seconds.
	Arrive time.Duration
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
	// Log is told what happens, each line with the look that it belongs to (see
	// [LogHandler]). Nil is silence.
	Log *slog.Logger
	// Worked is told of each look how it ended and how long it took, Swept of each
	// sweep. They are called by many at once. Nil is told nothing.
	Worked func(kind rules.WorkKind, ended Ended, took time.Duration)
	Swept  func(err error, took time.Duration)
}

// Ended is how a look ended.
type Ended string

// The ends of a look. They are shown to machines: they may be added to and never
// changed.
const (
	// EndedDone needs no further look.
	EndedDone Ended = "done"
	// EndedFailed will be tried again, EndedLimited too, once GitHub takes requests.
	EndedFailed  Ended = "failed"
	EndedLimited Ended = "limited"
	// EndedHandedBack is another process's now, since this one ends.
	EndedHandedBack Ended = "handed_back"
)

// Statements points out what in a migration deserves a second look:
// [statements.Worker] does.
type Statements interface {
	Look(ctx context.Context, name, text string) (found []statements.Finding, parsed bool, why string)
}

// Gate reconciles. It is safe for concurrent use.
type Gate struct {
	cfg Config
	app github.App
	// owners are who is served, never empty.
	owners map[rules.AccountID]bool
	// wake has room for one: work was marked.
	wake chan struct{}
	// taking is held by the worker that takes work: what it may take depends on what the
	// others have.
	taking chan struct{}

	// policies are parsed policies by the digest of their text, texts of versions
	// that were in force; guarded by mu, held for the look-up alone.
	mu       sync.Mutex
	policies map[policyKey]*rules.Policy
	// looks is how many of each repository's keys are looked at. Guarded by mu.
	looks map[rules.RepositoryID]int
	// foreign are installations on accounts that are not served. Guarded by mu.
	foreign map[rules.InstallationID]bool
	// unrecorded are closing effects that were applied while the ledger could not
	// be written, and the decisions that they follow from. Guarded by mu.
	unrecorded []ledger.Entry
}

// New makes a gate. It asks GitHub who the App is.
func New(ctx context.Context, cfg Config) (*Gate, error) {
	switch {
	case cfg.GitHub == nil:
		return nil, errors.New("gate: no GitHub client")
	case cfg.Store == nil:
		return nil, errors.New("gate: no store")
	case cfg.Ledger == nil, cfg.Verifier == "":
		return nil, errors.New("gate: no ledger, or no key of it")
	}
	cfg.Workers = cmp.Or(cfg.Workers, 8)
	cfg.Lease = cmp.Or(cfg.Lease, 2*time.Minute)
	cfg.Sweep = cmp.Or(cfg.Sweep, time.Minute)
	cfg.Settle = cmp.Or(cfg.Settle, 10*time.Second)
	cfg.Arrive = cmp.Or(cfg.Arrive, 30*time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Log = slog.New(LogHandler(cfg.Log.Handler()))
	if cfg.Worked == nil {
		cfg.Worked = func(rules.WorkKind, Ended, time.Duration) {}
	}
	if cfg.Swept == nil {
		cfg.Swept = func(error, time.Duration) {}
	}
	app, err := cfg.GitHub.Self(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking GitHub who this App is: %w", err)
	}
	g := &Gate{cfg: cfg, app: app, owners: map[rules.AccountID]bool{}, wake: make(chan struct{}, 1), taking: make(chan struct{}, 1), looks: map[rules.RepositoryID]int{}, foreign: map[rules.InstallationID]bool{}, policies: map[policyKey]*rules.Policy{}}
	for _, o := range cfg.Owners {
		g.owners[o] = true
	}
	if len(g.owners) == 0 {
		g.owners[app.Owner.ID] = true
	}
	return g, nil
}

// App is the GitHub App that the gate acts as.
func (g *Gate) App() github.App { return g.app }

// Wake says that work was marked.
func (g *Gate) Wake() {
	select {
	case g.wake <- struct{}{}:
	default: // somebody will look anyway
	}
}
