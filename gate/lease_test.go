package gate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/rules"
)

// safe is a provider that remembers what it made and ended.
type safe struct {
	mu    sync.Mutex
	alive map[string]bool
	made  int
	fail  int // how often ending fails
	slow  time.Duration
	last  broker.Lease
}

func (s *safe) Mint(ctx context.Context, l broker.Lease) (map[string]string, []byte, error) {
	time.Sleep(s.slow)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	s.alive[l.ID], s.last = true, l
	return map[string]string{"token": "the secret of " + l.ID}, []byte("handle of " + l.ID), nil
}

func (s *safe) Revoke(_ context.Context, l broker.Lease, handle []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail > 0 {
		s.fail--
		return errors.New("the target is away")
	}
	if len(handle) > 0 && string(handle) != "handle of "+l.ID {
		return fmt.Errorf("another handle: %q", handle)
	}
	delete(s.alive, l.ID)
	return nil
}

func (s *safe) Sweep(context.Context, time.Time) error { return nil }

func (s *safe) count() (alive, made int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.alive), s.made
}

// keys opens the key cabinet with one target for each environment.
func keys(s *safe) option {
	s.alive = map[string]bool{}
	return func(w *world, c *gate.Config) {
		text := fmt.Sprintf(`targets:
  orders-db: {tier: human, repositories: [%[1]d], environments: [production], token: {audience: orders}}
  dev-db: {tier: auto, repositories: [%[1]d], environments: [dev], token: {audience: dev}}
`, w.repo.ID)
		targets, problems := rules.LoadTargets("targets.yml", []byte(text))
		if targets == nil {
			w.t.Fatal(problems)
		}
		c.Keys = &gate.Keys{
			Targets: targets, Providers: map[string]broker.Provider{"orders-db": s, "dev-db": s},
			Seal: func(name string, v []byte) ([]byte, error) { return append([]byte(name+"|"), v...), nil },
			Open: func(name string, v []byte) ([]byte, error) {
				rest, ok := strings.CutPrefix(string(v), name+"|")
				if !ok {
					return nil, errors.New("sealed for another")
				}
				return []byte(rest), nil
			},
		}
	}
}

const keysPolicy = deployPolicy + "  dev-writer: {environment: dev, target: dev-db, capability: write, workflow: deploy.yml}\nalerts: [ops]\n"

var tokens int

// jobToken is the whole token of a deployment's job.
func (d *deployment) jobToken(change ...func(*rules.JobToken)) rules.JobToken {
	tokens++
	t := d.token()
	t.ID = fmt.Sprintf("jti-%d-%d", d.ID, tokens)
	t.Claims.JobWorkflowRef, t.Claims.JobWorkflowSHA, t.Claims.RunnerEnvironment = "acme/orders/.github/workflows/deploy.yml@refs/heads/main", rules.SHA(d.sha), "github-hosted"
	for _, c := range change {
		c(&t)
	}
	return t
}

func (w *world) lease(d *deployment, credential string, change ...func(*rules.JobToken)) (jobs.Given, string) {
	w.t.Helper()
	given, err := w.next().Lease(w.t.Context(), d.jobToken(change...), credential)
	var refused *jobs.Refusal
	switch {
	case err == nil:
		return given, ""
	case errors.As(err, &refused):
		return given, refused.Code
	default:
		w.t.Fatalf("asking for %s: %v", credential, err)
		return given, ""
	}
}

