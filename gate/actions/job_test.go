package actions_test

import (
	"encoding/base64"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/actions"
	"github.com/sallyport/sallyport/rules"
)

// runner is a job whose runner's files are read as the runner reads them.
type runner struct {
	t    *testing.T
	dir  string
	vars map[string]string
	log  strings.Builder
	job  *actions.Job
}

func newRunner(t *testing.T) *runner {
	t.Helper()
	r := &runner{t: t, dir: t.TempDir(), vars: map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "7", "GITHUB_RUN_ATTEMPT": "2"}}
	for _, kind := range []string{"OUTPUT", "ENV", "STEP_SUMMARY"} {
		r.vars["GITHUB_"+kind] = filepath.Join(r.dir, kind)
	}
	r.job = actions.New(func(key string) string { return r.vars[key] }, &r.log)
	return r
}

func (r *runner) read(kind string) string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, kind))
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	return string(b)
}

// set are the names and values that the runner takes from one of its files.
func (r *runner) set(kind string) map[string]string {
	r.t.Helper()
	out := map[string]string{}
	lines := strings.Split(strings.ReplaceAll(r.read(kind), "\r\n", "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		if lines[i] == "" {
			continue
		}
		name, delimiter, ok := strings.Cut(lines[i], "<<")
		if !ok {
			name, value, _ := strings.Cut(lines[i], "=")
			out[name] = value
			continue
		}
		var value []string
		for i++; i < len(lines) && lines[i] != delimiter; i++ {
			value = append(value, lines[i])
		}
		out[name] = strings.Join(value, "\n")
	}
	return out
}

// hostile are texts with which people try to speak to the runner.
func hostile() []string {
	return []string{
		"a\n::set-output name=verdict::allow", "a\r\n::add-mask::x", "%0A::error::x", "::stop-commands::x", "  ::warning::x", "##[set-output name=verdict;]allow", "a ##[add-path]/tmp",
		"${{ secrets.X }}", "$(id)", "`id`", "\x1b[2J\x1b]0;x\x07", "a\x00b", "\u2028::error::x", "\xff\xfe", "a\n_GitHubActionsFileCommandDelimeter_\nverdict<<X\nallow\nX", "<script>alert(1)</script>",
		"| a | b |", "[x](javascript:alert)", "@acme/sre #1", "![x](https://evil.example/p.png)", "``` x", "--- \n# title", "a\u202eb",
	}
}

// A value is one value, whatever it has in it.
func TestOutputs(t *testing.T) {
	for _, text := range hostile() {
		r := newRunner(t)
		for _, err := range []error{r.job.Output("title", text), r.job.Output("after", "1"), r.job.SetEnv("TITLE", text)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		want := strings.ReplaceAll(text, "\r\n", "\n")
		if got := r.set("OUTPUT"); len(got) != 2 || got["title"] != want || got["after"] != "1" {
			t.Errorf("%q became %q", text, got)
		}
		if got := r.set("ENV"); len(got) != 1 || got["TITLE"] != want {
			t.Errorf("%q became the variables %q", text, got)
		}
	}
	r := newRunner(t)
	for _, name := range []string{"", "a b", "a\nb", "a=b", "a<<b", "1a", strings.Repeat("a", 101)} {
		if err := r.job.Output(name, "x"); err == nil {
			t.Errorf("the name %q is accepted", name)
		}
	}
	if err := r.job.Output("large", strings.Repeat("x", 1<<20)); err == nil {
		t.Error("a value that the runner would drop")
	}
	delete(r.vars, "GITHUB_OUTPUT")
	if err := r.job.Output("a", "x"); err == nil {
		t.Error("no file, and no error")
	}
	r.vars["GITHUB_OUTPUT"] = filepath.Join(r.dir, "no", "such", "folder")
	if err := r.job.Output("a", "x"); err == nil {
		t.Error("a file that cannot be written, and no error")
	}
}

// commands are what the runner takes from a log as commands.
func commands(log string) []string {
	var out []string
	for line := range strings.Lines(log) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(strings.TrimSpace(line), "::") || strings.Contains(line, "##[") {
			out = append(out, line)
		}
	}
	return out
}

func TestSay(t *testing.T) {
	for _, text := range hostile() {
		r := newRunner(t)
		r.job.Say(text)
		log := r.log.String()
		if c := commands(log); len(c) > 0 || strings.Count(log, "\n") != 1 || strings.ContainsAny(log, "\r\x1b\x00\x07") {
			t.Errorf("%q was said as %q", text, log)
		}
	}
}

