package gate_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/store/pgtest"
	"github.com/sallyport/sallyport/rules"
)

// replica is another gate over the database of a world, with nothing else in common
// with the first: a store, a ledger and a client of its own.
func (w *world) replica(cfg gate.Config, address string) *gate.Gate {
	w.t.Helper()
	var err error
	cfg.Store, err = store.Open(w.t.Context(), store.Config{URL: store.Address(address)})
	must(w.t, err)
	s := cfg.Store
	w.t.Cleanup(func() { _ = s.Close() })
	cfg.Ledger, err = ledger.New(ledger.Config{Key: w.key})
	must(w.t, err)
	key, err := github.ParseKey(w.app.KeyPEM())
	must(w.t, err)
	cfg.GitHub, err = github.New(github.Config{App: rules.AppID(w.app.ID), Key: key, BaseURL: w.g.URL(), Cache: cfg.Store, Now: w.clock.Now})
	must(w.t, err)
	g, err := gate.New(w.t.Context(), cfg)
	must(w.t, err)
	return g
}

// onPostgres is a world on PostgreSQL, and the configuration of its gate.
func onPostgres(t *testing.T, policy string, options ...option) (*world, gate.Config) {
	t.Helper()
	t.Setenv(storeVariable, "postgres")
	var kept gate.Config
	return deploys(t, policy, append(options, func(_ *world, c *gate.Config) { kept = *c })...), kept
}

// A hundred ask three replicas for one credential at once: at most one is given, and
// none of the others' asking leaves anything alive.
func TestLeaseAtOnceFromReplicas(t *testing.T) {
	s := &safe{}
	w, cfg := onPostgres(t, keysPolicy, keys(s))
	gates := []*gate.Gate{w.gate, w.replica(cfg, string(w.where.URL)), w.replica(cfg, string(w.where.URL))}
	d := w.deploy("production")
	d.click(w.rose, "approve")
	var all sync.WaitGroup
	var mu sync.Mutex
	given := 0
	for i := range 100 {
		token := d.jobToken()
		all.Go(func() {
			_, err := gates[i%3].Lease(context.WithoutCancel(t.Context()), token, "orders-migrator")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				given++
			}
		})
	}
	all.Wait()
	// Whoever asked while it was made has it ended once that cannot be any more.
	w.clock.Advance(store.MintTime)
	must(t, gates[2].EndLeases(t.Context()))
	if alive, made := s.count(); made != 1 || given > 1 || alive != 0 {
		t.Errorf("%d made, %d given, %d alive: want one made, one given at most, and none alive", made, given, alive)
	}
	w.verify()
}

// What one replica was asked to hold another releases, by a click that a third took:
// they have nothing in common but the database.
func TestReplicasShareTheirWork(t *testing.T) {
	s := &safe{}
	w, cfg := onPostgres(t, keysPolicy, keys(s))
	first := w.gate
	second, third := w.replica(cfg, string(w.where.URL)), w.replica(cfg, string(w.where.URL))
	w.gate = second
	d := w.deploy("production")
	w.gate = third
	d.click(w.rose, "approve")
	d.want("in_progress", "approved")
	w.gate = first
	if _, code := w.lease(d, "orders-migrator"); code != "" {
		t.Errorf("the lease is refused: %s", code)
	}
	w.gate = second
	if _, code := w.lease(d, "orders-migrator"); code == "" {
		t.Error("given twice, by two replicas")
	}
	if alive, made := s.count(); made != 1 || alive != 0 {
		t.Errorf("%d made, %d alive after it was asked for twice", made, alive)
	}
	w.verify()
}

// A replica that the database cannot be reached from approves nothing and mints
// nothing, although GitHub answers it; the others go on, and it does too once the
// network is back.
func TestPartitionedReplicaOpensNothing(t *testing.T) {
	s := &safe{}
	w, cfg := onPostgres(t, keysPolicy, keys(s))
	proxy, through := pgtest.NewProxy(t, string(w.where.URL))
	far := w.replica(cfg, through)
	d := w.deploy("production")
	token := d.jobToken()

	// It has taken the work, and then the network goes.
	must(t, d.check().Click(w.rose, "approve"))
	must(t, w.g.Settle(t.Context()))
	work, err := w.store.Take(t.Context(), "far", w.clock.Now(), time.Second)
	must(t, err)
	proxy.Cut()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	before := w.effects()
	if err := far.Reconcile(ctx, work); err == nil {
		t.Error("work was done without the database")
	}
	if _, err := far.Lease(ctx, token, "orders-migrator"); err == nil {
		t.Error("a lease was given without the database")
	}
	if alive, made := s.count(); alive != 0 || made != 0 {
		t.Errorf("%d made, %d alive without the database", made, alive)
	}
	d.want("waiting", "")
	if after := w.effects(); after != before {
		t.Errorf("%d writes to GitHub without the database", after-before)
	}

	// The lease of its work runs out, and another replica does it.
	w.clock.Advance(2 * time.Second)
	w.settle()
	d.want("in_progress", "approved")
	proxy.Heal()
	w.gate = far
	if _, code := w.lease(d, "orders-migrator"); code != "" {
		t.Errorf("the lease is refused: %s", code)
	}
	w.verify()
}

// effects counts what was written to GitHub.
func (w *world) effects() (n int) {
	for _, r := range w.g.Requests() {
		if r.Method != http.MethodGet && r.App == "sallyport" && !strings.HasSuffix(r.Path, "/graphql") && !strings.HasSuffix(r.Path, "/access_tokens") {
			n++
		}
	}
	return n
}
