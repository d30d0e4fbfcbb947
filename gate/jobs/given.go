package jobs

import (
	"log/slog"
	"time"
)

// Given is a credential with the lease's own secret. It is written to the job that
// asked and nowhere else: it prints as a placeholder. Only as JSON, the body of an
// answer, is it what it is. Fields may be added and never changed.
type Given struct {
	// ID names the lease: 1 to 64 letters, digits, hyphens and underscores.
	ID string `json:"id"`
	// Secret ends the lease: whoever has it may. It is random, and of the characters
	// of a bearer token (RFC 6750 §2.1).
	Secret string `json:"secret"`
	// Credential is the policy's name, Environment GitHub's.
	Credential  string `json:"credential"`
	Environment string `json:"environment"`
	// ExpiresAt is from when on nothing of it is alive; it is shown in whole seconds,
	// rounded down.
	ExpiresAt time.Time `json:"expires_at"`
	// Values are what opens the target, by the provider's own names; all are secret.
	Values map[string]string `json:"values"`
}

// String hides all of it.
func (Given) String() string { return "(credential)" }

// GoString hides all of it.
func (Given) GoString() string { return "(credential)" }

// LogValue hides all of it.
func (Given) LogValue() slog.Value { return slog.StringValue("(credential)") }
