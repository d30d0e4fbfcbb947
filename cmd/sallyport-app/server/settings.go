package server

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/jobtoken"
	"github.com/sallyport/sallyport/gate/statements"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/webhook"
	"github.com/sallyport/sallyport/rules"
)

// A Setting is one environment variable, which is a flag of the same name too.
type Setting struct {
	// Name is the variable's, without the SALLYPORT_ that all begin with.
	Name string
	// Default is what holds where it is not set; "" is nothing.
	Default string
	// Secret says that the value is a secret: NAME_FILE names a file that holds it,
	// and there is no flag for the value itself, which other users would see.
	Secret bool
	// File says that NAME_FILE may name a file that holds the value, which may have a
	// secret in it.
	File bool
	Help string
}

// Variable is the environment variable's name.
func (s Setting) Variable() string { return "SALLYPORT_" + s.Name }

// Flag is the flag's name.
func (s Setting) Flag() string {
	name := strings.ReplaceAll(strings.ToLower(s.Name), "_", "-")
	if s.Secret {
		name += "-file"
	}
	return name
}

// defaultIssuer is who issues the tokens of jobs on github.com
// (https://docs.github.com/actions/reference/openid-connect-reference).
const defaultIssuer = "https://token.actions.githubusercontent.com"

// All are all settings: help, flags, variables and documentation are made of this
// list.
func All() []Setting {
	return append([]Setting{
		{Name: "URL", Help: "where this server is reached, such as https://sallyport.acme.internal; names its ledger"},
		{Name: "LISTEN", Default: "127.0.0.1:8080", Help: "address to listen on"},
		{Name: "ACME_DIR", Help: "folder for certificates of its own; set, the server gets one for the host of SALLYPORT_URL, and SALLYPORT_LISTEN has to be port 443 from outside"},
		{Name: "ACME_EMAIL", Help: "whom the certificates' authority writes to"},
		{Name: "ACME_DIRECTORY", Help: "the authority's ACME directory; default: Let's Encrypt's"},
		{Name: "DATABASE_URL", Default: "sqlite:sallyport.db", File: true, Help: "sqlite:FILE, or postgres://ROLE:PASSWORD@HOST/DATABASE?sslmode=verify-full for any number of servers"}, //nolint:gosec // words, and no password
		{Name: "APP_ID", Help: "the GitHub App's id"},
		{Name: "PRIVATE_KEY", Secret: true, Help: "the GitHub App's private key, PEM"},
		{Name: "WEBHOOK_SECRET", Secret: true, Help: "the GitHub App's webhook secret; two lines while it is being replaced"},
		{Name: "GITHUB_API_URL", Default: github.DefaultBaseURL, Help: "GitHub's REST API; of GitHub Enterprise Server https://HOST/api/v3"},
		{Name: "OWNERS", Help: "ids of the accounts whose installations are served, parted by commas; default: the account that owns the App"},
		{Name: "ORG_FLOOR", Help: `"none" where no organisation has a floor and the App cannot see that for itself`},
		{Name: "TARGETS_FILE", Help: "what credentials open and where alerts go, YAML; without it nobody is told of alerts but the log and the ledger"},
		{Name: "SIGNING_KEY_FILE", Help: "PKCS#8 PEM of the key that signs tokens for human targets, or a folder with human.pem and auto.pem; default: made once and kept sealed in the database"},
		{Name: "OIDC_ISSUER", Default: defaultIssuer, Help: "who issues the tokens of jobs; of GitHub Enterprise Server https://HOST/_services/token"},
		{Name: "SWEEP_INTERVAL", Default: "60s", Help: "how often everything that is held is looked at, in case an event was lost"},
		{Name: "SEAL_KEY", Secret: true, Help: "32 bytes in hex that seal the ledger's key in the database (openssl rand -hex 32)"},
	}, loginSettings()...)
}

// Settings are what a server works with.
type Settings struct {
	// Version is that of the program, where its build names one.
	Version        string
	URL            string
	Listen         string
	Certificates   certificates
	Database       store.Config
	App            rules.AppID
	Key            github.Key
	WebhookSecrets []webhook.Secret
	GitHubAPI      string
	Login          Login
	Owners         []rules.AccountID
	NoFloor        bool
	Sweep          time.Duration
	Targets        *rules.Targets // nil where none are declared
	SigningKeys    string         // file or folder; "" are made
	Issuer         string
	// Statements reads migrations; nil reads none.
	Statements gate.Statements
	Seal       sealKey
	// Remarks are what is not as it should be, although it works: a line each, for the
	// log.
	Remarks []string
	Log     *slog.Logger
}

