package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// Hold makes the hold of a job that asks whether it may go on: the token is GitHub's
// word for what the job is. It opens nothing; the run is looked at like any other.
func (g *Gate) Hold(ctx context.Context, t rules.JobToken) (jobs.State, error) {
	c := t.Claims
	repo, err := g.served(ctx, c)
	if err != nil {
		return jobs.State{}, err
	}
	switch {
	case c.Environment == "":
		return jobs.State{}, &jobs.Refusal{Status: http.StatusUnprocessableEntity, Code: "claim-missing", Claim: "environment", Text: "The job names no environment: only a deployment is held. Name it in the job."}
	case c.CheckRunID <= 0:
		return jobs.State{}, &jobs.Refusal{Status: http.StatusUnprocessableEntity, Code: "claim-missing", Claim: "check_run_id", Text: "The token does not say which job it is of, as on older GitHub Enterprise Servers. Enable Sallyport as a deployment protection rule instead."}
	case !c.SHA.Valid() || c.RunID <= 0 || c.RunAttempt <= 0:
		return jobs.State{}, &jobs.Refusal{Status: http.StatusUnprocessableEntity, Code: "claim-missing", Claim: "run_id", Text: "The token does not say of which run and commit it is."}
	}
	claims, err := json.Marshal(c, json.Deterministic(true))
	if err != nil {
		return jobs.State{}, err
	}
	h := store.Hold{
		ID: holdID(c), Repository: c.RepositoryID, Run: c.RunID, Attempt: c.RunAttempt, Environment: c.Environment, Job: c.CheckRunID, SHA: c.SHA,
		Claims: claims, AskedAt: g.cfg.Now(),
	}
	err = g.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		known, err := tx.AddHold(h)
		if err != nil {
			return err
		}
		priority := rules.PriorityAsked
		if known {
			priority = rules.PriorityDoor
		}
		return tx.Mark(rules.Mark{Key: runKey(c.RepositoryID, c.RunID), Priority: priority, Installation: repo.Installation, FullName: repo.FullName}, g.cfg.Now())
	})
	if errors.Is(err, store.ErrAlready) {
		return jobs.State{}, &jobs.Refusal{Status: http.StatusConflict, Code: "hold-other", Text: "This job asked before with other claims."}
	}
	if err != nil {
		return jobs.State{}, err
	}
	g.Wake()
	return g.stateOf(ctx, h)
}

// HoldState is a hold as it is now, for the job that is held.
func (g *Gate) HoldState(ctx context.Context, id string, t rules.JobToken) (jobs.State, error) {
	c := t.Claims
	if _, err := g.served(ctx, c); err != nil {
		return jobs.State{}, err
	}
	h, err := g.cfg.Store.Hold(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && h.ID != holdID(c) {
		return jobs.State{}, jobs.ErrNotFound
	}
	if err != nil {
		return jobs.State{}, err
	}
	return g.stateOf(ctx, h)
}

// served is the repository of a token, if it is one that is served: GitHub is not
// asked.
func (g *Gate) served(ctx context.Context, c rules.JobClaims) (store.Repository, error) {
	repo, err := g.cfg.Store.Repository(ctx, c.RepositoryID)
	if errors.Is(err, store.ErrNotFound) {
		return repo, jobs.ErrNotServed
	}
	if err != nil {
		return repo, err
	}
	in, err := g.cfg.Store.Installation(ctx, repo.Installation)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return repo, err
	}
	if err != nil || in.State != installationActive || !g.owners[in.Account] || in.Account != c.RepositoryOwnerID {
		return repo, jobs.ErrNotServed
	}
	return repo, nil
}

// holdID names the hold of one job of one attempt at one environment.
func holdID(c rules.JobClaims) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\n%d\n%d\n%d\n%s\n%s", c.RepositoryID, c.RunID, c.RunAttempt, c.CheckRunID, c.SHA, strings.ToLower(c.Environment)))
	return hex.EncodeToString(sum[:16])
}

