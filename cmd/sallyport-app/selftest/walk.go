package selftest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// The check runs of a server.
const (
	changeCheck = "sallyport"
	deployCheck = "sallyport / " + Environment
)

// pull is a pull request of a walk.
type pull struct {
	branch       string
	number       int
	base, head   string
	merged, html string
}

// deployment is the held deployment of a walk.
type deployment struct {
	run     int64
	jobs    []job
	check   checkRun
	pressed string // external_id that was last read while the button was shown
	over    bool   // nothing of it is held any more
}

// job is a job of a run.
type job struct {
	ID         int64  `json:"id"`
	Name       string `json:"name"`
	Status     string `json:"status"`
	Conclusion string `json:"conclusion"`
	RunnerID   int64  `json:"runner_id"`
	Steps      []struct {
		Name       string `json:"name"`
		Conclusion string `json:"conclusion"`
	} `json:"steps"`
}

// checkRun is a check run.
type checkRun struct {
	ID         int64  `json:"id"`
	Status     string `json:"status"`
	Conclusion string `json:"conclusion"`
	ExternalID string `json:"external_id"`
	HTML       string `json:"html_url"`
	Output     struct {
		Title string `json:"title"`
	} `json:"output"`
}

// webhook sees whether the newest deliveries arrived.
func (w *walk) webhook(ctx context.Context) (string, error) {
	seen, failed := 0, 0
	var last github.Delivery
	err := w.cfg.GitHub.Deliveries(ctx, func(d github.Delivery) bool {
		if seen++; seen == 1 {
			last = d
		}
		if !d.OK() {
			failed++
		}
		return seen == 20
	})
	switch {
	case err != nil:
		return "", err
	case seen == 0:
		return "", errors.New("GitHub's log of deliveries is empty: it has nowhere to send events, or had none. Next: sallyport-app setup --check")
	case failed == seen:
		return "", fmt.Errorf("the last %d deliveries all failed, the newest with %d %s. Next: sallyport-app setup --check", seen, last.StatusCode, clip(last.Status))
	}
	return fmt.Sprintf("%d of the last %d deliveries arrived, the newest at %s", seen-failed, seen, last.DeliveredAt.UTC().Format(time.RFC3339)), nil
}

func (w *walk) adopt(ctx context.Context) (string, error) {
	return rules.PolicyPath, w.cfg.Adopt(ctx)
}

// rule waits until the environment has the App's rule.
func (w *walk) rule(ctx context.Context) (string, error) {
	if w.cfg.NoRule {
		return "not asked for: the job waits in its first step", nil
	}
	has := func(ctx context.Context) (bool, error) {
		var list struct {
			Rules []struct {
				Enabled bool `json:"enabled"`
				App     struct {
					Slug string `json:"slug"`
				} `json:"app"`
			} `json:"custom_deployment_protection_rules"`
		}
		err := w.wire.get(ctx, "/environments/"+Environment+"/deployment_protection_rules", &list)
		if statusOf(err) == http.StatusNotFound {
			return false, nil
		}
		for _, r := range list.Rules {
			if r.Enabled && r.App.Slug == string(w.app.Slug) {
				return true, nil
			}
		}
		return false, err
	}
	if done, err := has(ctx); done || err != nil {
		return "", err
	}
	w.cfg.Ask(ctx, Task{
		ID: "rule", Where: w.html + "/settings/environments",
		What: fmt.Sprintf("Make the environment %s, tick %s among its deployment protection rules, and save. (Where the plan has none: start again with --no-rule.)", Environment, w.app.Slug),
	})
	return "", w.until(ctx, "the environment "+Environment+" has the protection rule", w.cfg.Wait, has)
}

