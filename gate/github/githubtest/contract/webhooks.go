package contract

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Webhooks is the published schema of webhook payloads, and captured payloads.
type Webhooks struct {
	folder      string
	compiler    *jsonschema.Compiler
	definitions map[string]any
}

const eventsURL = "https://example.com/events.schema.json"

// LoadWebhooks reads the folder that SALLYPORT_WEBHOOKS names.
func LoadWebhooks(t testing.TB) *Webhooks {
	t.Helper()
	folder := named(t, WebhooksVariable, "Get it with: npm pack @octokit/webhooks-schemas@7.6.1 (as schema/events.schema.json) and npm pack @octokit/webhooks-examples@7.6.1 (one file a payload)")
	raw, err := os.ReadFile(filepath.Join(folder, "schema", "events.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	root, _ := doc.(map[string]any)
	definitions, _ := root["definitions"].(map[string]any)
	if definitions == nil {
		t.Fatal("events.schema.json has no definitions")
	}
	for _, name := range []string{"app", "installation"} {
		widen(definitions[name])
	}
	w := &Webhooks{folder: folder, compiler: jsonschema.NewCompiler(), definitions: definitions}
	w.compiler.DefaultDraft(jsonschema.Draft7)
	w.compiler.AssertFormat()
	// The library knows only the simplest templates; GitHub's have {/x} and {?x}.
	w.compiler.RegisterFormat(&jsonschema.Format{Name: "uri-template", Validate: func(any) error { return nil }})
	if err := w.compiler.AddResource(eventsURL, doc); err != nil {
		t.Fatal(err)
	}
	return w
}

// widen lets an App subscribe to events that are younger than the schema.
func widen(definition any) {
	d, _ := definition.(map[string]any)
	properties, _ := d["properties"].(map[string]any)
	events, _ := properties["events"].(map[string]any)
	if items, ok := events["items"].(map[string]any); ok {
		delete(items, "enum")
	}
}

// Check holds a payload to the schema. known is false for events that the schema
// does not have.
func (w *Webhooks) Check(event, action string, body []byte) (known bool, err error) {
	name := event + "$" + action
	if action == "" {
		name = event + "$event"
	}
	if w.definitions[name] == nil {
		if w.definitions[event+"_event"] != nil {
			return true, fmt.Errorf("%s has no action %q", event, action)
		}
		return false, nil
	}
	schema, err := w.compiler.Compile(eventsURL + "#/definitions/" + name)
	if err != nil {
		return true, err
	}
	payload, err := jsonschema.UnmarshalJSON(strings.NewReader(string(body)))
	if err != nil {
		return true, err
	}
	return true, schema.Validate(payload)
}

// Captured lists the captured payloads of an event and action, by file name.
func (w *Webhooks) Captured(event, action string) (map[string][]byte, error) {
	pattern := event + "." + action + "*.json"
	if action == "" {
		pattern = event + ".*.json"
	}
	files, err := filepath.Glob(filepath.Join(w.folder, pattern))
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, f := range files {
		if out[filepath.Base(f)], err = os.ReadFile(f); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Lacks lists what a captured payload has and another one lacks or has of another
// kind, as paths such as "pull_request.head.repo.id". Empty lists are skipped, and
// null goes with everything.
func Lacks(captured, got []byte) ([]string, error) {
	var a, b any
	if err := json.Unmarshal(captured, &a); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(got, &b); err != nil {
		return nil, err
	}
	var out []string
	lacks("", a, b, &out)
	slices.Sort(out)
	return slices.Compact(out), nil
}

func lacks(at string, a, b any, out *[]string) {
	if a == nil || b == nil {
		return
	}
	switch a := a.(type) {
	case map[string]any:
		o, ok := b.(map[string]any)
		if !ok {
			*out = append(*out, at+" (not an object)")
			return
		}
		for k, v := range a {
			name := strings.TrimPrefix(at+"."+k, ".")
			if w, ok := o[k]; ok {
				lacks(name, v, w, out)
			} else {
				*out = append(*out, name)
			}
		}
	case []any:
		o, ok := b.([]any)
		if !ok {
			*out = append(*out, at+" (not a list)")
			return
		}
		if len(a) > 0 && len(o) > 0 {
			lacks(at+"[]", a[0], o[0], out)
		}
	default:
		if fmt.Sprintf("%T", a) != fmt.Sprintf("%T", b) {
			*out = append(*out, fmt.Sprintf("%s (%T, not %T)", at, b, a))
		}
	}
}
