package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/oauth2"
)

func (a *app) loginCommand() *cobra.Command {
	var server string
	var status bool
	c := &cobra.Command{
		Use:   "login [flags]",
		Short: "Log in to a server, to get dev credentials on this machine",
		Long: `Log in to a Sallyport server with your GitHub account: enter a code on GitHub, in
any browser on any machine. The server's GitHub App then knows who you are; it gets
no other rights.

A login gives credentials of automatic targets of repositories that you may write
to, and nothing of production: that is given to released pipeline jobs alone. The
token is kept in a file that only you can read, and never shown.`,
		Example: `$ sallyport login --url https://sallyport.acme.internal
$ sallyport login --status
$ sallyport logout`,
		Args: atMost(0),
		Annotations: map[string]string{"exit": `0  logged in, or with --status: somewhere
1  not logged in, or something went wrong
2  the command line is wrong`},
	}
	c.Flags().StringVar(&server, "url", getenv(a.env, "SALLYPORT_URL"), "The server's `address` (SALLYPORT_URL)")
	c.Flags().Lookup("url").DefValue = ""
	c.Flags().BoolVar(&status, "status", false, "Say where you are logged in, and ask nobody")
	f := addFormat(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if status {
			return a.loginStatus(*f)
		}
		return a.login(c.Context(), server)
	}
	return c
}

func (a *app) logoutCommand() *cobra.Command {
	var server string
	c := &cobra.Command{
		Use:   "logout [flags]",
		Short: "Forget a login on this machine",
		Long: `Forget the login to a server on this machine. GitHub is not told: the token that is
forgotten lives there for up to eight hours. To end it sooner, revoke the App under
"Authorized GitHub Apps" in your GitHub settings.`,
		Example: `$ sallyport logout
$ sallyport logout --url https://sallyport.acme.internal`,
		Args: atMost(0),
	}
	c.Flags().StringVar(&server, "url", getenv(a.env, "SALLYPORT_URL"), "The server's `address` (SALLYPORT_URL)")
	c.Flags().Lookup("url").DefValue = ""
	c.RunE = func(*cobra.Command, []string) error { return a.logout(server) }
	return c
}

func (a *app) login(ctx context.Context, server string) error {
	if server == "" {
		return usage("--url is missing: give the server's address, like https://sallyport.acme.internal")
	}
	base, client, err := auditServer(server)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	said, err := a.loginFlow(ctx, base, func() (*oauth2.Config, error) { return howToLogin(ctx, client, base) })
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted: nothing was kept")
	}
	if err != nil {
		return err
	}
	fmt.Fprint(a.stdout, said)
	return nil
}

// loginFlow logs in, and returns what is to be said then.
func (a *app) loginFlow(ctx context.Context, server string, how func() (*oauth2.Config, error)) (string, error) {
	cfg, err := how()
	if err != nil {
		return "", err
	}
	d, err := startDevice(ctx, cfg)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(a.stderr, "Open     %s\nand enter the code %s\n\nGitHub then shows an App's name: authorize it only if it is the Sallyport of your organisation.\n",
		visible(d.VerificationURI), a.errs.strong(visible(d.UserCode)))
	done := a.waiting(ctx, d.Expiry)
	token, err := awaitToken(ctx, cfg, d)
	done()
	if err != nil {
		return "", err
	}
	k := kept{Server: server, ClientID: cfg.ClientID, TokenURL: cfg.Endpoint.TokenURL, Token: token.AccessToken, Refresh: token.RefreshToken, Expires: token.Expiry}
	file, err := k.write()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Logged in to %s. The login is kept in %s\n", server, file), nil
}

// waiting shows on a terminal how long a code can still be entered. What it returns ends
// that.
func (a *app) waiting(ctx context.Context, until time.Time) (done func()) {
	if _, ok := terminal(a.stderr); !ok {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			fmt.Fprintf(a.stderr, "\rWaiting for GitHub, %s left … ", max(time.Until(until), 0).Round(time.Second))
			select {
			case <-ctx.Done():
				_, _ = io.WriteString(a.stderr, "\r"+strings.Repeat(" ", 48)+"\r")
				return
			case <-tick.C:
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// loginShown is what --status says of a login. Fields may be added and are never changed.
type loginShown struct {
	Server string `json:"server"`
	// ExpiresAt is when the token ends; it is renewed by itself if Renews.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Renews    bool      `json:"renews"`
	File      string    `json:"file"`
}

func (a *app) loginStatus(f format) error {
	all, err := readLogins()
	if err != nil {
		return err
	}
	shown := make([]loginShown, 0, len(all))
	for _, k := range all {
		file, err := loginFile(k.Server)
		if err != nil {
			return err
		}
		shown = append(shown, loginShown{Server: k.Server, ExpiresAt: k.Expires, Renews: k.Refresh != "", File: file})
	}
	switch {
	case f == formatJSON:
		if err := a.printJSON(map[string]any{"logins": shown}); err != nil {
			return err
		}
	case len(shown) == 0:
		fmt.Fprintln(a.stdout, "Not logged in. Run sallyport login --url https://YOUR-SALLYPORT")
	}
	if len(shown) == 0 {
		return &codeError{code: ExitError}
	}
	if f != formatJSON {
		for _, s := range shown {
			fmt.Fprintf(a.stdout, "%s  %s  %s\n", visible(s.Server), s.lives(time.Now()), visible(s.File))
		}
	}
	return nil
}

// lives says how long a login lives.
func (s *loginShown) lives(now time.Time) string {
	switch {
	case s.ExpiresAt.IsZero():
		return "until it is revoked"
	case s.Renews:
		return "renewed when needed"
	case now.Before(s.ExpiresAt):
		return "until " + s.ExpiresAt.UTC().Format(time.RFC3339)
	default:
		return "ended"
	}
}

func (a *app) logout(server string) error {
	if server == "" {
		k, err := readLogin("")
		if err != nil {
			return err
		}
		server = k.Server
	} else {
		var err error
		if server, _, err = auditServer(server); err != nil {
			return err
		}
	}
	was, err := forgetLogin(server)
	switch {
	case err != nil:
		return fmt.Errorf("forgetting a login: %w", err)
	case !was:
		fmt.Fprintf(a.stdout, "You were not logged in to %s.\n", visible(server))
	default:
		fmt.Fprintf(a.stdout, "Logged out of %s on this machine. GitHub was not told: to end the token there too, revoke the App in your GitHub settings.\n", visible(server))
	}
	return nil
}
