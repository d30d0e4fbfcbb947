package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/bench/internal/served"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/webhook"
	"github.com/sallyport/sallyport/rules"
)

const policy = `version: 1
reviewers: [acme/sre]
agents:
  also: [{id: writer, logins: ["writer[bot]"]}]
environments:
  dev: {gate: auto, merge: true, paths: [docs/**], after: [test]}
  production: {gate: human}
credentials:
  soak: {environment: production, target: %s, capability: write, workflow: deploy.yml}
`

// patience is how long one thing may take while GitHub fails.
const patience = 4 * time.Minute

// scene is a GitHub with an organisation, whose repositories are worked in, and the
// server.
type scene struct {
	g         *githubtest.GitHub
	app       *githubtest.App
	writer    *githubtest.App
	bob, dave *githubtest.User
	repos     []*place
	server    *server
	pause     time.Duration
	proxy     *http.Server

	rounds, merged, deployed, rejected, minted atomic.Int64

	mu       sync.Mutex
	accepted map[string]bool // deliveries that were answered with 202 and are somebody's concern
	codes    map[int]int
	faults   map[string]int
	wrong    []string
}

// place is one repository, in which one round after the other is worked.
type place struct {
	repo *githubtest.Repository
	n    int
}

func (c config) newScene(ctx context.Context) (*scene, error) {
	s := &scene{server: &server{Server: served.Server{Program: c.app}}, pause: c.pause, accepted: map[string]bool{}, codes: map[int]int{}, faults: map[string]int{}}
	var err error
	if s.g, err = githubtest.New(githubtest.Config{Limits: githubtest.NoLimits(), Parallel: 4, WebhookTimeout: 5 * time.Second}); err != nil {
		return s, err
	}
	g := s.g
	acme := g.Organization("acme")
	carol := g.User("carol")
	s.bob, s.dave = g.User("bob"), g.User("dave")
	acme.Owner(carol)
	sre := acme.Team("sre", s.bob)
	s.writer = g.App(githubtest.AppConfig{Slug: "writer", Permissions: map[string]string{"contents": "write", "pull_requests": "write"}})
	s.app = g.App(githubtest.AppConfig{
		Slug: "sallyport", Owner: acme, Secret: webhookSecret,
		// gate/github cannot be built into this module, as bench/reads says: these are its.
		Permissions: map[string]string{
			"actions": "read", "checks": "write", "contents": "write", "deployments": "write", "members": "read", "merge_queues": "read", "metadata": "read", "pull_requests": "write", "statuses": "read",
		},
		Events: []string{
			"check_run", "check_suite", "deployment", "deployment_protection_rule", "deployment_review", "deployment_status", "membership", "merge_group", "pull_request",
			"pull_request_review", "push", "status", "team", "workflow_dispatch", "workflow_job", "workflow_run",
		},
	})
	for i := range c.repositories {
		r := g.Repository(acme, fmt.Sprintf("orders-%d", i))
		sre.Access(r, "write")
		r.Collaborator(s.dave, "write")
		r.CommitTo(carol, "main", "Add the policy", map[string]string{rules.PolicyPath: fmt.Sprintf(policy, fmt.Sprintf("target-%d", i))})
		r.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, Checks: []githubtest.RequiredCheck{{Context: "sallyport", AppID: s.app.ID}}})
		s.repos = append(s.repos, &place{repo: r})
	}
	s.writer.Install(acme)
	s.app.Install(acme)
	for _, p := range s.repos {
		if _, err := p.repo.Environment("production").EnableRule(s.app); err != nil {
			return s, err
		}
	}
	if s.server.Dir, err = os.MkdirTemp("", "sallyport-soak-"); err != nil {
		return s, err
	}
	if s.server.Program == "" {
		if s.server.Program, err = served.Build(ctx, s.server.Dir); err != nil {
			return s, err
		}
	}
	if err := s.server.start(ctx, s); err != nil {
		return s, fmt.Errorf("starting the server: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return s, err
	}
	s.proxy = &http.Server{Handler: http.HandlerFunc(s.pass), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.proxy.Serve(l) }() // until Close
	s.app.Webhook("http://"+l.Addr().String()+"/webhooks/github", webhookSecret)
	return s, nil
}

