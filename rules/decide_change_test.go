package rules_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/rules"
)

func TestAgentsSafeChangeNeedsNobody(t *testing.T) {
	d := rules.DecideChange(only(inForce(t, ordinaryPolicy)), agentChange())
	if d.Verdict != rules.VerdictAllow || !d.AutoApproval || !d.Merge {
		t.Fatalf("got %s, auto approval %v, merge %v: %+v", d.Verdict, d.AutoApproval, d.Merge, d.Reasons)
	}
	if !slices.Equal(d.Environments, []string{"dev"}) {
		t.Errorf("environments: %v", d.Environments)
	}
	if d.NeedsHuman() {
		t.Error("needs a human")
	}
}

func TestApprovedHumanChangePasses(t *testing.T) {
	d := rules.DecideChange(only(inForce(t, ordinaryPolicy)), humanChange())
	if d.Verdict != rules.VerdictAllow || d.AutoApproval || d.Merge {
		t.Fatalf("got %s, auto approval %v, merge %v: %+v", d.Verdict, d.AutoApproval, d.Merge, d.Reasons)
	}
}

// changeAttack is one way to get a change past the merge door, with the reason
// that stops it.
type changeAttack struct {
	name   string
	policy string // added to the ordinary policy's top level
	facts  func(c *rules.Change)
	// verdict defaults to wait.
	verdict rules.Verdict
	code    rules.Code
}

