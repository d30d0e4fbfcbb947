package gate_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/statements"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/store/pgtest"
	"github.com/sallyport/sallyport/gate/webhook"
	"github.com/sallyport/sallyport/rules"
)

var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

const secret = "a webhook secret"

const policyText = `version: 1
reviewers: [acme/sre]
environments:
  dev:
    gate: auto
    merge: true
    paths: [docs/**, "**/*_test.go"]
    after: [test]
  production:
    gate: human
agents: {also: [{id: acme-writer, logins: ["writer[bot]"]}]}
`

// world is acme/orders with its people, an agent's App, and a gate at work.
type world struct {
	t    testing.TB
	g    *githubtest.GitHub
	acme *githubtest.Organization
	// alice and dave may write, bob and rose are in acme/sre, carol owns the
	// organisation, eve reads.
	alice, bob, rose, carol, dave, eve *githubtest.User
	agentApp                           *githubtest.App
	agent                              *githubtest.User
	repo                               *githubtest.Repository
	app                                *githubtest.App
	inst                               *githubtest.Installation
	sre                                *githubtest.Team

	clock  *githubtest.Clock
	client *github.Client
	store  *store.Store
	where  store.Config
	key    ledger.Key
	gate   *gate.Gate
	// peers are more replicas over the same PostgreSQL; turn counts whose it is.
	peers []*gate.Gate
	turn  int
	hook  *httptest.Server
}

// inProcess reads migrations in the test's own process.
type inProcess struct{}

func (inProcess) Look(ctx context.Context, name, text string) ([]statements.Finding, bool, string) {
	return statements.Look(ctx, name, text)
}

type option func(*world, *gate.Config)

// permissions and events are what setup asks for, no more: what a test needs beyond
// them, the App lacks.
func permissions() map[string]string { return github.PermissionLevels(false) }

func events() []string { return github.Events() }

// newWorld builds it. An empty policy is none.
func newWorld(t testing.TB, policy string, options ...option) *world {
	t.Helper()
	key, err := testKey()
	must(t, err)
	w := &world{t: t, clock: githubtest.NewClock(time.Now().Truncate(time.Second))}
	g := githubtest.Start(t, githubtest.Config{Now: w.clock.Now, Limits: githubtest.NoLimits(), KeepQueries: true})
	w.g = g
	w.acme = g.Organization("acme")
	w.alice, w.bob, w.rose, w.carol, w.dave, w.eve = g.User("alice"), g.User("bob"), g.User("rose"), g.User("carol"), g.User("dave"), g.User("eve")
	w.acme.Owner(w.carol)
	w.repo = g.Repository(w.acme, "orders")
	w.sre = w.acme.Team("sre", w.bob, w.rose)
	w.sre.Access(w.repo, "write")
	w.repo.Collaborator(w.alice, "write")
	w.repo.Collaborator(w.dave, "write")
	w.repo.Collaborator(w.eve, "read")
	w.agentApp = g.App(githubtest.AppConfig{Slug: "writer", Permissions: map[string]string{"contents": "write", "pull_requests": "write", "checks": "write", "statuses": "write"}, Key: key})
	w.agentApp.Install(w.acme, w.repo)
	w.agent = w.agentApp.Bot()
	if policy != "" {
		w.repo.CommitTo(w.carol, "main", "Add the policy", map[string]string{rules.PolicyPath: policy})
	}

	where := newDatabase(t)
	w.where = where
	where.Retry = store.Retry{First: 20 * time.Millisecond, Max: 200 * time.Millisecond, Attempts: 12}
	w.store, err = store.Open(t.Context(), where)
	must(t, err)
	t.Cleanup(func() { w.store.Close() })
	t.Cleanup(func() {
		if _, err := w.store.LedgerCheckpoint(context.Background()); err == nil { // some tests close it
			w.hangTogether()
		}
	})
	w.key, err = ledger.GenerateKey(rand.Reader, "sallyport.test/ledger")
	must(t, err)
	log, err := ledger.New(ledger.Config{Key: w.key})
	must(t, err)

	mux := http.NewServeMux()
	w.hook = httptest.NewServer(mux)
	t.Cleanup(w.hook.Close)
	w.app = g.App(githubtest.AppConfig{Slug: "sallyport", Owner: w.acme, Permissions: permissions(), Events: events(), WebhookURL: w.hook.URL + "/webhooks/github", Secret: secret, Key: key})
	w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, Checks: []githubtest.RequiredCheck{{Context: gate.CheckName, AppID: w.app.ID}}})
	appKey, err := github.ParseKey(w.app.KeyPEM())
	must(t, err)
	w.client, err = github.New(github.Config{App: rules.AppID(w.app.ID), Key: appKey, BaseURL: g.URL(), Cache: w.store, Now: w.clock.Now})
	must(t, err)
	w.inst = w.app.Install(w.acme)
	cfg := gate.Config{
		GitHub: w.client, Store: w.store, Ledger: log, Verifier: w.key.Verifier(), Owners: []rules.AccountID{rules.AccountID(w.acme.ID)},
		Sweep: -1, Now: w.clock.Now, Statements: inProcess{},
	}
	for _, o := range options {
		o(w, &cfg)
	}
	w.gate, err = gate.New(t.Context(), cfg)
	must(t, err)
	if where.URL != "" {
		w.peers = []*gate.Gate{w.replica(cfg, string(where.URL)), w.replica(cfg, string(where.URL))}
	}
	h, err := webhook.New(webhook.Config{
		Secrets: []webhook.Secret{secret}, App: rules.AppID(w.app.ID), Bot: w.gate.App().Bot.ID, Store: w.store, Now: w.clock.Now,
		Waits: func(ctx context.Context, c webhook.Check) bool { return w.gate.Waits(ctx, c.Repository, c.SHA, c.Name) },
	})
	must(t, err)
	mux.Handle("POST /webhooks/github", h)
	if policy != "" {
		w.settle()
		w.adopt("acme/orders")
	}
	w.settle()
	return w
}

