package gate_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/webhook"
	"github.com/sallyport/sallyport/rules"
)

// childVariable makes this test binary the server that is killed: its value is a
// childConfig.
const childVariable = "SALLYPORT_TEST_CHILD"

// The size of the kill test: .ci/nightly sets 10,000.
const (
	deliveriesVariable = "SALLYPORT_CRASH_DELIVERIES"
	seedVariable       = "SALLYPORT_CRASH_SEED"
	deliveriesDefault  = 500
)

type childConfig struct {
	Database, Address, API, Key, Ledger string
	App, Owner                          int64
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		var c childConfig
		err := json.Unmarshal([]byte(text), &c)
		if err == nil {
			err = child(c)
		}
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child is a server until it is killed.
func child(c childConfig) error {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Path: c.Database, Retry: store.Retry{First: 50 * time.Millisecond, Max: time.Second, Attempts: 100}})
	if err != nil {
		return err
	}
	key, err := ledger.ParseKey(c.Ledger)
	if err != nil {
		return err
	}
	log, err := ledger.New(ledger.Config{Key: key})
	if err != nil {
		return err
	}
	appKey, err := github.ParseKey([]byte(c.Key))
	if err != nil {
		return err
	}
	client, err := github.New(github.Config{App: rules.AppID(c.App), Key: appKey, BaseURL: c.API, Cache: s})
	if err != nil {
		return err
	}
	var g *gate.Gate
	for g == nil {
		if g, err = gate.New(ctx, gate.Config{
			GitHub: client, Store: s, Ledger: log, Verifier: key.Verifier(), Owners: []rules.AccountID{rules.AccountID(c.Owner)},
			Sweep: 300 * time.Millisecond, Settle: 500 * time.Millisecond, Arrive: 500 * time.Millisecond, Lease: 4 * time.Second,
			Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		}); err != nil {
			time.Sleep(20 * time.Millisecond)
		}
	}
	h, err := webhook.New(webhook.Config{
		Secrets: []webhook.Secret{secret}, App: rules.AppID(c.App), Bot: g.App().Bot.ID, Store: s,
		Waits: func(ctx context.Context, k webhook.Check) bool { return g.Waits(ctx, k.Repository, k.SHA, k.Name) },
	})
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Address)
	if err != nil {
		return err
	}
	go func() { _ = (&http.Server{Handler: h, ReadHeaderTimeout: time.Second}).Serve(l) }()
	return g.Run(ctx)
}

// killer starts the server again and again, and kills it at random moments.
type killer struct {
	t      *testing.T
	config string
	mu     sync.Mutex
	cmd    *exec.Cmd
	kills  int
}

func (k *killer) start() {
	k.mu.Lock()
	defer k.mu.Unlock()
	exe, err := os.Executable()
	must(k.t, err)
	k.cmd = exec.Command(exe)
	k.cmd.Env = append(os.Environ(), childVariable+"="+k.config)
	k.cmd.Stdout, k.cmd.Stderr = io.Discard, os.Stderr
	must(k.t, k.cmd.Start())
}

func (k *killer) kill() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cmd != nil {
		_ = k.cmd.Process.Kill()
		_ = k.cmd.Wait() // killed: that is its error
		k.cmd = nil
		k.kills++
	}
}

func fromSeconds(t *testing.T, otherwise int) time.Duration {
	t.Helper()
	return time.Duration(fromEnvironment(t, "SALLYPORT_CRASH_PATIENCE", otherwise)) * time.Second
}

