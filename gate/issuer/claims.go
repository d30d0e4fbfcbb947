package issuer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport/sallyport/rules"
)

const (
	// MinLife is the shortest life of a token: clocks differ.
	MinLife = time.Minute
	// MaxLife is the longest of one that is exchanged for a credential: relying
	// parties accept it as often as it is shown until then.
	MaxLife = 2 * time.Minute
	// MaxDirectLife bounds the life of one that is itself the credential.
	MaxDirectLife = 10 * time.Minute
	// MaxApprovers is how many people a token names.
	MaxApprovers = 50

	// before is how far a token's nbf lies before its iat: clocks differ.
	before = time.Minute
	// The longest values in bytes. An audience has what AWS takes; an environment
	// what GitHub takes; a ref what git takes.
	maxAudience, maxEnvironment, maxRef, maxWord = 255, 255, 1024, 128
)

// Claims are what a token says. Relying parties see all of it.
type Claims struct {
	// Tier is the target's, and chooses the issuer and its key.
	Tier rules.Tier
	// Audience is the one relying party that the token is for.
	Audience string
	// Life is from MinLife to MaxLife in whole seconds, 0 is MaxLife; up to
	// MaxDirectLife if Direct.
	Life time.Duration
	// Direct says that the target takes the token without an exchange.
	Direct bool

	// LeaseID is the lease's, and the token's jti: 1 to 64 letters, digits, "-", "_".
	LeaseID string
	// Credential is the policy's name for what is opened.
	Credential string

	// The job, from its own verified token. Environment is spelt as GitHub does.
	RepositoryID      rules.RepositoryID
	RepositoryOwnerID rules.AccountID
	Environment       string
	SHA               rules.SHA
	Ref               string
	RunID             rules.RunID
	RunAttempt        int
	CheckRunID        rules.CheckRunID

	// ActorID is whom the token is for outside any job: then there is none of SHA, Ref,
	// RunID, RunAttempt, CheckRunID and the approval, and the tier is auto. 0 is a job's.
	ActorID rules.AccountID

	// The approval. All of it is required for anything but tier auto; there it is
	// given whole or not at all.
	ApprovalID  string
	ApproverIDs []rules.AccountID
	ApprovedAt  time.Time

	// PolicyDigest is that of the policy that decided.
	PolicyDigest string

	// AWS is for AWS alone. Nil is none.
	AWS *AWSClaims
}

