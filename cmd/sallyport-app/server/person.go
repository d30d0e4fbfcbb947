package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/rules"
)

// loginSettings are the settings with which people log in.
func loginSettings() []Setting {
	return []Setting{
		{Name: "CLIENT_ID", Help: "the GitHub App's client id; with it and the secret people log in (sallyport login)"},
		{Name: "CLIENT_SECRET", Secret: true, Help: "a client secret of the GitHub App"},
		{Name: "GITHUB_WEB_URL", Help: "GitHub's web pages; default: those that belong to SALLYPORT_GITHUB_API_URL"},
	}
}

// Login is what people log in with. Without a client id nobody can.
type Login struct {
	ClientID string
	Secret   github.Secret
	// Web is where GitHub's pages are, without a slash at the end.
	Web string
}

// readLogin reads the settings of [loginSettings].
func readLogin(value func(string) string, api string, bad func(name, format string, args ...any)) Login {
	l := Login{ClientID: strings.TrimSpace(value("CLIENT_ID")), Secret: github.Secret(strings.TrimSpace(value("CLIENT_SECRET"))), Web: strings.TrimSuffix(value("GITHUB_WEB_URL"), "/")}
	switch {
	case l.ClientID == "" && l.Secret != "":
		bad("CLIENT_ID", "is missing, and SALLYPORT_CLIENT_SECRET is set: the client id is on the App's settings page")
	case l.ClientID != "" && l.Secret == "":
		bad("CLIENT_SECRET", "is missing, and SALLYPORT_CLIENT_ID is set: make one on the App's settings page, and give it itself or as a file in SALLYPORT_CLIENT_SECRET_FILE")
	}
	if l.Web == "" {
		l.Web = webOf(api)
	}
	if u, err := url.Parse(l.Web); err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		bad("GITHUB_WEB_URL", "%q: want https and a host, such as https://github.com", l.Web)
	}
	return l
}

// webOf is where the web pages of an API are
// (https://docs.github.com/enterprise-server/rest/enterprise-admin).
func webOf(api string) string {
	u, err := url.Parse(api)
	if err != nil || u.Host == "" {
		return api // which is refused where it is read
	}
	u.Path = ""
	if host, ok := strings.CutPrefix(u.Host, "api."); ok && (host == "github.com" || strings.HasSuffix(host, ".ghe.com")) {
		u.Host = host
	}
	return u.String()
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// login says how people log in, and who verifies their tokens: nobody where they cannot.
func (x *Server) login() (jobs.Login, jobs.People, error) {
	l := x.settings.Login
	if l.ClientID == "" || x.keys == nil {
		return jobs.Login{}, nil, nil
	}
	people, err := github.NewPeople(x.github, l.ClientID, l.Secret)
	if err != nil {
		return jobs.Login{}, nil, fmt.Errorf("SALLYPORT_CLIENT_ID: %w", err)
	}
	return jobs.Login{ClientID: l.ClientID, DeviceAuthorizationURL: l.Web + "/login/device/code", TokenURL: l.Web + "/login/oauth/access_token"}, people, nil
}

// leases are the surfaces of credentials.
func (x *Server) leases(mux *http.ServeMux) error {
	login, people, err := x.login()
	if err != nil {
		return err
	}
	mux.Handle(jobs.LoginPath, jobs.NewLogin(login, x.log))
	if x.keys == nil {
		return nil
	}
	leases, err := jobs.NewLeases(jobs.LeasesConfig{Verifier: x.jobs, Leaser: late{x}, People: people, PersonLeaser: late{x}, Log: x.log})
	if err != nil {
		return err
	}
	mux.Handle(jobs.LeasesPath, leases)
	mux.Handle(jobs.LeasesPath+"/", leases)
	return nil
}

// PersonLease gives a person a credential.
func (l late) PersonLease(ctx context.Context, t rules.PersonToken, where jobs.Place, credential string) (jobs.Given, error) {
	if g := l.gate.Load(); g != nil {
		return g.PersonLease(ctx, t, where, credential)
	}
	return jobs.Given{}, errLate
}
