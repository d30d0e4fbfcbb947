package gate_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/cmd/sallyport/standalone"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// The adversaries' tables hold for both doors: for the App's, which decided in the world
// at hand, and for the gate without a server, which is then asked about the same pull
// request or deployment with a job's token. What the gate cannot read, a team, it is
// shown as the list of who is in it, so that both judge under the same list.

// agreement compares what both doors say, case by case.
type agreement struct {
	mu                                         sync.Mutex
	ran, compared, same, held, stricter, apart int
	allowed                                    int
	requests                                   []int
}

// newAgreement ends, once all cases ran, by saying how many were compared: at least a
// number, or the test fails.
func newAgreement(t *testing.T, cases, least int) *agreement {
	a := &agreement{}
	t.Cleanup(func() {
		slices.Sort(a.requests)
		median, most := 0, 0
		if n := len(a.requests); n > 0 {
			median, most = a.requests[n/2], a.requests[n-1]
		}
		t.Logf("%d compared of %d: %d the same verdict (%d of them let through), %d held by both for other reasons, %d held without a server alone, %d not for both; %d requests a decision, %d at most",
			a.compared, a.ran, a.same, a.allowed, a.held, a.stricter, a.apart, median, most)
		if a.ran == 2*cases && a.compared < least {
			t.Errorf("%d cases were compared, want at least %d", a.compared, least)
		}
	})
	return a
}

// alone is a judge for a job of the world, with the token that the job has.
func (w *world) alone(job standalone.Job, j *githubtest.Job) (*standalone.Judge, *shown) {
	w.t.Helper()
	look := &shown{w: w, job: j.ID}
	job.APIURL, job.ServerURL, job.Transport, job.Now = w.g.URL(), "https://github.com", look, w.clock.Now
	job.Repository = rules.Repository{ID: rules.RepositoryID(w.repo.ID), FullName: w.repo.FullName()}
	job.Token = github.Token(j.Token(map[string]string{
		"actions": "read", "checks": "read", "contents": "read", "deployments": "read", "pull_requests": "read", "statuses": "read",
	}))
	judge, err := standalone.New(job)
	must(w.t, err)
	return judge, look
}

// shown is what GitHub shows the job: a policy's team as the list of its members, and
// the job itself at work even where the App's rule holds it.
type shown struct {
	w   *world
	job int64
	n   int
}

func (s *shown) RoundTrip(q *http.Request) (*http.Response, error) {
	s.n++
	answer, err := http.DefaultTransport.RoundTrip(q)
	if err != nil || answer.StatusCode != http.StatusOK {
		return answer, err
	}
	change := func(change func(v map[string]any)) (*http.Response, error) {
		defer answer.Body.Close()
		var v map[string]any
		d := json.NewDecoder(answer.Body)
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		change(v)
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		return answer, nil
	}
	switch {
	case strings.Contains(q.URL.Path, "/git/blobs/"):
		return change(func(v map[string]any) {
			content, ok := v["content"].(string)
			text, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(content, "\n", ""))
			if ok && err == nil {
				v["content"] = base64.StdEncoding.EncodeToString([]byte(s.listed(string(text))))
			}
		})
	case strings.HasSuffix(q.URL.Path, "/jobs"):
		return change(func(v map[string]any) {
			list, _ := v["jobs"].([]any)
			for _, x := range list {
				j, _ := x.(map[string]any)
				if id, ok := j["id"].(json.Number); ok && id.String() == itoa(s.job) {
					j["status"], j["conclusion"] = "in_progress", nil
				}
			}
		})
	}
	return answer, nil
}

