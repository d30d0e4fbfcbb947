package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/gate/actions"
	"github.com/sallyport/sallyport/rules"
)

const (
	// gateWait is how long gate waits unless the input wait says.
	gateWait = 10 * time.Minute
	// gateMost is the longest that it may be told to: GitHub ends a job after six hours.
	gateMost = 6 * time.Hour
	// gateAsk is how long it tries to reach the server, however short it waits.
	gateAsk = 10 * time.Second
	// gateFirst is how long the server first holds its answer back; each time is twice as
	// long. Who can approve is known a moment after the job asked, and is no change of
	// state for which the server would answer early.
	gateFirst = 2 * time.Second
	// gateQuiet is how long the log says nothing while nothing changes.
	gateQuiet = time.Minute
)

func (a *app) actionGateCommand() *cobra.Command {
	return a.stepCommand(&cobra.Command{
		Use:   "gate",
		Short: "Hold this job until a required reviewer has approved what it deploys",
		Annotations: map[string]string{"exit": `0  released: the job may go on
1  rejected, denied, or something could not be read
2  an input is wrong
3  a human is needed, and did not come within the input wait`},
	}, func(ctx context.Context, s *step) error { return s.hold(ctx) })
}

// hold asks whether the job may go on. Every way out but "released" ends the job.
func (s *step) hold(ctx context.Context) error {
	wait, err := waitFor(s.job.Input("wait"))
	if err != nil {
		return err
	}
	var state actions.State
	if s.server() == "" {
		state, err = s.holdAlone(ctx, wait)
	} else {
		state, err = s.holdAtServer(ctx, wait)
	}
	if err != nil {
		return fmt.Errorf("the job is not released: %w", err)
	}
	return s.tellHold(state)
}

// waitFor reads the input wait.
func waitFor(text string) (time.Duration, error) {
	if text == "" {
		return gateWait, nil
	}
	d, err := time.ParseDuration(text)
	if text == "0" {
		d, err = 0, nil
	}
	if err != nil || d < 0 || d > gateMost {
		return 0, refuse("the input wait is %q: want a time such as 30s, 10m or 1h, up to 6h", text)
	}
	return d, nil
}

// holdAtServer asks the server, and waits there until somebody decided or the time is
// over.
func (s *step) holdAtServer(ctx context.Context, wait time.Duration) (actions.State, error) {
	client, err := s.connect()
	if err != nil {
		return actions.State{}, err
	}
	start := time.Now()
	end := start.Add(wait)
	state, err := s.askHold(ctx, client, end)
	said, at, held := "", start, gateFirst
	for err == nil && state.State == actions.Waiting {
		switch line := waitLine(state); {
		case line != said:
			s.job.Say(line)
			said, at = line, time.Now()
		case time.Since(at) >= gateQuiet:
			s.job.Say(fmt.Sprintf("Still waiting, %s of %s.", time.Since(start).Round(time.Second), wait))
			at = time.Now()
		}
		left := time.Until(end)
		if len(state.Decision.Reasons) == 0 { // not judged yet: who can approve is said however short it waits
			left = max(left, time.Until(start.Add(gateAsk)))
		}
		if left < time.Second {
			return state, nil
		}
		asked := time.Now()
		state, err = s.watchHold(ctx, client, state, asked.Add(left), min(left, held))
		held = min(2*held, actions.MaxHold)
		// A server that has no place left answers at once.
		if err == nil && state.State == actions.Waiting && time.Since(asked) < gateFirst/2 {
			pause(ctx, min(left, max(2*time.Second, time.Duration(min(state.RetryAfter, 60))*time.Second)))
		}
	}
	return state, err
}

// askHold makes the hold, or finds it.
func (s *step) askHold(ctx context.Context, client *actions.Client, end time.Time) (actions.State, error) {
	ctx, cancel := context.WithTimeout(ctx, max(gateAsk, time.Until(end)))
	defer cancel()
	state, err := client.Hold(ctx)
	return s.ours(state, err)
}

// watchHold waits until the hold changes, with some time more for the answer itself.
func (s *step) watchHold(ctx context.Context, client *actions.Client, state actions.State, end time.Time, held time.Duration) (actions.State, error) {
	limited, cancel := context.WithTimeout(ctx, time.Until(end)+gateAsk)
	defer cancel()
	next, err := client.HoldState(limited, state.ID, held)
	var p *actions.Problem
	if errors.As(err, &p) && p.Status == http.StatusNotFound && p.Code == "hold-not-found" {
		return s.askHold(ctx, client, end) // a server that was set up again has forgotten it
	}
	return s.ours(next, err)
}

