package rules

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/sallyport/sallyport/rules/paths"
)

// This file checks what the types cannot say: whether a policy that parses also
// makes sense. No check depends on the order of keys.

func lintPolicy(f *file, p *Policy) {
	if !lintLimits(f, p) {
		return
	}
	if p.Mode == ModeObserve {
		f.warn("mode", "observe only says what it decides: nothing is held")
	}
	lintAgents(f, p.Agents)
	human := false
	for _, name := range slices.Sorted(maps.Keys(p.Environments)) {
		human = human || p.Environments[name].Gate == GateHuman
		lintEnvironment(f, p, name)
	}
	if !human {
		f.add(f.mark("environments").key, SeverityError, "environments", "production: {gate: human}",
			"no environment has gate: human, so nothing would ever wait for anyone")
	}
	for i, pattern := range p.Protect {
		field := entry("protect", i)
		if strings.HasPrefix(pattern, "!") {
			f.wrong(field, "%s takes paths out: protect may only add", quote(pattern))
		} else if err := paths.CheckPattern(pattern); err != nil {
			f.wrong(field, "%s", oneLine(err))
		}
	}
	lintReviewers(f, p)
	lintOrganisations(f, p)
	lintCredentials(f, p)
	lintNetworks(f, p)
	lintCovers(f, p)
	for i, name := range p.Alerts {
		if err := checkName(name); err != nil {
			f.wrong(entry("alerts", i), "alert address %s: %s", quote(name), err)
		}
	}
}

// lintLimits holds the totals that no single list shows.
func lintLimits(f *file, p *Policy) bool {
	patterns, names := len(p.Protect), 0
	for _, e := range p.Environments {
		patterns += len(e.Paths) + len(e.Also)
		names += len(e.Deployments) + len(e.Branches) + len(e.Tags)
	}
	for _, a := range p.Agents.Also {
		names += len(a.Branches) + len(a.Trailers)
	}
	if patterns > MaxPatterns {
		f.wrongKey("environments", "%d path patterns in all: at most %d", patterns, MaxPatterns)
	}
	if names > MaxNamePatterns {
		f.wrongKey("environments", "%d patterns of deployments, branches, tags and trailers in all: at most %d", names, MaxNamePatterns)
	}
	return !f.failed()
}

func lintAgents(f *file, a AgentRules) {
	if a.Text == Approve {
		f.warn("agents.text", "anyone can type a trailer or name a branch: this merges without human review")
	}
	if a.Catalogue != nil && !*a.Catalogue && len(a.Also) == 0 {
		f.warn("agents.catalogue", "without the built-in signatures and without any of its own the policy knows no agent")
	}
	ids := map[string]int{}
	for i, e := range a.Also {
		field := entry("agents.also", i)
		if !isToken(e.ID, 64, "-") || strings.ToLower(e.ID) != e.ID {
			f.wrong(child(field, "id"), "agent id %s: want lower-case letters, digits and hyphens", quote(e.ID))
		}
		if first, ok := ids[e.ID]; ok {
			f.wrong(child(field, "id"), "agent id %s is used twice: first on line %d", quote(e.ID), f.mark(child(entry("agents.also", first), "id")).value.line)
		} else {
			ids[e.ID] = i
		}
		if len(e.Logins)+len(e.Branches)+len(e.Trailers) == 0 {
			f.wrong(field, "agent %s has nothing to be recognised by: give it logins, branches or trailers", quote(e.ID))
		}
		for j, pattern := range e.Branches {
			at := entry(child(field, "branches"), j)
			if err := checkNamePattern(pattern, "refs/heads/"); err != nil {
				f.wrong(at, "branch pattern %s: %s", quote(pattern), err)
			} else if matchesAll(pattern) {
				f.wrong(at, "branch pattern %s matches every branch: everybody would be this agent", quote(pattern))
			}
		}
		for j, pattern := range e.Trailers {
			at := entry(child(field, "trailers"), j)
			key, value, ok := strings.Cut(pattern, ":")
			if !ok {
				f.wrong(at, "trailer pattern %s has no colon: write one like %q", quote(pattern), "Made-by: name-*")
			} else if !isToken(key, 64, "-") {
				f.wrong(at, "trailer pattern %s: its key is not made of letters, digits and hyphens", quote(pattern))
			} else if matchesAll(strings.TrimSpace(value)) || strings.TrimSpace(value) == "" {
				f.wrong(at, "trailer pattern %s matches every value: say which", quote(pattern))
			} else if err := checkNamePattern(strings.TrimSpace(value), ""); err != nil {
				f.wrong(at, "trailer pattern %s: %s", quote(pattern), err)
			}
		}
	}
}

