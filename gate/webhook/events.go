package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport/sallyport/rules"
)

// Limits of what is taken from a body. Beyond them GitHub does not go, and a list
// that does is read as "everything at that commit".
const (
	maxPulls      = 100
	maxJobs       = 256          // a matrix has at most 256
	maxText       = 255          // names: environments, repositories, refs, identifiers
	maxCheck      = maxText + 32 // the name of a check has an environment's in it
	maxInputsSize = 64 << 10
)

// delivery is a rules.Delivery while a body is read into it.
type delivery struct {
	*rules.Delivery

	body    []byte
	cfg     *Config
	decoder *decoder
	envelope
	// check is the check that the event is about, if it is about one.
	check *Check
	// known is the run that the event matters for only if it is known.
	known rules.RunID
}

// envelope is what every event has, or may have.
type envelope struct {
	Action       string     `json:"action"`
	Repository   repository `json:"repository"`
	Organization idOnly     `json:"organization"`
	Installation idOnly     `json:"installation"`
	Sender       account    `json:"sender"`
}

type idOnly struct {
	ID int64 `json:"id"`
}

type repository struct {
	ID            rules.RepositoryID `json:"id"`
	FullName      string             `json:"full_name"`
	DefaultBranch string             `json:"default_branch"`
}

type account struct {
	ID    rules.AccountID `json:"id"`
	Login rules.Login     `json:"login"`
	Type  rules.ActorType `json:"type"`
}

func (a account) actor() rules.Actor { return rules.Actor{ID: a.ID, Login: a.Login, Type: a.Type} }

// maker reads the body of an event into marks and facts.
type maker func(*delivery) error

// events are the events that concern us, and what each makes. Every other one
// makes nothing.
func events() map[string]maker {
	return map[string]maker{
		"branch_protection_configuration": (*delivery).repositoryChanged,
		"branch_protection_rule":          (*delivery).repositoryChanged,
		"check_run":                       (*delivery).checkRun,
		"check_suite":                     (*delivery).checkSuite,
		"deployment":                      (*delivery).deployment,
		"deployment_protection_rule":      (*delivery).protectionRule,
		"deployment_review":               (*delivery).deploymentReview,
		"deployment_status":               (*delivery).deployment,
		"installation":                    (*delivery).installation,
		"installation_repositories":       (*delivery).installation,
		"installation_target":             (*delivery).installation,
		"member":                          (*delivery).memberChanged,
		"membership":                      (*delivery).ownerChanged,
		"merge_group":                     (*delivery).mergeGroup,
		"organization":                    (*delivery).ownerChanged,
		"pull_request":                    (*delivery).pullRequest,
		"pull_request_review":             (*delivery).review,
		"push":                            (*delivery).push,
		"repository":                      (*delivery).repositoryChanged,
		"repository_ruleset":              (*delivery).ruleset,
		"status":                          (*delivery).status,
		"team":                            (*delivery).ownerChanged,
		"team_add":                        (*delivery).ownerChanged,
		"workflow_dispatch":               (*delivery).dispatch,
		"workflow_job":                    (*delivery).workflowJob,
		"workflow_run":                    (*delivery).workflowRun,
	}
}

// fill fills a delivery from its body. The body must be one JSON object without
// a name that is there twice, at any depth: two readers could see two different
// events in it.
func (h *handler) fill(d *rules.Delivery, body []byte) (*Check, rules.RunID, error) {
	x := &delivery{Delivery: d, body: body, cfg: &h.cfg, decoder: &h.decoder}
	if m := h.makers[d.Event]; m != nil {
		err := m(x)
		return x.check, x.known, err
	}
	return nil, 0, x.plain()
}

// own reports whether our own bot did it: what the gate did itself is no news to
// it.
func (d *delivery) own() bool {
	return d.cfg.Bot != 0 && d.envelope.Sender.ID == d.cfg.Bot
}

func short(s string) bool { return shorter(s, maxText) }

// shorter reports whether a name has at most n characters, as GitHub counts them.
func shorter(s string, n int) bool {
	return utf8.RuneCountInString(s) <= n && !strings.ContainsAny(s, "\x00\r\n")
}

