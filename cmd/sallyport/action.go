package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/gate/actions"
)

func (a *app) actionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "action <command>",
		Short: "What action.yml calls inside a job of GitHub Actions",
		Long: `What action.yml calls inside a job of GitHub Actions. Inputs are read from the
variables INPUT_NAME, results go to the runner's files. See docs/action.md.`,
		Example: `- uses: sallyport/sallyport@COMMIT
  with: {command: gate, server: "https://sallyport.acme.internal"}`,
		Args: a.subcommand,
		RunE: help,
	}
	c.AddCommand(a.actionClassifyCommand(), a.actionGateCommand(), a.actionMintCommand(), a.actionRevokeCommand())
	return c
}

// step is one run of a command of the action.
type step struct {
	*app

	job    *actions.Job
	env    actions.Env
	format format
}

// stepCommand makes a command of the action.
func (a *app) stepCommand(c *cobra.Command, run func(context.Context, *step) error) *cobra.Command {
	c.Args = atMost(0)
	f := addFormat(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		s, err := a.openStep(*f)
		if err != nil {
			return err
		}
		ctx, stop := interruptible(c.Context())
		defer stop()
		err = run(ctx, s)
		var code *codeError
		if err == nil || errors.As(err, &code) && code.err == nil {
			return err
		}
		return s.fail(err)
	}
	return c
}

// openStep opens the job. Commands for the runner go to standard output, or to standard
// error where that is kept for JSON: the runner reads both.
func (a *app) openStep(f format) (*step, error) {
	commands := a.stdout
	if f == formatJSON {
		commands = a.stderr
	}
	job := actions.New(func(key string) string { return getenv(a.env, key) }, commands)
	env, err := job.Env()
	if errors.Is(err, actions.ErrNoJob) {
		return nil, refuse("%w; on your own machine use: sallyport check", err)
	}
	return &step{app: a, job: job, env: env, format: f}, err
}

// fail says on the run's page why the step failed, and ends with its exit code.
func (s *step) fail(err error) error {
	code := ExitError
	var c *codeError
	if errors.As(err, &c) {
		code = c.code
	}
	if said := s.job.Annotate(actions.Annotation{Level: actions.Failure, Title: "Sallyport", Message: visible(err.Error())}); said != nil {
		return errors.Join(err, said)
	}
	return &codeError{code: code}
}

// outputs sets outputs of the step in the order given, of which each is a name and a
// value.
func (s *step) outputs(pairs ...[2]string) error {
	for _, p := range pairs {
		if err := s.job.Output(p[0], p[1]); err != nil {
			return err
		}
	}
	return nil
}

// print writes the command's result where JSON is wanted.
func (s *step) print(v any) error {
	if s.format != formatJSON {
		return nil
	}
	return s.printJSON(v)
}

// compact is a value as one line of JSON.
func compact(v any) (string, error) {
	b, err := json.Marshal(v, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	return string(b), err
}

// server is the address of the server that a job asks; empty if there is none.
func (s *step) server() string {
	if v := s.job.Input("server"); v != "" {
		return v
	}
	return getenv(s.app.env, "SALLYPORT_URL")
}

// client asks a server in the job's name.
func (a *app) client(job *actions.Job, server, audience string, retry func(error, time.Duration)) (*actions.Client, error) {
	c, err := actions.NewClient(actions.Config{Server: server, Audience: audience, Token: job.IDToken, UserAgent: "sallyport/" + versionName(), Retry: retry})
	if err != nil {
		return nil, refuse("%w", err)
	}
	return c, nil
}

// connect is client for a step, with the inputs that name the server.
func (s *step) connect() (*actions.Client, error) {
	server := s.server()
	if server == "" {
		return nil, refuse("no server: give the input server, or the variable SALLYPORT_URL")
	}
	return s.client(s.job, server, s.job.Input("audience"), s.again)
}

// again says in the log that something is tried again.
func (s *step) again(why error, in time.Duration) {
	s.job.Say(fmt.Sprintf("Trying again in %s: %s", in.Round(100*time.Millisecond), visible(why.Error())))
}

// switched is an input that is true or false.
func (s *step) switched(name string) (bool, error) {
	switch v := s.job.Input(name); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, refuse("the input %s is %q: want true or false", name, v)
	}
}
