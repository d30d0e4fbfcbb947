package rules

import "time"

// Change is what a pull request, or a branch that may become one, would bring:
// the facts that [DecideChange] judges, all read at one moment for one head.
//
// Its JSON form is one line of sallyport classify. Names follow GitHub's REST
// API. A field that is absent is unknown, and the unknown is judged strictly; an
// empty list says that there is none.
type Change struct {
	// Key is echoed as the decision's id. It means nothing to the judges.
	Key string `json:"id,omitzero"`

	Repository Repository `json:"repository,omitzero"`
	Number     int        `json:"number,omitzero"`
	Title      string     `json:"title,omitzero"`
	Body       string     `json:"body,omitzero"`
	Labels     []string   `json:"labels,omitzero"`
	Draft      Tri        `json:"draft,omitzero"`

	// Author opened the pull request; App is the slug of the App it was opened
	// through, if any.
	Author Actor `json:"author,omitzero"`
	App    Slug  `json:"app,omitzero"`

	Head Head `json:"head,omitzero"`
	Base Base `json:"base,omitzero"`

	// Files are the changed files between the merge base and Head.SHA. Unless
	// FilesComplete is Yes there are others, and the change touches everything.
	Files         []File `json:"files,omitzero"`
	FilesComplete Tri    `json:"files_complete,omitzero"`

	// Commits are all commits reachable from Head.SHA and not from the base,
	// those behind a merge's second parent included.
	Commits         []Commit `json:"commits,omitzero"`
	CommitsComplete Tri      `json:"commits_complete,omitzero"`

	// LastPusher pushed Head.SHA. Pushers are all accounts that are on record as
	// having pushed to this head; they only ever exclude and add care.
	LastPusher Actor   `json:"last_pusher,omitzero"`
	Pushers    []Actor `json:"pushers,omitzero"`
	// Requester asked an agent to write this, where that is known.
	Requester Actor `json:"requester,omitzero"`

	Reviews []Review `json:"reviews,omitzero"`
	// StandingHeads are earlier heads at which an approval still stands, because
	// all that came since are merges of the base, signed by GitHub, that leave
	// the blobs of the changed files as they were.
	StandingHeads []SHA `json:"standing_heads,omitzero"`

	// Retargeted is when the base branch was last changed to another, if it was: an
	// approval given before then was of other changes.
	Retargeted time.Time `json:"retargeted,omitzero"`

	Checks []Check `json:"checks,omitzero"`
	// RequiredChecks are those that branch protection or rulesets of the base
	// branch require from a pinned source. Nil is unknown.
	RequiredChecks []RequiredCheck `json:"required_checks,omitzero"`
	// BaseGuarded says whether the base branch requires the sallyport check
	// pinned to this App, or dismisses stale reviews: only there is an APPROVE
	// review safe to give.
	BaseGuarded Tri `json:"base_guarded,omitzero"`
	// BaseReviewed says whether rulesets of the base branch require an approving
	// review and dismiss stale ones, or require a merge queue. Without either, GitHub
	// merges a commit whose check is green for another branch. Unknown where classic
	// protection guards the branch: an App is not told what it requires.
	BaseReviewed Tri `json:"base_reviewed,omitzero"`

	// Now is the moment the facts were read.
	Now time.Time `json:"now,omitzero"`

	// Basis is set by the program that read the facts, never by the facts.
	Basis Basis `json:"-"`
}

// Head is the branch under judgement and the commit it stands at.
type Head struct {
	Ref        string     `json:"ref,omitzero"`
	SHA        SHA        `json:"sha,omitzero"`
	Repository Repository `json:"repository,omitzero"`
}

// Base is the branch that a change would be merged into.
type Base struct {
	Ref string `json:"ref,omitzero"`
	SHA SHA    `json:"sha,omitzero"`
}

// FileStatus is how a file changed, as GitHub's REST API says.
type FileStatus string

