package githubtest

import (
	"maps"
	"slices"
	"sync"
)

// The kinds of [GitHub.Secrets].
const (
	SecretInstallation = "installation token"  // that an App got
	SecretUser         = "user token"          // a person's, also by a device's code
	SecretRefresh      = "refresh token"       // that came with it
	SecretDevice       = "device code"         // that a token is asked with
	SecretJob          = "job token"           // a job's OIDC token
	SecretRequest      = "job's request token" // that a job asks for its OIDC token with
	SecretShown        = "shown bearer"        // any other that a request came with, such as an App's own JWT
)

// secrets are all that were made or shown. They have a lock of their own: the issuer
// signs without the GitHub's.
type secrets struct {
	mu  sync.Mutex
	all map[string]map[string]bool
}

func (s *secrets) keep(kind, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]map[string]bool{}
	}
	if kind == SecretShown {
		for _, known := range s.all {
			if known[value] {
				return
			}
		}
	}
	if s.all[kind] == nil {
		s.all[kind] = map[string]bool{}
	}
	s.all[kind][value] = true
}

// Secrets are every secret that this GitHub ever gave or was shown, by its kind, for
// tests that look for them where they must not be.
func (g *GitHub) Secrets() map[string][]string {
	g.secrets.mu.Lock()
	defer g.secrets.mu.Unlock()
	out := map[string][]string{}
	for kind, values := range g.secrets.all {
		out[kind] = slices.Sorted(maps.Keys(values))
	}
	return out
}
