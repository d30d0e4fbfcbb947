package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The files that a commit has which claims to be a release, and no other commit:
// the version, the commit that the archives were built of, and what they must be.
// docs/releases.md says how they come to be; .github/release/prepare writes them.
const (
	releaseFolder  = ".github/release"
	versionFile    = releaseFolder + "/version"
	sourceFile     = releaseFolder + "/source"
	checksumsFile  = releaseFolder + "/checksums.txt"
	releaseVersion = `v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-rc\.[1-9][0-9]*)?`
)

// releaseArchives are the names of a version's archives, sorted. The action asks for
// the first kind by these names.
func releaseArchives(version string) []string {
	v := strings.TrimPrefix(version, "v")
	var names []string
	for _, arch := range []string{"amd64", "arm64"} {
		for _, system := range []string{"linux", "darwin"} {
			names = append(names, fmt.Sprintf("sallyport_%s_%s_%s.tar.gz", v, system, arch), fmt.Sprintf("sallyport-app_%s_%s_%s.tar.gz", v, system, arch))
		}
		names = append(names, fmt.Sprintf("sallyport_%s_windows_%s.zip", v, arch))
	}
	slices.Sort(names)
	return names
}

// releaseProblems says what is wrong with what the tree at root claims of a release.
// A tree that claims none is right.
func releaseProblems(root string) []string {
	var problems []string
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	text := map[string]string{}
	for _, name := range []string{versionFile, sourceFile, checksumsFile, "CHANGELOG.md"} {
		b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		switch {
		case err == nil:
			text[name] = string(b)
		case !os.IsNotExist(err):
			bad("%s cannot be read: %v", name, err)
		}
	}
	log, ok := text["CHANGELOG.md"]
	if !ok {
		return append(problems, "CHANGELOG.md is missing")
	}
	if !regexp.MustCompile(`(?m)^## \[Unreleased\]$`).MatchString(log) {
		bad("CHANGELOG.md has no heading \"## [Unreleased]\"")
	}
	delete(text, "CHANGELOG.md")
	if len(text) == 0 {
		return problems
	}
	for _, name := range []string{versionFile, sourceFile, checksumsFile} {
		if _, ok := text[name]; !ok {
			bad("%s is missing, though another file of a release is there: run .github/release/prepare open, or prepare anew", name)
		}
	}
	version, ok := strings.CutSuffix(text[versionFile], "\n")
	if !ok || !regexp.MustCompile(`^`+releaseVersion+`$`).MatchString(version) {
		bad("%s is %q: want one line such as v1.2.3 or v1.2.3-rc.1", versionFile, text[versionFile])
		return problems
	}
	heading := regexp.MustCompile(`(?m)^## \[` + regexp.QuoteMeta(strings.TrimPrefix(version, "v")) + `\] - (.*)$`).FindStringSubmatch(log)
	if heading == nil {
		bad("CHANGELOG.md has no heading \"## [%s] - YYYY-MM-DD\"", strings.TrimPrefix(version, "v"))
	} else if _, err := time.Parse(time.DateOnly, heading[1]); err != nil {
		bad("CHANGELOG.md: %q is no date such as 2026-11-30", heading[1])
	}
	problems = append(problems, checksumProblems(version, text[checksumsFile])...)
	source, ok := strings.CutSuffix(text[sourceFile], "\n")
	if !ok || !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(source) {
		bad("%s is %q: want one line of 40 hexadecimal digits", sourceFile, text[sourceFile])
		return problems
	}
	return append(problems, sourceProblems(root, source)...)
}

// checksumProblems says what is wrong with a list of checksums.
func checksumProblems(version, list string) []string {
	var problems, names []string
	form := regexp.MustCompile(`^[0-9a-f]{64}  ([a-z0-9._-]+)\n$`)
	sums := map[string]string{}
	for line := range strings.Lines(list) {
		m := form.FindStringSubmatch(line)
		if m == nil {
			problems = append(problems, fmt.Sprintf("%s: %q is no line of sha256sum", checksumsFile, line))
			continue
		}
		names = append(names, m[1])
		if other, ok := sums[line[:64]]; ok {
			problems = append(problems, fmt.Sprintf("%s: %s and %s are the same file", checksumsFile, other, m[1]))
		}
		sums[line[:64]] = m[1]
	}
	if want := releaseArchives(version); !slices.Equal(names, want) {
		problems = append(problems, fmt.Sprintf("%s names\n  %s\nwant\n  %s", checksumsFile, strings.Join(names, "\n  "), strings.Join(want, "\n  ")))
	}
	return problems
}

