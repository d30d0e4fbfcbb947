package github_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

const deployFile = ".github/workflows/deploy.yml"

// newDeployWorld is a world whose App can be a deployment protection rule.
func newDeployWorld(t *testing.T, fake githubtest.Config, without ...string) *world {
	t.Helper()
	may := permissions()
	may["deployments"], may["actions"] = "write", "write"
	for _, p := range without {
		delete(may, p)
	}
	w := newWorld(t, setting{fake: fake})
	key, err := testKey()
	must(t, err)
	events := []string{"deployment_protection_rule"}
	if may["deployments"] == "" {
		events = nil
	}
	w.app = w.g.App(githubtest.AppConfig{Slug: "deploy-door", Owner: w.acme, Permissions: may, Events: events, Key: key})
	w.inst = w.app.Install(w.acme)
	w.client = w.newClient(nil)
	if rest, _ := descriptions(t); rest != nil {
		w.wire.next = rest.Transport(t, w.g.URL(), &http.Transport{}, func(method, path string) bool {
			return unlisted(method, path) || strings.HasSuffix(path, "/rerun")
		})
	}
	w.orders = w.client.Repository(rules.InstallationID(w.inst.ID), rules.RepositoryID(w.repo.ID), "acme/orders")
	return w
}

// gated makes an environment with our rule.
func (w *world) gated(name string) *githubtest.Environment {
	w.t.Helper()
	e := w.repo.Environment(name)
	_, err := e.EnableRule(w.app)
	must(w.t, err)
	return e
}

// deploy starts a run with one job for each environment, in order.
func (w *world) deploy(by *githubtest.User, environments ...string) *githubtest.Run {
	w.t.Helper()
	var jobs []githubtest.JobSpec
	for i, e := range environments {
		jobs = append(jobs, githubtest.JobSpec{Name: fmt.Sprintf("job %d", i), Environment: e})
	}
	return w.repo.StartRun(githubtest.RunSpec{Workflow: deployFile, By: by, Jobs: jobs})
}

// edit changes the text of answers to requests whose path has a part.
func (w *world) edit(part string, change func(string) string) {
	w.wire.changing(func(r *http.Response) {
		if !strings.Contains(r.Request.URL.Path, part) {
			return
		}
		body, err := io.ReadAll(r.Body)
		must(w.t, err)
		r.Body = io.NopCloser(strings.NewReader(change(string(body))))
	})
}

// replace is edit that puts one text in another's place, which must be there.
func (w *world) replace(part, from, to string) {
	w.edit(part, func(s string) string {
		if !strings.Contains(s, from) {
			w.t.Errorf("the answer has no %s", from)
		}
		return strings.ReplaceAll(s, from, to)
	})
}

// endless makes each page of a query's lists have one after it: the first, in the end.
func (w *world) endless() {
	w.edit("/graphql", func(s string) string {
		return strings.NewReplacer(`"hasNextPage":false`, `"hasNextPage":true`, `"endCursor":null`, `"endCursor":"Y3Vyc29yOjA="`).Replace(s)
	})
}

// longName is as long as an environment's name can be.
var longName = strings.Repeat("é", 255)

// deployCalls call every method of the deploy door once, in a world of their own.
func deployCalls(t *testing.T) []struct {
	name string
	call func() error
} {
	w := newDeployWorld(t, githubtest.Config{Limits: githubtest.NoLimits()})
	ctx, r := t.Context(), w.orders
	w.gated("production")
	base := rules.SHA(w.repo.Head("main"))
	p := w.open(w.alice, "feature")
	must(t, p.Merge(w.carol, "squash", p.Head()))
	head := rules.SHA(w.repo.Head("main"))
	run := w.deploy(w.alice, "production")
	id := rules.RunID(run.ID)
	return []struct {
		name string
		call func() error
	}{
		{"Run", func() error { _, err := r.Run(ctx, id); return err }},
		{"Pending", func() error { _, err := r.Pending(ctx, id); return err }},
		{"WaitingRuns", func() error { _, err := r.WaitingRuns(ctx); return err }},
		{"Environments", func() error { _, err := r.Environments(ctx); return err }},
		{"RuleEnabled", func() error { _, err := r.RuleEnabled(ctx, "production"); return err }},
		{"Permission", func() error { _, _, err := r.Permission(ctx, "bob"); return err }},
		{"DeployPlace", func() error { _, err := r.DeployPlace(ctx, "main", head, id); return err }},
		{"Branches", func() error { _, _, err := r.Branches(ctx); return err }},
		{"Contains", func() error { _, err := r.Contains(ctx, head, base); return err }},
		{"Range", func() error { _, err := r.Range(ctx, base, head); return err }},
		{"Texts", func() error { _, err := r.Texts(ctx, head, []string{"README.md"}); return err }},
		{"Answer", func() error {
			if err := r.Answer(ctx, id, "production", "", "waiting for bob"); err != nil {
				return err
			}
			return r.Answer(ctx, id, "production", "rejected", "no")
		}},
		{"RerunJob", func() error { return r.RerunJob(ctx, rules.CheckRunID(run.Job("job 0").ID)) }},
	}
}

