package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/tree"

	"github.com/sallyport/sallyport/gate/git"
	"github.com/sallyport/sallyport/rules"
)

// How much of a long list check shows.
const (
	maxAuthorRows   = 5
	maxEvidenceRows = 4
	maxTreeLines    = 14
	maxReasonRows   = 5
)

// mark is the sign and the words for a decision.
func (a *app) mark(d rules.Decision) (sign, words string) {
	switch {
	case d.Verdict == rules.VerdictAllow:
		return a.out.good("✓"), a.out.good("Nothing is needed")
	case d.Verdict == rules.VerdictWait && !d.NeedsHuman():
		return a.out.good("✓"), a.out.good("No human is needed")
	case d.Verdict == rules.VerdictWait:
		return a.out.wait("●"), a.out.wait("Waits for a human")
	default:
		return a.out.bad("✗"), a.out.bad("Denied")
	}
}

// showNothing is check's answer where the head has nothing that the base has not.
func (a *app) showNothing(w io.Writer, j judged) {
	head, base := visible(headName(j.head)), visible(j.base.Name)
	what := head + " has nothing that " + base + " has not"
	if head == base {
		what = "HEAD is on " + base + ", with nothing ahead"
	}
	fmt.Fprintf(w, "%s %s: %s.\n", a.out.good("✓"), a.out.good("Nothing to judge"), what)
	fmt.Fprintf(w, "  To judge what came last: sallyport check --base HEAD~1\n")
}

func headName(r git.Revision) string {
	if r.Name == "HEAD" && r.Branch != "" {
		return r.Branch
	}
	return r.Name
}

// showCheck writes the whole answer, about forty lines for an ordinary branch.
func (a *app) showCheck(w io.Writer, j judged) {
	ch, d := j.facts.Change, j.decision
	sign, words := a.mark(d)
	fmt.Fprintf(w, "%s %s", sign, words)
	if s := headline(d); s != "" {
		fmt.Fprintf(w, ": %s", s)
	}
	fmt.Fprintln(w)
	add, del := 0, 0
	for _, f := range ch.Files {
		add, del = add+f.Additions, del+f.Deletions
	}
	head := headName(j.head)
	if head == "HEAD" {
		head = "HEAD (" + j.head.SHA.Short() + ")"
	}
	fmt.Fprintf(w, "  %s → %s  %s\n", a.out.name(visible(head)), a.out.name(visible(j.base.Name)),
		a.out.dim(fmt.Sprintf("%s, %s, +%s −%s", plural(len(ch.Commits), "commit"), plural(len(ch.Files), "file"), thousands(add), thousands(del))))

	a.showAuthors(w, ch, d.Authorship)
	groups := placeFiles(j.policy.policy, ch)
	a.showFiles(w, groups, ch)
	a.showNeeds(w, d, groups)
	a.showReasons(w, d)

	fmt.Fprintf(w, "\n%s\n", a.out.strong("POLICY"))
	fmt.Fprintf(w, "  %s\n", strings.TrimSpace(visible(j.policy.path)+" "+a.out.dim(visible(j.policy.where))))
	for _, n := range append([]string{j.policy.note}, j.facts.Notes...) {
		if n != "" {
			a.paragraph(w, a.out.wait("  ! "), "    ", visible(n), false)
		}
	}
	for _, r := range d.Reasons {
		if r.Code == codeLocal {
			a.paragraph(w, "  ", "  ", "A forecast: "+visible(r.Text)+".", true)
			break
		}
	}
}

// headline is the one sentence beside the verdict.
func headline(d rules.Decision) string {
	var who []string
	envs := map[string][]string{}
	for _, n := range d.Needs {
		if m := n.Missing(); m > 0 {
			s := count(m) + " of " + list(n.Reviewers, "or")
			if len(n.Reviewers) == 0 {
				s = "somebody, but nobody is listed"
			}
			if envs[s] == nil {
				who = append(who, s)
			}
			if !slices.Contains(envs[s], n.Environment) {
				envs[s] = append(envs[s], n.Environment)
			}
		}
	}
	for i, s := range who {
		who[i] = s + " for " + list(envs[s], "and")
	}
	if len(who) > 2 {
		who = append(who[:2], fmt.Sprintf("%d more", len(who)-2))
	}
	if len(who) > 0 {
		return strings.Join(who, "; ")
	}
	for _, r := range d.Reasons {
		if r.Verdict != rules.VerdictAllow && r.Code != codeLocal {
			return visible(r.Text)
		}
	}
	return ""
}