// SealWith sets the key that seals what lies in the database: 32 bytes in hex.
func (s *Settings) SealWith(text string) error {
	key, err := parseSealKey(text)
	s.Seal = key
	return err
}

// Read reads settings: get gives the value of a setting's flag or variable, "" if
// neither is set, and for a secret also that of NAME_FILE. The error names everything
// that is missing or wrong, a line each.
func Read(get func(name string) string, needWebhooks bool) (Settings, error) {
	var s Settings
	var wrong []error
	bad := func(name, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("SALLYPORT_%s: %s", name, fmt.Sprintf(format, args...)))
	}
	// Those whose file cannot be read are wrong already, and not missing as well.
	unread := map[string]bool{}
	value := func(name string) string {
		for _, x := range All() {
			if x.Name != name {
				continue
			}
			v := get(name)
			if !x.Secret {
				v = strings.TrimSpace(v) // of a file's last line, mostly
			}
			if (x.Secret || x.File) && v == "" {
				if file := get(name + "_FILE"); file != "" {
					text, others, why := settingFile(file)
					if why != "" {
						bad(name+"_FILE", "%s", why)
						unread[name] = true
					} else if others {
						s.Remarks = append(s.Remarks, fmt.Sprintf("SALLYPORT_%s_FILE: %q can be read by every user of this machine: chmod 600", name, file))
					}
					v = string(text)
				}
			}
			if v == "" {
				v = x.Default
			}
			return v
		}
		panic("server: no such setting: " + name)
	}
	if s.URL = strings.TrimSuffix(value("URL"), "/"); s.URL == "" {
		bad("URL", "is missing: where this server is reached, such as https://sallyport.acme.internal")
	} else if u, err := url.Parse(s.URL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		bad("URL", "%q is no address, such as https://sallyport.acme.internal", s.URL)
	}
	s.Listen = value("LISTEN")
	if _, _, err := net.SplitHostPort(s.Listen); err != nil {
		bad("LISTEN", "%q is not host:port", s.Listen)
	}
	s.Certificates = certificates{Dir: value("ACME_DIR"), Email: value("ACME_EMAIL"), Directory: value("ACME_DIRECTORY")}
	if name, why := s.Certificates.check(s.URL); name != "" {
		bad(name, "%s", why)
	}
	var err error
	if s.Database, err = store.ParseURL(strings.TrimSpace(value("DATABASE_URL"))); err != nil {
		bad("DATABASE_URL", "%v", err)
	}
	if v := value("APP_ID"); v == "" {
		bad("APP_ID", "is missing: the number on the App's settings page")
	} else if n, err := strconv.ParseInt(v, 10, 64); err != nil || n <= 0 {
		bad("APP_ID", "%q is no number", v)
	} else {
		s.App = rules.AppID(n)
	}
	if v := value("PRIVATE_KEY"); unread["PRIVATE_KEY"] {
		// said already
	} else if v == "" {
		bad("PRIVATE_KEY_FILE", "is missing: the .pem file that GitHub gave for the App")
	} else if key, err := github.ParseKey([]byte(v)); err != nil {
		bad("PRIVATE_KEY_FILE", "%v", err)
	} else {
		s.Key = key
	}
	for line := range strings.Lines(value("WEBHOOK_SECRET")) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" {
			s.WebhookSecrets = append(s.WebhookSecrets, webhook.Secret(line))
		}
	}
	switch {
	case !needWebhooks, unread["WEBHOOK_SECRET"]:
	case len(s.WebhookSecrets) == 0:
		bad("WEBHOOK_SECRET", "is missing: the secret of the App's webhook, itself or as a file in SALLYPORT_WEBHOOK_SECRET_FILE")
	case len(s.WebhookSecrets) > webhook.MaxSecrets:
		bad("WEBHOOK_SECRET", "has %d lines: one secret, or two while it is being replaced", len(s.WebhookSecrets))
	}
	s.GitHubAPI = value("GITHUB_API_URL")
	api := s.GitHubAPI
	if err := github.CheckBaseURL(api); err != nil {
		bad("GITHUB_API_URL", "%v", err)
		api = github.DefaultBaseURL // the pages that belong to it are wrong for the same reason
	}
	s.Login = readLogin(value, api, bad)
	for id := range strings.SplitSeq(value("OWNERS"), ",") {
		if id = strings.TrimSpace(id); id == "" {
			continue
		}
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || n <= 0 {
			bad("OWNERS", "%q is no account's id: names change hands; gh api users/LOGIN --jq .id prints it", id)
			continue
		}
		s.Owners = append(s.Owners, rules.AccountID(n))
	}
	switch v := value("ORG_FLOOR"); v {
	case "":
	case "none":
		s.NoFloor = true
	default:
		bad("ORG_FLOOR", `%q: the only value is "none"`, v)
	}
	if file := value("TARGETS_FILE"); file != "" {
		if t, why := targets(file); why != "" {
			bad("TARGETS_FILE", "%s", why)
		} else {
			s.Targets = t
		}
	}
	s.SigningKeys = value("SIGNING_KEY_FILE")
	s.Issuer = strings.TrimSuffix(value("OIDC_ISSUER"), "/")
	if _, err := jobtoken.New(jobtoken.Config{Issuer: s.Issuer, Audience: "any"}); err != nil {
		bad("OIDC_ISSUER", "%s", strings.TrimPrefix(err.Error(), "jobtoken: "))
	}
	if s.Sweep, err = time.ParseDuration(value("SWEEP_INTERVAL")); err != nil || s.Sweep < time.Second {
		bad("SWEEP_INTERVAL", "%q: want a time of at least a second, such as 60s", value("SWEEP_INTERVAL"))
	}
	if v := strings.TrimSpace(value("SEAL_KEY")); v != "" {
		if s.Seal, err = parseSealKey(v); err != nil {
			bad("SEAL_KEY_FILE", "%v", err)
		}
	}
	return s, errors.Join(wrong...)
}

