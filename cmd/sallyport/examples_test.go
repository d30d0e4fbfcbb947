package main

import (
	"bytes"
	"cmp"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"gopkg.in/yaml.v3"

	"github.com/sallyport/sallyport/rules"
)

// A workflowFile is what these tests read of a workflow.
type workflowFile struct {
	On          yaml.Node              `yaml:"on"`
	Permissions map[string]string      `yaml:"permissions"`
	Jobs        map[string]workflowJob `yaml:"jobs"`
}

type workflowJob struct {
	Uses        string            `yaml:"uses"`
	With        map[string]string `yaml:"with"`
	Secrets     map[string]string `yaml:"secrets"`
	Permissions map[string]string `yaml:"permissions"`
	Steps       []struct {
		Name string            `yaml:"name"`
		Uses string            `yaml:"uses"`
		Run  string            `yaml:"run"`
		With map[string]string `yaml:"with"`
	} `yaml:"steps"`
}

// names are what a reusable workflow or an action declares.
type names struct {
	Inputs  map[string]struct{ Required bool } `yaml:"inputs"`
	Secrets map[string]struct{ Required bool } `yaml:"secrets"`
}

func readYAML(t *testing.T, file string, into any) (text string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return string(b)
}

func matches(t *testing.T, patterns ...string) []string {
	t.Helper()
	var out []string
	for _, p := range patterns {
		files, err := filepath.Glob(p)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no file (%v)", p, err)
		}
		out = append(out, files...)
	}
	return out
}

const (
	ourWorkflows     = "../../.github/workflows/*.yml"
	exampleWorkflows = "../../docs/examples/*/workflows/*.yml"
	ownAction        = "sallyport/sallyport"
)

// TestWorkflows holds every workflow here, and those that people copy, to what they
// promise: nothing mutable runs, no text becomes a command, no job gets a right that it
// does not name.
func TestWorkflows(t *testing.T) {
	pinned := regexp.MustCompile(`^([A-Za-z0-9._/-]+)@([0-9a-f]{40})$`)
	versions := map[string]string{} // of action@sha
	for _, file := range matches(t, ourWorkflows, exampleWorkflows) {
		var w workflowFile
		text := readYAML(t, file, &w)
		uses := func(ref string) {
			if strings.HasPrefix(ref, "./") {
				return
			}
			m := pinned.FindStringSubmatch(ref)
			if m == nil {
				t.Errorf("%s: %q is not pinned to a full commit", file, ref)
				return
			}
			if m[1] == ownAction || strings.HasPrefix(m[1], ownAction+"/") {
				return
			}
			said := regexp.MustCompile(`uses: `+regexp.QuoteMeta(ref)+`(.*)`).FindAllStringSubmatch(text, -1)
			for _, s := range said {
				if !regexp.MustCompile(`^ # v\d+\.\d+\.\d+$`).MatchString(s[1]) {
					t.Errorf("%s: %s is followed by %q, want its version, such as \" # v1.2.3\"", file, ref, s[1])
				} else if had, ok := versions[ref]; ok && had != s[1] {
					t.Errorf("%s: %s is%s here and%s elsewhere", file, ref, s[1], had)
				}
				versions[ref] = s[1]
			}
		}
		if w.Permissions == nil {
			t.Errorf("%s: no permissions: the token has what the repository's settings give", file)
		}
		for scope, access := range w.Permissions {
			if access != "read" && access != "none" {
				t.Errorf("%s: every job gets %s: %s; name it at the job that needs it", file, scope, access)
			}
		}
		for name, job := range w.Jobs {
			if job.Uses != "" {
				uses(job.Uses)
			}
			onPath := false
			for _, step := range job.Steps {
				own := step.Uses == "./.sallyport" || strings.HasPrefix(step.Uses, ownAction+"@")
				onPath = onPath || own && step.With["command"] == "setup"
				if !onPath && regexp.MustCompile(`(?m)^\s*sallyport `).MatchString(step.Run) {
					t.Errorf("%s: job %s runs sallyport, which no step before has put on the PATH", file, name)
				}
				if own && step.With["command"] == "gate" && step.With["server"] == "" && step.With["environment"] == "" {
					t.Errorf("%s: job %s: gate without a server has to be told its environment", file, name)
				}
				for _, scope := range asks(own, step.With, step.Run) {
					scope, access, _ := strings.Cut(scope, ": ")
					if has := cmp.Or(job.Permissions[scope], w.Permissions[scope]); has != access && has != "write" {
						t.Errorf("%s: job %s has no %s: %s, which its step %q asks for", file, name, scope, access, cmp.Or(step.With["command"], step.Run))
					}
				}
				if step.Uses != "" {
					uses(step.Uses)
				}
				if strings.Contains(step.Run, "${{") {
					t.Errorf("%s: job %s: an expression in a run: text would become a command: %q", file, name, step.Run)
				}
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != "false" {
					t.Errorf("%s: job %s: checkout leaves its token behind", file, name)
				}
			}
		}
	}
}

