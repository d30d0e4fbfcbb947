package gate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/alert"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// deployCheck is the name of the check run of a GitHub environment on a deployed
// commit.
func deployCheck(environment string) string { return CheckName + " / " + environment }

// deployMarker begins our comment about an environment on the pull requests that a
// deployment carries.
func deployMarker(environment string) string {
	return "<!-- sallyport deployment " + short(strings.ToLower(environment)) + " -->"
}

// shown is what of a held deployment is shown and is not in its decision.
type shown struct {
	Ref    string    `json:"ref,omitzero"`
	SHA    rules.SHA `json:"sha,omitzero"`
	Event  string    `json:"event,omitzero"`
	By     string    `json:"by,omitzero"`
	URL    string    `json:"url,omitzero"`
	Branch string    `json:"branch,omitzero"`
	// Commits counts what it brings, Lines are the newest of them.
	Commits int             `json:"commits,omitzero"`
	Lines   []line          `json:"lines,omitzero"`
	Inputs  []string        `json:"inputs,omitzero"`
	Cannot  []rules.Kept    `json:"cannot,omitzero"`
	Opens   []string        `json:"opens,omitzero"`
	Paths   []string        `json:"paths,omitzero"`
	Files   int             `json:"files,omitzero"`
	Kind    rules.RangeKind `json:"kind,omitzero"`
	Base    rules.SHA       `json:"base,omitzero"`
	// May says whether a job that stopped waiting can be run again by us.
	May bool `json:"may,omitzero"`
	// PassedOver is when a button was pressed last that was for what stood here before.
	PassedOver time.Time `json:"passed_over,omitzero"`
}

// line is one commit that a deployment brings.
type line struct {
	SHA      rules.SHA     `json:"sha"`
	Subject  string        `json:"subject"`
	By       string        `json:"by,omitzero"`
	Pull     int           `json:"pull,omitzero"`
	Passed   bool          `json:"passed,omitzero"`
	Approved []rules.Login `json:"approved,omitzero"`
}

// How much of what a deployment brings is shown.
const (
	maxLines      = 30
	maxRemarks    = 10
	maxInputs     = 20
	maxInputRunes = 200
	maxPaths      = 12
)

// linesOf are the newest commits of a range.
func linesOf(r *rangeData, commits []rules.Brought) []line {
	var out []line
	for i := len(commits) - 1; i >= 0 && len(out) < maxLines; i-- {
		b := commits[i]
		l := line{SHA: b.SHA, Subject: r.Commits[i].Subject, Pull: b.PullRequest, Passed: b.Passed == rules.Yes}
		for _, a := range b.ApprovedBy {
			l.Approved = append(l.Approved, a.Login)
		}
		if len(b.By) > 0 {
			l.By = string(b.By[0].Login)
			if l.By == "" {
				l.By = b.By[0].Name
			}
		}
		out = append(out, l)
	}
	return out
}

// shows keeps what is shown of a deployment beside its decision.
func (x *deployDoor) shows(h *heldData, d *rules.Deployment, policies rules.Policies, out rules.Decision) {
	s := &h.Shown
	s.Ref, s.SHA, s.Event, s.URL, s.Branch = d.Ref, d.SHA, d.Event, x.f.run.URL, h.On
	s.By = cmp.Or(string(d.Dispatcher.Login), "an account that GitHub does not name")
	if d.Rerunner.Known() && d.Rerunner != d.Dispatcher {
		s.By += ", run again by " + string(d.Rerunner.Login)
	}
	s.Kind, s.Base = d.Range.Kind, d.Range.Base
	// Bots cannot approve anyway.
	s.Cannot = slices.DeleteFunc(rules.KeptOut(policies, d), func(k rules.Kept) bool {
		return strings.HasSuffix(string(k.Login), "[bot]") || k.Login == webFlow
	})
	s.Opens = policies.Repository.Policy.Opens(out.Environments)
	s.May = x.f.at.installation.Permissions["actions"] == "write"
	s.Inputs = nil
	for _, k := range slices.Sorted(maps.Keys(d.Inputs.Values)) {
		if len(s.Inputs) == maxInputs {
			s.Inputs = append(s.Inputs, fmt.Sprintf("… and %d more", len(d.Inputs.Values)-maxInputs))
			break
		}
		s.Inputs = append(s.Inputs, k+" = "+cutRunes(d.Inputs.Values[k], maxInputRunes))
	}
	s.Paths, s.Files = nil, len(d.Range.Files)
	for _, f := range d.Range.Files[:min(len(d.Range.Files), maxPaths)] {
		s.Paths = append(s.Paths, f.Path)
	}
}

