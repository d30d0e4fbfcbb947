package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/agnivade/levenshtein"
	"gopkg.in/yaml.v3"
)

// This file is the one strict decoder of policies and targets: YAML nodes into
// the types, driven by their yaml and jsonschema tags, so that what is accepted
// and what the published schema says come from one declaration. Unlike yaml.v3's
// own it converts nothing, follows no alias, and keeps where each field stands.

// decode parses the file into into, a pointer to a struct, and reports whether
// it is free of errors.
func (f *file) decode(into any) bool {
	if !f.readText() {
		return false
	}
	root := f.parse()
	if root == nil || !f.plain(root, 1) {
		return false
	}
	at := place{root.Line, root.Column}
	f.marks[""] = mark{at, at}
	f.value(root, reflect.ValueOf(into).Elem(), "", fieldTag{name: "file"})
	return !f.failed()
}

// parse reads exactly one document and returns its root, or nil after a problem.
func (f *file) parse() *yaml.Node {
	d := yaml.NewDecoder(bytes.NewReader(f.data))
	var doc yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		f.errorf(place{1, 1}, "", "the file is empty")
		return nil
	case err != nil:
		f.syntax(err)
		return nil
	}
	var more yaml.Node
	switch err := d.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		f.syntax(err)
		return nil
	default:
		f.errorf(place{more.Line, more.Column}, "", "a second document: the file holds one only")
		return nil
	}
	if len(doc.Content) != 1 {
		f.errorf(place{1, 1}, "", "the file is empty")
		return nil
	}
	if root := doc.Content[0]; root.Kind != yaml.ScalarNode || root.ShortTag() != "!!null" || root.Value != "" {
		return root
	}
	f.errorf(place{1, 1}, "", "the file is empty")
	return nil
}

// yamlError matches the two forms of a yaml.v3 error: with a line and without.
// The package has no typed error for what the parser found.
const yamlError = `^yaml: (?:line (\d+): )?(.*)$`

// syntax turns yaml.v3's error into a problem. What people most often write is
// recognised in the text itself, because there the parser's words do not help.
func (f *file) syntax(err error) {
	line, message := 0, err.Error()
	if m := regexp.MustCompile(yamlError).FindStringSubmatch(message); m != nil {
		message = m[2]
		line, _ = strconv.Atoi(m[1])
	}
	// yaml.v3 counts from 0 where its parser complains and from 1 where its
	// scanner does, and leaves out a 0.
	if strings.HasPrefix(message, "did not find expected") && !strings.Contains(message, "alphabetic") && !strings.Contains(message, "whitespace") {
		line++
	}
	line = max(line, 1)

	anchor := ""
	if m := regexp.MustCompile(`^unknown anchor '(.*)' referenced$`).FindStringSubmatch(message); m != nil {
		anchor = "*" + m[1]
	}
	if at, token := f.findIndicator(anchor); token != "" {
		f.indicator(at, token)
		return
	}
	switch {
	case strings.Contains(message, "exceeded max depth"):
		message = fmt.Sprintf("lists and mappings stand more than %d deep inside each other", MaxPolicyDepth)
		f.errorf(place{line, 1}, "", "%s", message)
		return
	case message == "mapping values are not allowed in this context":
		message = "a key and a value stand where none can be: check the indentation, and quote text that holds \": \""
	case message == "could not find expected ':'":
		message = "a key without \":\""
	case strings.HasPrefix(message, "did not find expected ',' or"):
		message = "the list or mapping that begins here is not closed, or lacks a comma"
	case message == "found unexpected end of stream":
		message = "the quoted text that begins here is not closed"
	case message == "did not find expected key":
		message = "the mapping that begins here goes on with something that is no key: check the indentation"
	case message == "did not find expected '-' indicator":
		message = "the list that begins here goes on with something that is no entry: check the indentation"
	}
	column := 1
	if line <= len(f.lines) {
		for _, r := range f.lines[line-1] {
			if r != ' ' {
				break
			}
			column++
		}
	}
	f.errorf(place{line, column}, "", "not valid YAML: %s", strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, message))
}

