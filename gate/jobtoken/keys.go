package jobtoken

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/sallyport/sallyport/rules"
)

const (
	// keysFresh is how long keys are used before the issuer is asked again: the
	// longest that a key which it withdrew still counts.
	keysFresh = time.Hour
	// keysStale is how old keys may be while the issuer cannot be reached.
	keysStale = 24 * time.Hour
	// between is the least time between two looks at the issuer, whatever made them
	// and however they went, so that forged tokens make no flood of our requests.
	between = 30 * time.Second
)

var errNotAsked = errors.New("the issuer was not asked yet")

// keySet is the issuer's keys. They are read when a token needs them.
type keySet struct {
	cfg    *Config
	issuer *url.URL

	// mu guards what follows. It is held for a look, never for a request.
	mu      sync.Mutex
	known   map[string]*rsa.PublicKey // replaced, never changed
	fetched time.Time                 // when known was asked for
	tried   time.Time                 // when the issuer was last asked
	failed  error                     // how that went
	flight  chan struct{}             // closed when the request under way has ended; nil if there is none
}

// find returns the key of that name. It waits for the issuer where it must be
// asked, and with everybody else for one and the same request.
func (s *keySet) find(ctx context.Context, kid string) (*rsa.PublicKey, error) {
	for {
		s.mu.Lock()
		key, flight, err := s.lookLocked(kid)
		s.mu.Unlock()
		if flight == nil {
			return key, err
		}
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the keys of %s: %w", s.cfg.Issuer, context.Cause(ctx))
		}
	}
}

// lookLocked returns a key, or an error, or what to wait for before looking again.
func (s *keySet) lookLocked(kid string) (*rsa.PublicKey, <-chan struct{}, error) {
	now := s.cfg.Now()
	age, since := now.Sub(s.fetched), now.Sub(s.tried)
	key := s.known[kid]
	fresh := s.known != nil && age >= 0 && age < keysFresh
	switch {
	case fresh && key != nil:
		return key, nil, nil
	case s.flight != nil:
		return nil, s.flight, nil
	case s.tried.IsZero() || since < 0 || since >= between:
		s.flight, s.tried, s.failed = make(chan struct{}), now, errNotAsked
		go s.refresh(now, s.flight)
		return nil, s.flight, nil
	case key != nil && age < keysStale:
		return key, nil, nil
	case fresh && s.failed == nil:
		return nil, nil, refuse(rules.TokenKey, "", "the issuer %s publishes no key %.64q", s.cfg.Issuer, kid)
	default:
		return nil, nil, fmt.Errorf("the keys of %s cannot be read: %w", s.cfg.Issuer, s.failed)
	}
}

// refresh asks the issuer, for no caller in particular: one that goes away must not
// end it for the others. It ends by itself after [requestTime].
func (s *keySet) refresh(now time.Time, flight chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTime)
	defer cancel()
	keys, err := s.fetch(ctx)
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "the keys of the jobs' issuer cannot be read", slog.String("issuer", s.cfg.Issuer), slog.Any("cause", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.known, s.fetched = keys, now
	}
	s.failed, s.flight = err, nil
	close(flight)
}
