package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/die-net/lrucache"
	"github.com/gregjones/httpcache"
	"github.com/palantir/go-baseapp/baseapp"
	"github.com/palantir/go-githubapp/appconfig"
	"github.com/palantir/go-githubapp/githubapp"
	"github.com/palantir/policy-bot/pull"
	peer "github.com/palantir/policy-bot/server"
	"github.com/palantir/policy-bot/server/handler"
	"github.com/palantir/policy-bot/version"
	"github.com/rcrowley/go-metrics"
	"github.com/rs/zerolog"
	"github.com/sallyport/sallyport/gate/github/githubtest"
)

//go:embed policy-bot.yml
var policyBotPolicy string

// condition is the part of the policy that waits for the check.
const condition = `      conditions:
        has_status:
          statuses: ["test"]
`

// webhookSecret signs the webhooks of whatever program is started.
const webhookSecret = "reads"

// policyBot is policy-bot's own handlers, wired as its server.New wires them, with
// its default caches and workers. Left out is what no webhook reaches: sign-in,
// pages, metrics for others, templates.
type policyBot struct {
	// checksElsewhere leaves the check to GitHub's required checks: the policy has no
	// condition, and policy-bot then has no reason to judge again when a check ends.
	checksElsewhere bool

	server  *http.Server
	hear    func()
	own     metrics.Registry // its own figures, for the test
	served  sync.WaitGroup
	pending atomic.Int64
	mu      sync.Mutex
	failed  error // the first error of a handler
}

func (p *policyBot) Name() string {
	if p.checksElsewhere {
		return "policy-bot, checks elsewhere"
	}
	return "policy-bot"
}

func (*policyBot) Slug() string { return "policy-bot" }

func (p *policyBot) policy() (string, error) {
	if !p.checksElsewhere {
		return policyBotPolicy, nil
	}
	before, after, found := strings.Cut(policyBotPolicy, condition)
	if !found {
		return "", errors.New("policy-bot.yml has no condition")
	}
	return before + after, nil
}

// policyBotApp is the App as policy-bot's README sets it up.
func policyBotApp(s *scene) githubtest.AppConfig {
	return githubtest.AppConfig{
		Slug: "policy-bot", Key: s.key,
		Permissions: map[string]string{
			"actions": "read", "administration": "read", "checks": "read", "statuses": "write", "contents": "read", "repository_custom_properties": "read",
			"issues": "read", "merge_queues": "read", "pull_requests": "write", "members": "read",
		},
		Events: []string{"check_run", "issue_comment", "merge_group", "pull_request", "pull_request_review", "status", "workflow_run"},
	}
}

