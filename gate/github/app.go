package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	gh "github.com/google/go-github/v62/github"

	"github.com/sallyport/sallyport/rules"
)

// Account is a user or an organisation.
type Account struct {
	ID    rules.AccountID
	Login rules.Login
	// Type is "User" or "Organization".
	Type string
}

func account(u *gh.User) Account {
	return Account{ID: rules.AccountID(u.GetID()), Login: rules.Login(u.GetLogin()), Type: u.GetType()}
}

// App is the GitHub App that the client is.
type App struct {
	ID    rules.AppID
	Slug  rules.Slug
	Owner Account
	// Bot is the account that the App acts as.
	Bot         rules.Actor
	Permissions map[string]string
	Events      []string
}

// Installation is the App on an account.
type Installation struct {
	ID      rules.InstallationID
	Account Account
	// Selection is "all", or "selected" where some repositories only are reached.
	Selection   string
	Suspended   bool
	Permissions map[string]string
}

// RepositoryInfo is what GitHub says of a repository.
type RepositoryInfo struct {
	ID            rules.RepositoryID
	FullName      string
	Owner         Account
	DefaultBranch string
	Private       bool
	Archived      bool
}

func repositoryInfo(r *gh.Repository) RepositoryInfo {
	return RepositoryInfo{
		ID: rules.RepositoryID(r.GetID()), FullName: r.GetFullName(), Owner: account(r.GetOwner()), DefaultBranch: r.GetDefaultBranch(),
		Private: r.GetPrivate(), Archived: r.GetArchived(),
	}
}

// levels are permissions by name, as GitHub's JSON has them: go-github's own type
// leaves out those that are newer than it, such as merge_queues.
type levels map[string]string

// UnmarshalJSON takes what is a text: a member that is none is no level.
func (l *levels) UnmarshalJSON(text []byte) error {
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	*l = levels{}
	for name, level := range all {
		if s, ok := level.(string); ok {
			(*l)[name] = s
		}
	}
	return nil
}

// selfJSON is an App as GitHub shows it.
type selfJSON struct {
	ID          int64    `json:"id"`
	Slug        string   `json:"slug"`
	Owner       *gh.User `json:"owner"`
	Permissions levels   `json:"permissions"`
	Events      []string `json:"events"`
}

// installationJSON is an installation as GitHub shows it.
type installationJSON struct {
	ID          int64      `json:"id"`
	Account     *gh.User   `json:"account"`
	Selection   string     `json:"repository_selection"`
	SuspendedAt *time.Time `json:"suspended_at"`
	Permissions levels     `json:"permissions"`
}

// ask asks for something as the App itself.
func (c *Client) ask(ctx context.Context, path string, out any) (*gh.Response, error) {
	q, err := c.app.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := c.app.Do(ctx, q, out)
	if err != nil {
		return nil, c.understand(ctx, err)
	}
	return answer, nil
}

// Self is who the App is. It asks GitHub once. As long as the App is installed
// nowhere its bot is not known. Inside a job it is no App at all.
func (c *Client) Self(ctx context.Context) (App, error) {
	if c.job != nil {
		return App{}, nil
	}
	c.mu.Lock()
	self := c.self
	c.mu.Unlock()
	if self != nil {
		return *self, nil
	}
	var a selfJSON
	if _, err := c.ask(ctx, "app", &a); err != nil {
		return App{}, err
	}
	if rules.AppID(a.ID) != c.cfg.App {
		return App{}, fmt.Errorf("GitHub says that this key is of App %d, not %d", a.ID, c.cfg.App)
	}
	bot, err := c.bot(ctx, a.Slug)
	if err != nil {
		return App{}, fmt.Errorf("asking for the account of %s[bot]: %w", a.Slug, err)
	}
	out := App{
		ID: c.cfg.App, Slug: rules.Slug(a.Slug), Owner: account(a.Owner), Permissions: a.Permissions, Events: a.Events, Bot: bot,
	}
	if bot.Known() {
		c.mu.Lock()
		c.self = &out
		c.mu.Unlock()
	}
	return out, nil
}