// into decodes the body and takes over its envelope. Members that nobody asks for
// are left alone: GitHub adds some without notice.
func (d *delivery) into(v any, e *envelope) error {
	if err := d.decoder.decode(d.body, v); err != nil {
		return err
	}
	d.envelope = *e
	d.Delivery.Action = e.Action
	d.Delivery.Installation = rules.InstallationID(e.Installation.ID)
	d.Delivery.Repository = e.Repository.ID
	switch {
	case !short(e.Action), !short(e.Repository.FullName), !short(e.Repository.DefaultBranch), !short(string(e.Sender.Login)), !short(string(e.Sender.Type)):
		return errors.New("a name is too long")
	case e.Installation.ID < 0, e.Repository.ID < 0, e.Sender.ID < 0:
		return errors.New("an id is negative")
	}
	return nil
}

// plain decodes the body of an event that has nothing else that matters.
func (d *delivery) plain() error {
	var e envelope
	return d.into(&e, &e)
}

// mark adds a key of the event's repository, at the priority of what somebody
// waits for.
func (d *delivery) mark(k rules.WorkKey) error { return d.markAt(k, rules.PriorityDoor) }

func (d *delivery) markAt(k rules.WorkKey, p rules.Priority) error {
	if err := k.Valid(); err != nil {
		return err
	}
	if slices.ContainsFunc(d.Marks, func(m rules.Mark) bool { return m.Key == k }) {
		return nil
	}
	d.Marks = append(d.Marks, rules.Mark{
		Key: k, Priority: p, Installation: d.Delivery.Installation, FullName: d.envelope.Repository.FullName,
	})
	return nil
}

// fact adds a fact of the event. Its key is the body's SHA-256: the same body is the
// same fact, whatever the headers say and whichever secret it was signed with.
func (d *delivery) fact(kind rules.FactKind, subject rules.WorkKey, v any) error {
	payload, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(d.body)
	d.Facts = append(d.Facts, rules.EventFact{
		Kind: kind, Key: hex.EncodeToString(sum[:]), Subject: subject, Repository: d.Delivery.Repository,
		Event: d.Event, Action: d.Delivery.Action, Sender: d.envelope.Sender.ID, Payload: payload,
	})
	return nil
}

func (d *delivery) key(kind rules.WorkKind, number int64) rules.WorkKey {
	return rules.WorkKey{Kind: kind, Repository: d.Delivery.Repository, Number: number}
}

// pull is a pull request as the objects of other events show it.
type pull struct {
	Number int64 `json:"number"`
	Base   struct {
		Repo struct {
			ID rules.RepositoryID `json:"id"`
		} `json:"repo"`
	} `json:"base"`
}

// stands marks what stands at a commit: the pull requests that the event names,
// and the commit itself where it names none, or one that is into another
// repository.
func (d *delivery) stands(sha rules.SHA, pulls []pull) error {
	whole := len(pulls) == 0 || len(pulls) > maxPulls
	for _, p := range pulls[:min(len(pulls), maxPulls)] {
		if p.Base.Repo.ID != d.Delivery.Repository {
			whole = true
			continue
		}
		if err := d.mark(d.key(rules.WorkPullRequest, p.Number)); err != nil {
			return err
		}
	}
	if !whole {
		return nil
	}
	return d.mark(rules.WorkKey{Kind: rules.WorkCommit, Repository: d.Delivery.Repository, SHA: sha})
}

