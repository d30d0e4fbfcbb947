package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// The reason that asks for GitHub's own record of an approval.
const (
	codeUnconfirmed   rules.Code = "SP522"
	codeInputsUnknown rules.Code = "SP508"
)

// The reasons that ask for facts about a deployment.
const (
	codeBranchesUnknown rules.Code = "SP507"
	codeRangeUnknown    rules.Code = "SP511"
)

// The buttons of a held deployment's check run.
const (
	buttonApprove = "approve"
	buttonReject  = "reject"
)

// word is somebody's word on a held deployment and the fact that it rests on; a
// carried one rests on none.
type word struct {
	rules.Approval

	fact *store.Fact
}

// words gathers who spoke on a held deployment, and has GitHub confirm what would
// count.
func (x *deployDoor) words(ctx context.Context, h *heldData, d *rules.Deployment, policies rules.Policies) error {
	var list []word
	var err error
	if again, released := x.again[h]; released {
		list, err = x.since(ctx, again)
	} else {
		list, err = x.spoken(ctx, h)
	}
	if err != nil || len(list) == 0 {
		return err
	}
	for i := range list {
		list[i].InputsDigest = d.Inputs.Digest // its name holds it
	}
	if err := x.people(ctx, list, policies); err != nil {
		return err
	}
	give := func() {
		d.Approvals = nil
		for _, w := range list {
			d.Approvals = append(d.Approvals, w.Approval)
		}
	}
	give()
	open := unconfirmed(rules.DecideDeployment(policies, d))
	for i := range list {
		w := &list[i]
		if w.fact == nil || w.Rejects || w.Confirmed != rules.Unknown || !slices.ContainsFunc(open, w.Actor.Login.Equal) {
			continue
		}
		before, now := x.data.Asked[w.fact.ID], x.g.cfg.Now()
		if wait := before.At.Add(confirmPause(before.Times)).Sub(now); before.Times > 0 && wait > 0 {
			x.lookIn(wait)
			continue
		}
		if w.Confirmed, err = x.g.confirm(ctx, w.fact, before.At); err != nil {
			return err
		}
		if w.Confirmed == rules.Unknown {
			if x.data.Asked == nil {
				x.data.Asked = map[int64]asked{}
			}
			x.data.Asked[w.fact.ID] = asked{now, before.Times + 1}
			x.lookIn(confirmPause(before.Times + 1))
		}
	}
	give()
	x.counted(h, list, rules.DecideDeployment(policies, d))
	return nil
}

// once is a released deployment that is judged once more.
type once struct {
	held      *heldData // as it was released
	approvals []rules.Approval
	at        time.Time // as of when
}

// since are the approvals that something was released by, and who rejected it since.
func (x *deployDoor) since(ctx context.Context, again once) ([]word, error) {
	list, err := x.spoken(ctx, again.held)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(w word) bool { return !w.Rejects })
	for _, a := range again.approvals {
		list = append(list, word{Approval: a})
	}
	return list, nil
}

// confirmPause is after how long GitHub's list of deliveries is asked again for one that
// it did not show: sooner at first, since the list may lag, and then less and less,
// since whoever has the webhook's secret can make up clicks.
func confirmPause(times int) time.Duration {
	return min(time.Second<<min(times, 10), 10*time.Minute)
}

// unconfirmed are those whose approval lacks nothing but GitHub's word.
func unconfirmed(d rules.Decision) []rules.Login {
	var out []rules.Login
	for _, r := range d.Reasons {
		for _, b := range r.Because {
			if b.Code == codeUnconfirmed {
				out = append(out, b.Login)
			}
		}
	}
	return out
}

// counted keeps which facts a release would spend.
func (x *deployDoor) counted(h *heldData, list []word, d rules.Decision) {
	if x.used == nil {
		x.used = map[*heldData][]word{}
	}
	for _, w := range list {
		counts := !w.Rejects && slices.ContainsFunc(d.Needs, func(n rules.Need) bool { return slices.ContainsFunc(n.Approved, w.Actor.Login.Equal) })
		if counts && w.Confirmed == rules.Yes {
			x.used[h] = append(x.used[h], w)
		}
	}
}

