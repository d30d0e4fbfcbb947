package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of what is read. They are far above what people do, and keep a hostile
// repository from filling the memory.
const (
	// MaxFiles is how many changed files a change can have and still be known
	// completely.
	MaxFiles = 200_000
	// MaxCommits is how many commits a change can have and still be known
	// completely.
	MaxCommits = 50_000
	// MaxMessage is how many bytes of one commit object are read.
	MaxMessage = 1 << 20
	// MaxMessages is how many bytes of commit objects are read in all.
	MaxMessages = 256 << 20
	// MaxTree is how many paths of one commit are listed.
	MaxTree = 1_000_000

	maxPath        = 64 << 10 // bytes of one record of git's output
	maxStderr      = 4 << 10  // bytes kept of what git says on stderr
	maxSmallOutput = 4 << 20  // bytes of a command's output that is kept whole
	maxMergeBases  = 8
)

// MinVersion is the oldest git that is known to work.
const MinVersion = "2.25"

// DefaultTimeout is how long one git command may take.
const DefaultTimeout = 5 * time.Minute

// ErrNoGit means that there is no usable git program.
var ErrNoGit = errors.New("git is not installed")

// ErrNotARepository means that the directory is in no git repository.
var ErrNotARepository = errors.New("not in a git repository")

// Config says which repository to open.
type Config struct {
	// Dir is a directory in the repository: its root, one below it, a linked work
	// tree, or a bare repository. Empty is the current one.
	Dir string
	// Env is the environment as in [os.Environ]; nil is the process's own. Of its
	// GIT_ variables only those that find and configure git are handed on.
	Env []string
	// Timeout limits each command; 0 is [DefaultTimeout].
	Timeout time.Duration
}

// Repository is an opened local repository. Its methods are safe for concurrent
// use. Close ends the process that it keeps.
type Repository struct {
	dir     string // where commands run
	root    string // top of the work tree, or dir if there is none
	git     string // path of the program
	env     []string
	timeout time.Duration
	shallow string // path of the list of cut commits; empty if nothing is cut
	bare    bool

	mu      sync.Mutex // held for one question and its answer
	objects *objects   // started at the first question

	config     sync.Once // fills in the two below
	configured []setting
	configErr  error
}

// Open finds the repository at a directory. The error is or wraps [ErrNoGit] or
// [ErrNotARepository] where it is one of these.
func Open(ctx context.Context, c Config) (*Repository, error) {
	env := c.Env
	if env == nil {
		env = os.Environ()
	}
	r := &Repository{dir: c.Dir, env: environment(env), timeout: c.Timeout}
	if r.dir == "" {
		r.dir = "."
	}
	if r.timeout == 0 {
		r.timeout = DefaultTimeout
	}
	var err error
	if r.dir, err = filepath.Abs(r.dir); err != nil {
		return nil, fmt.Errorf("opening repository: %w", err)
	}
	if _, err := os.Stat(r.dir); err != nil {
		return nil, fmt.Errorf("opening repository: %w", err)
	}
	if r.git, err = exec.LookPath("git"); err != nil {
		return nil, fmt.Errorf("%w: install git %s or newer and make sure that it is in PATH", ErrNoGit, MinVersion)
	}
	out, err := r.output(ctx, "rev-parse", "--is-bare-repository", "--is-shallow-repository", "--git-common-dir", "--show-cdup")
	if err != nil {
		return nil, r.openError(ctx, err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) == 3 { // a bare repository has no --show-cdup
		lines = append(lines, "")
	}
	if len(lines) != 4 {
		return nil, fmt.Errorf("opening repository %q: cannot read where git keeps it; a line break in its path is not supported", r.dir)
	}
	r.bare = lines[0] == "true"
	if lines[1] != "false" {
		r.shallow = filepath.Join(join(r.dir, lines[2]), "shallow")
	}
	r.root = join(r.dir, lines[3])
	// Commands that compare commits would read the index, and then files of the
	// work tree in place of the objects that they seem to be.
	r.env = append(r.env, "GIT_INDEX_FILE="+filepath.Join(join(r.dir, lines[2]), "sallyport-reads-no-index"))
	return r, nil
}

// join is filepath.Join that keeps an absolute second part.
func join(dir, p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(dir, p)
}

// openError turns the first command's failure into what a person can act upon.
func (r *Repository) openError(ctx context.Context, err error) error {
	var f *commandError
	if !errors.As(err, &f) {
		return err
	}
	switch {
	case strings.Contains(f.stderr, "not a git repository"):
		return fmt.Errorf("%w: %q; go to one, or make one with: git init", ErrNotARepository, r.dir)
	case strings.Contains(f.stderr, "dubious ownership"):
		return fmt.Errorf("git does not trust %q, which belongs to another user; if you do: git config --global --add safe.directory %s", r.dir, r.dir)
	}
	if v, verr := r.output(ctx, "version"); verr == nil && tooOld(string(v)) {
		return fmt.Errorf("%w: %s is too old; install git %s or newer", ErrNoGit, strings.TrimSpace(string(v)), MinVersion)
	}
	return err
}

// tooOld reads "git version 2.39.5 (…)".
func tooOld(version string) bool {
	f := strings.Fields(version)
	if len(f) < 3 {
		return false
	}
	parts := strings.SplitN(f[2], ".", 3)
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (major < 2 || major == 2 && minor < 25)
}

// Root is the top of the work tree; of a bare repository, the repository itself.
func (r *Repository) Root() string { return r.root }

// Bare reports whether there is no work tree.
func (r *Repository) Bare() bool { return r.bare }

// Shallow reports whether the history is cut (git clone --depth).
func (r *Repository) Shallow() bool { return r.shallow != "" }

// Close ends the process that answers questions about objects, if it runs.
func (r *Repository) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.objects == nil {
		return nil
	}
	r.objects.close()
	r.objects = nil
	return nil
}

