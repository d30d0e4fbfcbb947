package rules_test

import (
	"testing"

	"github.com/sallyport/sallyport/rules"
)

const unnamedChecksPolicy = `version: 1
reviewers: [acme/sre, octocat, mona]
environments:
  dev: {gate: auto, paths: [docs/**]}
  production: {gate: human}
`

// Without after, the checks count that the base branch requires from a pinned
// source, as GitHub counts them.
func TestRequiredChecks(t *testing.T) {
	pinned := []rules.RequiredCheck{{Name: "test", App: "github-actions"}}
	check := func(app rules.Slug, conclusion string) []rules.Check {
		return []rules.Check{{Name: "test", App: app, Conclusion: conclusion}}
	}
	for _, row := range []struct {
		name     string
		required []rules.RequiredCheck
		checks   []rules.Check
		want     rules.Verdict
		code     rules.Code
	}{
		{"success", pinned, check("github-actions", "success"), "allow", "SP410"},
		{"skipped satisfies GitHub", pinned, check("github-actions", "skipped"), "allow", "SP410"},
		{"neutral satisfies GitHub", pinned, check("github-actions", "neutral"), "allow", "SP410"},
		{"another App required and there", []rules.RequiredCheck{{Name: "test", App: "circleci"}}, check("circleci", "success"), "allow", "SP410"},
		{"red", pinned, check("github-actions", "failure"), "wait", "SP402"},
		{"running", pinned, check("github-actions", ""), "wait", "SP403"},
		{"never came", pinned, []rules.Check{}, "wait", "SP401"},
		{"of the name, from another App", pinned, check("some-app", "success"), "wait", "SP401"},
		{"from the agent's own App", []rules.RequiredCheck{{Name: "test", App: "claude"}}, check("claude", "success"), "wait", "SP401"},
		{"from the App that opened it", []rules.RequiredCheck{{Name: "test", App: "copilot-swe-agent"}}, check("copilot-swe-agent", "success"), "wait", "SP401"},
		{"required from anybody", []rules.RequiredCheck{{Name: "test"}}, check("github-actions", "success"), "wait", "SP408"},
		{"none required", []rules.RequiredCheck{}, check("github-actions", "success"), "wait", "SP408"},
		{"which are required is not known", nil, check("github-actions", "success"), "wait", "SP407"},
		{"checks unreadable", pinned, nil, "wait", "SP409"},
		{"one green, one red of the name", pinned, append(check("github-actions", "success"), check("github-actions", "failure")...), "wait", "SP402"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := agentChange()
			c.RequiredChecks, c.Checks = row.required, row.checks
			d := rules.DecideChange(only(inForce(t, unnamedChecksPolicy)), c)
			if d.Verdict != row.want || !gives(d.Reasons, row.code) {
				t.Errorf("got %s, want %s for %s:\n%s", d.Verdict, row.want, row.code, tree(d.Reasons, "  "))
			}
		})
	}
}

// An agent does not vouch for itself, even where the policy names its App.
func TestAgentsOwnCheckNeverCounts(t *testing.T) {
	p := only(inForce(t, `version: 1
reviewers: [acme/sre]
environments:
  dev: {gate: auto, paths: [docs/**], after: [{name: verdict, app: claude}]}
  production: {gate: human}
`))
	c := agentChange()
	c.Checks = []rules.Check{{Name: "verdict", App: "claude", Conclusion: "success"}}
	if d := rules.DecideChange(p, c); d.Verdict != "wait" || !gives(d.Reasons, "SP411") {
		t.Errorf("got %s:\n%s", d.Verdict, tree(d.Reasons, "  "))
	}
}