// Each row starts from a change that is allowed, and changes what it says.
var humanAttacks = []changeAttack{
	{"nobody approves", "", func(c *rules.Change) { c.Reviews = []rules.Review{} }, "", "SP301"},
	{"a bot approves", "", func(c *rules.Change) {
		c.Reviews = []rules.Review{approval(1, rules.Actor{ID: 1001, Login: "octocat", Type: rules.ActorBot})}
	}, "", "SP310"},
	{"an account of unknown type approves", "", func(c *rules.Change) { c.Reviews[0].User.Type = "" }, "", "SP310"},
	{"an organisation approves", "", func(c *rules.Change) { c.Reviews[0].User.Type = "Organization" }, "", "SP310"},
	{"somebody not listed approves", "", func(c *rules.Change) { c.Reviews = []rules.Review{approval(1, stranger)} }, "", "SP311"},
	{"a former member approves", "", func(c *rules.Change) { c.Reviews = []rules.Review{approval(1, exSRE)} }, "", "SP311"},
	{"another account took a listed name", "", func(c *rules.Change) { c.Reviews[0].User.ID = 6666 }, "", "SP316"},
	{"a listed name without an id", "", func(c *rules.Change) { c.Reviews[0].User.ID = 0 }, "", "SP317"},
	{"an account whose membership nobody asked about", "", func(c *rules.Change) {
		c.Reviews = []rules.Review{approval(1, rules.Actor{ID: 777, Login: "unasked", Type: rules.ActorUser})}
	}, "", "SP317"},
	{"the author approves", "", func(c *rules.Change) { c.Author = octocat }, "", "SP312"},
	{"the author under another login approves", "", func(c *rules.Change) { c.Author = rules.Actor{ID: octocat.ID, Login: "renamed"} }, "", "SP312"},
	{"a commit's author approves", "", func(c *rules.Change) { c.Commits = append(c.Commits, humanCommit(oldSHA, octocat)) }, "", "SP312"},
	{"a committer approves", "", func(c *rules.Change) { c.Commits[0].Committer = humanCommit(oldSHA, octocat).Committer }, "", "SP312"},
	{"a co-author by trailer approves", "", func(c *rules.Change) {
		c.Commits[0].Message = "Change things\n\nCo-authored-by: Octo <1001+octocat@users.noreply.github.com>\n"
	}, "", "SP312"},
	{"a co-author by GitHub's match approves", "", func(c *rules.Change) {
		c.Commits[0].CoAuthors = []rules.Identity{{ID: octocat.ID, Login: "octocat", Email: "o@example.com"}}
	}, "", "SP312"},
	{"the committer of a noreply address approves", "", func(c *rules.Change) {
		c.Commits[0].Author = rules.Identity{Name: "x", Email: "1001+whatever@users.noreply.github.com"}
	}, "", "SP312"},
	{"a co-author by a line outside the trailers approves", "", func(c *rules.Change) {
		c.Commits[0].Message = "Change\n\nCo-authored-by: Octo <1001+octocat@users.noreply.github.com>\n\nSigned off later"
	}, "", "SP312"},
	{"a co-author by a literal backslash-n approves", "", func(c *rules.Change) {
		c.Commits[0].Message = `Change\n\nCo-authored-by: Octo <1001+octocat@users.noreply.github.com>`
	}, "", "SP312"},
	{"a co-author beside another on one line approves", "", func(c *rules.Change) {
		c.Commits[0].Message = "Change\n\nCo-authored-by: Octo <1001+octocat@users.noreply.github.com>, a <noreply@anthropic.com>"
	}, "", "SP312"},
	{"a noreply address that GitHub matched to nobody", "", func(c *rules.Change) {
		c.Commits[0].Author = rules.Identity{Name: "D", Email: "no-such@users.noreply.github.com"}
	}, "", "SP320"},
	{"the commits are of another head", "", func(c *rules.Change) { c.Commits[0].SHA = oldSHA }, "", "SP022"},
	{"the head is no commit id", "", func(c *rules.Change) { c.Head.SHA, c.Reviews[0].SHA, c.Commits[0].SHA = "main", "main", "main" }, "", "SP023"},
	{"a symlink where migrations could be", "", func(c *rules.Change) { c.Files[0].Mode = rules.ModeSymlink }, "", "SP301"},
	{"the last pusher approves", "", func(c *rules.Change) { c.LastPusher = octocat }, "", "SP312"},
	{"who asked an agent for it approves", "", func(c *rules.Change) { c.Requester = octocat }, "", "SP312"},
	{"approved an older head", "", func(c *rules.Change) { c.Reviews[0].SHA = oldSHA }, "", "SP313"},
	{"approved no known commit", "", func(c *rules.Change) { c.Reviews[0].SHA = "" }, "", "SP313"},
	{"approved an older head, then came a push with that head in capitals", "", func(c *rules.Change) { c.Head.SHA = "ABCDEF1111111111111111111111111111111111" }, "", "SP313"},
	{"approval without write access", "", func(c *rules.Change) { c.Reviews[0].Write = rules.No }, "", "SP314"},
	{"write access not known", "", func(c *rules.Change) { c.Reviews[0].Write = rules.Unknown }, "", "SP318"},
	{"approval older than max_age", "", func(c *rules.Change) { c.Reviews[0].SubmittedAt = now.Add(-25 * time.Hour) }, "", "SP315"},
	{"approval from the future", "", func(c *rules.Change) { c.Reviews[0].SubmittedAt = now.Add(time.Hour) }, "", "SP322"},
	{"approval without a time", "", func(c *rules.Change) { c.Reviews[0].SubmittedAt = time.Time{} }, "", "SP322"},
	{"the present time is not known", "", func(c *rules.Change) { c.Now = time.Time{} }, "", "SP322"},
	{"dismissed afterwards", "", func(c *rules.Change) {
		r := approval(2, octocat)
		r.State, r.SubmittedAt = rules.ReviewDismissed, now
		c.Reviews = append(c.Reviews, r)
	}, "", "SP301"},
	{"the same person then asked for changes", "", func(c *rules.Change) {
		r := approval(2, octocat)
		r.State, r.SubmittedAt = rules.ReviewChangesRequested, now
		c.Reviews = append(c.Reviews, r)
	}, "", "SP303"},
	{"the same person asked for changes, in capitals", "", func(c *rules.Change) {
		r := approval(2, octocat)
		r.State, r.SubmittedAt = "CHANGES_REQUESTED", now
		c.Reviews = append(c.Reviews, r)
	}, "", "SP303"},
	{"the same person asked for changes at no known time", "", func(c *rules.Change) {
		r := approval(2, octocat)
		r.State, r.SubmittedAt = rules.ReviewChangesRequested, time.Time{}
		c.Reviews = append(c.Reviews, r)
	}, "", "SP303"},
	{"the same person in the same second asked for changes", "", func(c *rules.Change) {
		r := approval(2, octocat)
		r.State, r.SubmittedAt = rules.ReviewChangesRequested, c.Reviews[0].SubmittedAt
		c.Reviews = append(c.Reviews, r)
	}, "", "SP303"},
	{"another listed person asks for changes at an older head", "", func(c *rules.Change) {
		r := approval(2, sre)
		r.State, r.SHA = rules.ReviewChangesRequested, oldSHA
		c.Reviews = append(c.Reviews, r)
	}, "", "SP303"},
	{"a listed person leaves a review of unknown state", "", func(c *rules.Change) {
		r := approval(2, sre)
		r.State = "approved_with_thumbs"
		c.Reviews = append(c.Reviews, r)
	}, "", "SP304"},
	{"a comment that says approved", "", func(c *rules.Change) { c.Reviews[0].State = rules.ReviewCommented }, "", "SP301"},
	{"a pending review", "", func(c *rules.Change) { c.Reviews[0].State = "pending" }, "", "SP301"},
	{"an author's address that belongs to nobody", "", func(c *rules.Change) { c.Commits[0].Author = rules.Identity{Name: "Octo", Email: "o@nowhere.example"} }, "", "SP320"},
	{"who pushed last is not known", "", func(c *rules.Change) { c.LastPusher = rules.Actor{} }, "", "SP320"},
	{"who opened it is not known", "", func(c *rules.Change) { c.Author = rules.Actor{} }, "", "SP320"},
	{"a co-author's address that belongs to nobody", "", func(c *rules.Change) {
		c.Commits[0].Message = "Change\n\nCo-authored-by: X <x@nowhere.example>\n"
	}, "", "SP320"},
	{"a draft", "", func(c *rules.Change) { c.Draft = rules.Yes }, "", "SP025"},
	{"a draft or not", "", func(c *rules.Change) { c.Draft = rules.Unknown }, "", "SP026"},
	{"reviews unreadable", "", func(c *rules.Change) { c.Reviews = nil }, "", "SP027"},
	{"files unreadable", "", func(c *rules.Change) { c.Files = nil }, "", "SP020"},
	{"files truncated, so migrations may be among them", "", func(c *rules.Change) { c.FilesComplete = rules.No }, "", "SP301"},
	{"commits truncated", "", func(c *rules.Change) { c.CommitsComplete = rules.No }, "", "SP022"},
	{"no commits", "", func(c *rules.Change) { c.Commits = []rules.Commit{} }, "", "SP022"},
	{"head unknown", "", func(c *rules.Change) { c.Head.SHA = "" }, "", "SP023"},
	{"a migration without the database team", "", func(c *rules.Change) {
		c.Files = append(c.Files, rules.File{Path: "migrations/9.sql", Status: rules.FileModified, Mode: rules.ModeFile})
	}, "", "SP110"},
	{"a migration moved out to docs", "", func(c *rules.Change) {
		c.Files = []rules.File{{Path: "docs/9.sql", PreviousPath: "migrations/9.sql", Status: rules.FileRenamed, Mode: rules.ModeFile}}
	}, "", "SP110"},
}