// spoken are all words on exactly this held deployment.
func (x *deployDoor) spoken(ctx context.Context, h *heldData) ([]word, error) {
	g, f := x.g, x.f
	var out []word
	h.Shown.PassedOver = time.Time{}
	add := func(fact store.Fact, how rules.Accepted, who rules.Actor, rejects bool, present rules.Tri) {
		out = append(out, word{Approval: rules.Approval{
			How: how, Actor: who, Rejects: rejects, Environment: h.Environment, SHA: f.run.HeadSHA, Run: f.run.ID, Attempt: h.Attempt,
			At: fact.ReceivedAt, Confirmed: fact.Confirmed, Present: present,
		}, fact: &fact})
	}
	clicks, err := g.cfg.Store.FactsOf(ctx, headKey(f.at.id, f.run.HeadSHA), rules.FactClick)
	if err != nil {
		return nil, err
	}
	for _, fact := range clicks {
		var c rules.Click
		if err := json.Unmarshal(fact.Payload, &c); err != nil {
			return nil, fmt.Errorf("reading a stored click: %w", err)
		}
		// A click is for the one check run, as it stood when it was pressed.
		if h.Check == 0 || c.CheckRun != h.Check || c.App != g.app.ID || c.SHA != f.run.HeadSHA || c.Name != deployCheck(h.Environment) ||
			c.Identifier != buttonApprove && c.Identifier != buttonReject || fact.Confirmed == rules.No {
			continue
		}
		if c.ExternalID != h.Name {
			h.Shown.PassedOver = fact.ReceivedAt
			continue
		}
		add(fact, rules.AcceptCheckButton, c.Sender, c.Identifier == buttonReject, rules.Unknown)
	}
	reviews, err := g.cfg.Store.FactsOf(ctx, runKey(f.at.id, f.run.ID), rules.FactDeploymentReview)
	if err != nil {
		return nil, err
	}
	for _, fact := range reviews {
		var r rules.DeploymentReview
		if err := json.Unmarshal(fact.Payload, &r); err != nil {
			return nil, fmt.Errorf("reading a stored deployment review: %w", err)
		}
		// A review is for the jobs that were held when it was given.
		all := !slices.ContainsFunc(h.Jobs, func(id rules.CheckRunID) bool {
			return !slices.ContainsFunc(r.Jobs, func(j rules.HeldJob) bool { return j.ID == id && strings.EqualFold(j.Environment, h.Environment) })
		})
		if r.Run != f.run.ID || r.Attempt != h.Attempt || r.SHA != f.run.HeadSHA || !all || fact.Confirmed == rules.No {
			continue
		}
		add(fact, rules.AcceptDeploymentReview, r.Approver, r.State == "rejected", rules.Unknown)
	}
	pages, err := g.cfg.Store.FactsOf(ctx, runKey(f.at.id, f.run.ID), rules.FactWord)
	if err != nil {
		return nil, err
	}
	for _, fact := range pages {
		var w rules.Word
		if err := json.Unmarshal(fact.Payload, &w); err != nil {
			return nil, fmt.Errorf("reading a stored word: %w", err)
		}
		if w.Hold != h.Name {
			continue
		}
		fact.Confirmed = rules.Yes // our own page took it
		add(fact, rules.AcceptDashboard, w.Actor, w.Rejects, w.Present)
	}
	for i := range x.data.Carried {
		c := &x.data.Carried[i]
		if c.Attempt != h.Attempt || c.Used || c.Bound != x.bound(h) || !strings.EqualFold(c.Environment, h.Environment) || h.Rule || len(h.Jobs) != 1 || f.run.Triggering.ID != g.app.Bot.ID || g.app.Bot.ID == 0 {
			continue
		}
		for _, a := range c.Approvals {
			a.Attempt = h.Attempt
			out = append(out, word{Approval: a})
		}
	}
	return out, nil
}

// people asks afresh what those who spoke are: members of the listed teams, with
// access, maintainers.
func (x *deployDoor) people(ctx context.Context, list []word, policies rules.Policies) error {
	f := x.f
	var who []rules.Actor
	for _, w := range list {
		if w.Actor.Type == rules.ActorUser && w.Actor.ID != 0 && !slices.Contains(who, w.Actor) {
			who = append(who, w.Actor)
		}
	}
	if err := x.g.membersOf(ctx, f.at, policies, who); err != nil {
		return err
	}
	for _, p := range who {
		member, named := false, false
		for _, v := range []rules.PolicyVersion{policies.Repository, policies.Floor} {
			for _, t := range v.Directory.Teams {
				member = member || t.Members[p.ID] == rules.Yes
			}
			for _, id := range v.Directory.Users {
				named = named || id == p.ID
			}
		}
		rejects := slices.ContainsFunc(list, func(w word) bool { return w.Actor == p && w.Rejects })
		if member && !named && !rejects {
			continue // their team says enough
		}
		level, id, err := f.at.Permission(ctx, p.Login)
		if err != nil && !errors.Is(err, github.ErrNotFound) {
			return fmt.Errorf("asking what %s may do: %w", p.Login, err)
		}
		same := err == nil && id == p.ID
		for i := range list {
			if list[i].Actor == p {
				list[i].Write = rules.TriOf(same && (level == "admin" || level == "write" || level == "maintain"))
				list[i].Maintains = rules.TriOf(same && (level == "admin" || level == "maintain"))
			}
		}
	}
	return nil
}

