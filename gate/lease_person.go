package gate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// personRequest is one person's request for a credential while it is judged.
type personRequest struct {
	person     rules.Actor
	credential string
	at         *place
	policies   rules.Policies
	decision   rules.Decision
	id         string // of the decision
	// row is the lease that it would be.
	row  store.Lease
	life time.Duration
	// write says that the person may write to the repository; outsider that nobody says
	// that they may even see it.
	write    rules.Tri
	outsider bool
}

// PersonLease gives a person a credential outside any job: one of a target of tier auto,
// of an environment that no policy gates, while GitHub says that the person may write to
// the repository. Nothing but a pipeline job ever gets more.
//
// It ends by DELETE with its secret, by its deadline, when the repository goes out of
// reach, or with all others; not when the person loses access to the repository, which
// is asked for when it is given.
func (g *Gate) PersonLease(ctx context.Context, t rules.PersonToken, where jobs.Place, credential string) (jobs.Given, error) {
	if g.cfg.Keys == nil {
		return jobs.Given{}, &jobs.Refusal{Status: http.StatusNotFound, Code: "no-targets", Text: "This server gives no credentials: it has no SALLYPORT_TARGETS_FILE with targets."}
	}
	x, err := g.personRequest(ctx, t, where, credential)
	if err != nil {
		return jobs.Given{}, err
	}
	if x.decision.Verdict != rules.VerdictAllow {
		return jobs.Given{}, g.refusePerson(ctx, x)
	}
	given, err := g.mint(ctx, minting{
		judged: x.judged(), fullName: x.at.fullName, life: x.life, row: x.row, personal: x.personal(),
		lease: func(row store.Lease) broker.Lease {
			l := g.brokered(x.at.fullName, row, nil)
			l.Owner, l.PolicyDigest = x.at.installation.Account, x.policies.Repository.Policy.Digest()
			return l
		},
	})
	if errors.Is(err, store.ErrTooMany) {
		x.decision = rules.TooManyLeases(x.decision, x.person.Login)
		return jobs.Given{}, g.refusePerson(ctx, x)
	}
	return given, err
}

// personRequest reads the facts of a person's request and judges it.
func (g *Gate) personRequest(ctx context.Context, t rules.PersonToken, where jobs.Place, credential string) (*personRequest, error) {
	x := &personRequest{person: t.Person, credential: credential}
	if err := g.findPlace(ctx, x, where); err != nil {
		return nil, err
	}
	level, id, err := x.at.Permission(ctx, t.Person.Login)
	switch {
	case errors.Is(err, github.ErrNotFound), err == nil && id != t.Person.ID:
		x.write, x.outsider = rules.No, true // the login is nobody's, or another's by now
	case err != nil:
		return nil, fmt.Errorf("asking what a person may do: %w", err)
	default:
		x.write, x.outsider = rules.TriOf(level == "write" || level == "maintain" || level == "admin"), level == "none"
	}
	seen, err := g.repositoryData(ctx, x.at.id)
	if err != nil {
		return nil, err
	}
	if x.policies, err = g.policiesOf(ctx, x.at, seen.Files[rules.PolicyPath].State); err != nil {
		return nil, err
	}
	live, err := g.cfg.Store.LeasesOfPerson(ctx, t.Person.ID)
	if err != nil {
		return nil, err
	}
	x.decision = rules.DecidePersonLease(x.policies, g.cfg.Keys.Targets, &rules.PersonLeaseRequest{
		Credential: credential, Verified: rules.Yes, Person: t.Person, Repository: x.at.id, Installed: rules.Yes, Write: x.write, Live: len(live), Now: g.cfg.Now(),
	})
	x.id = decisionID(repositoryKey(x.at.id), rules.SHA("person-lease/"+rand.Text()), x.policies, x.decision)
	x.row = store.Lease{Repository: x.at.id, Person: t.Person.ID, Credential: credential, Decision: x.id}
	x.life = defaultLife
	if p := x.policies.Repository.Policy; p != nil && p.Credentials[credential] != nil {
		k := p.Credentials[credential]
		x.row.Target, x.row.Capability = k.Target, k.Capability
		x.row.Environment = rules.PersonEnvironment(p, credential, g.cfg.Keys.Targets.Targets[k.Target])
		if k.TTL > 0 {
			x.life = time.Duration(k.TTL)
		}
	}
	return x, nil
}

// findPlace finds the repository that a person names, which must be one that is served
// and be on GitHub under the name that is known here.
func (g *Gate) findPlace(ctx context.Context, x *personRequest, where jobs.Place) error {
	id := where.ID
	if id == 0 {
		var err error
		if id, err = g.named(ctx, where.FullName); err != nil {
			return err
		}
	}
	var err error
	if x.at, err = g.place(ctx, store.Work{Key: repositoryKey(id)}); err != nil {
		if errors.Is(err, errNotServed) {
			err = jobs.ErrNotServed
		}
		return err
	}
	info, err := x.at.Info(ctx)
	switch {
	case errors.Is(err, github.ErrNotFound):
		if err := g.renamed(ctx, x.at); err != nil {
			return err
		}
		return jobs.ErrNotServed
	case err != nil:
		return err
	case info.ID != x.at.id:
		return g.moved(ctx, x.at, info.ID)
	}
	return nil
}

// named is the id of the repository that has a name here. It asks GitHub nothing.
func (g *Gate) named(ctx context.Context, fullName string) (rules.RepositoryID, error) {
	all, err := g.cfg.Store.Installations(ctx)
	if err != nil {
		return 0, err
	}
	for _, in := range all {
		repos, err := g.cfg.Store.Repositories(ctx, in.ID)
		if err != nil {
			return 0, err
		}
		for _, r := range repos {
			if strings.EqualFold(r.FullName, fullName) {
				return r.ID, nil
			}
		}
	}
	return 0, jobs.ErrNotServed
}

func (x *personRequest) judged() judged {
	return judged{id: x.id, decision: x.decision, policies: x.policies, subject: ledger.Subject{
		Repository: x.at.id, Environment: x.row.Environment, Key: "credential:" + x.credential,
	}}
}

// personal says in the ledger who asked.
func (x *personRequest) personal() map[string]any { return map[string]any{"person": x.person} }

// refusePerson records a refusal and says it. Of those who may not write to the
// repository, which is everybody, only the log tells: they cannot fill the ledger. Who
// may not even see the repository is told what one is told that is not served.
func (g *Gate) refusePerson(ctx context.Context, x *personRequest) error {
	r := firstRefusal(x.decision)
	g.cfg.Log.InfoContext(ctx, "credential refused to a person", slog.String("repository", x.at.fullName), slog.String("credential", x.credential), slog.Int64("person", int64(x.person.ID)),
		slog.String("code", string(r.Code)), slog.String("why", r.Text), slog.String("decision", x.id))
	if x.outsider {
		return jobs.ErrNotServed
	}
	if x.write == rules.Yes {
		entry := g.decisionEntry(x.judged())
		entry.Personal["person"] = x.person
		if err := g.write(ctx, []ledger.Entry{entry}, func(*store.Tx) error { return nil }); err != nil {
			return fmt.Errorf("recording a refusal: %w", err)
		}
	}
	return &jobs.Refusal{Status: http.StatusForbidden, Code: string(r.Code), Text: r.Text + "."}
}
