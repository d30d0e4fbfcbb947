package gate_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/rules"
)

// recorded is an entry of the ledger with what it says in clear, and what is committed to.
type recorded struct {
	ledger.Record

	said     map[string]any
	personal map[string]string // canonical JSON
}

// entries are the ledger's entries from an index on.
func (w *world) entries(from int64) (out []recorded) {
	w.t.Helper()
	must(w.t, w.store.LedgerLeaves(context.Background(), from, 1<<40, func(_ int64, leaf, _, openings []byte) error {
		r, err := ledger.ParseLeaf(leaf)
		if err != nil {
			return err
		}
		e := recorded{Record: r, personal: map[string]string{}}
		if len(r.Payload) > 0 {
			if err := json.Unmarshal(r.Payload, &e.said); err != nil {
				return err
			}
		}
		var opened map[string]ledger.Opening
		if len(openings) > 0 {
			if err := json.Unmarshal(openings, &opened); err != nil {
				return err
			}
		}
		for name, o := range opened {
			e.personal[name] = string(o.Value)
		}
		out = append(out, e)
		return nil
	}))
	return out
}

// hangTogether wants each entry to say whence it follows and what it is about: an effect
// has the id of a decision that stands before it, an outcome that of its effect, and both
// the same subject; a job's has the run's attempt and the environment. Every world is held
// to it when its test ends.
func (w *world) hangTogether() {
	w.t.Helper()
	decided, verdicts := map[string]ledger.Subject{}, map[string]any{}
	done, ended := map[string]recorded{}, map[string]bool{}
	for _, e := range w.entries(0) {
		s := e.Subject
		// A token may be refused for what it does not say.
		asked := e.Kind == ledger.KindDecision && strings.HasPrefix(s.Key, "credential:")
		if s.Repository == 0 || s.Run != 0 && !asked && (s.Attempt == 0 || s.Environment == "" || s.SHA == "" && e.Kind != ledger.KindAlert) {
			w.t.Errorf("it does not say what it is about: %s", e.Leaf)
		}
		if e.Kind == ledger.KindEffect || e.Kind == ledger.KindOutcome {
			of, known := decided[e.Decision]
			// A check run shows what was decided about a pull request, to others as well.
			if !known || of.SHA != s.SHA || of.Run != s.Run || of.Attempt != s.Attempt || !strings.EqualFold(of.Environment, s.Environment) {
				w.t.Errorf("it follows from no decision about it: %s, decided %v: %+v", e.Leaf, known, of)
			}
		}
		switch e.Kind {
		case ledger.KindAlert:
			if code, _ := e.said["code"].(string); s.Key == "" || code == "" || !strings.Contains(e.personal["reason"], `"code":"`+code+`"`) {
				w.t.Errorf("it does not say what happened: %s %v", e.Leaf, e.personal)
			}
		case ledger.KindDecision:
			if before, again := decided[e.Decision]; e.Decision == "" || again && (before != s || verdicts[e.Decision] != e.said["verdict"]) {
				w.t.Errorf("another decision has its id: %s", e.Leaf)
			}
			verdicts[e.Decision] = e.said["verdict"]
			decided[e.Decision] = s
		case ledger.KindEffect:
			if _, again := done[s.Key]; again || s.Key == "" {
				w.t.Errorf("another effect has its key: %s", e.Leaf)
			}
			done[s.Key] = e
		case ledger.KindOutcome:
			how := fmt.Sprint(s.Key, " ", e.said["outcome"])
			if ended[how] {
				w.t.Errorf("it is recorded twice: %s", e.Leaf)
			}
			ended[how] = true
			if e.said["outcome"] == "applied before it was recorded" {
				continue // nothing could be written before
			}
			if before := done[s.Key]; before.Subject != s || before.Decision != e.Decision {
				w.t.Errorf("it is of no effect: %s\nwhich is %s", e.Leaf, before.Leaf)
			}
		case ledger.KindFact, ledger.KindPolicy: // stand by themselves
		}
	}
}

