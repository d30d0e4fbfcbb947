package webhook

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Most of a body is links and people that nobody asks for. So a body is read in two
// steps: one pass over all of it, which holds it to be strict JSON and picks what an
// event's type asks for, and package json for what was picked. A test and a fuzz
// target hold the pass to package jsontext: it takes the same texts, and what it
// picks decodes to the same.

const (
	// maxDepth is how deep a body may nest; package jsontext has the same limit.
	maxDepth = 10_000
	// maxScratch is how many names a picker that is used again has room for.
	maxScratch = 4096
)

// shape says what of a value is read. A nil shape is nothing of it.
type shape struct {
	// members are those of an object that are read, and in a list those of every
	// object in it. Nil is the whole value.
	members map[string]*shape
}

// shapeOf is what json.Unmarshal looks at for a value of a type.
func shapeOf(t reflect.Type) *shape {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return &shape{}
	}
	s := &shape{members: map[string]*shape{}}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			for inner, x := range shapeOf(f.Type).members {
				s.members[inner] = x
			}
		} else if name != "" {
			s.members[name] = shapeOf(f.Type)
		}
	}
	if len(s.members) == 0 {
		return &shape{} // it reads itself
	}
	return s
}

// decoder reads bodies. It is safe for concurrent use.
type decoder struct {
	shapes  sync.Map  // of reflect.Type to *shape: one for each kind of event
	pickers sync.Pool // of *picker
}

// decode reads what v, a pointer, asks for. The error tells nothing of the body but
// where it is wrong.
func (d *decoder) decode(body []byte, v any) error {
	t := reflect.TypeOf(v)
	known, ok := d.shapes.Load(t)
	if !ok {
		known, _ = d.shapes.LoadOrStore(t, shapeOf(t))
	}
	p, ok := d.pickers.Get().(*picker)
	if !ok {
		p = &picker{seed: maphash.MakeSeed()}
	}
	defer func() {
		p.in = nil
		if cap(p.names) <= maxScratch && cap(p.unquoted) <= maxKept && cap(p.out) <= maxKept && len(p.table) <= 2*maxScratch {
			d.pickers.Put(p)
		}
	}()
	picked, err := p.pick(body, known.(*shape)) //nolint:errcheck,forcetypeassert // the map has nothing else
	if err != nil {
		return err
	}
	err = json.Unmarshal(picked, v)
	var semantic *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &semantic):
		return fmt.Errorf("an unexpected kind of value at %q", semantic.JSONPointer) // of names that v has, and indexes
	default:
		return errors.New("not JSON of this event")
	}
}

// picker is one pass over a body.
type picker struct {
	in, out []byte
	// names are those of all objects that are not at their end yet, outer ones first.
	names []name
	// unquoted are the names that have escapes, without them.
	unquoted []byte
	// table finds equal names of one object. A slot is in use if its turn is this one.
	table []slot
	turn  uint32
	seed  maphash.Seed
}

// name is where a name stands: in the body, or, beyond its end, in the names that
// had escapes.
type name struct{ from, to uint32 }

type slot struct{ turn, hash, name uint32 }

var (
	errTwice = errors.New("a name is there twice")
	errDeep  = errors.New("nested too deep")
)

func wrong(at int) error { return fmt.Errorf("not JSON at byte %d", at) }

// pick returns what a shape asks for of a body, which must be one JSON object: UTF-8,
// without a name that is there twice, at any depth. It is valid until the next call.
func (p *picker) pick(body []byte, want *shape) ([]byte, error) {
	p.in, p.out, p.names, p.unquoted = body, p.out[:0], p.names[:0], p.unquoted[:0]
	i := p.space(0)
	if p.at(i) != '{' {
		return nil, errors.New("not a JSON object")
	}
	i, err := p.value(i, want, 1)
	if err != nil {
		return nil, err
	}
	if i = p.space(i); i < len(body) {
		return nil, wrong(i)
	}
	return p.out, nil
}

// at is the byte at i, and 0, which is nowhere right, at the end.
func (p *picker) at(i int) byte {
	if i < len(p.in) {
		return p.in[i]
	}
	return 0
}

