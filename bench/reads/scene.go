package main

import (
	"bytes"
	"context"
	"crypto/rsa"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// step is how far GitHub's clock moves between two events. GitHub's times are whole
// seconds and approvals are compared with pushes, so that it is at least one; and
// what a program signs by the machine's clock must still hold at the end.
const step = time.Second

// testCheck is the check that the policies wait for.
const testCheck = "test"

// scene is acme/orders with its people: bob is in acme/sre, whose approval counts;
// writer[bot] is the agent, of an App of its own; ci is whose checks come.
type scene struct {
	g     *githubtest.GitHub
	clock *githubtest.Clock
	// key is for whatever App the program makes: making one takes a while.
	key        *rsa.PrivateKey
	acme       *githubtest.Organization
	repo       *githubtest.Repository
	carol, bob *githubtest.User
	agent      *githubtest.User
	ci         *githubtest.App
	// carols reads as a person, for what must not be counted.
	carols string
	// mu guards statuses, all commit statuses, and comments, all comments, oldest
	// first: what gaps answers of.
	mu       sync.Mutex
	statuses []commitStatus
	comments []pullComment
}

type commitStatus struct {
	sha, context, state string
	at                  time.Time
}

type pullComment struct {
	pull     int
	by, body string
	at       time.Time
}

func newScene(key *rsa.PrivateKey) (*scene, error) {
	s := &scene{key: key, clock: githubtest.NewClock(time.Now())}
	g, err := githubtest.New(githubtest.Config{Now: s.clock.Now, Limits: githubtest.NoLimits()})
	if err != nil {
		return nil, err
	}
	s.g, s.acme = g, g.Organization("acme")
	s.carol, s.bob = g.User("carol"), g.User("bob")
	s.acme.Owner(s.carol)
	s.repo = g.Repository(s.acme, "orders")
	s.acme.Team("sre", s.bob).Access(s.repo, "write")
	agent := g.App(githubtest.AppConfig{Slug: "writer", Permissions: map[string]string{"contents": "write", "pull_requests": "write"}, Key: key})
	agent.Install(s.acme, s.repo)
	s.agent = agent.Bot()
	s.ci = g.App(githubtest.AppConfig{Slug: "ci", Permissions: map[string]string{"checks": "write", "statuses": "write"}, Key: key})
	s.ci.Install(s.acme, s.repo)
	s.carols = g.UserToken(s.carol)
	return s, nil
}

// push pushes a commit of the agent that changes n files.
func (s *scene) push(branch string, n int) {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("services/orders/handler_%03d.go", i)] = "package orders // " + s.clock.Now().String() + "\n"
	}
	s.repo.CommitTo(s.agent, branch, "orders: answer faster\n", files)
}

// open opens a pull request of the agent with n files.
func (s *scene) open(n int, draft bool) (*githubtest.Pull, error) {
	s.push("faster", n)
	return s.repo.OpenPull(s.agent, githubtest.PullSpec{Head: "faster", Title: "orders: answer faster", Body: "The handlers answer faster.", Draft: draft})
}

func (s *scene) check(sha, name string) { s.repo.AddCheck(s.ci, sha, name, "success") }

func (s *scene) status(by *githubtest.User, sha, context, state string) {
	s.noteStatus(sha, context, state)
	s.repo.Status(by, sha, context, state)
}

func (s *scene) noteStatus(sha, context, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statuses = append(s.statuses, commitStatus{sha, context, state, s.g.Now()})
}

func (s *scene) statusesOf(sha string) []commitStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []commitStatus
	for _, st := range s.statuses {
		if st.sha == sha {
			out = append(out, st)
		}
	}
	return out
}

func (s *scene) comment(p *githubtest.Pull, by *githubtest.User, body string) error {
	s.mu.Lock()
	s.comments = append(s.comments, pullComment{p.Number, by.Login(), body, s.g.Now()})
	s.mu.Unlock()
	_, err := p.Comment(by, body)
	return err
}

// commentsOf are the comments of a pull request; the number comes out of JSON.
func (s *scene) commentsOf(number any) []pullComment {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []pullComment
	for _, c := range s.comments {
		if number == float64(c.pull) {
			out = append(out, c)
		}
	}
	return out
}

// settle waits until every webhook was delivered and worked off, those too that the
// program's own writes sent.
func (s *scene) settle(ctx context.Context, p program) error {
	for before := -1; ; {
		if err := s.g.Settle(ctx); err != nil {
			return fmt.Errorf("waiting for webhooks: %w", err)
		}
		if err := p.Idle(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.Name(), err)
		}
		now := len(s.g.Requests())
		if now == before {
			return nil
		}
		before = now
	}
}

// read asks githubtest as carol, which is nobody's read.
func (s *scene) read(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.g.URL()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for k, v := range map[string]string{"Authorization": "Bearer " + s.carols, "User-Agent": "reads", "Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"} {
		r.Header.Set(k, v)
	}
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	out, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	return out, err
}