// kinds are how often an effect of each kind was recorded.
func (w *world) kinds() map[string]int {
	out := map[string]int{}
	for _, e := range w.entries(0) {
		if e.Kind == ledger.KindEffect {
			out[fmt.Sprint(e.said["kind"])]++
		}
	}
	return out
}

// What is done hangs on a decision, whichever look does it, and whatever came between.
func TestEntriesHangTogether(t *testing.T) {
	for _, c := range []struct {
		name  string
		kinds []string // at least these, else it shows nothing
		do    func(t *testing.T) *world
	}{
		{"merged by itself", []string{"approve", "check", "label", "merge"}, func(t *testing.T) *world {
			w := newWorld(t, policyText)
			p := w.docs(map[string]string{"docs/a.md": "x\n"})
			w.settle()
			if !p.See().Merged {
				t.Errorf("not merged: %s", w.dump(p))
			}
			return w
		}},
		{"taken back", []string{"approve", "check", "dismiss"}, func(t *testing.T) *world {
			w := newWorld(t, noMerge)
			w.docs(map[string]string{"docs/a.md": "x\n"})
			w.settle()
			w.push(w.agent, "writer/docs", map[string]string{"src/a.go": "package a\n"})
			w.settle()
			return w
		}},
		{"two at one head", []string{"check", "comment"}, func(t *testing.T) *world {
			w := newWorld(t, noMerge)
			p := w.docs(map[string]string{"docs/a.md": "x\n"})
			must(t, w.repo.Push(w.agent, "other", p.Head()))
			must(t, w.repo.Push(w.carol, "release", w.repo.Head("main")))
			_, err := w.repo.OpenPull(w.dave, githubtest.PullSpec{Head: "other", Base: "release", Title: "The same elsewhere"})
			must(t, err)
			w.settle()
			return w
		}},
		{"a head moves while GitHub does not answer", []string{"approve", "check"}, func(t *testing.T) *world {
			w := newWorld(t, noMerge)
			away := true
			w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: -1, Method: "POST", When: func(r githubtest.Request) bool { return away && strings.HasSuffix(r.Path, "/reviews") }})
			w.docs(map[string]string{"docs/a.md": "x\n"})
			w.while()
			w.push(w.agent, "writer/docs", map[string]string{"src/a.go": "package a\n"})
			away = false
			w.settle()
			if !slices.ContainsFunc(w.entries(0), func(e recorded) bool { return e.said["outcome"] == "not needed any more" }) {
				t.Error("nothing was left undone, so this shows nothing")
			}
			return w
		}},
		{"a head moves while neither GitHub nor the ledger answers", []string{"approve", "check"}, func(t *testing.T) *world {
			w := newWorld(t, noMerge)
			away := true
			w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: -1, Method: "POST", When: func(r githubtest.Request) bool { return away && strings.HasSuffix(r.Path, "/reviews") }})
			w.docs(map[string]string{"docs/a.md": "x\n"})
			w.while()
			w.push(w.agent, "writer/docs", map[string]string{"src/a.go": "package a\n"})
			mend := w.gate.BreakLedger()
			for range 5 {
				w.clock.Advance(25 * time.Second)
				w.while()
			}
			mend()
			away = false
			w.settle()
			return w
		}},
		{"rejected while the ledger does not answer", []string{"check"}, func(t *testing.T) *world {
			w := deploys(t, deployPolicy)
			d := w.deploy("production")
			must(t, d.check().Click(w.rose, "reject"))
			mend := w.gate.BreakLedger()
			for range 5 {
				w.while()
				w.clock.Advance(25 * time.Second)
			}
			d.want("completed", "rejected")
			mend()
			w.while() // by who did it
			w.settle()
			if !slices.ContainsFunc(w.entries(0), func(e recorded) bool { return e.said["outcome"] == "applied before it was recorded" }) {
				t.Error("nothing was done without a record, so this shows nothing")
			}
			return w
		}},
		{"a queue's groups", []string{"check", "enqueue"}, func(t *testing.T) *world {
			w := newWorld(t, policyText)
			w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, MergeQueue: true})
			w.docs(map[string]string{"docs/a.md": "x\n"})
			w.settle()
			return w
		}},
		{"released and ended", []string{"answer", "check", "report"}, func(t *testing.T) *world {
			w := deploys(t, deployPolicy)
			w.released("production")
			w.released("Production")
			return w
		}},
		{"GitHub takes the answer late", []string{"answer"}, func(t *testing.T) *world {
			w := deploys(t, deployPolicy)
			w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: 3, Method: "POST", Path: "/repos/*/*/actions/runs/*/deployment_protection_rule"})
			w.deploy("dev")
			return w
		}},
		{"run again after it stopped waiting", []string{"check", "rerun"}, func(t *testing.T) *world {
			w := unruled(t, deployPolicy)
			more := permissions()
			more["actions"] = "write"
			w.inst.Permit(w.carol, more)
			w.settle()
			d := w.deploy("production")
			d.ask()
			d.end("failure")
			d.click(w.rose, "approve")
			d.ask()
			w.settle()
			d.end("success")
			return w
		}},
		{"run again while GitHub does not answer", []string{"check", "report"}, func(t *testing.T) *world {
			w := deploys(t, deployPolicy)
			away := true
			w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: -1, Method: "POST", When: func(r githubtest.Request) bool {
				return away && strings.HasSuffix(r.Path, "/deployment_protection_rule")
			}})
			d := w.start("production")
			for range 3 {
				w.while()
				w.clock.Advance(5 * time.Second)
			}
			away = false
			d.Cancel()
			w.settle()
			if !slices.ContainsFunc(w.entries(0), func(e recorded) bool { return e.said["outcome"] == "not needed any more" }) {
				t.Error("nothing was left undone, so this shows nothing")
			}
			return w
		}},
		{"the check run is made late", []string{"check"}, func(t *testing.T) *world {
			w := deploys(t, deployPolicy)
			w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: 2, Method: "POST", Path: "/repos/*/*/check-runs"})
			w.deploy("production")
			return w
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := c.do(t)
			w.verify()
			got := w.kinds()
			for _, k := range c.kinds {
				if got[k] == 0 {
					t.Errorf("no effect %q, so this shows little: %v", k, slices.Sorted(maps.Keys(got)))
				}
			}
		})
	}
}