func (s *scene) stop() error {
	err := s.server.stop()
	if s.proxy != nil {
		err = errors.Join(err, s.proxy.Close())
	}
	if s.g != nil {
		s.g.Close()
	}
	return err
}

// pass passes a webhook on and remembers what was promised about it.
func (s *scene) pass(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 32<<20))
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	status, said, err := s.deliver(r.Context(), r.Header, body)
	if err != nil {
		status = http.StatusServiceUnavailable
	}
	s.mu.Lock()
	s.codes[status]++
	if said == "accepted" || said == "known" {
		s.accepted[r.Header.Get("X-GitHub-Delivery")] = true
	}
	s.mu.Unlock()
	w.WriteHeader(status)
}

// deliver gives the server a webhook; said is what it says of it.
func (s *scene) deliver(ctx context.Context, header http.Header, body []byte) (status int, said string, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.server.Address+"/webhooks/github", bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	q.Header = header.Clone()
	answer, err := s.server.client.Do(q)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	var says struct {
		Status string `json:"status"`
	}
	_ = json.Unmarshal(text, &says) // an error says nothing
	return answer.StatusCode, says.Status, err
}

// trouble makes GitHub fail in both ways, and lose, double, delay and misreport
// webhooks. It goes on to the end.
func (s *scene) trouble(seed uint64) {
	chances := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a soak is to be had again; used with the GitHub locked
	for _, f := range []struct {
		kind     githubtest.Kind
		thousand int
	}{{githubtest.ServerError, 15}, {githubtest.Reset, 8}, {githubtest.Throttle, 2}, {githubtest.Unanswered, 10}, {githubtest.DoneThenError, 10}} {
		s.g.Fail(githubtest.Fault{Kind: f.kind, Times: -1, RetryAfter: time.Second, When: func(q githubtest.Request) bool {
			hit := chances.IntN(1000) < f.thousand
			if hit {
				s.mu.Lock()
				s.faults[f.kind.String()]++
				s.mu.Unlock()
			}
			return hit
		}})
	}
	chance := func(percent int) bool { return chances.IntN(100) < percent }
	s.app.Fate(func(githubtest.Event) githubtest.Fate {
		f := githubtest.Fate{Lose: chance(8), Unanswered: chance(3)}
		if chance(8) {
			f.Copies = 1
		}
		if chance(8) {
			f.Behind = 1 + chances.IntN(4)
		}
		return f
	})
}

// work works in all repositories until ctx ends. What it gives is closed when all have
// ended.
func (s *scene) work(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	var all sync.WaitGroup
	for _, p := range s.repos {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := s.round(ctx, p); err != nil && ctx.Err() == nil {
					s.blame("%s, round %d: %v", p.repo.FullName(), p.n, err)
				}
				s.rounds.Add(1)
				select {
				case <-ctx.Done():
				case <-time.After(s.pause):
				}
			}
		})
	}
	go func() { all.Wait(); close(done) }()
	return done
}

// blame notes what must not be.
func (s *scene) blame(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.wrong) < 50 {
		s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
	}
}