// asks are the permissions that a step of ours asks for: with a server the job's token of
// GitHub's issuer, without one what docs/standalone.md says.
func asks(own bool, with map[string]string, run string) []string {
	command := with["command"]
	switch {
	case own && command == "mint", own && command == "gate" && with["server"] != "", strings.Contains(run, "sallyport exec"):
		return []string{"id-token: write"}
	case own && command == "gate":
		return []string{"actions: read", "checks: read", "contents: read", "deployments: read", "pull-requests: read", "statuses: read"}
	default:
		return nil
	}
}

// TestReusableWorkflowsGiveNoSecretToCode looks at what runs the code of others.
func TestReusableWorkflowsGiveNoSecretToCode(t *testing.T) {
	var deploy, task, release workflowFile
	readYAML(t, "../../.github/workflows/deploy.yml", &deploy)
	taskText := readYAML(t, "../../.github/workflows/agent-task.yml", &task)
	releaseText := readYAML(t, "../../.github/workflows/release.yml", &release)
	for name, job := range deploy.Jobs {
		for _, s := range job.Steps {
			if strings.HasPrefix(s.Uses, "actions/cache") {
				t.Errorf("deploy.yml: job %s takes a cache that others can fill", name)
			}
		}
		for scope, access := range job.Permissions {
			if access != "read" && (access != "write" || scope != "id-token" || name == "build") {
				t.Errorf("deploy.yml: job %s gets %s: %s", name, scope, access)
			}
		}
	}
	for scope, access := range task.Jobs["work"].Permissions {
		if access != "read" && scope != "id-token" {
			t.Errorf("agent-task.yml: the agent's job gets %s: %s", scope, access)
		}
	}
	before, propose, proposes := strings.Cut(taskText, "\n  propose:")
	_, work, works := strings.Cut(before, "\n  work:")
	if !proposes || !works {
		t.Fatal("agent-task.yml: want the jobs work and propose, in that order")
	}
	if strings.Contains(propose, "inputs.command") || strings.Contains(propose, "agent_key") || strings.Contains(propose, "id-token") {
		t.Error("agent-task.yml: the job that can write runs the agent's command, has its key, or can ask for a token")
	}
	if strings.Contains(work, "app_private_key") {
		t.Error("agent-task.yml: the agent's job has its App's key")
	}
	for scope, access := range release.Jobs["build"].Permissions {
		if access != "read" {
			t.Errorf("release.yml: the job that builds gets %s: %s", scope, access)
		}
	}
	if strings.Contains(releaseText, "actions/cache") || strings.Count(releaseText, "actions/setup-go@") != strings.Count(releaseText, "cache: false") {
		t.Error("release.yml takes a cache that others can fill")
	}
}

