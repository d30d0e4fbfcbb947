package selftest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// Config is what a walk works with.
type Config struct {
	// Repository is the scratch repository, OWNER/NAME. Confirmed is the same, typed
	// once more by the person who consents.
	Repository, Confirmed string
	// GitHub is the App's client, API the base of its REST API ("" is github.com's).
	GitHub *github.Client
	API    string
	// URL is the server's, which runs beside. Targets are its.
	URL     string
	Targets *rules.Targets
	// Adopt brings the repository's policy into force.
	Adopt func(ctx context.Context) error
	// Team, where it is set, is the slug of a team of the owner whose members are
	// searched for.
	Team string
	// NoRule says that the environment can have no protection rule: the job asks by
	// itself.
	NoRule bool
	// Wait is how long a person may take for one click, Poll how long is waited
	// between two looks, Window how long GitHub may take for what it does by itself.
	// 0 is 15 minutes, 3 seconds, 3 minutes.
	Wait, Poll, Window time.Duration
	// Event is how soon the server counts on the event of a run that was started by
	// hand; 0 is the 2 minutes that it does.
	Event time.Duration
	// Ask is told what a person is to do; it does not wait for it. Say is told of
	// progress.
	Ask func(ctx context.Context, t Task)
	Say func(line string)
	// Transport carries the walk's own requests; nil is one with time limits.
	Transport http.RoundTripper
}

// Task is something that a person is to do on GitHub.
type Task struct {
	// ID is "rule", "review", "approve" or "dispatch".
	ID string
	// What says it in a sentence, Where is the page.
	What, Where string
	// Pull is the pull request's number, for "review". SHA is the deployed commit, for
	// "approve".
	Pull int
	SHA  rules.SHA
}

// Refused means that the walk did not begin: there is no consent, or the repository or
// the server is not ready for it. Nothing was changed.
type Refused struct{ Why string } //nolint:errname // it is an answer

// Error says why, and what would be right.
func (e *Refused) Error() string { return e.Why }

func refuse(format string, args ...any) error { return &Refused{fmt.Sprintf(format, args...)} }

// Plan is what a walk does, for people who are to consent.
func Plan(fullName string) string {
	return fmt.Sprintf(`In %[1]s, and nowhere else, the App will
  - bring the policy of its default branch into force (as sallyport-app adopt does);
  - make two branches %[2]sdev-… and %[2]sproduction-…, commit one file to the first and
    two to the second, below %[3]s, and open a pull request from each;
  - have both merged: the first by the server, as nothing asks a human; the second after you
    approved it;
  - make a commit that no branch names, one check run "sallyport-selftest-again", and one status of
    the run's deployment that names the environment "sallyport-selftest-other";
  - delete its branches again, and close its pull requests that are still open.
You will be asked to enable the protection rule of the environment %[4]s, to
approve a pull request, to press a button on a check, and to start a workflow by hand.
What stays: what was merged, the runs, the closed pull requests, the environments, and the
entries of the server's ledger.
`, fullName, branches, folder, Environment)
}

// walk is one walk.
type walk struct {
	cfg    Config
	wire   *wire
	report *Report
	facts  map[string]*Fact

	owner, name  string
	org          bool
	id           rules.RepositoryID
	html, branch string
	head         string // of the default branch, when the walk began
	app          github.App
	installation github.Installation
	values       values
	run          string // a name that this walk's branches have

	tokens tokens

	dev, production pull
	deploy          deployment
	undo            []undo
}

