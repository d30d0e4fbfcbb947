package github_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// standing is how a pull request stands.
func (w *world) standing(p *githubtest.Pull) github.Standing {
	w.t.Helper()
	list, err := w.orders.Standing(w.t.Context())
	must(w.t, err)
	for _, s := range list {
		if s.Number == p.Number {
			return s
		}
	}
	w.t.Fatalf("%d is not listed", p.Number)
	return github.Standing{}
}

// What a decision rests on makes another digest, and what we do ourselves does not: a
// look that we cause ourselves would be one for each of our own.
func TestStanding(t *testing.T) {
	w := newWorld(t, setting{fake: githubtest.Config{Limits: githubtest.NoLimits()}})
	p := w.open(w.agent, "feature")
	ci := w.g.App(githubtest.AppConfig{Slug: "ci", Permissions: map[string]string{"checks": "write"}})
	ci.Install(w.acme)
	head := rules.SHA(p.Head())
	var own rules.CheckRunID
	var bobs int64
	var ours rules.ReviewID
	test := w.repo.AddCheck(ci, p.Head(), "test", "")
	spec := github.CheckRunSpec{Name: "sallyport", HeadSHA: head, Conclusion: "action_required", Title: "waits", Summary: "for bob"}
	before := w.standing(p)
	if before.Head != head || before.Base != "main" || before.Facts == "" || len(before.People) != 0 {
		t.Fatalf("it stands as %+v", before)
	}
	for _, x := range []struct {
		what string
		same bool
		do   func() error
	}{
		{"nothing", true, func() error { return nil }},
		{"our check", true, func() (err error) { own, err = w.orders.CreateCheckRun(t.Context(), spec); return err }},
		{"our check says something else", true, func() error {
			spec.Conclusion = "success"
			return w.orders.UpdateCheckRun(t.Context(), own, spec)
		}},
		{"our approval", true, func() (err error) { ours, err = w.orders.Approve(t.Context(), p.Number, head, "fine"); return err }},
		{"our approval was dismissed", false, func() error { return p.Dismiss(w.carol, int64(ours), "no") }},
		{"a check that ends", false, func() error { test.Complete("success"); return nil }},
		{"a check that turns red", false, func() error { test.Complete("failure"); return nil }},
		{"another check", false, func() error { w.repo.AddCheck(ci, p.Head(), "other", "success"); return nil }},
		{"a status", false, func() error { w.repo.Status(w.dave, p.Head(), "deploy", "pending"); return nil }},
		{"the same status again", false, func() error { w.repo.Status(w.dave, p.Head(), "deploy", "pending"); return nil }},
		{"an approval", false, func() (err error) { bobs, err = p.Approve(w.bob, p.Head()); return err }},
		{"an approval that is dismissed", false, func() error { return p.Dismiss(w.carol, bobs, "no") }},
		{"an opinion of who may not write", false, func() error { _, err := p.Approve(w.eve, p.Head()); return err }},
		{"who may write now", false, func() error { w.repo.Collaborator(w.eve, "write"); return nil }},
		{"a draft", false, func() error { return p.Draft(w.carol) }},
	} {
		w.clock.Advance(time.Minute)
		must(t, x.do())
		now := w.standing(p)
		if now.Facts == "" || (now.Facts == before.Facts) != x.same {
			t.Errorf("%s: the same is %v, want %v", x.what, now.Facts == before.Facts, x.same)
		}
		before = now
	}
	if len(before.People) != 1 || before.People[0] != actor(w.eve) {
		t.Errorf("those who gave an opinion: %v", before.People)
	}
	// A check that was red and is green again, as it was once, is not the same.
	test.Complete("success")
	was := w.standing(p).Facts
	w.clock.Advance(time.Minute)
	test.Complete("failure")
	test.Complete("success")
	if w.standing(p).Facts == was {
		t.Error("a check that changed twice is the same")
	}
	w.repo.CommitTo(w.agent, "feature", "More", map[string]string{"more.go": "x"})
	if got := w.standing(p); got.Head != rules.SHA(p.Head()) || got.Head == head {
		t.Errorf("after a push it stands at %s", got.Head)
	}
}

// What is not in the list whole is not compared.
func TestStandingThatIsNotWhole(t *testing.T) {
	for what, do := range map[string]func(w *world, p *githubtest.Pull){
		"checks": func(w *world, p *githubtest.Pull) {
			for i := range 101 {
				w.repo.Status(w.dave, p.Head(), fmt.Sprintf("s%d", i), "success")
			}
		},
		"reviews": func(w *world, p *githubtest.Pull) {
			for range 101 {
				if _, err := p.Approve(w.bob, p.Head()); err != nil {
					w.t.Fatal(err)
				}
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, setting{fake: githubtest.Config{Limits: githubtest.NoLimits()}})
			p := w.open(w.dave, "feature")
			do(w, p)
			if got := w.standing(p); got.Facts != "" || got.Head == "" {
				t.Errorf("it stands as %+v", got)
			}
		})
	}
}

// A hundred and twenty cost three queries of two points each, and closed ones are not
// among them.
func TestStandingInPages(t *testing.T) {
	w := newWorld(t, setting{fake: githubtest.Config{Limits: githubtest.NoLimits()}})
	for i := range 121 {
		p := w.open(w.dave, fmt.Sprintf("b%03d", i))
		if i == 7 {
			must(t, p.Close(w.dave))
		}
	}
	w.warm()
	before := len(w.g.Requests())
	list, err := w.orders.Standing(t.Context())
	must(t, err)
	seen := map[int]bool{}
	for _, s := range list {
		seen[s.Number] = true
	}
	if len(list) != 120 || len(seen) != 120 {
		t.Errorf("%d are listed, %d different ones, want 120", len(list), len(seen))
	}
	pages := 0
	for _, q := range w.g.Requests()[before:] {
		if q.Path != "/graphql" {
			continue // a token
		}
		if pages++; q.Cost != 2 {
			t.Errorf("a page costs %d, want 2", q.Cost)
		}
	}
	if pages != 3 {
		t.Errorf("%d pages, want 3", pages)
	}
	w.endless()
	if _, err := w.orders.Standing(t.Context()); err == nil {
		t.Error("a list without an end is taken")
	}
}