// indicator reports text that YAML takes for something else because of its first
// character.
func (f *file) indicator(at place, token string) {
	var message string
	hint := "put it in quotes: '" + token + "'"
	if strings.Contains(token, "'") {
		hint = "put it in quotes"
	}
	switch {
	case token[0] == '*':
		message = fmt.Sprintf(`YAML takes %s for an alias because of its "*", and this file has none`, quote(token))
	case token[0] == '&':
		message = fmt.Sprintf(`YAML takes %s for an anchor because of its "&", and this file has none`, quote(token))
		hint = "write out what it stands for at each place"
	case strings.HasPrefix(token, "!!"):
		message = fmt.Sprintf("YAML takes %s for a tag, and this file has none", quote(token))
		hint = "leave it out"
	case token[0] == '!':
		message = fmt.Sprintf(`YAML takes %s for a tag because of its "!", and this file has none`, quote(token))
	default:
		message = fmt.Sprintf("%s begins with %q, which YAML reserves", quote(token), token[:1])
	}
	f.add(at, SeverityError, "", hint, message)
}

// findIndicator finds the first unquoted text that begins with a character YAML
// reserves; with want, only that text.
func (f *file) findIndicator(want string) (place, string) {
	for i, line := range f.lines {
		runes := []rune(line)
		start := true // whether a value may begin here
		for j := 0; j < len(runes); j++ {
			r := runes[j]
			switch {
			case r == ' ':
				continue
			case r == '#' && (j == 0 || runes[j-1] == ' '):
				j = len(runes)
				continue
			case start && (r == '"' || r == '\''):
				end := slices.Index(runes[j+1:], r)
				if end < 0 {
					j = len(runes)
				} else {
					j += end + 1
				}
				start = false
				continue
			case start && strings.ContainsRune("*&!@`%", r):
				end := j
				for end < len(runes) && !strings.ContainsRune(" \t,]}", runes[end]) {
					end++
				}
				token := string(runes[j:end])
				if want == "" || token == want {
					return place{i + 1, j + 1}, token
				}
			}
			start = strings.ContainsRune("[{,", r) || (r == '-' && start || r == ':') && j+1 < len(runes) && runes[j+1] == ' '
		}
	}
	return place{}, ""
}

// plain refuses what makes a YAML file more than text, lists and mappings, at its
// own place, before anything is decoded.
func (f *file) plain(n *yaml.Node, depth int) bool {
	at := place{n.Line, n.Column}
	switch {
	case depth > MaxPolicyDepth:
		f.errorf(at, "", "lists and mappings stand more than %d deep inside each other", MaxPolicyDepth)
		return false
	case n.Kind == yaml.AliasNode:
		f.indicator(at, "*"+n.Value)
		return false
	case n.Anchor != "":
		f.indicator(at, "&"+n.Anchor)
		return false
	case n.Style&yaml.TaggedStyle != 0, f.charAt(at) == '!':
		if token := f.tokenAt(at); strings.HasPrefix(token, "!") {
			f.indicator(at, token)
		} else {
			f.errorf(at, "", "a YAML tag: this file has none")
		}
		return false
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!merge":
		f.errorf(at, "", `a merge key "<<": this file has none, write the keys out`)
		return false
	}
	for _, c := range n.Content {
		if !f.plain(c, depth+1) {
			return false
		}
	}
	return true
}

// tokenAt is the text from a place to the next blank or separator.
func (f *file) tokenAt(at place) string {
	runes := f.runes(at.line)
	start := min(max(at.column-1, 0), len(runes))
	end := start
	for end < len(runes) && !strings.ContainsRune(" \t,]}", runes[end]) {
		end++
	}
	return string(runes[start:end])
}

// charAt is the character at a place, 0 where there is none.
func (f *file) charAt(at place) rune {
	if runes := f.runes(at.line); at.column >= 1 && at.column <= len(runes) {
		return runes[at.column-1]
	}
	return 0
}

// runes is a line as characters. The last one is kept, because a file may be one
// long line that is asked for again and again.
func (f *file) runes(line int) []rune {
	if line < 1 || line > len(f.lines) {
		return nil
	}
	if f.runesLine != line {
		f.runesLine, f.runesOf = line, []rune(f.lines[line-1])
	}
	return f.runesOf
}

// fieldTag is what a field's tags say of it.
type fieldTag struct {
	name     string
	required bool
	enum     []string
	min, max int // 0 means none
}

