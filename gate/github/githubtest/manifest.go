package githubtest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// This file is the manifest flow: the page on which a person registers an App, the
// exchange of its code, and the page on which the App is installed
// (https://docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest).

// manifestLife is how long a code is good.
const manifestLife = time.Hour

// web is the state of GitHub's web pages.
type web struct {
	signedIn *User
	codes    map[string]*registered
	last     *App
}

// registered is an App whose code was not exchanged yet.
type registered struct {
	app          *App
	clientID     string
	clientSecret string
	html         string
	at           time.Time
}

// SignIn says who looks at the web pages from now on; nil is nobody.
func (g *GitHub) SignIn(u *User) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.web.signedIn = u
}

// Registered is the App that was registered last from a manifest, or nil.
func (g *GitHub) Registered() *App {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.web.last
}

// NoWebhookSecret has the codes that wait exchanged for an answer whose webhook_secret
// is null, as GitHub's description allows.
func (g *GitHub) NoWebhookSecret() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.web.codes {
		r.app.secret = ""
	}
}

// manifest is what a manifest may say.
type manifest struct {
	Name    string `json:"name"`
	URL     string `json:"url"`
	Webhook struct {
		URL    string `json:"url"`
		Active *bool  `json:"active"`
	} `json:"hook_attributes"`
	Redirect    string            `json:"redirect_url"`
	Callbacks   []string          `json:"callback_urls"`
	Setup       string            `json:"setup_url"`
	Description string            `json:"description"`
	Public      bool              `json:"public"`
	Events      []string          `json:"default_events"`
	Permissions map[string]string `json:"default_permissions"`
	OAuth       bool              `json:"request_oauth_on_install"`
	OnUpdate    bool              `json:"setup_on_update"`
}

// manifestPermissions are the names that a manifest may ask for here, of the
// repository and of the organisation.
func manifestPermissions() []string {
	return []string{"actions", "administration", "checks", "contents", "deployments", "environments", "issues", "members", "merge_queues", "metadata", "pull_requests", "secrets", "statuses", "workflows"}
}

// webEvents are the events that need no permission but metadata's and may be named.
func webEvents() []string { return []string{"installation_target", "repository"} }

// wrong says why GitHub refuses a manifest; "" is fine.
func (m *manifest) wrong() string {
	address := func(s string) bool {
		u, err := url.Parse(s)
		return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
	}
	switch {
	case m.Name == "" || len(m.Name) > 34:
		return "Name must have 1 to 34 characters"
	case !address(m.URL):
		return "URL is missing or invalid"
	case !address(m.Redirect):
		return "Redirect URL is missing or invalid"
	case m.Webhook.URL != "" && !address(m.Webhook.URL):
		return "Hook url is invalid"
	case len(m.Callbacks) > 10 || slices.ContainsFunc(m.Callbacks, func(s string) bool { return !address(s) }):
		return "Callback urls are invalid"
	}
	for name, level := range m.Permissions {
		if !slices.Contains(manifestPermissions(), name) || level != "read" && level != "write" {
			return "Default permission records resource is not included in the list: " + name
		}
	}
	for _, e := range m.Events {
		need := eventNeeds(e)
		if need == "" && !slices.Contains(webEvents(), e) {
			return "Default events unsupported: " + e
		}
		if need != "" && m.Permissions[need] == "" {
			return "Default events are not supported by permissions: " + e
		}
	}
	return ""
}

// manifestRoutes are the REST routes of the flow.
func manifestRoutes() []route {
	return []route{{pattern: "POST /app-manifests/{code}/conversions", who: byAnyone, serve: (*call).convert}}
}

// convert exchanges a code, once and within the hour.
func (c *call) convert() (any, error) {
	code := c.r.PathValue("code")
	r := c.g.web.codes[code]
	delete(c.g.web.codes, code)
	if r == nil || c.g.Now().Sub(r.at) > manifestLife {
		return nil, notFound()
	}
	v := c.g.appView(r.app)
	maps.Copy(v, obj{
		"html_url": r.html, "client_id": r.clientID, "client_secret": r.clientSecret, "webhook_secret": textOrNil(r.app.secret), "pem": string(r.app.KeyPEM()),
	})
	c.status = http.StatusCreated
	return v, nil
}

// webPages adds the pages.
func (g *GitHub) webPages(mux *http.ServeMux) {
	mux.HandleFunc("POST /settings/apps/new", g.newAppPage)
	mux.HandleFunc("POST /organizations/{org}/settings/apps/new", g.newAppPage)
	mux.HandleFunc("POST /settings/apps/manifest", g.createApp)
	mux.HandleFunc("POST /organizations/{org}/settings/apps/manifest", g.createApp)
	mux.HandleFunc("GET /apps/{slug}/installations/new", g.installPage)
	mux.HandleFunc("POST /apps/{slug}/installations/new", g.installApp)
}

