package gate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/alert"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// crashPolicy is what the kill test's repository says.
const crashPolicy = policyText + "alerts: [ops]\n"

// late is a gated environment without our rule: its jobs ask by themselves.
const late = "production-late"

// teller tells people by posting to the kill test.
type teller struct{ url string }

func (t teller) Names(_ rules.RepositoryID, wanted []string) []string { return wanted }
func (t teller) All(rules.RepositoryID) []string                      { return []string{"ops"} }
func (t teller) Send(ctx context.Context, _ string, m alert.Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return post(ctx, http.DefaultClient, t.url, body, nil)
}

// post posts JSON, and reads the answer into out unless that is nil.
func post(ctx context.Context, client *http.Client, url string, body []byte, out any) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	a, err := client.Do(q)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	if err == nil && a.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", a.Status, text)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(text, out)
	}
	return err
}

// wanted is one release that must be on record, and no other.
type wanted struct {
	attempt, jobs int
	by            string   // the approver, "" for none
	outcomes      []string // one of them
}

// deployed is a deployment with what people do about it, step by step, and what must
// come of it.
type deployed struct {
	*deployment

	c    *crash
	what string
	// steps are taken one after the other; each says whether it is done.
	steps   []func() bool
	clicked map[string]bool

	status, conclusion, check string // of the job, and of our check run
	answer                    string // of our rule
	releases                  []wanted
	alerts                    []string // codes
}

// What people have in hand: so many deployments are waited for before the next is
// begun, and so many are left waiting for ever.
const (
	inHand      = 12
	waitForEver = 4
)

// kindsOfDeployment is how many kinds of deployments there are.
const kindsOfDeployment = 11

