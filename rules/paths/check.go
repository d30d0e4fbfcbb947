package paths

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/text/unicode/norm"
)

// Limits. They may grow and never shrink, since policies and paths that were
// accepted stay accepted.
const (
	// MaxPathBytes is the longest plain path. It is PATH_MAX of Linux: a longer
	// one cannot be checked out there.
	MaxPathBytes = 4096
	// MaxPatternBytes is the longest pattern. Nobody reads a longer one, and it
	// bounds the work for one comparison.
	MaxPatternBytes = 1024
	// MaxAlternatives is how many patterns one pattern may stand for when its
	// braces are written out. The matcher tries them one by one, and they
	// multiply: "{a,b}{a,b}" are four.
	MaxAlternatives = 256
)

// ErrNotPlain is wrapped by each error of [Check].
var ErrNotPlain = errors.New("not a plain path")

// ErrPattern is wrapped by each error of [CheckPattern].
var ErrPattern = errors.New("bad path pattern")

// Check says why a path is not plain, or returns nil. The error wraps
// [ErrNotPlain]. Such a path could be another file for another program, so
// whoever judges it gives it the strictest treatment:
//
//   - an empty path or segment, a slash at an end, "." and "..";
//   - a segment that ends in a dot or a space, which Windows drops;
//   - a backslash, which Windows takes for a slash;
//   - NUL and other control characters, line and paragraph separators;
//   - bytes that are not UTF-8, and U+FFFD, which may stand for such bytes;
//   - text that is not composed (NFC), which macOS takes for the composed;
//   - characters that are not shown, such as zero-width joiners, soft hyphens
//     and bidirectional controls;
//   - more than [MaxPathBytes].
//
// Upper case is plain, and so are letters that only look like others: see
// [Rule.Fold] and [Fold].
func Check(path string) error {
	if len(path) == 0 || len(path) > MaxPathBytes {
		return explain(path)
	}
	before := byte('/')
	for i := range len(path) {
		c := path[i]
		switch {
		case c < ' ', c > '~', c == '\\':
			return explain(path)
		case c == '/':
			if before == '/' || before == '.' || before == ' ' {
				return explain(path)
			}
		}
		before = c
	}
	if before == '/' || before == '.' || before == ' ' {
		return explain(path)
	}
	return nil
}

// explain is Check without haste.
func explain(path string) error {
	because := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s %s", ErrNotPlain, quote(path), fmt.Sprintf(format, args...))
	}
	if path == "" {
		return fmt.Errorf("%w: it is empty", ErrNotPlain)
	}
	if len(path) > MaxPathBytes {
		return because("has %d bytes, more than %d", len(path), MaxPathBytes)
	}
	if why := badText(path); why != "" {
		return because("%s", why)
	}
	if strings.Contains(path, `\`) {
		return because(`has a backslash; segments are separated by "/"`)
	}
	for s := range strings.SplitSeq(path, "/") {
		if why := badSegment(s); why != "" {
			switch {
			case s != "":
				return because("%s", why)
			case path[0] == '/':
				return because(`begins with "/"; paths are relative to the repository`)
			case path[len(path)-1] == '/':
				return because(`ends with "/"; a file's path does not`)
			}
			return because(`has an empty segment ("//")`)
		}
	}
	return nil
}

// badSegment says why a plain path cannot have the segment, or returns "".
func badSegment(s string) string {
	switch {
	case s == "":
		return "has an empty segment"
	case s == "." || s == "..":
		return fmt.Sprintf("has the segment %q", s)
	case strings.HasSuffix(s, "."):
		return fmt.Sprintf("has a segment that ends in a dot, %s, which Windows drops", quote(s))
	case strings.HasSuffix(s, " "):
		return fmt.Sprintf("has a segment that ends in a space, %s, which Windows drops", quote(s))
	}
	return ""
}

