package rules

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// InstallationID identifies an installation of an App on an account.
type InstallationID int64

// WorkKind is what kind of thing a [WorkKey] names.
type WorkKind string

// The kinds of work. They are stored: they may be added to and never changed.
const (
	// WorkPullRequest is one pull request: Number.
	WorkPullRequest WorkKind = "pull_request"
	// WorkHead is what is shown at one commit of all that stands there: SHA.
	WorkHead WorkKind = "head"
	// WorkCommit is everything that stands at one commit: SHA. It is what an event
	// names that knows a commit and not its pull requests, as those of forks and
	// commit statuses.
	WorkCommit WorkKind = "commit"
	// WorkMergeGroup is one group of a merge queue: SHA, and Ref, the queue's
	// branch in full.
	WorkMergeGroup WorkKind = "merge_group"
	// WorkRun is one workflow run with the jobs held in it: Number is the run's id.
	WorkRun WorkKind = "run"
	// WorkRepository is one repository: its policy, rules and names.
	WorkRepository WorkKind = "repository"
	// WorkInstallation is one installation and its list of repositories: Number
	// is its id.
	WorkInstallation WorkKind = "installation"
	// WorkOwner is one account and who is in its teams: Number is its id.
	WorkOwner WorkKind = "owner"
)

// WorkKey names a thing to look at again. Equal keys are one piece of work. Only
// the fields that its kind speaks of are set, and Repository in all kinds but
// [WorkInstallation] and [WorkOwner].
type WorkKey struct {
	Kind       WorkKind
	Repository RepositoryID
	Number     int64
	SHA        SHA
	Ref        string
}

// String is the stored form of a key: kind, repository, number, commit and ref,
// parted by spaces, with "-" for an empty one. [ParseWorkKey] reads it.
func (k WorkKey) String() string {
	return strings.Join([]string{
		string(k.Kind), strconv.FormatInt(int64(k.Repository), 10), strconv.FormatInt(k.Number, 10),
		cmp.Or(string(k.SHA), "-"), cmp.Or(k.Ref, "-"),
	}, " ")
}

// Valid reports what is wrong with a key; nil means that it names something.
func (k WorkKey) Valid() error {
	var need struct{ repository, number, sha, ref bool }
	ok := true
	switch k.Kind {
	case WorkPullRequest, WorkRun:
		need.repository, need.number = true, true
	case WorkHead, WorkCommit:
		need.repository, need.sha = true, true
	case WorkMergeGroup:
		need.repository, need.sha, need.ref = true, true, true
	case WorkRepository:
		need.repository = true
	case WorkInstallation, WorkOwner:
		need.number = true
	default:
		ok = false
	}
	switch {
	case !ok:
		return fmt.Errorf("work of kind %q is not known", k.Kind)
	case (k.Repository > 0) != need.repository || k.Repository < 0,
		(k.Number > 0) != need.number || k.Number < 0,
		(k.SHA != "") != need.sha, (k.Ref != "") != need.ref:
		return fmt.Errorf("work key %q has not exactly the fields of its kind", k)
	case need.sha && !k.SHA.Valid():
		return fmt.Errorf("work key %q has no full commit id", k)
	case need.ref && (k.Ref == "-" || strings.ContainsAny(k.Ref, " \x00\r\n")):
		return fmt.Errorf("work key %q has an impossible ref", k)
	}
	return nil
}

// Valid reports whether s is a full commit id: 40 or 64 digits of lower-case hex,
// not all zero.
func (s SHA) Valid() bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(string(s), "0123456789abcdef") == "" && strings.Trim(string(s), "0") != ""
}