func TestAnnotate(t *testing.T) {
	for _, text := range hostile() {
		r := newRunner(t)
		if err := r.job.Annotate(actions.Annotation{Level: actions.Notice, Title: text, File: text, Message: text}); err != nil {
			t.Fatal(err)
		}
		log := r.log.String()
		c := commands(log)
		if len(c) != 1 || !strings.HasPrefix(c[0], "::notice file=") || strings.Count(log, "\n") != 1 || strings.ContainsAny(log, "\r\x1b\x00") {
			t.Errorf("%q became %q", text, log)
			continue
		}
		props, _, _ := strings.Cut(strings.TrimPrefix(c[0], "::notice "), "::")
		if n := strings.Count(props, ","); n != 1 {
			t.Errorf("%q made %d properties: %q", text, n+1, props)
		}
	}
	r := newRunner(t)
	if err := r.job.Annotate(actions.Annotation{Level: actions.Failure, Message: strings.Repeat("ä", 5000)}); err != nil || len([]rune(r.log.String())) > 1100 {
		t.Errorf("%v, %d runes", err, len([]rune(r.log.String())))
	}
}

// In a page foreign text is text.
func TestMarkdown(t *testing.T) {
	for _, text := range hostile() {
		for form, got := range map[string]string{"text": actions.Markdown(text), "code": actions.Code(text)} {
			if strings.ContainsAny(got, "\n\r\x1b\x00") {
				t.Errorf("%s of %q has a break: %q", form, text, got)
			}
		}
		got := actions.Markdown(text)
		if strings.Contains(got, "<") || strings.Contains(strings.ReplaceAll(got, "\\`", ""), "`") || strings.Contains(strings.ReplaceAll(got, `\[`, ""), "[") ||
			strings.Contains(got, "@a") || strings.Contains(got, "#1") || strings.Contains(got, "://") || strings.HasPrefix(got, "-") || strings.HasPrefix(got, "# ") {
			t.Errorf("%q became %q", text, got)
		}
	}
	for text, want := range map[string]string{"a": "`a`", "a`b": "``a`b``", "``": "``` `` ```", "": "`  `", "`": "`` ` ``"} {
		if got := actions.Code(text); got != want {
			t.Errorf("code of %q is %q, want %q", text, got, want)
		}
	}
}

func TestSummary(t *testing.T) {
	r := newRunner(t)
	if err := r.job.Summary(strings.Repeat("ä", 1<<20)); err != nil || len(r.read("STEP_SUMMARY")) > 1<<20 {
		t.Errorf("%v, %d bytes", err, len(r.read("STEP_SUMMARY")))
	}
	delete(r.vars, "GITHUB_STEP_SUMMARY")
	if err := r.job.Summary("x"); err != nil {
		t.Error(err)
	}
}

// Each form in which a program could write a secret down is hidden.
func TestMask(t *testing.T) {
	r := newRunner(t)
	const password = `p@ss/w+rd "quoted" %41`
	key := "-----BEGIN X-----\r\nabcdefghij\r\n}\r\n-----END X-----\n"
	lease := actions.Lease{Secret: "lease-secret", Values: map[string]actions.Secret{
		"other": ">>>???~~~", "password": password, "username": "role7", "key": actions.Secret(key), "port": "5432", "database": "orders", "region": "eu-west-1",
	}}
	if err := r.job.Mask(lease.Secrets()...); err != nil {
		t.Fatal(err)
	}
	var masked []string
	for line := range strings.Lines(r.log.String()) {
		text, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "::add-mask::")
		if !ok {
			t.Fatalf("%q is no mask", line)
		}
		masked = append(masked, strings.NewReplacer("%25", "%", "%0D", "\r", "%0A", "\n").Replace(text))
	}
	for _, form := range []string{
		password, "lease-secret", "role7", url.QueryEscape(password), url.PathEscape(password), base64.StdEncoding.EncodeToString([]byte(password)),
		base64.StdEncoding.EncodeToString([]byte(">>>???~~~")), base64.URLEncoding.EncodeToString([]byte(">>>???~~~")), base64.RawURLEncoding.EncodeToString([]byte(password)), `p@ss/w+rd \"quoted\" %41`, basic("role7", password), "abcdefghij", "-----END X-----", base64.StdEncoding.EncodeToString([]byte(key)),
	} {
		if !slices.Contains(masked, form) {
			t.Errorf("%q is not masked", form)
		}
	}
	for _, word := range []string{"5432", "orders", "eu-west-1", "}", ""} {
		if slices.Contains(masked, word) {
			t.Errorf("%q is masked everywhere in the log", word)
		}
	}
	// A password as an address has it.
	if u := url.UserPassword("role7", password).String(); !slices.ContainsFunc(masked, func(m string) bool { return strings.HasSuffix(u, ":"+m) }) {
		t.Errorf("the password in %q is not masked", u)
	}
}

