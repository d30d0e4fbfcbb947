package setup

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/gate/github"
)

// The files that setup writes.
const (
	fileKey     = "app.pem"
	fileHook    = "webhook-secret"
	fileClient  = "client-secret"
	fileSeal    = "seal-key"
	fileEnv     = "sallyport.env"
	fileIgnore  = ".gitignore"
	fileDB      = "sallyport.db" // the server makes it
	folderCerts = "certificates" // the server makes it
)

func allFiles() []string { return []string{fileKey, fileHook, fileClient, fileSeal, fileEnv} }

// plainPath is a path that a shell, systemd and a container's --env-file read alike
// without quotes.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9_./@%+,-]+\z`)

// Folder is where the secrets go. It was tried out before anybody is sent to GitHub,
// which tells them once.
type Folder struct {
	dir     string
	root    *os.Root
	staging string // below root; "" once it is gone
	made    bool   // the folder is ours, and goes if nothing comes into it
}

// OpenFolder makes a folder, or takes one that nobody else reads, and tries to write
// there. Nothing that is there is ever overwritten.
func OpenFolder(dir string) (*Folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if !plainPath.MatchString(dir) {
		return nil, fmt.Errorf("--dir: %q has characters that an env file would need quoted: choose another folder", dir)
	}
	f := &Folder{dir: dir}
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // what is above the folder holds nothing
			return nil, fmt.Errorf("--dir: %w", err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, fmt.Errorf("--dir: %w", err)
		}
		if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder
			return nil, fmt.Errorf("--dir: %w", err)
		}
		f.made = true
	}
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return nil, fmt.Errorf("--dir: %w", err)
	case !info.IsDir():
		return nil, fmt.Errorf("--dir: %s is no folder", dir)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("--dir: others can look into %s (%#o): chmod 700 %s", dir, info.Mode().Perm(), dir)
	}
	if f.root, err = os.OpenRoot(dir); err != nil {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	for _, name := range allFiles() {
		if _, err := f.root.Lstat(name); err == nil {
			return nil, errors.Join(fmt.Errorf("%s is there already, and is not overwritten: choose another --dir, or move it away", filepath.Join(dir, name)), f.Close())
		}
	}
	f.staging = ".new-" + strings.ToLower(rand.Text()[:10])
	if err := f.root.Mkdir(f.staging, 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("--dir: nothing can be written there: %w", err), f.Close())
	}
	if err := create(f.root, filepath.Join(f.staging, "try"), "x"); err != nil {
		return nil, errors.Join(fmt.Errorf("--dir: nothing can be written there: %w", err), f.Close())
	}
	if err := f.root.Remove(filepath.Join(f.staging, "try")); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Path is where a file of the folder is.
func (f *Folder) Path(name string) string { return filepath.Join(f.dir, name) }

// Close leaves nothing behind that holds nothing.
func (f *Folder) Close() error {
	var err error
	if f.staging != "" {
		err = f.root.Remove(f.staging)
		f.staging = ""
	}
	err = errors.Join(err, f.root.Close())
	if f.made {
		_ = os.Remove(f.dir) // stays if there is something in it
	}
	return err
}

// file is one file to write.
type file struct{ name, text string }

// create writes a file that was not there, for its owner alone.
func create(root *os.Root, name, text string) error {
	w, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = w.WriteString(text)
	return errors.Join(w.Chmod(0o600), err, w.Sync(), w.Close())
}

// write writes all files. They come to lie aside first, so that whatever stands in
// their place afterwards, nothing is lost: where says in which folder all of them are,
// and err why that is not the one that was asked for.
func (f *Folder) write(files []file) (where string, err error) {
	// In a work tree git must not take them. One that is there is somebody's own.
	_ = create(f.root, fileIgnore, "*\n")
	all := func(root *os.Root, below string) error {
		for _, x := range files {
			if err := create(root, filepath.Join(below, x.name), x.text); err != nil {
				return err
			}
		}
		return nil
	}
	if err := all(f.root, f.staging); err != nil {
		return elsewhere(all, err)
	}
	where = filepath.Join(f.dir, f.staging)
	aside := f.staging
	f.staging = ""
	if err := all(f.root, ""); err != nil {
		return where, err
	}
	if err := f.root.RemoveAll(aside); err != nil {
		return f.dir, fmt.Errorf("a copy is left: %w", err)
	}
	return f.dir, nil
}

// elsewhere writes the files where there may still be room.
func elsewhere(all func(*os.Root, string) error, cause error) (string, error) {
	home, _ := os.UserHomeDir() // "" is left out
	for _, parent := range []string{home, os.TempDir()} {
		if parent == "" {
			continue
		}
		dir, err := os.MkdirTemp(parent, "sallyport-")
		if err != nil {
			continue
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			continue
		}
		if err := errors.Join(all(root, ""), root.Close()); err == nil {
			return dir, cause
		}
		_ = os.RemoveAll(dir) // a part of them is of no use
	}
	return "", cause
}

// sealKey is a fresh key for SALLYPORT_SEAL_KEY.
func sealKey() string {
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic("setup: no random bytes: " + err.Error())
	}
	return hex.EncodeToString(b[:])
}

// filesOf are the files for an App. Where GitHub made no webhook secret there is one
// of ours, which the person has to give to GitHub.
func (c Config) filesOf(a github.NewApp) []file {
	hook := a.WebhookSecret.Reveal()
	if hook == "" {
		hook = sealKey()
	}
	return []file{
		{fileKey, a.Key.Reveal()}, {fileHook, hook + "\n"}, {fileClient, a.ClientSecret.Reveal() + "\n"}, {fileSeal, sealKey() + "\n"}, {fileEnv, c.env(a)},
	}
}

// env is the env file: it names files, and holds no secret.
func (c Config) env(a github.NewApp) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The GitHub App %s (%d) of %s, on %s. There is no secret in this file.\n", a.Slug, a.ID, a.Owner.Login, c.Places.Web)
	set := func(name, value string) { fmt.Fprintf(&b, "SALLYPORT_%s=%s\n", name, value) }
	set("URL", c.URL)
	if c.ACME {
		set("LISTEN", ":443")
		set("ACME_DIR", c.Folder.Path(folderCerts))
	}
	set("DATABASE_URL", "sqlite:"+c.Folder.Path(fileDB))
	set("APP_ID", strconv.FormatInt(int64(a.ID), 10))
	set("PRIVATE_KEY_FILE", c.Folder.Path(fileKey))
	set("WEBHOOK_SECRET_FILE", c.Folder.Path(fileHook))
	set("CLIENT_ID", a.ClientID)
	set("CLIENT_SECRET_FILE", c.Folder.Path(fileClient))
	set("SEAL_KEY_FILE", c.Folder.Path(fileSeal))
	if c.Places.API != github.DefaultBaseURL {
		set("GITHUB_API_URL", c.Places.API)
		set("GITHUB_WEB_URL", c.Places.Web)
		set("OIDC_ISSUER", c.Places.Issuer)
	}
	return b.String()
}
