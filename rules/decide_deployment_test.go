package rules_test

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// productionDeployment brings one commit to production that octocat approved at
// its merge, and sre approved exactly this deployment: allowed.
func productionDeployment() *rules.Deployment {
	return &rules.Deployment{
		Repository: rules.Repository{ID: 1, FullName: "acme/orders"}, Deployment: 11,
		Environment: "production", SHA: headSHA, Ref: "main", RefType: rules.RefBranch, Event: "push",
		Run: 21, Attempt: 1, Jobs: 1,
		Dispatcher: dev, Inputs: rules.Inputs{Known: rules.Yes},
		DefaultBranch: "main", OnBranches: []string{"main"},
		Range: rules.Range{
			Kind: rules.RangeAhead, Base: baseSHA, Complete: rules.Yes,
			Commits: []rules.Brought{{
				SHA: headSHA, By: []rules.Identity{{ID: dev.ID, Login: dev.Login}},
				PullRequest: 7, Passed: rules.Yes, ApprovedBy: []rules.Actor{octocat},
			}},
			Files: []rules.File{{Path: "src/retry.go", Status: rules.FileModified, Mode: rules.ModeFile}}, FilesComplete: rules.Yes,
		},
		Approvals: []rules.Approval{click(sre)},
		Now:       now,
	}
}

func click(a rules.Actor) rules.Approval {
	return rules.Approval{
		How: rules.AcceptCheckButton, Actor: a, Environment: "production", SHA: headSHA, Run: 21, Attempt: 1,
		At: now.Add(-time.Minute), Confirmed: rules.Yes,
	}
}

func reject(a rules.Actor) rules.Approval {
	r := click(a)
	r.Rejects, r.At = true, now
	return r
}

func TestApprovedDeploymentIsReleased(t *testing.T) {
	d := rules.DecideDeployment(only(inForce(t, ordinaryPolicy)), productionDeployment())
	if d.Verdict != rules.VerdictAllow {
		t.Fatalf("got %s:\n%s", d.Verdict, tree(d.Reasons, "  "))
	}
}

