package githubtest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// Two runs at one commit have a check suite each, so that both jobs of one name show.
func TestARunHasItsOwnSuite(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.alice, "feature")
	for _, file := range []string{"a.yml", "b.yml"} {
		w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/" + file, By: w.alice, Branch: "feature", Jobs: []githubtest.JobSpec{{Name: "build"}}})
	}
	a := w.want(200, "GET", orders+"/commits/"+p.Head()+"/check-runs", nil)
	if n := a.len("check_runs"); n != 2 {
		t.Errorf("%d check runs, want those of both runs", n)
	}
	runs := w.want(200, "GET", orders+"/actions/runs?head_sha="+p.Head(), nil)
	if one, two := runs.get("workflow_runs.0.check_suite_id"), runs.get("workflow_runs.1.check_suite_id"); one == two || one == nil || two == nil {
		t.Errorf("the runs are in the suites %v and %v", one, two)
	}
}

func TestAnnotationLimits(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.alice, "feature")
	one := map[string]any{"path": "a", "start_line": 1, "end_line": 1, "annotation_level": "notice", "message": "m"}
	for name, change := range map[string]map[string]any{
		"a long title": {"title": strings.Repeat("x", 256)}, "a long message": {"message": strings.Repeat("x", 64<<10+1)}, "columns on two lines": {"end_line": 2, "start_column": 1},
	} {
		a := map[string]any{}
		for _, m := range []map[string]any{one, change} {
			for k, v := range m {
				a[k] = v
			}
		}
		body := map[string]any{"name": "c", "head_sha": p.Head(), "output": map[string]any{"title": "t", "summary": "s", "annotations": []any{a}}}
		if got := w.call(w.token, "POST", orders+"/check-runs", body); got.status != 422 {
			t.Errorf("%s answers %d, want 422", name, got.status)
		}
	}
}

func TestEmptyAndArchivedRepositories(t *testing.T) {
	w := newWorld(t)
	w.open(w.alice, "feature")
	w.repo.Archive(w.carol, true)
	w.g.Allow("archived")
	if a := w.call(w.token, "POST", orders+"/issues/1/labels", map[string]any{"labels": []string{"x"}}); a.status != 403 {
		t.Errorf("a label on an archived repository answers %d", a.status)
	}
	w.want(200, "GET", orders+"/pulls/1", nil)
	w.repo.Archive(w.carol, false)
	w.want(200, "POST", orders+"/issues/1/labels", map[string]any{"labels": []string{"x"}})
	w.g.EmptyRepository(w.acme, "empty")
	app := w.app.Install(w.acme).Token()
	for path, want := range map[string]int{"/contents/a": 404, "/git/ref/heads/main": 409, "/commits": 409, "": 200, "/pulls": 200} {
		if a := w.call(app, "GET", "/repos/acme/empty"+path, nil); a.status != want {
			t.Errorf("%q of an empty repository answers %d, want %d", path, a.status, want)
		}
	}
}

func TestContentAnHour(t *testing.T) {
	clock := githubtest.NewClock(time.Now())
	w := newWorld(t, githubtest.Config{Now: clock.Now, Limits: githubtest.Limits{PerHour: -1, PointsPerMinute: -1, ContentPerMinute: -1, ContentPerHour: 2}})
	w.open(w.alice, "feature")
	for i, want := range []int{201, 201, 403, 201} {
		if i == 3 {
			clock.Advance(time.Hour)
		}
		if a := w.call(w.inst.Token(), "POST", orders+"/issues/1/comments", map[string]any{"body": "x"}); a.status != want {
			t.Errorf("comment %d answers %d, want %d", i, a.status, want)
		}
	}
}