func fromEnvironment(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// expected is what must become of a pull request.
type expected struct {
	pull       *githubtest.Pull
	conclusion string
	merged     bool
}

func (w *world) pending(e expected) string {
	got, _ := w.says(e.pull.Head())
	if s := e.pull.See(); got != e.conclusion || s.Merged != e.merged {
		return fmt.Sprintf("#%d: the check says %q, want %q; merged %v, want %v", e.pull.Number, got, e.conclusion, s.Merged, e.merged)
	}
	return ""
}

// Killed at random moments while GitHub fails in both ways, doubles, reorders and
// drops deliveries, the gate loses nothing that it accepted, does nothing twice, and
// comes to where it would have come undisturbed.
func TestKilledAtRandom(t *testing.T) {
	size := fromEnvironment(t, deliveriesVariable, deliveriesDefault)
	seed := fromEnvironment(t, seedVariable, int(time.Now().UnixNano()%1_000_000))
	t.Logf("%s=%d %s=%d", deliveriesVariable, size, seedVariable, seed)
	random := mathrand.New(mathrand.NewPCG(uint64(seed), 1))
	chances := mathrand.New(mathrand.NewPCG(uint64(seed), 2)) // used with the GitHub locked

	// The set-up: an App on acme/orders whose policy is adopted.
	key, err := testKey()
	must(t, err)
	g, err := githubtest.New(githubtest.Config{Limits: githubtest.NoLimits(), Parallel: 4, WebhookTimeout: 2 * time.Second})
	must(t, err)
	t.Cleanup(g.Close)
	w := &world{t: t, g: g, acme: g.Organization("acme"), alice: g.User("alice"), bob: g.User("bob"), carol: g.User("carol"), dave: g.User("dave")}
	w.acme.Owner(w.carol)
	w.repo = g.Repository(w.acme, "orders")
	w.acme.Team("sre", w.bob).Access(w.repo, "write")
	w.repo.Collaborator(w.dave, "write")
	w.agentApp = g.App(githubtest.AppConfig{Slug: "writer", Permissions: map[string]string{"contents": "write", "pull_requests": "write"}, Key: key})
	w.agentApp.Install(w.acme, w.repo)
	w.agent = w.agentApp.Bot()
	w.repo.CommitTo(w.carol, "main", "Add the policy", map[string]string{rules.PolicyPath: policyText})
	address := unusedAddress(t)
	w.app = g.App(githubtest.AppConfig{Slug: "sallyport", Owner: w.acme, Permissions: permissions(), Events: events(), WebhookURL: "http://" + address + "/", Secret: secret, Key: key})
	w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, Checks: []githubtest.RequiredCheck{{Context: gate.CheckName, AppID: w.app.ID}}})
	w.inst = w.app.Install(w.acme)
	w.key, err = ledger.GenerateKey(rand.Reader, "sallyport.test/ledger")
	must(t, err)
	database := filepath.Join(t.TempDir(), "sallyport.db")
	w.adoptInto(database)

	config, err := json.Marshal(childConfig{
		Database: database, Address: address, API: g.URL(), Key: string(w.app.KeyPEM()), Ledger: w.key.Secret(), App: w.app.ID, Owner: w.acme.ID,
	})
	must(t, err)
	k := &killer{t: t, config: string(config)}
	k.start()
	t.Cleanup(k.kill)

	// Trouble.
	chance := func(percent int) bool { return chances.IntN(100) < percent }
	for kind, percent := range map[githubtest.Kind]int{githubtest.ServerError: 2, githubtest.Reset: 1, githubtest.Unanswered: 2, githubtest.DoneThenError: 2} {
		g.Fail(githubtest.Fault{Kind: kind, Times: -1, When: func(r githubtest.Request) bool { return r.App == "sallyport" && chance(percent) }})
	}
	w.app.Fate(func(githubtest.Event) githubtest.Fate {
		var f githubtest.Fate
		f.Lose = chance(20)
		if chance(10) {
			f.Copies = 1
		}
		if chance(10) {
			f.Behind = 1 + chances.IntN(4)
		}
		f.Unanswered = chance(3)
		return f
	})
	done, stopped := make(chan struct{}), make(chan struct{})
	pauses := mathrand.New(mathrand.NewPCG(uint64(seed), 3))
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Duration(100+pauses.IntN(900)) * time.Millisecond):
				k.kill()
				k.start()
			}
		}
	}()

	// Work.
	var all []expected
	for n := 0; len(w.app.Deliveries()) < size; n++ {
		branch := fmt.Sprintf("writer/%d", n)
		switch random.IntN(5) {
		case 0: // merged by itself
			p := w.open(w.agent, branch, map[string]string{fmt.Sprintf("docs/%d.md", n): "x\n"})
			w.tests(p.Head(), "success")
			all = append(all, expected{p, "success", true})
		case 1: // red
			p := w.open(w.agent, branch, map[string]string{fmt.Sprintf("docs/%d.md", n): "x\n"})
			w.tests(p.Head(), "failure")
			all = append(all, expected{p, "action_required", false})
		case 2: // approved
			p := w.open(w.agent, branch, map[string]string{fmt.Sprintf("src/%d.go", n): "x\n"})
			_, err := p.Approve(w.bob, "")
			must(t, err)
			all = append(all, expected{p, "success", false})
		case 3: // held, with a push
			p := w.open(w.agent, branch, map[string]string{fmt.Sprintf("src/%d.go", n): "x\n"})
			_, err := p.Approve(w.bob, "")
			must(t, err)
			w.push(w.agent, branch, map[string]string{fmt.Sprintf("src/%d.go", n): "y\n"})
			all = append(all, expected{p, "action_required", false})
		case 4: // merged after a second push
			p := w.open(w.agent, branch, map[string]string{fmt.Sprintf("docs/%d.md", n): "x\n"})
			w.push(w.agent, branch, map[string]string{fmt.Sprintf("docs/%d.md", n): "y\n"})
			w.tests(p.Head(), "success")
			all = append(all, expected{p, "success", true})
		}
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
	}
	close(done)
	<-stopped
	g.Heal()
	w.app.Fate(nil)
	w.app.ReleaseHeld()

	// The server that runs now has to find everything.
	limit := time.Now().Add(fromSeconds(t, 60) + time.Duration(size)*20*time.Millisecond)
	for {
		open := ""
		for _, e := range all {
			if open = w.pending(e); open != "" {
				break
			}
		}
		if open == "" {
			break
		}
		if time.Now().After(limit) {
			n := 0
			for _, e := range all {
				if s := w.pending(e); s != "" && n < 10 {
					n++
					t.Error(s, w.dump(e.pull))
				}
			}
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(time.Second) // whatever is done twice is done now
	k.kill()
	t.Logf("%d deliveries, %d pull requests, %d kills", len(w.app.Deliveries()), len(all), k.kills)

	for _, e := range all {
		s := e.pull.See()
		if n := w.approvals(e.pull); n > 1 {
			t.Errorf("#%d was approved %d times: %s", e.pull.Number, n, w.dump(e.pull))
		}
		comments := 0
		for _, c := range s.Comments {
			if c.User == "sallyport[bot]" {
				comments++
			}
		}
		if comments > 1 {
			t.Errorf("#%d has %d comments of ours", e.pull.Number, comments)
		}
		seen := map[string]bool{}
		for _, c := range w.repo.Checks(e.pull.Head()) {
			if c.App == "sallyport" && seen[c.ExternalID] {
				t.Errorf("#%d has two check runs of one effect", e.pull.Number)
			} else if c.App == "sallyport" {
				seen[c.ExternalID] = true
			}
		}
	}
	w.reopen(database, all)
}

// adoptInto adopts the policy into a database.
func (w *world) adoptInto(database string) {
	w.t.Helper()
	s, err := store.Open(w.t.Context(), store.Config{Path: database})
	must(w.t, err)
	defer s.Close()
	log, err := ledger.New(ledger.Config{Key: w.key})
	must(w.t, err)
	appKey, err := github.ParseKey(w.app.KeyPEM())
	must(w.t, err)
	client, err := github.New(github.Config{App: rules.AppID(w.app.ID), Key: appKey, BaseURL: w.g.URL(), Cache: s})
	must(w.t, err)
	w.gate, err = gate.New(w.t.Context(), gate.Config{GitHub: client, Store: s, Ledger: log, Verifier: w.key.Verifier(), Owners: []rules.AccountID{rules.AccountID(w.acme.ID)}})
	must(w.t, err)
	w.adopt("acme/orders")
}

// reopen looks at what the killed server left: nothing is set apart, and the ledger
// is whole.
func (w *world) reopen(database string, all []expected) {
	w.t.Helper()
	s, err := store.Open(w.t.Context(), store.Config{Path: database, MustExist: true})
	must(w.t, err)
	defer s.Close()
	poisoned, err := s.Poisoned(w.t.Context())
	must(w.t, err)
	for _, p := range poisoned {
		w.t.Errorf("poisoned: %s: %s", p.Key, p.Error)
	}
	for _, e := range all {
		if w.pending(e) == "" {
			continue
		}
		key := rules.WorkKey{Kind: rules.WorkPullRequest, Repository: rules.RepositoryID(w.repo.ID), Number: int64(e.pull.Number)}
		subject, err := s.Subject(w.t.Context(), key)
		w.t.Logf("#%d: %s %v", e.pull.Number, subject.Data, err)
		merge, err := s.Effect(w.t.Context(), fmt.Sprintf("merge:%d#%d:%s", w.repo.ID, e.pull.Number, e.pull.Head()))
		w.t.Logf("  %+v %v", merge, err)
	}
	pending, err := s.Pending(w.t.Context(), 1000)
	must(w.t, err)
	for _, p := range pending {
		if p.Priority < rules.PriorityHousekeeping && p.Lease == "" && time.Since(p.Due) > 5*time.Second {
			w.t.Errorf("left undone: %s since %s: %s", p.Key, p.Due, p.Error)
		}
	}
	srv := httptest.NewServer(ledger.NewHandler(s, w.key.Verifier()))
	defer srv.Close()
	c, err := ledger.Verify(w.t.Context(), ledger.HTTP(srv.Client(), srv.URL), ledger.VerifyConfig{Verifier: w.key.Verifier()})
	must(w.t, err)
	w.t.Logf("the ledger has %d entries and is whole", c.Size)
}

func unusedAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}
