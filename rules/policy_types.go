package rules

import (
	"strings"
	"time"

	"github.com/sallyport/sallyport/rules/paths"
)

// PolicyPath is where a repository keeps its policy, and FloorPath where an
// organisation keeps its floor in the repository named ".github".
const (
	PolicyPath     = ".github/sallyport.yml"
	PolicyTestPath = ".github/sallyport.test.yml"
	FloorPath      = "sallyport.yml"
)

// Policy is one parsed and checked policy file. Only [LoadPolicy] makes one that
// the judges accept; a Policy made any other way decides nothing.
type Policy struct {
	Version      int                     `yaml:"version" json:"version" jsonschema:"required,enum=1,description=The form of this file. Always 1."`
	Mode         Mode                    `yaml:"mode" json:"mode,omitempty" jsonschema:"enum=enforce,enum=observe,default=enforce,description=enforce acts on decisions. observe only says them: it approves no pull request and releases every hold but never loosens a credential."`
	Agents       AgentRules              `yaml:"agents" json:"agents,omitempty" jsonschema:"description=How agents are recognised and what earns an automatic approval."`
	Reviewers    []Reviewer              `yaml:"reviewers" json:"reviewers,omitempty" jsonschema:"description=Teams (org/slug) and users who let something into production."`
	Environments map[string]*Environment `yaml:"environments" json:"environments" jsonschema:"required,description=Where changes go. At least one must have gate: human."`
	Protect      []string                `yaml:"protect" json:"protect,omitempty" jsonschema:"description=Path patterns added to the built-in protected ones: always the strictest treatment."`
	Credentials  map[string]*Credential  `yaml:"credentials" json:"credentials,omitempty" jsonschema:"description=Credentials that an approved job may ask for."`
	BreakGlass   *BreakGlass             `yaml:"break_glass" json:"break_glass,omitempty" jsonschema:"description=Who may release one held job in an emergency."`
	Alerts       []string                `yaml:"alerts" json:"alerts,omitempty" jsonschema:"description=Names of alert addresses that the server's targets file declares."`
	Networks     map[string][]string     `yaml:"networks" json:"networks,omitempty" jsonschema:"description=Address ranges and host names of an environment that laptops must not reach."`

	compiled *compiledPolicy
}

// compiledPolicy is what the judges need of a policy, made once by LoadPolicy.
type compiledPolicy struct {
	agents *Catalogue
	// names are the environments' names, sorted; every rule below refers to an
	// environment by its place here.
	names []string
	envs  []*Environment
	human []int // places of the environments with gate: human
	paths *paths.Set[pathRule]
	// covers holds the GitHub environment patterns of each environment, lower case.
	covers [][]string
	digest string // SHA-256 of the file, hex
}

// pathRule is what a path pattern of the policy leads to.
type pathRule struct {
	kind ruleKind
	env  int        // place in names; -1 for ruleProtect
	also []Reviewer // of a ruleAlso
}

type ruleKind int8

const (
	rulePaths   ruleKind = iota // environment's paths
	ruleAlso                    // environment's also
	ruleProtect                 // built in, or the policy's protect
)

// Digest is the SHA-256 of the policy file in hex.
func (p *Policy) Digest() string {
	if p == nil || p.compiled == nil {
		return ""
	}
	return p.compiled.digest
}

// EnvironmentNames lists the environments in sorted order.
func (p *Policy) EnvironmentNames() []string {
	if p == nil || p.compiled == nil {
		return nil
	}
	return append([]string(nil), p.compiled.names...)
}

// Mode is whether decisions are acted upon. The zero value acts.
type Mode string

// The modes of a policy.
const (
	ModeEnforce Mode = "enforce"
	ModeObserve Mode = "observe"
)

// Ask says whether something less than certain earns an automatic approval.
// The zero value asks a human.
type Ask string

// The two answers.
const (
	AskHuman Ask = "ask"
	Approve  Ask = "approve"
)

