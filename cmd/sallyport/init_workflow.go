package main

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/sallyport/sallyport/rules"
)

// gateOptions say what the step that init adds looks like.
type gateOptions struct {
	// Uses is the action with its ref, Server the server's address or an expression
	// that gives it.
	Uses, Server string
	// Gated reports whether the deployments to a GitHub environment ask a human.
	Gated func(environment string) bool
}

// edit is one change of a text's lines: Remove lines before line At (from 0) go, and
// Add come in their place.
type edit struct {
	at, remove int
	add        []string
}

// workflow is a workflow file with what init would change in it.
type workflow struct {
	name  string
	lines []string // each with its end
	eol   string
	edits []edit
	// notes explain each change, and name what a person has to do.
	notes []string
	// asked says that a job of it asks a human, and settings what its jobs read.
	asked    bool
	token    bool // an edit has a job ask for its OIDC token
	settings map[string]jobSetting
}

// jobSetting is a secret or variable that jobs read.
type jobSetting struct {
	secret, gated, free bool
	where               string
}

// actionName is the action without its ref.
func (o gateOptions) actionName() string {
	name, _, _ := strings.Cut(o.Uses, "@")
	return name
}

// readWorkflow finds the jobs of a workflow that ask a human and do not wait for one
// yet. Lines are only ever added, except for permissions on one line. Nil is a file
// that is no workflow; one that cannot be read may be one, and has a note.
func readWorkflow(name string, data []byte, o gateOptions) *workflow {
	var doc yaml.Node
	if len(data) > rules.MaxStarterBytes {
		return unread(name, data, fmt.Sprintf("it has more than %d bytes", rules.MaxStarterBytes))
	}
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return unread(name, data, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if bytes.IndexByte(data, 0) >= 0 || doc.Kind != yaml.DocumentNode {
		return nil
	}
	root := doc.Content[0]
	_, jobs := member(root, "jobs")
	if jobs == nil || jobs.Kind != yaml.MappingNode {
		return nil
	}
	w := &workflow{name: name, lines: strings.SplitAfter(string(data), "\n"), eol: "\n", settings: map[string]jobSetting{}}
	if strings.HasSuffix(w.lines[0], "\r\n") {
		w.eol = "\r\n"
	}
	_, permissions := member(root, "permissions")
	for i := 0; i+1 < len(jobs.Content); i += 2 {
		id, job := jobs.Content[i].Value, jobs.Content[i+1]
		environment, named := environmentOf(job)
		gated := named && (strings.Contains(environment, "${{") || o.Gated(environment))
		w.reads(id, job, gated)
		if gated {
			w.asked = true
			w.gate(id, environment, job, permissions, o)
		}
	}
	_, all := member(root, "env")
	w.reads("all jobs", all, false)
	if len(w.edits) > 0 && !w.holds(o) {
		w.edits = nil
		w.notes = []string{"its form is one that cannot be changed safely: add the step by hand"}
	}
	if len(w.edits) > 0 && w.token && isCalled(root) {
		w.notes = append(w.notes, "each job that calls it needs id-token: write in its permissions too, or GitHub starts nothing of the workflow that it is in")
	}
	return w
}

// unread is a workflow that nobody but a person can look at.
func unread(name string, data []byte, why string) *workflow {
	note := "init cannot read it (" + visible(why) + "): if a job of it deploys, add the step by hand"
	return &workflow{name: name, lines: strings.SplitAfter(string(data), "\n"), notes: []string{note}}
}

// isCalled says that a workflow is one that other workflows call.
func isCalled(root *yaml.Node) bool {
	const event = "workflow_call"
	_, on := member(root, "on")
	if on == nil {
		return false
	}
	if key, _ := member(on, event); key != nil || on.Value == event {
		return true
	}
	return on.Kind == yaml.SequenceNode && slices.ContainsFunc(on.Content, func(n *yaml.Node) bool { return n.Value == event })
}

// environmentOf is the GitHub environment that a job names.
func environmentOf(job *yaml.Node) (string, bool) {
	_, env := member(job, "environment")
	env = anchored(env)
	if env != nil && env.Kind == yaml.MappingNode {
		_, env = member(env, "name")
		env = anchored(env)
	}
	if env == nil || env.Kind != yaml.ScalarNode || env.Value == "" {
		return "", false
	}
	return env.Value, true
}

// gate plans the changes of one job.
func (w *workflow) gate(id, environment string, job, outer *yaml.Node, o gateOptions) {
	note := func(format string, args ...any) {
		w.notes = append(w.notes, fmt.Sprintf("job %s: ", visible(id))+fmt.Sprintf(format, args...))
	}
	key, steps := member(job, "steps")
	switch {
	case steps == nil:
		note("it has no steps; the workflow that it calls needs the gate")
		return
	case slices.ContainsFunc(steps.Content, o.isGate):
		return
	case steps.Kind != yaml.SequenceNode || steps.Style&yaml.FlowStyle != 0 || len(steps.Content) == 0 || steps.Line <= key.Line || steps.Anchor != "":
		note("its steps are written in a way that init does not change: add the step by hand")
		return
	}
	pad := strings.Repeat(" ", steps.Column-1)
	if line := w.lines[steps.Line-1]; !strings.HasPrefix(line, pad+"-") {
		note("its steps are written in a way that init does not change: add the step by hand")
		return
	}
	if strings.Contains(environment, "${{") {
		note("its environment is an expression, which is taken for production")
	}
	before := len(w.edits)
	if !w.permit(job, outer, key, note) {
		return
	}
	w.token = w.token || len(w.edits) > before
	w.insert(key.Line, []string{
		pad + "- name: Wait for the approval", pad + "  uses: " + o.Uses, pad + "  with:", pad + "    command: gate", pad + "    server: " + o.Server,
	})
	note("waits in its first step until somebody on the list approved what it deploys to %s", visible(environment))
}

// isGate reports whether a step is the gate already.
func (o gateOptions) isGate(step *yaml.Node) bool {
	_, uses := member(step, "uses")
	_, with := member(step, "with")
	_, command := member(with, "command")
	if uses == nil || command == nil || command.Value != "gate" {
		return false
	}
	name, _, _ := strings.Cut(uses.Value, "@")
	return name == o.actionName() || strings.HasPrefix(name, "./") || strings.HasSuffix(name, "/sallyport")
}

// permit has the job ask for its OIDC token, by which the server knows it. It reports
// whether that can be written down.
func (w *workflow) permit(job, outer, steps *yaml.Node, note func(string, ...any)) bool {
	const token = "id-token: write"
	key, own := member(job, "permissions")
	pad := strings.Repeat(" ", steps.Column-1)
	switch {
	case own == nil && outer == nil:
		w.insert(steps.Line-1, []string{pad + "permissions:", pad + "  contents: read", pad + "  " + token})
		note("its token had the repository's default permissions; it has these two now: add what else its steps need")
		return true
	case own == nil && outer.Kind == yaml.ScalarNode && outer.Value == "write-all", own != nil && own.Kind == yaml.ScalarNode && own.Value == "write-all":
		note("its token may write everything (write-all): name what it needs")
		return true
	case own == nil && outer.Kind == yaml.MappingNode:
		add := []string{pad + "permissions:"}
		has := false
		for i := 0; i+1 < len(outer.Content); i += 2 {
			k, v := outer.Content[i], outer.Content[i+1]
			if k.Kind != yaml.ScalarNode || v.Kind != yaml.ScalarNode || !plainWord.MatchString(k.Value) || !plainWord.MatchString(v.Value) {
				note("the workflow's permissions are written in a way that init does not copy: add id-token: write by hand")
				return false
			}
			has = has || k.Value == "id-token" && v.Value == "write"
			add = append(add, pad+"  "+k.Value+": "+v.Value)
		}
		if !has {
			w.insert(steps.Line-1, append(slices.DeleteFunc(add, func(s string) bool { return strings.HasPrefix(strings.TrimSpace(s), "id-token:") }), pad+"  "+token))
			note("its permissions are those of the workflow, and its OIDC token")
		}
		return true
	case own == nil || own.Kind != yaml.MappingNode || own.Anchor != "":
		note("its permissions are not written one by one: list them, with id-token: write, and run init again")
		return false
	}
	if _, have := member(own, "id-token"); have != nil {
		if have.Value == "write" {
			return true
		}
		note("its id-token is %q: the gate needs id-token: write", visible(have.Value))
		return false
	}
	if own.Style&yaml.FlowStyle == 0 {
		w.insert(key.Line, []string{strings.Repeat(" ", own.Column-1) + token})
		return true
	}
	line := w.lines[own.Line-1]
	if own.Line != key.Line || own.Column > len(line) || line[own.Column-1] != '{' {
		note("its permissions are written in a way that init does not change: add id-token: write by hand")
		return false
	}
	before, after := line[:own.Column], line[own.Column:]
	comma := ", "
	if len(own.Content) == 0 {
		comma = ""
	}
	space := after[:len(after)-len(strings.TrimLeft(after, " "))]
	w.edits = append(w.edits, edit{at: own.Line - 1, remove: 1, add: []string{before + space + token + comma + after[len(space):]}})
	return true
}

// plainWord is what permissions consist of.
var plainWord = regexp.MustCompile(`^[a-z][a-z-]{0,40}\z`)

// insert adds lines after so many.
func (w *workflow) insert(after int, lines []string) {
	for i := range lines {
		lines[i] += w.eol
	}
	w.edits = append(w.edits, edit{at: after, add: lines})
}

// sorted are the edits in the order of the file.
func (w *workflow) sorted() []edit {
	out := slices.Clone(w.edits)
	slices.SortStableFunc(out, func(a, b edit) int { return a.at - b.at })
	return out
}

// edited is the file with its changes.
func (w *workflow) edited() []byte {
	var b strings.Builder
	from := 0
	for _, e := range w.sorted() {
		for ; from < e.at; from++ {
			b.WriteString(w.lines[from])
		}
		for _, l := range e.add {
			b.WriteString(l)
		}
		from += e.remove
	}
	for ; from < len(w.lines); from++ {
		b.WriteString(w.lines[from])
	}
	return []byte(b.String())
}

// holds reads the changed file again: it is a workflow with the same jobs, each with
// the steps that it had and perhaps the gate before them, and nothing else is new.
func (w *workflow) holds(o gateOptions) bool {
	var before, after yaml.Node
	if yaml.Unmarshal([]byte(strings.Join(w.lines, "")), &before) != nil || yaml.Unmarshal(w.edited(), &after) != nil {
		return false
	}
	for _, root := range []*yaml.Node{before.Content[0], after.Content[0]} {
		_, jobs := member(root, "jobs")
		if jobs == nil {
			return false
		}
		for i := 1; i < len(jobs.Content); i += 2 {
			drop(jobs.Content[i], "permissions")
			if _, steps := member(jobs.Content[i], "steps"); steps != nil && len(steps.Content) > 0 && o.isGate(steps.Content[0]) {
				steps.Content = steps.Content[1:]
			}
		}
	}
	return same(before.Content[0], after.Content[0])
}

// same compares two texts' nodes by what they say.
func same(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.Tag != b.Tag || a.Value != b.Value || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !same(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

// anchored is what an alias stands for, and any other node itself.
func anchored(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// member is the key and the value of a mapping's member; nil where there is none.
func member(n *yaml.Node, name string) (key, value *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// drop takes a member off a mapping.
func drop(n *yaml.Node, name string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			n.Content = slices.Delete(n.Content, i, i+2)
			return
		}
	}
}
