package gate_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// sent is the newest delivery of an event as GitHub sent it.
func (w *world) sent(event, action string) githubtest.Delivered {
	w.t.Helper()
	w.settle()
	all := w.app.Deliveries()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Event == event && all[i].Action == action {
			return all[i]
		}
	}
	w.t.Fatalf("no %s %s was sent", event, action)
	return githubtest.Delivered{}
}

// forge posts a delivery under an id, signed with the stolen secret, with parts of its
// text exchanged: old, new, old, new.
func (w *world) forge(d githubtest.Delivered, id string, change ...string) {
	w.t.Helper()
	body := d.Body
	for i := 0; i+1 < len(change); i += 2 {
		next := bytes.ReplaceAll(body, []byte(change[i]), []byte(change[i+1]))
		if bytes.Equal(next, body) && change[i] != change[i+1] {
			w.t.Fatalf("the %s does not say %q: %s", d.Event, change[i], body)
		}
		body = next
	}
	if code := w.deliver(d.Event, id, secret, body); code != http.StatusAccepted {
		w.t.Errorf("the %s made up is answered with %d", d.Event, code)
	}
	w.calm(10 * time.Second)
}

// fake posts a delivery made up and signed with the stolen secret.
func (w *world) fake(event, format string, args ...any) {
	w.t.Helper()
	body := fmt.Sprintf(`{"repository":{"id":%d,"full_name":"acme/orders"},"organization":{"id":%d},"installation":{"id":%d},`, w.repo.ID, w.acme.ID, w.inst.ID) + fmt.Sprintf(format, args...) + "}"
	if code := w.deliver(event, "forged-"+strconv.Itoa(len(body)), secret, []byte(body)); code != http.StatusAccepted {
		w.t.Errorf("the %s made up is answered with %d", event, code)
	}
	w.calm(10 * time.Second)
}

// as exchanges one account for another in the text of a delivery.
func as(from, to *githubtest.User) []string {
	return []string{
		fmt.Sprintf(`"login":%q`, from.Login()), fmt.Sprintf(`"login":%q`, to.Login()),
		fmt.Sprintf(`"id":%d,`, from.ID), fmt.Sprintf(`"id":%d,`, to.ID),
	}
}

// pressed is a click on the deployment's check run as its event tells it.
func (d *deployment) pressed(sender string) string {
	return fmt.Sprintf(`"action":"requested_action","requested_action":{"identifier":"approve"},"check_run":{"id":%d,"name":"sallyport / %s","head_sha":%q,"external_id":%q,"app":{"id":%d},"pull_requests":[]},"sender":%s`,
		d.check().ID, d.environment, d.sha, d.name(), d.w.app.ID, sender)
}