// matchesAll reports whether a pattern is made of nothing but stars.
func matchesAll(pattern string) bool { return strings.Trim(pattern, "*/") == "" }

func lintEnvironment(f *file, p *Policy, name string) {
	e, field := p.Environments[name], child("environments", name)
	at := func(key string) string { return child(field, key) }
	has := func(key string) bool { _, ok := f.marks[at(key)]; return ok }

	if err := checkEnvironmentName(name); err != nil {
		f.wrongKey(field, "environment %s: %s", quote(name), err)
	}
	positive := false
	for i, pattern := range e.Paths {
		positive = positive || !strings.HasPrefix(pattern, "!")
		if err := paths.CheckPattern(pattern); err != nil {
			f.wrong(entry(at("paths"), i), "%s", oneLine(err))
		}
	}
	if len(e.Paths) > 0 && !positive {
		f.wrongKey(at("paths"), `the paths of environment %s only take paths out: name what belongs there too, such as "**"`, quote(name))
	}
	for _, pattern := range slices.Sorted(maps.Keys(e.Also)) {
		where := child(at("also"), pattern)
		if strings.HasPrefix(pattern, "!") {
			f.wrongKey(where, `%s takes paths out: "also" may only add`, quote(pattern))
		} else if err := paths.CheckPattern(pattern); err != nil {
			f.wrongKey(where, "%s", oneLine(err))
		}
	}
	for i, pattern := range e.Deployments {
		if err := checkNamePattern(pattern, ""); err != nil {
			f.wrong(entry(at("deployments"), i), "GitHub environment %s: %s", quote(pattern), err)
		}
	}
	for i, pattern := range e.Branches {
		if err := checkNamePattern(pattern, "refs/heads/"); err != nil {
			f.wrong(entry(at("branches"), i), "branch %s: %s", quote(pattern), err)
		} else if e.Gate == GateHuman && matchesAll(pattern) {
			f.warn(entry(at("branches"), i), "%s lets every branch deploy to %s", quote(pattern), quote(name))
		}
	}
	for i, pattern := range e.Tags {
		if err := checkNamePattern(pattern, "refs/tags/"); err != nil {
			f.wrong(entry(at("tags"), i), "tag %s: %s", quote(pattern), err)
		}
	}
	lintEvents(f, e, at("events"))
	if missing := missingRoles(e.Exclude); has("exclude") && len(missing) > 0 {
		f.wrongKey(at("exclude"), `"exclude" may only grow: it lacks %s`, strings.Join(missing, ", "))
	}
	for i, a := range e.Accept.Deploy {
		if a == AcceptDeploymentReview {
			f.warn(entry(child(at("accept"), "deploy"), i), "a deployment review does not show the approver what is deployed: prefer check-button or dashboard")
		}
	}

	switch e.Gate {
	case GateHuman:
		if e.Merge {
			f.wrong(at("merge"), "merge: true needs gate: auto: what a human approves a human merges")
		}
		if len(e.Unattended) > 0 {
			f.wrongKey(at("unattended"), `"unattended" needs gate: auto: here a human is asked`)
		}
	case GateAuto:
		if len(e.Also) > 0 {
			break
		}
		for _, key := range []string{"steps", "count", "reviewers", "accept", "exclude", "max_age", "presence"} {
			if has(key) {
				f.add(f.mark(at(key)).key, SeverityWarning, at(key), "", fmt.Sprintf("%q says nothing with gate: auto: no human is asked here", key))
			}
		}
	}
}

