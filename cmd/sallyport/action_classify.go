package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/gate/actions"
	"github.com/sallyport/sallyport/gate/git"
	"github.com/sallyport/sallyport/rules"
)

// How much of a change classify shows.
const (
	// maxFileNotes is how many files are annotated: GitHub shows ten.
	maxFileNotes = 10
	// maxListed is how many reasons and pieces of evidence are put into outputs, and
	// how many files of each kind into the summary.
	maxListed = 100
)

func (a *app) actionClassifyCommand() *cobra.Command {
	return a.stepCommand(&cobra.Command{
		Use:   "classify",
		Short: "Judge the pull request that this run is of, from the checkout and the event",
		Annotations: map[string]string{"exit": `0  judged
1  not judged: something could not be read
2  an input or the policy is wrong
3  a human is needed, and the input fail is true`},
	}, func(ctx context.Context, s *step) error { return s.classifyPull(ctx) })
}

// classifyPull judges the pull request and says what came of it.
func (s *step) classifyPull(ctx context.Context) error {
	fails, err := s.switched("fail")
	if err != nil {
		return err
	}
	pull, err := s.env.Pull()
	if err != nil {
		return err
	}
	j, err := s.judgePull(ctx, &pull)
	if err != nil {
		return err
	}
	if err := s.tellClassified(j); err != nil {
		return err
	}
	if fails && j.decision.NeedsHuman() {
		return &codeError{code: ExitHuman, err: errors.New("a human is needed: " + headline(j.decision))}
	}
	return nil
}

// errCheckout says that the checkout does not have what is to be judged.
var errCheckout = errors.New("give actions/checkout `fetch-depth: 0`, before this step")

// judgePull judges by the checkout and the event; where the checkout does not have it all,
// by what GitHub says.
func (s *step) judgePull(ctx context.Context, pull *actions.Pull) (judged, error) {
	j, err := s.readPullRequest(ctx, pull)
	if errors.Is(err, errCheckout) && s.env.Token != "" {
		s.job.Say("Asking GitHub: " + visible(err.Error()))
		return s.askPullRequest(ctx, pull, err)
	}
	if err != nil {
		return judged{}, err
	}
	if rules.HasErrors(j.policy.problems) {
		return judged{}, s.policyErrors(j.policy.problems)
	}
	v := rules.PolicyVersion{State: rules.PolicyNone}
	if j.policy.policy != nil {
		v = rules.PolicyVersion{State: rules.PolicyInForce, Policy: j.policy.policy, Source: rules.PolicySource{Path: j.policy.path, Commit: j.policy.commit}}
	}
	j.decision = rules.DecideChange(rules.Policies{Repository: v, Floor: rules.PolicyVersion{State: rules.PolicyNone}}, j.facts.Change)
	return j, nil
}

// askPullRequest judges by what GitHub says, with the job's token.
func (s *step) askPullRequest(ctx context.Context, pull *actions.Pull, missing error) (judged, error) {
	judge, err := s.alone()
	if err != nil {
		return judged{}, err
	}
	c, p, err := judge.Change(ctx, pull.Change.Number)
	if err != nil {
		return judged{}, fmt.Errorf("%w; and GitHub was asked in vain: %w", missing, err)
	}
	src := p.Repository.Source
	j := judged{
		facts: &git.Facts{Change: c}, decision: rules.DecideChange(p, c),
		head:   git.Revision{Name: c.Head.Ref, SHA: c.Head.SHA, Branch: c.Head.Ref},
		base:   git.Revision{Name: c.Base.Ref, SHA: c.Base.SHA, Branch: c.Base.Ref},
		policy: policySource{policy: p.Repository.Policy, path: rules.PolicyPath, commit: src.Commit, where: "as GitHub has it (" + src.Commit.Short() + ")"},
	}
	if c.Head.SHA != pull.Change.Head.SHA {
		return judged{}, fmt.Errorf("the pull request has moved on from %s, which this run is of", pull.Change.Head.SHA.Short())
	}
	return j, nil
}

