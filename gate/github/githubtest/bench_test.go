package githubtest_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

// BenchmarkWebhooks is what one event costs: rendered, compressed, logged, not sent.
func BenchmarkWebhooks(b *testing.B) {
	key, err := testKey()
	if err != nil {
		b.Fatal(err)
	}
	clock := githubtest.NewClock(time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC))
	g := githubtest.Start(b, githubtest.Config{Now: clock.Now})
	alice, acme := g.User("alice"), g.Organization("acme")
	repo := g.Repository(acme, "orders")
	repo.Collaborator(alice, "write")
	app := g.App(githubtest.AppConfig{Slug: "sallyport", Permissions: permissions(), Events: events(), Key: key})
	app.Install(acme, repo)
	repo.CommitTo(alice, "a", "Work", map[string]string{"a": "a"})
	p, err := repo.OpenPull(alice, githubtest.PullSpec{Head: "a", Title: "x"})
	if err != nil {
		b.Fatal(err)
	}
	for n := 0; b.Loop(); n++ {
		if err := p.Label(alice, strconv.Itoa(n%20)); err != nil {
			b.Fatal(err)
		}
		if err := p.Unlabel(alice, strconv.Itoa(n%20)); err != nil {
			b.Fatal(err)
		}
	}
}
