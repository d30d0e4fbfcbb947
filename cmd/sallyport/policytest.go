package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/sallyport/sallyport/rules"
)

const (
	maxTestBytes = 4 << 20 // bytes of a file of cases
	maxTestDepth = 32      // lists and mappings inside each other
)

func (a *app) testCommand() *cobra.Command {
	var policy string
	c := &cobra.Command{
		Use:   "test [<file>]",
		Short: "Judge example changes and compare with what you expect",
		Long: `Judge the changes of a file of cases by the policy and compare the decisions with
what the file wants. The file is ` + rules.PolicyTestPath + `:

  version: 1
  defaults:                       # laid under the change of every case
    draft: false
    files_complete: true
    commits_complete: true
    reviews: []
  tests:
    - name: documentation needs nobody
      change:                     # as in a line of classify's input
        files: [{path: docs/guide.md, status: modified, mode: "100644"}]
      want:                       # only what is named is compared
        verdict: wait             # allow, wait or deny
        environments: [dev]
        authorship: human         # agent, automation or human
        codes: [SP204]            # must be among the reasons
        needs: [acme/sre]         # exactly whose approval is missing
        auto_approval: false`,
		Example: `$ sallyport policy test
$ sallyport policy test --policy draft.yml cases.yml`,
		Args: atMost(1),
		Annotations: map[string]string{"exit": `0  all cases passed
2  the cases or the policy have errors
3  a case failed`},
	}
	c.Flags().StringVar(&policy, "policy", "", "Test this policy `file` (default: "+rules.PolicyPath+")")
	f := addFormat(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		p, err := a.policyFile(policy)
		if err != nil {
			return err
		}
		var name string
		if len(args) == 1 {
			name = args[0]
		} else if name, err = a.findUp(rules.PolicyTestPath); err != nil {
			return err
		}
		data, err := a.readInput(name, maxTestBytes)
		if err != nil {
			return err
		}
		cases, err := readCases(data)
		if err != nil {
			var at *placeError
			if errors.As(err, &at) {
				return refuse("%s:%d:%d: %w", name, at.line, at.column, at.err)
			}
			return refuse("%s: %w", name, err)
		}
		return a.runCases(p, name, cases, *f)
	}
	return c
}

// testCase is one change with what its decision should be.
type testCase struct {
	name   string
	line   int
	change rules.Change
	want   wanted
}

// wanted is what a case asks of a decision; what is nil is not compared.
type wanted struct {
	Verdict      *rules.Verdict    `json:"verdict"`
	Environments *[]string         `json:"environments"`
	Authorship   *rules.AuthorKind `json:"authorship"`
	Codes        []rules.Code      `json:"codes"`
	Needs        *[]rules.Reviewer `json:"needs"`
	AutoApproval *bool             `json:"auto_approval"`
}

// placeError is an error at a place in a file.
type placeError struct {
	line, column int
	err          error
}

func (e *placeError) Error() string { return fmt.Sprintf("%d:%d: %v", e.line, e.column, e.err) }
func (e *placeError) Unwrap() error { return e.err }

func at(n *yaml.Node, format string, args ...any) error {
	return &placeError{n.Line, n.Column, fmt.Errorf(format, args...)}
}

// readCases reads a file of cases.
func readCases(data []byte) ([]testCase, error) {
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("not a YAML document: %w", err)
	}
	if err := dec.Decode(&yaml.Node{}); err == nil {
		return nil, errors.New("more than one document: keep all cases in one")
	}
	root, err := mapping(doc.Content[0], "version", "defaults", "tests")
	if err != nil {
		return nil, err
	}
	if v := root["version"]; v == nil || v.Value != "1" {
		return nil, at(doc.Content[0], "want version: 1")
	}
	tests := root["tests"]
	if tests == nil || tests.Kind != yaml.SequenceNode || len(tests.Content) == 0 {
		return nil, at(doc.Content[0], "want a list of tests with at least one")
	}
	defaults := root["defaults"]
	if defaults != nil {
		// By itself too, so that an error in it is reported once and there.
		if err := decodeNode(defaults, &rules.Change{}); err != nil {
			return nil, err
		}
	}
	var cases []testCase
	names := map[string]int{}
	for _, n := range tests.Content {
		m, err := mapping(n, "name", "change", "want")
		if err != nil {
			return nil, err
		}
		c := testCase{line: n.Line}
		if m["name"] == nil || m["name"].Kind != yaml.ScalarNode || m["name"].Value == "" {
			return nil, at(n, "the case has no name")
		}
		c.name = m["name"].Value
		if first, ok := names[c.name]; ok {
			return nil, at(m["name"], "the name %q is used twice: first on line %d", c.name, first)
		}
		names[c.name] = n.Line
		if m["change"] == nil {
			return nil, at(n, "the case %q has no change", c.name)
		}
		if m["want"] == nil || len(m["want"].Content) == 0 {
			return nil, at(n, "the case %q wants nothing: name at least a verdict", c.name)
		}
		change := m["change"]
		if defaults != nil {
			change = laidOver(defaults, change)
		}
		if err := decodeNode(change, &c.change); err != nil {
			return nil, err
		}
		if err := decodeNode(m["want"], &c.want); err != nil {
			return nil, err
		}
		if err := checkWanted(m["want"], c.want); err != nil {
			return nil, err
		}
		c.change.Basis = rules.Stated
		cases = append(cases, c)
	}
	return cases, nil
}