// round does one of four things.
func (s *scene) round(ctx context.Context, p *place) error {
	p.n++
	kind := p.n % 4
	path := fmt.Sprintf("src/%d.go", p.n)
	if kind < 2 {
		path = fmt.Sprintf("docs/%d.md", p.n)
	}
	branch := fmt.Sprintf("writer/%d", p.n)
	p.repo.CommitTo(s.writer.Bot(), branch, "Work", map[string]string{path: fmt.Sprintln(p.n)})
	pull, err := p.repo.OpenPull(s.writer.Bot(), githubtest.PullSpec{Head: branch, Title: "Work", As: s.writer})
	if err != nil {
		return err
	}
	head := pull.Head()
	says := func(conclusion string) error {
		return until(ctx, patience, fmt.Sprintf("the check of #%d is %s", pull.Number, conclusion), func() (bool, error) {
			k := p.repo.CheckRun(head, "sallyport")
			return k != nil && k.See().Conclusion == conclusion, nil
		})
	}
	test := func(conclusion string) error {
		return p.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/test.yml", By: s.dave, Branch: branch, Jobs: []githubtest.JobSpec{{Name: "test"}}}).Job("test").Complete(conclusion)
	}
	switch kind {
	case 0: // documents, red: nobody lets them through
		if err := errors.Join(test("failure"), says("action_required")); err != nil {
			return err
		}
		if n := approvals(pull); n > 0 || pull.See().Merged {
			s.blame("#%d of %s is red and was approved %d times", pull.Number, p.repo.FullName(), n)
		}
		if err := pull.Close(s.dave); err != nil {
			return err
		}
	case 1: // documents, green: merged by the server
		if err := errors.Join(test("success"), until(ctx, patience, fmt.Sprintf("#%d is merged", pull.Number), func() (bool, error) { return pull.See().Merged, nil })); err != nil {
			return err
		}
		s.merged.Add(1)
		if n := approvals(pull); n > 1 {
			s.blame("#%d of %s was approved %d times", pull.Number, p.repo.FullName(), n)
		}
	default: // code: approved by bob, merged by dave, deployed
		if err := says("action_required"); err != nil {
			return err
		}
		if _, err := pull.Approve(s.bob, head); err != nil {
			return err
		}
		if err := says("success"); err != nil {
			return err
		}
		if err := pull.Merge(s.dave, "merge", head); err != nil {
			return err
		}
		return errors.Join(s.deploy(ctx, p, kind == 2), p.repo.DeleteBranch(s.dave, branch))
	}
	return p.repo.DeleteBranch(s.dave, branch)
}

// approvals counts our reviews that approve.
func approvals(p *githubtest.Pull) (n int) {
	for _, r := range p.See().Reviews {
		if r.User == "sallyport[bot]" && r.State == "APPROVED" {
			n++
		}
	}
	return n
}

// deploy deploys what main stands at. Without yes bob rejects it.
func (s *scene) deploy(ctx context.Context, p *place, yes bool) error {
	sha := p.repo.Head("main")
	run := p.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", By: s.dave, SHA: sha, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "production"}}})
	job := run.Job("deploy")
	var check *githubtest.CheckRun
	if err := until(ctx, patience, "its deployment is held", func() (bool, error) {
		check = p.repo.CheckRun(sha, "sallyport / production")
		return check != nil && len(check.See().Actions) > 0 && check.See().Conclusion == "action_required", nil
	}); err != nil {
		return err
	}
	if status, _ := job.Status(); status != "waiting" {
		s.blame("run %d of %s is %s, and nobody approved it", run.ID, p.repo.FullName(), status)
	}
	button, want := "reject", "completed"
	if yes {
		button, want = "approve", "in_progress"
	}
	pressed := ""
	if err := until(ctx, patience, fmt.Sprintf("run %d is %s after %s", run.ID, want, button), func() (bool, error) {
		status, _ := job.Status()
		if status == want {
			return true, nil
		}
		// What it brings may turn out to be something else once the release before it is
		// known to have ended. A click was for what was shown then: bob reads it, and
		// presses again.
		now := p.repo.CheckRun(sha, "sallyport / production")
		if see := now.See(); see.ExternalID != pressed && len(see.Actions) > 0 && status == "waiting" {
			pressed = see.ExternalID
			return false, now.Click(s.bob, button)
		}
		return false, nil
	}); err != nil {
		return err
	}
	if !yes {
		s.rejected.Add(1)
		return nil
	}
	s.deployed.Add(1)
	err := s.mint(ctx, job)
	return errors.Join(err, job.Complete("success"))
}

