package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/rules"
)

// initDone is what init found and did.
type initDone struct {
	look      rules.Look
	policy    *rules.Policy
	kept      bool // the policy was there
	applied   bool // the workflows were changed
	env       bool // the template was written
	branch    string
	workflows []*workflow
}

// showInit says what was found, what was guessed from it, and what comes next.
func (a *app) showInit(d initDone) {
	f := rules.Survey(d.look)
	wrote := func(name string) { fmt.Fprintf(a.stdout, "%s wrote %s\n", a.out.good("✓"), a.out.name(name)) }
	if d.kept {
		fmt.Fprintf(a.stdout, "%s %s is there and stays as it is\n", a.out.dim("·"), a.out.name(rules.PolicyPath))
	} else {
		wrote(rules.PolicyPath)
	}
	if d.env {
		wrote(envExample)
	}
	fmt.Fprintln(a.stdout)
	var rows []row
	found := func(what string, items []string) {
		if len(items) == 0 {
			return
		}
		shown := make([]string, len(items))
		for i, s := range items {
			shown[i] = visible(s)
		}
		rows = append(rows, row{a.out.dim(what), shorten(strings.Join(shown, ", "), a.out.width-22)})
	}
	found("languages", f.Languages)
	found("docs and tests", slices.Concat(f.Docs, f.Tests))
	found("lower environments", f.Dev)
	found("migrations", f.Migrations)
	found("terraform", f.Terraform)
	found("kubernetes", f.Kubernetes)
	found("environments", f.Environments)
	found("checks", f.Checks)
	var owners []string
	for _, o := range f.Owners {
		owners = append(owners, string(o))
	}
	found("CODEOWNERS", owners)
	if len(rows) == 0 {
		rows = append(rows, row{a.out.dim("nothing that says what belongs where: every change asks a human")})
	}
	fmt.Fprintln(a.stdout, a.out.strong("FOUND"))
	a.columns(a.stdout, "  ", rows)
	if !d.kept {
		a.showGuesses(d, f)
	}
	changes := a.showWorkflows(d)
	fmt.Fprintf(a.stdout, "\n%s\n", a.out.strong("NEXT"))
	file, err := a.findUp(rules.PolicyPath) // as it is called from here
	if err != nil {
		file = rules.PolicyPath
	}
	next := [][2]string{{"Read it, and name who approves:", "$EDITOR " + file}, {"Check it:", "sallyport policy lint"}, {"Judge a branch by it:", "sallyport check --policy " + file}}
	if changes && !d.applied {
		next = append(next, [2]string{"Change the workflows as shown:", "sallyport init --apply"})
	}
	if changes {
		next = append(next, [2]string{"Tell jobs where the server is:", "gh variable set SALLYPORT_URL --body https://…"})
	}
	next = append(next, [2]string{"Commit it by a pull request; then, on the server:", "sallyport-app adopt OWNER/REPO"}, [2]string{"Once what it says is right:", "mode: enforce"})
	for i, n := range next {
		fmt.Fprintf(a.stdout, "  %d. %-50s %s\n", i+1, n[0], n[1])
	}
}

// showGuesses says what stands in the policy although nobody said it, and why.
func (a *app) showGuesses(d initDone, f rules.Findings) {
	var rows []row
	guess := func(what, why string) { rows = append(rows, row{a.out.dim(what), why}) }
	guess("mode: observe", "nothing is held until you have seen what it would hold")
	names := make([]string, len(d.policy.Reviewers))
	for i, r := range d.policy.Reviewers {
		names[i] = visible(string(r))
	}
	switch {
	case len(f.Owners) > 0:
		guess("reviewers", strings.Join(names, ", ")+": CODEOWNERS names them")
	default:
		guess("reviewers", strings.Join(names, ", ")+": nothing names anybody; replace it")
	}
	if d.look.Owner != "" {
		guess("owner", visible(d.look.Owner)+": the remote's address")
	}
	if d.branch != "" {
		guess("default branch", visible(d.branch)+": what deploys has to be on it")
	}
	if auto, ok := d.policy.Environments["dev"]; ok {
		if len(auto.Deployments) > 0 {
			guess("no human for", list(auto.Deployments, "and")+": their names say dev, test, preview or staging")
		}
		if len(auto.After) > 0 {
			guess("after", list(f.Checks, "and")+": jobs that every pull request starts, by their names")
		}
	}
	fmt.Fprintf(a.stdout, "\n%s\n", a.out.strong("GUESSED"))
	a.columns(a.stdout, "  ", rows)
}

// showWorkflows shows how the workflows change, and reports whether they do.
func (a *app) showWorkflows(d initDone) bool {
	changes, notes := false, false
	for _, w := range d.workflows {
		changes, notes = changes || len(w.edits) > 0, notes || len(w.notes) > 0
	}
	if !notes {
		return false
	}
	title := "WORKFLOWS, if you add --apply"
	if d.applied {
		title = "WORKFLOWS, changed"
	} else if !changes {
		title = "WORKFLOWS"
	}
	fmt.Fprintf(a.stdout, "\n%s\n", a.out.strong(title))
	for _, w := range d.workflows {
		if len(w.notes) == 0 {
			continue
		}
		fmt.Fprintf(a.stdout, "  %s\n", visible(w.name))
		for _, n := range w.notes {
			fmt.Fprintf(a.stdout, "    %s\n", n)
		}
	}
	if changes {
		fmt.Fprintln(a.stdout)
	}
	for _, w := range d.workflows {
		if len(w.edits) > 0 {
			fmt.Fprint(a.stdout, visibleLines(w.diff()))
		}
	}
	return changes
}
