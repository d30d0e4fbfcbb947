package rules

import (
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/bmatcuk/doublestar/v4"
	"gopkg.in/yaml.v3"
)

//go:embed agents.yml
var agentsFile []byte

// Catalogue is the compiled signatures of agents and automations: the built-in
// ones (agents.yml) and a policy's own. It is immutable and safe for concurrent
// use. The zero value and nil are the built-in ones alone.
//
// The built-in signatures are read when a catalogue is first asked something,
// which takes a few milliseconds, once.
type Catalogue struct {
	load func() *signatures
}

// NewCatalogue compiles the signatures that a policy's agents section asks for.
//
// With catalogue: false the built-in agents are nobody's authors; automations
// and GitHub's own accounts stay known, and [Catalogue.OwnApp] still knows the
// Apps of agents, since it only ever keeps a check from counting.
//
// It is an error if a branch pattern is no glob, or a trailer pattern is not of
// the form "Key: value".
func NewCatalogue(r AgentRules) (*Catalogue, error) {
	useAgents := r.Catalogue == nil || *r.Catalogue
	if useAgents && len(r.Also) == 0 {
		return &Catalogue{}, nil
	}
	var own []ownAgent
	for _, e := range r.Also {
		o, err := compileEntry(e)
		if err != nil {
			return nil, err
		}
		own = append(own, o)
	}
	return &Catalogue{load: sync.OnceValue(func() *signatures { return builtIn().with(useAgents, own) })}, nil
}

func (c *Catalogue) signatures() *signatures {
	if c == nil || c.load == nil {
		return builtIn()
	}
	return c.load()
}

// NonPerson reports whether an identity in a commit is surely no person who could
// approve: an account or whole address of an agent, an automation or GitHub
// itself. An account that GitHub resolved decides, whatever the address says; a
// name, a domain and a signal of low confidence never do.
func (c *Catalogue) NonPerson(i Identity) bool {
	s := c.signatures()
	if i.ID != 0 {
		if s.silentIDs[i.ID] {
			return true
		}
		a, ok := s.ids[i.ID]
		return ok && a.grade >= medium
	}
	if i.Login != "" {
		login := strings.ToLower(string(i.Login))
		return s.silentLogins[login] || slices.ContainsFunc(s.logins[login], func(a *account) bool { return a.grade >= medium })
	}
	addr := address(i.Email)
	if s.silentEmails[addr] {
		return true
	}
	if e, ok := s.emails[addr]; ok {
		return max(e.author, e.coAuthor) >= medium && !e.hint
	}
	a := s.noreply(addr)
	return a != nil && a.grade >= medium
}

// OwnApp reports whether checks made by an App are an agent's own, which never
// count.
func (c *Catalogue) OwnApp(app Slug) bool {
	return app != "" && c.signatures().apps[strings.ToLower(string(app))]
}

// grade is a Confidence that compares.
type grade int8

const (
	none grade = iota
	low
	medium
	high
)

func (g grade) confidence() Confidence {
	switch g {
	case high:
		return ConfidenceHigh
	case medium:
		return ConfidenceMedium
	default:
		return ConfidenceLow
	}
}

func gradeOf(c Confidence) grade {
	switch c {
	case ConfidenceHigh:
		return high
	case ConfidenceMedium:
		return medium
	case ConfidenceLow:
		return low
	default:
		return none
	}
}

// signal is what every signal of the catalogue has.
type signal struct {
	agent string
	grade grade
	// hint signals are shown beside others and count for nothing.
	hint bool
	// assist signals show help, not authorship.
	assist bool
}

// account is an account of an agent or an automation.
type account struct {
	signal
	login Login
	kind  ActorType
	id    AccountID // 0: not known
	// review says that it mostly reviews: as a co-author it only had a suggestion
	// accepted.
	review bool
	// own says that a policy named it.
	own        bool
	automation bool
	// shared says that every workflow acts through it.
	shared bool
}

// mail is a whole address of an agent or an automation.
type mail struct {
	signal
	author, coAuthor grade
	automation       bool
}

// pattern is a signal that is searched for in a text. The literal comes first,
// since it is cheap: as a prefix of a branch, or anywhere in a text in lower case.
type pattern struct {
	signal
	literal string
	// re is nil where the literal is enough.
	re func() *regexp.Regexp
	// comment: in HTML comments only. raw: code spans are not masked. handoff: a
	// person's commit.
	comment, raw, handoff bool
}

// trailerPattern is a signal in the value of a trailer. names says that the value
// names the agent.
type trailerPattern struct {
	signal
	re    func() *regexp.Regexp
	names bool
}

