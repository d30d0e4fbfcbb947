package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/actions"
	"github.com/sallyport/sallyport/gate/git"
)

// personLeaser gives a person credentials by a login: a leaser outside any job.
type personLeaser struct{ client *actions.Client }

// userLeaser is the leaser of whoever is logged in to a server ("" is the only one), for
// the repository "owner/name" ("" is that of the folder dir, by its remote "origin"). It
// asks nobody yet but for a login that has to be renewed.
func (a *app) userLeaser(ctx context.Context, server, repository, dir string) (*personLeaser, error) {
	if server != "" {
		var err error
		if server, _, err = auditServer(server); err != nil {
			return nil, err
		}
	}
	login, err := readLogin(server)
	if err != nil {
		return nil, err
	}
	if repository == "" {
		if repository, err = a.remoteRepository(ctx, dir, login.TokenURL); err != nil {
			return nil, err
		}
	} else if !fullName.MatchString(repository) {
		return nil, usage("the repository %q is not OWNER/NAME", repository)
	}
	if login, err = fresh(ctx, login, time.Now()); err != nil {
		return nil, err
	}
	client, err := actions.NewClient(actions.Config{
		Server: login.Server, Repository: repository, UserAgent: "sallyport/" + versionName(),
		Token: func(context.Context, string) (actions.Secret, error) { return actions.Secret(login.Token), nil },
	})
	if err != nil {
		return nil, err
	}
	return &personLeaser{client}, nil
}

// Lease gives a credential of the policy's.
func (p *personLeaser) Lease(ctx context.Context, credential string) (actions.Lease, error) {
	l, err := p.client.Lease(ctx, credential)
	if errors.Is(err, actions.ErrUnclear) {
		return l, errors.New("no answer came, so that nobody can tell whether the credential was made; if it was, it ends by its deadline. Try again")
	}
	return l, err
}

// EndLease ends it: nil means that nothing of it is alive.
func (p *personLeaser) EndLease(ctx context.Context, id string, secret actions.Secret) error {
	return p.client.EndLease(ctx, id, secret)
}

// fullName is "owner/name" as GitHub has them.
var fullName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}/[A-Za-z0-9._-]{1,100}$`)

// remoteRepository is the repository that the folder's remote "origin" names, which must
// be on the GitHub of a login.
func (a *app) remoteRepository(ctx context.Context, dir, tokenURL string) (name string, err error) {
	repo, err := git.Open(ctx, git.Config{Dir: dir, Env: a.env})
	if err != nil {
		return "", fmt.Errorf("%w; name the repository", err)
	}
	defer func() { err = errors.Join(err, repo.Close()) }()
	remote, err := repo.Remote(ctx)
	if err != nil {
		return "", err
	}
	github, err := url.Parse(tokenURL)
	if err != nil {
		return "", err
	}
	host, name := splitRemote(remote)
	if !fullName.MatchString(name) || !strings.EqualFold(host, github.Hostname()) && !strings.EqualFold(host, "ssh."+github.Hostname()) {
		return "", fmt.Errorf("the remote origin here is no repository of %s: name the repository as OWNER/NAME", github.Hostname())
	}
	return name, nil
}

// splitRemote is the host and "owner/name" of a remote's address, as git takes them: a
// URL, or user@host:path.
func splitRemote(remote string) (host, name string) {
	u, err := url.Parse(remote)
	if err != nil || u.Host == "" {
		before, path, ok := strings.Cut(remote, ":")
		if !ok || strings.Contains(before, "/") {
			return "", ""
		}
		host, name = before[strings.LastIndex(before, "@")+1:], path
	} else {
		host, name = u.Hostname(), u.Path
	}
	return host, strings.TrimSuffix(strings.Trim(name, "/"), ".git")
}
