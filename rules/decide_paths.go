package rules

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/rules/paths"
)

// Placement is where a policy puts one path, and why.
type Placement struct {
	Path string `json:"path"`
	// Environments are those that the path is in, sorted: for a path that none
	// names, or that is protected, every one with gate: human.
	Environments []string `json:"environments"`
	// Gate is GateAuto only if every environment of the path has it.
	Gate Gate `json:"gate"`
	// Reason says why; its code tells a path that is named from one that is not.
	Reason Reason `json:"reason"`
	// Pattern is the pattern that decided, if one did.
	Pattern string `json:"pattern,omitzero"`
	// Needs are the approvals that the path asks for at the merge and at the
	// deployment.
	Needs []Need `json:"needs,omitzero"`
}

// Place says where a policy puts a path: what sallyport policy explain and the
// tree of sallyport check show. File modes and other names of a file are not
// considered.
func Place(p *Policy, path string) Placement {
	out := Placement{Path: path, Environments: []string{}}
	if p == nil || p.compiled == nil {
		out.Reason = *reason(codePolicyUnread, VerdictWait, at{path: path}, "it was not loaded")
		return out
	}
	t := newTouch(p)
	t.path(path)
	envs := t.environments()
	out.Gate = GateAuto
	for _, e := range envs {
		out.Environments = append(out.Environments, p.compiled.names[e])
		if p.compiled.envs[e].Gate != GateAuto {
			out.Gate = ""
		}
	}
	if out.Gate != GateAuto || len(envs) == 0 {
		out.Gate = GateHuman
	}
	rs := t.reasons()
	for _, r := range rs {
		if r.Code != codeAlsoPath {
			out.Reason = r
			break
		}
	}
	out.Pattern = t.pattern
	for _, step := range []Step{StepMerge, StepDeploy} {
		for _, e := range envs {
			env := p.compiled.envs[e]
			if env.Gate == GateAuto && len(t.also) == 0 {
				continue
			}
			if env.Gate != GateAuto && (slices.Contains(env.steps(), step) || step == StepMerge && t.strictest()) {
				out.Needs = append(out.Needs, Need{Environment: p.compiled.names[e], Step: step, Reviewers: env.reviewersOf(p), Count: env.count()})
			}
			for _, a := range t.also {
				if a.env == e && (env.Gate == GateAuto || slices.Contains(env.steps(), step) || step == StepMerge && t.strictest()) {
					out.Needs = append(out.Needs, Need{Environment: p.compiled.names[e], Step: step, Reviewers: a.reviewers, Count: 1, Path: a.path, Pattern: a.pattern})
				}
			}
		}
	}
	return out
}

// spot is the first path, in order, of all that something holds for.
type spot struct {
	n       int
	path    string
	pattern string
	why     string
}

func (s *spot) add(path, pattern, why string) {
	s.n++
	if s.n == 1 || path < s.path {
		s.path, s.pattern, s.why = path, pattern, why
	}
}

// alsoTouch is an also pattern that a path met.
type alsoTouch struct {
	env       int
	pattern   string
	path      string // one that met it; empty where not every path is known
	reviewers []Reviewer
}

// touch gathers what the paths of a change touch under one policy.
type touch struct {
	p    *Policy
	c    *compiledPolicy
	hits []paths.Hit[pathRule]

	named     []spot // by environment
	odd       spot
	protected spot
	lookalike spot
	unnamed   spot
	special   spot
	modeless  spot
	moved     spot // renamed from nobody knows where
	all       bool // the list is not complete: everything is touched
	also      []alsoTouch
	// pattern is that of the last path, for Place.
	pattern string
}

func newTouch(p *Policy) *touch {
	return &touch{p: p, c: p.compiled, named: make([]spot, len(p.compiled.names))}
}

// file counts a changed file under both its names.
func (t *touch) file(f *File) {
	t.path(f.Path)
	switch {
	case f.PreviousPath != "":
		t.path(f.PreviousPath)
	case !f.Status.stays():
		t.moved.add(f.Path, "", "")
		t.addEveryAlso()
	}
	switch f.Mode {
	case ModeFile, ModeExecutable:
	case "":
		// A removed file has no mode at the head.
		if !strings.EqualFold(string(f.Status), string(FileRemoved)) {
			t.modeless.add(f.Path, "", "")
		}
	default:
		t.special.add(f.Path, "", modeName(f.Mode))
		t.addEveryAlso()
	}
	switch f.PreviousMode {
	case "", ModeFile, ModeExecutable, "000000":
	default:
		t.special.add(f.Path, "", modeName(f.PreviousMode))
		t.addEveryAlso()
	}
}

// stays reports whether a file of this status surely comes from nowhere else. The
// status is compared without case: GraphQL spells it in capitals.
func (s FileStatus) stays() bool {
	switch FileStatus(strings.ToLower(string(s))) {
	case FileAdded, FileModified, FileRemoved, FileChanged, FileUnchanged:
		return true
	default:
		return false
	}
}

func modeName(mode string) string {
	switch mode {
	case ModeSymlink:
		return "symlink"
	case ModeSubmodule:
		return "submodule"
	default:
		return "file of unusual mode " + quote(mode)
	}
}

