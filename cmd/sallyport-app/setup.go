package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport/sallyport/cmd/sallyport-app/setup"
	"github.com/sallyport/sallyport/gate/github"
)

// setupFlags are the flags of setup.
type setupFlags struct {
	org, url, github, dir, name, listen string
	rerun, acme, check                  bool
}

func (a *app) setupCommand() *cobra.Command {
	var f setupFlags
	c := &cobra.Command{
		Use:   "setup",
		Short: "Register the GitHub App, on a page of this machine",
		Long: `Register the GitHub App. It prints the address of a page of this machine; open it in
your browser and press its button. GitHub shows what the App asks for and sends you
back, and the App's key and secrets are written to --dir, for you alone.

The server has to be reached by GitHub and by jobs under an https address of its own
(--url). Either a reverse proxy has the certificate and leads to 127.0.0.1:8080:

  caddy reverse-proxy --from sallyport.acme.dev --to 127.0.0.1:8080

or, with --acme, the server gets its certificate from Let's Encrypt and listens on
port 443 itself.

With --check nothing is registered: GitHub is asked to send an event again, and what
became of it is told.`,
		Example: `$ sallyport-app setup --org acme --url https://sallyport.acme.dev
$ sallyport-app setup --org acme --url https://sallyport.acme.dev --acme
$ sallyport-app setup --url https://sallyport.acme.internal --github-url https://github.acme.internal
$ sallyport-app setup --check`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.check {
				return a.checkSetup(cmd.Context(), f)
			}
			return a.setup(cmd.Context(), f)
		},
	}
	c.Flags().StringVar(&f.org, "org", "", "organisation that is to own the App; default: your own account")
	c.Flags().StringVar(&f.github, "github-url", "", "GitHub Enterprise Server or ghe.com: https://HOST; default: https://github.com")
	c.Flags().StringVar(&f.dir, "dir", "sallyport", "folder for the key, the secrets and the env file")
	c.Flags().StringVar(&f.name, "name", "", "the App's name, at most 34 characters; default: Sallyport and the organisation")
	c.Flags().BoolVar(&f.rerun, "rerun", false, "ask for Actions: write too, to run a job again that stopped waiting for its approval")
	c.Flags().BoolVar(&f.acme, "acme", false, "let the server get its own certificate, and listen on port 443")
	c.Flags().BoolVar(&f.check, "check", false, "register nothing: see whether GitHub reaches the server")
	return c
}

// setting is a flag or variable of the server's settings.
func (a *app) setting(name string) string {
	if f := a.flags[name]; f != nil && *f != "" {
		return *f
	}
	return a.getenv("SALLYPORT_" + name)
}

func (a *app) setup(ctx context.Context, f setupFlags) (err error) {
	f.url, f.listen = a.setting("URL"), "127.0.0.1:0"
	if at := a.flags["LISTEN"]; at != nil && *at != "" {
		f.listen = *at // the variable is the server's
	}
	places, err := setup.Locate(f.github, a.setting("GITHUB_API_URL"))
	if err != nil {
		return usage(err)
	}
	if in := a.terminal(); in != nil && f.url == "" {
		if f.url, err = a.prompt(in, "Public https address of the server, such as https://sallyport.acme.dev: "); err != nil {
			return err
		}
		if f.org == "" {
			if f.org, err = a.prompt(in, "Organisation that is to own the App (empty: your own account): "); err != nil {
				return err
			}
		}
	}
	if f.url, err = setup.PublicURL(f.url); err != nil {
		return usage(err)
	}
	folder, err := setup.OpenFolder(f.dir)
	if err != nil {
		return usage(err)
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	flow, err := setup.Start(ctx, setup.Config{Places: places, Org: f.org, Name: f.name, URL: f.url, Rerun: f.rerun, ACME: f.acme, Folder: folder}, f.listen)
	if err != nil {
		return usage(err)
	}
	fmt.Fprintf(a.stdout, "GitHub and jobs will reach the server at %s.\n", f.url)
	fmt.Fprintf(a.stdout, "Open this page in your browser, on this machine, and press its button:\n\n  %s\n\n", flow.Address())
	fmt.Fprintln(a.stderr, "Waiting for you and GitHub, an hour at most. Ctrl-C ends it.")
	x, err := flow.Run(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "The App %s (%d) of %s is registered.\n  Files: %s\n", x.Slug, x.ID, x.Owner, x.Folder)
	for _, n := range x.Notes {
		fmt.Fprintf(a.stdout, "  Note: %s\n", n)
	}
	fmt.Fprintln(a.stdout, "\nNext:")
	for i, s := range x.Steps() {
		fmt.Fprintf(a.stdout, "  %d. %s:\n       %s\n", i+1, s.What, s.Link+s.Command)
	}
	return nil
}

// terminal is who can be asked; nil in a pipe.
func (a *app) terminal() *bufio.Reader {
	f, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return bufio.NewReader(f)
}

// prompt asks for one line.
func (a *app) prompt(in *bufio.Reader, question string) (string, error) {
	fmt.Fprint(a.stderr, question)
	line, err := in.ReadString('\n')
	return strings.TrimSpace(line), err
}

// maxEnv is how large an env file may be.
const maxEnv = 64 << 10

// envFile reads the env file that setup wrote.
func envFile(path string) (map[string]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxEnv {
		return nil, fmt.Errorf("%s is no env file: it has %d bytes", path, info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			out[name] = value
		}
	}
	return out, nil
}

// checkSetup asks GitHub whether it reaches the server: by the settings, or where
// there are none by the env file.
func (a *app) checkSetup(ctx context.Context, f setupFlags) error {
	if a.setting("APP_ID") == "" {
		path := filepath.Join(f.dir, "sallyport.env")
		env, err := envFile(path)
		if err != nil {
			return usage(fmt.Errorf("SALLYPORT_APP_ID is not set, and there is no env file of setup: %w", err))
		}
		outer := a.getenv
		a.getenv = func(name string) string {
			if v := outer(name); v != "" {
				return v
			}
			return env[name]
		}
	}
	s, err := a.settings(false)
	if err != nil {
		return err
	}
	places, err := setup.Locate(cmp.Or(f.github, a.setting("GITHUB_WEB_URL")), s.GitHubAPI)
	if err != nil {
		return usage(err)
	}
	client, err := github.New(github.Config{App: s.App, Key: s.Key, BaseURL: s.GitHubAPI, Log: s.Log})
	if err != nil {
		return err
	}
	return setup.Checker{GitHub: client, Places: places, URL: s.URL, Out: a.stdout}.Check(ctx)
}
