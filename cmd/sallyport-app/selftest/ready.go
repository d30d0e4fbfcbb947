package selftest

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// needed are the permissions without which there is nothing to walk.
var needed = map[string]string{"actions": "read", "checks": "write", "contents": "write", "deployments": "write", "pull_requests": "write"}

// tokens are the installation tokens of a walk: one after the other, each ended.
type tokens struct {
	value   string
	expires time.Time
	may     map[string]string
}

// token is one that lives for five minutes more, for the one repository.
func (w *walk) token(ctx context.Context) (string, error) {
	if w.tokens.value != "" && time.Until(w.tokens.expires) > 5*time.Minute {
		return w.tokens.value, nil
	}
	value, expires, err := w.cfg.GitHub.ScopedToken(ctx, w.installation.ID, []rules.RepositoryID{w.id}, w.tokens.may)
	if err != nil {
		return "", fmt.Errorf("asking for a token for %s: %w", w.cfg.Repository, err)
	}
	w.dropTokens(ctx)
	w.tokens.value, w.tokens.expires = value, expires
	return value, nil
}

// dropTokens ends the present token. Where that fails it dies within the hour.
func (w *walk) dropTokens(ctx context.Context) {
	if w.tokens.value == "" {
		return
	}
	_ = w.cfg.GitHub.RevokeToken(context.WithoutCancel(ctx), w.tokens.value) // it has a time limit of its own
	w.tokens.value = ""
}

// Preparing is what a scratch repository is prepared with.
type Preparing struct {
	// Reviewers approve: logins and ORG/SLUG of teams, parted by commas.
	Reviewers string
	// Dir is the folder.
	Dir string
}

// Prepare writes the files that the scratch repository has to hold into a folder, and
// names them.
func Prepare(ctx context.Context, cfg Config, p Preparing) ([]string, error) {
	w := &walk{cfg: cfg}
	if err := w.identify(ctx); err != nil {
		return nil, err
	}
	w.values.Reviewers = p.Reviewers
	files, err := w.values.files()
	if err != nil {
		return nil, refuse("%v", err)
	}
	if err := write(p.Dir, files); err != nil {
		return nil, refuse("%v", err)
	}
	return slices.Sorted(maps.Keys(files)), nil
}

// identify finds out who the App is and which repository is meant.
func (w *walk) identify(ctx context.Context) error {
	var err error
	if w.app, err = w.cfg.GitHub.Self(ctx); err != nil {
		return fmt.Errorf("asking GitHub who the App is: %w", err)
	}
	if w.installation, err = w.cfg.GitHub.InstallationOf(ctx, w.cfg.Repository); err != nil {
		return refuse("the App %s is not installed on %s: %v", w.app.Slug, w.cfg.Repository, err)
	}
	all, err := w.cfg.GitHub.Repositories(ctx, w.installation.ID)
	if err != nil {
		return err
	}
	for _, r := range all {
		if !strings.EqualFold(r.FullName, w.cfg.Repository) {
			continue
		}
		if r.Archived {
			return refuse("%s is archived", r.FullName)
		}
		w.id, w.branch = r.ID, r.DefaultBranch
		w.values = values{Repository: r.FullName, Slug: string(w.app.Slug), Branch: r.DefaultBranch, URL: w.cfg.URL, Rule: !w.cfg.NoRule}
		return nil
	}
	return refuse("the App %s does not reach %s", w.app.Slug, w.cfg.Repository)
}

// ready refuses whatever the walk is not meant for. It changes nothing.
func (w *walk) ready(ctx context.Context) error {
	if err := w.identify(ctx); err != nil {
		return err
	}
	w.tokens.may = maps.Clone(needed)
	for name, level := range needed {
		if got := w.installation.Permissions[name]; got != level && got != "write" {
			return refuse("the installation on %s lacks the permission %s: %s (it has %q)", w.cfg.Repository, name, level, got)
		}
	}
	if w.cfg.Team != "" {
		w.tokens.may["members"] = "read"
	}
	if err := w.target(); err != nil {
		return err
	}
	if err := w.server(ctx); err != nil {
		return err
	}
	return w.scratch(ctx)
}