func TestLease(t *testing.T) {
	s, ops := &safe{}, &told{}
	w := deploys(t, keysPolicy, keys(s), telling(ops))
	d := w.deploy("production")
	// It is held: the job does not run, and nothing released it.
	if _, code := w.lease(d, "orders-migrator"); code == "" {
		t.Fatal("a held job was given a credential")
	}
	d.click(w.rose, "approve")
	given, code := w.lease(d, "orders-migrator")
	if code != "" || given.Values["token"] == "" || given.Secret == "" || !given.ExpiresAt.Equal(w.clock.Now().Add(10*time.Minute)) {
		t.Fatalf("%+v %s", given.ID, code)
	}
	if s.last.ApprovalID == "" || len(s.last.Approvers) != 1 || s.last.Approvers[0].Login != "rose" || s.last.PolicyDigest == "" {
		t.Errorf("the approval does not reach the provider: %+v", s.last)
	}
	if err := w.gate.EndLease(t.Context(), given.ID, "another secret"); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("another secret ends it: %v", err)
	}
	if alive, _ := s.count(); alive != 1 {
		t.Fatalf("%d alive, want 1", alive)
	}
	for range 3 {
		must(t, w.gate.EndLease(t.Context(), given.ID, given.Secret))
	}
	if alive, _ := s.count(); alive != 0 {
		t.Fatalf("%d alive after it was ended", alive)
	}
	// Once is once, ended or not.
	if _, code := w.lease(d, "orders-migrator"); code != "SP619" {
		t.Errorf("a second lease: %q", code)
	}
	must(t, w.gate.Tell(t.Context()))
	if !slices.Contains(ops.codes(), "SP630") {
		t.Errorf("nobody was told: %v", ops.codes())
	}
	w.verify()
}

func TestLeaseAskedTwice(t *testing.T) {
	s := &safe{}
	w := deploys(t, keysPolicy, keys(s))
	d := w.deploy("production")
	d.click(w.rose, "approve")
	if _, code := w.lease(d, "orders-migrator"); code != "" {
		t.Fatal(code)
	}
	if _, code := w.lease(d, "orders-migrator"); code != "SP619" {
		t.Errorf("the second asker: %q", code)
	}
	if alive, _ := s.count(); alive != 0 {
		t.Errorf("the first lease lives on")
	}
}

func TestLeaseAtOnce(t *testing.T) {
	s := &safe{}
	w := deploys(t, keysPolicy, keys(s))
	d := w.deploy("production")
	d.click(w.rose, "approve")
	var all sync.WaitGroup
	var mu sync.Mutex
	given := 0
	for range 100 {
		token := d.jobToken()
		all.Go(func() {
			_, err := w.gate.Lease(context.WithoutCancel(t.Context()), token, "orders-migrator")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				given++
			}
		})
	}
	all.Wait()
	if _, made := s.count(); made != 1 || given > 1 {
		t.Errorf("%d made and %d given, want one at most", made, given)
	}
	if alive, _ := s.count(); alive != 0 {
		t.Errorf("%d alive although others asked", alive)
	}
}

// The same token at once, over and over: what was given to one of them is one decision,
// and what was refused to the others another.
func TestLeaseTokenAtOnce(t *testing.T) {
	s := &safe{}
	w := deploys(t, keysPolicy, keys(s))
	d := w.deploy("production")
	d.click(w.rose, "approve")
	token := d.jobToken()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			_, _ = w.gate.Lease(context.WithoutCancel(t.Context()), token, "orders-migrator") // refused, all but one
		})
	}
	all.Wait()
	must(t, w.gate.EndLeases(t.Context()))
	if alive, made := s.count(); alive != 0 || made != 1 {
		t.Errorf("%d alive of %d made", alive, made)
	}
}

// insideSafe makes nothing outside the process. Each try that fails is another one.
type insideSafe struct {
	*safe
	broken *int // how often making fails
}

func (insideSafe) Inside() {}

func (s insideSafe) Mint(ctx context.Context, l broker.Lease) (map[string]string, []byte, error) {
	if *s.broken > 0 {
		*s.broken--
		return nil, nil, errors.New("the signer is away")
	}
	values, _, err := s.safe.Mint(ctx, l)
	return values, nil, err
}

// inside makes the targets' provider one that makes nothing outside.
func inside(s *safe, broken int) option {
	return func(w *world, c *gate.Config) {
		keys(s)(w, c)
		for name := range c.Keys.Providers {
			c.Keys.Providers[name] = insideSafe{s, &broken}
		}
	}
}

// leaseKinds are the kinds of the ledger's entries about leases, oldest first.
func (w *world) leaseKinds() (kinds []ledger.Kind) {
	w.t.Helper()
	must(w.t, w.store.LedgerLeaves(w.t.Context(), 0, 1<<40, func(_ int64, leaf, _, _ []byte) error {
		r, err := ledger.ParseLeaf(leaf)
		if err == nil && strings.HasPrefix(r.Subject.Key, "lease:") {
			kinds = append(kinds, r.Kind)
		}
		return err
	}))
	return kinds
}