// sourceProblems says in what the tree at root differs from the commit that its
// release was built of. A tree without history, such as an unpacked archive, cannot be
// compared.
func sourceProblems(root, source string) []string {
	if _, err := os.Stat(filepath.Join(root, ".git")); os.IsNotExist(err) {
		return nil
	}
	git := func(args ...string) (string, error) {
		cmd := exec.Command("git", append([]string{"-C", root}, args...)...)
		out, err := cmd.Output()
		return string(out), err
	}
	if _, err := git("merge-base", "--is-ancestor", source, "HEAD"); err != nil {
		return []string{fmt.Sprintf("%s: %s is no commit that came before this one (in a shallow clone: git fetch --unshallow): %v", sourceFile, source, err)}
	}
	out, err := git("diff", "--no-renames", "--name-only", "-z", source, "--")
	if err != nil {
		return []string{fmt.Sprintf("comparing with %s: %v", source, err)}
	}
	var problems []string
	for name := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		if !slices.Contains([]string{versionFile, sourceFile, checksumsFile}, name) {
			problems = append(problems, fmt.Sprintf("%q differs from the commit that the archives were built of: if the release is out, run .github/release/prepare open; else prepare anew", name))
		}
	}
	return problems
}

// TestRelease holds this tree against what it claims.
func TestRelease(t *testing.T) {
	for _, p := range releaseProblems("../..") {
		t.Error(p)
	}
}

// A releaseTree is a git repository in a folder of its own.
type releaseTree struct {
	*testing.T
	root string
}

// unreleased makes a tree that claims no release, and a repository of one commit with
// it if history is asked for.
func unreleased(t *testing.T, history bool) (tree releaseTree, commit string) {
	t.Helper()
	tree = releaseTree{t, t.TempDir()}
	tree.write("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-11-30\n")
	tree.write("main.go", "package main\n")
	if !history {
		return tree, strings.Repeat("1", 40)
	}
	tree.git("init", "-q")
	return tree, tree.commit()
}

