package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of a policy file and of a targets file. A file beyond one of them is
// an error. The first holds before anything is parsed; the others before anything
// is compiled or compared with anything else.
const (
	MaxPolicyBytes  = 1 << 20 // bytes of a file
	MaxPolicyDepth  = 32      // lists and mappings inside each other
	MaxEnvironments = 1_000   // entries of environments
	MaxPatterns     = 10_000  // path patterns: paths, also and protect of all environments together
	MaxNamePatterns = 2_000   // patterns of GitHub environments, branches, tags and trailers together
	MaxReviewers    = 100     // entries of one list of reviewers
	MaxCredentials  = 1_000   // entries of credentials
	MaxEntries      = 10_000  // entries of any other list or mapping
	MaxTextBytes    = 1_024   // bytes of one text
	MaxProblems     = 100     // problems reported of one file
)

// Severity says whether a [Problem] keeps a file from being used.
type Severity string

// The severities, shown to machines: they may be added to and never changed.
// Anything but a warning is an error.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// Problem is one thing that is wrong with a policy or targets file.
type Problem struct {
	File string `json:"file"`
	// Line and Column count from 1; Column counts characters (Unicode code
	// points), not bytes. Both are 1 in an empty file.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Field is the path of what it is about ("environments.production.paths[2]"),
	// empty where the text is not YAML.
	Field    string   `json:"field,omitzero"`
	Severity Severity `json:"severity"`
	// Message is one line. Foreign text in it is quoted and has no control
	// characters.
	Message string `json:"message"`
	// Hint says what would be right, where the message does not. One line.
	Hint string `json:"hint,omitzero"`
	// Source is the offending line as it stands in the file, without its end.
	// It may hold anything: use [Problem.Render] to show it.
	Source string `json:"source,omitzero"`
}

// IsError reports whether the problem keeps the file from being used.
func (p Problem) IsError() bool { return p.Severity != SeverityWarning }

// String is the problem on one line, in the form that editors and terminals
// recognise: "file:line:column: message".
func (p Problem) String() string {
	message := p.Message
	if !p.IsError() {
		message = "warning: " + message
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, message)
}

// Render is String, then the offending line with a mark under the text, then the
// hint if there is one. It ends with a newline. Control and formatting characters
// of the line are shown escaped, and a long line is cut around the mark.
func (p Problem) Render() string {
	var b strings.Builder
	b.WriteString(p.String())
	b.WriteByte('\n')
	if p.Source != "" {
		text, before, length := excerpt(p.Source, p.Column)
		gutter := fmt.Sprintf("%5d | ", p.Line)
		b.WriteString(gutter + text + "\n")
		b.WriteString(strings.Repeat(" ", len(gutter)-2) + "| " + strings.Repeat(" ", before) + "^" + strings.Repeat("~", max(0, length-1)) + "\n")
	}
	if p.Hint != "" {
		b.WriteString("        hint: " + p.Hint + "\n")
	}
	return b.String()
}

// HasErrors reports whether a problem is more than a warning.
func HasErrors(problems []Problem) bool { return slices.ContainsFunc(problems, Problem.IsError) }

const (
	excerptBefore = 60 // characters shown before the mark
	excerptAfter  = 60 // and after it
)

// excerpt makes a line fit to be shown, and says where in it, in characters, the
// text that begins at column stands and how long it is.
func excerpt(line string, column int) (text string, before, length int) {
	runes := []rune(line)
	start := min(max(column-1, 0), len(runes))
	end := start + tokenLength(runes[start:])
	from, to := max(0, start-excerptBefore), min(len(runes), max(start+excerptAfter, min(end, start+2*excerptAfter)))
	if len(runes) <= excerptBefore+excerptAfter {
		from, to = 0, len(runes)
	}
	var b strings.Builder
	n := 0
	write := func(s string) { b.WriteString(s); n += utf8.RuneCountInString(s) }
	if from > 0 {
		write("…")
	}
	for i := from; i < to; i++ {
		if i == start {
			before = n
		}
		if i == end {
			length = n - before
		}
		write(visible(runes[i]))
	}
	if start >= to {
		before = n
	}
	if end >= to {
		length = n - before
	}
	if to < len(runes) {
		write("…")
	}
	return b.String(), before, length
}

// tokenLength is how far the text at the start of rest reaches, for the mark.
func tokenLength(rest []rune) int {
	if len(rest) == 0 {
		return 1
	}
	if q := rest[0]; q == '"' || q == '\'' {
		if i := slices.Index(rest[1:], q); i >= 0 {
			return i + 2
		}
		return 1
	}
	for i, r := range rest {
		if r == ' ' || r == '\t' || r == ',' || r == ']' || r == '}' || r == ':' && (i+1 == len(rest) || rest[i+1] == ' ') {
			return max(i, 1)
		}
	}
	return len(rest)
}

// visible is a character as it may be shown on a terminal.
func visible(r rune) string {
	switch {
	case r == '\t':
		return " "
	case r == utf8.RuneError || unicode.IsControl(r) || unsafeFormat(r):
		if r > 0xFFFF {
			return fmt.Sprintf(`\U%08x`, r)
		}
		return fmt.Sprintf(`\u%04x`, r)
	}
	return string(r)
}

// unsafeFormat reports whether a character changes how its neighbours look
// (direction marks, line and paragraph separators, invisible characters).
func unsafeFormat(r rune) bool {
	return unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)
}

