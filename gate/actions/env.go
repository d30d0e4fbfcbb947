package actions

import (
	"cmp"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/rules"
)

// Secret is a text that prints as a placeholder. Reveal gives it.
type Secret string

// String hides it.
func (Secret) String() string { return "(secret)" }

// GoString hides it.
func (Secret) GoString() string { return "(secret)" }

// LogValue hides it.
func (Secret) LogValue() slog.Value { return slog.StringValue("(secret)") }

// MarshalText hides it.
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// Reveal is the text itself, for a header, a mask or a child's environment.
func (s Secret) Reveal() string { return string(s) }

// Env is what a job knows of itself, by the runner's variables
// (https://docs.github.com/actions/reference/workflows-and-actions/variables). An
// earlier step of the job can have changed any of it but the OIDC token, so it is for
// finding things, never for granting them.
type Env struct {
	// APIURL, GraphQLURL and ServerURL are GitHub's addresses, without a slash at the
	// end; those of github.com where the runner names none.
	APIURL, GraphQLURL, ServerURL string
	// Token is the job's GITHUB_TOKEN, as the input token has it; empty if it was not
	// handed on.
	Token Secret

	Repository rules.Repository
	Owner      rules.AccountID
	Run        rules.RunID
	Attempt    int
	// JobKey is the job's key in its workflow file.
	JobKey string

	// Event is what started the run, EventPath the file with its payload.
	Event, EventPath string
	// Ref is the full reference that the run is of, SHA its commit: of a pull_request
	// event refs/pull/N/merge and the test merge, not the head.
	Ref string
	SHA rules.SHA
	// HeadRef and BaseRef are a pull request's branches; empty for other events.
	HeadRef, BaseRef string
	// WorkflowRef is owner/name/path@ref of the run's workflow file, WorkflowSHA the
	// commit that it was read at.
	WorkflowRef string
	WorkflowSHA rules.SHA
	// Actor started the run; Triggerer this attempt of it.
	Actor     rules.Actor
	Triggerer rules.Login

	// Environment is the GitHub environment that the job names, as the input
	// environment says: the runner has no variable for it. Empty is unknown.
	Environment string

	// Workspace is where the repository is checked out, Temp a folder that is emptied
	// before and after the job.
	Workspace, Temp string
}

// Env reads what the job knows of itself. The error names the variable that is
// missing or no number.
func (j *Job) Env() (Env, error) {
	get := j.getenv
	if get("GITHUB_ACTIONS") != "true" {
		return Env{}, ErrNoJob
	}
	e := Env{
		APIURL:      strings.TrimRight(cmp.Or(get("GITHUB_API_URL"), "https://api.github.com"), "/"),
		GraphQLURL:  strings.TrimRight(cmp.Or(get("GITHUB_GRAPHQL_URL"), "https://api.github.com/graphql"), "/"),
		ServerURL:   strings.TrimRight(cmp.Or(get("GITHUB_SERVER_URL"), "https://github.com"), "/"),
		Token:       Secret(cmp.Or(j.Input("token"), get("GITHUB_TOKEN"))),
		Repository:  rules.Repository{FullName: get("GITHUB_REPOSITORY")},
		JobKey:      get("GITHUB_JOB"),
		Event:       get("GITHUB_EVENT_NAME"),
		EventPath:   get("GITHUB_EVENT_PATH"),
		Ref:         get("GITHUB_REF"),
		SHA:         rules.SHA(get("GITHUB_SHA")),
		HeadRef:     get("GITHUB_HEAD_REF"),
		BaseRef:     get("GITHUB_BASE_REF"),
		WorkflowRef: get("GITHUB_WORKFLOW_REF"),
		WorkflowSHA: rules.SHA(get("GITHUB_WORKFLOW_SHA")),
		Actor:       rules.Actor{Login: rules.Login(get("GITHUB_ACTOR"))},
		Triggerer:   rules.Login(get("GITHUB_TRIGGERING_ACTOR")),
		Environment: j.Input("environment"),
		Workspace:   get("GITHUB_WORKSPACE"),
		Temp:        get("RUNNER_TEMP"),
	}
	var attempt int64
	for _, n := range []struct {
		name     string
		into     *int64
		required bool
	}{
		{"GITHUB_REPOSITORY_ID", (*int64)(&e.Repository.ID), false},
		{"GITHUB_REPOSITORY_OWNER_ID", (*int64)(&e.Owner), false},
		{"GITHUB_ACTOR_ID", (*int64)(&e.Actor.ID), false},
		{"GITHUB_RUN_ID", (*int64)(&e.Run), true},
		{"GITHUB_RUN_ATTEMPT", &attempt, true},
	} {
		text := get(n.name)
		if text == "" && !n.required {
			continue
		}
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v <= 0 {
			return Env{}, fmt.Errorf("%s is %q: want a number, as the runner sets it", n.name, text)
		}
		*n.into = v
	}
	e.Attempt = int(attempt)
	return e, nil
}
