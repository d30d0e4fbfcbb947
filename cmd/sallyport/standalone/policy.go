package standalone

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/rules"
)

// version reads a policy as it stands at a commit. By which way it came there cannot be
// told: what is valid is in force.
func (j *Judge) version(ctx context.Context, repo *github.Repository, id rules.RepositoryID, path string, at rules.SHA) (rules.PolicyVersion, error) {
	v := rules.PolicyVersion{Source: rules.PolicySource{Repository: id, Path: path, Commit: at}}
	file, err := repo.File(ctx, path, string(at))
	if err != nil {
		return v, fmt.Errorf("reading the policy %s: %w", path, err)
	}
	v.Source.Blob = file.Blob
	switch file.State {
	case github.FileFound:
	case github.FileAbsent:
		v.State = rules.PolicyNone
		return v, nil
	default:
		v.Why = "the file could not be read as a policy"
		return v, nil
	}
	policy, problems := rules.LoadPolicy(path, file.Text)
	if policy == nil || rules.HasErrors(problems) {
		v.State, v.Why = rules.PolicyInvalid, "it cannot be read"
		if i := slices.IndexFunc(problems, rules.Problem.IsError); i >= 0 {
			v.Why = problems[i].String()
		}
		return v, nil
	}
	v.State, v.Policy = rules.PolicyInForce, policy
	v.Directory, err = j.directory(ctx, policy)
	return v, err
}

// directory finds who the policy's users are now. Teams have no members that are known.
func (j *Judge) directory(ctx context.Context, p *rules.Policy) (rules.Directory, error) {
	var ask []rules.Login
	names := reviewers(p)
	for _, a := range p.Agents.Also {
		for _, l := range a.Logins {
			names = append(names, rules.Reviewer(l))
		}
	}
	for _, r := range names {
		if _, asked := j.users[r.Key()]; !r.IsTeam() && !asked {
			ask = append(ask, rules.Login(r))
			j.users[r.Key()] = 0
		}
	}
	found, _, _, err := j.repo.Pins(ctx, "", ask, nil)
	if err != nil {
		return rules.Directory{}, err
	}
	maps.Copy(j.users, found)
	out := rules.Directory{Users: map[string]rules.AccountID{}, Teams: map[string]rules.Team{}}
	for _, r := range names {
		if id := j.users[r.Key()]; id != 0 {
			out.Users[r.Key()] = id
		}
	}
	return out, nil
}

// reviewers are all whose approval a policy can ask for, each once, in its order.
func reviewers(p *rules.Policy) []rules.Reviewer {
	all := slices.Clone(p.Reviewers)
	for _, name := range p.EnvironmentNames() {
		env := p.Environments[name]
		all = append(all, env.Reviewers...)
		for _, pattern := range slices.Sorted(maps.Keys(env.Also)) {
			all = append(all, env.Also[pattern]...)
		}
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(r rules.Reviewer) bool {
		again := seen[r.Key()]
		seen[r.Key()] = true
		return again
	})
}

// floorRepository is the name of the repository that holds an organisation's floor.
const floorRepository = ".github"

// floorOf is the organisation's floor, as far as the job's token sees it: only where its
// repository is public, or the job's own.
func (j *Judge) floorOf(ctx context.Context) (rules.PolicyVersion, error) {
	if j.floor != nil {
		return *j.floor, nil
	}
	v, err := j.readFloor(ctx)
	if err == nil {
		j.floor = &v
	}
	return v, err
}

func (j *Judge) readFloor(ctx context.Context) (rules.PolicyVersion, error) {
	if j.info.Owner.Type == "User" {
		return rules.PolicyVersion{State: rules.PolicyNone}, nil
	}
	owner, _, _ := strings.Cut(j.job.Repository.FullName, "/")
	full := owner + "/" + floorRepository
	unnumbered := j.client.Repository(0, 0, full)
	info, err := unnumbered.Info(ctx)
	switch {
	case (errors.Is(err, github.ErrNotFound) || errors.Is(err, github.ErrForbidden)) && j.job.NoFloor:
		return rules.PolicyVersion{State: rules.PolicyNone}, nil
	case errors.Is(err, github.ErrNotFound), errors.Is(err, github.ErrForbidden):
		return rules.PolicyVersion{State: rules.PolicyUnread, Why: "the job's token does not see " + full + ", where the organisation's floor would be"}, nil
	case err != nil:
		return rules.PolicyVersion{}, fmt.Errorf("reading the organisation's floor: %w", err)
	case info.Owner.ID != j.info.Owner.ID:
		return rules.PolicyVersion{State: rules.PolicyUnread, Why: full + " belongs to somebody else"}, nil
	}
	repo := j.client.Repository(0, info.ID, full)
	head, err := repo.Head(ctx, info.DefaultBranch)
	if errors.Is(err, github.ErrNotFound) {
		return rules.PolicyVersion{State: rules.PolicyNone}, nil // it has no commit
	}
	if err != nil {
		return rules.PolicyVersion{}, fmt.Errorf("reading the organisation's floor: %w", err)
	}
	return j.version(ctx, repo, info.ID, rules.FloorPath, head)
}