func missingRoles(given []Role) []string {
	var missing []string
	for _, r := range ExcludedRoles() {
		if !slices.Contains(given, r) {
			missing = append(missing, string(r))
		}
	}
	return missing
}

func lintEvents(f *file, e *Environment, field string) {
	if len(e.Events) == 0 {
		return
	}
	events := githubEvents()
	for i, event := range e.Events {
		at := entry(field, i)
		switch kind, known := events[event]; {
		case !known:
			f.wrong(at, "no such event %s: %s", quote(event), wanted(event, slices.Collect(maps.Keys(events))))
		case kind == eventNever:
			f.wrong(at, "%s is never the event of a run: name what starts the calling workflow", quote(event))
		case kind == eventOutside && e.Gate == GateHuman:
			f.wrong(at, "%s can be started by a pull request, a comment or a stranger: it never deploys where gate is human", quote(event))
		}
	}
}

// reviewerList is one list of reviewers with what is asked of it.
type reviewerList struct {
	field string // where the list stands
	blame string // where to report that it is too short
	list  []Reviewer
	count int
}

func reviewerLists(p *Policy) []reviewerList {
	var lists []reviewerList
	shared := reviewerList{field: "reviewers", blame: "reviewers", list: p.Reviewers, count: 1}
	for _, name := range slices.Sorted(maps.Keys(p.Environments)) {
		e, field := p.Environments[name], child("environments", name)
		switch {
		case len(e.Reviewers) > 0:
			own := child(field, "reviewers")
			lists = append(lists, reviewerList{field: own, blame: own, list: e.Reviewers, count: e.count()})
		case e.Gate == GateHuman && e.count() > 1:
			lists = append(lists, reviewerList{field: "reviewers", blame: child(field, "count"), list: p.Reviewers, count: e.count()})
		}
		for _, pattern := range slices.Sorted(maps.Keys(e.Also)) {
			also := child(child(field, "also"), pattern)
			lists = append(lists, reviewerList{field: also, blame: also, list: e.Also[pattern], count: 1})
		}
	}
	if p.BreakGlass != nil {
		lists = append(lists, reviewerList{field: "break_glass.reviewers", blame: "break_glass.reviewers", list: p.BreakGlass.Reviewers, count: 1})
	}
	return append(lists, shared)
}

// lintReviewers refuses environments that nobody could let anything into.
func lintReviewers(f *file, p *Policy) {
	for _, name := range slices.Sorted(maps.Keys(p.Environments)) {
		e, field := p.Environments[name], child("environments", name)
		if e.Gate == GateHuman && len(e.reviewersOf(p)) == 0 {
			f.add(f.mark(field).key, SeverityError, field, "reviewers: [organisation/team]",
				fmt.Sprintf("environment %s has gate: human and no reviewers: name them here or at the top", quote(name)))
		}
	}
	for _, l := range reviewerLists(p) {
		if len(l.list) == 0 || slices.ContainsFunc(l.list, Reviewer.IsTeam) || len(l.list) > l.count {
			continue
		}
		users := "1 user"
		if len(l.list) > 1 {
			users = fmt.Sprintf("%d users", len(l.list))
		}
		f.wrong(l.blame, "nobody could ever approve a change by one of these reviewers: of %s, %d must approve and its author does not count: add another user or a team", users, l.count)
	}
}

