package selftest

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// cleanTime is how long taking away again may take, an interrupt notwithstanding.
const cleanTime = time.Minute

// undo takes away one thing that the walk made, or may have made.
type undo struct {
	what string
	do   func(ctx context.Context) error
}

// clean takes away what the walk made, the last first, and names what stays.
func (w *walk) clean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTime)
	defer cancel()
	for i := len(w.undo) - 1; i >= 0; i-- {
		u := w.undo[i]
		if err := u.do(ctx); err != nil {
			w.report.Left = append(w.report.Left, fmt.Sprintf("%s, which could not be taken away: %v", u.what, err))
		}
	}
	for _, p := range []*pull{&w.dev, &w.production} {
		if p.number != 0 {
			w.report.Left = append(w.report.Left, fmt.Sprintf("pull request #%d, closed or merged", p.number))
		}
	}
	if w.deploy.run != 0 {
		w.report.Left = append(w.report.Left, fmt.Sprintf("the run %d and its deployment", w.deploy.run))
	}
}

func (w *walk) deleteBranch(ctx context.Context, name string) error {
	err := w.wire.do(ctx, http.MethodDelete, "/git/refs/heads/"+name, nil, nil)
	if s := statusOf(err); s == http.StatusUnprocessableEntity || s == http.StatusNotFound {
		return nil // it is not there: never made, or deleted when it was merged
	}
	return err
}

// closePull closes a pull request that is open, also one whose making was not answered.
func (w *walk) closePull(ctx context.Context, p *pull) error {
	var open []struct {
		Number int `json:"number"`
	}
	if err := w.wire.get(ctx, "/pulls?state=open&head="+escape(w.owner+":"+p.branch), &open); err != nil {
		return err
	}
	for _, o := range open {
		if err := w.wire.do(ctx, http.MethodPatch, fmt.Sprintf("/pulls/%d", o.Number), map[string]string{"state": "closed"}, nil); err != nil {
			return err
		}
		p.number = o.Number
	}
	return nil
}

// rejectRun has what is still held of the run not wait for a month: it answers the
// rule, which only closes.
func (w *walk) rejectRun(ctx context.Context) error {
	if w.deploy.over {
		return nil
	}
	jobs, err := w.jobs(ctx, w.deploy.run)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if j.Status == "waiting" {
			return w.wire.do(ctx, http.MethodPost, fmt.Sprintf("/actions/runs/%d/deployment_protection_rule", w.deploy.run), map[string]string{
				"environment_name": Environment, "state": "rejected", "comment": "sallyport-app selftest ended.",
			}, nil)
		}
		if j.Status != "completed" {
			return fmt.Errorf("its job %s is %s; cancel it on %s/actions/runs/%d", clip(j.Name), j.Status, w.html, w.deploy.run)
		}
	}
	return nil
}