// The same for an agent's change of documentation, which needs nobody.
var agentAttacks = []changeAttack{
	{"production code beside the documentation", "", func(c *rules.Change) {
		c.Files = append(c.Files, rules.File{Path: "src/x.go", Status: rules.FileModified, Mode: rules.ModeFile})
	}, "", "SP101"},
	{"a path that nobody named", "", func(c *rules.Change) { c.Files[0].Path = "infra/main.tf" }, "", "SP102"},
	{"production code renamed into docs", "", func(c *rules.Change) { c.Files[0].PreviousPath, c.Files[0].Status = "src/x.go", rules.FileRenamed }, "", "SP101"},
	{"a rename from nowhere, in capitals", "", func(c *rules.Change) { c.Files[0].Status = "RENAMED" }, "", "SP108"},
	{"a status that GitHub does not have", "", func(c *rules.Change) { c.Files[0].Status = "unmerged" }, "", "SP108"},
	{"no status", "", func(c *rules.Change) { c.Files[0].Status = "" }, "", "SP108"},
	{"a person's web edit under the subject of a merge", "", func(c *rules.Change) {
		m := humanCommit(oldSHA, dev)
		m.Message, m.Verified, m.Parents, m.Committer = "Merge branch 'main' of x\n", rules.Yes, 0, c.Commits[0].Committer
		c.Commits = append(c.Commits, m)
	}, "", "SP203"},
	{"a person amended its commit", "", func(c *rules.Change) { c.Commits[0].Committer = humanCommit(oldSHA, dev).Committer }, "", "SP202"},
	{"a rename from nowhere", "", func(c *rules.Change) { c.Files[0].Status = rules.FileRenamed }, "", "SP108"},
	{"a workflow", "", func(c *rules.Change) { c.Files[0].Path = ".github/workflows/deploy.yml" }, "", "SP103"},
	{"a workflow in other case", "", func(c *rules.Change) { c.Files[0].Path = ".GitHub/workflows/deploy.yml" }, "", "SP107"},
	{"agents' instructions under docs", "", func(c *rules.Change) { c.Files[0].Path = "docs/CLAUDE.md" }, "", "SP103"},
	{"agents' settings under docs", "", func(c *rules.Change) { c.Files[0].Path = "docs/.cursor/rules/x.md" }, "", "SP103"},
	{"code owners under docs", "", func(c *rules.Change) { c.Files[0].Path = "docs/CODEOWNERS" }, "", "SP103"},
	{"git attributes under docs", "", func(c *rules.Change) { c.Files[0].Path = "docs/.gitattributes" }, "", "SP103"},
	{"dots out of docs", "", func(c *rules.Change) { c.Files[0].Path = "docs/../src/x.go" }, "", "SP104"},
	{"an empty segment", "", func(c *rules.Change) { c.Files[0].Path = "docs//x.md" }, "", "SP104"},
	{"a backslash", "", func(c *rules.Change) { c.Files[0].Path = `docs/..\src\x.go` }, "", "SP104"},
	{"a NUL", "", func(c *rules.Change) { c.Files[0].Path = "docs/x.md\x00.go" }, "", "SP104"},
	{"an absolute path", "", func(c *rules.Change) { c.Files[0].Path = "/docs/x.md" }, "", "SP104"},
	{"an empty path", "", func(c *rules.Change) { c.Files[0].Path = "" }, "", "SP104"},
	{"invalid UTF-8", "", func(c *rules.Change) { c.Files[0].Path = "docs/\xff.md" }, "", "SP104"},
	{"a decomposed letter", "", func(c *rules.Change) { c.Files[0].Path = "docs/re\u0301sume.md" }, "", "SP104"},
	{"a right-to-left override", "", func(c *rules.Change) { c.Files[0].Path = "docs/\u202eexe.md" }, "", "SP104"},
	{"a symlink", "", func(c *rules.Change) { c.Files[0].Mode = rules.ModeSymlink }, "", "SP105"},
	{"a submodule", "", func(c *rules.Change) { c.Files[0].Mode = rules.ModeSubmodule }, "", "SP105"},
	{"a mode that git does not have", "", func(c *rules.Change) { c.Files[0].Mode = "107777" }, "", "SP105"},
	{"a symlink removed", "", func(c *rules.Change) {
		c.Files[0].Status, c.Files[0].Mode, c.Files[0].PreviousMode = rules.FileRemoved, "", rules.ModeSymlink
	}, "", "SP105"},
	{"a mode that is not known", "", func(c *rules.Change) { c.Files[0].Mode = "" }, "", "SP106"},
	{"3,001 files of which 3,000 are listed", "", func(c *rules.Change) { c.FilesComplete = rules.No }, "", "SP021"},
	{"251 commits of which 250 are listed", "", func(c *rules.Change) { c.CommitsComplete = rules.No }, "", "SP022"},
	{"from a fork", "", func(c *rules.Change) { c.Head.Repository.ID = 2 }, "", "SP206"},
	{"from a deleted fork", "", func(c *rules.Change) { c.Head.Repository = rules.Repository{} }, "", "SP207"},
	{"a person's commit in it", "", func(c *rules.Change) { c.Commits = append(c.Commits, humanCommit(oldSHA, dev)) }, "", "SP203"},
	{"pushed last by a person", "", func(c *rules.Change) { c.LastPusher = dev }, "", "SP202"},
	{"pushed once by a person", "", func(c *rules.Change) { c.Pushers = []rules.Actor{copilot, dev} }, "", "SP202"},
	{"who pushed last is not known", "", func(c *rules.Change) { c.LastPusher = rules.Actor{} }, "", "SP202"},
	{"opened by a person who forges the commits' author", "", func(c *rules.Change) { c.Author, c.LastPusher, c.App = dev, dev, "" }, "", "SP202"},
	{"opened by a bot of the agent's name with another id", "", func(c *rules.Change) { c.Author.ID, c.LastPusher.ID = 5, 5 }, "", "SP202"},
	{"opened by a user of the agent's id", "", func(c *rules.Change) { c.Author.Type = rules.ActorUser }, "", "SP202"},
	{"opened by a person, nothing about an agent", "", func(c *rules.Change) {
		c.Author, c.LastPusher, c.App, c.Head.Ref = dev, dev, "", "docs"
		c.Commits = []rules.Commit{humanCommit(headSHA, dev)}
	}, "", "SP204"},
	{"opened by automation", "", func(c *rules.Change) {
		bot := rules.Actor{ID: 49699333, Login: "dependabot[bot]", Type: rules.ActorBot}
		c.Author, c.LastPusher, c.App, c.Head.Ref = bot, bot, "dependabot", "dependabot/npm/x"
		c.Commits[0].Author = rules.Identity{ID: bot.ID, Login: bot.Login, Name: "dependabot[bot]", Email: "49699333+dependabot[bot]@users.noreply.github.com"}
	}, "", "SP205"},
	{"its check is red", "", func(c *rules.Change) { c.Checks[0].Conclusion = "failure" }, "", "SP402"},
	{"its check is neutral", "", func(c *rules.Change) { c.Checks[0].Conclusion = "neutral" }, "", "SP402"},
	{"its check is skipped", "", func(c *rules.Change) { c.Checks[0].Conclusion = "skipped" }, "", "SP402"},
	{"its check is running", "", func(c *rules.Change) { c.Checks[0].Conclusion = "" }, "", "SP403"},
	{"its check never came", "", func(c *rules.Change) { c.Checks = []rules.Check{} }, "", "SP401"},
	{"its check has another case", "", func(c *rules.Change) { c.Checks[0].Name = "Test" }, "", "SP401"},
	{"checks unreadable", "", func(c *rules.Change) { c.Checks = nil }, "", "SP409"},
	{"its check is posted by another App", "", func(c *rules.Change) { c.Checks[0].App = "some-app" }, "", "SP404"},
	{"its check is posted by nobody known", "", func(c *rules.Change) { c.Checks[0].App = "" }, "", "SP404"},
	{"its check is no job of a run", "", func(c *rules.Change) { c.Checks[0].Workflow = "" }, "", "SP406"},
	{"one green and one red check of the name", "", func(c *rules.Change) {
		red := c.Checks[0]
		red.Conclusion = "failure"
		c.Checks = append(c.Checks, red)
	}, "", "SP402"},
	{"a listed person asks for changes", "", func(c *rules.Change) {
		r := approval(1, octocat)
		r.State = rules.ReviewChangesRequested
		c.Reviews = []rules.Review{r}
	}, "", "SP303"},
	{"a draft", "", func(c *rules.Change) { c.Draft = rules.Yes }, "", "SP025"},
	{"reviews unreadable", "", func(c *rules.Change) { c.Reviews = nil }, "", "SP027"},
	{"nothing changed", "", func(c *rules.Change) { c.Files = []rules.File{} }, "", "SP024"},
}

