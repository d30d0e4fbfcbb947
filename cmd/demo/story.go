package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/sallyport/sallyport/cmd/sallyport-app/server"
	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/webhook"
	"github.com/sallyport/sallyport/rules"
)

// policy is the repository's policy in the story.
const policy = `version: 1
reviewers: [acme/sre]               # who lets something into production
agents:
  also: [{id: writer, logins: ["writer[bot]"]}]
environments:
  dev:
    gate: auto                      # an agent's change to only these paths needs no human
    merge: true
    paths: [docs/**]
    after: [test]                   # once this check is green
  staging:
    gate: auto
    paths: [deploy/staging/**]
    after: [test]
  production:
    gate: human                     # every other path, and every deployment
credentials:
  orders-migrator: {environment: production, target: orders-db, capability: write, workflow: deploy.yml}
`

// patience is how long the story waits for one thing to happen.
const patience = 30 * time.Second

// story is one telling.
type story struct {
	out     io.Writer
	log     io.Writer
	look    gate.Statements
	approve func(what string) error // waits for the person at the keyboard
	bare    bool                    // no database

	github *githubtest.GitHub
	repo   *githubtest.Repository
	app    *githubtest.App
	agent  *githubtest.App
	server *server.Server
	url    string
	// production is nil where no PostgreSQL is at hand.
	production *production
}

func (s *story) say(format string, args ...any) {
	fmt.Fprintf(s.out, format+"\n", args...)
}

func (s *story) head(text string) {
	lipgloss.Fprintf(s.out, "\n%s\n", lipgloss.NewStyle().Bold(true).Render(text))
}

// tell tells the story from its beginning to its end.
func (s *story) tell(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "sallyport-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if !s.bare {
		if s.production, err = openProduction(ctx); err != nil {
			return fmt.Errorf("starting a PostgreSQL (--no-database does without): %w", err)
		}
	}
	if s.production != nil {
		defer func() { err = errors.Join(err, s.production.close(context.WithoutCancel(ctx))) }()
	}
	if s.github, err = githubtest.New(githubtest.Config{}); err != nil {
		return err
	}
	defer s.github.Close()

	g := s.github
	acme := g.Organization("acme")
	alice, bob := g.User("alice"), g.User("bob")
	acme.Owner(alice)
	s.repo = g.Repository(acme, "orders")
	acme.Team("sre", bob).Access(s.repo, "write")
	writer := g.App(githubtest.AppConfig{Slug: "writer", Permissions: map[string]string{"contents": "write", "pull_requests": "write"}})
	writer.Install(acme, s.repo)
	s.agent = writer
	s.repo.CommitTo(alice, "main", "Add the policy", map[string]string{rules.PolicyPath: policy, migrationFile: migration})

	end, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	defer func() {
		stop()
		if s.server != nil {
			err = errors.Join(err, <-done)
		}
	}()
	if err := s.serve(end, dir, acme, done); err != nil {
		return err
	}

	s.head("1  acme/orders has a policy, and its administrator adopts it")
	s.say("%s", indent(strings.TrimRight(policy, "\n")))
	if err := s.adopt(ctx); err != nil {
		return err
	}

	s.head("2  An agent, writer[bot], opens two pull requests")
	docs, err := s.open(writer, "writer/guide", "Explain retries", map[string]string{"docs/guide.md": "# Retries\n\nThree times, then a page.\n"})
	if err != nil {
		return err
	}
	migration, err := s.open(writer, "writer/archive", "Archive old orders", map[string]string{"migrations/007_archive.sql": "delete from orders where placed < now() - interval '2 years';\n"})
	if err != nil {
		return err
	}
	if err := s.until(ctx, "both are judged", func() bool { return s.says(docs).Conclusion != "" && s.says(migration).Conclusion != "" }); err != nil {
		return err
	}
	s.show(docs)
	s.show(migration)

	s.head("3  The check \"test\" ends green on both")
	for _, p := range []*githubtest.Pull{docs, migration} {
		run := s.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/test.yml", By: alice, SHA: p.Head(), Jobs: []githubtest.JobSpec{{Name: "test"}}})
		if err := run.Job("test").Complete("success"); err != nil {
			return err
		}
	}
	if err := s.until(ctx, "the documentation is merged", func() bool { return docs.See().Merged }); err != nil {
		return err
	}
	s.show(docs)
	s.say("  Nobody had to look at it. The migration still waits:")
	s.show(migration)

	s.head("4  bob, of acme/sre, reads the migration")
	if err := s.approve("approve it"); err != nil {
		return fmt.Errorf("nobody approved: %w", err)
	}
	if _, err := migration.Approve(bob, migration.Head()); err != nil {
		return err
	}
	if err := s.until(ctx, "the migration is let through", func() bool { return s.says(migration).Conclusion == "success" }); err != nil {
		return err
	}
	s.show(migration)

	s.head("5  The agent pushes one line more")
	s.repo.CommitTo(writer.Bot(), "writer/archive", "Also drop the table", map[string]string{"migrations/008_drop.sql": "drop table orders;\n"})
	if err := s.until(ctx, "the migration is held again", func() bool { return s.says(migration).Conclusion == "action_required" }); err != nil {
		return err
	}
	s.show(migration)

	last, err := s.deploys(ctx, bob)
	if err != nil {
		return err
	}
	s.head("8  Everything is in the ledger, and nobody can rewrite it unseen")
	return s.verify(ctx, last)
}