func (p *policyBot) Start(ctx context.Context, s *scene) error {
	policy, err := p.policy()
	if err != nil {
		return err
	}
	s.repo.CommitTo(s.carol, "main", "Add a policy", map[string]string{handler.DefaultPolicyPath: policy})
	for _, known := range knownGaps() {
		s.g.Allow(known)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	url := "http://" + l.Addr().String()
	app := s.g.App(policyBotApp(s))
	app.Install(s.acme, s.repo) // long ago: nobody hears of it
	p.hear = func() { app.Webhook(url+githubapp.DefaultWebhookRoute, webhookSecret) }
	hooks, err := p.handler(ctx, s, app, url)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("POST "+githubapp.DefaultWebhookRoute, hooks)
	p.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	p.served.Go(func() { _ = p.server.Serve(l) })
	return nil
}

func (p *policyBot) Hear() { p.hear() }

// handler is server.New of policy-bot 1.41.1, line by line where webhooks pass. Its
// own are the transport, which answers what githubtest lacks, and the scheduler's
// wrapper, which knows when it is idle.
func (p *policyBot) handler(ctx context.Context, s *scene, app *githubtest.App, url string) (http.Handler, error) {
	var config githubapp.Config
	config.WebURL, config.V3APIURL, config.V4APIURL = "https://github.com", s.g.URL(), s.g.URL()+"/graphql"
	config.App.IntegrationID, config.App.WebhookSecret, config.App.PrivateKey = app.ID, webhookSecret, string(app.KeyPEM())
	registry := metrics.NewRegistry()
	p.own = registry
	cc, err := githubapp.NewDefaultCachingClientCreator(
		config,
		githubapp.WithClientUserAgent("policy-bot/"+version.GetVersion()),
		githubapp.WithClientTimeout(peer.DefaultGitHubTimeout),
		githubapp.WithClientCaching(true, func() httpcache.Cache { return lrucache.New(int64(peer.DefaultHTTPCacheSize), 0) }),
		githubapp.WithClientMiddleware(githubapp.ClientLogging(zerolog.DebugLevel), githubapp.ClientMetrics(registry)),
		githubapp.WithTransport(newGaps(s, app.Bot())),
	)
	if err != nil {
		return nil, fmt.Errorf("making policy-bot's clients: %w", err)
	}
	client, err := cc.NewAppClient()
	if err != nil {
		return nil, fmt.Errorf("making policy-bot's App client: %w", err)
	}
	self, _, err := client.Apps.Get(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("reading policy-bot's App: %w", err)
	}
	global, err := pull.NewLRUGlobalCache(peer.DefaultPushedAtCacheSize)
	if err != nil {
		return nil, fmt.Errorf("making policy-bot's global cache: %w", err)
	}
	var options handler.PullEvaluationOptions
	options.SetValuesFromEnv("SALLYPORT_BENCH_NONE_") // only this fills in the defaults; nothing has such a name
	base := handler.Base{
		ClientCreator: cc,
		BaseConfig:    &baseapp.HTTPConfig{PublicURL: url},
		Installations: githubapp.NewInstallationsService(client),
		GlobalCache:   global,
		PullOpts:      &options,
		ConfigFetcher: &handler.ConfigFetcher{
			Loader: appconfig.NewLoader([]string{options.PolicyPath}, appconfig.WithOwnerDefault(*options.SharedRepository, []string{*options.SharedPolicyPath})),
		},
		AppName: self.GetSlug(),
	}
	queue := githubapp.QueueAsyncScheduler(
		peer.DefaultWebhookQueueSize, peer.DefaultWebhookWorkers,
		githubapp.WithSchedulingMetrics(registry),
		githubapp.WithAsyncErrorCallback(githubapp.MetricsAsyncErrorCallback(registry)),
	)
	return githubapp.NewEventDispatcher(
		[]githubapp.EventHandler{
			&handler.Installation{Base: base},
			&handler.MergeGroup{Base: base},
			&handler.PullRequest{Base: base},
			&handler.PullRequestReview{Base: base},
			&handler.IssueComment{Base: base},
			&handler.Status{Base: base},
			&handler.CheckRun{Base: base},
			&handler.WorkflowRun{Base: base},
		},
		webhookSecret,
		githubapp.WithErrorCallback(githubapp.MetricsErrorCallback(registry)),
		githubapp.WithScheduler(&watched{queue, p}),
	), nil
}

// watched is a scheduler of which is known what it has not yet worked off.
type watched struct {
	githubapp.Scheduler
	p *policyBot
}

func (w *watched) Schedule(ctx context.Context, d githubapp.Dispatch) error {
	w.p.pending.Add(1)
	d.Handler = &watchedHandler{d.Handler, w.p}
	err := w.Scheduler.Schedule(ctx, d)
	if err != nil {
		w.p.fail(d.EventType, err)
		w.p.pending.Add(-1)
	}
	return err
}

type watchedHandler struct {
	githubapp.EventHandler
	p *policyBot
}

func (h *watchedHandler) Handle(ctx context.Context, eventType, deliveryID string, payload []byte) (err error) {
	defer h.p.pending.Add(-1)
	defer func() {
		if r := recover(); r != nil { // the scheduler would only count it
			err = fmt.Errorf("panic: %v", r)
		}
		if err != nil {
			h.p.fail(eventType, err)
		}
	}()
	return h.EventHandler.Handle(ctx, eventType, deliveryID, payload)
}

func (p *policyBot) fail(event string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = fmt.Errorf("handling %q: %w", event, err)
	}
}

func (p *policyBot) Idle(ctx context.Context) error {
	for p.pending.Load() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// Says reads the newest status that policy-bot set: "policy-bot: " and the branch.
func (p *policyBot) Says(ctx context.Context, s *scene, sha string) (string, error) {
	var seen struct {
		Statuses []struct {
			Context string `json:"context"`
			State   string `json:"state"`
		} `json:"statuses"`
	}
	body, err := s.read(ctx, http.MethodGet, "/repos/"+s.repo.FullName()+"/commits/"+sha+"/status", nil)
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(body, &seen); err != nil {
		return "", fmt.Errorf("reading the status of %s: %w", sha, err)
	}
	for _, st := range seen.Statuses {
		if strings.HasPrefix(st.Context, handler.DefaultStatusCheckContext+":") {
			if said, ok := map[string]string{"success": "allow", "pending": "wait"}[st.State]; ok {
				return said, nil
			}
			return st.State, nil
		}
	}
	return "", nil
}

func (p *policyBot) Stop() error {
	if p.server == nil {
		return nil
	}
	err := p.server.Close()
	p.served.Wait()
	return err
}