// reviewerBlock is what a reviewing bot adds to a body.
type reviewerBlock struct {
	Begin string `yaml:"begin"`
	End   string `yaml:"end"`
}

// signatures are the compiled tables. Keys that are logins, addresses, labels or
// trailer keys are in lower case.
type signatures struct {
	ids      map[AccountID]*account
	logins   map[string][]*account
	emails   map[string]*mail
	names    map[string][]signal
	likeName []pattern
	trailers map[string][]trailerPattern
	branches []pattern
	titles   []pattern
	bodies   []pattern
	messages []pattern
	labels   map[string][]signal
	// inTitle, inBody and inMessage find the literals of titles, bodies and
	// messages; nil finds none.
	inTitle, inBody, inMessage *literals

	// byName maps names and ids of agents to ids, for trailers that name one.
	byName map[string]string
	// assistKeys are trailers that say that some agent helped.
	assistKeys map[string]grade
	blocks     []reviewerBlock
	apps       map[string]bool
	ownGlobs   []ownGlob

	silentIDs    map[AccountID]bool
	silentLogins map[string]bool
	silentEmails map[string]bool
}

// ownGlob is a policy's branch pattern.
type ownGlob struct {
	signal
	glob string
}

// catalogueFile is the form of agents.yml. What is there for readers only
// (vendor, note, sources) is not read.
type catalogueFile struct {
	Agents []struct {
		ID     string `yaml:"id"`
		Name   string `yaml:"name"`
		Logins []struct {
			Login      Login      `yaml:"login"`
			Type       ActorType  `yaml:"type"`
			ID         AccountID  `yaml:"id"`
			Review     bool       `yaml:"review"`
			Confidence Confidence `yaml:"confidence"`
		} `yaml:"logins"`
		Emails []struct {
			Email      string     `yaml:"email"`
			Role       string     `yaml:"role"`
			AsCoAuthor Confidence `yaml:"as_co_author"`
			Confidence Confidence `yaml:"confidence"`
			Hint       bool       `yaml:"hint"`
			Assist     bool       `yaml:"assist"`
		} `yaml:"emails"`
		Names    []filePattern `yaml:"names"`
		Trailers []filePattern `yaml:"trailers"`
		Branches []filePattern `yaml:"branches"`
		Titles   []filePattern `yaml:"titles"`
		Bodies   []filePattern `yaml:"bodies"`
		Messages []filePattern `yaml:"messages"`
		Labels   []filePattern `yaml:"labels"`
	} `yaml:"agents"`
	Generic struct {
		Trailers []filePattern `yaml:"trailers"`
		Labels   []string      `yaml:"labels"`
	} `yaml:"generic"`
	Handoffs   []filePattern   `yaml:"handoffs"`
	Blocks     []reviewerBlock `yaml:"reviewer_blocks"`
	Automation []struct {
		ID       string    `yaml:"id"`
		Login    Login     `yaml:"login"`
		GitHubID AccountID `yaml:"github_id"`
		Emails   []string  `yaml:"emails"`
		Shared   bool      `yaml:"shared"`
	} `yaml:"automation"`
	Silent struct {
		Logins []struct {
			Login Login     `yaml:"login"`
			ID    AccountID `yaml:"id"`
		} `yaml:"logins"`
		Emails []string `yaml:"emails"`
	} `yaml:"silent"`
}

type filePattern struct {
	Name       string     `yaml:"name"`
	Label      string     `yaml:"label"`
	Key        string     `yaml:"key"`
	Value      string     `yaml:"value"`
	Prefix     string     `yaml:"prefix"`
	Has        string     `yaml:"has"`
	Match      string     `yaml:"match"`
	Confidence Confidence `yaml:"confidence"`
	Hint       bool       `yaml:"hint"`
	Assist     bool       `yaml:"assist"`
	Comment    bool       `yaml:"comment"`
	Raw        bool       `yaml:"raw"`
	Names      bool       `yaml:"names"`
}

// builtIn reads agents.yml, once.
var builtIn = sync.OnceValue(func() *signatures {
	var f catalogueFile
	if err := yaml.Unmarshal(agentsFile, &f); err != nil {
		panic("rules: the built-in agents.yml: " + err.Error())
	}
	return f.compile()
})

