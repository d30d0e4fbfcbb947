package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// agentsOf are the agents that wrote the commit, sorted; nil if none did.
func (j *judgement) agentsOf(v *commitVerdict) []string {
	var out []string
	for _, h := range v.hits {
		if h.grade >= medium || j.tally(h.agent).established() {
			out = append(out, h.agent)
		}
	}
	slices.Sort(out)
	return out
}

// best is the surest sign of any agent.
func (v *commitVerdict) best() grade {
	g := none
	for _, h := range v.hits {
		g = max(g, h.grade)
	}
	return g
}

// kindOf judges one commit.
func (j *judgement) kindOf(v *commitVerdict) (AuthorKind, []string) {
	if agents := j.agentsOf(v); agents != nil {
		return KindAgent, agents
	}
	switch {
	case v.automation != "":
		return KindAutomation, []string{v.automation}
	case v.bot:
		return KindAutomation, nil
	default:
		return KindHuman, nil
	}
}

// authorship draws the conclusion.
func (j *judgement) authorship() Authorship {
	a := Authorship{Kind: KindHuman, Confidence: ConfidenceMedium, Agents: []string{}}
	agents := map[string]bool{}
	var writtenBy struct{ agents, sure, automations, persons, handoffs int }
	listed := make([]CommitAuthorship, 0, len(j.commits))
	for i := range j.commits {
		v := &j.commits[i]
		kind, by := j.kindOf(v)
		if v.merge && kind != KindAgent {
			continue // says nothing
		}
		listed = append(listed, CommitAuthorship{SHA: v.sha, Kind: kind, Agents: by})
		switch kind {
		case KindAgent:
			writtenBy.agents++
			if v.best() >= medium {
				writtenBy.sure++
			}
			for _, id := range by {
				agents[id] = true
			}
		case KindAutomation:
			writtenBy.automations++
		default:
			if v.person {
				writtenBy.persons++
			}
			if v.handoff {
				writtenBy.handoffs++
			}
		}
	}
	for i := range j.tallies {
		t := &j.tallies[i]
		a.opened = a.opened || t.change >= medium
		if t.established() {
			agents[t.agent] = true
		}
	}
	// Weak signs stay weak whatever stands beside them, so that one commit more
	// never makes a change surer.
	sure := a.opened || writtenBy.agents > 0 && writtenBy.sure == writtenBy.agents
	// A hand-off is a person's commit on the branch that an agent will use.
	a.opened = a.opened && writtenBy.handoffs == 0
	handedOff := len(listed) > 0 && writtenBy.handoffs == len(listed)

	switch {
	case writtenBy.agents > 0 || len(agents) > 0 && !handedOff:
		a.Kind = KindAgent
		if writtenBy.agents > 0 {
			a.Mixed = writtenBy.agents < len(listed)
		} else {
			// Where the agent's own account brings commits of which none is its own,
			// they are others'.
			a.Mixed = writtenBy.handoffs > 0 || j.byAgent && len(listed) > 0
		}
		a.Agents = sortedKeys(agents)
		if !sure {
			a.Confidence = ConfidenceLow
		}
		if !a.Mixed {
			if _, ok, _ := j.account(nil, false); ok {
				a.Confidence = ConfidenceHigh
			}
		}
	case j.automated(writtenBy.automations, writtenBy.persons, len(listed)):
		a.Kind = KindAutomation
		a.Agents, a.Confidence = j.automations()
	case len(j.tallies) > 0: // signs of an agent, too weak to count
		a.Confidence = ConfidenceLow
	}
	a.Assisted = j.assisted(a.Agents)
	a.Evidence = j.chosen(agents)
	if differ(listed) {
		slices.SortFunc(listed, func(a, b CommitAuthorship) int {
			return cmp.Or(cmp.Compare(a.SHA, b.SHA), cmp.Compare(a.Kind, b.Kind), slices.Compare(a.Agents, b.Agents))
		})
		a.Commits = listed
	}
	return a
}

// automated reports whether no person had a hand in it, as far as is known: all
// commits are an automation's, or an automation opened it and no commit is a
// known person's.
func (j *judgement) automated(automations, persons, commits int) bool {
	if commits > 0 && automations == commits {
		return true
	}
	return (j.by != nil || j.bot) && persons == 0
}

