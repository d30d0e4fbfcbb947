package gate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// pullData is what is kept of a pull request between looks. It is stored: members
// may be added.
type pullData struct {
	Number int    `json:"number"`
	State  string `json:"state"`
	Base   string `json:"base,omitzero"`
	// Decision is the last one about Head, ID its id in the ledger.
	Head     rules.SHA      `json:"head,omitzero"`
	Decision rules.Decision `json:"decision"`
	ID       string         `json:"id,omitzero"`
	// Turn counts the decisions, so that what was done for one of them can be done
	// again for a later one that says the same.
	Turn int `json:"turn,omitzero"`
	// Policy is the digest of the repository's policy that it was judged under, ""
	// if none was in force.
	Policy string `json:"policy,omitzero"`
	// Floor is that of the organisation's floor.
	Floor string `json:"floor,omitzero"`
	// Approvers are those whose approval counts.
	Approvers []rules.Actor `json:"approvers,omitzero"`
	// Annotations are what is wrong in a policy that the pull request brings, on its
	// lines.
	Annotations []github.Annotation `json:"annotations,omitzero"`
	Readings    readings            `json:"readings,omitzero"`
	// Comment is our comment's id and Comments the digest of what it says.
	Comment   int64  `json:"comment,omitzero"`
	Commented string `json:"commented,omitzero"`
	// Names are those that reviewers have now, by the other one that the policy has.
	Names map[string]rules.Reviewer `json:"names,omitzero"`
	// Refused counts, by kind, the effects that GitHub refused at this head, the last of
	// them at RefusedAt.
	Refused   map[string]int `json:"refused,omitzero"`
	RefusedAt time.Time      `json:"refused_at,omitzero"`
	// Unseen counts the looks that found none, before the first that found one.
	Unseen int `json:"unseen,omitzero"`
	// Behind is since when nothing is judged, for GitHub shows it as it was before an
	// event.
	Behind time.Time `json:"behind,omitzero"`
	// Looks counts the looks that waited for GitHub to find the pull request
	// mergeable.
	Looks int `json:"looks,omitzero"`

	MergeCommit rules.SHA `json:"merge_commit,omitzero"`
	// Read is when GitHub was asked for what it was judged by.
	Read time.Time `json:"read,omitzero"`
}

// open reports whether it still waits for something.
func (d *pullData) open() bool { return d.State == "open" }

// forgive allows what GitHub refused too often one more try after a while: a permission
// may have been granted, an archive opened again.
func (d *pullData) forgive(now time.Time) {
	if now.Sub(d.RefusedAt) < letBe {
		return
	}
	for kind, n := range d.Refused {
		d.Refused[kind] = min(n, maxRefused-1)
	}
}

// waitsFor reports whether the decision rests on a check, or would: only those that the
// environments which it touches wait for are looked at. What may be merged is another
// matter, since what GitHub waits for is not told.
func (d *pullData) waitsFor(policy *rules.Policy, check string) bool {
	if policy == nil {
		return false
	}
	for _, name := range policy.EnvironmentNames() {
		if touched := d.Decision.Environments; len(touched) > 0 && !d.Decision.Merge && !slices.Contains(touched, name) {
			continue
		}
		env := policy.Environments[name]
		if env.Gate == rules.GateAuto && len(env.After) == 0 {
			return true // whatever the base branch requires
		}
		if slices.ContainsFunc(env.After, func(c rules.CheckName) bool { return c.Name == check }) {
			return true
		}
	}
	return false
}

// present is the name that a reviewer has now, as far as it is known.
func (d *pullData) present(r rules.Reviewer) rules.Reviewer {
	return cmp.Or(d.Names[r.Key()], r)
}

// learnNames takes over what the people of a change are called now whom the policies name
// otherwise: they are known by their ids.
func (d *pullData) learnNames(policies rules.Policies, c *rules.Change) {
	if d.Names == nil {
		d.Names = map[string]rules.Reviewer{}
	}
	for _, v := range []rules.PolicyVersion{policies.Repository, policies.Floor} {
		for key, id := range v.Directory.Users {
			for _, r := range append([]rules.Review{{User: c.Author}}, c.Reviews...) {
				switch {
				case r.User.ID != id || id == 0 || r.User.Login == "":
				case r.User.Login.Equal(rules.Login(key)):
					delete(d.Names, key)
				default:
					d.Names[key] = rules.Reviewer(r.User.Login)
				}
			}
		}
	}
}

