package githubtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxBody is the largest request body that is read.
const maxBody = 8 << 20

// route is one operation.
type route struct {
	pattern string // "GET /repos/{owner}/{repo}/pulls"
	who     who
	// need are the permissions of which one is enough, each "name:level"; needOrg
	// says that they are the organisation's.
	need []string
	// query are the query parameters that it knows; a list knows page and per_page
	// too.
	query string
	list  bool
	// content says that it makes what people see, which has a limit of its own.
	content bool
	serve   func(*call) (any, error)
}

// call is one request on its way through.
type call struct {
	g      *GitHub
	r      *http.Request
	route  *route
	caller caller
	body   []byte
	status int
	header http.Header
	repo   *Repository
	org    *Organization
	more   int // what it takes of the primary limit beside the request itself
}

func (g *GitHub) handler() http.Handler {
	mux := http.NewServeMux()
	g.routes = map[string]*route{}
	for _, r := range allRoutes() {
		g.routes[r.pattern] = &r
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, q *http.Request) { g.serve(w, q, g.routes[r.pattern]) })
	}
	mux.HandleFunc("/_oidc/", g.serveOIDC)
	g.webPages(mux)
	mux.HandleFunc("/login/", g.serveLogin)
	mux.HandleFunc("/repositories/{id}/", func(w http.ResponseWriter, q *http.Request) { g.byNumber(mux, w, q) })
	mux.HandleFunc("/repositories/{id}", func(w http.ResponseWriter, q *http.Request) { g.byNumber(mux, w, q) })
	mux.HandleFunc("/", func(w http.ResponseWriter, q *http.Request) { g.serve(w, q, nil) })
	return mux
}

// byNumber serves /repositories/ID/…, where the redirects of renamed repositories
// lead, as the same below the present name.
func (g *GitHub) byNumber(mux http.Handler, w http.ResponseWriter, q *http.Request) {
	g.mu.Lock()
	r := g.repos[asID(q.PathValue("id"))]
	name := "unknown/unknown"
	if r != nil {
		name = r.fullName()
	}
	g.mu.Unlock()
	rest := strings.TrimPrefix(q.URL.EscapedPath(), "/repositories/"+q.PathValue("id"))
	to, err := url.Parse("/repos/" + name + rest)
	if err != nil {
		http.NotFound(w, q)
		return
	}
	again := q.Clone(q.Context())
	again.URL.Path, again.URL.RawPath = to.Path, to.RawPath
	mux.ServeHTTP(w, again)
}

// Routes lists the operations that are known, as method and path.
func (g *GitHub) Routes() []string { return slices.Sorted(maps.Keys(g.routes)) }

