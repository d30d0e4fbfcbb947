package main

import (
	"fmt"
	"strings"
)

// context is how many unchanged lines a hunk shows around a change.
const diffContext = 3

// diff is the change of a file as git and patch read it.
func (w *workflow) diff() string {
	edits := w.sorted()
	total := len(w.lines)
	if total > 0 && w.lines[total-1] == "" {
		total-- // after the last line's end there is nothing
	}
	var b strings.Builder
	fmt.Fprintf(&b, "--- a/%s\n+++ b/%s\n", w.name, w.name)
	shift := 0
	for i := 0; i < len(edits); {
		from := max(0, edits[i].at-diffContext)
		j := i
		var to int
		for {
			to = min(total, edits[j].at+edits[j].remove+diffContext)
			if j+1 == len(edits) || edits[j+1].at-diffContext > to {
				break
			}
			j++
		}
		var body strings.Builder
		added, at := 0, from
		put := func(mark, line string) {
			body.WriteString(mark + line)
			if !strings.HasSuffix(line, "\n") {
				body.WriteString("\n\\ No newline at end of file\n")
			}
		}
		for _, e := range edits[i : j+1] {
			for ; at < e.at; at++ {
				put(" ", w.lines[at])
			}
			for range e.remove {
				put("-", w.lines[at])
				at++
				added--
			}
			for _, l := range e.add {
				put("+", l)
				added++
			}
		}
		for ; at < to; at++ {
			put(" ", w.lines[at])
		}
		fmt.Fprintf(&b, "@@ -%d,%d +%d,%d @@\n%s", from+1, to-from, from+1+shift, to-from+added, body.String())
		shift += added
		i = j + 1
	}
	return b.String()
}