// What a record cannot say is taken as it says it, and each time it is said so. The
// same facts, observed, wait.
func TestStatedFacts(t *testing.T) {
	unpinned := only(rules.PolicyVersion{State: rules.PolicyInForce, Policy: load(t, ordinaryPolicy)})
	bare := func(c *rules.Change) *rules.Change {
		for i := range c.Reviews {
			c.Reviews[i].Write = rules.Unknown
		}
		for i := range c.Checks {
			c.Checks[i].Workflow = ""
		}
		return c
	}
	for _, row := range []struct {
		name     string
		facts    *rules.Change
		code     rules.Code // what a stated decision says
		observed rules.Code // why the observed one waits
	}{
		{"who a login is and that they may write", bare(humanChange()), "SP391", "SP317"},
		{"that a check is a job", bare(agentChange()), "SP490", "SP406"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.facts.Basis = rules.Stated
			if d := rules.DecideChange(unpinned, row.facts); d.Verdict != "allow" || !gives(d.Reasons, row.code) {
				t.Errorf("stated: got %s without %s:\n%s", d.Verdict, row.code, tree(d.Reasons, "  "))
			}
			row.facts.Basis = rules.Observed
			if d := rules.DecideChange(unpinned, row.facts); d.Verdict != "wait" || !gives(d.Reasons, row.observed) {
				t.Errorf("observed: got %s without %s:\n%s", d.Verdict, row.observed, tree(d.Reasons, "  "))
			}
		})
	}
	t.Run("a team's members cannot be stated", func(t *testing.T) {
		c := humanChange()
		c.Basis = rules.Stated
		c.Reviews = []rules.Review{approval(1, sre)}
		if d := rules.DecideChange(unpinned, c); d.Verdict != "wait" || !gives(d.Reasons, "SP317") {
			t.Errorf("got %s:\n%s", d.Verdict, tree(d.Reasons, "  "))
		}
	})
	t.Run("a stated refusal of access is one", func(t *testing.T) {
		c := humanChange()
		c.Basis = rules.Stated
		c.Reviews[0].Write = rules.No
		if d := rules.DecideChange(unpinned, c); d.Verdict != "wait" || !gives(d.Reasons, "SP314") {
			t.Errorf("got %s:\n%s", d.Verdict, tree(d.Reasons, "  "))
		}
	})
}

// A branch before there is a pull request is forecast: never allowed, and a human is
// needed only if one would be.
func TestLocalFacts(t *testing.T) {
	text := "version: 1\nagents: {text: approve}\nreviewers: [acme/sre]\nenvironments:\n  dev: {gate: auto, paths: [docs/**], after: [test]}\n  production: {gate: human}\n"
	local := func() *rules.Change {
		c := agentChange()
		return &rules.Change{
			Head: rules.Head{Ref: "copilot/x", SHA: headSHA}, Files: c.Files, FilesComplete: rules.Yes,
			Commits: c.Commits, CommitsComplete: rules.Yes, Basis: rules.Local,
		}
	}
	d := rules.DecideChange(only(inForce(t, text)), local())
	if d.Verdict != "wait" || d.NeedsHuman() || d.AutoApproval {
		t.Errorf("documentation by a text-approved agent: %s, needs a human %v:\n%s", d.Verdict, d.NeedsHuman(), tree(d.Reasons, "  "))
	}
	d = rules.DecideChange(only(inForce(t, ordinaryPolicy)), local())
	if !d.NeedsHuman() || !gives(d.Reasons, "SP202") {
		t.Errorf("documentation by an agent of unknown account: needs a human %v:\n%s", d.NeedsHuman(), tree(d.Reasons, "  "))
	}
	c := local()
	c.Files[0].Path = "src/x.go"
	d = rules.DecideChange(only(inForce(t, text)), c)
	if !d.NeedsHuman() || len(d.Needs) != 1 || d.Needs[0].Count != 1 {
		t.Errorf("production code: needs a human %v: %+v", d.NeedsHuman(), d.Needs)
	}
}

// Where the base branch is not guarded, an APPROVE review would outlive a push: the
// decision says so.
func TestUnguardedBaseIsSaid(t *testing.T) {
	for _, guarded := range []rules.Tri{rules.No, rules.Unknown} {
		c := agentChange()
		c.BaseGuarded = guarded
		d := rules.DecideChange(only(inForce(t, ordinaryPolicy)), c)
		if d.Verdict != "allow" || !d.AutoApproval || !gives(d.Reasons, "SP210") {
			t.Errorf("%s: got %s:\n%s", guarded, d.Verdict, tree(d.Reasons, "  "))
		}
	}
}

// Where only the check is required, a commit that is green elsewhere can be merged: the
// decision says so, if that is known.
func TestUnreviewedBaseIsSaid(t *testing.T) {
	for reviewed, said := range map[rules.Tri]bool{rules.No: true, rules.Yes: false, rules.Unknown: false} {
		c := agentChange()
		c.BaseReviewed = reviewed
		d := rules.DecideChange(only(inForce(t, ordinaryPolicy)), c)
		if d.Verdict != "allow" || !d.AutoApproval || gives(d.Reasons, "SP213") != said {
			t.Errorf("%s: got %s:\n%s", reviewed, d.Verdict, tree(d.Reasons, "  "))
		}
	}
}

