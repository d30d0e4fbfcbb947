package github

import (
	"context"
	"net/http"
	"net/url"

	gh "github.com/google/go-github/v62/github"

	"github.com/sallyport/sallyport/rules"
)

// Landing is one change of what a branch stands at.
type Landing struct {
	Before, After rules.SHA
	// Kind is GitHub's activity_type: "push", "force_push", "pr_merge",
	// "merge_queue_merge", "branch_creation", "branch_deletion".
	Kind string
	By   rules.Actor
}

// ByGitHub reports whether GitHub itself made it, out of a pull request or a merge
// queue.
func (l Landing) ByGitHub() bool { return l.Kind == "pr_merge" || l.Kind == "merge_queue_merge" }

// maxLandings is how many pages of a branch's activity are read back for a range.
const maxLandings = 20

// Landings calls stop for each change of a branch, the newest first, until it
// returns true or 2,000 were seen
// (https://docs.github.com/rest/repos/repos#list-repository-activities). Which pull
// request, if any, put a commit there is GitHub's own record: a commit itself, its
// message and even its signature can be anybody's.
func (r *Repository) Landings(ctx context.Context, branch string, stop func(Landing) bool) error {
	after := ""
	for range maxLandings {
		var list []struct {
			Before rules.SHA `json:"before"`
			After  rules.SHA `json:"after"`
			Kind   string    `json:"activity_type"`
			Actor  *gh.User  `json:"actor"`
		}
		q := url.Values{"per_page": {"100"}, "ref": {"refs/heads/" + branch}}
		if after != "" {
			q.Set("after", after)
		}
		answer, err := r.send(ctx, http.MethodGet, r.path("activity?"+q.Encode()), nil, &list)
		if err != nil {
			return err
		}
		for _, a := range list {
			who := rules.Actor{ID: rules.AccountID(a.Actor.GetID()), Login: rules.Login(a.Actor.GetLogin()), Type: rules.ActorType(a.Actor.GetType())}
			if stop(Landing{Before: a.Before, After: a.After, Kind: a.Kind, By: who}) {
				return nil
			}
		}
		if after = answer.After; after == "" {
			return nil
		}
	}
	return nil
}
