package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/palantir/policy-bot/policy"
	"github.com/palantir/policy-bot/policy/common"
	"github.com/palantir/policy-bot/pull"
	"github.com/palantir/policy-bot/pull/pulltest"
	"github.com/sallyport/sallyport/rules"
	"gopkg.in/yaml.v2"
)

// style is how the peer's path patterns are written. Ours has one style.
type style string

const (
	globs      style = "globs"
	rooted     style = "rooted regexps"
	anchored   style = "anchored regexps"
	unanchored style = "unanchored regexps"
)

// patterns are the four path patterns of rule n. The styles agree on every path
// that the scenes have: TestStylesAgree holds them to it.
func patterns(n int, s style) []string {
	switch s {
	case rooted: // the peer's fastest: each begins with plain text
		return []string{
			fmt.Sprintf(`^services/svc-%03d/.*$`, n),
			fmt.Sprintf(`^deploy/svc-%03d/[^/]*\.yaml$`, n),
			fmt.Sprintf(`^db/svc-%03d/migrations/[^/]*\.sql$`, n),
			fmt.Sprintf(`^infra/aws/svc-%03d\.tf$`, n),
		}
	case anchored:
		return []string{
			fmt.Sprintf(`^services/svc-%03d/.*$`, n),
			fmt.Sprintf(`^deploy/svc-%03d/[^/]*\.yaml$`, n),
			fmt.Sprintf(`^(?:.*/)?svc-%03d/migrations/[^/]*\.sql$`, n),
			fmt.Sprintf(`^(?:.*/)?svc-%03d\.tf$`, n),
		}
	case unanchored:
		return []string{
			fmt.Sprintf(`services/svc-%03d/.*`, n),
			fmt.Sprintf(`deploy/svc-%03d/[^/]*\.yaml`, n),
			fmt.Sprintf(`.*/svc-%03d/migrations/[^/]*\.sql`, n),
			fmt.Sprintf(`.*svc-%03d\.tf`, n),
		}
	default:
		return []string{
			fmt.Sprintf(`services/svc-%03d/**`, n),
			fmt.Sprintf(`deploy/svc-%03d/*.yaml`, n),
			fmt.Sprintf(`**/svc-%03d/migrations/*.sql`, n),
			fmt.Sprintf(`**/svc-%03d.tf`, n),
		}
	}
}

// matching are paths of which each is matched by exactly one pattern of rule n.
func matching(n int) []string {
	return []string{
		fmt.Sprintf("services/svc-%03d/internal/handler.go", n),
		fmt.Sprintf("deploy/svc-%03d/values.yaml", n),
		fmt.Sprintf("db/svc-%03d/migrations/0042_orders.sql", n),
		fmt.Sprintf("infra/aws/svc-%03d.tf", n),
	}
}

// nearMisses are n paths that no pattern matches, although most share a folder, a
// name or an ending with the patterns: plain misses would flatter an index.
func nearMisses(n int) []string {
	out := make([]string, n)
	for i := range out {
		switch i % 6 {
		case 0:
			out[i] = fmt.Sprintf("services/web-%03d/internal/handler_%04d.go", i%97, i)
		case 1:
			out[i] = fmt.Sprintf("deploy/web-%03d/values-%04d.yaml", i%97, i)
		case 2:
			out[i] = fmt.Sprintf("db/web-%03d/migrations/%04d_orders.sql", i%97, i)
		case 3:
			out[i] = fmt.Sprintf("infra/aws/web-%04d.tf", i)
		case 4:
			out[i] = fmt.Sprintf("pkg/ledger/entry_%04d.go", i)
		default:
			out[i] = fmt.Sprintf("web/src/components/orders/Row%04d.tsx", i)
		}
	}
	return out
}

const (
	headSHA = "4f1d2c3b4a5968778695a4b3c2d1e0f1a2b3c4d5"
	baseSHA = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
)

// judgedAt is the one moment that both engines are told.
func judgedAt() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

// ours is a Sallyport policy of n human-gated environments with four patterns
// each and reviewers of their own, and one auto environment, as an evaluation.
func ours(n int, files []string) (func() rules.Decision, error) {
	var b strings.Builder
	b.WriteString("version: 1\nreviewers: [octocat, monalisa]\nenvironments:\n")
	b.WriteString("  dev:\n    gate: auto\n    paths: [\"handbook/**\"]\n    after: [test]\n")
	for i := range n {
		fmt.Fprintf(&b, "  env-%03d:\n    gate: human\n    reviewers: [owner-%03d, deputy-%03d]\n    paths:\n", i, i, i)
		for _, p := range patterns(i, globs) {
			fmt.Fprintf(&b, "      - %q\n", p)
		}
	}
	p, problems := rules.LoadPolicy("sallyport.yml", []byte(b.String()))
	if p == nil {
		return nil, fmt.Errorf("loading our policy of %d rules: %d problems, first %v", n, len(problems), problems[0])
	}
	users := map[string]rules.AccountID{"octocat": 1, "monalisa": 2}
	for i := range n {
		users[fmt.Sprintf("owner-%03d", i)] = rules.AccountID(1000 + i)
		users[fmt.Sprintf("deputy-%03d", i)] = rules.AccountID(2000 + i)
	}
	policies := rules.Policies{
		Repository: rules.PolicyVersion{State: rules.PolicyInForce, Policy: p, Directory: rules.Directory{Users: users}},
		Floor:      rules.PolicyVersion{State: rules.PolicyNone},
	}
	c := change(files)
	return func() rules.Decision { return rules.DecideChange(policies, c) }, nil
}

