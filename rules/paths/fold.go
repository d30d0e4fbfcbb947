package paths

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold is the form in which paths that differ only by case or by Unicode form
// are equal: compatibility characters are replaced by their ordinary form and
// the rest is composed (NFKC, Unicode Standard Annex 15), letters are taken to
// upper and then to lower case and folded in full ("ß" is "ss"), and characters
// that are not shown (format and default-ignorable ones) are removed. It goes
// further than any file system, since it only ever adds care: the dotless and
// the dotted Turkish letters are "i" here, and a fullwidth slash is a slash.
// Fold(Fold(s)) is Fold(s).
func Fold(s string) string {
	upper := false
	for i := range len(s) {
		c := s[i]
		if c >= utf8.RuneSelf {
			return foldUnicode(s)
		}
		upper = upper || 'A' <= c && c <= 'Z'
	}
	if !upper {
		return s
	}
	return strings.ToLower(s)
}

// foldUnicode repeats its steps until nothing changes: a removed or folded
// character may let its neighbours compose.
func foldUnicode(s string) string {
	for range 8 {
		t := norm.NFKC.String(s)
		t = strings.Map(func(r rune) rune {
			if invisible(r) {
				return -1
			}
			return r
		}, t)
		t = cases.Fold().String(strings.ToLower(strings.ToUpper(t)))
		t = norm.NFKC.String(t)
		if t == s {
			break
		}
		s = t
	}
	return s
}

// invisible reports whether r leaves no trace on a screen: a format character
// (Cf, which has the bidirectional controls) or one that is ignorable by
// default (Default_Ignorable_Code_Point in DerivedCoreProperties.txt).
func invisible(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// folding is a path as rules with Fold see it.
type folding struct {
	// text is the folded path, decomposed (NFKD) if loose, so that what a "*"
	// found in the path does not merge with what stands beside it.
	text string
	// loose says that folding did more than to change the case of characters one
	// by one, so that "?" and classes no longer find in text what they would have
	// found in the path. Such paths are rare and suspicious: patterns are then
	// compared in their loose form.
	loose bool
}

func foldPath(path string) folding {
	for i := range len(path) {
		if path[i] >= utf8.RuneSelf {
			text := Fold(path)
			if changesCaseOnly(path, text) {
				return folding{text: text}
			}
			return folding{text: norm.NFKD.String(text), loose: true}
		}
	}
	return folding{text: Fold(path)}
}

// changesCaseOnly reports whether folded is s with each character replaced by
// another case of it.
func changesCaseOnly(s, folded string) bool {
	if s == folded {
		return true
	}
	if !utf8.ValidString(s) || !norm.NFKC.IsNormalString(s) {
		return false
	}
	for _, r := range s {
		f, n := utf8.DecodeRuneInString(folded)
		if n == 0 || foldRune(r) != f {
			return false
		}
		folded = folded[n:]
	}
	return folded == ""
}

// foldRune folds a character alone. It returns -1 for one that does not become
// another case of itself: see [folding].
func foldRune(r rune) rune {
	if !norm.NFKC.IsNormalString(string(r)) {
		return -1
	}
	s := Fold(string(r))
	f, n := utf8.DecodeRuneInString(s)
	if n == 0 || n != len(s) {
		return -1
	}
	if f == r {
		return f
	}
	for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
		if o == f {
			return f
		}
	}
	return -1
}

// foldedPattern is a pattern as rules with Fold use it, beside the pattern
// itself. It never has to find what the pattern finds.
type foldedPattern struct {
	// tight is the pattern with its literal parts folded and its classes widened
	// to the folded form of each character that they match.
	tight string
	// loose is the pattern with its literal parts folded and decomposed, and with
	// "*" for each "?" and class: whatever those found, its folded form is found.
	loose string
}

func (p *foldedPattern) match(path folding) bool {
	if path.loose {
		return Match(p.loose, path.text)
	}
	return Match(p.tight, path.text)
}

func foldPattern(pattern string) foldedPattern {
	var tight, loose strings.Builder
	var literal []byte
	starred := false // loose ends with a "*" that is none of "**"
	flush := func() {
		if len(literal) > 0 {
			starred = false
			writeEscaped(&tight, Fold(string(literal)))
			writeEscaped(&loose, norm.NFKD.String(Fold(string(literal))))
			literal = literal[:0]
		}
	}
	star := func() { // never makes "**"
		if !starred {
			loose.WriteByte('*')
		}
		starred = true
	}
	depth := 0
	for i := 0; i < len(pattern); {
		end := next(pattern, i)
		token := pattern[i:end]
		switch c := token[0]; {
		case c == '*' && strings.HasPrefix(pattern[i:], "**"):
			flush()
			end = i + 2
			tight.WriteString("**")
			loose.WriteString("**")
			starred = false
		case c == '*':
			flush()
			tight.WriteByte('*')
			star()
		case c == '?':
			flush()
			tight.WriteByte('?')
			star()
		case c == '[':
			flush()
			tight.WriteString(foldClass(parseClass(token)))
			star()
		case c == '{', c == '}', c == ',' && depth > 0:
			flush()
			tight.WriteByte(c)
			loose.WriteByte(c)
			starred = false
			switch c {
			case '{':
				depth++
			case '}':
				depth--
			}
		case c == '\\':
			literal = append(literal, token[1:]...)
		default:
			literal = append(literal, token...)
		}
		i = end
	}
	flush()
	return foldedPattern{tight.String(), loose.String()}
}

// writeEscaped writes text so that the matcher takes each character for itself:
// folding may have made a "*" of a fullwidth one.
func writeEscaped(b *strings.Builder, text string) {
	for i := range len(text) {
		if strings.IndexByte(`*?[]{}\,`, text[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
}

// maxFoldedClass is how many characters of a class are folded one by one. It
// covers the alphabets; a larger class becomes "?" in folded patterns.
const maxFoldedClass = 1024

// foldClass is the class of the folded forms of what c matches. Characters that
// have more than one form, or none, cannot be in a path that is compared with it.
func foldClass(c class) string {
	size := 0
	for _, s := range c.spans {
		size += max(0, int(s.high-s.low)+1)
	}
	if size > maxFoldedClass {
		return "?"
	}
	var folded []rune
	for _, s := range c.spans {
		for r := s.low; r <= s.high; r++ {
			f := foldRune(r)
			if f < 0 || f == '/' {
				continue
			}
			// A negated class matches the folded form of whatever it does not list,
			// so that only a character of which it lists each case stays out.
			if !c.negated || listsEachCase(c, f) {
				folded = append(folded, f)
			}
		}
	}
	slices.Sort(folded)
	folded = slices.Compact(folded)
	var b strings.Builder
	b.WriteByte('[')
	if c.negated {
		b.WriteString("!/")
	} else if len(folded) == 0 {
		return "?"
	}
	for _, r := range folded {
		b.WriteByte('\\')
		b.WriteRune(r)
	}
	b.WriteByte(']')
	return b.String()
}

// listsEachCase reports whether c lists every character that foldRune takes to f.
func listsEachCase(c class, f rune) bool {
	if !c.lists(f) {
		return false
	}
	for o := unicode.SimpleFold(f); o != f; o = unicode.SimpleFold(o) {
		if foldRune(o) == f && !c.lists(o) {
			return false
		}
	}
	return true
}