// deploy begins a deployment of one of the kinds, the number n of all work.
func (c *crash) deploy(n, which int) {
	d := &deployed{c: c, clicked: map[string]bool{}, status: "completed", conclusion: "success", check: "success", answer: "approved"}
	environment, branch, names := "production", "main", []string{"deploy"}
	one := func(attempt int, by string, outcomes ...string) wanted {
		return wanted{attempt: attempt, jobs: len(names), by: by, outcomes: outcomes}
	}
	started := func() bool {
		return !slices.ContainsFunc(names, func(j string) bool { return !d.is(j, "in_progress") })
	}
	ended := func() bool { return d.is("deploy", "completed") }
	shown := func() bool { return d.face().Conclusion == "action_required" }
	end := func(conclusion string) func() bool {
		return func() bool {
			for _, j := range names {
				must(c.t, d.Job(j).Complete(conclusion))
			}
			return true
		}
	}
	says := func(code string) func() bool {
		return func() bool { return strings.Contains(d.face().Text, "`"+code+"`") }
	}
	// A few wait for ever; the others are cancelled some day.
	waits := func() {
		d.status, d.conclusion, d.check, d.answer = "waiting", "", "action_required", ""
		if c.waiting++; c.waiting > waitForEver {
			d.status, d.conclusion, d.check = "completed", "cancelled", "neutral"
			d.steps = append(d.steps, func() bool { d.Cancel(); return true })
		}
	}
	switch which {
	case 0:
		d.what, environment = "to where nobody is asked", "dev"
		d.steps = []func() bool{started, end("success")}
		d.releases = []wanted{one(1, "", "success")}
	case 1:
		d.what = "approved"
		d.steps = []func() bool{d.press(c.bob, "approve", started), end("success")}
		d.releases = []wanted{one(1, "bob", "success")}
	case 2:
		d.what = "rejected"
		d.steps = []func() bool{d.press(c.rose, "reject", ended)}
		d.conclusion, d.check, d.answer = "failure", "failure", "rejected"
	case 3:
		d.what = "that nobody looks at"
		d.steps = []func() bool{shown}
		waits()
	case 4:
		d.what = "approved by somebody who is not listed"
		d.steps = []func() bool{d.press(c.dave, "approve", says("SP311"))}
		waits()
	case 5:
		d.what = "approved, failed, run again and approved again"
		d.steps = []func() bool{
			d.press(c.bob, "approve", started), end("failure"),
			func() bool { must(c.t, d.Rerun(c.dave)); return true },
			d.press(c.rose, "approve", started), end("success"),
		}
		// That the next attempt began before the end of the first was seen is possible.
		d.releases = []wanted{one(1, "bob", "failure", "unknown"), one(2, "rose", "success")}
	case 6:
		d.what, names = "of a matrix, approved", []string{"deploy", "eu", "us"}
		d.steps = []func() bool{d.press(c.bob, "approve", started), end("success")}
		d.releases = []wanted{one(1, "bob", "success")}
	case 7:
		d.what, branch = "of a branch that may not", fmt.Sprintf("writer/deploys-%d", n)
		d.steps = []func() bool{ended}
		d.conclusion, d.check, d.answer = "failure", "failure", "rejected"
	case 8:
		d.what = "that somebody objects to, approved"
		d.steps = []func() bool{d.press(c.dave, "reject", says("SP526")), d.press(c.bob, "approve", started), end("success")}
		d.releases = []wanted{one(1, "bob", "success")}
	case 9:
		d.what = "that an administrator starts"
		d.steps = []func() bool{shown, func() bool { must(c.t, d.StartWaiting(c.carol)); return true }, end("success")}
		d.check, d.answer, d.alerts = "neutral", "", []string{"SP540"}
	case 10:
		d.what, environment = "whose job waits by itself and in vain, approved", late
		d.steps = []func() bool{
			func() bool { return d.asks() != "" }, end("failure"),
			d.press(c.bob, "approve", func() bool { return d.Attempt() > 1 }),
			// What was released meanwhile may make it another deployment than bob was shown.
			d.press(c.bob, "approve", func() bool { return d.asks() == jobs.Released }), end("success"),
		}
		d.answer, d.releases = "", []wanted{one(2, "bob", "success")}
	}
	by := pick(branch == "main", c.carol, c.agent)
	sha := c.push(by, branch, map[string]string{fmt.Sprintf("deploy/%d.txt", n): "x\n"})
	s := githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", By: c.alice, Branch: branch, SHA: sha}
	for _, j := range names {
		s.Jobs = append(s.Jobs, githubtest.JobSpec{Name: j, Environment: environment})
	}
	d.deployment = &deployment{Run: c.repo.StartRun(s), w: c.world, sha: sha, environment: environment}
	c.deployments = append(c.deployments, d)
}

// is reports whether a job of the present attempt has a status.
func (d *deployed) is(job, status string) bool {
	got, _ := d.Job(job).Status()
	return got == status
}

// face is our check run of the present attempt as people see it.
func (d *deployed) face() githubtest.CheckState {
	k := d.deployment.check()
	if k == nil {
		return githubtest.CheckState{}
	}
	s := k.See()
	if !strings.HasPrefix(s.ExternalID, fmt.Sprintf("run/%d/%d/", d.ID, d.Attempt())) {
		return githubtest.CheckState{}
	}
	return s
}

// press presses a button once on everything that the check run shows, until something
// is so: what is shown may change under the finger.
func (d *deployed) press(who *githubtest.User, button string, until func() bool) func() bool {
	return func() bool {
		if until() {
			return true
		}
		s := d.face()
		key := s.ExternalID + who.Login()
		if s.Conclusion == "action_required" && len(s.Actions) > 0 && !d.clicked[key] {
			d.clicked[key] = true
			must(d.c.t, d.deployment.check().Click(who, button))
		}
		return false
	}
}

// asks asks the gate as the job does; "" is no answer.
func (d *deployed) asks() string {
	to := d.c.killer.target()
	if to == nil {
		return ""
	}
	token, err := json.Marshal(d.token())
	must(d.c.t, err)
	ctx, cancel := context.WithTimeout(d.c.t.Context(), 2*time.Second)
	defer cancel()
	var s jobs.State
	if post(ctx, d.c.killer.client, "http://"+*to+"/hold", token, &s) != nil {
		return "" // it is dead, or was killed over it
	}
	return s.State
}

