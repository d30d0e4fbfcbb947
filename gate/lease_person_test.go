package gate_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

const personPolicy = deployPolicy + `  sandbox: {environment: dev, target: dev-db, capability: write, ttl: 5m}
  dev-by-workflow: {environment: dev, target: dev-db, capability: write, workflow: deploy.yml}
  dev-guarded: {environment: dev, target: guarded, capability: write}
  dev-reader: {environment: dev, target: reader, capability: read}
  dev-elsewhere: {environment: dev, target: elsewhere, capability: write}
  dev-away: {environment: dev, target: away, capability: write}
`

// personKeys opens the key cabinet with a target for each reason to refuse.
func personKeys(s *safe) option {
	return func(w *world, c *gate.Config) {
		keys(s)(w, c)
		text := fmt.Sprintf(`targets:
  orders-db: {tier: human, repositories: [%[1]d], environments: [production], token: {audience: orders}}
  dev-db: {tier: auto, repositories: [%[1]d], environments: [dev], token: {audience: dev}}
  guarded: {tier: human, repositories: [%[1]d], environments: [dev], token: {audience: dev}}
  reader: {tier: auto, unattended_read: true, repositories: [%[1]d], environments: [dev], token: {audience: dev}}
  elsewhere: {tier: auto, repositories: [999], environments: [dev], token: {audience: dev}}
  away: {tier: auto, repositories: [%[1]d], environments: [dev], token: {audience: dev}}
`, w.repo.ID)
		targets, problems := rules.LoadTargets("targets.yml", []byte(text))
		if targets == nil {
			w.t.Fatal(problems)
		}
		c.Keys.Targets = targets
		c.Keys.Providers = map[string]broker.Provider{"orders-db": s, "dev-db": s, "guarded": s, "reader": s, "elsewhere": s}
	}
}

func person(u *githubtest.User) rules.PersonToken {
	return rules.PersonToken{Person: rules.Actor{ID: rules.AccountID(u.ID), Login: rules.Login(u.Login()), Type: rules.ActorType(u.Type)}}
}

// ask asks as a person; the code is empty if it was given.
func (w *world) ask(t rules.PersonToken, where jobs.Place, credential string) (jobs.Given, string) {
	w.t.Helper()
	given, err := w.gate.PersonLease(w.t.Context(), t, where, credential)
	var refused *jobs.Refusal
	switch {
	case err == nil:
		return given, ""
	case errors.Is(err, jobs.ErrNotServed):
		return given, "not served"
	case errors.As(err, &refused):
		return given, refused.Code
	default:
		w.t.Fatalf("asking for %s: %v", credential, err)
		return given, ""
	}
}

func TestPersonLease(t *testing.T) {
	s := &safe{}
	w := deploys(t, personPolicy, personKeys(s))
	orders := jobs.Place{FullName: "Acme/Orders"}
	given, code := w.ask(person(w.alice), orders, "sandbox")
	if code != "" || given.Environment != "dev" || given.Values["token"] == "" || !given.ExpiresAt.Equal(w.clock.Now().Add(5*time.Minute)) {
		t.Fatalf("%s %+v", code, given.ExpiresAt)
	}
	if l := s.last; l.Person != rules.AccountID(w.alice.ID) || l.Run != 0 || l.Job != 0 || l.SHA != "" || l.ApprovalID != "" || l.PolicyDigest == "" ||
		l.Owner != rules.AccountID(w.acme.ID) || l.Repository != rules.RepositoryID(w.repo.ID) {
		t.Errorf("the provider got %+v", l)
	}
	if err := w.gate.EndLease(t.Context(), given.ID, "another"); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("another secret ends it: %v", err)
	}
	for range 2 {
		must(t, w.gate.EndLease(t.Context(), given.ID, given.Secret))
	}
	if alive, _ := s.count(); alive != 0 {
		t.Error("it lives on")
	}
	// A person may ask again, by the id too; the deadline ends it.
	if _, code := w.ask(person(w.alice), jobs.Place{ID: rules.RepositoryID(w.repo.ID)}, "sandbox"); code != "" {
		t.Fatal(code)
	}
	w.clock.Advance(5 * time.Minute)
	must(t, w.gate.EndLeases(t.Context()))
	if alive, _ := s.count(); alive != 0 {
		t.Error("it lives on after its deadline")
	}
	// With all others it ends by command.
	if _, code := w.ask(person(w.alice), orders, "sandbox"); code != "" {
		t.Fatal(code)
	}
	if n, left, err := w.gate.RevokeAll(t.Context(), "an incident", "carol"); n != 1 || len(left) != 0 || err != nil {
		t.Errorf("%d, %d left, %v", n, len(left), err)
	}
	w.verify()
}