// structFields reads the tags of a struct type. The jsonschema tag is the one
// that the published schema is made from.
func structFields(t reflect.Type) []fieldTag {
	fields := make([]fieldTag, t.NumField())
	for i := range fields {
		sf := t.Field(i)
		if !sf.IsExported() {
			continue
		}
		fields[i].name = sf.Tag.Get("yaml")
		for part := range strings.SplitSeq(sf.Tag.Get("jsonschema"), ",") {
			key, val, _ := strings.Cut(part, "=")
			switch key {
			case "required":
				fields[i].required = true
			case "enum":
				fields[i].enum = append(fields[i].enum, val)
			case "minimum":
				fields[i].min, _ = strconv.Atoi(val)
			case "maximum":
				fields[i].max, _ = strconv.Atoi(val)
			}
		}
	}
	return fields
}

// child and entry make the path of a field. Keys that are not plain are quoted,
// so that no two fields have one path.
func child(field, key string) string {
	for _, r := range key {
		if r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return field + "[" + strconv.Quote(key) + "]"
		}
	}
	if field == "" {
		return key
	}
	return field + "." + key
}

func entry(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// value decodes a node into v.
func (f *file) value(n *yaml.Node, v reflect.Value, field string, tag fieldTag) {
	at := place{n.Line, n.Column}
	if _, ok := f.marks[field]; !ok {
		f.marks[field] = mark{at, at}
	}
	t := v.Type()
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		f.empty(at, field, t, tag)
		return
	}
	switch {
	case t == reflect.TypeFor[CheckName]() && n.Kind == yaml.ScalarNode:
		f.value(n, v.FieldByName("Name"), field, tag)
		return
	case t == reflect.TypeFor[Duration]():
		f.duration(n, v, field)
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		if t.Elem().Kind() != reflect.Struct && n.Kind != yaml.ScalarNode {
			f.mismatch(n, field, t)
			return
		}
		v.Set(reflect.New(t.Elem()))
		f.value(n, v.Elem(), field, tag)
	case reflect.Struct:
		f.object(n, v, field, tag)
	case reflect.Map:
		f.mapping(n, v, field, tag)
	case reflect.Slice:
		f.list(n, v, field, tag)
	case reflect.String:
		s, ok := f.text(n, field, t)
		if !ok {
			return
		}
		if len(tag.enum) > 0 && !slices.Contains(tag.enum, s) {
			f.errorf(at, field, "unknown value %s for %q: %s", quote(s), tag.name, wanted(s, tag.enum))
			return
		}
		if err := checkText(t, s); err != nil {
			f.errorf(at, field, "%s", err)
			return
		}
		v.SetString(s)
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Value != "true" && n.Value != "false" {
			f.mismatch(n, field, t)
			return
		}
		v.SetBool(n.Value == "true")
	case reflect.Int, reflect.Int64:
		f.number(n, v, field, tag)
	default:
		panic("rules: no decoder for " + t.String())
	}
}

// empty reports a key that has no value.
func (f *file) empty(at place, field string, t reflect.Type, tag fieldTag) {
	switch {
	case t == reflect.TypeFor[*Environment]():
		f.add(f.mark(field).key, SeverityError, field, "gate: human", fmt.Sprintf("environment %s says nothing: give it a gate", quote(tag.name)))
	case at == f.mark(field).key:
		f.errorf(at, field, "an entry that says nothing: want %s", describe(t))
	default:
		f.errorf(f.mark(field).key, field, "%s says nothing: give it a value or leave the key out", quote(tag.name))
	}
}

// text is a scalar that is text beyond doubt, for this reader and any other.
func (f *file) text(n *yaml.Node, field string, t reflect.Type) (string, bool) {
	at := place{n.Line, n.Column}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		f.mismatch(n, field, t)
		return "", false
	}
	s := n.Value
	plain := n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch {
	case s == "":
		f.errorf(at, field, "an empty text")
	case len(s) > MaxTextBytes:
		f.errorf(at, field, "a text of %d bytes: at most %d", len(s), MaxTextBytes)
	case plain && switchWord(s):
		f.errorf(at, field, `%s without quotes is true or false to many YAML readers: write "%s"`, s, s)
	case strings.TrimSpace(s) != s:
		f.errorf(at, field, "%s has blanks around it", quote(s))
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unsafeFormat(r) || r == unicode.ReplacementChar }):
		f.errorf(at, field, "%s has a line break or an invisible character in it", quote(s))
	default:
		return s, true
	}
	return "", false
}

