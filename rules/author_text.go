package rules

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// masked stands for each byte that is not the author's own words. No pattern of
// the catalogue matches it, and it is no white space.
const masked = 0x1a

// maxBody is how much of a pull request's body is looked at, in bytes. GitHub
// keeps at most 65,536 characters.
const maxBody = 256 << 10

// maxNesting is how deep quotes and lists may be nested on a line of a body whose
// markers are looked for; the time to parse grows with lines times depth. Nobody
// writes such a body, so no marker in it counts.
const maxNesting = 32

// lowerASCII is s with ASCII letters in lower case, byte for byte as long as s.
func lowerASCII(s string) string {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if c := b[i]; 'A' <= c && c <= 'Z' {
					b[i] = c + 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// literals finds which of a few literals a text has, whatever the case of its
// ASCII letters, in one pass: four bytes at a time against a small filter.
type literals struct {
	filter [filterBits / 64]uint64
	// byGram are the places of the literals that begin with four bytes.
	byGram map[uint32][]int
	list   []string
}

const filterBits = 4096

// fold puts ASCII letters in lower case; other bytes may fold together.
const fold = 0x20202020

func gramAt(s string, i int) uint32 {
	return (uint32(s[i]) | uint32(s[i+1])<<8 | uint32(s[i+2])<<16 | uint32(s[i+3])<<24) | fold
}

func slot(gram uint32) uint32 { return gram * 0x9e3779b1 >> 20 }

// newLiterals prepares literals of patterns: lower case, four bytes at least, 64
// at most.
func newLiterals(list []pattern) *literals {
	l := &literals{byGram: map[uint32][]int{}}
	for i, p := range list {
		if len(p.literal) < 4 || i >= 64 {
			panic("rules: the built-in agents.yml: has: " + p.literal)
		}
		g := gramAt(p.literal, 0)
		l.filter[slot(g)/64] |= 1 << (slot(g) % 64)
		l.byGram[g] = append(l.byGram[g], i)
		l.list = append(l.list, p.literal)
	}
	return l
}

// in is the set of the literals that s has, by their places.
func (l *literals) in(s string) (found uint64) {
	if l == nil {
		return 0
	}
	for i := range len(s) - 3 {
		g := gramAt(s, i)
		if n := slot(g); l.filter[n/64]&(1<<(n%64)) == 0 {
			continue
		}
		for _, k := range l.byGram[g] {
			if found&(1<<k) == 0 && i+len(l.list[k]) <= len(s) && lowerASCII(s[i:i+len(l.list[k])]) == l.list[k] {
				found |= 1 << k
			}
		}
	}
	return found
}

// lineMatch looks for a pattern in the lines of a text that have its literal. low
// is the text in lower case.
func (p *pattern) lineMatch(text, low string) (string, bool) {
	for at := 0; ; {
		i := strings.Index(low[at:], p.literal)
		if i < 0 {
			return "", false
		}
		i += at
		from := strings.LastIndexByte(text[:i], '\n') + 1
		at = i + lineEnd(text[i:])
		if m := p.re().FindString(text[from:at]); m != "" {
			return strings.TrimSpace(m), true
		}
	}
}

func mask(b []byte, from, to int) {
	for i := max(0, from); i < min(to, len(b)); i++ {
		if b[i] != '\n' {
			b[i] = masked
		}
	}
}

// markdown is the parser of bodies. Only what can hold foreign words matters, so
// it knows no links, emphasis or references.
var markdown = sync.OnceValue(func() parser.Parser {
	return parser.NewParser(
		parser.WithBlockParsers(
			util.Prioritized(parser.NewSetextHeadingParser(), 100),
			util.Prioritized(parser.NewThematicBreakParser(), 200),
			util.Prioritized(parser.NewListParser(), 300),
			util.Prioritized(parser.NewListItemParser(), 400),
			util.Prioritized(parser.NewCodeBlockParser(), 500),
			util.Prioritized(parser.NewATXHeadingParser(), 600),
			util.Prioritized(parser.NewFencedCodeBlockParser(), 700),
			util.Prioritized(parser.NewBlockquoteParser(), 800),
			util.Prioritized(parser.NewHTMLBlockParser(), 900),
			util.Prioritized(parser.NewParagraphParser(), 1000),
		),
		parser.WithInlineParsers(
			util.Prioritized(parser.NewCodeSpanParser(), 100),
			util.Prioritized(parser.NewAutoLinkParser(), 300),
			util.Prioritized(parser.NewRawHTMLParser(), 400),
		),
	)
})

// alert is the first line of a quote that GitHub shows as the author's own note
// (https://docs.github.com/get-started/writing-on-github, "Alerts").
var alert = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^\[!(note|tip|important|warning|caution)\][ \t]*$`)
})

// foreignTags are the elements whose text is code or a quotation.
var foreignTags = []string{"pre", "code", "blockquote", "samp", "kbd"}

// bodyText splits the body of a pull request: visible are the author's own words,
// comments its HTML comments; everything else in both (code, quotations, what
// reviewing bots added) is masked. Both are as long as the body.
func bodyText(body string, blocks []reviewerBlock) (visible, comments string) {
	if !strings.ContainsAny(body, "`~<>\t") && !strings.Contains(body, "    ") && !hasHeadingBlock(body, blocks) {
		return body, ""
	}
	if tooDeep(body) {
		return "", ""
	}
	src := []byte(body)
	own := slices.Clone(src)
	var html spans
	doc := markdown().Parse(text.NewReader(src))
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.FencedCodeBlock, *ast.CodeBlock:
			maskLines(own, n.Lines())
			return ast.WalkSkipChildren, nil
		case *ast.Blockquote:
			if isAlert(n, src) {
				return ast.WalkContinue, nil
			}
			from, to := extent(n, len(src))
			mask(own, from, to)
			return ast.WalkSkipChildren, nil
		case *ast.HTMLBlock:
			if n.HTMLBlockType == ast.HTMLBlockType1 { // pre, script, style, textarea
				maskLines(own, n.Lines())
				mask(own, n.ClosureLine.Start, n.ClosureLine.Stop)
			}
			html.add(n.Lines())
			if n.HasClosure() {
				html = append(html, n.ClosureLine)
			}
			return ast.WalkSkipChildren, nil
		case *ast.RawHTML:
			html.add(n.Segments)
			return ast.WalkSkipChildren, nil
		case *ast.CodeSpan:
			from, to := extent(n, len(src))
			mask(own, from, to)
			return ast.WalkSkipChildren, nil
		}
		return ast.WalkContinue, nil
	})
	if len(html) == 0 && !hasHeadingBlock(body, blocks) {
		return string(own), ""
	}
	maskElements(own, html)
	return splitComments(own, html, blocks)
}