func TestDeployCallsFitTheDescription(t *testing.T) {
	for _, x := range deployCalls(t) {
		if err := x.call(); err != nil {
			t.Errorf("%s: %v", x.name, err)
		}
	}
}

// What lacks a permission says so, and what GitHub does not answer leaves everything
// open.
func TestDeployCallsThatFail(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{}, "deployments")
	w.g.Allow("lacks deployments")
	if err := w.orders.Answer(t.Context(), 1, "production", "approved", "yes"); !errors.Is(err, github.ErrForbidden) && !errors.Is(err, github.ErrNotFound) {
		t.Errorf("answering without the permission: %v", err)
	}
	x := newDeployWorld(t, githubtest.Config{}, "actions")
	x.g.Allow("lacks actions")
	for name, err := range map[string]error{
		"Run": func() error { _, err := x.orders.Run(t.Context(), 1); return err }(), "Pending": func() error { _, err := x.orders.Pending(t.Context(), 1); return err }(),
		"WaitingRuns": func() error { _, err := x.orders.WaitingRuns(t.Context()); return err }(), "Environments": func() error { _, err := x.orders.Environments(t.Context()); return err }(),
		"RuleEnabled": func() error { _, err := x.orders.RuleEnabled(t.Context(), "production"); return err }(), "RerunJob": x.orders.RerunJob(t.Context(), 1),
	} {
		if !errors.Is(err, github.ErrForbidden) {
			t.Errorf("%s without the permission: %v", name, err)
		}
	}
	w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Path: "**", Times: -1})
	for _, c := range deployFailures(t, w) {
		unclear(t, "an answer that is none", c)
	}
}

func deployFailures(t *testing.T, w *world) []error {
	t.Helper()
	ctx, r, head := t.Context(), w.orders, rules.SHA(w.repo.Head("main"))
	other := rules.SHA(strings.Repeat("a", 40))
	var out []error
	add := func(err error) { out = append(out, err) }
	_, err := r.Run(ctx, 1)
	add(err)
	_, err = r.Pending(ctx, 1)
	add(err)
	_, err = r.WaitingRuns(ctx)
	add(err)
	add(r.Answer(ctx, 1, "production", "approved", ""))
	_, err = r.Environments(ctx)
	add(err)
	_, err = r.RuleEnabled(ctx, "production")
	add(err)
	add(r.RerunJob(ctx, 1))
	_, _, err = r.Permission(ctx, "bob")
	add(err)
	_, err = r.DeployPlace(ctx, "main", head, 1)
	add(err)
	_, _, err = r.Branches(ctx)
	add(err)
	_, err = r.Contains(ctx, head, other)
	add(err)
	_, err = r.Range(ctx, other, head)
	add(err)
	_, err = r.Texts(ctx, head, []string{"README.md"})
	add(err)
	return out
}

func TestRun(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{})
	w.gated("production")
	run := w.deploy(w.alice, "production")
	id := rules.RunID(run.ID)
	read := func() github.Run {
		t.Helper()
		got, err := w.orders.Run(t.Context(), id)
		must(t, err)
		return got
	}
	got := read()
	want := github.Run{
		ID: id, Attempt: 1, Workflow: deployFile, Event: "push", HeadSHA: rules.SHA(w.repo.Head("main")), HeadBranch: "main", Status: "waiting", Actor: actor(w.alice), Triggering: actor(w.alice),
		Repository: rules.RepositoryID(w.repo.ID), HeadRepository: rules.RepositoryID(w.repo.ID), CreatedAt: got.CreatedAt, StartedAt: got.StartedAt, URL: fmt.Sprintf("https://github.com/acme/orders/actions/runs/%d", id),
	}
	if got != want || got.CreatedAt.IsZero() || got.StartedAt.IsZero() {
		t.Errorf("the run: %+v, want %+v", got, want)
	}
	must(t, w.orders.Answer(t.Context(), id, "production", "rejected", "no"))
	must(t, run.Rerun(w.dave))
	if got := read(); got.Attempt != 2 || got.Actor != actor(w.alice) || got.Triggering != actor(w.dave) {
		t.Errorf("the second attempt: %+v", got)
	}
	byBot := w.deploy(w.agent, "production")
	if got, err := w.orders.Run(t.Context(), rules.RunID(byBot.ID)); err != nil || got.Actor != actor(w.agent) || got.Actor.Type != rules.ActorBot {
		t.Errorf("a bot's run is by %+v: %v", got.Actor, err)
	}
	if _, err := w.orders.Run(t.Context(), 4711); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("a run that is not there: %v", err)
	}
	w.replace("/actions/runs/", `"head_repository":{`, `"head_repository":null,"x":{`)
	if got := read(); got.HeadRepository != 0 || got.Repository != rules.RepositoryID(w.repo.ID) {
		t.Errorf("without a head repository: %+v", got)
	}
	for name, change := range map[string][2]string{
		"another run's": {fmt.Sprintf(`"id":%d,`, id), `"id":4711,`}, "no commit's": {`"head_sha":"`, `"head_sha":"x`},
	} {
		w.replace("/actions/runs/", change[0], change[1])
		if got, err := w.orders.Run(t.Context(), id); err == nil {
			t.Errorf("%s answer passes: %+v", name, got)
		}
	}
}