// badText says which characters keep text from being a part of a plain path, or
// returns "".
func badText(s string) string {
	for i, r := range s {
		switch {
		case r == utf8.RuneError:
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return fmt.Sprintf("is not UTF-8 at byte %d (0x%02x)", i+1, s[i])
			}
			return "has U+FFFD, which stands for bytes that could not be read"
		case r == 0:
			return "has a NUL byte"
		case unicode.IsControl(r), unicode.In(r, unicode.Zl, unicode.Zp):
			return fmt.Sprintf("has the control character %U", r)
		case invisible(r):
			return fmt.Sprintf("has the invisible character %U", r)
		}
	}
	if !norm.NFC.IsNormalString(s) {
		return fmt.Sprintf("is not in composed form (NFC); composed it is %s", strconv.QuoteToASCII(shorten(norm.NFC.String(s))))
	}
	return ""
}

// quote quotes for a message, and shows what cannot be seen.
func quote(s string) string { return strconv.QuoteToGraphic(shorten(s)) }

// shorten cuts what is too long for a message.
func shorten(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// CheckPattern says why a pattern, with its "!" if it has one, is malformed,
// can never match a plain path, or does not mean what it seems to; otherwise it
// returns nil. The error wraps [ErrPattern] and says what would be right. [New]
// refuses the same patterns.
func CheckPattern(pattern string) error {
	because := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s %s", ErrPattern, quote(pattern), fmt.Sprintf(format, args...))
	}
	body, excludes := strings.CutPrefix(pattern, "!")
	sign := ""
	if excludes {
		sign = "!"
	}
	instead := func(better string) string { return fmt.Sprintf("write %s", quote(sign+better)) }

	switch {
	case pattern == "":
		return fmt.Errorf("%w: it is empty: write \"**\" for every path", ErrPattern)
	case len(pattern) > MaxPatternBytes:
		return because("has %d bytes, more than %d: split it", len(pattern), MaxPatternBytes)
	case body == "":
		return because(`has nothing after "!": write what is to be left out, such as "!docs/internal/**"`)
	case excludes && body[0] == '!':
		return because(`begins with "!" twice: one leaves paths out; write "\\!" for a name that begins with "!"`)
	}
	if why := badText(body); why != "" {
		return because("%s: no plain path matches it", why)
	}
	if err := checkEscapes(body); err != "" {
		return because("%s", err)
	}
	if !doublestar.ValidatePattern(body) {
		return because("%s", malformed(body))
	}
	if why := checkClasses(body); why != "" {
		return because("%s", why)
	}
	if body[0] == '/' {
		if better := strings.TrimLeft(body, "/"); better != "" {
			return because(`begins with "/"; patterns always begin at the root of the repository: %s`, instead(better))
		}
		return because(`is no path: %s for every path`, instead("**"))
	}
	if strings.HasPrefix(body, "./") {
		return because(`begins with "./"; patterns always begin at the root of the repository: write it without`)
	}
	if strings.HasSuffix(body, "/") && next(body, len(body)-1) == len(body) {
		return because(`ends with "/"; for everything below that folder %s`, instead(strings.TrimRight(body, "/")+"/**"))
	}

	expansions, ok := expand(body, MaxAlternatives)
	if !ok {
		return because("stands for more than %d patterns when its braces are written out: use fewer braces, or several patterns", MaxAlternatives)
	}
	for _, e := range expansions {
		if why := checkStars(e); why != "" {
			return because("%s", why)
		}
		plain := stripMarks(e)
		of := ""
		if plain != body {
			of = fmt.Sprintf(" (one of its alternatives is %s)", quote(plain))
		}
		if why := checkSegments(plain, sign); why != "" {
			return because("%s%s", why, of)
		}
	}
	return nil
}

// checkEscapes finds a backslash that is no escape of a meta character.
func checkEscapes(body string) string {
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		if i++; i == len(body) {
			return `ends with a backslash: separate segments by "/"`
		}
		switch c := body[i]; {
		case c == '\\':
			return "asks for a backslash, which no plain path has"
		case strings.IndexByte("*?[]{},!^-", c) < 0:
			return fmt.Sprintf("has a backslash before %s, where it means nothing: separate segments by \"/\"; a backslash goes before one of * ? [ ] { } , ! ^ -", quote(firstRune(body[i:])))
		}
	}
	return ""
}

func firstRune(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return s[:n]
}

