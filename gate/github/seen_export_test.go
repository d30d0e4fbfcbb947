package github

// KindOf is for tests.
func KindOf(path string) string { return kindOf(path) }
