package githubtest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

func TestWebhooksAreSigned(t *testing.T) {
	w := newWorld(t)
	w.open(w.agent, "a")
	w.settle()
	got := w.hook.take()
	if len(got) == 0 {
		t.Fatal("no webhook came")
	}
	seen := map[string]bool{}
	for _, d := range got {
		m := hmac.New(sha256.New, []byte(secret))
		m.Write(d.body)
		if d.signature != "sha256="+hex.EncodeToString(m.Sum(nil)) {
			t.Errorf("%s has the signature %q", d.event, d.signature)
		}
		if seen[d.guid] {
			t.Errorf("two webhooks have the GUID %s", d.guid)
		}
		seen[d.guid] = true
	}
}

func TestRedeliveryKeepsTheGUID(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.hook.take()
	w.hook.answer(503)
	w.open(w.agent, "a")
	w.settle()
	first := w.hook.take()
	list := w.call(w.app.JWT(), "GET", "/app/hook/deliveries?status=failure", nil)
	if list.len("") != len(first) || list.get("0.status_code") != 503.0 {
		t.Fatalf("%d failures are listed of %d, the first with %v", list.len(""), len(first), list.get("0.status_code"))
	}
	w.hook.answer(202)
	id, _ := list.get("0.id").(float64)
	path := fmt.Sprintf("/app/hook/deliveries/%.0f", id)
	if a := w.call(w.app.JWT(), "POST", path+"/attempts", nil); a.status != 202 {
		t.Fatalf("redelivering answers %d", a.status)
	}
	w.settle()
	again := w.hook.take()
	if len(again) != 1 || again[0].guid != list.get("0.guid") || string(again[0].body) != string(first[len(first)-1].body) {
		t.Errorf("redelivered %d, GUID %s, want the same body under %v", len(again), again[0].guid, list.get("0.guid"))
	}
	ok := w.call(w.app.JWT(), "GET", "/app/hook/deliveries?status=success&per_page=1", nil)
	if ok.get("0.redelivery") != true || ok.get("0.guid") != list.get("0.guid") || ok.get("0.id") == list.get("0.id") {
		t.Errorf("the new attempt is %s", ok.body)
	}
	one := w.call(w.app.JWT(), "GET", path, nil)
	if one.get("request.payload.sender.login") == nil || one.get("request.headers.X-Github-Delivery") != list.get("0.guid") {
		t.Errorf("the delivery shows %.300s", one.body)
	}
	w.clock.Advance(73 * time.Hour)
	if a := w.call(w.app.JWT(), "GET", path, nil); a.status != 404 {
		t.Errorf("after three days the delivery answers %d, want 404", a.status)
	}
	if a := w.call(w.app.JWT(), "GET", "/app/hook/deliveries", nil); a.len("") != 0 {
		t.Errorf("after three days %d deliveries are listed", a.len(""))
	}
}

func TestTheDeliveryLogIsPaged(t *testing.T) {
	w := newWorld(t)
	for range 10 {
		w.branch(w.alice, "a", map[string]string{"a.txt": fmt.Sprint(len(w.app.Deliveries()))})
	}
	w.settle()
	all := len(w.app.Deliveries())
	n, last := 0, 0.0
	for next := "/app/hook/deliveries?per_page=7"; next != ""; {
		a := w.call(w.app.JWT(), "GET", next, nil)
		for i := range a.len("") {
			id, _ := a.get(fmt.Sprintf("%d.id", i)).(float64)
			if last != 0 && id >= last {
				t.Errorf("%v comes after %v: not newest first", id, last)
			}
			last = id
			n++
		}
		next = nextLink(a)
	}
	if n != all {
		t.Errorf("the pages have %d deliveries of %d", n, all)
	}
}

func TestFates(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.hook.take()
	act := func(f githubtest.Fate) []string {
		first := true
		w.app.Fate(func(e githubtest.Event) githubtest.Fate {
			if e.Event == "pull_request" && first {
				first = false
				return f
			}
			return githubtest.Fate{}
		})
		p := w.open(w.agent, fmt.Sprintf("b%d", len(w.app.Deliveries())))
		w.must(p.Label(w.alice, "one"))
		w.must(p.Label(w.alice, "two"))
		w.settle()
		var out []string
		for _, name := range names(w.hook.take()) {
			if name == "pull_request.opened" || name == "pull_request.labeled" {
				out = append(out, name)
			}
		}
		return out
	}
	const opened, labeled = "pull_request.opened", "pull_request.labeled"
	if got := act(githubtest.Fate{}); !slices.Equal(got, []string{opened, labeled, labeled}) {
		t.Errorf("undisturbed: %v", got)
	}
	if got := act(githubtest.Fate{Lose: true}); !slices.Equal(got, []string{labeled, labeled}) {
		t.Errorf("lost: %v", got)
	}
	if a := w.call(w.app.JWT(), "GET", "/app/hook/deliveries?status=failure", nil); a.len("") != 1 || a.get("0.event") != "pull_request" {
		t.Errorf("the log shows %d failures", a.len(""))
	}
	before := len(w.app.Deliveries())
	if got := act(githubtest.Fate{Vanish: true}); !slices.Equal(got, []string{labeled, labeled}) {
		t.Errorf("vanished: %v", got)
	}
	for _, d := range w.app.Deliveries()[before:] {
		if d.Action == "opened" {
			t.Error("what vanished is in the log")
		}
	}
	if got := act(githubtest.Fate{Copies: 1}); !slices.Equal(got, []string{opened, opened, labeled, labeled}) {
		t.Errorf("doubled: %v", got)
	}
	if got := act(githubtest.Fate{Hold: true}); !slices.Equal(got, []string{labeled, labeled}) {
		t.Errorf("held: %v", got)
	}
	w.app.ReleaseHeld()
	w.settle()
	if got := names(w.hook.take()); !slices.Equal(got, []string{opened}) {
		t.Errorf("released: %v", got)
	}
	if got := act(githubtest.Fate{Unanswered: true}); !slices.Equal(got, []string{opened, labeled, labeled}) {
		t.Errorf("unanswered: %v", got)
	}
	if a := w.call(w.app.JWT(), "GET", "/app/hook/deliveries?status=failure", nil); a.get("0.status") != "timed out" {
		t.Errorf("the log shows %v for what was received and not answered", a.get("0.status"))
	}
}

func TestOvertakenWebhooksComeLater(t *testing.T) {
	for behind, want := range map[int][]string{
		0: {"opened", "labeled one", "labeled two"},
		1: {"labeled one", "opened", "labeled two"},
		2: {"labeled one", "labeled two", "opened"},
		9: {"labeled one", "labeled two", "opened"},
	} {
		w := newWorld(t)
		w.settle()
		w.hook.take()
		w.app.Fate(func(e githubtest.Event) githubtest.Fate {
			if e.Action == "opened" {
				return githubtest.Fate{Behind: behind}
			}
			if e.Event != "pull_request" {
				return githubtest.Fate{Vanish: true}
			}
			return githubtest.Fate{}
		})
		p := w.open(w.agent, "a")
		w.must(p.Label(w.alice, "one"))
		w.must(p.Label(w.alice, "two"))
		w.settle()
		var got []string
		for _, d := range w.hook.take() {
			var in struct {
				Label struct {
					Name string `json:"name"`
				} `json:"label"`
			}
			w.must(json.Unmarshal(d.body, &in))
			got = append(got, strings.TrimSpace(d.action+" "+in.Label.Name))
		}
		if !slices.Equal(got, want) {
			t.Errorf("behind %d: %v, want %v", behind, got, want)
		}
	}
}
