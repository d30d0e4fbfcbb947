package github

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

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

// Members says which of some people are in which of some teams now: one query. A
// team that is gone, or is another one now, has none of them. Only ids are compared.
// The keys are those of teams, "org/slug" in lower case.
func (r *Repository) Members(ctx context.Context, org string, teams map[string]rules.TeamID, people []rules.Actor) (map[string]rules.Team, error) {
	out := map[string]rules.Team{}
	slugs := map[string]string{} // of the organisation's own teams, by key
	for key, id := range teams {
		out[key] = rules.Team{ID: id, Members: map[rules.AccountID]rules.Tri{}}
		if owner, slug, _ := strings.Cut(key, "/"); strings.EqualFold(owner, org) {
			slugs[key] = slug
		}
	}
	found, err := r.searchTeams(ctx, org, slugs, people)
	if err != nil {
		return nil, err
	}
	for key, id := range teams {
		for i, p := range people {
			out[key].Members[p.ID] = found[key].has(id, p, i)
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
	return nil, nil
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