func TestAttacksOnDeployments(t *testing.T) {
	for _, row := range []struct {
		name  string
		facts func(d *rules.Deployment)
		want  rules.Verdict
		code  rules.Code
	}{
		{"nobody clicked", func(d *rules.Deployment) { d.Approvals = nil }, "wait", "SP520"},
		{"the agent's bot clicked", func(d *rules.Deployment) { d.Approvals[0].Actor = copilot }, "wait", "SP310"},
		{"a stranger clicked", func(d *rules.Deployment) { d.Approvals[0].Actor = stranger }, "wait", "SP311"},
		{"a former member clicked", func(d *rules.Deployment) { d.Approvals[0].Actor = exSRE }, "wait", "SP311"},
		{"who started the run clicked", func(d *rules.Deployment) { d.Dispatcher = sre }, "wait", "SP312"},
		{"who re-ran it clicked", func(d *rules.Deployment) { d.Rerunner = sre }, "wait", "SP312"},
		{"the author of a commit nobody else approved clicked", func(d *rules.Deployment) {
			d.Range.Commits[0].By = []rules.Identity{{ID: sre.ID}}
			d.Range.Commits[0].ApprovedBy = nil
		}, "wait", "SP312"},
		{"the author of a commit that only they approved clicked", func(d *rules.Deployment) {
			d.Range.Commits[0].By = []rules.Identity{{ID: sre.ID}}
			d.Range.Commits[0].ApprovedBy = []rules.Actor{sre}
		}, "wait", "SP312"},
		{"the author of a direct push clicked", func(d *rules.Deployment) {
			d.Range.Commits[0] = rules.Brought{SHA: headSHA, By: []rules.Identity{{ID: sre.ID}}}
		}, "wait", "SP312"},
		{"clicked for another commit", func(d *rules.Deployment) { d.Approvals[0].SHA = oldSHA }, "wait", "SP521"},
		{"clicked for another run", func(d *rules.Deployment) { d.Approvals[0].Run = 20 }, "wait", "SP521"},
		{"clicked for an earlier attempt", func(d *rules.Deployment) { d.Attempt = 2 }, "wait", "SP521"},
		{"clicked for no known attempt (GitHub's old approvals list)", func(d *rules.Deployment) { d.Approvals[0].Attempt = 0 }, "wait", "SP521"},
		{"clicked for another environment", func(d *rules.Deployment) { d.Approvals[0].Environment = "staging" }, "wait", "SP521"},
		{"dispatched with other inputs than shown", func(d *rules.Deployment) { d.Inputs.Digest = "b"; d.Approvals[0].InputsDigest = "a" }, "wait", "SP521"},
		{"a click that GitHub does not confirm", func(d *rules.Deployment) { d.Approvals[0].Confirmed = rules.No }, "wait", "SP522"},
		{"a click not yet confirmed", func(d *rules.Deployment) { d.Approvals[0].Confirmed = rules.Unknown }, "wait", "SP522"},
		{"GitHub's own review where the policy does not accept it", func(d *rules.Deployment) { d.Approvals[0].How = rules.AcceptDeploymentReview }, "wait", "SP523"},
		{"a pull request review as a deploy approval", func(d *rules.Deployment) { d.Approvals[0].How = rules.AcceptReview }, "wait", "SP523"},
		{"a click of yesterday", func(d *rules.Deployment) { d.Approvals[0].At = now.Add(-25 * time.Hour) }, "wait", "SP315"},
		{"a click at no known time", func(d *rules.Deployment) { d.Approvals[0].At = time.Time{} }, "wait", "SP322"},
		{"a listed reviewer rejects", func(d *rules.Deployment) { d.Approvals = append(d.Approvals, reject(octocat)) }, "deny", "SP525"},
		{"the approver changes their mind", func(d *rules.Deployment) { d.Approvals = append(d.Approvals, reject(sre)) }, "deny", "SP525"},
		{"a maintainer rejects", func(d *rules.Deployment) {
			r := reject(stranger)
			r.Maintains = rules.Yes
			d.Approvals = append(d.Approvals, r)
		}, "deny", "SP525"},
		{"a stranger objects after the approval", func(d *rules.Deployment) { d.Approvals = append(d.Approvals, reject(stranger)) }, "wait", "SP526"},
		{"an environment in capitals is the same", func(d *rules.Deployment) { d.Environment = "PRODUCTION"; d.Approvals = nil }, "wait", "SP520"},
		{"an environment with a space behind", func(d *rules.Deployment) { d.Environment = "production "; d.Approvals = nil }, "wait", "SP503"},
		{"an environment that nobody listed", func(d *rules.Deployment) { d.Environment = "prod2"; d.Approvals = nil }, "wait", "SP503"},
		{"an environment of no name", func(d *rules.Deployment) { d.Environment = "" }, "wait", "SP509"},
		{"a run of no id", func(d *rules.Deployment) { d.Run = 0 }, "wait", "SP509"},
		{"another branch", func(d *rules.Deployment) { d.Ref = "feature" }, "deny", "SP504"},
		{"a tag named like the branch", func(d *rules.Deployment) { d.RefType = rules.RefTag }, "deny", "SP504"},
		{"a ref of unknown kind", func(d *rules.Deployment) { d.RefType = "" }, "deny", "SP504"},
		{"a right tag on a commit of a side branch", func(d *rules.Deployment) {
			d.Ref, d.RefType, d.OnBranches = "v1.0.0", rules.RefTag, []string{"feature"}
		}, "deny", "SP505"},
		{"a commit on no branch", func(d *rules.Deployment) { d.OnBranches = []string{} }, "deny", "SP505"},
		{"branches unreadable", func(d *rules.Deployment) { d.OnBranches = nil }, "wait", "SP507"},
		{"dispatched where only push and release may", func(d *rules.Deployment) { d.Event = "workflow_dispatch" }, "deny", "SP506"},
		{"started by a pull request", func(d *rules.Deployment) { d.Event = "pull_request_target" }, "deny", "SP506"},
		{"dispatched with unknown inputs", func(d *rules.Deployment) { d.Event, d.Inputs = "workflow_dispatch", rules.Inputs{} }, "deny", "SP508"},
		{"what it brings is unreadable", func(d *rules.Deployment) { d.Range = rules.Range{} }, "wait", "SP511"},
		{"what it brings is truncated", func(d *rules.Deployment) { d.Range.Complete = rules.No }, "wait", "SP512"},
		{"files truncated, so migrations may be among them", func(d *rules.Deployment) { d.Range.FilesComplete = rules.No }, "wait", "SP520"},
		{"a migration without the database team", func(d *rules.Deployment) {
			d.Range.Files = append(d.Range.Files, rules.File{Path: "migrations/9.sql", Status: rules.FileModified, Mode: rules.ModeFile})
		}, "wait", "SP520"},
		{"an unresolved author of a direct push", func(d *rules.Deployment) {
			d.Range.Commits[0] = rules.Brought{SHA: headSHA, By: []rules.Identity{{Email: "x@nowhere.example"}}}
		}, "wait", "SP320"},
		{"who started it is not known", func(d *rules.Deployment) { d.Dispatcher = rules.Actor{} }, "wait", "SP320"},
		{"who re-ran it is not known", func(d *rules.Deployment) { d.Attempt, d.Approvals[0].Attempt = 2, 2 }, "wait", "SP320"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := only(inForce(t, ordinaryPolicy))
			d := productionDeployment()
			row.facts(d)
			got := rules.DecideDeployment(p, d)
			if got.Verdict != row.want || !gives(got.Reasons, row.code) {
				t.Errorf("got %s, want %s for %s:\n%s", got.Verdict, row.want, row.code, tree(got.Reasons, "  "))
			}
		})
	}
}

