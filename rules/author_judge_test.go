package rules_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/rules"
)

var (
	claudeActor = rules.Actor{ID: 209825114, Login: "claude[bot]", Type: rules.ActorBot}
	monaActor   = rules.Actor{ID: 7, Login: "mona", Type: rules.ActorUser}
)

func authoredBy(sha rules.SHA, email string) rules.Commit {
	return rules.Commit{SHA: sha, Author: rules.Identity{Email: email}, Parents: 1}
}

// changeByClaude is a change that is an agent's by every fact.
func changeByClaude() *rules.Change {
	return &rules.Change{
		Author: claudeActor, LastPusher: claudeActor, Pushers: []rules.Actor{claudeActor}, CommitsComplete: rules.Yes,
		Head:    rules.Head{Ref: "claude/add-retry-Ab3xZ"},
		Commits: []rules.Commit{authoredBy("01", "209825114+claude[bot]@users.noreply.github.com"), authoredBy("02", "noreply@anthropic.com")},
	}
}

// TestWhatLooksLikeAnAgentEarns is the table of attacks: somebody changes one fact
// of an agent's change, and it is no longer known by an account; or an agent
// hides, which earns it nothing.
func TestWhatLooksLikeAnAgentEarns(t *testing.T) {
	tests := []struct {
		name   string
		attack func(*rules.Change)
		want   string
	}{
		{"nobody attacks", func(*rules.Change) {}, "agent high"},
		{"the last pusher is another Bot of the agent", func(c *rules.Change) {
			c.LastPusher = rules.Actor{ID: 208546643, Login: "claude-code-action[bot]", Type: rules.ActorBot}
		}, "agent high"},
		{"the last pusher's type is not known", func(c *rules.Change) { c.LastPusher.Type = "" }, "agent high"},
		{"GitHub merged the base for the agent, signed", func(c *rules.Change) {
			c.Commits = append(c.Commits, rules.Commit{SHA: "03", Parents: 2, Verified: rules.Yes, Author: rules.Identity{ID: 209825114, Login: "claude[bot]"}, Committer: rules.Identity{ID: 19864447, Login: "web-flow"}})
		}, "agent high"},
		{"a person resolved conflicts in the web editor", func(c *rules.Change) {
			c.Commits = append(c.Commits, rules.Commit{SHA: "03", Parents: 2, Verified: rules.Yes, Author: rules.Identity{ID: 7, Login: "mona"}, Committer: rules.Identity{ID: 19864447, Login: "web-flow"}})
		}, "agent medium mixed"},
		{"a person's web edit under the subject of a merge", func(c *rules.Change) {
			c.Commits = append(c.Commits, rules.Commit{SHA: "03", Message: "Merge branch 'main' of x\n\nmore", Verified: rules.Yes, Author: rules.Identity{ID: 7, Login: "mona"}, Committer: rules.Identity{ID: 19864447, Login: "web-flow"}})
		}, "agent medium mixed"},
		{"a person amended the agent's commit", func(c *rules.Change) {
			c.Commits[0].Committer = rules.Identity{ID: 7, Login: "mona"}
		}, "agent medium"},
		{"a person typed the agent as co-author", func(c *rules.Change) {
			c.Commits = append(c.Commits, rules.Commit{SHA: "03", Message: "x\n\nCo-authored-by: claude[bot] <209825114+claude[bot]@users.noreply.github.com>\n", Author: rules.Identity{ID: 7, Login: "mona"}, Committer: rules.Identity{ID: 7, Login: "mona"}})
		}, "agent medium"},

		{"a merge that GitHub did not surely sign", func(c *rules.Change) {
			c.Commits = append(c.Commits, rules.Commit{SHA: "03", Parents: 2, Author: rules.Identity{ID: 7, Login: "mona"}, Committer: rules.Identity{Email: "noreply@github.com"}})
		}, "agent medium mixed"},
		{"a person pushed last", func(c *rules.Change) { c.LastPusher = monaActor }, "agent medium"},
		{"a person pushed once", func(c *rules.Change) { c.Pushers = append(c.Pushers, monaActor) }, "agent medium"},
		{"somebody unknown pushed once", func(c *rules.Change) { c.Pushers = append(c.Pushers, rules.Actor{}) }, "agent medium"},
		{"who pushed last is unknown", func(c *rules.Change) { c.LastPusher = rules.Actor{} }, "agent medium"},
		{"another agent pushed last", func(c *rules.Change) {
			c.LastPusher = rules.Actor{ID: 206951365, Login: "cursor[bot]", Type: rules.ActorBot}
		}, "agent medium"},
		{"a pusher with the agent's login and another id", func(c *rules.Change) { c.LastPusher.ID = 8 }, "agent medium"},
		{"a pusher with the agent's login and no id", func(c *rules.Change) { c.LastPusher.ID = 0 }, "agent medium"},
		{"a pusher with the agent's id that is a User", func(c *rules.Change) { c.LastPusher.Type = rules.ActorUser }, "agent medium"},
		{"the agent's User account pushed last", func(c *rules.Change) { c.LastPusher = rules.Actor{ID: 81847, Login: "claude", Type: rules.ActorUser} }, "agent medium"},
		{"the list of commits is cut short", func(c *rules.Change) { c.CommitsComplete = rules.Unknown }, "agent medium"},
		{"no commits", func(c *rules.Change) { c.Commits = nil }, "agent medium"},
		{"a person's commit", func(c *rules.Change) { c.Commits[1].Author.Email = "mona@example.com" }, "agent medium mixed"},
		{"a commit of nobody", func(c *rules.Change) { c.Commits = append(c.Commits, rules.Commit{}) }, "agent medium mixed"},
		{"another agent's commit", func(c *rules.Change) { c.Commits[1].Author.Email = "cursoragent@cursor.com" }, "agent medium"},
		{"an automation's commit", func(c *rules.Change) {
			c.Commits[1].Author.Email = "66853113+pre-commit-ci[bot]@users.noreply.github.com"
		}, "agent medium mixed"},
		{"a person opened it, and forged every commit", func(c *rules.Change) { c.Author, c.LastPusher, c.Pushers = monaActor, monaActor, nil }, "agent medium"},
		{"the author's login without the id", func(c *rules.Change) { c.Author.ID = 0 }, "agent medium"},
		{"the author's login with another id", func(c *rules.Change) { c.Author.ID = 8 }, "agent medium"},
		{"the author's id, and a User", func(c *rules.Change) { c.Author.Type = rules.ActorUser }, "agent medium"},
		{"the author's id, and no type", func(c *rules.Change) { c.Author.Type = "" }, "agent medium"},
		{"the agent's User account opened it", func(c *rules.Change) {
			c.Author = rules.Actor{ID: 81847, Login: "claude", Type: rules.ActorUser}
		}, "agent medium"},
		{"github-actions under the agent's login", func(c *rules.Change) {
			c.Author.ID, c.LastPusher.ID, c.Pushers = 41898282, 41898282, nil
		}, "agent medium"},
		{"a weakly known Bot", func(c *rules.Change) {
			bot := rules.Actor{ID: 215619710, Login: "anthropic-claude[bot]", Type: rules.ActorBot}
			c.Author, c.LastPusher, c.Pushers = bot, bot, nil
		}, "agent medium"},

		{"a person with nothing but a forged login in the text", func(c *rules.Change) {
			*c = rules.Change{Author: monaActor, LastPusher: monaActor, CommitsComplete: rules.Yes, Title: "claude[bot]", Body: "by claude[bot] (209825114)", Commits: []rules.Commit{authoredBy("01", "mona@example.com")}}
		}, "human medium"},
		{"an agent that hides in a person's account and address", func(c *rules.Change) {
			*c = rules.Change{Author: monaActor, LastPusher: monaActor, CommitsComplete: rules.Yes, Head: rules.Head{Ref: "fix/retry"}, Commits: []rules.Commit{authoredBy("01", "mona@example.com")}}
		}, "human medium"},
		{"an agent that hides its commits but not its account", func(c *rules.Change) {
			for i := range c.Commits {
				c.Commits[i].Author = rules.Identity{ID: 7, Login: "mona", Email: "mona@example.com"}
			}
		}, "agent medium mixed"},
		{"an agent that calls its help assistance", func(c *rules.Change) {
			*c = rules.Change{Author: monaActor, Commits: []rules.Commit{{SHA: "01", Author: rules.Identity{ID: 7}, Message: "Add retry\n\nAssisted-by: Claude"}}}
		}, "human medium"},
		{"an agent that hides behind a reviewer's block", func(c *rules.Change) {
			*c = rules.Change{Author: monaActor, Head: rules.Head{Ref: "fix/retry"}, Body: "<!-- CURSOR_SUMMARY -->\n🤖 Generated with [Claude Code](https://claude.ai/code)"}
		}, "human medium"},
		{"an unknown Bot with an agent's name", func(c *rules.Change) {
			*c = rules.Change{Author: rules.Actor{ID: 8, Login: "claude[bot]", Type: rules.ActorBot}}
		}, "automation low"},
	}
	var cat *rules.Catalogue
	for _, tc := range tests {
		c := changeByClaude()
		tc.attack(c)
		if got := cat.Judge(c); judgedAs(got) != tc.want {
			t.Errorf("%s: %q, want %q\n%+v", tc.name, judgedAs(got), tc.want, got)
		}
	}
}

