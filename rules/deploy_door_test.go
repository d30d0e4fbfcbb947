package rules_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/rules"
)

// Whoever is listed by name needs write access now; whoever is in a listed team is
// asked about there.
func TestDeployApproverNeedsAccess(t *testing.T) {
	for _, row := range []struct {
		name  string
		who   rules.Actor
		write rules.Tri
		want  rules.Verdict
		code  rules.Code
	}{
		{"named, with write access", octocat, rules.Yes, rules.VerdictAllow, "SP527"},
		{"named, without", octocat, rules.No, rules.VerdictWait, "SP314"},
		{"named, nobody knows", octocat, rules.Unknown, rules.VerdictWait, "SP318"},
		{"of the team, nobody asked", sre, rules.Unknown, rules.VerdictAllow, "SP527"},
	} {
		d := productionDeployment()
		d.Basis = rules.Observed
		d.Approvals = []rules.Approval{click(row.who)}
		d.Approvals[0].Write = row.write
		d.Range.Commits[0].ApprovedBy = []rules.Actor{sre}
		got := rules.DecideDeployment(only(inForce(t, ordinaryPolicy)), d)
		if got.Verdict != row.want || !gives(got.Reasons, row.code) {
			t.Errorf("%s: %s, want %s for %s:\n%s", row.name, got.Verdict, row.want, row.code, tree(got.Reasons, "  "))
		}
	}
}

// What a migration does is shown and changes no verdict.
func TestStatementsAreShown(t *testing.T) {
	d := productionDeployment()
	d.Statements = []rules.Statement{
		{Path: "migrations/7.sql", Line: 3, Text: "drops table orders"},
		{Path: "migrations/8.sql", Unread: true, Text: "line 1: it is not SQL"},
		{Path: "migrations/\x1b[31m.sql", Line: 1, Text: "drops \n table"},
	}
	got := rules.DecideDeployment(only(inForce(t, ordinaryPolicy)), d)
	if got.Verdict != rules.VerdictAllow || !gives(got.Reasons, "SP529") || !gives(got.Reasons, "SP530") {
		t.Errorf("%s:\n%s", got.Verdict, tree(got.Reasons, "  "))
	}
	for _, r := range got.Reasons {
		if strings.ContainsAny(r.Text, "\x1b\n") {
			t.Errorf("control characters in %q", r.Text)
		}
	}
}

// A repository_dispatch does what its payload says, which nobody is shown.
func TestRepositoryDispatchIsDenied(t *testing.T) {
	p := only(inForce(t, strings.Replace(ordinaryPolicy, "gate: human", "gate: human\n    events: [repository_dispatch]", 1)))
	d := productionDeployment()
	d.Event, d.Inputs = "repository_dispatch", rules.Inputs{}
	if got := rules.DecideDeployment(p, d); got.Verdict != rules.VerdictDeny || !gives(got.Reasons, "SP508") {
		t.Errorf("%s:\n%s", got.Verdict, tree(got.Reasons, "  "))
	}
}

func TestKeptOut(t *testing.T) {
	d := productionDeployment()
	d.Rerunner = rules.Actor{ID: 77, Login: "eve", Type: rules.ActorUser}
	d.Range.Commits = append(d.Range.Commits, rules.Brought{SHA: oldSHA, By: []rules.Identity{{ID: sre.ID, Login: sre.Login}}})
	var logins []string
	for _, k := range rules.KeptOut(only(inForce(t, ordinaryPolicy)), d) {
		logins = append(logins, string(k.Login))
		if k.Why == "" {
			t.Errorf("%s is kept out for no reason", k.Login)
		}
	}
	for _, want := range []string{"eve", string(sre.Login), string(dev.Login)} {
		if !slices.Contains(logins, strings.ToLower(want)) {
			t.Errorf("%s is not kept out: %v", want, logins)
		}
	}
	if !slices.IsSorted(logins) {
		t.Errorf("%v is not sorted", logins)
	}
}

func TestGated(t *testing.T) {
	p := inForce(t, ordinaryPolicy).Policy
	for want, names := range map[bool][]string{false: {"dev", "DEV"}, true: {"production", "Production", "production ", "preview", ""}} {
		for _, name := range names {
			if got := p.Gated(name); got != want {
				t.Errorf("%q: gated %v, want %v", name, got, want)
			}
		}
	}
	if !(*rules.Policy)(nil).Gated("dev") {
		t.Error("without a policy nothing is gated")
	}
}

func TestHoldName(t *testing.T) {
	name := rules.HoldName(21, 2, 3, "abc")
	if run, ok := rules.RunOfHold(name); name != "run/21/2/3/abc" || run != 21 || !ok {
		t.Errorf("%q: %d %v", name, run, ok)
	}
	for _, bad := range []string{"", "run/", "run/x/1", "run/0/1/1/a", "run/-1/1/1/a", "run/007/1/1/a", "run/21", " run/21/1/1/a", "run/99999999999999999999/1/1/a"} {
		if run, ok := rules.RunOfHold(bad); ok {
			t.Errorf("%q is of run %d", bad, run)
		}
	}
}
