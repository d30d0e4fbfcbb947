package rules

import (
	"cmp"
	"math/bits"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// maxEvidence is how many pieces of evidence an [Authorship] has at most. Of more,
// those are kept that differ in more than the commit, and then the first in order.
const maxEvidence = 200

// maxValue is how many bytes of foreign text one piece of evidence quotes.
const maxValue = 200

// Judge says who wrote a change, with the evidence.
//
// Each commit is judged first: an agent's if its author, committer, trailers or
// message show one with at least medium confidence, or with low confidence where
// the change has a second sign of another kind of the same agent. The change is
// an agent's if one of its commits is; mixed if another is not. If no commit is,
// the pull request's own account, branch, title and body decide. Merges of the
// base that GitHub made say nothing. The order of commits never matters.
//
// High confidence is only for accounts that an agent alone controls: the pull
// request's author and everybody on record as having pushed.
func (c *Catalogue) Judge(ch *Change) Authorship {
	j := c.judge(ch)
	return j.authorship()
}

// judgement is the work on one change.
type judgement struct {
	s  *signatures
	ch *Change

	evidence []Evidence
	hints    []Evidence // shown only beside better evidence of the same agent
	tallies  []tally
	commits  []commitVerdict
	// by is the automation that opened the pull request, if one did.
	by *account
	// bot says that an account of type Bot opened it that nobody knows.
	bot bool
	// byAgent says that an agent's own Bot account opened it.
	byAgent bool
}

// tally is what speaks for one agent as an author.
type tally struct {
	agent string
	// change is the best sign of the pull request itself.
	change grade
	// kinds has a bit for each kind of sign seen, however weak.
	kinds uint16
}

// established reports whether the pull request as a whole is the agent's, by its
// own signs or by two weak ones of different kinds.
func (t tally) established() bool { return t.change >= medium || bits.OnesCount16(t.kinds) >= 2 }

// commitVerdict is what is known of one commit.
type commitVerdict struct {
	sha SHA
	// hits are the agents seen, each with its best sign.
	hits []hit
	// automation is the id of the automation that wrote it; bot says that an
	// unknown Bot account did.
	automation string
	bot        bool
	// person says that GitHub resolved its author to an account that is no
	// agent's and no automation's.
	person bool
	// handoff says that a person handed work to an agent by it.
	handoff bool
	// merge says that it is a merge that GitHub says it made.
	merge bool
	// hand says that a person's account wrote or committed it.
	hand bool
}

type hit struct {
	agent string
	grade grade
}

func (c *Catalogue) judge(ch *Change) *judgement {
	j := &judgement{s: c.signatures(), ch: ch}
	if ch == nil {
		j.ch = &Change{}
		return j
	}
	j.change()
	j.commits = make([]commitVerdict, len(ch.Commits))
	for i := range ch.Commits {
		j.commit(&ch.Commits[i], &j.commits[i])
	}
	return j
}

func kindBit(s Signal) uint16 {
	switch s {
	case SignalLogin, SignalApp:
		return 1
	case SignalEmail:
		return 2
	case SignalTrailer:
		return 4
	case SignalBranch:
		return 8
	case SignalTitle:
		return 16
	case SignalBody:
		return 32
	case SignalMessage:
		return 64
	default: // names and labels are anyone's
		return 0
	}
}

func (j *judgement) tally(agent string) *tally {
	for i := range j.tallies {
		if j.tallies[i].agent == agent {
			return &j.tallies[i]
		}
	}
	j.tallies = append(j.tallies, tally{agent: agent})
	return &j.tallies[len(j.tallies)-1]
}

// see records a sign. v is nil for those of the pull request itself.
func (j *judgement) see(v *commitVerdict, kind Signal, value string, by signal) {
	e := Evidence{Signal: kind, Value: value, Agent: by.agent, Confidence: by.grade.confidence(), Assist: by.assist}
	if v != nil {
		e.Commit = v.sha
	}
	if by.hint {
		j.hints = append(j.hints, e)
		return
	}
	j.evidence = append(j.evidence, e)
	if by.assist {
		return
	}
	t := j.tally(by.agent)
	t.kinds |= kindBit(kind)
	if v == nil {
		t.change = max(t.change, by.grade)
		return
	}
	for i := range v.hits {
		if v.hits[i].agent == by.agent {
			v.hits[i].grade = max(v.hits[i].grade, by.grade)
			return
		}
	}
	v.hits = append(v.hits, hit{by.agent, by.grade})
}

// plain records evidence that is not about an agent.
func (j *judgement) plain(v *commitVerdict, kind Signal, value, id string, g grade) {
	e := Evidence{Signal: kind, Value: value, Agent: id, Confidence: g.confidence()}
	if v != nil {
		e.Commit = v.sha
	}
	j.evidence = append(j.evidence, e)
}

// known finds the catalogued account behind an actor. An id decides alone; a
// login counts only where either id is unknown, and then is no more than medium.
func (s *signatures) known(a Actor) (*account, grade) {
	login := strings.ToLower(string(a.Login))
	if a.ID != 0 {
		if by := s.ids[a.ID]; by != nil {
			// An account may have had several names, some better known than others.
			for _, named := range s.logins[login] {
				if named.id == a.ID {
					by = named
				}
			}
			if a.Type != "" && a.Type != by.kind {
				return nil, none
			}
			return by, by.grade
		}
	}
	if login == "" {
		return nil, none
	}
	list := s.logins[login]
	if len(list) == 0 && a.Type == ActorBot && !strings.HasSuffix(login, botSuffix) {
		list = s.logins[login+botSuffix] // GraphQL leaves the suffix out
	}
	for _, by := range list {
		if (a.ID == 0 || by.id == 0) && (a.Type == "" || by.kind == "" || a.Type == by.kind) {
			return by, min(by.grade, medium)
		}
	}
	return nil, none
}

// change reads the signs of the pull request itself.
func (j *judgement) change() {
	s, ch := j.s, j.ch
	if by, g := s.known(ch.Author); by != nil {
		switch {
		case by.automation:
			j.by = by
			if by.shared {
				g = min(g, medium)
			}
			j.plain(nil, SignalLogin, string(ch.Author.Login), by.agent, g)
		default:
			if by.review {
				g = max(g, medium) // of its own pull request it is the author
			}
			j.byAgent = by.kind == ActorBot && g >= medium
			j.see(nil, SignalLogin, cmp.Or(string(ch.Author.Login), string(by.login)), signal{agent: by.agent, grade: g})
		}
	} else if ch.Author.Type == ActorBot || strings.HasSuffix(string(ch.Author.Login), botSuffix) {
		j.bot = true
		j.plain(nil, SignalLogin, string(ch.Author.Login), "", low)
	}
	if ch.App != "" {
		if by := s.appAccount(ch.App); by != nil {
			if by.automation {
				j.plain(nil, SignalApp, string(ch.App), by.agent, medium)
			} else {
				j.see(nil, SignalApp, string(ch.App), signal{agent: by.agent, grade: min(by.grade, medium)})
			}
		}
	}
	j.branch(strings.TrimPrefix(ch.Head.Ref, "refs/heads/"))
	if j.by != nil && !j.by.shared {
		return // what it says is about others: release notes, titles of other changes
	}
	if ch.Title != "" {
		for found := s.inTitle.in(ch.Title); found != 0; found &= found - 1 {
			if p := &s.titles[bits.TrailingZeros64(found)]; p.re().MatchString(ch.Title) {
				j.see(nil, SignalTitle, ch.Title, p.signal)
			}
		}
	}
	j.body()
	for _, l := range ch.Labels {
		for _, by := range s.labels[strings.ToLower(l)] {
			j.see(nil, SignalLabel, l, by)
		}
	}
}

// appAccount is the account of an App, the most certain where there are several.
func (s *signatures) appAccount(app Slug) *account {
	var best *account
	for _, by := range s.logins[strings.ToLower(string(app))+botSuffix] {
		if best == nil || by.grade > best.grade {
			best = by
		}
	}
	return best
}

// branch reads the name of the head branch. Of several patterns of one agent the
// surest speaks.
func (j *judgement) branch(ref string) {
	if ref == "" {
		return
	}
	var found []signal
	add := func(by signal) {
		for i := range found {
			if found[i].agent == by.agent {
				if found[i].hint && !by.hint || found[i].grade < by.grade && found[i].hint == by.hint {
					found[i] = by
				}
				return
			}
		}
		found = append(found, by)
	}
	reverts := strings.HasPrefix(ref, "revert-") // GitHub's name for a revert of another branch
	for i := range j.s.branches {
		p := &j.s.branches[i]
		if !strings.HasPrefix(ref, p.literal) || p.literal == "" && reverts {
			continue
		}
		if p.re == nil || p.re().MatchString(ref) {
			add(p.signal)
		}
	}
	for _, g := range j.s.ownGlobs {
		if ok, err := doublestar.Match(g.glob, ref); ok && err == nil {
			add(g.signal)
		}
	}
	for _, by := range found {
		j.see(nil, SignalBranch, ref, by)
	}
}

// body looks for markers in the pull request's body.
func (j *judgement) body() {
	body := j.ch.Body
	if body == "" || strings.HasPrefix(j.ch.Title, revert) || strings.HasPrefix(body, "Reverts ") || strings.Contains(body, "This reverts commit ") {
		return
	}
	if len(body) > maxBody {
		body = body[:maxBody]
	}
	found := j.s.inBody.in(body)
	if found == 0 {
		return
	}
	visible, comments := bodyText(strings.ReplaceAll(body, "\r\n", "\n"), j.s.blocks)
	lowVisible, lowComments := lowerASCII(visible), lowerASCII(comments)
	for ; found != 0; found &= found - 1 {
		p := &j.s.bodies[bits.TrailingZeros64(found)]
		in, low := visible, lowVisible
		if p.comment {
			in, low = comments, lowComments
		}
		if m, ok := p.lineMatch(in, low); ok {
			j.see(nil, SignalBody, m, p.signal)
		}
	}
}

// commit judges one commit.
func (j *judgement) commit(c *Commit, v *commitVerdict) {
	v.sha = c.SHA
	silent := j.s.silent(c.Committer)
	v.hand = j.s.hand(c.Author) || j.s.hand(c.Committer)
	// A merge that GitHub made says nothing, unless a person made GitHub make it:
	// the web editor resolves conflicts with any content at all.
	v.merge = c.Verified == Yes && silent && c.Parents > 1 && !v.hand
	j.identity(v, c.Author, true)
	if !silent && c.Committer != c.Author {
		j.identity(v, c.Committer, false)
	}
	for _, i := range c.CoAuthors {
		j.coAuthor(v, i, "", high)
	}
	if c.Message != "" {
		j.message(v, c.Message)
	}
}

// hand reports whether GitHub matched an identity to an account that is none of an
// agent, an automation or GitHub itself: a person's hand.
func (s *signatures) hand(i Identity) bool {
	if !i.Actor().Known() || s.silent(i) {
		return false
	}
	by, _ := s.known(i.Actor())
	return by == nil && !strings.HasSuffix(strings.ToLower(string(i.Login)), "[bot]")
}

// silent reports whether a committer is GitHub's own hand.
func (s *signatures) silent(i Identity) bool {
	if i.ID != 0 {
		return s.silentIDs[i.ID]
	}
	if i.Login != "" {
		return s.silentLogins[strings.ToLower(string(i.Login))]
	}
	return s.silentEmails[address(i.Email)]
}

// identity reads the author or the committer of a commit.
func (j *judgement) identity(v *commitVerdict, i Identity, author bool) {
	s := j.s
	by, g := s.known(i.Actor())
	if by != nil && by.review {
		g = max(g, medium)
	}
	addr := address(i.Email)
	m := s.emails[addr]
	if m == nil {
		if a := s.noreply(addr); a != nil {
			m = &mail{signal: a.signal, author: a.grade, automation: a.automation}
			if a.review {
				m.author = max(m.author, medium)
			}
		}
	}
	switch {
	case by == nil:
	case !by.automation:
		j.see(v, SignalLogin, cmp.Or(string(i.Login), string(by.login)), signal{agent: by.agent, grade: g})
	case author:
		v.automation = by.agent
		j.plain(v, SignalLogin, cmp.Or(string(i.Login), string(by.login)), by.agent, g)
	}
	switch {
	case m == nil:
	case !m.automation:
		j.see(v, SignalEmail, i.Email, signal{agent: m.agent, grade: m.author, hint: m.hint})
	case author && by == nil:
		v.automation = m.agent
		j.plain(v, SignalEmail, i.Email, m.agent, m.author)
	}
	for _, n := range s.names[i.Name] {
		j.see(v, SignalName, i.Name, n)
	}
	if i.Name != "" {
		for k := range s.likeName {
			if p := &s.likeName[k]; strings.Contains(i.Name, p.literal) && p.re().MatchString(i.Name) {
				j.see(v, SignalName, i.Name, p.signal)
			}
		}
	}
	if !author {
		return
	}
	if by == nil && m == nil {
		switch {
		case strings.HasSuffix(string(i.Login), botSuffix):
			v.bot = true
			j.plain(v, SignalLogin, string(i.Login), "", low)
		case i.Login == "" && i.ID == 0 && strings.HasSuffix(addr, botSuffix+noreplyDomain):
			v.bot = true
			j.plain(v, SignalEmail, i.Email, "", low)
		}
	}
	v.person = (i.ID != 0 || i.Login != "") && by == nil && !v.bot
}

// coAuthor reads a co-author: an agent that wrote the commit for its author, or a
// review bot whose suggestion was accepted. line is the trailer it stands in,
// empty where GitHub resolved the account.
func (j *judgement) coAuthor(v *commitVerdict, i Identity, line string, atMost grade) {
	kind, value := SignalTrailer, line
	if line == "" {
		if by, g := j.s.known(i.Actor()); by != nil && !by.automation {
			j.see(v, SignalLogin, cmp.Or(string(i.Login), string(by.login)), signal{agent: by.agent, grade: g, assist: by.review})
			return
		}
		kind, value = SignalEmail, i.Email
	}
	addr := address(i.Email)
	if m := j.s.emails[addr]; m != nil {
		if !m.automation {
			j.see(v, kind, value, signal{agent: m.agent, grade: min(m.coAuthor, atMost), hint: m.hint, assist: m.assist})
		}
		return
	}
	if a := j.s.noreply(addr); a != nil && !a.automation {
		j.see(v, kind, value, signal{agent: a.agent, grade: min(a.grade, atMost), assist: a.review})
	}
}

// message reads a commit message: its trailers and markers.
func (j *judgement) message(v *commitVerdict, message string) {
	if strings.IndexByte(message, '\r') >= 0 {
		message = strings.ReplaceAll(message, "\r\n", "\n")
	}
	words, lines := messageText(message)
	for _, t := range ownTrailers(message, lines) {
		j.trailer(v, t, high)
	}
	if strings.HasPrefix(message, revert) {
		return
	}
	for _, t := range squashedTrailers(lines) {
		j.trailer(v, t, medium)
	}
	for found := j.s.inMessage.in(message); found != 0; found &= found - 1 {
		p := &j.s.messages[bits.TrailingZeros64(found)]
		in := words
		if p.raw {
			in = lines
		}
		m := p.re().FindStringIndex(in)
		switch {
		case m == nil:
		case p.handoff:
			v.handoff = true
		default:
			j.see(v, SignalMessage, strings.TrimSpace(in[m[0]:m[1]]), p.signal)
		}
	}
}

// trailer reads one trailer. It is never surer than atMost.
func (j *judgement) trailer(v *commitVerdict, t Trailer, atMost grade) {
	s := j.s
	key := strings.ToLower(t.Key)
	list := s.trailers[key]
	coAuthor := key == "co-authored-by"
	assist := s.assistKeys[key]
	if len(list) == 0 && !coAuthor && assist == none {
		return
	}
	line := t.Key + ": " + t.Value
	if coAuthor {
		// Name and address can hold anything, even pieces of each other.
		_, rest, _ := strings.Cut(t.Value, "<")
		if addr, _, ok := strings.Cut(rest, ">"); ok {
			j.coAuthor(v, Identity{Email: addr}, line, atMost)
		}
	}
	found := false
	for i := range list {
		p := &list[i]
		if !p.re().MatchString(t.Value) {
			continue
		}
		by := p.signal
		by.grade = min(by.grade, atMost)
		if p.names {
			if agent := s.byName[strings.ToLower(strings.TrimSpace(t.Value))]; agent != "" {
				by.agent = agent
			}
		}
		j.see(v, SignalTrailer, line, by)
		found = true
	}
	if found || assist == none {
		return
	}
	if by := s.helper(t.Value); by.grade != none {
		by.grade = min(assist, atMost)
		by.assist = true
		j.see(v, SignalTrailer, line, by)
	}
}

// helper is who a trailer that declares help names. The agent is empty where the
// catalogue does not know it; no grade means that nobody helped.
func (s *signatures) helper(value string) signal {
	value = strings.ToLower(strings.TrimSpace(value))
	switch value {
	case "", "no", "none", "false", "n/a":
		return signal{}
	}
	if _, rest, ok := strings.Cut(value, "<"); ok {
		addr, _, _ := strings.Cut(rest, ">")
		if m := s.emails[address(addr)]; m != nil && !m.automation {
			return signal{agent: m.agent, grade: low}
		}
		if a := s.noreply(address(addr)); a != nil && !a.automation {
			return signal{agent: a.agent, grade: low}
		}
	}
	name := value
	if i := strings.IndexAny(name, "<(:["); i >= 0 {
		name = name[:i]
	}
	return signal{agent: s.byName[strings.TrimSpace(name)], grade: low}
}