// checkWanted refuses what no decision could ever be.
func checkWanted(n *yaml.Node, w wanted) error {
	if w.Verdict != nil {
		switch *w.Verdict {
		case rules.VerdictAllow, rules.VerdictWait, rules.VerdictDeny:
		default:
			return at(child(n, "verdict"), "no such verdict %q: want allow, wait or deny", *w.Verdict)
		}
	}
	if w.Authorship != nil {
		switch *w.Authorship {
		case rules.KindAgent, rules.KindAutomation, rules.KindHuman:
		default:
			return at(child(n, "authorship"), "no such authorship %q: want agent, automation or human", *w.Authorship)
		}
	}
	known := rules.Reasons()
	for i, code := range w.Codes {
		if !slices.ContainsFunc(known, func(r rules.ReasonInfo) bool { return r.Code == code }) {
			return at(child(n, "codes").Content[i], "no such reason code %q: see docs/reasons.md", code)
		}
	}
	return nil
}

// child is a mapping's value; the mapping has it.
func child(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return n
}

// mapping reads a mapping of known keys.
func mapping(n *yaml.Node, keys ...string) (map[string]*yaml.Node, error) {
	if n.Kind != yaml.MappingNode {
		return nil, at(n, "want a mapping with %s", strings.Join(keys, ", "))
	}
	m := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if !slices.Contains(keys, k.Value) {
			return nil, at(k, "unknown key %q: want one of %s", k.Value, strings.Join(keys, ", "))
		}
		if m[k.Value] != nil {
			return nil, at(k, "the key %q is there twice", k.Value)
		}
		m[k.Value] = n.Content[i+1]
	}
	return m, nil
}

// laidOver is two mappings in one: where both have a key, the second's value, and
// of two mappings both.
func laidOver(under, over *yaml.Node) *yaml.Node {
	if under.Kind != yaml.MappingNode || over.Kind != yaml.MappingNode {
		return over
	}
	out := *over
	out.Content = slices.Clone(over.Content)
	for i := 0; i+1 < len(under.Content); i += 2 {
		found := false
		for k := 0; k+1 < len(out.Content); k += 2 {
			if out.Content[k].Value == under.Content[i].Value {
				found = true
				out.Content[k+1] = laidOver(under.Content[i+1], out.Content[k+1])
				break
			}
		}
		if !found {
			out.Content = append(out.Content, under.Content[i], under.Content[i+1])
		}
	}
	return &out
}

// decodeNode reads a YAML node as the JSON form of v. Keys that v does not have
// are errors; errors have their place in the file.
func decodeNode(n *yaml.Node, v any) error {
	var b bytes.Buffer
	places := map[jsontext.Pointer]*yaml.Node{}
	if err := writeJSON(&b, n, "", places, 0); err != nil {
		return err
	}
	err := json.Unmarshal(b.Bytes(), v, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	var se *json.SemanticError
	if !errors.As(err, &se) {
		return at(n, "%w", err)
	}
	place := places[se.JSONPointer]
	if place == nil {
		place = n
	}
	last := se.JSONPointer.LastToken()
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return at(place, "unknown key %q", last)
	case se.Err != nil:
		return at(place, "%q: %w", last, se.Err)
	default:
		return at(place, "%q: want another type of value than %s", last, place.ShortTag())
	}
}