// readPullRequest reads what the checkout has of a pull request, and joins it to what the
// event says.
func (s *step) readPullRequest(ctx context.Context, pull *actions.Pull) (out judged, err error) {
	repo, err := git.Open(ctx, git.Config{Dir: s.env.Workspace, Env: s.app.env})
	if err != nil {
		return judged{}, fmt.Errorf("%w: %w", err, errCheckout)
	}
	defer func() { err = errors.Join(err, repo.Close()) }()
	c := pull.Change
	head, err := repo.Revision(ctx, string(c.Head.SHA))
	if err != nil {
		return judged{}, fmt.Errorf("the checkout does not have the pull request's head (%w): %w", err, errCheckout)
	}
	base, err := repo.Revision(ctx, "refs/remotes/origin/"+c.Base.Ref)
	if errors.Is(err, git.ErrNoRevision) {
		base, err = repo.Revision(ctx, string(c.Base.SHA))
	}
	if err != nil {
		return judged{}, fmt.Errorf("the checkout does not have the pull request's base (%w): %w", err, errCheckout)
	}
	head.Branch, head.Name, base.Branch, base.Name = c.Head.Ref, c.Head.Ref, c.Base.Ref, c.Base.Ref
	facts, err := repo.Change(ctx, base, head)
	if err != nil {
		return judged{}, err
	}
	read := facts.Change
	if n := len(read.Commits); len(facts.MergeBases) == 0 || pull.Commits > n {
		return judged{}, fmt.Errorf("the checkout has %d of the pull request's %d commits: %w", n, pull.Commits, errCheckout)
	}
	c.Files, c.FilesComplete, c.Commits, c.CommitsComplete, c.Base = read.Files, read.FilesComplete, read.Commits, read.CommitsComplete, read.Base
	c.Reviews, c.Checks, c.Basis = []rules.Review{}, []rules.Check{}, rules.Stated
	if !pull.Opened {
		facts.Notes = append(facts.Notes, "Judged as if nobody had reviewed it and no check had ended: this says what the change needs, not what it has.")
	}
	facts.Change = &c
	src, err := s.policyOnDefault(ctx, repo, pull.DefaultBranch)
	return judged{facts: facts, base: base, head: head, policy: src}, err
}

// policyOnDefault reads the policy at the head of the default branch: never the one that
// the pull request brings.
func (s *step) policyOnDefault(ctx context.Context, repo *git.Repository, branch string) (policySource, error) {
	tip, err := repo.Revision(ctx, "refs/remotes/origin/"+branch)
	if err != nil {
		return policySource{}, fmt.Errorf("the checkout does not have the default branch, where the policy is read (%w): %w", err, errCheckout)
	}
	data, err := repo.ReadFile(ctx, tip.SHA, rules.PolicyPath, rules.MaxPolicyBytes)
	src := policySource{path: rules.PolicyPath, commit: tip.SHA, where: "at " + branch + " (" + tip.SHA.Short() + ")"}
	if errors.Is(err, fs.ErrNotExist) {
		src.note = "There is none, so that every change waits. Next: sallyport init"
		return src, nil
	}
	if err != nil {
		return policySource{}, err
	}
	return loadPolicy(rules.PolicyPath, data, src), nil
}

// policyErrors puts what is wrong with the policy on its lines.
func (s *step) policyErrors(problems []rules.Problem) error {
	for _, p := range problems {
		s.job.Say(visible(p.String()))
	}
	return refuse("the policy on the default branch has errors, so nothing was judged; see: sallyport policy lint")
}

// tellClassified writes outputs, log, annotations and summary.
func (s *step) tellClassified(j judged) error {
	d := j.decision
	d.Reasons, d.Authorship.Evidence, d.Authorship.Commits = head(d.Reasons), head(d.Authorship.Evidence), head(d.Authorship.Commits)
	var texts [4]string
	for i, v := range []any{d.Environments, d.Authorship.Agents, d.Reasons, d} {
		text, err := compact(v)
		if err != nil {
			return err
		}
		texts[i] = text
	}
	human := asksHuman(j)
	production := j.policy.policy == nil || len(human) > 0 // without a policy nothing is known to be less
	err := s.outputs(
		[2]string{"authorship", string(d.Authorship.Kind)},
		[2]string{"agent", strconv.FormatBool(d.Authorship.Kind == rules.KindAgent)},
		[2]string{"agents", texts[1]},
		[2]string{"mixed", strconv.FormatBool(d.Authorship.Mixed)},
		[2]string{"environments", texts[0]},
		[2]string{"production", strconv.FormatBool(production)},
		[2]string{"verdict", string(d.Verdict)},
		[2]string{"human-needed", strconv.FormatBool(d.NeedsHuman())},
		[2]string{"reasons", texts[2]},
		[2]string{"decision", texts[3]},
	)
	if err != nil {
		return err
	}
	if s.format == formatJSON {
		if err := s.printJSON(j.decision); err != nil {
			return err
		}
	} else {
		var log bytes.Buffer
		if j.policy.policy == nil {
			fmt.Fprintf(&log, "%s\n%s\n", verdictLine(d), j.policy.note)
		} else {
			s.showCheck(&log, j)
		}
		for line := range strings.Lines(log.String()) {
			s.job.Say(strings.TrimRight(line, "\r\n"))
		}
	}
	if err := s.annotateFiles(j, human); err != nil {
		return err
	}
	return s.job.Summary(classifiedSummary(j))
}