func (d *delivery) pullRequest() error {
	var p struct {
		envelope

		Number int64     `json:"number"`
		Before rules.SHA `json:"before"`
		After  rules.SHA `json:"after"`
		Pull   *struct {
			Number int64 `json:"number"`
			Head   struct {
				SHA rules.SHA `json:"sha"`
			} `json:"head"`
		} `json:"pull_request"`
	}
	if err := d.into(&p, &p.envelope); err != nil {
		return err
	}
	if p.Pull == nil || p.Pull.Number != p.Number || !p.Pull.Head.SHA.Valid() {
		return errors.New("a pull_request event without its pull request")
	}
	switch d.Delivery.Action {
	case "assigned", "unassigned", "milestoned", "demilestoned", "locked", "unlocked", "auto_merge_enabled", "auto_merge_disabled":
		return nil // nothing that is judged
	case "labeled", "unlabeled", "review_requested", "review_request_removed":
		if d.own() {
			return nil
		}
	case "synchronize":
		if !p.After.Valid() || p.After != p.Pull.Head.SHA || p.Before != "" && !p.Before.Valid() {
			return errors.New("a synchronize event without its commits")
		}
		if err := d.fact(rules.FactPush, d.key(rules.WorkPullRequest, p.Number), rules.Push{
			Number: int(p.Number), Before: p.Before, After: p.After, Sender: d.envelope.Sender.actor(),
		}); err != nil {
			return err
		}
	}
	return d.mark(d.key(rules.WorkPullRequest, p.Number))
}

func (d *delivery) review() error {
	var p struct {
		envelope

		Review *struct {
			ID    rules.ReviewID `json:"id"`
			State string         `json:"state"`
		} `json:"review"`
		Pull *struct {
			Number int64 `json:"number"`
		} `json:"pull_request"`
	}
	if err := d.into(&p, &p.envelope); err != nil {
		return err
	}
	if p.Review == nil || p.Pull == nil {
		return errors.New("a pull_request_review event without its review")
	}
	if d.Delivery.Action == "edited" || d.Delivery.Action == "submitted" && p.Review.State == string(rules.ReviewCommented) {
		return nil // the text alone, or a comment: no opinion changed
	}
	if d.own() {
		return nil
	}
	if key := d.key(rules.WorkPullRequest, p.Pull.Number); p.Review.ID > 0 && key.Valid() == nil {
		if err := d.fact(rules.FactReview, key, rules.ReviewSeen{ID: p.Review.ID, Dismissed: d.Delivery.Action == "dismissed"}); err != nil {
			return err
		}
	}
	return d.mark(d.key(rules.WorkPullRequest, p.Pull.Number))
}

func (d *delivery) checkRun() error {
	var p struct {
		envelope

		Check *struct {
			ID         rules.CheckRunID `json:"id"`
			Name       string           `json:"name"`
			SHA        rules.SHA        `json:"head_sha"`
			ExternalID string           `json:"external_id"`
			App        idOnly           `json:"app"`
			Pulls      []pull           `json:"pull_requests"`
		} `json:"check_run"`
		Requested struct {
			Identifier string `json:"identifier"`
		} `json:"requested_action"`
	}
	if err := d.into(&p, &p.envelope); err != nil {
		return err
	}
	if p.Check == nil || !p.Check.SHA.Valid() || p.Check.ID <= 0 {
		return errors.New("a check_run event without its check run")
	}
	own := rules.AppID(p.Check.App.ID) == d.cfg.App
	switch d.Delivery.Action {
	case "requested_action":
		if !own {
			return nil // somebody else's button
		}
		if p.Requested.Identifier == "" || !short(p.Requested.Identifier) || !shorter(p.Check.Name, maxCheck) || !short(p.Check.ExternalID) || d.envelope.Sender.ID == 0 {
			return errors.New("a click without its button or its sender")
		}
		if err := d.fact(rules.FactClick, rules.WorkKey{Kind: rules.WorkHead, Repository: d.Delivery.Repository, SHA: p.Check.SHA}, rules.Click{
			CheckRun: p.Check.ID, Name: p.Check.Name, SHA: p.Check.SHA, ExternalID: p.Check.ExternalID, App: d.cfg.App,
			Identifier: p.Requested.Identifier, Sender: d.envelope.Sender.actor(),
		}); err != nil {
			return err
		}
	case "rerequested":
		if !own {
			return nil
		}
		if err := d.fact(rules.FactRerequest, rules.WorkKey{Kind: rules.WorkHead, Repository: d.Delivery.Repository, SHA: p.Check.SHA}, rules.Rerequest{
			SHA: p.Check.SHA, Name: p.Check.Name, Sender: d.envelope.Sender.actor(),
		}); err != nil {
			return err
		}
	default:
		if own {
			return nil // our own doing
		}
		if shorter(p.Check.Name, maxCheck) {
			d.check = &Check{Repository: d.Delivery.Repository, SHA: p.Check.SHA, Name: p.Check.Name}
		}
	}
	if run, held := rules.RunOfHold(p.Check.ExternalID); own && held {
		// The check run of a deployment: its run alone has to be looked at.
		if d.Delivery.Action == "requested_action" {
			return d.markAt(d.key(rules.WorkRun, int64(run)), rules.PriorityAsked)
		}
		return d.mark(d.key(rules.WorkRun, int64(run)))
	}
	return d.stands(p.Check.SHA, p.Check.Pulls)
}