// mint asks for the credential, ends it, and sees that it is given once.
func (s *scene) mint(ctx context.Context, job *githubtest.Job) error {
	var given struct{ ID, Secret string }
	ask := func(ctx context.Context, method, path, bearer, body string, out any) (int, error) {
		q, err := http.NewRequestWithContext(ctx, method, "http://"+s.server.Address+path, strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		q.Header.Set("Authorization", "Bearer "+bearer)
		q.Header.Set("Content-Type", "application/json")
		answer, err := s.server.client.Do(q)
		if err != nil {
			return 0, err
		}
		defer answer.Body.Close()
		if answer.StatusCode == http.StatusCreated && out != nil {
			err = json.NewDecoder(io.LimitReader(answer.Body, 1<<20)).Decode(out)
		}
		return answer.StatusCode, err
	}
	const credential = `{"credential":"soak"}` //nolint:gosec // the name of one
	audience := "http://" + s.server.Address
	last := 0
	// GitHub may fail while the server asks it: that is 503, and asked again.
	if err := until(ctx, time.Minute, "the job has its token", func() (bool, error) {
		var err error
		last, err = ask(ctx, http.MethodPost, "/v1/leases", job.IDToken(audience, nil), credential, &given)
		if err != nil || last == http.StatusCreated {
			return err == nil, err
		}
		time.Sleep(200 * time.Millisecond)
		return false, nil
	}); err != nil {
		return fmt.Errorf("the last answer was %d: %w", last, err)
	}
	s.minted.Add(1)
	for range 2 {
		if code, err := ask(ctx, http.MethodDelete, "/v1/leases/"+given.ID, given.Secret, "", nil); err != nil || code != http.StatusNoContent {
			return fmt.Errorf("ending the lease was answered with %d: %w", code, err)
		}
	}
	if code, err := ask(ctx, http.MethodPost, "/v1/leases", job.IDToken(audience, nil), credential, nil); err != nil || code == http.StatusCreated {
		s.blame("a second token was answered with %d (%v)", code, err)
	}
	return nil
}

// settle lets GitHub heal, and looks at what must hold: nothing that was accepted is
// lost, and the queue becomes empty.
func (s *scene) settle(ctx context.Context) []string {
	s.g.Heal()
	s.app.Fate(nil)
	calm, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := s.g.Settle(calm); err != nil {
		s.blame("the webhooks do not end: %v", err)
	}
	if err := until(calm, 3*time.Minute, "no work is left", func() (bool, error) {
		st, err := s.server.Store.Stats(calm, time.Now())
		return err == nil && st.Ready+st.Leased+st.Backoff == 0, err
	}); err != nil {
		s.blame("%v", err)
	}
	s.mu.Lock()
	left := maps.Clone(s.accepted)
	s.mu.Unlock()
	if err := s.known(calm, left); err != nil {
		s.blame("%v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.wrong)
}

// known asks the store about each delivery that was accepted, by sending it once more
// to a handler that takes everything: it must be known.
func (s *scene) known(ctx context.Context, left map[string]bool) error {
	h, err := webhook.New(webhook.Config{Secrets: []webhook.Secret{webhookSecret}, App: rules.AppID(s.app.ID), Bot: rules.AccountID(s.app.Bot().ID), Store: s.server.Store})
	if err != nil {
		return err
	}
	for _, d := range s.app.Deliveries() {
		if !left[d.GUID] {
			continue
		}
		delete(left, d.GUID)
		q := httptest.NewRequestWithContext(ctx, http.MethodPost, "/webhooks/github", bytes.NewReader(d.Body))
		q.Header = d.Header.Clone()
		a := httptest.NewRecorder()
		h.ServeHTTP(a, q)
		var says struct {
			Status string `json:"status"`
		}
		if err := json.Unmarshal(a.Body.Bytes(), &says); err != nil || says.Status != "known" {
			s.blame("delivery %s (%s %s) was accepted and is lost: %d %s", d.GUID, d.Event, d.Action, a.Code, a.Body)
		}
	}
	return nil
}

// told says what was done.
func (s *scene) told() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d rounds: %d merged by the server, %d deployed, %d rejected, %d tokens.\nDeliveries accepted and known: %d; answers to deliveries: %v; GitHub failed: %v.",
		s.rounds.Load(), s.merged.Load(), s.deployed.Load(), s.rejected.Load(), s.minted.Load(), len(s.accepted), s.codes, s.faults)
}
