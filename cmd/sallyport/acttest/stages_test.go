//go:build unix

package acttest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/gate/github/githubtest"
)

const (
	// deployWorkflow is the reusable workflow as the example calls it, and as the OIDC
	// tokens of its jobs name it.
	deployWorkflow = "sallyport/sallyport/.github/workflows/deploy.yml@" + pinnedSHA
	pinnedSHA      = "0123456789abcdef0123456789abcdef01234567"
	threeStages    = "../../../docs/examples/three-stages/"
)

// The actions of GitHub's that deploy.yml uses cannot be had without a network: these do
// the little of them that it asks for. A checkout takes the tree that the test has put
// there, and tells the test that the job has begun. So neither their own code is shown nor
// the artifact service, and of what act does not do nothing is: permissions, concurrency,
// and that each job is of its GitHub environment, which the test says in its stead.
const (
	checkoutStub = `
inputs: {repository: {}, ref: {}, path: {}, persist-credentials: {}}
runs:
  using: composite
  steps:
    - shell: bash
      env: {REPOSITORY: "${{ inputs.repository }}", REF: "${{ inputs.ref }}", TO: "${{ inputs.path }}", KEEP: "${{ inputs.persist-credentials }}"}
      run: |
        [[ $REPOSITORY == sallyport/sallyport && $REF == ` + pinnedSHA + ` && $KEEP == false ]]
        curl --fail --silent --show-error --max-time 60 --data '' "$GITHUBTEST/begin/$GITHUB_JOB"
        mkdir "$TO"
        cp -R "$TREE/." "$TO"
`
	uploadStub = `
inputs: {name: {}, path: {}, if-no-files-found: {}}
outputs: {artifact-id: {value: "${{ steps.up.outputs.id }}"}}
runs:
  using: composite
  steps:
    - id: up
      shell: bash
      env: {FROM: "${{ inputs.path }}", NAME: "${{ inputs.name }}"}
      run: |
        [[ $NAME == sallyport-deploy-1 ]]
        mkdir "$SEEN/artifact-77" && cp "$FROM" "$SEEN/artifact-77/"
        echo id=77 >>"$GITHUB_OUTPUT"
`
	downloadStub = `
inputs: {artifact-ids: {}, path: {}, merge-multiple: {}}
runs:
  using: composite
  steps:
    - shell: bash
      env: {ID: "${{ inputs.artifact-ids }}", TO: "${{ inputs.path }}", FLAT: "${{ inputs.merge-multiple }}"}
      run: |
        [[ $FLAT == true ]]
        mkdir -p "$TO" && cp "$SEEN/artifact-$ID/"* "$TO/"
        [[ ! -e $SEEN/replace-$GITHUB_JOB ]] || tar -czf "$TO/artifact.tar.gz" -C "$SEEN/replace-$GITHUB_JOB" .
`
)

// deployScript is what is deployed, and what deploys it: it says what it found.
const deployScript = `set -eu
stage=$1
[ "$stage" != --previous ] || stage=rollback
env >"$SEEN/env-$stage"
ls -A >"$SEEN/files-$stage"
cat payload >"$SEEN/payload-$stage"
[ ! -e "$SEEN/fail-$stage" ]
`

// A pipeline is the run of deploy.yml that GitHub has in progress: act runs its jobs, and
// the pipeline is told when each begins.
type pipeline struct {
	*house

	mu    sync.Mutex
	begun []string // jobs, in order
}

// ServeHTTP is what the jobs ask: their tokens, and the server.
func (p *pipeline) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, begins := strings.CutPrefix(r.URL.Path, "/begin/")
	switch {
	case begins:
		p.begin(name)
	case r.URL.Path == "/token":
		p.token(w, r)
	default:
		to, err := url.Parse("http://" + p.server.Address())
		if err != nil {
			panic(err) // it listens there
		}
		httputil.NewSingleHostReverseProxy(to).ServeHTTP(w, r)
	}
}

// begin ends the job before, and begins the next.
func (p *pipeline) begin(name string) {
	conclusion, environment := "success", name
	if name == "rollback" {
		conclusion, environment = "failure", "production"
	}
	if err := p.job.Complete(conclusion); err != nil {
		p.t.Error(err)
	}
	job := p.run.Next(githubtest.JobSpec{Name: "deploy / " + name, Environment: environment, DefinedIn: deployWorkflow, DefinedAt: pinnedSHA})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.job, p.begun = job, append(p.begun, name)
}