// AgentRules is the policy's view of who is an agent.
type AgentRules struct {
	Catalogue *bool        `yaml:"catalogue" json:"catalogue,omitempty" jsonschema:"default=true,description=Use the built-in signatures."`
	Text      Ask          `yaml:"text" json:"text,omitempty" jsonschema:"enum=ask,enum=approve,default=ask,description=approve lets trailers and branch names and body markers alone earn an automatic approval. Anyone can type these: this means merging without human review."`
	Mixed     Ask          `yaml:"mixed" json:"mixed,omitempty" jsonschema:"enum=ask,enum=approve,default=ask,description=approve lets an agent's change with human commits in it earn an automatic approval."`
	Also      []AgentEntry `yaml:"also" json:"also,omitempty" jsonschema:"description=Agents of your own."`
}

// AgentEntry describes an agent that the built-in catalogue does not know.
// Branches and Trailers are glob patterns ("acme/**", "Made-by: acme-*").
type AgentEntry struct {
	ID       string   `yaml:"id" json:"id" jsonschema:"required,description=A short name shown in decisions."`
	Logins   []Login  `yaml:"logins" json:"logins,omitempty" jsonschema:"description=Its accounts. Only a Bot account earns high confidence."`
	Branches []string `yaml:"branches" json:"branches,omitempty" jsonschema:"description=Patterns of its branches."`
	Trailers []string `yaml:"trailers" json:"trailers,omitempty" jsonschema:"description=Patterns of commit trailer lines it leaves."`
}

// Reviewer is a user's login, or a team as org/slug.
type Reviewer string

// IsTeam reports whether the reviewer is a team.
func (r Reviewer) IsTeam() bool { return strings.Contains(string(r), "/") }

// Key is the reviewer in lower case, for comparison.
func (r Reviewer) Key() string { return strings.ToLower(string(r)) }

// Gate is what lets a change into an environment. Anything but GateAuto asks a
// human.
type Gate string

// The gates.
const (
	GateHuman Gate = "human"
	GateAuto  Gate = "auto"
)

// Step is a moment at which a human is asked.
type Step string

// The steps.
const (
	StepMerge  Step = "merge"
	StepDeploy Step = "deploy"
)

// Accepted is a way of approving.
type Accepted string

// The ways of approving. Review is for the merge step, the others for deploy.
const (
	AcceptReview           Accepted = "review"
	AcceptCheckButton      Accepted = "check-button"
	AcceptDashboard        Accepted = "dashboard"
	AcceptDeploymentReview Accepted = "deployment-review"
)

// Role is a part somebody played in a change or a deployment, which keeps them
// from approving it.
type Role string

// The roles. The first five are always excluded; a policy may add the others.
const (
	RoleAuthor     Role = "author"
	RoleCommitter  Role = "committer"
	RoleCoAuthor   Role = "co-author"
	RoleLastPusher Role = "last-pusher"
	RoleDispatcher Role = "dispatcher"
	RoleRequester  Role = "requester"
	RolePusher     Role = "pusher"
)

// Presence is how an approver shows that they are there.
type Presence string

// The kinds of presence.
const (
	PresenceNone    Presence = "none"
	PresencePasskey Presence = "passkey"
)

// Capability is what a credential allows.
type Capability string

// The capabilities.
const (
	CapabilityRead  Capability = "read"
	CapabilityWrite Capability = "write"
)

// Duration is a length of time as people write it ("24h", "10m", "90s").
type Duration time.Duration

