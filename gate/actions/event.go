package actions

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/rules"
)

// maxEvent is GitHub's own limit for a payload.
const maxEvent = 25 << 20

// Pull is what the payload of an event says of its pull request.
type Pull struct {
	// Change has what the payload has: the pull request's number, title, body, labels,
	// author, head and base. Its files, commits, reviews and checks are in no payload.
	Change rules.Change
	// DefaultBranch is the repository's: where the policy is read.
	DefaultBranch string
	// Files and Commits are how many there are, by GitHub's count; 0 is unknown.
	Files, Commits int
	// Opened says that the event is the pull request's first: nobody can have reviewed it.
	Opened bool
}

// ErrNoPull says that the event is of no pull request.
var ErrNoPull = errors.New("the event is of no pull request: run this on pull_request events")

// Pull reads the pull request of the event that started the run.
func (e *Env) Pull() (Pull, error) {
	if e.EventPath == "" {
		return Pull{}, errors.New("GITHUB_EVENT_PATH is not set: the runner writes the event's payload there")
	}
	f, err := os.Open(e.EventPath)
	if err != nil {
		return Pull{}, fmt.Errorf("reading the event's payload: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxEvent+1))
	if err != nil {
		return Pull{}, fmt.Errorf("reading the event's payload: %w", err)
	}
	if len(text) > maxEvent {
		return Pull{}, fmt.Errorf("the event's payload is larger than %d MiB", maxEvent>>20)
	}
	return e.pull(text)
}

// account is an account as payloads have it.
type account struct {
	ID    rules.AccountID `json:"id"`
	Login rules.Login     `json:"login"`
	Type  rules.ActorType `json:"type"`
}

func (a account) actor() rules.Actor {
	return rules.Actor{ID: a.ID, Login: a.Login, Type: a.Type}
}

// branch is one end of a pull request.
type branch struct {
	Ref  string    `json:"ref"`
	SHA  rules.SHA `json:"sha"`
	Repo *struct {
		ID       rules.RepositoryID `json:"id"`
		FullName string             `json:"full_name"`
	} `json:"repo"`
}

func (b branch) repository() rules.Repository {
	if b.Repo == nil { // a fork that is gone
		return rules.Repository{}
	}
	return rules.Repository{ID: b.Repo.ID, FullName: b.Repo.FullName}
}

func (e *Env) pull(text []byte) (Pull, error) {
	var v struct {
		Action     string  `json:"action"`
		Sender     account `json:"sender"`
		Repository struct {
			ID            rules.RepositoryID `json:"id"`
			FullName      string             `json:"full_name"`
			DefaultBranch string             `json:"default_branch"`
		} `json:"repository"`
		PullRequest *struct {
			Number int     `json:"number"`
			Title  string  `json:"title"`
			Body   string  `json:"body"`
			Draft  *bool   `json:"draft"`
			User   account `json:"user"`
			Labels []struct {
				Name string `json:"name"`
			} `json:"labels"`
			Head         branch `json:"head"`
			Base         branch `json:"base"`
			ChangedFiles int    `json:"changed_files"`
			Commits      int    `json:"commits"`
		} `json:"pull_request"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return Pull{}, errors.New("the event's payload is no JSON of GitHub's")
	}
	p := v.PullRequest
	if p == nil {
		return Pull{}, ErrNoPull
	}
	if !p.Head.SHA.Valid() || !p.Base.SHA.Valid() || !branchName(p.Base.Ref) || !branchName(v.Repository.DefaultBranch) {
		return Pull{}, errors.New("the event's payload names no commits or no branches of the pull request")
	}
	out := Pull{DefaultBranch: v.Repository.DefaultBranch, Files: p.ChangedFiles, Commits: p.Commits, Opened: v.Action == "opened" && strings.HasPrefix(e.Event, "pull_request")}
	c := &out.Change
	c.Repository = rules.Repository{ID: v.Repository.ID, FullName: v.Repository.FullName}
	c.Number, c.Title, c.Body, c.Author = p.Number, p.Title, p.Body, p.User.actor()
	c.Labels = []string{}
	for _, l := range p.Labels {
		c.Labels = append(c.Labels, l.Name)
	}
	if p.Draft != nil {
		c.Draft = rules.TriOf(*p.Draft)
	}
	c.Head = rules.Head{Ref: p.Head.Ref, SHA: p.Head.SHA, Repository: p.Head.repository()}
	c.Base = rules.Base{Ref: p.Base.Ref, SHA: p.Base.SHA}
	if v.Action == "synchronize" {
		c.LastPusher = v.Sender.actor()
	}
	return out, nil
}

// branchName reports whether a name can be a branch's, and no expression of git's.
func branchName(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsAny(s, "~^:?*[\\ \x7f") && !strings.Contains(s, "@{") && !strings.Contains(s, "..") &&
		strings.IndexFunc(s, func(c rune) bool { return c < ' ' }) < 0
}
