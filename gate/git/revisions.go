package git

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/rules"
)

// Revision is a commit that a person named.
type Revision struct {
	// Name is what was asked for ("HEAD", "origin/main", "v1.2~3").
	Name string
	SHA  rules.SHA
	// Branch is the branch's name without its remote, if Name is a branch's or
	// HEAD stands on one.
	Branch string
}

// ErrNoRevision means that a name names no commit.
var ErrNoRevision = errors.New("no such revision")

// ErrEmpty means that the repository has no commit yet.
var ErrEmpty = errors.New("the repository has no commit yet")

// Revision finds the commit that a name means, in git's notation. A name can be
// anything: it is never taken for an option. The error is or wraps
// [ErrNoRevision], or [ErrEmpty] where HEAD has no commit yet.
func (r *Repository) Revision(ctx context.Context, name string) (Revision, error) {
	if name == "" {
		return Revision{}, fmt.Errorf("%w: %q", ErrNoRevision, name)
	}
	a, err := r.ask(ctx, name+"^{commit}", 0)
	if err != nil && !errors.Is(err, errMissing) {
		return Revision{}, err
	}
	if err != nil || a.kind != "commit" {
		if name == "HEAD" {
			return Revision{}, ErrEmpty
		}
		hint := ""
		if r.Shallow() {
			hint = "; the clone is shallow: git fetch --unshallow brings the rest"
		}
		return Revision{}, fmt.Errorf("%w: %q%s", ErrNoRevision, name, hint)
	}
	rev := Revision{Name: name, SHA: a.id}
	rev.Branch, err = r.branchOf(ctx, name)
	return rev, err
}

// branchOf is the branch that a name means, without its remote; empty if it
// means none.
func (r *Repository) branchOf(ctx context.Context, name string) (string, error) {
	if name == "HEAD" || name == "@" {
		return r.headBranch(ctx)
	}
	if !plainRef(name) {
		return "", nil
	}
	if b := shortBranch(name); b != "" && b != "HEAD" {
		return b, nil // a full reference, which is there
	}
	refs, err := r.refs(ctx, "refs/heads/"+name, "refs/remotes/"+name, fullRef(name))
	if err != nil {
		return "", err
	}
	for _, want := range []string{name, "refs/heads/" + name, "refs/remotes/" + name} {
		for _, ref := range refs {
			if ref.name != want {
				continue
			}
			if ref.target != "" {
				return shortBranch(ref.target), nil
			}
			return shortBranch(ref.name), nil
		}
	}
	return "", nil
}

// plainRef reports whether a name could be a reference's, and no expression.
func plainRef(name string) bool {
	return !strings.ContainsAny(name, "~^:?*[\\ \x7f") && !strings.Contains(name, "@{") && !strings.Contains(name, "..") &&
		strings.IndexFunc(name, func(c rune) bool { return c < ' ' }) < 0
}

// fullRef makes a pattern for git for-each-ref that cannot be an option.
func fullRef(name string) string {
	if strings.HasPrefix(name, "refs/") {
		return name
	}
	return "refs/" + name
}

// shortBranch takes "refs/heads/" or "refs/remotes/NAME/" off.
func shortBranch(ref string) string {
	if b, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		return b
	}
	if b, ok := strings.CutPrefix(ref, "refs/remotes/"); ok {
		if _, b, ok := strings.Cut(b, "/"); ok {
			return b
		}
	}
	return ""
}

// headBranch is the branch that HEAD stands on; empty where it is detached.
func (r *Repository) headBranch(ctx context.Context) (string, error) {
	out, err := r.output(ctx, "symbolic-ref", "--quiet", "HEAD")
	if exitCode(err) == 1 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return shortBranch(strings.TrimSuffix(string(out), "\n")), nil
}

type ref struct{ name, target string }

// refs lists the references that are one of the patterns or stand below it.
func (r *Repository) refs(ctx context.Context, patterns ...string) ([]ref, error) {
	out, err := r.output(ctx, append([]string{"for-each-ref", "--format=%(refname)%00%(symref)"}, patterns...)...)
	if err != nil {
		return nil, err
	}
	var refs []ref
	for line := range strings.Lines(string(out)) {
		name, target, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\x00")
		if ok {
			refs = append(refs, ref{name, target})
		}
	}
	return refs, nil
}

// DefaultBranch is the branch that changes are merged into.
type DefaultBranch struct {
	// Name is its name without a remote ("main").
	Name string
	// Ref is the full reference that stands for it here: of a remote if there is
	// one, since a local branch may hold what nobody merged.
	Ref string
}

// Short is the reference as people type it ("origin/main", "main").
func (d DefaultBranch) Short() string {
	s := strings.TrimPrefix(d.Ref, "refs/heads/")
	return strings.TrimPrefix(s, "refs/remotes/")
}

// ErrNoDefaultBranch means that nothing says which branch is the default one.
var ErrNoDefaultBranch = errors.New("cannot tell which branch is the default one")

