package github

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	gh "github.com/google/go-github/v62/github"

	"github.com/sallyport/sallyport/rules"
)

// gqlTeam is a team with what was found of people in it, by alias.
type gqlTeam struct {
	ID     rules.TeamID
	People map[string]gqlMembers
}

type gqlMembers struct {
	PageInfo gqlPage `json:"pageInfo"`
	Nodes    []struct {
		ID rules.AccountID `json:"databaseId"`
	} `json:"nodes"`
}

// UnmarshalJSONFrom reads the id and, under any other name, members.
func (t *gqlTeam) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	var all map[string]jsontext.Value
	if err := json.UnmarshalDecode(d, &all); err != nil {
		return err
	}
	t.People = map[string]gqlMembers{}
	for name, v := range all {
		if name == "databaseId" {
			if err := json.Unmarshal(v, &t.ID); err != nil {
				return err
			}
			continue
		}
		var m gqlMembers
		if err := json.Unmarshal(v, &m); err != nil {
			return err
		}
		t.People[name] = m
	}
	return nil
}

// Members says which of some people are in which of some teams of an organisation now:
// one query. Only ids are compared: a team is asked for by the name that the policy has
// for it, and where that is not the pinned one any more, by the name that the pinned one
// has now. One that is gone has none of them, nor has another one of its old name. The
// keys are those of teams, "org/slug" in lower case; whose organisation it was when they
// were pinned is of no matter, since it may have been renamed too.
func (r *Repository) Members(ctx context.Context, org string, teams map[string]rules.TeamID, people []rules.Actor) (map[string]rules.Team, error) {
	out := map[string]rules.Team{}
	for key, id := range teams {
		out[key] = rules.Team{ID: id, Members: map[rules.AccountID]rules.Tri{}}
	}
	if len(people) == 0 {
		return out, nil
	}
	slugs := r.client.slugs(org, teams)
	found, err := r.searchTeams(ctx, org, slugs, people)
	if err != nil {
		return nil, err
	}
	lost := map[string]rules.TeamID{}
	for key, id := range teams {
		if t := found[key]; t == nil || t.ID != id {
			lost[key] = id
		}
	}
	renamed, err := r.renamedTeams(ctx, org, lost)
	if err != nil {
		return nil, err
	}
	again, err := r.searchTeams(ctx, org, renamed, people)
	if err != nil {
		return nil, err
	}
	maps.Copy(found, again)
	for key, id := range teams {
		for i, p := range people {
			out[key].Members[p.ID] = found[key].has(id, p, i)
		}
	}
	return out, nil
}

// TeamSlug is what a team of an organisation is called now, "" where it has none with the
// id. It is asked for where a name of it turned out not to be its own.
func (r *Repository) TeamSlug(ctx context.Context, org string, id rules.TeamID) (string, error) {
	found, err := r.renamedTeams(ctx, org, map[string]rules.TeamID{"": id})
	return found[""], err
}

// LoginOf is what an account is called now, or [ErrNotFound].
func (r *Repository) LoginOf(ctx context.Context, id rules.AccountID) (rules.Login, error) {
	var who gh.User
	if _, err := r.send(ctx, http.MethodGet, fmt.Sprintf("user/%d", id), nil, &who); err != nil {
		return "", err
	}
	if rules.AccountID(who.GetID()) != id {
		return "", ErrNotFound
	}
	return rules.Login(who.GetLogin()), nil
}

// teamKey is a team of an organisation, by its present name.
type teamKey struct {
	org string
	id  rules.TeamID
}

// teamName is what a team that is not found by its policy's name is called now: "" where
// the organisation had none with its id then.
type teamName struct {
	slug string
	at   time.Time
}

const (
	// lostTeamLife is for how long a team that the organisation did not have is not
	// looked for again.
	lostTeamLife = time.Minute
	// maxTeamNames is how many are kept.
	maxTeamNames = 10_000
)

// slugs are the names to ask for teams by: those of the policy, but for the teams that
// are known to have another one now.
func (c *Client) slugs(org string, teams map[string]rules.TeamID) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]string{}
	for key, id := range teams {
		_, slug, _ := strings.Cut(key, "/")
		out[key] = cmp.Or(c.teams[teamKey{strings.ToLower(org), id}].slug, slug)
	}
	return out
}