// scratch refuses a repository that is used for anything else.
func (w *walk) scratch(ctx context.Context) error {
	var r struct {
		HTML  string `json:"html_url"`
		Fork  bool   `json:"fork"`
		Owner struct {
			Type string `json:"type"`
		} `json:"owner"`
	}
	if err := w.wire.get(ctx, "", &r); err != nil {
		return err
	}
	if r.Fork {
		return refuse("%s is a fork: make a repository of its own for this", w.cfg.Repository)
	}
	w.html, w.org = r.HTML, r.Owner.Type == "Organization"
	var b struct {
		Protected bool `json:"protected"`
		Commit    struct {
			SHA string `json:"sha"`
		} `json:"commit"`
	}
	if err := w.wire.get(ctx, "/branches/"+w.branch, &b); err != nil {
		return err
	}
	if b.Protected {
		return refuse("the branch %s of %s is protected. The App opens the pull requests here itself, and GitHub lets nobody approve their own: take the protection off this scratch repository", w.branch, w.cfg.Repository)
	}
	w.head = b.Commit.SHA
	var tree struct {
		Truncated bool `json:"truncated"`
		Tree      []struct {
			Path string `json:"path"`
			Type string `json:"type"`
		} `json:"tree"`
	}
	if err := w.wire.get(ctx, "/git/trees/"+w.head+"?recursive=1", &tree); err != nil {
		return err
	}
	var paths []string
	for _, e := range tree.Tree {
		if e.Type != "tree" {
			paths = append(paths, e.Path)
		}
	}
	if list := strangers(paths); len(list) > 0 || tree.Truncated {
		return refuse("%s is no scratch repository: it holds %s. Use one that was made for this", w.cfg.Repository, some(list))
	}
	if !slices.Contains(paths, Marker) {
		return refuse("%s has no %s, by which whoever writes to it consents. Next: sallyport-app selftest %s --write DIR --reviewers WHO, and push what it writes to %s", w.cfg.Repository, Marker, w.cfg.Repository, w.branch)
	}
	if err := w.alone(ctx); err != nil {
		return err
	}
	return w.filesRight(ctx)
}

// some are the first few of a list.
func some(list []string) string {
	if len(list) == 0 {
		return "more files than GitHub lists"
	}
	shown := list[:min(len(list), 3)]
	text := clip(strings.Join(shown, ", "))
	if more := len(list) - len(shown); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// alone refuses where somebody works: a pull request that is none of ours is open.
func (w *walk) alone(ctx context.Context) error {
	var open []struct {
		Number int `json:"number"`
		Head   struct {
			Ref string `json:"ref"`
		} `json:"head"`
		User struct {
			ID int64 `json:"id"`
		} `json:"user"`
	}
	if err := w.wire.get(ctx, "/pulls?state=open&per_page=100", &open); err != nil {
		return err
	}
	for _, p := range open {
		if !strings.HasPrefix(p.Head.Ref, branches) || rules.AccountID(p.User.ID) != w.app.Bot.ID {
			return refuse("pull request #%d of %s is open, and is none of this: somebody works here", p.Number, w.cfg.Repository)
		}
	}
	return nil
}

// filesRight refuses where the files are not those that this walk needs.
func (w *walk) filesRight(ctx context.Context) error {
	marker, err := w.text(ctx, Marker)
	if err != nil {
		return err
	}
	reviewers, err := reviewersOf(marker, w.cfg.Repository)
	if err != nil {
		return refuse("%v", err)
	}
	w.values.Reviewers = reviewers
	files, err := w.values.files()
	if err != nil {
		return refuse("%v", err)
	}
	var wrong []string
	for path, want := range files {
		got, err := w.text(ctx, path)
		if err != nil && statusOf(err) != http.StatusNotFound {
			return err
		}
		if got != want {
			wrong = append(wrong, path)
		}
	}
	if slices.Sort(wrong); len(wrong) > 0 {
		return refuse("%s on %s of %s is not what this server needs. Next: sallyport-app selftest %s --write DIR --reviewers %q, and push what it writes", some(wrong), w.branch, w.cfg.Repository, w.cfg.Repository, reviewers)
	}
	return nil
}

// text is a file of the default branch, as it was when the walk began.
func (w *walk) text(ctx context.Context, path string) (string, error) {
	var f struct {
		Type     string `json:"type"`
		Encoding string `json:"encoding"`
		Content  string `json:"content"`
		Size     int    `json:"size"`
	}
	if err := w.wire.get(ctx, "/contents/"+path+"?ref="+w.head, &f); err != nil {
		return "", err
	}
	if f.Type != "file" || f.Encoding != "base64" || f.Size > maxFile {
		return "", refuse("%s is no ordinary file", path)
	}
	text, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(f.Content, "\n", ""))
	return string(text), err
}

// target refuses where the server has nothing to give.
func (w *walk) target() error {
	var t *rules.Target
	if w.cfg.Targets != nil {
		t = w.cfg.Targets.Targets[Target]
	}
	want := fmt.Sprintf("  %s: {tier: human, repositories: [%d], environments: [%s], token: {audience: %s}}", Target, w.id, Environment, Target)
	switch {
	case t == nil:
		return refuse("the server's SALLYPORT_TARGETS_FILE has no target %s. Add this below targets: and start the server again:\n%s", Target, want)
	case t.Token == nil || t.Tier != rules.TierHuman || !slices.Contains(t.Repositories, w.id) || !slices.Contains(t.Environments, Environment):
		return refuse("the target %s of the server's SALLYPORT_TARGETS_FILE is another one. It has to be:\n%s", Target, want)
	}
	return nil
}

// server refuses where the server does not answer.
func (w *walk) server(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(w.cfg.URL, "/")+"/readyz", nil)
	if err != nil {
		return refuse("SALLYPORT_URL %q is no address: %v", w.cfg.URL, err)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	answer, err := client.Do(q)
	if err != nil {
		return refuse("the server does not answer, and has to run beside this: %v", err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 512)) // what it says of itself, if anything
	if answer.StatusCode != http.StatusOK {
		return refuse("the server at %s is not ready: %d %s", w.cfg.URL, answer.StatusCode, clip(strings.TrimSpace(string(text))))
	}
	return nil
}