func TestAgentsOfThePolicy(t *testing.T) {
	cat, err := rules.NewCatalogue(rules.AgentRules{Also: []rules.AgentEntry{
		{ID: "acme-writer", Logins: []rules.Login{"acme-writer[bot]", "acme-helper"}, Branches: []string{"acme/**"}, Trailers: []string{"Made-by: acme-*"}},
		{ID: "claude-code", Logins: []rules.Login{"octo-claude[bot]"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	writer := rules.Actor{ID: 900, Login: "Acme-Writer[bot]", Type: rules.ActorBot}
	full := func(basis rules.Basis, author rules.Actor, login rules.Login) *rules.Change {
		return &rules.Change{Basis: basis, Author: author, LastPusher: author, CommitsComplete: rules.Yes, Commits: []rules.Commit{{SHA: "01", Author: rules.Identity{Login: login, ID: author.ID}}}}
	}
	message := func(m string) *rules.Change {
		return &rules.Change{Commits: []rules.Commit{{SHA: "01", Message: m}}}
	}
	tests := []struct {
		name   string
		change *rules.Change
		want   string
		agent  string
	}{
		{"its Bot account, in a record", full(rules.Stated, writer, "acme-writer[bot]"), "agent high", "acme-writer"},
		{"its Bot account, not pinned to an id", full(rules.Observed, writer, "acme-writer[bot]"), "agent medium", "acme-writer"},
		{"its User account", full(rules.Stated, rules.Actor{ID: 901, Login: "acme-helper", Type: rules.ActorUser}, "acme-helper"), "agent medium", "acme-writer"},
		{"a Bot added to a known agent", full(rules.Stated, rules.Actor{ID: 902, Login: "octo-claude[bot]", Type: rules.ActorBot}, "octo-claude[bot]"), "agent high", "claude-code"},
		{"its login as a User", full(rules.Stated, rules.Actor{ID: 903, Login: "acme-writer[bot]", Type: rules.ActorUser}, "mona"), "human medium", ""},
		{"its branch", &rules.Change{Head: rules.Head{Ref: "acme/a/b"}}, "agent medium", "acme-writer"},
		{"another branch", &rules.Change{Head: rules.Head{Ref: "acmes/a"}}, "human medium", ""},
		{"its trailer", message("Add retry\n\nmade-By: acme-7 <x/y>"), "agent medium", "acme-writer"},
		{"another trailer", message("Add retry\n\nMade-by: acme"), "human medium", ""},
		{"its trailer, quoted", message("Add retry\n\n> Made-by: acme-7"), "human medium", ""},
		{"an agent of the catalogue", &rules.Change{Head: rules.Head{Ref: "codex/a"}}, "agent medium", "codex"},
	}
	for _, tc := range tests {
		got := cat.Judge(tc.change)
		if judgedAs(got) != tc.want || strings.Join(got.Agents, " ") != tc.agent {
			t.Errorf("%s: %q %q, want %q %q\n%+v", tc.name, judgedAs(got), got.Agents, tc.want, tc.agent, got)
		}
	}
	for _, bad := range []rules.AgentEntry{
		{ID: "x", Branches: []string{"a[/b"}}, {ID: "x", Branches: []string{""}},
		{ID: "x", Trailers: []string{"no colon"}}, {ID: "x", Trailers: []string{"Key:"}}, {ID: "x", Trailers: []string{": v"}},
	} {
		if _, err := rules.NewCatalogue(rules.AgentRules{Also: []rules.AgentEntry{bad}}); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func TestWithoutTheCatalogue(t *testing.T) {
	off := false
	cat, err := rules.NewCatalogue(rules.AgentRules{Catalogue: &off, Also: []rules.AgentEntry{{ID: "mine", Branches: []string{"mine/*"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{"codex/a": "human medium", "mine/a": "agent medium"} {
		if got := cat.Judge(&rules.Change{Head: rules.Head{Ref: ref}}); judgedAs(got) != want {
			t.Errorf("%s: %q, want %q", ref, judgedAs(got), want)
		}
	}
	if got := cat.Judge(changeByClaude()); judgedAs(got) != "automation low" {
		t.Errorf("an agent of the catalogue is %q, want an unknown Bot", judgedAs(got))
	}
	if !cat.OwnApp("claude") {
		t.Error("an agent's App vouches for itself where the catalogue is off")
	}
	if cat.NonPerson(rules.Identity{Email: "noreply@anthropic.com"}) || !cat.NonPerson(rules.Identity{Email: "noreply@github.com"}) {
		t.Error("NonPerson without the catalogue must know GitHub's own addresses and no agent's")
	}
}

func TestNonPerson(t *testing.T) {
	cat, err := rules.NewCatalogue(rules.AgentRules{Also: []rules.AgentEntry{{ID: "acme", Logins: []rules.Login{"acme-writer[bot]"}}}})
	if err != nil {
		t.Fatal(err)
	}
	yes := []rules.Identity{
		{Email: "noreply@anthropic.com"}, {Email: "NoReply@Anthropic.com"}, {Email: "41898282+claude[bot]@users.noreply.github.com"},
		{Email: "198982749+Copilot@users.noreply.github.com"}, {Email: "49699333+dependabot[bot]@users.noreply.github.com"},
		{Email: "noreply@github.com"}, {ID: 19864447}, {Login: "web-flow"}, {ID: 41898282, Login: "github-actions[bot]"},
		{ID: 81847, Email: "x@example.com"}, {Login: "claude[bot]"}, {Login: "Acme-Writer[bot]"}, {Email: "185149714+gru-agent[bot]@users.noreply.github.com"},
	}
	no := []rules.Identity{
		{}, {Name: "Claude"}, {Name: "claude[bot]"}, {Email: "mona@anthropic.com"}, {Email: "mona@github.com"}, {ID: 7, Email: "noreply@anthropic.com"},
		{Login: "mona", Email: "noreply@anthropic.com"}, {ID: 7, Login: "claude[bot]"}, {Email: "41898282+mona@users.noreply.github.com"},
		{Email: "209825115+claude[bot]@users.noreply.github.com"}, {Login: "octo-ci[bot]"}, {Email: "12-mona@users.noreply.replit.com"},
		{Email: "codex@example.com"}, {Email: "claude@users.noreply.github.com"}, {Email: "+claude[bot]@users.noreply.github.com"},
		{Email: "99999999999999999999999999+claude[bot]@users.noreply.github.com"}, {Email: "@users.noreply.github.com"},
	}
	for _, i := range yes {
		if !cat.NonPerson(i) {
			t.Errorf("%+v could approve", i)
		}
	}
	for _, i := range no {
		if cat.NonPerson(i) {
			t.Errorf("%+v is surely no person", i)
		}
	}
}

func TestOwnApp(t *testing.T) {
	cat, err := rules.NewCatalogue(rules.AgentRules{Also: []rules.AgentEntry{{ID: "acme", Logins: []rules.Login{"Acme-Writer[bot]", "acme-user"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for app, want := range map[rules.Slug]bool{
		"claude": true, "Claude": true, "copilot-swe-agent": true, "devin-ai-integration": true, "coderabbitai": true, "acme-writer": true,
		"": false, "github-actions": false, "circleci-checks": false, "dependabot": false, "acme-user": false, "claude[bot]": false,
	} {
		if got := cat.OwnApp(app); got != want {
			t.Errorf("OwnApp(%q) is %t", app, got)
		}
	}
}

func TestCommitsSayWhoWroteThemWhereTheyDiffer(t *testing.T) {
	var cat *rules.Catalogue
	c := changeByClaude()
	if got := cat.Judge(c); got.Commits != nil {
		t.Errorf("all by one: %+v", got.Commits)
	}
	c.Commits = append(c.Commits, authoredBy("00", "mona@example.com"))
	want := []rules.CommitAuthorship{
		{SHA: "00", Kind: rules.KindHuman},
		{SHA: "01", Kind: rules.KindAgent, Agents: []string{"claude-code"}},
		{SHA: "02", Kind: rules.KindAgent, Agents: []string{"claude-code"}},
	}
	if got := cat.Judge(c); !reflect.DeepEqual(got.Commits, want) {
		t.Errorf("%+v, want %+v", got.Commits, want)
	}
}

func TestEvidenceIsBoundedAndKeepsEachKind(t *testing.T) {
	var cat *rules.Catalogue
	c := &rules.Change{}
	for i := range 10_000 {
		c.Commits = append(c.Commits, rules.Commit{SHA: rules.SHA(fmt.Sprintf("%05d", i)), Author: rules.Identity{Email: "noreply@anthropic.com"}, Message: "Add retry\n\nCo-Authored-By: Claude <noreply@anthropic.com>"})
	}
	c.Commits[7000].Author.Email = "cursoragent@cursor.com"
	got := cat.Judge(c)
	if len(got.Evidence) != 200 {
		t.Errorf("%d pieces of evidence", len(got.Evidence))
	}
	if !slices.ContainsFunc(got.Evidence, func(e rules.Evidence) bool { return e.Agent == "cursor" }) {
		t.Error("the rare agent has no evidence")
	}
}

// drawAuthored draws a change out of pieces that mean something here.
func drawAuthored(t *rapid.T) *rules.Change {
	email := rapid.SampledFrom([]string{"", "mona@example.com", "noreply@anthropic.com", "cursoragent@cursor.com", "198982749+Copilot@users.noreply.github.com", "49699333+dependabot[bot]@users.noreply.github.com", "205137888+cline[bot]@users.noreply.github.com", "noreply@github.com", "copilot@github.com", "999+x[bot]@users.noreply.github.com", "\xff<>"})
	login := rapid.SampledFrom([]rules.Login{"", "mona", "claude[bot]", "web-flow", "x[bot]", "Copilot", "dependabot[bot]"})
	id := rapid.SampledFrom([]rules.AccountID{0, 7, 209825114, 198982749, 41898282, 49699333, 19864447})
	typ := rapid.SampledFrom([]rules.ActorType{"", rules.ActorBot, rules.ActorUser})
	ident := func(n string) rules.Identity {
		return rules.Identity{ID: id.Draw(t, n), Login: login.Draw(t, n), Name: rapid.SampledFrom([]string{"", "Claude", "Mona (aider)"}).Draw(t, n), Email: email.Draw(t, n)}
	}
	actor := func(n string) rules.Actor {
		return rules.Actor{ID: id.Draw(t, n), Login: login.Draw(t, n), Type: typ.Draw(t, n)}
	}
	message := rapid.SampledFrom([]string{"", "Add retry", "Add retry\n\nCo-Authored-By: Claude <noreply@anthropic.com>", "Add\n\nAssisted-by: Codex", "Add\n\nCo-authored-by: x <136622811+coderabbitai[bot]@users.noreply.github.com>", "Revert \"x\"\n\nThis reverts commit 01.", "Merge branch 'main' into x", "Checkpoint from VS Code for coding agent session", "Add\n\nEntire-Agent: Cursor", "`\n```\n>\t"})
	c := &rules.Change{
		Title: rapid.SampledFrom([]string{"", "[WIP] x", "[codex] x", `Revert "x"`}).Draw(t, "title"),
		Body:  rapid.SampledFrom([]string{"", "x", "🤖 Generated with [Claude Code](https://claude.ai/code)", "```\nhttps://claude.ai/code/session_01\n```", "<!-- CURSOR_AGENT_PR_BODY_BEGIN -->"}).Draw(t, "body"),
		Head:  rules.Head{Ref: rapid.SampledFrom([]string{"", "codex/x", "copilot/x", "fix/x-9f3a", "cline/x"}).Draw(t, "ref")},
		App:   rapid.SampledFrom([]rules.Slug{"", "claude", "github-actions"}).Draw(t, "app"),

		Labels: rapid.SliceOfN(rapid.SampledFrom([]string{"codex", "bug", "ai-generated"}), 0, 3).Draw(t, "labels"),
		Author: actor("author"), LastPusher: actor("pusher"), CommitsComplete: rules.Tri(rapid.IntRange(0, 2).Draw(t, "complete")),
		Basis: rapid.SampledFrom([]rules.Basis{rules.Observed, rules.Stated}).Draw(t, "basis"),
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "pushers") {
		c.Pushers = append(c.Pushers, actor(fmt.Sprint("p", i)))
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "commits") {
		n := fmt.Sprint("c", i)
		c.Commits = append(c.Commits, rules.Commit{
			SHA: rules.SHA(rapid.SampledFrom([]string{"01", "02", "03", ""}).Draw(t, n)), Author: ident(n), Committer: ident(n), Message: message.Draw(t, n),
			Verified: rules.Tri(rapid.IntRange(0, 2).Draw(t, n)), Parents: rapid.IntRange(0, 2).Draw(t, n),
		})
	}
	return c
}

func authoredShuffled(c *rules.Change, seed uint64) *rules.Change {
	r := rand.New(rand.NewPCG(seed, 1))
	d := *c
	d.Commits, d.Pushers, d.Labels = slices.Clone(c.Commits), slices.Clone(c.Pushers), slices.Clone(c.Labels)
	r.Shuffle(len(d.Commits), func(i, j int) { d.Commits[i], d.Commits[j] = d.Commits[j], d.Commits[i] })
	r.Shuffle(len(d.Pushers), func(i, j int) { d.Pushers[i], d.Pushers[j] = d.Pushers[j], d.Pushers[i] })
	r.Shuffle(len(d.Labels), func(i, j int) { d.Labels[i], d.Labels[j] = d.Labels[j], d.Labels[i] })
	return &d
}

// checkAuthorship holds what is true of every judgement.
func checkAuthorship(t interface{ Errorf(string, ...any) }, c *rules.Change, a rules.Authorship) {
	if a.Agents == nil || a.Evidence == nil || len(a.Evidence) > 200 {
		t.Errorf("lists: %+v", a)
	}
	if (a.Kind == rules.KindAgent) != (len(a.Agents) > 0) && a.Kind != rules.KindAutomation {
		t.Errorf("kind and agents: %+v", a)
	}
	if a.Mixed && (a.Kind != rules.KindAgent || a.Confidence == rules.ConfidenceHigh) {
		t.Errorf("mixed: %+v", a)
	}
	if a.Confidence == rules.ConfidenceHigh && (c.Author.Type != rules.ActorBot || !c.LastPusher.Known() || c.CommitsComplete != rules.Yes || c.Author.ID == 41898282) {
		t.Errorf("high confidence without an account: %+v", a)
	}
	if _, err := json.Marshal(a); err != nil && validText(c) {
		t.Errorf("%+v: %v", a, err)
	}
}

// validText reports whether ids and names are text that JSON can hold; values of
// evidence always are.
func validText(c *rules.Change) bool {
	for _, k := range c.Commits {
		if strings.ToValidUTF8(string(k.SHA), "") != string(k.SHA) {
			return false
		}
	}
	return true
}

func TestJudgementsHoldWhateverTheOrder(t *testing.T) {
	cat, err := rules.NewCatalogue(rules.AgentRules{Also: []rules.AgentEntry{{ID: "acme", Logins: []rules.Login{"x[bot]"}}}})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		c := drawAuthored(t)
		a := cat.Judge(c)
		checkAuthorship(t, c, a)
		if b := cat.Judge(authoredShuffled(c, rapid.Uint64().Draw(t, "seed"))); !reflect.DeepEqual(a, b) {
			t.Fatalf("%+v\nin another order\n%+v", a, b)
		}
	})
}

// TestACommitMoreNeverEarnsMore: adding a commit may turn a person's change into
// an agent's only as mixed, and never makes a judgement surer or unmixed.
func TestACommitMoreNeverEarnsMore(t *testing.T) {
	var cat *rules.Catalogue
	rank := map[rules.Confidence]int{rules.ConfidenceLow: 0, rules.ConfidenceMedium: 1, rules.ConfidenceHigh: 2}
	rapid.Check(t, func(t *rapid.T) {
		c := drawAuthored(t)
		if len(c.Commits) < 2 {
			return
		}
		less := *c
		less.Commits = c.Commits[1:]
		after, before := cat.Judge(c), cat.Judge(&less)
		if after.Kind != rules.KindAgent {
			return
		}
		merge := less.Commits
		for _, k := range merge {
			if k.Verified != rules.No && k.Parents != 1 {
				return // says nothing: the commit more may be the only one
			}
		}
		if before.Kind != rules.KindAgent && !after.Mixed && after.Confidence != rules.ConfidenceLow {
			t.Fatalf("%+v\nwith a commit more\n%+v", before, after)
		}
		if before.Kind == rules.KindAgent && (before.Mixed && !after.Mixed && after.Confidence != rules.ConfidenceLow || rank[after.Confidence] > rank[before.Confidence]) {
			t.Fatalf("%+v\nwith a commit more\n%+v", before, after)
		}
	})
}

func FuzzJudge(f *testing.F) {
	for _, body := range []string{"", "> `x`\n<!-- y -->\n```\n", strings.Repeat("> ", 40) + "🤖 Generated with [Claude Code](https://claude.ai/code)", "<pre>\n\n</pre><code>", "<!-- CURSOR_SUMMARY -->\n## Summary by CodeRabbit", "<!-->gh-aw-<!-- gh-aw-workflow-id: x", "[!NOTE]\n> [!NOTE]\n> x"} {
		f.Add("Add retry", body, "codex/x", "Add\n\nCo-authored-by: Claude <noreply@anthropic.com>", "noreply@anthropic.com", "Claude", "claude[bot]", int64(209825114), uint64(3))
	}
	f.Add(`Revert "x"`, "Link to Devin run", "-9f3a", "Revert \"x\"\n\nThis reverts commit 1\n\n* a\n\nAssisted-by: x", "1+x[bot]@users.noreply.github.com", "M (aider)", "x[bot]", int64(0), uint64(9))
	var cat *rules.Catalogue
	f.Fuzz(func(t *testing.T, title, body, ref, message, email, name, login string, id int64, seed uint64) {
		by := rules.Identity{ID: rules.AccountID(id), Login: rules.Login(login), Name: name, Email: email}
		who := rules.Actor{ID: by.ID, Login: by.Login, Type: []rules.ActorType{"", rules.ActorBot, rules.ActorUser}[seed%3]}
		c := &rules.Change{
			Title: title, Body: body, Head: rules.Head{Ref: ref}, Labels: []string{title, name}, App: rules.Slug(login),
			Author: who, LastPusher: who, Pushers: []rules.Actor{who, {}}, CommitsComplete: rules.Tri(seed % 4), Basis: rules.Basis(seed % 2),
			Commits: []rules.Commit{
				{SHA: "01", Message: message, Author: by, Committer: by},
				{SHA: "02", Message: body, Author: rules.Identity{Email: email}, CoAuthors: []rules.Identity{by}},
				{SHA: "03", Message: title, Author: rules.Identity{Name: name}, Parents: 2, Verified: rules.Yes, Committer: rules.Identity{Email: "noreply@github.com"}},
			},
		}
		a := cat.Judge(c)
		checkAuthorship(t, c, a)
		if b := cat.Judge(authoredShuffled(c, seed)); !reflect.DeepEqual(a, b) {
			t.Errorf("%+v\nin another order\n%+v", a, b)
		}
		cat.NonPerson(by)
		cat.OwnApp(rules.Slug(login))
	})
}

// TestHostileBodiesAreQuick: what is slow to parse is in nobody's interest to wait for.
func TestHostileBodiesAreQuick(t *testing.T) {
	var cat *rules.Catalogue
	mark := "\n🤖 Generated with [Claude Code](https://claude.ai/code) <!-- gh-aw-workflow-id: x -->\n"
	for _, piece := range []string{">", "> ", "- ", "1. ", "`", "``` `", "<", "<!--", "<!-- -->", "<pre>", "<pre></pre>", "[", "[!NOTE]\n> ", "\t", "    a\n", "* * ", "> - ", "a\n", "<code>`</code>", "<a b='", "<!-- CURSOR_SUMMARY -->", "## Summary by CodeRabbit", "\x00", "~~~\n", "- a\n  ", "> a\n>> b\n>>> c\n"} {
		body := strings.Repeat(piece, 65_536/len(piece)) + mark
		start := time.Now()
		cat.Judge(&rules.Change{Body: body, Commits: []rules.Commit{{Message: body}}})
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("64 KiB of %q take %v", piece, took)
		} else if testing.Verbose() && took > 50*time.Millisecond {
			t.Logf("64 KiB of %q take %v", piece, took)
		}
	}
}

// ordinaryChange is a pull request of three commits and a body of 2 KB.
func ordinaryChange() *rules.Change {
	body := "## What\n\nAdds a retry to the client, since the service drops connections.\n\n"
	for len(body) < 2000 {
		body += "- `Retry` waits twice as long each time, up to **30 s** ([docs](https://example.com/retry))\n"
	}
	c := &rules.Change{Title: "Add retry to the client", Body: body, Labels: []string{"enhancement"}, Author: monaActor, LastPusher: monaActor, Head: rules.Head{Ref: "feature/client-retry"}, CommitsComplete: rules.Yes}
	for i := range 3 {
		by := rules.Identity{ID: 7, Login: "mona", Name: "Mona Lisa", Email: "mona@example.com"}
		c.Commits = append(c.Commits, rules.Commit{SHA: rules.SHA(fmt.Sprintf("%040d", i)), Parents: 1, Author: by, Committer: by, Message: "Add retry to the client\n\nThe service drops connections when it restarts. Wait and try again.\n\nSigned-off-by: Mona Lisa <mona@example.com>\n"})
	}
	return c
}

func BenchmarkJudge(b *testing.B) {
	var cat *rules.Catalogue
	agent := ordinaryChange()
	agent.Body += "\n🤖 Generated with [Claude Code](https://claude.com/claude-code)\n"
	agent.Head.Ref = "claude/client-retry-Ab3xZ"
	for i := range agent.Commits {
		agent.Commits[i].Message += "Co-Authored-By: Claude <noreply@anthropic.com>\n"
	}
	many := ordinaryChange()
	for i := range 10_000 {
		k := agent.Commits[i%3]
		k.SHA = rules.SHA(fmt.Sprintf("%040d", i))
		many.Commits = append(many.Commits, k)
	}
	for _, bm := range []struct {
		name   string
		change *rules.Change
	}{{"ordinary", ordinaryChange()}, {"agent", agent}, {"10000-commits", many}} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				cat.Judge(bm.change)
			}
		})
	}
}