// lazy compiles an expression when it is first needed; most never are.
func lazy(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

func (p filePattern) signal(agent string) signal {
	g := gradeOf(p.Confidence)
	if g == none {
		g = low
	}
	return signal{agent: agent, grade: g, hint: p.Hint, assist: p.Assist}
}

func (p filePattern) compile(agent string) pattern {
	out := pattern{signal: p.signal(agent), literal: p.Prefix + p.Has, comment: p.Comment, raw: p.Raw}
	if p.Match != "" {
		out.re = lazy(p.Match)
	}
	return out
}

func (f *catalogueFile) compile() *signatures {
	s := &signatures{
		ids: map[AccountID]*account{}, logins: map[string][]*account{}, emails: map[string]*mail{},
		names: map[string][]signal{}, trailers: map[string][]trailerPattern{}, labels: map[string][]signal{},
		byName: map[string]string{}, assistKeys: map[string]grade{}, apps: map[string]bool{}, blocks: f.Blocks,
		silentIDs: map[AccountID]bool{}, silentLogins: map[string]bool{}, silentEmails: map[string]bool{},
	}
	for _, a := range f.Agents {
		s.byName[strings.ToLower(a.ID)] = a.ID
		s.byName[strings.ToLower(a.Name)] = a.ID
		for _, l := range a.Logins {
			s.addAccount(&account{
				signal: signal{agent: a.ID, grade: gradeOf(l.Confidence)},
				login:  l.Login, kind: l.Type, id: l.ID, review: l.Review,
			})
		}
		for _, e := range a.Emails {
			g := gradeOf(e.Confidence)
			m := &mail{signal: signal{agent: a.ID, grade: g, hint: e.Hint, assist: e.Assist}, author: g, coAuthor: g}
			switch {
			case e.Assist: // as author of its own commit it is the author
				m.author = max(g, medium)
			case e.Role == "co_author": // nobody is known to use it as an author
				m.author = min(g, medium)
			}
			if e.AsCoAuthor != "" {
				m.coAuthor = gradeOf(e.AsCoAuthor)
			}
			s.emails[strings.ToLower(e.Email)] = m
		}
		for _, n := range a.Names {
			if n.Name != "" {
				s.names[n.Name] = append(s.names[n.Name], n.signal(a.ID))
			} else {
				s.likeName = append(s.likeName, n.compile(a.ID))
			}
		}
		for _, t := range a.Trailers {
			s.trailers[t.Key] = append(s.trailers[t.Key], trailerPattern{signal: t.signal(a.ID), re: lazy("(?i)" + t.Value), names: t.Names})
		}
		for _, l := range a.Labels {
			s.labels[l.Label] = append(s.labels[l.Label], l.signal(a.ID))
		}
		for _, list := range []struct {
			from []filePattern
			to   *[]pattern
		}{{a.Branches, &s.branches}, {a.Titles, &s.titles}, {a.Bodies, &s.bodies}, {a.Messages, &s.messages}} {
			for _, p := range list.from {
				*list.to = append(*list.to, p.compile(a.ID))
			}
		}
	}
	for _, t := range f.Generic.Trailers {
		s.assistKeys[t.Key] = gradeOf(t.Confidence)
	}
	for _, l := range f.Generic.Labels {
		s.labels[l] = append(s.labels[l], signal{grade: low, assist: true})
	}
	for _, h := range f.Handoffs {
		p := h.compile("")
		p.handoff = true
		s.messages = append(s.messages, p)
	}
	s.inTitle, s.inBody, s.inMessage = newLiterals(s.titles), newLiterals(s.bodies), newLiterals(s.messages)
	for _, a := range f.Automation {
		by := signal{agent: a.ID, grade: high}
		if a.Login != "" {
			s.addAccount(&account{signal: by, login: a.Login, kind: ActorBot, id: a.GitHubID, automation: true, shared: a.Shared})
		}
		for _, e := range a.Emails {
			s.emails[strings.ToLower(e)] = &mail{signal: by, author: high, coAuthor: high, automation: true}
		}
	}
	for _, l := range f.Silent.Logins {
		s.silentIDs[l.ID] = true
		s.silentLogins[strings.ToLower(string(l.Login))] = true
	}
	for _, e := range f.Silent.Emails {
		s.silentEmails[e] = true
	}
	return s
}

func (s *signatures) addAccount(a *account) {
	login := strings.ToLower(string(a.login))
	s.logins[login] = append(s.logins[login], a)
	if old := s.ids[a.id]; a.id != 0 && (old == nil || old.grade < a.grade) {
		s.ids[a.id] = a
	}
	if !a.automation && a.kind == ActorBot {
		s.apps[strings.TrimSuffix(login, botSuffix)] = true
	}
}

// botSuffix ends the login of every App's account, and of no person's.
const botSuffix = "[bot]"

// ownAgent is a policy's entry, checked.
type ownAgent struct {
	id       string
	logins   []Login
	branches []string
	trailers []ownTrailer
}

type ownTrailer struct {
	key string
	re  *regexp.Regexp
}

func compileEntry(e AgentEntry) (ownAgent, error) {
	o := ownAgent{id: e.ID, logins: e.Logins, branches: e.Branches}
	for _, b := range e.Branches {
		if b == "" || !doublestar.ValidatePattern(b) {
			return o, fmt.Errorf(`agent %q: %q is no branch pattern; write one like "acme/**"`, e.ID, b)
		}
	}
	for _, t := range e.Trailers {
		key, value, ok := strings.Cut(t, ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || value == "" || separator(key+":") < 1 {
			return o, fmt.Errorf(`agent %q: %q is no trailer pattern; write one like "Made-by: acme-*"`, e.ID, t)
		}
		re, err := regexp.Compile("(?s)^" + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(value)) + "$")
		if err != nil {
			return o, fmt.Errorf("agent %q: trailer pattern %q: %w", e.ID, t, err)
		}
		o.trailers = append(o.trailers, ownTrailer{key: strings.ToLower(key), re: re})
	}
	return o, nil
}

// with is a copy of s with a policy's agents, and with the built-in ones if they
// are wanted.
func (s *signatures) with(agents bool, own []ownAgent) *signatures {
	out := &signatures{
		ids: maps.Clone(s.ids), logins: cloneLists(s.logins), emails: maps.Clone(s.emails),
		names: s.names, likeName: s.likeName, trailers: cloneLists(s.trailers),
		branches: s.branches, titles: s.titles, bodies: s.bodies, messages: s.messages, labels: s.labels,
		inTitle: s.inTitle, inBody: s.inBody, inMessage: s.inMessage,
		byName: maps.Clone(s.byName), assistKeys: s.assistKeys, blocks: s.blocks,
		apps: maps.Clone(s.apps), silentIDs: s.silentIDs, silentLogins: s.silentLogins, silentEmails: s.silentEmails,
	}
	if !agents {
		maps.DeleteFunc(out.ids, func(_ AccountID, a *account) bool { return !a.automation })
		maps.DeleteFunc(out.logins, func(_ string, l []*account) bool { return !l[0].automation })
		maps.DeleteFunc(out.emails, func(_ string, m *mail) bool { return !m.automation })
		out.names, out.likeName, out.trailers, out.labels, out.byName = nil, nil, map[string][]trailerPattern{}, nil, map[string]string{}
		out.branches, out.titles, out.bodies, out.messages, out.assistKeys = nil, nil, nil, nil, nil
		out.inTitle, out.inBody, out.inMessage = nil, nil, nil
	}
	for _, o := range own {
		by := signal{agent: o.id, grade: medium}
		out.byName[strings.ToLower(o.id)] = o.id
		for _, l := range o.logins {
			a := &account{signal: by, login: l, own: true}
			if strings.HasSuffix(strings.ToLower(string(l)), botSuffix) {
				a.kind = ActorBot
			}
			out.addAccount(a)
		}
		for _, b := range o.branches {
			out.ownGlobs = append(out.ownGlobs, ownGlob{signal: by, glob: b})
		}
		for _, t := range o.trailers {
			out.trailers[t.key] = append(out.trailers[t.key], trailerPattern{signal: by, re: func() *regexp.Regexp { return t.re }})
		}
	}
	return out
}

// cloneLists copies a map of lists such that appending to a list leaves the
// original alone.
func cloneLists[V any](m map[string][]V) map[string][]V {
	out := make(map[string][]V, len(m))
	for k, l := range m {
		out[k] = slices.Clip(l)
	}
	return out
}

// address is an e-mail address as the catalogue spells it.
func address(email string) string {
	return strings.ToLower(strings.Trim(email, "<> \t\r\n"))
}

const noreplyDomain = "@users.noreply.github.com"

// noreply is the account that an address of GitHub's own form names
// (ID+LOGIN@users.noreply.github.com, or LOGIN@ for a bot). Anyone can write
// such an address. The number alone names nobody.
func (s *signatures) noreply(addr string) *account {
	local, ok := strings.CutSuffix(addr, noreplyDomain)
	if !ok {
		return nil
	}
	id, login, numbered := strings.Cut(local, "+")
	if !numbered {
		login = local
		if !strings.HasSuffix(login, botSuffix) {
			return nil
		}
		id = "0"
	}
	if id == "" {
		return nil
	}
	number := AccountID(0)
	for _, c := range []byte(id) {
		if c < '0' || c > '9' || number > 1<<53 {
			return nil
		}
		number = number*10 + AccountID(c-'0')
	}
	for _, a := range s.logins[login] {
		if !numbered || a.id == number || a.id == 0 && a.kind == ActorBot {
			return a
		}
	}
	return nil
}