func count(n int) string {
	if n == 1 {
		return "one"
	}
	return strconv.Itoa(n)
}

// row is cells that are padded into columns; the last one is not.
type row []string

func (a *app) columns(w io.Writer, lead string, rows []row) {
	var widths []int
	for _, r := range rows {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], lipgloss.Width(c))
		}
	}
	for _, r := range rows {
		var b strings.Builder
		for i, c := range r {
			b.WriteString(c)
			if i < len(r)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-lipgloss.Width(c)+2))
			}
		}
		fmt.Fprintf(w, "%s%s\n", lead, strings.TrimRight(b.String(), " "))
	}
}

// who says what wrote something: the agents' ids, or the kind.
func who(kind rules.AuthorKind, agents []string) string {
	if kind != rules.KindHuman && len(agents) > 0 {
		return visible(strings.Join(agents, ", "))
	}
	return visible(string(kind))
}

func (a *app) showAuthors(w io.Writer, ch *rules.Change, s rules.Authorship) {
	fmt.Fprintf(w, "\n%s\n", a.out.strong("AUTHOR"))
	title := a.out.name(who(s.Kind, s.Agents))
	detail := string(s.Kind)
	if s.Confidence != "" {
		detail += ", " + string(s.Confidence) + " confidence"
	}
	if title == a.out.name(string(s.Kind)) {
		detail = strings.TrimPrefix(strings.TrimPrefix(detail, string(s.Kind)), ", ")
	}
	fmt.Fprintf(w, "  %s %s", title, a.out.dim("("+detail+")"))
	if s.Mixed {
		fmt.Fprintf(w, " %s", a.out.wait("mixed with other authors"))
	}
	if len(s.Assisted) > 0 {
		fmt.Fprintf(w, " %s", a.out.dim("assisted by "+visible(strings.Join(s.Assisted, ", "))))
	}
	fmt.Fprintln(w)
	a.columns(w, "  ", a.authorRows(ch, s))
	if rows := a.evidenceRows(s); len(rows) > 0 {
		fmt.Fprintf(w, "  %s\n", a.out.dim("because of"))
		a.columns(w, "    ", rows)
	}
}

// authorRows count the commits by who they say they are by.
func (a *app) authorRows(ch *rules.Change, s rules.Authorship) []row {
	type key struct{ by, who string }
	kinds := map[rules.SHA]string{}
	for _, c := range s.Commits {
		kinds[c.SHA] = who(c.Kind, c.Agents)
	}
	all := who(s.Kind, s.Agents)
	counts := map[key]int{}
	var order []key
	for _, c := range ch.Commits {
		by := c.Author.Name
		if c.Author.Email != "" {
			by += " <" + c.Author.Email + ">"
		}
		k := key{by, cmp.Or(kinds[c.SHA], all)}
		if counts[k] == 0 {
			order = append(order, k)
		}
		counts[k]++
	}
	slices.SortStableFunc(order, func(x, y key) int { return counts[y] - counts[x] })
	var rows []row
	for i, k := range order {
		if i == maxAuthorRows-1 && len(order) > maxAuthorRows {
			n := 0
			for _, k := range order[i:] {
				n += counts[k]
			}
			return append(rows, row{plural(n, "commit"), a.out.dim(fmt.Sprintf("… by %d others", len(order)-i))})
		}
		r := row{plural(counts[k], "commit"), shorten(visible(k.by), a.out.width/2)}
		if len(s.Commits) > 0 { // they differ
			r = append(r, a.out.dim(k.who))
		}
		rows = append(rows, r)
	}
	return rows
}

