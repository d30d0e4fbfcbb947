package githubtest

import (
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// An App is a GitHub App.
type App struct {
	g *GitHub
	// ID is the App's number.
	ID          int64
	slug        string
	name        string
	owner       *User
	permissions map[string]string
	events      []string
	webhookURL  string
	secret      string
	bot         *User
	key         *rsa.PrivateKey
	created     time.Time
	queue       []*Delivery // to send, in order
	held        []*Delivery
	log         []*Delivery // every attempt, oldest first
	sending     int
	emitted     int // first attempts so far
	fate        func(Event) Fate
	oauth       client // what people sign in with
}

// AppConfig describes an App.
type AppConfig struct {
	// Slug is the App's short name; its bot is Slug + "[bot]".
	Slug string
	// Owner owns the App. Default: an organisation of the App's slug + "-owner".
	Owner Owner
	// Permissions are what an installation gets, such as "checks": "write".
	Permissions map[string]string
	// Events are the webhooks it subscribes to.
	Events []string
	// WebhookURL takes the webhooks. Without one they are recorded and not sent.
	WebhookURL string
	// Secret signs webhooks.
	Secret string
	// ID is the App's number; chosen if 0.
	ID int64
	// Key is the App's key; made if nil (which takes a moment).
	Key *rsa.PrivateKey
}

// eventNeeds names the permission that an event needs; events not listed need
// none.
func eventNeeds(event string) string {
	switch event {
	case "check_run", "check_suite":
		return "checks"
	case "deployment", "deployment_status", "deployment_review", "deployment_protection_rule":
		return "deployments"
	case "workflow_job", "workflow_run":
		return "actions"
	case "merge_group":
		return "merge_queues"
	case "pull_request", "pull_request_review":
		return "pull_requests"
	case "push", "workflow_dispatch":
		return "contents"
	case "status":
		return "statuses"
	case "member", "membership", "organization", "team", "team_add":
		return "members"
	case "issue_comment":
		return "issues"
	case "branch_protection_configuration", "branch_protection_rule", "repository_ruleset":
		return "administration"
	}
	return ""
}

// App makes an App. It panics when an event lacks its permission, as GitHub refuses
// such a manifest whole.
func (g *GitHub) App(c AppConfig) *App {
	key := c.Key
	if key == nil {
		key = newKey()
	}
	if c.Owner == nil {
		c.Owner = g.Organization(c.Slug + "-owner")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range c.Events {
		if e == "installation" || e == "installation_repositories" {
			misuse("event %q cannot be subscribed to: it always comes", e)
		}
		if need := eventNeeds(e); need != "" && c.Permissions[need] == "" {
			misuse("Default events are not supported by permissions: %s", e)
		}
	}
	owner, _ := c.Owner.ownerParts()
	a := g.addApp(cmp.Or(c.ID, g.newSmallID()), c.Slug, c.Slug, owner, c.Permissions, c.Events)
	a.key, a.webhookURL, a.secret = key, c.WebhookURL, c.Secret
	for range g.cfg.Parallel {
		g.served.Go(a.send)
	}
	return a
}

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		misuse("making a key: %v", err)
	}
	return key
}

func (g *GitHub) addApp(id int64, slug, name string, owner *User, permissions map[string]string, events []string) *App {
	a := &App{g: g, ID: id, slug: slug, name: name, owner: owner, permissions: maps.Clone(permissions), events: slices.Clone(events), created: g.Now()}
	if a.permissions == nil {
		a.permissions = map[string]string{}
	}
	a.permissions["metadata"] = "read"
	a.bot = g.addUser(g.newSmallID(), slug+"[bot]", "Bot", "")
	a.bot.email = fmt.Sprintf("%d+%s[bot]@users.noreply.github.com", a.bot.ID, slug)
	a.bot.app = a
	g.apps[id] = a
	return a
}

// actionsApp is the App github-actions, in which workflow jobs show.
func (g *GitHub) actionsApp() *App {
	owner := &User{g: g, ID: 9919, Type: "Organization", login: "github", name: "GitHub"}
	return g.addApp(15368, "github-actions", "GitHub Actions", owner, map[string]string{"actions": "write", "checks": "write", "contents": "write", "deployments": "write", "pull_requests": "write", "statuses": "write"}, nil)
}

// Actions is the App github-actions, id 15368.
func (g *GitHub) Actions() *App { return g.actions }

// Bot is the App's account.
func (a *App) Bot() *User { return a.bot }

// Slug is the App's short name.
func (a *App) Slug() string { return a.slug }

// KeyPEM is the App's private key as GitHub gives it.
func (a *App) KeyPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(a.key)})
}

// Webhook changes where webhooks go and what signs them.
func (a *App) Webhook(url, secret string) {
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	a.webhookURL, a.secret = url, secret
}

