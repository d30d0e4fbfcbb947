package gate_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/gate/jobtoken"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// BenchmarkGive measures what a token costs without GitHub's answers: the job's token
// verified, the request judged, and the token signed ("cpu"); and the same with the
// lease and its three ledger entries written down durably, before it is given ("durable").
// Beside it, in the same run, is one RS256 signature with one verification of it
// ("bare"): the least that taking one signed token and giving another can cost.
func BenchmarkGive(b *testing.B) {
	w := deploys(b, keysPolicy, keys(&safe{}))
	d := w.deploy("production")
	verifier, err := jobtoken.New(jobtoken.Config{Issuer: w.g.OIDCIssuer(), Audience: ourAddress, Now: w.clock.Now})
	must(b, err)
	book, err := ledger.New(ledger.Config{Key: w.key})
	must(b, err)
	policy, problems := rules.LoadPolicy(rules.PolicyPath, []byte(keysPolicy))
	if policy == nil {
		b.Fatal(problems)
	}
	policies := rules.Policies{Repository: rules.PolicyVersion{State: rules.PolicyInForce, Policy: policy}, Floor: rules.PolicyVersion{State: rules.PolicyNone}}
	targets, problems := rules.LoadTargets("targets.yml", fmt.Appendf(nil, "targets:\n  orders-db: {tier: human, repositories: [%d], environments: [production], token: {audience: orders}}\n", w.repo.ID))
	if targets == nil {
		b.Fatal(problems)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(b, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(b, err)
	job := int64(1)
	for _, alg := range []struct {
		name string
		key  crypto.Signer
	}{{"RS256", rsaKey}, {"ES256", ecKey}} {
		der, err := x509.MarshalPKCS8PrivateKey(alg.key)
		must(b, err)
		dir := b.TempDir()
		for _, tier := range []string{"human", "auto"} {
			if tier == "auto" { // another key: the tiers share none
				other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
				must(b, err)
				der, err = x509.MarshalPKCS8PrivateKey(other)
				must(b, err)
			}
			must(b, os.WriteFile(filepath.Join(dir, tier+".pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
		}
		signer, err := issuer.New(b.Context(), issuer.Config{URL: ourAddress, KeyFile: dir, Now: w.clock.Now})
		must(b, err)
		for _, durable := range []bool{false, true} {
			name := alg.name + "/cpu"
			if durable {
				name = alg.name + "/durable"
			}
			b.Run(name, func(b *testing.B) {
				var took []time.Duration
				var bare, all time.Duration
				digest := sha256.Sum256([]byte("x"))
				for b.Loop() {
					job++
					raw := d.Job("deploy").IDToken(ourAddress, func(m map[string]any) { m["check_run_id"] = fmt.Sprint(job) })
					start := time.Now()
					signature, err := rsaKey.Sign(rand.Reader, digest[:], crypto.SHA256)
					must(b, err)
					must(b, rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA256, digest[:], signature))
					middle := time.Now()
					w.giveOne(b, raw, verifier, policies, targets, signer, book, durable)
					took = append(took, time.Since(middle))
					bare, all = bare+middle.Sub(start), all+took[len(took)-1]
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
				b.ReportMetric(float64(took[len(took)/2])/1e6, "p50-ms")
				b.ReportMetric(float64(bare)/1e6/float64(len(took)), "bare-ms")
				b.ReportMetric(float64(all)/float64(bare), "give/bare")
			})
		}
	}
}

// giveOne does what a request for a credential costs, but for what GitHub is asked.
func (w *world) giveOne(b *testing.B, raw string, verifier *jobtoken.Verifier, policies rules.Policies, targets *rules.Targets, signer *issuer.Issuer, book *ledger.Log, durable bool) {
	t, err := verifier.Verify(b.Context(), raw)
	must(b, err)
	c := t.Claims
	now := w.clock.Now()
	decision := rules.DecideLease(policies, targets, &rules.LeaseRequest{
		Credential: "orders-migrator", Verified: rules.Yes, Claims: c, Installed: rules.Yes, InProgress: rules.Yes, RefIs: rules.Yes, DefaultBranch: "main", Given: rules.No, Now: now,
		Grants: []rules.Grant{{Repository: c.RepositoryID, Environment: c.Environment, SHA: c.SHA, Run: c.RunID, Attempt: c.RunAttempt, CheckRun: c.CheckRunID, Human: rules.Yes, Holds: rules.Yes, At: now}},
	})
	if decision.Verdict != rules.VerdictAllow {
		b.Fatalf("%+v", decision.Reasons)
	}
	id := fmt.Sprintf("%032x", c.CheckRunID)
	token, err := signer.Mint(b.Context(), issuer.Claims{
		Tier: rules.TierHuman, Audience: "orders", Life: 2 * time.Minute, LeaseID: id, Credential: "orders-migrator",
		RepositoryID: c.RepositoryID, RepositoryOwnerID: c.RepositoryOwnerID, Environment: c.Environment, SHA: c.SHA, Ref: c.Ref,
		RunID: c.RunID, RunAttempt: c.RunAttempt, CheckRunID: c.CheckRunID, ApprovalID: id, ApproverIDs: []rules.AccountID{1}, ApprovedAt: now, PolicyDigest: policies.Repository.Policy.Digest(),
	})
	must(b, err)
	if durable {
		subject := ledger.Subject{Repository: c.RepositoryID, SHA: c.SHA, Run: c.RunID, Attempt: c.RunAttempt, Environment: c.Environment, Key: "lease:" + id}
		var entries []ledger.Entry
		for _, kind := range []ledger.Kind{ledger.KindDecision, ledger.KindEffect, ledger.KindOutcome} {
			entries = append(entries, ledger.Entry{Kind: kind, Time: now, Subject: subject, Decision: id, Payload: map[string]any{"kind": "mint", "target": "orders-db", "verdict": decision.Verdict}})
		}
		batch, err := book.Prepare(entries...)
		must(b, err)
		must(b, w.store.Update(b.Context(), func(tx *store.Tx) error {
			if err := errors.Join(tx.AddLease(store.Lease{
				ID: id, Repository: c.RepositoryID, Environment: c.Environment, Run: c.RunID, Attempt: c.RunAttempt, Job: c.CheckRunID, SHA: c.SHA, Credential: "orders-migrator",
				Target: "orders-db", Capability: rules.CapabilityWrite, Token: t.ID + id, Secret: make([]byte, 32), Decision: id, MadeAt: now, Deadline: now.Add(10 * time.Minute),
			}), tx.GiveLease(id, []byte("handle"))); err != nil {
				return err
			}
			_, err := book.AppendBatch(tx, batch)
			return err
		}))
	}
	if token == "" {
		b.Fatal("nothing was given")
	}
}
