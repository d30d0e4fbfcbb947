package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// apply does one effect. Again says that it was tried before and nobody knows what
// became of it: where the facts that it was planned from cannot show it, GitHub is
// asked first.
func (g *Gate) apply(ctx context.Context, at *place, e effect, again bool) (effectResult, error) {
	switch e.kind {
	case effectCheck:
		return g.applyCheck(ctx, at, e, again)
	case effectApprove:
		id, err := at.Approve(ctx, e.pull, e.sha, e.text)
		return effectResult{Review: id}, err
	case effectDismiss:
		err := at.Dismiss(ctx, e.pull, e.review, e.text)
		if errors.Is(err, github.ErrNotFound) {
			err = nil // there is nothing to take back
		}
		return effectResult{Review: e.review}, err
	case effectMerge:
		sha, err := at.Merge(ctx, e.pull, e.sha, e.method)
		return effectResult{Merge: sha}, err
	case effectEnqueue:
		return effectResult{}, at.Enqueue(ctx, e.node, e.sha)
	case effectRequest:
		return effectResult{}, g.applyRequest(ctx, at, e)
	case effectLabel:
		return effectResult{}, at.AddLabels(ctx, e.pull, e.label)
	case effectUnlabel:
		return effectResult{}, at.RemoveLabel(ctx, e.pull, e.label)
	case effectComment:
		return g.applyComment(ctx, at, e, again)
	case effectAnswer:
		return g.applyAnswer(ctx, at, e)
	case effectReport:
		return effectResult{Digest: e.digest}, at.Answer(ctx, e.held.run, e.held.environment, "", e.text)
	case effectRerun:
		return effectResult{}, at.RerunJob(ctx, e.held.job)
	default:
		return effectResult{}, fmt.Errorf("an effect of kind %q is not known", e.kind)
	}
}

// applyRequest asks for reviews. GitHub refuses all of a list for one that may not be
// asked (who has no access any more, a team that does not reach the repository): then each
// is asked alone, by the name that it has now if it has another, and it is refused only
// where none could be asked.
func (g *Gate) applyRequest(ctx context.Context, at *place, e effect) error {
	all := at.RequestReviewers(ctx, e.pull, e.users, e.teams)
	var refused *github.Refused
	if !errors.As(all, &refused) {
		return all
	}
	asked := 0
	ask := func(r rules.Reviewer) (bool, error) {
		var err error
		if owner, slug, team := strings.Cut(string(r), "/"); team {
			err = at.RequestReviewers(ctx, e.pull, nil, []string{slug})
		} else {
			err = at.RequestReviewers(ctx, e.pull, []rules.Login{rules.Login(owner)}, nil)
		}
		if err == nil {
			asked++
		} else if errors.As(err, &refused) {
			return true, nil
		}
		return false, err
	}
	one := len(e.users)+len(e.teams) == 1
	var list []rules.Reviewer
	for _, u := range e.users {
		list = append(list, rules.Reviewer(u))
	}
	for _, slug := range e.teams {
		list = append(list, rules.Reviewer(at.owner()+"/"+slug))
	}
	for _, r := range list {
		no := one // asked already
		var err error
		if !one {
			no, err = ask(r)
		}
		if err != nil {
			return err
		}
		if !no {
			continue
		}
		key, now, err := g.nameOf(ctx, at, e, r)
		if err != nil {
			return err
		}
		if now == "" || now.Key() == r.Key() {
			continue
		}
		if no, err = ask(now); err != nil {
			return err
		}
		if !no {
			e.names[key] = now
		}
	}
	if asked == 0 {
		return all
	}
	return nil
}

// nameOf is what a reviewer is called now who was asked by a name of the policy, or by the
// last one that was known; and the policy's name. Where nobody has the pinned id it is "".
func (g *Gate) nameOf(ctx context.Context, at *place, e effect, asked rules.Reviewer) (key string, now rules.Reviewer, err error) {
	for _, v := range []rules.PolicyVersion{e.policies.Repository, e.policies.Floor} {
		for key, id := range v.Directory.Users {
			if cmp.Or(e.names[key], rules.Reviewer(key)).Key() != asked.Key() {
				continue
			}
			login, err := at.LoginOf(ctx, id)
			if errors.Is(err, github.ErrNotFound) {
				err = nil
			}
			return key, rules.Reviewer(login), err
		}
		_, slug, _ := strings.Cut(asked.Key(), "/")
		for key, t := range v.Directory.Teams {
			if _, of, _ := strings.Cut(cmp.Or(e.names[key], rules.Reviewer(key)).Key(), "/"); of != slug {
				continue
			}
			present, err := at.TeamSlug(ctx, at.owner(), t.ID)
			if present == "" {
				return key, "", err
			}
			return key, rules.Reviewer(at.owner() + "/" + present), err
		}
	}
	return "", "", nil
}

