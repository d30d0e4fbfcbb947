package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/rules"
)

// A Permission is one that the App asks for.
type Permission struct {
	// Name is GitHub's key in a manifest, such as "pull_requests".
	Name string
	// Level is "read" or "write".
	Level string
	// Why says what would not work without it.
	Why string
}

// Permissions are all that the App asks for. Administration and Workflows are never
// among them: the gate needs neither, and a stolen key should not have them.
func Permissions() []Permission {
	return []Permission{
		{"actions", "read", "runs and jobs: which workflow a green check is of, what a run holds and who started it; required of a deployment protection rule"},
		{"checks", "write", "the checks sallyport and sallyport / ENVIRONMENT, with the button that approves"},
		{"contents", "write", "reading the policy and what a deployment brings; merging; without write GitHub does not count the App's approvals"},
		{"deployments", "write", "being a deployment protection rule and answering it"},
		{"members", "read", "who is in a reviewing team, asked afresh for each decision"},
		{"merge_queues", "read", "hearing of a merge group, which waits for its checks"},
		{"metadata", "read", "who may write to a repository, and which rules its branches have; GitHub gives it to every App"},
		{"pull_requests", "write", "reading pull requests; reviews, the comment, labels and review requests"},
		{"statuses", "read", "whether the checks of other tools are green"},
	}
}

// PermissionLevels are Permissions as a manifest has them. With rerun the App may also
// run a job again that stopped waiting for its approval, which asks for Actions: write.
func PermissionLevels(rerun bool) map[string]string {
	out := map[string]string{}
	for _, p := range Permissions() {
		out[p.Name] = p.Level
	}
	if rerun {
		out["actions"] = "write"
	}
	return out
}

// Events are the webhooks that the App subscribes to: those that gate/webhook reads,
// but for those that GitHub always sends (a manifest that names one is refused) and
// those of settings, which would need Administration.
func Events() []string {
	return []string{
		"check_run", "check_suite", "deployment", "deployment_protection_rule", "deployment_review", "deployment_status", "installation_target", "member", "membership",
		"merge_group", "organization", "pull_request", "pull_request_review", "push", "repository", "status", "team", "team_add", "workflow_dispatch", "workflow_job",
		"workflow_run",
	}
}

// Secret is a text that is never shown. Reveal it only to write it where it belongs.
type Secret string

// String hides the secret.
func (Secret) String() string { return "(secret)" }

// GoString hides the secret.
func (Secret) GoString() string { return "(secret)" }

// LogValue hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue("(secret)") }

// MarshalText refuses: a secret is in no JSON of ours.
func (Secret) MarshalText() ([]byte, error) { return nil, errors.New("a secret is not written") }

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }

// NewApp is an App that was registered from a manifest, with what GitHub says only
// once.
type NewApp struct {
	ID       rules.AppID
	Slug     rules.Slug
	Name     string
	Owner    Account
	HTMLURL  string
	ClientID string
	// Key is the private key, PEM; it was read as one.
	Key Secret
	// WebhookSecret is empty where GitHub made none.
	WebhookSecret Secret
	ClientSecret  Secret
	Permissions   map[string]string
	Events        []string
}

// Limits of a conversion. GitHub's answer has about 5 kB.
const (
	maxConversion  = 256 << 10
	conversionTime = 20 * time.Second
)

// ErrCode means that a manifest's code is none that GitHub could have given.
var ErrCode = errors.New("not a code that GitHub gives for a manifest")

// manifestCode is what codes look like: GitHub's have 40 hex digits.
var manifestCode = regexp.MustCompile(`^[A-Za-z0-9]{8,128}\z`)

// clientID is what client ids look like: Iv1.0123456789abcdef or Iv23li….
var clientID = regexp.MustCompile(`^[A-Za-z0-9._-]{4,80}\z`)

