package gate

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// releasePause is how often the release of a job that has a credential is judged again.
const releasePause = time.Minute

// leases sorts the leases of a run: those of jobs that run no more are to be ended, and
// what the others were given for must still hold.
func (x *deployDoor) leases(ctx context.Context) error {
	g, f := x.g, x.f
	all, err := g.cfg.Store.LeasesOf(ctx, f.at.id, f.run.ID)
	if err != nil || len(all) == 0 {
		return err
	}
	releases, err := g.cfg.Store.ReleasesOf(ctx, f.at.id, f.run.ID)
	if err != nil {
		return err
	}
	for _, l := range all {
		if j := f.job(l.Job); l.Attempt != f.run.Attempt || j == nil || j.Status == "completed" {
			x.finished = append(x.finished, l)
			continue
		}
		if l.State == store.LeaseRevoking {
			continue
		}
		i := slices.IndexFunc(releases, func(r store.Release) bool {
			return r.Attempt == l.Attempt && slices.Contains(r.Jobs, l.Job) && strings.EqualFold(r.Environment, l.Environment)
		})
		holds := rules.No
		reason := rules.Withdrawn(l.Credential, l.Environment, l.SHA)
		if i >= 0 {
			// An approval's age counts until the credential was given, and no longer.
			if holds, reason.Because, err = x.holds(ctx, &releases[i], l.MadeAt); err != nil {
				return err
			}
		}
		if holds == rules.Yes {
			if g.cfg.Now().Before(l.Deadline) {
				x.lookIn(releasePause)
			}
			continue
		}
		x.alerts = append(x.alerts, raised{
			key: "withdrawn:" + l.ID, environment: l.Environment, attempt: l.Attempt, reason: reason, url: f.run.URL,
		})
		g.cfg.Log.WarnContext(ctx, "a credential's release holds no more", slog.String("repository", f.at.fullName), slog.String("credential", l.Credential), slog.String("lease", l.ID))
		// Taking back acts first, even where it cannot be recorded.
		if err := g.cfg.Store.Update(ctx, func(tx *store.Tx) error {
			return ignoreGone(tx.RevokeLease(l.ID, "its release holds no more", g.cfg.Now()))
		}); err != nil {
			return err
		}
		_ = g.endMade(ctx, l) // it is on record with the reason, and tried again
	}
	return nil
}

// holds judges a release once more, as of a time, with the approvals that it was made
// from: those who gave them must still be what they were, and nobody rejected it since.
// If it does not hold it says why.
func (x *deployDoor) holds(ctx context.Context, r *store.Release, at time.Time) (rules.Tri, []rules.Reason, error) {
	var h *heldData
	for _, o := range x.data.Held {
		if o.Attempt == r.Attempt && o.Turn == r.Turn && strings.EqualFold(o.Environment, r.Environment) && o.State == heldReleased {
			h = o
		}
	}
	if h == nil || x.f.run.Attempt != r.Attempt || x.f.run.HeadSHA != r.SHA {
		return rules.No, nil, nil
	}
	var approvals []rules.Approval
	if err := json.Unmarshal(r.Approvals, &approvals); err != nil {
		return rules.No, nil, fmt.Errorf("reading the approvals of a release: %w", err)
	}
	copied := *h
	door := &deployDoor{g: x.g, f: x.f, data: x.data, again: map[*heldData]once{&copied: {held: h, approvals: approvals, at: at}}}
	_, out, err := door.decide(ctx, &copied)
	if err != nil {
		return rules.No, nil, err
	}
	// Whoever is on no list may object before it is released, and not end it after.
	falls := slices.DeleteFunc(slices.Clone(out.Reasons), func(r rules.Reason) bool { return r.Verdict == rules.VerdictAllow || r.Code == codeObjection })
	return rules.TriOf(len(falls) == 0), falls, nil
}

// codeObjection is that of a rejection by somebody who is on no list.
const codeObjection rules.Code = "SP526"
