package gate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// The kinds of effects. They are stored: they may be added to and never changed.
const (
	effectCheck   = "check"
	effectApprove = "approve"
	effectDismiss = "dismiss"
	effectMerge   = "merge"
	effectEnqueue = "enqueue"
	effectRequest = "request"
	effectComment = "comment"
	effectLabel   = "label"
	effectUnlabel = "unlabel"
	// effectAnswer answers our protection rule, effectReport tells what it waits for,
	// effectRerun has a job run again that waited in vain.
	effectAnswer = "answer"
	effectReport = "report"
	effectRerun  = "rerun"
	// effectRefused is no effect: it tells that GitHub refused one.
	effectRefused = "refused"
)

// Labels that a pull request gets.
const (
	labelAgent = "sallyport/agent"
	labelWaits = "sallyport/waits-for-human"
)

// effect is one thing to be done to GitHub, bound to the commit that it was
// decided for.
type effect struct {
	kind string
	// key tells it from all others: planned twice it is one.
	key string
	// closes says that it only takes something back, which is done even while the
	// ledger cannot be written.
	closes bool

	// about is the place of the decision that it follows from: 0 the first, 1 the
	// first of the further ones.
	about int

	pull   int
	sha    rules.SHA
	review rules.ReviewID
	node   string
	method string
	text   string
	digest string
	users  []rules.Login
	teams  []string
	// policies say who is asked for a review, and names keeps what they are called now.
	policies rules.Policies
	names    map[string]rules.Reviewer
	label    string
	comment  int64
	marker   string // of the comment; "" is the merge door's
	search   bool   // whether a comment that is not on record may be there
	check    *github.CheckRunSpec
	run      rules.CheckRunID
	held     *heldRef
}

// heldRef is which held deployment an effect is for.
type heldRef struct {
	run         rules.RunID
	attempt     int
	environment string
	// state is the answer to the rule: "approved" or "rejected".
	state string
	turn  int
	rule  bool
	// job is the one to run again.
	job rules.CheckRunID
	// asked is the newest wish for a new check run that it fulfils.
	asked int64
	// tried says that a check run may be there although no answer came; not is one
	// that it is not.
	tried bool
	not   rules.CheckRunID
	// read is when the run's attempt was read.
	read time.Time
}

// payload is what the ledger says of an effect in clear.
func (e *effect) payload() effectPayload {
	p := effectPayload{Kind: e.kind}
	if e.check != nil {
		p.Conclusion = e.check.Conclusion
	}
	if e.held != nil {
		p.Answer = e.held.state
		if e.held.job != 0 {
			p.Jobs = []rules.CheckRunID{e.held.job}
		}
	}
	return p
}

// plan is what GitHub should show, less what it shows.
type plan struct {
	effects []effect
	// check says that the check run at the head has to be looked at.
	check bool
	// again is after how long to look again although no event will come; 0 is not.
	again time.Duration
	// retry is after how long to look again if GitHub refuses an effect; 0 is a moment,
	// less is not.
	retry time.Duration
}

// mergeable are the states in which GitHub may let a pull request be merged now. What
// it does not know it finds out when asked to merge; every other merge makes it
// forget, so that waiting until it knows could take for ever.
func mergeable(state string) bool {
	return state == "CLEAN" || state == "HAS_HOOKS" || state == "UNSTABLE" || state == "UNKNOWN"
}

// mergeLooks is how often a pull request that may be merged is looked at again while
// GitHub says that it is not mergeable, before only events and the sweep do.
const mergeLooks = 6

// maxRefused is how often GitHub may refuse a kind of effect at one head before it is
// let be, which is for so long: the next look after then tries once more. A merge is
// refused as long as another one is under way. MaxForbidden is how often it may say that
// the installation lacks a permission: a token may be from before one was granted, which
// the next one is not.
const (
	maxRefused   = 12
	maxForbidden = 3
	letBe        = 30 * time.Minute
)

