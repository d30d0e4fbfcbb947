package gate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// codeHeadUnknown is what a merge group fails for where one of its pull requests does
// not stand open at the head that it was queued with.
const codeHeadUnknown rules.Code = "SP023"

// mergeGroup says on a merge group's commit whether all of its pull requests are
// allowed as they stand in the queue.
func (g *Gate) mergeGroup(ctx context.Context, work store.Work, at *place) error {
	branch, ok := queueBranch(work.Key.Ref)
	if !ok {
		return fmt.Errorf("%q is not the branch of a merge queue's group", work.Key.Ref)
	}
	entries, err := at.QueueEntries(ctx, branch)
	if err != nil {
		return fmt.Errorf("reading the merge queue of %q: %w", branch, err)
	}
	members := membersOf(entries, work.Key.SHA)
	if members == nil {
		return g.noGroup(ctx, at, work)
	}
	var ds []rules.Decision
	var pulls []pullData
	var policies rules.Policies
	numbers := make([]int, len(members))
	for i, m := range members {
		numbers[i] = m.Number
	}
	for _, m := range members {
		data, under, err := g.member(ctx, at, m)
		if err != nil {
			return err
		}
		if under.Repository.State != 0 {
			policies = under
		}
		ds, pulls = append(ds, data.Decision), append(pulls, data)
		if data.Decision.Verdict != rules.VerdictAllow {
			break // one is enough to fail all
		}
	}
	d := rules.Strictest(ds...)
	var data headData
	if err := g.subject(ctx, work.Key, &data); err != nil {
		return err
	}
	spec := checkRun(d, pulls, nil, g.cfg.URL)
	if spec.Conclusion == conclusionAsks {
		// A queue waits for nobody: the group fails, and its pull requests say why.
		spec.Conclusion = conclusionFailure
	}
	digest := short(fmt.Sprint(spec))
	if data.Digest == digest {
		return g.cfg.Store.Done(ctx, work.Key, work.Lease)
	}
	old := data.ID
	data.ID = decisionID(work.Key, work.Key.SHA, policies, d)
	key := fmt.Sprintf("check:%d:%s:group:%s", at.id, work.Key.SHA, digest)
	witness, err := g.witness(ctx)
	if err != nil {
		return err
	}
	spec.HeadSHA, spec.ExternalID, spec.CompletedAt = work.Key.SHA, short(key), g.cfg.Now()
	spec.Text += "\n\n" + witness
	t := task{
		g: g, at: at, work: work, head: work.Key.SHA,
		judged: judged{old: old, id: data.ID, decision: d, policies: policies, subject: pullSubject(at.id, 0, work.Key.SHA), pulls: numbers},
		plan: plan{retry: retryCheck(data.Refused), effects: []effect{{
			kind: effectCheck, key: key, sha: work.Key.SHA, digest: digest, run: data.Check, check: &spec, closes: spec.Conclusion == conclusionFailure,
		}}},
		save: func(tx *store.Tx) error { return g.setSubject(tx, work.Key, "", false, data) },
		done: func(_ effect, kind string, result effectResult) {
			switch kind {
			case effectCheck:
				data.Check, data.Conclusion, data.Digest, data.Refused = result.Check, spec.Conclusion, digest, 0
			case effectRefused:
				data.Refused++
			}
		},
	}
	return t.run(ctx)
}

// maxNoGroup is how often a group is looked for whose branch is there: 4 minutes.
const maxNoGroup = 7

