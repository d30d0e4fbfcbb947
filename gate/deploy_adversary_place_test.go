package gate_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/rules"
)

// onTag runs on a tag.
func onTag(name string) func(*githubtest.RunSpec) {
	return func(s *githubtest.RunSpec) { s.Branch, s.Tag = name, true }
}

// deployTag deploys to production from a tag.
func (w *world) deployTag(name, sha string) *deployment {
	w.t.Helper()
	return w.deploy("production", onTag(name), func(s *githubtest.RunSpec) { s.SHA = sha })
}

// refs is from where it is deployed. A reviewer approves all of it.
func refs() []deployAdversary {
	tags := inProduction(plainDeploy, `tags: ["v*"]`)
	at := func(name, policy string, codes []string, from func(w *world, on bool) *deployment) deployAdversary {
		return deployAdversary{name: name, policy: policy, codes: codes, do: func(w *world, on bool) *deployment {
			d := from(w, on)
			d.tries(w.rose)
			return d
		}}
	}
	side := func(w *world, branch string) string {
		return w.push(w.dave, branch, map[string]string{"src/evil.go": "package evil\n"})
	}
	return []deployAdversary{
		at("a workflow on a branch of somebody's own", "", []string{"SP504"}, func(w *world, on bool) *deployment {
			side(w, "feature")
			return w.deploy("production", func(s *githubtest.RunSpec) { s.Branch = pick(on, "feature", "main") })
		}),
		at("a branch whose name begins like the right one", "", []string{"SP504"}, func(w *world, on bool) *deployment {
			side(w, "main/x")
			return w.deploy("production", func(s *githubtest.RunSpec) { s.Branch = pick(on, "main/x", "main") })
		}),
		at("a branch in another case", "", []string{"SP504"}, func(w *world, on bool) *deployment {
			side(w, "Main")
			return w.deploy("production", func(s *githubtest.RunSpec) { s.Branch = pick(on, "Main", "main") })
		}),
		at("a commit that is on no branch any more", "", []string{"SP505"}, func(w *world, on bool) *deployment {
			before := w.repo.Head("main")
			gone := w.direct(githubtest.Commit{})
			must(w.t, w.repo.Push(w.carol, "main", before))
			return w.deploy("production", func(s *githubtest.RunSpec) { s.SHA = pick(on, gone, before) })
		}),
		at("a tag named like the branch", "", []string{"SP504"}, func(w *world, on bool) *deployment {
			sha := side(w, "feature")
			if !on {
				return w.deploy("production")
			}
			must(w.t, w.repo.Tag(w.dave, "main", sha))
			return w.deployTag("main", sha)
		}),
		at("a branch named like the tag", tags, []string{"SP504"}, func(w *world, on bool) *deployment {
			head := w.repo.Head("main")
			if on {
				sha := side(w, "v1")
				return w.deploy("production", func(s *githubtest.RunSpec) { s.Branch, s.SHA = "v1", sha })
			}
			must(w.t, w.repo.Tag(w.dave, "v1", head))
			return w.deployTag("v1", head)
		}),
		at("a branch and a tag of one name", tags, []string{"SP504"}, func(w *world, on bool) *deployment {
			head := w.repo.Head("main")
			must(w.t, w.repo.Tag(w.dave, "v1", head))
			if on {
				must(w.t, w.repo.Push(w.dave, "v1", head))
			}
			return w.deployTag("v1", head)
		}),
		at("a tag on a commit off the branch", tags, []string{"SP505"}, func(w *world, on bool) *deployment {
			sha := side(w, "feature")
			if !on {
				sha = w.repo.Head("main")
			}
			must(w.t, w.repo.AnnotatedTag(w.dave, "v2", sha, 2))
			return w.deployTag("v2", sha)
		}),
		at("a tag that does not match", tags, []string{"SP504"}, func(w *world, on bool) *deployment {
			name := pick(on, "xv1", "v1")
			must(w.t, w.repo.Tag(w.dave, name, w.repo.Head("main")))
			return w.deployTag(name, w.repo.Head("main"))
		}),
		at("a tag with a slash", tags, []string{"SP504"}, func(w *world, on bool) *deployment {
			name := pick(on, "v1/evil", "v1")
			must(w.t, w.repo.Tag(w.dave, name, w.repo.Head("main")))
			return w.deployTag(name, w.repo.Head("main"))
		}),
		at("a tag where none may deploy", "", []string{"SP504"}, func(w *world, on bool) *deployment {
			must(w.t, w.repo.Tag(w.dave, "v1", w.repo.Head("main")))
			if on {
				return w.deployTag("v1", w.repo.Head("main"))
			}
			return w.deploy("production")
		}),
		at("a tag that is gone", tags, []string{"SP504"}, func(w *world, on bool) *deployment {
			name := "v1"
			must(w.t, w.repo.Tag(w.dave, name, w.repo.Head("main")))
			d := w.start("production", onTag(name), func(s *githubtest.RunSpec) { s.SHA = w.repo.Head("main") })
			if on {
				must(w.t, w.repo.DeleteTag(w.dave, name))
			}
			w.settle()
			return d
		}),
		at("a fork's branch of the same name", "", []string{"SP504"}, func(w *world, on bool) *deployment {
			fork := w.repo.Fork(w.eve)
			sha := fork.CommitTo(w.eve, "main", "Evil", map[string]string{"src/evil.go": "package evil\n"})
			return w.deploy("production", func(s *githubtest.RunSpec) {
				if on {
					s.From, s.SHA = fork, sha
				}
			})
		}),
		at("a fork's run on the right commit", "", []string{"SP504"}, func(w *world, on bool) *deployment {
			fork := w.repo.Fork(w.eve)
			return w.deploy("production", func(s *githubtest.RunSpec) {
				if on {
					s.From = fork
				}
			})
		}),
	}
}

