package rules

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/sallyport/sallyport/rules/paths"
)

// Look is what sallyport init saw of a repository that has no policy yet.
type Look struct {
	// Files are the paths of all files, with slashes, in any order.
	Files []string
	// Contents holds the files that [StarterReads] named, as far as they could be
	// read.
	Contents map[string][]byte
	// Owner is the organisation or user that the repository belongs to; empty if
	// that is not known.
	Owner string
}

// MaxStarterReads is how many files [StarterReads] names at most, and
// MaxStarterBytes how much of each needs to be read.
const (
	MaxStarterReads = 200
	MaxStarterBytes = 1 << 20
)

// StarterReads names the files of a repository whose contents [Survey] looks at:
// workflows and CODEOWNERS.
func StarterReads(files []string) []string {
	var out []string
	for _, f := range files {
		dir, name := path.Split(f)
		ext := path.Ext(name)
		if dir == ".github/workflows/" && (ext == ".yml" || ext == ".yaml") || slices.Contains(codeownersPaths(), f) {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return out[:min(len(out), MaxStarterReads)]
}

// codeownersPaths are where GitHub looks for the file, in its order
// (https://docs.github.com/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners).
func codeownersPaths() []string {
	return []string{".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"}
}

// Findings are what a repository shows of itself, for people and for [Starter].
// Every list but Owners is sorted.
type Findings struct {
	Languages  []string // with test files of a usual name
	Tests      []string // patterns of these
	Docs       []string // patterns of documentation
	Dev        []string // patterns of folders whose name says dev, test, preview or staging
	Migrations []string // folders
	Terraform  []string
	Kubernetes []string // Helm charts, kustomizations and folders of manifests
	Workflows  []string // that name an environment
	// Environments are the GitHub environments that workflows name.
	Environments []string
	// Checks are jobs of workflows that a pull request starts.
	Checks []string
	// Owners are users and teams of CODEOWNERS, without "@".
	Owners []Reviewer
}

// Starter writes the policy that suits a repository: valid, short, and strict in
// everything it cannot know. Only documentation, tests and folders that are named
// after a lower environment are automatic. It writes no names that the repository
// does not have: where it knows no reviewers, it writes a team to replace.
func Starter(look Look) []byte {
	f := Survey(look)
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	line("# Who may let what into which environment: checked with `sallyport policy lint`,")
	line("# tried with `sallyport check` and `sallyport policy explain PATH`.")
	line("version: 1")
	line("")
	reviewers, known := starterReviewers(look, f)
	if known {
		line("# Who lets something into production: teams and users of CODEOWNERS.")
	} else {
		line("# Who lets something into production. REPLACE THIS: name a team of your")
		line("# organisation, or at least two users.")
	}
	line("reviewers: %s", flowList(reviewers))
	line("")
	line("environments:")

	auto, human := splitEnvironments(f.Environments)
	paths := append(append(slices.Clone(f.Docs), f.Tests...), f.Dev...)
	if len(paths) > 0 || len(auto) > 0 {
		line("  # An agent's change to only these paths needs no human once its checks are green.")
		line("  dev:")
		line("    gate: auto")
		if len(paths) > 0 {
			line("    paths:")
			for _, p := range paths {
				line("      - %s", scalar(p))
			}
		}
		if len(auto) > 0 {
			line("    # GitHub environments that deploy with no human; every other one asks.")
			line("    deployments: %s", flowList(auto))
		}
		if len(f.Checks) > 0 {
			line("    # Checks that must be green first.")
			line("    after: %s", flowList(f.Checks))
		} else {
			line("    # Checks that must be green first; without this, those that the base branch requires.")
			line("    # after: [test]")
		}
		line("")
	}
	line("  # Every other path, and every deployment that is not named above, asks a human.")
	line("  production:")
	line("    gate: human")
	if len(human) > 0 {
		line("    # GitHub environments of the workflows that this covers.")
		line("    deployments: %s", flowList(human))
	}
	if len(f.Migrations)+len(f.Terraform)+len(f.Kubernetes) > 0 {
		line("    # Consider more reviewers where a mistake is hard to take back:")
		for _, dir := range slices.Concat(f.Migrations, f.Terraform, f.Kubernetes) {
			line("    #   also: {%s: [%s]}", scalar(folder(dir)), starterTeam(reviewers, look.Owner))
		}
	}
	return b.Bytes()
}

// folder is a pattern for everything below a folder.
func folder(dir string) string {
	if dir == "." {
		return "**"
	}
	return dir + "/**"
}

// starterTeam stands in an example line for a team that only people can name.
func starterTeam(reviewers []string, owner string) string {
	for _, r := range reviewers {
		if org, _, ok := strings.Cut(r, "/"); ok {
			return org + "/TEAM"
		}
	}
	if !ownerName(owner) {
		owner = "OWNER"
	}
	return owner + "/TEAM"
}

// starterReviewers are who is written into the policy, and whether the repository
// named them.
func starterReviewers(look Look, f Findings) ([]string, bool) {
	var teams, users []string
	org := strings.ToLower(look.Owner)
	for _, o := range f.Owners {
		team, _, _ := strings.Cut(o.Key(), "/")
		switch {
		case !o.IsTeam():
			users = append(users, string(o))
		case org == "" || team == org:
			org = team
			teams = append(teams, string(o))
		}
	}
	if len(teams) > 0 || len(users) > 1 {
		all := slices.Concat(teams, users)
		return all[:min(len(all), MaxReviewers)], true
	}
	owner := look.Owner
	if !ownerName(owner) {
		owner = "OWNER"
	}
	return []string{owner + "/reviewers"}, false
}

// ownerName reports whether text can be a GitHub account's name.
func ownerName(s string) bool {
	return isToken(s, 39, "-") && !strings.HasPrefix(s, "-") && !strings.HasSuffix(s, "-")
}

// splitEnvironments tells the GitHub environments whose name says that nothing of
// production is behind them from all others. A name that says both is not one.
func splitEnvironments(names []string) (auto, human []string) {
	for _, n := range names {
		if lowerEnvironment(n) {
			auto = append(auto, n)
		} else {
			human = append(human, n)
		}
	}
	// The entries' own names are covered only if they are listed too.
	if len(auto) > 0 && !containsFold(auto, "dev") && !containsFold(human, "dev") {
		auto = append([]string{"dev"}, auto...)
	}
	if len(human) > 0 && !containsFold(human, "production") {
		human = append([]string{"production"}, human...)
	}
	return auto, human
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(x, s) })
}

