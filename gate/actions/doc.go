// Package actions is the inside of a GitHub Actions job: what the job knows of
// itself, what it tells its runner, and what it asks of Sallyport's server.
//
//	job := actions.New(getenv, os.Stdout)
//	env, err := job.Env()
//	client, err := actions.NewClient(actions.Config{Server: url, Token: job.IDToken})
//	state, err := client.Hold(ctx)
//
// Everything that comes from an event, a branch or a pull request is foreign. What is
// written for the runner ([Job.Output], [Job.Annotate], [Job.Say], [Job.Summary]) stands
// there as it is: nothing in it ends a value, starts a command or formats a page.
//
// A credential is masked ([Job.Mask]) before anything else is done with it. Masks hide
// it from the log of this job and from nothing else.
package actions