// automations are the ids of the automations that wrote the change, and how sure
// that is: high by the same measure as an agent's, low if one is unknown.
func (j *judgement) automations() ([]string, Confidence) {
	ids := map[string]bool{}
	conf := medium
	if j.by != nil {
		ids[j.by.agent] = true
	}
	if j.bot {
		conf = low
	}
	for i := range j.commits {
		v := &j.commits[i]
		switch {
		case v.automation != "":
			ids[v.automation] = true
		case !v.merge:
			conf = low
		}
	}
	if conf == medium && j.by != nil && !j.by.shared && len(ids) == 1 && len(j.commits) > 0 &&
		j.ch.Author.ID == j.by.id && j.ch.CommitsComplete == Yes && j.pushedOnlyBy(func(a Actor) bool { return a.ID == j.by.id && a.Type != ActorUser }) == "" {
		conf = high
	}
	return sortedKeys(ids), conf.confidence()
}

// assisted are the agents that only helped.
func (j *judgement) assisted(authors []string) []string {
	ids := map[string]bool{}
	for _, e := range j.evidence {
		if e.Assist && e.Agent != "" && !slices.Contains(authors, e.Agent) {
			ids[e.Agent] = true
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return sortedKeys(ids)
}

func sortedKeys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func differ(list []CommitAuthorship) bool {
	for i := range list {
		if list[i].Kind != list[0].Kind || !slices.Equal(list[i].Agents, list[0].Agents) {
			return true
		}
	}
	return false
}

// chosen is the evidence to show: hints only beside better evidence, each piece
// once, in an order that does not depend on that of the facts, maxEvidence at most.
func (j *judgement) chosen(agents map[string]bool) []Evidence {
	out := slices.Clone(j.evidence)
	for _, h := range j.hints {
		if agents[h.Agent] {
			out = append(out, h)
		}
	}
	for i := range out {
		out[i].Value = evidenceValue(out[i].Value)
	}
	slices.SortFunc(out, func(a, b Evidence) int {
		return cmp.Or(
			cmp.Compare(a.Agent, b.Agent),
			cmp.Compare(a.Signal, b.Signal),
			cmp.Compare(a.Value, b.Value),
			cmp.Compare(a.Commit, b.Commit),
			cmp.Compare(gradeOf(b.Confidence), gradeOf(a.Confidence)),
			cmp.Compare(btoi(a.Assist), btoi(b.Assist)),
		)
	})
	// The surest of what is otherwise the same comes first.
	out = slices.CompactFunc(out, func(a, b Evidence) bool {
		return a.Agent == b.Agent && a.Signal == b.Signal && a.Value == b.Value && a.Commit == b.Commit
	})
	if len(out) > maxEvidence {
		out = firstOfEach(out)
	}
	slices.SortStableFunc(out, func(a, b Evidence) int {
		return cmp.Or(
			cmp.Compare(btoi(a.Commit != ""), btoi(b.Commit != "")),
			cmp.Compare(gradeOf(b.Confidence), gradeOf(a.Confidence)),
			cmp.Compare(btoi(a.Assist), btoi(b.Assist)),
		)
	})
	if out == nil {
		out = []Evidence{}
	}
	return out
}

// firstOfEach cuts sorted evidence to maxEvidence pieces: the first of each group
// that differs in the commit alone, then others in order.
func firstOfEach(list []Evidence) []Evidence {
	var first, rest []Evidence
	for i, e := range list {
		if i > 0 && e.Agent == list[i-1].Agent && e.Signal == list[i-1].Signal && e.Value == list[i-1].Value {
			rest = append(rest, e)
		} else {
			first = append(first, e)
		}
	}
	out := first
	if n := maxEvidence - len(first); n > 0 {
		out = append(out, rest[:min(n, len(rest))]...)
	}
	return out[:min(maxEvidence, len(out))]
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// evidenceValue makes foreign text fit to be a Value: valid UTF-8, one line, not long.
func evidenceValue(s string) string {
	if len(s) > maxValue {
		cut := maxValue
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	if i := strings.IndexAny(s, "\r\n"); i >= 0 {
		s = strings.Join(strings.Fields(s), " ")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// account reports whether a change is known to be an agent's by an account that
// the agent alone controls, and which agent's. If it is not, why says so in a few
// words in which foreign text is quoted. A login of the policy counts only with
// stated facts: see accountPinned.
func (c *Catalogue) account(ch *Change) (agent string, ok bool, why string) {
	return c.accountPinned(ch, nil, false)
}

// accountPinned is account with the ids of the policy's logins, keyed by login in
// lower case, as they were pinned when the policy came into force. A login that
// has an id counts for the account with that id alone. Where mixed is set, commits
// that are not the agent's are for the caller to judge.
func (c *Catalogue) accountPinned(ch *Change, pins map[string]AccountID, mixed bool) (agent string, ok bool, why string) {
	if ch == nil || ch.Author.Type != ActorBot {
		return (&judgement{s: c.signatures(), ch: cmp.Or(ch, &Change{})}).account(pins, mixed)
	}
	return c.judge(ch).account(pins, mixed)
}

func (j *judgement) account(pins map[string]AccountID, mixed bool) (agent string, ok bool, why string) {
	ch := j.ch
	if !ch.Author.Known() {
		return "", false, "who opened the pull request is not known"
	}
	agent = j.s.soleAgent(ch.Author, ch.Basis, pins)
	if agent == "" {
		return "", false, fmt.Sprintf("opened by %s, which is no account that an agent alone controls", shown(ch.Author))
	}
	by := func(a Actor) bool { return j.s.soleAgent(withBot(a), ch.Basis, pins) == agent }
	if why := j.pushedOnlyBy(by); why != "" {
		return agent, false, why
	}
	if ch.CommitsComplete != Yes {
		return agent, false, "not all commits are known"
	}
	if len(j.commits) == 0 {
		return agent, false, "there are no commits"
	}
	var others []SHA
	for i := range j.commits {
		// Where a person's account wrote or committed it, the agent's name in it is
		// only text.
		if v := &j.commits[i]; v.hand || !v.merge && !slices.Contains(j.agentsOf(v), agent) {
			others = append(others, v.sha)
		}
	}
	if len(others) > 0 && !mixed {
		return agent, false, fmt.Sprintf("commit %s is not the agent's", quote(slices.Min(others).Short()))
	}
	return agent, true, ""
}

// withBot takes an actor whose type is not known for a Bot: ids and logins of
// Bots are checked next, and are nobody else's.
func withBot(a Actor) Actor {
	if a.Type == "" {
		a.Type = ActorBot
	}
	return a
}

// soleAgent is the agent that alone controls a Bot account; empty if none does.
func (s *signatures) soleAgent(a Actor, basis Basis, pins map[string]AccountID) string {
	if a.Type != ActorBot {
		return ""
	}
	if by := s.ids[a.ID]; a.ID != 0 && by != nil {
		if by.kind == ActorBot && !by.automation && by.grade >= medium {
			return by.agent
		}
		return ""
	}
	login := strings.ToLower(string(a.Login))
	for _, by := range s.logins[login] {
		if !by.own || by.kind != ActorBot {
			continue
		}
		if pin := pins[login]; pin != 0 && pin == a.ID || pin == 0 && basis == Stated {
			return by.agent
		}
	}
	return ""
}

// pushedOnlyBy says why not everybody who pushed is known and ours; empty if so.
func (j *judgement) pushedOnlyBy(ours func(Actor) bool) string {
	if !j.ch.LastPusher.Known() {
		return "who pushed last is not known"
	}
	if !ours(j.ch.LastPusher) {
		return fmt.Sprintf("pushed by %s, not by the agent's account", shown(j.ch.LastPusher))
	}
	others := []string{}
	for _, p := range j.ch.Pushers {
		if !ours(p) {
			others = append(others, shown(p))
		}
	}
	if len(others) > 0 {
		return fmt.Sprintf("also pushed by %s, not by the agent's account", slices.Min(others))
	}
	return ""
}

// shown names an account in a sentence.
func shown(a Actor) string {
	switch {
	case a.Login != "":
		return quote(string(a.Login))
	case a.ID != 0:
		return fmt.Sprintf("account %d", a.ID)
	default:
		return "an unknown account"
	}
}