// TestExamples has each example's policy linted, and its workflows, policy and targets
// agree with each other and with what they call.
func TestExamples(t *testing.T) {
	for _, file := range matches(t, "../../docs/examples/*/sallyport.yml") {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := Main([]string{"policy", "lint", file}, nil, strings.NewReader(""), &out, &errs); code != ExitOK || strings.Contains(out.String(), "warning") {
				t.Errorf("sallyport policy lint ends with %d: %s%s", code, &out, &errs)
			}
			var policy struct {
				Credentials map[string]struct{ Environment, Target, Workflow string }
			}
			text := readYAML(t, file, &policy)
			if _, problems := rules.LoadPolicy(file, []byte(text)); rules.HasErrors(problems) {
				t.Error(problems)
			}
			called := map[string]bool{}
			var all strings.Builder
			for _, name := range matches(t, dir+"/workflows/*.yml") {
				var w workflowFile
				all.WriteString(readYAML(t, name, &w))
				called[filepath.Base(name)] = true
				for _, job := range w.Jobs {
					if job.Uses != "" {
						called[job.Uses] = true
						checkCall(t, job.Uses, job.With, job.Secrets, job.Permissions)
					}
					for _, step := range job.Steps {
						if strings.HasPrefix(step.Uses, ownAction+"@") {
							var action names
							readYAML(t, "../../action.yml", &action)
							checkNames(t, "action.yml", "input", step.With, action.Inputs)
						}
					}
				}
			}
			for name, c := range policy.Credentials {
				if !called[c.Workflow] {
					t.Errorf("credential %s is for %s, which is no workflow of this example", name, c.Workflow)
				}
				if !strings.Contains(all.String(), name) {
					t.Errorf("no workflow asks for credential %s", name)
				}
			}
			b, err := os.ReadFile(dir + "/targets.yml")
			if os.IsNotExist(err) {
				return
			}
			targets, problems := rules.LoadTargets("targets.yml", b)
			if err != nil || rules.HasErrors(problems) {
				t.Fatal(err, problems)
			}
			for name, c := range policy.Credentials {
				if _, ok := targets.Targets[c.Target]; !ok {
					t.Errorf("credential %s: targets.yml has no %s", name, c.Target)
				}
			}
		})
	}
}

// checkCall holds a call of a reusable workflow against the file itself.
func checkCall(t *testing.T, ref string, with, secrets, permissions map[string]string) {
	t.Helper()
	file, _, _ := strings.Cut(strings.TrimPrefix(ref, ownAction+"/"), "@")
	var w workflowFile
	readYAML(t, filepath.Join("../..", filepath.FromSlash(file)), &w)
	var on struct {
		Call names `yaml:"workflow_call"`
	}
	if err := w.On.Decode(&on); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	checkNames(t, path.Base(file), "input", with, on.Call.Inputs)
	checkNames(t, path.Base(file), "secret", secrets, on.Call.Secrets)
	// GitHub refuses a called job that asks for more than the calling job has.
	for name, job := range w.Jobs {
		for scope, access := range job.Permissions {
			if has := permissions[scope]; has != access && has != "write" {
				t.Errorf("%s: job %s needs %s: %s, the caller has %q", file, name, scope, access, has)
			}
		}
	}
}

func checkNames(t *testing.T, file, kind string, given map[string]string, declared map[string]struct{ Required bool }) {
	t.Helper()
	for name := range given {
		if _, ok := declared[name]; !ok {
			t.Errorf("%s has no %s %q", file, kind, name)
		}
	}
	for name, d := range declared {
		if _, ok := given[name]; d.Required && !ok {
			t.Errorf("%s needs the %s %q", file, kind, name)
		}
	}
}

// TestAgentTask runs the steps of the job that opens an agent's pull request, those that
// need no GitHub, on what an agent's job may leave. It needs bash, git and jq, as
// GitHub's runners have them.
func TestAgentTask(t *testing.T) {
	var w workflowFile
	readYAML(t, "../../.github/workflows/agent-task.yml", &w)
	steps := map[string]string{}
	for _, s := range w.Jobs["propose"].Steps {
		steps[s.Name] = s.Run
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/agenttask",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			for k, v := range map[string]string{"GIT_CONFIG_GLOBAL": os.DevNull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CEILING_DIRECTORIES": e.WorkDir} {
				e.Setenv(k, v)
			}
			for file, name := range map[string]string{"commit.sh": "Commit, naming the agent", "refuse.sh": "Refuse what is protected"} {
				if steps[name] == "" {
					t.Errorf("agent-task.yml has no step %q", name)
				}
				if err := os.WriteFile(filepath.Join(e.WorkDir, file), []byte(steps[name]), 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	})
}
