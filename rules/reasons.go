package rules

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Code is a reason's stable code. Codes are shown to machines and kept in the
// ledger: they may be added to and never changed or used again.
type Code string

// codeInfo is what docs/reasons.md says of a code. The format's verbs are filled
// by [reason].
type codeInfo struct {
	name string
	// format is the sentence. Foreign text is given to its %s verbs as [quoted].
	format string
	// meaning and remedy are for docs/reasons.md.
	meaning, remedy string
	// resolvesItself says that no human has to act: a check will end, the author
	// will mark the draft ready.
	resolvesItself bool
}

// at is the fact a reason rests on.
type at struct {
	path  string
	login Login
	sha   SHA
	env   string
}

// reason makes a Reason from its code's sentence. An arg is a string of our own
// words, or foreign text as quoted or Login.
func reason(code Code, v Verdict, fact at, args ...any) *Reason {
	info, ok := codes[code]
	if !ok {
		panic("rules: no such reason code: " + string(code))
	}
	return &Reason{
		Code: code, Verdict: v, Text: fill(info.format, args),
		Path: fact.path, Login: fact.login, SHA: fact.sha, Environment: fact.env,
	}
}

// fill puts args into a sentence's %s blanks.
func fill(format string, args []any) string {
	if len(args) == 0 {
		return format
	}
	var b strings.Builder
	b.Grow(len(format) + 24*len(args))
	for _, arg := range args {
		before, after, ok := strings.Cut(format, "%s")
		if !ok {
			panic("rules: more words than blanks in " + strconv.Quote(format))
		}
		b.WriteString(before)
		switch arg := arg.(type) {
		case string:
			b.WriteString(arg)
		case quoted:
			writeQuoted(&b, string(arg))
		case Login:
			writeQuoted(&b, string(arg))
		default:
			panic(fmt.Sprintf("rules: a %T in a sentence", arg))
		}
		format = after
	}
	b.WriteString(format)
	return b.String()
}

// quoted is foreign text on its way into a sentence.
type quoted string

const maxQuoted = 120 // runes of foreign text in one sentence

// quote makes foreign text safe to stand in a sentence: in quotation marks, one
// line, no control or formatting characters, not longer than a line.
func quote(s string) string {
	var b strings.Builder
	writeQuoted(&b, s)
	return b.String()
}

func writeQuoted(b *strings.Builder, s string) {
	b.WriteByte('"')
	defer b.WriteByte('"')
	if plainASCII(s) {
		b.WriteString(s)
		return
	}
	n := 0
	for _, r := range s {
		if n++; n > maxQuoted {
			b.WriteString("…")
			break
		}
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == unicode.ReplacementChar || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r):
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteRune(r)
		}
	}
}

// plainASCII reports whether text can stand between quotation marks as it is.
func plainASCII(s string) bool {
	if len(s) > maxQuoted {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
