package rules_test

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/rules"
)

const leasePolicy = `version: 1
reviewers: [acme/sre, octocat, mona]
environments:
  dev: {gate: auto, paths: [docs/**]}
  production: {gate: human, branches: [main], events: [push, workflow_dispatch]}
  production-read: {gate: auto, unattended: [read]}
credentials:
  orders-migrator: {environment: production, target: orders-db, capability: write, workflow: deploy.yml, ttl: 10m}
  orders-shared: {environment: production, target: orders-shared, capability: write, workflow: "acme/ci/.github/workflows/migrate.yml@4444444444444444444444444444444444444444"}
  orders-dev: {environment: dev, target: orders-dev, capability: write}
  orders-reader: {environment: production-read, target: orders-db-readonly, capability: read, workflow: agent-task.yml}
  orders-lost: {environment: production, target: nowhere, capability: read, workflow: deploy.yml}
  dev-guarded: {environment: dev, target: guarded-dev, capability: write}
`

const leaseTargets = `targets:
  orders-db:
    tier: human
    repositories: [1]
    environments: [production]
    postgres: {url_file: /run/secrets/orders-admin, groups: {write: app_migrator}}
  orders-shared:
    tier: human
    repositories: [1]
    environments: [production]
    token: {audience: "https://vault.example.com"}
  orders-dev:
    tier: auto
    repositories: [1]
    environments: [dev]
    postgres: {url_file: /run/secrets/orders-dev, groups: {write: app}}
  orders-db-readonly:
    tier: auto
    unattended_read: true
    repositories: [1]
    environments: [production-read]
    postgres: {url_file: /run/secrets/orders-ro, groups: {read: app_reader}}
  guarded-dev:
    tier: human
    repositories: [1]
    environments: [dev]
    token: {audience: "https://vault.example.com"}
`

func leaseRequest() *rules.LeaseRequest {
	return &rules.LeaseRequest{
		Credential: "orders-migrator", Verified: rules.Yes, Installed: rules.Yes, InProgress: rules.Yes, RefIs: rules.Yes, DefaultBranch: "main", Given: rules.No,
		Claims: rules.JobClaims{
			RepositoryID: 1, RepositoryOwnerID: 2, Environment: "production", SHA: headSHA, Ref: "refs/heads/main", EventName: "push",
			JobWorkflowRef: "acme/orders/.github/workflows/deploy.yml@refs/heads/main", JobWorkflowSHA: headSHA,
			RunID: 21, RunAttempt: 1, CheckRunID: 31, RunnerEnvironment: "github-hosted", Repository: "acme/orders",
		},
		Grants: []rules.Grant{{
			Repository: 1, Environment: "production", SHA: headSHA, Run: 21, Attempt: 1, CheckRun: 31,
			Human: rules.Yes, Holds: rules.Yes, At: now.Add(-time.Minute),
		}},
		Now: now,
	}
}

func targets(t testing.TB) *rules.Targets {
	t.Helper()
	ts, problems := rules.LoadTargets("targets.yml", []byte(leaseTargets))
	if ts == nil {
		t.Fatalf("targets do not load: %v", problems)
	}
	return ts
}

// forDev turns the request into one for a dev credential, released automatically.
func forDev(q *rules.LeaseRequest) {
	q.Credential, q.Claims.Environment = "orders-dev", "dev"
	q.Grants[0].Environment, q.Grants[0].Human = "dev", rules.No
}

// forTask turns the request into an agent's task that reads.
func forTask(q *rules.LeaseRequest) {
	q.Credential, q.Claims.Environment = "orders-reader", "production-read"
	q.Claims.JobWorkflowRef = "acme/orders/.github/workflows/agent-task.yml@refs/heads/main"
	q.Grants[0].Environment, q.Grants[0].Human = "production-read", rules.No
}

func forShared(q *rules.LeaseRequest) {
	q.Credential = "orders-shared"
	q.Claims.JobWorkflowRef = "acme/ci/.github/workflows/migrate.yml@refs/heads/main"
	q.Claims.JobWorkflowSHA = "4444444444444444444444444444444444444444"
}