// lowerEnvironment reports whether a name consists of words of which one is dev,
// test, preview or staging and none says production.
func lowerEnvironment(name string) bool {
	lower := false
	for _, w := range strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '-' || r == '_' || r == '/' || r == '.' || r == ' ' }) {
		w = strings.TrimRight(w, "0123456789")
		switch w {
		case "dev", "develop", "development", "test", "testing", "tests", "preview", "previews", "staging", "stage":
			lower = true
		case "prod", "production", "prd", "live", "main", "release", "pypi", "npm":
			return false
		default:
			if strings.Contains(w, "prod") {
				return false
			}
		}
	}
	return lower
}

// testNames are the usual names of test files by language and what they end or
// begin with (https://pkg.go.dev/cmd/go#hdr-Test_packages,
// https://docs.pytest.org/en/stable/explanation/goodpractices.html and the like).
func testNames() []struct {
	language string
	source   string   // a file name of the language
	patterns []string // of its tests
} {
	return []struct {
		language string
		source   string
		patterns []string
	}{
		{"Go", ".go", []string{"**/*_test.go"}},
		{"JavaScript", ".js", []string{"**/*.test.js", "**/*.spec.js", "**/__tests__/**"}},
		{"JavaScript", ".jsx", []string{"**/*.test.jsx", "**/*.spec.jsx"}},
		{"TypeScript", ".ts", []string{"**/*.test.ts", "**/*.spec.ts"}},
		{"TypeScript", ".tsx", []string{"**/*.test.tsx", "**/*.spec.tsx"}},
		{"Python", ".py", []string{"**/test_*.py", "**/*_test.py"}},
		{"Ruby", ".rb", []string{"spec/**/*_spec.rb", "test/**/*_test.rb"}},
		{"Java", ".java", []string{"**/src/test/java/**"}},
		{"Kotlin", ".kt", []string{"**/src/test/kotlin/**"}},
		{"Rust", ".rs", []string{"tests/**/*.rs"}},
		{"PHP", ".php", []string{"tests/**/*Test.php"}},
		{"C#", ".cs", []string{"**/*Tests.cs"}},
		{"Elixir", ".exs", []string{"test/**/*_test.exs"}},
		{"Swift", ".swift", []string{"Tests/**/*.swift"}},
	}
}

const maxStarterFolders = 20 // of each kind in a policy

