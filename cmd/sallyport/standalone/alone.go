package standalone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// Job is the job that asks, as its runner tells it. Nothing in it opens anything: each
// is compared with what GitHub says.
type Job struct {
	// APIURL is GITHUB_API_URL, ServerURL GITHUB_SERVER_URL, Token the GITHUB_TOKEN.
	APIURL, ServerURL string
	Token             github.Token
	// Repository is GITHUB_REPOSITORY_ID with GITHUB_REPOSITORY.
	Repository rules.Repository
	// Run, Attempt, Event and SHA are GITHUB_RUN_ID, GITHUB_RUN_ATTEMPT,
	// GITHUB_EVENT_NAME and GITHUB_SHA.
	Run     rules.RunID
	Attempt int
	Event   string
	SHA     rules.SHA
	// Workflow is the path of the run's workflow file: GITHUB_WORKFLOW_REF without the
	// repository before it and the ref behind.
	Workflow string
	// CheckRun is the job's own number where it is known, and Runner is RUNNER_NAME:
	// which of the run's jobs this is. Environment, if given, is what the job must turn
	// out to deploy to.
	CheckRun    rules.CheckRunID
	Runner      string
	Environment string
	// Pull is the number of the pull request of a pull_request event.
	Pull int
	// Since is the commit up to which everything counts as released, where no run shows
	// it. It must stand in the workflow file at the deployed commit, in full.
	Since rules.SHA
	// NoFloor says that the organisation has no floor where none can be seen.
	NoFloor bool

	// Transport carries the requests, Now is the clock and Log is told of requests at
	// debug level; nil is the usual one of each.
	Transport http.RoundTripper
	Now       func() time.Time
	Log       *slog.Logger
}

// Verdict is what becomes of the job.
type Verdict struct {
	Decision rules.Decision
	// Allowed says that the job may go on: it is allowed, or the policy only observes.
	Allowed bool
	// Again says that it may become right while the job waits: somebody can approve the
	// pull request. What was merged is what it is.
	Again bool
	// Environment is GitHub's name of where the job deploys; empty for a pull request.
	Environment string
	// Base is the commit that what the job brings is counted from; empty if there is none.
	Base rules.SHA
	// Line says who can approve and where, or why it went on. It is one line, and safe
	// to print. URL is where; empty where there is nothing to do.
	Line, URL string
}

// NeedsApp is the error of what only the App can judge: its exit code is that of a human
// who is needed.
type NeedsApp struct { //nolint:errname // it is an answer
	// Why is what cannot be judged here, safe to print.
	Why string
}

// Error names the App.
func (e *NeedsApp) Error() string {
	return e.Why + ": without a server only policies whose reviewers are users and whose environment has steps: [merge] can be judged; install the Sallyport App (docs/server.md) and name its server"
}

// Judge judges for one job. It is for one goroutine.
type Judge struct {
	job    Job
	client *github.Client
	repo   *github.Repository
	info   github.RepositoryInfo
	users  map[string]rules.AccountID // logins of policies, in lower case; 0 is nobody
	floor  *rules.PolicyVersion
}

// New makes a judge. It asks nothing yet.
func New(job Job) (*Judge, error) {
	owner, name, ok := strings.Cut(job.Repository.FullName, "/")
	switch {
	case job.Repository.ID <= 0 || !ok || owner == "" || name == "" || strings.Contains(name, "/"):
		return nil, fmt.Errorf("standalone: %q with id %d is no repository: want GITHUB_REPOSITORY and GITHUB_REPOSITORY_ID", job.Repository.FullName, job.Repository.ID)
	case job.Token == "":
		return nil, errors.New("standalone: the job's token is missing: give the step the input token or the variable GITHUB_TOKEN")
	case job.Since != "" && !job.Since.Valid():
		return nil, fmt.Errorf("standalone: since is %q: want a full commit id", job.Since)
	}
	if job.Now == nil {
		job.Now = time.Now
	}
	c, err := github.NewForJob(github.JobConfig{
		Token: job.Token, BaseURL: job.APIURL, Transport: job.Transport, Now: job.Now, Log: job.Log, UserAgent: "sallyport-standalone",
	})
	if err != nil {
		return nil, err
	}
	return &Judge{job: job, client: c, repo: c.Repository(0, job.Repository.ID, job.Repository.FullName), users: map[string]rules.AccountID{}}, nil
}

