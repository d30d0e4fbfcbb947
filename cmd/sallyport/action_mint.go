package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/gate/actions"
)

const (
	// mintTime is how long a credential is tried to be had, revokeTime to be ended.
	mintTime   = time.Minute
	revokeTime = 45 * time.Second
)

func (a *app) actionMintCommand() *cobra.Command {
	return a.stepCommand(&cobra.Command{
		Use:   "mint",
		Short: "Get a credential for this job, as outputs, variables or a file",
		Annotations: map[string]string{"exit": `0  given
1  refused, or something could not be read
2  an input is wrong
3  refused: nobody has released this job, or not in a way that still counts`},
	}, func(ctx context.Context, s *step) error { return s.mint(ctx) })
}

func (a *app) actionRevokeCommand() *cobra.Command {
	return a.stepCommand(&cobra.Command{
		Use:   "revoke",
		Short: "End what mint got, in a step with `if: always()`",
		Annotations: map[string]string{"exit": `0  ended, now or before, or there was none
1  it may be alive: it could not be ended
2  an input is wrong`},
	}, func(ctx context.Context, s *step) error { return s.revoke(ctx) })
}

// mint gets a credential and hands it on. Whatever goes wrong once it was given ends it.
func (s *step) mint(ctx context.Context) error {
	name, as := s.job.Input("credential"), s.job.Input("as")
	if !actions.CredentialName(name) {
		return refuse("the input credential is %q: want the name of one of the policy's credentials", name)
	}
	hand := map[string]func(*actions.Lease) error{"": s.asOutputs, "outputs": s.asOutputs, "env": s.asEnv, "file": s.asFile}[as]
	if hand == nil {
		return refuse("the input as is %q: want outputs, env or file", as)
	}
	if p := s.job.Input("prefix"); p != "" && !prefixForm(p) {
		return refuse("the input prefix is %q: want capital letters, digits and underscores, such as DB_", p)
	}
	client, err := s.connect()
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, mintTime)
	defer cancel()
	l, err := client.Lease(limited, name)
	if err != nil {
		return refused(name, err)
	}
	// Before anything else is done with it.
	err = s.job.Mask(l.Secrets()...)
	if err == nil {
		err = s.outputs(
			[2]string{"lease-id", l.ID}, [2]string{"lease-secret", l.Secret.Reveal()}, [2]string{"credential", l.Credential},
			[2]string{"environment", l.Environment}, [2]string{"expires-at", l.ExpiresAt.UTC().Format(time.RFC3339)},
		)
	}
	if err == nil {
		err = hand(&l)
	}
	if err == nil {
		err = ctx.Err() // the job is being cancelled
	}
	if err != nil {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTime)
		defer cancel()
		return errors.Join(err, client.EndLease(ending, l.ID, l.Secret))
	}
	s.job.Say(fmt.Sprintf("%s for %s: given until %s.", l.Credential, visible(l.Environment), l.ExpiresAt.UTC().Format("15:04:05 UTC")))
	return s.print(l)
}

// refused turns the refusal of a credential into an exit code.
func refused(credential string, err error) error {
	err = fmt.Errorf("no credential %s: %w", credential, err)
	var p *actions.Problem
	if errors.As(err, &p) && p.NeedsHuman() {
		return &codeError{code: ExitHuman, err: err}
	}
	return err
}

// asOutputs gives each value as an output of its own name, and all as values.
func (s *step) asOutputs(l *actions.Lease) error {
	for _, key := range l.Keys() {
		if err := s.job.Output(strings.ReplaceAll(key, "_", "-"), l.Values[key].Reveal()); err != nil {
			return err
		}
	}
	all, err := valuesJSON(l)
	if err != nil {
		return err
	}
	// JSON may spell a value otherwise than it is, so that it is masked whole too.
	if err := s.job.Mask(all); err != nil {
		return err
	}
	return s.job.Output("values", all.Reveal())
}

// asEnv gives the values to every later step of the job.
func (s *step) asEnv(l *actions.Lease) error {
	vars, _ := variables([]actions.Lease{*l}, s.job.Input("prefix"))
	for _, v := range vars.set {
		if err := s.job.SetEnv(v.name, v.value.Reveal()); err != nil {
			return err
		}
	}
	s.job.Say("Every later step of this job, those of other people's actions too, sees the credential: revoke it as soon as it is not needed.")
	return nil
}

// asFile writes the values as JSON into a file that only this user can read.
func (s *step) asFile(l *actions.Lease) error {
	all, err := valuesJSON(l)
	if err != nil {
		return err
	}
	dir, err := actions.PrivateDir(s.env.Temp)
	if err != nil {
		return err
	}
	file, err := actions.WritePrivate(dir, "credential.json", all)
	if err == nil {
		err = s.job.Output("file", file)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

// valuesJSON is a lease's values as one JSON object.
func valuesJSON(l *actions.Lease) (actions.Secret, error) {
	plain := map[string]string{}
	for k, v := range l.Values {
		plain[k] = v.Reveal()
	}
	b, err := json.Marshal(plain, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return "", errors.New("a value of the credential cannot be written as JSON") // what err says may be one
	}
	return actions.Secret(b), nil
}

// revoke ends a lease. It says nothing of one that had ended before, and is loud about
// one that may be alive.
func (s *step) revoke(ctx context.Context) error {
	id, secret, file := s.job.Input("lease-id"), actions.Secret(s.job.Input("lease-secret")), s.job.Input("file")
	var errs []error
	if file != "" {
		errs = append(errs, actions.RemovePrivate(s.env.Temp, file))
	}
	if id == "" && secret == "" {
		s.job.Say("There is no lease to end.")
		return errors.Join(errs...)
	}
	client, err := s.connect()
	if err == nil {
		limited, cancel := context.WithTimeout(ctx, revokeTime)
		defer cancel()
		err = client.EndLease(limited, id, secret)
	}
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("the lease %s may be alive until this job ends, at the latest until its deadline: %w", visible(id), err))...)
	}
	s.job.Say("The lease " + visible(id) + " has ended.")
	return errors.Join(errs...)
}
