package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// runData is what is kept of a workflow run between looks. It is stored: members may
// be added.
type runData struct {
	Attempt int       `json:"attempt"`
	SHA     rules.SHA `json:"sha"`
	// Branch is the short name of the branch or tag that it runs on.
	Branch string `json:"branch,omitzero"`
	// Inputs are those of a dispatched run, once GitHub's own record told them.
	Inputs *rules.Inputs `json:"inputs,omitzero"`
	// Environments are those of the jobs, by job.
	Environments map[rules.CheckRunID]string `json:"environments,omitzero"`
	// Held are the deployments that are or were held in the present attempt, and those
	// of the attempts before whose check run still has to be closed.
	Held []*heldData `json:"held,omitzero"`
	// Asked is when and how often GitHub was asked to confirm a fact.
	Asked map[int64]asked `json:"asked,omitzero"`
	// Carried are approvals for the next attempt, which we started ourselves because
	// the job had stopped waiting.
	Carried []carried `json:"carried,omitzero"`
}

// asked is when GitHub was last asked to confirm a fact, and how often.
type asked struct {
	At    time.Time `json:"at"`
	Times int       `json:"times"`
}

// The states of a held deployment. They are stored: they may be added to and never
// changed.
const (
	heldWaiting  = "waiting"
	heldReleased = "released"
	heldRejected = "rejected"
	// heldOver waits no more: its jobs went on without us, or ended.
	heldOver = "over"
)

// heldData is one deployment: the jobs of one attempt that are held together at one
// environment.
type heldData struct {
	Environment string `json:"environment"`
	Attempt     int    `json:"attempt"`
	// Turn counts how often the attempt was held there, from 1.
	Turn  int    `json:"turn"`
	State string `json:"state"`
	// Rule says that our protection rule holds the jobs, else the action's gate does.
	// Enabled says that the rule was seen to be enabled there.
	Rule    bool               `json:"rule,omitzero"`
	Enabled bool               `json:"enabled,omitzero"`
	Jobs    []rules.CheckRunID `json:"jobs"`
	Since   time.Time          `json:"since"`

	Decision rules.Decision `json:"decision"`
	ID       string         `json:"id,omitzero"`
	// Name is what an approval binds to: see [rules.HoldName].
	Name string `json:"name,omitzero"`
	// Answered is what GitHub took as our answer.
	Answered string `json:"answered,omitzero"`
	// Rerun is the job that was run again after the approval.
	Rerun rules.CheckRunID `json:"rerun,omitzero"`
	// Ended says that the outcome of what was released is on record.
	Ended bool `json:"ended,omitzero"`

	// Check is our check run, Digest of what it says. Tried says that GitHub was asked
	// to make one: it may be there although no answer came.
	Check      rules.CheckRunID `json:"check,omitzero"`
	Tried      bool             `json:"tried,omitzero"`
	Digest     string           `json:"digest,omitzero"`
	Conclusion string           `json:"conclusion,omitzero"`
	CheckTurn  int              `json:"check_turn,omitzero"`
	Rerequest  int64            `json:"rerequest,omitzero"`
	// Reports counts the status reports that GitHub took, Reported is the last one's
	// digest.
	Reports  int    `json:"reports,omitzero"`
	Reported string `json:"reported,omitzero"`
	// Comments are ours on the pull requests that it carries, by number.
	Comments map[int]commentData `json:"comments,omitzero"`
	Refused  map[string]int      `json:"refused,omitzero"`

	Range rangeData `json:"range,omitzero"`
	// On is the branch that the commit was found on, and OnHead where that stood.
	On     string    `json:"on,omitzero"`
	OnHead rules.SHA `json:"on_head,omitzero"`
	// Pulls are the pull requests that it carries, the newest first.
	Pulls []int `json:"pulls,omitzero"`
	Shown shown `json:"shown,omitzero"`
}

// asks reports whether it waits for a person who can end it.
func (h *heldData) asks() bool {
	return h.State == heldWaiting && h.Decision.Verdict == rules.VerdictWait && h.Decision.NeedsHuman()
}

type commentData struct {
	ID     int64  `json:"id"`
	Digest string `json:"digest"`
}