// forgeries are clicks and reviews that GitHub did not send so.
func forgeries() []deployAdversary {
	click := func(name string, codes []string, how func(w *world, d *deployment)) deployAdversary {
		return deployAdversary{name: name, codes: codes, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			if on {
				how(w, d)
			} else {
				d.click(w.rose, "approve")
			}
			return d
		}}
	}
	return []deployAdversary{
		click("a click made up with the stolen secret", []string{"SP522"}, func(w *world, d *deployment) {
			w.fake("check_run", "%s", d.pressed(w.said(w.rose)))
		}),
		click("a click signed with another secret", []string{"SP520"}, func(w *world, d *deployment) {
			body := fmt.Sprintf(`{"repository":{"id":%d,"full_name":"acme/orders"},"installation":{"id":%d},%s}`, w.repo.ID, w.inst.ID, d.pressed(w.said(w.rose)))
			if code := w.deliver("check_run", "forged-1", "guessed", []byte(body)); code != http.StatusUnauthorized {
				w.t.Errorf("it is answered with %d", code)
			}
		}),
		click("a click made up of a bot", []string{"SP310"}, func(w *world, d *deployment) {
			w.fake("check_run", "%s", d.pressed(strings.Replace(w.said(w.rose), `"User"`, `"Bot"`, 1)))
		}),
		click("a click made up of the organisation", []string{"SP310"}, func(w *world, d *deployment) {
			w.fake("check_run", "%s", d.pressed(fmt.Sprintf(`{"id":%d,"login":"acme","type":"Organization"}`, w.acme.ID)))
		}),
		click("a click made up of nobody", []string{"SP520"}, func(w *world, d *deployment) {
			body := fmt.Sprintf(`{"repository":{"id":%d,"full_name":"acme/orders"},"installation":{"id":%d},%s}`, w.repo.ID, w.inst.ID, d.pressed(`{"login":"rose","type":"User"}`))
			if code := w.deliver("check_run", "forged-1", secret, []byte(body)); code/100 == 5 {
				w.t.Errorf("it is answered with %d", code)
			}
		}),
		click("somebody's click sent again as a reviewer's", []string{"SP522"}, func(w *world, d *deployment) {
			d.click(w.dave, "approve")
			w.forge(w.sent("check_run", "requested_action"), "forged-1", as(w.dave, w.rose)...)
		}),
		click("somebody's click sent again as a reviewer's under its id", []string{"SP522"}, func(w *world, d *deployment) {
			d.click(w.dave, "approve")
			sent := w.sent("check_run", "requested_action")
			w.forge(sent, sent.GUID, as(w.dave, w.rose)...)
		}),
		click("a click made up under the id of a real one", []string{"SP522"}, func(w *world, d *deployment) {
			d.click(w.dave, "approve")
			sent := w.sent("check_run", "requested_action")
			body := fmt.Sprintf(`{"repository":{"id":%d,"full_name":"acme/orders"},"installation":{"id":%d},%s}`, w.repo.ID, w.inst.ID, d.pressed(w.said(w.rose)))
			if code := w.deliver("check_run", sent.GUID, secret, []byte(body)); code != http.StatusAccepted {
				w.t.Errorf("it is answered with %d", code)
			}
		}),
		click("a rejection turned into an approval", []string{"SP525"}, func(w *world, d *deployment) {
			w.app.Fate(func(e githubtest.Event) githubtest.Fate { return githubtest.Fate{Hold: e.Action == "requested_action"} })
			must(w.t, d.check().Click(w.rose, "reject"))
			w.app.Fate(nil)
			held := w.sent("check_run", "requested_action")
			w.forge(held, held.GUID, `"requested_action":{"identifier":"reject"}`, `"requested_action":{"identifier":"approve"}`)
			if d.through() {
				w.t.Error("it got through before the rejection came")
			}
			w.app.ReleaseHeld()
			w.calm(10 * time.Second)
		}),
		{name: "a reviewer's click on another run moved to this one", codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			old := w.deploy("production")
			old.click(w.rose, "approve")
			sent := w.sent("check_run", "requested_action")
			before := old.check().ID
			name := "run/"
			for _, s := range w.repo.Checks(old.sha) {
				if s.ID == before {
					name = s.ExternalID
				}
			}
			d := w.deploy("production")
			if !on {
				d.click(w.rose, "approve")
				return d
			}
			change := []string{fmt.Sprintf(`"external_id":%q`, name), fmt.Sprintf(`"external_id":%q`, d.name()), fmt.Sprintf(`"id":%d,`, before), fmt.Sprintf(`"id":%d,`, d.check().ID)}
			w.forge(sent, sent.GUID, change...)
			w.forge(sent, "forged-1", change...)
			return d
		}},
		{name: "a click's external id brought up to date", codes: []string{"SP522", "SP513"}, do: func(w *world, on bool) *deployment {
			d, overtake := w.overtaken()
			k, old := d.check(), d.name()
			if !on {
				overtake()
				d.click(w.rose, "approve")
				return d
			}
			w.late(func() { must(w.t, k.Click(w.rose, "approve")) }, overtake)
			sent := w.clicked(old)
			w.forge(sent, sent.GUID, fmt.Sprintf(`"external_id":%q`, old), fmt.Sprintf(`"external_id":%q`, d.name()))
			return d
		}},
		{name: "a click sent again in the next attempt", codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			d.click(w.rose, "approve")
			sent := w.sent("check_run", "requested_action")
			d.end("failure")
			must(w.t, d.Rerun(w.dave))
			w.settle()
			if !on {
				d.click(w.rose, "approve")
				return d
			}
			w.forge(sent, "replayed-1")
			w.forge(sent, sent.GUID)
			must(w.t, w.app.Redeliver(sent.ID))
			return d
		}},
		{name: "an old click with the next attempt's check", codes: []string{"SP522"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			k, old := d.check(), d.name()
			d.click(w.rose, "approve")
			sent := w.sent("check_run", "requested_action")
			d.end("failure")
			must(w.t, d.Rerun(w.dave))
			w.settle()
			if !on {
				d.click(w.rose, "approve")
				return d
			}
			change := []string{fmt.Sprintf(`"external_id":%q`, old), fmt.Sprintf(`"external_id":%q`, d.name()), fmt.Sprintf(`"id":%d,`, k.ID), fmt.Sprintf(`"id":%d,`, d.check().ID)}
			w.forge(sent, sent.GUID, change...)
			return d
		}},
		{name: "a deployment review made up with the stolen secret", policy: accepted, codes: []string{"SP522"}, do: func(w *world, on bool) *deployment {
			w.repo.Environment("production").Reviewers(true, []*githubtest.User{w.rose}, nil)
			d := w.deploy("production")
			if on {
				w.fake("deployment_review", `"action":"approved","approver":%s,"workflow_run":{"id":%d,"run_attempt":1,"head_sha":%q},"workflow_job_runs":[{"id":%d,"environment":"production"}],"sender":%s`,
					w.said(w.rose), d.ID, d.sha, d.Job("deploy").ID, w.said(w.rose))
			} else {
				must(w.t, d.Review(w.rose, "production", "approved", ""))
			}
			return d
		}},
		{name: "a deployment review by somebody else sent again as a reviewer's", policy: accepted, codes: []string{"SP522"}, do: func(w *world, on bool) *deployment {
			w.repo.Environment("production").Reviewers(false, []*githubtest.User{w.dave, w.rose}, nil)
			d := w.deploy("production")
			must(w.t, d.Review(pick(on, w.dave, w.rose), "production", "approved", ""))
			w.settle()
			if on {
				sent := w.sent("deployment_review", "approved")
				w.forge(sent, sent.GUID, as(w.dave, w.rose)...)
			}
			return d
		}},
	}
}