// spans are parts of a body in order.
type spans []text.Segment

func (s *spans) add(list *text.Segments) {
	for i := range list.Len() {
		*s = append(*s, list.At(i))
	}
}

// has reports whether a byte is in one of the spans.
func (s spans) has(at int) bool {
	i, _ := slices.BinarySearchFunc(s, at, func(e text.Segment, at int) int { return cmp.Compare(e.Stop, at+1) })
	return i < len(s) && s[i].Start <= at
}

func maskLines(b []byte, lines *text.Segments) {
	for i := range lines.Len() {
		s := lines.At(i)
		mask(b, s.Start, s.Stop)
	}
}

// extent is the range of the source that a node's descendants cover.
func extent(n ast.Node, size int) (from, to int) {
	from = size
	add := func(s text.Segment) {
		if s.Stop > s.Start {
			from, to = min(from, s.Start), max(to, s.Stop)
		}
	}
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		if n.Type() == ast.TypeBlock {
			for i := range n.Lines().Len() {
				add(n.Lines().At(i))
			}
			if h, ok := n.(*ast.HTMLBlock); ok {
				add(h.ClosureLine)
			}
		} else if t, ok := n.(*ast.Text); ok {
			add(t.Segment)
		}
		return ast.WalkContinue, nil
	})
	return from, to
}

func isAlert(q *ast.Blockquote, src []byte) bool {
	p, ok := q.FirstChild().(*ast.Paragraph)
	if !ok || p.Lines().Len() == 0 {
		return false
	}
	line := p.Lines().At(0)
	return alert().MatchString(strings.TrimRight(string(line.Value(src)), "\r\n"))
}

// maskElements masks the text of HTML elements that hold code or quotations. One
// that is not closed reaches to the end.
func maskElements(b []byte, html spans) {
	low := lowerASCII(string(b))
	for _, tag := range foreignTags {
		for at := 0; at < len(low); {
			i := strings.Index(low[at:], "<"+tag)
			if i < 0 {
				break
			}
			i += at
			at = i + 1 + len(tag)
			if !html.has(i) || at < len(low) && strings.IndexByte(" \t\n>/", low[at]) < 0 {
				continue
			}
			end := len(low)
			if j := strings.Index(low[at:], "</"+tag); j >= 0 {
				end = at + j
			}
			mask(b, i, end)
			at = end
		}
	}
}

// splitComments takes HTML comments out of own, and then the blocks that
// reviewing bots added out of both.
func splitComments(own []byte, html spans, blocks []reviewerBlock) (visible, comments string) {
	s := string(own)
	said := slices.Clone(own)
	mask(said, 0, len(said))
	for at := 0; ; {
		i := strings.Index(s[at:], "<!--")
		if i < 0 {
			break
		}
		i += at
		if !html.has(i) {
			at = i + 4
			continue
		}
		end := len(s)
		if j := strings.Index(s[i+4:], "-->"); j >= 0 {
			end = i + 4 + j + 3
		}
		copy(said[i:end], s[i:end])
		mask(own, i, end)
		at = end
	}
	for _, b := range blocks {
		if !strings.Contains(s, b.Begin) {
			continue
		}
		in := said
		if !strings.HasPrefix(b.Begin, "<!--") {
			in = own
		}
		for at := 0; ; {
			i := bytes.Index(in[at:], []byte(b.Begin))
			if i < 0 {
				break
			}
			i += at
			end := len(s)
			if j := bytes.Index(said[i+len(b.Begin):], []byte(b.End)); j >= 0 {
				end = i + len(b.Begin) + j + len(b.End)
			}
			mask(own, i, end)
			mask(said, i, end)
			at = end
		}
	}
	return string(own), string(said)
}

