package githubtest

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"strings"
	"time"
)

// client is what an App signs people in with.
type client struct {
	id, secret string
	// disabled says that its settings do not allow the device flow.
	disabled bool
	// interval is how many seconds lie between two questions for a token.
	interval int
}

// device is one sign-in by the device flow
// (https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-user-access-token-for-a-github-app).
type device struct {
	app            *App
	code, userCode string
	expires        time.Time
	interval       time.Duration
	// asked is when a token was asked for last, by the real clock: one that stands still
	// would make every client too fast.
	asked time.Time
	user  *User
	// ended is the error that it ended with.
	ended string
}

const (
	deviceLife = 15 * time.Minute
	// userTokenLife is how long a user's token of an App lives.
	userTokenLife = 8 * time.Hour
	deviceGrant   = "urn:ietf:params:oauth:grant-type:device_code"
)

// OAuth is the App's client id and a client secret of it. They are made when they are
// first asked for; before that nobody can sign in.
func (a *App) OAuth() (id, secret string) {
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	if a.oauth.id == "" {
		a.oauth = client{id: "Iv23li" + rand.Text()[:14], secret: strings.ToLower(rand.Text() + rand.Text()[:14]), interval: 5}
	}
	return a.oauth.id, a.oauth.secret
}

// DeviceFlow allows or forbids the device flow, and says how many seconds a client must
// wait between two questions. It is allowed at first, with 5.
func (a *App) DeviceFlow(allowed bool, interval int) {
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	a.oauth.disabled, a.oauth.interval = !allowed, interval
}

// UserToken is a token that somebody gave the App by signing in, with its refresh token.
func (a *App) UserToken(u *User) (token, refresh string) {
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	t := a.userToken(u)
	return t.value, t.refresh
}

func (a *App) userToken(u *User) *token {
	t := &token{
		value: "ghu_" + rand.Text() + rand.Text()[:10], refresh: "ghr_" + rand.Text() + rand.Text() + rand.Text()[:24],
		user: u, app: a, expires: a.g.Now().Add(userTokenLife),
	}
	a.g.tokens[t.value] = t
	a.g.secrets.keep(SecretUser, t.value)
	a.g.secrets.keep(SecretRefresh, t.refresh)
	return t
}

// EndUserTokens ends all that somebody gave the App, as by revoking its authorization.
func (a *App) EndUserTokens(u *User) {
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	for value, t := range a.g.tokens {
		if t.app == a && t.user == u {
			delete(a.g.tokens, value)
		}
	}
}

// EnterCode is somebody who enters a device's code and authorizes the App, or cancels.
func (g *GitHub) EnterCode(u *User, userCode string, authorize bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.devices {
		if d.userCode != userCode || d.user != nil || d.ended != "" || !g.Now().Before(d.expires) {
			continue
		}
		if d.user = u; !authorize {
			d.user, d.ended = nil, "access_denied"
		}
		return nil
	}
	return notFound()
}

// serveLogin answers the pages below /login/ that programs ask: those of the web host.
func (g *GitHub) serveLogin(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	err := r.ParseForm()
	g.mu.Lock()
	defer g.mu.Unlock()
	status, answer := http.StatusNotFound, obj{"error": "Not Found"}
	switch {
	case err != nil:
		status = http.StatusBadRequest
	case r.Method != http.MethodPost:
		g.complain(r, "the device flow wants POST")
	case r.URL.RawQuery != "":
		g.complain(r, "what belongs into the body is in the address, where it is logged")
	case !strings.Contains(r.Header.Get("Accept"), "application/json"):
		g.complain(r, "without Accept: application/json GitHub answers as a form")
	case r.URL.Path == "/login/device/code":
		status, answer = g.startDevice(r)
	case r.URL.Path == "/login/oauth/access_token":
		status, answer = http.StatusOK, g.accessToken(r)
	}
	g.requests = append(g.requests, Request{Method: r.Method, Path: r.URL.EscapedPath(), Kind: r.Method + " " + r.URL.Path, At: g.Now(), Status: status})
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(encode(answer))
}

// clientOf is the App of a client id, or nil.
func (g *GitHub) clientOf(id string) *App {
	for _, a := range g.apps {
		if id != "" && a.oauth.id == id {
			return a
		}
	}
	return nil
}

