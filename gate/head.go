package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// headData is what the check run at a commit says.
type headData struct {
	Check rules.CheckRunID `json:"check,omitzero"`
	// Digest is of what it says, without the ledger's line.
	Digest     string `json:"digest,omitzero"`
	Conclusion string `json:"conclusion,omitzero"`
	// Turn counts what it said, so that each has a key of its own.
	Turn int `json:"turn,omitzero"`
	// Rerequest is the newest wish for a new check run that was fulfilled.
	Rerequest int64  `json:"rerequest,omitzero"`
	ID        string `json:"id,omitzero"`
	// Looks counts the looks for a merge group that found none in the queue.
	Looks int `json:"looks,omitzero"`
	// None says that GitHub showed no open pull request there: until one is judged
	// there, nothing waits for its checks.
	None bool `json:"none,omitzero"`
	// Refused counts how often in a row GitHub took no check run of us.
	Refused int `json:"refused,omitzero"`
}

// head makes the check run at a commit say the strictest of what was decided about
// the open pull requests that stand there.
func (g *Gate) head(ctx context.Context, work store.Work, at *place) error {
	var data headData
	if err := g.subject(ctx, work.Key, &data); err != nil {
		return err
	}
	pulls, err := g.pullsAt(ctx, at.id, work.Key.SHA)
	if err != nil {
		return err
	}
	if len(pulls) == 0 {
		return g.findPulls(ctx, at, work, data)
	}
	data.None = false
	var ds []rules.Decision
	var ids []string
	var annotations []github.Annotation
	for _, p := range pulls {
		ds = append(ds, p.Decision)
		ids = append(ids, p.ID)
		for _, a := range p.Annotations {
			if !slices.Contains(annotations, a) {
				annotations = append(annotations, a)
			}
		}
	}
	d := rules.Strictest(ds...)
	asked, err := g.rerequested(ctx, work.Key, CheckName)
	if err != nil {
		return err
	}
	spec := checkRun(d, pulls, annotations, g.cfg.URL)
	digest := short(fmt.Sprint(spec, ids))
	var pl plan
	if data.Check == 0 || data.Digest != digest || asked > data.Rerequest {
		run := data.Check
		if asked > data.Rerequest || len(annotations) > 0 {
			// One that was asked for again cannot be opened again, and annotations of an
			// old one would stay.
			run = 0
		}
		data.Turn++
		key := fmt.Sprintf("check:%d:%s:%d:%s", at.id, work.Key.SHA, data.Turn, digest)
		spec.HeadSHA, spec.ExternalID, spec.CompletedAt = work.Key.SHA, short(key), g.cfg.Now()
		witness, err := g.witness(ctx)
		if err != nil {
			return err
		}
		spec.Text += "\n\n" + witness
		pl.effects = []effect{{
			kind: effectCheck, key: key, sha: work.Key.SHA, digest: digest, run: run, check: &spec,
			closes: spec.Conclusion != conclusionSuccess && spec.Conclusion != conclusionNeutral,
		}}
		data.Digest, data.Rerequest = digest, asked
		pl.retry = retryCheck(data.Refused)
	}
	published := headData{Check: data.Check, Conclusion: data.Conclusion}
	t := task{
		g: g, at: at, work: work, head: work.Key.SHA,
		judged: shownBy(at.id, pulls, d), plan: pl,
		after: func(tx *store.Tx) error {
			if data.Conclusion != conclusionSuccess || published.Conclusion == data.Conclusion {
				return nil
			}
			// What may be merged can be merged now.
			for _, p := range pulls {
				if p.Decision.Merge {
					if err := tx.Mark(g.markAt(at, pullKey(at.id, p.Number), rules.PriorityDoor), g.cfg.Now()); err != nil {
						return err
					}
				}
			}
			return nil
		},
		save: func(tx *store.Tx) error {
			saved := data
			if len(pl.effects) > 0 && data.Check == published.Check && data.Conclusion == published.Conclusion {
				// Not shown yet: the next look tries again under the same key.
				saved.Digest, saved.Turn = "", data.Turn-1
			}
			return g.setSubject(tx, work.Key, "", false, saved)
		},
		done: func(_ effect, kind string, result effectResult) {
			switch kind {
			case effectCheck:
				data.Check, data.Conclusion, data.Refused = result.Check, spec.Conclusion, 0
				published.Check = -1
			case effectRefused:
				data.Refused++
			}
		},
	}
	return t.run(ctx)
}

// shownBy is the decision that a check run at a commit shows: that of the pull request
// there, or of several the first that is as strict as all of them together. The ledger
// has it already.
func shownBy(repository rules.RepositoryID, pulls []pullData, all rules.Decision) judged {
	p := &pulls[0]
	if i := slices.IndexFunc(pulls, func(o pullData) bool { return o.Decision.Verdict == all.Verdict }); i > 0 {
		p = &pulls[i]
	}
	return judged{old: p.ID, id: p.ID, decision: all, subject: pullSubject(repository, 0, p.Head)}
}