// LoadPolicy parses and checks a policy file; name is what problems call it. The
// policy is nil if any problem is an error. Problems are sorted by position; a
// policy may come with warnings.
func LoadPolicy(name string, data []byte) (*Policy, []Problem) {
	f := newFile(name, data)
	var p Policy
	if f.decode(&p) {
		lintPolicy(f, &p)
	}
	if !f.failed() {
		if err := p.compile(data); err != nil {
			f.errorf(place{1, 1}, "", "%s", oneLine(err))
		} else {
			lintReach(f, &p)
		}
	}
	if f.failed() {
		return nil, f.sorted()
	}
	return &p, f.sorted()
}

// oneLine is an error's text on one line, without what could change a terminal.
func oneLine(err error) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unsafeFormat(r) {
			return ' '
		}
		return r
	}, err.Error())
}

// place is a position in a file, both from 1.
type place struct{ line, column int }

// mark is where a field stands: its key (or its list entry) and its value.
type mark struct{ key, value place }

// file is a file under check: what it says, where, and what is wrong with it.
type file struct {
	name     string
	data     []byte
	lines    []string
	marks    map[string]mark
	problems []Problem
	dropped  bool // there were more than MaxProblems
	errors   int

	runesLine int // the line that runesOf is of
	runesOf   []rune
}

func newFile(name string, data []byte) *file {
	return &file{name: name, data: data, marks: map[string]mark{}}
}

func (f *file) failed() bool { return f.errors > 0 }

// full reports whether further problems would be dropped.
func (f *file) full() bool { return len(f.problems) >= MaxProblems }

func (f *file) add(at place, severity Severity, field, hint, message string) {
	if severity == SeverityError {
		f.errors++
	}
	if f.full() {
		// An error is never dropped in favour of a warning: what keeps the file
		// from being used must be seen.
		if i := slices.IndexFunc(f.problems, func(p Problem) bool { return !p.IsError() }); severity == SeverityError && i >= 0 {
			f.problems = slices.Delete(f.problems, i, i+1)
		} else {
			f.dropped = true
			return
		}
	}
	at.line = min(max(at.line, 1), max(len(f.lines), 1))
	source := ""
	if at.line <= len(f.lines) {
		source = f.lines[at.line-1]
	}
	at.column = min(max(at.column, 1), utf8.RuneCountInString(source)+1)
	f.problems = append(f.problems, Problem{
		File: f.name, Line: at.line, Column: at.column, Field: field,
		Severity: severity, Message: message, Hint: hint, Source: source,
	})
}

func (f *file) errorf(at place, field, format string, args ...any) {
	f.add(at, SeverityError, field, "", fmt.Sprintf(format, args...))
}

// mark finds where a field stands, or the nearest that encloses it.
func (f *file) mark(field string) mark {
	for {
		if m, ok := f.marks[field]; ok || field == "" {
			return m
		}
		i := strings.LastIndexAny(field, ".[")
		field = field[:max(i, 0)]
	}
}

// wrong reports an error at a field's value; wrongKey at its key.
func (f *file) wrong(field, format string, args ...any) {
	f.errorf(f.mark(field).value, field, format, args...)
}

func (f *file) wrongKey(field, format string, args ...any) {
	f.errorf(f.mark(field).key, field, format, args...)
}

// warn reports a warning at a field's value.
func (f *file) warn(field, format string, args ...any) {
	f.add(f.mark(field).value, SeverityWarning, field, "", fmt.Sprintf(format, args...))
}

// sorted is all problems by position.
func (f *file) sorted() []Problem {
	slices.SortStableFunc(f.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
	if f.dropped && len(f.problems) > 0 {
		last := f.problems[len(f.problems)-1]
		last.Severity, last.Field, last.Hint = SeverityError, "", ""
		if f.errors == 0 {
			last.Severity = SeverityWarning
		}
		last.Message = fmt.Sprintf("there are more problems: only the first %d are shown", MaxProblems)
		f.problems = append(f.problems, last)
		f.dropped = false
	}
	return f.problems
}

// readText checks that the file is text of acceptable size, before any parser
// sees it, and splits it into lines as the YAML parser counts them.
func (f *file) readText() bool {
	data := f.data
	if len(data) > MaxPolicyBytes {
		f.errorf(place{1, 1}, "", "the file has %d bytes: at most %d are read", len(data), MaxPolicyBytes)
		return false
	}
	if strings.HasPrefix(string(data[:min(3, len(data))]), "\ufeff") {
		f.errorf(place{1, 1}, "", "the file begins with a byte order mark: save it as UTF-8 without one")
		return false
	}
	text := string(data)
	f.lines = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range f.lines {
		f.lines[i] = strings.TrimSuffix(line, "\r")
	}
	for i, line := range f.lines {
		column := 0
		indent := true
		for j, r := range line {
			column++
			at := place{i + 1, column}
			switch {
			case r == utf8.RuneError && strings.HasPrefix(line[j:], "\ufffd"):
				f.errorf(at, "", "the replacement character U+FFFD: some text was lost here")
			case r == utf8.RuneError:
				f.errorf(at, "", "the file is not UTF-8: byte 0x%02x is no part of a character", line[j])
			case r == '\t' && indent:
				f.errorf(at, "", "a tab in front of text: YAML is indented with spaces only")
			case r != '\t' && unicode.IsControl(r), unsafeFormat(r) && r != '\u200d':
				f.errorf(at, "", "the invisible character U+%04X: remove it", r)
			}
			if f.failed() {
				return false
			}
			indent = indent && r == ' '
		}
	}
	return true
}