// storeVariable says which database the tests are about: "postgres", or nothing for
// SQLite.
const storeVariable = "SALLYPORT_TEST_STORE"

// newDatabase is an empty database for one test.
func newDatabase(t testing.TB) store.Config {
	t.Helper()
	if os.Getenv(storeVariable) == "postgres" {
		return store.Config{URL: store.Address(pgtest.URL(t))}
	}
	return store.Config{Path: filepath.Join(t.TempDir(), "sallyport.db")}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// adopt brings the policy into force as an administrator does.
func (w *world) adopt(name string) {
	w.t.Helper()
	list, err := w.gate.LookAtAdoption(w.t.Context(), name)
	must(w.t, err)
	for _, a := range list {
		must(w.t, w.gate.Adopt(w.t.Context(), a, "carol"))
	}
}

// next is the replica whose turn it is: on PostgreSQL each work is another one's than
// the work before.
func (w *world) next() *gate.Gate {
	w.turn++
	return append([]*gate.Gate{w.gate}, w.peers...)[w.turn%(len(w.peers)+1)]
}

// warm has every replica look at the repository, so that it has its tokens: what an App
// asks for them with is signed by the real clock, of which GitHub's must not be far ahead.
func (w *world) warm() {
	w.t.Helper()
	for _, g := range append([]*gate.Gate{w.gate}, w.peers...) {
		w.settle()
		must(w.t, w.store.Mark(w.t.Context(), w.clock.Now(), rules.Mark{Key: rules.WorkKey{Kind: rules.WorkRepository, Repository: rules.RepositoryID(w.repo.ID)}}))
		work, err := w.store.Take(w.t.Context(), "test", w.clock.Now(), time.Minute)
		must(w.t, err)
		must(w.t, g.Reconcile(w.t.Context(), work))
	}
	w.settle()
}

// first is the first replica, whosever turn it is: the others may have no tokens any more
// where the clock goes far (see warm), and BreakLedger breaks its ledger alone.
func (w *world) first() *gate.Gate { return w.gate }

// step has a replica do the next piece of work that is due, if there is any, and ends it
// in the store as the gate's workers do. What fails is tried again no sooner than later.
func (w *world) step(by func() *gate.Gate, later time.Duration) (did bool, failed error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	work, err := w.store.Take(ctx, "test", w.clock.Now(), time.Minute)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	must(w.t, err)
	if failed = by().Reconcile(ctx, work); failed != nil {
		w.t.Logf("%s: %v", work.Key, failed)
		must(w.t, w.store.Fail(ctx, work.Key, work.Lease, failed, w.clock.Now(), w.clock.Now().Add(later)))
	}
	return true, failed
}

// settle does all work there is until no event and no work is left. The clock goes
// on for what waits a moment.
func (w *world) settle() {
	w.t.Helper()
	w.rest(func(due time.Time) bool { return due.Sub(w.clock.Now()) <= 50*time.Second })
}

// calm is settle for at most a while of the world's clock: what GitHub does not
// confirm is asked for again and again.
func (w *world) calm(most time.Duration) {
	w.t.Helper()
	end := w.clock.Now().Add(most)
	w.rest(func(due time.Time) bool { return !due.After(end) })
}

// rest does all work there is, and lets the clock go on to what is worth waiting for.
func (w *world) rest(waits func(due time.Time) bool) {
	w.t.Helper()
	for round, quiet := 0, 0; quiet < 2; round++ {
		if round > 3000 {
			w.t.Fatal("it never settles")
		}
		w.arrive()
		if did, _ := w.step(w.next, 0); did {
			quiet = 0
			continue
		}
		due, err := w.store.NextDue(w.t.Context())
		must(w.t, err)
		if due.IsZero() || !waits(due) {
			quiet++
			continue
		}
		w.clock.Advance(max(due.Sub(w.clock.Now()), time.Millisecond))
	}
	poisoned, err := w.store.Poisoned(w.t.Context())
	must(w.t, err)
	for _, p := range poisoned {
		w.t.Errorf("poisoned: %s: %s", p.Key, p.Error)
	}
}

// arrive has every event that is on its way come.
func (w *world) arrive() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	must(w.t, w.g.Settle(ctx))
}