func pullKey(repository rules.RepositoryID, number int) rules.WorkKey {
	return rules.WorkKey{Kind: rules.WorkPullRequest, Repository: repository, Number: int64(number)}
}

func headKey(repository rules.RepositoryID, sha rules.SHA) rules.WorkKey {
	return rules.WorkKey{Kind: rules.WorkHead, Repository: repository, SHA: sha}
}

// pull looks at one pull request.
func (g *Gate) pull(ctx context.Context, work store.Work, at *place) error {
	var old pullData
	if err := g.subject(ctx, work.Key, &old); err != nil {
		return err
	}
	p, err := at.Pull(ctx, int(work.Key.Number))
	switch {
	case errors.Is(err, github.ErrNotFound) && old.Number == 0 && old.Unseen < maxUnseen:
		return g.unseen(ctx, at, work, old)
	case errors.Is(err, github.ErrNotFound):
		return g.pullGone(ctx, work, at, old)
	case err != nil:
		return fmt.Errorf("reading pull request %d: %w", work.Key.Number, err)
	case p.Change.Repository.ID != at.id:
		return g.moved(ctx, at, p.Change.Repository.ID)
	}
	behind, err := g.behind(ctx, work.Key, &p.Change)
	if err != nil {
		return err
	}
	if old.Behind.IsZero() {
		old.Behind = g.cfg.Now()
	}
	// Not for ever, whatever is told: what has to be taken back would wait as well.
	if behind > 0 && g.cfg.Now().Sub(old.Behind) <= pullLag {
		return g.lookLater(ctx, work, at, old, behind)
	}
	data := old
	data.Unseen, data.Behind = 0, time.Time{}
	data.Number, data.State, data.Base, data.MergeCommit, data.Read = int(work.Key.Number), p.State, p.Change.Base.Ref, p.MergeCommit, p.Change.Now
	if p.State != "open" {
		return g.pullEnded(ctx, work, at, old, data)
	}
	policies, err := g.conclude(ctx, at, p, &data)
	if err != nil {
		return err
	}
	var head headData
	if p.Change.Head.SHA.Valid() {
		if err := g.subject(ctx, headKey(at.id, p.Change.Head.SHA), &head); err != nil {
			return err
		}
	}
	data.forgive(g.cfg.Now())
	data.learnNames(policies, &p.Change)
	pl := planPull(p, &data, head)
	for i := range pl.effects {
		pl.effects[i].policies, pl.effects[i].names = policies, data.Names
	}
	if left := data.Readings.again(); left > 0 && data.Decision.Verdict != rules.VerdictAllow && (pl.again == 0 || left < pl.again) {
		pl.again = left
	}
	if left := expires(policies, data.Decision, &p.Change); left > 0 && (pl.again == 0 || left < pl.again) {
		pl.again = left
	}
	g.cfg.Log.InfoContext(ctx, "judged", slog.String("repository", at.fullName), slog.Int("pull_request", data.Number),
		slog.String("sha", string(data.Head)), slog.String("verdict", string(data.Decision.Verdict)), slog.String("decision", data.ID), slog.Int("effects", len(pl.effects)))

	var left []pullData // others at the head where this one stood
	if old.Head != data.Head {
		if left, err = g.othersAt(ctx, at.id, old.Head, data.Number); err != nil {
			return err
		}
	}
	groups, err := g.groupsWith(ctx, at, p, data.Decision)
	if err != nil {
		// What is taken back of the pull request itself does not wait for it.
		g.cfg.Log.WarnContext(ctx, "the merge queue could not be read", slog.String("repository", at.fullName), slog.Int("pull_request", data.Number), slog.Any("cause", err))
		pl.again = retryRefused
	}
	seen, err := g.repositoryData(ctx, at.id)
	if err != nil {
		return err
	}
	news := p.Policy.State != 0 && seen.Files[rules.PolicyPath] != (seenFile{
		State: p.Policy.State, Blob: p.Policy.Blob, Branch: p.DefaultBranch, Refused: seen.Files[rules.PolicyPath].Refused,
	})
	t := task{
		g: g, at: at, work: work, head: p.Change.Head.SHA,
		judged: judged{old: old.ID, id: data.ID, decision: data.Decision, policies: policies, subject: pullSubject(at.id, data.Number, data.Head), approvals: approving(data.Decision, &p.Change)},
		plan:   pl, facts: p,
		also: func(tx *store.Tx) error {
			now := g.cfg.Now()
			if news {
				if err := tx.Mark(g.markAt(at, repositoryKey(at.id), rules.PriorityDoor), now); err != nil {
					return err
				}
			}
			if err := g.markLeft(tx, at, old.Head, left); err != nil {
				return err
			}
			for _, n := range p.Siblings {
				if _, err := g.siblingKnown(ctx, at, n, data.Head); errors.Is(err, store.ErrNotFound) {
					if err := tx.Mark(g.markAt(at, pullKey(at.id, n), rules.PriorityDoor), now); err != nil {
						return err
					}
				}
			}
			for _, k := range groups {
				if err := tx.Mark(g.markAt(at, k, rules.PriorityDoor), now); err != nil {
					return err
				}
			}
			if pl.check {
				if err := tx.Mark(g.markAt(at, headKey(at.id, data.Head), rules.PriorityDoor), now); err != nil {
					return err
				}
			}
			return nil
		},
		save: func(tx *store.Tx) error { return g.setSubject(tx, work.Key, data.Head, true, data) },
	}
	names := len(data.Names)
	t.done = func(_ effect, kind string, result effectResult) {
		switch kind {
		case effectRequest:
			if len(data.Names) != names && t.plan.again == 0 {
				t.plan.again = time.Second // the comment mentions them by the names before
			}
		case effectComment:
			data.Comment, data.Commented = result.Comment, result.Digest
		case effectRefused:
			if data.Refused == nil {
				data.Refused = map[string]int{}
			}
			if data.Refused[result.Kind]++; result.Forbidden {
				data.Refused[result.Kind] += maxRefused/maxForbidden - 1
			}
			data.RefusedAt = g.cfg.Now()
		}
	}
	return t.run(ctx)
}