// lintOrganisations refuses teams of more than one organisation: a team counts
// only if it belongs to the repository's owner, and there is one of these.
func lintOrganisations(f *file, p *Policy) {
	type team struct {
		org, field string
		at         place
	}
	var teams []team
	for _, l := range reviewerLists(p) {
		for i, r := range l.list {
			if org, _, ok := strings.Cut(r.Key(), "/"); ok {
				field := entry(l.field, i)
				teams = append(teams, team{org, field, f.mark(field).value})
			}
		}
	}
	slices.SortFunc(teams, func(a, b team) int {
		return cmp.Or(cmp.Compare(a.at.line, b.at.line), cmp.Compare(a.at.column, b.at.column))
	})
	seen := map[string]bool{}
	for i, t := range teams {
		if i > 0 && !seen[t.org] {
			f.wrong(t.field, "a team of organisation %s, where line %d has one of %s: teams count only in the repository's own organisation", quote(t.org), teams[0].at.line, quote(teams[0].org))
		}
		seen[t.org] = true
	}
}

func lintCredentials(f *file, p *Policy) {
	writers := map[string]string{} // target → the first credential that writes to it
	names := slices.Sorted(maps.Keys(p.Environments))
	for _, name := range slices.Sorted(maps.Keys(p.Credentials)) {
		if f.full() && f.failed() {
			f.dropped = true
			return
		}
		c, field := p.Credentials[name], child("credentials", name)
		at := func(key string) string { return child(field, key) }
		if err := checkName(name); err != nil {
			f.wrongKey(field, "credential %s: %s", quote(name), err)
		}
		if err := checkName(c.Target); err != nil {
			f.wrong(at("target"), "target %s: %s", quote(c.Target), err)
		}
		if time.Duration(c.TTL) > maxCredentialTTL {
			f.wrong(at("ttl"), "a credential lives 1h at most, not %s", duration(c.TTL))
		}
		if life := time.Duration(c.TTL); life != 0 && life < minCredentialTTL {
			f.wrong(at("ttl"), "a credential lives 1m at least, not %s: making it may take half of that", duration(c.TTL))
		}
		if c.Workflow != "" {
			if err := checkWorkflow(c.Workflow); err != nil {
				f.wrong(at("workflow"), "workflow %s: %s", quote(c.Workflow), err)
			}
		}
		e := p.Environments[c.Environment]
		if e == nil {
			f.wrong(at("environment"), "there is no environment %s: %s", quote(c.Environment), wanted(c.Environment, names))
			continue
		}
		if e.Gate == GateHuman && c.Workflow == "" {
			f.add(f.mark(field).key, SeverityError, field, "workflow: deploy.yml",
				fmt.Sprintf("credential %s is of an environment with gate: human and names no workflow: any workflow could ask for it", quote(name)))
		}
		if len(e.Unattended) > 0 && c.Workflow == "" {
			f.add(f.mark(field).key, SeverityError, field, "workflow: agent-task.yml",
				fmt.Sprintf("credential %s is for agents' tasks without a human (unattended) and names no workflow: any workflow could ask for it", quote(name)))
		}
		if c.Capability != CapabilityWrite {
			continue
		}
		if len(e.Unattended) > 0 {
			f.wrong(at("capability"), "environment %s is for agents' tasks without a human (unattended): credentials there only read", quote(c.Environment))
		}
		key := strings.ToLower(c.Target)
		if other, ok := writers[key]; ok && p.Credentials[other].Environment != c.Environment {
			f.wrong(at("target"), "target %s is written to from environment %s too (credential %s): what one environment's job may write, another's must not",
				quote(c.Target), quote(p.Credentials[other].Environment), quote(other))
		} else if !ok {
			writers[key] = name
		}
	}
}

func lintNetworks(f *file, p *Policy) {
	names := slices.Sorted(maps.Keys(p.Environments))
	for _, name := range slices.Sorted(maps.Keys(p.Networks)) {
		field := child("networks", name)
		if p.Environments[name] == nil {
			f.wrongKey(field, "there is no environment %s: %s", quote(name), wanted(name, names))
		}
		for i, network := range p.Networks[name] {
			if err := checkNetwork(network); err != nil {
				f.wrong(entry(field, i), "%s: %s", quote(network), err)
			}
		}
	}
}

