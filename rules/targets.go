package rules

// Targets is the server's own file (SALLYPORT_TARGETS_FILE): what credentials
// open, and where alerts go. A policy can only name its entries, so that no
// repository's policy can reach for another's production. Only [LoadTargets]
// makes one that [DecideLease] accepts.
type Targets struct {
	Targets map[string]*Target      `yaml:"targets" json:"targets,omitempty"`
	Alerts  map[string]*AlertTarget `yaml:"alerts" json:"alerts,omitempty"`

	loaded bool
}

// Tier is how strictly a target is guarded, whatever any policy's gate says.
// Anything but TierAuto needs a human's grant.
type Tier string

// The tiers.
const (
	TierHuman Tier = "human"
	TierAuto  Tier = "auto"
)

// Target is one thing that credentials open. Exactly one provider is set.
type Target struct {
	Tier           Tier           `yaml:"tier" json:"tier" jsonschema:"required,enum=human,enum=auto,description=human needs a human's grant whatever any policy says."`
	UnattendedRead bool           `yaml:"unattended_read" json:"unattended_read,omitempty" jsonschema:"description=Agents' tasks may read here without a human. Only with tier: auto."`
	Repositories   []RepositoryID `yaml:"repositories" json:"repositories" jsonschema:"required,description=Ids of the repositories that may name this target."`
	Environments   []string       `yaml:"environments" json:"environments" jsonschema:"required,description=GitHub environments whose jobs may open it."`
	Runners        []string       `yaml:"runners" json:"runners,omitempty" jsonschema:"enum=github-hosted,enum=self-hosted,description=Default: github-hosted."`
	TTL            Duration       `yaml:"ttl" json:"ttl,omitempty" jsonschema:"description=Life of a token that is used without an exchange. At most 10m."`
	Private        bool           `yaml:"private" json:"private,omitempty" jsonschema:"description=The address may be in a private range."`

	Token    *TokenTarget    `yaml:"token" json:"token,omitempty"`
	Postgres *PostgresTarget `yaml:"postgres" json:"postgres,omitempty"`
	AWS      *AWSTarget      `yaml:"aws" json:"aws,omitempty"`
	GitHub   *GitHubTarget   `yaml:"github" json:"github,omitempty"`
}

// TokenTarget is a relying party that trusts Sallyport's issuer.
type TokenTarget struct {
	Audience string `yaml:"audience" json:"audience" jsonschema:"required"`
}

// PostgresTarget is a PostgreSQL database. Groups maps a capability to the group
// role that a lease's role becomes a member of.
type PostgresTarget struct {
	URLFile string                `yaml:"url_file" json:"url_file" jsonschema:"required"`
	Groups  map[Capability]string `yaml:"groups" json:"groups" jsonschema:"required,enum=read,enum=write"`
}

// AWSTarget is a role that trusts Sallyport's issuer.
type AWSTarget struct {
	Role   string `yaml:"role" json:"role" jsonschema:"required"`
	Region string `yaml:"region" json:"region" jsonschema:"required"`
}

// GitHubTarget is an installation token for named repositories and permissions.
type GitHubTarget struct {
	Repositories []RepositoryID    `yaml:"repositories" json:"repositories" jsonschema:"required"`
	Permissions  map[string]string `yaml:"permissions" json:"permissions" jsonschema:"required"`
}

// AlertTarget is an address for alerts of the repositories it lists.
type AlertTarget struct {
	Slack        *URLFile       `yaml:"slack" json:"slack,omitempty"`
	Webhook      *URLFile       `yaml:"webhook" json:"webhook,omitempty"`
	Repositories []RepositoryID `yaml:"repositories" json:"repositories" jsonschema:"required"`
	Private      bool           `yaml:"private" json:"private,omitempty"`
}

// URLFile names a file that holds an address which is a secret itself.
type URLFile struct {
	URLFile string `yaml:"url_file" json:"url_file" jsonschema:"required"`
}
