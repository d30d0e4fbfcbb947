package gate

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// Keys is what the key cabinet works with.
type Keys struct {
	// Targets are the server's own: what a policy may name.
	Targets *rules.Targets
	// Providers make and end credentials, by the target's name. A target without one is
	// refused.
	Providers map[string]broker.Provider
	// Seal and Open close and open what revoking a credential needs; name is
	// authenticated with it.
	Seal func(name string, value []byte) ([]byte, error)
	Open func(name string, sealed []byte) ([]byte, error)
}

// defaultLife is how long a credential lives whose policy does not say.
const defaultLife = 10 * time.Minute

// judgeTime is how long a job that asks for a credential waits for a release which
// needs nobody.
const judgeTime = 10 * time.Second

// codeAlreadyGiven is that of a credential which the job was given before.
const codeAlreadyGiven rules.Code = "SP619"

// Lease gives a job a credential: if the policy names it, the server declares it for
// this repository and environment, GitHub shows exactly this job running, and a
// release of exactly this job holds now. It is given once.
func (g *Gate) Lease(ctx context.Context, t rules.JobToken, credential string) (jobs.Given, error) {
	if g.cfg.Keys == nil {
		return jobs.Given{}, &jobs.Refusal{Status: http.StatusNotFound, Code: "no-targets", Text: "This server gives no credentials: it has no SALLYPORT_TARGETS_FILE with targets."}
	}
	x, err := g.request(ctx, t, credential)
	var refused *jobs.Refusal
	if errors.As(err, &refused) {
		return jobs.Given{}, g.refuseClaims(ctx, t, credential, refused)
	}
	if err != nil {
		return jobs.Given{}, err
	}
	if x.decision.Verdict != rules.VerdictAllow {
		return jobs.Given{}, g.refuseLease(ctx, x)
	}
	return g.give(ctx, x)
}

// leaseRequest is one job's request while it is judged.
type leaseRequest struct {
	token      rules.JobToken
	credential string
	at         *place
	facts      *runFacts
	data       runData
	decision   rules.Decision
	id         string // of the decision
	target     string
	capability rules.Capability
	life       time.Duration
	// unattended says that the credential's environment is for agents' tasks.
	unattended bool
	// release is what released the job, nil if nothing did.
	release *store.Release
	// before is the lease that was given first, if one was.
	before *store.Lease
}

