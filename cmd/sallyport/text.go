package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
)

// defaultWidth is the width of what is written to a file or a pipe.
const defaultWidth = 100

// style writes with or without colour. Colour goes to terminals only; NO_COLOR
// (no-color.org) turns it off and CLICOLOR_FORCE turns it on.
type style struct {
	colour bool
	width  int
}

func newStyle(w io.Writer, env []string) style {
	width, tty := terminal(w)
	s := style{colour: tty && getenv(env, "TERM") != "dumb", width: width}
	if force := getenv(env, "CLICOLOR_FORCE"); force != "" && force != "0" {
		s.colour = true
	}
	if getenv(env, "NO_COLOR") != "" {
		s.colour = false
	}
	if !tty {
		s.width = defaultWidth
	}
	s.width = min(max(s.width, 60), 120)
	return s
}

func (s style) render(st lipgloss.Style, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return st.Render(text)
}

func (s style) strong(t string) string { return s.render(lipgloss.NewStyle().Bold(true), t) }
func (s style) dim(t string) string    { return s.render(lipgloss.NewStyle().Faint(true), t) }
func (s style) good(t string) string {
	return s.render(lipgloss.NewStyle().Foreground(lipgloss.Green).Bold(true), t)
}
func (s style) wait(t string) string {
	return s.render(lipgloss.NewStyle().Foreground(lipgloss.Yellow).Bold(true), t)
}
func (s style) bad(t string) string {
	return s.render(lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true), t)
}
func (s style) name(t string) string {
	return s.render(lipgloss.NewStyle().Foreground(lipgloss.Cyan), t)
}

// visible makes foreign text safe to print on one line: control and formatting
// characters and bytes that are no UTF-8 are shown as escapes, so that nothing in
// a branch, a path or a message can move the cursor, colour or reorder what is
// printed.
func visible(s string) string { return escape(s, false) }

// visibleLines is visible for text of several lines, which may end as those of Windows
// do: git applies a diff of such a file only with these ends.
func visibleLines(s string) string { return escape(s, true) }

func escape(s string, lines bool) string {
	plain := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case lines && (r == '\n' || r == '\t' || r == '\r' && strings.HasPrefix(s[i:], "\r\n")):
			b.WriteRune(r)
		case r == ' ' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		i += n
	}
	return b.String()
}

// shorten cuts text to a width, in the middle if it is a path.
func shorten(s string, width int) string {
	if lipgloss.Width(s) <= width || width < 8 {
		return s
	}
	r := []rune(s)
	for len(r) > 0 && lipgloss.Width(string(r)) > width-1 {
		r = r[:len(r)-1]
	}
	return string(r) + "…"
}

// shortenPath cuts the middle out of a path.
func shortenPath(s string, width int) string {
	if lipgloss.Width(s) <= width || width < 8 {
		return s
	}
	r := []rune(s)
	head, tail := width/3, width-width/3-1
	for tail > 1 && lipgloss.Width(string(r[:head]))+1+lipgloss.Width(string(r[max(0, len(r)-tail):])) > width {
		tail--
	}
	return string(r[:head]) + "…" + string(r[max(0, len(r)-tail):])
}

// plural is "1 file", "2 files".
func plural(n int, one string) string {
	many := one + "s"
	if strings.HasSuffix(one, "ch") {
		many = one + "es"
	}
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// thousands writes a number with a comma for every three digits.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// list is "a", "a or b", "a, b or c".
func list[T ~string](items []T, word string) string {
	s := make([]string, len(items))
	for i, x := range items {
		s[i] = visible(string(x))
	}
	if len(s) < 2 {
		return strings.Join(s, "")
	}
	return strings.Join(s[:len(s)-1], ", ") + " " + word + " " + s[len(s)-1]
}

// indent puts a prefix before each line that is not empty.
func indent(s, prefix string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if strings.TrimRight(line, "\n") != "" {
			b.WriteString(prefix)
		}
		b.WriteString(line)
	}
	return b.String()
}

// wrap breaks text into lines of a width at spaces.
func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		switch {
		case line == "":
			line = word
		case lipgloss.Width(line)+1+lipgloss.Width(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