// A file whose name begins as a path with a ref does is not the file before the "@".
func TestRunPaths(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{})
	run := w.deploy(w.alice, "staging")
	for path, want := range map[string]string{
		deployFile: deployFile, deployFile + "@main": deployFile, deployFile + "@refs/heads/main": deployFile, deployFile + "@a@b": deployFile,
		".github/workflows/a@b.yml": ".github/workflows/a@b.yml", ".github/workflows/a@b.yaml@main": ".github/workflows/a@b.yaml",
		deployFile + "@evil.yml": deployFile + "@evil.yml", deployFile + "@evil.yml@main": deployFile + "@evil.yml@main",
		"dynamic/pages@main": "dynamic/pages@main", "": "",
	} {
		w.replace("/actions/runs/", `"path":"`+deployFile+`"`, `"path":"`+path+`"`)
		if got, err := w.orders.Run(t.Context(), rules.RunID(run.ID)); err != nil || got.Workflow != want {
			t.Errorf("%q is read as %q, want %q: %v", path, got.Workflow, want, err)
		}
	}
}

func TestJobsOfADeployment(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{})
	w.gated("production")
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: deployFile, By: w.alice, Jobs: []githubtest.JobSpec{
		{Name: "test"}, {Name: "queued", Queued: true}, {Name: "deploy", Environment: "production"},
	}})
	id := rules.RunID(run.ID)
	want := func(name, status, conclusion string, started bool, attempt int) {
		t.Helper()
		jobs, err := w.orders.Jobs(t.Context(), id)
		must(t, err)
		i := slices.IndexFunc(jobs.List, func(j github.Job) bool { return j.Name == name })
		if i < 0 {
			t.Fatalf("no job %q", name)
		}
		if j := jobs.List[i]; j.Status != status || j.Conclusion != conclusion || j.Started != started || j.Attempt != attempt || j.Run != id || j.CompletedAt.IsZero() != (status != "completed") {
			t.Errorf("%s: %+v, want %s %s, started %v, attempt %d", name, j, status, conclusion, started, attempt)
		}
	}
	want("test", "in_progress", "", true, 1)
	want("queued", "queued", "", false, 1)
	want("deploy", "waiting", "", false, 1)
	must(t, run.Job("test").Complete("success"))
	want("test", "completed", "success", true, 1)
	must(t, w.orders.Answer(t.Context(), id, "production", "rejected", "no"))
	want("deploy", "completed", "failure", false, 1)
	run.Cancel()
	want("queued", "completed", "cancelled", false, 1)
	must(t, run.Rerun(w.bob))
	want("deploy", "waiting", "", false, 2)
	must(t, w.orders.Answer(t.Context(), id, "production", "approved", "yes"))
	want("deploy", "in_progress", "", true, 2)
	w.replace("/jobs", `"runner_id":1`, `"runner_id":0`)
	want("deploy", "in_progress", "", true, 2)
}

func TestPendingAndWaiting(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{Limits: githubtest.NoLimits()})
	production, hostile := w.gated("production"), w.gated("prod/eu ?#")
	w.repo.Environment("free")
	run := w.deploy(w.alice, "production", "free", "prod/eu ?#", "Production")
	got, err := w.orders.Pending(t.Context(), rules.RunID(run.ID))
	if err != nil || !slices.Equal(got, []github.Pending{{"production", production.ID}, {"prod/eu ?#", hostile.ID}}) {
		t.Errorf("pending: %+v, %v", got, err)
	}
	must(t, run.Job("job 1").Complete("success"))
	free := w.deploy(w.alice, "free")
	if got, err := w.orders.Pending(t.Context(), rules.RunID(free.ID)); err != nil || got == nil || len(got) != 0 {
		t.Errorf("nothing pending: %v, %v", got, err)
	}
	if _, err := w.orders.Pending(t.Context(), 4711); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("of a run that is not there: %v", err)
	}
	all := []rules.RunID{rules.RunID(run.ID)}
	for range 229 {
		all = append(all, rules.RunID(w.deploy(w.alice, "production").ID))
	}
	slices.Reverse(all)
	var waiting []rules.RunID
	asked := w.asked(func() { waiting, err = w.orders.WaitingRuns(t.Context()) })
	if err != nil || !slices.Equal(waiting, all) || sum(asked) != 3 {
		t.Errorf("%d runs wait (%v), want %d, asking %v", len(waiting), err, len(all), asked)
	}
	// What is the same again is not sent again.
	before := len(w.g.Requests())
	waiting, err = w.orders.WaitingRuns(t.Context())
	if err != nil || !slices.Equal(waiting, all) {
		t.Errorf("asked again: %d runs wait (%v), want %d", len(waiting), err, len(all))
	}
	for _, q := range w.g.Requests()[before:] {
		if q.Cost != 0 {
			t.Errorf("asked again, %s?%s costs %d", q.Path, q.Query, q.Cost)
		}
	}
	// GitHub lists a thousand: what it lists is given, and that it is not all is said.
	w.deploy(w.alice, "production")
	w.replace("/actions/runs", `"total_count":231`, `"total_count":1001`)
	if waiting, err := w.orders.WaitingRuns(t.Context()); err == nil || len(waiting) != 231 {
		t.Errorf("of more than a thousand: %d, %v", len(waiting), err)
	}
}

