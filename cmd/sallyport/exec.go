package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/gate/actions"
)

// The exit codes of exec where the command itself has none, as shells have them.
const (
	exitCannotRun = 126
	exitNotFound  = 127
	exitSignal    = 128 // plus the signal's number
)

// leaser gives credentials and ends them: to a job by its OIDC token, to a person by a
// login.
type leaser interface {
	// Lease gives a credential of the policy's. An error means that nothing of it is of
	// use to whoever asked.
	Lease(ctx context.Context, credential string) (actions.Lease, error)
	// EndLease ends it: nil means that nothing of it is alive.
	EndLease(ctx context.Context, id string, secret actions.Secret) error
}

type execOptions struct {
	credentials []string
	server      string
	audience    string
	repository  string
	shape       shape
	keepOIDC    bool
	kill        bool
}

func (a *app) execCommand() *cobra.Command {
	var o execOptions
	var maps, files []string
	c := &cobra.Command{
		Use:   "exec --credential <name> [flags] -- <command> [<argument> ...]",
		Short: "Run a command with a credential that ends when it does",
		Long: `Get a credential, run a command that has it in its environment, and end the
credential when the command ends: by itself, by a signal, or because it could not
be started. Nothing else gets it: no later step, no parent, no file unless --file
says so.

The command's input, output and exit code are its own. Signals are passed on to it;
the second one also kills it, a second later. If sallyport itself is killed, the
server ends the credential when the job ends, at the latest at its deadline.

Unless --no-defaults is given the command finds each value of the credential as
SALLYPORT_NAME_KEY, and under the names that programs know: DATABASE_URL and PGHOST,
PGPORT, PGDATABASE, PGUSER, PGPASSWORD; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN, AWS_REGION; SALLYPORT_TOKEN.`,
		Example: `$ sallyport exec --credential orders-migrator -- ./migrate up
$ sallyport exec --credential orders-aws -- terraform apply plan.out
$ sallyport exec --credential registry --no-defaults --map REGISTRY_TOKEN=token -- ./push
$ sallyport exec --credential orders-migrator --file DB_URL_FILE=url -- ./migrate up`,
		Annotations: map[string]string{"exit": `n    what the command ended with; 128+n if a signal ended it
1    no credential: refused, or something could not be read
2    the command line is wrong
3    no credential: nobody has released this job, or not in a way that still counts
126  the command cannot be run
127  there is no such command; no credential was asked for`},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("no command: put it after --")
			}
			return nil
		},
	}
	f := c.Flags()
	f.SetInterspersed(false)
	f.StringArrayVar(&o.credentials, "credential", nil, "Get this credential of the policy's, a `name`; may be given again")
	f.StringVar(&o.server, "server", getenv(a.env, "SALLYPORT_URL"), "Address of the `server` (SALLYPORT_URL)")
	f.StringVar(&o.audience, "audience", "", "Audience of the job's OIDC token, where the server's own `address` is another than --server")
	f.Lookup("server").DefValue = ""
	f.StringVar(&o.repository, "repository", "", "Outside a job: the repository, `OWNER/NAME` (default: that of the remote origin)")
	f.StringVar(&o.shape.prefix, "env", "", "Name the variables `PREFIX`KEY, and by no other name")
	f.BoolVar(&o.shape.bare, "no-defaults", false, "Set no variables but those of --map and --file")
	f.StringArrayVar(&maps, "map", nil, "Set a variable to a value: `VAR=[name.]key`; may be given again")
	f.StringArrayVar(&files, "file", nil, "Write a value into a private file and set a variable to its path: `VAR=[name.]key`; may be given again")
	f.BoolVar(&o.keepOIDC, "keep-oidc", false, "Let the command ask for OIDC tokens of the job, and so for more credentials")
	f.BoolVar(&o.kill, "kill-at-deadline", false, "End the command when the credential's time is over")
	c.RunE = func(c *cobra.Command, args []string) error {
		var err error
		if o.shape.maps, err = readMappings("--map", maps, o.credentials); err != nil {
			return err
		}
		if o.shape.files, err = readMappings("--file", files, o.credentials); err != nil {
			return err
		}
		return a.exec(c.Context(), o, args)
	}
	return c
}

// exec runs a command with credentials.
func (a *app) exec(ctx context.Context, o execOptions, args []string) error {
	if err := o.check(); err != nil {
		return err
	}
	// Before a credential is asked for: each is given to a job once.
	path, err := exec.LookPath(args[0])
	if err != nil {
		code := exitNotFound
		if errors.Is(err, fs.ErrPermission) {
			code = exitCannotRun
		}
		return &codeError{code: code, err: fmt.Errorf("%w; no credential was asked for", err)}
	}
	job := actions.New(func(key string) string { return getenv(a.env, key) }, a.stderr)
	from, err := a.leaser(ctx, job, o)
	if err != nil {
		return err
	}
	signals := watchSignals()
	defer signals.stop()
	s := &session{app: a, job: job, from: from, options: o}
	if err := s.open(ctx, signals); err != nil {
		return errors.Join(err, s.close(ctx))
	}
	code, err := s.run(signals, path, args)
	if ended := s.close(ctx); ended != nil {
		// The command's own exit code stays: what it did is done.
		s.warn(ended.Error())
	}
	if err != nil || code != 0 {
		return &codeError{code: code, err: err}
	}
	return nil
}

