package paths

import (
	"slices"
	"strings"
)

// index finds, for a path, the patterns that could match it. It may name too
// many, never too few: each pattern is filed under a literal text (its anchor)
// that every path it matches must have at a certain place. A pattern with
// braces is filed once for each of its expansions.
type index struct {
	whole     map[string][]int
	lengths   lengths // of the keys of whole
	prefix    chain
	suffix    chain // its keys are reversed
	segment   map[string][]int
	segments  lengths // of the keys of segment
	unkeyed   []uint64
	hasNoKeys bool // some pattern is in unkeyed
}

// maxIndexed is how many expansions of one pattern are filed one by one. One
// with more braces is filed under its text outside of them, so that a policy
// of many such patterns does not fill the memory.
const maxIndexed = 32

// anchorKind says where the path must have the anchor's text. Smaller is
// cheaper to look up.
type anchorKind uint8

const (
	anchorWhole anchorKind = iota
	anchorPrefix
	anchorSuffix
	anchorSegment
)

type anchor struct {
	kind anchorKind
	text string // never empty
}

// newIndex files the patterns 0 to n-1. An empty text is not filed.
func newIndex(n int, text func(int) string) *index {
	type filing struct {
		id      int
		anchors []anchor
	}
	var all []filing
	shared := map[anchor]int{}
	for id := range n {
		t := text(id)
		if t == "" {
			continue
		}
		expansions, ok := expand(t, maxIndexed)
		if !ok {
			expansions = []string{t}
		}
		for _, e := range expansions {
			f := filing{id, anchors(stripMarks(e))}
			for _, a := range f.anchors {
				shared[a]++
			}
			all = append(all, f)
		}
	}

	x := &index{whole: map[string][]int{}, segment: map[string][]int{}, unkeyed: make([]uint64, words(n))}
	prefix, suffix := map[string][]int{}, map[string][]int{}
	for _, f := range all {
		if len(f.anchors) == 0 {
			setBit(x.unkeyed, f.id)
			x.hasNoKeys = true
			continue
		}
		// The anchor that fewest patterns have, then the longest.
		best := slices.MinFunc(f.anchors, func(a, b anchor) int {
			if d := shared[a] - shared[b]; d != 0 {
				return d
			}
			if d := len(b.text) - len(a.text); d != 0 {
				return d
			}
			return int(a.kind) - int(b.kind)
		})
		switch best.kind {
		case anchorWhole:
			x.whole[best.text] = append(x.whole[best.text], f.id)
			x.lengths.add(len(best.text))
		case anchorPrefix:
			prefix[best.text] = append(prefix[best.text], f.id)
		case anchorSuffix:
			key := reversed(best.text)
			suffix[key] = append(suffix[key], f.id)
		case anchorSegment:
			x.segment[best.text] = append(x.segment[best.text], f.id)
			x.segments.add(len(best.text))
		}
	}
	x.prefix, x.suffix = newChain(prefix), newChain(suffix)
	return x
}

// candidates adds the patterns that could match path to set, which is empty,
// and reports whether there are any.
func (x *index) candidates(set []uint64, path string) bool {
	found := x.hasNoKeys
	if found {
		copy(set, x.unkeyed)
	}
	add := func(ids []int) {
		for _, id := range ids {
			setBit(set, id)
		}
		found = found || len(ids) != 0
	}
	if path == "" {
		return found
	}
	if x.lengths.has(len(path)) {
		add(x.whole[path])
	}
	for i := x.prefix.longestPrefix(path); i >= 0; i = x.prefix.keys[i].parent {
		add(x.prefix.keys[i].ids)
	}
	for i := x.suffix.longestSuffix(path); i >= 0; i = x.suffix.keys[i].parent {
		add(x.suffix.keys[i].ids)
	}
	if x.segments != 0 {
		for rest, more := path, true; more; {
			var s string
			s, rest, more = strings.Cut(rest, "/")
			if x.segments.has(len(s)) {
				add(x.segment[s])
			}
		}
	}
	return found
}

// lengths is a set of lengths; those from 63 on are one member. Asking it saves
// most look-ups in a map.
type lengths uint64

func (l *lengths) add(n int)     { *l |= 1 << min(n, 63) }
func (l lengths) has(n int) bool { return l&(1<<min(n, 63)) != 0 }

// chain finds which of its keys a text begins with. The keys are sorted, so
// that all which text begins with are the greatest key not above text and the
// keys which that one begins with: parent leads from each key to the longest
// other key that it begins with.
type chain struct {
	keys  []chainKey
	first [257]int // keys[first[b]:first[b+1]] begin with the byte b
}

type chainKey struct {
	text   string
	parent int // -1 if there is none
	ids    []int
}