// token asks for the token of the job that runs.
func (p *pipeline) token(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	address, bearer := p.job.TokenRequest()
	p.mu.Unlock()
	q, err := http.NewRequestWithContext(r.Context(), http.MethodGet, address+"&audience="+url.QueryEscape(r.URL.Query().Get("audience")), http.NoBody)
	if err != nil {
		p.t.Error(err)
		return
	}
	q.Header.Set("Authorization", "Bearer "+bearer)
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		p.t.Error(err)
		return
	}
	defer a.Body.Close()
	w.WriteHeader(a.StatusCode)
	if _, err := io.Copy(w, a.Body); err != nil {
		p.t.Error(err)
	}
}

// newPipeline is the example of docs/examples/three-stages in acme/orders, with the server.
func newPipeline(t *testing.T) (*pipeline, *job) {
	t.Helper()
	p := &pipeline{house: buildHouse(t, example(t, "sallyport.yml"))}
	front := httptest.NewServer(p)
	t.Cleanup(front.Close)
	p.own, p.url = front.URL, front.URL
	p.targets = map[string]string{"orders-dev": "dev", "orders-staging": "staging", "orders-production": "production"}
	p.serve()
	test := p.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/test.yml", By: p.alice, Jobs: []githubtest.JobSpec{{Name: "test"}}})
	must(t, test.Job("test").Complete("success"))
	p.run = p.repo.StartRun(githubtest.RunSpec{Workflow: deployFile, By: p.alice, Jobs: []githubtest.JobSpec{{Name: "deploy / build"}}})
	p.job = p.run.Job("deploy / build")

	caller := example(t, "workflows/deploy.yml")
	for old, by := range map[string]string{"https://sallyport.acme.internal": front.URL, "make dist": "sh ./build.sh", "./deploy.sh": "sh ./deploy.sh", "    with:\n": "    with:\n      wait: 2m\n"} {
		if !strings.Contains(caller, old) {
			t.Fatalf("the example has no %q", old)
		}
		caller = strings.ReplaceAll(caller, old, by)
	}
	j := newJob(t, caller+`  after:
    needs: deploy
    runs-on: ubuntu-latest
    steps:
      - {run: 'printf "%s" "$DIGEST" >"$SEEN/digest"', env: {DIGEST: "${{ needs.deploy.outputs.digest }}"}}
`)
	j.write("build.sh", "mkdir dist\ncp deploy.sh payload dist/\n")
	j.write("deploy.sh", deployScript)
	j.write("payload", "what is deployed\n")
	tree := t.TempDir()
	must(t, os.CopyFS(tree, os.DirFS(share(t).patient)))
	j.vars["TREE"] = tree
	must(t, os.MkdirAll(filepath.Join(tree, ".github/workflows"), 0o700))
	workflow := told(t, read(t, "../../../.github/workflows/deploy.yml"), "job.workflow_repository", "job.workflow_sha")
	must(t, os.WriteFile(filepath.Join(tree, ".github/workflows/deploy.yml"), []byte(workflow), 0o600))
	must(t, os.WriteFile(filepath.Join(tree, "action.yml"), []byte(told(t, read(t, "../../../action.yml"), "job.workflow_repository")), 0o600))
	j.action(tree)
	for name, stub := range map[string]string{"actions/checkout": checkoutStub, "actions/upload-artifact": uploadStub, "actions/download-artifact": downloadStub} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "action.yml"), []byte("name: stub\n"+stub), 0o600))
		_, rest, ok := strings.Cut(workflow, "uses: "+name+"@")
		if !ok {
			t.Fatalf("deploy.yml does not use %s", name)
		}
		j.args = append(j.args, "--local-repository="+name+"@"+rest[:len(pinnedSHA)]+"="+dir)
	}
	j.args = append(j.args, "-P", "ubuntu-24.04=-self-hosted", "-s", "GITHUB_TOKEN="+p.job.Token(map[string]string{"contents": "read"}))
	for name, value := range map[string]string{
		"GITHUBTEST": front.URL, "GITHUB_API_URL": p.github.URL(), "GITHUB_RUN_ID": fmt.Sprint(p.run.ID), "GITHUB_RUN_ATTEMPT": "1", "SHA_REF": p.repo.Head("main"),
		"ACTIONS_ID_TOKEN_REQUEST_URL": front.URL + "/token?v=1", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "the-test-has-the-jobs-own",
	} {
		j.vars[name] = value
	}
	return p, j
}

// told replaces what GitHub tells a job of the file that it is defined in, which act does
// not know.
func told(t *testing.T, text string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if !strings.Contains(text, name+" }}") {
			t.Fatalf("nothing asks for %s: %s", name, text)
		}
		text = strings.ReplaceAll(text, name+" }}", map[string]string{"job.workflow_repository": "'sallyport/sallyport'", "job.workflow_sha": "'" + pinnedSHA + "'"}[name]+" }}")
	}
	return text
}