// carried are the approvals of a job that stopped waiting, for the attempt that we
// started in its place.
type carried struct {
	Environment string           `json:"environment"`
	Attempt     int              `json:"attempt"` // the new one
	Job         rules.CheckRunID `json:"job"`     // the old one
	Approvals   []rules.Approval `json:"approvals"`
	// Bound is what they were given for: see [deployDoor.bound].
	Bound string `json:"bound"`
	// Used says that a job of that attempt was released by them.
	Used bool `json:"used,omitzero"`
}

// open reports whether something still has to be looked at.
func (d *runData) open() bool {
	return slices.ContainsFunc(d.Held, func(h *heldData) bool {
		return h.State == heldWaiting || h.State == heldReleased && !h.Ended || d.rerunnable(h)
	})
}

// rerunnable reports whether a job that stopped waiting was approved and is still to
// be run again.
func (d *runData) rerunnable(h *heldData) bool {
	return !h.Rule && h.State == heldReleased && h.Ended && h.Rerun == 0 && h.Attempt == d.Attempt && len(h.Jobs) == 1 && h.Refused[effectRerun] < maxRefused &&
		slices.ContainsFunc(d.Carried, func(c carried) bool { return c.Job == h.Jobs[0] && c.Attempt == h.Attempt+1 })
}

// kept is what is stored: what a deployment brings is not, once it was decided or where
// it is too much.
func (d *runData) kept() *runData {
	out := *d
	out.Held = make([]*heldData, len(d.Held))
	for i, h := range d.Held {
		c := *h
		over := h.State != heldWaiting && (h.State != heldReleased || h.Ended)
		if over || len(h.Range.Commits) > maxKept {
			c.Range = rangeData{Base: h.Range.Base, Kind: h.Range.Kind}
		}
		out.Held[i] = &c
	}
	return &out
}

// last is the newest turn of an environment in the present attempt, or nil.
func (d *runData) last(environment string, rule bool) *heldData {
	var out *heldData
	for _, h := range d.Held {
		if h.Attempt == d.Attempt && h.Rule == rule && strings.EqualFold(h.Environment, environment) && (out == nil || h.Turn > out.Turn) {
			out = h
		}
	}
	return out
}

// turns is how often an environment was held in the present attempt.
func (d *runData) turns(environment string) int {
	n := 0
	for _, h := range d.Held {
		if h.Attempt == d.Attempt && strings.EqualFold(h.Environment, environment) {
			n = max(n, h.Turn)
		}
	}
	return n
}

// released reports whether a job may go on by some release of this attempt.
func (d *runData) released(job rules.CheckRunID) bool {
	return slices.ContainsFunc(d.Held, func(h *heldData) bool {
		return h.Attempt == d.Attempt && h.State == heldReleased && slices.Contains(h.Jobs, job)
	})
}

// let reports whether a job was let through in any attempt.
func (d *runData) let(job rules.CheckRunID) bool {
	return slices.ContainsFunc(d.Held, func(h *heldData) bool { return h.State == heldReleased && slices.Contains(h.Jobs, job) })
}

func runKey(repository rules.RepositoryID, run rules.RunID) rules.WorkKey {
	return rules.WorkKey{Kind: rules.WorkRun, Repository: repository, Number: int64(run)}
}

// Runs reports whether a run is known: something was held in it, or asked to be. The
// end of any other is of no concern.
func (g *Gate) Runs(ctx context.Context, repository rules.RepositoryID, run rules.RunID) bool {
	_, err := g.cfg.Store.Subject(ctx, runKey(repository, run))
	if !errors.Is(err, store.ErrNotFound) {
		return true
	}
	holds, err := g.cfg.Store.HoldsOf(ctx, repository, run)
	return err != nil || len(holds) > 0
}

// runFacts are the facts about one run at one moment.
type runFacts struct {
	at       *place
	run      github.Run
	jobs     []github.Job
	place    github.DeployPlace
	policies rules.Policies
	read     time.Time // before the first request
}

func (f *runFacts) job(id rules.CheckRunID) *github.Job {
	for i := range f.jobs {
		if f.jobs[i].ID == id {
			return &f.jobs[i]
		}
	}
	return nil
}

