package setup

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/gate/github"
)

//go:embed pages
var pages embed.FS

// Limits of the flow.
const (
	// life is how long a page's button is good, as long as GitHub takes its code.
	life = time.Hour
	// maxStates is how many pages may be open at once.
	maxStates = 32
	// tries and pause are how often, and how far apart, GitHub is asked for the App
	// when it does not answer: the code is all that there is.
	tries = 4
	pause = 500 * time.Millisecond
	// wait is how long the last page waits to be shown.
	wait = time.Minute
)

// Flow is the local page. It is made by [Start].
type Flow struct {
	cfg      Config
	listener net.Listener
	server   *http.Server
	host     string // what the Host header has to be
	base     string // path below which everything is: nobody else on this machine knows it
	page     *template.Template

	// mu guards the rest. It is held while GitHub is asked, so that a callback that
	// comes twice is answered twice and worked on once.
	mu     sync.Mutex
	states []state
	result *Result
	failed string
	done   chan struct{} // closed with the result
	shown  chan struct{} // closed when the last page was shown
}

// state is one button that was shown.
type state struct {
	value   string
	expires time.Time
	// code is the first that came with it; no other one is taken.
	code string
}

// Result is what came of it.
type Result struct {
	Slug, Owner string
	ID          int64
	// Settings is the App's page on GitHub, Install where it is installed.
	Settings, Install string
	// Folder is where the files are, Env the env file among them.
	Folder, Env string
	// Notes are what the person has to look at.
	Notes []string
	URL   string
	ACME  bool
	Rerun bool
}

// Start listens at an address of this machine, such as 127.0.0.1:0.
func Start(ctx context.Context, cfg Config, listen string) (*Flow, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil || !loopback(host) {
		return nil, fmt.Errorf("--listen: %q: the page is for this machine alone: want 127.0.0.1:PORT", listen)
	}
	page, err := template.New("").ParseFS(pages, "pages/*.html")
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, err
	}
	f := &Flow{cfg: cfg, listener: l, host: l.Addr().String(), base: "/" + strings.ToLower(rand.Text()) + "/", page: page, done: make(chan struct{}), shown: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+f.base+"{$}", f.begin)
	mux.HandleFunc("GET "+f.base+"callback", f.callback)
	mux.HandleFunc("GET "+f.base+"done", f.end)
	mux.HandleFunc("GET "+f.base+"style.css", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, pages, "pages/style.css") })
	f.server = &http.Server{Handler: f.guard(mux), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10}
	return f, nil
}

// Address is what to open in a browser.
func (f *Flow) Address() string { return "http://" + f.host + f.base }

// Run serves the page until the App is registered and the last page was shown, or ctx
// ends.
func (f *Flow) Run(ctx context.Context) (*Result, error) {
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(f.listener) }()
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = f.server.Shutdown(end)
		_ = f.server.Close()
	}()
	late := time.NewTimer(life)
	defer late.Stop()
	select {
	case err := <-served:
		return nil, fmt.Errorf("listening: %w", err)
	case <-ctx.Done():
		return nil, f.why(errors.New("interrupted: no App was set up"))
	case <-late.C:
		return nil, f.why(errors.New("an hour went by: start again"))
	case <-f.done:
	}
	// The result is there; ctx may end the wait, and takes nothing away.
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	case <-f.shown:
		select {
		case <-ctx.Done():
		case <-time.After(f.cfg.Stay):
		}
	}
	return f.result, nil
}

// why adds what went wrong last.
func (f *Flow) why(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed != "" {
		return fmt.Errorf("%w\n%s", err, f.failed)
	}
	return err
}

// origin is where a form may be sent.
func (f *Flow) origin() string {
	u, err := url.Parse(f.cfg.Places.Web)
	if err != nil {
		return "'none'"
	}
	return u.Scheme + "://" + u.Host
}