func example(t *testing.T, name string) string { t.Helper(); return read(t, threeStages+name) }

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	return string(b)
}

// A walk is one way that a run of deploy.yml can go.
type walk struct {
	name    string
	marker  string   // what goes wrong
	presses []string // at production's gate, then at rollback's
	begun   string   // the jobs that began
	ran     string   // those whose command ran
	ok      bool
}

// The reusable workflow deploy.yml, called as docs/examples/three-stages calls it: the same
// bytes through dev, staging and, once a human has approved, production, each with a
// credential of its own that ends with the command. All run at once, since most of each is
// waiting.
func TestRunnerStages(t *testing.T) {
	t.Parallel()
	theAct(t)
	walks := []walk{
		{"all three", "", []string{"approve"}, "dev staging production", "dev staging production", true},
		{"another artifact", "replace-staging", nil, "dev staging", "dev", false},
		{"production is rejected", "", []string{"reject"}, "dev staging production", "dev staging", false},
		{"production fails", "fail-production", []string{"approve", "approve"}, "dev staging production rollback", "dev staging production rollback", false},
	}
	var pipelines []*pipeline
	var runs []*running
	for _, w := range walks {
		p, j := newPipeline(t)
		if dir := filepath.Join(j.seen, w.marker); w.marker != "" {
			must(t, os.Mkdir(dir, 0o700))
			must(t, os.WriteFile(filepath.Join(dir, "deploy.sh"), []byte(deployScript), 0o600))
			must(t, os.WriteFile(filepath.Join(dir, "payload"), []byte("another\n"), 0o600))
		}
		pipelines, runs = append(pipelines, p), append(runs, j.start("push", push()))
	}
	for i, stage := range []string{"production", "rollback"} {
		for n, w := range walks {
			if i >= len(w.presses) {
				continue
			}
			runs[n].until("[deploy/deploy/"+stage, "Held for a human: ")
			if len(runs[n].found("env-"+stage)) > 0 {
				t.Errorf("%s: %s ran before anybody approved it: %s", w.name, stage, runs[n].log)
			}
			pipelines[n].press(w.presses[i])
		}
	}
	for n, w := range walks {
		w.check(pipelines[n], runs[n].end())
	}
}

// check holds a run that has ended against what it was to come to.
func (w *walk) check(p *pipeline, r *running) {
	t := p.t
	t.Helper()
	if (r.code == 0) != w.ok {
		t.Errorf("%s: exit %d: %s", w.name, r.code, r.log)
		return
	}
	if got := strings.Join(p.begun, " "); got != w.begun {
		t.Errorf("%s: began: %s, want %s: %s", w.name, got, w.begun, r.log)
	}
	var secrets []string
	for _, stage := range []string{"dev", "staging", "production", "rollback"} {
		if !slices.Contains(strings.Fields(w.ran), stage) {
			if len(r.found("env-"+stage)) > 0 {
				t.Errorf("%s: %s ran: %s", w.name, stage, r.log)
			}
			continue
		}
		env := r.see("env-" + stage)
		_, token, _ := strings.Cut(env, "\nSALLYPORT_TOKEN=")
		token, _, _ = strings.Cut(token, "\n")
		if token == "" || slices.Contains(secrets, token) || strings.Contains(env, "ACTIONS_ID_TOKEN_REQUEST") {
			t.Errorf("%s: %s has %q in %s", w.name, stage, token, env)
		}
		secrets = append(secrets, token)
		if p.alive(token) {
			t.Errorf("%s: %s: the credential outlives its command", w.name, stage)
		}
		if files := r.see("files-" + stage); files != "deploy.sh\npayload\n" || r.see("payload-"+stage) != "what is deployed\n" {
			t.Errorf("%s: %s finds %q", w.name, stage, files)
		}
	}
	clean(t, w.name+": the log", r.log.String(), secrets...)
	if !strings.Contains(r.log.String(), "sallyport: release v1.2.4\n") || strings.Contains(r.log.String(), "built from the source") {
		t.Errorf("%s: it does not run what the action's tree vouches for: %s", w.name, r.log)
	}
	if want := sum(t, filepath.Join(r.seen, "artifact-77/artifact.tar.gz")); w.ok && r.see("digest") != want {
		t.Errorf("%s: the digest is %q, want %q", w.name, r.see("digest"), want)
	}
}

// sum is the SHA-256 of a file, in hex.
func sum(t *testing.T, name string) string {
	t.Helper()
	s := sha256.Sum256([]byte(read(t, name)))
	return hex.EncodeToString(s[:])
}