// DefaultBranch finds the default branch: what a remote's HEAD says (origin
// first, then upstream, then the others by name); else the remote's main, master
// or trunk; else, with no remote, what init.defaultBranch says, or a local main,
// master or trunk, or the only branch there is. A bare repository's own HEAD
// says it. The error is or wraps [ErrNoDefaultBranch].
func (r *Repository) DefaultBranch(ctx context.Context) (DefaultBranch, error) {
	if r.bare {
		if b, err := r.headBranch(ctx); err == nil && b != "" {
			return DefaultBranch{Name: b, Ref: "refs/heads/" + b}, nil
		}
	}
	usual := []string{"main", "master", "trunk"}
	patterns := []string{"refs/remotes/*/HEAD"}
	for _, b := range usual {
		patterns = append(patterns, "refs/remotes/*/"+b)
	}
	remote, err := r.refs(ctx, patterns...)
	if err != nil {
		return DefaultBranch{}, err
	}
	slices.SortStableFunc(remote, func(a, b ref) int { return rankRemote(a.name) - rankRemote(b.name) })
	for _, x := range remote {
		if strings.HasSuffix(x.name, "/HEAD") && strings.HasPrefix(x.target, "refs/remotes/") {
			return DefaultBranch{Name: shortBranch(x.target), Ref: x.target}, nil
		}
	}
	for _, b := range usual {
		for _, x := range remote {
			if shortBranch(x.name) == b {
				return DefaultBranch{Name: b, Ref: x.name}, nil
			}
		}
	}
	settings, err := r.settings(ctx)
	if err != nil {
		return DefaultBranch{}, err
	}
	for _, s := range settings {
		if s.key == "init.defaultbranch" {
			usual = append([]string{s.value}, usual...) // the last one counts
		}
	}
	local, err := r.refs(ctx, "refs/heads/")
	if err != nil {
		return DefaultBranch{}, err
	}
	for _, b := range usual {
		for _, x := range local {
			if x.name == "refs/heads/"+b {
				return DefaultBranch{Name: b, Ref: x.name}, nil
			}
		}
	}
	if len(local) == 1 {
		return DefaultBranch{Name: shortBranch(local[0].name), Ref: local[0].name}, nil
	}
	return DefaultBranch{}, fmt.Errorf("%w: name it with --base, or tell git with: git remote set-head origin --auto", ErrNoDefaultBranch)
}

func rankRemote(ref string) int {
	switch {
	case strings.HasPrefix(ref, "refs/remotes/origin/"):
		return 0
	case strings.HasPrefix(ref, "refs/remotes/upstream/"):
		return 1
	default:
		return 2
	}
}

// MergeBases are the best common ancestors of two commits: one as a rule,
// several after merges crossed, none where the histories are unrelated or the
// clone is too shallow to tell.
func (r *Repository) MergeBases(ctx context.Context, a, b rules.SHA) ([]rules.SHA, error) {
	out, err := r.output(ctx, "merge-base", "--all", string(a), string(b))
	if exitCode(err) == 1 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var bases []rules.SHA
	for line := range strings.Lines(string(out)) {
		bases = append(bases, rules.SHA(strings.TrimSpace(line)))
	}
	return bases, nil
}

var githubRemote = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:https?://(?:[^/@]*@)?|ssh://(?:[^/@]*@)?|git://|(?:[^/@:]*@))([^/:]+)(?::\d+)?[/:]([A-Za-z0-9][A-Za-z0-9-]*)/([A-Za-z0-9._-]+?)(?:\.git)?/?$`)
})

// FullName is "owner/name" as the address of a remote has it (origin first);
// empty where no remote has such an address.
func (r *Repository) FullName(ctx context.Context) (string, error) {
	settings, err := r.settings(ctx)
	if err != nil {
		return "", err
	}
	best, rank := "", 3
	for _, s := range settings {
		name, ok := strings.CutPrefix(s.key, "remote.")
		m := githubRemote().FindStringSubmatch(s.value)
		if !ok || m == nil {
			continue
		}
		name = strings.TrimSuffix(name, ".url")
		if k := rankRemote("refs/remotes/" + name + "/"); k < rank {
			best, rank = m[2]+"/"+m[3], k
		}
	}
	return best, nil
}

// setting is one value of git's configuration; section and name of the key are
// in lower case.
type setting struct{ key, value string }

// settings reads what of the configuration is needed, once.
func (r *Repository) settings(ctx context.Context) ([]setting, error) {
	r.config.Do(func() {
		out, err := r.output(ctx, "config", "--null", "--get-regexp", `^(remote\..*\.url|init\.defaultbranch)$`)
		if err != nil && exitCode(err) != 1 { // 1: there is none
			r.configErr = err
			return
		}
		for rec := range strings.SplitSeq(string(out), "\x00") {
			if key, value, ok := strings.Cut(rec, "\n"); ok {
				r.configured = append(r.configured, setting{key, value})
			}
		}
	})
	return r.configured, r.configErr
}