func TestAttacksOnApprovals(t *testing.T) {
	runChangeAttacks(t, humanChange, humanAttacks)
}

func TestAttacksOnAutoApproval(t *testing.T) {
	runChangeAttacks(t, agentChange, agentAttacks)
}

func runChangeAttacks(t *testing.T, start func() *rules.Change, rows []changeAttack) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := only(inForce(t, ordinaryPolicy+row.policy))
			c := start()
			if d := rules.DecideChange(p, c); d.Verdict != rules.VerdictAllow {
				t.Fatalf("the change is not allowed to begin with: %+v", d.Reasons)
			}
			row.facts(c)
			d := rules.DecideChange(p, c)
			want := row.verdict
			if want == "" {
				want = rules.VerdictWait
			}
			if d.Verdict != want || !gives(d.Reasons, row.code) || d.AutoApproval || d.Merge {
				t.Errorf("got %s (auto approval %v), want %s for %s; reasons:\n%s", d.Verdict, d.AutoApproval, want, row.code, tree(d.Reasons, "  "))
			}
		})
	}
}

func tree(rs []rules.Reason, indent string) string {
	s := ""
	for _, r := range rs {
		s += indent + string(r.Code) + " " + string(r.Verdict) + ": " + r.Text + "\n" + tree(r.Because, indent+"  ")
	}
	return s
}

