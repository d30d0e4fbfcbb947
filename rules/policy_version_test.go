package rules_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/rules"
)

func TestWhichPolicyVersionIsInForce(t *testing.T) {
	policy := load(t, ordinaryPolicy)
	version := func(commit, blob rules.SHA) rules.PolicyVersion {
		return rules.PolicyVersion{State: rules.PolicyInForce, Policy: policy, Source: rules.PolicySource{Commit: commit, Blob: blob}}
	}
	current := version("c1", "b1")
	right := func() rules.PolicyCandidate {
		return rules.PolicyCandidate{Version: version("c2", "b2"), Arrival: rules.ArrivalPassed, Descends: rules.Yes, DefaultBranch: rules.Yes}
	}
	for _, row := range []struct {
		name      string
		current   rules.PolicyVersion
		candidate func(c *rules.PolicyCandidate)
		commit    rules.SHA
		state     rules.PolicyState
		code      rules.Code // of the alert; empty for none
	}{
		{"it passed the merge door", current, func(*rules.PolicyCandidate) {}, "c2", rules.PolicyInForce, ""},
		{"pushed directly", current, func(c *rules.PolicyCandidate) { c.Arrival = rules.ArrivalDirect }, "c1", rules.PolicyInForce, "SP007"},
		{"merged past the door", current, func(c *rules.PolicyCandidate) { c.Arrival = rules.ArrivalUngated }, "c1", rules.PolicyInForce, "SP007"},
		{"arrived nobody knows how", current, func(c *rules.PolicyCandidate) { c.Arrival = rules.ArrivalUnknown }, "c1", rules.PolicyInForce, "SP007"},
		{"force-pushed", current, func(c *rules.PolicyCandidate) { c.Descends = rules.No }, "c1", rules.PolicyInForce, "SP008"},
		{"force-pushed back to a looser version that once passed", current, func(c *rules.PolicyCandidate) {
			c.Version, c.Descends = version("c0", "b0"), rules.No
		}, "c1", rules.PolicyInForce, "SP008"},
		{"ancestry unknown", current, func(c *rules.PolicyCandidate) { c.Descends = rules.Unknown }, "c1", rules.PolicyInForce, "SP008"},
		{"the same bytes on rewritten history", current, func(c *rules.PolicyCandidate) {
			c.Version, c.Descends = version("c2", "b1"), rules.No
		}, "c1", rules.PolicyInForce, "SP008"},
		{"another default branch", current, func(c *rules.PolicyCandidate) { c.DefaultBranch = rules.No }, "c1", rules.PolicyInForce, "SP009"},
		{"another default branch, perhaps", current, func(c *rules.PolicyCandidate) { c.DefaultBranch = rules.Unknown }, "c1", rules.PolicyInForce, "SP009"},
		{"it has errors", current, func(c *rules.PolicyCandidate) { c.Version.State = rules.PolicyInvalid }, "c1", rules.PolicyInForce, "SP002"},
		{"deleted through the door", current, func(c *rules.PolicyCandidate) { c.Version.State = rules.PolicyDeleted }, "c2", rules.PolicyDeleted, "SP004"},
		{"deleted by a push", current, func(c *rules.PolicyCandidate) {
			c.Version.State, c.Arrival = rules.PolicyDeleted, rules.ArrivalDirect
		}, "c1", rules.PolicyInForce, "SP007"},
		{"pushed after the deletion", rules.PolicyVersion{State: rules.PolicyDeleted, Source: rules.PolicySource{Commit: "c1"}},
			func(c *rules.PolicyCandidate) { c.Arrival = rules.ArrivalDirect }, "c1", rules.PolicyDeleted, "SP007"},
		{"the same bytes further down", current, func(c *rules.PolicyCandidate) {
			c.Version, c.Arrival = version("c2", "b1"), rules.ArrivalDirect
		}, "c2", rules.PolicyInForce, ""},
		{"the first one, not adopted", rules.PolicyVersion{State: rules.PolicyNone}, func(*rules.PolicyCandidate) {}, "c2", rules.PolicyNotAdopted, "SP003"},
		{"an administrator adopts the first one", rules.PolicyVersion{State: rules.PolicyNone}, func(c *rules.PolicyCandidate) {
			c.Arrival, c.Descends, c.DefaultBranch = rules.ArrivalAdopted, rules.Unknown, rules.Unknown
		}, "c2", rules.PolicyInForce, ""},
		{"an administrator adopts an invalid one", current, func(c *rules.PolicyCandidate) {
			c.Arrival, c.Version.State = rules.ArrivalAdopted, rules.PolicyInvalid
		}, "c1", rules.PolicyInForce, "SP007"},
		{"the version in force is not known", rules.PolicyVersion{}, func(*rules.PolicyCandidate) {}, "c2", rules.PolicyNotAdopted, "SP003"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := right()
			row.candidate(&c)
			got, alert := rules.NextPolicy(row.current, c)
			if got.Source.Commit != row.commit || got.State != row.state {
				t.Errorf("in force: %q in state %d, want %q in state %d", got.Source.Commit, got.State, row.commit, row.state)
			}
			switch {
			case row.code == "" && alert != nil:
				t.Errorf("an alert: %s", alert.Text)
			case alert != nil && strings.Contains(alert.Text, "%!"):
				t.Errorf("a sentence with a blank: %s", alert.Text)
			case row.code != "" && (alert == nil || alert.Code != row.code):
				t.Errorf("alert %v, want %s", alert, row.code)
			}
		})
	}
}