// maxFile is how many bytes a file that a setting names may have.
const maxFile = 1 << 20

// settingFile reads a file that holds a setting. Others says that every user of the
// machine can read it, why that it cannot be read.
func settingFile(file string) (text []byte, others bool, why string) {
	f, err := os.Open(file)
	if err == nil {
		defer f.Close()
		var info fs.FileInfo
		if info, err = f.Stat(); err == nil {
			others = runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0
			text, err = io.ReadAll(io.LimitReader(f, maxFile+1))
		}
	}
	switch pathErr := (*fs.PathError)(nil); {
	case errors.As(err, &pathErr):
		return nil, false, fmt.Sprintf("%q cannot be read: %v", file, pathErr.Err)
	case err != nil:
		return nil, false, fmt.Sprintf("%q cannot be read: %v", file, err)
	case len(text) > maxFile:
		return nil, false, fmt.Sprintf("%q has more than %d bytes", file, maxFile)
	}
	return text, others, ""
}

// targets reads a targets file. Why says what is wrong with it.
func targets(file string) (t *rules.Targets, why string) {
	text, _, why := settingFile(file)
	if why != "" {
		return nil, why
	}
	t, problems := rules.LoadTargets(file, text)
	if t == nil || rules.HasErrors(problems) {
		var lines []string
		for _, p := range problems {
			if p.IsError() {
				lines = append(lines, p.String())
			}
		}
		return nil, strings.Join(lines, "\n")
	}
	return t, ""
}

// lookCommand is the one argument with which a program starts itself to read
// migrations, in a process that has no secret and can be killed.
const lookCommand = "look-at-statements"

// Looks reports whether a program was started to read migrations, and does so until
// its parent goes away. A program that uses [Looker] calls it first of all.
func Looks(args []string, in io.Reader, out io.Writer) (bool, error) {
	if len(args) != 1 || args[0] != lookCommand {
		return false, nil
	}
	return true, statements.Serve(in, out)
}

// Looker starts this program again to read migrations, when there are any. Close it.
func Looker() (*statements.Worker, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program, to read migrations in a process of its own: %w", err)
	}
	return statements.NewWorker(program, lookCommand), nil
}