func TestWaitingRunsThatDoNotEnd(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{Limits: githubtest.NoLimits()})
	w.wire.changing(func(r *http.Response) {
		if strings.HasSuffix(r.Request.URL.Path, "/actions/runs") {
			r.Header.Set("Link", `<`+w.g.URL()+`/x?page=7>; rel="next"`)
		}
	})
	var err error
	asked := w.asked(func() { _, err = w.orders.WaitingRuns(t.Context()) })
	if err == nil || sum(asked) != 10 {
		t.Errorf("a list without an end: %v, asking %v", err, asked)
	}
}

func TestAnswer(t *testing.T) {
	for _, name := range []string{"production", "prod/eu ?#", "..", "../../actions", longName, "a\"b\\c\n"} {
		w := newDeployWorld(t, githubtest.Config{})
		w.gated(name)
		run := w.deploy(w.alice, name)
		job, id := run.Job("job 0"), rules.RunID(run.ID)
		must(t, w.orders.Answer(t.Context(), id, name, "", "waiting for @acme/sre"))
		g, _ := job.Gate(w.app)
		if g.State != "" || !slices.Equal(g.Reports, []string{"waiting for @acme/sre"}) {
			t.Errorf("%q: after a report: %+v", name, g)
		}
		var sent map[string]any
		must(t, json.Unmarshal(lastRequest(w).Body, &sent))
		if _, there := sent["state"]; there || len(sent) != 2 || sent["environment_name"] != name {
			t.Errorf("%q: a report is sent as %v", name, sent)
		}
		must(t, w.orders.Answer(t.Context(), id, name, "approved", strings.Repeat("é", 3000)))
		g, _ = job.Gate(w.app)
		if status, _ := job.Status(); g.State != "approved" || status != "in_progress" || utf8.RuneCountInString(g.Comment) != 1024 || !strings.HasSuffix(g.Comment, "é…") {
			t.Errorf("%q: after the approval: %s with %d characters, the job is %s", name, g.State, utf8.RuneCountInString(g.Comment), status)
		}
		refused(t, "a second answer", w.orders.Answer(t.Context(), id, name, "rejected", "no"), http.StatusUnprocessableEntity)
	}
}

// The longest comment is not cut, and what is no text is sent as one.
func TestAnswerComments(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{})
	w.gated("production")
	for in, want := range map[string]string{
		strings.Repeat("é", 1024): strings.Repeat("é", 1024), strings.Repeat("é", 1025): strings.Repeat("é", 1023) + "…", "a\xffb": "a\uFFFDb", "": "",
	} {
		run := w.deploy(w.alice, "production")
		must(t, w.orders.Answer(t.Context(), rules.RunID(run.ID), "production", "rejected", in))
		if g, _ := run.Job("job 0").Gate(w.app); g.Comment != want || g.State != "rejected" {
			t.Errorf("a comment of %d bytes is kept as %q (%s)", len(in), g.Comment, g.State)
		}
	}
}

func TestAnswerRefused(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{})
	e := w.gated("production")
	run := w.deploy(w.alice, "production")
	id := rules.RunID(run.ID)
	asked := w.asked(func() {
		for _, bad := range [][3]string{{"production", "APPROVED", "x"}, {"production", "pending", "x"}, {"production", "", ""}, {"", "approved", "x"}} {
			var r *github.Refused
			if err := w.orders.Answer(t.Context(), id, bad[0], bad[1], bad[2]); err == nil || errors.As(err, &r) {
				t.Errorf("answering %q: %v", bad, err)
			}
		}
	})
	if sum(asked) != 0 {
		t.Errorf("what is no answer is sent: %v", asked)
	}
	e.NotYet(1)
	refused(t, "right after the event", w.orders.Answer(t.Context(), id, "production", "approved", ""), http.StatusUnprocessableEntity)
	refused(t, "for another environment", w.orders.Answer(t.Context(), id, "staging", "approved", ""), http.StatusUnprocessableEntity)
	if err := w.orders.Answer(t.Context(), 4711, "production", "approved", ""); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("for a run that is not there: %v", err)
	}
	for range 10 {
		must(t, w.orders.Answer(t.Context(), id, "production", "", "still waiting"))
	}
	refused(t, "an eleventh report", w.orders.Answer(t.Context(), id, "production", "", "still waiting"), http.StatusUnprocessableEntity)
	// Another run's rule is not ours, nor is another App's.
	free := w.deploy(w.alice, "other")
	refused(t, "where no rule asks", w.orders.Answer(t.Context(), rules.RunID(free.ID), "other", "approved", ""), http.StatusUnprocessableEntity)
	must(t, w.orders.Answer(t.Context(), id, "PRODUCTION", "approved", ""))
	if g, _ := run.Job("job 0").Gate(w.app); g.State != "approved" {
		t.Errorf("the rule says %q", g.State)
	}
}

