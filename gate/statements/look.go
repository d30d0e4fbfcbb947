package statements

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/wasilibs/go-pgquery/parser"
)

const (
	// maxText is what a migration may have: more is data rather than statements.
	maxText = 256 << 10
	// maxTokens bounds the parser's tree, which takes up to 90 bytes for each byte
	// of dense text, and its memory, which is never given back.
	maxTokens = 60_000
	// maxDepth is how deep a statement may nest, by tooDeep's count. The parser's
	// stack is small: of the forms in TestDeepest it overflows first with SELECT in
	// SELECT, at 384 by that count and not at 320, and with operators above 600.
	maxDepth = 160
	// maxComments and maxSigns bound what costs the scanner the square of its
	// number: beginnings of comments (1,000 take 0.1 s, 60,000 three minutes), and
	// signs of operators without a space (a run of 2,000 takes 0.2 s; lines of
	// dashes do not count, since they are comments).
	maxComments = 1000
	maxSigns    = 2000 * 2000
	// maxFindings is how many findings of a file are told, and one more.
	maxFindings = 50
)

// The parser's library keeps its instances, and each costs what doc.go says. So one
// is used at a time in a process, and none once it stopped in the middle of its
// work: its memory is then in no known state.
var (
	turn   = make(chan struct{}, 1)
	halted atomic.Bool
)

var (
	errHalted = errors.New("the SQL parser of this process stopped and must be started again")
	errBusy   = errors.New("the SQL parser did not finish in time")
)

// Look reads a migration and returns the statements that deserve a second look, by
// line and each once; of more than 50 the last says how many were left out. Parsed
// false means that nothing is known of the file, and why says so in a few words
// with name and line. It is then no better than a file with findings.
//
// The first call of a process takes seconds. If ctx ends during a parse, Look
// returns, but the parser goes on: see [Worker] for one that can be stopped.
func Look(ctx context.Context, name, text string) (findings []Finding, parsed bool, why string) {
	r := &reader{text: text, seen: map[Finding]bool{}, made: map[string]bool{}}
	place := func(line int, why string) string {
		return fmt.Sprintf("%s:%d: %s", printable(name), line, why)
	}
	text, line, problem := readable(text)
	if problem != "" {
		return nil, false, place(line, problem)
	}
	r.text = text
	tokens, tree, err := parse(ctx, text)
	if err != nil {
		line, problem := r.explain(err)
		return nil, false, place(line, problem)
	}
	r.lookAtTokens(tokens)
	r.lookAtTree(tokens, tree)
	return r.findings(), true, ""
}

// readable takes off a byte order mark and refuses what the parser must not see: C
// ends a text at a zero byte, and would not see what follows.
func readable(text string) (rest string, line int, problem string) {
	if len(text) > maxText {
		return "", 1, fmt.Sprintf("the file has %d bytes, and only %d are read", len(text), maxText)
	}
	text = strings.TrimPrefix(text, "\ufeff")
	if i := strings.IndexByte(text, 0); i >= 0 {
		return "", 1 + strings.Count(text[:i], "\n"), "a zero byte, which ends the text for some readers"
	}
	if !utf8.ValidString(text) {
		return "", 1, "the file is not in UTF-8"
	}
	if strings.Count(text, "/*") > maxComments {
		return "", 1, fmt.Sprintf("the file has more than %d comments; write them with --", maxComments)
	}
	if at := manySigns(text); at >= 0 {
		return "", 1 + strings.Count(text[:at], "\n"), "too many signs of operators without a space"
	}
	return text, 0, ""
}

// manySigns is where the squares of the lengths of all runs of operator signs add
// up to more than maxSigns; -1 if nowhere.
func manySigns(text string) int {
	sum, run := 0, 0
	for i := range len(text) + 1 {
		if i < len(text) && strings.IndexByte("+-*/<>=~!@#%^&|`?", text[i]) >= 0 {
			run++
			continue
		}
		if !strings.HasPrefix(text[i-run:i], "--") {
			sum += run * run
		}
		if run = 0; sum > maxSigns {
			return i - 1
		}
	}
	return -1
}

// deepError is a statement that the parser must not see.
type deepError struct{ at int }

func (deepError) Error() string {
	return "a statement with too many nested parts or operators to be read safely; split it"
}