func TestPolicyStatesThatLetNothingThrough(t *testing.T) {
	good := inForce(t, ordinaryPolicy)
	for _, row := range []struct {
		name   string
		change func(p *rules.Policies)
		want   rules.Verdict
		code   rules.Code
	}{
		{"nobody read the policy", func(p *rules.Policies) { p.Repository = rules.PolicyVersion{} }, rules.VerdictWait, "SP001"},
		{"in force but not loaded", func(p *rules.Policies) { p.Repository.Policy = nil }, rules.VerdictWait, "SP001"},
		{"in force but not made by the loader", func(p *rules.Policies) { p.Repository.Policy = &rules.Policy{Version: 1} }, rules.VerdictWait, "SP001"},
		{"invalid", func(p *rules.Policies) { p.Repository.State = rules.PolicyInvalid }, rules.VerdictWait, "SP002"},
		{"not adopted", func(p *rules.Policies) { p.Repository.State = rules.PolicyNotAdopted }, rules.VerdictWait, "SP003"},
		{"deleted", func(p *rules.Policies) { p.Repository.State = rules.PolicyDeleted }, rules.VerdictDeny, "SP004"},
		{"there is none", func(p *rules.Policies) { p.Repository.State = rules.PolicyNone }, rules.VerdictWait, "SP005"},
		{"the floor is unreadable", func(p *rules.Policies) { p.Floor = rules.PolicyVersion{} }, rules.VerdictWait, "SP001"},
		{"the floor was deleted", func(p *rules.Policies) { p.Floor = rules.PolicyVersion{State: rules.PolicyDeleted} }, rules.VerdictDeny, "SP004"},
		{"the floor asks a human for docs", func(p *rules.Policies) {
			p.Floor = inForce(t, "version: 1\nreviewers: [acme/sre]\nenvironments: {everything: {gate: human}}\n")
		}, rules.VerdictWait, "SP301"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := only(good)
			row.change(&p)
			d := rules.DecideChange(p, agentChange())
			if d.Verdict != row.want || !gives(d.Reasons, row.code) || d.AutoApproval {
				t.Errorf("got %s, want %s for %s:\n%s", d.Verdict, row.want, row.code, tree(d.Reasons, "  "))
			}
		})
	}
}

