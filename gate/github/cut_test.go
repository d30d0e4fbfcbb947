package github

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// What is cut has GitHub's length, keeps its last line, and leaves no code block open.
func TestCut(t *testing.T) {
	long := strings.Repeat("a line of text\n", 5000)
	for name, c := range map[string]struct {
		text string
		open string // what the text before the note ends in
	}{
		"lines":             {text: long},
		"one line":          {text: strings.Repeat("é", 70_000)},
		"emoji":             {text: strings.Repeat("🚪", 70_000)},
		"in a fence":        {text: "```diff\n" + long, open: "\n```"},
		"in a longer fence": {text: "`````\n```\n" + long, open: "\n`````"},
		"in a tilde fence":  {text: "~~~~\n```\n" + long, open: "\n~~~~"},
		"after a fence":     {text: "```\nx\n```\n" + long},
		"no fence":          {text: "``` a ` b\n    ```\n``\n" + long},
		"closed by more":    {text: "```\nx\n`````  \n" + long},
		"not closed":        {text: "```\nx\n``` y\n" + long, open: "\n```"},
		"a huge fence":      {text: "text\n" + strings.Repeat("`", 500) + "\n" + long, open: "text\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got := cut(c.text + "\nLedger: 7 abc")
			if n := utf8.RuneCountInString(got); n > maxOutput || !utf8.ValidString(got) {
				t.Errorf("%d characters", n)
			}
			body, last, ok := strings.Cut(got, "\n\n… cut: it is longer than GitHub shows.\n\n")
			if !ok || last != "Ledger: 7 abc" {
				t.Fatalf("it ends in %q", got[len(got)-80:])
			}
			if fence, _ := openFence(body); fence != "" {
				t.Errorf("%q is open", fence)
			}
			if !strings.HasSuffix(body, c.open) || c.open == "" && strings.HasSuffix(body, "```") {
				t.Errorf("it ends in %q, want %q", body[max(0, len(body)-20):], c.open)
			}
		})
	}
	if s := "short\n```\n"; cut(s) != s {
		t.Error("what is short is cut")
	}
	if s := strings.Repeat("é", maxOutput); cut(s) != s {
		t.Error("what just fits is cut")
	}
}
