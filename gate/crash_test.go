package gate_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/store/pgtest"
	"github.com/sallyport/sallyport/gate/webhook"
	"github.com/sallyport/sallyport/rules"
)

// childVariable makes this test binary the server that is killed: its value is a
// childConfig.
const childVariable = "SALLYPORT_TEST_CHILD"

// What may be set of the kill test: how many webhooks GitHub makes before it heals
// (10,000 is a night's work), the seed of what happens when, and how many seconds
// the end may take beyond what the size allows for.
const (
	deliveriesVariable = "SALLYPORT_CRASH_DELIVERIES"
	seedVariable       = "SALLYPORT_CRASH_SEED"
	patienceVariable   = "SALLYPORT_CRASH_PATIENCE"
	deliveriesDefault  = 400
	killsAtLeast       = 5
	// replicas is how many servers share one PostgreSQL; one has a file of SQLite.
	replicas = 3
)

type childConfig struct {
	Database, API, Key, Ledger, Tell string
	App, Owner                       int64
}

// store is how the server's database is opened, by itself and by who looks at what
// it left.
func (c childConfig) store() store.Config {
	cfg := store.Config{Retry: store.Retry{First: 50 * time.Millisecond, Max: time.Second, Attempts: 100}}
	if strings.Contains(c.Database, "://") {
		cfg.URL = store.Address(c.Database)
	} else {
		cfg.Path = c.Database
	}
	return cfg
}