// bot is the account that the App acts as. The App's own token reads no accounts:
// any installation's does. Without one the bot is not known yet.
func (c *Client) bot(ctx context.Context, slug string) (rules.Actor, error) {
	all, err := c.Installations(ctx)
	if err != nil {
		return rules.Actor{}, err
	}
	var failed error
	for _, in := range all {
		if in.Suspended {
			continue
		}
		h, err := c.as(in.ID, 0)
		if err != nil {
			return rules.Actor{}, err
		}
		q, err := h.rest.NewRequest(http.MethodGet, "users/"+url.PathEscape(slug+"[bot]"), nil)
		if err != nil {
			return rules.Actor{}, err
		}
		var bot gh.User
		if _, err := h.rest.Do(ctx, q, &bot); err != nil {
			failed = c.understand(ctx, err)
			continue // what ails one installation does not ail the next
		}
		return rules.Actor{ID: rules.AccountID(bot.GetID()), Login: rules.Login(bot.GetLogin()), Type: rules.ActorBot}, nil
	}
	return rules.Actor{}, failed
}

func (in installationJSON) installation() Installation {
	return Installation{
		ID: rules.InstallationID(in.ID), Account: account(in.Account), Selection: in.Selection, Suspended: in.SuspendedAt != nil, Permissions: in.Permissions,
	}
}

// maxPages bounds every list.
const maxPages = 100

// Installations are all installations of the App.
func (c *Client) Installations(ctx context.Context) ([]Installation, error) {
	var out []Installation
	for page, n := 1, 0; n < maxPages; n++ {
		var list []installationJSON
		answer, err := c.ask(ctx, fmt.Sprintf("app/installations?per_page=100&page=%d", page), &list)
		if err != nil {
			return nil, err
		}
		for _, in := range list {
			out = append(out, in.installation())
		}
		if page = answer.NextPage; page == 0 {
			return out, nil
		}
	}
	return nil, errTooLong
}

// Installation is one of them. Inside a job it has no permission that is known.
func (c *Client) Installation(ctx context.Context, id rules.InstallationID) (Installation, error) {
	if c.job != nil {
		return Installation{ID: id}, nil
	}
	var in installationJSON
	if _, err := c.ask(ctx, fmt.Sprintf("app/installations/%d", id), &in); err != nil {
		return Installation{}, err
	}
	return in.installation(), nil
}

// InstallationOf is the installation that reaches a repository.
func (c *Client) InstallationOf(ctx context.Context, fullName string) (Installation, error) {
	owner, name, _ := strings.Cut(fullName, "/")
	var in installationJSON
	if _, err := c.ask(ctx, "repos/"+url.PathEscape(owner)+"/"+url.PathEscape(name)+"/installation", &in); err != nil {
		return Installation{}, err
	}
	return in.installation(), nil
}

// Repositories are those that an installation reaches.
func (c *Client) Repositories(ctx context.Context, in rules.InstallationID) ([]RepositoryInfo, error) {
	h, err := c.as(in, 0)
	if err != nil {
		return nil, err
	}
	var out []RepositoryInfo
	o := &gh.ListOptions{PerPage: 100}
	for range maxPages {
		list, answer, err := h.rest.Apps.ListRepos(conditional(ctx), o)
		if err != nil {
			return nil, c.understand(ctx, err)
		}
		for _, r := range list.Repositories {
			out = append(out, repositoryInfo(r))
		}
		if answer.NextPage == 0 {
			return out, nil
		}
		o.Page = answer.NextPage
	}
	return nil, errTooLong
}

// Delivery is one attempt to deliver a webhook.
type Delivery struct {
	ID            int64
	GUID          string
	Event, Action string
	Status        string
	StatusCode    int
	DeliveredAt   time.Time
	Redelivery    bool
	Installation  rules.InstallationID
	Repository    rules.RepositoryID
}

// OK reports whether it was answered with 2xx.
func (d Delivery) OK() bool { return d.StatusCode >= 200 && d.StatusCode < 300 }

func delivery(d *gh.HookDelivery) Delivery {
	return Delivery{
		ID: d.GetID(), GUID: d.GetGUID(), Event: d.GetEvent(), Action: d.GetAction(), Status: d.GetStatus(), StatusCode: d.GetStatusCode(),
		DeliveredAt: d.GetDeliveredAt().Time, Redelivery: d.GetRedelivery(), Installation: rules.InstallationID(d.GetInstallationID()),
		Repository: rules.RepositoryID(d.GetRepositoryID()),
	}
}

