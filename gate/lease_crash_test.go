package gate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"modernc.org/sqlite"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// leaseChildVariable makes TestLeaseChild the broker that is killed: its value is a
// brokerConfig.
const leaseChildVariable = "SALLYPORT_TEST_LEASE_CHILD"

// brokerConfig is a broker whose database and target are in a folder.
type brokerConfig struct {
	Folder, API, Key, Ledger string
	App, Owner, Repository   int64
	Token                    rules.JobToken
	Now                      time.Time
	// Way is which way the lease ends.
	Way string
	// Inside says that the target makes nothing outside the broker.
	Inside bool
	// Stop is the step at which it kills itself, counted from 1; 0 is none.
	Stop int
}

func (c brokerConfig) path(name string) string { return filepath.Join(c.Folder, name) }

// steps counts what a broker does, and kills its process at one step.
type steps struct {
	mu      sync.Mutex
	counts  bool // from when on
	stop    int
	names   []string
	touched bool // the transaction that is open changes a lease
}

// at is called at each step. A nil one counts nothing.
func (s *steps) at(name string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.counts {
		return
	}
	s.names = append(s.names, name)
	if len(s.names) == s.stop {
		p, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = p.Kill()
		}
		if err != nil {
			panic(err) // then it shows nothing
		}
		select {} // it is dead in a moment
	}
}

// watch makes steps of the rows of leases that are written and of their commits.
func (s *steps) watch() {
	sqlite.RegisterConnectionHook(func(c sqlite.ExecQuerierContext, _ string) error {
		hooks, ok := c.(sqlite.HookRegisterer)
		if !ok {
			return errors.New("this SQLite has no hooks")
		}
		hooks.RegisterPreUpdateHook(func(d sqlite.SQLitePreUpdateData) {
			if d.TableName == "leases" {
				s.touched = true // hooks of the one connection that writes
				s.at("before a lease is written")
			}
		})
		hooks.RegisterCommitHook(func() int32 {
			if s.touched {
				s.touched = false
				s.at("before the commit")
			}
			return 0
		})
		return nil
	})
}

// Enabled takes all of the log: what is said is a step.
func (*steps) Enabled(context.Context, slog.Level) bool { return true }

// Handle makes a step of a message.
func (s *steps) Handle(_ context.Context, r slog.Record) error {
	s.at("after " + r.Message)
	return nil
}

// WithAttrs and WithGroup change nothing.
func (s *steps) WithAttrs([]slog.Attr) slog.Handler { return s }
func (s *steps) WithGroup(string) slog.Handler      { return s }

// folderTarget is a target in which a file lives for each role, and one for its login.
type folderTarget struct {
	c     brokerConfig
	s     *steps
	first func() error // before anything is made
	then  func() error // once everything is
	// making says that a credential is being made, early that one was ended meanwhile.
	making, early bool
}

func (f *folderTarget) file(l broker.Lease, kind string) string {
	return f.c.path(filepath.Join("target", l.ID+"."+kind))
}