// gate makes the gate and the webhook handler over a store. A sweep below 0 is none.
func (c childConfig) gate(ctx context.Context, s *store.Store, sweep time.Duration) (*gate.Gate, http.Handler, error) {
	key, err := ledger.ParseKey(c.Ledger)
	if err != nil {
		return nil, nil, err
	}
	log, err := ledger.New(ledger.Config{Key: key})
	if err != nil {
		return nil, nil, err
	}
	appKey, err := github.ParseKey([]byte(c.Key))
	if err != nil {
		return nil, nil, err
	}
	client, err := github.New(github.Config{App: rules.AppID(c.App), Key: appKey, BaseURL: c.API, Cache: s})
	if err != nil {
		return nil, nil, err
	}
	g, err := gate.New(ctx, gate.Config{
		GitHub: client, Store: s, Ledger: log, Verifier: key.Verifier(), Owners: []rules.AccountID{rules.AccountID(c.Owner)}, Workers: 4,
		Sweep: sweep, Settle: 500 * time.Millisecond, Arrive: 500 * time.Millisecond, Lease: 4 * time.Second, Tell: teller{c.Tell},
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return nil, nil, err
	}
	h, err := webhook.New(webhook.Config{
		Secrets: []webhook.Secret{secret}, App: rules.AppID(c.App), Bot: g.App().Bot.ID, Store: s,
		Waits: func(ctx context.Context, k webhook.Check) bool { return g.Waits(ctx, k.Repository, k.SHA, k.Name) },
	})
	return g, h, err
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
	os.Exit(pgtest.Run(m))
}

// child is a server until it is killed, or its parent is gone. It says on stdout where
// it listens.
func child(c childConfig) error {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
		os.Exit(3)
	}()
	ctx := context.Background()
	s, err := store.Open(ctx, c.store())
	if err != nil {
		return err
	}
	var g *gate.Gate
	var h http.Handler
	for g == nil {
		if g, h, err = c.gate(ctx, s, 200*time.Millisecond); err != nil {
			g = nil
			time.Sleep(20 * time.Millisecond) // GitHub may be failing
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := http.NewServeMux()
	served.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		g.Wake()
	})
	served.HandleFunc("/hold", func(w http.ResponseWriter, r *http.Request) {
		var t rules.JobToken // the verifier's, in earnest
		err := json.NewDecoder(r.Body).Decode(&t)
		if err == nil {
			var s jobs.State
			if s, err = g.Hold(r.Context(), t); err == nil {
				err = json.NewEncoder(w).Encode(s)
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	go func() { _ = (&http.Server{Handler: served, ReadHeaderTimeout: time.Second}).Serve(l) }()
	fmt.Fprintln(os.Stdout, l.Addr())
	return g.Run(ctx)
}

// killer starts the server again and again, and kills it. It is the address that
// GitHub sends webhooks to: it passes them on to the server that runs, and answers
// 503 while none does.
type killer struct {
	t      *testing.T
	config string
	client *http.Client
	// servers are those that run or were killed. Requests go to one after the other.
	servers []*killed
	turn    atomic.Int64
	kills   int // of whoever starts and kills

	mu sync.Mutex
	// accepted are the deliveries that were answered with 202 and are no news of no
	// concern, by id. Promised are those since the last look, and when they went out.
	accepted map[string]bool
	promised map[rules.WorkKey]time.Time
	refused  map[int]int    // by status
	told     map[string]int // messages, by kind and code
}

// killed is one server.
type killed struct {
	target atomic.Pointer[string] // its address, nil while it does not answer

	cmd   *exec.Cmd // of whoever starts and kills, nil if it does not run
	read  chan struct{}
	stdin io.Closer
}

// target is the address of a server that runs, or nil.
func (k *killer) target() *string {
	turn := int(k.turn.Add(1))
	k.mu.Lock()
	servers := k.servers
	k.mu.Unlock()
	for i := range servers {
		if to := servers[(turn+i)%len(servers)].target.Load(); to != nil {
			return to
		}
	}
	return nil
}

func (k *killer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/told" {
		k.hear(w, r)
		return
	}
	status, answer := k.pass(r)
	k.mu.Lock()
	if status != http.StatusAccepted {
		k.refused[status]++
	}
	k.mu.Unlock()
	w.WriteHeader(status)
	_, _ = w.Write(answer) // GitHub's matter
}

// pass passes a webhook on and remembers what was promised about it.
func (k *killer) pass(r *http.Request) (status int, answer []byte) {
	to := k.target()
	body, err := io.ReadAll(r.Body)
	if to == nil || err != nil {
		return http.StatusServiceUnavailable, nil
	}
	q, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+*to+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		return http.StatusInternalServerError, nil
	}
	q.Header = r.Header.Clone()
	sent := time.Now()
	got, err := k.client.Do(q)
	if err != nil {
		return http.StatusServiceUnavailable, nil
	}
	defer got.Body.Close()
	if answer, err = io.ReadAll(got.Body); err != nil {
		return http.StatusServiceUnavailable, nil
	}
	var says struct{ Status string }
	if got.StatusCode != http.StatusAccepted || json.Unmarshal(answer, &says) != nil || says.Status == "ignored" {
		return got.StatusCode, answer
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.accepted[r.Header.Get("X-GitHub-Delivery")] = true
	if says.Status == "accepted" {
		if key, ok := promises(r.Header.Get("X-GitHub-Event"), body); ok {
			k.promised[key] = sent
		}
	}
	return got.StatusCode, answer
}

// promises is what an accepted event promises to look at: a pull request, or a run of
// which a job is held.
func promises(event string, body []byte) (rules.WorkKey, bool) {
	var about struct {
		Repository struct{ ID int64 }
		Pull       struct{ Number int64 } `json:"pull_request"`
		Callback   string                 `json:"deployment_callback_url"`
	}
	if json.Unmarshal(body, &about) != nil {
		return rules.WorkKey{}, false
	}
	key := rules.WorkKey{Kind: rules.WorkPullRequest, Repository: rules.RepositoryID(about.Repository.ID), Number: about.Pull.Number}
	if event == "deployment_protection_rule" {
		_, run, _ := strings.Cut(strings.TrimSuffix(about.Callback, "/deployment_protection_rule"), "/runs/")
		n, err := strconv.ParseInt(run, 10, 64)
		key.Kind, key.Number = rules.WorkRun, n
		return key, err == nil
	}
	return key, strings.HasPrefix(event, "pull_request")
}

// start starts the servers that do not run.
func (k *killer) start() error {
	var errs []error
	for _, s := range k.servers {
		if s.cmd == nil {
			errs = append(errs, s.start(k.config))
		}
	}
	return errors.Join(errs...)
}

func (s *killed) start(config string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVariable+"="+config)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.stdin, s.read = cmd, stdin, make(chan struct{})
	go func() {
		defer close(s.read)
		lines := bufio.NewReader(stdout)
		if line, err := lines.ReadString('\n'); err == nil {
			line = strings.TrimSpace(line)
			s.target.Store(&line)
		}
		_, _ = io.Copy(io.Discard, lines) // nothing more comes
	}()
	return nil
}

// kill kills one server with SIGKILL, each in its turn. A server that ended by itself
// is an error.
func (k *killer) kill() error {
	err := k.servers[k.kills%len(k.servers)].kill()
	k.kills++
	return err
}

// killAll kills all servers.
func (k *killer) killAll() error {
	var errs []error
	for range k.servers {
		errs = append(errs, k.kill())
	}
	return errors.Join(errs...)
}

func (s *killed) kill() error {
	if s.cmd == nil {
		return nil
	}
	err := s.cmd.Process.Kill()
	<-s.read
	_ = s.cmd.Wait() // killed: that is its error
	s.target.Store(nil)
	_ = s.stdin.Close() // nobody reads it
	s.cmd = nil
	return err
}

// kept looks at what a killed server left: each pull request and each run that a
// delivery was accepted about was looked at since, or is still marked.
func (k *killer) kept(ctx context.Context, cfg store.Config) error {
	k.mu.Lock()
	promised := maps.Clone(k.promised)
	clear(k.promised)
	k.mu.Unlock()
	cfg.MustExist = true
	s, err := store.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	pending, err := s.Pending(ctx, 1<<20)
	if err != nil {
		return err
	}
	marked := map[rules.WorkKey]bool{}
	for _, w := range pending {
		marked[w.Key] = true
	}
	for key, sent := range promised {
		if marked[key] {
			continue
		}
		subject, err := s.Subject(ctx, key)
		if err != nil {
			return fmt.Errorf("%s: a delivery was accepted at %s, nothing is marked, and nothing is known of it: %w", key, sent, err)
		}
		if subject.UpdatedAt.Before(sent.Truncate(time.Microsecond)) {
			return fmt.Errorf("%s: a delivery was accepted at %s, nothing is marked, and it was last looked at at %s", key, sent, subject.UpdatedAt)
		}
	}
	return nil
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

// expected is what must become of a pull request, whose heads were these.
type expected struct {
	what       string
	pull       *githubtest.Pull
	heads      []string
	conclusion string
	merged     bool
}

// differs says how a pull request is not what is expected, or "".
func (w *world) differs(e expected) string {
	got, _ := w.says(e.pull.Head())
	if s := e.pull.See(); got != e.conclusion || s.Merged != e.merged {
		return fmt.Sprintf("#%d (%s): the check says %q, want %q; merged %v, want %v; %s", e.pull.Number, e.what, got, e.conclusion, s.Merged, e.merged, w.dump(e.pull))
	}
	return ""
}

// crash is one run: a GitHub, a server that is killed, and what must come of it.
type crash struct {
	*world

	t      *testing.T
	config childConfig
	killer *killer
	seed   uint64
	all    []expected
	// deployments are those that were begun; answered are the answers to our rule that
	// GitHub took, once they were read.
	deployments []*deployed
	answered    map[string][]string
	waiting     int          // of those, how many nobody will release
	made        atomic.Int64 // webhooks, each counted once
}

// newCrash builds acme/orders with its people, whose policy is adopted, and starts
// the server.
func newCrash(t *testing.T, seed int) *crash {
	t.Helper()
	key, err := testKey()
	must(t, err)
	k := &killer{t: t, client: &http.Client{}, accepted: map[string]bool{}, promised: map[rules.WorkKey]time.Time{}, refused: map[int]int{}, told: map[string]int{}}
	proxy := httptest.NewServer(k)
	t.Cleanup(proxy.Close)
	t.Cleanup(k.client.CloseIdleConnections)
	g := githubtest.Start(t, githubtest.Config{Limits: githubtest.NoLimits(), Parallel: 4, WebhookTimeout: 2 * time.Second})
	w := &world{t: t, g: g, acme: g.Organization("acme"), alice: g.User("alice"), bob: g.User("bob"), rose: g.User("rose"), carol: g.User("carol"), dave: g.User("dave")}
	w.acme.Owner(w.carol)
	w.repo = g.Repository(w.acme, "orders")
	w.acme.Team("sre", w.bob, w.rose).Access(w.repo, "write")
	w.repo.Collaborator(w.alice, "write")
	w.repo.Collaborator(w.dave, "write")
	w.agentApp = g.App(githubtest.AppConfig{Slug: "writer", Permissions: map[string]string{"contents": "write", "pull_requests": "write"}, Key: key})
	w.agentApp.Install(w.acme, w.repo)
	w.agent = w.agentApp.Bot()
	w.repo.CommitTo(w.carol, "main", "Add the policy", map[string]string{rules.PolicyPath: crashPolicy})
	may := permissions()
	may["actions"] = "write" // to run jobs again
	w.app = g.App(githubtest.AppConfig{Slug: "sallyport", Owner: w.acme, Permissions: may, Events: events(), WebhookURL: proxy.URL + "/webhooks/github", Secret: secret, Key: key})
	w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, Checks: []githubtest.RequiredCheck{{Context: gate.CheckName, AppID: w.app.ID}}})
	w.inst = w.app.Install(w.acme)
	for _, name := range []string{"dev", "production"} {
		_, err := w.repo.Environment(name).EnableRule(w.app)
		must(t, err)
	}
	w.repo.Environment(late)
	w.key, err = ledger.GenerateKey(rand.Reader, "sallyport.test/ledger")
	must(t, err)
	where := newDatabase(t)
	database, servers := where.Path, 1
	if where.URL != "" {
		database, servers = string(where.URL), replicas
	}
	k.mu.Lock() // GitHub sends already
	for range servers {
		k.servers = append(k.servers, &killed{})
	}
	k.mu.Unlock()
	c := &crash{world: w, t: t, killer: k, seed: uint64(seed), config: childConfig{
		Database: database, API: g.URL(), Key: string(w.app.KeyPEM()), Ledger: w.key.Secret(), Tell: proxy.URL + "/told", App: w.app.ID, Owner: w.acme.ID,
	}}
	c.open(func(s *store.Store) {
		w.gate, _, err = c.config.gate(t.Context(), s, -1)
		must(t, err)
		w.adopt("acme/orders")
	})
	config, err := json.Marshal(c.config)
	must(t, err)
	k.config = string(config)
	must(t, k.start())
	t.Cleanup(func() { _ = k.killAll() }) // dead already, most of the time
	return c
}

// open does something with the server's store while no server runs.
func (c *crash) open(fn func(*store.Store)) {
	c.t.Helper()
	s, err := store.Open(c.t.Context(), c.config.store())
	must(c.t, err)
	defer s.Close()
	fn(s)
}

func (c *crash) random(stream uint64) *mathrand.Rand {
	return mathrand.New(mathrand.NewPCG(c.seed, stream))
}

// faults are what GitHub does wrong, in thousandths of all requests. Only the server
// asks this GitHub anything.
func faults() []struct {
	kind     githubtest.Kind
	thousand int
} {
	return []struct {
		kind     githubtest.Kind
		thousand int
	}{{githubtest.ServerError, 20}, {githubtest.Reset, 10}, {githubtest.Throttle, 3}, {githubtest.Unanswered, 20}, {githubtest.DoneThenError, 20}}
}

// trouble makes GitHub fail in both ways, and lose, double, delay and misreport
// webhooks. Heal ends it.
func (c *crash) trouble() {
	chances := c.random(2) // used with the GitHub locked
	for i, f := range faults() {
		asked := 0
		c.g.Fail(githubtest.Fault{Kind: f.kind, Times: -1, RetryAfter: time.Second, When: func(githubtest.Request) bool {
			asked++
			return asked == 50*(i+1) || chances.IntN(1000) < f.thousand // each comes at least once
		}})
	}
	chance := func(percent int) bool { return chances.IntN(100) < percent }
	c.app.Fate(func(e githubtest.Event) githubtest.Fate {
		if !e.Redelivery {
			c.made.Add(1)
		}
		f := githubtest.Fate{Lose: chance(20), Unanswered: chance(3)}
		if chance(10) {
			f.Copies = 1
		}
		if chance(10) {
			f.Behind = 1 + chances.IntN(4)
		}
		return f
	})
}

// count counts webhooks and leaves them alone.
func (c *crash) count() {
	c.app.Fate(func(e githubtest.Event) githubtest.Fate {
		if !e.Redelivery {
			c.made.Add(1)
		}
		return githubtest.Fate{}
	})
}

// work does one of the things that people and agents do, the number n of them.
func (c *crash) work(n, which int) {
	branch, docs, src := fmt.Sprintf("writer/%d", n), fmt.Sprintf("docs/%d.md", n), fmt.Sprintf("src/%d.go", n)
	file := func(name, text string) map[string]string { return map[string]string{name: text + "\n"} }
	e := expected{conclusion: "action_required"}
	opened := func(by *githubtest.User, name string) *githubtest.Pull {
		e.pull = c.world.open(by, branch, file(name, "x"))
		e.heads = append(e.heads, e.pull.Head())
		return e.pull
	}
	pushed := func(by *githubtest.User, name string) {
		e.heads = append(e.heads, c.push(by, branch, file(name, "y")))
	}
	approved := func(p *githubtest.Pull) {
		_, err := p.Approve(c.bob, "")
		must(c.t, err)
	}
	if which >= kindsOfPull {
		c.deploy(n, which-kindsOfPull)
		return
	}
	switch which {
	case 0:
		e.what, e.conclusion, e.merged = "an agent's documents, green", "success", true
		c.tests(opened(c.agent, docs).Head(), "success")
	case 1:
		e.what = "an agent's documents, red"
		c.tests(opened(c.agent, docs).Head(), "failure")
	case 2:
		e.what, e.conclusion = "an agent's code, approved", "success"
		approved(opened(c.agent, src))
	case 3:
		e.what = "an agent's code, approved before a push"
		approved(opened(c.agent, src))
		pushed(c.agent, src)
	case 4:
		e.what, e.conclusion, e.merged = "an agent's documents, green after a push", "success", true
		opened(c.agent, docs)
		pushed(c.agent, docs)
		c.tests(e.pull.Head(), "success")
	case 5:
		e.what, e.conclusion, e.merged = "an agent's documents, red and then green", "success", true
		run := c.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/test.yml", By: c.dave, SHA: opened(c.agent, docs).Head(), Jobs: []githubtest.JobSpec{{Name: "test"}}})
		must(c.t, run.Job("test").Complete("failure"))
		must(c.t, run.Rerun(c.dave))
		must(c.t, run.Job("test").Complete("success"))
	case 6:
		e.what = "an agent's code, approved and then refused"
		approved(opened(c.agent, src))
		_, err := e.pull.Review(c.bob, "REQUEST_CHANGES", "", "Not like this.")
		must(c.t, err)
	case 7:
		e.what = "an agent's code that people talk about"
		_, err := opened(c.agent, src).Comment(c.alice, "What is this for?")
		must(c.t, err)
		_, err = e.pull.Review(c.dave, "COMMENT", "", "For orders.")
		must(c.t, err)
	case 8:
		e.what, e.conclusion = "a person's code, approved", "success"
		approved(opened(c.dave, src))
	case 9:
		e.what = "a person's documents, green" // only agents' changes are approved by the gate
		c.tests(opened(c.dave, docs).Head(), "success")
	}
	c.all = append(c.all, e)
}

const (
	kindsOfPull = 10
	kindsOfWork = kindsOfPull + kindsOfDeployment
)

// A server that is killed once, with a GitHub that never fails, comes to what is
// expected of each kind of work: what the other test expects is right.
func TestKilledOnce(t *testing.T) {
	c := newCrash(t, 1)
	c.count()
	for n := range 2 * kindsOfWork {
		c.work(n, n%kindsOfWork)
		c.tend()
		if n == kindsOfWork {
			must(t, c.killer.kill())
			must(t, c.killer.kept(t.Context(), c.config.store()))
			must(t, c.killer.start())
		}
	}
	c.end()
}

// Killed at random moments while GitHub fails in both ways, doubles, reorders and
// drops deliveries, the gate loses nothing that it accepted, does nothing twice, and
// comes to where it would have come undisturbed.
func TestKilledAtRandom(t *testing.T) {
	size := fromEnvironment(t, deliveriesVariable, deliveriesDefault)
	seed := fromEnvironment(t, seedVariable, int(time.Now().UnixNano()%1_000_000))
	t.Logf("%s=%d %s=%d", deliveriesVariable, size, seedVariable, seed)
	c := newCrash(t, seed)
	c.trouble()
	done, stopped := make(chan struct{}), make(chan struct{})
	kills := atomic.Int64{}
	go func() {
		defer close(stopped)
		pauses := c.random(3)
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Duration(100+pauses.IntN(700)) * time.Millisecond):
				if err := errors.Join(c.killer.kill(), c.killer.kept(t.Context(), c.config.store()), c.killer.start()); err != nil {
					t.Errorf("after kill %d: %v", c.killer.kills, err)
					return
				}
				kills.Add(1)
			}
		}
	}()
	random := c.random(1)
	// Each kind comes, then whatever comes.
	for n := 0; (c.made.Load() < int64(size) || kills.Load() < killsAtLeast || n < kindsOfWork || c.unmet() != nil) && !t.Failed(); n++ {
		which := n
		if n >= kindsOfWork {
			which = random.IntN(kindsOfWork)
		}
		c.work(n, which)
		c.wait(min(time.Duration(size)*time.Millisecond/4, 5*time.Second)) // a small test is quick
		time.Sleep(time.Duration(random.IntN(120)) * time.Millisecond)
	}
	close(done)
	<-stopped
	c.g.Heal()
	c.count()
	t.Logf("GitHub failed: %v of %d requests; webhooks were not passed on: %v", c.met(), len(c.g.Requests()), c.refusals())
	if list := c.unmet(); list != nil {
		t.Errorf("no request met a %v: this shows nothing", list)
	}
	c.end()
}