// environments is what the environment is called.
func environments() []deployAdversary {
	rule := func(w *world, name string) {
		if !strings.EqualFold(name, "dev") && !strings.EqualFold(name, "staging") && !strings.EqualFold(name, "production") {
			_, err := w.repo.Environment(name).EnableRule(w.app)
			must(w.t, err)
		}
	}
	// Like is taken along with an approval of production; another spelling of it is.
	like := func(name, environment string) deployAdversary {
		return deployAdversary{name: name, codes: []string{"SP503", "SP520"}, do: func(w *world, on bool) *deployment {
			rule(w, environment)
			d := w.deploy(pick(on, environment, "PRODUCTION"), twoJobs("production"))
			must(w.t, w.repo.CheckRun(d.sha, "sallyport / production").Click(w.rose, "approve"))
			return d
		}}
	}
	// Free is let through without anybody, as dev is.
	free := func(name, environment, right string, codes ...string) deployAdversary {
		return deployAdversary{name: name, codes: codes, do: func(w *world, on bool) *deployment {
			rule(w, environment)
			rule(w, right)
			return w.deploy(pick(on, environment, right))
		}}
	}
	return []deployAdversary{
		like("production with a space", "production "),
		like("production with a Cyrillic letter", "pr\u043eduction"),
		like("production with more behind it", "production-eu"),
		like("production with an invisible letter", "production\u200b"),
		like("production with a combining mark", "productio\u0144"),
		free("production in another case", "Production", "dev", "SP520"),
		free("an environment that nobody listed", "canary", "dev", "SP503", "SP520"),
		free("dev with a space", "dev ", "dev", "SP503", "SP520"),
		free("dev with a Cyrillic letter", "d\u0435v", "dev", "SP503", "SP520"),
		free("dev with more behind it", "dev-production", "Dev", "SP503", "SP520"),
		free("dev with a Kelvin sign", "\u212adev", "dev", "SP503", "SP520"),
		free("a pattern with a slash", "staging-eu/production", "staging-eu", "SP503", "SP520"),
		free("a pattern with nothing before it", "x-staging-eu", "Staging-EU", "SP503", "SP520"),
		{name: "an environment of two gates takes the stricter", policy: strings.Replace(plainDeploy, `deployments: [staging, "staging-*"]`, `deployments: [staging, "*"]`, 1), codes: []string{"SP520"},
			do: func(w *world, on bool) *deployment { return w.deploy(pick(on, "production", "dev")) }},
		{name: "a status says that it goes elsewhere", codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			d := w.start("production")
			d.Job("deploy").Deployment().Move(w.dave, "in_progress", "dev")
			w.settle()
			if !on {
				d.click(w.rose, "approve")
			}
			return d
		}},
		{name: "an approval of dev's job in the same run", codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			d := w.deploy(pick(on, "production", "staging"), twoJobs("dev"))
			if status, _ := d.Job("first").Status(); status != "in_progress" {
				w.t.Errorf("dev's job is %s", status)
			}
			return d
		}},
	}
}

