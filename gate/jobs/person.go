package jobs

import (
	"context"
	"crypto/sha256"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	xrate "golang.org/x/time/rate"

	"github.com/sallyport/sallyport/rules"
)

// People verifies a user's token.
type People interface {
	// Person returns whose a token is, if that person gave it to this App. A
	// *[rules.TokenRefused] is the caller's fault; any other error means that it cannot
	// be told now. It asks GitHub each time, and is called by many at once.
	Person(ctx context.Context, token string) (rules.PersonToken, error)
}

// PersonLeaser gives credentials to people, as a [Leaser] does to jobs.
type PersonLeaser interface {
	// PersonLease gives a credential of the policy's of a repository, which is named by
	// its id or, where that is 0, by "owner/name". Its errors are those of
	// [Leaser.Lease].
	PersonLease(ctx context.Context, t rules.PersonToken, where Place, credential string) (Given, error)
}

// Place is a repository as a person names it.
type Place struct {
	ID rules.RepositoryID
	// FullName is "owner/name"; empty where ID is given.
	FullName string
}

const (
	// whosePersonToken is the bearer of what a person asks.
	whosePersonToken = "the token of sallyport login"
	// newTokens is how many tokens that GitHub did not know a moment ago are asked
	// about in a minute, whoever shows them. GitHub answers an App 5,000 times an hour:
	// whoever sends random tokens must not use that up.
	newTokens = 60
	// maxKnown is how many tokens are remembered that GitHub knew.
	maxKnown = 8192
	// knownTime is how long they are: a user's token lives eight hours.
	knownTime = 8 * time.Hour
)

// people is what is kept of those who ask for themselves.
type people struct {
	verifier People
	leaser   PersonLeaser
	all      *rate[rules.AccountID]
	sources  *rate[string]
	fresh    *xrate.Limiter

	// mu guards known: when GitHub knew a token, by its SHA-256. It only says whose
	// requests are not counted as those of strangers: GitHub is asked all the same.
	mu    sync.Mutex
	known map[[sha256.Size]byte]time.Time
}

func newPeople(verifier People, leaser PersonLeaser) *people {
	if verifier == nil || leaser == nil {
		return nil
	}
	return &people{
		verifier: verifier, leaser: leaser, all: newRate[rules.AccountID](), sources: newRate[string](),
		fresh: xrate.NewLimiter(xrate.Every(time.Minute/newTokens), newTokens), known: map[[sha256.Size]byte]time.Time{},
	}
}

// ask is the body of a request for a lease: a job's form, or a person's with the
// repository.
type ask struct {
	Credential   string              `json:"credential"`
	Repository   *string             `json:"repository"`
	RepositoryID *rules.RepositoryID `json:"repository_id"`
}

// isPersons reports whether the body is a person's form: the body alone says so, and
// each form takes its own kind of token only.
func (a *ask) isPersons() bool { return a.Repository != nil || a.RepositoryID != nil }

// mayBeJobs reports whether a bearer has the form of a job's token, a JSON Web Token.
// Tokens of installations have one behind GitHub's prefix.
func mayBeJobs(raw string) bool { return strings.Count(raw, ".") == 2 && !strings.HasPrefix(raw, "gh") }

// place is the repository that the body names.
func (a *ask) place() (Place, *problem) {
	bad := refuseWith(http.StatusBadRequest, "repository", `want either "repository": "OWNER/NAME" or "repository_id": a number`)
	switch {
	case a.Repository != nil && a.RepositoryID != nil:
		return Place{}, bad
	case a.RepositoryID != nil && *a.RepositoryID > 0:
		return Place{ID: *a.RepositoryID}, nil
	case a.Repository != nil && isFullName(*a.Repository):
		return Place{FullName: *a.Repository}, nil
	default:
		return Place{}, bad
	}
}

// isFullName reports whether s is an owner and a name as GitHub has them.
func isFullName(s string) bool {
	owner, name, ok := strings.Cut(s, "/")
	return ok && owner != "" && len(owner) <= 100 && strings.Trim(owner, letters) == "" &&
		name != "" && len(name) <= 100 && strings.Trim(name, letters+".") == "" && name != "." && name != ".."
}

// givePerson gives a credential to whose token it is, or says what is in the way.
func (h *leases) givePerson(w http.ResponseWriter, r *http.Request, raw string, a *ask) *problem {
	if h.people == nil {
		return loginOff()
	}
	where, p := a.place()
	if p != nil {
		return p
	}
	ctx, cancel := context.WithTimeout(r.Context(), leaseTime)
	defer cancel()
	token, p := h.people.authenticate(ctx, r, raw, h.now())
	if p != nil {
		return p
	}
	given, err := h.people.leaser.PersonLease(ctx, token, where, a.Credential)
	if err != nil {
		return h.problem(err, "there is no such credential for you", "the store, GitHub or the target cannot be reached now; nothing was given")
	}
	return h.hand(w, r, given, a.Credential)
}

// authenticate asks GitHub whose a token is, and counts the request: for a token that
// is new here by its source and for everybody together, then by the person.
func (p *people) authenticate(ctx context.Context, r *http.Request, raw string, now time.Time) (rules.PersonToken, *problem) {
	sum := sha256.Sum256([]byte(raw))
	if !p.isKnown(sum, now) {
		wait := p.sources.take(source(r.RemoteAddr), now)
		if wait > 0 {
			return rules.PersonToken{}, tooOften("tokens that are new here came from this address", "wait, or ask with one that was taken before", wait)
		}
		if !p.fresh.AllowN(now, 1) {
			q := refuseWith(http.StatusTooManyRequests, "rate", "many tokens that are new here are shown at this moment, so that GitHub is not asked about this one: come back in a moment")
			q.retry = downAfter
			return rules.PersonToken{}, q
		}
	}
	token, err := p.verifier.Person(ctx, raw)
	p.remember(sum, err == nil, now)
	if err != nil {
		var refused *rules.TokenRefused
		if errors.As(err, &refused) {
			q := refuseWith(http.StatusUnauthorized, refused.Code, refused.Text)
			q.challenge = `Bearer error="invalid_token"`
			return rules.PersonToken{}, q
		}
		return rules.PersonToken{}, down("github-unavailable", "the token cannot be verified now: GitHub cannot be asked whose it is", err)
	}
	if wait := p.all.take(token.Person.ID, now); wait > 0 {
		return rules.PersonToken{}, tooOften("you asked", "a credential that you have can be used until its deadline", wait)
	}
	return token, nil
}

func (p *people) isKnown(sum [sha256.Size]byte, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.known[sum]
	return ok && now.Sub(at) < knownTime
}

// remember keeps that GitHub knew a token, or forgets it.
func (p *people) remember(sum [sha256.Size]byte, knew bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !knew {
		delete(p.known, sum)
		return
	}
	if len(p.known) >= maxKnown {
		clear(p.known)
	}
	p.known[sum] = now
}

// source is where a request comes from, as far as its connection says: an address, or
// the network of 64 bits that one asker of IPv6 has to choose from.
func source(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		if network, err := ip.Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}
