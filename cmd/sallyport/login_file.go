package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/oauth2"
)

// kept is a login as it lies in its file, one for each server. Fields may be added and
// never changed.
type kept struct {
	Version int `json:"version"`
	// Server is the Sallyport server, whose App the token was given to.
	Server   string `json:"server"`
	ClientID string `json:"client_id"`
	// TokenURL is where GitHub gives the next token.
	TokenURL string    `json:"token_url"`
	Token    string    `json:"access_token"`
	Refresh  string    `json:"refresh_token,omitzero"`
	Expires  time.Time `json:"expires_at,omitzero"`
}

const (
	keptVersion = 1
	maxKept     = 64 << 10
)

// String hides the tokens.
func (kept) String() string { return "(login)" }

// GoString hides the tokens.
func (kept) GoString() string { return "(login)" }

// oauth is what GitHub is asked with for the next token.
func (k *kept) oauth() *oauth2.Config {
	return &oauth2.Config{ClientID: k.ClientID, Endpoint: oauth2.Endpoint{TokenURL: k.TokenURL, AuthStyle: oauth2.AuthStyleInParams}}
}

// loginDir is the folder of logins.
func loginDir() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("finding where to keep a login: %w", err)
	}
	return filepath.Join(dir, "sallyport"), nil
}

// loginFile is the file of a server's login.
func loginFile(server string) (string, error) {
	dir, err := loginDir()
	sum := sha256.Sum256([]byte(server))
	return filepath.Join(dir, "login-"+hex.EncodeToString(sum[:8])+".json"), err
}

// errNoLogin means that nobody logged in.
var errNoLogin = errors.New("not logged in")

// readLogin reads the login of a server, or the only one where server is empty. It is or
// wraps errNoLogin if there is none.
func readLogin(server string) (kept, error) {
	if server == "" {
		all, err := readLogins()
		switch {
		case err != nil:
			return kept{}, err
		case len(all) == 0:
			return kept{}, fmt.Errorf("%w: run sallyport login --url https://YOUR-SALLYPORT", errNoLogin)
		case len(all) > 1:
			return kept{}, usage("logged in to %d servers: name one with --url or SALLYPORT_URL", len(all))
		}
		return all[0], nil
	}
	file, err := loginFile(server)
	if err != nil {
		return kept{}, err
	}
	k, err := readKept(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return kept{}, fmt.Errorf("%w to %s: run sallyport login --url %[2]s", errNoLogin, server)
	case err != nil:
		return kept{}, err
	case k.Server != server:
		return kept{}, fmt.Errorf("%s is the login of another server: remove it, and run sallyport login --url %s", file, server)
	}
	return k, nil
}

// readLogins reads all logins, by their servers.
func readLogins() ([]kept, error) {
	dir, err := loginDir()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "login-*.json"))
	if err != nil {
		return nil, err
	}
	out := make([]kept, 0, len(files))
	for _, f := range files {
		k, err := readKept(f)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b kept) int { return strings.Compare(a.Server, b.Server) })
	return out, nil
}

// readKept reads one file, which nobody else may read.
func readKept(file string) (kept, error) {
	f, err := os.Open(file)
	if err != nil {
		return kept{}, fmt.Errorf("reading a login: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return kept{}, fmt.Errorf("reading a login: %w", err)
	case !info.Mode().IsRegular():
		return kept{}, fmt.Errorf("%s is no regular file: remove it, and run sallyport login", file)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return kept{}, fmt.Errorf("%s can be read by others (mode %#o), so that its token is not used: run chmod 600 on it if nobody did, else sallyport logout", file, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKept+1))
	if err != nil {
		return kept{}, fmt.Errorf("reading a login: %w", err)
	}
	var k kept
	if len(text) > maxKept || json.Unmarshal(text, &k) != nil || k.Version != keptVersion || k.Server == "" || k.Token == "" || k.ClientID == "" || k.TokenURL == "" {
		// What an error would say may have the token in it.
		return kept{}, fmt.Errorf("%s is no login of this version: remove it, and run sallyport login", file)
	}
	return k, nil
}

// write keeps a login: in a new file that takes the place of the old one, so that there
// is never half of one.
func (k *kept) write() (string, error) {
	file, err := loginFile(k.Server)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return "", fmt.Errorf("keeping a login: %w", err)
	}
	k.Version = keptVersion
	text, err := json.Marshal(k, jsontext.WithIndent("  "))
	if err != nil {
		return "", errors.New("keeping a login: it is no JSON")
	}
	f, err := os.CreateTemp(filepath.Dir(file), "new-*") // of mode 0600
	if err != nil {
		return "", fmt.Errorf("keeping a login: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return "", fmt.Errorf("keeping a login: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return file, nil
}

// forgetLogin removes the login of a server. There may be none.
func forgetLogin(server string) (bool, error) {
	file, err := loginFile(server)
	if err != nil {
		return false, err
	}
	err = os.Remove(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