// make makes a branch with a commit for each file, and a pull request.
func (w *walk) make(ctx context.Context, p *pull, kind, title string, files ...string) error {
	p.branch = branches + kind + "-" + w.run
	var b struct {
		Commit struct {
			SHA string `json:"sha"`
		} `json:"commit"`
	}
	if err := w.wire.get(ctx, "/branches/"+w.branch, &b); err != nil {
		return err
	}
	p.base = b.Commit.SHA
	w.undo = append(w.undo, undo{"the branch " + p.branch, func(ctx context.Context) error { return w.deleteBranch(ctx, p.branch) }})
	if err := w.wire.do(ctx, http.MethodPost, "/git/refs", map[string]string{"ref": "refs/heads/" + p.branch, "sha": p.base}, nil); err != nil {
		return err
	}
	for _, f := range files {
		var made struct {
			Commit struct {
				SHA string `json:"sha"`
			} `json:"commit"`
		}
		body := map[string]string{"message": title, "branch": p.branch, "content": base64.StdEncoding.EncodeToString([]byte("Written by sallyport-app selftest, " + w.run + ".\n"))}
		if err := w.wire.do(ctx, http.MethodPut, "/contents/"+folder+kind+"/"+f, body, &made); err != nil {
			return err
		}
		p.head = made.Commit.SHA
	}
	w.undo = append(w.undo, undo{"the pull request from " + p.branch, func(ctx context.Context) error { return w.closePull(ctx, p) }})
	var made struct {
		Number int    `json:"number"`
		HTML   string `json:"html_url"`
	}
	if err := w.wire.do(ctx, http.MethodPost, "/pulls", map[string]any{"title": title, "head": p.branch, "base": w.branch, "body": "Opened by `sallyport-app selftest`."}, &made); err != nil {
		return err
	}
	p.number, p.html = made.Number, made.HTML
	return nil
}

// check reads the App's newest check run of a name at a commit; ok is false if there
// is none.
func (w *walk) check(ctx context.Context, sha, name string) (k checkRun, ok bool, err error) {
	var list struct {
		Runs []checkRun `json:"check_runs"`
	}
	if err := w.wire.get(ctx, fmt.Sprintf("/commits/%s/check-runs?app_id=%d&filter=all&per_page=100&check_name=%s", sha, w.app.ID, escape(name)), &list); err != nil {
		return k, false, err
	}
	for _, r := range list.Runs {
		if r.ID > k.ID {
			k, ok = r, true
		}
	}
	return k, ok, nil
}

// concluded waits until a check run has a conclusion. It gives the check run.
func (w *walk) concluded(ctx context.Context, sha, name, conclusion string, most time.Duration) (k checkRun, err error) {
	err = w.until(ctx, fmt.Sprintf("the check %q of %.7s is %s", name, sha, conclusion), most, func(ctx context.Context) (bool, error) {
		found, ok, err := w.check(ctx, sha, name)
		if err != nil || !ok {
			return false, err
		}
		if k = found; k.Conclusion != conclusion {
			return false, fmt.Errorf("it is %s %s: %s", k.Status, k.Conclusion, clip(k.Output.Title))
		}
		return true, nil
	})
	return k, err
}

func (w *walk) pullDev(ctx context.Context) (string, error) {
	p := &w.dev
	if err := w.make(ctx, p, "dev", "Try what asks no human", w.run+".md"); err != nil {
		return "", err
	}
	k, err := w.concluded(ctx, p.head, changeCheck, "success", w.cfg.Window)
	if err != nil {
		return "", err
	}
	err = w.until(ctx, fmt.Sprintf("#%d is merged", p.number), w.cfg.Window, func(ctx context.Context) (bool, error) {
		var at struct {
			Merged bool `json:"merged"`
		}
		err := w.wire.get(ctx, fmt.Sprintf("/pulls/%d", p.number), &at)
		return at.Merged, err
	})
	return fmt.Sprintf("#%d: %s", p.number, clip(k.Output.Title)), err
}

func (w *walk) pullProduction(ctx context.Context) (string, error) {
	p := &w.production
	if err := w.make(ctx, p, "production", "Try what asks a human", w.run+"-a.md", w.run+"-b.md"); err != nil {
		return "", err
	}
	k, err := w.concluded(ctx, p.head, changeCheck, "action_required", w.cfg.Window)
	if err != nil {
		return "", err
	}
	held := clip(k.Output.Title)
	w.cfg.Ask(ctx, Task{ID: "review", Pull: p.number, Where: p.html + "/files", What: fmt.Sprintf("As one of %s, approve pull request #%d (Review changes, Approve). Do not merge it.", w.values.Reviewers, p.number)})
	if _, err := w.concluded(ctx, p.head, changeCheck, "success", w.cfg.Wait); err != nil {
		return "", err
	}
	w.seeReview(ctx)
	return fmt.Sprintf("#%d: %s; approved", p.number, held), w.merge(ctx, p)
}

