package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// release is an opening of the deploy door with the facts that it spends.
type release struct {
	store.Release

	facts []int64
}

// ended is a release whose jobs all ended.
type ended struct {
	held    *heldData
	outcome string
	at      time.Time
}

// Limits of a protection rule
// (https://docs.github.com/rest/actions/workflow-runs#review-custom-deployment-protection-rules-for-a-workflow-run).
const (
	maxReports     = 10
	maxReportRunes = 1024
)

// maxCarriedPulls is on how many of the pull requests that a deployment carries it is
// told: the newest.
const maxCarriedPulls = 5

// maxAnswers is how often GitHub may say that there is nothing to answer before the
// answer is left to the sweep.
const maxAnswers = 40

// lookIn has the run looked at again after a time, if not sooner.
func (x *deployDoor) lookIn(after time.Duration) {
	if x.pl.again == 0 || after < x.pl.again {
		x.pl.again = after
	}
}

// verdict turns a decision into what becomes of the held deployment. What lets it
// through binds to the jobs that are held now.
func (x *deployDoor) verdict(h *heldData, d *rules.Deployment, out rules.Decision) error {
	switch {
	case out.Verdict == rules.VerdictAllow || out.Observe:
		return x.let(h, d, out)
	case out.Verdict != rules.VerdictDeny:
	case mayBeLag(d, out) && x.g.cfg.Now().Sub(h.Since) < settled:
		x.lookIn(relag)
	default:
		h.State = heldRejected
	}
	return nil
}

// The reasons that a ref or a commit which GitHub does not show yet would give.
const (
	codeRefNotAllowed rules.Code = "SP504"
	codeNotOnBranch   rules.Code = "SP505"
)

// mayBeLag reports whether a deployment is denied for nothing but what GitHub may not
// show yet.
func mayBeLag(d *rules.Deployment, out rules.Decision) bool {
	return !slices.ContainsFunc(out.Reasons, func(r rules.Reason) bool {
		return r.Verdict == rules.VerdictDeny && r.Code != codeNotOnBranch && (r.Code != codeRefNotAllowed || d.RefType != "")
	})
}

// let lets a held deployment through.
func (x *deployDoor) let(h *heldData, d *rules.Deployment, out rules.Decision) error {
	human := slices.ContainsFunc(out.Needs, func(n rules.Need) bool { return len(n.Approved) > 0 })
	approvals := []rules.Approval{}
	var facts []int64
	for _, w := range x.used[h] {
		approvals = append(approvals, w.Approval)
		if w.fact != nil {
			facts = append(facts, w.fact.ID)
		}
	}
	h.State = heldReleased
	if !h.Rule && len(h.Jobs) == 1 {
		if j := x.f.job(h.Jobs[0]); j != nil && j.Status == "completed" {
			// It waits no more: what it was approved for is the attempt that we start.
			h.Ended = true
			x.data.Carried = append(x.data.Carried, carried{Environment: h.Environment, Attempt: h.Attempt + 1, Job: h.Jobs[0], Approvals: approvals, Bound: x.bound(h)})
			return nil
		}
	}
	for i := range x.data.Carried {
		if c := &x.data.Carried[i]; c.Attempt == h.Attempt && strings.EqualFold(c.Environment, h.Environment) && !h.Rule {
			c.Used = true
		}
	}
	text, err := json.Marshal(approvals, json.Deterministic(true))
	if err != nil {
		return err
	}
	x.releases = append(x.releases, release{facts: facts, Release: store.Release{
		Repository: x.f.at.id, Environment: h.Environment, Run: x.f.run.ID, Attempt: h.Attempt, Turn: h.Turn, SHA: d.SHA, Ref: d.Ref, Jobs: slices.Clone(h.Jobs),
		Human: human, Observed: out.Observe && out.Verdict != rules.VerdictAllow, Approvals: text, Decision: h.ID, At: x.g.cfg.Now(),
	}})
	r := x.releases[len(x.releases)-1]
	x.entries = append(x.entries, ledger.Entry{
		Kind: ledger.KindEffect, Time: r.At, Subject: x.released(h), Decision: h.ID, Personal: map[string]any{"approvals": approvals},
		Payload: effectPayload{Base: h.Range.Base, Human: r.Human, Jobs: r.Jobs, Kind: "release", Observed: r.Observed},
	})
	return nil
}

