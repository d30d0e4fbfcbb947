package broker

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Sign makes a token of Sallyport's issuer for a lease: for one audience, living no
// longer than life. Direct says that the token is used without an exchange.
type Sign func(ctx context.Context, l Lease, audience string, life time.Duration, direct bool) (string, error)

// The life of a token that is exchanged: relying parties take the same token twice, so
// that it lives no longer than an exchange needs.
const exchangeLife = 2 * time.Minute

// Token gives a token of Sallyport's issuer, for any relying party that trusts it.
type Token struct {
	// Sign and Audience are required.
	Sign     Sign
	Audience string
	// Life is how long a token lives that is used without an exchange; 0 is one that is
	// exchanged: two minutes.
	Life time.Duration
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
}

func (t *Token) life(l Lease) (life time.Duration, direct bool) {
	if t.Life <= 0 {
		return min(exchangeLife, l.Deadline.Sub(l.Made)), false
	}
	return min(t.Life, l.Deadline.Sub(l.Made)), true
}

// Mint signs a token. It cannot be revoked: it expires.
func (t *Token) Mint(ctx context.Context, l Lease) (map[string]string, []byte, error) {
	if t.Sign == nil || t.Audience == "" {
		return nil, nil, errors.New("a token target without an issuer or an audience")
	}
	life, direct := t.life(l)
	token, err := t.Sign(ctx, l, t.Audience, life, direct)
	if err != nil {
		return nil, nil, fmt.Errorf("signing a token: %w", err)
	}
	return map[string]string{"token": token}, nil, nil
}

// Revoke can end nothing: the token dies by its own exp, a moment after it was made.
func (t *Token) Revoke(_ context.Context, l Lease, _ []byte) error {
	now := time.Now
	if t.Now != nil {
		now = t.Now
	}
	life, _ := t.life(l)
	// It was signed within the time that making it may take.
	if until := l.Made.Add(life + signTime); now().Before(until) {
		return &NotYet{Until: until}
	}
	return nil
}

// signTime is how long after a lease was written down its token is signed at most.
const signTime = 30 * time.Second

// Inside says that signing makes nothing outside: [Inside].
func (*Token) Inside() {}

// Sweep has nothing to do.
func (*Token) Sweep(context.Context, time.Time) error { return nil }
