package statements

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// node is a value of the parser's tree: an object's member (with its key), an
// element of an array, or the whole. The parser leaves out what is zero, so an
// absent node is an ordinary one: nil has no text and nothing below it.
type node struct {
	key  string
	text string // of a string, a number, true
	kids []*node
}

// readTree reads JSON of the parser, whose depth jsontext limits to 10,000.
func readTree(text string) (*node, error) {
	d := jsontext.NewDecoder(strings.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	n, err := readNode(d, "")
	if err != nil {
		return nil, fmt.Errorf("reading the parser's tree: %w", err)
	}
	return n, nil
}

func readNode(d *jsontext.Decoder, key string) (*node, error) {
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	n := &node{key: key}
	opens := t.Kind()
	if opens != jsontext.KindBeginObject && opens != jsontext.KindBeginArray {
		n.text = t.String()
		return n, nil
	}
	for d.PeekKind() != jsontext.KindEndObject && d.PeekKind() != jsontext.KindEndArray {
		key := ""
		if opens == jsontext.KindBeginObject {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			key = name.String()
		}
		kid, err := readNode(d, key)
		if err != nil {
			return nil, err
		}
		n.kids = append(n.kids, kid)
	}
	_, err = d.ReadToken()
	return n, err
}

// at follows keys down; nil if one is absent.
func (n *node) at(keys ...string) *node {
	for _, key := range keys {
		if n == nil {
			return nil
		}
		var next *node
		for _, kid := range n.kids {
			if kid.key == key {
				next = kid
				break
			}
		}
		n = next
	}
	return n
}

// is reports whether a flag below is true.
func (n *node) is(keys ...string) bool { return n.at(keys...).string() == "true" }

func (n *node) string() string {
	if n == nil {
		return ""
	}
	return n.text
}

func (n *node) list() []*node {
	if n == nil {
		return nil
	}
	return n.kids
}

// has reports whether a member of that name is anywhere below.
func (n *node) has(key string) bool {
	for _, kid := range n.list() {
		if kid.key == key || kid.has(key) {
			return true
		}
	}
	return false
}

// same reports whether two trees are equal but for their places in the text.
func (n *node) same(m *node) bool {
	if n == nil || m == nil {
		return n == m
	}
	if n.text != m.text || len(n.kids) != len(m.kids) {
		return false
	}
	for i, kid := range n.kids {
		if kid.key != m.kids[i].key || kid.key != "location" && !kid.same(m.kids[i]) {
			return false
		}
	}
	return true
}

// name is the name of whatever a statement speaks of: a table, a type, a function,
// a role, a list of the parts of a name.
func (n *node) name() string {
	if n == nil {
		return ""
	}
	if n.text != "" {
		return n.text
	}
	for _, one := range []string{"RangeVar", "TypeName", "RoleSpec", "ObjectWithArgs", "AccessPriv", "String", "List"} {
		if n.at(one) != nil {
			return n.at(one).name()
		}
	}
	for _, one := range []string{"sval", "rolename", "priv_name", "names", "objname", "items"} {
		if n.at(one) != nil {
			return n.at(one).name()
		}
	}
	var parts []string
	if n.at("relname") != nil {
		for _, one := range []string{"catalogname", "schemaname", "relname"} {
			if part := n.at(one).string(); part != "" {
				parts = append(parts, part)
			}
		}
		return strings.Join(parts, ".")
	}
	if role := n.at("roletype").string(); role != "" {
		return strings.ToLower(strings.TrimPrefix(role, "ROLESPEC_"))
	}
	for _, kid := range n.kids {
		if part := kid.name(); part != "" && kid.key == "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ".")
}