// startedBy is what started the run. A reviewer approves all of it.
func startedBy() []deployAdversary {
	event := func(event string) deployAdversary {
		return deployAdversary{name: "started by " + event, codes: []string{"SP506"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production", func(s *githubtest.RunSpec) { s.Event = pick(on, event, "push") })
			d.tries(w.rose)
			return d
		}}
	}
	var out []deployAdversary
	for _, e := range []string{"pull_request_target", "workflow_run", "issue_comment", "schedule", "workflow_dispatch", "merge_group", "issues", "check_run", "Push"} {
		out = append(out, event(e))
	}
	inputs := inProduction(plainDeploy, "events: [push, workflow_dispatch, repository_dispatch]")
	dispatch := func(w *world, in map[string]any) func(*githubtest.RunSpec) {
		return func(s *githubtest.RunSpec) { s.Event, s.By, s.Inputs = "workflow_dispatch", w.dave, in }
	}
	given := func(name string, codes []string, how func(w *world) *deployment) deployAdversary {
		return deployAdversary{name: name, policy: inputs, codes: codes, do: func(w *world, on bool) *deployment {
			var d *deployment
			if on {
				d = how(w)
			} else {
				d = w.deploy("production", dispatch(w, map[string]any{"version": "1"}))
			}
			d.tries(w.rose)
			return d
		}}
	}
	lost := func(w *world, how func()) {
		w.app.Fate(func(e githubtest.Event) githubtest.Fate {
			return githubtest.Fate{Vanish: e.Event == "workflow_dispatch"}
		})
		how()
		w.app.Fate(nil)
	}
	return append(out,
		deployAdversary{name: "a pull request's run", codes: []string{"SP504", "SP506"}, do: func(w *world, on bool) *deployment {
			p := w.open(w.dave, "work", map[string]string{"src/evil.go": "package evil\n"})
			w.settle()
			d := w.deploy("production", func(s *githubtest.RunSpec) {
				if on {
					s.Event, s.Branch, s.SHA = "pull_request", "work", p.Head()
				}
			})
			d.tries(w.rose)
			return d
		}},
		given("a repository_dispatch", []string{"SP508"}, func(w *world) *deployment {
			return w.deploy("production", func(s *githubtest.RunSpec) { s.Event = "repository_dispatch" })
		}),
		given("inputs that no event told", []string{"SP508"}, func(w *world) (d *deployment) {
			lost(w, func() { d = w.start("production", dispatch(w, map[string]any{"version": "1"})) })
			return d
		}),
		given("inputs made up with the stolen secret", []string{"SP508"}, func(w *world) (d *deployment) {
			lost(w, func() { d = w.start("production", dispatch(w, map[string]any{"version": "evil"})) })
			w.stolen("workflow_dispatch", `"ref":"refs/heads/main","workflow":".github/workflows/deploy.yml","inputs":{"version":"1"},"sender":%s`, w.said(w.dave))
			return d
		}),
		given("two dispatches at once", []string{"SP508"}, func(w *world) *deployment {
			w.start("production", dispatch(w, map[string]any{"version": "1"}))
			return w.start("production", dispatch(w, map[string]any{"version": "evil"}))
		}),
		given("the inputs of another person's dispatch", []string{"SP508"}, func(w *world) (d *deployment) {
			w.start("dev", func(s *githubtest.RunSpec) {
				s.Event, s.By, s.Inputs = "workflow_dispatch", w.alice, map[string]any{"version": "1"}
			})
			lost(w, func() { d = w.start("production", dispatch(w, map[string]any{"version": "evil"})) })
			return d
		}),
		deployAdversary{name: "an approval of other inputs", policy: inputs, codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			one := w.deploy("production", dispatch(w, map[string]any{"version": "1"}))
			k := one.check()
			// Of two by one person at one time nobody knows which is which.
			d := w.deploy("production", dispatch(w, map[string]any{"version": "evil"}), func(s *githubtest.RunSpec) { s.By = w.alice })
			must(w.t, pick(on, k, d.check()).Click(w.rose, "approve"))
			return d
		}, sees: func(w *world, d *deployment) {
			if !strings.Contains(d.says(), "version = evil") {
				w.t.Errorf("the inputs are not shown:\n%s", d.says())
			}
		}},
	)
}