// commentMarker begins our comment, so that it is found again. Others can write
// it too: a comment counts as ours by its author.
const commentMarker = "<!-- sallyport -->"

// applyComment edits our one comment, or makes it.
func (g *Gate) applyComment(ctx context.Context, at *place, e effect, again bool) (effectResult, error) {
	if e.comment != 0 {
		err := at.EditComment(ctx, e.comment, e.text)
		var refused *github.Refused
		if err == nil || !errors.As(err, &refused) && !errors.Is(err, github.ErrNotFound) {
			return effectResult{Comment: e.comment, Digest: e.digest}, err
		}
		// Somebody deleted it.
	}
	if !e.search && !again && e.comment == 0 {
		id, err := at.CreateComment(ctx, e.pull, e.text)
		return effectResult{Comment: id, Digest: e.digest}, err
	}
	// Once for each pull request: a comment that is not on record may still be there.
	comments, err := at.OwnComments(ctx, e.pull)
	if err != nil {
		return effectResult{}, err
	}
	for _, c := range comments {
		if strings.HasPrefix(c.Body, cmp.Or(e.marker, commentMarker)) {
			return effectResult{Comment: c.ID, Digest: e.digest}, at.EditComment(ctx, c.ID, e.text)
		}
	}
	id, err := at.CreateComment(ctx, e.pull, e.text)
	return effectResult{Comment: id, Digest: e.digest}, err
}

// findHeld finds the check run of a held deployment that was made, perhaps, and not
// answered: whatever it says, it is of the same run, attempt and turn.
func (g *Gate) findHeld(ctx context.Context, at *place, e effect) (rules.CheckRunID, error) {
	runs, err := at.FindCheckRuns(ctx, string(e.sha), e.check.Name)
	if err != nil {
		return 0, err
	}
	prefix := e.check.ExternalID[:strings.LastIndexByte(e.check.ExternalID, '/')+1]
	for _, r := range runs {
		if r.ID > e.held.not && prefix != "" && strings.HasPrefix(r.ExternalID, prefix) {
			return r.ID, nil
		}
	}
	return 0, nil
}

// applyCheck makes or updates the check run at a commit.
func (g *Gate) applyCheck(ctx context.Context, at *place, e effect, again bool) (effectResult, error) {
	if e.held != nil && e.run == 0 && (again || e.held.tried) {
		var err error
		if e.run, err = g.findHeld(ctx, at, e); err != nil {
			return effectResult{}, err
		}
		again = false
	}
	if e.run == 0 && again {
		// Made, perhaps, and not answered.
		runs, err := at.FindCheckRuns(ctx, string(e.sha), e.check.Name)
		if err != nil {
			return effectResult{}, err
		}
		for _, r := range runs {
			if r.ExternalID == e.check.ExternalID {
				return effectResult{Check: r.ID, Digest: e.digest}, nil
			}
		}
	}
	if e.run != 0 {
		err := at.UpdateCheckRun(ctx, e.run, *e.check)
		if err == nil || !errors.Is(err, github.ErrNotFound) {
			return effectResult{Check: e.run, Digest: e.digest}, err
		}
	}
	id, err := at.CreateCheckRun(ctx, *e.check)
	return effectResult{Check: id, Digest: e.digest}, err
}

// stale is how old the reading of a run may be when its rule is answered: GitHub's
// answer names no attempt.
const stale = 3 * time.Second

// applyAnswer answers our protection rule. It must be the attempt that was judged.
func (g *Gate) applyAnswer(ctx context.Context, at *place, e effect) (effectResult, error) {
	if g.cfg.Now().Sub(e.held.read) > stale {
		run, err := at.Run(ctx, e.held.run)
		if err != nil {
			return effectResult{}, err
		}
		if run.Attempt != e.held.attempt || run.Repository != at.id || run.HeadSHA != e.sha {
			return effectResult{}, fmt.Errorf("run %d moved on to attempt %d while it was judged", run.ID, run.Attempt)
		}
	}
	return effectResult{}, at.Answer(ctx, e.held.run, e.held.environment, e.held.state, e.text)
}