// serve answers one request: complaints, faults, identity, limits, permission, the
// operation itself, conditional answers, and then what of it the client sees.
func (g *GitHub) serve(w http.ResponseWriter, r *http.Request, rt *route) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	g.mu.Lock()
	g.inflight++
	q := Request{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Body: body, At: g.Now()}
	if rt != nil {
		q.Kind = rt.pattern
	}
	if q.Path == "/graphql" {
		q.Kind += " " + graphQLKind(body)
	}
	f := g.fault(q)
	out := answer{header: http.Header{}}
	c := &call{g: g, r: r, route: rt, body: body, status: http.StatusOK, header: out.header}
	switch {
	case f != nil && f.Kind <= Throttle:
		out.status, out.body = http.StatusBadGateway, []byte(`{"message":"Server Error"}`)
		if f.Kind == Throttle {
			out.status, out.body = f.Status, encode(obj{"message": c.secondary(f.RetryAfter).Message})
		}
	case err != nil:
		out.status, out.body = http.StatusRequestEntityTooLarge, []byte(`{"message":"too large"}`)
	default:
		out.status, out.body, q.Cost = c.run()
	}
	if c.caller.app != nil {
		q.App = c.caller.app.slug
	}
	out = g.remember(c, q, f, out)
	if f != nil && f.Kind == DoneThenError {
		out = answer{http.StatusBadGateway, http.Header{}, []byte(`{"message":"Server Error"}`)}
	}
	silent := f != nil && (f.Kind == Reset || f.Kind == Hang || f.Kind == Unanswered)
	q.Status = out.status
	if f != nil {
		q.Fault = f.Kind.String()
	}
	if silent {
		q.Status = 0
	}
	g.requests = append(g.requests, q)
	out.header = maps.Clone(out.header) // a stale answer has an id of its own too
	out.header.Set("X-Github-Request-Id", fmt.Sprintf("C0DE:%X", len(g.requests)))
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.inflight--
		g.mu.Unlock()
	}()
	if silent {
		if f.Kind == Hang {
			select {
			case <-r.Context().Done():
			case <-g.life.Done():
			}
		}
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	maps.Copy(w.Header(), out.header)
	if len(out.body) > 0 {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.WriteHeader(out.status)
	_, _ = w.Write(out.body)
}

// remember keeps answers to reads for later stale ones, and gives a stale one.
func (g *GitHub) remember(c *call, q Request, f *Fault, out answer) answer {
	key := c.caller.key() + " " + c.r.URL.RequestURI()
	switch {
	case out.status != http.StatusOK && out.status != http.StatusNotFound:
		return out
	case g.cfg.KeepQueries && strings.HasPrefix(q.Kind, "POST /graphql query"):
		var asked gqlRequest
		if err := json.Unmarshal(c.body, &asked); err != nil {
			return out
		}
		key += "\n" + string(encode(asked)) // whatever the order of its members
	case c.r.Method != http.MethodGet:
		return out
	}
	if f != nil && f.Kind == Stale {
		if old, ok := g.answers[key]; ok {
			return old
		}
		return out
	}
	g.answers[key] = out
	return out
}

// run is everything between the connection and the answer.
func (c *call) run() (status int, body []byte, cost int) {
	headers := []string{"User-Agent", "Accept", "X-GitHub-Api-Version"}
	if c.r.URL.Path == "/graphql" {
		headers = headers[:1] // REST's versions are not GraphQL's
	}
	for _, name := range headers {
		if c.r.Header.Get(name) == "" || name == "User-Agent" && strings.HasPrefix(c.r.Header.Get(name), "Go-http-client") {
			c.complain("request without a %s header", name)
		}
	}
	if c.r.Header.Get("User-Agent") == "" {
		return c.fail(refuse(http.StatusForbidden, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header."))
	}
	var err error
	if c.caller, err = c.g.authenticate(c.r); err != nil {
		c.complain("%v", err)
		return c.fail(err)
	}
	if c.route == nil {
		if moved := c.redirect(); moved != nil {
			return c.fail(moved)
		}
		c.complain("no such route")
		return c.fail(notFound())
	}
	bucket := bucketOf(c.r.URL.Path)
	cost = 1
	if c.route.pattern == "GET /rate_limit" {
		cost = 0
	}
	if limit := c.limited(bucket, cost); limit != nil {
		if bucket == "graphql" && limit.Status == http.StatusOK {
			return http.StatusOK, encode(obj{"errors": []any{obj{"type": "RATE_LIMIT", "code": "graphql_rate_limit", "message": limit.Message}}}), 0
		}
		status, body, _ = c.fail(limit)
		return status, body, 0
	}
	if err := c.admit(); err != nil {
		status, body, _ = c.fail(err)
		return status, body, cost
	}
	c.checkQuery()
	v, err := c.route.serve(c)
	cost += c.more
	if err != nil {
		status, body, _ = c.fail(err)
		return status, body, cost
	}
	if c.status == http.StatusNoContent {
		return c.status, nil, cost
	}
	raw, isRaw := v.(json.RawMessage)
	if !isRaw {
		raw = encode(v)
	}
	if c.r.Method == http.MethodGet && c.status == http.StatusOK {
		// The tag depends on who asks, as GitHub's does.
		sum := sha256.Sum256(append([]byte(c.r.Header.Get("Authorization")+"\n"), raw...))
		tag := `W/"` + hex.EncodeToString(sum[:]) + `"`
		c.header.Set("ETag", tag)
		c.header.Set("Cache-Control", "private, max-age=60, s-maxage=60")
		if match := c.r.Header.Get("If-None-Match"); match != "" && strings.TrimPrefix(match, "W/") == strings.TrimPrefix(tag, "W/") {
			c.refund(bucket, cost)
			return http.StatusNotModified, nil, 0
		}
	}
	return c.status, raw, cost
}

// admit checks whether the caller may use the route, and finds the repository or
// organisation in its path.
func (c *call) admit() error {
	rt := c.route
	if rt.who&c.caller.kind == 0 && rt.who&byAnyone == 0 {
		c.complain("the route does not take this kind of token")
		switch {
		case c.caller.kind == byAnyone:
			return refuse(http.StatusUnauthorized, "Requires authentication")
		case rt.who&byApp != 0:
			return refuse(http.StatusUnauthorized, "A JSON web token could not be decoded")
		default:
			return refuse(http.StatusForbidden, "Resource not accessible by integration")
		}
	}
	if strings.Contains(rt.pattern, " "+repoPath) {
		c.repo = c.g.repoByName(c.r.PathValue("owner"), c.r.PathValue("repo"))
		if c.repo == nil {
			if moved := c.redirect(); moved != nil {
				return moved
			}
			return notFound()
		}
		if c.caller.kind != byApp && !c.caller.reaches(c.repo) {
			return notFound()
		}
	}
	if c.repo != nil && c.repo.archived && c.r.Method != http.MethodGet {
		c.complain("a write to an archived repository")
		return refuse(http.StatusForbidden, "Repository was archived so is read-only.")
	}
	if strings.Contains(rt.pattern, " /orgs/{org}") {
		if c.org = c.g.orgByLogin(c.r.PathValue("org")); c.org == nil {
			return notFound()
		}
	}
	if !c.caller.holds(rt.need, c.repo, c.org) {
		c.complain("the token lacks %s", strings.Join(rt.need, " or "))
		c.header.Set("X-Accepted-GitHub-Permissions", strings.ReplaceAll(strings.Join(rt.need, "; "), ":", "="))
		return refuse(http.StatusForbidden, "Resource not accessible by integration")
	}
	return nil
}

// moved remembers the old name of a repository.
func (g *GitHub) moved(r *Repository, old string) { g.redirects[strings.ToLower(old)] = r }

// redirect is GitHub's answer for the old name of a renamed repository, or nil.
func (c *call) redirect() error {
	parts := strings.SplitN(strings.TrimPrefix(c.r.URL.EscapedPath(), "/"), "/", 4)
	if len(parts) < 3 || parts[0] != "repos" {
		return nil
	}
	r := c.g.redirects[strings.ToLower(parts[1]+"/"+parts[2])]
	if r == nil || !c.caller.reaches(r) {
		return nil
	}
	to := c.g.url + "/repositories/" + itoa(r.ID)
	if len(parts) == 4 {
		to += "/" + parts[3]
	}
	c.header.Set("Location", to)
	if c.r.Method == http.MethodGet {
		return refuse(http.StatusMovedPermanently, "Moved Permanently")
	}
	return refuse(http.StatusTemporaryRedirect, "Temporary Redirect")
}

func (c *call) checkQuery() {
	known := strings.Fields(c.route.query)
	if c.route.list {
		known = append(known, "page", "per_page")
	}
	for name := range c.r.URL.Query() {
		if !slices.Contains(known, name) {
			c.complain("unknown query parameter %q", name)
		}
	}
}

func (c *call) complain(format string, args ...any) { c.g.complain(c.r, format, args...) }

// fail renders an error as GitHub does.
func (c *call) fail(err error) (status int, body []byte, cost int) {
	var r *Refusal
	if !errors.As(err, &r) {
		r = refuse(http.StatusInternalServerError, "%s", err.Error())
		c.complain("githubtest cannot answer: %v", err)
	}
	v := obj{"message": r.Message, "documentation_url": "https://docs.github.com/rest", "status": strconv.Itoa(r.Status)}
	if len(r.Errors) > 0 {
		v["errors"] = r.Errors
	}
	return r.Status, encode(v), 0
}

// decode reads a JSON body. What the operation does not know is a violation, and is
// ignored as GitHub ignores it.
func (c *call) decode(into any) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		c.body = []byte("{}")
	}
	strict := json.NewDecoder(bytes.NewReader(c.body))
	strict.DisallowUnknownFields()
	if err := strict.Decode(into); err == nil {
		return nil
	} else if strings.Contains(err.Error(), "unknown field") {
		c.complain("request body: %v", err)
	}
	if err := json.Unmarshal(c.body, into); err != nil {
		c.complain("request body: %v", err)
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return invalid("%s is of the wrong type", wrong.Field)
		}
		return refuse(http.StatusBadRequest, "Problems parsing JSON")
	}
	return nil
}