// appSlug is what an App's short name looks like.
var appSlug = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,98}[a-z0-9])?\z`)

// ValidCode reports whether a text can be a manifest's code.
func ValidCode(code string) bool { return manifestCode.MatchString(code) }

// ConvertManifest exchanges a manifest's code for the App that was registered: once,
// and within an hour of the registration
// (https://docs.github.com/rest/apps/apps#create-a-github-app-from-a-manifest).
// ErrCode, ErrNotFound (used or too old) and *Refused are final; after any other error
// the code may still be good. Transport nil is one with time limits.
func ConvertManifest(ctx context.Context, baseURL, code string, transport http.RoundTripper) (NewApp, error) {
	if !ValidCode(code) {
		return NewApp{}, ErrCode
	}
	base, err := url.Parse(strings.TrimSuffix(cmp.Or(baseURL, DefaultBaseURL), "/"))
	if err != nil || base.Host == "" || base.Scheme != "https" && (base.Scheme != "http" || !loopback(base.Hostname())) {
		return NewApp{}, fmt.Errorf("%q is not the https address of an API", baseURL)
	}
	ctx, cancel := context.WithTimeout(ctx, conversionTime)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, base.JoinPath("app-manifests", code, "conversions").String(), nil)
	if err != nil {
		return NewApp{}, err
	}
	for name, value := range map[string]string{"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28", "User-Agent": "sallyport"} {
		q.Header.Set(name, value)
	}
	send := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if transport == nil {
		t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: true}
		defer t.CloseIdleConnections()
		send.Transport = t
	}
	answer, err := send.Do(q)
	if err != nil {
		var whole *url.Error
		if errors.As(err, &whole) {
			err = whole.Err // the address has the code in it
		}
		return NewApp{}, fmt.Errorf("asking %s for the new App: %w", base.Host, err)
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusCreated:
	case http.StatusNotFound:
		return NewApp{}, ErrNotFound
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		return NewApp{}, &Refused{Status: answer.StatusCode, Message: "the code is not taken"}
	default:
		return NewApp{}, fmt.Errorf("%s answered %d when it was asked for the new App", base.Host, answer.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxConversion+1))
	if err != nil {
		return NewApp{}, fmt.Errorf("reading the answer of %s: %w", base.Host, err)
	}
	if len(text) > maxConversion {
		return NewApp{}, &Refused{Status: answer.StatusCode, Message: fmt.Sprintf("an answer of more than %d bytes", maxConversion)}
	}
	return readNewApp(text)
}

// readNewApp reads the answer to a conversion. What it says of an error holds no part
// of the answer, which is full of secrets.
func readNewApp(text []byte) (NewApp, error) {
	var in struct {
		ID    rules.AppID `json:"id"`
		Slug  string      `json:"slug"`
		Name  string      `json:"name"`
		Owner struct {
			ID    rules.AccountID `json:"id"`
			Login rules.Login     `json:"login"`
			Type  string          `json:"type"`
		} `json:"owner"`
		HTMLURL       string            `json:"html_url"`
		ClientID      string            `json:"client_id"`
		ClientSecret  string            `json:"client_secret"`
		WebhookSecret *string           `json:"webhook_secret"`
		PEM           string            `json:"pem"`
		Permissions   map[string]string `json:"permissions"`
		Events        []string          `json:"events"`
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return NewApp{}, &Refused{Status: http.StatusCreated, Message: "an answer that is not the JSON of an App"}
	}
	oneLine := func(s string) bool {
		return s != "" && len(s) <= 1024 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
	}
	var wrong []string
	check := func(name string, ok bool) {
		if !ok {
			wrong = append(wrong, name)
		}
	}
	check("id", in.ID > 0)
	check("slug", appSlug.MatchString(in.Slug))
	check("owner", in.Owner.ID > 0 && oneLine(string(in.Owner.Login)))
	check("html_url", oneLine(in.HTMLURL))
	check("client_id", clientID.MatchString(in.ClientID))
	check("client_secret", oneLine(in.ClientSecret))
	check("webhook_secret", in.WebhookSecret == nil || oneLine(*in.WebhookSecret))
	_, err := ParseKey([]byte(in.PEM))
	check("pem", err == nil)
	if len(wrong) > 0 {
		return NewApp{}, &Refused{Status: http.StatusCreated, Message: "an answer whose " + strings.Join(wrong, ", ") + " is missing or wrong"}
	}
	out := NewApp{
		ID: in.ID, Slug: rules.Slug(in.Slug), Name: in.Name, Owner: Account{in.Owner.ID, in.Owner.Login, in.Owner.Type}, HTMLURL: in.HTMLURL, ClientID: in.ClientID,
		Key: Secret(in.PEM), ClientSecret: Secret(in.ClientSecret), Permissions: in.Permissions, Events: slices.Clone(in.Events),
	}
	if in.WebhookSecret != nil {
		out.WebhookSecret = Secret(*in.WebhookSecret)
	}
	return out, nil
}