// ParseWorkKey reads what [WorkKey.String] wrote.
func ParseWorkKey(s string) (WorkKey, error) {
	parts := strings.Split(s, " ")
	if len(parts) != 5 {
		return WorkKey{}, fmt.Errorf("work key %q has not five fields", s)
	}
	repository, err := strconv.ParseInt(parts[1], 10, 64)
	number, err2 := strconv.ParseInt(parts[2], 10, 64)
	if err := errors.Join(err, err2); err != nil {
		return WorkKey{}, fmt.Errorf("work key %q: %w", s, err)
	}
	k := WorkKey{Kind: WorkKind(parts[0]), Repository: RepositoryID(repository), Number: number}
	if parts[3] != "-" {
		k.SHA = SHA(parts[3])
	}
	if parts[4] != "-" {
		k.Ref = parts[4]
	}
	if err := k.Valid(); err != nil {
		return WorkKey{}, err
	}
	if k.String() != s {
		return WorkKey{}, fmt.Errorf("work key %q is not in its one form %q", s, k)
	}
	return k, nil
}

// Priority orders work: the smaller comes first.
type Priority int

// The priorities. They are stored: they may be added to and never changed.
const (
	// PriorityAsked is what a person has just pressed a button for, or a job begun to
	// wait for. It alone cuts short the wait after a failure.
	PriorityAsked Priority = -1
	// PriorityDoor is what somebody waits for: an event, a click, a hold.
	PriorityDoor Priority = 0
	// PriorityHousekeeping is what nobody waits for: a sweep. It alone never
	// gives poisoned work another try.
	PriorityHousekeeping Priority = 10
)

// Mark asks to look at something again.
type Mark struct {
	Key      WorkKey
	Priority Priority
	// Due is when. The zero time is at once.
	Due time.Time
	// Installation and FullName say how the thing can be reached, as the event
	// said. They are hints and no identity: names change hands. Zero is unknown
	// and leaves the hint that was there.
	Installation InstallationID
	FullName     string
}

// FactKind is the kind of a fact that exists only in an event.
type FactKind string

// The kinds of facts. They are stored: they may be added to and never changed.
const (
	// FactClick is a button pressed on one of our check runs: a [Click].
	FactClick FactKind = "click"
	// FactPush is who pushed to a pull request's head, or made a commit the head of
	// a branch: a [Push].
	FactPush FactKind = "push"
	// FactDeploymentReview is a required reviewer's word on a held run: a
	// [DeploymentReview].
	FactDeploymentReview FactKind = "deployment_review"
	// FactDispatch is a workflow started by hand, with its inputs: a [Dispatch].
	FactDispatch FactKind = "dispatch"
	// FactRerequest is somebody's wish for a new check run of ours: a [Rerequest].
	FactRerequest FactKind = "rerequest"
	// FactReview is that a review of a pull request was given or taken back: a
	// [ReviewSeen]. It counts for nothing but that GitHub should show it.
	FactReview FactKind = "review"
)

// EventFact is a fact that exists only in an event. It is what the event said:
// one that approves something counts only once GitHub's own list of deliveries
// has confirmed it.
type EventFact struct {
	Kind FactKind
	// Key tells the fact from others of its kind: equal bodies make equal keys, so
	// that a replayed body is the same fact again.
	Key string
	// Subject is what the fact is about. Empty where the event names nothing
	// (a dispatch names no run).
	Subject    WorkKey
	Repository RepositoryID
	// Event and Action are what the delivery was, Sender who caused it: what the
	// confirmation must show.
	Event, Action string
	Sender        AccountID
	// Payload is the fact as JSON: of the type that Kind says.
	Payload jsontext.Value
}

// Click is a button pressed on a check run of ours. GitHub does not check that
// the person may decide anything.
type Click struct {
	CheckRun   CheckRunID `json:"check_run"`
	Name       string     `json:"name"`
	SHA        SHA        `json:"sha"`
	ExternalID string     `json:"external_id,omitzero"`
	App        AppID      `json:"app"`
	// Identifier is the button's: "approve" or "reject".
	Identifier string `json:"identifier"`
	Sender     Actor  `json:"sender"`
}

