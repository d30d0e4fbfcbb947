package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// starts a server whose log is JSON at debug level, and returns its log and what stops
// it.
func (w *world) logged() (log *buffer, stop func() int) {
	w.t.Helper()
	ctx, end := context.WithCancel(w.t.Context())
	log = &buffer{}
	done := make(chan int, 1)
	go func() {
		done <- Main(ctx, []string{"serve", "--debug", "--log-format", "json"}, func(k string) string { return w.env[k] }, strings.NewReader(""), io.Discard, log, nil)
	}()
	return log, func() int {
		end()
		select {
		case code := <-done:
			return code
		case <-time.After(20 * time.Second):
			w.t.Fatalf("it does not end:\n%s", log)
			return 0
		}
	}
}

// body is what a path answers.
func (w *world) body(path string) string {
	w.t.Helper()
	q, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.env["SALLYPORT_LISTEN"]+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprintln(answer.StatusCode) + string(text)
}

// A delivery can be followed by its id to the decision, the metrics count what
// happened, and no secret is in either.
func TestLogAndMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if code, _, stderr := w.run("adopt", "acme/orders", "--yes"); code != ExitOK {
		t.Fatal(stderr)
	}
	log, stop := w.logged()
	w.until("it is ready", func() bool { return w.get("/readyz") == http.StatusOK })
	w.repo.CommitTo(w.alice, "fix", "Fix it", map[string]string{"main.go": "package main\n"})
	p, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: "fix", Title: "Fix it"})
	if err != nil {
		t.Fatal(err)
	}
	body := w.payload(p)
	for _, d := range []struct {
		secret string
		want   int
	}{{"guessed", 401}, {"s3cret", 202}, {"s3cret", 202}} {
		if got := w.deliver("pull_request", d.secret, body); got != d.want {
			t.Errorf("a delivery with %q: %d, want %d", d.secret, got, d.want)
		}
	}
	subject := rules.WorkKey{Kind: rules.WorkPullRequest, Repository: rules.RepositoryID(w.repo.ID), Number: int64(p.Number)}.String()
	s, err := store.Open(t.Context(), store.Config{Path: w.file(), MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w.until("it is judged", func() bool { // counting it sooner would count for ten seconds
		got, err := s.Stats(t.Context(), time.Now())
		return err == nil && got.HeldPulls == 1 && got.Ready+got.Leased == 0
	})
	var metrics string
	w.until("it is counted", func() bool {
		metrics = w.body("/metrics")
		return strings.Contains(metrics, `sallyport_work_looks_total{kind="pull_request",outcome="done"}`) && strings.Contains(metrics, "sallyport_pull_requests_held 1\n") && strings.Contains(metrics, `sallyport_sweeps_total{outcome="ok"} 1`)
	})
	for _, want := range []string{
		`sallyport_deliveries_total{outcome="accepted"} 1`, `sallyport_deliveries_total{outcome="known"} 1`, `sallyport_deliveries_total{outcome="refused"} 1`, `sallyport_deliveries_total{outcome="failed"} 0`,
		`sallyport_http_requests_total{code="401",method="POST",surface="webhook"} 1`, `sallyport_http_requests_total{code="202",method="POST",surface="webhook"} 2`,
		`sallyport_http_request_duration_seconds_count{surface="webhook"} 3`, "sallyport_store_up 1", "sallyport_github_reached 1", `sallyport_work_keys{state="poisoned"} 0`,
		`sallyport_deployments_held{state="human"} 0`, `sallyport_github_requests_total{kind="tokens",method="POST",outcome="ok"}`,
		`sallyport_github_requests_total{kind="graphql",method="POST",outcome="ok"}`, `sallyport_github_budget_remaining{resource="core"}`, "go_goroutines", "sallyport_build_info{",
	} {
		if !strings.Contains(metrics, "\n"+want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
	if !regexp.MustCompile(`(?m)^sallyport_ledger_entries [1-9]`).MatchString(metrics) {
		t.Error("the ledger has no entries")
	}
	if code := stop(); code != ExitOK {
		t.Errorf("exit %d:\n%s", code, log)
	}

	lines := map[string][]map[string]any{}
	for sc := bufio.NewScanner(strings.NewReader(log.String())); sc.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(sc.Bytes(), &line); err != nil {
			t.Fatalf("%q: %v", sc.Text(), err)
		}
		for _, key := range []string{`"subject":`, `"repository":`, `"decision":`} {
			if strings.Count(sc.Text(), key) > 1 {
				t.Errorf("a line has %s twice: %s", key, sc.Text())
			}
		}
		lines[fmt.Sprint(line["msg"])] = append(lines[fmt.Sprint(line["msg"])], line)
	}
	has := func(msg string, want map[string]any) {
		t.Helper()
		if !slices.ContainsFunc(lines[msg], func(line map[string]any) bool {
			for k, v := range want {
				if fmt.Sprint(line[k]) != fmt.Sprint(v) && (v != any("any") || fmt.Sprint(line[k]) == "" || line[k] == nil) {
					return false
				}
			}
			return true
		}) {
			t.Errorf("no line %q with %v among %v", msg, want, lines[msg])
		}
	}
	has("delivery accepted", map[string]any{"delivery": "any", "repository": "acme/orders", "repository_id": float64(w.repo.ID), "event": "pull_request", "subjects": []any{subject}})
	has("delivery known", map[string]any{"delivery": lines["delivery accepted"][0]["delivery"]})
	has("webhook delivery refused", map[string]any{"delivery": lines["delivery accepted"][0]["delivery"], "status": 401})
	has("judged", map[string]any{"subject": subject, "repository": "acme/orders", "decision": "any", "verdict": "wait"})
	has("GitHub", map[string]any{"subject": subject, "repository": "acme/orders"})
	for _, text := range []string{log.String(), metrics} {
		for _, secret := range []string{"s3cret", "guessed", "ghs_", "PRIVATE KEY", "Bearer", "sha256=", "package main"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in the log or the metrics", secret)
			}
		}
	}
	for _, name := range []string{"acme", "orders", fmt.Sprint(w.repo.ID), fmt.Sprint(w.inst.ID), p.Head()} {
		for line := range strings.Lines(metrics) {
			if labels := regexp.MustCompile(`\{.*\}`).FindString(line); strings.HasPrefix(line, "sallyport_") && strings.Contains(labels, name) {
				t.Errorf("the metrics name %q: %s", name, line)
			}
		}
	}
	if code, _, stderr := w.run("serve", "--log-format", "xml"); code != ExitUsage || !strings.Contains(stderr, "--log-format") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

// It is ready within a second of its start, once its keys are there. A machine that has
// other things to do makes one start slow, and not each.
func TestReadyWithinASecond(t *testing.T) {
	w := newWorld(t)
	w.withTargets()
	best := time.Hour
	for i := 0; i < 6 && best > time.Second; i++ {
		begun := time.Now()
		log, stop := w.logged()
		w.until("it is ready", func() bool { return w.get("/readyz") == http.StatusOK })
		took := time.Since(begun)
		if code := stop(); code != ExitOK {
			t.Errorf("exit %d:\n%s", code, log)
		}
		if i == 0 {
			t.Logf("the first start, which makes the keys, took %s", took)
			continue
		}
		best = min(best, took)
	}
	t.Logf("ready after %s", best)
	if best > time.Second {
		t.Errorf("ready after %s at best, want a second", best)
	}
}

// Each missing setting is named on a line of its own.
func TestMissingSettings(t *testing.T) {
	w := &world{t: t, env: map[string]string{"SALLYPORT_APP_ID": "x"}}
	code, stdout, stderr := w.run("serve")
	var named []string
	for line := range strings.Lines(stderr) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "sallyport-app: "), ":")
		named = append(named, name)
	}
	if want := []string{"SALLYPORT_URL", "SALLYPORT_APP_ID", "SALLYPORT_PRIVATE_KEY_FILE", "SALLYPORT_WEBHOOK_SECRET"}; code != ExitUsage || stdout != "" || !slices.Equal(named, want) {
		t.Errorf("exit %d, lines of %q, want %q:\n%s", code, named, want, stderr)
	}
}