// writeJSON writes a node as JSON and notes where each value stands: of a member
// the place of its key.
func writeJSON(b *bytes.Buffer, n *yaml.Node, p jsontext.Pointer, places map[jsontext.Pointer]*yaml.Node, depth int) error {
	if depth > maxTestDepth {
		return at(n, "more than %d lists and mappings inside each other", maxTestDepth)
	}
	if places[p] == nil {
		places[p] = n
	}
	switch n.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Kind != yaml.ScalarNode || k.ShortTag() == "!!merge" {
				return at(k, "want a plain key")
			}
			if seen[k.Value] {
				return at(k, "the key %q is there twice", k.Value)
			}
			seen[k.Value] = true
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeText(b, k); err != nil {
				return err
			}
			b.WriteByte(':')
			places[p.AppendToken(k.Value)] = k
			if err := writeJSON(b, n.Content[i+1], p.AppendToken(k.Value), places, depth+1); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, x := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeJSON(b, x, p.AppendToken(strconv.Itoa(i)), places, depth+1); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!bool", "!!int":
			var v any
			if err := n.Decode(&v); err != nil {
				return at(n, "%w", err)
			}
			fmt.Fprint(b, v)
		case "!!null":
			b.WriteString("null")
		case "!!str", "!!timestamp":
			return writeText(b, n)
		default:
			return at(n, "%q is neither text nor a whole number: put it in quotation marks", n.Value)
		}
	default:
		return at(n, "anchors and aliases are not supported: use defaults")
	}
	return nil
}

func writeText(b *bytes.Buffer, n *yaml.Node) error {
	text, err := jsontext.AppendQuote(nil, n.Value)
	if err != nil {
		return at(n, "%w", err)
	}
	b.Write(text)
	return nil
}

// result is a case's outcome as JSON has it.
type result struct {
	Name     string         `json:"name"`
	Line     int            `json:"line"`
	Passed   bool           `json:"passed"`
	Diff     []string       `json:"diff,omitzero"`
	Decision rules.Decision `json:"decision"`
}

func (a *app) runCases(p rules.Policies, file string, cases []testCase, f format) error {
	results := make([]result, len(cases))
	failed := 0
	for i, c := range cases {
		d := rules.DecideChange(p, &c.change)
		r := result{Name: c.name, Line: c.line, Decision: d, Diff: c.want.diff(d)}
		if r.Passed = len(r.Diff) == 0; !r.Passed {
			failed++
		}
		results[i] = r
	}
	if f == formatJSON {
		if err := a.printJSON(struct {
			Tests []result `json:"tests"`
		}{results}); err != nil {
			return err
		}
	} else {
		a.showResults(file, results, failed)
	}
	if failed > 0 {
		return errHuman()
	}
	return nil
}

func (a *app) showResults(file string, results []result, failed int) {
	for _, r := range results {
		if r.Passed {
			fmt.Fprintf(a.stdout, "%s    %s\n", a.out.good("ok"), visible(r.Name))
			continue
		}
		fmt.Fprintf(a.stdout, "%s  %s  %s\n", a.out.bad("FAIL"), visible(r.Name), a.out.dim(fmt.Sprintf("%s:%d", visible(file), r.Line)))
		for _, d := range r.Diff {
			fmt.Fprintf(a.stdout, "      %s\n", visible(d))
		}
		for _, reason := range r.Decision.Reasons {
			fmt.Fprintf(a.stdout, "      %s\n", a.out.dim(string(reason.Code)+"  "+visible(reason.Text)))
		}
	}
	if failed > 0 {
		fmt.Fprintf(a.stdout, "%s  %d of %s failed\n", a.out.bad("FAIL"), failed, plural(len(results), "case"))
		return
	}
	fmt.Fprintf(a.stdout, "%s    %s passed\n", a.out.good("ok"), plural(len(results), "case"))
}

// diff says in lines where a decision is not what is wanted.
func (w wanted) diff(d rules.Decision) []string {
	var out []string
	differs := func(what string, got, want any) {
		out = append(out, fmt.Sprintf("%s: got %v, want %v", what, got, want))
	}
	if w.Verdict != nil && *w.Verdict != d.Verdict {
		differs("verdict", d.Verdict, *w.Verdict)
	}
	if w.Environments != nil && !sameSet(*w.Environments, d.Environments) {
		differs("environments", d.Environments, *w.Environments)
	}
	if w.Authorship != nil && *w.Authorship != d.Authorship.Kind {
		differs("authorship", d.Authorship.Kind, *w.Authorship)
	}
	for _, code := range w.Codes {
		if !slices.ContainsFunc(d.Reasons, func(r rules.Reason) bool { return r.Code == code }) {
			out = append(out, fmt.Sprintf("codes: %s is not among the reasons", code))
		}
	}
	if w.Needs != nil {
		var got []rules.Reviewer
		for _, n := range d.Needs {
			if n.Missing() > 0 {
				got = append(got, n.Reviewers...)
			}
		}
		slices.Sort(got)
		got = slices.Compact(got)
		if !sameSet(*w.Needs, got) {
			differs("needs", got, *w.Needs)
		}
	}
	if w.AutoApproval != nil && *w.AutoApproval != d.AutoApproval {
		differs("auto_approval", d.AutoApproval, *w.AutoApproval)
	}
	return out
}

// sameSet compares lists whatever their order.
func sameSet[T cmp.Ordered](a, b []T) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}
