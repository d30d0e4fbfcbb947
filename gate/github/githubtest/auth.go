package githubtest

import (
	"net/http"
	"strings"
)

// who says which kinds of callers a route answers; they add up.
type who int

const (
	byAnyone who = 1 << iota // without any token
	byApp
	byInstallation
	byUser
	byClient // an App's client id and secret
	byToken  = byInstallation | byUser
)

// caller is who sends a request.
type caller struct {
	kind who
	app  *App
	tok  *token
	// user is who acts: a person, or the App's bot.
	user *User
}

func (c caller) key() string {
	switch c.kind {
	case byApp:
		return "app " + itoa(c.app.ID)
	case byClient:
		return "client " + c.app.oauth.id
	case byInstallation:
		return itoa(c.tok.install.ID)
	case byUser:
		return "user " + itoa(c.user.ID)
	default:
		return "anonymous"
	}
}

// authenticate reads the Authorization header.
func (g *GitHub) authenticate(r *http.Request) (caller, error) {
	scheme, raw, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	bad := refuse(http.StatusUnauthorized, "Bad credentials")
	switch {
	case r.Header.Get("Authorization") == "":
		return caller{kind: byAnyone}, nil
	case ok && strings.EqualFold(scheme, "basic"):
		return g.basic(r)
	case !ok || !strings.EqualFold(scheme, "bearer") && !strings.EqualFold(scheme, "token"):
		return caller{}, bad
	}
	g.secrets.keep(SecretShown, raw)
	if t := g.tokens[raw]; t != nil {
		if t.user != nil {
			if t.user.gone || !t.expires.IsZero() && !g.Now().Before(t.expires) {
				return caller{}, bad
			}
			return caller{kind: byUser, tok: t, user: t.user}, nil
		}
		switch {
		case !g.Now().Before(t.expires), g.installs[t.install.ID] == nil:
			return caller{}, bad
		case !t.install.suspended.IsZero():
			return caller{}, refuse(http.StatusForbidden, "This installation has been suspended")
		}
		return caller{kind: byInstallation, app: t.install.app, tok: t, user: t.install.app.bot}, nil
	}
	if strings.Count(raw, ".") != 2 {
		return caller{}, bad
	}
	app, err := g.appOf(raw)
	if err != nil {
		return caller{}, err
	}
	return caller{kind: byApp, app: app, user: app.bot}, nil
}

// reaches reports whether a caller knows that a repository exists.
func (c caller) reaches(r *Repository) bool {
	switch c.kind {
	case byInstallation:
		return c.tok.install.covers(r) && (c.tok.repos == nil || c.tok.repos[r.ID]) || !r.private
	case byUser:
		return r.may(c.user, "read")
	default:
		return !r.private
	}
}

// holds reports whether a caller has one of the permissions, each "name:level", on
// a repository or (r nil) on an organisation. metadata:read is every token's.
func (c caller) holds(needs []string, r *Repository, o *Organization) bool {
	for _, n := range needs {
		name, level, _ := strings.Cut(n, ":")
		switch c.kind {
		case byInstallation:
			i := c.tok.install
			if r != nil && !(i.covers(r) && (c.tok.repos == nil || c.tok.repos[r.ID])) {
				if !r.private && level == "read" {
					return true // anybody's token reads what is public
				}
				continue
			}
			if o != nil && i.org != o {
				continue
			}
			granted, installed := c.tok.permissions[name], i.permissions[name]
			if name == "metadata" || granted == "write" && installed == "write" || level == "read" && granted != "" && installed != "" {
				return true
			}
		case byUser:
			want := level
			if name == "administration" {
				want = "admin"
			}
			if r != nil && r.may(c.user, want) || o != nil && (level == "read" || o.owners[c.user.ID]) {
				return true
			}
		default:
			return true
		}
	}
	return len(needs) == 0
}
