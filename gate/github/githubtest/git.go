package githubtest

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // git's object ids are SHA-1
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Modes of tree entries.
const (
	modeFile    = "100644"
	modeExec    = "100755"
	modeSymlink = "120000"
	modeModule  = "160000"
	modeTree    = "040000"
)

// An Identity is a commit's author or committer, as written in the commit. When is
// the present moment if zero.
type Identity struct {
	Name, Email string
	When        time.Time
}

// A File is one path of a commit. See [Text], [Executable], [Symlink], [Submodule]
// and [Removed].
type File struct {
	mode    string
	content string // a submodule's is its commit
	removed bool
}

// Text is an ordinary file.
func Text(content string) File { return File{mode: modeFile, content: content} }

// Executable is a file with mode 100755.
func Executable(content string) File { return File{mode: modeExec, content: content} }

// Symlink is a symbolic link.
func Symlink(target string) File { return File{mode: modeSymlink, content: target} }

// Submodule is a submodule at a commit.
func Submodule(sha string) File { return File{mode: modeModule, content: sha} }

// Removed takes the path away.
func Removed() File { return File{removed: true} }

// Commit describes a commit to make.
type Commit struct {
	Message string
	Author  Identity
	// Committer is the author if zero.
	Committer Identity
	// Parents are commits of the repository; the files are changes to the first
	// one's. None makes a root commit.
	Parents []string
	// Files are the changes.
	Files map[string]File
	// Renames move paths, old to new, before Files are applied.
	Renames map[string]string
	// Signed makes GitHub show the commit as verified.
	Signed bool
}

type entry struct{ mode, sha string }

type treeEntry struct{ mode, name, sha string }

type gitCommit struct {
	sha, tree         string
	parents           []string
	author, committer Identity
	message           string
	signed            bool
	files             map[string]entry
	order             int // when it was made, to list newest first
}

// gitTag is a tag object: of a commit, or of another tag.
type gitTag struct {
	sha, name, message string
	target             string  // the commit, in the end
	tag                *gitTag // what it names if that is a tag, else nil
}

// gitStore holds the objects of a network of forks. Ids are git's own.
type gitStore struct {
	blobs   map[string][]byte
	trees   map[string][]treeEntry
	commits map[string]*gitCommit
}

func newGitStore() *gitStore {
	return &gitStore{blobs: map[string][]byte{}, trees: map[string][]treeEntry{}, commits: map[string]*gitCommit{}}
}

