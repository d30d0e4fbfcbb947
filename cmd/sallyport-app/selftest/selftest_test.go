package selftest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/cmd/sallyport-app/selftest"
	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// The whole walk, with the real server and a real shell for the job: each door opens
// and closes, nothing differs, no branch or open pull request stays, and no token lives.
func TestSelftestWalk(t *testing.T) {
	w := newWorld(t, true, githubtest.BigGiven)
	w.prepare()
	r, err := w.walk(t.Context())
	must(t, err)
	var text, form bytes.Buffer
	must(t, r.Text(&text))
	must(t, r.JSON(&form))
	if !r.OK() || r.Failed() {
		t.Errorf("not all is well:\n%s", text.String())
	}
	if want := []string{"rule", "review", "approve", "dispatch"}; !slices.Equal(w.asked, want) {
		t.Errorf("alice was asked for %v, want %v", w.asked, want)
	}
	// What this GitHub cannot tell is one row; everything else that a walk can see was.
	never := map[string]bool{"review-author-can-push": true}
	for _, k := range selftest.Facts() {
		never[k.ID] = never[k.ID] || k.Never != ""
	}
	for _, f := range r.Facts {
		if never[f.ID] == (f.Outcome == selftest.AsAssumed) {
			t.Errorf("%s: %s: %s", f.ID, f.Outcome, f.Seen)
		}
		if log := f.ID == "dispatch-delivery" || f.ID == "button-external-id"; !log && f.Outcome == selftest.AsAssumed && (f.Request == nil || f.Request.ID == "") {
			t.Errorf("%s: no request shows it", f.ID)
		}
	}
	w.clean()
	for _, secret := range []string{"ghs_", "eyJ", "PRIVATE KEY", "s3cret"} {
		if strings.Contains(text.String()+form.String()+strings.Join(w.lines, "\n"), secret) {
			t.Errorf("the report has %q in it", secret)
		}
	}
	var back selftest.Report
	if err := json.Unmarshal(form.Bytes(), &back); err != nil || len(back.Facts) != len(r.Facts) || len(back.Requests) == 0 {
		t.Errorf("the JSON is not the report: %v", err)
	}
	if path := os.Getenv("SALLYPORT_SELFTEST_SHOW"); path != "" {
		must(t, os.WriteFile(path, text.Bytes(), 0o600))
	}
}

// clean fails where anything of the walk is still there.
func (w *world) clean() {
	w.t.Helper()
	for _, q := range w.g.Requests() {
		var made struct{ Ref string }
		if q.Method == http.MethodPost && strings.HasSuffix(q.Path, "/git/refs") {
			must(w.t, json.Unmarshal(q.Body, &made))
			if branch := strings.TrimPrefix(made.Ref, "refs/heads/"); w.repo.Head(branch) != "" {
				w.t.Errorf("the branch %s is still there", branch)
			}
		}
	}
	var out bytes.Buffer
	must(w.t, w.send(context.WithoutCancel(w.t.Context()), http.MethodGet, "/pulls?state=open", "", &out))
	if w.g.Counts()["DELETE /installation/token"] == 0 {
		w.t.Error("the walk's token was not ended")
	}
	if strings.TrimSpace(out.String()) != "[]" {
		w.t.Errorf("a pull request is still open: %.300s", out.String())
	}
}

// Where the environment can have no protection rule, the job holds itself.
func TestSelftestWithoutRule(t *testing.T) {
	w := newWorld(t, false, githubtest.BigGiven)
	w.prepare()
	runs := w.cfg.Ask
	w.cfg.Ask = func(ctx context.Context, task selftest.Task) {
		if task.ID != "dispatch" {
			runs(ctx, task)
			return
		}
		run := w.start(w.alice, "workflow_dispatch")
		f := w.workflow()
		go w.runJob(context.WithoutCancel(ctx), run.Job("deploy"), f.Env, f.Jobs["deploy"].Steps)
	}
	r, err := w.walk(t.Context())
	must(t, err)
	var text bytes.Buffer
	must(t, r.Text(&text))
	if !r.OK() || strings.Contains(strings.Join(w.asked, " "), "rule") {
		t.Errorf("not all is well, or alice was asked for a rule (%v):\n%s", w.asked, text.String())
	}
	w.clean()
}