// An alert says where it happened and, under a commitment, who did it and why it is one.
func TestAlertEntries(t *testing.T) {
	for _, c := range []struct {
		code, reason string
		do           func(w *world) *deployment
	}{
		{"SP540", `"login":"alice"`, func(w *world) *deployment {
			d := w.deploy("production")
			must(w.t, d.StartWaiting(w.carol))
			w.settle()
			return d
		}},
		{"SP541", `"login":"alice"`, func(w *world) *deployment {
			w.repo.Environment("production-eu")
			d := w.deploy("production-eu")
			d.end("success")
			return d
		}},
		{"SP543", "", func(w *world) *deployment {
			w.released("production")
			before := w.repo.Head("main")
			w.merged(w.alice, "a", "merge", map[string]string{"src/a.go": "a"})
			d := w.deploy("production")
			must(w.t, w.repo.Push(w.carol, "main", before))
			d.click(w.bob, "approve")
			return d
		}},
		{"SP544", "", func(w *world) *deployment {
			d := w.deploy("production")
			w.inst.Suspend(w.carol)
			w.settle()
			return d
		}},
		{"SP630", `orders-migrator`, func(w *world) *deployment {
			d := w.deploy("production")
			d.click(w.rose, "approve")
			w.lease(d, "orders-migrator")
			w.lease(d, "orders-migrator")
			return d
		}},
		{"SP632", `"because":[{"code":"SP`, func(w *world) *deployment {
			d := w.deploy("production")
			d.click(w.rose, "approve")
			w.clock.Advance(6 * time.Minute)
			w.lease(d, "orders-migrator")
			w.sre.Remove(w.carol, w.rose)
			w.minute()
			return d
		}},
	} {
		t.Run(c.code, func(t *testing.T) {
			w := deploys(t, keysPolicy, keys(&safe{}))
			d := c.do(w)
			want := ledger.Subject{Repository: rules.RepositoryID(w.repo.ID), Run: rules.RunID(d.ID), Attempt: 1, SHA: rules.SHA(d.sha), Environment: d.environment}
			n := 0
			for _, e := range w.entries(0) {
				if e.Kind != ledger.KindAlert || e.said["code"] != c.code {
					continue
				}
				n++
				got := e.Subject
				got.Key = ""
				if got != want || !strings.Contains(e.personal["reason"], c.reason) {
					t.Errorf("%+v %s\nwant %+v %s", got, e.personal["reason"], want, c.reason)
				}
			}
			if n != 1 {
				t.Errorf("%d entries, want 1", n)
			}
		})
	}
}