// switchWord reports whether YAML 1.1 reads a plain word as true or false.
func switchWord(s string) bool {
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off":
		return true
	}
	return false
}

func (f *file) number(n *yaml.Node, v reflect.Value, field string, tag fieldTag) {
	at := place{n.Line, n.Column}
	i, err := strconv.ParseInt(n.Value, 10, 64)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil || strconv.FormatInt(i, 10) != n.Value {
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" {
			f.errorf(at, field, "want a plain number, found %s", quote(n.Value))
			return
		}
		f.mismatch(n, field, v.Type())
		return
	}
	switch {
	case len(tag.enum) > 0 && !slices.Contains(tag.enum, n.Value):
		f.errorf(at, field, "%s %d is not known: want %s", tag.name, i, strings.Join(tag.enum, " or "))
	case tag.min != 0 && i < int64(tag.min), tag.max != 0 && i > int64(tag.max):
		f.errorf(at, field, "%s is %d: want %d to %d", quote(tag.name), i, tag.min, tag.max)
	case v.Type() == reflect.TypeFor[RepositoryID]() && i <= 0:
		f.errorf(at, field, "%d is no repository id: want GitHub's number, which is above 0", i)
	default:
		v.SetInt(i)
	}
}

func (f *file) duration(n *yaml.Node, v reflect.Value, field string) {
	at := place{n.Line, n.Column}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		f.mismatch(n, field, v.Type())
		return
	}
	d, err := time.ParseDuration(n.Value)
	switch {
	case err != nil:
		f.errorf(at, field, "%s is no length of time: write one like 24h, 90m or 30s", quote(n.Value))
	case d <= 0:
		f.errorf(at, field, "%s is not longer than nothing: write a length of time like 24h, 90m or 30s", quote(n.Value))
	case d < time.Second:
		f.errorf(at, field, "%s is shorter than a second: write a length of time like 24h, 90m or 30s", quote(n.Value))
	default:
		v.SetInt(int64(d))
	}
}

func (f *file) list(n *yaml.Node, v reflect.Value, field string, tag fieldTag) {
	at := place{n.Line, n.Column}
	t := v.Type()
	if n.Kind != yaml.SequenceNode {
		f.mismatch(n, field, t)
		return
	}
	limit := MaxEntries
	if t.Elem() == reflect.TypeFor[Reviewer]() {
		limit = MaxReviewers
	}
	switch {
	case len(n.Content) == 0:
		f.errorf(f.mark(field).key, field, "%s is an empty list: name at least one entry or leave the key out", quote(tag.name))
		return
	case len(n.Content) > limit:
		f.errorf(at, field, "%s has %d entries: at most %d", quote(tag.name), len(n.Content), limit)
		return
	}
	out := reflect.MakeSlice(t, len(n.Content), len(n.Content))
	seen := make(map[any]int, len(n.Content))
	for i, c := range n.Content {
		before := f.errors
		f.value(c, out.Index(i), entry(field, i), tag)
		if f.errors > before {
			continue
		}
		if !t.Elem().Comparable() {
			continue
		}
		key := out.Index(i).Interface()
		if s := out.Index(i); s.Kind() == reflect.String && foldedEntries(t.Elem(), tag.name) {
			key = strings.ToLower(s.String())
		}
		if first, ok := seen[key]; ok {
			f.errorf(place{c.Line, c.Column}, entry(field, i), "%s is listed twice: first on line %d", quote(show(out.Index(i))), n.Content[first].Line)
			continue
		}
		seen[key] = i
	}
	v.Set(out)
}

// foldedEntries reports whether a list's entries are names that GitHub compares
// without regard to case.
func foldedEntries(elem reflect.Type, name string) bool {
	switch elem {
	case reflect.TypeFor[Reviewer](), reflect.TypeFor[Login]():
		return true
	}
	return name == "deployments" || name == "environments"
}

func show(v reflect.Value) string {
	if c, ok := v.Interface().(CheckName); ok {
		return c.Name
	}
	return fmt.Sprint(v.Interface())
}

