package gate

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// The conclusions that our check runs have. Each is one of GitHub's
// (https://docs.github.com/rest/checks/runs).
const (
	conclusionSuccess = "success"
	conclusionNeutral = "neutral"
	conclusionAsks    = "action_required"
	conclusionFailure = "failure"
)

// conclusion is a decision's verdict as a check run's conclusion. A policy that
// only observes stands in nobody's way.
func conclusion(d rules.Decision) string {
	switch {
	case d.Observe:
		return conclusionNeutral
	case d.Verdict == rules.VerdictAllow:
		return conclusionSuccess
	case d.Verdict == rules.VerdictWait:
		return conclusionAsks
	default:
		return conclusionFailure
	}
}

// checkRun is what the check run at a head says: in the summary what ten seconds
// of reading must tell, in the text every ground with its remedy.
func checkRun(d rules.Decision, pulls []pullData, annotations []github.Annotation, url string) github.CheckRunSpec {
	s := github.CheckRunSpec{Name: CheckName, Conclusion: conclusion(d), Title: headline(d), Annotations: annotations}
	if url != "" {
		s.DetailsURL = url
	}
	s.Summary = summary(d, pulls)
	s.Text = grounds(d)
	return s
}

// maxTitle is how many runes of a title GitHub shows.
const maxTitle = 140

// headline is the one sentence that is seen first.
func headline(d rules.Decision) string {
	var s string
	switch {
	case d.Verdict == rules.VerdictAllow && d.AutoApproval:
		s = "An agent's change that asks no human: allowed"
	case d.Verdict == rules.VerdictAllow:
		s = "Allowed"
	case d.Verdict == rules.VerdictWait && d.NeedsHuman():
		s = "Waits for a human: " + waitsFor(d)
	case d.Verdict == rules.VerdictWait:
		s = "Waits: " + waitsFor(d)
	default:
		s = "Denied: " + waitsFor(d)
	}
	if d.Observe {
		s = "Observed only. " + s
	}
	if r := []rune(s); len(r) > maxTitle {
		s = string(r[:maxTitle-1]) + "…"
	}
	return s
}

// waitsFor says who or what ends the waiting.
func waitsFor(d rules.Decision) string {
	var who []string
	for _, n := range d.Needs {
		if m := n.Missing(); m > 0 {
			asked := n.Asked()
			s := strconv.Itoa(m) + " of " + reviewers(asked) + " for " + n.Environment
			if m == 1 {
				s = "one of " + reviewers(asked) + " for " + n.Environment
			}
			if len(asked) == 0 {
				s = "nobody is listed who could approve for " + n.Environment
			}
			if !slices.Contains(who, s) {
				who = append(who, s)
			}
		}
	}
	if len(who) > 0 {
		return strings.Join(who, "; ")
	}
	for _, r := range d.Reasons {
		if r.Verdict != rules.VerdictAllow {
			return r.Text
		}
	}
	return "no ground is known"
}

func reviewers(list []rules.Reviewer) string {
	names := make([]string, len(list))
	for i, r := range list {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}

func joined(list []rules.Login) string {
	names := make([]string, len(list))
	for i, l := range list {
		names[i] = string(l)
	}
	return strings.Join(names, ", ")
}

// summary is verdict, environments, authors, and who can approve.
func summary(d rules.Decision, pulls []pullData) string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s**\n\n", markdown(headline(d)))
	b.WriteString("| | |\n| --- | --- |\n")
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "| %s | %s |\n", name, text)
		}
	}
	row("Environments", markdown(strings.Join(d.Environments, ", ")))
	row("Written by", markdown(author(d.Authorship)))
	approvalRows(row, d)
	if len(pulls) > 1 {
		var numbers []string
		for _, p := range pulls {
			numbers = append(numbers, fmt.Sprintf("#%d", p.Number))
		}
		row("Pull requests at this commit", strings.Join(numbers, ", ")+": the strictest counts")
	}
	row("Codes", codeList(d))
	return b.String()
}

// approvalRows says of each need who may approve and who did.
func approvalRows(row func(name, text string), d rules.Decision) {
	for _, n := range d.Needs {
		given := "none yet"
		if len(n.Approved) > 0 {
			given = joined(n.Approved)
		}
		what := n.Environment
		if n.Pattern != "" {
			what += " (" + n.Pattern + ")"
		}
		if n.Floor {
			what += ", by the organisation's floor"
		}
		text := fmt.Sprintf("%d of %s; given: %s", n.Count, markdown(reviewers(n.Reviewers)), markdown(given))
		if len(n.Excluded) > 0 && n.Missing() > 0 {
			text += "; does not count: " + markdown(joined(n.Excluded)) + ", who had a hand in it"
		}
		row("Approval for "+markdown(what), text)
	}
}

func codeList(d rules.Decision) string {
	var codes []string
	for _, r := range d.Reasons {
		if r.Verdict != rules.VerdictAllow && !slices.Contains(codes, string(r.Code)) {
			codes = append(codes, string(r.Code))
		}
	}
	return strings.Join(codes, ", ")
}

func author(a rules.Authorship) string {
	s := string(a.Kind)
	if len(a.Agents) > 0 {
		s = strings.Join(a.Agents, ", ") + " (" + string(a.Kind) + ", " + string(a.Confidence) + " confidence)"
	}
	if a.Mixed {
		s += ", with commits by others"
	}
	return s
}

// maxGrounds is how many grounds are shown.
const maxGrounds = 60

