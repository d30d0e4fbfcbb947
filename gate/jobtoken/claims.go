package jobtoken

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/rules"
)

// claims are a token's, as GitHub documents them: every one is a text, numbers
// included, but for the times.
type claims struct {
	Issuer    string         `json:"iss"`
	Audience  jsontext.Value `json:"aud"`
	Expires   *int64         `json:"exp"`
	NotBefore *int64         `json:"nbf"`
	IssuedAt  *int64         `json:"iat"`
	ID        string         `json:"jti"`

	Repository        string `json:"repository"`
	RepositoryID      string `json:"repository_id"`
	RepositoryOwnerID string `json:"repository_owner_id"`
	Environment       string `json:"environment"`
	SHA               string `json:"sha"`
	Ref               string `json:"ref"`
	RefType           string `json:"ref_type"`
	EventName         string `json:"event_name"`
	JobWorkflowRef    string `json:"job_workflow_ref"`
	JobWorkflowSHA    string `json:"job_workflow_sha"`
	RunID             string `json:"run_id"`
	RunAttempt        string `json:"run_attempt"`
	CheckRunID        string `json:"check_run_id"`
	RunnerEnvironment string `json:"runner_environment"`
	ActorID           string `json:"actor_id"`
}

// read reads the claims. A claim that is there twice, at any depth, is an error: two
// readers could see two tokens.
func read(payload []byte) (*claims, error) {
	c := &claims{}
	err := json.Unmarshal(payload, c)
	if err == nil {
		return c, nil
	}
	var pointer jsontext.Pointer
	var syntactic *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.As(err, &semantic):
		pointer = semantic.JSONPointer
	case errors.As(err, &syntactic):
		pointer = syntactic.JSONPointer
	}
	claim, _, _ := strings.Cut(strings.TrimPrefix(string(pointer), "/"), "/")
	if len(claim) > 64 || strings.Trim(claim, "abcdefghijklmnopqrstuvwxyz_") != "" {
		claim = ""
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return nil, refuse(rules.TokenClaims, claim, "the token has a claim twice")
	case claim != "":
		return nil, refuse(rules.TokenClaims, claim, "the token's %s is not of the form that GitHub gives it: every claim is a text, and times are whole seconds", claim)
	default:
		return nil, refuse(rules.TokenMalformed, "", "the token's claims are not a JSON object")
	}
}