var webPage = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><title>{{.Title}}</title>
<style>body{font:16px/1.5 sans-serif;max-width:36rem;margin:3rem auto;padding:0 1rem}button{font:inherit;padding:.5rem 1rem}</style>
<h1>{{.Title}}</h1>{{if .Text}}<p>{{.Text}}</p>{{end}}{{if .Button}}<form method="post" action="{{.Action}}">{{range $k, $v := .Fields}}<input type="hidden" name="{{$k}}" value="{{$v}}">{{end}}<button id="go">{{.Button}}</button></form>{{end}}`))

// page is one simple page.
type page struct {
	Title, Text, Button, Action string
	Fields                      map[string]string
}

func (p page) write(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = webPage.Execute(w, p)
}

// ownerOf finds for whom the App of a request is to be; nil was refused.
func (g *GitHub) ownerOf(w http.ResponseWriter, r *http.Request) Owner {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch name := r.PathValue("org"); {
	case g.web.signedIn == nil:
		page{Title: "Sign in to GitHub"}.write(w, http.StatusUnauthorized)
	case name == "":
		return g.web.signedIn
	default:
		o := g.orgByLogin(name)
		if o != nil && o.owners[g.web.signedIn.ID] {
			return o
		}
		page{Title: "Not Found"}.write(w, http.StatusNotFound)
	}
	return nil
}

// readManifest reads and checks the manifest of a form; nil was refused.
func readManifest(w http.ResponseWriter, r *http.Request) *manifest {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	var m manifest
	d := json.NewDecoder(strings.NewReader(r.PostFormValue("manifest")))
	d.DisallowUnknownFields()
	why := "Invalid manifest"
	if err := d.Decode(&m); err == nil {
		why = m.wrong()
	}
	if why != "" {
		page{Title: "Invalid GitHub App configuration", Text: why}.write(w, http.StatusUnprocessableEntity)
		return nil
	}
	return &m
}

func (g *GitHub) newAppPage(w http.ResponseWriter, r *http.Request) {
	if g.ownerOf(w, r) == nil {
		return
	}
	m := readManifest(w, r)
	if m == nil {
		return
	}
	page{
		Title: "Create GitHub App", Text: m.Name, Button: "Create GitHub App", Action: strings.TrimSuffix(r.URL.Path, "new") + "manifest",
		Fields: map[string]string{"manifest": r.PostFormValue("manifest"), "state": r.URL.Query().Get("state")},
	}.write(w, http.StatusOK)
}

var notSlug = regexp.MustCompile(`[^a-z0-9]+`)

// createApp registers the App and sends the browser back with the code.
func (g *GitHub) createApp(w http.ResponseWriter, r *http.Request) {
	owner := g.ownerOf(w, r)
	if owner == nil {
		return
	}
	m := readManifest(w, r)
	if m == nil {
		return
	}
	slug := strings.Trim(notSlug.ReplaceAllString(strings.ToLower(m.Name), "-"), "-")
	g.mu.Lock()
	taken := false
	for _, a := range g.apps {
		taken = taken || a.slug == slug
	}
	g.mu.Unlock()
	if taken || slug == "" {
		page{Title: "Invalid GitHub App configuration", Text: "Name is already taken"}.write(w, http.StatusUnprocessableEntity)
		return
	}
	secret := ""
	if m.Webhook.URL != "" {
		secret = strings.ToLower(rand.Text() + rand.Text())
	}
	app := g.App(AppConfig{Slug: slug, Owner: owner, Permissions: m.Permissions, Events: m.Events, WebhookURL: m.Webhook.URL, Secret: secret})
	id, clientSecret := app.OAuth()
	code := strings.ToLower(rand.Text() + rand.Text()[:14])
	g.mu.Lock()
	app.name = m.Name
	g.web.codes[code] = &registered{
		app: app, clientID: id, clientSecret: clientSecret, html: "http://" + r.Host + "/apps/" + slug, at: g.Now(),
	}
	g.web.last = app
	if m.Webhook.URL != "" && (m.Webhook.Active == nil || *m.Webhook.Active) {
		app.ping()
	}
	g.mu.Unlock()
	back, err := url.Parse(m.Redirect)
	if err != nil {
		misuse("a redirect that was checked: %v", err)
	}
	q := back.Query()
	q.Set("code", code)
	if state := r.PostFormValue("state"); state != "" {
		q.Set("state", state)
	}
	back.RawQuery = q.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

// ping sends the event that a new webhook gets, which no installation has.
func (a *App) ping() {
	body := encode(obj{
		"zen": "Keep it logically awesome.", "hook_id": a.ID,
		"hook": obj{
			"type": "App", "id": a.ID, "name": "web", "active": true, "events": a.events, "app_id": a.ID, "created_at": stamp(a.created), "updated_at": stamp(a.created),
			"config": obj{"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": a.webhookURL},
		},
	})
	m := &message{guid: guid(), app: a, event: "ping", packed: a.g.pack(body)}
	a.g.queue(m, body)
}

// appOfPage is the App of an installation page.
func (g *GitHub) appOfPage(w http.ResponseWriter, r *http.Request) *App {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range g.apps {
		if a.slug == r.PathValue("slug") && g.web.signedIn != nil {
			return a
		}
	}
	page{Title: "Not Found"}.write(w, http.StatusNotFound)
	return nil
}

func (g *GitHub) installPage(w http.ResponseWriter, r *http.Request) {
	if a := g.appOfPage(w, r); a != nil {
		page{Title: "Install " + a.name, Text: fmt.Sprintf("On all repositories of %s", a.owner.login), Button: "Install", Action: r.URL.Path}.write(w, http.StatusOK)
	}
}

// installApp installs the App on all repositories of its owner.
func (g *GitHub) installApp(w http.ResponseWriter, r *http.Request) {
	a := g.appOfPage(w, r)
	if a == nil {
		return
	}
	var owner Owner = a.owner
	g.mu.Lock()
	for _, o := range g.orgs {
		if o.user == a.owner {
			owner = o
		}
	}
	g.mu.Unlock()
	a.Install(owner)
	page{Title: a.name + " is installed"}.write(w, http.StatusOK)
}
