package jobs

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/rules"
)

const (
	// LeasesPath is where credentials are asked for; a lease's own path is
	// LeasesPath/ID.
	LeasesPath = "/v1/leases"

	// leaseTime is how long giving or ending a credential may take: GitHub and the
	// target are asked. The server's own limit for an answer is longer.
	leaseTime = 20 * time.Second
	// maxName is the longest name of a credential that is asked for. Policies have
	// shorter ones.
	maxName = 100
)

// Leaser gives credentials and ends them. Its methods are called by many at once.
//
// Their errors: [ErrNotServed] and [ErrNotFound], a *[Refusal] for what the job
// cannot have; any other means that something is down. None has anything of a token,
// a secret or a value in it: they are logged.
type Leaser interface {
	// Lease gives a credential of the policy's to the token's job. After an error
	// nothing that it made is of use to anybody for long: the leaser ends it.
	Lease(ctx context.Context, t rules.JobToken, credential string) (Given, error)
	// EndLease ends a lease: nil means that surely nothing of it is alive any more,
	// also when it had ended before. It is [ErrNotFound] both for an id that there is
	// not and for a secret that is not the lease's, after about the same time, so that
	// nobody learns which leases there are.
	EndLease(ctx context.Context, id, secret string) error
}

// LeasesConfig is what a handler of leases works with.
type LeasesConfig struct {
	// Verifier and Leaser are required.
	Verifier Verifier
	Leaser   Leaser
	// People and PersonLeaser give credentials to people outside any job. Without both
	// there are none for them.
	People       People
	PersonLeaser PersonLeaser
	// ReadTimeout is how long a body may take to arrive; 0 is [DefaultReadTimeout].
	ReadTimeout time.Duration
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
	// Log is told of refusals, never of a token, a secret or a value. Nil is silence.
	Log *slog.Logger
}

type leases struct {
	surface
	leaser Leaser
	// ends counts requests to end each lease, also one that there is not. Whoever
	// knows the id of another's lease can use them up, and so delay its end by the
	// job; the end of the job, and the deadline, end it nonetheless.
	ends   *rate[string]
	people *people // nil without any
}

// NewLeases makes the handler of [LeasesPath] and what is below it.
//
// The answers: 201 (POST) with a [Given], 204 (DELETE) once nothing of the lease is
// alive, again and again; 400 a body or query that is not wanted; 401 no token or
// secret, or a token that is refused; 404 a repository that is not served, or no such
// lease with this secret; 405 another method; 408 the body did not come in time; 413
// and 415 a body that is too large or not JSON; 429 too often; 503 the issuer, the
// store, GitHub or the target is down. Any other 4xx is the leaser's.
func NewLeases(cfg LeasesConfig) (http.Handler, error) {
	h := &leases{
		surface: surface{
			thing: "lease", path: LeasesPath, below: http.MethodDelete, want: `{"credential": "NAME"}`, often: "each of its credentials is given once",
			verifier: cfg.Verifier, readTimeout: cfg.ReadTimeout, now: cfg.Now, log: cfg.Log,
		},
		leaser: cfg.Leaser, ends: newRate[string](), people: newPeople(cfg.People, cfg.PersonLeaser),
	}
	if cfg.Leaser == nil {
		return nil, errors.New("leases: no leaser")
	}
	if err := h.complete(); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *leases) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, p := h.route(r)
	if p == nil && r.URL.RawQuery != "" {
		p = refuseWith(http.StatusBadRequest, "query", "want no query; a token goes into the Authorization header")
	}
	switch {
	case p != nil:
	case id == "":
		p = h.give(w, r)
	default:
		p = h.end(w, r, id)
	}
	if p != nil {
		h.refuse(w, r, p)
	}
}