// checkRun is what the check run of a held deployment says.
func (x *deployDoor) checkRun(h *heldData) github.CheckRunSpec {
	s := github.CheckRunSpec{Name: deployCheck(h.Environment), ExternalID: h.Name, Title: cutRunes(deployHeadline(h), maxTitle), DetailsURL: x.g.cfg.URL}
	switch h.State {
	case heldWaiting:
		s.Conclusion = conclusionAsks
		if h.asks() {
			s.Actions = []github.Button{
				{Label: "Approve", Description: "Let exactly this deployment run", Identifier: buttonApprove},
				{Label: "Reject", Description: "Stop this deployment", Identifier: buttonReject},
			}
		}
	case heldReleased:
		s.Conclusion = conclusionSuccess
		if h.Decision.Observe {
			s.Conclusion = conclusionNeutral
		}
	case heldRejected:
		s.Conclusion = conclusionFailure
	default:
		s.Conclusion = conclusionNeutral
	}
	s.Summary, s.Text = deploySummary(h), deployText(h)
	return s
}

// deployHeadline is the one sentence that is seen first.
func deployHeadline(h *heldData) string {
	d := h.Decision
	switch {
	case h.State == heldReleased && d.Observe && d.Verdict != rules.VerdictAllow:
		return "Observed only, and let through. It would have waited: " + waitsFor(d)
	case h.State == heldReleased && h.Ended && len(approvedBy(d)) > 0 && !h.Rule && h.Rerun == 0:
		if h.Shown.May {
			return "Approved by " + strings.Join(approvedBy(d), ", ") + "; the job is run again as soon as the run has ended"
		}
		return "Approved by " + strings.Join(approvedBy(d), ", ") + "; the job had stopped waiting, and the App may not run it again"
	case h.State == heldReleased && len(approvedBy(d)) > 0:
		return "Released: approved by " + strings.Join(approvedBy(d), ", ")
	case h.State == heldReleased:
		return "Released"
	case h.State == heldRejected:
		return "Rejected: " + waitsFor(d)
	case h.State == heldOver:
		return "Waits no more: the attempt is over"
	case d.Verdict == rules.VerdictDeny:
		return "Looked at once more before it is rejected: " + waitsFor(d)
	case d.NeedsHuman():
		return "Held for a human: " + waitsFor(d)
	default:
		return "Held: " + waitsFor(d)
	}
}

// approvedBy are those whose approval of a deployment counts.
func approvedBy(d rules.Decision) []string {
	var out []string
	for _, n := range d.Needs {
		for _, l := range n.Approved {
			if !slices.Contains(out, string(l)) {
				out = append(out, string(l))
			}
		}
	}
	return out
}