// The ledger alone tells which job was given what, by which approval, why it ended, and
// who was refused.
func TestLeaseEntries(t *testing.T) {
	type want struct {
		kind  ledger.Kind
		said  map[string]any // these members, as they are
		holds string         // in what is committed to
	}
	job := func(d *deployment) []any { return []any{float64(d.Job("deploy").ID)} }
	refused := func(code string) want {
		return want{kind: ledger.KindDecision, said: map[string]any{"verdict": "deny", "codes": []any{code}}, holds: `"code":"` + code + `"`}
	}
	allowed := want{kind: ledger.KindDecision, said: map[string]any{"verdict": "allow", "codes": []any{"SP600"}}}
	outcome := func(o, why string) want {
		w := want{kind: ledger.KindOutcome, said: map[string]any{"outcome": o}}
		if why != "" {
			w.said["why"] = why
		}
		return w
	}
	minted := func(d *deployment) want {
		return want{kind: ledger.KindEffect, said: map[string]any{"kind": "mint", "credential": "orders-migrator", "capability": "write", "target": "orders-db", "jobs": job(d)}}
	}
	for _, c := range []struct {
		name string
		do   func(w *world, d *deployment, s *safe) []want // d is released
	}{
		{"given and given back", func(w *world, d *deployment, _ *safe) []want {
			given, _ := w.lease(d, "orders-migrator")
			must(w.t, w.gate.EndLease(w.t.Context(), given.ID, given.Secret))
			return []want{allowed, minted(d), outcome("given", ""), outcome("ended", "whoever has it is done with it")}
		}},
		{"its job ends", func(w *world, d *deployment, _ *safe) []want {
			w.lease(d, "orders-migrator")
			d.end("success")
			must(w.t, w.gate.EndLeases(w.t.Context()))
			return []want{allowed, minted(d), outcome("given", ""), outcome("ended", "its job has ended")}
		}},
		{"its time is over", func(w *world, d *deployment, _ *safe) []want {
			w.lease(d, "orders-migrator")
			w.clock.Advance(10 * time.Minute)
			must(w.t, w.gate.EndLeases(w.t.Context()))
			return []want{allowed, minted(d), outcome("given", ""), outcome("ended", "its deadline is over")}
		}},
		{"asked for twice", func(w *world, d *deployment, _ *safe) []want {
			w.lease(d, "orders-migrator")
			w.lease(d, "orders-migrator")
			return []want{allowed, minted(d), outcome("given", ""), refused("SP619"), outcome("ended", "somebody asked for it again")}
		}},
		{"asked for twice, and away at first", func(w *world, d *deployment, s *safe) []want {
			w.lease(d, "orders-migrator")
			s.fail = 1
			w.lease(d, "orders-migrator")
			w.clock.Advance(5 * time.Second)
			must(w.t, w.gate.EndLeases(w.t.Context()))
			return []want{allowed, minted(d), outcome("given", ""), refused("SP619"), outcome("ended", "somebody asked for it again")}
		}},
		{"an operator revokes all", func(w *world, d *deployment, _ *safe) []want {
			w.lease(d, "orders-migrator")
			_, _, err := w.gate.RevokeAll(w.t.Context(), "an operator revoked all", "carol")
			must(w.t, err)
			return []want{allowed, minted(d), outcome("given", ""), outcome("ended", "an operator revoked all"),
				{kind: ledger.KindFact, said: map[string]any{"kind": "revoke", "why": "an operator revoked all"}, holds: `"carol"`}}
		}},
		{"its approver is no member any more", func(w *world, d *deployment, _ *safe) []want {
			w.clock.Advance(6 * time.Minute)
			w.lease(d, "orders-migrator")
			w.sre.Remove(w.carol, w.rose)
			w.minute()
			return []want{allowed, minted(d), outcome("given", ""), outcome("ended", "its release holds no more")}
		}},
		{"its repository goes", func(w *world, d *deployment, _ *safe) []want {
			w.lease(d, "orders-migrator")
			w.inst.Suspend(w.carol)
			w.settle()
			must(w.t, w.gate.EndLeases(w.t.Context()))
			return []want{allowed, minted(d), outcome("given", ""), outcome("ended", "its repository is out of reach")}
		}},
		{"the token is of no environment", func(w *world, d *deployment, _ *safe) []want {
			if _, code := w.lease(d, "orders-migrator", func(t *rules.JobToken) { t.Claims.Environment = "" }); code != "SP604" {
				w.t.Errorf("refused with %q", code)
			}
			return []want{refused("SP604")}
		}},
		{"the token says impossible things", func(w *world, d *deployment, _ *safe) []want {
			w.lease(d, "orders-migrator", func(t *rules.JobToken) { t.Claims.RunAttempt, t.Claims.RunID, t.Claims.SHA = -1, -2, "x" })
			return []want{refused("SP604")}
		}},
		{"the token names the repository otherwise", func(w *world, d *deployment, _ *safe) []want {
			w.lease(d, "orders-migrator", func(t *rules.JobToken) { t.Claims.Repository = "acme/other" })
			return []want{refused("SP609")}
		}},
		{"nothing makes it", func(w *world, d *deployment, _ *safe) []want {
			w.lease(d, "orders-nothing")
			return []want{{kind: ledger.KindDecision, said: map[string]any{"verdict": "deny", "codes": []any{"SP600", "no-provider"}}}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &safe{}
			cabinet := keys(s)
			policy := strings.Replace(keysPolicy, "alerts:", "  orders-nothing: {environment: production, target: nothing, capability: write, workflow: deploy.yml}\nalerts:", 1)
			w := deploys(t, policy, func(w *world, g *gate.Config) {
				cabinet(w, g)
				g.Keys.Targets.Targets["nothing"] = g.Keys.Targets.Targets["orders-db"]
			})
			d := w.deploy("production")
			d.click(w.rose, "approve")
			grant, from := "", w.entries(0)
			for _, e := range from {
				if e.Kind == ledger.KindDecision && e.said["verdict"] == "allow" {
					grant = e.Decision
				}
			}
			list := c.do(w, d, s)
			var got []recorded
			for _, e := range w.entries(int64(len(from))) {
				if strings.HasPrefix(e.Subject.Key, "lease:") || strings.HasPrefix(e.Subject.Key, "credential:") {
					got = append(got, e)
				}
			}
			if len(got) != len(list) {
				t.Fatalf("%d entries, want %d: %v", len(got), len(list), got)
			}
			for _, x := range list {
				i := slices.IndexFunc(got, func(e recorded) bool {
					ok := e.Kind == x.kind
					for name, v := range x.said {
						ok = ok && reflect.DeepEqual(e.said[name], v)
					}
					return ok && strings.Contains(fmt.Sprint(e.personal), x.holds)
				})
				if i < 0 {
					t.Errorf("no entry %s %v %s:", x.kind, x.said, x.holds)
					for _, e := range got {
						t.Logf("%s %v", e.Leaf, e.personal)
					}
					continue
				}
				if x.said["kind"] == "mint" && (grant == "" || got[i].said["grant"] != grant) {
					t.Errorf("it was given by %v, want %s", got[i].said["grant"], grant)
				}
				got = slices.Delete(got, i, i+1)
			}
		})
	}
}

// The ledger alone tells which policy a decision was made under, how that came into
// force, and whom its names meant.
func TestPolicyEntries(t *testing.T) {
	type want struct {
		version       float64
		arrival, text string
		pull          bool
		holds         []string
	}
	quiet := strings.Replace(looserPolicy, "    merge: true\n", "", 1)
	first := want{1, "adopted", policyText, false, []string{`"by":"carol"`, `"acme/sre":`}}
	for _, c := range []struct {
		name string
		do   func(w *world)
		want []want
	}{
		{"adopted", func(*world) {}, []want{first}},
		{"passed", func(w *world) { w.bring(text(map[string]string{rules.PolicyPath: quiet})) }, []want{first, {2, "passed", quiet, true, []string{`"acme/sre":`}}}},
		{"removed", func(w *world) { w.bring(map[string]githubtest.File{rules.PolicyPath: githubtest.Removed()}) }, []want{first, {2, "passed", "", true, nil}}},
		{"pushed", func(w *world) { w.push(w.carol, "main", map[string]string{rules.PolicyPath: quiet}) }, []want{first}},
		{"pushed and put back, and then passed", func(w *world) {
			w.push(w.carol, "main", map[string]string{rules.PolicyPath: quiet})
			w.push(w.carol, "main", map[string]string{rules.PolicyPath: policyText})
			w.settle()
			w.bring(text(map[string]string{rules.PolicyPath: quiet}))
		}, []want{first, {2, "unchanged", policyText, false, []string{`"acme/sre":`}}, {3, "passed", quiet, true, nil}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, policyText)
			c.do(w)
			w.settle()
			w.docs(map[string]string{"docs/z.md": "z\n"}) // is judged under the last
			w.settle()
			var got []recorded
			under := ""
			for _, e := range w.entries(0) {
				switch e.Kind {
				case ledger.KindPolicy:
					got = append(got, e)
				case ledger.KindDecision:
					under, _ = e.said["policy"].(string)
				default: // is not about this
				}
			}
			if len(got) != len(c.want) {
				t.Fatalf("%d versions, want %d", len(got), len(c.want))
			}
			for i, x := range c.want {
				e, digest := got[i], ""
				if x.text != "" {
					sum := sha256.Sum256([]byte(x.text))
					digest = hex.EncodeToString(sum[:])
				}
				said, _ := e.said["digest"].(string)
				if e.said["version"] != x.version || e.said["arrival"] != x.arrival || e.said["deleted"] != (x.text == "") || said != digest || (e.Subject.PullRequest != 0) != x.pull || e.Subject.SHA == "" {
					t.Errorf("version %d: %s\nwant %+v %s", i+1, e.Leaf, x, digest)
				}
				text := ""
				for name, v := range e.personal {
					text += fmt.Sprintf("%q:%s", name, v)
				}
				for _, h := range x.holds {
					if !strings.Contains(text, h) {
						t.Errorf("version %d does not commit to %s: %s", i+1, h, text)
					}
				}
				if i == len(c.want)-1 && under != digest {
					t.Errorf("the last decision is under %q, want %q", under, digest)
				}
			}
		})
	}
}