// What is made inside is recorded in the same order, and given once, whoever asks.
func TestLeaseInside(t *testing.T) {
	s := &safe{}
	w := deploys(t, keysPolicy, inside(s, 0))
	d := w.deploy("production")
	d.click(w.rose, "approve")
	before := len(w.leaseKinds())
	if _, code := w.lease(d, "orders-migrator"); code != "" {
		t.Fatal(code)
	}
	if got, want := w.leaseKinds()[before:], []ledger.Kind{ledger.KindEffect, ledger.KindOutcome}; !slices.Equal(got, want) {
		t.Errorf("recorded %v, want %v", got, want)
	}
	if _, code := w.lease(d, "orders-migrator"); code != "SP619" {
		t.Errorf("the second asker: %q", code)
	}
	if alive, made := s.count(); alive != 0 {
		t.Errorf("the first lease lives on: %d made %v", made, s.alive)
	}

	var all sync.WaitGroup
	var mu sync.Mutex
	given := 0
	d = w.deploy("production")
	d.click(w.rose, "approve")
	for range 100 {
		token := d.jobToken()
		all.Go(func() {
			_, err := w.gate.Lease(context.WithoutCancel(t.Context()), token, "orders-migrator")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				given++
			}
		})
	}
	all.Wait()
	if given > 1 {
		t.Errorf("%d given, want one at most", given)
	}
}

// A signer that fails once is asked once more; one that goes on failing is on record.
func TestLeaseInsideFails(t *testing.T) {
	for broken, given := range map[int]bool{1: true, 2: false} {
		s := &safe{}
		w := deploys(t, keysPolicy, inside(s, broken))
		d := w.deploy("production")
		d.click(w.rose, "approve")
		before := len(w.leaseKinds())
		_, err := w.gate.Lease(t.Context(), d.jobToken(), "orders-migrator")
		if (err == nil) != given {
			t.Errorf("failed %d times: %v", broken, err)
		}
		if n := len(w.leaseKinds()) - before; n != 2 {
			t.Errorf("failed %d times: %d entries, want the effect and how it ended", broken, n)
		}
	}
}

func TestLeaseEnds(t *testing.T) {
	s, ops := &safe{}, &told{}
	w := deploys(t, keysPolicy, keys(s), telling(ops))
	d := w.deploy("production")
	d.click(w.rose, "approve")
	if _, code := w.lease(d, "orders-migrator"); code != "" {
		t.Fatal(code)
	}
	d.end("success")
	must(t, w.gate.EndLeases(t.Context()))
	if alive, _ := s.count(); alive != 0 {
		t.Errorf("it lives on after its job has ended")
	}

	d = w.deploy("dev")
	if _, code := w.lease(d, "dev-writer"); code != "" {
		t.Fatal(code)
	}
	w.clock.Advance(9 * time.Minute)
	must(t, w.gate.EndLeases(t.Context()))
	if alive, _ := s.count(); alive != 1 {
		t.Errorf("%d alive before the deadline", alive)
	}
	s.fail = 8
	w.clock.Advance(time.Minute)
	for range 12 {
		must(t, w.gate.EndLeases(t.Context()))
		w.clock.Advance(2 * time.Minute)
	}
	if alive, _ := s.count(); alive != 0 {
		t.Errorf("it lives on after the deadline")
	}
	must(t, w.gate.Tell(t.Context()))
	if !slices.Contains(ops.codes(), "SP631") {
		t.Errorf("nobody was told that it could not be ended: %v", ops.codes())
	}
	all, err := w.store.Leases(t.Context())
	must(t, err)
	if len(all) != 0 {
		t.Errorf("still open: %+v", all)
	}
}

