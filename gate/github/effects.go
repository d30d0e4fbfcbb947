package github

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
	"unicode/utf8"

	gh "github.com/google/go-github/v62/github"

	"github.com/sallyport/sallyport/rules"
)

// Limits of a check run (https://docs.github.com/rest/checks/runs).
const (
	maxOutput      = 65_535
	maxAnnotations = 50 // in one request
	// Of an annotation: GitHub's own limits are 64 KB of message and 255 characters of
	// title.
	maxMessage = 16_000
	maxTitle   = 255
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

// maxFence is the longest fence that cut closes; before a longer one it cuts.
const maxFence = 100

// cut shortens Markdown to GitHub's length and keeps its last line. It cuts after a
// whole line where it can, and closes a code fence that it cut.
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
	head := string(runes[:maxOutput-utf8.RuneCountInString(note)-utf8.RuneCountInString(last)-maxFence-1])
	if i := strings.LastIndexByte(head, '\n'); len(head)-i < 1000 {
		head = head[:i]
	}
	fence, at := openFence(head)
	switch {
	case fence == "":
	case len(fence) <= maxFence:
		head += "\n" + fence
	default:
		head = head[:at]
	}
	return head + note + last
}

// openFence is the fence of the code block that a text leaves open and where it
// begins, or "" (https://spec.commonmark.org/0.31.2/#fenced-code-blocks).
func openFence(s string) (fence string, at int) {
	from := 0
	for line := range strings.Lines(s) {
		text := strings.TrimLeft(line, " ")
		marks := len(text) - len(strings.TrimLeft(text, "`"))
		if marks == 0 {
			marks = len(text) - len(strings.TrimLeft(text, "~"))
		}
		run, rest := text[:marks], strings.TrimSpace(text[marks:])
		switch {
		case marks < 3 || len(line)-len(text) > 3:
		case fence == "":
			if run[0] != '`' || !strings.Contains(rest, "`") {
				fence, at = run, from
			}
		case run[0] == fence[0] && marks >= len(fence) && rest == "":
			fence = ""
		}
		from += len(line)
	}
	return fence, at
}

// short is at most n runes of a text.
func short(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

func (s *CheckRunSpec) output(annotations []Annotation) *gh.CheckRunOutput {
	out := &gh.CheckRunOutput{Title: gh.String(s.Title), Summary: gh.String(cut(s.Summary))}
	if s.Text != "" {
		out.Text = gh.String(cut(s.Text))
	}
	for _, a := range annotations {
		x := &gh.CheckRunAnnotation{
			Path: gh.String(a.Path), StartLine: gh.Int(a.StartLine), EndLine: gh.Int(a.EndLine), AnnotationLevel: gh.String(a.Level), Message: gh.String(short(a.Message, maxMessage)),
		}
		if a.Title != "" {
			x.Title = gh.String(short(a.Title, maxTitle))
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

// CreateCheckRun makes a completed check run. More annotations than fit into one
// request are added by others; if one of these fails the id is given with the error.
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

// UpdateCheckRun changes a check run of ours. Annotations can only be added to those
// that are there: those of s are left out.
func (r *Repository) UpdateCheckRun(ctx context.Context, id rules.CheckRunID, s CheckRunSpec) error {
	return r.update(ctx, id, s, nil)
}

func (r *Repository) update(ctx context.Context, id rules.CheckRunID, s CheckRunSpec, annotations []Annotation) error {
	// go-github leaves out buttons where there are none, and those that were there
	// would stay.
	body := struct {
		gh.UpdateCheckRunOptions

		Actions []*gh.CheckRunAction `json:"actions"`
	}{Actions: append([]*gh.CheckRunAction{}, s.actions()...), UpdateCheckRunOptions: gh.UpdateCheckRunOptions{
		Name: s.Name, ExternalID: optional(s.ExternalID), DetailsURL: optional(s.DetailsURL), Status: gh.String("completed"),
		Conclusion: gh.String(s.Conclusion), CompletedAt: &gh.Timestamp{Time: s.CompletedAt}, Output: s.output(annotations),
	}}
	_, err := r.send(ctx, http.MethodPatch, r.path(fmt.Sprintf("check-runs/%d", id)), body, nil)
	return err
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
	var out []CheckRun
	for range maxPages {
		list, answer, err := rest.Checks.ListCheckRunsForRef(ctx, r.owner, r.name, sha, o)
		if err != nil {
			return nil, r.client.understand(ctx, err)
		}
		for _, k := range list.CheckRuns {
			if rules.AppID(k.GetApp().GetID()) == r.client.cfg.App {
				out = append(out, CheckRun{
					ID: rules.CheckRunID(k.GetID()), Name: k.GetName(), App: rules.Slug(k.GetApp().GetSlug()), AppID: r.client.cfg.App,
					Status: k.GetStatus(), Conclusion: k.GetConclusion(), ExternalID: k.GetExternalID(),
				})
			}
		}
		if answer.NextPage == 0 {
			slices.SortFunc(out, func(a, b CheckRun) int { return cmp.Compare(b.ID, a.ID) })
			return out, nil
		}
		o.Page = answer.NextPage
	}
	return nil, errTooLong
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
	if errors.As(err, &faults) && faults.all("UNPROCESSABLE") {
		return &Refused{Status: http.StatusUnprocessableEntity, Message: faults.Error()}
	}
	return err
}

// RequestReviewers asks people and teams (by slug) for a review. GitHub asks nobody where
// it cannot ask one of them.
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

// OwnComments are the comments that our own bot made through our own App on a pull
// request, oldest first.
func (r *Repository) OwnComments(ctx context.Context, number int) ([]Comment, error) {
	self, err := r.client.Self(ctx)
	if err != nil {
		return nil, err
	}
	if self.Bot.ID == 0 {
		return nil, errors.New("the account of our own bot is not known")
	}
	var out []Comment
	for page := 1; page <= maxPages; page++ {
		var list []struct {
			ID   int64    `json:"id"`
			Body string   `json:"body"`
			User *gh.User `json:"user"`
			App  *gh.App  `json:"performed_via_github_app"`
		}
		more, err := r.get(ctx, fmt.Sprintf("issues/%d/comments?per_page=100&page=%d", number, page), &list)
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			if rules.AccountID(c.User.GetID()) == self.Bot.ID && rules.AppID(c.App.GetID()) == self.ID {
				out = append(out, Comment{ID: c.ID, Body: c.Body})
			}
		}
		if !more {
			return out, nil
		}
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