// JWT is a fresh token of the App itself.
func (a *App) JWT() string {
	now := a.g.Now()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(9 * time.Minute).Unix(), "iss": strconv.FormatInt(a.ID, 10),
	}).SignedString(a.key)
	if err != nil {
		misuse("signing: %v", err)
	}
	return signed
}

// An Installation is an App on an account.
type Installation struct {
	app *App
	// ID is the installation's number.
	ID          int64
	account     *User
	org         *Organization
	selected    bool
	repos       map[int64]bool
	permissions map[string]string
	suspended   time.Time
	suspender   *User
	created     time.Time
}

// Install installs the App on an account: on these repositories, or on all if none
// are named.
func (a *App) Install(on Owner, repos ...*Repository) *Installation {
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	account, org := on.ownerParts()
	i := &Installation{app: a, ID: a.g.newSmallID(), account: account, org: org, selected: len(repos) > 0, repos: map[int64]bool{}, permissions: maps.Clone(a.permissions), created: a.g.Now()}
	if org == nil {
		// A person's account has no members, and no permission about any.
		for _, name := range organizationPermissions() {
			delete(i.permissions, name)
		}
	}
	for _, r := range repos {
		i.repos[r.ID] = true
	}
	a.g.installs[i.ID] = i
	i.event("created", account, obj{"repositories": i.repoList()})
	return i
}

// organizationPermissions are those that there are of organisations alone.
func organizationPermissions() []string {
	return []string{"members", "organization_administration", "organization_secrets", "organization_self_hosted_runners"}
}

func (i *Installation) event(action string, by *User, extra obj) {
	payload := obj{"installation": i.app.g.installationView(i)}
	maps.Copy(payload, extra)
	i.app.g.emitTo(i, nil, "installation", action, by, payload)
}

func (i *Installation) covers(r *Repository) bool {
	return r.owner == i.account && (!i.selected || i.repos[r.ID])
}

func (i *Installation) repositories() []*Repository {
	var out []*Repository
	for _, r := range i.app.g.sortedRepos() {
		if i.covers(r) {
			out = append(out, r)
		}
	}
	return out
}

func (i *Installation) repoList() []any {
	out := []any{}
	for _, r := range i.repositories() {
		out = append(out, r.shortView())
	}
	return out
}

// Add puts a repository into the installation's selection.
func (i *Installation) Add(by *User, r *Repository) { i.change(by, r, true) }

// Remove takes a repository out of the installation's selection.
func (i *Installation) Remove(by *User, r *Repository) { i.change(by, r, false) }

func (i *Installation) change(by *User, r *Repository, in bool) {
	i.app.g.mu.Lock()
	defer i.app.g.mu.Unlock()
	if !i.selected {
		misuse("the installation covers all repositories")
	}
	action, added, removed := "added", []any{r.shortView()}, []any{}
	if in {
		i.repos[r.ID] = true
	} else {
		delete(i.repos, r.ID)
		action, added, removed = "removed", removed, added
	}
	i.selection(action, by, added, removed)
}

// selection tells which repositories an installation reaches now and before did not, or
// does not any more.
func (i *Installation) selection(action string, by *User, added, removed []any) {
	view := i.app.g.installationView(i)
	i.app.g.emitTo(i, nil, "installation_repositories", action, by, obj{
		"installation": view, "repository_selection": view["repository_selection"], "repositories_added": added, "repositories_removed": removed, "requester": nil,
	})
}

// Suspend suspends the installation: its tokens answer 403 and no webhook comes.
func (i *Installation) Suspend(by *User) {
	i.app.g.mu.Lock()
	defer i.app.g.mu.Unlock()
	i.suspended, i.suspender = i.app.g.Now(), by
	i.event("suspend", by, nil)
}

// Unsuspend ends that.
func (i *Installation) Unsuspend(by *User) {
	i.app.g.mu.Lock()
	defer i.app.g.mu.Unlock()
	i.suspended, i.suspender = time.Time{}, nil
	i.event("unsuspend", by, nil)
}

// Uninstall removes the installation; its tokens end.
func (i *Installation) Uninstall(by *User) {
	i.app.g.mu.Lock()
	defer i.app.g.mu.Unlock()
	i.event("deleted", by, obj{"repositories": i.repoList()})
	delete(i.app.g.installs, i.ID)
}

// Permit sets what the installation was granted, as an owner who accepts or has
// not yet accepted new permissions.
func (i *Installation) Permit(by *User, permissions map[string]string) {
	i.app.g.mu.Lock()
	defer i.app.g.mu.Unlock()
	i.permissions = maps.Clone(permissions)
	i.permissions["metadata"] = "read"
	i.event("new_permissions_accepted", by, obj{"repositories": i.repoList()})
}

