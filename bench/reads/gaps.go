package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"
	"github.com/vektah/gqlparser/v2/parser"
)

// maxBody is the most that is read of an answer: a page of 100 files has 100 KB.
const maxBody = 8 << 20

// gaps is policy-bot's transport. It answers what policy-bot asks and githubtest
// does not know, out of the scene: fields of GraphQL queries, which it cuts out of
// the query and puts into the answer, and the two routes of commit statuses. Every
// request still goes to githubtest exactly once, and is counted there. What
// githubtest learns is no longer answered here.
type gaps struct {
	s    *scene
	bot  *githubtest.User
	next *http.Transport
	// mu guards plans: what was found out of each query.
	mu    sync.Mutex
	plans map[string]*plan
}

func newGaps(s *scene, bot *githubtest.User) *gaps {
	return &gaps{s: s, bot: bot, next: &http.Transport{}, plans: map[string]*plan{}}
}

// knownGaps are the violations that come of what gaps answers, and of the token
// exchanges of the library that policy-bot uses. Any other ends the program.
func knownGaps() []string {
	return []string{
		"GraphQL: Cannot query field", "GraphQL: Unknown type", // asked as a person: see missing
		"POST /repos/acme/orders/statuses/", "/statuses: no such route",
		"/access_tokens: request without a ",
	}
}

func (t *gaps) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/graphql" {
		return t.query(r)
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(io.LimitReader(r.Body, maxBody)); err != nil {
			return nil, err
		}
		_ = r.Body.Close()
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	response, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	path := strings.TrimPrefix(r.URL.Path, "/repos/"+t.s.repo.FullName()+"/")
	switch sha, found := strings.CutPrefix(path, "statuses/"); {
	case r.Method == http.MethodPost && found:
		return t.postStatus(response, sha, body)
	case r.Method == http.MethodGet && response.StatusCode == http.StatusNotFound && strings.HasPrefix(path, "commits/") && strings.HasSuffix(path, "/statuses"):
		return t.listStatuses(response, strings.TrimSuffix(strings.TrimPrefix(path, "commits/"), "/statuses"))
	}
	return response, nil
}