// serve starts the server that people run, with settings of its own.
func (s *story) serve(ctx context.Context, dir string, owner githubtest.Owner, done chan<- error) error {
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	secret := hex.EncodeToString(random[:])
	s.app = s.github.App(githubtest.AppConfig{
		Slug: "sallyport", Owner: owner, Secret: secret,
		Permissions: map[string]string{
			"actions": "read", "checks": "write", "contents": "write", "deployments": "write", "members": "read", "merge_queues": "read", "pull_requests": "write", "statuses": "read",
		},
		Events: []string{
			"check_run", "check_suite", "deployment", "deployment_protection_rule", "deployment_review", "deployment_status", "membership", "merge_group",
			"pull_request", "pull_request_review", "push", "status", "team", "workflow_dispatch", "workflow_job", "workflow_run",
		},
	})
	s.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, Checks: []githubtest.RequiredCheck{{Context: "sallyport", AppID: s.app.ID}}})
	key, err := github.ParseKey(s.app.KeyPEM())
	if err != nil {
		return err
	}
	s.app.Install(owner)
	targets, err := s.targets(dir)
	if err != nil {
		return err
	}
	settings := server.Settings{
		URL: "http://127.0.0.1", Listen: "127.0.0.1:0", Database: store.Config{Path: filepath.Join(dir, "sallyport.db")}, App: rules.AppID(s.app.ID), Key: key,
		WebhookSecrets: []webhook.Secret{webhook.Secret(secret)}, GitHubAPI: s.github.URL(), Issuer: s.github.OIDCIssuer(), Sweep: time.Minute, Statements: s.look, Log: slog.New(slog.NewTextHandler(s.log, nil)),
		Targets: targets,
	}
	if err := settings.SealWith(hex.EncodeToString(random[:])); err != nil {
		return err
	}
	if s.server, err = server.New(ctx, settings); err != nil {
		return err
	}
	go func() { done <- s.server.Run(ctx) }()
	s.url = "http://" + s.server.Address()
	s.app.Webhook(s.url+"/webhooks/github", secret)
	return s.until(ctx, "the server is ready", func() bool {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/readyz", nil)
		if err != nil {
			return false
		}
		answer, err := http.DefaultClient.Do(q)
		if err != nil {
			return false
		}
		return answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
	})
}

func (s *story) adopt(ctx context.Context) error {
	g, err := s.server.Gate(ctx)
	if err != nil {
		return err
	}
	list, err := g.LookAtAdoption(ctx, s.repo.FullName())
	if err != nil {
		return err
	}
	for _, a := range list {
		if err := g.Adopt(ctx, a, "the administrator"); err != nil {
			return err
		}
		s.say("\n  $ sallyport-app adopt acme/orders\n  %s of %s at %s on %s: in force now, as version %d", a.Path, a.FullName, a.Commit.Short(), a.Branch, a.Version)
	}
	return nil
}

