package rules

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Numeric ids as GitHub's REST API gives them. Zero means unknown.
type (
	// RepositoryID identifies a repository across renames and transfers.
	RepositoryID int64
	// AccountID identifies a user, bot or organisation across renames.
	AccountID int64
	// TeamID identifies a team across renames.
	TeamID int64
	// AppID identifies a GitHub App.
	AppID int64
	// ReviewID identifies a pull request review.
	ReviewID int64
	// RunID identifies a workflow run across its attempts.
	RunID int64
	// CheckRunID identifies a check run; a job's id is that of its check run.
	CheckRunID int64
	// DeploymentID identifies a deployment.
	DeploymentID int64
)

// SHA is a full commit id in lower-case hex (40 digits, or 64 in a SHA-256
// repository). Empty means unknown.
type SHA string

// Short is the abbreviation shown to people.
func (s SHA) Short() string {
	if len(s) > 7 {
		return string(s[:7])
	}
	return string(s)
}

// Login is an account's name as GitHub's REST API spells it ("octocat",
// "dependabot[bot]"). Logins compare case-insensitively, can be renamed and then
// registered by somebody else: never an identity where an [AccountID] is known.
type Login string

// Equal reports whether two logins name the same account at one moment.
// Only ASCII letters fold: logins have no others, and "ſ" is no "s".
func (l Login) Equal(o Login) bool { return l != "" && l.fold() == o.fold() }

// fold is the login in lower case.
func (l Login) fold() string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, string(l))
}

// Slug is an App's name in URLs ("github-actions"). Empty means unknown.
type Slug string

// Tri is a yes-or-no fact that may be unknown. Its zero value is Unknown, which
// is never taken for the convenient answer. In JSON it is true, false, or absent.
type Tri int8

// The three states of a [Tri].
const (
	Unknown Tri = iota
	No
	Yes
)

// TriOf turns a known answer into a Tri.
func TriOf(b bool) Tri {
	if b {
		return Yes
	}
	return No
}

// String is "unknown", "no" or "yes".
func (t Tri) String() string {
	switch t {
	case Yes:
		return "yes"
	case No:
		return "no"
	default:
		return "unknown"
	}
}

// MarshalJSONTo writes true, false or null.
func (t Tri) MarshalJSONTo(e *jsontext.Encoder) error {
	switch t {
	case Yes:
		return e.WriteToken(jsontext.True)
	case No:
		return e.WriteToken(jsontext.False)
	default:
		return e.WriteToken(jsontext.Null)
	}
}

// UnmarshalJSONFrom reads true, false or null; anything else is an error.
func (t *Tri) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	tok, err := d.ReadToken()
	if err != nil {
		return err
	}
	switch tok.Kind() {
	case 't':
		*t = Yes
	case 'f':
		*t = No
	case 'n':
		*t = Unknown
	default:
		return &json.SemanticError{ByteOffset: d.InputOffset(), JSONPointer: d.StackPointer(), JSONKind: tok.Kind(), Err: errTri}
	}
	return nil
}

type constError string

func (e constError) Error() string { return string(e) }

const errTri constError = "want true or false"

// ActorType is what kind of account an [Actor] is, as GitHub's REST API says.
type ActorType string

// The account types that the judges tell apart. Every other value, the empty
// one included, counts as unknown: it approves nothing.
const (
	ActorUser ActorType = "User"
	ActorBot  ActorType = "Bot"
)

// Actor is an account. A zero ID or an empty Login is unknown.
type Actor struct {
	ID    AccountID `json:"id,omitzero"`
	Login Login     `json:"login,omitzero"`
	Type  ActorType `json:"type,omitzero"`
}

// Known reports whether the account is identified at all.
func (a Actor) Known() bool { return a.ID != 0 || a.Login != "" }

// Is reports whether two actors are surely one account: by id where both have
// one, else by login. Two unknown actors are not the same.
func (a Actor) Is(b Actor) bool {
	if a.ID != 0 && b.ID != 0 {
		return a.ID == b.ID
	}
	return a.Login.Equal(b.Login)
}

// MayBe reports whether two actors could be one account: the test for keeping
// somebody out. Here a matching login is enough even where the ids differ.
func (a Actor) MayBe(b Actor) bool {
	return a.ID != 0 && a.ID == b.ID || a.Login.Equal(b.Login)
}

// Repository names a repository; only ID identifies it.
type Repository struct {
	ID       RepositoryID `json:"id,omitzero"`
	FullName string       `json:"full_name,omitzero"`
}

// Basis says how far the facts of a [Change] can be relied upon.
type Basis int8

const (
	// Observed facts were read from GitHub: everything that opens something must
	// be among them. The zero value.
	Observed Basis = iota
	// Stated facts are somebody's record (sallyport classify, policy test,
	// check). The record's form has no place for whether a reviewer may write,
	// for who is behind a login of the policy, and for the workflow run behind a
	// check. These are taken as the record states them, and each decision that
	// rests on one says so by a reason. Nothing is ever opened by a decision on
	// stated facts; the server never uses them.
	Stated
	// Local facts are a branch in a work tree, before there is a pull request:
	// what only a pull request shows is unknown for now, and said once. A decision
	// on them is a forecast and never allows by approvals.
	Local
)