// callbacks are protection rule's events that GitHub did not send so. They name
// addresses, of which none may be asked for, and runs.
func callbacks() []deployAdversary {
	row := func(name string, body func(w *world, d *deployment, host string) string) deployAdversary {
		return deployAdversary{name: name, codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			var hits atomic.Int64
			hostile := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
			w.t.Cleanup(hostile.Close)
			d := w.deploy("production")
			if !on {
				d.click(w.rose, "approve")
				return d
			}
			code := w.deliver("deployment_protection_rule", "forged-1", secret, []byte(body(w, d, hostile.URL)))
			if code/100 == 5 {
				w.t.Errorf("it is answered with %d", code)
			}
			w.settle()
			must(w.t, w.gate.Sweep(w.t.Context()))
			w.settle()
			if n := hits.Load(); n > 0 {
				w.t.Errorf("the hostile address was asked %d times", n)
			}
			return d
		}}
	}
	says := func(w *world, id int64, fullName, environment, callback string) string {
		return fmt.Sprintf(`{"action":"requested","environment":%q,"event":"push","deployment_callback_url":%q,"repository":{"id":%d,"full_name":%q},"organization":{"id":%d},"installation":{"id":%d},"sender":%s}`,
			environment, callback, id, fullName, w.acme.ID, w.inst.ID, w.said(w.alice))
	}
	ours := func(name string, callback func(w *world, d *deployment, host string) string) deployAdversary {
		return row(name, func(w *world, d *deployment, host string) string {
			return says(w, w.repo.ID, "acme/orders", "production", callback(w, d, host))
		})
	}
	const tail = "/deployment_protection_rule"
	return []deployAdversary{
		ours("a callback to a hostile host", func(_ *world, d *deployment, host string) string {
			return fmt.Sprintf("%s/repos/acme/orders/actions/runs/%d%s", host, d.ID, tail)
		}),
		ours("a callback with a hostile user part", func(w *world, d *deployment, host string) string {
			return fmt.Sprintf("%s@%s/repos/acme/orders/actions/runs/%d%s", w.g.URL(), strings.TrimPrefix(host, "http://"), d.ID, tail)
		}),
		ours("a callback with a way up", func(w *world, d *deployment, _ string) string {
			return fmt.Sprintf("%s/repos/acme/orders/actions/runs/../../../../../app/installations/%d%s", w.g.URL(), d.ID, tail)
		}),
		ours("a callback with an escaped way up", func(w *world, d *deployment, _ string) string {
			return fmt.Sprintf("%s/repos/acme/orders/actions/runs/%d%%2f..%%2f..%s", w.g.URL(), d.ID, tail)
		}),
		ours("a callback of a huge run", func(w *world, _ *deployment, _ string) string {
			return w.g.URL() + "/repos/acme/orders/actions/runs/99999999999999999999" + tail
		}),
		ours("a callback of the largest run", func(w *world, _ *deployment, _ string) string {
			return w.g.URL() + "/repos/acme/orders/actions/runs/9223372036854775807" + tail
		}),
		ours("a callback of a negative run", func(w *world, d *deployment, _ string) string {
			return fmt.Sprintf("%s/repos/acme/orders/actions/runs/-%d%s", w.g.URL(), d.ID, tail)
		}),
		ours("a callback of a run that has ended", func(w *world, _ *deployment, _ string) string {
			old := w.deploy("dev")
			old.end("success")
			return fmt.Sprintf("%s/repos/acme/orders/actions/runs/%d%s", w.g.URL(), old.ID, tail)
		}),
		ours("a callback of another repository's run", func(w *world, _ *deployment, _ string) string {
			other := w.g.Repository(w.acme, "other")
			run := other.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", By: w.carol, Jobs: []githubtest.JobSpec{{Name: "deploy", Environment: "dev"}}})
			return fmt.Sprintf("%s/repos/acme/orders/actions/runs/%d%s", w.g.URL(), run.ID, tail)
		}),
		ours("a callback that names another repository", func(w *world, d *deployment, _ string) string {
			return fmt.Sprintf("%s/repos/acme/other/actions/runs/%d%s", w.g.URL(), d.ID, tail)
		}),
		row("our run told as another repository's", func(w *world, d *deployment, _ string) string {
			other := w.g.Repository(w.acme, "other")
			return says(w, other.ID, "acme/other", "production", fmt.Sprintf("%s/repos/acme/other/actions/runs/%d%s", w.g.URL(), d.ID, tail))
		}),
		row("our repository under another's name", func(w *world, d *deployment, _ string) string {
			w.g.Repository(w.acme, "other")
			return says(w, w.repo.ID, "acme/other", "production", fmt.Sprintf("%s/repos/acme/other/actions/runs/%d%s", w.g.URL(), d.ID, tail))
		}),
		row("our run told to be of dev", func(w *world, d *deployment, _ string) string {
			return says(w, w.repo.ID, "acme/orders", "dev", fmt.Sprintf("%s/repos/acme/orders/actions/runs/%d%s", w.g.URL(), d.ID, tail))
		}),
	}
}

