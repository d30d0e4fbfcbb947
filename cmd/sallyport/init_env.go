package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// envExample is the template of a developer's settings.
const envExample = ".env.example"

// settingOf finds what an expression reads.
var settingOf = regexp.MustCompile(`\b(secrets|vars)\s*(?:\.\s*|\[\s*')([A-Za-z_][A-Za-z0-9_]{0,99})`)

// reads notes which secrets and variables a job reads, by name: no value is anywhere.
func (w *workflow) reads(job string, n *yaml.Node, gated bool) {
	if n == nil {
		return
	}
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "${{") {
		for _, m := range settingOf.FindAllStringSubmatch(n.Value, -1) {
			name := strings.ToUpper(m[2])
			if name == "GITHUB_TOKEN" || name == "SALLYPORT_URL" {
				continue
			}
			s := w.settings[name]
			s.secret = s.secret || m[1] == "secrets"
			s.gated, s.free = s.gated || gated, s.free || !gated
			if s.where == "" || gated {
				s.where = fmt.Sprintf("%s, job %s", w.name, job)
			}
			w.settings[name] = s
		}
	}
	for _, c := range n.Content {
		w.reads(job, c, gated)
	}
}

// envTemplate writes what a developer's machine needs, and names what does not belong
// there. Empty is a repository whose workflows read nothing.
func envTemplate(workflows []*workflow) string {
	all := map[string]jobSetting{}
	for _, w := range workflows {
		for name, s := range w.settings {
			have := all[name]
			have.secret, have.gated, have.free = have.secret || s.secret, have.gated || s.gated, have.free || s.free
			if have.where == "" || s.gated {
				have.where = s.where
			}
			all[name] = have
		}
	}
	if len(all) == 0 {
		return ""
	}
	var dev, production strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		switch {
		case !s.gated:
			fmt.Fprintf(&dev, "%s=\n", name)
		case s.free:
			fmt.Fprintf(&dev, "# Production's jobs read a setting of this name too (%s): here goes dev's own.\n%s=\n", visible(s.where), name)
		case s.secret:
			fmt.Fprintf(&production, "#   %s (%s)\n", name, visible(s.where))
		}
	}
	out := "# Settings that the workflows of this repository read. Copy this file to .env, keep that\n# out of git, and fill in what belongs to dev.\n"
	if dev.Len() > 0 {
		out += "\n" + dev.String()
	}
	if production.Len() > 0 {
		out += "\n# Production's, which belong on no laptop and in no file: a released job gets them.\n" + production.String()
	}
	return out
}
