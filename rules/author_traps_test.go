package rules_test

import (
	"slices"
	"testing"

	"github.com/sallyport/sallyport/rules"
)

type trapCase struct {
	Name     string     `yaml:"name"`
	Change   changeYAML `yaml:"change"`
	Is       string     `yaml:"is"`
	Agents   []string   `yaml:"agents"`
	Assisted []string   `yaml:"assisted"`
	Why      string     `yaml:"why"`
}

func TestTraps(t *testing.T) {
	cat, err := rules.NewCatalogue(rules.AgentRules{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range authorCases[trapCase](t, "traps") {
		t.Run(tc.Name, func(t *testing.T) {
			got := cat.Judge(&tc.Change.Change)
			if judgedAs(got) != tc.Is {
				t.Errorf("is %q, want %q\n%+v", judgedAs(got), tc.Is, got)
			}
			if !slices.Equal(got.Agents, tc.Agents) {
				t.Errorf("agents %q, want %q", got.Agents, tc.Agents)
			}
			if !slices.Equal(got.Assisted, tc.Assisted) {
				t.Errorf("assisted %q, want %q", got.Assisted, tc.Assisted)
			}
		})
	}
}