// Environment is one place that changes go to, with what lets them in.
type Environment struct {
	Gate        Gate                  `yaml:"gate" json:"gate" jsonschema:"required,enum=auto,enum=human,description=human holds for a required reviewer. auto lets an agent's change in once its checks pass."`
	Merge       bool                  `yaml:"merge" json:"merge,omitempty" jsonschema:"default=false,description=Merge an approved change too. Only with gate: auto."`
	Paths       []string              `yaml:"paths" json:"paths,omitempty" jsonschema:"description=Patterns of the paths that belong here. Entries that begin with ! take paths out again."`
	After       []CheckName           `yaml:"after" json:"after,omitempty" jsonschema:"description=Checks that must be green first."`
	Deployments []string              `yaml:"deployments" json:"deployments,omitempty" jsonschema:"description=GitHub environments covered: names and patterns. Default: the entry's own name."`
	Branches    []string              `yaml:"branches" json:"branches,omitempty" jsonschema:"description=Branches that may deploy here. Default with gate: human: the default branch."`
	Tags        []string              `yaml:"tags" json:"tags,omitempty" jsonschema:"description=Patterns of tags that may deploy here if they stand on such a branch."`
	Events      []string              `yaml:"events" json:"events,omitempty" jsonschema:"description=Events that may deploy here. Default with gate: human: push and release."`
	Steps       []Step                `yaml:"steps" json:"steps,omitempty" jsonschema:"enum=merge,enum=deploy,description=When a human is asked. Default: both."`
	Count       int                   `yaml:"count" json:"count,omitempty" jsonschema:"minimum=1,maximum=6,default=1,description=How many different reviewers must approve: 6 at most."`
	Reviewers   []Reviewer            `yaml:"reviewers" json:"reviewers,omitempty" jsonschema:"description=Who approves here. Default: the policy's reviewers."`
	Also        map[string][]Reviewer `yaml:"also" json:"also,omitempty" jsonschema:"description=Path pattern to reviewers who must approve too when such a path is touched."`
	Accept      Accept                `yaml:"accept" json:"accept,omitempty" jsonschema:"description=How an approval may be given at each step."`
	Exclude     []Role                `yaml:"exclude" json:"exclude,omitempty" jsonschema:"enum=author,enum=committer,enum=co-author,enum=last-pusher,enum=dispatcher,enum=requester,enum=pusher,description=Roles that cannot approve. The list may only grow: author and committer and co-author and last-pusher and dispatcher are always on it."`
	MaxAge      Duration              `yaml:"max_age" json:"max_age,omitempty" jsonschema:"description=How long an approval stands. Default: 24h for the deploy step and without limit for the merge step."`
	Presence    Presence              `yaml:"presence" json:"presence,omitempty" jsonschema:"enum=none,enum=passkey,default=none,description=Whether an approver at the deploy step must show a passkey."`
	Unattended  []Capability          `yaml:"unattended" json:"unattended,omitempty" jsonschema:"enum=read,description=What agents' tasks may have here without a human: read only."`
}

// Accept is the ways of approving at each step; nil means the default.
type Accept struct {
	Merge  []Accepted `yaml:"merge" json:"merge,omitempty" jsonschema:"enum=review,description=At the merge step. Default: review."`
	Deploy []Accepted `yaml:"deploy" json:"deploy,omitempty" jsonschema:"enum=check-button,enum=dashboard,enum=deployment-review,description=At the deploy step. Default: check-button and dashboard. deployment-review does not show the approver what is deployed."`
}

// CheckName names a check and, if it is not a GitHub Actions job, the slug of
// the App that makes it. In the file it is a string or {name, app}.
type CheckName struct {
	Name string `yaml:"name" json:"name" jsonschema:"required,description=The check's name as GitHub shows it."`
	App  Slug   `yaml:"app" json:"app,omitempty" jsonschema:"description=The name in the address of the App that makes it. Without it: a GitHub Actions job."`
}

// Credential is what a job of an environment may ask for.
type Credential struct {
	Environment string     `yaml:"environment" json:"environment" jsonschema:"required,description=The environment it belongs to."`
	Target      string     `yaml:"target" json:"target" jsonschema:"required,description=The name of a target in the server's targets file."`
	Capability  Capability `yaml:"capability" json:"capability" jsonschema:"required,enum=read,enum=write,description=What it allows."`
	Workflow    string     `yaml:"workflow" json:"workflow,omitempty" jsonschema:"description=The workflow file whose job may ask. Required in an environment with gate: human. Another repository's as owner/repo/.github/workflows/file.yml@full-sha."`
	TTL         Duration   `yaml:"ttl" json:"ttl,omitempty" jsonschema:"description=How long it lives: 1m to 1h; 10m unless it says so."`
}

// BreakGlass is who may act in an emergency.
type BreakGlass struct {
	Reviewers []Reviewer `yaml:"reviewers" json:"reviewers" jsonschema:"required,description=Who may act. At least two people or a team."`
}
