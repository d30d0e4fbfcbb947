package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/rules/paths"
)

// ProtectedPaths are the path patterns that always get the strictest treatment,
// whatever a policy says: what decides who may do what in a repository (its
// workflows, owners, actions, this program's own policy under .github and the
// organisation's floor), what changes the meaning of other files, what runs on the
// machine of whoever opens the repository, and what steers coding agents. A policy
// may add to them and take nothing out. Case and Unicode form make no difference.
//
// CODEOWNERS is listed where GitHub reads it
// (https://docs.github.com/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners).
// An action's metadata file makes an action of any directory.
func ProtectedPaths() []string {
	return []string{
		".github/**", FloorPath,
		"CODEOWNERS", "docs/CODEOWNERS", ".github/CODEOWNERS",
		"**/action.yml", "**/action.yaml",
		"**/.gitattributes", "**/.gitmodules",
		".devcontainer/**", ".vscode/**",
		"**/AGENTS.md", "**/CLAUDE.md", "**/.claude/**", "**/.cursor/**", "**/.mcp.json",
	}
}

// Defaults and limits of times.
const (
	defaultDeployMaxAge = 24 * time.Hour
	minCredentialTTL    = time.Minute
	maxCredentialTTL    = time.Hour
	maxTargetTTL        = 10 * time.Minute
)

// ExcludedRoles are the roles that can never approve, whatever a policy says. A
// policy's list may only add to them.
func ExcludedRoles() []Role {
	return []Role{RoleAuthor, RoleCommitter, RoleCoAuthor, RoleLastPusher, RoleDispatcher}
}

// compile makes what the judges need. The policy must have passed the checks.
func (p *Policy) compile(data []byte) error {
	agents, err := NewCatalogue(p.Agents)
	if err != nil {
		return fmt.Errorf("agents: %w", err)
	}
	c := &compiledPolicy{agents: agents, names: slices.Sorted(maps.Keys(p.Environments))}
	sum := sha256.Sum256(data)
	c.digest = hex.EncodeToString(sum[:])

	var list []paths.Rule[pathRule]
	for i, name := range c.names {
		env := p.Environments[name]
		c.envs = append(c.envs, env)
		if env.Gate != GateAuto {
			c.human = append(c.human, i)
		}
		covers := []string{strings.ToLower(name)}
		if len(env.Deployments) > 0 {
			covers = nil
			for _, d := range env.Deployments {
				covers = append(covers, strings.ToLower(d))
			}
		}
		c.covers = append(c.covers, covers)

		if len(env.Paths) > 0 {
			list = append(list, paths.Rule[pathRule]{
				Patterns: env.Paths, Fold: env.Gate != GateAuto,
				Value: pathRule{kind: rulePaths, env: i},
			})
		}
		for _, pattern := range slices.Sorted(maps.Keys(env.Also)) {
			list = append(list, paths.Rule[pathRule]{
				Patterns: []string{pattern}, Fold: true,
				Value: pathRule{kind: ruleAlso, env: i, also: env.Also[pattern]},
			})
		}
	}
	list = append(list, paths.Rule[pathRule]{
		Patterns: append(ProtectedPaths(), p.Protect...), Fold: true,
		Value: pathRule{kind: ruleProtect, env: -1},
	})
	c.paths, err = paths.New(list)
	if err != nil {
		return err
	}
	p.compiled = c
	return nil
}

// steps are when a human is asked: both by default.
func (e *Environment) steps() []Step {
	if len(e.Steps) == 0 {
		return []Step{StepMerge, StepDeploy}
	}
	return e.Steps
}

// count is how many different reviewers must approve: at least one.
func (e *Environment) count() int { return max(1, e.Count) }

// acceptDeploy is the ways of approving at the deploy step. At the merge step it
// is a review, the only one there is.
func (e *Environment) acceptDeploy() []Accepted {
	if len(e.Accept.Deploy) == 0 {
		return []Accepted{AcceptCheckButton, AcceptDashboard}
	}
	return e.Accept.Deploy
}

// excluded are the roles that cannot approve: the built-in ones whatever the
// policy says, then its own.
func (e *Environment) excluded() []Role {
	roles := ExcludedRoles()
	for _, r := range e.Exclude {
		if !slices.Contains(roles, r) {
			roles = append(roles, r)
		}
	}
	return roles
}

// maxAge is how long an approval at a step stands; false is without limit.
func (e *Environment) maxAge(step Step) (time.Duration, bool) {
	switch {
	case e.MaxAge > 0:
		return time.Duration(e.MaxAge), true
	case step == StepMerge:
		return 0, false
	default:
		return defaultDeployMaxAge, true
	}
}

// reviewersOf are who approves: the environment's own list, else the policy's.
func (e *Environment) reviewersOf(p *Policy) []Reviewer {
	if len(e.Reviewers) > 0 {
		return e.Reviewers
	}
	return p.Reviewers
}

// events are what may start a deployment; nil is anything, which only an
// environment with gate: auto comes to.
func (e *Environment) events() []string {
	if len(e.Events) == 0 && e.Gate != GateAuto {
		return []string{"push", "release"}
	}
	return e.Events
}