// pullGone ends work on what was transferred, deleted, or is out of reach: nothing can be
// done to it.
func (g *Gate) pullGone(ctx context.Context, work store.Work, at *place, old pullData) error {
	if err := g.renamed(ctx, at); err != nil {
		return err
	}
	others, err := g.othersAt(ctx, at.id, old.Head, int(work.Key.Number))
	if err != nil {
		return err
	}
	return g.leave(ctx, work, plannedAs(pullSubject(at.id, int(work.Key.Number), old.Head)), "GitHub shows the pull request no more", func(tx *store.Tx) error {
		if err := g.markLeft(tx, at, old.Head, others); err != nil {
			return err
		}
		return tx.ForgetSubject(work.Key)
	})
}

// lookLater has a pull request looked at again once GitHub may show what events told.
func (g *Gate) lookLater(ctx context.Context, work store.Work, at *place, old pullData, behind time.Duration) error {
	return g.finish(ctx, work, func(tx *store.Tx) error {
		m := g.markAt(at, work.Key, work.Priority)
		m.Due = g.cfg.Now().Add(behind)
		if err := tx.Mark(m, g.cfg.Now()); err != nil {
			return err
		}
		return g.setSubject(tx, work.Key, old.Head, old.State == "open", old)
	})
}

// pullEnded ends work on what is merged or closed. What was decided about it stays: a
// policy that it brought is judged by it.
func (g *Gate) pullEnded(ctx context.Context, work store.Work, at *place, old, data pullData) error {
	others, err := g.othersAt(ctx, at.id, old.Head, data.Number)
	if err != nil {
		return err
	}
	return g.leave(ctx, work, plannedAs(pullSubject(at.id, data.Number, data.Head)), "the pull request is "+data.State, func(tx *store.Tx) error {
		if data.State == "merged" && old.State != data.State {
			if err := tx.Mark(g.markAt(at, repositoryKey(at.id), rules.PriorityDoor), g.cfg.Now()); err != nil {
				return err
			}
		}
		if err := g.markLeft(tx, at, old.Head, others); err != nil {
			return err
		}
		return g.setSubject(tx, work.Key, data.Head, false, data)
	})
}

// othersAt are the other open pull requests at the commit where one stands or stood.
func (g *Gate) othersAt(ctx context.Context, repository rules.RepositoryID, head rules.SHA, number int) ([]pullData, error) {
	if !head.Valid() {
		return nil, nil
	}
	all, err := g.pullsAt(ctx, repository, head)
	return slices.DeleteFunc(all, func(o pullData) bool { return o.Number == number }), err
}

// markLeft has the check looked at anew at a commit that a pull request left to others, by
// another push or by its end: it covered that one too.
func (g *Gate) markLeft(tx *store.Tx, at *place, head rules.SHA, others []pullData) error {
	if len(others) == 0 {
		return nil
	}
	return tx.Mark(g.markAt(at, headKey(at.id, head), rules.PriorityHousekeeping), g.cfg.Now())
}