// tend lets people do what they would do next.
func (c *crash) tend() {
	for _, d := range c.deployments {
		for len(d.steps) > 0 && d.steps[0]() {
			d.steps = d.steps[1:]
		}
	}
}

// wait waits until people have time for more, but not longer than so.
func (c *crash) wait(most time.Duration) {
	for began := time.Now(); time.Since(began) < most; time.Sleep(20 * time.Millisecond) {
		c.tend()
		busy := 0
		for _, d := range c.deployments {
			if len(d.steps) > 0 {
				busy++
			}
		}
		if busy < inHand {
			return
		}
	}
}

// open says how a deployment is not what is expected, or "".
func (d *deployed) open() string {
	status, conclusion := d.Job("deploy").Status()
	answer, _ := d.Job("deploy").Gate(d.c.app)
	if len(d.steps) > 0 || status != d.status || conclusion != d.conclusion || d.face().Conclusion != d.check || answer.State != d.answer {
		return fmt.Sprintf("the deployment %s (run %d, attempt %d): %d steps are left; the job is %s %s, want %s %s; our rule said %q, want %q; the check says %q, want %q: %s",
			d.what, d.ID, d.Attempt(), len(d.steps), status, conclusion, d.status, d.conclusion, answer.State, d.answer, d.face().Conclusion, d.check, d.face().Title)
	}
	return ""
}

// deploymentsRight compares what is on record of the deployments with what must be.
func (c *crash) deploymentsRight(s *store.Store) {
	t := c.t
	t.Helper()
	alerts := c.recorded(s)
	releases, approved := 0, 0
	for _, d := range c.deployments {
		if text := d.open(); text != "" {
			t.Error(text)
		}
		name := fmt.Sprintf("the deployment %s (run %d)", d.what, d.ID)
		list, err := s.ReleasesOf(t.Context(), rules.RepositoryID(c.repo.ID), rules.RunID(d.ID))
		must(t, err)
		if len(list) != len(d.releases) {
			t.Errorf("%s has %d releases on record, want %d: %+v", name, len(list), len(d.releases), list)
			continue
		}
		for i, r := range list {
			w := d.releases[i]
			var by []rules.Approval
			must(t, jsonv2.Unmarshal(r.Approvals, &by))
			right := len(by) == 0 && w.by == ""
			if len(by) == 1 {
				right = string(by[0].Actor.Login) == w.by && by[0].Confirmed == rules.Yes && string(by[0].SHA) == d.sha && int64(by[0].Run) == d.ID && by[0].Attempt == w.attempt
			}
			if !right || r.Attempt != w.attempt || len(r.Jobs) != w.jobs || r.Human != (w.by != "") || r.Observed || string(r.SHA) != d.sha || !slices.Contains(w.outcomes, r.Outcome) {
				t.Errorf("%s has the release %+v by %s, want %+v", name, r, r.Approvals, w)
			}
			releases++
			approved += len(by)
		}
		for _, code := range d.alerts {
			key := code + " " + d.sha
			if n := alerts[key]; n != 1 {
				t.Errorf("%s has %d alerts %s, want 1", name, n, code)
			}
			delete(alerts, key)
			if !c.killer.heard(code) {
				t.Errorf("nobody was told of a %s", code)
			}
		}
		planned, err := s.PlannedEffects(t.Context(), rules.WorkKey{Kind: rules.WorkRun, Repository: rules.RepositoryID(c.repo.ID), Number: d.ID})
		must(t, err)
		for _, p := range planned {
			t.Errorf("%s: effect %s was planned and has no end: attempt %d, %s", name, p.Key, p.Attempts, p.Error)
		}
		c.onlyOnce(d, name)
	}
	for key, n := range alerts {
		if code, sha, _ := strings.Cut(key, " "); sha != "" || n > 1 || code != "SP542" {
			t.Errorf("alert %s was raised %d times, and should not have been", key, n)
		}
	}
	if releases == 0 || approved == 0 {
		t.Error("nothing was released: this shows nothing")
	}
	t.Logf("%d deployments, %d releases by %d approvals, each once; answers that GitHub took: %v", len(c.deployments), releases, approved, c.answers())
}

