package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/sallyport/sallyport/rules"
)

// Facts are what a local repository knows of a change.
type Facts struct {
	Change *rules.Change
	// MergeBases are where head left base; several after merges crossed: then
	// Change.Files holds what differs from any of them.
	MergeBases []rules.SHA
	// Notes say in sentences what could not be read and what follows.
	Notes []string
}

// Change reads what head would bring to base: the files that differ from their
// merge base, and every commit reachable from head and not from base. Files and
// commits are read at the same time. What cannot be read makes a list
// incomplete and a note; an error means that nothing is known.
func (r *Repository) Change(ctx context.Context, base, head Revision) (*Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	ch := &rules.Change{
		Head:  rules.Head{Ref: head.Branch, SHA: head.SHA},
		Base:  rules.Base{Ref: base.Branch, SHA: base.SHA},
		Basis: rules.Local,
	}
	f := &Facts{Change: ch}

	var files, commits []string // notes
	var filesErr, commitsErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		if files, filesErr = r.readFiles(ctx, f); filesErr != nil {
			cancel()
		}
	})
	wg.Go(func() {
		if commits, commitsErr = r.readCommits(ctx, ch); commitsErr != nil {
			cancel()
		}
	})
	wg.Wait()
	f.Notes = slices.Concat(files, commits)
	if filesErr != nil && !errors.Is(filesErr, context.Canceled) {
		return nil, fmt.Errorf("reading the changed files: %w", filesErr)
	}
	if commitsErr != nil {
		return nil, fmt.Errorf("reading the commits: %w", commitsErr)
	}
	return f, filesErr
}

// readFiles fills in MergeBases and the files.
func (r *Repository) readFiles(ctx context.Context, f *Facts) ([]string, error) {
	ch := f.Change
	bases, err := r.MergeBases(ctx, ch.Base.SHA, ch.Head.SHA)
	if err != nil {
		return nil, err
	}
	f.MergeBases = bases
	ch.FilesComplete = rules.No
	if len(bases) == 0 {
		if r.Shallow() {
			return []string{"The clone is too shallow to hold the merge base, so every file counts as changed; git fetch --unshallow brings the rest."}, nil
		}
		return []string{"The two histories have no common commit, so every file counts as changed."}, nil
	}
	var notes []string
	if len(bases) > maxMergeBases {
		notes = append(notes, fmt.Sprintf("There are %d merge bases; only %d were compared, so every file counts as changed.", len(bases), maxMergeBases))
		bases = bases[:maxMergeBases]
	} else {
		ch.FilesComplete = rules.Yes
	}
	seen := map[[2]string]bool{}
	for _, b := range bases {
		d, err := r.diff(ctx, b, ch.Head.SHA)
		if err != nil {
			return nil, err
		}
		if d.note != "" {
			notes = append(notes, d.note)
		}
		if !d.complete {
			ch.FilesComplete = rules.No
		}
		if len(bases) == 1 {
			ch.Files = d.files
			break
		}
		for _, file := range d.files {
			if k := [2]string{file.Path, file.PreviousPath}; !seen[k] {
				seen[k] = true
				ch.Files = append(ch.Files, file)
			}
		}
	}
	if len(bases) > 1 {
		notes = append(notes, fmt.Sprintf("There are %d merge bases; a file that differs from any of them counts as changed.", len(bases)))
	}
	if ch.Files == nil {
		ch.Files = []rules.File{}
	}
	return notes, nil
}

// differences are the files that differ between two commits.
type differences struct {
	files    []rules.File
	complete bool
	note     string
}

// diff compares two commits' trees.
func (r *Repository) diff(ctx context.Context, a, b rules.SHA) (differences, error) {
	d, err := r.diffTree(ctx, a, b, "--numstat", "--find-renames", "-l1000")
	var f *commandError
	if err == nil || !errors.As(err, &f) {
		return d, err
	}
	// In a partial clone the contents may be missing while the trees are there.
	d, err2 := r.diffTree(ctx, a, b, "--find-renames=100%")
	if err2 != nil {
		return d, err
	}
	d.note = "Some file contents are not in this clone, so lines are not counted and only exact renames are seen."
	return d, nil
}

func (r *Repository) diffTree(ctx context.Context, a, b rules.SHA, more ...string) (differences, error) {
	args := append([]string{
		"diff-tree", "-r", "-z", "--raw", "--no-abbrev",
		"--no-ext-diff", "--no-textconv", "--no-color",
		// A .gitmodules file or the configuration can ask for submodules to be left out.
		"--ignore-submodules=none",
	}, more...)
	p := diffParser{byPath: map[string]int{}}
	err := r.records(ctx, p.record, append(args, string(a), string(b))...)
	if errors.Is(err, errTooMany) {
		note := fmt.Sprintf("There are more than %d changed files, so every file counts as changed.", MaxFiles)
		return differences{files: p.files, note: note}, nil
	}
	if err == nil && p.pending() {
		err = io.ErrUnexpectedEOF
	}
	return differences{files: p.files, complete: err == nil}, err
}

var errTooMany = errors.New("too many")

// diffParser reads the records of git diff-tree -z --raw --numstat: first a
// header and one or two paths for each file, then for each file its counts.
type diffParser struct {
	files  []rules.File
	byPath map[string]int // a file's place by its (new) path

	raw    *rules.File // whose path comes next
	second bool        // the next path is the new one
	counts [2]int      // of a rename, whose paths come next
	want   int         // paths to come for counts
}

func (p *diffParser) pending() bool { return p.raw != nil || p.want > 0 }

func (p *diffParser) record(rec string) error {
	switch {
	case p.raw != nil:
		return p.path(rec)
	case p.want > 0:
		if p.want--; p.want == 0 {
			p.count(rec, p.counts)
		}
		return nil
	case strings.HasPrefix(rec, ":"):
		return p.header(rec)
	default:
		return p.numstat(rec)
	}
}

// header reads ":100644 100755 OID OID R090".
func (p *diffParser) header(rec string) error {
	h := strings.Fields(rec[1:])
	if len(h) != 5 || h[4] == "" {
		return fmt.Errorf("unexpected record %q", rec)
	}
	if len(p.files) == MaxFiles {
		return errTooMany
	}
	f := &rules.File{Mode: h[1], PreviousMode: h[0]}
	switch h[4][0] {
	case 'A':
		f.Status, f.PreviousMode = rules.FileAdded, ""
	case 'D':
		f.Status, f.Mode = rules.FileRemoved, h[0]
	case 'M':
		f.Status = rules.FileModified
		if h[2] == h[3] {
			f.Status = rules.FileChanged // its mode only
		}
	case 'T':
		f.Status = rules.FileChanged
	case 'R':
		f.Status, p.second = rules.FileRenamed, true
	case 'C':
		f.Status, p.second = rules.FileCopied, true
	default: // unmerged, unknown: no status is the strictest
		f.Status = ""
	}
	p.raw = f
	return nil
}

func (p *diffParser) path(rec string) error {
	if p.second {
		p.raw.PreviousPath, p.second = rec, false
		return nil
	}
	p.raw.Path = rec
	p.byPath[rec] = len(p.files)
	p.files = append(p.files, *p.raw)
	p.raw = nil
	return nil
}

// numstat reads "1<TAB>2<TAB>path"; a binary file has "-" for both and a rename
// its two paths in the next two records.
func (p *diffParser) numstat(rec string) error {
	add, rest, ok1 := strings.Cut(rec, "\t")
	del, path, ok2 := strings.Cut(rest, "\t")
	if !ok1 || !ok2 {
		return fmt.Errorf("unexpected record %q", rec)
	}
	counts := [2]int{lines(add), lines(del)}
	if path == "" {
		p.counts, p.want = counts, 2
		return nil
	}
	p.count(path, counts)
	return nil
}

func lines(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func (p *diffParser) count(path string, n [2]int) {
	if i, ok := p.byPath[path]; ok {
		p.files[i].Additions, p.files[i].Deletions = n[0], n[1]
	}
}

// readCommits fills in the commits: git rev-list names them and git cat-file
// reads them, as they are stored.
func (r *Repository) readCommits(ctx context.Context, ch *rules.Change) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cut, err := r.cutCommits()
	if err != nil {
		return nil, err
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer pr.Close()
	list := r.command(ctx, "rev-list", string(ch.Head.SHA), "^"+string(ch.Base.SHA))
	list.Stdout = pw
	err = list.Start()
	pw.Close()
	if err != nil {
		return nil, fmt.Errorf("git rev-list: %w", err)
	}
	read := r.command(ctx, "cat-file", "--batch", "--buffer")
	read.Stdin = pr
	out, err := read.StdoutPipe()
	if err == nil {
		err = read.Start()
	}
	if err != nil {
		cancel()
		_ = list.Wait() // it was cut off
		return nil, fmt.Errorf("git cat-file: %w", err)
	}
	pr.Close()

	ch.Commits, ch.CommitsComplete = []rules.Commit{}, rules.Yes
	var notes []string
	incomplete := func(format string, args ...any) {
		ch.CommitsComplete = rules.No
		notes = append(notes, fmt.Sprintf(format, args...))
	}
	in := bufio.NewReaderSize(out, 256<<10)
	var total int64
	atCut, long, stopped := 0, 0, false
	for {
		a, err := readObject(in, MaxMessage)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			cancel()
			_, _ = list.Wait(), read.Wait()
			return nil, fmt.Errorf("git cat-file: %w", err)
		}
		if total += int64(len(a.data)); len(ch.Commits) == MaxCommits || total > MaxMessages {
			stopped = true
			break
		}
		if a.size > MaxMessage {
			long++
		}
		if cut[a.id] {
			atCut++
		}
		ch.Commits = append(ch.Commits, parseCommit(a))
	}
	if stopped {
		cancel()
		_, _ = list.Wait(), read.Wait()
		incomplete("There are more than %d commits or %d MiB of them; the others were not read.", MaxCommits, MaxMessages>>20)
	} else {
		lerr, rerr := list.Wait(), read.Wait()
		if lerr != nil {
			return nil, failure(ctx, list, "rev-list", lerr)
		}
		if rerr != nil {
			return nil, failure(ctx, read, "cat-file", rerr)
		}
	}
	if atCut > 0 {
		incomplete("The clone is shallow and cut within this branch, so some commits are not known; git fetch --unshallow brings them.")
	}
	if long > 0 {
		incomplete("%d of the commits have more than %d KiB; the rest of each was not read.", long, MaxMessage>>10)
	}
	return notes, nil
}

// cutCommits are those whose parents a shallow clone has not.
func (r *Repository) cutCommits() (map[rules.SHA]bool, error) {
	if r.shallow == "" {
		return nil, nil
	}
	f, err := os.Open(r.shallow)
	if err != nil {
		return nil, fmt.Errorf("reading where the shallow clone is cut: %w", err)
	}
	defer f.Close()
	cut := map[rules.SHA]bool{}
	scan := bufio.NewScanner(io.LimitReader(f, 64<<20))
	for scan.Scan() {
		cut[rules.SHA(scan.Text())] = true
	}
	return cut, scan.Err()
}

// parseCommit reads a commit object as it is stored: header lines, an empty
// line, the message.
func parseCommit(a object) rules.Commit {
	c := rules.Commit{SHA: a.id}
	header, message, _ := strings.Cut(string(a.data), "\n\n")
	encoding := ""
	for line := range strings.Lines(header) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "parent":
			c.Parents++
		case "author": // of two, git takes the first
			if c.Author == (rules.Identity{}) {
				c.Author = parseIdentity(value)
			}
		case "committer":
			if c.Committer == (rules.Identity{}) {
				c.Committer = parseIdentity(value)
			}
		case "encoding":
			encoding = strings.ToLower(value)
		}
	}
	c.Message = message
	switch encoding {
	case "iso-8859-1", "iso8859-1", "latin1", "latin-1":
		for _, s := range []*string{&c.Message, &c.Author.Name, &c.Committer.Name} {
			*s = fromLatin1(*s)
		}
	}
	return c
}

// parseIdentity reads "Name <address> seconds zone" as git does: the address is
// between the first "<" and the next ">".
func parseIdentity(s string) rules.Identity {
	name, rest, ok := strings.Cut(s, "<")
	if !ok {
		return rules.Identity{Name: strings.TrimSpace(s)}
	}
	email, _, _ := strings.Cut(rest, ">")
	return rules.Identity{Name: strings.TrimSpace(name), Email: strings.TrimSpace(email)}
}

// fromLatin1 decodes ISO 8859-1, whose bytes are the first 256 code points, unless
// the text is UTF-8 in spite of what its commit says.
func fromLatin1(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}