// againRun is a run that runs again.
func againRun() []deployAdversary {
	again := func(name, policy, conclusion string, codes []string, how func(w *world, d *deployment)) deployAdversary {
		return deployAdversary{name: name, policy: policy, codes: codes, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			d.click(w.rose, "approve")
			d.end(conclusion)
			how(w, d)
			w.settle()
			if !on {
				d.click(w.rose, "approve")
			}
			return d
		}}
	}
	return []deployAdversary{
		again("a run that succeeded runs again", "", "success", []string{"SP518", "SP520"}, func(w *world, d *deployment) { must(w.t, d.Rerun(w.dave)) }),
		again("a run that failed runs again", "", "failure", []string{"SP520"}, func(w *world, d *deployment) { must(w.t, d.Rerun(w.dave)) }),
		again("one job of a run runs again", "", "failure", []string{"SP520"}, func(w *world, d *deployment) { must(w.t, d.Rerun(w.dave, d.Job("deploy"))) }),
		again("an unapproved run of what asks at the merge only runs again", merges, "failure", []string{"SP510", "SP520"}, func(w *world, d *deployment) { must(w.t, d.Rerun(w.dave)) }),
		again("a run runs again after something newer", "", "success", []string{"SP513", "SP520"}, func(w *world, d *deployment) {
			w.direct(githubtest.Commit{})
			w.released("production")
			must(w.t, d.Rerun(w.dave))
		}),
	}
}

// agree is bring where several have to approve.
func (w *world) agree(files map[string]githubtest.File, by ...*githubtest.User) {
	w.t.Helper()
	_, err := w.repo.PushCommit(w.alice, "policy", githubtest.Commit{Message: "Change the policy", Author: w.alice.Identity(), Files: files})
	must(w.t, err)
	p, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: "policy", Title: "Change the policy"})
	must(w.t, err)
	w.settle()
	for _, u := range by {
		w.approve(p, u)
	}
	w.settle()
	must(w.t, p.Merge(w.alice, "squash", ""))
	w.settle()
}

