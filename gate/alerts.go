package gate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sallyport/sallyport/gate/alert"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// Teller tells people: [alert.Sender] does.
type Teller interface {
	// Names are those of wanted that are declared for a repository.
	Names(repository rules.RepositoryID, wanted []string) []string
	// All are all that are declared for a repository.
	All(repository rules.RepositoryID) []string
	Send(ctx context.Context, to string, m alert.Message) error
}

// raised is something that should not have happened.
type raised struct {
	// key tells it from all others: it is raised once.
	key         string
	path        string
	environment string
	run         rules.RunID
	attempt     int
	reason      rules.Reason
	url         string
}

// raise makes ledger entries of what was not raised before, and a function that keeps
// in the same transaction that it was raised and whom to tell.
func (g *Gate) raise(ctx context.Context, at *place, policies rules.Policies, list []raised) ([]ledger.Entry, func(*store.Tx) error, error) {
	var entries []ledger.Entry
	var fresh []raised
	for _, a := range list {
		if slices.ContainsFunc(fresh, func(o raised) bool { return o.key == a.key }) {
			continue
		}
		_, err := g.cfg.Store.Happened(ctx, "alert", a.key)
		if err == nil {
			continue
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, nil, err
		}
		fresh = append(fresh, a)
		g.cfg.Log.WarnContext(ctx, "alert", slog.String("repository", at.fullName), slog.String("environment", a.environment), slog.String("path", a.path),
			slog.String("code", string(a.reason.Code)), slog.String("text", a.reason.Text))
		entries = append(entries, ledger.Entry{
			Kind: ledger.KindAlert, Time: g.cfg.Now(), Payload: alertPayload{Code: a.reason.Code, File: a.path},
			Subject: ledger.Subject{Repository: at.id, SHA: a.reason.SHA, Environment: a.environment, Run: a.run, Attempt: a.attempt, Key: "alert:" + a.key},
			// It may name who did it.
			Personal: map[string]any{"reason": a.reason},
		})
	}
	return entries, func(tx *store.Tx) error {
		for _, a := range fresh {
			if err := tx.Once("alert", a.key, g.cfg.Now()); err != nil {
				return err
			}
			err := g.notify(tx, at, policies, "alert:"+a.key, alert.Message{
				Kind: alert.KindAlert, Code: string(a.reason.Code), Title: "Sallyport alert for " + at.fullName, Text: a.reason.Text + "." + remedy(a.reason.Code), URL: a.url,
				Repository: at.fullName, RepositoryID: at.id, Environment: a.environment, At: g.cfg.Now(),
			})
			if err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func remedy(code rules.Code) string {
	for _, i := range rules.Reasons() {
		if i.Code == code {
			return " " + i.Remedy
		}
	}
	return ""
}

// notify keeps a message to be sent to everybody whom the policies in force name, once
// for each key. Where no policy can be read everybody who is declared is told.
func (g *Gate) notify(tx *store.Tx, at *place, policies rules.Policies, key string, m alert.Message) error {
	if g.cfg.Tell == nil {
		return nil
	}
	var names []string
	if policies.Repository.Policy == nil {
		names = g.cfg.Tell.All(at.id)
	} else {
		names = policies.Repository.Policy.Alerts
	}
	if policies.Floor.Policy != nil {
		names = append(slices.Clone(names), policies.Floor.Policy.Alerts...)
	}
	if m.Code == "" {
		m.Code = string(codeDeployMissing)
	}
	payload, err := json.Marshal(m)
	if err != nil {
		return err
	}
	for _, to := range g.cfg.Tell.Names(at.id, names) {
		if _, err := tx.Notify(store.Notice{Key: key, To: to, Repository: at.id, Payload: payload, MadeAt: g.cfg.Now()}); err != nil {
			return err
		}
	}
	return nil
}

// codeDeployMissing is that of a deployment which waits for its reviewers.
const codeDeployMissing rules.Code = "SP520"

// How notices are sent.
const (
	noticeLease = time.Minute
	// noticePause is the first wait after a try that failed; it doubles to noticeMost.
	noticePause = 5 * time.Second
	noticeMost  = 10 * time.Minute
	// noticeKept is how long one is tried.
	noticeKept = 24 * time.Hour
)

// tells sends what people are to be told, until ctx ends.
func (g *Gate) tells(ctx context.Context) {
	for ctx.Err() == nil {
		if err := g.Tell(ctx); err != nil && ctx.Err() == nil {
			g.cfg.Log.WarnContext(ctx, "notices cannot be sent", slog.Any("cause", err))
		}
		timer := time.NewTimer(idle)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Tell sends the notices that are due.
func (g *Gate) Tell(ctx context.Context) error {
	if g.cfg.Tell == nil {
		return nil
	}
	for {
		now := g.cfg.Now()
		due, err := g.cfg.Store.TakeNotices(ctx, now, noticeLease, 10)
		if err != nil || len(due) == 0 {
			return err
		}
		for _, n := range due {
			if err := g.tell(ctx, n); err != nil {
				return err
			}
		}
	}
}

func (g *Gate) tell(ctx context.Context, n store.Notice) error {
	var m alert.Message
	now := g.cfg.Now()
	if err := json.Unmarshal(n.Payload, &m); err != nil {
		return ignoreGone(g.cfg.Store.GiveUpNotice(ctx, n.Key, n.To, fmt.Errorf("reading a stored notice: %w", err), now))
	}
	err := g.cfg.Tell.Send(ctx, n.To, m)
	var failed *alert.Failed
	switch {
	case err == nil:
		return ignoreGone(g.cfg.Store.EndNotice(ctx, n.Key, n.To, now))
	case ctx.Err() != nil:
		return ctx.Err() // its lease runs out, and it is sent again
	case errors.As(err, &failed) && failed.Permanent, now.Sub(n.MadeAt) > noticeKept:
		g.cfg.Log.ErrorContext(ctx, "a notice is given up", slog.String("to", n.To), slog.String("notice", n.Key), slog.Any("cause", err))
		return ignoreGone(g.cfg.Store.GiveUpNotice(ctx, n.Key, n.To, err, now))
	}
	wait := min(noticePause<<min(n.Attempts, 10), noticeMost)
	if failed != nil {
		wait = cmp.Or(failed.RetryAfter, wait)
	}
	g.cfg.Log.WarnContext(ctx, "a notice did not arrive and will be sent again", slog.String("to", n.To), slog.String("notice", n.Key), slog.Duration("in", wait), slog.Any("cause", err))
	return ignoreGone(g.cfg.Store.FailNotice(ctx, n.Key, n.To, err, now.Add(wait)))
}