// maxConfirmed is how old a fact may be that GitHub's list of deliveries can still
// confirm: longer it keeps none anywhere.
const maxConfirmed = 7 * 24 * time.Hour

// confirm asks GitHub's own list of deliveries whether an event was: of the same kind,
// by the same sender, about the same thing. A webhook's secret alone forges nothing.
// Before is when that was asked last: what was in the list then is not read again.
func (g *Gate) confirm(ctx context.Context, fact *store.Fact, before time.Time) (rules.Tri, error) {
	var attempts []int64
	oldest := fact.ReceivedAt.Add(-10 * time.Minute)
	if late := before.Add(-time.Minute); late.After(oldest) {
		oldest = late
	}
	err := g.cfg.GitHub.Deliveries(ctx, func(d github.Delivery) bool {
		if slices.Contains(fact.Deliveries, d.GUID) && d.Event == fact.Event && d.Action == fact.Action && d.Repository == fact.Repository {
			attempts = append(attempts, d.ID)
		}
		return len(attempts) > 0 || d.DeliveredAt.Before(oldest)
	})
	if err != nil && len(attempts) == 0 {
		return rules.Unknown, fmt.Errorf("asking GitHub which events it sent: %w", err)
	}
	found := rules.Unknown
	for _, id := range attempts {
		d, err := g.cfg.GitHub.Delivery(ctx, id)
		if errors.Is(err, github.ErrNotFound) {
			continue
		}
		if err != nil {
			return rules.Unknown, fmt.Errorf("asking GitHub what it sent: %w", err)
		}
		if sameEvent(fact, d) {
			found = rules.Yes
			break
		}
		found = rules.No
	}
	if found == rules.Unknown && g.cfg.Now().Sub(fact.ReceivedAt) > maxConfirmed {
		found = rules.No
	}
	if found == rules.No {
		g.cfg.Log.WarnContext(ctx, "an approval that GitHub does not confirm", slog.String("event", fact.Event), slog.Int64("sender", int64(fact.Sender)), slog.Int64("fact", fact.ID))
	}
	if found != rules.Unknown {
		if err := g.cfg.Store.Confirm(ctx, fact.ID, found); err != nil {
			return rules.Unknown, err
		}
	}
	return found, nil
}

// idOf is an object of which the id matters.
type idOf[T any] struct {
	ID T `json:"id"`
}

// sameEvent reports whether what GitHub says that it sent is what a fact says that
// came.
func sameEvent(fact *store.Fact, d github.DeliveryContent) bool {
	var p struct {
		Action     string                   `json:"action"`
		Repository idOf[rules.RepositoryID] `json:"repository"`
		Sender     idOf[rules.AccountID]    `json:"sender"`
		Requested  struct {
			Identifier string `json:"identifier"`
		} `json:"requested_action"`
		Approver idOf[rules.AccountID] `json:"approver"`
		Run      struct {
			ID      rules.RunID `json:"id"`
			Attempt int         `json:"run_attempt"`
			SHA     rules.SHA   `json:"head_sha"`
		} `json:"workflow_run"`
		Job   *idOf[rules.CheckRunID]  `json:"workflow_job_run"`
		Jobs  []idOf[rules.CheckRunID] `json:"workflow_job_runs"`
		Check struct {
			ID         rules.CheckRunID  `json:"id"`
			Name       string            `json:"name"`
			SHA        rules.SHA         `json:"head_sha"`
			ExternalID string            `json:"external_id"`
			App        idOf[rules.AppID] `json:"app"`
		} `json:"check_run"`
	}
	if err := json.Unmarshal(d.Payload, &p); err != nil {
		return false
	}
	if d.Event != fact.Event || p.Action != fact.Action || p.Repository.ID != fact.Repository || p.Sender.ID != fact.Sender {
		return false
	}
	switch fact.Kind {
	case rules.FactClick:
		var c rules.Click
		return json.Unmarshal(fact.Payload, &c) == nil && p.Check.ID == c.CheckRun && p.Check.Name == c.Name && p.Check.SHA == c.SHA && p.Check.App.ID == c.App &&
			p.Check.ExternalID == c.ExternalID && p.Requested.Identifier == c.Identifier && p.Sender.ID == c.Sender.ID
	case rules.FactDeploymentReview:
		var r rules.DeploymentReview
		if json.Unmarshal(fact.Payload, &r) != nil {
			return false
		}
		if len(p.Jobs) == 0 && p.Job != nil {
			p.Jobs = append(p.Jobs, *p.Job)
		}
		if p.Run.ID != r.Run || p.Run.Attempt != r.Attempt || p.Run.SHA != r.SHA || p.Approver.ID != r.Approver.ID || len(p.Jobs) != len(r.Jobs) {
			return false
		}
		for i := range p.Jobs {
			if p.Jobs[i].ID != r.Jobs[i].ID {
				return false
			}
		}
		return true
	default:
		return false
	}
}

