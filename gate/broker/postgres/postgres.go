package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/rules"
)

// Provider is a [broker.Provider].
var _ broker.Provider = (*Provider)(nil)

const (
	// maxMaking and maxEnding are how many leases are made, and how many are ended, at
	// the same moment. Each has a connection, of which a server has 100 by default.
	// Ending has its own, so that no rush for leases can hold it up.
	maxMaking = 8
	maxEnding = 8
	// maxName is how many bytes PostgreSQL keeps of a name: it would cut a longer one,
	// and mean another group.
	maxName = 63
)

// Config is what a provider works with. The zero value works.
type Config struct {
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
	// Log is told what an administrator should look at. Nil is silence.
	Log *slog.Logger
	// Resolver looks names up; nil is the system's.
	Resolver *net.Resolver
	// Control is asked before each connection, with the address that the name was
	// resolved to, after the provider's own check passed it; an error ends the try. Nil
	// asks nobody. See [net.Dialer].
	Control func(network, address string, c syscall.RawConn) error
}

// Provider makes and ends login roles of one database server. It is safe for
// concurrent use; any number of them may serve one database.
type Provider struct {
	cfg     Config
	urlFile string
	groups  map[rules.Capability]string
	private bool

	// making and ending hold a place for each connection.
	making, ending chan struct{}
	// guard is held while a watchdog is started, so that one is started and not one
	// for each lease.
	guard sync.Mutex
	idle  idle
}

// New makes the provider of a target; private is the target's own word that its
// address may be in a private range or on this machine. It reads the address once, so
// that a mistake is found now, and again for each connection, so that a new one counts
// at once. It connects to nothing: see [Provider.Check].
func New(target *rules.PostgresTarget, private bool, cfg Config) (*Provider, error) {
	if target == nil || len(target.Groups) == 0 {
		return nil, errors.New("postgres: no group: say groups: {write: NAME} in the targets file")
	}
	for _, capability := range slices.Sorted(maps.Keys(target.Groups)) {
		if capability != rules.CapabilityRead && capability != rules.CapabilityWrite {
			return nil, fmt.Errorf("postgres: unknown capability %q: want read or write", capability)
		}
		if err := checkGroup(target.Groups[capability]); err != nil {
			return nil, fmt.Errorf("postgres: the group for %s: %w", capability, err)
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	p := &Provider{
		cfg: cfg, urlFile: target.URLFile, groups: maps.Clone(target.Groups), private: private,
		making: make(chan struct{}, maxMaking), ending: make(chan struct{}, maxEnding),
	}
	if _, err := p.address(); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	return p, nil
}

// checkGroup refuses what PostgreSQL would take for another name, or for none.
func checkGroup(name string) error {
	switch {
	case name == "" || !utf8.ValidString(name) || strings.Contains(name, "\x00"):
		return fmt.Errorf("%q is no name of a role", name)
	case len(name) > maxName:
		return fmt.Errorf("%q has more than %d bytes, and PostgreSQL would cut it to another name", name, maxName)
	case name == "none" || name == "public" || strings.HasPrefix(name, "pg_"):
		return fmt.Errorf("%q is PostgreSQL's own: want a group that was made for this", name)
	case isLeaseRole(name):
		return fmt.Errorf("%q is the role of a lease: want a group", name)
	}
	return nil
}

// address is where the database is at this moment.
func (p *Provider) address() (address, error) {
	a, err := readAddress(p.urlFile)
	if err != nil {
		return address{}, err
	}
	if _, err := a.tls(); err != nil {
		return address{}, err
	}
	return a, a.check(p.private)
}

// place waits for one of the places of a channel.
func place(ctx context.Context, places chan struct{}) (leave func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