// run looks at one workflow run: the deploy door.
func (g *Gate) run(ctx context.Context, work store.Work, at *place) error {
	var data runData
	if err := g.subject(ctx, work.Key, &data); err != nil {
		return err
	}
	gates, err := g.cfg.Store.HoldsOf(ctx, at.id, rules.RunID(work.Key.Number))
	if err != nil {
		return err
	}
	f := &runFacts{at: at, read: g.cfg.Now()}
	err = g.readRun(ctx, f, rules.RunID(work.Key.Number), &data)
	switch {
	case errors.Is(err, github.ErrNotFound):
		// Deleted, transferred, or never of this repository.
		if err := g.renamed(ctx, at); err != nil {
			return err
		}
		return g.leave(ctx, work, data.planned(at.id, rules.RunID(work.Key.Number)), "GitHub shows the run no more", func(tx *store.Tx) error { return tx.ForgetSubject(work.Key) })
	case err != nil:
		return err
	case f.run.Repository != at.id:
		return g.moved(ctx, at, f.run.Repository)
	case f.run.Attempt < data.Attempt:
		return fmt.Errorf("GitHub shows attempt %d of run %d, which is older than attempt %d", f.run.Attempt, f.run.ID, data.Attempt)
	}
	seen, err := g.repositoryData(ctx, at.id)
	if err != nil {
		return err
	}
	if f.policies, err = g.policiesOf(ctx, at, seen.Files[rules.PolicyPath].State); err != nil {
		return err
	}
	return g.lookAtRun(ctx, work, f, &data, gates)
}