// noGroup ends work on a group that the queue does not have: another one was made, or it
// was merged. The queue may also not show it yet when its event comes: as long as its
// branch is there it is looked for again, since a queue waits for its checks and no other
// event comes.
func (g *Gate) noGroup(ctx context.Context, at *place, work store.Work) error {
	var data headData
	if err := g.subject(ctx, work.Key, &data); err != nil {
		return err
	}
	head, err := at.Head(ctx, strings.TrimPrefix(work.Key.Ref, "refs/heads/"))
	if err != nil && !errors.Is(err, github.ErrNotFound) {
		return fmt.Errorf("reading the branch of a merge group: %w", err)
	}
	early := err != nil && data.Looks < 2 // its branch may not be shown yet either
	if head != work.Key.SHA && !early || data.Check != 0 || data.Looks >= maxNoGroup {
		return g.cfg.Store.Done(ctx, work.Key, work.Lease)
	}
	data.Looks++
	return g.finish(ctx, work, func(tx *store.Tx) error {
		m := g.markAt(at, work.Key, work.Priority)
		m.Due = g.cfg.Now().Add(time.Second << data.Looks)
		if err := tx.Mark(m, g.cfg.Now()); err != nil {
			return err
		}
		return g.setSubject(tx, work.Key, "", false, data)
	})
}

// member judges a pull request of a group anew: it is about to be merged, and an event
// may still be on its way that takes back what was decided.
func (g *Gate) member(ctx context.Context, at *place, m github.QueueEntry) (pullData, rules.Policies, error) {
	var data pullData
	if err := g.subject(ctx, pullKey(at.id, m.Number), &data); err != nil {
		return data, rules.Policies{}, err
	}
	p, err := at.Pull(ctx, m.Number)
	switch {
	case err != nil && !errors.Is(err, github.ErrNotFound):
		return data, rules.Policies{}, fmt.Errorf("reading pull request %d: %w", m.Number, err)
	case err == nil && p.Change.Repository.ID == at.id && p.State == "open" && p.Change.Head.SHA == m.Head:
		policies, err := g.conclude(ctx, at, p, &data)
		return data, policies, err
	}
	data.Decision = rules.Decision{Verdict: rules.VerdictWait, Reasons: []rules.Reason{{
		Code: codeHeadUnknown, Verdict: rules.VerdictWait, SHA: m.Head, Text: fmt.Sprintf("pull request %d does not stand open at the commit that it was queued with", m.Number),
	}}}
	return data, rules.Policies{}, nil
}

// groupsWith are the merge groups that hold a pull request which stands in a queue and is
// not allowed, or not any more: they may have passed, and wait for other checks.
func (g *Gate) groupsWith(ctx context.Context, at *place, p *github.Pull, d rules.Decision) ([]rules.WorkKey, error) {
	if !p.InQueue || d.Verdict == rules.VerdictAllow {
		return nil, nil
	}
	base := p.Change.Base.Ref
	entries, err := at.QueueEntries(ctx, base)
	if err != nil {
		return nil, err
	}
	first := slices.IndexFunc(entries, func(e github.QueueEntry) bool { return e.Number == p.Change.Number })
	if first < 0 {
		return nil, nil
	}
	var out []rules.WorkKey
	for _, e := range entries[first:] {
		k := rules.WorkKey{Kind: rules.WorkMergeGroup, Repository: at.id, SHA: e.GroupHead, Ref: groupRef(base, e)}
		if k.Valid() == nil {
			out = append(out, k)
		}
	}
	return out, nil
}

// groupRef is the branch of the group that ends with an entry of a branch's queue.
func groupRef(branch string, e github.QueueEntry) string {
	return fmt.Sprintf("refs/heads/gh-readonly-queue/%s/pr-%d-%s", branch, e.Number, e.GroupBase)
}

// queueBranch is the branch whose queue a group's branch is of:
// refs/heads/gh-readonly-queue/BASE/pr-N-SHA.
func queueBranch(ref string) (string, bool) {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(ref, "refs/heads/"), "gh-readonly-queue/")
	i := strings.LastIndex(rest, "/pr-")
	if !ok || i <= 0 {
		return "", false
	}
	return rest[:i], true
}

// membersOf are the entries from the front of the queue to the one whose group has
// a commit at its head: what lands with it. Nil: there is none.
func membersOf(entries []github.QueueEntry, sha rules.SHA) []github.QueueEntry {
	for i, e := range entries {
		if e.GroupHead == sha {
			return entries[:i+1]
		}
	}
	return nil
}