// The ledger alone tells who let what into an environment, counted from where, for which
// jobs, and what became of it.
func TestReleaseEntries(t *testing.T) {
	type want struct {
		human    bool
		observed bool
		base     bool // counted from a release before
		outcome  string
		holds    []string
	}
	rose := []string{`"how":"check-button"`, `"login":"rose"`, `"run":`, `"sha":`}
	for _, c := range []struct {
		name, policy string
		do           func(w *world) []*deployment
		want         []want
	}{
		{"approved", deployPolicy, func(w *world) []*deployment {
			one := w.deploy("production")
			one.click(w.rose, "approve")
			one.end("success")
			w.merged(w.alice, "a", "merge", map[string]string{"src/a.go": "a"})
			two := w.deploy("production")
			two.click(w.bob, "approve")
			two.end("failure")
			return []*deployment{one, two}
		}, []want{{true, false, false, "success", rose}, {true, false, true, "failure", []string{`"login":"bob"`}}}},
		{"needs nobody", deployPolicy, func(w *world) []*deployment {
			d := w.deploy("dev")
			d.end("success")
			return []*deployment{d}
		}, []want{{false, false, false, "success", nil}}},
		{"observed", "mode: observe\n" + deployPolicy, func(w *world) []*deployment {
			d := w.deploy("production")
			d.end("success")
			return []*deployment{d}
		}, []want{{false, true, false, "success", nil}}},
		{"rejected", deployPolicy, func(w *world) []*deployment {
			d := w.deploy("production")
			d.click(w.rose, "reject")
			return []*deployment{d}
		}, nil},
		{"run again before it was seen to end", deployPolicy, func(w *world) []*deployment {
			d := w.deploy("production")
			d.click(w.rose, "approve")
			must(w.t, d.Job("deploy").Complete("failure"))
			must(w.t, d.Rerun(w.dave))
			w.settle()
			return []*deployment{d}
		}, []want{{true, false, false, "unknown", rose}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := deploys(t, c.policy)
			all := c.do(w)
			var got, ended []recorded
			for _, e := range w.entries(0) {
				switch {
				case !strings.HasPrefix(e.Subject.Key, "release:"):
				case e.Kind == ledger.KindEffect:
					got = append(got, e)
				default:
					ended = append(ended, e)
				}
			}
			if len(got) != len(c.want) || len(ended) != len(c.want) {
				t.Fatalf("%d releases with %d ends, want %d", len(got), len(ended), len(c.want))
			}
			for i, x := range c.want {
				e, d := got[i], all[i]
				said := map[string]any{"kind": "release", "jobs": e.said["jobs"]}
				if x.human {
					said["human"] = true
				}
				if x.observed {
					said["observed"] = true
				}
				if x.base {
					said["base"] = all[i-1].sha
				}
				s := e.Subject
				jobs, _ := e.said["jobs"].([]any)
				if !reflect.DeepEqual(e.said, said) || len(jobs) != 1 || s.Run != rules.RunID(d.ID) || s.Attempt != 1 || string(s.SHA) != d.sha || s.Environment != d.environment {
					t.Errorf("%s, want %v", e.Leaf, said)
				}
				for _, h := range x.holds {
					if !strings.Contains(e.personal["approvals"], h) {
						t.Errorf("it does not commit to %s: %s", h, e.personal["approvals"])
					}
				}
				if ended[i].Subject != s || ended[i].said["outcome"] != x.outcome {
					t.Errorf("it ended with %s, want %s", ended[i].Leaf, x.outcome)
				}
			}
		})
	}
}

