package main

import (
	"regexp"
	"strings"
	"testing"
)

// The measurement runs, and counts no request where the checkout has it all.
func TestMeasure(t *testing.T) {
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"-samples", "1", "-no-node"}, &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	for _, want := range []string{`classify, from the checkout .* ms +0\n`, `asking GitHub .* ms +[1-9][0-9]*\n`, `goal at most 150 ms: (met|MISSED)\n`} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("nothing like %q in\n%s", want, out.String())
		}
	}
	if code := run(t.Context(), []string{"-samples", "0"}, &out, &errs); code != 2 {
		t.Errorf("no samples: exit %d", code)
	}
}
