// Package standalone judges inside a workflow job, without a server, with nothing but
// the job's own token:
//
//	j, err := standalone.New(standalone.Job{APIURL: …, Token: …, Repository: …, Run: …})
//	v, err := j.Gate(ctx)          // may this job go on?
//	c, p, err := j.Change(ctx, 7)  // the facts and policies of a pull request
//
// It asks the same judges as the App, on facts that it reads from GitHub the same way.
// What it lacks is memory and standing: nobody told it of pushes and clicks, it reads no
// team, and it takes no approval of a deployment. So it serves policies whose reviewers
// are users and whose environments ask at the merge only; of all else it says that it
// needs the App ([NeedsApp]). docs/standalone.md says what it cannot promise.
//
//	alone.go    the job, the verdict, and the way through
//	policy.go   the policies that are judged under, and who their names are
//	change.go   one pull request, open or merged
//	deploy.go   one deployment: where it stands and what it brings
//	base.go     from which commit on it is counted
//	say.go      one line: who can approve, and where
//
// # From where a deployment is counted
//
// The App remembers what it released. Here the record is GitHub's own list of runs: the
// last run of this workflow file that succeeded as a whole, at a commit that the branch
// once stood at, with a job of this environment whose gate step succeeded, under a policy
// that enforced. Whoever can bring about such a run without a gate has to change the
// workflow, and to change it back for the next gated run: that second change is part of
// what the next one judges. What is left out makes the range longer, never shorter. A
// commit that the workflow file itself names ("since") counts as well: no commit can name
// itself, so that the change that wrote it there is always among what is judged.
package standalone