// coverBudget bounds the comparisons of lintCovers, in bytes of pattern times
// bytes of name. It only warns, so giving up on an enormous policy loses nothing
// that keeps anything out.
const coverBudget = 20_000_000

// lintCovers warns where GitHub environments are covered by two entries of which
// one is automatic: the other decides.
func lintCovers(f *file, p *Policy) {
	type cover struct {
		env, text, field string
		gate             Gate
	}
	var literals, globs []cover
	for _, name := range slices.Sorted(maps.Keys(p.Environments)) {
		e, field := p.Environments[name], child("environments", name)
		if len(e.Deployments) == 0 {
			literals = append(literals, cover{name, strings.ToLower(name), field, e.Gate})
		}
		for i, d := range e.Deployments {
			c := cover{name, strings.ToLower(d), entry(child(field, "deployments"), i), e.Gate}
			if isLiteral(d) {
				literals = append(literals, c)
			} else {
				globs = append(globs, c)
			}
		}
	}
	warn := func(auto, human cover) {
		at := f.mark(auto.field).value
		if auto.field == child("environments", auto.env) {
			at = f.mark(auto.field).key
		}
		f.add(at, SeverityWarning, auto.field, "", fmt.Sprintf("GitHub environment %s is covered by %s too, which has gate: human: the strictest decides",
			quote(auto.text), quote(human.env)))
	}
	human := map[string]cover{}
	for _, set := range [][]cover{literals, globs} {
		for _, c := range set {
			if _, ok := human[c.text]; !ok && c.gate == GateHuman {
				human[c.text] = c
			}
		}
	}
	warned := map[string]bool{}
	for _, set := range [][]cover{literals, globs} {
		for _, c := range set {
			if h, ok := human[c.text]; ok && c.gate == GateAuto {
				warn(c, h)
				warned[c.field] = true
			}
		}
	}
	budget := coverBudget
	for _, g := range globs {
		if checkNamePattern(g.text, "") != nil {
			continue
		}
		for _, l := range literals {
			if budget -= len(g.text) * len(l.text); budget < 0 {
				return
			}
			auto, strict := l, g
			if g.gate == GateAuto {
				auto, strict = g, l
			}
			if l.gate != g.gate && !warned[auto.field] && paths.Match(g.text, l.text) {
				warn(auto, strict)
				warned[auto.field] = true
			}
		}
	}
}