// pullsAt are the open pull requests that were judged at a commit, by number.
func (g *Gate) pullsAt(ctx context.Context, repository rules.RepositoryID, sha rules.SHA) ([]pullData, error) {
	subjects, err := g.cfg.Store.SubjectsAt(ctx, repository, sha)
	if err != nil {
		return nil, err
	}
	var out []pullData
	for _, s := range subjects {
		if s.Key.Kind != rules.WorkPullRequest {
			continue
		}
		var d pullData
		if err := json.Unmarshal(s.Data, &d); err != nil {
			return nil, fmt.Errorf("reading what was concluded about %q: %w", s.Key, err)
		}
		if d.open() {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b pullData) int { return cmp.Compare(a.Number, b.Number) })
	return out, nil
}

// commit looks again at what stands at a commit about which an event told something
// without naming pull requests, as of a fork's or of a commit status.
func (g *Gate) commit(ctx context.Context, work store.Work, at *place) error {
	pulls, err := g.pullsAt(ctx, at.id, work.Key.SHA)
	if err != nil {
		return err
	}
	if len(pulls) == 0 {
		var data headData
		if err := g.subject(ctx, headKey(at.id, work.Key.SHA), &data); err != nil {
			return err
		}
		return g.findPulls(ctx, at, work, data)
	}
	return g.finish(ctx, work, func(tx *store.Tx) error {
		for _, p := range pulls {
			if err := tx.Mark(g.markAt(at, pullKey(at.id, p.Number), work.Priority), g.cfg.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// findPulls asks GitHub what stands at a commit at which no pull request is known to be
// open.
func (g *Gate) findPulls(ctx context.Context, at *place, work store.Work, data headData) error {
	numbers, err := at.PullsAt(ctx, work.Key.SHA)
	if err != nil && !errors.Is(err, github.ErrNotFound) {
		return fmt.Errorf("asking what stands at %s: %w", work.Key.SHA.Short(), err)
	}
	if len(numbers) == 0 {
		return g.leave(ctx, work, plannedAs(pullSubject(at.id, 0, work.Key.SHA)), "no open pull request stands there", func(tx *store.Tx) error {
			// What the check says there it goes on saying: one may be opened again.
			data.None = true
			return g.setSubject(tx, headKey(at.id, work.Key.SHA), "", false, data)
		})
	}
	return g.finish(ctx, work, func(tx *store.Tx) error {
		for _, n := range numbers {
			if err := tx.Mark(g.markAt(at, pullKey(at.id, n), work.Priority), g.cfg.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// rerequested is the newest wish for a new check run of a name at a commit, or for
// all of ours; 0 if there is none.
func (g *Gate) rerequested(ctx context.Context, key rules.WorkKey, name string) (int64, error) {
	facts, err := g.cfg.Store.FactsOf(ctx, key, rules.FactRerequest)
	if err != nil {
		return 0, err
	}
	var newest int64
	for _, f := range facts {
		var wish rules.Rerequest
		if err := json.Unmarshal(f.Payload, &wish); err != nil {
			return 0, fmt.Errorf("reading a stored wish for a check run: %w", err)
		}
		if wish.Name == "" || wish.Name == name {
			newest = max(newest, f.ID)
		}
	}
	return newest, nil
}

// Waits reports whether something waits for a check at a commit. Where nothing is
// known about the commit, something may.
func (g *Gate) Waits(ctx context.Context, repository rules.RepositoryID, sha rules.SHA, check string) bool {
	pulls, err := g.pullsAt(ctx, repository, sha)
	if err != nil {
		return true
	}
	if len(pulls) == 0 {
		var head headData
		return g.subject(ctx, headKey(repository, sha), &head) != nil || !head.None
	}
	at := &place{id: repository}
	row, err := g.cfg.Store.Repository(ctx, repository)
	if err != nil {
		return true
	}
	if at.installation, err = g.cfg.Store.Installation(ctx, row.Installation); err != nil {
		return true
	}
	at.fullName = row.FullName
	policies, err := g.policiesOf(ctx, at, github.FileFound)
	if err != nil {
		return true
	}
	for i := range pulls {
		if pulls[i].waitsFor(policies.Repository.Policy, check) || pulls[i].waitsFor(policies.Floor.Policy, check) {
			return true
		}
	}
	return false
}

// witness is the ledger's size and root as the last line of a check run shows
// them.
func (g *Gate) witness(ctx context.Context) (string, error) {
	note, err := g.cfg.Store.LedgerCheckpoint(ctx)
	if err != nil {
		return "", err
	}
	if note == nil {
		return "Ledger: empty", nil
	}
	seen, err := ledger.ParseCheckpoint(note, g.cfg.Verifier)
	if err != nil {
		return "", err
	}
	return "Ledger: " + seen.Witness().String(), nil
}