func newChain(m map[string][]int) chain {
	var c chain
	for text, ids := range m {
		c.keys = append(c.keys, chainKey{text, -1, ids})
	}
	slices.SortFunc(c.keys, func(a, b chainKey) int { return strings.Compare(a.text, b.text) })
	for i := range c.keys {
		p := i - 1
		for p >= 0 && !strings.HasPrefix(c.keys[i].text, c.keys[p].text) {
			p = c.keys[p].parent
		}
		c.keys[i].parent = p
		c.first[int(c.keys[i].text[0])+1]++
	}
	for b := range 256 {
		c.first[b+1] += c.first[b]
	}
	return c
}

// longestPrefix is the longest key that path, which is not empty, begins with,
// or -1.
func (c *chain) longestPrefix(path string) int {
	low, high := c.first[path[0]], c.first[int(path[0])+1]
	if low == high {
		return -1
	}
	from := low
	for low < high {
		mid := int(uint(low+high) / 2)
		if c.keys[mid].text <= path {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == from {
		return -1
	}
	i := low - 1
	for i >= 0 && !strings.HasPrefix(path, c.keys[i].text) {
		i = c.keys[i].parent
	}
	return i
}

// longestSuffix is longestPrefix for the reversed path.
func (c *chain) longestSuffix(path string) int {
	last := path[len(path)-1]
	low, high := c.first[last], c.first[int(last)+1]
	if low == high {
		return -1
	}
	from := low
	for low < high {
		mid := int(uint(low+high) / 2)
		if compareReversed(c.keys[mid].text, path) <= 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == from {
		return -1
	}
	i := low - 1
	for i >= 0 && !hasReversed(c.keys[i].text, path) {
		i = c.keys[i].parent
	}
	return i
}

// compareReversed compares key with the reversed path.
func compareReversed(key, path string) int {
	for i := range len(key) {
		j := len(path) - 1 - i
		if j < 0 {
			return 1
		}
		if key[i] != path[j] {
			return int(key[i]) - int(path[j])
		}
	}
	return len(key) - len(path)
}

// hasReversed reports whether the reversed path begins with key.
func hasReversed(key, path string) bool {
	if len(key) > len(path) {
		return false
	}
	for i := range len(key) {
		if key[i] != path[len(path)-1-i] {
			return false
		}
	}
	return true
}

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// run is a literal part of a pattern between two that are not.
type run struct {
	text string
	// first and last: the pattern begins, or ends, with the run.
	first, last bool
	// left and right: where the run begins, or ends, a segment begins or ends.
	left, right bool
}

// anchors lists the texts that each path matched by the pattern must have.
// Braces, if there still are some, count as something unknown.
func anchors(pattern string) []anchor {
	var list []anchor
	runs := literals(pattern)
	for _, r := range runs {
		if r.first && r.last {
			return []anchor{{anchorWhole, r.text}}
		}
		if r.first && r.text != "" {
			list = append(list, anchor{anchorPrefix, r.text})
		}
		if r.last && r.text != "" {
			list = append(list, anchor{anchorSuffix, r.text})
		}
		parts := strings.Split(r.text, "/")
		for i, s := range parts {
			if s != "" && (i > 0 || r.left) && (i < len(parts)-1 || r.right) {
				list = append(list, anchor{anchorSegment, s})
			}
		}
	}
	return list
}

// literals cuts a pattern into its runs. A slash beside "**" or a brace is no
// part of them, since the matcher does not demand it: "a/**" matches "a".
func literals(pattern string) []run {
	var runs []run
	cur := run{first: true, left: true}
	var text []byte
	trim := false // the run follows "**" or a brace
	end := func(r run, open bool) {
		t := string(text)
		if trim && strings.HasPrefix(t, "/") {
			t, r.left = t[1:], true
		}
		if open && strings.HasSuffix(t, "/") {
			t, r.right = t[:len(t)-1], true
		}
		r.text = t
		runs = append(runs, r)
		text = text[:0]
	}
	for i := 0; i < len(pattern); {
		switch pattern[i] {
		case '*':
			n := 1
			for i+n < len(pattern) && pattern[i+n] == '*' {
				n++
			}
			end(cur, n > 1)
			cur, trim = run{}, n > 1
			i += n
		case '?':
			end(cur, false)
			cur, trim = run{}, false
			i++
		case '[':
			end(cur, false)
			cur, trim = run{}, false
			i = classEnd(pattern, i)
		case '{':
			end(cur, true)
			cur, trim = run{}, true
			i = braceEnd(pattern, i)
		case '\\':
			text = append(text, pattern[i+1])
			i += 2
		default:
			text = append(text, pattern[i])
			i++
		}
	}
	cur.last, cur.right = true, true
	end(cur, false)
	return runs
}
