package rules

import "strings"

// Trailer is one "Key: value" line of a commit message's trailer block. A value
// that was folded over several lines is unfolded to one.
type Trailer struct{ Key, Value string }

// Trailers returns the trailers of a commit message as
// "git interpret-trailers --parse --no-divider" reads them
// (https://git-scm.com/docs/git-interpret-trailers): the lines of the last
// paragraph, if all are trailers, or if a quarter is and git itself wrote one
// of them. The first paragraph is the subject and has none. The separator is
// ":", the comment character "#"; a repository's trailer.* settings are not
// read. What follows a NUL, which no commit has, is ignored.
func Trailers(message string) []Trailer {
	if i := strings.IndexByte(message, 0); i >= 0 {
		message = message[:i]
	}
	if message == "" {
		return nil
	}
	end := trailerEnd(message)
	start := trailerStart(message, end)
	// Text after the block (comments, a conflict list) is not part of it.
	block := message[start:end]
	var out []Trailer
	open := false // the line before was a trailer: an indented line continues it
	for len(block) > 0 {
		line := block[:lineEnd(block)]
		block = block[len(line):]
		if open && gitSpace(line[0]) {
			out[len(out)-1].Value += line
			continue
		}
		sep := separator(line)
		open = sep >= 1
		if open {
			out = append(out, Trailer{Key: trimGit(line[:sep]), Value: line[sep+1:]})
		}
	}
	for i := range out {
		out[i].Value = unfold(out[i].Value)
	}
	return out
}

const scissors = "# ------------------------ >8 ------------------------\n"

// trailerEnd is where the message proper ends: before trailing comments and blank
// lines, the list of conflicts that old versions of git appended, and a scissors
// line.
func trailerEnd(s string) int {
	cutoff := len(s)
	if strings.HasPrefix(s, scissors) {
		cutoff = 0
	} else if i := strings.Index(s, "\n"+scissors); i >= 0 {
		cutoff = i + 1
	}
	// As in git, a run of comments that begins with the message does not count
	// as one.
	begin, conflicts := 0, false
	for at := 0; at < cutoff; {
		switch {
		case s[at] == '#' || s[at] == '\n':
			if begin == 0 {
				begin = at
			}
		case strings.HasPrefix(s[at:], "Conflicts:\n"):
			conflicts = true
			if begin == 0 {
				begin = at
			}
		case conflicts && s[at] == '\t':
		default:
			begin, conflicts = 0, false
		}
		at += lineEnd(s[at:])
	}
	if begin > 0 {
		return begin
	}
	return cutoff
}

// trailerStart is where the block of trailers that ends at end begins; end if
// there is none.
func trailerStart(s string, end int) int {
	title := 0
	for title < end {
		rest := s[title:]
		if rest[0] != '#' && blankLine(rest) {
			break
		}
		title += lineEnd(rest)
	}
	var trailers, others, maybe int // maybe: indented lines, that may continue a trailer
	var byGit bool
	onlySpaces := true
	for at := lastLine(s, end); at >= title; at = lastLine(s, at) {
		line := s[at:]
		if line[0] == '#' {
			others += maybe
			maybe = 0
			continue
		}
		if blankLine(line) {
			if onlySpaces {
				continue
			}
			others += maybe
			if byGit && trailers*3 >= others || trailers > 0 && others == 0 {
				return at + lineEnd(line)
			}
			return end
		}
		onlySpaces = false
		switch {
		case strings.HasPrefix(line, "Signed-off-by: ") || strings.HasPrefix(line, "(cherry picked from commit "):
			trailers++
			maybe = 0
			byGit = true
		case gitSpace(line[0]):
			maybe++
		case separator(line) >= 1:
			trailers++
			maybe = 0
		default:
			others += maybe + 1
			maybe = 0
		}
	}
	return end
}

// lastLine is where the last line of s[:n] begins, -1 if there is none.
func lastLine(s string, n int) int {
	if n == 0 {
		return -1
	}
	return strings.LastIndexByte(s[:n-1], '\n') + 1
}

// lineEnd is the length of the first line of s, its newline included.
func lineEnd(s string) int {
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		return i + 1
	}
	return len(s)
}

func blankLine(s string) bool {
	for i := range len(s) {
		if s[i] == '\n' {
			return true
		}
		if !gitSpace(s[i]) {
			return false
		}
	}
	return true
}

// separator is the place of the ":" after a trailer's key, -1 if the line has none.
func separator(line string) int {
	space := false
	for i := range len(line) {
		switch c := line[i]; {
		case c == ':':
			return i
		case !space && (c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'):
		case i > 0 && (c == ' ' || c == '\t'):
			space = true
		default:
			return -1
		}
	}
	return -1
}

// gitSpace is what git calls white space.
func gitSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func trimGit(s string) string { return strings.Trim(s, " \t\n\r") }

func unfold(s string) string {
	s = trimGit(s)
	if strings.IndexByte(s, '\n') < 0 {
		return s
	}
	var b strings.Builder
	for {
		line, rest, more := strings.Cut(s, "\n")
		b.WriteString(line)
		if !more {
			return trimGit(b.String())
		}
		b.WriteByte(' ')
		s = strings.TrimLeft(rest, " \t\n\r")
	}
}