func (r releaseTree) git(args ...string) string {
	r.Helper()
	cmd := exec.Command("git", append([]string{"-C", r.root}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Octo Cat", "GIT_AUTHOR_EMAIL=octocat@example.com", "GIT_COMMITTER_NAME=Octo Cat", "GIT_COMMITTER_EMAIL=octocat@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit commits everything and returns the commit's id.
func (r releaseTree) commit() string {
	r.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", "a commit")
	return r.git("rev-parse", "HEAD")
}

func (r releaseTree) write(name, text string) {
	r.Helper()
	path := filepath.Join(r.root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.Fatal(err)
	}
}

func (r releaseTree) remove(names ...string) {
	r.Helper()
	for _, name := range names {
		if err := os.Remove(filepath.Join(r.root, name)); err != nil {
			r.Fatal(err)
		}
	}
}

// edit replaces the first old of a file, which must be there.
func (r releaseTree) edit(name, old, by string) {
	r.Helper()
	b, err := os.ReadFile(filepath.Join(r.root, name))
	if err != nil || !strings.Contains(string(b), old) {
		r.Fatalf("%s has no %q (%v)", name, old, err)
	}
	r.write(name, strings.Replace(string(b), old, by, 1))
}

// release writes the three files of v1.2.3 as prepare does.
func (r releaseTree) release(source string) {
	r.Helper()
	r.write(versionFile, "v1.2.3\n")
	r.write(sourceFile, source+"\n")
	var list strings.Builder
	for i, name := range releaseArchives("v1.2.3") {
		fmt.Fprintf(&list, "%064x  %s\n", i+1, name)
	}
	r.write(checksumsFile, list.String())
}

func TestReleaseStates(t *testing.T) {
	edit := func(name, old, by string) func(releaseTree) {
		return func(r releaseTree) { r.edit(name, old, by) }
	}
	remove := func(names ...string) func(releaseTree) {
		return func(r releaseTree) { r.remove(names...) }
	}
	for _, c := range []struct {
		name   string
		change func(releaseTree) // to a right release
		want   string            // "" is right
	}{
		{name: "a release"},
		{name: "taken away after the release", change: remove(versionFile, sourceFile, checksumsFile)},
		{name: "no version", change: remove(versionFile), want: versionFile + " is missing"},
		{name: "no source", change: remove(sourceFile), want: sourceFile + " is missing"},
		{name: "no checksums", change: remove(checksumsFile), want: checksumsFile + " is missing"},
		{name: "a version without v", change: edit(versionFile, "v", ""), want: "want one line"},
		{name: "a version with a zero in front", change: edit(versionFile, "v1", "v01"), want: "want one line"},
		{name: "two versions", change: edit(versionFile, "\n", "\nv1.2.4\n"), want: "want one line"},
		{name: "a path for a version", change: edit(versionFile, "v1.2.3", "v1.2.3/../x"), want: "want one line"},
		{name: "a version of which the changelog knows nothing", change: edit(versionFile, "v1.2.3", "v1.2.4"), want: `no heading "## [1.2.4]`},
		{name: "a date that is none", change: edit("CHANGELOG.md", "2026-11-30", "2026-11-31"), want: "no date"},
		{name: "a changelog with nothing after it", change: edit("CHANGELOG.md", "[Unreleased]", "Next"), want: "Unreleased"},
		{name: "no changelog", change: remove("CHANGELOG.md"), want: "CHANGELOG.md is missing"},
		{name: "a short checksum", change: edit(checksumsFile, "0000", ""), want: "no line of sha256sum"},
		{name: "an upper-case checksum", change: edit(checksumsFile, "00a  ", "00A  "), want: "no line of sha256sum"},
		{name: "a checksum in binary mode", change: edit(checksumsFile, "  sally", " *sally"), want: "no line of sha256sum"},
		{name: "a path for an archive", change: edit(checksumsFile, "  sally", "  ../sally"), want: "no line of sha256sum"},
		{name: "an archive twice", change: edit(checksumsFile, "sallyport_1.2.3_linux_amd64", "sallyport_1.2.3_linux_arm64"), want: "want\n"},
		{name: "an archive of another version", change: edit(checksumsFile, "1.2.3", "1.2.2"), want: "want\n"},
		{name: "no zip for Windows on arm64", change: edit(checksumsFile, "windows_arm64.zip", "windows_arm64.tar.gz"), want: "want\n"},
		{name: "two archives that are the same", change: edit(checksumsFile, strings.Repeat("0", 63)+"2", strings.Repeat("0", 63)+"1"), want: "the same file"},
		{name: "no archive", change: func(r releaseTree) { r.write(checksumsFile, "") }, want: "want\n"},
		{name: "a short source", change: edit(sourceFile, "1", ""), want: "40 hexadecimal digits"},
		{name: "a branch for a source", change: func(r releaseTree) { r.write(sourceFile, "main\n") }, want: "40 hexadecimal digits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree, source := unreleased(t, false)
			if got := releaseProblems(tree.root); len(got) != 0 {
				t.Fatalf("before the release: %q", got)
			}
			tree.release(source)
			if c.change != nil {
				c.change(tree)
			}
			got := strings.Join(releaseProblems(tree.root), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q in it", got, c.want)
			}
		})
	}
}

// TestReleaseSource changes something else together with a release, or after it.
func TestReleaseSource(t *testing.T) {
	tree, source := unreleased(t, true)
	tree.release(source)
	tree.commit()
	right := func(what string) {
		t.Helper()
		if got := releaseProblems(tree.root); len(got) != 0 {
			t.Errorf("%s: %q", what, got)
		}
	}
	wrong := func(what, want string) {
		t.Helper()
		if got := strings.Join(releaseProblems(tree.root), "\n"); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q in it", what, got, want)
		}
	}
	right("a release")

	tree.edit("main.go", "main", "other")
	wrong("changed and not committed", `"main.go" differs`)
	tree.edit("main.go", "other", "main")

	tree.write(sourceFile, strings.Repeat("1", 40)+"\n")
	wrong("a source that nobody has", "no commit that came before")
	tree.write(sourceFile, source+"\n")
	right("the release again")

	tree.git("mv", "main.go", releaseFolder+"/main.go")
	tree.write(releaseFolder+"/prepare", "#!/bin/sh\n")
	tree.write("more.go", "package main\n")
	later := tree.commit()
	for _, name := range []string{"main.go", releaseFolder + "/main.go", releaseFolder + "/prepare", "more.go"} {
		wrong("a release with more in it", fmt.Sprintf("%q differs", name))
	}

	tree.git("reset", "-q", "--hard", source)
	tree.release(later)
	wrong("a source that is a commit, though none before", "no commit that came before")
}

// TestReleaseBuilds has the image hold the same program as the archives: same toolchain,
// same flags.
func TestReleaseBuilds(t *testing.T) {
	var config struct {
		Env    []string
		Builds []struct {
			ID, Main, Binary             string
			Goos, Goarch, Flags, Ldflags []string
		}
	}
	readYAML(t, "../../.goreleaser.yaml", &config)
	b, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	image := string(b)
	for _, variable := range config.Env {
		if _, value, _ := strings.Cut(variable, "="); value != "" && !strings.Contains(image, variable) {
			t.Errorf("Dockerfile does not set %s", variable)
		}
	}
	toolchain := strings.TrimPrefix(regexp.MustCompile(`GOTOOLCHAIN=(\S+)`).FindString(image), "GOTOOLCHAIN=go")
	if toolchain == "" || !strings.Contains(image, "golang:"+toolchain+"-bookworm@sha256:") {
		t.Errorf("Dockerfile builds in another image than that of Go %q", toolchain)
	}
	workflow, err := os.ReadFile("../../.github/workflows/release.yml")
	if err != nil || !strings.Contains(string(workflow), "go-version: "+toolchain+"\n") {
		t.Errorf("release.yml sets up another Go than %s (%v)", toolchain, err)
	}
	prepare := read(t, "../../.github/release", "prepare")
	packer := regexp.MustCompile(`(?m)^goreleaser=v(\d+\.\d+\.\d+)$`).FindStringSubmatch(prepare)
	if packer == nil {
		t.Fatal("prepare pins no GoReleaser")
	}
	for _, page := range []string{"releases.md", "dependencies.md"} {
		if !regexp.MustCompile(`GoReleaser v?` + regexp.QuoteMeta(packer[1]) + ` `).MatchString(read(t, "../../docs", page)) {
			t.Errorf("docs/%s names another GoReleaser than %s, which prepare pins", page, packer[1])
		}
	}
	var archives []string
	for _, build := range config.Builds {
		line := fmt.Sprintf(`go build %s -ldflags="%s" -o /%s %s`, strings.Join(build.Flags, " "), strings.Join(build.Ldflags, " "), build.Binary, build.Main)
		line = strings.ReplaceAll(line, "v{{ .Version }}", "$VERSION")
		if build.ID == "sallyport-app" && !strings.Contains(image, line) {
			t.Errorf("Dockerfile has no %q", line)
		}
		for _, system := range build.Goos {
			for _, arch := range build.Goarch {
				form := ".tar.gz"
				if system == "windows" {
					form = ".zip"
				}
				archives = append(archives, fmt.Sprintf("%s_1.2.3_%s_%s%s", build.Binary, system, arch, form))
			}
		}
	}
	slices.Sort(archives)
	if want := releaseArchives("v1.2.3"); !slices.Equal(archives, want) {
		t.Errorf(".goreleaser.yaml makes\n%q\nwant\n%q", archives, want)
	}
}