// Each of these tries to get in.
func TestPersonLeaseRefused(t *testing.T) {
	s := &safe{}
	w := deploys(t, personPolicy, personKeys(s))
	orders := jobs.Place{FullName: "acme/orders"}
	mallory := w.g.User("mallory")
	private := w.g.Repository(w.g.Organization("evil"), "orders")
	w.app.Install(w.g.Organization("evil"))
	w.settle()
	as := func(u *githubtest.User, change func(*rules.PersonToken)) rules.PersonToken {
		p := person(u)
		change(&p)
		return p
	}
	for _, x := range []struct {
		name, credential string
		who              rules.PersonToken
		where            jobs.Place
		want             string
	}{
		{"production", "orders-migrator", person(w.alice), orders, "SP645"},
		{"production by its approver", "orders-migrator", person(w.bob), orders, "SP645"},
		{"production by the organisation's owner", "orders-migrator", person(w.carol), orders, "SP645"},
		{"a human target although the policy's gate is auto", "dev-guarded", person(w.alice), orders, "SP645"},
		{"an unattended reader", "dev-reader", person(w.alice), orders, "SP647"},
		{"a workflow's", "dev-by-workflow", person(w.alice), orders, "SP649"},
		{"a target of another repository", "dev-elsewhere", person(w.alice), orders, "SP644"},
		{"a target without a provider", "dev-away", person(w.alice), orders, "no-provider"},
		{"what nobody names", "root", person(w.alice), orders, "SP601"},
		{"a reader", "sandbox", person(w.eve), orders, "SP643"},
		{"who may not see it is told what one is told of nothing", "sandbox", person(mallory), orders, "not served"},
		{"the login of another id", "sandbox", as(w.alice, func(p *rules.PersonToken) { p.Person.ID = rules.AccountID(mallory.ID) }), orders, "not served"},
		{"the id with another's login", "sandbox", as(mallory, func(p *rules.PersonToken) { p.Person.Login = "alice" }), orders, "not served"},
		{"a login that nobody has", "sandbox", as(w.alice, func(p *rules.PersonToken) { p.Person.Login = "nobody" }), orders, "not served"},
		{"a bot with write access", "sandbox", person(w.agent), orders, "SP642"},
		{"an organisation that is not served", "sandbox", person(w.alice), jobs.Place{FullName: "evil/orders"}, "not served"},
		{"its id", "sandbox", person(w.alice), jobs.Place{ID: rules.RepositoryID(private.ID)}, "not served"},
		{"a repository that is not there", "sandbox", person(w.alice), jobs.Place{FullName: "acme/nothing"}, "not served"},
		{"an id that is not there", "sandbox", person(w.alice), jobs.Place{ID: 1}, "not served"},
		{"a lookalike", "sandbox", person(w.alice), jobs.Place{FullName: "acme/orders "}, "not served"},
	} {
		if _, code := w.ask(x.who, x.where, x.credential); code != x.want {
			t.Errorf("%s: %q, want %q", x.name, code, x.want)
		}
	}
	if _, made := s.count(); made != 0 {
		t.Errorf("%d credentials were made", made)
	}
	// A collaborator who was removed has no access from that moment on.
	if _, code := w.ask(person(w.dave), orders, "sandbox"); code != "" {
		t.Fatalf("before: %s", code)
	}
	w.repo.Collaborator(w.dave, "none")
	if _, code := w.ask(person(w.dave), orders, "sandbox"); code == "" {
		t.Error("a removed collaborator was given a credential")
	}
	// Only those who may write leave a trace in the ledger: everybody else could fill it.
	before := w.verify()
	for range 5 {
		w.ask(person(mallory), orders, "sandbox")
		w.ask(person(w.eve), orders, "orders-migrator")
	}
	if after := w.verify(); after != before {
		t.Errorf("strangers wrote %d entries into the ledger", after-before)
	}
	w.ask(person(w.alice), orders, "orders-migrator")
	if after := w.verify(); after != before+1 {
		t.Errorf("%d entries for a refusal, want 1", after-before)
	}
}

