package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// Tokens makes and revokes installation tokens of the App.
type Tokens interface {
	// ScopedToken makes a token for named repositories and permissions, and no others.
	ScopedToken(ctx context.Context, repositories []rules.RepositoryID, permissions map[string]string) (token string, expires time.Time, err error)
	// RevokeToken revokes a token: one that is dead already is revoked.
	RevokeToken(ctx context.Context, token string) error
}

// GitHub gives an installation token for named repositories and permissions
// (https://docs.github.com/rest/apps/apps#create-an-installation-access-token-for-an-app).
type GitHub struct {
	// All are required. Without repositories or permissions GitHub would give all.
	Tokens       Tokens
	Repositories []rules.RepositoryID
	Permissions  map[string]string
}

// Mint makes a token. It lives an hour unless it is revoked.
func (g *GitHub) Mint(ctx context.Context, _ Lease) (map[string]string, []byte, error) {
	if g.Tokens == nil || len(g.Repositories) == 0 || len(g.Permissions) == 0 {
		return nil, nil, errors.New("a GitHub target without repositories or permissions would open everything")
	}
	token, _, err := g.Tokens.ScopedToken(ctx, g.Repositories, g.Permissions)
	if err != nil {
		return nil, nil, fmt.Errorf("making an installation token: %w", err)
	}
	return map[string]string{"token": token}, []byte(token), nil
}

// tokenLife is how long an installation token lives.
const tokenLife = time.Hour

// Revoke revokes the token. One that was made and whose answer was lost is not known:
// GitHub ends it an hour after.
func (g *GitHub) Revoke(ctx context.Context, l Lease, handle []byte) error {
	if len(handle) == 0 {
		if until := l.Made.Add(tokenLife + signTime); time.Now().Before(until) {
			return &NotYet{Until: until}
		}
		return nil
	}
	return g.Tokens.RevokeToken(ctx, string(handle))
}

// Sweep has nothing to do: GitHub lists no tokens.
func (*GitHub) Sweep(context.Context, time.Time) error { return nil }
