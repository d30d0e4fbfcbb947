package webhook

import (
	"maps"
	"slices"
	"testing"

	"github.com/sallyport/sallyport/gate/github"
)

// What the App subscribes to is what is read here, but for what GitHub sends in any
// case and refuses in a manifest, and for what would need Administration.
func TestTheAppSubscribesToWhatIsRead(t *testing.T) {
	always := []string{"installation", "installation_repositories"}
	administration := []string{"branch_protection_configuration", "branch_protection_rule", "repository_ruleset"}
	var want []string
	for _, e := range slices.Sorted(maps.Keys(events())) {
		if !slices.Contains(always, e) && !slices.Contains(administration, e) {
			want = append(want, e)
		}
	}
	if got := github.Events(); !slices.Equal(got, want) {
		t.Errorf("the manifest has\n%q, but this is read:\n%q", got, want)
	}
	for _, e := range slices.Concat(always, administration) {
		if events()[e] == nil {
			t.Errorf("%s is left out of the manifest for a reason, and is not read any more", e)
		}
	}
}
