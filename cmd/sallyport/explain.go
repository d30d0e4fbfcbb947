package main

import (
	"fmt"
	"strings"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/rules"
)

func (a *app) explainCommand() *cobra.Command {
	var policy string
	c := &cobra.Command{
		Use:   "explain <path>...",
		Short: "Show which pattern puts a path where, and who is asked",
		Long: `Show for each path which environments it is in, by which pattern, and who has to
approve a change of it at the merge and at the deployment. The paths need not
exist. They are relative to the root of the repository.`,
		Example: `$ sallyport policy explain docs/guide.md
$ git ls-files | xargs sallyport policy explain --format json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("name at least one path")
			}
			return nil
		},
		Annotations: map[string]string{"exit": `0  the paths are explained, whatever they need
2  the command line or the policy is wrong`},
	}
	c.Flags().StringVar(&policy, "policy", "", "Explain this policy `file` (default: "+rules.PolicyPath+")")
	f := addFormat(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		p, err := a.policyFile(policy)
		if err != nil {
			return err
		}
		placements := make([]rules.Placement, len(args))
		for i, path := range args {
			placements[i] = rules.Place(p.Repository.Policy, trimDot(path))
		}
		switch {
		case *f == formatJSON:
			return a.printJSON(struct {
				Paths []rules.Placement `json:"paths"`
			}{placements})
		case len(placements) == 1:
			a.explainOne(placements[0])
		default:
			a.explainTable(placements)
		}
		return nil
	}
	return c
}

func (a *app) gate(g rules.Gate) string {
	if g == rules.GateAuto {
		return a.out.good("auto")
	}
	return a.out.wait("human")
}

func (a *app) explainOne(p rules.Placement) {
	fmt.Fprintln(a.stdout, a.out.name(visible(p.Path)))
	gate := a.gate(p.Gate)
	if p.Gate == rules.GateAuto {
		gate += a.out.dim("  an agent's change needs nobody once its checks are green")
	}
	a.columns(a.stdout, "  ", []row{
		{a.out.dim("environments"), visible(strings.Join(p.Environments, ", "))},
		{a.out.dim("gate"), gate},
		{a.out.dim("because"), visible(p.Reason.Text) + "  " + a.out.dim(string(p.Reason.Code))},
		{a.out.dim("to merge"), needsOf(p, rules.StepMerge)},
		{a.out.dim("to deploy"), needsOf(p, rules.StepDeploy)},
	})
}

func (a *app) explainTable(ps []rules.Placement) {
	t := table.New().Headers("PATH", "ENVIRONMENTS", "GATE", "BECAUSE", "WHO APPROVES").
		Border(lipgloss.HiddenBorder()).BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).
		BorderHeader(false).BorderColumn(false).BorderRow(false).Wrap(false).
		StyleFunc(func(r, _ int) lipgloss.Style {
			s := lipgloss.NewStyle().PaddingRight(2)
			if r == table.HeaderRow && a.out.colour {
				s = s.Bold(true)
			}
			return s
		})
	for _, p := range ps {
		t.Row(visible(p.Path), visible(strings.Join(p.Environments, ", ")), a.gate(p.Gate), placeLabel(p), whoApproves(p))
	}
	for l := range strings.Lines(t.String() + "\n") {
		fmt.Fprintln(a.stdout, strings.TrimRight(l, " \n"))
	}
}

// needsOf says who has to approve at a step.
func needsOf(p rules.Placement, s rules.Step) string {
	var out []string
	for _, n := range p.Needs {
		if n.Step != s {
			continue
		}
		who := "nobody is listed"
		if len(n.Reviewers) > 0 {
			who = count(n.Count) + " of " + list(n.Reviewers, "or")
		}
		if len(p.Environments) > 1 {
			who += " (" + visible(n.Environment) + ")"
		}
		out = append(out, who)
	}
	if len(out) == 0 {
		return "nobody"
	}
	return strings.Join(out, ", and ")
}

// whoApproves is needsOf for both steps in a few words.
func whoApproves(p rules.Placement) string {
	merge, deploy := needsOf(p, rules.StepMerge), needsOf(p, rules.StepDeploy)
	if merge == deploy {
		return merge
	}
	return "merge: " + merge + "; deploy: " + deploy
}