func lastRequest(w *world) githubtest.Request {
	all := w.g.Requests()
	return all[len(all)-1]
}

func TestEnvironments(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{Limits: githubtest.NoLimits()})
	if got, err := w.orders.Environments(t.Context()); err != nil || got == nil || len(got) != 0 {
		t.Errorf("without any: %v, %v", got, err)
	}
	var want []github.Environment
	for i := range 230 {
		name := fmt.Sprintf("prod/eu ?# %d", i)
		want = append(want, github.Environment{ID: w.repo.Environment(name).ID, Name: name})
	}
	var got []github.Environment
	var err error
	asked := w.asked(func() { got, err = w.orders.Environments(t.Context()) })
	if err != nil || !slices.Equal(got, want) || sum(asked) != 3 {
		t.Errorf("%d environments (%v), asking %v", len(got), err, asked)
	}
	before := w.used()
	if got, err = w.orders.Environments(t.Context()); err != nil || !slices.Equal(got, want) {
		t.Errorf("asked again: %d environments, %v", len(got), err)
	}
	if after := w.used(); after != before {
		t.Errorf("what did not change costs %d of the budget", after-before)
	}
}

// used is what all requests so far took of the hour's budget.
func (w *world) used() (n int) {
	for _, r := range w.g.Requests() {
		if r.Status != http.StatusNotModified {
			n++
		}
	}
	return n
}

func TestRuleEnabled(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{})
	ask := func(name string) bool {
		t.Helper()
		got, err := w.orders.RuleEnabled(t.Context(), name)
		must(t, err)
		return got
	}
	for _, name := range []string{"production", "prod/eu ?#", "%2e%2e", "a%2Fb", "...", "..x", longName, "a;b=c&d", "a\\b"} {
		e := w.repo.Environment(name)
		if ask(name) {
			t.Errorf("%q has our rule before it was enabled", name)
		}
		id, err := e.EnableRule(w.app)
		must(t, err)
		if !ask(name) {
			t.Errorf("%q has our rule and it is not seen", name)
		}
		must(t, e.DisableRule(id))
		if ask(name) {
			t.Errorf("%q has no rule any more and it is seen", name)
		}
	}
	// Another App's rule is not ours, nor is one that is switched off.
	key, err := testKey()
	must(t, err)
	other := w.g.App(githubtest.AppConfig{Slug: "other", Permissions: map[string]string{"deployments": "write", "actions": "read"}, Events: []string{"deployment_protection_rule"}, Key: key})
	other.Install(w.acme)
	e := w.repo.Environment("production")
	_, err = e.EnableRule(other)
	must(t, err)
	if ask("production") {
		t.Error("another App's rule passes for ours")
	}
	_, err = e.EnableRule(w.app)
	must(t, err)
	if !ask("PRODUCTION") {
		t.Error("beside another App's it is not seen")
	}
	w.replace("/deployment_protection_rules", `"enabled":true`, `"enabled":false`)
	if ask("production") {
		t.Error("a rule that is switched off passes")
	}
	w.wire.changing(nil)
	if _, err := w.orders.RuleEnabled(t.Context(), "gone"); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("an environment that is not there: %v", err)
	}
	// A name must not lead to another place, and is not sent if it could.
	asked := w.asked(func() {
		for _, name := range []string{"", ".", "..", "../../..", "a/../../b", "a/./b", "a/..", `..\..`, longName + "é"} {
			if got, err := w.orders.RuleEnabled(t.Context(), name); err == nil || got {
				t.Errorf("%q: %v, %v", name, got, err)
			}
		}
	})
	if sum(asked) != 0 {
		t.Errorf("sent all the same: %v", asked)
	}
}

func TestRerunJob(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{})
	w.gated("production")
	run := w.deploy(w.alice, "production")
	job := rules.CheckRunID(run.Job("job 0").ID)
	if err := w.orders.RerunJob(t.Context(), job); !errors.Is(err, github.ErrForbidden) {
		t.Errorf("while it runs: %v", err)
	}
	must(t, w.orders.Answer(t.Context(), rules.RunID(run.ID), "production", "rejected", "no"))
	must(t, w.orders.RerunJob(t.Context(), job))
	if run.Attempt() != 2 {
		t.Errorf("the run is in attempt %d", run.Attempt())
	}
	if err := w.orders.RerunJob(t.Context(), 4711); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("a job that is not there: %v", err)
	}
}