// rewrite is a GitHub that answers otherwise.
type rewrite struct {
	match    func(q *http.Request) bool
	old, new string
	status   int
}

func (x *rewrite) RoundTrip(q *http.Request) (*http.Response, error) {
	var body []byte
	if q.Body != nil {
		var err error
		if body, err = io.ReadAll(q.Body); err != nil {
			return nil, err
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
	}
	hit := x.match(q)
	q.Body = io.NopCloser(bytes.NewReader(body))
	answer, err := http.DefaultTransport.RoundTrip(q)
	if err != nil || !hit {
		return answer, err
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, errors.Join(err, answer.Body.Close())
	}
	if x.old != "" {
		text = regexp.MustCompile(x.old).ReplaceAll(text, []byte(x.new))
	}
	if x.status != 0 {
		answer.StatusCode = x.status
	}
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return answer, answer.Body.Close()
}

func path(part string) func(*http.Request) bool {
	return func(q *http.Request) bool { return strings.Contains(q.URL.Path, part) }
}

func query(part string) func(*http.Request) bool {
	return func(q *http.Request) bool {
		text, err := io.ReadAll(q.Body)
		return err == nil && q.Method == http.MethodPost && strings.HasSuffix(q.URL.Path, "/graphql") && bytes.Contains(text, []byte(part))
	}
}

// all lets several rewrites happen in one walk.
type all []*rewrite

func (a all) RoundTrip(q *http.Request) (*http.Response, error) {
	var body []byte
	if q.Body != nil {
		var err error
		if body, err = io.ReadAll(q.Body); err != nil {
			return nil, err
		}
	}
	for _, x := range a {
		q.Body = io.NopCloser(bytes.NewReader(body))
		if x.match(q) {
			q.Body = io.NopCloser(bytes.NewReader(body))
			return x.RoundTrip(q)
		}
	}
	q.Body = io.NopCloser(bytes.NewReader(body))
	return http.DefaultTransport.RoundTrip(q)
}

// A GitHub that does otherwise is said to differ, fact by fact, and the walk goes on.
func TestSelftestSaysWhatDiffers(t *testing.T) {
	w := newWorld(t, true, githubtest.BigGiven)
	w.prepare()
	w.cfg.Transport = all{
		{match: query("checkSuites"), old: `"originalEnvironment":"[^"]*"`, new: `"originalEnvironment":"sallyport-selftest-other"`},
		{match: query("a..b"), old: `^.*$`, new: `{"data":{"repository":null},"errors":[{"type":"INVALID","message":"no such name"}]}`},
		{match: query("members("), old: `"nodes":\[[^\]]*\]`, new: `"nodes":[]`},
		{match: query("authorCanPushToRepository"), old: `"authorCanPushToRepository":true`, new: `"authorCanPushToRepository":false`},
		{match: path("/activity"), old: `"pr_merge"`, new: `"push"`},
		{match: path("/jobs"), old: `"runner_id":null`, new: `"runner_id":7`},
		{match: path("/actions/runs"), old: `(sallyport-selftest\.yml)"`, new: `${1}~main"`},
		{match: path("/check-runs/"), status: http.StatusOK, old: `^.*$`, new: `{"id":1,"status":"in_progress"}`},
		{match: func(q *http.Request) bool {
			return strings.Contains(q.URL.Path, "/compare/") && q.URL.RawQuery == ""
		}, status: http.StatusOK, old: `^.*$`, new: `{"status":"diverged"}`},
		{match: func(q *http.Request) bool { return strings.Contains(q.URL.Path, "/compare/") }, old: `"files":\[\]|"status":"ahead"`, new: `"status":""`},
	}
	r, err := w.walk(t.Context())
	must(t, err)
	want := []string{
		"team-members-query", "review-author-can-push", "check-not-reopened", "original-environment", "no-runner-no-steps", "compare-no-ancestor", "compare-later-page",
		"workflow-path-ref", "graphql-bad-ref", "activity-names",
	}
	var got []string
	for _, f := range r.Facts {
		if f.Outcome == selftest.Different {
			got = append(got, f.ID)
		}
	}
	if !slices.Equal(got, want) || r.OK() {
		var text bytes.Buffer
		must(t, r.Text(&text))
		t.Errorf("different are %v, want %v:\n%s", got, want, text.String())
	}
}

// The same where GitHub itself is another: GraphQL without large ids, and an event that
// never comes.
func TestSelftestOnAnotherGitHub(t *testing.T) {
	w := newWorld(t, true, githubtest.BigNull)
	w.prepare()
	w.cfg.Event = time.Second
	w.app.Fate(func(e githubtest.Event) githubtest.Fate {
		return githubtest.Fate{Vanish: e.Event == "workflow_dispatch"}
	})
	r, err := w.walk(t.Context())
	must(t, err)
	got := map[string]selftest.Outcome{}
	for _, f := range r.Facts {
		got[f.ID] = f.Outcome
	}
	for _, id := range []string{"graphql-checks", "graphql-run-id", "graphql-check-deployment", "dispatch-delivery"} {
		if got[id] != selftest.Different {
			t.Errorf("%s is %s", id, got[id])
		}
	}
}

// Without consent, or in a repository that is used for anything else, nothing is asked
// and nothing is written.
func TestSelftestRefuses(t *testing.T) {
	w := newWorld(t, true, githubtest.BigGiven)
	// What the server shows on alice's pull request meanwhile is its own work.
	shown := regexp.MustCompile(`/(access_tokens|installation/token|check-runs|check-runs/\d+|comments|comments/\d+|labels|labels/[^/]+|reviews|requested_reviewers)$`)
	writes := func() (n int) {
		for _, q := range w.g.Requests() {
			if q.Write() && !shown.MatchString(q.Path) {
				n++
			}
		}
		return n
	}
	before := writes()
	refused := func(what, why string, cfg selftest.Config) {
		t.Helper()
		r, err := selftest.Run(t.Context(), cfg)
		var refused *selftest.Refused
		if r != nil || !errors.As(err, &refused) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want a refusal that says %q", what, err, why)
		}
		if n := writes(); n != before || len(w.asked) > 0 {
			t.Errorf("%s: %d writes, asked for %v", what, n-before, w.asked)
		}
	}
	with := func(change func(*selftest.Config)) selftest.Config {
		c := w.cfg
		change(&c)
		return c
	}
	refused("no consent", "--yes-use acme/scratch", with(func(c *selftest.Config) { c.Confirmed = "" }))
	refused("consent for another", "--yes-use acme/scratch", with(func(c *selftest.Config) { c.Confirmed = "acme/other" }))
	refused("a path", "is not OWNER/REPO", with(func(c *selftest.Config) { c.Repository, c.Confirmed = "acme/../x", "acme/../x" }))
	refused("not installed", "not installed", with(func(c *selftest.Config) { c.Repository, c.Confirmed = "acme/none", "acme/none" }))
	refused("no marker", "--write DIR", w.cfg)

	w.prepare()
	refused("no target", "repositories: [", with(func(c *selftest.Config) { c.Targets = nil }))
	refused("no server", "does not answer", with(func(c *selftest.Config) { c.URL = "http://127.0.0.1:1"; c.NoRule = false }))
	refused("files for another server", "not what this server needs", with(func(c *selftest.Config) { c.NoRule = true }))

	p, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Title: "Work", Head: w.branch("sallyport-selftest/alice")})
	must(t, err)
	refused("somebody's pull request", "somebody works here", w.cfg)
	must(t, p.Close(w.alice))

	w.repo.Protect("main", &githubtest.Protection{Checks: []githubtest.RequiredCheck{{Context: "sallyport"}}})
	refused("a protected branch", "is protected", w.cfg)
	w.repo.Protect("main", nil)

	marker := "repository: acme/orders\nreviewers: acme/sre\n"
	w.repo.CommitTo(w.alice, "main", "Copy the marker", map[string]string{selftest.Marker: marker})
	refused("another repository's marker", `names the repository "acme/orders"`, w.cfg)
	w.repo.CommitTo(w.alice, "main", "Work", map[string]string{"main.go": "package main\n"})
	refused("a repository with code", "it holds main.go", w.cfg)
}