// Deliveries calls stop for each attempt, the newest first, until it returns
// true. A log that does not end in 100,000 attempts is an error, after it was told of
// these.
func (c *Client) Deliveries(ctx context.Context, stop func(Delivery) bool) error {
	o := &gh.ListCursorOptions{PerPage: 100}
	for range maxDeliveryPages {
		list, answer, err := c.app.Apps.ListHookDeliveries(ctx, o)
		if err != nil {
			return c.understand(ctx, err)
		}
		for _, d := range list {
			if stop(delivery(d)) {
				return nil
			}
		}
		if answer.Cursor == "" {
			return nil
		}
		o.Cursor = answer.Cursor
	}
	return errTooLong
}

// maxDeliveryPages bounds the log of deliveries: 100,000 attempts. GitHub's filter by
// outcome leaves out those that were never answered, so that all have to be read.
const maxDeliveryPages = 1000

// DeliveryContent is an attempt with what was sent.
type DeliveryContent struct {
	Delivery

	Payload jsontext.Value
}

// Delivery is one attempt with what was sent: what GitHub itself says that an event
// was.
func (c *Client) Delivery(ctx context.Context, id int64) (DeliveryContent, error) {
	d, _, err := c.app.Apps.GetHookDelivery(ctx, id)
	if err != nil {
		return DeliveryContent{}, c.understand(ctx, err)
	}
	out := DeliveryContent{Delivery: delivery(d)}
	if d.Request != nil && d.Request.RawPayload != nil {
		out.Payload = jsontext.Value(*d.Request.RawPayload)
	}
	return out, nil
}

// Redeliver asks GitHub to send an attempt's event again.
func (c *Client) Redeliver(ctx context.Context, id int64) error {
	_, _, err := c.app.Apps.RedeliverHookDelivery(ctx, id)
	var accepted *gh.AcceptedError
	if errors.As(err, &accepted) {
		return nil // 202: go-github calls it an error
	}
	return c.understand(ctx, err)
}

// ScopedToken makes a token of an installation for named repositories and permissions,
// and no others: without any GitHub would give all
// (https://docs.github.com/rest/apps/apps#create-an-installation-access-token-for-an-app).
func (c *Client) ScopedToken(ctx context.Context, in rules.InstallationID, repositories []rules.RepositoryID, permissions map[string]string) (string, time.Time, error) {
	if len(repositories) == 0 || len(permissions) == 0 {
		return "", time.Time{}, errors.New("a token without repositories or permissions would open everything")
	}
	body := struct {
		Repositories []rules.RepositoryID `json:"repository_ids"`
		Permissions  map[string]string    `json:"permissions"`
	}{repositories, permissions}
	q, err := c.app.NewRequest(http.MethodPost, fmt.Sprintf("app/installations/%d/access_tokens", in), body)
	if err != nil {
		return "", time.Time{}, err
	}
	var out struct {
		Token       string            `json:"token"`
		Expires     time.Time         `json:"expires_at"`
		Permissions map[string]string `json:"permissions"`
	}
	if _, err := c.app.Do(ctx, q, &out); err != nil {
		return "", time.Time{}, c.understand(ctx, err)
	}
	if out.Token == "" {
		return "", time.Time{}, errors.New("GitHub gave no token")
	}
	return out.Token, out.Expires, nil
}

// RevokeToken revokes an installation token, by itself. One that is dead is revoked
// (https://docs.github.com/rest/apps/installations#revoke-an-installation-access-token).
func (c *Client) RevokeToken(ctx context.Context, token string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodDelete, c.cfg.BaseURL+"/installation/token", nil)
	if err != nil {
		return err
	}
	q.Header.Set("Authorization", "Bearer "+token)
	q.Header.Set("Accept", "application/vnd.github+json")
	send := &http.Client{Transport: &plain{c}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := send.Do(q)
	if err != nil {
		return fmt.Errorf("revoking a token: %w", err)
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusNoContent, http.StatusUnauthorized:
		return nil
	default:
		return fmt.Errorf("GitHub answered %d when a token was to be revoked", answer.StatusCode)
	}
}
