package standalone

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// word makes a foreign name safe to print: what is more than letters, digits and a few
// signs is quoted and escaped, so that no name can begin a line, colour it or turn its
// direction.
func word(s string) string {
	const most = 200
	plain := s != "" && len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./[]", r))
	})
	if plain {
		return s
	}
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.QuoteToASCII(s)
}

// anyOf names people of whom one is enough: "alice, bob or carol".
func anyOf(list []rules.Reviewer) string {
	var out []string
	for _, r := range list {
		if w := word(string(r)); !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	if len(out) < 2 {
		return strings.Join(out, "")
	}
	return strings.Join(out[:len(out)-1], ", ") + " or " + out[len(out)-1]
}

// missing says which approvals are missing at a step, and for which environment of the
// policy: "an approval from alice or bob and an approval from carol". Where policies ask
// differing people, those count whom all of them ask.
func missing(d rules.Decision, step rules.Step) (words, environment string) {
	within := func(a, b rules.Need) bool { // whoever satisfies a satisfies b
		return a.Missing() >= b.Missing() && !slices.ContainsFunc(a.Reviewers, func(r rules.Reviewer) bool {
			return !slices.ContainsFunc(b.Reviewers, func(x rules.Reviewer) bool { return x.Key() == r.Key() })
		})
	}
	var needs []rules.Need
	for _, n := range d.Needs {
		if n.Step != step || n.Missing() == 0 || len(n.Reviewers) == 0 || slices.ContainsFunc(needs, func(o rules.Need) bool { return within(o, n) }) {
			continue
		}
		needs = append(slices.DeleteFunc(needs, func(o rules.Need) bool { return within(n, o) }), n)
	}
	var out []string
	for _, n := range needs {
		out = append(out, approvals(n.Missing())+" from "+anyOf(n.Reviewers))
		environment = n.Environment
	}
	return strings.Join(out, " and "), environment
}

// unreadFloor is the reason that the organisation's floor was not read.
func unreadFloor(r rules.Reason) bool { return r.Floor && r.Code == "SP001" }

// why is the first of a decision's reasons that stops it, in its own words.
func why(d rules.Decision) string {
	for _, r := range d.Reasons {
		if r.Verdict != rules.VerdictAllow && !unreadFloor(r) {
			return r.Text + " (" + string(r.Code) + ")"
		}
	}
	return ""
}

// besides adds the organisation's floor to what holds something, where that was not read:
// by what is said alone an approval would seem to be enough.
func (j *Judge) besides(d rules.Decision, said string) string {
	if !slices.ContainsFunc(d.Reasons, unreadFloor) {
		return cmp.Or(said, "no reason was given")
	}
	if said != "" {
		said += "; and "
	}
	return said + j.floor.Why + " (SP001): where there is none, say so by the gate's input floor; else the Sallyport App reads it"
}

// page is a page of the repository.
func (j *Judge) page(path string) string {
	return strings.TrimSuffix(j.job.ServerURL, "/") + "/" + j.job.Repository.FullName + "/" + path
}

// approvals counts in words.
func approvals(n int) string {
	if n == 1 {
		return "an approval"
	}
	return strconv.Itoa(n) + " approvals"
}

// observed says that a policy only observes.
func observed(d rules.Decision, line string) string {
	if d.Observe && d.Verdict != rules.VerdictAllow {
		return "the policy only observes, so nothing is held; it would say: " + line
	}
	return line
}

// sayPull is one line about a pull request.
func (j *Judge) sayPull(p *github.Pull, d rules.Decision) (line, url string) {
	number := p.Change.Number
	who, environment := missing(d, rules.StepMerge)
	switch {
	case d.Verdict == rules.VerdictAllow:
		return fmt.Sprintf("pull request %d at %s has what the policy asks", number, p.Change.Head.SHA.Short()), ""
	case who != "":
		url = j.page("pull/" + strconv.Itoa(number))
		return observed(d, j.besides(d, fmt.Sprintf("%s needs %s for %s, at %s", word(environment), who, p.Change.Head.SHA.Short(), url))), url
	default:
		url = j.page("pull/" + strconv.Itoa(number))
		return observed(d, fmt.Sprintf("pull request %d waits: %s; see %s", number, j.besides(d, why(d)), url)), url
	}
}

// causes are the reasons for which an approval of the deployment itself is asked, the
// most telling first.
func causes() []rules.Code {
	return []rules.Code{"SP513", "SP514", "SP516", "SP517", "SP515", "SP512", "SP510"}
}

// sayDeploy is one line about a deployment.
func (j *Judge) sayDeploy(h *held, d rules.Decision) (line, url string) {
	sha := h.run.HeadSHA.Short()
	who, _ := missing(d, rules.StepDeploy)
	switch {
	case d.Verdict == rules.VerdictAllow && h.base.sha == "":
		return fmt.Sprintf("%s: the policy asks no human", word(h.environment)), ""
	case d.Verdict == rules.VerdictAllow:
		return fmt.Sprintf("%s: listed reviewers approved at the merge all that %s brings since %s", word(h.environment), sha, h.base.sha.Short()), ""
	case d.Verdict == rules.VerdictDeny:
		return observed(d, fmt.Sprintf("%s: %s may never be deployed by this run: %s", word(h.environment), sha, why(d))), ""
	case who == "":
		return observed(d, fmt.Sprintf("%s: %s waits: %s", word(h.environment), sha, j.besides(d, why(d)))), ""
	}
	cause := why(d)
	for _, code := range causes() {
		if i := slices.IndexFunc(d.Reasons, func(r rules.Reason) bool { return r.Code == code }); i >= 0 {
			cause = d.Reasons[i].Text + " (" + string(code) + ")"
			break
		}
	}
	url = j.page("pulls")
	return observed(d, j.besides(d, fmt.Sprintf("%s: %s is held: %s; %s can release it: at the merge of a pull request at %s that sets the gate's input since to the commit they have looked at, or of this deployment with the Sallyport App",
		word(h.environment), sha, cause, who, url))), url
}