// brings says in a few words what a deployment brings.
func brings(h *heldData) string {
	s := &h.Shown
	pulls := ""
	if n := len(h.Pulls); n > 0 {
		pulls = " from " + plural(n, "pull request")
	}
	switch s.Kind {
	case rules.RangeFirst:
		return "everything: nothing was released here before"
	case rules.RangeIdentical:
		return "nothing that was not released before"
	case rules.RangeBehind:
		return "a rollback to " + s.SHA.Short() + ", which is behind " + s.Base.Short()
	case rules.RangeDiverged:
		return plural(s.Commits, "commit") + pulls + " on a history that does not descend from " + s.Base.Short()
	case rules.RangeAhead:
		return plural(s.Commits, "commit") + pulls + " since " + s.Base.Short()
	default:
		return ""
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// deploySummary is what ten seconds of reading must tell.
func deploySummary(h *heldData) string {
	d, s := h.Decision, &h.Shown
	var b strings.Builder
	fmt.Fprintf(&b, "**%s**\n\n", markdown(deployHeadline(h)))
	b.WriteString("| | |\n| --- | --- |\n")
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "| %s | %s |\n", name, text)
		}
	}
	covered := strings.Join(d.Environments, ", ")
	if covered == strings.ToLower(h.Environment) || covered == h.Environment {
		covered = ""
	} else if covered != "" {
		covered = " (of the policy: " + covered + ")"
	}
	row("Environment", markdown(h.Environment+covered))
	if s.SHA != "" {
		row("Deploys", "`"+s.SHA.Short()+"` of "+markdown(s.Ref)+", started by "+markdown(s.By)+" ("+markdown(s.Event)+"), attempt "+strconv.Itoa(h.Attempt))
	}
	if n := len(h.Jobs); n > 1 {
		row("Jobs", fmt.Sprintf("%d, all at once", n))
	}
	row("Brings", markdown(brings(h)))
	row("Written by", markdown(writers(s.Lines)))
	if len(s.Paths) > 0 {
		text := strings.Join(s.Paths, ", ")
		if more := s.Files - len(s.Paths); more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		row("Paths", markdown(text))
	}
	if h.asks() && !s.PassedOver.IsZero() {
		row("Passed over", "a button pressed at "+s.PassedOver.UTC().Format(time.DateTime)+" UTC: it was for what stood here before. Press again for what stands here now")
	}
	row("Look at", markdown(strings.Join(remarks(d), "; ")))
	row("Inputs", markdown(strings.Join(s.Inputs, "; ")))
	approvalRows(row, d)
	if len(s.Cannot) > 0 && len(d.Needs) > 0 {
		var names []string
		for _, k := range s.Cannot[:min(len(s.Cannot), 10)] {
			names = append(names, string(k.Login)+" ("+k.Why+")")
		}
		row("Cannot approve", markdown(strings.Join(names, ", ")))
	}
	row("Credentials", markdown(strings.Join(s.Opens, ", ")))
	row("Codes", codeList(d))
	return b.String()
}

// writers are who wrote what a deployment brings, each once.
func writers(lines []line) string {
	var out []string
	for _, l := range lines {
		if l.By != "" && !slices.Contains(out, l.By) {
			out = append(out, l.By)
		}
	}
	if len(out) > 8 {
		out = append(out[:8], fmt.Sprintf("%d more", len(out)-8))
	}
	return strings.Join(out, ", ")
}

// webFlow is the account that GitHub itself commits as.
const webFlow rules.Login = "web-flow"

// remarkable are the reasons that whoever approves should see first: rewritten history,
// what came past the gate, risky statements.
func remarkable() []rules.Code {
	return []rules.Code{"SP514", "SP516", "SP517", "SP515", "SP529", "SP530"}
}

// remarks are the facts that deserve a second look.
func remarks(d rules.Decision) []string {
	var out []string
	for _, code := range remarkable() {
		for _, r := range d.Reasons {
			switch {
			case r.Code != code || r.Floor || slices.Contains(out, r.Text):
			case len(out) == maxRemarks:
				return append(out, "and more below")
			default:
				out = append(out, r.Text)
			}
		}
	}
	return out
}