// Run walks. The report is nil where it did not begin; a *Refused says why. Any other
// error means that it ended early: the report says how far it came.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	owner, name, ok := strings.Cut(cfg.Repository, "/")
	if !ok || owner == "" || name == "" || strings.Contains(name, "/") || url.PathEscape(owner+name) != owner+name {
		return nil, refuse("%q is not OWNER/REPO", cfg.Repository)
	}
	if !strings.EqualFold(cfg.Confirmed, cfg.Repository) {
		return nil, refuse("nothing was done. If you want this, in this repository: --yes-use %s", cfg.Repository)
	}
	cfg.Wait, cfg.Poll, cfg.Window = cmp.Or(cfg.Wait, 15*time.Minute), cmp.Or(cfg.Poll, 3*time.Second), cmp.Or(cfg.Window, 3*time.Minute)
	cfg.Event = cmp.Or(cfg.Event, 2*time.Minute)
	if cfg.Ask == nil {
		cfg.Ask = func(context.Context, Task) {}
	}
	if cfg.Say == nil {
		cfg.Say = func(string) {}
	}
	now := time.Now().UTC()
	w := &walk{cfg: cfg, owner: owner, name: name, facts: map[string]*Fact{}, run: now.Format("20060102-150405")}
	w.wire = newWire(cmp.Or(cfg.API, github.DefaultBaseURL), owner+"/"+name, cfg.Transport)
	w.wire.token = w.token
	w.report = &Report{Repository: cfg.Repository, GitHub: w.wire.base, Server: cfg.URL, Started: now, Left: []string{}}
	for _, f := range Facts() {
		w.facts[f.ID] = &Fact{ID: f.ID, Outcome: NotSeen, Seen: cmp.Or(f.Never, "the walk did not come there"), log: f.log}
	}
	defer w.dropTokens(ctx)
	if err := w.ready(ctx); err != nil {
		return nil, err
	}
	err := w.doors(ctx)
	w.clean(ctx)
	for _, f := range Facts() {
		w.report.Facts = append(w.report.Facts, *w.facts[f.ID])
	}
	w.wire.mu.Lock()
	w.report.Requests = slices.Clone(w.wire.all)
	w.wire.mu.Unlock()
	w.report.Ended = time.Now().UTC()
	return w.report, err
}

// door is one step of the walk. One that does not come to its end has those after it
// skipped, but for what needs it not.
type door struct {
	id, what string
	open     func(ctx context.Context) (detail string, err error)
	// alone says that it needs none of those before it.
	alone bool
}

// doors walks through all of them. Its error is that of a context that ended.
func (w *walk) doors(ctx context.Context) error {
	all := []door{
		{id: "webhook", what: "GitHub's events reach the server", open: w.webhook, alone: true},
		{id: "adopt", what: "the policy is in force", open: w.adopt},
		{id: "rule", what: "the environment has the protection rule", open: w.rule},
		{id: "pull-dev", what: "a pull request that asks no human is let through and merged", open: w.pullDev},
		{id: "pull-production", what: "a pull request to production is held until a human approves it", open: w.pullProduction},
		{id: "deploy-held", what: "its deployment is held", open: w.deployHeld},
		{id: "deploy-released", what: "a press of the button releases it", open: w.deployReleased},
		{id: "token", what: "the job gets its token once, and ends it", open: w.tokenGiven},
		{id: "dispatch", what: "a run that was started by hand is rejected, as the policy says", open: w.dispatched},
		{id: "questions", what: "what else GitHub's documentation leaves open", open: w.questions, alone: true},
	}
	broken := false
	for _, d := range all {
		s := Step{ID: d.id, What: d.what, Outcome: Skipped}
		if (broken && !d.alone) || ctx.Err() != nil {
			w.report.Steps = append(w.report.Steps, s)
			continue
		}
		w.cfg.Say(d.what + " …")
		began := time.Now()
		var err error
		s.Detail, err = d.open(ctx)
		s.Seconds = time.Since(began).Round(time.Millisecond).Seconds()
		switch {
		case err == nil:
			s.Outcome = Done
		case errors.Is(err, errVain):
			s.Outcome, s.Detail = Unmet, err.Error()
		default:
			s.Outcome, s.Detail = Failed, err.Error()
		}
		if err != nil && !d.alone {
			broken = true
		}
		w.cfg.Say(fmt.Sprintf("  %s %s", s.Outcome, s.Detail))
		w.report.Steps = append(w.report.Steps, s)
	}
	return ctx.Err()
}

// errVain means that something was waited for in vain.
var errVain = errors.New("waited in vain")

// until looks again and again until something is so. An error of a look is told in the
// end, if it never becomes so; one that is final ends the waiting.
func (w *walk) until(ctx context.Context, what string, most time.Duration, so func(ctx context.Context) (bool, error)) error {
	end := time.Now().Add(most)
	for {
		done, err := so(ctx)
		var final *finalError
		switch {
		case done:
			return nil
		case errors.As(err, &final):
			return final
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(end):
			if err != nil {
				return fmt.Errorf("%w for %s until %s: %w", errVain, most, what, err)
			}
			return fmt.Errorf("%w for %s until %s", errVain, most, what)
		}
		if err := sleep(ctx, w.cfg.Poll); err != nil {
			return err
		}
	}
}

// finalError is what waiting longer does not change.
type finalError struct{ text string }

// Error says it.
func (e *finalError) Error() string { return e.text }

func final(format string, args ...any) error { return &finalError{fmt.Sprintf(format, args...)} }
