package main

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

// While GitHub does not answer for one repository, another's pull request is judged at
// once, however much waits for the first.
func TestOneRepositoryHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow := w.g.Repository(w.g.Organization("acme"), "slow")
	slow.CommitTo(w.alice, "main", "Add the policy", map[string]string{rules.PolicyPath: policy})
	for _, name := range []string{"acme/orders", "acme/slow"} {
		if code, _, stderr := w.run("adopt", name, "--yes"); code != ExitOK {
			t.Fatal(stderr)
		}
	}
	stop := w.serve()
	open := func(r *githubtest.Repository) (*githubtest.Pull, []byte) {
		t.Helper()
		r.CommitTo(w.alice, "fix", "Fix it", map[string]string{"main.go": "package main\n"})
		p, err := r.OpenPull(w.alice, githubtest.PullSpec{Head: "fix", Title: "Fix it"})
		if err != nil {
			t.Fatal(err)
		}
		orders := w.repo
		defer func() { w.repo = orders }()
		w.repo = r
		return p, w.payload(p)
	}
	p, body := open(w.repo)
	_, other := open(slow)
	w.g.Fail(githubtest.Fault{Kind: githubtest.Hang, Times: -1, When: func(q githubtest.Request) bool {
		return strings.Contains(q.Path, "/acme/slow") || strings.Contains(string(q.Body), `"slow"`)
	}})
	defer w.g.Heal()
	for n := range 20 {
		text := strings.ReplaceAll(string(other), `"number":1`, `"number":`+strconv.Itoa(n+1))
		if got := w.deliver("pull_request", "s3cret", []byte(text)); got != http.StatusAccepted {
			t.Fatalf("a delivery: %d, want 202", got)
		}
	}
	time.Sleep(500 * time.Millisecond) // they are looked at
	begun := time.Now()
	if got := w.deliver("pull_request", "s3cret", body); got != http.StatusAccepted {
		t.Fatalf("a delivery: %d, want 202", got)
	}
	w.until("the other repository's pull request has its check", func() bool { return w.repo.CheckRun(p.Head(), "sallyport") != nil })
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it was judged after %s", took)
	}
	if code, log := stop(); code != ExitOK {
		t.Errorf("exit %d:\n%s", code, log)
	}
}