func (o *execOptions) check() error {
	if len(o.credentials) == 0 {
		return usage("no --credential: name one of the policy's")
	}
	seen := map[string]bool{}
	for _, name := range o.credentials {
		switch {
		case !actions.CredentialName(name):
			return usage("--credential %q is no name of a credential", name)
		case seen[name]:
			return usage("--credential %s is there twice: each is given to a job once", name)
		}
		seen[name] = true
	}
	if p := o.shape.prefix; p != "" && !prefixForm(p) {
		return usage("--env %q: want capital letters, digits and underscores, such as DB_", p)
	}
	if o.shape.prefix != "" && (o.shape.bare || len(o.credentials) > 1) {
		return usage("--env goes with one credential, and not with --no-defaults")
	}
	return nil
}

// leaser is who gives the credentials.
func (a *app) leaser(ctx context.Context, job *actions.Job, o execOptions) (leaser, error) {
	if !a.inJob() {
		p, err := a.userLeaser(ctx, o.server, o.repository, "")
		if err != nil { // a nil *personLeaser would be a leaser
			return nil, err
		}
		return p, nil
	}
	if o.server == "" {
		return nil, refuse("no server: give --server, or the variable SALLYPORT_URL")
	}
	return a.client(job, o.server, o.audience, func(why error, in time.Duration) {
		fmt.Fprintf(a.stderr, "sallyport: trying again in %s: %s\n", in.Round(100*time.Millisecond), visible(why.Error()))
	})
}

// inJob reports whether this process runs in a job of GitHub Actions.
func (a *app) inJob() bool { return getenv(a.env, "GITHUB_ACTIONS") == "true" }

// session is one command and what it runs with.
type session struct {
	*app

	job     *actions.Job
	from    leaser
	options execOptions

	leases []actions.Lease
	vars   environment
	dir    string // of private files; empty if there are none
}

// open gets the credentials, hides them from the log, and lays them out.
func (s *session) open(ctx context.Context, signals *signals) error {
	ctx, cancel := context.WithTimeout(ctx, mintTime)
	defer cancel()
	stop := signals.whenFirst(cancel)
	defer stop()
	for _, name := range s.options.credentials {
		l, err := s.from.Lease(ctx, name)
		if err != nil {
			return refused(name, err)
		}
		s.leases = append(s.leases, l)
		if err := s.hide(&l); err != nil {
			return err
		}
	}
	var err error
	if len(s.options.shape.files) > 0 {
		if s.dir, err = actions.PrivateDir(getenv(s.app.env, "RUNNER_TEMP")); err != nil {
			return err
		}
	}
	if s.vars, err = s.options.shape.environment(s.leases, s.dir); err != nil {
		return err
	}
	for _, n := range s.vars.notes {
		s.warn(n)
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("interrupted before the command was started: %w", err)
	}
	return nil
}

// hide has the runner mask a credential. It reads commands on standard error too, which,
// unlike standard output, is seldom kept anywhere: where it is a file nothing is written.
func (s *session) hide(l *actions.Lease) error {
	if !s.inJob() {
		return nil
	}
	if f, ok := s.stderr.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			fmt.Fprintln(s.stderr, "sallyport: standard error is a file, so that the runner cannot be told to mask the credential")
			return nil
		}
	}
	return s.job.Mask(l.Secrets()...)
}

// warn says something that is seen on the run's page, in a job.
func (s *session) warn(text string) {
	if s.inJob() {
		_ = s.job.Annotate(actions.Annotation{Level: actions.Warning, Title: "sallyport exec", Message: visible(text)}) // nobody is left to tell
		return
	}
	fmt.Fprintf(s.stderr, "sallyport: %s\n", visible(text))
}

// close ends every credential and removes the files, whatever became of the command.
func (s *session) close(ctx context.Context) error {
	var errs []error
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTime)
	defer cancel()
	for _, l := range s.leases {
		if err := s.from.EndLease(ctx, l.ID, l.Secret); err != nil {
			errs = append(errs, fmt.Errorf("the credential %s may be alive until this job ends, at the latest until %s: %w", l.Credential, l.ExpiresAt.UTC().Format(time.RFC3339), err))
		}
	}
	return errors.Join(errs...)
}