// guard lets only those in who came by this address, and sets what a browser has to
// heed. A name that an attacker's DNS points at this machine is another Host.
func (f *Flow) guard(next http.Handler) http.Handler {
	policy := "default-src 'none'; style-src 'self'; form-action " + f.origin() + "; base-uri 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		// The origin alone: GitHub gets no path, and a form without any would be
		// sent with the origin "null".
		h.Set("Referrer-Policy", "strict-origin")
		if r.Host != f.host {
			http.Error(w, "this page is at http://"+f.host, http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// show renders a page.
func (f *Flow) show(w http.ResponseWriter, status int, name string, v any) {
	var out bytes.Buffer
	if err := f.page.ExecuteTemplate(&out, name, v); err != nil {
		http.Error(w, "the page cannot be made: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // who asked went away
}

// begin shows the button.
func (f *Flow) begin(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.result != nil {
		http.Redirect(w, r, f.base+"done", http.StatusSeeOther)
		return
	}
	s := state{value: rand.Text(), expires: f.cfg.Now().Add(life)}
	if len(f.states) >= maxStates {
		f.states = f.states[1:]
	}
	f.states = append(f.states, s)
	manifest, err := f.cfg.manifest("http://" + f.host + f.base + "callback")
	if err != nil {
		http.Error(w, "the manifest cannot be made", http.StatusInternalServerError)
		return
	}
	asked := github.Permissions()
	for i := range asked {
		asked[i].Level = github.PermissionLevels(f.cfg.Rerun)[asked[i].Name]
	}
	f.show(w, http.StatusOK, "begin.html", map[string]any{
		"Style": f.base + "style.css", "Config": f.cfg, "Host": strings.TrimPrefix(strings.TrimPrefix(f.cfg.Places.Web, "https://"), "http://"), "Folder": f.cfg.Folder.dir,
		"Action":   f.cfg.registration(s.value),
		"Manifest": manifest, "Permissions": asked, "Events": github.Events(), "Local": strings.HasPrefix(f.cfg.URL, "http://"),
	})
}

// callback is where GitHub sends the browser back to.
func (f *Flow) callback(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := r.URL.Query()
	s := f.state(q.Get("state"))
	code := q.Get("code")
	switch {
	case s == nil:
		f.sorry(w, http.StatusBadRequest, "This link is none that this page made, or is older than an hour.", "")
	case s.code != "" && s.code != code:
		f.sorry(w, http.StatusBadRequest, "This link was used with another code.", "")
	case f.result != nil:
		http.Redirect(w, r, f.base+"done", http.StatusSeeOther)
	case !github.ValidCode(code):
		f.sorry(w, http.StatusBadRequest, "GitHub sent no code.", "")
	default:
		s.code = code
		f.finish(r.Context(), w, r, code)
	}
}

// state finds a button that was shown. Every one is compared, each in constant time.
func (f *Flow) state(value string) *state {
	var found *state
	now := f.cfg.Now()
	for i := range f.states {
		s := &f.states[i]
		if subtle.ConstantTimeCompare([]byte(s.value), []byte(value)) == 1 && now.Before(s.expires) {
			found = s
		}
	}
	return found
}

// finish gets the App and writes its files.
func (f *Flow) finish(ctx context.Context, w http.ResponseWriter, r *http.Request, code string) {
	// The browser may go away: what GitHub tells, it tells once.
	app, err := f.convert(context.WithoutCancel(ctx), code)
	var refused *github.Refused
	switch {
	case errors.Is(err, github.ErrNotFound):
		f.sorry(w, http.StatusBadGateway, "GitHub does not take the code: it was used, or is older than an hour.", "If the App is there, delete it on GitHub and start again: its key is shown once.")
		return
	case errors.As(err, &refused):
		f.sorry(w, http.StatusBadGateway, "GitHub gave "+refused.Message+".", "Delete the App on GitHub and start again.")
		return
	case err != nil:
		f.sorry(w, http.StatusBadGateway, "GitHub was not reached: "+err.Error(), "Load this page again: the code is good for an hour.")
		return
	}
	if why := f.foreign(app); why != "" {
		f.sorry(w, http.StatusConflict, why, "Nothing was written. Delete that App on GitHub, and start again as the right owner.")
		return
	}
	where, err := f.cfg.Folder.write(f.cfg.filesOf(app))
	if where == "" {
		f.sorry(w, http.StatusInternalServerError, "The key and the secrets could be written nowhere: "+err.Error(), "Make room, delete the App on GitHub, and start again.")
		return
	}
	f.result = f.cfg.result(app, where, err)
	f.failed = ""
	close(f.done)
	http.Redirect(w, r, f.base+"done", http.StatusSeeOther)
}

// convert asks GitHub, more than once where it does not answer.
func (f *Flow) convert(ctx context.Context, code string) (github.NewApp, error) {
	for n := 1; ; n++ {
		app, err := github.ConvertManifest(ctx, f.cfg.Places.API, code, f.cfg.Transport)
		var refused *github.Refused
		if err == nil || n == tries || errors.Is(err, github.ErrNotFound) || errors.As(err, &refused) {
			return app, err
		}
		time.Sleep(time.Duration(n) * pause)
	}
}

// foreign says why an App is not the one that was asked for.
func (f *Flow) foreign(a github.NewApp) string {
	want, kind := f.cfg.Org, "Organization"
	if want == "" {
		want, kind = string(a.Owner.Login), "User"
	}
	if !strings.EqualFold(string(a.Owner.Login), want) || a.Owner.Type != kind {
		asked := "of your own account"
		if f.cfg.Org != "" {
			asked = "of the organisation " + f.cfg.Org
		}
		return fmt.Sprintf("The App %s belongs to %s (%s). It was to be %s.", a.Slug, a.Owner.Login, a.Owner.Type, asked)
	}
	if u, err := url.Parse(a.HTMLURL); err != nil || u.Scheme+"://"+u.Host != f.origin() {
		return fmt.Sprintf("The App's page is said to be at %q, which is not on %s.", a.HTMLURL, f.origin())
	}
	return ""
}

// result is what came of it.
func (c Config) result(a github.NewApp, where string, trouble error) *Result {
	x := &Result{
		Slug: string(a.Slug), Owner: string(a.Owner.Login), ID: int64(a.ID), Settings: c.apps() + "/" + string(a.Slug), Install: strings.TrimSuffix(a.HTMLURL, "/") + "/installations/new",
		Folder: where, Env: where + "/" + fileEnv, URL: c.URL, ACME: c.ACME, Rerun: c.Rerun, Notes: c.differs(a),
	}
	if a.WebhookSecret == "" {
		x.Notes = append(x.Notes, "GitHub made no webhook secret: enter the one in "+where+"/"+fileHook+" on the App's page, or no event is accepted")
	}
	switch {
	case where != c.Folder.dir:
		x.Notes = append(x.Notes, fmt.Sprintf("the files are in %s and not in %s (%v): move them there, the env file names that place", where, c.Folder.dir, trouble))
	case trouble != nil:
		x.Notes = append(x.Notes, trouble.Error())
	}
	return x
}

// sorry shows what went wrong.
func (f *Flow) sorry(w http.ResponseWriter, status int, what, next string) {
	f.failed = strings.TrimSpace(what + " " + next)
	f.show(w, status, "sorry.html", map[string]any{"Style": f.base + "style.css", "What": what, "Next": next, "Again": f.base, "Org": f.cfg.Org, "Settings": f.cfg.apps()})
}

// end shows the next steps.
func (f *Flow) end(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.result == nil {
		http.Redirect(w, r, f.base, http.StatusSeeOther)
		return
	}
	f.show(w, http.StatusOK, "done.html", map[string]any{"Style": f.base + "style.css", "Result": f.result, "Steps": f.result.Steps()})
	select {
	case <-f.shown:
	default:
		close(f.shown)
	}
}

// A Step is one thing to do next.
type Step struct {
	What string
	// Link is where, or Command with what; either may be empty.
	Link, Command string
}

// Steps are what comes next.
func (x *Result) Steps() []Step {
	serve := "set -a; . " + x.Env + "; set +a; sallyport-app serve"
	steps := []Step{
		{What: "Install the App on the repositories that it is to guard", Link: x.Install},
		{What: "Start the server", Command: serve},
	}
	if !x.ACME && strings.HasPrefix(x.URL, "https://") {
		steps = append(steps, Step{What: "Let the reverse proxy of " + x.URL + " lead to it, for example", Command: "caddy reverse-proxy --from " + strings.TrimPrefix(x.URL, "https://") + " --to 127.0.0.1:8080"})
	}
	return append(steps,
		Step{What: "See whether GitHub reaches it", Command: "sallyport-app setup --check --dir " + x.Folder},
		Step{What: "In a repository: write its policy, and merge it by a pull request", Command: "sallyport init"},
		Step{What: "Bring the policy into force, in a shell with the same settings", Command: "sallyport-app adopt OWNER/REPO"},
	)
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