// readRun reads a run, its jobs and where it stands: one after the other the first
// time, and together once it is known where it runs.
func (g *Gate) readRun(ctx context.Context, f *runFacts, id rules.RunID, data *runData) error {
	all, one := errgroup.WithContext(ctx)
	if data.Branch == "" {
		all.SetLimit(1)
	}
	var jobs github.Jobs
	var place github.DeployPlace
	all.Go(func() (err error) {
		if f.run, err = f.at.Run(one, id); err != nil {
			return fmt.Errorf("reading run %d: %w", id, err)
		}
		return nil
	})
	all.Go(func() (err error) {
		if jobs, err = f.at.Jobs(one, id); err != nil {
			return fmt.Errorf("reading the jobs of run %d: %w", id, err)
		}
		return nil
	})
	if data.Branch != "" {
		all.Go(func() (err error) {
			place, err = f.at.DeployPlace(one, data.Branch, data.SHA, id)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	for _, j := range jobs.List {
		if j.Attempt == 0 || j.Attempt == f.run.Attempt {
			f.jobs = append(f.jobs, j)
		}
	}
	if f.place = place; data.Branch != f.run.HeadBranch || data.SHA != f.run.HeadSHA {
		var err error
		if f.place, err = f.at.DeployPlace(ctx, f.run.HeadBranch, f.run.HeadSHA, id); err != nil {
			return fmt.Errorf("reading what stands at %s: %w", f.run.HeadSHA.Short(), err)
		}
	}
	return nil
}

// lookAtRun brings what is known of a run up to date, judges what is held, and acts.
func (g *Gate) lookAtRun(ctx context.Context, work store.Work, f *runFacts, data *runData, gates []store.Hold) error {
	known := len(data.Held) > 0
	if err := g.gather(ctx, f, data, gates); err != nil {
		return err
	}
	door := &deployDoor{g: g, f: f, data: data}
	var err error
	if err := door.leases(ctx); err != nil {
		return err
	}
	for _, h := range data.Held {
		if h.State != heldWaiting {
			continue
		}
		if ours, err := door.ours(ctx, h); err != nil {
			return err
		} else if !ours {
			h.State = heldOver
			continue
		}
		if err := door.judge(ctx, h); err != nil {
			return err
		}
	}
	if err := door.plan(ctx); err != nil {
		return err
	}
	if !known && len(data.Held) == 0 && len(door.alerts)+len(door.finished) == 0 {
		return g.noConcern(ctx, work, f)
	}
	if door.marks, err = g.overtaken(ctx, f.at, f.run.ID, door.ended); err != nil {
		return err
	}
	for i := range door.alerts {
		a := &door.alerts[i]
		a.run, a.attempt = f.run.ID, cmp.Or(a.attempt, f.run.Attempt)
	}
	alerts, tell, err := g.raise(ctx, f.at, f.policies, door.alerts)
	if err != nil {
		return err
	}
	t := task{
		g: g, at: f.at, work: work, head: f.run.HeadSHA, plan: door.pl, entries: append(door.entries, alerts...),
		judged: judged{subject: ledger.Subject{Repository: f.at.id, SHA: f.run.HeadSHA, Run: f.run.ID, Attempt: f.run.Attempt}},
		more:   door.judged, planned: data.planned(f.at.id, f.run.ID),
		also: func(tx *store.Tx) error {
			if err := tell(tx); err != nil {
				return err
			}
			return door.record(tx)
		},
		save: func(tx *store.Tx) error { return g.setSubject(tx, work.Key, data.SHA, data.open(), data.kept()) },
		done: door.done,
		after: func(tx *store.Tx) error {
			if !door.pressed {
				return nil
			}
			return tx.Mark(g.markAt(f.at, work.Key, rules.PriorityDoor), g.cfg.Now())
		},
	}
	return t.run(ctx)
}

// GitHub's answers lag behind its events.
const (
	// lag is how long a job of a run that just began may be shown as queued although
	// it is held.
	lag = 40 * time.Second
	// settled is how long what cannot become right is looked at again before it is
	// rejected, which is for good: a branch may not show yet what was just pushed.
	settled = 20 * time.Second
	// relag is when to look again.
	relag = 10 * time.Second
)

// noConcern ends work on a run in which nothing is held. One that just began may be
// held in a moment.
func (g *Gate) noConcern(ctx context.Context, work store.Work, f *runFacts) error {
	begun := slices.ContainsFunc(f.jobs, func(j github.Job) bool { return j.Status != "completed" && j.Status != "in_progress" })
	if age := g.cfg.Now().Sub(f.run.StartedAt); !begun || age < 0 || age > lag {
		return g.cfg.Store.Done(ctx, work.Key, work.Lease)
	}
	return g.finish(ctx, work, func(tx *store.Tx) error {
		m := g.markAt(f.at, work.Key, work.Priority)
		m.Due = g.cfg.Now().Add(relag)
		return tx.Mark(m, g.cfg.Now())
	})
}

// gather brings what is held up to date with what GitHub shows.
func (g *Gate) gather(ctx context.Context, f *runFacts, data *runData, gates []store.Hold) error {
	now := g.cfg.Now()
	if data.Attempt != f.run.Attempt {
		for _, h := range data.Held {
			if h.State == heldWaiting {
				h.State = heldOver
			}
		}
		data.Attempt, data.Environments = f.run.Attempt, nil
	}
	data.SHA, data.Branch = f.run.HeadSHA, f.run.HeadBranch
	if data.Environments == nil {
		data.Environments = map[rules.CheckRunID]string{}
	}
	for id, name := range f.place.Environments {
		if f.job(id) != nil {
			data.Environments[id] = name
		}
	}
	byRule, err := g.waiting(ctx, f, data)
	if err != nil {
		return err
	}
	byGate := map[string][]rules.CheckRunID{}
	for _, x := range gates {
		// GitHub signed the token that said so; that the job is one of the run's present
		// attempt is asked of GitHub all the same.
		named, known := f.place.Environments[x.Job]
		if j := f.job(x.Job); x.Attempt == data.Attempt && x.SHA == data.SHA && j != nil && (!known || strings.EqualFold(named, x.Environment)) {
			data.Environments[x.Job] = x.Environment
			if !data.released(x.Job) && f.mayGoOn(x.Job) {
				byGate[x.Environment] = append(byGate[x.Environment], x.Job)
			}
		}
	}
	for _, h := range data.Held {
		if h.State != heldWaiting {
			continue
		}
		if h.Rule && !slices.ContainsFunc(h.Jobs, func(id rules.CheckRunID) bool { return slices.Contains(byRule[h.Environment], id) }) {
			h.State = heldOver
		}
		if !h.Rule && !slices.ContainsFunc(h.Jobs, func(id rules.CheckRunID) bool { return f.mayGoOn(id) }) {
			h.State = heldOver
		}
	}
	for rule, all := range map[bool]map[string][]rules.CheckRunID{true: byRule, false: byGate} {
		for name, jobs := range all {
			g.hold(data, name, rule, jobs, now)
		}
	}
	slices.SortStableFunc(data.Held, func(a, b *heldData) int {
		if d := a.Attempt - b.Attempt; d != 0 {
			return d
		}
		if d := strings.Compare(a.Environment, b.Environment); d != 0 {
			return d
		}
		return a.Turn - b.Turn
	})
	return nil
}

// mayGoOn reports whether a job that asked the gate still runs, or failed and can be
// run again.
func (f *runFacts) mayGoOn(id rules.CheckRunID) bool {
	j := f.job(id)
	return j != nil && (j.Status != "completed" || j.Conclusion == "failure")
}

// waiting are the jobs that GitHub holds, by environment as it is spelt first.
func (g *Gate) waiting(ctx context.Context, f *runFacts, data *runData) (map[string][]rules.CheckRunID, error) {
	out := map[string][]rules.CheckRunID{}
	spelt := func(name string) string {
		for _, h := range data.Held {
			if strings.EqualFold(h.Environment, name) {
				return h.Environment
			}
		}
		for s := range out {
			if strings.EqualFold(s, name) {
				return s
			}
		}
		return name
	}
	var unknown []rules.CheckRunID
	for _, j := range f.jobs {
		if j.Status != "waiting" {
			continue
		}
		if name := data.Environments[j.ID]; name != "" {
			out[spelt(name)] = append(out[spelt(name)], j.ID)
			continue
		}
		unknown = append(unknown, j.ID)
	}
	if len(unknown) == 0 {
		return out, nil
	}
	pending, err := f.at.Pending(ctx, f.run.ID)
	if err != nil {
		return nil, fmt.Errorf("reading what run %d waits for: %w", f.run.ID, err)
	}
	for _, p := range pending {
		// Which of them waits there is not known: each may.
		if len(pending) == 1 || out[spelt(p.Environment)] == nil {
			out[spelt(p.Environment)] = append(out[spelt(p.Environment)], unknown...)
		}
	}
	return out, nil
}

// hold begins a new turn for jobs that no turn has, or brings the one that waits up to
// date.
func (g *Gate) hold(data *runData, environment string, rule bool, jobs []rules.CheckRunID, now time.Time) {
	slices.Sort(jobs)
	h := data.last(environment, rule)
	if h != nil && h.State == heldWaiting {
		h.Jobs = jobs
		return
	}
	if h != nil && h.State != heldOver {
		// What was answered may wait for another rule still.
		jobs = slices.DeleteFunc(slices.Clone(jobs), func(id rules.CheckRunID) bool { return slices.Contains(h.Jobs, id) })
	}
	if len(jobs) == 0 {
		return
	}
	data.Held = append(data.Held, &heldData{
		Environment: environment, Attempt: data.Attempt, Turn: data.turns(environment) + 1, State: heldWaiting, Rule: rule, Jobs: jobs, Since: now,
	})
}

// deployDoor judges and plans for what is held in one run.
type deployDoor struct {
	g    *Gate
	f    *runFacts
	data *runData

	judged []judged
	about  map[*heldData]int // 1 for the first of judged
	pl     plan
	alerts []raised
	// entries say in the ledger what was released and what became of it.
	entries []ledger.Entry
	// releases are written with the decisions that they follow from.
	releases []release
	ended    []ended
	marks    []rules.Mark
	// finished are leases of jobs that run no more.
	finished []store.Lease
	// comments are the pull requests and environments that are commented on.
	comments []string
	// again is what was released, where it is judged once more.
	again map[*heldData]once
	// pressed says that a check run was found which somebody may have pressed already.
	pressed bool
	// used are the words that a release would spend.
	used map[*heldData][]word
}

// refKind says whether the run's ref is a branch or a tag. A tag of a branch's name
// looks like the branch: then it is neither.
func (f *runFacts) refKind() rules.RefType {
	branch, tag := f.place.Branch != "", f.place.Tag != ""
	switch {
	case f.run.HeadRepository != f.at.id || branch == tag:
		return ""
	case branch:
		return rules.RefBranch
	default:
		return rules.RefTag
	}
}

// ours reports whether a job that GitHub holds is held by our rule. It may wait for
// somebody else's, or for a timer.
func (x *deployDoor) ours(ctx context.Context, h *heldData) (bool, error) {
	if !h.Rule || h.Enabled {
		return true, nil
	}
	enabled, err := x.f.at.RuleEnabled(ctx, h.Environment)
	switch {
	case errors.Is(err, github.ErrNotFound), errors.Is(err, github.ErrForbidden):
		return true, nil // not told: an answer will show
	case err != nil:
		return false, fmt.Errorf("reading the rules of environment %q: %w", h.Environment, err)
	}
	if h.Enabled = enabled; !enabled && x.f.policies.Repository.Policy != nil && x.gated(h.Environment) {
		x.alerts = append(x.alerts, raised{
			key: fmt.Sprintf("unheld:%d:%s", x.f.at.id, strings.ToLower(h.Environment)), environment: h.Environment, reason: rules.RuleMissing(h.Environment), url: x.f.run.URL,
		})
	}
	return enabled, nil
}

// judge judges one held deployment and keeps what follows.
func (x *deployDoor) judge(ctx context.Context, h *heldData) error {
	d, out, err := x.decide(ctx, h)
	if err != nil {
		return err
	}
	return x.judgedAs(h, d, x.f.policies, out)
}

// decide decides about a held deployment. It begins with what is known anyway and asks
// for more only where the decision says that it hangs on it.
func (x *deployDoor) decide(ctx context.Context, h *heldData) (*rules.Deployment, rules.Decision, error) {
	g, f := x.g, x.f
	policies := f.policies
	d := &rules.Deployment{
		Repository: rules.Repository{ID: f.at.id, FullName: f.at.fullName}, Environment: h.Environment, SHA: f.run.HeadSHA, Ref: f.run.HeadBranch,
		RefType: f.refKind(), Event: f.run.Event, Run: f.run.ID, Attempt: h.Attempt, Jobs: len(h.Jobs), Dispatcher: f.run.Actor,
		DefaultBranch: f.place.DefaultBranch, Now: g.cfg.Now(), Basis: rules.Observed,
	}
	if again, released := x.again[h]; released {
		d.Now = again.at
	}
	if h.Attempt > 1 {
		d.Rerunner = f.run.Triggering
	}
	var asked struct{ branches, ranged, inputs, people bool }
	const rounds = 8
	var out rules.Decision
	for range rounds {
		out = rules.DecideDeployment(policies, d)
		switch {
		case !asked.inputs && has(out, codeInputsUnknown):
			asked.inputs = true
			if err := g.inputs(ctx, f, x.data); err != nil {
				return d, out, err
			}
			if x.data.Inputs != nil {
				d.Inputs = *x.data.Inputs
			}
		case out.Verdict == rules.VerdictDeny && !asked.people:
			return d, out, nil // it cannot become right
		case !asked.branches && has(out, codeBranchesUnknown):
			asked.branches = true
			if err := x.branches(ctx, h, d); err != nil {
				return d, out, err
			}
		case !asked.ranged && has(out, codeRangeUnknown):
			asked.ranged = true
			if err := x.ranged(ctx, h, d); err != nil {
				return d, out, err
			}
		case !asked.people && asked.ranged:
			// Who spoke counts only with what they were shown, which is known now.
			asked.people = true
			h.Name = x.name(h)
			if err := x.words(ctx, h, d, policies); err != nil {
				return d, out, err
			}
		default:
			return d, out, nil
		}
	}
	return d, out, nil
}

// judgedAs keeps a decision.
func (x *deployDoor) judgedAs(h *heldData, d *rules.Deployment, policies rules.Policies, out rules.Decision) error {
	h.Name = x.name(h)
	x.shows(h, d, policies, out)
	old := h.ID
	h.Decision = out
	h.ID = decisionID(runKey(x.f.at.id, x.f.run.ID), rules.SHA(h.Name), policies, out)
	x.decidedAs(h, judged{old: old, id: h.ID, decision: out, policies: policies, subject: x.subject(h)})
	x.g.cfg.Log.Info("judged", slog.String("subject", runKey(x.f.at.id, x.f.run.ID).String()), slog.String("repository", x.f.at.fullName), slog.Int64("run", int64(x.f.run.ID)), slog.Int("attempt", h.Attempt),
		slog.String("environment", h.Environment), slog.String("sha", string(x.f.run.HeadSHA)), slog.String("verdict", string(out.Verdict)), slog.String("decision", h.ID))
	return x.verdict(h, d, out)
}

// decidedAs keeps the decision that the effects of a held deployment follow from.
func (x *deployDoor) decidedAs(h *heldData, j judged) {
	if x.about == nil {
		x.about = map[*heldData]int{}
	}
	x.judged = append(x.judged, j)
	x.about[h] = len(x.judged)
}

func (x *deployDoor) subject(h *heldData) ledger.Subject {
	return ledger.Subject{Repository: x.f.at.id, SHA: x.f.run.HeadSHA, Run: x.f.run.ID, Attempt: h.Attempt, Environment: h.Environment}
}

// bound is what an approval of a deployment binds to beside the run and its jobs: the
// environment, the commit, what it brings and the inputs.
func (x *deployDoor) bound(h *heldData) string {
	inputs := ""
	if x.data.Inputs != nil {
		inputs = x.data.Inputs.Digest
	}
	return strings.Join([]string{strings.ToLower(h.Environment), string(x.f.run.HeadSHA), string(h.Range.Base), string(h.Range.Kind), inputs}, "\n")
}

// name is what an approval of a held deployment binds to.
func (x *deployDoor) name(h *heldData) string {
	jobs := make([]string, len(h.Jobs))
	for i, id := range h.Jobs {
		jobs[i] = fmt.Sprint(id)
	}
	return rules.HoldName(x.f.run.ID, h.Attempt, h.Turn, short(x.bound(h)+"\n"+strings.Join(jobs, ",")))
}

// branches finds whether the commit is on a branch that may deploy.
func (x *deployDoor) branches(ctx context.Context, h *heldData, d *rules.Deployment) error {
	f := x.f
	candidates := map[string]rules.SHA{}
	switch d.RefType {
	case rules.RefBranch:
		candidates[f.run.HeadBranch] = f.place.Branch
	case rules.RefTag:
		candidates[f.place.DefaultBranch] = f.place.DefaultHead
	default:
		return nil
	}
	found, err := x.on(ctx, h, d, candidates)
	if err != nil || found || d.RefType == rules.RefBranch {
		return err
	}
	patterns := f.policies.DeployBranches(h.Environment)
	if len(patterns) == 0 {
		return nil
	}
	all, complete, err := f.at.Branches(ctx)
	if err != nil {
		return fmt.Errorf("listing the branches: %w", err)
	}
	few := map[string]rules.SHA{}
	for name, head := range all {
		if name != f.place.DefaultBranch && rules.MatchesRef(patterns, name) {
			few[name] = head
		}
	}
	if len(few) > maxBranches || !complete {
		d.OnBranches = nil // not all of them were asked: it stays unknown
		return nil
	}
	_, err = x.on(ctx, h, d, few)
	return err
}

// maxBranches is how many branches are asked whether a tagged commit is on them.
const maxBranches = 20

func (x *deployDoor) on(ctx context.Context, h *heldData, d *rules.Deployment, candidates map[string]rules.SHA) (bool, error) {
	if d.OnBranches == nil {
		d.OnBranches = []string{}
	}
	for name, head := range candidates {
		if !head.Valid() {
			continue
		}
		yes := h.On == name && h.OnHead == head
		if !yes {
			var err error
			if yes, err = x.f.at.Contains(ctx, head, d.SHA); err != nil {
				return false, fmt.Errorf("asking whether %s is on %q: %w", d.SHA.Short(), name, err)
			}
		}
		if yes {
			h.On, h.OnHead = name, head
			d.OnBranches = append(d.OnBranches, name)
			return true, nil
		}
	}
	if h.On != "" {
		// It was on a branch when it was held.
		x.raise(h, "rewritten", rules.Rewritten(h.Environment, d.SHA))
		h.On, h.OnHead = "", ""
	}
	return false, nil
}

// ranged reads what the deployment brings.
func (x *deployDoor) ranged(ctx context.Context, h *heldData, d *rules.Deployment) error {
	branch := h.On
	if d.RefType == rules.RefBranch {
		branch = d.Ref
	}
	if err := x.g.rangeOf(ctx, x.f.at, h.Environment, branch, d.SHA, &h.Range); err != nil {
		return err
	}
	r := &h.Range
	commits, err := github.Brought(r.Commits, r.Branch, x.f.at.id, func(p github.PullOf) (github.Passage, error) { return x.g.passage(ctx, x.f.at, p) })
	if err != nil {
		return err
	}
	d.Range = rules.Range{Kind: r.Kind, Base: r.Base, Commits: commits, Complete: r.Complete, Files: r.Files, FilesComplete: r.FilesComplete}
	d.Statements = r.Statements
	h.Shown.Commits, h.Shown.Lines = len(commits), linesOf(r, commits)
	h.Pulls = nil
	for _, b := range slices.Backward(commits) {
		if b.PullRequest != 0 && !slices.Contains(h.Pulls, b.PullRequest) {
			h.Pulls = append(h.Pulls, b.PullRequest)
		}
	}
	return nil
}
