package github_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

func (w *world) spec(sha string) github.CheckRunSpec {
	return github.CheckRunSpec{Name: "sallyport", HeadSHA: rules.SHA(sha), ExternalID: "e1", Conclusion: "action_required", Title: "waits", Summary: "for bob", CompletedAt: w.clock.Now()}
}

func TestEffects(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "feature")
	ctx, r, head := t.Context(), w.orders, rules.SHA(p.Head())

	id, err := r.Approve(ctx, p.Number, head, "fine")
	must(t, err)
	if v := p.See().Reviews; len(v) != 1 || v[0].ID != int64(id) || v[0].State != "APPROVED" || v[0].User != "sallyport[bot]" || v[0].SHA != string(head) || v[0].Body != "fine" {
		t.Errorf("reviews: %+v", v)
	}
	must(t, r.Dismiss(ctx, p.Number, id, "no more"))
	must(t, r.Dismiss(ctx, p.Number, id, "no more")) // it is dismissed already
	if v := p.See().Reviews; v[0].State != "DISMISSED" {
		t.Errorf("reviews: %+v", v)
	}
	if err := r.Dismiss(ctx, p.Number, 4711, "no more"); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("dismissing what is not there: %v", err)
	}

	must(t, r.AddLabels(ctx, p.Number, "sallyport/agent", "b"))
	must(t, r.RemoveLabel(ctx, p.Number, "sallyport/agent"))
	must(t, r.RemoveLabel(ctx, p.Number, "sallyport/agent")) // it is not there already
	must(t, r.RequestReviewers(ctx, p.Number, []rules.Login{"dave"}, []string{"sre"}))
	refused(t, "asking somebody who is not there", r.RequestReviewers(ctx, p.Number, []rules.Login{"nobody"}, nil), 422)
	if s := p.See(); strings.Join(s.Labels, " ") != "b" || strings.Join(s.Waiting, " ") != "dave acme/sre" {
		t.Errorf("labels %v, waiting %v", s.Labels, s.Waiting)
	}

	comment, err := r.CreateComment(ctx, p.Number, "<!-- sallyport --> hello")
	must(t, err)
	_, err = p.Comment(w.eve, "<!-- sallyport --> forged")
	must(t, err)
	_, err = p.Comment(w.app.Bot(), "<!-- sallyport --> by our account, and through no App")
	must(t, err)
	must(t, r.EditComment(ctx, comment, "<!-- sallyport --> changed"))
	own, err := r.OwnComments(ctx, p.Number)
	if err != nil || len(own) != 1 || own[0].ID != comment || !strings.Contains(own[0].Body, "changed") {
		t.Errorf("own comments: %+v, %v", own, err)
	}
	if err := r.EditComment(ctx, 4711, "x"); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("editing what is not there: %v", err)
	}

	_, err = r.Merge(ctx, p.Number, rules.SHA(w.repo.Head("main")), "squash")
	refused(t, "merging another head", err, http.StatusConflict)
	w.repo.MergeMethods("squash")
	_, err = r.Merge(ctx, p.Number, head, "merge")
	refused(t, "merging by a method that is off", err, http.StatusMethodNotAllowed)
	landed, err := r.Merge(ctx, p.Number, head, "squash")
	if s := p.See(); err != nil || !s.Merged || string(landed) != s.MergeSHA {
		t.Errorf("merged as %q: %+v, %v", landed, s, err)
	}
	_, err = r.Merge(ctx, p.Number, head, "squash")
	refused(t, "merging it again", err, http.StatusMethodNotAllowed)
	if got := w.pull(p); got.State != "merged" || got.MergeCommit != landed {
		t.Errorf("state %q, merge commit %q", got.State, got.MergeCommit)
	}

	_, err = r.Approve(ctx, w.open(w.app.Bot(), "own").Number, head, "my own")
	refused(t, "approving what is one's own", err, http.StatusUnprocessableEntity)
}