// released is what the ledger says a release is about.
func (x *deployDoor) released(h *heldData) ledger.Subject {
	s := x.subject(h)
	s.Key = "release:" + x.ref(h)
	return s
}

// plan plans for all that is or was held in the run.
func (x *deployDoor) plan(ctx context.Context) error {
	x.watch()
	for _, h := range x.data.Held {
		if h.State == heldReleased && !h.Ended {
			x.outcome(h)
		}
		x.planAnswer(h)
		x.planRerun(h)
		if err := x.planCheck(ctx, h); err != nil {
			return err
		}
		x.planReport(h)
		if err := x.planComments(ctx, h); err != nil {
			return err
		}
	}
	for i := range x.pl.effects {
		x.pl.effects[i].sha = x.f.run.HeadSHA
	}
	slices.SortStableFunc(x.pl.effects, func(a, b effect) int { return order(a) - order(b) })
	return nil
}

// ref is a held deployment as the keys of its effects name it.
func (x *deployDoor) ref(h *heldData) string { return refOf(x.f.at.id, x.f.run.ID, h) }

func refOf(repository rules.RepositoryID, run rules.RunID, h *heldData) string {
	return fmt.Sprintf("%d/%d/%d/%d:%s", repository, run, h.Attempt, h.Turn, strings.ToLower(h.Environment))
}

// planned is what an effect of a look before was about: its key names the held
// deployment.
func (d *runData) planned(repository rules.RepositoryID, run rules.RunID) func(store.Effect) ledger.Subject {
	return func(e store.Effect) ledger.Subject {
		s := ledger.Subject{Repository: repository, Run: run, SHA: e.SHA, Key: e.Key}
		_, rest, _ := strings.Cut(e.Key, ":")
		longest := 0 // a name may begin with another one
		for _, h := range d.Held {
			if ref := refOf(repository, run, h); len(ref) > longest && (rest == ref || strings.HasPrefix(rest, ref+":")) {
				longest, s.Attempt, s.Environment = len(ref), h.Attempt, h.Environment
			}
		}
		return s
	}
}

func (x *deployDoor) add(h *heldData, e effect) {
	if x.about[h] == 0 {
		// It was judged in a look before, and this follows from what was decided then.
		x.decidedAs(h, judged{old: h.ID, id: h.ID, decision: h.Decision, subject: x.subject(h)})
	}
	e.about = x.about[h]
	if e.held == nil {
		e.held = &heldRef{}
	}
	e.held.run, e.held.attempt, e.held.environment, e.held.turn, e.held.rule, e.held.read = x.f.run.ID, h.Attempt, h.Environment, h.Turn, h.Rule, x.f.read
	x.pl.effects = append(x.pl.effects, e)
}

// planAnswer answers the rule as long as GitHub shows the jobs waiting.
func (x *deployDoor) planAnswer(h *heldData) {
	state := map[string]string{heldReleased: "approved", heldRejected: "rejected"}[h.State]
	waits := slices.ContainsFunc(h.Jobs, func(id rules.CheckRunID) bool { j := x.f.job(id); return j != nil && j.Status == "waiting" })
	if !h.Rule || state == "" || h.Answered != "" || h.Attempt != x.data.Attempt || !waits {
		return
	}
	if n := h.Refused[effectAnswer]; n > 0 {
		// GitHub says for a while that there is nothing to answer.
		if x.lookIn(min(time.Second<<min(n-1, 6), time.Minute)); n > maxAnswers {
			return
		}
	}
	x.add(h, effect{
		kind: effectAnswer, key: "answer:" + x.ref(h) + ":" + state, closes: state == "rejected", text: cutRunes(answerText(h), maxReportRunes), held: &heldRef{state: state},
	})
}

