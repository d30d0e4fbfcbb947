package alert

import (
	"slices"

	"github.com/sallyport/sallyport/rules"
)

// All returns every target that is declared for a repository, sorted: whom to tell
// where no policy can be read that names some of them.
func (s *Sender) All(repository rules.RepositoryID) []string {
	var out []string
	for name, t := range s.targets {
		if t.lists(repository) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
