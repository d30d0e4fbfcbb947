package githubtest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// change is one file of a diff.
type change struct {
	path, previous, status string
	sha                    string // the blob, or its last one if removed
	additions, deletions   int
	patch                  string // "" if binary or too big
}

// diff lists what differs between two commits, by path. A removed and an added file
// of the same or mostly the same content are a rename.
func (s *gitStore) diff(base, head string) []change {
	var before, after map[string]entry
	if c := s.commits[base]; c != nil {
		before = c.files
	}
	if c := s.commits[head]; c != nil {
		after = c.files
	}
	var out []change
	added, removed := map[string]entry{}, map[string]entry{}
	for p, e := range after {
		old, ok := before[p]
		switch {
		case !ok:
			added[p] = e
		case old == e:
		default:
			out = append(out, s.changed(p, p, "modified", old, e))
		}
	}
	for p, e := range before {
		if _, ok := after[p]; !ok {
			removed[p] = e
		}
	}
	for _, from := range slices.Sorted(maps.Keys(removed)) {
		if to := s.renamedTo(removed[from], added); to != "" {
			c := s.changed(from, to, "renamed", removed[from], added[to])
			out = append(out, c)
			delete(added, to)
			delete(removed, from)
		}
	}
	for p, e := range added {
		out = append(out, s.changed(p, p, "added", entry{}, e))
	}
	for p, e := range removed {
		out = append(out, s.changed(p, p, "removed", e, entry{}))
	}
	slices.SortFunc(out, func(a, b change) int { return strings.Compare(a.path, b.path) })
	return out
}

// renamedTo finds the added file that a removed one became, or "". Similar content
// is looked for in small diffs only, as git does.
func (s *gitStore) renamedTo(old entry, added map[string]entry) string {
	for _, to := range slices.Sorted(maps.Keys(added)) {
		if added[to].sha == old.sha {
			return to
		}
	}
	if len(added) > 50 || old.mode == modeModule {
		return ""
	}
	have := map[string]int{}
	lines := splitLines(s.blobs[old.sha])
	for _, l := range lines {
		have[l]++
	}
	for _, to := range slices.Sorted(maps.Keys(added)) {
		if added[to].mode == modeModule {
			continue
		}
		others, same := splitLines(s.blobs[added[to].sha]), 0
		left := maps.Clone(have)
		for _, l := range others {
			if left[l] > 0 {
				left[l]--
				same++
			}
		}
		if n := max(len(lines), len(others)); n > 0 && same*2 >= n {
			return to
		}
	}
	return ""
}

func (s *gitStore) changed(from, to, status string, was, now entry) change {
	c := change{path: to, status: status, sha: now.sha}
	if from != to {
		c.previous = from
	}
	if now.sha == "" {
		c.sha = was.sha
	}
	if status == "modified" && kind(was.mode) != kind(now.mode) {
		c.status = "changed"
	}
	a, b := s.blobs[was.sha], s.blobs[now.sha]
	if was.mode == modeModule {
		a = []byte("Subproject commit " + was.sha + "\n")
	}
	if now.mode == modeModule {
		b = []byte("Subproject commit " + now.sha + "\n")
	}
	if was.sha != now.sha && !bytes.Contains(a, []byte{0}) && !bytes.Contains(b, []byte{0}) {
		c.additions, c.deletions, c.patch = lineDiff(splitLines(a), splitLines(b))
	}
	return c
}

func kind(mode string) string {
	if mode == modeExec {
		return modeFile
	}
	return mode
}

func splitLines(data []byte) []string {
	if len(data) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// lineDiff counts added and deleted lines and writes a patch of one hunk. Big
// changes are counted as replaced and get no patch.
func lineDiff(a, b []string) (additions, deletions int, patch string) {
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		start++
	}
	endA, endB := len(a), len(b)
	for endA > start && endB > start && a[endA-1] == b[endB-1] {
		endA--
		endB--
	}
	midA, midB := a[start:endA], b[start:endB]
	if len(midA)*len(midB) > 1_000_000 || len(midA)+len(midB) > 20_000 {
		return len(midB), len(midA), ""
	}
	// Longest common subsequence of the middle.
	length := make([][]int, len(midA)+1)
	for i := range length {
		length[i] = make([]int, len(midB)+1)
	}
	for i := len(midA) - 1; i >= 0; i-- {
		for j := len(midB) - 1; j >= 0; j-- {
			if midA[i] == midB[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var body []string
	for i, j := 0, 0; i < len(midA) || j < len(midB); {
		switch {
		case i < len(midA) && j < len(midB) && midA[i] == midB[j]:
			body = append(body, " "+midA[i])
			i, j = i+1, j+1
		case j >= len(midB) || i < len(midA) && length[i+1][j] >= length[i][j+1]:
			body = append(body, "-"+midA[i])
			deletions++
			i++
		default:
			body = append(body, "+"+midB[j])
			additions++
			j++
		}
	}
	first := max(0, start-3)
	lastA, lastB := min(len(a), endA+3), min(len(b), endB+3)
	var out strings.Builder
	fmt.Fprintf(&out, "@@ -%s +%s @@", hunkRange(first, lastA), hunkRange(first, lastB))
	for _, l := range a[first:start] {
		out.WriteString("\n " + l)
	}
	for _, l := range body {
		out.WriteString("\n" + l)
	}
	for _, l := range a[endA:lastA] {
		out.WriteString("\n " + l)
	}
	return additions, deletions, out.String()
}

func hunkRange(first, last int) string {
	if last == first {
		return fmt.Sprintf("%d,0", first)
	}
	return fmt.Sprintf("%d,%d", first+1, last-first)
}

// mergeFiles merges head into base by path; ok is false where both changed a path
// differently.
func (s *gitStore) mergeFiles(base, head string) (files map[string]entry, ok bool) {
	onto, from := s.commits[base].files, s.commits[head].files
	var common map[string]entry
	if c := s.commits[s.mergeBase(base, head)]; c != nil {
		common = c.files
	}
	files = maps.Clone(onto)
	paths := maps.Clone(from)
	maps.Copy(paths, common)
	for p := range paths {
		was, is, theirs := common[p], from[p], onto[p]
		switch {
		case is == was || is == theirs:
		case theirs != was:
			return nil, false
		case is == entry{}:
			delete(files, p)
		default:
			files[p] = is
		}
	}
	return files, true
}
