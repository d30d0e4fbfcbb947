package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/broker/postgres"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// issuerSeal closes the issuer's keys.
type issuerSeal struct{ sealKey }

// Seal closes a key.
func (s issuerSeal) Seal(value []byte) ([]byte, error) { return s.seal("issuer", value) }

// Open opens a key, which must have been sealed.
func (s issuerSeal) Open(stored []byte) ([]byte, error) {
	value, was, err := s.unseal("issuer", stored)
	if err == nil && !was {
		err = errors.New("a key of the issuer lies unsealed")
	}
	return value, err
}

// cabinet opens the key cabinet: the issuer, and a provider for each target. Without
// targets there is none.
func (x *Server) cabinet(ctx context.Context) error {
	s := x.settings
	if s.Targets == nil || len(s.Targets.Targets) == 0 {
		return nil
	}
	cfg := issuer.Config{URL: s.URL, KeyFile: s.SigningKeys, Store: x.store, NoSetting: store.ErrNotFound}
	if s.Seal != nil {
		cfg.Seal = issuerSeal{s.Seal}
	}
	var err error
	if x.issuer, err = issuer.New(ctx, cfg); err != nil {
		return err
	}
	if err := x.issuer.NeedsSeal(s.Targets); err != nil {
		return err
	}
	keys := &gate.Keys{
		Targets: s.Targets, Providers: map[string]broker.Provider{},
		Seal: s.Seal.seal,
		Open: func(name string, stored []byte) ([]byte, error) {
			value, _, err := s.Seal.unseal(name, stored)
			return value, err
		},
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.Targets.Targets)) {
		p, err := x.provider(s.Targets.Targets[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("target %q: %w", name, err))
			continue
		}
		keys.Providers[name] = p
	}
	x.keys = keys
	return errors.Join(errs...)
}

// provider makes what makes a target's credentials.
func (x *Server) provider(t *rules.Target) (broker.Provider, error) {
	sign := func(ctx context.Context, l broker.Lease, audience string, life time.Duration, direct bool) (string, error) {
		return x.issuer.Mint(ctx, claims(l, t.Tier, audience, life, direct, t.AWS != nil))
	}
	switch {
	case t.Token != nil:
		return &broker.Token{Sign: sign, Audience: t.Token.Audience, Life: time.Duration(t.TTL)}, nil
	case t.Postgres != nil:
		return postgres.New(t.Postgres, t.Private, postgres.Config{Log: x.log})
	case t.AWS != nil:
		return &broker.AWS{Sign: sign, Role: t.AWS.Role, Region: t.AWS.Region}, nil
	case t.GitHub != nil:
		if x.settings.Seal == nil {
			return nil, errors.New("revoking its tokens needs them, sealed: set SALLYPORT_SEAL_KEY_FILE")
		}
		return &broker.GitHub{Tokens: installationTokens{x.github, x.store}, Repositories: t.GitHub.Repositories, Permissions: t.GitHub.Permissions}, nil
	default:
		return nil, errors.New("it has no provider")
	}
}

// claims are what a token of ours says of a lease.
func claims(l broker.Lease, tier rules.Tier, audience string, life time.Duration, direct, aws bool) issuer.Claims {
	c := issuer.Claims{
		Tier: tier, Audience: audience, Life: life.Truncate(time.Second), Direct: direct, LeaseID: l.ID, Credential: l.Credential,
		RepositoryID: l.Repository, RepositoryOwnerID: l.Owner, Environment: l.Environment, SHA: l.SHA, Ref: l.Ref, RunID: l.Run, RunAttempt: l.Attempt, CheckRunID: l.Job,
		ApprovalID: l.ApprovalID, ApprovedAt: l.ApprovedAt, PolicyDigest: l.PolicyDigest,
	}
	c.ActorID = l.Person
	for _, a := range l.Approvers {
		c.ApproverIDs = append(c.ApproverIDs, a.ID)
	}
	if aws {
		c.AWS = &issuer.AWSClaims{Tags: map[string]string{
			"repository_id": strconv.FormatInt(int64(l.Repository), 10), "environment": l.Environment, "sha": string(l.SHA), "run_id": strconv.FormatInt(int64(l.Run), 10),
			"run_attempt": strconv.Itoa(l.Attempt),
		}}
		if l.Person != 0 {
			actor := strconv.FormatInt(int64(l.Person), 10)
			c.AWS.Tags = map[string]string{"repository_id": strconv.FormatInt(int64(l.Repository), 10), "environment": l.Environment, "actor_id": actor}
			c.AWS.SourceIdentity = "github-" + actor
		}
		if len(l.Approvers) > 0 {
			c.AWS.SourceIdentity = "github-" + strconv.FormatInt(int64(l.Approvers[0].ID), 10)
		}
	}
	return c
}

// installationTokens makes tokens of the installation that reaches some repositories.
type installationTokens struct {
	github *github.Client
	store  *store.Store
}

// ScopedToken makes a token for repositories of one installation.
func (i installationTokens) ScopedToken(ctx context.Context, repositories []rules.RepositoryID, permissions map[string]string) (string, time.Time, error) {
	var in rules.InstallationID
	for _, id := range repositories {
		r, err := i.store.Repository(ctx, id)
		if err != nil {
			return "", time.Time{}, fmt.Errorf("repository %d is not within the App's reach: %w", id, err)
		}
		if in != 0 && r.Installation != in {
			return "", time.Time{}, errors.New("its repositories are of more than one installation: make a target for each")
		}
		in = r.Installation
	}
	return i.github.ScopedToken(ctx, in, repositories, permissions)
}

// RevokeToken revokes a token.
func (i installationTokens) RevokeToken(ctx context.Context, token string) error {
	return i.github.RevokeToken(ctx, token)
}

// checkTargets has every target that can say so tell what it lacks.
func (x *Server) checkTargets(ctx context.Context) {
	for _, name := range slices.Sorted(maps.Keys(x.keys.Providers)) {
		p, ok := x.keys.Providers[name].(interface{ Check(context.Context) error })
		if !ok {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, 30*time.Second)
		err := p.Check(limited)
		cancel()
		if err != nil && ctx.Err() == nil {
			x.log.Error("a target is not fit to be used", "target", name, "why", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
}

// Issuer is what signs our tokens, or nil where no target is declared.
func (x *Server) Issuer() *issuer.Issuer { return x.issuer }

// tendPause is how often the issuer's keys are looked at: what another server or the
// command line did to them counts from then on.
const tendPause = time.Minute

// tend takes the steps of the issuer's keys that are due, until ctx ends.
func (x *Server) tend(ctx context.Context) {
	tick := time.NewTicker(tendPause)
	defer tick.Stop()
	for {
		if err := x.issuer.Tend(ctx); err != nil && ctx.Err() == nil {
			x.log.Error("the issuer's keys cannot be tended", "why", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