// id reads a number in the path; what is none is not found.
func (c *call) id(name string) (int64, error) {
	n, err := strconv.ParseInt(c.r.PathValue(name), 10, 64)
	if err != nil {
		return 0, notFound()
	}
	return n, nil
}

func (c *call) query(name string) string { return c.r.URL.Query().Get(name) }

// url is an address at the fake, each part escaped.
func (g *GitHub) api(parts ...string) string {
	var out strings.Builder
	out.WriteString(g.url)
	for _, p := range parts {
		out.WriteString("/" + url.PathEscape(p))
	}
	return out.String()
}

func (r *Repository) api(parts ...string) string {
	return r.g.api(append([]string{"repos", r.owner.login, r.name}, parts...)...)
}

// html is an address of a page.
func (r *Repository) html(parts ...string) string {
	return r.g.cfg.WebURL + "/" + strings.Join(append([]string{r.owner.login, r.name}, parts...), "/")
}

// pageOf cuts a page out of a list and sets the Link header.
func pageOf[T any](c *call, all []T) []T {
	per, page := 30, 1
	if n, err := strconv.Atoi(c.query("per_page")); err == nil && n > 0 {
		per = min(n, 100)
		if n > 100 {
			c.complain("per_page=%d, at most 100 are given", n)
		}
	}
	if n, err := strconv.Atoi(c.query("page")); err == nil && n > 0 {
		page = n
	}
	last := max(1, (len(all)+per-1)/per)
	var links []string
	link := func(rel string, n int) {
		q := c.r.URL.Query()
		q.Set("page", strconv.Itoa(n))
		links = append(links, fmt.Sprintf(`<%s%s?%s>; rel=%q`, c.g.url, c.r.URL.EscapedPath(), q.Encode(), rel))
	}
	if page > 1 {
		link("prev", page-1)
	}
	if page < last {
		link("next", page+1)
		link("last", last)
	}
	if page > 1 {
		link("first", 1)
	}
	if len(links) > 0 {
		c.header.Set("Link", strings.Join(links, ", "))
	}
	from := min((page-1)*per, len(all))
	return all[from:min(from+per, len(all))]
}

// views renders a list; it is [] when empty, never null.
func views[T any](all []T, view func(T) obj) []any {
	out := []any{}
	for _, x := range all {
		out = append(out, view(x))
	}
	return out
}
