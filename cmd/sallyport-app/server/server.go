package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/alert"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/gate/jobtoken"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/webhook"
	"github.com/sallyport/sallyport/rules"
)

// Time limits of the listener. A webhook's body has its own.
const (
	headerTime = 5 * time.Second
	writeTime  = 30 * time.Second // a job that waits has its own
	idleTime   = 2 * time.Minute
	// answerTime is how long answers are waited for at the end, cutTime how long those
	// that were told to end then.
	answerTime = 7 * time.Second
	cutTime    = 3 * time.Second
	// helloFirst and helloMost are how long is waited between two tries to reach
	// GitHub while starting.
	helloFirst = time.Second
	helloMost  = time.Minute
)

// Server is a server that listens. Make one with [New].
type Server struct {
	settings Settings
	log      *slog.Logger
	store    *store.Store
	ledger   *ledger.Log
	key      ledger.Key
	github   *github.Client
	tell     *alert.Sender
	jobs     *jobtoken.Verifier
	issuer   *issuer.Issuer // nil without targets
	keys     *gate.Keys
	listener net.Listener
	acme     *autocert.Manager // nil where a proxy has the certificate
	metrics  *metrics
	ping     *fresh[struct{}] // whether the store can be written
	counts   *fresh[counts]

	// gate is nil until GitHub said who the App is.
	gate atomic.Pointer[gate.Gate]
	// hooks takes deliveries, from the first moment on.
	hooks atomic.Pointer[http.Handler]
}

// Open opens what a server and the commands beside it work with: the store, the
// ledger and GitHub. Close it.
func Open(ctx context.Context, s Settings) (*Server, error) {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	s.Log = slog.New(gate.LogHandler(s.Log.Handler()))
	x := &Server{settings: s, log: s.Log, metrics: newMetrics(s.Version)}
	var err error
	if x.store, err = store.Open(ctx, s.Database); err != nil {
		return nil, err
	}
	x.ping = newFresh(pingKept, pingTime, func(ctx context.Context) (struct{}, error) { return struct{}{}, x.store.Ping(ctx) })
	x.counts = newFresh(countsKept, countsTime, x.count)
	for _, remark := range slices.Concat(s.Remarks, x.store.Remarks()) {
		x.log.Warn(remark)
	}
	if err := x.open(ctx); err != nil {
		return nil, errors.Join(err, x.Close())
	}
	x.metrics.registry.MustRegister(newStoreMetrics(x))
	return x, nil
}

func (x *Server) open(ctx context.Context) error {
	s := x.settings
	var err error
	if x.key, err = ledgerKey(ctx, x.store, s.Seal, s.URL, time.Now()); err != nil {
		return err
	}
	if s.Seal == nil {
		x.log.Warn("the ledger's key lies unsealed in the database; set SALLYPORT_SEAL_KEY_FILE")
	}
	if x.ledger, err = ledger.New(ledger.Config{Key: x.key}); err != nil {
		return err
	}
	if x.tell, err = alert.New(s.Targets, alert.Config{Log: x.log}); err != nil {
		return fmt.Errorf("SALLYPORT_TARGETS_FILE: %w", err)
	}
	if x.jobs, err = jobtoken.New(jobtoken.Config{Issuer: cmp.Or(s.Issuer, defaultIssuer), Audience: s.URL, Log: x.log}); err != nil {
		return fmt.Errorf("SALLYPORT_OIDC_ISSUER: %w", err)
	}
	if x.github, err = github.New(github.Config{App: s.App, Key: s.Key, BaseURL: s.GitHubAPI, Cache: x.store, Shared: shared(x.store, s.Database), Log: x.log, Seen: x.metrics.sawGitHub}); err != nil {
		return err
	}
	return x.cabinet(ctx)
}

