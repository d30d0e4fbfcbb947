package paths

import "strings"

// Marks that expand leaves in its results, where a brace was opened and where
// it was closed. No pattern contains them, since control characters are refused.
const (
	markOpen  = "\x00"
	markClose = "\x01"
)

// expand writes a well-formed pattern without its braces: "a{b,c}" becomes "ab"
// and "ac". It is not ok if that takes more than limit patterns. The matcher
// itself works on the pattern with braces; what it matches, one of the
// expansions matches too.
func expand(pattern string, limit int) (list []string, ok bool) {
	var walk func(done, rest string) bool
	walk = func(done, rest string) bool {
		open := braceStart(rest)
		if open < 0 {
			list = append(list, done+rest)
			return len(list) <= limit
		}
		end := braceEnd(rest, open)
		done, after := done+rest[:open]+markOpen, rest[end:]
		for _, alt := range alternatives(rest[open+1 : end-1]) {
			// What the alternative contains is expanded with what follows it.
			if !walk(done, alt+markClose+after) {
				return false
			}
		}
		return true
	}
	ok = walk("", pattern)
	return list, ok
}

var marks = strings.NewReplacer(markOpen, "", markClose, "")

func stripMarks(s string) string { return marks.Replace(s) }

// braceStart is where the first brace opens, or -1.
func braceStart(pattern string) int {
	for i := 0; i < len(pattern); {
		if pattern[i] == '{' {
			return i
		}
		i = next(pattern, i)
	}
	return -1
}

// braceEnd is the place behind the brace that closes the one at i.
func braceEnd(pattern string, i int) int {
	depth := 0
	for i < len(pattern) {
		switch pattern[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i = next(pattern, i)
	}
	return len(pattern)
}

// alternatives cuts the inside of a brace at its own commas.
func alternatives(inside string) []string {
	var list []string
	depth, from := 0, 0
	for i := 0; i < len(inside); i = next(inside, i) {
		switch inside[i] {
		case '{':
			depth++
		case '}':
			depth--
		case ',':
			if depth == 0 {
				list = append(list, inside[from:i])
				from = i + 1
			}
		}
	}
	return append(list, inside[from:])
}

// next is the place behind the byte, the escaped byte or the class at i.
func next(pattern string, i int) int {
	switch pattern[i] {
	case '\\':
		return min(i+2, len(pattern))
	case '[':
		return classEnd(pattern, i)
	}
	return i + 1
}

// classEnd is the place behind the class that begins at i.
func classEnd(pattern string, i int) int {
	for i++; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case ']':
			return i + 1
		}
	}
	return len(pattern)
}

// span is the characters from low to high, both included.
type span struct{ low, high rune }

// class is a parsed character class.
type class struct {
	negated bool
	spans   []span
}

// parseClass reads a well-formed class with its brackets, in the way of the
// matcher.
func parseClass(text string) class {
	var c class
	rest := []rune(text[1 : len(text)-1])
	if len(rest) > 0 && (rest[0] == '!' || rest[0] == '^') {
		c.negated, rest = true, rest[1:]
	}
	take := func() rune {
		if rest[0] == '\\' && len(rest) > 1 {
			rest = rest[1:]
		}
		r := rest[0]
		rest = rest[1:]
		return r
	}
	for len(rest) > 0 {
		low := take()
		high := low
		if len(rest) > 1 && rest[0] == '-' {
			rest = rest[1:]
			high = take()
		}
		c.spans = append(c.spans, span{low, high})
	}
	return c
}

// lists reports whether r is named by the class, negated or not.
func (c class) lists(r rune) bool {
	for _, s := range c.spans {
		if s.low <= r && r <= s.high {
			return true
		}
	}
	return false
}
