package contract

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

// GraphQL is GitHub's published GraphQL schema.
type GraphQL struct{ schema *ast.Schema }

// LoadGraphQL reads the schema that SALLYPORT_GRAPHQL_SCHEMA names.
func LoadGraphQL(t testing.TB) *GraphQL {
	t.Helper()
	file := named(t, GraphQLVariable, "Get it with: npm pack @octokit/graphql-schema@15.26.1, file schema.graphql")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := parser.ParseSchemas(validator.Prelude, &ast.Source{Name: file, Input: string(raw)})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range doc.Definitions { // the published file names a field of one type twice
		seen := map[string]bool{}
		d.Fields = slices.DeleteFunc(d.Fields, func(f *ast.FieldDefinition) bool {
			twice := seen[f.Name]
			seen[f.Name] = true
			return twice
		})
	}
	schema, err := validator.ValidateSchemaDocument(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &GraphQL{schema}
}

// Check holds a query to the schema.
func (g *GraphQL) Check(query string) error {
	if _, list := gqlparser.LoadQueryWithRules(g.schema, query, rules.NewDefaultRules()); len(list) > 0 {
		return list
	}
	return nil
}

// Within lists where a schema is not a part of GitHub's: types, fields, arguments
// and values that GitHub has not, or has otherwise.
func (g *GraphQL) Within(part string) ([]string, error) {
	doc, err := parser.ParseSchema(&ast.Source{Input: part})
	if err != nil {
		return nil, err
	}
	var out []string
	complain := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, d := range doc.Definitions {
		full := g.schema.Types[d.Name]
		if full == nil || full.Kind != d.Kind {
			complain("no %s %s", d.Kind, d.Name)
			continue
		}
		for _, f := range d.Fields {
			theirs := full.Fields.ForName(f.Name)
			if theirs == nil {
				complain("no field %s.%s", d.Name, f.Name)
				continue
			}
			if theirs.Type.String() != f.Type.String() {
				complain("%s.%s is %s, not %s", d.Name, f.Name, theirs.Type, f.Type)
			}
			for _, a := range f.Arguments {
				if t := theirs.Arguments.ForName(a.Name); t == nil || t.Type.String() != a.Type.String() {
					complain("no argument %s.%s(%s: %s)", d.Name, f.Name, a.Name, a.Type)
				}
			}
			for _, a := range theirs.Arguments {
				if a.Type.NonNull && a.DefaultValue == nil && f.Arguments.ForName(a.Name) == nil {
					complain("argument %s.%s(%s) is required", d.Name, f.Name, a.Name)
				}
			}
		}
		for _, v := range d.EnumValues {
			if full.EnumValues.ForName(v.Name) == nil {
				complain("no value %s.%s", d.Name, v.Name)
			}
		}
		for _, i := range d.Interfaces {
			found := false
			for _, o := range full.Interfaces {
				found = found || o == i
			}
			if !found {
				complain("%s does not implement %s", d.Name, i)
			}
		}
	}
	return out, nil
}