// planRerun starts a job anew that stopped waiting before it was approved.
func (x *deployDoor) planRerun(h *heldData) {
	if !x.data.rerunnable(h) || x.f.run.Status != "completed" {
		return // GitHub runs nothing again before all of it ended, and then tells
	}
	if x.f.at.installation.Permissions["actions"] != "write" {
		return // it may not: the check says so
	}
	x.add(h, effect{kind: effectRerun, key: "rerun:" + x.ref(h), held: &heldRef{job: h.Jobs[0]}})
}

// planCheck makes the check run say what holds.
func (x *deployDoor) planCheck(ctx context.Context, h *heldData) error {
	if h.Check == 0 && !h.Tried && (h.State == heldOver || h.State != heldWaiting && h.Attempt != x.data.Attempt) {
		return nil
	}
	asked, err := x.g.rerequested(ctx, headKey(x.f.at.id, x.f.run.HeadSHA), deployCheck(h.Environment))
	if err != nil {
		return err
	}
	spec := x.checkRun(h)
	digest := short(fmt.Sprint(spec.Conclusion, spec.Title, spec.Summary, spec.Text, spec.ExternalID))
	if digest == h.Digest && asked <= h.Rerequest || h.Refused[effectCheck] >= maxRefused {
		return nil
	}
	run := h.Check
	if asked > h.Rerequest {
		run = 0 // one that was asked for again cannot be opened again
	}
	witness, err := x.g.witness(ctx)
	if err != nil {
		return err
	}
	spec.HeadSHA, spec.CompletedAt = x.f.run.HeadSHA, x.g.cfg.Now()
	spec.Text += "\n\n" + witness
	x.add(h, effect{
		kind: effectCheck, key: "check:" + x.ref(h) + ":" + strconv.Itoa(h.CheckTurn+1) + ":" + digest, digest: digest, run: run, check: &spec,
		closes: spec.Conclusion == conclusionFailure, held: &heldRef{asked: asked, tried: h.Tried, not: h.Check},
	})
	h.Tried = h.Tried || run == 0
	return nil
}

// planReport tells on the run's own page what the rule waits for.
func (x *deployDoor) planReport(h *heldData) {
	if !h.Rule || h.State != heldWaiting || h.Reports >= maxReports || h.Refused[effectReport] >= maxRefused {
		return
	}
	text := cutRunes(reportText(h), maxReportRunes)
	if digest := short(text); digest != h.Reported {
		x.add(h, effect{kind: effectReport, key: "report:" + x.ref(h) + ":" + strconv.Itoa(h.Reports) + ":" + digest, text: text, digest: digest})
	}
}