func (d *delivery) checkSuite() error {
	var p struct {
		envelope

		Suite *struct {
			SHA   rules.SHA `json:"head_sha"`
			App   idOnly    `json:"app"`
			Pulls []pull    `json:"pull_requests"`
		} `json:"check_suite"`
	}
	if err := d.into(&p, &p.envelope); err != nil {
		return err
	}
	if p.Suite == nil || !p.Suite.SHA.Valid() {
		return errors.New("a check_suite event without its check suite")
	}
	// Requested comes with every push, and completed after the events of its runs.
	if d.Delivery.Action != "rerequested" {
		return nil
	}
	if rules.AppID(p.Suite.App.ID) == d.cfg.App {
		if err := d.fact(rules.FactRerequest, rules.WorkKey{Kind: rules.WorkHead, Repository: d.Delivery.Repository, SHA: p.Suite.SHA}, rules.Rerequest{
			SHA: p.Suite.SHA, Sender: d.envelope.Sender.actor(),
		}); err != nil {
			return err
		}
	}
	return d.stands(p.Suite.SHA, p.Suite.Pulls)
}

func (d *delivery) status() error {
	var p struct {
		envelope

		SHA     rules.SHA `json:"sha"`
		State   string    `json:"state"`
		Context string    `json:"context"`
	}
	if err := d.into(&p, &p.envelope); err != nil {
		return err
	}
	if p.State == "" {
		return errors.New("a status event without its state")
	}
	if p.Context != "" && short(p.Context) {
		d.check = &Check{Repository: d.Delivery.Repository, SHA: p.SHA, Name: p.Context}
	}
	return d.stands(p.SHA, nil)
}

func (d *delivery) mergeGroup() error {
	var p struct {
		envelope

		Group *struct {
			SHA rules.SHA `json:"head_sha"`
			Ref string    `json:"head_ref"`
		} `json:"merge_group"`
	}
	if err := d.into(&p, &p.envelope); err != nil {
		return err
	}
	if p.Group == nil || len(p.Group.Ref) > 2*maxText {
		return errors.New("a merge_group event without its group")
	}
	if d.Delivery.Action == "destroyed" {
		return nil // its pull requests say what became of them
	}
	return d.mark(rules.WorkKey{Kind: rules.WorkMergeGroup, Repository: d.Delivery.Repository, SHA: p.Group.SHA, Ref: p.Group.Ref})
}

// push says who made a commit a branch's head: a pull request that is opened
// later has no other event that does. It matters itself where it may bring another
// policy: on the default branch.
func (d *delivery) push() error {
	var p struct {
		envelope

		Ref    string    `json:"ref"`
		Before rules.SHA `json:"before"`
		After  rules.SHA `json:"after"`
	}
	if err := d.into(&p, &p.envelope); err != nil {
		return err
	}
	if p.Ref == "" || d.Delivery.Repository <= 0 {
		return errors.New("a push event without its ref")
	}
	if strings.HasPrefix(p.Ref, "refs/heads/") && p.After.Valid() && d.envelope.Sender.ID > 0 && short(p.Ref) {
		if !p.Before.Valid() {
			p.Before = ""
		}
		if err := d.fact(rules.FactPush, rules.WorkKey{Kind: rules.WorkHead, Repository: d.Delivery.Repository, SHA: p.After}, rules.Push{
			Ref: p.Ref, Before: p.Before, After: p.After, Sender: d.envelope.Sender.actor(),
		}); err != nil {
			return err
		}
	}
	if branch := d.envelope.Repository.DefaultBranch; branch != "" && p.Ref != "refs/heads/"+branch {
		return nil
	}
	return d.mark(d.key(rules.WorkRepository, 0))
}