func TestOrderNeverMatters(t *testing.T) {
	p := only(inForce(t, ordinaryPolicy))
	c := humanChange()
	c.Files = []rules.File{
		{Path: "src/b.go", Status: rules.FileModified, Mode: rules.ModeFile}, {Path: "src/a.go", Status: rules.FileModified, Mode: rules.ModeFile}, {Path: "docs/x.md", Status: rules.FileModified, Mode: rules.ModeFile},
		{Path: "migrations/2.sql", Status: rules.FileModified, Mode: rules.ModeFile}, {Path: "migrations/1.sql", Status: rules.FileModified, Mode: rules.ModeFile}, {Path: "other", Status: rules.FileModified, Mode: rules.ModeSymlink}, {Path: "a//b"},
	}
	c.Commits = append(c.Commits, humanCommit(oldSHA, mona), agentCommit(baseSHA))
	r := approval(3, octocat)
	r.State, r.SubmittedAt = rules.ReviewDismissed, time.Time{}
	c.Reviews = append(c.Reviews, approval(2, sre), approval(4, stranger), r, approval(5, dba))
	want := rules.DecideChange(p, c)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		rnd.Shuffle(len(c.Files), func(i, j int) { c.Files[i], c.Files[j] = c.Files[j], c.Files[i] })
		rnd.Shuffle(len(c.Commits), func(i, j int) { c.Commits[i], c.Commits[j] = c.Commits[j], c.Commits[i] })
		rnd.Shuffle(len(c.Reviews), func(i, j int) { c.Reviews[i], c.Reviews[j] = c.Reviews[j], c.Reviews[i] })
		if got := rules.DecideChange(p, c); !reflect.DeepEqual(got, want) {
			t.Fatalf("another order, another decision:\n%s\nwant:\n%s", tree(got.Reasons, "  "), tree(want.Reasons, "  "))
		}
	}
}

