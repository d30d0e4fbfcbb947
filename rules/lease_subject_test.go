package rules_test

import (
	"slices"
	"testing"

	"github.com/sallyport/sallyport/rules"
)

// What the command line prints for a relying party is what the server signs, and an
// environment is printed if and only if a job of it would be heard.
func TestLeaseEnvironments(t *testing.T) {
	p, problems := rules.LoadPolicy("p", []byte(`version: 1
reviewers: [acme/sre]
environments:
  dev: {gate: auto, paths: [docs/**], after: [test], deployments: ["dev-*", both]}
  production: {gate: human, deployments: [Production, "prod-*", both]}
credentials:
  dev-db: {environment: dev, target: t, capability: read}
  db: {environment: production, target: t, capability: read, workflow: deploy.yml}
`))
	if rules.HasErrors(problems) {
		t.Fatal(problems)
	}
	for _, c := range []struct {
		credential string
		target     []string
		want       []string
	}{
		{"db", []string{"production", "dev-1", "prod-eu", "both"}, []string{"production", "prod-eu", "both"}},
		{"db", []string{"PRODUCTION", "PRODUCTION"}, []string{"PRODUCTION"}},
		{"dev-db", []string{"production", "dev-1", "both"}, []string{"dev-1", "both"}},
		// Nothing covers it: it is judged as production is, and given to nobody.
		{"db", []string{"staging"}, nil},
		{"none", []string{"production"}, nil},
		{"db", nil, nil},
	} {
		if got := rules.LeaseEnvironments(p, c.credential, &rules.Target{Environments: c.target}); !slices.Equal(got, c.want) {
			t.Errorf("%s of %q: %q, want %q", c.credential, c.target, got, c.want)
		}
	}
	if rules.LeaseEnvironments(nil, "db", &rules.Target{Environments: []string{"production"}}) != nil ||
		rules.LeaseEnvironments(&rules.Policy{Credentials: p.Credentials}, "db", &rules.Target{Environments: []string{"production"}}) != nil ||
		rules.LeaseEnvironments(p, "db", nil) != nil {
		t.Error("a policy that was not loaded, or no target, gives environments")
	}
}

func TestLeaseSubject(t *testing.T) {
	got, err := rules.LeaseSubject(42, "Prod/EU", "db")
	if err != nil || got != "sallyport:repo:42:env:Prod%2FEU:cred:db" {
		t.Errorf("%q %v", got, err)
	}
	id, environment, credential, err := rules.ParseLeaseSubject(got)
	if err != nil || id != 42 || environment != "Prod/EU" || credential != "db" {
		t.Errorf("%d %q %q %v", id, environment, credential, err)
	}
	for _, c := range []struct {
		id                      rules.RepositoryID
		environment, credential string
	}{{0, "a", "b"}, {-1, "a", "b"}, {1, "", "b"}, {1, "a", ""}} {
		if sub, err := rules.LeaseSubject(c.id, c.environment, c.credential); err == nil {
			t.Errorf("%+v has the subject %q", c, sub)
		}
	}
}
