//go:build unix

package acttest_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/cmd/sallyport-app/server"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/webhook"
	"github.com/sallyport/sallyport/rules"
)

const (
	deployFile = ".github/workflows/deploy.yml"
	// audience is the server's own address, by its settings; the jobs reach it at another.
	audience = "http://127.0.0.1"
)

// housePolicy has a credential for each way to get one, since each is given to a job once.
const housePolicy = `version: 1
reviewers: [acme/sre]
environments:
  dev: {gate: auto, paths: [docs/**], after: [test]}
  production: {gate: human}
credentials:
  one: {environment: production, target: code, capability: write, workflow: deploy.yml}
  two: {environment: production, target: code, capability: write, workflow: deploy.yml}
  three: {environment: production, target: code, capability: write, workflow: deploy.yml}
  four: {environment: production, target: code, capability: write, workflow: deploy.yml}
  five: {environment: production, target: code, capability: write, workflow: deploy.yml}
`

// house is the server that people run, beside an in-memory GitHub with a private repository
// in which no protection rule is enabled.
type house struct {
	t          *testing.T
	github     *githubtest.GitHub
	repo       *githubtest.Repository
	alice, bob *githubtest.User
	server     *server.Server
	// url is where the jobs reach the server, and own what its settings say.
	url, own string
	// targets are the names of what its credentials are for, each with its environment.
	targets map[string]string
	run     *githubtest.Run
	job     *githubtest.Job
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := buildHouse(t, housePolicy)
	h.own, h.targets = audience, map[string]string{"code": "production"}
	h.serve()
	return h
}

// buildHouse is the house without its server.
func buildHouse(t *testing.T, policy string) *house {
	t.Helper()
	g := githubtest.Start(t)
	g.Allow("401 A JSON web token could not be decoded") // alive asks with credentials that have ended
	h := &house{t: t, github: g, alice: g.User("alice"), bob: g.User("bob")}
	acme := g.Organization("acme")
	acme.Owner(h.alice)
	h.repo = g.Repository(acme, "orders")
	acme.Team("sre", h.bob).Access(h.repo, "write")
	h.repo.CommitTo(h.alice, "main", "Add the policy", map[string]string{rules.PolicyPath: policy, deployFile: "on: push\n"})
	return h
}

// serve starts the server, and has the policy adopted.
func (h *house) serve() {
	h.t.Helper()
	owner := h.github.Organization("acme")
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		h.t.Fatal(err)
	}
	secret := hex.EncodeToString(random[:])
	app := h.github.App(githubtest.AppConfig{
		Slug: "sallyport", Owner: owner, Secret: secret,
		Permissions: map[string]string{
			"actions": "write", "checks": "write", "contents": "write", "deployments": "write", "members": "read", "merge_queues": "read", "pull_requests": "write", "statuses": "read",
		},
		Events: []string{
			"check_run", "check_suite", "deployment", "deployment_protection_rule", "deployment_review", "deployment_status", "membership", "merge_group",
			"pull_request", "pull_request_review", "push", "status", "team", "workflow_dispatch", "workflow_job", "workflow_run",
		},
	})
	key, err := github.ParseKey(app.KeyPEM())
	if err != nil {
		h.t.Fatal(err)
	}
	app.Install(owner)
	text := "targets:\n"
	for name, environment := range h.targets {
		tier := "auto"
		if environment == "production" {
			tier = "human"
		}
		text += fmt.Sprintf("  %s: {tier: %s, repositories: [%d], environments: [%s], github: {repositories: [%d], permissions: {contents: read}}}\n", name, tier, h.repo.ID, environment, h.repo.ID)
	}
	targets, problems := rules.LoadTargets("targets.yml", []byte(text))
	if targets == nil {
		h.t.Fatal(problems)
	}
	settings := server.Settings{
		URL: h.own, Listen: "127.0.0.1:0", Database: store.Config{Path: filepath.Join(h.t.TempDir(), "sallyport.db")}, App: rules.AppID(app.ID), Key: key,
		WebhookSecrets: []webhook.Secret{webhook.Secret(secret)}, GitHubAPI: h.github.URL(), Issuer: h.github.OIDCIssuer(), Sweep: time.Minute, Targets: targets,
	}
	if err := settings.SealWith(hex.EncodeToString(random[:])); err != nil {
		h.t.Fatal(err)
	}
	if h.server, err = server.New(h.t.Context(), settings); err != nil {
		h.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- h.server.Run(ctx) }()
	h.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
	address := "http://" + h.server.Address()
	h.url = cmp.Or(h.url, address)
	app.Webhook(address+"/webhooks/github", secret)
	h.until("the server is ready", func() bool { return h.get(address+"/readyz", "") == http.StatusOK })
	gate, err := h.server.Gate(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	list, err := gate.LookAtAdoption(h.t.Context(), h.repo.FullName())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, a := range list {
		if err := gate.Adopt(h.t.Context(), a, "the administrator"); err != nil {
			h.t.Fatal(err)
		}
	}
}

