package main

import (
	"bytes"
	"strings"
	"testing"
)

// The whole program, small: each sweep looks at exactly what it has to, or it would say
// so.
func TestRun(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), strings.Fields("-pulls 48 -repositories 3 -lost 130 -interval 1s"), &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	for _, text := range []string{
		"48 open pull requests in 3 repositories", "48 of 48", "6 of 6", "nothing changed, for a quarter of an hour", "doors meanwhile",
	} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("no %q in:\n%s", text, &out)
		}
	}
	for _, args := range []string{"more", "-pulls 10", "-repositories 0", "-lost 600", "-interval 1ms"} {
		if code := run(t.Context(), strings.Fields(args), &out, &errs); code != 2 {
			t.Errorf("%s: exit code %d for wrong usage", args, code)
		}
	}
}