func (p *picker) space(i int) int {
	for i < len(p.in) && p.in[i] <= ' ' && (p.in[i] == ' ' || p.in[i] == '\n' || p.in[i] == '\r' || p.in[i] == '\t') {
		i++
	}
	return i
}

// value reads the value that begins at i and returns where it ends.
func (p *picker) value(i int, want *shape, depth int) (end int, err error) {
	inner := want
	if want != nil && want.members == nil {
		inner = nil // copied as a whole
	}
	switch c := p.at(i); c {
	case '{':
		end, err = p.object(i, inner, depth)
	case '[':
		end, err = p.list(i, inner, depth)
	case '"':
		inner = nil
		end, _, err = p.text(i)
	case 't':
		inner = nil
		end, err = p.word(i, "true")
	case 'f':
		inner = nil
		end, err = p.word(i, "false")
	case 'n':
		inner = nil
		end, err = p.word(i, "null")
	default:
		inner = nil
		end, err = p.number(i)
	}
	if want != nil && inner == nil && err == nil {
		p.out = append(p.out, p.in[i:end]...)
	}
	return end, err
}

func (p *picker) object(i int, want *shape, depth int) (int, error) {
	if depth > maxDepth {
		return 0, errDeep
	}
	first := len(p.names)
	if want != nil {
		p.out = append(p.out, '{')
	}
	i = p.space(i + 1)
	for more := p.at(i) != '}'; more; {
		if p.at(i) != '"' {
			return 0, wrong(i)
		}
		end, plain, err := p.text(i)
		if err != nil {
			return 0, err
		}
		n := name{uint32(i) + 1, uint32(end) - 1} //nolint:gosec // a body is smaller than MaxBody
		if !plain {
			if n, err = p.unquote(i, end); err != nil {
				return 0, err
			}
		}
		p.names = append(p.names, n)
		var inner *shape
		if want != nil {
			if inner = want.members[string(p.bytes(n))]; inner != nil {
				if p.out[len(p.out)-1] != '{' {
					p.out = append(p.out, ',')
				}
				p.out = append(append(p.out, p.in[i:end]...), ':')
			}
		}
		if i = p.space(end); p.at(i) != ':' {
			return 0, wrong(i)
		}
		if i, err = p.value(p.space(i+1), inner, depth+1); err != nil {
			return 0, err
		}
		i = p.space(i)
		switch p.at(i) {
		case ',':
			i = p.space(i + 1)
		case '}':
			more = false
		default:
			return 0, wrong(i)
		}
	}
	if p.twice(p.names[first:]) {
		return 0, fmt.Errorf("%w in the object that ends at byte %d", errTwice, i)
	}
	p.names = p.names[:first]
	if want != nil {
		p.out = append(p.out, '}')
	}
	return i + 1, nil
}

func (p *picker) list(i int, want *shape, depth int) (int, error) {
	if depth > maxDepth {
		return 0, errDeep
	}
	if want != nil {
		p.out = append(p.out, '[')
	}
	i = p.space(i + 1)
	for more := p.at(i) != ']'; more; {
		var err error
		if i, err = p.value(i, want, depth+1); err != nil {
			return 0, err
		}
		i = p.space(i)
		switch p.at(i) {
		case ',':
			i = p.space(i + 1)
			if want != nil {
				p.out = append(p.out, ',')
			}
		case ']':
			more = false
		default:
			return 0, wrong(i)
		}
	}
	if want != nil {
		p.out = append(p.out, ']')
	}
	return i + 1, nil
}

func (p *picker) word(i int, want string) (int, error) {
	if len(p.in)-i < len(want) || string(p.in[i:i+len(want)]) != want {
		return 0, wrong(i)
	}
	return i + len(want), nil
}

func (p *picker) number(i int) (int, error) {
	from := i
	if p.at(i) == '-' {
		i++
	}
	digits := func() bool {
		from := i
		for p.at(i)-'0' <= 9 {
			i++
		}
		return i > from
	}
	if p.at(i) == '0' {
		i++
	} else if !digits() {
		return 0, wrong(from)
	}
	if p.at(i) == '.' {
		if i++; !digits() {
			return 0, wrong(from)
		}
	}
	if p.at(i)|0x20 == 'e' {
		if i++; p.at(i) == '+' || p.at(i) == '-' {
			i++
		}
		if !digits() {
			return 0, wrong(from)
		}
	}
	return i, nil
}

