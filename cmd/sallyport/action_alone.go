package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/cmd/sallyport/standalone"
	"github.com/sallyport/sallyport/gate/actions"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// aloneAgain is how often a job without a server judges again: each time costs a dozen of
// the repository's requests.
const aloneAgain = time.Minute

// alone is the judge that works with nothing but the job's token.
func (s *step) alone() (*standalone.Judge, error) {
	if s.env.Token == "" {
		return nil, refuse("no server and no token: give the input server, or the input token")
	}
	floor := s.job.Input("floor")
	if floor != "" && floor != "none" {
		return nil, refuse("the input floor is %q: want none, where the organisation has no floor", floor)
	}
	e := &s.env
	job := standalone.Job{
		APIURL: e.APIURL, ServerURL: e.ServerURL, Token: github.Token(e.Token.Reveal()), Repository: e.Repository, Run: e.Run, Attempt: e.Attempt, Event: e.Event, SHA: e.SHA,
		Workflow: workflowPath(e.WorkflowRef, e.Repository.FullName), Runner: getenv(s.app.env, "RUNNER_NAME"), Environment: e.Environment,
		Since: rules.SHA(s.job.Input("since")), NoFloor: floor == "none",
	}
	if pull, err := e.Pull(); err == nil {
		job.Pull = pull.Change.Number
	}
	return standalone.New(job)
}

// workflowPath is the path in owner/name/path@ref.
func workflowPath(ref, repository string) string {
	path, _, _ := strings.Cut(ref, "@")
	if len(path) > len(repository) && strings.EqualFold(path[:len(repository)], repository) {
		return strings.TrimPrefix(path[len(repository):], "/")
	}
	return ""
}

// holdAlone is the gate without a server: it judges by itself until somebody approved or
// the time is over.
func (s *step) holdAlone(ctx context.Context, wait time.Duration) (actions.State, error) {
	judge, err := s.alone()
	if err != nil {
		return actions.State{}, err
	}
	end := time.Now().Add(wait)
	said := ""
	for {
		v, err := judge.Gate(ctx)
		var app *standalone.NeedsApp
		if errors.As(err, &app) {
			return actions.State{}, &codeError{code: ExitHuman, err: err}
		}
		if err != nil {
			return actions.State{}, err
		}
		state := actions.State{
			State: actions.Waiting, Environment: v.Environment, SHA: s.env.SHA, Run: s.env.Run, Attempt: s.env.Attempt, Decision: v.Decision, Waits: v.Line, URL: v.URL,
		}
		switch {
		case v.Allowed:
			state.State = actions.Released
		case v.Decision.Verdict != rules.VerdictWait:
			state.State = actions.Denied
		}
		if state.State != actions.Waiting || time.Until(end) < aloneAgain {
			return state, nil
		}
		if line := waitLine(state); line != said {
			s.job.Say(line)
			said = line
		}
		pause(ctx, aloneAgain)
		if err := ctx.Err(); err != nil {
			return actions.State{}, fmt.Errorf("interrupted: %w", err)
		}
	}
}
