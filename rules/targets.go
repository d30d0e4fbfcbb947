package rules

// Targets is the server's own file (SALLYPORT_TARGETS_FILE): what credentials
// open, and where alerts go. A policy can only name its entries, so that no
// repository's policy can reach for another's production. Only [LoadTargets]
// makes one that [DecideLease] accepts.
type Targets struct {
	Targets map[string]*Target      `yaml:"targets" json:"targets,omitempty" jsonschema:"description=What credentials open by the name that policies use."`
	Alerts  map[string]*AlertTarget `yaml:"alerts" json:"alerts,omitempty" jsonschema:"description=Where alerts go by the name that policies use."`

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

	Token    *TokenTarget    `yaml:"token" json:"token,omitempty" jsonschema:"description=A relying party that trusts Sallyport's issuer."`
	Postgres *PostgresTarget `yaml:"postgres" json:"postgres,omitempty" jsonschema:"description=A PostgreSQL database: each lease is a role of its own."`
	AWS      *AWSTarget      `yaml:"aws" json:"aws,omitempty" jsonschema:"description=An AWS role that trusts Sallyport's issuer."`
	GitHub   *GitHubTarget   `yaml:"github" json:"github,omitempty" jsonschema:"description=An installation token for named repositories and permissions."`
}

// TokenTarget is a relying party that trusts Sallyport's issuer.
type TokenTarget struct {
	Audience string `yaml:"audience" json:"audience" jsonschema:"required,description=The token's audience."`
}

// PostgresTarget is a PostgreSQL database. Groups maps a capability to the group
// role that a lease's role becomes a member of.
type PostgresTarget struct {
	URLFile string                `yaml:"url_file" json:"url_file" jsonschema:"required,description=A file with the administrator's connection URL."`
	Groups  map[Capability]string `yaml:"groups" json:"groups" jsonschema:"required,enum=read,enum=write,description=The group role for each capability."`
}

// AWSTarget is a role that trusts Sallyport's issuer.
type AWSTarget struct {
	Role   string `yaml:"role" json:"role" jsonschema:"required,description=The role's ARN."`
	Region string `yaml:"region" json:"region" jsonschema:"required,description=The region whose token service is asked."`
}

// GitHubTarget is an installation token for named repositories and permissions.
type GitHubTarget struct {
	Repositories []RepositoryID    `yaml:"repositories" json:"repositories" jsonschema:"required,description=Ids of the repositories that the token reaches."`
	Permissions  map[string]string `yaml:"permissions" json:"permissions" jsonschema:"required,description=GitHub's permission names with read or write or admin."`
}

// AlertTarget is an address for alerts of the repositories it lists.
type AlertTarget struct {
	Slack        *URLFile       `yaml:"slack" json:"slack,omitempty" jsonschema:"description=A Slack incoming webhook."`
	Webhook      *URLFile       `yaml:"webhook" json:"webhook,omitempty" jsonschema:"description=Any HTTPS endpoint."`
	Repositories []RepositoryID `yaml:"repositories" json:"repositories" jsonschema:"required,description=Ids of the repositories whose policies may name it."`
	Private      bool           `yaml:"private" json:"private,omitempty" jsonschema:"description=The address may be in a private range."`
}

// URLFile names a file that holds an address which is a secret itself.
type URLFile struct {
	URLFile string `yaml:"url_file" json:"url_file" jsonschema:"required,description=A file that holds the address."`
}
