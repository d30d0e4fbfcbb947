package setup

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/sallyport/sallyport/gate/github"
)

// Places are the addresses of one GitHub.
type Places struct {
	// Web is where its pages are, without a slash at the end.
	Web string
	// API is the base of its REST API.
	API string
	// Issuer signs the tokens of its Actions jobs.
	Issuer string
	// Server says that it is a GitHub Enterprise Server.
	Server bool
}

// The addresses of github.com.
const (
	publicWeb    = "https://github.com"
	publicIssuer = "https://token.actions.githubusercontent.com"
)

// Locate finds the addresses of a GitHub by that of its pages or of its API: ""
// and https://github.com, https://SUB.ghe.com, or https://HOST of a GitHub Enterprise
// Server. Api, if it is not empty, is the API's address and is taken as it is.
func Locate(web, api string) (Places, error) {
	web = cmp.Or(web, api, publicWeb)
	u, err := address(web)
	if err != nil {
		return Places{}, fmt.Errorf("--github-url: %w", err)
	}
	host, below := strings.ToLower(u.Host), strings.TrimSuffix(u.Path, "/")
	switch {
	case below == "/api/v3" || web == api:
	case below != "":
		return Places{}, fmt.Errorf("--github-url: %q has the path %s: want only its host, such as https://github.acme.internal", web, below)
	}
	var p Places
	sub, dataResidency := strings.CutSuffix(host, ".ghe.com")
	switch {
	case host == "github.com" || host == "www.github.com" || host == "api.github.com":
		p = Places{Web: publicWeb, API: github.DefaultBaseURL, Issuer: publicIssuer}
	case dataResidency:
		sub = strings.TrimPrefix(sub, "api.")
		p = Places{Web: "https://" + sub + ".ghe.com", API: "https://api." + sub + ".ghe.com", Issuer: "https://token.actions." + sub + ".ghe.com"}
	default:
		p = Places{Web: u.Scheme + "://" + host, API: u.Scheme + "://" + host + "/api/v3", Issuer: u.Scheme + "://" + host + "/_services/token", Server: true}
	}
	if api != "" {
		if _, err := address(api); err != nil {
			return Places{}, fmt.Errorf("--github-api-url: %w", err)
		}
		p.API = strings.TrimSuffix(api, "/")
	}
	return p, nil
}

// installPage is where an App is installed.
func (p Places) installPage(slug string) string {
	if p.Server {
		return p.Web + "/github-apps/" + slug + "/installations/new"
	}
	return p.Web + "/apps/" + slug + "/installations/new"
}

// address reads an address whose plain form is for this machine only.
func address(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%q is no address: want https://HOST", s)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(u.Host, ";,'\" ") {
		return nil, fmt.Errorf("%q has more than a host: want https://HOST", s)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("%q would send secrets in clear: want https", s)
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// PublicURL checks where the server is to be reached.
func PublicURL(s string) (string, error) {
	if s == "" {
		return "", errors.New("--url is missing: where GitHub and jobs reach this server, such as https://sallyport.acme.dev")
	}
	u, err := address(s)
	if err != nil {
		return "", fmt.Errorf("--url: %w", err)
	}
	if strings.TrimSuffix(u.Path, "/") != "" {
		return "", fmt.Errorf("--url: %q has a path: the server needs a name of its own, such as https://sallyport.acme.dev", s)
	}
	return u.Scheme + "://" + u.Host, nil
}
