// Package setup registers the GitHub App: on a page of this machine, by GitHub's
// manifest flow
// (https://docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest),
// and tells whether GitHub reaches the server.
//
// A person presses one button on the page, which sends the manifest from their browser
// to GitHub; GitHub sends the browser back with a code; the code is exchanged for the
// App's key and secrets, which are written to files that nobody else reads. No secret
// is shown on the page or in a log.
package setup

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/github"
)

// Config says what is registered.
type Config struct {
	// Places is the GitHub.
	Places Places
	// Org is the organisation that is to own the App; "" is the account of whoever
	// presses the button.
	Org string
	// Name is the App's name, which nobody else's on that GitHub has; "" makes one.
	Name string
	// URL is where the server will be reached.
	URL string
	// Rerun asks for Actions: write, to run a job again that stopped waiting.
	Rerun bool
	// ACME has the server get its own certificate.
	ACME bool
	// Folder takes the files.
	Folder *Folder
	// Transport carries the one request to GitHub; nil is one with time limits.
	Transport http.RoundTripper
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Stay is how long the last page is served after it was shown; 0 is three seconds.
	Stay time.Duration
}

// maxName is how long an App's name can be.
const maxName = 34

// orgName is what a login looks like.
var orgName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?\z`)

// appName is what a name may look like here: GitHub makes the short name of it.
var appName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]*\z`)

// check completes a Config, and says what is wrong with it.
func (c *Config) check() error {
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Stay = cmp.Or(c.Stay, 3*time.Second)
	if c.Folder == nil || c.Places.Web == "" {
		return errors.New("setup: a folder and a GitHub are required")
	}
	var err error
	if c.URL, err = PublicURL(c.URL); err != nil {
		return err
	}
	if c.Org != "" && !orgName.MatchString(c.Org) {
		return fmt.Errorf("--org: %q is no organisation's name", c.Org)
	}
	if c.Name == "" {
		host := strings.TrimPrefix(strings.TrimPrefix(c.URL, "https://"), "http://")
		host, _, _ = strings.Cut(host, ":")
		c.Name = strings.TrimRight(cut("Sallyport "+cmp.Or(c.Org, host)), " .-")
	}
	if len(c.Name) > maxName || !appName.MatchString(c.Name) {
		return fmt.Errorf("--name: %q: want at most %d letters, digits, spaces, dots and hyphens", c.Name, maxName)
	}
	if c.ACME && !strings.HasPrefix(c.URL, "https://") {
		return fmt.Errorf("--acme: a certificate is for an https address, and --url is %s", c.URL)
	}
	return nil
}

func cut(s string) string { return s[:min(len(s), maxName)] }

// Webhook is where GitHub sends events.
func (c Config) Webhook() string { return c.URL + "/webhooks/github" }

// apps is the page of the owner's Apps.
func (c Config) apps() string {
	const path = "/settings/apps"
	if c.Org != "" {
		return c.Places.Web + "/organizations/" + c.Org + path
	}
	return c.Places.Web + path
}

// registration is where the form is sent.
func (c Config) registration(state string) string { return c.apps() + "/new?state=" + state }

// manifest is the App as GitHub is to make it.
func (c Config) manifest(redirect string) (string, error) {
	type hook struct {
		URL    string `json:"url"`
		Active bool   `json:"active"`
	}
	text, err := json.Marshal(struct {
		Name        string            `json:"name"`
		URL         string            `json:"url"`
		Description string            `json:"description"`
		Hook        hook              `json:"hook_attributes"`
		Redirect    string            `json:"redirect_url"`
		Public      bool              `json:"public"`
		Permissions map[string]string `json:"default_permissions"`
		Events      []string          `json:"default_events"`
	}{
		Name: c.Name, URL: c.URL, Description: "Holds what reaches production until a required human reviewer approved it.",
		Hook: hook{c.Webhook(), true}, Redirect: redirect, Permissions: github.PermissionLevels(c.Rerun), Events: github.Events(),
	}, json.Deterministic(true))
	return string(text), err
}

// differs says how the App differs from what was asked for: a person can change what
// GitHub's page shows, and an older GitHub may lack something.
func (c Config) differs(a github.NewApp) []string {
	return Differences(a.Permissions, a.Events, c.Rerun)
}

// Differences says how an App differs from what setup asks for. Rerun says that it
// asked for Actions: write.
func Differences(permissions map[string]string, events []string, rerun bool) []string {
	var out []string
	want := github.PermissionLevels(rerun)
	for _, p := range github.Permissions() {
		switch have := permissions[p.Name]; {
		case have == want[p.Name], have == "write" && (p.Name == "actions" || want[p.Name] == "write"):
		case have == "":
			out = append(out, fmt.Sprintf("the permission %s: %s is missing (%s)", p.Name, want[p.Name], p.Why))
		default:
			out = append(out, fmt.Sprintf("the permission %s is %s, not %s", p.Name, have, want[p.Name]))
		}
	}
	for _, name := range sortedKeys(permissions) {
		if want[name] == "" {
			out = append(out, fmt.Sprintf("it has the permission %s: %s, which is not needed: take it away", name, permissions[name]))
		}
	}
	has := map[string]bool{}
	for _, e := range events {
		has[e] = true
	}
	for _, e := range github.Events() {
		if !has[e] {
			out = append(out, fmt.Sprintf("it does not subscribe to the event %s", e))
		}
	}
	return out
}
