package gate_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// walk goes through both doors and the queue, with whatever comes of it.
func (w *world) walk() {
	stumble := func() { w.works(w.next, 3*time.Second) }
	docs := w.open(w.agent, "writer/docs", map[string]string{"docs/guide.md": "# Guide\n"})
	stumble()
	w.tests(docs.Head(), "success")
	stumble()
	feature := w.open(w.agent, "writer/feature", map[string]string{"main.go": "package main\n"})
	stumble()
	_, err := feature.Approve(w.bob, "")
	must(w.t, err)
	stumble()
	held := w.start("production")
	stumble()
	if k := held.check(); k != nil {
		must(w.t, k.Click(w.rose, "approve"))
	}
	stumble()
	w.repo.AddRuleset(githubtest.Ruleset{Name: "queue", Branches: []string{"main"}, MergeQueue: true})
	if err := feature.Enqueue(w.carol); err != nil {
		w.t.Logf("the queue does not take it: %v", err)
	}
	stumble()
}

// With the permissions of the manifest everything works and nothing is refused; with
// one less, what needs it is.
func TestEachPermissionIsNeeded(t *testing.T) {
	lacks := func(w *world) (out []string) {
		for _, v := range w.g.AllViolations() {
			if i := strings.Index(v.String(), "lacks "); i >= 0 {
				out = append(out, v.String()[i+6:])
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	t.Run("all", func(t *testing.T) {
		w := deploys(t, deployPolicy)
		w.walk()
		if got := lacks(w); len(got) > 0 {
			t.Errorf("the App lacks %q", got)
		}
		if !slices.ContainsFunc(w.app.Deliveries(), func(d githubtest.Delivered) bool { return d.Event == "merge_group" }) {
			t.Error("it hears of no merge group")
		}
	})
	for _, p := range github.Permissions() {
		if p.Name == "metadata" {
			continue // GitHub gives it to every App
		}
		t.Run(p.Name, func(t *testing.T) {
			w := deploys(t, deployPolicy)
			w.g.Allow("") // this is about them
			less := permissions()
			if p.Level == "write" {
				less[p.Name] = "read"
			} else {
				delete(less, p.Name)
			}
			w.inst.Permit(w.carol, less)
			w.walk()
			if p.Name == "merge_queues" {
				if slices.ContainsFunc(w.app.Deliveries(), func(d githubtest.Delivered) bool { return d.Event == "merge_group" }) {
					t.Error("it hears of merge groups nevertheless")
				}
				return
			}
			want := p.Name + ":" + p.Level
			if !slices.ContainsFunc(lacks(w), func(s string) bool { return strings.Contains(s, want) }) {
				t.Errorf("nothing is refused for want of %s; refused were %q", want, lacks(w))
			}
		})
	}
}