// Who renames, or takes a name that was another's, gets nothing by it.
func TestPersonLeaseOfARenamedRepository(t *testing.T) {
	s := &safe{}
	w := deploys(t, personPolicy, personKeys(s))
	w.repo.Rename(w.carol, "shop")
	// mallory is an admin of what has the old name now.
	mallory := w.g.User("mallory")
	again := w.g.Repository(w.acme, "orders")
	again.Collaborator(mallory, "admin")
	given, err := w.gate.PersonLease(t.Context(), person(mallory), jobs.Place{FullName: "acme/orders"}, "sandbox")
	if err == nil {
		t.Errorf("given %s", given.ID)
	}
	w.settle()
	for name, who := range map[string]*githubtest.User{"acme/orders": mallory, "acme/shop": mallory} {
		if _, code := w.ask(person(who), jobs.Place{FullName: name}, "sandbox"); code == "" {
			t.Errorf("%s is given to whoever owns the old name", name)
		}
	}
	if _, code := w.ask(person(w.alice), jobs.Place{FullName: "acme/shop"}, "sandbox"); code != "" {
		t.Errorf("under its new name: %s", code)
	}
}

// A person has five at once, whatever they ask and however fast.
func TestPersonLeaseLimit(t *testing.T) {
	s := &safe{}
	w := deploys(t, personPolicy, personKeys(s))
	orders := jobs.Place{FullName: "acme/orders"}
	var all sync.WaitGroup
	var mu sync.Mutex
	given, many := []jobs.Given{}, 0
	for range 30 {
		all.Go(func() {
			g, err := w.gate.PersonLease(context.WithoutCancel(t.Context()), person(w.alice), orders, "sandbox")
			var refused *jobs.Refusal
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				given = append(given, g)
			case errors.As(err, &refused) && refused.Code == "SP648":
				many++
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if alive, made := s.count(); alive != rules.MaxPersonLeases || made != alive || len(given) != alive || many != 30-alive {
		t.Errorf("%d alive, %d made, %d given, %d refused", alive, made, len(given), many)
	}
	// Another person has their own, and what ended makes room.
	if _, code := w.ask(person(w.dave), orders, "sandbox"); code != "" {
		t.Errorf("another person: %s", code)
	}
	must(t, w.gate.EndLease(t.Context(), given[0].ID, given[0].Secret))
	if _, code := w.ask(person(w.alice), orders, "sandbox"); code != "" {
		t.Errorf("after one ended: %s", code)
	}
	if _, code := w.ask(person(w.alice), orders, "sandbox"); code != "SP648" {
		t.Errorf("the sixth: %q", code)
	}
}

// The organisation's floor has its say.
func TestPersonLeaseFloor(t *testing.T) {
	s := &safe{}
	w := deploys(t, personPolicy, personKeys(s))
	orders := jobs.Place{FullName: "acme/orders"}
	floor := w.g.Repository(w.acme, ".github")
	floor.CommitTo(w.carol, "main", "Add the floor", map[string]string{rules.FloorPath: "version: 1\nreviewers: [acme/sre]\nenvironments:\n  dev: {gate: human}\n  production: {gate: human}\n"})
	w.settle()
	w.adopt("acme/.github")
	w.settle()
	if _, code := w.ask(person(w.alice), orders, "sandbox"); code != "SP646" {
		t.Errorf("under a floor that gates dev: %q", code)
	}
	if _, made := s.count(); made != 0 {
		t.Error("it was made")
	}
}

// A lease that was revoked while it was made is given to nobody.
func TestPersonLeaseRevokedWhileMade(t *testing.T) {
	s := &safe{slow: 300 * time.Millisecond}
	w := deploys(t, personPolicy, personKeys(s))
	code := make(chan string, 1)
	go func() {
		_, err := w.gate.PersonLease(context.WithoutCancel(t.Context()), person(w.alice), jobs.Place{FullName: "acme/orders"}, "sandbox")
		var refused *jobs.Refusal
		if errors.As(err, &refused) {
			code <- refused.Code
			return
		}
		code <- fmt.Sprint(err)
	}()
	var made []store.Lease
	for end := time.Now().Add(10 * time.Second); len(made) == 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var err error
		made, err = w.store.Leases(t.Context())
		must(t, err)
	}
	_, _, err := w.gate.RevokeAll(t.Context(), "an incident", "carol")
	must(t, err)
	if got := <-code; got != "lease-ended" {
		t.Errorf("%q", got)
	}
	if alive, _ := s.count(); alive != 0 {
		t.Error("it lives on")
	}
}