// postStatus is POST /repos/{owner}/{repo}/statuses/{sha}.
func (t *gaps) postStatus(response *http.Response, sha string, body []byte) (*http.Response, error) {
	var in struct {
		Context string `json:"context"`
		State   string `json:"state"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fmt.Errorf("reading a status: %w", err)
	}
	switch response.StatusCode {
	case http.StatusCreated: // githubtest knows it by now
		t.s.noteStatus(sha, in.Context, in.State)
		return response, nil
	case http.StatusNotFound:
		t.s.status(t.bot, sha, in.Context, in.State)
		return answer(response, http.StatusCreated, map[string]any{"context": in.Context, "state": in.State})
	}
	return response, nil
}

// listStatuses is GET /repos/{owner}/{repo}/commits/{ref}/statuses, newest first.
func (t *gaps) listStatuses(response *http.Response, sha string) (*http.Response, error) {
	out := []any{}
	for _, st := range slices.Backward(t.s.statusesOf(sha)) {
		out = append(out, map[string]any{"context": st.context, "state": st.state, "created_at": st.at.Format(time.RFC3339)})
	}
	return answer(response, http.StatusOK, out)
}

// answer puts another answer in place of one.
func answer(response *http.Response, status int, body any) (*http.Response, error) {
	_ = response.Body.Close()
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	response.StatusCode, response.Status = status, http.StatusText(status)
	response.Header.Set("Content-Type", "application/json; charset=utf-8")
	response.Header.Del("Content-Length")
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	return response, nil
}

// filling is a field that githubtest may lack, and what to answer for it.
type filling struct {
	// of and field are the type and field as githubtest complains of them; under is
	// the field around it, which tells it from fields of the same name elsewhere.
	of, field, under string
	value            func(s *scene, vars map[string]any) any
}

func none(*scene, map[string]any) any { return nil }

// fillings are what policy-bot's queries ask beyond what githubtest knew when this
// was written. The commits of the scenes have no signatures.
func fillings() []filling {
	return []filling{
		{"PullRequest", "comments", "pullRequest", commentPage},
		{"PullRequest", "baseRepository", "pullRequest", func(s *scene, _ map[string]any) any { return map[string]any{"databaseId": s.repo.ID} }},
		{"Repository", "owner", "headRepository", func(s *scene, _ map[string]any) any {
			return map[string]any{"__typename": "Organization", "login": s.acme.Name}
		}},
		{"PullRequestReview", "lastEditedAt", "nodes", none},
		{"Commit", "committedViaWeb", "commit", func(*scene, map[string]any) any { return false }},
		{"GpgSignature", "email", "signature", none},
		{"GpgSignature", "keyId", "signature", none},
		{"GpgSignature", "payload", "signature", none},
		{"GpgSignature", "signature", "signature", none},
		{"GpgSignature", "signer", "signature", none},
	}
}

// commentPage is the connection PullRequest.comments: one page.
func commentPage(s *scene, vars map[string]any) any {
	nodes := []any{}
	if vars["commentCursor"] == nil {
		for _, c := range s.commentsOf(vars["number"]) {
			nodes = append(nodes, map[string]any{
				"author": map[string]any{"__typename": "User", "login": c.by}, "body": c.body, "createdAt": c.at.Format(time.RFC3339), "lastEditedAt": nil,
			})
		}
	}
	var end any
	if len(nodes) > 0 {
		end = "the end"
	}
	return map[string]any{"nodes": nodes, "pageInfo": map[string]any{"endCursor": end, "hasNextPage": false}}
}

// plan is how a query is asked of githubtest.
type plan struct {
	text string
	vars map[string]bool // the variables that are left
	puts []put
}

// put is a value that was cut out: path leads to the object that it belongs in.
type put struct {
	path  []string
	field string
	value func(s *scene, vars map[string]any) any
}

type graphQL struct {
	Query     string         `json:"query"`
	Variables map[string]any `json:"variables,omitempty"`
}

// query sends a GraphQL query as githubtest understands it.
func (t *gaps) query(r *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	_ = r.Body.Close()
	var in graphQL
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, fmt.Errorf("reading a query: %w", err)
	}
	p, err := t.plan(r.Context(), in)
	if err != nil {
		return nil, err
	}
	out := graphQL{Query: p.text, Variables: map[string]any{}}
	for name, v := range in.Variables {
		if p.vars[name] {
			out.Variables[name] = v
		}
	}
	if raw, err = json.Marshal(out); err != nil {
		return nil, err
	}
	again := r.Clone(r.Context())
	again.Body, again.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	response, err := t.next.RoundTrip(again)
	if err != nil || len(p.puts) == 0 || response.StatusCode != http.StatusOK {
		return response, err
	}
	var data map[string]any
	err = json.NewDecoder(io.LimitReader(response.Body, maxBody)).Decode(&data)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading an answer: %w", err), response.Body.Close())
	}
	for _, put := range p.puts {
		put.into(data["data"], t.s, in.Variables)
	}
	return answer(response, http.StatusOK, data)
}

// into puts the value into every object that the path leads to.
func (p put) into(at any, s *scene, vars map[string]any) {
	switch at := at.(type) {
	case []any:
		for _, x := range at {
			p.into(x, s, vars)
		}
	case map[string]any:
		if len(p.path) == 0 {
			at[p.field] = p.value(s, vars)
			return
		}
		put{p.path[1:], p.field, p.value}.into(at[p.path[0]], s, vars)
	}
}

// plan finds out, once for each query and as a person, what of it githubtest lacks.
func (t *gaps) plan(ctx context.Context, in graphQL) (*plan, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.plans[in.Query]; p != nil {
		return p, nil
	}
	doc, err := parser.ParseQuery(&ast.Source{Input: in.Query})
	if err != nil {
		return nil, fmt.Errorf("parsing a query: %w", err)
	}
	p := &plan{}
	for {
		p.text = formatted(doc)
		missing, err := t.missing(ctx, p, doc, in.Variables)
		if err != nil {
			return nil, err
		}
		if len(missing) == 0 {
			t.plans[in.Query] = p
			return p, nil
		}
		for _, m := range missing {
			cut := cutter{m, p, 0}
			for _, op := range doc.Operations {
				op.SelectionSet = cut.set(op.SelectionSet, nil)
			}
			if cut.n == 0 {
				return nil, fmt.Errorf("githubtest lacks %s, and bench/reads does not know what to answer", m)
			}
		}
	}
}

func formatted(doc *ast.QueryDocument) string {
	var out strings.Builder
	formatter.NewFormatter(&out).FormatQueryDocument(doc)
	return out.String()
}

// lack is a field, or (field "") a type, that githubtest does not know.
type lack struct{ of, field string }

func (l lack) String() string { return strings.TrimSuffix(l.of+"."+l.field, ".") }

func lackPattern() *regexp.Regexp {
	return regexp.MustCompile(`^(?:Cannot query field "(\w+)" on type "(\w+)"|Unknown type "(\w+)")`)
}

// missing asks the query as a person, so that it is not counted as policy-bot's.
func (t *gaps) missing(ctx context.Context, p *plan, doc *ast.QueryDocument, vars map[string]any) ([]lack, error) {
	// Variables that only what was cut used must go too.
	p.vars = map[string]bool{}
	used := variables(p.text)
	for _, op := range doc.Operations {
		op.VariableDefinitions = slices.DeleteFunc(op.VariableDefinitions, func(v *ast.VariableDefinition) bool { return !used[v.Variable] })
		for _, v := range op.VariableDefinitions {
			p.vars[v.Variable] = true
		}
		if op.Operation == ast.Mutation {
			return nil, nil // asking would do it
		}
	}
	p.text = formatted(doc)
	ask := graphQL{Query: p.text, Variables: map[string]any{}}
	for name := range p.vars {
		ask.Variables[name] = vars[name]
	}
	raw, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	body, err := t.s.read(ctx, http.MethodPost, "/graphql", raw)
	if err != nil {
		return nil, err
	}
	var said struct {
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(body, &said); err != nil {
		return nil, fmt.Errorf("reading what githubtest lacks: %w", err)
	}
	pattern := lackPattern()
	var out []lack
	for _, e := range said.Errors {
		m := pattern.FindStringSubmatch(e.Message)
		if m == nil {
			return nil, fmt.Errorf("githubtest says %q of a query of policy-bot's", e.Message)
		}
		l := lack{m[2], m[1]}
		if m[3] != "" {
			l = lack{m[3], ""}
		}
		if !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out, nil
}

// variables are the names that a query uses: a definition has a colon behind it.
func variables(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range regexp.MustCompile(`\$(\w+)(\s*:)?`).FindAllStringSubmatch(text, -1) {
		if m[2] == "" {
			out[m[1]] = true
		}
	}
	return out
}

// cutter cuts one lack out of a query and plans what is put in its place.
type cutter struct {
	lack
	p *plan
	n int
}

func (c *cutter) set(set ast.SelectionSet, path []string) ast.SelectionSet {
	var out ast.SelectionSet
	for _, x := range set {
		switch x := x.(type) {
		case *ast.InlineFragment:
			if c.field == "" && x.TypeCondition == c.of {
				c.n++ // nothing of such a type can come, so nothing is put in its place
				continue
			}
			x.SelectionSet = c.set(x.SelectionSet, path)
		case *ast.Field:
			if f := c.filling(x.Name, path); f != nil {
				c.n++
				c.p.puts = append(c.p.puts, put{slices.Clone(path), x.Name, f.value})
				continue
			}
			x.SelectionSet = c.set(x.SelectionSet, append(slices.Clone(path), x.Name))
		}
		out = append(out, x)
	}
	return out
}

func (c *cutter) filling(field string, path []string) *filling {
	if field != c.field || len(path) == 0 {
		return nil
	}
	for _, f := range fillings() {
		if f.of == c.of && f.field == c.field && f.under == path[len(path)-1] {
			return &f
		}
	}
	return nil
}
