package github

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/rules"
)

// Standing is an open pull request as far as a list of them can show what a decision
// about it rests on.
type Standing struct {
	Number int
	Head   rules.SHA
	Base   string
	// Facts is a digest of the reviews and of the checks at the head, "" where not all of
	// them are in the list. It is compared with one of another list and with nothing else.
	// What we do ourselves is not in it: our check, and our approval as long as it holds.
	Facts string
	// People are those who gave an opinion.
	People []rules.Actor
}

// standingQuery asks for 50 pull requests: about 2 points.
const standingQuery = `query standing($owner:String!,$name:String!,$after:String){
	repository(owner:$owner,name:$name){databaseId pullRequests(states:[OPEN],first:50,after:$after){pageInfo{hasNextPage endCursor} nodes{
		number baseRefName headRefOid isDraft
		reviews(first:100){pageInfo{hasNextPage endCursor} nodes{` + reviewFields + `}}
		last:commits(last:1){nodes{commit{oid statusCheckRollup{contexts(first:100){pageInfo{hasNextPage endCursor} nodes{__typename
			...on CheckRun{databaseId name status conclusion completedAt checkSuite{app{databaseId}}} ...on StatusContext{context state createdAt}}}}}}}
	}}}}`

type gqlStanding struct {
	Number  int        `json:"number"`
	Base    string     `json:"baseRefName"`
	Head    rules.SHA  `json:"headRefOid"`
	IsDraft bool       `json:"isDraft"`
	Reviews gqlReviews `json:"reviews"`
	Last    struct {
		Nodes []struct {
			Commit struct {
				OID    rules.SHA `json:"oid"`
				Rollup *struct {
					Contexts struct {
						PageInfo gqlPage      `json:"pageInfo"`
						Nodes    []gqlContext `json:"nodes"`
					} `json:"contexts"`
				} `json:"statusCheckRollup"`
			} `json:"commit"`
		} `json:"nodes"`
	} `json:"last"`
}

// gqlContext is a check run, or a status.
type gqlContext struct {
	Type        string            `json:"__typename"`
	ID          *rules.CheckRunID `json:"databaseId"`
	Name        string            `json:"name"`
	Status      string            `json:"status"`
	Conclusion  string            `json:"conclusion"`
	CompletedAt *time.Time        `json:"completedAt"`
	Suite       *struct {
		App *struct {
			DatabaseID rules.AppID `json:"databaseId"`
		} `json:"app"`
	} `json:"checkSuite"`
	Context   string     `json:"context"`
	State     string     `json:"state"`
	CreatedAt *time.Time `json:"createdAt"`
}

// Standing lists the open pull requests with what decisions about them rest on: one query
// for 50 of them.
func (r *Repository) Standing(ctx context.Context) ([]Standing, error) {
	self, err := r.client.Self(ctx)
	if err != nil {
		return nil, err
	}
	var out []Standing
	v := map[string]any{"owner": r.owner, "name": r.name, "after": nil}
	for range 2 * maxPages { // a page has half of what one of REST has
		var data struct {
			Repository *struct {
				DatabaseID rules.RepositoryID `json:"databaseId"`
				Pulls      struct {
					PageInfo gqlPage       `json:"pageInfo"`
					Nodes    []gqlStanding `json:"nodes"`
				} `json:"pullRequests"`
			} `json:"repository"`
		}
		if err := r.query(ctx, standingQuery, v, &data); err != nil {
			return nil, err
		}
		if data.Repository == nil || data.Repository.DatabaseID != r.id {
			return nil, ErrNotFound // it was renamed, and another one has its name
		}
		for i := range data.Repository.Pulls.Nodes {
			out = append(out, data.Repository.Pulls.Nodes[i].standing(self))
		}
		if !data.Repository.Pulls.PageInfo.HasNextPage {
			return out, nil
		}
		v["after"] = data.Repository.Pulls.PageInfo.EndCursor
	}
	return nil, errTooLong
}

func (g *gqlStanding) standing(self App) Standing {
	out := Standing{Number: g.Number, Head: g.Head, Base: g.Base}
	facts := []string{fmt.Sprintf("draft %t", g.IsDraft)}
	for _, v := range g.Reviews.Nodes {
		who := v.Author.actor()
		own := who.ID != 0 && who.ID == self.Bot.ID && who.Type == rules.ActorBot
		var sha rules.SHA
		if v.Commit != nil {
			sha = v.Commit.OID
		}
		if own && v.State == "APPROVED" && sha == g.Head {
			continue
		}
		write := rules.Unknown
		if v.CanPush != nil {
			write = rules.TriOf(*v.CanPush)
		}
		facts = append(facts, fmt.Sprintf("review %d %s %d %s %d", v.ID, v.State, who.ID, sha, write))
		if gave := v.State == "APPROVED" || v.State == "CHANGES_REQUESTED"; gave && who.Type == rules.ActorUser && who.ID != 0 && !slices.Contains(out.People, who) {
			out.People = append(out.People, who)
		}
	}
	if g.Reviews.PageInfo.HasNextPage || len(g.Last.Nodes) != 1 || g.Last.Nodes[0].Commit.OID != g.Head {
		return out // not all is in the list
	}
	if rollup := g.Last.Nodes[0].Commit.Rollup; rollup != nil {
		if rollup.Contexts.PageInfo.HasNextPage {
			return out
		}
		for _, k := range rollup.Contexts.Nodes {
			if fact := k.fact(self.ID); fact != "" {
				facts = append(facts, fact)
			}
		}
	}
	slices.Sort(facts)
	sum := sha256.Sum256([]byte(strings.Join(facts, "\n")))
	out.Facts = hex.EncodeToString(sum[:12])
	return out
}

// fact is a check or a status as a line, "" for a check of our own. A check run that went
// back to where it was ended at another time.
func (k *gqlContext) fact(own rules.AppID) string {
	at := func(t *time.Time) string {
		if t == nil {
			return "-"
		}
		return t.UTC().Format(time.RFC3339)
	}
	if k.Type != "CheckRun" {
		return fmt.Sprintf("status %s %s %q", k.State, at(k.CreatedAt), k.Context)
	}
	var id rules.CheckRunID
	if k.ID != nil {
		id = *k.ID
	}
	var app rules.AppID
	if k.Suite != nil && k.Suite.App != nil {
		app = k.Suite.App.DatabaseID
	}
	if app == own && app != 0 {
		return ""
	}
	return fmt.Sprintf("check %d %d %s %s %s %q", id, app, k.Status, k.Conclusion, at(k.CompletedAt), k.Name)
}