func (s *story) open(app *githubtest.App, branch, title string, files map[string]string) (*githubtest.Pull, error) {
	s.repo.CommitTo(app.Bot(), branch, title, files)
	return s.repo.OpenPull(app.Bot(), githubtest.PullSpec{Head: branch, Title: title, As: app})
}

// until waits for something to become so.
func (s *story) until(ctx context.Context, what string, so func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !so() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain until %s: %w", what, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// says is our check run at a pull request's head.
func (s *story) says(p *githubtest.Pull) githubtest.CheckState {
	if k := s.repo.CheckRun(p.Head(), "sallyport"); k != nil {
		return k.See()
	}
	return githubtest.CheckState{}
}

// show shows a pull request as GitHub's page would.
func (s *story) show(p *githubtest.Pull) {
	v, check := p.See(), s.says(p)
	state := lipgloss.NewStyle().Foreground(lipgloss.Green).Render("open")
	if v.Merged {
		state = lipgloss.NewStyle().Foreground(lipgloss.Magenta).Render("merged by " + v.MergedBy)
	}
	lipgloss.Fprintf(s.out, "\n  #%d %s  %s\n", p.Number, v.Title, state)
	lipgloss.Fprintf(s.out, "     %s sallyport  %s\n", sign(check.Conclusion), plain(check.Title))
	for _, r := range v.Reviews {
		s.say("       %s: %s at %s", r.User, strings.ToLower(strings.ReplaceAll(r.State, "_", " ")), r.SHA[:7])
	}
	if len(v.Waiting) > 0 {
		s.say("       review asked of %s", strings.Join(v.Waiting, ", "))
	}
	shown := false
	for _, line := range strings.Split(check.Text, "\n") {
		switch text, ground := strings.CutPrefix(line, "- "); {
		case ground:
			if shown = strings.Contains(text, "waits: "); shown {
				s.say("       %s", plain(text))
			}
		case shown && strings.HasPrefix(line, "  - `"):
			s.say("         %s", plain(line[4:]))
		}
	}
}

// plain takes the Markdown out of our own text.
func plain(text string) string {
	for _, c := range []string{"`", "\\", "\u200b"} {
		text = strings.ReplaceAll(text, c, "")
	}
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(text)
}

// verify verifies the ledger as anybody can, and holds it against what GitHub's
// check run witnesses.
func (s *story) verify(ctx context.Context, check githubtest.CheckState) error {
	last := check.Text[strings.LastIndexByte(check.Text, '\n')+1:]
	seen, err := ledger.ParseWitness(strings.TrimPrefix(last, "Ledger: "))
	if err != nil {
		return fmt.Errorf("the check run's last line %q: %w", last, err)
	}
	client := &http.Client{Timeout: 10 * time.Second}
	found, err := ledger.Verify(ctx, ledger.HTTP(client, s.url), ledger.VerifyConfig{Verifier: s.server.LedgerKey(), Witnesses: []ledger.Witness{seen}})
	if err != nil {
		return err
	}
	s.say("\n  $ sallyport audit verify %s --witness %q", s.url, seen)
	s.say("  %d entries, root %s: whole, signed, and what the check run on GitHub saw (%d entries) is in it.", found.Size, found.Root, seen.Size)
	tree, err := ledger.Open(ctx, ledger.HTTP(client, s.url), s.server.LedgerKey())
	if err != nil {
		return err
	}
	records, err := tree.Entries(ctx, 0)
	if err != nil {
		return err
	}
	kinds := map[ledger.Kind]int{}
	for _, r := range records {
		kinds[r.Kind]++
	}
	var parts []string
	for k, n := range kinds {
		parts = append(parts, fmt.Sprintf("%d %s", n, k))
	}
	slices.Sort(parts)
	s.say("  %s", strings.Join(parts, ", "))
	return nil
}

func indent(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }
