package github

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sallyport/sallyport/rules"
)

// Range is everything that one commit has and another has not.
type Range struct {
	// Kind is ahead, identical, behind or diverged. It is diverged too where the two
	// have no common ancestor, or the earlier one is gone.
	Kind rules.RangeKind
	// Commits are those that the later one has and the earlier has not, the oldest
	// first. They are all known, and each whole, only if Complete is Yes.
	Commits  []RangeCommit
	Complete rules.Tri
	// Files differ between the two commits. Where they are found by comparing trees, a
	// file that was moved is one removed and one added, and lines are not counted.
	Files         []rules.File
	FilesComplete rules.Tri
}

// RangeCommit is one commit of a range.
type RangeCommit struct {
	rules.Commit

	ParentSHAs []rules.SHA
	// GitHubSigned says that GitHub made the commit itself.
	GitHubSigned bool
	// Pulls are the pull requests that GitHub associates with the commit: those that
	// brought it to the default branch, or else that contain it.
	Pulls         []PullOf
	PullsComplete bool
}

// PullOf is a pull request that has to do with a commit.
type PullOf struct {
	Number int
	Merged bool
	Base   string // the branch that it is for
	// BaseRepository is the repository that it is in: not always the one that is read.
	BaseRepository rules.RepositoryID
	Head           rules.SHA
	// MergeCommit is the last of the commits that it became, "" if there is none.
	MergeCommit rules.SHA
}

// Limits of a range.
const (
	maxRange        = 5000 // commits that are read
	maxCompareFiles = 300  // that GitHub compares: that many may be more
	// Commits with more authors or pull requests than a first query asks for are asked
	// for once more, few at a time, up to a number.
	fewPeople, manyPeople = 10, 100
	wholeBatch            = 10
	maxUnwhole            = 100
)

// comparison is GitHub's comparison of two commits, without what is not used.
type comparison struct {
	Status string `json:"status"`
	Total  int    `json:"total_commits"`
	// MergeBase is where the two parted.
	MergeBase struct {
		SHA rules.SHA `json:"sha"`
	} `json:"merge_base_commit"`
	Commits []struct {
		SHA     rules.SHA `json:"sha"`
		Parents []struct {
			SHA rules.SHA `json:"sha"`
		} `json:"parents"`
	} `json:"commits"`
	Files []struct {
		Path      string           `json:"filename"`
		Previous  string           `json:"previous_filename"`
		Status    rules.FileStatus `json:"status"`
		Additions int              `json:"additions"`
		Deletions int              `json:"deletions"`
	} `json:"files"`
}

// kind is the comparison's status.
func (c *comparison) kind() (rules.RangeKind, error) {
	switch c.Status {
	case "ahead":
		return rules.RangeAhead, nil
	case "behind":
		return rules.RangeBehind, nil
	case "diverged":
		return rules.RangeDiverged, nil
	case "identical":
		return rules.RangeIdentical, nil
	default:
		return "", fmt.Errorf("GitHub compares two commits as %q, want ahead, behind, diverged or identical", c.Status)
	}
}

// commits adds the commits that were not there before.
func (c *comparison) commits(to []RangeCommit, seen map[rules.SHA]bool) []RangeCommit {
	for _, k := range c.Commits {
		if seen[k.SHA] {
			continue
		}
		seen[k.SHA] = true
		m := RangeCommit{Commit: rules.Commit{SHA: k.SHA, Parents: len(k.Parents), Verified: rules.No}}
		for _, p := range k.Parents {
			m.ParentSHAs = append(m.ParentSHAs, p.SHA)
		}
		to = append(to, m)
	}
	return to
}

// compare asks for one page of a comparison. Files are on the first page alone.
func (r *Repository) compare(ctx context.Context, base, head rules.SHA, per, page int) (c comparison, more bool, err error) {
	more, err = r.get(ctx, fmt.Sprintf("compare/%s...%s?per_page=%d&page=%d", base, head, per, page), &c)
	if err != nil {
		return comparison{}, false, fmt.Errorf("comparing %s with %s: %w", base.Short(), head.Short(), err)
	}
	return c, more, nil
}

// Range reads everything that head has and base has not
// (https://docs.github.com/rest/commits/commits#compare-two-commits). Up to 50 commits
// and 299 files are two requests. A head that is not there is [ErrNotFound].
func (r *Repository) Range(ctx context.Context, base, head rules.SHA) (Range, error) {
	if !base.Valid() || !head.Valid() {
		return Range{}, fmt.Errorf("a range needs two commits, not %q and %q", base, head)
	}
	if base == head {
		return Range{Kind: rules.RangeIdentical, Commits: []RangeCommit{}, Complete: rules.Yes, Files: []rules.File{}, FilesComplete: rules.Yes}, nil
	}
	first, more, err := r.compare(ctx, base, head, 100, 1)
	if errors.Is(err, ErrNotFound) {
		there, terr := r.there(ctx, head)
		if terr != nil {
			return Range{}, terr
		}
		if !there[head] {
			return Range{}, err
		}
		return Range{Kind: rules.RangeDiverged, Complete: rules.No, FilesComplete: rules.No}, nil
	}
	if err != nil {
		return Range{}, err
	}
	out := Range{Commits: []RangeCommit{}}
	if out.Kind, err = first.kind(); err != nil {
		return Range{}, err
	}
	if out.Kind == rules.RangeIdentical {
		return Range{}, fmt.Errorf("GitHub says that %s and %s are the same commit", base.Short(), head.Short())
	}
	seen := map[rules.SHA]bool{}
	out.Commits = first.commits(out.Commits, seen)
	for page := 2; more && len(out.Commits) < min(first.Total, maxRange); page++ {
		var next comparison
		if next, more, err = r.compare(ctx, base, head, 100, page); err != nil {
			return Range{}, err
		}
		if next.Status != first.Status || next.Total != first.Total || len(next.Commits) == 0 {
			return Range{}, fmt.Errorf("the pages of comparing %s with %s do not belong together", base.Short(), head.Short())
		}
		out.Commits = next.commits(out.Commits, seen)
	}
	whole, err := r.details(ctx, out.Commits)
	if err != nil {
		return Range{}, err
	}
	out.Complete = rules.TriOf(whole && len(out.Commits) == first.Total && seen[head] == (out.Kind != rules.RangeBehind))
	out.Files, out.FilesComplete, err = r.rangeFiles(ctx, base, head, &first)
	if err != nil {
		return Range{}, err
	}
	return out, nil
}

// rangeFiles are the files that differ between two commits. GitHub compares with the
// merge base, which is the earlier commit only where the later one is ahead of it.
func (r *Repository) rangeFiles(ctx context.Context, base, head rules.SHA, c *comparison) ([]rules.File, rules.Tri, error) {
	if c.Status == "ahead" && c.Files != nil && len(c.Files) < maxCompareFiles {
		out := []rules.File{}
		for _, f := range c.Files {
			out = append(out, rules.File{Path: f.Path, PreviousPath: f.Previous, Status: f.Status, Additions: f.Additions, Deletions: f.Deletions})
		}
		return out, rules.Yes, nil
	}
	var trees [2]Tree
	for i, sha := range []rules.SHA{base, head} {
		var err error
		if trees[i], err = r.Tree(ctx, sha); err != nil {
			return nil, rules.Unknown, fmt.Errorf("reading the files of %s: %w", sha.Short(), err)
		}
		if trees[i].Truncated {
			return nil, rules.No, nil // what is missing could be in either
		}
	}
	return differences(trees[0].Entries, trees[1].Entries), rules.Yes, nil
}

// differences are the files that differ between two trees, by path.
func differences(before, after map[string]TreeEntry) []rules.File {
	out := []rules.File{}
	for path, was := range before {
		now, there := after[path]
		switch {
		case !there:
			out = append(out, rules.File{Path: path, Status: rules.FileRemoved, Mode: was.Mode, PreviousMode: was.Mode})
		case now != was:
			out = append(out, rules.File{Path: path, Status: rules.FileModified, Mode: now.Mode, PreviousMode: was.Mode})
		}
	}
	for path, now := range after {
		if _, there := before[path]; !there {
			out = append(out, rules.File{Path: path, Status: rules.FileAdded, Mode: now.Mode})
		}
	}
	slices.SortFunc(out, func(a, b rules.File) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// rangeFields ask for a commit of a range. Its parents are in the comparison, all of
// them. @n@ is how many people and pull requests.
const rangeFields = `fragment whole on Commit{oid message author{name email user{login databaseId}} committer{name email user{login databaseId}}
	authors(first:@n@){totalCount nodes{name email user{login databaseId}}} signature{isValid wasSignedByGitHub}
	associatedPullRequests(first:@n@){totalCount pageInfo{hasNextPage} nodes{number state baseRefName baseRepository{databaseId} headRefOid mergeCommit{oid}}}}`

type gqlRangeCommit struct {
	OID       rules.SHA   `json:"oid"`
	Message   string      `json:"message"`
	Author    gqlIdentity `json:"author"`
	Committer gqlIdentity `json:"committer"`
	Authors   struct {
		TotalCount int           `json:"totalCount"`
		Nodes      []gqlIdentity `json:"nodes"`
	} `json:"authors"`
	Signature *struct {
		IsValid           bool `json:"isValid"`
		WasSignedByGitHub bool `json:"wasSignedByGitHub"`
	} `json:"signature"`
	Pulls *struct {
		TotalCount int     `json:"totalCount"`
		PageInfo   gqlPage `json:"pageInfo"`
		Nodes      []struct {
			Number         int    `json:"number"`
			State          string `json:"state"`
			Base           string `json:"baseRefName"`
			BaseRepository *struct {
				DatabaseID rules.RepositoryID `json:"databaseId"`
			} `json:"baseRepository"`
			Head        rules.SHA `json:"headRefOid"`
			MergeCommit *gqlOID   `json:"mergeCommit"`
		} `json:"nodes"`
	} `json:"associatedPullRequests"`
}

// fill takes over what GitHub says of a commit. It reports whether that is all.
func (k *gqlRangeCommit) fill(m *RangeCommit) bool {
	m.Message, m.Author, m.Committer = k.Message, k.Author.identity(), k.Committer.identity()
	m.CoAuthors, m.Pulls, m.PullsComplete = nil, []PullOf{}, false
	for i, a := range k.Authors.Nodes {
		if i > 0 { // the first is the author
			m.CoAuthors = append(m.CoAuthors, a.identity())
		}
	}
	if k.Signature != nil {
		m.Verified = rules.TriOf(k.Signature.IsValid)
		m.GitHubSigned = k.Signature.IsValid && k.Signature.WasSignedByGitHub
	}
	if k.Pulls != nil {
		for _, p := range k.Pulls.Nodes {
			o := PullOf{Number: p.Number, Merged: p.State == "MERGED", Base: p.Base, Head: p.Head}
			if p.BaseRepository != nil {
				o.BaseRepository = p.BaseRepository.DatabaseID
			}
			if p.MergeCommit != nil {
				o.MergeCommit = p.MergeCommit.OID
			}
			m.Pulls = append(m.Pulls, o)
		}
		m.PullsComplete = !k.Pulls.PageInfo.HasNextPage && k.Pulls.TotalCount == len(m.Pulls)
	}
	return m.PullsComplete && k.Authors.TotalCount == len(k.Authors.Nodes)
}

// details reads who made commits and which pull requests they belong to. Whole says
// that this is all of each.
func (r *Repository) details(ctx context.Context, commits []RangeCommit) (whole bool, err error) {
	var rest []*RangeCommit
	for part := range slices.Chunk(commits, batch) {
		all := make([]*RangeCommit, len(part))
		for i := range part {
			all[i] = &part[i]
		}
		unwhole, err := r.detail(ctx, all, fewPeople)
		if err != nil {
			return false, err
		}
		rest = append(rest, unwhole...)
	}
	whole = len(rest) <= maxUnwhole
	for part := range slices.Chunk(rest[:min(len(rest), maxUnwhole)], wholeBatch) {
		unwhole, err := r.detail(ctx, part, manyPeople)
		if err != nil {
			return false, err
		}
		whole = whole && len(unwhole) == 0
	}
	return whole, nil
}

// detail asks once, for up to n people and pull requests of each commit. It gives the
// commits that have more.
func (r *Repository) detail(ctx context.Context, commits []*RangeCommit, n int) (unwhole []*RangeCommit, err error) {
	shas := make([]rules.SHA, len(commits))
	for i, m := range commits {
		shas[i] = m.SHA
	}
	fields := strings.ReplaceAll(rangeFields, "@n@", strconv.Itoa(n))
	found, err := objects[gqlRangeCommit](ctx, r, shas, "...whole", fields)
	if err != nil {
		return nil, fmt.Errorf("reading the commits of a range: %w", err)
	}
	for _, m := range commits {
		k := found[m.SHA]
		if k == nil || k.OID != m.SHA {
			return nil, fmt.Errorf("GitHub lists commit %s and does not give it", m.SHA.Short())
		}
		if !k.fill(m) {
			unwhole = append(unwhole, m)
		}
	}
	return unwhole, nil
}

// objects asks in one query for git objects by their ids. One that is not there is
// nil.
func objects[T any](ctx context.Context, r *Repository, ids []rules.SHA, fields, fragments string) (map[rules.SHA]*T, error) {
	var q strings.Builder
	declared := []string{"$owner:String!", "$name:String!"}
	v := map[string]any{"owner": r.owner, "name": r.name}
	for i, id := range ids {
		declared = append(declared, fmt.Sprintf("$o%d:GitObjectID!", i))
		v[fmt.Sprintf("o%d", i)] = string(id)
		fmt.Fprintf(&q, "o%d:object(oid:$o%d){%s}\n", i, i, fields)
	}
	var data struct {
		Repository map[string]*T `json:"repository"`
	}
	err := r.query(ctx, "query objects("+strings.Join(declared, ",")+"){repository(owner:$owner,name:$name){"+q.String()+"}} "+fragments, v, &data)
	if err != nil {
		return nil, err
	}
	out := map[rules.SHA]*T{}
	for i, id := range ids {
		out[id] = data.Repository[fmt.Sprintf("o%d", i)]
	}
	return out, nil
}

// there says which commits the repository has.
func (r *Repository) there(ctx context.Context, shas ...rules.SHA) (map[rules.SHA]bool, error) {
	found, err := objects[gqlOID](ctx, r, shas, "...on Commit{oid}", "")
	if err != nil {
		return nil, err
	}
	out := map[rules.SHA]bool{}
	for _, sha := range shas {
		out[sha] = found[sha] != nil && found[sha].OID == sha
	}
	return out, nil
}

// Contains says whether a branch's head is a commit or descends from it. That the two
// have nothing in common is no; that one of them is not there is [ErrNotFound].
func (r *Repository) Contains(ctx context.Context, branchHead, sha rules.SHA) (bool, error) {
	if !branchHead.Valid() || !sha.Valid() {
		return false, fmt.Errorf("%q and %q are not two commits", branchHead, sha)
	}
	if branchHead == sha {
		return true, nil
	}
	c, _, err := r.compare(ctx, branchHead, sha, 1, 2) // the second page has no files
	if errors.Is(err, ErrNotFound) {
		there, terr := r.there(ctx, branchHead, sha)
		if terr != nil {
			return false, terr
		}
		if there[branchHead] && there[sha] {
			return false, nil
		}
		return false, err
	}
	if err != nil {
		return false, err
	}
	kind, err := c.kind()
	return kind == rules.RangeBehind || kind == rules.RangeIdentical, err
}

// Text is what a file says. Of a symbolic link it is what it points to.
type Text struct {
	Text string
	// Known says that Text is the whole file, and text. It is false where there is no
	// file.
	Known bool
}

// Limits of [Repository.Texts].
const (
	maxTexts     = 100       // files
	maxText      = 256 << 10 // bytes of one
	textBatch    = 20        // files in one query
	maxTextBatch = 1 << 20   // bytes in one query, which escapes make six times as many
)

type gqlBlob struct {
	OID         rules.SHA `json:"oid"`
	Size        int       `json:"byteSize"`
	IsBinary    *bool     `json:"isBinary"`
	IsTruncated bool      `json:"isTruncated"`
	Text        *string   `json:"text"`
}

// text is what the blob says. Its length tells whether GitHub changed anything.
func (b *gqlBlob) text() Text {
	if b == nil || !b.plain() || b.Text == nil || len(*b.Text) != b.Size || !utf8.ValidString(*b.Text) || strings.ContainsRune(*b.Text, 0) {
		return Text{}
	}
	return Text{Text: *b.Text, Known: true}
}

// plain reports whether the blob is a text that is short enough.
func (b *gqlBlob) plain() bool {
	return b.OID.Valid() && b.IsBinary != nil && !*b.IsBinary && !b.IsTruncated && b.Size <= maxText
}

// Texts reads files at a commit, by their paths: first how long they are, then those
// of up to 256 KiB. Of more than 100 paths those that come first are read.
func (r *Repository) Texts(ctx context.Context, sha rules.SHA, paths []string) (map[string]Text, error) {
	if !sha.Valid() {
		return nil, fmt.Errorf("%q is no commit", sha)
	}
	out := map[string]Text{}
	var asked []string
	for _, p := range paths {
		if _, again := out[p]; !again && p != "" && utf8.ValidString(p) && len(asked) < maxTexts {
			asked = append(asked, p)
		}
		out[p] = Text{}
	}
	found, err := r.sizes(ctx, sha, asked)
	if err != nil {
		return nil, err
	}
	of := map[rules.SHA][]string{} // a blob may be at several paths
	sizes := map[rules.SHA]int{}
	for _, p := range asked {
		if b := found[p]; b != nil && b.plain() {
			of[b.OID] = append(of[b.OID], p)
			sizes[b.OID] = b.Size
		}
	}
	ids := slices.Sorted(maps.Keys(of))
	for len(ids) > 0 {
		n, total := 0, 0
		for n < min(len(ids), textBatch) && (n == 0 || total+sizes[ids[n]] <= maxTextBatch) {
			total += sizes[ids[n]]
			n++
		}
		blobs, err := objects[gqlBlob](ctx, r, ids[:n], "...on Blob{oid byteSize isBinary isTruncated text}", "")
		if err != nil {
			return nil, fmt.Errorf("reading files at %s: %w", sha.Short(), err)
		}
		for _, id := range ids[:n] {
			for _, p := range of[id] {
				if b := blobs[id]; b != nil && b.OID == id {
					out[p] = b.text()
				}
			}
		}
		ids = ids[n:]
	}
	return out, nil
}

// sizes finds the blobs at paths, without their texts. A path that is none has none.
func (r *Repository) sizes(ctx context.Context, sha rules.SHA, paths []string) (map[string]*gqlBlob, error) {
	out := map[string]*gqlBlob{}
	if len(paths) == 0 {
		return out, nil
	}
	var q strings.Builder
	declared := []string{"$owner:String!", "$name:String!"}
	v := map[string]any{"owner": r.owner, "name": r.name}
	for i, p := range paths {
		declared = append(declared, fmt.Sprintf("$p%d:String!", i))
		v[fmt.Sprintf("p%d", i)] = string(sha) + ":" + p
		fmt.Fprintf(&q, "p%d:object(expression:$p%d){...on Blob{oid byteSize isBinary isTruncated}}\n", i, i)
	}
	var data struct {
		Repository map[string]*gqlBlob `json:"repository"`
	}
	if err := r.query(ctx, "query sizes("+strings.Join(declared, ",")+"){repository(owner:$owner,name:$name){"+q.String()+"}}", v, &data); err != nil {
		return nil, fmt.Errorf("finding files at %s: %w", sha.Short(), err)
	}
	for i, p := range paths {
		out[p] = data.Repository[fmt.Sprintf("p%d", i)]
	}
	return out, nil
}