// The statuses of a changed file ("List pull requests files",
// https://docs.github.com/rest/pulls/pulls). Any other counts as unknown.
const (
	FileAdded     FileStatus = "added"
	FileModified  FileStatus = "modified"
	FileRemoved   FileStatus = "removed"
	FileRenamed   FileStatus = "renamed"
	FileCopied    FileStatus = "copied"
	FileChanged   FileStatus = "changed"
	FileUnchanged FileStatus = "unchanged"
)

// Git's file modes. A symlink or a submodule at a changed path is always judged
// as strictly as can be.
const (
	ModeFile       = "100644"
	ModeExecutable = "100755"
	ModeSymlink    = "120000"
	ModeSubmodule  = "160000"
)

// File is one changed file. A file that has a PreviousPath counts under both.
type File struct {
	// Path is the bytes that git has, relative to the root, with slashes.
	Path         string     `json:"path,omitzero"`
	PreviousPath string     `json:"previous_path,omitzero"`
	Status       FileStatus `json:"status,omitzero"`
	// Additions and Deletions count lines; both are zero for a binary file.
	Additions int `json:"additions,omitzero"`
	Deletions int `json:"deletions,omitzero"`
	// Mode is git's mode of Path at the head, six octal digits; of a removed file
	// the mode that it had, if known. PreviousMode is that at the merge base.
	Mode         string `json:"mode,omitzero"`
	PreviousMode string `json:"previous_mode,omitzero"`
}

// Commit is one commit of a change.
type Commit struct {
	SHA SHA `json:"sha,omitzero"`
	// Message is the whole message, subject and trailers included.
	Message   string   `json:"message,omitzero"`
	Author    Identity `json:"author,omitzero"`
	Committer Identity `json:"committer,omitzero"`
	// CoAuthors are the accounts that GitHub resolved for co-author trailers,
	// where it was asked. The trailers in Message count in any case.
	CoAuthors []Identity `json:"co_authors,omitzero"`
	// Verified says whether GitHub verified the commit's signature. Signed is not
	// human: agents' and the web editor's commits are signed too.
	Verified Tri `json:"verified,omitzero"`
	// Parents counts the parents; 0 is unknown or a root commit.
	Parents int `json:"parents,omitzero"`
}

// Identity is who a commit says it is by. Name and Email are free text; ID and
// Login are the account that GitHub resolved from Email, if it did.
type Identity struct {
	ID    AccountID `json:"id,omitzero"`
	Login Login     `json:"login,omitzero"`
	Name  string    `json:"name,omitzero"`
	Email string    `json:"email,omitzero"`
}

// Actor is the account behind an identity, unknown where GitHub resolved none.
func (i Identity) Actor() Actor { return Actor{ID: i.ID, Login: i.Login} }

// ReviewState is a review's state in lower case, as webhooks spell it.
type ReviewState string

// The states of a review that are an opinion; every other state is none.
const (
	ReviewApproved         ReviewState = "approved"
	ReviewChangesRequested ReviewState = "changes_requested"
	ReviewCommented        ReviewState = "commented"
	ReviewDismissed        ReviewState = "dismissed"
)

// Review is one pull request review.
type Review struct {
	ID    ReviewID    `json:"id,omitzero"`
	User  Actor       `json:"user,omitzero"`
	State ReviewState `json:"state,omitzero"`
	// SHA is the commit that the review was given at.
	SHA         SHA       `json:"sha,omitzero"`
	SubmittedAt time.Time `json:"submitted_at,omitzero"`
	// Write says whether the reviewer has write access to the repository now.
	Write Tri `json:"write,omitzero"`
}

// Check is one check run or commit status at the head.
type Check struct {
	Name string `json:"name,omitzero"`
	// App is the slug of the App that made the check ("github-actions").
	App Slug `json:"app,omitzero"`
	// Conclusion is GitHub's, empty while the check runs.
	Conclusion string `json:"conclusion,omitzero"`
	// Workflow is the path of the workflow file of whose run at this head the
	// check is a job, by the jobs API. Empty where nobody asked or it is none.
	Workflow string `json:"workflow,omitzero"`
}

// RequiredCheck is a check that the base branch requires, with its pinned source.
type RequiredCheck struct {
	Name string `json:"name"`
	App  Slug   `json:"app,omitzero"`
}