func TestLeases(t *testing.T) {
	for _, row := range []struct {
		name  string
		facts func(q *rules.LeaseRequest)
		want  rules.Verdict
		code  rules.Code
	}{
		{"the approved job", func(*rules.LeaseRequest) {}, "allow", "SP600"},
		{"the environment's name in capitals", func(q *rules.LeaseRequest) { q.Claims.Environment = "Production" }, "allow", "SP600"},
		{"a dev job", forDev, "allow", "SP600"},
		{"an agent's reading task", forTask, "allow", "SP600"},
		{"another repository's workflow at the pinned commit", forShared, "allow", "SP600"},
		{"a dev job of a branch", func(q *rules.LeaseRequest) { forDev(q); q.Claims.Ref = "refs/heads/agent" }, "allow", "SP600"},

		{"a reading task of a branch", func(q *rules.LeaseRequest) { forTask(q); q.Claims.Ref = "refs/heads/agent" }, "deny", "SP624"},
		{"a reading task of a tag", func(q *rules.LeaseRequest) { forTask(q); q.Claims.Ref = "refs/tags/main" }, "deny", "SP624"},
		{"a reading task, no default branch known", func(q *rules.LeaseRequest) { forTask(q); q.DefaultBranch = "" }, "deny", "SP624"},
		{"production's ref is another than GitHub shows", func(q *rules.LeaseRequest) { q.RefIs = rules.No }, "deny", "SP623"},
		{"nobody compared the ref", func(q *rules.LeaseRequest) { q.RefIs = rules.Unknown }, "deny", "SP623"},

		{"a token not verified", func(q *rules.LeaseRequest) { q.Verified = rules.Unknown }, "deny", "SP602"},
		{"no installation", func(q *rules.LeaseRequest) { q.Installed = rules.No }, "deny", "SP603"},
		{"no environment claim", func(q *rules.LeaseRequest) { q.Claims.Environment = "" }, "deny", "SP604"},
		{"no repository id", func(q *rules.LeaseRequest) { q.Claims.RepositoryID = 0 }, "deny", "SP604"},
		{"no check run id", func(q *rules.LeaseRequest) { q.Claims.CheckRunID = 0 }, "deny", "SP604"},
		{"no attempt", func(q *rules.LeaseRequest) { q.Claims.RunAttempt = 0 }, "deny", "SP604"},
		{"a credential that nobody named", func(q *rules.LeaseRequest) { q.Credential = "root" }, "deny", "SP601"},
		{"a target that the server does not declare", func(q *rules.LeaseRequest) { q.Credential = "orders-lost" }, "deny", "SP605"},
		{"another repository", func(q *rules.LeaseRequest) { q.Claims.RepositoryID = 2; q.Grants[0].Repository = 2 }, "deny", "SP606"},
		{"a dev job that asks for production's", func(q *rules.LeaseRequest) { q.Claims.Environment = "dev" }, "deny", "SP608"},
		{"an environment that the target does not list", func(q *rules.LeaseRequest) { q.Claims.Environment = "dev" }, "deny", "SP607"},
		{"an environment of a similar name", func(q *rules.LeaseRequest) { q.Claims.Environment = "production2" }, "deny", "SP608"},
		{"another workflow", func(q *rules.LeaseRequest) {
			q.Claims.JobWorkflowRef = "acme/orders/.github/workflows/evil.yml@refs/heads/main"
		}, "deny", "SP609"},
		{"the workflow's name in another repository", func(q *rules.LeaseRequest) {
			q.Claims.JobWorkflowRef = "evil/orders/.github/workflows/deploy.yml@refs/heads/main"
		}, "deny", "SP609"},
		{"the workflow's name behind a longer path", func(q *rules.LeaseRequest) {
			q.Claims.JobWorkflowRef = "acme/orders/.github/workflows/x/.github/workflows/deploy.yml@refs/heads/main"
		}, "deny", "SP609"},
		{"another version of the workflow", func(q *rules.LeaseRequest) { q.Claims.JobWorkflowSHA = oldSHA }, "deny", "SP610"},
		{"another repository's workflow at another commit", func(q *rules.LeaseRequest) { forShared(q); q.Claims.JobWorkflowSHA = headSHA }, "deny", "SP610"},
		{"this repository's workflow where another's is pinned", func(q *rules.LeaseRequest) { q.Credential = "orders-shared" }, "deny", "SP609"},
		{"an event the policy does not name", func(q *rules.LeaseRequest) { q.Claims.EventName = "schedule" }, "deny", "SP611"},
		{"a comment", func(q *rules.LeaseRequest) { q.Claims.EventName = "issue_comment" }, "deny", "SP611"},
		{"a pull request, for a guarded target of an auto environment", func(q *rules.LeaseRequest) {
			forDev(q)
			q.Credential, q.Claims.EventName, q.Grants[0].Human = "dev-guarded", "pull_request", rules.Yes
		}, "deny", "SP611"},
		{"a self-hosted runner", func(q *rules.LeaseRequest) { q.Claims.RunnerEnvironment = "self-hosted" }, "deny", "SP612"},
		{"a job that has ended", func(q *rules.LeaseRequest) { q.InProgress = rules.No }, "deny", "SP613"},
		{"a job GitHub could not tell of", func(q *rules.LeaseRequest) { q.InProgress = rules.Unknown }, "deny", "SP613"},
		{"no grant", func(q *rules.LeaseRequest) { q.Grants = nil }, "deny", "SP614"},
		{"a dev job without any grant", func(q *rules.LeaseRequest) { forDev(q); q.Grants = nil }, "deny", "SP614"},
		{"a grant of another run", func(q *rules.LeaseRequest) { q.Grants[0].Run = 20 }, "deny", "SP615"},
		{"a grant of an earlier attempt", func(q *rules.LeaseRequest) { q.Claims.RunAttempt = 2 }, "deny", "SP615"},
		{"a grant of another commit", func(q *rules.LeaseRequest) { q.Grants[0].SHA = oldSHA }, "deny", "SP615"},
		{"a grant of another job of the run", func(q *rules.LeaseRequest) { q.Claims.CheckRunID = 32 }, "deny", "SP615"},
		{"a grant bound to no job", func(q *rules.LeaseRequest) { q.Grants[0].CheckRun = 0 }, "deny", "SP615"},
		{"an approver who is no longer one", func(q *rules.LeaseRequest) { q.Grants[0].Holds = rules.No }, "deny", "SP616"},
		{"an approver nobody asked about", func(q *rules.LeaseRequest) { q.Grants[0].Holds = rules.Unknown }, "deny", "SP616"},
		{"an automatic grant", func(q *rules.LeaseRequest) { q.Grants[0].Human = rules.No }, "deny", "SP617"},
		{"an automatic grant for a guarded target of an auto environment", func(q *rules.LeaseRequest) { forDev(q); q.Credential = "dev-guarded" }, "deny", "SP617"},
		{"a grant of yesterday", func(q *rules.LeaseRequest) { q.Grants[0].At = now.Add(-25 * time.Hour) }, "deny", "SP618"},
		{"given before", func(q *rules.LeaseRequest) { q.Given = rules.Yes }, "deny", "SP619"},
		{"perhaps given before", func(q *rules.LeaseRequest) { q.Given = rules.Unknown }, "deny", "SP619"},
	} {
		t.Run(row.name, func(t *testing.T) {
			q := leaseRequest()
			row.facts(q)
			got := rules.DecideLease(only(inForce(t, leasePolicy)), targets(t), q)
			if got.Verdict != row.want || !gives(got.Reasons, row.code) {
				t.Errorf("got %s, want %s for %s:\n%s", got.Verdict, row.want, row.code, tree(got.Reasons, "  "))
			}
		})
	}
}

