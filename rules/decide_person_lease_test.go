package rules_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/rules"
)

const personPolicy = leasePolicy + `  dev-by-workflow: {environment: dev, target: orders-dev, capability: write, workflow: deploy.yml}
  dev-readonly: {environment: dev, target: orders-db-readonly, capability: read}
  dev-reader: {environment: dev, target: orders-dev, capability: read}
  dev-of-others: {environment: dev, target: others, capability: write}
  read-anything: {environment: production-read, target: anything, capability: read, workflow: agent-task.yml}
  prod-by-auto: {environment: production, target: anything, capability: write, workflow: deploy.yml}
`

const personTargets = leaseTargets + `  others: {tier: auto, repositories: [2], environments: [dev], token: {audience: "https://vault.example.com"}}
  anything: {tier: auto, repositories: [1], environments: [dev, production, production-read], token: {audience: "https://vault.example.com"}}
`

func personRequest(credential string) *rules.PersonLeaseRequest {
	return &rules.PersonLeaseRequest{
		Credential: credential, Verified: rules.Yes, Person: rules.Actor{ID: 7, Login: "alice", Type: rules.ActorUser}, Repository: 1,
		Installed: rules.Yes, Write: rules.Yes, Now: now,
	}
}

func personWorld(t *testing.T, policy string) (rules.Policies, *rules.Targets) {
	t.Helper()
	p, problems := rules.LoadPolicy("sallyport.yml", []byte(policy))
	if p == nil {
		t.Fatal(problems)
	}
	ts, problems := rules.LoadTargets("targets.yml", []byte(personTargets))
	if ts == nil {
		t.Fatal(problems)
	}
	return rules.Policies{Repository: rules.PolicyVersion{State: rules.PolicyInForce, Policy: p}, Floor: rules.PolicyVersion{State: rules.PolicyNone}}, ts
}

func TestPersonLeases(t *testing.T) {
	p, ts := personWorld(t, personPolicy)
	as := func(credential string, change func(*rules.PersonLeaseRequest)) *rules.PersonLeaseRequest {
		q := personRequest(credential)
		if change != nil {
			change(q)
		}
		return q
	}
	for _, row := range []struct {
		name string
		q    *rules.PersonLeaseRequest
		want rules.Code // of what is said first; SP640 is allowed
	}{
		{"a developer's dev credential", as("orders-dev", nil), "SP640"},
		{"one less than too many", as("orders-dev", func(q *rules.PersonLeaseRequest) { q.Live = rules.MaxPersonLeases - 1 }), "SP640"},

		{"nothing", nil, "SP641"},
		{"a token that nobody verified", as("orders-dev", func(q *rules.PersonLeaseRequest) { q.Verified = rules.No }), "SP641"},
		{"a token of which it is not known", as("orders-dev", func(q *rules.PersonLeaseRequest) { q.Verified = rules.Unknown }), "SP641"},
		{"nobody", as("orders-dev", func(q *rules.PersonLeaseRequest) { q.Person.ID = 0 }), "SP641"},
		{"a bot", as("orders-dev", func(q *rules.PersonLeaseRequest) { q.Person.Type = rules.ActorBot }), "SP642"},
		{"an account of unknown kind", as("orders-dev", func(q *rules.PersonLeaseRequest) { q.Person.Type = "" }), "SP642"},
		{"a repository without the App", as("orders-dev", func(q *rules.PersonLeaseRequest) { q.Installed = rules.No }), "SP603"},
		{"no repository", as("orders-dev", func(q *rules.PersonLeaseRequest) { q.Repository = 0 }), "SP603"},
		{"a reader", as("orders-dev", func(q *rules.PersonLeaseRequest) { q.Write = rules.No }), "SP643"},
		{"somebody of whom it is not known", as("orders-dev", func(q *rules.PersonLeaseRequest) { q.Write = rules.Unknown }), "SP643"},
		{"a reader is told of no credential", as("nothing", func(q *rules.PersonLeaseRequest) { q.Write = rules.No }), "SP643"},
		{"what the policy does not name", as("nothing", nil), "SP601"},
		{"a target that the server does not declare", as("orders-lost", nil), "SP605"},
		{"another repository than the target's", as("orders-dev", func(q *rules.PersonLeaseRequest) { q.Repository = 2 }), "SP644"},
		{"a target of another repository", as("dev-of-others", nil), "SP644"},
		{"a target of another environment", as("dev-readonly", nil), "SP644"},
		{"production", as("orders-migrator", nil), "SP645"},
		{"production of another's workflow", as("orders-shared", nil), "SP645"},
		{"a human target although the policy's gate is auto", as("dev-guarded", nil), "SP645"},
		{"an automatic target in a gated environment", as("prod-by-auto", nil), "SP646"},
		{"an unattended reader", as("orders-reader", nil), "SP647"},
		{"an unattended environment's reader of any target", as("read-anything", nil), "SP647"},
		{"a credential of a workflow", as("dev-by-workflow", nil), "SP649"},
		{"what the target has not", as("dev-reader", nil), "SP620"},
		{"one too many", as("orders-dev", func(q *rules.PersonLeaseRequest) { q.Live = rules.MaxPersonLeases }), "SP648"},
		{"an impossible number", as("orders-dev", func(q *rules.PersonLeaseRequest) { q.Live = -1 }), "SP648"},
	} {
		d := rules.DecidePersonLease(p, ts, row.q)
		want := rules.VerdictDeny
		if row.want == "SP640" {
			want = rules.VerdictAllow
		}
		if d.Verdict != want || len(d.Reasons) == 0 || d.Reasons[0].Code != row.want || d.Observe {
			t.Errorf("%s: %s %+v, want %s by %s", row.name, d.Verdict, d.Reasons, want, row.want)
		}
	}
	// Targets that nobody loaded, and none at all.
	for _, ts := range []*rules.Targets{nil, {Targets: ts.Targets}} {
		if d := rules.DecidePersonLease(p, ts, as("orders-dev", nil)); d.Verdict != rules.VerdictDeny || d.Reasons[0].Code != "SP605" {
			t.Errorf("without targets: %+v", d)
		}
	}
	// A policy that only observes loosens nothing, and one that is not in force opens nothing.
	p.Repository.State = rules.PolicyNotAdopted
	if d := rules.DecidePersonLease(p, ts, as("orders-dev", nil)); d.Verdict == rules.VerdictAllow {
		t.Errorf("a policy that is not adopted: %+v", d)
	}
	p, ts = personWorld(t, "mode: observe\n"+personPolicy)
	if d := rules.DecidePersonLease(p, ts, as("orders-migrator", nil)); d.Verdict != rules.VerdictDeny || d.Observe {
		t.Errorf("a policy that observes: %+v", d)
	}
	d := rules.TooManyLeases(rules.DecidePersonLease(p, ts, as("orders-dev", nil)), "alice")
	if d.Verdict != rules.VerdictDeny || d.Reasons[0].Code != "SP648" {
		t.Errorf("%+v", d)
	}
}