func TestPermission(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{})
	w.repo.Collaborator(w.dave, "maintain")
	for login, want := range map[rules.Login]string{"carol": "admin", "dave": "maintain", "alice": "write", "ALICE": "write", "eve": "read", "writer[bot]": "write"} {
		level, id, err := w.orders.Permission(t.Context(), login)
		if err != nil || level != want || id == 0 {
			t.Errorf("%s: %q, %d, %v; want %q", login, level, id, err, want)
		}
	}
	rose := w.g.User("rose")
	if level, id, err := w.orders.Permission(t.Context(), "rose"); err != nil || level != "none" || id != rules.AccountID(rose.ID) {
		t.Errorf("rose: %q, %d, %v", level, id, err)
	}
	// Somebody else under the old login shows by the id.
	w.alice.Rename("alice2")
	again := w.g.User("alice")
	w.repo.Collaborator(again, "admin")
	if level, id, err := w.orders.Permission(t.Context(), "alice"); err != nil || level != "admin" || id != rules.AccountID(again.ID) || id == rules.AccountID(w.alice.ID) {
		t.Errorf("another alice: %q, %d, %v", level, id, err)
	}
	if _, _, err := w.orders.Permission(t.Context(), "nobody"); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
	for _, login := range []rules.Login{"", "..", "../../x"} {
		if level, _, err := w.orders.Permission(t.Context(), login); err == nil || level != "" {
			t.Errorf("%q: %q, %v", login, level, err)
		}
	}
	w.replace("/permission", `"permission":"admin"`, `"permission":"everything"`)
	if level, _, err := w.orders.Permission(t.Context(), "alice"); err == nil || level != "" {
		t.Errorf("a permission that there is not: %q, %v", level, err)
	}
	w.replace("/permission", `"user":{`, `"user":null,"x":{`)
	if _, id, err := w.orders.Permission(t.Context(), "alice"); err != nil || id != 0 {
		t.Errorf("without a user: %d, %v", id, err)
	}
}

func TestDeployPlace(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{})
	w.gated("production")
	w.gated("prod/eu ?#")
	old := w.repo.Head("main")
	head := w.repo.CommitTo(w.alice, "main", "More", map[string]string{"a": "a\n"})
	other := w.repo.CommitTo(w.alice, "release/1", "Release", map[string]string{"b": "b\n"})
	must(t, w.repo.Tag(w.alice, "main", old))
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: deployFile, By: w.alice, Jobs: []githubtest.JobSpec{
		{Name: "test"}, {Name: "deploy", Environment: "production"}, {Name: "eu", Environment: "prod/eu ?#"}, {Name: "deploy", Environment: "Production"}, {Name: "quiet", Environment: "staging", NoDeployment: true},
	}})
	w.deploy(w.bob, "production") // another run at the commit
	w.repo.AddCheck(w.g.Actions(), head, "forged", "success")
	w.repo.AddCheck(w.agentApp, head, "production", "success")
	var got github.DeployPlace
	var err error
	w.warm()
	asked := w.asked(func() { got, err = w.orders.DeployPlace(t.Context(), "main", rules.SHA(head), rules.RunID(run.ID)) })
	must(t, err)
	if sum(asked) != 1 || asked["POST /graphql query defaultBranchRef"] != 1 {
		t.Errorf("it asks %v, want one query", asked)
	}
	if got.DefaultBranch != "main" || string(got.DefaultHead) != head || string(got.Branch) != head || string(got.Tag) != old || !got.EnvironmentsKnown {
		t.Errorf("the place: %+v", got)
	}
	var names []string
	for id, e := range got.Environments {
		if id == rules.CheckRunID(run.Job("deploy").ID) && e != "production" || id == rules.CheckRunID(run.Job("eu").ID) && e != "prod/eu ?#" {
			t.Errorf("job %d is for %q", id, e)
		}
		names = append(names, e)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"Production", "prod/eu ?#", "production"}) {
		t.Errorf("the environments: %v, want those of the run's jobs with a deployment", got.Environments)
	}
	// A status can give the deployment another environment, but the job has its own.
	run.Job("deploy").Deployment().Move(w.agent, "pending", "staging")
	got, err = w.orders.DeployPlace(t.Context(), "release/1", rules.SHA(head), rules.RunID(run.ID))
	must(t, err)
	if got.Environments[rules.CheckRunID(run.Job("deploy").ID)] != "production" || string(got.Branch) != other || got.Tag != "" || got.DefaultBranch != "main" {
		t.Errorf("after a move: %+v", got)
	}
	for _, name := range []string{"", "gone", "..", "a b~^:?*[\\", "heads/main", "refs/heads/main", longName} {
		got, err := w.orders.DeployPlace(t.Context(), name, rules.SHA(head), rules.RunID(run.ID))
		if err != nil || got.Branch != "" || got.Tag != "" || string(got.DefaultHead) != head || !got.EnvironmentsKnown {
			t.Errorf("%q: %+v, %v", name, got, err)
		}
	}
	// What is not there is not known to be free.
	for name, ask := range map[string]func() (github.DeployPlace, error){
		"another run": func() (github.DeployPlace, error) {
			return w.orders.DeployPlace(t.Context(), "main", rules.SHA(head), 4711)
		},
		"another commit": func() (github.DeployPlace, error) {
			return w.orders.DeployPlace(t.Context(), "main", rules.SHA(other), rules.RunID(run.ID))
		},
		"no commit": func() (github.DeployPlace, error) {
			return w.orders.DeployPlace(t.Context(), "main", rules.SHA(strings.Repeat("a", 40)), rules.RunID(run.ID))
		},
	} {
		if got, err := ask(); err != nil || got.EnvironmentsKnown || len(got.Environments) != 0 || string(got.Branch) != head {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, sha := range []rules.SHA{"", "main", "HEAD"} {
		if _, err := w.orders.DeployPlace(t.Context(), "main", sha, 1); err == nil {
			t.Errorf("%q passes for a commit", sha)
		}
	}
	// Another repository under the name is not ours.
	id := rules.RepositoryID(w.repo.ID)
	mask := w.client.Repository(rules.InstallationID(w.inst.ID), id, "acme/orders")
	w.replace("/graphql", fmt.Sprintf(`"databaseId":%d`, id), `"databaseId":4711`)
	if _, err := mask.DeployPlace(t.Context(), "main", rules.SHA(head), rules.RunID(run.ID)); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("another repository: %v", err)
	}
	if _, _, err := mask.Branches(t.Context()); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("another repository's branches: %v", err)
	}
}