func itoa(n int64) string {
	text, err := json.Marshal(n)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// listed is a policy with the team's members in its place, and one more who does nothing:
// a list of users must be longer than what one of them may ask of the others.
func (s *shown) listed(policy string) string {
	names := []string{s.w.g.User("zoe").Login()}
	for _, u := range s.w.sre.Members() {
		names = append(names, u.Login())
	}
	return strings.ReplaceAll(policy, "acme/sre", strings.Join(names, ", "))
}

// unlike are the cases that are not for both, with what the gate lacks without a server:
// see docs/standalone.md.
func unlike(name string) string {
	for lacks, prefixes := range map[string][]string{
		"how a policy came": {
			"a looser policy pushed (attack)", "a looser policy merged past the check (attack)", "a looser policy in a merge made elsewhere (attack)",
			"a looser policy slipped in after the approval (attack)", "a looser policy on another default branch (attack)",
			"a looser policy after the file was removed by a push (attack)", "a looser policy behind an invalid one (attack)",
			"the history put back to a looser policy (attack)", "a policy that nobody adopted (attack)",
		},
		"who a name was": {"another account of a reviewer's old name approves (attack)", "another account of the agent's old name (attack)"},
	} {
		if slices.Contains(prefixes, name) {
			return lacks
		}
	}
	return ""
}

// onChange compares the merge doors at a pull request.
func (a *agreement) onChange(w *world, name string, p *githubtest.Pull) {
	w.t.Helper()
	conclusion, _ := w.ours(p.Head())
	app := map[string]rules.Verdict{"success": rules.VerdictAllow, "action_required": rules.VerdictWait, "failure": rules.VerdictDeny}[conclusion]
	job := w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/gate.yml", Event: "pull_request_target", By: w.dave, Jobs: []githubtest.JobSpec{{Name: "gate"}}}).Job("gate")
	judge, look := w.alone(standalone.Job{Event: "pull_request", Pull: p.Number, NoFloor: !strings.Contains(name, "floor")}, job)
	var d rules.Decision
	c, policies, err := judge.Change(w.t.Context(), p.Number)
	if err == nil {
		d = rules.DecideChange(policies, c)
	}
	a.compare(w, name, app, d, err, look.n)
}

// onDeployment compares the deploy doors at a deployment: under a policy that asks at
// the merge alone, and, since no approval changes that, wherever the App denies.
func (a *agreement) onDeployment(w *world, name, policy string, d *deployment) {
	w.t.Helper()
	app := rules.VerdictWait
	switch {
	case d.through():
		app = rules.VerdictAllow
	case strings.HasPrefix(d.says(), "failure: "):
		app = rules.VerdictDeny
	}
	if !strings.Contains(policy, "steps: [merge]") && (app != rules.VerdictDeny || strings.Contains(d.says(), "SP525")) || d.environment == "dev" {
		a.leave()
		return
	}
	if app == rules.VerdictAllow && strings.Contains(d.says(), "`SP527`") {
		app = rules.VerdictWait // by an approval of the deployment, which a job alone cannot take
	}
	run := d.Run
	judge, look := w.alone(standalone.Job{
		NoFloor: !strings.Contains(name, "floor"), Run: rules.RunID(run.ID), Attempt: run.Attempt(), Event: run.Event(), SHA: rules.SHA(d.sha), Workflow: ".github/workflows/deploy.yml", CheckRun: rules.CheckRunID(d.Job("deploy").ID),
	}, d.Job("deploy"))
	v, err := judge.Gate(w.t.Context())
	if err == nil && v.Allowed != (v.Decision.Verdict == rules.VerdictAllow) && !v.Decision.Observe {
		w.t.Errorf("allowed is %v at the verdict %q", v.Allowed, v.Decision.Verdict)
	}
	a.compare(w, name, app, v.Decision, err, look.n)
}

func (a *agreement) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ran++
	a.apart++
}

func (a *agreement) compare(w *world, name string, app rules.Verdict, d rules.Decision, err error, requests int) {
	w.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ran++
	if lacks := unlike(name); lacks != "" {
		a.apart++
		return
	}
	alone := d.Verdict
	var needs *standalone.NeedsApp
	if errors.As(err, &needs) {
		alone = rules.VerdictWait
	} else if err != nil {
		alone = rules.VerdictWait
		w.t.Logf("%s: %v", name, err)
	}
	a.compared++
	a.requests = append(a.requests, requests)
	switch {
	case alone == app:
		a.same++
		if app == rules.VerdictAllow {
			a.allowed++
		}
	case alone == rules.VerdictAllow:
		w.t.Errorf("without a server %s is let through, and the App says %q:\n%s", name, app, reasons(d))
	case app == rules.VerdictAllow && strings.Contains(name, "floor"):
		a.stricter++ // a job's token sees no private repository but its own
	case app == rules.VerdictAllow:
		w.t.Errorf("the App lets %s through, and without a server it is %q (%v):\n%s", name, alone, err, reasons(d))
	default:
		a.held++
	}
}

func reasons(d rules.Decision) string {
	var out []string
	for _, r := range d.Reasons {
		out = append(out, string(r.Code)+" "+string(r.Verdict)+" "+r.Text)
		for _, b := range r.Because {
			out = append(out, "  "+string(b.Code)+" "+b.Text)
		}
	}
	return strings.Join(out, "\n")
}
