package main

import (
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/sallyport/sallyport/rules"
)

// source is a type to make a schema of.
type source struct {
	of    any
	title string
	// file says that it is a file people write: unknown keys are refused, and
	// lists and mappings hold something. Otherwise it is JSON between programs, to
	// which fields may be added; its descriptions are the types' comments.
	file bool
}

func schemas() map[string]source {
	return map[string]source{
		"policy":   {rules.Policy{}, "Sallyport policy (.github/sallyport.yml)", true},
		"targets":  {rules.Targets{}, "Sallyport targets (SALLYPORT_TARGETS_FILE)", true},
		"change":   {rules.Change{}, "A change, as sallyport classify reads it", false},
		"decision": {rules.Decision{}, "A decision, as sallyport check and classify print it", false},
	}
}

func (s source) build(dir string) ([]byte, error) {
	root, err := s.reflect(dir)
	if err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(data, '\n'), nil
}

func (s source) reflect(dir string) (*jsonschema.Schema, error) {
	r := &jsonschema.Reflector{
		Anonymous:                  true,
		ExpandedStruct:             true,
		AllowAdditionalProperties:  !s.file,
		RequiredFromJSONSchemaTags: s.file,
		Mapper:                     s.mapType,
	}
	if !s.file {
		const base = "github.com/sallyport/sallyport/rules"
		if err := r.AddGoComments(base, dir, jsonschema.WithFullComment()); err != nil {
			return nil, err
		}
		// The library names what it finds by base joined with dir, whatever dir is.
		prefix := path.Join(base, filepath.ToSlash(dir)) + "."
		comments := map[string]string{}
		for key, text := range r.CommentMap {
			if name, ok := strings.CutPrefix(key, prefix); ok {
				comments[name] = text
			}
		}
		r.CommentMap = nil
		r.LookupComment = func(t reflect.Type, field string) string {
			key := t.Name()
			if field != "" {
				key += "." + field
			}
			return comment(comments[key])
		}
	}
	root := r.Reflect(s.of)
	root.Title = s.title
	if s.file {
		root.Description = ""
		tighten(root)
		for _, def := range root.Definitions {
			tighten(def)
		}
		s.finish(root)
	}
	return root, nil
}

// comment is a Go comment as a description: one line, without doc links.
func comment(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return strings.NewReplacer("[", "", "]", "").Replace(text)
}

// durationPattern is what time.ParseDuration takes and is longer than nothing.
const durationPattern = `^(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+$`

func (s source) mapType(t reflect.Type) *jsonschema.Schema {
	one := uint64(1)
	switch t {
	case reflect.TypeFor[rules.Tri]():
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "boolean"}, {Type: "null"}}, Description: "Absent or null is unknown."}
	case reflect.TypeFor[rules.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: durationPattern, Examples: []any{"24h", "90m", "30s"}}
	case reflect.TypeFor[rules.CheckName]():
		slug := s.mapType(reflect.TypeFor[rules.Slug]())
		slug.Description = tagDescription(t, "App")
		properties := jsonschema.NewProperties()
		properties.Set("name", &jsonschema.Schema{Type: "string", MinLength: &one, Description: tagDescription(t, "Name")})
		properties.Set("app", slug)
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
			{Type: "string", MinLength: &one},
			{Type: "object", Properties: properties, Required: []string{"name"}, AdditionalProperties: jsonschema.FalseSchema},
		}}
	}
	if !s.file {
		if t == reflect.TypeFor[rules.Verdict]() {
			return &jsonschema.Schema{Type: "string", Enum: []any{rules.VerdictAllow, rules.VerdictWait, rules.VerdictDeny}}
		}
		return nil
	}
	switch t {
	case reflect.TypeFor[rules.Reviewer]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[A-Za-z0-9][A-Za-z0-9_-]*(?:/[A-Za-z0-9][A-Za-z0-9_-]*)?$`, Examples: []any{"acme/sre", "octocat"}}
	case reflect.TypeFor[rules.Login]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[A-Za-z0-9][A-Za-z0-9_-]*(?:\[bot\])?$`}
	case reflect.TypeFor[rules.Slug]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[a-z0-9][a-z0-9-]*$`}
	case reflect.TypeFor[rules.RepositoryID]():
		return &jsonschema.Schema{Type: "integer", Minimum: "1"}
	}
	return nil
}

// tagDescription is the description in a field's jsonschema tag.
func tagDescription(t reflect.Type, field string) string {
	f, ok := t.FieldByName(field)
	if !ok {
		panic(fmt.Sprintf("%v has no field %s", t, field))
	}
	for part := range strings.SplitSeq(f.Tag.Get("jsonschema"), ",") {
		if text, ok := strings.CutPrefix(part, "description="); ok {
			return text
		}
	}
	return ""
}

// tighten says of every list, mapping and text what the loader says of all of
// them: none is empty, and no entry stands twice.
func tighten(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	one := uint64(1)
	switch {
	case s.Type == "array":
		s.MinItems, s.UniqueItems = &one, true
	case s.Type == "object" && s.AdditionalProperties != nil && s.Properties.Len() == 0:
		s.MinProperties = &one
	case s.Type == "string" && len(s.Enum) == 0 && s.Pattern == "":
		s.MinLength = &one
	}
	tighten(s.Items)
	if s.AdditionalProperties != jsonschema.FalseSchema {
		tighten(s.AdditionalProperties)
	}
	if s.Properties != nil {
		for p := s.Properties.Oldest(); p != nil; p = p.Next() {
			tighten(p.Value)
		}
	}
}

// finish adds what no tag can say.
func (s source) finish(root *jsonschema.Schema) {
	if def := root.Definitions["PostgresTarget"]; def != nil {
		groups, _ := def.Properties.Get("groups")
		groups.PropertyNames = &jsonschema.Schema{Enum: []any{rules.CapabilityRead, rules.CapabilityWrite}}
	}
	exactlyOne(root.Definitions["Target"], "token", "postgres", "aws", "github")
	exactlyOne(root.Definitions["AlertTarget"], "slack", "webhook")
	if def := root.Definitions["Environment"]; def != nil {
		role, _ := def.Properties.Get("exclude")
		for _, r := range rules.ExcludedRoles() {
			role.AllOf = append(role.AllOf, &jsonschema.Schema{Contains: &jsonschema.Schema{Const: string(r)}})
		}
	}
}

func exactlyOne(def *jsonschema.Schema, keys ...string) {
	if def == nil {
		return
	}
	for _, k := range keys {
		def.OneOf = append(def.OneOf, &jsonschema.Schema{Required: []string{k}})
	}
}
