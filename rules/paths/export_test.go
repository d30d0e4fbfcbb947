package paths

// FoldedMatch is the definition of folded matching for one pattern, without the
// index, for the differential test.
func FoldedMatch(pattern, path string) bool {
	p := foldPattern(pattern)
	return Match(pattern, path) || p.match(foldPath(path))
}