// change is the facts in our form: a human's pull request with one commit, one
// review and two green checks.
func change(files []string) *rules.Change {
	at := judgedAt()
	repo := rules.Repository{ID: 7, FullName: "acme/orders"}
	author := rules.Identity{ID: 11, Login: "hubot-owner", Name: "Mona", Email: "mona@example.com"}
	c := &rules.Change{
		Repository:      repo,
		Number:          7,
		Title:           "orders: rename the handlers",
		Body:            "Renames the handlers.",
		Labels:          []string{"refactoring"},
		Draft:           rules.No,
		Author:          rules.Actor{ID: 11, Login: "hubot-owner", Type: rules.ActorUser},
		Head:            rules.Head{Ref: "rename-handlers", SHA: headSHA, Repository: repo},
		Base:            rules.Base{Ref: "main", SHA: baseSHA},
		FilesComplete:   rules.Yes,
		CommitsComplete: rules.Yes,
		Commits: []rules.Commit{{
			SHA: headSHA, Message: "orders: rename the handlers\n\nThe old names said nothing.\n",
			Author: author, Committer: author, Verified: rules.Yes, Parents: 1,
		}},
		LastPusher: rules.Actor{ID: 11, Login: "hubot-owner", Type: rules.ActorUser},
		Reviews: []rules.Review{{
			ID: 1, User: rules.Actor{ID: 1, Login: "octocat", Type: rules.ActorUser}, State: rules.ReviewApproved,
			SHA: headSHA, SubmittedAt: at.Add(-time.Hour), Write: rules.Yes,
		}},
		Checks: []rules.Check{
			{Name: "test", App: "github-actions", Conclusion: "success", Workflow: ".github/workflows/ci.yml"},
			{Name: "lint", App: "github-actions", Conclusion: "success", Workflow: ".github/workflows/ci.yml"},
		},
		RequiredChecks: []rules.RequiredCheck{{Name: "test", App: "github-actions"}},
		BaseGuarded:    rules.Yes,
		Now:            at,
	}
	for _, f := range files {
		c.Files = append(c.Files, rules.File{Path: f, Status: rules.FileModified, Additions: 3, Deletions: 1, Mode: rules.ModeFile})
	}
	return c
}

// theirs is a policy-bot policy of n rules, each required if one of its four
// patterns matches a changed file, as an evaluation.
func theirs(n int, s style, files []string) (func() common.Result, error) {
	key := "paths"
	if s == globs {
		key = "globs"
	}
	var b strings.Builder
	b.WriteString("policy:\n  approval:\n")
	for i := range n {
		fmt.Fprintf(&b, "    - rule-%03d\n", i)
	}
	b.WriteString("approval_rules:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - name: rule-%03d\n    if:\n      changed_files:\n        %s:\n", i, key)
		for _, p := range patterns(i, s) {
			fmt.Fprintf(&b, "          - %q\n", p)
		}
		fmt.Fprintf(&b, "    requires:\n      count: 1\n      users: [owner-%03d, deputy-%03d]\n", i, i)
	}
	var config policy.Config
	if err := yaml.UnmarshalStrict([]byte(b.String()), &config); err != nil {
		return nil, fmt.Errorf("reading the peer's policy of %d rules: %w", n, err)
	}
	eval, err := policy.ParsePolicy(&config, nil)
	if err != nil {
		return nil, fmt.Errorf("parsing the peer's policy of %d rules: %w", n, err)
	}
	pr := pullContext(files)
	ctx := context.Background()
	return func() common.Result { return eval.Evaluate(ctx, pr) }, nil
}

// pullContext is the same facts in the peer's form, all in memory.
func pullContext(files []string) *pulltest.Context {
	at := judgedAt()
	c := &pulltest.Context{
		EvaluationTimestampValue: at,
		OwnerValue:               "acme",
		RepoValue:                "orders",
		NumberValue:              7,
		TitleValue:               "orders: rename the handlers",
		AuthorValue:              "hubot-owner",
		CreatedAtValue:           at.Add(-2 * time.Hour),
		StateValue:               "open",
		HeadSHAValue:             headSHA,
		BranchBaseName:           "main",
		BranchHeadName:           "rename-handlers",
		BodyValue:                &pull.Body{Body: "Renames the handlers.", CreatedAt: at.Add(-2 * time.Hour), Author: "hubot-owner"},
		CommitsValue:             []*pull.Commit{{SHA: headSHA, Parents: []string{baseSHA}, Author: "hubot-owner", Committer: "hubot-owner"}},
		PushedAtValue:            map[string]time.Time{headSHA: at.Add(-2 * time.Hour)},
		ReviewsValue: []*pull.Review{{
			ID: "1", SHA: headSHA, Author: "octocat", State: pull.ReviewApproved,
			CreatedAt: at.Add(-time.Hour), LastEditedAt: at.Add(-time.Hour),
		}},
		LatestStatusesValue: map[string]string{"test": "success", "lint": "success"},
		LabelsValue:         []string{"refactoring"},
	}
	for _, f := range files {
		c.ChangedFilesValue = append(c.ChangedFilesValue, &pull.File{Filename: f, Status: pull.FileModified, Additions: 3, Deletions: 1})
	}
	return c
}

// rulesHit are the names of the peer's rules that were not skipped.
func rulesHit(r common.Result) []string {
	var out []string
	var walk func(common.Result)
	walk = func(r common.Result) {
		if strings.HasPrefix(r.Name, "rule-") && r.Status != common.StatusSkipped {
			out = append(out, r.Name)
		}
		for _, c := range r.Children {
			walk(*c)
		}
	}
	walk(r)
	return out
}
