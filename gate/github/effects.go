package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	gh "github.com/google/go-github/v62/github"

	"github.com/sallyport/sallyport/rules"
)

// Limits of a check run (https://docs.github.com/rest/checks/runs).
const (
	maxOutput      = 65_535
	maxAnnotations = 50 // in one request
)

// CheckRunSpec is a completed check run.
type CheckRunSpec struct {
	Name          string
	HeadSHA       rules.SHA
	ExternalID    string
	DetailsURL    string
	Conclusion    string
	Title         string
	Summary, Text string // Markdown; cut to GitHub's length, Text at its end but for the last line
	Annotations   []Annotation
	Actions       []Button
	CompletedAt   time.Time
}

// Annotation is a remark on a line of a file.
type Annotation struct {
	Path                   string
	StartLine, EndLine     int
	StartColumn, EndColumn int    // 0: the whole line; only where the lines are one
	Level                  string // notice, warning or failure
	Title, Message         string
}

// Button is something to press on a check run: at most 20, 40 and 20 characters.
type Button struct{ Label, Description, Identifier string }

// cut shortens Markdown to GitHub's length and keeps its last line.
func cut(s string) string {
	if utf8.RuneCountInString(s) <= maxOutput {
		return s
	}
	last := s[strings.LastIndexByte(s, '\n')+1:]
	if utf8.RuneCountInString(last) > 1000 {
		last = ""
	}
	const note = "\n\n… cut: it is longer than GitHub shows.\n\n"
	runes := []rune(s)
	return string(runes[:maxOutput-utf8.RuneCountInString(note)-utf8.RuneCountInString(last)]) + note + last
}

func (s *CheckRunSpec) output(annotations []Annotation) *gh.CheckRunOutput {
	out := &gh.CheckRunOutput{Title: gh.String(s.Title), Summary: gh.String(cut(s.Summary))}
	if s.Text != "" {
		out.Text = gh.String(cut(s.Text))
	}
	for _, a := range annotations {
		x := &gh.CheckRunAnnotation{
			Path: gh.String(a.Path), StartLine: gh.Int(a.StartLine), EndLine: gh.Int(a.EndLine), AnnotationLevel: gh.String(a.Level), Message: gh.String(a.Message),
		}
		if a.Title != "" {
			x.Title = gh.String(a.Title)
		}
		if a.StartColumn > 0 && a.StartLine == a.EndLine {
			x.StartColumn, x.EndColumn = gh.Int(a.StartColumn), gh.Int(max(a.StartColumn, a.EndColumn))
		}
		out.Annotations = append(out.Annotations, x)
	}
	return out
}

