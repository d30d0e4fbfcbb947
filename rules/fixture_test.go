package rules_test

import (
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// The ordinary repository that the judges' tests are about: dev and staging ask
// nobody for an agent's change, production asks acme/sre, octocat or mona, and for
// migrations acme/dba too.
const ordinaryPolicy = `version: 1
reviewers: [acme/sre, octocat, mona]
environments:
  dev:
    gate: auto
    merge: true
    paths: [docs/**, "**/*_test.go", migrations/dev/**]
    after: [test]
  staging:
    gate: auto
    paths: [deploy/staging/**]
    deployments: [staging, "staging-*"]
    after: [test, {name: e2e, app: circleci}]
  production:
    gate: human
    paths: [src/**]
    deployments: [production, "production-*"]
    branches: [main]
    tags: ["v*"]
    also: {"migrations/**": [acme/dba]}
    max_age: 24h
`

const (
	headSHA = rules.SHA("1111111111111111111111111111111111111111")
	oldSHA  = rules.SHA("2222222222222222222222222222222222222222")
	baseSHA = rules.SHA("3333333333333333333333333333333333333333")
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// The people of the tests, by id.
var (
	octocat  = rules.Actor{ID: 1001, Login: "octocat", Type: rules.ActorUser}
	mona     = rules.Actor{ID: 1002, Login: "mona", Type: rules.ActorUser}
	sre      = rules.Actor{ID: 2001, Login: "sre-one", Type: rules.ActorUser}
	sreTwo   = rules.Actor{ID: 2002, Login: "sre-two", Type: rules.ActorUser}
	exSRE    = rules.Actor{ID: 2003, Login: "sre-former", Type: rules.ActorUser}
	dba      = rules.Actor{ID: 3001, Login: "dba-one", Type: rules.ActorUser}
	stranger = rules.Actor{ID: 9001, Login: "stranger", Type: rules.ActorUser}
	dev      = rules.Actor{ID: 4001, Login: "developer", Type: rules.ActorUser}
	copilot  = rules.Actor{ID: 198982749, Login: "Copilot", Type: rules.ActorBot}
)

func directory() rules.Directory {
	member := func(in, out []rules.AccountID) map[rules.AccountID]rules.Tri {
		m := map[rules.AccountID]rules.Tri{}
		for _, id := range in {
			m[id] = rules.Yes
		}
		for _, id := range out {
			m[id] = rules.No
		}
		return m
	}
	all := []rules.AccountID{1001, 1002, 2001, 2002, 2003, 3001, 4001, 9001, 198982749}
	except := func(in ...rules.AccountID) []rules.AccountID {
		return slices.DeleteFunc(slices.Clone(all), func(id rules.AccountID) bool { return slices.Contains(in, id) })
	}
	return rules.Directory{
		Users: map[string]rules.AccountID{"octocat": octocat.ID, "mona": mona.ID},
		Teams: map[string]rules.Team{
			"acme/sre": {ID: 71, Members: member([]rules.AccountID{2001, 2002}, except(2001, 2002))},
			"acme/dba": {ID: 72, Members: member([]rules.AccountID{3001}, except(3001))},
		},
	}
}

func load(t testing.TB, text string) *rules.Policy {
	t.Helper()
	p, problems := rules.LoadPolicy(rules.PolicyPath, []byte(text))
	if p == nil {
		t.Fatalf("policy does not load: %v", problems)
	}
	return p
}

func inForce(t testing.TB, text string) rules.PolicyVersion {
	t.Helper()
	return rules.PolicyVersion{State: rules.PolicyInForce, Policy: load(t, text), Directory: directory()}
}

func only(v rules.PolicyVersion) rules.Policies {
	return rules.Policies{Repository: v, Floor: rules.PolicyVersion{State: rules.PolicyNone}}
}

// agentChange is a change that an agent's own account opened and pushed, to one
// documentation file, with its check green: allowed with no human.
func agentChange() *rules.Change {
	return &rules.Change{
		Repository: rules.Repository{ID: 1, FullName: "acme/orders"},
		Number:     7, Title: "Explain retries", Labels: []string{},
		Draft:  rules.No,
		Author: copilot, App: "copilot-swe-agent",
		Head:            rules.Head{Ref: "copilot/explain-retries", SHA: headSHA, Repository: rules.Repository{ID: 1, FullName: "acme/orders"}},
		Base:            rules.Base{Ref: "main", SHA: baseSHA},
		Files:           []rules.File{{Path: "docs/retries.md", Status: rules.FileModified, Additions: 3, Mode: rules.ModeFile}},
		FilesComplete:   rules.Yes,
		Commits:         []rules.Commit{agentCommit(headSHA)},
		CommitsComplete: rules.Yes,
		LastPusher:      copilot,
		Reviews:         []rules.Review{},
		Checks:          []rules.Check{{Name: "test", App: "github-actions", Conclusion: "success", Workflow: ".github/workflows/test.yml"}},
		RequiredChecks:  []rules.RequiredCheck{},
		BaseGuarded:     rules.Yes,
		Now:             now,
	}
}

func agentCommit(sha rules.SHA) rules.Commit {
	return rules.Commit{
		SHA: sha, Message: "Explain retries\n",
		Author:    rules.Identity{ID: copilot.ID, Login: "Copilot", Name: "copilot-swe-agent[bot]", Email: "198982749+Copilot@users.noreply.github.com"},
		Committer: rules.Identity{ID: 19864447, Login: "web-flow", Name: "GitHub", Email: "noreply@github.com"},
		Verified:  rules.Yes, Parents: 1,
	}
}

func humanCommit(sha rules.SHA, a rules.Actor) rules.Commit {
	id := rules.Identity{ID: a.ID, Login: a.Login, Name: string(a.Login), Email: string(a.Login) + "@example.com"}
	return rules.Commit{SHA: sha, Message: "Change things\n", Author: id, Committer: id, Parents: 1}
}

// humanChange is a developer's change of production code, approved by octocat at
// its head: allowed.
func humanChange() *rules.Change {
	c := agentChange()
	c.Author, c.App, c.LastPusher = dev, "", dev
	c.Head.Ref = "retry-with-backoff"
	c.Title = "Retry with backoff"
	c.Files = []rules.File{{Path: "src/retry.go", Status: rules.FileModified, Mode: rules.ModeFile}}
	c.Commits = []rules.Commit{humanCommit(headSHA, dev)}
	c.Reviews = []rules.Review{approval(1, octocat)}
	return c
}

func approval(id rules.ReviewID, by rules.Actor) rules.Review {
	return rules.Review{ID: id, User: by, State: rules.ReviewApproved, SHA: headSHA, SubmittedAt: now.Add(-time.Hour), Write: rules.Yes}
}

// gives reports whether a code is anywhere in the tree of reasons.
func gives(rs []rules.Reason, code rules.Code) bool {
	return slices.ContainsFunc(rs, func(r rules.Reason) bool { return r.Code == code || gives(r.Because, code) })
}