func (w *world) branch(name string) string {
	w.repo.CommitTo(w.alice, name, "Work", map[string]string{"x.go": "package x\n"})
	return name
}

// Interrupted wherever it waits, the walk takes away what it made, and what is held is
// rejected.
func TestSelftestInterrupted(t *testing.T) {
	for _, at := range []string{"review", "approve"} {
		w := newWorld(t, true, githubtest.BigGiven)
		w.prepare()
		ctx, stop := context.WithCancel(t.Context())
		person := w.cfg.Ask
		w.cfg.Ask = func(ctx context.Context, task selftest.Task) {
			if task.ID == at {
				stop()
				return
			}
			person(ctx, task)
		}
		r, err := w.walk(ctx)
		if !errors.Is(err, context.Canceled) || r == nil || r.OK() {
			t.Errorf("at %s: %v", at, err)
		}
		w.clean()
		if at != "approve" {
			continue
		}
		var out bytes.Buffer
		must(t, w.send(t.Context(), http.MethodGet, "/actions/runs?status=waiting", "", &out))
		if !strings.Contains(out.String(), `"total_count":0`) {
			t.Errorf("at %s: a run still waits: %.300s", at, out.String())
		}
	}
}

// A click that does not come in time is said to be that, and what hangs on it is skipped.
func TestSelftestNobodyClicks(t *testing.T) {
	w := newWorld(t, true, githubtest.BigGiven)
	w.prepare()
	w.cfg.Wait = 200 * time.Millisecond
	w.cfg.Ask = func(context.Context, selftest.Task) {}
	r, err := w.walk(t.Context())
	must(t, err)
	got := map[string]selftest.Outcome{}
	for _, s := range r.Steps {
		got[s.ID] = s.Outcome
	}
	if got["rule"] != selftest.Unmet || got["deploy-held"] != selftest.Skipped || got["questions"] != selftest.Done || r.OK() || r.Failed() {
		t.Errorf("the steps ended as %v", got)
	}
}