// pullLag is for how long what GitHub shows of a pull request may be older than what an
// event told of.
const pullLag = 30 * time.Second

// behind is after how long to read a pull request again that is shown as it was before
// what an event told of: before a push, or a review; 0 if it is not. Nothing is judged by
// what GitHub shows then: no other event need follow, and the new head would have no
// check, the approval no effect.
func (g *Gate) behind(ctx context.Context, key rules.WorkKey, c *rules.Change) (time.Duration, error) {
	pushes, err := g.cfg.Store.FactsOf(ctx, key, rules.FactPush)
	if err != nil {
		return 0, err
	}
	var told, made time.Time // of what is not shown, and of the head that is
	for _, f := range pushes {
		var p rules.Push
		if err := json.Unmarshal(f.Payload, &p); err != nil {
			return 0, fmt.Errorf("reading a stored push: %w", err)
		}
		if p.Before == c.Head.SHA && f.ReceivedAt.After(told) {
			told = f.ReceivedAt
		}
		if p.After == c.Head.SHA && f.ReceivedAt.After(made) {
			made = f.ReceivedAt
		}
	}
	if !c.Head.SHA.Valid() || !made.Before(told) {
		told = time.Time{}
	}
	reviews, err := g.cfg.Store.FactsOf(ctx, key, rules.FactReview)
	if err != nil {
		return 0, err
	}
	for _, f := range reviews {
		var seen rules.ReviewSeen
		if err := json.Unmarshal(f.Payload, &seen); err != nil {
			return 0, fmt.Errorf("reading a stored review: %w", err)
		}
		shown := slices.ContainsFunc(c.Reviews, func(r rules.Review) bool {
			return r.ID == seen.ID && (!seen.Dismissed || r.State == rules.ReviewDismissed)
		})
		if !shown && f.ReceivedAt.After(told) {
			told = f.ReceivedAt
		}
	}
	age := g.cfg.Now().Sub(told)
	if told.IsZero() || age < 0 || age > pullLag {
		return 0, nil
	}
	return max(age, time.Second), nil
}

// maxUnseen is how often GitHub may say that there is no such pull request before that
// is taken for true of one that was never seen.
const maxUnseen = 4

// unseen looks again in a moment: of a pull request that was just opened the event may
// come before GitHub shows it.
func (g *Gate) unseen(ctx context.Context, at *place, work store.Work, data pullData) error {
	data.Unseen++
	return g.finish(ctx, work, func(tx *store.Tx) error {
		m := g.markAt(at, work.Key, work.Priority)
		m.Due = g.cfg.Now().Add(time.Second << data.Unseen)
		if err := tx.Mark(m, g.cfg.Now()); err != nil {
			return err
		}
		return g.setSubject(tx, work.Key, "", false, data)
	})
}

// conclude judges an open pull request, from what was concluded about it before.
func (g *Gate) conclude(ctx context.Context, at *place, p *github.Pull, data *pullData) (rules.Policies, error) {
	if data.Head != p.Change.Head.SHA {
		data.Head, data.Refused, data.Looks, data.Annotations = p.Change.Head.SHA, nil, 0, nil
		if err := g.lintChange(ctx, at, p, data); err != nil {
			return rules.Policies{}, err
		}
	}
	policies, err := g.policiesOf(ctx, at, p.Policy.State)
	if err != nil {
		return policies, err
	}
	if data.Decision, err = g.judge(ctx, at, policies, p, &data.Readings); err != nil {
		return policies, err
	}
	data.Approvers = approvers(data.Decision, &p.Change)
	data.Policy, data.Floor = policies.Repository.Policy.Digest(), policies.Floor.Policy.Digest()
	before := data.ID
	if data.ID = decisionID(pullKey(at.id, p.Change.Number), data.Head, policies, data.Decision); data.ID != before {
		data.Turn++
	}
	return policies, nil
}

// approvers are the people whose reviews count for some need of a decision.
func approvers(d rules.Decision, c *rules.Change) []rules.Actor {
	var out []rules.Actor
	for _, r := range approving(d, c) {
		out = append(out, r.User)
	}
	return out
}

