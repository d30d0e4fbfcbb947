package actions

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sethvargo/go-githubactions"
)

// ErrNoJob says that this process runs in no job of GitHub Actions.
var ErrNoJob = errors.New("this is no job of GitHub Actions: GITHUB_ACTIONS is not true")

// Limits of what is told to the runner.
const (
	// maxSummary is below GitHub's limit of 1 MiB a step, beyond which a summary is
	// dropped with an error.
	maxSummary = 900 << 10
	// maxMessage is how many runes of an annotation are shown.
	maxMessage = 1000
	// maxValue is how large one output or variable may be: GitHub allows 1 MiB a job.
	maxValue = 512 << 10
	maxName  = 100
)

// Job is the job that this process runs in, as its runner knows it. Its methods are
// called by one goroutine at a time.
type Job struct {
	act    *githubactions.Action
	getenv func(string) string
	out    io.Writer
}

// New makes a job of a way to read the environment and of where the runner reads
// commands: the step's standard output or error.
func New(getenv func(string) string, commands io.Writer) *Job {
	return &Job{
		act: githubactions.New(
			githubactions.WithGetenv(getenv),
			githubactions.WithWriter(commands),
			githubactions.WithHTTPClient(&http.Client{Transport: transport(), CheckRedirect: noRedirect, Timeout: tokenTime}),
		),
		getenv: getenv, out: commands,
	}
}

// Input is an input of the action, without spaces around it; empty if it was not
// given. A composite action hands its inputs on as INPUT_NAME.
func (j *Job) Input(name string) string {
	return j.act.GetInput(strings.ReplaceAll(name, "-", "_"))
}

// try runs what the library does, which panics where a file cannot be written.
func try(what string, do func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case error:
			err = fmt.Errorf("%s: %w", what, r)
		default:
			panic(r)
		}
	}()
	do()
	return nil
}

// variable is a name that an output or a variable of the environment can have, of up to
// maxName bytes.
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// file appends name and value to one of the runner's files, between delimiters that
// nobody can guess: the library's own delimiter is a constant, and a value that has it
// could end itself and set another name.
func (j *Job) file(kind, name, value string) error {
	what := fmt.Sprintf("setting %s %q", kind, name)
	if len(name) > maxName || !variable.MatchString(name) {
		return fmt.Errorf("%s: want letters, digits and underscores", what)
	}
	if len(value) > maxValue {
		return fmt.Errorf("%s: %d bytes are more than the runner takes", what, len(value))
	}
	if j.getenv("GITHUB_"+strings.ToUpper(kind)) == "" {
		return fmt.Errorf("%s: the runner gave no file for it in GITHUB_%s", what, strings.ToUpper(kind))
	}
	delimiter := "sallyport_" + rand.Text()
	return try(what, func() {
		j.act.IssueFileCommand(&githubactions.Command{
			Name: kind, Message: name + "<<" + delimiter + githubactions.EOF + value + githubactions.EOF + delimiter,
		})
	})
}

// Output sets an output of the step.
func (j *Job) Output(name, value string) error { return j.file("output", name, value) }

// SetEnv sets a variable for every later step of the job, those of others too.
func (j *Job) SetEnv(name, value string) error { return j.file("env", name, value) }

// Summary adds Markdown to the page of the job. What is foreign in it went through
// [Markdown] or [Code]. Where the runner has no page it does nothing.
func (j *Job) Summary(markdown string) error {
	if j.getenv("GITHUB_STEP_SUMMARY") == "" {
		return nil
	}
	if len(markdown) > maxSummary {
		markdown = strings.ToValidUTF8(markdown[:maxSummary], "") + "\n\n(cut here: it is too long for GitHub)\n"
	}
	return try("writing the summary", func() { j.act.AddStepSummary(markdown) })
}

// Level is how an annotation is shown.
type Level string

// The levels of annotations, by the runner's names.
const (
	Notice  Level = "notice"
	Warning Level = "warning"
	Failure Level = "error"
)

// Annotation is a remark on the run's page. Of a step GitHub shows ten of each level.
type Annotation struct {
	Level   Level
	Title   string
	File    string // a path of the repository; empty for none
	Message string
}

// Annotate makes an annotation. Its texts can be foreign.
func (j *Job) Annotate(a Annotation) error {
	props := githubactions.CommandProperties{}
	for name, text := range map[string]string{"title": a.Title, "file": a.File} {
		if text != "" {
			props[name] = plain(text)
		}
	}
	return try("writing an annotation", func() {
		j.act.IssueCommand(&githubactions.Command{Name: string(a.Level), Message: cut(plain(a.Message), maxMessage), Properties: props})
	})
}

// Say writes one line to the log. Nothing in it is a command to the runner, which
// reads "::" at the beginning of a line and "##[" anywhere in it.
func (j *Job) Say(text string) {
	text = strings.ReplaceAll(plain(text), "##[", "## [")
	if strings.HasPrefix(strings.TrimSpace(text), "::") {
		text = "> " + text
	}
	fmt.Fprintln(j.out, text)
}

// plain puts a visible sign in the place of what is no character of one line.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r != ' ' && !unicode.IsPrint(r) {
			return '\ufffd'
		}
		return r
	}, s)
}

// cut cuts a text to a number of runes.
func cut(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

const tokenTime = 10 * time.Second