// deployText is every ground with its remedy, and every commit.
func deployText(h *heldData) string {
	s := &h.Shown
	var b strings.Builder
	b.WriteString(grounds(h.Decision))
	if len(s.Lines) > 0 {
		b.WriteString("\n### What it brings\n\n")
		for _, l := range s.Lines {
			how := "a push without a pull request"
			switch {
			case l.Pull != 0 && !l.Passed:
				how = fmt.Sprintf("#%d, not known to have passed the merge door", l.Pull)
			case l.Pull != 0 && len(l.Approved) == 0:
				how = fmt.Sprintf("#%d, approved by no human", l.Pull)
			case l.Pull != 0:
				names := make([]string, len(l.Approved))
				for i, a := range l.Approved {
					names[i] = string(a)
				}
				how = fmt.Sprintf("#%d, approved by %s", l.Pull, markdown(strings.Join(names, ", ")))
			}
			fmt.Fprintf(&b, "- `%s` %s (%s; %s)\n", l.SHA.Short(), markdown(l.Subject), markdown(l.By), how)
		}
		if more := s.Commits - len(s.Lines); more > 0 {
			fmt.Fprintf(&b, "- … and %d more\n", more)
		}
	}
	if s.URL != "" {
		fmt.Fprintf(&b, "\nRun: %s\n", s.URL)
	}
	return b.String()
}

// answerText is the comment of our answer to the rule.
func answerText(h *heldData) string {
	return markdown(deployHeadline(h)) + " (" + codeList(h.Decision) + ")"
}

// reportText is what the run's own page tells while it is held.
func reportText(h *heldData) string {
	s := markdown(deployHeadline(h)) + "."
	if h.asks() {
		s += " Press Approve on the check `" + strings.ReplaceAll(deployCheck(h.Environment), "`", "'") + "` of the commit."
	}
	if b := brings(h); b != "" {
		s += " It brings " + markdown(b) + "."
	}
	return s
}

// commentText is our comment on a pull request that a deployment carries. Mentions
// says whether to mention who is missing: the rest of the text mentions nobody.
func (x *deployDoor) commentText(h *heldData, mentions bool) string {
	var b strings.Builder
	b.WriteString(deployMarker(h.Environment) + "\n")
	fmt.Fprintf(&b, "**Deployment to %s.** %s\n", markdown(h.Environment), markdown(deployHeadline(h)))
	if h.State != heldWaiting {
		return b.String()
	}
	if text := brings(h); text != "" {
		fmt.Fprintf(&b, "\nIt brings %s.\n", markdown(text))
	}
	for _, r := range remarks(h.Decision) {
		fmt.Fprintf(&b, "- %s\n", markdown(r))
	}
	who := missingFrom(h.Decision)
	switch {
	case len(who) == 0:
	case mentions:
		at := make([]string, len(who))
		for i, w := range who {
			at[i] = "@" + w
		}
		fmt.Fprintf(&b, "\n%s: press Approve on [the check `%s`](%s) if exactly this may be deployed.\n", strings.Join(at, ", "), strings.ReplaceAll(deployCheck(h.Environment), "`", "'"), x.commitURL(h))
	default:
		fmt.Fprintf(&b, "\nThe check `%s` of [`%s`](%s) has the button.\n", strings.ReplaceAll(deployCheck(h.Environment), "`", "'"), h.Shown.SHA.Short(), x.commitURL(h))
	}
	return b.String()
}

// commitURL is the page of the deployed commit's checks, out of the run's own.
func (x *deployDoor) commitURL(h *heldData) string {
	base, _, ok := strings.Cut(x.f.run.URL, "/actions/runs/")
	if !ok {
		return x.f.run.URL
	}
	return base + "/commit/" + string(h.Shown.SHA) + "/checks"
}

// missingFrom are the reviewers of unmet needs, each once.
func missingFrom(d rules.Decision) []string {
	var out []string
	for _, n := range d.Needs {
		if n.Missing() == 0 {
			continue
		}
		for _, r := range n.Reviewers {
			if !slices.Contains(out, string(r)) {
				out = append(out, string(r))
			}
		}
	}
	return out
}

// waitsMessage is what is sent when a deployment waits for somebody.
func (x *deployDoor) waitsMessage(h *heldData) alert.Message {
	return alert.Message{
		Kind: "waits", Code: codeList(h.Decision), Title: "Deployment of " + x.f.at.fullName + " to " + h.Environment + " is held",
		Text: deployHeadline(h) + ". It brings " + brings(h) + ".", URL: x.commitURL(h), Repository: x.f.at.fullName, RepositoryID: x.f.at.id,
		Environment: h.Environment, Who: missingFrom(h.Decision), At: h.Since,
	}
}