func TestDeployPlaceTags(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{})
	head := rules.SHA(w.repo.Head("main"))
	for times, peeled := range map[int]bool{1: true, 2: true, 3: true, 4: false} {
		must(t, w.repo.AnnotatedTag(w.alice, "v1", string(head), times))
		got, err := w.orders.DeployPlace(t.Context(), "v1", head, 1)
		if err != nil || got.Tag == "" || (got.Tag == head) != peeled || got.Branch != "" {
			t.Errorf("a tag %d deep: %+v, %v", times, got, err)
		}
	}
	w.edit("/graphql", func(s string) string { return strings.Replace(s, `"target":{`, `"target":null,"x":{`, 1) })
	if got, err := w.orders.DeployPlace(t.Context(), "v1", head, 1); err == nil {
		t.Errorf("a ref that names nothing passes: %+v", got)
	}
}

// Neither other runs at the commit nor a run's own length hide a job.
func TestDeployPlaceInPages(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{Limits: githubtest.NoLimits()})
	w.gated("production")
	for range 60 {
		w.deploy(w.bob, "production")
	}
	var environments []string
	for range 230 {
		environments = append(environments, "production")
	}
	run := w.deploy(w.alice, environments...)
	head := rules.SHA(w.repo.Head("main"))
	ask := func() github.DeployPlace {
		t.Helper()
		got, err := w.orders.DeployPlace(t.Context(), "main", head, rules.RunID(run.ID))
		must(t, err)
		return got
	}
	w.warm()
	var got github.DeployPlace
	asked := w.asked(func() { got = ask() })
	if !got.EnvironmentsKnown || len(got.Environments) != 230 || sum(asked) != 4 {
		t.Errorf("%d environments (known %v), asking %v; want 230 by one more page of suites and two of jobs", len(got.Environments), got.EnvironmentsKnown, asked)
	}
	// Jobs of one name are all there, and those of earlier attempts too.
	must(t, w.orders.Answer(t.Context(), rules.RunID(run.ID), "production", "rejected", "no"))
	must(t, run.Rerun(w.alice))
	if got := ask(); !got.EnvironmentsKnown || len(got.Environments) != 460 {
		t.Errorf("after a re-run: %d environments (known %v)", len(got.Environments), got.EnvironmentsKnown)
	}
	// A list without an end is not known.
	w.endless()
	asked = w.asked(func() { got = ask() })
	if got.EnvironmentsKnown || got.Environments != nil || got.Branch != head || sum(asked) > 60 {
		t.Errorf("without an end: %d environments (known %v), asking %v", len(got.Environments), got.EnvironmentsKnown, asked)
	}
	// A page that is lost leaves the rest as it is.
	w.wire.changing(func(r *http.Response) {
		body, err := io.ReadAll(r.Body)
		must(t, err)
		text := string(body)
		if strings.HasPrefix(text, `{"data":{"node"`) {
			text = `{"data":{"node":null},"errors":[{"type":"NOT_FOUND","path":["node"],"message":"gone"}]}`
		}
		r.Body = io.NopCloser(strings.NewReader(text))
	})
	if got := ask(); got.EnvironmentsKnown || got.Branch != head {
		t.Errorf("without a page: %+v", got)
	}
}