func TestEnv(t *testing.T) {
	r := newRunner(t)
	r.vars["GITHUB_REPOSITORY_ID"], r.vars["INPUT_TOKEN"], r.vars["GITHUB_API_URL"] = "9", " ghs_x ", "https://ghes.acme.internal/api/v3/"
	e, err := r.job.Env()
	if err != nil || e.Run != 7 || e.Attempt != 2 || e.Repository.ID != 9 || e.Token.Reveal() != "ghs_x" || e.APIURL != "https://ghes.acme.internal/api/v3" || e.ServerURL != "https://github.com" {
		t.Errorf("%+v %v", e, err)
	}
	for name, bad := range map[string]string{"GITHUB_RUN_ID": "", "GITHUB_RUN_ATTEMPT": "0", "GITHUB_REPOSITORY_ID": "x", "GITHUB_ACTOR_ID": "-1", "GITHUB_ACTIONS": "1"} {
		r := newRunner(t)
		r.vars[name] = bad
		if _, err := r.job.Env(); err == nil || name != "GITHUB_ACTIONS" && !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%q: %v", name, bad, err)
		}
	}
}

const (
	headSHA = "1111111111111111111111111111111111111111"
	baseSHA = "2222222222222222222222222222222222222222"
)

func payload(change ...string) string {
	return strings.NewReplacer(change...).Replace(`{"action":"synchronize","sender":{"id":3,"login":"alice","type":"User"},"repository":{"id":1,"full_name":"acme/orders","default_branch":"main"},
	"pull_request":{"number":7,"title":"T","body":null,"draft":false,"user":{"id":2,"login":"writer[bot]","type":"Bot"},"labels":[{"name":"x"}],
	"head":{"ref":"writer/x","sha":"` + headSHA + `","repo":{"id":1,"full_name":"acme/orders"}},"base":{"ref":"main","sha":"` + baseSHA + `","repo":{"id":1}},"changed_files":4,"commits":2}}`)
}

func TestPull(t *testing.T) {
	file := filepath.Join(t.TempDir(), "event.json")
	read := func(text string) (actions.Pull, error) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		e := actions.Env{EventPath: file, Event: "pull_request"}
		return e.Pull()
	}
	p, err := read(payload())
	c := p.Change
	if err != nil || c.Number != 7 || c.Author.ID != 2 || c.Author.Type != rules.ActorBot || c.Draft != rules.No || c.Head.SHA != headSHA || c.Head.Repository.ID != 1 ||
		c.LastPusher.ID != 3 || p.DefaultBranch != "main" || p.Commits != 2 || p.Opened || !slices.Equal(c.Labels, []string{"x"}) || c.Reviews != nil || c.Files != nil {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := read(payload(`"synchronize"`, `"opened"`)); err != nil || !p.Opened || p.Change.LastPusher.Known() {
		t.Errorf("opened: %+v %v", p, err)
	}
	if p, err := read(payload(`"repo":{"id":1,"full_name":"acme/orders"}`, `"repo":null`, `"draft":false,`, ``)); err != nil || p.Change.Head.Repository.ID != 0 || p.Change.Draft != rules.Unknown {
		t.Errorf("a fork that is gone: %+v %v", p, err)
	}
	for what, text := range map[string]string{
		"no JSON": "x", "a push": `{"repository":{"id":1}}`, "no head": payload(headSHA, "main"), "an option": payload(headSHA, "--output=/tmp/x"), "an expression": payload(`"ref":"main"`, `"ref":"main^{/x}"`),
		"a default branch": payload(`"default_branch":"main"`, `"default_branch":"main:x"`), "a number": payload(`"number":7`, `"number":"7"`), "nothing": "", "twice": `{"action":"a","action":"b"}`,
	} {
		if _, err := read(text); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	e := actions.Env{EventPath: filepath.Join(t.TempDir(), "none")}
	if _, err := e.Pull(); err == nil {
		t.Error("no file, and no error")
	}
}

func TestPrivateFiles(t *testing.T) {
	temp := t.TempDir()
	dir, err := actions.PrivateDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	file, err := actions.WritePrivate(dir, "credential.json", "x")
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		for name, want := range map[string]os.FileMode{dir: 0o700, file: 0o600} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v %v", name, info.Mode(), err)
			}
		}
	}
	for _, name := range []string{"credential.json", "", "../x", "a/b", `a\b`} { // the first is there already
		if _, err := actions.WritePrivate(dir, name, "x"); err == nil {
			t.Errorf("%q was written", name)
		}
	}
	for _, name := range []string{temp, filepath.Join(temp, "x", "y"), "/etc/passwd", filepath.Join(dir, "..", "..", "x"), dir} {
		if err := actions.RemovePrivate(temp, name); err == nil {
			t.Errorf("%q was removed", name)
		}
	}
	for range 2 { // again and again
		if err := actions.RemovePrivate(temp, file); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is there: %v", err)
	}
}