// With steps: [merge] the merge's approvals are enough, unless something came
// another way.
func TestMergeStepOnly(t *testing.T) {
	policy := "version: 1\nreviewers: [acme/sre, octocat, mona]\nenvironments:\n  production: {gate: human, branches: [main], steps: [merge]}\n"
	for _, row := range []struct {
		name  string
		facts func(d *rules.Deployment)
		want  rules.Verdict
		code  rules.Code
	}{
		{"everything approved when merged", func(*rules.Deployment) {}, "allow", "SP528"},
		{"an auto-approved commit of an agent", func(d *rules.Deployment) { d.Range.Commits[0].ApprovedBy = nil }, "wait", "SP515"},
		{"a direct push", func(d *rules.Deployment) { d.Range.Commits[0].PullRequest = 0 }, "wait", "SP516"},
		{"an administrator's merge past the gate", func(d *rules.Deployment) { d.Range.Commits[0].Passed = rules.No }, "wait", "SP517"},
		{"a merge nobody knows about", func(d *rules.Deployment) { d.Range.Commits[0].Passed = rules.Unknown }, "wait", "SP517"},
		{"one commit more through a second parent", func(d *rules.Deployment) { d.Range.Commits = append(d.Range.Commits, rules.Brought{SHA: oldSHA}) }, "wait", "SP516"},
		{"a rollback", func(d *rules.Deployment) { d.Range.Kind = rules.RangeBehind }, "wait", "SP513"},
		{"rewritten history", func(d *rules.Deployment) { d.Range.Kind = rules.RangeDiverged }, "wait", "SP514"},
		{"the first deployment ever", func(d *rules.Deployment) { d.Range.Kind = rules.RangeFirst }, "wait", "SP510"},
		{"no list of commits", func(d *rules.Deployment) { d.Range.Commits = nil }, "wait", "SP512"},
		{"the same commit again", func(d *rules.Deployment) { d.Range = rules.Range{Kind: rules.RangeIdentical} }, "allow", "SP518"},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := productionDeployment()
			d.Approvals = nil
			row.facts(d)
			got := rules.DecideDeployment(only(inForce(t, policy)), d)
			if got.Verdict != row.want || !gives(got.Reasons, row.code) {
				t.Errorf("got %s, want %s for %s:\n%s", got.Verdict, row.want, row.code, tree(got.Reasons, "  "))
			}
		})
	}
}

func TestStagingIsReleasedByItself(t *testing.T) {
	for _, name := range []string{"staging", "STAGING", "staging-eu"} {
		d := productionDeployment()
		d.Environment, d.Approvals, d.Event, d.Ref, d.Range = name, nil, "pull_request", "feature", rules.Range{}
		if got := rules.DecideDeployment(only(inForce(t, ordinaryPolicy)), d); got.Verdict != rules.VerdictAllow {
			t.Errorf("%s: got %s:\n%s", name, got.Verdict, tree(got.Reasons, "  "))
		}
	}
}

func TestPasskeyPresence(t *testing.T) {
	p := only(inForce(t, ordinaryPolicy+"    presence: passkey\n"))
	d := productionDeployment()
	if got := rules.DecideDeployment(p, d); got.Verdict != "wait" || !gives(got.Reasons, "SP524") {
		t.Errorf("without a passkey: %s\n%s", got.Verdict, tree(got.Reasons, "  "))
	}
	d.Approvals[0].Present = rules.Yes
	if got := rules.DecideDeployment(p, d); got.Verdict != "allow" {
		t.Errorf("with a passkey: %s\n%s", got.Verdict, tree(got.Reasons, "  "))
	}
}

func TestObjectionIsDecidedByALaterApproval(t *testing.T) {
	d := productionDeployment()
	o := reject(stranger)
	o.At = now.Add(-time.Hour)
	d.Approvals = append(d.Approvals, o)
	if got := rules.DecideDeployment(only(inForce(t, ordinaryPolicy)), d); got.Verdict != "allow" {
		t.Errorf("got %s:\n%s", got.Verdict, tree(got.Reasons, "  "))
	}
}

func TestDeploymentOrderNeverMatters(t *testing.T) {
	p := only(inForce(t, ordinaryPolicy))
	d := productionDeployment()
	timeless := reject(dba)
	timeless.At = time.Time{}
	d.Approvals = append(d.Approvals, click(octocat), reject(stranger), click(dba), timeless, click(copilot))
	d.Range.Commits = append(d.Range.Commits, rules.Brought{SHA: oldSHA}, rules.Brought{SHA: baseSHA, PullRequest: 3})
	d.Range.Files = append(d.Range.Files, rules.File{Path: "migrations/2.sql"}, rules.File{Path: "migrations/1.sql"})
	want := rules.DecideDeployment(p, d)
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		rnd.Shuffle(len(d.Approvals), func(i, j int) { d.Approvals[i], d.Approvals[j] = d.Approvals[j], d.Approvals[i] })
		rnd.Shuffle(len(d.Range.Commits), func(i, j int) { d.Range.Commits[i], d.Range.Commits[j] = d.Range.Commits[j], d.Range.Commits[i] })
		rnd.Shuffle(len(d.Range.Files), func(i, j int) { d.Range.Files[i], d.Range.Files[j] = d.Range.Files[j], d.Range.Files[i] })
		if got := rules.DecideDeployment(p, d); !reflect.DeepEqual(got, want) {
			t.Fatalf("another order, another decision:\n%s\nwant:\n%s", tree(got.Reasons, "  "), tree(want.Reasons, "  "))
		}
	}
}
