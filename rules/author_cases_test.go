package rules_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"gopkg.in/yaml.v3"

	"github.com/sallyport/sallyport/rules"
)

const authorship = "../testdata/authorship"

// changeYAML is a Change in its JSON form, written as YAML.
type changeYAML struct{ rules.Change }

func (c *changeYAML) UnmarshalYAML(n *yaml.Node) error {
	var v any
	if err := n.Decode(&v); err != nil {
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, &c.Change, json.RejectUnknownMembers(true))
}

func authorCases[T any](t *testing.T, name string) []T {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(authorship, name+".yml"))
	if err != nil {
		t.Fatal(err)
	}
	var out []T
	dec := yaml.NewDecoder(strings.NewReader(string(b)))
	dec.KnownFields(true)
	if err := dec.Decode(&out); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(out) == 0 {
		t.Fatalf("%s: no cases", name)
	}
	return out
}

func judgedAs(a rules.Authorship) string {
	s := fmt.Sprintf("%s %s", a.Kind, a.Confidence)
	if a.Mixed {
		s += " mixed"
	}
	return s
}

// authorSignalCase is a signal of the catalogue in two changes: one has it, the other
// just misses it.
type authorSignalCase struct {
	Signal   string           `yaml:"signal"`
	Seen     changeYAML       `yaml:"seen"`
	Is       string           `yaml:"is"`
	Evidence rules.Confidence `yaml:"evidence"`
	Near     changeYAML       `yaml:"near"`
	NearIs   string           `yaml:"near_is"`
	Why      string           `yaml:"why"`
}

var signalFiles = []string{"logins", "emails", "names", "trailers", "branches", "markers", "labels", "automation"}

func TestEverySignalIsSeenAndItsNearMissIsNot(t *testing.T) {
	want := catalogueSignals(t)
	var cat *rules.Catalogue
	for _, file := range signalFiles {
		for _, tc := range authorCases[authorSignalCase](t, file) {
			t.Run(tc.Signal, func(t *testing.T) {
				if !want[tc.Signal] {
					t.Fatalf("no such signal in agents.yml, or a second case for it")
				}
				delete(want, tc.Signal)
				agent, kind := signalKey(tc.Signal)
				got := cat.Judge(&tc.Seen.Change)
				if judgedAs(got) != tc.Is {
					t.Errorf("seen is %q, want %q\n%+v", judgedAs(got), tc.Is, got)
				}
				if !showsSignal(got, agent, kind, tc.Evidence) {
					t.Errorf("seen shows no %s of %q with confidence %s: %+v", kind, agent, tc.Evidence, got.Evidence)
				}
				near := cat.Judge(&tc.Near.Change)
				if judgedAs(near) != tc.NearIs {
					t.Errorf("the near miss (%s) is %q, want %q\n%+v", tc.Why, judgedAs(near), tc.NearIs, near)
				}
				if showsSignal(near, agent, kind, tc.Evidence) {
					t.Errorf("the near miss (%s) shows a %s of %q: %+v", tc.Why, kind, agent, near.Evidence)
				}
			})
		}
	}
	for s := range want {
		t.Errorf("signal %q of agents.yml has no case in testdata/authorship", s)
	}
}

// signalKey is the agent of a signal's key and the kinds of evidence it can show as.
func signalKey(key string) (agent, kind string) {
	agent, rest, _ := strings.Cut(key, "/")
	kind, _, _ = strings.Cut(rest, "/")
	return agent, kind
}

func showsSignal(a rules.Authorship, agent, kind string, c rules.Confidence) bool {
	return slices.ContainsFunc(a.Evidence, func(e rules.Evidence) bool {
		same := string(e.Signal) == kind || kind == "email" && e.Signal == rules.SignalTrailer
		return same && e.Agent == agent && e.Confidence == c
	})
}

// catalogueSignals are the keys of all signals: AGENT/KIND/ID, where the id is the
// login, address, name, label or id.
func catalogueSignals(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile("agents.yml")
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		ID, Login, Email, Name, Label, Key string
		GitHubID                           int64 `yaml:"github_id"`
		Number                             int64 `yaml:"-"`
	}
	var f struct {
		Agents     []map[string]yaml.Node
		Generic    map[string]yaml.Node
		Automation []struct {
			ID, Login string
			Emails    []string
		}
	}
	if err := yaml.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	add := func(key, more string) {
		if out[key] {
			key += "/" + more
		}
		if out[key] {
			t.Errorf("agents.yml: two signals %q", key)
		}
		out[key] = true
	}
	kinds := map[string]string{"logins": "login", "emails": "email", "names": "name", "trailers": "trailer", "branches": "branch", "titles": "title", "bodies": "body", "messages": "message", "labels": "label"}
	for _, a := range f.Agents {
		var id string
		idNode := a["id"]
		if err := idNode.Decode(&id); err != nil {
			t.Fatal(err)
		}
		for plural, kind := range kinds {
			node, ok := a[plural]
			if !ok {
				continue
			}
			var list []map[string]any
			if err := node.Decode(&list); err != nil {
				t.Fatal(err)
			}
			for _, s := range list {
				field := map[string]string{"login": "login", "email": "email", "label": "label"}[kind]
				if field == "" {
					field = "id"
				}
				if kind == "name" && s["name"] != nil {
					field = "name"
				}
				add(fmt.Sprintf("%s/%s/%v", id, kind, s[field]), fmt.Sprint(s["id"]))
				if list, ok := s["sources"].([]any); !ok || len(list) == 0 {
					t.Errorf("%s: %s %v has no sources", id, kind, s[field])
				}
			}
		}
	}
	var trailers []entry
	var labels []string
	tn, ln := f.Generic["trailers"], f.Generic["labels"]
	if err := tn.Decode(&trailers); err != nil {
		t.Fatal(err)
	}
	if err := ln.Decode(&labels); err != nil {
		t.Fatal(err)
	}
	for _, e := range trailers {
		add("/trailer/"+e.Key, "")
	}
	for _, l := range labels {
		add("/label/"+l, "")
	}
	for _, a := range f.Automation {
		if a.Login != "" {
			add(a.ID+"/login/"+a.Login, "")
		}
		for _, e := range a.Emails {
			add(a.ID+"/email/"+e, "")
		}
	}
	return out
}
