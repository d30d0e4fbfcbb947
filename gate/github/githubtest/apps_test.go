package githubtest_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

func (w *world) tokenPath() string {
	return "/app/installations/" + strconv.FormatInt(w.inst.ID, 10) + "/access_tokens"
}

func TestAppTokens(t *testing.T) {
	w := newWorld(t)
	w.g.Allow("401")
	key, err := testKey()
	w.must(err)
	now := w.clock.Now()
	signed := func(method jwt.SigningMethod, claims jwt.MapClaims) string {
		var with any = key
		if method == jwt.SigningMethodHS256 {
			with = []byte("guess")
		}
		s, err := jwt.NewWithClaims(method, claims).SignedString(with)
		w.must(err)
		return s
	}
	good := func() jwt.MapClaims {
		return jwt.MapClaims{"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(9 * time.Minute).Unix(), "iss": strconv.FormatInt(w.app.ID, 10)}
	}
	with := func(k string, v any) jwt.MapClaims {
		c := good()
		if v == nil {
			delete(c, k)
		} else {
			c[k] = v
		}
		return c
	}
	for _, c := range []struct {
		what, token string
		want        int
	}{
		{"a good token", signed(jwt.SigningMethodRS256, good()), 200},
		{"a number as issuer", signed(jwt.SigningMethodRS256, with("iss", w.app.ID)), 200},
		{"expired", signed(jwt.SigningMethodRS256, with("exp", now.Add(-time.Second).Unix())), 401},
		{"good for 20 minutes", signed(jwt.SigningMethodRS256, with("exp", now.Add(20*time.Minute).Unix())), 401},
		{"issued in the future", signed(jwt.SigningMethodRS256, with("iat", now.Add(2*time.Minute).Unix())), 401},
		{"no expiry", signed(jwt.SigningMethodRS256, with("exp", nil)), 401},
		{"an App that is not there", signed(jwt.SigningMethodRS256, with("iss", "1")), 401},
		{"HS256", signed(jwt.SigningMethodHS256, good()), 401},
		{"RS512", signed(jwt.SigningMethodRS512, good()), 401},
		{"rubbish", "a.b.c", 401},
	} {
		if a := w.call(c.token, "GET", "/app", nil); a.status != c.want {
			t.Errorf("%s answers %d, want %d: %s", c.what, a.status, c.want, a.body)
		}
	}
}

func TestInstallationTokensAreScoped(t *testing.T) {
	w := newWorld(t)
	w.g.Allow("the token lacks")
	w.g.Allow("401")
	other := w.g.Repository(w.acme, "other")
	secret := w.g.Repository(w.acme, "secret")
	w.inst.Add(w.carol, other)
	got := w.call(w.app.JWT(), "POST", w.tokenPath(), map[string]any{"repository_ids": []int64{w.repo.ID}, "permissions": map[string]string{"contents": "read", "pull_requests": "read"}})
	if got.status != 201 || got.len("repositories") != 1 {
		t.Fatalf("making a token answers %d, %d repositories", got.status, got.len("repositories"))
	}
	token, _ := got.get("token").(string)
	if !regexp.MustCompile(`^ghs_[A-Za-z0-9._-]{36,}$`).MatchString(token) || !strings.HasPrefix(token, fmt.Sprintf("ghs_%d_", w.app.ID)) || len(token) < 400 {
		t.Errorf("the token is %d characters: %.40s…", len(token), token)
	}
	for _, c := range []struct {
		method, path string
		body         any
		want         int
	}{
		{"GET", orders + "/contents/README.md", nil, 200},
		{"GET", "/repos/acme/other/contents/README.md", nil, 404},
		{"GET", "/repos/acme/secret/contents/README.md", nil, 404},
		{"POST", orders + "/check-runs", map[string]string{"name": "x", "head_sha": w.repo.Head("main")}, 403},
		{"GET", "/orgs/acme/teams/sre/memberships/bob", nil, 403},
	} {
		a := w.call(token, c.method, c.path, c.body)
		if a.status != c.want {
			t.Errorf("%s %s answers %d, want %d", c.method, c.path, a.status, c.want)
		}
		if c.want == 403 && a.get("message") != "Resource not accessible by integration" {
			t.Errorf("%s %s says %v", c.method, c.path, a.get("message"))
		}
	}
	if a := w.call(token, "GET", "/installation/repositories", nil); a.get("total_count") != 1.0 {
		t.Errorf("the token sees %v repositories, want 1", a.get("total_count"))
	}
	for what, body := range map[string]any{
		"more than granted":                  map[string]any{"permissions": map[string]string{"secrets": "read"}},
		"write where read was granted":       map[string]any{"permissions": map[string]string{"actions": "write"}},
		"a repository outside the selection": map[string]any{"repository_ids": []int64{secret.ID}},
		"a name outside the selection":       map[string]any{"repositories": []string{"secret"}},
	} {
		if a := w.call(w.app.JWT(), "POST", w.tokenPath(), body); a.status != 422 {
			t.Errorf("asking for %s answers %d, want 422", what, a.status)
		}
	}
	w.clock.Advance(61 * time.Minute)
	if a := w.call(token, "GET", orders, nil); a.status != 401 {
		t.Errorf("after an hour the token answers %d, want 401", a.status)
	}
}

func TestTheEndOfAToken(t *testing.T) {
	w := newWorld(t)
	w.g.Allow("401")
	w.g.Allow("403 This installation has been suspended")
	one := w.inst.Token()
	if a := w.call(one, "DELETE", "/installation/token", nil); a.status != http.StatusNoContent {
		t.Errorf("revoking answers %d", a.status)
	}
	if a := w.call(one, "GET", orders, nil); a.status != 401 {
		t.Errorf("a revoked token answers %d, want 401", a.status)
	}
	w.inst.Suspend(w.carol)
	if a := w.call(w.token, "GET", orders, nil); a.status != 403 {
		t.Errorf("a suspended installation's token answers %d, want 403", a.status)
	}
	if a := w.call(w.app.JWT(), "POST", w.tokenPath(), nil); a.status != 403 {
		t.Errorf("a token for a suspended installation answers %d, want 403", a.status)
	}
	w.inst.Unsuspend(w.carol)
	w.want(200, "GET", orders, nil)
	w.inst.Remove(w.carol, w.repo)
	if a := w.call(w.token, "GET", orders, nil); a.status != 404 {
		t.Errorf("a repository out of the selection answers %d, want 404", a.status)
	}
	w.inst.Uninstall(w.carol)
	if a := w.call(w.token, "GET", orders, nil); a.status != 401 {
		t.Errorf("an uninstalled App's token answers %d, want 401", a.status)
	}
}

func TestMembershipAndAccess(t *testing.T) {
	w := newWorld(t)
	path := "/orgs/acme/teams/sre/memberships/"
	w.sre.Invite(w.carol, w.dave)
	if got := w.want(200, "GET", path+"dave", nil); got.get("state") != "pending" {
		t.Errorf("an invited person is %v, want pending", got.get("state"))
	}
	child := w.acme.Team("sre-eu", w.eve)
	child.Below(w.sre)
	if got := w.want(200, "GET", path+"eve", nil); got.get("state") != "active" {
		t.Errorf("a child team's member is %v, want active", got.get("state"))
	}
	w.want(200, "GET", path+"BOB", nil) // logins have no case
	w.sre.Remove(w.carol, w.bob)
	w.want(404, "GET", path+"bob", nil)
	for login, want := range map[string]string{"alice": "write", "eve": "write", "carol": "admin", "bob": "none"} {
		if got := w.want(200, "GET", orders+"/collaborators/"+login+"/permission", nil); got.get("permission") != want {
			t.Errorf("%s may %v, want %s", login, got.get("permission"), want)
		}
	}
	w.repo.Collaborator(w.dave, "maintain")
	if got := w.want(200, "GET", orders+"/collaborators/dave/permission", nil); got.get("permission") != "write" || got.get("role_name") != "maintain" {
		t.Errorf("a maintainer reads %v, %v; want write, maintain", got.get("permission"), got.get("role_name"))
	}
	w.bob.Rename("robert")
	impostor := w.g.User("bob")
	if impostor.ID == w.bob.ID {
		t.Error("the free login has the old id")
	}
}

func TestRenamedRepositoriesRedirect(t *testing.T) {
	w := newWorld(t)
	w.repo.Rename(w.carol, "shop")
	a := w.call(w.token, "GET", orders+"/branches/main", nil)
	if a.status != 301 {
		t.Fatalf("the old name answers %d, want 301", a.status)
	}
	if b := w.want(200, "GET", a.header.Get("Location"), nil); b.get("name") != "main" {
		t.Errorf("the new place says %.200s", b.body)
	}
	if a := w.call(w.token, "POST", orders+"/issues/1/comments", map[string]string{"body": "x"}); a.status != 307 {
		t.Errorf("a write to the old name answers %d, want 307", a.status)
	}
	w.repo.Transfer(w.carol, w.g.Organization("globex"))
	if a := w.call(w.token, "GET", "/repos/globex/shop", nil); a.status != 404 {
		t.Errorf("after the transfer the old owner's installation gets %d, want 404", a.status)
	}
}

func TestAManifestIsRefusedWhole(t *testing.T) {
	w := newWorld(t)
	key, err := testKey()
	w.must(err)
	for _, event := range []string{"installation", "merge_group"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("an App with the event %s and without its permission was made", event)
				}
			}()
			w.g.App(githubtest.AppConfig{Slug: "x", Events: []string{event}, Key: key})
		}()
	}
}
