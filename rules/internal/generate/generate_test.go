package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	jsonschema "github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/sallyport/sallyport/rules"
	"github.com/sallyport/sallyport/rules/schema"
)

const rulesDir = "../.."

// What is committed is what the types say now.
func TestGeneratedFilesAreUpToDate(t *testing.T) {
	files, err := generate(rulesDir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(rulesDir, name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the types say: run go generate ./rules", name)
		}
	}
}

// compile checks a schema against its meta-schema and makes a validator of it.
func compile(t *testing.T, data []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// yamlFile is a file as a JSON value, the way an editor's validator sees it.
func yamlFile(t *testing.T, name string) (any, error) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal(data, &v); err != nil {
		return nil, err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(text))
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(rulesDir, "../testdata", pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return found
}

// An editor accepts every file that the loader accepts.
func TestSchemaAcceptsWhatTheLoaderAccepts(t *testing.T) {
	for dir, data := range map[string][]byte{"policy": schema.Policy, "targets": schema.Targets} {
		s := compile(t, data)
		for _, name := range files(t, dir+"/ok/*.yml") {
			v, err := yamlFile(t, name)
			if err == nil {
				err = s.Validate(v)
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// Whatever is wrong with a file's form is wrong for an editor too. The files of
// the err directories that are not named here are wrong in a way that no schema
// can see: they are no YAML, or parse and make no sense.
func TestSchemaRefusesWrongForms(t *testing.T) {
	refused := map[string]string{
		"policy": `a-list-instead-of-a-policy check-with-unknown-key check-without-name count-zero credential-without-target
			duration-as-number duration-in-days email-as-reviewer empty-list empty-text entry-twice entry-without-value
			environment-says-nothing environment-without-gate exclude-lacks-roles gate-in-capitals key-without-value list-instead-of-text
			merge-accepts-a-button misspelt-gate-key misspelt-key misspelt-key-with-hyphen no-environments number-as-login number-instead-of-list
			presence-unknown reviewer-with-at-sign several-problems team-path-too-long text-instead-of-list unattended-write unknown-gate
			unknown-key unknown-mode unknown-step version-missing version-quoted version-unknown bot-as-reviewer`,
		"targets": `alert-with-two-addresses alert-without-address no-provider no-repositories no-tier repository-by-name repository-zero
			secret-in-the-file target-says-nothing two-providers unknown-capability unknown-provider unknown-runner unknown-tier`,
	}
	for dir, data := range map[string][]byte{"policy": schema.Policy, "targets": schema.Targets} {
		s := compile(t, data)
		for _, name := range strings.Fields(refused[dir]) {
			v, err := yamlFile(t, files(t, dir+"/err/"+name+".yml")[0])
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if s.Validate(v) == nil {
				t.Errorf("%s is accepted", name)
			}
		}
	}
}

// The forms that programs exchange allow further fields, and what the judges
// print is of its form.
func TestChangeAndDecisionSchemas(t *testing.T) {
	change, decision := compile(t, schema.Change), compile(t, schema.Decision)
	parse := func(text []byte) any {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	line := []byte(`{"id":"7","repository":{"id":1,"full_name":"acme/orders"},"number":7,"title":"Fix","labels":["x"],"draft":false,
		"author":{"id":1,"login":"octocat","type":"User"},"head":{"ref":"b","sha":"1111111111111111111111111111111111111111"},
		"files":[{"path":"src/a.go","status":"modified","additions":1,"deletions":0,"mode":"100644"}],"files_complete":true,
		"commits":[],"commits_complete":true,"reviews":[{"id":1,"user":{"id":2},"state":"approved","submitted_at":"2026-01-02T03:04:05Z"}],
		"checks":[{"name":"test","app":"github-actions","conclusion":"success"}],"now":"2026-01-02T03:04:05Z","a_later_field":1}`)
	if err := change.Validate(parse(line)); err != nil {
		t.Errorf("change: %v", err)
	}
	for _, bad := range []string{`{"draft":"no"}`, `{"files":{}}`, `{"now":"yesterday"}`, `[]`, `{"number":"7"}`} {
		if change.Validate(parse([]byte(bad))) == nil {
			t.Errorf("change %s is accepted", bad)
		}
	}

	var c rules.Change
	if err := json.Unmarshal(line, &c); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(rulesDir, "../testdata/policy/ok/long.yml"))
	if err != nil {
		t.Fatal(err)
	}
	p, problems := rules.LoadPolicy("p.yml", data)
	if p == nil {
		t.Fatal(problems)
	}
	inForce := rules.Policies{
		Repository: rules.PolicyVersion{State: rules.PolicyInForce, Policy: p},
		Floor:      rules.PolicyVersion{State: rules.PolicyNone},
	}
	for _, ps := range []rules.Policies{inForce, {}} {
		text, err := json.Marshal(rules.DecideChange(ps, &c))
		if err != nil {
			t.Fatal(err)
		}
		if err := decision.Validate(parse(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, bad := range []string{`{}`, `{"verdict":"maybe","environments":[],"authorship":{"kind":"human","mixed":false,"confidence":"low","agents":[],"evidence":[]},"reasons":[]}`} {
		if decision.Validate(parse([]byte(bad))) == nil {
			t.Errorf("decision %s is accepted", bad)
		}
	}
}