func (g *GitHub) startDevice(r *http.Request) (int, obj) {
	a := g.clientOf(r.PostForm.Get("client_id"))
	switch {
	case a == nil:
		return http.StatusNotFound, obj{"error": "Not Found"}
	case a.oauth.disabled:
		return http.StatusBadRequest, oauthError("device_flow_disabled", "Device Flow must be explicitly enabled for this App")
	}
	if r.PostForm.Get("scope") != "" {
		g.complain(r, "an App's user tokens have no scopes")
	}
	text := rand.Text()
	d := &device{
		app: a, code: strings.ToLower(rand.Text() + rand.Text())[:40], userCode: text[:4] + "-" + text[4:8], expires: g.Now().Add(deviceLife),
		interval: time.Duration(a.oauth.interval) * time.Second,
	}
	if g.devices == nil {
		g.devices = map[string]*device{}
	}
	g.devices[d.code] = d
	g.secrets.keep(SecretDevice, d.code)
	return http.StatusOK, obj{
		"device_code": d.code, "user_code": d.userCode, "verification_uri": g.url + "/login/device", "expires_in": int(deviceLife / time.Second), "interval": a.oauth.interval,
	}
}

// accessToken gives a token for a device's code or for a refresh token.
func (g *GitHub) accessToken(r *http.Request) obj {
	a := g.clientOf(r.PostForm.Get("client_id"))
	if a == nil {
		return oauthError("incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect.")
	}
	switch r.PostForm.Get("grant_type") {
	case deviceGrant:
		return a.deviceToken(r.PostForm.Get("device_code"))
	case "refresh_token":
		for value, t := range g.tokens {
			if given := r.PostForm.Get("refresh_token"); t.app == a && given != "" && t.refresh == given {
				delete(g.tokens, value)
				return a.userToken(t.user).answer(g)
			}
		}
		return oauthError("bad_refresh_token", "The refresh token passed is incorrect or expired.")
	default:
		return oauthError("unsupported_grant_type", "The grant type is not known")
	}
}

func (a *App) deviceToken(code string) obj {
	g := a.g
	d := g.devices[code]
	switch {
	case d == nil || d.app != a:
		return oauthError("incorrect_device_code", "The device_code provided is not valid.")
	case d.ended != "":
		return oauthError(d.ended, "The authorization request is over.")
	case !g.Now().Before(d.expires):
		return oauthError("expired_token", "This 'device_code' has expired.")
	}
	// Half a second is left to networks that deliver one question late and the next in time.
	now := time.Now()
	early := now.Sub(d.asked) < d.interval-500*time.Millisecond
	d.asked = now
	if early {
		d.interval += 5 * time.Second
		v := oauthError("slow_down", "Too many requests have been made in the same timeframe.")
		v["interval"] = int(d.interval / time.Second)
		return v
	}
	if d.user == nil {
		return oauthError("authorization_pending", "The authorization request is still pending.")
	}
	d.ended = "incorrect_device_code" // a code gives one token
	return a.userToken(d.user).answer(g)
}

// answer is a token as the device flow gives it.
func (t *token) answer(g *GitHub) obj {
	return obj{
		"access_token": t.value, "expires_in": int(t.expires.Sub(g.Now()) / time.Second), "refresh_token": t.refresh, "refresh_token_expires_in": 15811200,
		"token_type": "bearer", "scope": "",
	}
}

func oauthError(code, text string) obj {
	return obj{"error": code, "error_description": text, "error_uri": "https://docs.github.com/apps"}
}

// basic is the App whose client id and secret are in the Authorization header.
func (g *GitHub) basic(r *http.Request) (caller, error) {
	id, secret, _ := r.BasicAuth()
	a := g.clientOf(id)
	if a == nil || subtle.ConstantTimeCompare([]byte(secret), []byte(a.oauth.secret)) != 1 {
		return caller{}, refuse(http.StatusUnauthorized, "Bad credentials")
	}
	return caller{kind: byClient, app: a, user: a.bot}, nil
}

func loginRoutes() []route {
	return []route{{pattern: "POST /applications/{client_id}/token", who: byClient, serve: (*call).checkToken}}
}

// checkToken is what GitHub says to an App of a token that it was given. A token of
// anybody else is none
// (https://docs.github.com/rest/apps/oauth-applications#check-a-token).
func (c *call) checkToken() (any, error) {
	var body struct {
		Token string `json:"access_token"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	t, a := c.g.tokens[body.Token], c.caller.app
	switch {
	case c.r.PathValue("client_id") != a.oauth.id:
		return nil, notFound()
	case body.Token == "":
		return nil, invalid("access_token is missing")
	case t == nil || t.app != a || t.user == nil || t.user.gone || !c.g.Now().Before(t.expires):
		return nil, notFound()
	}
	return obj{
		"id": t.user.ID, "url": c.g.api("authorizations", itoa(t.user.ID)), "scopes": []string{}, "token": t.value, "token_last_eight": t.value[len(t.value)-8:],
		"hashed_token": "", "app": obj{"client_id": a.oauth.id, "name": a.name, "url": c.g.cfg.WebURL + "/apps/" + a.slug}, "note": nil, "note_url": nil,
		"created_at": stamp(c.g.Now()), "updated_at": stamp(c.g.Now()), "fingerprint": nil, "expires_at": stamp(t.expires), "user": c.g.userView(t.user),
	}, nil
}