func TestLeaseUnderOtherPolicies(t *testing.T) {
	v := inForce(t, leasePolicy)
	for _, row := range []struct {
		name string
		p    rules.Policies
		ts   *rules.Targets
		code rules.Code
	}{
		{"an unread policy", rules.Policies{Floor: rules.PolicyVersion{State: rules.PolicyNone}}, targets(t), "SP001"},
		{"an unread floor", rules.Policies{Repository: v}, targets(t), "SP001"},
		{"no targets file", only(v), nil, "SP605"},
		{"a targets file nobody checked", only(v), &rules.Targets{Targets: targets(t).Targets}, "SP605"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := rules.DecideLease(row.p, row.ts, leaseRequest())
			if got.Verdict == rules.VerdictAllow || !gives(got.Reasons, row.code) {
				t.Errorf("got %s, want %s:\n%s", got.Verdict, row.code, tree(got.Reasons, "  "))
			}
		})
	}
}

// A floor that names no environment of the job's asks a human for it, whatever the
// repository's policy says.
func TestFloorGuardsUnnamedEnvironments(t *testing.T) {
	q := leaseRequest()
	forDev(q)
	p := rules.Policies{
		Repository: inForce(t, leasePolicy),
		Floor:      inForce(t, "version: 1\nreviewers: [acme/sre]\nenvironments: {production: {gate: human}}\n"),
	}
	if got := rules.DecideLease(p, targets(t), q); got.Verdict != rules.VerdictDeny || !gives(got.Reasons, "SP617") {
		t.Errorf("got %s:\n%s", got.Verdict, tree(got.Reasons, "  "))
	}
	q.Grants[0].Human = rules.Yes
	if got := rules.DecideLease(p, targets(t), q); got.Verdict != rules.VerdictAllow {
		t.Errorf("with a human's grant: got %s:\n%s", got.Verdict, tree(got.Reasons, "  "))
	}
}