// Survey looks at a repository. It is deterministic: neither the order of files
// nor that of map entries shows.
func Survey(look Look) Findings {
	var f Findings
	add := func(list *[]string, s string) {
		if !slices.Contains(*list, s) && len(*list) < maxStarterFolders {
			*list = append(*list, s)
		}
	}
	files := slices.Sorted(slices.Values(look.Files))
	plain := files[:0:0]
	for _, p := range files {
		if paths.Check(p) == nil {
			plain = append(plain, p)
		}
	}
	for _, t := range testNames() {
		for _, p := range plain {
			if strings.HasSuffix(p, t.source) {
				add(&f.Languages, t.language)
				break
			}
		}
		for _, pattern := range t.patterns {
			if slices.ContainsFunc(plain, func(p string) bool { return paths.Match(pattern, p) }) {
				add(&f.Tests, pattern)
			}
		}
	}
	for _, p := range plain {
		surveyPath(&f, add, p)
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for n := range look.Contents {
			if !yield(n) {
				return
			}
		}
	}) {
		if strings.HasPrefix(name, ".github/workflows/") {
			surveyWorkflow(&f, add, name, look.Contents[name])
		}
	}
	for _, name := range codeownersPaths() {
		if data, ok := look.Contents[name]; ok {
			f.Owners = owners(data)
			break
		}
	}
	for _, list := range []*[]string{&f.Languages, &f.Docs, &f.Dev, &f.Migrations, &f.Terraform, &f.Kubernetes, &f.Workflows, &f.Environments, &f.Checks} {
		slices.Sort(*list)
	}
	return f
}

// surveyPath notes what one path says.
func surveyPath(f *Findings, add func(*[]string, string), p string) {
	dir, name := path.Dir(p), path.Base(p)
	segments := strings.Split(p, "/")
	if segments[0] == ".github" {
		return
	}
	switch {
	case segments[0] == "docs" && len(segments) > 1:
		add(&f.Docs, "docs/**")
	case segments[0] == "doc" && len(segments) > 1:
		add(&f.Docs, "doc/**")
	}
	for i, s := range segments[:len(segments)-1] {
		below := strings.Join(segments[:i+1], "/")
		switch strings.ToLower(s) {
		case "migrations", "migrate":
			add(&f.Migrations, below)
		case "k8s", "kubernetes", "manifests":
			add(&f.Kubernetes, below)
		}
		// The name of one folder inside another that deploys or migrates says which
		// environment it is for.
		if i > 0 && lowerEnvironment(s) && deploys(segments[:i]) {
			if pattern, ok := literalFolder(below); ok {
				add(&f.Dev, pattern)
			}
			break
		}
	}
	switch {
	case strings.HasSuffix(name, ".tf"):
		add(&f.Terraform, dir)
	case name == "Chart.yaml", name == "kustomization.yaml", name == "kustomization.yml":
		add(&f.Kubernetes, dir)
	}
}

// deploys reports whether folders hold what is deployed to environments and none
// of them is one of production.
func deploys(segments []string) bool {
	found := false
	for _, s := range segments {
		switch s = strings.ToLower(s); s {
		case "deploy", "deployment", "deployments", "migrations", "migrate", "environments", "envs", "overlays", "k8s", "kubernetes", "helm":
			found = true
		default:
			if strings.Contains(s, "prod") || s == "live" {
				return false
			}
		}
	}
	return found
}

// literalFolder is a pattern for everything below a folder, if the folder's name
// means itself in a pattern.
func literalFolder(dir string) (string, bool) {
	pattern := dir + "/**"
	return pattern, !strings.ContainsAny(dir, `*?[]{}\!`) && paths.CheckPattern(pattern) == nil
}