// Gate says whether the job may go on. Any error means that it may not. Asked again it
// reads everything anew.
func (j *Judge) Gate(ctx context.Context) (Verdict, error) {
	j.forget()
	if strings.HasPrefix(j.job.Event, "pull_request") {
		return j.gatePull(ctx)
	}
	return j.gateDeploy(ctx)
}

// forget drops what was read for an earlier answer.
func (j *Judge) forget() {
	j.info, j.floor = github.RepositoryInfo{}, nil
	clear(j.users)
}

// read makes sure that what is asked is the job's repository.
func (j *Judge) read(ctx context.Context) error {
	info, err := j.repo.Info(ctx)
	if err != nil {
		return fmt.Errorf("reading %s with the job's token: %w", word(j.job.Repository.FullName), err)
	}
	if info.ID != j.job.Repository.ID {
		return fmt.Errorf("%s is repository %d, and the job runs in %d: it was renamed while this ran; run the job again", word(j.job.Repository.FullName), info.ID, j.job.Repository.ID)
	}
	if info.DefaultBranch == "" {
		return fmt.Errorf("GitHub gave no default branch of %s", word(j.job.Repository.FullName))
	}
	j.info = info
	return nil
}

// gatePull is the gate in a workflow of a pull request: the merge door.
func (j *Judge) gatePull(ctx context.Context) (Verdict, error) {
	if j.job.Pull <= 0 {
		return Verdict{}, errors.New("standalone: the event is of a pull request, and its number is not known")
	}
	p, policies, err := j.open(ctx, j.job.Pull)
	if err != nil {
		return Verdict{}, err
	}
	if p.State != "open" {
		return Verdict{}, fmt.Errorf("pull request %d is %s: there is nothing left to hold", j.job.Pull, word(p.State))
	}
	if err := usersOnly(policies); err != nil {
		return Verdict{}, err
	}
	d, err := j.judgeChange(ctx, p, policies)
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{Decision: d, Allowed: d.Verdict == rules.VerdictAllow || d.Observe}
	v.Again = !v.Allowed && d.Verdict == rules.VerdictWait
	v.Line, v.URL = j.sayPull(p, d)
	return v, nil
}

// Change reads the facts and the policies of a pull request, for [rules.DecideChange]:
// what it hangs on has been asked. A policy that names teams leaves open who is in them.
// One that was merged is as it stood at that moment.
func (j *Judge) Change(ctx context.Context, number int) (*rules.Change, rules.Policies, error) {
	j.forget()
	p, policies, err := j.open(ctx, number)
	if err != nil {
		return nil, rules.Policies{}, err
	}
	if _, err := j.judgeChange(ctx, p, policies); err != nil {
		return nil, rules.Policies{}, err
	}
	return &p.Change, policies[0], nil
}

// judgedUnder are policies that something is judged under, each by itself: it needs what
// any of them needs. The first is the one at the head of the default branch.
type judgedUnder []rules.Policies

// decide has each judged and gives the strictest.
func (u judgedUnder) decide(judge func(rules.Policies) rules.Decision) rules.Decision {
	var all []rules.Decision
	for _, p := range u {
		all = append(all, judge(p))
	}
	return rules.Strictest(all...)
}

// usersOnly is the error of a policy that names a team where a reviewer can be asked.
func usersOnly(policies judgedUnder) error {
	for _, p := range policies {
		for _, v := range []rules.PolicyVersion{p.Repository, p.Floor} {
			if v.Policy == nil {
				continue
			}
			if i := slices.IndexFunc(reviewers(v.Policy), rules.Reviewer.IsTeam); i >= 0 {
				return &NeedsApp{Why: fmt.Sprintf("the policy names the team %s, and a job's token reads no teams", word(string(reviewers(v.Policy)[i])))}
			}
		}
	}
	return nil
}