// until does the work that is due, whatever fails, and lets a second pass where none is,
// until something is so. It says how often something failed.
func (w *world) until(by func() *gate.Gate, so func() bool) (failed int) {
	w.t.Helper()
	for round := 0; !so(); round++ {
		if round > 3000 {
			w.t.Fatal("it never is so, so this shows nothing")
		}
		w.arrive()
		did, err := w.step(by, 0)
		if err != nil {
			failed++
		}
		if !did {
			w.clock.Advance(time.Second)
		}
	}
	return failed
}

// works is until for a time of the world's clock.
func (w *world) works(by func() *gate.Gate, span time.Duration) (failed int) {
	w.t.Helper()
	end := w.clock.Now().Add(span)
	return w.until(by, func() bool { return !w.clock.Now().Before(end) })
}

// while does the work that is due now, and leaves for later what fails.
func (w *world) while() {
	w.t.Helper()
	for did := true; did; {
		w.arrive()
		did, _ = w.step(w.first, 20*time.Second)
	}
}

// push commits files to a branch as somebody.
func (w *world) push(by *githubtest.User, branch string, files map[string]string) string {
	w.t.Helper()
	return w.repo.CommitTo(by, branch, "Work on "+branch, files)
}

// open opens a pull request of a branch with files.
func (w *world) open(by *githubtest.User, branch string, files map[string]string) *githubtest.Pull {
	w.t.Helper()
	w.push(by, branch, files)
	spec := githubtest.PullSpec{Head: branch, Title: "Work on " + branch}
	if by == w.agent {
		spec.As = w.agentApp
	}
	p, err := w.repo.OpenPull(by, spec)
	must(w.t, err)
	return p
}

// tests runs the workflow with the job "test" at a head and ends it.
func (w *world) tests(sha, conclusion string) *githubtest.Job {
	w.t.Helper()
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/test.yml", By: w.dave, SHA: sha, Jobs: []githubtest.JobSpec{{Name: "test"}}})
	job := run.Job("test")
	must(w.t, job.Complete(conclusion))
	return job
}

// says is what our check says at a commit: its conclusion and text.
func (w *world) says(sha string) (conclusion, text string) {
	k := w.repo.CheckRun(sha, gate.CheckName)
	if k == nil {
		return "", ""
	}
	s := k.See()
	return s.Conclusion, s.Title + "\n" + s.Summary + "\n" + s.Text
}

// want fails the test unless our check at the head has a conclusion and names all of
// some codes.
func (w *world) want(p *githubtest.Pull, conclusion string, codes ...string) {
	w.t.Helper()
	got, text := w.says(p.Head())
	if got != conclusion {
		w.t.Errorf("the check says %q, want %q:\n%s", got, conclusion, text)
	}
	for _, c := range codes {
		if !strings.Contains(text, "`"+c+"`") {
			w.t.Errorf("the check does not name %s:\n%s", c, text)
		}
	}
}

// approvals are our own reviews that stand.
func (w *world) approvals(p *githubtest.Pull) (n int) {
	for _, r := range p.See().Reviews {
		if r.User == "sallyport[bot]" && r.State == "APPROVED" {
			n++
		}
	}
	return n
}

// verify verifies the whole ledger and gives its size.
func (w *world) verify() int64 {
	w.t.Helper()
	srv := httptest.NewServer(ledger.NewHandler(w.store, w.key.Verifier()))
	defer srv.Close()
	c, err := ledger.Verify(w.t.Context(), ledger.HTTP(srv.Client(), srv.URL), ledger.VerifyConfig{Verifier: w.key.Verifier()})
	must(w.t, err)
	return c.Size
}

func (w *world) dump(p *githubtest.Pull) string {
	s := p.See()
	return fmt.Sprintf("%s merged=%v labels=%v waiting=%v reviews=%v comments=%v", s.State, s.Merged, s.Labels, s.Waiting, s.Reviews, s.Comments)
}