// What GitHub did, or did not do, and did not say: nobody knows.
func TestUnclearEffects(t *testing.T) {
	effects := map[string]func(*world, *githubtest.Pull) error{
		"approve": func(w *world, p *githubtest.Pull) error {
			_, err := w.orders.Approve(w.t.Context(), p.Number, rules.SHA(p.Head()), "fine")
			return err
		},
		"check": func(w *world, p *githubtest.Pull) error {
			_, err := w.orders.CreateCheckRun(w.t.Context(), w.spec(p.Head()))
			return err
		},
		"comment": func(w *world, p *githubtest.Pull) error {
			_, err := w.orders.CreateComment(w.t.Context(), p.Number, "hello")
			return err
		},
		"merge": func(w *world, p *githubtest.Pull) error {
			_, err := w.orders.Merge(w.t.Context(), p.Number, rules.SHA(p.Head()), "merge")
			return err
		},
		"label":   func(w *world, p *githubtest.Pull) error { return w.orders.AddLabels(w.t.Context(), p.Number, "a") },
		"unlabel": func(w *world, p *githubtest.Pull) error { return w.orders.RemoveLabel(w.t.Context(), p.Number, "b") },
		"request": func(w *world, p *githubtest.Pull) error {
			return w.orders.RequestReviewers(w.t.Context(), p.Number, []rules.Login{"dave"}, nil)
		},
		"enqueue": func(w *world, p *githubtest.Pull) error {
			return w.orders.Enqueue(w.t.Context(), "UHVsbDox", rules.SHA(p.Head()))
		},
	}
	w := newWorld(t, setting{fake: githubtest.Config{Limits: githubtest.NoLimits()}})
	w.warm()
	_, err := w.orders.Info(t.Context())
	must(t, err)
	n := 0
	for name, effect := range effects {
		for _, kind := range []githubtest.Kind{githubtest.ServerError, githubtest.Reset, githubtest.Unanswered, githubtest.DoneThenError} {
			n++
			p := w.open(w.agent, fmt.Sprintf("b%d", n))
			must(t, p.Label(w.alice, "b"))
			w.g.ForgetRequests()
			w.g.Fail(githubtest.Fault{Kind: kind, When: func(r githubtest.Request) bool { return r.Method != http.MethodGet }})
			unclear(t, name+" and "+kind.String(), effect(w, p))
			if sent := len(w.g.Requests()); sent > 1 {
				t.Errorf("%s and %s: sent %d times", name, kind, sent)
			}
			w.g.Heal()
		}
	}
	p := w.open(w.agent, "last")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.orders.Approve(ctx, p.Number, rules.SHA(p.Head()), "fine"); !errors.Is(err, context.Canceled) {
		t.Errorf("after the caller has gone: %v", err)
	}
	unclear(t, "enqueuing with an answer that says nothing", func() error {
		w.wire.changing(func(r *http.Response) {
			r.Body = io.NopCloser(strings.NewReader(`{"data":{"enqueuePullRequest":null},"errors":[{"message":"Something went wrong while executing your query."}]}`))
		})
		return w.orders.Enqueue(t.Context(), "UHVsbDox", rules.SHA(p.Head()))
	}())
}

func TestForbiddenEffects(t *testing.T) {
	may := permissions()
	may["pull_requests"], may["checks"] = "read", "read"
	w := newWorld(t, setting{permissions: may})
	w.g.Allow("the token lacks")
	p := w.open(w.agent, "feature")
	_, err := w.orders.Approve(t.Context(), p.Number, rules.SHA(p.Head()), "fine")
	if !errors.Is(err, github.ErrForbidden) {
		t.Errorf("approving: %v, want ErrForbidden", err)
	}
	// The owner grants it: from then on it goes.
	w.inst.Permit(w.carol, permissions())
	_, err = w.orders.Approve(t.Context(), p.Number, rules.SHA(p.Head()), "fine")
	must(t, err)
}