// malformed names what the matcher does not accept.
func malformed(body string) string {
	depth := 0
	for i := 0; i < len(body); i = next(body, i) {
		switch body[i] {
		case '[':
			end := classEnd(body, i)
			inside := strings.TrimLeft(body[i+1:end], "!^")
			if inside == "" || inside[0] == ']' {
				return `has an empty class: write the characters between "[" and "]", or "\\[" for a bracket itself`
			}
			if body[end-1] != ']' || end == len(body) && !doublestar.ValidatePattern(body[i:end]) {
				return `has a "[" that is never closed: close it with "]", or write "\\[" for a bracket itself`
			}
		case '{':
			depth++
		case '}':
			if depth--; depth < 0 {
				return `has a "}" without "{": write "\\}" for a brace itself`
			}
		}
	}
	return `has a "{" that is never closed: close it with "}", or write "\\{" for a brace itself`
}

// checkClasses finds classes that match what they should not: the matcher lets
// them match a slash.
func checkClasses(body string) string {
	for i := 0; i < len(body); i = next(body, i) {
		if body[i] != '[' {
			continue
		}
		text := body[i:classEnd(body, i)]
		c := parseClass(text)
		for _, s := range c.spans {
			if s.low > s.high {
				return fmt.Sprintf("has the range %s in %s, which is empty: write it the other way round", quote(string([]rune{s.low, '-', s.high})), quote(text))
			}
		}
		switch {
		case c.negated && !c.lists('/'):
			better := text[:2] + "/" + text[2:]
			if text[2] == '-' { // must not begin a range
				better = text[:len(text)-1] + "/]"
			}
			return fmt.Sprintf(`has %s, which also matches "/": write %s`, quote(text), quote(better))
		case !c.negated && c.lists('/'):
			return fmt.Sprintf(`has %s, which also matches "/": write a slash outside of a class`, quote(text))
		}
	}
	return ""
}

// checkStars finds stars that the matcher does not read as they stand once the
// braces are written out. The expansion still has its marks.
func checkStars(expansion string) string {
	for i := 0; i < len(expansion); i = next(expansion, i) {
		if expansion[i] != '*' {
			continue
		}
		end := i
		for end < len(expansion) && expansion[end] == '*' {
			end++
		}
		after := strings.TrimLeft(expansion[end:], markOpen+markClose)
		marked := len(after) < len(expansion)-end
		switch {
		case marked && strings.HasPrefix(after, "*"):
			return `has a "*" beside a brace with another: write them together, or one of them`
		case end-i > 1 && strings.HasPrefix(expansion[end:], markOpen):
			return `has "**" before a brace, where it means "*": put the "/" between them`
		}
		i = end - 1
	}
	return ""
}

// checkSegments looks at the segments of a pattern without braces.
func checkSegments(pattern, sign string) string {
	var segments []string
	from := 0
	for i := 0; i < len(pattern); i = next(pattern, i) {
		if pattern[i] == '/' {
			segments = append(segments, pattern[from:i])
			from = i + 1
		}
	}
	segments = append(segments, pattern[from:])
	with := func(i int, better string) string {
		s := append([]string(nil), segments...)
		s[i] = better
		return quote(sign + strings.Join(s, "/"))
	}

	for i, s := range segments {
		if why := badSegment(s); why != "" {
			return why + ": no plain path matches it"
		}
		if s == "**" {
			if i > 0 && segments[i-1] == "**" {
				return `has "**" twice in a row: write it once`
			}
			continue
		}
		at := doubleStar(s)
		if at < 0 {
			continue
		}
		end := at
		for end < len(s) && s[end] == '*' {
			end++
		}
		// What it says now, and what was probably meant.
		one := s[:at] + "*" + s[end:]
		better := "**/" + one
		switch {
		case at == 0 && end == len(s):
			better = "**"
		case end == len(s):
			better = one + "/**"
		case at > 0:
			better = one
		}
		if better == one {
			return fmt.Sprintf(`has "**" in %s, where it means "*": write %s`, quote(s), with(i, one))
		}
		return fmt.Sprintf(`has "**" in %s, where it means "*": write %s, or %s to stay in that folder`, quote(s), with(i, better), with(i, one))
	}
	return ""
}

// doubleStar is where two unescaped stars stand together, or -1.
func doubleStar(s string) int {
	for i := 0; i < len(s); i = next(s, i) {
		if strings.HasPrefix(s[i:], "**") {
			return i
		}
	}
	return -1
}