// evidenceRows show each signal once, the surest first.
func (a *app) evidenceRows(s rules.Authorship) []row {
	type key struct {
		signal       rules.Signal
		value, agent string
		confidence   rules.Confidence
		assist       bool
	}
	counts := map[key]int{}
	var order []key
	for _, e := range s.Evidence {
		k := key{e.Signal, e.Value, e.Agent, e.Confidence, e.Assist}
		if _, ok := counts[k]; !ok {
			order = append(order, k)
			counts[k] = 0
		}
		if e.Commit != "" {
			counts[k]++
		}
	}
	rank := map[rules.Confidence]int{rules.ConfidenceHigh: 0, rules.ConfidenceMedium: 1, rules.ConfidenceLow: 2}
	slices.SortStableFunc(order, func(x, y key) int {
		return cmp.Or(cmp.Compare(rank[x.confidence], rank[y.confidence]), counts[y]-counts[x])
	})
	var rows []row
	for i, k := range order {
		if i == maxEvidenceRows-1 && len(order) > maxEvidenceRows {
			return append(rows, row{a.out.dim(fmt.Sprintf("… and %d more", len(order)-i))})
		}
		sure := string(k.confidence)
		if k.assist {
			sure += ", helped"
		}
		if n := counts[k]; n > 0 && len(s.Agents) > 1 {
			sure += ", " + k.agent
		}
		where := ""
		if n := counts[k]; n > 0 {
			where = a.out.dim("in " + plural(n, "commit"))
		}
		rows = append(rows, row{visible(string(k.signal)), shorten(visible(k.value), a.out.width/2), a.out.dim(visible(sure)), where})
	}
	return rows
}

// fileGroup is the changed files that one pattern, or the lack of one, put into
// the same environments.
type fileGroup struct {
	envs  string // the environments, joined
	gate  rules.Gate
	label string // why
	files []string
	needs []rules.Need // of its first file, at the deployment
}

// placeFiles groups the changed files by environments and deciding pattern:
// those that ask a human first, then in the order of names.
func placeFiles(p *rules.Policy, ch *rules.Change) []*fileGroup {
	var groups []*fileGroup
	index := map[[2]string]*fileGroup{}
	for _, f := range ch.Files {
		pl := placeFile(p, f)
		name := visible(f.Path)
		if f.PreviousPath != "" {
			name = visible(f.PreviousPath) + " → " + name
		}
		k := [2]string{strings.Join(pl.Environments, ", "), placeLabel(pl)}
		g := index[k]
		if g == nil {
			g = &fileGroup{envs: k[0], gate: pl.Gate, label: k[1]}
			for _, n := range pl.Needs {
				if n.Step == rules.StepDeploy {
					g.needs = append(g.needs, n)
				}
			}
			index[k] = g
			groups = append(groups, g)
		}
		g.files = append(g.files, name)
	}
	slices.SortStableFunc(groups, func(x, y *fileGroup) int {
		return cmp.Or(rankGate(x.gate)-rankGate(y.gate), cmp.Compare(x.envs, y.envs), len(y.files)-len(x.files), cmp.Compare(x.label, y.label))
	})
	return groups
}

// placeFile is rules.Place for both names and the mode of a file: the strictest
// decides.
func placeFile(p *rules.Policy, f rules.File) rules.Placement {
	pl := rules.Place(p, f.Path)
	if f.PreviousPath != "" {
		old := rules.Place(p, f.PreviousPath)
		envs := append(slices.Clone(pl.Environments), old.Environments...)
		if rankGate(old.Gate) < rankGate(pl.Gate) {
			pl = old
		}
		slices.Sort(envs)
		pl.Environments = slices.Compact(envs)
	}
	for _, mode := range []string{f.Mode, f.PreviousMode} {
		switch mode {
		case "", rules.ModeFile, rules.ModeExecutable:
			continue
		}
		pl.Gate, pl.Reason = rules.GateHuman, rules.Reason{Code: codeSpecialMode}
		for _, name := range p.EnvironmentNames() {
			if p.Environments[name].Gate != rules.GateAuto && !slices.Contains(pl.Environments, name) {
				pl.Environments = append(pl.Environments, name)
			}
		}
		slices.Sort(pl.Environments)
		break
	}
	return pl
}

func rankGate(g rules.Gate) int {
	if g == rules.GateAuto {
		return 1
	}
	return 0
}