// met counts the requests by the fault that they met.
func (c *crash) met() map[string]int {
	out := map[string]int{}
	for _, r := range c.g.Requests() {
		out[r.Fault]++
	}
	return out
}

// unmet are the kinds of faults that no request met yet.
func (c *crash) unmet() (out []githubtest.Kind) {
	met := c.met()
	for _, f := range faults() {
		if met[f.kind.String()] == 0 {
			out = append(out, f.kind)
		}
	}
	return out
}

func (c *crash) refusals() map[int]int {
	c.killer.mu.Lock()
	defer c.killer.mu.Unlock()
	return maps.Clone(c.killer.refused)
}

// end waits until everything has arrived and is as expected, ends the server, does
// what is left, and asserts what must hold.
func (c *crash) end() {
	t := c.t
	t.Helper()
	c.arrive()
	must(t, c.killer.killAll())
	must(t, c.killer.kept(t.Context(), c.config.store()))
	c.open(func(s *store.Store) {
		c.drain(s)
		c.nothingLost(s)
		c.ledgerWhole(s)
		c.readAnswers()
		c.deploymentsRight(s)
	})
	for _, e := range c.all {
		if s := c.differs(e); s != "" {
			t.Error(s)
		}
	}
	c.nothingTwice()
}

// arrive lets the server that runs find everything: by webhooks, by having those
// sent again that were lost, and by its sweep.
func (c *crash) arrive() {
	c.t.Helper()
	began := time.Now()
	limit := began.Add(time.Duration(fromEnvironment(c.t, patienceVariable, 60))*time.Second + time.Duration(c.made.Load())*30*time.Millisecond)
	ctx, cancel := context.WithDeadline(c.t.Context(), limit)
	defer cancel()
	must(c.t, c.g.Settle(ctx)) // lets those go that wait for others to overtake them
	for {
		var open []string
		c.tend()
		for _, d := range c.deployments {
			if s := d.open(); s != "" {
				open = append(open, s)
			}
		}
		for _, e := range c.all {
			if s := c.differs(e); s != "" {
				open = append(open, s)
			}
		}
		if len(open) == 0 {
			open = c.missing()
		}
		if len(open) == 0 {
			c.t.Logf("%d webhooks, %d pull requests, %d deployments, %d kills; all is as expected %s after the last", c.made.Load(), len(c.all), len(c.deployments), c.killer.kills, time.Since(began).Round(time.Millisecond))
			return
		}
		if ctx.Err() != nil {
			c.t.Errorf("after %s %d things are not as expected:\n%s", time.Since(began).Round(time.Second), len(open), strings.Join(open[:min(len(open), 10)], "\n"))
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// missing are the webhooks of which no attempt was answered with 202.
func (c *crash) missing() (out []string) {
	arrived := map[string]bool{}
	all := c.app.Deliveries()
	for _, d := range all {
		arrived[d.GUID] = arrived[d.GUID] || d.Code == http.StatusAccepted
	}
	for _, d := range all {
		if !arrived[d.GUID] && !slices.Contains(out, d.GUID) {
			out = append(out, d.GUID)
		}
	}
	for i, id := range out {
		out[i] = "delivery " + id + " did not arrive"
	}
	return out
}

// drain does what is left with a gate that does not sweep, until nothing is.
func (c *crash) drain(s *store.Store) {
	t := c.t
	t.Helper()
	g, _, err := c.config.gate(t.Context(), s, -1)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	var left []store.Work
	for limit := time.Now().Add(45 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left, err = s.Pending(t.Context(), 1<<20)
		if err != nil || len(left) == 0 || time.Now().After(limit) {
			break
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the last server ended: %v", err)
	}
	must(t, err)
	for _, w := range left {
		t.Errorf("left undone: %s due %s, attempt %d: %s", w.Key, w.Due, w.Attempts, w.Error)
	}
	poisoned, err := s.Poisoned(t.Context())
	must(t, err)
	for _, w := range poisoned {
		t.Errorf("poisoned: %s: %s", w.Key, w.Error)
	}
}

// nothingLost asks the store about each delivery that was accepted, by sending it
// once more: it must be known. And no effect that was planned is without an end.
func (c *crash) nothingLost(s *store.Store) {
	t := c.t
	t.Helper()
	h, err := webhook.New(webhook.Config{Secrets: []webhook.Secret{secret}, App: rules.AppID(c.app.ID), Bot: rules.AccountID(c.app.Bot().ID), Store: s})
	must(t, err)
	c.killer.mu.Lock()
	accepted := maps.Clone(c.killer.accepted)
	c.killer.mu.Unlock()
	total := len(accepted)
	for _, d := range c.app.Deliveries() {
		if !accepted[d.GUID] {
			continue
		}
		delete(accepted, d.GUID)
		q := httptest.NewRequest(http.MethodPost, "/webhooks/github", bytes.NewReader(d.Body))
		q.Header = d.Header.Clone()
		a := httptest.NewRecorder()
		h.ServeHTTP(a, q)
		var says struct{ Status string }
		if err := json.Unmarshal(a.Body.Bytes(), &says); err != nil || says.Status != "known" {
			t.Errorf("delivery %s (%s %s) was accepted and is lost: %d %s", d.GUID, d.Event, d.Action, a.Code, a.Body)
		}
	}
	if len(accepted) > 0 || total == 0 {
		t.Errorf("%d of %d accepted deliveries are no deliveries of GitHub's", len(accepted), total)
	}
	for _, e := range c.all {
		key := rules.WorkKey{Kind: rules.WorkPullRequest, Repository: rules.RepositoryID(c.repo.ID), Number: int64(e.pull.Number)}
		planned, err := s.PlannedEffects(t.Context(), key)
		must(t, err)
		for _, p := range planned {
			if s := e.pull.See(); s.State == "open" {
				t.Errorf("effect %s was planned and has no end: attempt %d, %s", p.Key, p.Attempts, p.Error)
			}
		}
	}
	t.Logf("%d accepted deliveries, none lost", total)
}

// ledgerWhole verifies the ledger as anybody can.
func (c *crash) ledgerWhole(s *store.Store) {
	c.t.Helper()
	srv := httptest.NewServer(ledger.NewHandler(s, c.key.Verifier()))
	defer srv.Close()
	got, err := ledger.Verify(c.t.Context(), ledger.HTTP(srv.Client(), srv.URL), ledger.VerifyConfig{Verifier: c.key.Verifier()})
	must(c.t, err)
	c.t.Logf("the ledger has %d entries and is whole", got.Size)
}

// nothingTwice looks for what was done twice: at what stands, and in the webhooks
// about what was done, each of which GitHub sent for one act.
func (c *crash) nothingTwice() {
	t := c.t
	t.Helper()
	const us = "sallyport[bot]"
	type at struct {
		number int
		sha    string
	}
	stand, merges, seen := map[at]int{}, map[int]int{}, map[string]bool{}
	approvals := 0
	for _, d := range c.app.Deliveries() {
		if seen[d.GUID] {
			continue
		}
		seen[d.GUID] = true
		var p struct {
			Pull struct {
				Number int
				Merged bool
			} `json:"pull_request"`
			Review struct {
				State  string
				User   struct{ Login string }
				Commit string `json:"commit_id"`
			}
		}
		must(t, json.Unmarshal(d.Body, &p))
		where := at{p.Pull.Number, p.Review.Commit}
		switch d.Event + " " + d.Action {
		case "pull_request closed":
			if p.Pull.Merged {
				merges[p.Pull.Number]++
			}
		case "pull_request_review submitted":
			if p.Review.User.Login != us {
				continue
			}
			approvals++
			if stand[where]++; stand[where] > 1 {
				t.Errorf("#%d was approved at %s while an approval of ours stood there", where.number, where.sha)
			}
		case "pull_request_review dismissed":
			if p.Review.User.Login == us {
				stand[where]--
			}
		}
	}
	comments, checks := 0, 0
	for _, e := range c.all {
		if n := merges[e.pull.Number]; n > 1 || n == 1 != e.merged {
			t.Errorf("#%d was merged %d times", e.pull.Number, n)
		}
		standing := map[string]int{}
		s := e.pull.See()
		for _, r := range s.Reviews {
			if r.User == us && r.State == "APPROVED" {
				if standing[r.SHA]++; standing[r.SHA] > 1 {
					t.Errorf("two approvals of ours stand on #%d: %s", e.pull.Number, c.dump(e.pull))
				}
			}
		}
		ours := map[string]int{} // by what they are about
		for _, o := range s.Comments {
			if o.User == us {
				about, _, _ := strings.Cut(o.Body, "\n")
				ours[about]++
				comments++
			}
		}
		for about, n := range ours {
			if n > 1 {
				t.Errorf("#%d has %d comments of ours that begin with %s: %s", e.pull.Number, n, about, c.dump(e.pull))
			}
		}
		for _, head := range e.heads {
			ids := map[string]bool{}
			for _, k := range c.repo.Checks(head) {
				if k.App != "sallyport" {
					continue
				}
				if ids[k.ExternalID] {
					t.Errorf("#%d has two check runs of one effect at %s", e.pull.Number, head)
				}
				ids[k.ExternalID] = true
				checks++
			}
		}
	}
	if approvals == 0 || len(merges) == 0 || comments == 0 || checks == 0 {
		t.Error("there is a kind of effect that never came: this shows nothing")
	}
	t.Logf("%d approvals, %d merges, %d comments, %d check runs, none twice", approvals, len(merges), comments, checks)
}