// The ledger alone tells which pull requests a merge queue was let land together, or not,
// and under which policy.
func TestGroupEntries(t *testing.T) {
	for _, c := range []struct {
		name    string
		between func(w *world, p *githubtest.Pull)
		verdict string
	}{
		{"allowed", func(*world, *githubtest.Pull) {}, "allow"},
		{"its check turns red", func(w *world, p *githubtest.Pull) { w.tests(p.Head(), "failure") }, "wait"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, noMerge)
			w.repo.AddRuleset(githubtest.Ruleset{Branches: []string{"main"}, MergeQueue: true})
			p := w.docs(map[string]string{"docs/a.md": "x\n"})
			w.settle()
			other := w.open(w.agent, "writer/other", map[string]string{"docs/b.md": "x\n"})
			w.settle()
			w.tests(other.Head(), "success")
			w.settle()
			must(t, other.Enqueue(w.dave))
			must(t, p.Enqueue(w.dave))
			groups := w.repo.QueueHeads("main")
			c.between(w, p)
			w.settle()
			n := 0
			for _, e := range w.entries(0) {
				if e.Kind != ledger.KindDecision || !slices.Contains(groups, string(e.Subject.SHA)) || reflect.DeepEqual(e.said["pull_requests"], []any{float64(other.Number)}) {
					continue
				}
				n++
				sum := sha256.Sum256([]byte(noMerge))
				// Both of them, or the second alone where the first has landed by then.
				want := []any{float64(other.Number), float64(p.Number)}
				if got := e.said["pull_requests"]; !reflect.DeepEqual(got, want) && !reflect.DeepEqual(got, want[1:]) || e.said["verdict"] != c.verdict || e.said["policy"] != hex.EncodeToString(sum[:]) {
					t.Errorf("%s, want %s of %v", e.Leaf, c.verdict, want)
				}
			}
			if n != 1 {
				t.Errorf("%d decisions about the second group, of %v, want 1", n, groups)
			}
		})
	}
}

