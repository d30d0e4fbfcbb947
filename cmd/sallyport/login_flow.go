package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/oauth2"
)

const (
	loginPath = "/v1/login"
	// maxLoginAnswer is room for three addresses, or a problem.
	maxLoginAnswer = 64 << 10
	// renewBefore is how long before its end a token is renewed.
	renewBefore = 2 * time.Minute
)

// howToLogin asks a server how one logs in, and refuses an answer that would send
// anybody elsewhere than to one place by https.
func howToLogin(ctx context.Context, client *http.Client, server string) (*oauth2.Config, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server+loginPath, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json, application/problem+json")
	answer, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("asking %s how to log in: %w", server, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxLoginAnswer))
	if err != nil {
		return nil, fmt.Errorf("asking %s how to log in: %w", server, err)
	}
	if answer.StatusCode != http.StatusOK {
		var p struct {
			Detail string `json:"detail"`
		}
		kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
		if kind != "application/problem+json" || json.Unmarshal(text, &p) != nil || p.Detail == "" {
			p.Detail = "is it the address of a Sallyport server?"
		}
		return nil, fmt.Errorf("%s answered %d: %s", server, answer.StatusCode, p.Detail)
	}
	var how struct {
		ClientID  string `json:"client_id"`
		DeviceURL string `json:"device_authorization_url"`
		TokenURL  string `json:"token_url"`
	}
	if err := json.Unmarshal(text, &how); err != nil || how.ClientID == "" {
		return nil, fmt.Errorf("%s does not say how to log in: is it the address of a Sallyport server?", server)
	}
	device, errDevice := url.Parse(how.DeviceURL)
	token, errToken := url.Parse(how.TokenURL)
	if errDevice != nil || errToken != nil || !safeAddress(device) || !safeAddress(token) || device.Host != token.Host {
		return nil, fmt.Errorf("%s sends to %q and %q to log in, which are not both on one host of GitHub's by https", server, how.DeviceURL, how.TokenURL)
	}
	return &oauth2.Config{ClientID: how.ClientID, Endpoint: oauth2.Endpoint{DeviceAuthURL: how.DeviceURL, TokenURL: how.TokenURL, AuthStyle: oauth2.AuthStyleInParams}}, nil
}

// safeAddress reports whether an address is fit to be sent a token: https, or http to
// this very machine.
func safeAddress(u *url.URL) bool {
	return u.Host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "http" && loopbackName(u.Hostname()))
}

// withClient has oauth2 use a client that follows no redirects and does not wait for
// ever.
func withClient(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, &http.Client{
		Transport: asJSON{}, Timeout: answerTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
}

// asJSON asks for JSON, for which oauth2 does not ask: GitHub gives a form otherwise.
type asJSON struct{}

// RoundTrip sends one request.
func (asJSON) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "sallyport/"+versionName())
	return http.DefaultTransport.RoundTrip(r)
}

// startDevice asks GitHub for a code.
func startDevice(ctx context.Context, cfg *oauth2.Config) (*oauth2.DeviceAuthResponse, error) {
	d, err := cfg.DeviceAuth(withClient(ctx))
	if err != nil {
		return nil, explain(err)
	}
	where, err := url.Parse(d.VerificationURI)
	device, _ := url.Parse(cfg.Endpoint.DeviceAuthURL) // it was parsed before
	switch {
	case d.DeviceCode == "" || d.UserCode == "":
		return nil, errors.New("GitHub gave no code: is the device flow enabled in the App's settings?")
	case err != nil || !safeAddress(where) || where.Host != device.Host:
		return nil, fmt.Errorf("GitHub sends to %q to enter the code, which is not on %s", d.VerificationURI, device.Host)
	case d.Expiry.IsZero():
		return nil, errors.New("GitHub does not say when its code ends")
	}
	return d, nil
}

// awaitToken waits until the code was entered, refused, or ended. A question that did
// not reach GitHub is asked again.
func awaitToken(ctx context.Context, cfg *oauth2.Config, d *oauth2.DeviceAuthResponse) (*oauth2.Token, error) {
	for {
		t, err := cfg.DeviceAccessToken(withClient(ctx), d)
		var said *oauth2.RetrieveError
		switch {
		case err == nil:
			return t, usable(t)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, context.DeadlineExceeded) && !time.Now().Before(d.Expiry):
			return nil, errors.New("the code ended before it was entered: run sallyport login again")
		case errors.As(err, &said):
			return nil, explain(err)
		}
	}
}

// usable refuses a token with scopes: an App's has none, so that it would be one of
// another kind of app, which the server named in place of its own.
func usable(t *oauth2.Token) error {
	if scope, _ := t.Extra("scope").(string); scope != "" {
		return errors.New("the token has scopes, so that it is none of a GitHub App: it is not kept. Is this the server that you mean? Revoke the authorization in GitHub's settings under Applications")
	}
	return nil
}

// explain says what GitHub's error means. It has nothing of a token.
func explain(err error) error {
	var said *oauth2.RetrieveError
	if !errors.As(err, &said) {
		return fmt.Errorf("asking GitHub: %w", err)
	}
	switch said.ErrorCode {
	case "access_denied":
		return errors.New("it was cancelled on GitHub: nothing was kept")
	case "expired_token", "token_expired":
		return errors.New("the code ended before it was entered: run sallyport login again")
	case "incorrect_device_code":
		return errors.New("GitHub does not know the code any more: run sallyport login again")
	case "device_flow_disabled":
		return errors.New("the App does not allow the device flow: its owner enables it in the App's settings")
	case "incorrect_client_credentials", "unauthorized_client":
		return errors.New("GitHub does not know the App: SALLYPORT_CLIENT_ID on the server is not the App's client id")
	case "bad_refresh_token":
		return errors.New("the login has ended: run sallyport login")
	}
	status := 0
	if said.Response != nil {
		status = said.Response.StatusCode
	}
	return fmt.Errorf("GitHub answered %d %q", status, said.ErrorCode)
}

// fresh is a login whose token is valid for a while: the one that is kept, or the next
// one, which is kept then.
func fresh(ctx context.Context, k kept, now time.Time) (kept, error) {
	if k.Expires.IsZero() || now.Add(renewBefore).Before(k.Expires) {
		return k, nil
	}
	if k.Refresh == "" {
		return kept{}, fmt.Errorf("the login to %s has ended: run sallyport login --url %[1]s", k.Server)
	}
	t, err := k.oauth().TokenSource(withClient(ctx), &oauth2.Token{RefreshToken: k.Refresh}).Token()
	if err != nil {
		// A refresh token works once: another sallyport may have been faster.
		for range 10 {
			if other, rerr := readLogin(k.Server); rerr == nil && other.Refresh != k.Refresh {
				return other, nil
			}
			select {
			case <-ctx.Done():
				return kept{}, ctx.Err()
			case <-time.After(100 * time.Millisecond):
			}
		}
		return kept{}, fmt.Errorf("renewing the login to %s: %w", k.Server, explain(err))
	}
	if err := usable(t); err != nil {
		return kept{}, err
	}
	k.Token, k.Refresh, k.Expires = t.AccessToken, t.RefreshToken, t.Expiry
	_, err = k.write()
	return k, err
}