// New opens everything and listens.
func New(ctx context.Context, s Settings) (*Server, error) {
	x, err := Open(ctx, s)
	if err != nil {
		return nil, err
	}
	hooks, err := x.webhooks(0, nil)
	if err == nil {
		x.hooks.Store(&hooks)
		err = x.listen(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

// Close closes the store. A server that runs closes it itself.
func (x *Server) Close() error {
	x.counts.close()
	x.ping.close()
	return x.store.Close()
}

// Address is where the server listens.
func (x *Server) Address() string { return x.listener.Addr().String() }

// LedgerKey is the ledger's public key.
func (x *Server) LedgerKey() string { return x.key.Verifier() }

// accept counts and logs deliveries, and wakes the gate after one is stored.
type accept struct{ *Server }

// Accept stores a delivery.
func (a accept) Accept(ctx context.Context, d rules.Delivery) (bool, error) {
	known, err := a.store.Accept(ctx, d)
	a.delivered(ctx, d, known, err)
	if g := a.gate.Load(); err == nil && g != nil {
		g.Wake()
	}
	return known, err
}

func (x *Server) webhooks(bot rules.AccountID, g *gate.Gate) (http.Handler, error) {
	cfg := webhook.Config{Secrets: x.settings.WebhookSecrets, App: x.settings.App, Bot: bot, Store: accept{x}, Log: x.log}
	if g != nil {
		cfg.Waits = func(ctx context.Context, c webhook.Check) bool { return g.Waits(ctx, c.Repository, c.SHA, c.Name) }
		cfg.Runs = g.Runs
	}
	return webhook.New(cfg)
}

// Gate makes the gate: it asks GitHub who the App is.
func (x *Server) Gate(ctx context.Context) (*gate.Gate, error) {
	s := x.settings
	return gate.New(ctx, gate.Config{
		GitHub: x.github, Store: x.store, Ledger: x.ledger, Verifier: x.key.Verifier(), Owners: s.Owners, NoFloor: s.NoFloor, Keys: x.keys, Statements: s.Statements, Tell: x.tell, URL: s.URL,
		Sweep: s.Sweep, Log: x.log, Worked: x.metrics.worked, Swept: x.metrics.sweptOnce,
	})
}

// Run serves until ctx ends, and hands back what it holds. Its error is nil then;
// any other says why it cannot go on.
func (x *Server) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	routes, err := x.routes(ctx.Done())
	if err != nil {
		return errors.Join(err, x.listener.Close(), x.Close())
	}
	asked, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	web := &http.Server{
		BaseContext: func(net.Listener) context.Context { return asked },
		Handler:     routes, ReadHeaderTimeout: headerTime, WriteTimeout: writeTime, IdleTimeout: idleTime, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(x.log.Handler(), slog.LevelWarn),
	}
	var all sync.WaitGroup
	if x.keys != nil {
		all.Go(func() { x.checkTargets(ctx) })
		all.Go(func() { x.tend(ctx) })
	}
	if x.acme != nil {
		all.Go(x.firstCertificate)
	}
	all.Go(func() {
		if err := web.Serve(x.listener); !errors.Is(err, http.ErrServerClosed) {
			stop(fmt.Errorf("listening: %w", err))
		}
	})
	all.Go(func() {
		if err := x.work(ctx); err != nil && ctx.Err() == nil {
			stop(err)
		}
	})
	x.log.Info("listening", slog.String("address", x.Address()), slog.String("ledger", x.key.Origin()))
	<-ctx.Done()
	x.log.Info("stopping", slog.Any("cause", context.Cause(ctx)))
	err = x.answer(web, cut)
	all.Wait()
	err = errors.Join(err, x.Close())
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}

// answer waits for the answers to what was asked. What takes longer than that is told to
// end by cut, so that it takes back what it made while there is time.
func (x *Server) answer(web *http.Server, cut context.CancelFunc) error {
	for _, limit := range []time.Duration{answerTime, cutTime} {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		err := web.Shutdown(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		cut()
	}
	x.log.Warn("requests are cut off; a credential that was being made is ended by another server, or at the next start")
	return web.Close()
}

// work reaches GitHub, however long it takes, and then does what was marked.
func (x *Server) work(ctx context.Context) error {
	wait := helloFirst
	for {
		g, err := x.Gate(ctx)
		if err == nil {
			hooks, err := x.webhooks(g.App().Bot.ID, g)
			if err != nil {
				return err
			}
			x.gate.Store(g)
			x.hooks.Store(&hooks)
			app := g.App()
			x.log.Info("at work", slog.String("app", string(app.Slug)), slog.Int64("id", int64(app.ID)), slog.String("owner", string(app.Owner.Login)))
			return g.Run(ctx)
		}
		if errors.Is(err, github.ErrForbidden) || errors.Is(err, github.ErrNotFound) {
			return fmt.Errorf("GitHub does not take SALLYPORT_APP_ID %d with this SALLYPORT_PRIVATE_KEY_FILE: %w", x.settings.App, err)
		}
		if clock, refused := github.RefusedToken(err); refused {
			// It may still be mended beside the server: a clock is set, an incident ends.
			x.log.Error("GitHub does not take what is signed with SALLYPORT_PRIVATE_KEY_FILE for SALLYPORT_APP_ID: they do not belong together, or this machine's clock is wrong; deliveries are stored meanwhile",
				slog.Int64("app_id", int64(x.settings.App)), slog.Time("clock", time.Now().UTC().Truncate(time.Second)), slog.Time("clock_of_github", clock), slog.Any("cause", err), slog.Duration("again_in", wait))
		} else {
			x.log.Warn("GitHub cannot be reached; deliveries are stored meanwhile", slog.Any("cause", err), slog.Duration("again_in", wait))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, helloMost)
	}
}

// late is a gate that is there once GitHub was reached.
type late struct{ *Server }

// errLate means that GitHub was not reached yet.
var errLate = errors.New("GitHub was not reached yet")

// Hold makes a hold.
func (l late) Hold(ctx context.Context, t rules.JobToken) (jobs.State, error) {
	if g := l.gate.Load(); g != nil {
		return g.Hold(ctx, t)
	}
	return jobs.State{}, errLate
}

// HoldState is a hold as it is now.
func (l late) HoldState(ctx context.Context, id string, t rules.JobToken) (jobs.State, error) {
	if g := l.gate.Load(); g != nil {
		return g.HoldState(ctx, id, t)
	}
	return jobs.State{}, errLate
}

// Lease gives a credential.
func (l late) Lease(ctx context.Context, t rules.JobToken, credential string) (jobs.Given, error) {
	if g := l.gate.Load(); g != nil {
		return g.Lease(ctx, t, credential)
	}
	return jobs.Given{}, errLate
}

// EndLease ends a lease.
func (l late) EndLease(ctx context.Context, id, secret string) error {
	if g := l.gate.Load(); g != nil {
		return g.EndLease(ctx, id, secret)
	}
	return errLate
}

// routes are all surfaces. Requests that wait for something end when closing is
// closed.
func (x *Server) routes(closing <-chan struct{}) (http.Handler, error) {
	held, err := jobs.New(jobs.Config{Verifier: x.jobs, Gate: late{x}, Closing: closing, Log: x.log})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle(jobs.Path, held)
	mux.Handle(jobs.Path+"/", held)
	if err := x.leases(mux); err != nil {
		return nil, err
	}
	if x.keys != nil {
		keys := x.issuer.Handler()
		mux.Handle("/.well-known/", keys)
		mux.Handle("/auto/.well-known/", keys)
	}
	mux.HandleFunc(webhookPath, func(w http.ResponseWriter, r *http.Request) { (*x.hooks.Load()).ServeHTTP(w, r) })
	mux.Handle("/ledger/", ledger.NewHandler(x.store, x.key.Verifier()))
	mux.HandleFunc("GET /healthz", x.alive)
	mux.HandleFunc("GET /readyz", x.ready)
	mux.Handle("GET "+metricsPath, x.metrics.handler(x.log))
	return x.metrics.wrap(mux), nil
}