// Codes of reasons that the text shows in its own way.
const (
	codeHumanPath     rules.Code = "SP101"
	codeUnnamedPath   rules.Code = "SP102"
	codeProtectedPath rules.Code = "SP103"
	codeOddPath       rules.Code = "SP104"
	codeSpecialMode   rules.Code = "SP105"
	codeLookalikePath rules.Code = "SP107"
	codeRenameUnknown rules.Code = "SP108"
	codeAutoPath      rules.Code = "SP109"

	codeAlsoPath        rules.Code = "SP110"
	codeLocal           rules.Code = "SP030"
	codeHuman           rules.Code = "SP204"
	codeApprovalMissing rules.Code = "SP301"
)

// placeLabel says in a few words why a path is where it is.
func placeLabel(p rules.Placement) string {
	pattern := visible(p.Pattern)
	switch p.Reason.Code {
	case codeHumanPath, codeAutoPath:
		return pattern
	case codeUnnamedPath:
		return "named by no environment"
	case codeProtectedPath:
		return "protected by " + pattern
	case codeLookalikePath:
		return "looks like " + pattern
	case codeOddPath:
		return "no plain path"
	case codeSpecialMode:
		return "symlink, submodule or unusual mode"
	case codeRenameUnknown:
		return "renamed from an unknown path"
	default:
		return visible(p.Reason.Text)
	}
}

func (a *app) showFiles(w io.Writer, groups []*fileGroup, ch *rules.Change) {
	if len(ch.Files) == 0 && ch.FilesComplete == rules.Yes {
		return
	}
	fmt.Fprintf(w, "\n%s\n", a.out.strong("FILES"))
	if ch.FilesComplete != rules.Yes {
		fmt.Fprintf(w, "  %s\n", a.out.wait("The list is not complete: the change counts as touching everything."))
	}
	each := filesEach(groups)
	var t *tree.Tree
	show := func() {
		if t != nil {
			fmt.Fprintln(w, indent(t.String(), "  "))
		}
	}
	envs := ""
	for i, g := range groups {
		if t == nil || g.envs != envs {
			show()
			envs = g.envs
			gate := a.out.good("auto")
			if g.gate != rules.GateAuto {
				gate = a.out.wait("asks a human")
			}
			t = tree.Root(a.out.strong(visible(envs)) + "  " + gate)
			if a.out.colour {
				t.EnumeratorStyle(lipgloss.NewStyle().Faint(true).PaddingRight(1))
				t.IndenterStyle(lipgloss.NewStyle().Faint(true).PaddingRight(1))
			}
		}
		if i >= maxTreeLines/2 && len(groups) > maxTreeLines/2+1 {
			n := 0
			for _, g := range groups[i:] {
				n += len(g.files)
			}
			t.Child(a.out.dim(fmt.Sprintf("… and %s for %d other reasons", plural(n, "file"), len(groups)-i)))
			break
		}
		t.Child(a.groupTree(g, each))
	}
	show()
}

// groupTree is one group's part of the tree: one line for one file.
func (a *app) groupTree(g *fileGroup, each int) any {
	width := a.out.width - 12
	if len(g.files) == 1 {
		label := shorten(g.label, width/2)
		return shortenPath(g.files[0], width-lipgloss.Width(label)-2) + "  " + a.out.dim(label)
	}
	t := tree.Root(a.out.dim(shorten(g.label, width-14)) + "  " + a.out.dim(plural(len(g.files), "file")))
	if a.out.colour {
		t.EnumeratorStyle(lipgloss.NewStyle().Faint(true).PaddingRight(1))
		t.IndenterStyle(lipgloss.NewStyle().Faint(true).PaddingRight(1))
	}
	for i, f := range g.files {
		if i == each && len(g.files) > each+1 {
			t.Child(a.out.dim(fmt.Sprintf("… and %s more", thousands(len(g.files)-i))))
			break
		}
		t.Child(shortenPath(f, width))
	}
	return t
}

// filesEach is how many files of each group are shown, so that all of them
// together fit.
func filesEach(groups []*fileGroup) int {
	for each := 8; each > 2; each-- {
		lines := 0
		for i, g := range groups {
			if i == 0 || g.envs != groups[i-1].envs {
				lines++
			}
			switch n := len(g.files); {
			case n == 1:
				lines++
			default:
				lines += 1 + min(n, each+1)
			}
		}
		if lines <= maxTreeLines {
			return each
		}
	}
	return 2
}