func (d *delivery) repositoryChanged() error {
	if err := d.plain(); err != nil {
		return err
	}
	return d.mark(d.key(rules.WorkRepository, 0))
}

// memberChanged is that somebody's access to one repository changed: an approval that
// waits or stands there may count no more.
func (d *delivery) memberChanged() error {
	if err := d.repositoryChanged(); err != nil || d.envelope.Organization.ID <= 0 {
		return err
	}
	return d.markAt(rules.WorkKey{Kind: rules.WorkOwner, Number: d.envelope.Organization.ID}, rules.PriorityHousekeeping)
}

// ruleset may be a repository's or the whole organisation's.
func (d *delivery) ruleset() error {
	if err := d.plain(); err != nil {
		return err
	}
	if d.Delivery.Repository == 0 && d.envelope.Organization.ID > 0 {
		return d.ownerChanged()
	}
	return d.repositoryChanged()
}

// ownerChanged looks again at what waits for people, when nothing more urgent is
// to be done: a decision asks for memberships afresh anyway.
func (d *delivery) ownerChanged() error {
	if err := d.plain(); err != nil {
		return err
	}
	if d.envelope.Organization.ID <= 0 {
		return fmt.Errorf("a %s event without its organization", d.Event)
	}
	return d.markAt(rules.WorkKey{Kind: rules.WorkOwner, Number: d.envelope.Organization.ID}, rules.PriorityHousekeeping)
}

func (d *delivery) installation() error {
	if err := d.plain(); err != nil {
		return err
	}
	return d.mark(rules.WorkKey{Kind: rules.WorkInstallation, Number: int64(d.Delivery.Installation)})
}

// run is a workflow run as events show it.
type run struct {
	ID      rules.RunID `json:"id"`
	Attempt int         `json:"run_attempt"`
	SHA     rules.SHA   `json:"head_sha"`
}

// together is how long the events of one deployment are waited for, which come within
// a moment of each other: one look for all of them.
const together = 300 * time.Millisecond

// markRun marks a run for what comes with other events about it.
func (d *delivery) markRun(run int64) error {
	if err := d.mark(d.key(rules.WorkRun, run)); err != nil {
		return err
	}
	for i := range d.Marks {
		d.Marks[i].Due = d.ReceivedAt.Add(together)
	}
	return nil
}

// deployment is a deployment, or its status. One that no workflow run made has no
// held job.
func (d *delivery) deployment() error {
	var p struct {
		envelope

		Deployment *idOnly `json:"deployment"`
		Run        *run    `json:"workflow_run"`
	}
	if err := d.into(&p, &p.envelope); err != nil {
		return err
	}
	if p.Deployment == nil {
		return fmt.Errorf("a %s event without its deployment", d.Event)
	}
	if p.Run == nil {
		return nil
	}
	return d.markRun(int64(p.Run.ID))
}

// protectionRule finds the run in the only place where it stands.
func (d *delivery) protectionRule() error {
	var p struct {
		envelope

		Callback string `json:"deployment_callback_url"`
	}
	if err := d.into(&p, &p.envelope); err != nil {
		return err
	}
	id, err := runOf(p.Callback, d.envelope.Repository.FullName)
	if err != nil {
		return err
	}
	return d.markRun(id)
}