// Push is one push: to a pull request's head (Number), or to a branch (Ref, in
// full). Before and After are the heads.
type Push struct {
	Number int    `json:"number,omitzero"`
	Ref    string `json:"ref,omitzero"`
	Before SHA    `json:"before,omitzero"`
	After  SHA    `json:"after"`
	Sender Actor  `json:"sender"`
}

// Rerequest is a press of "Re-run" on a check run or check suite of ours. A run
// that is asked for again cannot be opened again: a new one takes its place.
type Rerequest struct {
	SHA    SHA    `json:"sha"`
	Name   string `json:"name,omitzero"`
	Sender Actor  `json:"sender"`
}

// ReviewSeen is a review as an event named it.
type ReviewSeen struct {
	ID ReviewID `json:"id"`
	// Dismissed says that it was taken back.
	Dismissed bool `json:"dismissed,omitzero"`
}

// DeploymentReview is a word that somebody gave on GitHub on the held jobs of a
// run. It is bound to the attempt, which GitHub's list of approvals is not.
type DeploymentReview struct {
	Run     RunID `json:"run"`
	Attempt int   `json:"attempt"`
	SHA     SHA   `json:"sha"`
	// State is "approved" or "rejected".
	State    string    `json:"state"`
	Approver Actor     `json:"approver"`
	Jobs     []HeldJob `json:"jobs"`
}

// HeldJob is a job that waits at an environment.
type HeldJob struct {
	ID          CheckRunID `json:"id"`
	Environment string     `json:"environment"`
}

// Dispatch is a workflow started by hand. GitHub's event has no run id.
type Dispatch struct {
	// Workflow is the path of the workflow file, Ref the full ref it ran at.
	Workflow string `json:"workflow"`
	Ref      string `json:"ref"`
	Sender   Actor  `json:"sender"`
	// Inputs are as the event has them: a JSON object, or null where there are
	// none.
	Inputs jsontext.Value `json:"inputs"`
}

// Delivery is a verified webhook delivery, reduced to what it means.
type Delivery struct {
	// ID is the X-GitHub-Delivery header. It is not signed.
	ID string
	// BodyHash tells bodies apart: the SHA-256 of the verified HMAC-SHA-256 of the body as
	// it came, by the secret that signed it.
	BodyHash [32]byte
	// Event and Action are what happened; Action is empty where the event has none.
	Event, Action string
	Installation  InstallationID
	Repository    RepositoryID
	ReceivedAt    time.Time
	// Marks and Facts are to be stored together or not at all.
	Marks []Mark
	Facts []EventFact
}

// FactWord is a reviewer's word on a held deployment that our own pages took: a
// [Word]. It is stored as confirmed: nothing of it came by a webhook.
const FactWord FactKind = "word"

// Word is a reviewer's word on one held deployment as our own pages take it. Hold is
// what the page showed: [HoldName] of the deployment.
type Word struct {
	Hold    string `json:"hold"`
	Rejects bool   `json:"rejects,omitzero"`
	Actor   Actor  `json:"actor"`
	// Present says whether a device-bound passkey was shown.
	Present Tri `json:"present,omitzero"`
}

// holdPrefix begins what [HoldName] writes.
const holdPrefix = "run/"

// HoldName names one held deployment as it is shown: the external id of its check
// run, which a click repeats. Digest is of everything that an approval binds to and
// that can change while it is held.
func HoldName(run RunID, attempt, turn int, digest string) string {
	return holdPrefix + strconv.FormatInt(int64(run), 10) + "/" + strconv.Itoa(attempt) + "/" + strconv.Itoa(turn) + "/" + digest
}

// RunOfHold is the run of a name that [HoldName] wrote. It only says where to look.
func RunOfHold(name string) (RunID, bool) {
	rest, ok := strings.CutPrefix(name, holdPrefix)
	id, _, ok2 := strings.Cut(rest, "/")
	n, err := strconv.ParseInt(id, 10, 64)
	if !ok || !ok2 || err != nil || n <= 0 || strconv.FormatInt(n, 10) != id {
		return 0, false
	}
	return RunID(n), true
}