// grounds are the reasons with what to do about each.
func grounds(d rules.Decision) string {
	remedies := map[rules.Code]string{}
	for _, i := range rules.Reasons() {
		remedies[i.Code] = i.Remedy
	}
	var b strings.Builder
	b.WriteString("### Why, and what would change it\n\n")
	told := map[rules.Code]bool{}
	for i, r := range d.Reasons {
		if i == maxGrounds {
			fmt.Fprintf(&b, "- … and %d more\n", len(d.Reasons)-i)
			break
		}
		ground(&b, r, 0)
		if remedy := remedies[r.Code]; remedy != "" && !told[r.Code] && r.Verdict != rules.VerdictAllow && !strings.HasPrefix(remedy, "Nothing to do") {
			told[r.Code] = true
			fmt.Fprintf(&b, "  - *%s*\n", remedy)
		}
	}
	return b.String()
}

// maxDepth is how deep the grounds of grounds are shown.
const maxDepth = 3

func ground(b *strings.Builder, r rules.Reason, depth int) {
	sign := map[rules.Verdict]string{rules.VerdictAllow: "", rules.VerdictWait: "waits: ", rules.VerdictDeny: "denied: "}[r.Verdict]
	floor := ""
	if r.Floor {
		floor = " (the organisation's floor)"
	}
	fmt.Fprintf(b, "%s- `%s` %s%s%s\n", strings.Repeat("  ", depth), r.Code, sign, markdown(r.Text), floor)
	if depth < maxDepth {
		for _, x := range r.Because {
			ground(b, x, depth+1)
		}
	}
}

// approval is the text of our APPROVE review.
func approval(d rules.Decision) string {
	return fmt.Sprintf("Approved automatically: %s wrote it, and it touches %s only, which %s no human.", markdown(author(d.Authorship)),
		markdown(strings.Join(d.Environments, ", ")), map[bool]string{true: "asks", false: "ask"}[len(d.Environments) == 1])
}

// dismissal is why our approval is taken back.
func dismissal(d rules.Decision, otherHead bool) string {
	if otherHead {
		return "Taken back: it was given for an earlier commit."
	}
	return "Taken back: " + markdown(waitsFor(d))
}

// comment is our one comment on a pull request. It mentions whoever is missing,
// each once: the rest of the text mentions nobody.
func comment(d rules.Decision, c *rules.Change, data *pullData) string {
	var b strings.Builder
	b.WriteString(commentMarker + "\n")
	fmt.Fprintf(&b, "**%s**\n", markdown(headline(d)))
	if d.Verdict == rules.VerdictAllow || d.Observe {
		return b.String()
	}
	var mentions []string
	for _, n := range d.Needs {
		if n.Missing() == 0 {
			continue
		}
		for _, r := range n.Asked() {
			r = data.present(r)
			if at := "@" + string(r); !slices.ContainsFunc(n.Approved, rules.Login(r).Equal) && !slices.Contains(mentions, at) && !rules.Login(r).Equal(c.Author.Login) {
				mentions = append(mentions, at)
			}
		}
	}
	if len(mentions) > 0 {
		fmt.Fprintf(&b, "\nAn approving review of %s by %s ends the waiting.\n", "`"+c.Head.SHA.Short()+"`", strings.Join(mentions, ", "))
	}
	b.WriteString("\n")
	for i, r := range firstOfEach(d) {
		if i == 6 {
			b.WriteString("- … more in the check `" + CheckName + "`\n")
			break
		}
		fmt.Fprintf(&b, "- `%s` %s\n", r.Code, markdown(r.Text))
	}
	return b.String()
}

// firstOfEach are the grounds that stand in the way, the first of each code.
func firstOfEach(d rules.Decision) []rules.Reason {
	var out []rules.Reason
	for _, r := range d.Reasons {
		if (r.Verdict != rules.VerdictAllow || strings.HasPrefix(string(r.Code), "SP1") && r.Code != "SP109") &&
			!slices.ContainsFunc(out, func(o rules.Reason) bool { return o.Code == r.Code }) {
			out = append(out, r)
		}
	}
	return out
}

// shortcode is what GitHub turns into a picture (":white_check_mark:") or a reference to an
// issue ("GH-1") although it is no Markdown: in two parts it does neither.
var shortcode = regexp.MustCompile(`(?i)(:)([\w+-])|\b(GH-)(\d)`)

// markdown makes foreign text stand in GitHub's Markdown as it is: nothing in it
// formats, links, mentions or refers.
func markdown(s string) string {
	s = shortcode.ReplaceAllString(s, "${1}${3}\u200b${2}${4}")
	var b strings.Builder
	for _, r := range s {
		switch r {
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '&':
			b.WriteString("&amp;")
		case '\n', '\r':
			b.WriteByte(' ')
		case '\\', '`', '*', '_', '{', '}', '[', ']', '(', ')', '|', '~', '!', '$':
			b.WriteByte('\\')
			b.WriteRune(r)
		case '@', '#':
			// A character of no width keeps mentions and references from being seen as
			// such.
			b.WriteRune(r)
			b.WriteRune('\u200b')
		default:
			b.WriteRune(r)
		}
	}
	return strings.NewReplacer("://", ":\u200b//", "www.", "www\u200b.").Replace(b.String())
}

// annotation is one problem of a policy on its line.
func annotation(path string, p rules.Problem) github.Annotation {
	level := "failure"
	if !p.IsError() {
		level = "warning"
	}
	text := p.Message
	if p.Hint != "" {
		text += "\n" + p.Hint
	}
	return github.Annotation{Path: path, StartLine: max(1, p.Line), EndLine: max(1, p.Line), StartColumn: p.Column, EndColumn: p.Column, Level: level, Title: "policy", Message: text}
}