// request reads the facts of a request and judges it.
func (g *Gate) request(ctx context.Context, t rules.JobToken, credential string) (*leaseRequest, error) {
	c := t.Claims
	if _, err := g.served(ctx, c); err != nil {
		return nil, err
	}
	if c.Environment == "" || !c.SHA.Valid() || c.RunID <= 0 || c.RunAttempt <= 0 {
		return nil, &jobs.Refusal{Status: http.StatusForbidden, Code: "SP604", Claim: "environment", Text: "The token does not say of which job and environment it is: name the environment in the job."}
	}
	x := &leaseRequest{token: t, credential: credential}
	work := store.Work{Key: runKey(c.RepositoryID, c.RunID)}
	var err error
	if x.at, err = g.place(ctx, work); err == nil && !strings.EqualFold(c.Repository, x.at.fullName) {
		// It may have been renamed, and no event told of it yet.
		if err = g.readInstallation(ctx, x.at.installation.ID); err == nil {
			x.at, err = g.place(ctx, work)
		}
	}
	if err != nil {
		if errors.Is(err, errNotServed) {
			err = jobs.ErrNotServed
		}
		return nil, err
	}
	if !strings.EqualFold(c.Repository, x.at.fullName) {
		return nil, &jobs.Refusal{Status: http.StatusForbidden, Code: "SP609", Claim: "repository", Text: "The token names the repository otherwise than GitHub does."}
	}
	if err := g.subject(ctx, runKey(c.RepositoryID, c.RunID), &x.data); err != nil {
		return nil, err
	}
	x.facts = &runFacts{at: x.at, read: g.cfg.Now()}
	err = g.readRun(ctx, x.facts, c.RunID, &x.data)
	if err != nil && !errors.Is(err, github.ErrNotFound) {
		return nil, err
	}
	seen, serr := g.repositoryData(ctx, x.at.id)
	if serr != nil {
		return nil, serr
	}
	if x.facts.policies, serr = g.policiesOf(ctx, x.at, seen.Files[rules.PolicyPath].State); serr != nil {
		return nil, serr
	}
	q := &rules.LeaseRequest{Credential: credential, Verified: rules.Yes, Claims: c, Installed: rules.Yes, InProgress: rules.No, Given: rules.No, Now: g.cfg.Now()}
	if err == nil {
		q.DefaultBranch = x.facts.place.DefaultBranch
		q.RefIs = rules.TriOf(c.Ref == "refs/heads/"+x.facts.run.HeadBranch || c.Ref == "refs/tags/"+x.facts.run.HeadBranch)
	}
	q.Differs = "run_id"
	if err == nil {
		if q.Differs = x.facts.differs(c); q.Differs == "" {
			q.InProgress = rules.Yes
		}
	}
	if q.InProgress == rules.Yes && q.RefIs == rules.Yes {
		if err := g.released(ctx, x); err != nil {
			return nil, err
		}
	}
	if err == nil {
		if q.Grants, err = g.grants(ctx, x); err != nil {
			return nil, err
		}
	}
	before, err := g.cfg.Store.LeaseOf(ctx, c.RepositoryID, c.RunID, c.RunAttempt, c.CheckRunID, credential)
	switch {
	case err == nil:
		q.Given, x.before = rules.Yes, &before
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	x.decision = rules.DecideLease(x.facts.policies, g.cfg.Keys.Targets, q)
	x.id = x.decisionID()
	if p := x.facts.policies.Repository.Policy; p != nil && p.Credentials[credential] != nil {
		k := p.Credentials[credential]
		x.target, x.capability, x.life = k.Target, k.Capability, time.Duration(k.TTL)
		x.unattended = p.Environments[k.Environment] != nil && len(p.Environments[k.Environment].Unattended) > 0
	}
	if x.life <= 0 {
		x.life = defaultLife
	}
	return x, nil
}

// released waits a moment for the release of a job that needs nobody: one of an
// environment without a rule, which did not ask the gate first.
func (g *Gate) released(ctx context.Context, x *leaseRequest) error {
	c := x.token.Claims
	all, err := g.cfg.Store.ReleasesOf(ctx, c.RepositoryID, c.RunID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(r store.Release) bool { return r.Attempt == c.RunAttempt && slices.Contains(r.Jobs, c.CheckRunID) }) {
		return nil
	}
	state, err := g.Hold(ctx, x.token)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, judgeTime)
	defer cancel()
	for state.State == jobs.Waiting && state.URL == "" {
		select {
		case <-limited.Done():
			return ctx.Err() // what is not judged by then is refused as not released
		case <-time.After(50 * time.Millisecond):
		}
		if state, err = g.HoldState(ctx, state.ID, x.token); err != nil {
			return err
		}
	}
	x.data = runData{}
	return g.subject(ctx, runKey(c.RepositoryID, c.RunID), &x.data)
}

// differs is the first claim in which a token is of no job that GitHub shows running at
// the environment that it says, or empty.
func (f *runFacts) differs(c rules.JobClaims) string {
	j := f.job(c.CheckRunID)
	named, known := f.place.Environments[c.CheckRunID]
	switch {
	case f.run.Repository != c.RepositoryID:
		return "repository_id"
	case f.run.ID != c.RunID:
		return "run_id"
	case f.run.Attempt != c.RunAttempt:
		return "run_attempt"
	case j == nil || j.Status != "in_progress":
		return "check_run_id"
	case known && !strings.EqualFold(named, c.Environment):
		return "environment"
	default:
		return ""
	}
}