// recorded counts the alerts in the ledger by code and commit, and sees that no effect
// was recorded twice.
func (c *crash) recorded(s *store.Store) map[string]int {
	alerts, effects := map[string]int{}, map[string]int{}
	must(c.t, s.LedgerLeaves(c.t.Context(), 0, 1<<40, func(_ int64, leaf, _, _ []byte) error {
		r, err := ledger.ParseLeaf(leaf)
		if err != nil {
			return err
		}
		if r.Kind == ledger.KindEffect {
			effects[r.Subject.Key]++
		}
		if r.Kind == ledger.KindAlert {
			var said struct{ Code string }
			err = json.Unmarshal(r.Payload, &said)
			alerts[said.Code+" "+string(r.Subject.SHA)]++
		}
		return err
	}))
	for key, n := range effects {
		if n > 1 {
			c.t.Errorf("effect %s was recorded %d times", key, n)
		}
	}
	return alerts
}

// onlyOnce looks for what was done twice about a deployment.
func (c *crash) onlyOnce(d *deployed, name string) {
	attempts := 1
	for _, r := range d.releases {
		attempts = max(attempts, r.attempt)
	}
	if n := d.Attempt(); n != attempts {
		c.t.Errorf("%s was run %d times, want %d", name, n, attempts)
	}
	ids := map[string]bool{}
	for _, k := range c.repo.Checks(d.sha) {
		if k.App != "sallyport" || k.Name != "sallyport / "+d.environment {
			continue
		}
		turn, _, _ := strings.Cut(strings.TrimPrefix(k.ExternalID, fmt.Sprintf("run/%d/", d.ID)), "/")
		if ids[turn] {
			c.t.Errorf("%s has two check runs of attempt %s", name, turn)
		}
		ids[turn] = true
	}
	answered := map[string]int{}
	path := fmt.Sprintf("/actions/runs/%d/deployment_protection_rule", d.ID)
	for _, r := range c.answered[path] {
		answered[r]++
	}
	for answer, n := range answered {
		if !strings.HasPrefix(answer, d.answer+" ") || n > attempts {
			c.t.Errorf("%s was answered %d times with %s, want %q at most %d times", name, n, answer, d.answer, attempts)
		}
	}
}

// answers counts the answers that GitHub took, by state, and keeps them by run.
func (c *crash) answers() map[string]int {
	out := map[string]int{}
	for _, list := range c.answered {
		for _, a := range list {
			state, _, _ := strings.Cut(a, " ")
			out[state]++
		}
	}
	return out
}

// readAnswers reads the answers to our rule that GitHub took and said so: "STATE
// ENVIRONMENT", by the end of their address.
func (c *crash) readAnswers() {
	c.answered = map[string][]string{}
	for _, r := range c.g.Requests() {
		if r.Method != http.MethodPost || r.Status != http.StatusNoContent || !strings.HasSuffix(r.Path, "/deployment_protection_rule") {
			continue
		}
		var said struct {
			Environment string `json:"environment_name"`
			State       string
		}
		must(c.t, json.Unmarshal(r.Body, &said))
		if said.State != "" {
			path := strings.TrimPrefix(r.Path, "/repos/acme/orders")
			c.answered[path] = append(c.answered[path], said.State+" "+said.Environment)
		}
	}
}

// hear keeps what people were told.
func (k *killer) hear(w http.ResponseWriter, r *http.Request) {
	var m alert.Message
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told[m.Kind+" "+m.Code]++
}

// heard reports whether people were told of an alert.
func (k *killer) heard(code string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.ContainsFunc(slices.Collect(maps.Keys(k.told)), func(s string) bool {
		return strings.HasPrefix(s, alert.KindAlert+" ") && strings.HasSuffix(s, code)
	})
}
