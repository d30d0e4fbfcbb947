package main

import (
	"strings"
	"testing"
)

func TestWorkflowPath(t *testing.T) {
	for ref, want := range map[string]string{
		"acme/orders/.github/workflows/deploy.yml@refs/heads/main": ".github/workflows/deploy.yml", "ACME/Orders/.github/workflows/deploy.yml@refs/tags/v1@2": ".github/workflows/deploy.yml",
		"other/orders/.github/workflows/deploy.yml@x": "", "": "", "acme/orders": "",
	} {
		if got := workflowPath(ref, "acme/orders"); got != want {
			t.Errorf("%q is %q, want %q", ref, got, want)
		}
	}
}

// Without a server, a job that cannot judge does not go on.
func TestGateAloneFailsClosed(t *testing.T) {
	l := newLeases(t)
	for what, c := range map[string]struct {
		inputs []string
		code   int
		says   string
	}{
		"no token":        {nil, ExitUsage, "no token"},
		"no repository":   {[]string{"TOKEN=ghs_x"}, ExitError, "GITHUB_REPOSITORY"},
		"a floor":         {[]string{"TOKEN=ghs_x", "FLOOR=any"}, ExitUsage, "floor"},
		"a server's name": {[]string{"SERVER=http://sallyport.acme.internal"}, ExitUsage, "https"},
	} {
		set := []string{"SALLYPORT_URL="}
		for _, i := range c.inputs {
			set = append(set, "INPUT_"+i)
		}
		r := l.run(set, "action", "gate")
		if r.code != c.code || !strings.Contains(r.stdout, c.says) || !strings.Contains(r.stdout, "the job is not released") && c.says != "https" {
			t.Errorf("%s: exit %d, want %d: %q %q", what, r.code, c.code, r.stdout, r.stderr)
		}
	}
}