// handedOn are the GIT_ variables that find and configure git. All others
// (GIT_DIR, GIT_EXTERNAL_DIFF, GIT_TRACE …) would change what is read or run
// something.
var handedOn = []string{
	"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_COUNT",
	"GIT_EXEC_PATH", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM",
}

// environment is the environment of every command.
func environment(base []string) []string {
	env := make([]string, 0, len(base)+10)
	for _, kv := range base {
		k, _, _ := strings.Cut(kv, "=")
		k = strings.ToUpper(k)
		if strings.HasPrefix(k, "GIT_") && !slices.Contains(handedOn, k) &&
			!strings.HasPrefix(k, "GIT_CONFIG_KEY_") && !strings.HasPrefix(k, "GIT_CONFIG_VALUE_") {
			continue
		}
		if strings.HasPrefix(k, "LC_") || k == "LANG" || k == "LANGUAGE" || k == "PAGER" {
			continue
		}
		env = append(env, kv)
	}
	return append(env,
		"LC_ALL=C",
		"GIT_OPTIONAL_LOCKS=0",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_NO_LAZY_FETCH=1",
		"GIT_ALLOW_PROTOCOL=none", // older git knows no GIT_NO_LAZY_FETCH
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_GRAFT_FILE="+os.DevNull,
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_PAGER=cat",
	)
}

// command makes a command; the caller starts it. Its arguments are constants,
// full object ids and reference names that begin with "refs/", nothing else.
func (r *Repository) command(ctx context.Context, args ...string) *exec.Cmd {
	full := append([]string{
		"--no-pager", "--literal-pathspecs",
		"-c", "core.fsmonitor=false",
		"-c", "core.hooksPath=" + os.DevNull,
		"-c", "core.quotePath=false",
		"-c", "diff.external=",
		"-c", "log.showSignature=false",
	}, args...)
	cmd := exec.CommandContext(ctx, r.git, full...)
	cmd.Dir = r.dir
	cmd.Env = r.env
	cmd.WaitDelay = 5 * time.Second
	cmd.Stderr = &tail{}
	return cmd
}

// output runs a command whose output is small.
func (r *Repository) output(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	cmd := r.command(ctx, args...)
	out := &limited{max: maxSmallOutput}
	cmd.Stdout = out
	if err := cmd.Run(); err != nil {
		return nil, failure(ctx, cmd, args[0], err)
	}
	if out.over {
		return nil, fmt.Errorf("git %s: more than %d bytes of output", args[0], maxSmallOutput)
	}
	return out.Bytes(), nil
}

// commandError is a git command that failed.
type commandError struct {
	name   string
	stderr string
	err    error
}

func (e *commandError) Error() string {
	if e.stderr == "" {
		return fmt.Sprintf("git %s: %v", e.name, e.err)
	}
	return fmt.Sprintf("git %s: %s", e.name, e.stderr)
}

func (e *commandError) Unwrap() error { return e.err }

// exitCode is git's exit code if err is a command that ended by itself, else -1.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

func failure(ctx context.Context, cmd *exec.Cmd, name string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("git %s: %w", name, context.Cause(ctx))
	}
	t, _ := cmd.Stderr.(*tail)
	return &commandError{name: name, stderr: t.String(), err: err}
}

// tail keeps the beginning of what a command says on stderr. The name is git's
// habit of saying what matters in its only line.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	if room := maxStderr - len(t.b); room > 0 {
		t.b = append(t.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// String is the first line without "fatal: ".
func (t *tail) String() string {
	if t == nil {
		return ""
	}
	for line := range strings.Lines(string(t.b)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "warning:") || strings.HasPrefix(line, "hint:") {
			continue
		}
		for _, p := range []string{"fatal: ", "error: "} {
			line = strings.TrimPrefix(line, p)
		}
		return line
	}
	return ""
}

// limited is a buffer that takes no more than max bytes and says so.
type limited struct {
	bytes.Buffer
	max  int
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > l.max {
		l.over = true
		return len(p), nil
	}
	return l.Buffer.Write(p)
}