// get is the status of an address; 0 if nobody answers.
func (h *house) get(address, bearer string) int {
	h.t.Helper()
	q, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, address, http.NoBody)
	if err != nil {
		h.t.Fatal(err)
	}
	if bearer != "" {
		q.Header = http.Header{"Authorization": {"Bearer " + bearer}, "Accept": {"application/vnd.github+json"}, "User-Agent": {"deploy"}, "X-Github-Api-Version": {"2022-11-28"}}
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil || a.Body.Close() != nil {
		return 0
	}
	return a.StatusCode
}

// alive reports whether a token of a lease opens the repository.
func (h *house) alive(token string) bool {
	h.t.Helper()
	status := h.get(h.github.URL()+"/repos/"+h.repo.FullName(), token)
	if status != http.StatusOK && status != http.StatusUnauthorized {
		h.t.Errorf("asking with the credential: %d", status)
	}
	return status == http.StatusOK
}

func (h *house) until(what string, so func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatal("waited in vain until", what)
		}
	}
}

// deploy starts a run with a job for production.
func (h *house) deploy() {
	h.t.Helper()
	h.run = h.repo.StartRun(githubtest.RunSpec{Workflow: deployFile, Name: "deploy", By: h.alice, Jobs: []githubtest.JobSpec{{Name: "production", Environment: "production"}}})
	h.begun()
}

// begun takes the job of the present attempt, once a runner has it.
func (h *house) begun() {
	h.t.Helper()
	h.job = h.run.Job("production")
	h.until("the job runs", func() bool { s, _ := h.job.Status(); return s == "in_progress" })
}

// becomes makes act's job the one that GitHub has in progress, and gives what of it is
// secret.
func (h *house) becomes(j *job) []string {
	h.t.Helper()
	address, bearer := h.job.TokenRequest()
	token := h.job.Token(map[string]string{"contents": "read"})
	for name, value := range map[string]string{
		"GITHUB_API_URL": h.github.URL(), "GITHUB_RUN_ID": fmt.Sprint(h.run.ID), "GITHUB_RUN_ATTEMPT": fmt.Sprint(h.job.Attempt()),
		"SHA_REF":                      h.repo.Head("main"), // act's own name for what GITHUB_SHA is to be
		"ACTIONS_ID_TOKEN_REQUEST_URL": address, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": bearer, "SALLYPORT_URL": h.url,
	} {
		j.vars[name] = value
	}
	j.args = append(j.args, "-s", "GITHUB_TOKEN="+token)
	return []string{bearer, token}
}

// check is the check run on the deployed commit.
func (h *house) check() *githubtest.CheckRun {
	return h.repo.CheckRun(h.repo.Head("main"), "sallyport / production")
}

// press presses a button of the check run.
func (h *house) press(button string) {
	h.t.Helper()
	h.until("there is a check run to press on", func() bool {
		c := h.check()
		return c != nil && c.See().Conclusion == "action_required"
	})
	if err := h.check().Click(h.bob, button); err != nil {
		h.t.Fatal(err)
	}
}

// verify verifies the ledger as anybody can, and gives its entries.
func (h *house) verify() []ledger.Record {
	h.t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	text := h.check().See().Text
	seen, err := ledger.ParseWitness(strings.TrimPrefix(text[strings.LastIndexByte(text, '\n')+1:], "Ledger: "))
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := ledger.Verify(h.t.Context(), ledger.HTTP(client, h.url), ledger.VerifyConfig{Verifier: h.server.LedgerKey(), Witnesses: []ledger.Witness{seen}}); err != nil {
		h.t.Fatal(err)
	}
	tree, err := ledger.Open(h.t.Context(), ledger.HTTP(client, h.url), h.server.LedgerKey())
	if err != nil {
		h.t.Fatal(err)
	}
	records, err := tree.Entries(h.t.Context(), 0)
	if err != nil {
		h.t.Fatal(err)
	}
	return records
}