// grants are the releases of a run as the judge takes them. That of the job itself is
// judged again: its approvers must still be what they were.
func (g *Gate) grants(ctx context.Context, x *leaseRequest) ([]rules.Grant, error) {
	c := x.token.Claims
	all, err := g.cfg.Store.ReleasesOf(ctx, c.RepositoryID, c.RunID)
	if err != nil {
		return nil, err
	}
	var out []rules.Grant
	for i := range all {
		r := &all[i]
		if r.Observed {
			continue // observing never loosens a credential
		}
		for _, job := range r.Jobs {
			grant := rules.Grant{
				Repository: r.Repository, Environment: r.Environment, SHA: r.SHA, Run: r.Run, Attempt: r.Attempt, CheckRun: job, Human: rules.TriOf(r.Human), At: r.At,
			}
			if job == c.CheckRunID && r.Attempt == c.RunAttempt && strings.EqualFold(r.Environment, c.Environment) {
				door := &deployDoor{g: g, f: x.facts, data: &x.data}
				if grant.Holds, _, err = door.holds(ctx, r, g.cfg.Now()); err != nil {
					return nil, err
				}
				x.release = r
			}
			out = append(out, grant)
		}
	}
	return out, nil
}

func (x *leaseRequest) decisionID() string {
	c := x.token.Claims
	return decisionID(runKey(c.RepositoryID, c.RunID), rules.SHA(fmt.Sprintf("lease/%d/%d/%s/%s", c.RunAttempt, c.CheckRunID, x.credential, x.token.ID)), x.facts.policies, x.decision)
}

func (x *leaseRequest) subject(key string) ledger.Subject {
	c := x.token.Claims
	return ledger.Subject{Repository: c.RepositoryID, SHA: c.SHA, Run: c.RunID, Attempt: c.RunAttempt, Environment: c.Environment, Key: key}
}

func (x *leaseRequest) judged() judged {
	return judged{id: x.id, decision: x.decision, policies: x.facts.policies, subject: x.subject("credential:" + x.credential)}
}

// refuseClaims records the refusal of a request that is not judged any further: GitHub
// vouches for the token, which is of no deployment or names the repository otherwise.
func (g *Gate) refuseClaims(ctx context.Context, t rules.JobToken, credential string, r *jobs.Refusal) error {
	c := t.Claims
	d := rules.Decision{Verdict: rules.VerdictDeny, Environments: []string{}, Reasons: []rules.Reason{{Code: rules.Code(r.Code), Verdict: rules.VerdictDeny, Text: r.Text, Environment: c.Environment}}}
	x := leaseRequest{token: t, credential: credential, decision: d}
	j := judged{id: decisionID(runKey(c.RepositoryID, c.RunID), rules.SHA(fmt.Sprintf("claims/%s/%s", credential, t.ID)), rules.Policies{}, d), decision: d, subject: x.subject("credential:" + credential)}
	s := &j.subject
	if s.Run, s.Attempt = max(s.Run, 0), max(s.Attempt, 0); !s.SHA.Valid() {
		s.SHA = ""
	}
	if err := g.write(ctx, []ledger.Entry{g.decisionEntry(j)}, func(*store.Tx) error { return nil }); err != nil {
		return fmt.Errorf("recording a refusal: %w", err)
	}
	return r
}

// refuseLease records a refusal, and revokes what was given before where somebody asks
// again.
func (g *Gate) refuseLease(ctx context.Context, x *leaseRequest) error {
	twice := x.before != nil && x.before.State != store.LeaseEnded
	var alerts []raised
	if x.before != nil {
		c := x.token.Claims
		alerts = append(alerts, raised{
			key: "twice:" + x.before.ID, environment: c.Environment, run: c.RunID, attempt: c.RunAttempt, reason: rules.AskedTwice(x.credential, c.Environment, c.SHA), url: x.facts.run.URL,
		})
	}
	entries, tell, err := g.raise(ctx, x.at, x.facts.policies, alerts)
	if err == nil {
		err = g.write(ctx, append(entries, g.decisionEntry(x.judged())), func(tx *store.Tx) error {
			if err := tell(tx); err != nil {
				return err
			}
			if !twice {
				return nil
			}
			return ignoreGone(tx.RevokeLease(x.before.ID, "somebody asked for it again", g.cfg.Now()))
		})
	}
	if twice {
		// Taking back acts even where it cannot be recorded.
		_ = g.endMade(ctx, *x.before) // it is on record with the reason, and tried again
	}
	if err != nil {
		return fmt.Errorf("recording a refusal: %w", err)
	}
	r := firstRefusal(x.decision)
	g.cfg.Log.InfoContext(ctx, "credential refused", slog.String("repository", x.at.fullName), slog.String("credential", x.credential),
		slog.String("code", string(r.Code)), slog.String("why", r.Text), slog.String("decision", x.id))
	return &jobs.Refusal{Status: http.StatusForbidden, Code: string(r.Code), Claim: claimOf(r), Text: r.Text + "."}
}