func hasHeadingBlock(body string, blocks []reviewerBlock) bool {
	return slices.ContainsFunc(blocks, func(b reviewerBlock) bool { return strings.Contains(body, b.Begin) })
}

// tooDeep reports whether a line opens more than maxNesting quotes and lists.
func tooDeep(body string) bool {
	for line := range strings.Lines(body) {
		n := 0
		for i := range len(line) {
			switch c := line[i]; c {
			case ' ', '\t':
				continue
			case '>', '-', '+', '*', '.', ')':
				n++
				continue
			default:
				if '0' <= c && c <= '9' {
					continue
				}
			}
			break
		}
		if n > maxNesting && !onlyOne(line) {
			return true
		}
	}
	return false
}

// onlyOne reports whether a line is a rule drawn with one character.
func onlyOne(line string) bool {
	line = strings.TrimSpace(line)
	return line != "" && line[0] != '>' && strings.Trim(line, line[:1]) == ""
}

// messageText masks what is quoted in a commit message: lines that begin with
// ">", indented ones, closed fences. In words, code spans are masked too.
// Messages are plain text, so an unclosed fence or backtick is none. Lines stay
// lines, and a masked one is never a trailer.
func messageText(message string) (words, lines string) {
	if !strings.ContainsAny(message, "`~>\t") && !strings.Contains(message, "    ") {
		return message, message
	}
	b := []byte(message)
	fence, from := "", 0
	var inFence [][2]int
	for at := 0; at < len(message); {
		end := at + lineEnd(message[at:])
		line := message[at:end]
		switch {
		case fence == "" && (strings.HasPrefix(line, "```") || strings.HasPrefix(line, "~~~")):
			mark := line[:len(line)-len(strings.TrimLeft(line, line[:1]))]
			if line[0] == '~' || !strings.Contains(line[len(mark):], "`") {
				fence, from = mark, at
			}
		case fence != "" && strings.HasPrefix(line, fence) && strings.Trim(line, fence[:1]+" \t\r\n") == "":
			inFence = append(inFence, [2]int{from, end})
			fence = ""
		}
		if line[0] == '>' || line[0] == '\t' || strings.HasPrefix(line, "    ") {
			mask(b, at, end)
		}
		at = end
	}
	for _, f := range inFence {
		mask(b, f[0], f[1])
	}
	lines = string(b)
	for at := 0; at < len(b); {
		end := at + lineEnd(lines[at:])
		for i := at; i < end; {
			j := strings.IndexByte(lines[i:end], '`')
			if j < 0 {
				break
			}
			k := strings.IndexByte(lines[i+j+1:end], '`')
			if k < 0 {
				break
			}
			mask(b, i+j, i+j+1+k+1)
			i += j + 1 + k + 1
		}
		at = end
	}
	return string(b), lines
}

// revert is the subject that git and GitHub give to the revert of a change.
const revert = `Revert "`

// ownTrailers are the trailers that a commit's author left. In a revert, the
// trailers of the reverted commit are quoted: what stands before git's own
// sentence does not count, nor does anything if the reverted subject is said
// again below it.
func ownTrailers(message, lines string) []Trailer {
	subject, rest, _ := strings.Cut(message, "\n")
	if !strings.HasPrefix(subject, revert) {
		return Trailers(lines)
	}
	_, after, found := strings.Cut(rest, "This reverts commit ")
	if !found {
		return nil
	}
	quoted, _, _ := strings.Cut(strings.TrimPrefix(subject, revert), `"`)
	if quoted != "" && strings.Contains(after, quoted) {
		return nil
	}
	return Trailers(lines)
}

// squashedTrailers are the "Key: value" lines that a squash merge left in the
// middle of a message: under "* subject" bullets, in paragraphs that are nothing
// but such lines.
func squashedTrailers(lines string) []Trailer {
	if !strings.HasPrefix(lines, "* ") && !strings.Contains(lines, "\n* ") {
		return nil
	}
	var out []Trailer
	bullet := false
	for par := range strings.SplitSeq(lines, "\n\n") {
		if strings.HasPrefix(par, "* ") {
			bullet = true
			continue
		}
		if !bullet {
			continue
		}
		var here []Trailer
		for line := range strings.SplitSeq(strings.Trim(par, "\n"), "\n") {
			sep := separator(line)
			if sep < 1 {
				here = nil
				break
			}
			here = append(here, Trailer{Key: trimGit(line[:sep]), Value: trimGit(line[sep+1:])})
		}
		out = append(out, here...)
	}
	return out
}
