package issuer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/rules"
)

// personal are claims of a person outside any job.
func personal() issuer.Claims {
	c := claims(rules.TierAuto)
	c.ApprovalID, c.ApproverIDs, c.ApprovedAt = "", nil, time.Time{}
	c.SHA, c.Ref, c.RunID, c.RunAttempt, c.CheckRunID, c.ActorID = "", "", 0, 0, 0, 77
	return c
}

// A person's token has the credential's subject and the issuer of tier auto, and says
// nothing of a job.
func TestPersonToken(t *testing.T) {
	w := newWorld(t, nil)
	got := part(t, w.mint(personal()), 1)
	if got["iss"] != w.url+"/auto" || got["tier"] != "auto" || got["actor_id"] != "77" || got["sub"] != "sallyport:repo:42:env:production:cred:deploy-db" {
		t.Errorf("%v", got)
	}
	for _, claim := range []string{"sha", "ref", "run_id", "run_attempt", "check_run_id", "approval_id", "approver_ids", "approved_at"} {
		if v, ok := got[claim]; ok {
			t.Errorf("%s is %v, want none", claim, v)
		}
	}
	if _, ok := part(t, w.mint(claims(rules.TierHuman)), 1)["actor_id"]; ok {
		t.Error("a job's token has an actor_id")
	}
}

func TestPersonTokenRefused(t *testing.T) {
	w := newWorld(t, nil)
	job := claims(rules.TierHuman)
	for name, change := range map[string]func(*issuer.Claims){
		"tier human": func(c *issuer.Claims) { c.Tier = rules.TierHuman },
		"approved by many": func(c *issuer.Claims) {
			c.ApprovalID, c.ApproverIDs, c.ApprovedAt = job.ApprovalID, job.ApproverIDs, job.ApprovedAt
		},
		"a commit":          func(c *issuer.Claims) { c.SHA = job.SHA },
		"a ref":             func(c *issuer.Claims) { c.Ref = job.Ref },
		"a run":             func(c *issuer.Claims) { c.RunID = job.RunID },
		"an attempt":        func(c *issuer.Claims) { c.RunAttempt = job.RunAttempt },
		"a job":             func(c *issuer.Claims) { c.CheckRunID = job.CheckRunID },
		"no account":        func(c *issuer.Claims) { c.ActorID = -1 },
		"nobody and no job": func(c *issuer.Claims) { c.ActorID = 0 },
		"no repository":     func(c *issuer.Claims) { c.RepositoryID = 0 },
		"no environment":    func(c *issuer.Claims) { c.Environment = "" },
		"a line":            func(c *issuer.Claims) { c.Environment = strings.Repeat("a\n", 2) },
	} {
		c := personal()
		change(&c)
		if token, err := w.Mint(t.Context(), c); err == nil || token != "" {
			t.Errorf("%s: signed", name)
		}
	}
}