func (w *world) file() string { return strings.TrimPrefix(w.env["SALLYPORT_DATABASE_URL"], "sqlite:") }

// What a server has when it is told to end, another one can take at once.
func TestHandsBackAtTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, err := store.Open(t.Context(), store.Config{Path: w.file()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	log, stop := w.logged()
	w.until("it is ready", func() bool { return w.get("/readyz") == http.StatusOK })
	w.g.Fail(githubtest.Fault{Kind: githubtest.Hang, Times: -1})
	defer w.g.Heal()
	key := rules.WorkKey{Kind: rules.WorkInstallation, Number: w.inst.ID}
	if err := s.Mark(t.Context(), time.Now(), rules.Mark{Key: key, Installation: rules.InstallationID(w.inst.ID)}); err != nil {
		t.Fatal(err)
	}
	w.until("the server has the work", func() bool {
		all, err := s.Pending(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(all, func(x store.Work) bool { return x.Key == key && x.Lease != "" })
	})
	if code := stop(); code != ExitOK {
		t.Errorf("exit %d:\n%s", code, log)
	}
	// The sweep may have marked other keys.
	for {
		got, err := s.Take(t.Context(), "another", time.Now(), time.Minute)
		if err != nil {
			t.Fatalf("%s cannot be taken: %v\n%s", key, err, log)
		}
		if got.Key != key {
			continue
		}
		if got.Attempts != 1 {
			t.Errorf("it was handed back as tried %d times", got.Attempts-1)
		}
		break
	}
}

// While the database is away it says so and takes nothing; once it is back it goes on
// by itself.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	log, stop := w.logged()
	w.until("it is ready", func() bool { return w.get("/readyz") == http.StatusOK })
	p, err := func() (*githubtest.Pull, error) {
		w.repo.CommitTo(w.alice, "fix", "Fix it", map[string]string{"main.go": "package main\n"})
		return w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: "fix", Title: "Fix it"})
	}()
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(w.file())+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	other, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.ExecContext(t.Context(), "BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	delivered := make(chan int, 1)
	go func() { delivered <- w.deliver("pull_request", "s3cret", w.payload(p)) }()
	w.until("it says that the database is away", func() bool {
		return strings.HasPrefix(w.body("/readyz"), "503\nthe database cannot be written")
	})
	if got := w.body("/healthz"); got != "200\nalive\n" {
		t.Errorf("it is not alive: %q", got)
	}
	if got := w.body("/metrics"); !strings.HasPrefix(got, "200\n") || !strings.Contains(got, "\nsallyport_store_up 0\n") || strings.Contains(got, "\nsallyport_work_keys") {
		t.Errorf("the metrics: %s", got)
	}
	if got := <-delivered; got != http.StatusServiceUnavailable {
		t.Errorf("a delivery: %d, want 503", got)
	}
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	w.until("it is ready again", func() bool { return w.get("/readyz") == http.StatusOK })
	if got := w.deliver("pull_request", "s3cret", w.payload(p)); got != http.StatusAccepted {
		t.Errorf("a delivery afterwards: %d, want 202", got)
	}
	w.until("the work is done", func() bool { return strings.Contains(w.body("/metrics"), "\nsallyport_store_up 1\n") })
	if code := stop(); code != ExitOK {
		t.Errorf("exit %d:\n%s", code, log)
	}
}
