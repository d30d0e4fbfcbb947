package statements

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// The numbers that PostgreSQL 17's scanner gives to what is told apart here; below
// 256 they are characters (libpg_query, pg_query.proto, enum Token).
const (
	tokenIdentifier  = 258
	tokenLastLiteral = 264 // identifiers and constants from 258 on
	tokenInteger     = 266
	tokenParameter   = 267
	tokenLineComment = 275
	tokenComment     = 276
	tokenDefault     = 377
	tokenExcept      = 409
	tokenFalse       = 420
	tokenIntersect   = 477
	tokenNull        = 554
	tokenTrue        = 710
	tokenUnion       = 720
)

// token is a piece of a migration: text[start:end].
type token struct{ start, end, number int }

var errWire = errors.New("the scanner's answer is not understood")

// readTokens decodes a ScanResult of pg_query.proto.
func readTokens(wire []byte, size int) ([]token, error) {
	var out []token
	for len(wire) > 0 {
		field, _, body, rest, err := readField(wire)
		if err != nil {
			return nil, err
		}
		wire = rest
		if field != 2 {
			continue
		}
		var t token
		for len(body) > 0 {
			part, value, _, rest, err := readField(body)
			if err != nil {
				return nil, err
			}
			body = rest
			switch part {
			case 1:
				t.start = value
			case 2:
				t.end = value
			case 4:
				t.number = value
			}
		}
		if t.start > t.end || t.end > size {
			return nil, errWire
		}
		out = append(out, t)
	}
	return out, nil
}

// readField takes one field off a protocol buffer: a number or bytes.
func readField(wire []byte) (field, value int, body, rest []byte, err error) {
	tag, n := binary.Uvarint(wire)
	if n <= 0 {
		return 0, 0, nil, nil, errWire
	}
	wire = wire[n:]
	number, n := binary.Uvarint(wire)
	if n <= 0 || tag > 1<<10 || number > 1<<30 {
		return 0, 0, nil, nil, errWire
	}
	wire = wire[n:]
	field, value = int(tag>>3), int(number) // both are small, see above
	switch tag & 7 {
	case 0:
		return field, value, nil, wire, nil
	case 2:
		if value > len(wire) {
			return 0, 0, nil, nil, errWire
		}
		return field, 0, wire[:value], wire[value:], nil
	}
	return 0, 0, nil, nil, errWire
}

// isComment reports whether PostgreSQL skips a token.
func (t token) isComment() bool { return t.number == tokenLineComment || t.number == tokenComment }

// weight is by how many levels a token can deepen the tree of its statement.
func (t token) weight() int {
	switch t.number {
	case tokenInteger, tokenParameter, tokenLineComment, tokenComment, tokenDefault, tokenNull, tokenTrue, tokenFalse, '.':
		return 0
	}
	if t.number >= tokenIdentifier && t.number <= tokenLastLiteral {
		return 0
	}
	return 1
}

// level is what is open between two brackets. Its depth is at most the heaviest
// run between commas, and its set operations, which go on across commas.
type level struct{ run, heaviest, sets int }

func (l level) depth() int { return max(l.run, l.heaviest) + l.sets }

// tooDeep returns the first token at which a statement may nest deeper than the
// parser can stand. It counts too much rather than too little: every operator and
// keyword between two commas as one level, whether it nests or not.
func tooDeep(tokens []token, most int) (token, bool) {
	levels := make([]level, 1, 64)
	open := 0 // the weight of the levels around the last one
	for _, t := range tokens {
		last := &levels[len(levels)-1]
		switch t.number {
		case '(', '[':
			last.run++
			open += last.run + last.sets
			levels = append(levels, level{})
		case ')', ']':
			if len(levels) == 1 {
				continue // a syntax error, for the parser to tell
			}
			depth := last.depth()
			levels = levels[:len(levels)-1]
			last = &levels[len(levels)-1]
			open -= last.run + last.sets
			last.run += depth
		case ',', ';':
			last.heaviest, last.run = max(last.heaviest, last.run), 0
			if t.number == ';' && len(levels) == 1 {
				*last = level{}
			}
		case tokenUnion, tokenExcept, tokenIntersect:
			last.sets++
		default:
			last.run += t.weight()
		}
		if last = &levels[len(levels)-1]; open+last.run+last.sets > most {
			return t, true
		}
	}
	return token{}, false
}

// mark is a line by which a migration tool divides a file.
var mark = regexp.MustCompile(`(?mi)^[ \t]*--[ \t]*(\+goose|\+migrate|migrate:)`)

// lookAtTokens reports text that others read as statements and PostgreSQL does not.
func (r *reader) lookAtTokens(tokens []token) {
	for _, t := range tokens {
		text := r.text[t.start:t.end]
		r.line = r.lineAt(t.start)
		switch {
		case t.number == tokenComment:
			if strings.HasPrefix(text, "/*!") || strings.HasPrefix(text, "/*M!") {
				r.add(Hidden, "", "has a comment that MySQL and MariaDB run as a statement")
			}
			if strings.Contains(text[2:], "/*") {
				r.add(Hidden, "", "has a comment in a comment, which other databases end earlier")
			}
		case t.number >= tokenIdentifier && t.number <= tokenLastLiteral:
			if text[0] == '\'' && strings.Contains(text, `\'`) {
				r.add(Hidden, "", "has a backslash before a quote, after which MySQL and old settings of PostgreSQL read other statements")
			}
		default:
			continue
		}
		if mark.MatchString(text) {
			r.add(Hidden, "", fmt.Sprintf("has a line of a migration tool (%s) where PostgreSQL reads none", printable(strings.TrimSpace(mark.FindString(text)))))
		}
	}
}