func hashObject(kind string, data []byte) string {
	h := sha1.New() //nolint:gosec // git's object ids are SHA-1
	fmt.Fprintf(h, "%s %d\x00", kind, len(data))
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

func (s *gitStore) blob(content string) string {
	sha := hashObject("blob", []byte(content))
	s.blobs[sha] = []byte(content)
	return sha
}

// buildTree stores the tree of a flat list of files and everything below it.
func (s *gitStore) buildTree(files map[string]entry) string {
	below := map[string]map[string]entry{}
	var entries []treeEntry
	for p, e := range files {
		if dir, rest, ok := strings.Cut(p, "/"); ok {
			if below[dir] == nil {
				below[dir] = map[string]entry{}
			}
			below[dir][rest] = e
			continue
		}
		entries = append(entries, treeEntry{e.mode, p, e.sha})
	}
	for dir, sub := range below {
		entries = append(entries, treeEntry{modeTree, dir, s.buildTree(sub)})
	}
	// git sorts a folder as if its name ended in a slash.
	key := func(e treeEntry) string {
		if e.mode == modeTree {
			return e.name + "/"
		}
		return e.name
	}
	slices.SortFunc(entries, func(a, b treeEntry) int { return strings.Compare(key(a), key(b)) })
	var data bytes.Buffer
	for _, e := range entries {
		raw, err := hex.DecodeString(e.sha)
		if err != nil || len(raw) != 20 {
			misuse("object id %q of %q, want 40 hex digits", e.sha, e.name)
		}
		fmt.Fprintf(&data, "%s %s\x00", strings.TrimPrefix(e.mode, "0"), e.name)
		data.Write(raw)
	}
	sha := hashObject("tree", data.Bytes())
	s.trees[sha] = entries
	return sha
}

// Commit makes a commit object and gives its id. No branch points to it yet.
func (r *Repository) Commit(c Commit) string {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	return r.commit(c)
}

func (r *Repository) commit(c Commit) string {
	files := map[string]entry{}
	if len(c.Parents) > 0 {
		files = maps.Clone(r.mustCommit(c.Parents[0]).files)
	}
	for from, to := range c.Renames {
		e, ok := files[from]
		if !ok {
			misuse("renaming %q, which is not there", from)
		}
		delete(files, from)
		files[to] = e
	}
	for p, f := range c.Files {
		switch {
		case f.removed:
			delete(files, p)
		case f.mode == modeModule:
			files[p] = entry{f.mode, f.content}
		default:
			files[p] = entry{f.mode, r.git.blob(f.content)}
		}
	}
	return r.commitTree(c, files)
}

// commitTree makes a commit of exactly these files.
func (r *Repository) commitTree(c Commit, files map[string]entry) string {
	for _, p := range c.Parents {
		r.mustCommit(p)
	}
	if c.Author.Name == "" {
		misuse("commit %q has no author", c.Message)
	}
	if c.Author.When.IsZero() {
		c.Author.When = r.g.Now()
	}
	if c.Committer.Name == "" {
		c.Committer = c.Author
	}
	if c.Committer.When.IsZero() {
		c.Committer.When = r.g.Now()
	}
	made := &gitCommit{
		tree: r.git.buildTree(files), parents: slices.Clone(c.Parents), author: c.Author, committer: c.Committer,
		message: c.Message, signed: c.Signed, files: files, order: len(r.git.commits),
	}
	var data bytes.Buffer
	fmt.Fprintf(&data, "tree %s\n", made.tree)
	for _, p := range made.parents {
		fmt.Fprintf(&data, "parent %s\n", p)
	}
	for _, who := range []struct {
		role string
		id   Identity
	}{{"author", c.Author}, {"committer", c.Committer}} {
		fmt.Fprintf(&data, "%s %s <%s> %d +0000\n", who.role, who.id.Name, who.id.Email, who.id.When.Unix())
	}
	fmt.Fprintf(&data, "\n%s", made.message)
	made.sha = hashObject("commit", data.Bytes())
	if known := r.git.commits[made.sha]; known != nil {
		return known.sha // the same content at the same second is the same commit
	}
	r.git.commits[made.sha] = made
	return made.sha
}

func (r *Repository) mustCommit(sha string) *gitCommit {
	c := r.git.commits[sha]
	if c == nil {
		misuse("no commit %q in %s", sha, r.fullName())
	}
	return c
}

// resolve finds the commit that a ref, a branch, a tag or an id names, or "". A
// branch wins over a tag of the same name, as at GitHub.
func (r *Repository) resolve(ref string) string {
	for _, full := range []string{ref, "refs/" + ref, "refs/heads/" + ref, "refs/tags/" + ref} {
		if sha, ok := r.refs[full]; ok && strings.HasPrefix(full, "refs/") {
			return sha
		}
	}
	if _, ok := r.git.commits[ref]; ok {
		return ref
	}
	if ref == "HEAD" {
		return r.refs["refs/heads/"+r.defaultBranch]
	}
	if len(ref) >= 7 {
		var found string
		for sha := range r.git.commits {
			if strings.HasPrefix(sha, ref) {
				if found != "" {
					return ""
				}
				found = sha
			}
		}
		return found
	}
	return ""
}

// ancestors is a commit and everything that it descends from.
func (s *gitStore) ancestors(sha string) map[string]bool {
	seen := map[string]bool{}
	for todo := []string{sha}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if c := s.commits[at]; c != nil && !seen[at] {
			seen[at] = true
			todo = append(todo, c.parents...)
		}
	}
	return seen
}

// mergeBase is the best common ancestor of two commits, or "".
func (s *gitStore) mergeBase(a, b string) string {
	if a == b {
		return a
	}
	of := s.ancestors(a)
	// Walk b's history newest first; the first commit that a has too is the best,
	// since a commit is always made after its parents.
	best := (*gitCommit)(nil)
	seen := map[string]bool{}
	for todo := []string{b}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		c := s.commits[at]
		if c == nil || seen[at] {
			continue
		}
		seen[at] = true
		if of[at] {
			if best == nil || c.order > best.order {
				best = c
			}
			continue
		}
		todo = append(todo, c.parents...)
	}
	if best == nil {
		return ""
	}
	return best.sha
}

// between lists the commits that head has and base has not, oldest first.
func (s *gitStore) between(base, head string) []*gitCommit {
	known := s.ancestors(base)
	var out []*gitCommit
	seen := map[string]bool{}
	for todo := []string{head}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		c := s.commits[at]
		if c == nil || seen[at] || known[at] {
			continue
		}
		seen[at] = true
		out = append(out, c)
		todo = append(todo, c.parents...)
	}
	slices.SortFunc(out, func(a, b *gitCommit) int { return a.order - b.order })
	return out
}

// Contains reports whether a commit is an ancestor of another, or it.
func (s *gitStore) contains(head, sha string) bool { return s.ancestors(head)[sha] }