func (s *CheckRunSpec) actions() []*gh.CheckRunAction {
	var out []*gh.CheckRunAction
	for _, b := range s.Actions {
		out = append(out, &gh.CheckRunAction{Label: b.Label, Description: b.Description, Identifier: b.Identifier})
	}
	return out
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// CreateCheckRun makes a completed check run.
func (r *Repository) CreateCheckRun(ctx context.Context, s CheckRunSpec) (rules.CheckRunID, error) {
	rest, err := r.rest()
	if err != nil {
		return 0, err
	}
	first := s.Annotations[:min(maxAnnotations, len(s.Annotations))]
	k, _, err := rest.Checks.CreateCheckRun(ctx, r.owner, r.name, gh.CreateCheckRunOptions{
		Name: s.Name, HeadSHA: string(s.HeadSHA), ExternalID: optional(s.ExternalID), DetailsURL: optional(s.DetailsURL), Status: gh.String("completed"),
		Conclusion: gh.String(s.Conclusion), CompletedAt: &gh.Timestamp{Time: s.CompletedAt}, Output: s.output(first), Actions: s.actions(),
	})
	if err != nil {
		return 0, r.client.understand(ctx, err)
	}
	id := rules.CheckRunID(k.GetID())
	return id, r.annotate(ctx, id, s, s.Annotations[len(first):])
}

// UpdateCheckRun changes a check run of ours.
func (r *Repository) UpdateCheckRun(ctx context.Context, id rules.CheckRunID, s CheckRunSpec) error {
	return r.update(ctx, id, s, nil)
}

func (r *Repository) update(ctx context.Context, id rules.CheckRunID, s CheckRunSpec, annotations []Annotation) error {
	rest, err := r.rest()
	if err != nil {
		return err
	}
	_, _, err = rest.Checks.UpdateCheckRun(ctx, r.owner, r.name, int64(id), gh.UpdateCheckRunOptions{
		Name: s.Name, ExternalID: optional(s.ExternalID), DetailsURL: optional(s.DetailsURL), Status: gh.String("completed"),
		Conclusion: gh.String(s.Conclusion), CompletedAt: &gh.Timestamp{Time: s.CompletedAt}, Output: s.output(annotations), Actions: s.actions(),
	})
	return r.client.understand(ctx, err)
}

// annotate adds annotations, as many a request as GitHub takes.
func (r *Repository) annotate(ctx context.Context, id rules.CheckRunID, s CheckRunSpec, rest []Annotation) error {
	for len(rest) > 0 {
		part := rest[:min(maxAnnotations, len(rest))]
		rest = rest[len(part):]
		if err := r.update(ctx, id, s, part); err != nil {
			return fmt.Errorf("adding annotations: %w", err)
		}
	}
	return nil
}

// FindCheckRuns are our own check runs of a name at a commit, the newest first.
func (r *Repository) FindCheckRuns(ctx context.Context, sha, name string) ([]CheckRun, error) {
	rest, err := r.rest()
	if err != nil {
		return nil, err
	}
	o := &gh.ListCheckRunsOptions{CheckName: &name, AppID: gh.Int64(int64(r.client.cfg.App)), Filter: gh.String("all"), ListOptions: gh.ListOptions{PerPage: 100}}
	list, _, err := rest.Checks.ListCheckRunsForRef(ctx, r.owner, r.name, sha, o)
	if err != nil {
		return nil, r.client.understand(ctx, err)
	}
	var out []CheckRun
	for _, k := range list.CheckRuns {
		if rules.AppID(k.GetApp().GetID()) == r.client.cfg.App {
			out = append(out, CheckRun{
				ID: rules.CheckRunID(k.GetID()), Name: k.GetName(), App: rules.Slug(k.GetApp().GetSlug()), AppID: r.client.cfg.App,
				Status: k.GetStatus(), Conclusion: k.GetConclusion(), ExternalID: k.GetExternalID(),
			})
		}
	}
	return out, nil
}

// Approve gives an APPROVE review at a commit.
func (r *Repository) Approve(ctx context.Context, number int, sha rules.SHA, body string) (rules.ReviewID, error) {
	rest, err := r.rest()
	if err != nil {
		return 0, err
	}
	v, _, err := rest.PullRequests.CreateReview(ctx, r.owner, r.name, number, &gh.PullRequestReviewRequest{
		CommitID: gh.String(string(sha)), Event: gh.String("APPROVE"), Body: gh.String(body),
	})
	if err != nil {
		return 0, r.client.understand(ctx, err)
	}
	return rules.ReviewID(v.GetID()), nil
}

// Dismiss takes a review back. One that is dismissed already stays so.
func (r *Repository) Dismiss(ctx context.Context, number int, id rules.ReviewID, message string) error {
	rest, err := r.rest()
	if err != nil {
		return err
	}
	_, _, err = rest.PullRequests.DismissReview(ctx, r.owner, r.name, number, int64(id), &gh.PullRequestReviewDismissalRequest{Message: &message})
	err = r.client.understand(ctx, err)
	var refused *Refused
	if errors.As(err, &refused) && refused.Status == http.StatusUnprocessableEntity {
		v, _, gerr := rest.PullRequests.GetReview(ctx, r.owner, r.name, number, int64(id))
		if gerr == nil && strings.EqualFold(v.GetState(), "DISMISSED") {
			return nil
		}
	}
	return err
}

// Merge merges a pull request if its head is a commit. It returns the commit that
// landed.
func (r *Repository) Merge(ctx context.Context, number int, sha rules.SHA, method string) (rules.SHA, error) {
	rest, err := r.rest()
	if err != nil {
		return "", err
	}
	m, _, err := rest.PullRequests.Merge(ctx, r.owner, r.name, number, "", &gh.PullRequestOptions{SHA: string(sha), MergeMethod: method})
	if err != nil {
		return "", r.client.understand(ctx, err)
	}
	return rules.SHA(m.GetSHA()), nil
}

// Enqueue puts a pull request into its merge queue if its head is a commit.
func (r *Repository) Enqueue(ctx context.Context, nodeID string, sha rules.SHA) error {
	var out struct{}
	err := r.query(ctx, `mutation enqueue($id:ID!,$sha:GitObjectID!){enqueuePullRequest(input:{pullRequestId:$id,expectedHeadOid:$sha}){clientMutationId}}`,
		map[string]any{"id": nodeID, "sha": string(sha)}, &out)
	var faults *graphQLError
	if errors.As(err, &faults) {
		return &Refused{Status: http.StatusUnprocessableEntity, Message: faults.Error()}
	}
	return err
}

// RequestReviewers asks people and teams (by slug) for a review.
func (r *Repository) RequestReviewers(ctx context.Context, number int, users []rules.Login, teams []string) error {
	rest, err := r.rest()
	if err != nil {
		return err
	}
	q := gh.ReviewersRequest{TeamReviewers: teams}
	for _, u := range users {
		q.Reviewers = append(q.Reviewers, string(u))
	}
	_, _, err = rest.PullRequests.RequestReviewers(ctx, r.owner, r.name, number, q)
	return r.client.understand(ctx, err)
}

// Comment is a comment of ours.
type Comment struct {
	ID   int64
	Body string
}

// OwnComments are the comments of our own bot on a pull request, oldest first.
func (r *Repository) OwnComments(ctx context.Context, number int) ([]Comment, error) {
	self, err := r.client.Self(ctx)
	if err != nil {
		return nil, err
	}
	rest, err := r.rest()
	if err != nil {
		return nil, err
	}
	var out []Comment
	o := &gh.IssueListCommentsOptions{ListOptions: gh.ListOptions{PerPage: 100}}
	for range maxPages {
		list, answer, err := rest.Issues.ListComments(ctx, r.owner, r.name, number, o)
		if err != nil {
			return nil, r.client.understand(ctx, err)
		}
		for _, c := range list {
			if rules.AccountID(c.GetUser().GetID()) == self.Bot.ID {
				out = append(out, Comment{ID: c.GetID(), Body: c.GetBody()})
			}
		}
		if answer.NextPage == 0 {
			return out, nil
		}
		o.Page = answer.NextPage
	}
	return nil, errTooLong
}

// CreateComment comments on a pull request.
func (r *Repository) CreateComment(ctx context.Context, number int, body string) (int64, error) {
	rest, err := r.rest()
	if err != nil {
		return 0, err
	}
	c, _, err := rest.Issues.CreateComment(ctx, r.owner, r.name, number, &gh.IssueComment{Body: &body})
	if err != nil {
		return 0, r.client.understand(ctx, err)
	}
	return c.GetID(), nil
}

// EditComment changes a comment of ours.
func (r *Repository) EditComment(ctx context.Context, id int64, body string) error {
	rest, err := r.rest()
	if err != nil {
		return err
	}
	_, _, err = rest.Issues.EditComment(ctx, r.owner, r.name, id, &gh.IssueComment{Body: &body})
	return r.client.understand(ctx, err)
}

// AddLabels adds labels to a pull request; those that do not exist are made.
func (r *Repository) AddLabels(ctx context.Context, number int, labels ...string) error {
	_, err := r.send(ctx, http.MethodPost, r.path(fmt.Sprintf("issues/%d/labels", number)), map[string][]string{"labels": labels}, nil)
	return err
}

// RemoveLabel takes a label off. One that is not there stays so.
func (r *Repository) RemoveLabel(ctx context.Context, number int, label string) error {
	_, err := r.send(ctx, http.MethodDelete, r.path(fmt.Sprintf("issues/%d/labels/%s", number, url.PathEscape(label))), nil, nil)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
