package gate

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// maxPolicies is how many parsed policies are kept in memory.
const maxPolicies = 256

type policyKey struct {
	path string
	blob rules.SHA
	size int
}

// parse parses a policy text. Texts that came into force are parsed once.
func (g *Gate) parse(path string, blob rules.SHA, text []byte) (*rules.Policy, []rules.Problem) {
	key := policyKey{path, blob, len(text)}
	if blob != "" {
		g.mu.Lock()
		p := g.policies[key]
		g.mu.Unlock()
		if p != nil {
			return p, nil
		}
	}
	p, problems := rules.LoadPolicy(path, text)
	if rules.HasErrors(problems) || p == nil {
		return nil, problems
	}
	if blob != "" {
		g.mu.Lock()
		if len(g.policies) >= maxPolicies {
			clear(g.policies)
		}
		g.policies[key] = p
		g.mu.Unlock()
	}
	return p, problems
}

// policies are the versions in force for a repository, without their teams'
// members. Found is the policy file at the head of the default branch, as far as
// it is known: it only tells why there is no version in force.
func (g *Gate) policiesOf(ctx context.Context, at *place, found github.FileState) (rules.Policies, error) {
	repository, err := g.inForce(ctx, at.id, rules.PolicyPath, found)
	if err != nil {
		return rules.Policies{}, err
	}
	floor, err := g.floor(ctx, at)
	if err != nil {
		return rules.Policies{}, err
	}
	return rules.Policies{Repository: repository, Floor: floor}, nil
}

// inForce is the version of one policy that is in force, or why there is none.
func (g *Gate) inForce(ctx context.Context, repository rules.RepositoryID, path string, found github.FileState) (rules.PolicyVersion, error) {
	row, err := g.cfg.Store.Policy(ctx, repository, path)
	if errors.Is(err, store.ErrNotFound) {
		source := rules.PolicySource{Repository: repository, Path: path}
		switch found {
		case github.FileFound:
			return rules.PolicyVersion{State: rules.PolicyNotAdopted, Source: source, Why: "an administrator has to adopt the first version"}, nil
		case github.FileAbsent:
			return rules.PolicyVersion{State: rules.PolicyNone, Source: source}, nil
		default:
			return rules.PolicyVersion{State: rules.PolicyUnread, Source: source, Why: "the file could not be read as a policy"}, nil
		}
	}
	if err != nil {
		return rules.PolicyVersion{}, err
	}
	return g.version(row), nil
}

// version is a stored version as the judges take it.
func (g *Gate) version(row store.Policy) rules.PolicyVersion {
	v := rules.PolicyVersion{Source: rules.PolicySource{Repository: row.Repository, Path: row.Path, Commit: row.Commit, Blob: row.Blob}}
	if row.Deleted {
		v.State = rules.PolicyDeleted
		return v
	}
	p, problems := g.parse(row.Path, row.Blob, row.Text)
	if p == nil {
		// It was valid when it came into force: this program is another one.
		v.State = rules.PolicyInvalid
		v.Why = firstProblem(problems)
		return v
	}
	v.State, v.Policy = rules.PolicyInForce, p
	v.Directory = rules.Directory{Users: row.Pins.Users, Teams: map[string]rules.Team{}}
	for key, id := range row.Pins.Teams {
		v.Directory.Teams[key] = rules.Team{ID: id}
	}
	return v
}

func firstProblem(problems []rules.Problem) string {
	for _, p := range problems {
		if p.IsError() {
			return p.String()
		}
	}
	return "it cannot be read"
}

// repositoryData is what is known of a repository beside its row: what was found
// at the head of the default branch when it was last looked at.
type repositoryData struct {
	Branch string `json:"branch,omitzero"`
	// Ruled is when the environments' rules were last looked at.
	Ruled time.Time `json:"ruled,omitzero"`
	// Files are the policy files by path.
	Files map[string]seenFile `json:"files,omitzero"`
}

type seenFile struct {
	State  github.FileState `json:"state"`
	Blob   rules.SHA        `json:"blob,omitzero"`
	Branch string           `json:"branch,omitzero"`
	// Refused says why what was found is not in force.
	Refused rules.Code `json:"refused,omitzero"`
}

func repositoryKey(id rules.RepositoryID) rules.WorkKey {
	return rules.WorkKey{Kind: rules.WorkRepository, Repository: id}
}

func (g *Gate) repositoryData(ctx context.Context, id rules.RepositoryID) (repositoryData, error) {
	var data repositoryData
	err := g.subject(ctx, repositoryKey(id), &data)
	return data, err
}

// subject reads what was concluded about a key into data, which stays as it is
// where nothing was.
func (g *Gate) subject(ctx context.Context, key rules.WorkKey, data any) error {
	s, err := g.cfg.Store.Subject(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(s.Data, data); err != nil {
		return fmt.Errorf("reading what was concluded about %q: %w", key, err)
	}
	return nil
}

// floorSetting is where the repository of an account's floor is kept once one was
// seen: a floor that was seen never becomes absent.
func floorSetting(owner rules.AccountID) string {
	return "floor " + strconv.FormatInt(int64(owner), 10)
}

// floorRepository is the name of the repository that holds an organisation's
// floor.
const floorRepository = ".github"

// floor is the organisation's floor that applies to a repository. Whatever is not
// surely so waits.
func (g *Gate) floor(ctx context.Context, at *place) (rules.PolicyVersion, error) {
	seen, err := g.cfg.Store.Setting(ctx, floorSetting(at.installation.Account))
	switch {
	case err == nil:
		id, err := strconv.ParseInt(string(seen), 10, 64)
		if err != nil {
			return rules.PolicyVersion{}, fmt.Errorf("reading where the floor of account %d is: %w", at.installation.Account, err)
		}
		// Adopted or not: it was seen, so it is not absent.
		return g.inForce(ctx, rules.RepositoryID(id), rules.FloorPath, github.FileFound)
	case !errors.Is(err, store.ErrNotFound):
		return rules.PolicyVersion{}, err
	case g.cfg.NoFloor, at.installation.Type != "Organization":
		return rules.PolicyVersion{State: rules.PolicyNone}, nil
	}
	repos, err := g.cfg.Store.Repositories(ctx, at.installation.ID)
	if err != nil {
		return rules.PolicyVersion{}, err
	}
	for _, r := range repos {
		if _, name, _ := strings.Cut(r.FullName, "/"); !strings.EqualFold(name, floorRepository) {
			continue
		}
		data, err := g.repositoryData(ctx, r.ID)
		if err != nil {
			return rules.PolicyVersion{}, err
		}
		switch data.Files[rules.FloorPath].State {
		case github.FileAbsent:
			return rules.PolicyVersion{State: rules.PolicyNone}, nil
		case github.FileFound:
			return rules.PolicyVersion{State: rules.PolicyNotAdopted}, nil
		default:
			return rules.PolicyVersion{State: rules.PolicyUnread, Why: "the organisation's floor was not read yet"}, nil
		}
	}
	if at.selection == "all" {
		// The App sees every repository, and none has that name.
		return rules.PolicyVersion{State: rules.PolicyNone}, nil
	}
	return rules.PolicyVersion{State: rules.PolicyUnread, Why: "the App cannot see " + at.owner() + "/" + floorRepository +
		": install it there, or start the server with SALLYPORT_ORG_FLOOR=none"}, nil
}
