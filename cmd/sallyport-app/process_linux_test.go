package main

import (
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// limitFiles has no file grow longer than a number of bytes, as a full disk does.
func limitFiles(bytes string) error {
	if bytes == "" {
		return nil
	}
	n, err := strconv.ParseUint(bytes, 10, 64)
	if err != nil {
		return err
	}
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n})
}

// With a full disk deliveries are refused, it says that it is not ready, and it does not
// fill the log as well by asking for its work all the time.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if code, _, stderr := w.run("adopt", "acme/orders", "--yes"); code != ExitOK {
		t.Fatal(stderr)
	}
	w.env[fileLimit] = "350000"
	p := w.process()
	w.g.Fail(githubtest.Fault{Kind: githubtest.ServerError, Times: -1})
	defer w.g.Heal()
	w.repo.CommitTo(w.alice, "fix", "Fix it", map[string]string{"main.go": "package main\n"})
	pull, err := w.repo.OpenPull(w.alice, githubtest.PullSpec{Head: "fix", Title: "Fix it"})
	if err != nil {
		t.Fatal(err)
	}
	// The deliveries differ by a member that nobody reads.
	body := strings.TrimSuffix(string(w.payload(pull)), "}")
	n := 0
	w.until("a delivery is refused", func() bool {
		n++
		return w.deliver("pull_request", "s3cret", []byte(body+`,"n":`+strconv.Itoa(n)+"}")) == http.StatusServiceUnavailable
	})
	w.until("it is not ready", func() bool { return strings.HasPrefix(w.body("/readyz"), "503\nthe database cannot be written") })
	before := strings.Count(p.log.String(), "work cannot be taken")
	time.Sleep(2 * time.Second)
	if got := strings.Count(p.log.String(), "work cannot be taken") - before; got > 50 {
		t.Errorf("it said %d times in two seconds that no work can be taken:\n%.4000s", got, p.log)
	}
	if got := w.get("/healthz"); got != http.StatusOK {
		t.Errorf("alive: %d", got)
	}
	p.signal(syscall.SIGTERM)
	if code, _ := p.end(20 * time.Second); code != ExitOK {
		t.Errorf("exit %d:\n%.4000s", code, p.log)
	}
}