// surveyWorkflow notes the environments that a workflow names and, of one that a
// pull request starts, its jobs. A file that cannot be read says nothing.
func surveyWorkflow(f *Findings, add func(*[]string, string), name string, data []byte) {
	if len(data) > MaxStarterBytes {
		return
	}
	var w struct {
		On   yaml.Node `yaml:"on"`
		Jobs yaml.Node `yaml:"jobs"`
	}
	if yaml.Unmarshal(data, &w) != nil || w.Jobs.Kind != yaml.MappingNode {
		return
	}
	pulls := startsForEvery(&w.On)
	for i := 0; i+1 < len(w.Jobs.Content); i += 2 {
		id, job := w.Jobs.Content[i].Value, w.Jobs.Content[i+1]
		if env := valueOf(job, "environment"); env != nil {
			if env.Kind == yaml.MappingNode {
				env = valueOf(env, "name")
			}
			if env != nil && env.Kind == yaml.ScalarNode && checkNamePattern(env.Value, "") == nil && isLiteral(env.Value) && starterText(env.Value) {
				// GitHub compares them without regard to case.
				if !slices.ContainsFunc(f.Environments, func(s string) bool { return strings.EqualFold(s, env.Value) }) {
					add(&f.Environments, env.Value)
				}
				add(&f.Workflows, name)
			}
			continue
		}
		if !pulls || valueOf(job, "strategy") != nil || valueOf(job, "uses") != nil || valueOf(job, "if") != nil {
			// The checks of a matrix and of a called workflow have other names, and a
			// condition may leave a job out.
			continue
		}
		check := id
		if n := valueOf(job, "name"); n != nil && n.Kind == yaml.ScalarNode {
			check = n.Value
		}
		if isCheckJob(id+" "+check) && starterText(check) {
			add(&f.Checks, check)
		}
	}
}

// startsForEvery reports whether every pull request starts a workflow: one with a
// filter may never report, and a check that never reports holds for ever.
func startsForEvery(on *yaml.Node) bool {
	if !slices.Contains(keysOf(on), "pull_request") {
		return false
	}
	if on.Kind != yaml.MappingNode {
		return true
	}
	filter := valueOf(on, "pull_request")
	for _, key := range []string{"paths", "paths-ignore", "types"} {
		if valueOf(filter, key) != nil {
			return false
		}
	}
	return true
}

// isCheckJob reports whether a job's name says that it vouches for a change.
func isCheckJob(name string) bool {
	for _, w := range strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r < 'a' || r > 'z' }) {
		switch w {
		case "test", "tests", "ci", "check", "checks", "build", "lint", "unit", "verify":
			return true
		}
	}
	return false
}

// starterText reports whether foreign text may stand in the policy: printable with
// nothing to escape, no expression, not long.
func starterText(s string) bool {
	return s != "" && len(s) <= 100 && !strings.Contains(s, "${{") && strconv.Quote(s) == `"`+s+`"`
}

func keysOf(n *yaml.Node) []string {
	switch n.Kind {
	case yaml.ScalarNode:
		return []string{n.Value}
	case yaml.SequenceNode:
		var out []string
		for _, x := range n.Content {
			out = append(out, x.Value)
		}
		return out
	case yaml.MappingNode:
		var out []string
		for i := 0; i < len(n.Content); i += 2 {
			out = append(out, n.Content[i].Value)
		}
		return out
	default:
		return nil
	}
}

func valueOf(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

const maxStarterOwners = 10

// owners are the users and teams of a CODEOWNERS file: those of its "*" line,
// which is the last of these, if there is one, since owners of a part need not be
// trusted with the whole; else all, those that own most patterns first. At most
// ten; addresses are left out.
func owners(data []byte) []Reviewer {
	login := regexp.MustCompile(`^@([A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,99})?)$`)
	counts := map[Reviewer]int{}
	var all []Reviewer
	spelled := map[string]Reviewer{}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		whole := fields[0] == "*" || fields[0] == "**" || fields[0] == "/**"
		if whole {
			all = nil
		}
		for _, f := range fields[1:] {
			m := login.FindStringSubmatch(f)
			if m == nil {
				continue
			}
			r := Reviewer(m[1])
			if first, ok := spelled[r.Key()]; ok {
				r = first
			}
			spelled[r.Key()] = r
			counts[r]++
			if whole && !slices.Contains(all, r) {
				all = append(all, r)
			}
		}
	}
	if len(all) == 0 {
		for r := range counts {
			all = append(all, r)
		}
		slices.SortFunc(all, func(a, b Reviewer) int {
			return cmp.Or(counts[b]-counts[a], cmp.Compare(a.Key(), b.Key()))
		})
	}
	return all[:min(len(all), maxStarterOwners)]
}

// scalar writes text as one YAML value.
func scalar(s string) string {
	plain := regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./*-]*$`)
	if plain.MatchString(s) && !slices.Contains([]string{"true", "false", "yes", "no", "on", "off", "null", "y", "n"}, strings.ToLower(s)) {
		return s
	}
	return strconv.Quote(s)
}

// flowList writes a list in one line.
func flowList(list []string) string {
	q := make([]string, len(list))
	for i, s := range list {
		q[i] = scalar(s)
	}
	return "[" + strings.Join(q, ", ") + "]"
}
