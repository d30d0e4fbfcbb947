package githubtest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

var testKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

const secret = "a webhook secret"

// world is acme/orders with its people, and the App sallyport installed on it.
type world struct {
	t     *testing.T
	g     *githubtest.GitHub
	clock *githubtest.Clock
	hook  *receiver
	acme  *githubtest.Organization
	// alice and dave may write, bob is in acme/sre, carol is an admin, eve reads,
	// agent is the bot of another App.
	alice, bob, carol, dave, eve *githubtest.User
	agentApp                     *githubtest.App
	agent                        *githubtest.User
	sre                          *githubtest.Team
	repo                         *githubtest.Repository
	app                          *githubtest.App
	inst                         *githubtest.Installation
	token                        string
}

func permissions() map[string]string {
	return map[string]string{
		"actions": "read", "checks": "write", "contents": "write", "deployments": "write", "issues": "write", "members": "read", "merge_queues": "read",
		"pull_requests": "write", "statuses": "read", "administration": "write",
	}
}

func events() []string {
	return []string{"check_run", "check_suite", "deployment", "deployment_protection_rule", "deployment_review", "deployment_status", "issue_comment", "membership",
		"merge_group", "pull_request", "pull_request_review", "push", "status", "workflow_job", "workflow_run"}
}

func newWorld(t *testing.T, cfg ...githubtest.Config) *world {
	t.Helper()
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, clock: githubtest.NewClock(time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)), hook: newReceiver(t)}
	var c githubtest.Config
	if len(cfg) > 0 {
		c = cfg[0]
	}
	if c.Now == nil {
		c.Now = w.clock.Now
	}
	g := githubtest.Start(t, c)
	w.g = g
	w.acme = g.Organization("acme")
	w.alice, w.bob, w.carol, w.dave, w.eve = g.User("alice"), g.User("bob"), g.User("carol"), g.User("dave"), g.User("eve")
	w.acme.Owner(w.carol)
	w.repo = g.Repository(w.acme, "orders")
	w.sre = w.acme.Team("sre", w.bob)
	w.sre.Access(w.repo, "write")
	w.repo.Collaborator(w.alice, "write")
	w.repo.Collaborator(w.dave, "write")
	w.repo.Collaborator(w.eve, "read")
	w.agentApp = g.App(githubtest.AppConfig{Slug: "writer", Permissions: map[string]string{"contents": "write", "pull_requests": "write", "checks": "write"}, Key: key})
	w.agentApp.Install(w.acme, w.repo)
	w.agent = w.agentApp.Bot()
	w.app = g.App(githubtest.AppConfig{Slug: "sallyport", Permissions: permissions(), Events: events(), WebhookURL: w.hook.URL, Secret: secret, Key: key})
	w.inst = w.app.Install(w.acme, w.repo)
	w.token = w.inst.Token()
	return w
}

// settle waits until every webhook has come.
func (w *world) settle() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	if err := w.g.Settle(ctx); err != nil {
		w.t.Fatal("webhooks do not settle:", err)
	}
}

// branch pushes a file to a new branch.
func (w *world) branch(by *githubtest.User, name string, files map[string]string) string {
	return w.repo.CommitTo(by, name, "Work on "+name, files)
}

// open opens a pull request with one file.
func (w *world) open(by *githubtest.User, branch string) *githubtest.Pull {
	w.t.Helper()
	w.branch(by, branch, map[string]string{branch + ".txt": "one\n"})
	p, err := w.repo.OpenPull(by, githubtest.PullSpec{Head: branch, Title: "Work on " + branch})
	w.must(err)
	return p
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused wants an error with a status.
func (w *world) refused(err error, status int, why string) {
	w.t.Helper()
	var r *githubtest.Refusal
	if !asRefusal(err, &r) || r.Status != status {
		w.t.Errorf("%s: got %v, want a refusal with status %d", why, err, status)
	}
}

func asRefusal(err error, r **githubtest.Refusal) bool {
	got, ok := err.(*githubtest.Refusal) //nolint:errorlint // acts return it as it is
	*r = got
	return ok && got != nil
}

// answer is a REST answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// get is a value in the JSON body: keys and positions, such as "reviews.0.state".
func (a answer) get(path string) any {
	var v any
	if json.Unmarshal(a.body, &v) != nil {
		return nil
	}
	if path == "" {
		return v
	}
	for _, part := range strings.Split(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[part]
		case []any:
			n, err := strconv.Atoi(part)
			if err != nil || n >= len(at) {
				return nil
			}
			v = at[n]
		default:
			return nil
		}
	}
	return v
}

// len is the length of a list in the body.
func (a answer) len(path string) int {
	list, _ := a.get(path).([]any)
	return len(list)
}

// call sends one request as a careful client does; head overrides headers ("" takes
// one away).
func (w *world) call(token, method, path string, body any, head ...string) answer {
	w.t.Helper()
	a, err := w.try(token, method, path, body, head...)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (w *world) try(token, method, path string, body any, head ...string) (answer, error) {
	w.t.Helper()
	var in io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		w.must(err)
		in = bytes.NewReader(raw)
	}
	if !strings.HasPrefix(path, "http") {
		path = w.g.URL() + path
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, path, in)
	w.must(err)
	r.Header.Set("Accept", "application/vnd.github+json")
	r.Header.Set("User-Agent", "sallyport-test")
	r.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(head); i += 2 {
		if head[i+1] == "" {
			r.Header.Del(head[i])
		} else {
			r.Header.Set(head[i], head[i+1])
		}
	}
	client := &http.Client{Timeout: 5 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	got, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	raw, err := io.ReadAll(got.Body)
	if err != nil {
		return answer{}, err
	}
	return answer{got.StatusCode, got.Header, raw}, nil
}

// want sends a request as the installation and wants a status.
func (w *world) want(status int, method, path string, body any) answer {
	w.t.Helper()
	a := w.call(w.token, method, path, body)
	if a.status != status {
		w.t.Fatalf("%s %s answers %d, want %d: %.300s", method, path, a.status, status, a.body)
	}
	return a
}

func (w *world) graphql(query string, vars map[string]any) answer {
	w.t.Helper()
	return w.call(w.token, http.MethodPost, "/graphql", map[string]any{"query": query, "variables": vars})
}

const orders = "/repos/acme/orders"

// receiver takes webhooks.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []received
	code int
}

type received struct {
	event, action, guid, signature string
	body                           []byte
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{code: http.StatusAccepted}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		var in struct {
			Action string `json:"action"`
		}
		if err != nil || json.Unmarshal(body, &in) != nil {
			w.WriteHeader(http.StatusBadRequest) // the test is over and the sender has gone
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, received{q.Header.Get("X-GitHub-Event"), in.Action, q.Header.Get("X-GitHub-Delivery"), q.Header.Get("X-Hub-Signature-256"), body})
		w.WriteHeader(r.code)
	}))
	t.Cleanup(r.Close)
	return r
}

// answer sets the status that webhooks get.
func (r *receiver) answer(code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.code = code
}

// take gives what came so far and forgets it.
func (r *receiver) take() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// names are the events and actions of what came.
func names(got []received) []string {
	var out []string
	for _, g := range got {
		out = append(out, strings.TrimSuffix(g.event+"."+g.action, "."))
	}
	return out
}

func has(list []string, name string) bool {
	for _, s := range list {
		if s == name {
			return true
		}
	}
	return false
}