// retryCheck is after how long a check run is tried again that GitHub refused a number of
// times: later and later, and then when something else has it looked at.
func retryCheck(refused int) time.Duration {
	if refused >= maxRefused {
		return -1
	}
	return retryRefused << refused
}

// planPull plans for one pull request. What was done by people since is left as
// they made it.
func planPull(p *github.Pull, data *pullData, head headData) plan {
	d := data.Decision
	c := &p.Change
	pl := plan{check: true}
	ref := fmt.Sprintf("%d#%d", c.Repository.ID, c.Number)
	add := func(e effect) {
		if data.Refused[e.kind] >= maxRefused {
			return
		}
		e.pull, e.sha = c.Number, c.Head.SHA
		pl.effects = append(pl.effects, e)
	}
	allowed := d.Verdict == rules.VerdictAllow

	// Taking back comes first.
	approves := d.AutoApproval && c.BaseGuarded == rules.Yes
	approved := false
	for _, r := range p.OwnReviews {
		switch {
		case r.State != rules.ReviewApproved:
		case approves && r.SHA == c.Head.SHA && !approved:
			approved = true
		default:
			add(effect{kind: effectDismiss, key: fmt.Sprintf("dismiss:%s:%d", ref, r.ID), closes: true, review: r.ID, text: dismissal(d, r.SHA != c.Head.SHA)})
		}
	}
	say := func() {
		text := comment(d, c, data)
		if digest := short(text); digest != data.Commented {
			add(effect{kind: effectComment, key: fmt.Sprintf("comment:%s:%d:%s", ref, data.Turn, digest), text: text, digest: digest, comment: data.Comment, search: true})
		}
	}
	if d.Observe {
		// What a policy before it said is taken back: nothing holds it any more.
		if slices.Contains(c.Labels, labelWaits) {
			add(effect{kind: effectUnlabel, key: fmt.Sprintf("unlabel:%s:%s:%d", ref, labelWaits, data.Turn), label: labelWaits})
		}
		if data.Comment != 0 {
			say()
		}
		return pl
	}
	if approves && !approved {
		add(effect{kind: effectApprove, key: fmt.Sprintf("approve:%s:%s:%d", ref, c.Head.SHA, len(p.OwnReviews)), text: approval(d)})
		if d.Merge {
			pl.again = 2 * time.Second
		}
	}
	planMerge(&pl, add, p, data, head, ref, allowed && d.Merge && (!approves || approved))

	if users, teams := missing(d, p, data); len(users)+len(teams) > 0 && c.Draft == rules.No {
		key := fmt.Sprintf("request:%s:%s:%d:%s", ref, c.Head.SHA, data.Turn, short(fmt.Sprint(users, teams)))
		add(effect{kind: effectRequest, key: key, users: users, teams: teams})
	}
	waits := d.NeedsHuman() && c.Draft != rules.Yes
	for label, want := range map[string]bool{labelAgent: d.Authorship.Kind == rules.KindAgent, labelWaits: waits} {
		switch has := slices.ContainsFunc(c.Labels, func(l string) bool { return strings.EqualFold(l, label) }); {
		case want && !has:
			add(effect{kind: effectLabel, key: fmt.Sprintf("label:%s:%s:%d", ref, label, data.Turn), label: label})
		case !want && has:
			add(effect{kind: effectUnlabel, key: fmt.Sprintf("unlabel:%s:%s:%d", ref, label, data.Turn), label: label})
		}
	}
	if waits || data.Comment != 0 {
		say()
	}
	slices.SortStableFunc(pl.effects, func(a, b effect) int { return order(a) - order(b) })
	return pl
}

// order is in which order effects are applied: what closes first.
func order(e effect) int {
	if e.closes {
		return 0
	}
	return 1 + slices.Index([]string{effectAnswer, effectRerun, effectCheck, effectApprove, effectMerge, effectEnqueue, effectRequest, effectLabel, effectUnlabel, effectReport, effectComment}, e.kind)
}