// text reads the string that begins at i and returns where it ends. Plain is one
// without escapes.
func (p *picker) text(i int) (end int, plain bool, err error) {
	in := p.in
	plain = true
	for i++; ; {
		// Eight bytes at a time as long as there is nothing but ASCII text in them.
		for len(in)-i >= 8 {
			if odd := notText(binary.LittleEndian.Uint64(in[i:])); odd != 0 {
				i += bits.TrailingZeros64(odd) / 8
				break
			}
			i += 8
		}
		switch c := p.at(i); {
		case c == '"':
			return i + 1, plain, nil
		case c == '\\':
			n := escape(in[i:])
			if n == 0 {
				return 0, false, wrong(i)
			}
			plain = false
			i += n
		case c < ' ': // the end of the body too
			return 0, false, wrong(i)
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(in[i:])
			if r == utf8.RuneError && n == 1 {
				return 0, false, wrong(i)
			}
			i += n
		}
	}
}

// notText has the highest bit of a byte set where that byte of w is a quote, a
// backslash, a control character or no ASCII, and perhaps of bytes after the first
// such one: a borrow goes upwards only.
func notText(w uint64) uint64 {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	zero := func(x uint64) uint64 { return (x - ones) &^ x }
	return (w | zero(w^'"'*ones) | zero(w^'\\'*ones) | (w-' '*ones)&^w) & high
}

// escape is how long the escape is that s begins with, both halves of a surrogate
// pair together; 0 if it is none.
func escape(s []byte) int {
	if len(s) < 2 {
		return 0
	}
	if s[1] != 'u' {
		if strings.IndexByte(`"\/bfnrt`, s[1]) < 0 {
			return 0
		}
		return 2
	}
	unit, ok := hex4(s)
	switch {
	case !ok, unit >= 0xdc00 && unit < 0xe000:
		return 0
	case unit < 0xd800 || unit >= 0xe000:
		return 6
	}
	low, ok := hex4(s[6:])
	if !ok || low < 0xdc00 || low >= 0xe000 {
		return 0
	}
	return 12
}

// hex4 reads \uXXXX.
func hex4(s []byte) (unit uint32, ok bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	for _, c := range s[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		unit = unit<<4 | uint32(c)
	}
	return unit, true
}

// unquote keeps a name without its escapes: the same name may be spelled twice.
func (p *picker) unquote(i, end int) (name, error) {
	from := len(p.unquoted)
	var err error
	if p.unquoted, err = jsontext.AppendUnquote(p.unquoted, p.in[i:end]); err != nil {
		return name{}, wrong(i)
	}
	return name{uint32(len(p.in) + from), uint32(len(p.in) + len(p.unquoted))}, nil //nolint:gosec // at most twice MaxBody
}

func (p *picker) bytes(n name) []byte {
	if end := uint32(len(p.in)); n.from >= end { //nolint:gosec // a body is smaller than MaxBody
		return p.unquoted[n.from-end : n.to-end]
	}
	return p.in[n.from:n.to]
}

// twice reports whether two names are the same.
func (p *picker) twice(names []name) bool {
	if len(names) <= 8 {
		for i, a := range names {
			for _, b := range names[:i] {
				if a.to-a.from == b.to-b.from && bytes.Equal(p.bytes(a), p.bytes(b)) {
					return true
				}
			}
		}
		return false
	}
	size := 1 << bits.Len(uint(2*len(names)))
	if len(p.table) < size {
		p.table, p.turn = make([]slot, size), 0
	}
	if p.turn++; p.turn == 0 {
		clear(p.table)
		p.turn = 1
	}
	for i, n := range names {
		text := p.bytes(n)
		h := maphash.Bytes(p.seed, text)
		at, hash := int(h&math.MaxInt)&(size-1), uint32(h>>32)
		for ; p.table[at].turn == p.turn; at = (at + 1) & (size - 1) {
			if p.table[at].hash == hash && bytes.Equal(p.bytes(names[p.table[at].name]), text) {
				return true
			}
		}
		p.table[at] = slot{p.turn, hash, uint32(i)}
	}
	return false
}