// merge merges a pull request as the App, at the head that was approved, by whichever
// method the repository allows. GitHub may need a moment to find it mergeable.
func (w *walk) merge(ctx context.Context, p *pull) error {
	return w.until(ctx, fmt.Sprintf("#%d can be merged", p.number), w.cfg.Window, func(ctx context.Context) (bool, error) {
		var err error
		for _, method := range []string{"merge", "squash", "rebase"} {
			var made struct {
				SHA string `json:"sha"`
			}
			err = w.wire.do(ctx, http.MethodPut, fmt.Sprintf("/pulls/%d/merge", p.number), map[string]string{"merge_method": method, "sha": p.head}, &made)
			if err == nil {
				p.merged = made.SHA
				return true, nil
			}
			if statusOf(err) != http.StatusMethodNotAllowed {
				return false, final("merging #%d: %v", p.number, err)
			}
		}
		return false, err
	})
}

// findRun finds the newest run of the workflow that fits.
func (w *walk) findRun(ctx context.Context, query string, since time.Time) (id int64, path string, created time.Time, err error) {
	var list struct {
		Runs []struct {
			ID      int64     `json:"id"`
			Path    string    `json:"path"`
			Created time.Time `json:"created_at"`
		} `json:"workflow_runs"`
	}
	if err := w.wire.get(ctx, "/actions/runs?per_page=50&"+query, &list); err != nil {
		return 0, "", created, err
	}
	for _, r := range list.Runs {
		// GitHub's times are whole seconds.
		if strings.HasPrefix(r.Path, Workflow) && r.ID > id && !r.Created.Before(since.Truncate(time.Second)) {
			id, path, created = r.ID, r.Path, r.Created
		}
	}
	return id, path, created, nil
}

func (w *walk) jobs(ctx context.Context, run int64) ([]job, error) {
	var list struct {
		Jobs []job `json:"jobs"`
	}
	err := w.wire.get(ctx, fmt.Sprintf("/actions/runs/%d/jobs?per_page=100", run), &list)
	return list.Jobs, err
}

// deployHeld waits until the merge's deployment is held and the check asks.
func (w *walk) deployHeld(ctx context.Context) (string, error) {
	d := &w.deploy
	var path string
	err := w.until(ctx, "the workflow runs for "+w.production.merged[:min(7, len(w.production.merged))], w.cfg.Window, func(ctx context.Context) (bool, error) {
		var err error
		d.run, path, _, err = w.findRun(ctx, "event=push&head_sha="+w.production.merged, time.Time{})
		return d.run != 0, err
	})
	if err != nil {
		return "", err
	}
	w.undo = append(w.undo, undo{fmt.Sprintf("the held run %d", d.run), w.rejectRun})
	w.seePath(path)
	jobs, wanted := 1, "in_progress"
	if !w.cfg.NoRule {
		jobs, wanted = 2, "waiting"
	}
	err = w.until(ctx, fmt.Sprintf("its jobs are %s", wanted), w.cfg.Window, func(ctx context.Context) (bool, error) {
		var err error
		d.jobs, err = w.jobs(ctx, d.run)
		for _, j := range d.jobs {
			if !w.cfg.NoRule && (j.Status == "in_progress" || j.Status == "completed") {
				return false, final("the job %s is %s %s, and nobody approved it", clip(j.Name), j.Status, j.Conclusion)
			}
		}
		return err == nil && len(d.jobs) == jobs && !slices.ContainsFunc(d.jobs, func(j job) bool { return j.Status != wanted }), err
	})
	if err != nil {
		return "", err
	}
	if !w.cfg.NoRule {
		w.seeRunner(d.jobs, "held")
	}
	if d.check, err = w.concluded(ctx, w.production.merged, deployCheck, "action_required", w.cfg.Window); err != nil {
		return "", err
	}
	w.seeChecks(ctx)
	return fmt.Sprintf("run %d: %s", d.run, clip(d.check.Output.Title)), nil
}

