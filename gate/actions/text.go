package actions

import "strings"

// Markdown makes foreign text stand in GitHub's Markdown as it is: nothing in it
// formats, links, mentions or refers.
func Markdown(s string) string {
	var b strings.Builder
	for _, r := range plain(s) {
		switch r {
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '&':
			b.WriteString("&amp;")
		case '\\', '`', '*', '_', '{', '}', '[', ']', '(', ')', '|', '~', '!', '$', '-', '+', '=':
			b.WriteByte('\\')
			b.WriteRune(r)
		case '@', '#':
			// A character of no width keeps mentions and references from being seen as
			// such, and a line from becoming a heading.
			b.WriteRune(r)
			b.WriteRune('\u200b')
		default:
			b.WriteRune(r)
		}
	}
	return strings.NewReplacer("://", ":\u200b//", "www.", "www\u200b.").Replace(b.String())
}

// Code is foreign text as a span of code, where Markdown looks at nothing but the end:
// the fence is longer than any run of backquotes in it.
func Code(s string) string {
	s = plain(s)
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if s == "" || s[0] == '`' || s[len(s)-1] == '`' || s[0] == ' ' && s[len(s)-1] == ' ' {
		s = " " + s + " "
	}
	return fence + s + fence
}
