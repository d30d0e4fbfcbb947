package githubtest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

func action(id string) map[string]string {
	return map[string]string{"label": "Approve", "description": "Let it ship", "identifier": id}
}

func TestLimitsOfCheckRuns(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "a")
	base := func(more map[string]any) map[string]any {
		out := map[string]any{"name": "sallyport", "head_sha": p.Head()}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	note := map[string]any{"path": "a", "start_line": 1, "end_line": 1, "annotation_level": "notice", "message": "m"}
	notes := func(n int) []any {
		var out []any
		for range n {
			out = append(out, note)
		}
		return out
	}
	output := func(summary string, n int) map[string]any {
		return map[string]any{"output": map[string]any{"title": "t", "summary": summary, "annotations": notes(n)}}
	}
	for _, c := range []struct {
		what string
		body map[string]any
		want int
	}{
		{"three actions", base(map[string]any{"actions": []any{action("a"), action("b"), action("c")}}), 201},
		{"four actions", base(map[string]any{"actions": []any{action("a"), action("b"), action("c"), action("d")}}), 422},
		{"an identifier of 21 characters", base(map[string]any{"actions": []any{action(strings.Repeat("a", 21))}}), 422},
		{"50 annotations", base(output("s", 50)), 201},
		{"51 annotations", base(output("s", 51)), 422},
		{"65,535 characters of summary", base(output(strings.Repeat("é", 65535), 0)), 201},
		{"65,536 characters of summary", base(output(strings.Repeat("é", 65536), 0)), 422},
		{"completed without conclusion", base(map[string]any{"status": "completed"}), 422},
		{"conclusion stale, which is GitHub's own", base(map[string]any{"conclusion": "stale"}), 422},
		{"no head", map[string]any{"name": "sallyport"}, 422},
		{"a commit that is not there", map[string]any{"name": "sallyport", "head_sha": strings.Repeat("a", 40)}, 422},
	} {
		if a := w.call(w.token, "POST", orders+"/check-runs", c.body); a.status != c.want {
			t.Errorf("%s answers %d, want %d: %.200s", c.what, a.status, c.want, a.body)
		}
	}
	if n := len(w.repo.Checks(p.Head())); n != 3 {
		t.Errorf("%d check runs are there, want the 3 that were taken", n)
	}
}

func TestACheckRunIsItsAppsOwn(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "a")
	c := w.repo.AddCheck(w.agentApp, p.Head(), "sallyport", "success")
	w.g.Allow("a check run of another App")
	if a := w.call(w.token, "PATCH", fmt.Sprintf("%s/check-runs/%d", orders, c.ID), map[string]string{"conclusion": "failure"}); a.status != 403 {
		t.Errorf("patching another App's run answers %d, want 403", a.status)
	}
	w.g.Allow("does not take this kind of token")
	if a := w.call(w.g.UserToken(w.alice), "POST", orders+"/check-runs", map[string]string{"name": "x", "head_sha": p.Head()}); a.status != 403 {
		t.Errorf("a person's check run answers %d, want 403", a.status)
	}
}

func TestTheLatestRunOfANameWins(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "a")
	w.repo.AddCheck(w.app, p.Head(), "sallyport", "success")
	w.repo.AddCheck(w.app, p.Head(), "sallyport", "failure")
	path := orders + "/commits/" + p.Head() + "/check-runs"
	if got := w.want(200, "GET", path, nil); got.get("total_count") != 1.0 || got.get("check_runs.0.conclusion") != "failure" {
		t.Errorf("latest: %v, %v; want 1, failure", got.get("total_count"), got.get("check_runs.0.conclusion"))
	}
	if got := w.want(200, "GET", path+"?filter=all", nil); got.get("total_count") != 2.0 {
		t.Errorf("all: %v, want 2", got.get("total_count"))
	}
	if got := w.want(200, "GET", orders+"/commits/"+p.Head()+"/status", nil); got.get("state") != "pending" {
		t.Errorf("with no status at all the state is %v, want pending", got.get("state"))
	}
}

func TestButtons(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "a")
	w.want(201, "POST", orders+"/check-runs", map[string]any{"name": "sallyport", "head_sha": p.Head(), "status": "in_progress", "actions": []any{action("approve")}})
	c := w.repo.CheckRun(p.Head(), "sallyport")
	w.refused(c.Click(w.bob, "approve"), 422, "clicking on a run that is not completed")
	w.want(200, "PATCH", fmt.Sprintf("%s/check-runs/%d", orders, c.ID), map[string]string{"conclusion": "action_required"})
	w.refused(c.Click(w.eve, "approve"), 404, "a reader clicks")
	w.refused(c.Click(w.bob, "reject"), 422, "clicking a button that is not there")
	w.must(c.Click(w.bob, "approve"))
	w.settle()
	var click received
	for _, d := range w.hook.take() {
		if d.action == "requested_action" {
			click = d
		}
	}
	for _, want := range []string{`"identifier":"approve"`, `"login":"bob"`, p.Head()} {
		if !strings.Contains(string(click.body), want) {
			t.Errorf("the click does not say %s", want)
		}
	}
	for _, d := range w.agentApp.Deliveries() {
		if d.Event == "check_run" {
			t.Errorf("the other App hears of %s, which is not its", d.Action)
		}
	}
}

func TestUnansweredRunsGrowStale(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "a")
	w.want(201, "POST", orders+"/check-runs", map[string]any{"name": "sallyport", "head_sha": p.Head(), "status": "in_progress"})
	w.clock.Advance(15 * 24 * time.Hour)
	w.g.Tick()
	if got := w.repo.CheckRun(p.Head(), "sallyport").See().Conclusion; got != "stale" {
		t.Errorf("after 15 days the run is %q, want stale", got)
	}
}

func TestJobsAreCheckRunsOfActions(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "a")
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/ci.yml", Event: "pull_request", Branch: "a", By: w.alice, Jobs: []githubtest.JobSpec{{Name: "test"}}})
	w.must(run.Job("test").Complete("success"))
	got := w.want(200, "GET", orders+"/commits/"+p.Head()+"/check-runs", nil)
	if got.get("check_runs.0.app.id") != 15368.0 || got.get("check_runs.0.id") != float64(run.Job("test").ID) {
		t.Errorf("the job shows as check run %v of App %v", got.get("check_runs.0.id"), got.get("check_runs.0.app.id"))
	}
	r := w.want(200, "GET", fmt.Sprintf("%s/actions/runs/%d", orders, run.ID), nil)
	if r.get("path") != ".github/workflows/ci.yml" || r.get("conclusion") != "success" {
		t.Errorf("the run is %v, %v", r.get("path"), r.get("conclusion"))
	}
	w.repo.AddCheck(w.agentApp, p.Head(), "test", "success") // a forged one has another App
	if n := len(w.repo.Checks(p.Head())); n != 2 {
		t.Errorf("%d check runs, want 2", n)
	}
}