// payload is a token's body. Ids are strings, as in GitHub's own tokens. Relying
// parties are set up with these names: they may be added to and never changed, here
// and in claimNames.
type payload struct {
	Issuer    string `json:"iss"`
	Subject   string `json:"sub"`
	Audience  string `json:"aud"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	Expires   int64  `json:"exp"`
	ID        string `json:"jti"`

	RepositoryID      string `json:"repository_id"`
	RepositoryOwnerID string `json:"repository_owner_id"`
	Environment       string `json:"environment"`
	SHA               string `json:"sha,omitzero"`
	Ref               string `json:"ref,omitzero"`
	RunID             string `json:"run_id,omitzero"`
	RunAttempt        string `json:"run_attempt,omitzero"`
	CheckRunID        string `json:"check_run_id,omitzero"`
	ActorID           string `json:"actor_id,omitzero"`
	Credential        string `json:"credential"`
	ApprovalID        string `json:"approval_id,omitzero"`
	ApproverIDs       string `json:"approver_ids,omitzero"`
	ApprovedAt        string `json:"approved_at,omitzero"`
	PolicyDigest      string `json:"policy_digest"`
	Tier              string `json:"tier"`

	AWSTags   *awsTags `json:"https://aws.amazon.com/tags,omitzero"`
	AWSSource string   `json:"https://aws.amazon.com/source_identity,omitzero"`
}

// claimNames are the names that a token may have.
func claimNames() []string {
	return []string{
		"iss", "sub", "aud", "iat", "nbf", "exp", "jti",
		"repository_id", "repository_owner_id", "environment", "sha", "ref", "run_id", "run_attempt", "check_run_id", "actor_id",
		"credential", "approval_id", "approver_ids", "approved_at", "policy_digest", "tier",
		"https://aws.amazon.com/tags", "https://aws.amazon.com/source_identity",
	}
}

// payload checks the claims and makes a token's body of them.
func (c *Claims) payload(issuer string, now time.Time) (payload, error) {
	life, err := c.life()
	if err != nil {
		return payload{}, err
	}
	if err := c.check(now); err != nil {
		return payload{}, err
	}
	subject, err := Subject(c.RepositoryID, c.Environment, c.Credential)
	if err != nil {
		return payload{}, err
	}
	p := payload{
		Issuer: issuer, Subject: subject, Audience: c.Audience, ID: c.LeaseID,
		IssuedAt: now.Unix(), NotBefore: now.Add(-before).Unix(), Expires: now.Unix() + int64(life/time.Second),
		RepositoryID: number(c.RepositoryID), RepositoryOwnerID: number(c.RepositoryOwnerID), Environment: c.Environment,
		SHA: string(c.SHA), Ref: c.Ref, RunID: known(c.RunID), RunAttempt: known(c.RunAttempt), CheckRunID: known(c.CheckRunID), ActorID: known(c.ActorID),
		Credential: c.Credential, ApprovalID: c.ApprovalID, ApproverIDs: people(c.ApproverIDs),
		PolicyDigest: c.PolicyDigest, Tier: string(c.Tier),
	}
	if !c.ApprovedAt.IsZero() {
		p.ApprovedAt = c.ApprovedAt.UTC().Format(time.RFC3339)
	}
	if c.AWS != nil {
		if p.AWSTags, p.AWSSource, err = c.AWS.claims(); err != nil {
			return payload{}, err
		}
	}
	return p, nil
}

// life is how long the token lives.
func (c *Claims) life() (time.Duration, error) {
	life := c.Life
	if life == 0 {
		life = MaxLife
	}
	longest := MaxLife
	if c.Direct {
		longest = MaxDirectLife
	}
	if life < MinLife || life > longest || life%time.Second != 0 {
		if !c.Direct && life > MaxLife && life <= MaxDirectLife {
			return 0, fmt.Errorf("a token that is exchanged lives %s at most, not %s: only a target that takes it without an exchange may have a longer ttl", MaxLife, life)
		}
		return 0, fmt.Errorf("a life of %s: want whole seconds from %s to %s", life, MinLife, longest)
	}
	return life, nil
}

// check looks at every value: what a token says, relying parties believe.
func (c *Claims) check(now time.Time) error {
	ids := []namedID{{"repository_id", int64(c.RepositoryID)}, {"repository_owner_id", int64(c.RepositoryOwnerID)}}
	texts := []namedText{
		{"aud", c.Audience, maxAudience}, {"environment", c.Environment, maxEnvironment}, {"credential", c.Credential, maxWord}, {"policy_digest", c.PolicyDigest, maxWord},
	}
	if c.ActorID == 0 {
		ids = append(ids, namedID{"run_id", int64(c.RunID)}, namedID{"run_attempt", int64(c.RunAttempt)}, namedID{"check_run_id", int64(c.CheckRunID)})
		texts = append(texts, namedText{"ref", c.Ref, maxRef})
	} else {
		ids = append(ids, namedID{"actor_id", int64(c.ActorID)})
	}
	for _, id := range ids {
		if id.value <= 0 {
			return fmt.Errorf("%s is %d, which is unknown or no id", id.name, id.value)
		}
	}
	for _, text := range texts {
		if err := checkText(text.value, text.max); err != nil {
			return fmt.Errorf("%s %w", text.name, err)
		}
	}
	if !isWord(c.LeaseID, 64) {
		return fmt.Errorf("jti %.80q: want 1 to 64 letters, digits, \"-\" and \"_\"", c.LeaseID)
	}
	if c.ActorID != 0 {
		return c.checkPerson()
	}
	if n := len(c.SHA); n != 40 && n != 64 || strings.Trim(string(c.SHA), "0123456789abcdef") != "" {
		return fmt.Errorf("sha %.80q: want a full commit id in lower-case hex", string(c.SHA))
	}
	return c.checkApproval(now)
}

type namedID struct {
	name  string
	value int64
}

type namedText struct {
	name, value string
	max         int
}

// checkPerson holds the rule that a person outside any job gets tokens of tier auto
// alone, which say nothing of a job or an approval.
func (c *Claims) checkPerson() error {
	switch {
	case c.Tier != rules.TierAuto:
		return fmt.Errorf("actor_id %d asks for a token of tier %s, which is given to jobs alone", c.ActorID, c.Tier)
	case c.SHA != "" || c.Ref != "" || c.RunID != 0 || c.RunAttempt != 0 || c.CheckRunID != 0:
		return errors.New("actor_id and a job: a token is of one or the other")
	case c.ApprovalID != "" || len(c.ApproverIDs) != 0 || !c.ApprovedAt.IsZero():
		return errors.New("actor_id and an approval: nobody approves what a person asks outside a job")
	}
	return nil
}

// checkApproval holds the rule that no token of tier human exists without people who
// approved it.
func (c *Claims) checkApproval(now time.Time) error {
	if c.ApprovalID == "" && len(c.ApproverIDs) == 0 && c.ApprovedAt.IsZero() {
		if c.Tier == rules.TierAuto {
			return nil
		}
		return fmt.Errorf("no approval, without which there is no token of tier %s", c.Tier)
	}
	if err := checkText(c.ApprovalID, maxWord); err != nil {
		return fmt.Errorf("approval_id %w", err)
	}
	if n := len(c.ApproverIDs); n == 0 || n > MaxApprovers {
		return fmt.Errorf("%d approvers: want 1 to %d", n, MaxApprovers)
	}
	for _, id := range c.ApproverIDs {
		if id <= 0 {
			return fmt.Errorf("approver %d is no account", id)
		}
	}
	if c.ApprovedAt.Unix() <= 0 || c.ApprovedAt.After(now.Add(before)) {
		return errors.New("the approval was given at no time, or is still to come")
	}
	return nil
}

// checkText refuses what cannot be shown, and what makes the shown differ from what
// is there.
func checkText(s string, most int) error {
	switch {
	case s == "":
		return errors.New("is missing")
	case len(s) > most:
		return fmt.Errorf("has %d bytes: want %d at most", len(s), most)
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8")
	case strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
	}):
		return fmt.Errorf("%.160q has a control character", s)
	}
	return nil
}

// isWord reports whether s is 1 to most letters, digits, hyphens and underscores.
func isWord(s string, most int) bool {
	return s != "" && len(s) <= most && strings.Trim(s, strings.ReplaceAll(plain, ".", "")) == ""
}

// known is an id, or empty where it is none.
func known[T ~int | ~int64](n T) string {
	if n == 0 {
		return ""
	}
	return number(n)
}

func number[T ~int | ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

// people are ids in order of size, each once, with commas between them.
func people(ids []rules.AccountID) string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	var out []string
	for _, id := range slices.Compact(ids) {
		out = append(out, number(id))
	}
	return strings.Join(out, ",")
}