// keys reads the keys of a mapping node, reports those that are no text or stand
// there twice, and calls do for each of the others. With fold, keys that differ
// only by case are the same.
func (f *file) keys(n *yaml.Node, field string, fold bool, do func(key string, k, v *yaml.Node)) {
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		s, ok := f.text(k, field, reflect.TypeFor[string]())
		if !ok {
			continue
		}
		id := s
		if fold {
			id = strings.ToLower(s)
		}
		if first := seen[id]; first != nil {
			same := ""
			if first.Value != s {
				same = fmt.Sprintf(" (as %s, and case makes no difference)", quote(first.Value))
			}
			f.errorf(place{k.Line, k.Column}, child(field, s), "duplicate key %s: first on line %d%s", quote(s), first.Line, same)
			continue
		}
		seen[id] = k
		do(s, k, v)
	}
}

func (f *file) object(n *yaml.Node, v reflect.Value, field string, tag fieldTag) {
	t := v.Type()
	if n.Kind != yaml.MappingNode {
		f.mismatch(n, field, t)
		return
	}
	fields := structFields(t)
	var known []string
	for _, ft := range fields {
		if ft.name != "" {
			known = append(known, ft.name)
		}
	}
	if len(n.Content) == 0 {
		f.empty(place{n.Line, n.Column}, field, reflect.PointerTo(t), tag)
		return
	}
	before := f.errors
	given := map[string]bool{}
	f.keys(n, field, false, func(key string, k, c *yaml.Node) {
		i := slices.IndexFunc(fields, func(ft fieldTag) bool { return ft.name == key && key != "" })
		path := child(field, key)
		f.marks[path] = mark{place{k.Line, k.Column}, place{c.Line, c.Column}}
		if i < 0 {
			if !f.full() {
				f.errorf(place{k.Line, k.Column}, path, "unknown key %s: %s", quote(key), wanted(key, known))
			} else {
				f.errors++
				f.dropped = true
			}
			return
		}
		given[key] = true
		f.value(c, v.Field(i), path, fields[i])
	})
	if f.errors > before && f.misspelt(n, known) {
		// The missing key is probably there under another spelling.
		return
	}
	for _, ft := range fields {
		if !ft.required || given[ft.name] {
			continue
		}
		what := fmt.Sprintf("the key %q is missing", ft.name)
		if field != "" {
			what = fmt.Sprintf("%s lacks the key %q", quote(last(field)), ft.name)
		}
		switch {
		case t == reflect.TypeFor[Environment]():
			f.add(f.mark(field).key, SeverityError, field, "gate: human", fmt.Sprintf("environment %s has no gate: human holds for a reviewer, auto lets agents' changes in", quote(tag.name)))
		case len(ft.enum) > 0:
			f.errorf(f.mark(field).key, field, "%s: write %s: %s", what, ft.name, strings.Join(ft.enum, " or "))
		default:
			f.errorf(f.mark(field).key, field, "%s", what)
		}
	}
}

// misspelt reports whether a mapping has a key that is none of known.
func (f *file) misspelt(n *yaml.Node, known []string) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !slices.Contains(known, n.Content[i].Value) {
			return true
		}
	}
	return false
}

// last is the last key of a field path, for messages.
func last(field string) string {
	if rest, ok := strings.CutSuffix(field, `"]`); ok {
		if i := strings.LastIndex(rest, `["`); i >= 0 {
			if s, err := strconv.Unquote(field[i+1 : len(field)-1]); err == nil {
				return s
			}
		}
	}
	return field[strings.LastIndexByte(field, '.')+1:]
}

func (f *file) mapping(n *yaml.Node, v reflect.Value, field string, tag fieldTag) {
	t := v.Type()
	if n.Kind != yaml.MappingNode {
		f.mismatch(n, field, t)
		return
	}
	limit := MaxEntries
	switch t.Elem() {
	case reflect.TypeFor[*Environment]():
		limit = MaxEnvironments
	case reflect.TypeFor[*Credential]():
		limit = MaxCredentials
	}
	switch size := len(n.Content) / 2; {
	case size == 0:
		f.errorf(f.mark(field).key, field, "%s is empty: name at least one entry or leave the key out", quote(tag.name))
		return
	case size > limit:
		f.errorf(place{n.Line, n.Column}, field, "%s has %d entries: at most %d", quote(tag.name), size, limit)
		return
	}
	out := reflect.MakeMapWithSize(t, len(n.Content)/2)
	// Names of things are the same in any case; patterns are not.
	fold := t.Elem().Kind() == reflect.Pointer
	f.keys(n, field, fold, func(key string, k, c *yaml.Node) {
		path := child(field, key)
		f.marks[path] = mark{place{k.Line, k.Column}, place{c.Line, c.Column}}
		inner := fieldTag{name: key}
		if len(tag.enum) > 0 && !slices.Contains(tag.enum, key) {
			f.errorf(place{k.Line, k.Column}, path, "unknown key %s: %s", quote(key), wanted(key, tag.enum))
			return
		}
		e := reflect.New(t.Elem()).Elem()
		f.value(c, e, path, inner)
		out.SetMapIndex(reflect.ValueOf(key).Convert(t.Key()), e)
	})
	v.Set(out)
}