// One person under two names is one approval; a letter that only looks like another
// is another.
func TestOnePersonCountsOnce(t *testing.T) {
	p := only(rules.PolicyVersion{State: rules.PolicyInForce, Policy: load(t, "version: 1\nreviewers: [octocat, mona, sre-one]\nenvironments: {production: {gate: human, count: 2}}\n")})
	for _, second := range []rules.Actor{{Login: "OctoCat", Type: rules.ActorUser}, {ID: 6, Login: "octocat", Type: rules.ActorUser}, {ID: 7, Login: "\u017fre-one", Type: rules.ActorUser}} {
		c := humanChange()
		c.Basis = rules.Stated
		c.Reviews = append(c.Reviews, approval(2, second))
		if d := rules.DecideChange(p, c); d.Verdict != "wait" {
			t.Errorf("%+v: got %s:\n%s", second, d.Verdict, tree(d.Reasons, "  "))
		}
	}
	c := humanChange()
	c.Basis = rules.Stated
	c.Reviews = append(c.Reviews, approval(2, mona))
	if d := rules.DecideChange(p, c); d.Verdict != "allow" {
		t.Errorf("two people: got %s:\n%s", d.Verdict, tree(d.Reasons, "  "))
	}
}

// A change of the workflow behind a check can pass, but only once everybody asked has
// approved it.
func TestChangingTheCheckItself(t *testing.T) {
	p := only(inForce(t, "version: 1\nreviewers: [octocat, mona]\nenvironments: {production: {gate: human, after: [test]}}\n"))
	c := humanChange()
	c.Files = []rules.File{{Path: ".github/workflows/test.yml", Status: rules.FileModified, Mode: rules.ModeFile}}
	if d := rules.DecideChange(p, c); d.Verdict != "allow" || !gives(d.Reasons, "SP412") {
		t.Errorf("approved: got %s:\n%s", d.Verdict, tree(d.Reasons, "  "))
	}
	c.Reviews = []rules.Review{}
	if d := rules.DecideChange(p, c); d.Verdict != "wait" || !gives(d.Reasons, "SP405") || gives(d.Reasons, "SP401") || !d.NeedsHuman() {
		t.Errorf("not approved: got %s:\n%s", d.Verdict, tree(d.Reasons, "  "))
	}
}

// With mixed: approve, other people's commits that the agent itself pushed do not
// end its automatic approval; a person's push does.
func TestMixedApprove(t *testing.T) {
	p := only(inForce(t, "agents: {mixed: approve}\n"+ordinaryPolicy))
	c := agentChange()
	c.Commits = append(c.Commits, humanCommit(oldSHA, dev))
	if d := rules.DecideChange(p, c); d.Verdict != "allow" || !d.AutoApproval || !gives(d.Reasons, "SP212") {
		t.Errorf("got %s:\n%s", d.Verdict, tree(d.Reasons, "  "))
	}
	c.LastPusher = dev
	if d := rules.DecideChange(p, c); d.Verdict != "wait" {
		t.Errorf("pushed by a person: got %s:\n%s", d.Verdict, tree(d.Reasons, "  "))
	}
}

func TestNoFactsAtAll(t *testing.T) {
	p := only(inForce(t, leasePolicy))
	for name, d := range map[string]rules.Decision{
		"change": rules.DecideChange(p, nil), "deployment": rules.DecideDeployment(p, nil), "lease": rules.DecideLease(p, nil, nil),
	} {
		if d.Verdict == rules.VerdictAllow {
			t.Errorf("%s: allowed", name)
		}
	}
}

func TestObserveOnlySays(t *testing.T) {
	v := inForce(t, "mode: observe\n"+ordinaryPolicy)
	d := rules.DecideChange(only(v), agentChange())
	if !d.Observe || !gives(d.Reasons, "SP010") || d.AutoApproval || d.Merge {
		t.Errorf("observe %v:\n%s", d.Observe, tree(d.Reasons, "  "))
	}
	floor := inForce(t, ordinaryPolicy)
	if d := rules.DecideChange(rules.Policies{Repository: v, Floor: floor}, agentChange()); d.Observe {
		t.Error("a repository that observes lifted a floor that enforces")
	} else if d.AutoApproval || d.Merge {
		t.Error("a floor that enforces approved for a repository that observes")
	}
	if d := rules.DecideLease(only(inForce(t, "mode: observe\n"+leasePolicy)), targets(t), leaseRequest()); d.Observe {
		t.Error("observing loosened a credential")
	}
}