func (f *folderTarget) Mint(_ context.Context, l broker.Lease) (map[string]string, []byte, error) {
	f.making = true
	defer func() { f.making = false }()
	f.s.at("mint: nothing yet")
	if f.first != nil {
		if err := f.first(); err != nil {
			return nil, nil, err
		}
	}
	minted, err := os.OpenFile(f.c.path("minted"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	_, err = fmt.Fprintln(minted, l.ID)
	deadline := []byte(l.Deadline.Format(time.RFC3339Nano))
	if err := errors.Join(err, minted.Close(), os.WriteFile(f.file(l, "role"), deadline, 0o600)); err != nil {
		return nil, nil, err
	}
	f.s.at("mint: a role without login")
	if err := os.WriteFile(f.file(l, "login"), deadline, 0o600); err != nil {
		return nil, nil, err
	}
	f.s.at("mint: a login")
	if f.then != nil {
		if err := f.then(); err != nil {
			return nil, nil, err
		}
	}
	return map[string]string{"token": "the secret of " + l.ID}, []byte("handle of " + l.ID), nil
}

func (f *folderTarget) Revoke(_ context.Context, l broker.Lease, handle []byte) error {
	f.early = f.early || f.making
	f.s.at("revoke: nothing yet")
	if len(handle) > 0 && string(handle) != "handle of "+l.ID {
		return fmt.Errorf("another handle: %q", handle)
	}
	for _, kind := range []string{"login", "role"} {
		if err := os.Remove(f.file(l, kind)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		f.s.at("revoke: no " + kind)
	}
	return nil
}

func (f *folderTarget) Sweep(_ context.Context, now time.Time) error {
	return f.c.each(func(file string, deadline time.Time) error {
		if now.Before(deadline) {
			return nil
		}
		return os.Remove(file)
	})
}

// insideTarget makes nothing that lives.
type insideTarget struct{ *folderTarget }

func (insideTarget) Inside() {}

func (f insideTarget) Mint(_ context.Context, l broker.Lease) (map[string]string, []byte, error) {
	f.s.at("mint: signed")
	return map[string]string{"token": "the secret of " + l.ID}, nil, nil
}

// each calls fn for whatever lives in the target.
func (c brokerConfig) each(fn func(file string, deadline time.Time) error) error {
	all, err := os.ReadDir(c.path("target"))
	if err != nil {
		return err
	}
	for _, e := range all {
		file := c.path(filepath.Join("target", e.Name()))
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		deadline, err := time.Parse(time.RFC3339Nano, string(text))
		if err != nil {
			return err
		}
		if err := fn(file, deadline); err != nil {
			return err
		}
	}
	return nil
}

// fileBroker is a broker at work. Its clock is set.
type fileBroker struct {
	*gate.Gate

	c      brokerConfig
	store  *store.Store
	target *folderTarget
	now    time.Time
	tokens int
}

// open starts a broker over what there is in its folder.
func (c brokerConfig) open(ctx context.Context, s *steps) (*fileBroker, error) {
	key, err := ledger.ParseKey(c.Ledger)
	if err != nil {
		return nil, err
	}
	log, err := ledger.New(ledger.Config{Key: key})
	if err != nil {
		return nil, err
	}
	appKey, err := github.ParseKey([]byte(c.Key))
	if err != nil {
		return nil, err
	}
	targets, problems := rules.LoadTargets("targets.yml", fmt.Appendf(nil, "targets:\n  orders-db: {tier: human, repositories: [%d], environments: [production], token: {audience: orders}}\n", c.Repository))
	if targets == nil {
		return nil, fmt.Errorf("%v", problems)
	}
	b := &fileBroker{c: c, target: &folderTarget{c: c, s: s}, now: c.Now}
	if b.store, err = store.Open(ctx, store.Config{Path: c.path("sallyport.db"), MustExist: true}); err != nil {
		return nil, err
	}
	var provider broker.Provider = b.target
	if c.Inside {
		provider = insideTarget{b.target}
	}
	client, err := github.New(github.Config{App: rules.AppID(c.App), Key: appKey, BaseURL: c.API, Cache: b.store, Now: func() time.Time { return c.Now }})
	if err != nil {
		return nil, errors.Join(err, b.store.Close())
	}
	cfg := gate.Config{
		GitHub: client, Store: b.store, Ledger: log, Verifier: key.Verifier(), Owners: []rules.AccountID{rules.AccountID(c.Owner)}, Sweep: -1, Now: func() time.Time { return b.now },
		Statements: inProcess{}, Log: slog.New(slog.DiscardHandler),
		Keys: &gate.Keys{
			Targets: targets, Providers: map[string]broker.Provider{"orders-db": provider},
			Seal: func(name string, v []byte) ([]byte, error) {
				s.at("before it is sealed")
				return append([]byte(name+"|"), v...), nil
			},
			Open: func(name string, v []byte) ([]byte, error) {
				rest, ok := strings.CutPrefix(string(v), name+"|")
				if !ok {
					return nil, errors.New("sealed for another")
				}
				return []byte(rest), nil
			},
		},
	}
	if s != nil {
		cfg.Log = slog.New(s)
	}
	if b.Gate, err = gate.New(ctx, cfg); err != nil {
		return nil, errors.Join(err, b.store.Close())
	}
	return b, nil
}

// ask asks as the job does, with a token of its own, and keeps the answer as the job
// gets it.
func (b *fileBroker) ask(ctx context.Context) (jobs.Given, error) {
	b.tokens++
	t := b.c.Token
	t.ID = fmt.Sprintf("jti-%d-%d", os.Getpid(), b.tokens)
	given, err := b.Lease(ctx, t, "orders-migrator")
	if err != nil {
		return given, err
	}
	b.target.s.at("before it is answered")
	return given, os.WriteFile(b.c.path(filepath.Join("given", given.ID)), nil, 0o600)
}

// refused is nil if a request was refused for good.
func refused(err error) error {
	var no *jobs.Refusal
	if errors.As(err, &no) {
		return nil
	}
	return fmt.Errorf("want a refusal, got %w", errors.Join(err, errors.New("no refusal")))
}

// way is one way that a lease ends.
type way struct {
	name string
	// make may change the target before the job asks. The rest ends the lease.
	make   func(context.Context, *fileBroker)
	end    func(context.Context, *fileBroker, jobs.Given) error
	denied bool // the job gets nothing
}

func ways() []way {
	return []way{
		{name: "by its job", end: func(ctx context.Context, b *fileBroker, given jobs.Given) error {
			return b.EndLease(ctx, given.ID, given.Secret)
		}},
		{name: "by its deadline", end: func(ctx context.Context, b *fileBroker, given jobs.Given) error {
			b.now = given.ExpiresAt
			return b.EndLeases(ctx)
		}},
		{name: "asked twice", end: func(ctx context.Context, b *fileBroker, _ jobs.Given) error {
			_, err := b.ask(ctx)
			return refused(err)
		}},
		{name: "all are revoked", end: func(ctx context.Context, b *fileBroker, _ jobs.Given) error {
			_, left, err := b.RevokeAll(ctx, "an incident", "carol")
			if len(left) > 0 {
				err = errors.Join(err, fmt.Errorf("%d are alive", len(left)))
			}
			return err
		}},
		{name: "the target fails", denied: true, make: func(_ context.Context, b *fileBroker) {
			b.target.then = func() error { return errors.New("the target is away") }
		}},
		{name: "asked twice while it is made", denied: true, make: func(ctx context.Context, b *fileBroker) {
			b.target.then = func() error {
				_, err := b.ask(ctx)
				return refused(err)
			}
		}},
		{name: "asked three times while it is made", denied: true, make: func(ctx context.Context, b *fileBroker) {
			b.target.first = func() error {
				_, second := b.ask(ctx)
				_, third := b.ask(ctx)
				return errors.Join(refused(second), refused(third))
			}
		}},
		{name: "all are revoked while it is made", denied: true, make: func(ctx context.Context, b *fileBroker) {
			b.target.first = func() error {
				_, _, err := b.RevokeAll(ctx, "an incident", "carol")
				return err
			}
		}},
	}
}

// live lets a lease begin and end.
func (b *fileBroker) live(ctx context.Context) error {
	i := slices.IndexFunc(ways(), func(w way) bool { return w.name == b.c.Way })
	if i < 0 {
		return fmt.Errorf("no way %q", b.c.Way)
	}
	w := ways()[i]
	if w.make != nil {
		w.make(ctx, b)
	}
	given, err := b.ask(ctx)
	switch {
	case b.target.early:
		return errors.New("it was ended while it was made: whoever is killed then leaves what is made after that")
	case w.denied && err == nil:
		return errors.New("it was given")
	case w.denied:
		return nil
	case err != nil:
		return err
	}
	return w.end(ctx, b, given)
}

// TestLeaseChild is the broker that TestBrokerKilled kills.
func TestLeaseChild(t *testing.T) {
	text := os.Getenv(leaseChildVariable)
	if text == "" {
		return // it is a process of TestBrokerKilled
	}
	var c brokerConfig
	must(t, json.Unmarshal([]byte(text), &c))
	s := &steps{stop: c.Stop}
	s.watch()
	b, err := c.open(t.Context(), s)
	must(t, err)
	s.mu.Lock()
	s.counts = true
	s.mu.Unlock()
	must(t, b.live(t.Context()))
	names, err := json.Marshal(s.names)
	must(t, err)
	must(t, os.WriteFile(c.path("steps"), names, 0o600))
}

// run runs the child. It reports whether the child was killed; one that ended
// otherwise than well is an error.
func (c brokerConfig) run(ctx context.Context) (killed bool, err error) {
	exe, err := os.Executable()
	if err != nil {
		return false, err
	}
	config, err := json.Marshal(c)
	if err != nil {
		return false, err
	}
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(limited, exe, "-test.run=^TestLeaseChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), leaseChildVariable+"="+string(config))
	says, err := cmd.CombinedOutput()
	if limited.Err() != nil {
		return false, fmt.Errorf("it never ends: %s", says)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return true, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("%w: %s", err, says)
	}
	return false, nil
}

// in is the same broker in another folder, with a copy of all that it has.
func (c brokerConfig) in(t *testing.T) brokerConfig {
	t.Helper()
	out := c
	out.Folder = filepath.Join(t.TempDir(), "broker")
	must(t, os.CopyFS(out.Folder, os.DirFS(c.Folder)))
	must(t, os.Chmod(out.path("sallyport.db"), 0o600)) // the store wants nobody else to read it
	return out
}

// living counts what lives in the target; given and minted, credentials.
func (c brokerConfig) living(t *testing.T) (n int) {
	t.Helper()
	must(t, c.each(func(string, time.Time) error { n++; return nil }))
	return n
}

func (c brokerConfig) given(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir(c.path("given"))
	must(t, err)
	return len(all)
}

func (c brokerConfig) minted(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(c.path("minted"))
	if !errors.Is(err, os.ErrNotExist) {
		must(t, err)
	}
	return bytes.Count(text, []byte("\n"))
}

// newBroker is a broker for a job that rose released. Nothing was asked yet.
func newBroker(t *testing.T, policy string) brokerConfig {
	t.Helper()
	folder := t.TempDir()
	var kept *store.Store
	w := deploys(t, policy, keys(&safe{}), func(w *world, c *gate.Config) {
		s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(folder, "sallyport.db")})
		must(t, err)
		before := w.store
		t.Cleanup(func() { _ = before.Close() }) // the client's cache is in it
		w.store, c.Store, kept = s, s, s
	})
	d := w.deploy("production")
	d.click(w.rose, "approve")
	d.want("in_progress", "approved")
	must(t, kept.Close())
	now := w.clock.Now()
	// The App's tokens are signed by the real clock: GitHub's goes on with it.
	var tick sync.WaitGroup
	tick.Go(func() {
		second := time.NewTicker(time.Second)
		defer second.Stop()
		for {
			select {
			case <-second.C:
				w.clock.Advance(time.Second)
			case <-t.Context().Done():
				return
			}
		}
	})
	t.Cleanup(tick.Wait)
	for _, name := range []string{"target", "given"} {
		must(t, os.Mkdir(filepath.Join(folder, name), 0o700))
	}
	return brokerConfig{
		Folder: folder, API: w.g.URL(), Key: string(w.app.KeyPEM()), Ledger: w.key.Secret(), App: w.app.ID, Owner: w.acme.ID, Repository: w.repo.ID, Token: d.jobToken(), Now: now,
	}
}

// Killed at any step of giving and ending a credential, a broker leaves none that its
// record does not speak of: the next one ends it in time, and gives none twice.
func TestBrokerKilled(t *testing.T) {
	c := newBroker(t, keysPolicy)
	total := 0
	for _, w := range ways() {
		whole := c.in(t)
		whole.Way = w.name
		killed, err := whole.run(t.Context())
		must(t, err)
		text, err := os.ReadFile(whole.path("steps"))
		must(t, err)
		var names []string
		must(t, json.Unmarshal(text, &names))
		if living := whole.living(t); killed || living != 0 || whole.minted(t) != 1 {
			t.Fatalf("%s, undisturbed: killed %v, %d living, %d minted", w.name, killed, living, whole.minted(t))
		}
		for _, must := range []string{"before a lease is written", "before the commit", "mint: nothing yet", "mint: a role without login", "mint: a login", "revoke: nothing yet", "revoke: no login", "revoke: no role", "after credential ended"} {
			if !slices.Contains(names, must) {
				t.Errorf("%s: %q is no step: %q", w.name, must, names)
			}
		}
		if !w.denied && (!slices.Contains(names, "before it is sealed") || !slices.Contains(names, "after credential given") || !slices.Contains(names, "before it is answered")) {
			t.Errorf("%s: it is not given: %q", w.name, names)
		}
		total += len(names)
		seen := &states{all: map[store.LeaseState]bool{}}
		c.kills(t, w.name, names, seen)
		for _, s := range []store.LeaseState{"", store.LeaseCreating, store.LeaseRevoking, store.LeaseEnded} {
			if !seen.all[s] {
				t.Errorf("%s: no kill met a lease that is %q", w.name, s)
			}
		}
	}
	t.Logf("killed at %d steps of %d ways", total, len(ways()))
}

// kills kills the broker at each of the named steps of one way.
func (c brokerConfig) kills(t *testing.T, way string, names []string, seen *states) {
	t.Helper()
	t.Run(way, func(t *testing.T) {
		for i, name := range names {
			t.Run(fmt.Sprintf("%d %s", i+1, name), func(t *testing.T) {
				t.Parallel()
				dead := c.in(t)
				dead.Way, dead.Stop = way, i+1
				killed, err := dead.run(t.Context())
				must(t, err)
				if !killed {
					t.Fatal("it was not killed: this shows nothing")
				}
				dead.quiet(t, seen)
				dead.again(t)
			})
		}
	})
}

// A credential that is made inside the broker is on record, as given, before anybody
// has it, in one commit: there is no lease that is being made.
func TestBrokerKilledInside(t *testing.T) {
	c := newBroker(t, keysPolicy)
	c.Inside = true
	for _, way := range []string{"by its job", "by its deadline", "asked twice"} {
		whole := c.in(t)
		whole.Way = way
		killed, err := whole.run(t.Context())
		must(t, err)
		text, err := os.ReadFile(whole.path("steps"))
		must(t, err)
		var names []string
		must(t, json.Unmarshal(text, &names))
		signed, commit, given := slices.Index(names, "mint: signed"), slices.Index(names, "before the commit"), slices.Index(names, "after credential given")
		if killed || signed < 0 || commit < signed || given < commit || slices.Contains(names[commit+1:given], "before the commit") || whole.given(t) != 1 {
			t.Fatalf("%s, undisturbed: killed %v, %d given, %q", way, killed, whole.given(t), names)
		}
		seen := &states{all: map[store.LeaseState]bool{}}
		c.kills(t, way, names, seen)
		for _, s := range []store.LeaseState{"", store.LeaseLive, store.LeaseRevoking, store.LeaseEnded} {
			if !seen.all[s] {
				t.Errorf("%s: no kill met a lease that is %q", way, s)
			}
		}
		if seen.all[store.LeaseCreating] {
			t.Errorf("%s: a kill met a lease that is being made", way)
		}
	}
}

// states are those of leases that were met when a broker was killed.
type states struct {
	mu  sync.Mutex
	all map[store.LeaseState]bool
}

// row is the lease of the job, or nil.
func (b *fileBroker) row(t *testing.T) *store.Lease {
	t.Helper()
	cl := b.c.Token.Claims
	l, err := b.store.LeaseOf(t.Context(), cl.RepositoryID, cl.RunID, cl.RunAttempt, cl.CheckRunID, "orders-migrator")
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	must(t, err)
	return &l
}

// restart opens a copy of what a killed broker left.
func (c brokerConfig) restart(t *testing.T) *fileBroker {
	t.Helper()
	b, err := c.in(t).open(t.Context(), nil)
	must(t, err)
	t.Cleanup(func() { _ = b.store.Close() })
	return b
}

// quiet lets the deadline pass after a restart. What lives in the target then must be on
// record as alive.
func (c brokerConfig) quiet(t *testing.T, seen *states) {
	t.Helper()
	b := c.restart(t)
	row, state := b.row(t), store.LeaseState("")
	if row != nil {
		state = row.State
	}
	seen.mu.Lock()
	seen.all[state] = true
	seen.mu.Unlock()
	if n := b.c.living(t); n > 0 && (row == nil || row.State == store.LeaseEnded) {
		t.Errorf("%d living, and the lease is %q: nobody will end it", n, state)
	}
	if row == nil {
		if b.c.given(t) > 0 {
			t.Error("it was given, and is not on record")
		}
		return
	}
	b.now = row.Deadline.Add(5 * time.Second)
	must(t, b.EndLeases(t.Context()))
	if row.State == store.LeaseRevoking && row.Attempts > 0 && row.DueAt.After(b.now) {
		// The one that died had taken it: it is taken again after that one's time. Until
		// then the target itself ends what is over, at the next start.
		must(t, b.target.Sweep(t.Context(), b.now))
		b.none(t, false)
		b.now = row.DueAt
		must(t, b.EndLeases(t.Context()))
	}
	b.none(t, true)
	b.whole(t, row.ID)
}

// again has the job ask again after a restart.
func (c brokerConfig) again(t *testing.T) {
	t.Helper()
	b := c.restart(t)
	before := b.row(t)
	b.now = b.now.Add(time.Second)
	given, err := b.ask(t.Context())
	if (err == nil) != (before == nil) {
		t.Errorf("asked again: %v, and a lease was on record: %v", err, before != nil)
	}
	if err != nil {
		must(t, refused(err))
	} else {
		must(t, b.EndLease(t.Context(), given.ID, given.Secret))
	}
	if n := b.c.given(t); n > 1 {
		t.Errorf("given %d times", n)
	}
	if n := b.c.minted(t); n > 1 {
		t.Errorf("made %d times", n)
	}
	// One that was never finished may be in the making until then; one that was taken is
	// taken again.
	b.now = b.now.Add(2 * store.MintTime)
	if before != nil && before.DueAt.After(b.now) && before.Attempts > 0 {
		b.now = before.DueAt
	}
	must(t, b.EndLeases(t.Context()))
	b.none(t, true)
	b.whole(t, b.row(t).ID)
}

// none wants nothing to live in the target, and no lease to be open if closed.
func (b *fileBroker) none(t *testing.T, closed bool) {
	t.Helper()
	if n := b.c.living(t); n > 0 {
		t.Errorf("%d living", n)
	}
	open, err := b.store.Leases(t.Context())
	must(t, err)
	if closed && len(open) > 0 {
		t.Errorf("%d are open: %s, due %s, attempt %d, %s", len(open), open[0].State, open[0].DueAt, open[0].Attempts, open[0].Error)
	}
}

// whole wants a ledger that verifies, in which a lease begins and ends once.
func (b *fileBroker) whole(t *testing.T, id string) {
	t.Helper()
	key, err := ledger.ParseKey(b.c.Ledger)
	must(t, err)
	var export bytes.Buffer
	must(t, ledger.Export(t.Context(), b.store, &export, ledger.ExportConfig{}))
	_, err = ledger.VerifyExport(bytes.NewReader(export.Bytes()), ledger.VerifyConfig{Verifier: key.Verifier()})
	must(t, err)
	for what, text := range map[string]string{"begins": `"kind":"mint"`, "ends": `"outcome":"ended"`} {
		n := 0
		for line := range bytes.Lines(export.Bytes()) {
			if bytes.Contains(line, []byte(id)) && bytes.Contains(line, []byte(text)) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("by the ledger it %s %d times", what, n)
		}
	}
}