// planMerge merges what is allowed once the check at the head says so and GitHub
// finds it mergeable.
func planMerge(pl *plan, add func(effect), p *github.Pull, data *pullData, head headData, ref string, wanted bool) {
	if !wanted || head.Conclusion != "success" || p.InQueue {
		return
	}
	sha := p.Change.Head.SHA
	switch {
	case p.Queue:
		add(effect{kind: effectEnqueue, key: fmt.Sprintf("enqueue:%s:%s:%d", ref, sha, data.Turn), node: p.NodeID})
	case mergeable(p.Mergeable):
		add(effect{kind: effectMerge, key: fmt.Sprintf("merge:%s:%s", ref, sha), method: mergeMethod(p.MergeMethods, data.Refused[effectMerge])})
	case data.Looks < mergeLooks:
		data.Looks++
		pl.again = time.Second << data.Looks
	}
}

// mergeMethod is the first of the methods that a repository allows, all of which bring
// what was judged, or after two refusals the next one: a rule of the base branch may want
// no merge commits, or allow one method alone, and what refuses is not told.
func mergeMethod(allowed []string, refused int) string {
	var methods []string
	for _, m := range []string{"merge", "squash", "rebase"} {
		if slices.Contains(allowed, m) {
			methods = append(methods, m)
		}
	}
	if len(methods) == 0 {
		return "merge"
	}
	return methods[refused/2%len(methods)]
}

// missing are the reviewers of unmet needs who were not asked yet: exactly those.
func missing(d rules.Decision, p *github.Pull, data *pullData) (users []rules.Login, teams []string) {
	if d.Verdict != rules.VerdictWait {
		return nil, nil
	}
	c := &p.Change
	asked := func(r rules.Reviewer) bool {
		return slices.ContainsFunc(p.Requested, func(o rules.Reviewer) bool { return o.Key() == r.Key() })
	}
	for _, n := range d.Needs {
		if n.Missing() == 0 {
			continue
		}
		for _, r := range n.Asked() {
			r = data.present(r)
			login := rules.Login(r)
			switch {
			case asked(r), slices.ContainsFunc(n.Approved, login.Equal):
			case r.IsTeam():
				if _, slug, _ := strings.Cut(string(r), "/"); !slices.Contains(teams, slug) {
					teams = append(teams, slug)
				}
			case login.Equal(c.Author.Login), slices.ContainsFunc(users, login.Equal), spoke(c, login):
			default:
				users = append(users, login)
			}
		}
	}
	slices.Sort(users)
	slices.Sort(teams)
	return users, teams
}

// spoke reports whether somebody has given an opinion at the head, and about the same
// base branch.
func spoke(c *rules.Change, who rules.Login) bool {
	return slices.ContainsFunc(c.Reviews, func(r rules.Review) bool {
		return r.User.Login.Equal(who) && r.SHA == c.Head.SHA && r.State != rules.ReviewCommented && r.SubmittedAt.After(c.Retargeted)
	})
}

// short is a name for a text.
func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// expires is after how long the first approval that counts is too old, by its
// environment's max_age: then a green check turns back without an event. 0 is never.
func expires(policies rules.Policies, d rules.Decision, c *rules.Change) time.Duration {
	var first time.Duration
	for _, n := range d.Needs {
		v := policies.Repository
		if n.Floor {
			v = policies.Floor
		}
		if v.Policy == nil || v.Policy.Environments[n.Environment] == nil || v.Policy.Environments[n.Environment].MaxAge <= 0 {
			continue
		}
		limit := time.Duration(v.Policy.Environments[n.Environment].MaxAge)
		for _, r := range c.Reviews {
			if r.State != rules.ReviewApproved || !slices.ContainsFunc(n.Approved, r.User.Login.Equal) {
				continue
			}
			// A moment later it surely is.
			if left := r.SubmittedAt.Add(limit).Sub(c.Now) + time.Second; left > 0 && (first == 0 || left < first) {
				first = left
			}
		}
	}
	return first
}