// showNeeds lists who has to approve, at the merge and at the deployment.
func (a *app) showNeeds(w io.Writer, d rules.Decision, groups []*fileGroup) {
	needs := slices.Clone(d.Needs)
	for _, g := range groups {
		needs = append(needs, g.needs...)
	}
	type key struct{ env, step, who, pattern string }
	seen := map[key]bool{}
	var rows []row
	for _, n := range needs {
		who := fmt.Sprintf("%s of %s", count(n.Count), list(n.Reviewers, "or"))
		if len(n.Reviewers) == 0 {
			who = "nobody is listed"
		}
		k := key{n.Environment, string(n.Step), who, n.Pattern}
		if seen[k] {
			continue
		}
		seen[k] = true
		state := ""
		switch {
		case n.Missing() == 0:
			state = a.out.good("✓ " + list(n.Approved, "and"))
		case len(n.Approved) > 0:
			state = "so far " + list(n.Approved, "and")
		}
		why := ""
		if n.Pattern != "" {
			why = a.out.dim("for " + visible(n.Pattern))
		}
		rows = append(rows, row{"to " + string(n.Step), a.out.strong(visible(n.Environment)), who, strings.TrimSpace(why + " " + state)})
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", a.out.strong("NEEDS"))
	a.columns(w, "  ", rows)
}

// showReasons renders the grounds, of each code the first, with what to do about
// it: first who wrote it, then the paths, then the rest. What AUTHOR and NEEDS
// show, and grounds that only say that all is well, are left out.
func (a *app) showReasons(w io.Writer, d rules.Decision) {
	remedies := map[rules.Code]string{}
	for _, i := range rules.Reasons() {
		remedies[i.Code] = i.Remedy
	}
	var shown []rules.Reason
	for _, r := range d.Reasons {
		switch {
		case r.Code == codeLocal, r.Code == codeApprovalMissing, r.Code == codeAlsoPath, r.Code == codeHuman:
			continue
		case slices.ContainsFunc(shown, func(s rules.Reason) bool { return s.Code == r.Code && s.Floor == r.Floor }):
			continue
		case r.Verdict != rules.VerdictAllow, !strings.HasPrefix(remedies[r.Code], "Nothing to do"):
			shown = append(shown, r)
		}
	}
	rank := func(r rules.Reason) int {
		switch {
		case r.Verdict == rules.VerdictDeny:
			return 0
		case strings.HasPrefix(string(r.Code), "SP2"):
			return 1
		case strings.HasPrefix(string(r.Code), "SP1"):
			return 2
		default:
			return 3
		}
	}
	slices.SortStableFunc(shown, func(x, y rules.Reason) int { return rank(x) - rank(y) })
	if len(shown) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", a.out.strong("WHY, AND WHAT WOULD CHANGE IT"))
	for i, r := range shown {
		if i == maxReasonRows && len(shown) > maxReasonRows+1 {
			fmt.Fprintf(w, "  %s\n", a.out.dim(fmt.Sprintf("… and %d more; all of them: sallyport check --format json", len(shown)-i)))
			break
		}
		code := string(r.Code)
		switch r.Verdict {
		case rules.VerdictAllow:
			code = a.out.dim(code)
		case rules.VerdictWait:
			code = a.out.wait(code)
		default:
			code = a.out.bad(code)
		}
		a.paragraph(w, "  "+code+"  ", "         ", visible(r.Text), false)
		if remedy := remedies[r.Code]; remedy != "" && !strings.HasPrefix(remedy, "Nothing to do") {
			a.paragraph(w, "         → ", "           ", remedy, true)
		}
	}
}

// paragraph writes wrapped text: the first line after one lead, the others after
// another of the same width.
func (a *app) paragraph(w io.Writer, first, others, text string, dim bool) {
	for i, line := range wrap(text, a.out.width-lipgloss.Width(others)) {
		lead := first
		if i > 0 {
			lead = others
		}
		if dim {
			line = a.out.dim(line)
		}
		fmt.Fprintf(w, "%s%s\n", lead, line)
	}
}