func TestWhatStillCounts(t *testing.T) {
	for _, row := range []struct {
		name  string
		facts func(c *rules.Change)
	}{
		{"a team member approves", func(c *rules.Change) { c.Reviews = []rules.Review{approval(1, sre)} }},
		{"a listed person who was renamed", func(c *rules.Change) { c.Reviews[0].User.Login = "new-name" }},
		{"approved, then only commented", func(c *rules.Change) {
			r := approval(2, octocat)
			r.State, r.SubmittedAt = rules.ReviewCommented, now
			c.Reviews = append(c.Reviews, r)
		}},
		{"asked for changes, then approved", func(c *rules.Change) {
			r := approval(9, octocat)
			r.State, r.SubmittedAt = rules.ReviewChangesRequested, now.Add(-2*time.Hour)
			c.Reviews = append(c.Reviews, r)
		}},
		{"only the base was merged since", func(c *rules.Change) {
			c.Reviews[0].SHA = oldSHA
			c.StandingHeads = []rules.SHA{oldSHA}
		}},
		{"a stranger asks for changes", func(c *rules.Change) {
			r := approval(2, stranger)
			r.State = rules.ReviewChangesRequested
			c.Reviews = append(c.Reviews, r)
		}},
		{"an unresolved author, and two approve", func(c *rules.Change) {
			c.Commits[0].Author = rules.Identity{Name: "D", Email: "d@nowhere.example"}
			c.Reviews = append(c.Reviews, approval(2, sre))
		}},
		{"an agent's co-author line is nobody who could approve", func(c *rules.Change) {
			c.Commits[0].Message = "Change\n\nCo-Authored-By: Claude <noreply@anthropic.com>\n"
		}},
		{"a migration with the database team", func(c *rules.Change) {
			c.Files = append(c.Files, rules.File{Path: "migrations/9.sql", Status: rules.FileModified, Mode: rules.ModeFile})
			c.Reviews = append(c.Reviews, approval(2, dba))
		}},
		{"everything approved though files are truncated", func(c *rules.Change) {
			c.FilesComplete = rules.No
			c.Reviews = append(c.Reviews, approval(2, dba))
			c.Checks = append(c.Checks, rules.Check{Name: "e2e", App: "circleci", Conclusion: "success"})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := humanChange()
			row.facts(c)
			if d := rules.DecideChange(only(inForce(t, ordinaryPolicy)), c); d.Verdict != rules.VerdictAllow {
				t.Errorf("got %s:\n%s", d.Verdict, tree(d.Reasons, "  "))
			}
		})
	}
}
