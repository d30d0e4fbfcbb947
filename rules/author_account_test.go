package rules

import "testing"

// TestWhyNoAccount holds the few words that a decision shows; the conditions
// themselves are tested from outside.
func TestWhyNoAccount(t *testing.T) {
	bot := Actor{ID: 209825114, Login: "claude[bot]", Type: ActorBot}
	mona := Actor{ID: 7, Login: "mona", Type: ActorUser}
	full := func() *Change {
		return &Change{Author: bot, LastPusher: bot, CommitsComplete: Yes, Commits: []Commit{{SHA: "0123456789", Author: Identity{Email: "noreply@anthropic.com"}}}}
	}
	tests := []struct {
		change func(*Change)
		why    string
	}{
		{func(*Change) {}, ""},
		{func(c *Change) { c.Author = Actor{} }, "who opened the pull request is not known"},
		{func(c *Change) { c.Author = mona }, `opened by "mona", which is no account that an agent alone controls`},
		{func(c *Change) { c.Author = Actor{ID: 7} }, "opened by account 7, which is no account that an agent alone controls"},
		{func(c *Change) { c.LastPusher = Actor{} }, "who pushed last is not known"},
		{func(c *Change) { c.LastPusher = mona }, `pushed by "mona", not by the agent's account`},
		{func(c *Change) { c.Pushers = []Actor{bot, mona} }, `also pushed by "mona", not by the agent's account`},
		{func(c *Change) { c.Pushers = []Actor{{}} }, "also pushed by an unknown account, not by the agent's account"},
		{func(c *Change) { c.CommitsComplete = No }, "not all commits are known"},
		{func(c *Change) { c.Commits = nil }, "there are no commits"},
		{func(c *Change) { c.Commits[0].Author.Email = "m@example.com" }, `commit "0123456" is not the agent's`},
	}
	var cat *Catalogue
	for _, tc := range tests {
		c := full()
		tc.change(c)
		if _, ok, why := cat.account(c); ok != (tc.why == "") || why != tc.why {
			t.Errorf("%t %q, want %q", ok, why, tc.why)
		}
	}
	if _, ok, why := cat.account(nil); ok || why == "" {
		t.Errorf("no change: %t %q", ok, why)
	}
}

func TestPinnedLoginsCountForTheirAccountAlone(t *testing.T) {
	cat, err := NewCatalogue(AgentRules{Also: []AgentEntry{{ID: "acme", Logins: []Login{"acme-writer[bot]"}}}})
	if err != nil {
		t.Fatal(err)
	}
	pins := map[string]AccountID{"acme-writer[bot]": 900}
	for id, want := range map[AccountID]bool{900: true, 901: false, 0: false} {
		by := Actor{ID: id, Login: "acme-writer[bot]", Type: ActorBot}
		c := &Change{Author: by, LastPusher: by, CommitsComplete: Yes, Commits: []Commit{{SHA: "01", Author: Identity{ID: id, Login: by.Login}}}}
		if agent, ok, why := cat.accountPinned(c, pins, false); ok != want || agent != "acme" && want {
			t.Errorf("id %d: %q %t %q", id, agent, ok, why)
		}
		if _, ok, _ := cat.account(c); ok {
			t.Errorf("id %d counts without a pin", id)
		}
	}
}

// TestThePullRequestItselfIsAnAgents: what opened says is by the pull request's
// own signs, so that a commit more cannot make it so.
func TestThePullRequestItselfIsAnAgents(t *testing.T) {
	var cat *Catalogue
	claude := []Commit{{SHA: "01", Author: Identity{Email: "noreply@anthropic.com"}}}
	for _, tc := range []struct {
		name   string
		change Change
		want   bool
	}{
		{"commits alone", Change{Commits: claude}, false},
		{"its branch", Change{Commits: claude, Head: Head{Ref: "claude/x"}}, true},
		{"a weak branch", Change{Commits: claude, Head: Head{Ref: "claude-x"}}, false},
		{"its account", Change{Author: Actor{ID: 209825114, Login: "claude[bot]", Type: ActorBot}}, true},
		{"a hand-off", Change{Head: Head{Ref: "copilot/x"}, Commits: []Commit{{Message: "Checkpoint from VS Code for coding agent session"}}}, false},
	} {
		if got := cat.Judge(&tc.change).opened; got != tc.want {
			t.Errorf("%s: opened is %t", tc.name, got)
		}
	}
}

// TestEveryPatternCompiles: patterns are compiled when first needed.
func TestEveryPatternCompiles(t *testing.T) {
	s := builtIn()
	for _, list := range [][]pattern{s.branches, s.titles, s.bodies, s.messages, s.likeName} {
		for _, p := range list {
			if p.re != nil {
				p.re()
			}
		}
	}
	for _, list := range s.trailers {
		for _, p := range list {
			p.re()
		}
	}
}