// whileHeld is what changes while a job is held.
func whileHeld() []deployAdversary {
	looser := deployReviewers("acme/sre, dave")
	change := func(name string, codes []string, how func(w *world, on bool), who func(w *world) *githubtest.User) deployAdversary {
		return deployAdversary{name: name, codes: codes, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			how(w, on)
			w.settle()
			d.tries(who(w))
			return d
		}}
	}
	rose := func(w *world) *githubtest.User { return w.rose }
	dave := func(w *world) *githubtest.User { return w.dave }
	policy := func(text string) map[string]githubtest.File {
		return map[string]githubtest.File{rules.PolicyPath: githubtest.Text(text)}
	}
	return []deployAdversary{
		change("a looser policy pushed", []string{"SP311"}, func(w *world, on bool) {
			if on {
				w.direct(githubtest.Commit{Author: w.carol.Identity(), Files: policy(looser)})
			} else {
				w.bring(policy(looser))
			}
		}, dave),
		change("a looser policy merged by an admin", []string{"SP311"}, func(w *world, on bool) {
			if !on {
				w.bring(policy(looser))
				return
			}
			p := w.open(w.alice, "policy", map[string]string{rules.PolicyPath: looser})
			w.settle()
			must(w.t, p.MergeAsAdmin(w.carol, "squash"))
		}, dave),
		{name: "a policy that opens production pushed", codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			open := strings.Replace(strings.Replace(plainDeploy, "    merge: true\n", "    merge: true\n    deployments: [dev, production]\n", 1), "    gate: human\n", "    gate: human\n    deployments: [vault]\n", 1)
			open, _, _ = strings.Cut(open, "credentials:")
			d := w.deploy("production")
			if on {
				w.direct(githubtest.Commit{Author: w.carol.Identity(), Files: policy(open)})
			} else {
				w.bring(policy(open))
			}
			return d
		}},
		change("a stricter policy comes into force", []string{"SP520"}, func(w *world, on bool) {
			w.bring(policy(pick(on, inProduction(plainDeploy, "count: 2"), plainDeploy+"# a word\n")))
		}, rose),
		{name: "a stricter policy comes into force after the first of two", policy: inProduction(plainDeploy, "count: 2"), codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			d.click(w.rose, "approve")
			w.agree(policy(pick(on, inProduction(plainDeploy, "count: 3"), inProduction(plainDeploy, "count: 2")+"# a word\n")), w.bob, w.rose)
			d.click(w.bob, "approve")
			return d
		}},
		{name: "a reviewer taken off the list after approving", policy: inProduction(deployReviewers("dave, bob, rose"), "count: 2"), codes: []string{"SP311", "SP520"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			d.click(w.dave, "approve")
			w.agree(policy(pick(on, inProduction(deployReviewers("bob, rose, carol"), "count: 2"), inProduction(deployReviewers("dave, bob, rose"), "count: 2")+"# a word\n")), w.bob, w.rose)
			d.click(w.rose, "approve")
			return d
		}},
		change("the policy removed", []string{"SP004"}, func(w *world, on bool) {
			w.bring(pick(on, map[string]githubtest.File{rules.PolicyPath: githubtest.Removed()}, policy(plainDeploy+"# a word\n")))
		}, rose),
		change("a stricter floor", []string{"SP520"}, func(w *world, on bool) {
			w.withFloor(pick(on, inProduction(strictFloor, "count: 2"), strictFloor))
			w.adopt("acme/.github")
		}, rose),
		change("a floor that nobody adopted", []string{"SP003"}, func(w *world, on bool) {
			w.withFloor(strictFloor)
			if !on {
				w.adopt("acme/.github")
			}
		}, rose),
		change("the branch is rewritten", []string{"SP505"}, func(w *world, on bool) {
			if on {
				must(w.t, w.repo.Push(w.carol, "main", w.repo.Commit(githubtest.Commit{Message: "Other", Author: w.carol.Identity(), Files: evil()})))
			}
		}, rose),
		change("a tag of the branch's name is made", []string{"SP504"}, func(w *world, on bool) {
			if on {
				must(w.t, w.repo.Tag(w.dave, "main", w.repo.Head("main")))
			}
		}, rose),
		{name: "the App is uninstalled", do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			if !on {
				d.click(w.rose, "approve")
				return d
			}
			body := d.pressed(w.said(w.rose))
			w.inst.Uninstall(w.carol)
			d.tries(w.rose)
			w.fake("check_run", "%s", body)
			return d
		}},
		{name: "the App is suspended", do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			if !on {
				d.click(w.rose, "approve")
				return d
			}
			body := d.pressed(w.said(w.rose))
			w.inst.Suspend(w.carol)
			d.tries(w.rose)
			w.fake("check_run", "%s", body)
			return d
		}},
		{name: "the repository is given away", do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			if !on {
				d.click(w.rose, "approve")
				return d
			}
			body := d.pressed(w.said(w.rose))
			w.repo.Transfer(w.carol, w.g.Organization("strangers"))
			w.settle()
			d.tries(w.rose)
			w.fake("check_run", "%s", body)
			return d
		}},
		{name: "another repository takes the name", codes: []string{"SP003"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			if !on {
				d.click(w.rose, "approve")
				return d
			}
			w.repo.Rename(w.carol, "orders-old")
			w.repo = w.g.Repository(w.acme, "orders")
			w.repo.CommitTo(w.carol, "main", "Add the policy", map[string]string{rules.PolicyPath: plainDeploy})
			w.sre.Access(w.repo, "write")
			must(w.t, w.store.Mark(w.t.Context(), w.clock.Now(), rules.Mark{Key: rules.WorkKey{Kind: rules.WorkInstallation, Number: w.inst.ID}}))
			w.settle()
			_, err := w.repo.Environment("production").EnableRule(w.app)
			must(w.t, err)
			other := w.deploy("production")
			other.tries(w.rose)
			if status, _ := d.Job("deploy").Status(); status != "waiting" {
				w.t.Errorf("the job of the renamed repository is %s", status)
			}
			return other
		}},
		{name: "renamed and approved by who is not listed", codes: []string{"SP311"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			w.repo.Rename(w.carol, "orders-old")
			w.g.Repository(w.acme, "orders")
			w.settle()
			must(w.t, w.gate.Sweep(w.t.Context()))
			w.settle()
			d.tries(pick(on, w.dave, w.rose))
			return d
		}},
	}
}