// meant checks that the token is one of the issuer's, for us, and now.
func (v *Verifier) meant(c *claims, now time.Time) error {
	if c.Issuer != v.cfg.Issuer {
		return refuse(rules.TokenIssuer, "iss", "the token was issued by %.100q, this server takes those of %q", c.Issuer, v.cfg.Issuer)
	}
	if err := v.audience(c.Audience); err != nil {
		return err
	}
	exp, err := moment("exp", c.Expires)
	if err != nil {
		return err
	}
	iat, err := moment("iat", c.IssuedAt)
	if err != nil {
		return err
	}
	nbf := iat // optional in a token; GitHub's is before iat
	if c.NotBefore != nil {
		if nbf, err = moment("nbf", c.NotBefore); err != nil {
			return err
		}
	}
	switch {
	case !now.Before(exp.Add(leeway)):
		return refuse(rules.TokenExpired, "exp", "the token expired at %s, it is %s: fetch a new one for each request", exp.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case iat.After(now.Add(leeway)):
		return refuse(rules.TokenEarly, "iat", "the token is issued at %s, and it is %s: the clocks differ", iat.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case nbf.After(now.Add(leeway)):
		return refuse(rules.TokenEarly, "nbf", "the token is not to be used before %s, and it is %s", nbf.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case !exp.After(iat) || exp.Sub(iat) > maxLife:
		return refuse(rules.TokenLifetime, "exp", "the token lives from %s to %s, want %s at most", iat.Format(time.RFC3339), exp.Format(time.RFC3339), maxLife)
	}
	return nil
}

// audience wants ours and no other: a token for several can be used by each of them.
func (v *Verifier) audience(aud jsontext.Value) error {
	var many []string
	if aud.Kind() == '"' {
		many = make([]string, 1)
		if err := json.Unmarshal(aud, &many[0]); err != nil {
			many = nil
		}
	} else if err := json.Unmarshal(aud, &many); err != nil {
		many = nil
	}
	if len(many) != 1 {
		return refuse(rules.TokenAudience, "aud", "the token has %d audiences, want only %q", len(many), v.cfg.Audience)
	}
	if many[0] != v.cfg.Audience {
		return refuse(rules.TokenAudience, "aud", "the token is for %.100q, want one for %q", many[0], v.cfg.Audience)
	}
	return nil
}

// latest is the last second that is taken for a time: the year 2286 is a mistake in
// the unit.
const latest = 1e10

func moment(claim string, seconds *int64) (time.Time, error) {
	if seconds == nil {
		return time.Time{}, refuse(rules.TokenClaims, claim, "the token has no %s", claim)
	}
	if *seconds <= 0 || *seconds >= latest {
		return time.Time{}, refuse(rules.TokenClaims, claim, "the token's %s is not a time in seconds", claim)
	}
	return time.Unix(*seconds, 0).UTC(), nil
}

// token turns the claims into facts. Those that not every GitHub Enterprise Server
// sends (check_run_id, job_workflow_sha, …) may be absent, which is unknown and for
// the judge to refuse; one that is there must be of its form.
func (c *claims) token() (rules.JobToken, error) {
	f := &form{}
	t := rules.JobToken{
		Claims: rules.JobClaims{
			RepositoryID:      rules.RepositoryID(f.number("repository_id", c.RepositoryID, must)),
			RepositoryOwnerID: rules.AccountID(f.number("repository_owner_id", c.RepositoryOwnerID, must)),
			Environment:       f.text("environment", c.Environment, may),
			SHA:               f.sha("sha", c.SHA, must),
			Ref:               f.text("ref", c.Ref, must),
			EventName:         f.text("event_name", c.EventName, must),
			JobWorkflowRef:    f.text("job_workflow_ref", c.JobWorkflowRef, may),
			JobWorkflowSHA:    f.sha("job_workflow_sha", c.JobWorkflowSHA, may),
			RunID:             rules.RunID(f.number("run_id", c.RunID, must)),
			RunAttempt:        f.count("run_attempt", c.RunAttempt),
			CheckRunID:        rules.CheckRunID(f.number("check_run_id", c.CheckRunID, may)),
			RunnerEnvironment: f.text("runner_environment", c.RunnerEnvironment, may),
			Repository:        f.text("repository", c.Repository, must),
		},
		Actor:   rules.AccountID(f.number("actor_id", c.ActorID, must)),
		ID:      f.text("jti", c.ID, must),
		Expires: time.Unix(*c.Expires, 0).UTC(),
	}
	if r := rules.RefType(c.RefType); r == rules.RefBranch || r == rules.RefTag {
		t.RefType = r
	}
	if owner, name, ok := strings.Cut(c.Repository, "/"); !ok || owner == "" || name == "" || strings.Contains(name, "/") {
		f.bad("repository", "is not an owner and a name")
	}
	if f.err != nil {
		return rules.JobToken{}, f.err
	}
	return t, nil
}

const (
	must = true
	may  = false
)

// form reads claims and keeps the first that is not of its form.
type form struct{ err error }

func (f *form) bad(claim, what string) {
	if f.err == nil {
		f.err = refuse(rules.TokenClaims, claim, "the token's %s %s", claim, what)
	}
}

// there reports whether there is a claim to look at.
func (f *form) there(claim, value string, needed bool) bool {
	if value == "" && needed {
		f.bad(claim, "is missing")
	}
	return value != ""
}

func (f *form) text(claim, value string, needed bool) string {
	if f.there(claim, value, needed) && strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		f.bad(claim, "has control characters")
	}
	return value
}

// number reads a positive number that is written in the one way there is.
func (f *form) number(claim, value string, needed bool) int64 {
	if !f.there(claim, value, needed) {
		return 0
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n <= 0 || strconv.FormatInt(n, 10) != value {
		f.bad(claim, "is not a positive number")
		return 0
	}
	return n
}

// count is a number that fits an int on every machine.
func (f *form) count(claim, value string) int {
	n := f.number(claim, value, must)
	if n > 1<<30 {
		f.bad(claim, "is larger than any that GitHub counts to")
		return 0
	}
	return int(n)
}

func (f *form) sha(claim, value string, needed bool) rules.SHA {
	if f.there(claim, value, needed) && (len(value) != 40 && len(value) != 64 || strings.Trim(value, "0123456789abcdef") != "") {
		f.bad(claim, "is not a full commit id")
	}
	return rules.SHA(value)
}
