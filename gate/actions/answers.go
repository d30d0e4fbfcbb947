package actions

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// The states of a hold. A server may have others: whoever does not know one does not go
// on.
const (
	Waiting  = "waiting"
	Released = "released"
	Rejected = "rejected"
	Denied   = "denied"
)

// State is a hold as it is now.
type State struct {
	// ID names the hold; empty where the job judged by itself.
	ID string `json:"id,omitzero"`
	// State is one of the constants above, or another that nobody here knows.
	State string `json:"state"`
	// Environment is GitHub's name; SHA, Run and Attempt are what would be deployed.
	Environment string      `json:"environment"`
	SHA         rules.SHA   `json:"sha"`
	Run         rules.RunID `json:"run_id"`
	Attempt     int         `json:"run_attempt"`
	// Decision is the judge's.
	Decision rules.Decision `json:"decision"`
	// Waits is one sentence: who can end it, and how. URL is where.
	Waits string `json:"waits,omitzero"`
	URL   string `json:"url,omitzero"`
	// Grant says that credentials may be asked for.
	Grant bool `json:"grant"`
	// RetryAfter is in how many seconds to ask again; 0 once nothing will change.
	RetryAfter int `json:"retry_after,omitzero"`
}

// Lease is a credential with the lease's own secret. It prints as a placeholder.
type Lease struct {
	// ID names the lease, Secret ends it.
	ID     string `json:"id"`
	Secret Secret `json:"-"`
	// Credential is the policy's name, Environment GitHub's.
	Credential  string `json:"credential"`
	Environment string `json:"environment"`
	// ExpiresAt is from when on nothing of it is alive.
	ExpiresAt time.Time `json:"expires_at"`
	// Values are what opens the target, by the provider's own names.
	Values map[string]Secret `json:"-"`
}

// String hides all of it.
func (Lease) String() string { return "(credential)" }

// GoString hides all of it.
func (Lease) GoString() string { return "(credential)" }

// LogValue hides all of it.
func (Lease) LogValue() slog.Value { return slog.StringValue("(credential)") }

// places are values that say where a target is and open nothing. To have the runner hide
// a port or the name of a database would hide the same word everywhere in the log, and
// drop outputs that have it.
func places() []string { return []string{"port", "database", "region"} }

// Secrets are everything of the lease that a log must not show: its own secret and all
// values but the places, and the pair of name and password as HTTP writes it.
func (l *Lease) Secrets() []Secret {
	out := []Secret{l.Secret}
	for _, key := range l.Keys() {
		if !slices.Contains(places(), key) {
			out = append(out, l.Values[key])
		}
	}
	if name, password := l.Values["username"], l.Values["password"]; name != "" && password != "" {
		out = append(out, name+":"+password)
	}
	return out
}

// Problem is a refusal of the server's, as RFC 9457 has it.
type Problem struct { //nolint:errname // RFC 9457 names it so
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	// Code is stable: docs/reasons.md for those that begin with SP.
	Code string `json:"code"`
	// Claim is the claim of the job's token that differed.
	Claim string `json:"claim"`

	after time.Duration // Retry-After
}

// Error is what the server said, in one line.
func (p *Problem) Error() string {
	s := fmt.Sprintf("the server answered %d", p.Status)
	if p.Code != "" {
		s += " " + p.Code
	}
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	if p.Claim != "" && !strings.Contains(p.Detail, "claim "+p.Claim) {
		s += " (the token's claim " + p.Claim + " differs)"
	}
	return cut(plain(s), maxMessage)
}

// NeedsHuman reports whether a credential was refused because nobody has released the
// job, or not in a way that still counts: somebody may do so yet.
func (p *Problem) NeedsHuman() bool {
	switch rules.Code(p.Code) {
	case "SP614", "SP616", "SP617", "SP618": // no release; it fell; it was no human's; it is too old
		return true
	}
	return false
}

var (
	// Lengths are looked at beside them: counted repeats take long to compile, at each
	// start of the program.
	idForm  = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	keyForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	nameOf  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	tokenIs = regexp.MustCompile(`^[A-Za-z0-9._~+/=-]+$`)
)

// isBearer reports whether s can stand in an Authorization header (RFC 6750 §2.1).
func isBearer(s string) bool { return len(s) <= maxBearer && tokenIs.MatchString(s) }

// maxBearer is the longest bearer in bytes that is sent.
const maxBearer = 16 << 10

// isID reports whether s can be the id of a hold or a lease.
func isID(s string) bool { return len(s) <= 64 && idForm.MatchString(s) }

// isKey reports whether s can be the name of a value.
func isKey(s string) bool { return len(s) <= 64 && keyForm.MatchString(s) }

// CredentialName reports whether a policy can have a credential of this name.
func CredentialName(s string) bool { return len(s) <= 100 && nameOf.MatchString(s) }