// Each of these asks with something else than the job is.
func TestLeaseClaims(t *testing.T) {
	s := &safe{}
	w := deploys(t, keysPolicy, keys(s))
	d := w.deploy("production")
	d.click(w.rose, "approve")
	other := w.deploy("dev")
	for _, x := range []struct {
		name, credential, code string
		change                 func(*rules.JobToken)
	}{
		{"another repository", "orders-migrator", "", func(t *rules.JobToken) { t.Claims.RepositoryID++ }},
		{"another owner", "orders-migrator", "", func(t *rules.JobToken) { t.Claims.RepositoryOwnerID++ }},
		{"another environment", "orders-migrator", "SP607", func(t *rules.JobToken) { t.Claims.Environment = "dev" }},
		{"no environment", "orders-migrator", "SP604", func(t *rules.JobToken) { t.Claims.Environment = "" }},
		{"another commit", "orders-migrator", "SP615", func(t *rules.JobToken) {
			t.Claims.SHA = rules.SHA(strings.Repeat("ab", 20))
		}},
		{"another run", "orders-migrator", "", func(t *rules.JobToken) { t.Claims.RunID = rules.RunID(other.ID) }},
		{"another attempt", "orders-migrator", "", func(t *rules.JobToken) { t.Claims.RunAttempt = 2 }},
		{"another job", "orders-migrator", "", func(t *rules.JobToken) { t.Claims.CheckRunID = rules.CheckRunID(other.Job("deploy").ID) }},
		{"another workflow", "orders-migrator", "SP609", func(t *rules.JobToken) {
			t.Claims.JobWorkflowRef = "acme/orders/.github/workflows/evil.yml@refs/heads/main"
		}},
		{"a workflow of another repository", "orders-migrator", "SP609", func(t *rules.JobToken) {
			t.Claims.JobWorkflowRef = "acme/evil/.github/workflows/deploy.yml@refs/heads/main"
		}},
		{"another version of the workflow", "orders-migrator", "SP610", func(t *rules.JobToken) {
			t.Claims.JobWorkflowSHA = rules.SHA(strings.Repeat("ab", 20))
		}},
		{"a pull request's event", "orders-migrator", "SP611", func(t *rules.JobToken) { t.Claims.EventName = "pull_request" }},
		{"a runner of one's own", "orders-migrator", "SP612", func(t *rules.JobToken) { t.Claims.RunnerEnvironment = "self-hosted" }},
		{"a credential that nobody names", "root", "SP601", func(*rules.JobToken) {}},
		{"a credential of another environment", "dev-writer", "", func(*rules.JobToken) {}},
	} {
		given, err := w.gate.Lease(t.Context(), d.jobToken(x.change), x.credential)
		var refused *jobs.Refusal
		switch {
		case err == nil:
			t.Errorf("%s: given %s", x.name, given.ID)
		case errors.As(err, &refused) && x.code != "" && refused.Code != x.code:
			t.Errorf("%s: %s (%s), want %s", x.name, refused.Code, refused.Text, x.code)
		case !errors.As(err, &refused) && !errors.Is(err, jobs.ErrNotServed):
			t.Errorf("%s: %v", x.name, err)
		}
	}
	if _, made := s.count(); made != 0 {
		t.Errorf("%d credentials were made", made)
	}
	if _, code := w.lease(d, "orders-migrator"); code != "" {
		t.Errorf("the job itself is refused: %s", code)
	}
}

// An approver who is one no more takes the release with them.
func TestLeaseAfterTheApproverLeft(t *testing.T) {
	s := &safe{}
	w := deploys(t, strings.Replace(keysPolicy, "    also: {\"migrations/**\": [carol, rose]}\n", "", 1), keys(s))
	d := w.deploy("production")
	d.click(w.bob, "approve")
	d.want("in_progress", "approved")
	w.sre.Remove(w.carol, w.bob)
	w.settle()
	if _, code := w.lease(d, "orders-migrator"); code != "SP616" {
		t.Errorf("code %q", code)
	}
	if _, made := s.count(); made != 0 {
		t.Error("a credential was made")
	}
}