// lintReach refuses patterns that can never decide anything: taken out by the
// list's own "!" patterns, or, in an environment with gate: auto, always within
// something stricter. It finds the cases that can be told from the text of two
// patterns and is silent about the others. The policy must be compiled.
func lintReach(f *file, p *Policy) {
	strict := newReach()
	for _, pattern := range ProtectedPaths() {
		strict.add(pattern, owner{what: "the built-in protected paths"})
	}
	for _, pattern := range p.Protect {
		strict.add(pattern, owner{what: `"protect"`})
	}
	for _, name := range p.compiled.names {
		if e := p.Environments[name]; e.Gate == GateHuman {
			for _, pattern := range e.Paths {
				if !strings.HasPrefix(pattern, "!") {
					strict.add(pattern, owner{what: "environment " + quote(name), out: exclusions(e.Paths)})
				}
			}
		}
	}
	var hits []paths.Hit[pathRule]
	for place, name := range p.compiled.names {
		e, field := p.Environments[name], child(child("environments", name), "paths")
		own := newReach()
		for _, pattern := range exclusions(e.Paths) {
			own.add(pattern, owner{})
		}
		type dead struct {
			i             int
			by, byPattern string
		}
		var deads []dead
		positive := 0
		for i, pattern := range e.Paths {
			if strings.HasPrefix(pattern, "!") {
				continue
			}
			positive++
			if isLiteral(pattern) {
				hits = p.compiled.paths.Append(hits[:0], pattern)
				reached := false
				var by dead
				for _, h := range hits {
					switch {
					case h.Value.kind == rulePaths && h.Value.env == place:
						reached = true
					case e.Gate == GateHuman:
					case h.Value.kind == ruleProtect:
						by = dead{i, "the protected paths", h.Pattern}
					case h.Value.kind == rulePaths && by.by == "" && p.compiled.envs[h.Value.env].Gate == GateHuman:
						by = dead{i, "environment " + quote(p.compiled.names[h.Value.env]), h.Pattern}
					}
				}
				if !reached {
					f.wrong(entry(field, i), "%s is taken out again by a \"!\" pattern of the same list", quote(pattern))
				} else if by.by != "" {
					deads = append(deads, by)
				}
				continue
			}
			if _, by, ok := own.over(pattern); ok {
				f.wrong(entry(field, i), "%s is taken out again by %s of the same list", quote(pattern), quote("!"+by))
				continue
			}
			if e.Gate == GateAuto {
				if o, by, ok := strict.over(pattern); ok {
					deads = append(deads, dead{i, o.what, by})
				}
			}
		}
		if positive > 0 && len(deads) == positive {
			d := deads[0]
			f.wrongKey(child("environments", name), "environment %s can never decide anything: all its paths belong to something stricter (%s to %s by %s)",
				quote(name), quote(e.Paths[d.i]), d.by, quote(d.byPattern))
			continue
		}
		for _, d := range deads {
			f.wrong(entry(field, d.i), "%s can never decide: it belongs to %s by %s, which is stricter", quote(e.Paths[d.i]), d.by, quote(d.byPattern))
		}
	}
}

// exclusions are the "!" patterns of a list, without the mark.
func exclusions(list []string) []string {
	var out []string
	for _, p := range list {
		if body, ok := strings.CutPrefix(p, "!"); ok {
			out = append(out, body)
		}
	}
	return out
}

// owner is whose a pattern is; out are the patterns that its list takes out.
type owner struct {
	what string
	out  []string
}

type owned struct {
	owner
	pattern string
}

// reach finds patterns that surely match all that another one matches.
type reach struct {
	all      []owned            // "**"
	same     map[string][]owned // by the pattern itself
	under    map[string][]owned // "X/**", by X
	named    map[string][]owned // "**/X", by X
	anywhere map[string][]owned // "**/X/**", by X
}

func newReach() *reach {
	return &reach{
		same: map[string][]owned{}, under: map[string][]owned{},
		named: map[string][]owned{}, anywhere: map[string][]owned{},
	}
}

func (r *reach) add(pattern string, o owner) {
	w := owned{o, pattern}
	r.same[pattern] = append(r.same[pattern], w)
	tail, hasTail := strings.CutSuffix(pattern, "/**")
	head, hasHead := strings.CutPrefix(tail, "**/")
	switch {
	case pattern == "**":
		r.all = append(r.all, w)
	case !isLiteral(head) || hasHead && strings.Contains(head, "/"):
	case hasHead && hasTail:
		r.anywhere[head] = append(r.anywhere[head], w)
	case hasHead:
		r.named[head] = append(r.named[head], w)
	case hasTail:
		r.under[head] = append(r.under[head], w)
	}
}

