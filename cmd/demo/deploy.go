package main

import (
	"context"
	"fmt"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// deploys tells the second half: what was merged is deployed. It returns what the last
// check run says.
func (s *story) deploys(ctx context.Context, bob *githubtest.User) (githubtest.CheckState, error) {
	var none githubtest.CheckState
	for _, name := range []string{"dev", "staging", "production"} {
		if _, err := s.repo.Environment(name).EnableRule(s.app); err != nil {
			return none, err
		}
	}
	s.head("6  What was merged is deployed: to dev, to staging, to production")
	first, err := s.deploy(ctx)
	if err != nil {
		return none, err
	}
	s.showRun(first)
	if err := s.approve("press Approve on the check \"sallyport / production\""); err != nil {
		return none, fmt.Errorf("nobody approved: %w", err)
	}
	if err := s.deployed(first, "production").Click(bob, "approve"); err != nil {
		return none, err
	}
	if err := s.until(ctx, "production is released", func() bool { return status(first, "production") == "in_progress" }); err != nil {
		return none, err
	}
	if err := s.until(ctx, "its check says so", func() bool { return s.deployed(first, "production").See().Conclusion == "success" }); err != nil {
		return none, err
	}
	s.say("")
	s.say("  bob presses Approve:")
	s.showRun(first)
	if err := s.credential(ctx, first); err != nil {
		return none, err
	}
	if err := first.Job("production").Complete("success"); err != nil {
		return none, err
	}

	s.head("7  The agent has one commit more merged, and tries to ship it on that approval")
	more, err := s.open(s.agent, "writer/more", "Explain timeouts", map[string]string{"docs/timeouts.md": "# Timeouts\n\nTen seconds.\n"})
	if err != nil {
		return none, err
	}
	run := s.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/test.yml", By: bob, SHA: more.Head(), Jobs: []githubtest.JobSpec{{Name: "test"}}})
	if err := run.Job("test").Complete("success"); err != nil {
		return none, err
	}
	if err := s.until(ctx, "it is merged", func() bool { return more.See().Merged }); err != nil {
		return none, err
	}
	s.show(more)
	second, err := s.deploy(ctx)
	if err != nil {
		return none, err
	}
	// It is judged again once the first one is known to have ended well.
	if err := s.until(ctx, "what it brings is known", func() bool {
		return strings.Contains(s.deployed(second, "production").See().Summary, "1 pull request")
	}); err != nil {
		return none, err
	}
	s.showRun(second)
	return s.deployed(second, "production").See(), nil
}

// run is a run of the deploy workflow and the commit that it deploys.
type run struct {
	*githubtest.Run

	sha string
}

// deploy starts the deploy workflow as the push to main does, and waits until dev and
// staging run and production is held.
func (s *story) deploy(ctx context.Context) (run, error) {
	sha := s.repo.Head("main")
	r := run{s.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", Name: "deploy", By: s.app.Bot(), SHA: sha, Jobs: []githubtest.JobSpec{
		{Name: "dev", Environment: "dev"}, {Name: "staging", Environment: "staging"}, {Name: "production", Environment: "production"},
	}}), sha}
	for _, name := range []string{"dev", "staging"} {
		if err := s.until(ctx, name+" is released", func() bool { return status(r, name) == "in_progress" && s.deployed(r, name) != nil }); err != nil {
			return r, err
		}
		if err := r.Job(name).Complete("success"); err != nil {
			return r, err
		}
	}
	return r, s.until(ctx, "production is held", func() bool { return s.deployed(r, "production") != nil })
}

func status(r run, job string) string {
	status, _ := r.Job(job).Status()
	return status
}

// deployed is our check run of an environment on what a run deploys.
func (s *story) deployed(r run, environment string) *githubtest.CheckRun {
	return s.repo.CheckRun(r.sha, "sallyport / "+environment)
}

// showRun shows a run of the deploy workflow as GitHub's page would.
func (s *story) showRun(r run) {
	s.say("\n  deploy  main at %s", r.sha[:7])
	for _, name := range []string{"dev", "staging", "production"} {
		state, end := r.Job(name).Status()
		if end != "" {
			state = end
		}
		check := s.deployed(r, name).See()
		lipgloss.Fprintf(s.out, "     %s %-11s %-12s %s\n", sign(check.Conclusion), name, state, plain(check.Title))
		if check.Conclusion != "action_required" {
			continue
		}
		for _, line := range strings.Split(check.Summary, "\n") {
			cells := strings.Split(strings.Trim(line, "| "), " | ")
			if len(cells) == 2 && strings.HasPrefix(line, "| ") && !strings.HasPrefix(cells[0], "---") {
				s.say("         %-26s %s", plain(cells[0]), plain(cells[1]))
			}
		}
	}
}

// sign is how GitHub shows a conclusion.
func sign(conclusion string) string {
	switch conclusion {
	case "success":
		return lipgloss.NewStyle().Foreground(lipgloss.Green).Render("✓")
	case "action_required":
		return lipgloss.NewStyle().Foreground(lipgloss.Yellow).Render("!")
	case "failure":
		return lipgloss.NewStyle().Foreground(lipgloss.Red).Render("✗")
	default:
		return " "
	}
}
