package rules

import "time"

// MaxPersonLeases is how many credentials one person may have alive at once, over all
// repositories.
const MaxPersonLeases = 5

// PersonToken is what GitHub says of a user's token, asked by the App that the token was
// given to. There is none without that: whoever makes one vouches for it.
type PersonToken struct {
	// Person is whose token it is. Identity is the id.
	Person Actor `json:"person"`
	// Expires is when the token ends; zero where it never does.
	Expires time.Time `json:"expires,omitzero"`
}

// What is wrong with a user's token, shown to machines: these may be added to and never
// changed.
const (
	// PersonTokenForm: it is no user's token by its form: one of a job, an
	// installation, another app, or a personal one.
	PersonTokenForm = "person-token-form"
	// PersonTokenOther: GitHub does not know it as a token of this App: it ended, was
	// revoked, or was given to another app.
	PersonTokenOther = "person-token-other"
	// PersonTokenExpired: its time is over.
	PersonTokenExpired = "person-token-expired"
	// PersonTokenUser: it is of no person's account.
	PersonTokenUser = "person-token-user"
)

// PersonLeaseRequest is a person's request for a credential: the facts that
// [DecidePersonLease] judges.
type PersonLeaseRequest struct {
	Key string `json:"id,omitzero"`
	// Credential is the policy's name for what is asked.
	Credential string `json:"credential,omitzero"`
	// Verified says that GitHub knows the token as this App's and of this person.
	// Person without it means nothing.
	Verified   Tri          `json:"verified,omitzero"`
	Person     Actor        `json:"person,omitzero"`
	Repository RepositoryID `json:"repository,omitzero"`
	// Installed says whether the App is installed on the repository and allowed.
	Installed Tri `json:"installed,omitzero"`
	// Write is GitHub's own answer whether the person may write to the repository now.
	Write Tri `json:"write,omitzero"`
	// Live is how many credentials the person has that have not ended.
	Live int       `json:"live,omitzero"`
	Now  time.Time `json:"now,omitzero"`
}