func head[T any](list []T) []T { return list[:min(len(list), maxListed)] }

// asksHuman are the touched environments that ask a human.
func asksHuman(j judged) []string {
	var out []string
	for _, name := range j.decision.Environments {
		if e := j.policy.policy.Environments[name]; e == nil || e.Gate != rules.GateAuto {
			out = append(out, name)
		}
	}
	return out
}

// annotateFiles points at the files for which a human is asked.
func (s *step) annotateFiles(j judged, human []string) error {
	if j.policy.policy == nil {
		return nil
	}
	shown := 0
	for _, f := range j.facts.Change.Files {
		pl := placeFile(j.policy.policy, f)
		if pl.Gate == rules.GateAuto {
			continue
		}
		if shown++; shown > maxFileNotes {
			break
		}
		text := fmt.Sprintf("%s asks a human: %s", list(pl.Environments, "and"), placeLabel(pl))
		if err := s.job.Annotate(actions.Annotation{Level: actions.Notice, Title: "Sallyport: " + list(pl.Environments, "and"), File: visible(f.Path), Message: text}); err != nil {
			return err
		}
	}
	if j.facts.Change.FilesComplete != rules.Yes && len(human) > 0 {
		return s.job.Annotate(actions.Annotation{Level: actions.Notice, Title: "Sallyport", Message: "The list of files is not complete, so that the change counts as touching everything."})
	}
	return nil
}

// classifiedSummary is the job's page.
func classifiedSummary(j judged) string {
	d, c := j.decision, j.facts.Change
	var b strings.Builder
	fmt.Fprintf(&b, "### Sallyport: %s\n\n", actions.Markdown(verdictLine(d)))
	fmt.Fprintf(&b, "- %s\n", actions.Code(c.Head.Ref+" → "+c.Base.Ref))
	by := string(d.Authorship.Kind)
	if len(d.Authorship.Agents) > 0 {
		by += " (" + strings.Join(d.Authorship.Agents, ", ") + ")"
	}
	if d.Authorship.Mixed {
		by += ", mixed with other authors"
	}
	fmt.Fprintf(&b, "- Written by: %s, %s confidence\n", actions.Markdown(by), d.Authorship.Confidence)
	fmt.Fprintf(&b, "- Touches: %s in %s\n", actions.Markdown(strings.Join(d.Environments, ", ")), plural(len(c.Files), "file"))
	for _, n := range d.Needs {
		if n.Missing() > 0 {
			what := fmt.Sprintf("%s of %s for %s", count(n.Missing()), list(n.Reviewers, "or"), n.Environment)
			if len(n.Reviewers) == 0 {
				what = "nobody is listed who could approve for " + n.Environment
			}
			fmt.Fprintf(&b, "- Needs: %s", actions.Markdown(what))
			if n.Path != "" {
				fmt.Fprintf(&b, " for %s", actions.Code(n.Path))
			}
			b.WriteByte('\n')
		}
	}
	b.WriteString("\n<details><summary>Why</summary>\n\n")
	for _, r := range head(d.Reasons) {
		fmt.Fprintf(&b, "- %s %s\n", r.Code, actions.Markdown(r.Text))
	}
	b.WriteString("\n</details>\n\n")
	for _, n := range slices.Concat([]string{j.policy.note}, j.facts.Notes) {
		if n != "" {
			fmt.Fprintf(&b, "%s  \n", actions.Markdown(n))
		}
	}
	fmt.Fprintf(&b, "Policy: %s\n", actions.Code(strings.TrimSpace(j.policy.path+" "+j.policy.where)))
	return b.String()
}

// verdictLine is the verdict in words, with what it waits for.
func verdictLine(d rules.Decision) string {
	words := "denied"
	switch {
	case d.Verdict == rules.VerdictAllow:
		words = "nothing is needed"
	case d.Verdict == rules.VerdictWait && !d.NeedsHuman():
		words = "no human is needed"
	case d.Verdict == rules.VerdictWait:
		words = "waits for a human"
	}
	if h := headline(d); h != "" {
		words += ": " + h
	}
	return words
}