// stateOf is what was concluded about a job's hold.
func (g *Gate) stateOf(ctx context.Context, x store.Hold) (jobs.State, error) {
	out := jobs.State{
		ID: x.ID, State: jobs.Waiting, Environment: x.Environment, SHA: x.SHA, Run: x.Run, Attempt: x.Attempt, RetryAfter: 2, Waits: "It is being judged.",
		Decision: rules.Decision{Verdict: rules.VerdictWait, Environments: []string{}, Reasons: []rules.Reason{}},
	}
	var data runData
	if err := g.subject(ctx, runKey(x.Repository, x.Run), &data); err != nil {
		return out, err
	}
	h := data.covering(x)
	if h == nil || h.ID == "" {
		return out, nil
	}
	out.Decision, out.URL, out.Waits = h.Decision, h.Shown.URL, ""
	switch {
	case h.State == heldReleased && h.Rerun == 0 && (!h.Ended || h.Rule):
		out.State, out.Grant, out.RetryAfter = jobs.Released, !h.Decision.Observe, 0
	case h.State == heldReleased && h.Ended && !h.Rule && slices.Contains(h.Jobs, x.Job) && !data.carries(x.Job):
		out.State, out.Grant, out.RetryAfter = jobs.Released, !h.Decision.Observe, 0
	case h.State == heldRejected:
		out.State, out.RetryAfter = jobs.Denied, 0
		if has(h.Decision, codeRejected) {
			out.State = jobs.Rejected
		}
	default:
		out.RetryAfter = 5
		if h.asks() {
			out.Waits = deployHeadline(h) + ". Approve on the check " + deployCheck(h.Environment) + " of the commit."
		} else {
			out.Waits = deployHeadline(h) + "."
		}
	}
	return out, nil
}

// codeRejected is that of a person's no.
const codeRejected rules.Code = "SP525"

// covering is what a job is held by, or was: the newest turn that has it.
func (d *runData) covering(x store.Hold) *heldData {
	var out *heldData
	for _, h := range d.Held {
		if h.Attempt == x.Attempt && strings.EqualFold(h.Environment, x.Environment) && slices.Contains(h.Jobs, x.Job) && (out == nil || h.Turn > out.Turn) {
			out = h
		}
	}
	return out
}

// carries reports whether a job's approval is for the attempt that follows.
func (d *runData) carries(job rules.CheckRunID) bool {
	return slices.ContainsFunc(d.Carried, func(c carried) bool { return c.Job == job })
}

// Word takes a listed person's word on a held deployment from our own pages, which
// vouch for who it is. Hold is the name that the page showed.
func (g *Gate) Word(ctx context.Context, repository rules.RepositoryID, w rules.Word) error {
	run, ok := rules.RunOfHold(w.Hold)
	if !ok || w.Actor.ID <= 0 || w.Actor.Type != rules.ActorUser {
		return fmt.Errorf("a word of %q on the held deployment %q", w.Actor.Login, w.Hold)
	}
	payload, err := json.Marshal(w, json.Deterministic(true))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(payload)
	key := runKey(repository, run)
	repo, err := g.cfg.Store.Repository(ctx, repository)
	if err != nil {
		return fmt.Errorf("repository %d: %w", repository, err)
	}
	err = g.cfg.Store.Update(ctx, func(tx *store.Tx) error {
		f := rules.EventFact{Kind: rules.FactWord, Key: hex.EncodeToString(sum[:]), Subject: key, Repository: repository, Event: "word", Sender: w.Actor.ID, Payload: payload}
		if err := tx.AddFact(f, g.cfg.Now()); err != nil {
			return err
		}
		return tx.Mark(rules.Mark{Key: key, Priority: rules.PriorityAsked, Installation: repo.Installation, FullName: repo.FullName}, g.cfg.Now())
	})
	if err == nil {
		g.Wake()
	}
	return err
}

// Holds are the deployments that wait in a run, by the names that an approval of each
// binds to, with what was decided about them.
func (g *Gate) Holds(ctx context.Context, repository rules.RepositoryID, run rules.RunID) (map[string]rules.Decision, error) {
	var data runData
	if err := g.subject(ctx, runKey(repository, run), &data); err != nil {
		return nil, err
	}
	out := map[string]rules.Decision{}
	for _, h := range data.Held {
		if h.State == heldWaiting && h.ID != "" {
			out[h.Name] = h.Decision
		}
	}
	return out, nil
}
