package rules_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/rules"
)

func drawBrought(t *rapid.T) rules.Brought {
	b := rules.Brought{SHA: rapid.SampledFrom([]rules.SHA{headSHA, oldSHA, baseSHA}).Draw(t, "sha")}
	by := rapid.SampledFrom(everybody).Draw(t, "by")
	b.By = []rules.Identity{{ID: by.ID, Login: by.Login}}
	if rapid.IntRange(0, 5).Draw(t, "unresolved") == 0 {
		b.By = []rules.Identity{{Email: "x@nowhere.example"}}
	}
	if rapid.Bool().Draw(t, "by pull request") {
		b.PullRequest = rapid.IntRange(1, 9).Draw(t, "number")
		b.Passed = rapid.SampledFrom([]rules.Tri{rules.Yes, rules.Yes, rules.No, rules.Unknown}).Draw(t, "passed")
		b.ApprovedBy = rapid.SliceOfN(rapid.SampledFrom(everybody), 0, 2).Draw(t, "approved by")
	}
	return b
}

func drawApproval(t *rapid.T) rules.Approval {
	a := click(rapid.SampledFrom(everybody).Draw(t, "clicker"))
	a.Rejects = rapid.IntRange(0, 7).Draw(t, "rejects") == 0
	a.Attempt = rapid.SampledFrom([]int{1, 1, 1, 2, 0}).Draw(t, "attempt")
	a.Confirmed = rapid.SampledFrom([]rules.Tri{rules.Yes, rules.Yes, rules.Unknown}).Draw(t, "confirmed")
	a.At = now.Add(-time.Duration(rapid.IntRange(0, 30*60).Draw(t, "minutes")) * time.Minute)
	return a
}

func drawDeployment(t *rapid.T) *rules.Deployment {
	d := productionDeployment()
	d.Environment = rapid.SampledFrom([]string{"production", "Production", "dev", "elsewhere"}).Draw(t, "environment")
	d.Range.Kind = rapid.SampledFrom([]rules.RangeKind{rules.RangeAhead, rules.RangeAhead, rules.RangeFirst, rules.RangeBehind, ""}).Draw(t, "kind")
	d.Range.Commits = rapid.SliceOfN(rapid.Custom(drawBrought), 1, 4).Draw(t, "commits")
	d.Range.Files = rapid.SliceOfN(rapid.Custom(drawFile), 1, 3).Draw(t, "files")
	d.Approvals = rapid.SliceOfN(rapid.Custom(drawApproval), 0, 5).Draw(t, "approvals")
	for i := range d.Approvals {
		d.Approvals[i].Environment = d.Environment
	}
	return d
}

func TestBringingMoreNeverLoosens(t *testing.T) {
	allowed := 0
	rapid.Check(t, func(t *rapid.T) {
		m := drawPolicy(t)
		m.steps = rapid.SampledFrom([]string{"[merge, deploy]", "[merge]"}).Draw(t, "steps'")
		version := drawVersion(t, m)
		d := drawDeployment(t)
		before := rules.DecideDeployment(only(version), d)
		if before.Verdict == rules.VerdictAllow {
			allowed++
		}
		more := *d
		more.Range.Commits = append(append([]rules.Brought{}, d.Range.Commits...), drawBrought(t))
		notLooser(t, before, rules.DecideDeployment(only(version), &more), "a commit more")
		more = *d
		more.Range.Files = append(append([]rules.File{}, d.Range.Files...), drawFile(t))
		notLooser(t, before, rules.DecideDeployment(only(version), &more), "a file more")
		more = *d
		more.Range.Complete = rules.Unknown
		notLooser(t, before, rules.DecideDeployment(only(version), &more), "an incomplete list")
		floor := drawVersion(t, drawPolicy(t))
		notLooser(t, before, rules.DecideDeployment(rules.Policies{Repository: version, Floor: floor}, d), "a floor")
	})
	if allowed == 0 {
		t.Error("no deployment was allowed: the property says nothing")
	}
}