// give writes a credential, or says what is in the way.
func (h *leases) give(w http.ResponseWriter, r *http.Request) *problem {
	raw, p := bearer(r.Header, "token-missing", whoseToken+" or "+whosePersonToken)
	if p != nil {
		return p
	}
	// The body says which form it is. Only what may be a job's token is verified before
	// anything of the body is read.
	var token rules.JobToken
	job := mayBeJobs(raw)
	if job {
		if token, p = h.verify(r, raw); p != nil {
			return p
		}
	}
	var a ask
	if p := h.read(w, r, &a); p != nil {
		return p
	}
	switch {
	case job && a.isPersons():
		p := refuseWith(http.StatusUnauthorized, rules.PersonTokenForm, "a job's token gives nothing to a person: a job asks without a repository, which its token names")
		p.challenge = `Bearer error="invalid_token"`
		return p
	case !job && !a.isPersons():
		if token, p = h.verify(r, raw); p != nil {
			return p
		}
	}
	if !isName(a.Credential) {
		return refuseWith(http.StatusBadRequest, "credential", "want "+h.want+" with a name of the policy's: letters, digits, hyphens, underscores and dots")
	}
	if a.isPersons() {
		return h.givePerson(w, r, raw, &a)
	}
	ctx, cancel := context.WithTimeout(r.Context(), leaseTime)
	defer cancel()
	given, err := h.leaser.Lease(ctx, token, a.Credential)
	if err != nil {
		return h.problem(err, "there is no such credential for this job", "the store, GitHub or the target cannot be reached now; nothing was given")
	}
	return h.hand(w, r, given, a.Credential)
}

// hand writes a credential that was given, or ends it where it does not arrive.
func (h *leases) hand(w http.ResponseWriter, r *http.Request, given Given, credential string) *problem {
	body, err := h.body(given, credential)
	if err != nil {
		h.takeBack(r, given)
		return down("lease-unavailable", "the credential cannot be given now", err)
	}
	if r.Context().Err() != nil {
		h.takeBack(r, given)
		return down("lease-unavailable", "whoever asked went away", r.Context().Err())
	}
	w.Header().Set("Location", LeasesPath+"/"+given.ID)
	if show(w, http.StatusCreated, body) != nil {
		h.takeBack(r, given)
	}
	return nil
}

// body is a credential as the job gets it. No error has anything of it.
func (h *leases) body(g Given, credential string) ([]byte, error) {
	switch {
	case !isID(g.ID) || !isBearer(g.Secret):
		return nil, errors.New("the leaser gave a lease without id or secret")
	case g.Credential != credential || len(g.Values) == 0:
		return nil, errors.New("the leaser gave another credential, or nothing of it")
	case !g.ExpiresAt.After(h.now()):
		return nil, errors.New("the leaser gave a lease that is over")
	}
	g.ExpiresAt = g.ExpiresAt.UTC().Truncate(time.Second)
	body, err := json.Marshal(g, json.Deterministic(true))
	if err != nil {
		return nil, errors.New("a value of the credential, or its time, cannot be written as JSON") // what err says may be one
	}
	return body, nil
}

// takeBack ends a lease that did not reach the job. Where that does not succeed the
// end of the job, or the deadline, ends it.
func (h *leases) takeBack(r *http.Request, g Given) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), leaseTime)
	defer cancel()
	err := h.leaser.EndLease(ctx, g.ID, g.Secret)
	h.log.LogAttrs(ctx, slog.LevelWarn, "a lease did not reach its job and is ended", slog.Any("cause", err))
}

// end ends a lease. It goes on when whoever asked goes away.
func (h *leases) end(w http.ResponseWriter, r *http.Request, id string) *problem {
	secret, p := bearer(r.Header, "secret-missing", "the lease's own secret")
	if p != nil {
		return p
	}
	if wait := h.ends.take(id, h.now()); wait > 0 {
		return tooOften("this lease was to be ended", "it ends with its job in any case", wait)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), leaseTime)
	defer cancel()
	if err := h.leaser.EndLease(ctx, id, secret); err != nil {
		return h.problem(err, "there is no such lease with this secret", "the store or the target cannot be reached now, and the lease may be alive; it is ended with its job in any case")
	}
	keepNot(w.Header())
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// isName reports whether a policy can have a credential of this name: the alphabet is
// that of rules.
func isName(s string) bool {
	return s != "" && len(s) <= maxName && strings.Trim(s, letters+".") == "" && !strings.ContainsAny(s[:1], "-_.")
}
