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
// is asked alone, and it is refused only where none could be asked.
func (g *Gate) applyRequest(ctx context.Context, at *place, e effect) error {
	all := at.RequestReviewers(ctx, e.pull, e.users, e.teams)
	var refused *github.Refused
	if !errors.As(all, &refused) || len(e.users)+len(e.teams) < 2 {
		return all
	}
	asked := 0
	ask := func(users []rules.Login, teams []string) error {
		err := at.RequestReviewers(ctx, e.pull, users, teams)
		switch {
		case err == nil:
			asked++
		case !errors.As(err, &refused):
			return err
		}
		return nil
	}
	for _, u := range e.users {
		if err := ask([]rules.Login{u}, nil); err != nil {
			return err
		}
	}
	for _, t := range e.teams {
		if err := ask(nil, []string{t}); err != nil {
			return err
		}
	}
	if asked == 0 {
		return all
	}
	return nil
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