// planComments tells on the pull requests that it carries. The newest alone mentions
// who is missing.
func (x *deployDoor) planComments(ctx context.Context, h *heldData) error {
	if h.Attempt != x.data.Attempt || h.Decision.Observe {
		return nil
	}
	begin := h.asks()
	for i, n := range h.Pulls[:min(len(h.Pulls), maxCarriedPulls)] {
		old, told := h.Comments[n]
		if !begin && !told || h.Refused[effectComment] >= maxRefused {
			continue
		}
		key := fmt.Sprintf("%d#%d:%s", x.f.at.id, n, strings.ToLower(h.Environment))
		at, err := x.g.cfg.Store.Happened(ctx, "commented", key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		commented := err == nil
		if !told && (commented && x.g.cfg.Now().Sub(at) < commentPause || slices.Contains(x.comments, key)) {
			// Another one comments at this moment: what it makes cannot be found yet.
			x.lookIn(commentPause)
			continue
		}
		text := x.commentText(h, i == 0)
		if digest := short(text); digest != old.Digest {
			x.add(h, effect{
				kind: effectComment, key: "comment:" + x.ref(h) + ":" + strconv.Itoa(n) + ":" + digest, pull: n, text: text, digest: digest, comment: old.ID,
				marker: deployMarker(h.Environment), search: !told && commented,
			})
			if !told && !commented {
				x.comments = append(x.comments, key)
			}
		}
	}
	return nil
}

// commentPause is how long another run's first comment on a pull request is waited for.
const commentPause = 10 * time.Second

// outcome is what became of what was released: success only if every job of it
// succeeded, by GitHub's list of jobs.
func (x *deployDoor) outcome(h *heldData) {
	outcome, at := store.Success, time.Time{}
	if h.Attempt != x.data.Attempt {
		// Another attempt began before it was seen to end.
		x.end(h, "unknown", x.g.cfg.Now())
		return
	}
	for _, id := range h.Jobs {
		j := x.f.job(id)
		if j == nil || j.Status != "completed" {
			return
		}
		if j.Conclusion != "success" && outcome == store.Success {
			outcome = j.Conclusion
		}
		if j.CompletedAt.After(at) {
			at = j.CompletedAt
		}
	}
	if at.IsZero() {
		at = x.g.cfg.Now()
	}
	x.end(h, outcome, at)
}

// end keeps what became of what was released: what the next deployment is counted from
// hangs on it.
func (x *deployDoor) end(h *heldData, outcome string, at time.Time) {
	h.Ended = true
	x.ended = append(x.ended, ended{h, outcome, at})
	x.entries = append(x.entries, ledger.Entry{Kind: ledger.KindOutcome, Time: at, Subject: x.released(h), Decision: h.ID, Payload: outcomePayload{Outcome: outcome}})
}

// watch looks for jobs that went where nothing let them.
func (x *deployDoor) watch() {
	if x.f.policies.Repository.Policy == nil || x.f.policies.Repository.Policy.Mode == rules.ModeObserve {
		return
	}
	by := x.f.run.Triggering.Login
	for _, j := range x.f.jobs {
		name := x.data.Environments[j.ID]
		// One that ended before this attempt began was not run again with it.
		before := !j.CompletedAt.IsZero() && j.CompletedAt.Before(x.f.run.StartedAt)
		if name == "" || !j.Started || before || x.data.let(j.ID) {
			continue
		}
		h := x.heldJob(j.ID)
		key := fmt.Sprintf("%d/%d/%d/%s", x.f.at.id, x.f.run.ID, j.ID, strings.ToLower(name))
		switch {
		case h != nil && h.Rule && (j.Status != "completed" || j.Conclusion != "cancelled"):
			x.alerts = append(x.alerts, raised{key: "started:" + key, environment: name, reason: rules.StartedPast(name, by, x.f.run.HeadSHA), url: x.f.run.URL})
		case h != nil && h.Rule:
		case j.Status == "completed" && j.Conclusion == "success" && x.gated(name):
			x.alerts = append(x.alerts, raised{key: "unreleased:" + key, environment: name, reason: rules.CompletedUnreleased(name, j.Conclusion, by, x.f.run.HeadSHA), url: x.f.run.URL})
		}
	}
}

func (x *deployDoor) gated(environment string) bool {
	p := x.f.policies
	return p.Repository.Policy.Gated(environment) || p.Floor.Policy != nil && p.Floor.Policy.Gated(environment)
}

func (x *deployDoor) heldJob(id rules.CheckRunID) *heldData {
	for _, h := range x.data.Held {
		if h.Attempt == x.data.Attempt && slices.Contains(h.Jobs, id) {
			return h
		}
	}
	return nil
}

// raise keeps an alert about a held deployment.
func (x *deployDoor) raise(h *heldData, kind string, r rules.Reason) {
	x.alerts = append(x.alerts, raised{key: kind + ":" + x.ref(h), environment: h.Environment, attempt: h.Attempt, reason: r, url: x.f.run.URL})
}

// record writes what belongs into the transaction of the decisions: releases, what
// they spend, outcomes, and who has to be told.
func (x *deployDoor) record(tx *store.Tx) error {
	now := x.g.cfg.Now()
	for _, r := range x.releases {
		if err := tx.Release(r.Release); err != nil {
			return err
		}
		for _, id := range r.facts {
			// An approval is spent once.
			if err := tx.Once("word", strconv.FormatInt(id, 10), now); err != nil {
				return err
			}
		}
	}
	for _, e := range x.ended {
		err := tx.EndRelease(x.f.at.id, e.held.Environment, x.f.run.ID, e.held.Attempt, e.held.Turn, e.outcome, e.at)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	for _, l := range x.finished {
		if err := ignoreGone(tx.RevokeLease(l.ID, "its job has ended", now)); err != nil {
			return err
		}
	}
	for _, key := range x.comments {
		if err := tx.Once("commented", key, now); err != nil {
			return fmt.Errorf("another run comments too: %w", err) // it is looked at again
		}
	}
	for _, m := range x.marks {
		if err := tx.Mark(m, now); err != nil {
			return err
		}
	}
	for _, h := range x.data.Held {
		if h.asks() && !h.Decision.Observe {
			if err := x.g.notify(tx, x.f.at, x.f.policies, "waits:"+x.ref(h), x.waitsMessage(h)); err != nil {
				return err
			}
		}
	}
	return nil
}

// overtaken marks what else is held at the environments of what ended well: it may be
// behind now.
func (g *Gate) overtaken(ctx context.Context, at *place, run rules.RunID, list []ended) ([]rules.Mark, error) {
	list = slices.DeleteFunc(slices.Clone(list), func(e ended) bool { return e.outcome != store.Success })
	if len(list) == 0 {
		return nil, nil
	}
	all, err := g.heldRuns(ctx, at)
	if err != nil {
		return nil, err
	}
	var out []rules.Mark
	for _, m := range all {
		if m.Key.Number == int64(run) {
			continue
		}
		var data runData
		if err := g.subject(ctx, m.Key, &data); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(data.Held, func(h *heldData) bool {
			return slices.ContainsFunc(list, func(e ended) bool { return strings.EqualFold(e.held.Environment, h.Environment) })
		}) {
			out = append(out, m)
		}
	}
	return out, nil
}

// heldRuns marks the runs of a repository in which something is held.
func (g *Gate) heldRuns(ctx context.Context, at *place) ([]rules.Mark, error) {
	marks, err := g.heldIn(ctx, map[rules.RepositoryID]store.Repository{at.id: {ID: at.id, Installation: at.installation.ID, FullName: at.fullName}})
	marks = slices.DeleteFunc(marks, func(m rules.Mark) bool { return m.Key.Kind != rules.WorkRun })
	for i := range marks {
		marks[i].Priority = rules.PriorityDoor
	}
	return marks, err
}

// done takes over what an effect made.
func (x *deployDoor) done(e effect, kind string, result effectResult) {
	if e.held == nil {
		return
	}
	var h *heldData
	for _, o := range x.data.Held {
		if o.Attempt == e.held.attempt && o.Turn == e.held.turn && o.Rule == e.held.rule && o.Environment == e.held.environment {
			h = o
		}
	}
	if h == nil {
		return
	}
	switch kind {
	case effectAnswer:
		h.Answered = e.held.state
	case effectRerun:
		h.Rerun = e.held.job
	case effectCheck:
		// What was pressed before its check run was known counts from now on.
		x.pressed = x.pressed || e.held.tried && result.Check != h.Check
		h.Check, h.Digest, h.Conclusion, h.Rerequest = result.Check, e.digest, e.check.Conclusion, max(h.Rerequest, e.held.asked)
		h.CheckTurn++
	case effectReport:
		h.Reports, h.Reported = h.Reports+1, e.digest
	case effectComment:
		if h.Comments == nil {
			h.Comments = map[int]commentData{}
		}
		h.Comments[e.pull] = commentData{ID: result.Comment, Digest: e.digest}
	case effectRefused:
		if h.Refused == nil {
			h.Refused = map[string]int{}
		}
		h.Refused[result.Kind]++
	}
}

// cutRunes is the first runes of a text, marked as cut where it was.
func cutRunes(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
