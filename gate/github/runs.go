package github

import (
	"context"
	"net/url"
	"strconv"
	"time"

	gh "github.com/google/go-github/v62/github"

	"github.com/sallyport/sallyport/rules"
)

// restRun is a workflow run as REST gives it.
type restRun struct {
	ID             rules.RunID     `json:"id"`
	Attempt        int             `json:"run_attempt"`
	Path           string          `json:"path"`
	Event          string          `json:"event"`
	HeadSHA        rules.SHA       `json:"head_sha"`
	HeadBranch     string          `json:"head_branch"`
	Status         string          `json:"status"`
	Conclusion     string          `json:"conclusion"`
	Actor          *gh.User        `json:"actor"`
	Triggering     *gh.User        `json:"triggering_actor"`
	Repository     *restRepository `json:"repository"`
	HeadRepository *restRepository `json:"head_repository"`
	CreatedAt      time.Time       `json:"created_at"`
	StartedAt      time.Time       `json:"run_started_at"`
	URL            string          `json:"html_url"`
}

type restRepository struct {
	ID rules.RepositoryID `json:"id"`
}

func (a *restRun) run() Run {
	out := Run{
		ID: a.ID, Attempt: a.Attempt, Workflow: workflowPath(a.Path), Event: a.Event, HeadSHA: a.HeadSHA, HeadBranch: a.HeadBranch, Status: a.Status,
		Conclusion: a.Conclusion, Actor: userActor(a.Actor), Triggering: userActor(a.Triggering), CreatedAt: a.CreatedAt, StartedAt: a.StartedAt, URL: a.URL,
	}
	if a.Repository != nil {
		out.Repository = a.Repository.ID
	}
	if a.HeadRepository != nil {
		out.HeadRepository = a.HeadRepository.ID
	}
	return out
}

// Limits of [Repository.SuccessfulRuns].
const (
	maxSuccessPages = 3 // of all workflows' runs
	maxSuccesses    = 20
)

// SuccessfulRuns lists runs of a workflow file that succeeded as a whole, on a branch or
// tag of that short name or, where it is empty, on any, the newest first: up to 20 of the
// newest 300 of all workflows (https://docs.github.com/rest/actions/workflow-runs).
func (r *Repository) SuccessfulRuns(ctx context.Context, workflow, name string) ([]Run, error) {
	out := []Run{}
	seen := map[rules.RunID]bool{}
	q := url.Values{"status": {"success"}, "exclude_pull_requests": {"true"}, "per_page": {"100"}}
	if name != "" {
		q.Set("branch", name)
	}
	for page := 1; page <= maxSuccessPages; page++ {
		q.Set("page", strconv.Itoa(page))
		var list struct {
			Runs []restRun `json:"workflow_runs"`
		}
		more, err := r.get(ctx, "actions/runs?"+q.Encode(), &list)
		if err != nil {
			return nil, err
		}
		for i := range list.Runs {
			w := list.Runs[i].run()
			if w.Workflow != workflow || w.ID == 0 || seen[w.ID] || !w.HeadSHA.Valid() || w.Repository != r.id || w.Conclusion != "success" {
				continue
			}
			seen[w.ID] = true // the list moves while it is read
			if out = append(out, w); len(out) == maxSuccesses {
				return out, nil
			}
		}
		if !more {
			break
		}
	}
	return out, nil
}