// deployReleased waits for the press of the button and for what follows.
func (w *walk) deployReleased(ctx context.Context) (string, error) {
	d := &w.deploy
	w.cfg.Ask(ctx, Task{ID: "approve", SHA: rules.SHA(w.production.merged), Where: d.check.HTML, What: fmt.Sprintf("As one of %s, press Approve on the check %q.", w.values.Reviewers, deployCheck)})
	err := w.until(ctx, "the deployment is released", w.cfg.Wait, func(ctx context.Context) (bool, error) {
		k, ok, err := w.check(ctx, w.production.merged, deployCheck)
		if err != nil || !ok {
			return false, err
		}
		switch k.Conclusion {
		case "action_required":
			d.pressed = k.ExternalID
			return false, nil
		case "failure":
			return false, final("the deployment was rejected: %s", clip(k.Output.Title))
		}
		return k.Conclusion == "success", nil
	})
	if err != nil {
		return "", err
	}
	w.seePress(ctx)
	if w.cfg.NoRule {
		return "", nil
	}
	err = w.until(ctx, "the job deploy goes on", w.cfg.Window, func(ctx context.Context) (bool, error) {
		var err error
		d.jobs, err = w.jobs(ctx, d.run)
		return err == nil && slices.ContainsFunc(d.jobs, func(j job) bool { return j.Name == "deploy" && j.Status != "waiting" }), err
	})
	if err == nil {
		w.seeAnswer(ctx)
	}
	return "", err
}

// tokenGiven waits until the job ended, and says what its steps did.
func (w *walk) tokenGiven(ctx context.Context) (string, error) {
	d := &w.deploy
	var names []string
	err := w.until(ctx, "the jobs have ended", w.cfg.Window, func(ctx context.Context) (bool, error) {
		jobs, err := w.jobs(ctx, d.run)
		if err != nil {
			return false, err
		}
		names = nil
		for _, j := range jobs {
			switch {
			case j.Status != "completed":
				return false, fmt.Errorf("%s is %s", clip(j.Name), j.Status)
			case j.Conclusion != "success":
				return false, final("the job %s ended as %s, at the step %s", clip(j.Name), j.Conclusion, clip(failedStep(j)))
			case j.Name == "deploy":
				for _, s := range j.Steps {
					names = append(names, clip(s.Name))
				}
			}
		}
		d.over = true
		return true, nil
	})
	if err != nil {
		return "", err
	}
	for _, want := range []string{"mint the token", "end it", "a second one is refused"} {
		if !slices.Contains(names, want) {
			return "", fmt.Errorf("the job has no step %q: it did %s", want, strings.Join(names, ", "))
		}
	}
	return "minted; ended twice, answered with 204 both times; a second one refused with 403", nil
}

func failedStep(j job) string {
	for _, s := range j.Steps {
		if s.Conclusion == "failure" {
			return s.Name
		}
	}
	return "none"
}

// dispatched has a run started by hand, which the policy rejects.
func (w *walk) dispatched(ctx context.Context) (string, error) {
	since := time.Now()
	w.cfg.Ask(ctx, Task{ID: "dispatch", Where: w.html + "/actions/workflows/" + Workflow[strings.LastIndex(Workflow, "/")+1:], What: "Press Run workflow, on the default branch. The run will be rejected."})
	var run int64
	var created time.Time
	// A clock of ours that is ahead of GitHub's must not hide the run.
	since = since.Add(-time.Minute)
	err := w.until(ctx, "the workflow was started by hand", w.cfg.Wait, func(ctx context.Context) (bool, error) {
		var err error
		run, _, created, err = w.findRun(ctx, "event=workflow_dispatch", since)
		return run != 0, err
	})
	if err != nil {
		return "", err
	}
	w.seeDispatch(ctx, created)
	var jobs []job
	err = w.until(ctx, "the run is rejected", w.cfg.Window, func(ctx context.Context) (bool, error) {
		var err error
		jobs, err = w.jobs(ctx, run)
		for _, j := range jobs {
			switch {
			case j.Status != "completed":
				return false, fmt.Errorf("the job %s is %s", clip(j.Name), j.Status)
			case j.Conclusion == "success":
				return false, final("the job %s of run %d succeeded, and the policy names no such event", clip(j.Name), run)
			}
		}
		return len(jobs) > 0, err
	})
	if err == nil && !w.cfg.NoRule {
		w.seeRunner(jobs, "rejected")
	}
	return fmt.Sprintf("run %d", run), err
}