// firstRefusal is the ground that a job is told: that it was given before comes first.
func firstRefusal(d rules.Decision) rules.Reason {
	first := rules.Reason{Code: "SP000", Text: "the request is refused"}
	for i, r := range d.Reasons {
		if r.Verdict == rules.VerdictAllow {
			continue
		}
		if i == 0 || r.Code == codeAlreadyGiven || first.Code == "SP000" {
			first = r
		}
	}
	return first
}

// claimOf is the claim that a refusal names, if it names one.
func claimOf(r rules.Reason) string {
	if rest, ok := strings.CutPrefix(r.Text, "claim "); ok {
		name, _, _ := strings.Cut(rest, " ")
		return name
	}
	if name, ok := strings.CutPrefix(r.Text, "the token has no claim "); ok {
		return name
	}
	return ""
}

// give has the credential of a job made and hands it out.
func (g *Gate) give(ctx context.Context, x *leaseRequest) (jobs.Given, error) {
	c := x.token.Claims
	look := g.markAt(x.at, runKey(c.RepositoryID, c.RunID), rules.PriorityDoor)
	grant := ""
	if x.release != nil {
		grant = x.release.Decision
	}
	given, err := g.mint(ctx, minting{
		judged: x.judged(), fullName: x.at.fullName, life: x.life, look: &look, grant: grant, unattended: x.unattended,
		row: store.Lease{
			Repository: c.RepositoryID, Environment: c.Environment, Run: c.RunID, Attempt: c.RunAttempt, Job: c.CheckRunID, SHA: c.SHA, Credential: x.credential,
			Target: x.target, Capability: x.capability, Token: x.token.ID, Decision: x.id,
		},
		lease: func(row store.Lease) broker.Lease { return g.brokered(x.at.fullName, row, x) },
	})
	if errors.Is(err, store.ErrAlready) {
		// Somebody was faster: one of the two was not the deploy step.
		if before, err := g.cfg.Store.LeaseOf(ctx, c.RepositoryID, c.RunID, c.RunAttempt, c.CheckRunID, x.credential); err == nil {
			x.before = &before
		}
		x.decision = rules.AlreadyGiven(x.decision, c.SHA)
		x.id = x.decisionID() // the other one may have been of the same token
		return jobs.Given{}, g.refuseLease(ctx, x)
	}
	return given, err
}

// brokered is a lease as providers take it.
func (g *Gate) brokered(fullName string, l store.Lease, x *leaseRequest) broker.Lease {
	out := broker.Lease{
		ID: l.ID, Repository: l.Repository, FullName: fullName, Environment: l.Environment, Credential: l.Credential, Capability: l.Capability,
		Run: l.Run, Attempt: l.Attempt, Job: l.Job, SHA: l.SHA, Person: l.Person, Made: l.MadeAt, Deadline: l.Deadline,
	}
	if x == nil {
		return out
	}
	out.Owner, out.Ref, out.PolicyDigest = x.token.Claims.RepositoryOwnerID, x.token.Claims.Ref, x.facts.policies.Repository.Policy.Digest()
	if r := x.release; r != nil && r.Human {
		out.ApprovalID, out.ApprovedAt = r.Decision, r.At
		var approvals []rules.Approval
		if json.Unmarshal(r.Approvals, &approvals) == nil {
			for _, a := range approvals {
				out.Approvers = append(out.Approvers, a.Actor)
			}
		}
	}
	return out
}