// dispatchTime is how far the event of a dispatch may lie from the run's creation.
const dispatchTime = 2 * time.Minute

// maxDispatches is how many dispatches around a run's creation are looked at.
const maxDispatches = 20

// inputs finds what a dispatched run was given. GitHub's event names no run, so that
// its own list of deliveries is asked for all dispatches of the workflow by that person
// around that time: they count only if they all say the same.
func (g *Gate) inputs(ctx context.Context, f *runFacts, data *runData) error {
	if data.Inputs != nil || f.run.Event != "workflow_dispatch" {
		return nil
	}
	created := f.run.CreatedAt
	byGUID := map[string]int64{}
	err := g.cfg.GitHub.Deliveries(ctx, func(d github.Delivery) bool {
		if d.Event == "workflow_dispatch" && d.Repository == f.at.id && !d.Redelivery && d.DeliveredAt.Sub(created).Abs() <= dispatchTime {
			byGUID[d.GUID] = d.ID
		}
		return d.DeliveredAt.Before(created.Add(-dispatchTime))
	})
	if err != nil {
		return fmt.Errorf("asking GitHub for the inputs of run %d: %w", f.run.ID, err)
	}
	if len(byGUID) > maxDispatches {
		return nil
	}
	var found *rules.Inputs
	for _, id := range byGUID {
		d, err := g.cfg.GitHub.Delivery(ctx, id)
		if err != nil {
			return fmt.Errorf("asking GitHub for the inputs of run %d: %w", f.run.ID, err)
		}
		var p struct {
			Ref      string                   `json:"ref"`
			Workflow string                   `json:"workflow"`
			Inputs   map[string]any           `json:"inputs"`
			Repo     idOf[rules.RepositoryID] `json:"repository"`
			Sender   idOf[rules.AccountID]    `json:"sender"`
		}
		if err := json.Unmarshal(d.Payload, &p); err != nil {
			return fmt.Errorf("reading the event of a dispatch: %w", err)
		}
		name := strings.TrimPrefix(strings.TrimPrefix(p.Ref, "refs/heads/"), "refs/tags/")
		if p.Repo.ID != f.at.id || p.Workflow != f.run.Workflow || name != f.run.HeadBranch || p.Sender.ID != f.run.Actor.ID {
			continue
		}
		in := inputsOf(p.Inputs)
		if found != nil && found.Digest != in.Digest {
			return nil // two that differ: which is this run's nobody knows
		}
		found = &in
	}
	data.Inputs = found
	return nil
}

func inputsOf(raw map[string]any) rules.Inputs {
	in := rules.Inputs{Known: rules.Yes, Values: map[string]string{}}
	for k, v := range raw {
		if s, ok := v.(string); ok {
			in.Values[k] = s
			continue
		}
		text, err := json.Marshal(v, json.Deterministic(true))
		if err != nil {
			return rules.Inputs{}
		}
		in.Values[k] = string(text)
	}
	text, err := json.Marshal(in.Values, json.Deterministic(true))
	if err != nil {
		return rules.Inputs{}
	}
	sum := sha256.Sum256(text)
	in.Digest = hex.EncodeToString(sum[:])
	return in
}