// The ledger alone tells who let a change through, by ids, and at which commit.
func TestApprovalEntries(t *testing.T) {
	w := newWorld(t, policyText)
	p := w.fix()
	w.approve(p, w.rose)
	w.settle()
	first := p.Head()
	w.push(w.alice, "fix", map[string]string{"src/b.go": "package b\n"})
	w.settle()
	w.approve(p, w.bob)
	w.settle()
	got := map[string]string{}
	for _, e := range w.entries(0) {
		if e.Kind == ledger.KindDecision && e.said["verdict"] == "allow" {
			got[string(e.Subject.SHA)] += e.personal["approvals"]
		} else if e.personal["approvals"] != "" {
			t.Errorf("nothing is approved: %s %v", e.Leaf, e.personal)
		}
	}
	for sha, who := range map[string]*githubtest.User{first: w.rose, p.Head(): w.bob} {
		for _, want := range []string{`"sha":"` + sha + `"`, fmt.Sprintf(`"user":{"id":%d,"login":%q`, who.ID, who.Login()), `"submitted_at":"`} {
			if n := strings.Count(got[sha], want); n != 1 {
				t.Errorf("%s stands %d times in %s", want, n, got[sha])
			}
		}
	}
}

// The ledger alone tells which person was given what outside any job, or refused it, and
// nothing of strangers.
func TestPersonEntries(t *testing.T) {
	w := newWorld(t, personPolicy, personKeys(&safe{}))
	from := int64(len(w.entries(0)))
	where := jobs.Place{FullName: "acme/orders"}
	given, code := w.ask(person(w.dave), where, "sandbox")
	if code != "" {
		t.Fatal(code)
	}
	must(t, w.gate.EndLease(t.Context(), given.ID, given.Secret))
	w.ask(person(w.dave), where, "orders-migrator")
	w.ask(person(w.dave), where, "dev-away")
	w.ask(person(w.eve), where, "sandbox") // reads, and is refused by the log alone
	var got []string
	for _, e := range w.entries(from) {
		s := e.Subject
		if s.Repository != rules.RepositoryID(w.repo.ID) || s.Environment == "" && e.said["verdict"] != "deny" || s.Run != 0 {
			t.Errorf("it does not say what it is about: %s", e.Leaf)
		}
		kind, _, _ := strings.Cut(s.Key, ":")
		got = append(got, fmt.Sprint(e.Kind, " ", kind, " ", e.said["verdict"], e.said["credential"], e.said["outcome"], " ", strings.Contains(e.personal["person"], `"login":"dave"`)))
		if strings.Contains(string(e.Leaf), "dave") || strings.Contains(fmt.Sprint(e.personal), "eve") {
			t.Errorf("it names somebody: %s %v", e.Leaf, e.personal)
		}
	}
	want := []string{
		"decision credential allow<nil> <nil> true", "effect lease <nil>sandbox<nil> true", "outcome lease <nil> <nil>given false", "outcome lease <nil> <nil>ended false",
		"decision credential deny<nil> <nil> true", "decision credential deny<nil> <nil> true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