// ours refuses the hold of another job: it would release this one.
func (s *step) ours(state actions.State, err error) (actions.State, error) {
	if err == nil && (state.Run != s.env.Run || state.Attempt != s.env.Attempt) {
		return actions.State{}, fmt.Errorf("the server answered for run %d, attempt %d, and this is run %d, attempt %d", state.Run, state.Attempt, s.env.Run, s.env.Attempt)
	}
	return state, err
}

// pause waits, or less if ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// tellHold writes what became of the hold, and turns it into an exit code.
func (s *step) tellHold(state actions.State) error {
	decision, err := compact(state.Decision)
	if err != nil {
		return err
	}
	err = s.outputs(
		[2]string{"state", word(state.State)}, [2]string{"environment", state.Environment}, [2]string{"hold-id", state.ID},
		[2]string{"waits", state.Waits}, [2]string{"url", link(state.URL)}, [2]string{"grant", strconv.FormatBool(state.Grant)}, [2]string{"decision", decision},
	)
	if err != nil {
		return err
	}
	if err := s.print(state); err != nil {
		return err
	}
	if err := s.job.Summary(holdSummary(state)); err != nil {
		return err
	}
	place := visible(cmp.Or(state.Environment, "this deployment"))
	switch state.State {
	case actions.Released:
		s.job.Say(fmt.Sprintf("Released: %s at %s.", place, visible(state.SHA.Short())))
		return nil
	case actions.Waiting:
		return &codeError{code: ExitHuman, err: fmt.Errorf("%s Nobody did so yet, and the job ends here so that no runner idles: once it is approved it is run again", waitLine(state))}
	case actions.Rejected, actions.Denied:
		return fmt.Errorf("%s: %s", state.State, why(state))
	default:
		return fmt.Errorf("the server says %q, which this version does not know: the job is not released", state.State)
	}
}

// word is a state for machines: one that nobody knows is no word of ours.
func word(state string) string {
	switch state {
	case actions.Released, actions.Waiting, actions.Rejected, actions.Denied:
		return state
	default:
		return "unknown"
	}
}

// waitLine says in one line who can approve and where.
func waitLine(state actions.State) string {
	text := visible(cmp.Or(state.Waits, "Held: "+headline(state.Decision)))
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	if l := link(state.URL); l != "" {
		text += " " + l + " ."
	}
	return text
}

// why is the ground of a refusal in one line.
func why(state actions.State) string {
	for _, v := range []rules.Verdict{rules.VerdictDeny, rules.VerdictWait} {
		for _, r := range state.Decision.Reasons {
			if r.Verdict == v {
				return fmt.Sprintf("%s (%s)", visible(r.Text), visible(string(r.Code)))
			}
		}
	}
	return visible(cmp.Or(state.Waits, "no ground is given"))
}

// link is a web address, or nothing where it is none.
func link(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.ContainsAny(text, "<>\"'`()[]{}|\\^ ") || visible(text) != text {
		return ""
	}
	return text
}

// holdSummary is the job's page.
func holdSummary(state actions.State) string {
	var b strings.Builder
	title := map[string]string{actions.Released: "released", actions.Waiting: "held for a human", actions.Rejected: "rejected", actions.Denied: "denied"}[state.State]
	fmt.Fprintf(&b, "### Sallyport: %s %s\n\n", actions.Markdown(state.Environment), cmp.Or(title, "not released"))
	switch state.State {
	case actions.Released:
		fmt.Fprintf(&b, "%s may go on at %s.\n", actions.Code(state.Environment), actions.Code(string(state.SHA)))
	case actions.Waiting:
		fmt.Fprintf(&b, "%s\n", actions.Markdown(cmp.Or(state.Waits, headline(state.Decision))))
	default:
		fmt.Fprintf(&b, "%s\n", actions.Markdown(why(state)))
	}
	if l := link(state.URL); l != "" {
		fmt.Fprintf(&b, "\n<%s>\n", l)
	}
	return b.String()
}

// interruptible ends a context when the runner or a person wants this process to end.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}