// EndLease ends a lease for whoever has its own secret: again and again.
func (g *Gate) EndLease(ctx context.Context, id, secret string) error {
	l, err := g.cfg.Store.Lease(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	sum := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(sum[:], l.Secret) != 1 || err != nil {
		return jobs.ErrNotFound
	}
	if l.State == store.LeaseEnded {
		return nil
	}
	return g.revoke(ctx, l, "whoever has it is done with it")
}

// endMade ends a lease, unless it may be in the making: then whoever makes it ends it, or
// [Gate.EndLeases] once that one's time is over.
func (g *Gate) endMade(ctx context.Context, l store.Lease) error {
	if len(l.Handle) == 0 && g.cfg.Now().Before(l.MadeAt.Add(store.MintTime)) {
		return nil
	}
	return g.endLease(ctx, l)
}

// revoke asks for a lease to be ended and tries to at once. That it did not work yet is
// an error; it is tried on until it did.
func (g *Gate) revoke(ctx context.Context, l store.Lease, why string) error {
	err := g.cfg.Store.Update(ctx, func(tx *store.Tx) error { return ignoreGone(tx.RevokeLease(l.ID, why, g.cfg.Now())) })
	return errors.Join(err, g.endLease(ctx, l))
}

// endLease ends what a lease made, and records that it did or why not.
func (g *Gate) endLease(ctx context.Context, l store.Lease) error {
	limited, cancel := context.WithTimeout(ctx, store.MintTime)
	defer cancel()
	err := g.endNow(limited, l)
	now := g.cfg.Now()
	if err == nil {
		if row, err := g.cfg.Store.Lease(ctx, l.ID); err == nil {
			l.Why = row.Why // whoever asked for the end read the lease before
		}
		entry := ledger.Entry{Kind: ledger.KindOutcome, Time: now, Subject: leaseSubject(l), Decision: l.Decision, Payload: outcomePayload{Outcome: "ended", Why: l.Why}}
		werr := g.write(ctx, []ledger.Entry{entry}, func(tx *store.Tx) error { return tx.EndLease(l.ID, now) })
		if errors.Is(werr, store.ErrNotFound) {
			return nil // somebody else ended it too
		}
		g.cfg.Log.InfoContext(ctx, "credential ended", slog.String("lease", l.ID), slog.Int64("repository_id", int64(l.Repository)), slog.String("decision", l.Decision), slog.String("why", l.Why))
		return werr
	}
	var notYet *broker.NotYet
	if errors.As(err, &notYet) {
		// Nothing ends it sooner. It is on record as alive until then.
		return g.cfg.Store.Update(ctx, func(tx *store.Tx) error { return ignoreGone(tx.FailLease(l.ID, err, notYet.Until)) })
	}
	g.cfg.Log.WarnContext(ctx, "a credential could not be ended and will be tried again", slog.String("lease", l.ID), slog.Int64("repository_id", int64(l.Repository)), slog.String("decision", l.Decision), slog.String("target", l.Target), slog.Int("attempt", l.Attempts), slog.Any("cause", err))
	werr := g.cfg.Store.Update(ctx, func(tx *store.Tx) error { return ignoreGone(tx.FailLease(l.ID, err, now.Add(endPause(l.Attempts)))) })
	if l.Attempts >= tellAfter {
		werr = errors.Join(werr, g.notEnded(ctx, l))
	}
	return errors.Join(err, werr)
}

func leaseSubject(l store.Lease) ledger.Subject {
	return ledger.Subject{Repository: l.Repository, SHA: l.SHA, Run: l.Run, Attempt: l.Attempt, Environment: l.Environment, Key: "lease:" + l.ID}
}

// tellAfter is after how many tries people are told that a credential cannot be ended.
const tellAfter = 5

// endPause is after how long ending a lease is tried again.
func endPause(attempts int) time.Duration {
	return min(time.Second<<min(attempts, 8), 2*time.Minute)
}

func (g *Gate) endNow(ctx context.Context, l store.Lease) error {
	provider := g.cfg.Keys.Providers[l.Target]
	if provider == nil {
		return fmt.Errorf("the targets file declares %q no more", l.Target)
	}
	handle := l.Handle
	if len(handle) > 0 {
		var err error
		if handle, err = g.cfg.Keys.Open("lease "+l.ID, handle); err != nil {
			return err
		}
	}
	return provider.Revoke(ctx, g.brokered("", l, nil), handle)
}

// notEnded tells people that a credential may still be alive.
func (g *Gate) notEnded(ctx context.Context, l store.Lease) error {
	repo, err := g.cfg.Store.Repository(ctx, l.Repository)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	in, err := g.cfg.Store.Installation(ctx, repo.Installation)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	at := &place{id: l.Repository, fullName: repo.FullName, installation: in}
	policies, err := g.policiesOf(ctx, at, github.FileFound)
	if err != nil {
		return err
	}
	entries, tell, err := g.raise(ctx, at, policies, []raised{{key: "not-ended:" + l.ID, environment: l.Environment, run: l.Run, attempt: l.Attempt, reason: rules.NotEnded(l.Target, l.Environment, "see the server's log", l.SHA)}})
	if err != nil || len(entries) == 0 {
		return err
	}
	return g.write(ctx, entries, tell)
}

// ends has leases ended that are due, until ctx does.
func (g *Gate) ends(ctx context.Context) {
	var swept time.Time
	for ctx.Err() == nil {
		if now := g.cfg.Now(); swept.IsZero() || now.Sub(swept) > sweepPause {
			g.sweepTargets(ctx)
			swept = now
		}
		if err := g.EndLeases(ctx); err != nil && ctx.Err() == nil {
			g.cfg.Log.WarnContext(ctx, "leases cannot be ended", slog.Any("cause", err))
		}
		timer := time.NewTimer(idle)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// sweepPause is how often targets are looked at for what no record speaks of.
const sweepPause = 30 * time.Second

// sweepTargets has every target end what outlived its deadline.
func (g *Gate) sweepTargets(ctx context.Context) {
	for name, p := range g.cfg.Keys.Providers {
		limited, cancel := context.WithTimeout(ctx, store.MintTime)
		err := p.Sweep(limited, g.cfg.Now())
		cancel()
		if err != nil && ctx.Err() == nil {
			g.cfg.Log.WarnContext(ctx, "a target cannot be swept", slog.String("target", name), slog.Any("cause", err))
		}
	}
}

// EndLeases ends the leases that are due: those that were asked to be ended, and those
// whose deadline is over.
func (g *Gate) EndLeases(ctx context.Context) error {
	if g.cfg.Keys == nil {
		return nil
	}
	for {
		due, err := g.cfg.Store.TakeLeases(ctx, g.cfg.Now(), 2*store.MintTime)
		if err != nil || len(due) == 0 {
			return err
		}
		for _, l := range due {
			_ = g.endLease(ctx, l) // it is on record with the reason, and tried again
		}
	}
}

// RevokeAll asks for every lease to be ended, and tries to at once. It returns how many
// there were, and those that are alive still. By names who did it, for the ledger.
func (g *Gate) RevokeAll(ctx context.Context, why, by string) (int, []store.Lease, error) {
	all, err := g.cfg.Store.Leases(ctx)
	if err != nil || len(all) == 0 {
		return 0, nil, err
	}
	if g.cfg.Keys == nil {
		return len(all), all, errors.New("the targets of these leases are not declared: set SALLYPORT_TARGETS_FILE")
	}
	var errs []error
	var entries []ledger.Entry
	for _, l := range all {
		entries = append(entries, ledger.Entry{
			Kind: ledger.KindFact, Time: g.cfg.Now(), Subject: leaseSubject(l), Decision: l.Decision, Payload: factPayload{Kind: "revoke", Why: why}, Personal: map[string]any{"by": by},
		})
		err := g.cfg.Store.Update(ctx, func(tx *store.Tx) error { return ignoreGone(tx.RevokeLease(l.ID, why, g.cfg.Now())) })
		errs = append(errs, err, g.endMade(ctx, l))
	}
	// Taking back acts first, even where it cannot be recorded.
	errs = append(errs, g.write(ctx, entries, func(*store.Tx) error { return nil }))
	left, err := g.cfg.Store.Leases(ctx)
	return len(all), left, errors.Join(append(errs, err)...)
}