// Token is a fresh token for all repositories and permissions of the installation.
func (i *Installation) Token() string {
	i.app.g.mu.Lock()
	defer i.app.g.mu.Unlock()
	return i.app.g.newToken(i, nil, maps.Clone(i.permissions)).value
}

// installation is the App's installation on a repository, or nil.
func (r *Repository) installation(a *App) *Installation {
	for _, i := range r.g.installs {
		if i.app == a && i.covers(r) && i.suspended.IsZero() {
			return i
		}
	}
	return nil
}

func (g *GitHub) installationsOf(r *Repository) []*Installation {
	var out []*Installation
	for _, i := range g.installs {
		if i.covers(r) && i.suspended.IsZero() {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b *Installation) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (g *GitHub) sortedRepos() []*Repository {
	return slices.SortedFunc(maps.Values(g.repos), func(a, b *Repository) int { return cmp.Compare(a.ID, b.ID) })
}

// token is what an Authorization header may hold, besides an App's own JWT.
type token struct {
	value       string
	install     *Installation
	user        *User
	repos       map[int64]bool // nil: all of the installation's
	permissions map[string]string
	expires     time.Time
	// A person gave it to the App app by signing in, with the token refresh.
	app     *App
	refresh string
}

// newToken makes an installation token in GitHub's present form: ghs_, the App's
// number and a JWT of about 500 characters.
func (g *GitHub) newToken(i *Installation, repos map[int64]bool, permissions map[string]string) *token {
	expires := g.Now().Add(time.Hour)
	claims, err := json.Marshal(obj{"iat": g.Now().Unix(), "exp": expires.Unix(), "jti": rand.Text(), "sub": i.ID, "pad": rand.Text() + rand.Text() + rand.Text()})
	if err != nil {
		misuse("a token's claims: %v", err)
	}
	signature := make([]byte, 192)
	if _, err := rand.Read(signature); err != nil {
		misuse("random bytes: %v", err)
	}
	enc := base64.RawURLEncoding
	value := fmt.Sprintf("ghs_%d_%s.%s.%s", i.app.ID, enc.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`)), enc.EncodeToString(claims), enc.EncodeToString(signature))
	t := &token{value: value, install: i, repos: repos, permissions: permissions, expires: expires}
	g.tokens[value] = t
	g.secrets.keep(SecretInstallation, value)
	return t
}

// UserToken is a token that a person made, which may do what the person may. It is of
// no App and does not expire. See [App.UserToken].
func (g *GitHub) UserToken(u *User) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	value := "ghu_" + rand.Text() + rand.Text()[:10]
	g.tokens[value] = &token{value: value, user: u}
	g.secrets.keep(SecretUser, value)
	return value
}

// Tokens counts the installation tokens that were made and still live, for tests of
// scoping and of caching.
func (g *GitHub) Tokens() (live int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.tokens {
		if t.install != nil && g.Now().Before(t.expires) {
			live++
		}
	}
	return live
}

// appOf checks a JWT of an App.
func (g *GitHub) appOf(raw string) (*App, error) {
	var app *App
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation())
	_, err := parser.ParseWithClaims(raw, claims, func(*jwt.Token) (any, error) {
		app = g.apps[asID(claims["iss"])]
		if app == nil || app.key == nil {
			return nil, fmt.Errorf("no App %v", claims["iss"])
		}
		return &app.key.PublicKey, nil
	})
	if err != nil {
		return nil, refuse(http.StatusUnauthorized, "A JSON web token could not be decoded")
	}
	now := g.Now()
	issued, errIat := claims.GetIssuedAt()
	expires, errExp := claims.GetExpirationTime()
	switch {
	case errIat != nil || issued == nil:
		return nil, refuse(http.StatusUnauthorized, "Missing 'issued at' claim ('iat') in assertion")
	case errExp != nil || expires == nil:
		return nil, refuse(http.StatusUnauthorized, "Missing 'expiration' claim ('exp') in assertion")
	case issued.After(now.Add(5 * time.Second)):
		return nil, refuse(http.StatusUnauthorized, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued")
	case !expires.After(now):
		return nil, refuse(http.StatusUnauthorized, "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires")
	case expires.After(now.Add(10*time.Minute + time.Second)):
		return nil, refuse(http.StatusUnauthorized, "'Expiration time' claim ('exp') is too far in the future")
	}
	return app, nil
}

// asID reads an id that is a number or a numeric text.
func asID(v any) int64 {
	switch x := v.(type) {
	case float64:
		return int64(x)
	case string:
		n, err := strconv.ParseInt(strings.TrimSpace(x), 10, 64)
		if err == nil {
			return n
		}
	}
	return 0
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