func TestCheckRuns(t *testing.T) {
	w := newWorld(t)
	p := w.open(w.agent, "feature")
	ctx, s := t.Context(), w.spec(p.Head())
	for i := range 120 {
		s.Annotations = append(s.Annotations, github.Annotation{Path: "a.go", StartLine: i + 1, EndLine: i + 1, Level: "warning", Message: "m"})
	}
	s.Text = strings.Repeat("é", 70_000) + "\nLedger: 1"
	w.warm()
	var id rules.CheckRunID
	var err error
	asked := w.asked(func() { id, err = w.orders.CreateCheckRun(ctx, s) })
	must(t, err)
	if asked["POST /repos/{owner}/{repo}/check-runs"] != 1 || asked["PATCH /repos/{owner}/{repo}/check-runs/{check_run_id}"] != 2 {
		t.Errorf("120 annotations take %v", asked)
	}
	total := 0
	for _, r := range w.g.Requests() {
		var in struct {
			Output struct {
				Annotations []any `json:"annotations"`
			} `json:"output"`
		}
		if strings.Contains(r.Path, "check-runs") {
			must(t, json.Unmarshal(r.Body, &in))
			total += len(in.Output.Annotations)
		}
	}
	seen := w.repo.CheckRun(p.Head(), "sallyport").See()
	if total != 120 || seen.Conclusion != "action_required" || utf8.RuneCountInString(seen.Text) > 65_535 || !strings.HasSuffix(seen.Text, "\nLedger: 1") || !strings.Contains(seen.Text, "cut") {
		t.Errorf("%d annotations, %q, %d characters ending %q", total, seen.Conclusion, utf8.RuneCountInString(seen.Text), seen.Text[len(seen.Text)-40:])
	}
	s.Conclusion, s.Text, s.Annotations, s.ExternalID = "success", "", nil, "e2"
	must(t, w.orders.UpdateCheckRun(ctx, id, s))
	w.clock.Advance(time.Second)
	second, err := w.orders.CreateCheckRun(ctx, s)
	must(t, err)
	w.repo.AddCheck(w.agentApp, p.Head(), "sallyport", "success") // a namesake
	runs, err := w.orders.FindCheckRuns(ctx, p.Head(), "sallyport")
	if err != nil || len(runs) != 2 || runs[0].ID != second || runs[1].ID != id || runs[1].Conclusion != "success" || runs[1].ExternalID != "e2" {
		t.Errorf("our own runs: %+v, %v", runs, err)
	}
	if err := w.orders.UpdateCheckRun(ctx, 4711, s); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("updating what is not there: %v", err)
	}
	s.HeadSHA = rules.SHA(strings.Repeat("1", 40))
	_, err = w.orders.CreateCheckRun(ctx, s)
	refused(t, "at a commit that is not there", err, http.StatusUnprocessableEntity)
}

func TestDeliveries(t *testing.T) {
	w := newWorld(t)
	w.app.Webhook("http://127.0.0.1:1/nobody", "secret")
	for range 3 {
		w.inst.Suspend(w.carol)
		w.inst.Unsuspend(w.carol)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	must(t, w.g.Settle(ctx))
	var all []github.Delivery
	must(t, w.client.Deliveries(t.Context(), func(d github.Delivery) bool { all = append(all, d); return false }))
	if len(all) < 6 || all[0].OK() || all[0].Event != "installation" || all[0].Action != "unsuspend" || all[1].Action != "suspend" || all[0].Installation != rules.InstallationID(w.inst.ID) || all[0].GUID == "" || all[0].DeliveredAt.IsZero() {
		t.Fatalf("%d deliveries, the first %+v", len(all), all[0])
	}
	n := 0
	must(t, w.client.Deliveries(t.Context(), func(github.Delivery) bool { n++; return n == 2 }))
	if n != 2 {
		t.Errorf("told of %d after being stopped at 2", n)
	}
	one, err := w.client.Delivery(t.Context(), all[0].ID)
	must(t, err)
	var payload struct {
		Action       string `json:"action"`
		Installation struct {
			ID int64 `json:"id"`
		} `json:"installation"`
	}
	must(t, json.Unmarshal(one.Payload, &payload))
	if one.GUID != all[0].GUID || payload.Action != "unsuspend" || payload.Installation.ID != w.inst.ID {
		t.Errorf("the delivery: %+v, %+v", one.Delivery, payload)
	}
	must(t, w.client.Redeliver(t.Context(), all[0].ID))
	must(t, w.g.Settle(ctx))
	var newest github.Delivery
	must(t, w.client.Deliveries(t.Context(), func(d github.Delivery) bool { newest = d; return true }))
	if newest.GUID != all[0].GUID || !newest.Redelivery || newest.ID == all[0].ID {
		t.Errorf("sent again: %+v", newest)
	}
	if err := w.client.Redeliver(t.Context(), 4711); !errors.Is(err, github.ErrNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
}
