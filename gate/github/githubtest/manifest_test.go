package githubtest_test

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/github/githubtest/contract"
)

const someManifest = `{"name":"Door of acme","url":"https://sallyport.test","redirect_url":"http://127.0.0.1:1/callback","hook_attributes":{"url":"http://127.0.0.1:1/webhooks","active":true},"public":false,"default_permissions":{"checks":"write","members":"read"},"default_events":["check_run","team"]}`

// visitor looks at the web pages.
type visitor struct {
	t *testing.T
	g *githubtest.GitHub
}

// post sends a form and gives the status, the page and where it leads.
func (v visitor) post(path string, form url.Values) (int, string, string) {
	v.t.Helper()
	q, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.g.URL()+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(q)
	if err != nil {
		v.t.Fatal(err)
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return w.StatusCode, html.UnescapeString(string(text)), w.Header.Get("Location")
}

var formAction = regexp.MustCompile(`action="([^"]+)"`)

func TestManifestFlow(t *testing.T) {
	g := githubtest.Start(t)
	acme, carol, eve := g.Organization("acme"), g.User("carol"), g.User("eve")
	acme.Owner(carol)
	v := visitor{t, g}
	form := url.Values{"manifest": {someManifest}}
	const page = "/organizations/acme/settings/apps/new?state=s1"
	if code, _, _ := v.post(page, form); code != http.StatusUnauthorized {
		t.Errorf("nobody signed in: %d, want 401", code)
	}
	g.SignIn(eve)
	if code, _, _ := v.post(page, form); code != http.StatusNotFound {
		t.Errorf("no owner of acme: %d, want 404", code)
	}
	g.SignIn(carol)
	for why, bad := range map[string]string{
		"not supported by permissions: check_run": strings.Replace(someManifest, `"checks":"write",`, "", 1),
		"unsupported: installation":               strings.Replace(someManifest, `"team"`, `"installation"`, 1),
		"Redirect URL":                            strings.Replace(someManifest, `http://127.0.0.1:1/callback`, "", 1),
		"not included in the list: everything":    strings.Replace(someManifest, `"members"`, `"everything"`, 1),
		"Invalid manifest":                        `{`,
		"Name must":                               strings.Replace(someManifest, "Door of acme", strings.Repeat("x", 35), 1),
	} {
		if code, text, _ := v.post(page, url.Values{"manifest": {bad}}); code != http.StatusUnprocessableEntity || !strings.Contains(text, why) {
			t.Errorf("%s: %d\n%s", why, code, text)
		}
	}
	code, text, _ := v.post(page, form)
	next := formAction.FindStringSubmatch(text)
	if code != http.StatusOK || next == nil {
		t.Fatalf("the page: %d\n%s", code, text)
	}
	form.Set("state", "s1")
	code, _, to := v.post(next[1], form)
	back, err := url.Parse(to)
	if err != nil || code != http.StatusFound || back.Query().Get("state") != "s1" || back.Path != "/callback" {
		t.Fatalf("%d to %q, %v", code, to, err)
	}
	if code, text, _ := v.post(next[1], form); code != http.StatusUnprocessableEntity || !strings.Contains(text, "already taken") {
		t.Errorf("a second of that name: %d", code)
	}
	if app := g.Registered(); app == nil || app.Slug() != "door-of-acme" || len(app.Deliveries()) != 1 || app.Deliveries()[0].Event != "ping" {
		t.Errorf("the App is %+v", app)
	}

	// The exchange, once, as GitHub describes it.
	client := &http.Client{Transport: contract.LoadOpenAPI(t).Transport(t, g.URL(), nil, unlisted)}
	convert := func(code string) (int, string) {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL()+"/app-manifests/"+code+"/conversions", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for k, x := range map[string]string{"Accept": "application/vnd.github+json", "User-Agent": "test", "X-GitHub-Api-Version": "2022-11-28"} {
			q.Header.Set(k, x)
		}
		w, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Body.Close()
		text, err := io.ReadAll(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		return w.StatusCode, string(text)
	}
	status, answer := convert(back.Query().Get("code"))
	if status != http.StatusCreated {
		t.Fatalf("the exchange: %d %s", status, answer)
	}
	for _, want := range []string{`"pem":"-----BEGIN RSA PRIVATE KEY`, `"webhook_secret":"`, `"client_secret":"`, fmt.Sprintf(`"id":%d`, g.Registered().ID), `"login":"acme"`} {
		if !strings.Contains(answer, want) {
			t.Errorf("the answer lacks %s", want)
		}
	}
	if status, _ := convert(back.Query().Get("code")); status != http.StatusNotFound {
		t.Errorf("the exchange again: %d, want 404", status)
	}
	if code, _, _ := v.post("/apps/door-of-acme/installations/new", nil); code != http.StatusOK {
		t.Errorf("installing: %d", code)
	}
}