// mismatch reports a value of the wrong type.
func (f *file) mismatch(n *yaml.Node, field string, t reflect.Type) {
	at := place{n.Line, n.Column}
	message := fmt.Sprintf("want %s, found %s", describe(t), found(n))
	hint := ""
	if n.Kind == yaml.ScalarNode {
		switch tag := n.ShortTag(); {
		case t.Kind() == reflect.String && tag != "!!str" && tag != "!!binary":
			hint = `put it in quotes: "` + n.Value + `"`
		case t.Kind() == reflect.Slice && t != reflect.TypeFor[[]CheckName]() && tag == "!!str" && len(n.Value) < 80:
			hint = "write a list: [" + flow(n) + "]"
		case (t.Kind() == reflect.Int || t.Kind() == reflect.Int64) && tag == "!!str" && t != reflect.TypeFor[Duration]():
			if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
				hint = fmt.Sprintf("leave the quotes out: %d", i)
			}
		case t.Kind() == reflect.Bool && switchWord(n.Value):
			hint = "write true or false"
		}
	}
	if strings.ContainsFunc(hint, unicode.IsControl) {
		hint = ""
	}
	f.add(at, SeverityError, field, hint, message)
}

// flow is a scalar as it would stand in a list.
func flow(n *yaml.Node) string {
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 || strings.ContainsAny(n.Value, ",[]{}#&*!|>'\"%@`") {
		return strconv.Quote(n.Value)
	}
	return n.Value
}

// describe says in people's words what a type takes.
func describe(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[CheckName]():
		return "a check's name or {name, app}"
	case reflect.TypeFor[[]CheckName]():
		return "a list of checks"
	case reflect.TypeFor[Duration]():
		return "a length of time like 24h, 90m or 30s"
	case reflect.TypeFor[RepositoryID]():
		return "a repository's id (a number)"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return describe(t.Elem())
	case reflect.Struct, reflect.Map:
		return "a mapping (keys and values)"
	case reflect.Slice:
		switch t.Elem().Kind() {
		case reflect.String:
			return "a list of text"
		case reflect.Int64:
			return "a list of numbers"
		default:
			return "a list of mappings"
		}
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	default:
		return "text"
	}
}

// found says in people's words what stands there.
func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping (keys and values)"
	case yaml.SequenceNode:
		return "a list"
	default:
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "the number " + quote(n.Value)
	case "!!bool":
		return n.Value
	case "!!timestamp":
		return "the date " + quote(n.Value)
	case "!!null":
		return "nothing"
	default:
		return "the text " + quote(n.Value)
	}
}

// wanted is the nearest known spelling, or all of them.
func wanted(got string, known []string) string {
	if s := nearest(got, known); s != "" {
		return "did you mean " + quote(s) + "?"
	}
	const most = 30
	list := slices.Sorted(slices.Values(known))
	if len(list) > most {
		return fmt.Sprintf("there are %d names, and none is like it", len(list))
	}
	for i, s := range list {
		list[i] = quote(s)
	}
	return "want " + strings.Join(list, ", ")
}

// nearest is the known text that got was probably meant to be, or "". Of two
// equally near it is the first in sorted order.
func nearest(got string, known []string) string {
	if len(got) > 100 {
		return ""
	}
	norm := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	best, distance := "", 0
	for _, k := range known {
		if len(k) > 100 {
			continue
		}
		d := levenshtein.ComputeDistance(norm(got), norm(k))
		if d == 2 && sameLetters(norm(got), norm(k)) {
			d = 1 // two letters changed places
		}
		if d > max(1, min(len(k), len(got))/3) {
			continue
		}
		if best == "" || d < distance || d == distance && k < best {
			best, distance = k, d
		}
	}
	return best
}

func sameLetters(a, b string) bool {
	x, y := []rune(a), []rune(b)
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}