// clicked is the click that says an external id, as GitHub sent it.
func (w *world) clicked(externalID string) githubtest.Delivered {
	w.t.Helper()
	for _, d := range w.app.Deliveries() {
		if d.Action == "requested_action" && bytes.Contains(d.Body, fmt.Appendf(nil, "%q", externalID)) {
			return d
		}
	}
	w.t.Fatalf("no click on %q was sent", externalID)
	return githubtest.Delivered{}
}

// accepted is plainDeploy that takes GitHub's deployment reviews.
var accepted = inProduction(plainDeploy, "accept: {deploy: [check-button, deployment-review]}")

// otherWords are approvals of something else, or said elsewhere.
func otherWords() []deployAdversary {
	// Reviewed has production reviewed by rose, in GitHub's way.
	reviewed := func(w *world, d *deployment) {
		must(w.t, d.Review(w.rose, "production", "approved", "go"))
		w.settle()
	}
	said := func(name string, how func(w *world, p *githubtest.Pull)) deployAdversary {
		return deployAdversary{name: name, codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			w.released("production")
			p := w.merged(w.alice, "work", "merge", map[string]string{"src/a.go": "package a\n"})
			d := w.deploy("production")
			if on {
				how(w, p)
			} else {
				d.click(w.rose, "approve")
			}
			return d
		}}
	}
	return []deployAdversary{
		said("a review of the pull request that it carries", func(w *world, p *githubtest.Pull) {
			if _, err := p.Approve(w.rose, ""); err != nil {
				w.t.Log(err)
			}
		}),
		said("a comment that says approve", func(w *world, p *githubtest.Pull) {
			for _, body := range []string{"/approve production", "approve", "LGTM :+1:", "@sallyport approve"} {
				_, err := p.Comment(w.rose, body)
				must(w.t, err)
			}
		}),
		said("a label that says approved", func(w *world, p *githubtest.Pull) { must(w.t, p.Label(w.rose, "approved")) }),
		said("a status that says approved", func(w *world, _ *githubtest.Pull) {
			w.repo.Status(w.rose, w.repo.Head("main"), "sallyport / production", "success")
		}),
		said("a check that says approved", func(w *world, p *githubtest.Pull) {
			w.repo.AddCheck(w.agentApp, w.repo.Head("main"), "sallyport / production", "success")
			w.repo.AddCheck(w.g.Actions(), p.Head(), "sallyport / production", "success")
		}),
		{name: "a deployment review that the policy does not accept", codes: []string{"SP523"}, do: func(w *world, on bool) *deployment {
			w.repo.Environment("production").Reviewers(true, []*githubtest.User{w.rose}, nil)
			d := w.deploy("production")
			reviewed(w, d)
			if !on {
				d.click(w.bob, "approve")
			}
			return d
		}},
		{name: "a deployment review by who is not listed", policy: accepted, codes: []string{"SP311"}, do: func(w *world, on bool) *deployment {
			w.repo.Environment("production").Reviewers(true, []*githubtest.User{w.dave, w.rose}, nil)
			d := w.deploy("production")
			must(w.t, d.Review(pick(on, w.dave, w.rose), "production", "approved", ""))
			return d
		}},
		{name: "a deployment review of the first attempt", policy: accepted, codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			w.repo.Environment("production").Reviewers(true, []*githubtest.User{w.rose}, nil)
			d := w.deploy("production")
			reviewed(w, d)
			d.end("failure")
			must(w.t, d.Rerun(w.dave))
			w.settle()
			if on {
				must(w.t, w.app.Redeliver(w.sent("deployment_review", "approved").ID))
			} else {
				reviewed(w, d)
			}
			return d
		}},
		{name: "a deployment review of another environment's jobs", policy: accepted, codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			eu := w.repo.Environment("production-eu")
			_, err := eu.EnableRule(w.app)
			must(w.t, err)
			for _, e := range []*githubtest.Environment{eu, w.repo.Environment("production")} {
				e.Reviewers(true, []*githubtest.User{w.rose}, nil)
			}
			d := w.deploy("production", twoJobs("production-eu"))
			must(w.t, d.Review(w.rose, pick(on, "production-eu", "production"), "approved", ""))
			return d
		}},
		{name: "a deployment review before one more job joined", policy: accepted, codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			w.repo.Environment("production").Reviewers(true, []*githubtest.User{w.rose}, nil)
			d := w.deploy("production", func(s *githubtest.RunSpec) { s.Jobs[0].Name = "first" })
			if !on {
				d.Next(githubtest.JobSpec{Name: "deploy", Environment: "production"})
				w.settle()
				reviewed(w, d)
				return d
			}
			w.app.Fate(func(e githubtest.Event) githubtest.Fate {
				return githubtest.Fate{Hold: e.Event == "deployment_review" && e.Action == "approved"}
			})
			must(w.t, d.Review(w.rose, "production", "approved", ""))
			d.Next(githubtest.JobSpec{Name: "deploy", Environment: "production"})
			w.app.Fate(nil)
			w.app.ReleaseHeld()
			return d
		}},
		{name: "a click of which GitHub has no record", codes: []string{"SP522"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			if on {
				w.app.Fate(func(githubtest.Event) githubtest.Fate { return githubtest.Fate{Vanish: true} })
			}
			must(w.t, d.check().Click(w.rose, "approve"))
			w.app.Fate(nil)
			if on {
				// Of a click that nobody heard of, one made up tells.
				w.fake("check_run", "%s", d.pressed(w.said(w.rose)))
			}
			return d
		}},
	}
}