// Each row of the document is seen by the walk or says why not, and the other way round.
func TestEachAssumptionHasAnObserver(t *testing.T) {
	text, err := os.ReadFile("../../../docs/platform-assumptions.md")
	must(t, err)
	row := regexp.MustCompile("^\\| \\[U\\] \\| `([a-z0-9-]+)` \\| ")
	var rows []string
	for _, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| [U] |") {
			continue
		}
		m := row.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("this row has no id; put one such as `graphql-checks` into its second column: %.100s", line)
			continue
		}
		rows = append(rows, m[1])
	}
	var known []string
	for _, f := range selftest.Facts() {
		known = append(known, f.ID)
		if !slices.Contains(rows, f.ID) {
			t.Errorf("%s is in Facts() of cmd/sallyport-app/selftest/facts.go, and docs/platform-assumptions.md has no row of it marked [U]: remove it, or mark the row", f.ID)
		}
	}
	source, err := os.ReadFile("facts.go")
	must(t, err)
	for _, id := range rows {
		if !slices.Contains(known, id) {
			t.Errorf("%s is a row of docs/platform-assumptions.md: add {ID: %q} to Facts() of cmd/sallyport-app/selftest/facts.go and a function there that sees it, or Never with why a walk cannot", id, id)
		}
	}
	for _, f := range selftest.Facts() {
		if f.Never == "" && strings.Count(string(source), `"`+f.ID+`"`) < 2 {
			t.Errorf("%s is listed in Facts(), and nothing in facts.go sees it: say so with Never, or see it", f.ID)
		}
	}
	if len(rows) == 0 || !slices.Equal(rows, known) && len(rows) == len(known) {
		t.Errorf("the rows are %v, and Facts() are %v: keep their order", rows, known)
	}
}