// asks has a job ask the gate with a token, and gives the answer; none where it is
// refused.
func (d *deployment) asks(change ...func(*rules.JobToken)) (jobs.State, error) {
	d.w.t.Helper()
	token := d.token(change...)
	s, err := d.w.gate.Hold(d.w.t.Context(), token)
	if err != nil {
		return s, err
	}
	d.w.settle()
	return d.w.gate.HoldState(d.w.t.Context(), s.ID, token)
}

// gateHolds is where the job asks by itself.
func gateHolds() []deployAdversary {
	// Lies asks with a token that says something else. In the control it says what is
	// so.
	lies := func(name string, lie func(w *world, d *deployment, t *rules.JobToken)) deployAdversary {
		return deployAdversary{name: name, unruled: true, do: func(w *world, on bool) *deployment {
			d := w.deploy("production", func(s *githubtest.RunSpec) {
				s.Jobs = append(s.Jobs, githubtest.JobSpec{Name: "dev", Environment: "dev"}, githubtest.JobSpec{Name: "none"})
			})
			change := func(t *rules.JobToken) {
				if on {
					lie(w, d, t)
				}
			}
			if s, err := d.asks(change); err != nil {
				w.t.Log(err)
			} else if s.State == jobs.Released {
				w.t.Errorf("it is released at once: %+v", s)
			}
			d.tries(w.rose)
			if s, err := d.asks(change); err == nil && (s.State == jobs.Released) == on {
				w.t.Errorf("after the approval: %+v", s)
			}
			return d
		}}
	}
	secondJob := func(w *world) *deployment {
		return w.deploy("production", func(s *githubtest.RunSpec) {
			s.Jobs = append([]githubtest.JobSpec{{Name: "first", Environment: "production"}}, s.Jobs...)
		})
	}
	return []deployAdversary{
		lies("a token of another repository", func(w *world, _ *deployment, t *rules.JobToken) {
			t.Claims.RepositoryID = rules.RepositoryID(w.g.Repository(w.acme, "other").ID)
		}),
		lies("a token of another owner's repository", func(w *world, _ *deployment, t *rules.JobToken) {
			t.Claims.RepositoryOwnerID = rules.AccountID(w.g.Organization("strangers").ID)
		}),
		lies("a token of another run's job", func(w *world, _ *deployment, t *rules.JobToken) {
			t.Claims.CheckRunID = rules.CheckRunID(w.deploy("production").Job("deploy").ID)
		}),
		lies("a token of a job that is not there", func(_ *world, _ *deployment, t *rules.JobToken) { t.Claims.CheckRunID = 1 }),
		lies("a token of no job", func(_ *world, _ *deployment, t *rules.JobToken) { t.Claims.CheckRunID = 0 }),
		lies("a token of no environment", func(_ *world, _ *deployment, t *rules.JobToken) { t.Claims.Environment = "" }),
		lies("a token of the next attempt", func(_ *world, _ *deployment, t *rules.JobToken) { t.Claims.RunAttempt = 2 }),
		lies("a token of another commit", func(w *world, _ *deployment, t *rules.JobToken) {
			t.Claims.SHA = rules.SHA(w.repo.Commit(githubtest.Commit{Message: "Other", Author: w.dave.Identity(), Files: evil()}))
		}),
		lies("a token of another run", func(w *world, _ *deployment, t *rules.JobToken) { t.Claims.RunID = rules.RunID(w.deploy("dev").ID) }),
		lies("a token of another environment than the job has", func(_ *world, _ *deployment, t *rules.JobToken) { t.Claims.Environment = "dev" }),
		{name: "a token of the attempt before", unruled: true, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			old := d.token()
			s, err := d.asks()
			must(w.t, err)
			d.tries(w.rose)
			d.end("failure")
			must(w.t, d.Rerun(w.dave))
			w.settle()
			if !on {
				_, err := d.asks()
				must(w.t, err)
				d.tries(w.rose)
				return d
			}
			if _, err := w.gate.Hold(w.t.Context(), old); err != nil {
				w.t.Log(err)
			}
			w.settle()
			_, err = w.gate.HoldState(w.t.Context(), s.ID, d.token())
			if err == nil {
				w.t.Error("the new attempt's job reads the old one's hold")
			}
			if s, err := d.asks(); err != nil || s.State == jobs.Released {
				w.t.Errorf("%+v, %v", s, err)
			}
			return d
		}},
		{name: "a second job asks after the first was released", unruled: true, codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			d := secondJob(w)
			_, err := d.asks(func(t *rules.JobToken) { t.Claims.CheckRunID = rules.CheckRunID(d.Job("first").ID) })
			must(w.t, err)
			d.tries(w.rose)
			if s, err := d.asks(); err != nil || s.State == jobs.Released {
				w.t.Errorf("%+v, %v", s, err)
			}
			if !on {
				d.tries(w.rose)
			}
			return d
		}},
		{name: "one job reads the hold of another", unruled: true, do: func(w *world, on bool) *deployment {
			d := secondJob(w)
			first, err := d.asks(func(t *rules.JobToken) { t.Claims.CheckRunID = rules.CheckRunID(d.Job("first").ID) })
			must(w.t, err)
			if !on {
				_, err := d.asks()
				must(w.t, err)
			}
			d.tries(w.rose)
			if _, err := w.gate.HoldState(w.t.Context(), first.ID, d.token()); err == nil {
				w.t.Error("it reads the other's hold")
			}
			return d
		}},
		{name: "somebody else runs it again after the approval", unruled: true, codes: []string{"SP520"}, do: func(w *world, on bool) *deployment {
			d := w.deploy("production")
			if !on {
				more := permissions()
				more["actions"] = "write"
				w.inst.Permit(w.carol, more)
				w.settle()
			}
			_, err := d.asks()
			must(w.t, err)
			d.end("failure") // the gate's exit 3
			d.tries(w.rose)
			if on {
				must(w.t, d.Rerun(w.dave))
			}
			w.settle()
			_, err = d.asks()
			must(w.t, err)
			return d
		}},
		{name: "a lookalike environment asks by itself", unruled: true, codes: []string{"SP503", "SP520"}, do: func(w *world, on bool) *deployment {
			d := w.deploy(pick(on, "d\u0435v", "dev"))
			_, err := d.asks()
			must(w.t, err)
			return d
		}},
		{name: "a job asks from a branch of somebody's own", unruled: true, codes: []string{"SP504"}, do: func(w *world, on bool) *deployment {
			w.push(w.dave, "feature", map[string]string{"src/evil.go": "package evil\n"})
			d := w.deploy("production", func(s *githubtest.RunSpec) { s.Branch = pick(on, "feature", "main") })
			_, err := d.asks()
			must(w.t, err)
			d.tries(w.rose)
			return d
		}},
	}
}