// What a credential was given for ends with it: the job has it still and loses it.
func TestLeaseWithdrawn(t *testing.T) {
	policy := strings.Replace(keysPolicy, "    also: {\"migrations/**\": [carol, rose]}\n", "    max_age: 10m\n", 1)
	for _, x := range []struct {
		name string
		age  time.Duration // of the approval when it is used
		do   func(w *world)
		ends bool
	}{
		{"nothing happens", 0, func(*world) {}, false},
		{"the age that an approval may have is over, once it was used", 6 * time.Minute, func(w *world) { w.clock.Advance(5 * time.Minute) }, false},
		{"the approver leaves the team", 6 * time.Minute, func(w *world) { w.sre.Remove(w.carol, w.bob) }, true},
		{"the approver is no listed one any more", 0, func(w *world) {
			w.repo.CommitTo(w.carol, "main", "Ask carol", map[string]string{rules.PolicyPath: strings.Replace(policy, "reviewers: [acme/sre]", "reviewers: [carol, dave]", 1)})
			w.settle()
			w.adopt("acme/orders")
		}, true},
		{"the policy asks for two", 0, func(w *world) {
			w.repo.CommitTo(w.carol, "main", "Ask two", map[string]string{rules.PolicyPath: strings.Replace(policy, "gate: human", "gate: human\n    count: 2", 1)})
			w.settle()
			w.adopt("acme/orders")
		}, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			s, ops := &safe{}, &told{}
			w := deploys(t, policy, keys(s), telling(ops))
			d := w.deploy("production")
			d.click(w.bob, "approve")
			w.clock.Advance(x.age)
			if _, code := w.lease(d, "orders-migrator"); code != "" {
				t.Fatal(code)
			}
			x.do(w)
			w.minute()
			alive, _ := s.count()
			must(t, w.gate.Tell(t.Context()))
			told := slices.Contains(ops.codes(), "SP632")
			if (alive == 0) != x.ends || told != x.ends {
				t.Errorf("%d alive and told: %t, want it ended: %t; %v", alive, told, x.ends, ops.codes())
			}
			w.verify()
		})
	}
}

// A rejection of who still saw the buttons counts after the release.
func TestLeaseRejectedLate(t *testing.T) {
	for who, ends := range map[string]bool{"rose": true, "dave": false} {
		s := &safe{}
		w := deploys(t, keysPolicy, keys(s))
		d := w.deploy("production")
		person := map[string]*githubtest.User{"rose": w.rose, "dave": w.dave}[who]
		w.late(func() { must(t, d.check().Click(person, "reject")) }, func() {
			d.click(w.rose, "approve")
			if _, code := w.lease(d, "orders-migrator"); code != "" {
				t.Fatal(code)
			}
		})
		w.minute()
		if alive, _ := s.count(); (alive == 0) != ends {
			t.Errorf("%s: %d alive, want it ended: %t", who, alive, ends)
		}
	}
}

// minute lets the minute pass after which a release is judged again.
func (w *world) minute() {
	w.t.Helper()
	w.clock.Advance(time.Minute)
	w.settle()
}

// An agent's task reads production without a human: from the default branch alone, and
// each time is on record as such.
func TestLeaseUnattended(t *testing.T) {
	s := &safe{}
	open := keys(s)
	policy := strings.Replace(keysPolicy, "agents:", "  production-read: {gate: auto, unattended: [read]}\nagents:", 1)
	policy = strings.Replace(policy, "  orders-migrator:", "  orders-reader: {environment: production-read, target: replica, capability: read, workflow: deploy.yml}\n  orders-migrator:", 1)
	w := deploys(t, policy, func(w *world, c *gate.Config) {
		open(w, c)
		text := fmt.Sprintf("targets:\n  replica: {tier: auto, unattended_read: true, repositories: [%d], environments: [production-read], token: {audience: replica}}\n", w.repo.ID)
		targets, problems := rules.LoadTargets("targets.yml", []byte(text))
		if targets == nil {
			t.Fatal(problems)
		}
		c.Keys.Targets, c.Keys.Providers = targets, map[string]broker.Provider{"replica": s}
	})
	_, err := w.repo.Environment("production-read").EnableRule(w.app)
	must(t, err)
	must(t, w.repo.Push(w.alice, "agent", w.repo.Head("main")))
	branch := w.deploy("production-read", func(r *githubtest.RunSpec) { r.Branch = "agent" })
	if _, code := w.lease(branch, "orders-reader", func(t *rules.JobToken) { t.Claims.Ref = "refs/heads/agent" }); code != "SP624" {
		t.Errorf("on a branch of its own: %q", code)
	}
	main := w.deploy("production-read")
	given, code := w.lease(main, "orders-reader")
	if code != "" || given.Values["token"] == "" {
		t.Fatalf("on the default branch: %q", code)
	}
	var export bytes.Buffer
	must(t, ledger.Export(t.Context(), w.store, &export, ledger.ExportConfig{}))
	if n := strings.Count(export.String(), `"access":"unattended"`); n != 1 {
		t.Errorf("%d accesses without a human are on record, want 1", n)
	}
}