// over finds a pattern that surely matches all that pattern does, in a list that
// surely takes none of it out.
func (r *reach) over(pattern string) (owner, string, bool) {
	lists := [][]owned{r.all, r.same[pattern]}
	literal := pattern[:len(pattern)-len(strings.TrimLeftFunc(pattern, func(c rune) bool { return !strings.ContainsRune(meta, c) }))]
	for i, c := range literal {
		if c == '/' {
			lists = append(lists, r.under[literal[:i]])
		}
	}
	if !strings.ContainsAny(pattern, `{\`) {
		segments := strings.Split(pattern, "/")
		lists = append(lists, r.named[segments[len(segments)-1]])
		for _, s := range segments[:len(segments)-1] {
			lists = append(lists, r.anywhere[s])
		}
	}
	for _, list := range lists {
		for _, w := range list {
			if !slices.ContainsFunc(w.out, func(out string) bool { return mayMeet(out, pattern) }) {
				return w.owner, w.pattern, true
			}
		}
	}
	return owner{}, "", false
}

// meta are the characters that make a pattern more than a name.
const meta = `*?[]{}\`

func isLiteral(pattern string) bool { return !strings.ContainsAny(pattern, meta) }

// mayMeet reports whether a path could match both patterns, as far as their
// literal beginnings tell.
func mayMeet(a, b string) bool {
	literal := func(s string) string {
		if i := strings.IndexAny(s, meta); i >= 0 {
			return strings.TrimSuffix(s[:i], "/")
		}
		return s
	}
	x, y := literal(a), literal(b)
	return strings.HasPrefix(x, y) || strings.HasPrefix(y, x)
}

// The checks of single texts.

// duration is a length of time as people write it, without what is zero.
func duration(d Duration) string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// isToken reports whether s is made of ASCII letters and digits and the
// characters of more, begins with a letter or digit, and is not longer than most.
func isToken(s string, most int, more string) bool {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && (i == 0 || !strings.ContainsRune(more, r)) {
			return false
		}
	}
	return s != "" && len(s) <= most
}

// checkText checks the form of texts whose type says what they are.
func checkText(t reflect.Type, s string) error {
	switch t {
	case reflect.TypeFor[Reviewer]():
		return checkReviewer(s)
	case reflect.TypeFor[Login]():
		if err := checkLogin(strings.TrimSuffix(s, "[bot]")); err != nil {
			return fmt.Errorf("login %s: %w", quote(s), err)
		}
	case reflect.TypeFor[Slug]():
		if !isToken(s, 100, "-") || strings.ToLower(s) != s {
			return fmt.Errorf("app %s: want the name in the App's address, of lower-case letters, digits and hyphens", quote(s))
		}
	}
	return nil
}

func checkReviewer(s string) error {
	org, team, isTeam := strings.Cut(s, "/")
	switch {
	case strings.HasPrefix(s, "@"):
		return fmt.Errorf("reviewer %s: leave the \"@\" out", quote(s))
	case strings.Contains(s, "@"):
		return fmt.Errorf("reviewer %s is an e-mail address: want a login or organisation/team", quote(s))
	case strings.HasSuffix(strings.ToLower(s), "[bot]"):
		return fmt.Errorf("reviewer %s is a bot: a bot can never approve", quote(s))
	case !isTeam:
		if err := checkLogin(s); err != nil {
			return fmt.Errorf("reviewer %s: %w", quote(s), err)
		}
		return nil
	}
	if err := checkLogin(org); err != nil {
		return fmt.Errorf("reviewer %s: its organisation: %w", quote(s), err)
	}
	if !isToken(team, 100, "-_") {
		return fmt.Errorf("reviewer %s: want organisation/team with the team's name in its address, of letters, digits, hyphens and underscores", quote(s))
	}
	return nil
}

// checkLogin checks an account's name: letters, digits and single hyphens, 39 at
// most, and an underscore in those of enterprise managed users
// (https://docs.github.com/enterprise-cloud@latest/admin/identity-and-access-management/iam-configuration-reference/username-considerations-for-external-authentication).
func checkLogin(s string) error {
	switch {
	case len(s) > 39:
		return errors.New("a login has 39 characters at most")
	case !isToken(s, 39, "-_") || strings.HasSuffix(s, "-") || strings.Contains(s, "--"):
		return errors.New("a login has letters, digits and single hyphens between them")
	}
	return nil
}

// checkName checks a name that policy and targets file share: of a credential, a
// target or an alert address.
func checkName(s string) error {
	if !isToken(s, 64, "-_.") {
		return errors.New("want letters, digits, hyphens, underscores and dots, 64 at most")
	}
	return nil
}

// checkEnvironmentName checks an environment's name. It is also the GitHub
// environment it covers, unless deployments says otherwise, and so no pattern.
func checkEnvironmentName(s string) error {
	switch {
	case utf8.RuneCountInString(s) > 255:
		return errors.New("a name has 255 characters at most")
	case strings.ContainsAny(s, meta+"!"):
		return errors.New(`a name is no pattern: give it a plain name and put the pattern under "deployments"`)
	}
	return nil
}

// checkNamePattern checks a pattern of names (GitHub environments, branches,
// tags, trailers). prefix is the ref prefix that does not belong there.
func checkNamePattern(s, prefix string) error {
	switch {
	case utf8.RuneCountInString(s) > 255:
		return errors.New("a pattern has 255 characters at most")
	case prefix != "" && strings.HasPrefix(s, "refs/"):
		return fmt.Errorf("write it without %q", prefix)
	case strings.HasPrefix(s, "!"):
		return errors.New(`a pattern that begins with "!" takes nothing out here: name what belongs in`)
	case strings.ContainsAny(s, `{}`):
		return errors.New("braces have no meaning here: list the names one by one")
	case strings.Contains(s, `\`):
		return errors.New(`"\" has no meaning here`)
	case !doublestar.ValidatePattern(s):
		return errors.New(`a "[" is not closed`)
	}
	return nil
}