// approving are the reviews that count for some need of a decision, the newest of each
// person.
func approving(d rules.Decision, c *rules.Change) []rules.Review {
	var out []rules.Review
	for _, r := range c.Reviews {
		counts := r.State == rules.ReviewApproved && r.User.ID != 0 && slices.ContainsFunc(d.Needs, func(n rules.Need) bool {
			return slices.ContainsFunc(n.Approved, r.User.Login.Equal)
		})
		i := slices.IndexFunc(out, func(o rules.Review) bool { return o.User == r.User })
		switch {
		case !counts:
		case i < 0:
			out = append(out, r)
		case r.SubmittedAt.After(out[i].SubmittedAt):
			out[i] = r
		}
	}
	return out
}

// siblingKnown says what is known of another pull request at a head, or
// store.ErrNotFound.
func (g *Gate) siblingKnown(ctx context.Context, at *place, number int, head rules.SHA) (pullData, error) {
	s, err := g.cfg.Store.Subject(ctx, pullKey(at.id, number))
	if err != nil {
		return pullData{}, err
	}
	if s.SHA != head {
		return pullData{}, store.ErrNotFound
	}
	var d pullData
	return d, json.Unmarshal(s.Data, &d)
}

// decisionID names a decision: the same policies and facts that matter make the
// same id, so that looking again records nothing new.
func decisionID(key rules.WorkKey, head rules.SHA, policies rules.Policies, d rules.Decision) string {
	body, err := json.Marshal(d, json.Deterministic(true))
	if err != nil {
		panic("gate: a decision that is no JSON: " + err.Error())
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n%s\n", key, head, policies.Repository.Policy.Digest(), policies.Floor.Policy.Digest())
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// lintChange finds what is wrong in a policy that a pull request brings.
func (g *Gate) lintChange(ctx context.Context, at *place, p *github.Pull, data *pullData) error {
	for _, f := range p.Change.Files {
		floor := f.Path == rules.FloorPath && at.holdsFloor()
		if f.Path != rules.PolicyPath && !floor || f.Status == rules.FileRemoved {
			continue
		}
		file, err := at.File(ctx, f.Path, string(p.Change.Head.SHA))
		if err != nil {
			return fmt.Errorf("reading %q as the change has it: %w", f.Path, err)
		}
		if file.State != github.FileFound {
			data.Annotations = append(data.Annotations, github.Annotation{
				Path: f.Path, StartLine: 1, EndLine: 1, Level: "failure", Title: "not a policy", Message: "This is no plain text file, so it cannot be read as a policy.",
			})
			continue
		}
		_, problems := rules.LoadPolicy(f.Path, file.Text)
		for _, pr := range problems {
			data.Annotations = append(data.Annotations, annotation(f.Path, pr))
		}
	}
	return nil
}

// finish ends work in one transaction with what fn writes.
func (g *Gate) finish(ctx context.Context, work store.Work, fn func(*store.Tx) error) error {
	return g.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return tx.Done(work.Key, work.Lease)
	})
}

// leave ends work on what nothing is done about any more: with it end its effects that
// were planned, and done perhaps without an answer.
func (g *Gate) leave(ctx context.Context, work store.Work, about func(store.Effect) ledger.Subject, why string, fn func(*store.Tx) error) error {
	planned, err := g.cfg.Store.PlannedEffects(ctx, work.Key)
	if err != nil {
		return err
	}
	now := g.cfg.Now()
	var entries []ledger.Entry
	for _, e := range planned {
		entries = append(entries, ledger.Entry{Kind: ledger.KindOutcome, Time: now, Subject: about(e), Decision: e.Decision, Payload: outcomePayload{Outcome: "not needed any more"}, Personal: map[string]any{"result": effectResult{Why: why}}})
	}
	return g.write(ctx, entries, func(tx *store.Tx) error {
		for _, e := range planned {
			if err := endEffect(tx, e.Key, store.EffectDropped, effectResult{Why: why}, now); err != nil {
				return err
			}
		}
		if err := fn(tx); err != nil {
			return err
		}
		return tx.Done(work.Key, work.Lease)
	})
}

func (g *Gate) setSubject(tx *store.Tx, key rules.WorkKey, sha rules.SHA, held bool, data any) error {
	text, err := json.Marshal(data, json.Deterministic(true))
	if err != nil {
		return err
	}
	return tx.SetSubject(store.Subject{Key: key, SHA: sha, Held: held, Data: text, UpdatedAt: g.cfg.Now()})
}

// markAt is a mark of something in a repository within reach.
func (g *Gate) markAt(at *place, key rules.WorkKey, p rules.Priority) rules.Mark {
	return rules.Mark{Key: key, Priority: p, Installation: at.installation.ID, FullName: at.fullName}
}