// path counts one path.
func (t *touch) path(path string) {
	if err := paths.Check(path); err != nil {
		t.odd.add(path, "", strings.TrimPrefix(err.Error(), paths.ErrNotPlain.Error()+": "))
		t.pattern = ""
		t.addEveryAlso()
		return
	}
	t.hits = t.c.paths.Append(t.hits[:0], path)
	strict, named := false, false
	t.pattern = ""
	for _, h := range t.hits {
		switch h.Value.kind {
		case ruleProtect:
			strict = true
			t.pattern = h.Pattern
			if h.Folded {
				t.lookalike.add(path, h.Pattern, "")
			} else {
				t.protected.add(path, h.Pattern, "")
			}
		case rulePaths:
			named = true
			t.named[h.Value.env].add(path, h.Pattern, "")
			if t.pattern == "" || !strict && t.c.envs[h.Value.env].Gate != GateAuto {
				t.pattern = h.Pattern
			}
		case ruleAlso:
		}
	}
	if !strict && !named {
		t.unnamed.add(path, "", "")
	}
	for _, h := range t.hits {
		if h.Value.kind != ruleAlso {
			continue
		}
		e := h.Value.env
		// Where the path names its environments, only theirs ask; else every
		// human one does.
		if named && t.holds(e) || (strict || !named) && t.c.envs[e].Gate != GateAuto {
			t.addAlso(e, h.Pattern, path, h.Value.also)
		}
	}
}

// holds reports whether the last path is in an environment by a pattern.
func (t *touch) holds(env int) bool {
	for _, h := range t.hits {
		if h.Value.kind == rulePaths && h.Value.env == env {
			return true
		}
	}
	return false
}

func (t *touch) addAlso(env int, pattern, path string, rs []Reviewer) {
	for i := range t.also {
		if a := &t.also[i]; a.env == env && a.pattern == pattern {
			a.path = min(a.path, path)
			return
		}
	}
	t.also = append(t.also, alsoTouch{env, pattern, path, rs})
	slices.SortFunc(t.also, func(a, b alsoTouch) int {
		return cmp.Or(cmp.Compare(a.env, b.env), cmp.Compare(a.pattern, b.pattern))
	})
}

// everything says that what is touched is not fully known.
func (t *touch) everything() {
	t.all = true
	t.addEveryAlso()
}

// addEveryAlso counts every also of every environment as met, by what could be any
// path.
func (t *touch) addEveryAlso() {
	for e, env := range t.c.envs {
		for pattern, rs := range env.Also {
			t.addAlso(e, pattern, "", rs)
		}
	}
}

// strictest reports whether something gets the strictest treatment, so that every
// human environment asks at the merge whatever its steps are.
func (t *touch) strictest() bool {
	return t.all || t.odd.n+t.protected.n+t.lookalike.n+t.special.n+t.moved.n > 0
}

// touchesHuman reports whether every human environment is touched.
func (t *touch) touchesHuman() bool { return t.strictest() || t.unnamed.n > 0 }

// environments are the places of those touched, in order.
func (t *touch) environments() []int {
	var out []int
	for e, env := range t.c.envs {
		if t.named[e].n > 0 || t.all || env.Gate != GateAuto && t.touchesHuman() {
			out = append(out, e)
		}
	}
	return out
}

// allAuto reports whether nothing but gate: auto environments is touched, no also
// asks, and at least one path is there. Modes are the caller's to look at.
func (t *touch) allAuto() bool {
	if t.touchesHuman() || len(t.also) > 0 {
		return false
	}
	n := 0
	for e, env := range t.c.envs {
		if t.named[e].n > 0 {
			if env.Gate != GateAuto {
				return false
			}
			n++
		}
	}
	return n > 0
}

// reasons say what is touched and why that matters. They only inform: what they
// ask for is in the needs.
func (t *touch) reasons() []Reason {
	var out []Reason
	add := func(s spot, code Code, args ...any) {
		if s.n > 0 {
			out = append(out, *reason(code, VerdictAllow, at{path: s.path}, args...))
		}
	}
	add(t.odd, codeOddPath, quoted(t.odd.path), t.odd.why)
	add(t.protected, codeProtectedPath, quoted(t.protected.path), t.protected.pattern)
	add(t.lookalike, codeLookalikePath, quoted(t.lookalike.path), t.lookalike.pattern)
	add(t.special, codeSpecialMode, quoted(t.special.path), t.special.why)
	add(t.moved, codeRenameUnknown, quoted(t.moved.path))
	for _, a := range t.also {
		if a.path != "" {
			r := reason(codeAlsoPath, VerdictAllow, at{path: a.path, env: t.c.names[a.env]}, quoted(a.path), a.pattern, listReviewers(a.reviewers))
			out = append(out, *r)
		}
	}
	auto := 0
	var autoNames []string
	autoSpot := spot{}
	for e, env := range t.c.envs {
		s := t.named[e]
		if s.n == 0 {
			continue
		}
		if env.Gate != GateAuto {
			r := reason(codeHumanPath, VerdictAllow, at{path: s.path, env: t.c.names[e]}, quoted(s.path), t.c.names[e], s.pattern)
			out = append(out, *r)
			continue
		}
		auto += s.n
		autoNames = append(autoNames, t.c.names[e])
		autoSpot.add(s.path, s.pattern, "")
	}
	add(t.unnamed, codeUnnamedPath, quoted(t.unnamed.path))
	if auto > 0 {
		what := "its paths are"
		if t.touchesHuman() || len(autoNames) < len(t.environments()) {
			what = "some paths are"
		}
		out = append(out, *reason(codeAutoPath, VerdictAllow, at{path: autoSpot.path, env: autoNames[0]}, what, strings.Join(autoNames, ", ")))
	}
	return out
}

// listReviewers names reviewers in one phrase.
func listReviewers(rs []Reviewer) string {
	s := make([]string, len(rs))
	for i, r := range rs {
		s[i] = string(r)
	}
	switch len(s) {
	case 0:
		return "nobody"
	case 1:
		return s[0]
	default:
		return strings.Join(s[:len(s)-1], ", ") + " or " + s[len(s)-1]
	}
}