// checkWorkflow checks the two forms of a credential's workflow.
func checkWorkflow(s string) error {
	const local = `want a file name like "deploy.yml"`
	yml := func(file string) bool {
		base, ok := strings.CutSuffix(file, ".yml")
		if !ok {
			base, ok = strings.CutSuffix(file, ".yaml")
		}
		return ok && base != "" && !strings.ContainsAny(file, "/@*?[]{}!") && !strings.HasPrefix(file, ".")
	}
	if !strings.ContainsAny(s, "/@") {
		if !yml(s) {
			return errors.New(local)
		}
		return nil
	}
	if file, ok := strings.CutPrefix(s, ".github/workflows/"); ok && yml(file) {
		return fmt.Errorf("this repository's workflows are named without a folder: write %q", file)
	}
	path, sha, pinned := strings.Cut(s, "@")
	parts := strings.Split(path, "/")
	switch {
	case len(parts) != 5 || parts[2] != ".github" || parts[3] != "workflows" || !yml(parts[4]) ||
		checkLogin(parts[0]) != nil || !isToken(strings.TrimPrefix(parts[1], "."), 100, "-_."):
		return errors.New(local + `, or another repository's as "owner/repo/.github/workflows/file.yml@full-sha"`)
	case !pinned:
		return errors.New("another repository's workflow is pinned to a full commit: add @ and its 40 hexadecimal digits")
	case len(sha) != 40 || strings.Trim(sha, "0123456789abcdef") != "":
		return fmt.Errorf("%s is no full commit id: branches and tags move, so want 40 hexadecimal digits", quote(sha))
	}
	return nil
}

// checkNetwork checks an address range or a host name.
func checkNetwork(s string) error {
	if strings.Contains(s, "/") {
		prefix, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return errors.New("want an address range like 10.20.0.0/16 or a host name")
		case prefix.Masked() != prefix:
			return fmt.Errorf("the range begins at %s", prefix.Masked())
		}
		return nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return fmt.Errorf("a single address is written as the range %s/%d", a, a.BitLen())
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if !isToken(l, 63, "-_") || strings.HasSuffix(l, "-") {
			return errors.New("want an address range like 10.20.0.0/16 or a host name")
		}
	}
	if last := labels[len(labels)-1]; len(s) > 253 || strings.Trim(last, "0123456789") == "" {
		return errors.New("want an address range like 10.20.0.0/16 or a host name")
	}
	return nil
}
