package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/webhook"
	"github.com/sallyport/sallyport/rules"
)

const (
	secret = "a webhook secret that nobody guesses"
	app    = 25811
	guid   = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
)

// memory is a store in memory that can be down.
type memory struct {
	mu    sync.Mutex
	seen  map[string]bool
	marks map[string]rules.Mark
	facts map[string]rules.EventFact
	calls int
	err   error
}

func (m *memory) Accept(_ context.Context, d rules.Delivery) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	if m.err != nil {
		return false, m.err
	}
	if key := d.ID + string(d.BodyHash[:]); m.seen[key] {
		return true, nil
	} else if m.seen == nil {
		m.seen, m.marks, m.facts = map[string]bool{key: true}, map[string]rules.Mark{}, map[string]rules.EventFact{}
	} else {
		m.seen[key] = true
	}
	for _, x := range d.Marks {
		m.marks[x.Key.String()] = x
	}
	for _, f := range d.Facts {
		m.facts[string(f.Kind)+" "+f.Key] = f
	}
	return false, nil
}

func (m *memory) keys() []string { return slices.Sorted(maps.Keys(m.marks)) }

func newHandler(t testing.TB, m webhook.Store, secrets ...webhook.Secret) http.Handler {
	t.Helper()
	if secrets == nil {
		secrets = []webhook.Secret{secret}
	}
	h, err := webhook.New(webhook.Config{Secrets: secrets, App: app, Store: m, Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func sign(key, body string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// request is a delivery that is right in everything; edits make it wrong.
func request(event, body string, edits ...func(*http.Request)) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/webhooks/github", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", event)
	r.Header.Set("X-GitHub-Delivery", guid)
	r.Header.Set("X-Hub-Signature-256", sign(secret, body))
	for _, edit := range edits {
		edit(r)
	}
	return r
}

func header(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del(name)
		for _, v := range values {
			r.Header.Add(name, v)
		}
	}
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// opened is the smallest body of an opened pull request that GitHub would send.
const opened = `{"action":"opened","number":7,"pull_request":{"number":7,"head":{"sha":"ec26c3e57ca3a959ca5aad62de7213c562f8c821"}},` +
	`"repository":{"id":1,"full_name":"acme/orders"},"sender":{"id":3,"login":"octocat","type":"User"},"installation":{"id":9}}`

func clicked(appID int) string {
	return fmt.Sprintf(`{"action":"requested_action","check_run":{"id":11,"name":"sallyport","head_sha":"ec26c3e57ca3a959ca5aad62de7213c562f8c821",`+
		`"app":{"id":%d},"pull_requests":[]},"requested_action":{"identifier":"approve"},"repository":{"id":1,"full_name":"acme/orders"},`+
		`"sender":{"id":3,"login":"octocat","type":"User"},"installation":{"id":9}}`, appID)
}

func TestNewRefuses(t *testing.T) {
	ok := webhook.Config{Secrets: []webhook.Secret{secret}, App: app, Store: &memory{}}
	if _, err := webhook.New(ok); err != nil {
		t.Fatalf("a sound configuration: %v", err)
	}
	for name, edit := range map[string]func(*webhook.Config){
		"no secret":                  func(c *webhook.Config) { c.Secrets = nil },
		"an empty secret":            func(c *webhook.Config) { c.Secrets = []webhook.Secret{""} },
		"a blank secret":             func(c *webhook.Config) { c.Secrets = []webhook.Secret{" \n"} },
		"an empty second secret":     func(c *webhook.Config) { c.Secrets = []webhook.Secret{secret, ""} },
		"three secrets":              func(c *webhook.Config) { c.Secrets = []webhook.Secret{"a", "b", "c"} },
		"no App":                     func(c *webhook.Config) { c.App = 0 },
		"an App with a negative id":  func(c *webhook.Config) { c.App = -1 },
		"no store to keep anything ": func(c *webhook.Config) { c.Store = nil },
	} {
		cfg := ok
		edit(&cfg)
		if _, err := webhook.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSecretHides(t *testing.T) {
	s := webhook.Secret(secret)
	raw, err := json.Marshal(struct{ S webhook.Secret }{s})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s), string(raw), s.LogValue().String()} {
		if strings.Contains(shown, secret) {
			t.Errorf("shown: %s", shown)
		}
	}
}

// Whoever tries to get something in without being GitHub.
func TestAttacks(t *testing.T) {
	sha1Of := func(body string) string {
		mac := hmac.New(sha1.New, []byte(secret))
		mac.Write([]byte(body))
		return "sha1=" + hex.EncodeToString(mac.Sum(nil))
	}
	good := sign(secret, opened)
	form := "payload=" + opened
	for _, c := range []struct {
		name string
		r    *http.Request
		want int
	}{
		{"no signature", request("pull_request", opened, header("X-Hub-Signature-256")), 401},
		{"an empty signature", request("pull_request", opened, header("X-Hub-Signature-256", "")), 401},
		{"a SHA-1 signature alone", request("pull_request", opened, header("X-Hub-Signature-256"), header("X-Hub-Signature", sha1Of(opened))), 401},
		{"a SHA-1 signature in the place of the other", request("pull_request", opened, header("X-Hub-Signature-256", sha1Of(opened))), 401},
		{"signed with the empty key", request("pull_request", opened, header("X-Hub-Signature-256", sign("", opened))), 401},
		{"signed with another key", request("pull_request", opened, header("X-Hub-Signature-256", sign("other", opened))), 401},
		{"the algorithm in capitals", request("pull_request", opened, header("X-Hub-Signature-256", "SHA256="+good[7:])), 401},
		{"the digits in capitals", request("pull_request", opened, header("X-Hub-Signature-256", "sha256="+strings.ToUpper(good[7:]))), 401},
		{"a cut signature", request("pull_request", opened, header("X-Hub-Signature-256", good[:len(good)-2])), 401},
		{"half a byte of signature", request("pull_request", opened, header("X-Hub-Signature-256", good[:len(good)-1])), 401},
		{"a longer signature", request("pull_request", opened, header("X-Hub-Signature-256", good+"00")), 401},
		{"the digits alone", request("pull_request", opened, header("X-Hub-Signature-256", good[7:])), 401},
		{"two signatures, one of them right", request("pull_request", opened, header("X-Hub-Signature-256", good, "sha256="+strings.Repeat("0", 64))), 401},
		{"the right signature twice", request("pull_request", opened, header("X-Hub-Signature-256", good, good)), 401},
		{"two signatures in one header", request("pull_request", opened, header("X-Hub-Signature-256", good+", "+good)), 401},
		{"an altered body", request("pull_request", strings.Replace(opened, `"number":7`, `"number":8`, 1), header("X-Hub-Signature-256", good)), 401},
		{"a space after the body", request("pull_request", opened+" ", header("X-Hub-Signature-256", good)), 401},
		{"no body", request("pull_request", "", header("X-Hub-Signature-256", good)), 401},
		{"a form", request("pull_request", form, header("Content-Type", "application/x-www-form-urlencoded")), 415},
		{"a form that says it is JSON", request("pull_request", form), 400},
		{"no content type", request("pull_request", opened, header("Content-Type")), 415},
		{"two content types", request("pull_request", opened, header("Content-Type", "application/json", "text/plain")), 415},
		{"another charset", request("pull_request", opened, header("Content-Type", "application/json; charset=utf-7")), 415},
		{"a compressed body", request("pull_request", opened, header("Content-Encoding", "gzip")), 415},
		{"no event", request("pull_request", opened, header("X-GitHub-Event")), 400},
		{"two events", request("pull_request", opened, header("X-GitHub-Event", "ping", "pull_request")), 400},
		{"an event with a NUL", request("pull_request", opened, header("X-GitHub-Event", "pull_request\x00")), 400},
		{"an event in capitals", request("pull_request", opened, header("X-GitHub-Event", "PULL_REQUEST")), 400},
		{"a long event", request("pull_request", opened, header("X-GitHub-Event", strings.Repeat("a", 65))), 400},
		{"no delivery", request("pull_request", opened, header("X-GitHub-Delivery")), 400},
		{"two deliveries", request("pull_request", opened, header("X-GitHub-Delivery", "a", "b")), 400},
		{"a delivery with a NUL", request("pull_request", opened, header("X-GitHub-Delivery", "a\x00b")), 400},
		{"a delivery with a line break", request("pull_request", opened, header("X-GitHub-Delivery", "a\nb")), 400},
		{"a delivery with markup", request("pull_request", opened, header("X-GitHub-Delivery", "<b>")), 400},
		{"a long delivery", request("pull_request", opened, header("X-GitHub-Delivery", strings.Repeat("a", 65))), 400},
		{"not JSON", request("pull_request", "{"), 400},
		{"two JSON texts", request("pull_request", opened+opened), 400},
		{"a list", request("pull_request", "["+opened+"]"), 400},
		{"null", request("pull_request", "null"), 400},
		{"a name twice", request("pull_request", `{"action":"closed",`+opened[1:]), 400},
		{"a name twice far down, where nobody looks", request("ping", `{"zen":{"a":[{"b":1,"b":2}]}}`), 400},
		{"a name twice, once escaped", request("ping", `{"zen":1,"z\u0065n":2}`), 400},
		{"bytes that are no UTF-8", request("ping", "{\"zen\":\"\xff\"}"), 400},
		{"deep nesting", request("ping", strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000)), 400},
		{"another kind of value", request("pull_request", strings.Replace(opened, `"number":7`, `"number":"7"`, 1)), 400},
		{"two numbers", request("pull_request", strings.Replace(opened, `"number":7`, `"number":8`, 1)), 400},
		{"a negative repository", request("pull_request", strings.Replace(opened, `"id":1`, `"id":-1`, 1)), 400},
		{"no repository", request("pull_request", strings.Replace(opened, `"repository"`, `"depository"`, 1)), 400},
		{"a commit that is none", request("pull_request", strings.Replace(opened, "ec26", "../.", 1)), 400},
		{"a click's body under another event's name", request("pull_request", clicked(app)), 400},
		{"a pull request's body as a click", request("check_run", opened), 400},
		{"a GET", func() *http.Request { r := request("pull_request", opened); r.Method = http.MethodGet; return r }(), 405},
	} {
		m := &memory{}
		w := serve(newHandler(t, m), c.r)
		if w.Code != c.want || m.calls != 0 {
			t.Errorf("%s: %d and %d calls of the store, want %d and none: %s", c.name, w.Code, m.calls, c.want, w.Body)
		}
		if strings.Contains(w.Body.String(), secret) || strings.Contains(w.Body.String(), "orders") {
			t.Errorf("%s: the answer says too much: %s", c.name, w.Body)
		}
	}
	// And the delivery that all of these are edits of is right.
	m := &memory{}
	if w := serve(newHandler(t, m), request("pull_request", opened)); w.Code != 202 || len(m.marks) != 1 {
		t.Errorf("the delivery as GitHub sends it: %d %s", w.Code, w.Body)
	}
}

func TestGoodHeaders(t *testing.T) {
	for name, edit := range map[string]func(*http.Request){
		"a charset": header("Content-Type", "application/json; charset=UTF-8"),
		"a SHA-1 signature that is wrong, beside the right one": header("X-Hub-Signature", "sha1=00"),
		"an id that is no GUID":                                 header("X-GitHub-Delivery", "1"),
	} {
		if w := serve(newHandler(t, &memory{}), request("pull_request", opened, edit)); w.Code != 202 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

func TestRotation(t *testing.T) {
	m := &memory{}
	h := newHandler(t, m, "new", "old")
	for key, want := range map[string]int{"old": 202, "new": 202, secret: 401, "": 401, "oldnew": 401} {
		if w := serve(h, request("pull_request", opened, header("X-Hub-Signature-256", sign(key, opened)))); w.Code != want {
			t.Errorf("signed with %q: %d, want %d", key, w.Code, want)
		}
	}
}

func TestStoreDown(t *testing.T) {
	m := &memory{err: errors.New("disk full at /var/lib/secret-place")}
	h := newHandler(t, m)
	w := serve(h, request("pull_request", opened))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "secret-place") {
		t.Errorf("store down: %d %s", w.Code, w.Body)
	}
	if w := serve(h, request("ping", `{"zen":"x"}`)); w.Code != 202 {
		t.Errorf("ping while the store is down: %d", w.Code)
	}
	m.err = nil
	if w := serve(h, request("pull_request", opened)); w.Code != 202 || len(m.marks) != 1 {
		t.Errorf("the same delivery once the store is up: %d", w.Code)
	}
}

// A delivery that is whole and signed is stored although whoever sent it has gone, and
// not for ever.
func TestSenderGone(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	m := storing(func(ctx context.Context, _ rules.Delivery) (bool, error) {
		cancel()
		if _, ok := ctx.Deadline(); !ok {
			t.Error("storing has no end")
		}
		return false, ctx.Err()
	})
	r := request("pull_request", opened).WithContext(gone)
	if w := serve(newHandler(t, m), r); w.Code != http.StatusAccepted {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// storing is a store that is its Accept.
type storing func(context.Context, rules.Delivery) (bool, error)

func (s storing) Accept(ctx context.Context, d rules.Delivery) (bool, error) { return s(ctx, d) }

func TestIrrelevantStoresNothing(t *testing.T) {
	for event, body := range map[string]string{
		"ping":                     `{"zen":"Keep it logically awesome.","hook_id":1}`,
		"issue_comment":            `{"action":"created","repository":{"id":1},"comment":{"body":"/approve"}}`,
		"star":                     `{"action":"created","repository":{"id":1}}`,
		"github_app_authorization": `{"action":"revoked","sender":{"id":1}}`,
		"never_heard_of":           `{}`,
		"push":                     `{"ref":"refs/heads/feature","repository":{"id":1,"default_branch":"main"}}`,
		"check_run": `{"action":"completed","check_run":{"id":1,"head_sha":"ec26c3e57ca3a959ca5aad62de7213c562f8c821","app":{"id":25811}},
			"repository":{"id":1}}`,
		"pull_request": strings.Replace(opened, "opened", "assigned", 1),
	} {
		m := &memory{}
		w := serve(newHandler(t, m), request(event, body))
		if w.Code != 202 || m.calls != 0 || !strings.Contains(w.Body.String(), `"ignored"`) {
			t.Errorf("%s: %d, %d calls of the store: %s", event, w.Code, m.calls, w.Body)
		}
	}
}

func TestReplay(t *testing.T) {
	m := &memory{}
	h := newHandler(t, m)
	body := clicked(app)
	for _, c := range []struct {
		id, body, status string
		facts            int
	}{
		{"first", body, "accepted", 1},
		{"first", body, "known", 1},
		{"second", body, "accepted", 1}, // a new delivery, and nothing new in it
		{"first", body + " ", "accepted", 2},
	} {
		w := serve(h, request("check_run", c.body, header("X-GitHub-Delivery", c.id)))
		if w.Code != 202 || !strings.Contains(w.Body.String(), `"`+c.status+`"`) || len(m.facts) != c.facts || len(m.marks) != 1 {
			t.Errorf("%s: %d %s with %d facts and %d marks, want %s with %d and 1", c.id, w.Code, w.Body, len(m.facts), len(m.marks), c.status, c.facts)
		}
	}
}

// A body that comes again signed with the other secret is another delivery, and the
// same fact.
func TestReplayUnderTheOtherSecret(t *testing.T) {
	m := &memory{}
	h := newHandler(t, m, "new", "old")
	body := clicked(app)
	for i, c := range []struct{ key, status string }{{"old", "accepted"}, {"old", "known"}, {"new", "accepted"}, {"new", "known"}} {
		w := serve(h, request("check_run", body, header("X-Hub-Signature-256", sign(c.key, body))))
		if w.Code != 202 || !strings.Contains(w.Body.String(), `"`+c.status+`"`) || len(m.facts) != 1 || len(m.marks) != 1 {
			t.Errorf("%d, signed with %q: %d %s with %d facts and %d marks, want %s with 1 and 1", i, c.key, w.Code, w.Body, len(m.facts), len(m.marks), c.status)
		}
	}
}

func TestClickOnAnothersButton(t *testing.T) {
	m := &memory{}
	if w := serve(newHandler(t, m), request("check_run", clicked(app+1))); w.Code != 202 || m.calls != 0 {
		t.Errorf("%d, %d calls of the store", w.Code, m.calls)
	}
}

func TestUnknownInstallation(t *testing.T) {
	m := &memory{}
	body := strings.Replace(opened, `"installation":{"id":9}`, `"installation":{"id":666}`, 1)
	if w := serve(newHandler(t, m), request("pull_request", body)); w.Code != 202 {
		t.Fatalf("%d", w.Code)
	}
	// It is a key and a hint, and no fact: whether that installation may do
	// anything is asked before anything is done.
	want := rules.Mark{Key: rules.WorkKey{Kind: rules.WorkPullRequest, Repository: 1, Number: 7}, Installation: 666, FullName: "acme/orders"}
	if got := m.marks[want.Key.String()]; got != want || len(m.marks) != 1 || len(m.facts) != 0 {
		t.Errorf("%+v, %d marks, %d facts", got, len(m.marks), len(m.facts))
	}
}

func TestForksAndForeignPullRequests(t *testing.T) {
	const sha = "ec26c3e57ca3a959ca5aad62de7213c562f8c821"
	body := func(pulls string) string {
		return `{"action":"completed","check_run":{"id":1,"head_sha":"` + sha + `","app":{"id":15368},"pull_requests":` + pulls + `},"repository":{"id":1}}`
	}
	one := func(number, base int) string {
		return fmt.Sprintf(`{"number":%d,"base":{"repo":{"id":%d}}}`, number, base)
	}
	many := "[" + strings.Repeat(one(3, 1)+",", 200) + one(3, 1) + "]"
	for _, c := range []struct {
		name, body string
		want       []string
	}{
		{"a fork's, which GitHub leaves out", body("[]"), []string{"commit 1 0 " + sha + " -"}},
		{"one of this repository", body("[" + one(3, 1) + "]"), []string{"pull_request 1 3 - -"}},
		{"one into another repository", body("[" + one(3, 2) + "]"), []string{"commit 1 0 " + sha + " -"}},
		{"both", body("[" + one(3, 1) + "," + one(4, 2) + "]"), []string{"commit 1 0 " + sha + " -", "pull_request 1 3 - -"}},
		{"more than GitHub lists", body(many), []string{"commit 1 0 " + sha + " -", "pull_request 1 3 - -"}},
	} {
		m := &memory{}
		if w := serve(newHandler(t, m), request("check_run", c.body)); w.Code != 202 || !slices.Equal(m.keys(), c.want) {
			t.Errorf("%s: %d %q, want %q", c.name, w.Code, m.keys(), c.want)
		}
	}
}

func TestCallbackURL(t *testing.T) {
	body := func(url string) string {
		return `{"action":"requested","environment":"production","deployment_callback_url":"` + url + `","repository":{"id":1,"full_name":"acme/orders"}}`
	}
	for url, want := range map[string]int{
		"https://api.github.com/repos/acme/orders/actions/runs/5/deployment_protection_rule":                    202,
		"https://ghes.acme.internal/api/v3/repos/Acme/Orders/actions/runs/5/deployment_protection_rule":         202,
		"https://api.github.com/repos/acme/other/actions/runs/5/deployment_protection_rule":                     400,
		"https://api.github.com/repos/acme/orders/actions/runs/0/deployment_protection_rule":                    400,
		"https://api.github.com/repos/acme/orders/actions/runs/-5/deployment_protection_rule":                   400,
		"https://api.github.com/repos/acme/orders/actions/runs/5/../6/deployment_protection_rule":               400,
		"https://api.github.com/repos/acme/orders/actions/runs/99999999999999999999/deployment_protection_rule": 400,
		"https://api.github.com/repos/acme/orders/actions/runs/5/deployment_protection_rule?x":                  400,
		"https://api.github.com/repos/acme/orders/actions/runs/5":                                               400,
		"": 400,
	} {
		m := &memory{}
		w := serve(newHandler(t, m), request("deployment_protection_rule", body(url)))
		if w.Code != want || want == 202 && !slices.Equal(m.keys(), []string{"run 1 5 - -"}) {
			t.Errorf("%s: %d %q, want %d", url, w.Code, m.keys(), want)
		}
	}
}

func TestDispatchInputs(t *testing.T) {
	body := `{"inputs":{"version":"1.2.3"},"ref":"refs/heads/main","workflow":".github/workflows/deploy.yml","repository":{"id":1},"sender":{"id":3,"login":"octocat","type":"User"}}`
	m := &memory{}
	if w := serve(newHandler(t, m), request("workflow_dispatch", body)); w.Code != 202 || len(m.facts) != 1 || len(m.marks) != 0 {
		t.Fatalf("%d: %d facts, %d marks", w.Code, len(m.facts), len(m.marks))
	}
	for _, f := range m.facts {
		want := `{"workflow":".github/workflows/deploy.yml","ref":"refs/heads/main","sender":{"id":3,"login":"octocat","type":"User"},"inputs":{"version":"1.2.3"}}`
		if f.Kind != rules.FactDispatch || f.Sender != 3 || string(f.Payload) != want {
			t.Errorf("%+v %s", f, f.Payload)
		}
	}
	for name, body := range map[string]string{
		"inputs that are a list": strings.Replace(body, `{"version":"1.2.3"}`, `["x"]`, 1),
		"huge inputs":            strings.Replace(body, "1.2.3", strings.Repeat("x", 65<<10), 1),
		"no sender":              strings.Replace(body, `"id":3`, `"id":0`, 1),
	} {
		if w := serve(newHandler(t, &memory{}), request("workflow_dispatch", body)); w.Code != 400 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

// endless is a body that never ends.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return copy(p, bytes.Repeat([]byte("x"), len(p))), nil
}

func TestHugeBodies(t *testing.T) {
	m := &memory{}
	server := httptest.NewServer(newHandler(t, m))
	defer server.Close()
	post := func(body io.Reader, length int64) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range request("pull_request", "").Header {
			r.Header[name] = values
		}
		r.ContentLength = length
		resp, err := server.Client().Do(r)
		if err != nil {
			return 0 // the server closed the connection while we were sending
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for name, got := range map[string]int{
		"one byte too many":    post(bytes.NewReader(make([]byte, webhook.MaxBody+1)), webhook.MaxBody+1),
		"chunked, and no end":  post(&endless{}, -1),
		"announced as endless": post(&endless{}, 1<<40),
	} {
		if got != 413 && got != 0 {
			t.Errorf("%s: %d, want 413 or a closed connection", name, got)
		}
	}
	if w := serve(newHandler(t, m), request("pull_request", strings.Repeat(" ", webhook.MaxBody+1))); w.Code != 413 {
		t.Errorf("one byte too many: %d", w.Code)
	}
	r := request("pull_request", "")
	r.Body, r.ContentLength = io.NopCloser(&endless{}), -1
	if w := serve(newHandler(t, m), r); w.Code != 413 {
		t.Errorf("endless: %d", w.Code)
	}
	if w := serve(newHandler(t, m), request("ping", "{}"+strings.Repeat(" ", webhook.MaxBody-2))); w.Code != 202 {
		t.Errorf("exactly as large as can be: %d %s", w.Code, w.Body)
	}
	if m.calls != 0 {
		t.Errorf("%d calls of the store", m.calls)
	}
}

// slow gives one byte and then waits.
func TestSlowBody(t *testing.T) {
	h, err := webhook.New(webhook.Config{Secrets: []webhook.Secret{secret}, App: app, Store: &memory{}, ReadTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-GitHub-Event: ping\r\nX-GitHub-Delivery: a\r\nX-Hub-Signature-256: %s\r\nContent-Length: 100\r\n\r\n{",
		sign(secret, ""))
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 12)
	if _, err := io.ReadFull(conn, line); err != nil || string(line) != "HTTP/1.1 408" {
		t.Errorf("%q, %v", line, err)
	}
}

// Many large bodies at once are refused before they fill the memory, and the room
// is given back.
func TestTooMuchAtOnce(t *testing.T) {
	h := newHandler(t, &memory{})
	body := "{}" + strings.Repeat(" ", webhook.MaxBody-2)
	gate := make(chan struct{})
	var wait sync.WaitGroup
	codes := make(chan int, 4)
	for range 4 {
		wait.Go(func() {
			r := request("ping", body)
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(body[:20<<20]), &blocked{gate}, strings.NewReader(body[20<<20:])))
			codes <- serve(h, r).Code
		})
	}
	got := []int{<-codes} // the fourth that comes cannot be held
	close(gate)
	wait.Wait()
	close(codes)
	for c := range codes {
		got = append(got, c)
	}
	if !slices.Contains(got, 503) || slices.ContainsFunc(got, func(c int) bool { return c != 202 && c != 503 }) {
		t.Errorf("%v, want 202 and 503", got)
	}
	if w := serve(h, request("ping", body)); w.Code != 202 {
		t.Errorf("afterwards: %d", w.Code)
	}
}

// blocked reads as empty once the gate opens.
type blocked struct{ gate chan struct{} }

func (b *blocked) Read([]byte) (int, error) {
	<-b.gate
	return 0, io.EOF
}

// payloads is the folder with GitHub's own payloads.
func payloads(tb testing.TB) string {
	dir := os.Getenv("SALLYPORT_WEBHOOKS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "webhooks")
	}
	if _, err := os.Stat(dir); err != nil {
		tb.Skip("no payloads: SALLYPORT_WEBHOOKS names the folder")
	}
	return dir
}

// What each of GitHub's payloads makes: keys, then kinds of facts.
func TestPayloads(t *testing.T) {
	const (
		hello = "186853002"
		queue = "refs/heads/gh-readonly-queue/main/pr-104-929f8209d40f77f4abc622a499c93a83babdbe64"
	)
	want := map[string]string{
		"branch_protection_rule.edited.json":                                 "repository 17273051 0 - -",
		"check_run.completed.json":                                           "pull_request " + hello + " 2 - -",
		"check_run.created.json":                                             "pull_request " + hello + " 2 - -",
		"check_run.requested_action.json":                                    "pull_request 9384267 26764 - -; click",
		"check_run.rerequested.json":                                         "",
		"check_suite.requested.json":                                         "",
		"check_suite.rerequested.json":                                       "pull_request " + hello + " 2 - -",
		"deployment.created.json":                                            "run " + hello + " 289782451 - -",
		"deployment_protection_rule.requested.pull_request.constructed.json": "run " + hello + " 289782451 - -",
		"deployment_protection_rule.requested.push.constructed.json":         "run " + hello + " 289782451 - -",
		"deployment_review.approved.constructed.json":                        "run 616901961 5453085689 - -; deployment_review",
		"deployment_review.rejected.constructed.json":                        "run 616901961 5453085689 - -; deployment_review",
		"deployment_review.requested.json":                                   "run 616901961 5453085689 - -",
		"deployment_status.created.json":                                     "run " + hello + " 289782451 - -",
		"installation.created.json":                                          "installation 0 957387 - -",
		"installation.deleted.json":                                          "installation 0 2 - -",
		"installation.new_permissions_accepted.json":                         "installation 0 957387 - -",
		"installation.suspend.json":                                          "installation 0 16598467 - -",
		"installation.unsuspend.json":                                        "installation 0 16598467 - -",
		"installation_repositories.added.json":                               "installation 0 957387 - -",
		"installation_repositories.removed.json":                             "installation 0 2 - -",
		"membership.added.json":                                              "owner 0 38302899 - -",
		"merge_group.checks_requested.json":                                  "merge_group 17273051 0 2ffea6db159f6b6c47a24e778fb9ef40cf6b1c7d " + queue,
		"merge_group.destroyed.constructed.json":                             "",
		"pull_request.closed.merged.constructed.json":                        "pull_request " + hello + " 2 - -",
		"pull_request.closed.unmerged.json":                                  "pull_request " + hello + " 2 - -",
		"pull_request.converted_to_draft.json":                               "pull_request " + hello + " 2 - -",
		"pull_request.labeled.json":                                          "pull_request " + hello + " 2 - -",
		"pull_request.opened.json":                                           "pull_request " + hello + " 2 - -",
		"pull_request.ready_for_review.json":                                 "pull_request " + hello + " 2 - -",
		"pull_request.reopened.json":                                         "pull_request " + hello + " 2 - -",
		"pull_request.review_requested.json":                                 "pull_request " + hello + " 2 - -",
		"pull_request.synchronize.json":                                      "pull_request " + hello + " 2 - -; push",
		"pull_request.unlabeled.json":                                        "pull_request " + hello + " 2 - -",
		"pull_request_review.dismissed.json":                                 "pull_request " + hello + " 2 - -; review",
		"pull_request_review.submitted.approved.constructed.json":            "pull_request " + hello + " 2 - -; review",
		"pull_request_review.submitted.changes_requested.constructed.json":   "pull_request " + hello + " 2 - -; review",
		"pull_request_review.submitted.commented.json":                       "",
		"push.branch-created.json":                                           "repository " + hello + " 0 - -; push",
		"push.branch-updated.constructed.json":                               "repository " + hello + " 0 - -; push",
		"push.tag-deleted.json":                                              "",
		"workflow_job.completed.failure.json":                                "run " + hello + " 2202229078 - -",
		"workflow_job.completed.success.json":                                "run " + hello + " 2202229078 - -",
		"workflow_job.in_progress.json":                                      "",
		"workflow_job.queued.json":                                           "",
		"workflow_job.queued.status-waiting.json":                            "run 591427149 4747967848 - -",
		"workflow_job.waiting.json":                                          "run 591427149 4747967848 - -",
		"workflow_run.completed.json":                                        "run 300029405 289782451 - -",
		"workflow_run.completed.with-pull-requests.json":                     "run 300029405 289782451 - -",
		"workflow_run.requested.json":                                        "",
	}
	files, err := filepath.Glob(filepath.Join(payloads(t), "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d payloads, %v", len(files), err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		event, _, _ := strings.Cut(name, ".")
		m := &memory{}
		w := serve(newHandler(t, m), request(event, string(body)))
		var kinds []string
		for _, f := range m.facts {
			kinds = append(kinds, string(f.Kind))
		}
		got := strings.Join(append([]string{strings.Join(m.keys(), ", ")}, kinds...), "; ")
		if line, ok := want[name]; !ok || w.Code != 202 || got != line {
			t.Errorf("%s: %d %q, want 202 %q (in the table: %t)", name, w.Code, got, line, ok)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%s is in the table and not among the payloads", name)
	}
}

// The facts themselves.
func TestPayloadFacts(t *testing.T) {
	dir := payloads(t)
	for name, want := range map[string]string{
		"pull_request.synchronize.json": `{"number":2,"before":"f95f852bd8fca8fcc58a9a2d6c842781e32a215e","after":"ec26c3e57ca3a959ca5aad62de7213c562f8c821",` +
			`"sender":{"id":21031067,"login":"Codertocat","type":"User"}}`,
		"check_run.requested_action.json": `{"check_run":1494503112,"name":"API Review","sha":"5bd5f196a46b8222fb7484f05faba41a73cf34bd","app":25811,` +
			`"identifier":"lgtm|26764","sender":{"id":2036040,"login":"codebytere","type":"User"}}`,
		"deployment_review.approved.constructed.json": `{"run":5453085689,"attempt":1,"sha":"5275a45b7e99c7fd7265b790392c10a74101a67a","state":"approved",` +
			`"approver":{"id":3263338,"login":"ilmax","type":"User"},"jobs":[{"id":9921448362,"environment":"TST"}]}`,
	} {
		body, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		event, _, _ := strings.Cut(name, ".")
		m := &memory{}
		serve(newHandler(t, m), request(event, string(body)))
		if len(m.facts) != 1 {
			t.Errorf("%s: %d facts", name, len(m.facts))
		}
		sum := sha256.Sum256(body)
		for _, f := range m.facts {
			if string(f.Payload) != want || f.Key != hex.EncodeToString(sum[:]) || f.Event != event || f.Sender == 0 {
				t.Errorf("%s: %+v %s, want %s", name, f, f.Payload, want)
			}
		}
	}
}

// Whatever is signed: no panic, an answer that the table of New knows, and keys
// that name something.
func FuzzHandler(f *testing.F) {
	f.Add("pull_request", opened)
	f.Add("check_run", clicked(app))
	f.Add("ping", "{}")
	f.Add("deployment_protection_rule", `{"deployment_callback_url":"https://x/repos/a/b/actions/runs/1/deployment_protection_rule","repository":{"id":1,"full_name":"a/b"}}`)
	if dir := os.Getenv("SALLYPORT_WEBHOOKS"); dir != "" {
		files, _ := filepath.Glob(filepath.Join(dir, "*.json"))
		for _, file := range files {
			if body, err := os.ReadFile(file); err == nil {
				event, _, _ := strings.Cut(filepath.Base(file), ".")
				f.Add(event, string(body))
			}
		}
	}
	f.Fuzz(func(t *testing.T, event, body string) {
		m := &memory{}
		w := serve(newHandler(t, m), request(event, body))
		if w.Code != 202 && w.Code != 400 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if w.Code == 400 && m.calls > 0 {
			t.Fatal("refused and stored")
		}
		for key, mark := range m.marks {
			if again, err := rules.ParseWorkKey(key); err != nil || again != mark.Key {
				t.Fatalf("%q: %v", key, err)
			}
		}
		for _, fact := range m.facts {
			if !fact.Payload.IsValid() || fact.Repository < 0 {
				t.Fatalf("%+v", fact)
			}
		}
	})
}

func BenchmarkHandler(b *testing.B) {
	body := opened
	if raw, err := os.ReadFile(filepath.Join(payloads(b), "pull_request.synchronize.json")); err == nil {
		body = string(raw)
	}
	h := newHandler(b, &memory{})
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if w := serve(h, request("pull_request", body)); w.Code != 202 {
			b.Fatal(w.Code)
		}
	}
}

func TestOwnDoingsAreNoNews(t *testing.T) {
	m := &memory{}
	h, err := webhook.New(webhook.Config{Secrets: []webhook.Secret{secret}, App: app, Bot: 77, Store: m})
	if err != nil {
		t.Fatal(err)
	}
	body := func(action string, sender int) string {
		return strings.Replace(strings.Replace(opened, `"opened"`, `"`+action+`"`, 1), `"sender":{"id":3`, fmt.Sprintf(`"sender":{"id":%d`, sender), 1)
	}
	for i, c := range []struct {
		event, body string
		stored      int
	}{
		{"pull_request", body("labeled", 77), 0},
		{"pull_request", body("review_requested", 77), 0},
		{"pull_request", body("labeled", 3), 1},
		{"pull_request", body("opened", 77), 2}, // our bot opens none: somebody pretends, look
		{"pull_request", body("closed", 77), 3},
	} {
		if w := serve(h, request(c.event, c.body, header("X-GitHub-Delivery", fmt.Sprint("d", i)))); w.Code != http.StatusAccepted {
			t.Errorf("%s: %d %s", c.body, w.Code, w.Body)
		}
		if m.calls != c.stored {
			t.Errorf("after %s by the sender there: %d stored, want %d", c.body, m.calls, c.stored)
		}
	}
}

func TestOnlyChecksThatSomethingWaitsForAreStored(t *testing.T) {
	m := &memory{}
	var asked []webhook.Check
	h, err := webhook.New(webhook.Config{Secrets: []webhook.Secret{secret}, App: app, Store: m, Waits: func(_ context.Context, c webhook.Check) bool {
		asked = append(asked, c)
		return c.Name == "test"
	}})
	if err != nil {
		t.Fatal(err)
	}
	const sha = "ec26c3e57ca3a959ca5aad62de7213c562f8c821"
	check := func(action, name string, app int) string {
		return fmt.Sprintf(`{"action":%q,"check_run":{"id":5,"name":%q,"head_sha":%q,"app":{"id":%d},"pull_requests":[]},"repository":{"id":1,"full_name":"acme/orders"},"sender":{"id":3},"requested_action":{"identifier":"approve"}}`, action, name, sha, app)
	}
	status := func(name string) string {
		return fmt.Sprintf(`{"sha":%q,"state":"success","context":%q,"repository":{"id":1,"full_name":"acme/orders"},"sender":{"id":3}}`, sha, name)
	}
	for i, c := range []struct {
		event, body string
		stored      int
	}{
		{"check_run", check("completed", "lint", 15368), 0},
		{"check_run", check("completed", "test", 15368), 1},
		{"status", status("lint"), 1},
		{"status", status("test"), 2},
		{"check_run", check("requested_action", "sallyport", app), 3}, // a click is a fact, whatever waits
	} {
		if w := serve(h, request(c.event, c.body, header("X-GitHub-Delivery", fmt.Sprint("d", i)))); w.Code != http.StatusAccepted {
			t.Errorf("%s: %d %s", c.body, w.Code, w.Body)
		}
		if m.calls != c.stored {
			t.Errorf("after %s: %d stored, want %d", c.body, m.calls, c.stored)
		}
	}
	if want := (webhook.Check{Repository: 1, SHA: sha, Name: "test"}); !slices.Contains(asked, want) {
		t.Errorf("asked for %v, want %v among them", asked, want)
	}
}