// The organisation's floor has its say: what it does not name is human.
func TestPersonLeaseFloor(t *testing.T) {
	p, ts := personWorld(t, personPolicy)
	for floor, want := range map[string]rules.Verdict{
		"  dev: {gate: auto, paths: [docs/**]}\n":                                 "allow",
		"  dev: {gate: human, paths: [docs/**]}\n":                                "deny",
		"  d: {gate: human, paths: [docs/**], deployments: [\"d*\"]}\n":           "deny",
		"  development: {gate: auto, paths: [docs/**], deployments: [develop]}\n": "deny",
	} {
		f, problems := rules.LoadPolicy("floor", []byte("version: 1\nreviewers: [acme/sre, octocat, mona]\nenvironments:\n"+floor+"  production: {gate: human}\n"))
		if f == nil {
			t.Fatal(problems)
		}
		p.Floor = rules.PolicyVersion{State: rules.PolicyInForce, Policy: f}
		d := rules.DecidePersonLease(p, ts, personRequest("orders-dev"))
		if d.Verdict != want || want == "deny" && (d.Reasons[0].Code != "SP646" || !d.Reasons[0].Floor) {
			t.Errorf("under a floor with %s: %+v", strings.TrimSpace(floor), d)
		}
	}
	p.Floor = rules.PolicyVersion{State: rules.PolicyUnread}
	if d := rules.DecidePersonLease(p, ts, personRequest("orders-dev")); d.Verdict == rules.VerdictAllow {
		t.Errorf("a floor that cannot be read: %+v", d)
	}
}

// Every GitHub environment that a credential of a person could be of is judged by what
// covers it: a pattern of a human environment too.
func TestPersonEnvironment(t *testing.T) {
	text := strings.Replace(personPolicy, "  dev: {gate: auto, paths: [docs/**]}\n", "  dev: {gate: auto, paths: [docs/**], deployments: [\"dev*\", sandbox]}\n", 1)
	p, _ := personWorld(t, text)
	policy := p.Repository.Policy
	target := &rules.Target{Environments: []string{"sandbox", "dev-eu", "Dev"}}
	if got := rules.PersonEnvironment(policy, "orders-dev", target); got != "Dev" {
		t.Errorf("its own name is not preferred: %q", got)
	}
	target.Environments = []string{"other", "sandbox", "dev-eu"}
	if got := rules.PersonEnvironment(policy, "orders-dev", target); got != "sandbox" {
		t.Errorf("not the first: %q", got)
	}
	for _, x := range []string{rules.PersonEnvironment(policy, "nothing", target), rules.PersonEnvironment(nil, "orders-dev", target), rules.PersonEnvironment(policy, "orders-dev", nil)} {
		if x != "" {
			t.Errorf("%q of nothing", x)
		}
	}
	p, ts := personWorld(t, strings.Replace(personPolicy, "branches: [main], events", "deployments: [production, \"de*\"], branches: [main], events", 1))
	if d := rules.DecidePersonLease(p, ts, personRequest("orders-dev")); d.Verdict != rules.VerdictDeny || d.Reasons[0].Code != "SP646" {
		t.Errorf("a human environment covers it too: %+v", d)
	}
}