// renamedTeams finds, in the list of the organisation's teams, the present names of teams
// that were not found by the names that they were asked for by. It costs a query for each
// hundred of them, and is kept: what is wrong is found out when it is used, since ids are
// compared then.
func (r *Repository) renamedTeams(ctx context.Context, org string, lost map[string]rules.TeamID) (map[string]string, error) {
	c, now := r.client, r.client.cfg.Now()
	wanted := map[rules.TeamID]string{}
	c.mu.Lock()
	for _, id := range lost {
		known, ok := c.teams[teamKey{strings.ToLower(org), id}]
		if age := now.Sub(known.at); !ok || known.slug != "" || age < 0 || age >= lostTeamLife {
			wanted[id] = ""
		}
	}
	c.mu.Unlock()
	if len(wanted) == 0 {
		return nil, nil
	}
	v := map[string]any{"org": org, "after": nil}
	for left, page := len(wanted), 0; left > 0; page++ {
		if page == maxPages {
			return nil, errTooLong
		}
		var data struct {
			Organization struct {
				Teams struct {
					PageInfo gqlPage `json:"pageInfo"`
					Nodes    []struct {
						ID   rules.TeamID `json:"databaseId"`
						Slug string       `json:"slug"`
					} `json:"nodes"`
				} `json:"teams"`
			} `json:"organization"`
		}
		if err := r.query(ctx, `query teams($org:String!,$after:String){organization(login:$org){teams(first:100,after:$after){pageInfo{hasNextPage endCursor} nodes{databaseId slug}}}}`, v, &data); err != nil {
			return nil, err
		}
		for _, t := range data.Organization.Teams.Nodes {
			if before, ok := wanted[t.ID]; ok && before == "" && t.ID != 0 {
				wanted[t.ID] = t.Slug
				left--
			}
		}
		if !data.Organization.Teams.PageInfo.HasNextPage {
			break
		}
		v["after"] = data.Organization.Teams.PageInfo.EndCursor
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.teams) > maxTeamNames {
		clear(c.teams)
	}
	out := map[string]string{}
	for id, slug := range wanted {
		c.teams[teamKey{strings.ToLower(org), id}] = teamName{slug, now}
	}
	for key, id := range lost {
		if slug := wanted[id]; slug != "" {
			out[key] = slug
		}
	}
	return out, nil
}

// has says whether the person with a number is in the team, if it has an id.
func (t *gqlTeam) has(id rules.TeamID, p rules.Actor, number int) rules.Tri {
	if t == nil || t.ID != id || p.ID == 0 {
		return rules.No
	}
	page := t.People[fmt.Sprintf("p%d", number)]
	for _, n := range page.Nodes {
		if n.ID == p.ID {
			return rules.Yes
		}
	}
	if page.PageInfo.HasNextPage {
		return rules.Unknown
	}
	return rules.No
}

// searchTeams searches teams for people by login, which finds too many rather than
// too few.
func (r *Repository) searchTeams(ctx context.Context, org string, slugs map[string]string, people []rules.Actor) (map[string]*gqlTeam, error) {
	keys := slices.Sorted(maps.Keys(slugs))
	for len(keys) > 0 && len(people) > 0 {
		var q strings.Builder
		declared := []string{"$org:String!"}
		v := map[string]any{"org": org}
		for i, p := range people {
			declared = append(declared, fmt.Sprintf("$p%d:String!", i))
			v[fmt.Sprintf("p%d", i)] = string(p.Login)
		}
		for i, key := range keys {
			declared = append(declared, fmt.Sprintf("$t%d:String!", i))
			v[fmt.Sprintf("t%d", i)] = slugs[key]
			fmt.Fprintf(&q, "t%d:team(slug:$t%d){databaseId", i, i)
			for j := range people {
				fmt.Fprintf(&q, " p%d:members(first:100,query:$p%d,membership:ALL){pageInfo{hasNextPage} nodes{databaseId}}", j, j)
			}
			q.WriteString("}\n")
		}
		var data struct {
			Organization map[string]*gqlTeam `json:"organization"`
		}
		err := r.query(ctx, "query members("+strings.Join(declared, ",")+"){organization(login:$org){"+q.String()+"}}", v, &data)
		if there := withoutLost(err, keys); len(there) < len(keys) {
			keys = there // and once more without those, for an answer without errors
			continue
		}
		if err != nil {
			return nil, err
		}
		out := map[string]*gqlTeam{}
		for i, key := range keys {
			out[key] = data.Organization[fmt.Sprintf("t%d", i)]
		}
		return out, nil
	}
	return map[string]*gqlTeam{}, nil
}

// withoutLost leaves out the teams of which GitHub says that there are none, if that
// is all that it complains of. It may as well give null for them, without an error.
func withoutLost(err error, keys []string) []string {
	var faults *graphQLError
	if !errors.As(err, &faults) || !faults.all("NOT_FOUND") {
		return keys
	}
	lost := map[string]bool{}
	for _, e := range faults.Errors {
		if len(e.Path) != 2 || e.Path[0] != "organization" {
			return keys // something else is not there
		}
		if name, ok := e.Path[1].(string); ok {
			lost[name] = true
		}
	}
	var out []string
	for i, key := range keys {
		if !lost[fmt.Sprintf("t%d", i)] {
			out = append(out, key)
		}
	}
	return out
}
