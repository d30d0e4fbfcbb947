package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// maxBases is of how many base branches of a repository what they require is compared,
// maxAsked about how many people one query asks.
const (
	maxBases = 20
	maxAsked = 50
)

// stands is what the lists of a repository's open pull requests showed. It is stored:
// members may be added.
type stands struct {
	At    time.Time      `json:"at"` // when the last list was asked for
	Pulls map[int]listed `json:"pulls,omitzero"`
}

// listed is what lists showed of a pull request, and since when the same.
type listed struct {
	Facts string    `json:"facts"`
	Since time.Time `json:"since"` // the first of those lists was whole
}

func standsSetting(id rules.RepositoryID) string {
	return "standing " + strconv.FormatInt(int64(id), 10)
}

// standing marks the pull requests of a repository that are held, and about which a list
// of them shows something else than what they were judged by: a check, a review, a
// membership, a protection, or that they are not open any more. One list does for 50 of
// them what a look does for one, so that no event that was lost stays unseen for longer
// than [relook] however many stand open.
func (g *Gate) standing(ctx context.Context, at *place, policies rules.Policies, open int) ([]rules.Mark, error) {
	var before stands
	text, err := g.cfg.Store.Setting(ctx, standsSetting(at.id))
	if err == nil {
		err = json.Unmarshal(text, &before)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("reading how the pull requests of %s stood: %w", at.fullName, err)
	}
	now := g.cfg.Now()
	age := now.Sub(before.At)
	if age >= 0 && age < relook {
		return nil, nil
	}
	held, err := g.heldPulls(ctx, at.id)
	if err != nil || len(held)+open == 0 {
		return nil, err
	}
	after := stands{At: now, Pulls: map[int]listed{}}
	// What takes longer than this is left out, and not the rest of the repository's look:
	// about two thousand pull requests in one.
	listing, cancel := context.WithTimeout(ctx, g.cfg.Lease/3)
	facts, err := g.standingFacts(listing, at, policies)
	cancel()
	var limited *github.RateLimited
	switch {
	case err == nil:
	case errors.As(err, &limited) || ctx.Err() != nil:
		return nil, err
	case !before.At.IsZero() && age >= 0 && age < 4*relook:
		g.cfg.Log.InfoContext(ctx, "how open pull requests stand cannot be listed; the next sweep tries again", slog.String("repository", at.fullName), slog.Any("cause", err))
		return nil, nil
	default:
		// Whether GitHub gives such a list nobody here knows: each is looked at then.
		g.cfg.Log.WarnContext(ctx, "how open pull requests stand cannot be listed; each is looked at", slog.String("repository", at.fullName), slog.Any("cause", err))
	}
	whole := g.cfg.Now()
	for n, f := range facts {
		if old := before.Pulls[n]; old.Facts == f {
			after.Pulls[n] = old
		} else {
			after.Pulls[n] = listed{f, whole}
		}
	}
	var out []rules.Mark
	for _, s := range held {
		var d pullData
		if err := json.Unmarshal(s.Data, &d); err != nil {
			return nil, fmt.Errorf("reading what was concluded about %q: %w", s.Key, err)
		}
		// A look asks after it took the time, a list before.
		shown, same := after.Pulls[d.Number]
		if !same || d.Read.Before(shown.Since) || d.unfinished() {
			out = append(out, g.markAt(at, s.Key, rules.PriorityHousekeeping))
		}
	}
	if text, err = json.Marshal(after, json.Deterministic(true)); err != nil {
		return nil, err
	}
	// What is not looked at after this, as after a crash, is marked by the next list.
	return out, g.cfg.Store.SetSetting(ctx, standsSetting(at.id), text, now)
}

// unfinished reports whether something is left to be done that GitHub may let happen
// without telling: a merge, or what it refused.
func (d *pullData) unfinished() bool {
	if d.Decision.Verdict == rules.VerdictAllow && d.Decision.Merge {
		return true
	}
	for _, n := range d.Refused {
		if n < maxRefused {
			return true
		}
	}
	return false
}

// heldPulls are the pull requests of a repository that are held.
func (g *Gate) heldPulls(ctx context.Context, id rules.RepositoryID) ([]store.Subject, error) {
	const page = 500
	var out []store.Subject
	after := rules.WorkKey{Kind: rules.WorkPullRequest, Repository: id}
	for {
		subjects, err := g.cfg.Store.Held(ctx, after, page)
		if err != nil {
			return nil, err
		}
		for _, s := range subjects {
			if after = s.Key; s.Key.Kind != rules.WorkPullRequest || s.Key.Repository != id {
				return out, nil
			}
			out = append(out, s)
		}
		if len(subjects) < page {
			return out, nil
		}
	}
}

// standingFacts are what decisions about the open pull requests rest on, as digests by
// number. One that cannot be told from a list is left out.
func (g *Gate) standingFacts(ctx context.Context, at *place, policies rules.Policies) (map[int]string, error) {
	list, err := at.Standing(ctx)
	if err != nil {
		return nil, err
	}
	members, err := g.standingMembers(ctx, at, policies, list)
	if err != nil {
		return nil, err
	}
	heads := map[rules.SHA][]int{}
	bases := map[string]string{}
	for _, p := range list {
		heads[p.Head] = append(heads[p.Head], p.Number)
		if _, known := bases[p.Base]; known || len(bases) >= maxBases {
			continue
		}
		protection, err := at.Protection(ctx, p.Base, g.app.ID, true)
		switch {
		case errors.Is(err, github.ErrNotFound) || errors.Is(err, github.ErrForbidden):
			bases[p.Base] = "unread"
		case err != nil:
			return nil, fmt.Errorf("reading what %q requires: %w", p.Base, err)
		default:
			bases[p.Base] = fmt.Sprint(protection)
		}
	}
	out := map[int]string{}
	for _, p := range list {
		base, known := bases[p.Base]
		if p.Facts == "" || !known {
			continue
		}
		facts := []string{p.Facts, string(p.Head), p.Base, base, fmt.Sprint(heads[p.Head]), policies.Repository.Policy.Digest(), policies.Floor.Policy.Digest()}
		for _, who := range p.People {
			facts = append(facts, members[who.ID])
		}
		out[p.Number] = short(fmt.Sprintf("%q", facts))
	}
	return out, nil
}

// standingMembers says in which of the policies' teams those are who gave an opinion.
func (g *Gate) standingMembers(ctx context.Context, at *place, policies rules.Policies, list []github.Standing) (map[rules.AccountID]string, error) {
	teams := teamsOf(policies)
	var who []rules.Actor
	for _, p := range list {
		who = append(who, p.People...)
	}
	slices.SortFunc(who, func(a, b rules.Actor) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Login, b.Login)) })
	who = slices.Compact(who)
	out := map[rules.AccountID]string{}
	if len(teams) == 0 {
		return out, nil
	}
	for some := range slices.Chunk(who, maxAsked) {
		asked, err := g.askMembers(ctx, at, teams, some)
		if err != nil {
			return nil, err
		}
		for _, p := range some {
			in := map[string]rules.Tri{}
			for key, t := range asked {
				in[key] = t.Members[p.ID]
			}
			out[p.ID] = fmt.Sprint(in) // maps are printed in the order of their keys
		}
	}
	return out, nil
}