// parse runs the parser in its turn. A goroutine of its own does it since it cannot
// be interrupted; the turn is its until it ends, if ever.
func parse(ctx context.Context, text string) ([]token, *node, error) {
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, errBusy
	}
	type answer struct {
		tokens []token
		tree   *node
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		defer func() { <-turn }()
		a := answer{err: errHalted}
		defer func() {
			if fault := recover(); fault != nil {
				halted.Store(true)
				a = answer{err: errHalted}
			}
			answers <- a
		}()
		if !halted.Load() {
			a.tokens, a.tree, a.err = parseNow(text)
		}
	}()
	select {
	case a := <-answers:
		return a.tokens, a.tree, a.err
	case <-ctx.Done():
		return nil, nil, errBusy
	}
}

// parseNow scans, which needs no stack, and parses what is not too deep for it.
func parseNow(text string) ([]token, *node, error) {
	wire, err := parser.ScanToProtobuf(text)
	if err != nil {
		return nil, nil, err
	}
	tokens, err := readTokens(wire, len(text))
	if err != nil {
		return nil, nil, err
	}
	if len(tokens) > maxTokens {
		return nil, nil, fmt.Errorf("the file has %d words and signs, and only %d are read; split it", len(tokens), maxTokens)
	}
	if t, deep := tooDeep(tokens, maxDepth); deep {
		return nil, nil, deepError{t.start}
	}
	tree, err := parser.ParseToJSON(text)
	if err != nil {
		return nil, nil, err
	}
	n, err := readTree(tree)
	return tokens, n, err
}

// explain says in a few words why a text was not parsed, and at which line.
func (r *reader) explain(err error) (line int, problem string) {
	var deep deepError
	if errors.As(err, &deep) {
		return r.lineAt(deep.at), err.Error()
	}
	var syntax *parser.Error
	if !errors.As(err, &syntax) {
		return 1, printable(err.Error())
	}
	at := r.offset(syntax.Cursorpos - 1)
	rest := r.text[at:]
	switch {
	case strings.HasPrefix(rest, `\`):
		command, _, _ := strings.Cut(rest, "\n")
		return r.lineAt(at), printable(strings.TrimSpace(command)) + " is a command of psql and not SQL"
	case looksLikeMySQL(r.text, rest):
		return r.lineAt(at), "MySQL's dialect is not read, only PostgreSQL's"
	}
	return r.lineAt(at), "not PostgreSQL's SQL: " + printable(syntax.Message)
}

// looksLikeMySQL reports whether a text fails on something that only MySQL has.
func looksLikeMySQL(text, rest string) bool {
	for _, word := range []string{"`", "AUTO_INCREMENT", "ENGINE", "UNSIGNED", "DELIMITER", "CHARSET", "CHARACTER SET"} {
		if len(rest) >= len(word) && strings.EqualFold(rest[:len(word)], word) {
			return true
		}
	}
	return strings.Contains(text, "AUTO_INCREMENT") || strings.Contains(text, "ENGINE=")
}

// reader collects the findings of one file.
type reader struct {
	text  string
	lines []int // where each begins
	line  int   // of what is looked at now
	out   []Finding
	seen  map[Finding]bool
	// made holds the tables that the file itself made, so that nobody waits for
	// their locks.
	made map[string]bool
}

// add notes a finding at the present line. The text goes before the object.
func (r *reader) add(kind Kind, object, text string) {
	object = printable(object)
	f := Finding{Line: r.line, Kind: kind, Object: object, Text: text}
	if object != "" {
		before, after, cut := strings.Cut(text, "%")
		if f.Text = before + " " + object; cut {
			f.Text = before + object + after
		}
	}
	if !r.seen[f] {
		r.seen[f] = true
		r.out = append(r.out, f)
	}
}

func (r *reader) findings() []Finding {
	sort.SliceStable(r.out, func(i, k int) bool { return r.out[i].Line < r.out[k].Line })
	if more := len(r.out) - maxFindings; more > 0 {
		line := r.out[maxFindings].Line
		r.out = append(r.out[:maxFindings:maxFindings], Finding{Line: line, Kind: More, Text: "has " + strconv.Itoa(more) + " more findings from here on"})
	}
	return r.out
}

// lineAt is the line of a byte, from 1.
func (r *reader) lineAt(offset int) int {
	if r.lines == nil {
		r.lines = []int{0}
		for i := range len(r.text) {
			if r.text[i] == '\n' {
				r.lines = append(r.lines, i+1)
			}
		}
	}
	return sort.SearchInts(r.lines, offset+1)
}

// offset is where the character of that number begins.
func (r *reader) offset(character int) int {
	for i := range r.text {
		if character <= 0 {
			return i
		}
		character--
	}
	return len(r.text)
}