// runOf takes the run's id out of a callback URL, which is used for nothing else.
func runOf(callback, fullName string) (int64, error) {
	bad := errors.New("a deployment_callback_url that is not of a run of this repository")
	rest, ok := strings.CutSuffix(callback, "/deployment_protection_rule")
	before, id, ok2 := cutLast(rest, "/actions/runs/")
	if !ok || !ok2 || fullName == "" || !made(id, 19, "0123456789") {
		return 0, bad
	}
	tail := "/repos/" + fullName
	if len(before) < len(tail) || !strings.EqualFold(before[len(before)-len(tail):], tail) {
		return 0, bad
	}
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return 0, bad
	}
	return n, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func (d *delivery) deploymentReview() error {
	type job struct {
		ID          rules.CheckRunID `json:"id"`
		Environment string           `json:"environment"`
	}
	var p struct {
		envelope

		Run      *run    `json:"workflow_run"`
		Approver account `json:"approver"`
		Job      *job    `json:"workflow_job_run"`
		Jobs     []job   `json:"workflow_job_runs"`
	}
	if err := d.into(&p, &p.envelope); err != nil {
		return err
	}
	if p.Run == nil {
		return errors.New("a deployment_review event without its run")
	}
	key := d.key(rules.WorkRun, int64(p.Run.ID))
	if action := d.Delivery.Action; action == "approved" || action == "rejected" {
		if len(p.Jobs) == 0 && p.Job != nil {
			p.Jobs = []job{*p.Job}
		}
		if p.Approver.ID <= 0 || p.Run.Attempt < 1 || !p.Run.SHA.Valid() || len(p.Jobs) == 0 || len(p.Jobs) > maxJobs {
			return errors.New("a deployment_review event without its approver, attempt, commit or jobs")
		}
		fact := rules.DeploymentReview{Run: p.Run.ID, Attempt: p.Run.Attempt, SHA: p.Run.SHA, State: action, Approver: p.Approver.actor()}
		for _, j := range p.Jobs {
			if j.Environment == "" || !short(j.Environment) {
				return errors.New("a deployment_review event whose job has no environment")
			}
			fact.Jobs = append(fact.Jobs, rules.HeldJob{ID: j.ID, Environment: j.Environment})
		}
		if err := d.fact(rules.FactDeploymentReview, key, fact); err != nil {
			return err
		}
		return d.markAt(key, rules.PriorityAsked)
	}
	return d.mark(key)
}

// workflowJob matters where the job waits at an environment or belongs to one, and,
// of a run that is known, when it ends, since what it was given ends with it.
func (d *delivery) workflowJob() error {
	var p struct {
		envelope

		Job *struct {
			Run    int64  `json:"run_id"`
			Status string `json:"status"`
		} `json:"workflow_job"`
		Deployment *idOnly `json:"deployment"`
	}
	if err := d.into(&p, &p.envelope); err != nil {
		return err
	}
	if p.Job == nil {
		return errors.New("a workflow_job event without its job")
	}
	if p.Deployment == nil && p.Job.Status != "waiting" && d.Delivery.Action != "waiting" {
		if d.Delivery.Action != "completed" {
			return nil
		}
		d.known = rules.RunID(p.Job.Run)
	}
	return d.markRun(p.Job.Run)
}

// workflowRun matters when one that is known ends. What its checks say comes as check
// runs.
func (d *delivery) workflowRun() error {
	var p struct {
		envelope

		Run *run `json:"workflow_run"`
	}
	if err := d.into(&p, &p.envelope); err != nil {
		return err
	}
	if p.Run == nil {
		return errors.New("a workflow_run event without its run")
	}
	if d.Delivery.Action != "completed" {
		return nil
	}
	d.known = p.Run.ID
	return d.markRun(int64(p.Run.ID))
}

// dispatch keeps the inputs of a workflow that was started by hand: no other event
// and no request shows them.
func (d *delivery) dispatch() error {
	var p struct {
		envelope

		Ref      string         `json:"ref"`
		Workflow string         `json:"workflow"`
		Inputs   jsontext.Value `json:"inputs"`
	}
	if err := d.into(&p, &p.envelope); err != nil {
		return err
	}
	if p.Ref == "" || p.Workflow == "" || !short(p.Ref) || !short(p.Workflow) || d.Delivery.Repository <= 0 || d.envelope.Sender.ID <= 0 {
		return errors.New("a workflow_dispatch event without its ref, workflow or sender")
	}
	if p.Inputs == nil {
		p.Inputs = jsontext.Value("null")
	}
	if kind := p.Inputs.Kind(); len(p.Inputs) > maxInputsSize || kind != '{' && kind != 'n' {
		return errors.New("a workflow_dispatch event with impossible inputs")
	}
	return d.fact(rules.FactDispatch, rules.WorkKey{}, rules.Dispatch{
		Workflow: p.Workflow, Ref: p.Ref, Inputs: p.Inputs, Sender: d.envelope.Sender.actor(),
	})
}