// Whatever GraphQL does with ids that do not fit its Int, the refs are given.
func TestDeployPlaceWithLargeIDs(t *testing.T) {
	for name, c := range map[string]struct {
		ints githubtest.BigInts
		want []int
	}{"given": {githubtest.BigGiven, []int{1, 1}}, "null": {githubtest.BigNull, []int{1, 1}}, "an error": {githubtest.BigError, []int{2, 1}}} {
		t.Run(name, func(t *testing.T) {
			w := newDeployWorld(t, githubtest.Config{BigInts: c.ints})
			w.g.Allow("Int cannot represent")
			w.gated("production")
			run, head := w.deploy(w.alice, "production"), rules.SHA(w.repo.Head("main"))
			w.warm()
			var asked []int
			for range 2 {
				asked = append(asked, sum(w.asked(func() {
					got, err := w.orders.DeployPlace(t.Context(), "main", head, rules.RunID(run.ID))
					known := c.ints == githubtest.BigGiven
					if err != nil || got.Branch != head || got.EnvironmentsKnown != known || (len(got.Environments) == 1) != known {
						t.Errorf("%+v, %v", got, err)
					}
				})))
			}
			if !slices.Equal(asked, c.want) {
				t.Errorf("requests: %v, want %v", asked, c.want)
			}
		})
	}
}

// What of the checks is not given, or not whole, is not known.
func TestDeployPlaceWithoutChecks(t *testing.T) {
	for name, change := range map[string][2]string{
		"no suites": {`"checkSuites":{`, `"checkSuites":null,"x":{`}, "no commit": {`"object":{`, `"object":null,"x":{`}, "no environment": {`"originalEnvironment":"production"`, `"originalEnvironment":null`},
		"no id of a job": {`"checkRuns":{"nodes":[{"databaseId":`, `"checkRuns":{"nodes":[{"databaseId":null,"x":`}, "no id of the run": {`"workflowRun":{"databaseId":`, `"workflowRun":{"databaseId":null,"x":`}, "no run": {`"workflowRun":{`, `"workflowRun":null,"x":{`},
	} {
		w := newDeployWorld(t, githubtest.Config{})
		w.gated("production")
		run, head := w.deploy(w.alice, "production"), w.head("main")
		w.warm()
		w.replace("/graphql", change[0], change[1])
		got, err := w.orders.DeployPlace(t.Context(), "main", head, rules.RunID(run.ID))
		if err != nil || got.EnvironmentsKnown || len(got.Environments) != 0 || got.Branch != head {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// An App that may not see deployments learns the refs, and is asked again: it may be
// given the permission.
func TestDeployPlaceForbidden(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{}, "deployments")
	w.g.Allow("lacks deployments:read")
	w.repo.Environment("production")
	run, head := w.deploy(w.alice, "production"), rules.SHA(w.repo.Head("main"))
	for range 2 {
		asked := w.asked(func() {
			got, err := w.orders.DeployPlace(t.Context(), "main", head, rules.RunID(run.ID))
			if err != nil || got.EnvironmentsKnown || got.Branch != head {
				t.Errorf("without deployments: %+v, %v", got, err)
			}
		})
		if asked["POST /graphql query defaultBranchRef"] != 2 {
			t.Errorf("it asks %v", asked)
		}
	}
	x := newDeployWorld(t, githubtest.Config{}, "contents")
	x.g.Allow("lacks contents:read")
	if got, err := x.orders.DeployPlace(t.Context(), "main", head, 1); !errors.Is(err, github.ErrForbidden) {
		t.Errorf("without contents: %+v, %v", got, err)
	}
	if _, err := w.client.Repository(rules.InstallationID(w.inst.ID), rules.RepositoryID(w.repo.ID), "acme/none").DeployPlace(t.Context(), "main", head, 1); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("a repository that is not there: %v", err)
	}
}

func TestBranches(t *testing.T) {
	w := newDeployWorld(t, githubtest.Config{Limits: githubtest.NoLimits()})
	want := map[string]rules.SHA{"main": rules.SHA(w.repo.Head("main"))}
	must(t, w.repo.Tag(w.alice, "v1", w.repo.Head("main")))
	for i := range 260 {
		name := fmt.Sprintf("release/%d ?#", i)
		want[name] = rules.SHA(w.repo.CommitTo(w.alice, name, name, map[string]string{"x": name}))
	}
	var got map[string]rules.SHA
	var complete bool
	asked := w.asked(func() {
		var err error
		got, complete, err = w.orders.Branches(t.Context())
		must(t, err)
	})
	if !complete || len(got) != len(want) || sum(asked) != 3 {
		t.Errorf("%d branches (complete %v), want %d, asking %v", len(got), complete, len(want), asked)
	}
	for name, sha := range want {
		if got[name] != sha {
			t.Errorf("%q is at %q, want %q", name, got[name], sha)
		}
	}
	w.endless()
	asked = w.asked(func() { got, complete, _ = w.orders.Branches(t.Context()) })
	if complete || len(got) != len(want) || sum(asked) != 20 {
		t.Errorf("without an end: %d branches (complete %v), asking %v", len(got), complete, asked)
	}
	w.replace("/graphql", `"totalCount":261`, `"totalCount":262`)
	if _, complete, err := w.orders.Branches(t.Context()); err != nil || complete {
		t.Errorf("one is missing: complete %v, %v", complete, err)
	}
	w.edit("/graphql", func(s string) string { return strings.Replace(s, `"target":{`, `"target":null,"x":{`, 1) })
	if got, _, err := w.orders.Branches(t.Context()); err == nil {
		t.Errorf("a branch that stands nowhere passes: %d branches", len(got))
	}
}
