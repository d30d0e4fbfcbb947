package gate_test

import (
	"strings"
	"testing"
	"time"
)

// A click that GitHub does not confirm is asked for again, but less and less often:
// whoever has the webhook's secret must not be able to use up the App's requests.
func TestAForgedClickIsAskedForLessAndLess(t *testing.T) {
	t.Parallel()
	w := deploys(t, plainDeploy)
	d := w.deploy("production")
	asked := func() (n int) {
		for _, q := range w.g.Requests() {
			if strings.HasPrefix(q.Path, "/app/hook/deliveries") {
				n++
			}
		}
		return n
	}
	before := asked()
	w.fake("check_run", "%s", d.pressed(w.said(w.rose)))
	w.calm(80 * time.Second)
	if n := asked() - before; n > 15 {
		t.Errorf("in 90 seconds GitHub was asked %d times, want at most 15", n)
	}
	d.want("waiting", "", "SP522")
	d.click(w.bob, "approve")
	d.want("in_progress", "approved")
}

// A held job whose repository was renamed, with another under its old name, is
// released by a click that comes at once.
func TestRenamedWhileHeld(t *testing.T) {
	t.Parallel()
	w := deploys(t, plainDeploy)
	d := w.deploy("production")
	w.repo.Rename(w.carol, "orders-old")
	w.g.Repository(w.acme, "orders")
	d.click(w.rose, "approve")
	d.want("in_progress", "approved", "SP527")
}
