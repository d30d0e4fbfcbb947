package rules_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/rules"
)

const someSHA = rules.SHA("ec26c3e57ca3a959ca5aad62de7213c562f8c821")

func TestWorkKeys(t *testing.T) {
	for want, k := range map[string]rules.WorkKey{
		"pull_request 1 7 - -":                                 {Kind: rules.WorkPullRequest, Repository: 1, Number: 7},
		"run 1 289782451 - -":                                  {Kind: rules.WorkRun, Repository: 1, Number: 289782451},
		"repository 1 0 - -":                                   {Kind: rules.WorkRepository, Repository: 1},
		"installation 0 9 - -":                                 {Kind: rules.WorkInstallation, Number: 9},
		"owner 0 9 - -":                                        {Kind: rules.WorkOwner, Number: 9},
		"head 1 0 " + string(someSHA) + " -":                   {Kind: rules.WorkHead, Repository: 1, SHA: someSHA},
		"commit 1 0 " + string(someSHA) + " -":                 {Kind: rules.WorkCommit, Repository: 1, SHA: someSHA},
		"merge_group 1 0 " + string(someSHA) + " refs/heads/x": {Kind: rules.WorkMergeGroup, Repository: 1, SHA: someSHA, Ref: "refs/heads/x"},
	} {
		if err := k.Valid(); err != nil || k.String() != want {
			t.Errorf("%q: %v, want %q", k, err, want)
		}
		if got, err := rules.ParseWorkKey(want); err != nil || got != k {
			t.Errorf("%q: %+v, %v", want, got, err)
		}
	}
	for name, k := range map[string]rules.WorkKey{
		"nothing":                           {},
		"an unknown kind":                   {Kind: "unheard", Repository: 1},
		"a pull request of no repository":   {Kind: rules.WorkPullRequest, Number: 7},
		"a pull request without its number": {Kind: rules.WorkPullRequest, Repository: 1},
		"a negative number":                 {Kind: rules.WorkPullRequest, Repository: 1, Number: -7},
		"a negative repository":             {Kind: rules.WorkRepository, Repository: -1},
		"an installation in a repository":   {Kind: rules.WorkInstallation, Repository: 1, Number: 9},
		"a repository with a number":        {Kind: rules.WorkRepository, Repository: 1, Number: 7},
		"a head that is a branch":           {Kind: rules.WorkHead, Repository: 1, SHA: "main"},
		"a head that is nothing":            {Kind: rules.WorkHead, Repository: 1, SHA: rules.SHA(strings.Repeat("0", 40))},
		"a head in capitals":                {Kind: rules.WorkHead, Repository: 1, SHA: rules.SHA(strings.ToUpper(string(someSHA)))},
		"a group without its branch":        {Kind: rules.WorkMergeGroup, Repository: 1, SHA: someSHA},
		"a group on an impossible branch":   {Kind: rules.WorkMergeGroup, Repository: 1, SHA: someSHA, Ref: "a b"},
		"a group on no branch":              {Kind: rules.WorkMergeGroup, Repository: 1, SHA: someSHA, Ref: "-"},
	} {
		if k.Valid() == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := rules.ParseWorkKey(k.String()); err == nil {
			t.Errorf("%s: read back", name)
		}
	}
	for _, s := range []string{"", "pull_request 1 7 -", "pull_request 1 7 - - -", "pull_request +1 7 - -", "pull_request 01 7 - -", "pull_request x 7 - -", "pull_request 1 7  -"} {
		if _, err := rules.ParseWorkKey(s); err == nil {
			t.Errorf("%q: no error", s)
		}
	}
}

// What reads back is what was written, whatever it is.
func FuzzParseWorkKey(f *testing.F) {
	f.Add("pull_request 1 7 - -")
	f.Add("merge_group 1 0 " + string(someSHA) + " refs/heads/x")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := rules.ParseWorkKey(s); err == nil && (k.String() != s || k.Valid() != nil) {
			t.Fatalf("%q reads as %q", s, k)
		}
	})
}
