package github

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/rules"
)

// People says who gave this App a user's token. Make one with [NewPeople]. It keeps no
// answer: each is asked for again.
type People struct {
	client *Client
	id     string
	secret Secret
	send   *http.Client
}

// NewPeople makes one for the App's client id and a client secret of it: GitHub tells
// whose a token is only to the app that it was given to.
func NewPeople(c *Client, clientID string, secret Secret) (*People, error) {
	if clientID == "" || secret.Reveal() == "" || strings.Trim(clientID, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
		return nil, errors.New("github: want the App's client id, such as Iv23liAbCdEfGhIjKlMn, and a client secret of it")
	}
	return &People{client: c, id: clientID, secret: secret, send: &http.Client{
		Transport: &plain{c}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// maxPerson is how long an answer about a person may be.
const maxPerson = 256 << 10

// notPeoples are the beginnings of tokens that are surely no user's of an App: of
// installations, jobs, other apps, personal ones, and refresh tokens
// (https://docs.github.com/authentication/keeping-your-account-and-data-secure/about-authentication-to-github#githubs-token-formats).
func notPeoples() []string {
	return []string{"ghs_", "eyJ", "gho_", "ghp_", "github_pat_", "ghr_"}
}

// gitHubUser is an account in an answer.
type gitHubUser struct {
	ID    rules.AccountID `json:"id"`
	Login rules.Login     `json:"login"`
	Type  rules.ActorType `json:"type"`
}

// Person says whose a token is. A *[rules.TokenRefused] is the caller's fault: GitHub
// does not know the token as one that a person gave to this App. Any other error means
// that it cannot be told now. No error has anything of the token.
//
// The App itself asks first, with its client id and secret
// (https://docs.github.com/rest/apps/oauth-applications#check-a-token), so that what a
// person gave to another app opens nothing here. Then the token must also work.
func (p *People) Person(ctx context.Context, token string) (rules.PersonToken, error) {
	for _, begin := range notPeoples() {
		if strings.HasPrefix(token, begin) {
			return rules.PersonToken{}, &rules.TokenRefused{
				Code: rules.PersonTokenForm, Text: "This is no token of a person who logged in: it begins as those of jobs, installations, other apps or personal ones do. Run sallyport login.",
			}
		}
	}
	var given struct {
		App struct {
			ClientID string `json:"client_id"`
		} `json:"app"`
		User    *gitHubUser `json:"user"`
		Expires time.Time   `json:"expires_at"`
	}
	ask, err := json.Marshal(map[string]string{"access_token": token})
	if err != nil {
		return rules.PersonToken{}, errors.New("the token is no text")
	}
	code, err := p.ask(ctx, http.MethodPost, "/applications/"+url.PathEscape(p.id)+"/token", ask, func(q *http.Request) { q.SetBasicAuth(p.id, p.secret.Reveal()) }, &given)
	switch {
	case err != nil:
		return rules.PersonToken{}, fmt.Errorf("asking GitHub whose a token is: %w", err)
	case code == http.StatusNotFound, code == http.StatusUnprocessableEntity:
		return rules.PersonToken{}, otherToken()
	case code == http.StatusUnauthorized:
		return rules.PersonToken{}, errors.New("GitHub does not take this SALLYPORT_CLIENT_ID with this SALLYPORT_CLIENT_SECRET")
	case code != http.StatusOK:
		return rules.PersonToken{}, fmt.Errorf("asking GitHub whose a token is: it answered %d", code)
	case given.App.ClientID != p.id:
		return rules.PersonToken{}, otherToken()
	case given.User == nil || given.User.ID <= 0:
		return rules.PersonToken{}, errors.New("GitHub does not say whose a token is")
	case !given.Expires.IsZero() && !p.client.cfg.Now().Before(given.Expires):
		return rules.PersonToken{}, &rules.TokenRefused{Code: rules.PersonTokenExpired, Text: "The token's time is over. Run sallyport login."}
	}
	var who gitHubUser
	code, err = p.ask(ctx, http.MethodGet, "/user", nil, func(q *http.Request) { q.Header.Set("Authorization", "Bearer "+token) }, &who)
	switch {
	case err != nil:
		return rules.PersonToken{}, fmt.Errorf("asking GitHub as the person: %w", err)
	case code == http.StatusUnauthorized:
		return rules.PersonToken{}, otherToken()
	case code != http.StatusOK:
		return rules.PersonToken{}, fmt.Errorf("asking GitHub as the person: it answered %d", code)
	case who.ID != given.User.ID || who.Login == "":
		return rules.PersonToken{}, errors.New("GitHub says of a token that it is of two accounts")
	case who.Type != rules.ActorUser:
		return rules.PersonToken{}, &rules.TokenRefused{Code: rules.PersonTokenUser, Text: "The token is of no person's account. Bots ask from a job."}
	}
	return rules.PersonToken{Person: rules.Actor{ID: who.ID, Login: who.Login, Type: who.Type}, Expires: given.Expires}, nil
}

func otherToken() error {
	return &rules.TokenRefused{
		Code: rules.PersonTokenOther, Text: "GitHub does not know the token as one that a person gave to this App: it has ended, was revoked, or is of another app. Run sallyport login.",
	}
}

// ask sends one request, and reads an answer that is 200.
func (p *People) ask(ctx context.Context, method, path string, body []byte, sign func(*http.Request), into any) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, method, p.client.cfg.BaseURL+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	q.Header.Set("Accept", "application/vnd.github+json")
	if body != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	sign(q)
	answer, err := p.send.Do(q)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := readAll(answer.Body, maxPerson)
	if err != nil {
		return 0, err
	}
	if answer.StatusCode != http.StatusOK {
		return answer.StatusCode, nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return 0, errors.New("GitHub's answer is not as it documents it") // what err says may have the token in it
	}
	return answer.StatusCode, nil
}
