package setup_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/cmd/sallyport-app/setup"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/rules"
)

func TestCheck(t *testing.T) {
	var status atomic.Int64
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	defer hook.Close()
	g := githubtest.Start(t)
	acme, carol := g.Organization("acme"), g.User("carol")
	app := g.App(githubtest.AppConfig{Slug: "sallyport", Owner: acme, Permissions: github.PermissionLevels(false), Events: github.Events(), WebhookURL: hook.URL, Secret: "s"})
	key, err := github.ParseKey(app.KeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	client, err := github.New(github.Config{App: rules.AppID(app.ID), Key: key, BaseURL: g.URL()})
	if err != nil {
		t.Fatal(err)
	}
	places, err := setup.Locate("", "")
	if err != nil {
		t.Fatal(err)
	}
	check := func(ok bool, words ...string) {
		t.Helper()
		if err := g.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err := setup.Checker{GitHub: client, Places: places, URL: "https://sallyport.test", Out: &out, Every: 10 * time.Millisecond, Wait: time.Second}.Check(t.Context())
		if (err == nil) != ok {
			t.Errorf("the check ends with %v:\n%s", err, out.String())
		}
		for _, w := range words {
			if !strings.Contains(out.String(), w) {
				t.Errorf("it does not say %q:\n%s", w, out.String())
			}
		}
	}
	check(false, "Installed nowhere yet: https://github.com/apps/sallyport/installations/new", "GitHub sent none")
	status.Store(202)
	in := app.Install(acme)
	check(true, "App       sallyport", "Installed on acme (all repositories)", `reach https://sallyport.test: "installation.created" was answered with 202`)
	// What was reached once is asked for again each time.
	for code, words := range map[int64]string{401: "another webhook secret", 404: "lead /webhooks/github to it", 302: "follows nobody", 502: "the server does not", 418: "server's log"} {
		status.Store(code)
		check(false, "do not reach", words)
	}
	hook.Close()
	check(false, `status 0, "failed to connect to host"`, "port 443")
	app.Fate(func(githubtest.Event) githubtest.Fate { return githubtest.Fate{Hold: true} })
	check(false, "did not do so in 1s")
	app.Fate(nil)
	may := github.PermissionLevels(false)
	delete(may, "members")
	in.Permit(carol, may)
	check(false, "members: read is missing", "an owner of acme has to accept it")
	in.Suspend(carol)
	check(false, "suspended")
}
