package githubtest

import (
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

//go:embed schema.graphql
var schemaText string

// graphQLSchema is the part of GitHub's schema that is answered, parsed once.
var graphQLSchema = sync.OnceValues(func() (*ast.Schema, error) {
	return gqlparser.LoadSchema(&ast.Source{Name: "schema.graphql", Input: schemaText})
})

// Limits of queries.
const (
	maxNodes = 500_000
	maxPage  = 100
)

// gqlObject is an object of the answer; its fields are computed when asked for.
type gqlObject struct {
	kind   string
	fields map[string]func(args map[string]any) (any, error)
}

// value is a field that takes no arguments and cannot fail.
func value(v any) func(map[string]any) (any, error) {
	return func(map[string]any) (any, error) { return v, nil }
}

// lazy is a field that is computed only when asked for.
func lazy(f func() any) func(map[string]any) (any, error) {
	return func(map[string]any) (any, error) { return f(), nil }
}

type gqlRequest struct {
	Query     string         `json:"query"`
	Name      string         `json:"operationName"`
	Variables map[string]any `json:"variables"`
}

// graphQLKind names a request for the figures: its operation and first field below
// the repository.
func graphQLKind(body []byte) string {
	var in gqlRequest
	if err := json.Unmarshal(body, &in); err != nil {
		return "unreadable"
	}
	doc, err := parser.ParseQuery(&ast.Source{Input: in.Query})
	if err != nil || len(doc.Operations) == 0 {
		return "unreadable"
	}
	op := doc.Operations[0]
	var names []string
	for _, s := range op.SelectionSet {
		f, ok := s.(*ast.Field)
		if !ok || f.Name == "rateLimit" {
			continue
		}
		name := f.Name
		for _, below := range f.SelectionSet {
			if b, ok := below.(*ast.Field); ok && f.Name == "repository" && len(b.SelectionSet) > 0 {
				name = b.Name
				break
			}
		}
		names = append(names, name)
	}
	return strings.Join(append([]string{string(op.Operation)}, names...), " ")
}

// graphql answers POST /graphql: always 200, errors beside partial data.
func (c *call) graphql() (any, error) {
	var in gqlRequest
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	failed := func(list gqlerror.List) (any, error) {
		out := []any{}
		for _, e := range list {
			c.complain("GraphQL: %s", e.Message)
			out = append(out, obj{"message": e.Message})
		}
		return obj{"errors": out}, nil
	}
	schema, err := graphQLSchema()
	if err != nil {
		return nil, fmt.Errorf("parsing schema.graphql: %w", err)
	}
	doc, list := gqlparser.LoadQueryWithRules(schema, in.Query, rules.NewDefaultRules())
	if len(list) > 0 {
		return failed(list)
	}
	op := doc.Operations.ForName(in.Name)
	if op == nil {
		return failed(gqlerror.List{gqlerror.Errorf("No operation named %q", in.Name)})
	}
	vars, err := validator.VariableValues(schema, op, in.Variables)
	if err != nil {
		return failed(gqlerror.List{gqlerror.Wrap(err)})
	}
	for name := range in.Variables {
		if op.VariableDefinitions.ForName(name) == nil {
			c.complain("GraphQL: variable %q is not used", name)
		}
	}
	x := &gqlRun{c: c, vars: vars, points: 1}
	x.price(op.SelectionSet, 1)
	if x.nodes > maxNodes {
		return failed(gqlerror.List{gqlerror.Errorf("This query requests up to %d possible nodes which exceeds the maximum limit of 500,000.", x.nodes)})
	}
	for _, e := range x.errors {
		c.complain("GraphQL: %v", e["message"])
	}
	if len(x.errors) > 0 {
		return obj{"errors": x.errors}, nil
	}
	x.points = max(1, (x.requests+50)/100)
	c.spend("graphql", x.points-1) // one was taken before the query was read
	root := x.query()
	if op.Operation == ast.Mutation {
		root = x.mutation()
	}
	data := x.object(op.SelectionSet, root, nil)
	out := obj{"data": data}
	if len(x.errors) > 0 {
		out["errors"] = x.errors
	}
	return out, nil
}

// gqlRun is one query being executed.
type gqlRun struct {
	c        *call
	vars     map[string]any
	errors   []obj
	nodes    int
	requests int
	points   int
}

// price counts what a query asks for at most, and finds connections without first
// or last.
func (x *gqlRun) price(set ast.SelectionSet, times int) {
	for _, s := range set {
		switch f := s.(type) {
		case *ast.InlineFragment:
			x.price(f.SelectionSet, times)
		case *ast.FragmentSpread:
			x.price(f.Definition.SelectionSet, times)
		case *ast.Field:
			below := times
			if f.Definition != nil && strings.HasSuffix(f.Definition.Type.Name(), "Connection") {
				args := f.ArgumentMap(x.vars)
				n := toInt(args["first"]) + toInt(args["last"])
				if n < 1 || n > maxPage {
					x.fail(ast.Path{ast.PathName(f.Alias)}, "MISSING_PAGINATION_BOUNDARIES", "You must provide a `first` or `last` value between 1 and 100 to properly paginate the `%s` connection.", f.Name)
				}
				x.requests += times
				x.nodes += times * n
				below = times * max(n, 1)
			}
			x.price(f.SelectionSet, below)
		}
	}
}

func toInt(v any) int {
	switch n := v.(type) {
	case int64:
		return int(n)
	case int:
		return n
	case float64:
		return int(n)
	case json.Number:
		i, err := n.Int64()
		if err == nil {
			return int(i)
		}
	}
	return 0
}

func (x *gqlRun) fail(path ast.Path, kind, format string, args ...any) {
	where := []any{}
	for _, p := range path {
		switch s := p.(type) {
		case ast.PathName:
			where = append(where, string(s))
		case ast.PathIndex:
			where = append(where, int(s))
		}
	}
	x.errors = append(x.errors, obj{"type": kind, "path": where, "message": fmt.Sprintf(format, args...)})
}

// object computes the selected fields of one object.
func (x *gqlRun) object(set ast.SelectionSet, o *gqlObject, path ast.Path) obj {
	out := obj{}
	for _, f := range x.collect(set, o.kind, nil) {
		at := append(append(ast.Path{}, path...), ast.PathName(f.Alias))
		if f.Name == "__typename" {
			out[f.Alias] = o.kind
			continue
		}
		compute := o.fields[f.Name]
		if compute == nil {
			x.fail(at, "INTERNAL", "githubtest has no field %s.%s", o.kind, f.Name)
			out[f.Alias] = nil
			continue
		}
		v, err := compute(f.ArgumentMap(x.vars))
		if err != nil {
			kind := "UNPROCESSABLE"
			var r *Refusal
			if errors.As(err, &r) {
				switch r.Status {
				case 404:
					kind = "NOT_FOUND"
				case 403:
					kind = "FORBIDDEN"
				}
				err = errors.New(r.Message)
			}
			x.fail(at, kind, "%s", err.Error())
			out[f.Alias] = nil
			continue
		}
		out[f.Alias] = x.complete(f.SelectionSet, v, at)
		if n, ok := v.(int64); ok && n > math.MaxInt32 && f.Definition != nil && f.Definition.Type.Name() == "Int" && x.c.g.cfg.BigInts != BigGiven {
			out[f.Alias] = nil
			if x.c.g.cfg.BigInts == BigError {
				x.fail(at, "", "Int cannot represent non 32-bit signed integer value: %d", n)
			}
		}
	}
	return out
}

// collect flattens fragments that apply to a type. Two selections of one field are
// joined.
func (x *gqlRun) collect(set ast.SelectionSet, kind string, into []*ast.Field) []*ast.Field {
	for _, s := range set {
		switch f := s.(type) {
		case *ast.Field:
			if x.skipped(f.Directives) {
				continue
			}
			merged := false
			for i, old := range into {
				if old.Alias == f.Alias {
					joined := *old
					joined.SelectionSet = append(append(ast.SelectionSet{}, old.SelectionSet...), f.SelectionSet...)
					into[i], merged = &joined, true
				}
			}
			if !merged {
				into = append(into, f)
			}
		case *ast.InlineFragment:
			if !x.skipped(f.Directives) && (f.TypeCondition == "" || x.applies(f.TypeCondition, kind)) {
				into = x.collect(f.SelectionSet, kind, into)
			}
		case *ast.FragmentSpread:
			if !x.skipped(f.Directives) && x.applies(f.Definition.TypeCondition, kind) {
				into = x.collect(f.Definition.SelectionSet, kind, into)
			}
		}
	}
	return into
}

func (x *gqlRun) skipped(list ast.DirectiveList) bool {
	if d := list.ForName("skip"); d != nil && d.ArgumentMap(x.vars)["if"] == true {
		return true
	}
	d := list.ForName("include")
	return d != nil && d.ArgumentMap(x.vars)["if"] == false
}

func (x *gqlRun) applies(condition, kind string) bool {
	if condition == kind {
		return true
	}
	schema, err := graphQLSchema()
	if err != nil {
		return false
	}
	for _, t := range schema.GetPossibleTypes(schema.Types[condition]) {
		if t.Name == kind {
			return true
		}
	}
	return false
}

func (x *gqlRun) complete(set ast.SelectionSet, v any, path ast.Path) any {
	switch v := v.(type) {
	case *gqlObject:
		if v == nil {
			return nil
		}
		return x.object(set, v, path)
	case []*gqlObject:
		out := []any{}
		for i, o := range v {
			out = append(out, x.complete(set, o, append(append(ast.Path{}, path...), ast.PathIndex(i))))
		}
		return out
	default:
		return v
	}
}

// connection is a list that is given in pages; a cursor is a position.
func connection[T any](kind string, all []T, node func(T) *gqlObject) func(map[string]any) (any, error) {
	return func(args map[string]any) (any, error) {
		from, to := 0, len(all)
		if after, ok := args["after"].(string); ok {
			n, err := cursorOf(after)
			if err != nil {
				return nil, err
			}
			from = min(n, len(all))
		}
		if before, ok := args["before"].(string); ok {
			n, err := cursorOf(before)
			if err != nil {
				return nil, err
			}
			to = max(from, min(n-1, to))
		}
		if n := toInt(args["first"]); n > 0 {
			to = min(to, from+n)
		}
		if n := toInt(args["last"]); n > 0 {
			from = max(from, to-n)
		}
		var start, end any
		if to > from {
			start, end = cursor(from+1), cursor(to)
		}
		return &gqlObject{kind, map[string]func(map[string]any) (any, error){
			"totalCount": value(len(all)),
			"pageInfo": value(&gqlObject{"PageInfo", map[string]func(map[string]any) (any, error){
				"hasNextPage": value(to < len(all)), "hasPreviousPage": value(from > 0), "startCursor": value(start), "endCursor": value(end),
			}}),
			"nodes": lazy(func() any {
				out := []*gqlObject{}
				for _, t := range all[from:to] {
					out = append(out, node(t))
				}
				return out
			}),
		}}, nil
	}
}

func cursor(n int) string {
	return base64.StdEncoding.EncodeToString([]byte("cursor:" + strconv.Itoa(n)))
}

func cursorOf(s string) (int, error) {
	raw, err := base64.StdEncoding.DecodeString(s)
	text, ok := strings.CutPrefix(string(raw), "cursor:")
	n, errN := strconv.Atoi(text)
	if err != nil || !ok || errN != nil {
		return 0, fmt.Errorf("`%s` does not appear to be a valid cursor", s)
	}
	return n, nil
}
